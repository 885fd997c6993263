"""ARLON's tokens: written by the token transformer group after group, or taken from a track."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.token_transformer import TextPrefix, TokenCache, TokenTransformer
from ..rollout.denoiser import PromptMix
from ..rollout.noise import NoiseSource

NO_PROMPT: PromptMix = (("", 1.0),)
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


VideoPrompts = tuple[PromptMix, ...]
"""A video's positive prompt and, where there is one, its negative one."""


class TokenWriter:
    """Writes the codes of a video, or of several in lockstep. All it knows of what it wrote is in a run's memory.

    memory: codes (G, videos, cells), all groups so far; keys, values (layers, rows, heads, N, head_dim) and groups (N,)
    of those in the window. Rows are the videos, and with guidance the videos again under their negative prompts.
    """

    def __init__(
        self, network: TokenTransformer, encode_text: Callable[[str], Tensor], sampling: TokenSampling
    ) -> None:
        """`encode_text` gives one prompt's states (text_len, text_dim)."""
        self.network, self.encode_text, self.sampling = network, encode_text, sampling
        self._prefix: tuple[tuple, TextPrefix] | None = None

    @property
    def _branches(self) -> int:
        return 1 if self.sampling.guidance == 1.0 else 2

    @torch.no_grad()
    def write(self, prompts: tuple[VideoPrompts, ...], memory: Memory, noise: NoiseSource) -> None:
        """The next group's codes of each video."""
        videos = len(prompts)

        def drawn(group: int, cell: int, logits: Tensor) -> Tensor:
            normal = noise.draw(group, "code", cell, (1,) if videos == 1 else (videos, 1)).view(videos)
            return torch.tensor([self.sampling.draw(*pair) for pair in zip(logits, normal, strict=True)])

        self._advance(prompts, memory, drawn)

    @torch.no_grad()
    def follow(self, codes: Tensor, prompts: tuple[VideoPrompts, ...], memory: Memory) -> None:
        """Take over the next group's codes (videos, cells), as if it had written them."""
        self._advance(prompts, memory, lambda group, cell, logits: codes[:, cell].long())

    def _advance(self, prompts: tuple[VideoPrompts, ...], memory: Memory, choose: Callable[..., Tensor]) -> None:
        """One group; `choose` gives the code of each video for a group, a cell and its logits (videos, codes)."""
        config, device = self.network.config, self.network.head.weight.device
        videos = len(prompts)
        written, cache = written_codes(memory, videos, config.cells), _cache_of(memory, device)
        group, prefix = len(written), self._prefix_of(prompts)
        last = written[-1, :, -1].long() if group else torch.full((videos,), config.end)
        codes = []
        for cell in range(config.cells):
            before = last.repeat(self._branches)[:, None].to(device)
            position = torch.tensor([group * config.cells + cell], device=device)
            logits = self.network(before, position, prefix, torch.zeros_like(before), cache)
            last = choose(group, cell, self._guided(logits[:, 0].float().cpu()))
            codes.append(last)
        append_codes(memory, torch.stack(codes, dim=1))
        cache.forget(group + 2 - config.window)
        memory["groups"] = cache.groups
        memory["keys"] = torch.stack([keys for keys, _ in cache.layers])
        memory["values"] = torch.stack([values for _, values in cache.layers])

    def _guided(self, logits: Tensor) -> Tensor:
        """(rows, codes + 1) to (videos, codes); `<EOS>` is no choice, for the run says where a video ends."""
        logits = logits[:, :-1]
        if self._branches == 1:
            return logits
        plain, guided = reversed(logits.chunk(2))
        return torch.lerp(plain, guided, self.sampling.guidance)

    def _prefix_of(self, prompts: tuple[VideoPrompts, ...]) -> TextPrefix:
        """The positive prompts', then the negative ones'; the same for many groups."""
        weight = self.network.head.weight
        made_of = prompts, weight.device, weight.dtype
        if self._prefix is None or self._prefix[0] != made_of:
            mixes = [video[0] for video in prompts]
            if self._branches == 2:
                mixes += [video[1] if len(video) > 1 else NO_PROMPT for video in prompts]
            distinct = list(dict.fromkeys(mixes))
            states = [sum(share * self.encode_text(text).float() for text, share in mix) for mix in distinct]
            rows = torch.tensor([[distinct.index(mix)] for mix in mixes], device=weight.device)
            self._prefix = made_of, self.network.prefix(torch.stack(states).to(weight)).of(rows)
        return self._prefix[1]


def append_codes(memory: Memory, codes: Tensor) -> None:
    """The next group's codes (videos, cells) behind those in a run's memory."""
    written = written_codes(memory, *codes.shape)
    memory["codes"] = torch.cat([written, codes.to(torch.int32)[None]])


def written_codes(memory: Memory, videos: int = 1, cells: int = 0) -> Tensor:
    """Codes (G, videos, cells) in a run's memory, int32; G is 0 before the first."""
    return memory.get("codes", torch.empty(0, videos, cells, dtype=torch.int32))


def _cache_of(memory: Memory, device: torch.device) -> TokenCache:
    """A state that was read from disk lies in main memory."""
    if "groups" not in memory:
        return TokenCache()
    keys, values, groups = (memory[name].to(device) for name in ("keys", "values", "groups"))
    return TokenCache(list(zip(keys, values, strict=True)), groups)
