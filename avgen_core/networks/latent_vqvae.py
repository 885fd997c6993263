"""ARLON's latent VQ-VAE: latent frames of a video model to a coarse grid of codes, and back to coarse latents.

arXiv 2410.20502. A code stands for `time` latent frames and `space` x `space` cells. Groups of frames never overlap;
the encoder sees each group alone, the decoder a group and the ones before it, so that a video may be coded piece by
piece. Widths, codebook and losses are not in our sources; these are our own (`docs/arlon.md`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

REVIVED_BELOW = 0.03  # of the mean use of a code


@dataclass(frozen=True)
class LatentVQVAEConfig:
    """Sizes.

    time, space: latent frames, and cells of a side, that a code stands for; codes: size of the codebook; first_alone:
    the first latent frame is a group of its own, because it stands for one pixel frame (Wan); blocks: residual blocks
    of encoder and decoder; each of the decoder's looks one group back.
    """

    latent_channels: int = 16
    time: int = 4
    space: int = 2
    codes: int = 512
    code_dim: int = 16
    width: int = 128
    blocks: int = 2
    first_alone: bool = False

    def __post_init__(self) -> None:
        if min(self.time, self.space, self.codes, self.code_dim) < 1:
            raise ValueError("time, space, codes and code_dim must be at least 1")

    def groups_of(self, frames: int) -> int:
        """How many groups `frames` latent frames fill; the last may be filled only in part."""
        if self.first_alone:
            return 1 + -(-(frames - 1) // self.time) if frames else 0
        return -(-frames // self.time)

    def frames_of(self, groups: int) -> int:
        """Latent frames of so many whole groups."""
        if self.first_alone:
            return 1 + (groups - 1) * self.time if groups else 0
        return groups * self.time

    def group_of(self, frame: int) -> int:
        """The group that a latent frame belongs to."""
        return self.groups_of(frame + 1) - 1

    def cells(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of codes for latents of that size."""
        return -(-height // self.space), -(-width // self.space)


class Codebook(nn.Module):
    """Vectors that codes stand for. They follow the mean of what is assigned to them (arXiv 1711.00937, appendix A.1).

    Buffers, not parameters: `follow` moves them after a step, with sums over all rows of all processes.
    """

    def __init__(self, codes: int, dim: int) -> None:
        super().__init__()
        vectors = functional.normalize(torch.randn(codes, dim), dim=-1)
        self.register_buffer("vectors", vectors)
        self.register_buffer("uses", torch.ones(codes))
        self.register_buffer("sums", vectors.clone())

    def nearest(self, features: Tensor) -> Tensor:
        """Indices (...) of the vectors nearest to features (..., dim), on their device."""
        flat = features.reshape(-1, features.shape[-1]).float()
        vectors = self.vectors.to(flat)
        with torch.autocast(flat.device.type, enabled=False):  # rounded distances would often choose another code
            distances = vectors.square().sum(1) - 2 * flat @ vectors.T  # without the features' own, the same for all
        return distances.argmin(1).view(features.shape[:-1])

    def forward(self, indices: Tensor) -> Tensor:
        """Indices (...) to vectors (..., dim)."""
        return functional.embedding(indices, self.vectors.to(indices.device))

    @property
    def alive(self) -> Tensor:
        """(codes,) bool: which are used enough to stay where they are."""
        return self.uses >= REVIVED_BELOW * self.uses.mean()

    @torch.no_grad()
    def follow(self, uses: Tensor, sums: Tensor, decay: float = 0.98) -> None:
        """Move towards the mean of what a step assigned: uses (codes,) and sums of features (codes, dim).

        Codes that hardly anything is assigned to are put beside the most used ones.
        """
        self.uses.lerp_(uses.to(self.uses), 1 - decay)
        self.sums.lerp_(sums.to(self.sums), 1 - decay)
        self.vectors.copy_(self.sums / self.uses.clamp(min=1e-6)[:, None])
        dead = (~self.alive).nonzero()[:, 0]
        if not len(dead):
            return
        busy = self.uses.argsort(descending=True)[: min(len(dead), len(self.uses) - len(dead))]
        dead = dead[: len(busy)]
        spread = self.vectors.std(0) * 0.05
        self.uses[busy] /= 2
        self.sums[busy] /= 2
        side = spread * torch.sign(self.vectors[busy])
        self.uses[dead] = self.uses[busy]
        self.sums[dead] = self.sums[busy] + side * self.uses[busy][:, None]
        self.vectors[dead] = self.sums[dead] / self.uses[dead].clamp(min=1e-6)[:, None]


class CausalConv(nn.Module):
    """3 x 3 over cells, and over `back` groups before; what is before the video is its first group."""

    def __init__(self, inside: int, outside: int, back: int, operations=nn) -> None:
        super().__init__()
        self.back = back
        self.convolution = operations.Conv3d(inside, outside, (1 + back, 3, 3), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, G, h, w) to the same."""
        return self.convolution(torch.cat([x[:, :, :1].expand(-1, -1, self.back, -1, -1), x], dim=2))


class ResidualBlock(nn.Module):
    def __init__(self, width: int, back: int, operations=nn) -> None:
        super().__init__()
        self.norm = operations.GroupNorm(1, width)
        self.first = CausalConv(width, width, back, operations)
        self.second = operations.Conv3d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        groups = x.shape[2]
        # Norms of a group alone: a video decoded piece by piece is the same.
        h = self.norm(rearrange(x, "b c g h w -> (b g) c h w"))
        h = rearrange(h, "(b g) c h w -> b c g h w", g=groups)
        return x + self.second(functional.silu(self.first(functional.silu(h))))


class LatentVQVAE(nn.Module):
    """Encoder, codebook, decoder."""

    def __init__(self, config: LatentVQVAEConfig, operations=nn) -> None:
        super().__init__()
        self.config = config
        inside = config.latent_channels * config.time * config.space**2
        self.encoder = nn.Sequential(
            operations.Conv3d(inside, config.width, 1),
            *(ResidualBlock(config.width, 0, operations) for _ in range(config.blocks)),
            operations.Conv3d(config.width, config.code_dim, 1),
        )
        self.codebook = Codebook(config.codes, config.code_dim)
        self.decoder = nn.Sequential(
            operations.Conv3d(config.code_dim, config.width, 1),
            *(ResidualBlock(config.width, 1, operations) for _ in range(config.blocks)),
            operations.Conv3d(config.width, inside, 1),
        )

    @property
    def dtype(self) -> torch.dtype:
        """Of latents and of the weights."""
        return self.encoder[0].weight.dtype

    @property
    def lead(self) -> int:
        """Groups before those that are wanted, which must be decoded with them."""
        return self.config.blocks

    def features(self, latents: Tensor, *, first: int = 0) -> Tensor:
        """Latents (B, C, F, H, W) to what is quantised, (B, G, h, w, code_dim)."""
        return self.encoder(self._grouped(latents, first)).permute(0, 2, 3, 4, 1)

    def encode(self, latents: Tensor, *, first: int = 0) -> Tensor:
        """Latents (B, C, F, H, W), from the first frame of a group on, to codes (B, G, h, w).

        `first`: number of the first group in its video. A last group that is not full is filled with the last frame,
        and borders with their cells.
        """
        return self.codebook.nearest(self.features(latents, first=first))

    def decode(self, codes: Tensor, frames: int, height: int, width: int, *, first: int = 0) -> Tensor:
        """Codes (B, G, h, w) to coarse latents (B, C, frames, height, width).

        Args:
            frames: as many as the groups hold, or fewer.
            first: number of the first group in its video; with `lead` groups before those that are wanted, these come
                out as from the whole video.
        """
        return self.decode_vectors(self.codebook(codes), frames, height, width, first=first)

    def decode_vectors(self, vectors: Tensor, frames: int, height: int, width: int, *, first: int = 0) -> Tensor:
        """As `decode`, of vectors (B, G, h, w, code_dim)."""
        return self._apart(self.decoder(vectors.permute(0, 4, 1, 2, 3)), first)[:, :, :frames, :height, :width]

    def _grouped(self, latents: Tensor, first: int) -> Tensor:
        """(B, C, F, H, W) to (B, C * time * space^2, G, h, w)."""
        config = self.config
        frames, height, width = latents.shape[2:]
        rows, columns = config.cells(height, width)
        ahead = config.time - 1 if config.first_alone and first == 0 else 0  # the first frame fills its group alone
        groups = -(-(frames + ahead) // config.time)
        behind = groups * config.time - frames - ahead
        sides = (0, columns * config.space - width, 0, rows * config.space - height, ahead, behind)
        padded = functional.pad(latents, sides, mode="replicate")
        return rearrange(
            padded, "b c (g t) (h p) (w q) -> b (c t p q) g h w", t=config.time, p=config.space, q=config.space
        )

    def _apart(self, x: Tensor, first: int) -> Tensor:
        """(B, C * time * space^2, G, h, w) to latents (B, C, F, H, W)."""
        config = self.config
        sizes = {"t": config.time, "p": config.space, "q": config.space}
        latents = rearrange(x, "b (c t p q) g h w -> b c (g t) (h p) (w q)", **sizes)
        return latents[:, :, config.time - 1 :] if config.first_alone and first == 0 else latents
