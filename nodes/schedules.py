"""Denoising schedules: which frames are denoised together, and in which order."""

from __future__ import annotations

from enum import Enum

import numpy as np
import torch
from comfy_api.latest import io

from ..avgen_core.plan import BlockPlan, OnSwitch, Plan, PlanError, Savings, SegmentPlan, Window, cost, flow_sigmas
from ..avgen_core.plan.picture import noise_picture
from ..avgen_core.systems.asynchronous import AsynchronousSettings
from ..avgen_core.systems.embedded_arlon import GUIDED_STEPS
from . import host, types

STEPS = "Denoising steps of every frame."
SHIFT = "Above 1, more of the steps are spent at high noise."
WINDOW = "Most frames that the model sees at once, the ones in work included. It was trained with 16."
SINK = "First frames of the video that stay visible for ever, inside the window."
SWITCH = (
    "When the prompt changes: keep leaves visible frames under the prompt that they were made with, for models that "
    "are trained on changing prompts (the embedded one); recache computes them anew under the new prompt, for models "
    "trained on one prompt a video."
)
CONTEXT_NOISE = (
    "Noise that finished frames are said to carry (none is added; Self-Forcing's context_noise). Some models drift "
    "less with a little; the embedded one is best without."
)
CAUSAL = " Not for AR-Diffusion checkpoints."
FRAMES = "Frames that the picture and the cost are for; the sampler decides on the video's length."
SAVINGS = (
    "Only for AR-Diffusion checkpoints: frame evaluations to leave out. none is the official computation, the others "
    "change the video a little. Causal models save more than these, exactly, whatever is chosen here."
)


def options(enum: type[Enum]) -> list[str]:
    return [option.value for option in enum]


def chosen(enum: type[Enum], name: str, value: str) -> Enum:
    """The value of the combo `name`; the server lets any text through."""
    if value not in options(enum):
        raise PlanError(f"{name} is {value!r}; allowed: {', '.join(options(enum))}")
    return enum(value)


def schedule_outputs() -> list[io.Output]:
    return [
        types.Plan.Output(display_name="schedule", tooltip="For the causal sampler."),
        io.Image.Output(display_name="picture", tooltip="Noise levels over frames (across) and passes (down)."),
        io.String.Output(display_name="cost", tooltip="Passes and frame evaluations before anything is computed."),
    ]


def context_noise_input(tooltip: str) -> io.Input:
    return io.Float.Input("context_noise", default=0.0, min=0.0, max=0.9, step=0.05, optional=True, tooltip=tooltip)


def priced(plan: Plan, frames: int) -> io.NodeOutput:
    picture = torch.from_numpy(noise_picture(plan, frames).astype(np.float32) / 255)[None]
    return io.NodeOutput(plan, picture, str(cost(plan, frames)))


class AVGenBlockSchedule(io.ComfyNode):
    """Block after block."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenBlockSchedule",
            display_name="Block Schedule (AVGen)",
            category="AVGen/schedules",
            description="Denoises one block of frames after the other; finished blocks stay visible through a rolling "
            "key/value cache. Runs made with it can be extended exactly.",
            inputs=[
                io.Int.Input("steps", default=12, min=1, max=1000, tooltip=STEPS),
                io.Float.Input("shift", default=1.5, min=0.1, max=20.0, step=0.1, tooltip=SHIFT),
                io.Int.Input(
                    "block",
                    default=4,
                    min=1,
                    max=64,
                    tooltip="Frames a block. The embedded model was trained with 1 and 4.",
                ),
                io.Int.Input("window", default=16, min=1, max=4096, tooltip=WINDOW),
                io.Int.Input("sink", default=0, min=0, max=1024, tooltip=SINK),
                io.Combo.Input(
                    "on_prompt_change", options=options(OnSwitch), default=OnSwitch.KEEP.value, tooltip=SWITCH
                ),
                io.Int.Input("frames", default=64, min=1, max=100_000, tooltip=FRAMES),
                context_noise_input(CONTEXT_NOISE),
            ],
            outputs=schedule_outputs(),
        )

    @classmethod
    def execute(
        cls,
        steps: int,
        shift: float,
        block: int,
        window: int,
        sink: int,
        on_prompt_change: str,
        frames: int,
        context_noise: float = 0.0,
    ) -> io.NodeOutput:
        plan = BlockPlan(
            flow_sigmas(steps, shift),
            block=block,
            window=Window(window, sink),
            context_timestep=1000 * context_noise,
            on_switch=chosen(OnSwitch, "on_prompt_change", on_prompt_change),
        )
        return priced(plan, frames)


class AVGenAsynchronousSchedule(io.ComfyNode):
    """Neighbouring frames a few steps apart."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenAsynchronousSchedule",
            display_name="Asynchronous Schedule (AVGen)",
            category="AVGen/schedules",
            description="AR-Diffusion's AD schedule: every frame is a fixed number of steps behind the one before it, "
            "so that frames in work help each other. Kept open, a run can be extended exactly.",
            inputs=[
                io.Int.Input("steps", default=12, min=1, max=1000, tooltip=STEPS),
                io.Float.Input("shift", default=1.5, min=0.1, max=20.0, step=0.1, tooltip=SHIFT + CAUSAL),
                io.Int.Input(
                    "difference",
                    default=2,
                    min=0,
                    max=1000,
                    tooltip="Steps between neighbouring frames. 0: all together; as many as steps: one by one.",
                ),
                io.Int.Input("window", default=16, min=1, max=4096, tooltip=WINDOW),
                io.Int.Input("sink", default=0, min=0, max=1024, tooltip=SINK + CAUSAL),
                io.Boolean.Input(
                    "keep_open",
                    default=True,
                    tooltip="Keep the frames in work at the end, to extend the run exactly. Off costs less.",
                ),
                io.Combo.Input(
                    "on_prompt_change",
                    options=options(OnSwitch),
                    default=OnSwitch.KEEP.value,
                    tooltip=SWITCH + CAUSAL,
                ),
                io.Int.Input("frames", default=64, min=1, max=100_000, tooltip=FRAMES),
                io.Combo.Input(
                    "savings", options=options(Savings), default=Savings.NONE.value, optional=True, tooltip=SAVINGS
                ),
                types.Model.Input(
                    "model",
                    optional=True,
                    tooltip="Connect an AR-Diffusion model, which has noise levels and a window of its own; its steps "
                    "must divide 1000. Without it: a causal model such as the embedded one.",
                ),
                context_noise_input(CONTEXT_NOISE + CAUSAL),
            ],
            outputs=schedule_outputs(),
        )

    @classmethod
    def execute(
        cls,
        steps: int,
        shift: float,
        difference: int,
        window: int,
        sink: int,
        keep_open: bool,
        on_prompt_change: str,
        frames: int,
        savings: str = Savings.NONE.value,
        model: host.HostModel | None = None,
        context_noise: float = 0.0,
    ) -> io.NodeOutput:
        settings = AsynchronousSettings(
            steps,
            difference,
            frames=None if keep_open else frames,
            window=window,
            shift=shift,
            sink=sink,
            on_switch=chosen(OnSwitch, "on_prompt_change", on_prompt_change),
            savings=chosen(Savings, "savings", savings),
            context_noise=context_noise,
        )
        return priced(model.system.asynchronous_plan(settings) if model else settings.causal_plan(), frames)


class AVGenSegmentSchedule(io.ComfyNode):
    """Segment after segment."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenSegmentSchedule",
            display_name="Segment Schedule (AVGen)",
            category="AVGen/schedules",
            description="Denoises whole segments, in which all frames see each other; each begins with the last frames "
            "of the one before. The way of the ARLON paper, for models with ARLON's parts.",
            inputs=[
                io.Int.Input(
                    "steps",
                    default=GUIDED_STEPS,
                    min=1,
                    max=1000,
                    tooltip="Denoising steps of every frame. With the embedded model little changes from 5 on.",
                ),
                io.Float.Input("shift", default=1.5, min=0.1, max=20.0, step=0.1, tooltip=SHIFT),
                io.Int.Input(
                    "segment",
                    default=16,
                    min=2,
                    max=4096,
                    tooltip="Frames a segment. The embedded model was trained with 16.",
                ),
                io.Int.Input(
                    "overlap",
                    default=4,
                    min=1,
                    max=4095,
                    tooltip="Frames of a segment that are the last of the one before. At least 4 with the embedded "
                    "model, so that tokens go on from an earlier video.",
                ),
                io.Int.Input("frames", default=64, min=1, max=100_000, tooltip=FRAMES),
            ],
            outputs=schedule_outputs(),
        )

    @classmethod
    def execute(cls, steps: int, shift: float, segment: int, overlap: int, frames: int) -> io.NodeOutput:
        return priced(SegmentPlan(flow_sigmas(steps, shift), segment, overlap), frames)
