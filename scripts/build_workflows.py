"""Write `workflows/*.json` (for the page) and `workflows/api/*.json` (for programs) from `templates/`.

    python scripts/build_workflows.py [--thumbnails [NAME ...]]

A running ComfyUI with the pack in it is asked for the nodes' inputs, so that both forms fit the nodes as they are.
`--thumbnails` also runs templates (all, or those that are named), on the embedded models, and keeps frames of their
videos as `workflows/NAME.jpg`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomllib
from templates import TEMPLATES, From, Node, Note, Template

import environment

if TYPE_CHECKING:
    from comfy_server import ComfyServer

WORKFLOWS = environment.ROOT / "workflows"
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
OPTIONAL_SHAPE = 7
COLUMN_GAP, NODE_GAP, TITLE, PADDING, GROUP_TITLE = 70, 34, 30, 20, 40
SLOT, WIDGET, TEXT_AREA = 20, 24, 110
GROUP_COLOR = "#3f789e"
THUMBNAIL_FRAMES, THUMBNAIL_SIDE = 4, 256
EARLIER, STILL = "earlier.mp4", "still.png"

NodeInfo = dict[str, Any]


@dataclass(frozen=True)
class InputSpec:
    """One input of a node as the server describes it."""

    name: str
    type: str
    options: dict[str, Any]
    is_optional: bool

    @property
    def is_widget(self) -> bool:
        return self.type in WIDGETS and not self.options.get("forceInput")

    @property
    def default(self) -> Any:
        if "default" in self.options:
            return self.options["default"]
        choices = self.options.get("options") or [None]
        return {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False, "COMBO": choices[0]}[self.type]


def input_specs(info: NodeInfo) -> Iterator[InputSpec]:
    """A node's inputs in its own order."""
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, ()):
            kind, *rest = info["input"][group][name]
            options = dict(rest[0]) if rest else {}
            if isinstance(kind, list):
                kind, options = "COMBO", {"options": kind, **options}
            yield InputSpec(name, kind, options, group == "optional")


def output_index(info: NodeInfo, link: From) -> int:
    names = info["output_name"]
    if link.output is not None and link.output not in names:
        raise ValueError(f"{info['name']} has no output {link.output!r}; it has {', '.join(names)}")
    return 0 if link.output is None else names.index(link.output)


def value_of(node: Node, spec: InputSpec) -> Any:
    """What a widget holds; a linked one holds its default below the link."""
    given = node.inputs.get(spec.name, spec.default)
    return spec.default if isinstance(given, From) else given


# ---- for programs -------------------------------------------------------------------------------


def api_workflow(template: Template, infos: dict[str, NodeInfo]) -> dict[str, dict[str, Any]]:
    ids = numbered(template)
    types = {node.name: node.type for node in template.nodes}
    workflow = {}
    for node in template.nodes:
        info = infos[node.type]
        check_inputs(node, info)
        inputs = {}
        for spec in input_specs(info):
            given = node.inputs.get(spec.name)
            if isinstance(given, From):
                inputs[spec.name] = [str(ids[given.node]), output_index(infos[types[given.node]], given)]
            elif spec.is_widget:
                inputs[spec.name] = value_of(node, spec)
        title = node.title or info["display_name"]
        workflow[str(ids[node.name])] = {"class_type": node.type, "inputs": inputs, "_meta": {"title": title}}
    return workflow


def numbered(template: Template) -> dict[str, int]:
    return {node.name: number for number, node in enumerate(template.nodes, start=1)}


def check_inputs(node: Node, info: NodeInfo) -> None:
    unknown = set(node.inputs) - {spec.name for spec in input_specs(info)}
    if unknown:
        raise ValueError(f"{node.name} ({node.type}) has no inputs {', '.join(sorted(unknown))}")


# ---- for the page -------------------------------------------------------------------------------


def ui_workflow(template: Template, infos: dict[str, NodeInfo]) -> dict[str, Any]:
    page = PageGraph(template, infos)
    page.lay_out()
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"avgen/{template.name}")),
        "revision": 0,
        "last_node_id": len(page.nodes),
        "last_link_id": len(page.links),
        "nodes": page.nodes,
        "links": page.links,
        "groups": page.groups,
        "config": {},
        "extra": {},
        "version": 0.4,
    }


class PageGraph:
    """Nodes, links and groups of a template in litegraph's form."""

    def __init__(self, template: Template, infos: dict[str, NodeInfo]) -> None:
        self.template, self.infos = template, infos
        self.ids = numbered(template)
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []
        self.groups: list[dict[str, Any]] = []

    def lay_out(self) -> None:
        left, note_id = 0, len(self.ids)
        for number, column in enumerate(self.template.columns, start=1):
            top = 0
            for item in column.nodes:
                if isinstance(item, Note):
                    note_id += 1
                    self.nodes.append(note(item, note_id))
                    height = item.height
                else:
                    self.nodes.append(self._node(item))
                    height = item.height or needed_height(self.infos[item.type])
                self.nodes[-1].update(pos=[left, top], size=[column.width, height], order=len(self.nodes) - 1)
                top += height + TITLE + NODE_GAP
            box = [
                left - PADDING,
                -TITLE - GROUP_TITLE,
                column.width + 2 * PADDING,
                top + GROUP_TITLE - NODE_GAP + PADDING,
            ]
            title = f"{number}. {column.title}"
            self.groups.append(
                {
                    "id": number,
                    "title": title,
                    "bounding": box,
                    "color": GROUP_COLOR,
                    "font_size": 24,
                    "flags": {},
                }
            )
            left += column.width + COLUMN_GAP

    def _node(self, node: Node) -> dict[str, Any]:
        info, number = self.infos[node.type], self.ids[node.name]
        check_inputs(node, info)
        specs = list(input_specs(info))
        slots = [self._slot(spec) for spec in sorted(specs, key=lambda spec: spec.is_widget)]
        for index, slot in enumerate(slots):
            given = node.inputs.get(slot["name"])
            if isinstance(given, From):
                slot["link"] = self._link(given, number, index, slot["type"])
        ours = node.type.startswith("AVGen")
        written = {
            "id": number,
            "type": node.type,
            "flags": {},
            "mode": 0,
            "inputs": slots,
            "outputs": [
                {"name": name, "type": kind, "links": []}
                for name, kind in zip(info["output_name"], info["output"], strict=True)
            ],
            "properties": {
                "Node name for S&R": node.type,
                "cnr_id": "avgen" if ours else "comfy-core",
                "ver": pack_version() if ours else environment.COMFYUI_VERSION,
            },
            "widgets_values": list(widget_values(node, specs)),
        }
        return {**written, "title": node.title} if node.title else written

    def _slot(self, spec: InputSpec) -> dict[str, Any]:
        slot: dict[str, Any] = {"name": spec.name, "type": spec.type, "link": None}
        if spec.is_optional:
            slot["shape"] = OPTIONAL_SHAPE
        if spec.is_widget:
            slot["widget"] = {"name": spec.name}
        return slot

    def _link(self, link: From, target: int, slot: int, kind: str) -> int:
        source = next(node for node in self.nodes if node["id"] == self.ids[link.node])
        index = output_index(self.infos[source["type"]], link)
        number = len(self.links) + 1
        source["outputs"][index]["links"].append(number)
        self.links.append([number, source["id"], index, target, slot, kind])
        return number


def widget_values(node: Node, specs: list[InputSpec]) -> Iterator[Any]:
    for spec in specs:
        if spec.is_widget:
            yield value_of(node, spec)
            if spec.options.get("control_after_generate"):
                yield "fixed"


def note(item: Note, number: int) -> dict[str, Any]:
    node = {"id": number, "type": "MarkdownNote", "flags": {}, "mode": 0, "inputs": [], "outputs": []}
    return {
        **node,
        "properties": {},
        "widgets_values": [item.text],
        "title": "Read me",
        "color": "#232",
        "bgcolor": "#353",
    }


def needed_height(info: NodeInfo) -> int:
    """What the page would give the node."""
    specs = list(input_specs(info))
    rows = max(sum(not spec.is_widget for spec in specs), len(info["output"]))
    widgets = sum(
        (TEXT_AREA if spec.options.get("multiline") else WIDGET)
        + (WIDGET if spec.options.get("control_after_generate") else 0)
        for spec in specs
        if spec.is_widget
    )
    return rows * SLOT + widgets + PADDING


def pack_version() -> str:
    return tomllib.loads((environment.ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


# ---- files --------------------------------------------------------------------------------------


def built(infos: dict[str, NodeInfo]) -> dict[Path, str]:
    """What the files below `workflows/` should hold."""
    files = {}
    for template in TEMPLATES:
        files[WORKFLOWS / "api" / f"{template.name}.json"] = as_text(api_workflow(template, infos))
        if template.on_page:
            files[WORKFLOWS / f"{template.name}.json"] = as_text(ui_workflow(template, infos))
    return files


def as_text(workflow: dict[str, Any]) -> str:
    return json.dumps(workflow, indent=1, ensure_ascii=False) + "\n"


def on_embedded(workflow: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same API workflow with the embedded model's loader in place of AR-Diffusion's."""
    loaders = {node for node, about in workflow.items() if about["class_type"] == "AVGenLoadARDiffusion"}
    switched = {node: {"class_type": "AVGenLoadEmbedded", "inputs": {}} for node in loaders}

    def relinked(value: Any) -> Any:
        to_vae = isinstance(value, list) and value[0] in loaders and value[1] == 1
        return [value[0], 2] if to_vae else value

    for node in workflow.keys() - loaders:
        about = workflow[node]
        switched[node] = {**about, "inputs": {name: relinked(value) for name, value in about["inputs"].items()}}
    return {node: switched[node] for node in workflow}


def make_thumbnail(template: Template, server: ComfyServer) -> None:
    from demo import frames_of
    from PIL import Image

    workflow = json.loads((WORKFLOWS / "api" / f"{template.name}.json").read_text("utf-8"))
    run = server.run(on_embedded(workflow), timeout=3600)
    if not run.ok:
        raise SystemExit(f"{template.name} did not run: {run.explanation}")
    video = server.path_of(next(file for file in run.files if file.filename.endswith(".mp4")))
    shutil.copyfile(video, server.base / "input" / EARLIER)  # what later templates continue
    frames = list(frames_of(video))
    frames[0].save(server.base / "input" / STILL)
    side = THUMBNAIL_SIDE
    strip = Image.new("RGB", (side * THUMBNAIL_FRAMES, side))
    for index in range(THUMBNAIL_FRAMES):
        frame = frames[index * (len(frames) - 1) // (THUMBNAIL_FRAMES - 1)]
        strip.paste(frame.resize((side, side), Image.Resampling.LANCZOS), (side * index, 0))
    strip.save(WORKFLOWS / f"{template.name}.jpg", quality=85)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shown = [template for template in TEMPLATES if template.on_page]
    parser.add_argument("--thumbnails", nargs="*", metavar="NAME", choices=[template.name for template in shown],
                        help="run these templates, or all, and keep frames of their videos")  # fmt: skip
    options = parser.parse_args()
    where = environment.enter("run")
    from comfy_server import ComfyServer

    with ComfyServer(where.comfyui, where.python, arguments=environment.server_arguments()) as server:
        for path, text in built(server.get("/object_info")).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            print(path.relative_to(environment.ROOT))
        for template in shown if options.thumbnails is not None else ():
            if not options.thumbnails or template.name in options.thumbnails:
                make_thumbnail(template, server)
                print(f"workflows/{template.name}.jpg", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
