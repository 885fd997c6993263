"""Batch normalisation over the rows of all processes. PyTorch's own needs GPUs."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


class _SumOverProcesses(torch.autograd.Function):
    """The sum, whose gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _SumOverProcesses.apply(gradient)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` without weights, whose statistics in training are those of all processes' images."""

    @staticmethod
    def like(norm: nn.BatchNorm2d) -> GlobalBatchNorm2d:
        """The same layer with the same running statistics."""
        made = GlobalBatchNorm2d(norm.num_features, norm.eps, norm.momentum, affine=False)
        made.load_state_dict(norm.state_dict())
        return made

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if not self.training:
            return super().forward(x)
        wide = x.float()
        count = wide.new_full((1,), wide.numel() / wide.shape[1])
        sums = _SumOverProcesses.apply(torch.cat([wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3)), count]))
        mean, square = sums[:-1].div(sums[-1]).chunk(2)
        variance = square - mean.square()
        self._update(mean.detach(), variance.detach(), sums[-1].detach())
        return (wide - mean[:, None, None]) * torch.rsqrt(variance + self.eps)[:, None, None]

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        self.num_batches_tracked += 1
