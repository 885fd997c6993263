"""How videos compare with fresh renders: Fréchet distances, motion, flicker and the attributes that are seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from ..diorama import Attributes
from .classifier import AttributeClassifier, classify
from .features import FeatureNetworks
from .frechet import Distance, Gaussian, frechet_distance
from .judging import facts, fresh_renders, last_window, tally
from .measures import Interval, flow_magnitude, mean_interval, warping_error

REFERENCE_RENDERS = 3  # of each combination


@dataclass(frozen=True)
class Quality:
    """What was measured on one set of videos.

    Args:
        video: Fréchet distance of TransNetV2 features.
        frames: Fréchet distance of SqueezeNet features.
        motion: mean optical flow, pixels a frame.
        flicker: mean warping error, 0..255.
        seen: share of videos in which the classifier sees what was asked for, by attribute that was asked for.
    """

    video: Distance
    frames: Distance
    motion: float
    motion_interval: Interval
    flicker: float
    flicker_interval: Interval
    seen: dict[str, float]

    @property
    def accuracy(self) -> float:
        """Mean share over the attributes."""
        return fmean(self.seen.values())

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "accuracy": self.accuracy}


@dataclass(frozen=True)
class Judge:
    """Compares videos of `attributes` with renders of the same combinations, of which there are `REFERENCE_RENDERS`."""

    attributes: list[Attributes]
    features: FeatureNetworks
    classifier: AttributeClassifier
    video_reference: Gaussian
    frame_reference: Gaussian

    @classmethod
    def of(
        cls,
        attributes: list[Attributes],
        frames: int,
        features: FeatureNetworks,
        classifier: AttributeClassifier,
        seed: int,
    ) -> Judge:
        """Renders the reference; `frames` is the length of the videos to come, at least 12."""
        renders = fresh_renders(attributes * REFERENCE_RENDERS, frames, seed)
        images = features.frames(renders)
        return cls(
            attributes,
            features,
            classifier,
            Gaussian.of(features.video(renders)),
            Gaussian.of(images.reshape(-1, images.shape[-1])),
        )

    def judge(self, videos: np.ndarray) -> Quality:
        """Measure videos (N, F, 64, 64, 3) uint8; video i was asked to show `attributes[i]`."""
        wanted = [facts(a) for a in self.attributes]
        seen = tally(wanted, classify(self.classifier, last_window(videos)))
        motion = [flow_magnitude(video) for video in videos]
        flicker = [warping_error(video) for video in videos]
        return Quality(
            frechet_distance(self.features.video(videos), self.video_reference),
            frechet_distance(self.features.frames(videos), self.frame_reference),
            fmean(motion),
            mean_interval(motion),
            fmean(flicker),
            mean_interval(flicker),
            {name: found.share for name, found in seen.items() if found.count},
        )


COLUMNS = ("video FD", "frame FD", "motion", "flicker", "seen")


def quality_rows(results: dict[str, list[Quality]]) -> list[str]:
    """Markdown rows, one a name: means over the runs, with half the range between them after a ± if there are more."""
    rows = [f"| | {' | '.join(COLUMNS)} |", "|---|" + "---|" * len(COLUMNS)]
    for name, runs in results.items():
        values = zip(*((q.video.value, q.frames.value, q.motion, q.flicker, q.accuracy) for q in runs), strict=True)
        rows.append(f"| {name} | {' | '.join(_spread(list(column)) for column in values)} |")
    return rows


def _spread(values: list[float]) -> str:
    digits = 1 if max(values) >= 100 else 2 if max(values) >= 10 else 3
    middle = f"{fmean(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ± {(max(values) - min(values)) / 2:.{digits}f}"
