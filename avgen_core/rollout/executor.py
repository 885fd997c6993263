"""The one loop: carries out the passes of a plan and hands on the frames they finish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..plan import Pass, Plan, Reference, passes_from
from ..prompts import PromptSchedule, Segment
from .denoiser import Denoiser, PromptMix, ReferenceFrame, Request
from .noise import NoiseSource
from .state import State

EMPTY_PROMPT = PromptSchedule((Segment(0, ""),))


@dataclass(frozen=True)
class Prompts:
    """The prompt schedule of each guidance branch: the positive one, and with guidance the negative one.

    Without a negative schedule that branch has the empty prompt.
    """

    positive: PromptSchedule
    negative: PromptSchedule | None = None

    def at(self, pixel_frame: int, branches: int) -> tuple[PromptMix, ...]:
        """The prompt mix of each branch at a pixel frame."""
        return tuple(s.at(pixel_frame) for s in (self.positive, self.negative or EMPTY_PROMPT)[:branches])


@dataclass(frozen=True)
class Done:
    """A pass that was carried out: `finished` frames (F, C, H, W) from number `first` on (F may be 0).

    leading: the frame (C, H, W) of the pass that is furthest on, for previews.
    """

    step: Pass
    first: int
    finished: Tensor
    leading: Tensor


class Executor:
    """Carries out passes from `state` on. Between two results of `run` the state is consistent and can be saved."""

    def __init__(
        self,
        denoiser: Denoiser,
        plan: Plan,
        prompts: Prompts,
        noise: NoiseSource,
        state: State | None = None,
        given: Tensor | None = None,
        origin: int = 0,
    ) -> None:
        """`given`: latents (F, C, H, W) of the frames that the plan takes as given; `origin`: the video's latent frame
        that is frame 0 here."""
        self.denoiser, self.plan, self.prompts, self.noise = denoiser, plan, prompts, noise
        self.state = state or State()
        self.given, self.origin = given, origin

    def run(self, frames: int) -> Iterator[Done]:
        """Work until `frames` frames of the video are finished."""
        for step in passes_from(self.plan, self.state.passes, self._changed):
            if self.state.emitted >= frames:
                return
            yield self._carry_out(step)

    def remaining(self, frames: int) -> Iterator[Pass]:
        """The passes that `run` would carry out from here."""
        emitted = self.state.emitted
        for step in passes_from(self.plan, self.state.passes, self._changed):
            if emitted >= frames:
                return
            yield step
            emitted += len(step.emits)

    def _mix(self, frame: int) -> tuple[PromptMix, ...]:
        return self.prompts.at(self.denoiser.grid.first_pixel(frame + self.origin), self.denoiser.branches)

    def _changed(self, earlier: int, later: int) -> bool:
        return self._mix(earlier) != self._mix(later)

    @torch.no_grad()
    def _carry_out(self, step: Pass) -> Done:
        state = self.state
        before = [self._latent(query.frame) for query in step.queries]
        mixes = [self._mix(query.prompt_at) for query in step.queries]
        prompts = tuple(zip(*mixes, strict=True))
        references = tuple(self._reference(step.queries[0].frame, reference) for reference in step.references)
        request = Request(
            step,
            torch.stack(before),
            prompts,
            state.cache,
            references,
            self.given,
            self.noise,
            state.memory,
            self.origin,
        )
        predictions = self.denoiser.predict(request)
        moved = self.denoiser.process.moved
        for query, latent, prediction in zip(step.queries, before, predictions, strict=True):
            state.latents[query.frame] = moved(query, latent, prediction, self.noise)
        finished = [state.latents[frame] for frame in step.emits]
        shape = self.denoiser.latent_shape
        leading = finished[-1] if finished else state.latents[step.queries[0].frame]
        done = Done(step, state.emitted, torch.stack(finished) if finished else torch.empty(0, *shape), leading)
        for frame in step.evicts:
            state.latents.pop(frame, None)
            state.cache.evict(frame)
        state.passes += 1
        state.emitted += len(step.emits)
        return done

    def _reference(self, frame: int, reference: Reference) -> ReferenceFrame:
        """A finished frame as a reference of `frame`, with the same noise in all of its passes."""
        clean = self.state.latents[reference.frame]
        fresh = self.noise.draw(frame, "reference", frame - reference.frame, tuple(clean.shape))
        return ReferenceFrame(clean, self.denoiser.process.mixed(clean, fresh, reference.noise))

    def _latent(self, frame: int) -> Tensor:
        """The frame as it is now; one that appears for the first time is given, or pure noise."""
        if frame in self.state.latents:
            return self.state.latents[frame]
        if self.given is not None and frame < len(self.given):
            return self.given[frame]
        return self.noise.draw(frame, "initial", 0, self.denoiser.latent_shape)
