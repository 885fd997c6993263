"""A picture of judged videos: a row of frames each, with the caption and what the classifier saw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

COLUMNS, TILE, BAR = 8, 96, 34
WHITE, GREEN, RED = (235, 235, 235), (110, 220, 120), (255, 110, 100)


@dataclass(frozen=True)
class Judged:
    """One video: its frames (F, H, W, 3) uint8, caption, and the wanted and seen value of each attribute."""

    frames: np.ndarray
    caption: str
    wanted: dict[str, str]
    seen: dict[str, str]

    @property
    def wrong(self) -> list[str]:
        """The attributes that were not recognised."""
        return [name for name, value in self.wanted.items() if self.seen[name] != value]


def _write(bar: np.ndarray, text: str, line: int, colour: tuple[int, int, int]) -> None:
    cv2.putText(bar, text, (4, 13 + 15 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)


def _row(video: Judged) -> np.ndarray:
    bar = np.full((BAR, COLUMNS * TILE, 3), 24, np.uint8)
    _write(bar, video.caption, 0, WHITE)
    faults = "; ".join(f"{name}: {video.seen[name]}, not {video.wanted[name]}" for name in video.wrong)
    _write(bar, faults or "all recognised", 1, RED if faults else GREEN)
    picked = video.frames[np.linspace(0, len(video.frames) - 1, COLUMNS).round().astype(int)]
    tiles = [cv2.resize(frame, (TILE, TILE), interpolation=cv2.INTER_CUBIC) for frame in picked]
    return np.concatenate([bar, np.concatenate(tiles, axis=1)])


def contact_sheet(videos: list[Judged], rows: int = 16) -> np.ndarray:
    """Up to `rows` videos, (height, width, 3) RGB: half of them the worst, the other half the best."""
    ordered = sorted(videos, key=lambda video: -len(video.wrong))
    chosen = ordered if len(ordered) <= rows else [*ordered[: rows // 2], *ordered[len(ordered) - rows // 2 :]]
    return np.concatenate([_row(video) for video in chosen])


def write_sheet(path: Path, videos: list[Judged], rows: int = 16) -> None:
    """Write the contact sheet as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(contact_sheet(videos, rows), cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {path.name}: its name must end in .png")
