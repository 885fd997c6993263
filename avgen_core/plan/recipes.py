"""Plans as plain data: what a run's recipe stores, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .asynchronous import AsynchronousPlan
from .block import BlockPlan, OnSwitch, SinkPositions, Solver, Window
from .passes import Plan, PlanError
from .segment import ReferencePlan, SegmentPlan
from .windowed import Savings, WindowedAsynchronousPlan

KINDS: dict[str, type] = {
    "block": BlockPlan,
    "asynchronous": AsynchronousPlan,
    "windowed_asynchronous": WindowedAsynchronousPlan,
    "segment": SegmentPlan,
    "reference": ReferencePlan,
}
ENUMS = {"solver": Solver, "on_switch": OnSwitch, "savings": Savings}


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Plain data that describes `plan` wholly."""
    kind = next(name for name, cls in KINDS.items() if type(plan) is cls)
    return {"kind": kind, **asdict(plan)}


def plan_from_json(data: dict[str, Any]) -> Plan:
    """The plan that `plan_to_json` described."""
    fields = dict(data)
    kind = fields.pop("kind", None)
    if kind not in KINDS:
        raise PlanError(f"unknown plan kind {kind!r}; this version knows {', '.join(KINDS)}")
    if kind in ("block", "asynchronous"):
        window = dict(fields["window"])
        fields["window"] = Window(**{**window, "sink_positions": SinkPositions(window["sink_positions"])})
    for name in ("sigmas", "timesteps"):
        if name in fields:
            fields[name] = tuple(fields[name])
    for name, enum in ENUMS.items():
        if name in fields:
            fields[name] = enum(fields[name])
    return KINDS[kind](**fields)
