"""A tiny checkpoint in the layout of Stable Diffusion 1, its configs, and a tokenizer for it."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from avgen_core.checkpoints.files import save_weights
from avgen_core.checkpoints.stable_diffusion import UNET
from avgen_core.networks.reference_adapter import ReferenceAdapter, ReferenceAdapterConfig
from avgen_core.networks.reference_unet import cross_attentions
from tests.host.in_process import node_module

SPECIAL = ("<|startoftext|>", "<|endoftext|>")
TEXT = {
    "vocab_size": 100, "hidden_size": 768, "intermediate_size": 32, "num_attention_heads": 8, "num_hidden_layers": 1,
    "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip


def write_tokenizer(folder: Path) -> Path:
    """One whose tokens are letters."""
    folder.mkdir(exist_ok=True)
    letters = [*SPECIAL, *string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    names = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "pad_token": SPECIAL[1], "unk_token": SPECIAL[1]}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", **names}))
    return folder


# What tells Stable Diffusion 1 from other models stays as in the original: the UNet's first width, and all of the text
# encoder and the autoencoder, whose sizes ComfyUI does not read from a file.
HOST_WIDTHS = (320, 640)


def small_unet(widths: tuple[int, int], heads: int) -> UNet2DConditionModel:
    """Two levels, text attention on the finer one."""
    return UNet2DConditionModel(
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=widths, layers_per_block=1, cross_attention_dim=768, attention_head_dim=heads,
    )  # fmt: skip


def small_vae(*widths: int) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=widths, layers_per_block=2, scaling_factor=0.18215,
    )  # fmt: skip


def write_checkpoint(folder: Path) -> tuple[Path, Path, tuple]:
    """The file, the folder of its configs, and the networks that are in it."""
    torch.manual_seed(0)
    unet, vae, text_encoder = small_unet((32, 64), 4), small_vae(32, 32, 32, 32), CLIPTextModel(CLIPTextConfig(**TEXT))
    save_file(single_file(unet, vae, text_encoder), folder / "tiny.safetensors")
    for part, config in (("unet", unet.config), ("vae", vae.config), ("text_encoder", TEXT)):
        (folder / "sd1" / part).mkdir(parents=True)
        (folder / "sd1" / part / "config.json").write_text(json.dumps(dict(config)))
    return folder / "tiny.safetensors", folder, (unet.eval(), vae.eval(), text_encoder.eval())


def write_host_checkpoint(path: Path) -> UNet2DConditionModel:
    """A file that ComfyUI's own loader takes for Stable Diffusion 1, in half precision; gives its UNet."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
    unet = small_unet(HOST_WIDTHS, 8)
    text_encoder = CLIPTextModel(CLIPTextConfig(vocab_size=49408, **sizes))
    weights = single_file(unet, small_vae(128, 256, 512, 512), text_encoder)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half() if value.is_floating_point() else value for name, value in weights.items()}, path)
    return unet


def write_adapter(path: Path, unet: UNet2DConditionModel, levels: tuple[int, ...] | None = None, **notes: str) -> None:
    """A small adapter with random weights, for 64 pixels; `levels`: of another family; `notes`: for its header."""
    widths = tuple(attention.inner_dim for attention in cross_attentions(unet))
    config = ReferenceAdapterConfig(4, levels or HOST_WIDTHS, widths, 768, anchor_width=32, anchor_side=2, mask_width=8)
    adapter, generator = ReferenceAdapter(config), torch.Generator().manual_seed(0)
    for parameter in adapter.parameters():
        parameter.data.normal_(std=0.1, generator=generator)
    save_weights(path, "reference_adapter", config, adapter.state_dict(), size=64, fps=8.0, **notes)


def single_file(unet: UNet2DConditionModel, vae: AutoencoderKL, text_encoder: CLIPTextModel) -> dict[str, torch.Tensor]:
    """All weights under the names of the original files."""
    node_module("host_image_model")
    import comfy.diffusers_convert
    import comfy.utils

    sizes = {"num_res_blocks": [1, 1], "channel_mult": [1, 2], "transformer_depth": [1, 0],
             "transformer_depth_output": [1, 1, 0, 0], "transformer_depth_middle": 1}  # fmt: skip
    names = comfy.utils.unet_to_diffusers(sizes)
    weights = {UNET + names[name]: value for name, value in unet.state_dict().items()}
    of_vae = comfy.diffusers_convert.convert_vae_state_dict(vae.state_dict())
    weights |= {f"first_stage_model.{name}": value for name, value in of_vae.items()}
    states = {name.removeprefix("text_model."): value for name, value in text_encoder.state_dict().items()}
    weights |= {f"cond_stage_model.transformer.text_model.{name}": value for name, value in states.items()}
    return {name: value.clone().contiguous() for name, value in weights.items()}
