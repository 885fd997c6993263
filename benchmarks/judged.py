"""What videos of known captions show, for the scripts that compare models by their videos."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from avgen_core.diorama import Attributes, sample_attributes  # noqa: E402
from avgen_core.evaluation.classifier import WINDOW, classify, load_classifier  # noqa: E402
from avgen_core.evaluation.judging import facts, fresh_renders, tally  # noqa: E402
from avgen_core.evaluation.measures import flow_magnitude, warping_error  # noqa: E402


@dataclass(frozen=True)
class Judged:
    """Of the last frames of some videos: how often subject, action and all that was asked for are seen; motion and
    flicker as shares of those of renders."""

    subject: float
    action: float
    prompt: float
    motion: float
    flicker: float


def held_out(count: int, seed: int) -> list[Attributes]:
    """Captions that no training saw."""
    rng = np.random.default_rng((seed, 6))
    return [sample_attributes(rng, held_out=True) for _ in range(count)]


def judge(videos: np.ndarray, wanted: list[Attributes], seed: int) -> Judged:
    """Videos (N, F, 64, 64, 3) uint8 of at least 12 frames, by their last 12."""
    last, renders = videos[:, -WINDOW:], fresh_renders(wanted, WINDOW, 3_000_017 + seed)
    found = tally([facts(attributes) for attributes in wanted], classify(load_classifier(), last))

    def against_renders(measure) -> float:
        return fmean(map(measure, last)) / fmean(map(measure, renders))

    return Judged(
        found["subject"].share,
        found["action"].share,
        fmean(each.share for each in found.values() if each.count),
        against_renders(flow_magnitude),
        against_renders(warping_error),
    )


def table(results: dict[str, list[Judged]], **more: dict[str, list[float]]) -> str:
    """A row for each name: means over the seeds, the values of each seed behind. `more`: other columns."""
    columns = list(asdict(next(iter(results.values()))[0]))
    rows = ["| | " + " | ".join([*columns, *more]) + " |", "|---" * (len(columns) + len(more) + 1) + "|"]
    for name, seeds in results.items():
        values = [[getattr(one, column) for one in seeds] for column in columns] + [more[key][name] for key in more]
        cells = (f"{fmean(each):.3f} ({', '.join(f'{value:.3f}' for value in each)})" for each in values)
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)
