"""The embedded models' word-level text encoder: a small transformer that sees word order."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WORD = re.compile(r"[a-z0-9'-]+")
PADDING, UNKNOWN, START = 0, 1, 2
SPECIALS = 3


@dataclass(frozen=True)
class TextEncoderConfig:
    """`vocabulary` holds every known word; word i has token i + 3."""

    vocabulary: tuple[str, ...]
    dim: int = 128
    layers: int = 2
    heads: int = 4
    text_len: int = 24


class TextEncoder(nn.Module):
    """Prompts to token states (P, text_len, dim), zero beyond each prompt's length, as Wan's text encoder gives."""

    def __init__(self, config: TextEncoderConfig, operations=nn) -> None:
        super().__init__()
        self.config = config
        self.token_of_word = {word: i + SPECIALS for i, word in enumerate(config.vocabulary)}
        self.token_embedding = operations.Embedding(len(config.vocabulary) + SPECIALS, config.dim)
        self.position_embedding = nn.Parameter(torch.randn(config.text_len, config.dim) * 0.02)
        layer = nn.TransformerEncoderLayer(
            config.dim, config.heads, config.dim * 4, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = operations.LayerNorm(config.dim)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Texts to tokens (P, text_len); the empty text is the start token alone. Words beyond text_len are cut."""
        rows = torch.full((len(texts), self.config.text_len), PADDING)
        for row, text in zip(rows, texts, strict=True):
            words = WORD.findall(text.lower())
            tokens = [START, *(self.token_of_word.get(word, UNKNOWN) for word in words)][: self.config.text_len]
            row[: len(tokens)] = torch.tensor(tokens)
        return rows

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (P, text_len) to states (P, text_len, dim)."""
        padding = tokens == PADDING
        x = self.token_embedding(tokens) + self.position_embedding.to(self.token_embedding.weight)
        x = self.norm(self.layers(x, src_key_padding_mask=padding))
        return x.masked_fill(padding[..., None], 0.0)
