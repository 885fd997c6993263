"""The one adapter to ComfyUI: devices, progress, previews, messages, folders and native sockets."""

from __future__ import annotations

import copy
import logging
import time
from dataclasses import dataclass, replace
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

from ..avgen_core.checkpoints.files import CheckpointError
from ..avgen_core.media.decode import UNIT, decode_latents, encode_frames
from ..avgen_core.prompts import PromptSchedule, Reading
from ..avgen_core.rollout.denoiser import Denoiser
from ..avgen_core.rollout.executor import Done
from ..avgen_core.rollout.files import RunError
from ..avgen_core.systems.ar_diffusion import load_ar_diffusion
from ..avgen_core.systems.embedded import load_embedded
from ..avgen_core.systems.embedded_arlon import load_embedded_arlon
from ..avgen_core.systems.system import System

log = logging.getLogger("AVGen")
PREVIEW_SIDE = 256


class ManagedNetwork:
    """A network whose place in memory ComfyUI manages."""

    def __init__(self, network: nn.Module, device: torch.device, offload_device: torch.device) -> None:
        self.network = network
        self.patcher = ModelPatcher(network, device, offload_device)

    @property
    def device(self) -> torch.device:
        return self.patcher.load_device


def load_networks(networks: list[ManagedNetwork], memory_required: int = 0) -> None:
    """Bring networks to their device; ComfyUI makes room by moving other packs' models away."""
    comfy.model_management.load_models_gpu([n.patcher for n in networks], memory_required=memory_required)


class HostVAE:
    """A pack's autoencoder behind a native VAE socket, for ComfyUI's own decode and encode nodes.

    Like ComfyUI's video VAEs it takes frames as one video: (F, H, W, 3) to (1, C, F, h, w) and back.
    """

    def __init__(self, system: System, network: nn.Module) -> None:
        devices = comfy.model_management.vae_device(), comfy.model_management.vae_offload_device()
        self._system, self._network = system, ManagedNetwork(network, *devices)

    @property
    def of_videos(self) -> HostVAE:
        """The one whose batches are the frames of one video."""
        return self

    @property
    def lead(self) -> int:
        """Frames before those that are wanted, which must be decoded with them."""
        return self._system.autoencoder.lead

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return self._system.frame_size

    @property
    def latent_channels(self) -> int:
        return self._system.latent_shape[0]

    @torch.no_grad()
    def preview(self, latent: Tensor) -> Tensor | None:
        """The frame (H, W, 3) in 0..1 of one latent (C, h, w), decoded wherever the network is at the moment.

        None while parts of the network are on different devices.
        """
        devices = {parameter.device for parameter in self._network.network.parameters()}
        if len(devices) > 1:
            return None
        image = self._system.autoencoder.decode(latent[None].to(devices.pop()))[0]
        return image.float().cpu().clamp(-1, 1).add(1).div(2).permute(1, 2, 0)

    def decode_unit(self, latents: Tensor) -> Tensor:
        """Neighbouring latents (N, C, h, w), at once, to images (N, 3, H, W) in -1..1."""
        self._load(len(latents))
        return self._system.autoencoder.decode(latents.to(self._network.device))

    def decode(self, samples: Tensor, vae_options: dict | None = None) -> Tensor:
        """Videos (B, C, F, h, w) to (B, F, H, W, 3), or images (B, C, h, w) to (B, H, W, 3), in 0..1."""
        if samples.ndim == 4:
            return self.decode(samples[:, :, None])[:, 0]
        return torch.stack([decode_latents(self.decode_unit, video.transpose(0, 1), self.lead) for video in samples])

    def _load(self, frames: int) -> None:
        load_networks([self._network], self._system.autoencoder.memory(frames))

    def temporal_compression_decode(self) -> None:
        """Asked by ComfyUI's tiled decoding; None: a latent frame is one frame."""

    def spacial_compression_decode(self) -> int:
        """Asked by ComfyUI's tiled decoding (the name is ComfyUI's)."""
        return self._system.frame_size[1] // self._system.latent_shape[-1]

    def decode_tiled(self, samples: Tensor, **tiling: int) -> Tensor:
        return self.decode(samples)

    def encode(self, pixels: Tensor) -> Tensor:
        self._system.check_size(pixels.shape[2], pixels.shape[1])
        self._load(UNIT)
        encode, device = self._system.autoencoder.encode, self._network.device
        return encode_frames(lambda images: encode(images.to(device)), pixels).transpose(0, 1)[None]

    def encode_tiled(self, pixels: Tensor, **tiling: int) -> Tensor:
        return self.encode(pixels)


class ImageVAE(HostVAE):
    """The same for single images: (B, H, W, 3) to (B, C, h, w), as ComfyUI's image models want them."""

    def __init__(self, of_videos: HostVAE) -> None:
        self._of_videos, self._system, self._network = of_videos, of_videos._system, of_videos._network

    @property
    def of_videos(self) -> HostVAE:
        return self._of_videos

    def encode(self, pixels: Tensor) -> Tensor:
        return super().encode(pixels)[0].transpose(0, 1)


class HostModel:
    """A system under ComfyUI's memory management."""

    def __init__(self, system: System, sampling: list[nn.Module], autoencoder: nn.Module) -> None:
        """`sampling`: the networks that a denoiser runs."""
        devices = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
        self.system = system
        self._sampling = [ManagedNetwork(network, *devices) for network in sampling]
        self.vae = HostVAE(system, autoencoder)

    def with_system(self, system: System) -> HostModel:
        """The same networks with other settings."""
        other = copy.copy(self)
        other.system = system
        return other

    def load(self) -> None:
        """Bring the networks that sample to their device."""
        load_networks(self._sampling)

    def denoiser(self, guidance: float) -> Denoiser:
        """The system's denoiser, on the device that ComfyUI computes on, even if weights have to wait elsewhere."""
        denoiser = self.system.denoiser(guidance)
        denoiser.device = self._sampling[0].device
        return denoiser


def embedded_model() -> HostModel:
    """The models that come with the pack."""
    model = load_embedded(operations=comfy.ops.disable_weight_init)
    return HostModel(model, [model.text_encoder, model.dit], model.autoencoder)


def embedded_arlon_model() -> HostModel:
    """The same, with ARLON's parts."""
    model = load_embedded_arlon(operations=comfy.ops.disable_weight_init)
    parts = [model.parts.coder, model.parts.writer.network, model.parts.injection]
    return HostModel(model, [model.dit, model.text_encoder, *parts], model.autoencoder)


def ar_diffusion_model(generator: Path, autoencoder: Path | None, dtype: torch.dtype, fps: float) -> HostModel:
    """An AR-Diffusion checkpoint; the generator computes in `dtype`, the autoencoder in float32; fps 0: the file's."""
    model = load_ar_diffusion(generator, autoencoder, comfy.ops.disable_weight_init, dtype)
    model = replace(model, fps=fps or model.fps)
    return HostModel(model, [model.network], model.autoencoder.network)


class EmbeddedCLIP:
    """The embedded text encoder behind a native CLIP socket, for ComfyUI's own text nodes."""

    def __init__(self, model: HostModel) -> None:
        self._model = model

    def tokenize(self, text: str, **options: object) -> str:
        return text

    def encode_from_tokens(self, tokens: str, **options: object) -> Tensor:
        self._model.load()
        return self._model.system.encode_text(tokens)[None].cpu()

    def encode_from_tokens_scheduled(self, tokens: str, **options: object) -> list:
        return [[self.encode_from_tokens(tokens), {}]]

    def understand(self, schedule: PromptSchedule, *, negative: bool = False) -> Reading:
        """Words that the encoder does not know, as the nearest sentences that it knows."""
        return self._model.system.understand(schedule, negative=negative)


def model_file(folder: str, name: str) -> Path:
    """The weight file that a workflow names, in one of ComfyUI's model folders. Raises CheckpointError for others."""
    allowed = model_files(folder)
    if name not in allowed:
        raise CheckpointError(
            f"there is no {name!r} in models/{folder}; allowed: {', '.join(allowed) or 'none yet'} "
            f"(put .safetensors files into ComfyUI's models/{folder} folder)"
        )
    return Path(folder_paths.get_full_path_or_raise(folder, name))


def model_files(folder: str) -> list[str]:
    """The weight files in one of ComfyUI's model folders."""
    return [name for name in folder_paths.get_filename_list(folder) if name.endswith(".safetensors")]


def progress_bar(total: int) -> comfy.utils.ProgressBar:
    """A bar on the running node. Updating it raises when the user cancels."""
    return comfy.utils.ProgressBar(total)


def preview(frame: Tensor) -> tuple[str, Image.Image, int]:
    """A frame (H, W, 3) in 0..1 as the preview that a progress bar takes; its longer side becomes `PREVIEW_SIDE`."""
    picture = Image.fromarray(frame.mul(255).byte().cpu().numpy())
    size = (max(1, side * PREVIEW_SIDE // max(picture.size)) for side in picture.size)
    return ("JPEG", picture.resize(tuple(size), Image.Resampling.BICUBIC), PREVIEW_SIDE)


class Previews:
    """Pictures of a run in work, decoded as often as they take a twentieth of the time at most."""

    SHARE = 0.05

    def __init__(self, vae: HostVAE) -> None:
        self._vae, self._next = vae, 0.0

    def of(self, done: Done) -> tuple[str, Image.Image, int] | None:
        """The furthest frame of a pass, or None when it is too early for a picture."""
        begun = time.monotonic()
        if begun < self._next:
            return None
        frame = self._vae.preview(done.leading)
        self._next = time.monotonic() + (time.monotonic() - begun) / self.SHARE
        return None if frame is None else preview(frame)


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


@dataclass(frozen=True)
class SavedFiles:
    """Files of one kind that a workflow may name: in the input folder, and in the output folder with [output].

    suffix: how their names end; noun: what they are called; saver: the node that writes them.
    """

    suffix: str
    noun: str
    saver: str

    def names(self) -> list[str]:
        """All that there are."""
        names = []
        for folder, mark in (
            (folder_paths.get_input_directory(), ""),
            (folder_paths.get_output_directory(), " [output]"),
        ):
            found = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob(f"*{self.suffix}"))
            names += [name + mark for name in found]
        return names

    def path(self, name: str) -> Path:
        """The file that a workflow names.

        Raises:
            RunError: there is none, or the name leaves ComfyUI's folders.
        """
        path = Path(folder_paths.get_annotated_filepath(name)).resolve()
        roots = (
            folder_paths.get_input_directory(),
            folder_paths.get_output_directory(),
            folder_paths.get_temp_directory(),
        )
        inside = any(path.is_relative_to(Path(root).resolve()) for root in roots)
        if not inside or not path.name.endswith(self.suffix) or not path.is_file():
            raise RunError(
                f"there is no saved {self.noun} {name!r}; allowed: {', '.join(self.names()) or 'none yet'} "
                f"(save one with {self.saver}, or put a {self.suffix} file into ComfyUI's input folder)"
            )
        return path


def save_path(prefix: str, suffix: str) -> tuple[Path, dict[str, str]]:
    """A free file below the output folder for a prefix, and how the page is told of it."""
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    filename = f"{name}_{counter:05}_{suffix}"
    return Path(folder) / filename, {"filename": filename, "subfolder": subfolder, "type": "output"}
