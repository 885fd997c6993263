"""A causal DiT small enough for tests, with random weights and prompts that really change its output."""

from __future__ import annotations

import hashlib

import torch

from avgen_core.networks.causal_dit import CausalDiT, CausalDiTConfig
from avgen_core.plan import AsynchronousPlan, BlockPlan, OnSwitch, Window, flow_sigmas
from avgen_core.prompts import parse_schedule
from avgen_core.rollout.executor import Prompts
from avgen_core.systems.causal_wan import CausalWanDenoiser

SHAPE = (4, 4, 6)
CONFIG = CausalDiTConfig(
    dim=48, ffn_dim=64, num_heads=2, num_layers=3, in_dim=4, out_dim=4, text_dim=8, text_len=5, freq_dim=16
)


def network(seed: int = 0) -> CausalDiT:
    torch.manual_seed(seed)
    model = CausalDiT(CONFIG).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.08)
    for module in model.modules():
        if hasattr(module, "weight") and module.weight is not None and module.weight.ndim == 1:
            module.weight.data.add_(1.0)
    return model


def encode_text(text: str) -> torch.Tensor:
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
    return torch.randn(CONFIG.text_len, CONFIG.text_dim, generator=torch.Generator().manual_seed(key))


def denoiser(guidance: float = 1.0, fingerprint: str = "tiny") -> CausalWanDenoiser:
    return CausalWanDenoiser(network(), encode_text, fingerprint=fingerprint, latent_shape=SHAPE, guidance=guidance)


def prompts(text: str = "a cat", negative: str | None = None, blend: int = 0) -> Prompts:
    schedule = parse_schedule(text, fps=8, blend=blend)
    return Prompts(schedule, parse_schedule(negative, fps=8) if negative else None)


def block_plan(**changes) -> BlockPlan:
    """Recaching at prompt switches, which asks more of the engine than keeping does."""
    recaching = {"on_switch": OnSwitch.RECACHE}
    return BlockPlan(**{"sigmas": flow_sigmas(3), "block": 2, "window": Window(6, 1), **recaching, **changes})


def asynchronous_plan(**changes) -> AsynchronousPlan:
    """The same."""
    recaching = {"on_switch": OnSwitch.RECACHE}
    return AsynchronousPlan(
        **{"sigmas": flow_sigmas(4), "difference": 2, "window": Window(6, 1), **recaching, **changes}
    )
