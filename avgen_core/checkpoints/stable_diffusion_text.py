"""Texts to what the UNet of a Stable Diffusion checkpoint attends to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .stable_diffusion import Family, StableDiffusion

LONGEST = 77
PADDING = {Family.SD1: 49407, Family.SD2: 0}  # end of text, and OpenCLIP's; ComfyUI's `SD2ClipHTokenizer`

EncodeTexts = Callable[[list[str]], Tensor]
"""P texts to states (P, tokens, width)."""


def comfyui_tokenizer() -> Path:
    """CLIP's tokenizer of the ComfyUI that the pack lies in: two folders above it, in its `custom_nodes`."""
    return Path(__file__).resolve().parents[2].parent.parent / "comfy" / "sd1_tokenizer"


def text_encoder_of(model: StableDiffusion, device: torch.device, folder: Path | None = None) -> EncodeTexts:
    """The checkpoint's text encoder: states of the last layer that its config keeps, normed, of 77 tokens.

    `folder`: of CLIP's tokenizer; default: ComfyUI's.

    Raises:
        FileNotFoundError: there is no tokenizer in `folder`.
    """
    from transformers import CLIPTokenizer

    folder = folder or comfyui_tokenizer()
    if not (folder / "merges.txt").is_file():
        raise FileNotFoundError(
            f"there is no CLIP tokenizer (vocab.json, merges.txt) in {folder}: name the folder with --tokenizer; "
            "ComfyUI has one in comfy/sd1_tokenizer"
        )
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    text_encoder = model.text_encoder.to(device)
    padding = min(PADDING[model.family], len(tokenizer) - 1)

    @torch.no_grad()
    def encode(texts: list[str]) -> Tensor:
        found = tokenizer(texts, padding="max_length", truncation=True, max_length=LONGEST, return_tensors="pt")
        tokens = found.input_ids.masked_fill(found.attention_mask == 0, padding)
        return text_encoder(tokens.to(device)).last_hidden_state

    return encode
