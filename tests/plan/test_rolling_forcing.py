"""Rolling Forcing is the asynchronous plan with difference 1 over blocks of three frames that see each other."""

from __future__ import annotations

from itertools import islice

import pytest

from avgen_core.plan import Action, AsynchronousPlan, Solver, Window, cost, warped_sigmas

STEPS = (1000.0, 952.381, 882.353, 769.231, 555.556)
PLAN = AsynchronousPlan(
    warped_sigmas((1000, 800, 600, 400, 200), 5.0),
    difference=1,
    block=3,
    window=Window(21, 3),
    solver=Solver.RENOISE,
    joint=True,
)


def in_flight(step) -> dict[int, float]:
    """Noise of each block on its way, cleanest first."""
    return {q.frame // 3: pytest.approx(q.timestep, abs=1e-3) for q in step.queries if q.action is not Action.COMMIT}


def test_blocks_join_one_by_one_at_the_start():
    for number, step in enumerate(islice(PLAN.passes(), 5)):
        assert in_flight(step) == {block: STEPS[number - block] for block in range(number + 1)}
        assert step.emits == ((0, 1, 2) if number == 4 else ())


def test_then_every_pass_shows_five_levels_and_emits_a_block():
    for number, step in islice(enumerate(PLAN.passes()), 5, 40):
        first = number - 4
        assert in_flight(step) == {first + place: level for place, level in enumerate(reversed(STEPS))}
        assert step.emits == tuple(range(3 * first, 3 * first + 3))
        actions = {q.frame // 3: q.action for q in step.queries}
        assert list(actions.values()) == [Action.COMMIT, Action.STEP, *[Action.RENOISE] * 4]


def test_blocks_in_flight_see_each_other_and_the_committed_block_sees_none_of_them():
    step = next(islice(PLAN.passes(), 20, None))
    assert [q.group for q in step.queries] == [-1] * 3 + [0] * 15
    assert [slot.frame for slot in step.context] == [0, 1, 2], "the first block is the sink"


def test_cost_is_one_pass_a_block_after_the_start():
    price = cost(PLAN, 300)
    assert price.passes == 5 + 99
    assert (price.largest_pass, price.largest_context) == (18, 3)
