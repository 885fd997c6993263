"""Trainer of the embedded image autoencoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..networks.image_autoencoder import ImageAutoencoder, ImageAutoencoderConfig
from .corpus import Corpus
from .loop import Training, TrainSpec, run


def to_unit(frames: np.ndarray) -> Tensor:
    """Frames (N, H, W, 3) uint8 to (N, 3, H, W) float in -1..1."""
    return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def random_frames(corpus: Corpus, step: int, count: int, seed: int) -> Tensor:
    """`count` random frames of the corpus, (count, 3, H, W) in -1..1."""
    rng = np.random.default_rng((seed, step))
    picked = []
    for shard in rng.choice(corpus.shards, size=count):
        frames = corpus.frames(int(shard))
        picked.append(frames[rng.integers(len(frames)), rng.integers(frames.shape[1])])
    return to_unit(np.stack(picked))


def gradient_loss(a: Tensor, b: Tensor) -> Tensor:
    """L1 between the horizontal and the vertical differences of two images: keeps edges sharp."""
    dx = (a.diff(dim=-1) - b.diff(dim=-1)).abs().mean()
    dy = (a.diff(dim=-2) - b.diff(dim=-2)).abs().mean()
    return dx + dy


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Mean peak signal-to-noise ratio in dB over images (N, 3, H, W) in -1..1."""
    error = (a.clamp(-1, 1) - b).square().mean(dim=(1, 2, 3)) / 4
    return (-10 * torch.log10(error)).mean()


def train_autoencoder(
    spec: TrainSpec,
    data: Path,
    model: ImageAutoencoder | None = None,
    *,
    decoder_only: bool = False,
    on_save=lambda training: None,
) -> Training:
    """Train on the frames of a corpus: L1 plus gradient loss.

    With `decoder_only` the encoder stays as it is, so that latents and the models trained on them stay valid.
    """
    torch.manual_seed(spec.seed)
    model = model or ImageAutoencoder(ImageAutoencoderConfig())
    if decoder_only:
        model.encoder.requires_grad_(False)
    training = Training(model, spec)
    training.resume()
    corpus = Corpus(data)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        images = random_frames(corpus, step, spec.batch, spec.seed)
        images = images.to(spec.device).to(memory_format=torch.channels_last)
        torch.manual_seed(spec.seed + step)
        with torch.autocast(spec.device.split(":")[0], torch.bfloat16):
            decoded = training.model(images)
        decoded = decoded.float()
        distance = (decoded - images).abs().mean()
        edges = gradient_loss(decoded, images)
        return {"loss": distance + 0.5 * edges, "psnr": psnr(decoded.detach(), images)}

    training.model.to(memory_format=torch.channels_last).train()
    if decoder_only:
        training.model.latent_norm.eval()
    run(training, loss_of_step, on_save)
    return training
