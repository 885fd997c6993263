"""A corpus of captioned videos: what the steps of the embedded model learn from, in the place of renders."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..diorama import FPS, vocabulary
from ..networks.text_encoder import WORD
from ..prompts import PromptSchedule
from . import corpus
from .videos import ClipSource, ClipSpec, ClipTable, digest_of

log = logging.getLogger(__name__)


class VideoCorpus:
    """Clips of videos, one behind the other, with as many frames a second as the embedded model makes (the nearest)."""

    def __init__(self, source: ClipSource, captions: list[PromptSchedule], frames: int = 24) -> None:
        """`captions`: of each video, over its own frames; `frames`: of a clip.

        Raises:
            ValueError: no video is long enough.
        """
        step = max(1, round(source.fps / FPS))
        spec = ClipSpec(frames, step, stride=frames * step)
        self.source, self.captions, self.spec = source, captions, spec
        self.clips = list(ClipTable([video.frames for video in source.videos], spec))
        self.digest = digest_of((source.digest, spec, [caption.segments for caption in captions]))

    def unknown_words(self) -> list[str]:
        """Words of the captions that the embedded text encoder has no token of its own for."""
        texts = " ".join(text for caption in self.captions for text in caption.texts())
        return sorted(set(WORD.findall(texts.lower())) - set(vocabulary()))

    def write(self, folder: Path) -> None:
        """Write the shards that are missing.

        Raises:
            ValueError: the folder holds another corpus.
        """
        unknown = self.unknown_words()
        if unknown:
            log.warning("words that the text encoder takes for one and the same: %s", ", ".join(unknown))
        there = corpus.sources(folder)
        if set(there.values()) - {self.digest}:
            raise ValueError(
                f"{folder} holds another corpus, of renders, or of other videos or captions: name another folder with "
                "--data"
            )
        folder.mkdir(parents=True, exist_ok=True)
        for shard, first in enumerate(range(0, len(self.clips), corpus.SHARD_CLIPS)):
            if shard not in there:
                clips = self.clips[first : first + corpus.SHARD_CLIPS]
                frames = np.stack([self._frames(video, start) for video, start in clips])
                corpus.write_shard(folder, shard, frames, [self._label(video, start) for video, start in clips])

    def _frames(self, video: int, start: int) -> np.ndarray:
        """A clip (F, size, size, 3) uint8."""
        frames = self.source.frames(video, start, self.spec.frames, self.spec.frame_step)
        return np.stack([frame.permute(1, 2, 0).mul(255).round().byte().numpy() for frame in frames])

    def _label(self, video: int, start: int) -> dict[str, Any]:
        found = dict(self._changes(video, start))
        return {"starts": list(found), "captions": list(found.values()), "attributes": [], "source": self.digest}

    def _changes(self, video: int, start: int) -> Iterator[tuple[int, str]]:
        """The frames of a clip at which its caption changes, and that caption."""
        before = None
        for frame in range(self.spec.frames):
            text = self.captions[video].at(start + frame * self.spec.frame_step)[0][0]
            if text != before:
                yield frame, text
            before = text
