"""Words of a prompt that a small model has never seen."""

from __future__ import annotations

import re
from collections.abc import Collection
from unicodedata import normalize

# [a-z0-9'-]+ with the letters of every alphabet, so that a prompt in another language is not passed over.
_WORD = re.compile(r"(?:[^\W_]|['-])+")


def words_of(text: str) -> list[str]:
    """The words of `text` in lower case, in its order."""
    plain = normalize("NFC", text).lower().replace("\u2019", "'")
    return [word for match in _WORD.findall(plain) if (word := match.strip("'-"))]


def unknown_words(text: str, vocabulary: Collection[str]) -> list[str]:
    """The words of `text` that are not in `vocabulary`, each once, in the order of the text."""
    known = {word.lower() for word in vocabulary}
    return [word for word in dict.fromkeys(words_of(text)) if word not in known]
