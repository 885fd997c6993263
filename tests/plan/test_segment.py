"""ARLON's segments: each is denoised as a whole, and begins with the tail of the one before."""

from __future__ import annotations

from itertools import islice

import pytest

from avgen_core.plan import Action, PlanError, SegmentPlan, cost, flow_sigmas

PLAN = SegmentPlan(flow_sigmas(3), segment=8, overlap=2)


def test_the_first_segment_is_all_new():
    passes = list(islice(PLAN.passes(), 3))
    assert all([q.frame for q in step.queries] == list(range(8)) for step in passes)
    assert [step.queries[0].timestep for step in passes] == pytest.approx([1000, 666.667, 333.333], abs=1e-3)
    assert [step.emits for step in passes] == [(), (), tuple(range(8))]
    assert passes[-1].evicts == tuple(range(6)), "the tail stays for the next segment"


def test_the_next_segment_begins_with_the_clean_tail():
    step = next(islice(PLAN.passes(), 3, None))
    tail, fresh = step.queries[:2], step.queries[2:]
    assert [(q.frame, q.timestep, q.action) for q in tail] == [(6, 0.0, Action.KEEP), (7, 0.0, Action.KEEP)]
    assert [q.frame for q in fresh] == list(range(8, 14)) and {q.action for q in fresh} == {Action.STEP}
    assert [q.position for q in step.queries] == list(range(8)), "every segment counts its positions from 0"


def test_a_given_tail_is_continued():
    first, second, third = islice(SegmentPlan(flow_sigmas(3), 8, 2, given=2).passes(), 3)
    assert [q.action for q in first.queries] == [Action.KEEP] * 2 + [Action.STEP] * 6
    assert [step.emits for step in (first, second, third)] == [(0, 1), (), tuple(range(2, 8))]


def test_lengths_end_with_segments():
    assert [PLAN.snapped(frames) for frames in (1, 8, 9, 14, 15)] == [8, 8, 14, 14, 20]
    given = SegmentPlan(flow_sigmas(3), 8, 2, given=2)
    assert [given.snapped(frames) for frames in (3, 8, 9)] == [8, 8, 14]
    assert PLAN.tail(30) == 2
    with pytest.raises(PlanError, match="1 frames are fewer than the overlap of 2"):
        PLAN.tail(1)
    with pytest.raises(PlanError, match="do not overlap"):
        SegmentPlan(flow_sigmas(3), 8, 0).tail(30)


def test_cost():
    assert (cost(PLAN, 8).passes, cost(PLAN, 9).passes, cost(PLAN, 20).passes) == (3, 6, 9)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"overlap": 8}, r"the overlap must be 0\.\.7 frames of a segment of 8, got 8"),
        ({"overlap": -1}, r"the overlap must be 0\.\.7 frames of a segment of 8, got -1"),
        ({"given": 3}, r"continues exactly 2 given frames \(its overlap\), got 3"),
        ({"sigmas": (0.1, 0.9)}, "noise levels must fall"),
    ],
)
def test_faults_are_named(fault, message):
    with pytest.raises(PlanError, match=message):
        SegmentPlan(**{"sigmas": flow_sigmas(3), "segment": 8, "overlap": 2, **fault})
