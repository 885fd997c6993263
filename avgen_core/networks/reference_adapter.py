"""What ART-V adds to an image diffusion model: reference encoder, anchor branch and mask head.

The image model's own weights stay as they are. Untrained, every addition is exactly zero: residuals have a gain of 0,
the anchor's values are 0, and the mask is 0. No public implementation of the paper exists (arXiv 2311.18834); what the
sources say and what is our reading of them is in `docs/art_v.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ReferenceAdapterConfig:
    """Sizes of the additions.

    latent_channels: of the image model's latents; references: previous frames that it sees; widths: channels of the
    UNet's levels, from the finest; attention_widths: inner width of each of its cross-attentions, in the order in which
    a forward meets them; text_width: of the states that it attends to; anchor_side: the anchor becomes anchor_side^2
    tokens of anchor_width; squeeze: how many times narrower than its level the encoder's residual blocks are.
    """

    latent_channels: int
    widths: tuple[int, ...]
    attention_widths: tuple[int, ...]
    text_width: int
    references: int = 2
    residual_blocks: int = 4
    anchor_width: int = 256
    anchor_side: int = 8
    mask_width: int = 64
    squeeze: int = 4

    def __post_init__(self) -> None:
        if self.references < 1:
            raise ValueError(f"an adapter needs at least 1 reference, got {self.references}")
        if any(width % self.squeeze for width in self.widths):
            raise ValueError(f"levels of {self.widths} channels cannot be {self.squeeze} times narrower")

    @property
    def planes(self) -> int:
        """Channels that the reference encoder reads: each image, with a plane that says it is there; the noise."""
        return (self.references + 1) * (self.latent_channels + 1) + 1


@dataclass(frozen=True)
class References:
    """Frames that the next one is made from, as latents.

    previous: (B, R, C, H, W), the newest first, with noise of `noise` mixed in; newest: (B, C, H, W), the newest as it
    is, which the mask may copy; anchor: (B, C, H, W), the video's first frame; has_previous: (B, R) and has_anchor:
    (B,), bool, what of it is there; noise: (B,) in 0..1.
    """

    previous: Tensor
    newest: Tensor
    anchor: Tensor
    has_previous: Tensor
    has_anchor: Tensor
    noise: Tensor

    @property
    def any(self) -> Tensor:
        """(B,) bool: whether there is anything at all."""
        return self.has_previous.any(dim=1) | self.has_anchor

    def planes(self) -> Tensor:
        """All of it as channels (B, planes, H, W); what is not there is zero."""
        images = torch.cat([self.previous, self.anchor[:, None]], dim=1)
        there = torch.cat([self.has_previous, self.has_anchor[:, None]], dim=1).to(images)[..., None, None, None]
        flags = there.expand(-1, -1, 1, *images.shape[-2:])
        noise = self.noise.to(images)[:, None, None, None].expand(-1, 1, *images.shape[-2:])
        return torch.cat([torch.cat([images * there, flags], dim=2).flatten(1, 2), noise], dim=1)


class ResidualBlock(nn.Module):
    """`LightAdapterResnetBlock` of diffusers."""

    def __init__(self, channels: int, operations=nn) -> None:
        super().__init__()
        self.block1 = operations.Conv2d(channels, channels, 3, padding=1)
        self.block2 = operations.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block2(functional.relu(self.block1(x)))


class Level(nn.Module):
    """`LightAdapterBlock` of diffusers, where residual blocks are at a quarter of the level's width."""

    def __init__(self, inside: int, middle: int, outside: int, blocks: int, down: bool, operations=nn) -> None:
        super().__init__()
        self.down = nn.AvgPool2d(2, ceil_mode=True) if down else nn.Identity()
        self.in_conv = operations.Conv2d(inside, middle, 1)
        self.resnets = nn.Sequential(*(ResidualBlock(middle, operations) for _ in range(blocks)))
        self.out_conv = operations.Conv2d(middle, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_conv(self.resnets(self.in_conv(self.down(x))))


class ReferenceEncoder(nn.Module):
    """References to one residual for each level of the UNet.

    The layout and the names are those of diffusers' `T2IAdapter` of type `light_adapter` with a downscale factor of 1;
    the gains are ours.
    """

    def __init__(self, config: ReferenceAdapterConfig, operations=nn) -> None:
        super().__init__()
        inside = (config.planes, *config.widths)
        self.body = nn.ModuleList(
            Level(inside[i], width // config.squeeze, width, config.residual_blocks, i > 0, operations)
            for i, width in enumerate(config.widths)
        )
        self.gains = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in config.widths)

    def forward(self, references: References) -> list[Tensor]:
        """Residuals (B, width, h, w), from the finest level; zero where there is no reference at all."""
        x, residuals = references.planes(), []
        there = references.any[:, None, None, None]
        for level, gain in zip(self.body, self.gains, strict=True):
            x = level(x)
            residuals.append(x * gain.to(x)[:, None, None] * there.to(x))
        return residuals


class AnchorEncoder(nn.Module):
    """The first frame to tokens."""

    def __init__(self, config: ReferenceAdapterConfig, operations=nn) -> None:
        super().__init__()
        width, self.side = config.anchor_width, config.anchor_side
        self.convolutions = nn.Sequential(
            operations.Conv2d(config.latent_channels, width // 2, 3, padding=1),
            nn.SiLU(),
            operations.Conv2d(width // 2, width, 3, padding=1),
            nn.SiLU(),
        )
        self.places = nn.Parameter(torch.randn(self.side**2, width) * 0.02)
        self.norm = operations.LayerNorm(width)

    def forward(self, anchor: Tensor) -> Tensor:
        """Latents (B, C, H, W) to tokens (B, side^2, width)."""
        pooled = functional.adaptive_avg_pool2d(self.convolutions(anchor), self.side)
        return self.norm(rearrange(pooled, "b c h w -> b (h w) c") + self.places.to(pooled))


class AnchorBranch(nn.Module):
    """Keys and values of the anchor for each cross-attention of the UNet, whose queries they share with the text.

    What they give is added to what the text gives, as in IP-Adapter (arXiv 2308.06721, section 3.2.2).
    """

    def __init__(self, config: ReferenceAdapterConfig, operations=nn) -> None:
        super().__init__()
        self.encoder = AnchorEncoder(config, operations)
        self.keys = nn.ModuleList(
            operations.Linear(config.anchor_width, width, bias=False) for width in config.attention_widths
        )
        self.values = nn.ModuleList(
            operations.Linear(config.anchor_width, width, bias=False) for width in config.attention_widths
        )
        for values in self.values:
            nn.init.zeros_(values.weight)

    def forward(self, anchor: Tensor, has_anchor: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Anchors (B, C, H, W) to keys and values, each (B, tokens, width); values are zero where there is none."""
        tokens = self.encoder(anchor)
        there = has_anchor.to(tokens)[:, None, None]
        return [(keys(tokens), values(tokens) * there) for keys, values in zip(self.keys, self.values, strict=True)]


class MaskHead(nn.Module):
    """How much of each pixel is drawn from the newest reference instead of from the network's prediction."""

    def __init__(self, config: ReferenceAdapterConfig, operations=nn) -> None:
        super().__init__()
        width = config.mask_width
        self.layers = nn.Sequential(
            operations.Conv2d(3 * config.latent_channels + 2, width, 3, padding=1),
            nn.SiLU(),
            operations.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            operations.Conv2d(width, 1, 3, padding=1),
        )
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, noisy: Tensor, predicted: Tensor, references: References, noise: Tensor) -> Tensor:
        """Mask (B, 1, H, W) in 0..1.

        Args:
            noisy: (B, C, H, W), the frame as it is.
            predicted: (B, C, H, W), the clean frame that the network predicts from it.
            noise: (B,) in 0..1, the share of noise in `noisy`, sqrt(1 - alphas_cumprod).
        """
        levels = torch.stack([noise, references.noise.to(noise)], dim=1).to(noisy)[..., None, None]
        there = references.has_previous[:, 0, None, None, None].to(noisy)
        newest = references.newest.to(noisy) * there
        planes = [noisy, predicted, newest, levels.expand(-1, -1, *noisy.shape[-2:])]
        return opened(self.gate).to(noisy) * self.layers(torch.cat(planes, dim=1)).sigmoid() * there


def opened(gate: Tensor) -> Tensor:
    """The gate in 0..1, with the gradient of the gate itself: from 0 and from 1 it can move in both directions."""
    return gate + (gate.clamp(0, 1) - gate).detach()


@dataclass(frozen=True)
class EncodedReferences:
    """What the UNet gets of the references, the same in all steps of a frame; nothing but zeros where there are none.

    residuals: (B, width, h, w) for each of its levels; anchor: keys and values (B, tokens, width) for each of its
    cross-attentions.
    """

    residuals: list[Tensor]
    anchor: list[tuple[Tensor, Tensor]]


class ReferenceAdapter(nn.Module):
    """All that ART-V adds to an image model; saved alone."""

    def __init__(self, config: ReferenceAdapterConfig, operations=nn) -> None:
        super().__init__()
        self.config = config
        self.reference_encoder = ReferenceEncoder(config, operations)
        self.anchor = AnchorBranch(config, operations)
        self.mask = MaskHead(config, operations)

    def encode(self, references: References) -> EncodedReferences:
        """The references as the UNet sees them."""
        return EncodedReferences(
            self.reference_encoder(references), self.anchor(references.anchor, references.has_anchor)
        )


def blended(predicted: Tensor, references: References, mask: Tensor) -> Tensor:
    """Masked diffusion on clean frames (B, C, H, W): where the mask is 1, the newest reference.

    To blend predicted clean frames is to blend the noises, or the velocities, that belong to them.
    """
    return predicted + mask * (references.newest.to(predicted) - predicted)
