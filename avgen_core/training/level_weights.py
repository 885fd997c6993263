"""Weights of the diffusion loss over noise levels."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor, nn

LEVELS = 20
MEMORY = 0.99  # share of the statistics that a step keeps
LEAST_COUNT = 1.0  # frames that a level must have seen before its statistics count
SMALLEST_ERROR = 1e-8


class LevelWeighting(str, Enum):
    """How much frames of each noise level count in the loss."""

    RELEASED = "released"  # all the same: AR-Diffusion's configs
    BALANCED = "balanced"  # in inverse proportion to the level's usual error: EDM2, arXiv 2312.02696, section 2.2


class LevelErrors(nn.Module):
    """Running mean of the error in each of `LEVELS` ranges of timesteps.

    EDM2 learns the logarithm of this mean by a small network, whose optimum it is; AR-Diffusion's code has a table of
    that kind too (`logvar` in `diffusion.py`), which the released configs leave at zero.
    """

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.register_buffer("errors", torch.zeros(LEVELS))
        self.register_buffer("counts", torch.zeros(LEVELS))

    def _range_of(self, timesteps: Tensor) -> Tensor:
        return timesteps * LEVELS // self.timesteps

    def weights(self, timesteps: Tensor) -> Tensor:
        """What errors at these timesteps are multiplied by.

        It makes the usual error of every level that of all levels together. Levels that are hardly known count as 1.
        """
        known = self.counts >= LEAST_COUNT
        overall = self.errors.sum() / self.counts.sum().clamp(min=LEAST_COUNT)
        table = overall * self.counts / self.errors.clamp(min=SMALLEST_ERROR * LEAST_COUNT)
        return torch.where(known, table, 1.0)[self._range_of(timesteps)]

    def tallies(self, errors: Tensor, timesteps: Tensor) -> dict[str, Tensor]:
        """Errors (n, F) at timesteps (n, F), summed and counted in each range, (n, LEVELS) each, for `update`."""
        index, empty = self._range_of(timesteps), errors.new_zeros(len(errors), LEVELS)
        return {
            "level_errors": empty.scatter_add(1, index, errors.detach()),
            "level_counts": empty.scatter_add(1, index, torch.ones_like(errors)),
        }

    @torch.no_grad()
    def update(self, tallies: dict[str, Tensor]) -> None:
        """Take in the tallies of a step, summed over rows."""
        self.errors.mul_(MEMORY).add_(tallies["level_errors"])
        self.counts.mul_(MEMORY).add_(tallies["level_counts"])
