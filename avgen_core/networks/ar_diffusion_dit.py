"""AR-Diffusion's denoiser: a transformer over context tokens and the tokens of all frames, each frame at its own noise.

Names of modules and parameters are those of the official `DiT_crossattn` (AR-Diffusion, `src/ardiff/modules/
dit_model.py`; the name misleads, there is no cross-attention), so its state dicts load as they are. Beyond the official
forward, every frame may have its own context, frames may be left out of the window, and keys and values of finished
frames may come from a cache that keeps keys before rotation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .attention import attend
from .causal_dit import KeyValueCache
from .rope import THETA, rotate

FREQUENCIES = 256  # width of the timestep sinusoid; official `TimestepEmbedder`
NORM_EPS = 1e-6  # of the norms without parameters; official `DiTBlock`


@dataclass(frozen=True)
class ARDiffusionDiTConfig:
    """Dimensions; the defaults are those of the released generators (official `configs/*/ardiff`)."""

    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    in_channels: int = 4
    tokens_per_frame: int = 32
    frames: int = 16  # of the window; without `rotary`, no position lies beyond it
    context_dim: int = 768
    context_tokens: int = 77
    rotary: bool = False  # rotary positions in place of the sin-cos table
    qk_norm: bool = False
    context_sees_video: bool = True  # official `video_temporal_causal`; False is its `temporal_causal`

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} must split into {self.num_heads} heads of equal size")
        if (self.head_dim if self.rotary else self.hidden_size) % 2:
            raise ValueError(
                f"positions are sines and cosines in pairs: hidden_size {self.hidden_size}, with rotary positions "
                f"that of one of its {self.num_heads} heads, must be even"
            )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads


@dataclass(frozen=True)
class Layout:
    """What all layers of one forward share. The sequence is all context blocks, then all frames."""

    context_length: int
    frames: int
    mask: Tensor  # (context and video tokens, cached, context and video tokens) bool
    rotation: tuple[Tensor, Tensor] | None
    cached_rotation: tuple[Tensor, Tensor] | None
    cache: KeyValueCache | None
    reads_cache: bool

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, sequence, ...) to context (B, context_length, ...) and video (B, F, L, ...)."""
        return x[:, : self.context_length], x[:, self.context_length :].unflatten(1, (self.frames, -1))

    def join(self, context: Tensor, video: Tensor) -> Tensor:
        """The inverse of `split`."""
        return torch.cat([context, video.flatten(1, 2)], dim=1)


class Attention(nn.Module):
    """Self-attention of the whole sequence, and of what the cache shows."""

    def __init__(self, config: ARDiffusionDiTConfig, layer: int, operations=nn) -> None:
        super().__init__()
        self.layer, self.heads = layer, config.num_heads
        self.qkv = operations.Linear(config.hidden_size, 3 * config.hidden_size)
        self.q_norm = operations.LayerNorm(config.head_dim) if config.qk_norm else nn.Identity()
        self.k_norm = operations.LayerNorm(config.head_dim) if config.qk_norm else nn.Identity()
        self.proj = operations.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """(B, sequence, D) to the same shape."""
        queries, keys, values = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        queries, keys = self.q_norm(queries), self.k_norm(keys)
        if layout.cache is not None:
            layout.cache.write(self.layer, layout.split(keys)[1], layout.split(values)[1])
        queries, keys = _turned(queries, layout.rotation), _turned(keys, layout.rotation)
        if layout.reads_cache:
            past_keys, past_values = (past.flatten(1, 2) for past in layout.cache.read(self.layer))
            keys = torch.cat([_turned(past_keys, layout.cached_rotation).to(keys), keys], dim=1)
            values = torch.cat([past_values.to(values), values], dim=1)
        out = attend(*(y.transpose(1, 2) for y in (queries, keys, values)), layout.mask)
        return self.proj(out.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Feed-forward under timm's names."""

    def __init__(self, config: ARDiffusionDiTConfig, operations=nn) -> None:
        super().__init__()
        width = int(config.hidden_size * config.mlp_ratio)
        self.fc1 = operations.Linear(config.hidden_size, width)
        self.fc2 = operations.Linear(width, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """Attention and feed-forward; frames are modulated by their timestep, context tokens are not.

    The residual branches off after the norm, not before it: official `merge_mode: share_norm` overwrites the stream
    with the norm's output, and the released weights were trained so.
    """

    def __init__(self, config: ARDiffusionDiTConfig, layer: int, operations=nn) -> None:
        super().__init__()
        width = config.hidden_size
        self.norm1 = operations.LayerNorm(width, NORM_EPS, elementwise_affine=False)
        self.attn = Attention(config, layer, operations)
        self.norm2 = operations.LayerNorm(width, NORM_EPS, elementwise_affine=False)
        self.mlp = Mlp(config, operations)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), operations.Linear(width, 6 * width))

    def forward(self, x: Tensor, embedding: Tensor, layout: Layout) -> Tensor:
        """`x` (B, sequence, D); `embedding` (B, F, D) of the timesteps."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(embedding).unsqueeze(2).chunk(6, dim=-1)
        context, video = layout.split(self.norm1(x))
        out = self.attn(layout.join(context, video * (1 + scale1) + shift1), layout)
        x = _residual(layout, context, video, out, gate1)
        context, video = layout.split(self.norm2(x))
        out = self.mlp(layout.join(context, video * (1 + scale2) + shift2))
        return _residual(layout, context, video, out, gate2)


class TimestepEmbedder(nn.Module):
    """Timesteps to vectors of the network's width."""

    def __init__(self, width: int, operations=nn) -> None:
        super().__init__()
        self.mlp = nn.Sequential(operations.Linear(FREQUENCIES, width), nn.SiLU(), operations.Linear(width, width))

    def forward(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        """(B, F) to (B, F, D)."""
        return self.mlp(timestep_sinusoid(timesteps).to(dtype))


class ARDiffusionDiT(nn.Module):
    """Predicts the clean latents of frames that each have their own noise level."""

    def __init__(self, config: ARDiffusionDiTConfig, operations=nn) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.x_embedder = operations.Linear(config.in_channels, width)
        self.t_embedder = TimestepEmbedder(width, operations)
        self.c_embedder = operations.Linear(config.context_dim, width)
        if not config.rotary:
            self.register_buffer("pos_embed", sin_cos_table(config.frames * config.tokens_per_frame, width))
        self.blocks = nn.ModuleList(Block(config, layer, operations) for layer in range(config.depth))
        self.final_layer = nn.Sequential(
            operations.LayerNorm(width, NORM_EPS, elementwise_affine=False),
            operations.Linear(width, config.in_channels),
        )
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw the weights as the official `initialize_weights` does: every block begins as the identity."""
        for module in self.modules():
            # A host's layers may have no memory until their weights are loaded.
            if isinstance(module, nn.Linear) and module.weight is not None:
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm) and module.weight is not None:
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        for linear in (self.t_embedder.mlp[0], self.t_embedder.mlp[2]):
            if linear.weight is not None:
                nn.init.normal_(linear.weight, std=0.02)
        for linear in (*(block.adaLN_modulation[1] for block in self.blocks), self.final_layer[1]):
            if linear.weight is not None:
                nn.init.zeros_(linear.weight)

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        context_of_frame: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Clean latents (B, F, L, C) of noisy ones `x` (B, F, L, C), which have about unit variance.

        Args:
            timesteps: (B, F) in 0..999, 999 being noise.
            context: (B, P, N, context_dim), P blocks of context tokens; one block is the official computation.
            context_of_frame: (F,) the block that each frame sees; default: the first.
            positions: (F,) increasing frame numbers inside the window; default: 0..F-1.
            cache: finished frames; receives keys and values of these frames. A frame sees those that are not after
                it, and context tokens see all of them where they see video at all.

        Raises:
            ValueError: a frame lies outside the window of a network without rotary positions, has another number of
                tokens than this network, or sees a context that is not there.
        """
        frames, tokens = x.shape[1:3]
        device = x.device
        if context_of_frame is None:
            context_of_frame = torch.zeros(frames, dtype=torch.long, device=device)
        if positions is None:
            positions = torch.arange(frames, device=device)
        self._check(tokens, positions, context_of_frame, context)
        context_of_frame, positions = context_of_frame.to(device), positions.to(device)
        layout = self._layout(positions, context_of_frame, context.shape[1:3], cache)

        video = self.x_embedder(x)
        if not self.config.rotary:
            table = self.pos_embed[0].unflatten(0, (self.config.frames, tokens))
            video = video + table.to(video)[positions.long()]
        embedding = self.t_embedder(timesteps, video.dtype)
        h = layout.join(self.c_embedder(context).flatten(1, 2), video)
        for block in self.blocks:
            h = block(h, embedding, layout)
        return self.final_layer(layout.split(h)[1])

    def _check(self, tokens: int, positions: Tensor, context_of_frame: Tensor, context: Tensor) -> None:
        config = self.config
        if tokens != config.tokens_per_frame:
            raise ValueError(f"frames have {tokens} tokens, this network takes {config.tokens_per_frame}")
        if not config.rotary and int(positions.max()) >= config.frames:
            raise ValueError(
                f"frame position {int(positions.max())} is outside this network's window of {config.frames} frames "
                f"(0..{config.frames - 1}): only a network with rotary positions has no such limit"
            )
        if int(context_of_frame.max()) >= context.shape[1]:
            raise ValueError(
                f"a frame sees context {int(context_of_frame.max())}, but only {context.shape[1]} are given"
            )

    def _layout(
        self,
        positions: Tensor,
        context_of_frame: Tensor,
        context_shape: tuple[int, int],
        cache: KeyValueCache | None,
    ) -> Layout:
        config, device = self.config, positions.device
        reads_cache = cache is not None and len(cache.positions) > 0
        cached = cache.positions.to(device) if reads_cache else positions[:0]
        blocks, context_tokens = context_shape
        mask = visibility(
            positions, context_of_frame, cached, blocks, context_tokens, config.tokens_per_frame,
            context_sees_video=config.context_sees_video,
        )  # fmt: skip
        rotation = cached_rotation = None
        if config.rotary:
            of_context = torch.arange(context_tokens, device=device).repeat(blocks)
            of_frames = _token_positions(positions, config.tokens_per_frame, context_tokens)
            rotation = _rotation(torch.cat([of_context, of_frames]), config.head_dim)
            cached_rotation = _rotation(
                _token_positions(cached, config.tokens_per_frame, context_tokens), config.head_dim
            )
        return Layout(blocks * context_tokens, len(positions), mask, rotation, cached_rotation, cache, reads_cache)


def timestep_sinusoid(timesteps: Tensor) -> Tensor:
    """Timesteps (...) in 0..999 to (..., FREQUENCIES), cosines first, in float32 as the official code computes it."""
    half = FREQUENCIES // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=timesteps.device) / half)
    angles = timesteps.float().unsqueeze(-1) * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def sin_cos_table(positions: int, width: int) -> Tensor:
    """The frozen table (1, positions, width) over the flattened token index: sines, then cosines."""
    half = width // 2
    rates = 10000.0 ** -(torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()[None]


def visibility(
    positions: Tensor,
    context_of_frame: Tensor,
    cached: Tensor,
    blocks: int,
    context_tokens: int,
    tokens: int,
    *,
    context_sees_video: bool,
) -> Tensor:
    """Who sees whom, True where visible: queries (blocks, frames), keys (cached frames, blocks, frames), as tokens.

    A frame sees its own context and the frames that are not after it; a context sees itself and, if
    `context_sees_video`, all frames (official `video_temporal_causal`: information of later frames reaches earlier
    ones through it).

    Args:
        positions: (F,) of the frames.
        context_of_frame: (F,) in 0..blocks-1.
        cached: (frames,) positions of cached frames.
    """
    device, past = positions.device, len(cached)
    block = torch.arange(blocks, device=device)
    seen = torch.zeros(blocks + len(positions), past + blocks + len(positions), dtype=torch.bool, device=device)
    of_context, of_frames = seen[:blocks], seen[blocks:]
    of_context[:, past : past + blocks] = block[:, None] == block
    of_context[:, :past] = of_context[:, past + blocks :] = context_sees_video
    of_frames[:, past : past + blocks] = context_of_frame[:, None] == block
    of_frames[:, :past] = cached <= positions[:, None]
    of_frames[:, past + blocks :] = positions <= positions[:, None]
    lengths = torch.tensor([tokens] * past + [context_tokens] * blocks + [tokens] * len(positions), device=device)
    return seen.repeat_interleave(lengths[past:], 0).repeat_interleave(lengths, 1)


def _token_positions(frames: Tensor, tokens: int, first: int) -> Tensor:
    """Rotary positions (F * tokens,) of the tokens of frames at `frames` (F,); the first frame begins at `first`."""
    return (first + frames[:, None] * tokens + torch.arange(tokens, device=frames.device)).flatten()


def _rotation(positions: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (S, 1, head_dim / 2) for tokens at `positions` (S,), as rotary_embedding_torch has them."""
    pairs = head_dim // 2
    rates = THETA ** -(torch.arange(pairs, dtype=torch.float64, device=positions.device) / pairs)
    angles = (positions.double()[:, None] * rates).unsqueeze(1)
    return angles.cos().float(), angles.sin().float()


def _turned(x: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
    return x if rotation is None else rotate(x, rotation)


def _residual(layout: Layout, context: Tensor, video: Tensor, out: Tensor, gate: Tensor) -> Tensor:
    context_out, video_out = layout.split(out)
    return layout.join(context + context_out, video + gate * video_out)
