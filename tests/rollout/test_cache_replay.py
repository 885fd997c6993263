"""The cache changes nothing: a replay of the same passes from latents alone gives the same frames."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avgen_core.plan import AsynchronousPlan, BlockPlan, OnSwitch, SinkPositions, Window, flow_sigmas
from avgen_core.plan.block import Solver
from avgen_core.rollout.denoiser import Denoiser, Request
from avgen_core.rollout.executor import Executor
from avgen_core.rollout.noise import SeededNoise
from tests import tiny
from tests.rollout.replay import ReplayDenoiser

FRAMES = 14
SWITCH = "0: a cat\n6: a dog\n11: a bus"
KEPT = Window(6, 1)
ROLLING = Window(7, 2, SinkPositions.ROLLING)


def rollout(denoiser: Denoiser, plan: BlockPlan | AsynchronousPlan, text: str, frames: int = FRAMES) -> Tensor:
    executor = Executor(denoiser, plan, tiny.prompts(text, "fog"), SeededNoise(5))
    return torch.cat([done.finished for done in executor.run(frames)])


def both_ways(plan: BlockPlan | AsynchronousPlan, text: str, guidance: float) -> tuple[Tensor, Tensor]:
    """The frames of the cached system and of the replay."""
    return (
        rollout(tiny.denoiser(guidance), plan, text),
        rollout(ReplayDenoiser(tiny.denoiser(guidance)), plan, text),
    )


def forgotten(plan: BlockPlan | AsynchronousPlan) -> set[int]:
    """Frames that leave the cache on the way."""
    executor = Executor(tiny.denoiser(), plan, tiny.prompts(), SeededNoise(5))
    return {frame for done in executor.run(FRAMES) for frame in done.step.evicts}


PLANS = {
    "block": tiny.block_plan(window=KEPT),
    "block, sink moves with the window": tiny.block_plan(window=ROLLING),
    "block, first frame apart": tiny.block_plan(window=KEPT, first_alone=True, solver=Solver.RENOISE),
    "asynchronous": tiny.asynchronous_plan(window=KEPT),
    "asynchronous, sink moves with the window": tiny.asynchronous_plan(window=ROLLING),
    "asynchronous blocks seen both ways": AsynchronousPlan(
        flow_sigmas(2), 1, block=2, window=Window(8, 2), joint=True, solver=Solver.RENOISE
    ),
}


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("name", PLANS)
@torch.no_grad()
def test_cached_equals_replay_after_evictions_and_prompt_switches(name, guidance):
    cached, replayed = both_ways(PLANS[name], SWITCH, guidance)
    assert len(cached) >= FRAMES
    assert forgotten(PLANS[name]), "frames left the cache on the way"
    torch.testing.assert_close(cached, replayed, atol=1e-4, rtol=0)


@pytest.mark.parametrize("plan", [tiny.block_plan, tiny.asynchronous_plan], ids=["block", "asynchronous"])
@torch.no_grad()
def test_both_answers_to_a_prompt_switch_equal_their_replay(plan):
    frames = {}
    for on_switch in OnSwitch:
        cached, replayed = both_ways(plan(on_switch=on_switch), SWITCH, 2.0)
        torch.testing.assert_close(cached, replayed, atol=1e-4, rtol=0)
        frames[on_switch] = cached
    recached, kept = frames[OnSwitch.RECACHE], frames[OnSwitch.KEEP]
    assert torch.equal(recached[:4], kept[:4])
    assert (recached[8:] - kept[8:]).abs().max() > 1e-2, "recaching the window under the new prompt matters"


@torch.no_grad()
def test_evicted_frames_live_on_in_deep_keys():
    """Why the replay is the reference: computing the last window afresh is something else."""
    plan = tiny.block_plan(window=Window(4))
    denoiser = tiny.denoiser()
    executor = Executor(denoiser, plan, tiny.prompts(), SeededNoise(5))
    frames = torch.cat([done.finished for done in executor.run(FRAMES)])
    held = sorted(executor.state.cache.keys)
    fresh = whole_forward(frames[held], held, [frame // plan.block for frame in held])
    first_layer, last_layer = (
        max(difference(executor.state.cache.keys[frame][layer], fresh[frame][0][layer]) for frame in held)
        for layer in (0, -1)
    )
    assert first_layer < 1e-5
    assert last_layer > 1e-3


class Recorder:
    """A cache that shows nothing and remembers every layer's keys and values."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []

    def read(self, layer: int) -> None:
        return None

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        self.layers.append((keys, values))


def difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def whole_forward(frames: Tensor, positions: list[int], groups: list[int]) -> dict[int, tuple[Tensor, Tensor]]:
    """Keys and values of clean frames (F, C, H, W), computed in one causal forward without a cache."""
    network, recorder = tiny.network(), Recorder()
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


@pytest.mark.parametrize(
    "plan", [tiny.block_plan(window=Window()), tiny.asynchronous_plan(window=Window())], ids=["block", "asynchronous"]
)
@torch.no_grad()
def test_cache_equals_one_causal_forward_before_the_first_eviction(plan):
    executor = Executor(tiny.denoiser(), plan, tiny.prompts("a cat"), SeededNoise(5))
    frames = torch.cat([done.finished for done in executor.run(10)])
    unit = plan.block
    whole = whole_forward(frames, list(range(len(frames))), [frame // unit for frame in range(len(frames))])
    cache = executor.state.cache
    assert sorted(cache.keys) == list(range(len(frames) - unit)), "all but the newest are committed"
    for frame in cache.keys:
        keys, values = whole[frame]
        torch.testing.assert_close(cache.keys[frame], keys, atol=1e-4, rtol=0)
        torch.testing.assert_close(cache.values[frame], values, atol=1e-4, rtol=0)


class Watched:
    """A denoiser that remembers each request and its answer."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner, self.seen = inner, []

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def velocity(self, request: Request) -> Tensor:
        answer = self.inner.velocity(request)
        self.seen.append((request, answer))
        return answer


@torch.no_grad()
def test_velocity_equals_one_causal_forward_over_clean_past_and_noisy_block():
    denoiser, network = Watched(tiny.denoiser()), tiny.network()
    plan = tiny.block_plan(window=Window())
    frames = rollout(denoiser, plan, "a cat", 8)
    text = network.text_keys(tiny.encode_text("a cat")[None])
    for request, answer in denoiser.seen:
        queries, past = request.step.queries, len(request.step.context)
        together = torch.cat([frames[:past], request.latents])
        timesteps = torch.tensor([[0.0] * past + [query.timestep for query in queries]])
        groups = torch.arange(len(together)) // plan.block
        velocity = network(together.transpose(0, 1)[None], timesteps, text, groups=groups)[0].transpose(0, 1)
        torch.testing.assert_close(answer, velocity[past:], atol=1e-4, rtol=0)
