"""ART-V in the library on a Stable Diffusion checkpoint: its networks of diffusers, and an adapter for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints.files import CheckpointError, config_from, fingerprint, load_into, read_weights
from ..checkpoints.stable_diffusion import StableDiffusion, read_stable_diffusion
from ..checkpoints.stable_diffusion_text import text_encoder_of
from ..networks.reference_adapter import ReferenceAdapter, ReferenceAdapterConfig
from ..networks.reference_unet import ReferenceUNet
from .art_v import ArtVModel, any_text, check_prediction
from .diffusers_image_model import DiffusersImageModel
from .embedded_art_v import alphas_cumprod

BYTES_A_PIXEL = 4 * 128 * 4  # the widest level of the autoencoder: 128 float32 channels, and what a layer needs beside


@dataclass(frozen=True)
class ImageVAE:
    """A checkpoint's autoencoder; latents are in the scale that its UNet knows."""

    vae: nn.Module
    height: int
    width: int
    lead: int = 0

    def encode(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in -1..1 to the most likely latents (N, C, h, w)."""
        latents = self.vae.encode(images.to(self.vae.device, self.vae.dtype)).latent_dist.mode()
        return latents.float() * self.vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        latents = latents.to(self.vae.device, self.vae.dtype) / self.vae.config.scaling_factor
        return self.vae.decode(latents).sample.float()

    def memory(self, frames: int) -> int:
        return frames * self.height * self.width * BYTES_A_PIXEL


def load_art_v(
    checkpoint: Path,
    adapter: Path,
    *,
    width: int | None = None,
    height: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    ema: bool = False,
    tokenizer: Path | None = None,
) -> ArtVModel:
    """An adapter on a checkpoint. `width`, `height`: of a frame in pixels, else those that the adapter was trained at;
    `dtype`: what the image model computes in, the adapter's own sums stay in float32.

    Raises:
        CheckpointError: a file is missing, damaged, of another kind, or the two do not belong together.
        FileNotFoundError: there is no tokenizer.
        ValueError: the adapter was made for another family, or the sides are not multiples of a latent cell.
    """
    if not adapter.is_file():
        raise CheckpointError(f"there is no adapter {adapter.name} in {adapter.parent}; `train art-v` makes one")
    about, weights = read_weights(adapter, "reference_adapter")
    model = read_stable_diffusion(checkpoint, dtype, ema=ema)
    check_belongs(adapter, about, checkpoint)
    check_prediction(about, model.prediction)
    network = ReferenceAdapter(config_from(ReferenceAdapterConfig, about))
    network = load_into(network, weights, adapter.name).to(device)
    for part in (model.unet, model.vae, model.text_encoder):
        part.to(device)
    height, width = height or about["size"], width or about["size"]
    digest = f"{fingerprint(checkpoint, adapter)}-{str(dtype).removeprefix('torch.')}{'-ema' if ema else ''}"
    return ArtVModel(
        _image_model(model, network, (height, width), digest, tokenizer),
        network,
        ImageVAE(model.vae, height, width),
        any_text,
        digest,
        (height, width),
        about["fps"],
    )


def check_belongs(adapter: Path, about: dict[str, Any], checkpoint: Path) -> None:
    """Raises CheckpointError for an adapter, by its header, whose UNet was trained with it and is in another file."""
    if "made_for" not in about:
        return
    if "checkpoint" not in about:
        raise CheckpointError(f"{adapter.name} is for the embedded image model: use it without a checkpoint (--art-v)")
    if about["made_for"] != fingerprint(checkpoint):
        raise CheckpointError(
            f"{adapter.name} belongs to the UNet in {about['checkpoint']}, not to {checkpoint.name}: name that "
            "checkpoint, which was written beside the adapter in training"
        )


def _image_model(
    model: StableDiffusion, adapter: ReferenceAdapter, frame_size: tuple[int, int], digest: str, tokenizer: Path | None
) -> DiffusersImageModel:
    cell = 2 ** (len(model.vae.config.block_out_channels) - 1)
    if any(side % cell for side in frame_size):
        raise ValueError(f"width and height must be multiples of {cell}, got {frame_size[1]} and {frame_size[0]}")
    encode = text_encoder_of(model, model.unet.device, tokenizer)
    return DiffusersImageModel(
        ReferenceUNet(model.unet, adapter).eval(),
        lambda text: encode([text])[0],
        alphas_cumprod=tuple(alphas_cumprod().tolist()),
        prediction=model.prediction,
        latent_shape=(model.unet.config.in_channels, *(side // cell for side in frame_size)),
        fingerprint=digest,
    )
