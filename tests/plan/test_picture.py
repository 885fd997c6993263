"""The picture of a plan shows how noisy each frame is in each pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avgen_core.plan import AsynchronousPlan, BlockPlan, OnSwitch, PlanError, Window, flow_sigmas, passes_until
from avgen_core.plan.picture import ABSENT, CACHED, HIGHEST, MARK, WIDEST, Grid, noise_color, noise_picture
from tests import tiny


def corner(picture: np.ndarray, grid: Grid, row: int, column: int) -> tuple[int, ...]:
    """The colour of a cell beside its mark."""
    left, top, _, _ = grid.box(row, column)
    return tuple(int(value) for value in picture[top, left])


def middle(picture: np.ndarray, grid: Grid, row: int, column: int) -> tuple[int, ...]:
    left, top, right, bottom = grid.box(row, column)
    return tuple(int(value) for value in picture[(top + bottom) // 2, (left + right) // 2])


def test_cells_have_the_colours_of_their_noise():
    plan = tiny.asynchronous_plan(frames=6)
    picture, passes = noise_picture(plan, 6), list(passes_until(plan, 6))
    grid = Grid(len(passes), 6)
    for row, step in enumerate(passes):
        shown = {query.frame: noise_color(query.timestep / 1000) for query in step.queries}
        cached = {slot.frame: CACHED for slot in step.context}
        for column in range(6):
            assert corner(picture, grid, row, column) == {**cached, **shown}.get(column, ABSENT)


def test_commits_are_marked():
    plan = tiny.block_plan()
    picture = noise_picture(plan, 4)
    grid = Grid(7, 4)
    assert middle(picture, grid, 3, 0) == MARK, "frame 0 is committed after three steps"
    assert middle(picture, grid, 2, 0) == noise_color(1 / 3)
    recaching = replace(plan, on_switch=OnSwitch.RECACHE)
    recached = noise_picture(recaching, 4, changed=lambda earlier, later: True)
    assert recached.shape[0] > picture.shape[0], "a prompt switch costs a pass"


def test_noise_is_dark_and_clean_is_bright():
    brightness = [sum(noise_color(level)) for level in (1.0, 0.75, 0.5, 0.25, 0.0)]
    assert brightness == sorted(brightness)


@pytest.mark.parametrize(
    "plan",
    [
        tiny.block_plan(),
        AsynchronousPlan(flow_sigmas(50), 5, window=Window(16)),
        AsynchronousPlan(flow_sigmas(4), 0, frames=1000, window=Window()),
        BlockPlan(flow_sigmas(1), block=200, window=Window(400)),
    ],
)
@pytest.mark.parametrize("frames", [1, 1000, 10**9])
def test_size_is_bounded(plan, frames):
    if isinstance(plan, AsynchronousPlan) and plan.frames:
        frames = plan.frames
    picture = noise_picture(plan, frames)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert picture.shape[0] <= HIGHEST and picture.shape[1] <= WIDEST


def test_nothing_to_draw_is_refused():
    with pytest.raises(PlanError, match="at least 1 frame, got 0"):
        noise_picture(tiny.block_plan(), 0)
