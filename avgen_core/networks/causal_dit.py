"""The causal video DiT in the Wan layout: one network for the embedded model and the public causal Wan checkpoints.

Names of modules and parameters are Wan's own (`blocks.0.self_attn.q.weight`), so their state dicts load as they are.
Beyond the official forward, every frame has its own timestep and its own prompt, frames see only what their group
allows, and keys and values of earlier frames come from a cache that keeps keys before rotation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from .attention import attend
from .rope import rotate, rotation


@dataclass(frozen=True)
class CausalDiTConfig:
    """Dimensions, under the names of Wan's own config files."""

    dim: int
    ffn_dim: int
    num_heads: int
    num_layers: int
    in_dim: int = 16
    out_dim: int = 16
    text_dim: int = 4096
    text_len: int = 512
    freq_dim: int = 256
    patch_size: tuple[int, int, int] = (1, 2, 2)
    cross_attn_norm: bool = True
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(f"dim {self.dim} must split into {self.num_heads} heads of even size")
        if self.patch_size[0] != 1:
            raise ValueError(f"the causal DiT works frame by frame: patch_size {self.patch_size} must begin with 1")

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads


class KeyValueCache(Protocol):
    """What a forward asks of a cache. Keys are before rotation; shapes are (B, frames, tokens, heads, head_dim)."""

    @property
    def positions(self) -> Tensor:
        """Rotary positions (frames,) of the visible context, which may be empty."""

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the visible context; asked only when there is one."""

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Offer keys and values of this pass's frames; the cache keeps those that are committed."""


class Injected(Protocol):
    """What is added to the states after self-attention (ARLON's semantic injection)."""

    def __call__(self, layer: int, x: Tensor) -> Tensor:
        """States (B, F, tokens, dim) of a layer to the same."""


@dataclass(frozen=True)
class TextKeys:
    """Cross-attention keys and values of P prompts, one pair a layer, each (P, text_len, heads, head_dim)."""

    layers: tuple[tuple[Tensor, Tensor], ...]


class RMSNorm(nn.Module):
    """Root mean square norm over the whole width, before the split into heads."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).type_as(x) * self.weight.to(x)


class Attention(nn.Module):
    """Projections and query/key norms, the same for self- and cross-attention."""

    def __init__(self, config: CausalDiTConfig, operations=nn) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.q = operations.Linear(config.dim, config.dim)
        self.k = operations.Linear(config.dim, config.dim)
        self.v = operations.Linear(config.dim, config.dim)
        self.o = operations.Linear(config.dim, config.dim)
        self.norm_q = RMSNorm(config.dim, config.eps)
        self.norm_k = RMSNorm(config.dim, config.eps)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))

    def queries(self, x: Tensor) -> Tensor:
        return self.split(self.norm_q(self.q(x)))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.norm_k(self.k(x))), self.split(self.v(x))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, tokens, heads, head_dim) queries, keys and values to (B, tokens, dim)."""
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = attend(q, k, v, mask)
        return self.o(out.transpose(1, 2).flatten(2))


@dataclass(frozen=True)
class FrameContext:
    """What all layers of one forward share: where frames are, what they see, and which prompt each one has."""

    rotation: tuple[Tensor, Tensor]
    mask: Tensor | None  # (query tokens, context and query tokens) bool
    prompt_of_frame: Tensor  # (B, F) index into the prompts of TextKeys
    cache: KeyValueCache | None
    context_rotation: tuple[Tensor, Tensor] | None
    injected: Injected | None


class Block(nn.Module):
    """Self-attention over visible frames, cross-attention to each frame's prompt, feed-forward."""

    def __init__(self, config: CausalDiTConfig, layer: int, operations=nn) -> None:
        super().__init__()
        self.layer = layer
        self.norm1 = operations.LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.self_attn = Attention(config, operations)
        self.norm3 = operations.LayerNorm(config.dim, config.eps) if config.cross_attn_norm else nn.Identity()
        self.cross_attn = Attention(config, operations)
        self.norm2 = operations.LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.ffn = nn.Sequential(
            operations.Linear(config.dim, config.ffn_dim),
            nn.GELU(approximate="tanh"),
            operations.Linear(config.ffn_dim, config.dim),
        )
        self.modulation = nn.Parameter(torch.randn(1, 6, config.dim) / config.dim**0.5)

    def forward(self, x: Tensor, modulation: Tensor, text: TextKeys, frames: FrameContext) -> Tensor:
        """`x` (B, F, tokens, dim); `modulation` (B, F, 6, dim)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            (self.modulation.to(modulation) + modulation).unsqueeze(3).unbind(2)
        )
        h = (self.norm1(x) * (1 + scale1) + shift1).type_as(x)
        x = (x + self._self_attention(h, frames) * gate1).type_as(x)
        if frames.injected is not None:
            x = frames.injected(self.layer, x)
        x = x + self._cross_attention(self.norm3(x), text, frames)
        h = (self.norm2(x) * (1 + scale2) + shift2).type_as(x)
        return (x + self.ffn(h) * gate2).type_as(x)

    def _self_attention(self, x: Tensor, frames: FrameContext) -> Tensor:
        attention = self.self_attn
        keys, values = attention.keys_values(x)
        queries = rotate(attention.queries(x), frames.rotation)
        rotated, mask = rotate(keys, frames.rotation), frames.mask
        if frames.cache is not None:
            frames.cache.write(self.layer, keys, values)
        if frames.context_rotation is not None:
            past_keys, past_values = frames.cache.read(self.layer)
            rotated = torch.cat([rotate(past_keys, frames.context_rotation).type_as(rotated), rotated], dim=1)
            values = torch.cat([past_values.type_as(values), values], dim=1)
        out = attention.attend(*(y.flatten(1, 2) for y in (queries, rotated, values)), mask)
        return out.unflatten(1, x.shape[1:3])

    def _cross_attention(self, x: Tensor, text: TextKeys, frames: FrameContext) -> Tensor:
        attention, (keys, values) = self.cross_attn, text.layers[self.layer]
        batch, count = x.shape[:2]
        queries = attention.queries(x)
        if len(keys) == 1:
            out = attention.attend(queries.flatten(0, 2)[None], keys, values)[0]
            return out.unflatten(0, x.shape[:3])
        prompts = frames.prompt_of_frame.flatten()
        out = attention.attend(queries.flatten(0, 1), keys[prompts], values[prompts])
        return out.unflatten(0, (batch, count))


class Head(nn.Module):
    """Final modulated norm and projection to patches."""

    def __init__(self, config: CausalDiTConfig, operations=nn) -> None:
        super().__init__()
        self.norm = operations.LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.head = operations.Linear(config.dim, math.prod(config.patch_size) * config.out_dim)
        self.modulation = nn.Parameter(torch.randn(1, 2, config.dim) / config.dim**0.5)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """`x` (B, F, tokens, dim); `embedding` (B, F, dim) of the timesteps."""
        shift, scale = (self.modulation.to(embedding) + embedding.unsqueeze(2)).unsqueeze(3).unbind(2)
        return self.head((self.norm(x) * (1 + scale) + shift).type_as(x))


def timestep_sinusoid(timesteps: Tensor, dim: int) -> Tensor:
    """Timesteps (...) in 0..1000 to (..., dim): cosines, then sines, computed in float64 as Wan does."""
    half = dim // 2
    rates = 10000.0 ** -(torch.arange(half, dtype=torch.float64, device=timesteps.device) / half)
    angles = timesteps.double().unsqueeze(-1) * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1).float()


def group_mask(groups: Tensor, tokens: int, context: int = 0) -> Tensor | None:
    """Causal groups (F,) to a (F * tokens, (context + F) * tokens) mask; None where everything is visible.

    A frame sees its own and earlier groups, and all `context` frames before them.
    """
    if bool((groups == groups[0]).all()):
        return None
    visible = functional.pad(groups[None, :] <= groups[:, None], (context, 0), value=True)
    return visible.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)


class CausalDiT(nn.Module):
    """Predicts the flow velocity (noise minus clean) of latent frames, each at its own timestep."""

    def __init__(self, config: CausalDiTConfig, operations=nn) -> None:
        super().__init__()
        self.config = config
        linear = operations.Linear
        self.patch_embedding = operations.Conv3d(
            config.in_dim, config.dim, kernel_size=config.patch_size, stride=config.patch_size
        )
        self.text_embedding = nn.Sequential(
            linear(config.text_dim, config.dim), nn.GELU(approximate="tanh"), linear(config.dim, config.dim)
        )
        self.time_embedding = nn.Sequential(
            linear(config.freq_dim, config.dim), nn.SiLU(), linear(config.dim, config.dim)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), linear(config.dim, config.dim * 6))
        self.blocks = nn.ModuleList(Block(config, layer, operations) for layer in range(config.num_layers))
        self.head = Head(config, operations)

    def text_keys(self, context: Tensor) -> TextKeys:
        """Prompts (P, text_len, text_dim), zero beyond their true length, to what cross-attention needs of them."""
        embedded = self.text_embedding(context)
        return TextKeys(tuple(block.cross_attn.keys_values(embedded) for block in self.blocks))

    def forward(
        self,
        latents: Tensor,
        timesteps: Tensor,
        text: TextKeys,
        prompt_of_frame: Tensor | None = None,
        positions: Tensor | None = None,
        groups: Tensor | None = None,
        cache: KeyValueCache | None = None,
        injected: Injected | None = None,
    ) -> Tensor:
        """Velocity (B, C, F, H, W) of `latents` (B, C, F, H, W).

        Args:
            timesteps: (B, F), 1000 * sigma, in 0..1000.
            text: keys of P prompts from `text_keys`.
            prompt_of_frame: (B, F) index of each frame's prompt; default: prompt b for sample b.
            positions: (F,) rotary position of each frame; default 0..F-1.
            groups: (F,) causal group of each frame; default: all frames see each other.
            cache: earlier frames, all of them visible; receives the keys and values of these frames.
            injected: guidance of these frames.
        """
        batch, _, count, height, width = latents.shape
        patch = self.config.patch_size
        if height % patch[1] or width % patch[2]:
            raise ValueError(f"latent size {height}x{width} must be a multiple of the patch {patch[1]}x{patch[2]}")
        rows, columns = height // patch[1], width // patch[2]
        device = latents.device
        tokens, head_dim = rows * columns, self.config.head_dim
        if positions is None:
            positions = torch.arange(count, device=device)
        if prompt_of_frame is None:
            prompt_of_frame = torch.arange(batch, device=device)[:, None].expand(-1, count)
        context = None if cache is None or not len(cache.positions) else cache.positions.to(device)
        frames = FrameContext(
            rotation=rotation(positions, rows, columns, head_dim),
            mask=None if groups is None else group_mask(groups, tokens, 0 if context is None else len(context)),
            prompt_of_frame=prompt_of_frame,
            cache=cache,
            context_rotation=None if context is None else rotation(context, rows, columns, head_dim),
            injected=injected,
        )
        x = rearrange(self.patch_embedding(latents), "b d f h w -> b f (h w) d")
        sinusoid = timestep_sinusoid(timesteps, self.config.freq_dim).to(x)
        embedding = self.time_embedding(sinusoid)
        modulation = self.time_projection(embedding).unflatten(-1, (6, -1)).float()
        for block in self.blocks:
            x = block(x, modulation, text, frames)
        patches = self.head(x, embedding.float())
        return rearrange(
            patches,
            "b f (h w) (p q r c) -> b c (f p) (h q) (w r)",
            h=rows,
            w=columns,
            p=patch[0],
            q=patch[1],
            r=patch[2],
        )
