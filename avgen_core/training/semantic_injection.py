"""Trainer of ARLON's semantic injection: the DiT stays as it is and learns to follow coarse latents.

The codes of training come from a coarser VQ-VAE than those that a token transformer writes, and their features are
disturbed (uncertainty sampling), so that the DiT bears the transformer's errors (arXiv 2410.20502).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from ..networks.latent_vqvae import LatentVQVAE
from ..networks.semantic_injection import SemanticInjection, Uncertainty
from .causal_dit import TextToVideo
from .latent_vqvae import restored
from .latents import ClipBatch, LatentClips
from .loop import RowLosses, Training, TrainSpec, nothing, run
from .timesteps import ClipNoise, NoiseRecipe, level_weight


@dataclass(frozen=True)
class InjectionRecipe:
    """Shares of the rows: uncertain have disturbed features, text_dropped no text."""

    uncertain: float = 0.5
    text_dropped: float = 0.1


class InjectionDraws(NamedTuple):
    """What is random in a step, by row."""

    noise: Tensor
    of_mean: Tensor
    of_deviation: Tensor
    uncertain: Tensor


class GuidedVideo(nn.Module):
    """The frozen text-to-video model and coder, and the injection that learns."""

    def __init__(self, model: TextToVideo, coder: LatentVQVAE, injection: SemanticInjection) -> None:
        super().__init__()
        self.model, self.coder, self.injection = model, coder, injection
        self.requires_grad_(False)
        injection.requires_grad_(True)


def train_semantic_injection(
    spec: TrainSpec,
    clips: LatentClips,
    model: GuidedVideo,
    recipe: InjectionRecipe,
    *,
    frames: int = 16,
    noise: NoiseRecipe | None = None,
    on_save=nothing,
) -> Training:
    """Train on windows of `frames` latent frames, with and without the causal mask; resumes from `spec.out`.

    Each of several processes takes uncertainty sampling's statistics over its own rows.
    """
    if spec.accumulate != 1:
        raise ValueError("uncertainty sampling needs the statistics of a whole batch: leave --accumulate out")
    noise = noise or NoiseRecipe(remade_prefix_share=0.0)
    dim = model.injection.config.dim

    def draw(step: int, rows: slice) -> tuple[ClipBatch, ClipNoise, InjectionDraws]:
        generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + step)
        batch = clips.batch(step, spec.batch, frames, spec.seed, recipe.text_dropped, rows)
        drawn = noise.draw(spec.batch, frames, generator).of(rows)
        shape = (spec.batch, *batch.latents.shape[1:])
        draws = injection_draws(shape, dim, recipe, generator)
        return batch, drawn, InjectionDraws(*(value[rows] for value in draws))

    origin = {
        "the data": clips.digest,
        "the network": f"{model.injection.config} {model.coder.config}",
        "its training": f"{frames=} {noise} {recipe}",
    }
    training = Training(model, spec, draw, losses, origin=origin)
    training.resume()
    model.eval()
    run(training, on_save)
    return training


def injection_draws(shape: tuple[int, ...], dim: int, recipe: InjectionRecipe, generator: Generator) -> InjectionDraws:
    """`shape`: (B, C, F, H, W) of the clips; `dim`: of the features."""
    return InjectionDraws(
        torch.randn(shape, generator=generator),
        torch.randn(shape[0], dim, generator=generator),
        torch.randn(shape[0], dim, generator=generator),
        torch.rand(shape[0], generator=generator) < recipe.uncertain,
    )


def losses(model: GuidedVideo, data: tuple[ClipBatch, ClipNoise, InjectionDraws]) -> RowLosses:
    """The DiT's own loss (`training/causal_dit.py`), under the guidance of its clips' coarse latents."""
    batch, (levels, learned, groups, _), draws = data
    clean, dit = batch.latents, model.model.dit
    with torch.no_grad():
        keys = model.model.keys(batch.prompts)
    share = levels[:, None, :, None, None]
    noisy = (1 - share) * clean + share * draws.noise
    guidance = model.injection(
        restored(model.coder, clean).clone(), Uncertainty(draws.of_mean, draws.of_deviation, draws.uncertain)
    )
    velocity = dit(noisy, levels * 1000, keys, batch.prompt_of_frame, groups=groups, injected=guidance)
    error = (velocity.float() - (draws.noise - clean)).square().mean(dim=(1, 3, 4))
    weight = learned * level_weight(levels)
    return RowLosses((error * weight).sum(1), weight.sum(1))
