"""Wilson intervals, optical flow and colours against values known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from avgen_core.diorama import Attributes, Segment, render
from avgen_core.evaluation.measures import colour_statistics, flow_magnitude, mean_interval, warping_error, wilson


@pytest.mark.parametrize(
    ("successes", "count", "interval"),
    [  # to four digits as statsmodels' proportion_confint(method="wilson") and R's prop.test give them
        (8, 10, (0.4902, 0.9433)),
        (0, 10, (0.0, 0.2775)),
        (10, 10, (0.7225, 1.0)),
        (50, 100, (0.4038, 0.5962)),
    ],
)
def test_wilson_has_its_known_values(successes, count, interval):
    assert wilson(successes, count) == pytest.approx(interval, abs=5e-5)


def test_wilson_of_nothing_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_refuses_what_is_no_share():
    with pytest.raises(ValueError, match="11 successes of 10"):
        wilson(11, 10)


def test_mean_interval_surrounds_the_mean():
    low, high = mean_interval([1.0, 2.0, 3.0])
    assert (low + high) / 2 == pytest.approx(2.0)
    assert high - 2.0 == pytest.approx(1.96 / 3**0.5, abs=1e-3)


def test_a_still_video_has_no_flow():
    frame = render(1, (Segment(1, Attributes("cat", "stands still", "city", "day", "clear")),)).frames
    assert flow_magnitude(np.repeat(frame, 4, axis=0)) < 0.01


def test_the_flow_of_a_shifted_picture_is_its_shift():
    frame = render(1, (Segment(1, Attributes("cat", "stands still", "city", "day", "clear")),)).frames[0]
    frames = np.stack([np.roll(frame, 2 * i, axis=1) for i in range(4)])
    assert flow_magnitude(frames) == pytest.approx(2.0, abs=0.4)


def test_running_flows_more_than_standing():
    runs, stands = (
        render(2, (Segment(12, Attributes("dog", action, "meadow", "day", "clear")),)).frames
        for action in ("runs left", "stands still")
    )
    assert flow_magnitude(runs) > 3 * flow_magnitude(stands)


def noisy(frames: np.ndarray, amount: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, amount, frames.shape)
    return (frames + noise).clip(0, 255).round().astype(np.uint8)


def test_a_still_video_does_not_flicker():
    frame = render(1, (Segment(1, Attributes("cat", "stands still", "city", "day", "clear")),)).frames
    assert warping_error(np.repeat(frame, 4, axis=0)) < 0.01


def test_motion_is_no_flicker():
    frame = render(1, (Segment(1, Attributes("cat", "stands still", "city", "day", "clear")),)).frames[0]
    moving = np.stack([np.roll(frame, 2 * i, axis=1) for i in range(4)])
    change = np.abs(np.diff(moving.astype(float), axis=0)).mean()
    assert warping_error(moving) < 0.3 * change


def test_noise_that_changes_every_frame_is_flicker():
    frames = render(2, (Segment(6, Attributes("dog", "runs left", "meadow", "day", "clear")),)).frames
    errors = [warping_error(noisy(frames, amount)) for amount in (0, 4, 12)]
    assert errors[0] < errors[1] < errors[2]


def test_colour_statistics():
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    frames[0, ..., 1] = 100
    assert colour_statistics(frames) == {"mean": [0.0, 50.0, 0.0], "std": [0.0, 50.0, 0.0]}
