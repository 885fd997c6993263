"""The pixel decoder of MaskGIT-VQGAN: embedded codes to pixels, 2x up at every level but the last.

Names of modules and parameters are those of the official AR-Diffusion file `src/vae/maskgit_vqgan.py`, class `Decoder`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

GROUPS = 32  # of every group norm, with an epsilon of 1e-6


class PixelDecoder(nn.Module):
    """Codes (N, code_channels, h, w) to images (N, 3, h * 2^(levels-1), ...) of about 0..1, not clamped."""

    def __init__(self, code_channels: int, channels: tuple[int, ...], blocks: int, operations=nn) -> None:
        """`channels` of each level from full resolution down; `blocks` residual blocks a level and in the middle."""
        super().__init__()
        deepest, widest = len(channels) - 1, channels[-1]
        self.conv_in = operations.Conv2d(code_channels, widest, 3, padding=1)
        self.mid = nn.ModuleList(ResidualBlock(widest, widest, operations) for _ in range(blocks))
        self.up = nn.ModuleList(
            Level(channels[min(i + 1, deepest)], channels[i], blocks, doubles=i > 0, operations=operations)
            for i in range(len(channels))
        )
        self.norm_out = operations.GroupNorm(GROUPS, channels[0], 1e-6)
        self.conv_out = operations.Conv2d(channels[0], 3, 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        h = self.conv_in(codes)
        for block in self.mid:
            h = block(h)
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(functional.silu(self.norm_out(h)))


class Level(nn.Module):
    """Residual blocks at one resolution, then the way up to the next."""

    def __init__(self, before: int, channels: int, blocks: int, *, doubles: bool, operations=nn) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(channels if i else before, channels, operations) for i in range(blocks)
        )
        self.upsample_conv = operations.Conv2d(channels, channels, 3, padding=1) if doubles else None

    def forward(self, h: Tensor) -> Tensor:
        for block in self.block:
            h = block(h)
        if self.upsample_conv is None:
            return h
        return self.upsample_conv(functional.interpolate(h, scale_factor=2.0, mode="nearest"))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions.

    Where the width changes, what is added is a projection of the block's own result and not of its input: official
    `ResnetBlock.forward`, which the weights of every MaskGIT tokenizer in circulation were trained with.
    """

    def __init__(self, before: int, channels: int, operations=nn) -> None:
        super().__init__()
        self.norm1 = operations.GroupNorm(GROUPS, before, 1e-6)
        self.conv1 = operations.Conv2d(before, channels, 3, padding=1, bias=False)
        self.norm2 = operations.GroupNorm(GROUPS, channels, 1e-6)
        self.conv2 = operations.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.nin_shortcut = operations.Conv2d(channels, channels, 1, bias=False) if before != channels else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x)))
        h = self.conv2(functional.silu(self.norm2(h)))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(h))
