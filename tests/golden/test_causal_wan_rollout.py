"""Network and executor together repeat Self-Forcing's causal rollout: caches, commits, windows, sinks, given frames."""

from __future__ import annotations

import pytest
import torch

from avgen_core.networks.causal_dit import CausalDiT, CausalDiTConfig
from avgen_core.plan import BlockPlan, Solver, Window
from avgen_core.plan.sigmas import shifted
from avgen_core.prompts import PromptSchedule, Segment
from avgen_core.rollout.executor import Executor, Prompts
from avgen_core.rollout.noise import RecordedNoise
from avgen_core.systems.causal_wan import CausalWanDenoiser

from .conftest import drawn_weights, golden_json, golden_tensors

SPEC = golden_json("causal_wan_rollout")
TENSORS = golden_tensors("causal_wan_rollout")
SCALE = 0.06


def network() -> CausalDiT:
    names = CausalDiTConfig.__dataclass_fields__
    config = {name: value for name, value in SPEC["config"].items() if name in names}
    model = CausalDiT(CausalDiTConfig(**{**config, "patch_size": tuple(config["patch_size"])})).eval()
    model.load_state_dict(drawn_weights(SPEC, SCALE), strict=True)
    return model


def recorded(case: int, plan: BlockPlan, frames: int) -> RecordedNoise:
    """The draws of the golden under the names by which the executor asks for them."""
    draws = {}
    for i, noise in enumerate(TENSORS[f"case{case}.noise"][0]):
        draws[plan.given + i, "initial", 0] = noise
    renoise = (TENSORS[name] for name in sorted(TENSORS) if name.startswith(f"case{case}.renoise"))
    first = plan.given
    while first < frames:
        block = 1 if plan.first_alone and first == 0 else plan.block
        for index in range(len(plan.sigmas) - 1):
            for i, noise in enumerate(next(renoise)):
                draws[first + i, "renoise", index] = noise
        first += block
    return RecordedNoise(draws)


@pytest.mark.parametrize("number", range(len(SPEC["cases"])))
@torch.no_grad()
def test_rollout(number):
    case = SPEC["cases"][number]
    output = TENSORS[f"case{number}.output"][0]
    plan = BlockPlan(
        sigmas=tuple(t / 1000 for t in case["denoising_timesteps"]),
        block=case["block"],
        window=Window(None if case["local"] < 0 else case["local"], case["sink"]),
        solver=Solver.RENOISE,
        first_alone=case["indep"],
        given=case["init"],
    )
    context = TENSORS[f"case{number}.context"][0]
    denoiser = CausalWanDenoiser(
        network(), lambda text: context, fingerprint="golden", latent_shape=tuple(SPEC["latent"])
    )
    initial = TENSORS.get(f"case{number}.initial")
    executor = Executor(
        denoiser,
        plan,
        Prompts(PromptSchedule((Segment(0, "golden"),))),
        recorded(number, plan, len(output)),
        given=None if initial is None else initial[0],
    )
    frames = torch.cat([done.finished for done in executor.run(len(output))])
    torch.testing.assert_close(frames, output, atol=1e-4, rtol=0)


def test_step_list_is_warped_as_recorded():
    for case in SPEC["cases"]:
        warped = [1000 * shifted(step / 1000, SPEC["shift"]) for step in SPEC["denoising_step_list"]]
        assert warped == pytest.approx(case["denoising_timesteps"], abs=1e-3)
