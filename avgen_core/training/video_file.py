"""One video or image file: how many frames it has, and frames from any place in it, without reading all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
     ".ts", ".vob", ".webm", ".wmv", ".y4m"}
)  # fmt: skip
ENTRY_DISTANCE = 12  # frames: entries closer to each other than this would save no time


class DamagedFile(ValueError):
    """A file that cannot be read to its end."""


@dataclass(frozen=True)
class Entry:
    """A place where reading can begin: the number of a frame and its time stamp."""

    frame: int
    stamp: int


@dataclass(frozen=True)
class Measured:
    """What reading a file once has shown; `rate` is its frames a second, 0 where it has none."""

    frames: int
    width: int
    height: int
    rate: float
    entries: tuple[Entry, ...]


def is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def measure(path: Path) -> Measured:
    """Read a file to its end. Raises DamagedFile."""
    try:
        return _measure_image(path) if is_image(path) else _measure_video(path)
    except (av.FFmpegError, Image.DecompressionBombError, UnidentifiedImageError, OSError, SyntaxError) as error:
        # Pillow reports some broken PNG files as SyntaxError.
        raise DamagedFile(f"{path.name}: {error}") from error


def _measure_image(path: Path) -> Measured:
    with Image.open(path) as image:
        image.load()
        return Measured(1, image.width, image.height, 0.0, ())


def _measure_video(path: Path) -> Measured:
    entries: list[Entry] = []
    frames, size = 0, None
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise DamagedFile(f"{path.name}: it has no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or 0)
        for frame in container.decode(video=0):
            size = size or (frame.width, frame.height)
            far = not entries or frames - entries[-1].frame >= ENTRY_DISTANCE
            if frame.key_frame and frame.pts is not None and far:
                entries.append(Entry(frames, frame.pts))
            frames += 1
    if size is None:
        raise DamagedFile(f"{path.name}: it has no frames")
    return Measured(frames, *size, rate, tuple(entries))


def _image_of(path: Path) -> Iterator[np.ndarray]:
    with Image.open(path) as image:
        yield np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def read_frames(path: Path, entries: tuple[Entry, ...], start: int, count: int, step: int = 1) -> Iterator[np.ndarray]:
    """Frames start, start + step, ... (H, W, 3) uint8, `count` of them. Raises DamagedFile when there are fewer."""
    frames = _image_of(path) if is_image(path) else _frames_from(path, entries, start)
    found = 0
    try:
        for frame in islice(frames, 0, (count - 1) * step + 1, step):
            found += 1
            yield frame
    except (av.FFmpegError, OSError) as error:
        raise DamagedFile(f"{path.name}: {error}") from error
    if found < count:
        raise DamagedFile(f"{path.name} ended at frame {start + found * step}: it has changed since it was indexed")


def _frames_from(path: Path, entries: tuple[Entry, ...], start: int) -> Iterator[np.ndarray]:
    """Frames from `start` on, decoded from the last entry before it.

    Where seeking does not lead to exactly that frame, which some containers cannot, they are decoded from the first.
    """
    entry = next((e for e in reversed(entries) if 0 < e.frame <= start), None)
    if entry is not None:
        with av.open(str(path)) as container:
            frames = _frames_at(container, entry)
            if frames is not None:
                yield from _pictures(frames, start - entry.frame)
                return
    with av.open(str(path)) as container:
        yield from _pictures(container.decode(video=0), start)


def _frames_at(container: av.container.InputContainer, entry: Entry) -> Iterator[av.VideoFrame] | None:
    """Frames from an entry on, or None when it cannot be reached."""
    stream = container.streams.video[0]
    container.seek(entry.stamp, stream=stream)
    decoded = container.decode(stream)
    for frame in decoded:
        if frame.pts == entry.stamp:
            return chain([frame], decoded)
        if frame.pts is None or frame.pts > entry.stamp:
            break
    return None


def _pictures(frames: Iterator[av.VideoFrame], skipped: int) -> Iterator[np.ndarray]:
    return (_upright(frame) for frame in islice(frames, skipped, None))


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """As a player shows it: phones store what their sensor saw, and how far it has to be turned."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
