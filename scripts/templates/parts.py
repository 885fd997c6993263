"""What templates are made of.

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


TRAIN = "a steam train drives right in the snowy mountains"
MP4 = {"format": "mp4", "codec": "h264"}


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
