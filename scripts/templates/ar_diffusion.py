"""AR-Diffusion's checkpoints: the AD schedule, classes over time, continuing a clip."""

from __future__ import annotations

from typing import Any

from .parts import Column, From, Node, Note, Template, create, decode, sampler, save_run, saved

SQUARE = {"upscale_method": "lanczos", "width": 256, "height": 256, "crop": "center"}
AR_DIFFUSION = Node(
    "model",
    "AVGenLoadARDiffusion",
    {"generator": "ar_diffusion.safetensors", "autoencoder": "ar_diffusion_vae.safetensors", "precision": "float32"},
)
FILES = (
    "Put the generator's `model.safetensors` into `models/diffusion_models` and the autoencoder's into `models/vae`, "
    "and choose them. To try the graph without them, put **Load Embedded Model** in place of the loader."
)


def classes(text: str, frames: From, **inputs: Any) -> Node:
    given = {"model": From("model"), "text": text, "frames": frames, **inputs}
    return Node("classes", "AVGenClassSchedule", given, height=360)  # with what it understood


def ar_schedule(steps: int, difference: int) -> Column:
    """The AD schedule of the model and its picture."""
    given = {"steps": steps, "difference": difference, "keep_open": False}
    given |= {"frames": From("frames"), "model": From("model")}
    schedule = Node("schedule", "AVGenAsynchronousSchedule", given)
    picture = Node("picture", "PreviewImage", {"images": From("schedule", "picture")}, "Noise levels", height=290)
    return Column("AD schedule", 340, (schedule, picture))


def ar_run(**inputs: Any) -> Column:
    given = {"frames": From("frames"), "seed": 0, "schedule": From("schedule"), **inputs}
    return Column("Run", 340, (sampler("sample", "classes", **given), save_run("sample")))


def ar_sampled(prefix: str, **inputs: Any) -> tuple[Column, Column, Column]:
    """Sampler, decoding and the saved video, at the model's own size."""
    return ar_run(**inputs), Column("Video", 300, (decode("sample"), create("decode"))), saved(prefix)


AR_DIFFUSION_VIDEO = Template(
    "ar_diffusion",
    (
        Column(
            "Model",
            400,
            (
                Note(
                    "## AR-Diffusion\nEvery frame is some steps behind the one before it. `difference` 0 denoises all "
                    "frames together, as many as `steps` one after the other. For a model of one data set, class 0 is "
                    f"the data set; for one of classes it is no class.\n\n{FILES}",
                    210,
                ),
                AR_DIFFUSION,
                Node("frames", "PrimitiveInt", {"value": 16}, "Frames"),
                classes("0", From("frames")),
            ),
        ),
        ar_schedule(50, 5),
        *ar_sampled("avgen/ar_diffusion", guidance=2.0),
    ),
)

CLASS_TRAVEL = Template(
    "class_travel",
    (
        Column(
            "Model",
            400,
            (
                Note(
                    "## Class travel\nEach line is a class (number or name) and the moment it applies from. Names of "
                    "your own go into `names`, one a line.\n\nBeyond 16 frames the window moves with the frames in "
                    f"work.\n\n{FILES}",
                    210,
                ),
                AR_DIFFUSION,
                Node("frames", "PrimitiveInt", {"value": 48}, "Frames"),
                classes("0%: 1\n33%: 2\n66%: 3", From("frames"), blend=4),
            ),
        ),
        ar_schedule(50, 5),
        *ar_sampled("avgen/class_travel", guidance=2.0),
    ),
)

CONTINUE_CLIP = Template(
    "continue_clip",
    (
        Column(
            "Model",
            400,
            (
                Note(
                    "## Continue a clip\nNew frames follow the last ones of a video of yours: choose it in **Load "
                    "Video**. One given frame is image to video, more are video to video. The video is cropped to its "
                    f"middle square.\n\n{FILES}",
                    230,
                ),
                AR_DIFFUSION,
                Node("frames", "PrimitiveInt", {"value": 16}, "New frames"),
                classes("0", From("frames")),
            ),
        ),
        Column(
            "Clip",
            320,
            (
                Node("earlier", "LoadVideo", {"file": "earlier.mp4"}),
                Node("clip", "GetVideoComponents", {"video": From("earlier")}),
                Node("crop", "ImageScale", {"image": From("clip", "images"), **SQUARE}, "Crop"),
                Node(
                    "encode",
                    "AVGenEncodeFrames",
                    {"images": From("crop"), "vae": From("model", "vae"), "last": 8},
                ),
            ),
        ),
        ar_schedule(50, 5),
        ar_run(guidance=2.0, start_latents=From("encode")),
        Column(
            "Video",
            300,
            (
                decode("sample", start=8),
                Node("join", "ImageBatch", {"image1": From("crop"), "image2": From("decode", "images")}, "Join"),
                Node("video", "CreateVideo", {"images": From("join"), "fps": From("clip", "fps")}),
            ),
        ),
        saved("avgen/continue_clip"),
    ),
)
