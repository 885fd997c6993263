"""The reference for every cache: the same passes again from latents alone, with what each frame saw written out.

A cached key is the trace of an event: a frame was shown at a timestep, under a prompt, at a position, and saw
certain earlier events. The replay keeps these facts instead of keys. For every pass it computes all events that the
pass depends on together with the pass itself, layer by layer, from latents to velocity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from einops import rearrange
from torch import Tensor

from avgen_core.networks.causal_dit import CausalDiT, Injected, timestep_sinusoid
from avgen_core.networks.rope import rotate, rotation
from avgen_core.plan import Action, Query
from avgen_core.rollout.denoiser import PromptMix, Request
from avgen_core.systems.causal_wan import CausalWanDenoiser


@dataclass(frozen=True)
class Seen:
    """Frame number `row` of event `event`, as seen at rotary position `position`."""

    event: int
    row: int
    position: int


@dataclass(frozen=True)
class Event:
    """One pass: its frames (F, C, H, W), their prompts in each guidance branch, the earlier frames they saw.

    injected: what guides the branch of the prompt beside the text.
    """

    queries: tuple[Query, ...]
    latents: Tensor
    prompts: tuple[tuple[PromptMix, ...], ...]
    context: tuple[Seen, ...]
    injected: Injected | None

    def by_group(self) -> list[tuple[list[int], list[int]]]:
        """The rows of each group, and the rows of the pass that they see: their own and earlier groups."""
        groups = [query.group for query in self.queries]
        return [
            ([row for row, g in enumerate(groups) if g == group], [row for row, g in enumerate(groups) if g <= group])
            for group in sorted(set(groups))
        ]


@cache
def turn(positions: tuple[int, ...], rows: int, columns: int, head_dim: int) -> tuple[Tensor, Tensor]:
    return rotation(torch.tensor(positions), rows, columns, head_dim)


class ReplayDenoiser(CausalWanDenoiser):
    """Answers as `CausalWanDenoiser` should, without ever keeping a key or a value."""

    def __init__(self, cached: CausalWanDenoiser) -> None:
        """The same system as `cached`."""
        self.__dict__.update(cached.__dict__)
        self.guided = cached._guidance
        self.events: list[Event] = []
        self.newest: dict[int, tuple[int, int]] = {}  # frame -> (event, row) that a slot of it stands for

    def predict(self, request: Request) -> Tensor:
        slots = request.step.context
        context = tuple(Seen(*self.newest[slot.frame], slot.position) for slot in slots)
        event = Event(request.step.queries, request.latents, request.prompts, context, self.guided(request))
        self.events.append(event)
        for row, query in enumerate(event.queries):
            if query.action in (Action.COMMIT, Action.RECACHE):
                self.newest[query.frame] = (len(self.events) - 1, row)
        positive, *negative = (self._replayed(branch) for branch in range(self.branches))
        return positive if not negative else negative[0] + self.guidance * (positive - negative[0])

    def _needed(self) -> list[int]:
        """The last event and all that it depends on, however far back."""
        needed, open_ends = set(), {len(self.events) - 1}
        while open_ends:
            number = open_ends.pop()
            needed.add(number)
            open_ends |= {seen.event for seen in self.events[number].context} - needed
        return sorted(needed)

    def _replayed(self, branch: int) -> Tensor:
        """Velocity of the last event."""
        network, height, width = self.network, *self.latent_shape[1:]
        rows, columns = height // network.config.patch_size[1], width // network.config.patch_size[2]
        events = {number: self.events[number] for number in self._needed()}
        hidden, embeddings = {}, {}
        for number, event in events.items():
            patches = network.patch_embedding(event.latents.transpose(0, 1)[None])[0]
            hidden[number] = rearrange(patches, "d f h w -> f (h w) d")
            timesteps = torch.tensor([query.timestep for query in event.queries])
            embeddings[number] = network.time_embedding(timestep_sinusoid(timesteps, network.config.freq_dim))
        for layer in range(network.config.num_layers):
            hidden = self._layer(network, layer, branch, events, hidden, embeddings, (rows, columns))
        last = len(self.events) - 1
        patches = network.head(hidden[last][None], embeddings[last][None])[0]
        _, q, r = network.config.patch_size
        return rearrange(patches, "f (h w) (q r c) -> f c (h q) (w r)", h=rows, w=columns, q=q, r=r)

    def _layer(
        self,
        network: CausalDiT,
        layer: int,
        branch: int,
        events: dict[int, Event],
        hidden: dict[int, Tensor],
        embeddings: dict[int, Tensor],
        grid: tuple[int, int],
    ) -> dict[int, Tensor]:
        block, head_dim = network.blocks[layer], network.config.head_dim
        attention = block.self_attn
        modulations, normed = {}, {}
        for number, embedding in embeddings.items():
            modulation = block.modulation + network.time_projection(embedding).unflatten(-1, (6, -1))
            modulations[number] = shift, scale, *_ = modulation[:, :, None].unbind(1)
            normed[number] = block.norm1(hidden[number]) * (1 + scale) + shift
        keys_values = {number: attention.keys_values(x) for number, x in normed.items()}

        def at(x: Tensor, positions: list[int]) -> Tensor:
            """(F, tokens, heads, head_dim) turned to positions, as one row of tokens (1, F * tokens, ...)."""
            return rotate(x[None], turn(tuple(positions), *grid, head_dim)).flatten(1, 2)

        result = {}
        for number, event in events.items():
            _, _, gate1, shift2, scale2, gate2 = modulations[number]
            queries, mixed = attention.queries(normed[number]), torch.empty_like(hidden[number])
            for rows, visible in event.by_group():
                shown = [(seen.event, seen.row, seen.position) for seen in event.context]
                shown += [(number, row, event.queries[row].position) for row in visible]
                keys = torch.stack([keys_values[n][0][row] for n, row, _ in shown])
                values = torch.stack([keys_values[n][1][row] for n, row, _ in shown])
                seeing = at(queries[rows], [event.queries[row].position for row in rows])
                seen = at(keys, [position for _, _, position in shown])
                out = attention.attend(seeing, seen, values.flatten(0, 1)[None])
                mixed[rows] = out[0].unflatten(0, (len(rows), -1))
            x = hidden[number] + mixed * gate1
            if event.injected is not None and branch == 0:
                x = event.injected(layer, x[None])[0]
            asking = block.cross_attn.queries(block.norm3(x))
            texts = [self._keys_of(mix).layers[layer] for mix in event.prompts[branch]]
            x = x + torch.cat([block.cross_attn.attend(q[None], *text) for q, text in zip(asking, texts, strict=True)])
            result[number] = x + block.ffn(block.norm2(x) * (1 + scale2) + shift2) * gate2
        return result
