"""Trainer of the embedded image autoencoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..networks.image_autoencoder import ImageAutoencoder, ImageAutoencoderConfig
from .batch_norm import GlobalBatchNorm2d
from .corpus import Corpus
from .loop import RowLosses, Training, TrainSpec, nothing, run

EDGES = 0.5  # weight of `gradient_loss` beside L1


def to_unit(frames: np.ndarray) -> Tensor:
    """Frames (N, H, W, 3) uint8 to (N, 3, H, W) float in -1..1."""
    return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def random_frames(corpus: Corpus, step: int, batch: int, seed: int, rows: slice) -> Tensor:
    """These rows of a batch of random frames of the corpus, (n, 3, H, W) in -1..1."""
    rng = np.random.default_rng((seed, step))
    shards, places = rng.choice(corpus.shards, size=batch), rng.random((batch, 2))
    picked = []
    for shard, place in zip(shards[rows], places[rows], strict=True):
        frames = corpus.frames(int(shard))
        clip, frame = (place * frames.shape[:2]).astype(int)
        picked.append(frames[clip, frame])
    return to_unit(np.stack(picked))


def gradient_loss(a: Tensor, b: Tensor) -> Tensor:
    """L1 between the horizontal and vertical differences of images (N, 3, H, W), each (N,): keeps edges sharp."""
    dx = (a.diff(dim=-1) - b.diff(dim=-1)).abs().mean(dim=(1, 2, 3))
    dy = (a.diff(dim=-2) - b.diff(dim=-2)).abs().mean(dim=(1, 2, 3))
    return dx + dy


def reconstruction_loss(decoded: Tensor, images: Tensor) -> Tensor:
    """L1 and gradient loss of each of N images (N, 3, H, W)."""
    return (decoded - images).abs().mean(dim=(1, 2, 3)) + EDGES * gradient_loss(decoded, images)


def psnr_of_each(a: Tensor, b: Tensor, span: float = 2.0) -> Tensor:
    """Peak signal-to-noise ratio in dB, (N,), of images (N, 3, H, W) whose values lie `span` apart at most."""
    error = (a - b).square().mean(dim=(1, 2, 3)) / span**2
    return -10 * torch.log10(error)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Mean peak signal-to-noise ratio in dB over images (N, 3, H, W) in -1..1."""
    return psnr_of_each(a.clamp(-1, 1), b).mean()


def train_autoencoder(
    spec: TrainSpec,
    data: Path,
    model: ImageAutoencoder | None = None,
    *,
    decoder_only: bool = False,
    on_save=nothing,
) -> Training:
    """Train on the frames of a corpus: L1 plus gradient loss.

    With `decoder_only` the encoder stays as it is, so that latents and the models trained on them stay valid.
    """
    torch.manual_seed(spec.seed)
    model = model or ImageAutoencoder(ImageAutoencoderConfig())
    if decoder_only:
        model.encoder.requires_grad_(False)
    corpus = Corpus(data)

    def draw(step: int, rows: slice) -> tuple[Tensor, Tensor]:
        images = random_frames(corpus, step, spec.batch, spec.seed, rows)
        cells = (size // model.config.downscale for size in images.shape[-2:])
        generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + step)
        noise = torch.randn(spec.batch, model.config.latent_channels, *cells, generator=generator)
        return images.to(memory_format=torch.channels_last), noise[rows]

    def losses(model: nn.Module, data: tuple[Tensor, Tensor]) -> RowLosses:
        images, noise = data
        decoded = model.decode(model.encode(images) + model.config.latent_noise * noise).float()
        quality = psnr_of_each(decoded.detach().clamp(-1, 1), images)
        return RowLosses.plain(reconstruction_loss(decoded, images), psnr=quality)

    origin = {"the data": corpus.digest(), "the network": str(model.config), "its training": f"{decoder_only=}"}
    training = Training(model.to(memory_format=torch.channels_last), spec, draw, losses, origin=origin)
    if training.accelerator.num_processes > 1:
        model.latent_norm = GlobalBatchNorm2d.like(model.latent_norm).to(training.device)
    training.resume()
    model.train()
    if decoder_only:
        model.latent_norm.eval()
    run(training, on_save)
    return training
