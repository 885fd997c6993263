"""An embedded model of random networks, small enough for tests."""

from __future__ import annotations

import torch

from avgen_core.diorama import vocabulary
from avgen_core.networks.causal_dit import CausalDiT, CausalDiTConfig
from avgen_core.networks.image_autoencoder import ImageAutoencoder, ImageAutoencoderConfig
from avgen_core.networks.text_encoder import TextEncoder, TextEncoderConfig
from avgen_core.systems.embedded import EmbeddedModel


def tiny_model() -> EmbeddedModel:
    torch.manual_seed(0)
    images = ImageAutoencoderConfig(
        latent_channels=4, encoder_channels=(8, 8, 8), decoder_channels=(8, 8, 8), decoder_blocks=(1, 1, 1)
    )
    text = TextEncoderConfig(vocabulary(), dim=16, layers=1, heads=2)
    video = CausalDiTConfig(
        dim=32, ffn_dim=32, num_heads=2, num_layers=1, in_dim=4, out_dim=4, text_dim=16, text_len=24, freq_dim=16
    )
    networks = (ImageAutoencoder(images), TextEncoder(text), CausalDiT(video))
    return EmbeddedModel(*(network.eval().requires_grad_(False) for network in networks), "tiny")
