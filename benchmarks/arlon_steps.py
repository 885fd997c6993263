"""Quality against the number of denoising steps, alone and under the guidance of tokens (ARLON).

With `--features`, a folder of weights (`evaluation/features.py`), Fréchet distances to fresh renders too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from judged import Judged, held_out, judge, table  # noqa: E402

from avgen_core.diorama import caption  # noqa: E402
from avgen_core.evaluation.classifier import load_classifier  # noqa: E402
from avgen_core.evaluation.features import load_features  # noqa: E402
from avgen_core.evaluation.quality import Judge  # noqa: E402
from avgen_core.plan import SegmentPlan, flow_sigmas  # noqa: E402
from avgen_core.systems.embedded import FOLDER, SHIFT, load_embedded  # noqa: E402
from avgen_core.systems.embedded_arlon import load_embedded_arlon  # noqa: E402
from avgen_core.systems.many_videos import Sampling, sample_videos  # noqa: E402

SEGMENTS = "in segments with tokens"
KINDS = ("alone", "with tokens", SEGMENTS)
SEGMENT = 16, 4  # frames, as in the DiT's training, and the overlap


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--models", type=Path, default=FOLDER, help="folder of the weights (default: models/demo)")
    add("--steps", type=int, nargs="+", default=(3, 5, 10, 30), help="default: 3 5 10 30")
    add("--kinds", nargs="+", choices=KINDS, default=KINDS, help="default: all")
    add("--seeds", type=int, nargs="+", default=(0, 1), help="of captions and noise (default: 0 1)")
    add("--clips", type=int, default=40, help="videos of each (default: 40)")
    add("--frames", type=int, default=24, help="frames of a video; the last 12 are judged (default: 24)")
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    add("--features", type=Path, metavar="FOLDER", help="weights for Fréchet distances, else not measured")
    add("--json", type=Path, metavar="FILE", help="write the figures here")
    return parser.parse_args()


def judges_of(options: argparse.Namespace) -> dict[int, Judge]:
    """Of each seed, where there are weights for features."""
    if options.features is None:
        return {}
    networks, classifier = load_features(options.features), load_classifier()
    return {
        seed: Judge.of(held_out(options.clips, seed), options.frames, networks, classifier, 5_000_011 + seed)
        for seed in options.seeds
    }


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    plain, arlon = load_embedded(options.models), load_embedded_arlon(options.models)
    models = {"alone": plain, "with tokens": arlon, SEGMENTS: arlon}
    results: dict[str, list[Judged]] = {}
    columns: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    judges = judges_of(options)
    for model in (plain, arlon):  # warm
        sample_videos(model, ["a red car"], options.frames, Sampling(model.default_plan, model.guidance))
    for steps in options.steps:
        for kind in options.kinds:
            row, model = f"{steps} steps {kind}", models[kind]
            plan = replace(model.default_plan, sigmas=flow_sigmas(steps, SHIFT))
            if kind == SEGMENTS:
                plan = SegmentPlan(plan.sigmas, *SEGMENT)
            for seed in options.seeds:
                wanted = held_out(options.clips, seed)
                begun = time.perf_counter()
                sampling = Sampling(plan, model.guidance, 10_000 * seed)
                videos = sample_videos(model, [caption(a) for a in wanted], options.frames, sampling)
                columns["seconds"][row].append(time.perf_counter() - begun)
                results.setdefault(row, []).append(judge(videos, wanted, seed))
                if judges:
                    quality = judges[seed].judge(videos)
                    columns["video FD"][row].append(quality.video.value)
                    columns["frame FD"][row].append(quality.frames.value)
            print(f"{row}: {results[row]}", flush=True)
    print(table(results, **columns))
    if options.json:
        content = {name: [asdict(one) for one in seeds] for name, seeds in results.items()}
        options.json.write_text(json.dumps({"results": content, **columns}, indent=1))


if __name__ == "__main__":
    main()
