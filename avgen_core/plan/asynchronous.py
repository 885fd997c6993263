"""Asynchronous denoising: neighbouring frames are a fixed difference of steps apart (AD schedule of AR-Diffusion).

A unit is a frame, or a block of frames that share their noise level. In row p (from 1) unit i has done
clamp(p - i * difference, 0, steps) steps: the closed form of the recursion in AR-Diffusion's `fifoddim.py` and of
SkyReels-V2's `generate_timestep_matrix`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .block import OnSwitch, Solver, Window, step_action
from .passes import Action, Changed, Pass, PlanError, Query, never
from .sigmas import check_sigmas, next_sigmas


@dataclass(frozen=True)
class ADRule:
    """`steps` steps a unit, `difference` steps between neighbours, `ready` units finished from the start."""

    steps: int
    difference: int
    ready: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.difference <= self.steps:
            raise PlanError(
                f"the difference must be 0 (synchronous) to {self.steps} (one frame after the other, the number of "
                f"steps), got {self.difference}"
            )

    def done(self, row: int, unit: int) -> int:
        """Steps that `unit` has done after row `row`, without the upper limit: more than `steps` means rows since."""
        return self.steps + row if unit < self.ready else max(0, row - (unit - self.ready) * self.difference)

    def steps_in(self, row: int, unit: int) -> bool:
        """Whether `unit` makes a step in `row`."""
        return unit >= self.ready and 1 <= self.done(row, unit) <= self.steps

    def rows(self, units: int) -> int:
        """Rows until `units` units are finished: n + s * (F - 1)."""
        return self.steps + self.difference * max(0, units - self.ready - 1)

    def started(self, row: int, units: int | None) -> int:
        """Units that have begun by `row` (ready ones included)."""
        if self.difference == 0:
            if units is None:
                raise PlanError("difference 0 denoises all frames at once and needs a fixed number of frames")
            return units
        begun = self.ready + (row - 1) // self.difference + 1
        return begun if units is None else min(units, begun)

    def check_window(self, units: int | None, window: int) -> None:
        """Refuse windows that units would leave before they are finished."""
        if units is not None and units <= window:
            return
        if self.difference == 0 or self.difference * window < self.steps:
            needed = -(-self.steps // window)
            ways = "fewer steps, or a larger window"
            if units is None:
                ways += ", or do not keep the video open if it fits into the window"
            elif self.ready:
                ways += f", or let the video fit into the window with its {self.ready} given ones"
            raise PlanError(
                f"difference {self.difference} lets frames leave a window of {window} before they are clean after "
                f"{self.steps} steps: use a difference of at least {needed}, {ways}"
            )


class InUnits:
    """What plans share whose frames come in units of `block`."""

    frames: int | None
    block: int

    @property
    def _units(self) -> int | None:
        return None if self.frames is None else self.frames // self.block

    def snapped(self, frames: int) -> int:
        """The smallest number of frames >= `frames` that ends with a unit."""
        return -(-frames // self.block) * self.block


@dataclass(frozen=True)
class AsynchronousPlan(InUnits):
    """The AD schedule for strictly causal networks: waiting frames are left out, finished ones come from the cache.

    Both savings are exact there: a causal network's finished frames cannot see noisier ones.

    Args:
        sigmas: noise levels of the steps, falling.
        difference: steps between neighbouring units; 0 = synchronous, len(sigmas) = one unit after the other.
        frames: length of the video, or None for an open one that can be extended exactly.
        block: frames a unit.
        window: most frames visible at once, those in flight included.
        given: frames that exist already; they are only committed.
        joint: frames in flight see each other both ways (Rolling Forcing) instead of causally.
    """

    sigmas: tuple[float, ...]
    difference: int
    frames: int | None = None
    block: int = 1
    window: Window = Window(16)
    solver: Solver = Solver.EULER
    given: int = 0
    context_timestep: float = 0.0
    joint: bool = False
    on_switch: OnSwitch = OnSwitch.KEEP

    def __post_init__(self) -> None:
        check_sigmas(self.sigmas)
        if self.block < 1:
            raise PlanError(f"block must be at least 1 frame, got {self.block}")
        if self.frames is not None and self.frames < 1:
            raise PlanError(f"frames must be at least 1, or None for an open video, got {self.frames}")
        for name, count in (("frames", self.frames or 0), ("given frames", self.given)):
            if count % self.block:
                raise PlanError(f"{count} {name} do not fill whole blocks of {self.block}")
        rule = self.rule
        if self.window.size is not None:
            room = self.window.size - self.window.sink
            if room < self.block:
                raise PlanError(f"a window of {self.window.size} frames has no room for a block of {self.block}")
            rule.check_window(self._units, room // self.block)
        elif self._units is None and self.difference == 0:
            rule.started(1, None)

    @property
    def rule(self) -> ADRule:
        return ADRule(len(self.sigmas), self.difference, self.given // self.block)

    def tail(self, available: int) -> int:
        """How many of the last of `available` frames can be given: whole units that fit into the window."""
        return min(available, self.window.size or available) // self.block * self.block

    def passes(self, changed: Changed = never) -> Iterator[Pass]:
        rule, cached = self.rule, []
        for unit in range(rule.ready):
            frames = range(unit * self.block, (unit + 1) * self.block)
            queries = tuple(self._shown(f, Action.COMMIT, f) for f in frames)
            context = self.window.slots(cached, frames.start)
            kept = self.window.visible(frames.stop, self.block)
            yield Pass(queries, context, emits=tuple(frames), evicts=self._lost([*cached, *frames], kept))
            cached = kept
        row, first, begun = 1, rule.ready, rule.ready
        while self._units is None or first < self._units:
            started = rule.started(row, self._units)
            newest = range(begun * self.block, started * self.block)
            if newest and cached and self.on_switch is OnSwitch.RECACHE and changed(newest.start - 1, newest[-1]):
                yield from self._recache(newest[-1], cached)
            active = range(first * self.block, started * self.block)
            clean = range((first - 1) * self.block, first * self.block) if self._commits(row, first) else range(0)
            finished = self._entering(clean, len(active))
            incoming = len(active) + len(finished)
            visible = self._held(cached, incoming)
            ending = [unit for unit in range(first, started) if rule.done(row, unit) == rule.steps]
            yield Pass(
                (*(self._shown(f, Action.COMMIT, f) for f in finished), *(self._stepped(row, f) for f in active)),
                self.window.slots(visible, min([*finished, *active])),
                emits=tuple(f for unit in ending for f in range(unit * self.block, (unit + 1) * self.block)),
                evicts=self._lost([*cached, *clean], [*visible, *finished]),
            )
            cached = [*visible, *finished]
            first, begun, row = first + len(ending), started, row + 1

    def _commits(self, row: int, first: int) -> bool:
        """Whether the unit before `first` was finished by the row before, so that its clean keys are still missing."""
        return first > self.rule.ready and self.rule.done(row, first - 1) == self.rule.steps + 1

    def _entering(self, clean: range, active: int) -> list[int]:
        """Which frames of a unit just finished the window has room for beside `active` frames in flight."""
        if self.window.size is None:
            return list(clean)
        room = max(0, self.window.size - self.window.sink - active)
        return [frame for frame in clean if frame < self.window.sink or frame >= clean.stop - room]

    def _held(self, cached: list[int], incoming: int) -> list[int]:
        """The cached frames that stay visible beside `incoming` frames."""
        if self.window.size is None:
            return cached
        sinks = [f for f in cached if f < self.window.sink]
        room = max(0, self.window.size - incoming - len(sinks))
        recent = [f for f in cached if f >= self.window.sink]
        return [*sinks, *(recent[-room:] if room else [])]

    @staticmethod
    def _lost(held: list[int], kept: list[int]) -> tuple[int, ...]:
        return tuple(f for f in held if f not in kept)

    def _shown(self, frame: int, action: Action, prompt_at: int) -> Query:
        return Query(frame, self.context_timestep, action, frame, prompt_at, group=-1)

    def _stepped(self, row: int, frame: int) -> Query:
        unit = frame // self.block
        index = self.rule.done(row, unit) - 1
        sigma, after = self.sigmas[index], next_sigmas(self.sigmas)[index]
        group = 0 if self.joint else unit
        return Query(frame, 1000 * sigma, step_action(self.solver, after), frame, frame, sigma, after, index, group)

    def _recache(self, prompt_at: int, cached: list[int]) -> Iterator[Pass]:
        slots = self.window.slots(cached, prompt_at)
        windowed = [slot for slot in slots if slot.frame >= self.window.sink]
        if windowed:
            sinks = tuple(slot for slot in slots if slot.frame < self.window.sink)
            queries = (
                Query(s.frame, self.context_timestep, Action.RECACHE, s.position, prompt_at, group=unit)
                for s, unit in ((slot, slot.frame // self.block) for slot in windowed)
            )
            yield Pass(tuple(queries), sinks)
