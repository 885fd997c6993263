"""A folder of videos with captions beside them, as latents: what ART-V learns from on a large image model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..prompts import PromptSchedule, parse_schedule
from .latents import ClipBatch
from .video_latents import LatentVideos
from .videos import ClipSpec, ClipTable, digest_of

CAPTION = ".txt"


def read_captions(folder: Path, names: list[str], rates: list[float]) -> list[PromptSchedule]:
    """The caption of each video: a text file of the same name, one prompt or a schedule of prompts over its frames.

    rates: frames a second of each.

    Raises:
        FileNotFoundError: videos have no caption; the message counts them and names the first.
        ValueError: a caption is no prompt schedule; the message names the file.
    """
    files = [(folder / name).with_suffix(CAPTION) for name in names]
    missing = sorted({file for file in files if not file.is_file()})
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} videos in {folder} have no caption: write what {missing[0].stem} shows into "
            f"{missing[0].name} beside it, and so for the others"
        )
    schedules = []
    for file, rate in zip(files, rates, strict=True):
        try:
            schedules.append(parse_schedule(file.read_text("utf-8").strip(), fps=rate))
            if not any(schedules[-1].texts()):
                raise ValueError("the caption is empty; write what the video shows")
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
    return schedules


class CaptionedClips:
    """Random clips of videos, as `LatentClips` draws them from the diorama corpus."""

    def __init__(self, videos: LatentVideos, captions: list[PromptSchedule], spec: ClipSpec) -> None:
        self.videos, self.captions, self.spec = videos, captions, spec
        self.table = ClipTable([video.frames for video in videos.videos], spec)
        texts = tuple(caption.texts() for caption in captions)
        self.digest = f"{videos.digest} {spec} {digest_of(texts)}"

    @property
    def clip_frames(self) -> int:
        """Frames of a whole clip."""
        return self.spec.frames

    def batch(self, step: int, size: int, frames: int, seed: int, text_dropout: float, rows: slice) -> ClipBatch:
        """As `LatentClips.batch`; `frames` are those of a clip."""
        rng = np.random.default_rng((seed, step))
        chosen = self.table.draw(rng, size)[rows]
        dropped = (rng.random(size) < text_dropout)[rows]
        prompts: dict[str, int] = {"": 0}
        prompt_of_frame = torch.zeros(len(chosen), frames, dtype=torch.long)
        latents = []
        for row, (video, start) in enumerate(chosen):
            latents.append(self.videos.read(video, start, frames, self.spec.frame_step))
            if dropped[row]:
                continue
            first = self.videos.firsts[video] + start
            for frame in range(frames):
                text = self.captions[video].at(first + frame * self.spec.frame_step)[0][0]
                prompt_of_frame[row, frame] = prompts.setdefault(text, len(prompts))
        return ClipBatch(torch.stack(latents).transpose(1, 2).contiguous(), list(prompts), prompt_of_frame)
