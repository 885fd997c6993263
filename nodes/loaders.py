"""Loading models."""

from __future__ import annotations

from pathlib import Path

import torch
from comfy_api.latest import io

from ..avgen_core.checkpoints.files import CheckpointError
from ..avgen_core.systems.art_v import MASK_STRENGTH
from . import host, host_art_v, types
from .host_image_model import HOW_TO_TRAIN

IN_GENERATOR = "in the generator's file"
EMBEDDED = "embedded (comes with AVGen)"
ADAPTERS = "controlnet"  # ComfyUI's folder for what is added to a diffusion model
SIZE = "0: that of the clips that the adapter was trained on."
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


class AVGenLoadArlon(io.ComfyNode):
    """The embedded model with ARLON's parts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenLoadArlon",
            display_name="Load ARLON (AVGen)",
            category="AVGen/loaders",
            description="Loads the embedded video model with ARLON's parts: a small transformer writes a plan of the "
            "video as tokens, and these guide the model. The plan can be seen, changed, or taken from another video.",
            inputs=[],
            outputs=[
                types.Model.Output(display_name="model", tooltip="For the causal sampler and the token nodes."),
                io.Clip.Output(display_name="clip", tooltip="Its text encoder, for ComfyUI's own text nodes."),
                io.Vae.Output(display_name="vae", tooltip="Its image autoencoder, to decode runs and encode frames."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        model = host.embedded_arlon_model()
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


class AVGenLoadEmbeddedImage(io.ComfyNode):
    """The image model that comes with the pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenLoadEmbeddedImage",
            display_name="Load Embedded Image Model (AVGen)",
            category="AVGen/loaders",
            description="Loads the small text-to-image model that comes with the pack, 64 x 64 pixels. Load ART-V "
            "makes videos with it; ComfyUI's own samplers make images.",
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The image model, for Load ART-V or ComfyUI's KSampler."),
                io.Clip.Output(display_name="clip", tooltip="Its text encoder."),
                io.Vae.Output(display_name="vae", tooltip="Its autoencoder."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        model = host.embedded_model()
        return io.NodeOutput(host_art_v.embedded_image_model(), host.EmbeddedCLIP(model), host.ImageVAE(model.vae))


class AVGenLoadArtV(io.ComfyNode):
    """An adapter on ComfyUI's own MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenLoadArtV",
            display_name="Load ART-V (AVGen)",
            category="AVGen/loaders",
            description="Makes a video model of an image model: the embedded one, or any Stable Diffusion 1.5 or 2.1 "
            "checkpoint with an ART-V adapter that was trained for its family. LoRAs on the MODEL stay.",
            inputs=[
                io.Model.Input("model", tooltip="A Stable Diffusion 1.5 or 2.1 model, or the embedded image model."),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                io.Vae.Input("vae", tooltip="Its autoencoder."),
                io.Combo.Input(
                    "adapter",
                    options=[EMBEDDED, *host.model_files(ADAPTERS)],
                    tooltip="The embedded one is for the embedded image model. Others lie in models/controlnet; train "
                    "one with `python -m avgen_core train art-v`.",
                ),
                io.Int.Input("width", default=0, min=0, max=4096, step=8, tooltip="Of the video, in pixels. " + SIZE),
                io.Int.Input("height", default=0, min=0, max=4096, step=8, tooltip="Of the video, in pixels. " + SIZE),
                io.Float.Input(
                    "fps", default=0.0, min=0.0, max=120.0, step=0.5, tooltip="Frames a second of the videos. " + SIZE
                ),
                io.Float.Input(
                    "reference_guidance",
                    default=1.0,
                    min=1.0,
                    max=10.0,
                    step=0.1,
                    tooltip="How strongly the frames before lead, apart from the text. 1 is off; more costs a third "
                    "branch, unless it equals the guidance of the sampler. Without words (an empty prompt) the "
                    "embedded model needs 3.",
                ),
                io.Float.Input(
                    "mask_strength",
                    default=MASK_STRENGTH,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="How much the mask draws from the frame before. Less: more motion and more flicker; 1: all "
                    "that was trained, the stillest.",
                ),
            ],
            outputs=[
                types.Model.Output(display_name="model", tooltip="A model for the causal sampler."),
                io.Vae.Output(display_name="vae", tooltip="The autoencoder, to decode runs and encode frames."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, adapter: str = EMBEDDED) -> bool | str:
        """In place of ComfyUI's own check of the list, which does not say how to come by an adapter."""
        try:
            return bool(_adapter_file(adapter))
        except CheckpointError as error:
            return str(error)

    @classmethod
    def execute(
        cls,
        model,
        clip,
        vae,
        adapter: str,
        width: int,
        height: int,
        fps: float,
        reference_guidance: float,
        mask_strength: float = MASK_STRENGTH,
    ) -> io.NodeOutput:
        frames = host_art_v.Frames(width, height, fps)
        made = host_art_v.art_v_model(
            model, clip, vae, _adapter_file(adapter), frames, reference_guidance, mask_strength
        )
        if made.belongs_to:
            host.tell(cls, f"Load {made.belongs_to}: its UNet learned with this adapter", warning=True)
        return io.NodeOutput(made, made.vae)


def _adapter_file(name: str) -> Path:
    if name == EMBEDDED:
        return host_art_v.EMBEDDED_ADAPTER
    try:
        return host.model_file(ADAPTERS, name)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; to train one: {HOW_TO_TRAIN}") from None
