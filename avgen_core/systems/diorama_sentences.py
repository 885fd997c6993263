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
# A word may be another one with a slip of the pen: from this ratio of difflib on, and from this length on.
LIKENESS, SHORTEST = 0.8, 5
_WITHIN = {"run": "walk"}  # a value that is said along with another one


@dataclass(frozen=True)
class Understood:
    """A prompt as the embedded model reads it.

    read: words of the prompt that it does not know, with what they were taken for; left: those of its words that the
    sentence has no place for, or that say nothing to it.
    """

    asked: str
    text: str
    read: tuple[tuple[str, str], ...] = ()
    left: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return self.text != self.asked

    def __str__(self) -> str:
        """What became of the prompt, for its author."""
        notes = [f'"{word}" as "{phrase}"' for word, phrase in self.read]
        if self.left:
            notes.append("left out: " + ", ".join(f'"{word}"' for word in self.left))
        result = f'read as "{self.text}"' if self.text else "left out"
        return f'"{self.asked}" is {result}' + (f" ({'; '.join(notes)})" if notes else "")


@dataclass(frozen=True)
class Meant:
    """A word (or words) of a prompt, and the value of a slot that it stands for."""

    word: str
    slot: str
    value: str


def understand(text: str, vocabulary: Collection[str], *, negative: bool = False) -> Understood:
    """The nearest sentence that the model knows; `text` itself where it knows every word.

    What a prompt leaves open is filled in with what is usual. A negative prompt keeps only what it says, which may be
    nothing, as for "blurry".
    """
    if not unknown_words(text, vocabulary):
        return Understood(text, text)
    asked = list(_words(text))
    plainly = {word: _plainly(word) for word in asked}
    plain = [meant for word in asked if (meant := plainly[word])]
    guessed = [meant for word in asked if not plainly[word] and (meant := _nearly(word, vocabulary))]
    found: dict[str, str] = {}
    for meant in (*plain, *guessed):  # a guess counts only where nothing is said plainly
        found.setdefault(meant.slot, meant.value)
    if found.get("action") == "walk" and any(meant.value == "run" for meant in plain):
        found["action"] = "run"  # "drives fast": the first word is in it too
    phrases = _phrases(found if negative else USUAL | found)
    used = {m.word: m for m in (*plain, *guessed) if m.value in (found[m.slot], _WITHIN.get(found[m.slot]))}
    known = {*vocabulary, *words.STOP_WORDS}
    strange = [word for word in dict.fromkeys(asked) if not set(word.split()) <= known]
    lost = {meant.word for meant in plain if meant.word not in used}
    return Understood(
        text,
        " ".join(phrase for phrase in phrases.values() if phrase),
        tuple((word, phrases[used[word].slot]) for word in strange if word in used and phrases.get(used[word].slot)),
        tuple(word for word in dict.fromkeys(asked) if word in lost or (word in strange and word not in used)),
    )


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
            if length == 1 or _phrase(phrase):
                yield phrase
                at += min(length, len(found) - at)
                break


def _phrase(text: str) -> str | None:
    """The word that several words mean, in singular or plural."""
    return words.PHRASES.get(text) or words.PHRASES.get(text.removesuffix("s"))


def _plainly(word: str) -> Meant | None:
    """What a word means in any of its forms."""
    for form in _forms(_phrase(word) or word):
        if form in MEANINGS:
            return Meant(word, *MEANINGS[form])
    return None


def _nearly(word: str, vocabulary: Collection[str]) -> Meant | None:
    """What a word means with a slip of the pen; its first letter is right."""
    if len(word) < SHORTEST or word in vocabulary or word in words.NO_SLIPS:
        return None
    candidates = [known for known in MEANINGS if known[0] == word[0] and len(known) >= SHORTEST - 1]
    close = get_close_matches(word, candidates, 1, LIKENESS)
    return Meant(word, *MEANINGS[close[0]]) if close else None


def _forms(word: str) -> Iterator[str]:
    """The word, then what it may be a form of: walks, dances, hopped, racing, quickly, cat's."""
    yield word
    for ending in ("'s", "s", "es", "ed", "ing", "ly"):
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 3:
            continue
        yield stem
        if ending in ("es", "ed", "ing"):
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
