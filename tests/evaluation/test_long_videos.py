"""What long videos are judged by, on renders whose end is damaged in known ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avgen_core.diorama import sample_attributes
from avgen_core.evaluation.classifier import load_classifier
from avgen_core.evaluation.judging import fresh_renders
from avgen_core.evaluation.long_videos import LongVideos, colour_measure, motion_measure, steady_measures
from avgen_core.evaluation.targets import ART_V, EMBEDDED
from avgen_core.evaluation.trial import RENDERS, Settings, Trial
from tests.evaluation.tiny_model import tiny_model

PART = EMBEDDED.part
TRIAL = Trial(tiny_model(), load_classifier(), Settings())


@pytest.fixture(scope="module")
def long() -> LongVideos:
    """Renders of two parts, and fresh renders to compare with."""
    rng = np.random.default_rng(0)
    attributes = [sample_attributes(rng, held_out=True) for _ in range(4)]
    renders = tuple(fresh_renders(attributes, PART, seed) for seed in range(RENDERS))
    return LongVideos(attributes, fresh_renders(attributes, 2 * PART, 9), renders)


def ending(long: LongVideos, end: np.ndarray) -> LongVideos:
    """The same videos with another last part."""
    return LongVideos(long.attributes, np.concatenate([long.videos[:, :PART], end], axis=1), long.renders)


def test_renders_meet_every_target(long):
    measures = [*steady_measures(TRIAL, long), motion_measure(TRIAL, long), colour_measure(TRIAL, long)]
    assert {m.name: m.passed for m in measures} == {
        "subject in the last 64 of 128": True,
        "scene in the last 64 of 128": True,
        "motion in the last 64 of 128": True,
        "colour drift in the last 64 of 128": True,
    }


def test_another_end_is_no_longer_what_was_asked_for(long):
    lost = ending(long, np.full_like(long.ends, 128))
    assert not any(measure.passed for measure in steady_measures(TRIAL, lost))


def test_too_little_and_too_much_motion_fail(long):
    frozen = np.repeat(long.ends[:, :1], PART, axis=1)
    scrolled = np.stack([np.roll(long.ends[:, i], 2 * i, axis=2) for i in range(PART)], axis=1)
    assert motion_measure(TRIAL, ending(long, frozen)).score < 0.8
    assert motion_measure(TRIAL, ending(long, scrolled)).score > 1.2
    for end in (frozen, scrolled):
        assert not motion_measure(TRIAL, ending(long, end)).passed


@pytest.mark.parametrize("change", [lambda end: end // 2, lambda end: 64 + end // 2], ids=["darker", "paler"])
def test_colours_that_drift_fail(long, change):
    drifted = colour_measure(TRIAL, ending(long, change(long.ends)))
    assert drifted.value > 2 * drifted.ceiling
    assert not drifted.passed


def test_a_system_with_floors_is_judged_by_them(long):
    """More motion than renders have is no fault of it, and its colours have no target."""
    trial = replace(TRIAL, targets=ART_V)
    scrolled = np.stack([np.roll(long.ends[:, i], 2 * i, axis=2) for i in range(PART)], axis=1)
    assert motion_measure(trial, ending(long, scrolled)).passed
    assert not motion_measure(trial, ending(long, np.repeat(long.ends[:, :1], PART, axis=1))).passed
    assert colour_measure(trial, long).passed is None
    assert [m.target for m in steady_measures(trial, long)] == [0.80, None]
