"""ART-V's additions to an image model: nothing until they are trained, and all of it able to learn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import T2IAdapter, UNet2DConditionModel

from avgen_core.networks.reference_adapter import (
    ReferenceAdapter,
    ReferenceAdapterConfig,
    ReferenceEncoder,
    References,
    blended,
)
from avgen_core.networks.reference_unet import ReferenceUNet, cross_attentions

WIDTHS = (32, 64, 64)


def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=WIDTHS,
        layers_per_block=1,
        cross_attention_dim=24,
        attention_head_dim=4,
        norm_num_groups=8,
    ).eval()


def adapter_for(model: UNet2DConditionModel, **changes) -> ReferenceAdapter:
    widths = tuple(attention.inner_dim for attention in cross_attentions(model))
    sizes = {"anchor_width": 16, "anchor_side": 2, "mask_width": 8, "residual_blocks": 1}
    return ReferenceAdapter(ReferenceAdapterConfig(4, WIDTHS, widths, 24, **{**sizes, **changes})).eval()


def references(batch: int = 2, previous: bool = True, anchor: bool = True) -> References:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(batch, 2, 4, 8, 8, generator=generator)
    return References(
        previous=latents,
        newest=latents[:, 0],
        anchor=torch.randn(batch, 4, 8, 8, generator=generator),
        has_previous=torch.full((batch, 2), previous),
        has_anchor=torch.full((batch,), anchor),
        noise=torch.full((batch,), 0.1),
    )


def inputs(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return (
        torch.randn(batch, 4, 8, 8, generator=generator),
        torch.tensor([700, 20][:batch]),
        torch.randn(batch, 5, 24, generator=generator),
    )


@torch.no_grad()
def test_untrained_the_image_model_is_unchanged_bit_for_bit():
    noisy, timesteps, text = inputs()
    plain = unet()(noisy, timesteps, text).sample
    model = ReferenceUNet(unet(), adapter_for(unet()))
    given = references()
    predicted = model(noisy, timesteps, model.text_keys(text), model.adapter.encode(given))
    assert torch.equal(predicted, plain)
    mask = model.adapter.mask(noisy, predicted, given, torch.tensor([0.9, 0.1]))
    assert not mask.any()
    assert torch.equal(blended(predicted, given, mask), plain)


def test_every_addition_begins_to_learn_in_the_first_step():
    model, (noisy, timesteps, text), given = ReferenceUNet(unet(), adapter_for(unet())), inputs(), references()
    predicted = model(noisy, timesteps, model.text_keys(text), model.adapter.encode(given))
    mask = model.adapter.mask(noisy, predicted, given, torch.tensor([0.9, 0.1]))
    blended(predicted, given, mask).square().mean().backward()
    encoder, anchor = model.adapter.reference_encoder, model.adapter.anchor
    assert all(gain.grad.any() for gain in encoder.gains)
    assert all(values.weight.grad.any() for values in anchor.values)
    assert model.adapter.mask.gate.grad != 0


def test_the_gate_stays_in_range_and_can_always_turn_back():
    head, given = adapter_for(unet()).mask, references()
    noisy = inputs()[0]
    for gate in (-0.5, 0.0, 0.5, 1.0, 3.0):
        head.gate.data.fill_(gate)
        mask = head(noisy, noisy, given, torch.tensor([0.5, 0.5]))
        assert mask.min() >= 0 and mask.max() <= 1
        head.gate.grad = None
        mask.sum().backward()
        assert head.gate.grad > 0


@torch.no_grad()
def test_what_is_not_there_has_no_influence():
    adapter = adapter_for(unet())
    for parameter in adapter.parameters():
        parameter.normal_(std=0.3)
    absent, other = references(previous=False, anchor=False), references(previous=False, anchor=False)
    other.previous.add_(5)
    other.anchor.add_(5)
    for given in (absent, other):
        encoded = adapter.encode(given)
        assert not any(residual.any() for residual in encoded.residuals)
        assert not any(values.any() for _, values in encoded.anchor)
    lone = replace(other, has_anchor=torch.tensor([True, True]))
    without = replace(lone, previous=absent.previous)
    first, second = adapter.encode(lone), adapter.encode(without)
    assert all(torch.equal(a, b) for a, b in zip(first.residuals, second.residuals, strict=True))
    noisy = inputs()[0]
    assert not adapter.mask(noisy, noisy, absent, torch.tensor([0.5, 0.5])).any()


@torch.no_grad()
def test_the_encoder_is_the_light_adapter_of_diffusers():
    config = adapter_for(unet(), residual_blocks=2).config
    mine = ReferenceEncoder(config)
    for gain in mine.gains:
        gain.fill_(1.0)
    theirs = T2IAdapter(config.planes, list(WIDTHS[:-1]), 2, 1, "light_adapter")
    weights = {name.removeprefix("adapter."): value for name, value in theirs.state_dict().items()}
    missing, unexpected = mine.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.startswith("gains.") for name in missing)
    given = references()
    for level, expected in zip(mine(given), theirs(given.planes()), strict=True):
        torch.testing.assert_close(level, expected)


def test_the_encoder_may_be_wider_than_diffusers():
    adapter = adapter_for(unet(), squeeze=1)
    assert [level.out_conv.in_channels for level in adapter.reference_encoder.body] == list(WIDTHS)
    with pytest.raises(ValueError, match="cannot be 3 times narrower"):
        adapter_for(unet(), squeeze=3)


def test_an_adapter_of_another_image_model_is_refused():
    adapter = adapter_for(unet())
    other = UNet2DConditionModel.from_config({**unet().config, "block_out_channels": (32, 32, 64)})
    with pytest.raises(ValueError, match="made for a UNet with levels of"):
        ReferenceUNet(other, adapter)
