"""What can happen in the diorama world: its attributes, their captions, and the combinations kept for testing."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Subject:
    """A sprite of the world. `size` is its height as a share of the frame; `kind` decides which verbs fit it."""

    size: float
    kind: str
    names: tuple[str, ...]


SUBJECTS: dict[str, Subject] = {
    "cat": Subject(0.46, "walk", ("orange cat", "cat")),
    "dog": Subject(0.46, "walk", ("dog", "tan dog")),
    "horse": Subject(0.52, "walk", ("brown horse", "horse")),
    "pig": Subject(0.44, "walk", ("pink pig", "pig")),
    "cow": Subject(0.50, "walk", ("cow", "black and white cow")),
    "sheep": Subject(0.46, "walk", ("white sheep", "sheep")),
    "elephant": Subject(0.56, "walk", ("elephant", "gray elephant")),
    "tiger": Subject(0.48, "walk", ("tiger",)),
    "kangaroo": Subject(0.52, "walk", ("kangaroo",)),
    "flamingo": Subject(0.50, "walk", ("pink flamingo", "flamingo")),
    "dinosaur": Subject(0.56, "walk", ("green dinosaur", "t-rex")),
    "camel": Subject(0.52, "walk", ("camel",)),
    "rooster": Subject(0.42, "walk", ("rooster",)),
    "car": Subject(0.50, "drive", ("red car", "car")),
    "bus": Subject(0.54, "drive", ("yellow bus", "bus")),
    "tractor": Subject(0.52, "drive", ("green tractor", "tractor")),
    "train": Subject(0.54, "drive", ("steam train", "train")),
    "ghost": Subject(0.44, "fly", ("ghost", "white ghost")),
    "bee": Subject(0.40, "fly", ("bee", "honeybee")),
    "helicopter": Subject(0.50, "fly", ("orange helicopter", "helicopter")),
    "ufo": Subject(0.50, "fly", ("flying saucer", "ufo")),
}
ACTIONS = (
    "stands still",
    "walks left",
    "walks right",
    "runs left",
    "runs right",
    "jumps",
    "spins",
    "dances",
)
SCENES = ("meadow", "forest", "desert", "beach", "snow mountains", "city", "moon")
TIMES = ("day", "sunset", "night")
WEATHERS = ("clear", "rain", "snow")

TIME_SHARES = (0.5, 0.25, 0.25)
WEATHER_SHARES = (0.6, 0.2, 0.2)

MOTION_VERBS = {
    ("walk", "walks"): ("walks", "strolls"),
    ("walk", "runs"): ("runs", "sprints"),
    ("drive", "walks"): ("drives", "rolls"),
    ("drive", "runs"): ("drives fast", "races"),
    ("fly", "walks"): ("flies", "floats"),
    ("fly", "runs"): ("flies fast", "darts"),
}
PLACE_VERBS = {
    "stands still": ("stands still", "waits"),
    "jumps": ("jumps up and down", "jumps"),
    "spins": ("spins around", "spins"),
    "dances": ("dances", "does a dance"),
}
SCENE_PHRASES = {
    "meadow": ("in a green meadow", "on a grassy meadow"),
    "forest": ("in a forest", "among pine trees"),
    "desert": ("in the desert", "across desert sand"),
    "beach": ("on the beach", "by the sea"),
    "snow mountains": ("in the snowy mountains", "on a snow field"),
    "city": ("in the city", "down a city street"),
    "moon": ("on the moon", "on the surface of the moon"),
}
TIME_PHRASES = {
    "day": ("", "during the day"),
    "sunset": ("at sunset", "in the evening glow"),
    "night": ("at night", "under the stars"),
}
WEATHER_PHRASES = {
    "clear": ("",),
    "rain": ("in the rain", "while it rains"),
    "snow": ("in falling snow", "while snow falls"),
}


@dataclass(frozen=True)
class Attributes:
    """Everything a caption says about a moment of a clip. On the moon it is always night and clear."""

    subject: str
    action: str
    scene: str
    time: str
    weather: str

    def __post_init__(self) -> None:
        for value, allowed in zip(
            (self.subject, self.action, self.scene, self.time, self.weather),
            (SUBJECTS, ACTIONS, SCENES, TIMES, WEATHERS),
            strict=True,
        ):
            if value not in allowed:
                raise ValueError(f"unknown diorama attribute {value!r}; allowed: {', '.join(allowed)}")
        if self.scene == "moon" and (self.time, self.weather) != ("night", "clear"):
            raise ValueError(f"on the moon it is always night and clear, not {self.time} and {self.weather}")

    @property
    def direction(self) -> str:
        """`left`, `right` or `none`."""
        word = self.action.rsplit(" ", 1)[-1]
        return word if word in ("left", "right") else "none"


def on_moon_rules(attributes: dict[str, str]) -> Attributes:
    """Attributes from loose choices, with the moon's fixed time and weather put in."""
    if attributes["scene"] == "moon":
        attributes = {**attributes, "time": "night", "weather": "clear"}
    return Attributes(**attributes)


def caption(a: Attributes, rng: np.random.Generator | None = None) -> str:
    """The sentence that describes `a`: its canonical form, or a random paraphrase when `rng` is given."""

    def choose(options: tuple[str, ...]) -> str:
        return options[0] if rng is None else options[int(rng.integers(len(options)))]

    subject = SUBJECTS[a.subject]
    if a.direction == "none":
        verb = choose(PLACE_VERBS[a.action])
    else:
        to_the = "to the " if rng is not None and rng.random() < 0.4 else ""
        verb = f"{choose(MOTION_VERBS[subject.kind, a.action.split()[0]])} {to_the}{a.direction}"
    name = choose(subject.names)
    article = "an" if name[0] in "aeio" else "a"
    time = "" if a.scene == "moon" else choose(TIME_PHRASES[a.time])
    words = (article, name, verb, choose(SCENE_PHRASES[a.scene]), time, choose(WEATHER_PHRASES[a.weather]))
    return " ".join(word for word in words if word)


def vocabulary() -> tuple[str, ...]:
    """Every word a caption can hold, sorted."""
    phrases = [name for subject in SUBJECTS.values() for name in subject.names]
    for table in (MOTION_VERBS, PLACE_VERBS, SCENE_PHRASES, TIME_PHRASES, WEATHER_PHRASES):
        phrases += [phrase for options in table.values() for phrase in options]
    phrases.append("a an to the left right")
    return tuple(sorted({word for phrase in phrases for word in re.findall(r"[a-z0-9'-]+", phrase)}))


def _share(*parts: str) -> int:
    return int(hashlib.md5("|".join(parts).encode()).hexdigest()[:8], 16) % 10


def is_held_out(a: Attributes) -> bool:
    """Whether `a` is one of the about 25 % of combinations that training never renders.

    A tenth each of the subject-action pairs, the subject-scene pairs and the scene-time-weather triples, chosen
    by a hash so that the rule is the same everywhere and for ever.
    """
    if _share("A", a.subject, a.action) == 0 or _share("B", a.subject, a.scene) == 0:
        return True
    ordinary = (a.time, a.weather) == ("day", "clear")
    return not ordinary and _share("C", a.scene, a.time, a.weather) == 0


def sample_attributes(rng: np.random.Generator, *, held_out: bool | None = False) -> Attributes:
    """Random attributes: trained combinations (`False`), held-out ones (`True`), or either (`None`)."""
    while True:
        a = on_moon_rules(
            {
                "subject": str(rng.choice(list(SUBJECTS))),
                "action": str(rng.choice(ACTIONS)),
                "scene": str(rng.choice(SCENES)),
                "time": str(rng.choice(TIMES, p=TIME_SHARES)),
                "weather": str(rng.choice(WEATHERS, p=WEATHER_SHARES)),
            }
        )
        if held_out is None or is_held_out(a) == held_out:
            return a


def switch_one(a: Attributes, rng: np.random.Generator, *, held_out: bool | None = False) -> Attributes:
    """`a` with its action (half of the time), scene, time or weather changed; the subject never changes."""
    while True:
        field = str(rng.choice(("action", "action", "scene", "time", "weather")))
        other = sample_attributes(rng, held_out=None)
        changed = on_moon_rules({**replace(a).__dict__, field: getattr(other, field)})
        if changed != a and (held_out is None or is_held_out(changed) == held_out):
            return changed
