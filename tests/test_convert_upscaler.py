"""Reading ncnn's files: the layers that a compact upscaler consists of, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from convert_upscaler import HALF_PRECISION, CompactConfig, compact_config, compact_state
from spandrel import ModelLoader

PARAM = """7767517
7 8
Input            image    0 1 image
Split            split    1 2 image image_0 image_1
Convolution      first    1 1 image_0 a 0=2 1=3 4=1 5=1 6=54
PReLU            slope    1 1 a b 0=2
Convolution      last     1 1 b c 0=27 1=3 4=1 5=1 6=486
PixelShuffle     shuffle  1 1 c d 0=3
Interp           nearest  1 1 image_1 e 0=1 1=3.0 2=3.0
BinaryOp         add      2 1 d e output
"""
SIZES = {"first": 54, "first_bias": 2, "slope": 2, "last": 486, "last_bias": 27}
NUMBERS = {name: np.arange(size, dtype=np.float16) / 512 for name, size in SIZES.items()}


def half(values: np.ndarray) -> bytes:
    content = HALF_PRECISION.to_bytes(4, "little") + values.astype("<f2").tobytes()
    return content + bytes(-len(content) % 4)


def single(values: np.ndarray, flag: bytes = b"") -> bytes:
    return flag + values.astype("<f4").tobytes()


def weights(first: bytes = half(NUMBERS["first"])) -> bytes:
    biases_and_slopes = single(NUMBERS["first_bias"]) + single(NUMBERS["slope"])
    return first + biases_and_slopes + half(NUMBERS["last"]) + single(NUMBERS["last_bias"])


def test_tensors_have_the_names_that_spandrel_knows() -> None:
    state = compact_state(PARAM, weights())
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "body.0.weight": (2, 3, 3, 3),
        "body.0.bias": (2,),
        "body.1.weight": (2,),
        "body.2.weight": (27, 2, 3, 3),
        "body.2.bias": (27,),
    }
    assert compact_config(state) == CompactConfig(channels=3, features=2, convolutions=0, scale=3)
    assert ModelLoader().load_from_state_dict(state).scale == 3


def test_half_and_single_precision_are_told_apart() -> None:
    for first in (half(NUMBERS["first"]), single(NUMBERS["first"], flag=bytes(4))):
        state = compact_state(PARAM, weights(first))
        assert torch.equal(state["body.0.weight"].flatten(), torch.arange(54) / 512)
        assert torch.equal(state["body.2.bias"], torch.arange(27) / 512)


def test_an_odd_number_of_halves_is_filled_up() -> None:
    convolution = "7767517\n1 1\nConvolution only 1 1 a b 0=1 1=1 5=1 6=3\n"
    state = compact_state(convolution, half(np.ones(3)) + single(np.full(1, 7)))
    assert state["body.0.weight"].shape == (1, 3, 1, 1) and state["body.0.bias"].tolist() == [7]


@pytest.mark.parametrize(
    ("param", "content", "message"),
    [
        ("onnx", weights(), "not an ncnn .param file"),
        (PARAM.replace("PReLU", "GroupNorm"), weights(), "type GroupNorm is not one of"),
        (PARAM, weights(single(NUMBERS["first"], flag=b"\1\0\0\0")), "in the form 0x00000001"),
        (PARAM, weights() + bytes(4), "1216 bytes of weights, but the layers need 1212"),
    ],
)
def test_other_files_are_refused(param: str, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compact_state(param, content)
