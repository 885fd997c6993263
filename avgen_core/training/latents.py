"""Latent clips in memory: the corpus seen through the autoencoder, encoded once and kept beside it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..networks.image_autoencoder import ImageAutoencoder
from .autoencoder import to_unit
from .corpus import Corpus, Label
from .precision import autocast


@torch.inference_mode()
def encode_frames(autoencoder: ImageAutoencoder, frames: np.ndarray, device: str) -> Tensor:
    """Frames (N, H, W, 3) uint8 to latents (N, C, h, w) in float16, in batches of 256."""
    parts = []
    for start in range(0, len(frames), 256):
        images = to_unit(frames[start : start + 256]).to(device).to(memory_format=torch.channels_last)
        with autocast(torch.device(device)):
            parts.append(autoencoder.encode(images).half().cpu())
    return torch.cat(parts)


def encode_corpus(autoencoder: ImageAutoencoder, encoder: str, data: Path, device: str = "cpu") -> None:
    """Encode the shards that are not encoded yet; `encoder` is the encoder's digest, under which latents are filed."""
    corpus = Corpus(data)
    autoencoder = autoencoder.to(device).eval()
    for shard in corpus.shards:
        target = latents_file(data, encoder, shard)
        if target.exists():
            continue
        frames = corpus.frames(shard)
        clips, count = frames.shape[:2]
        latents = encode_frames(autoencoder, frames.reshape(clips * count, *frames.shape[2:]), device)
        partial = target.with_suffix(".part")
        save_file({"latents": latents.unflatten(0, (clips, count)).contiguous()}, partial)
        partial.replace(target)


def latents_file(data: Path, encoder: str, shard: int) -> Path:
    return Path(data) / f"latents-{encoder[:12]}-{shard:05d}.safetensors"


class ClipBatch(NamedTuple):
    """Latents (B, C, F, h, w) float32, the distinct prompts, and each frame's prompt (B, F)."""

    latents: Tensor
    prompts: list[str]
    prompt_of_frame: Tensor


class LatentClips:
    """Random windows of the encoded corpus."""

    def __init__(self, data: Path, encoder: str) -> None:
        corpus = Corpus(data)
        shards = [shard for shard in corpus.shards if latents_file(data, encoder, shard).exists()]
        if not shards:
            raise FileNotFoundError(
                f"{data} holds no latents of the encoder {encoder[:12]}: "
                "make them with `python -m avgen_core train latents`"
            )
        self.digest = f"{encoder[:12]}-{corpus.digest(shards)}"
        self.latents = torch.cat([load_file(latents_file(data, encoder, shard))["latents"] for shard in shards])
        self.labels: list[Label] = [label for shard in shards for label in corpus.labels(shard)]

    @property
    def clip_frames(self) -> int:
        """Frames of a whole clip."""
        return self.latents.shape[1]

    def batch(self, step: int, size: int, frames: int, seed: int, text_dropout: float, rows: slice) -> ClipBatch:
        """These rows of batch `step` of `size` clips: the same for the same arguments and corpus."""
        rng = np.random.default_rng((seed, step))
        clips = rng.integers(len(self.latents), size=size)[rows]
        offsets = rng.integers(self.latents.shape[1] - frames + 1, size=size)[rows]
        dropped = (rng.random(size) < text_dropout)[rows]
        prompts: dict[str, int] = {"": 0}
        prompt_of_frame = torch.zeros(len(clips), frames, dtype=torch.long)
        for row, (clip, offset) in enumerate(zip(clips, offsets, strict=True)):
            if dropped[row]:
                continue
            label = self.labels[clip]
            for start, text in zip(label.starts, label.captions, strict=True):
                number = prompts.setdefault(text, len(prompts))
                prompt_of_frame[row, max(0, start - offset) :] = number
        windows = [self.latents[clip, offset : offset + frames] for clip, offset in zip(clips, offsets, strict=True)]
        latents = torch.stack(windows).float().transpose(1, 2).contiguous()
        return ClipBatch(latents, list(prompts), prompt_of_frame)
