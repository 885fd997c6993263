"""ART-V: text to video, animating an image, a story, continuing a clip."""

from __future__ import annotations

from typing import Any

from .parts import TRAIN, Column, From, Node, Note, Template, create, decode, prompts, sampler, save_run, saved

CHECKPOINT = Node("checkpoint", "CheckpointLoaderSimple", {"ckpt_name": "sd15.safetensors"})
ART_V = Node(
    "model",
    "AVGenLoadArtV",
    {
        "model": From("checkpoint", "MODEL"),
        "clip": From("checkpoint", "CLIP"),
        "vae": From("checkpoint", "VAE"),
        "adapter": "art_v_sd15.safetensors",
    },
)
FILES = (
    "Choose a Stable Diffusion 1.5 or 2.1 checkpoint of yours, and an adapter that was trained for its family: none "
    "was published, `docs/art_v.md` says how to train one."
)


def art_v_model(text: str, height: int, *prompted: Node) -> Column:
    return Column("Model and prompts", 420, (Note(text, height), CHECKPOINT, ART_V, *prompted))


def art_v_run(prompts: str, frames: int, guidance: float = 7.5, **inputs: Any) -> Column:
    given = {"frames": frames, "seed": 0, "guidance": guidance, "schedule": From("schedule"), **inputs}
    schedule = Node("schedule", "AVGenReferenceSchedule", {"frames": 8})
    return Column("Run", 340, (schedule, sampler("sample", prompts, **given), save_run("sample")))


def made(prefix: str) -> tuple[Column, Column]:
    """Decoding and the saved video, at the model's own size."""
    return Column("Video", 300, (decode("sample"), create("decode"))), saved(prefix)


ART_V_TEXT = Template(
    "art_v_text",
    (
        art_v_model(
            "## ART-V: text to video\nAn image model makes one frame after the other, each from the two frames before "
            f"it and the first one.\n\n{FILES}",
            190,
            prompts("prompts", TRAIN, 48),
        ),
        art_v_run("prompts", 48),
        *made("avgen/art_v_text"),
        Column(
            "Mask",
            340,
            (
                Node("mask", "AVGenReferenceMask", {"model": From("model"), "run": From("sample")}),
                Node("masks", "PreviewImage", {"images": From("mask")}, "Drawn from the frame before", height=290),
            ),
        ),
    ),
    on_page=False,
)

ART_V_IMAGE = Template(
    "art_v_image",
    (
        art_v_model(
            "## ART-V: animate an image\nThe image becomes the first frame and the anchor that the video stays true "
            "to. The prompt says what happens; its words must fit the image.\n\n" + FILES,
            190,
            prompts("prompts", TRAIN, 47),
        ),
        Column(
            "Image",
            320,
            (
                Node("still", "LoadImage", {"image": "still.png"}, height=360),
                Node("encode", "AVGenEncodeFrames", {"images": From("still"), "vae": From("model", "vae"), "last": 1}),
            ),
        ),
        art_v_run("prompts", 47, start_latents=From("encode")),
        *made("avgen/art_v_image"),
    ),
    on_page=False,
)

ART_V_STORY = Template(
    "art_v_story",
    (
        art_v_model(
            "## ART-V: a story\nFive prompts, one after the other. The anchor keeps the subject the same, while the "
            f"frames before give way to what the new prompt says.\n\n{FILES}",
            190,
            prompts(
                "prompts",
                "0%: a steam train drives right in a green meadow\n"
                "20%: a steam train stands still in a green meadow\n"
                "40%: a steam train drives right in a green meadow in the rain\n"
                "60%: a steam train drives fast right in a green meadow in the rain\n"
                "80%: a steam train drives right in a green meadow at night",
                80,
            ),
        ),
        art_v_run("prompts", 80),
        *made("avgen/art_v_story"),
    ),
    on_page=False,
)

ART_V_CONTINUE = Template(
    "art_v_continue",
    (
        art_v_model(
            "## ART-V: continue a clip\nNew frames follow the last ones of a video of yours. The first of the encoded "
            f"frames is the anchor.\n\n{FILES}",
            190,
            prompts("prompts", TRAIN, 40),
        ),
        Column(
            "Clip",
            320,
            (
                Node("earlier", "LoadVideo", {"file": "earlier.mp4"}),
                Node("clip", "GetVideoComponents", {"video": From("earlier")}),
                Node(
                    "encode",
                    "AVGenEncodeFrames",
                    {"images": From("clip", "images"), "vae": From("model", "vae"), "last": 8},
                ),
            ),
        ),
        art_v_run("prompts", 40, start_latents=From("encode")),
        *made("avgen/art_v_continue"),
    ),
    on_page=False,
)
