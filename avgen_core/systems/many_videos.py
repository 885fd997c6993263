"""Many videos at once: the executor works on frames that each hold one latent of every video.

The embedded network is so small that one video leaves the processor waiting; a batch of thirty is several times faster.
Every video has the noise it would have alone, so its pictures differ from its own run's only by rounding. Prompts may
change on the way; to the executor, every video is a guidance branch with prompts of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..media.decode import decode_latents
from ..networks.causal_dit import Injected
from ..plan import Action, AsynchronousPlan, BlockPlan, OnSwitch, ReferencePlan, SegmentPlan
from ..prompts import PromptSchedule, Segment
from ..rollout.cache import CacheView
from ..rollout.denoiser import FrameGrid, PromptMix, Request
from ..rollout.executor import Executor
from ..rollout.noise import SeededNoise
from ..rollout.process import FlowMatching
from .arlon import CodeGuidance
from .art_v import ArtVDenoiser, ArtVModel
from .embedded import EmbeddedModel
from .embedded_arlon import EmbeddedArlon
from .token_writer import NO_PROMPT

OnProgress = Callable[[float], None]
Prompt = str | PromptSchedule
Plan = BlockPlan | AsynchronousPlan | SegmentPlan | ReferencePlan
Model = EmbeddedModel | ArtVModel


@dataclass(frozen=True)
class Sampling:
    """How prompts become videos; video i has the seed `seed + i`."""

    plan: Plan
    guidance: float
    seed: int = 0
    batch: int = 30


@dataclass(frozen=True)
class ManyNoise:
    """The noise of B videos, stacked: a draw is (B, C, H, W)."""

    sources: tuple[SeededNoise, ...]

    def draw(self, frame: int, purpose: str, index: int, shape: tuple[int, ...]) -> Tensor:
        return torch.stack([source.draw(frame, purpose, index, shape[1:]) for source in self.sources])


@dataclass(frozen=True)
class ManyPrompts:
    """The prompts of B videos, each a schedule without blends."""

    schedules: tuple[PromptSchedule, ...]

    @classmethod
    def of(cls, prompts: Sequence[Prompt]) -> ManyPrompts:
        """Texts hold for a whole video.

        Raises:
            ValueError: a schedule blends its prompts, which would need text keys of every frame's mix.
        """
        schedules = tuple(PromptSchedule((Segment(0, p),)) if isinstance(p, str) else p for p in prompts)
        if any(schedule.blend or any(segment.blend for segment in schedule.segments) for schedule in schedules):
            raise ValueError("videos that are made together cannot blend their prompts: use schedules with blend 0")
        return cls(schedules)

    def at(self, pixel_frame: int, branches: int) -> tuple[PromptMix, ...]:
        """The prompt of each video at a pixel frame."""
        return tuple(schedule.at(pixel_frame) for schedule in self.schedules)

    def texts(self) -> tuple[str, ...]:
        """Every text once."""
        return tuple(dict.fromkeys(text for schedule in self.schedules for text in schedule.texts()))

    def check(self, plan: Plan) -> None:
        """Raises ValueError where one video's switch would recache the frames of a video that does not switch."""
        recaches = isinstance(plan, BlockPlan | AsynchronousPlan) and plan.on_switch is OnSwitch.RECACHE
        if recaches and len({schedule.switches() for schedule in self.schedules}) > 1:
            raise ValueError(
                "with a plan that recaches on a switch, videos that are made together have to switch at the same "
                "frames: make them in separate batches, or use a plan that keeps its cache"
            )


class ManyDenoiser:
    """Denoises B videos in lockstep, each under its own prompts; a frame's latent is (B, C, H, W)."""

    grid = FrameGrid()
    process = FlowMatching()

    def __init__(self, model: EmbeddedModel, prompts: ManyPrompts, guidance: float) -> None:
        self.network, self.guidance = model.dit, guidance
        self.fingerprint, self.settings = model.fingerprint, ""
        self.branches = len(prompts.schedules)
        self.latent_shape = (self.branches, *model.latent_shape)
        texts = prompts.texts() if guidance == 1.0 else tuple(dict.fromkeys((*prompts.texts(), "")))
        self.index = {text: i for i, text in enumerate(texts)}
        self.text = self.network.text_keys(torch.stack([model.encode_text(text) for text in texts]))

    def check_plan(self, plan: Plan) -> None:
        """Any plan of the embedded model will do."""

    def _prompt_of_frame(self, prompts: tuple[tuple[PromptMix, ...], ...]) -> Tensor:
        """Indices into the text keys, (rows, F): the videos, and with guidance as many rows without a prompt."""
        wanted = torch.tensor([[self.index[text] for ((text, _),) in video] for video in prompts])
        return wanted if self.guidance == 1.0 else torch.cat([wanted, torch.full_like(wanted, self.index[""])])

    def _guidance(self, request: Request) -> Injected | None:
        """What guides the frames of a pass beside the text."""
        return None

    def predict(self, request: Request) -> Tensor:
        """Guided velocity (F, B, C, H, W)."""
        queries, prompt_of_frame = request.step.queries, self._prompt_of_frame(request.prompts)
        rows = len(prompt_of_frame)
        stored = [(i, q.frame) for i, q in enumerate(queries) if q.action in (Action.COMMIT, Action.RECACHE)]
        view = CacheView(request.cache, request.step.context, stored)
        latents = request.latents.permute(1, 2, 0, 3, 4)
        flow = self.network(
            latents.repeat(rows // len(latents), 1, 1, 1, 1),
            torch.tensor([[q.timestep for q in queries]]).expand(rows, -1),
            self.text,
            prompt_of_frame,
            positions=torch.tensor([q.position for q in queries], dtype=torch.float64),
            groups=torch.tensor([q.group for q in queries]),
            cache=view,
            injected=self._guidance(request),
        ).float()
        view.store()
        if self.guidance != 1.0:
            guided, plain = flow.chunk(2)
            flow = torch.lerp(plain, guided, self.guidance)
        return flow.permute(2, 0, 1, 3, 4)


class ManyArlon(ManyDenoiser):
    """ARLON on B videos in lockstep, each under its own prompts."""

    def __init__(self, model: EmbeddedArlon, prompts: ManyPrompts, guidance: float) -> None:
        super().__init__(model, prompts, guidance)
        self.codes = CodeGuidance(model.parts, model.latent_shape[1:], model.track, model.strength)

    def _guidance(self, request: Request) -> Injected:
        device = self.network.patch_embedding.weight.device
        return self.codes.of(request, lambda row: tuple((video[row],) for video in request.prompts), device)


class ManyArtV(ArtVDenoiser):
    """ART-V on B videos in lockstep, each under its own prompts; a frame's latent is (B, C, H, W)."""

    def __init__(self, model: ArtVModel, prompts: ManyPrompts, guidance: float) -> None:
        self._count = len(prompts.schedules)
        super().__init__(model.image_model, model.adapter, model.fingerprint, model.led_by(guidance))
        self.latent_shape = (self._count, *model.latent_shape)

    @property
    def branches(self) -> int:
        """To the executor, every video is a branch."""
        return self._count

    def _prompts(self, request: Request) -> tuple[tuple[PromptMix, ...], tuple[PromptMix, ...]]:
        return tuple(mixes[0] for mixes in request.prompts), (NO_PROMPT,) * self._count


def many_denoiser(model: Model, prompts: ManyPrompts, guidance: float) -> ManyDenoiser | ManyArtV:
    """What denoises many videos of a model."""
    if isinstance(model, ArtVModel):
        return ManyArtV(model, prompts, guidance)
    kind = ManyArlon if isinstance(model, EmbeddedArlon) else ManyDenoiser
    return kind(model, prompts, guidance)


def sample_latents(
    model: Model,
    prompts: Sequence[Prompt],
    frames: int,
    sampling: Sampling,
    on_progress: OnProgress = lambda share: None,
    given: Tensor | None = None,
) -> Tensor:
    """Latents (B, F, C, H, W) of one batch of videos; the first has the seed `sampling.seed`.

    given: latents (B, G, C, H, W) that the videos begin with.
    """
    many, plan = ManyPrompts.of(prompts), sampling.plan
    if given is not None:
        plan, given = replace(plan, given=given.shape[1]), given.transpose(0, 1)
    many.check(plan)
    with torch.inference_mode():
        noise = ManyNoise(tuple(SeededNoise(sampling.seed + i) for i in range(len(prompts))))
        denoiser = many_denoiser(model, many, sampling.guidance)
        denoiser.check_plan(plan)
        executor = Executor(denoiser, plan, many, noise, given=given)
        total = sum(1 for _ in executor.remaining(frames))
        finished = []
        for done in executor.run(frames):
            finished.append(done.finished)
            on_progress(executor.state.passes / total)
        return torch.cat(finished)[:frames].transpose(0, 1)


def sample_videos(
    model: Model,
    prompts: Sequence[Prompt],
    frames: int,
    sampling: Sampling,
    on_progress: OnProgress = lambda share: None,
) -> np.ndarray:
    """One video a prompt, (N, F, size, size, 3) uint8. `on_progress` hears the share of the work that is done."""
    videos = []
    for start in range(0, len(prompts), sampling.batch):
        some = prompts[start : start + sampling.batch]

        def on_batch(share: float, before: int = start, batch: Sequence[Prompt] = some) -> None:
            on_progress((before + share * len(batch)) / len(prompts))

        seeded = replace(sampling, seed=sampling.seed + start)
        latents = sample_latents(model, some, frames, seeded, on_batch)
        videos += [to_pixels(decode_latents(model.autoencoder.decode, video)) for video in latents]
    return np.stack(videos)


def to_pixels(frames: Tensor) -> np.ndarray:
    """Frames (..., 3) in 0..1 to uint8."""
    return frames.mul(255).round().to(torch.uint8).numpy()
