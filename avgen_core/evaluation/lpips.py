"""LPIPS-squeeze (Caffe trunk): how different two images look, arXiv 1801.03924.

The trunk is SqueezeNet 1.1 of `features.py`, in Caffe's weights; the published LPIPS has torchvision's, so figures are
near those of the package `lpips`, not equal to them. The linear weights are that package's, 0.1.4 of PyPI: unpack its
wheel and put `lpips/weights/v0.1/squeeze.pth` into the folder of the feature networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .features import FRAME_LAYERS, FRAME_MEAN, FRAME_WEIGHTS, SOURCES, SqueezeNet, check_files, read_openvino

LINEAR_WEIGHTS = "squeeze.pth"
LPIPS_SOURCES = {
    FRAME_WEIGHTS: SOURCES[FRAME_WEIGHTS],
    FRAME_LAYERS: SOURCES[FRAME_LAYERS],
    LINEAR_WEIGHTS: "it is in the package lpips 0.1.4 of PyPI, as weights/v0.1/squeeze.pth: unpack the wheel",
}
NAME = "LPIPS-squeeze (Caffe trunk)"
BATCH = 32


@dataclass(frozen=True)
class Lpips:
    """The trunk, and the weight of every channel of its seven stages, each (C,)."""

    trunk: SqueezeNet
    weights: tuple[Tensor, ...]

    @torch.inference_mode()
    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distance of every pair of frames (N, H, W, 3) uint8, (N,); 0 is no difference. Frames are not resized."""
        pairs = (np.array_split(frames, -(-len(frames) // BATCH)) for frames in (first, second))
        return np.concatenate([self._of(_images(a), _images(b)).numpy() for a, b in zip(*pairs, strict=True)])

    def _of(self, first: Tensor, second: Tensor) -> Tensor:
        stages = zip(self.trunk.stages(first), self.trunk.stages(second), self.weights, strict=True)
        return sum(
            torch.einsum("nchw,c->nhw", (_unit(a) - _unit(b)).square(), w).mean(dim=(1, 2)) for a, b, w in stages
        )


def _images(frames: np.ndarray) -> Tensor:
    """RGB frames (N, H, W, 3) uint8 as the trunk wants them: (N, 3, H, W), blue first, minus the mean."""
    images = torch.from_numpy(frames[..., ::-1].copy()).permute(0, 3, 1, 2).float()
    return images - torch.tensor(FRAME_MEAN)[:, None, None]


def _unit(features: Tensor) -> Tensor:
    """Features (N, C, H, W) of length 1 at every place."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def load_lpips(folder: Path) -> Lpips:
    """From a folder that holds the weights of SqueezeNet and the linear weights.

    Raises:
        FileNotFoundError: a file is missing; the message says where it can be had.
    """
    check_files(folder, LPIPS_SOURCES)
    trunk = SqueezeNet()
    trunk.load_state_dict(read_openvino(folder / FRAME_LAYERS, folder / FRAME_WEIGHTS))
    stored = torch.load(folder / LINEAR_WEIGHTS, map_location="cpu", weights_only=True)
    return Lpips(trunk.eval(), tuple(stored[f"lin{stage}.model.1.weight"].flatten() for stage in range(7)))
