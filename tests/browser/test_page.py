"""The page helper itself, with core nodes: load, edit, run, see the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from page import ComfyPage


def plain_workflow() -> str:
    """EmptyImage -> PreviewImage, and a text that nothing uses, in UI format."""
    image = {
        "id": 1,
        "type": "EmptyImage",
        "pos": [0, 0],
        "size": [300, 130],
        "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
        "widgets_values": [64, 64, 1, 255],
    }
    preview = {
        "id": 2,
        "type": "PreviewImage",
        "pos": [400, 0],
        "size": [300, 300],
        "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
    }
    text = {
        "id": 3,
        "type": "CLIPTextEncode",
        "pos": [0, 200],
        "size": [300, 120],
        "inputs": [{"name": "clip", "type": "CLIP", "link": None}],
        "outputs": [{"name": "CONDITIONING", "type": "CONDITIONING", "links": []}],
        "widgets_values": ["a fox"],
    }
    common = {"flags": {}, "mode": 0, "properties": {}}
    nodes = [{**common, **node, "order": order} for order, node in enumerate((image, preview, text))]
    graph = {"last_node_id": 3, "last_link_id": 1, "nodes": nodes, "links": [[1, 1, 0, 2, 0, "IMAGE"]]}
    return json.dumps({**graph, "groups": [], "config": {}, "extra": {}, "version": 0.4})


def test_load_edit_run_and_see(open_page: Callable[[], ComfyPage], tmp_path: Path) -> None:
    page = open_page()
    page.load(plain_workflow())
    assert page.missing_nodes() == []
    page.set_widget("EmptyImage", "width", 128)
    assert page.widget("EmptyImage", "width") == 128
    assert page.as_api()["1"]["inputs"]["width"] == 128
    page.set_widget("CLIPTextEncode", "text", "a train\nat night")
    assert page.as_api()["3"]["inputs"]["text"] == "a train\nat night"
    end = page.run()
    assert end["kind"] == "execution_success", end
    page.wait_for_result()
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert page.errors == []
