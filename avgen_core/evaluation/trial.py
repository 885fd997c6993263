"""What is evaluated, by what, and how much of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np

from ..diorama import Attributes, sample_attributes
from ..plan import ReferencePlan, flow_sigmas
from ..systems.art_v import ArtVModel
from ..systems.embedded import SHIFT
from ..systems.many_videos import Model, Sampling
from .classifier import WINDOW, AttributeClassifier
from .features import FeatureNetworks
from .lpips import Lpips
from .targets import EMBEDDED, Targets

RENDERS = 3  # fresh renders of each combination for a ceiling
LEAST_LONG = 64  # frames of a long video
SEEDS = {
    "captions": 1,
    "long captions": 2,
    "renders": 3,
    "long renders": 4,
    "switches of one": 5,
    "switches of two": 6,
    "switch renders": 7,
    "feature renders": 8,
}


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Args:
        clips: short videos with one prompt, of `frames` frames each.
        switch_clips: videos of each kind of prompt switch; 0 leaves them out.
        switch_at: the frame at which the prompt switches.
        long_frames: frames of each of the `long_clips` long videos; 0 leaves them out.
        guidance, steps: None keeps what the model was tuned with.
    """

    clips: int = 300
    frames: int = 24
    switch_clips: int = 150
    switch_at: int = 24
    long_frames: int = 1024
    long_clips: int = 8
    seed: int = 0
    guidance: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.clips < 1 or self.frames < WINDOW:
            raise ValueError(f"at least 1 clip of {WINDOW} frames is needed, got {self.clips} of {self.frames}")
        if self.switch_clips < 0:
            raise ValueError(f"the number of switch clips cannot be {self.switch_clips}; 0 leaves them out")
        if self.switch_at < 1:
            raise ValueError(f"a prompt can switch at frame 1 at least, not at {self.switch_at}")
        if self.long_frames and self.long_frames < LEAST_LONG:
            raise ValueError(
                f"long videos need at least {LEAST_LONG} frames, got {self.long_frames}; 0 leaves them out"
            )
        if self.long_frames and self.long_clips < 1:
            raise ValueError(f"at least 1 long video is needed, got {self.long_clips}; long_frames 0 leaves them out")


@dataclass(frozen=True)
class Trial:
    """A model and its judges. Without `features` and `lpips`, what needs them is not measured."""

    model: Model
    classifier: AttributeClassifier
    settings: Settings
    targets: Targets = EMBEDDED
    features: FeatureNetworks | None = None
    lpips: Lpips | None = None

    def __post_init__(self) -> None:
        if self.features and self.settings.clips < 2:
            raise ValueError("Fréchet distances need at least 2 clips, got 1")

    def rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng((self.settings.seed, SEEDS[purpose]))

    def attributes(self, purpose: str, count: int) -> list[Attributes]:
        """Held-out combinations."""
        rng = self.rng(purpose)
        return [sample_attributes(rng, held_out=True) for _ in range(count)]

    def sampling(self) -> Sampling:
        plan, steps = self.model.default_plan, self.settings.steps
        if steps is not None and isinstance(self.model, ArtVModel):
            plan = self.model.plan_of(steps)
        elif steps is not None:
            plan = replace(plan, sigmas=flow_sigmas(steps, SHIFT))
        guidance = self.model.guidance if self.settings.guidance is None else self.settings.guidance
        return Sampling(plan, guidance, self.settings.seed)

    def render_seed(self, purpose: str) -> int:
        return int(self.rng(purpose).integers(2**31))

    @property
    def plan(self) -> str:
        """The plan of the videos, in words."""
        plan = self.sampling().plan
        if isinstance(plan, ReferencePlan):
            anchor = " and the first" if plan.anchor else ""
            taken = f"noise {plan.reference_noise}, {self.model.mask_strength:g} of the mask"
            return f"{len(plan.sigmas)} steps, from {plan.previous} frames before{anchor}, {taken}"
        cache = f"window {plan.window.size}, {plan.on_switch.value} on a switch"
        return f"{len(plan.sigmas)} steps, blocks of {plan.block}, {cache}"

    def describe(self) -> str:
        """The model with its plan, and the settings, two lines."""
        settings = ", ".join(f"{name} {value}" for name, value in asdict(self.settings).items() if value is not None)
        return f"model {self.model.fingerprint}: {self.plan}\nsettings: {settings}"


def report_progress(what: str) -> Callable[[float], None]:
    """Prints the share that is done, at most every 10 seconds."""
    last = time.monotonic()

    def on_progress(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            print(f"{what}: {share:.0%}", file=sys.stderr, flush=True)

    return on_progress
