"""Trainer of the embedded causal DiT and its text encoder: rectified flow with a noise level for every frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..networks.causal_dit import CausalDiT, CausalDiTConfig, TextKeys
from ..networks.text_encoder import TextEncoder, TextEncoderConfig
from .latents import ClipBatch, LatentClips
from .loop import RowLosses, Training, TrainSpec, nothing, run
from .timesteps import ClipNoise, NoiseRecipe, level_weight

REMAKING_STEPS = 2


class TextToVideo(nn.Module):
    """The two networks that are trained together."""

    def __init__(self, dit: CausalDiTConfig, text: TextEncoderConfig) -> None:
        super().__init__()
        self.text_encoder = TextEncoder(text)
        self.dit = CausalDiT(dit)

    def keys(self, prompts: list[str]) -> TextKeys:
        tokens = self.text_encoder.tokenize(prompts).to(self.dit.head.modulation.device)
        return self.dit.text_keys(self.text_encoder(tokens))


@torch.no_grad()
def with_remade_context(dit: CausalDiT, keys: TextKeys, batch: ClipBatch, noise: ClipNoise, epsilon: Tensor) -> Tensor:
    """The batch's latents (B, C, F, h, w); context that is to be made anew is noised, and denoised in `REMAKING_STEPS`.

    One step would leave it blurred, and the model would learn that what it sees has to be made sharper.
    """
    rows = noise.remade > 0
    if not rows.any():
        return batch.latents
    clean, level = batch.latents[rows], noise.remade[rows][:, None, None, None, None]
    made = (1 - level) * clean + level * epsilon.roll(1, 0)[rows]  # other noise than that of the step itself
    for left in range(REMAKING_STEPS, 0, -1):
        timesteps = (level.flatten() * 1000 * left / REMAKING_STEPS)[:, None].expand(-1, clean.shape[2])
        velocity = dit(made, timesteps, keys, batch.prompt_of_frame[rows], groups=noise.groups)
        made = made - level / REMAKING_STEPS * velocity.float()
    remade = torch.where(noise.learned[rows][:, None, :, None, None], clean, made)
    return batch.latents.index_put((rows.nonzero()[:, 0],), remade)


def train_causal_dit(
    spec: TrainSpec,
    clips: LatentClips,
    model: TextToVideo,
    *,
    frames: int = 16,
    noise: NoiseRecipe | None = None,
    text_dropout: float = 0.1,
    on_save=nothing,
) -> Training:
    """Train on windows of `frames` latent frames; resumes from `spec.out` when it holds a state."""
    noise = noise or NoiseRecipe()

    def draw(step: int, rows: slice) -> tuple[ClipBatch, ClipNoise, Tensor]:
        generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + step)
        batch = clips.batch(step, spec.batch, frames, spec.seed, text_dropout, rows)
        drawn = noise.draw(spec.batch, frames, generator).of(rows)
        epsilon = torch.randn(spec.batch, *batch.latents.shape[1:], generator=generator)[rows]
        return batch, drawn, epsilon

    def losses(model: TextToVideo, data: tuple[ClipBatch, ClipNoise, Tensor]) -> RowLosses:
        batch, (levels, learned, groups, _), epsilon = data
        clean, keys = batch.latents, model.keys(batch.prompts)
        shown = with_remade_context(model.dit, keys, *data)
        share = levels[:, None, :, None, None]
        noisy = (1 - share) * shown + share * epsilon
        velocity = model.dit(noisy, levels * 1000, keys, batch.prompt_of_frame, groups=groups)
        error = (velocity.float() - (epsilon - clean)).square().mean(dim=(1, 3, 4))
        weight = learned * level_weight(levels)
        return RowLosses((error * weight).sum(1), weight.sum(1))

    origin = {"the data": clips.digest, "the network": str(model.dit.config), "its training": f"{frames=} {noise}"}
    training = Training(model, spec, draw, losses, origin=origin)
    training.resume()
    model.train()
    run(training, on_save)
    return training
