"""A frame of ART-V beside an image of the same UNet, sampled by diffusers: what the references cost.

`--size sd15` takes a UNet of Stable Diffusion 1.5's size with random weights at 256 pixels, with few steps.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from timing import alternate, report  # noqa: E402

from avgen_core.checkpoints.stable_diffusion import CONFIGS  # noqa: E402
from avgen_core.networks.image_unet import ImageUNetConfig  # noqa: E402
from avgen_core.networks.reference_unet import Prediction  # noqa: E402
from avgen_core.plan import ReferencePlan, trailing_timesteps  # noqa: E402
from avgen_core.prompts import parse_schedule  # noqa: E402
from avgen_core.rollout.executor import Executor, Prompts  # noqa: E402
from avgen_core.rollout.noise import SeededNoise  # noqa: E402
from avgen_core.systems.art_v import ArtVDenoiser, Guidance  # noqa: E402
from avgen_core.systems.diffusers_image_model import DiffusersImageModel  # noqa: E402
from avgen_core.systems.embedded_art_v import alphas_cumprod  # noqa: E402
from avgen_core.training.embedded_art_v import adapted, embedded_network  # noqa: E402

GUIDANCE = 3.0


@dataclass(frozen=True)
class Size:
    """`side`: of the latents; `frames` are made in one turn."""

    side: int
    tokens: int
    steps: int
    frames: int
    rounds: int


SIZES = {"embedded": Size(8, 24, 20, 6, 5), "sd15": Size(32, 77, 2, 3, 2)}


def unet_of(name: str):
    """The UNet with random weights: speed does not depend on them."""
    from diffusers import UNet2DConditionModel

    if name == "embedded":
        return ImageUNetConfig().build().eval()
    config = json.loads((CONFIGS / "sd1" / "unet" / "config.json").read_text("utf-8"))
    return UNet2DConditionModel.from_config(config).eval()


def network_of(name: str):
    """Such a UNet with an adapter of the sizes that belong to it."""
    unet = unet_of(name)
    return (embedded_network(unet, 2) if name == "embedded" else adapted(unet, 2)).eval()


@torch.inference_mode()
def main() -> None:
    from diffusers import DDIMScheduler

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="embedded", help="of the UNet (default: embedded)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="one short round")
    options = parser.parse_args()
    size = SIZES[options.size]
    torch.manual_seed(0)
    plain, network = unet_of(options.size), network_of(options.size)
    channels, width = plain.config.in_channels, plain.config.cross_attention_dim
    states = torch.randn(2, size.tokens, width)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        clip_sample=False, timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.set_timesteps(size.steps)
    image_model = DiffusersImageModel(
        network,
        lambda text: states[0 if text else 1],
        alphas_cumprod=tuple(alphas_cumprod().tolist()),
        prediction=Prediction.VELOCITY,
        latent_shape=(channels, size.side, size.side),
        fingerprint="",
    )
    plan = ReferencePlan(tuple(t / 1000 for t in trailing_timesteps(size.steps)), 2, reference_noise=0.1)
    prompts = Prompts(parse_schedule("a cat", fps=8))

    def images() -> None:
        for _ in range(size.frames):
            latents = torch.randn(1, channels, size.side, size.side)
            for timestep in scheduler.timesteps:
                guided, free = plain(latents.repeat(2, 1, 1, 1), timestep, states).sample.chunk(2)
                latents = scheduler.step(torch.lerp(free, guided, GUIDANCE), timestep, latents).prev_sample

    def video() -> None:
        denoiser = ArtVDenoiser(image_model, network.adapter, "", Guidance(GUIDANCE))
        for _ in Executor(denoiser, plan, prompts, SeededNoise(0)).run(size.frames):
            pass

    seconds = alternate({"images, diffusers": images, "frames, ART-V": video}, 1 if options.quick else size.rounds)
    title = f"{size.frames} frames of {size.steps} steps, {options.size}"
    report(title, seconds, "images, diffusers", options.json, steps=size.steps, frames=size.frames)


if __name__ == "__main__":
    main()
