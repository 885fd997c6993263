"""AR-Diffusion's autoencoder: a frame to a handful of tokens, and tokens back to frames.

Names of modules and parameters are those of the official `TiTok_KL` (per-frame decoder) and `TiTok_KL_wT` (decoder that
also looks at earlier frames); official files `src/vae/titok_kl*.py`, `src/vae/blocks_kl*.py`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from .attention import attend
from .pixel_decoder import GROUPS, PixelDecoder

LOGVAR_RANGE = (-30.0, 20.0)  # official `DiagonalGaussianDistribution`
MLP_RATIO = 4
FRESH_LOGVAR = -6.0  # noise of about 0.05 beside latents of about 1
FRESH_LOGITS = 3.0  # deviation of the codebook's logits


@dataclass(frozen=True)
class ARVAEConfig:
    """Dimensions; the defaults are those of the released autoencoders ("large" in the official size table).

    Width, layers, heads of the official sizes: small 512, 8, 8; base 768, 12, 12; large 1024, 24, 16.
    """

    encoder_width: int = 1024
    encoder_layers: int = 24
    encoder_heads: int = 16
    decoder_width: int = 1024
    decoder_layers: int = 24
    decoder_heads: int = 16
    patch_size: int = 16
    image_size: int = 256
    latent_tokens: int = 32
    latent_channels: int = 4
    temporal: bool = False  # TiTok_KL_wT
    codebook_size: int = 1024
    codebook_dim: int = 256
    pixel_channels: tuple[int, ...] = (128, 128, 256, 256, 512)  # from full resolution down
    pixel_blocks: int = 2

    def __post_init__(self) -> None:
        for part, width, heads in (
            ("encoder", self.encoder_width, self.encoder_heads),
            ("decoder", self.decoder_width, self.decoder_heads),
        ):
            if width % heads:
                raise ValueError(f"the {part}'s width {width} must split into {heads} heads of equal size")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} must be a multiple of the patch {self.patch_size}")
        if self.patch_size != 2 ** (len(self.pixel_channels) - 1):
            raise ValueError(
                f"a pixel decoder of {len(self.pixel_channels)} levels makes patches of "
                f"{2 ** (len(self.pixel_channels) - 1)} pixels, not {self.patch_size}"
            )
        if any(channels % GROUPS for channels in self.pixel_channels):
            raise ValueError(f"pixel_channels {self.pixel_channels} must be multiples of {GROUPS}")

    @property
    def patches(self) -> int:
        """Patches of one frame."""
        return (self.image_size // self.patch_size) ** 2


class Attention(nn.Module):
    """Multi-head attention under the names of `nn.MultiheadAttention`, whose three input projections are packed."""

    def __init__(self, width: int, heads: int, operations=nn) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = operations.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, Q, D), (B, K, D), (B, K, D) to (B, Q, D); `mask` (Q, K) is True where visible."""
        weights, biases = self.in_proj_weight.to(queries).chunk(3), self.in_proj_bias.to(queries).chunk(3)
        q, k, v = (
            functional.linear(x, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, weight, bias in zip((queries, keys, values), weights, biases, strict=True)
        )
        return self.out_proj(attend(q, k, v, mask).transpose(1, 2).flatten(2))


class SpatialBlock(nn.Module):
    """Pre-norm transformer block over the tokens of one frame."""

    def __init__(self, width: int, heads: int, operations=nn) -> None:
        super().__init__()
        self.ln_1 = operations.LayerNorm(width)
        self.attn = Attention(width, heads, operations)
        self.ln_2 = operations.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=operations.Linear(width, MLP_RATIO * width),
                gelu=nn.GELU(),
                c_proj=operations.Linear(MLP_RATIO * width, width),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.ln_1(x)
        x = x + self.attn(h, h, h)
        return x + self.mlp(self.ln_2(x))


class FineTemporalBlock(nn.Module):
    """Each patch sees itself in the same and in earlier frames."""

    def __init__(self, width: int, heads: int, operations=nn) -> None:
        super().__init__()
        self.ln_1 = operations.LayerNorm(width)
        self.attn = Attention(width, heads, operations)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, F, patches, D) to the same shape."""
        count = patches.shape[2]
        x = rearrange(patches, "b f n d -> (b n) f d")
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, _earlier(patches.shape[1], x.device))
        return rearrange(x, "(b n) f d -> b f n d", n=count)


class CoarseTemporalBlock(nn.Module):
    """Patches and latent tokens see the latent tokens of their own and of earlier frames."""

    def __init__(self, width: int, heads: int, operations=nn) -> None:
        super().__init__()
        self.ln_q = operations.LayerNorm(width)
        self.ln_k = operations.LayerNorm(width)
        self.ln_v = operations.LayerNorm(width)
        self.attn = Attention(width, heads, operations)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """`x` (B, F, tokens, D) and `latents` (B, F, L, D) to the shape of `x`."""
        (frames, tokens), count = x.shape[1:3], latents.shape[2]
        mask = _earlier(frames, x.device).repeat_interleave(tokens, 0).repeat_interleave(count, 1)
        queries, latents = self.ln_q(x).flatten(1, 2), latents.flatten(1, 2)
        return x + self.attn(queries, self.ln_k(latents), self.ln_v(latents), mask).unflatten(1, (frames, tokens))


class Encoder(nn.Module):
    """Frames to the moments of their latents."""

    def __init__(self, config: ARVAEConfig, operations=nn) -> None:
        super().__init__()
        width, patch = config.encoder_width, config.patch_size
        self.patch_embed = operations.Conv2d(3, width, patch, stride=patch)
        self.class_embedding = _table(1, width)
        self.positional_embedding = _table(config.patches + 1, width)
        self.latent_token_positional_embedding = _table(config.latent_tokens, width)
        self.ln_pre = operations.LayerNorm(width)
        self.transformer = nn.ModuleList(
            SpatialBlock(width, config.encoder_heads, operations) for _ in range(config.encoder_layers)
        )
        self.ln_post = operations.LayerNorm(width)
        self.conv_out = operations.Conv2d(width, 2 * config.latent_channels, 1)

    def forward(self, frames: Tensor, latent_tokens: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 to moments (N, 2C, 1, L): means, then log variances."""
        patches = self.patch_embed(frames).flatten(2).transpose(1, 2)
        classes = self.class_embedding.to(patches).expand(len(patches), 1, -1)
        patches = torch.cat([classes, patches], dim=1) + self.positional_embedding.to(patches)
        latents = latent_tokens.to(patches) + self.latent_token_positional_embedding.to(patches)
        x = self.ln_pre(torch.cat([patches, latents.expand(len(patches), -1, -1)], dim=1))
        for block in self.transformer:
            x = block(x)
        latents = self.ln_post(x[:, patches.shape[1] :])
        # The official encoder reshapes tokens x width to width x tokens without a transposition; its weights need that.
        moments = self.conv_out(latents.reshape(len(latents), -1, latents.shape[1], 1))
        return moments.transpose(2, 3)


class Decoder(nn.Module):
    """Unit latents to logits over the codebook, one frame at a time."""

    def __init__(self, config: ARVAEConfig, operations=nn) -> None:
        super().__init__()
        width = config.decoder_width
        self.patches, self.side = config.patches, math.isqrt(config.patches)
        self.decoder_embed = operations.Linear(config.latent_channels, width)
        self.class_embedding = _table(1, width)
        self.positional_embedding = _table(config.patches + 1, width)
        self.mask_token = nn.Parameter(width**-0.5 * torch.randn(1, 1, width))
        self.latent_token_positional_embedding = _table(config.latent_tokens, width)
        self.ln_pre = operations.LayerNorm(width)
        self.transformer = nn.ModuleList(
            SpatialBlock(width, config.decoder_heads, operations) for _ in range(config.decoder_layers)
        )
        self.ln_post = operations.LayerNorm(width)
        self.ffn = nn.Sequential(
            operations.Conv2d(width, 2 * width, 1), nn.Tanh(), operations.Conv2d(2 * width, config.codebook_size, 1)
        )

    def forward(self, latents: Tensor) -> Tensor:
        """(B, F, C, 1, L) to (B * F, codebook_size, h, w)."""
        batch, frames = latents.shape[:2]
        tokens = self.decoder_embed(rearrange(latents, "b f c 1 l -> (b f) l c"))
        tokens = tokens + self.latent_token_positional_embedding.to(tokens)
        empty = self.mask_token.to(tokens).expand(-1, self.patches, -1)
        empty = torch.cat([self.class_embedding.to(tokens)[None], empty], dim=1) + self.positional_embedding.to(tokens)
        x = self.ln_pre(torch.cat([empty.expand(len(tokens), -1, -1), tokens], dim=1))
        x = self._transform(x.unflatten(0, (batch, frames))).flatten(0, 1)
        patches = self.ln_post(x[:, 1 : 1 + self.patches])
        # Contiguous as in the official code: the memory layout decides in which order the convolutions add.
        return self.ffn(rearrange(patches, "n (h w) d -> n d h w", h=self.side).contiguous())

    def _transform(self, x: Tensor) -> Tensor:
        """(B, F, tokens, D): the class token, patches, latent tokens."""
        frames = x.shape[1]
        x = x.flatten(0, 1)
        for block in self.transformer:
            x = block(x)
        return x.unflatten(0, (-1, frames))


class TemporalDecoder(Decoder):
    """A decoder whose frames also see the frames before them."""

    def __init__(self, config: ARVAEConfig, operations=nn) -> None:
        super().__init__(config, operations)
        width, heads = config.decoder_width, config.decoder_heads
        self.fine_temporal_blocks = nn.ModuleList(
            FineTemporalBlock(width, heads, operations) for _ in range(config.decoder_layers)
        )
        self.coarse_temporal_blocks = nn.ModuleList(
            CoarseTemporalBlock(width, heads, operations) for _ in range(config.decoder_layers)
        )

    def _transform(self, x: Tensor) -> Tensor:
        frames = x.shape[1]
        for fine, coarse, spatial in zip(
            self.fine_temporal_blocks, self.coarse_temporal_blocks, self.transformer, strict=True
        ):
            classes, patches, latents = x.split([1, self.patches, x.shape[2] - 1 - self.patches], dim=2)
            patches_and_latents = coarse(torch.cat([fine(patches), latents], dim=2), latents)
            x = torch.cat([classes, patches_and_latents], dim=2)
            x = spatial(x.flatten(0, 1)).unflatten(0, (-1, frames))
        return x


class ARVAE(nn.Module):
    """Frames of `image_size` pixels to `latent_tokens` tokens of `latent_channels` numbers, and back."""

    def __init__(self, config: ARVAEConfig, operations=nn) -> None:
        super().__init__()
        self.config = config
        self.latent_tokens = _table(config.latent_tokens, config.encoder_width)
        self.encoder = Encoder(config, operations)
        self.decoder = (TemporalDecoder if config.temporal else Decoder)(config, operations)
        self.pixel_quantize_conv = operations.Conv2d(config.codebook_size, config.codebook_dim, 1)
        self.pixel_decoder = PixelDecoder(config.codebook_dim, config.pixel_channels, config.pixel_blocks, operations)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw weights whose latents and codes depend on the picture.

        The official deviation of 0.02 everywhere suits a network that begins as a trained TiTok. From nothing, its
        latents depend on the picture by 2e-5, are drowned by the posterior's noise, and choose no code. Here each
        layer keeps its input's scale, patches know where they are, the noise begins small and codes begin apart.
        Temporal blocks begin as the identity: the official code zeroes them and then draws them again.
        """
        for module in self.modules():
            # A host's layers may have no memory until their weights are loaded.
            if isinstance(module, nn.Linear | nn.Conv2d) and module.weight is not None:
                _keep_scale(module)
            elif isinstance(module, Attention):
                nn.init.xavier_uniform_(module.in_proj_weight)
            elif isinstance(module, nn.LayerNorm | nn.GroupNorm) and module.weight is not None:
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        moments, codes = self.encoder.conv_out, self.decoder.ffn[-1]
        if moments.weight is not None:
            nn.init.normal_(moments.weight, std=moments.in_channels**-0.5)
            moments.bias[self.config.latent_channels :] = FRESH_LOGVAR
            nn.init.normal_(codes.weight, std=FRESH_LOGITS * codes.in_channels**-0.5)
            nn.init.normal_(self.decoder.decoder_embed.weight)
            nn.init.normal_(self.pixel_quantize_conv.weight)
        for part in (self.encoder, self.decoder):
            part.positional_embedding[1:] = _grid_sinusoid(
                math.isqrt(self.config.patches), part.positional_embedding.shape[1]
            )
        for block in self._temporal_blocks():
            if block.attn.out_proj.weight is not None:
                nn.init.zeros_(block.attn.out_proj.weight)

    def posterior(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (N, C, 1, L), of the latents of frames (N, 3, H, W) in 0..1.

        Raises:
            ValueError: the frames are not `image_size` pixels wide and high.
        """
        size = self.config.image_size
        if frames.shape[-2:] != (size, size):
            height, width = frames.shape[-2:]
            raise ValueError(f"this autoencoder takes frames of {size}x{size} pixels, not {width}x{height}")
        mean, logvar = self.encoder(frames, self.latent_tokens).chunk(2, dim=1)
        return mean, logvar.clamp(*LOGVAR_RANGE)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) in 0..1 to the posterior's mode (N, C, 1, L), of any length: `decode` normalises."""
        return self.posterior(frames)[0]

    def codes(self, latents: Tensor) -> Tensor:
        """Latents (B, F, C, 1, L), each token brought to unit length over C, to codes (B * F, codebook_dim, h, w)."""
        logits = self.decoder(functional.normalize(latents, dim=2))
        return self.pixel_quantize_conv(logits.softmax(dim=1))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, F, C, 1, L) of any length to frames (B, F, 3, H, W), about 0..1 and not clamped.

        With `temporal`, frame f depends on frames 0..f; without, on itself alone.
        """
        return self.pixel_decoder(self.codes(latents)).unflatten(0, latents.shape[:2])

    def _temporal_blocks(self) -> list[nn.Module]:
        return [m for m in self.modules() if isinstance(m, FineTemporalBlock | CoarseTemporalBlock)]


def _table(rows: int, width: int) -> nn.Parameter:
    return nn.Parameter(width**-0.5 * torch.randn(rows, width))


def _earlier(frames: int, device: torch.device) -> Tensor:
    """(F, F) True where the column's frame is not after the row's."""
    return torch.ones(frames, frames, dtype=torch.bool, device=device).tril()


def _keep_scale(layer: nn.Linear | nn.Conv2d) -> None:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _grid_sinusoid(side: int, width: int) -> Tensor:
    """(side * side, width): sines and cosines of the row, then of the column; half a turn at the lowest rate."""
    rates = math.pi / side * torch.linspace(1, side, width // 4)
    angles = torch.arange(side)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.cat([waves.repeat_interleave(side, 0), waves.repeat(side, 1)], dim=1)
