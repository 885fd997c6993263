"""Long videos: do subject, scene, motion and colours hold to the end?

Their last 64 frames are judged: subject and scene against the first 64, motion and colours against fresh renders.
Motion has a target on both sides, because blur that flickers counts as motion too.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import numpy as np

from ..diorama import Attributes, caption
from ..systems.many_videos import sample_videos
from .classifier import WINDOW, classify
from .judging import Tally, facts, fresh_renders, spread_windows, tally
from .measures import colour_statistics, flow_magnitude, mean_interval, wilson
from .report import Goal, Measure, against_ceiling
from .trial import LONG_PART, RENDERS, Trial, report_progress

STEADY_TARGET = 0.95  # of the accuracy of the beginning
FLOW_TARGET = 0.20  # of the motion of renders, more or less
COLOUR_TARGET = 0.05  # of 255
WINDOWS = LONG_PART // WINDOW  # in a part of a long video


@dataclass(frozen=True)
class LongVideos:
    """Videos (N, F, H, W, 3), their attributes, and `RENDERS` sets of renders of these, each (N, 64, H, W, 3)."""

    attributes: list[Attributes]
    videos: np.ndarray
    renders: tuple[np.ndarray, ...]

    @property
    def ends(self) -> np.ndarray:
        """The last 64 frames."""
        return self.videos[:, -LONG_PART:]

    def named(self, what: str) -> str:
        return f"{what} in the last {LONG_PART} of {self.videos.shape[1]}"


def judge_long(trial: Trial) -> list[Measure]:
    """Make and measure long videos of held-out combinations."""
    settings = trial.settings
    attributes = trial.attributes("long captions", settings.long_clips)
    captions, progress = [caption(a) for a in attributes], report_progress("long videos")
    videos = sample_videos(trial.model, captions, settings.long_frames, trial.sampling(), progress)
    renders = fresh_renders(attributes * RENDERS, LONG_PART, trial.render_seed("long renders"))
    long = LongVideos(attributes, videos, tuple(np.split(renders, RENDERS)))
    return [*steady_measures(trial, long), motion_measure(long), colour_measure(long)]


def steady_measures(trial: Trial, long: LongVideos) -> list[Measure]:
    """Accuracy of subject and scene at the end, as a share of that at the beginning."""
    wanted = [facts(a) for a in long.attributes for _ in range(WINDOWS)]

    def found(part: np.ndarray) -> dict[str, Tally]:
        return tally(wanted, classify(trial.classifier, spread_windows(part, 0, LONG_PART, WINDOWS)))

    first, last, ceiling = found(long.videos), found(long.ends), found(long.renders[0])
    return [
        Measure(
            long.named(name),
            last[name].share,
            # windows of one video say hardly more than one of them
            wilson(last[name].right / WINDOWS, last[name].count / WINDOWS),
            last[name].count,
            ceiling=ceiling[name].share,
            against=f"first {LONG_PART}",
            reference=first[name].share,
            target=STEADY_TARGET,
        )
        for name in ("subject", "scene")
    ]


def motion_measure(long: LongVideos) -> Measure:
    """Length of the optical flow at the end; neither less nor more than that of renders."""
    flows = [flow_magnitude(video) for video in long.ends]
    ceiling = fmean(flow_magnitude(video) for renders in long.renders for video in renders)
    fields = {"unit": "px/frame", "target": FLOW_TARGET, "goal": Goal.WITHIN}
    return against_ceiling(long.named("motion"), fmean(flows), mean_interval(flows), len(flows), ceiling, **fields)


def colour_measure(long: LongVideos) -> Measure:
    """How far colours are from those of renders, as a share of 255; the mean over the videos.

    Of one video: the largest difference among the means and deviations of its three channels, to the mean of these
    over renders of its attributes. Renders differ among themselves, by the place and the variation of the scene: the
    ceiling is the same measurement on one set of renders, against the others.
    """
    parts = [_colours(renders) for renders in long.renders]
    values = _largest(_colours(long.ends) - np.mean(parts, axis=0))
    ceiling = float(_largest(parts[0] - np.mean(parts[1:], axis=0)).mean())
    fields = {"ceiling": ceiling, "target": COLOUR_TARGET, "goal": Goal.AT_MOST}
    return Measure(
        long.named("colour drift"), float(values.mean()), mean_interval(values.tolist()), len(values), **fields
    )


def _colours(videos: np.ndarray) -> np.ndarray:
    """Means and deviations of the channels of each video (N, F, H, W, 3), over 255: (N, 6)."""
    statistics = (colour_statistics(video) for video in videos)
    return np.array([[*each["mean"], *each["std"]] for each in statistics]) / 255


def _largest(differences: np.ndarray) -> np.ndarray:
    """The largest absolute value of each row (N, 6)."""
    return np.abs(differences).max(axis=1)
