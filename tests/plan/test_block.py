"""Block plans: a block goes down the noise levels, is committed, and is seen by the blocks after it."""

from __future__ import annotations

from itertools import islice

import pytest

from avgen_core.plan import (
    Action,
    BlockPlan,
    OnSwitch,
    PlanError,
    SinkPositions,
    Solver,
    Window,
    cost,
    flow_sigmas,
    passes_from,
    passes_until,
    warped_sigmas,
)

SELF_FORCING = BlockPlan(warped_sigmas((1000, 750, 500, 250), 5.0), block=3, window=Window(21), solver=Solver.RENOISE)


def frames_of(step) -> list[int]:
    return [query.frame for query in step.queries]


def context_of(step) -> list[int]:
    return [slot.frame for slot in step.context]


def test_first_block_of_self_forcing():
    *steps, commit = islice(SELF_FORCING.passes(), 5)
    assert [frames_of(step) for step in steps] == [[0, 1, 2]] * 4
    assert [step.queries[0].timestep for step in steps] == pytest.approx([1000, 937.5, 833.33, 625], abs=0.01)
    assert [step.queries[0].action for step in steps] == [Action.RENOISE] * 3 + [Action.STEP]
    assert [step.emits for step in steps] == [(), (), (), (0, 1, 2)]
    assert {(query.action, query.timestep) for query in commit.queries} == {(Action.COMMIT, 0.0)}


def test_blocks_see_the_window_with_its_sink():
    plan = BlockPlan(flow_sigmas(1), block=2, window=Window(6, 1))
    seen = [context_of(step) for step in islice(plan.passes(), 0, 12, 2)]
    assert seen == [[], [0, 1], [0, 1, 2, 3], [0, 3, 4, 5], [0, 5, 6, 7], [0, 7, 8, 9]]


@pytest.mark.parametrize(
    ("kind", "positions"), [(SinkPositions.KEPT, [0, 1, 7, 8, 9]), (SinkPositions.ROLLING, [5, 6, 7, 8, 9])]
)
def test_sink_positions(kind, positions):
    plan = BlockPlan(flow_sigmas(1), block=2, window=Window(7, 2, kind))
    step = next(step for step in plan.passes() if frames_of(step)[0] == 10)
    assert context_of(step) == [0, 1, 7, 8, 9]
    assert [slot.position for slot in step.context] == positions


def test_rolling_sink_is_just_before_the_block_when_nothing_is_between():
    plan = BlockPlan(flow_sigmas(1), block=2, window=Window(4, 2, SinkPositions.ROLLING))
    step = next(step for step in plan.passes() if frames_of(step)[0] == 10)
    assert [(slot.frame, slot.position) for slot in step.context] == [(0, 8), (1, 9)]


def test_first_frame_alone():
    plan = BlockPlan(flow_sigmas(1), block=3, first_alone=True)
    assert [frames_of(step) for step in islice(plan.passes(), 0, 6, 2)] == [[0], [1, 2, 3], [4, 5, 6]]
    assert [plan.snapped(frames) for frames in (1, 2, 4, 5)] == [1, 4, 4, 7]
    assert [SELF_FORCING.snapped(frames) for frames in (1, 3, 4)] == [3, 3, 6]


def test_given_frames_are_committed_and_emitted_at_once():
    plan = BlockPlan(flow_sigmas(2), block=2, given=4)
    first, second, third = islice(plan.passes(), 3)
    assert [(frames_of(step), step.emits) for step in (first, second)] == [([0, 1], (0, 1)), ([2, 3], (2, 3))]
    assert {query.action for step in (first, second) for query in step.queries} == {Action.COMMIT}
    assert frames_of(third) == [4, 5] and context_of(third) == [0, 1, 2, 3]


def test_a_prompt_switch_recaches_the_window_but_not_the_sink():
    def changed(earlier: int, later: int) -> bool:
        return earlier < 7 <= later

    plan = BlockPlan(flow_sigmas(1), block=2, window=Window(6, 1), on_switch=OnSwitch.RECACHE)
    recaches = [step for step in passes_until(plan, 20, changed) if step.queries[0].action is Action.RECACHE]
    assert len(recaches) == 1
    assert frames_of(recaches[0]) == [5, 6, 7], "before the block of frame 8, the first that begins after the switch"
    assert context_of(recaches[0]) == [0]
    assert {query.prompt_at for query in recaches[0].queries} == {8}
    assert [query.group for query in recaches[0].queries] == [2, 3, 3], "block by block, as they were made"
    kept = BlockPlan(flow_sigmas(1), block=2, window=Window(6, 1))
    assert list(passes_until(kept, 20, changed)) == list(passes_until(kept, 20))


def test_cost():
    """Seven blocks of four steps; the commit of the last one is not needed for its frames."""
    price = cost(SELF_FORCING, 21)
    assert (price.passes, price.frame_evaluations) == (34, 102)
    assert (price.largest_pass, price.largest_context) == (3, 18)
    assert str(price) == "34 passes, 102 frame evaluations, up to 3 frames a pass over 18 cached"


def test_endless_plans_are_lazy_and_go_on_from_anywhere():
    far = next(iter(passes_from(SELF_FORCING, 5_000)))
    assert far.queries[0].frame == 3_000
    assert far == next(islice(SELF_FORCING.passes(), 5_000, None)), "the same passes for ever"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"sigmas": (0.5, 0.8)}, r"noise levels must fall strictly within 1..0"),
        ({"sigmas": ()}, r"noise levels must fall"),
        ({"sigmas": (1.0, 0.0)}, r"noise levels must fall"),
        ({"sigmas": (1.2, 0.5)}, r"noise levels must fall"),
        ({"block": 0}, "block must be at least 1 frame, got 0"),
        ({"window": (4, 2)}, "a window of 4 frames cannot hold a block of 3 and a sink of 2: use .* at least 5"),
        ({"window": (0, 0)}, "a window must hold at least 1 frame, got 0"),
        ({"window": (9, -1)}, "a sink must be 0 frames or more, got -1"),
        ({"given": 4}, "4 given frames do not fill whole blocks of 3: give 6"),
        ({"given": 3, "first_alone": True}, "3 given frames do not fill .* after a first frame alone: give 4"),
    ],
)
def test_faults_are_named(fault, message):
    with pytest.raises(PlanError, match=message):
        fault = {**fault, "window": Window(*fault["window"])} if "window" in fault else fault
        BlockPlan(**{"sigmas": flow_sigmas(2), **fault})


def test_step_lists():
    assert flow_sigmas(4) == (1.0, 0.75, 0.5, 0.25)
    assert flow_sigmas(2, shift=3.0) == (1.0, 0.75)
    for call in (lambda: flow_sigmas(0), lambda: flow_sigmas(2, 0), lambda: warped_sigmas((1000, 0), 5)):
        with pytest.raises(PlanError):
            call()
