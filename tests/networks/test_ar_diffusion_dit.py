"""What AR-Diffusion's denoiser can do beyond the official forward, on a tiny network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avgen_core.networks.ar_diffusion_dit import ARDiffusionDiT, ARDiffusionDiTConfig, sin_cos_table

CONFIG = ARDiffusionDiTConfig(
    hidden_size=24,
    depth=3,
    num_heads=2,
    tokens_per_frame=3,
    frames=6,
    context_dim=8,
    context_tokens=5,
)
ROTARY = replace(CONFIG, rotary=True, qk_norm=True)
BOTH = pytest.mark.parametrize("config", [CONFIG, ROTARY], ids=["table", "rotary"])


def network(config: ARDiffusionDiTConfig) -> ARDiffusionDiT:
    """With weights that make every part of the input matter."""
    torch.manual_seed(0)
    model = ARDiffusionDiT(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.15)
    return model


def inputs(frames: int, contexts: int = 1, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents (2, F, 3, 4), timesteps (2, F), contexts (2, P, 5, 8)."""
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(2, frames, 3, 4, generator=noise)
    timesteps = torch.randint(1000, (2, frames), generator=noise)
    return x, timesteps, torch.randn(2, contexts, 5, 8, generator=noise)


class DictCache:
    """The simplest cache: keeps all that it is offered."""

    def __init__(self) -> None:
        self.positions = torch.empty(0)
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def read(self, layer):
        return self.layers[layer]

    def write(self, layer, keys, values):
        self.layers.setdefault(layer, (keys, values))


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-6, rtol=0)


@BOTH
def test_two_equal_contexts_are_one(config):
    model = network(config)
    x, timesteps, context = inputs(4)
    once = model(x, timesteps, context)
    twice = model(x, timesteps, context.repeat(1, 2, 1, 1), torch.tensor([0, 0, 1, 1]))
    same(once, twice)


@BOTH
def test_a_frame_sees_its_own_context_only(config):
    model = network(replace(config, context_sees_video=False))
    x, timesteps, context = inputs(4, contexts=2)
    both = model(x, timesteps, context, torch.tensor([0, 0, 1, 1]))
    same(both[:, :2], model(x[:, :2], timesteps[:, :2], context[:, :1]))
    assert (both[:, 2:] - model(x, timesteps, context[:, :1])[:, 2:]).abs().max() > 1e-3


@BOTH
def test_later_frames_reach_earlier_ones_only_through_a_context_that_sees_video(config):
    x, timesteps, context = inputs(4)
    for sees, reaches in ((True, True), (False, False)):
        model = network(replace(config, context_sees_video=sees))
        change = model(x, timesteps, context)[:, :2] - model(x[:, :2], timesteps[:, :2], context)
        assert (float(change.abs().max()) > 1e-4) == reaches


@BOTH
def test_frames_left_out_keep_the_positions_of_the_others(config):
    """With a causal context, leaving out the last frames changes nothing, and positions are not renumbered."""
    model = network(replace(config, context_sees_video=False))
    x, timesteps, context = inputs(5)
    full = model(x, timesteps, context)
    same(full[:, :3], model(x[:, :3], timesteps[:, :3], context, positions=torch.arange(3)))
    some = torch.tensor([0, 3])
    chosen = model(x[:, some], timesteps[:, some], context, positions=some)
    renumbered = model(x[:, some], timesteps[:, some], context)
    same(chosen[:, :1], full[:, :1])
    assert (chosen[:, 1] - renumbered[:, 1]).abs().max() > 1e-4


@BOTH
def test_cached_forward_equals_the_full_one(config):
    model = network(replace(config, context_sees_video=False))
    x, timesteps, context = inputs(5, contexts=2)
    of_frame = torch.tensor([0, 0, 0, 1, 1])
    full = model(x, timesteps, context, of_frame)
    cache = DictCache()
    first = model(x[:, :2], timesteps[:, :2], context, of_frame[:2], torch.arange(2), cache)
    assert cache.layers[0][0].shape == (2, 2, 3, 2, 12)
    cache.positions = torch.arange(2.0, dtype=torch.float64)
    rest = model(x[:, 2:], timesteps[:, 2:], context, of_frame[2:], torch.arange(2, 5), cache)
    same(torch.cat([first, rest], dim=1), full)


@BOTH
def test_cached_frames_after_a_frame_are_hidden_from_it(config):
    model = network(replace(config, context_sees_video=False))
    x, timesteps, context = inputs(4)
    cache = DictCache()
    order = torch.tensor([0, 3])
    model(x[:, order], timesteps[:, order], context, positions=order, cache=cache)
    cache.positions = order
    between = model(x[:, 1:2], timesteps[:, 1:2], context, positions=torch.tensor([1]), cache=cache)
    same(between, model(x[:, :2], timesteps[:, :2], context)[:, 1:])


@BOTH
def test_a_context_that_sees_video_sees_cached_frames(config):
    model = network(config)
    x, timesteps, context = inputs(3)
    cache = DictCache()
    model(x[:, :1], timesteps[:, :1], context, cache=cache)
    cache.positions = torch.tensor([0])
    rest = slice(1, 3), torch.arange(1, 3)
    seen = model(x[:, rest[0]], timesteps[:, rest[0]], context, positions=rest[1], cache=cache)
    assert (seen - model(x[:, rest[0]], timesteps[:, rest[0]], context, positions=rest[1])).abs().max() > 1e-4


def test_too_many_frames_are_refused():
    x, timesteps, context = inputs(7)
    with pytest.raises(ValueError, match="window of 6 frames"):
        network(CONFIG)(x, timesteps, context)
    with pytest.raises(ValueError, match="position 6 is outside"):
        network(CONFIG)(x[:, :1], timesteps[:, :1], context, positions=torch.tensor([6]))
    assert network(ROTARY)(x, timesteps, context).shape == x.shape


def test_wrong_inputs_are_refused():
    x, timesteps, context = inputs(2)
    with pytest.raises(ValueError, match="2 tokens, this network takes 3"):
        network(CONFIG)(x[:, :, :2], timesteps, context)
    with pytest.raises(ValueError, match="sees context 1, but only 1"):
        network(CONFIG)(x, timesteps, context, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="24 must split into 5 heads"):
        replace(CONFIG, num_heads=5)


def test_a_new_network_begins_with_nothing_and_can_be_trained():
    torch.manual_seed(0)
    model = ARDiffusionDiT(CONFIG)
    x, timesteps, context = inputs(6)
    assert not model(x, timesteps, context).any()
    assert "pos_embed" not in dict(model.named_parameters())
    torch.testing.assert_close(model.pos_embed, sin_cos_table(18, 24))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = (model(x, timesteps, context) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@BOTH
def test_half_precision(config):
    x, timesteps, context = inputs(4)
    full = network(config)(x, timesteps, context)
    half = network(config).bfloat16()(x.bfloat16(), timesteps, context.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, atol=0.1, rtol=0.1)
