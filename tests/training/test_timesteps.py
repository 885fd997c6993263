"""FoPP: the distribution of AR-Diffusion, and the mixture that the embedded model is trained on."""

from __future__ import annotations

import pytest
import torch

from avgen_core.training.timesteps import NoiseRecipe, fopp

# Marginal means and deviations for 16 frames and 1000 timesteps, computed exactly from the official tables.
MEANS = (105.5, 181.8, 244.6, 299.1, 348.3, 393.8, 437.0, 478.8)
DEVIATIONS = (167.5, 210.5, 234.5, 249.7, 259.6, 266.1, 270.0, 271.9)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_levels_never_fall():
    levels = fopp(1000, 16, generator())
    assert (levels.diff(dim=1) >= 0).all()
    assert levels.min() >= 0
    assert levels.max() <= 1


def test_marginals_are_those_of_the_official_sampler():
    levels = 1000 * fopp(200_000, 16, generator())
    for frame, (mean, deviation) in enumerate(zip(MEANS, DEVIATIONS, strict=True)):
        assert levels[:, frame].mean().item() == pytest.approx(mean, abs=3)
        assert levels[:, frame].std().item() == pytest.approx(deviation, abs=3)
        assert levels[:, 15 - frame].mean().item() == pytest.approx(999 - mean, abs=3)


def test_the_mixture_holds_clean_prefixes_blocks_and_clips_without_a_mask():
    recipe, draws = NoiseRecipe(), []
    shared = generator()
    for _ in range(300):
        draws.append(recipe.draw(8, 16, shared))
    unmasked = sum(d.groups is None for d in draws) / len(draws)
    assert unmasked == pytest.approx(0.18, abs=0.07)
    prefixed = torch.stack([~d.learned[:, 0] for d in draws]).float().mean().item()
    assert prefixed == pytest.approx(0.6, abs=0.05)
    for drawn in draws:
        assert drawn.learned.any(dim=1).all()
        assert (drawn.levels[~drawn.learned] <= recipe.prefix_noise).all()
        assert (drawn.levels[drawn.learned] > 0).all()
        if drawn.groups is not None and len(drawn.groups.unique()) == 4:
            blocks = drawn.levels.unflatten(1, (4, 4))
            assert (blocks == blocks[..., :1]).all(), "frames of a block share their level"


def test_the_same_generator_gives_the_same_batch():
    first, second = (NoiseRecipe().draw(4, 16, generator()) for _ in range(2))
    assert torch.equal(first.levels, second.levels)
