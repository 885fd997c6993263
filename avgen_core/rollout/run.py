"""A run on disk: its recipe, its finished latent frames in chunks, and the state from which it goes on.

    NAME/
        run.json                      recipe, length, where it came from
        chunks/00000000-00000016.safetensors
        state.safetensors             the executor's state after the last saved pass

Frames are numbered in the whole video. A run that only joins an earlier one approximately has its own frame 0 at
`origin` (its stream begins with the last frames of the earlier run, given).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..plan import Plan
from ..plan.recipes import plan_from_json, plan_to_json
from ..prompts import PromptSchedule
from .executor import Prompts
from .files import RunError, linked, written_whole
from .state import State

FORMAT = 1
CHUNK_FRAMES = 16


@dataclass(frozen=True)
class Recipe:
    """All that decides a run's frames: the same recipe on the same machine gives the same frames.

    model, settings: fingerprint and settings of the denoiser; origin: video frame at which the run's own stream begins;
    stream: names the noise of a run that joins another approximately; given: digest of given latents.
    """

    model: str
    plan: Plan
    prompts: Prompts
    guidance: float
    seed: int
    frames: int
    fps: float
    latent_shape: tuple[int, int, int]
    origin: int = 0
    stream: str = ""
    given: str = ""
    parent: str = ""
    settings: str = ""

    def to_json(self) -> dict[str, Any]:
        negative = self.prompts.negative
        return {
            **{name: getattr(self, name) for name in ("model", "guidance", "seed", "frames", "fps", "origin")},
            **{name: getattr(self, name) for name in ("stream", "given", "parent", "settings")},
            "latent_shape": list(self.latent_shape),
            "plan": plan_to_json(self.plan),
            "prompts": self.prompts.positive.to_json(),
            "negative": negative.to_json() if negative else None,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recipe:
        fields = dict(data)
        negative = fields.pop("negative")
        prompts = Prompts(
            PromptSchedule.from_json(fields.pop("prompts")), PromptSchedule.from_json(negative) if negative else None
        )
        plan, shape = plan_from_json(fields.pop("plan")), tuple(fields.pop("latent_shape"))
        return cls(plan=plan, prompts=prompts, latent_shape=shape, **fields)

    @property
    def id(self) -> str:
        """Short name of the recipe: runs of equal recipes are the same run."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Join:
    """How a run follows what came before frame `at`: `exact` means the same bits as one longer run; else the reason.

    prompts_at: the frame with which the new prompts begin, if frames before it were in work under the old ones.
    """

    at: int
    exact: bool
    reason: str = ""
    prompts_at: int = 0

    def __str__(self) -> str:
        how = "exact" if self.exact else f"approximate, since {self.reason}"
        text = f"join at frame {self.at}: {how}"
        if self.prompts_at > self.at:
            text += (
                f"; frames {self.at} to {self.prompts_at - 1} had begun and keep their prompts, the new ones begin "
                f"with frame {self.prompts_at}"
            )
        return text


@dataclass(frozen=True)
class Run:
    """A finished, or interrupted, run in `folder`. Reading it never changes it."""

    folder: Path
    recipe: Recipe
    joins: tuple[Join, ...] = ()

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Open a run's folder. Raises RunError when it is not one, or a damaged one."""
        folder = Path(folder)
        try:
            data = json.loads((folder / "run.json").read_text())
            if data["format"] != FORMAT:
                raise RunError(f"{folder.name} has run format {data['format']}; this version reads format {FORMAT}")
            run = cls(folder, Recipe.from_json(data["recipe"]), tuple(Join(**join) for join in data["joins"]))
        except RunError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{folder.name} is not a run, or is damaged: its run.json cannot be read ({error})"
            ) from error
        run.chunks()
        return run

    def chunks(self) -> list[tuple[int, int, Path]]:
        """(first frame, end, file) of each chunk, in order. Raises RunError when one is missing between others."""
        if not self.folder.is_dir():
            raise RunError(
                f"the folder of run {self.folder.name} is gone: load a saved copy, or generate the run again "
                "(a host that still remembers the run must forget it first)"
            )
        found = []
        for path in sorted((self.folder / "chunks").glob("*.safetensors")):
            first, end = (int(part) for part in path.stem.split("-"))
            found.append((first, end, path))
        for (_, end, _), (first, _, path) in zip(found, found[1:], strict=False):
            if first != end:
                raise RunError(f"run {self.folder.name} lacks the frames {end} to {first} before {path.name}")
        return found

    @property
    def frames(self) -> int:
        """Finished latent frames on disk."""
        chunks = self.chunks()
        return chunks[-1][1] if chunks else 0

    @property
    def complete(self) -> bool:
        return self.frames >= self.recipe.frames

    def latents(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Finished frames start..stop as (F, C, H, W) float32; reads only the chunks it needs."""
        stop = self.frames if stop is None else stop
        if not 0 <= start < stop <= self.frames:
            raise RunError(f"run {self.folder.name} has frames 0..{self.frames - 1}; asked for {start}..{stop - 1}")
        parts = []
        for first, end, path in self.chunks():
            if first < stop and end > start:
                parts.append(_read_chunk(path)[max(0, start - first) : stop - first])
        return torch.cat(parts)

    def state(self) -> State:
        return State.load(self.folder / "state.safetensors")


def _read_chunk(path: Path) -> Tensor:
    try:
        return load_file(path)["latents"]
    except (SafetensorError, KeyError, OSError) as error:
        raise RunError(
            f"chunk {path.name} of run {path.parent.parent.name} cannot be read ({error}): it is truncated or not a "
            "safetensors file; restore it, or generate the run again"
        ) from error


class RunWriter:
    """Adds frames to a run as they are finished. Everything it writes is whole or absent."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._waiting: list[Tensor] = []
        self._written = run.frames

    @classmethod
    def begin(cls, folder: Path, recipe: Recipe, parent: Run | None = None, joins: tuple[Join, ...] = ()) -> RunWriter:
        """A new run in `folder` that starts with the chunks of `parent`, if there is one."""
        shutil.rmtree(folder / "chunks", ignore_errors=True)
        (folder / "state.safetensors").unlink(missing_ok=True)
        (folder / "chunks").mkdir(parents=True)
        if parent is not None:
            for _, _, path in parent.chunks():
                linked(path, folder / "chunks" / path.name)
        with written_whole(folder / "run.json") as partial:
            data = {"format": FORMAT, "recipe": recipe.to_json(), "joins": [join.__dict__ for join in joins]}
            partial.write_text(json.dumps(data, indent=1))
        return cls(Run(folder, recipe, joins))

    def rewind(self, frames: int) -> None:
        """Forget chunks beyond `frames`: a crash left them without a state from which to go on."""
        for first, end, path in self.run.chunks():
            if end > frames:
                kept = _read_chunk(path)[: max(0, frames - first)]
                if len(kept):
                    self._write(first, kept)
                path.unlink()
        self._written = frames

    def add(self, frames: Tensor) -> None:
        """Frames (F, C, H, W) that follow the ones before."""
        if len(frames):
            self._waiting.append(frames.float().cpu())
        if sum(len(part) for part in self._waiting) >= CHUNK_FRAMES:
            self.flush()

    def flush(self) -> None:
        """Write the frames that wait for a full chunk."""
        if self._waiting:
            latents = torch.cat(self._waiting)
            self._write(self._written, latents)
            self._written += len(latents)
            self._waiting = []

    def save(self, state: State) -> None:
        """Make everything up to `state` durable."""
        self.flush()
        state.save(self.run.folder / "state.safetensors")

    def _write(self, first: int, latents: Tensor) -> None:
        name = f"{first:08d}-{first + len(latents):08d}.safetensors"
        with written_whole(self.run.folder / "chunks" / name) as partial:
            save_file({"latents": latents.contiguous()}, partial)
