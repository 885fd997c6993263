"""Where random numbers come from: each draw is named, so that order, resuming and chunking cannot change it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class NoiseSource(Protocol):
    """`purpose` is `initial`, `renoise` or `reference`, and `index` the frame's own step; or `code`, and `frame` is the
    number of a group of frames, `index` that of a cell."""

    def draw(self, frame: int, purpose: str, index: int, shape: tuple[int, ...]) -> Tensor: ...


@dataclass(frozen=True)
class SeededNoise:
    """Standard normal draws that depend on (seed, stream, frame, purpose, index) alone; made on the CPU, float32.

    A run that joins an earlier one approximately counts its frames anew: `stream` keeps its noise from repeating.
    """

    seed: int
    stream: str = ""

    def draw(self, frame: int, purpose: str, index: int, shape: tuple[int, ...]) -> Tensor:
        name = f"{self.seed}/{self.stream}/{frame}/{purpose}/{index}".encode()
        key = int.from_bytes(hashlib.sha256(name).digest()[:8], "little") >> 1
        return torch.randn(shape, generator=torch.Generator().manual_seed(key))


@dataclass(frozen=True)
class RecordedNoise:
    """Draws recorded elsewhere, by (frame, purpose, index)."""

    draws: dict[tuple[int, str, int], Tensor]

    def draw(self, frame: int, purpose: str, index: int, shape: tuple[int, ...]) -> Tensor:
        noise = self.draws[frame, purpose, index]
        if tuple(noise.shape) != tuple(shape):
            raise ValueError(f"recorded {purpose} noise of frame {frame} is {tuple(noise.shape)}, needed {shape}")
        return noise
