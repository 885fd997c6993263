"""Loading models."""

from __future__ import annotations

from comfy_api.latest import io

from . import host, types


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
        model = host.HostModel.load()
        return io.NodeOutput(model, host.EmbeddedCLIP(model), host.EmbeddedVAE(model))
