"""Network, plan and executor together repeat AR-Diffusion's windowed DDIM sampler."""

from __future__ import annotations

import pytest
import torch

from avgen_core.networks.ar_diffusion_dit import ARDiffusionDiT
from avgen_core.plan import passes_until
from avgen_core.prompts import PromptSchedule, Segment
from avgen_core.rollout.executor import Executor, Prompts
from avgen_core.rollout.noise import RecordedNoise
from avgen_core.systems.ar_diffusion import ARDiffusionModel
from avgen_core.systems.asynchronous import AsynchronousSettings

from .conftest import golden_json, golden_tensors
from .test_ardiffusion_forward import network

GOLDENS = ("ardiffusion_tiny", "ardiffusion_rope_tiny")
CASES = [(name, number) for name in GOLDENS for number in range(len(golden_json(name)["cases"]))]


def model(network: ARDiffusionDiT, context: torch.Tensor) -> ARDiffusionModel:
    """A model of one dataset, whose condition without a class is zeros."""
    return ARDiffusionModel(network, context, class_conditional=False, autoencoder=None, fingerprint="golden")


@pytest.mark.parametrize(("name", "number"), CASES)
@torch.no_grad()
def test_samples_equal_those_of_the_official_sampler(name, number):
    spec, tensors = golden_json(name), golden_tensors(name)
    case = spec["cases"][number]
    frames, steps, difference = case["total_frames"], spec["num_sampling_steps"], case["ar_step"]
    system = model(network(name), tensors["context"][:1])
    plan = system.asynchronous_plan(AsynchronousSettings(steps, difference, frames, window=None))
    assert sum(1 for _ in passes_until(plan, frames)) == steps + difference * (frames - 1)
    noise = {(f, "initial", 0): x.T[:, None] for f, x in enumerate(tensors[f"case{number}.noise"][0])}
    executor = Executor(
        system.denoiser(case["guidance"]),
        plan,
        Prompts(PromptSchedule((Segment(0, "0"),))),
        RecordedNoise(noise),
    )
    made = torch.cat([done.finished for done in executor.run(frames)])[:, :, 0].mT
    torch.testing.assert_close(made, tensors[f"case{number}.sample"][0], atol=1e-4, rtol=0)
