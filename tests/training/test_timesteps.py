"""Timestep samplers: their exact distributions, and the mixture that the embedded model is trained on."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from avgen_core.training.timesteps import NoiseRecipe, TimestepSampler, draw_levels, draw_timesteps

ORDERED = [sampler for sampler in TimestepSampler if sampler.ordered]

# Marginal means and deviations for 16 frames and 1000 timesteps, computed exactly from the official tables.
MEANS = (105.5, 181.8, 244.6, 299.1, 348.3, 393.8, 437.0, 478.8)
DEVIATIONS = (167.5, 210.5, 234.5, 249.7, 259.6, 266.1, 270.0, 271.9)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("sampler", TimestepSampler)
@pytest.mark.parametrize(("frames", "timesteps"), [(1, 1), (1, 7), (5, 1), (3, 2), (16, 1000)])
def test_timesteps_are_whole_numbers_in_their_range(sampler, frames, timesteps):
    drawn = draw_timesteps(sampler, 500, frames, timesteps, generator())
    assert drawn.shape == (500, frames)
    assert drawn.dtype == torch.int64
    assert drawn.min() >= 0
    assert drawn.max() < timesteps
    if sampler.ordered:
        assert (drawn.diff(dim=1) >= 0).all()


@pytest.mark.parametrize("sizes", [(0, 4, 10), (2, 0, 10), (2, 4, 0)])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(ValueError, match="must be at least 1, got"):
        draw_timesteps(TimestepSampler.FOPP, *sizes, generator())


def test_fopp_has_the_marginals_of_the_official_sampler():
    drawn = draw_timesteps(TimestepSampler.FOPP, 200_000, 16, 1000, generator()).double()
    for frame, (mean, deviation) in enumerate(zip(MEANS, DEVIATIONS, strict=True)):
        assert drawn[:, frame].mean().item() == pytest.approx(mean, abs=3)
        assert drawn[:, frame].std().item() == pytest.approx(deviation, abs=3)
        assert drawn[:, 15 - frame].mean().item() == pytest.approx(999 - mean, abs=3)
    assert (drawn[:, 0] == 0).double().mean().item() == pytest.approx(0.0356, abs=0.002)
    assert (drawn[:, 15] == 999).double().mean().item() == pytest.approx(0.0356, abs=0.002)
    assert (drawn < 100).double().mean().item() == pytest.approx(0.1633, abs=0.002)
    assert ((drawn >= 450) & (drawn < 550)).double().mean().item() == pytest.approx(0.0714, abs=0.002)


def test_uniform_makes_all_non_decreasing_sequences_equally_likely():
    drawn = draw_timesteps(TimestepSampler.UNIFORM, 60_000, 3, 4, generator())
    sequences, counts = drawn.unique(dim=0, return_counts=True)
    assert len(sequences) == 20  # C(4 + 3 - 1, 3)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_uniform_leaves_early_frames_almost_clean():
    """The imbalance that FoPP is there to mend: the mean of frame f is (T - 1) (f + 1) / (F + 1)."""
    means = draw_timesteps(TimestepSampler.UNIFORM, 100_000, 16, 1000, generator()).double().mean(dim=0)
    torch.testing.assert_close(means, 999 * torch.arange(1, 17).double() / 17, atol=2, rtol=0)


def test_synchronous_frames_share_any_timestep():
    drawn = draw_timesteps(TimestepSampler.SYNCHRONOUS, 50_000, 4, 10, generator())
    assert (drawn == drawn[:, :1]).all()
    assert stats.chisquare(drawn[:, 0].bincount(minlength=10).numpy()).pvalue > 1e-3


def test_diffusion_forcing_draws_every_frame_alone():
    drawn = draw_timesteps(TimestepSampler.DIFFUSION_FORCING, 50_000, 2, 5, generator())
    pairs = (drawn[:, 0] * 5 + drawn[:, 1]).bincount(minlength=25)
    assert stats.chisquare(pairs.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("sampler", ORDERED)
def test_levels_never_fall_and_fill_the_unit_interval(sampler):
    levels = draw_levels(sampler, 1000, 16, generator())
    assert (levels.diff(dim=1) >= 0).all()
    assert 0 <= levels.min() < 0.01
    assert 0.99 < levels.max() <= 1


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


@pytest.mark.parametrize("sampler", TimestepSampler)
def test_any_sampler_fits_the_mixture(sampler):
    recipe = NoiseRecipe(blocks=((1, 1.0),), sampler=sampler)
    drawn = recipe.draw(64, 16, generator())
    assert (drawn.levels[~drawn.learned] <= recipe.prefix_noise).all()
    for levels, learned in zip(drawn.levels, drawn.learned, strict=True):
        if sampler.ordered:
            assert (levels[learned].diff() >= 0).all()
        if sampler is TimestepSampler.SYNCHRONOUS:
            assert len(levels[learned].unique()) == 1
