"""Noise levels of the flow-matching solvers: x = (1 - sigma) * clean + sigma * noise, timestep = 1000 * sigma."""

from __future__ import annotations

from .passes import PlanError

DISTILLED_STEPS = 50  # `original_inference_steps` of latent consistency models


def shifted(sigma: float, shift: float) -> float:
    """Wan's timestep shift: more steps at high noise for shift > 1."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def flow_sigmas(steps: int, shift: float = 1.0) -> tuple[float, ...]:
    """`steps` levels from 1 downward; the level after the last is 0."""
    if steps < 1:
        raise PlanError(f"steps must be at least 1, got {steps}")
    if shift <= 0:
        raise PlanError(f"shift must be above 0, got {shift}")
    return tuple(shifted(1 - i / steps, shift) for i in range(steps))


def warped_sigmas(step_list: tuple[int, ...], shift: float) -> tuple[float, ...]:
    """Levels of a few-step list such as (1000, 750, 500, 250), as Self-Forcing's `warp_denoising_step` makes them."""
    if any(not 0 < step <= 1000 for step in step_list):
        raise PlanError(f"a step list holds values in 1..1000, got {step_list}")
    return check_sigmas(tuple(shifted(step / 1000, shift) for step in step_list))


def check_sigmas(sigmas: tuple[float, ...]) -> tuple[float, ...]:
    """`sigmas` themselves if they fall strictly within 1..0; otherwise a `PlanError`."""
    falling = all(a > b for a, b in zip(sigmas, sigmas[1:], strict=False))
    if not sigmas or not falling or sigmas[0] > 1 or sigmas[-1] <= 0:
        raise PlanError(f"noise levels must fall strictly within 1..0 (0 excluded), got {sigmas}")
    return sigmas


def next_sigmas(sigmas: tuple[float, ...]) -> tuple[float, ...]:
    """The level after each step; after the last it is 0."""
    return (*sigmas[1:], 0.0)


def ddim_timesteps(steps: int, timesteps: int = 1000) -> tuple[float, ...]:
    """What a network trained on `timesteps` levels is told at each DDIM step, falling: 981, 961 ... 1 for 50 steps.

    AR-Diffusion's `make_ddim_timesteps`, which makes more steps than asked for when they do not divide `timesteps`;
    that is refused here.
    """
    if steps < 1 or timesteps % steps:
        fitting = [n for n in (10, 20, 25, 40, 50, 100, 200, 250, 500, 1000) if timesteps % n == 0]
        raise PlanError(f"DDIM steps must divide {timesteps}: {', '.join(map(str, fitting))}; got {steps}")
    return tuple(float(t + 1) for t in reversed(range(0, timesteps, timesteps // steps)))


def trailing_timesteps(steps: int, timesteps: int = 1000) -> tuple[float, ...]:
    """DDIM steps from pure noise, falling: 999, 899 ... 99 for 10 (`timestep_spacing="trailing"` of diffusers).

    Better than `ddim_timesteps` for few steps (arXiv 2305.08891, section 3.3), and they need not divide anything.
    """
    most = timesteps * 2 // 3  # more would end on timestep 0, which is no step
    if not 1 <= steps <= most:
        raise PlanError(f"steps must be 1 to {most}, got {steps}")
    return tuple(float(round(timesteps - i * timesteps / steps) - 1) for i in range(steps))


def consistency_timesteps(steps: int, timesteps: int = 1000) -> tuple[float, ...]:
    """Steps of latent consistency models, falling: 999, 759, 499, 259 for 4, out of the 50 that they were distilled on.

    As diffusers' `LCMScheduler` chooses them.
    """
    if not 1 <= steps <= DISTILLED_STEPS:
        raise PlanError(f"a consistency model takes 1 to {DISTILLED_STEPS} steps, got {steps}")
    stride = timesteps // DISTILLED_STEPS
    return tuple(float(timesteps - i * DISTILLED_STEPS // steps * stride - 1) for i in range(steps))
