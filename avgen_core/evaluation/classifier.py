"""The judge of generated videos: a small network that reads the diorama's attributes off 12 frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoints.files import CheckpointError, config_from, load_into, read_weights, save_weights
from ..diorama.attributes import ACTIONS, SCENES, SUBJECTS, TIMES, WEATHERS, Attributes

CLASSIFIER = Path(__file__).with_name("classifier.safetensors")
NETWORK = "attribute_classifier"
WINDOW = 12  # frames that are judged together, 1.5 seconds
LABELS: dict[str, tuple[str, ...]] = {
    "subject": tuple(SUBJECTS),
    "action": ACTIONS,
    "scene": SCENES,
    "time": TIMES,
    "weather": WEATHERS,
}
BATCH = 64


@dataclass(frozen=True)
class ClassifierConfig:
    """Channels at 1/2, 1/4, 1/8 and 1/16 of the frame's side."""

    channels: tuple[int, int, int, int] = (32, 64, 96, 160)
    dropout: float = 0.1


def _unit(incoming: int, outgoing: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> nn.Module:
    """Convolution over time and space, batch norm and ReLU."""
    padding = (kernel[0] // 2 if stride[0] == 1 else (kernel[0] - 1) // 2, kernel[1] // 2, kernel[2] // 2)
    convolution = nn.Conv3d(incoming, outgoing, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outgoing), nn.ReLU())


class AttributeClassifier(nn.Module):
    """Clips (B, 3, 12, 64, 64) in -1..1 to the logits of each attribute, {name: (B, values)}.

    Convolutions over space alternate with convolutions over time; the first one sees four frames at once, because
    scrolling is only visible before the frame is made small.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c, d = config.channels
        self.features = nn.Sequential(
            _unit(3, a, (4, 5, 5), (2, 2, 2)),
            _unit(a, b, (1, 3, 3), (1, 2, 2)),
            _unit(b, b, (3, 1, 1), (1, 1, 1)),
            _unit(b, c, (1, 3, 3), (1, 2, 2)),
            _unit(c, c, (1, 3, 3), (1, 1, 1)),
            _unit(c, c, (3, 1, 1), (1, 1, 1)),
            _unit(c, d, (1, 3, 3), (1, 2, 2)),
            _unit(d, d, (3, 1, 1), (1, 1, 1)),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(d * 2, len(values)) for name, values in LABELS.items()})

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        features = self.features(clips)
        pooled = torch.cat([features.mean(dim=(2, 3, 4)), features.amax(dim=(2, 3, 4))], dim=1)
        pooled = self.dropout(pooled)
        return {name: head(pooled) for name, head in self.heads.items()}


def to_clips(windows: np.ndarray) -> Tensor:
    """Windows (N, 12, 64, 64, 3) uint8 to clips (N, 3, 12, 64, 64) in -1..1, channels last in memory."""
    clips = torch.from_numpy(np.ascontiguousarray(windows)).permute(0, 4, 1, 2, 3)
    return clips.float().div_(127.5).sub_(1)


def class_indices(attributes: list[Attributes]) -> dict[str, Tensor]:
    """The class of every attribute, {name: (N,)}."""
    return {name: torch.tensor([values.index(getattr(a, name)) for a in attributes]) for name, values in LABELS.items()}


def directions(logits: Tensor) -> list[str]:
    """`left`, `right` or `none` for action logits (N, 8): walks and runs add up against each other action."""
    shares = logits.softmax(dim=1)
    left, right = ([i for i, action in enumerate(ACTIONS) if action.endswith(side)] for side in ("left", "right"))
    other = [i for i in range(len(ACTIONS)) if i not in (*left, *right)]
    scores = torch.stack([shares[:, left].sum(1), shares[:, right].sum(1), shares[:, other].amax(1)], dim=1)
    return [("left", "right", "none")[i] for i in scores.argmax(dim=1).tolist()]


@torch.inference_mode()
def classify(classifier: AttributeClassifier, windows: np.ndarray) -> list[dict[str, str]]:
    """What is seen in each of the windows (N, 12, 64, 64, 3) uint8: attribute, or `direction`, to value."""
    seen: list[dict[str, str]] = []
    for start in range(0, len(windows), BATCH):
        logits = classifier(to_clips(windows[start : start + BATCH]))
        best = {name: scores.argmax(dim=1).tolist() for name, scores in logits.items()}
        for i, direction in enumerate(directions(logits["action"])):
            seen.append({**{name: LABELS[name][best[name][i]] for name in LABELS}, "direction": direction})
    return seen


def save_classifier(classifier: AttributeClassifier, path: Path = CLASSIFIER) -> None:
    """Write the weights, with the labels they were trained for."""
    save_weights(path, NETWORK, classifier.config, classifier.state_dict(), labels=LABELS)


def load_classifier(path: Path = CLASSIFIER) -> AttributeClassifier:
    """The trained classifier, ready for inference.

    Raises:
        CheckpointError: the file is missing or damaged, or was trained for other labels than the diorama's.
    """
    about, tensors = read_weights(path, NETWORK)
    if {name: tuple(values) for name, values in about["labels"].items()} != LABELS:
        raise CheckpointError(f"{path.name} was trained for other attributes than the diorama has now: train it anew")
    config = config_from(ClassifierConfig, about)
    return load_into(AttributeClassifier(config), tensors, path.name)
