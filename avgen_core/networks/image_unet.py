"""Sizes of a small UNet in Stable Diffusion's layout: diffusers builds it for training, ComfyUI its own to sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


@dataclass(frozen=True)
class ImageUNetConfig:
    """Text attention on all levels but the coarsest, and in the middle, as in Stable Diffusion.

    widths: channels of the levels, multiples of the first; layers: residual blocks a level; heads: of every attention.
    """

    latent_channels: int = 16
    widths: tuple[int, ...] = (64, 128)
    layers: int = 2
    heads: int = 4
    text_dim: int = 128

    def __post_init__(self) -> None:
        if any(width % self.widths[0] or width % 32 for width in self.widths):
            raise ValueError(f"widths must be multiples of 32 and of the first, got {self.widths}")

    def for_diffusers(self) -> dict[str, Any]:
        """Arguments of `UNet2DConditionModel`, whose `attention_head_dim` is the number of heads."""
        plain, attentive = ["DownBlock2D", "UpBlock2D"], ["CrossAttnDownBlock2D", "CrossAttnUpBlock2D"]
        down = [*[attentive[0]] * (len(self.widths) - 1), plain[0]]
        up = [plain[1], *[attentive[1]] * (len(self.widths) - 1)]
        return {
            "in_channels": self.latent_channels,
            "out_channels": self.latent_channels,
            "down_block_types": down,
            "up_block_types": up,
            "block_out_channels": self.widths,
            "layers_per_block": self.layers,
            "cross_attention_dim": self.text_dim,
            "attention_head_dim": self.heads,
        }

    def for_comfyui(self) -> dict[str, Any]:
        """ComfyUI's `unet_config` of the same network."""
        levels = len(self.widths)
        attentive = [1] * (levels - 1) + [0]
        return {
            "image_size": 32,
            "in_channels": self.latent_channels,
            "out_channels": self.latent_channels,
            "model_channels": self.widths[0],
            "num_res_blocks": [self.layers] * levels,
            "channel_mult": [width // self.widths[0] for width in self.widths],
            "transformer_depth": [depth for depth in attentive for _ in range(self.layers)],
            "transformer_depth_output": [depth for depth in attentive for _ in range(self.layers + 1)],
            "transformer_depth_middle": 1,
            "context_dim": self.text_dim,
            "use_spatial_transformer": True,
            "use_linear_in_transformer": False,
            "adm_in_channels": None,
            "use_temporal_attention": False,
            "legacy": False,
            "num_heads": self.heads,
            "num_head_channels": -1,
        }

    def build(self) -> UNet2DConditionModel:
        """The network with fresh weights."""
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel(**self.for_diffusers())
