"""The shipped classifier recognises fresh renders, and its trainer resumes."""

from __future__ import annotations

import pytest
import torch

from avgen_core.checkpoints.files import CheckpointError, save_weights
from avgen_core.diorama.attributes import ACTIONS
from avgen_core.evaluation.classifier import (
    CLASSIFIER,
    LABELS,
    NETWORK,
    WINDOW,
    AttributeClassifier,
    ClassifierConfig,
    classify,
    directions,
    load_classifier,
)
from avgen_core.evaluation.judging import facts, last_window, tally
from avgen_core.evaluation.train_classifier import batch, render_clips, train_classifier
from avgen_core.training.loop import TrainSpec

TINY = ClassifierConfig(channels=(16, 16, 16, 16))


def test_fresh_renders_are_recognised():
    clips = render_clips(40, seed=7, frames=16)
    found = tally([facts(a) for a in clips.attributes], classify(load_classifier(), last_window(clips.frames)))
    assert {name: share.share for name, share in found.items() if share.share < 0.9} == {}


def test_the_file_is_small_and_the_network_too():
    assert CLASSIFIER.stat().st_size <= 2_000_000
    assert sum(p.numel() for p in load_classifier().parameters()) < 1_000_000


def test_walking_and_running_count_together_as_a_direction():
    shares = torch.full((3, len(ACTIONS)), 0.01)
    for row, action, share in (
        (0, "stands still", 0.4),
        (0, "walks left", 0.3),
        (0, "runs left", 0.3),
        (1, "runs right", 0.9),
        (2, "spins", 0.9),
    ):
        shares[row, ACTIONS.index(action)] = share
    assert directions(shares.log()) == ["left", "right", "none"]


def test_weights_for_other_labels_are_refused(tmp_path):
    other = tmp_path / "classifier.safetensors"
    labels = {**LABELS, "scene": ("meadow",)}
    save_weights(other, NETWORK, TINY, AttributeClassifier(TINY).state_dict(), labels=labels)
    with pytest.raises(CheckpointError, match="train it anew"):
        load_classifier(other)


def test_a_batch_depends_on_its_step_alone():
    clips = render_clips(3, seed=8)
    inputs, classes = batch(clips, step=5, size=4)
    again, _ = batch(clips, step=5, size=4)
    assert inputs.shape == (4, 3, WINDOW, 64, 64)
    assert inputs.abs().max() <= 1
    assert {name: len(values) for name, values in classes.items()} == dict.fromkeys(LABELS, 4)
    assert torch.equal(inputs, again)
    assert not torch.equal(inputs, batch(clips, step=6, size=4)[0])


def test_training_resumes_where_it_stopped(tmp_path):
    clips = render_clips(2, seed=9, frames=WINDOW)

    def trained(name: str, *steps: int) -> AttributeClassifier:
        for count in steps:
            spec = TrainSpec(tmp_path / name, count, 2, 1e-3, decay_share=1e-6)
            training = train_classifier(spec, clips, TINY)
        return training.average

    once, twice = trained("once", 2), trained("twice", 1, 2)
    for expected, actual in zip(once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(actual, expected)
