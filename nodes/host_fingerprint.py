"""Names what a MODEL and a CLIP of ComfyUI do: their weights, and the patches that other nodes have put on them."""

from __future__ import annotations

import dis
import functools
import hashlib
import logging
from collections.abc import Iterator
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import comfy.model_base
import numpy as np
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

SAMPLE = 32  # numbers of every tensor
USED = ("transformer_options", "model_function_wrapper")  # of a MODEL's options; ART-V has guidance of its own
NAMED_ONLY = (type, ModuleType, logging.Logger, ModelPatcher, comfy.model_base.BaseModel, UNetModel)


def fingerprint(model: ModelPatcher, clip: Any) -> str:
    """A digest of weights, LoRAs, noise schedule, and patches with the values that they hold.

    It stays the same while LoRAs are applied and while they are not, and when patches have done their work.
    """
    sampling = model.get_model_object("model_sampling")
    content = [sampling.sigmas.tolist(), [kind.__qualname__ for kind in type(sampling).__mro__], model.object_patches]
    for patcher in filter(None, (model, getattr(clip, "patcher", None))):
        for name, (weight, *patches) in sorted(patcher.get_key_patches().items()):
            content.append((name, weight[0] if isinstance(weight, tuple) else weight, patches))
    content += [[model.model_options.get(name) for name in USED], getattr(clip, "layer_idx", None)]
    first = _Reader()
    for _ in first.parts(content):
        pass
    digest = hashlib.sha256()
    for part in _Reader(first.assigned).parts(content):
        digest.update(part + b"\0")
    return digest.hexdigest()[:12]


class _Reader:
    """Reads nested content as bytes: a sample of its tensors, its plain values, and the names of all else."""

    def __init__(self, changing: frozenset[int] | set[int] = frozenset()) -> None:
        """`changing`: ids of cells whose content is not read, because functions assign to it while they work."""
        self.changing, self.assigned = changing, set[int]()
        self._seen: dict[int, tuple[int, Any]] = {}  # with the content itself, so that no id is given away anew

    def parts(self, content: Any) -> Iterator[bytes]:
        if isinstance(content, Tensor):
            yield content.detach().flatten()[:SAMPLE].float().cpu().numpy().tobytes()
        elif isinstance(content, np.ndarray | np.generic):
            yield np.ravel(content)[:SAMPLE].tobytes()
        elif content is None or isinstance(content, str | bytes | int | float | torch.dtype | torch.device):
            yield repr(content).encode()
        elif id(content) in self._seen:
            yield f"again {self._seen[id(content)][0]}".encode()
        else:
            self._seen[id(content)] = len(self._seen), content
            yield getattr(content, "__qualname__", type(content).__qualname__).encode()
            for part in self._inside(content):
                yield from self.parts(part)

    def _inside(self, content: Any) -> Iterator[Any]:
        if isinstance(content, NAMED_ONLY):
            return
        if isinstance(content, dict):
            yield from content.items()
        elif isinstance(content, list | tuple):
            yield from content
        elif isinstance(content, nn.Module):
            yield from content.state_dict().items()
        elif isinstance(content, functools.partial):
            yield from (content.func, content.args, content.keywords)
        elif isinstance(content, MethodType):
            yield from (content.__func__, content.__self__)
        elif isinstance(content, FunctionType):
            yield content.__defaults__
            yield from self._closure(content)
        else:
            yield from getattr(content, "__dict__", {}).items()

    def _closure(self, function: FunctionType) -> Iterator[Any]:
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        stores = {step.argval for step in dis.get_instructions(function) if step.opname == "STORE_DEREF"}
        self.assigned |= {id(cell) for name, cell in cells.items() if name in stores}
        yield from (_held(cell) for cell in cells.values() if id(cell) not in self.changing)


def _held(cell: CellType) -> Any:
    """What a closure's cell holds; nothing where it is not filled yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None
