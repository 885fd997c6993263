"""The engine's command line, in fresh processes, on the model that comes with the pack."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avgen_core.media.video import read_video
from tests.tiny_ar_diffusion import write_checkpoints

ROOT = Path(__file__).parents[1]
CAT = "an orange cat walks right in a green meadow"


def avgen(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "avgen_core", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def cat(tmp_path_factory) -> Path:
    video = tmp_path_factory.mktemp("videos") / "cat.mp4"
    done = avgen("generate", "--prompt", CAT, "--frames", 12, "--seed", 1, "--steps", 4, "--output", video)
    assert done.returncode == 0, done.stderr
    return video


def test_generate_leaves_a_video_and_its_run(cat):
    frames = np.stack(list(read_video(cat)))
    assert frames.shape == (12, 512, 512, 3)
    assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 0.2, "something moves"
    assert sorted(path.name for path in cat.parent.iterdir()) == ["cat.avgen", "cat.mp4"]


def test_frames_keep_their_prompts_as_the_embedded_model_was_trained(cat):
    with zipfile.ZipFile(cat.with_suffix(".avgen")) as archive:
        plan = json.loads(archive.read("run.json"))["recipe"]["plan"]
    assert (plan["on_switch"], plan["context_timestep"]) == ("keep", 0.0)


@pytest.mark.parametrize(("system", "frames"), [("--art-v", 2), ("--arlon", 4)])
def test_other_systems_make_a_video(system, frames, tmp_path):
    video = tmp_path / "a.mp4"
    done = avgen("generate", system, "--prompt", CAT, "--frames", frames, "--steps", 2, "--output", video)
    assert done.returncode == 0, done.stderr
    assert np.stack(list(read_video(video))).shape == (frames, 512, 512, 3)


def test_art_v_goes_on_from_a_picture_without_words(cat, tmp_path):
    picture, video = tmp_path / "picture.png", tmp_path / "b.mp4"
    shown = next(read_video(cat))
    Image.fromarray(shown).save(picture)
    more = ("--frames", 2, "--steps", 2, "--start", picture, "--reference-guidance", 3, "--output", video)
    done = avgen("generate", "--art-v", "--prompt", "", *more)
    assert done.returncode == 0, done.stderr
    first, *others = read_video(video)
    assert len(others) == 2 and np.abs(first.astype(float) - shown).mean() < 10
    done = avgen("generate", "--prompt", CAT, "--start", tmp_path / "none.png", "--output", video)
    assert done.returncode == 1 and "there is no picture or video" in done.stderr


def test_extend_goes_on_exactly(cat, tmp_path):
    longer, whole = tmp_path / "longer.mp4", tmp_path / "whole.mp4"
    steps = ("--steps", 4, "--seed", 1, "--prompt", CAT)
    done = avgen("extend", cat.with_suffix(".avgen"), *steps, "--frames", 8, "--output", longer)
    assert "join at frame 12: exact" in done.stdout, done.stderr
    assert avgen("generate", *steps, "--frames", 20, "--output", whole).returncode == 0
    for mine, theirs in zip(read_video(longer), read_video(whole), strict=True):
        assert np.array_equal(mine, theirs)


def test_unknown_words_are_read_as_the_nearest_known_sentence(tmp_path):
    done = avgen("generate", "--prompt", "a tigre runs", "--frames", 4, "--steps", 1, "--output", tmp_path / "a.mp4")
    assert '"tigre" as "a tiger"' in done.stderr
    assert "a tiger runs right in a green meadow" in done.stdout


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> tuple[object, ...]:
    """The arguments that name an AR-Diffusion model."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder / "generator.safetensors", folder / "vae.safetensors", folder / "both.safetensors")
    return "--generator", folder / "generator.safetensors", "--autoencoder", folder / "vae.safetensors"


def test_ar_diffusion_goes_on_under_another_class(checkpoint, tmp_path):
    short = (*checkpoint, "--steps", 10, "--difference", 1)
    done = avgen("generate", *short, "--prompt", "dive", "--frames", 8, "--output", tmp_path / "a.mp4")
    assert done.returncode == 0, done.stderr
    done = avgen("extend", tmp_path / "a.avgen", *short, "--prompt", "2", "--frames", 4, "--output", tmp_path / "b.mp4")
    assert "join at frame 8: exact; frames 8 to 22 had begun and keep their prompts" in done.stdout, done.stderr
    assert len(list(read_video(tmp_path / "b.mp4"))) == 12


def test_ar_diffusions_schedule_is_priced_without_a_model():
    done = avgen("plan", "--ar-diffusion", "--close", "--frames", 16)
    assert "125 passes, 2000 frame evaluations" in done.stdout  # 50 + 5 * 15 passes of 16 frames
    done = avgen("plan", "--ar-diffusion", "--close", "--frames", 128, "--difference", 3)
    assert done.returncode == 1 and "difference of at least 4" in done.stderr


def test_classes_and_options_of_other_models_are_refused(checkpoint, tmp_path):
    output = ("--output", tmp_path / "a.mp4")
    done = avgen("generate", *checkpoint, "--prompt", "a cat", *output)
    assert done.returncode == 1 and "it has 4 classes: 0 none, 1 surf, 2 dive, 3 ski" in done.stderr
    done = avgen("generate", *checkpoint, "--prompt", "0", "--shift", 2, *output)
    assert "--shift and --block are not for AR-Diffusion" in done.stderr
    done = avgen("generate", "--prompt", CAT, "--savings", "skip_waiting", *output)
    assert "--savings is for AR-Diffusion" in done.stderr
    assert not list(tmp_path.iterdir())


def test_plan_prices_and_draws(tmp_path):
    done = avgen("plan", "--difference", 2, "--steps", 4, "--frames", 8, "--close", "--picture", tmp_path / "p.png")
    assert "18 passes" in done.stdout
    assert (tmp_path / "p.png").stat().st_size > 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "--prompt", "8: a cat", "--output", "a.mp4"), "line 1, column 1"),
        (("generate", "--prompt", "a cat", "--frames", 0, "--output", "a.mp4"), "whole number from 1"),
        (("generate", "--prompt", "a cat", "--output", "a.gif"), "must end in .mp4"),
        (("generate", "--prompt", "a cat", "--difference", 20, "--output", "a.mp4"), "0 (synchronous) to 12"),
        (("extend", "missing.avgen", "--prompt", "a cat", "--output", "a.mp4"), "no run file missing.avgen"),
        (("generate", "--prompt", "a cat", "--adapter", "a", "--output", "a.mp4"), "both --checkpoint and --adapter"),
        (("generate", "--prompt", "a cat", "--art-v", "--adapter", "a", "--output", "a.mp4"), "name one of the four"),
        (("generate", "--prompt", "a cat", "--art-v", "--block", 2, "--output", "a.mp4"), "not for ART-V"),
        (
            ("generate", "--prompt", "a cat", "--mask-strength", 1, "--output", "a.mp4"),
            "--mask-strength: for ART-V alone",
        ),
        (
            ("generate", "--prompt", CAT, "--art-v", "--mask-strength", 2, "--output", "a.mp4"),
            "mask_strength must be 0 (none of the mask) to 1 (all of it), got 2",
        ),
        (
            ("generate", "--prompt", CAT, "--art-v", "--reference-guidance", 0, "--output", "a.mp4"),
            "reference_guidance must be 1 (off) or more, got 0",
        ),
        (("plan", "--steps", 0), "steps must be at least 1"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(arguments, message):
    done = avgen(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (ROOT / "a.mp4").exists()
