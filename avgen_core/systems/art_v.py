"""ART-V: frame by frame on an image diffusion model, from the previous frames and the first one (arXiv 2311.18834)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..networks.reference_adapter import EncodedReferences, ReferenceAdapter, References, blended
from ..networks.reference_unet import Prediction
from ..plan import Action, PlanError, ReferencePlan, trailing_timesteps
from ..prompts import Classes, PromptSchedule, Reading
from ..rollout.denoiser import FrameGrid, PromptMix, ReferenceFrame, Request
from ..rollout.process import VariancePreserving
from .asynchronous import AsynchronousSettings
from .system import FrameAutoencoder

NO_CLASSES = Classes((), ())
MASK_STRENGTH = 0.75  # measured on the embedded model: docs/art_v.md, "Motion"


class ImageModel(Protocol):
    """A text-to-image diffusion model that takes an adapter's references.

    alphas_cumprod: of its noise schedule, by timestep; latent_shape: (C, H, W) of an image.
    """

    fingerprint: str
    alphas_cumprod: tuple[float, ...]
    latent_shape: tuple[int, int, int]
    device: torch.device

    def encode(self, text: str) -> None:
        """Get a text ready, so that `predict_clean` finds it."""

    def predict_clean(
        self, noisy: Tensor, timestep: float, prompts: tuple[PromptMix, ...], encoded: EncodedReferences
    ) -> Tensor:
        """Clean images (B, C, H, W), float32, seen in `noisy` (B, C, H, W), each under its own prompt."""


@dataclass(frozen=True)
class Guidance:
    """How strongly text and references lead; 1 is off. After InstructPix2Pix (arXiv 2211.09800), equation 3.

    mask: how much of the mask is taken, 0..1: with less of it a video moves more, and flickers more.

    Raises:
        ValueError: mask is not within 0 and 1, or references is below 1.
    """

    text: float
    references: float = 1.0
    mask: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.mask <= 1:
            raise ValueError(f"mask_strength must be 0 (none of the mask) to 1 (all of it), got {self.mask}")
        if self.references < 1:
            raise ValueError(f"reference_guidance must be 1 (off) or more, got {self.references}")


@dataclass(frozen=True)
class Branch:
    """A row of the batch: positive or negative prompt, with or without references, and its weight in the sum."""

    positive: bool
    references: bool
    weight: float


def branches_of(guidance: Guidance, has_references: bool) -> tuple[Branch, ...]:
    """The rows that guidance needs; the first is the conditional one, from which the mask is taken."""
    text, references = guidance.text, guidance.references if has_references else 1.0
    rows = [Branch(True, True, text)]
    if text != references:
        rows.append(Branch(False, True, references - text))
    if references != 1.0:
        rows.append(Branch(False, False, 1.0 - references))
    return tuple(rows)


class ArtVDenoiser:
    """Runs an image model with an adapter; what it predicts is the clean frame, blended by the mask after guidance."""

    plans = (ReferencePlan,)
    grid = FrameGrid(1)

    def __init__(
        self, image_model: ImageModel, adapter: ReferenceAdapter, fingerprint: str, guidance: Guidance
    ) -> None:
        self.image_model, self.adapter, self.guidance = image_model, adapter, guidance
        self.fingerprint = fingerprint
        self.settings = f"reference_guidance {guidance.references:g}, mask_strength {guidance.mask:g}"
        self.latent_shape = image_model.latent_shape
        self.process = VariancePreserving(image_model.alphas_cumprod, final_alpha=1.0)
        self._seen: tuple[ReferenceFrame, ...] | None = None
        self._encoded: tuple[References, EncodedReferences] | None = None
        if self.branches > 1:
            image_model.encode("")  # where there is no negative prompt

    @property
    def device(self) -> torch.device:
        return self.image_model.device

    @property
    def branches(self) -> int:
        return max(1 if branch.positive else 2 for branch in branches_of(self.guidance, has_references=True))

    def check_plan(self, plan: ReferencePlan) -> None:
        """Raises PlanError where it shows more frames than the adapter has places for."""
        count = self.adapter.config.references
        if plan.previous > count:
            raise PlanError(
                f"the schedule shows {plan.previous} previous frames, the adapter was trained with {count}: "
                f"set previous to {count} at most"
            )

    def check_text(self, text: str) -> None:
        """Any text is a prompt. It is encoded here, before the networks that sample need the memory."""
        self.image_model.encode(text)

    def predict(self, request: Request) -> Tensor:
        if request.step.queries[0].action is Action.KEEP:
            return request.latents
        guided, references, mask = self._looked_at(request)
        return blended(guided, references, mask).float().to(request.latents.device).view_as(request.latents)

    def mask(self, request: Request) -> Tensor:
        """The mask (B, 1, H, W) of a pass."""
        return self._looked_at(request)[2].float().cpu()

    def _prompts(self, request: Request) -> tuple[tuple[PromptMix, ...], tuple[PromptMix, ...]]:
        """The prompt of each video, and what to lead away from."""
        positive, negative = request.prompts[0], request.prompts[-1]
        return positive, negative

    def _looked_at(self, request: Request) -> tuple[Tensor, References, Tensor]:
        """The guided clean frame (B, C, H, W), the references, and the mask that the conditional branch gives."""
        (query,) = request.step.queries
        noisy = self._videos(request.latents)
        rows, (positive, negative) = branches_of(self.guidance, bool(request.references)), self._prompts(request)
        references, encoded = self._references(request, rows)
        prompts = tuple(mix for row in rows for mix in (positive if row.positive else negative))
        clean = self.image_model.predict_clean(
            noisy.repeat(len(rows), 1, 1, 1), query.timestep, prompts, encoded
        ).unflatten(0, (len(rows), -1))
        weights = torch.tensor([row.weight for row in rows], device=clean.device)[:, None, None, None, None]
        guided = clean[0] if len(rows) == 1 else (weights * clean).sum(0)
        share = (1 - self.image_model.alphas_cumprod[round(query.timestep)]) ** 0.5
        noise = torch.full((len(noisy),), share, device=self.device)
        mask = self.guidance.mask * self.adapter.mask(noisy, clean[0], references, noise)
        return guided, references, mask

    def _videos(self, latents: Tensor) -> Tensor:
        """Latents of one frame, of however many videos, as (B, C, H, W) on the device."""
        return latents.reshape(-1, *self.image_model.latent_shape).to(self.device, torch.float32)

    def _references(self, request: Request, rows: tuple[Branch, ...]) -> tuple[References, EncodedReferences]:
        """What the frame is made from; encoded once a frame, as all of its passes have the same references and rows."""
        seen, given = self._seen or (), request.references
        same = self._seen is not None and len(seen) == len(given)
        if not same or not all(torch.equal(a.shown, b.shown) for a, b in zip(seen, given, strict=True)):
            references = self._collected(request)
            encoded = for_rows(self.adapter.encode(references), rows)
            self._seen, self._encoded = request.references, (references, encoded)
        return self._encoded

    def _collected(self, request: Request) -> References:
        named = list(zip(request.step.references, request.references, strict=True))
        anchors = [self._videos(frame.clean) for reference, frame in named if reference.anchor]
        previous = [(reference, frame) for reference, frame in reversed(named) if not reference.anchor]
        count, empty = self.adapter.config.references, torch.zeros_like(self._videos(request.latents))
        latents = [self._videos(frame.shown) for _, frame in previous]
        there = torch.tensor([place < len(latents) for place in range(count)], device=self.device)
        batch = len(empty)
        return References(
            previous=torch.stack([*latents, *[empty] * (count - len(latents))], dim=1),
            newest=self._videos(previous[0][1].clean) if previous else empty,
            anchor=anchors[0] if anchors else empty,
            has_previous=there.expand(batch, -1),
            has_anchor=torch.full((batch,), bool(anchors), device=self.device),
            noise=torch.full((batch,), previous[0][0].noise if previous else 0.0, device=self.device),
        )


def for_rows(encoded: EncodedReferences, rows: tuple[Branch, ...]) -> EncodedReferences:
    """The references of B videos for each row of the batch, branch after branch; zero for rows without references."""
    kept = [float(row.references) for row in rows]

    def repeated(x: Tensor) -> Tensor:
        return torch.cat([x * share for share in kept])

    anchor = [(keys.repeat(len(rows), 1, 1), repeated(values)) for keys, values in encoded.anchor]
    return EncodedReferences([repeated(residual) for residual in encoded.residuals], anchor)


def any_text(schedule: PromptSchedule, *, negative: bool = False) -> Reading:
    """What a large model's text encoder makes of a schedule: it takes any text."""
    return Reading(schedule, ())


def check_prediction(about: dict[str, Any], prediction: Prediction) -> None:
    """Raises ValueError for an adapter, by its header, that was trained on a model that predicts something else."""
    trained_on = about.get("prediction", prediction)
    if trained_on != prediction:
        raise ValueError(
            f"this adapter was trained on a model that predicts {Prediction(trained_on).value}, and this one predicts "
            f"{prediction.value}: use a checkpoint of the kind that it was trained on"
        )


@dataclass
class ArtVModel:
    """An image model with an adapter, as a system. `frame_size`: height and width in pixels.

    read: what is made of the words of a schedule; steps, reference_noise: of the default schedule.
    """

    image_model: ImageModel
    adapter: ReferenceAdapter
    autoencoder: FrameAutoencoder
    read: Callable[..., Reading]
    fingerprint: str
    frame_size: tuple[int, int]
    fps: float = 8.0
    guidance: float = 3.0
    reference_guidance: float = 1.0
    reference_noise: float = 0.1
    mask_strength: float = MASK_STRENGTH
    steps: int = 20
    classes: Classes = NO_CLASSES

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return self.image_model.latent_shape

    @property
    def default_plan(self) -> ReferencePlan:
        return self.plan_of(self.steps)

    def plan_of(self, steps: int) -> ReferencePlan:
        """The schedule of that many steps a frame."""
        sigmas = tuple(timestep / 1000 for timestep in trailing_timesteps(steps))
        return ReferencePlan(sigmas, self.adapter.config.references, reference_noise=self.reference_noise)

    def asynchronous_plan(self, settings: AsynchronousSettings) -> ReferencePlan:
        """Raises PlanError: frames are made one after the other."""
        raise PlanError(
            "ART-V makes one frame after the other: it has no asynchronous schedule; leave the schedule out"
        )

    def check_size(self, width: int, height: int) -> None:
        """Refuse frames of another size than the run's."""
        if (height, width) != self.frame_size:
            raise ValueError(
                f"this model is set to {self.frame_size[1]}x{self.frame_size[0]} pixels, not {width}x{height}: "
                "scale the frames that you give it"
            )

    def understand(self, schedule: PromptSchedule, *, negative: bool = False) -> Reading:
        return self.read(schedule, negative=negative)

    def denoiser(self, guidance: float) -> ArtVDenoiser:
        return ArtVDenoiser(self.image_model, self.adapter, self.fingerprint, self.led_by(guidance))

    def led_by(self, guidance: float) -> Guidance:
        """What leads a video whose text leads as strongly as `guidance`."""
        return Guidance(guidance, self.reference_guidance, self.mask_strength)
