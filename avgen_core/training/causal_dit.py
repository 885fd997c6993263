"""Trainer of the embedded causal DiT and its text encoder: rectified flow with a noise level for every frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..networks.causal_dit import CausalDiT, CausalDiTConfig, TextKeys
from ..networks.text_encoder import TextEncoder, TextEncoderConfig
from .latents import ClipBatch, LatentClips
from .loop import RowLosses, Training, TrainSpec, nothing, run
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
    on_save=nothing,
) -> Training:
    """Train on windows of `frames` latent frames; resumes from `spec.out` when it holds a state."""
    noise = noise or NoiseRecipe()

    def draw(step: int, rows: slice) -> tuple[ClipBatch, tuple, Tensor]:
        generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + step)
        batch = clips.batch(step, spec.batch, frames, spec.seed, text_dropout, rows)
        drawn = noise.draw(spec.batch, frames, generator)
        epsilon = torch.randn(spec.batch, *batch.latents.shape[1:], generator=generator)[rows]
        return batch, (drawn.levels[rows], drawn.learned[rows], drawn.groups), epsilon

    def losses(model: TextToVideo, data: tuple[ClipBatch, tuple, Tensor]) -> RowLosses:
        (clean, prompts, prompt_of_frame), (levels, learned, groups), epsilon = data
        share = levels[:, None, :, None, None]
        noisy = (1 - share) * clean + share * epsilon
        velocity = dit(noisy, levels * 1000, model.keys(prompts), prompt_of_frame, groups=groups)
        error = (velocity.float() - (epsilon - clean)).square().mean(dim=(1, 3, 4))
        weight = learned * level_weight(levels)
        return RowLosses((error * weight).sum(1), weight.sum(1))

    origin = {"the data": clips.digest, "the network": str(model.dit.config), "its training": f"{frames=} {noise}"}
    training = Training(model, spec, draw, losses, origin=origin)
    training.resume()
    dit = torch.compile(model.dit, dynamic=False) if compiled else model.dit
    model.train()
    run(training, on_save)
    return training
