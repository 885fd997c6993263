"""Numbers that describe videos and the certainty of shares and means. Frames are uint8 RGB, (F, H, W, 3)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean, stdev

import cv2
import numpy as np

Z95 = 1.959964
Interval = tuple[float, float]


def wilson(successes: float, count: float, z: float = Z95) -> Interval:
    """Wilson's score interval of a share; (0, 1) when nothing was counted."""
    if not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count} is not a share")
    if count == 0:
        return 0.0, 1.0
    share, z2 = successes / count, z * z
    middle = share + z2 / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    scale = 1 + z2 / count
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def mean_interval(values: list[float], z: float = Z95) -> Interval:
    """95 % interval of a mean by the normal approximation; unbounded for a single value."""
    if len(values) < 2:
        return -math.inf, math.inf
    reach = z * stdev(values) / math.sqrt(len(values))
    return fmean(values) - reach, fmean(values) + reach


def flow_magnitude(frames: np.ndarray) -> float:
    """Mean length of the optical flow (DIS) over all pixels and pairs of neighbouring frames, in pixels a frame."""
    return fmean(float(np.linalg.norm(flow, axis=-1).mean()) for flow in _flows(frames))


def warping_error(frames: np.ndarray) -> float:
    """Flicker: what of the change between neighbouring frames is no motion, as a mean absolute difference in 0..255.

    Every frame is compared with the next one, brought back along the optical flow; pixels that came from outside the
    picture do not count. Covered and uncovered pixels do, so that moving renders are not at zero either.
    """
    height, width = frames.shape[1:3]
    here = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    errors = []
    for frame, following, flow in zip(frames, frames[1:], _flows(frames), strict=False):
        there = here + flow
        inside = ((there >= 0) & (there <= (width - 1, height - 1))).all(axis=-1)
        warped = cv2.remap(following.astype(np.float32), there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if inside.any():
            errors.append(float(np.abs(warped - frame)[inside].mean()))
    return fmean(errors)


def _flows(frames: np.ndarray) -> Iterator[np.ndarray]:
    """Optical flow (H, W, 2) from each frame to the next, x first."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames]
    for earlier, later in zip(gray, gray[1:], strict=False):
        yield flow.calc(earlier, later, None)


def colour_statistics(frames: np.ndarray) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel over frames (..., 3), in 0..255."""
    channels = frames.reshape(-1, 3).astype(np.float32)
    return {
        "mean": [round(float(v), 2) for v in channels.mean(axis=0)],
        "std": [round(float(v), 2) for v in channels.std(axis=0)],
    }
