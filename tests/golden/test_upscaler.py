"""The converted upscaler, loaded as ComfyUI loads one, makes of a picture what ncnn makes of it from the original."""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from spandrel import ModelLoader

from avgen_core.systems.embedded import FOLDER

from .conftest import golden_tensors

TOLERANCE = 2e-3  # the file holds biases and slopes in half precision, ncnn's in single


@torch.no_grad()
def test_upscaler_is_that_of_ncnn() -> None:
    upscaler = ModelLoader().load_from_state_dict(load_file(FOLDER / "upscaler.safetensors")).eval()
    assert (upscaler.architecture.id, upscaler.scale) == ("Compact", 4)
    golden = golden_tensors("upscaler")
    torch.testing.assert_close(upscaler(golden["image"]), golden["upscaled"].clamp(0, 1), atol=TOLERANCE, rtol=0)
