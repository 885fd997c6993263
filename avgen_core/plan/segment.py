"""Plans without a cache: ARLON's overlapping segments, and ART-V's single frames with references."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .block import Solver, step_action
from .passes import Action, Changed, Pass, PlanError, Query, Reference, never
from .sigmas import check_sigmas, next_sigmas


@dataclass(frozen=True)
class SegmentPlan:
    """Segments of `segment` frames denoised as a whole; each begins with the last `overlap` frames of the one before.

    These are shown clean.
    """

    sigmas: tuple[float, ...]
    segment: int
    overlap: int
    given: int = 0

    def __post_init__(self) -> None:
        check_sigmas(self.sigmas)
        if not 0 <= self.overlap < self.segment:
            raise PlanError(
                f"the overlap must be 0..{self.segment - 1} frames of a segment of {self.segment}, got {self.overlap}"
            )
        if self.given not in (0, self.overlap):
            raise PlanError(f"a segment continues exactly {self.overlap} given frames (its overlap), got {self.given}")

    @property
    def block(self) -> int:
        """Frames that a segment adds."""
        return self.segment - self.overlap

    def snapped(self, frames: int) -> int:
        """The smallest number of frames >= `frames` that ends with a segment."""
        return self.segment + max(0, -(-(frames - self.segment) // self.block)) * self.block

    def tail(self, available: int) -> int:
        """How many of the last of `available` frames can be given. Raises PlanError when there are too few, or none."""
        if self.overlap == 0:
            raise PlanError("segments that do not overlap cannot go on from earlier frames: set an overlap")
        if available < self.overlap:
            raise PlanError(f"{available} frames are fewer than the overlap of {self.overlap}: give more frames")
        return self.overlap

    def passes(self, changed: Changed = never) -> Iterator[Pass]:
        start, shown = 0, self.given
        while True:
            frames = range(start, start + self.segment)
            yield from self._segment(frames, shown)
            start, shown = frames.stop - self.overlap, self.overlap

    def _segment(self, frames: range, shown: int) -> Iterator[Pass]:
        clean = tuple(
            Query(f, 0.0, Action.KEEP, f - frames.start, f) for f in range(frames.start, frames.start + shown)
        )
        fresh = range(frames.start + shown, frames.stop)
        last = len(self.sigmas) - 1
        given = tuple(range(self.given)) if frames.start == 0 else ()
        for index, (sigma, after) in enumerate(zip(self.sigmas, next_sigmas(self.sigmas), strict=True)):
            queries = (Query(f, 1000 * sigma, Action.STEP, f - frames.start, f, sigma, after, index) for f in fresh)
            yield Pass(
                (*clean, *queries),
                emits=(*(given if index == 0 else ()), *(fresh if index == last else ())),
                evicts=tuple(range(frames.start, frames.stop - self.overlap)) if index == last else (),
            )


@dataclass(frozen=True)
class ReferencePlan:
    """One frame after the other, each with the `previous` frames before it and the first frame (anchor) as references.

    `reference_noise` (0..1) is mixed into the previous frames, as ART-V does against drift; the anchor stays clean.
    """

    sigmas: tuple[float, ...]
    previous: int = 2
    anchor: bool = True
    reference_noise: float = 0.0
    solver: Solver = Solver.EULER
    given: int = 0

    def __post_init__(self) -> None:
        check_sigmas(self.sigmas)
        if self.previous < 1:
            raise PlanError(f"at least 1 previous frame is a reference, got {self.previous}")
        if not 0 <= self.reference_noise < 1:
            raise PlanError(f"reference noise must be 0..1 (1 excluded), got {self.reference_noise}")

    @property
    def block(self) -> int:
        """Frames that are finished together."""
        return 1

    def snapped(self, frames: int) -> int:
        """Any number of frames will do."""
        return frames

    def tail(self, available: int) -> int:
        """How many of the last of `available` frames can be given: all, for the first of them is the anchor."""
        return available

    def passes(self, changed: Changed = never) -> Iterator[Pass]:
        frame = 0
        while True:
            yield from self._given(frame) if frame < self.given else self._frame(frame)
            frame += 1

    def _given(self, frame: int) -> Iterator[Pass]:
        yield Pass((Query(frame, 0.0, Action.KEEP, 0, frame),), emits=(frame,), evicts=self._unneeded(frame))

    def _frame(self, frame: int) -> Iterator[Pass]:
        references = self._references(frame)
        last = len(self.sigmas) - 1
        for index, (sigma, after) in enumerate(zip(self.sigmas, next_sigmas(self.sigmas), strict=True)):
            action = step_action(self.solver, after)
            yield Pass(
                (Query(frame, 1000 * sigma, action, 0, frame, sigma, after, index),),
                references=references,
                emits=(frame,) if index == last else (),
                evicts=self._unneeded(frame) if index == last else (),
            )

    def _references(self, frame: int) -> tuple[Reference, ...]:
        recent = tuple(Reference(f, self.reference_noise) for f in range(max(0, frame - self.previous), frame))
        return (Reference(0, 0.0, anchor=True), *recent) if self.anchor and frame > 0 else recent

    def _unneeded(self, frame: int) -> tuple[int, ...]:
        """The frame that no later one refers to."""
        gone = frame - self.previous
        return (gone,) if gone > 0 or (gone == 0 and not self.anchor) else ()
