"""The diorama moves as its captions say, is the same for the same seed, and is fast enough to train on."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from avgen_core.__main__ import main
from avgen_core.diorama import Attributes, Clip, Segment, random_episode, render

MEADOW = ("meadow", "day", "clear")


def horizontal_flow(frames: np.ndarray) -> float:
    """Median motion of the ground in pixels a frame: positive is to the right."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    moves = [flow.calc(a, b, None)[-30:, :, 0] for a, b in zip(gray, gray[1:], strict=False)]
    return float(np.median([move[np.abs(move) > 0.2].mean() if (np.abs(move) > 0.2).any() else 0 for move in moves]))


def clip(action: str, frames: int = 10) -> np.ndarray:
    return render(4, (Segment(frames, Attributes("pig", action, *MEADOW)),), size=128).frames


@pytest.mark.parametrize(
    ("action", "sign"), [("walks left", 1), ("runs left", 1), ("walks right", -1), ("runs right", -1)]
)
def test_the_world_scrolls_against_the_walk(action, sign):
    assert np.sign(horizontal_flow(clip(action))) == sign


def test_running_is_faster_than_walking():
    assert abs(horizontal_flow(clip("runs left"))) > 1.5 * abs(horizontal_flow(clip("walks left")))


def test_the_same_seed_gives_the_same_frames():
    first, second, other = random_episode(7, 6), random_episode(7, 6), random_episode(8, 6)
    assert np.array_equal(first.frames, second.frames)
    assert first.captions == second.captions
    assert not np.array_equal(first.frames, other.frames)


def test_a_prompt_switch_cross_fades_and_keeps_the_subject():
    day, night = (Attributes("bus", "stands still", "city", t, "clear") for t in ("day", "night"))
    episode = render(0, (Segment(8, day), Segment(8, night)))
    brightness = episode.frames.mean(axis=(1, 2, 3))
    assert episode.starts == (0, 8)
    assert brightness[7] > brightness[10] > brightness[15]


def test_a_clip_refuses_another_subject():
    world = Clip(0, Attributes("cat", "jumps", *MEADOW))
    with pytest.raises(ValueError, match="cannot change its subject from 'cat' to 'dog'"):
        world.frame(Attributes("dog", "jumps", *MEADOW))


def test_the_sheet_command_draws_episodes_with_their_captions(tmp_path):
    assert main(["train", "sheet", "--out", str(tmp_path), "--seed", "3"]) == 0
    first = (tmp_path / "diorama.png").read_bytes()
    assert cv2.imread(str(tmp_path / "diorama.png")).shape[1] == 12 * 80
    assert main(["train", "sheet", "--out", str(tmp_path), "--seed", "3"]) == 0
    assert (tmp_path / "diorama.png").read_bytes() == first


def test_a_core_renders_far_more_than_training_needs():
    """The target is 300 frames a second; the bound here only catches a renderer that became slow."""
    random_episode(0, 16)
    begun = time.process_time()
    for seed in range(6):
        random_episode(seed, 16)
    assert 96 / (time.process_time() - begun) > 60
