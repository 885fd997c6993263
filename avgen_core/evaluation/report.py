"""The result of an evaluation: measures with their ceilings and targets, as a table and as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .measures import Interval


class Goal(str, Enum):
    """How a score is compared with its target."""

    AT_LEAST = "at least"
    AT_MOST = "at most"
    WITHIN = "within"  # this far from 1, on either side


SIGNS = {Goal.AT_LEAST: ">=", Goal.AT_MOST: "<=", Goal.WITHIN: "1 +-"}


@dataclass(frozen=True)
class Measure:
    """One measured value.

    Args:
        interval: 95 % interval of `value`.
        count: how many observations `value` is made of.
        ceiling: the same measurement on fresh renders of the same attributes; None where it has no meaning.
        reconstruction: the same measurement on those renders after the autoencoder, which no video of it can beat.
        against: what `reference` is; the score is `value / reference`, or `value` itself without a reference.
        target: what the score is compared with, as `goal` says; None for a value that is only reported.
    """

    name: str
    value: float
    interval: Interval
    count: int
    unit: str = "share"
    ceiling: float | None = None
    reconstruction: float | None = None
    against: str = ""
    reference: float | None = None
    target: float | None = None
    goal: Goal = Goal.AT_LEAST

    @property
    def score(self) -> float:
        """What the target is compared with; nan when there is nothing to compare against."""
        if not self.against:
            return self.value
        return self.value / self.reference if self.reference else math.nan

    @property
    def passed(self) -> bool | None:
        if self.target is None:
            return None
        if self.goal is Goal.AT_LEAST:
            return round(self.score, 6) >= self.target
        distance = abs(self.score - 1) if self.goal is Goal.WITHIN else self.score
        return round(distance, 6) <= self.target

    def to_json(self) -> dict[str, Any]:
        """Plain data; numbers that are not finite become null."""
        numbers = {
            "value": self.value,
            "ceiling": self.ceiling,
            "reconstruction": self.reconstruction,
            "reference": self.reference,
            "score": self.score,
            "target": self.target,
        }
        return {
            "name": self.name,
            "unit": self.unit,
            "count": self.count,
            "against": self.against,
            "goal": self.goal.value,
            **{name: _finite(number) for name, number in numbers.items()},
            "interval": [_finite(bound) for bound in self.interval],
            "passed": self.passed,
        }


def against_ceiling(name: str, value: float, interval: Interval, count: int, ceiling: float, **fields: Any) -> Measure:
    """A measure whose score is its ratio to the ceiling."""
    return Measure(name, value, interval, count, ceiling=ceiling, against="ceiling", reference=ceiling, **fields)


def _finite(number: float | None) -> float | None:
    return round(number, 4) if number is not None and math.isfinite(number) else None


def _cell(number: float | None) -> str:
    return "-" if number is None or not math.isfinite(number) else f"{number:.3f}" if number < 10 else f"{number:.2f}"


def table(measures: list[Measure]) -> str:
    """The measures as text, one a line."""
    rows = [("measure", "value", "95 %", "n", "ceiling", "score", "of", "target", "")]
    for m in measures:
        verdict = {None: "", True: "pass", False: "FAIL"}[m.passed]
        bounds = f"{_cell(m.interval[0])}..{_cell(m.interval[1])}"
        unit = f" {m.unit}" if m.unit not in ("share", "") else ""
        cells = (f"{_cell(m.value)}{unit}", bounds, str(m.count), _cell(m.ceiling), _cell(m.score))
        target = "-" if m.target is None else f"{SIGNS[m.goal]} {_cell(m.target)}"
        rows.append((m.name, *cells, m.against or "value", target, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
