"""How the embedded model itself gets from noise to a video: what a few-step student is taught.

A teacher makes videos block by block, as users do, with guidance and all of its steps. Kept are the latents at the
noise levels that the student will visit, and the finished ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..diorama import caption, sample_attributes
from ..plan import BlockPlan
from ..rollout.denoiser import Request
from ..rollout.executor import Executor
from ..rollout.files import written_whole
from ..rollout.noise import SeededNoise
from ..systems.embedded import EmbeddedModel
from ..systems.many_videos import ManyDenoiser, ManyNoise, ManyPrompts

SHARD_CLIPS = 48


@dataclass(frozen=True)
class TrajectorySpec:
    """`clips` videos (rounded up to whole shards of 48) of `frames` frames in `folder`.

    The student takes `student_steps` of the plan's steps.
    """

    folder: Path
    clips: int
    plan: BlockPlan
    guidance: float
    frames: int = 16
    student_steps: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.plan.sigmas) % self.student_steps:
            raise ValueError(f"{self.student_steps} steps do not divide the teacher's {len(self.plan.sigmas)} evenly")
        if self.frames % self.plan.block:
            raise ValueError(f"{self.frames} frames do not fill whole blocks of {self.plan.block}")

    @property
    def kept(self) -> range:
        """Numbers of the teacher's steps before which latents are kept."""
        return range(0, len(self.plan.sigmas), len(self.plan.sigmas) // self.student_steps)

    def about(self, teacher: str) -> dict[str, Any]:
        """What a shard's header says."""
        return {
            "teacher": teacher,
            "guidance": self.guidance,
            "context_timestep": self.plan.context_timestep,
            "steps": len(self.plan.sigmas),
            "sigmas": list(self.sigmas),
            "frames": self.frames,
            "seed": self.seed,
        }

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The student's noise levels."""
        return tuple(self.plan.sigmas[step] for step in self.kept)


class Recorder:
    """A denoiser that keeps what it was shown at some steps: `seen[step][frame]` is (B, C, h, w)."""

    def __init__(self, denoiser: ManyDenoiser, steps: range) -> None:
        self._denoiser = denoiser
        self.seen: dict[int, dict[int, Tensor]] = {step: {} for step in steps}

    def __getattr__(self, name: str):
        return getattr(self._denoiser, name)

    def predict(self, request: Request) -> Tensor:
        for query, latent in zip(request.step.queries, request.latents, strict=True):
            if query.sigma > 0 and query.index in self.seen:
                self.seen[query.index][query.frame] = latent.clone()
        return self._denoiser.predict(request)


def record(model: EmbeddedModel, captions: list[str], spec: TrajectorySpec, seed: int) -> Tensor:
    """Trajectories (B, levels + 1, F, C, h, w) of one batch; the last level is the finished video."""
    prompts = ManyPrompts.of(captions)
    recorder = Recorder(ManyDenoiser(model, prompts, spec.guidance), spec.kept)
    noise = ManyNoise(tuple(SeededNoise(seed + i) for i in range(len(captions))))
    with torch.inference_mode():
        executor = Executor(recorder, spec.plan, prompts, noise)
        finished = torch.cat([done.finished for done in executor.run(spec.frames)])
    levels = [torch.stack([recorder.seen[step][f] for f in range(spec.frames)]) for step in spec.kept]
    return torch.stack([*levels, finished]).permute(2, 0, 1, 3, 4, 5)


def record_trajectories(
    model: EmbeddedModel, spec: TrajectorySpec, on_shard: Callable[[int], None] = lambda shard: None
) -> None:
    """Make the shards that are missing, of combinations that training may see.

    Raises:
        ValueError: the folder holds shards that were made in another way.
    """
    spec.folder.mkdir(parents=True, exist_ok=True)
    about = spec.about(model.fingerprint)
    for shard in range(-(-spec.clips // SHARD_CLIPS)):
        target = trajectory_file(spec.folder, shard)
        if target.exists():
            _check_same(target, about)
            continue
        rng = np.random.default_rng((spec.seed, shard))
        captions = [caption(sample_attributes(rng, held_out=False), rng) for _ in range(SHARD_CLIPS)]
        latents = record(model, captions, spec, seed=spec.seed + shard * SHARD_CLIPS)
        header = {"about": json.dumps({**about, "captions": captions})}
        with written_whole(target) as partial:
            save_file({"latents": latents.half().contiguous()}, partial, header)
        on_shard(shard)


def trajectory_file(folder: Path, shard: int) -> Path:
    return folder / f"trajectories-{shard:05d}.safetensors"


class Trajectories:
    """Recorded trajectories in memory: `latents` (N, levels + 1, F, C, h, w) float16 and a caption each."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError when nothing was recorded, ValueError when shards were made in different ways."""
        files = sorted(folder.glob("trajectories-*.safetensors"))
        if not files:
            raise FileNotFoundError(
                f"{folder} holds no trajectories: record them with `python -m avgen_core train trajectories`"
            )
        abouts = [_about(path) for path in files]
        first = {name: value for name, value in abouts[0].items() if name != "captions"}
        for path in files:
            _check_same(path, first)
        self.latents = torch.cat([load_file(path)["latents"] for path in files])
        self.captions = [text for about in abouts for text in about["captions"]]
        self.sigmas, self.teacher = tuple(abouts[0]["sigmas"]), abouts[0]["teacher"]


def _check_same(shard: Path, about: dict[str, Any]) -> None:
    theirs = _about(shard)
    for name, mine in about.items():
        if theirs[name] != mine:
            raise ValueError(
                f"{shard.name} in {shard.parent} was recorded with {name} {theirs[name]}, here it is {mine}: "
                "record into another folder with --data"
            )


def _about(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["about"])
