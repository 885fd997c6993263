"""Tracks of codes: made from a video or from prompts, cut, repeated, joined, kept in files, looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from avgen_core.networks.latent_vqvae import LatentVQVAE
from avgen_core.prompts import PromptSchedule, Segment
from avgen_core.rollout.executor import Executor, Prompts
from avgen_core.rollout.noise import SeededNoise
from avgen_core.systems import token_track
from avgen_core.systems.arlon import GuidanceStrength
from avgen_core.systems.token_track import (
    TokenTrack,
    TrackError,
    coarse_latents,
    token_map,
    track_in,
    track_of_latents,
    written_track,
)
from avgen_core.systems.token_writer import TokenSampling
from tests.systems.test_arlon import CODER, PROMPTS, denoiser, executor, parts, video

TRACK = TokenTrack(torch.arange(24, dtype=torch.int32).view(6, 2, 2) % 20, "book")


def parts_of_a_model():
    return parts(TokenSampling(), trained=True)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("negative", [None, PromptSchedule((Segment(0, "a bird"),))])
def test_a_written_track_is_what_a_run_writes(negative, guidance):
    prompts, model = Prompts(PROMPTS.positive, negative), denoiser(guidance=guidance)
    work = Executor(model, executor().plan, prompts, SeededNoise(3))
    list(work.run(16))
    made = model.codes.parts
    sizes = {"size": (4, 4), "codebook": "book", "branches": model.branches}
    track = written_track(made.writer, made.coder, prompts, 16, SeededNoise(3), **sizes)
    assert torch.equal(track.codes, track_in(work.state.memory, (2, 2), "book").codes)
    assert len(track.codes) == 8 and track.codebook == "book"


def test_a_track_of_a_video_is_its_codes_and_shows_it_coarsely():
    coder = parts_of_a_model().coder
    latents = torch.randn(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    track = track_of_latents(coder, latents, "book")
    assert track.codes.shape == (5, 2, 2)
    assert torch.equal(track.codes.long(), coder.encode(latents.transpose(0, 1)[None])[0])
    coarse = coarse_latents(coder, track, (4, 4))
    assert coarse.shape == latents.shape
    assert torch.equal(coarse.transpose(0, 1)[None], coder.decode(track.codes.long()[None], 10, 4, 4))


@pytest.mark.parametrize("first_alone", [False, True])
def test_long_tracks_are_coded_piece_by_piece_as_if_at_once(first_alone, monkeypatch):
    torch.manual_seed(0)
    coder = LatentVQVAE(replace(CODER, first_alone=first_alone, blocks=2)).eval()
    latents = torch.randn(coder.config.frames_of(11), 3, 4, 4, generator=torch.Generator().manual_seed(0))
    whole = track_of_latents(coder, latents, "book")
    coarse = coarse_latents(coder, whole, (4, 4))
    monkeypatch.setattr(token_track, "GROUPS_AT_ONCE", 4)
    assert torch.equal(track_of_latents(coder, latents, "book").codes, whole.codes)
    torch.testing.assert_close(coarse_latents(coder, whole, (4, 4)), coarse)


def test_tracks_are_cut_repeated_and_joined():
    part = TRACK.part(1, 2)
    assert torch.equal(part.codes, TRACK.codes[1:3])
    assert torch.equal(TRACK.part(4).codes, TRACK.codes[4:])
    assert torch.equal(part.repeated(3).codes, part.codes.repeat(3, 1, 1))
    assert torch.equal(part.followed_by(TRACK).codes, torch.cat([part.codes, TRACK.codes]))
    assert torch.equal(part.group(3), part.codes[1].flatten())
    with pytest.raises(TrackError, match="once or more, got 0"):
        part.repeated(0)


@pytest.mark.parametrize(("start", "groups"), [(6, 0), (5, 2), (0, 7)])
def test_a_part_that_is_not_there_is_refused(start, groups):
    with pytest.raises(TrackError, match=r"the tokens have 6 groups, 0 to 5.*change start or groups"):
        TRACK.part(start, groups)


def test_tokens_of_another_codebook_or_size_are_refused():
    with pytest.raises(TrackError, match="of the codebook book.*cannot be followed by tokens of other"):
        TRACK.followed_by(TokenTrack(TRACK.codes, "other"))
    with pytest.raises(TrackError, match=r"\(2, 2\) a group, not \(2, 3\)"):
        TRACK.check("book", (2, 3))
    with pytest.raises(TrackError, match="codebook book, not "):
        denoiser(track=TRACK)


def test_tokens_outside_the_codebook_are_refused():
    TRACK.check_codes(20)
    with pytest.raises(TrackError, match="reach from 0 to 19, and the codebook from 0 to 18"):
        TRACK.check_codes(19)


def test_tokens_without_end_are_refused():
    with pytest.raises(TrackError, match="120000 groups of tokens are more than 100000"):
        TRACK.repeated(20_000)
    long = TRACK.repeated(10_000)
    with pytest.raises(TrackError, match="120000 groups"):
        long.followed_by(long)


def test_a_file_gives_back_what_was_saved(tmp_path):
    path = tmp_path / "folder" / "a.tokens.safetensors"
    TRACK.save(path)
    loaded = TokenTrack.load(path)
    assert torch.equal(loaded.codes, TRACK.codes) and loaded.codebook == "book"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "a.tokens.safetensors"
    TRACK.save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(TrackError, match=r"a.tokens.safetensors cannot be read.*truncated"):
        TokenTrack.load(path)
    save_file({"codes": TRACK.codes}, path)
    with pytest.raises(TrackError, match="holds no tokens of AVGen's"):
        TokenTrack.load(path)
    TRACK.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(TrackError, match="is damaged"):
        TokenTrack.load(path)


def test_a_run_without_tokens_says_so():
    with pytest.raises(TrackError, match="this run has no tokens"):
        track_in({}, (2, 2), "book")


def test_the_map_gives_every_code_a_colour_of_its_own():
    colours = token_map(parts_of_a_model().coder, TokenTrack(torch.arange(CODER.codes).view(-1, 2, 2)))
    assert colours.shape == (5, 2, 2, 3)
    flat = colours.flatten(0, 2)
    assert len(flat.unique(dim=0)) == CODER.codes
    assert torch.equal(flat.amin(0), torch.zeros(3)) and torch.equal(flat.amax(0), torch.ones(3))


def test_strength_moves_over_frames_and_steps():
    strength = GuidanceStrength(early=1.0, late=0.5, over_frames=((4, 1.0), (8, 0.0)))
    assert [strength.at(frame, 1.0) for frame in (0, 4, 6, 8, 20)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert strength.at(4, 0.0) == 0.5
    with pytest.raises(ValueError, match="rising frames and factors of 0 to 2, got `8: 1, 4: 0`.*Token Guidance"):
        GuidanceStrength(over_frames=((8, 1.0), (4, 0.0)))
    with pytest.raises(ValueError, match="factors of 0 to 2, got `0: 1000`"):
        GuidanceStrength(over_frames=((0, 1000.0),))
    with pytest.raises(ValueError, match="0 to 2, got 3 early"):
        GuidanceStrength(early=3)


def test_strength_over_frames_reaches_the_frames():
    fading = GuidanceStrength(over_frames=((3, 1.0), (4, 0.0)))
    assert torch.equal(video(4, strength=fading), video(4))
    alone, faded = video(8, strength=GuidanceStrength(0.0, 0.0)), video(8, strength=fading)
    assert not torch.allclose(faded[4:], video(8)[4:], atol=1e-3)
    assert not torch.allclose(faded[:4], alone[:4], atol=1e-3)


def test_strength_is_read_from_text():
    assert GuidanceStrength.parsed(1.0, 0.5, " 0: 1., 48: .5\n96:0") == GuidanceStrength(
        1.0, 0.5, ((0, 1.0), (48, 0.5), (96, 0.0))
    )
    assert GuidanceStrength.parsed(1.0, 1.0, "") == GuidanceStrength()
    with pytest.raises(ValueError, match="FRAME: FACTOR.*got '48 = 2'"):
        GuidanceStrength.parsed(1.0, 1.0, "0: 1, 48 = 2")
