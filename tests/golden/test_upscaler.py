"""The converted upscaler, loaded as ComfyUI loads one, makes of a picture what ncnn makes of it from the original."""

from __future__ import annotations

import torch
from spandrel import ModelLoader

from avgen_core.checkpoints.files import read_weights
from avgen_core.systems.embedded import FOLDER

from .conftest import golden_tensors

TOLERANCE = 2e-3  # the file holds biases and slopes in half precision, ncnn's in single


@torch.no_grad()
def test_upscaler_is_that_of_ncnn() -> None:
    description, tensors = read_weights(FOLDER / "upscaler.safetensors", "upscaler")
    upscaler = ModelLoader().load_from_state_dict(tensors).eval()
    assert (upscaler.architecture.id, upscaler.scale) == ("Compact", description["config"]["scale"])
    golden = golden_tensors("upscaler")
    torch.testing.assert_close(upscaler(golden["image"]), golden["upscaled"].clamp(0, 1), atol=TOLERANCE, rtol=0)
