"""`python -m avgen_core evaluate --json FILE`: measure an embedded model's videos; prints a table too."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch

from ..systems.embedded import FOLDER, load_embedded
from ..systems.embedded_arlon import load_embedded_arlon
from ..systems.embedded_art_v import load_embedded_art_v
from ..systems.many_videos import Model
from .classifier import load_classifier
from .confusion import write_confusions
from .evaluate import evaluate
from .features import load_features
from .lpips import load_lpips
from .report import table
from .sheet import write_sheet
from .targets import ARLON, ART_V, EMBEDDED, Targets
from .trial import Settings, Trial

SYSTEMS: dict[str, tuple[Callable[[Path], Model], Targets]] = {
    "embedded": (load_embedded, EMBEDDED),
    "artv": (load_embedded_art_v, ART_V),
    "arlon": (load_embedded_arlon, ARLON),
}
QUICK = {"clips": 4, "switch_clips": 2, "switch_at": 12, "long_frames": 64, "long_clips": 1, "steps": 4}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("--json", type=Path, required=True, metavar="FILE.json", help="where the result is written")
    add("--sheet", type=Path, metavar="FILE.png", help="draw the worst and the best clips")
    add("--confusion", type=Path, metavar="FILE.png", help="draw what was seen for what was wanted, by attribute")
    add("--features", type=Path, metavar="FOLDER", help="weights for Fréchet distances and LPIPS, else not measured")
    add("--clips", type=int, help="short clips, each of a random held-out combination (default: 300)")
    add("--frames", type=int, help="frames of a short clip; the last 12 are judged (default: 24)")
    add("--switches", type=int, dest="switch_clips", help="videos of each kind of switch, 0 = none (default: 150)")
    add("--switch-at", type=int, help="frame at which the prompt switches; 24 more follow (default: 24)")
    add("--long", type=int, dest="long_frames", help="frames of the long videos, 0 = none (default: 1024)")
    add("--long-clips", type=int, help="how many long videos (default: 8)")
    add("--system", choices=SYSTEMS, default="embedded", help="what is evaluated (default: embedded)")
    add("--models", type=Path, default=FOLDER, help="folder of the weight files (default: models/demo)")
    add("--seed", type=int, help="of captions, noise and renders (default: 0)")
    add("--guidance", type=float, help="classifier-free guidance, 1 = off (default: the model's own)")
    add("--steps", type=int, help="denoising steps (default: the model's own schedule)")
    add("--threads", type=int, help="CPU threads")
    add("--quick", action="store_true", help="a smoke test, with too few clips to judge a model by")


def settings_from(options: argparse.Namespace) -> Settings:
    """Options that were given, then those of --quick, then the defaults."""
    given = {field.name: getattr(options, field.name) for field in fields(Settings)}
    given = {name: value for name, value in given.items() if value is not None}
    return Settings(**{**(QUICK if options.quick else {}), **given})


def trial_from(options: argparse.Namespace) -> Trial:
    """The model and its judges, loaded."""
    folder, (load, targets) = options.features, SYSTEMS[options.system]
    return Trial(
        load(options.models),
        load_classifier(),
        settings_from(options),
        targets,
        features=load_features(folder) if folder else None,
        lpips=load_lpips(folder) if folder else None,
    )


def run(options: argparse.Namespace) -> None:
    """Evaluate, print the settings and the table, write the JSON and the pictures."""
    if options.threads:
        torch.set_num_threads(options.threads)
    for picture in (options.sheet, options.confusion):
        if picture and picture.suffix != ".png":
            raise ValueError(f"{picture.name} must end in .png")
    trial = trial_from(options)
    print(trial.describe(), flush=True)
    outcome = evaluate(trial)
    result = {"system": options.system, **outcome.to_json()}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.sheet:
        write_sheet(options.sheet, outcome.judged)
    if options.confusion:
        write_confusions(options.confusion, outcome.judged)
    print(table(outcome.measures))
    verdicts = [measure.passed for measure in outcome.measures if measure.target is not None]
    print(f"{sum(verdicts)} of {len(verdicts)} targets met in {outcome.seconds['all']:.0f} s: {options.json}")
