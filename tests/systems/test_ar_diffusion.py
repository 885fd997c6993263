"""AR-Diffusion as a system, on a network small enough for tests: runs, conditions over time, savings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avgen_core.networks.ar_diffusion_dit import ARDiffusionDiT, ARDiffusionDiTConfig
from avgen_core.plan import PlanError, Savings, cost, flow_sigmas
from avgen_core.plan.block import BlockPlan
from avgen_core.prompts import parse_schedule
from avgen_core.rollout.executor import Executor, Prompts
from avgen_core.rollout.files import RunError
from avgen_core.rollout.generate import Order, generate, prepare
from avgen_core.rollout.noise import SeededNoise
from avgen_core.rollout.run import Run
from avgen_core.systems.ar_diffusion import ARDiffusionDenoiser, ARDiffusionModel
from avgen_core.systems.asynchronous import AsynchronousSettings

STEPS, WINDOW = 10, 4
CONFIG = {
    "hidden_size": 32,
    "depth": 2,
    "num_heads": 2,
    "tokens_per_frame": 3,
    "frames": WINDOW,
    "context_dim": 8,
    "context_tokens": 5,
}


def model(**config) -> ARDiffusionModel:
    torch.manual_seed(0)
    network = ARDiffusionDiT(ARDiffusionDiTConfig(**{**CONFIG, **config})).eval().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return ARDiffusionModel(network, torch.randn(3, 5, 8), True, None, fingerprint="tiny")


def prompts(text: str = "0") -> Prompts:
    return Prompts(parse_schedule(text, fps=8))


def settings(difference: int = 4, frames: int | None = None, **changes) -> AsynchronousSettings:
    return AsynchronousSettings(STEPS, difference, frames, window=WINDOW, **changes)


def made(
    system: ARDiffusionModel, asked: AsynchronousSettings, frames: int, text: str = "0", given=None
) -> torch.Tensor:
    """Finished latents (frames, C, 1, L)."""
    plan = replace(system.asynchronous_plan(asked), given=0 if given is None else len(given))
    executor = Executor(system.denoiser(2.0), plan, prompts(text), SeededNoise(0), given=given)
    return torch.cat([done.finished for done in executor.run(frames)])[:frames]


def order(system: ARDiffusionModel, frames: int, **more) -> Order:
    plan = more.pop("plan", None) or system.asynchronous_plan(settings())
    return Order(plan, more.pop("prompts", prompts()), frames, seed=0, fps=8.0, guidance=2.0, **more)


def run(system: ARDiffusionModel, folder: Path, frames: int, **more) -> Run:
    denoiser = system.denoiser(2.0)
    return generate(denoiser, prepare(denoiser, order(system, frames, **more)), folder)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, as a share of the deviation."""
    return ((a - b).abs().max() / b.std()).item()


def test_an_open_run_is_extended_exactly(tmp_path):
    system = model()
    first = run(system, tmp_path / "first", 6)
    longer = run(system, tmp_path / "longer", 5, parent=first)
    whole = run(system, tmp_path / "whole", 11)
    assert [join.exact for join in longer.joins] == [True]
    assert torch.equal(longer.latents(), whole.latents())


def test_a_new_class_begins_with_the_first_frame_that_had_not_begun(tmp_path):
    system = model()
    first = run(system, tmp_path / "first", 6)
    longer = run(system, tmp_path / "longer", 8, parent=first, prompts=prompts("2"))
    begun = longer.joins[-1].prompts_at
    assert 6 < begun < 6 + WINDOW
    assert f"join at frame 6: exact; frames 6 to {begun - 1} had begun and keep their prompts" in str(longer.joins[-1])
    assert [s.start for s in longer.recipe.prompts.positive.segments] == [0, begun]
    same = run(system, tmp_path / "same", 14)
    assert difference(longer.latents(begun), same.latents(begun)) > 0.01


def test_a_closed_run_is_extended_approximately(tmp_path):
    system = model()
    closed = system.asynchronous_plan(settings(frames=6))
    first = run(system, tmp_path / "first", 6, plan=closed)
    longer = run(system, tmp_path / "longer", 3, plan=closed, parent=first)
    assert [join.exact for join in longer.joins] == [False]
    assert torch.equal(longer.latents()[:6], first.latents())
    assert longer.frames == 9


def test_an_interrupted_run_goes_on_with_the_same_bits(tmp_path):
    system = model()
    denoiser = system.denoiser(2.0)
    job = prepare(denoiser, order(system, 9))

    def stop(progress) -> None:
        if progress.passes == 23:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(denoiser, job, tmp_path / "cut", stop)
    resumed = generate(denoiser, job, tmp_path / "cut")
    assert torch.equal(resumed.latents(), run(system, tmp_path / "whole", 9).latents())


@pytest.mark.parametrize("count", [1, 3])
def test_given_frames_stay_and_new_ones_follow(tmp_path, count):
    """One given frame is image to video, more are video to video."""
    system = model()
    given = torch.nn.functional.normalize(torch.randn(count, 4, 1, 3), dim=1)
    continued = run(system, tmp_path / "run", 4, given=given)
    assert torch.equal(continued.latents(0, count), given)
    assert continued.frames == count + 4
    other = run(system, tmp_path / "other", 4, given=-given)
    assert difference(other.latents(count), continued.latents(count)) > 0.01, "the new frames depend on the given ones"


@torch.no_grad()
def test_continuing_equals_the_official_sampler_with_a_mask():
    """`fifoddim.py` given x0 and mask: it runs the whole schedule, and puts the given frames back before every pass."""
    system, given_count, frames, s = model(), 2, WINDOW, 4
    given = torch.nn.functional.normalize(torch.randn(given_count, 4, 1, 3), dim=1)
    ours = made(system, settings(s, frames), frames, given=given)

    template = [999, *range(901, 0, -100)]
    alphas = torch.tensor(ARDiffusionDenoiser.process.alphas_cumprod)
    x = torch.stack([SeededNoise(0).draw(f, "initial", 0, (4, 1, 3)) for f in range(frames)])
    context = torch.stack([system.conditions[:1], system.null_condition[None]])
    for row in range(1, STEPS + s * (frames - 1) + 1):
        x[:given_count] = given
        done = [min(STEPS, max(0, row - f * s)) for f in range(frames)]
        before = [min(STEPS, max(0, row - 1 - f * s)) for f in range(frames)]
        fed = torch.tensor([1 if f < given_count else template[k] for f, k in enumerate(done)])
        tokens = x[:, :, 0].mT.expand(2, -1, -1, -1)
        guided, plain = system.network(tokens, fed.expand(2, -1), context).mT.unsqueeze(3)
        clean = plain + 2.0 * (guided - plain)
        for f in range(frames):
            if f >= given_count and done[f] != before[f]:
                a, after = alphas[template[done[f]]], alphas[0 if done[f] == STEPS else template[done[f] + 1]]
                noise = (x[f] - a.sqrt() * clean[f]) / (1 - a).sqrt()
                x[f] = after.sqrt() * clean[f] + (1 - after).sqrt() * noise
    assert difference(ours[given_count:], x[given_count:]) < 1e-3


def test_a_class_switch_reaches_the_frames_that_it_is_for():
    system = model(context_sees_video=False)  # strictly causal: what comes later cannot be seen
    constant = made(system, settings(frames=8), 8, "0")
    switched = made(system, settings(frames=8), 8, "0: 0\n4: 2")
    assert difference(switched[:4], constant[:4]) < 1e-4
    assert difference(switched[4:], constant[4:]) > 0.01


def test_a_blend_lies_between_two_classes():
    system = model()
    denoiser = system.denoiser(2.0)
    mixed = denoiser._mixed((("0", 0.25), ("2", 0.75)))
    torch.testing.assert_close(mixed, 0.25 * system.conditions[0] + 0.75 * system.conditions[2])


@pytest.mark.parametrize("savings", [Savings.SKIP_WAITING, Savings.CACHE_FINISHED])
@pytest.mark.parametrize("rotary", [False, True])
def test_savings_cost_less_and_change_a_released_model_a_little(savings, rotary):
    system = model(rotary=rotary, qk_norm=rotary)
    whole = made(system, settings(frames=12), 12)
    saved = made(system, settings(frames=12, savings=savings), 12)
    assert 0 < difference(saved, whole) < 0.2
    plans = [system.asynchronous_plan(settings(frames=12, savings=s)) for s in (Savings.NONE, savings)]
    full, less = (cost(plan, 12).frame_evaluations for plan in plans)
    assert less < full


@pytest.mark.parametrize("savings", [Savings.SKIP_WAITING, Savings.CACHE_FINISHED])
def test_savings_are_exact_inside_the_window_of_a_strictly_causal_model(savings):
    system = model(context_sees_video=False)
    whole = made(system, settings(frames=WINDOW), WINDOW)
    saved = made(system, settings(frames=WINDOW, savings=savings), WINDOW)
    # Cached frames do not grow by 2e-5 a pass, as the official sampler's finished frames do.
    assert difference(saved, whole) < (1e-5 if savings is Savings.SKIP_WAITING else 2e-3)


def test_what_does_not_fit_is_refused():
    system = model()
    denoiser = system.denoiser(1.0)
    with pytest.raises(PlanError, match="cannot follow a schedule of the kind BlockPlan"):
        prepare(denoiser, order(system, 4, plan=BlockPlan(flow_sigmas(4))))
    with pytest.raises(PlanError, match="steps must divide 1000: 10, 20, 25.*got 12"):
        system.asynchronous_plan(AsynchronousSettings(12, 4, window=4))
    with pytest.raises(PlanError, match="sees 4 frames at once: set window to at most 4"):
        system.asynchronous_plan(AsynchronousSettings(10, 4, window=16))
    with pytest.raises(PlanError, match="plain window of 4 frames: set sink to 0, got 1"):
        system.asynchronous_plan(AsynchronousSettings(10, 4, window=4, sink=1))
    with pytest.raises(PlanError, match="difference 2 lets frames leave a window of 4 .*at least 3"):
        system.asynchronous_plan(settings(2))
    with pytest.raises(PlanError, match="savings skip_waiting are for AR-Diffusion"):
        settings(savings=Savings.SKIP_WAITING).causal_plan()
    with pytest.raises(PlanError, match="difference 0 .*do not keep the video open"):
        system.asynchronous_plan(settings(0))
    with pytest.raises(RunError, match="are .4, 1, 5., the model works on .4, 1, 3."):
        prepare(denoiser, order(system, 4, given=torch.zeros(2, 4, 1, 5)))


@pytest.mark.parametrize("text", ["a cat", "3"])
def test_a_sentence_is_refused_with_the_node_to_use(tmp_path, text):
    with pytest.raises(ValueError, match=f"'{text}' is not the number of one of its 3 classes.*Class Schedule"):
        run(model(), tmp_path / "run", 4, prompts=prompts(f"0: 0\n3: {text}"))
    assert not (tmp_path / "run").exists(), "nothing was begun"


def test_ucf101_has_its_names():
    system = replace(model(), conditions=torch.zeros(102, 5, 8))
    assert system.classes.prompt("skiing") == "80"
    assert system.classes.names[100] == "YoYo"
    assert system.classes.null == "0"


def test_a_small_window_has_a_default_schedule():
    plan = model().default_plan
    assert plan.difference * WINDOW >= len(plan.timesteps)


def test_the_branch_without_a_class_is_the_first_class_or_zeros():
    by_class = model()
    assert torch.equal(by_class.null_condition, by_class.conditions[0])
    assert by_class.classes.names == ("0", "1", "2")
    of_dataset = replace(by_class, conditions=by_class.conditions[:1], class_conditional=False)
    assert not of_dataset.null_condition.any()
    assert of_dataset.classes.names == ("dataset",)
