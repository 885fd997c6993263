"""What a model makes of a schedule of prompts."""

from __future__ import annotations

from dataclasses import dataclass

from .schedule import PromptSchedule


@dataclass(frozen=True)
class Reading:
    """`schedule`: as the model will be told; `remarks`: what its author should know of the difference."""

    schedule: PromptSchedule
    remarks: tuple[str, ...] = ()
