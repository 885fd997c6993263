"""Loading models."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from . import host, types

IN_GENERATOR = "in the generator's file"
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class AVGenLoadEmbedded(io.ComfyNode):
    """The models that come with the pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenLoadEmbedded",
            display_name="Load Embedded Model (AVGen)",
            category="AVGen/loaders",
            description="Loads the small text-to-video model that comes with the pack: 64 x 64 pixels at 8 frames a "
            "second, animals and vehicles in scrolling scenes. It needs no download and runs on a CPU.",
            inputs=[],
            outputs=[
                types.Model.Output(display_name="model", tooltip="The causal video model, for the causal sampler."),
                io.Clip.Output(display_name="clip", tooltip="Its text encoder, for ComfyUI's own text nodes."),
                io.Vae.Output(display_name="vae", tooltip="Its image autoencoder, to decode runs and encode frames."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        model = host.embedded_model()
        return io.NodeOutput(model, host.EmbeddedCLIP(model), model.vae)


class AVGenLoadARDiffusion(io.ComfyNode):
    """A released AR-Diffusion checkpoint, or one of our trainer's."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenLoadARDiffusion",
            display_name="Load AR-Diffusion (AVGen)",
            category="AVGen/loaders",
            description="Loads an AR-Diffusion generator and its autoencoder: the released checkpoints, or your own "
            "from `python -m avgen_core train`. The variant is found out from the files.",
            inputs=[
                io.Combo.Input(
                    "generator",
                    options=host.model_files("diffusion_models"),
                    tooltip="A generator (model.safetensors of a checkpoint) in models/diffusion_models.",
                ),
                io.Combo.Input(
                    "autoencoder",
                    options=[IN_GENERATOR, *host.model_files("vae")],
                    tooltip="Its autoencoder in models/vae, unless the generator's file holds it.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default="float32",
                    tooltip="What the generator computes in. float32 is what was checked against the official code; "
                    "the halves need half its memory.",
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=120.0,
                    step=0.5,
                    tooltip="Frames a second of the videos: that of the footage it was trained on. 0: what the file "
                    "says, or 25; official files do not say.",
                ),
            ],
            outputs=[
                types.Model.Output(display_name="model", tooltip="The model, for the sampler and the schedules."),
                io.Vae.Output(display_name="vae", tooltip="Its autoencoder, to decode runs and encode frames."),
            ],
        )

    @classmethod
    def execute(cls, generator: str, autoencoder: str, precision: str, fps: float) -> io.NodeOutput:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; allowed: {', '.join(PRECISIONS)}")
        apart = None if autoencoder == IN_GENERATOR else host.model_file("vae", autoencoder)
        generator_file = host.model_file("diffusion_models", generator)
        model = host.ar_diffusion_model(generator_file, apart, PRECISIONS[precision], fps)
        return io.NodeOutput(model, model.vae)
