"""AR-Diffusion networks small enough for tests, with random weights, and their checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch

from avgen_core.checkpoints.ar_diffusion import save_autoencoder, save_generator
from avgen_core.networks.ar_diffusion_dit import ARDiffusionDiT, ARDiffusionDiTConfig
from avgen_core.networks.ar_vae import ARVAE, ARVAEConfig

GENERATOR = ARDiffusionDiTConfig(
    hidden_size=64, depth=2, num_heads=4, tokens_per_frame=8, frames=16, context_dim=16, context_tokens=5
)
AUTOENCODER = ARVAEConfig(
    encoder_width=32, encoder_layers=1, encoder_heads=2, decoder_width=32, decoder_layers=1, decoder_heads=2,
    image_size=64, latent_tokens=8, codebook_size=32, codebook_dim=32, pixel_channels=(32,) * 5, pixel_blocks=1,
)  # fmt: skip
CLASSES = ("none", "surf", "dive", "ski")


def random_weights(network: torch.nn.Module) -> torch.nn.Module:
    """Strong enough for every input to matter; the weights of norms lie around one."""
    for name, parameter in network.named_parameters():
        torch.nn.init.normal_(parameter, std=0.15)
        if parameter.ndim == 1 and name.endswith("weight"):
            parameter.data.add_(1)
    return network


def write_checkpoints(generator: Path, autoencoder: Path, both: Path) -> None:
    """A generator of classes, its autoencoder, and a file that holds an autoencoder and a classless generator."""
    torch.manual_seed(0)
    dit, vae = random_weights(ARDiffusionDiT(GENERATOR)), random_weights(ARVAE(AUTOENCODER))
    conditions = torch.randn(len(CLASSES), GENERATOR.context_tokens, GENERATOR.context_dim)
    save_generator(generator, dit, conditions, class_conditional=True, classes=CLASSES)
    save_autoencoder(autoencoder, vae)
    save_generator(both, dit, conditions[:1], class_conditional=False, autoencoder=vae)
