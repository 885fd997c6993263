"""AVGen's own weight files: small, and close to what was trained."""

from __future__ import annotations

import torch
from torch import nn

from avgen_core.checkpoints.files import load_into, read_weights, save_weights
from avgen_core.networks.image_autoencoder import ImageAutoencoderConfig


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 256, 3), nn.Linear(256, 256))


def test_matrices_take_a_byte_a_weight(tmp_path):
    path, model = tmp_path / "a.safetensors", network()
    save_weights(path, "test", ImageAutoencoderConfig(), model.state_dict(), steps=3)
    matrices = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    assert path.stat().st_size < 1.1 * matrices
    about, tensors = read_weights(path, "test")
    assert about["steps"] == 3
    read = load_into(network(), tensors, path.name)
    for name, value in model.state_dict().items():
        loaded = read.state_dict()[name]
        if name.endswith("weight") and value.ndim > 1:
            step = value.flatten(1).abs().amax(dim=1) / 127
            assert ((loaded - value).flatten(1).abs() <= 0.51 * step[:, None]).all()
        else:
            torch.testing.assert_close(loaded, value, atol=1e-3, rtol=1e-3)


def test_what_was_read_is_written_as_the_same_bytes(tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_weights(first, "test", ImageAutoencoderConfig(), network().state_dict())
    save_weights(second, "test", ImageAutoencoderConfig(), read_weights(first, "test")[1])
    assert first.read_bytes() == second.read_bytes()


def test_a_row_of_zeros_stays_one(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(path, "test", ImageAutoencoderConfig(), {"a.weight": torch.zeros(2, 3)})
    assert read_weights(path, "test")[1]["a.weight"].eq(0).all()
