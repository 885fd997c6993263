"""The nodes: one file per noun. They declare, check, call the engine and wrap the result."""

from comfy_api.latest import ComfyExtension, io

from .loaders import AVGenLoadARDiffusion, AVGenLoadArtV, AVGenLoadEmbedded, AVGenLoadEmbeddedImage
from .prompts import AVGenClassSchedule, AVGenPromptSchedule
from .references import AVGenReferenceMask, AVGenReferenceSchedule
from .runs import AVGenLoadRun, AVGenRunToLatent, AVGenSaveRun
from .samplers import AVGenSampleCausal
from .schedules import AVGenAsynchronousSchedule, AVGenBlockSchedule
from .upscaler import AVGenLoadUpscaler
from .video import AVGenDecodeRun, AVGenEncodeFrames

NODES: list[type[io.ComfyNode]] = [
    AVGenLoadEmbedded,
    AVGenLoadARDiffusion,
    AVGenLoadEmbeddedImage,
    AVGenLoadArtV,
    AVGenLoadUpscaler,
    AVGenPromptSchedule,
    AVGenClassSchedule,
    AVGenBlockSchedule,
    AVGenAsynchronousSchedule,
    AVGenReferenceSchedule,
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
