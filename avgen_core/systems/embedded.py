"""The models that come with the pack: autoencoder, text encoder and causal DiT of the diorama world."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.files import CheckpointError, config_from, encoder_digest, fingerprint, load_into, read_weights
from ..networks.causal_dit import CausalDiT, CausalDiTConfig
from ..networks.image_autoencoder import ImageAutoencoder, ImageAutoencoderConfig
from ..networks.text_encoder import TextEncoder, TextEncoderConfig
from ..plan import AsynchronousPlan, BlockPlan, Window, flow_sigmas
from ..prompts import Classes, PromptSchedule, Reading
from ..rollout.denoiser import FrameGrid
from . import diorama_sentences
from .asynchronous import AsynchronousSettings
from .causal_wan import CausalWanDenoiser

# The settings that the embedded model was tuned with.
STEPS, SHIFT, BLOCK, WINDOW, GUIDANCE = 12, 1.5, 4, 16, 3.0

# Subjects as classes: for each verb, the names that are asked for.
CLASS_NAMES = {
    "walks": (
        *("orange cat", "dog", "brown horse", "pink pig", "cow", "white sheep", "elephant", "tiger", "kangaroo"),
        *("pink flamingo", "green dinosaur", "camel", "rooster"),
    ),
    "drives": ("red car", "yellow bus", "green tractor", "steam train"),
    "flies": ("ghost", "bee", "orange helicopter", "flying saucer"),
}

FOLDER = Path(__file__).parents[2] / "models" / "demo"
AUTOENCODER, TEXT_ENCODER, CAUSAL_DIT = "autoencoder.safetensors", "text_encoder.safetensors", "causal_dit.safetensors"


@dataclass
class EmbeddedModel:
    """The three networks, ready for inference. Frames are `size` x `size` pixels at `fps`."""

    autoencoder: ImageAutoencoder
    text_encoder: TextEncoder
    dit: CausalDiT
    fingerprint: str
    size: int = 64
    fps: float = 8.0
    guidance: float = GUIDANCE

    @cached_property
    def classes(self) -> Classes:
        """Its subjects, for graphs that ask for classes."""
        named = [(name, verb) for verb, names in CLASS_NAMES.items() for name in names]
        prompts = (
            f"{'an' if name[0] in 'aeio' else 'a'} {name} {verb} right in a green meadow" for name, verb in named
        )
        return Classes(tuple(name for name, _ in named), tuple(prompts))

    @property
    def frame_size(self) -> tuple[int, int]:
        return self.size, self.size

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        side = self.size // self.autoencoder.config.downscale
        return self.autoencoder.config.latent_channels, side, side

    @cached_property
    def default_plan(self) -> BlockPlan:
        """The block schedule that the model was tuned with."""
        return BlockPlan(flow_sigmas(STEPS, SHIFT), BLOCK, Window(WINDOW))

    def asynchronous_plan(self, settings: AsynchronousSettings) -> AsynchronousPlan:
        return settings.causal_plan()

    def check_size(self, width: int, height: int) -> None:
        """Refuse sizes that the model was not trained for."""
        if (width, height) != (self.size, self.size):
            raise ValueError(
                f"the embedded model makes {self.size}x{self.size} pixels, not {width}x{height}: "
                "scale its frames afterwards, or scale the frames you give it"
            )

    def understand(self, schedule: PromptSchedule, *, negative: bool = False) -> Reading:
        """Texts with words that it does not know as the nearest sentences that it knows."""
        return diorama_sentences.read(schedule, self.text_encoder.config.vocabulary, negative=negative)

    @torch.no_grad()
    def encode_text(self, text: str) -> Tensor:
        """Token states (text_len, text_dim) of one prompt."""
        device = self.text_encoder.token_embedding.weight.device
        return self.text_encoder(self.text_encoder.tokenize([text]).to(device))[0]

    def denoiser(self, guidance: float) -> CausalWanDenoiser:
        return CausalWanDenoiser(
            self.dit,
            self.encode_text,
            fingerprint=self.fingerprint,
            latent_shape=self.latent_shape,
            guidance=guidance,
            grid=FrameGrid(1),
        )


def load_embedded(folder: Path = FOLDER, operations=nn) -> EmbeddedModel:
    """Load the embedded models. Raises CheckpointError when a file is missing or damaged."""
    paths = [folder / name for name in (AUTOENCODER, TEXT_ENCODER, CAUSAL_DIT)]
    about_images, image_weights = read_weights(paths[0], "image_autoencoder")
    about_text, text_weights = read_weights(paths[1], "text_encoder")
    about_video, video_weights = read_weights(paths[2], "causal_dit")

    if about_video["encoder"] != encoder_digest(image_weights):
        raise CheckpointError(
            f"{CAUSAL_DIT} was trained on the latents of another encoder than {AUTOENCODER} holds: "
            "install the pack's files anew, or train the DiT on this autoencoder"
        )

    return EmbeddedModel(
        load_into(
            ImageAutoencoder(config_from(ImageAutoencoderConfig, about_images), operations), image_weights, AUTOENCODER
        ),
        load_into(TextEncoder(config_from(TextEncoderConfig, about_text), operations), text_weights, TEXT_ENCODER),
        load_into(CausalDiT(config_from(CausalDiTConfig, about_video), operations), video_weights, CAUSAL_DIT),
        fingerprint(*paths),
    )
