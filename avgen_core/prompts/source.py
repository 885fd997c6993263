"""Places in the text that the user wrote, so that every error can point at one."""

from __future__ import annotations

from dataclasses import dataclass


class PromptScheduleError(ValueError):
    """A prompt schedule that cannot be understood; `line` and `column` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message, line, column)
        self.message = message
        self.line = line
        self.column = column

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.message}"


@dataclass(frozen=True)
class Entry:
    """One prompt as it was written: `label` is what the user gave as its start (`1.5s:`)."""

    start: int
    text: str
    label: str
    line: int
    column: int


def position_of(source: str, offset: int) -> tuple[int, int]:
    """Line and column of a character of `source`, whose lines end in a line feed."""
    return source.count("\n", 0, offset) + 1, offset - source.rfind("\n", 0, offset)


def error_at(source: str, offset: int, message: str) -> PromptScheduleError:
    return PromptScheduleError(message, *position_of(source, offset))
