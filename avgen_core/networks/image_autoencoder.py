"""The embedded models' image autoencoder: 8x down, applied frame by frame.

Its latents have zero mean and unit variance per channel over the training data by construction (the encoder ends in a
normalisation with running statistics), so that a diffusion model needs no scale factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ImageAutoencoderConfig:
    """Channel counts from full resolution/2 down to /8 (encoder) and from /8 up to /2 (decoder)."""

    image_channels: int = 3
    latent_channels: int = 16
    encoder_channels: tuple[int, int, int] = (48, 80, 112)
    decoder_channels: tuple[int, int, int] = (128, 96, 64)
    decoder_blocks: tuple[int, int, int] = (2, 2, 1)
    latent_noise: float = 0.05

    @property
    def downscale(self) -> int:
        """Pixels per latent cell along each side."""
        return 8


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with group norm around a skip connection."""

    def __init__(self, channels: int, operations=nn) -> None:
        super().__init__()
        self.norm1 = operations.GroupNorm(8, channels)
        self.conv1 = operations.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = operations.GroupNorm(8, channels)
        self.conv2 = operations.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(nn.functional.silu(self.norm1(x)))
        return x + self.conv2(nn.functional.silu(self.norm2(h)))


class ImageAutoencoder(nn.Module):
    """Images (B, 3, H, W) in -1..1 to latents (B, C, H/8, W/8) and back; H and W are multiples of 8."""

    lead = 0  # an image is decoded without the ones before it

    def memory(self, frames: int) -> int:
        """Bytes that coding needs beside the weights: next to nothing at this size."""
        return 0

    def __init__(self, config: ImageAutoencoderConfig, operations=nn) -> None:
        super().__init__()
        self.config = config
        conv, shuffled = operations.Conv2d, config.image_channels * 4
        a, b, c = config.encoder_channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            conv(shuffled, a, 3, padding=1),
            nn.SiLU(),
            conv(a, b, 3, stride=2, padding=1),
            ResidualBlock(b, operations),
            conv(b, c, 3, stride=2, padding=1),
            ResidualBlock(c, operations),
            nn.SiLU(),
            conv(c, config.latent_channels, 3, padding=1),
        )
        self.latent_norm = nn.BatchNorm2d(config.latent_channels, affine=False, momentum=0.01)
        layers: list[nn.Module] = [conv(config.latent_channels, config.decoder_channels[0], 3, padding=1)]
        for i, channels in enumerate(config.decoder_channels):
            if i:
                layers += [nn.Upsample(scale_factor=2), conv(config.decoder_channels[i - 1], channels, 3, padding=1)]
            layers += [ResidualBlock(channels, operations) for _ in range(config.decoder_blocks[i])]
        self.decoder = nn.Sequential(
            *layers, nn.SiLU(), conv(config.decoder_channels[-1], shuffled, 3, padding=1), nn.PixelShuffle(2)
        )

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in -1..1 to latents (B, C, H/8, W/8)."""
        return self.latent_norm(self.encoder(images))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to images (B, 3, 8h, 8w), about -1..1 and not clamped."""
        return self.decoder(latents)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruction as in training: the decoder sees slightly noisy latents, as a diffusion model will give it."""
        latents = self.encode(images)
        return self.decode(latents + self.config.latent_noise * torch.randn_like(latents))
