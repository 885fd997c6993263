"""Between runs and pixel frames."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..avgen_core.media.decode import decode_run, fitted
from ..avgen_core.rollout.run import Run
from . import host, types
from .runs import end_of_part


class AVGenDecodeRun(io.ComfyNode):
    """A run to images, piece by piece."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenDecodeRun",
            display_name="Decode Run (AVGen)",
            category="AVGen/video",
            description="Decodes frames of a run to images, a few at a time. The images are the same whatever part is "
            "asked for.",
            inputs=[
                types.Run.Input("run", tooltip="A finished run."),
                io.Vae.Input("vae", tooltip="The autoencoder of the model that made the run."),
                io.Int.Input("start", default=0, min=0, max=1_000_000, tooltip="First frame."),
                io.Int.Input(
                    "frames", default=0, min=0, max=1_000_000, tooltip="How many frames; 0 = all that follow."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="Decoded frames, for Create Video."),
                io.Float.Output(display_name="fps", tooltip="Frames a second of the run, for Create Video."),
            ],
        )

    @classmethod
    def execute(cls, run: Run, vae: host.HostVAE, start: int, frames: int) -> io.NodeOutput:
        stop = end_of_part(run, start, frames)
        _check_vae(vae)
        made = run.recipe.latent_shape[0]
        if vae.latent_channels != made:
            raise ValueError(
                f"run {run.recipe.id} has latents of {made} channels and this VAE of {vae.latent_channels}: connect "
                "the vae output of the node that loaded the run's model"
            )
        bar = host.progress_bar(stop - start)
        images: Tensor | None = None
        done = 0
        lead = vae.lead if isinstance(vae, host.HostVAE) else 0
        for chunk in decode_run(run, _decoder(vae), start, stop, lead=lead):
            if images is None:
                images = torch.empty(stop - start, *chunk.shape[1:])
            images[done : done + len(chunk)] = chunk
            done += len(chunk)
            bar.update_absolute(done)
        return io.NodeOutput(images, run.recipe.fps)


def _decoder(vae: host.HostVAE):
    """A VAE socket as the engine's image function: latents (N, C, h, w) to images (N, 3, H, W) in -1..1."""
    if isinstance(vae, host.HostVAE):
        return vae.decode_unit

    def decode(latents: Tensor) -> Tensor:
        frames = vae.decode(latents.transpose(0, 1)[None])
        return frames.reshape(-1, *frames.shape[-3:]).permute(0, 3, 1, 2).mul(2).sub(1)

    return decode


def _check_vae(vae: host.HostVAE) -> None:
    """Raises ValueError for ComfyUI's own VAEs of images: the latents of runs are in the scale of their model."""
    if not isinstance(vae, host.HostVAE) and vae.latent_dim != 3:
        raise ValueError(
            "this VAE is for single images: connect the vae output of the AVGen node that loaded the model, such as "
            "Load ART-V (AVGen)"
        )


class AVGenEncodeFrames(io.ComfyNode):
    """Images to start latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenEncodeFrames",
            display_name="Encode Frames (AVGen)",
            category="AVGen/video",
            description="Encodes the last frames of a video, to go on from them when there is no run of it. Frames of "
            "another size than the model's are scaled and cropped to their middle. This join is approximate; "
            "to extend exactly, load the run.",
            inputs=[
                io.Image.Input("images", tooltip="Frames of one video, in order."),
                io.Vae.Input("vae", tooltip="The autoencoder of the model that will go on."),
                io.Int.Input(
                    "last",
                    default=12,
                    min=1,
                    max=1_000_000,
                    tooltip="How many of the last frames are encoded. The run holds them all.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="For start_latents of the sampler.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, images: Tensor, vae: host.HostVAE, last: int) -> io.NodeOutput:
        _check_vae(vae)
        frames = images[-last:, ..., :3]
        height, width = frames.shape[1:3]
        wanted = height, width
        if isinstance(vae, host.HostVAE):
            vae, wanted = vae.of_videos, vae.frame_size
        if (height, width) != wanted:
            host.tell(cls, f"Frames scaled and cropped from {width}x{height} to {wanted[1]}x{wanted[0]}")
            frames = fitted(frames, *wanted)
        return io.NodeOutput({"samples": vae.encode(frames)})
