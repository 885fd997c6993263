"""Trainer of the embedded causal DiT and its text encoder: rectified flow with a noise level for every frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..networks.causal_dit import CausalDiT, CausalDiTConfig, TextKeys
from ..networks.text_encoder import TextEncoder, TextEncoderConfig
from .latents import LatentClips
from .loop import Training, TrainSpec, run
from .timesteps import NoiseRecipe, level_weight


class TextToVideo(nn.Module):
    """The two networks that are trained together."""

    def __init__(self, dit: CausalDiTConfig, text: TextEncoderConfig) -> None:
        super().__init__()
        self.text_encoder = TextEncoder(text)
        self.dit = CausalDiT(dit)

    def keys(self, prompts: list[str]) -> TextKeys:
        tokens = self.text_encoder.tokenize(prompts).to(self.dit.head.modulation.device)
        return self.dit.text_keys(self.text_encoder(tokens))


def train_causal_dit(
    spec: TrainSpec,
    clips: LatentClips,
    model: TextToVideo,
    *,
    frames: int = 16,
    noise: NoiseRecipe | None = None,
    text_dropout: float = 0.1,
    compiled: bool = False,
    on_save=lambda training: None,
) -> Training:
    """Train on windows of `frames` latent frames; resumes from `spec.out` when it holds a state."""
    noise = noise or NoiseRecipe()
    training = Training(model, spec)
    training.resume()
    dit = torch.compile(model.dit, dynamic=False) if compiled else model.dit
    kind = spec.device.split(":")[0]

    def loss_of_step(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + step)
        batch = clips.batch(step, spec.batch, frames, spec.seed, text_dropout)
        drawn = noise.draw(spec.batch, frames, generator)
        clean = batch.latents.to(spec.device)
        levels = drawn.levels.to(spec.device)
        groups = None if drawn.groups is None else drawn.groups.to(spec.device)
        epsilon = torch.randn(clean.shape, generator=generator).to(spec.device)
        share = levels[:, None, :, None, None]
        noisy = (1 - share) * clean + share * epsilon
        with torch.autocast(kind, torch.bfloat16):
            text = training.model.keys(batch.prompts)
            velocity = dit(noisy, levels * 1000, text, batch.prompt_of_frame.to(spec.device), groups=groups)
        error = (velocity.float() - (epsilon - clean)).square().mean(dim=(1, 3, 4))
        weight = drawn.learned.to(spec.device) * level_weight(levels)
        return {"loss": (error * weight).sum() / weight.sum()}

    training.model.train()
    run(training, loss_of_step, on_save)
    return training
