"""Trainer of a few-step student of the embedded model, which needs no guidance.

From the teacher's latents at one of the student's noise levels it learns the straight way to those at the next, so that
the Euler solver stays what it is (progressive distillation, arXiv 2202.00512, with the teacher's whole path at hand).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..plan import BlockPlan
from .causal_dit import TextToVideo
from .loop import RowLosses, Training, TrainSpec, nothing, run
from .trajectories import Trajectories


class Steps(NamedTuple):
    """Steps of one block, each in a clip of its own.

    latents (n, C, F, h, w): finished frames, then the block; levels (n, F); way (n, C, block, h, w): what the student
    has to predict for the block; prompts: n captions.
    """

    latents: Tensor
    levels: Tensor
    way: Tensor
    prompts: list[str]


def draw_steps(
    data: Trajectories, block: int, batch: int, rng: np.random.Generator, rows: slice, context_level: float = 0.0
) -> Steps:
    """These rows of a batch: the same block of random clips, at random levels, after frames said to be at another."""
    clips = torch.from_numpy(rng.integers(len(data.latents), size=batch)[rows])
    level = torch.from_numpy(rng.integers(len(data.sigmas), size=batch)[rows])
    end = (int(rng.integers(data.latents.shape[2] // block)) + 1) * block
    wanted = (level, level + 1, torch.full_like(level, len(data.sigmas)))
    here, there, finished = (data.latents[clips, which, :end].float().transpose(1, 2) for which in wanted)
    sigmas = torch.tensor([*data.sigmas, 0.0])
    length = (sigmas[level + 1] - sigmas[level]).view(-1, 1, 1, 1, 1)
    levels = torch.full((len(clips), end), context_level)
    levels[:, -block:] = sigmas[level, None]
    return Steps(
        torch.cat([finished[:, :, :-block], here[:, :, -block:]], dim=2),
        levels,
        (there - here)[:, :, -block:] / length,
        [data.captions[clip] for clip in clips],
    )


def train_few_steps(
    spec: TrainSpec, data: Trajectories, model: TextToVideo, plan: BlockPlan, *, on_save=nothing
) -> Training:
    """Train the DiT of `model`, which begins as the teacher, for the teacher's `plan`; its text encoder stays."""
    model.text_encoder.requires_grad_(False)
    block, told = plan.block, plan.context_timestep / 1000

    def draw(step: int, rows: slice) -> Steps:
        return draw_steps(data, block, spec.batch, np.random.default_rng((spec.seed, step)), rows, told)

    def losses(model: TextToVideo, data: Steps) -> RowLosses:
        groups = torch.arange(data.latents.shape[2], device=data.latents.device) // block
        predicted = model.dit(data.latents, data.levels * 1000, model.keys(data.prompts), groups=groups)
        error = (predicted[:, :, -block:].float() - data.way).square().mean(dim=(1, 2, 3, 4))
        return RowLosses.plain(error)

    origin = {
        "the data": f"{data.teacher}, {len(data.latents)} clips",
        "the network": str(model.dit.config),
        "its training": f"{block=} {told=}",
    }
    training = Training(model, spec, draw, losses, origin=origin)
    training.resume()
    model.train()
    run(training, on_save)
    return training
