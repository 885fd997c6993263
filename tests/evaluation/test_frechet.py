"""Fréchet distances against closed forms and scipy, and feature networks without their weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from avgen_core.evaluation.features import (
    SOURCES,
    ShotFeatures,
    SqueezeNet,
    _FrameExtractor,
    _VideoExtractor,
    load_features,
    read_openvino,
)
from avgen_core.evaluation.frechet import Gaussian, frechet_distance


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def vectors(rng: np.random.Generator, count: int, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Vectors whose mean and covariance are exactly the given ones."""
    raw = rng.standard_normal((count, len(mean)))
    raw -= raw.mean(axis=0)
    whitened = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T)).T)
    return whitened @ np.linalg.cholesky(covariance).T + mean


def test_normal_distributions_with_equal_axes_have_their_closed_form(rng):
    first, second = np.array([4.0, 1.0, 9.0]), np.array([1.0, 1.0, 16.0])
    shift = np.array([3.0, 0.0, 4.0])
    a, b = vectors(rng, 50, np.zeros(3), np.diag(first)), vectors(rng, 60, shift, np.diag(second))
    expected = 25 + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    assert Gaussian.of(a).distance(Gaussian.of(b)) == pytest.approx(expected)


def test_the_trace_is_that_of_the_matrix_root(rng):
    a, b = (rng.standard_normal((n, 5)) @ rng.standard_normal((5, 5)) + rng.standard_normal(5) for n in (40, 30))
    first, second = np.cov(a.T), np.cov(b.T)
    root = sqrtm(first @ second).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first + second - 2 * root)
    assert Gaussian.of(a).distance(Gaussian.of(b)) == pytest.approx(expected)
    assert Gaussian.of(b).distance(Gaussian.of(a)) == pytest.approx(expected)


def test_fewer_vectors_than_dimensions_are_exact_too(rng):
    """Two vectors span one direction: the roots are rank one, and their overlap is one inner product."""
    a, b = rng.standard_normal((2, 2, 8))
    directions = [(pair[0] - pair[1]) / np.sqrt(2) for pair in (a, b)]
    spread = sum(np.square(d).sum() for d in directions)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + spread - 2 * abs(directions[0] @ directions[1])
    assert Gaussian.of(a).distance(Gaussian.of(b)) == pytest.approx(expected)


def test_a_set_is_at_no_distance_from_itself(rng):
    a = rng.standard_normal((20, 40))
    assert Gaussian.of(a).distance(Gaussian.of(a)) == pytest.approx(0, abs=1e-9)


def test_the_interval_lies_around_the_value_and_narrows(rng):
    reference = Gaussian.of(rng.standard_normal((400, 3)))
    few, many = (frechet_distance(rng.standard_normal((n, 2, 3)) + 1, reference) for n in (20, 400))
    for distance in (few, many):
        assert distance.interval[0] < distance.value < distance.interval[1]
    assert many.interval[1] - many.interval[0] < 0.5 * (few.interval[1] - few.interval[0])
    assert many.value == pytest.approx(3, abs=0.7)


@pytest.mark.parametrize("shape", [(1, 4), (4,), (0, 4)])
def test_a_covariance_needs_two_vectors(shape):
    with pytest.raises(ValueError, match="at least two vectors"):
        Gaussian.of(np.zeros(shape))


def test_features_of_other_networks_are_refused():
    with pytest.raises(ValueError, match="5 and 6 dimensions"):
        Gaussian.of(np.zeros((3, 5))).distance(Gaussian.of(np.zeros((3, 6))))


def videos(rng: np.random.Generator, count: int, frames: int) -> np.ndarray:
    return rng.integers(0, 256, (count, frames, 64, 64, 3), dtype=np.uint8)


def test_extractors_give_a_vector_a_video_and_one_a_chosen_frame(rng):
    torch.manual_seed(0)
    some = videos(rng, 2, 8)
    video = _VideoExtractor(ShotFeatures().eval())(some)
    assert video.shape == (2, 448)
    still = np.repeat(some[:, :1], 8, axis=1)
    assert not np.allclose(video, _VideoExtractor(ShotFeatures().eval())(still))
    assert _FrameExtractor(SqueezeNet().eval())(some).shape == (2, 4, 512)


@pytest.mark.parametrize("missing", SOURCES)
def test_a_missing_file_is_named_with_its_source(tmp_path, missing):
    for name in SOURCES:
        if name != missing:
            (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match="has no " + missing):
        load_features(tmp_path)


def test_openvino_weights_are_read_at_their_offsets(tmp_path):
    torch.manual_seed(0)
    network, content, layers = SqueezeNet(), b"", []
    state = {name: value.half().float() for name, value in network.state_dict().items()}
    for name in network.layers:
        blobs = ""
        for tag, field in (("weights", "weight"), ("biases", "bias")):
            numbers = state[f"layers.{name}.{field}"].half().numpy().tobytes()
            blobs += f'<{tag} offset="{len(content)}" size="{len(numbers)}"/>'
            content += numbers
        layers.append(f'<layer name="{name}"><blobs>{blobs}</blobs></layer>')
    (tmp_path / "net.bin").write_bytes(content)
    (tmp_path / "net.xml").write_text(f"<net><layers>{''.join(layers)}</layers></net>")
    read = read_openvino(tmp_path / "net.xml", tmp_path / "net.bin")
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)
