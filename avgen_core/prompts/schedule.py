"""A prompt schedule: which text holds from which frame on, and how one turns into the next.

All frames are pixel frames. A segment holds until the next one starts; the last one holds for ever.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@dataclass(frozen=True)
class Segment:
    """`text` holds from frame `start` on.

    `blend` replaces the schedule's own for this segment, and may be cut off by the next segment;
    `PromptSchedule.extended` needs both to leave the frames of a finished run as they were.
    """

    start: int
    text: str
    blend: int | None = None

    def __post_init__(self) -> None:
        if not _is_count(self.start):
            raise ValueError(f"a prompt cannot start at frame {self.start!r}: it must be a whole number from 0 on")
        if not isinstance(self.text, str) or (self.text and not self.text.strip()):
            raise ValueError(f'the prompt at frame {self.start} is blank: it must be a text, or "" for no prompt')
        if any("\ud800" <= character <= "\udfff" for character in self.text):
            raise ValueError(f"the prompt at frame {self.start} has half a surrogate pair, which is not a character")
        if self.blend is not None and not _is_count(self.blend):
            raise ValueError(f"blend must be a whole number of frames from 0 on, not {self.blend!r}")


def sequence_fault(segments: Sequence[Segment], blend: int) -> tuple[int, str] | None:
    """The first segment that cannot follow the one before it, and why; None if all is well."""
    if segments[0].start != 0:
        return 0, f"the first prompt starts at frame {segments[0].start}; the first must start at frame 0"
    for index in range(1, len(segments)):
        before, here = segments[index - 1], segments[index]
        if here.start == before.start:
            return index, f"frame {here.start} already has a prompt; each frame can start only one"
        if here.start < before.start:
            return index, f"frame {here.start} comes after frame {before.start}; starts must increase"
        if index + 1 < len(segments) and here.blend is None:
            length = segments[index + 1].start - here.start
            if 0 < length < blend:
                return index, (
                    f"the prompt at frame {here.start} lasts {length} frames, shorter than its blend of "
                    f"{blend}; blend over at most {length} or let it last longer"
                )
    return None


@dataclass(frozen=True)
class PromptSchedule:
    """Segments in order of time, the first at frame 0; each blends in over its first `blend` frames."""

    segments: tuple[Segment, ...]
    blend: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.segments))
        if not self.segments:
            raise ValueError("a prompt schedule needs at least one segment, at frame 0")
        if not _is_count(self.blend):
            raise ValueError(f"blend must be a whole number of frames from 0 on, not {self.blend!r}")
        fault = sequence_fault(self.segments, self.blend)
        if fault:
            raise ValueError(fault[1])

    def at(self, frame: int) -> tuple[tuple[str, float], ...]:
        """The texts that hold at `frame` with their weights, which sum to 1: two inside a blend, else one."""
        index = self._index(frame)
        here = self.segments[index]
        offset, blend = frame - here.start, self._blend_of(index)
        if offset >= blend or self.segments[index - 1].text == here.text:
            return ((here.text, 1.0),)
        weight = (offset + 1) / (blend + 1)
        return ((self.segments[index - 1].text, 1.0 - weight), (here.text, weight))

    def texts(self) -> tuple[str, ...]:
        """Every text once, in the order of first use: what a text encoder has to encode."""
        return tuple(dict.fromkeys(segment.text for segment in self.segments))

    def translated(self, texts: Mapping[str, str]) -> PromptSchedule:
        """The same schedule with `texts[text]` in the place of every text."""
        return replace(self, segments=tuple(replace(s, text=texts[s.text]) for s in self.segments))

    def switches(self) -> tuple[int, ...]:
        """The frames at which a new segment starts; frame 0 is not among them."""
        return tuple(segment.start for segment in self.segments[1:])

    def shifted(self, offset: int) -> PromptSchedule:
        """The same schedule `offset` frames later: its `at(f)` is this one's `at(f - offset)`.

        Later: the first prompt holds from frame 0 through the frames gained.
        Earlier (a negative offset): what comes to lie before frame 0 is dropped.
        """
        index = self._index(max(0, -offset))
        first = self.segments[index]
        blend_end = first.start + self._blend_of(index)
        if max(0, -offset) < blend_end:
            raise ValueError(
                f"a schedule cannot start at frame {-offset} of another, inside the blend of frames "
                f"{first.start} to {blend_end - 1}; start before or after it"
            )
        later = (replace(segment, start=segment.start + offset) for segment in self.segments[index + 1 :])
        return PromptSchedule((Segment(0, first.text), *later), self.blend)

    def extended(self, other: PromptSchedule, at_frame: int) -> PromptSchedule:
        """This schedule before `at_frame`, and from there on `other`, whose frame 0 falls on `at_frame`.

        Frames before `at_frame` keep exactly their prompts and weights, also where `at_frame` cuts a blend.
        From there on `other.blend` rules, also at the join (as far as `other`'s first segment has room for
        it). If `other` begins with the text that holds already, that text goes on without a switch.
        """
        if not _is_count(at_frame):
            raise ValueError(f"at_frame must be a whole number from 0 on, not {at_frame!r}")
        kept = [
            segment if index == 0 else replace(segment, blend=self._blend_of(index))
            for index, segment in enumerate(self.segments)
            if segment.start < at_frame
        ]
        if not kept:
            return other
        moved = [replace(segment, start=segment.start + at_frame) for segment in other.segments]
        if moved[0].text == kept[-1].text:
            del moved[0]
        elif len(moved) > 1 and moved[1].start - at_frame < other.blend:
            moved[0] = replace(moved[0], blend=moved[1].start - at_frame)
        return PromptSchedule((*kept, *moved), other.blend)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file; `from_json` reads it back to an equal schedule."""
        segments = []
        for segment in self.segments:
            own = {} if segment.blend is None else {"blend": segment.blend}
            segments.append({"start": segment.start, "text": segment.text, **own})
        return {"segments": segments, "blend": self.blend}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PromptSchedule:
        """The schedule that `to_json` wrote; ValueError for anything else."""
        try:
            return cls(tuple(Segment(**segment) for segment in data["segments"]), data["blend"])
        except (KeyError, TypeError) as error:
            raise ValueError(
                f'not a prompt schedule ({error}); expected {{"segments": [{{"start": 0, "text": "..."}}], "blend": 0}}'
            ) from error

    def describe(self, fps: float) -> str:
        """A table of what was understood, one line a segment, times at `fps` frames a second."""
        rows = [("frames", "seconds", "blend", "prompt")]
        ends = [*self.switches(), None]
        for index, (segment, end) in enumerate(zip(self.segments, ends, strict=True)):
            frames = f"{segment.start}-" if end is None else f"{segment.start}-{end - 1}"
            seconds = f"{segment.start / fps:.2f}-" + ("" if end is None else f"{end / fps:.2f}")
            blend = self._blend_of(index)
            rows.append((frames, seconds, str(blend) if blend else "-", " ".join(segment.text.split()) or "(none)"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]])
            for row in rows
        )

    def _index(self, frame: int) -> int:
        if frame < 0:
            raise ValueError(f"frame {frame} is before the schedule, which starts at frame 0")
        return bisect_right(self.segments, frame, key=lambda segment: segment.start) - 1

    def _blend_of(self, index: int) -> int:
        """Over how many frames segment `index` blends in; the first has nothing to come from."""
        own = self.segments[index].blend
        return 0 if index == 0 else self.blend if own is None else own
