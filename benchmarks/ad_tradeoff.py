"""What the difference between neighbouring frames does to the embedded model's videos, and what it costs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from avgen_core.diorama import Attributes, caption, sample_attributes  # noqa: E402
from avgen_core.evaluation.classifier import load_classifier  # noqa: E402
from avgen_core.evaluation.features import load_features  # noqa: E402
from avgen_core.evaluation.judging import fresh_renders, reconstructed  # noqa: E402
from avgen_core.evaluation.quality import Judge, Quality, quality_rows  # noqa: E402
from avgen_core.plan import AsynchronousPlan, Window, cost, flow_sigmas  # noqa: E402
from avgen_core.systems.embedded import GUIDANCE, SHIFT, STEPS, WINDOW, EmbeddedModel, load_embedded  # noqa: E402
from avgen_core.systems.many_videos import Sampling, sample_videos  # noqa: E402

DIFFERENCES = (0, 2, 4, 6, 12)
RENDER_SEEDS = {"reference": 1_000_001, "floor": 2_000_003}


def plan_of(difference: int, frames: int) -> AsynchronousPlan:
    """The model's own noise levels, frame by frame."""
    return AsynchronousPlan(flow_sigmas(STEPS, SHIFT), difference, frames, window=Window(WINDOW))


def attributes_of(seed: int, clips: int) -> list[Attributes]:
    """Combinations that training has seen: this is about sampling, not about new prompts."""
    rng = np.random.default_rng((seed, 5))
    return [sample_attributes(rng, held_out=False) for _ in range(clips)]


def judge_for(attributes: list[Attributes], frames: int, features: Path, seed: int) -> Judge:
    """A judge with references for one seed's captions."""
    return Judge.of(attributes, frames, load_features(features), load_classifier(), RENDER_SEEDS["reference"] + seed)


def bounds(judge: Judge, model: EmbeddedModel, frames: int, seed: int) -> dict[str, Quality]:
    """What no video can beat: other renders of the same captions, and those after the autoencoder."""
    renders = fresh_renders(judge.attributes, frames, RENDER_SEEDS["floor"] + seed)
    return {"renders": judge.judge(renders), "renders, decoded": judge.judge(reconstructed(model.autoencoder, renders))}


def run_seed(
    model: EmbeddedModel, options: argparse.Namespace, seed: int
) -> tuple[dict[str, Quality], dict[str, float]]:
    """Qualities and seconds a clip of one seed, by row of the table."""
    judge = judge_for(attributes_of(seed, options.clips), options.frames, options.features, seed)
    qualities, seconds = bounds(judge, model, options.frames, seed), {}
    captions = [caption(a) for a in judge.attributes]
    for difference in options.differences:
        sampling = Sampling(plan_of(difference, options.frames), options.guidance, 10_000 * seed)
        begun, name = time.process_time(), f"s = {difference}"
        videos = sample_videos(model, captions, options.frames, sampling)
        seconds[name] = (time.process_time() - begun) / options.clips
        qualities[name] = judge.judge(videos)
        print(f"seed {seed}, {name}: {qualities[name].to_json()}", file=sys.stderr, flush=True)
    return qualities, seconds


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--features", type=Path, required=True, help="folder of the feature networks' weights")
    add("--json", type=Path, help="write all figures here")
    add("--differences", type=int, nargs="+", default=DIFFERENCES, help=f"of {STEPS} steps (default: {DIFFERENCES})")
    add("--clips", type=int, default=120, help="clips of each seed and difference (default: 120)")
    add("--frames", type=int, default=16, help="frames a clip (default: 16)")
    add("--seeds", type=int, nargs="+", default=(0, 1), help="of captions, noise and renders (default: 0 1)")
    add("--guidance", type=float, default=GUIDANCE, help=f"default: {GUIDANCE}")
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    model = load_embedded()
    outcomes = [run_seed(model, options, seed) for seed in options.seeds]
    results = {name: [qualities[name] for qualities, _ in outcomes] for name in outcomes[0][0]}
    print("\n".join(quality_rows(results)))
    for difference in options.differences:
        seconds = fmean(spent[f"s = {difference}"] for _, spent in outcomes)
        work = cost(plan_of(difference, options.frames), options.frames)
        print(f"s = {difference}: {seconds:.2f} s of processor time a clip, {work}")
    if options.json:
        content = {
            "settings": {
                "clips": options.clips,
                "frames": options.frames,
                "guidance": options.guidance,
                "steps": STEPS,
            },
            "results": {name: [quality.to_json() for quality in runs] for name, runs in results.items()},
            "seconds": [spent for _, spent in outcomes],
        }
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
