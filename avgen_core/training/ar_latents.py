"""Latents of the AR-VAE for AR-Diffusion's trainer: tokens of unit length."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..checkpoints.files import encoder_digest
from ..networks.ar_vae import ARVAE
from .video_latents import LatentVideos


class TokenEncoder:
    """The AR-VAE as a `FrameEncoder`."""

    step = "ar-latents"
    frames_at_once = 32

    def __init__(self, autoencoder: ARVAE) -> None:
        config = autoencoder.config
        self.autoencoder = autoencoder.eval()
        self.digest = encoder_digest(autoencoder.state_dict())
        self.frame_bytes = 2 * config.latent_tokens * config.latent_channels

    def encode(self, frames: Tensor, device: torch.device) -> Tensor:
        """Tokens (n, L, C), each of unit length (official `base.py`, norm_preprocess)."""
        latents = self.autoencoder.to(device).encode(frames.to(device))
        return functional.normalize(latents.float(), dim=1)[:, :, 0].transpose(1, 2).half().cpu()


class TokenVideos(LatentVideos):
    """Tokens of videos, of unit length in single precision too."""

    def read(self, video: int, start: int, count: int, step: int = 1) -> Tensor:
        return functional.normalize(super().read(video, start, count, step), dim=-1)
