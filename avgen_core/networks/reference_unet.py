"""An image UNet of diffusers that sees references: training and library use of ART-V. ComfyUI brings its own UNet."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from .reference_adapter import EncodedReferences, ReferenceAdapter, ReferenceAdapterConfig

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention

TextKeys = list[tuple[Tensor, Tensor]]
"""Keys and values (B, tokens, width) of a prompt for each cross-attention."""


class Prediction(str, Enum):
    """What the image model's network predicts."""

    EPSILON = "epsilon"
    VELOCITY = "v_prediction"


def clean_from(prediction: Prediction, predicted: Tensor, noisy: Tensor, kept: Tensor) -> Tensor:
    """The clean image that belongs to a prediction; `kept` is alphas_cumprod, of a shape that fits."""
    if prediction is Prediction.EPSILON:
        return (noisy - (1 - kept).sqrt() * predicted) / kept.sqrt()
    return kept.sqrt() * noisy - (1 - kept).sqrt() * predicted


@dataclass
class Shared:
    """What the cross-attentions of the last forward look at beside their queries; recomputed blocks need it later."""

    text: TextKeys = field(default_factory=list)
    anchor: list[tuple[Tensor, Tensor]] = field(default_factory=list)


class CrossAttention:
    """Processor of one cross-attention, which attends to the text and, with the same queries, to the anchor."""

    def __init__(self, index: int, shared: Shared) -> None:
        self.index, self.shared = index, shared

    def __call__(self, attention: Attention, hidden_states: Tensor, *_, **__) -> Tensor:
        """States (B, N, width) to (B, N, width)."""
        queries = _split(attention.to_q(hidden_states), attention.heads)
        out = _attend(queries, self.shared.text[self.index]) + _attend(queries, self.shared.anchor[self.index])
        for layer in attention.to_out:
            out = layer(out)
        return out


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _attend(queries: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
    keys, values = (_split(x.to(queries), queries.shape[1]) for x in keys_values)
    return functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)


def cross_attentions(unet: UNet2DConditionModel) -> list[Attention]:
    """The cross-attentions in the order in which a forward meets them.

    Raises:
        ValueError: they are not those of Stable Diffusion 1.x and 2.x.
    """
    found = []
    for part in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        for transformer in getattr(part, "attentions", None) or ():
            for block in getattr(transformer, "transformer_blocks", ()):
                if block.attn2 is None or block.attn2.residual_connection or block.attn2.norm_q is not None:
                    raise ValueError(
                        "ART-V works on UNets of Stable Diffusion 1.x and 2.x; this one is built otherwise"
                    )
                found.append(block.attn2)
    return found


def check_fit(
    config: ReferenceAdapterConfig, widths: tuple[int, ...], attention_widths: tuple[int, ...], text_width: int
) -> None:
    """Raises ValueError when an adapter was made for a UNet of other sizes than these."""
    made_for = (config.widths, config.text_width, config.attention_widths)
    if made_for != (widths, text_width, attention_widths):
        raise ValueError(
            f"the adapter was made for a UNet with levels of {config.widths} channels, texts of width "
            f"{config.text_width} and {len(config.attention_widths)} cross-attentions, this one has {widths}, "
            f"{text_width} and {len(attention_widths)}: use the image model that the adapter was trained on"
        )


class ReferenceUNet(nn.Module):
    """The image model with ART-V's additions. Untrained, they change no bit of what the image model gives."""

    def __init__(self, unet: UNet2DConditionModel, adapter: ReferenceAdapter) -> None:
        super().__init__()
        self.unet, self.adapter, self._shared = unet, adapter, Shared()
        attentions = cross_attentions(unet)
        check_fit(
            adapter.config,
            tuple(unet.config.block_out_channels),
            tuple(attention.inner_dim for attention in attentions),
            unet.config.cross_attention_dim,
        )
        for index, attention in enumerate(attentions):
            attention.set_processor(CrossAttention(index, self._shared))

    def text_keys(self, text: Tensor) -> TextKeys:
        """States of prompts (B, tokens, text width) to what the cross-attentions need of them."""
        return [(a.to_k(text), a.to_v(text)) for a in cross_attentions(self.unet)]

    def forward(self, noisy: Tensor, timesteps: Tensor, text: TextKeys, encoded: EncodedReferences) -> Tensor:
        """What the image model predicts for `noisy` (B, C, H, W) at `timesteps` (B,)."""
        self._shared.text, self._shared.anchor = text, encoded.anchor
        return self.unet(
            noisy,
            timesteps,
            text[0][0],  # only its presence matters: the processors have the keys
            down_intrablock_additional_residuals=[residual.to(noisy) for residual in encoded.residuals],
        ).sample
