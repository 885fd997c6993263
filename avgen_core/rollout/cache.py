"""The key/value cache of finished frames. Keys are kept before rotation, so that positions are chosen at every read."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..plan import Slot


@dataclass
class FrameCache:
    """Keys and values by frame, each (layers, B, tokens, heads, head_dim); B holds the guidance branches."""

    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    def evict(self, frame: int) -> None:
        self.keys.pop(frame, None)
        self.values.pop(frame, None)

    def move(self, device: torch.device) -> None:
        """Bring everything to `device`; a state that was read from disk lies in main memory."""
        for store in (self.keys, self.values):
            for frame, tensor in store.items():
                store[frame] = tensor.to(device)

    @property
    def bytes(self) -> int:
        return sum(t.nbytes for store in (self.keys, self.values) for t in store.values())


class CacheView:
    """A `FrameCache` as one forward sees it: reads the visible slots, keeps what is to be stored until `store`."""

    def __init__(self, cache: FrameCache, slots: tuple[Slot, ...], stored: list[tuple[int, int]]) -> None:
        """`stored`: (row among the pass's frames, frame number) of each frame whose keys enter the cache."""
        self._cache, self._frames = cache, [slot.frame for slot in slots]
        self.positions = torch.tensor([slot.position for slot in slots], dtype=torch.float64)
        self._stored = stored
        self._new: list[tuple[Tensor, Tensor]] = []

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        keys = torch.stack([self._cache.keys[frame][layer] for frame in self._frames], dim=1)
        values = torch.stack([self._cache.values[frame][layer] for frame in self._frames], dim=1)
        return keys, values

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        if self._stored:
            rows = [row for row, _ in self._stored]
            self._new.append((keys[:, rows], values[:, rows]))

    def store(self) -> None:
        """Enter the new keys and values; called once, after the forward."""
        for place, (_, frame) in enumerate(self._stored):
            self._cache.keys[frame] = torch.stack([keys[:, place] for keys, _ in self._new])
            self._cache.values[frame] = torch.stack([values[:, place] for _, values in self._new])
