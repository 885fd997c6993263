"""A real ComfyUI server with the pack in it. Where there is none, these tests fail; they never skip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import demo
import pytest
from build_workflows import EARLIER, STILL

import environment
from comfy_server import ComfyServer
from tests.host.graphs import shipped

EARLIER_FRAMES = 16


@pytest.fixture(scope="session")
def server() -> Iterator[ComfyServer]:
    where = environment.locations()
    if not (where.comfyui / "main.py").exists():
        pytest.fail(f"there is no ComfyUI in {where.comfyui}; run `python scripts/test.py`")
    with ComfyServer(where.comfyui, where.python, arguments=environment.server_arguments()) as server:
        yield server


@pytest.fixture(scope="session")
def earlier(server: ComfyServer) -> int:
    """A short video, its run and its first frame in the input folder, under the names in the workflows; its length."""
    run = server.run(shipped("text_to_video", frames=EARLIER_FRAMES, seed=100))
    assert run.ok, run.explanation
    for file in run.files:
        shutil.copyfile(server.path_of(file), server.base / "input" / f"earlier{server.path_of(file).suffix}")
    next(demo.frames_of(server.base / "input" / EARLIER)).save(server.base / "input" / STILL)
    return EARLIER_FRAMES
