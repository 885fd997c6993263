"""The shipped templates on ComfyUI's page, as a newcomer meets them: open, write a prompt, press Run, see the video."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from build_workflows import WORKFLOWS
from templates import TEMPLATES, Template

from page import ComfyPage

ON_PAGE = [template for template in TEMPLATES if template.on_page]
PICTURES = Path(__file__).resolve().parents[2] / "docs" / "images"
PROMPT = "a steam train drives right in the snowy mountains at sunset"


def ui_text(name: str) -> str:
    return (WORKFLOWS / f"{name}.json").read_text("utf-8")


def api_inputs(name: str) -> dict[str, dict]:
    workflow = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text("utf-8"))
    return {number: node["inputs"] for number, node in workflow.items()}


@pytest.mark.parametrize("template", ON_PAGE, ids=lambda template: template.name)
def test_page_queues_what_the_api_file_says(open_page: Callable[[], ComfyPage], template: Template) -> None:
    page = open_page()
    page.load(ui_text(template.name))
    assert page.missing_nodes() == []
    assert {number: node["inputs"] for number, node in page.as_api().items()} == api_inputs(template.name)
    assert page.errors == []


def test_prompt_is_edited_and_the_video_seen(open_page: Callable[[], ComfyPage]) -> None:
    for_the_readme = bool(os.environ.get("AVGEN_SCREENSHOTS"))
    page = open_page()
    page.load(ui_text("text_to_video"))
    page.set_widget("AVGenPromptSchedule", "text", PROMPT)
    if not for_the_readme:
        page.set_widget("AVGenSampleCausal", "frames", 8)
    end = page.run(timeout=600)
    assert end["kind"] == "execution_success", end
    page.wait_for_result()
    if for_the_readme:
        page.screenshot(PICTURES / "text_to_video.jpg")
    assert page.errors == []
