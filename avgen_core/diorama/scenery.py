"""The diorama's scenery: skies, and scrolling panoramas of a far layer, a middle layer and a ground.

All pictures are float32 RGB or premultiplied RGBA in 0..255, drawn at `SIZE` pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

SIZE = 128
HORIZON = 82
PERIOD = 512  # width of a panorama in pixels, after which it repeats
VARIATIONS = 4

SKY = {
    "day": ((96, 170, 255), (206, 236, 255)),
    "sunset": ((92, 64, 140), (255, 170, 96)),
    "night": ((10, 14, 48), (44, 58, 118)),
}
MOON_SKY = ((6, 6, 18), (18, 18, 40))
TINT = {"day": (1.0, 1.0, 1.0), "sunset": (1.02, 0.84, 0.72), "night": (0.60, 0.64, 0.88)}
MOON_TINT = (0.9, 0.92, 1.0)


@dataclass(frozen=True)
class Scenery:
    """Colours (RGB) and props of one scene; props are names in `art.npz`."""

    ground: tuple[tuple[int, int, int], tuple[int, int, int]]
    hill: tuple[int, int, int]
    far: tuple[str, ...]
    middle: tuple[str, ...]


SCENERY = {
    "meadow": Scenery(
        ((126, 200, 80), (84, 160, 60)),
        (110, 180, 110),
        ("mountain",),
        ("tree", "tulip", "sunflower", "garden"),
    ),
    "forest": Scenery(
        ((92, 150, 70), (56, 112, 52)), (60, 120, 80), ("pine", "tree"), ("pine", "tree", "mushroom", "pine")
    ),
    "desert": Scenery(((238, 204, 128), (214, 170, 92)), (226, 170, 104), ("fuji",), ("cactus", "rock", "cactus")),
    "beach": Scenery(((246, 224, 160), (236, 204, 132)), (60, 160, 220), (), ("palm", "umbrella", "palm", "shell")),
    "snow mountains": Scenery(
        ((246, 250, 255), (214, 228, 244)), (200, 216, 236), ("mountain",), ("xmas", "snowman", "pine")
    ),
    "city": Scenery(
        ((150, 154, 164), (112, 116, 126)),
        (150, 170, 200),
        ("office", "mall", "hosp"),
        ("house", "office", "light", "mall"),
    ),
    "moon": Scenery(((176, 176, 186), (130, 130, 142)), (120, 120, 135), (), ("rock", "rock", "tent")),
}
PROP_SCALE = {
    "tulip": 0.45,
    "sunflower": 0.6,
    "mushroom": 0.5,
    "rock": 0.5,
    "shell": 0.35,
    "light": 0.6,
    "snowman": 0.6,
    "tree": 0.95,
    "pine": 0.95,
    "palm": 1.05,
    "cactus": 0.7,
    "umbrella": 0.7,
    "tent": 0.6,
    "xmas": 0.9,
}


@dataclass(frozen=True)
class Panorama:
    """Layers of one scene: `far` and `middle` are (SIZE, PERIOD, 4), `ground` is (SIZE - HORIZON, PERIOD, 3)."""

    far: np.ndarray
    middle: np.ndarray
    ground: np.ndarray


@cache
def art() -> dict[str, np.ndarray]:
    """The packed sprites: `s_<subject>` (24 phases, 80, 80, 4) and `p_<prop>` (72, 72, 4), uint8 premultiplied RGBA."""
    with np.load(Path(__file__).with_name("art.npz")) as packed:
        return dict(packed)


def tint(scene: str, time: str) -> np.ndarray:
    """Colour of the light, (3,)."""
    return np.array(MOON_TINT if scene == "moon" else TINT[time], np.float32)


def paste(canvas: np.ndarray, sprite: np.ndarray, x: int, y: int) -> None:
    """Draw a premultiplied RGBA sprite over an RGB or RGBA canvas, clipped at its borders, in place."""
    (height, width), (rows, columns) = sprite.shape[:2], canvas.shape[:2]
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, columns), min(y + height, rows)
    if right <= left or bottom <= top:
        return
    part = sprite[top - y : bottom - y, left - x : right - x].astype(np.float32)
    below = canvas[top:bottom, left:right]
    canvas[top:bottom, left:right] = part[..., : canvas.shape[2]] + below * (1 - part[..., 3:] / 255)


def scaled(sprite: np.ndarray, factor: float) -> np.ndarray:
    """A square sprite resized by `factor`."""
    side = max(2, round(sprite.shape[0] * factor))
    return cv2.resize(sprite, (side, side), interpolation=cv2.INTER_AREA)


def _paste_around(layer: np.ndarray, sprite: np.ndarray, x: int, y: int) -> None:
    for shift in (-PERIOD, 0, PERIOD):
        paste(layer, sprite, x + shift, y)


def _hills(scene: str, rng: np.random.Generator) -> np.ndarray:
    """The layer of hills (or the sea) that closes the view at the horizon."""
    x = np.arange(PERIOD)
    if scene == "beach":
        top = np.full(PERIOD, HORIZON - 14)
    else:
        waves = [
            7 / (i + 1) * np.sin(2 * np.pi * k * x / PERIOD + rng.uniform(0, 6.3)) for i, k in enumerate((1, 2, 3, 5))
        ]
        top = HORIZON - 12 - sum(waves)
    rows = np.arange(SIZE)[:, None]
    layer = np.zeros((SIZE, PERIOD, 4), np.float32)
    shade = 1 - 0.12 * np.clip((rows - top[None]) / 30, 0, 1)
    layer[..., :3] = np.array(SCENERY[scene].hill, np.float32) * shade[..., None]
    layer[..., 3] = 255
    layer *= ((rows >= top[None]) & (rows <= HORIZON + 1))[..., None]
    if scene == "beach":
        layer[HORIZON - 10 : HORIZON - 9, :, :3] *= 1.15
        layer[HORIZON - 5 : HORIZON - 4, :, :3] = np.minimum(255, layer[HORIZON - 5 : HORIZON - 4, :, :3] * 1.25)
    return layer


def _far_layer(scene: str, rng: np.random.Generator) -> np.ndarray:
    hills = _hills(scene, rng)
    props = np.zeros((SIZE, PERIOD, 4), np.float32)
    for prop in SCENERY[scene].far:
        for _ in range(4 if scene == "city" else 3):
            sprite = scaled(art()[f"p_{prop}"], rng.uniform(0.5, 0.8))
            _paste_around(props, sprite, int(rng.integers(PERIOD)), HORIZON - 4 - sprite.shape[0])
    return hills + props * (1 - hills[..., 3:] / 255)


def _middle_layer(scene: str, rng: np.random.Generator) -> np.ndarray:
    layer = np.zeros((SIZE, PERIOD, 4), np.float32)
    props = SCENERY[scene].middle * 2
    spacing = PERIOD // len(props)
    for i, prop in enumerate(props):
        sprite = scaled(art()[f"p_{prop}"], PROP_SCALE.get(prop, 0.85) * rng.uniform(0.85, 1.05))
        x = i * PERIOD // len(props) + int(rng.integers(spacing // 2))
        _paste_around(layer, sprite, x, HORIZON + 5 - sprite.shape[0] + int(rng.integers(3)))
    return layer


def _ground(scene: str, rng: np.random.Generator) -> np.ndarray:
    near, far = (np.array(colour, np.float32) for colour in SCENERY[scene].ground)
    depth = np.linspace(0, 1, SIZE - HORIZON)[:, None, None]
    ground = np.repeat(near * (1 - depth) + far * depth, PERIOD, axis=1).astype(np.float32)
    for _ in range(70):  # pebbles and tufts: without them the eye cannot see the ground move
        y, x, length = int(rng.integers(2, len(ground) - 2)), int(rng.integers(PERIOD)), int(rng.integers(3, 9))
        shade = 0.86 if rng.random() < 0.6 else 1.1
        ground[y : y + 1 + (y > 20), np.arange(x, x + length) % PERIOD] *= shade
    if scene == "city":
        ground[16:30] = (84, 88, 98)
        for x in range(0, PERIOD, 32):
            ground[22:24, x : x + 16] = (240, 230, 150)
    return np.minimum(ground, 255)


@cache
def panorama(scene: str, variation: int) -> Panorama:
    """One of the `VARIATIONS` panoramas of a scene; the same for ever for the same arguments."""
    key = hashlib.md5(f"{scene}/{variation}".encode()).hexdigest()[:8]
    rng = np.random.default_rng(int(key, 16))
    return Panorama(_far_layer(scene, rng), _middle_layer(scene, rng), _ground(scene, rng))


@cache
def sky(scene: str, time: str) -> np.ndarray:
    """Sky with its sun, moon or earth, (SIZE, SIZE, 3)."""
    top, bottom = (np.array(colour, np.float32) for colour in (MOON_SKY if scene == "moon" else SKY[time]))
    height = np.linspace(0, 1, SIZE)[:, None, None]
    image = np.repeat(top * (1 - height) + bottom * height, SIZE, axis=1).astype(np.float32)
    if scene == "moon" or time == "night":
        rng = np.random.default_rng(5)
        image[rng.integers(0, HORIZON - 16, 26), rng.integers(0, SIZE, 26)] = 255
    if scene == "moon":
        paste(image, scaled(art()["p_earth"], 0.36), 92, 10)
    elif time == "night":
        paste(image, scaled(art()["p_moon"], 0.34), 94, 8)
    else:
        paste(image, scaled(art()["p_sun"], 0.38), 92, 8 if time == "day" else 40)
    return image


@cache
def cloud(index: int, scene: str, time: str) -> np.ndarray:
    """One of three clouds in the light of the scene, premultiplied RGBA."""
    sprite = scaled(art()["p_cloud"], 0.42 + 0.1 * index).astype(np.float32)
    sprite[..., :3] *= np.maximum(tint(scene, time), 0.6)
    return sprite
