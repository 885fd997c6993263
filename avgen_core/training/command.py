"""`python -m avgen_core train STEP`.

The embedded model: corpus, autoencoder, latents, dit, in this order; sheet shows the data. The corpus is rendered, or
made of videos. A student of it that takes few steps: trajectories, few-steps. On the same latents ART-V: image-model,
art-v; and ARLON: arlon-vqvae, arlon-tokens, arlon-injection. AR-Diffusion, from videos or the corpus: ar-vae,
ar-latents, ar-diffusion, ar-vae-temporal after the first.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from ..checkpoints.files import config_from, encoder_digest, load_into, read_weights
from ..diorama import vocabulary
from ..diorama.sheet import write_sheet
from ..networks.causal_dit import CausalDiTConfig
from ..networks.image_autoencoder import ImageAutoencoder, ImageAutoencoderConfig
from ..networks.text_encoder import TextEncoderConfig
from ..systems.embedded import AUTOENCODER, CAUSAL_DIT, FOLDER, TEXT_ENCODER, load_embedded
from . import ar_command, arlon_command, art_v_command
from .autoencoder import train_autoencoder
from .causal_dit import TextToVideo, train_causal_dit
from .corpus import CorpusSpec, render_corpus
from .export import export_autoencoder, export_causal_dit, sample_sheet
from .few_steps import train_few_steps
from .latents import LatentClips, encode_corpus
from .loop import Training, leave_processes
from .optimizers import OptimizerKind
from .options import spec_of
from .precision import PRECISIONS
from .state import saved_states
from .trajectories import Trajectories, TrajectorySpec, record_trajectories
from .video_corpus import VideoCorpus
from .videos import VideoFolder

DIT = CausalDiTConfig(
    dim=256, ffn_dim=704, num_heads=4, num_layers=6, in_dim=16, out_dim=16, text_dim=128, text_len=24, freq_dim=64
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of all steps; each uses what it needs."""
    parser.add_argument(
        "step",
        choices=STEPS,
        help="corpus, autoencoder, latents, dit: in this order; sheet: a picture of the data; "
        "trajectories, few-steps: a student of the dit, in this order; "
        "image-model, art-v: ART-V, after latents, in this order; art-latents, art-v: ART-V on a checkpoint; "
        "arlon-vqvae, arlon-tokens, arlon-injection: ARLON, after latents and dit, in this order; "
        "ar-vae, ar-latents, ar-diffusion: AR-Diffusion, in this order; ar-vae-temporal: after ar-vae",
    )
    parser.add_argument(
        "--data", type=Path, default=Path("runs/corpus"), help="folder of the corpus, or of videos (ar-*, art-latents)"
    )
    parser.add_argument("--out", type=Path, help="folder of state, log and sheets (default: runs/<step>)")
    parser.add_argument("--models", type=Path, default=FOLDER, help="folder of earlier weights (default: models/demo)")
    parser.add_argument("--export", type=Path, help="folder of the weights that are made (default: OUT/models)")
    parser.add_argument("--clips", type=int, default=2400, help="trajectories: clips to record (default: 2400)")
    parser.add_argument("--shards", type=int, default=342, help="corpus: shards of 48 renders (default: 342)")
    parser.add_argument(
        "--videos", type=Path, metavar="FOLDER", help="corpus: of the captioned videos there, not of renders"
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="corpus: processes that render (default: 1); training: threads that draw data "
        "(default: 1, on a CPU 0, where they take time from the network)",
    )
    parser.add_argument("--steps", type=int, help="optimiser steps in all, resumed ones included")
    parser.add_argument("--batch", type=int, help="frames or clips a step")
    parser.add_argument("--accumulate", type=int, help="parts in which a process works through its share of a batch")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of the arithmetic (default: bf16 where the processor computes in it)",
    )
    parser.add_argument("--learning-rate", type=float, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--from-weights", action="store_true", help="start from the weight files, not from nothing")
    parser.add_argument("--decoder-only", action="store_true", help="autoencoder: leave the encoder as it is")
    ar_command.add_arguments(parser)
    art_v_command.add_arguments(parser)
    arlon_command.add_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Carry out one step. A step that was stopped goes on from its saved state."""
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.workers is None:
        options.workers = 0 if options.device == "cpu" else 1
    options.out = options.out or Path("runs") / options.step
    options.export = options.export or options.out / "models"
    if options.from_weights and saved_states(options.out):
        raise ValueError(
            f"{options.out} holds the state of a training that would go on instead of starting from the weights: "
            "name another folder with --out, or leave --from-weights out"
        )
    STEPS[options.step](options)
    leave_processes()


def _autoencoder(folder: Path) -> ImageAutoencoder:
    """The autoencoder of a folder, ready for inference."""
    about, weights = read_weights(folder / AUTOENCODER, "image_autoencoder")
    config = config_from(ImageAutoencoderConfig, about)
    return load_into(ImageAutoencoder(config), weights, AUTOENCODER)


def _corpus(options: argparse.Namespace) -> None:
    if options.videos:
        source = VideoFolder(options.videos, CorpusSpec.size, options.cache or options.videos / ".avgen")
        VideoCorpus(source).write(options.data)
        return
    render_corpus(CorpusSpec(options.data, options.shards, seed=options.seed), max(1, options.workers))


def _sheet(options: argparse.Namespace) -> None:
    path = options.out / "diorama.png"
    write_sheet(path, options.seed)
    print(path)


def _train_autoencoder(options: argparse.Namespace) -> None:
    start = _autoencoder(options.models).requires_grad_(True) if options.from_weights or options.decoder_only else None

    def export(training: Training) -> None:
        export_autoencoder(training.average, options.export, training.step)

    spec = spec_of(options, steps=6000, batch=16, learning_rate=1.5e-3, ema_decay=0.998)
    train_autoencoder(spec, options.data, start, decoder_only=options.decoder_only, on_save=export)


def _latents(options: argparse.Namespace) -> None:
    autoencoder = _autoencoder(options.models)
    encode_corpus(autoencoder, encoder_digest(autoencoder.state_dict()), options.data, options.device)


def _train_dit(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    autoencoder = _autoencoder(options.models)
    encoder = encoder_digest(autoencoder.state_dict())
    autoencoder.to(options.device)
    model = TextToVideo(DIT, TextEncoderConfig(vocabulary()))
    if options.from_weights:
        load_into(model.text_encoder, read_weights(options.models / TEXT_ENCODER, "text_encoder")[1], TEXT_ENCODER)
        load_into(model.dit, read_weights(options.models / CAUSAL_DIT, "causal_dit")[1], CAUSAL_DIT)
        model.requires_grad_(True)

    def export(training: Training) -> None:
        export_causal_dit(training.average, options.export, training.step, encoder)
        sample_sheet(autoencoder, training.average, options.out / "sheet.png")

    clips = LatentClips(options.data, encoder)
    spec = spec_of(options, steps=20_000, batch=24, learning_rate=8e-4, ema_decay=0.998, optimizer=OptimizerKind.MUON)
    train_causal_dit(spec, clips, model, on_save=export)


def _record(options: argparse.Namespace) -> None:
    teacher = load_embedded(options.models)
    spec = TrajectorySpec(options.data, options.clips, teacher.default_plan, teacher.guidance, seed=options.seed)
    record_trajectories(teacher, spec, lambda shard: print(f"trajectories: shard {shard}", flush=True))


def _train_few_steps(options: argparse.Namespace) -> None:
    teacher = load_embedded(options.models)
    model = TextToVideo(teacher.dit.config, teacher.text_encoder.config)
    model.text_encoder, model.dit = teacher.text_encoder, teacher.dit
    model.dit.requires_grad_(True)
    encoder = encoder_digest(teacher.autoencoder.state_dict())
    paths = Trajectories(options.data)
    if paths.teacher != teacher.fingerprint:
        raise ValueError(f"the trajectories in {options.data} are of another model than the one in {options.models}")
    options.export.mkdir(parents=True, exist_ok=True)
    shutil.copy(options.models / AUTOENCODER, options.export)

    def export(training: Training) -> None:
        export_causal_dit(training.average, options.export, training.step, encoder)

    spec = spec_of(options, steps=4000, batch=48, learning_rate=3e-4, ema_decay=0.998)
    train_few_steps(spec, paths, model, teacher.default_plan, on_save=export)


STEPS = {
    "sheet": _sheet,
    "corpus": _corpus,
    "autoencoder": _train_autoencoder,
    "latents": _latents,
    "dit": _train_dit,
    "trajectories": _record,
    "few-steps": _train_few_steps,
    **ar_command.STEPS,
    **art_v_command.STEPS,
    **arlon_command.STEPS,
}
