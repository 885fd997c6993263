"""AVGen's own weight files: safetensors whose header says which network they hold and its dimensions.

Weights of layers (`*.weight` of more than one dimension) are kept as 8-bit integers with a scale for each row: half the
size, for 0.01 dB of the embedded autoencoder. Everything else is in half precision.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

Config = TypeVar("Config")
KEY = "avgen"
MATRIX, SCALE = ".weight", ".row_scale"
BLOCK_BYTES = 1 << 24


class CheckpointError(ValueError):
    """A weight file that cannot be used; the message says why and what to do."""


def save_weights(path: Path, network: str, config: Any, state: dict[str, Tensor], **notes: Any) -> None:
    """Write `state`; `config` is the network's config data class, `notes` go into the header."""
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        value = value.detach().cpu().contiguous()
        if name.endswith(MATRIX) and value.ndim > 1:
            tensors[name], tensors[name + SCALE] = rows_to_integers(value)
        else:
            tensors[name] = value.half() if value.is_floating_point() else value
    write_tensors(path, tensors, {KEY: json.dumps({"network": network, "config": asdict(config), **notes})})


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, str] | None = None) -> None:
    """Write a safetensors file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    save_file(tensors, partial, header)
    partial.replace(path)


def read_weights(path: Path, network: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the tensors (float32) of a file that must hold `network`.

    Raises:
        CheckpointError: the file is missing, damaged, foreign, or holds another network.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.name} is missing from {path.parent.name}: install the pack again")
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(
            f"{path.name} is not a safetensors file or is truncated ({error}): copy or download it again"
        ) from error
    if header is None:
        raise CheckpointError(f"{path.name} was not written by AVGen: its header has no '{KEY}' entry")
    description = json.loads(header)
    if description["network"] != network:
        raise CheckpointError(f"{path.name} holds a {description['network']}, a {network} is needed here")
    return description, _whole(tensors)


def rows_to_integers(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (rows, ...) as int8 of the same shape, and what each row has to be multiplied with (rows,), float32."""
    scale = matrix.flatten(1).abs().amax(dim=1).float().clamp(min=torch.finfo(torch.float32).tiny) / 127
    return (matrix / _column(scale, matrix)).round().to(torch.int8), scale


def _column(scale: Tensor, matrix: Tensor) -> Tensor:
    return scale.view(-1, *[1] * (matrix.ndim - 1))


def _whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a file as a network wants them: floats in float32."""
    whole = {}
    for name, value in tensors.items():
        if name + SCALE in tensors:
            whole[name] = value.float() * _column(tensors[name + SCALE], value)
        elif not name.endswith(SCALE):
            whole[name] = value.float() if value.is_floating_point() else value
    return whole


def load_into(module: nn.Module, tensors: dict[str, Tensor], name: str) -> nn.Module:
    """Fill a network, with all names accounted for."""
    missing, unexpected = module.load_state_dict(tensors, strict=False)
    if missing or unexpected:
        raise CheckpointError(f"{name} does not fit its own config: missing {missing[:3]}, unexpected {unexpected[:3]}")
    return module.eval().requires_grad_(False)


def fingerprint(*paths: Path) -> str:
    """Digest of the files' content."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()[:16]


def tuples(value: Any) -> Any:
    """JSON's lists back to the tuples that configs hold."""
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value


def config_from(kind: type[Config], about: dict[str, Any]) -> Config:
    """The network's config in what `read_weights` found in a file's header."""
    return kind(**{name: tuples(value) for name, value in about["config"].items()})


def encoder_digest(autoencoder: dict[str, Tensor]) -> str:
    """Digest of an autoencoder's encoder: what latents, and the models trained on them, depend on.

    The decoder (AR-VAE's has three parts) may be trained further without harm, so it does not count.
    """
    digest = hashlib.sha256()
    for name in sorted(autoencoder):
        if not name.startswith(("decoder.", "pixel_quantize_conv.", "pixel_decoder.")):
            digest.update(autoencoder[name].half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
