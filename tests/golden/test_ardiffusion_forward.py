"""Our denoiser computes what AR-Diffusion's official `DiT_crossattn` computes with the same weights."""

from __future__ import annotations

import pytest
import torch

from avgen_core.networks.ar_diffusion_dit import ARDiffusionDiT, ARDiffusionDiTConfig

from .conftest import drawn_weights, golden_json, golden_tensors

OUR_NAMES = {
    "num_frames": "frames",
    "n_token_per_frame": "tokens_per_frame",
    "context_token": "context_tokens",
    "use_rotary_emb": "rotary",
}


def network(name: str) -> ARDiffusionDiT:
    """The golden's network; its positions keep their computed values, for they are not drawn."""
    spec = golden_json(name)
    config = {OUR_NAMES.get(key, key): value for key, value in spec["config"].items()}
    model = ARDiffusionDiT(ARDiffusionDiTConfig(**config)).eval()
    weights = drawn_weights(spec, spec["weight_scale"], norms_around_one=False)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= {"pos_embed"}
    return model


@pytest.mark.parametrize("name", ["ardiffusion_tiny", "ardiffusion_rope_tiny"])
@torch.no_grad()
def test_forward(name):
    tensors = golden_tensors(name)
    output = network(name)(tensors["x"], tensors["t"], tensors["context"].unsqueeze(1))
    torch.testing.assert_close(output, tensors["y"], atol=1e-5, rtol=0)
