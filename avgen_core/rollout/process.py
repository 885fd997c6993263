"""Noise processes: what a network predicts, and how a frame moves from one noise level to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..plan import Action, Query
from .noise import NoiseSource


class Process(Protocol):
    """How noise and clean frames mix, and so what a prediction does to a frame."""

    def mixed(self, clean: Tensor, noise: Tensor, share: float) -> Tensor:
        """A clean frame (C, H, W) with a share of noise in 0..1."""

    def moved(self, query: Query, latent: Tensor, prediction: Tensor, noise: NoiseSource) -> Tensor:
        """The frame (C, H, W) after its pass."""


@dataclass(frozen=True)
class FlowMatching:
    """x = (1 - sigma) * clean + sigma * noise; the network predicts the velocity noise - clean."""

    def mixed(self, clean: Tensor, noise: Tensor, share: float) -> Tensor:
        return (1 - share) * clean + share * noise

    def moved(self, query: Query, latent: Tensor, prediction: Tensor, noise: NoiseSource) -> Tensor:
        if query.action is Action.STEP:
            return latent + (query.sigma_next - query.sigma) * prediction
        if query.action is Action.RENOISE:
            clean = latent - query.sigma * prediction
            fresh = noise.draw(query.frame, "renoise", query.index, tuple(latent.shape))
            return self.mixed(clean, fresh, query.sigma_next)
        return latent


@dataclass(frozen=True)
class VariancePreserving:
    """x = sqrt(a) * clean + sqrt(1 - a) * noise; the network predicts the clean frame, and steps are DDIM's (eta 0).

    `alphas_cumprod[t]` is a at timestep t = 1000 * sigma. Its first value is not quite 1: as in AR-Diffusion's
    `fifoddim.py` a finished frame keeps a hundredth of its noise, and grows by 2e-5 in every pass that shows it again.
    With `final_alpha` 1 the last step ends on the clean frame instead (diffusers' `set_alpha_to_one`).
    """

    alphas_cumprod: tuple[float, ...]
    final_alpha: float | None = None

    def mixed(self, clean: Tensor, noise: Tensor, share: float) -> Tensor:
        return (1 - share**2) ** 0.5 * clean + share * noise

    def moved(self, query: Query, latent: Tensor, prediction: Tensor, noise: NoiseSource) -> Tensor:
        if query.action is Action.RENOISE:
            fresh = noise.draw(query.frame, "renoise", query.index, tuple(latent.shape))
            return self.mixed(prediction, fresh, self._mixture(query.sigma_next)[1])
        if query.action not in (Action.STEP, Action.KEEP) or query.sigma == query.sigma_next:
            return latent
        signal, share = self._mixture(query.sigma)
        signal_next, share_next = self._mixture(query.sigma_next)
        clean = prediction if query.action is Action.STEP else latent
        return signal_next * clean + share_next * ((latent - signal * clean) / share)

    def _mixture(self, sigma: float) -> tuple[float, float]:
        """Factors of the clean frame and of the noise."""
        ends = sigma == 0 and self.final_alpha is not None
        kept = self.final_alpha if ends else self.alphas_cumprod[round(1000 * sigma)]
        return kept**0.5, (1 - kept) ** 0.5
