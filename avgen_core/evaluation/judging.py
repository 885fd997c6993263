"""From videos and wanted attributes to shares of videos that show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..diorama import Attributes, Segment, render
from ..networks.image_autoencoder import ImageAutoencoder
from ..training.autoencoder import to_unit
from ..training.corpus import clip_seed
from .classifier import WINDOW
from .measures import wilson
from .report import Measure, against_ceiling

ASKED = ("subject", "scene", "direction", "action", "time", "weather")


@dataclass(frozen=True)
class Tally:
    """How often something was right."""

    right: int
    count: int

    @property
    def share(self) -> float:
        return self.right / self.count if self.count else float("nan")


def facts(attributes: Attributes) -> dict[str, str]:
    """What a video of `attributes` has to show; a direction only where the action has one."""
    wanted = {name: getattr(attributes, name) for name in ASKED}
    return {name: value for name, value in wanted.items() if (name, value) != ("direction", "none")}


def tally(wanted: list[dict[str, str]], seen: list[dict[str, str]]) -> dict[str, Tally]:
    """How often each fact was seen."""
    tallies = {}
    for name in ASKED:
        hits = [s[name] == w[name] for w, s in zip(wanted, seen, strict=True) if name in w]
        tallies[name] = Tally(sum(hits), len(hits))
    return tallies


def share_measure(name: str, found: Tally, ceiling: Tally, **fields: Any) -> Measure:
    """How often something was right, against how often it is in renders."""
    interval = wilson(found.right, found.count)
    return against_ceiling(name, found.share, interval, found.count, ceiling.share, **fields)


def last_window(videos: np.ndarray) -> np.ndarray:
    """The last 12 frames of videos (N, F, H, W, 3)."""
    return videos[:, -WINDOW:]


def spread_windows(videos: np.ndarray, start: int, stop: int, count: int) -> np.ndarray:
    """`count` windows of each video between two frames, evenly spread: (N * count, 12, H, W, 3), video by video."""
    starts = np.linspace(start, stop - WINDOW, count).round().astype(int)
    return np.stack([video[s : s + WINDOW] for video in videos for s in starts])


def fresh_renders(attributes: list[Attributes], frames: int, seed: int) -> np.ndarray:
    """New renders of the attributes, (N, frames, 64, 64, 3) uint8."""
    return np.stack(
        [render(clip_seed(seed, index), (Segment(frames, a),)).frames for index, a in enumerate(attributes)]
    )


@torch.inference_mode()
def reconstructed(autoencoder: ImageAutoencoder, videos: np.ndarray) -> np.ndarray:
    """Videos (N, F, H, W, 3) uint8 through the autoencoder and back."""
    images = []
    for video in videos:
        decoded = autoencoder.decode(autoencoder.encode(to_unit(video))).clamp(-1, 1)
        images.append(decoded.add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.stack(images)
