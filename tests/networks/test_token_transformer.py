"""The token transformer: codes one by one with a cache are those of a pass over all of them."""

from __future__ import annotations

import torch

from avgen_core.networks.token_transformer import TokenCache, TokenTransformer, TokenTransformerConfig

CONFIG = TokenTransformerConfig(codes=20, cells=4, dim=24, heads=2, layers=3, ffn_dim=32, text_dim=6, window=2)


def network() -> TokenTransformer:
    torch.manual_seed(0)
    return TokenTransformer(CONFIG).eval()


def texts(count: int) -> torch.Tensor:
    return torch.randn(count, 5, 6, generator=torch.Generator().manual_seed(1))


def tokens(count: int) -> torch.Tensor:
    drawn = torch.randint(CONFIG.codes, (2, count), generator=torch.Generator().manual_seed(2))
    drawn[:, 0] = CONFIG.end
    return drawn


@torch.no_grad()
def test_cached_logits_are_those_of_one_pass():
    """Over many windows, with a text that changes: keys of codes that left are in those that stay, in both."""
    model, count = network(), 28
    prefix, before, positions = model.prefix(texts(2)), tokens(count), torch.arange(count)
    text_of = (positions >= 10).long().expand(2, -1)
    whole = model(before, positions, prefix.of(torch.tensor([[0, 1], [1, 0]])), text_of)
    cache = TokenCache()
    for step in range(count):
        own = torch.tensor([[0], [1]]) if step < 10 else torch.tensor([[1], [0]])
        place = slice(step, step + 1)
        logits = model(before[:, place], positions[place], prefix.of(own), torch.zeros(2, 1, dtype=torch.long), cache)
        torch.testing.assert_close(logits, whole[:, place], atol=1e-5, rtol=1e-5)
        cache.forget(int(positions[step]) // CONFIG.cells + 1 - CONFIG.window)
    assert len(cache.groups) <= CONFIG.window * CONFIG.cells


@torch.no_grad()
def test_a_code_depends_on_nothing_later_and_on_its_own_text_alone():
    model, positions = network(), torch.arange(12)
    prefix, before = model.prefix(texts(3)), tokens(12)
    text_of = (positions >= 6).long().expand(2, -1)

    def logits(before: torch.Tensor, second: int) -> torch.Tensor:
        return model(before, positions, prefix.of(torch.tensor([[0, second]] * 2)), text_of)

    plain, changed = logits(before, 1), before.clone()
    changed[:, 8] = (changed[:, 8] + 1) % CONFIG.codes
    assert torch.equal(logits(changed, 1)[:, :8], plain[:, :8])
    assert not torch.allclose(logits(changed, 1)[:, 8:], plain[:, 8:])
    assert torch.equal(logits(before, 2)[:, :6], plain[:, :6])
    assert not torch.allclose(logits(before, 2)[:, 6:], plain[:, 6:])


@torch.no_grad()
def test_only_distances_count():
    """A video may be as long as it likes."""
    model, prefix = network(), network().prefix(texts(1))
    row, text_of = prefix.of(torch.zeros(2, 1, dtype=torch.long)), torch.zeros(2, 8, dtype=torch.long)
    near = model(tokens(8), torch.arange(8), row, text_of)
    far = model(tokens(8), torch.arange(8) + 4_000, row, text_of)
    torch.testing.assert_close(far, near, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_groups_that_left_the_window_are_not_seen_directly():
    """One layer, so that nothing of them is in the keys of others."""
    config = TokenTransformerConfig(**{**CONFIG.__dict__, "layers": 1})
    torch.manual_seed(0)
    model = TokenTransformer(config).eval()
    row, text_of = model.prefix(texts(1)).of(torch.zeros(2, 1, dtype=torch.long)), torch.zeros(2, 12, dtype=torch.long)
    before = tokens(12)
    changed = before.clone()
    changed[:, :4] = 3
    first, second = (model(b, torch.arange(12), row, text_of) for b in (before, changed))
    assert torch.equal(first[:, 8:], second[:, 8:])
    assert not torch.allclose(first[:, 4:8], second[:, 4:8])
