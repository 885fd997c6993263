"""A Stable Diffusion checkpoint as what ART-V is trained on: latents of frames, states of captions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..checkpoints.files import encoder_digest
from ..checkpoints.stable_diffusion_text import EncodeTexts

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

PIXELS_AT_ONCE = 4 * 512**2  # the widest level of the autoencoder keeps 128 float32 channels of each


class ImageEncoder:
    """The checkpoint's autoencoder as a `FrameEncoder`."""

    step = "art-latents"

    def __init__(self, vae: AutoencoderKL, size: int) -> None:
        self.frames_at_once = max(1, PIXELS_AT_ONCE // size**2)
        cells = size // 2 ** (len(vae.config.block_out_channels) - 1)
        self.vae = vae
        self.digest = encoder_digest(vae.state_dict())
        self.frame_bytes = 2 * vae.config.latent_channels * cells**2

    def encode(self, frames: Tensor, device: torch.device) -> Tensor:
        """Latents (n, C, h, w) in the scale that the UNet knows, the most likely of each frame."""
        vae = self.vae.to(device)
        latents = vae.encode(frames.mul(2).sub(1).to(device, vae.dtype)).latent_dist.mode()
        return (latents * vae.config.scaling_factor).half().cpu()


def remembered(encode: EncodeTexts, device: torch.device) -> EncodeTexts:
    """The same for captions that come again: their states are kept, in half precision."""
    known: dict[str, Tensor] = {}

    def encode_new(texts: list[str]) -> Tensor:
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        if fresh:
            known.update(zip(fresh, encode(fresh).half().cpu(), strict=True))
        return torch.stack([known[text] for text in texts]).float().to(device)

    return encode_new
