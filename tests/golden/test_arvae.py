"""Our autoencoder encodes and decodes as AR-Diffusion's official `TiTok_KL_wT` and `TiTok_KL` do."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch

from avgen_core.networks.ar_vae import ARVAE, ARVAEConfig

from .conftest import drawn_weights, golden_json, golden_tensors

GOLDENS = ["arvae_small", "arvae_image_small"]
SCALE = 0.03
SIZES = {"small": (512, 8, 8), "base": (768, 12, 12), "large": (1024, 24, 16)}


@cache
def autoencoder(name: str) -> ARVAE:
    spec = golden_json(name)
    official = spec["config"]
    encoder, decoder = SIZES[official["vit_enc_model_size"]], SIZES[official["vit_dec_model_size"]]
    config = ARVAEConfig(
        *encoder,
        *decoder,
        patch_size=official["vit_enc_patch_size"],
        image_size=official["image_size"],
        latent_tokens=official["num_latent_tokens"],
        latent_channels=official["token_size"],
        temporal="num_frame" in official,
    )
    with torch.device("meta"):
        model = ARVAE(config)
    model.load_state_dict(drawn_weights(spec, SCALE), strict=True, assign=True)
    return model.eval()


@pytest.mark.parametrize("name", GOLDENS)
@torch.no_grad()
def test_encode(name):
    tensors = golden_tensors(name)
    latents = autoencoder(name).encode(tensors["frames"].flatten(0, 1))
    torch.testing.assert_close(latents, tensors["latents"].flatten(0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", GOLDENS)
@torch.no_grad()
def test_decode(name):
    """In double precision: what is left is the golden's own rounding, 1e-5 where values reach 3."""
    tensors = golden_tensors(name)
    frames = copy.deepcopy(autoencoder(name)).double().decode(tensors["latents"].double())
    torch.testing.assert_close(frames, tensors["decoded"].double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", GOLDENS)
@torch.no_grad()
def test_decode_in_single_precision(name):
    """The processor's convolutions decide how much is added: 1e-5 with AVX-512, 5e-5 with AVX2."""
    tensors = golden_tensors(name)
    frames = autoencoder(name).decode(tensors["latents"])
    torch.testing.assert_close(frames, tensors["decoded"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_later_frames_do_not_change_earlier_ones():
    latents = golden_tensors("arvae_small")["latents"].double()
    model = copy.deepcopy(autoencoder("arvae_small")).double()
    torch.testing.assert_close(model.decode(latents[:, :2]), model.decode(latents)[:, :2], atol=1e-9, rtol=0)
