"""Tracks of codes apart from the videos that they came from: made, cut, repeated, kept in files, looked at (ARLON)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..networks.latent_vqvae import LatentVQVAE
from ..rollout.denoiser import FrameGrid
from ..rollout.executor import Prompts
from ..rollout.files import written_whole
from ..rollout.noise import NoiseSource
from .token_writer import Memory, TokenWriter, written_codes

KEY, DIGEST, SUFFIX = "avgen_tokens", "digest", ".tokens.safetensors"
MOST_GROUPS = 100_000
GROUPS_AT_ONCE = 64  # that the VQ-VAE codes, so that its memory does not grow with a track


class TrackError(ValueError):
    """A track that cannot be used; the message says why and what to change."""


@dataclass(frozen=True)
class TokenTrack:
    """Codes (G, rows, columns) of a video, to guide another; repeated when that one is longer.

    codebook: names the VQ-VAE that the codes are of.

    Raises:
        TrackError: there are more than `MOST_GROUPS` groups.
    """

    codes: Tensor
    codebook: str = ""

    def __post_init__(self) -> None:
        _check_groups(len(self.codes))

    def group(self, number: int) -> Tensor:
        """The codes (cells,) of a group."""
        return self.codes[number % len(self.codes)].flatten()

    def part(self, start: int, groups: int = 0) -> TokenTrack:
        """`groups` groups from number `start` on; 0: all that follow.

        Raises:
            TrackError: there are not so many.
        """
        stop = start + groups if groups else len(self.codes)
        if not 0 <= start < stop <= len(self.codes):
            raise TrackError(
                f"the tokens have {len(self.codes)} groups, 0 to {len(self.codes) - 1}; asked for group {start} and "
                f"{f'up to group {stop - 1}' if groups else 'all that follow'}: change start or groups"
            )
        return replace(self, codes=self.codes[start:stop])

    def repeated(self, times: int) -> TokenTrack:
        """`times` in a row, at least 1. Raises TrackError for fewer, or for more than `MOST_GROUPS` groups."""
        if times < 1:
            raise TrackError(f"tokens can be repeated once or more, got {times}")
        _check_groups(times * len(self.codes))
        return replace(self, codes=self.codes.repeat(times, 1, 1))

    def followed_by(self, other: TokenTrack) -> TokenTrack:
        """Both, one after the other. Raises TrackError for codes of another codebook or size, or for too many."""
        if (self.codebook, self.codes.shape[1:]) != (other.codebook, other.codes.shape[1:]):
            raise TrackError(
                f"tokens of the codebook {self.codebook}, {tuple(self.codes.shape[1:])} a group, cannot be followed by "
                f"tokens of {other.codebook}, {tuple(other.codes.shape[1:])}: make both with the same model"
            )
        _check_groups(len(self.codes) + len(other.codes))
        return replace(self, codes=torch.cat([self.codes, other.codes]))

    def check(self, codebook: str, cells: tuple[int, int]) -> None:
        """Raises TrackError unless the codes are of this codebook and this size (rows, columns)."""
        if self.codebook != codebook:
            raise TrackError(
                f"these tokens are of the codebook {self.codebook}, not {codebook}: encode the video, or write the "
                "tokens, with the model that is to follow them"
            )
        if tuple(self.codes.shape[1:]) != cells:
            raise TrackError(
                f"these tokens are {tuple(self.codes.shape[1:])} a group, not {cells}: make them from a video of the "
                "model's size"
            )

    def check_codes(self, codes: int) -> None:
        """Raises TrackError unless every code is one of a codebook of that size."""
        least, most = int(self.codes.min()), int(self.codes.max())
        if least < 0 or most >= codes:
            raise TrackError(
                f"these tokens reach from {least} to {most}, and the codebook from 0 to {codes - 1}: the file is "
                "damaged; encode the video, or write the tokens, anew"
            )

    def save(self, path: Path) -> None:
        """Write as one safetensors file, which takes its name only when it is complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as partial:
            codes = self.codes.to("cpu", torch.int32).contiguous()
            save_file({"codes": codes}, partial, {KEY: self.codebook, DIGEST: _digest(codes)})

    @classmethod
    def load(cls, path: Path) -> TokenTrack:
        """Read what `save` wrote. Raises TrackError when the file is damaged or foreign."""
        try:
            with safe_open(path, "pt") as file:
                header = file.metadata() or {}
                codes = file.get_tensor("codes") if KEY in header else None
        except (SafetensorError, OSError) as error:
            raise TrackError(f"{path.name} cannot be read ({error}): it is no safetensors file or truncated") from error
        if codes is None or codes.ndim != 3 or not codes.numel() or codes.dtype != torch.int32:
            raise TrackError(f"{path.name} holds no tokens of AVGen's")
        if _digest(codes) != header.get(DIGEST):
            raise TrackError(f"{path.name} is damaged, its tokens are not those that were saved: save them anew")
        return cls(codes, header[KEY])


def _check_groups(groups: int) -> None:
    if groups > MOST_GROUPS:
        raise TrackError(f"{groups} groups of tokens are more than {MOST_GROUPS}: cut them, or repeat them less")


def _digest(codes: Tensor) -> str:
    return hashlib.sha256(codes.numpy().tobytes()).hexdigest()[:16]


@torch.no_grad()
def track_of_latents(coder: LatentVQVAE, latents: Tensor, codebook: str) -> TokenTrack:
    """The track of a video's latents (F, C, H, W)."""
    config, device = coder.config, coder.codebook.vectors.device
    codes = []
    for first in range(0, config.groups_of(len(latents)), GROUPS_AT_ONCE):
        some = latents[config.frames_of(first) : config.frames_of(first + GROUPS_AT_ONCE)].transpose(0, 1)[None]
        codes.append(coder.encode(some.to(device, coder.dtype), first=first)[0].to("cpu", torch.int32))
    return TokenTrack(torch.cat(codes), codebook)


def track_in(memory: Memory, cells: tuple[int, int], codebook: str) -> TokenTrack:
    """The codes that a run of one video remembers. Raises TrackError where it has none."""
    codes = written_codes(memory)
    if not len(codes):
        raise TrackError("this run has no tokens: only runs of a model with ARLON's parts do")
    return TokenTrack(codes[:, 0].unflatten(1, cells), codebook)


def written_track(
    writer: TokenWriter,
    coder: LatentVQVAE,
    prompts: Prompts,
    frames: int,
    noise: NoiseSource,
    *,
    size: tuple[int, int],
    codebook: str,
    branches: int,
    grid: FrameGrid | None = None,
    on_group: Callable[[int], None] = lambda group: None,
) -> TokenTrack:
    """The codes that a run of `frames` latent frames of `size` would write, without the run.

    `branches` and `grid`: of the run's denoiser; `on_group` hears how many groups are written. A group has the prompt
    of its first frame.
    """
    grid, memory = grid or FrameGrid(), {}
    for group in range(coder.config.groups_of(frames)):
        first = grid.first_pixel(coder.config.frames_of(group))
        writer.write((prompts.at(first, branches),), memory, noise)
        on_group(group + 1)
    return track_in(memory, coder.config.cells(*size), codebook)


@torch.no_grad()
def coarse_latents(coder: LatentVQVAE, track: TokenTrack, size: tuple[int, int]) -> Tensor:
    """What the codes alone show: latents (F, C, H, W) of `size`."""
    config, device = coder.config, coder.codebook.vectors.device
    latents = []
    for first in range(0, len(track.codes), GROUPS_AT_ONCE):
        lead, stop = max(0, first - coder.lead), min(first + GROUPS_AT_ONCE, len(track.codes))
        codes, before = track.codes[lead:stop].long()[None].to(device), config.frames_of(lead)
        some = coder.decode(codes, config.frames_of(stop) - before, *size, first=lead)[0]
        latents.append(some[:, config.frames_of(first) - before :].transpose(0, 1).float().cpu())
    return torch.cat(latents)


def token_map(coder: LatentVQVAE, track: TokenTrack) -> Tensor:
    """A colour (G, rows, columns, 3) in 0..1 for each code; codes with similar vectors have similar colours.

    The colours are the three principal components of the codebook, each by its rank, so that all of it is used.
    """
    vectors = coder.codebook.vectors.float().cpu()
    centred = vectors - vectors.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:3]
    ranks = (centred @ axes.T).argsort(0).argsort(0).float() / max(1, len(vectors) - 1)
    return torch.nn.functional.pad(ranks, (0, 3 - ranks.shape[1]))[track.codes.long()]
