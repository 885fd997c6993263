"""An asynchronous schedule as a user asks for it, before it is known for which kind of model."""

from __future__ import annotations

from dataclasses import dataclass

from ..plan import (
    AsynchronousPlan,
    OnSwitch,
    PlanError,
    Savings,
    Window,
    WindowedAsynchronousPlan,
    ddim_timesteps,
    flow_sigmas,
)


@dataclass(frozen=True)
class AsynchronousSettings:
    """`difference` steps between neighbouring frames; `frames` None keeps the video open for exact extension.

    shift, sink, on_switch and context_noise (0..1) are for strictly causal flow models, savings for the released
    AR-Diffusion.
    """

    steps: int
    difference: int
    frames: int | None = None
    window: int | None = 16
    shift: float = 1.0
    sink: int = 0
    on_switch: OnSwitch = OnSwitch.KEEP
    savings: Savings = Savings.NONE
    context_noise: float = 0.0

    def causal_plan(self) -> AsynchronousPlan:
        """For strictly causal flow models, in which both savings are exact and always made.

        Raises PlanError when approximate ones are asked for.
        """
        if self.savings is not Savings.NONE:
            raise PlanError(
                f"savings {self.savings.value} are for AR-Diffusion's checkpoints: connect such a model to the "
                "schedule, or set savings to none; a causal model saves more, exactly"
            )
        return AsynchronousPlan(
            flow_sigmas(self.steps, self.shift),
            self.difference,
            frames=self.frames,
            window=Window(self.window, self.sink),
            context_timestep=1000 * self.context_noise,
            on_switch=self.on_switch,
        )

    def windowed_plan(self, window: int, timesteps: int) -> WindowedAsynchronousPlan:
        """For the released AR-Diffusion: a network of `window` frames, trained on `timesteps` noise levels.

        Raises PlanError when more is asked for than that network has.
        """
        if self.sink:
            raise PlanError(f"this model sees a plain window of {window} frames: set sink to 0, got {self.sink}")
        if self.window is not None and self.window > window:
            raise PlanError(f"this model sees {window} frames at once: set window to at most {window}")
        levels = ddim_timesteps(self.steps, timesteps)
        return WindowedAsynchronousPlan(
            levels,
            self.difference,
            self.frames,
            self.window or window,
            waiting_timestep=float(timesteps - 1),
            finished_timestep=levels[-1],
            savings=self.savings,
        )
