"""Generate, resume and extend runs: the executor joined to a run on disk."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..plan import AsynchronousPlan, BlockPlan, Plan
from ..prompts import PromptSchedule
from .denoiser import Denoiser
from .executor import Done, Executor, Prompts
from .files import RunError
from .noise import SeededNoise
from .run import Join, Recipe, Run, RunWriter
from .state import State

SAVE_SECONDS = 20.0


@dataclass(frozen=True)
class Order:
    """What is asked for: `frames` new latent frames (after `parent`, or after `given` latents (F, C, H, W))."""

    plan: BlockPlan | AsynchronousPlan
    prompts: Prompts
    frames: int
    seed: int
    fps: float
    guidance: float
    given: Tensor | None = None
    parent: Run | None = None

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, got {self.frames}")
        if self.given is not None and self.parent is not None:
            raise ValueError("a run starts from given frames or from an earlier run, not from both")


@dataclass(frozen=True)
class Progress:
    """State of the work after a pass: passes done of all, finished frames of all, and what the pass finished."""

    passes: int
    total_passes: int
    frames: int
    total_frames: int
    done: Done


@dataclass(frozen=True)
class Job:
    """An order worked out: the recipe, where its stream begins, and how it joins what came before."""

    recipe: Recipe
    joins: tuple[Join, ...]
    parent: Run | None
    given: Tensor | None
    state: State | None

    @property
    def stream_frames(self) -> int:
        """Frames of the executor's own stream at the end."""
        return self.recipe.frames - self.recipe.origin

    @property
    def inherited(self) -> int:
        """Video frames that come from the earlier run."""
        return self.parent.frames if self.parent else 0

    def already_there(self, first: int, count: int) -> int:
        """How many of `count` finished stream frames from `first` on the earlier run holds already."""
        return min(count, max(0, self.inherited - self.recipe.origin - first))


def prepare(denoiser: Denoiser, order: Order) -> Job:
    """Work an order out. Raises RunError when the earlier run belongs to another model or size."""
    if order.parent is not None:
        return _extension(denoiser, order, order.parent)
    plan, given = order.plan, order.given
    if given is not None:
        whole = _tail(plan, len(given))
        given = given[len(given) - whole :]
        plan = replace(plan, given=whole)
    count = plan.snapped(order.frames + plan.given)
    if isinstance(plan, AsynchronousPlan) and plan.frames is not None:
        plan = replace(plan, frames=count)
    recipe = _recipe(denoiser, order, plan, order.prompts, count)
    if given is not None:
        recipe = replace(recipe, given=hashlib.sha256(given.float().numpy().tobytes()).hexdigest()[:16])
    return Job(recipe, (), None, given, None)


def _recipe(denoiser: Denoiser, order: Order, plan: Plan, prompts: Prompts, frames: int) -> Recipe:
    return Recipe(
        model=denoiser.fingerprint,
        plan=plan,
        prompts=prompts,
        guidance=order.guidance,
        seed=order.seed,
        frames=frames,
        fps=order.fps,
        latent_shape=tuple(denoiser.latent_shape),
    )


def _extension(denoiser: Denoiser, order: Order, parent: Run) -> Job:
    earlier = parent.recipe
    if earlier.model != denoiser.fingerprint:
        raise RunError(
            f"run {parent.folder.name} was made by model {earlier.model}, and this is {denoiser.fingerprint}: "
            "load the model that made the run, or start a new run from its decoded frames"
        )
    if tuple(earlier.latent_shape) != tuple(denoiser.latent_shape):
        raise RunError(
            f"run {parent.folder.name} has latent frames of {tuple(earlier.latent_shape)}, "
            f"the model is set to {tuple(denoiser.latent_shape)}"
        )
    reason = _difference(order, parent)
    return _exact(denoiser, order, parent) if not reason else _approximate(denoiser, order, parent, reason)


def _difference(order: Order, parent: Run) -> str:
    """Why `order` cannot go on exactly from `parent`; empty when it can."""
    earlier = parent.recipe
    if not parent.complete:
        return "the earlier run was interrupted"
    if isinstance(earlier.plan, AsynchronousPlan) and earlier.plan.frames is not None:
        return "the earlier asynchronous run was closed, not kept open"
    if replace(earlier.plan, given=0) != order.plan:
        return "the schedule differs from that of the earlier run"
    if (earlier.guidance == 1.0) != (order.guidance == 1.0):
        return "guidance was switched on or off"
    return ""


def _exact(denoiser: Denoiser, order: Order, parent: Run) -> Job:
    earlier, state = parent.recipe, parent.state()
    begun = max(parent.frames, earlier.origin + state.begun)
    prompts = Prompts(
        earlier.prompts.positive.extended(order.prompts.positive, denoiser.grid.first_pixel(begun)),
        _extended(earlier.prompts.negative, order.prompts.negative, denoiser.grid.first_pixel(begun)),
    )
    recipe = replace(
        earlier,
        prompts=prompts,
        seed=order.seed,
        guidance=order.guidance,
        frames=earlier.origin + earlier.plan.snapped(parent.frames - earlier.origin + order.frames),
        parent=earlier.id,
    )
    return Job(recipe, (*parent.joins, Join(parent.frames, exact=True)), parent, None, state)


def _extended(earlier: PromptSchedule | None, later: PromptSchedule | None, at: int) -> PromptSchedule | None:
    if earlier is None or later is None:
        return later or earlier
    return earlier.extended(later, at)


def _approximate(denoiser: Denoiser, order: Order, parent: Run, reason: str) -> Job:
    """A new stream that begins with the last frames of `parent`, committed anew."""
    whole = _tail(order.plan, parent.frames)
    origin = parent.frames - whole
    plan = replace(order.plan, given=whole)
    frames = plan.snapped(whole + order.frames)
    if isinstance(plan, AsynchronousPlan) and plan.frames is not None:
        plan = replace(plan, frames=frames)
    at = denoiser.grid.first_pixel(parent.frames)
    positive = parent.recipe.prompts.positive.extended(order.prompts.positive, at)
    recipe = replace(
        _recipe(denoiser, order, plan, replace(order.prompts, positive=positive), origin + frames),
        origin=origin,
        stream=parent.recipe.id,
        parent=parent.recipe.id,
    )
    joins = (*parent.joins, Join(parent.frames, exact=False, reason=reason))
    return Job(recipe, joins, parent, parent.latents(origin, parent.frames), None)


def _tail(plan: BlockPlan | AsynchronousPlan, available: int) -> int:
    """How many of the last frames a plan can take as given: whole blocks that fit into its window."""
    room = available if plan.window.size is None else min(available, plan.window.size)
    if isinstance(plan, BlockPlan) and plan.first_alone:
        return 1 + (room - 1) // plan.block * plan.block
    whole = room // plan.block * plan.block
    if whole == 0:
        raise RunError(f"{available} frames are fewer than one block of {plan.block}: give more frames")
    return whole


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
    writer, state = _begin_or_resume(folder, job)
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


def _begin_or_resume(folder: Path, job: Job) -> tuple[RunWriter, State]:
    if (folder / "state.safetensors").exists():
        run = Run.load(folder)
        if run.recipe != job.recipe:
            raise RunError(f"{folder.name} holds another run: choose another folder")
        state = run.state()
        writer = RunWriter(run)
        writer.rewind(max(job.recipe.origin + state.emitted, job.inherited))
        return writer, state
    state = job.state or State()
    writer = RunWriter.begin(folder, job.recipe, job.parent, job.joins)
    writer.rewind(job.inherited)
    return writer, state

