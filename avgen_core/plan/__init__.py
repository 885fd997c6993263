"""Plans: small recipes that yield passes lazily, with validation, cost and picture."""

from .asynchronous import ADRule, AsynchronousPlan, WindowedAsynchronousPlan
from .block import BlockPlan, OnSwitch, SinkPositions, Solver, Window
from .passes import Action, Cost, Pass, Plan, PlanError, Query, Reference, Slot, cost, passes_from, passes_until
from .segment import ReferencePlan, SegmentPlan
from .sigmas import flow_sigmas, warped_sigmas

__all__ = [
    "ADRule",
    "Action",
    "AsynchronousPlan",
    "BlockPlan",
    "Cost",
    "OnSwitch",
    "Pass",
    "Plan",
    "PlanError",
    "Query",
    "Reference",
    "ReferencePlan",
    "SegmentPlan",
    "SinkPositions",
    "Slot",
    "Solver",
    "WindowedAsynchronousPlan",
    "Window",
    "cost",
    "flow_sigmas",
    "passes_from",
    "passes_until",
    "warped_sigmas",
]
