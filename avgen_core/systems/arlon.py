"""ARLON: codes that a token transformer writes, or that a video gave, guide the causal DiT (arXiv 2410.20502).

Codes are made when the first frame of their group enters the work, so that they are a group ahead of it. Guidance of a
block enters the keys and values that are cached of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..networks.causal_dit import CausalDiT
from ..networks.latent_vqvae import LatentVQVAE
from ..networks.semantic_injection import Guidance, SemanticInjection
from ..plan import Action, AsynchronousPlan, BlockPlan, Query, SegmentPlan
from ..rollout.denoiser import Request
from .causal_wan import CausalWanDenoiser
from .token_track import TokenTrack
from .token_writer import Memory, TokenWriter, VideoPrompts, append_codes, written_codes

MOST_STRENGTH = 2.0


@dataclass(frozen=True)
class GuidanceStrength:
    """How much of the codes' guidance is taken. 1 is what was trained, 0 leaves the DiT alone.

    Args:
        early, late: where a frame is noise, and where it is clean; in between, between.
        over_frames: (frame, factor) with rising latent frames of the video, given ones included, and factors of 0 to
            `MOST_STRENGTH`; between two of them the factor moves evenly, before the first and after the last it stays.

    Raises:
        ValueError: frames do not rise, or a value is out of range.
    """

    early: float = 1.0
    late: float = 1.0
    over_frames: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= min(self.early, self.late) <= max(self.early, self.late) <= MOST_STRENGTH:
            raise ValueError(
                f"a strength must be 0 to {MOST_STRENGTH:g}, got {self.early} early and {self.late} late: change it in "
                "Token Guidance"
            )
        frames = [frame for frame, _ in self.over_frames]
        if frames != sorted(set(frames)) or any(not 0 <= factor <= MOST_STRENGTH for _, factor in self.over_frames):
            told = ", ".join(f"{frame}: {factor:g}" for frame, factor in self.over_frames)
            raise ValueError(
                f"strength_over_frames needs rising frames and factors of 0 to {MOST_STRENGTH:g}, got `{told}`: change "
                "it in Token Guidance"
            )

    @classmethod
    def parsed(cls, early: float, late: float, over_frames: str) -> GuidanceStrength:
        """From text such as `0: 1, 48: 0.5`, with commas or lines between. Raises ValueError for other text."""
        pieces = [piece for piece in re.split(r"[,\n]", over_frames) if piece.strip()]
        found = [re.fullmatch(r"\s*(\d+)\s*:\s*(\d+\.?\d*|\.\d+)\s*", piece) for piece in pieces]
        for piece, match in zip(pieces, found, strict=True):
            if match is None:
                raise ValueError(
                    f"strength_over_frames is FRAME: FACTOR, such as `0: 1, 48: 0.5`, got {piece.strip()!r}: change it "
                    "in Token Guidance"
                )
        return cls(early, late, tuple((int(match[1]), float(match[2])) for match in found))

    def at(self, frame: int, sigma: float) -> float:
        return self._factor(frame) * (self.late + (self.early - self.late) * sigma)

    def _factor(self, frame: int) -> float:
        if not self.over_frames:
            return 1.0
        frames, factors = zip(*self.over_frames, strict=True)
        return float(np.interp(frame, frames, factors))


@dataclass(frozen=True)
class ArlonParts:
    """The three networks that ARLON adds to a video model. `codebook` names the coder's weights: tracks know theirs."""

    coder: LatentVQVAE
    writer: TokenWriter
    injection: SemanticInjection
    codebook: str = ""

    def check(self, track: TokenTrack, size: tuple[int, int]) -> None:
        """Raises TrackError for a track of another codebook, or for latents of another height and width."""
        track.check(self.codebook, self.coder.config.cells(*size))
        track.check_codes(self.coder.config.codes)


class CodeGuidance:
    """From a pass to the guidance of its frames, for one video or several in lockstep."""

    def __init__(self, parts: ArlonParts, size: tuple[int, int], track: TokenTrack | None, strength: GuidanceStrength):
        """`size`: height and width of the latents; `track`: codes in place of written ones.

        Raises:
            TrackError: the track is of another codebook or size.
        """
        if track is not None:
            parts.check(track, size)
        self.parts, self.size, self.track, self.strength = parts, size, track, strength
        self._known: tuple[tuple[int, ...], Tensor, dict[int, Tensor]] | None = None

    @property
    def digest(self) -> str:
        """Names everything but the weights that decides what the codes are and how they guide."""
        track = None if self.track is None else self.track.codes.to(torch.int32).cpu().numpy().tobytes()
        source = str(self.parts.writer.sampling).encode() if track is None else track
        return hashlib.sha256(str(self.strength).encode() + source).hexdigest()[:8]

    def of(
        self, request: Request, prompts: Callable[[int], tuple[VideoPrompts, ...]], device: torch.device
    ) -> Guidance:
        """For a batch of the videos, behind which they may stand again without prompts, or under negative ones.

        These see no codes: what guidance leads away from is neither what the text says nor what the codes plan.
        `prompts`: of each video for a row of the pass; `device`: where it is computed.
        """
        queries = request.step.queries
        self._make_codes(request, prompts, device)
        strength = torch.tensor([self.strength.at(query.frame + request.origin, _sigma(query)) for query in queries])
        layers = self._layers_of(tuple(query.frame for query in queries), request.memory, device)
        return Guidance(self.parts.injection.config.kind, layers, strength.to(device))

    def _make_codes(
        self, request: Request, prompts: Callable[[int], tuple[VideoPrompts, ...]], device: torch.device
    ) -> None:
        """The codes of all groups up to that of the pass's last frame, each under the prompt of its first frame."""
        config, writer, frames = self.parts.coder.config, self.parts.writer, [q.frame for q in request.step.queries]
        for group in range(len(written_codes(request.memory)), config.group_of(max(frames)) + 1):
            row = next(row for row, frame in enumerate(frames) if frame >= config.frames_of(group))
            codes = self._codes_there_are(group, len(prompts(row)), request, device)
            if codes is None:
                writer.write(prompts(row), request.memory, request.noise)
            elif self.track is None:
                writer.follow(codes, prompts(row), request.memory)
            else:
                append_codes(request.memory, codes)  # nothing will be written after them

    def _codes_there_are(self, group: int, videos: int, request: Request, device: torch.device) -> Tensor | None:
        """Codes (videos, cells) of frames that were given, or of the track; None where they are to be written.

        A group that is given only in part is written. Where the stream's groups are not those of the whole video, the
        track's group is the one that holds the middle frame.
        """
        config = self.parts.coder.config
        begin, end = config.frames_of(group), config.frames_of(group + 1)
        if request.given is not None and end <= len(request.given):
            latents = request.given[begin:end]
            of_videos = latents.reshape(end - begin, -1, *latents.shape[-3:]).permute(1, 2, 0, 3, 4)
            coder = self.parts.coder
            return coder.encode(of_videos.to(device, coder.dtype), first=group)[:, 0].flatten(1).cpu()
        if self.track is None:
            return None
        middle = begin + (end - begin) // 2 + request.origin
        return self.track.group(config.group_of(middle))[None].expand(videos, -1)

    def _layers_of(self, frames: tuple[int, ...], memory: Memory, device: torch.device) -> dict[int, Tensor]:
        """Modulations of the frames of a pass, computed once for all steps of a block."""
        groups = self._groups_of(frames)
        codes = memory["codes"][groups.start : groups.stop].transpose(0, 1)
        known = self._known
        if known is None or known[0] != frames or not torch.equal(known[1], codes):
            coarse = self._coarse_latents(frames, groups, codes.to(device))
            coarse = coarse.to(self.parts.injection.project.weight.dtype)
            self._known = known = frames, codes, self.parts.injection(coarse).layers
        return known[2]

    def _groups_of(self, frames: tuple[int, ...]) -> range:
        """The groups that are decoded for some frames, those before them that the decoder looks at included."""
        config = self.parts.coder.config
        first = max(0, config.group_of(min(frames)) - self.parts.coder.lead)
        return range(first, config.group_of(max(frames)) + 1)

    def _coarse_latents(self, frames: tuple[int, ...], groups: range, codes: Tensor) -> Tensor:
        """Coarse latents (videos, C, F, H, W) of frames, from the codes (videos, groups, cells)."""
        coder, config = self.parts.coder, self.parts.coder.config
        grid = codes.long().unflatten(2, config.cells(*self.size))
        begin = config.frames_of(groups.start)
        count = config.frames_of(groups.stop) - begin
        decoded = coder.decode(grid, count, *self.size, first=groups.start)
        return decoded[:, :, [frame - begin for frame in frames]]


class ArlonDenoiser(CausalWanDenoiser):
    """The causal DiT under the guidance of codes: with a cache, or segment by segment without the causal mask."""

    plans = (BlockPlan, AsynchronousPlan, SegmentPlan)

    def __init__(
        self,
        network: CausalDiT,
        encode_text: Callable[[str], Tensor],
        parts: ArlonParts,
        *,
        latent_shape: tuple[int, int, int],
        track: TokenTrack | None = None,
        strength: GuidanceStrength | None = None,
        **settings: Any,
    ) -> None:
        """`track`: codes in place of written ones; `settings` as in `CausalWanDenoiser`."""
        super().__init__(network, encode_text, latent_shape=latent_shape, **settings)
        self.codes = CodeGuidance(parts, latent_shape[1:], track, strength or GuidanceStrength())
        self.settings = f"Token Guidance {self.codes.digest}"

    def _guidance(self, request: Request) -> Guidance:
        return self.codes.of(request, lambda row: (tuple(branch[row] for branch in request.prompts),), self.device)


def _sigma(query: Query) -> float:
    """The noise level that a frame is guided at; what is only shown is clean."""
    return query.sigma if query.action in (Action.STEP, Action.RENOISE) else 0.0
