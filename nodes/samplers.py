"""Sampling."""

from __future__ import annotations

import contextlib
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..avgen_core.plan import Plan, Savings
from ..avgen_core.prompts import PromptSchedule
from ..avgen_core.rollout.denoiser import Denoiser
from ..avgen_core.rollout.executor import Prompts
from ..avgen_core.rollout.files import RunError
from ..avgen_core.rollout.generate import Job, Order, Progress, generate, prepare
from ..avgen_core.rollout.run import Run
from ..avgen_core.systems.embedded import GUIDANCE
from . import host, types


class AVGenSampleCausal(io.ComfyNode):
    """A causal model, prompts and a schedule to a run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenSampleCausal",
            display_name="Sample Causal Video (AVGen)",
            category="AVGen/sampling",
            description="Generates a run of video frames, or goes on with an earlier run. Finished frames are kept on "
            "disk: cancel it, and queueing the same graph again resumes where it stopped.",
            inputs=[
                types.Model.Input(
                    "model", tooltip="A causal video model, with ARLON's parts or without, AR-Diffusion, or ART-V."
                ),
                types.Prompts.Input(
                    "prompts",
                    tooltip="A prompt or class for every frame. With continue_from, frame 0 is the first frame that "
                    "had not begun; the report names it.",
                ),
                io.Int.Input(
                    "frames",
                    default=64,
                    min=1,
                    max=100_000,
                    tooltip="New frames; rounded up to whole blocks or segments, as the report says.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The same seed gives the same video. Keep it to extend a run exactly.",
                ),
                io.Float.Input(
                    "guidance",
                    default=GUIDANCE,
                    min=1.0,
                    max=20.0,
                    step=0.1,
                    tooltip="How strongly the prompt leads (classifier-free guidance). 1 turns it off: half the time. "
                    "The embedded model was tuned with 3, AR-Diffusion's example uses 2, Stable Diffusion about 7.5.",
                ),
                types.Plan.Input(
                    "schedule",
                    optional=True,
                    tooltip="Block or asynchronous; for ART-V, reference; with ARLON's parts, segment too. "
                    "Without one: what the model was tuned with.",
                ),
                types.Prompts.Input(
                    "negative",
                    optional=True,
                    tooltip="What to lead away from, over time. Without it: the empty prompt, or no class.",
                ),
                types.Run.Input(
                    "continue_from",
                    optional=True,
                    tooltip="An earlier run of the same model to extend; it stays as it is.",
                ),
                io.Latent.Input(
                    "start_latents",
                    optional=True,
                    tooltip="Encoded frames to begin with (image to video, video to video): the last that fit into the "
                    "window, or into a segment's overlap. ART-V takes all, and the first is its anchor.",
                ),
            ],
            outputs=[
                types.Run.Output(
                    display_name="run", tooltip="All frames from the beginning, and what is needed to go on."
                ),
                io.String.Output(display_name="report", tooltip="What was made, and how it joins what came before."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: host.HostModel,
        prompts: PromptSchedule,
        frames: int,
        seed: int,
        guidance: float,
        schedule: Plan | None = None,
        negative: PromptSchedule | None = None,
        continue_from: Run | None = None,
        start_latents: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        system, denoiser = model.system, model.denoiser(guidance)
        asked = system.understand(prompts)
        avoided = system.understand(negative, negative=True) if negative else None
        order = Order(
            plan=schedule or system.default_plan,
            prompts=Prompts(asked.schedule, avoided.schedule if avoided else None),
            frames=frames,
            seed=seed,
            fps=system.fps,
            guidance=guidance,
            given=None if start_latents is None else frames_of(start_latents, "start_latents"),
            parent=continue_from,
        )
        job = prepare(denoiser, order)
        model.load()
        run = cls._work(model, denoiser, job)
        text = report(run)
        if job.new_frames != frames:
            text += f"\nasked for {frames} new frames, made {job.new_frames}: {job.rounded_to}"
        remarks = (*asked.remarks, *(avoided.remarks if avoided else ()))
        text += "".join(f"\nWarning: {remark}" for remark in remarks)
        host.tell(cls, text, warning=bool(remarks))
        return io.NodeOutput(run, text)

    @classmethod
    def _work(cls, model: host.HostModel, denoiser: Denoiser, job: Job) -> Run:
        folder = host.runs_folder() / job.recipe.id
        bar, previews = None, host.Previews(model.vae)

        def on_pass(progress: Progress) -> None:
            nonlocal bar
            if bar is None:
                bar = host.progress_bar(progress.total_passes)
                host.tell(cls, f"{progress.total_passes} passes, {denoiser.branches} guidance branches")
            bar.update_absolute(progress.passes, preview=previews.of(progress.done))

        try:
            return generate(denoiser, job, folder, on_pass)
        except BaseException:
            with contextlib.suppress(RunError):
                host.tell(
                    cls,
                    f"Stopped: {Run.load(folder).frames} of {job.recipe.frames} frames are kept in "
                    f"{folder.parent.name}/{folder.name}; queue the same graph again to resume",
                )
            raise


def frames_of(latent: dict[str, Any], name: str) -> Tensor:
    """The frames (F, C, H, W) of one video in the LATENT that is the input `name`. Raises ValueError for others."""
    samples = latent["samples"]
    if samples.ndim != 5 or samples.shape[0] != 1:
        raise ValueError(
            f"{name} must be one video (1, C, F, H, W), got {tuple(samples.shape)}: use Encode Frames (AVGen)"
        )
    return samples[0].transpose(0, 1)


def report(run: Run) -> str:
    """A few lines on a run for the user."""
    seconds = run.frames / run.recipe.fps
    lines = [f"run {run.recipe.id}: {run.frames} frames, {seconds:.1f} s at {run.recipe.fps:g} frames a second"]
    lines += map(str, run.joins)
    if getattr(run.recipe.plan, "savings", Savings.NONE) is not Savings.NONE:
        lines.append(f"approximate: the schedule's savings ({run.recipe.plan.savings.value}) change the video a little")
    return "\n".join(lines)
