"""What a plan yields: passes. A pass shows some frames to a denoiser and says what becomes of each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Protocol


class PlanError(ValueError):
    """A plan that cannot work; the message says what was given, what is allowed and what to change."""


class Action(str, Enum):
    """What happens to a frame after the network has seen it."""

    STEP = "step"  # Euler step from sigma to sigma_next
    RENOISE = "renoise"  # predict the clean frame, then add fresh noise of sigma_next
    KEEP = "keep"  # only shown
    COMMIT = "commit"  # only shown; its keys and values enter the cache
    RECACHE = "recache"  # a cached frame shown again, its keys and values replaced


@dataclass(frozen=True)
class Query:
    """One frame in a pass.

    timestep: what the network is told, 0..1000; sigma, sigma_next: the solver's way, 1 (noise) to 0 (clean).
    index: this frame's own step number, which names its noise draws; group: sees its own and earlier groups.
    position: rotary position; prompt_at: the frame whose prompt applies.
    """

    frame: int
    timestep: float
    action: Action
    position: int
    prompt_at: int
    sigma: float = 0.0
    sigma_next: float = 0.0
    index: int = 0
    group: int = 0


@dataclass(frozen=True)
class Slot:
    """A cached frame that is visible, at a rotary position."""

    frame: int
    position: int


@dataclass(frozen=True)
class Reference:
    """A finished frame given to the denoiser as latents, with `noise` (0..1) mixed in."""

    frame: int
    noise: float
    anchor: bool = False


@dataclass(frozen=True)
class Pass:
    """One call of the network. After it, `emits` are finished, and `evicts` leave the cache and the memory."""

    queries: tuple[Query, ...]
    context: tuple[Slot, ...] = ()
    references: tuple[Reference, ...] = ()
    emits: tuple[int, ...] = ()
    evicts: tuple[int, ...] = ()


Changed = Callable[[int, int], bool]
"""Whether the prompt of the second frame differs from that of the first."""


def never(earlier: int, later: int) -> bool:
    """The `Changed` of a video with one prompt."""
    return False


class Plan(Protocol):
    """A small recipe. `passes` is lazy and may be endless; the same recipe yields the same passes for ever."""

    def passes(self, changed: Changed = never) -> Iterator[Pass]: ...


def passes_from(plan: Plan, start: int, changed: Changed = never) -> Iterator[Pass]:
    """The passes of `plan` from number `start` on."""
    return islice(plan.passes(changed), start, None)


@dataclass(frozen=True)
class Cost:
    """Price of a run before it starts. `frame_evaluations` counts every frame of every pass once."""

    passes: int
    frame_evaluations: int
    largest_pass: int
    largest_context: int

    def __str__(self) -> str:
        return (
            f"{self.passes} passes, {self.frame_evaluations} frame evaluations, "
            f"up to {self.largest_pass} frames a pass over {self.largest_context} cached"
        )


def passes_until(plan: Plan, frames: int, changed: Changed = never) -> Iterator[Pass]:
    """The passes that are needed until `frames` frames are emitted."""
    emitted = 0
    for step in plan.passes(changed):
        if emitted >= frames:
            return
        yield step
        emitted += len(step.emits)


def cost(plan: Plan, frames: int, changed: Changed = never) -> Cost:
    """What `frames` frames cost."""
    passes = evaluations = queries = context = 0
    for step in passes_until(plan, frames, changed):
        passes += 1
        evaluations += len(step.queries)
        queries = max(queries, len(step.queries))
        context = max(context, len(step.context))
    return Cost(passes, evaluations, queries, context)
