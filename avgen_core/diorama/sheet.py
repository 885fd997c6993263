"""A picture of the world: episodes with their captions, to look at what a model is trained on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .clip import Episode, random_episode

COLUMNS, TILE, LINE = 12, 80, 16


def _row(episode: Episode) -> np.ndarray:
    bar = np.full((LINE * len(episode.captions) + 6, COLUMNS * TILE, 3), 24, np.uint8)
    for i, (start, text) in enumerate(zip(episode.starts, episode.captions, strict=True)):
        words = f"from frame {start}: {text}"
        cv2.putText(bar, words, (4, 14 + LINE * i), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    picked = episode.frames[np.linspace(0, len(episode.frames) - 1, COLUMNS).round().astype(int)]
    tiles = [cv2.resize(frame, (TILE, TILE), interpolation=cv2.INTER_CUBIC) for frame in picked]
    return np.concatenate([bar, np.concatenate(tiles, axis=1)])


def write_sheet(path: Path, seed: int, rows: int = 10, frames: int = 24) -> None:
    """Write `rows` random episodes of trained combinations as PNG; the same seed draws the same sheet."""
    sheet = np.concatenate([_row(random_episode(seed + row, frames, size=TILE)) for row in range(rows)])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {path.name}: its name must end in .png")
