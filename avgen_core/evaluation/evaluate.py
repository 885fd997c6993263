"""What the embedded model's videos show, against the targets that it has to reach.

Captions are of combinations that training never rendered. Every measure stands beside its ceiling: the same
measurement on fresh renders of the same attributes.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from ..diorama import caption
from .clips import ClipFindings, judge_clips
from .long_videos import judge_long
from .report import Measure
from .sheet import Judged
from .switches import DRAW, JudgedSwitch, judge_switches
from .trial import Trial


@dataclass(frozen=True)
class Outcome:
    """All that an evaluation found. `seconds` says how long each part and everything took."""

    trial: Trial
    clips: ClipFindings
    switches: list[JudgedSwitch]
    measures: list[Measure]
    seconds: dict[str, float]

    @property
    def judged(self) -> list[Judged]:
        """The short clips."""
        return self.clips.judged

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "fingerprint": self.trial.model.fingerprint,
            "plan": self.trial.plan,
            "settings": asdict(self.trial.settings),
            "seconds": self.seconds,
            "measures": [measure.to_json() for measure in self.measures],
            "colours": self.clips.colours,
            "clips": [{"caption": j.caption, "wanted": j.wanted, "seen": j.seen} for j in self.judged],
            "switches": [_switch_json(j) for j in self.switches],
        }


def _switch_json(judged: JudgedSwitch) -> dict[str, Any]:
    switch = judged.switch
    texts = {"before": caption(switch.before), "after": caption(switch.after)}
    return {**texts, "changed": switch.changed, "seen": judged.seen, "followed": switch.shown(judged.seen)}


def evaluate(trial: Trial) -> Outcome:
    """The whole evaluation: short clips, then prompt switches, then long videos."""
    settings, began, seconds = trial.settings, time.monotonic(), {}

    def ended(part: str) -> None:
        seconds[part] = round(time.monotonic() - began - sum(seconds.values()), 1)

    clips, switches = judge_clips(trial), []
    measures = list(clips.measures)
    ended("clips")
    for changes in DRAW if settings.switch_clips else ():
        found, judged = judge_switches(trial, changes)
        measures += found
        switches += judged
    ended("switches")
    if settings.long_frames:
        measures += judge_long(trial)
    ended("long videos")
    return Outcome(trial, clips, switches, measures, {**seconds, "all": round(time.monotonic() - began, 1)})
