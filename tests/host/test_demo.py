"""What `scripts/demo.py` does once its server is up: make a video, extend it exactly, extend it without its run."""

from __future__ import annotations

from pathlib import Path

import demo
import pytest

from comfy_server import ComfyServer
from tests.host.graphs import recipe


def length(video: Path) -> int:
    return sum(1 for _ in demo.frames_of(video))


def test_make_and_extend(server: ComfyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = (tmp_path / f"{name}.mp4" for name in ("first", "second", "third"))

    def make(prompt: str, output: Path, *options: str):
        job = demo.parse([prompt, "--frames", "8", "--output", str(output), *options])
        run = demo.generate(job, server)
        assert run.ok, run.explanation
        assert all(path.exists() for path in demo.collect(job, server, run))
        return run

    make("a cow walks left on the beach", first)
    assert length(first) == 8

    exact = make("a cow jumps on the beach", second, "--extend", str(first))
    assert length(second) == 16 and "from its state" in capsys.readouterr().out
    assert [(join["at"], join["exact"]) for join in recipe(server, exact)["joins"]] == [(8, True)]

    first.with_suffix(".avgen").unlink()
    approximate = make("a cow jumps on the beach", third, "--extend", str(first))
    assert length(third) == 16 and "its frames are encoded anew" in capsys.readouterr().out
    assert any("it begins with encoded frames" in said.text for said in approximate.texts)
