"""Asynchronous sampling: waiting frames left out and finished ones cached, beside showing the whole window every pass.

The embedded network is causal, so both make the same video, and up to 16 frames that is checked. Beyond the window,
cached frames remember what they saw while it was visible, and the two part slowly.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from timing import alternate, arguments, report  # noqa: E402

from avgen_core.plan import AsynchronousPlan, Pass, Window, WindowedAsynchronousPlan, cost, flow_sigmas  # noqa: E402
from avgen_core.plan.passes import Changed, never  # noqa: E402
from avgen_core.prompts import parse_schedule  # noqa: E402
from avgen_core.rollout.executor import Executor, Prompts  # noqa: E402
from avgen_core.rollout.noise import SeededNoise  # noqa: E402
from avgen_core.systems.embedded import EmbeddedModel, load_embedded  # noqa: E402

PROMPT = "an orange cat walks right in a green meadow"
STEPS, WINDOW = 50, 16
CASES = {16: (0, 5, 10, 25, 50), 128: (5, 10, 25, 50)}  # differences by frames
GUIDED = ((16, 5), (128, 5))  # also at the model's own guidance, which fills a processor better
SHORT_CASES = {16: (5,), 32: (5,)}
CLOSE = 1e-3  # of latents with unit variance
OURS, OFFICIAL = "causal, cached", "whole window"


@dataclass(frozen=True)
class WholeWindow:
    """The official computation for a causal network: every frame of the window in every pass, seen causally."""

    plan: WindowedAsynchronousPlan

    def passes(self, changed: Changed = never) -> Iterator[Pass]:
        for step in self.plan.passes(changed):
            yield replace(step, queries=tuple(replace(query, group=query.frame) for query in step.queries))


def plans(frames: int, difference: int) -> dict[str, AsynchronousPlan | WholeWindow]:
    """The same schedule, computed both ways."""
    sigmas = flow_sigmas(STEPS, 1.0)
    timesteps = tuple(1000 * sigma for sigma in sigmas)
    return {
        OURS: AsynchronousPlan(sigmas, difference, frames, window=Window(WINDOW)),
        OFFICIAL: WholeWindow(WindowedAsynchronousPlan(timesteps, difference, frames, WINDOW)),
    }


def sample(model: EmbeddedModel, plan: AsynchronousPlan | WholeWindow, frames: int, guidance: float) -> torch.Tensor:
    """Latents (F, C, H, W)."""
    executor = Executor(model.denoiser(guidance), plan, Prompts(parse_schedule(PROMPT, fps=8)), SeededNoise(0))
    return torch.cat([done.finished for done in executor.run(frames)])


def compare(
    model: EmbeddedModel, frames: int, difference: int, rounds: int, guidance: float = 1.0
) -> dict[str, object]:
    """Seconds and frame evaluations of both, and how far their videos are apart. Long videos are made once."""
    short = frames <= WINDOW
    both = plans(frames, difference)
    videos: dict[str, torch.Tensor] = {}
    spent: dict[str, list[float]] = {name: [] for name in both}

    def run(name: str) -> None:
        begun = time.process_time()
        videos[name] = sample(model, both[name], frames, guidance)
        spent[name].append(time.process_time() - begun)

    candidates = {name: lambda name=name: run(name) for name in both}
    seconds = alternate(candidates, rounds if short else 1, warm_up=short)
    evaluations = {name: cost(plan, frames).frame_evaluations for name, plan in both.items()}
    apart = (videos[OURS] - videos[OFFICIAL]).abs().max().item()
    if short and apart > CLOSE:
        sys.exit(f"{frames} frames, difference {difference}: the videos are {apart:.1e} apart, {CLOSE} is allowed")
    processor = {name: min(values) for name, values in spent.items()}
    fewer, less = (counts[OFFICIAL] / counts[OURS] for counts in (evaluations, processor))
    case = f"{frames} frames, difference {difference}, guidance {guidance:g}"
    title = f"{case}: {fewer:.2f}x fewer frame evaluations, {less:.2f}x less processor"
    report(f"{title} time, videos {apart:.0e} apart", seconds, OFFICIAL, None)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "frames": frames,
        "difference": difference,
        "guidance": guidance,
        "apart": apart,
        "evaluations": evaluations,
        "seconds": medians,
        "processor_seconds": processor,
    }


def main() -> None:
    options = arguments(__doc__)
    model = load_embedded()
    cases = SHORT_CASES if options.quick else CASES
    rounds = 1 if options.quick else 3
    results = [
        *(compare(model, frames, s, rounds, model.guidance) for frames, s in GUIDED),
        *(compare(model, frames, s, rounds) for frames, differences in cases.items() for s in differences),
    ]
    if options.json:
        content = {"steps": STEPS, "window": WINDOW, "threads": torch.get_num_threads(), "cases": results}
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
