"""Weight files of others: which file of a folder is meant, what it holds, and what it is if it is the wrong one.

Names and shapes are read first, so that a wrong file is refused before any weight is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from .files import KEY, CheckpointError

SAFE_ENDINGS = (".safetensors", ".sft")
TORCH_ENDINGS = (".bin", ".pt", ".pth", ".ckpt")
# Names that accelerate's `save_state` gives to what is not weights.
TRAINING_STATE = re.compile(r"^(optimizer|scheduler|scaler|sampler|dl_state|random_states|custom_checkpoint)")
WRAPPER = "module."  # left by distributed training around every name

# What a foreign file may be, by a pattern that one of its names matches; the first that matches counts.
FAMILIES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (family, re.compile(pattern))
    for family, pattern in (
        ("the optimizer state of a training run", r"^(param_groups|state)(\.|$)|exp_avg"),
        ("a LoRA", r"lora_(up|down|a|b)|lora_[AB]\b"),
        ("an AR-Diffusion generator", r"^diffusion_model\.model\."),
        ("a vector-quantised TiTok tokenizer", r"^(pixel_)?quantize\.embedding"),
        ("an AR-Diffusion autoencoder", r"^(vae\.)?(latent_tokens$|(en|de)coder\.transformer\.)"),
        ("an AR-Diffusion network without the rest of its checkpoint", r"^(model\.)?c_embedder\.weight$"),
        ("a Wan video model", r"blocks\.0\.self_attn\.(q|norm_q)\."),
        ("a Flux or HunyuanVideo model", r"double_blocks\.0\."),
        ("a Stable Diffusion 3 model", r"joint_blocks\.0\."),
        ("an AnimateDiff motion module", r"motion_modules\."),
        ("a ControlNet", r"^control_model\.|^controlnet_|zero_convs\."),
        ("a Stable Diffusion XL checkpoint", r"^conditioner\.embedders\."),
        ("a Stable Diffusion 1 or 2 checkpoint", r"^cond_stage_model\."),
        ("a Stable Diffusion UNet", r"input_blocks\.0\.|^down_blocks\.\d+\.(resnets|attentions)"),
        ("a Stable Diffusion autoencoder", r"^(first_stage_model\.)?(en|de)coder\.(conv_in|down|up|mid)"),
        ("an LTX or other diffusers video transformer", r"transformer_blocks\.0\."),
        ("a text encoder", r"text_model\.encoder|\.SelfAttention\.|^shared\.weight$|embed_tokens\.weight$"),
        ("an image discriminator", r"^main\.0\.weight$"),
    )
)


@dataclass(frozen=True)
class WeightFile:
    """An open question about a file: its names without wrapper, their shapes, our own header, and a way to read on."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    description: dict[str, Any]  # of the header that AVGen writes; empty in files of others
    _read: Callable[[Iterable[str]], dict[str, Tensor]]

    def tensors(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The tensors of `names`."""
        return self._read(names)

    def holds(self) -> str:
        """What is in the file, for errors."""
        if not self.shapes:
            return "it holds no tensors"
        if network := self.description.get("network"):
            return f"it holds AVGen's own network {network!r}"
        names = ", ".join(list(self.shapes)[:3])
        family = family_of(self.shapes)
        return f"it holds {len(self.shapes)} tensors ({names}, ...)" + (f" and looks like {family}" if family else "")


def family_of(names: Iterable[str]) -> str | None:
    """The known kind of file that has such names."""
    names = list(names)
    return next((family for family, pattern in FAMILIES if any(map(pattern.search, names))), None)


def open_weights(path: Path, fits: Callable[[Iterable[str]], bool], wanted: str) -> WeightFile:
    """The file at `path`, or the one in the folder `path` whose names `fits`.

    Args:
        wanted: what is looked for, for errors.

    Raises:
        CheckpointError: there is no such file, it is damaged, or the folder leaves open which one is meant.
    """
    if path.is_file():
        return _open_file(path)
    if not path.is_dir():
        raise CheckpointError(f"{path} does not exist")
    candidates = _candidates(path)
    if not candidates:
        raise _empty_folder(path, wanted)
    files = [_open_file(candidate) for candidate in candidates]
    fitting = [file for file in files if fits(file.shapes)]
    if len(fitting) == 1 or len(files) == 1:
        return (fitting or files)[0]
    if fitting:
        names = ", ".join(file.path.relative_to(path).as_posix() for file in fitting)
        raise CheckpointError(f"folder {path.name} has several files with {wanted}: choose one of {names}")
    contents = "; ".join(f"{file.path.relative_to(path).as_posix()}: {file.holds()}" for file in files)
    raise CheckpointError(f"none of the files in {path.name} is {wanted} ({contents}). Nothing was loaded")


def _candidates(folder: Path) -> list[Path]:
    """Weight files of a folder, or of the checkpoints in it; safetensors before the older formats."""
    for pattern in ("*", "checkpoint-*/*"):
        files = [p for p in sorted(folder.glob(pattern)) if p.is_file() and not TRAINING_STATE.match(p.name)]
        for endings in (SAFE_ENDINGS, TORCH_ENDINGS):
            if found := [p for p in files if p.suffix.lower() in endings]:
                return found
    return []


def _empty_folder(folder: Path, wanted: str) -> CheckpointError:
    names = sorted(p.name for p in folder.iterdir())
    if any(TRAINING_STATE.match(name) for name in names):
        found = f"only training state ({', '.join(names[:3])}), no weights"
    else:
        found = f"no weight file ({', '.join(names[:3]) or 'it is empty'})"
    return CheckpointError(
        f"folder {folder.name} has {found}: choose the checkpoint folder that has a model.safetensors with {wanted}"
    )


def _open_file(path: Path) -> WeightFile:
    ending = path.suffix.lower()
    if ending in SAFE_ENDINGS:
        return _open_safetensors(path)
    if TRAINING_STATE.match(path.name):
        raise CheckpointError(f"{path.name} holds training state, no weights: choose the model.safetensors beside it")
    if ending in TORCH_ENDINGS:
        raise CheckpointError(f"{path.name} has an older format that is not read here: convert it to .safetensors")
    raise CheckpointError(f"{path.name} is no weight file: .safetensors is expected, not {ending or 'no ending'!r}")


def _open_safetensors(path: Path) -> WeightFile:
    stored: dict[str, str] = {}

    def read(names: Iterable[str]) -> dict[str, Tensor]:
        with _readable(path), safe_open(path, "pt") as file:
            return {name: file.get_tensor(stored[name]) for name in names}

    with _readable(path), safe_open(path, "pt") as file:
        header = (file.metadata() or {}).get(KEY, "{}")
        stored.update(_unwrapped(file.keys()))
        shapes = {name: tuple(file.get_slice(key).get_shape()) for name, key in stored.items()}
    return WeightFile(path, shapes, _description(path, header), read)


def _unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Names without the wrapper's prefix, and as they are in the file."""
    return {name.removeprefix(WRAPPER): name for name in names}


def _description(path: Path, header: str) -> dict[str, Any]:
    try:
        description = json.loads(header)
    except json.JSONDecodeError:
        description = None
    if not isinstance(description, dict):
        raise CheckpointError(f"{path.name} is damaged: its header's {KEY!r} entry is no JSON object")
    return description


class _readable:
    """Turns the errors of a damaged safetensors file into ours."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, SafetensorError | OSError):
            raise CheckpointError(
                f"{self.path.name} is not a safetensors file or is truncated ({error}): copy or download it again"
            ) from error
