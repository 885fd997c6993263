"""The ART-V steps of `python -m avgen_core train`: image-model, then art-v; on a checkpoint art-latents, then art-v."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..checkpoints.files import fingerprint, load_into, read_weights, save_weights
from ..checkpoints.stable_diffusion import StableDiffusion, read_stable_diffusion, write_with_unet
from ..checkpoints.stable_diffusion_text import text_encoder_of
from ..systems.embedded_art_v import ART_V, FPS, IMAGE_UNET, SIZE, alphas_cumprod
from .art_v import IMAGES_ALONE, ArtVTrainer, Learned, ReferenceRecipe, set_learned, train_art_v
from .captioned_videos import CaptionedClips, read_captions
from .embedded_art_v import adapted, embedded_encoder, embedded_network, embedded_trainer, image_model, new_config
from .latents import LatentClips
from .loop import Training, process_state
from .options import cache_of, spec_of
from .stable_diffusion import ImageEncoder, remembered
from .video_latents import LatentVideos, encode_source
from .videos import ClipSpec, VideoFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only these steps use."""
    group = parser.add_argument_group("ART-V")
    group.add_argument("--references", type=int, default=2, help="art-v: previous frames that are seen (default: 2)")
    group.add_argument("--learned", choices=[choice.value for choice in Learned], default=Learned.NOTHING.value,
                       help="art-v: what of the image model learns with the adapter (default: nothing)")  # fmt: skip
    group.add_argument("--checkpoint", type=Path, help="art-latents, art-v: a Stable Diffusion 1.5 or 2.1 file to "
                       "build on, instead of the embedded image model")  # fmt: skip
    group.add_argument("--ema", action="store_true", help="with --checkpoint: its averaged weights")
    group.add_argument("--frame-size", type=int, default=512, help="with --checkpoint: pixels of a frame's sides")
    group.add_argument("--clip-frames", type=int, default=24, help="with --checkpoint: frames of a clip (default: 24)")
    group.add_argument(
        "--tokenizer", type=Path, help="with --checkpoint: folder of CLIP's tokenizer (default: ComfyUI's)"
    )
    group.add_argument("--reference-noise", type=float, default=ReferenceRecipe.noise,
                       help="art-v: the most noise that references carry (default: %(default)s)")  # fmt: skip
    group.add_argument("--text-dropped", type=float, default=ReferenceRecipe.text_dropped,
                       help="art-v: share of frames without their text (default: %(default)s)")  # fmt: skip


def _recipe(options: argparse.Namespace) -> ReferenceRecipe:
    return ReferenceRecipe(noise=options.reference_noise, text_dropped=options.text_dropped)


def train_image_model(options: argparse.Namespace) -> None:
    """`image-model`: the UNet, on single frames."""
    torch.manual_seed(options.seed)
    if options.from_weights:
        unet, config = image_model(options.models)
    else:
        config = new_config(options.models)
        unet = config.build()
    model, encoder = embedded_network(unet, options.references), embedded_encoder(options.models)
    set_learned(model, Learned.ALL, adapter=False)
    spec = spec_of(options, steps=40_000, batch=128, learning_rate=5e-4, ema_decay=0.999)

    def export(training: Training) -> None:
        weights = training.average.unet.state_dict()
        save_weights(options.export / IMAGE_UNET, "image_unet", config, weights, steps=training.step, encoder=encoder)

    train_art_v(spec, LatentClips(options.data, encoder), model, _trainer(options), IMAGES_ALONE, on_save=export)


def encode_videos(options: argparse.Namespace) -> None:
    """`art-latents`: all frames of captioned videos by the checkpoint's autoencoder."""
    encoder = ImageEncoder(_checkpoint(options).vae, options.frame_size)
    encode_source(_videos(options), encoder, cache_of(options), options.device)


def train_adapter(options: argparse.Namespace) -> None:
    """`art-v`: the adapter on the image model, on clips."""
    torch.manual_seed(options.seed)
    (_train_on_checkpoint if options.checkpoint else _train_on_embedded)(options)


def _train_on_checkpoint(options: argparse.Namespace) -> None:
    model = _checkpoint(options)
    videos, encoder = _videos(options), ImageEncoder(model.vae, options.frame_size)
    latents = LatentVideos(videos, encoder, cache_of(options))
    names = [video.name for video in latents.videos]
    captions = read_captions(options.data, names, [videos.fps] * len(names))
    clips = CaptionedClips(latents, captions, ClipSpec(options.clip_frames, options.frame_step, options.stride))
    model.unet.enable_gradient_checkpointing()
    network = adapted(model.unet, options.references)
    learned = Learned(options.learned)
    set_learned(network, learned)
    device = process_state(options.device).device
    encode_texts = remembered(text_encoder_of(model, device, options.tokenizer), device)
    trainer = ArtVTrainer(alphas_cumprod().float(), model.prediction, encode_texts)
    about = {
        "family": model.family.value,
        "prediction": model.prediction.value,
        "checkpoint": options.checkpoint.name,
        "size": options.frame_size,
        "fps": videos.fps / options.frame_step,
        "learned": learned.value,
    }

    def export(training: Training) -> None:
        adapter, notes = training.average.adapter, {"steps": training.step, **about}
        save_weights(options.export / ART_V, "reference_adapter", adapter.config, adapter.state_dict(), **notes)

    def export_both(training: Training) -> None:
        together = options.export / f"{options.checkpoint.stem}_{ART_V}"
        write_with_unet(together, options.checkpoint, training.average.unet)
        about.update(checkpoint=together.name, made_for=fingerprint(together))
        export(training)

    spec = spec_of(options, steps=20_000, batch=16, learning_rate=1e-4, ema_decay=0.999)
    recipe = _recipe(options)
    if learned is Learned.NOTHING:
        train_art_v(spec, clips, network, trainer, recipe, on_save=export)
        return
    training = train_art_v(spec, clips, network, trainer, recipe)
    if training.accelerator.is_main_process:  # gigabytes, so at the end alone
        export_both(training)


def _train_on_embedded(options: argparse.Namespace) -> None:
    unet, config = image_model(options.models)
    model, encoder = embedded_network(unet, options.references), embedded_encoder(options.models)
    if options.from_weights:
        load_into(model.adapter, read_weights(options.models / ART_V, "reference_adapter")[1], ART_V)
    learned = Learned(options.learned)
    set_learned(model, learned)
    spec = spec_of(options, steps=20_000, batch=64, learning_rate=5e-4, ema_decay=0.999)

    def export(training: Training) -> None:
        average, notes = training.average, {"steps": training.step, "encoder": encoder}
        if learned is not Learned.NOTHING:
            save_weights(options.export / IMAGE_UNET, "image_unet", config, average.unet.state_dict(), **notes)
        unet = (options.models if learned is Learned.NOTHING else options.export) / IMAGE_UNET
        clips = {"size": SIZE, "fps": FPS, "made_for": fingerprint(unet)}
        adapter = average.adapter
        save_weights(
            options.export / ART_V, "reference_adapter", adapter.config, adapter.state_dict(), **notes, **clips
        )

    clips = LatentClips(options.data, encoder)
    train_art_v(spec, clips, model, _trainer(options), _recipe(options), on_save=export)


def _trainer(options: argparse.Namespace) -> ArtVTrainer:
    return embedded_trainer(options.models, process_state(options.device).device)


def _checkpoint(options: argparse.Namespace) -> StableDiffusion:
    if options.checkpoint is None:
        raise ValueError("art-latents needs a checkpoint: name a Stable Diffusion 1.5 or 2.1 file with --checkpoint")
    return read_stable_diffusion(options.checkpoint, ema=options.ema)


def _videos(options: argparse.Namespace) -> VideoFolder:
    """The main process makes the index, the others read it."""
    with process_state(options.device).main_process_first():
        return VideoFolder(options.data, options.frame_size, cache_of(options))


STEPS = {"image-model": train_image_model, "art-latents": encode_videos, "art-v": train_adapter}
