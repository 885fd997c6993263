"""Words of a prompt that a small model has never seen, and the known words they may stand for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from unicodedata import normalize

# [a-z0-9'-]+ with the letters of every alphabet, so that a prompt in another language is not passed over.
_WORD = re.compile(r"(?:[^\W_]|['-])+")
_LIKENESS = 0.5  # difflib's ratio from which two words count as near


@dataclass(frozen=True)
class UnknownWord:
    """A word the vocabulary lacks, and up to three of its words that look like it, nearest first."""

    word: str
    nearest: tuple[str, ...]


def unknown_words(text: str, vocabulary: Collection[str]) -> list[UnknownWord]:
    """The words of `text` that are not in `vocabulary`, each once, in the order of the text."""
    known = {word.lower() for word in vocabulary}
    plain = normalize("NFC", text).lower().replace("\u2019", "'")
    words = (match.strip("'-") for match in _WORD.findall(plain))
    missing = dict.fromkeys(word for word in words if word and word not in known)
    candidates = sorted(known)
    return [UnknownWord(word, tuple(get_close_matches(word, candidates, 3, _LIKENESS))) for word in missing]


def warning_text(unknown: Iterable[UnknownWord], model: str = "the embedded model") -> str:
    """One sentence a word, ready to be shown; empty if there is nothing to warn of."""
    sentences = []
    for item in unknown:
        nearest = f"nearest: {', '.join(item.nearest)}" if item.nearest else "no known word is near it"
        sentences.append(f'"{item.word}" is not a word {model} knows; {nearest}.')
    return " ".join(sentences)
