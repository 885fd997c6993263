"""A video made in a batch is the video that the engine makes of its caption and seed alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avgen_core.evaluation.sampling import Sampling, sample_latents, sample_videos
from avgen_core.plan import BlockPlan, Window, flow_sigmas
from avgen_core.prompts import PromptSchedule
from avgen_core.prompts.schedule import Segment
from avgen_core.rollout.executor import Executor, Prompts
from avgen_core.rollout.noise import SeededNoise
from tests.evaluation.tiny_model import tiny_model

CAPTIONS = ["a cat walks left in a forest", "a red car stands still in the city", "a bee jumps on the moon"]
PLAN = BlockPlan(sigmas=flow_sigmas(2), block=4, window=Window(8))
FRAMES = 14


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_a_batch_equals_single_videos(guidance):
    model = tiny_model()
    together = sample_latents(model, CAPTIONS, FRAMES, Sampling(PLAN, guidance, seed=5))
    assert together.shape == (3, FRAMES, *model.latent_shape)
    for i, text in enumerate(CAPTIONS):
        prompts = Prompts(PromptSchedule((Segment(0, text),)))
        executor = Executor(model.denoiser(guidance), PLAN, prompts, SeededNoise(5 + i))
        alone = torch.cat([done.finished for done in executor.run(FRAMES)])[:FRAMES]
        torch.testing.assert_close(together[i], alone, atol=1e-4, rtol=0)


def test_the_batch_size_changes_nothing_and_progress_ends_at_one():
    model, sampling, heard = tiny_model(), Sampling(PLAN, 2.5), []
    whole = sample_videos(model, CAPTIONS, FRAMES, sampling)
    parts = sample_videos(model, CAPTIONS, FRAMES, replace(sampling, batch=2), heard.append)
    assert whole.shape == (3, FRAMES, 64, 64, 3)
    assert abs(whole.astype(int) - parts.astype(int)).max() <= 1
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1.0)
