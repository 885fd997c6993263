"""The asynchronous plan yields the rows of AR-Diffusion's `generate_timestep_matrix`."""

from __future__ import annotations

import pytest

from avgen_core.plan import Action, PlanError, WindowedAsynchronousPlan, passes_until

from .conftest import golden_json

CASES = golden_json("ad_schedule")


def is_complete(case: dict) -> bool:
    """Whether every frame was clean before it left the window; the official code runs others too."""
    steps = case["num_sampling_steps"]
    return all(
        done == steps
        for row, (start, _) in zip(case["step_index"], case["window_interval"], strict=True)
        for done in row[:start]
    )


@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: f"n{c['num_sampling_steps']}-F{c['total_frames']}-s{c['ar_step']}"
)
def test_rows_equal_the_official_matrix(case):
    steps, frames = case["num_sampling_steps"], case["total_frames"]
    template = {
        done: float(fed)
        for counters, row in zip(case["step_index"], case["timesteps"], strict=True)
        for done, fed in zip(counters, row, strict=True)
    }
    timesteps = tuple(template[done] for done in range(1, steps + 1))

    def plan() -> WindowedAsynchronousPlan:
        return WindowedAsynchronousPlan(
            timesteps,
            case["ar_step"],
            frames,
            min(case["window"], frames),
            finished_timestep=timesteps[-1],
            waiting_timestep=template.get(0, 999.0),
        )

    if not is_complete(case):
        with pytest.raises(PlanError, match="before they are clean"):
            plan()
        return
    rows = list(passes_until(plan(), frames))
    assert len(rows) == len(case["timesteps"])
    for step, fed, updated, (start, end) in zip(
        rows, case["timesteps"], case["update"], case["window_interval"], strict=True
    ):
        assert [q.frame for q in step.queries] == list(range(start, end))
        assert [q.timestep for q in step.queries] == fed[start:end]
        assert [q.action is Action.STEP for q in step.queries] == [bool(u) for u in updated[start:end]]
