"""The AD schedule for networks in which all frames of a window see each other: nothing can be cached exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from .asynchronous import ADRule, InUnits
from .passes import Action, Changed, Pass, PlanError, Query, Slot, never


class Savings(str, Enum):
    """Frame evaluations that are left out. All but NONE change the video a little."""

    NONE = "none"
    SKIP_WAITING = "skip_waiting"  # frames that have not begun are not shown
    CACHE_FINISHED = "cache_finished"  # nor are finished ones, until the window moves on


@dataclass(frozen=True)
class WindowedAsynchronousPlan(InUnits):
    """The window of the released AR-Diffusion (`fifoddim.py`) and of SkyReels-V2: every pass shows all its frames.

    Waiting frames are shown as noise at 999, finished ones at a timestep of their own: the last one in AR-Diffusion,
    0 in SkyReels-V2. A frame is emitted when it leaves the window, since until then passes may still change it.

    Args:
        timesteps: what the network is told at each step, falling; the solver's levels are timesteps / 1000.
        difference: steps between neighbouring units; 0 = synchronous, len(timesteps) = one unit after the other.
        frames: length of the video, given ones included, or None for an open one that can be extended exactly.
        window: frames the network sees at once.
        given: frames that exist already, shown as finished ones and never changed.
    """

    timesteps: tuple[float, ...]
    difference: int
    frames: int | None
    window: int
    block: int = 1
    given: int = 0
    waiting_timestep: float = 999.0
    finished_timestep: float = 0.0
    savings: Savings = Savings.NONE

    def __post_init__(self) -> None:
        if self.block < 1:
            raise PlanError(f"block must be at least 1 frame, got {self.block}")
        for name, count in (("frames", self.frames or 0), ("window", self.window), ("given frames", self.given)):
            if count % self.block:
                raise PlanError(f"{name}: {count} is not a multiple of the block of {self.block} frames")
        if self.frames is not None and self.frames < 1:
            raise PlanError(f"frames must be at least 1, or None for an open video, got {self.frames}")
        if self.window < self.block:
            raise PlanError(f"a window of {self.window} frames has no room for a block of {self.block}")
        self.rule.check_window(self._units, self.window // self.block)
        if self.given and self.given + self.block > self.window:
            raise PlanError(
                f"{self.given} given frames leave no room in a window of {self.window}: "
                f"give at most {self.window - self.block}"
            )

    @property
    def rule(self) -> ADRule:
        return ADRule(len(self.timesteps), self.difference, self.given // self.block)

    def tail(self, available: int) -> int:
        """How many of the last of `available` frames can be given: whole units that leave room for one more."""
        return min(available, self.window - self.block) // self.block * self.block

    def visible(self, row: int) -> range:
        """Frames in the window in `row`: the window moves on when the unit after its end begins."""
        units, size = self._units, self.window // self.block
        end = max(size, self.rule.started(row, units))
        end = end if units is None else min(units, end)
        return range(max(0, end - size) * self.block, end * self.block)

    def passes(self, changed: Changed = never) -> Iterator[Pass]:
        last = None if self._units is None else self.rule.rows(self._units)
        row = 1
        while last is None or row <= last:
            visible = self.visible(row)
            staying = visible.stop if row == last else self.visible(row + 1).start
            leaving = tuple(range(visible.start, max(visible.start, staying)))
            yield Pass(
                tuple(self._query(row, f, f - visible.start) for f in visible if self._is_shown(row, f)),
                tuple(Slot(f, f - visible.start) for f in visible if self._is_cached(row, f)),
                emits=leaving,
                evicts=leaving,
            )
            row += 1

    def _is_finished(self, row: int, frame: int) -> bool:
        """Whether a frame's last step was in an earlier row."""
        unit = frame // self.block
        return self.rule.done(row, unit) > 0 and not self.rule.steps_in(row, unit)

    def _is_cached(self, row: int, frame: int) -> bool:
        """Whether a finished frame was committed in an earlier row at the place that it still has in the window."""
        return (
            self.savings is Savings.CACHE_FINISHED
            and row > 1
            and self._is_finished(row - 1, frame)
            and self.visible(row - 1).start == self.visible(row).start
        )

    def _is_shown(self, row: int, frame: int) -> bool:
        if self.rule.done(row, frame // self.block) == 0:
            return self.savings is Savings.NONE
        return not self._is_cached(row, frame)

    def _query(self, row: int, frame: int, position: int) -> Query:
        done = self.rule.done(row, frame // self.block)
        if done == 0:
            return Query(frame, self.waiting_timestep, Action.KEEP, position, frame, sigma=1.0, sigma_next=1.0)
        if self._is_finished(row, frame):
            return self._finished_query(row, frame, position)
        levels = (*self.timesteps, 0.0)
        sigma, after = levels[done - 1] / 1000, levels[done] / 1000
        return Query(frame, levels[done - 1], Action.STEP, position, frame, sigma, after, done - 1)

    def _finished_query(self, row: int, frame: int, position: int) -> Query:
        if self.savings is Savings.CACHE_FINISHED:
            again = row > 1 and self._is_finished(row - 1, frame)
            action = Action.RECACHE if again else Action.COMMIT
            return Query(frame, self.finished_timestep, action, position, frame)
        # A given frame is clean; the last step of the others may leave a trace of noise, which the process knows.
        sigma = 0.0 if frame < self.given else self.finished_timestep / 1000
        return Query(frame, self.finished_timestep, Action.KEEP, position, frame, sigma)
