"""`python -m avgen_core evaluate`: what the embedded model's videos show, against the floors it has to reach.

Captions are of combinations that training never rendered. Every measure stands beside its ceiling: the same
measurement on fresh renders of the same attributes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ..diorama import Attributes, caption, sample_attributes
from ..plan import flow_sigmas
from ..systems.embedded import FOLDER, EmbeddedModel, load_embedded
from ..training.autoencoder import psnr, to_unit
from .classifier import AttributeClassifier, load_classifier
from .judging import ASKED, facts, fresh_renders, last_window, look, reconstructed, spread_windows, tally
from .measures import colour_statistics, flow_magnitude, mean_interval, wilson
from .report import Measure, against_ceiling, table
from .sampling import Sampling, sample_videos
from .sheet import Judged, write_sheet

SYSTEMS: dict[str, Callable[[Path], EmbeddedModel]] = {"embedded": load_embedded}
TARGETS = {"subject": 0.80, "scene": 0.80, "direction": 0.75}  # shares of the ceiling
PSNR_TARGET = 27.0  # dB
STEADY_TARGET = 0.80  # subject accuracy of the end of a long video, as a share of that of its beginning
FLOW_TARGET = 0.60  # motion of the end of a long video, as a share of real renders'
RENDERS = 3  # fresh renders of each combination for a ceiling
LONG_PART, FLOW_PART = 32, 64  # frames at the ends of a long video that are judged
SEEDS = {"captions": 1, "long captions": 2, "renders": 3, "long renders": 4}
GUIDANCE = 3.0
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


QUICK = {"clips": 4, "long_frames": 64, "long_clips": 1, "steps": 4}


@dataclass(frozen=True)
class Subject:
    """What is evaluated, and by what."""

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


def judge_clips(subject: Subject) -> tuple[list[Measure], list[Judged], dict[str, Any]]:
    """Accuracy of every attribute over short clips, the judged clips, and colour statistics."""
    settings = subject.settings
    attributes = subject.attributes("captions", settings.clips)
    wanted, captions = [facts(a) for a in attributes], [caption(a) for a in attributes]
    videos = sample_videos(subject.model, captions, settings.frames, subject.sampling(), report_progress("clips"))
    seen = look(subject.classifier, last_window(videos))
    renders = last_window(fresh_renders(attributes * RENDERS, settings.frames, subject.render_seed("renders")))
    ceilings = tally(wanted * RENDERS, look(subject.classifier, renders))
    softened = reconstructed(subject.model.autoencoder, renders)
    reconstructions = tally(wanted * RENDERS, look(subject.classifier, softened))
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


def judge_long(subject: Subject) -> list[Measure]:
    """Whether long videos keep their subject and their motion to the end."""
    settings = subject.settings
    attributes = subject.attributes("long captions", settings.long_clips)
    captions, frames = [caption(a) for a in attributes], settings.long_frames
    videos = sample_videos(subject.model, captions, frames, subject.sampling(), report_progress("long videos"))
    renders = fresh_renders(attributes, FLOW_PART, subject.render_seed("long renders"))
    measures = [steady_subject(subject, attributes, videos, renders)]
    flows = [flow_magnitude(video[-FLOW_PART:]) for video in videos]
    ceiling = fmean(flow_magnitude(video) for video in renders)
    name = f"motion of the last {FLOW_PART} of {frames}"
    fields = {"unit": "px/frame", "target": FLOW_TARGET}
    measures.append(against_ceiling(name, fmean(flows), mean_interval(flows), len(flows), ceiling, **fields))
    return measures


def steady_subject(subject: Subject, attributes: list[Attributes], videos: np.ndarray, renders: np.ndarray) -> Measure:
    """Subject accuracy at the end of long videos (N, F, H, W, 3) against that at their beginning."""
    frames = videos.shape[1]

    def accuracy(of: np.ndarray, start: int, stop: int):
        windows = spread_windows(of, start, stop)
        wanted = [facts(a) for a in attributes for _ in range(len(windows) // len(of))]
        return tally(wanted, look(subject.classifier, windows))["subject"]

    first, last = accuracy(videos, 0, LONG_PART), accuracy(videos, frames - LONG_PART, frames)
    return Measure(
        f"subject in the last {LONG_PART} of {frames}",
        last.share,
        wilson(last.right, last.count),
        last.count,
        ceiling=accuracy(renders, renders.shape[1] - LONG_PART, renders.shape[1]).share,
        against=f"first {LONG_PART}",
        reference=first.share,
        target=STEADY_TARGET,
    )


def evaluate(subject: Subject) -> tuple[dict[str, Any], list[Measure], list[Judged]]:
    """The whole evaluation: its JSON, its measures and the judged short clips."""
    began = time.monotonic()
    measures, judged, colours = judge_clips(subject)
    clips_seconds = time.monotonic() - began
    if subject.settings.long_frames:
        measures += judge_long(subject)
    seconds = {"clips": round(clips_seconds, 1), "all": round(time.monotonic() - began, 1)}
    result = {
        "fingerprint": subject.model.fingerprint,
        "settings": asdict(subject.settings),
        "seconds": seconds,
        "measures": [measure.to_json() for measure in measures],
        "colours": colours,
        "clips": [{"caption": j.caption, "wanted": j.wanted, "seen": {n: j.seen[n] for n in ASKED}} for j in judged],
    }
    return result, measures, judged


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--json", type=Path, required=True, help="where the result is written")
    parser.add_argument("--sheet", type=Path, help="where a PNG of failures and successes is written")
    parser.add_argument("--clips", type=int, help="short clips, each of another held-out combination (default: 60)")
    parser.add_argument("--frames", type=int, help="frames of a short clip; the last 12 are judged (default: 24)")
    parser.add_argument(
        "--long", type=int, dest="long_frames", help="frames of the long videos, 0: none (default: 256)"
    )
    parser.add_argument("--long-clips", type=int, help="how many long videos (default: 6)")
    parser.add_argument("--system", choices=SYSTEMS, default="embedded", help="what is evaluated")
    parser.add_argument("--weights", type=Path, default=FOLDER, help="folder of the weights (default: the pack's)")
    parser.add_argument("--seed", type=int, help="of captions, noise and renders (default: 0)")
    parser.add_argument("--guidance", type=float, help=f"classifier-free guidance, 1: none (default: {GUIDANCE})")
    parser.add_argument("--steps", type=int, help="noise levels of a block (default: the model's own)")
    parser.add_argument("--quick", action="store_true", help="a smoke test with too few clips to judge a model by")


def settings_from(options: argparse.Namespace) -> Settings:
    """Options that were given, then those of --quick, then the defaults."""
    names = ("clips", "frames", "long_frames", "long_clips", "seed", "guidance", "steps")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return Settings(**{**(QUICK if options.quick else {}), **given})


def run(options: argparse.Namespace) -> int:
    """Evaluate, print the table, write the JSON and the sheet. The exit status is 0 also when a target is missed."""
    subject = Subject(SYSTEMS[options.system](options.weights), load_classifier(), settings_from(options))
    result, measures, judged = evaluate(subject)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"system": options.system, **result}, indent=2) + "\n")
    if options.sheet:
        write_sheet(options.sheet, judged)
    print(table(measures))
    targets = [measure.passed for measure in measures if measure.target is not None]
    print(
        f"{sum(targets)} of {len(targets)} targets met in {result['seconds']['all']:.0f} s; written to {options.json}"
    )
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m avgen_core evaluate", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(arguments))
