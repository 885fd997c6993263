"""Plans: small recipes that yield passes lazily, with validation, cost and picture."""

from .asynchronous import ADRule, AsynchronousPlan
from .block import BlockPlan, OnSwitch, SinkPositions, Solver, Window
from .passes import Action, Cost, Pass, Plan, PlanError, Query, Reference, Slot, cost, passes_from, passes_until
from .segment import ReferencePlan, SegmentPlan
from .sigmas import consistency_timesteps, ddim_timesteps, flow_sigmas, trailing_timesteps, warped_sigmas
from .windowed import Savings, WindowedAsynchronousPlan

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
    "Savings",
    "SegmentPlan",
    "SinkPositions",
    "Slot",
    "Solver",
    "WindowedAsynchronousPlan",
    "Window",
    "consistency_timesteps",
    "cost",
    "ddim_timesteps",
    "flow_sigmas",
    "passes_from",
    "passes_until",
    "trailing_timesteps",
    "warped_sigmas",
]
