"""Plans are stored in a run as plain data and come back equal."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from avgen_core.plan import (
    AsynchronousPlan,
    BlockPlan,
    OnSwitch,
    PlanError,
    ReferencePlan,
    SegmentPlan,
    SinkPositions,
    Solver,
    Window,
    WindowedAsynchronousPlan,
    flow_sigmas,
)
from avgen_core.plan.recipes import KINDS, plan_from_json, plan_to_json

PLANS = [
    BlockPlan(flow_sigmas(3)),
    BlockPlan(
        flow_sigmas(4, 5.0), 2, Window(8, 2, SinkPositions.ROLLING), Solver.RENOISE, True, 3, 20.0, OnSwitch.KEEP
    ),
    AsynchronousPlan(flow_sigmas(10), 2),
    AsynchronousPlan(
        flow_sigmas(5), 1, 30, 3, Window(21, 3), Solver.RENOISE, given=6, joint=True, on_switch=OnSwitch.KEEP
    ),
    WindowedAsynchronousPlan((981.0, 501.0, 1.0), 1, 12, 6, block=2, given=4, finished_timestep=1.0),
    SegmentPlan(flow_sigmas(3), 8, 2, 2),
    ReferencePlan(flow_sigmas(3), 3, False, 0.1, Solver.RENOISE, 2),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_round_trip(plan):
    back = plan_from_json(json.loads(json.dumps(plan_to_json(plan))))
    assert back == plan and type(back) is type(plan)
    assert list(islice(back.passes(), 30)) == list(islice(plan.passes(), 30))


def test_every_kind_is_tried():
    assert {type(plan) for plan in PLANS} == set(KINDS.values())


def test_an_unknown_kind_is_named():
    with pytest.raises(PlanError, match="unknown plan kind 'spiral'; this version knows block, asynchronous"):
        plan_from_json({"kind": "spiral"})


def test_stored_faults_are_found():
    data = plan_to_json(BlockPlan(flow_sigmas(3)))
    with pytest.raises(PlanError, match="noise levels must fall"):
        plan_from_json({**data, "sigmas": [0.1, 0.5]})
