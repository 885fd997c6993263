"""AR-Diffusion trained from folders of videos and from the diorama corpus, as users do it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avgen_core.__main__ import main
from avgen_core.checkpoints.ar_diffusion import read_autoencoder, read_generator
from avgen_core.networks.ar_vae import ARVAE
from avgen_core.systems.ar_diffusion import load_ar_diffusion
from avgen_core.training import sizes
from avgen_core.training import video_latents as video_latents_module
from avgen_core.training.ar_diffusion import ARDiffusionOptions, GeneratorData, frame_errors, train_ar_diffusion
from avgen_core.training.ar_latents import TokenEncoder, TokenVideos
from avgen_core.training.ar_vae import ARVAEOptions, reconstruction_psnr, train_ar_vae, with_temporal_layers
from avgen_core.training.autoencoder import psnr_of_each
from avgen_core.training.corpus import Corpus, CorpusSpec, render_corpus
from avgen_core.training.level_weights import LevelErrors, LevelWeighting
from avgen_core.training.loop import Training
from avgen_core.training.timesteps import TimestepSampler
from avgen_core.training.video_latents import Piece, encode_source, shard_plan
from avgen_core.training.videos import NO_CLASS, ClipSpec, DioramaClips, VideoFolder
from tests.training.small import AR_DIT, AR_VAE, ar_vae, generator, latent_videos, same, spec, write_clip

SIZE = AR_VAE.image_size


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two classes of two videos each, and three images without a class."""
    videos = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(("cats/a.mp4", "cats/b.mp4", "dogs/c.mp4", "dogs/d.mp4")):
        write_clip(videos / name, 6 + number, (40, 36))
    for number in range(3):
        Image.fromarray(np.full((36, 36, 3), 60 * number, np.uint8)).save(videos / f"{number}.png")
    return videos


@pytest.fixture(scope="module")
def source(folder, tmp_path_factory) -> VideoFolder:
    return VideoFolder(folder, SIZE, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def videos(source, tmp_path_factory) -> TokenVideos:
    return latent_videos(source, tmp_path_factory.mktemp("latents"))


# ---- latents ------------------------------------------------------------------------------------


def test_shards_hold_whole_videos_and_cut_only_longer_ones():
    assert shard_plan([4, 5, 3, 11, 1], 8) == [
        [Piece(0, 0, 4)],
        [Piece(1, 0, 5), Piece(2, 0, 3)],
        [Piece(3, 0, 8)],
        [Piece(3, 8, 3), Piece(4, 0, 1)],
    ]


def test_latents_are_those_of_the_frames_and_of_unit_length(source, tmp_path, monkeypatch):
    monkeypatch.setattr(video_latents_module, "SHARD_BYTES", 12 * 2 * AR_VAE.latent_tokens * AR_VAE.latent_channels)
    latents = latent_videos(source, tmp_path)
    assert len(list(tmp_path.glob("latents-*.safetensors"))) > 1
    assert [(v.name, v.frames, v.label) for v in latents.videos] == [(v.name, v.frames, v.label) for v in source.videos]
    for number, video in enumerate(source.videos):
        frames = torch.stack(list(source.frames(number, 0, video.frames)))
        wanted = ar_vae().encode(frames)[:, :, 0].transpose(1, 2)
        wanted = torch.nn.functional.normalize(wanted, dim=-1)
        found = latents.read(number, 0, video.frames)
        torch.testing.assert_close(found, wanted, atol=2e-3, rtol=0)
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(found.shape[:2]))


def test_latents_of_another_encoder_or_another_folder_are_not_taken(source, tmp_path):
    encode_source(source, TokenEncoder(ar_vae()), tmp_path)
    other = ar_vae()
    torch.nn.init.ones_(other.encoder.conv_out.weight)
    with pytest.raises(FileNotFoundError, match="1 of 1 files of latents are missing .* train ar-latents"):
        TokenVideos(source, TokenEncoder(other), tmp_path)


# ---- autoencoder --------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["frames", "from nothing", "adversarial", "temporal"])
def test_a_resumed_autoencoder_training_equals_an_uninterrupted_one(tmp_path, source, stage):
    def train(out: Path, steps: int) -> Training:
        if stage == "temporal":
            return train_ar_vae(
                spec(out, steps, batch=2), source, with_temporal_layers(ar_vae()), ARVAEOptions(ClipSpec(4))
            )
        options = ARVAEOptions(adversarial=stage == "adversarial", drafts=stage == "from nothing")
        return train_ar_vae(spec(out, steps), source, ar_vae(), options)

    whole = train(tmp_path / "whole", 4)
    train(tmp_path / "cut", 2)
    resumed = train(tmp_path / "cut", 4)
    assert resumed.step == whole.step == 4
    assert same(resumed, whole)


def test_the_temporal_stage_begins_as_the_same_autoencoder_and_trains_nothing_else(tmp_path, source):
    before = ar_vae()
    temporal = with_temporal_layers(before)
    latents = torch.randn(1, 4, AR_VAE.latent_channels, 1, AR_VAE.latent_tokens)
    torch.testing.assert_close(temporal.decode(latents), before.decode(latents))
    trained = train_ar_vae(spec(tmp_path, 2, batch=2), source, temporal, ARVAEOptions(ClipSpec(4)))
    after = trained.model.autoencoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.state_dict().items())
    changed = [
        name for name, value in with_temporal_layers(before).state_dict().items() if (after[name] != value).any()
    ]
    assert changed
    assert all("temporal" in name for name in changed)


def test_from_nothing_an_autoencoder_learns_more_than_the_mean_image(tmp_path):
    render_corpus(CorpusSpec(tmp_path / "corpus", shards=1, frames=2, size=SIZE))
    clips = DioramaClips(Corpus(tmp_path / "corpus"), SIZE)
    frames = torch.cat([torch.stack(list(clips.frames(video, 0, 2))) for video in range(len(clips.videos))])
    mean_image = frames.mean(0, keepdim=True).expand_as(frames)
    settings = spec(tmp_path / "out", 120, batch=16, learning_rate=3e-3, warmup=20, ema_decay=0.9)
    training = train_ar_vae(settings, clips, wider_ar_vae(), ARVAEOptions(drafts=True))
    learned = reconstruction_psnr(training.average.autoencoder, clips, ClipSpec(1), 96)
    assert learned > psnr_of_each(mean_image, frames, span=1.0).mean() + 0.3


def test_the_pictures_reach_the_codes_of_fresh_weights():
    """With the official deviation of 0.02 they hardly do, and nothing can be learned."""
    model, frames = wider_ar_vae(), torch.rand(8, 3, 1, 1).expand(-1, -1, SIZE, SIZE)
    mean, logvar = model.posterior(frames)
    assert mean.std(dim=0).mean() > (0.5 * logvar).exp().mean()
    assert model.codes(mean[:, None]).std(dim=0).mean() > 5e-3


def wider_ar_vae() -> ARVAE:
    torch.manual_seed(2)
    return ARVAE(replace(AR_VAE, encoder_width=64, decoder_width=64, latent_tokens=16))


def test_a_critic_needs_frames_that_it_can_see(tmp_path, source):
    tiny = ARVAE(replace(AR_VAE, image_size=16))
    with pytest.raises(ValueError, match="at least 24 pixels, this autoencoder has 16"):
        train_ar_vae(spec(tmp_path, 1), source, tiny, ARVAEOptions(adversarial=True))


# ---- generator ----------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", LevelWeighting)
def test_a_resumed_generator_training_equals_an_uninterrupted_one(tmp_path, videos, weighting):
    options = ARDiffusionOptions(ClipSpec(4), weighting=weighting, image_share=0.3)

    def train(out: Path, steps: int) -> Training:
        return train_ar_diffusion(spec(out, steps), videos, generator(2), options)

    whole = train(tmp_path / "whole", 6)
    train(tmp_path / "cut", 3)
    resumed = train(tmp_path / "cut", 6)
    assert resumed.step == whole.step == 6
    assert same(resumed, whole)


def drawn(videos, tmp_path, **options) -> dict[str, torch.Tensor]:
    chosen = ARDiffusionOptions(ClipSpec(4), **options)
    data = GeneratorData.of(videos, spec(tmp_path, 1, batch=64), chosen, class_conditional=True)
    return data.draw(0, slice(0, 64))


def test_images_are_rows_of_the_same_batch(videos, tmp_path):
    batch = drawn(videos, tmp_path, image_share=0.25, condition_drop=0.0)
    images = batch["images"]
    assert 8 <= images.sum() <= 24
    assert (batch["labels"][images] == NO_CLASS).all(), "the folder's images have no class"
    assert (batch["labels"][~images] != NO_CLASS).all()
    assert (batch["timesteps"][~images].diff(dim=1) >= 0).all()
    assert (batch["timesteps"][images].diff(dim=1) < 0).any(), "single images have their own noise"


def test_frames_of_an_image_row_do_not_see_each_other(videos, tmp_path):
    model = generator(2)
    batch = drawn(videos, tmp_path, image_share=0.5)
    before = frame_errors(model, batch)
    changed = {**batch, "clean": batch["clean"].clone()}
    changed["clean"][:, 0] = torch.nn.functional.normalize(torch.randn_like(changed["clean"][:, 0]), dim=-1)
    after = frame_errors(model, changed)
    images = batch["images"]
    torch.testing.assert_close(after[images, 1:], before[images, 1:])
    assert (after[~images, 1:] - before[~images, 1:]).abs().min() > 0
    alone = model.errors(
        *(batch[name][images][:, :1] for name in ("clean", "timesteps", "noise")), batch["labels"][images, 0]
    )
    torch.testing.assert_close(before[images, :1], alone)


def test_without_image_files_any_frame_is_an_image(data, tmp_path):
    corpus = DioramaClips(Corpus(data), SIZE)
    batch = drawn(latent_videos(corpus, tmp_path), tmp_path, image_share=1.0, condition_drop=0.0)
    assert batch["images"].all()
    assert len(batch["labels"].unique()) > 1


def test_conditions_are_dropped_as_often_as_asked_and_learned(videos, tmp_path):
    batch = drawn(videos, tmp_path, condition_drop=0.2)
    assert 4 <= (batch["labels"][:, 0] == NO_CLASS).sum() <= 24
    assert (batch["labels"] == batch["labels"][:, :1]).all()
    for classes, null in ((2, 0), (0, None)):
        model = generator(classes)
        training = train_ar_diffusion(
            spec(tmp_path / str(classes), 3), videos, model, ARDiffusionOptions(ClipSpec(4), condition_drop=0.5)
        )
        assert (training.model.conditions != generator(classes).conditions).any()
        nothing = model.contexts(torch.tensor([NO_CLASS]))
        assert torch.equal(nothing[0, 0], torch.zeros(2, 8) if null is None else model.conditions[null])


def test_levels_that_err_more_count_less():
    levels = LevelErrors(1000)
    timesteps = torch.arange(1000).view(10, 100)
    errors = (1 + timesteps.float()) / 1000
    assert (levels.weights(timesteps) == 1).all(), "nothing is known yet"
    levels.update({name: value.sum(0) for name, value in levels.tallies(errors, timesteps).items()})
    balanced = (levels.weights(timesteps) * errors).view(20, 50).mean(1)
    torch.testing.assert_close(balanced, torch.full((20,), errors.mean()))


@pytest.mark.parametrize("option", [{"image_share": 1.5}, {"condition_drop": -0.1}])
def test_shares_lie_between_0_and_1(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is a share between 0 and 1"):
        ARDiffusionOptions(**option)


# ---- the command line ---------------------------------------------------------------------------


@pytest.fixture
def tiny_size(monkeypatch):
    brief = {"steps": 2, "batch": 2, "learning_rate": 1e-3, "ema_decay": 0.9}
    monkeypatch.setitem(
        sizes.SIZES,
        "small",
        sizes.Size(AR_VAE, replace(AR_DIT, frames=16), brief, brief, brief),
    )


def test_from_a_folder_of_videos_to_a_generator(tmp_path, tiny_size, capsys):
    """The whole way; what is written loads, and names what it was trained on."""
    videos = tmp_path / "videos"
    for name in ("cats/a.mp4", "dogs/b.mp4"):
        write_clip(videos / name, 18, (40, 36))

    def train(step: str, *arguments: object) -> int:
        folders = ("--data", videos, "--out", tmp_path / step, "--device", "cpu")
        return main(["train", step, *map(str, (*folders, *arguments))])

    autoencoder = ("--autoencoder", tmp_path / "ar-vae" / "models" / "ar_vae.safetensors")
    assert train("ar-vae") == 0
    assert train("ar-vae-temporal", *autoencoder) == 0
    assert train("ar-diffusion", *autoencoder) == 1
    assert "latents are missing" in capsys.readouterr().err
    assert train("ar-latents", *autoencoder) == 0
    assert train("ar-diffusion", *autoencoder, "--sampler", TimestepSampler.SYNCHRONOUS.value) == 0
    assert read_autoencoder(tmp_path / "ar-vae-temporal" / "models" / "ar_vae_temporal.safetensors").config.temporal
    path = tmp_path / "ar-diffusion" / "models" / "ar_diffusion.safetensors"
    made = read_generator(path)
    assert made.class_conditional
    assert len(made.conditions) == 3
    assert load_ar_diffusion(path, autoencoder[1]).classes.names == ("no class", "cats", "dogs")
    assert made.notes["fps"] == 8
    further = ("--from-weights", "--generator", path, "--out", tmp_path / "further")
    assert train("ar-diffusion", *autoencoder, *further) == 0
    assert train("ar-diffusion", *autoencoder, *further, "--unconditional", "--out", tmp_path / "other") == 1
    assert "has 3 conditions, and this data has 0 classes" in capsys.readouterr().err
