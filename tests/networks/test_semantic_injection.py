"""Semantic injection: untrained it changes no bit of the DiT, and every part of it begins to learn at once."""

from __future__ import annotations

import pytest
import torch

from avgen_core.networks.causal_dit import CausalDiT, CausalDiTConfig
from avgen_core.networks.semantic_injection import (
    InjectionKind,
    SemanticInjection,
    SemanticInjectionConfig,
    Uncertainty,
    disturbed,
)

DIT = CausalDiTConfig(
    dim=24, ffn_dim=32, num_heads=2, num_layers=4, in_dim=3, out_dim=3, text_dim=6, text_len=5, freq_dim=8
)


def networks(kind: InjectionKind = InjectionKind.ADAPTIVE_NORM) -> tuple[CausalDiT, SemanticInjection]:
    torch.manual_seed(0)
    return CausalDiT(DIT), SemanticInjection(SemanticInjectionConfig(3, 24, (0, 1), adapter_dim=16, kind=kind))


def predicted(dit: CausalDiT, injected=None, groups: torch.Tensor | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 3, 4, 4, 6, generator=generator)
    text = dit.text_keys(torch.randn(2, 5, 6, generator=generator))
    return dit(latents, torch.full((2, 4), 500.0), text, groups=groups, injected=injected)


def coarse() -> torch.Tensor:
    return torch.randn(2, 3, 4, 4, 6, generator=torch.Generator().manual_seed(2))


def opened(injection: SemanticInjection) -> SemanticInjection:
    for linear in injection.modulations:
        torch.nn.init.normal_(linear.weight, std=0.2)
    return injection


@pytest.mark.parametrize("kind", InjectionKind)
@torch.no_grad()
def test_untrained_the_dit_is_unchanged_bit_for_bit(kind):
    dit, injection = networks(kind)
    assert torch.equal(predicted(dit, injection(coarse())), predicted(dit))


@pytest.mark.parametrize("kind", InjectionKind)
def test_every_part_learns(kind):
    dit, injection = networks(kind)
    dit.requires_grad_(False)
    optimizer = torch.optim.SGD(injection.parameters(), lr=1.0)
    for _ in range(2):  # the first step opens the gates, behind which the other parts lie
        optimizer.zero_grad()
        predicted(dit, injection(coarse())).square().sum().backward()
        optimizer.step()
    assert not [name for name, p in injection.named_parameters() if p.grad is None or not p.grad.any()]


@torch.no_grad()
def test_strength_opens_the_gate_frame_by_frame():
    dit, injection = networks()
    opened(injection)
    groups = torch.arange(4)  # causal, so that a frame's guidance reaches no earlier one
    plain = predicted(dit, groups=groups)
    part = predicted(dit, injection(coarse(), strength=torch.tensor([0.0, 0.0, 1.0, 1.0])), groups)
    assert torch.equal(predicted(dit, injection(coarse(), strength=0.0), groups), plain)
    assert torch.equal(part[:, :, :2], plain[:, :, :2])
    assert not torch.allclose(part[:, :, 2:], plain[:, :, 2:], atol=1e-3)


@pytest.mark.parametrize("kind", InjectionKind)
@torch.no_grad()
def test_rows_behind_the_guided_ones_are_left_alone(kind):
    """Those of classifier-free guidance that have no prompt; the first row is guided as it would be by itself."""
    dit, injection = networks(kind)
    guided = predicted(dit, opened(injection)(coarse()[:1]))
    assert torch.equal(guided[1], predicted(dit)[1])
    torch.testing.assert_close(guided[0], predicted(dit, injection(coarse()))[0])
    assert not torch.allclose(guided[0], predicted(dit)[0], atol=1e-3)


@torch.no_grad()
def test_guidance_is_of_its_own_frame_and_place():
    """So that guidance of a block is the same, whether it is computed alone or with its neighbours."""
    _, injection = networks()
    opened(injection)
    whole, part = injection(coarse()), injection(coarse()[:, :, 2:])
    for layer in (0, 1):
        torch.testing.assert_close(part.layers[layer], whole.layers[layer][:, 2:])


@torch.no_grad()
def test_only_a_control_branch_passes_features_on():
    for kind in InjectionKind:
        _, injection = networks(kind)
        opened(injection)
        before = injection(coarse()).layers
        injection.adapters[0].up.weight += 1.0
        after = injection(coarse()).layers
        assert not torch.allclose(after[0], before[0])
        assert torch.allclose(after[1], before[1]) == (kind is not InjectionKind.CONTROL)


def test_uncertainty_moves_the_statistics_of_chosen_rows_alone():
    features = torch.randn(6, 3, 8, 4, generator=torch.Generator().manual_seed(3)) * torch.rand(6, 1, 1, 1) + 1
    rows = torch.tensor([True, True, False, False, True, False])
    draws = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(4))
    other = disturbed(features, Uncertainty(draws[0], draws[1], rows))
    assert torch.equal(other[~rows], features[~rows])
    assert not torch.allclose(other[rows].mean((1, 2)), features[rows].mean((1, 2)), atol=1e-3)
    still = disturbed(features, Uncertainty(torch.zeros(6, 4), torch.zeros(6, 4), rows))
    torch.testing.assert_close(still, features, atol=1e-5, rtol=1e-5)
