"""ART-V through the executor: what the image model does alone, what references change, and that runs go on exactly."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler
from diffusers.schedulers import scheduling_lcm

from avgen_core.networks.reference_unet import Prediction, ReferenceUNet
from avgen_core.plan import PlanError, ReferencePlan, Solver, consistency_timesteps, ddim_timesteps
from avgen_core.prompts import PromptSchedule, Segment
from avgen_core.rollout.executor import Executor, Prompts
from avgen_core.rollout.generate import Order, generate, prepare
from avgen_core.rollout.noise import SeededNoise
from avgen_core.systems.art_v import ArtVDenoiser, ArtVModel, Guidance, branches_of, check_prediction
from avgen_core.systems.diffusers_image_model import DiffusersImageModel
from avgen_core.systems.many_videos import Sampling, sample_latents
from avgen_core.systems.reference_masks import masks_of
from tests.networks.test_reference_adapter import adapter_for, unet

SCHEDULER = DDIMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True,
    steps_offset=1,
)  # fmt: skip
SIGMAS = tuple(t / 1000 for t in ddim_timesteps(4))
PLAN = ReferencePlan(SIGMAS, previous=2, reference_noise=0.2)
UNGUIDED = Guidance(1.0)
PROMPTS = Prompts(PromptSchedule((Segment(0, "a cat"), Segment(3, "a dog"))))


def encode_text(text: str) -> torch.Tensor:
    return torch.randn(5, 24, generator=torch.Generator().manual_seed(len(text)))


def denoiser(guidance: Guidance = UNGUIDED, *, trained: bool = False, prediction=Prediction.EPSILON):
    adapter = adapter_for(unet())
    if trained:
        generator = torch.Generator().manual_seed(5)
        for parameter in adapter.parameters():
            parameter.data.normal_(std=0.2, generator=generator)
        adapter.mask.gate.data.fill_(0.6)
    model = DiffusersImageModel(
        ReferenceUNet(unet(), adapter),
        encode_text,
        alphas_cumprod=tuple(SCHEDULER.alphas_cumprod.tolist()),
        prediction=prediction,
        latent_shape=(4, 8, 8),
        fingerprint="image",
    )
    return ArtVDenoiser(model, adapter, "adapter", guidance)


def frames(count: int, plan: ReferencePlan = PLAN, **settings) -> torch.Tensor:
    given = settings.pop("given", None)
    executor = Executor(denoiser(**settings), plan, PROMPTS, SeededNoise(0), given=given)
    return torch.cat([done.finished for done in executor.run(count)])


@pytest.mark.parametrize("prediction", Prediction)
@torch.no_grad()
def test_untrained_every_frame_is_an_image_that_diffusers_makes(prediction):
    video = frames(5, prediction=prediction)
    scheduler = DDIMScheduler.from_config(SCHEDULER.config, prediction_type=prediction.value)
    scheduler.set_timesteps(4)
    plain = unet()
    for number, mine in enumerate(video):
        latent = SeededNoise(0).draw(number, "initial", 0, (4, 8, 8))[None]
        text = encode_text("a cat" if number < 3 else "a dog")[None]
        for timestep in scheduler.timesteps:
            latent = scheduler.step(plain(latent, timestep, text).sample, timestep, latent).prev_sample
        torch.testing.assert_close(mine, latent[0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_untrained_a_few_step_frame_is_an_image_of_a_consistency_model(monkeypatch):
    sigmas = tuple(t / 1000 for t in consistency_timesteps(3))
    video = frames(2, ReferencePlan(sigmas, solver=Solver.RENOISE))
    scheduler = LCMScheduler.from_config(SCHEDULER.config)
    for number, mine in enumerate(video):
        scheduler.set_timesteps(3)
        draw = partial(SeededNoise(0).draw, number, shape=(4, 8, 8))
        latent = draw("initial", 0)[None]
        for index, timestep in enumerate(scheduler.timesteps):
            fresh = draw("renoise", index)[None]
            monkeypatch.setattr(scheduling_lcm, "randn_tensor", lambda *_, fresh=fresh, **__: fresh)
            predicted = unet()(latent, timestep, encode_text("a cat")[None]).sample
            latent = scheduler.step(predicted, timestep, latent).prev_sample
        torch.testing.assert_close(mine, latent[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 7, 8, 50])
def test_the_steps_of_consistency_models_are_those_of_diffusers(steps):
    scheduler = LCMScheduler()
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps.tolist() == list(consistency_timesteps(steps))


def test_the_first_frame_is_the_image_models_own():
    assert torch.equal(frames(1, trained=True), frames(1))
    assert not torch.allclose(frames(2, trained=True)[1], frames(2)[1], atol=0.01)


def test_where_the_mask_is_open_the_newest_reference_is_copied():
    """As it is, though the network sees it with noise; whatever the solver."""
    adapted = denoiser()
    adapted.adapter.mask.gate.data.fill_(1.0)
    adapted.adapter.mask.layers[-1].bias.data.fill_(100.0)
    for solver in Solver:
        executor = Executor(adapted, replace(PLAN, solver=solver), PROMPTS, SeededNoise(0))
        video = torch.cat([done.finished for done in executor.run(3)])
        torch.testing.assert_close(video[1:], video[:1].expand(2, -1, -1, -1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("guidance", [Guidance(1.0), Guidance(3.0), Guidance(3.0, 1.5), Guidance(1.0, 2.0)])
def test_guidance_branches_sum_to_one_and_the_first_is_the_conditional(guidance):
    rows = branches_of(guidance, has_references=True)
    assert sum(row.weight for row in rows) == pytest.approx(1)
    assert rows[0].positive and rows[0].references
    assert frames(3, guidance=guidance, trained=True).isfinite().all()


def test_less_of_the_mask_draws_less_from_the_frame_before(tmp_path):
    masks = []
    for strength in (1.0, 0.5):
        adapted = denoiser(trained=True)
        model = ArtVModel(adapted.image_model, adapted.adapter, None, None, "adapter", (64, 64), mask_strength=strength)
        order = Order(PLAN, PROMPTS, frames=1, seed=0, fps=8.0, guidance=1.0, given=torch.ones(3, 4, 8, 8))
        run = generate(model.denoiser(1.0), prepare(model.denoiser(1.0), order), tmp_path / str(strength))
        masks.append(next(masks_of(model, run, range(2, 3), 0.5)))
    torch.testing.assert_close(masks[1], 0.5 * masks[0])


def test_an_extended_run_is_the_longer_one(tmp_path):
    adapted = denoiser(Guidance(2.0), trained=True)
    order = Order(PLAN, PROMPTS, frames=4, seed=0, fps=8.0, guidance=2.0)
    run = generate(adapted, prepare(adapted, order), tmp_path / "first")
    later = Prompts(PromptSchedule((Segment(0, "a dog"),)))
    longer = generate(adapted, prepare(adapted, replace(order, frames=2, prompts=later, parent=run)), tmp_path / "both")
    assert longer.joins[0].exact
    assert torch.equal(longer.latents(0, 6), frames(6, guidance=Guidance(2.0), trained=True))


def test_a_run_goes_on_approximately_under_another_mask_strength(tmp_path):
    adapted = denoiser(trained=True)
    order = Order(PLAN, PROMPTS, frames=3, seed=0, fps=8.0, guidance=1.0)
    run = generate(adapted, prepare(adapted, order), tmp_path / "first")
    other = denoiser(Guidance(1.0, mask=0.5), trained=True)
    longer = generate(other, prepare(other, replace(order, parent=run)), tmp_path / "second")
    assert longer.frames == 6 and torch.equal(longer.latents(0, 3), run.latents(0, 3))
    assert not longer.joins[0].exact and "mask_strength 0.5 instead of" in longer.joins[0].reason


def test_an_adapter_of_a_model_that_predicts_something_else_is_refused():
    check_prediction({}, Prediction.EPSILON)
    check_prediction({"prediction": "epsilon"}, Prediction.EPSILON)
    with pytest.raises(ValueError, match="model that predicts epsilon, and this one predicts v_prediction"):
        check_prediction({"prediction": "epsilon"}, Prediction.VELOCITY)


def test_reference_guidance_needs_references():
    assert branches_of(Guidance(1.0, 2.0), has_references=False) == branches_of(Guidance(1.0), has_references=False)


def test_a_stopped_run_goes_on_with_the_same_bits():
    whole = frames(6, trained=True, guidance=Guidance(2.0))
    first = Executor(denoiser(Guidance(2.0), trained=True), PLAN, PROMPTS, SeededNoise(0))
    passes = iter(first.run(6))
    begun = torch.cat([next(passes).finished for _ in range(10)])
    second = Executor(denoiser(Guidance(2.0), trained=True), PLAN, PROMPTS, SeededNoise(0), first.state)
    rest = torch.cat([done.finished for done in second.run(6)])
    assert torch.equal(torch.cat([begun, rest]), whole)


def test_a_given_image_is_the_anchor_and_the_first_frame():
    image = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    plan = replace(PLAN, given=1)
    video = frames(4, plan, trained=True, given=image)
    assert torch.equal(video[:1], image)
    other = frames(4, plan, trained=True, given=image + 1)
    assert not torch.allclose(video[3], other[3])


@torch.no_grad()
def test_half_precision_of_the_image_model_changes_little():
    exact, halved = denoiser(Guidance(2.0), trained=True), denoiser(Guidance(2.0), trained=True)
    halved.image_model.network.unet.to(torch.bfloat16)
    first, second = (
        torch.cat([done.finished for done in Executor(d, PLAN, PROMPTS, SeededNoise(0)).run(3)])
        for d in (exact, halved)
    )
    assert second.dtype == torch.float32
    assert (first - second).square().mean() < 0.02 * first.var()


def test_references_are_encoded_once_a_frame():
    adapted, count = denoiser(trained=True), 0
    encode = adapted.adapter.encode

    def counted(references):
        nonlocal count
        count += 1
        return encode(references)

    adapted.adapter.encode = counted
    list(Executor(adapted, PLAN, PROMPTS, SeededNoise(0)).run(5))
    assert count == 5


def test_masks_of_a_finished_run(tmp_path):
    adapted = denoiser(Guidance(2.0), trained=True)
    order = Order(PLAN, PROMPTS, frames=4, seed=0, fps=8.0, guidance=2.0)
    run = generate(adapted, prepare(adapted, order), tmp_path / "run")
    model = ArtVModel(adapted.image_model, adapted.adapter, None, None, "adapter", (64, 64), mask_strength=1.0)
    masks = torch.cat(list(masks_of(model, run, range(1, 4), 0.5)))
    assert masks.shape == (3, 1, 8, 8)
    assert masks.min() > 0 and masks.max() < 0.601, "the gate of 0.6 is its most"
    assert not next(masks_of(model, run, range(1), 0.5)).any(), "the first frame has nothing before it"


def test_many_videos_at_once_are_those_made_alone():
    adapted = denoiser(Guidance(2.0, 1.5), trained=True)
    model = ArtVModel(adapted.image_model, adapted.adapter, None, None, "", (64, 64), reference_guidance=1.5)
    texts = ["a cat", PromptSchedule((Segment(0, "a dog"), Segment(2, "a horse")))]
    together = sample_latents(model, texts, 4, Sampling(PLAN, 2.0, seed=3))
    for number, text in enumerate(texts):
        schedule = PromptSchedule((Segment(0, text),)) if isinstance(text, str) else text
        executor = Executor(model.denoiser(2.0), PLAN, Prompts(schedule), SeededNoise(3 + number))
        alone = torch.cat([done.finished for done in executor.run(4)])
        torch.testing.assert_close(together[number], alone, atol=1e-4, rtol=1e-4)


def test_many_videos_begin_with_given_frames():
    adapted = denoiser(trained=True)
    model = ArtVModel(adapted.image_model, adapted.adapter, None, None, "", (64, 64), mask_strength=1.0)
    given = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    together = sample_latents(model, ["", ""], 3, Sampling(PLAN, 1.0, seed=3), given=given)
    for number in range(2):
        plan, wordless = replace(PLAN, given=1), Prompts(PromptSchedule((Segment(0, ""),)))
        executor = Executor(denoiser(trained=True), plan, wordless, SeededNoise(3 + number), given=given[number])
        alone = torch.cat([done.finished for done in executor.run(3)])
        torch.testing.assert_close(together[number], alone, atol=1e-4, rtol=1e-4)


def test_more_previous_frames_than_in_training_are_refused():
    adapted, many = denoiser(), replace(PLAN, previous=3)
    model = ArtVModel(adapted.image_model, adapted.adapter, None, None, "", (64, 64))
    with pytest.raises(PlanError, match="shows 3 previous frames, the adapter was trained with 2"):
        sample_latents(model, ["a cat"], 4, Sampling(many, 2.0))
    with pytest.raises(PlanError, match="shows 3 previous frames, the adapter was trained with 2"):
        prepare(denoiser(), Order(many, PROMPTS, frames=1, seed=0, fps=8.0, guidance=1.0))
