"""The judge of sets of videos, with stand-ins for the feature networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avgen_core.diorama import sample_attributes
from avgen_core.evaluation.classifier import AttributeClassifier, ClassifierConfig
from avgen_core.evaluation.features import FeatureNetworks
from avgen_core.evaluation.frechet import Distance
from avgen_core.evaluation.judging import ASKED, fresh_renders
from avgen_core.evaluation.quality import COLUMNS, Judge, quality_rows
from tests.evaluation.random_features import frame_means, video_means

FRAMES = 12


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    attributes = [sample_attributes(rng) for _ in range(4)]
    features = FeatureNetworks(video_means, frame_means)
    classifier = AttributeClassifier(ClassifierConfig((4, 4, 4, 4))).eval()
    return Judge.of(attributes, FRAMES, features, classifier, seed=1)


def test_renders_are_nearer_to_renders_than_noise_is(judge):
    renders = fresh_renders(judge.attributes, FRAMES, 2)
    noise = np.random.default_rng(0).integers(0, 256, renders.shape, dtype=np.uint8)
    near, far = judge.judge(renders), judge.judge(noise)
    assert near.video.value < far.video.value
    assert near.frames.value < far.frames.value
    assert near.flicker < far.flicker
    assert near.motion_interval[0] <= near.motion <= near.motion_interval[1]


def test_what_is_seen_is_a_share_of_every_attribute(judge):
    quality = judge.judge(fresh_renders(judge.attributes, FRAMES, 2))
    assert set(quality.seen) == set(ASKED)
    assert 0 <= quality.accuracy <= 1
    assert quality.to_json()["video"]["value"] == quality.video.value


def test_rows_show_the_mean_and_half_the_range(judge):
    quality = judge.judge(fresh_renders(judge.attributes, FRAMES, 2))
    runs = [replace(quality, video=Distance(value, (0.0, 4.0))) for value in (1.0, 3.0)]
    head, _, single, double = quality_rows({"one": runs[:1], "two": runs})
    assert all(column in head for column in COLUMNS)
    assert single.startswith("| one | 1.000 |")
    assert double.startswith("| two | 2.000 ± 1.000 |")
