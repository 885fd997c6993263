"""Captions, vocabulary and the combinations that are kept for testing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from avgen_core.diorama import Attributes, caption, is_held_out, sample_attributes, vocabulary
from avgen_core.diorama.attributes import ACTIONS, SCENES, SUBJECTS, TIMES, WEATHERS, switch_one
from avgen_core.prompts import unknown_words


def combinations() -> list[Attributes]:
    grid = itertools.product(SUBJECTS, ACTIONS, SCENES, TIMES, WEATHERS)
    return [Attributes(*a) for a in grid if a[2] != "moon" or a[3:] == ("night", "clear")]


def test_there_are_9240_combinations_and_a_quarter_is_held_out():
    held_out = [is_held_out(a) for a in combinations()]
    assert len(held_out) == 9240
    assert 0.2 < np.mean(held_out) < 0.3


def test_held_out_combinations_leave_every_attribute_in_training():
    trained = [a for a in combinations() if not is_held_out(a)]
    assert {a.subject for a in trained} == set(SUBJECTS)
    assert {(a.scene, a.time) for a in trained if a.scene != "moon"} == set(
        itertools.product([s for s in SCENES if s != "moon"], TIMES)
    )


def test_canonical_captions_name_every_combination_apart():
    captions = [caption(a) for a in combinations()]
    assert len(set(captions)) == len(captions)
    assert caption(Attributes("cat", "walks left", "meadow", "day", "clear")) == (
        "an orange cat walks left in a green meadow"
    )


def test_paraphrases_use_known_words_only():
    rng = np.random.default_rng(0)
    for _ in range(500):
        assert unknown_words(caption(sample_attributes(rng, held_out=None), rng), vocabulary()) == []


def test_a_switch_changes_one_attribute_and_never_the_subject():
    rng = np.random.default_rng(1)
    for _ in range(200):
        first = sample_attributes(rng)
        second = switch_one(first, rng)
        changed = [
            name for name in ("action", "scene", "time", "weather") if getattr(first, name) != getattr(second, name)
        ]
        assert second.subject == first.subject
        assert len(changed) == 1 or "moon" in (first.scene, second.scene)
        assert not is_held_out(second)


def test_unknown_attributes_are_refused():
    with pytest.raises(ValueError, match="unknown diorama attribute 'unicorn'; allowed: cat, dog"):
        Attributes("unicorn", "jumps", "city", "day", "clear")
    with pytest.raises(ValueError, match="always night and clear"):
        Attributes("cat", "jumps", "moon", "day", "clear")
