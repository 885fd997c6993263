"""Readers of a run: the chunk size asked for changes nothing, and videos come back as they were written."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avgen_core.media.decode import decode_run, encode_frames, fitted
from avgen_core.media.video import contact_sheet, enlarged, read_video, write_video
from avgen_core.rollout.archive import pack_run, unpack_run
from avgen_core.rollout.files import RunError
from avgen_core.rollout.generate import Order, generate, prepare
from avgen_core.rollout.run import Run
from tests import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    denoiser = tiny.denoiser()
    job = prepare(denoiser, Order(tiny.block_plan(), tiny.prompts(), 22, 0, 8.0, 1.0))
    return generate(denoiser, job, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def decoder() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.ConvTranspose2d(tiny.SHAPE[0], 3, 8, stride=8)


@pytest.mark.parametrize("chunk", [1, 5, 8, 100])
def test_the_chunk_size_changes_nothing(run, decoder, chunk):
    whole = torch.cat(list(decode_run(run, decoder)))
    pieces = list(decode_run(run, decoder, chunk=chunk))
    assert all(len(piece) == chunk for piece in pieces[:-1])
    assert torch.equal(torch.cat(pieces), whole)


def test_a_part_equals_the_same_part_of_the_whole(run, decoder):
    whole = torch.cat(list(decode_run(run, decoder)))
    assert torch.equal(torch.cat(list(decode_run(run, decoder, 3, 17))), whole[3:17])


def test_encoding_takes_frames_in_the_order_they_come():
    frames = torch.rand(11, 8, 8, 3)
    latents = encode_frames(lambda images: images.mean(dim=(2, 3), keepdim=True), frames)
    torch.testing.assert_close(latents[:, :, 0, 0], frames.mean(dim=(1, 2)) * 2 - 1)


def test_frames_of_another_size_are_cropped_to_their_middle_and_scaled():
    frames = torch.zeros(2, 40, 100, 3)
    frames[:, :, 30:70] = 0.8
    small = fitted(frames, 20, 20)
    assert small.shape == (2, 20, 20, 3)
    assert (small[:, :, 3:-3] - 0.8).abs().max() < 1e-3
    assert torch.equal(fitted(small, 20, 20), small)


def test_a_video_has_its_frames_and_size(tmp_path):
    frames = torch.linspace(0, 1, 10)[:, None, None, None].expand(10, 16, 16, 3)
    count = write_video(tmp_path / "a.mp4", (enlarged(part, 64) for part in frames.split(4)), 8.0)
    read = np.stack(list(read_video(tmp_path / "a.mp4")))
    assert count == len(read) == 10
    assert read.shape[1:] == (64, 64, 3)
    assert np.abs(read[:, 32, 32, 0] / 255 - frames[:, 0, 0, 0].numpy()).max() < 0.03


def test_a_contact_sheet_shows_every_frame():
    sheet = contact_sheet(torch.rand(10, 16, 16, 3), columns=4, tile=32)
    assert sheet.size == (128, 96)


def test_a_run_file_gives_the_run_back(tmp_path, run):
    path = pack_run(run, tmp_path / "a.avgen")
    again = unpack_run(path, tmp_path / "runs")
    assert torch.equal(again.latents(), run.latents())
    assert again.recipe == run.recipe
    assert unpack_run(path, tmp_path / "runs").folder == again.folder


def test_a_run_file_repairs_a_damaged_run(tmp_path, run):
    path = pack_run(run, tmp_path / "a.avgen")
    there = unpack_run(path, tmp_path / "runs")
    (there.folder / "state.safetensors").write_bytes(b"cut off")
    assert unpack_run(path, tmp_path / "runs").state().passes == run.state().passes


def test_damaged_and_foreign_run_files_are_refused_and_leave_nothing(tmp_path, run):
    path = pack_run(run, tmp_path / "a.avgen")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RunError, match=r"a.avgen is not a run file or is truncated"):
        unpack_run(path, tmp_path / "runs")
    import zipfile

    with zipfile.ZipFile(tmp_path / "b.avgen", "w") as archive:
        archive.writestr("../evil.txt", "out")
    with pytest.raises(RunError, match=r"holds '../evil.txt'"):
        unpack_run(tmp_path / "b.avgen", tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("start", [0, 5, 8, 13])
def test_a_decoder_that_looks_back_sees_the_frames_before_its_unit(run, start):
    def decode(latents: torch.Tensor) -> torch.Tensor:
        """Each frame from itself and up to 8 frames before it."""
        seen = [latents[max(0, i - 8) : i + 1].mean(dim=0) for i in range(len(latents))]
        return torch.stack(seen)[:, :3] / 4

    decoded = torch.cat(list(decode_run(run, decode, start, lead=8)))
    latents = run.latents()
    for i, frame in enumerate(decoded, start):
        expected = latents[max(0, i - 8) : i + 1].mean(dim=0)[:3] / 4
        torch.testing.assert_close(frame, expected.clamp(-1, 1).add(1).div(2).permute(1, 2, 0))
