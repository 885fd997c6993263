"""ARLON through the executor: codes are made ahead of the frames, guide them, and are part of a run's state."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avgen_core.networks.causal_dit import CausalDiT, CausalDiTConfig
from avgen_core.networks.latent_vqvae import LatentVQVAE, LatentVQVAEConfig
from avgen_core.networks.semantic_injection import InjectionKind, SemanticInjection, SemanticInjectionConfig
from avgen_core.networks.token_transformer import TokenTransformer, TokenTransformerConfig
from avgen_core.plan import AsynchronousPlan, BlockPlan, OnSwitch, SegmentPlan, Window, flow_sigmas
from avgen_core.prompts import PromptSchedule, Segment
from avgen_core.rollout.executor import Executor, Prompts
from avgen_core.rollout.generate import Order, generate, prepare
from avgen_core.rollout.noise import SeededNoise
from avgen_core.rollout.state import State
from avgen_core.systems.arlon import ArlonDenoiser, ArlonParts, GuidanceStrength
from avgen_core.systems.causal_wan import CausalWanDenoiser
from avgen_core.systems.token_track import TokenTrack
from avgen_core.systems.token_writer import TokenSampling, TokenWriter, written_codes

DIT = CausalDiTConfig(
    dim=24, ffn_dim=32, num_heads=2, num_layers=4, in_dim=3, out_dim=3, text_dim=6, text_len=5, freq_dim=8
)
CODER = LatentVQVAEConfig(3, time=2, space=2, codes=20, code_dim=4, width=16, blocks=1)
WRITER = TokenTransformerConfig(codes=20, cells=4, dim=24, heads=2, layers=2, ffn_dim=32, text_dim=6, window=3)
BLOCKS = BlockPlan(flow_sigmas(3), block=4, window=Window(8), on_switch=OnSwitch.RECACHE)
PLANS = (
    BLOCKS,
    BlockPlan(flow_sigmas(2), block=3, window=Window(9)),
    AsynchronousPlan(flow_sigmas(3), 1, window=Window(8), on_switch=OnSwitch.RECACHE),
    SegmentPlan(flow_sigmas(2), 6, 2),
)
PROMPTS = Prompts(PromptSchedule((Segment(0, "a cat"), Segment(8, "a dog"))))


def encode_text(text: str) -> torch.Tensor:
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(len(text) + sum(map(ord, text))))


def parts(sampling: TokenSampling, trained: bool, kind: InjectionKind = InjectionKind.ADAPTIVE_NORM) -> ArlonParts:
    torch.manual_seed(0)
    injection = SemanticInjection(SemanticInjectionConfig(3, 24, (0, 1), adapter_dim=16, kind=kind)).eval()
    if trained:
        for linear in injection.modulations:
            torch.nn.init.normal_(linear.weight, std=0.3)
    writer = TokenWriter(TokenTransformer(WRITER).eval(), encode_text, sampling)
    return ArlonParts(LatentVQVAE(CODER).eval(), writer, injection)


def dit() -> CausalDiT:
    torch.manual_seed(1)
    return CausalDiT(DIT).eval()


def denoiser(
    *,
    trained: bool = True,
    sampling: TokenSampling | None = None,
    kind: InjectionKind = InjectionKind.ADAPTIVE_NORM,
    guidance: float = 2.0,
    **settings,
) -> ArlonDenoiser:
    return ArlonDenoiser(
        dit(),
        encode_text,
        parts(sampling or TokenSampling(), trained, kind),
        fingerprint="arlon",
        latent_shape=(3, 4, 4),
        guidance=guidance,
        **settings,
    )


def executor(plan=BLOCKS, state: State | None = None, given=None, **settings) -> Executor:
    return Executor(denoiser(**settings), plan, PROMPTS, SeededNoise(0), state, given)


def video(frames: int, plan=BLOCKS, **settings) -> torch.Tensor:
    work = executor(plan, **settings)
    return torch.cat([done.finished for done in work.run(frames)])[:frames]


@pytest.mark.parametrize("kind", InjectionKind)
@pytest.mark.parametrize("plan", PLANS)
def test_untrained_the_video_is_the_dits_own(plan, kind):
    plain = CausalWanDenoiser(dit(), encode_text, fingerprint="dit", latent_shape=(3, 4, 4), guidance=2.0)
    plain.plans = ArlonDenoiser.plans
    work = Executor(plain, plan, PROMPTS, SeededNoise(0))
    expected = torch.cat([done.finished for done in work.run(12)])[:12]
    assert torch.equal(video(12, plan, trained=False, kind=kind), expected)
    assert not torch.allclose(video(12, plan, kind=kind), expected, atol=1e-3)


@pytest.mark.parametrize("kind", InjectionKind)
@pytest.mark.parametrize("plan", PLANS)
def test_a_state_from_disk_goes_on_with_the_same_bits(plan, kind, tmp_path):
    whole = video(18, plan, kind=kind)
    work, finished = executor(plan, kind=kind), []
    for stop in (1, 5, 9):  # in the middle of a block, and after keys and codes have left their windows
        for done in work.run(18):
            finished.append(done.finished)
            if work.state.passes >= stop:
                break
        work.state.save(tmp_path / "state.safetensors")
        work = executor(plan, State.load(tmp_path / "state.safetensors"), kind=kind)
    finished += [done.finished for done in work.run(18)]
    assert torch.equal(torch.cat(finished)[:18], whole)


def test_an_extended_run_is_one_longer_run(tmp_path):
    model = denoiser()

    def order(frames: int, parent=None) -> Order:
        return Order(BLOCKS, Prompts(PromptSchedule((Segment(0, "a cat"),))), frames, 0, 8.0, 2.0, parent=parent)

    longer = generate(model, prepare(model, order(16)), tmp_path / "longer")
    first = generate(model, prepare(model, order(8)), tmp_path / "first")
    second = generate(model, prepare(model, order(8, first)), tmp_path / "second")
    assert torch.equal(second.latents(0, 16), longer.latents(0, 16))
    assert torch.equal(second.state().memory["codes"], longer.state().memory["codes"])


def test_codes_are_a_group_ahead_and_the_window_of_keys_is_bounded():
    work = executor()
    for done in work.run(40):
        needed = max(query.frame for query in done.step.queries) // CODER.time + 1
        assert len(written_codes(work.state.memory)) == needed
        assert len(work.state.memory["groups"]) <= WRITER.window * WRITER.cells


def test_only_codes_grow_with_a_video():
    """Four bytes each, so that Run to Tokens has them all; keys, values and latents keep their size."""
    work = executor()
    sizes = {frames: (list(work.run(frames)), work.state.bytes)[1] for frames in (40, 80)}
    groups = 40 // CODER.time
    assert sizes[80] - sizes[40] == groups * WRITER.cells * 4


def test_codes_do_not_depend_on_the_plan():
    """They are drawn by name, and written under the prompt of their group's first frame."""
    found = []
    for plan in PLANS:
        work = executor(plan)
        list(work.run(14))
        found.append(work.state.memory["codes"][:6])
    assert all(torch.equal(codes, found[0]) for codes in found)


def test_codes_follow_the_prompt_from_its_first_group_on():
    other = Executor(denoiser(), BLOCKS, Prompts(PromptSchedule((Segment(0, "a cat"),))), SeededNoise(0))
    work = executor()
    list(work.run(16)), list(other.run(16))
    mine, theirs = work.state.memory["codes"], other.state.memory["codes"]
    assert torch.equal(mine[:4], theirs[:4]) and not torch.equal(mine[4:], theirs[4:])


def test_a_track_guides_in_place_of_written_codes_and_is_repeated():
    codes = torch.randint(20, (3, 2, 2), generator=torch.Generator().manual_seed(5))
    work = executor(track=TokenTrack(codes))
    list(work.run(16))
    assert torch.equal(work.state.memory["codes"], codes.flatten(1)[:, None].repeat(3, 1, 1)[:8].int())
    assert not torch.allclose(video(8, track=TokenTrack(codes)), video(8), atol=1e-3)


def test_a_followed_track_needs_no_transformer_and_goes_on_under_other_sampling():
    track = TokenTrack(torch.randint(20, (12, 2, 2), generator=torch.Generator().manual_seed(5)))
    first, second = (executor(track=track, sampling=TokenSampling(guidance=scale)) for scale in (2.0, 1.0))
    whole = torch.cat([done.finished for done in first.run(16)])
    begun = []
    for done in second.run(16):
        begun.append(done.finished)
        if second.state.passes >= 4:
            break
    assert set(second.state.memory) == {"codes"}
    rest = [done.finished for done in executor(state=second.state, track=track).run(16)]
    assert torch.equal(torch.cat([*begun, *rest]), whole)


def test_a_track_counts_the_frames_of_the_whole_video():
    track = TokenTrack(torch.arange(20).view(5, 2, 2))
    work = Executor(denoiser(track=track), BLOCKS, PROMPTS, SeededNoise(0), origin=3)
    list(work.run(8))
    followed = work.state.memory["codes"][:4, 0]
    assert torch.equal(followed, track.codes[[2, 3, 4, 0]].flatten(1).int()), "groups of 2: frames 3, 4 go with 4, 5"


@pytest.mark.parametrize("plan", PLANS)
def test_given_frames_have_their_own_codes(plan):
    count = plan.tail(12)
    given = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(6))
    work = executor(replace(plan, given=count), given=given)
    list(work.run(count + 4))
    groups = count // CODER.time
    expected = work.denoiser.codes.parts.coder.encode(given.transpose(0, 1)[None])[0].flatten(1)[:groups]
    assert torch.equal(work.state.memory["codes"][:groups, 0].long(), expected)


def test_a_denoiser_that_is_used_again_has_nothing_of_the_run_before():
    model = denoiser()

    def made(seed: int) -> torch.Tensor:
        return torch.cat([done.finished for done in Executor(model, BLOCKS, PROMPTS, SeededNoise(seed)).run(4)])

    made(0)
    assert torch.equal(
        made(1), torch.cat([d.finished for d in Executor(denoiser(), BLOCKS, PROMPTS, SeededNoise(1)).run(4)])
    )


def test_what_decides_the_video_is_in_its_name():
    codes = torch.zeros(1, 2, 2, dtype=torch.long)
    models = (
        denoiser(),
        denoiser(sampling=TokenSampling(temperature=0.5)),
        denoiser(strength=GuidanceStrength(0.5)),
        denoiser(track=TokenTrack(codes)),
        denoiser(track=TokenTrack(codes + 1)),
    )
    assert len({model.settings for model in models}) == len(models)


def test_what_guidance_leads_away_from_sees_no_codes():
    work, seen = executor(), []
    of = work.denoiser.codes.of
    work.denoiser.codes.of = lambda *given: seen.append(of(*given)) or seen[-1]
    list(work.run(4))
    states = torch.randn(2, 4, 4, 24, generator=torch.Generator().manual_seed(8))
    for guidance in seen:
        prompted, other = guidance(0, states)
        assert torch.equal(other, states[1]) and not torch.allclose(prompted, states[0], atol=1e-3)
    assert seen


def test_strength_zero_is_the_dit_alone():
    assert torch.equal(video(8, strength=GuidanceStrength(0.0, 0.0)), video(8, trained=False))
    early = video(8, strength=GuidanceStrength(1.0, 0.0))
    assert not torch.allclose(early, video(8), atol=1e-3)


@pytest.mark.parametrize(
    ("sampling", "allowed"),
    [
        (TokenSampling(temperature=0.0), {3}),
        (TokenSampling(top_k=2), {3, 1}),
        (TokenSampling(top_p=0.6), {3, 1}),
        (TokenSampling(top_p=0.4), {3}),
        (TokenSampling(), {0, 1, 2, 3}),
    ],
)
def test_only_likely_codes_are_drawn(sampling, allowed):
    logits = torch.tensor([0.1, 0.3, 0.1, 0.5]).log()
    generator = torch.Generator().manual_seed(7)
    drawn = [sampling.draw(logits, torch.randn((), generator=generator)) for _ in range(2000)]
    assert set(drawn) == allowed
    if allowed == {0, 1, 2, 3}:
        assert drawn.count(3) / 2000 == pytest.approx(0.5, abs=0.04)


def test_sampling_out_of_range_is_refused():
    with pytest.raises(ValueError, match="top_p 0 to 1"):
        TokenSampling(top_p=0.0)
