"""What a system offers to nodes and to the command line."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..prompts import Classes, PromptSchedule, Reading
from ..rollout.denoiser import Denoiser
from ..rollout.orders import RunPlan
from .asynchronous import AsynchronousSettings


class FrameAutoencoder(Protocol):
    """Between frames (N, 3, H, W) in -1..1 and latent frames (N, C, h, w).

    lead: how many frames before those that are wanted must be decoded with them.
    """

    lead: int

    def encode(self, images: Tensor) -> Tensor: ...

    def decode(self, latents: Tensor) -> Tensor: ...

    def memory(self, frames: int) -> int:
        """Bytes that coding `frames` frames at once needs beside the weights."""


class System(Protocol):
    """A model ready to make videos.

    guidance: the one it was tuned with; frame_size: height and width of a frame in pixels; classes: what can be asked
    for by name.
    """

    fps: float
    guidance: float
    fingerprint: str
    autoencoder: FrameAutoencoder

    @property
    def frame_size(self) -> tuple[int, int]: ...

    @property
    def latent_shape(self) -> tuple[int, int, int]: ...

    @property
    def classes(self) -> Classes: ...

    @property
    def default_plan(self) -> RunPlan: ...

    def asynchronous_plan(self, settings: AsynchronousSettings) -> RunPlan: ...

    def check_size(self, width: int, height: int) -> None:
        """Raises ValueError for frames of another size."""

    def understand(self, schedule: PromptSchedule, *, negative: bool = False) -> Reading:
        """What is made of the words of a schedule. Raises ValueError for what cannot be asked for."""

    def denoiser(self, guidance: float) -> Denoiser: ...
