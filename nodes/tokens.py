"""ARLON's tokens: written from prompts or taken from a video, cut and joined, looked at, and guiding a model."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor
from torch.nn import functional

from ..avgen_core.media.decode import decode_latents
from ..avgen_core.prompts import PromptSchedule
from ..avgen_core.rollout.executor import Prompts
from ..avgen_core.rollout.run import Run
from ..avgen_core.systems.arlon import MOST_STRENGTH, GuidanceStrength
from ..avgen_core.systems.embedded_arlon import EmbeddedArlon
from ..avgen_core.systems.token_track import TokenTrack, TrackError, coarse_latents, token_map
from ..avgen_core.systems.token_writer import TokenSampling
from . import host, types
from .samplers import frames_of

ARLON_MODEL = "A model with ARLON's parts: Load ARLON."


class UnguidedModel(ValueError):
    """A model without ARLON's parts."""


def arlon_of(model: host.HostModel) -> EmbeddedArlon:
    """Raises UnguidedModel for other models."""
    if not isinstance(model.system, EmbeddedArlon):
        raise UnguidedModel("tokens need a model with ARLON's parts: connect Load ARLON (AVGen)")
    return model.system


class AVGenTokenGuidance(io.ComfyNode):
    """How tokens are written, or which ones are followed, and how strongly."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenTokenGuidance",
            display_name="Token Guidance (AVGen)",
            category="AVGen/tokens",
            description="Sets how a model with ARLON's parts writes its tokens, or gives it tokens to follow, such as "
            "those of another video: its layout is transferred, and its motion as far as the prompt agrees. It sets "
            "all of it: what another Token Guidance before it set is forgotten.",
            inputs=[
                types.Model.Input("model", tooltip=ARLON_MODEL),
                io.Float.Input(
                    "strength_early",
                    default=1.0,
                    min=0.0,
                    max=MOST_STRENGTH,
                    step=0.05,
                    tooltip="How much of the guidance is taken where frames are still noise: layout. 0 is none.",
                ),
                io.Float.Input(
                    "strength_late",
                    default=1.0,
                    min=0.0,
                    max=MOST_STRENGTH,
                    step=0.05,
                    tooltip="The same where frames are nearly clean: details.",
                ),
                io.String.Input(
                    "strength_over_frames",
                    default="",
                    tooltip="Factors of both over the video, 0 to 2, such as `0: 1, 48: 0.5`; in between they move "
                    "evenly. Empty: 1 throughout.",
                ),
                io.Float.Input(
                    "temperature",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.05,
                    tooltip="Of the tokens that are written: lower is safer, 0 takes the likeliest.",
                ),
                io.Int.Input(
                    "top_k", default=0, min=0, max=65536, tooltip="Draw from so many likeliest tokens. 0: all."
                ),
                io.Float.Input(
                    "top_p",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Draw from the likeliest tokens that have this share of the probability together.",
                ),
                io.Float.Input(
                    "token_guidance",
                    default=TokenSampling.guidance,
                    min=1.0,
                    max=10.0,
                    step=0.1,
                    tooltip="How strongly the prompt leads the tokens. 1 is off: half the time.",
                ),
                types.Tokens.Input(
                    "tokens",
                    optional=True,
                    tooltip="Tokens to follow, repeated if the video is longer. Without them the model writes its own "
                    "from the prompts.",
                ),
            ],
            outputs=[types.Model.Output(display_name="model", tooltip="The guided model, for the causal sampler.")],
        )

    @classmethod
    def execute(
        cls,
        model: host.HostModel,
        strength_early: float,
        strength_late: float,
        strength_over_frames: str,
        temperature: float,
        top_k: int,
        top_p: float,
        token_guidance: float,
        tokens: TokenTrack | None = None,
    ) -> io.NodeOutput:
        strength = GuidanceStrength.parsed(strength_early, strength_late, strength_over_frames)
        sampling = TokenSampling(temperature, top_k, top_p, token_guidance)
        return io.NodeOutput(model.with_system(arlon_of(model).guided_by(tokens, strength, sampling)))


class AVGenWriteTokens(io.ComfyNode):
    """Prompts to tokens."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenWriteTokens",
            display_name="Write Tokens (AVGen)",
            category="AVGen/tokens",
            description="Writes the tokens of a video from prompts, in a moment: look at them with Token Preview "
            "before the video is painted. The sampler writes the same ones for a new video with these prompts, this "
            "seed and no tokens given.",
            inputs=[
                types.Model.Input("model", tooltip=ARLON_MODEL),
                types.Prompts.Input("prompts", tooltip="A prompt for every frame."),
                io.Int.Input("frames", default=64, min=1, max=100_000, tooltip="Frames of the video."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The same seed gives the same tokens.",
                ),
                io.Float.Input(
                    "guidance",
                    default=3.0,
                    min=1.0,
                    max=20.0,
                    step=0.1,
                    tooltip="That of the sampler: at 1 it makes no use of a negative prompt, nor do the tokens.",
                ),
                types.Prompts.Input("negative", optional=True, tooltip="What to lead away from, over time."),
            ],
            outputs=[types.Tokens.Output(display_name="tokens", tooltip="For Token Guidance and Token Preview.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: host.HostModel,
        prompts: PromptSchedule,
        frames: int,
        seed: int,
        guidance: float,
        negative: PromptSchedule | None = None,
    ) -> io.NodeOutput:
        system = arlon_of(model)
        if system.track is not None:
            raise TrackError(
                "this model follows tokens that it was given, it writes none: connect one that has no tokens in Token "
                "Guidance (AVGen)"
            )
        readings = [system.understand(prompts)]
        if negative is not None:
            readings.append(system.understand(negative, negative=True))
        remarks = [remark for reading in readings for remark in reading.remarks]
        if remarks:
            host.tell(cls, "\n".join(f"Warning: {remark}" for remark in remarks), warning=True)
        model.load()
        bar = host.progress_bar(system.parts.coder.config.groups_of(frames))
        return io.NodeOutput(
            system.written_track(
                Prompts(*(reading.schedule for reading in readings)), frames, seed, guidance, bar.update_absolute
            )
        )


class AVGenEncodeTokens(io.ComfyNode):
    """A video to tokens."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenEncodeTokens",
            display_name="Encode Tokens (AVGen)",
            category="AVGen/tokens",
            description="Turns a video into tokens, to transfer its layout to another prompt, and its motion as far as "
            "that prompt agrees.",
            inputs=[
                types.Model.Input("model", tooltip=ARLON_MODEL),
                io.Latent.Input("latent", tooltip="The video: from Encode Frames, or from Run to Latent."),
            ],
            outputs=[types.Tokens.Output(display_name="tokens", tooltip="For Token Guidance and Token Preview.")],
        )

    @classmethod
    def execute(cls, model: host.HostModel, latent: dict) -> io.NodeOutput:
        system, latents = arlon_of(model), frames_of(latent, "latent")
        model.load()
        return io.NodeOutput(system.track_of(latents))


class AVGenRunToTokens(io.ComfyNode):
    """The tokens that guided a run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenRunToTokens",
            display_name="Run to Tokens (AVGen)",
            category="AVGen/tokens",
            description="Gives the tokens that guided a run, to look at them or to make the same plan into another "
            "video. Of a run that was joined approximately to an earlier one, those from that join on.",
            inputs=[
                types.Model.Input("model", tooltip=ARLON_MODEL),
                types.Run.Input("run", tooltip="A run that was made with it."),
            ],
            outputs=[types.Tokens.Output(display_name="tokens", tooltip="For Token Guidance and Token Preview.")],
        )

    @classmethod
    def execute(cls, model: host.HostModel, run: Run) -> io.NodeOutput:
        return io.NodeOutput(arlon_of(model).track_in(run))


class AVGenEditTokens(io.ComfyNode):
    """Cut, repeat, join."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenEditTokens",
            display_name="Edit Tokens (AVGen)",
            category="AVGen/tokens",
            description="Cuts a part out of tokens, repeats it, and puts other tokens behind it. Tokens come in groups "
            "of a few frames (4 with the embedded model).",
            inputs=[
                types.Tokens.Input("tokens", tooltip="The tokens to cut."),
                io.Int.Input("start", default=0, min=0, max=1_000_000, tooltip="First group of the part."),
                io.Int.Input("groups", default=0, min=0, max=1_000_000, tooltip="How many; 0 = all that follow."),
                io.Int.Input("repeat", default=1, min=1, max=10_000, tooltip="How many times the part is played."),
                types.Tokens.Input("followed_by", optional=True, tooltip="Tokens that come after it."),
            ],
            outputs=[
                types.Tokens.Output(display_name="tokens", tooltip="The new tokens."),
                io.Int.Output(display_name="groups", tooltip="How many groups they have."),
            ],
        )

    @classmethod
    def execute(
        cls, tokens: TokenTrack, start: int, groups: int, repeat: int, followed_by: TokenTrack | None = None
    ) -> io.NodeOutput:
        edited = tokens.part(start, groups).repeated(repeat)
        if followed_by is not None:
            edited = edited.followed_by(followed_by)
        return io.NodeOutput(edited, len(edited.codes))


class AVGenTokenPreview(io.ComfyNode):
    """What tokens hold."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenTokenPreview",
            display_name="Token Preview (AVGen)",
            category="AVGen/tokens",
            description="Shows tokens: the coarse video that they stand for, and a map in which each token has a "
            "colour, similar tokens similar ones.",
            inputs=[
                types.Model.Input("model", tooltip=ARLON_MODEL),
                types.Tokens.Input("tokens", tooltip="The tokens to show."),
            ],
            outputs=[
                io.Image.Output(display_name="coarse", tooltip="One picture a frame, as the tokens alone have it."),
                io.Image.Output(display_name="map", tooltip="One picture a group of frames, of the same size."),
            ],
        )

    @classmethod
    def execute(cls, model: host.HostModel, tokens: TokenTrack) -> io.NodeOutput:
        system = arlon_of(model)
        system.check_track(tokens)
        model.load()
        latents = coarse_latents(system.parts.coder, tokens, system.latent_shape[1:])
        coarse = decode_latents(model.vae.decode_unit, latents, model.vae.lead)
        return io.NodeOutput(coarse, _enlarged(token_map(system.parts.coder, tokens), system.frame_size))


def _enlarged(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, h, w, 3) to (N, H, W, 3), in squares."""
    return functional.interpolate(pictures.permute(0, 3, 1, 2), size, mode="nearest").permute(0, 2, 3, 1)
