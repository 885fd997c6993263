"""PatchGAN: a critic of image patches, and what it adds to an autoencoder's loss.

Arithmetic of AR-Diffusion's autoencoder training (official `contperceptual.py`, `discriminator/model.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

LAYERS = 3
SMALLEST_IMAGE = 24  # pixels; smaller ones vanish before the last layer
DEVIATION = 0.02  # of fresh weights
GROUPS = 32
LARGEST_WEIGHT = 1e4


class PatchCritic(nn.Module):
    """Images (N, 3, H, W) to scores (N, 1, h, w) of their patches, high for real ones.

    It has group norms where the official one has batch norms, whose scores depend on what else is in the batch.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for number in range(1, LAYERS + 1):
            channels, stride = width * 2 ** (number - 1), 1 if number == LAYERS else 2
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(GROUPS, 2 * channels),
                nn.LeakyReLU(0.2),
            ]
        self.main = nn.Sequential(*layers, nn.Conv2d(width * 2**LAYERS, 1, 4, padding=1))
        for module in self.main:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=DEVIATION)

    def forward(self, images: Tensor) -> Tensor:
        return self.main(images)


def critic_loss(critic: PatchCritic, real: Tensor, made: Tensor) -> Tensor:
    """Hinge loss (N,) of the critic itself; `made` gets no gradients."""
    scores = (1 - critic(real)).relu() + (1 + critic(made.detach())).relu()
    return 0.5 * scores.float().mean(dim=(1, 2, 3))


def fooling_loss(critic: PatchCritic, made: Tensor) -> Tensor:
    """How little the critic is fooled by each image, (N,); the critic gets no gradients."""
    frozen = {name: value.detach() for name, value in critic.named_parameters()}
    return -functional_call(critic, frozen, made).float().mean(dim=(1, 2, 3))


def adaptive_weight(distance: Tensor, fooling: Tensor, last_layer: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
    """What makes the gradients of `fooling` as long as those of `distance`, both (N,), at the last layer's weights.

    `total` sums gradients over processes.
    """
    gradients = [torch.autograd.grad(loss.sum(), last_layer, retain_graph=True)[0] for loss in (distance, fooling)]
    of_distance, of_fooling = (total(gradient.float().clone()).norm() for gradient in gradients)
    return (of_distance / (of_fooling + 1e-4)).clamp(0, LARGEST_WEIGHT)
