"""ART-V in ComfyUI: the host's MODEL, CLIP and VAE with an adapter, as a model of the pack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_sampling
import comfy.ops
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..avgen_core.checkpoints.files import CheckpointError, config_from, fingerprint, load_into, read_weights
from ..avgen_core.media.decode import encode_frames
from ..avgen_core.networks.image_unet import ImageUNetConfig
from ..avgen_core.networks.reference_adapter import ReferenceAdapter, ReferenceAdapterConfig
from ..avgen_core.networks.reference_unet import Prediction
from ..avgen_core.systems.art_v import ArtVModel, any_text, check_prediction
from ..avgen_core.systems.embedded import AUTOENCODER, FOLDER
from ..avgen_core.systems.embedded_art_v import ART_V, IMAGE_UNET, check_adapter, check_encoder
from . import host
from .host_image_model import HOW_TO_TRAIN, HostImageModel, UnfitModel

PIXELS = 8  # per latent cell along each side, in all models that fit
EMBEDDED_ADAPTER = FOLDER / ART_V


@dataclass(frozen=True)
class Frames:
    """What is asked of the video's frames; 0 is what the adapter was trained on."""

    width: int
    height: int
    fps: float

    def of(self, about: dict[str, Any]) -> Frames:
        """Filled in from an adapter's header.

        Raises:
            UnfitModel: a side is not a multiple of 8.
        """
        side = about["size"]
        frames = Frames(self.width or side, self.height or side, self.fps or about["fps"])
        if frames.width % PIXELS or frames.height % PIXELS:
            raise UnfitModel(f"width and height must be multiples of {PIXELS}, got {frames.width} and {frames.height}")
        return frames


class NativeVAE(host.HostVAE):
    """ComfyUI's own image VAE where the pack's are expected; latents are in the scale of the MODEL."""

    lead = 0
    frame_size = latent_channels = None  # of each one

    def __init__(self, vae: comfy.sd.VAE, latent_format: comfy.latent_formats.LatentFormat, height: int, width: int):
        self._vae, self._format, self.frame_size = vae, latent_format, (height, width)
        self.latent_channels = latent_format.latent_channels

    def preview(self, latent: Tensor) -> Tensor | None:
        """Colours by the host's linear approximation, as in its own previews."""
        if self._format.latent_rgb_factors is None:
            return None
        factors = torch.tensor(self._format.latent_rgb_factors)
        colours = torch.einsum("chw,cr->hwr", latent.float().cpu(), factors)
        if self._format.latent_rgb_factors_bias is not None:
            colours += torch.tensor(self._format.latent_rgb_factors_bias)
        return colours.add(1).div(2).clamp(0, 1)

    def decode_unit(self, latents: Tensor) -> Tensor:
        return self._vae.decode(self._format.process_out(latents)).permute(0, 3, 1, 2).mul(2).sub(1)

    def encode(self, pixels: Tensor) -> Tensor:
        def encode(images: Tensor) -> Tensor:
            return self._format.process_in(self._vae.encode(images.add(1).div(2).permute(0, 2, 3, 1)))

        return encode_frames(encode, pixels).transpose(0, 1)[None]

    def spacial_compression_decode(self) -> int:
        return PIXELS


class HostArtV:
    """The system, and how its networks come to their devices.

    belongs_to: the checkpoint whose UNet learned with the adapter, if one did; a MODEL does not say what it is.
    """

    def __init__(
        self, system: ArtVModel, image_model: HostImageModel, adapter: host.ManagedNetwork, vae, belongs_to: str
    ) -> None:
        self.system, self.vae, self.belongs_to = system, vae, belongs_to
        self._image_model, self._adapter = image_model, adapter

    def load(self) -> None:
        """Bring adapter and image model to their device, together: one must not push out the other."""
        self._image_model.load(self._adapter.patcher)

    def denoiser(self, guidance: float):
        return self.system.denoiser(guidance)


def _read_adapter(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        return read_weights(file, "reference_adapter")
    except CheckpointError as error:
        if file == EMBEDDED_ADAPTER:
            raise
        raise CheckpointError(
            f"{error}. Load ART-V (AVGen) needs an ART-V adapter; to train one: {HOW_TO_TRAIN}"
        ) from None


def art_v_model(
    model: ModelPatcher, clip, vae, adapter_file: Path, asked: Frames, reference_guidance: float, mask_strength: float
) -> HostArtV:
    """An adapter on the host's models. Raises UnfitModel where they do not fit, CheckpointError for a bad file."""
    about, weights = _read_adapter(adapter_file)
    if adapter_file == EMBEDDED_ADAPTER:
        check_adapter(FOLDER, about)
    frames = asked.of(about)
    config = config_from(ReferenceAdapterConfig, about)
    network = ReferenceAdapter(config, comfy.ops.disable_weight_init)
    adapter = load_into(network, weights, adapter_file.name)
    devices = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    image_model = HostImageModel(model, clip, adapter, frames.height // PIXELS, frames.width // PIXELS)
    _check_prediction(model, about)
    _check_vae(model, vae)
    if not isinstance(vae, host.HostVAE):
        vae = NativeVAE(vae, model.model.latent_format, frames.height, frames.width)
    vae = vae.of_videos
    if vae.frame_size != (frames.height, frames.width):
        raise UnfitModel(
            f"this VAE makes frames of {vae.frame_size[1]}x{vae.frame_size[0]} pixels, not "
            f"{frames.width}x{frames.height}: set width and height to it"
        )
    system = ArtVModel(
        image_model,
        adapter,
        vae,
        getattr(clip, "understand", any_text),
        f"{fingerprint(adapter_file)}-{image_model.fingerprint}",
        (frames.height, frames.width),
        fps=frames.fps,
        reference_guidance=reference_guidance,
        mask_strength=mask_strength,
    )
    belongs_to = "" if about.get("learned", "nothing") == "nothing" else about["checkpoint"]
    return HostArtV(system, image_model, host.ManagedNetwork(adapter, *devices), vae, belongs_to)


def _check_prediction(model: ModelPatcher, about: dict[str, Any]) -> None:
    velocity = isinstance(model.get_model_object("model_sampling"), comfy.model_sampling.V_PREDICTION)
    try:
        check_prediction(about, Prediction.VELOCITY if velocity else Prediction.EPSILON)
    except ValueError as error:
        raise UnfitModel(f"{error}; or train one for this: {HOW_TO_TRAIN}") from None


def _check_vae(model: ModelPatcher, vae: Any) -> None:
    latent_format = model.model.latent_format
    packs_own = isinstance(vae, host.HostVAE) and not isinstance(vae, NativeVAE)
    fits = packs_own == isinstance(latent_format, _EmbeddedFormat)
    if not fits or vae.latent_channels != latent_format.latent_channels:
        raise UnfitModel(
            f"the VAE (latents of {vae.latent_channels} channels) is not that of the MODEL "
            f"({latent_format.latent_channels} channels{'' if fits else ', of another kind'}): connect the vae output "
            "of the node that loads the MODEL to Load ART-V (AVGen)"
        )


class _EmbeddedFormat(comfy.latent_formats.LatentFormat):
    """The embedded autoencoder's latents have unit variance."""

    scale_factor = 1.0


class _EmbeddedSizes(comfy.supported_models_base.BASE):
    """The embedded image model among the host's models."""

    unet_extra_config = {}
    latent_format = _EmbeddedFormat


def embedded_image_model(folder: Path = FOLDER) -> ModelPatcher:
    """The embedded image model as a MODEL of the host, whose own UNet class runs it."""
    about, weights = read_weights(folder / IMAGE_UNET, "image_unet")
    check_encoder(IMAGE_UNET, about, read_weights(folder / AUTOENCODER, "image_autoencoder")[1])
    config = config_from(ImageUNetConfig, about)
    sizes = _EmbeddedSizes({**config.for_comfyui(), "dtype": torch.float32})
    sizes.latent_format.latent_channels = config.latent_channels
    device = comfy.model_management.get_torch_device()
    model = comfy.model_base.BaseModel(sizes, comfy.model_base.ModelType.V_PREDICTION)
    names = comfy.utils.unet_to_diffusers(sizes.unet_config)
    renamed = {names[name]: value for name, value in weights.items()}
    model.diffusion_model.load_state_dict(renamed)
    model.requires_grad_(False)
    return ModelPatcher(model, device, comfy.model_management.unet_offload_device())
