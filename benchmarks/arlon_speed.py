"""Tokens of a video beside its frames: what ARLON's plan costs, and what its few steps save.

The embedded model at its own steps, the same under the guidance of tokens at a quarter of them, and the tokens alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from timing import alternate, report  # noqa: E402

from avgen_core.plan import BlockPlan  # noqa: E402
from avgen_core.prompts import parse_schedule  # noqa: E402
from avgen_core.rollout.executor import Executor, Prompts  # noqa: E402
from avgen_core.rollout.noise import SeededNoise  # noqa: E402
from avgen_core.systems.embedded import FOLDER, EmbeddedModel, load_embedded  # noqa: E402
from avgen_core.systems.embedded_arlon import load_embedded_arlon  # noqa: E402

PROMPT = "a yellow bus drives right in a green meadow"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=FOLDER, help="folder of the weights (default: models/demo)")
    parser.add_argument("--frames", type=int, default=64, help="of the video (default: 64)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plain, guided = load_embedded(options.models), load_embedded_arlon(options.models)
    prompts = Prompts(parse_schedule(PROMPT, fps=plain.fps))

    def sampled(model: EmbeddedModel, plan: BlockPlan) -> None:
        executor = Executor(model.denoiser(model.guidance), plan, prompts, SeededNoise(0))
        for _ in executor.run(options.frames):
            pass

    seconds = alternate(
        {
            "frames, embedded": lambda: sampled(plain, plain.default_plan),
            "frames and tokens, ARLON": lambda: sampled(guided, guided.default_plan),
            "tokens alone, ARLON": lambda: guided.written_track(prompts, options.frames, 0, guided.guidance),
            "frames, embedded, ARLON's steps": lambda: sampled(plain, guided.default_plan),
        },
        1 if options.quick else 5,
    )
    tokens, guided_frames, few, all_steps = (
        median(seconds[name])
        for name in (
            "tokens alone, ARLON",
            "frames and tokens, ARLON",
            "frames, embedded, ARLON's steps",
            "frames, embedded",
        )
    )
    print(
        f"tokens take {tokens / guided_frames:.0%} of ARLON's time; the video model takes {all_steps / tokens:.1f} "
        f"times as long at its own steps, {few / tokens:.1f} times at ARLON's"
    )
    steps = {"embedded": len(plain.default_plan.sigmas), "ARLON": len(guided.default_plan.sigmas)}
    report(f"{options.frames} frames", seconds, "frames, embedded", options.json, steps=steps, frames=options.frames)


if __name__ == "__main__":
    main()
