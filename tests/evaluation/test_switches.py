"""Prompt switches: what changes, from which frame on, and what counts as followed."""

from __future__ import annotations

import numpy as np
import pytest

from avgen_core.diorama import Attributes, is_held_out
from avgen_core.evaluation.classifier import WINDOW, classify, load_classifier
from avgen_core.evaluation.judging import Tally, facts
from avgen_core.evaluation.switches import (
    AFTER,
    DRAW,
    SWITCHED,
    JudgedSwitch,
    Switch,
    double_switch,
    followed,
    single_switch,
    switch_measures,
)

WALKS = Attributes("cat", "walks left", "city", "day", "clear")
STANDS = Attributes("cat", "stands still", "city", "day", "clear")
STANDS_IN_RAIN = Attributes("cat", "stands still", "city", "day", "rain")
STANDS_ON_MOON = Attributes("cat", "stands still", "moon", "night", "clear")


@pytest.mark.parametrize("changes", DRAW)
def test_held_out_combinations_switch_so_many_attributes(changes):
    rng = np.random.default_rng(0)
    switches = [DRAW[changes](rng) for _ in range(40)]
    for switch in switches:
        assert len(switch.changed) == changes
        assert switch.before.subject == switch.after.subject
        assert is_held_out(switch.before)
        assert is_held_out(switch.after)
    assert {name for switch in switches for name in switch.changed} == set(SWITCHED)


def test_two_at_once_are_the_action_and_another():
    rng = np.random.default_rng(1)
    assert all(double_switch(rng).changed[0] == "action" for _ in range(20))


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (WALKS, STANDS, ("action",)),
        (WALKS, STANDS_IN_RAIN, ("action", "weather")),
        (STANDS_IN_RAIN, STANDS_ON_MOON, ("scene",)),
        (WALKS, STANDS_ON_MOON, ("action", "scene")),
        (STANDS_ON_MOON, STANDS_IN_RAIN, ("scene", "time", "weather")),
    ],
)
def test_the_moon_brings_night_and_clear_weather_unsaid(before, after, changed):
    assert Switch(before, after).changed == changed


def test_the_prompt_changes_at_its_frame():
    prompts = Switch(WALKS, STANDS_IN_RAIN).prompts(24)
    assert prompts.at(23) == (("an orange cat walks left in the city", 1.0),)
    assert prompts.at(24) == (("an orange cat stands still in the city in the rain", 1.0),)


def test_renders_have_finished_changing_where_they_are_judged():
    rng = np.random.default_rng(2)
    switches = [single_switch(rng) for _ in range(20)]
    videos = np.stack([switch.rendered(10, seed) for seed, switch in enumerate(switches)])
    assert videos.shape == (20, 10 + AFTER, 64, 64, 3)
    seen = classify(load_classifier(), videos[:, -WINDOW:])
    judged = [JudgedSwitch(*pair) for pair in zip(switches, seen, strict=True)]
    assert followed(judged).share >= 0.9


def test_both_changes_have_to_be_seen():
    switch = Switch(WALKS, STANDS_IN_RAIN)
    assert switch.shown(facts(STANDS_IN_RAIN))
    assert not switch.shown(facts(STANDS))


def test_switches_are_counted_together_and_by_what_changed():
    action, scene = Switch(WALKS, STANDS), Switch(STANDS_IN_RAIN, STANDS_ON_MOON)
    pig = {**facts(STANDS_IN_RAIN), "subject": "pig"}
    judged = [JudgedSwitch(action, facts(STANDS)), JudgedSwitch(scene, pig)]
    perfect = [JudgedSwitch(switch, facts(switch.after)) for switch in (action, scene)]
    assert followed(judged) == Tally(1, 2)
    shares = {m.name: (m.value, m.ceiling, m.count) for m in switch_measures(judged, perfect, 1, 0.9)}
    assert shares["switch of one, 12 frames on"] == (0.5, 1.0, 2)
    assert shares["switch of action"] == (1.0, 1.0, 1)
    assert shares["switch of scene"] == (0.0, 1.0, 1)
    assert shares["switch of time"][2] == 0
    assert shares["subject after a switch of one"] == (0.5, 1.0, 2)
