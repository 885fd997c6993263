"""Optimisers: AdamW, or Muon for the matrices inside a network and AdamW for the rest."""

from __future__ import annotations

from enum import Enum
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW


class OptimizerKind(str, Enum):
    """How weights learn."""

    ADAMW = "adamw"
    MUON = "muon"  # https://kellerjordan.github.io/posts/muon, at AdamW's learning rate (arXiv 2502.16982, section 2.2)


def make_optimizer(
    kind: OptimizerKind, model: nn.Module, learning_rate: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """The optimiser of all weights that learn; vectors and single numbers do not decay."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    inside = hidden_matrices(model) if kind is OptimizerKind.MUON else []
    known = set(map(id, inside))
    rest = [parameter for parameter in learned if id(parameter) not in known]
    decayed = [parameter for parameter in rest if parameter.ndim > 1]
    plain = [parameter for parameter in rest if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    adamw = AdamW(groups, lr=learning_rate, betas=betas, fused=True)
    if not inside:
        return adamw
    muon = _muon_class()(inside, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return MuonAndAdamW(muon, adamw)


def _muon_class() -> type[torch.optim.Optimizer]:
    try:
        from torch.optim import Muon
    except ImportError as error:
        raise ValueError(
            f"this training needs torch.optim.Muon, which torch {torch.__version__} does not have: use 2.9 or newer"
        ) from error
    return Muon


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Weights of linear layers that learn; embeddings and output layers are left to AdamW, as Muon's author does."""
    outside = {
        id(parameter)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) or name.rpartition(".")[2] == "head"
        for parameter in module.parameters()
    }
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.ndim == 2 and name.endswith("weight") and id(parameter) not in outside
    ]


class MuonAndAdamW(torch.optim.Optimizer):
    """Two optimisers as one. The groups are theirs, so that a learning rate set here is set there."""

    def __init__(self, muon: torch.optim.Optimizer, adamw: AdamW) -> None:
        self._parts = {"muon": muon, "adamw": adamw}
        groups = [group for part in self._parts.values() for group in part.param_groups]
        super().__init__(groups, {})
        self.param_groups = groups

    def step(self, closure: None = None) -> None:
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state_dict[name])
        self.param_groups = [group for part in self._parts.values() for group in part.param_groups]
