"""Names what a MODEL and a CLIP of ComfyUI do: their weights, and whatever other nodes have put on them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

SAMPLE = 32  # numbers of every tensor
USED = ("transformer_options", "model_function_wrapper")  # of a MODEL's options; ART-V has guidance of its own


def fingerprint(model: ModelPatcher, clip: Any) -> str:
    """A digest of weights, LoRAs, noise schedule, and patches with the values that they hold.

    Taken from the weights before any patch, so that it is the same while LoRAs are applied and while they are not.
    """
    sampling = model.get_model_object("model_sampling")
    content = [sampling.sigmas, [kind.__qualname__ for kind in type(sampling).__mro__]]
    for patcher in filter(None, (model, getattr(clip, "patcher", None))):
        for name, (weight, *patches) in sorted(patcher.get_key_patches().items()):
            content.append((name, weight[0] if isinstance(weight, tuple) else weight, patches))
    content += [[model.model_options.get(name) for name in USED], getattr(clip, "layer_idx", None)]
    digest = hashlib.sha256()
    for part in _parts(content, {}):
        digest.update(part)
    return digest.hexdigest()[:12]


def _parts(content: Any, seen: dict[int, Any]) -> Iterator[bytes]:
    """A sample of nested tensors, plain values, and the names of all else. `seen` keeps what it names alive."""
    if isinstance(content, Tensor):
        yield content.detach().flatten()[:SAMPLE].float().cpu().numpy().tobytes()
    elif content is None or isinstance(content, str | bytes | int | float | torch.dtype | torch.device):
        yield repr(content).encode()
    elif id(content) not in seen and not isinstance(content, ModelPatcher):
        seen[id(content)] = content
        yield getattr(content, "__qualname__", type(content).__qualname__).encode()
        for part in _inside(content):
            yield from _parts(part, seen)


def _inside(content: Any) -> Iterator[Any]:
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
        yield from (_held(cell) for cell in content.__closure__ or ())
    elif not isinstance(content, type):
        yield from getattr(content, "__dict__", {}).items()


def _held(cell: CellType) -> Any:
    """What a closure's cell holds; nothing where it is not filled yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None
