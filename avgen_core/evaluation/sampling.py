"""Many videos at once: the executor works on frames that each hold one latent of every video.

The embedded network is so small that one video leaves the processor waiting; a batch of thirty is several times faster.
Every video has the noise it would have alone, so its pictures differ from its own run's only by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..media.decode import decode_latents
from ..plan import Action, BlockPlan
from ..prompts import PromptSchedule
from ..prompts.schedule import Segment
from ..rollout.cache import CacheView
from ..rollout.denoiser import FrameGrid, Request
from ..rollout.executor import Executor, Prompts
from ..rollout.noise import SeededNoise
from ..rollout.process import FlowMatching
from ..systems.embedded import EmbeddedModel

OnProgress = Callable[[float], None]
UNUSED_PROMPTS = Prompts(PromptSchedule((Segment(0, "one caption a video"),)))


@dataclass(frozen=True)
class Sampling:
    """How captions become videos; video i has the seed `seed + i`."""

    plan: BlockPlan
    guidance: float
    seed: int = 0
    batch: int = 30


@dataclass(frozen=True)
class ManyNoise:
    """The noise of B videos, stacked: a draw is (B, C, H, W)."""

    sources: tuple[SeededNoise, ...]

    def draw(self, frame: int, purpose: str, index: int, shape: tuple[int, ...]) -> Tensor:
        return torch.stack([source.draw(frame, purpose, index, shape[1:]) for source in self.sources])


class ManyDenoiser:
    """Denoises B videos in lockstep, each under one caption; a frame's latent is (B, C, H, W)."""

    grid = FrameGrid()
    process = FlowMatching()
    branches = 1  # for the executor, whose prompts are not used: guidance is a matter of the batch here

    def __init__(self, model: EmbeddedModel, captions: list[str], guidance: float) -> None:
        self.network, self.guidance = model.dit, guidance
        self.fingerprint = model.fingerprint
        self.latent_shape = (len(captions), *model.latent_shape)
        prompts = captions if guidance == 1.0 else [*captions, ""]
        self.text = self.network.text_keys(torch.stack([model.encode_text(prompt) for prompt in prompts]))
        count = len(captions)
        self.prompt_of_row = torch.arange(count)
        if guidance != 1.0:
            self.prompt_of_row = torch.cat([self.prompt_of_row, torch.full((count,), count)])

    def predict(self, request: Request) -> Tensor:
        """Guided velocity (F, B, C, H, W)."""
        queries, rows = request.step.queries, len(self.prompt_of_row)
        stored = [(i, q.frame) for i, q in enumerate(queries) if q.action in (Action.COMMIT, Action.RECACHE)]
        view = CacheView(request.cache, request.step.context, stored)
        latents = request.latents.permute(1, 2, 0, 3, 4)
        flow = self.network(
            latents.repeat(rows // len(latents), 1, 1, 1, 1),
            torch.tensor([[q.timestep for q in queries]]).expand(rows, -1),
            self.text,
            self.prompt_of_row[:, None].expand(-1, len(queries)),
            positions=torch.tensor([q.position for q in queries], dtype=torch.float64),
            groups=torch.tensor([q.group for q in queries]),
            cache=view,
        ).float()
        view.store()
        if self.guidance != 1.0:
            guided, plain = flow.chunk(2)
            flow = torch.lerp(plain, guided, self.guidance)
        return flow.permute(2, 0, 1, 3, 4)


def sample_latents(
    model: EmbeddedModel,
    captions: list[str],
    frames: int,
    sampling: Sampling,
    on_progress: OnProgress = lambda share: None,
) -> Tensor:
    """Latents (B, F, C, H, W) of one batch of videos; the first has the seed `sampling.seed`."""
    with torch.inference_mode():
        noise = ManyNoise(tuple(SeededNoise(sampling.seed + i) for i in range(len(captions))))
        denoiser = ManyDenoiser(model, captions, sampling.guidance)
        executor = Executor(denoiser, sampling.plan, UNUSED_PROMPTS, noise)
        total = sum(1 for _ in executor.remaining(frames))
        finished = []
        for done in executor.run(frames):
            finished.append(done.finished)
            on_progress(executor.state.passes / total)
        return torch.cat(finished)[:frames].transpose(0, 1)


def sample_videos(
    model: EmbeddedModel,
    captions: list[str],
    frames: int,
    sampling: Sampling,
    on_progress: OnProgress = lambda share: None,
) -> np.ndarray:
    """One video a caption, (N, F, size, size, 3) uint8. `on_progress` hears the share of the work that is done."""
    videos = []
    for start in range(0, len(captions), sampling.batch):
        some = captions[start : start + sampling.batch]

        def on_batch(share: float, before: int = start, batch: list[str] = some) -> None:
            on_progress((before + share * len(batch)) / len(captions))

        seeded = replace(sampling, seed=sampling.seed + start)
        latents = sample_latents(model, some, frames, seeded, on_batch)
        videos += [to_pixels(decode_latents(model.autoencoder.decode, video)) for video in latents]
    return np.stack(videos)


def to_pixels(frames: Tensor) -> np.ndarray:
    """Frames (..., 3) in 0..1 to uint8."""
    return frames.mul(255).round().to(torch.uint8).numpy()
