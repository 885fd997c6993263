"""ARLON's token transformer: writes the codes of a video one after the other, under a text that may change.

arXiv 2410.20502: decoder-only, the text's states before the codes, next-token prediction, `<EOS>`. Codes run row by row
within a group of latent frames, then group after group. Sizes are not in our sources. A small network of our own rather
than a library's: every code may have a text of its own, and the window slides over whole groups.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import attend
from .rope import THETA


@dataclass(frozen=True)
class TokenTransformerConfig:
    """Sizes.

    codes: of the codebook; `<EOS>` is the token after them, and what stands before the first code; cells: codes of a
    group; window: groups that are visible, the one in work included.
    """

    codes: int
    cells: int
    dim: int = 128
    heads: int = 4
    layers: int = 3
    ffn_dim: int = 384
    text_dim: int = 128
    window: int = 4

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.dim // self.heads % 2:
            raise ValueError(f"dim {self.dim} must split into {self.heads} heads of even size")
        if self.window < 1:
            raise ValueError(f"a window must hold at least 1 group, got {self.window}")

    @property
    def end(self) -> int:
        """The token `<EOS>`."""
        return self.codes

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class TextPrefix:
    """Keys and values of texts for each layer, (P, heads, N, head_dim) each; a text has `text_len` states."""

    layers: tuple[KeysValues, ...]
    text_len: int

    def of(self, texts: Tensor) -> TextPrefix:
        """Texts (B, S) of each row beside each other: N = S * text_len."""

        def beside(x: Tensor) -> Tensor:
            return x[texts].transpose(1, 2).flatten(2, 3)

        return TextPrefix(tuple((beside(keys), beside(values)) for keys, values in self.layers), self.text_len)


@dataclass
class TokenCache:
    """Keys and values of earlier codes, (B, heads, N, head_dim) a layer, and the group of each, (N,).

    Keys are turned already: only differences of positions count, and these do not change.
    """

    layers: list[KeysValues] = field(default_factory=list)
    groups: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))

    def forget(self, before: int) -> None:
        """Drop the groups before number `before`."""
        kept = self.groups >= before
        if not kept.all():
            self.groups = self.groups[kept]
            self.layers = [(keys[:, :, kept], values[:, :, kept]) for keys, values in self.layers]


class Layer(nn.Module):
    """Attention to the text and the visible codes at once, and a gated feed-forward."""

    def __init__(self, config: TokenTransformerConfig, operations=nn) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm1 = operations.LayerNorm(config.dim)
        self.qkv = operations.Linear(config.dim, 3 * config.dim, bias=False)
        self.out = operations.Linear(config.dim, config.dim, bias=False)
        self.norm2 = operations.LayerNorm(config.dim)
        self.up = operations.Linear(config.dim, 2 * config.ffn_dim, bias=False)
        self.down = operations.Linear(config.ffn_dim, config.dim, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, dim) to queries, keys and values (B, heads, N, head_dim)."""
        parts = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        return tuple(part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        gate, value = self.up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(functional.silu(gate) * value)


class TokenTransformer(nn.Module):
    """Logits of the next code."""

    def __init__(self, config: TokenTransformerConfig, operations=nn) -> None:
        super().__init__()
        self.config = config
        self.text = operations.Linear(config.text_dim, config.dim)
        self.tokens = operations.Embedding(config.codes + 1, config.dim)
        self.cells = operations.Embedding(config.cells, config.dim)
        self.layers = nn.ModuleList(Layer(config, operations) for _ in range(config.layers))
        self.norm = operations.LayerNorm(config.dim)
        self.head = operations.Linear(config.dim, config.codes + 1)

    def prefix(self, states: Tensor) -> TextPrefix:
        """States of texts (P, text_len, text_dim). Texts see themselves, never the codes."""
        x, found = self.text(states), []
        for layer in self.layers:
            queries, keys, values = layer.project(x)
            found.append((keys, values))
            x = layer.finish(x, attend(queries, keys, values))
        return TextPrefix(tuple(found), states.shape[1])

    def forward(
        self, before: Tensor, positions: Tensor, prefix: TextPrefix, text_of: Tensor, cache: TokenCache | None = None
    ) -> Tensor:
        """Logits (B, N, codes + 1) of the codes at `positions` (N,), neighbours in rising order.

        Args:
            before: (B, N), the token before each of them; `<EOS>` before the first of a video.
            prefix: texts of each row beside each other, S of them: `TextPrefix.of`.
            text_of: (B, N), which of these S texts each code has.
            cache: the codes before these; takes in these ones.
        """
        config = self.config
        groups = positions // config.cells
        x = self.tokens(before) + self.cells(positions % config.cells)
        turn = _turn(positions, config.head_dim)
        seen = groups if cache is None else torch.cat([cache.groups.to(groups), groups])
        mask = self._visible(groups, seen, prefix, text_of)
        for number, layer in enumerate(self.layers):
            queries, keys, values = layer.project(x)
            keys = _turned(keys, turn)
            if cache is not None:
                keys, values = _joined(cache, number, keys, values)
            # Codes know how far other codes are from them; texts are nowhere.
            scores = [queries @ prefix.layers[number][0].mT, _turned(queries, turn) @ keys.mT]
            weights = torch.cat(scores, dim=-1) * config.head_dim**-0.5
            if mask is not None:
                weights = weights.masked_fill(~mask, float("-inf"))
            seen_values = torch.cat([prefix.layers[number][1], values], dim=2)
            x = layer.finish(x, weights.softmax(dim=-1).to(values) @ seen_values)
        if cache is not None:
            cache.groups = seen
        return self.head(self.norm(x))

    def _visible(self, groups: Tensor, seen: Tensor, prefix: TextPrefix, text_of: Tensor) -> Tensor | None:
        """(B, 1, N, texts and codes) bool: each code's own text, and the codes before it in its window.

        None where a single new code sees all there is.
        """
        count, texts = len(groups), prefix.layers[0][0].shape[2] // prefix.text_len
        near = seen[None] > groups[:, None] - self.config.window
        if count == 1 and texts == 1 and bool(near.all()):
            return None
        place = torch.arange(len(seen), device=seen.device) - (len(seen) - count)
        codes = near & (place <= torch.arange(count, device=seen.device)[:, None])
        own = torch.arange(texts, device=text_of.device).repeat_interleave(prefix.text_len) == text_of[..., None]
        return torch.cat([own, codes[None].expand(len(text_of), -1, -1)], dim=2)[:, None]


def _turn(positions: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (N, head_dim / 2) of rotary positions."""
    half = head_dim // 2
    rates = THETA ** -(torch.arange(half, dtype=torch.float64, device=positions.device) / half)
    angles = positions.double()[:, None] * rates
    return angles.cos().float(), angles.sin().float()


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """(B, heads, N, head_dim) by the angles of `_turn`."""
    cos, sin = (part.to(x) for part in turn)
    even, odd = x.chunk(2, dim=-1)
    return torch.cat([even * cos - odd * sin, even * sin + odd * cos], dim=-1)


def _joined(cache: TokenCache, number: int, keys: Tensor, values: Tensor) -> KeysValues:
    """The cached keys and values of a layer with new ones behind, which stay in the cache."""
    if number < len(cache.layers):
        earlier = cache.layers[number]
        keys, values = torch.cat([earlier[0], keys], dim=2), torch.cat([earlier[1], values], dim=2)
        cache.layers[number] = keys, values
    else:
        cache.layers.append((keys, values))
    return keys, values
