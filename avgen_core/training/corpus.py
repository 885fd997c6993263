"""Diorama clips for training: an endless stream, and a corpus of shards on disk that trainings share.

`video_corpus` makes such a corpus of videos.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from ..diorama import Episode, random_episode

SHARD_CLIPS = 48  # 14 MB of frames: small files travel everywhere
RENDERS = ""  # the source of rendered shards


class DioramaStream(IterableDataset):
    """Endless random clips; every clip is named by its seed, and workers take turns, so nothing repeats."""

    def __init__(self, seed: int, frames: int = 24, size: int = 64) -> None:
        self.seed, self.frames, self.size = seed, frames, size

    def __iter__(self) -> Iterator[Episode]:
        worker = get_worker_info()
        index, step = (worker.id, worker.num_workers) if worker else (0, 1)
        while True:
            yield random_episode(clip_seed(self.seed, index), self.frames, self.size)
            index += step


def clip_seed(seed: int, index: int) -> int:
    """Seed of clip `index` of the stream `seed`."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True)
class CorpusSpec:
    """What is rendered: `shards` x 48 clips of `frames` frames at `size` pixels."""

    folder: Path
    shards: int
    frames: int = 24
    size: int = 64
    seed: int = 0


def render_corpus(spec: CorpusSpec, workers: int = 1) -> None:
    """Render the shards that are missing. A shard appears under its name only when it is complete.

    Raises:
        ValueError: the folder holds a corpus of videos.
    """
    shards_of(spec.folder, RENDERS)
    spec.folder.mkdir(parents=True, exist_ok=True)
    missing = [(spec, shard) for shard in range(spec.shards) if not _captions_file(spec.folder, shard).exists()]
    if workers == 1:
        for job in missing:
            _render_shard(*job)
        return
    with get_context("spawn").Pool(workers) as pool:
        pool.starmap(_render_shard, missing, chunksize=1)


def _frames_file(folder: Path, shard: int) -> Path:
    return folder / f"frames-{shard:05d}.npy"


def _captions_file(folder: Path, shard: int) -> Path:
    return folder / f"captions-{shard:05d}.json"


def _complete_shards(folder: Path) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("captions-*.json"))


def _render_shard(spec: CorpusSpec, shard: int) -> None:
    first = shard * SHARD_CLIPS
    episodes = [
        random_episode(clip_seed(spec.seed, index), spec.frames, spec.size)
        for index in range(first, first + SHARD_CLIPS)
    ]
    labels = [
        {"starts": e.starts, "captions": e.captions, "attributes": [asdict(a) for a in e.attributes]} for e in episodes
    ]
    write_shard(spec.folder, shard, np.stack([e.frames for e in episodes]), labels)


def write_shard(folder: Path, shard: int, frames: np.ndarray, labels: list[dict[str, Any]]) -> None:
    """Clips (N, F, size, size, 3) uint8, and what each shows: `starts`, `captions`, `attributes` of its segments.

    Clips of videos have no attributes, but a `source`: what they were made of.
    """
    target = _frames_file(folder, shard)
    partial = target.with_suffix(".part.npy")
    np.save(partial, frames)
    os.replace(partial, target)
    captions = _captions_file(folder, shard)
    captions.with_suffix(".part").write_text(json.dumps(labels))
    os.replace(captions.with_suffix(".part"), captions)  # written last: its presence marks the shard complete


def shards_of(folder: Path, source: str) -> list[int]:
    """The shards that a folder holds.

    Raises:
        ValueError: they were made of something else than `source`.
    """
    shards = _complete_shards(folder)
    labels = (json.loads(_captions_file(folder, shard).read_text()) for shard in shards)
    if any(clips[0].get("source", RENDERS) != source for clips in labels):
        raise ValueError(
            f"{folder} holds another corpus, of renders, or of other videos or captions: name another folder with "
            "--data"
        )
    return shards


@dataclass(frozen=True)
class Label:
    """First frame and caption of each segment of one clip, and the subject of all of them; that of videos is ""."""

    starts: tuple[int, ...]
    captions: tuple[str, ...]
    subject: str


class Corpus:
    """Shards complete when it was opened: `frames(shard)` (N, F, size, size, 3) uint8, mapped, and labels."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.shards = _complete_shards(self.folder)
        if not self.shards:
            raise FileNotFoundError(
                f"no corpus in {folder}: render one with `python -m avgen_core train corpus --data {folder}`, or make "
                "it of your videos with --videos"
            )

    def digest(self, shards: list[int] | None = None) -> str:
        """Of what the clips of some shards, or of all, show, and of their size."""
        shards = self.shards if shards is None else shards
        captions = b"".join(_captions_file(self.folder, shard).read_bytes() for shard in shards)
        return hashlib.sha256(captions + repr(self.frames(shards[0]).shape).encode()).hexdigest()[:12]

    def frames(self, shard: int) -> np.ndarray:
        return np.load(_frames_file(self.folder, shard), mmap_mode="r")

    def labels(self, shard: int) -> list[Label]:
        entries = json.loads(_captions_file(self.folder, shard).read_text())
        return [
            Label(
                tuple(entry["starts"]),
                tuple(entry["captions"]),
                entry["attributes"][0]["subject"] if entry["attributes"] else "",
            )
            for entry in entries
        ]
