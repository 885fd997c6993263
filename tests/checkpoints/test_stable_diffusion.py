"""Single files of Stable Diffusion's layout, read without a hub: the networks are those that were written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from avgen_core.checkpoints.files import CheckpointError
from avgen_core.checkpoints.stable_diffusion import CONFIGS, EMA, UNET, Family, read_stable_diffusion
from avgen_core.networks.reference_unet import Prediction
from tests.host.in_process import node_module

TEXT = {
    "vocab_size": 50, "hidden_size": 768, "intermediate_size": 32, "num_attention_heads": 8, "num_hidden_layers": 1,
    "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, Path, tuple]:
    """A tiny checkpoint in the layout of Stable Diffusion 1, its configs, and the networks that are in it."""
    node_module("host_image_model")
    import comfy.diffusers_convert
    import comfy.utils

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=768, attention_head_dim=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 32, 32), layers_per_block=2, scaling_factor=0.18215,
    )  # fmt: skip
    text_encoder = CLIPTextModel(CLIPTextConfig(**TEXT))
    sizes = {"num_res_blocks": [1, 1], "channel_mult": [1, 2], "transformer_depth": [1, 0],
             "transformer_depth_output": [1, 1, 0, 0], "transformer_depth_middle": 1}  # fmt: skip
    names = comfy.utils.unet_to_diffusers(sizes)
    weights = {UNET + names[name]: value for name, value in unet.state_dict().items()}
    of_vae = comfy.diffusers_convert.convert_vae_state_dict(vae.state_dict())
    weights |= {f"first_stage_model.{name}": value for name, value in of_vae.items()}
    states = {name.removeprefix("text_model."): value for name, value in text_encoder.state_dict().items()}
    weights |= {f"cond_stage_model.transformer.text_model.{name}": value for name, value in states.items()}
    folder = tmp_path_factory.mktemp("stable_diffusion")
    save_file({name: value.clone().contiguous() for name, value in weights.items()}, folder / "tiny.safetensors")
    for part, config in (("unet", unet.config), ("vae", vae.config), ("text_encoder", TEXT)):
        (folder / "sd1" / part).mkdir(parents=True)
        (folder / "sd1" / part / "config.json").write_text(json.dumps(dict(config)))
    return folder / "tiny.safetensors", folder, (unet.eval(), vae.eval(), text_encoder.eval())


def outputs(unet, vae, text_encoder) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    noisy, image = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 3, 32, 32, generator=generator)
    states = text_encoder(torch.tensor([[0, 5, 7, 2]])).last_hidden_state
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
