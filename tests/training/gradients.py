"""Every trainer, stopped before its first step, and what its gradients are then.

`python -m tests.training.gradients CORPUS OUT` writes them to OUT/TRAINER.safetensors, with as many processes as this
was started in; and ARLON's codebook after that step to OUT/codebook.safetensors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import Tensor

from avgen_core.networks.image_autoencoder import ImageAutoencoder
from avgen_core.training import (
    ar_diffusion,
    ar_vae,
    art_v,
    autoencoder,
    causal_dit,
    latent_vqvae,
    semantic_injection,
    token_transformer,
)
from avgen_core.training.corpus import Corpus
from avgen_core.training.latents import LatentClips
from avgen_core.training.level_weights import LevelWeighting
from avgen_core.training.loop import Training, leave_processes
from avgen_core.training.videos import ClipSpec, DioramaClips
from tests.training import small
from tests.training import test_arlon as arlon
from tests.training.test_art_v import network as adapted_unet
from tests.training.test_art_v import trainer as art_v_trainer

REFERENCES = art_v.ReferenceRecipe()
TRAINERS = (
    "autoencoder", "dit", "ar-vae", "ar-vae-temporal", "ar-diffusion", "art-v", "arlon-vqvae", "arlon-tokens",
    "arlon-injection",
)  # fmt: skip
STEP = 7


def prepared(data: Path, out: Path, **changes) -> Iterator[tuple[str, Training]]:
    """Every trainer's training, as it is handed to `run`."""
    spec = small.spec(out, 10, batch=8, precision="no", **changes)
    source = DioramaClips(Corpus(data), small.AR_VAE.image_size)
    videos = small.latent_videos(source, out / "latents")
    generator = small.generator(len(source.classes))
    generator.levels.errors.copy_(torch.linspace(5, 50, 20))
    generator.levels.counts.fill_(30)
    torch.manual_seed(0)
    images = ImageAutoencoder(small.IMAGES)
    temporal = ar_vae.with_temporal_layers(small.ar_vae())
    for parameter in filter(lambda p: p.requires_grad, temporal.parameters()):
        torch.nn.init.normal_(parameter, std=0.2)
    mixed = ar_diffusion.ARDiffusionOptions(ClipSpec(4), weighting=LevelWeighting.BALANCED, image_share=0.5)
    with (
        patch.object(autoencoder, "run"),
        patch.object(causal_dit, "run"),
        patch.object(ar_vae, "run"),
        patch.object(ar_diffusion, "run"),
        patch.object(art_v, "run"),
        patch.object(latent_vqvae, "run"),
        patch.object(token_transformer, "run"),
        patch.object(semantic_injection, "run"),
    ):
        latents = LatentClips(data, "f" * 16)
        yield "autoencoder", autoencoder.train_autoencoder(spec, data, images)
        yield "dit", causal_dit.train_causal_dit(spec, latents, small.text_to_video(), frames=8)
        yield "ar-vae", ar_vae.train_ar_vae(spec, source, small.ar_vae(), ar_vae.ARVAEOptions(adversarial=True))
        yield "ar-vae-temporal", ar_vae.train_ar_vae(spec, source, temporal, ar_vae.ARVAEOptions(ClipSpec(4)))
        yield "ar-diffusion", ar_diffusion.train_ar_diffusion(spec, videos, generator, mixed)
        yield "art-v", art_v.train_art_v(spec, latents, adapted_unet(), art_v_trainer(), REFERENCES)
        yield "arlon-vqvae", latent_vqvae.train_latent_vqvae(spec, latents, arlon.coder(), groups=2)
        codes = token_transformer.CodeClips(latents, arlon.coder())
        yield (
            "arlon-tokens",
            token_transformer.train_token_transformer(
                spec, codes, arlon.writer(), arlon.encode_texts, token_transformer.CodeRecipe()
            ),
        )
        if spec.accumulate == 1:  # it refuses parts: its uncertainty has the statistics of a whole batch
            model, sure = arlon.guided(), semantic_injection.InjectionRecipe(uncertain=0.0)
            for linear in model.injection.modulations:
                torch.nn.init.normal_(linear.weight, std=0.2)
            yield "arlon-injection", semantic_injection.train_semantic_injection(spec, latents, model, sure, frames=4)


def gradients(training: Training) -> dict[str, Tensor]:
    """Of step `STEP`, by parameter."""
    training.step = STEP
    training.after_step(training.model, training.gradients())
    return left_in(training)


def left_in(training: Training) -> dict[str, Tensor]:
    return {name: p.grad.contiguous() for name, p in training.model.named_parameters() if p.grad is not None}


def codebook_of(training: Training) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in training.model.codebook.named_buffers()}


def write_gradients(data: Path, out: Path) -> None:
    for name, training in prepared(data, out):
        found = gradients(training)
        if training.accelerator.is_main_process:
            save_file(found, out / f"{name}.safetensors")
            if name == "arlon-vqvae":
                save_file(codebook_of(training), out / "codebook.safetensors")


if __name__ == "__main__":
    write_gradients(Path(sys.argv[1]), Path(sys.argv[2]))
    leave_processes()
