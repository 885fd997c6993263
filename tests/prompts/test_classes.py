"""Class names and numbers, for models that know no sentences."""

from __future__ import annotations

import pytest

from avgen_core.prompts import Classes, parse_schedule

SPORTS = Classes(("archery", "Diving", "skiing"), ("0", "1", "2"))


def test_a_class_is_asked_for_by_name_or_number():
    assert SPORTS.prompt("Archery") == SPORTS.prompt(" 0 ") == "0"
    assert SPORTS.prompt("diving") == SPORTS.prompt("1") == "1"
    assert SPORTS.name_of("2") == "skiing"


def test_an_empty_text_is_no_class():
    assert SPORTS.prompt("  ") == ""
    assert SPORTS.name_of("") == ""


@pytest.mark.parametrize("text", ["3", "-1", "1.5", "swimming"])
def test_an_unknown_class_is_refused_with_those_that_there_are(text):
    with pytest.raises(ValueError, match=r"not a class of this model; it has 3 classes: 0 archery, 1 Diving, 2 skiing"):
        SPORTS.prompt(text)


def test_a_schedule_of_names_becomes_one_of_prompts():
    schedule = SPORTS.schedule(parse_schedule("0: diving\n8: 2", fps=8, blend=2))
    assert [(s.start, s.text) for s in schedule.segments] == [(0, "1"), (8, "2")]
    assert schedule.blend == 2


def test_names_can_be_given_to_a_model_that_has_only_numbers():
    numbered = Classes(("0", "1", "2"), ("0", "1", "2"))
    named = numbered.renamed(("archery", "diving"))
    assert named.prompt("diving") == "1"
    assert named.prompt("2") == "2"
    with pytest.raises(ValueError, match="4 class names for a model of 3"):
        numbered.renamed(("a", "b", "c", "d"))
    with pytest.raises(ValueError, match="'a' is there twice"):
        numbered.renamed(("a", "A"))
    with pytest.raises(
        ValueError, match="class 0 cannot be called '2', which is the number of another class|'2' is there twice"
    ):
        numbered.renamed(("2",))


def test_an_empty_name_keeps_the_number():
    named = Classes(("0", "1", "2"), ("0", "1", "2")).renamed(("", "diving"))
    assert named.names == ("0", "diving", "2")
