"""Any prompt as a sentence of the diorama world, which is all that the embedded model was trained on."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from ..prompts import PromptSchedule, Reading, unknown_words, words_of
from . import diorama_words as words

SLOTS = {
    "subject": {name: meant for name, (_, meant) in words.SUBJECTS.items()},
    "action": words.ACTIONS,
    "direction": words.DIRECTIONS,
    "scene": words.SCENES,
    "time": words.TIMES,
    "weather": words.WEATHERS,
}
MEANINGS = {
    word: (slot, value) for slot, table in SLOTS.items() for value, meant in table.items() for word in meant.split()
}
# What a sentence has to have, where a prompt leaves it open.
USUAL = {"subject": "orange cat", "action": "walk", "direction": "right", "scene": "in a green meadow"}
LIKENESS = 0.8  # difflib's ratio from which a word is another one with a slip of the pen


@dataclass(frozen=True)
class Understood:
    """A prompt as the embedded model reads it.

    read: word of the prompt to the phrase of the world it was taken for; ignored: words that say nothing to it.
    """

    asked: str
    text: str
    read: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return self.text != self.asked

    def __str__(self) -> str:
        """What became of the prompt, for its author."""
        taken = [f'"{word}" as "{phrase}"' for word, phrase in self.read]
        lost = [", ".join(f'"{word}"' for word in self.ignored) + " not understood"] if self.ignored else []
        result = f'read as "{self.text}"' if self.text else "left out"
        return f'"{self.asked}" is {result}' + (f" ({'; '.join(taken + lost)})" if taken or lost else "")


def understand(text: str, vocabulary: Collection[str], *, negative: bool = False) -> Understood:
    """The nearest sentence that the model knows; `text` itself where it knows every word.

    What a prompt leaves open is filled in with what is usual. A negative prompt keeps only what it says, which may be
    nothing, as for "blurry".
    """
    unknown = unknown_words(text, vocabulary)
    if not unknown:
        return Understood(text, text)
    found: dict[str, str] = {}
    meanings, ignored = [], []
    for word in _words(text):
        meaning = _meaning(word)
        if meaning:
            meanings.append((word, *meaning))
            found.setdefault(*meaning)
        elif word in unknown and word not in words.STOP_WORDS and not _close(word, vocabulary):
            ignored.append(word)
    if found.get("action") == "walk" and any(value == "run" for _, _, value in meanings):
        found["action"] = "run"  # "drives fast"
    phrases = _phrases(found if negative else USUAL | found)
    read = {word: phrases[slot] for word, slot, _ in meanings if word not in vocabulary and phrases.get(slot)}
    sentence = " ".join(phrase for phrase in phrases.values() if phrase)
    return Understood(text, sentence, tuple(read.items()), tuple(dict.fromkeys(ignored)))


def read(schedule: PromptSchedule, vocabulary: Collection[str], *, negative: bool) -> Reading:
    """The schedule in sentences that the model knows, and what became of each text that it did not know."""
    understood = {text: understand(text, vocabulary, negative=negative) for text in schedule.texts()}
    return Reading(
        schedule.translated({text: item.text for text, item in understood.items()}),
        tuple(str(item) for item in understood.values() if item.changed),
    )


def _words(text: str) -> Iterator[str]:
    """Lower-case words; two or three that mean one thing are one."""
    found = words_of(text)
    at = 0
    while at < len(found):
        for length in (3, 2, 1):
            phrase = " ".join(found[at : at + length])
            if length == 1 or phrase in words.PHRASES or _singular(phrase) in words.PHRASES:
                yield phrase
                at += min(length, len(found) - at)
                break


def _meaning(word: str) -> tuple[str, str] | None:
    """Slot and value of a word, in any of its forms, or with a slip of the pen."""
    word = words.PHRASES.get(word) or words.PHRASES.get(_singular(word)) or word
    for form in _forms(word):
        if form in MEANINGS:
            return MEANINGS[form]
    if word in words.STOP_WORDS:
        return None
    close = _close(word, MEANINGS)
    return MEANINGS[close[0]] if close else None


def _close(word: str, known: Collection[str]) -> list[str]:
    return get_close_matches(word, known, 1, LIKENESS)


def _singular(word: str) -> str:
    return word.removesuffix("s")


def _forms(word: str) -> Iterator[str]:
    """The word, then what it may be a form of: walks, dances, hopped, racing, quickly, cat's."""
    yield word
    for ending in ("'s", "s", "es", "ed", "d", "ing", "ly", "y"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 2:
            yield stem
            yield stem + "e"
            if stem[-1] == stem[-2]:
                yield stem[:-1]


def _phrases(found: dict[str, str]) -> dict[str, str]:
    """The parts of the world's canonical sentence (`diorama.caption`), in its order, that are there to be said."""
    subject, action, scene = found.get("subject"), found.get("action"), found.get("scene", "")
    phrases = {}
    if subject:
        phrases["subject"] = f"{'an' if subject[0] in 'aeio' else 'a'} {subject}"
    if action in words.MOVING:
        phrases["action"] = words.MOVING[action][words.SUBJECTS[subject or USUAL["subject"]][0]]
        phrases["direction"] = found.get("direction", "")
    elif action:
        phrases["action"] = words.IN_PLACE[action]
    phrases["scene"] = scene
    if scene != words.MOON:
        phrases |= {slot: found.get(slot, "") for slot in ("time", "weather")}
    return phrases
