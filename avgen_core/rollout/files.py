"""Files that are either whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class RunError(ValueError):
    """A run that cannot be read, continued or written; the message says which and what to do."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary neighbour of `path` that takes its name when the block ends well, and vanishes otherwise."""
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def linked(source: Path, target: Path) -> None:
    """`target` with the content of `source`, without a second copy on disk where the file system allows it."""
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())
