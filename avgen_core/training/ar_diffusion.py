"""Trainer of AR-Diffusion's generator: clean latents from frames that each have their own noise level.

Arithmetic of AR-Diffusion, arXiv 2503.07418 (official `base.py`, `diffusion.py`, `diff_train.py`), and what it leaves
open: single images among the clips, and a loss that is balanced over noise levels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoints.ar_diffusion_layout import TIMESTEPS, schedule_buffers
from ..networks.ar_diffusion_dit import ARDiffusionDiT, ARDiffusionDiTConfig
from .ar_latents import TokenVideos
from .level_weights import LevelErrors, LevelWeighting
from .loop import RowLosses, Training, TrainSpec, nothing, run
from .timesteps import TimestepSampler, draw_timesteps
from .videos import NO_CLASS, ClipSpec, ClipTable

CONTEXT_DEVIATION = 0.1  # of fresh conditions; official `base.py`


@dataclass(frozen=True)
class ARDiffusionOptions:
    """What the generator is trained on.

    image_share: how likely a row of the batch is not a clip but as many single images as a clip has frames, each of
    them a clip of one frame. condition_drop: how likely a clip or image loses its condition, for guidance.
    """

    clips: ClipSpec = field(default_factory=lambda: ClipSpec(16))
    sampler: TimestepSampler = TimestepSampler.FOPP
    weighting: LevelWeighting = LevelWeighting.RELEASED
    image_share: float = 0.0
    condition_drop: float = 0.1

    def __post_init__(self) -> None:
        for name in ("image_share", "condition_drop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, got {getattr(self, name)}")


class ConditionedGenerator(nn.Module):
    """The network, its conditions, and the errors it makes at each noise level.

    With K classes there are K + 1 conditions, the first of which stands for no class; without classes there is one,
    and no condition is a context of zeros. These are what the released sampler guides away from.
    """

    def __init__(self, config: ARDiffusionDiTConfig, classes: int) -> None:
        super().__init__()
        self.dit = ARDiffusionDiT(config)
        shape = (classes + 1, config.context_tokens, config.context_dim)
        self.conditions = nn.Parameter(CONTEXT_DEVIATION * torch.randn(shape))
        self.levels = LevelErrors(TIMESTEPS)
        self.register_buffer("alphas", schedule_buffers()["alphas_cumprod"])

    @property
    def class_conditional(self) -> bool:
        return len(self.conditions) > 1

    def contexts(self, labels: Tensor) -> Tensor:
        """Conditions (n, 1, N, D) of n labels; NO_CLASS means no condition."""
        if self.class_conditional:
            return self.conditions[labels + 1][:, None]
        conditioned = (labels != NO_CLASS)[:, None, None]
        return (self.conditions[:1] * conditioned)[:, None]

    def errors(self, clean: Tensor, timesteps: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        """Squared error (n, F) of the predictions of `clean` (n, F, L, C), noised to `timesteps` (n, F)."""
        signal = self.alphas[timesteps][..., None, None]
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
        predicted = self.dit(noisy, timesteps, self.contexts(labels))
        return (predicted.float() - clean).square().mean(dim=(2, 3))


@dataclass(frozen=True)
class GeneratorData:
    """Draws batches: rows are clips, or stacks of single images."""

    videos: TokenVideos
    spec: TrainSpec
    options: ARDiffusionOptions
    class_conditional: bool
    clips: ClipTable
    images: ClipTable

    @staticmethod
    def of(
        videos: TokenVideos, spec: TrainSpec, options: ARDiffusionOptions, *, class_conditional: bool
    ) -> GeneratorData:
        """Images are the videos of one frame; where there are none, any frame of any video."""
        lengths = [video.frames for video in videos.videos]
        stills = [int(length == 1) for length in lengths]
        return GeneratorData(
            videos,
            spec,
            options,
            class_conditional,
            clips=ClipTable(lengths, options.clips),
            images=ClipTable(stills if any(stills) else lengths, ClipSpec(1)),
        )

    def draw(self, step: int, rows: slice) -> dict[str, Tensor]:
        """clean, noise (n, F, L, C), timesteps, labels (n, F) and images (n,) bool of these rows of the batch."""
        batch, frames = self.spec.batch, self.options.clips.frames
        rng = np.random.default_rng((self.spec.seed, step))
        generator = torch.Generator().manual_seed(self.spec.seed * 1_000_003 + step)
        images = torch.from_numpy(rng.random(batch) < self.options.image_share)
        clips = self.clips.draw(rng, batch)
        stills = self.images.draw(rng, batch * frames)
        dropped = torch.from_numpy(rng.random((batch, frames)) < self.options.condition_drop)
        dropped = torch.where(images[:, None], dropped, dropped[:, :1])
        timesteps = draw_timesteps(self.options.sampler, batch, frames, TIMESTEPS, generator)
        alone = torch.randint(TIMESTEPS, (batch, frames), generator=generator)
        noise = torch.randn(batch, frames, *self.videos.frame_shape, generator=generator)
        clean, labels = zip(
            *(
                self._images(stills[row * frames : (row + 1) * frames]) if images[row] else self._clip(*clips[row])
                for row in range(*rows.indices(batch))
            ),
            strict=True,
        )
        return {
            "clean": torch.stack(clean),
            "noise": noise[rows],
            "timesteps": torch.where(images[:, None], alone, timesteps)[rows],
            "labels": torch.stack(labels).masked_fill(dropped[rows], NO_CLASS),
            "images": images[rows],
        }

    def _clip(self, video: int, start: int) -> tuple[Tensor, Tensor]:
        spec = self.options.clips
        latents = self.videos.read(video, start, spec.frames, spec.frame_step)
        return latents, torch.tensor([self._label(video)]).expand(spec.frames)

    def _images(self, places: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        latents = [self.videos.read(video, frame, 1) for video, frame in places]
        return torch.cat(latents), torch.tensor([self._label(video) for video, _ in places])

    def _label(self, video: int) -> int:
        return self.videos.videos[video].label if self.class_conditional else 0


def frame_errors(model: ConditionedGenerator, data: dict[str, Tensor]) -> Tensor:
    """Squared errors (n, F) of a batch: clips as they are, images as clips of one frame."""
    clean, noise, timesteps, labels = (data[name] for name in ("clean", "noise", "timesteps", "labels"))
    images = data["images"]
    errors = torch.zeros(timesteps.shape, device=clean.device)
    if not images.all():
        of = ~images
        errors[of] = model.errors(clean[of], timesteps[of], noise[of], labels[of, 0])
    if images.any():
        singles = (values[images].flatten(0, 1) for values in (clean, timesteps, noise, labels))
        clean, timesteps, noise, labels = singles
        alone = model.errors(clean[:, None], timesteps[:, None], noise[:, None], labels)
        errors[images] = alone.view(-1, errors.shape[1])
    return errors


def generator_training(
    spec: TrainSpec, videos: TokenVideos, model: ConditionedGenerator, options: ARDiffusionOptions
) -> Training:
    """The training as it was saved in `spec.out`, or at its beginning.

    Unlike the official training, conditions are learned with the network, and are dropped as often as
    `condition_drop` says (there: never without classes, and more often than meant with them).
    """
    data = GeneratorData.of(videos, spec, options, class_conditional=model.class_conditional)

    def losses(model: ConditionedGenerator, data: dict[str, Tensor]) -> RowLosses:
        errors, timesteps = frame_errors(model, data), data["timesteps"]
        weights = torch.ones_like(errors)
        if options.weighting is LevelWeighting.BALANCED:
            weights = model.levels.weights(timesteps)
        frames = errors.new_full((len(errors),), errors.shape[1])
        notes = {"error": errors.detach().mean(1), **model.levels.tallies(errors, timesteps)}
        return RowLosses((errors * weights).sum(1), frames, notes)

    origin = {"the data": videos.digest, "the network": str(model.dit.config), "its training": str(options)}
    training = Training(model, spec, data.draw, losses, lambda model, sums: model.levels.update(sums), origin)
    training.resume()
    model.train()
    return training


def train_ar_diffusion(
    spec: TrainSpec,
    videos: TokenVideos,
    model: ConditionedGenerator,
    options: ARDiffusionOptions | None = None,
    *,
    on_save=nothing,
) -> Training:
    """Train on latent clips; resumes from `spec.out` when it holds a state."""
    training = generator_training(spec, videos, model, options or ARDiffusionOptions())
    run(training, on_save)
    return training
