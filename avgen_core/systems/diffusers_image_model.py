"""A Stable Diffusion UNet of diffusers as ART-V's image model, for training and library use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..networks.reference_adapter import EncodedReferences
from ..networks.reference_unet import Prediction, ReferenceUNet, TextKeys, clean_from
from ..rollout.denoiser import PromptMix

KEPT_PROMPTS = 32  # as in `causal_wan`


class DiffusersImageModel:
    """The UNet with its additions; text keys are computed once a prompt."""

    def __init__(
        self,
        network: ReferenceUNet,
        encode_text: Callable[[str], Tensor],
        *,
        alphas_cumprod: tuple[float, ...],
        prediction: Prediction,
        latent_shape: tuple[int, int, int],
        fingerprint: str,
    ) -> None:
        """`encode_text` gives one prompt's states (tokens, width)."""
        self.network, self.encode_text, self.prediction = network, encode_text, prediction
        self.alphas_cumprod, self.latent_shape, self.fingerprint = alphas_cumprod, latent_shape, fingerprint
        self._text_keys: dict[PromptMix, TextKeys] = {}
        self._rows: tuple[tuple[PromptMix, ...], TextKeys] | None = None

    @property
    def device(self) -> torch.device:
        return self._weight.device

    @property
    def _weight(self) -> Tensor:
        """Stands for the UNet's device and type, which diffusers looks for in all of its modules at every call."""
        return self.network.unet.conv_in.weight

    def encode(self, text: str) -> None:
        """Nothing to prepare: texts are encoded when they are needed."""

    def predict_clean(
        self, noisy: Tensor, timestep: float, prompts: tuple[PromptMix, ...], encoded: EncodedReferences
    ) -> Tensor:
        """As `ImageModel.predict_clean`."""
        step = torch.full((len(noisy),), round(timestep), device=noisy.device)
        predicted = self.network(noisy.to(self._weight.dtype), step, self._keys_of_rows(prompts), encoded).float()
        kept = torch.tensor(self.alphas_cumprod[round(timestep)], device=noisy.device)
        return clean_from(self.prediction, predicted, noisy.float(), kept)

    def _keys_of_rows(self, prompts: tuple[PromptMix, ...]) -> TextKeys:
        """Those of a batch; the steps of a frame ask for the same ones."""
        if self._rows is None or self._rows[0] != prompts:
            layers = zip(*(self._keys_of(mix) for mix in prompts), strict=True)
            self._rows = prompts, [tuple(torch.cat(part) for part in zip(*layer, strict=True)) for layer in layers]
        return self._rows[1]

    def _keys_of(self, mix: PromptMix) -> TextKeys:
        if mix not in self._text_keys:
            if len(self._text_keys) >= KEPT_PROMPTS:
                self._text_keys.pop(next(iter(self._text_keys)))
            states = sum(share * self.encode_text(text).float() for text, share in mix)
            self._text_keys[mix] = self.network.text_keys(states[None].to(self._weight))
        return self._text_keys[mix]
