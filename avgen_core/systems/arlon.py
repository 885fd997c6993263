"""ARLON: codes that a token transformer writes, or that a video gave, guide the causal DiT (arXiv 2410.20502).

Codes are made when the first frame of their group enters the work, so that they are a group ahead of it. Guidance of a
block enters the keys and values that are cached of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.causal_dit import CausalDiT
from ..networks.latent_vqvae import LatentVQVAE
from ..networks.semantic_injection import Guidance, SemanticInjection
from ..plan import Action, AsynchronousPlan, BlockPlan, Query, SegmentPlan
from ..rollout.denoiser import Request
from .causal_wan import CausalWanDenoiser
from .token_writer import Memory, TokenWriter, written_codes


@dataclass(frozen=True)
class TokenTrack:
    """Codes (G, rows, columns) of a video, to guide another; repeated when it is longer."""

    codes: Tensor

    def group(self, number: int) -> Tensor:
        """The codes (cells,) of a group."""
        return self.codes[number % len(self.codes)].flatten()


@dataclass(frozen=True)
class GuidanceStrength:
    """How much of the codes' guidance is taken: `early` where a frame is noise, `late` where it is clean, else between.

    1 is what was trained, 0 leaves the DiT alone.
    """

    early: float = 1.0
    late: float = 1.0

    def at(self, sigma: float) -> float:
        return self.late + (self.early - self.late) * sigma


@dataclass(frozen=True)
class ArlonParts:
    """The three networks that ARLON adds to a video model."""

    coder: LatentVQVAE
    writer: TokenWriter
    injection: SemanticInjection


class ArlonDenoiser(CausalWanDenoiser):
    """The causal DiT under the guidance of codes: with a cache, or segment by segment without the causal mask."""

    plans = (BlockPlan, AsynchronousPlan, SegmentPlan)

    def __init__(
        self,
        network: CausalDiT,
        encode_text,
        parts: ArlonParts,
        *,
        track: TokenTrack | None = None,
        strength: GuidanceStrength | None = None,
        **settings,
    ) -> None:
        """`track`: codes in place of written ones; `settings` as in `CausalWanDenoiser`."""
        super().__init__(network, encode_text, **settings)
        self.parts, self.track, self.strength = parts, track, strength or GuidanceStrength()
        self._coarse: tuple[tuple[int, ...], Tensor] | None = None

    def _guidance(self, request: Request) -> Guidance:
        queries = request.step.queries
        frames = tuple(query.frame for query in queries)
        self._make_codes(request)
        strength = torch.tensor([self.strength.at(_sigma(query)) for query in queries])
        coarse = self._coarse_latents(frames, request.memory)
        weight = self.parts.injection.project.weight
        return self.parts.injection(coarse.to(weight), strength=strength.to(weight.device))

    def _make_codes(self, request: Request) -> None:
        """The codes of all groups up to that of the pass's last frame."""
        config = self.parts.coder.config
        last = config.group_of(max(query.frame for query in request.step.queries))
        while len(written_codes(request.memory)) <= last:
            group = len(written_codes(request.memory))
            prompts = self._prompts_of(group, request)
            given = self._given_latents(group, request)
            if given is not None:
                codes = self.parts.coder.encode(given, first=group)[0, 0].flatten().cpu()
            elif self.track is not None:
                codes = self.track.group(group)
            else:
                self.parts.writer.write(prompts, request.memory, request.noise)
                continue
            self.parts.writer.follow(codes, prompts, request.memory)

    def _prompts_of(self, group: int, request: Request):
        """The prompts of the group's first frame in the pass."""
        first = self.parts.coder.config.frames_of(group)
        rows = [row for row, query in enumerate(request.step.queries) if query.frame >= first]
        return tuple(branch[rows[0]] for branch in request.prompts)

    def _given_latents(self, group: int, request: Request) -> Tensor | None:
        """Clean latents (1, C, F, H, W) of a group whose frames were all there before; None where they are made."""
        config = self.parts.coder.config
        wanted = range(config.frames_of(group), config.frames_of(group + 1))
        shown = {q.frame: row for row, q in enumerate(request.step.queries) if q.action in (Action.COMMIT, Action.KEEP)}
        if not all(frame in shown for frame in wanted):
            return None
        latents = request.latents[[shown[frame] for frame in wanted]]
        weight = self.parts.injection.project.weight
        return latents.transpose(0, 1)[None].to(weight)

    def _coarse_latents(self, frames: tuple[int, ...], memory: Memory) -> Tensor:
        """Coarse latents (1, C, F, H, W) of the frames of a pass; a block's are decoded once for all of its steps."""
        if self._coarse is None or self._coarse[0] != frames:
            self._coarse = frames, self._decoded(frames, memory)
        return self._coarse[1]

    def _decoded(self, frames: tuple[int, ...], memory: Memory) -> Tensor:
        coder, (_, height, width) = self.parts.coder, self.latent_shape
        config = coder.config
        groups = range(config.group_of(min(frames)), config.group_of(max(frames)) + 1)
        first = max(0, groups.start - coder.lead)
        rows, columns = config.cells(height, width)
        codes = memory["codes"][first : groups.stop].long().unflatten(1, (rows, columns))[None]
        begin = config.frames_of(first)
        count = config.frames_of(groups.stop) - begin
        decoded = coder.decode(codes.to(coder.codebook.vectors.device), count, height, width, first=first)
        return decoded[:, :, [frame - begin for frame in frames]]


def _sigma(query: Query) -> float:
    """The noise level that a frame is guided at; what is only shown is clean."""
    return query.sigma if query.action in (Action.STEP, Action.RENOISE) else 0.0
