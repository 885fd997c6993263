"""The reference for every cache: the same passes again from latents alone, with what each frame saw written out.

A cached key is the trace of an event: a frame was shown at a timestep, under a prompt, at a position, and saw certain
earlier events. The replay keeps these facts instead of keys. For every pass it computes all events that the pass
depends on together with the pass itself, layer by layer, from latents to velocity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from avgen_core.networks.causal_dit import CausalDiT, timestep_sinusoid
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
    """One pass: its frames (F, C, H, W), their prompts in each guidance branch, and the earlier frames they saw."""

    queries: tuple[Query, ...]
    latents: Tensor
    prompts: tuple[tuple[PromptMix, ...], ...]
    context: tuple[Seen, ...]

    def visible_to(self, row: int) -> list[int]:
        """Which frames of the pass frame number `row` sees."""
        return [other for other, q in enumerate(self.queries) if q.group <= self.queries[row].group]


class ReplayDenoiser(CausalWanDenoiser):
    """Answers as `CausalWanDenoiser` should, without ever keeping a key or a value."""

    def __init__(self, cached: CausalWanDenoiser) -> None:
        """The same system as `cached`."""
        self.__dict__.update(cached.__dict__)
        self.events: list[Event] = []
        self.newest: dict[int, tuple[int, int]] = {}  # frame -> (event, row) that a slot of it stands for

    def velocity(self, request: Request) -> Tensor:
        slots = request.step.context
        context = tuple(Seen(*self.newest[slot.frame], slot.position) for slot in slots)
        event = Event(request.step.queries, request.latents, request.prompts, context)
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
        block = network.blocks[layer]
        attention, head_dim = block.self_attn, network.config.head_dim
        modulations = {
            number: (block.modulation + network.time_projection(e).unflatten(-1, (6, -1)))[:, :, None].unbind(1)
            for number, e in embeddings.items()
        }
        normed = {
            number: block.norm1(x) * (1 + modulations[number][1]) + modulations[number][0]
            for number, x in hidden.items()
        }
        keys_values = {number: attention.keys_values(x) for number, x in normed.items()}

        def at(x: Tensor, position: int) -> Tensor:
            """(tokens, heads, head_dim) turned to a position."""
            return rotate(x[None, None], rotation(torch.tensor([position]), *grid, head_dim))[0, 0]

        def seen_by(number: int, row: int) -> tuple[Tensor, Tensor]:
            event = events[number]
            shown = [(s.event, s.row, s.position) for s in event.context]
            shown += [(number, other, event.queries[other].position) for other in event.visible_to(row)]
            keys = [at(keys_values[n][0][r], position) for n, r, position in shown]
            return torch.cat(keys), torch.cat([keys_values[n][1][r] for n, r, _ in shown])

        result = {}
        for number, event in events.items():
            _, _, gate1, shift2, scale2, gate2 = modulations[number]
            queries, mixed = attention.queries(normed[number]), []
            for row, query in enumerate(event.queries):
                keys, values = seen_by(number, row)
                mixed.append(attention.attend(at(queries[row], query.position)[None], keys[None], values[None]))
            x = hidden[number] + torch.cat(mixed) * gate1
            crossed, texts = block.norm3(x), [self._keys_of(mix) for mix in event.prompts[branch]]
            told = [
                block.cross_attn.attend(block.cross_attn.queries(crossed[row])[None], *text.layers[layer])
                for row, text in enumerate(texts)
            ]
            x = x + torch.cat(told)
            result[number] = x + block.ffn(block.norm2(x) * (1 + scale2) + shift2) * gate2
        return result
