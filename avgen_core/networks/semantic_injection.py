"""ARLON's semantic injection: coarse latents of a plan guide a video DiT through gated adaptive norms.

arXiv 2410.20502: a projection of the coarse latents, a latent adapter for each injected layer, uncertainty sampling in
training, and a gated adaptive norm after self-attention in the first half of the layers. The equations are not in our
sources; these are our reading of them (`docs/arlon.md`). Untrained, the DiT is left as it is, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional


class InjectionKind(str, Enum):
    """How guidance enters a layer."""

    ADAPTIVE_NORM = "adaptive-norm"  # the paper's: scale and shift of the normed states, behind a gate
    MLP = "mlp"  # the adapter's features are added, behind a gate
    CONTROL = "control"  # like ControlNet: a branch beside the layers, each reads the one before, its output is added


MODULATIONS = {InjectionKind.ADAPTIVE_NORM: 3, InjectionKind.MLP: 2, InjectionKind.CONTROL: 1}


@dataclass(frozen=True)
class SemanticInjectionConfig:
    """Sizes. `layers`: of the DiT that are guided; adapter_dim: inner width of the latent adapters."""

    latent_channels: int
    dim: int
    layers: tuple[int, ...]
    patch_size: tuple[int, int, int] = (1, 2, 2)
    adapter_dim: int = 64
    kind: InjectionKind = InjectionKind.ADAPTIVE_NORM

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", InjectionKind(self.kind))  # a file's header holds its text

    @property
    def modulations(self) -> int:
        """Vectors of `dim` that guide one token: scale, shift and gate; features and gate; features."""
        return MODULATIONS[self.kind]


@dataclass(frozen=True)
class Uncertainty:
    """Standard normal draws for a batch, (B, dim) each, and which of its rows are disturbed, (B,) bool."""

    of_mean: Tensor
    of_deviation: Tensor
    rows: Tensor


def disturbed(features: Tensor, uncertainty: Uncertainty) -> Tensor:
    """Uncertainty sampling on features (B, F, tokens, dim): as if the token model had erred.

    Mean and deviation over a clip's tokens are drawn anew from a normal distribution, whose spread is that of means and
    deviations in the batch (arXiv 2202.03958, equations 4 to 8).
    """
    wide = features.float()
    mean = wide.mean((1, 2), keepdim=True)
    deviation = (wide.var((1, 2), keepdim=True) + 1e-6).sqrt()
    if len(features) < 2:
        return features

    def drawn(statistic: Tensor, draw: Tensor) -> Tensor:
        return statistic + draw[:, None, None].to(statistic) * statistic.std(0, keepdim=True)

    other = drawn(deviation, uncertainty.of_deviation) * (wide - mean) / deviation
    other = other + drawn(mean, uncertainty.of_mean)
    return torch.where(uncertainty.rows[:, None, None, None], other, wide).to(features)


class LatentAdapter(nn.Module):
    """Two layers with a residual."""

    def __init__(self, dim: int, inner: int, operations=nn) -> None:
        super().__init__()
        self.up = operations.Linear(dim, inner)
        self.down = operations.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(functional.gelu(self.up(x)))


@dataclass(frozen=True)
class Guidance:
    """Modulations of some frames for each guided layer, (B, F, tokens, modulations * dim) each.

    They guide the first B rows of a batch; further ones, such as those without a prompt, are left alone.
    strength: (F,) or one number, how much of the gate is opened; 0 leaves the DiT alone.
    """

    kind: InjectionKind
    layers: dict[int, Tensor]
    strength: Tensor | float = 1.0

    def __call__(self, layer: int, x: Tensor) -> Tensor:
        """States (rows, F, tokens, dim) behind the self-attention of a layer, guided."""
        if layer not in self.layers:
            return x
        modulations = self.layers[layer].to(x)
        rows = len(modulations)
        guided = self._guided(x[:rows], modulations)
        return guided if rows == len(x) else torch.cat([guided, x[rows:]])

    def _guided(self, x: Tensor, modulations: Tensor) -> Tensor:
        strength = self.strength
        if isinstance(strength, Tensor):
            strength = strength.to(x)[:, None, None]
        if self.kind is InjectionKind.CONTROL:
            return x + strength * modulations
        if self.kind is InjectionKind.MLP:
            features, gate = modulations.chunk(2, dim=-1)
            return x + strength * gate * features
        scale, shift, gate = modulations.chunk(3, dim=-1)
        normed = functional.layer_norm(x, x.shape[-1:])
        return x + strength * gate * (normed * (1 + scale) + shift)


class SemanticInjection(nn.Module):
    """Coarse latents to guidance. Computed once for the frames of a block or segment, for all of its steps."""

    def __init__(self, config: SemanticInjectionConfig, operations=nn) -> None:
        super().__init__()
        self.config = config
        self.project = operations.Conv3d(
            config.latent_channels, config.dim, kernel_size=config.patch_size, stride=config.patch_size
        )
        self.adapters = nn.ModuleList(LatentAdapter(config.dim, config.adapter_dim, operations) for _ in config.layers)
        self.modulations = nn.ModuleList(
            operations.Linear(config.dim, config.modulations * config.dim) for _ in config.layers
        )
        for linear in self.modulations:
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
            if config.kind is InjectionKind.MLP:  # else neither features nor gate would have a gradient
                nn.init.normal_(linear.weight[: config.dim], std=config.dim**-0.5)

    def forward(
        self, coarse: Tensor, uncertainty: Uncertainty | None = None, strength: Tensor | float = 1.0
    ) -> Guidance:
        """Coarse latents (B, C, F, H, W) of the frames that are guided. `uncertainty`: in training."""
        projected = rearrange(self.project(coarse), "b d f h w -> b f (h w) d")
        found, read = {}, projected
        pairs = zip(self.config.layers, self.adapters, self.modulations, strict=True)
        for layer, adapter, modulation in pairs:
            features = adapter(read)
            if self.config.kind is InjectionKind.CONTROL:
                read = features
            if uncertainty is not None:
                features = disturbed(features, uncertainty)
            found[layer] = modulation(features)
        return Guidance(self.config.kind, found, strength)
