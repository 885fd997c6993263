"""A Stable Diffusion checkpoint as what ART-V is trained on: latents of frames, states of captions, its UNet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..checkpoints.files import encoder_digest
from ..checkpoints.stable_diffusion import Family, StableDiffusion, text_states

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

# Where the pack lies in ComfyUI's custom_nodes, the tokenizer is two folders up.
TOKENIZER = Path(__file__).resolve().parents[4] / "comfy" / "sd1_tokenizer"
LONGEST = 77
PIXELS_AT_ONCE = 4 * 512**2  # the widest level of the autoencoder keeps 128 float32 channels of each
PADDING = {Family.SD1: 49407, Family.SD2: 0}  # end of text, and OpenCLIP's; ComfyUI's `SD2ClipHTokenizer`


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


def caption_encoder(model: StableDiffusion, device: torch.device, folder: Path) -> Callable[[list[str]], Tensor]:
    """Captions to states (P, 77, width). Raises FileNotFoundError when there is no tokenizer in `folder`."""
    from transformers import CLIPTokenizer

    if not (folder / "merges.txt").is_file():
        raise FileNotFoundError(
            f"there is no CLIP tokenizer (vocab.json, merges.txt) in {folder}: name the folder with --tokenizer; "
            "ComfyUI has one in comfy/sd1_tokenizer"
        )
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    text_encoder = model.text_encoder.to(device)
    known: dict[str, Tensor] = {}

    def tokenize(texts: list[str]) -> Tensor:
        found = tokenizer(texts, padding="max_length", truncation=True, max_length=LONGEST, return_tensors="pt")
        padding = min(PADDING[model.family], len(tokenizer) - 1)
        return found.input_ids.masked_fill(found.attention_mask == 0, padding)

    @torch.no_grad()
    def encode(texts: list[str]) -> Tensor:
        fresh = [text for text in texts if text not in known]
        if fresh:
            known.update(zip(fresh, text_states(text_encoder, tokenize, fresh).half().cpu(), strict=True))
        return torch.stack([known[text] for text in texts]).to(device, text_encoder.dtype)

    return encode
