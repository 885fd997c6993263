"""The cache changes nothing: a replay of the same passes from latents alone gives the same frames."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avgen_core.networks.latent_vqvae import LatentVQVAE, LatentVQVAEConfig
from avgen_core.networks.semantic_injection import SemanticInjection, SemanticInjectionConfig
from avgen_core.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from avgen_core.plan import (
    Action,
    AsynchronousPlan,
    BlockPlan,
    OnSwitch,
    SinkPositions,
    Solver,
    Window,
    flow_sigmas,
    passes_until,
)
from avgen_core.rollout.denoiser import Denoiser, Request
from avgen_core.rollout.executor import Executor
from avgen_core.rollout.noise import SeededNoise
from avgen_core.systems.arlon import ArlonDenoiser, ArlonParts
from avgen_core.systems.causal_wan import CausalWanDenoiser
from avgen_core.systems.token_writer import TokenSampling, TokenWriter
from tests import tiny
from tests.rollout.replay import ReplayDenoiser

FRAMES = 12
SWITCH = "0: a cat\n5: a dog\n9: a bus"
KEPT = Window(6, 1)
ROLLING = Window(7, 2, SinkPositions.ROLLING)
Plan = BlockPlan | AsynchronousPlan


def denoiser(guidance: float = 1.0) -> CausalWanDenoiser:
    """The tiny system with weights so large that what a frame sees decides what it becomes."""
    system = tiny.denoiser(guidance)
    for parameter in system.network.blocks.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(3)
    return system


def arlon_denoiser(guidance: float) -> ArlonDenoiser:
    """The same system under the guidance of codes, which decide as much."""
    plain = denoiser(guidance)
    torch.manual_seed(2)
    channels, *size = tiny.SHAPE
    coder = LatentVQVAE(LatentVQVAEConfig(channels, time=2, space=2, codes=20, code_dim=4, width=16, blocks=1)).eval()
    config = TokenTransformerConfig(
        20, cells=6, dim=24, heads=2, layers=2, ffn_dim=32, text_dim=tiny.CONFIG.text_dim, window=2
    )
    injection = SemanticInjection(SemanticInjectionConfig(channels, tiny.CONFIG.dim, (0, 1), adapter_dim=16)).eval()
    for linear in injection.modulations:
        torch.nn.init.normal_(linear.weight, std=0.3)
    writer = TokenWriter(TokenTransformer(config).eval(), tiny.encode_text, TokenSampling())
    parts = ArlonParts(coder, writer, injection)
    return ArlonDenoiser(
        plain.network, tiny.encode_text, parts, fingerprint="arlon", latent_shape=tiny.SHAPE, guidance=guidance
    )


def rollout(system: Denoiser, plan: Plan, text: str, frames: int = FRAMES) -> Tensor:
    executor = Executor(system, plan, tiny.prompts(text, "fog"), SeededNoise(5))
    return torch.cat([done.finished for done in executor.run(frames)])


def both_ways(plan: Plan, text: str, guidance: float) -> tuple[Tensor, Tensor]:
    """The frames of the cached system and of the replay."""
    return rollout(denoiser(guidance), plan, text), rollout(ReplayDenoiser(denoiser(guidance)), plan, text)


def difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


PLANS = {
    "block": tiny.block_plan(window=KEPT),
    "block, sink moves with the window": tiny.block_plan(window=ROLLING),
    "block, first frame apart": tiny.block_plan(window=KEPT, first_alone=True, solver=Solver.RENOISE),
    "asynchronous": tiny.asynchronous_plan(window=KEPT),
    "asynchronous, sink moves with the window": tiny.asynchronous_plan(window=ROLLING),
    "asynchronous blocks seen both ways": AsynchronousPlan(
        flow_sigmas(2), 1, block=2, window=Window(8, 2), joint=True, solver=Solver.RENOISE, on_switch=OnSwitch.RECACHE
    ),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@torch.no_grad()
def test_cached_equals_replay_after_evictions_and_prompt_switches(plan):
    cached, replayed = both_ways(plan, SWITCH, guidance=1.0)
    assert len(cached) >= FRAMES
    steps = list(passes_until(plan, FRAMES, lambda earlier, later: any(earlier < at <= later for at in (5, 9))))
    assert any(step.evicts for step in steps), "frames leave the cache on the way"
    assert any(step.queries[0].action is Action.RECACHE for step in steps), "and come into it anew"
    assert difference(cached, replayed) < 1e-4


@pytest.mark.parametrize("plan", [tiny.block_plan, tiny.asynchronous_plan], ids=["block", "asynchronous"])
@torch.no_grad()
def test_both_answers_to_a_prompt_switch_equal_their_replay_with_guidance(plan):
    recached, replayed = both_ways(plan(on_switch=OnSwitch.RECACHE), SWITCH, guidance=2.5)
    assert difference(recached, replayed) < 1e-4
    kept, replayed = both_ways(plan(on_switch=OnSwitch.KEEP), SWITCH, guidance=2.5)
    assert difference(kept, replayed) < 1e-4
    assert torch.equal(recached[:4], kept[:4])
    assert difference(recached[6:], kept[6:]) > 0.05, "recaching the window under the new prompt matters"


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("plan", [tiny.block_plan, tiny.asynchronous_plan], ids=["block", "asynchronous"])
@torch.no_grad()
def test_cached_equals_replay_under_the_guidance_of_codes(plan, guidance):
    """A block's guidance is in the keys and values that are cached of it."""
    cached = rollout(arlon_denoiser(guidance), plan(), SWITCH)
    assert difference(cached, rollout(ReplayDenoiser(arlon_denoiser(guidance)), plan(), SWITCH)) < 1e-4
    assert difference(cached, rollout(denoiser(guidance), plan(), SWITCH)) > 0.05, "the codes matter"


@torch.no_grad()
def test_sink_positions_matter():
    """What the replays of both kinds of sinks would not show if positions hardly changed the frames."""
    kept = rollout(denoiser(), tiny.block_plan(window=Window(7, 2)), "a cat")
    rolling = rollout(denoiser(), tiny.block_plan(window=ROLLING), "a cat")
    assert torch.equal(kept[:6], rolling[:6])
    assert difference(kept, rolling) > 0.05


@torch.no_grad()
def test_evicted_frames_live_on_in_deep_keys():
    """Why the replay is the reference: computing the last window afresh is something else."""
    plan = tiny.block_plan(window=Window(4))
    executor = Executor(denoiser(), plan, tiny.prompts("a cat"), SeededNoise(5))
    frames = torch.cat([done.finished for done in executor.run(FRAMES)])
    cache = executor.state.cache
    held = sorted(cache.keys)
    fresh = whole_forward(frames[held], held, [frame // plan.block for frame in held])
    assert max(difference(cache.keys[frame][0], fresh[frame][0][0]) for frame in held) < 1e-5
    assert max(difference(cache.keys[frame][-1], fresh[frame][0][-1]) for frame in held) > 0.05


class Recorder:
    """A cache that shows nothing and remembers every layer's keys and values."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []

    positions = torch.empty(0)

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        raise AssertionError("there is no context to read")

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        self.layers.append((keys, values))


def whole_forward(frames: Tensor, positions: list[int], groups: list[int]) -> dict[int, tuple[Tensor, ...]]:
    """Keys and values of clean frames (F, C, H, W), computed in one causal forward without a cache."""
    network, recorder = denoiser().network, Recorder()
    network(
        frames.transpose(0, 1)[None],
        torch.zeros(1, len(frames)),
        network.text_keys(tiny.encode_text("a cat")[None]),
        positions=torch.tensor(positions),
        groups=torch.tensor(groups),
        cache=recorder,
    )
    keys, values = (torch.stack(parts) for parts in zip(*recorder.layers, strict=True))
    return {frame: (keys[:, :, row], values[:, :, row]) for row, frame in enumerate(positions)}


@pytest.mark.parametrize("kind", [tiny.block_plan, tiny.asynchronous_plan], ids=["block", "asynchronous"])
@torch.no_grad()
def test_cache_equals_one_causal_forward_before_the_first_eviction(kind):
    plan = kind(window=Window())
    executor = Executor(denoiser(), plan, tiny.prompts("a cat"), SeededNoise(5))
    frames = torch.cat([done.finished for done in executor.run(10)])
    unit = plan.block
    whole = whole_forward(frames, list(range(len(frames))), [frame // unit for frame in range(len(frames))])
    cache = executor.state.cache
    assert sorted(cache.keys) == list(range(len(frames) - unit)), "all but the newest are committed"
    for frame in cache.keys:
        keys, values = whole[frame]
        assert difference(cache.keys[frame], keys) < 1e-4
        assert difference(cache.values[frame], values) < 1e-4


class Watched:
    """A denoiser that remembers each request and its answer."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner, self.seen = inner, []

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def predict(self, request: Request) -> Tensor:
        answer = self.inner.predict(request)
        self.seen.append((request, answer))
        return answer


@torch.no_grad()
def test_velocity_equals_one_causal_forward_over_clean_past_and_noisy_block():
    watched, network = Watched(denoiser()), denoiser().network
    plan = tiny.block_plan(window=Window())
    frames = rollout(watched, plan, "a cat", 8)
    text = network.text_keys(tiny.encode_text("a cat")[None])
    for request, answer in watched.seen:
        queries, past = request.step.queries, len(request.step.context)
        together = torch.cat([frames[:past], request.latents])
        timesteps = torch.tensor([[0.0] * past + [query.timestep for query in queries]])
        groups = torch.arange(len(together)) // plan.block
        velocity = network(together.transpose(0, 1)[None], timesteps, text, groups=groups)[0].transpose(0, 1)
        assert difference(answer, velocity[past:]) < 1e-4
