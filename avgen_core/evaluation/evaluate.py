"""What the embedded model's videos show, against the floors it has to reach.

Captions are of combinations that training never rendered. Every measure stands beside its ceiling: the same
measurement on fresh renders of the same attributes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from ..diorama import Attributes, caption, sample_attributes
from ..plan import flow_sigmas
from ..systems.embedded import GUIDANCE, EmbeddedModel
from ..training.autoencoder import psnr, to_unit
from .classifier import AttributeClassifier, classify
from .judging import Tally, facts, fresh_renders, last_window, reconstructed, spread_windows, tally
from .measures import colour_statistics, flow_magnitude, mean_interval, wilson
from .report import Measure, against_ceiling
from .sampling import Sampling, sample_videos
from .sheet import Judged

TARGETS = {"subject": 0.80, "scene": 0.80, "direction": 0.75}  # shares of the ceiling
PSNR_TARGET = 27.0  # dB
STEADY_TARGET = 0.80  # subject accuracy of the end of a long video, as a share of that of its beginning
FLOW_TARGET = 0.60  # motion of the end of a long video, as a share of real renders'
RENDERS = 3  # fresh renders of each combination for a ceiling
LONG_PART, FLOW_PART = 32, 64  # frames at the ends of a long video that are judged
WINDOWS = 3  # of 12 frames in a part of a long video
SEEDS = {"captions": 1, "long captions": 2, "renders": 3, "long renders": 4}
SHIFT = 1.5  # of the noise levels when --steps is given


@dataclass(frozen=True)
class Settings:
    """How much is measured. `long_frames` 0 leaves the long videos out; `steps` None keeps the model's own plan."""

    clips: int = 60
    frames: int = 24
    long_frames: int = 256
    long_clips: int = 6
    seed: int = 0
    guidance: float = GUIDANCE
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.clips < 1 or self.frames < 12:
            raise ValueError(f"at least 1 clip of 12 frames is needed, got {self.clips} of {self.frames}")
        if self.long_frames and self.long_frames < FLOW_PART:
            raise ValueError(f"long videos need at least {FLOW_PART} frames, got {self.long_frames}; 0 leaves them out")


@dataclass(frozen=True)
class Trial:
    """What is evaluated, by what, and how much."""

    model: EmbeddedModel
    classifier: AttributeClassifier
    settings: Settings

    def rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng((self.settings.seed, SEEDS[purpose]))

    def attributes(self, purpose: str, count: int) -> list[Attributes]:
        """Held-out combinations."""
        rng = self.rng(purpose)
        return [sample_attributes(rng, held_out=True) for _ in range(count)]

    def sampling(self) -> Sampling:
        plan = self.model.default_plan
        if self.settings.steps is not None:
            plan = replace(plan, sigmas=flow_sigmas(self.settings.steps, SHIFT))
        return Sampling(plan, self.settings.guidance, self.settings.seed)

    def render_seed(self, purpose: str) -> int:
        return int(self.rng(purpose).integers(2**31))


def report_progress(what: str) -> Callable[[float], None]:
    """Prints the share that is done, at most every 10 seconds."""
    last = time.monotonic()

    def on_progress(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            print(f"{what}: {share:.0%}", file=sys.stderr, flush=True)

    return on_progress


def judge_clips(trial: Trial) -> tuple[list[Measure], list[Judged], dict[str, Any]]:
    """Accuracy of every attribute over short clips, the judged clips, and colour statistics."""
    settings = trial.settings
    attributes = trial.attributes("captions", settings.clips)
    wanted, captions = [facts(a) for a in attributes], [caption(a) for a in attributes]
    videos = sample_videos(trial.model, captions, settings.frames, trial.sampling(), report_progress("clips"))
    seen = classify(trial.classifier, last_window(videos))
    renders = last_window(fresh_renders(attributes * RENDERS, settings.frames, trial.render_seed("renders")))
    ceilings = tally(wanted * RENDERS, classify(trial.classifier, renders))
    softened = reconstructed(trial.model.autoencoder, renders)
    reconstructions = tally(wanted * RENDERS, classify(trial.classifier, softened))
    measures = [
        against_ceiling(
            name,
            found.share,
            wilson(found.right, found.count),
            found.count,
            ceilings[name].share,
            reconstruction=reconstructions[name].share,
            target=TARGETS.get(name),
        )
        for name, found in tally(wanted, seen).items()
    ]
    measures.append(autoencoder_psnr(renders, softened))
    judged = [Judged(v, c, w, s) for v, c, w, s in zip(videos, captions, wanted, seen, strict=True)]
    colours = {"videos": colour_statistics(last_window(videos)), "renders": colour_statistics(renders)}
    return measures, judged, colours


def autoencoder_psnr(renders: np.ndarray, softened: np.ndarray) -> Measure:
    """PSNR of the autoencoder over renders (N, F, H, W, 3) and what it made of them."""
    values = [float(psnr(to_unit(b), to_unit(a))) for a, b in zip(renders, softened, strict=True)]
    return Measure("autoencoder PSNR", fmean(values), mean_interval(values), len(values), "dB", target=PSNR_TARGET)


def judge_long(trial: Trial) -> list[Measure]:
    """Whether long videos keep their subject and their motion to the end."""
    settings = trial.settings
    attributes = trial.attributes("long captions", settings.long_clips)
    captions, frames = [caption(a) for a in attributes], settings.long_frames
    videos = sample_videos(trial.model, captions, frames, trial.sampling(), report_progress("long videos"))
    renders = fresh_renders(attributes, FLOW_PART, trial.render_seed("long renders"))
    measures = [steady_subject(trial, attributes, videos, renders)]
    flows = [flow_magnitude(video[-FLOW_PART:]) for video in videos]
    ceiling = fmean(flow_magnitude(video) for video in renders)
    name = f"motion of the last {FLOW_PART} of {frames}"
    fields = {"unit": "px/frame", "target": FLOW_TARGET}
    measures.append(against_ceiling(name, fmean(flows), mean_interval(flows), len(flows), ceiling, **fields))
    return measures


def steady_subject(trial: Trial, attributes: list[Attributes], videos: np.ndarray, renders: np.ndarray) -> Measure:
    """Subject accuracy at the end of long videos (N, F, H, W, 3) against that at their beginning."""
    wanted = [facts(a) for a in attributes for _ in range(WINDOWS)]

    def found(of: np.ndarray, start: int) -> Tally:
        windows = spread_windows(of, start, start + LONG_PART, WINDOWS)
        return tally(wanted, classify(trial.classifier, windows))["subject"]

    frames = videos.shape[1]
    first, last = found(videos, 0), found(videos, frames - LONG_PART)
    return Measure(
        f"subject in the last {LONG_PART} of {frames}",
        last.share,
        wilson(last.right / WINDOWS, last.count / WINDOWS),  # windows of one video say hardly more than one of them
        last.count,
        ceiling=found(renders, renders.shape[1] - LONG_PART).share,
        against=f"first {LONG_PART}",
        reference=first.share,
        target=STEADY_TARGET,
    )


@dataclass(frozen=True)
class Outcome:
    """All that an evaluation found. `seconds` says how long the clips and everything took."""

    trial: Trial
    measures: list[Measure]
    judged: list[Judged]
    colours: dict[str, Any]
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "fingerprint": self.trial.model.fingerprint,
            "settings": asdict(self.trial.settings),
            "seconds": self.seconds,
            "measures": [measure.to_json() for measure in self.measures],
            "colours": self.colours,
            "clips": [{"caption": j.caption, "wanted": j.wanted, "seen": j.seen} for j in self.judged],
        }


def evaluate(trial: Trial) -> Outcome:
    """The whole evaluation: short clips, then long videos."""
    began = time.monotonic()
    measures, judged, colours = judge_clips(trial)
    seconds = {"clips": round(time.monotonic() - began, 1)}
    if trial.settings.long_frames:
        measures += judge_long(trial)
    seconds["all"] = round(time.monotonic() - began, 1)
    return Outcome(trial, measures, judged, colours, seconds)
