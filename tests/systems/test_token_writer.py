"""What the writer draws is what one pass of the transformer over all codes foresees, without any cache."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avgen_core.networks.token_transformer import TokenTransformer
from avgen_core.rollout.noise import SeededNoise
from avgen_core.systems.token_writer import Memory, TokenSampling, TokenWriter, VideoPrompts, written_codes
from tests.systems.test_arlon import WRITER, encode_text

GROUPS = 7  # more than twice the window
CAT, DOG, FOG = ((("a cat", 1.0),), (("a dog", 1.0),), (("fog", 1.0),))


def network() -> TokenTransformer:
    """With weights so large that what a code sees decides what it becomes."""
    torch.manual_seed(0)
    model = TokenTransformer(WRITER).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(3)
    return model


def prompts_of(group: int, negative: bool) -> VideoPrompts:
    """The prompt changes in the middle of the video."""
    positive = CAT if group < 4 else DOG
    return (positive, FOG) if negative else (positive,)


def written(sampling: TokenSampling, negative: bool) -> Memory:
    writer, memory = TokenWriter(network(), encode_text, sampling), {}
    for group in range(GROUPS):
        writer.write((prompts_of(group, negative),), memory, SeededNoise(4))
    return memory


@torch.no_grad()
def foreseen(codes: Tensor, texts: list[str], text_of_group: list[int]) -> Tensor:
    """Logits (N, codes) of all codes (N,) in one pass; each group under one of the texts."""
    model = network()
    before = torch.cat([torch.tensor([WRITER.end]), codes[:-1]])[None]
    prefix = model.prefix(torch.stack([encode_text(text) for text in texts])).of(torch.tensor([[0, 1]]))
    text_of = torch.tensor(text_of_group).repeat_interleave(WRITER.cells)[None]
    return model(before, torch.arange(len(codes)), prefix, text_of)[0, :, :-1]


@pytest.mark.parametrize("negative", [True, False])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_the_writer_draws_what_a_pass_without_a_cache_foresees(guidance, negative):
    sampling = TokenSampling(temperature=0.8, top_p=0.95, guidance=guidance)
    codes = written_codes(written(sampling, negative)).flatten().long()
    logits = foreseen(codes, ["a cat", "a dog"], [0] * 4 + [1] * 3)
    if guidance != 1.0:
        away = foreseen(codes, ["fog" if negative else "", ""], [0] * GROUPS)
        logits = away + guidance * (logits - away)
    for place, code in enumerate(codes.tolist()):
        group, cell = divmod(place, WRITER.cells)
        assert sampling.draw(logits[place], SeededNoise(4).draw(group, "code", cell, (1,))[0]) == code


def test_what_leads_the_codes_decides_them():
    """Else the test above would see nothing."""
    plain, led, away = (
        written_codes(written(TokenSampling(guidance=scale), negative)).flatten()
        for scale, negative in ((1.0, False), (4.0, False), (4.0, True))
    )
    assert not torch.equal(plain, led) and not torch.equal(led, away)


def test_weights_may_change_their_type_between_two_videos():
    model = network()
    writer = TokenWriter(model, encode_text, TokenSampling())
    writer.write((prompts_of(0, False),), {}, SeededNoise(4))
    model.to(torch.bfloat16)
    memory: Memory = {}
    writer.write((prompts_of(0, False),), memory, SeededNoise(4))
    assert len(written_codes(memory)) == 1
