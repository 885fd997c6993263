"""Block by block: the plan of Self-Forcing and its family. A block is denoised, then committed to a rolling cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from .passes import Action, Changed, Pass, PlanError, Query, Slot, never
from .sigmas import check_sigmas, next_sigmas


class Solver(str, Enum):
    """How a frame goes from one noise level to the next."""

    EULER = "euler"
    RENOISE = "renoise"  # stochastic consistency sampling of the few-step distilled models


class OnSwitch(str, Enum):
    """What happens to cached frames when the prompt changes."""

    RECACHE = "recache"  # their keys and values are computed anew under the new prompt, as in LongLive
    KEEP = "keep"  # they stay as they are


class SinkPositions(str, Enum):
    """Where sink frames are for the rotary embedding."""

    KEPT = "kept"  # at their true, ever growing distance
    ROLLING = "rolling"  # just before the window


def step_action(solver: Solver, sigma_next: float) -> Action:
    """The last step of a renoising solver is a plain jump to the clean frame, which is an Euler step to 0."""
    return Action.RENOISE if solver is Solver.RENOISE and sigma_next > 0 else Action.STEP


@dataclass(frozen=True)
class Window:
    """What stays visible: at most `size` frames with the block itself, the first `sink` of the video among them."""

    size: int | None = None
    sink: int = 0
    sink_positions: SinkPositions = SinkPositions.KEPT

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise PlanError(f"a window must hold at least 1 frame, got {self.size}")
        if self.sink < 0:
            raise PlanError(f"a sink must be 0 frames or more, got {self.sink}")

    def visible(self, committed: int, incoming: int) -> list[int]:
        """Which of the frames 0..committed-1 the next `incoming` frames see."""
        if self.size is None or committed + incoming <= self.size:
            return list(range(committed))
        sink = min(self.sink, committed)
        recent = max(0, self.size - incoming - sink)
        return [*range(sink), *range(max(sink, committed - recent), committed)]

    def slots(self, frames: list[int], following: int) -> tuple[Slot, ...]:
        """Rotary positions of visible frames; `following` is the first frame that sees them."""
        if self.sink_positions is SinkPositions.KEPT:
            return tuple(Slot(frame, frame) for frame in frames)
        recent = [frame for frame in frames if frame >= self.sink]
        before = (recent[0] if recent else following) - (len(frames) - len(recent))
        return tuple(Slot(frame, before + frame if frame < self.sink else frame) for frame in frames)


@dataclass(frozen=True)
class BlockPlan:
    """Endless blocks of `block` frames.

    Args:
        sigmas: noise levels of the steps, falling; the level after the last is 0.
        first_alone: the first frame is a block of its own (Self-Forcing's `independent_first_frame`).
        given: frames that exist already (a video to continue); they are only committed.
        context_timestep: timestep at which frames are committed (Self-Forcing's `context_noise`).
    """

    sigmas: tuple[float, ...]
    block: int = 3
    window: Window = Window()
    solver: Solver = Solver.EULER
    first_alone: bool = False
    given: int = 0
    context_timestep: float = 0.0
    on_switch: OnSwitch = OnSwitch.KEEP

    def __post_init__(self) -> None:
        check_sigmas(self.sigmas)
        if self.block < 1:
            raise PlanError(f"block must be at least 1 frame, got {self.block}")
        size, sink = self.window.size, self.window.sink
        if size is not None and size < self.block + sink:
            raise PlanError(
                f"a window of {size} frames cannot hold a block of {self.block} and a sink of {sink}: "
                f"use a window of at least {self.block + sink}"
            )
        if self.given and self.snapped(self.given) != self.given:
            raise PlanError(
                f"{self.given} given frames do not fill whole blocks of {self.block}"
                f"{' after a first frame alone' if self.first_alone else ''}: give {self.snapped(self.given)}"
            )

    def snapped(self, frames: int) -> int:
        """The smallest number of frames >= `frames` that ends with a block."""
        if self.first_alone:
            return 1 + -(-(frames - 1) // self.block) * self.block
        return -(-frames // self.block) * self.block

    def tail(self, available: int) -> int:
        """How many of the last of `available` frames can be given: whole blocks that fit into the window."""
        room = min(available, self.window.size or available)
        if self.first_alone:
            return 1 + (room - 1) // self.block * self.block
        return room // self.block * self.block

    def _blocks(self) -> Iterator[range]:
        start = 0
        while True:
            size = 1 if self.first_alone and start == 0 else self.block
            yield range(start, start + size)
            start += size

    def passes(self, changed: Changed = never) -> Iterator[Pass]:
        previous = 0
        for frames in self._blocks():
            visible = self.window.visible(frames.start, len(frames))
            context = self.window.slots(visible, frames.start)
            if frames.start < self.given:
                yield self._commit(frames, context, emits=tuple(frames))
            else:
                if self.on_switch is OnSwitch.RECACHE and changed(previous, frames.start):
                    yield from self._recache(frames.start, context)
                yield from self._denoise(frames, context)
                yield self._commit(frames, context)
            previous = frames.start

    def _denoise(self, frames: range, context: tuple[Slot, ...]) -> Iterator[Pass]:
        last = len(self.sigmas) - 1
        for index, (sigma, after) in enumerate(zip(self.sigmas, next_sigmas(self.sigmas), strict=True)):
            action = step_action(self.solver, after)
            queries = tuple(Query(f, 1000 * sigma, action, f, f, sigma, after, index) for f in frames)
            yield Pass(queries, context, emits=tuple(frames) if index == last else ())

    def _commit(self, frames: range, context: tuple[Slot, ...], emits: tuple[int, ...] = ()) -> Pass:
        queries = tuple(Query(f, self.context_timestep, Action.COMMIT, f, f) for f in frames)
        after = set(self.window.visible(frames.stop, self.block))
        held = [*(slot.frame for slot in context), *frames]
        return Pass(queries, context, emits=emits, evicts=tuple(f for f in held if f not in after))

    def _recache(self, start: int, context: tuple[Slot, ...]) -> Iterator[Pass]:
        """The window again under the prompt of frame `start`, block-causal; sinks are protected, as in LongLive."""
        windowed = [slot for slot in context if slot.frame >= self.window.sink]
        if not windowed:
            return
        sinks = tuple(slot for slot in context if slot.frame < self.window.sink)
        queries = tuple(
            Query(s.frame, self.context_timestep, Action.RECACHE, s.position, start, group=self._group(s.frame))
            for s in windowed
        )
        yield Pass(queries, sinks)

    def _group(self, frame: int) -> int:
        return -(-frame // self.block) if self.first_alone else frame // self.block
