"""Single files of Stable Diffusion 1.x and 2.x for the library, with configs that ship with the pack: no hub access."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..networks.reference_unet import Prediction
from .files import CheckpointError, write_tensors

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

CONFIGS = Path(__file__).parent / "stable_diffusion_configs"
UNET, EMA, VAE = "model.diffusion_model.", "model_ema.", "first_stage_model."
TEXT = {"sd1": "cond_stage_model.transformer.", "sd2": "cond_stage_model.model."}
FIRST = UNET + "input_blocks.0.0.weight"
CROSS = UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
LAST_NORM = UNET + "output_blocks.11.1.transformer_blocks.0.norm1.bias"


class Family(str, Enum):
    """The layouts that can be read, by the names of their config folders."""

    SD1 = "sd1"
    SD2 = "sd2"


TEXT_WIDTHS = {768: Family.SD1, 1024: Family.SD2}


@dataclass(frozen=True)
class StableDiffusion:
    """The networks of a checkpoint. `prediction`: what its UNet predicts."""

    family: Family
    prediction: Prediction
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel


def read_stable_diffusion(
    path: Path, dtype: torch.dtype = torch.float32, *, ema: bool = False, configs: Path | None = None
) -> StableDiffusion:
    """Read a single-file checkpoint (safetensors). `ema`: the averaged weights of the UNet, where the file has
    them; `configs`: in place of those that ship with the pack.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind of model, or has no averaged weights.
    """
    weights = _tensors(path)
    family = _family(path, weights)
    if ema:
        weights = with_averages(path, weights)
    from diffusers import AutoencoderKL, UNet2DConditionModel

    folder = (configs or CONFIGS) / family.value
    try:
        unet = UNet2DConditionModel.from_single_file(dict(weights), config=str(folder / "unet"), torch_dtype=dtype)
        vae = AutoencoderKL.from_single_file(dict(weights), config=str(folder / "vae"), torch_dtype=dtype)
        text_encoder = text_encoder_in(weights, family, folder / "text_encoder").to(dtype)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path.name} looks like {family.value}, but lacks parts of it: {error}") from error
    parts = [part.eval().requires_grad_(False) for part in (unet, vae, text_encoder)]
    return StableDiffusion(family, prediction_of(weights), *parts)


def write_with_unet(path: Path, source: Path, unet: UNet2DConditionModel) -> None:
    """Write the checkpoint `source` with this UNet in place of its own, under its names and in its precision.

    What reads the source, but not its averaged weights, reads this file too: those are left out, for they belong to the
    UNet that was there.

    Raises:
        CheckpointError: the source is missing or damaged.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    weights = {name: value for name, value in _tensors(source).items() if not name.startswith(EMA)}
    named = convert_ldm_unet_checkpoint({name: name for name in weights}, unet.config)  # it only moves values
    for name, value in unet.state_dict().items():
        original = weights[named[name]]
        weights[named[name]] = value.detach().to("cpu", original.dtype).contiguous()
    with safe_open(source, "pt") as file:
        write_tensors(path, weights, file.metadata())


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"there is no file {path.name} in {path.parent.name}")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path.name} is not a safetensors file or is truncated ({error})") from error


def _family(path: Path, weights: dict[str, Tensor]) -> Family:
    """Which layout a file has. Raises CheckpointError, with the reason, for what ART-V cannot work on."""

    def refuse(what: str) -> CheckpointError:
        return CheckpointError(
            f"{path.name} is {what}: ART-V needs a Stable Diffusion 1.5 or 2.1 text-to-image checkpoint"
        )

    if any(name.startswith("conditioner.embedders.") for name in weights):
        raise refuse("an SDXL checkpoint")
    if any("time_stack" in name or "temporal" in name for name in weights):
        raise refuse("a video checkpoint")
    if FIRST not in weights or CROSS not in weights:
        raise refuse("no Stable Diffusion checkpoint")
    if (channels := weights[FIRST].shape[1]) != weights[UNET + "out.2.weight"].shape[0]:
        raise refuse(f"an inpainting or depth checkpoint ({channels} input channels)")
    width = weights[CROSS].shape[1]
    if width not in TEXT_WIDTHS:
        raise refuse(f"made for texts of width {width}, not 768 or 1024")
    return TEXT_WIDTHS[width]


def prediction_of(weights: dict[str, Tensor]) -> Prediction:
    """Files do not say; the last self-attention's norm tells v models, as in ComfyUI's `supported_models.SD20`."""
    norm = weights.get(LAST_NORM)
    told_by_norm = norm is not None and norm.float().std(unbiased=False) > 0.09
    is_sd2 = weights[CROSS].shape[1] == 1024
    return Prediction.VELOCITY if is_sd2 and told_by_norm else Prediction.EPSILON


def with_averages(path: Path, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with the UNet's moving averages in place of its own; their names there have lost their dots."""
    averaged = {
        name: weights[EMA + name.removeprefix("model.").replace(".", "")]
        for name in weights
        if name.startswith(UNET) and EMA + name.removeprefix("model.").replace(".", "") in weights
    }
    if not averaged:
        raise CheckpointError(f"{path.name} holds no averaged (EMA) weights: read it without ema")
    return {**weights, **averaged}


def text_encoder_in(weights: dict[str, Tensor], family: Family, folder: Path) -> CLIPTextModel:
    """The text encoder in the weights of a file; `folder` holds its config. Raises KeyError where parts are missing."""
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModel

    model = CLIPTextModel(CLIPTextConfig(**json.loads((folder / "config.json").read_text("utf-8"))))
    prefix = TEXT[family.value]
    if family is Family.SD1:
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    else:
        own = convert_open_clip_checkpoint(model, weights, prefix=prefix)
    expected = set(model.state_dict())
    own = {_nested(name, expected): value for name, value in own.items()}
    missing = expected - set(own) - {name for name in expected if name.endswith("position_ids")}
    if missing:
        raise KeyError(f"text encoder without {sorted(missing)[:2]}")
    model.load_state_dict({name: value.float() for name, value in own.items() if name in expected}, strict=False)
    return model


def _nested(name: str, expected: set[str]) -> str:
    """Releases of transformers differ in whether the text model's weights lie in `text_model`."""
    if name in expected:
        return name
    without = name.removeprefix("text_model.")
    return without if without in expected else f"text_model.{name}"
