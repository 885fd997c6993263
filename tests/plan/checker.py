"""What every pass of every plan must keep to, whatever the plan."""

from __future__ import annotations

from dataclasses import dataclass, field

from avgen_core.plan import Action, Pass, Plan, Query, passes_until
from avgen_core.plan.passes import Changed, never

SHOWN = (Action.KEEP, Action.COMMIT, Action.RECACHE)


@dataclass
class Checker:
    """Follows a plan and asserts after every pass that the executor can carry it out."""

    begun: set[int] = field(default_factory=set)
    finished: set[int] = field(default_factory=set)
    cached: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    steps: dict[int, Query] = field(default_factory=dict)  # the last step of each frame
    emitted: int = 0

    @property
    def held(self) -> int:
        """Frames in memory."""
        return len((self.begun | self.cached) - self.gone)

    def check(self, step: Pass) -> None:
        frames = [query.frame for query in step.queries]
        context = [slot.frame for slot in step.context]
        assert frames, "a pass shows something"
        assert len({*frames, *context}) == len(frames) + len(context), "each frame is in a pass once"
        assert not self.gone & {*frames, *context, *(r.frame for r in step.references)}, "an evicted frame is back"
        assert self.cached >= set(context), "a context frame was never committed"
        assert self.finished >= {reference.frame for reference in step.references}
        spots = [slot.position for slot in step.context] + [query.position for query in step.queries]
        assert len(set(spots)) == len(spots), "two frames are at one position"
        assert sorted(context) == context and sorted(frames) == frames
        for query in step.queries:
            self._check_query(query, given=query.frame in step.emits)
        for frame in step.emits:
            assert frame == self.emitted, "frames are emitted in order, without a gap"
            assert frame in frames, "a frame is emitted by the pass that finishes it"
            self.emitted += 1
            assert frame not in self.steps or self.steps[frame].sigma_next == 0
        self.finished |= set(step.emits)
        self.cached |= {q.frame for q in step.queries if q.action in (Action.COMMIT, Action.RECACHE)}
        evicted = set(step.evicts)
        assert len(evicted) == len(step.evicts) and evicted <= self.finished, "only finished frames leave"
        self.gone |= evicted
        self.cached -= evicted

    def _check_query(self, query: Query, given: bool) -> None:
        assert 0 <= query.timestep <= 1000
        self.begun.add(query.frame)
        if query.action is Action.RECACHE:
            assert query.frame in self.cached, "only what is cached can be recached"
        elif query.action is Action.COMMIT:
            assert given or query.frame in self.finished, "only finished frames are committed"
            assert query.frame not in self.cached, "a frame is committed once"
        elif query.action in (Action.STEP, Action.RENOISE):
            assert query.frame not in self.finished, "a finished frame moves no more"
            before = self.steps.get(query.frame)
            assert query.index == (before.index + 1 if before else 0), "steps come in order, each once"
            assert before is None or query.sigma == before.sigma_next, "a step begins where the last one ended"
            assert query.sigma_next < query.sigma
            self.steps[query.frame] = query


def follow(plan: Plan, frames: int, changed: Changed = never, window: int | None = None, sink: int = 0) -> Checker:
    """Check the passes up to `frames` frames; with `window`, also that no pass sees more frames than that."""
    checker = Checker()
    for step in passes_until(plan, frames, changed):
        sinks = {frame for frame in checker.cached if frame < sink}
        checker.check(step)
        if window is not None:
            seen = {slot.frame for slot in step.context} | {query.frame for query in step.queries}
            assert len(seen) <= window, f"{len(seen)} frames are seen through a window of {window}"
            assert sinks <= seen, "a sink is out of sight"
    assert checker.emitted >= frames
    return checker
