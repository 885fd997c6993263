"""The shipped workflows, described once; `build_workflows.py` writes both of their forms from this.

A template is columns of nodes from left to right, each column a group on the page. Nodes have names here, and an
input's value is either a widget's value or `From` another node's output.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class From:
    """A link: the output of the node with this name (its first, unless named)."""

    node: str
    output: str | None = None


@dataclass(frozen=True)
class Node:
    """Inputs that are not given have the node's own defaults. `height` 0: as much as it needs."""

    name: str
    type: str
    inputs: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    height: int = 0


@dataclass(frozen=True)
class Note:
    """Text in Markdown; only on the page."""

    text: str
    height: int


@dataclass(frozen=True)
class Column:
    title: str
    width: int
    nodes: tuple[Node | Note, ...]


@dataclass(frozen=True)
class Template:
    """`on_page` is false for workflows that only programs queue."""

    name: str
    columns: tuple[Column, ...]
    on_page: bool = True

    @property
    def nodes(self) -> list[Node]:
        return [node for column in self.columns for node in column.nodes if isinstance(node, Node)]


CAT = "an orange cat walks right in a green meadow"
TRAIN = "a steam train drives right in the snowy mountains"
ENLARGED = {"upscale_method": "lanczos", "width": 512, "height": 512, "crop": "disabled"}
SQUARE = {"upscale_method": "lanczos", "width": 256, "height": 256, "crop": "center"}
SMALL = {"upscale_method": "area", "width": 64, "height": 64, "crop": "center"}
MP4 = {"format": "mp4", "codec": "h264"}
GIVEN = 12  # frames of an earlier video that a new run begins with, in whole blocks

MODEL = Node("model", "AVGenLoadEmbedded")
AR_DIFFUSION = Node(
    "model",
    "AVGenLoadARDiffusion",
    {"generator": "ar_diffusion.safetensors", "autoencoder": "ar_diffusion_vae.safetensors", "precision": "float32"},
)
FILES = (
    "Put the generator's `model.safetensors` into `models/diffusion_models` and the autoencoder's into `models/vae`, "
    "and choose them. To try the graph without them, put **Load Embedded Model** in place of the loader."
)


def prompts(name: str, text: str, frames: int | From, title: str = "") -> Node:
    inputs = {"text": text, "frames": frames, "model": From("model")}
    return Node(name, "AVGenPromptSchedule", inputs, title, height=340)  # with what it understood


def sampler(name: str, prompts: str, title: str = "", **inputs: Any) -> Node:
    given = {"model": From("model"), "prompts": From(prompts), **inputs}
    return Node(name, "AVGenSampleCausal", given, title, height=480)  # with the preview


def save_run(run: str) -> Node:
    return Node("save_run", "AVGenSaveRun", {"run": From(run)})


def decode(run: str, **inputs: Any) -> Node:
    return Node("decode", "AVGenDecodeRun", {"run": From(run), "vae": From("model", "vae"), **inputs})


def upscale(images: From) -> tuple[Node, ...]:
    """Frames of the embedded model (64 pixels) to 512: the small upscaler makes 256 of them, scaling the rest."""
    upscaled = {"upscale_model": From("upscaler"), "image": images}
    doubled = {"image": From("upscale"), "upscale_method": "lanczos", "scale_by": 2.0}
    return (
        Node("upscaler", "AVGenLoadUpscaler"),
        Node("upscale", "ImageUpscaleWithModel", upscaled),
        Node("enlarge", "ImageScaleBy", doubled, "Enlarge"),
    )


def create(images: str = "enlarge") -> Node:
    return Node("video", "CreateVideo", {"images": From(images), "fps": From("decode", "fps")})


def saved(prefix: str) -> Column:
    video = Node("save", "SaveVideo", {"video": From("video"), "filename_prefix": prefix, **MP4}, height=540)
    return Column("Result", 420, (video,))


def to_video(run: str, prefix: str) -> tuple[Column, Column]:
    frames = (decode(run), *upscale(From("decode", "images")), create())
    return Column("Video", 300, frames), saved(prefix)


TEXT_TO_VIDEO = Template(
    "text_to_video",
    (
        Column(
            "What to show",
            400,
            (
                Note(
                    "## Text to video\nWrite what to show, and press **Run**. The embedded model knows 21 animals and "
                    "vehicles that walk, run, jump, spin or dance in 7 scenes; other words are read as the nearest "
                    "it knows, and the node says so.\n\nCancel at any time: finished frames are kept, and the next "
                    "**Run** goes on.",
                    150,
                ),
                MODEL,
                prompts("prompts", TRAIN, 64),
            ),
        ),
        Column("Run", 340, (sampler("sample", "prompts", frames=64, seed=0), save_run("sample"))),
        *to_video("sample", "avgen/text_to_video"),
    ),
)

PROMPT_TRAVEL = Template(
    "prompt_travel",
    (
        Column(
            "Prompts over time",
            440,
            (
                Note(
                    "## Prompt travel\nEach line is a prompt and the moment it applies from: `24:` (frames), `3s:`, "
                    "`50%:` or `chunk 2:`.\n\nThe asynchronous schedule keeps each frame a few steps behind the one "
                    "before it. Its picture shows the noise of every frame (across) in every pass (down).",
                    150,
                ),
                MODEL,
                Node("frames", "PrimitiveInt", {"value": 48}, "Frames"),
                prompts(
                    "prompts",
                    "0%: a white sheep walks right in a green meadow\n"
                    "33%: a white sheep jumps in a green meadow\n"
                    "66%: a white sheep walks right in a green meadow at night",
                    From("frames"),
                ),
            ),
        ),
        Column(
            "Schedule",
            340,
            (
                Node("schedule", "AVGenAsynchronousSchedule", {"frames": From("frames")}),
                Node(
                    "picture",
                    "PreviewImage",
                    {"images": From("schedule", "picture")},
                    "Noise levels",
                    height=290,
                ),
            ),
        ),
        Column(
            "Run",
            340,
            (
                sampler("sample", "prompts", frames=From("frames"), seed=0, schedule=From("schedule")),
                save_run("sample"),
            ),
        ),
        *to_video("sample", "avgen/prompt_travel"),
    ),
)

EXTEND_TWICE = Template(
    "extend_twice",
    (
        Column(
            "Shared",
            300,
            (
                Note(
                    "## Extend twice\nEach sampler goes on from the run before it, with a prompt of its own. With the "
                    "same seed and schedule the joins are exact: the frames are those of one longer run.\n\nTo extend "
                    "on another day, put **Load Run** before `continue_from`.",
                    190,
                ),
                MODEL,
                Node("seed", "PrimitiveInt", {"value": 0}, "Seed"),
            ),
        ),
        Column(
            "Begin",
            320,
            (
                prompts("first", CAT, 32),
                sampler("begin", "first", "Begin", frames=32, seed=From("seed")),
            ),
        ),
        Column(
            "Extend",
            320,
            (
                prompts("second", "an orange cat jumps in a green meadow", 32),
                sampler("extend", "second", "Extend", frames=32, seed=From("seed"), continue_from=From("begin")),
            ),
        ),
        Column(
            "Extend again",
            320,
            (
                prompts("third", "an orange cat runs left in a green meadow at sunset", 32),
                sampler(
                    "again",
                    "third",
                    "Extend again",
                    frames=32,
                    seed=From("seed"),
                    continue_from=From("extend"),
                ),
                save_run("again"),
            ),
        ),
        *to_video("again", "avgen/extend_twice"),
    ),
)

EXTEND = Template(
    "extend",
    (
        Column(
            "Extend exactly",
            400,
            (
                MODEL,
                Node("earlier", "AVGenLoadRun", {"run": "earlier.avgen"}),
                prompts("prompts", CAT, 64),
                sampler("sample", "prompts", frames=64, seed=0, continue_from=From("earlier")),
                save_run("sample"),
            ),
        ),
        *to_video("sample", "avgen/extend"),
    ),
    on_page=False,
)

EXTEND_VIDEO = Template(
    "extend_video",
    (
        Column(
            "Extend approximately",
            400,
            (
                MODEL,
                Node("earlier", "LoadVideo", {"file": "earlier.mp4"}),
                Node("frames", "GetVideoComponents", {"video": From("earlier")}),
                Node("reduce", "ImageScale", {"image": From("frames", "images"), **SMALL}, "Reduce"),
                Node(
                    "encode",
                    "AVGenEncodeFrames",
                    {"images": From("reduce"), "vae": From("model", "vae"), "last": GIVEN},
                ),
                prompts("prompts", CAT, 64),
                sampler("sample", "prompts", frames=64, seed=0, start_latents=From("encode")),
                save_run("sample"),
            ),
        ),
        Column(
            "Video",
            400,
            (
                decode("sample", start=GIVEN),
                *upscale(From("decode", "images")),
                Node("enlarge_earlier", "ImageScale", {"image": From("frames", "images"), **ENLARGED}, "Enlarge"),
                Node("join", "ImageBatch", {"image1": From("enlarge_earlier"), "image2": From("enlarge")}),
                create("join"),
            ),
        ),
        saved("avgen/extend_video"),
    ),
    on_page=False,
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

TEMPLATES = (
    TEXT_TO_VIDEO,
    PROMPT_TRAVEL,
    EXTEND_TWICE,
    EXTEND,
    EXTEND_VIDEO,
    AR_DIFFUSION_VIDEO,
    CLASS_TRAVEL,
    CONTINUE_CLIP,
)
