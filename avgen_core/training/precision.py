"""In which arithmetic a training computes."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "bf16", "no")


def autocast(device: torch.device, precision: str = "auto") -> torch.autocast:
    """Autocast to bfloat16: always ("bf16"), never ("no"), or where it is no imitation ("auto").

    A CPU without such instructions imitates bfloat16, five times slower than it computes in float32.
    """
    enabled = precision == "bf16" or (precision == "auto" and _computes_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # younger than the oldest PyTorch that will do
    return bool(capabilities.get("avx512_bf16") or capabilities.get("bf16"))
