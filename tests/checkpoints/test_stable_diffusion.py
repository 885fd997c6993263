"""Single files of Stable Diffusion's layout, read without a hub: the networks are those that were written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from avgen_core.checkpoints import stable_diffusion
from avgen_core.checkpoints.files import CheckpointError
from avgen_core.checkpoints.stable_diffusion import CONFIGS, EMA, UNET, Family, read_stable_diffusion, write_with_unet
from avgen_core.networks.reference_unet import Prediction
from tests.tiny_stable_diffusion import write_checkpoint


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, Path, tuple]:
    """A tiny checkpoint, its configs, and the networks that are in it."""
    return write_checkpoint(tmp_path_factory.mktemp("stable_diffusion"))


def outputs(unet, vae, text_encoder) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    noisy, image = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 3, 32, 32, generator=generator)
    states = text_encoder(torch.tensor([[0, 5, 7, 1]])).last_hidden_state
    return unet(noisy, 500, states).sample, vae.encode(image).latent_dist.mean, states


@torch.no_grad()
def test_the_networks_are_those_that_were_written(tiny):
    file, configs, written = tiny
    read = read_stable_diffusion(file, configs=configs)
    assert read.family is Family.SD1 and read.prediction is Prediction.EPSILON
    for mine, theirs in zip(outputs(read.unet, read.vae, read.text_encoder), outputs(*written), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_half_precision(tiny):
    read = read_stable_diffusion(tiny[0], torch.bfloat16, configs=tiny[1])
    assert {p.dtype for part in (read.unet, read.vae, read.text_encoder) for p in part.parameters()} == {torch.bfloat16}


@torch.no_grad()
def test_averaged_weights_are_taken_when_asked_for(tiny, tmp_path):
    weights = load_file(tiny[0])
    averages = {EMA + k.removeprefix("model.").replace(".", ""): v * 0.5 for k, v in weights.items() if UNET in k}
    save_file({**weights, **averages}, tmp_path / "both.safetensors")
    plain = read_stable_diffusion(tmp_path / "both.safetensors", configs=tiny[1])
    averaged = read_stable_diffusion(tmp_path / "both.safetensors", ema=True, configs=tiny[1])
    torch.testing.assert_close(averaged.unet.conv_in.weight, 0.5 * plain.unet.conv_in.weight)
    with pytest.raises(CheckpointError, match="no averaged .EMA. weights"):
        read_stable_diffusion(tiny[0], ema=True, configs=tiny[1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"conditioner.embedders.0.x": torch.zeros(1)}, "an SDXL checkpoint"),
        ({UNET + "input_blocks.1.0.time_stack.x": torch.zeros(1)}, "a video checkpoint"),
        ({UNET + "input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}, "inpainting or depth checkpoint .9 input"),
        ({UNET + "input_blocks.0.0.weight": None}, "no Stable Diffusion checkpoint"),
    ],
)
def test_other_models_are_refused_with_the_reason(tiny, tmp_path, change, reason):
    weights = {**load_file(tiny[0]), **change}
    save_file({k: v for k, v in weights.items() if v is not None}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=f"other.safetensors is .*{reason}.*1.5 or 2.1"):
        read_stable_diffusion(tmp_path / "other.safetensors", configs=tiny[1])


@pytest.mark.parametrize(
    ("text_width", "spread", "prediction"),
    [(768, 1.0, Prediction.EPSILON), (1024, 0.05, Prediction.EPSILON), (1024, 1.0, Prediction.VELOCITY)],
)
def test_what_a_file_predicts_is_told_by_its_last_norm(text_width, spread, prediction):
    norm = torch.randn(320, generator=torch.Generator().manual_seed(0)) * spread
    weights = {stable_diffusion.CROSS: torch.zeros(320, text_width), stable_diffusion.LAST_NORM: norm}
    assert stable_diffusion.prediction_of(weights) is prediction


def test_a_file_with_another_unet_keeps_all_else(tiny, tmp_path):
    weights = {name: value.half() for name, value in load_file(tiny[0]).items()}
    averages = {EMA + "x": torch.zeros(1)}
    save_file({**weights, **averages}, tmp_path / "half.safetensors", {"modelspec.title": "small"})
    other = UNet2DConditionModel.from_config(tiny[2][0].config)
    write_with_unet(tmp_path / "other.safetensors", tmp_path / "half.safetensors", other)
    written = load_file(tmp_path / "other.safetensors")
    assert {k: (v.dtype, v.shape) for k, v in written.items()} == {k: (v.dtype, v.shape) for k, v in weights.items()}
    read = read_stable_diffusion(tmp_path / "other.safetensors", configs=tiny[1])
    for name, value in other.state_dict().items():
        torch.testing.assert_close(read.unet.state_dict()[name], value.half().float())
    with safe_open(tmp_path / "other.safetensors", "pt") as file:
        assert file.metadata()["modelspec.title"] == "small"


def test_a_damaged_file_is_named(tiny, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(tiny[0].read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cut.safetensors is not a safetensors file or is truncated"):
        read_stable_diffusion(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(("family", "parameters"), [("sd1", 859_520_964), ("sd2", 865_910_724)])
def test_the_shipped_configs_have_the_published_sizes(family, parameters):
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(CONFIGS / family / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(CONFIGS / family / "vae"))
    assert sum(p.numel() for p in unet.parameters()) == parameters
    assert sum(p.numel() for p in vae.parameters()) == pytest.approx(83.65e6, rel=1e-3)
