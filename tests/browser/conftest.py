"""A real server and ComfyUI's real page in Chromium. Where one is missing, tests fail; they never skip."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

import environment
from comfy_server import ComfyServer
from page import CHROMIUM_FLAGS, VIEWPORT, ComfyPage

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if executable is None:
        pytest.fail(f"none of {', '.join(CHROMIUM_NAMES)} is installed; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def browser_server() -> Iterator[ComfyServer]:
    where = environment.locations()
    with ComfyServer(where.comfyui, where.python, arguments=environment.server_arguments()) as server:
        yield server


@pytest.fixture
def open_page(browser: Browser, browser_server: ComfyServer) -> Iterator[Callable[[], ComfyPage]]:
    """Opens ComfyUI in a fresh profile, so that nothing is left over from another test."""
    context = browser.new_context(viewport=VIEWPORT)
    yield lambda: ComfyPage(context.new_page(), browser_server.url)
    context.close()
