"""What is asked for, worked out: the recipe of the run, and how it joins what came before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from torch import Tensor

from ..plan import AsynchronousPlan, BlockPlan, PlanError, ReferencePlan, SegmentPlan, WindowedAsynchronousPlan
from ..prompts import PromptSchedule, Segment
from .denoiser import Denoiser
from .executor import EMPTY_PROMPT, Prompts
from .files import RunError
from .run import Join, Recipe, Run
from .state import State

RunPlan = BlockPlan | AsynchronousPlan | WindowedAsynchronousPlan | ReferencePlan | SegmentPlan


@dataclass(frozen=True)
class Order:
    """`frames` new latent frames, after `parent`, or after `given` latents (F, C, H, W), or from nothing.

    Frame 0 of the prompts is the first new frame.
    """

    plan: RunPlan
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
class Job:
    """An order worked out.

    given: latents of the stream's first frames, which are committed; before: latents of the video's frames before the
    stream, which the run keeps but does not use; state: where an exact extension goes on.
    """

    recipe: Recipe
    joins: tuple[Join, ...] = ()
    parent: Run | None = None
    given: Tensor | None = None
    before: Tensor | None = None
    state: State | None = None

    @property
    def stream_frames(self) -> int:
        """Frames of the executor's own stream at the end."""
        return self.recipe.frames - self.recipe.origin

    @property
    def inherited(self) -> int:
        """Video frames that exist before the work begins."""
        if self.parent is not None:
            return self.parent.frames
        return 0 if self.before is None else len(self.before)

    @property
    def new_frames(self) -> int:
        """Frames that the work adds to the video: what was asked for, rounded up to whole blocks or segments."""
        given = 0 if self.given is None or self.parent is not None else len(self.given)
        return self.recipe.frames - self.inherited - given

    @property
    def rounded_to(self) -> str:
        """What fills the video, in words."""
        plan = self.recipe.plan
        if isinstance(plan, SegmentPlan):
            return f"whole segments of {plan.segment}, each but the first adds {plan.block}"
        return f"whole blocks of {plan.block}"

    def already_there(self, first: int, count: int) -> int:
        """How many of `count` finished stream frames from `first` on are inherited."""
        return min(count, max(0, self.inherited - self.recipe.origin - first))


OTHERWISE = "connect the model to the node that makes the asynchronous schedule"
WHAT_FITS: dict[type, str] = {
    SegmentPlan: "use Load ARLON (AVGen) for it",
    ReferencePlan: "load an image model with ART-V for it",
}


def _what_fits(plan: RunPlan, denoiser: Denoiser) -> str:
    if denoiser.plans == (ReferencePlan,):
        return "use AR Reference Schedule (AVGen)"
    return WHAT_FITS.get(type(plan), OTHERWISE)


def is_closed(plan: RunPlan) -> bool:
    """Whether a plan ends with a certain frame, so that nothing is left in work to go on from."""
    return isinstance(plan, AsynchronousPlan | WindowedAsynchronousPlan) and plan.frames is not None


def prepare(denoiser: Denoiser, order: Order) -> Job:
    """Work an order out.

    Raises PlanError when the schedule does not fit the model, ValueError for a prompt that it cannot follow, and
    RunError when the earlier run, or the given frames, do not fit it.
    """
    if not isinstance(order.plan, denoiser.plans):
        raise PlanError(
            f"this model cannot follow a schedule of the kind {type(order.plan).__name__}, only "
            f"{', '.join(plan.__name__ for plan in denoiser.plans)}: "
            f"{_what_fits(order.plan, denoiser)}, or leave the schedule out"
        )
    denoiser.check_plan(order.plan)
    for schedule in filter(None, (order.prompts.positive, order.prompts.negative)):
        for text in schedule.texts():
            denoiser.check_text(text)
    if order.parent is not None:
        return _extension(denoiser, order, order.parent)
    if order.given is not None:
        return _from_given(denoiser, order, order.given.detach().float().cpu())
    return Job(_recipe(denoiser, order, order.prompts, 0, 0))


def _recipe(denoiser: Denoiser, order: Order, prompts: Prompts, origin: int, given: int) -> Recipe:
    """A recipe whose stream begins at video frame `origin` with `given` frames."""
    plan = replace(order.plan, given=given)
    frames = plan.snapped(given + order.frames)
    if is_closed(plan):
        plan = replace(plan, frames=frames)
    return Recipe(
        model=denoiser.fingerprint,
        settings=denoiser.settings,
        plan=plan,
        prompts=prompts,
        guidance=order.guidance,
        seed=order.seed,
        frames=origin + frames,
        fps=order.fps,
        latent_shape=tuple(denoiser.latent_shape),
        origin=origin,
    )


def _from_given(denoiser: Denoiser, order: Order, given: Tensor) -> Job:
    if tuple(given.shape[1:]) != tuple(denoiser.latent_shape):
        raise RunError(
            f"the given latent frames are {tuple(given.shape[1:])}, the model works on {tuple(denoiser.latent_shape)}: "
            "encode frames of the model's size with the model's own autoencoder"
        )
    whole = _tail(order.plan, len(given))
    origin = len(given) - whole
    at = denoiser.grid.first_pixel(len(given))
    prompts = Prompts(
        _held_before(order.prompts.positive, at),
        order.prompts.negative and _held_before(order.prompts.negative, at),
    )
    digest = hashlib.sha256(given.numpy().tobytes()).hexdigest()[:16]
    recipe = replace(_recipe(denoiser, order, prompts, origin, whole), given=digest)
    join = Join(len(given), exact=False, reason="it begins with encoded frames")
    return Job(recipe, (join,), given=given[origin:], before=given[:origin])


def _held_before(schedule: PromptSchedule, at: int) -> PromptSchedule:
    """`schedule` from frame `at` on, its first prompt before."""
    return PromptSchedule((Segment(0, schedule.segments[0].text),)).extended(schedule, at)


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
    obstacle = _obstacle(denoiser, order, parent)
    return _committed_anew(denoiser, order, parent, obstacle) if obstacle else _from_state(denoiser, order, parent)


def _obstacle(denoiser: Denoiser, order: Order, parent: Run) -> str:
    """Why `order` cannot go on from the state of `parent`; empty when it can."""
    earlier = parent.recipe
    if earlier.settings != denoiser.settings:
        return (
            f"the model is set otherwise ({denoiser.settings or 'nothing'} instead of {earlier.settings or 'nothing'})"
        )
    if not parent.complete:
        return "the earlier run was interrupted"
    if is_closed(earlier.plan):
        return "the earlier asynchronous run was closed, not kept open"
    if replace(earlier.plan, given=0) != order.plan:
        return "the schedule differs from that of the earlier run"
    if (earlier.guidance == 1.0) != (order.guidance == 1.0):
        return "guidance was switched on or off"
    return ""


def _from_state(denoiser: Denoiser, order: Order, parent: Run) -> Job:
    """The earlier run's own stream, longer. The same bits as one longer run, if seed and guidance are the same too."""
    earlier, state = parent.recipe, parent.state()
    begun = max(parent.frames, earlier.origin + state.begun)
    recipe = replace(
        earlier,
        prompts=_extended(earlier.prompts, order.prompts, denoiser.grid.first_pixel(begun)),
        seed=order.seed,
        guidance=order.guidance,
        frames=earlier.origin + earlier.plan.snapped(parent.frames - earlier.origin + order.frames),
        parent=earlier.id,
    )
    changed = [name for name in ("seed", "guidance") if getattr(earlier, name) != getattr(order, name)]
    reason = f"it goes on from the exact state, but with another {' and '.join(changed)}" if changed else ""
    join = Join(parent.frames, exact=not changed, reason=reason, prompts_at=begun)
    return Job(recipe, (*parent.joins, join), parent, state=state)


def _extended(earlier: Prompts, later: Prompts, at: int) -> Prompts:
    """The earlier prompts until frame `at`, then the later ones, for both branches."""
    positive = earlier.positive.extended(later.positive, at)
    if earlier.negative is None and later.negative is None:
        return Prompts(positive)
    return Prompts(positive, (earlier.negative or EMPTY_PROMPT).extended(later.negative or EMPTY_PROMPT, at))


def _committed_anew(denoiser: Denoiser, order: Order, parent: Run, reason: str) -> Job:
    """A new stream that begins with the last frames of `parent`."""
    whole = _tail(order.plan, parent.frames)
    origin = parent.frames - whole
    prompts = _extended(parent.recipe.prompts, order.prompts, denoiser.grid.first_pixel(parent.frames))
    recipe = replace(_recipe(denoiser, order, prompts, origin, whole), stream=parent.recipe.id, parent=parent.recipe.id)
    join = Join(parent.frames, exact=False, reason=reason)
    return Job(recipe, (*parent.joins, join), parent, given=parent.latents(origin, parent.frames))


def _tail(plan: RunPlan, available: int) -> int:
    """How many of the last frames a plan can take as given."""
    whole = plan.tail(available)
    if whole == 0:
        raise RunError(
            f"{available} frames are fewer than one block of {plan.block}: give more frames, or take smaller blocks"
        )
    return whole
