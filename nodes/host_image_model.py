"""ComfyUI's own MODEL as ART-V's image model: any Stable Diffusion 1.x or 2.x checkpoint, with LoRAs and all.

Residuals enter through the host's control mechanism, the anchor through its attention patches. The MODEL itself stays
as it is.
"""

from __future__ import annotations

import math

import comfy.model_base
import comfy.model_management
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.controlnet import ControlBase
from comfy.ldm.modules.attention import BasicTransformerBlock, optimized_attention
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, UNetModel
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..avgen_core.networks.reference_adapter import EncodedReferences, ReferenceAdapter
from ..avgen_core.networks.reference_unet import check_fit
from ..avgen_core.rollout.denoiser import PromptMix
from .host_fingerprint import fingerprint

KINDS = (comfy.model_base.ModelType.EPS, comfy.model_base.ModelType.V_PREDICTION)
Conditioning = list
TIMESTEPS = 1000
HOW_TO_TRAIN = "`python -m avgen_core train art-v --checkpoint FILE --data VIDEOS` (docs/art_v.md)"


class UnfitModel(ValueError):
    """A MODEL that ART-V cannot work on; the message says why and what to use."""


class ReferenceControl(ControlBase):
    """The residuals of the references, for each row of a batch, as the host's samplers ask for them."""

    def __init__(self, places: list[int], count: int) -> None:
        """`places`: input blocks after which the levels' residuals are added, of `count` blocks."""
        super().__init__()
        self._places, self._count = places, count
        self.encoded: EncodedReferences | None = None

    def get_control(self, x_noisy: Tensor, t: Tensor, cond: dict, batched_number: int, transformer_options: dict):
        """The host takes the last entry first."""
        rows = transformer_options["cond_or_uncond"]
        blocks: list[Tensor | None] = [None] * self._count
        for place, residual in zip(self._places, self.encoded.residuals, strict=True):
            blocks[place] = residual[rows].to(x_noisy)
        return {"input": blocks[::-1], "middle": [], "output": []}


class AnchorPatch:
    """Attention to the anchor beside that to the text, in one cross-attention of the host's UNet."""

    def __init__(self, index: int, references: ReferenceControl, beneath) -> None:
        """`beneath`: another pack's patch of the same attention, which gives the text's part."""
        self.index, self.references, self.beneath = index, references, beneath

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, options: dict) -> Tensor:
        rows = options["cond_or_uncond"]
        if self.beneath is not None:
            out = self.beneath(queries, keys, values, options)
        else:
            out = _attend(queries, keys, values, options)
        anchor_keys, anchor_values = (x[rows].to(queries) for x in self.references.encoded.anchor[self.index])
        return out + _attend(queries, anchor_keys, anchor_values, options)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, options: dict) -> Tensor:
    """The host's attention, whichever it or another pack has chosen."""
    precision = options.get("attn_precision")
    return optimized_attention(
        queries, keys, values, options["n_heads"], attn_precision=precision, transformer_options=options
    )


def check_model(model: ModelPatcher) -> UNetModel:
    """The UNet of a MODEL. Raises UnfitModel for what is not a plain Stable Diffusion 1.x or 2.x."""
    network, inner = getattr(model.model, "diffusion_model", None), model.model
    if not isinstance(network, UNetModel):
        raise UnfitModel(_refusal(type(network).__name__, "it is no Stable Diffusion UNet"))
    if isinstance(inner, comfy.model_base.SVD_img2vid) or getattr(network, "use_temporal_attention", False):
        raise UnfitModel(_refusal("a video model", "it works on whole clips"))
    inside, latents = network.in_channels, inner.latent_format.latent_channels
    if isinstance(inner, comfy.model_base.SDXL) or inner.adm_channels:
        raise UnfitModel(_refusal("SDXL or an image-conditioned variant", "its UNet takes more than text"))
    if inside != latents:
        raise UnfitModel(_refusal(f"a UNet with {inside} input channels", "it is made for inpainting or depth"))
    if inner.model_type not in KINDS:
        raise UnfitModel(_refusal(f"a model of the kind {inner.model_type.name}", "it is not an epsilon or v model"))
    return network


def _refusal(what: str, why: str) -> str:
    return f"ART-V cannot work on {what}: {why}. Load a Stable Diffusion 1.5 or 2.1 text-to-image checkpoint"


def patch_keys(network: UNetModel) -> list[tuple[tuple[str, int, int], int]]:
    """Key of each cross-attention in the host's patches, and its inner width, in the order of a forward."""
    found = []
    parts = [("input", network.input_blocks), ("middle", [network.middle_block]), ("output", network.output_blocks)]
    for name, blocks in parts:
        for number, block in enumerate(blocks):
            inner = [module for module in block.modules() if isinstance(module, BasicTransformerBlock)]
            found += [((name, number, i), module.attn2.to_q.out_features) for i, module in enumerate(inner)]
    return found


def level_places(network: UNetModel) -> list[int]:
    """The input block at the end of each level: the one before a downsampling, and the last."""
    downs = [i for i, block in enumerate(network.input_blocks) if any(isinstance(part, Downsample) for part in block)]
    return [*(number - 1 for number in downs), len(network.input_blocks) - 1]


class HostImageModel:
    """A MODEL and a CLIP of the host, with an adapter's references."""

    def __init__(self, model: ModelPatcher, clip, adapter: ReferenceAdapter, height: int, width: int) -> None:
        """`height`, `width`: of the latents."""
        network = check_model(model)
        attentions = patch_keys(network)
        _check_fit(network, [width for _, width in attentions], adapter)
        self._clip, self.fingerprint = clip, fingerprint(model, clip)
        self._references = ReferenceControl(level_places(network), len(network.input_blocks))
        self.model = self._patched(model, [key for key, _ in attentions])
        channels = model.model.latent_format.latent_channels
        self.latent_shape, self.device = (channels, height, width), model.load_device
        sigmas = model.get_model_object("model_sampling").sigmas.double()
        if len(sigmas) != TIMESTEPS:
            raise UnfitModel(
                f"the MODEL's schedule has {len(sigmas)} noise levels, ART-V needs all {TIMESTEPS}: leave out the node "
                "that changes its sampling (ModelSamplingDiscrete with lcm)"
            )
        self.alphas_cumprod = tuple((1 / (1 + sigmas**2)).tolist())
        self._text_width, self._states = adapter.config.text_width, dict[str, Tensor]()

    def _patched(self, model: ModelPatcher, keys: list[tuple[str, int, int]]) -> ModelPatcher:
        clone = model.clone()
        replaced = clone.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
        for index, key in enumerate(keys):
            beneath = replaced.get(key) or replaced.get(key[:2])
            clone.set_model_attn2_replace(AnchorPatch(index, self._references, beneath), *key)
        return clone

    def load(self, *others: ModelPatcher) -> None:
        """Bring the MODEL to its device, with its patches, and other networks with it."""
        needed = self.model.model.memory_required([3, *self.latent_shape])
        comfy.model_management.load_models_gpu([*others, self.model], memory_required=needed)
        self.model.pre_run()

    def encode(self, text: str) -> None:
        """States of a text. Loads the CLIP: to be called before `load`, which wants the memory for the MODEL.

        Raises:
            UnfitModel: the CLIP is that of another kind of model.
        """
        if text in self._states:
            return
        states = self._clip.encode_from_tokens(self._clip.tokenize(text), return_pooled=False).cpu()
        if states.shape[-1] != self._text_width:
            raise UnfitModel(
                f"the CLIP gives states of width {states.shape[-1]}, the MODEL takes {self._text_width}: connect the "
                "clip output of the node that loads the MODEL to Load ART-V (AVGen)"
            )
        self._states[text] = states

    def predict_clean(
        self, noisy: Tensor, timestep: float, prompts: tuple[PromptMix, ...], encoded: EncodedReferences
    ) -> Tensor:
        """As `ImageModel.predict_clean`, of one frame under several prompts: all rows of `noisy` must be the same.

        The host decides how many rows it computes at once.
        """
        if not torch.equal(noisy, noisy[:1].expand_as(noisy)):
            raise ValueError("ComfyUI's samplers take one frame under several prompts, these rows differ")
        self._references.encoded = encoded
        inner = self.model.model
        sigma = inner.model_sampling.sigmas[round(timestep)].to(self.device)
        # The host's samplers work on clean + sigma * noise.
        scaled = noisy[:1] * (1 + sigma**2).sqrt()
        rows = {str(row): self._conditioning(mix) for row, mix in enumerate(prompts)}
        latent = torch.zeros_like(scaled)
        rows = comfy.samplers.process_conds(inner, scaled, rows, self.device, latent_image=latent)
        conds = [[{**cond, "control": self._references} for cond in row] for row in rows.values()]
        clean = comfy.samplers.calc_cond_batch(inner, conds, scaled, sigma[None], self.model.model_options)
        return torch.cat(clean).float()

    def _conditioning(self, mix: PromptMix) -> Conditioning:
        for text, _ in mix:
            self.encode(text)
        mixed = _mixed([(self._states[text], share) for text, share in mix])
        return comfy.sampler_helpers.convert_cond([[mixed, {}]])


def _mixed(encoded: list[tuple[Tensor, float]]) -> Tensor:
    """The weighted sum of token states (1, tokens, width); short ones are repeated, as the host does in a batch."""
    longest = math.lcm(*(states.shape[1] for states, _ in encoded))
    return sum(share * states.repeat(1, longest // states.shape[1], 1) for states, share in encoded)


def _check_fit(network: UNetModel, attention_widths: list[int], adapter: ReferenceAdapter) -> None:
    widths = tuple(network.model_channels * factor for factor in network.channel_mult)
    text_width = next(
        module.attn2.to_k.in_features for module in network.modules() if isinstance(module, BasicTransformerBlock)
    )
    try:
        check_fit(adapter.config, widths, tuple(attention_widths), text_width)
    except ValueError as error:
        raise UnfitModel(f"{error}; or train one for this: {HOW_TO_TRAIN}") from None
