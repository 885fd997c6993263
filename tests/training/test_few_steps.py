"""A student of the embedded model that takes fewer steps: what it is shown, and that it learns it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avgen_core.plan import BlockPlan, flow_sigmas
from avgen_core.systems.many_videos import Sampling, sample_latents
from avgen_core.training import trajectories as trajectories_module
from avgen_core.training.causal_dit import TextToVideo
from avgen_core.training.few_steps import draw_steps, train_few_steps
from avgen_core.training.trajectories import Trajectories, TrajectorySpec, record, record_trajectories
from tests.evaluation.tiny_model import tiny_model
from tests.training.small import same, spec

PLAN = BlockPlan(flow_sigmas(4, 1.5), block=2)
CAPTIONS = ["a dog runs left in a forest", "an orange cat jumps on the beach"]


def taught(folder: Path, guidance: float = 3.0, student_steps: int = 2) -> TrajectorySpec:
    return TrajectorySpec(folder, 4, PLAN, guidance, frames=6, student_steps=student_steps)


def student() -> TextToVideo:
    teacher = tiny_model()
    model = TextToVideo(teacher.dit.config, teacher.text_encoder.config)
    model.text_encoder, model.dit = teacher.text_encoder, teacher.dit.requires_grad_(True)
    return model


@pytest.fixture
def recorded(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(trajectories_module, "SHARD_CLIPS", 4)
    record_trajectories(tiny_model(), taught(tmp_path / "trajectories"))
    return tmp_path / "trajectories"


def test_a_trajectory_begins_in_noise_and_ends_with_the_teachers_video(tmp_path):
    model = tiny_model()
    paths = record(model, CAPTIONS, taught(tmp_path), seed=5)
    video = sample_latents(model, CAPTIONS, 6, Sampling(PLAN, 3.0, seed=5))
    assert paths.shape == (2, 3, 6, 4, 8, 8)
    torch.testing.assert_close(paths[:, -1], video)
    assert paths[:, 0].std() == pytest.approx(1.0, abs=0.1)


def test_the_student_is_shown_steps_from_level_to_level(recorded):
    data = Trajectories(recorded)
    steps = draw_steps(data, PLAN.block, 8, np.random.default_rng(0), slice(0, 8))
    assert steps.latents.shape[2] == steps.levels.shape[1]
    assert steps.way.shape[2] == PLAN.block
    sigmas = torch.tensor([*data.sigmas, 0.0])
    for row, text in enumerate(steps.prompts):
        level = int((sigmas - steps.levels[row, -1]).abs().argmin())
        block = steps.latents[row, :, -PLAN.block :]
        reached = block + (sigmas[level + 1] - sigmas[level]) * steps.way[row]
        path = data.latents[data.captions.index(text), :, : steps.levels.shape[1]].float().transpose(1, 2)
        torch.testing.assert_close(block, path[level][:, -PLAN.block :])
        torch.testing.assert_close(reached, path[level + 1][:, -PLAN.block :], atol=1e-5, rtol=0)


def test_a_student_with_all_steps_of_an_unguided_teacher_has_nothing_to_learn(tmp_path, monkeypatch):
    """So what it sees is what it will see: finished frames, masks, positions and prompts as in a rollout."""
    monkeypatch.setattr(trajectories_module, "SHARD_CLIPS", 4)
    record_trajectories(tiny_model(), taught(tmp_path / "t", guidance=1.0, student_steps=4))
    out = tmp_path / "out"
    train_few_steps(spec(out, 3, learning_rate=1e-12, precision="no"), Trajectories(tmp_path / "t"), student(), PLAN)
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert max(losses) < 1e-4


def test_the_student_learns_and_resumes(tmp_path, recorded):
    data = Trajectories(recorded)
    whole = train_few_steps(spec(tmp_path / "whole", 6), data, student(), PLAN)
    train_few_steps(spec(tmp_path / "cut", 3), data, student(), PLAN)
    resumed = train_few_steps(spec(tmp_path / "cut", 6), data, student(), PLAN)
    assert same(whole, resumed)
    long = train_few_steps(spec(tmp_path / "long", 40, learning_rate=3e-3), data, student(), PLAN)
    losses = [json.loads(line)["loss"] for line in (long.spec.out / "log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_bad_orders_are_refused(tmp_path, recorded):
    with pytest.raises(ValueError, match="3 steps do not divide the teacher's 4"):
        replace(taught(tmp_path), student_steps=3)
    with pytest.raises(FileNotFoundError, match="train trajectories"):
        Trajectories(tmp_path)
    with pytest.raises(ValueError, match="recorded with seed 0, here it is 7"):
        record_trajectories(tiny_model(), replace(taught(recorded), seed=7))
    other = replace(taught(recorded), clips=8, student_steps=4)
    trajectories_module.record_trajectories(tiny_model(), replace(other, folder=tmp_path / "other"))
    shutil.copy(tmp_path / "other" / "trajectories-00001.safetensors", recorded)
    with pytest.raises(ValueError, match="recorded with sigmas"):
        Trajectories(recorded)
