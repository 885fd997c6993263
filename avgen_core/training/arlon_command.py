"""ARLON's steps of `python -m avgen_core train`: arlon-vqvae, arlon-tokens, arlon-injection."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints.files import config_from, encoder_digest, fingerprint, load_into, read_weights, save_weights
from ..networks.causal_dit import CausalDiTConfig
from ..networks.latent_vqvae import LatentVQVAE, LatentVQVAEConfig
from ..networks.semantic_injection import InjectionKind, SemanticInjection, SemanticInjectionConfig
from ..networks.text_encoder import TextEncoder, TextEncoderConfig
from ..networks.token_transformer import TokenTransformer, TokenTransformerConfig
from ..systems.embedded import AUTOENCODER, CAUSAL_DIT, TEXT_ENCODER
from ..systems.embedded_arlon import LATENT_VQVAE, SEMANTIC_INJECTION, TOKEN_TRANSFORMER, dit_fingerprint
from .causal_dit import TextToVideo
from .latent_vqvae import train_latent_vqvae
from .latents import LatentClips
from .loop import Training, process_state
from .options import spec_of
from .semantic_injection import GuidedVideo, InjectionRecipe, train_semantic_injection
from .token_transformer import CodeClips, CodeRecipe, train_token_transformer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only these steps use."""
    group = parser.add_argument_group("ARLON")
    group.add_argument("--code-frames", type=int, default=4, help="arlon-vqvae: latent frames of a code (default: 4)")
    group.add_argument("--code-cells", type=int, default=2, help="arlon-vqvae: cells of a code's side (default: 2)")
    group.add_argument("--codes", type=int, default=512, help="arlon-vqvae: size of the codebook (default: 512)")
    group.add_argument("--coarser", type=Path, metavar="FILE", help="arlon-injection: a coarser VQ-VAE to learn from, "
                       "as in the paper (default: the one that the tokens are of)")  # fmt: skip
    group.add_argument("--injected", choices=INJECTED, default="first-half",
                       help="arlon-injection: which layers are guided (default: first-half)")  # fmt: skip
    group.add_argument("--injection", choices=[kind.value for kind in InjectionKind],
                       default=InjectionKind.ADAPTIVE_NORM.value, help="arlon-injection: how")  # fmt: skip
    group.add_argument("--uncertain", type=float, default=InjectionRecipe.uncertain,
                       help="arlon-injection: share of clips with uncertain codes (default: %(default)s)")  # fmt: skip


FRAMES = 16  # of a training window, as for the DiT
INJECTED: dict[str, Callable[[int], range]] = {
    "first-half": lambda layers: range((layers + 1) // 2),
    "last-half": lambda layers: range(layers // 2, layers),
    "all": range,
}


def _check(options: argparse.Namespace) -> None:
    if options.from_weights:
        raise ValueError("ARLON's steps begin from nothing or go on from a state in --out: leave --from-weights out")


def train_vqvae(options: argparse.Namespace) -> None:
    """`arlon-vqvae`: latents to codes."""
    _check(options)
    torch.manual_seed(options.seed)
    about, weights = read_weights(options.models / AUTOENCODER, "image_autoencoder")
    encoder = encoder_digest(weights)
    config = LatentVQVAEConfig(
        about["config"]["latent_channels"], options.code_frames, options.code_cells, options.codes
    )
    spec = spec_of(options, steps=4000, batch=64, learning_rate=1e-3, ema_decay=0.998)

    def export(training: Training) -> None:
        state = training.average.state_dict()
        save_weights(
            options.export / LATENT_VQVAE, "latent_vqvae", config, state, steps=training.step, made_for=encoder
        )

    train_latent_vqvae(spec, LatentClips(options.data, encoder), LatentVQVAE(config), on_save=export)


def train_tokens(options: argparse.Namespace) -> None:
    """`arlon-tokens`: texts to codes."""
    _check(options)
    torch.manual_seed(options.seed)
    coder, about = coder_of(options.models / LATENT_VQVAE)
    text_encoder = _text_encoder(options.models)
    device = process_state(options.device).device
    clips = LatentClips(options.data, about["made_for"])
    side = clips.latents.shape[-1]
    rows, columns = coder.config.cells(side, side)
    config = TokenTransformerConfig(coder.config.codes, rows * columns, text_dim=text_encoder.config.dim)
    text_encoder.to(device)

    @torch.no_grad()
    def encode_texts(prompts: list[str]) -> Tensor:
        return text_encoder(text_encoder.tokenize(prompts).to(device))

    spec = spec_of(options, steps=6000, batch=64, learning_rate=1e-3, ema_decay=0.998)
    made_for = fingerprint(options.models / LATENT_VQVAE, options.models / TEXT_ENCODER)

    def export(training: Training) -> None:
        state = training.average.state_dict()
        path = options.export / TOKEN_TRANSFORMER
        save_weights(path, "token_transformer", config, state, steps=training.step, made_for=made_for)

    codes = CodeClips(clips, coder.to(device), str(device))
    train_token_transformer(spec, codes, TokenTransformer(config), encode_texts, CodeRecipe(), on_save=export)


def train_injection(options: argparse.Namespace) -> None:
    """`arlon-injection`: the DiT follows codes."""
    _check(options)
    torch.manual_seed(options.seed)
    coder, about = coder_of(options.coarser or options.models / LATENT_VQVAE)
    video = text_to_video(options.models)
    dit = video.dit.config
    layers = tuple(INJECTED[options.injected](dit.num_layers))
    config = SemanticInjectionConfig(dit.in_dim, dit.dim, layers, dit.patch_size, kind=InjectionKind(options.injection))
    recipe = InjectionRecipe(uncertain=options.uncertain)
    spec = spec_of(options, steps=2000, batch=24, learning_rate=1e-3, ema_decay=0.998)
    made_for = dit_fingerprint(options.models)

    def export(training: Training) -> None:
        state = training.average.injection.state_dict()
        path = options.export / SEMANTIC_INJECTION
        save_weights(path, "semantic_injection", config, state, steps=training.step, made_for=made_for)

    clips = LatentClips(options.data, about["made_for"])
    model = GuidedVideo(video, coder, SemanticInjection(config))
    frames = min(FRAMES, clips.clip_frames)
    train_semantic_injection(spec, clips, model, recipe, frames=frames, on_save=export)


def coder_of(path: Path) -> tuple[LatentVQVAE, dict]:
    """A latent VQ-VAE and its file's header. Raises CheckpointError for a missing or damaged file."""
    about, weights = read_weights(path, "latent_vqvae")
    return load_into(LatentVQVAE(config_from(LatentVQVAEConfig, about)), weights, path.name), about


def _text_encoder(models: Path) -> TextEncoder:
    about, weights = read_weights(models / TEXT_ENCODER, "text_encoder")
    return load_into(TextEncoder(config_from(TextEncoderConfig, about)), weights, TEXT_ENCODER)


def text_to_video(models: Path) -> TextToVideo:
    """A folder's DiT and text encoder. Raises CheckpointError for missing or damaged files."""
    about, weights = read_weights(models / CAUSAL_DIT, "causal_dit")
    about_text, text_weights = read_weights(models / TEXT_ENCODER, "text_encoder")
    model = TextToVideo(config_from(CausalDiTConfig, about), config_from(TextEncoderConfig, about_text))
    load_into(model.dit, weights, CAUSAL_DIT)
    load_into(model.text_encoder, text_weights, TEXT_ENCODER)
    return model


STEPS = {"arlon-vqvae": train_vqvae, "arlon-tokens": train_tokens, "arlon-injection": train_injection}
