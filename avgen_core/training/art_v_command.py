"""The ART-V steps of `python -m avgen_core train`: image-model, then art-v."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from ..checkpoints.files import encoder_digest, load_into, read_weights, save_weights, tuples
from ..networks.image_unet import ImageUNetConfig
from ..networks.reference_adapter import ReferenceAdapter, ReferenceAdapterConfig
from ..networks.reference_unet import ReferenceUNet, cross_attentions
from ..networks.text_encoder import TextEncoder, TextEncoderConfig
from ..systems.embedded import AUTOENCODER, TEXT_ENCODER
from ..systems.embedded_art_v import ART_V, IMAGE_UNET, PREDICTION, alphas_cumprod
from .art_v import IMAGES_ALONE, ArtVTrainer, Learned, ReferenceRecipe, set_learned, train_art_v
from .latents import LatentClips
from .loop import Training, TrainSpec

ANCHOR_SIZES = {"anchor_width": 128, "anchor_side": 4}  # of the embedded model, whose latents are 8 x 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only these steps use."""
    group = parser.add_argument_group("ART-V")
    group.add_argument("--references", type=int, default=2, help="art-v: previous frames that are seen (default: 2)")
    group.add_argument("--learned", choices=[choice.value for choice in Learned], default=Learned.NOTHING.value,
                       help="art-v: what of the image model learns with the adapter (default: nothing)")  # fmt: skip
    group.add_argument("--reference-noise", type=float, default=ReferenceRecipe.noise,
                       help="art-v: the most noise that references carry (default: %(default)s)")  # fmt: skip


def train_image_model(options: argparse.Namespace) -> None:
    """`image-model`: the UNet, on single frames."""
    torch.manual_seed(options.seed)
    about_images, _ = read_weights(options.models / AUTOENCODER, "image_autoencoder")
    about_text, _ = read_weights(options.models / TEXT_ENCODER, "text_encoder")
    config = ImageUNetConfig(about_images["config"]["latent_channels"], text_dim=about_text["config"]["dim"])
    model = _network(options, config, _unet_weights(options) if options.from_weights else None)
    set_learned(model, Learned.ALL, adapter=False)
    spec = _spec(options, steps=40_000, batch=128, learning_rate=5e-4)

    def export(training: Training) -> None:
        save_weights(
            options.export / IMAGE_UNET,
            "image_unet",
            config,
            training.average.unet.state_dict(),
            steps=training.step,
            encoder=_encoder(options),
        )

    train_art_v(spec, _clips(options), model, _trainer(options), IMAGES_ALONE, on_save=export)


def train_adapter(options: argparse.Namespace) -> None:
    """`art-v`: the adapter on the image model, on clips."""
    torch.manual_seed(options.seed)
    about, weights = read_weights(options.models / IMAGE_UNET, "image_unet")
    config = ImageUNetConfig(**{name: tuples(value) for name, value in about["config"].items()})
    model = _network(options, config, weights)
    learned = Learned(options.learned)
    set_learned(model, learned)
    spec = _spec(options, steps=20_000, batch=64, learning_rate=5e-4)

    def export(training: Training) -> None:
        average, notes = training.average, {"steps": training.step, "encoder": _encoder(options)}
        save_weights(
            options.export / ART_V, "reference_adapter", average.adapter.config, average.adapter.state_dict(), **notes
        )
        if learned is not Learned.NOTHING:
            save_weights(options.export / IMAGE_UNET, "image_unet", config, average.unet.state_dict(), **notes)

    recipe = ReferenceRecipe(noise=options.reference_noise)
    train_art_v(spec, _clips(options), model, _trainer(options), recipe, on_save=export)


def _spec(options: argparse.Namespace, steps: int, batch: int, learning_rate: float) -> TrainSpec:
    return TrainSpec(
        out=options.out,
        steps=options.steps or steps,
        batch=options.batch or batch,
        learning_rate=options.learning_rate or learning_rate,
        ema_decay=0.999,
        accumulate=options.accumulate or 1,
        precision=options.precision,
        workers=options.workers,
        seed=options.seed,
        device=options.device,
    )


def _encoder(options: argparse.Namespace) -> str:
    return encoder_digest(read_weights(options.models / AUTOENCODER, "image_autoencoder")[1])


def _clips(options: argparse.Namespace) -> LatentClips:
    return LatentClips(options.data, _encoder(options))


def _unet_weights(options: argparse.Namespace) -> dict[str, Tensor]:
    return read_weights(options.models / IMAGE_UNET, "image_unet")[1]


def _network(options: argparse.Namespace, config: ImageUNetConfig, weights: dict[str, Tensor] | None) -> ReferenceUNet:
    unet = config.build()
    if weights is not None:
        load_into(unet, weights, IMAGE_UNET)
    widths = tuple(attention.inner_dim for attention in cross_attentions(unet))
    sizes = ReferenceAdapterConfig(
        config.latent_channels, config.widths, widths, references=options.references, **ANCHOR_SIZES
    )
    return ReferenceUNet(unet, ReferenceAdapter(sizes))


def _trainer(options: argparse.Namespace) -> ArtVTrainer:
    """With the embedded model's text encoder, which stays as it is."""
    about, weights = read_weights(options.models / TEXT_ENCODER, "text_encoder")
    config = TextEncoderConfig(**{name: tuples(value) for name, value in about["config"].items()})
    text_encoder = load_into(TextEncoder(config), weights, TEXT_ENCODER).to(options.device)
    return ArtVTrainer(alphas_cumprod().float(), PREDICTION, _texts_with(text_encoder, options.device))


def _texts_with(text_encoder: TextEncoder, device: str) -> Callable[[list[str]], Tensor]:
    @torch.no_grad()
    def encode(prompts: list[str]) -> Tensor:
        return text_encoder(text_encoder.tokenize(prompts).to(device))

    return encode


STEPS = {"image-model": train_image_model, "art-v": train_adapter}
