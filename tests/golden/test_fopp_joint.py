"""The FoPP sampler has the joint distribution of AR-Diffusion's `sample_stepseq_from_mid`, sequence by sequence."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from avgen_core.training.timesteps import TimestepSampler, draw_timesteps

from .conftest import golden_json

CASES = golden_json("fopp_joint")
A_SEQUENCE = 2000  # draws for every possible sequence, at least
LEAST_EXPECTED = 5.0  # sequences rarer than this are counted together, as the test's approximation demands


def counted(case: dict, draws: int) -> tuple[list[int], list[float]]:
    """Observed and expected counts of the case's sequences."""
    generator = torch.Generator().manual_seed(0)
    drawn = draw_timesteps(TimestepSampler.FOPP, draws, case["frames"], case["timesteps"], generator)
    sequences, counts = drawn.unique(dim=0, return_counts=True)
    seen = {",".join(map(str, s)): n for s, n in zip(sequences.tolist(), counts.tolist(), strict=True)}
    assert set(seen) <= set(case["joint"]), "a sequence that the official sampler never draws"
    observed, expected, rare = [], [], [0, 0.0]
    for sequence, probability in case["joint"].items():
        if probability * draws < LEAST_EXPECTED:
            rare = [rare[0] + seen.get(sequence, 0), rare[1] + probability * draws]
        else:
            observed.append(seen.get(sequence, 0))
            expected.append(probability * draws)
    if rare[1] >= LEAST_EXPECTED:
        observed.append(rare[0])
        expected.append(rare[1])
    return observed, expected


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"F{c['frames']}-T{c['timesteps']}")
def test_every_sequence_is_as_likely_as_in_the_official_sampler(case):
    draws = max(100_000, min(1_000_000, A_SEQUENCE * len(case["joint"])))
    observed, expected = counted(case, draws)
    total = sum(observed) / sum(expected)
    assert stats.chisquare(observed, [count * total for count in expected]).pvalue > 1e-3
