"""The causal DiT as a denoiser: per-frame prompts, guidance with a cache for each branch, commits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from ..networks.causal_dit import CausalDiT, Injected, TextKeys
from ..plan import Action, AsynchronousPlan, BlockPlan, Plan
from ..rollout.cache import CacheView
from ..rollout.denoiser import FrameGrid, PromptMix, Request
from ..rollout.process import FlowMatching

KEPT_PROMPTS = 32  # text keys held at once; a blend makes a new mix every frame, so they cannot all be kept


class CausalWanDenoiser:
    """Runs a `CausalDiT`. With guidance other than 1 both branches go through the network as one batch."""

    process = FlowMatching()
    plans = (BlockPlan, AsynchronousPlan)

    def __init__(
        self,
        network: CausalDiT,
        encode_text: Callable[[str], Tensor],
        *,
        fingerprint: str,
        latent_shape: tuple[int, int, int],
        guidance: float = 1.0,
        grid: FrameGrid | None = None,
    ) -> None:
        """`encode_text` gives one prompt's states (text_len, text_dim), zero beyond its true length."""
        self.network, self.encode_text = network, encode_text
        self.fingerprint, self.settings, self.latent_shape = fingerprint, "", latent_shape
        self.guidance, self.grid = guidance, grid or FrameGrid()
        self.device = next(network.parameters()).device
        self._text_keys: OrderedDict[PromptMix, TextKeys] = OrderedDict()

    @property
    def branches(self) -> int:
        return 1 if self.guidance == 1.0 else 2

    def check_plan(self, plan: Plan) -> None:
        """Any plan of these kinds will do."""

    def check_text(self, text: str) -> None:
        """Any text is a prompt."""

    def predict(self, request: Request) -> Tensor:
        queries, device = request.step.queries, self.device
        dtype = self.network.patch_embedding.weight.dtype
        text, prompt_of_frame = self._text(request.prompts)
        stored = [(row, q.frame) for row, q in enumerate(queries) if q.action in (Action.COMMIT, Action.RECACHE)]
        request.cache.move(device)
        view = CacheView(request.cache, request.step.context, stored)
        flow = self.network(
            request.latents.to(device, dtype).transpose(0, 1)[None].expand(self.branches, -1, -1, -1, -1),
            torch.tensor([[q.timestep for q in queries]], device=device).expand(self.branches, -1),
            text,
            prompt_of_frame.to(device),
            positions=torch.tensor([q.position for q in queries], dtype=torch.float64, device=device),
            groups=torch.tensor([q.group for q in queries], device=device),
            cache=view,
            injected=self._guidance(request),
        )
        view.store()
        flow = flow.float().transpose(1, 2).to(request.latents.device)
        return flow[0] if self.branches == 1 else torch.lerp(flow[1], flow[0], self.guidance)

    def _guidance(self, request: Request) -> Injected | None:
        """What guides the frames of a pass beside the text."""
        return None

    def _text(self, prompts: tuple[tuple[PromptMix, ...], ...]) -> tuple[TextKeys, Tensor]:
        """Keys of the distinct mixes, and the index of each branch's and frame's mix (branches, F)."""
        distinct = list(dict.fromkeys(mix for branch in prompts for mix in branch))
        index = torch.tensor([[distinct.index(mix) for mix in branch] for branch in prompts])
        keys = [self._keys_of(mix) for mix in distinct]
        if len(keys) == 1:
            return keys[0], index
        layers = zip(*(k.layers for k in keys), strict=True)
        return TextKeys(tuple(tuple(torch.cat(part) for part in zip(*layer, strict=True)) for layer in layers)), index

    def _keys_of(self, mix: PromptMix) -> TextKeys:
        if mix not in self._text_keys:
            states = sum(share * self.encode_text(text).float() for text, share in mix)
            # Weights may wait on another device than they are used on.
            states = states[None].to(self.device, self.network.text_embedding[0].weight.dtype)
            self._text_keys[mix] = self.network.text_keys(states)
            if len(self._text_keys) > KEPT_PROMPTS:
                self._text_keys.popitem(last=False)
        self._text_keys.move_to_end(mix)
        return self._text_keys[mix]
