"""Generate, resume and extend runs: the executor joined to a run on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .denoiser import Denoiser
from .executor import Done, Executor
from .files import RunError
from .noise import SeededNoise
from .orders import Job, Order, prepare
from .run import Run, RunWriter
from .state import State

__all__ = ["Job", "Order", "Progress", "generate", "prepare"]

SAVE_SECONDS = 20.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """State of the work after a pass: passes done of all, finished frames of all, and what the pass finished."""

    passes: int
    total_passes: int
    frames: int
    total_frames: int
    done: Done


def generate(
    denoiser: Denoiser,
    job: Job,
    folder: Path,
    on_pass: Callable[[Progress], None] = lambda progress: None,
) -> Run:
    """Work a job into `folder`, or finish what an interrupted call left there.

    When `on_pass` raises (that is how a caller cancels), everything finished is saved before the exception goes on.
    """
    folder = Path(folder)
    recipe = job.recipe
    writer, state = _resumed(folder, job) or _begun(folder, job)
    if state.emitted >= job.stream_frames:
        return writer.run
    noise = SeededNoise(recipe.seed, recipe.stream)
    executor = Executor(denoiser, recipe.plan, recipe.prompts, noise, state, job.given, recipe.origin)
    total = state.passes + sum(1 for _ in executor.remaining(job.stream_frames))
    saved = time.monotonic()
    try:
        for done in executor.run(job.stream_frames):
            writer.add(done.finished[job.already_there(done.first, len(done.finished)) :])
            if time.monotonic() - saved > SAVE_SECONDS:
                writer.save(state)
                saved = time.monotonic()
            on_pass(Progress(state.passes, total, recipe.origin + state.emitted, recipe.frames, done))
    finally:
        writer.save(state)
    return writer.run


def _resumed(folder: Path, job: Job) -> tuple[RunWriter, State] | None:
    """What an earlier call left in `folder`, or None when there is nothing to go on from."""
    if not (folder / "state.safetensors").exists():
        return None
    try:
        run = Run.load(folder)
        state = run.state()
    except RunError as error:
        log.warning("%s: the run is made again", error)
        return None
    if run.recipe != job.recipe:
        raise RunError(f"{folder.name} holds another run: choose another folder")
    needed = max(job.recipe.origin + state.emitted, job.inherited)
    if run.frames < needed:
        log.warning("run %s lacks frames that its state has left behind: it is made again", folder.name)
        return None
    writer = RunWriter(run)
    writer.rewind(needed)
    return writer, state


def _begun(folder: Path, job: Job) -> tuple[RunWriter, State]:
    writer = RunWriter.begin(folder, job.recipe, job.parent, job.joins)
    if job.before is not None:
        writer.add(job.before)
        writer.flush()
    return writer, job.state or State()
