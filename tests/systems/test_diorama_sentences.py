"""Prompts in anybody's words become sentences that the embedded model was trained on."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest

from avgen_core.diorama import Attributes, caption, sample_attributes, vocabulary
from avgen_core.diorama.attributes import ACTIONS, SCENES, SUBJECTS, TIMES, WEATHERS
from avgen_core.prompts import parse_schedule, words_of
from avgen_core.systems import diorama_words
from avgen_core.systems.diorama_sentences import MEANINGS, understand
from avgen_core.systems.embedded import load_embedded

WORDS = vocabulary()

EVERYDAY = (
    *("bright", "light", "fight", "house", "castle", "boat", "fog", "plant", "three", "good", "hard", "crowd"),
    *("many", "weather", "movie", "tan", "gray", "big"),
)

READ = {
    "a puppy sprints through the jungle in a thunderstorm": "a dog runs right in a forest in the rain",
    "An astronaut riding to the left on Mars": "a flying saucer flies left on the moon",
    "a race car speeding left through downtown at midnight, 4k": "a red car drives fast left in the city at night",
    "a yelow bus driving in a blizzard": "a yellow bus drives right in a green meadow in falling snow",
    "the kitten's hopping by the river at dusk": "an orange cat jumps up and down on the beach at sunset",
    "fluffy sheep waiting on snowy mountains": "a white sheep stands still in the snowy mountains",
    "blorf": "an orange cat walks right in a green meadow",
    "猫": "an orange cat walks right in a green meadow",
}


@pytest.mark.parametrize(("asked", "text"), READ.items())
def test_a_prompt_is_read_as_the_nearest_sentence(asked, text):
    assert understand(asked, WORDS).text == text


def test_a_prompt_of_known_words_stays_as_it_is():
    rng = np.random.default_rng(0)
    for _ in range(200):
        text = caption(sample_attributes(rng, held_out=None), rng)
        understood = understand(text, WORDS)
        assert understood.text == text
        assert not understood.changed


def test_its_author_is_told_what_became_of_the_words():
    assert str(understand("a fluffy puppy hops", WORDS)) == (
        '"a fluffy puppy hops" is read as "a dog jumps up and down in a green meadow" '
        '("puppy" as "a dog"; "hops" as "jumps up and down"; left out: "fluffy")'
    )
    assert understand("a zebra and a dog", WORDS).left == ("dog",)
    assert understand("a flying saucer zooms fast up", WORDS).read == (("zooms", "flies fast"),)


@pytest.mark.parametrize("word", EVERYDAY)
def test_everyday_words_mean_nothing_here(word):
    understood = understand(f"a {word} puppy zzz", WORDS)
    assert understood.text == "a dog walks right in a green meadow"


def test_a_negative_prompt_keeps_only_what_it_says():
    assert understand("blurry, low quality", WORDS, negative=True).text == ""
    assert understand("blurry puppies in a storm", WORDS, negative=True).text == "a dog in the rain"


def test_every_combination_can_be_said_in_other_words():
    """An unknown word makes each caption and paraphrase another prompt; what is left is the canonical caption."""
    rng = np.random.default_rng(0)
    for subject, action, scene, time, weather in product(SUBJECTS, ACTIONS, SCENES, TIMES, WEATHERS):
        if scene == "moon" and (time, weather) != ("night", "clear"):
            continue
        attributes = Attributes(subject, action, scene, time, weather)
        wanted = caption(attributes)
        assert understand(f"zzz {wanted}", WORDS).text == wanted
        assert understand(f"zzz {caption(attributes, rng)}", WORDS).text == wanted


def test_a_word_means_one_thing():
    tables = (diorama_words.ACTIONS, diorama_words.DIRECTIONS, diorama_words.SCENES, diorama_words.TIMES)
    said = [meant for _, meant in diorama_words.SUBJECTS.values()]
    said += [meant for table in (*tables, diorama_words.WEATHERS) for meant in table.values()]
    words = " ".join(said).split()
    assert len(words) == len(set(words)) == len(MEANINGS)
    assert set(diorama_words.PHRASES.values()) <= set(words)
    assert not diorama_words.STOP_WORDS & set(words)


def test_sentences_are_made_of_words_that_the_model_knows():
    for text in READ.values():
        assert set(words_of(text)) <= set(WORDS)


def test_the_embedded_model_reads_schedules():
    schedule = parse_schedule("0: a kitten walks\n8: a kitten dances at noon", fps=8)
    reading = load_embedded().understand(schedule)
    assert [s.text for s in reading.schedule.segments] == [
        "an orange cat walks right in a green meadow",
        "an orange cat dances in a green meadow",
    ]
    assert [s.start for s in reading.schedule.segments] == [0, 8]
    assert [re.findall('"(.*?)" is read', remark) for remark in reading.remarks] == [
        ["a kitten walks"],
        ["a kitten dances at noon"],
    ]
