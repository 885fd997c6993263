"""The AR-Diffusion steps of `python -m avgen_core train`: ar-vae, ar-vae-temporal, ar-latents, ar-diffusion."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.ar_diffusion import read_autoencoder, read_generator, save_autoencoder, save_generator
from ..checkpoints.files import encoder_digest
from ..networks.ar_vae import ARVAE
from ..prompts import Classes
from .ar_diffusion import ARDiffusionOptions, ConditionedGenerator, train_ar_diffusion
from .ar_latents import TokenEncoder, TokenVideos
from .ar_vae import ARVAEOptions, train_ar_vae, with_temporal_layers
from .level_weights import LevelWeighting
from .loop import Training, process_state
from .options import cache_of, spec_of
from .sizes import SIZES, Size
from .timesteps import TimestepSampler
from .video_latents import encode_source
from .videos import ClipSource, ClipSpec, open_source

AR_VAE, AR_VAE_TEMPORAL, AR_DIFFUSION = "ar_vae.safetensors", "ar_vae_temporal.safetensors", "ar_diffusion.safetensors"
UNCONDITIONAL = "no class"  # the name of condition 0
CLIP_FRAMES = 16  # of the temporal stage; official `sky_vae_train_ftwt.sh`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only these steps use."""
    group = parser.add_argument_group("AR-Diffusion")
    group.add_argument("--size", choices=SIZES, default="small", help="of networks and frames (default: small)")
    group.add_argument("--cache", type=Path, help="folder of the videos' index and latents (default: DATA/.avgen)")
    group.add_argument(
        "--autoencoder", type=Path, default=Path("runs/ar-vae/models") / AR_VAE, help="weights that a step builds on"
    )
    group.add_argument("--generator", type=Path, help="ar-diffusion --from-weights: the generator to go on from")
    group.add_argument("--frame-step", type=int, default=1, help="frames from one frame of a clip to the next")
    group.add_argument("--stride", type=int, default=1, help="frames from the start of one clip to the next")
    group.add_argument("--adversarial", action="store_true", help="ar-vae: with a critic of image patches")
    group.add_argument("--sampler", choices=[s.value for s in TimestepSampler], default=TimestepSampler.FOPP.value)
    group.add_argument(
        "--weighting", choices=[w.value for w in LevelWeighting], default=LevelWeighting.RELEASED.value,
        help="ar-diffusion: of the loss over noise levels",
    )  # fmt: skip
    group.add_argument("--image-share", type=float, default=0.0, help="ar-diffusion: rows that are single images")
    group.add_argument("--condition-drop", type=float, default=0.1, help="ar-diffusion: clips without their condition")
    group.add_argument("--unconditional", action="store_true", help="ar-diffusion: ignore the classes of the videos")


def _size(options: argparse.Namespace) -> Size:
    return SIZES[options.size]


def _source(options: argparse.Namespace, size: int) -> ClipSource:
    """The main process makes the index, the others read it."""
    with process_state(options.device).main_process_first():
        return open_source(options.data, size, cache_of(options))


def _started_from(path: Path) -> ARVAE:
    return read_autoencoder(path).requires_grad_(True)


def train_autoencoder(options: argparse.Namespace) -> None:
    """`ar-vae`: single frames."""
    torch.manual_seed(options.seed)
    autoencoder = _started_from(options.autoencoder) if options.from_weights else ARVAE(_size(options).autoencoder)
    training = ARVAEOptions(adversarial=options.adversarial, drafts=not options.from_weights)
    _train_autoencoder(options, _size(options).ar_vae, autoencoder, training, AR_VAE)


def train_temporal(options: argparse.Namespace) -> None:
    """`ar-vae-temporal`: the decoder's temporal layers, on clips."""
    autoencoder = with_temporal_layers(read_autoencoder(options.autoencoder))
    clips = ClipSpec(CLIP_FRAMES, options.frame_step, options.stride)
    _train_autoencoder(options, _size(options).ar_vae_temporal, autoencoder, ARVAEOptions(clips), AR_VAE_TEMPORAL)


def _train_autoencoder(
    options: argparse.Namespace, settings: dict[str, Any], autoencoder: ARVAE, training: ARVAEOptions, name: str
) -> None:
    def export(training: Training) -> None:
        save_autoencoder(options.export / name, training.average.autoencoder, steps=training.step)

    source = _source(options, autoencoder.config.image_size)
    train_ar_vae(spec_of(options, **settings), source, autoencoder, training, on_save=export)


def encode(options: argparse.Namespace) -> None:
    """`ar-latents`: all frames of the data."""
    autoencoder = read_autoencoder(options.autoencoder)
    source = _source(options, autoencoder.config.image_size)
    encode_source(source, TokenEncoder(autoencoder), cache_of(options), options.device)


def train_generator(options: argparse.Namespace) -> None:
    """`ar-diffusion`: the generator, on latents."""
    autoencoder = read_autoencoder(options.autoencoder)
    source = _source(options, autoencoder.config.image_size)
    videos = TokenVideos(source, TokenEncoder(autoencoder), cache_of(options))
    classes = () if options.unconditional else videos.classes
    names = _condition_names(classes)
    torch.manual_seed(options.seed)
    model = _generator(options, names)

    def export(training: Training) -> None:
        average = training.average
        save_generator(
            options.export / AR_DIFFUSION,
            average.dit,
            average.conditions,
            class_conditional=average.class_conditional,
            steps=training.step,
            classes=names,
            fps=source.fps / options.frame_step,
            encoder=encoder_digest(autoencoder.state_dict()),
        )

    training = ARDiffusionOptions(
        clips=ClipSpec(model.dit.config.frames, options.frame_step, options.stride),
        sampler=TimestepSampler(options.sampler),
        weighting=LevelWeighting(options.weighting),
        image_share=options.image_share,
        condition_drop=options.condition_drop,
    )
    train_ar_diffusion(spec_of(options, **_size(options).ar_diffusion), videos, model, training, on_save=export)


def _condition_names(classes: tuple[str, ...]) -> list[str]:
    """The name of every condition, checked as the loader will: ValueError before hours of training."""
    if not classes:
        return []
    names = (UNCONDITIONAL, *classes)
    numbers = tuple(map(str, range(len(names))))
    try:
        return list(Classes(numbers, numbers).renamed(names).names)
    except ValueError as error:
        raise ValueError(f"the folders of the videos cannot name classes: {error}; rename them") from None


def _generator(options: argparse.Namespace, names: list[str]) -> ConditionedGenerator:
    classes = max(0, len(names) - 1)
    if not options.from_weights:
        return ConditionedGenerator(_size(options).generator, classes)
    if options.generator is None:
        raise ValueError("--from-weights needs the weights to go on from: name them with --generator")
    read = read_generator(options.generator)
    model = ConditionedGenerator(read.network.config, classes)
    if model.conditions.shape != read.conditions.shape:
        raise ValueError(
            f"{options.generator.name} has {len(read.conditions)} conditions, and this data has {classes} classes "
            f"({len(model.conditions)} conditions): choose data with as many classes, or train anew"
        )
    known = read.notes.get("classes")
    if known is not None and known != names:
        raise ValueError(f"{options.generator.name} was trained on the classes {known}, and this data has {names}")
    model.dit.load_state_dict(read.network.state_dict())
    model.conditions.data.copy_(read.conditions if known is not None else _from_official(read.conditions))
    return model


def _from_official(conditions: Tensor) -> Tensor:
    """Conditions in our order: official files have class i in row i, and no class in row 0 as well."""
    return torch.cat([conditions[:1], conditions[:-1]])


STEPS = {
    "ar-vae": train_autoencoder,
    "ar-vae-temporal": train_temporal,
    "ar-latents": encode,
    "ar-diffusion": train_generator,
}
