"""Dimensions and settings of AR-Diffusion's three trainings: the released ones, and some for a CPU and 64 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..networks.ar_diffusion_dit import ARDiffusionDiTConfig
from ..networks.ar_vae import ARVAEConfig


@dataclass(frozen=True)
class Size:
    """autoencoder, generator: dimensions; the others: fields of `TrainSpec` for each training."""

    autoencoder: ARVAEConfig
    generator: ARDiffusionDiTConfig
    ar_vae: dict[str, Any]
    ar_vae_temporal: dict[str, Any]
    ar_diffusion: dict[str, Any]


# Optimiser of official `diff_train.py` and `vae_train_kl_disc.py`: constant rate, no warm-up.
OFFICIAL = {"betas": (0.9, 0.999), "weight_decay": 1e-4, "warmup": 1, "decay_share": 0.0, "ema_decay": 0.9999}

# The pixel decoder's group norms have 32 groups: with 32 channels each channel would be normalised alone.
SIZES = {
    "small": Size(
        autoencoder=ARVAEConfig(
            encoder_width=160, encoder_layers=4, encoder_heads=5, decoder_width=160, decoder_layers=4, decoder_heads=5,
            patch_size=8, image_size=64, codebook_size=256, codebook_dim=64, pixel_channels=(64, 64, 96, 128),
            pixel_blocks=1,
        ),
        generator=ARDiffusionDiTConfig(hidden_size=192, depth=6, num_heads=4, context_dim=64, context_tokens=4),
        ar_vae={"steps": 6000, "batch": 16, "learning_rate": 1e-3, "ema_decay": 0.998},
        ar_vae_temporal={"steps": 1000, "batch": 2, "learning_rate": 1e-4, "ema_decay": 0.99},
        ar_diffusion={"steps": 20_000, "batch": 16, "learning_rate": 5e-4, "ema_decay": 0.998},
    ),
    # Batches are those of one GPU in the official scripts of FaceForensics (`face_vae_train.sh`, `face_gen`) and, for
    # the temporal stage, Sky Timelapse (`sky_vae_train_ftwt.sh`).
    "released": Size(
        autoencoder=ARVAEConfig(),
        generator=ARDiffusionDiTConfig(),
        ar_vae={**OFFICIAL, "steps": 500_000, "batch": 32, "accumulate": 2, "learning_rate": 1e-4},
        ar_vae_temporal={**OFFICIAL, "steps": 50_000, "batch": 4, "accumulate": 4, "learning_rate": 1e-6},
        ar_diffusion={
            **OFFICIAL, "steps": 100_000, "batch": 48, "accumulate": 3, "learning_rate": 1e-4, "gradient_clip": 0.1,
        },
    ),
}  # fmt: skip
