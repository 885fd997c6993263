"""ART-V's nodes and workflows through the real server, on a small checkpoint in the layout of Stable Diffusion 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from build_workflows import STILL
from PIL import Image
from safetensors.torch import save_file

from avgen_core.checkpoints.files import save_weights
from avgen_core.networks.text_encoder import TextEncoderConfig
from comfy_server import ComfyServer, Rejected, Workflow
from tests.host.graphs import ART_V, forget, graph, on_checkpoint, run_latents, shipped, video_frames
from tests.host.test_bad_input import fails
from tests.tiny_stable_diffusion import write_adapter, write_host_checkpoint

CHECKPOINT, ADAPTER = "small_sd1.safetensors", "small_art_v.safetensors"
FRAMES = 3
GIVEN = {"art_v_image": 1, "art_v_continue": 8}  # frames that exist already


@pytest.fixture(scope="module", autouse=True)
def checkpoint(server: ComfyServer) -> None:
    """A checkpoint and an adapter with random weights, and what is no adapter."""
    models = server.base / "models"
    unet = write_host_checkpoint(models / "checkpoints" / CHECKPOINT)
    write_adapter(models / "controlnet" / ADAPTER, unet)
    write_adapter(models / "controlnet" / "other_family.safetensors", unet, levels=(64, 128))
    other = TextEncoderConfig(("a",))
    save_weights(models / "controlnet" / "foreign.safetensors", "text_encoder", other, {"a": torch.zeros(2)})


def short(name: str, adapter: str = ADAPTER, **more: Any) -> Workflow:
    workflow = shipped(name, frames=FRAMES, AVGenReferenceSchedule={"steps": 2}, **more)
    return on_checkpoint(workflow, CHECKPOINT, adapter)


@pytest.mark.parametrize("name", ART_V)
def test_workflow_runs_on_a_checkpoint(server: ComfyServer, earlier: int, name: str) -> None:
    run = server.run(short(name))
    assert run.ok, run.explanation
    assert video_frames(server, run).shape == (FRAMES + GIVEN.get(name, 0), 512, 512, 3)
    latents = run_latents(server, run)
    assert latents.shape[1:] == (4, 8, 8) and np.abs(np.diff(latents, axis=0)).mean() > 0.01

    forget(server)
    assert np.array_equal(run_latents(server, server.run(short(name))), latents)


@pytest.mark.parametrize("name", ART_V)
def test_workflow_runs_on_the_embedded_image_model(server: ComfyServer, earlier: int, name: str) -> None:
    workflow = shipped(name, frames=FRAMES)
    run = server.run(workflow)
    assert run.ok, run.explanation
    video = video_frames(server, run)
    assert video.shape == (FRAMES + GIVEN.get(name, 0), 512, 512, 3)
    assert np.abs(np.diff(video.astype(float), axis=0)).mean() > 0.3
    latents = run_latents(server, run)

    forget(server)
    assert np.array_equal(run_latents(server, server.run(workflow)), latents)


def test_comfyuis_own_sampler_makes_images_with_the_embedded_image_model(server: ComfyServer) -> None:
    def brightness(prompt: str) -> float:
        run = server.run(
            graph(
                load=("AVGenLoadEmbeddedImage", {}),
                text=("CLIPTextEncode", {"clip": ["load", 1], "text": prompt}),
                none=("CLIPTextEncode", {"clip": ["load", 1], "text": ""}),
                empty=("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 2}),
                sample=(
                    "KSampler",
                    {
                        "model": ["load", 0], "positive": ["text", 0], "negative": ["none", 0],
                        "latent_image": ["empty", 0], "seed": 0, "steps": 10, "cfg": 3.0,
                        "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
                    },
                ),
                decode=("VAEDecode", {"samples": ["sample", 0], "vae": ["load", 2]}),
                save=("SaveImage", {"images": ["decode", 0], "filename_prefix": "avgen_image"}),
            )
        )  # fmt: skip
        assert run.ok, run.explanation
        images = [Image.open(server.path_of(file)) for file in run.files]
        assert [image.size for image in images] == [(64, 64)] * 2
        return float(np.mean([np.asarray(image) for image in images]))

    assert brightness("a red car drives right on the beach") > 1.5 * brightness(
        "a red car drives right on the beach at night"
    )


def test_an_image_is_made_from_another_by_comfyui_itself(server: ComfyServer, earlier: int) -> None:
    """With little noise the image stays, with all of it another comes."""

    def distance(denoise: float) -> float:
        run = server.run(
            graph(
                load=("AVGenLoadEmbeddedImage", {}),
                text=("CLIPTextEncode", {"clip": ["load", 1], "text": "a red car drives right on the beach"}),
                none=("CLIPTextEncode", {"clip": ["load", 1], "text": ""}),
                image=("LoadImage", {"image": STILL}),
                small=("ImageScale", {"image": ["image", 0], "upscale_method": "area", "width": 64, "height": 64,
                                      "crop": "disabled"}),
                two=("RepeatImageBatch", {"image": ["small", 0], "amount": 2}),
                encode=("VAEEncode", {"pixels": ["two", 0], "vae": ["load", 2]}),
                sample=(
                    "KSampler",
                    {
                        "model": ["load", 0], "positive": ["text", 0], "negative": ["none", 0],
                        "latent_image": ["encode", 0], "seed": 0, "steps": 10, "cfg": 3.0,
                        "sampler_name": "euler", "scheduler": "normal", "denoise": denoise,
                    },
                ),
                decode=("VAEDecode", {"samples": ["sample", 0], "vae": ["load", 2]}),
                save=("SaveImage", {"images": ["decode", 0], "filename_prefix": "avgen_image"}),
                before=("SaveImage", {"images": ["small", 0], "filename_prefix": "avgen_before"}),
            )
        )  # fmt: skip
        assert run.ok, run.explanation
        images = {file.filename: np.asarray(Image.open(server.path_of(file)), float) for file in run.files}
        (before,) = (image for name, image in images.items() if "before" in name)
        made = [image for name, image in images.items() if "image" in name]
        assert len(made) == 2
        return float(np.mean([np.abs(image - before).mean() for image in made]))

    assert distance(0.2) < 0.5 * distance(1.0)


def test_the_frames_have_the_size_and_the_rate_that_are_asked_for(server: ComfyServer) -> None:
    run = server.run(short("art_v_text", AVGenLoadArtV={"width": 96, "height": 64, "fps": 12.0}))
    assert run.ok, run.explanation
    assert run_latents(server, run).shape[1:] == (4, 8, 12)


def test_an_adapter_of_another_family_is_refused_and_training_one_explained(server: ComfyServer) -> None:
    message = r"levels of \(64, 128\) channels.*train art-v --checkpoint"
    fails(server, short("art_v_text", adapter="other_family.safetensors"), message)


def test_a_file_that_is_no_adapter_is_refused(server: ComfyServer) -> None:
    fails(server, short("art_v_text", adapter="foreign.safetensors"), "holds a text_encoder, a reference_adapter")


def test_a_missing_adapter_is_explained_before_the_graph_is_queued(server: ComfyServer) -> None:
    message = "there is no 'gone.safetensors' in models/controlnet; .*to train one: .*train art-v --checkpoint"
    with pytest.raises(Rejected, match=message):
        server.run(short("art_v_text", adapter="gone.safetensors"))


def test_a_controlnet_is_no_adapter(server: ComfyServer) -> None:
    save_file({"control_model.x": torch.zeros(2)}, server.base / "models" / "controlnet" / "controlnet.safetensors")
    message = "controlnet.safetensors was not written by AVGen.*to train one: .*train art-v"
    fails(server, short("art_v_text", adapter="controlnet.safetensors"), message)


@pytest.mark.parametrize("node", ["AVGenDecodeRun", "AVGenEncodeFrames"])
def test_the_checkpoints_own_vae_is_refused_where_the_models_is_needed(
    server: ComfyServer, earlier: int, node: str
) -> None:
    workflow = short("art_v_continue")
    checkpoint = next(name for name, about in workflow.items() if about["class_type"] == "CheckpointLoaderSimple")
    for about in workflow.values():
        if about["class_type"] == node:
            about["inputs"]["vae"] = [checkpoint, 2]
    fails(server, workflow, r"this VAE is for single images: .*Load ART-V \(AVGen\)")


def test_an_image_alone_leads_a_video(server: ComfyServer) -> None:
    run = server.run(shipped("art_v_image", frames=2, AVGenPromptSchedule={"text": ""}))
    assert run.ok, run.explanation
    assert run_latents(server, run).shape[0] == 3


def test_a_size_between_cells_is_refused(server: ComfyServer) -> None:
    fails(server, short("art_v_text", AVGenLoadArtV={"width": 100}), "multiples of 8, got 100 and 64")
