"""A rollout with the key/value cache beside the same frames in a sliding window that is computed anew every pass."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from timing import alternate, arguments, report  # noqa: E402

from avgen_core.plan import AsynchronousPlan, BlockPlan, Window, cost  # noqa: E402
from avgen_core.prompts import parse_schedule  # noqa: E402
from avgen_core.rollout.executor import Executor, Prompts  # noqa: E402
from avgen_core.rollout.noise import SeededNoise  # noqa: E402
from avgen_core.systems.embedded import GUIDANCE, EmbeddedModel, load_embedded  # noqa: E402

PROMPT = "an orange cat walks right in a green meadow"


def roll_out(model: EmbeddedModel, plan: BlockPlan | AsynchronousPlan, frames: int) -> None:
    """Generate latents and drop them."""
    prompts = Prompts(parse_schedule(PROMPT, fps=8))
    for _ in Executor(model.denoiser(GUIDANCE), plan, prompts, SeededNoise(0)).run(frames):
        pass


@torch.no_grad()
def recompute(model: EmbeddedModel, plan: BlockPlan, frames: int) -> None:
    """What a sampler without a cache does: every step shows the whole window, finished frames at timestep 0."""
    network, size = model.dit, plan.window.size
    text = network.text_keys(torch.stack([model.encode_text(PROMPT), model.encode_text("")]))
    video = torch.zeros(0, *model.latent_shape)
    for start in range(0, frames, plan.block):
        context = video[max(0, start - size + plan.block) :]
        block = torch.randn(plan.block, *model.latent_shape)
        for sigma, after in zip(plan.sigmas, (*plan.sigmas[1:], 0.0), strict=True):
            window = torch.cat([context, block]).transpose(0, 1)[None].expand(2, -1, -1, -1, -1)
            levels = torch.cat([torch.zeros(len(context)), torch.full((plan.block,), 1000 * sigma)])
            groups = torch.arange(len(levels)) // plan.block
            flow = network(window, levels.expand(2, -1), text, groups=groups)[:, :, -plan.block :].transpose(1, 2)
            block = block + (after - sigma) * torch.lerp(flow[1], flow[0], GUIDANCE)
        video = torch.cat([video, block])


def main() -> None:
    options = arguments(__doc__)
    model, frames = load_embedded(), 16 if options.quick else 64
    block = model.default_plan
    asynchronous = AsynchronousPlan(block.sigmas, 2, window=Window(16))
    candidates = {
        "block, cached": lambda: roll_out(model, block, frames),
        "asynchronous (open), cached": lambda: roll_out(model, asynchronous, frames),
        "asynchronous (closed), cached": lambda: roll_out(model, replace(asynchronous, frames=frames), frames),
        "block, recomputed": lambda: recompute(model, block, frames),
    }
    costs = {name: str(cost(plan, frames)) for name, plan in (("block", block), ("asynchronous", asynchronous))}
    seconds = alternate(candidates, 1 if options.quick else 5)
    report(f"{frames} frames, guidance {GUIDANCE}", seconds, "block, recomputed", options.json, costs=costs)


if __name__ == "__main__":
    main()
