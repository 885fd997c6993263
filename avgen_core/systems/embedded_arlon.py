"""ARLON on the embedded video model. Its parts come from the `arlon-` steps of `train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import Tensor, nn

from ..checkpoints.files import CheckpointError, config_from, fingerprint, load_into, read_weights
from ..networks.latent_vqvae import LatentVQVAE, LatentVQVAEConfig
from ..networks.semantic_injection import SemanticInjection, SemanticInjectionConfig
from ..networks.token_transformer import TokenTransformer, TokenTransformerConfig
from ..plan import BlockPlan, flow_sigmas
from ..rollout.denoiser import FrameGrid
from ..rollout.executor import Prompts
from ..rollout.noise import SeededNoise
from ..rollout.run import Run
from .arlon import ArlonDenoiser, ArlonParts, GuidanceStrength
from .embedded import AUTOENCODER, CAUSAL_DIT, FOLDER, SHIFT, TEXT_ENCODER, EmbeddedModel, load_embedded
from .token_track import TokenTrack, TrackError, track_in, track_of_latents, written_track
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

    def guided_by(self, track: TokenTrack | None, strength: GuidanceStrength, sampling: TokenSampling) -> EmbeddedArlon:
        """The same model with other guidance. Raises TrackError for a track of another codebook or size."""
        if track is not None:
            self.check_track(track)
        writer = TokenWriter(self.parts.writer.network, self.encode_text, sampling)
        return replace(self, parts=replace(self.parts, writer=writer), track=track, strength=strength)

    def check_track(self, track: TokenTrack) -> None:
        """Raises TrackError for a track of another codebook or size."""
        self.parts.check(track, self.latent_shape[1:])

    def written_track(
        self,
        prompts: Prompts,
        frames: int,
        seed: int,
        guidance: float,
        on_group: Callable[[int], None] = lambda group: None,
    ) -> TokenTrack:
        """What a run of these prompts, this seed and this guidance would write, before it is made."""
        return written_track(
            self.parts.writer,
            self.parts.coder,
            prompts,
            frames,
            SeededNoise(seed),
            size=self.latent_shape[1:],
            codebook=self.parts.codebook,
            branches=self.denoiser(guidance).branches,
            on_group=on_group,
        )

    def track_of(self, latents: Tensor) -> TokenTrack:
        """The track of a video's latents (F, C, H, W). Raises TrackError for latents of another size."""
        if tuple(latents.shape[1:]) != self.latent_shape:
            raise TrackError(
                f"the latents are {tuple(latents.shape[1:])} a frame, not {self.latent_shape}: encode frames of the "
                "model's size with its own autoencoder"
            )
        return track_of_latents(self.parts.coder, latents, self.parts.codebook)

    def track_in(self, run: Run) -> TokenTrack:
        """The codes that guided a run, from the frame on at which its own stream begins.

        Raises:
            TrackError: the run was made with other weights.
        """
        if run.recipe.model != self.fingerprint:
            raise TrackError(
                f"run {run.recipe.id} was made by model {run.recipe.model}, and this is {self.fingerprint}: load the "
                "model that made the run"
            )
        return track_in(run.state().memory, self.parts.coder.config.cells(*self.latent_shape[1:]), self.parts.codebook)


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
        (TOKEN_TRANSFORMER, LATENT_VQVAE): (about_writer.get("made_for"), fingerprint(paths[0], folder / TEXT_ENCODER)),
        (SEMANTIC_INJECTION, CAUSAL_DIT): (about_injection.get("made_for"), dit_fingerprint(folder)),
        (LATENT_VQVAE, AUTOENCODER): (
            about_coder.get("made_for"),
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
    token_writer = TokenWriter(writer, embedded.encode_text, sampling or TokenSampling())
    parts = ArlonParts(coder, token_writer, injection, codebook=fingerprint(paths[0]))
    settings = {field.name: getattr(embedded, field.name) for field in fields(EmbeddedModel)}
    digest = fingerprint(*paths)
    return EmbeddedArlon(**{**settings, "fingerprint": f"{embedded.fingerprint}-{digest}"}, parts=parts)


def dit_fingerprint(folder: Path) -> str:
    """Of the DiT and its text encoder, which the injection was trained on."""
    return fingerprint(folder / TEXT_ENCODER, folder / CAUSAL_DIT)
