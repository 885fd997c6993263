"""ART-V: text to video, animating an image, a story, continuing a clip."""

from __future__ import annotations

from typing import Any

from .parts import TRAIN, Column, From, Node, Note, Template, prompts, sampler, save_run, to_video

IMAGE_MODEL = Node("image_model", "AVGenLoadEmbeddedImage")
ART_V = Node(
    "model",
    "AVGenLoadArtV",
    {
        "model": From("image_model", "model"),
        "clip": From("image_model", "clip"),
        "vae": From("image_model", "vae"),
        "adapter": "embedded (comes with AVGen)",
    },
)
CHECKPOINT = (
    "For a Stable Diffusion 1.5 or 2.1 model of yours, put **Load Checkpoint** in place of the embedded image model, "
    "choose an adapter that was trained for it, set guidance to about 7.5, and link **Decode Run** straight to "
    "**Create Video**: its frames are large already."
)


def art_v_model(text: str, height: int, *prompted: Node) -> Column:
    return Column("Model and prompts", 420, (Note(text, height), IMAGE_MODEL, ART_V, *prompted))


def art_v_run(prompts: str, frames: int, guidance: float = 3.0, **inputs: Any) -> Column:
    given = {"frames": frames, "seed": 0, "guidance": guidance, "schedule": From("schedule"), **inputs}
    schedule = Node("schedule", "AVGenReferenceSchedule", {"frames": 8})
    return Column("Run", 340, (schedule, sampler("sample", prompts, **given), save_run("sample")))


ART_V_TEXT = Template(
    "art_v_text",
    (
        art_v_model(
            "## ART-V: text to video\nAn image model makes one frame after the other, each from the two frames before "
            f"it and the first one.\n\n{CHECKPOINT}",
            230,
            prompts("prompts", TRAIN, 48),
        ),
        art_v_run("prompts", 48),
        *to_video("sample", "avgen/art_v_text"),
        Column(
            "Mask",
            340,
            (
                Node("mask", "AVGenReferenceMask", {"model": From("model"), "run": From("sample")}),
                Node("masks", "PreviewImage", {"images": From("mask")}, "Drawn from the frame before", height=290),
            ),
        ),
    ),
)

ART_V_IMAGE = Template(
    "art_v_image",
    (
        art_v_model(
            "## ART-V: animate an image\nThe image becomes the first frame and the anchor that the video stays true "
            "to. The prompt says what happens; its words must fit the image.\n\n" + CHECKPOINT,
            230,
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
        *to_video("sample", "avgen/art_v_image"),
    ),
)

ART_V_STORY = Template(
    "art_v_story",
    (
        art_v_model(
            "## ART-V: a story\nFive prompts, one after the other. The anchor keeps the subject the same, while the "
            f"frames before give way to what the new prompt says.\n\n{CHECKPOINT}",
            230,
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
        *to_video("sample", "avgen/art_v_story"),
    ),
)

ART_V_CONTINUE = Template(
    "art_v_continue",
    (
        art_v_model(
            "## ART-V: continue a clip\nNew frames follow the last ones of a video of yours. The first of the encoded "
            f"frames is the anchor.\n\n{CHECKPOINT}",
            230,
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
        *to_video("sample", "avgen/art_v_continue"),
    ),
)
