"""ARLON's three trainings: each learns, goes on where it stopped, and leaves what is not its own as it was."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avgen_core.__main__ import main
from avgen_core.checkpoints.files import CheckpointError, encoder_digest, read_weights
from avgen_core.networks.latent_vqvae import LatentVQVAE, LatentVQVAEConfig
from avgen_core.networks.semantic_injection import SemanticInjection, SemanticInjectionConfig
from avgen_core.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from avgen_core.plan import Window
from avgen_core.prompts import parse_schedule
from avgen_core.rollout.executor import Executor, Prompts
from avgen_core.rollout.noise import SeededNoise
from avgen_core.systems.arlon import GuidanceStrength
from avgen_core.systems.embedded import AUTOENCODER
from avgen_core.systems.embedded_arlon import LATENT_VQVAE, TOKEN_TRANSFORMER, load_embedded_arlon
from avgen_core.systems.many_videos import Sampling, sample_latents
from avgen_core.systems.token_writer import TokenSampling
from avgen_core.training.corpus import Label
from avgen_core.training.export import export_causal_dit
from avgen_core.training.latent_vqvae import restored, train_latent_vqvae
from avgen_core.training.latents import LatentClips
from avgen_core.training.semantic_injection import GuidedVideo, InjectionRecipe, train_semantic_injection
from avgen_core.training.token_transformer import CodeClips, CodeRecipe, train_token_transformer
from tests.training.small import same, spec, text_to_video, write_models

CODER = LatentVQVAEConfig(8, time=2, space=2, codes=16, code_dim=4, width=16, blocks=1)
WRITER = TokenTransformerConfig(codes=16, cells=4, dim=16, heads=2, layers=2, ffn_dim=32, text_dim=16, window=2)


@pytest.fixture(scope="module")
def clips(data) -> LatentClips:
    return LatentClips(data, "f" * 16)


def coder(**changes) -> LatentVQVAE:
    torch.manual_seed(0)
    return LatentVQVAE(replace(CODER, **changes))


def writer() -> TokenTransformer:
    torch.manual_seed(0)
    return TokenTransformer(WRITER)


def encode_texts(prompts: list[str]) -> torch.Tensor:
    model = text_to_video()
    return model.text_encoder(model.text_encoder.tokenize(prompts)).detach()


def guided() -> GuidedVideo:
    video, injection = text_to_video(), SemanticInjection(SemanticInjectionConfig(8, 32, (0,), adapter_dim=16))
    return GuidedVideo(video, coder(), injection)


def train_coder(out: Path, steps: int, clips: LatentClips, **changes):
    return train_latent_vqvae(spec(out, steps, **changes), clips, coder(), groups=2)


def train_writer(out: Path, steps: int, clips: LatentClips, **changes):
    codes = CodeClips(clips, coder())
    return train_token_transformer(spec(out, steps, **changes), codes, writer(), encode_texts, CodeRecipe())


def train_guided(out: Path, steps: int, clips: LatentClips, **changes):
    return train_semantic_injection(spec(out, steps, **changes), clips, guided(), InjectionRecipe(), frames=4)


@pytest.mark.parametrize("train", [train_coder, train_writer, train_guided])
def test_a_resumed_training_equals_an_uninterrupted_one(train, tmp_path, clips):
    train(tmp_path / "parts", 2, clips, decay_share=0.0)
    resumed = train(tmp_path / "parts", 4, clips, decay_share=0.0)
    assert same(resumed, train(tmp_path / "whole", 4, clips, decay_share=0.0))


def test_codes_come_to_stand_for_the_latents(tmp_path, clips):
    latents = clips.latents[:16, :4].float().transpose(1, 2)
    spread = (latents - latents.mean()).square().mean()
    training = train_coder(tmp_path, 200, clips, batch=16, learning_rate=5e-3)
    error = (restored(training.average, latents) - latents).square().mean()
    assert error < 0.7 * spread


def test_all_codes_are_used_where_latents_are_everywhere(tmp_path, clips):
    noise = copy(clips)
    noise.latents = torch.randn(clips.latents.shape, generator=torch.Generator().manual_seed(0))
    uses = train_coder(tmp_path, 150, noise, batch=16, learning_rate=5e-3).model.codebook.uses
    shares = uses / uses.sum()
    assert math.exp(-(shares * shares.clamp(min=1e-9).log()).sum()) > 10, "perplexity, of 16 codes"


def test_the_next_code_is_foreseen(tmp_path, clips):
    """Better than by how often each code comes."""
    codes = CodeClips(clips, coder())
    shares = torch.bincount(codes.codes.flatten().long(), minlength=16).float()
    shares = shares / shares.sum()
    blind = -(shares * shares.clamp(min=1e-9).log()).sum().item()
    recipe = CodeRecipe(ended=0.0)
    training = train_token_transformer(
        spec(tmp_path, 150, batch=16, learning_rate=5e-3), codes, writer(), encode_texts, recipe
    )
    assert training.gradients()["loss"].item() / training.gradients()["weight"].item() < 0.8 * blind


def test_texts_change_where_the_captions_do(clips):
    codes = CodeClips(clips, coder())
    batch = codes.batch(0, 64, 0, CodeRecipe(text_dropped=0.0, ended=0.5), WRITER.end, slice(None))
    assert batch.codes.shape == (64, 2 + codes.groups * 4) and (batch.codes[:, 0] == WRITER.end).all()
    assert set(batch.learned[:, -1].tolist()) == {0.0, 1.0} and batch.learned[:, :-1].all()
    switched = batch.text_of.amax(1) > 0
    assert switched.any() and not switched.all()
    assert (batch.texts[switched, 1] > 0).all()
    assert (batch.text_of.diff(dim=1) >= 0).all()


def test_a_first_frame_that_stands_alone_begins_every_row_of_codes(clips):
    """As with Wan's latents, so that a row is how a video of its own begins."""
    alone = coder(first_alone=True)
    codes = CodeClips(clips, alone)
    assert alone.config.frames_of(codes.groups) <= clips.clip_frames < alone.config.frames_of(codes.groups + 1)
    batch = codes.batch(0, 32, 0, CodeRecipe(text_dropped=0.0, ended=0.0), WRITER.end, slice(None))
    chosen = np.random.default_rng((0, 0)).integers(len(codes.codes), size=32)
    for row, clip in enumerate(chosen):
        latents = clips.latents[clip, : alone.config.frames_of(codes.groups)].float().transpose(0, 1)[None]
        assert torch.equal(batch.codes[row, 1:-1], alone.encode(latents).flatten())


@pytest.mark.parametrize("first_alone", [False, True])
@pytest.mark.parametrize("time", [2, 3])
def test_a_group_has_the_text_of_half_of_its_frames_or_more(time, first_alone, clips):
    vqvae, relabelled = coder(time=time, first_alone=first_alone), copy(clips)
    recipe, size = CodeRecipe(text_dropped=0.0), 24
    for begun in range(1, clips.clip_frames):
        relabelled.labels = [Label((0, begun), ("a cat", "a dog"), "cat")] * len(clips.labels)
        codes = CodeClips(relabelled, vqvae)
        batch = codes.batch(0, size, 0, recipe, WRITER.end, slice(None))
        rng = np.random.default_rng((0, 0))
        rng.integers(len(codes.codes), size=size)
        for row, start in enumerate(rng.integers(codes.starts, size=size)):
            texts = batch.text_of[row, :-1].unflatten(0, (-1, WRITER.cells))[:, 0]
            for group, text in enumerate(texts.tolist()):
                frames = range(vqvae.config.frames_of(group), vqvae.config.frames_of(group + 1))
                new = sum(start + frame >= begun for frame in frames)
                assert text == (2 * new >= len(frames))


def test_a_clip_may_have_many_texts(clips):
    """As those of videos may."""
    relabelled = copy(clips)
    relabelled.labels = [Label((0, 2, 4), ("a cat", "a dog", "a bee"), "cat")] * len(clips.labels)
    batch = CodeClips(relabelled, coder(first_alone=True)).batch(
        0, 2, 0, CodeRecipe(text_dropped=0.0), WRITER.end, slice(None)
    )
    of_groups = batch.text_of[0, :-1].unflatten(0, (-1, WRITER.cells))[:, 0]
    assert [batch.prompts[batch.texts[0, text]] for text in of_groups] == ["a cat", "a dog", "a bee", "a bee"]


def test_only_the_injection_learns(tmp_path, clips):
    training = train_guided(tmp_path, 3, clips)
    fresh = guided()
    for name, value in training.model.state_dict().items():
        changed = not torch.equal(value, fresh.state_dict()[name])
        assert changed == name.startswith("injection."), name


@pytest.fixture(scope="module")
def models(tmp_path_factory, data) -> Path:
    """The weight files of an untrained embedded model, and what ARLON's steps add to them."""
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    common = ["--data", str(data), "--models", str(folder), "--export", str(folder), "--steps", "2", "--batch", "4"]
    main(["train", "latents", "--data", str(data), "--models", str(folder)])
    for step in ("arlon-vqvae", "arlon-tokens", "arlon-injection"):
        out = tmp_path_factory.mktemp("training")
        main(["train", step, *common, "--out", str(out), "--code-frames", "2", "--codes", "16"])
    return folder


def test_the_trained_files_make_videos(models):
    model = replace(load_embedded_arlon(models), size=32)
    plan = replace(model.default_plan, block=2)
    videos = sample_latents(model, ["a cat walks left in a forest", "a dog jumps"], 6, Sampling(plan, 2.0))
    assert videos.shape == (2, 6, *model.latent_shape) and videos.isfinite().all()


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_batch_under_the_guidance_of_codes_equals_single_videos(models, count):
    """`count` frames are given: none, a whole group, and a group and a half."""
    model = replace(load_embedded_arlon(models), size=32)
    for linear in model.parts.injection.modulations:
        torch.nn.init.normal_(linear.weight, std=0.3, generator=torch.Generator().manual_seed(1))
    plan = replace(model.default_plan, block=count or 2, window=Window(6))
    given = torch.randn(2, count, *model.latent_shape, generator=torch.Generator().manual_seed(2)) if count else None
    prompts = [parse_schedule("0: a cat walks left\n4: a dog jumps", fps=8), parse_schedule("a dog jumps", fps=8)]
    videos = sample_latents(model, prompts, 8, Sampling(plan, 2.0), given=given)
    plain = sample_latents(model.guided_by(None, GuidanceStrength(0, 0), TokenSampling()), prompts, 8,
                           Sampling(plan, 2.0), given=given)  # fmt: skip
    for row, prompt in enumerate(prompts):
        alone = Executor(
            model.denoiser(2.0), replace(plan, given=count), Prompts(prompt), SeededNoise(row),
            given=given[row] if count else None,
        )  # fmt: skip
        finished = torch.cat([done.finished for done in alone.run(8)])[:8]
        torch.testing.assert_close(videos[row], finished, atol=1e-4, rtol=1e-4)
        assert (videos[row] - plain[row]).abs().max() > 0.05, "the codes matter"


def test_parts_for_other_weights_are_refused(models, tmp_path):
    for file in models.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    encoder = encoder_digest(read_weights(models / AUTOENCODER, "image_autoencoder")[1])
    export_causal_dit(text_to_video(), tmp_path, steps=1, encoder=encoder)
    with pytest.raises(CheckpointError, match="semantic_injection.safetensors was made for another causal_dit"):
        load_embedded_arlon(tmp_path)


def test_the_steps_of_the_command_line_leave_files_that_name_each_other(models):
    about, _ = read_weights(models / TOKEN_TRANSFORMER, "token_transformer")
    assert about["config"]["cells"] == 4 and about["config"]["codes"] == 16 and about["made_for"]
    assert read_weights(models / LATENT_VQVAE, "latent_vqvae")[0]["config"]["time"] == 2
