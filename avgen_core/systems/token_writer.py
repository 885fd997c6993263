"""ARLON's tokens: written by the token transformer group after group, or taken from a track."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.token_transformer import TextPrefix, TokenCache, TokenTransformer
from ..rollout.denoiser import PromptMix
from ..rollout.noise import NoiseSource

KEPT_PREFIXES = 32  # as in `causal_wan`
Memory = dict[str, Tensor]


@dataclass(frozen=True)
class TokenSampling:
    """How the next code is drawn.

    temperature: 0 takes the likeliest; top_k: of so many likeliest ones, 0 of all; top_p: of the likeliest ones that
    have this share of the probability together; guidance: how strongly the text leads, 1 is off.

    Raises:
        ValueError: a value is out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 2.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1 or self.guidance < 1:
            raise ValueError(
                "temperature and top_k must be 0 or more, top_p 0 to 1 (0 excluded) and guidance 1 or more, got "
                f"{self.temperature}, {self.top_k}, {self.top_p} and {self.guidance}"
            )

    def draw(self, logits: Tensor, normal: Tensor) -> int:
        """A code by its logits (codes,), as one standard normal number decides."""
        if self.temperature == 0:
            return int(logits.argmax())
        ordered, codes = (logits.double() / self.temperature).sort(descending=True)
        if self.top_k:
            ordered, codes = ordered[: self.top_k], codes[: self.top_k]
        shares = ordered.softmax(0)
        before = shares.cumsum(0) - shares
        shares = shares * (before < self.top_p)
        uniform = torch.special.ndtr(normal.double()).item()
        place = int((shares.cumsum(0) / shares.sum() <= uniform).sum())
        return int(codes[min(place, len(codes) - 1)])


class TokenWriter:
    """Writes the codes of a video, in order. All that it knows of what it wrote is in a run's memory.

    memory: codes (G, cells), all groups so far; keys, values (layers, B, heads, N, head_dim) and groups (N,) of those
    in the window; B is 2 with guidance.
    """

    def __init__(
        self, network: TokenTransformer, encode_text: Callable[[str], Tensor], sampling: TokenSampling
    ) -> None:
        """`encode_text` gives one prompt's states (text_len, text_dim)."""
        self.network, self.encode_text, self.sampling = network, encode_text, sampling
        self._prefixes: dict[tuple[PromptMix, ...], TextPrefix] = {}

    @property
    def branches(self) -> int:
        return 1 if self.sampling.guidance == 1.0 else 2

    @torch.no_grad()
    def write(self, prompts: tuple[PromptMix, ...], memory: Memory, noise: NoiseSource) -> None:
        """The next group's codes, under the positive prompt and, with guidance, the negative one."""
        written, cache, prefix = written_codes(memory), _cache_of(memory), self._prefix(prompts)
        group, cells = len(written), self.network.config.cells
        last, codes = self._before(written), []
        for cell in range(cells):
            logits = self._step(group * cells + cell, last, prefix, cache)
            last = self.sampling.draw(logits, noise.draw(group, "code", cell, (1,))[0])
            codes.append(last)
        self._remember(memory, torch.tensor([codes], dtype=torch.int32), cache)

    @torch.no_grad()
    def follow(self, codes: Tensor, prompts: tuple[PromptMix, ...], memory: Memory) -> None:
        """Take over codes (cells,) of the next group, as if it had written them."""
        written, cache, prefix = written_codes(memory), _cache_of(memory), self._prefix(prompts)
        last = self._before(written)
        for cell, code in enumerate(codes.tolist()):
            self._step(len(written) * len(codes) + cell, last, prefix, cache)
            last = code
        self._remember(memory, codes[None].to(torch.int32), cache)

    def _before(self, written: Tensor) -> int:
        return int(written[-1, -1]) if len(written) else self.network.config.end

    def _step(self, position: int, last: int, prefix: TextPrefix, cache: TokenCache) -> Tensor:
        """Logits (codes,) of the code at `position`, guided; `<EOS>` is no choice, for the run says where it ends."""
        device = self.network.head.weight.device
        before = torch.full((self.branches, 1), last, device=device)
        text_of = torch.zeros_like(before)
        logits = self.network(before, torch.tensor([position], device=device), prefix, text_of, cache)
        logits = logits[:, 0, :-1].float().cpu()
        return logits[0] if len(logits) == 1 else torch.lerp(logits[1], logits[0], self.sampling.guidance)

    def _remember(self, memory: Memory, codes: Tensor, cache: TokenCache) -> None:
        memory["codes"] = torch.cat([written_codes(memory, codes.shape[1]), codes])
        cache.forget(len(memory["codes"]) + 1 - self.network.config.window)
        memory["groups"] = cache.groups
        memory["keys"] = torch.stack([keys for keys, _ in cache.layers])
        memory["values"] = torch.stack([values for _, values in cache.layers])

    def _prefix(self, prompts: tuple[PromptMix, ...]) -> TextPrefix:
        """The positive prompt's, and the negative one's in the second row."""
        wanted = prompts[: self.branches] if len(prompts) >= self.branches else (prompts[0], (("", 1.0),))
        if wanted not in self._prefixes:
            if len(self._prefixes) >= KEPT_PREFIXES:
                self._prefixes.pop(next(iter(self._prefixes)))
            weight = self.network.head.weight
            states = torch.stack([sum(share * self.encode_text(text).float() for text, share in mix) for mix in wanted])
            rows = torch.arange(len(wanted), device=weight.device)[:, None]
            self._prefixes[wanted] = self.network.prefix(states.to(weight)).of(rows)
        return self._prefixes[wanted]


def written_codes(memory: Memory, cells: int = 0) -> Tensor:
    """Codes (G, cells) in a run's memory, int32; G is 0 before the first."""
    return memory.get("codes", torch.empty(0, cells, dtype=torch.int32))


def _cache_of(memory: Memory) -> TokenCache:
    if "groups" not in memory:
        return TokenCache()
    return TokenCache(list(zip(memory["keys"], memory["values"], strict=True)), memory["groups"])
