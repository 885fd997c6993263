"""ARLON: a long video from text, prompts that go on, the layout of another video."""

from __future__ import annotations

from .embedded import SMALL
from .parts import Column, From, Node, Note, Template, prompts, sampler, save_run, to_video

MODEL = Node("model", "AVGenLoadArlon")


def preview(tokens: From, *more: Node) -> Column:
    """What tokens hold."""
    shown = Node("preview", "AVGenTokenPreview", {"model": From("model"), "tokens": tokens})
    return Column(
        "Tokens",
        340,
        (
            *more,
            shown,
            Node("coarse", "PreviewImage", {"images": From("preview", "coarse")}, "What the tokens show", height=290),
            Node("map", "PreviewImage", {"images": From("preview", "map")}, "Which tokens they are", height=290),
        ),
    )


ARLON_TEXT = Template(
    "arlon_text",
    (
        Column(
            "What to show",
            400,
            (
                Note(
                    "## ARLON: text to long video\nA small transformer writes the plan of the video as tokens. They "
                    "guide the video model at a quarter of its steps.\n\n**Write Tokens** makes the plan "
                    "alone, in a moment: the sampler follows the same one with the same seed.",
                    170,
                ),
                MODEL,
                Node("seed", "PrimitiveInt", {"value": 0}, "Seed"),
                prompts("prompts", "a yellow bus drives right in a green meadow", 96),
            ),
        ),
        preview(
            From("write"),
            Node(
                "write",
                "AVGenWriteTokens",
                {"model": From("model"), "prompts": From("prompts"), "frames": 96, "seed": From("seed")},
            ),
        ),
        Column("Run", 340, (sampler("sample", "prompts", frames=96, seed=From("seed")), save_run("sample"))),
        *to_video("sample", "avgen/arlon_text"),
    ),
)

ARLON_STORY = Template(
    "arlon_story",
    (
        Column(
            "Prompts over time",
            440,
            (
                Note(
                    "## ARLON: progressive prompts\nThe tokens go on under each new prompt, from the group of frames "
                    "in which it begins.\n\nThe tokens that guided the run are shown beside it; **Save Tokens** keeps "
                    "them for another video.",
                    150,
                ),
                MODEL,
                prompts(
                    "prompts",
                    "0%: a steam train drives right in the snowy mountains\n"
                    "33%: a steam train stands still in the snowy mountains\n"
                    "66%: a steam train drives left in the snowy mountains at night",
                    72,
                ),
            ),
        ),
        Column("Run", 340, (sampler("sample", "prompts", frames=72, seed=0), save_run("sample"))),
        preview(
            From("written"),
            Node("written", "AVGenRunToTokens", {"model": From("model"), "run": From("sample")}),
            Node("save_tokens", "AVGenSaveTokens", {"tokens": From("written")}),
        ),
        *to_video("sample", "avgen/arlon_story"),
    ),
)

ARLON_MOTION = Template(
    "arlon_motion",
    (
        Column(
            "The other video",
            340,
            (
                Note(
                    "## ARLON: the layout of a clip\nThe clip becomes tokens, and these guide a video of another "
                    "prompt: where things are comes from the clip, and how they move as far as the prompt agrees."
                    "\n\nLess `strength_early` and `strength_late` leave more to the prompt.",
                    170,
                ),
                MODEL,
                Node("earlier", "LoadVideo", {"file": "earlier.mp4"}),
                Node("clip", "GetVideoComponents", {"video": From("earlier")}),
                Node("reduce", "ImageScale", {"image": From("clip", "images"), **SMALL}, "Reduce"),
                Node(
                    "latents",
                    "AVGenEncodeFrames",
                    {"images": From("reduce"), "vae": From("model", "vae"), "last": 24},
                ),
                Node("tokens", "AVGenEncodeTokens", {"model": From("model"), "latent": From("latents")}),
            ),
        ),
        preview(From("tokens")),
        Column(
            "Run",
            400,
            (
                Node(
                    "guided",
                    "AVGenTokenGuidance",
                    {"model": From("model"), "tokens": From("tokens"), "strength_early": 1.5, "strength_late": 1.5},
                ),
                prompts("prompts", "a red car drives right in the snowy mountains", 24),
                sampler("sample", "prompts", frames=24, seed=0, model=From("guided")),
                save_run("sample"),
            ),
        ),
        *to_video("sample", "avgen/arlon_motion"),
    ),
)
