"""ART-V's trainer: what it shows of the past, what learns, and that references are worth something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.configuration_utils import FrozenDict

from avgen_core.networks.reference_adapter import ReferenceAdapter, ReferenceAdapterConfig
from avgen_core.networks.reference_unet import Prediction, ReferenceUNet, cross_attentions
from avgen_core.training.art_v import (
    IMAGES_ALONE,
    ArtVTrainer,
    Draws,
    Frames,
    Learned,
    ReferenceRecipe,
    draw_step,
    frames_of,
    set_learned,
    train_art_v,
)
from avgen_core.training.latents import ClipBatch, LatentClips
from tests.training.small import same, spec

RECIPE = ReferenceRecipe()
ALPHAS = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> ReferenceUNet:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        in_channels=8,
        out_channels=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    widths = tuple(attention.inner_dim for attention in cross_attentions(unet))
    config = ReferenceAdapterConfig(
        8, (16, 32), widths, 12, residual_blocks=1, anchor_width=16, anchor_side=2, mask_width=8
    )
    return ReferenceUNet(unet, ReferenceAdapter(config))


def encode_texts(prompts: list[str]) -> torch.Tensor:
    return torch.stack([torch.randn(3, 12, generator=generator(len(text))) for text in prompts])


def trainer(prediction: Prediction = Prediction.VELOCITY) -> ArtVTrainer:
    return ArtVTrainer(ALPHAS, prediction, encode_texts)


def step(rows: int = 6, recipe: ReferenceRecipe = RECIPE) -> tuple[Frames, Draws]:
    clips = torch.randn(rows, 8, 10, 4, 4, generator=generator(1))
    batch = ClipBatch(clips, ["", "a cat"], torch.ones(rows, 10, dtype=torch.long))
    frames = frames_of(batch, 2, torch.randint(10, (rows,), generator=generator(2)))
    return frames, draw_step((rows, 2, 8, 4, 4), recipe, 1000, generator(3))


def test_a_frame_comes_with_those_before_it_and_the_first():
    clips = torch.arange(40.0).view(4, 1, 10, 1, 1)
    batch = ClipBatch(clips, ["", "a cat", "a dog"], torch.tensor([[1] * 5 + [2] * 5] * 4))
    frames = frames_of(batch, 2, torch.tensor([0, 1, 4, 9]))
    for row in range(4):
        at, first = int(frames.count[row]), 10.0 * row
        assert frames.target[row] == first + at and frames.anchor[row] == first
        for distance in range(min(3, at)):
            assert frames.previous[row, distance] == first + at - 1 - distance
        assert frames.prompt[row] == (1 if at < 5 else 2)


def test_shares_of_what_is_left_out():
    drawn = draw_step((4000, 2, 1, 1, 1), RECIPE, 1000, generator())
    assert drawn.has_previous.float().mean().item() == pytest.approx(0.9 * 0.95, abs=0.02)
    assert drawn.has_anchor.float().mean().item() == pytest.approx(0.9 * 0.85, abs=0.02)
    assert (drawn.remade > 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert drawn.reference_level.max() <= RECIPE.noise
    alone = draw_step((100, 2, 1, 1, 1), IMAGES_ALONE, 1000, generator())
    assert not alone.has_previous.any() and not alone.has_anchor.any() and not alone.remade.any()


@pytest.mark.parametrize("learned", Learned)
def test_only_what_is_asked_for_learns(learned):
    model = network()
    set_learned(model, learned)
    trainer().losses(model, *step()).loss.sum().backward()
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name for name in with_gradient if name.startswith("adapter.")}
    of_unet = {name for name in with_gradient if name.startswith("unet.")}
    if learned is Learned.NOTHING:
        assert not of_unet
    if learned is Learned.ATTENTION:
        assert of_unet and all(".attn2." in name for name in of_unet)
    if learned is Learned.ALL:
        assert any(".resnets." in name for name in of_unet)


@pytest.mark.parametrize("prediction", Prediction)
def test_the_loss_is_the_error_of_the_clean_frame(prediction):
    """With a network that predicts 0, the clean frame is known, and so is the loss."""
    model, (frames, draws) = network(), step(recipe=IMAGES_ALONE)
    for parameter in model.unet.conv_out.parameters():
        parameter.data.zero_()
    kept = ALPHAS[draws.timestep][:, None, None, None]
    noisy = kept.sqrt() * frames.target + (1 - kept).sqrt() * draws.noise
    clean = noisy / kept.sqrt() if prediction is Prediction.EPSILON else noisy * kept.sqrt()
    ratio = (kept / (1 - kept)).flatten().clamp(max=5)
    expected = (clean - frames.target).square().mean(dim=(1, 2, 3)) * ratio
    torch.testing.assert_close(trainer(prediction).losses(model, frames, draws).loss, expected)


def test_a_remade_reference_is_the_models_own():
    model, (frames, draws) = network().eval(), step(recipe=replace(RECIPE, remade=1.0))
    keys = trainer()._keys(model, frames)
    remade = trainer()._with_remade(model, keys, frames, draws)
    for row, count in enumerate(frames.count.tolist()):
        assert torch.equal(remade.previous[row, 0], frames.previous[row, 0]) == (count < 2)
    assert torch.equal(remade.previous[:, 1:], frames.previous[:, 1:])
    assert not remade.previous.requires_grad


def train(out: Path, data: Path, steps: int, recipe: ReferenceRecipe = RECIPE, model=None, **changes):
    model = model or network()
    set_learned(model, Learned.ALL)
    clips = LatentClips(data, "f" * 16)
    return train_art_v(spec(out, steps, **changes), clips, model, trainer(), recipe)


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, data):
    whole = train(tmp_path / "whole", data, 4)
    train(tmp_path / "cut", data, 2)
    assert same(train(tmp_path / "cut", data, 4), whole)


def test_a_state_goes_on_in_a_process_that_orders_sets_otherwise(tmp_path, data):
    """diffusers notes which of a config's values are defaults in a set's order, another one in every process."""
    train(tmp_path, data, 1)
    model = network()
    defaults = model.unet.config["_use_default_values"]
    model.unet._internal_dict = FrozenDict({**model.unet.config, "_use_default_values": defaults[::-1]})
    assert train(tmp_path, data, 2, model=model).step == 2


def test_references_are_worth_something(tmp_path, data):
    """On the same frames and draws, a trained model errs less with its references than without them."""
    recipe = replace(RECIPE, references_dropped=0.3, remade=0.0, noise=0.1)
    model = train(tmp_path, data, 150, recipe, batch=16, learning_rate=3e-3, log_every=50).average
    batch = LatentClips(data, "f" * 16).batch(0, 64, 6, 7, 0.0, slice(None))
    frames = frames_of(batch, 2, torch.randint(2, 6, (64,), generator=generator()))
    draws = draw_step((64, 2, *frames.target.shape[1:]), replace(recipe, references_dropped=0.0), 1000, generator(1))
    draws = draws._replace(timestep=torch.full((64,), 700))
    with torch.no_grad():
        shown = trainer().losses(model, frames, draws)
        nothing = torch.zeros(64, dtype=torch.bool)
        alone = trainer().losses(model, frames, draws._replace(has_previous=nothing, has_anchor=nothing))
    assert shown.loss.mean() < 0.7 * alone.loss.mean()
