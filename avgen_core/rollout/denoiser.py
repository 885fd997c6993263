"""What the executor asks of a system: predictions for the frames of a pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from torch import Tensor

from ..plan import Pass, Plan
from .cache import FrameCache
from .noise import NoiseSource
from .process import Process

PromptMix = tuple[tuple[str, float], ...]
"""Texts with weights that sum to 1."""


@dataclass(frozen=True)
class FrameGrid:
    """How pixel frames lie on latent frames: the first latent stands for one, each later one for `stride` frames."""

    stride: int = 1

    def first_pixel(self, latent: int) -> int:
        """The pixel frame at which a latent frame begins."""
        return 0 if latent == 0 else 1 + (latent - 1) * self.stride

    def pixels(self, latents: int) -> int:
        """Pixel frames of the first `latents` latent frames (Wan: 4N - 3)."""
        return self.first_pixel(latents) if latents else 0

    def latents(self, pixels: int) -> int:
        """The fewest latent frames that hold `pixels` pixel frames."""
        return 0 if pixels <= 0 else 1 + -(-(pixels - 1) // self.stride)


class ReferenceFrame(NamedTuple):
    """A finished frame (C, H, W) as it is, and with the noise that it is shown with."""

    clean: Tensor
    shown: Tensor


@dataclass(frozen=True)
class Request:
    """One pass for the network: `latents` (F, C, H, W) in the order of the queries.

    prompts: for each guidance branch, the prompt mix of each query. Stored frames enter `cache`. references: the frames
    that `step.references` names. given: latents (F, C, H, W) that the stream begins with. noise: for draws of the
    denoiser's own; memory: what it has to remember from pass to pass, tensors under names without dots, which are part
    of the run's state. origin: the video's frame that is frame 0 here.
    """

    step: Pass
    latents: Tensor
    prompts: tuple[tuple[PromptMix, ...], ...]
    cache: FrameCache
    references: tuple[ReferenceFrame, ...] = ()
    given: Tensor | None = None
    noise: NoiseSource | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)
    origin: int = 0


class Denoiser(Protocol):
    """A system ready to run. `fingerprint` names its weights: runs of other ones cannot be continued."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def settings(self) -> str:
        """What beside its weights decides its frames: runs that were made with others go on approximately."""

    @property
    def plans(self) -> tuple[type[Plan], ...]:
        """The kinds of plan that it can follow."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one latent frame."""

    @property
    def grid(self) -> FrameGrid: ...

    @property
    def branches(self) -> int:
        """Guidance branches: 1, or 2 with classifier-free guidance."""

    @property
    def process(self) -> Process:
        """What the predictions are, and how frames move by them."""

    def check_plan(self, plan: Plan) -> None:
        """Raises PlanError for a plan, of one of these kinds, that it cannot follow."""

    def check_text(self, text: str) -> None:
        """Raises ValueError for a prompt that it cannot follow."""

    def predict(self, request: Request) -> Tensor:
        """Guided predictions (F, C, H, W), float32, for all frames of the pass; fills the cache."""
