"""The causal DiT computes what diffusers' Wan transformer computes with the same weights."""

from __future__ import annotations

import random

import pytest
import torch
from diffusers import WanTransformer3DModel

from avgen_core.networks.causal_dit import CausalDiT, CausalDiTConfig

OWN_NAMES = {
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    ".attn1.": ".self_attn.",
    ".attn2.": ".cross_attn.",
    ".to_q.": ".q.",
    ".to_k.": ".k.",
    ".to_v.": ".v.",
    ".to_out.0.": ".o.",
    ".norm2.": ".norm3.",
    ".ffn.net.0.proj.": ".ffn.0.",
    ".ffn.net.2.": ".ffn.2.",
    "proj_out.": "head.head.",
    "scale_shift_table": "modulation",
}


def own_name(name: str) -> str:
    """Wan's own name of a parameter that diffusers calls `name`."""
    if name == "scale_shift_table":
        return "head.modulation"
    for theirs, ours in OWN_NAMES.items():
        name = name.replace(theirs, ours)
    return name


def drawn_config(rng: random.Random) -> CausalDiTConfig:
    heads, head_dim = rng.randint(1, 4), rng.choice([20, 24, 32, 48, 64])
    return CausalDiTConfig(
        dim=heads * head_dim,
        ffn_dim=rng.randrange(32, 160),
        num_heads=heads,
        num_layers=rng.randint(1, 4),
        in_dim=rng.choice([4, 16]),
        out_dim=rng.choice([4, 16]),
        text_dim=rng.randrange(8, 64),
        text_len=rng.randint(2, 12),
        freq_dim=rng.choice([16, 64, 256]),
        cross_attn_norm=rng.random() < 0.7,
    )


def diffusers_model(config: CausalDiTConfig) -> WanTransformer3DModel:
    model = WanTransformer3DModel(
        patch_size=config.patch_size,
        num_attention_heads=config.num_heads,
        attention_head_dim=config.head_dim,
        in_channels=config.in_dim,
        out_channels=config.out_dim,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.num_layers,
        cross_attn_norm=config.cross_attn_norm,
        eps=config.eps,
    )
    for name, parameter in model.named_parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        torch.nn.init.normal_(parameter, mean=float("norm" in name and name.endswith("weight")), std=scale)
    return model.eval()


def causal_dit(config: CausalDiTConfig, reference: WanTransformer3DModel) -> CausalDiT:
    model = CausalDiT(config).eval()
    weights = {own_name(name): value for name, value in reference.state_dict().items()}
    model.load_state_dict(weights, strict=True)
    return model


class ExactTimesteps(torch.nn.Module):
    """The timesteps' sinusoid in float64, as in Wan's own code; diffusers rounds the angles to float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rates = 1 / 10000 ** torch.linspace(0, 1, channels // 2 + 1, dtype=torch.float64)[:-1]

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        angles = torch.outer(timesteps.double(), self.rates)
        return torch.cat([torch.cos(angles), torch.sin(angles)], dim=1).float()


@pytest.mark.parametrize("seed", range(8))
@torch.no_grad()
def test_forward_equals_diffusers(seed):
    """Two samples, each with its timestep and text; all frames of a sample see each other."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    config = drawn_config(rng)
    theirs = diffusers_model(config)
    ours = causal_dit(config, theirs)
    frames, height, width = rng.randint(1, 6), 2 * rng.randint(1, 6), 2 * rng.randint(1, 6)
    latents = torch.randn(2, config.in_dim, frames, height, width)
    text = torch.randn(2, config.text_len, config.text_dim)
    timesteps = torch.tensor([rng.uniform(0, 1000), rng.choice([0.0, 1000.0])])
    velocity = ours(latents, timesteps[:, None].expand(2, frames), ours.text_keys(text))
    rounded = theirs(latents, timesteps, text).sample
    torch.testing.assert_close(velocity, rounded, atol=1e-4, rtol=0)
    theirs.condition_embedder.timesteps_proj = ExactTimesteps(config.freq_dim)
    torch.testing.assert_close(velocity, theirs(latents, timesteps, text).sample, atol=1e-5, rtol=0)
    assert velocity.std() > 0.5, "a nearly constant output would prove little"


@torch.no_grad()
def test_clean_frames_equal_unchanged_diffusers():
    """At timestep 0 there is nothing to round."""
    torch.manual_seed(0)
    config = drawn_config(random.Random(0))
    theirs = diffusers_model(config)
    ours = causal_dit(config, theirs)
    latents, text = torch.randn(1, config.in_dim, 3, 4, 6), torch.randn(1, config.text_len, config.text_dim)
    velocity = ours(latents, torch.zeros(1, 3), ours.text_keys(text))
    torch.testing.assert_close(velocity, theirs(latents, torch.zeros(1), text).sample, atol=1e-5, rtol=0)


def test_every_parameter_of_diffusers_has_a_name_here():
    config = drawn_config(random.Random(0))
    theirs, ours = diffusers_model(config).state_dict(), CausalDiT(config).state_dict()
    assert {own_name(name): value.shape for name, value in theirs.items()} == {
        name: value.shape for name, value in ours.items()
    }
