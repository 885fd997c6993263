"""Long videos with the guidance of tokens and without, at the same number of steps (ARLON)."""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from avgen_core.evaluation.classifier import load_classifier  # noqa: E402
from avgen_core.evaluation.long_videos import judge_long  # noqa: E402
from avgen_core.evaluation.targets import ARLON  # noqa: E402
from avgen_core.evaluation.trial import Settings, Trial  # noqa: E402
from avgen_core.systems.embedded import FOLDER, load_embedded  # noqa: E402
from avgen_core.systems.embedded_arlon import GUIDED_STEPS, load_embedded_arlon  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--models", type=Path, default=FOLDER, help="folder of the weights (default: models/demo)")
    add("--steps", type=int, default=GUIDED_STEPS, help=f"of both (default: {GUIDED_STEPS})")
    add(
        "--seeds",
        type=int,
        nargs="+",
        default=(0, 1),
        help="of captions, renders and noise, which neighbours share in part (default: 0 1)",
    )
    add("--clips", type=int, default=12, help="videos of each kind and seed (default: 12)")
    add("--frames", type=int, default=512, help="frames of a video (default: 512)")
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    add("--json", type=Path, metavar="FILE", help="write the figures here")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    classifier, found = load_classifier(), defaultdict(list)
    for kind, load in (("alone", load_embedded), ("with tokens", load_embedded_arlon)):
        for seed in options.seeds:
            settings = Settings(long_frames=options.frames, long_clips=options.clips, steps=options.steps, seed=seed)
            for measure in judge_long(Trial(load(options.models), classifier, settings, ARLON)):
                found[f"{measure.name}, {kind}"].append(measure.score)
                print(f"{kind}, seed {seed}: {measure.name} {measure.score:.3f}", flush=True)
    print("| | mean | by seed |\n|---|---|---|")
    for name, scores in sorted(found.items()):
        print(f"| {name} | {fmean(scores):.3f} | {', '.join(f'{score:.3f}' for score in scores)} |")
    if options.json:
        options.json.write_text(json.dumps({"steps": options.steps, "scores": found}, indent=1))


if __name__ == "__main__":
    main()
