"""Latents to pixel frames and back, in fixed units: the chunk size a reader asks for changes nothing, not even bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from ..rollout.run import Run

UNIT = 8  # frames that go through the autoencoder at once; part of the result, since batch size changes rounding

ImageFunction = Callable[[Tensor], Tensor]
"""Latents (N, C, h, w) to images (N, 3, H, W) in -1..1, or the other way."""


def _unit(function: ImageFunction, items: Tensor, before: int) -> Tensor:
    """`function` over one unit of (N, ...), the first `before` of which only lead up to it; padded by repetition.

    The result is on the CPU, so that a device holds one unit at a time.
    """
    missing = before + UNIT - len(items)
    padded = torch.cat([items, items[-1:].expand(missing, *items.shape[1:])]) if missing else items
    return function(padded)[before : len(items)].float().cpu()


def _in_units(function: ImageFunction, items: Tensor, lead: int = 0) -> Tensor:
    """`function` over (N, ...) in units of `UNIT`, each with up to `lead` items before it."""
    parts = []
    for start in range(0, len(items), UNIT):
        first = max(0, start - lead)
        parts.append(_unit(function, items[first : start + UNIT], start - first))
    return torch.cat(parts)


def _shown(images: Tensor) -> Tensor:
    """Images (F, 3, H, W) in -1..1 to frames (F, H, W, 3) in 0..1."""
    return images.clamp(-1, 1).add(1).div(2).permute(0, 2, 3, 1).contiguous()


@torch.no_grad()
def decode_latents(decode: ImageFunction, latents: Tensor, lead: int = 0) -> Tensor:
    """Latents (F, C, h, w) to frames (F, H, W, 3) float in 0..1.

    lead: frames before a unit that `decode` must see with it, for decoders that look back in time.
    """
    return _shown(_in_units(decode, latents, lead))


def fitted(frames: Tensor, height: int, width: int) -> Tensor:
    """Frames (F, H, W, 3) in 0..1 scaled, bicubic, until they cover height x width, and cropped to their middle.

    Sizes as in AR-Diffusion's `VideoDataset.py`; here values beyond 0..1, which bicubic makes at edges, are cut off.
    """
    given_height, given_width = frames.shape[1:3]
    if height * given_width >= width * given_height:
        size = height, height * given_width // given_height
    else:
        size = width * given_height // given_width, width
    if size != (given_height, given_width):
        images = frames.permute(0, 3, 1, 2)
        images = functional.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
        frames = images.permute(0, 2, 3, 1)
    top, left = round((size[0] - height) / 2), round((size[1] - width) / 2)
    return frames[:, top : top + height, left : left + width]


@torch.no_grad()
def encode_frames(encode: ImageFunction, frames: Tensor) -> Tensor:
    """Frames (F, H, W, 3) in 0..1 to latents (F, C, h, w)."""
    return _in_units(encode, frames[..., :3].permute(0, 3, 1, 2).mul(2).sub(1))


def decode_run(
    run: Run, decode: ImageFunction, start: int = 0, stop: int | None = None, *, chunk: int = 32, lead: int = 0
) -> Iterator[Tensor]:
    """Frames start..stop of a run, `chunk` at a time, each (n, H, W, 3) in 0..1; memory does not grow with the run."""
    stop = run.frames if stop is None else stop
    pending: list[Tensor] = []
    waiting = 0
    for first in range(start // UNIT * UNIT, stop, UNIT):
        end = min(first + UNIT, run.frames)
        before = min(first, lead)
        with torch.no_grad():
            frames = _shown(_unit(decode, run.latents(first - before, end), before))
        frames = frames[max(0, start - first) : stop - first]
        pending.append(frames)
        waiting += len(frames)
        while waiting >= chunk:
            joined = torch.cat(pending)
            yield joined[:chunk]
            pending, waiting = [joined[chunk:]], waiting - chunk
    if waiting:
        yield torch.cat(pending)
