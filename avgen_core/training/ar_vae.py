"""Trainer of AR-Diffusion's autoencoder: first single frames, then the temporal layers of its decoder on clips.

The recipe of AR-Diffusion (official `vae_train_kl_disc.py`, `contperceptual.py`), with a gradient loss in the place of
LPIPS, whose weights are not ours to ship. The KL weight of the recipe is zero, so there is no such term.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..networks.ar_vae import ARVAE, ARVAEConfig
from .autoencoder import psnr_of_each, reconstruction_loss
from .critic import SMALLEST_IMAGE, PatchCritic, adaptive_weight, critic_loss, fooling_loss
from .loop import RowLosses, Training, TrainSpec, nothing, run
from .videos import ClipSource, ClipSpec, RandomClips

TEMPORAL = "temporal"  # in the names of what the second stage trains; official `trainable_module_key`
CLIPS_AT_ONCE = 8


@dataclass(frozen=True)
class ARVAEOptions:
    """clips: one frame in the first stage, 16 in the second; adversarial: with a critic, from the first step on.

    drafts: also learn to see each patch in its code alone; without it, a training from nothing ends at the mean image.
    """

    clips: ClipSpec = field(default_factory=lambda: ClipSpec(1))
    adversarial: bool = False
    drafts: bool = False


class Draft(nn.Module):
    """Pixels of each patch from its code (N, codebook_dim, h, w) alone: frames (N, 3, H, W).

    A pixel decoder that is drawn afresh learns the mean image sooner than to look at codes which say nothing yet, and
    then the codes get no gradients. The official training has no such beginning: its pixel decoder is MaskGIT's.
    """

    def __init__(self, config: ARVAEConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.project = nn.Conv2d(config.codebook_dim, 3 * config.patch_size**2, 1)

    def forward(self, codes: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.project(codes), self.patch_size)


class AssistedAutoencoder(nn.Module):
    """An autoencoder and what only its training needs."""

    def __init__(self, autoencoder: ARVAE, critic: PatchCritic | None, draft: Draft | None) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.critic = critic
        self.draft = draft


def with_temporal_layers(autoencoder: ARVAE) -> ARVAE:
    """The same autoencoder with temporal layers, of which alone the gradients are wanted.

    Fresh temporal layers change nothing: they begin as the identity.
    """
    config = ARVAEConfig(**{**asdict(autoencoder.config), "temporal": True})
    made = ARVAE(config)
    made.load_state_dict(made.state_dict() | autoencoder.state_dict())
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(TEMPORAL in name)
    return made


def drawn_codes(autoencoder: ARVAE, frames: Tensor, noise: Tensor) -> Tensor:
    """Codes of frames (n, F, 3, S, S) in 0..1, by latents drawn from the posterior with `noise` (n, F, C, 1, L)."""
    mean, logvar = autoencoder.posterior(frames.flatten(0, 1))
    latents = mean + (0.5 * logvar).exp() * noise.flatten(0, 1)
    return autoencoder.codes(latents.unflatten(0, frames.shape[:2]))


def train_ar_vae(
    spec: TrainSpec, source: ClipSource, autoencoder: ARVAE, options: ARVAEOptions | None = None, *, on_save=nothing
) -> Training:
    """Train whatever wants gradients; resumes from `spec.out` when it holds a state.

    The autoencoder is `model.autoencoder`, and its average is `average.autoencoder`, of the training.

    Raises:
        ValueError: no video is long enough for the clips, or the frames are too small for a critic.
    """
    options = options or ARVAEOptions()
    torch.manual_seed(spec.seed)
    clips = RandomClips(source, options.clips)
    config = autoencoder.config
    if options.adversarial and config.image_size < SMALLEST_IMAGE:
        raise ValueError(
            f"the critic needs frames of at least {SMALLEST_IMAGE} pixels, this autoencoder has {config.image_size}"
        )
    noise_shape = (spec.batch, options.clips.frames, config.latent_channels, 1, config.latent_tokens)

    def draw(step: int, rows: slice) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + step)
        return clips.draw(spec.seed, step, spec.batch, rows), torch.randn(noise_shape, generator=generator)[rows]

    def losses(model: AssistedAutoencoder, data: tuple[Tensor, Tensor]) -> RowLosses:
        clips, noise = data
        codes, frames = drawn_codes(model.autoencoder, clips, noise), clips.flatten(0, 1)
        decoded = model.autoencoder.pixel_decoder(codes).float()
        distance = reconstruction_loss(decoded, frames)
        notes = {"distance": distance, "psnr": psnr_of_each(decoded.clamp(0, 1), frames, span=1.0)}
        loss = distance
        if model.draft is not None:
            notes["draft"] = reconstruction_loss(model.draft(codes).float(), frames)
            loss = loss + notes["draft"]
        if model.critic is not None:
            fooling = fooling_loss(model.critic, decoded)
            last_layer = model.autoencoder.pixel_decoder.conv_out.weight
            weight = adaptive_weight(distance, fooling, last_layer, training.sum_over_processes)
            criticism = critic_loss(model.critic, frames, decoded)
            notes |= {"fooling": fooling, "critic": criticism}
            loss = loss + weight * fooling + criticism
        of_rows = {name: values.detach().view(len(clips), -1).mean(1) for name, values in notes.items()}
        return RowLosses.plain(loss.view(len(clips), -1).mean(1), **of_rows)

    critic = PatchCritic() if options.adversarial else None
    draft = Draft(config) if options.drafts else None
    origin = {"the data": source.digest, "the network": str(config), "its training": str(options)}
    training = Training(AssistedAutoencoder(autoencoder, critic, draft), spec, draw, losses, origin=origin)
    training.resume()
    training.model.train()
    run(training, on_save)
    return training


@torch.no_grad()
def reconstruction_psnr(autoencoder: ARVAE, source: ClipSource, clips: ClipSpec, count: int, seed: int = 0) -> float:
    """Mean PSNR in dB of the reconstructions of `count` random clips, each from its most likely latents."""
    drawn, device = RandomClips(source, clips), autoencoder.latent_tokens.device
    values = []
    for first in range(0, count, CLIPS_AT_ONCE):
        some = drawn.draw(seed, 0, count, slice(first, first + CLIPS_AT_ONCE)).to(device)
        latents = autoencoder.encode(some.flatten(0, 1)).unflatten(0, some.shape[:2])
        decoded = autoencoder.decode(latents).float().clamp(0, 1)
        values.append(psnr_of_each(decoded.flatten(0, 1), some.flatten(0, 1), span=1.0))
    return torch.cat(values).mean().item()
