"""AR-Diffusion's autoencoder between frames and latents, in the fixed units in which videos are decoded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avgen_core.media.decode import decode_latents, encode_frames
from avgen_core.networks.ar_vae import ARVAE
from avgen_core.systems.ar_diffusion import ARFrames
from tests.tiny_ar_diffusion import AUTOENCODER, random_weights


def frames_of(temporal: bool) -> ARFrames:
    torch.manual_seed(0)
    return ARFrames(random_weights(ARVAE(replace(AUTOENCODER, temporal=temporal))).eval().requires_grad_(False))


def latents(count: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 4, 1, 8), dim=1)


@pytest.mark.parametrize("temporal", [False, True])
def test_the_first_sixteen_frames_are_decoded_as_one_official_clip(temporal):
    autoencoder, given = frames_of(temporal), latents(16)
    decoded = decode_latents(autoencoder.decode, given, autoencoder.lead)
    official = autoencoder.network.decode(given[None])[0].clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(decoded, official, atol=1e-4, rtol=0)


def test_a_long_video_is_decoded_with_the_frames_before_each_unit():
    autoencoder, given = frames_of(temporal=True), latents(30)
    decoded = decode_latents(autoencoder.decode, given, autoencoder.lead)
    clip = autoencoder.network.decode(given[None, 16:30])[0].clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(decoded[24:], clip[8:], atol=1e-4, rtol=0)
    alone = decode_latents(autoencoder.decode, given[24:])
    assert (decoded[24:] - alone).abs().max() > 0.01, "the frames before make a difference"


def test_encoded_frames_lie_on_the_unit_sphere():
    encoded = encode_frames(frames_of(False).encode, torch.rand(3, 64, 64, 3))
    assert encoded.shape == (3, 4, 1, 8)
    torch.testing.assert_close(encoded.norm(dim=1), torch.ones(3, 1, 8))
