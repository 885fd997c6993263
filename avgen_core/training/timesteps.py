"""Noise levels of training clips: which frames are clean context, and how noise grows over the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


def fopp(batch: int, units: int, generator: Generator) -> Tensor:
    """Non-decreasing noise levels (batch, units) in 0..1 with the FoPP distribution of AR-Diffusion, section 3.4.

    A random unit gets a uniform level; given it, all non-decreasing sequences are equally likely. In continuous time
    that is: sorted uniform levels below it on the left, and above it on the right.
    """
    anchor = torch.randint(units, (batch, 1), generator=generator)
    level = torch.rand(batch, 1, generator=generator)
    draws = torch.rand(batch, units, generator=generator)
    index = torch.arange(units).expand(batch, -1)
    left, right = index < anchor, index > anchor
    values = torch.where(left, draws * level, torch.where(right, level + (1 - level) * draws, level))
    return values.sort(dim=1).values


def level_weight(levels: Tensor) -> Tensor:
    """Weight of a frame in the loss, by its noise level: rises to 1 at 0.4 and stays there.

    At low levels the velocity is mostly the noise itself, which nothing can predict: measured on the embedded model,
    the error is 0.96 below level 0.1 and 0.29 above 0.9. Unweighted, that would be most of the gradient's noise.
    """
    return (levels / 0.4).clamp(max=1.0)


@dataclass(frozen=True)
class ClipNoise:
    """Noise of a batch of clips of F frames.

    levels: (B, F) in 0..1; learned: (B, F) bool, the frames that count in the loss; groups: (F,) causal groups, or
    None where all frames see each other.
    """

    levels: Tensor
    learned: Tensor
    groups: Tensor | None


@dataclass(frozen=True)
class NoiseRecipe:
    """Mixture from which each batch is drawn.

    blocks: share of batches in which frames of a block of that size share a level and see each other; 0 stands for one
    block over the whole clip, which is training without the causal mask.
    prefix_share: share of clips that begin with clean frames, as commits see them.
    noisy_prefix_share: share of those whose clean frames carry a little noise (up to `prefix_noise`), against drift.
    """

    blocks: tuple[tuple[int, float], ...] = ((1, 0.4), (4, 0.42), (0, 0.18))
    prefix_share: float = 0.6
    noisy_prefix_share: float = 0.4
    prefix_noise: float = 0.25

    def draw(self, batch: int, frames: int, generator: Generator) -> ClipNoise:
        sizes, shares = zip(*self.blocks, strict=True)
        size = sizes[int(torch.multinomial(torch.tensor(shares), 1, generator=generator))] or frames
        units = frames // size
        prefix = self._prefix_frames(batch, frames, size, generator)
        if units == 1:
            levels = torch.rand(batch, 1, generator=generator).expand(-1, frames).clone()
        else:
            levels = fopp(batch, units, generator).repeat_interleave(size, dim=1)
        learned = torch.arange(frames)[None] >= prefix[:, None]
        context = torch.rand(batch, 1, generator=generator) * self.prefix_noise
        context *= torch.rand(batch, 1, generator=generator) < self.noisy_prefix_share
        levels = torch.where(learned, self._rescaled(levels, learned, generator), context)
        groups = None if units == 1 else torch.arange(frames) // size
        return ClipNoise(levels, learned, groups)

    def _prefix_frames(self, batch: int, frames: int, size: int, generator: Generator) -> Tensor:
        unit = 1 if size == frames else size
        count = torch.randint(1, frames // unit, (batch,), generator=generator) * unit
        return count * (torch.rand(batch, generator=generator) < self.prefix_share)

    @staticmethod
    def _rescaled(levels: Tensor, learned: Tensor, generator: Generator) -> Tensor:
        """After a prefix the first learned unit starts anywhere: FoPP's low first frames belong to whole clips."""
        first = levels.masked_fill(~learned, 2.0).amin(dim=1, keepdim=True)
        start = torch.rand(len(levels), 1, generator=generator)
        stretched = start + (levels - first) * (1 - start) / (1 - first).clamp(min=1e-3)
        return torch.where(learned[:, :1], levels, stretched).clamp(1e-3, 1.0)
