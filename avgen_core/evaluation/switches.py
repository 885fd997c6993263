"""Videos whose prompt changes on the way: is the new one followed soon, and does the subject stay?

The change has to be complete by the twelfth frame after the switch and to stay: the window that is judged is the twelve
frames that begin twelve frames after the switch. In renders a scene or a weather fades over 6 frames and a walk turns
within 4, so they are complete by then; the ceiling is the same window of renders with the same switch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..diorama import Attributes, Segment, caption, render, sample_attributes
from ..diorama.attributes import switch_one
from ..prompts import PromptSchedule
from ..prompts import Segment as PromptSegment
from ..systems.many_videos import sample_videos
from ..training.corpus import clip_seed
from .classifier import WINDOW, classify
from .judging import Tally, last_window, share_measure
from .report import Measure
from .trial import RENDERS, Trial, report_progress

SWITCHED = ("action", "scene", "time", "weather")
SETTLED = 12  # frames from the switch until it has to be complete
AFTER = SETTLED + WINDOW  # frames of a video from its switch on
NAMES = {1: "one", 2: "two"}


@dataclass(frozen=True)
class Switch:
    """What a video shows first and what afterwards."""

    before: Attributes
    after: Attributes

    @property
    def changed(self) -> tuple[str, ...]:
        """The attributes that the new prompt changes; the moon brings its time and weather along, unsaid."""
        names = tuple(name for name in SWITCHED if getattr(self.before, name) != getattr(self.after, name))
        to_the_moon = self.after.scene == "moon" != self.before.scene
        return tuple(name for name in names if not (to_the_moon and name in ("time", "weather")))

    def prompts(self, at: int) -> PromptSchedule:
        """Both captions, the second from frame `at` on."""
        return PromptSchedule((PromptSegment(0, caption(self.before)), PromptSegment(at, caption(self.after))))

    def rendered(self, at: int, seed: int) -> np.ndarray:
        """A render of it, (at + AFTER, 64, 64, 3) uint8."""
        return render(seed, (Segment(at, self.before), Segment(AFTER, self.after))).frames

    def shown(self, seen: dict[str, str]) -> bool:
        """Whether every changed attribute is seen as the new prompt has it."""
        return all(seen[name] == getattr(self.after, name) for name in self.changed)


@dataclass(frozen=True)
class JudgedSwitch:
    """A video's switch, and what was seen after it."""

    switch: Switch
    seen: dict[str, str]


def single_switch(rng: np.random.Generator) -> Switch:
    """Between held-out combinations that differ in their action, scene, time or weather."""
    before = sample_attributes(rng, held_out=True)
    return Switch(before, switch_one(before, rng, held_out=True))


def double_switch(rng: np.random.Generator) -> Switch:
    """Between held-out combinations that differ in their action and one other attribute."""
    while True:
        before = sample_attributes(rng, held_out=True)
        between = switch_one(before, rng, held_out=None)
        switch = Switch(before, switch_one(between, rng, held_out=True))
        if len(switch.changed) == 2 and "action" in switch.changed:
            return switch


DRAW = {1: single_switch, 2: double_switch}


def judge_switches(trial: Trial, changes: int) -> tuple[list[Measure], list[JudgedSwitch]]:
    """Make and measure videos in which `changes` attributes (1 or 2) change at once."""
    settings, name = trial.settings, f"switches of {NAMES[changes]}"
    at, rng = settings.switch_at, trial.rng(name)
    switches = [DRAW[changes](rng) for _ in range(settings.switch_clips)]
    prompts = [switch.prompts(at) for switch in switches]
    videos = sample_videos(trial.model, prompts, at + AFTER, trial.sampling(), report_progress(name))
    seed, repeated = trial.render_seed("switch renders"), switches * RENDERS
    renders = np.stack([switch.rendered(at, clip_seed(seed, index))[-WINDOW:] for index, switch in enumerate(repeated)])
    seen, in_renders = classify(trial.classifier, last_window(videos)), classify(trial.classifier, renders)
    judged = [JudgedSwitch(*pair) for pair in zip(switches, seen, strict=True)]
    ceiling = [JudgedSwitch(*pair) for pair in zip(repeated, in_renders, strict=True)]
    return switch_measures(judged, ceiling, changes, trial.targets.switches.get(changes)), judged


def switch_measures(
    judged: list[JudgedSwitch], renders: list[JudgedSwitch], changes: int, target: float | None
) -> list[Measure]:
    """All changed attributes right, with the target; the same by what changed (for one), and the subject, without."""
    of = NAMES[changes]
    measures = [
        share_measure(f"switch of {of}, {SETTLED} frames on", followed(judged), followed(renders), target=target)
    ]
    for name in SWITCHED if changes == 1 else ():
        pair = (followed([j for j in some if j.switch.changed == (name,)]) for some in (judged, renders))
        measures.append(share_measure(f"switch of {name}", *pair))
    return [*measures, share_measure(f"subject after a switch of {of}", kept(judged), kept(renders))]


def followed(judged: list[JudgedSwitch]) -> Tally:
    """How many switches show everything that changed."""
    return Tally(sum(j.switch.shown(j.seen) for j in judged), len(judged))


def kept(judged: list[JudgedSwitch]) -> Tally:
    """How many switches leave the subject what it was."""
    return Tally(sum(j.seen["subject"] == j.switch.before.subject for j in judged), len(judged))
