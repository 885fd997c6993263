"""FizzNodes' prompt schedule: a JSON object of frame -> prompt, its braces and last comma optional.

Read key by key rather than with `json.loads`, which drops duplicate keys and forgets where each stood.
"""

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder

from .source import Entry, PromptScheduleError, error_at, position_of

_DECODER = JSONDecoder(strict=False)  # FizzNodes lets a prompt run over several lines
_SPACE = re.compile(r"\s*")
_WITH_BRACE = re.compile(r"""\s*\{\s*(?:["'}]|\Z|[-+.\w]+\s*:)""")
_QUOTED_KEY = re.compile(r"""\s*(["'])\s*(?:[-+(.]*[0-9]|\(*max_f)[^"'\n]*\1\s*:""")
_QUOTES_AND_COLON = re.compile(r"""\s*".*"\s*:\s*\"""", re.DOTALL)
_FIZZ_ONLY = re.compile(r"--neg\b|`[^`]*`")


def is_json_body(source: str) -> bool:
    """Whether the text was meant as a JSON body (it may be a broken one)."""
    return any(pattern.match(source) for pattern in (_WITH_BRACE, _QUOTED_KEY, _QUOTES_AND_COLON))


def read_json_body(source: str) -> list[Entry]:
    """The entries in the order written; whether their frames make sense is not judged here."""
    start = _skip(source, 0)
    braced = source[start] == "{"
    position = _skip(source, start + 1) if braced else start
    entries: list[Entry] = []
    while source[position : position + 1] not in ("", "}"):
        entry, position = _read_pair(source, position)
        entries.append(entry)
        if source[position : position + 1] == ",":
            position = _skip(source, position + 1)
        elif source[position : position + 1] not in ("", "}"):
            raise _malformed(source, position, "a comma between prompts")
    if braced and position == len(source):
        raise error_at(source, start, "malformed JSON: this { is never closed; add } at the end or leave it out")
    if not braced and position < len(source):
        raise error_at(source, position, "malformed JSON: this } has no { at the start; add it or leave out both")
    end = _skip(source, position + 1)
    if end < len(source):
        raise _malformed(source, end, "nothing after the closing }")
    if not entries:
        raise error_at(source, start, 'the schedule has no prompts; write at least {"0": "a prompt"}')
    return entries


def _read_pair(source: str, start: int) -> tuple[Entry, int]:
    """One `"frame": "prompt"`, and the position of what follows it."""
    key, position = _read_string(source, start, 'a frame number in double quotes such as "24"')
    if source[position : position + 1] != ":":
        raise _malformed(source, position, f'a colon after the key "{key}"')
    value_start = _skip(source, position + 1)
    value, position = _read_string(source, value_start, f'the prompt of "{key}" in double quotes')
    if not re.fullmatch(r"\s*-?[0-9]{1,12}\s*", key):
        raise error_at(
            source,
            start,
            f'the key "{key}" is not a frame number; keys are whole numbers such as "24". Expressions are '
            "not evaluated: write the number itself, or header lines such as `1.5s: a prompt`",
        )
    fizz = _FIZZ_ONLY.search(value)
    if fizz:
        raise error_at(
            source,
            value_start,
            f'`{fizz[0].strip("`")}` in the prompt of "{key}" is FizzNodes\' own syntax and is not '
            "evaluated; write the words themselves, and a negative prompt in its own input",
        )
    line, column = position_of(source, start)
    return Entry(int(key), " ".join(value.split()), f'"{key}"', line, column), position


def _read_string(source: str, start: int, expected: str) -> tuple[str, int]:
    if source[start : start + 1] != '"':
        raise _malformed(source, start, expected)
    try:
        text, end = _DECODER.raw_decode(source, start)
    except JSONDecodeError as error:
        raise error_at(source, error.pos, f"malformed JSON: {error.msg}") from error
    return text, _skip(source, end)


def _malformed(source: str, position: int, expected: str) -> PromptScheduleError:
    found = repr(source[position]) if position < len(source) else "the end of the text"
    return error_at(source, position, f"malformed JSON: expected {expected}, found {found}")


def _skip(source: str, position: int) -> int:
    """The position of the next character that is not white space."""
    match = _SPACE.match(source, position)
    return match.end() if match else position
