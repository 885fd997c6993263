"""Trainings small enough for tests, and videos for them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from avgen_core.checkpoints.files import encoder_digest, read_weights
from avgen_core.diorama import vocabulary
from avgen_core.networks.ar_diffusion_dit import ARDiffusionDiTConfig
from avgen_core.networks.ar_vae import ARVAE, ARVAEConfig
from avgen_core.networks.causal_dit import CausalDiTConfig
from avgen_core.networks.image_autoencoder import ImageAutoencoder, ImageAutoencoderConfig
from avgen_core.networks.text_encoder import TextEncoderConfig
from avgen_core.systems.embedded import AUTOENCODER
from avgen_core.training.ar_diffusion import ConditionedGenerator
from avgen_core.training.ar_latents import TokenEncoder, TokenVideos
from avgen_core.training.causal_dit import TextToVideo
from avgen_core.training.export import export_autoencoder, export_causal_dit
from avgen_core.training.loop import Training, TrainSpec
from avgen_core.training.video_latents import encode_source
from avgen_core.training.videos import ClipSource

IMAGES = ImageAutoencoderConfig(
    latent_channels=8, encoder_channels=(8, 8, 8), decoder_channels=(8, 8, 8), decoder_blocks=(1, 1, 1)
)
DIT = CausalDiTConfig(
    dim=32, ffn_dim=32, num_heads=2, num_layers=1, in_dim=8, out_dim=8, text_dim=16, text_len=24, freq_dim=16
)
AR_VAE = ARVAEConfig(
    encoder_width=16, encoder_layers=1, encoder_heads=2, decoder_width=16, decoder_layers=1, decoder_heads=2,
    patch_size=8, image_size=32, latent_tokens=4, codebook_size=32, codebook_dim=32, pixel_blocks=1,
    pixel_channels=(32, 32, 32, 32),
)  # fmt: skip
AR_DIT = ARDiffusionDiTConfig(
    hidden_size=16, depth=1, num_heads=2, tokens_per_frame=4, frames=4, context_dim=8, context_tokens=2
)


def spec(out: Path, steps: int, **changes) -> TrainSpec:
    return TrainSpec(
        **{
            "out": out, "steps": steps, "batch": 4, "learning_rate": 1e-3, "warmup": 2, "decay_share": 0.01,
            "log_every": 1, **changes,
        }
    )  # fmt: skip


def text_to_video() -> TextToVideo:
    torch.manual_seed(1)
    return TextToVideo(DIT, TextEncoderConfig(vocabulary(), dim=16, heads=2))


def write_models(folder: Path) -> None:
    """The weight files of an untrained embedded model."""
    torch.manual_seed(0)
    export_autoencoder(ImageAutoencoder(IMAGES), folder, steps=0)
    encoder = encoder_digest(read_weights(folder / AUTOENCODER, "image_autoencoder")[1])
    export_causal_dit(text_to_video(), folder, steps=0, encoder=encoder)


def ar_vae() -> ARVAE:
    torch.manual_seed(2)
    return ARVAE(AR_VAE)


def generator(classes: int = 0) -> ConditionedGenerator:
    """Not as it begins: with the official initialisation all inner gradients are zero at first."""
    torch.manual_seed(3)
    model = ConditionedGenerator(AR_DIT, classes)
    for parameter in model.dit.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def latent_videos(source: ClipSource, cache: Path) -> TokenVideos:
    encode_source(source, TokenEncoder(ar_vae()), cache)
    return TokenVideos(source, TokenEncoder(ar_vae()), cache)


def same(first: Training, second: Training) -> bool:
    mine, theirs = first.average.state_dict(), second.average.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def write_clip(
    path: Path, frames: int, size: tuple[int, int] = (32, 24), codec: str = "libx264", rate: int = 8, **options
) -> None:
    """A video of noise that drifts from frame to frame, so that no two frames are alike."""
    rng = np.random.default_rng(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = {name: str(value) for name, value in options.items()}
        picture = rng.integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
        for _ in range(frames):
            picture = np.roll(picture, 3, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
