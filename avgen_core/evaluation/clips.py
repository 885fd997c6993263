"""Short videos of one prompt each: do they show what was asked for, and do they look like renders?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from ..diorama import Attributes, caption
from ..systems.many_videos import sample_videos
from ..training.autoencoder import psnr, to_unit
from .classifier import classify
from .features import FeatureNetworks
from .judging import facts, fresh_renders, last_window, reconstructed, share_measure, tally
from .lpips import NAME
from .measures import Interval, colour_statistics, mean_interval
from .quality import Judge, Quality
from .report import Measure
from .sheet import Judged
from .trial import RENDERS, Trial, report_progress

LPIPS_EVERY = 4  # frames


@dataclass(frozen=True)
class ClipFindings:
    """Measures, the judged clips, and colour statistics of videos and renders."""

    measures: list[Measure]
    judged: list[Judged]
    colours: dict[str, Any]


def judge_clips(trial: Trial) -> ClipFindings:
    """Make and measure short videos of held-out combinations."""
    settings = trial.settings
    attributes = trial.attributes("captions", settings.clips)
    captions = [caption(a) for a in attributes]
    videos = sample_videos(trial.model, captions, settings.frames, trial.sampling(), report_progress("clips"))
    wanted, seen = [facts(a) for a in attributes], classify(trial.classifier, last_window(videos))
    renders = fresh_renders(attributes * RENDERS, settings.frames, trial.render_seed("renders"))
    windows = last_window(renders)
    softened = reconstructed(trial.model.autoencoder, windows)
    measures = attribute_measures(trial, wanted, seen, windows, softened)
    measures += autoencoder_measures(trial, windows, softened)
    if trial.features:
        measures += likeness_measures(trial, trial.features, attributes, videos, renders[: len(videos)])
    judged = [Judged(v, c, w, s) for v, c, w, s in zip(videos, captions, wanted, seen, strict=True)]
    colours = {"videos": colour_statistics(last_window(videos)), "renders": colour_statistics(windows)}
    return ClipFindings(measures, judged, colours)


def attribute_measures(
    trial: Trial,
    wanted: list[dict[str, str]],
    seen: list[dict[str, str]],
    renders: np.ndarray,
    softened: np.ndarray,
) -> list[Measure]:
    """Accuracy of every attribute. Renders and decoded renders, `RENDERS` of each video: (N, 12, H, W, 3) uint8."""
    ceilings, reconstructions = (
        tally(wanted * RENDERS, classify(trial.classifier, windows)) for windows in (renders, softened)
    )
    targets = trial.targets.attributes
    return [
        share_measure(name, found, ceilings[name], reconstruction=reconstructions[name].share, target=targets.get(name))
        for name, found in tally(wanted, seen).items()
    ]


def autoencoder_measures(trial: Trial, renders: np.ndarray, softened: np.ndarray) -> list[Measure]:
    """PSNR, and with LPIPS the perceptual distance, of renders (N, F, H, W, 3) and what the autoencoder made of them.

    LPIPS is that of every fourth frame, at the frames' own size.
    """
    pairs = list(zip(renders, softened, strict=True))
    ratios = [float(psnr(to_unit(b), to_unit(a))) for a, b in pairs]
    name = "autoencoder PSNR"
    measures = [Measure(name, fmean(ratios), mean_interval(ratios), len(ratios), "dB", target=trial.targets.psnr)]
    if trial.lpips:
        distances = [float(trial.lpips(a[::LPIPS_EVERY], b[::LPIPS_EVERY]).mean()) for a, b in pairs]
        name = f"autoencoder {NAME}"
        measures.append(Measure(name, fmean(distances), mean_interval(distances), len(distances), unit=""))
    return measures


def likeness_measures(
    trial: Trial, features: FeatureNetworks, attributes: list[Attributes], videos: np.ndarray, renders: np.ndarray
) -> list[Measure]:
    """Fréchet distances, motion and flicker of whole videos (N, F, H, W, 3), without targets.

    The ceiling is what other renders of the same captions get; they are as many, because distances of sets of
    different sizes cannot be compared.
    """
    judge = Judge.of(attributes, videos.shape[1], features, trial.classifier, trial.render_seed("feature renders"))
    all_three = (
        judge.judge(videos),
        judge.judge(renders),
        judge.judge(reconstructed(trial.model.autoencoder, renders)),
    )

    def measure(name: str, unit: str, interval: Interval, value_of: Callable[[Quality], float]) -> Measure:
        value, ceiling, decoded = (value_of(quality) for quality in all_three)
        return Measure(name, value, interval, len(videos), unit, ceiling, decoded)

    ours = all_three[0]
    return [
        measure("Fréchet distance of videos (TransNetV2)", "", ours.video.interval, lambda q: q.video.value),
        measure("Fréchet distance of frames (SqueezeNet)", "", ours.frames.interval, lambda q: q.frames.value),
        measure("motion", "px/frame", ours.motion_interval, lambda q: q.motion),
        measure("flicker", "of 255", ours.flicker_interval, lambda q: q.flicker),
    ]
