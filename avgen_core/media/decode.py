"""Latents to pixel frames and back, in fixed units: the chunk size a reader asks for changes nothing, not even bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..rollout.run import Run

UNIT = 8  # frames that go through the autoencoder at once; part of the result, since batch size changes rounding

ImageFunction = Callable[[Tensor], Tensor]
"""Latents (N, C, h, w) to images (N, 3, H, W) in -1..1, or the other way."""


def _in_units(function: ImageFunction, items: Tensor) -> Tensor:
    """`function` over (N, ...) in units of `UNIT`, the last one padded by repetition."""
    parts = []
    for unit in items.split(UNIT):
        missing = UNIT - len(unit)
        padded = torch.cat([unit, unit[-1:].expand(missing, *unit.shape[1:])]) if missing else unit
        parts.append(function(padded)[: len(unit)])
    return torch.cat(parts)


@torch.no_grad()
def decode_latents(decode: ImageFunction, latents: Tensor) -> Tensor:
    """Latents (F, C, h, w) to frames (F, H, W, 3) float in 0..1."""
    images = _in_units(decode, latents).float().cpu()
    return images.clamp(-1, 1).add(1).div(2).permute(0, 2, 3, 1).contiguous()


@torch.no_grad()
def encode_frames(encode: ImageFunction, frames: Tensor) -> Tensor:
    """Frames (F, H, W, 3) in 0..1 to latents (F, C, h, w)."""
    return _in_units(encode, frames[..., :3].permute(0, 3, 1, 2).mul(2).sub(1)).float().cpu()


def decode_run(
    run: Run, decode: ImageFunction, start: int = 0, stop: int | None = None, chunk: int = 32
) -> Iterator[Tensor]:
    """Frames start..stop of a run, `chunk` at a time, each (n, H, W, 3) in 0..1; memory does not grow with the run."""
    stop = run.frames if stop is None else stop
    pending: list[Tensor] = []
    waiting = 0
    for first in range(start // UNIT * UNIT, stop, UNIT):
        end = min(first + UNIT, run.frames)
        frames = decode_latents(decode, run.latents(first, end))[max(0, start - first) : stop - first]
        pending.append(frames)
        waiting += len(frames)
        while waiting >= chunk:
            joined = torch.cat(pending)
            yield joined[:chunk]
            pending, waiting = [joined[chunk:]], waiting - chunk
    if waiting:
        yield torch.cat(pending)
