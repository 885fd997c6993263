"""Muon for the matrices inside a network, AdamW for the rest: which weights are whose, and that states go on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.optim import Muon

from avgen_core.training.causal_dit import train_causal_dit
from avgen_core.training.latents import LatentClips
from avgen_core.training.loop import Training
from avgen_core.training.optimizers import OptimizerKind, hidden_matrices, make_optimizer
from tests.training.small import same, spec, text_to_video


def test_matrices_inside_are_muons_and_the_rest_is_adamws():
    model = text_to_video()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    inside = {names[id(parameter)] for parameter in hidden_matrices(model)}
    assert {"dit.blocks.0.self_attn.q.weight", "dit.blocks.0.ffn.2.weight", "dit.time_projection.1.weight"} <= inside
    assert not any("head" in name or "token_embedding" in name or "patch_embedding" in name for name in inside)
    optimizer = make_optimizer(OptimizerKind.MUON, model, 1e-3, (0.9, 0.98), 0.01)
    all_of_them = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(all_of_them) == len(set(map(id, all_of_them))) == len(names)


def test_a_learning_rate_reaches_both():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    optimizer = make_optimizer(OptimizerKind.MUON, model, 1e-3, (0.9, 0.98), 0.0)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [parameter.clone() for parameter in model.parameters()]
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert all(map(torch.equal, before, model.parameters()))


def test_a_matrix_moves_as_torch_moves_it():
    torch.manual_seed(0)
    mine, theirs = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
    theirs.load_state_dict(mine.state_dict())
    optimizers = (
        make_optimizer(OptimizerKind.MUON, mine, 1e-2, (0.9, 0.98), 0.01),
        Muon(theirs.parameters(), lr=1e-2, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        for layer, optimizer in zip((mine, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            layer(torch.ones(2, 8)).square().sum().backward()
            optimizer.step()
    assert torch.equal(mine.weight, theirs.weight)


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, data):
    def train(out: Path, steps: int) -> Training:
        settings = spec(out, steps, optimizer=OptimizerKind.MUON)
        return train_causal_dit(settings, LatentClips(data, "f" * 16), text_to_video(), frames=8)

    whole = train(tmp_path / "whole", 6)
    train(tmp_path / "cut", 3)
    assert same(train(tmp_path / "cut", 6), whole)
