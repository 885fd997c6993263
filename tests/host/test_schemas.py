"""Every node as the server describes it. Saved graphs rely on ids, order and defaults of inputs for ever."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from build_locales import english
from build_workflows import built, input_specs

from comfy_server import ComfyServer
from tests.host.graphs import ARLON, ART_V

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).with_name("schemas.json")
MOST_INPUTS = 12


@pytest.fixture(scope="module")
def infos(server: ComfyServer) -> dict[str, Any]:
    return server.get("/object_info")


@pytest.fixture(scope="module")
def ours(infos: dict[str, Any]) -> dict[str, Any]:
    return {name: info for name, info in infos.items() if name.startswith("AVGen")}


def described(info: dict[str, Any]) -> dict[str, list[list[Any]]]:
    """What a saved graph depends on."""
    inputs = [[spec.name, spec.type, spec.is_optional, spec.options.get("default")] for spec in input_specs(info)]
    outputs = [list(pair) for pair in zip(info["output_name"], info["output"], strict=True)]
    return {"inputs": inputs, "outputs": outputs}


def test_every_listed_node_is_registered(ours: dict[str, Any]) -> None:
    listed = (ROOT / "nodes" / "__init__.py").read_text("utf-8").partition("NODES")[2]
    assert set(re.findall(r"^    (AVGen\w+),$", listed, re.MULTILINE)) == set(ours)


def test_every_node_explains_itself(ours: dict[str, Any]) -> None:
    for name, info in ours.items():
        assert info["description"] and info["display_name"].endswith("(AVGen)"), name
        assert re.fullmatch(r"AVGen/\w+", info["category"]), name
        assert all(info["output_tooltips"]) and len(info["output_tooltips"]) == len(info["output"]), name
        specs = list(input_specs(info))
        assert len(specs) <= MOST_INPUTS, name
        assert [spec.name for spec in specs if not spec.options.get("tooltip")] == [], name


def test_saved_graphs_still_fit(ours: dict[str, Any]) -> None:
    now = {name: described(info) for name, info in sorted(ours.items())}
    before = json.loads(SNAPSHOT.read_text("utf-8")) if SNAPSHOT.exists() else {}
    for name, schema in before.items():
        assert name in now, f"{name} is gone: saved graphs need it; deprecate it instead"
        for part, known in schema.items():
            assert now[name][part][: len(known)] == known, f"{name}: only add {part} at the end, change none"
    if os.environ.get("AVGEN_UPDATE_SNAPSHOTS"):
        lines = [f" {json.dumps(name)}: {json.dumps(schema)}" for name, schema in now.items()]
        SNAPSHOT.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    elif now != before:
        pytest.fail(f"nodes were added to: set AVGEN_UPDATE_SNAPSHOTS=1 once, which renews {SNAPSHOT.name}")


def test_workflow_files_are_those_of_the_builder(infos: dict[str, Any]) -> None:
    for path, text in built(infos).items():
        assert path.read_text("utf-8") == text, f"{path.name} is out of date: python scripts/build_workflows.py"


def names(tree: Any) -> Any:
    return {key: names(value) for key, value in tree.items()} if isinstance(tree, dict) else None


def test_locales_cover_the_schemas(ours: dict[str, Any]) -> None:
    expected = english(ours)
    for language in ("en", "zh"):
        for file, content in expected.items():
            path = ROOT / "locales" / language / file
            found = json.loads(path.read_text("utf-8"))
            assert names(found) == names(content), path
            if language == "en":
                assert found == content, f"{path} is out of date: python scripts/build_locales.py"


def test_every_node_has_a_help_page(ours: dict[str, Any], server: ComfyServer) -> None:
    for name, info in ours.items():
        page = server.request(f"/extensions/AVGen/docs/{name}.md").decode()
        missing = [spec.name for spec in input_specs(info) if f"`{spec.name}`" not in page]
        missing += [output for output in info["output_name"] if f"`{output}`" not in page]
        assert missing == [], f"web/docs/{name}.md does not mention {missing}"
    assert {path.stem for path in (ROOT / "web" / "docs").glob("*.md")} == set(ours)


def test_templates_are_offered(server: ComfyServer) -> None:
    offered = server.get("/workflow_templates")["AVGen"]
    assert set(offered) == {
        "text_to_video",
        "prompt_travel",
        "extend_twice",
        "ar_diffusion",
        "class_travel",
        "continue_clip",
        *ART_V,
        *ARLON,
    }
