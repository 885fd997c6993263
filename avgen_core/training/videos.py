"""Where training clips come from: a folder of videos, or the diorama corpus, both behind `ClipSource`.

PyAV is imported where a folder of videos is opened: the corpus does without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .. import diorama
from ..diorama.attributes import SUBJECTS
from ..media.decode import fitted
from ..systems.ar_diffusion import FPS
from .corpus import Corpus

NO_CLASS = -1


@dataclass(frozen=True)
class Video:
    """A video, or an image, which has one frame.

    label: index into the source's classes, or NO_CLASS. fps: its own frames a second; 0 where it has none.
    """

    name: str
    frames: int
    label: int
    fps: float = field(default=0.0, repr=False)  # no part of digests, which are made of what is printed


class ClipSource(Protocol):
    """Videos whose frames can be read at any place, all as squares of `size` pixels."""

    size: int
    fps: float
    classes: tuple[str, ...]  # empty where there are none
    videos: tuple[Video, ...]
    digest: str  # of the data: other videos, or other sizes of their frames, have another

    def frames(self, video: int, start: int, count: int, step: int = 1) -> Iterator[Tensor]:
        """Frames start, start + step, ... of a video, `count` of them, each (3, size, size) float in 0..1."""


def to_square(frame: np.ndarray, size: int) -> Tensor:
    """A frame (H, W, 3) uint8 to (3, size, size) float in 0..1, `fitted`."""
    return fitted(torch.from_numpy(np.array(frame))[None].float().div(255), size, size)[0].permute(2, 0, 1)


class VideoFolder:
    """All videos and images below a folder. The first sub-folder on the way to a file is its class."""

    def __init__(self, folder: Path, size: int, cache: Path) -> None:
        """`cache` keeps the index. Raises FileNotFoundError when nothing can be read."""
        from .video_index import index_folder

        self.folder, self.size = folder, size
        files = index_folder(folder, cache)
        self.classes = tuple(sorted({file.name.split("/")[0] for file in files if "/" in file.name}))
        labels = {name: number for number, name in enumerate(self.classes)}
        self.videos = tuple(
            Video(
                file.name,
                file.measured.frames,
                labels.get(file.name.split("/")[0], NO_CLASS),
                file.measured.rate,
            )
            for file in files
        )
        self.digest = digest_of((size, [file.size for file in files], self.videos))
        self._entries = [file.measured.entries for file in files]
        self.fps = median([file.measured.rate for file in files if file.measured.rate] or [FPS])

    def frames(self, video: int, start: int, count: int, step: int = 1) -> Iterator[Tensor]:
        from .video_file import read_frames

        path = self.folder / self.videos[video].name
        for frame in read_frames(path, self._entries[video], start, count, step):
            yield to_square(frame, self.size)


class DioramaClips:
    """The corpus; the class of a clip is its subject. One that is made of videos has no classes."""

    fps = float(diorama.FPS)

    def __init__(self, corpus: Corpus, size: int) -> None:
        self.corpus, self.size = corpus, size
        self.digest = digest_of((size, corpus.digest()))
        self._places = [(shard, clip) for shard in corpus.shards for clip in range(len(corpus.labels(shard)))]
        frames = corpus.frames(corpus.shards[0]).shape[1]
        self.classes = tuple(SUBJECTS) if corpus.labels(corpus.shards[0])[0].subject else ()
        classes = {subject: number for number, subject in enumerate(self.classes)}
        self.videos = tuple(
            Video(f"{shard:05d}/{clip:02d}", frames, classes.get(label.subject, NO_CLASS))
            for shard in corpus.shards
            for clip, label in enumerate(corpus.labels(shard))
        )

    def frames(self, video: int, start: int, count: int, step: int = 1) -> Iterator[Tensor]:
        shard, clip = self._places[video]
        clips = self.corpus.frames(shard)
        for number in range(start, start + count * step, step):
            yield to_square(clips[clip, number], self.size)


def digest_of(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:12]


def open_source(folder: Path, size: int, cache: Path) -> ClipSource:
    """The diorama corpus where `folder` holds one, else the videos below it.

    Raises:
        FileNotFoundError: there is neither.
    """
    if any(folder.glob("captions-*.json")):
        return DioramaClips(Corpus(folder), size)
    return VideoFolder(folder, size, cache)


@dataclass(frozen=True)
class ClipSpec:
    """Which clips there are: `frames` frames, each `frame_step` after the last; one starts every `stride` frames."""

    frames: int
    frame_step: int = 1
    stride: int = 1

    def __post_init__(self) -> None:
        if min(self.frames, self.frame_step, self.stride) < 1:
            raise ValueError(
                "frames, frame step and stride must be at least 1, "
                f"got {self.frames}, {self.frame_step} and {self.stride}"
            )

    @property
    def span(self) -> int:
        """Frames of a video from the first to the last of a clip."""
        return (self.frames - 1) * self.frame_step + 1


class ClipTable:
    """All clips of videos with the given numbers of frames; every clip is drawn equally often.

    Raises:
        ValueError: no video is long enough.
    """

    def __init__(self, lengths: list[int], spec: ClipSpec) -> None:
        counts = [max(0, (length - spec.span) // spec.stride + 1) for length in lengths]
        self.spec = spec
        self._video = np.repeat(np.arange(len(lengths)), counts)
        if not len(self._video):
            raise ValueError(
                f"no video has the {spec.span} frames that a clip spans ({spec.frames} frames, {spec.frame_step} "
                f"apart); the longest has {max(lengths, default=0)}: choose shorter clips or a smaller frame step"
            )
        first = np.cumsum([0, *counts[:-1]])
        self._start = (np.arange(len(self._video)) - first[self._video]) * spec.stride

    def __len__(self) -> int:
        return len(self._video)

    def draw(self, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
        """`count` clips, each as its video and first frame."""
        picked = rng.integers(len(self), size=count)
        return list(zip(self._video[picked].tolist(), self._start[picked].tolist(), strict=True))


class RandomClips:
    """Batches of clips, read from their source as they are needed."""

    def __init__(self, source: ClipSource, spec: ClipSpec) -> None:
        self.source = source
        self.table = ClipTable([video.frames for video in source.videos], spec)

    def draw(self, seed: int, step: int, batch: int, rows: slice) -> Tensor:
        """These rows of batch `step` of `batch` clips, (n, frames, 3, size, size) in 0..1."""
        spec = self.table.spec
        chosen = self.table.draw(np.random.default_rng((seed, step)), batch)[rows]
        clips = (self.source.frames(video, start, spec.frames, spec.frame_step) for video, start in chosen)
        return torch.stack([torch.stack(list(clip)) for clip in clips])
