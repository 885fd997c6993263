"""Prompts over time: what the user wrote -> which prompts, with which weights, hold at every frame."""

from .classes import Classes
from .grammar import parse_schedule
from .reading import Reading
from .schedule import PromptSchedule, Segment
from .source import PromptScheduleError
from .vocabulary import unknown_words, words_of

__all__ = [
    "Classes",
    "PromptSchedule",
    "PromptScheduleError",
    "Reading",
    "Segment",
    "parse_schedule",
    "unknown_words",
    "words_of",
]
