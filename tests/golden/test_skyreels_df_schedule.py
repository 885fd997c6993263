"""The asynchronous plan yields the rows of SkyReels-V2's `generate_timestep_matrix`."""

from __future__ import annotations

import pytest

from avgen_core.plan import Action, WindowedAsynchronousPlan

from .conftest import golden_json

CASES = golden_json("skyreels_df_schedule")


@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: f"F{c['latent_frames']}-s{c['ar_step']}-b{c['block']}-r{c['ready_frames']}"
)
def test_rows_equal_the_official_matrix(case):
    plan = WindowedAsynchronousPlan(
        timesteps=tuple(float(t) for t in case["template"]),
        difference=case["ar_step"],
        frames=case["latent_frames"],
        window=min(case["base_frames"], case["latent_frames"]),
        block=case["block"],
        given=case["ready_frames"],
    )
    rows = list(plan.passes())
    assert len(rows) == len(case["timesteps"])
    for row, step in enumerate(rows):
        frames = [q.frame for q in step.queries]
        assert frames == list(range(*case["window"][row]))
        assert [q.timestep for q in step.queries] == [case["timesteps"][row][f] for f in frames]
        assert [q.action is Action.STEP for q in step.queries] == [bool(case["update"][row][f]) for f in frames]
