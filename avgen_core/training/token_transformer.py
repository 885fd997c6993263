"""Trainer of ARLON's token transformer, on codes of the corpus's latents."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..networks.latent_vqvae import LatentVQVAE
from ..networks.token_transformer import TokenTransformer
from .latents import LatentClips
from .loop import RowLosses, Training, TrainSpec, nothing, run


class CodeBatch(NamedTuple):
    """Codes (B, N), one more than are learned: what stands before each, and what comes.

    prompts: the distinct ones; texts: (B, S), the index of each row's; text_of: (B, N - 1), which of these each code
    has; learned: (B, N - 1), 1 where a code counts.
    """

    codes: Tensor
    prompts: list[str]
    texts: Tensor
    text_of: Tensor
    learned: Tensor


@dataclass(frozen=True)
class CodeRecipe:
    """Shares of the rows: text_dropped have none, for guidance; ended end with `<EOS>`."""

    text_dropped: float = 0.1
    ended: float = 0.1


class CodeClips:
    """The corpus as codes: of each clip, from each frame on that may be the first of a group.

    That is one of the first `time` frames; where the first frame is a group of its own, only that one.
    """

    def __init__(self, clips: LatentClips, vqvae: LatentVQVAE, device: str = "cpu") -> None:
        """Raises ValueError where clips are too short to hold a group from every first frame on."""
        self.clips, self.config = clips, vqvae.config
        self.starts = 1 if self.config.first_alone else self.config.time
        length = clips.clip_frames - self.starts + 1
        self.groups = self.config.group_of(length)
        if self.groups < 1:
            raise ValueError(f"clips of {clips.clip_frames} frames are too short for groups of {self.config.time}")
        self.texts = max(len(label.captions) for label in clips.labels)
        self.codes = torch.stack([self._from(vqvae, start, device) for start in range(self.starts)], dim=1)

    @torch.inference_mode()
    def _from(self, vqvae: LatentVQVAE, start: int, device: str) -> Tensor:
        """Codes (clips, groups * cells), int32."""
        stop, parts = start + self.config.frames_of(self.groups), []
        for some in self.clips.latents[:, start:stop].split(256):
            codes = vqvae.encode(some.to(device).float().transpose(1, 2))
            parts.append(codes.flatten(1).to(torch.int32).cpu())
        return torch.cat(parts)

    def batch(self, step: int, size: int, seed: int, recipe: CodeRecipe, end: int, rows: slice) -> CodeBatch:
        """These rows of batch `step` of `size` clips; `end` is the token `<EOS>`."""
        rng = np.random.default_rng((seed, step))
        chosen = rng.integers(len(self.codes), size=size)[rows]
        starts = rng.integers(self.starts, size=size)[rows]
        dropped = (rng.random(size) < recipe.text_dropped)[rows]
        ended = torch.from_numpy(rng.random(size) < recipe.ended)[rows]
        codes = self.codes[chosen, starts].long()
        edge = torch.full((len(codes), 1), end)
        cells = codes.shape[1] // self.groups
        prompts: dict[str, int] = {"": 0}
        texts, group_text = torch.zeros(len(codes), self.texts, dtype=torch.long), torch.zeros(len(codes), self.groups)
        for row, (clip, start) in enumerate(zip(chosen, starts, strict=True)):
            if dropped[row]:
                continue
            label = self.clips.labels[clip]
            for place, caption in enumerate(label.captions):
                texts[row, place] = prompts.setdefault(caption, len(prompts))
            for place, begun in enumerate(label.starts):
                group_text[row, self._first_group(begun - start) :] = place
        text_of = group_text.long().repeat_interleave(cells, dim=1)
        learned = torch.cat([torch.ones(codes.shape), ended[:, None].float()], dim=1)
        return CodeBatch(
            torch.cat([edge, codes, edge], dim=1),
            list(prompts),
            texts,
            torch.cat([text_of, text_of[:, -1:]], dim=1),
            learned,
        )

    def _first_group(self, frame: int) -> int:
        """The first group with half of its frames or more at `frame` or later: it has the text that begins there."""
        bounds = (self.config.frames_of(group) for group in range(self.groups + 1))
        middles = ((begin + end) / 2 for begin, end in itertools.pairwise(bounds))
        return sum(middle < frame for middle in middles)


def train_token_transformer(
    spec: TrainSpec,
    clips: CodeClips,
    model: TokenTransformer,
    encode_texts: Callable[[list[str]], Tensor],
    recipe: CodeRecipe,
    *,
    on_save=nothing,
) -> Training:
    """Next-token training; `encode_texts` gives states (P, text_len, text_dim) of prompts. Resumes from `spec.out`."""

    def draw(step: int, rows: slice) -> CodeBatch:
        return clips.batch(step, spec.batch, spec.seed, recipe, model.config.end, rows)

    def losses(model: TokenTransformer, batch: CodeBatch) -> RowLosses:
        prefix = model.prefix(encode_texts(batch.prompts)).of(batch.texts)
        before, after = batch.codes[:, :-1], batch.codes[:, 1:]
        positions = torch.arange(before.shape[1], device=before.device)
        logits = model(before, positions, prefix, batch.text_of).float()
        error = functional.cross_entropy(logits.transpose(1, 2), after, reduction="none") * batch.learned
        return RowLosses(error.sum(1), batch.learned.sum(1))

    origin = {
        "the data": clips.clips.digest,
        "the network": str(model.config),
        "its training": str(recipe),
        "the codes": hashlib.sha256(clips.codes.numpy().tobytes()).hexdigest()[:12],
    }
    training = Training(model, spec, draw, losses, origin=origin)
    training.resume()
    model.train()
    run(training, on_save)
    return training
