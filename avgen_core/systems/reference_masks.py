"""What ART-V drew from the frame before, for the frames of a finished run."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..plan import Action, Pass, PlanError, Query, Reference, ReferencePlan
from ..rollout.cache import FrameCache
from ..rollout.denoiser import ReferenceFrame, Request
from ..rollout.noise import SeededNoise
from ..rollout.run import Run
from .art_v import ArtVDenoiser, ArtVModel


@torch.no_grad()
def masks_of(model: ArtVModel, run: Run, frames: range, share: float) -> Iterator[Tensor]:
    """The mask (1, 1, h, w) of each of a run's `frames`, when `share` (0..1) of the schedule's timesteps are left.

    A frame is given the noise of that moment, and the references and the prompt that it had. Their noise is that of the
    run's last part: before a join with another seed it was another.

    Raises:
        PlanError: the run was not made frame by frame, or by another model.
    """
    plan = run.recipe.plan
    if not isinstance(plan, ReferencePlan):
        raise PlanError(f"run {run.recipe.id} was made with a {type(plan).__name__}: only ART-V's runs have masks")
    denoiser = model.denoiser(1.0)
    if (run.recipe.model, run.recipe.settings) != (denoiser.fingerprint, denoiser.settings):
        raise PlanError(
            f"run {run.recipe.id} was made by model {run.recipe.model} ({run.recipe.settings}), and this is "
            f"{denoiser.fingerprint} ({denoiser.settings}): connect the model that made the run, with the same settings"
        )
    timestep = round(share * (len(model.image_model.alphas_cumprod) - 1))
    for frame in frames:
        yield denoiser.mask(_request(denoiser, run, plan, frame, timestep))


def _request(denoiser: ArtVDenoiser, run: Run, plan: ReferencePlan, frame: int, timestep: int) -> Request:
    recipe = run.recipe
    noise, number = SeededNoise(recipe.seed, recipe.stream), frame - recipe.origin
    first = max(0, frame - plan.previous)
    latents = run.latents(first, frame + 1)
    shape = tuple(latents.shape[1:])
    named, shown = [], []
    if plan.anchor:
        named.append(Reference(0, 0.0, anchor=True))
        first_frame = run.latents(0, 1)[0]
        shown.append(ReferenceFrame(first_frame, first_frame))
    for earlier in range(first, frame):
        named.append(Reference(earlier, plan.reference_noise))
        fresh = noise.draw(number, "reference", frame - earlier, shape)
        clean = latents[earlier - first]
        shown.append(ReferenceFrame(clean, denoiser.process.mixed(clean, fresh, plan.reference_noise)))
    kept = denoiser.image_model.alphas_cumprod[timestep]
    noisy = denoiser.process.mixed(latents[-1], noise.draw(number, "initial", 0, shape), (1 - kept) ** 0.5)
    step = Pass((Query(frame, float(timestep), Action.STEP, 0, frame),), references=tuple(named))
    prompt = recipe.prompts.positive.at(denoiser.grid.first_pixel(frame))
    return Request(step, noisy[None], ((prompt,),), FrameCache(), tuple(shown))
