"""Several processes together make the gradients that one process makes alone, and so does a batch in parts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from avgen_core.training.loop import Training
from tests.training import small
from tests.training.gradients import STEP, TRAINERS, codebook_of, gradients, left_in, prepared

ROOT = Path(__file__).parents[2]


def plain_gradients(training: Training) -> dict[str, Tensor]:
    """Of the loss over the whole batch, by PyTorch alone."""
    losses = training.forward.losses(training.model, training.data.draw(STEP, slice(0, training.spec.batch)))
    (losses.loss.sum() / losses.weight.sum()).backward()
    training.after_step(training.model, losses.sums())
    return left_in(training)


@pytest.fixture(scope="module")
def two_processes(data, tmp_path_factory) -> Path:
    """Gradients of two processes, which torchrun starts on a free port."""
    out = tmp_path_factory.mktemp("two")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "tests.training.gradients", data, out],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def one_process(data, tmp_path_factory) -> dict[str, dict[str, Tensor]]:
    found = {}
    for name, training in prepared(data, tmp_path_factory.mktemp("one")):
        found[name] = plain_gradients(training)
        if name == "arlon-vqvae":
            found["codebook"] = codebook_of(training)
    return found


def assert_same(mine: dict[str, Tensor], theirs: dict[str, Tensor], within: float = 5e-6) -> None:
    """The difference between all gradients, relative to all gradients: some are zero, but for rounding."""
    assert mine.keys() == theirs.keys()
    difference = torch.stack([(mine[name] - theirs[name]).norm() for name in theirs]).norm()
    length = torch.stack([gradient.norm() for gradient in theirs.values()]).norm()
    assert length > 1e-5
    assert difference < within * length


@pytest.mark.parametrize("trainer", TRAINERS)
def test_two_processes_make_the_gradients_of_one(one_process, two_processes, trainer):
    # Convolutions round differently with another number of images: alone, without processes, as much.
    within = 5e-6 if trainer == "autoencoder" else 1e-6
    assert_same(load_file(two_processes / f"{trainer}.safetensors"), one_process[trainer], within)


def test_two_processes_move_the_codebook_as_one_does(one_process, two_processes):
    moved = load_file(two_processes / "codebook.safetensors")
    assert moved["uses"].unique().numel() > 1, "something was assigned"
    assert_same(moved, one_process["codebook"])


def test_a_batch_in_parts_makes_the_gradients_of_the_whole(one_process, data, tmp_path):
    """But for batch statistics and the critic's weight, which are those of each part."""
    for name, training in prepared(data, tmp_path, accumulate=4):
        if name not in ("autoencoder", "ar-vae"):
            assert_same(gradients(training), one_process[name])


def test_a_batch_that_does_not_split_evenly_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="a batch of 4 does not split evenly .* choose a multiple of 3"):
        Training(torch.nn.Linear(2, 2), small.spec(tmp_path, 1, accumulate=3), None, None)


def test_a_device_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="device 'tpu' was asked for"):
        Training(torch.nn.Linear(2, 2), small.spec(tmp_path, 1, device="tpu"), None, None)
