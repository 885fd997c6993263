"""ART-V on a small image model of the diorama world; trained by `train image-model` and `train art-v`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.files import CheckpointError, config_from, encoder_digest, fingerprint, load_into, read_weights
from ..networks.image_autoencoder import ImageAutoencoder, ImageAutoencoderConfig
from ..networks.image_unet import ImageUNetConfig
from ..networks.reference_adapter import ReferenceAdapter, ReferenceAdapterConfig
from ..networks.reference_unet import Prediction, ReferenceUNet
from ..networks.text_encoder import TextEncoder, TextEncoderConfig
from . import diorama_sentences
from .art_v import ArtVModel
from .diffusers_image_model import DiffusersImageModel
from .embedded import AUTOENCODER, FOLDER, TEXT_ENCODER

IMAGE_UNET, ART_V = "image_unet.safetensors", "art_v.safetensors"
PREDICTION = Prediction.VELOCITY
SIZE, FPS = 64, 8.0


def alphas_cumprod() -> Tensor:
    """Stable Diffusion's noise schedule (T,), float64: `scaled_linear` from 0.00085 to 0.012."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)


def check_encoder(name: str, about: dict[str, Any], autoencoder: dict[str, Tensor]) -> None:
    """Raises CheckpointError unless a file was trained on the latents of this autoencoder."""
    if about["encoder"] != encoder_digest(autoencoder):
        raise CheckpointError(
            f"{name} was trained on the latents of another encoder than {AUTOENCODER} holds: install the pack's files "
            "anew, or train it on this autoencoder"
        )


def check_adapter(folder: Path, about: dict[str, Any]) -> None:
    """Raises CheckpointError unless the adapter was trained on the image model that lies beside it."""
    if about["made_for"] != fingerprint(folder / IMAGE_UNET):
        raise CheckpointError(
            f"{ART_V} was trained on another image model than {IMAGE_UNET} holds: install the pack's files anew, or "
            "train it on this one"
        )


def load_embedded_art_v(folder: Path = FOLDER) -> ArtVModel:
    """The library's route, with the UNet of diffusers. Raises CheckpointError when a file is missing or damaged."""
    paths = [folder / name for name in (AUTOENCODER, TEXT_ENCODER, IMAGE_UNET, ART_V)]
    about_images, image_weights = read_weights(paths[0], "image_autoencoder")
    about_text, text_weights = read_weights(paths[1], "text_encoder")
    about_unet, unet_weights = read_weights(paths[2], "image_unet")
    about_adapter, adapter_weights = read_weights(paths[3], "reference_adapter")
    check_encoder(IMAGE_UNET, about_unet, image_weights)
    check_adapter(folder, about_adapter)
    autoencoder = load_into(
        ImageAutoencoder(config_from(ImageAutoencoderConfig, about_images)), image_weights, AUTOENCODER
    )
    text_encoder = load_into(TextEncoder(config_from(TextEncoderConfig, about_text)), text_weights, TEXT_ENCODER)
    unet = load_into(config_from(ImageUNetConfig, about_unet).build(), unet_weights, IMAGE_UNET)
    adapter = load_into(ReferenceAdapter(config_from(ReferenceAdapterConfig, about_adapter)), adapter_weights, ART_V)
    network = ReferenceUNet(unet, adapter).eval()
    digest = fingerprint(*paths)
    side = SIZE // autoencoder.config.downscale
    image_model = DiffusersImageModel(
        network,
        lambda text: text_encoder(text_encoder.tokenize([text]))[0],
        alphas_cumprod=tuple(alphas_cumprod().tolist()),
        prediction=PREDICTION,
        latent_shape=(autoencoder.config.latent_channels, side, side),
        fingerprint=digest,
    )
    read = partial(diorama_sentences.read, vocabulary=text_encoder.config.vocabulary)
    return ArtVModel(image_model, adapter, autoencoder, read, digest, (SIZE, SIZE), FPS)
