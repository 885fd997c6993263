"""ART-V on one checkpoint, in ComfyUI and in the library: the same video; LoRAs count."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

import environment
from avgen_core.checkpoints.stable_diffusion import CONFIGS, write_with_unet
from tests.host.in_process import core_module, node_module
from tests.host.test_art_v_models import video
from tests.tiny_stable_diffusion import HOST_WIDTHS, small_unet, write_adapter, write_host_checkpoint


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    """A checkpoint that ComfyUI reads, and an adapter for it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    unet = write_host_checkpoint(folder / "small.safetensors")
    write_adapter(folder / "adapter.safetensors", unet)
    return folder / "small.safetensors", folder / "adapter.safetensors"


@pytest.fixture
def library(files, tmp_path, monkeypatch):
    """The library's model; of the shipped configs, only the UNet's does not fit the small checkpoint."""
    for part in ("vae", "text_encoder"):
        (tmp_path / "sd1" / part).mkdir(parents=True)
        (tmp_path / "sd1" / part / "config.json").write_bytes((CONFIGS / "sd1" / part / "config.json").read_bytes())
    (tmp_path / "sd1" / "unet").mkdir()
    (tmp_path / "sd1" / "unet" / "config.json").write_text(json.dumps(dict(small_unet(HOST_WIDTHS, 8).config)))
    monkeypatch.setattr(core_module("checkpoints.stable_diffusion"), "CONFIGS", tmp_path)
    tokenizer = environment.locations().comfyui / "comfy" / "sd1_tokenizer"
    return partial(core_module("systems.stable_diffusion_art_v").load_art_v, tokenizer=tokenizer)


def in_comfyui(files: tuple[Path, Path], lora: float = 0.0):
    """As the nodes load and join them; with a LoRA on one attention of the UNet."""
    host_art_v = node_module("host_art_v")
    import comfy.sd

    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(files[0]), output_vae=True, output_clip=True)
    if lora:
        name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
        down, up = torch.ones(1, 320) * 0.1, torch.ones(320, 1) * 0.1
        weights = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(1.0)}
        model, _ = comfy.sd.load_lora_for_models(model, None, weights, lora, 0.0)
    return host_art_v.art_v_model(model, clip, vae, files[1], host_art_v.Frames(64, 64, 0.0), 1.5, 0.5)


def test_comfyui_and_the_library_make_the_same_video(files, library):
    mine = library(*files)
    mine.reference_guidance, mine.mask_strength = 1.5, 0.5
    expected = video(mine, 2.0)
    got = video(in_comfyui(files), 2.0)
    torch.testing.assert_close(got, expected, atol=1e-4 * expected.abs().max(), rtol=0)
    images = mine.autoencoder.decode(expected)
    assert images.shape == (3, 3, 64, 64) and mine.autoencoder.encode(images).shape == expected.shape


def test_a_lora_on_the_model_changes_the_video_and_the_fingerprint(files):
    plain, with_lora = in_comfyui(files), in_comfyui(files, lora=1.0)
    assert plain.system.fingerprint != with_lora.system.fingerprint
    assert not torch.allclose(video(plain, 1.0), video(with_lora, 1.0), atol=1e-3)


def test_comfyui_reads_a_checkpoint_with_another_unet(files, tmp_path):
    other = small_unet(HOST_WIDTHS, 8)
    write_with_unet(tmp_path / "other.safetensors", files[0], other)
    network = in_comfyui((tmp_path / "other.safetensors", files[1]))._image_model.model.model.diffusion_model
    torch.testing.assert_close(network.input_blocks[0][0].weight, other.conv_in.weight.half().to(torch.float32))


def test_an_adapter_whose_unet_learned_names_its_checkpoint(files, tmp_path):
    write_adapter(tmp_path / "a.safetensors", small_unet(HOST_WIDTHS, 8), learned="all", checkpoint="b.safetensors")
    assert in_comfyui((files[0], tmp_path / "a.safetensors")).belongs_to == "b.safetensors"
    assert in_comfyui(files).belongs_to == ""


def test_an_adapter_for_other_sizes_is_refused(files, library):
    with pytest.raises(ValueError, match="multiples of 8, got 100 and 64"):
        library(*files, width=100)
