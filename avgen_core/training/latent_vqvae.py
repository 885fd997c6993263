"""Trainer of ARLON's latent VQ-VAE, on latents of a video model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..networks.latent_vqvae import Codebook, LatentVQVAE
from .latents import LatentClips
from .loop import RowLosses, Training, TrainSpec, nothing, run

COMMITMENT = 0.25  # arXiv 1711.00937, section 3.2


def losses(model: LatentVQVAE, latents: Tensor) -> RowLosses:
    """Latents (B, C, F, H, W): the error of what comes back, and of features that keep away from their codes.

    notes: `uses` (B, codes) and `sums` (B, codes, code_dim) for the codebook; `log_perplexity` (B,), how
    unlikely the codes are by their use so far; `alive` (B,), the share of codes that are in use.
    """
    frames, height, width = latents.shape[2:]
    features = model.features(latents)
    codes = model.codebook.nearest(features)
    vectors = model.codebook(codes).to(features)
    straight = features + (vectors - features).detach()
    decoded = model.decode_vectors(straight, frames, height, width)
    error = (decoded.float() - latents).square().flatten(1).mean(1)
    apart = (features - vectors.detach()).float().square().flatten(1).mean(1)
    chosen = functional.one_hot(codes.flatten(1), model.config.codes).float()
    with torch.autocast(latents.device.type, enabled=False):
        sums = chosen.transpose(1, 2) @ features.detach().float().flatten(1, 3)
    shares = model.codebook.uses / model.codebook.uses.sum()
    log_perplexity = -shares.clamp(min=1e-9).log()[codes].flatten(1).mean(1)
    return RowLosses.plain(
        error + COMMITMENT * apart,
        error=error.detach(),
        log_perplexity=log_perplexity,
        alive=model.codebook.alive.float().mean().expand(len(latents)),
        uses=chosen.sum(1),
        sums=sums,
    )


def follow(model: LatentVQVAE, sums: dict[str, Tensor]) -> None:
    """The codebook after a step."""
    codebook: Codebook = model.codebook
    codebook.follow(sums["uses"], sums["sums"])


def train_latent_vqvae(
    spec: TrainSpec, clips: LatentClips, model: LatentVQVAE, *, groups: int = 3, on_save=nothing
) -> Training:
    """Train on windows of `groups` groups; resumes from `spec.out` when it holds a state."""
    frames = model.config.frames_of(groups)
    if frames > clips.clip_frames:
        raise ValueError(
            f"{groups} groups of {model.config.time} latent frames need clips of {frames}, these have "
            f"{clips.clip_frames}: choose fewer frames a code (--code-frames)"
        )

    def draw(step: int, rows: slice) -> Tensor:
        return clips.batch(step, spec.batch, frames, spec.seed, 0.0, rows).latents

    origin = {"the data": clips.digest, "the network": str(model.config), "its training": f"{groups=}"}
    training = Training(model, spec, draw, losses, after_step=follow, origin=origin)
    training.resume()
    model.train()
    run(training, on_save)
    return training


@torch.inference_mode()
def restored(model: LatentVQVAE, latents: Tensor) -> Tensor:
    """Latents (B, C, F, H, W) through the codes and back."""
    return model.decode(model.encode(latents), *latents.shape[2:])
