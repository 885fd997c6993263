"""One forward of the causal DiT beside diffusers' Wan transformer of the same size."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from timing import alternate, arguments, report  # noqa: E402

from avgen_core.systems.embedded import load_embedded  # noqa: E402


@torch.no_grad()
def main() -> None:
    from diffusers import WanTransformer3DModel

    options = arguments(__doc__)
    ours = load_embedded().dit
    config = ours.config
    peer = WanTransformer3DModel(
        patch_size=config.patch_size,
        num_attention_heads=config.num_heads,
        attention_head_dim=config.head_dim,
        in_channels=config.in_dim,
        out_channels=config.out_dim,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.num_layers,
    ).eval()
    latents, text = torch.randn(2, config.in_dim, 16, 8, 8), torch.randn(2, config.text_len, config.text_dim)
    once, each = torch.full((2,), 500.0), torch.full((2, 16), 500.0)
    candidates = {
        "ours, a timestep a frame": lambda: ours(latents, each, ours.text_keys(text)),
        "diffusers, one timestep": lambda: peer(latents, once, text),
    }
    seconds = alternate(candidates, 3 if options.quick else 30)
    report("forward of 2 x 16 frames", seconds, "diffusers, one timestep", options.json)


if __name__ == "__main__":
    main()
