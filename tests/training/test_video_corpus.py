"""A corpus made of captioned videos: the clips are theirs, and what learns from renders learns from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avgen_core.__main__ import main
from avgen_core.systems.embedded_arlon import load_embedded_arlon
from avgen_core.training import corpus
from avgen_core.training.corpus import Corpus, CorpusSpec, render_corpus
from avgen_core.training.video_corpus import VideoCorpus
from avgen_core.training.videos import DioramaClips, VideoFolder
from tests.training.small import write_clip, write_models

CAPTIONS = {"cat": "0: a cat walks left\n10: a cat jumps", "dog": "a dog stands still"}


@pytest.fixture
def films(tmp_path) -> Path:
    """Two videos of 8 frames a second, of 53 and 20 frames."""
    folder = tmp_path / "films"
    for (name, text), frames in zip(CAPTIONS.items(), (53, 20), strict=True):
        write_clip(folder / f"{name}.mp4", frames)
        (folder / f"{name}.txt").write_text(text)
    return folder


def made_of(films: Path, frames: int = 16) -> VideoCorpus:
    return VideoCorpus(VideoFolder(films, 32, films / ".avgen"), frames)


def test_clips_are_parts_of_the_videos_under_their_captions(films, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "SHARD_CLIPS", 3)
    videos = made_of(films)
    videos.write(tmp_path / "corpus")
    made = Corpus(tmp_path / "corpus")
    assert [len(made.frames(shard)) for shard in made.shards] == [3, 1], "three clips of 16 of 53 frames, one of 20"
    third = torch.stack(list(videos.source.frames(0, 32, 16))).permute(0, 2, 3, 1)
    assert np.array_equal(made.frames(0)[2], third.mul(255).round().byte().numpy())
    first, second, *_ = made.labels(0)
    assert (first.starts, first.captions) == ((0, 10), ("a cat walks left", "a cat jumps"))
    assert (second.starts, second.captions) == ((0,), ("a cat jumps",))
    assert made.labels(1)[0].captions == ("a dog stands still",)
    assert {video.label for video in DioramaClips(made, 32).videos} == {-1}


def test_a_corpus_that_was_stopped_goes_on_and_others_are_left_alone(films, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "SHARD_CLIPS", 2)
    folder = tmp_path / "corpus"
    made_of(films).write(folder)
    whole = {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / "captions-00001.json").unlink()
    made_of(films).write(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == whole
    (films / "dog.txt").write_text("a dog jumps")
    with pytest.raises(ValueError, match="holds another corpus.*name another folder with --data"):
        made_of(films).write(folder)
    render_corpus(CorpusSpec(tmp_path / "renders", shards=1, frames=8, size=32))
    with pytest.raises(ValueError, match="holds another corpus, of renders"):
        made_of(films).write(tmp_path / "renders")
    with pytest.raises(ValueError, match="holds another corpus"):
        render_corpus(CorpusSpec(folder, shards=2, frames=8, size=32))


def test_of_a_faster_video_frames_are_left_out(films, tmp_path):
    """Of each as its own rate demands; captions count its own frames and seconds."""
    write_clip(films / "fast.mp4", 64, rate=16)
    (films / "fast.txt").write_text("0: a cat walks left\n1s: a cat jumps")
    videos = made_of(films)
    videos.write(tmp_path / "corpus")
    made = Corpus(tmp_path / "corpus")
    clip = max(n for n, label in enumerate(made.labels(0)) if len(label.captions) == 2)
    assert made.labels(0)[clip].starts == (0, 8), "a second, at 8 frames a second"
    number = next(n for n, video in enumerate(videos.source.videos) if video.name == "fast.mp4")
    every_second = torch.stack(list(videos.source.frames(number, 0, 16, 2))).permute(0, 2, 3, 1)
    assert np.array_equal(made.frames(0)[clip], every_second.mul(255).round().byte().numpy())
    assert len(made.frames(0)) == 3 + 1 + 2, "64 frames are two clips of 16 of every second one"


def test_what_cannot_be_learned_as_it_is_is_told(films, tmp_path, caplog):
    (films / "dog.txt").write_text("un caf\u00e9 \u732b " + "a dog stands " * 8)
    Image.new("RGB", (40, 40)).save(films / "picture.png")
    made_of(films).write(tmp_path / "corpus")
    assert "too short for a clip or are images: 1 files" in caplog.text
    assert "one and the same: un, caf\u00e9, \u732b" in caplog.text
    assert "more than 23 words, which are cut: 1" in caplog.text


def test_videos_that_are_too_short_are_an_error(films):
    with pytest.raises(ValueError, match="no video in .*films has 60 frames at 8 a second, which are 7.5 seconds"):
        made_of(films, frames=60)


def test_arlon_learns_from_videos(films, tmp_path):
    for name in CAPTIONS:
        write_clip(films / f"{name}.mp4", 60)
    data, models = tmp_path / "corpus", tmp_path / "models"
    main(["train", "corpus", "--videos", str(films), "--data", str(data)])
    assert Corpus(data).frames(0).shape == (4, 24, 64, 64, 3)
    write_models(models)
    common = ["--data", str(data), "--models", str(models)]
    main(["train", "latents", *common])
    for step in ("arlon-vqvae", "arlon-tokens", "arlon-injection"):
        out = ["--out", str(tmp_path / step), "--export", str(models), "--steps", "2", "--batch", "4"]
        main(["train", step, *common, *out])
    assert load_embedded_arlon(models).parts.codebook
