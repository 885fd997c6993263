"""A frame of ART-V in ComfyUI beside an image of the same embedded image model by ComfyUI's own sampler."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from timing import alternate, report  # noqa: E402

from tests.host.in_process import core_module, node_module  # noqa: E402

PROMPT = "a red car drives right on the beach"
GUIDANCE, STEPS, FRAMES, ROUNDS = 3.0, 20, 6, 5


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="one round")
    options = parser.parse_args()
    host, host_art_v = node_module("host"), node_module("host_art_v")
    import comfy.sample

    embedded, image_model = host.embedded_model(), host_art_v.embedded_image_model()
    clip = host.EmbeddedCLIP(embedded)
    positive, negative = (clip.encode_from_tokens_scheduled(text) for text in (PROMPT, ""))
    asked = host_art_v.Frames(0, 0, 0.0)
    model = host_art_v.art_v_model(image_model, clip, embedded.vae, host_art_v.EMBEDDED_ADAPTER, asked, 1.0, 0.75)
    prompts, executor = core_module("prompts"), core_module("rollout.executor")
    schedule = executor.Prompts(prompts.parse_schedule(PROMPT, fps=8))
    noise = core_module("rollout.noise").SeededNoise(0)

    def images() -> None:
        for _ in range(FRAMES):
            latents = torch.randn(1, *model.system.latent_shape)
            comfy.sample.sample(
                image_model, latents, STEPS, GUIDANCE, "euler", "normal", positive, negative,
                torch.zeros_like(latents), disable_pbar=True,
            )  # fmt: skip

    def video() -> None:
        denoiser = model.denoiser(GUIDANCE)
        for text in (PROMPT, ""):
            denoiser.check_text(text)
        model.load()
        for _ in executor.Executor(denoiser, model.system.plan_of(STEPS), schedule, noise).run(FRAMES):
            pass

    seconds = alternate({"images, ComfyUI": images, "frames, ART-V": video}, 1 if options.quick else ROUNDS)
    title = f"{FRAMES} frames of {STEPS} steps in ComfyUI"
    report(title, seconds, "images, ComfyUI", options.json, steps=STEPS, frames=FRAMES)


if __name__ == "__main__":
    main()
