"""The nodes: one file per noun. They declare, check, call the engine and wrap the result."""

from comfy_api.latest import ComfyExtension, io

from .loaders import AVGenLoadARDiffusion, AVGenLoadArlon, AVGenLoadArtV, AVGenLoadEmbedded, AVGenLoadEmbeddedImage
from .prompts import AVGenClassSchedule, AVGenPromptSchedule
from .references import AVGenReferenceMask, AVGenReferenceSchedule
from .runs import AVGenLoadRun, AVGenRunToLatent, AVGenSaveRun
from .samplers import AVGenSampleCausal
from .schedules import AVGenAsynchronousSchedule, AVGenBlockSchedule, AVGenSegmentSchedule
from .token_files import AVGenLoadTokens, AVGenSaveTokens
from .tokens import (
    AVGenEditTokens,
    AVGenEncodeTokens,
    AVGenRunToTokens,
    AVGenTokenGuidance,
    AVGenTokenPreview,
    AVGenWriteTokens,
)
from .upscaler import AVGenLoadUpscaler
from .video import AVGenDecodeRun, AVGenEncodeFrames

NODES: list[type[io.ComfyNode]] = [
    AVGenLoadEmbedded,
    AVGenLoadARDiffusion,
    AVGenLoadEmbeddedImage,
    AVGenLoadArtV,
    AVGenLoadArlon,
    AVGenLoadUpscaler,
    AVGenPromptSchedule,
    AVGenClassSchedule,
    AVGenBlockSchedule,
    AVGenAsynchronousSchedule,
    AVGenReferenceSchedule,
    AVGenSegmentSchedule,
    AVGenTokenGuidance,
    AVGenWriteTokens,
    AVGenEncodeTokens,
    AVGenRunToTokens,
    AVGenEditTokens,
    AVGenTokenPreview,
    AVGenSaveTokens,
    AVGenLoadTokens,
    AVGenSampleCausal,
    AVGenDecodeRun,
    AVGenEncodeFrames,
    AVGenReferenceMask,
    AVGenRunToLatent,
    AVGenSaveRun,
    AVGenLoadRun,
]


class AVGenExtension(ComfyExtension):
    """The pack as ComfyUI sees it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
