"""How AR-Diffusion's official checkpoints are laid out: name prefixes, dimensions from shapes, the noise schedule.

Official files: `src/ardiff/base.py` (the whole), `src/ardiff/modules/diffusion.py` (schedule buffers),
`src/vae/titok_kl*.py` (autoencoder).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..networks.ar_diffusion_dit import ARDiffusionDiTConfig
from ..networks.ar_vae import ARVAEConfig
from .files import CheckpointError, tuples

NETWORK = "diffusion_model.model."
BUFFERS = "diffusion_model."
AUTOENCODER = "vae."
DATASET_CONTEXT, CLASS_CONTEXTS = "context_emb", "class_emb"
ROTARY = "rotary_emb."

RELEASED_HEAD_SIZE = 72  # hidden size 1152 in 16 heads, in all released generators (official configs/*/ardiff)
OFFICIAL_HEADS = 16  # default of the official `DiT_crossattn`
RELEASED_TOKENS = 32  # per frame; `n_token_per_frame` of all official configs
AUTOENCODER_HEAD_SIZE = 64  # in all three sizes of the official `TiTokEncoder`: 512/8, 768/12, 1024/16

# Official `make_beta_schedule("linear")` with the ends that all x0-prediction configs have.
TIMESTEPS, FIRST_BETA, LAST_BETA = 1000, 1e-4, 2e-2
SCHEDULE_CHECKED = ("betas", "alphas_cumprod")

Shapes = Mapping[str, tuple[int, ...]]
Config = TypeVar("Config", ARDiffusionDiTConfig, ARVAEConfig)


def has_generator(names: Iterable[str]) -> bool:
    """Whether there is any of a generator, complete or not."""
    return any(name.startswith(NETWORK) for name in names)


def has_autoencoder(names: Iterable[str]) -> bool:
    """Whether there is any of a continuous autoencoder; TiTok's vector-quantised ones have other parts."""
    names = list(names)
    quantised = any(re.match(r"(vae\.)?(pixel_)?quantize\.", name) for name in names)
    return not quantised and any(re.match(r"(vae\.)?(latent_tokens$|(en|de)coder\.transformer\.)", n) for n in names)


def network_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The denoiser's part without prefix, and without rotary frequencies, which are computed."""
    part = {name.removeprefix(NETWORK): shape for name, shape in shapes.items() if name.startswith(NETWORK)}
    return {name: shape for name, shape in part.items() if ROTARY not in name}


def autoencoder_prefix(names: Iterable[str]) -> str:
    """What stands before the autoencoder's names: nothing where it has a file to itself."""
    return AUTOENCODER if any(name.startswith(AUTOENCODER) for name in names) else ""


def foreign_names(names: Iterable[str]) -> list[str]:
    """Names that have no place in a generator's checkpoint."""
    known = {DATASET_CONTEXT, CLASS_CONTEXTS, BUFFERS + "lvlb_weights", *(BUFFERS + n for n in schedule_buffers())}
    return [name for name in names if not (name in known or name.startswith((NETWORK, AUTOENCODER)))]


def context_name(shapes: Shapes) -> str:
    """The learned contexts' name: of classes, or of the data set as a whole.

    Raises:
        CheckpointError: there are none, or their shape is not (tokens, width), with classes before it.
    """
    for name, dimensions in ((CLASS_CONTEXTS, 3), (DATASET_CONTEXT, 2)):
        if name in shapes:
            if len(shapes[name]) != dimensions:
                raise CheckpointError(f"{name} has shape {shapes[name]}, {dimensions} dimensions are expected")
            return name
    raise CheckpointError(f"there is neither {DATASET_CONTEXT} nor {CLASS_CONTEXTS}: the learned context is missing")


def dit_config(shapes: Shapes) -> ARDiffusionDiTConfig:
    """The denoiser's dimensions from a whole checkpoint's shapes.

    Raises:
        CheckpointError: what decides a dimension is missing, or the dimensions contradict each other.
    """
    part = network_shapes(shapes)
    hidden, channels = _shape(part, "x_embedder.weight", 2)
    out_channels = _shape(part, "final_layer.1.weight", 2)[0]
    if out_channels != channels:
        raise CheckpointError(
            f"the network reads {channels} channels and writes {out_channels}: variants that also predict the variance "
            "(learn_sigma) are not supported"
        )
    rotary, qk_norm = "pos_embed" not in part, "blocks.0.attn.q_norm.weight" in part
    if rotary and not qk_norm and not any(ROTARY in name for name in shapes):
        raise CheckpointError(
            f"{NETWORK}pos_embed is missing, and so is {NETWORK}blocks.0.attn.q_norm.weight, which marks the variant "
            "with rotary positions"
        )
    positions = None if rotary else _shape(part, "pos_embed", 3)[1]
    if positions is not None and positions % RELEASED_TOKENS:
        raise CheckpointError(
            f"pos_embed has {positions} positions, which is no multiple of the {RELEASED_TOKENS} tokens that a frame "
            "of an official checkpoint has; another number must be written in the file's header"
        )
    return checked_config(
        ARDiffusionDiTConfig,
        {
            "hidden_size": hidden,
            "depth": _layers(part, "blocks"),
            "num_heads": _heads(shapes, part, hidden),
            "mlp_ratio": _shape(part, "blocks.0.mlp.fc1.weight", 2)[0] / hidden,
            "in_channels": channels,
            "tokens_per_frame": RELEASED_TOKENS,
            "frames": ARDiffusionDiTConfig.frames if positions is None else positions // RELEASED_TOKENS,
            "context_dim": _shape(part, "c_embedder.weight", 2)[1],
            "context_tokens": shapes[context_name(shapes)][-2],
            "rotary": rotary,
            "qk_norm": qk_norm,
        },
    )


def vae_config(shapes: Shapes) -> ARVAEConfig:
    """The autoencoder's dimensions from the shapes of its names without prefix. Raises CheckpointError."""
    width, _, patch, _ = _shape(shapes, "encoder.patch_embed.weight", 4)
    decoder_width, latent_channels = _shape(shapes, "decoder.decoder_embed.weight", 2)
    patches = _shape(shapes, "encoder.positional_embedding", 2)[0] - 1
    codebook_dim, codebook_size = _shape(shapes, "pixel_quantize_conv.weight", 4)[:2]
    levels = _layers(shapes, "pixel_decoder.up")
    return checked_config(
        ARVAEConfig,
        {
            "encoder_width": width,
            "encoder_layers": _layers(shapes, "encoder.transformer"),
            "encoder_heads": width // AUTOENCODER_HEAD_SIZE,
            "decoder_width": decoder_width,
            "decoder_layers": _layers(shapes, "decoder.transformer"),
            "decoder_heads": decoder_width // AUTOENCODER_HEAD_SIZE,
            "patch_size": patch,
            "image_size": patch * math.isqrt(patches),
            "latent_tokens": _shape(shapes, "latent_tokens", 2)[0],
            "latent_channels": latent_channels,
            "temporal": any("temporal_blocks." in name for name in shapes),
            "codebook_size": codebook_size,
            "codebook_dim": codebook_dim,
            "pixel_channels": [
                _shape(shapes, f"pixel_decoder.up.{i}.block.0.conv2.weight", 4)[0] for i in range(levels)
            ],
            "pixel_blocks": _layers(shapes, "pixel_decoder.up.0.block"),
        },
    )


def checked_config(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A config of `values`, which came from a file. Raises CheckpointError."""
    unknown = set(values) - {field.name for field in fields(kind)}
    if unknown:
        raise CheckpointError(f"the header's config has unknown entries {sorted(unknown)[:3]}: a newer AVGen wrote it")
    try:
        return kind(**{name: tuples(value) for name, value in values.items()})
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(f"its dimensions do not fit together: {error}") from error


def misfits(network: nn.Module, shapes: Shapes) -> list[str]:
    """What `shapes` lacks, has too much or in another shape than `network` needs; empty if they fit."""
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    wrong = [
        f"{name} {shapes[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    groups = {
        "missing": [name for name in expected if name not in shapes],
        "unexpected": [name for name in shapes if name not in expected],
        "of the wrong shape": wrong,
    }
    return [f"{len(names)} {what} ({', '.join(names[:3])})" for what, names in groups.items() if names]


def schedule_buffers() -> dict[str, Tensor]:
    """The noise schedule as a checkpoint stores it, each (1000,) float32, under names without prefix."""
    betas = torch.linspace(FIRST_BETA**0.5, LAST_BETA**0.5, TIMESTEPS, dtype=torch.float64).square()
    signal = (1 - betas).cumprod(0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), signal[:-1]])
    variance = betas * (1 - before) / (1 - signal)
    buffers = {
        "betas": betas,
        "alphas_cumprod": signal,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": signal.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - signal).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - signal).log(),
        "sqrt_recip_alphas_cumprod": signal.rsqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / signal - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - signal),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - signal),
        "logvar": torch.zeros(TIMESTEPS),
    }
    return {name: buffer.float() for name, buffer in buffers.items()}


def check_schedule(buffers: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint that was trained with another noise schedule. Raises CheckpointError.

    Args:
        buffers: those of `SCHEDULE_CHECKED` that the checkpoint has. One percent is allowed, which a conversion to half
            precision stays below and no other official schedule does.
    """
    official = schedule_buffers()
    for name, found in buffers.items():
        found = found.float().flatten()
        if found.shape != (TIMESTEPS,) or not torch.allclose(found, official[name], rtol=0.01, atol=0):
            ends = f"{len(found)} steps, {name} {found[0]:.3g} to {found[-1]:.3g}" if len(found) else "no steps"
            raise CheckpointError(
                f"it was trained with another noise schedule ({ends}) than AR-Diffusion's {TIMESTEPS} steps, "
                f"{name} {official[name][0]:.3g} to {official[name][-1]:.3g}"
            )


def _heads(shapes: Shapes, part: Shapes, hidden: int) -> int:
    if "blocks.0.attn.q_norm.weight" in part:
        return hidden // _shape(part, "blocks.0.attn.q_norm.weight", 1)[0]
    frequencies = next((shape for name, shape in shapes.items() if name.endswith(ROTARY + "freqs")), None)
    if frequencies is not None and len(frequencies) == 1:
        return hidden // (2 * frequencies[0])
    if hidden % RELEASED_HEAD_SIZE == 0:
        return hidden // RELEASED_HEAD_SIZE
    if hidden % OFFICIAL_HEADS == 0:
        return OFFICIAL_HEADS
    raise CheckpointError(
        f"the number of heads of a network {hidden} wide is not known: it is no multiple of the released head size "
        f"{RELEASED_HEAD_SIZE}, nor of {OFFICIAL_HEADS} heads, and the file's header does not say"
    )


def _shape(shapes: Shapes, name: str, dimensions: int) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None:
        raise CheckpointError(f"{name} is missing, the checkpoint is incomplete")
    if len(shape) != dimensions or 0 in shape:
        raise CheckpointError(f"{name} has shape {shape}, {dimensions} dimensions are expected")
    return shape


def _layers(shapes: Shapes, prefix: str) -> int:
    """How many numbered children `prefix` has; one that is left out shows later as missing."""
    numbered = (re.match(re.escape(prefix) + r"\.(\d+)\.", name) for name in shapes)
    return max((int(match[1]) + 1 for match in numbered if match), default=0)
