"""A video made in a batch is the video that the engine makes of its caption and seed alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avgen_core.plan import BlockPlan, OnSwitch, Window, flow_sigmas
from avgen_core.prompts import PromptSchedule, Segment
from avgen_core.rollout.executor import Executor, Prompts
from avgen_core.rollout.noise import SeededNoise
from avgen_core.systems.embedded import EmbeddedModel
from avgen_core.systems.many_videos import Prompt, Sampling, sample_latents, sample_videos
from tests.evaluation.tiny_model import tiny_model

CAPTIONS = ["a cat walks left in a forest", "a red car stands still in the city", "a bee jumps on the moon"]
PLAN = BlockPlan(sigmas=flow_sigmas(2), block=4, window=Window(8))
FRAMES = 14


def sampled_alone(model: EmbeddedModel, prompt: Prompt, sampling: Sampling, seed: int) -> torch.Tensor:
    """The latents (F, C, H, W) that the engine itself makes."""
    schedule = PromptSchedule((Segment(0, prompt),)) if isinstance(prompt, str) else prompt
    executor = Executor(model.denoiser(sampling.guidance), sampling.plan, Prompts(schedule), SeededNoise(seed))
    return torch.cat([done.finished for done in executor.run(FRAMES)])[:FRAMES]


def switching(first: int, at: int) -> PromptSchedule:
    """From one of the captions to the next."""
    return PromptSchedule((Segment(0, CAPTIONS[first]), Segment(at, CAPTIONS[first + 1])))


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_a_batch_equals_single_videos(guidance):
    model = tiny_model()
    sampling = Sampling(PLAN, guidance, seed=5)
    together = sample_latents(model, CAPTIONS, FRAMES, sampling)
    assert together.shape == (3, FRAMES, *model.latent_shape)
    for i, text in enumerate(CAPTIONS):
        torch.testing.assert_close(together[i], sampled_alone(model, text, sampling, 5 + i), atol=1e-4, rtol=0)


SWITCHES = {
    "recached, at a block": (OnSwitch.RECACHE, [switching(0, 8), switching(1, 8)]),
    "recached, inside a block": (OnSwitch.RECACHE, [switching(0, 6), switching(1, 6)]),
    "kept, at different frames": (OnSwitch.KEEP, [switching(0, 4), switching(1, 9), CAPTIONS[2]]),
}


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("case", SWITCHES)
def test_a_batch_with_switches_equals_single_videos(case, guidance):
    on_switch, prompts = SWITCHES[case]
    model, sampling = tiny_model(), Sampling(replace(PLAN, on_switch=on_switch), guidance, seed=5)
    together = sample_latents(model, prompts, FRAMES, sampling)
    for i, prompt in enumerate(prompts):
        torch.testing.assert_close(together[i], sampled_alone(model, prompt, sampling, 5 + i), atol=1e-4, rtol=0)
    unswitched = sample_latents(model, CAPTIONS[:1], FRAMES, sampling)[0]
    at = prompts[0].switches()[0]
    torch.testing.assert_close(together[0, :4], unswitched[:4], atol=1e-4, rtol=0)
    assert not torch.allclose(together[0, at:], unswitched[at:], atol=1e-3)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([switching(0, 4), switching(1, 8)], "switch at the same frames"),
        ([replace(switching(0, 4), blend=2)], "cannot blend"),
    ],
)
def test_prompts_that_do_not_go_together_are_refused(prompts, message):
    with pytest.raises(ValueError, match=message):
        sample_latents(tiny_model(), prompts, FRAMES, Sampling(replace(PLAN, on_switch=OnSwitch.RECACHE), 1.0))


def test_the_batch_size_changes_nothing_and_progress_ends_at_one():
    model, sampling, heard = tiny_model(), Sampling(PLAN, 2.5), []
    whole = sample_videos(model, CAPTIONS, FRAMES, sampling)
    parts = sample_videos(model, CAPTIONS, FRAMES, replace(sampling, batch=2), heard.append)
    assert whole.shape == (3, FRAMES, 64, 64, 3)
    assert abs(whole.astype(int) - parts.astype(int)).max() <= 1
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1.0)
