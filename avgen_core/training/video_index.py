"""What a folder of videos holds: every file read once to its end, and the findings kept for the next time."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ..rollout.files import written_whole
from .video_file import IMAGE_SUFFIXES, VIDEO_SUFFIXES, DamagedFile, Entry, Measured, measure

log = logging.getLogger(__name__)

INDEX = "videos.json"
KEEP_SECONDS = 60.0


@dataclass(frozen=True)
class IndexedFile:
    """A readable file of the folder; `name` is its path below it, with forward slashes."""

    name: str
    size: int  # bytes
    measured: Measured


def index_folder(folder: Path, cache: Path) -> list[IndexedFile]:
    """The videos and images below `folder`, by name; damaged files are left out, with a warning for each.

    The index is kept in `cache`; a file whose size or time has changed is read again.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it can be read.
    """
    paths = _candidates(folder, cache)
    known, found = _read(cache / INDEX), {}
    last = time.monotonic()
    for name, path in paths.items():
        stat = path.stat()
        signature = [stat.st_size, stat.st_mtime_ns]
        entry = known.get(name)
        if entry is None or entry["signature"] != signature:
            entry = {"signature": signature, **_measured(path)}
        found[name] = entry
        if time.monotonic() - last > KEEP_SECONDS:
            _write(cache / INDEX, known | found)
            last = time.monotonic()
    if found != known:
        _write(cache / INDEX, found)
    for name, entry in found.items():
        if "damaged" in entry:
            log.warning("left out, since it cannot be read: %s (%s)", name, entry["damaged"])
    files = [
        IndexedFile(name, e["signature"][0], _from_json(e["measured"])) for name, e in found.items() if "measured" in e
    ]
    if not files:
        raise FileNotFoundError(f"none of the {len(found)} videos and images in {folder} can be read")
    return files


def _candidates(folder: Path, cache: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    suffixes = VIDEO_SUFFIXES | IMAGE_SUFFIXES
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in suffixes and path.is_file() and cache not in path.parents
    }
    if not found:
        raise FileNotFoundError(f"{folder} holds no videos or images: files must end in {' '.join(sorted(suffixes))}")
    return found


def _measured(path: Path) -> dict:
    try:
        return {"measured": asdict(measure(path))}
    except DamagedFile as error:
        return {"damaged": str(error)}


def _from_json(content: dict) -> Measured:
    entries = tuple(Entry(**entry) for entry in content["entries"])
    return Measured(**{**content, "entries": entries})


def _read(path: Path) -> dict[str, dict]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _write(path: Path, content: dict[str, dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content), "utf-8")
