"""A real ComfyUI server with the pack in it. Where there is none, these tests fail; they never skip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import environment
from comfy_server import ComfyServer


@pytest.fixture(scope="session")
def server() -> Iterator[ComfyServer]:
    where = environment.locations()
    if not (where.comfyui / "main.py").exists():
        pytest.fail(f"there is no ComfyUI in {where.comfyui}; run `python scripts/test.py`")
    with ComfyServer(where.comfyui, where.python, arguments=environment.server_arguments()) as server:
        yield server
