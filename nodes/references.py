"""ART-V: how the next frame looks at those before it, and what it drew from them."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..avgen_core.plan import ReferencePlan, Solver, consistency_timesteps, trailing_timesteps
from ..avgen_core.rollout.run import Run
from ..avgen_core.systems.art_v import ArtVModel
from ..avgen_core.systems.reference_masks import masks_of
from . import host, types
from .host_image_model import UnfitModel
from .runs import end_of_part
from .schedules import chosen, options, priced, schedule_outputs

TIMESTEPS = {Solver.EULER: trailing_timesteps, Solver.RENOISE: consistency_timesteps}


class AVGenReferenceSchedule(io.ComfyNode):
    """Frame after frame, from references."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenReferenceSchedule",
            display_name="AR Reference Schedule (AVGen)",
            category="AVGen/schedules",
            description="Makes one frame after the other, each from the frames before it and the first one (ART-V). "
            "Give the sampler start_latents of an image to animate it: it becomes the anchor.",
            inputs=[
                io.Int.Input("steps", default=20, min=1, max=666, tooltip="Denoising steps of every frame."),
                io.Combo.Input(
                    "solver",
                    options=options(Solver),
                    default=Solver.EULER.value,
                    tooltip="euler is DDIM. renoise is for few-step models (LCM): it adds fresh noise after each step.",
                ),
                io.Int.Input(
                    "previous", default=2, min=1, max=8, tooltip="Frames before that are seen: as many as in training."
                ),
                io.Boolean.Input("anchor", default=True, tooltip="Whether the first frame is seen for ever."),
                io.Float.Input(
                    "reference_noise",
                    default=0.1,
                    min=0.0,
                    max=0.95,
                    step=0.01,
                    tooltip="Noise on the previous frames. More of it hides their errors, and details too.",
                ),
                io.Int.Input("frames", default=16, min=1, max=100_000, tooltip="Frames that picture and cost are for."),
            ],
            outputs=schedule_outputs(),
        )

    @classmethod
    def execute(
        cls, steps: int, solver: str, previous: int, anchor: bool, reference_noise: float, frames: int
    ) -> io.NodeOutput:
        kind = chosen(Solver, "solver", solver)
        sigmas = tuple(timestep / 1000 for timestep in TIMESTEPS[kind](steps))
        return priced(ReferencePlan(sigmas, previous, anchor, reference_noise, kind), frames)


class AVGenReferenceMask(io.ComfyNode):
    """What ART-V draws from the frame before."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenReferenceMask",
            display_name="Reference Mask (AVGen)",
            category="AVGen/video",
            description="Shows how much of each pixel of a run's frames ART-V draws from the frame before (bright, at "
            "most mask_strength) instead of from the image model's prediction (black).",
            inputs=[
                types.Model.Input("model", tooltip="The ART-V model that made the run."),
                types.Run.Input("run", tooltip="A finished run."),
                io.Float.Input(
                    "noise",
                    default=0.5,
                    min=0.01,
                    max=0.999,
                    step=0.01,
                    tooltip="The moment of the denoising that is shown: 1 is its beginning, 0 its end.",
                ),
                io.Int.Input("start", default=1, min=1, max=1_000_000, tooltip="First frame; frame 0 has none before."),
                io.Int.Input("frames", default=0, min=0, max=1_000_000, tooltip="How many; 0 = all that follow."),
            ],
            outputs=[io.Image.Output(display_name="masks", tooltip="One picture a frame, of the video's size.")],
        )

    @classmethod
    def execute(cls, model, run: Run, noise: float, start: int, frames: int) -> io.NodeOutput:
        if not isinstance(model.system, ArtVModel):
            raise UnfitModel("only ART-V models have a mask: connect Load ART-V (AVGen)")
        stop = end_of_part(run, start, frames)
        denoiser = model.denoiser(1.0)
        for text in run.recipe.prompts.positive.texts():
            denoiser.check_text(text)  # before the MODEL is loaded, which wants the memory
        model.load()
        bar = host.progress_bar(stop - start)
        masks: list[Tensor] = []
        for mask in masks_of(model.system, run, range(start, stop), noise):
            masks.append(mask)
            bar.update_absolute(len(masks))
        pictures = torch.nn.functional.interpolate(torch.cat(masks), model.system.frame_size, mode="nearest")
        return io.NodeOutput(pictures.permute(0, 2, 3, 1).expand(-1, -1, -1, 3))
