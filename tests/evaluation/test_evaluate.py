"""The whole evaluation on random networks: every measure is there, with ceiling, interval and target."""

from __future__ import annotations

import argparse
import json

import cv2
import pytest

from avgen_core.diorama import Attributes
from avgen_core.evaluation import command
from avgen_core.evaluation.evaluate import Settings
from avgen_core.evaluation.judging import facts
from avgen_core.evaluation.report import Measure, against_ceiling, table
from tests.evaluation.tiny_model import tiny_model

TARGETS = {
    "subject": 0.8,
    "scene": 0.8,
    "direction": 0.75,
    "action": None,
    "time": None,
    "weather": None,
    "autoencoder PSNR": 27.0,
    "subject in the last 32 of 64": 0.8,
    "motion of the last 64 of 64": 0.6,
}


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def tiny_system(monkeypatch):
    monkeypatch.setitem(command.SYSTEMS, "embedded", lambda folder: tiny_model())


def test_every_measure_has_its_ceiling_interval_and_target(tiny_system, tmp_path, capsys):
    file, sheet = tmp_path / "result.json", tmp_path / "sheet.png"
    command.run(options("--json", str(file), "--sheet", str(sheet), "--clips", "2", "--steps", "1", "--quick"))
    result = json.loads(file.read_text())
    assert {m["name"]: m["target"] for m in result["measures"]} == TARGETS
    for measure in result["measures"]:
        assert len(measure["interval"]) == 2
        assert (measure["passed"] is None) == (measure["target"] is None)
        assert (measure["ceiling"] is None) == (measure["unit"] == "dB"), measure["name"]
    assert next(m for m in result["measures"] if m["name"] == "subject")["ceiling"] > 0.8
    assert len(result["clips"]) == 2
    assert result["settings"]["steps"] == 1
    assert "of 6 targets met" in capsys.readouterr().out
    assert cv2.imread(str(sheet)).shape[2] == 3


def test_given_options_go_before_those_of_quick():
    settings = command.settings_from(options("--json", "x", "--quick", "--clips", "9", "--long", "0"))
    assert settings == Settings(clips=9, long_frames=0, long_clips=command.QUICK["long_clips"], steps=4)
    assert command.settings_from(options("--json", "x")) == Settings()


@pytest.mark.parametrize("wrong", [{"clips": 0}, {"frames": 11}, {"long_frames": 63}])
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


def test_without_a_reference_a_target_is_missed():
    nothing = against_ceiling("direction", float("nan"), (0.0, 1.0), 0, ceiling=float("nan"), target=0.75)
    assert nothing.passed is False
    assert nothing.to_json()["score"] is None
    assert "FAIL" in table([nothing])


def test_direction_counts_where_the_action_has_one():
    assert facts(Attributes("cat", "runs left", "city", "day", "clear"))["direction"] == "left"
    assert "direction" not in facts(Attributes("cat", "jumps", "city", "day", "clear"))
