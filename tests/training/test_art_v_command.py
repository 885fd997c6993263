"""`train image-model` and `train art-v` on the embedded model's parts, and the videos that come out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from avgen_core.__main__ import main
from avgen_core.checkpoints import stable_diffusion
from avgen_core.checkpoints.files import CheckpointError, read_weights
from avgen_core.checkpoints.stable_diffusion import UNET
from avgen_core.networks.image_autoencoder import ImageAutoencoder
from avgen_core.prompts import parse_schedule
from avgen_core.rollout.executor import Executor, Prompts
from avgen_core.rollout.noise import SeededNoise
from avgen_core.systems.art_v import ArtVModel
from avgen_core.systems.embedded_art_v import load_embedded_art_v
from avgen_core.systems.stable_diffusion_art_v import load_art_v
from avgen_core.training.captioned_videos import CaptionedClips, read_captions
from avgen_core.training.export import export_autoencoder
from avgen_core.training.videos import ClipSpec, Video
from tests.tiny_stable_diffusion import write_checkpoint, write_tokenizer
from tests.training.small import IMAGES, write_clip, write_models


@pytest.fixture(scope="module")
def models(tmp_path_factory, data) -> Path:
    """The weight files of an untrained embedded model, and what the two steps add to them."""
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    common = ["--data", str(data), "--models", str(folder)]
    main(["train", "latents", *common])
    for step in ("image-model", "art-v"):
        out = tmp_path_factory.mktemp("training")
        training = ["--out", str(out), "--export", str(folder), "--steps", "2", "--batch", "4"]
        main(["train", step, *common, *training])
    return folder


def frames_of(model: ArtVModel, prompt: str) -> torch.Tensor:
    """Three frames of two steps each."""
    prompts = Prompts(parse_schedule(prompt, fps=8))
    executor = Executor(model.denoiser(2.0), model.plan_of(2), prompts, SeededNoise(0))
    return torch.cat([done.finished for done in executor.run(3)])


def test_the_trained_files_make_videos(models):
    model = load_embedded_art_v(models)
    video = frames_of(model, "a cat walks left in a forest")
    assert video.shape == (3, *model.latent_shape) and video.isfinite().all()
    assert model.autoencoder.decode(video).shape == (3, 3, 64, 64)


def test_an_untrained_word_is_read_as_one_that_it_knows(models):
    reading = load_embedded_art_v(models).understand(parse_schedule("a kitten strolls left in a forest", fps=8))
    assert reading.remarks


def test_an_adapter_for_other_latents_is_refused(models, tmp_path):
    for file in models.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    other = ImageAutoencoder(IMAGES)
    torch.nn.init.zeros_(other.encoder[1].weight)
    export_autoencoder(other, tmp_path, steps=1)
    with pytest.raises(CheckpointError, match="image_unet.safetensors was trained on the latents of another encoder"):
        load_embedded_art_v(tmp_path)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """Two short videos with captions, one of which changes on the way."""
    folder = tmp_path_factory.mktemp("films")
    for name, caption in (("cat", "a cat walks"), ("dog", "0: a dog sits\n6: a dog runs")):
        write_clip(folder / f"{name}.mp4", 12, (64, 64))
        (folder / f"{name}.txt").write_text(caption)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> tuple[Path, Path]:
    """A tiny Stable Diffusion checkpoint, and the folder of its configs and tokenizer."""
    file, folder, _ = write_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    return file, write_tokenizer(folder / "tokenizer").parent


def on_checkpoint(step: str, films: Path, checkpoint: tuple[Path, Path], *more: str) -> None:
    file, folder = checkpoint
    sizes = ["--frame-size", "64", "--clip-frames", "4", "--tokenizer", str(folder / "tokenizer")]
    main(["train", step, "--data", str(films), "--checkpoint", str(file), *sizes, *more])


def test_an_adapter_for_a_checkpoint_from_captioned_videos(tmp_path, films, checkpoint, monkeypatch):
    monkeypatch.setattr(stable_diffusion, "CONFIGS", checkpoint[1])
    on_checkpoint("art-latents", films, checkpoint)
    out = ["--out", str(tmp_path), "--export", str(tmp_path), "--steps", "2", "--batch", "2"]
    on_checkpoint("art-v", films, checkpoint, *out)
    about, weights = read_weights(tmp_path / "art_v.safetensors", "reference_adapter")
    assert (about["family"], about["prediction"], about["size"]) == ("sd1", "epsilon", 64)
    assert about["config"]["widths"] == [32, 64] and weights

    model = load_art_v(checkpoint[0], tmp_path / "art_v.safetensors", tokenizer=checkpoint[1] / "tokenizer")
    assert frames_of(model, "a cat walks").shape == (3, 4, 8, 8)


def test_a_unet_that_learned_too_is_a_checkpoint_of_its_own(tmp_path, films, checkpoint, monkeypatch):
    monkeypatch.setattr(stable_diffusion, "CONFIGS", checkpoint[1])
    on_checkpoint("art-latents", films, checkpoint)
    out = ["--out", str(tmp_path), "--export", str(tmp_path), "--steps", "2", "--batch", "2", "--learned", "attention"]
    on_checkpoint("art-v", films, checkpoint, *out)
    before, after = load_file(checkpoint[0]), load_file(tmp_path / "tiny_art_v.safetensors")
    assert {k: (v.dtype, v.shape) for k, v in before.items()} == {k: (v.dtype, v.shape) for k, v in after.items()}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith(UNET) and ".attn2." in name}

    adapter, tokenizer = tmp_path / "art_v.safetensors", checkpoint[1] / "tokenizer"
    model = load_art_v(tmp_path / "tiny_art_v.safetensors", adapter, tokenizer=tokenizer)
    assert frames_of(model, "a cat walks").shape == (3, 4, 8, 8)
    with pytest.raises(CheckpointError, match="belongs to the UNet in tiny_art_v.safetensors, not to tiny.safetensors"):
        load_art_v(checkpoint[0], adapter, tokenizer=tokenizer)


def test_captions_follow_the_frames(films):
    captions = read_captions(films, ["cat.mp4", "dog.mp4"], [25, 25])
    latents = SimpleNamespace(
        videos=[Video(name, 12, -1) for name in ("cat", "dog")],
        firsts=[0, 0],
        digest="",
        read=lambda video, start, count, step: torch.full((count, 1, 1, 1), float(100 * video + start)),
    )
    clips = CaptionedClips(latents, captions, ClipSpec(4))
    batch = clips.batch(0, 40, 4, 0, 0.0, slice(None))
    for row, latent in enumerate(batch.latents):
        video, start = divmod(int(latent[0, 0, 0, 0]), 100)
        texts = [batch.prompts[number] for number in batch.prompt_of_frame[row]]
        wanted = ["a dog sits" if start + i < 6 else "a dog runs" for i in range(4)] if video else ["a cat walks"] * 4
        assert texts == wanted


def test_a_missing_caption_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="1 videos in .* have no caption: .* into bird.txt beside it"):
        read_captions(tmp_path, ["bird.mp4"], [25])


def test_an_empty_caption_is_named(tmp_path):
    (tmp_path / "bird.txt").write_text("  ")
    with pytest.raises(ValueError, match="bird.txt: the caption is empty; write what the video shows"):
        read_captions(tmp_path, ["bird.mp4"], [25])


def test_a_missing_tokenizer_is_named(tmp_path, films, checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(stable_diffusion, "CONFIGS", checkpoint[1])
    on_checkpoint("art-latents", films, checkpoint)
    on_checkpoint("art-v", films, checkpoint, "--tokenizer", str(tmp_path), "--out", str(tmp_path / "out"))
    assert "no CLIP tokenizer" in capsys.readouterr().err
