"""The embedded model's parts as ART-V is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..checkpoints.files import config_from, encoder_digest, load_into, read_weights
from ..networks.image_unet import ImageUNetConfig
from ..networks.reference_adapter import ReferenceAdapter, ReferenceAdapterConfig
from ..networks.reference_unet import ReferenceUNet, cross_attentions
from ..networks.text_encoder import TextEncoder, TextEncoderConfig
from ..systems.embedded import AUTOENCODER, TEXT_ENCODER
from ..systems.embedded_art_v import IMAGE_UNET, PREDICTION, alphas_cumprod
from .art_v import ArtVTrainer

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

SIZES = {"anchor_width": 128, "anchor_side": 8, "squeeze": 2}  # 64 / 4 channels would not hold three latents of 16


def embedded_encoder(models: Path) -> str:
    """Digest of the image encoder in a folder."""
    return encoder_digest(read_weights(models / AUTOENCODER, "image_autoencoder")[1])


def new_config(models: Path) -> ImageUNetConfig:
    """Sizes of an image model for the latents and the texts of a folder's models."""
    about_images, _ = read_weights(models / AUTOENCODER, "image_autoencoder")
    about_text, _ = read_weights(models / TEXT_ENCODER, "text_encoder")
    return ImageUNetConfig(about_images["config"]["latent_channels"], text_dim=about_text["config"]["dim"])


def image_model(models: Path) -> tuple[UNet2DConditionModel, ImageUNetConfig]:
    """A folder's image model and its sizes."""
    about, weights = read_weights(models / IMAGE_UNET, "image_unet")
    config = config_from(ImageUNetConfig, about)
    return load_into(config.build(), weights, IMAGE_UNET), config


def embedded_network(unet: UNet2DConditionModel, references: int) -> ReferenceUNet:
    """A small image model with a fresh adapter."""
    return adapted(unet, references, **SIZES)


def adapted(unet: UNet2DConditionModel, references: int, **sizes: int) -> ReferenceUNet:
    """A fresh adapter on a UNet; `sizes` as in `ReferenceAdapterConfig`."""
    config = ReferenceAdapterConfig(
        unet.config.in_channels,
        tuple(unet.config.block_out_channels),
        tuple(attention.inner_dim for attention in cross_attentions(unet)),
        unet.config.cross_attention_dim,
        references=references,
        **sizes,
    )
    return ReferenceUNet(unet, ReferenceAdapter(config))


def embedded_trainer(models: Path, device: torch.device) -> ArtVTrainer:
    """With a folder's text encoder, which stays as it is."""
    about, weights = read_weights(models / TEXT_ENCODER, "text_encoder")
    text_encoder = load_into(TextEncoder(config_from(TextEncoderConfig, about)), weights, TEXT_ENCODER).to(device)

    @torch.no_grad()
    def encode(prompts: list[str]) -> Tensor:
        return text_encoder(text_encoder.tokenize(prompts).to(device))

    return ArtVTrainer(alphas_cumprod().float(), PREDICTION, encode)
