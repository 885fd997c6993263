"""Trainer of the attribute classifier: `python -m avgen_core.evaluation.train_classifier --out runs/classifier`.

It sees renders of all combinations: a judge that never saw the held-out ones could not recognise them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..diorama import Attributes, random_episode
from ..training.corpus import clip_seed
from ..training.loop import RowLosses, Training, TrainSpec, run
from .classifier import (
    CLASSIFIER,
    WINDOW,
    AttributeClassifier,
    ClassifierConfig,
    class_indices,
    save_classifier,
    to_clips,
)

TRAIN_SEED = 20
DATA_SEED = 1_000_020  # far from the corpus's and the evaluation's, so that no clip is seen twice
CLIP_FRAMES = 20  # longer than a window, so that a window begins in any phase of an action


@dataclass(frozen=True)
class RenderedClips:
    """Renders (N, F, 64, 64, 3) uint8 whose attributes never change, and these attributes."""

    frames: np.ndarray
    attributes: list[Attributes]


def render_clips(count: int, seed: int, *, held_out: bool | None = None, frames: int = CLIP_FRAMES) -> RenderedClips:
    """`count` renders of random combinations: all (`None`), trained (`False`) or held-out (`True`) ones."""
    episodes = [
        random_episode(clip_seed(seed, index), frames, switch_share=0.0, held_out=held_out) for index in range(count)
    ]
    return RenderedClips(np.stack([e.frames for e in episodes]), [e.attributes[0] for e in episodes])


def soften(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Clips (B, 3, F, H, W) as an autoencoder might return them: blurred, noisy, a little brighter or darker."""
    count = len(clips)
    blur = torch.rand(count, 1, 1, 1, 1, generator=generator) * 0.9
    blur = blur * (torch.rand(count, 1, 1, 1, 1, generator=generator) < 0.6)
    frames = clips.transpose(1, 2).flatten(0, 1)
    smooth = functional.avg_pool2d(functional.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    smooth = smooth.unflatten(0, (count, -1)).transpose(1, 2)
    noise = torch.randn(clips.shape, generator=generator) * torch.rand(count, 1, 1, 1, 1, generator=generator) * 0.06
    gain = 1 + 0.1 * (torch.rand(count, 1, 1, 1, 1, generator=generator) - 0.5)
    return (((torch.lerp(clips, smooth, blur) + 1) * gain - 1) + noise).clamp(-1, 1)


def batch(clips: RenderedClips, step: int, size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Batch `step`: softened windows (size, 3, 12, 64, 64) and their classes; the same for the same arguments."""
    rng = np.random.default_rng((TRAIN_SEED, step))
    chosen = rng.integers(len(clips.frames), size=size)
    starts = rng.integers(clips.frames.shape[1] - WINDOW + 1, size=size)
    windows = np.stack([clips.frames[c, s : s + WINDOW] for c, s in zip(chosen, starts, strict=True)])
    softened = soften(to_clips(windows), torch.Generator().manual_seed(TRAIN_SEED * 1_000_003 + step))
    return softened, class_indices([clips.attributes[c] for c in chosen])


def train_classifier(spec: TrainSpec, clips: RenderedClips, config: ClassifierConfig | None = None) -> Training:
    """Train on renders; resumes from `spec.out` when it holds a state."""
    torch.manual_seed(spec.seed)

    def draw(step: int, rows: slice) -> tuple[Tensor, dict[str, Tensor], int]:
        inputs, classes = batch(clips, step, spec.batch)
        return inputs[rows], {name: indices[rows] for name, indices in classes.items()}, spec.seed + step

    def losses(model: AttributeClassifier, data: tuple[Tensor, dict[str, Tensor], int]) -> RowLosses:
        inputs, classes, seed = data
        torch.manual_seed(seed)
        each = {
            name: functional.cross_entropy(scores.float(), classes[name], reduction="none", label_smoothing=0.02)
            for name, scores in model(inputs).items()
        }
        return RowLosses.plain(sum(each.values()), **each)

    model = AttributeClassifier(config or ClassifierConfig()).to(memory_format=torch.channels_last_3d)
    training = Training(model, spec, draw, losses)
    training.resume()
    model.train()
    run(training)
    return training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/classifier"), help="folder of the resumable state")
    parser.add_argument("--clips", type=int, default=2600, help="clips to render")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    spec = TrainSpec(
        options.out, options.steps, options.batch, 2e-3, warmup=50, decay_share=0.5, ema_decay=0.99, seed=TRAIN_SEED
    )
    training = train_classifier(spec, render_clips(options.clips, DATA_SEED))
    if training.step >= spec.steps:
        save_classifier(training.average, CLASSIFIER)


if __name__ == "__main__":
    main()
