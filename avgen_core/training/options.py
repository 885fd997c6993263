"""What all steps of `python -m avgen_core train` read from their options alike."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .loop import TrainSpec

LEFT_OPEN = ("steps", "batch", "accumulate", "learning_rate")  # a step's own settings, where they are not given


def spec_of(options: argparse.Namespace, **settings: Any) -> TrainSpec:
    """How a step trains: as its options say, else by its own `settings`, fields of `TrainSpec`."""
    given = {name: getattr(options, name) for name in LEFT_OPEN if getattr(options, name) is not None}
    return TrainSpec(
        out=options.out,
        precision=options.precision,
        workers=options.workers,
        seed=options.seed,
        device=options.device,
        **{**settings, **given},
    )


def cache_of(options: argparse.Namespace) -> Path:
    """Where what is read from videos is kept."""
    return options.cache or options.data / ".avgen"
