"""Latents of all frames of a clip source: encoded once, kept in small shards, read whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..rollout.files import written_whole
from .loop import process_state
from .videos import ClipSource, Video

SHARD_BYTES = 14_000_000


class FrameEncoder(Protocol):
    """What makes latents of frames.

    digest: names its weights; frame_bytes: of one frame's latents; frames_at_once: how many it encodes together; step:
    of the command that encodes with it.
    """

    digest: str
    frame_bytes: int
    frames_at_once: int
    step: str

    def encode(self, frames: Tensor, device: torch.device) -> Tensor:
        """Frames (n, 3, size, size) in 0..1 to latents (n, ...), in half precision on the CPU."""


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
    def of(source: ClipSource, encoder: FrameEncoder, cache: Path) -> LatentShards:
        """Named after the encoder's weights and the source's videos: when either changes, so does the name."""
        name = f"{encoder.digest[:12]}-{source.digest}"
        capacity = max(1, SHARD_BYTES // encoder.frame_bytes)
        return LatentShards(cache, name, shard_plan([video.frames for video in source.videos], capacity))

    def file(self, number: int) -> Path:
        return self.folder / f"latents-{self.name}-{number:05d}.safetensors"


def encode_source(source: ClipSource, encoder: FrameEncoder, cache: Path, device: str = "cpu") -> None:
    """Encode the shards that are not there yet; several processes share the work."""
    state = process_state(device)
    shards = LatentShards.of(source, encoder, cache)
    cache.mkdir(parents=True, exist_ok=True)
    for number in range(state.process_index, len(shards.plan), state.num_processes):
        target = shards.file(number)
        if target.exists():
            continue
        parts = (_encoded(source, encoder, piece, state.device) for piece in shards.plan[number])
        latents = torch.cat([part for piece in parts for part in piece])
        with written_whole(target) as partial:
            save_file({"latents": latents.contiguous()}, partial)
    state.wait_for_everyone()


def _encoded(source: ClipSource, encoder: FrameEncoder, piece: Piece, device: torch.device) -> Iterator[Tensor]:
    frames = source.frames(piece.video, piece.first, piece.frames)
    while chunk := list(islice(frames, encoder.frames_at_once)):
        with torch.inference_mode():
            yield encoder.encode(torch.stack(chunk), device)


class LatentVideos:
    """Latents of a source in memory. A video that is longer than a shard is several videos here."""

    def __init__(self, source: ClipSource, encoder: FrameEncoder, cache: Path) -> None:
        """Raises FileNotFoundError when the source is not encoded yet."""
        shards = LatentShards.of(source, encoder, cache)
        missing = [number for number in range(len(shards.plan)) if not shards.file(number).exists()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(shards.plan)} files of latents are missing from {cache}: make them with "
                f"`python -m avgen_core train {encoder.step}` and the same data and autoencoder"
            )
        self.classes = source.classes
        self.digest = shards.name
        self.videos: list[Video] = []
        self.firsts: list[int] = []  # where each begins in the source's video
        self._latents: list[Tensor] = []
        for number, pieces in enumerate(shards.plan):
            latents = load_file(shards.file(number))["latents"]
            self._latents += latents.split([piece.frames for piece in pieces])
            self.firsts += [piece.first for piece in pieces]
            self.videos += [
                Video(source.videos[piece.video].name, piece.frames, source.videos[piece.video].label)
                for piece in pieces
            ]

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame's latents."""
        return tuple(self._latents[0].shape[1:])

    def read(self, video: int, start: int, count: int, step: int = 1) -> Tensor:
        """Latents (count, ...) float of frames start, start + step, ..."""
        return self._latents[video][start : start + (count - 1) * step + 1 : step].float()
