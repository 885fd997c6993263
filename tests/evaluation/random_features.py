"""Stand-ins for feature networks, without weights."""

from __future__ import annotations

import numpy as np
import torch

from avgen_core.evaluation.features import FIRES, STAGES, SqueezeNet
from avgen_core.evaluation.lpips import Lpips


def video_means(videos: np.ndarray) -> np.ndarray:
    """Colour means of whole videos, (N, 3)."""
    return videos.mean(axis=(1, 2, 3))


def frame_means(videos: np.ndarray) -> np.ndarray:
    """Colour means of four frames, (N, 4, 3)."""
    return videos[:, [0, 4, 8, 11]].mean(axis=(2, 3))


def random_lpips() -> Lpips:
    """A random trunk, all of whose channels count alike."""
    torch.manual_seed(0)
    channels = [64, *(2 * FIRES[name][2] for name in STAGES)]
    return Lpips(
        SqueezeNet().eval().requires_grad_(False), tuple(torch.full((count,), 1 / count) for count in channels)
    )
