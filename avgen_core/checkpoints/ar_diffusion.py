"""AR-Diffusion checkpoints: the official ones (accelerate's `model.safetensors`) and ours, which have the same names.

Ours add a header that says every dimension, so that sizes other than the released ones need no guessing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..networks.ar_diffusion_dit import ARDiffusionDiT, ARDiffusionDiTConfig, sin_cos_table
from ..networks.ar_vae import ARVAE, ARVAEConfig
from . import ar_diffusion_layout as layout
from .files import KEY, CheckpointError, fingerprint
from .tensor_files import WeightFile, open_weights

GENERATOR, AUTOENCODER = "ar_diffusion", "ar_vae"  # `network` of our header
A_GENERATOR = "an AR-Diffusion generator"  # in errors
POSITIONS = "pos_embed"

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Generator:
    """A denoiser with its learned contexts.

    Without `class_conditional` there is one context, of the whole data set, and its unconditional counterpart is zero;
    with it there is one for each class, and context 0 is the unconditional one (official `base.py`, `sample`).
    """

    network: ARDiffusionDiT
    conditions: Tensor  # (K, N, D) float32
    class_conditional: bool
    digest: str
    notes: dict[str, Any] = field(default_factory=dict)  # further entries of our own header


def read_generator(path: Path, operations=nn, *, dtype: torch.dtype | None = torch.float32) -> Generator:
    """The generator in a file or checkpoint folder; `dtype` None keeps that of the stored weights.

    Raises:
        CheckpointError: no such file, damaged, foreign, incomplete, or trained with another noise schedule.
    """
    return generator_from(open_weights(Path(path), layout.has_generator, A_GENERATOR), operations, dtype)


def generator_from(file: WeightFile, operations=nn, dtype: torch.dtype | None = torch.float32) -> Generator:
    """The generator in a file that is open; errors as `read_generator`."""
    wanted = A_GENERATOR
    if not layout.has_generator(file.shapes):
        raise _not_wanted(file, wanted, layout.NETWORK + "x_embedder.weight", layout.has_autoencoder(file.shapes))
    try:
        config = _config(file, GENERATOR, ARDiffusionDiTConfig) or layout.dit_config(file.shapes)
        network = _empty(ARDiffusionDiT, config, operations)
        shapes = layout.network_shapes(file.shapes)
        made = _made_positions(config, shapes)
        contexts = layout.context_name(file.shapes)
        _check_fit(network, {**shapes, **{name: tuple(t.shape) for name, t in made.items()}}, file)
        _check_contexts(config, file.shapes[contexts], contexts)
        layout.check_schedule(_part(file, layout.BUFFERS, layout.SCHEDULE_CHECKED))
    except CheckpointError as error:
        raise _unusable(file, wanted, error) from error
    _fill(network, made | _part(file, layout.NETWORK, shapes), dtype)
    conditions = file.tensors([contexts])[contexts].float()
    return Generator(
        network,
        conditions=conditions.reshape(-1, *conditions.shape[-2:]),
        class_conditional=contexts == layout.CLASS_CONTEXTS,
        digest=fingerprint(file.path),
        notes={k: v for k, v in file.description.items() if k not in ("network", "config", AUTOENCODER)},
    )


def read_autoencoder(path: Path, operations=nn, *, dtype: torch.dtype | None = torch.float32) -> ARVAE:
    """The autoencoder in a file or checkpoint folder, alone or beside its generator; `dtype` as in `read_generator`.

    Raises:
        CheckpointError: no such file, damaged, foreign or incomplete.
    """
    wanted = "an AR-Diffusion autoencoder"
    file = open_weights(Path(path), layout.has_autoencoder, wanted)
    if not layout.has_autoencoder(file.shapes):
        raise _not_wanted(file, wanted, "encoder.patch_embed.weight", layout.has_generator(file.shapes))
    prefix = layout.autoencoder_prefix(file.shapes)
    shapes = {n.removeprefix(prefix): shape for n, shape in file.shapes.items() if n.startswith(prefix)}
    try:
        config = _config(file, AUTOENCODER, ARVAEConfig) or layout.vae_config(shapes)
        network = _empty(ARVAE, config, operations)
        _check_fit(network, shapes)
    except CheckpointError as error:
        raise _unusable(file, wanted, error) from error
    return _fill(network, _part(file, prefix, shapes), dtype)


def save_generator(
    path: Path,
    network: ARDiffusionDiT,
    conditions: Tensor,
    *,
    class_conditional: bool,
    autoencoder: ARVAE | None = None,
    dtype: torch.dtype = torch.float16,
    **notes: Any,
) -> None:
    """Write a checkpoint that both `read_generator` and the official code read.

    Args:
        conditions: (K, N, D), one where not `class_conditional`.
        autoencoder: stored with it, as official checkpoints may.
        dtype: of the weights; the noise schedule and the position table stay float32.
        notes: further entries of the header.

    Raises:
        ValueError: several conditions without classes.
    """
    if not class_conditional and len(conditions) != 1:
        raise ValueError(f"a generator without classes has one condition, not {len(conditions)}")
    contexts = {layout.CLASS_CONTEXTS: conditions} if class_conditional else {layout.DATASET_CONTEXT: conditions[0]}
    state = dict(network.state_dict())
    tables = {layout.NETWORK + POSITIONS: state.pop(POSITIONS)} if POSITIONS in state else {}
    tables |= {layout.BUFFERS + name: buffer for name, buffer in layout.schedule_buffers().items()}
    weights = contexts | _prefixed(layout.NETWORK, state)
    header = {"network": GENERATOR, "config": asdict(network.config), **notes}
    if autoencoder is not None:
        weights |= _prefixed(layout.AUTOENCODER, autoencoder.state_dict())
        header[AUTOENCODER] = asdict(autoencoder.config)
    _write(path, header, weights, tables, dtype)


def save_autoencoder(path: Path, autoencoder: ARVAE, *, dtype: torch.dtype = torch.float16, **notes: Any) -> None:
    """Write a checkpoint that both `read_autoencoder` and the official code read."""
    header = {"network": AUTOENCODER, "config": asdict(autoencoder.config), **notes}
    _write(path, header, autoencoder.state_dict(), {}, dtype)


def _config(file: WeightFile, network: str, kind: type[layout.Config]) -> layout.Config | None:
    """The config in our own header: of the file's network, or of the autoencoder beside it."""
    description = file.description
    values = description.get("config") if description.get("network") == network else description.get(network)
    return layout.checked_config(kind, values) if isinstance(values, dict) else None


def _empty(kind: type[Network], config: layout.Config, operations) -> Network:
    """A network without memory, to be filled by assignment: the released sizes take seconds to draw."""
    try:
        with torch.device("meta"):
            return kind(config, operations)
    except (TypeError, RuntimeError) as error:
        raise CheckpointError(f"its dimensions do not fit together: {error}") from error


def _made_positions(config: ARDiffusionDiTConfig, shapes: layout.Shapes) -> dict[str, Tensor]:
    """The position table where the file leaves it out."""
    if config.rotary or POSITIONS in shapes:
        return {}
    return {POSITIONS: sin_cos_table(config.frames * config.tokens_per_frame, config.hidden_size)}


def _check_fit(network: nn.Module, shapes: layout.Shapes, file: WeightFile | None = None) -> None:
    foreign = [] if file is None else layout.foreign_names(file.shapes)
    if problems := layout.misfits(network, {**shapes, **dict.fromkeys(foreign, ())}):
        raise CheckpointError("names do not fit: " + "; ".join(problems))


def _check_contexts(config: ARDiffusionDiTConfig, shape: tuple[int, ...], name: str) -> None:
    expected = (config.context_tokens, config.context_dim)
    if shape[-2:] != expected:
        raise CheckpointError(f"{name} has shape {shape}, which should end in {expected}")


def _part(file: WeightFile, prefix: str, names: Iterable[str]) -> dict[str, Tensor]:
    """Those of `names` that the file has behind `prefix`."""
    found = file.tensors([prefix + name for name in names if prefix + name in file.shapes])
    return {name.removeprefix(prefix): tensor for name, tensor in found.items()}


def _fill(network: Network, tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> Network:
    network.load_state_dict({name: tensor.to(dtype or tensor.dtype) for name, tensor in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)


def _not_wanted(file: WeightFile, wanted: str, example: str, is_counterpart: bool) -> CheckpointError:
    advice = f"Names such as {example} are expected, as in the model.safetensors of an official checkpoint folder"
    if is_counterpart:
        advice = "AR-Diffusion's generator and autoencoder come in separate files: choose the other one here"
    return CheckpointError(f"{file.path.name} is not {wanted}: {file.holds()}. {advice}. Nothing was loaded")


def _unusable(file: WeightFile, wanted: str, error: CheckpointError) -> CheckpointError:
    return CheckpointError(f"{file.path.name} looks like {wanted} but cannot be used: {error}. Nothing was loaded")


def _prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def _write(
    path: Path, header: dict[str, Any], weights: Mapping[str, Tensor], tables: Mapping[str, Tensor], dtype: torch.dtype
) -> None:
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in weights.items()}
    tensors |= {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in tables.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    save_file(tensors, partial, {KEY: json.dumps(header)})
    partial.replace(path)
