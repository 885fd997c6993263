"""ComfyUI's modules and the pack's nodes in this process, for what no server can be asked for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import environment

PACK = "avgen_in_process"


def core_module(name: str) -> ModuleType:
    """The pack's own copy of `avgen_core.<name>`: its classes are not those that tests import."""
    _prepare()
    return importlib.import_module(f"{PACK}.avgen_core.{name}")


def node_module(name: str) -> ModuleType:
    """The pack's `nodes.<name>`, with ComfyUI's modules on the path and its devices set to the CPU."""
    _prepare()
    return importlib.import_module(f"{PACK}.nodes.{name}")


def _prepare() -> None:
    where = environment.locations()
    if not (where.comfyui / "comfy").is_dir():
        raise AssertionError(f"there is no ComfyUI in {where.comfyui}; run `python scripts/test.py`")
    if str(where.comfyui) not in sys.path:
        sys.path.insert(0, str(where.comfyui))
        importlib.import_module("comfy.cli_args").args.cpu = True
        importlib.import_module("utils.extra_config")  # as in main.py, before `comfy`'s own `utils` can take the name
    root = Path(__file__).resolve().parents[2]
    for package, folder in ((PACK, root), (f"{PACK}.nodes", root / "nodes")):
        if package not in sys.modules:
            empty = ModuleType(package)
            empty.__path__ = [str(folder)]
            sys.modules[package] = empty
