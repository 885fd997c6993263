"""A corpus of captioned videos: what the embedded model, ART-V and ARLON learn from in the place of renders."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..diorama import FPS, vocabulary
from ..networks.text_encoder import TextEncoderConfig
from ..prompts import unknown_words, words_of
from ..systems.many_videos import to_pixels
from . import corpus
from .captioned_videos import read_captions
from .videos import VideoFolder, digest_of

log = logging.getLogger(__name__)


class VideoCorpus:
    """Clips of a folder's videos, one behind the other, at about as many frames a second as the model makes."""

    def __init__(self, source: VideoFolder, frames: int = corpus.CorpusSpec.frames) -> None:
        """`frames`: of a clip.

        Raises:
            FileNotFoundError: a video has no caption.
            ValueError: a caption is no prompt schedule, or no video is long enough.
        """
        self.source, self.frames = source, frames
        self.steps = {number: self._step_of(number) for number in range(len(source.videos)) if self._count(number)}
        if not self.steps:
            raise ValueError(
                f"no video in {source.folder} has {frames} frames at {FPS} a second, which are {frames / FPS:g} "
                "seconds: add longer ones"
            )
        names = [source.videos[number].name for number in self.steps]
        rates = [source.videos[number].fps or source.fps for number in self.steps]
        self.captions = dict(zip(self.steps, read_captions(source.folder, names, rates), strict=True))
        self.digest = digest_of((source.digest, frames, self.steps, [c.segments for c in self.captions.values()]))

    def write(self, folder: Path) -> None:
        """Write the shards that are missing.

        Raises:
            ValueError: the folder holds another corpus.
        """
        self._tell()
        there = corpus.shards_of(folder, self.digest)
        folder.mkdir(parents=True, exist_ok=True)
        clips = list(self._clips())
        for shard, first in enumerate(range(0, len(clips), corpus.SHARD_CLIPS)):
            if shard not in there:
                some = clips[first : first + corpus.SHARD_CLIPS]
                frames = np.stack([self._frames(video, start) for video, start in some])
                corpus.write_shard(folder, shard, frames, [self._label(video, start) for video, start in some])

    def _step_of(self, video: int) -> int:
        """Frames of a video from one frame of a clip to the next."""
        return max(1, round((self.source.videos[video].fps or self.source.fps) / FPS))

    def _count(self, video: int) -> int:
        """Clips of a video; behind the last frame of a clip it need not go on."""
        step = self._step_of(video)
        return (self.source.videos[video].frames + step - 1) // (self.frames * step)

    def _clips(self) -> Iterator[tuple[int, int]]:
        """Each clip as its video and first frame."""
        for video, step in self.steps.items():
            yield from ((video, clip * self.frames * step) for clip in range(self._count(video)))

    def _tell(self) -> None:
        """What of the folder is not learned as it is."""
        short = len(self.source.videos) - len(self.steps)
        if short:
            log.warning("left out, since they are too short for a clip or are images: %d files", short)
        texts = list(dict.fromkeys(text for caption in self.captions.values() for text in caption.texts()))
        unknown = unknown_words("\n".join(texts), vocabulary())
        if unknown:
            log.warning("words that the text encoder takes for one and the same: %s", ", ".join(unknown))
        most = TextEncoderConfig.text_len - 1  # and a start token
        long = [text for text in texts if len(list(words_of(text))) > most]
        if long:
            log.warning("captions of more than %d words, which are cut: %d, such as %r", most, len(long), long[0])

    def _frames(self, video: int, start: int) -> np.ndarray:
        """A clip (F, size, size, 3) uint8."""
        frames = torch.stack(list(self.source.frames(video, start, self.frames, self.steps[video])))
        return to_pixels(frames.permute(0, 2, 3, 1))

    def _label(self, video: int, start: int) -> dict[str, Any]:
        found = dict(self._changes(video, start))
        return {"starts": list(found), "captions": list(found.values()), "attributes": [], "source": self.digest}

    def _changes(self, video: int, start: int) -> Iterator[tuple[int, str]]:
        """The frames of a clip at which its caption changes, and that caption."""
        before = None
        for frame in range(self.frames):
            text = self.captions[video].at(start + frame * self.steps[video])[0][0]
            if text != before:
                yield frame, text
            before = text
