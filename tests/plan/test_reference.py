"""ART-V: one frame at a time; references are the frames before it and the first frame of all."""

from __future__ import annotations

from itertools import islice

import pytest

from avgen_core.plan import Action, PlanError, Reference, ReferencePlan, Solver, flow_sigmas

ART_V = ReferencePlan(flow_sigmas(2), previous=2, reference_noise=0.2)


def references(plan: ReferencePlan, frame: int) -> tuple[Reference, ...]:
    return next(step.references for step in plan.passes() if step.queries[0].frame == frame)


def test_one_frame_goes_down_all_levels_before_the_next():
    seen = [(s.queries[0].frame, s.queries[0].index, s.emits) for s in islice(ART_V.passes(), 6)]
    assert seen == [(0, 0, ()), (0, 1, (0,)), (1, 0, ()), (1, 1, (1,)), (2, 0, ()), (2, 1, (2,))]
    assert all(len(step.queries) == 1 for step in islice(ART_V.passes(), 20))


def test_references_are_the_clean_anchor_and_noisy_previous_frames():
    anchor = Reference(0, 0.0, anchor=True)
    assert references(ART_V, 0) == ()
    assert references(ART_V, 1) == (anchor, Reference(0, 0.2))
    assert references(ART_V, 9) == (anchor, Reference(7, 0.2), Reference(8, 0.2))
    assert references(ReferencePlan(flow_sigmas(2), anchor=False), 9) == (Reference(7, 0.0), Reference(8, 0.0))


def test_frames_leave_when_no_later_frame_refers_to_them():
    evicted = [frame for step in islice(ART_V.passes(), 20) for frame in step.evicts]
    assert evicted == [1, 2, 3, 4, 5, 6, 7], "after frame 9; the anchor stays"
    without = ReferencePlan(flow_sigmas(2), anchor=False)
    assert [frame for step in islice(without.passes(), 8) for frame in step.evicts] == [0, 1]


def test_a_given_first_frame_is_the_anchor():
    plan = ReferencePlan(flow_sigmas(2), given=1, solver=Solver.RENOISE)
    first, second, third = islice(plan.passes(), 3)
    assert (first.queries[0].action, first.emits) == (Action.KEEP, (0,))
    assert [step.queries[0].action for step in (second, third)] == [Action.RENOISE, Action.STEP]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"previous": 0}, "at least 1 previous frame is a reference, got 0"),
        ({"reference_noise": 1.0}, r"reference noise must be 0..1 \(1 excluded\), got 1.0"),
        ({"reference_noise": -0.1}, "reference noise must be"),
        ({"sigmas": (0.5, 0.5)}, "noise levels must fall"),
    ],
)
def test_faults_are_named(fault, message):
    with pytest.raises(PlanError, match=message):
        ReferencePlan(**{"sigmas": flow_sigmas(2), **fault})
