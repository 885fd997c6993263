"""A running diorama: an animated subject in front of a scrolling world, one frame after another, without end."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .attributes import SUBJECTS, WEATHERS, Attributes, caption, sample_attributes, switch_one
from .scenery import HORIZON, PERIOD, SIZE, VARIATIONS, art, cloud, panorama, paste, sky, tint

FPS = 8
SPEED = {"walks left": -3.0, "walks right": 3.0, "runs left": -7.0, "runs right": 7.0}  # pixels a frame at SIZE
ACCELERATION = 3.5  # pixels a frame²
FADE = 6  # frames in which a scene or a weather gives way to the next
PARTICLES = 48


@dataclass(frozen=True)
class Segment:
    """`frames` frames with these attributes."""

    frames: int
    attributes: Attributes


@dataclass(frozen=True)
class Episode:
    """Rendered frames (F, size, size, 3) uint8 and, for each segment, its first frame, caption and attributes."""

    frames: np.ndarray
    starts: tuple[int, ...]
    captions: tuple[str, ...]
    attributes: tuple[Attributes, ...]


class Clip:
    """A world that keeps its camera, phase and particles, so that a clip can go on under new attributes.

    The camera follows the subject, which stays in the middle: a walk never ends.
    """

    def __init__(self, seed: int, start: Attributes) -> None:
        rng = np.random.default_rng(seed)
        self.variation = int(rng.integers(VARIATIONS))
        self.camera = float(rng.uniform(0, PERIOD))
        self.phase = float(rng.uniform(0, 24))
        self.velocity = SPEED.get(start.action, 0.0)
        self.facing = int(np.sign(self.velocity)) or int(rng.choice((-1, 1)))
        self.subject = start.subject
        self.action = start.action
        self.action_age = 0
        self.age = 0
        self.looks = {(start.scene, start.time): 1.0}
        self.weather = {name: float(name == start.weather) for name in WEATHERS}
        self.clouds = rng.uniform(0, SIZE * 1.6, 3)
        self.x, self.y = rng.uniform(0, SIZE, PARTICLES), rng.uniform(0, SIZE, PARTICLES)
        self.fall = rng.uniform(0.8, 1.2, PARTICLES)

    def frame(self, a: Attributes) -> np.ndarray:
        """The next frame, (SIZE, SIZE, 3) uint8, under attributes `a` (whose subject must not have changed)."""
        if a.subject != self.subject:
            raise ValueError(f"a clip cannot change its subject from {self.subject!r} to {a.subject!r}")
        self._move(a)
        self._fade(a)
        image, light = self._background()
        rain = self.weather["rain"]
        image = image * (1 - 0.22 * rain) + np.array((96, 104, 120), np.float32) * (0.22 * rain)
        self._draw_subject(image, light)
        self._draw_rain(image)
        self._draw_snow(image)
        self.age += 1
        self.action_age += 1
        return np.clip(image + 0.5, 0, 255).astype(np.uint8)

    def _move(self, a: Attributes) -> None:
        if a.action != self.action:
            self.action, self.action_age = a.action, 0
        target = SPEED.get(a.action, 0.0)
        self.velocity += float(np.clip(target - self.velocity, -ACCELERATION, ACCELERATION))
        self.camera += self.velocity
        if target:
            self.facing = int(np.sign(target))
        pace = 2.4 if abs(self.velocity) > 4 else 1.2 if abs(self.velocity) > 0.5 else 0.6
        self.phase = (self.phase + pace) % 24

    def _fade(self, a: Attributes) -> None:
        now = (a.scene, a.time)
        self.looks.setdefault(now, 0.0)
        for look in list(self.looks):
            self.looks[look] = min(1.0, self.looks[look] + (1 if look == now else -1) / FADE)
            if self.looks[look] <= 0 and look != now:
                del self.looks[look]
        for name in WEATHERS:
            self.weather[name] = min(1.0, max(0.0, self.weather[name] + (1 if name == a.weather else -1) / FADE))

    def _background(self) -> tuple[np.ndarray, np.ndarray]:
        total = sum(self.looks.values())
        views = [(weight / total, *look) for look, weight in self.looks.items()]
        image = sum(weight * self._view(scene, time) for weight, scene, time in views)
        return image, sum(weight * tint(scene, time) for weight, scene, time in views)

    def _view(self, scene: str, time: str) -> np.ndarray:
        image, light, layers = sky(scene, time).copy(), tint(scene, time), panorama(scene, self.variation)
        if scene != "moon":
            for i, start in enumerate(self.clouds):
                x = int((start + self.age * 0.5 - self.camera * 0.08) % (SIZE * 1.6)) - 40
                paste(image, cloud(i, scene, time), x, 6 + i * 13)
        for layer, parallax in ((layers.far, 0.25), (layers.middle, 0.6)):
            part = layer[:, (np.arange(SIZE) + round(self.camera * parallax)) % PERIOD]
            top = 0 if layer is layers.middle else 20
            part = part[top : HORIZON + 9]
            below = image[top : HORIZON + 9]
            image[top : HORIZON + 9] = part[..., :3] * light + below * (1 - part[..., 3:] * (1 / 255))
            if layer is layers.far:
                image[HORIZON:] = layers.ground[:, (np.arange(SIZE) + round(self.camera)) % PERIOD] * light
        return image

    def _pose(self) -> tuple[float, float, float, float]:
        """Lift in pixels, stretch of width and of height, rotation in degrees."""
        t = self.action_age
        if self.action == "jumps":
            u = (t % 10) / 10
            squash = 1 / (1 + 0.10 * np.cos(2 * np.pi * u)) if u < 0.08 or u > 0.92 else 1.04
            return SIZE * 0.30 * 4 * u * (1 - u), 1.0, squash, 0.0
        if self.action == "spins":
            return 0.0, float(np.cos(2 * np.pi * t / 12)), 1.0, 0.0
        if self.action == "dances":
            sway = np.sin(2 * np.pi * t / 8)
            return 5 * abs(sway), 1.0, 1.0, 14 * sway
        if abs(self.velocity) > 4:
            return 2.5 * abs(np.sin(t * 1.3)), 1.0, 1.0, 4.0 * self.facing
        if abs(self.velocity) > 0.5:
            return 1.2 * abs(np.sin(t * 0.9)), 1.0, 1.0, 0.0
        return 0.0, 1.0, 1.0, 0.0

    def _draw_subject(self, image: np.ndarray, light: np.ndarray) -> None:
        subject = SUBJECTS[self.subject]
        lift, stretch_x, stretch_y, rotation = self._pose()
        self._draw_shadow(image, subject.size, lift)
        sprite = art()[f"s_{self.subject}"][int(self.phase)].astype(np.float32)
        side = len(sprite)
        scale = subject.size * SIZE / side
        scale_x = scale * stretch_x * -self.facing  # the sprites look left
        if abs(scale_x) < 0.04:
            scale_x = 0.04 * float(np.sign(scale_x) or 1)
        hover = -14 + 2 * np.sin(self.age * 0.5) if subject.kind == "fly" else 0
        angle = np.deg2rad(rotation)
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array(
            [[scale_x * cos, -scale * stretch_y * sin, 0], [scale_x * sin, scale * stretch_y * cos, 0]], np.float32
        )
        foot = matrix[:, :2] @ np.array([side / 2, side - 1])
        matrix[:, 2] = (SIZE / 2 - foot[0], HORIZON + 24 + hover - lift - foot[1])
        drawn = cv2.warpAffine(sprite, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
        image[:] = drawn[..., :3] * np.maximum(light, 0.62) + image * (1 - drawn[..., 3:] * (1 / 255))

    def _draw_shadow(self, image: np.ndarray, size: float, lift: float) -> None:
        near = min(1.0, lift / 40)
        width = max(2, int(size * SIZE * 0.42 * (1 - 0.35 * near)))
        top = HORIZON + 19
        mask = np.zeros((12, SIZE), np.uint8)
        cv2.ellipse(mask, (SIZE // 2, 6), (width, 4), 0, 0, 360, 255, -1, cv2.LINE_AA)
        image[top : top + 12] *= 1 - mask[..., None] * (0.32 * (1 - 0.4 * near) / 255)

    def _draw_rain(self, image: np.ndarray) -> None:
        strength = self.weather["rain"]
        if not strength:
            return
        self.y = (self.y + 11 * self.fall) % SIZE
        self.x = (self.x - 2 - self.velocity * 0.3) % SIZE
        layer = np.zeros((SIZE, SIZE), np.uint8)
        for x, y in zip(self.x.astype(int).tolist(), self.y.astype(int).tolist(), strict=True):
            cv2.line(layer, (x, y), (x - 1, y + 6), 255, 1, cv2.LINE_AA)
        cover = layer[..., None] * np.float32(0.55 * strength / 255)
        image[:] = image * (1 - cover) + np.array((200, 220, 255), np.float32) * cover

    def _draw_snow(self, image: np.ndarray) -> None:
        strength = self.weather["snow"]
        if not strength:
            return
        self.y = (self.y + 2.2 * self.fall) % SIZE
        self.x = (self.x + 0.8 * np.sin(self.age * 0.3 + self.fall * 9) - self.velocity * 0.3) % SIZE
        layer = np.zeros((SIZE, SIZE), np.uint8)
        for i, (x, y) in enumerate(zip(self.x, self.y, strict=True)):  # 1/8 pixel positions, three sizes
            radius = int(8 * (1.1 + 0.35 * (i % 3)))
            cv2.circle(layer, (int(x * 8), int(y * 8)), radius, 255, -1, cv2.LINE_AA, 3)
        cover = layer[..., None] * np.float32(0.95 * strength / 255)
        image[:] = image * (1 - cover) + 255 * cover


def render(seed: int, segments: tuple[Segment, ...], size: int = 64) -> Episode:
    """Render segments one after another as one clip of `size` x `size` pixels; captions are random paraphrases."""
    rng = np.random.default_rng((seed, 1))
    clip = Clip(seed, segments[0].attributes)
    frames = []
    for segment in segments:
        for _ in range(segment.frames):
            frame = clip.frame(segment.attributes)
            frames.append(frame if size == SIZE else cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA))
    lengths = [segment.frames for segment in segments]
    return Episode(
        frames=np.stack(frames),
        starts=tuple(int(n) for n in np.cumsum([0, *lengths[:-1]])),
        captions=tuple(caption(segment.attributes, rng) for segment in segments),
        attributes=tuple(segment.attributes for segment in segments),
    )


def random_episode(
    seed: int, frames: int, size: int = 64, switch_share: float = 0.5, *, held_out: bool | None = False
) -> Episode:
    """A clip of trained (or held-out) combinations; a share of them switch one attribute somewhere in the middle."""
    rng = np.random.default_rng(seed)
    first = sample_attributes(rng, held_out=held_out)
    segments = (Segment(frames, first),)
    if rng.random() < switch_share:
        at = int(rng.integers(frames // 4, 3 * frames // 4))
        second = switch_one(first, rng, held_out=held_out)
        segments = (Segment(at, first), Segment(frames - at, second))
    return render(seed, segments, size)
