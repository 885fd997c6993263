"""From training state to the weight files that the pack ships, and sample sheets of a model in training."""

from __future__ import annotations

from pathlib import Path

import torch

from ..checkpoints.files import save_weights
from ..media.decode import decode_latents
from ..media.video import contact_sheet
from ..networks.image_autoencoder import ImageAutoencoder
from ..prompts import parse_schedule
from ..rollout.executor import Executor, Prompts
from ..rollout.noise import SeededNoise
from ..systems.embedded import AUTOENCODER, CAUSAL_DIT, GUIDANCE, TEXT_ENCODER, EmbeddedModel
from .causal_dit import TextToVideo

SHEET_PROMPTS = (
    "an orange cat walks right in a green meadow",
    "a red car drives left in the desert at sunset",
    "an elephant jumps up and down on the beach",
    "a steam train drives fast right in the snowy mountains in falling snow",
    "a green dinosaur dances in the city at night",
    "a bee flies left in a forest in the rain",
    "0: a white sheep walks right on the moon\n8: a white sheep jumps on the moon",
)


def export_autoencoder(model: ImageAutoencoder, folder: Path, steps: int) -> None:
    """Write the autoencoder's file."""
    save_weights(folder / AUTOENCODER, "image_autoencoder", model.config, model.state_dict(), steps=steps)


def export_causal_dit(model: TextToVideo, folder: Path, steps: int, encoder: str) -> None:
    """Write the DiT's and the text encoder's files. `encoder` is the digest of the encoder whose latents they know."""
    text_encoder, dit = model.text_encoder, model.dit
    save_weights(folder / TEXT_ENCODER, "text_encoder", text_encoder.config, text_encoder.state_dict())
    save_weights(folder / CAUSAL_DIT, "causal_dit", dit.config, dit.state_dict(), steps=steps, encoder=encoder)


@torch.no_grad()
def sample_sheet(autoencoder: ImageAutoencoder, model: TextToVideo, path: Path, frames: int = 16) -> None:
    """A row of frames for each of a few prompts, made as users make them."""
    embedded = EmbeddedModel(autoencoder, model.text_encoder, model.dit, "training")
    tiles = []
    for text in SHEET_PROMPTS:
        executor = Executor(
            embedded.denoiser(GUIDANCE), embedded.default_plan, Prompts(parse_schedule(text, fps=8)), SeededNoise(0)
        )
        latents = torch.cat([done.finished for done in executor.run(frames)])
        device = next(autoencoder.parameters()).device
        tiles.append(decode_latents(autoencoder.decode, latents.to(device))[:: max(1, frames // 8)])
    contact_sheet(torch.cat(tiles), columns=len(tiles[0])).save(path)
