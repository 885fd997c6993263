"""The embedded upscaler behind ComfyUI's own node."""

from __future__ import annotations

import numpy as np
from PIL import Image

from comfy_server import ComfyServer
from tests.host.graphs import graph, shipped

SIDE, SCALE = 64, 4
STARS = slice(5, 40, 9), slice(4, None, 9)


def night_sky() -> Image.Image:
    """Dark blue with stars of one pixel over a green meadow: what the network alone changes most."""
    picture = np.empty((SIDE, SIDE, 3), np.uint8)
    picture[:40], picture[40:] = (16, 18, 52), (90, 170, 40)
    picture[STARS] = (200, 200, 210)
    return Image.fromarray(picture)


def pixels(server: ComfyServer, images: list[dict[str, str]]) -> np.ndarray:
    return np.asarray(Image.open(server.base / "temp" / images[0]["filename"]).convert("RGB"), float)


def test_reduced_again_it_is_the_given_picture(server: ComfyServer) -> None:
    given = night_sky()
    given.save(server.base / "input" / "night_sky.png")
    workflow = graph(
        picture=("LoadImage", {"image": "night_sky.png"}),
        upscaler=("AVGenLoadUpscaler", {}),
        upscaled=("ImageUpscaleWithModel", {"upscale_model": ["upscaler", 0], "image": ["picture", 0]}),
        shown=("PreviewImage", {"images": ["upscaled", 0]}),
    )
    run = server.run(workflow)
    assert run.ok, run.explanation
    upscaled = pixels(server, run.outputs["shown"]["images"])
    assert upscaled.shape == (SCALE * SIDE, SCALE * SIDE, 3)
    reduced = upscaled.reshape(SIDE, SCALE, SIDE, SCALE, 3).mean((1, 3))
    wanted = np.asarray(given, float)
    assert np.abs((reduced - wanted)[42:].mean((0, 1))).max() < 1, "the network alone: 8"
    assert reduced[STARS].mean() > 0.6 * wanted[STARS].mean(), "the network alone: 0.42"


def test_templates_of_the_embedded_model_end_with_it() -> None:
    for name in ("text_to_video", "prompt_travel", "extend_twice", "extend", "extend_video"):
        kinds = [node["class_type"] for node in shipped(name, frames=4).values()]
        end = ["AVGenDecodeRun", "AVGenLoadUpscaler", "ImageUpscaleWithModel", "ImageScaleBy"]
        assert [kind for kind in kinds if kind in end] == end, name
