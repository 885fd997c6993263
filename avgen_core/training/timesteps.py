"""Timesteps of training clips: how noise grows over the frames, and which frames are clean context."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import torch
from torch import Generator, Tensor

TIMESTEPS = 1000


class TimestepSampler(str, Enum):
    """How the frames of a clip get their timesteps. All but diffusion forcing give earlier frames no more noise."""

    FOPP = "fopp"  # AR-Diffusion, section 3.4: a random frame gets any timestep, the others follow
    UNIFORM = "uniform"  # all non-decreasing sequences are equally likely
    SYNCHRONOUS = "synchronous"  # one timestep for all frames
    DIFFUSION_FORCING = "diffusion-forcing"  # an independent timestep for every frame

    @property
    def ordered(self) -> bool:
        return self is not TimestepSampler.DIFFUSION_FORCING


def draw_timesteps(sampler: TimestepSampler, batch: int, frames: int, timesteps: int, generator: Generator) -> Tensor:
    """Timesteps (batch, frames), int64 in 0..timesteps - 1, on the generator's device; 0 is the least noise.

    Raises:
        ValueError: a size is less than 1.
    """
    if min(batch, frames, timesteps) < 1:
        raise ValueError(f"batch, frames and timesteps must be at least 1, got {batch}, {frames} and {timesteps}")
    shape = {
        TimestepSampler.SYNCHRONOUS: (1, batch),
        TimestepSampler.DIFFUSION_FORCING: (frames, batch),
    }
    if sampler in shape:
        drawn = torch.randint(timesteps, shape[sampler], generator=generator, device=generator.device)
        return drawn.expand(frames, -1).T.contiguous()
    index = torch.arange(frames, device=generator.device)[:, None]
    least, most = torch.zeros_like(index), timesteps - 1 + index
    if sampler is TimestepSampler.FOPP:
        least, most = _around_anchor(index, batch, timesteps, generator)
    return _non_decreasing(least, most, batch, generator)


def _around_anchor(index: Tensor, batch: int, timesteps: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """The ranges for `_non_decreasing` (frames, batch) when a random frame has a random timestep."""
    options = {"generator": generator, "device": index.device}
    anchor = torch.randint(len(index), (batch,), **options)
    timestep = torch.randint(timesteps, (batch,), **options)
    least = torch.where(index < anchor, 0, anchor + timestep + (index > anchor))
    most = index + torch.where(index <= anchor, timestep, timesteps - 1)
    return least, most


def _non_decreasing(least: Tensor, most: Tensor, batch: int, generator: Generator) -> Tensor:
    """Random non-decreasing sequences (batch, frames), by Floyd's algorithm for random subsets.

    A non-decreasing sequence is a set of distinct numbers: add its rank to each element. Floyd draws the set without
    a table of counts: number k is any of `least[k]..most[k]`, and `most[k]` if that one is taken. The official
    sampler's tables (`timestep_sampler.py`) count the same sequences, and draw frame after frame from them.
    """
    frames = len(most)
    uniform = torch.rand(frames, batch, generator=generator, device=generator.device, dtype=torch.float64)
    drawn = least + (uniform * (most - least + 1)).long()
    for k in range(1, frames):
        taken = (drawn[:k] == drawn[k]).any(dim=0)
        drawn[k] = torch.where(taken, most[k], drawn[k])
    rank = torch.arange(frames, device=generator.device)
    return drawn.T.contiguous().sort(dim=1).values - rank


def draw_levels(sampler: TimestepSampler, batch: int, units: int, generator: Generator) -> Tensor:
    """Noise levels (batch, units) in 0..1: timesteps, spread over their interval by one offset a clip.

    With one offset, equal timesteps stay equal and the order is kept.
    """
    offset = torch.rand(batch, 1, generator=generator, device=generator.device)
    return (draw_timesteps(sampler, batch, units, TIMESTEPS, generator) + offset) / TIMESTEPS


def level_weight(levels: Tensor) -> Tensor:
    """Weight of a frame in the loss, by its noise level: rises to 1 at 0.4 and stays there.

    At low levels the velocity is mostly the noise itself, which nothing can predict: measured on the embedded model,
    the error is 0.96 below level 0.1 and 0.29 above 0.9. Unweighted, that would be most of the gradient's noise.
    """
    return (levels / 0.4).clamp(max=1.0)


class ClipNoise(NamedTuple):
    """Noise of a batch of clips of F frames.

    levels: (B, F) in 0..1; learned: (B, F) bool, the frames that count in the loss; groups: (F,) causal groups, or
    None where all frames see each other; remade: (B,), the level at which the model makes a clip's context anew, 0
    where the context is the clip's own.
    """

    levels: Tensor
    learned: Tensor
    groups: Tensor | None
    remade: Tensor

    def of(self, rows: slice) -> ClipNoise:
        """That of some of the clips."""
        return ClipNoise(self.levels[rows], self.learned[rows], self.groups, self.remade[rows])


@dataclass(frozen=True)
class NoiseRecipe:
    """Mixture from which each batch is drawn.

    blocks: share of batches in which frames of a block of that size share a level and see each other; 0 stands for one
    block over the whole clip, which is training without the causal mask.
    prefix_share: share of clips that begin with clean frames, as commits see them.
    noisy_prefix_share: share of those whose clean frames carry a little noise (up to `prefix_noise`), against drift;
        sampling commits frames with such noise.
    remade_prefix_share: share of those whose frames the model itself makes anew from a level in `remade_levels`, so
        that it learns to go on from its own errors: after "Resampling Forcing" (End-to-End Training for Autoregressive
        Video Diffusion via Self-Resampling).
    sampler: how the levels of a clip's blocks are drawn.
    """

    blocks: tuple[tuple[int, float], ...] = ((1, 0.4), (4, 0.42), (0, 0.18))
    prefix_share: float = 0.6
    noisy_prefix_share: float = 0.8
    prefix_noise: float = 0.25
    remade_prefix_share: float = 0.3
    remade_levels: tuple[float, float] = (0.3, 0.8)
    sampler: TimestepSampler = TimestepSampler.FOPP

    def draw(self, batch: int, frames: int, generator: Generator) -> ClipNoise:
        sizes, shares = zip(*self.blocks, strict=True)
        size = sizes[int(torch.multinomial(torch.tensor(shares), 1, generator=generator))] or frames
        units = frames // size
        prefix = self._prefix_frames(batch, frames, size, generator)
        levels = draw_levels(self.sampler, batch, units, generator).repeat_interleave(size, dim=1)
        learned = torch.arange(frames)[None] >= prefix[:, None]
        context = torch.rand(batch, 1, generator=generator) * self.prefix_noise
        context *= torch.rand(batch, 1, generator=generator) < self.noisy_prefix_share
        if self.sampler.ordered:
            levels = self._rescaled(levels, learned, generator)
        remade = self._remade(prefix, generator)
        levels = torch.where(learned, levels.clamp(1e-3, 1.0), context)
        groups = None if units == 1 else torch.arange(frames) // size
        return ClipNoise(levels, learned, groups, remade)

    def _prefix_frames(self, batch: int, frames: int, size: int, generator: Generator) -> Tensor:
        unit = 1 if size == frames else size
        count = torch.randint(1, frames // unit, (batch,), generator=generator) * unit
        return count * (torch.rand(batch, generator=generator) < self.prefix_share)

    def _remade(self, prefix: Tensor, generator: Generator) -> Tensor:
        """Levels (B,) at which context is made anew; 0 for most, and where there is no context."""
        least, most = self.remade_levels
        level = least + (most - least) * torch.rand(len(prefix), generator=generator)
        chosen = torch.rand(len(prefix), generator=generator) < self.remade_prefix_share
        return level * (chosen & (prefix > 0))

    @staticmethod
    def _rescaled(levels: Tensor, learned: Tensor, generator: Generator) -> Tensor:
        """After a prefix the first learned unit starts anywhere: FoPP's low first frames belong to whole clips."""
        first = levels.masked_fill(~learned, 2.0).amin(dim=1, keepdim=True)
        start = torch.rand(len(levels), 1, generator=generator)
        stretched = start + (levels - first) * (1 - start) / (1 - first).clamp(min=1e-3)
        return torch.where(learned[:, :1], levels, stretched)
