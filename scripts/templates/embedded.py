"""The embedded video model: text to video, prompts over time, extending."""

from __future__ import annotations

from .parts import (
    TRAIN,
    Column,
    From,
    Node,
    Note,
    Template,
    create,
    decode,
    prompts,
    sampler,
    save_run,
    saved,
    to_video,
    upscale,
)

ENLARGED = {"upscale_method": "lanczos", "width": 512, "height": 512, "crop": "disabled"}
SMALL = {"upscale_method": "area", "width": 64, "height": 64, "crop": "center"}
GIVEN = 12  # frames of an earlier video that a new run begins with, in whole blocks
MODEL = Node("model", "AVGenLoadEmbedded")
BUS = "a yellow bus drives right in a green meadow"

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
                prompts("first", BUS, 32),
                sampler("begin", "first", "Begin", frames=32, seed=From("seed")),
            ),
        ),
        Column(
            "Extend",
            320,
            (
                prompts("second", "a yellow bus jumps in a green meadow", 32),
                sampler("extend", "second", "Extend", frames=32, seed=From("seed"), continue_from=From("begin")),
            ),
        ),
        Column(
            "Extend again",
            320,
            (
                prompts("third", "a yellow bus drives fast left in a green meadow at sunset", 32),
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
                prompts("prompts", BUS, 64),
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
                prompts("prompts", BUS, 64),
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
