"""LPIPS on random trunks: what a distance is, and how its weights are found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avgen_core.evaluation import lpips
from avgen_core.evaluation.features import SqueezeNet
from avgen_core.evaluation.lpips import LINEAR_WEIGHTS, LPIPS_SOURCES, load_lpips
from tests.evaluation.random_features import random_lpips


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


def test_frames_are_at_no_distance_from_themselves_and_further_the_more_they_change(frames):
    noise = np.random.default_rng(1).normal(0, 1, frames.shape)
    changed = [(frames + amount * noise).clip(0, 255).astype(np.uint8) for amount in (0, 10, 40)]
    none, little, much = (random_lpips()(frames, other) for other in changed)
    assert none == pytest.approx(0)
    assert (none < little).all()
    assert (little < much).all()


class Pixels:
    """A trunk whose only features are what it is given."""

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images]


def test_a_distance_by_hand():
    """Blue first, without Caffe's mean, of length 1 over channels; then weighted squares of the difference."""
    red, gray = np.array([200, 20, 30]), np.array([90, 100, 110])
    blue_first = [pixel[::-1] - np.array([104.0, 117.0, 123.0]) for pixel in (red, gray)]
    a, b = (pixel / np.sqrt((pixel**2).sum()) for pixel in blue_first)
    expected = (np.array([1.0, 2.0, 3.0]) * (a - b) ** 2).sum()
    frames = [np.broadcast_to(pixel.astype(np.uint8), (1, 2, 2, 3)) for pixel in (red, gray)]
    assert lpips.Lpips(Pixels(), (torch.tensor([1.0, 2.0, 3.0]),))(*frames) == pytest.approx(expected, rel=1e-5)


def test_the_batch_size_changes_nothing(frames, monkeypatch):
    other, whole = frames[::-1], random_lpips()
    expected = whole(frames, other)
    monkeypatch.setattr(lpips, "BATCH", 2)
    assert expected.shape == (3,)
    assert whole(frames, other) == pytest.approx(expected, rel=1e-4)


def test_the_stages_are_those_of_the_published_lpips(frames):
    stages = SqueezeNet().stages(torch.zeros(1, 3, 64, 64))
    assert [stage.shape[1] for stage in stages] == [64, 128, 256, 384, 384, 512, 512]
    assert [stage.shape[2] for stage in stages] == [31, 15, 7, 3, 3, 3, 3]


@pytest.mark.parametrize("missing", LPIPS_SOURCES)
def test_a_missing_file_is_named_with_its_source(tmp_path, missing):
    for name in LPIPS_SOURCES:
        if name != missing:
            (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=f"has no {missing}: it is in the"):
        load_lpips(tmp_path)


def test_linear_weights_are_read_as_the_package_stores_them(tmp_path, frames, monkeypatch):
    expected = random_lpips()
    for name in LPIPS_SOURCES:
        (tmp_path / name).touch()
    stored = {f"lin{i}.model.1.weight": w.view(1, -1, 1, 1) for i, w in enumerate(expected.weights)}
    torch.save(stored, tmp_path / LINEAR_WEIGHTS)
    monkeypatch.setattr(lpips, "read_openvino", lambda layers, weights: expected.trunk.state_dict())
    assert load_lpips(tmp_path)(frames, frames[::-1]) == pytest.approx(expected(frames, frames[::-1]))
