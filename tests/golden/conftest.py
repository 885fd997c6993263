"""Golden outputs of the official implementations. `AVGEN_GOLDEN` names another folder with files of the same kind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

DATA = Path(os.environ.get("AVGEN_GOLDEN", Path(__file__).with_name("data")))


def golden_json(name: str):
    """The parsed JSON of one golden; a missing or empty one is a failure."""
    path = DATA / f"{name}.json"
    if not path.exists():
        pytest.fail(f"golden {path} is missing")
    content = json.loads(path.read_text())
    if not content:
        pytest.fail(f"golden {path} holds no cases")
    return content


def golden_tensors(name: str) -> dict[str, torch.Tensor]:
    path = DATA / f"{name}.safetensors"
    if not path.exists():
        pytest.fail(f"golden {path} is missing")
    return load_file(path)


def drawn_weights(spec: dict, scale: float, norms_around_one: bool = True) -> dict[str, torch.Tensor]:
    """The weights that a golden's rule describes (golden/README.md)."""
    rng = np.random.default_rng(spec["seed"])
    weights = {}
    for name, shape in spec["weights"]:
        value = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        is_norm = norms_around_one and len(shape) == 1 and name.endswith("weight")
        weights[name] = torch.from_numpy(value + is_norm)
    return weights
