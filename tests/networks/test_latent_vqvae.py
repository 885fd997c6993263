"""The latent VQ-VAE: which frames a code stands for, and that videos may be coded piece by piece."""

from __future__ import annotations

import pytest
import torch

from avgen_core.networks.latent_vqvae import Codebook, LatentVQVAE, LatentVQVAEConfig

SMALL = {"latent_channels": 3, "codes": 20, "code_dim": 4, "width": 16}


def network(**sizes) -> LatentVQVAE:
    torch.manual_seed(0)
    return LatentVQVAE(LatentVQVAEConfig(**{**SMALL, **sizes})).eval()


def latents(frames: int, height: int = 6, width: int = 8) -> torch.Tensor:
    return torch.randn(2, 3, frames, height, width, generator=torch.Generator().manual_seed(frames))


@pytest.mark.parametrize("first_alone", [False, True])
@pytest.mark.parametrize(("time", "space"), [(4, 2), (2, 4), (1, 1), (4, 8)])
@torch.no_grad()
def test_shapes_come_back_whatever_does_not_divide(time, space, first_alone):
    model = network(time=time, space=space, first_alone=first_alone)
    for frames in (1, 2, 5, 9):
        codes = model.encode(latents(frames))
        rows, columns = -(-6 // space), -(-8 // space)
        assert codes.shape == (2, model.config.groups_of(frames), rows, columns)
        assert model.decode(codes, frames, 6, 8).shape == (2, 3, frames, 6, 8)


@pytest.mark.parametrize("first_alone", [False, True])
def test_groups_and_frames_agree(first_alone):
    config = LatentVQVAEConfig(**SMALL, time=4, first_alone=first_alone)
    for frame in range(20):
        group = config.group_of(frame)
        assert config.frames_of(group) <= frame < config.frames_of(group + 1)
    assert config.groups_of(0) == config.frames_of(0) == 0
    assert config.frames_of(3) == (9 if first_alone else 12)


@pytest.mark.parametrize("first_alone", [False, True])
@torch.no_grad()
def test_a_piece_has_the_codes_of_the_whole(first_alone):
    model = network(first_alone=first_alone)
    video, start = latents(17), model.config.frames_of(2)
    whole = model.encode(video)
    assert torch.equal(model.encode(video[:, :, :start]), whole[:, :2])
    assert torch.equal(model.encode(video[:, :, start:], first=2), whole[:, 2:])


@pytest.mark.parametrize("first_alone", [False, True])
@torch.no_grad()
def test_decoding_piece_by_piece_is_decoding_the_whole(first_alone):
    model = network(first_alone=first_alone)
    config = model.config
    codes = torch.randint(20, (1, 8, 3, 4), generator=torch.Generator().manual_seed(1))
    whole = model.decode(codes, config.frames_of(8), 6, 8)
    for start, stop in ((0, 3), (3, 5), (5, 8)):
        first = max(0, start - model.lead)
        count = config.frames_of(stop) - config.frames_of(first)
        piece = model.decode(codes[:, first:stop], count, 6, 8, first=first)
        wanted = slice(config.frames_of(start), config.frames_of(stop))
        torch.testing.assert_close(
            piece[:, :, config.frames_of(start) - config.frames_of(first) :], whole[:, :, wanted]
        )


@torch.no_grad()
def test_the_decoder_never_looks_ahead():
    model = network()
    codes = torch.zeros(1, 6, 3, 4, dtype=torch.long)
    other = codes.clone()
    other[:, 4:] = 7
    first, second = (model.decode(c, 24, 6, 8) for c in (codes, other))
    assert torch.equal(first[:, :, :16], second[:, :, :16])
    assert not torch.allclose(first[:, :, 16:], second[:, :, 16:])


def test_the_codebook_follows_what_is_assigned_and_revives_what_is_not():
    torch.manual_seed(0)
    codebook = Codebook(8, 2)
    places = torch.tensor([[3.0, 3.0], [-3.0, 3.0], [3.0, -3.0], [-3.0, -3.0]])
    for _ in range(300):
        features = places.repeat(50, 1) + 0.3 * torch.randn(200, 2)
        indices = codebook.nearest(features)
        chosen = torch.nn.functional.one_hot(indices, 8).float()
        codebook.follow(chosen.sum(0), chosen.T @ features)
    uses = torch.bincount(indices, minlength=8)
    assert (uses > 0).sum() >= 6, "codes that nothing was assigned to are used again"
    nearest = (codebook(codebook.nearest(places)) - places).norm(dim=1)
    assert nearest.max() < 1.0
