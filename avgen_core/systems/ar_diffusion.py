"""AR-Diffusion as a system: generator, conditions and autoencoder of the released checkpoints (arXiv 2503.07418)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from ..checkpoints.ar_diffusion import read_autoencoder, read_generator
from ..checkpoints.ar_diffusion_layout import TIMESTEPS, schedule_buffers
from ..checkpoints.files import CheckpointError, encoder_digest
from ..networks.ar_diffusion_dit import ARDiffusionDiT
from ..networks.ar_vae import ARVAE
from ..plan import Action, Plan, WindowedAsynchronousPlan
from ..prompts import Classes, PromptSchedule, Reading
from ..rollout.cache import CacheView
from ..rollout.denoiser import FrameGrid, PromptMix, Request
from ..rollout.process import VariancePreserving
from .asynchronous import AsynchronousSettings
from .ucf101 import UCF101, UCF101_ROWS

WINDOW = 16  # frames of the released generators
STEPS, DIFFERENCE, GUIDANCE = 50, 5, 2.0  # the official README's example
MAPS_AT_ONCE = 6  # of the pixel decoder's widest level
FPS = 25.0  # the clips are consecutive frames of ordinary footage; checkpoints do not say


class ARDiffusionDenoiser:
    """Runs the generator over a window of frames, each frame under the condition of its own prompt.

    Prompts are class numbers; an empty one is the condition without a class. Guidance is on the predicted clean frame.
    """

    process = VariancePreserving(tuple(schedule_buffers()["alphas_cumprod"].tolist()))
    plans = (WindowedAsynchronousPlan,)
    grid = FrameGrid(1)

    def __init__(self, model: ARDiffusionModel, guidance: float) -> None:
        self.network, self.guidance = model.network, guidance
        self.fingerprint, self.settings, self.latent_shape = model.fingerprint, "", model.latent_shape
        self.device = model.network.x_embedder.weight.device
        self._condition, self._null = model.conditions, model.null_condition

    @property
    def branches(self) -> int:
        return 1 if self.guidance == 1.0 else 2

    def predict(self, request: Request) -> Tensor:
        queries, device, dtype = request.step.queries, self.device, self.network.x_embedder.weight.dtype
        contexts, context_of_frame = self._contexts(request.prompts)
        stored = [(row, q.frame) for row, q in enumerate(queries) if q.action in (Action.COMMIT, Action.RECACHE)]
        request.cache.move(device)
        view = CacheView(request.cache, request.step.context, stored)
        frames = rearrange(request.latents.to(device, dtype), "f c 1 l -> f l c")
        clean = self.network(
            frames.expand(self.branches, -1, -1, -1),
            torch.tensor([[q.timestep for q in queries]], device=device).expand(self.branches, -1),
            contexts.to(device, dtype),
            context_of_frame.to(device),
            positions=torch.tensor([q.position for q in queries], device=device),
            cache=view if stored or request.step.context else None,
        )
        view.store()
        clean = rearrange(clean.float(), "b f l c -> b f c 1 l").to(request.latents.device)
        return clean[0] if self.branches == 1 else clean[1] + self.guidance * (clean[0] - clean[1])

    def _contexts(self, prompts: tuple[tuple[PromptMix, ...], ...]) -> tuple[Tensor, Tensor]:
        """The distinct conditions of all branches (branches, P, N, D), and which of them each frame has (F,)."""
        of_frames = list(zip(*prompts, strict=True))
        distinct = list(dict.fromkeys(of_frames))
        branches = zip(*distinct, strict=True)
        contexts = torch.stack([torch.stack([self._mixed(mix) for mix in branch]) for branch in branches])
        return contexts, torch.tensor([distinct.index(branches) for branches in of_frames])

    def _mixed(self, mix: PromptMix) -> Tensor:
        return sum(share * self._condition_of(text) for text, share in mix)

    def _condition_of(self, text: str) -> Tensor:
        return self._condition[int(text)] if text else self._null

    def check_plan(self, plan: Plan) -> None:
        """Any plan of these kinds will do."""

    def check_text(self, text: str) -> None:
        if text and not (text.isdecimal() and int(text) < len(self._condition)):
            raise ValueError(
                f"AR-Diffusion knows no sentences, and {text!r} is not the number of one of its "
                f"{len(self._condition)} classes: write class names or numbers in a Class Schedule (AVGen) node"
            )


class ARFrames:
    """The autoencoder between frames (N, 3, H, W) in -1..1 and the generator's latents (N, C, 1, L).

    `lead`: how many frames before those that are wanted must be decoded with them. The temporal decoder was trained on
    clips of 16 frames; 8 frames with the 8 before them are such a clip.
    """

    def __init__(self, network: ARVAE) -> None:
        self.network = network
        self.size = network.config.image_size
        self.lead = 8 if network.config.temporal else 0

    def encode(self, images: Tensor) -> Tensor:
        """Frames to latents on the unit sphere, as the generator was trained on (`base.py`, norm_preprocess)."""
        return functional.normalize(self.network.encode(images.add(1).div(2)), dim=1)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents of neighbouring frames to images; the network puts them back onto the sphere itself."""
        return self.network.decode(latents[None])[0].mul(2).sub(1)

    def memory(self, frames: int) -> int:
        """Bytes that decoding `frames` frames needs beside the weights: a few full-size maps of the last level."""
        return MAPS_AT_ONCE * 4 * frames * self.size**2 * self.network.config.pixel_channels[0]


@dataclass
class ARDiffusionModel:
    """Networks and conditions, ready for inference.

    conditions (K, N, D): one for every class, or a single one for a model of one dataset.
    """

    network: ARDiffusionDiT
    conditions: Tensor
    class_conditional: bool
    autoencoder: ARFrames
    fingerprint: str
    fps: float = FPS
    guidance: float = GUIDANCE
    class_names: tuple[str, ...] = ()  # official checkpoints hold none

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return self.network.config.in_channels, 1, self.network.config.tokens_per_frame

    @property
    def frame_size(self) -> tuple[int, int]:
        return self.autoencoder.size, self.autoencoder.size

    @property
    def null_condition(self) -> Tensor:
        """What the other guidance branch sees: the first class, or zeros (`base.py`, sample)."""
        return self.conditions[0] if self.class_conditional else torch.zeros_like(self.conditions[0])

    @cached_property
    def classes(self) -> Classes:
        numbers = tuple(str(i) for i in range(len(self.conditions)))
        if not self.class_conditional:
            return Classes(("dataset",), numbers)
        names = self.class_names or (UCF101 if len(numbers) == UCF101_ROWS else ())
        return Classes(numbers, numbers, null="0").renamed(names)

    @cached_property
    def default_plan(self) -> WindowedAsynchronousPlan:
        """The official example's schedule, open."""
        difference = max(DIFFERENCE, -(-STEPS // self.network.config.frames))
        return self.asynchronous_plan(AsynchronousSettings(STEPS, difference, window=None))

    def asynchronous_plan(self, settings: AsynchronousSettings) -> WindowedAsynchronousPlan:
        return settings.windowed_plan(self.network.config.frames, TIMESTEPS)

    def check_size(self, width: int, height: int) -> None:
        """Refuse sizes that the autoencoder was not trained for."""
        size = self.autoencoder.size
        if (width, height) != (size, size):
            raise ValueError(
                f"this AR-Diffusion model works on {size}x{size} pixels, not {width}x{height}: "
                "crop and scale the frames that you give it"
            )

    def to(self, device: str) -> None:
        """Move both networks."""
        self.network.to(device)
        self.autoencoder.network.to(device)

    def understand(self, schedule: PromptSchedule, *, negative: bool = False) -> Reading:
        """Names and numbers of classes."""
        return Reading(self.classes.schedule(schedule))

    def denoiser(self, guidance: float) -> ARDiffusionDenoiser:
        return ARDiffusionDenoiser(self, guidance)


def load_ar_diffusion(
    generator: Path,
    autoencoder: Path | None = None,
    operations=nn,
    dtype: torch.dtype = torch.float32,
) -> ARDiffusionModel:
    """Load a generator and its autoencoder, from one file when `autoencoder` is None. Raises CheckpointError.

    The generator computes in `dtype`, which is part of the fingerprint; the autoencoder in float32.
    """
    read = read_generator(generator, operations, dtype=dtype)
    frames = read_autoencoder(autoencoder or generator, operations)
    trained_on = read.notes.get("encoder")  # official files do not say
    if trained_on is not None and trained_on != encoder_digest(frames.state_dict()):
        raise CheckpointError(
            f"{generator.name} was trained on the latents of another encoder than {(autoencoder or generator).name} "
            "holds: choose the autoencoder that it was trained with"
        )
    return ARDiffusionModel(
        read.network,
        read.conditions,
        read.class_conditional,
        ARFrames(frames),
        read.digest if dtype is torch.float32 else f"{read.digest}-{str(dtype).removeprefix('torch.')}",
        fps=read.notes.get("fps", FPS),
        class_names=tuple(read.notes.get("classes", ())),
    )
