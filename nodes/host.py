"""The one adapter to ComfyUI: devices, progress, previews, messages, folders and native sockets."""

from __future__ import annotations

import logging
from pathlib import Path

import comfy.model_management
import comfy.ops
import comfy.utils
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from PIL import Image
from server import PromptServer
from torch import Tensor, nn

from ..avgen_core.media.decode import decode_latents, encode_frames
from ..avgen_core.rollout.files import RunError
from ..avgen_core.systems.embedded import EmbeddedModel, load_embedded

log = logging.getLogger("AVGen")
PREVIEW_SIDE = 256


class ManagedNetwork:
    """A network whose place in memory ComfyUI manages."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.patcher = ModelPatcher(
            network, comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
        )

    @property
    def device(self) -> torch.device:
        return self.patcher.load_device


def load_networks(networks: list[ManagedNetwork], memory_required: int = 0) -> None:
    """Bring networks to their device; ComfyUI makes room by moving other packs' models away."""
    comfy.model_management.load_models_gpu([n.patcher for n in networks], memory_required=memory_required)


class HostModel:
    """The embedded models under ComfyUI's memory management."""

    def __init__(self, model: EmbeddedModel) -> None:
        self.model = model
        self.autoencoder = ManagedNetwork(model.autoencoder)
        self.text_encoder = ManagedNetwork(model.text_encoder)
        self.dit = ManagedNetwork(model.dit)

    @classmethod
    def load(cls) -> HostModel:
        return cls(load_embedded(operations=comfy.ops.disable_weight_init))


class EmbeddedVAE:
    """The embedded autoencoder behind a native VAE socket, for ComfyUI's own decode and encode nodes.

    Like ComfyUI's video VAEs it takes frames as one video: (F, H, W, 3) to (1, C, F, h, w) and back.
    """

    def __init__(self, host: HostModel) -> None:
        self._host = host

    def decode_frames(self, latents: Tensor) -> Tensor:
        """Latents (F, C, h, w) to frames (F, H, W, 3) in 0..1."""
        load_networks([self._host.autoencoder])
        device, autoencoder = self._host.autoencoder.device, self._host.model.autoencoder
        return decode_latents(autoencoder.decode, latents.to(device))

    def decode(self, samples: Tensor, vae_options: dict | None = None) -> Tensor:
        return torch.stack([self.decode_frames(video.transpose(0, 1)) for video in samples])

    def temporal_compression_decode(self) -> None:
        """Asked by ComfyUI's tiled decoding; None: a latent frame is one frame."""

    def spacial_compression_decode(self) -> int:
        """Asked by ComfyUI's tiled decoding (the name is ComfyUI's)."""
        return self._host.model.autoencoder.config.downscale

    def decode_tiled(self, samples: Tensor, **tiling: int) -> Tensor:
        return self.decode(samples)

    def encode(self, pixels: Tensor) -> Tensor:
        self._host.model.check_size(pixels.shape[2], pixels.shape[1])
        load_networks([self._host.autoencoder])
        device, autoencoder = self._host.autoencoder.device, self._host.model.autoencoder
        return encode_frames(autoencoder.encode, pixels.to(device)).transpose(0, 1)[None]

    def encode_tiled(self, pixels: Tensor, **tiling: int) -> Tensor:
        return self.encode(pixels)


class EmbeddedCLIP:
    """The embedded text encoder behind a native CLIP socket, for ComfyUI's own text nodes."""

    def __init__(self, host: HostModel) -> None:
        self._host = host

    def tokenize(self, text: str, **options: object) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str, **options: object) -> list:
        load_networks([self._host.text_encoder])
        return [[self._host.model.encode_text(tokens)[None].cpu(), {}]]


def progress_bar(total: int) -> comfy.utils.ProgressBar:
    """A bar on the running node. Updating it raises when the user cancels."""
    return comfy.utils.ProgressBar(total)


def preview(frame: Tensor) -> tuple[str, Image.Image, int]:
    """A frame (H, W, 3) in 0..1 as the preview that a progress bar takes."""
    picture = Image.fromarray(frame.mul(255).byte().cpu().numpy())
    return ("JPEG", picture.resize((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BICUBIC), PREVIEW_SIDE)


def tell(node: type[io.ComfyNode], message: str, *, warning: bool = False) -> None:
    """Show a message on a running node, and in the log for those who queue without a page."""
    (log.warning if warning else log.info)("%s", message)
    node_id = node.hidden and node.hidden.unique_id
    server = getattr(PromptServer, "instance", None)
    if node_id and server is not None:
        server.send_progress_text(message, node_id)


def runs_folder() -> Path:
    """Where runs are worked on and kept: output/avgen."""
    return Path(folder_paths.get_output_directory()) / "avgen"


def run_files() -> list[str]:
    """Saved runs that a workflow may name: files in the input folder, and files in the output folder with [output]."""
    names = []
    for folder, mark in (
        (folder_paths.get_input_directory(), ""),
        (folder_paths.get_output_directory(), " [output]"),
    ):
        found = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.avgen"))
        names += [name + mark for name in found]
    return names


def run_file(name: str) -> Path:
    """The file that a workflow names. Raises RunError when there is none, or when the name leaves ComfyUI's folders."""
    path = Path(folder_paths.get_annotated_filepath(name)).resolve()
    roots = (
        folder_paths.get_input_directory(),
        folder_paths.get_output_directory(),
        folder_paths.get_temp_directory(),
    )
    inside = any(path.is_relative_to(Path(root).resolve()) for root in roots)
    if not inside or path.suffix != ".avgen" or not path.is_file():
        raise RunError(
            f"there is no saved run {name!r}; allowed: {', '.join(run_files()) or 'none yet'} "
            "(save one with Save Run, or put a .avgen file into ComfyUI's input folder)"
        )
    return path


def save_path(prefix: str, suffix: str) -> tuple[Path, dict[str, str]]:
    """A free file below the output folder for a prefix, and how the page is told of it."""
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    filename = f"{name}_{counter:05}_{suffix}"
    return Path(folder) / filename, {"filename": filename, "subfolder": subfolder, "type": "output"}
