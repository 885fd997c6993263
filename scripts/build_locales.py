"""Write `locales/en` from the nodes' own descriptions; the other languages there are written by hand.

python scripts/build_locales.py
"""

from __future__ import annotations

import re
from typing import Any

from build_workflows import as_text, input_specs

import environment

LOCALES = environment.ROOT / "locales"


def english(infos: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the files of a language hold, by file name; other languages have the same keys."""
    nodes = {}
    for name, info in infos.items():
        outputs = zip(info["output_name"], info["output_tooltips"], strict=True)
        nodes[name] = {
            "display_name": info["display_name"],
            "description": literal(info["description"]),
            "inputs": {spec.name: named(spec.name, spec.options["tooltip"]) for spec in input_specs(info)},
            "outputs": {str(index): named(*output) for index, output in enumerate(outputs)},
        }
    categories = sorted({part for info in infos.values() for part in info["category"].split("/")})
    return {"nodeDefs.json": nodes, "main.json": {"nodeCategories": {part: part for part in categories}}}


def named(name: str, tooltip: str) -> dict[str, str]:
    return {"name": name, "tooltip": literal(tooltip)}


def literal(text: str) -> str:
    """Text as it is, for the page's message format, in which these characters have meanings."""
    return re.sub(r"[{}|@]", lambda match: f"{{'{match[0]}'}}", text)


def main() -> int:
    where = environment.enter("run")
    from comfy_server import ComfyServer

    with ComfyServer(where.comfyui, where.python, arguments=environment.server_arguments()) as server:
        ours = {name: info for name, info in server.get("/object_info").items() if name.startswith("AVGen")}
    folder = LOCALES / "en"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in english(ours).items():
        (folder / name).write_text(as_text(content), "utf-8")
        print(f"locales/en/{name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
