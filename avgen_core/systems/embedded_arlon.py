"""ARLON on the embedded video model. Its parts come from the `arlon-` steps of `train`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import nn

from ..checkpoints.files import CheckpointError, config_from, fingerprint, load_into, read_weights
from ..networks.latent_vqvae import LatentVQVAE, LatentVQVAEConfig
from ..networks.semantic_injection import SemanticInjection, SemanticInjectionConfig
from ..networks.token_transformer import TokenTransformer, TokenTransformerConfig
from ..plan import BlockPlan, flow_sigmas
from ..rollout.denoiser import FrameGrid
from .arlon import ArlonDenoiser, ArlonParts, GuidanceStrength, TokenTrack
from .embedded import AUTOENCODER, CAUSAL_DIT, FOLDER, SHIFT, TEXT_ENCODER, EmbeddedModel, load_embedded
from .token_writer import TokenSampling, TokenWriter

LATENT_VQVAE, TOKEN_TRANSFORMER = "latent_vqvae.safetensors", "token_transformer.safetensors"
SEMANTIC_INJECTION = "semantic_injection.safetensors"
GUIDED_STEPS = 3  # a quarter of the embedded model's own


@dataclass(kw_only=True)
class EmbeddedArlon(EmbeddedModel):
    """The embedded model under the guidance of codes."""

    parts: ArlonParts
    track: TokenTrack | None = None
    strength: GuidanceStrength = GuidanceStrength()

    @property
    def default_plan(self) -> BlockPlan:
        """The embedded model's blocks, with few steps."""
        return replace(super().default_plan, sigmas=flow_sigmas(GUIDED_STEPS, SHIFT))

    def denoiser(self, guidance: float) -> ArlonDenoiser:
        return ArlonDenoiser(
            self.dit,
            self.encode_text,
            self.parts,
            track=self.track,
            strength=self.strength,
            fingerprint=self.fingerprint,
            latent_shape=self.latent_shape,
            guidance=guidance,
            grid=FrameGrid(1),
        )


def load_embedded_arlon(folder: Path = FOLDER, sampling: TokenSampling | None = None, operations=nn) -> EmbeddedArlon:
    """The embedded model with its ARLON parts.

    Raises:
        CheckpointError: a file is missing or damaged, or the parts were made for other weights than the folder holds.
    """
    embedded = load_embedded(folder, operations)
    paths = [folder / name for name in (LATENT_VQVAE, TOKEN_TRANSFORMER, SEMANTIC_INJECTION)]
    about_coder, coder_weights = read_weights(paths[0], "latent_vqvae")
    about_writer, writer_weights = read_weights(paths[1], "token_transformer")
    about_injection, injection_weights = read_weights(paths[2], "semantic_injection")
    made_for = {
        (TOKEN_TRANSFORMER, LATENT_VQVAE): (about_writer["made_for"], fingerprint(paths[0], folder / TEXT_ENCODER)),
        (SEMANTIC_INJECTION, CAUSAL_DIT): (about_injection["made_for"], dit_fingerprint(folder)),
        (LATENT_VQVAE, AUTOENCODER): (
            about_coder["made_for"],
            read_weights(folder / CAUSAL_DIT, "causal_dit")[0]["encoder"],
        ),
    }
    for (part, other), (theirs, ours) in made_for.items():
        if theirs != ours:
            raise CheckpointError(f"{part} was made for another {other}: install the pack's files anew, or train it")
    coder = load_into(LatentVQVAE(config_from(LatentVQVAEConfig, about_coder), operations), coder_weights, LATENT_VQVAE)
    writer = TokenTransformer(config_from(TokenTransformerConfig, about_writer), operations)
    writer = load_into(writer, writer_weights, TOKEN_TRANSFORMER)
    injection = SemanticInjection(config_from(SemanticInjectionConfig, about_injection), operations)
    injection = load_into(injection, injection_weights, SEMANTIC_INJECTION)
    parts = ArlonParts(coder, TokenWriter(writer, embedded.encode_text, sampling or TokenSampling()), injection)
    settings = {field.name: getattr(embedded, field.name) for field in fields(EmbeddedModel)}
    digest = fingerprint(*paths)
    return EmbeddedArlon(**{**settings, "fingerprint": f"{embedded.fingerprint}-{digest}"}, parts=parts)


def dit_fingerprint(folder: Path) -> str:
    """Of the DiT and its text encoder, which the injection was trained on."""
    return fingerprint(folder / TEXT_ENCODER, folder / CAUSAL_DIT)
