"""Prompts over time: what the user wrote -> which prompts, with which weights, hold at every frame."""

from .classes import Classes
from .grammar import parse_schedule
from .schedule import PromptSchedule, Segment
from .source import PromptScheduleError
from .vocabulary import UnknownWord, unknown_words, warning_text

__all__ = [
    "Classes",
    "PromptSchedule",
    "PromptScheduleError",
    "Segment",
    "UnknownWord",
    "parse_schedule",
    "unknown_words",
    "warning_text",
]
