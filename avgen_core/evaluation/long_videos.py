"""Long videos: do subject, scene, motion and colours hold to the end?

Their last frames are judged: subject and scene against as many first ones, motion and colours against fresh renders.
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
from .trial import RENDERS, Trial, report_progress


@dataclass(frozen=True)
class LongVideos:
    """Videos (N, F, H, W, 3), their attributes, and `RENDERS` sets of renders of these, each of `part` frames."""

    attributes: list[Attributes]
    videos: np.ndarray
    renders: tuple[np.ndarray, ...]

    @property
    def part(self) -> int:
        """Frames at each end that are judged."""
        return self.renders[0].shape[1]

    @property
    def ends(self) -> np.ndarray:
        return self.videos[:, -self.part :]

    def named(self, what: str) -> str:
        return f"{what} in the last {self.part} of {self.videos.shape[1]}"


def judge_long(trial: Trial) -> list[Measure]:
    """Make and measure long videos of held-out combinations."""
    settings = trial.settings
    attributes = trial.attributes("long captions", settings.long_clips)
    captions, progress = [caption(a) for a in attributes], report_progress("long videos")
    videos = sample_videos(trial.model, captions, settings.long_frames, trial.sampling(), progress)
    renders = fresh_renders(attributes * RENDERS, trial.targets.part, trial.render_seed("long renders"))
    long = LongVideos(attributes, videos, tuple(np.split(renders, RENDERS)))
    return [*steady_measures(trial, long), motion_measure(trial, long), colour_measure(trial, long)]


def steady_measures(trial: Trial, long: LongVideos) -> list[Measure]:
    """Accuracy of subject and scene at the end, as a share of that at the beginning."""
    windows = long.part // WINDOW
    wanted = [facts(a) for a in long.attributes for _ in range(windows)]

    def found(part: np.ndarray) -> dict[str, Tally]:
        return tally(wanted, classify(trial.classifier, spread_windows(part, 0, long.part, windows)))

    first, last, ceiling = found(long.videos), found(long.ends), found(long.renders[0])
    return [
        Measure(
            long.named(name),
            last[name].share,
            # windows of one video say hardly more than one of them
            wilson(last[name].right / windows, last[name].count / windows),
            last[name].count,
            ceiling=ceiling[name].share,
            against=f"first {long.part}",
            reference=first[name].share,
            target=trial.targets.steady.get(name),
        )
        for name in ("subject", "scene")
    ]


def motion_measure(trial: Trial, long: LongVideos) -> Measure:
    """Length of the optical flow at the end, against that of renders."""
    flows = [flow_magnitude(video) for video in long.ends]
    ceiling = fmean(flow_magnitude(video) for renders in long.renders for video in renders)
    fields = {"unit": "px/frame", "target": trial.targets.motion, "goal": trial.targets.motion_goal}
    return against_ceiling(long.named("motion"), fmean(flows), mean_interval(flows), len(flows), ceiling, **fields)


def colour_measure(trial: Trial, long: LongVideos) -> Measure:
    """How far colours are from those of renders, as a share of 255; the mean over the videos.

    Of one video: the largest difference among the means and deviations of its three channels, to the mean of these
    over renders of its attributes. Renders differ among themselves, by the place and the variation of the scene: the
    ceiling is the same measurement on one set of renders, against the others.
    """
    parts = [_colours(renders) for renders in long.renders]
    values = _largest(_colours(long.ends) - np.mean(parts, axis=0))
    ceiling = float(_largest(parts[0] - np.mean(parts[1:], axis=0)).mean())
    fields = {"ceiling": ceiling, "target": trial.targets.colours, "goal": Goal.AT_MOST}
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
