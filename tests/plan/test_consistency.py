"""Every pass of every plan can be carried out: what it needs is there, and each frame goes its way once."""

from __future__ import annotations

from itertools import product

import pytest

from avgen_core.plan import (
    AsynchronousPlan,
    BlockPlan,
    ReferencePlan,
    SegmentPlan,
    SinkPositions,
    Solver,
    Window,
    WindowedAsynchronousPlan,
    flow_sigmas,
)
from avgen_core.plan.passes import never
from tests.plan.checker import follow


def every_five(earlier: int, later: int) -> bool:
    """A prompt that changes every five frames."""
    return earlier // 5 != later // 5


WINDOWS = [
    Window(),
    Window(9),
    Window(12, 1),
    Window(12, 3, SinkPositions.ROLLING),
    Window(6, 3, SinkPositions.ROLLING),
]


@pytest.mark.parametrize("changed", [never, every_five])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_block_plans(window, changed):
    for block, first_alone, solver, units in product((1, 2, 3), (False, True), Solver, (0, 2)):
        given = (1 + block if first_alone else 2 * block) if units else 0
        plan = BlockPlan(flow_sigmas(3), block, window, solver, first_alone, given)
        checker = follow(plan, 40, changed, window.size, window.sink)
        assert checker.held <= (window.size or 44) + block


@pytest.mark.parametrize("changed", [never, every_five])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_asynchronous_plans(window, changed):
    """Also where the frames in flight fill the window to the last place."""
    for (steps, difference), block, frames, given in product(
        ((1, 1), (2, 1), (3, 1), (4, 2), (4, 3), (4, 4), (9, 3)), (1, 3), (None, 36), (0, 6)
    ):
        room = (window.size or 99) - window.sink
        if steps > difference * (room // block):
            continue
        plan = AsynchronousPlan(flow_sigmas(steps), difference, frames, block, window, given=given)
        checker = follow(plan, 36, changed, window.size, window.sink)
        assert checker.held <= (window.size or 50) + block


@pytest.mark.parametrize(("difference", "window"), [(0, 24), (1, 12), (2, 6), (5, 3), (10, 3)])
@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("given", [0, 2])
def test_windowed_asynchronous_plans(difference, window, block, given):
    timesteps = tuple(1000 * sigma for sigma in flow_sigmas(10))
    plan = WindowedAsynchronousPlan(timesteps, difference, 24 * block, window * block, block, given=given * block)
    checker = follow(plan, 24 * block, window=window * block)
    assert checker.held <= window * block


@pytest.mark.parametrize(("segment", "tail", "given"), [(8, 0, 0), (8, 3, 0), (8, 3, 3), (2, 1, 1)])
def test_segment_plans(segment, tail, given):
    assert follow(SegmentPlan(flow_sigmas(4), segment, tail, given), 40).held <= segment


@pytest.mark.parametrize("anchor", [True, False])
@pytest.mark.parametrize("given", [0, 1, 5])
def test_reference_plans(anchor, given):
    assert follow(ReferencePlan(flow_sigmas(4), 2, anchor, 0.1, given=given), 20).held <= 3 + anchor
