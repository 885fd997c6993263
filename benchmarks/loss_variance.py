"""How much the generator's loss and gradients vary, with and without balanced noise levels and the moving average.

A small AR-Diffusion generator is trained on diorama clips, in the latents of the embedded autoencoder, once with each
weighting of the loss. The trainings see the same batches and begin with the same weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from avgen_core.diorama import random_episode  # noqa: E402
from avgen_core.networks.ar_diffusion_dit import ARDiffusionDiTConfig  # noqa: E402
from avgen_core.systems.embedded import load_embedded  # noqa: E402
from avgen_core.training.ar_diffusion import (  # noqa: E402
    ARDiffusionOptions,
    ConditionedGenerator,
    GeneratorData,
    frame_errors,
    generator_training,
)
from avgen_core.training.corpus import clip_seed  # noqa: E402
from avgen_core.training.latents import encode_frames  # noqa: E402
from avgen_core.training.level_weights import LevelWeighting  # noqa: E402
from avgen_core.training.loop import Training, TrainSpec  # noqa: E402
from avgen_core.training.precision import autocast  # noqa: E402
from avgen_core.training.videos import ClipSpec, Video  # noqa: E402

CLIPS, HELD_OUT, CLIP_FRAMES = 160, 24, 24
FRAMES, TOKENS, CHANNELS = 16, 16, 8
NETWORK = ARDiffusionDiTConfig(
    hidden_size=128, depth=4, num_heads=4, in_channels=CHANNELS, tokens_per_frame=TOKENS, frames=FRAMES,
    context_dim=32, context_tokens=2,
)  # fmt: skip
BANDS = {"t < 100": (0, 100), "100 to 499": (100, 500), "t >= 500": (500, 1000)}


class Latents:
    """Diorama clips as a generator sees them: 2 x 2 cells of the embedded latents a token, of unit length."""

    classes = ()

    def __init__(self, seed: int, count: int) -> None:
        encode = load_embedded().autoencoder
        episodes = [random_episode(clip_seed(seed, index), CLIP_FRAMES) for index in range(count)]
        latents = encode_frames(encode, np.concatenate([e.frames for e in episodes]), "cpu").float()
        tokens = functional.avg_pool2d(latents, 2).flatten(2).transpose(1, 2)
        self._latents = functional.normalize(tokens, dim=-1).unflatten(0, (count, CLIP_FRAMES))
        self.videos = [Video(str(index), CLIP_FRAMES, 0) for index in range(count)]
        self.frame_shape = (TOKENS, CHANNELS)
        self.digest = f"{seed}-{count}"

    def read(self, video: int, start: int, count: int, step: int = 1) -> Tensor:
        return self._latents[video, start : start + count * step : step]


@dataclass(frozen=True)
class Plan:
    """How long to train, and how much to measure."""

    steps: int
    checks: int
    batches: int


def spec(out: Path, plan: Plan) -> TrainSpec:
    """The released recipe's constant rate: it is the moving average that has to calm the weights."""
    return TrainSpec(
        out, plan.steps, batch=8, learning_rate=1e-3, warmup=20, decay_share=0.0, betas=(0.9, 0.999), ema_decay=0.99
    )


@torch.no_grad()
def held_out_errors(model: ConditionedGenerator, batches: list[dict[str, Tensor]]) -> dict[str, float]:
    """Plain error of all frames and of those in each band of timesteps."""
    with autocast(torch.device("cpu")):
        errors = torch.cat([frame_errors(model, batch) for batch in batches])
    timesteps = torch.cat([batch["timesteps"] for batch in batches])
    bands = {name: (timesteps >= low) & (timesteps < high) for name, (low, high) in BANDS.items()}
    return {"all": errors.mean().item(), **{name: errors[band].mean().item() for name, band in bands.items()}}


def jitter(values: list[float]) -> float:
    """Deviation of a series over its mean, by the differences of neighbours: a trend does not count."""
    return float(np.diff(values).std() / 2**0.5 / np.mean(values))


def at_fixed_weights(training: Training, batches: int) -> dict[str, float]:
    """Spread of the loss over batches, and how much of a batch's gradient is not the mean gradient."""
    losses, gradients = [], []
    for step in range(10**6, 10**6 + batches):
        training.step = step
        sums = training.gradients()
        losses.append((sums["loss"] / sums["weight"]).item())
        gradients.append(torch.cat([p.grad.flatten() for p in training.model.parameters() if p.grad is not None]))
    stacked = torch.stack(gradients)
    mean = stacked.mean(0)
    noise = (stacked - mean).square().sum(1).mean() * batches / (batches - 1)
    signal = mean.square().sum() - noise / batches
    norms = stacked.norm(dim=1)
    return {
        "loss, batch to batch, fixed weights": np.std(losses) / np.mean(losses),
        "gradient norm, batch to batch": (norms.std() / norms.mean()).item(),
        "gradient noise / signal": (noise / signal.clamp(min=1e-12)).item(),
    }


def measured(weighting: LevelWeighting, plan: Plan, train: Latents, held_out: Latents) -> dict[str, float]:
    """Figures of one training."""
    torch.manual_seed(0)
    options = ARDiffusionOptions(ClipSpec(FRAMES), weighting=weighting)
    with tempfile.TemporaryDirectory() as out:
        settings = spec(Path(out), plan)
        training = generator_training(settings, train, ConditionedGenerator(NETWORK, 0), options)
        data = GeneratorData.of(held_out, settings, options, class_conditional=False)
        batches = [data.draw(step, slice(0, settings.batch)) for step in range(8)]
        losses, raw, averaged = [], [], []
        every = max(1, plan.steps // 2 // plan.checks)
        while training.step < plan.steps:
            sums = training.advance()
            losses.append((sums["loss"] / sums["weight"]).item())
            if training.step > plan.steps // 2 and training.step % every == 0:
                raw.append(held_out_errors(training.model, batches))
                averaged.append(held_out_errors(training.average, batches))
        course = {"loss, step to step, second half": jitter(losses[plan.steps // 2 :])}
        for name, series in (("weights", raw), ("average", averaged)):
            values = [errors["all"] for errors in series]
            course[f"held-out error, {name}"] = float(np.mean(values[-plan.checks // 2 :]))
            course[f"held-out error, check to check, {name}"] = jitter(values)
        course |= {f"held-out error, average, {name}": averaged[-1][name] for name in BANDS}
        return {**course, **at_fixed_weights(training, plan.batches)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--steps", type=int, default=800, help="steps of each training (default: 800)")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it works")
    options = parser.parse_args()
    plan = Plan(20, 4, 4) if options.quick else Plan(options.steps, 20, 64)
    train, held_out = Latents(0, 8 if options.quick else CLIPS), Latents(1, 4 if options.quick else HELD_OUT)
    table = {weighting.value: measured(weighting, plan, train, held_out) for weighting in LevelWeighting}
    print(f"{'':45}" + "".join(f"{name:>12}" for name in table))
    for row in next(iter(table.values())):
        print(f"{row:45}" + "".join(f"{figures[row]:12.4f}" for figures in table.values()))
    if options.json:
        options.json.write_text(json.dumps({"steps": plan.steps, **table}, indent=1))


if __name__ == "__main__":
    main()
