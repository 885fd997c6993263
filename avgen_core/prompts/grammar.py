"""The text of a prompt schedule -> `PromptSchedule`. One style a text, found out from the text itself:

    a red fox runs                      plain: one prompt throughout
    0: a red fox                        headers: `24:`, `24f:`, `frame 24:`, `1.5s:`, `1.5 seconds:`,
    1.5s: a blue fox                    `50%:` of the video, `chunk 3:` (the first is chunk 0)
    "0": "a fox", "24": "an owl"        FizzNodes' JSON body, with or without braces
    a fox | an owl | a bear             bars: spread evenly over the video

Lines without a header continue the prompt above them; blank lines and lines that start with # are ignored.
`\\|` is a bar that belongs to the prompt, and headers may share a line: `0: a fox | 24: an owl`. A number
followed by a colon and a digit (`16:9`) is no header. Starts round half up to a pixel frame. Nothing is
ever evaluated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from .json_body import is_json_body, read_json_body
from .schedule import PromptSchedule, Segment, sequence_fault
from .source import Entry, PromptScheduleError

_HEADER = re.compile(
    r"""(?: (?P<word>frame|chunk) \s* (?P<count>[-+]?\.?[0-9][0-9.]*)
          | (?P<number>[-+]?\.?[0-9][0-9.]*) \s* (?P<unit>%|f|frames?|s|secs?|seconds?)? )
        \s* [:\uff1a]""",
    re.VERBOSE | re.IGNORECASE,
)
_ALMOST_HEADER = re.compile(
    r"(?:[-+.]*[0-9]|(?:frame|chunk)\s*[-+.0-9]|max_f)[^:\uff1a]{0,16}[:\uff1a](?![0-9])", re.IGNORECASE
)
_BAR = re.compile(r"(?<!\\)\|")
_BRACES = re.compile(r"\{[^{}]*\}")
_ALLOWED = "allowed are `24:`, `24f:`, `frame 24:`, `1.5s:`, `50%:` and `chunk 3:`"


@dataclass(frozen=True)
class _Piece:
    """A stretch of text between line ends and bars, with the place of its first character."""

    text: str
    line: int
    column: int
    after_bar: bool

    def error(self, message: str) -> PromptScheduleError:
        return PromptScheduleError(message, self.line, self.column)


@dataclass(frozen=True)
class _Clock:
    """What turns a header into a frame."""

    fps: Fraction
    frames: int | None
    chunk: int | None

    def frame_of(self, header: re.Match[str], piece: _Piece) -> int:
        shown = f"`{header[0]}`"
        unit = (header["word"] or header["unit"] or "frame").lower()
        try:
            value = Fraction(header["number"] or header["count"])
        except ValueError:
            raise piece.error(f"{shown} has no number that can be read; {_ALLOWED}") from None
        if value < 0:
            raise piece.error(f"{shown} is negative; a prompt starts at frame 0 or later")
        if unit == "%":
            if self.frames is None:
                raise piece.error(f"{shown} needs the length of the video, which is not known here; use frames or s")
            value *= Fraction(self.frames, 100)
        elif unit.startswith("s"):
            value *= self.fps
        elif value.denominator != 1:
            raise piece.error(f"{shown} is not a whole number; for a moment in between write seconds such as `1.5s:`")
        elif unit == "chunk":
            if self.chunk is None:
                raise piece.error(f"{shown} needs the number of frames in a chunk, which is not known here; use frames")
            value *= self.chunk
        return _half_up(value)


def parse_schedule(
    text: str, *, fps: float, frames: int | None = None, chunk: int | None = None, blend: int = 0
) -> PromptSchedule:
    """Read a schedule in any of the styles above. An empty text is no prompt at all, for the whole video.

    Args:
        text: what the user wrote.
        fps: frames a second, for starts given in seconds.
        frames: pixel frames of the video; needed by `50%:` and by bars, and no prompt may start after it.
        chunk: pixel frames of one chunk; needed by `chunk 3:`.
        blend: over how many frames each prompt turns into the next (0: at once).

    Raises:
        PromptScheduleError: the text is at fault; says where and what is allowed.
        ValueError: one of the other arguments is.
    """
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be a positive number, not {fps!r}")
    for name, count, least in (("frames", frames, 1), ("chunk", chunk, 1), ("blend", blend, 0)):
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < least):
            raise ValueError(f"{name} must be a whole number from {least} on, not {count!r}")
    source = _normalised(text)
    if is_json_body(source):
        return _build(read_json_body(source), frames, blend)
    pieces = _pieces(source)
    if not pieces:
        return PromptSchedule((Segment(0, ""),), blend)
    if any(_header(piece) for piece in pieces):
        entries = _read_headers(pieces, _Clock(Fraction(str(fps)), frames, chunk))
    else:
        entries = _read_parts(pieces, frames)
    return _build(entries, frames, blend)


def _normalised(text: str) -> str:
    """Line feeds only, no byte order mark, and comment lines blanked out so that all places stay the same."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    return "\n".join(" " * len(line) if line.lstrip().startswith("#") else line for line in lines)


def _pieces(source: str) -> list[_Piece]:
    pieces = []
    for number, line in enumerate(source.split("\n"), start=1):
        start, after_bar = 0, False
        if not line.strip():
            continue
        choice = next((braces for braces in _BRACES.finditer(line) if _BAR.search(braces[0])), None)
        if choice:
            raise PromptScheduleError(
                f"{_short(choice[0])} is a dynamic prompt, which only ComfyUI's browser page resolves; "
                "choose one, or write \\| for a bar that belongs to the prompt",
                number,
                choice.start() + 1,
            )
        for bar in [*_BAR.finditer(line), None]:
            raw = line[start : bar.start() if bar else None]
            column = start + len(raw) - len(raw.lstrip()) + 1
            pieces.append(_Piece(raw.strip(), number, column, after_bar))
            if bar:
                start, after_bar = bar.end(), True
    return pieces


def _header(piece: _Piece) -> re.Match[str] | None:
    match = _HEADER.match(piece.text)
    if match and not match["word"] and not match["unit"] and piece.text[match.end() :][:1].isdigit():
        return None  # 16:9 or 12:30
    return match


def _read_headers(pieces: Sequence[_Piece], clock: _Clock) -> list[Entry]:
    entries: list[Entry] = []
    for piece in pieces:
        header = _header(piece)
        if header:
            text = _unescaped(piece.text[header.end() :])
            start = clock.frame_of(header, piece)
            entries.append(Entry(start, text, f"`{header[0]}`", piece.line, piece.column))
        elif not piece.text:
            continue
        elif not entries:
            raise piece.error(f"{_short(piece.text)} has no start; begin with a header for frame 0, such as `0:`")
        elif _ALMOST_HEADER.match(piece.text):
            raise piece.error(
                f"{_short(piece.text)} is not a start that is understood; {_ALLOWED}; expressions are not "
                "evaluated. If it belongs to the prompt, move it up to the end of the line above"
            )
        elif piece.after_bar:
            raise piece.error(
                f"{_short(piece.text)} has no start while others have; give every part a header or none, "
                "or write \\| for a bar that belongs to the prompt"
            )
        else:
            last = entries[-1]
            text = f"{last.text} {_unescaped(piece.text)}".strip()
            entries[-1] = Entry(last.start, text, last.label, last.line, last.column)
    return entries


def _read_parts(pieces: Sequence[_Piece], frames: int | None) -> list[Entry]:
    """Plain text is the case of one part."""
    parts: list[list[_Piece]] = [[]]
    for piece in pieces:
        if piece.after_bar:
            parts.append([])
        parts[-1].append(piece)
    if len(parts) > 1 and frames is None:
        raise parts[1][0].error("`a | b` spreads prompts over the video, whose length is not known; write `24: b`")
    if frames is not None and len(parts) > frames:
        raise parts[frames][0].error(f"{len(parts)} prompts do not fit into {frames} frames; one frame each is least")
    entries = []
    for index, part in enumerate(parts):
        text = " ".join(_unescaped(piece.text) for piece in part if piece.text)
        start = _half_up(Fraction(index * (frames or 0), len(parts)))
        entries.append(Entry(start, text, f"part {index + 1}", part[0].line, part[0].column))
    return entries


def _build(entries: Sequence[Entry], frames: int | None, blend: int) -> PromptSchedule:
    """Check the starts against each other and against the video, each fault at its place in the text."""
    segments: list[Segment] = []
    first_line: dict[int, int] = {}
    for entry in entries:
        shown = f"{entry.label} (frame {entry.start})"
        fault = None
        if entry.start < 0:
            fault = f"{entry.label} is negative; a prompt starts at frame 0 or later"
        elif not entry.text:
            fault = f"the prompt of {entry.label} is empty; write what the video shows from there on"
        elif entry.start in first_line:
            fault = f"{shown} is a duplicate: line {first_line[entry.start]} already starts a prompt there"
        elif frames is not None and entry.start >= frames:
            fault = f"{shown} is past the end: the video has {frames} frames, 0 to {frames - 1}"
        if fault:
            raise PromptScheduleError(fault, entry.line, entry.column)
        first_line[entry.start] = entry.line
        try:
            segments.append(Segment(entry.start, entry.text))
        except ValueError as error:
            raise PromptScheduleError(f"{entry.label}: {error}", entry.line, entry.column) from error
    misplaced = sequence_fault(segments, blend)
    if misplaced:
        index, reason = misplaced
        entry = entries[index]
        raise PromptScheduleError(f"{entry.label}: {reason}", entry.line, entry.column)
    return PromptSchedule(tuple(segments), blend)


def _half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _unescaped(text: str) -> str:
    return text.replace("\\|", "|").strip()


def _short(text: str) -> str:
    return f"`{text}`" if len(text) <= 40 else f"`{text[:37]}...`"
