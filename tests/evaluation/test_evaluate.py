"""The whole evaluation on random networks: every measure is there, with ceiling, interval and target."""

from __future__ import annotations

import argparse
import json

import cv2
import pytest

from avgen_core.diorama import Attributes
from avgen_core.evaluation import command
from avgen_core.evaluation.features import FeatureNetworks
from avgen_core.evaluation.judging import facts
from avgen_core.evaluation.lpips import NAME
from avgen_core.evaluation.report import Goal, Measure, against_ceiling, table
from avgen_core.evaluation.targets import EMBEDDED
from avgen_core.evaluation.trial import Settings
from tests.evaluation.random_features import frame_means, random_lpips, video_means
from tests.evaluation.tiny_model import tiny_model

TARGETS = {
    "subject": 0.97,
    "scene": 0.97,
    "direction": 0.95,
    "action": 0.9,
    "time": 0.9,
    "weather": 0.9,
    "autoencoder PSNR": 30.0,
    "switch of one, 12 frames on": 0.9,
    "switch of action": None,
    "switch of scene": None,
    "switch of time": None,
    "switch of weather": None,
    "subject after a switch of one": None,
    "switch of two, 12 frames on": 0.8,
    "subject after a switch of two": None,
    "subject in the last 64 of 64": 0.95,
    "scene in the last 64 of 64": 0.95,
    "motion in the last 64 of 64": 0.2,
    "colour drift in the last 64 of 64": 0.05,
}
WITH_FEATURES = {
    f"autoencoder {NAME}",
    "Fréchet distance of videos (TransNetV2)",
    "Fréchet distance of frames (SqueezeNet)",
    "motion",
    "flicker",
}


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def tiny_system(monkeypatch):
    monkeypatch.setitem(command.SYSTEMS, "embedded", (lambda folder: tiny_model(), EMBEDDED))


def measured(result: dict) -> dict[str, dict]:
    return {measure["name"]: measure for measure in result["measures"]}


def test_every_measure_has_its_ceiling_interval_and_target(tiny_system, tmp_path, capsys):
    file, sheet, confusion = (tmp_path / name for name in ("result.json", "sheet.png", "confusion.png"))
    pictures = ("--sheet", str(sheet), "--confusion", str(confusion))
    command.run(options("--json", str(file), *pictures, "--clips", "2", "--steps", "1", "--quick"))
    result = json.loads(file.read_text())
    measures = measured(result)
    assert {name: m["target"] for name, m in measures.items()} == TARGETS
    for name, measure in measures.items():
        assert len(measure["interval"]) == 2
        assert (measure["passed"] is None) == (measure["target"] is None)
        assert (measure["ceiling"] is None) == (measure["unit"] == "dB" or measure["count"] == 0), name
    assert measures["subject"]["ceiling"] > 0.8
    assert measures["motion in the last 64 of 64"]["goal"] == "within"
    assert (len(result["clips"]), len(result["switches"])) == (2, 4)
    assert result["settings"]["steps"] == 1
    printed = capsys.readouterr().out
    assert "clips 2, frames 24, switch_clips 2, switch_at 12, long_frames 64" in printed
    assert "1 steps, blocks of 4, window 16, keep on a switch" in printed
    assert "of 13 targets met" in printed
    for picture in (sheet, confusion):
        assert cv2.imread(str(picture)).shape[2] == 3


@pytest.mark.parametrize("system", command.SYSTEMS)
def test_every_system_of_the_pack_is_measured_with_its_own_weights(system, tmp_path):
    file = tmp_path / "result.json"
    sizes = ["--clips", "1", "--switches", "0", "--long", "64", "--long-clips", "1", "--steps", "1"]
    command.run(options("--system", system, "--json", str(file), *sizes))
    result, targets = json.loads(file.read_text()), command.SYSTEMS[system][1]
    measures, wanted = measured(result), dict(targets.attributes)
    assert result["system"] == system
    wanted |= {f"{name} in the last {targets.part} of 64": share for name, share in targets.steady.items()}
    wanted[f"motion in the last {targets.part} of 64"] = targets.motion
    assert {name: measures[name]["target"] for name in wanted} == wanted
    assert measures["scene"]["value"] == 1.0, "the easiest to see: these are videos, not noise"


def test_feature_weights_add_distances_without_targets(tiny_system, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "load_features", lambda folder: FeatureNetworks(video_means, frame_means))
    monkeypatch.setattr(command, "load_lpips", lambda folder: random_lpips())
    file = tmp_path / "result.json"
    sizes = ("--clips", "2", "--steps", "1", "--long", "0", "--switches", "0")
    command.run(options("--json", str(file), *sizes, "--features", "weights"))
    measures = measured(json.loads(file.read_text()))
    assert measures.keys() - TARGETS.keys() == WITH_FEATURES
    assert all(measures[name]["target"] is None and measures[name]["value"] > 0 for name in WITH_FEATURES)
    distance = measures["Fréchet distance of frames (SqueezeNet)"]
    assert distance["ceiling"] < distance["value"]


def test_feature_weights_that_are_missing_are_named(tiny_system, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no transnetv2"):
        command.run(options("--json", "x", "--features", str(tmp_path)))


def test_given_options_go_before_those_of_quick():
    settings = command.settings_from(options("--json", "x", "--quick", "--clips", "9", "--long", "0"))
    assert settings == Settings(**{**command.QUICK, "clips": 9, "long_frames": 0})
    assert command.settings_from(options("--json", "x")) == Settings()


@pytest.mark.parametrize(
    "wrong", [{"clips": 0}, {"frames": 11}, {"long_frames": 63}, {"long_clips": 0}, {"switch_at": 0}]
)
def test_too_little_to_measure_is_refused(wrong):
    with pytest.raises(ValueError, match="at least"):
        Settings(**wrong)


def test_the_score_is_the_ratio_to_the_ceiling():
    passes = against_ceiling("subject", 0.72, (0.6, 0.8), 60, ceiling=0.9, target=0.8)
    assert passes.score == pytest.approx(0.8)
    assert passes.passed
    assert not against_ceiling("subject", 0.7, (0.6, 0.8), 60, ceiling=0.9, target=0.8).passed
    assert Measure("PSNR", 28.0, (27.5, 28.5), 9, "dB", target=27.0).passed
    assert Measure("time", 0.5, (0.4, 0.6), 9).passed is None


def test_a_goal_can_be_a_ceiling_or_have_two_sides():
    def motion(value: float) -> Measure:
        return against_ceiling("motion", value, (0.0, 1.0), 8, ceiling=0.5, target=0.2, goal=Goal.WITHIN)

    assert [motion(value).passed for value in (0.39, 0.4, 0.5, 0.6, 0.61)] == [False, True, True, True, False]
    drifts = [Measure("drift", value, (0.0, 1.0), 8, target=0.05, goal=Goal.AT_MOST) for value in (0.05, 0.06)]
    assert [drift.passed for drift in drifts] == [True, False]
    assert "1 +- 0.200" in table([motion(0.5)])
    assert "<= 0.050" in table(drifts)


def test_without_a_reference_a_target_is_missed():
    nothing = against_ceiling("direction", float("nan"), (0.0, 1.0), 0, ceiling=float("nan"), target=0.75)
    assert nothing.passed is False
    assert nothing.to_json()["score"] is None
    assert "FAIL" in table([nothing])


def test_direction_counts_where_the_action_has_one():
    assert facts(Attributes("cat", "runs left", "city", "day", "clear"))["direction"] == "left"
    assert "direction" not in facts(Attributes("cat", "jumps", "city", "day", "clear"))
