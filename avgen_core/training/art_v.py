"""Trainer of ART-V: an image model's UNet on single frames, then what it learns of references, on clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Generator, Tensor

from ..networks.reference_adapter import EncodedReferences, References, blended
from ..networks.reference_unet import Prediction, ReferenceUNet, TextKeys, clean_from
from .captioned_videos import CaptionedClips
from .latents import ClipBatch, LatentClips
from .loop import RowLosses, Training, TrainSpec, nothing, run

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

SNR_LIMIT = 5.0  # Min-SNR weighting, arXiv 2303.09556, which also counts the error in the clean image


class Learned(str, Enum):
    """What of the image model learns beside the adapter."""

    NOTHING = "nothing"
    ATTENTION = "attention"  # the cross-attentions, where text and anchor meet
    ALL = "all"


@dataclass(frozen=True)
class ReferenceRecipe:
    """How references are shown. Shares are of the rows.

    noise: the most that is mixed into the previous frames, of a uniform draw; text_dropped, references_dropped (all of
    them: an image without a past), previous_dropped, anchor_dropped: what is left out, so that one model does text,
    image, and both; remade: previous frames that the model itself makes anew from a level in `remade_levels`, against
    drift.
    """

    noise: float = 0.5
    text_dropped: float = 0.1
    references_dropped: float = 0.1
    previous_dropped: float = 0.05
    anchor_dropped: float = 0.15
    remade: float = 0.25
    remade_levels: tuple[int, int] = (200, 700)

    def __post_init__(self) -> None:
        if not 0 <= self.text_dropped <= 1:
            raise ValueError(f"text_dropped must be a share, 0 to 1, got {self.text_dropped}")


IMAGES_ALONE = ReferenceRecipe(references_dropped=1.0, remade=0.0)


class Frames(NamedTuple):
    """A batch of frames that are to be learned, each with its past.

    target: (B, C, H, W); previous: (B, R + 1, C, H, W), the newest first, of which `count` (B,) are there; anchor:
    (B, C, H, W); prompts: the distinct ones; prompt: (B,), the index of each row's.
    """

    target: Tensor
    previous: Tensor
    count: Tensor
    anchor: Tensor
    prompts: list[str]
    prompt: Tensor


class Draws(NamedTuple):
    """What is random in a step, each by row: timesteps, noises, and what is left out or made anew."""

    timestep: Tensor
    noise: Tensor
    reference_level: Tensor
    reference_noise: Tensor
    has_previous: Tensor
    has_anchor: Tensor
    remade: Tensor  # timestep at which the newest reference is made anew, 0 where it is not
    remade_noise: Tensor  # (B, R + 1, C, H, W): of that frame, then of the references that it is made from


def frames_of(batch: ClipBatch, references: int, at: Tensor) -> Frames:
    """Frame `at` (B,) of each clip (B, C, F, H, W), its `references` + 1 frames before, and the clip's first frame."""
    clips = batch.latents.transpose(1, 2)
    rows = torch.arange(len(clips))
    previous = torch.stack([clips[rows, (at - 1 - i).clamp(min=0)] for i in range(references + 1)], dim=1)
    return Frames(clips[rows, at], previous, at, clips[:, 0], batch.prompts, batch.prompt_of_frame[rows, at])


def draw_step(shape: tuple[int, ...], recipe: ReferenceRecipe, levels: int, generator: Generator) -> Draws:
    """`shape`: (B, R, C, H, W) of the references; `levels`: timesteps of the image model's schedule."""
    batch, references, *frame = shape

    def chosen(share: float) -> Tensor:
        return torch.rand(batch, generator=generator) < share

    least, most = recipe.remade_levels
    all_dropped = chosen(recipe.references_dropped)
    return Draws(
        timestep=torch.randint(levels, (batch,), generator=generator),
        noise=torch.randn(batch, *frame, generator=generator),
        reference_level=torch.rand(batch, generator=generator) * recipe.noise,
        reference_noise=torch.randn(*shape, generator=generator),
        has_previous=~all_dropped & ~chosen(recipe.previous_dropped),
        has_anchor=~all_dropped & ~chosen(recipe.anchor_dropped),
        remade=torch.randint(least, most, (batch,), generator=generator) * chosen(recipe.remade),
        remade_noise=torch.randn(batch, references + 1, *frame, generator=generator),
    )


class ArtVTrainer:
    """Losses of an image model with references."""

    def __init__(self, alphas_cumprod: Tensor, prediction: Prediction, encode_texts: Callable[[list[str]], Tensor]):
        """`alphas_cumprod`: (T,); `encode_texts`: prompts to states (P, tokens, width)."""
        self.kept, self.prediction, self.encode_texts = alphas_cumprod, prediction, encode_texts

    def losses(self, model: ReferenceUNet, frames: Frames, draws: Draws) -> RowLosses:
        """The error of the blended clean frame, weighted by the signal-to-noise ratio up to a limit."""
        keys = self._keys(model, frames)
        frames = self._with_remade(model, keys, frames, draws)
        references = self._references(frames, draws)
        kept = self._kept(draws.timestep, frames.target)
        noisy = kept.sqrt() * frames.target + (1 - kept).sqrt() * draws.noise
        clean = self._clean(model, noisy, draws.timestep, keys, model.adapter.encode(references))
        mask = model.adapter.mask(noisy, clean, references, (1 - kept).sqrt().flatten())
        error = (blended(clean, references, mask) - frames.target).square().mean(dim=(1, 2, 3))
        ratio = (kept / (1 - kept)).flatten()
        return RowLosses.plain(error * ratio.clamp(max=SNR_LIMIT), mask=mask.detach().mean(dim=(1, 2, 3)))

    def _keys(self, model: ReferenceUNet, frames: Frames) -> TextKeys:
        states = self.encode_texts(frames.prompts)
        return [(keys[frames.prompt], values[frames.prompt]) for keys, values in model.text_keys(states)]

    def _kept(self, timestep: Tensor, like: Tensor) -> Tensor:
        return self.kept.to(like)[timestep][:, None, None, None]

    def _clean(
        self, model: ReferenceUNet, noisy: Tensor, timestep: Tensor, keys: TextKeys, encoded: EncodedReferences
    ) -> Tensor:
        predicted = model(noisy, timestep, keys, encoded).float()
        return clean_from(self.prediction, predicted, noisy, self._kept(timestep, noisy))

    def _references(self, frames: Frames, draws: Draws) -> References:
        level = draws.reference_level[:, None, None, None, None]
        previous = frames.previous[:, :-1]
        place = torch.arange(previous.shape[1], device=previous.device)
        there = (place < frames.count[:, None]) & draws.has_previous[:, None]
        return References(
            previous=(1 - level**2).sqrt() * previous + level * draws.reference_noise,
            newest=previous[:, 0],
            anchor=frames.anchor,
            has_previous=there,
            has_anchor=draws.has_anchor & (frames.count > 0),
            noise=draws.reference_level * there[:, 0],
        )

    @torch.no_grad()
    def _with_remade(self, model: ReferenceUNet, keys: TextKeys, frames: Frames, draws: Draws) -> Frames:
        """Some newest references as the model itself would leave them: noised, and denoised in one step."""
        rows = (draws.remade > 0) & (frames.count > 1)
        if not rows.any():
            return frames
        own = Frames(
            frames.previous[rows, 0],
            torch.cat([frames.previous[rows, 1:], frames.previous[rows, -1:]], dim=1),
            frames.count[rows] - 1,
            frames.anchor[rows],
            frames.prompts,
            frames.prompt[rows],
        )
        at = draws.remade[rows]
        drawn = Draws(*(value[rows] for value in draws))
        drawn = drawn._replace(reference_noise=drawn.remade_noise[:, 1:])
        kept = self._kept(at, own.target)
        noisy = kept.sqrt() * own.target + (1 - kept).sqrt() * drawn.remade_noise[:, 0]
        of_rows = [(k[rows], v[rows]) for k, v in keys]
        clean = self._clean(model, noisy, at, of_rows, model.adapter.encode(self._references(own, drawn)))
        previous = frames.previous.clone()
        previous[rows, 0] = clean
        return frames._replace(previous=previous)


def set_learned(model: ReferenceUNet, learned: Learned, adapter: bool = True) -> None:
    """Freeze everything but the adapter and what is to learn of the image model."""
    model.requires_grad_(False)
    model.adapter.requires_grad_(adapter)
    for name, parameter in model.unet.named_parameters():
        parameter.requires_grad_(learned is Learned.ALL or (learned is Learned.ATTENTION and ".attn2." in name))


def _sizes(unet: UNet2DConditionModel) -> dict[str, Any]:
    """The config without diffusers' own notes, which stand in another order in every process."""
    return {name: value for name, value in sorted(unet.config.items()) if not name.startswith("_")}


def train_art_v(
    spec: TrainSpec,
    clips: LatentClips | CaptionedClips,
    model: ReferenceUNet,
    trainer: ArtVTrainer,
    recipe: ReferenceRecipe,
    *,
    on_save=nothing,
) -> Training:
    """Train what `set_learned` left free on frames of whole clips; resumes from `spec.out` when it holds a state."""
    references, window = model.adapter.config.references, clips.clip_frames

    def draw(step: int, rows: slice) -> tuple[Frames, Draws]:
        generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + step)
        batch = clips.batch(step, spec.batch, window, spec.seed, recipe.text_dropped, rows)
        at = torch.randint(window, (spec.batch,), generator=generator)
        frames = frames_of(batch, references, at[rows])
        shape = (spec.batch, references, *frames.target.shape[1:])
        draws = draw_step(shape, recipe, len(trainer.kept), generator)
        return frames, Draws(*(value[rows] for value in draws))

    def losses(model: ReferenceUNet, data: tuple[Frames, Draws]) -> RowLosses:
        return trainer.losses(model, *data)

    origin = {
        "the data": clips.digest,
        "the network": f"{_sizes(model.unet)} {model.adapter.config}",
        "its training": f"{window=} {recipe} {trainer.prediction}",
    }
    training = Training(model, spec, draw, losses, origin=origin)
    training.resume()
    model.eval()  # no layer of these networks behaves otherwise in training, and frozen ones must not
    run(training, on_save)
    return training
