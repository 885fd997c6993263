"""Latents of all frames of a clip source: encoded once by the AR-VAE, kept in small shards, read whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from ..checkpoints.files import encoder_digest
from ..networks.ar_vae import ARVAE
from ..rollout.files import written_whole
from .loop import process_state
from .videos import ClipSource, Video

SHARD_BYTES = 14_000_000
FRAMES_AT_ONCE = 32


@dataclass(frozen=True)
class Piece:
    """Frames first .. first + frames - 1 of a video."""

    video: int
    first: int
    frames: int


def shard_plan(lengths: list[int], capacity: int) -> list[list[Piece]]:
    """Videos of these lengths, in order, in shards of at most `capacity` frames; only longer ones are cut."""
    pieces = [
        Piece(video, first, min(capacity, length - first))
        for video, length in enumerate(lengths)
        for first in range(0, length, capacity)
    ]
    shards: list[list[Piece]] = []
    free = 0
    for piece in pieces:
        if piece.frames > free:
            shards.append([])
            free = capacity
        shards[-1].append(piece)
        free -= piece.frames
    return shards


@dataclass(frozen=True)
class LatentShards:
    """Where the latents of a source under an encoder are, and what is in each file."""

    folder: Path
    name: str
    plan: list[list[Piece]]

    @staticmethod
    def of(source: ClipSource, autoencoder: ARVAE, cache: Path) -> LatentShards:
        """Named after the encoder's weights and the source's videos: when either changes, so does the name."""
        config = autoencoder.config
        frame_bytes = 2 * config.latent_tokens * config.latent_channels
        name = f"{encoder_digest(autoencoder.state_dict())[:12]}-{source.digest}"
        return LatentShards(
            cache, name, shard_plan([video.frames for video in source.videos], SHARD_BYTES // frame_bytes)
        )

    def file(self, number: int) -> Path:
        return self.folder / f"latents-{self.name}-{number:05d}.safetensors"


def encode_source(source: ClipSource, autoencoder: ARVAE, cache: Path, device: str = "cpu") -> None:
    """Encode the shards that are not there yet; several processes share the work."""
    state = process_state(device)
    autoencoder = autoencoder.to(state.device).eval()
    shards = LatentShards.of(source, autoencoder, cache)
    cache.mkdir(parents=True, exist_ok=True)
    for number in range(state.process_index, len(shards.plan), state.num_processes):
        target = shards.file(number)
        if target.exists():
            continue
        latents = torch.cat([part for piece in shards.plan[number] for part in _encoded(source, autoencoder, piece)])
        with written_whole(target) as partial:
            save_file({"latents": latents}, partial)
    state.wait_for_everyone()


@torch.inference_mode()
def _encoded(source: ClipSource, autoencoder: ARVAE, piece: Piece) -> Iterator[Tensor]:
    """Latents (n, L, C) in half precision, each token of unit length (official `base.py`, norm_preprocess)."""
    frames = source.frames(piece.video, piece.first, piece.frames)
    while chunk := list(islice(frames, FRAMES_AT_ONCE)):
        latents = autoencoder.encode(torch.stack(chunk).to(autoencoder.latent_tokens.device))
        yield functional.normalize(latents.float(), dim=1)[:, :, 0].transpose(1, 2).half().cpu()


class LatentVideos:
    """Latents of a source in memory. A video that is longer than a shard is several videos here."""

    def __init__(self, source: ClipSource, autoencoder: ARVAE, cache: Path) -> None:
        """Raises FileNotFoundError when the source is not encoded yet."""
        shards = LatentShards.of(source, autoencoder, cache)
        missing = [number for number in range(len(shards.plan)) if not shards.file(number).exists()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(shards.plan)} files of latents are missing from {cache}: make them with "
                "`python -m avgen_core train ar-latents` and the same data and autoencoder"
            )
        self.classes = source.classes
        self.digest = shards.name
        self.videos: list[Video] = []
        self._latents: list[Tensor] = []
        for number, pieces in enumerate(shards.plan):
            latents = load_file(shards.file(number))["latents"]
            self._latents += latents.split([piece.frames for piece in pieces])
            self.videos += [
                Video(source.videos[piece.video].name, piece.frames, source.videos[piece.video].label)
                for piece in pieces
            ]

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Tokens and channels of a frame."""
        tokens, channels = self._latents[0].shape[1:]
        return tokens, channels

    def read(self, video: int, start: int, count: int, step: int = 1) -> Tensor:
        """Latents (count, L, C) float of frames start, start + step, ...; tokens have unit length."""
        latents = self._latents[video][start : start + (count - 1) * step + 1 : step]
        return functional.normalize(latents.float(), dim=-1)
