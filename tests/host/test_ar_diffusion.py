"""AR-Diffusion's nodes and workflows through the real server, on checkpoints with small random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from build_workflows import on_embedded
from safetensors.torch import save_file

from comfy_server import ComfyServer, Workflow
from tests.host.graphs import AR_DIFFUSION, forget, graph, recipe, run_latents, shipped, video_frames
from tests.host.test_bad_input import fails
from tests.tiny_ar_diffusion import write_checkpoints

SHORT = {"steps": 10, "difference": 1}
FRAMES = {"ar_diffusion": 16, "class_travel": 20, "continue_clip": 4}


@pytest.fixture(scope="module", autouse=True)
def checkpoints(server: ComfyServer) -> dict[str, Path]:
    """A generator of classes and its autoencoder, under the names in the shipped workflows; both in one file."""
    models = server.base / "models"
    paths = {
        "generator": models / "diffusion_models" / "ar_diffusion.safetensors",
        "autoencoder": models / "vae" / "ar_diffusion_vae.safetensors",
        "both": models / "diffusion_models" / "both" / "model.safetensors",
        "foreign": models / "diffusion_models" / "foreign.safetensors",
        "truncated": models / "diffusion_models" / "truncated.safetensors",
    }
    write_checkpoints(paths["generator"], paths["autoencoder"], paths["both"])
    save_file({"blocks.0.self_attn.q.weight": torch.zeros(4, 4)}, paths["foreign"])
    whole = paths["generator"].read_bytes()
    paths["truncated"].write_bytes(whole[: len(whole) // 2])
    return paths


def short(name: str, **more: Any) -> Workflow:
    return shipped(name, frames=FRAMES[name], AVGenAsynchronousSchedule=SHORT, **more)


def shape_of(name: str, earlier: int) -> tuple[int, ...]:
    """Of the saved video; a continued clip keeps its own frames, at the size to which it is cropped."""
    continued = name == "continue_clip"
    side = 256 if continued else 64
    return FRAMES[name] + earlier * continued, side, side, 3


@pytest.mark.parametrize("name", AR_DIFFUSION)
def test_workflow_runs_on_a_checkpoint(server: ComfyServer, earlier: int, name: str) -> None:
    run = server.run(short(name))
    assert run.ok, run.explanation
    video = video_frames(server, run)
    assert video.shape == shape_of(name, earlier)
    assert video.std() > 5
    latents = run_latents(server, run)
    assert np.abs(np.diff(latents, axis=0)).mean() > 0.01, "random weights still make frames that differ"

    forget(server)
    assert np.array_equal(run_latents(server, server.run(short(name))), latents)


@pytest.mark.parametrize("name", AR_DIFFUSION)
def test_the_same_workflow_runs_on_the_embedded_model(server: ComfyServer, earlier: int, name: str) -> None:
    run = server.run(on_embedded(short(name)))
    assert run.ok, run.explanation
    assert video_frames(server, run).shape == shape_of(name, earlier)


def test_the_class_makes_a_difference(server: ComfyServer) -> None:
    constant = server.run(short("class_travel", AVGenClassSchedule={"text": "0"}))
    travelled = server.run(short("class_travel"))
    assert np.abs(run_latents(server, constant) - run_latents(server, travelled)).max() > 0.01


def test_one_file_may_hold_generator_and_autoencoder(server: ComfyServer) -> None:
    loader = {"generator": "both/model.safetensors", "autoencoder": "in the generator's file"}
    run = server.run(short("ar_diffusion", AVGenLoadARDiffusion=loader))
    assert run.ok, run.explanation


def test_another_precision_is_another_model(server: ComfyServer) -> None:
    """Else a finished run of one would be taken for that of the other."""
    runs = [
        server.run(short("ar_diffusion", AVGenLoadARDiffusion={"precision": precision, "fps": 12.5}))
        for precision in ("float32", "bfloat16", "float16")
    ]
    assert all(run.ok for run in runs), [run.explanation for run in runs]
    recipes = [recipe(server, run)["recipe"] for run in runs]
    assert len({about["model"] for about in recipes}) == 3
    assert {about["fps"] for about in recipes} == {12.5}


def test_savings_are_called_approximate(server: ComfyServer) -> None:
    saving = {**SHORT, "savings": "cache_finished"}
    run = server.run(shipped("ar_diffusion", frames=16, AVGenAsynchronousSchedule=saving))
    assert run.ok, run.explanation
    assert any("approximate: the schedule's savings (cache_finished)" in said.text for said in run.texts)


def test_frames_of_another_size_are_cropped_and_it_is_said(server: ComfyServer) -> None:
    workflow = graph(
        model=("AVGenLoadEmbedded", {}),
        image=("EmptyImage", {"width": 96, "height": 64, "batch_size": 2, "color": 0}),
        encoded=("AVGenEncodeFrames", {"images": ["image", 0], "vae": ["model", 2], "last": 2}),
        decoded=("VAEDecode", {"samples": ["encoded", 0], "vae": ["model", 2]}),
        shown=("PreviewImage", {"images": ["decoded", 0]}),
    )
    run = server.run(workflow)
    assert run.ok, run.explanation
    assert any("scaled and cropped from 96x64 to 64x64" in said.text for said in run.texts)


def test_an_open_run_is_extended_exactly(server: ComfyServer) -> None:
    open_schedule = {**SHORT, "keep_open": True}
    workflow = shipped("ar_diffusion", frames=FRAMES["ar_diffusion"], AVGenAsynchronousSchedule=open_schedule)
    first, last = (
        next(n for n, a in workflow.items() if a["class_type"] == k) for k in ("AVGenSampleCausal", "AVGenSaveRun")
    )
    longer = {**workflow, "again": {"class_type": "AVGenSampleCausal", "inputs": dict(workflow[first]["inputs"])}}
    longer["again"]["inputs"]["continue_from"] = [first, 0]
    longer[last] = {"class_type": "AVGenSaveRun", "inputs": {**workflow[last]["inputs"], "run": ["again", 0]}}
    extended = server.run(longer)
    assert extended.ok, extended.explanation
    assert [join["exact"] for join in recipe(server, extended)["joins"]] == [True]
    whole = server.run(
        shipped("ar_diffusion", frames=2 * FRAMES["ar_diffusion"], AVGenAsynchronousSchedule=open_schedule)
    )
    assert np.array_equal(run_latents(server, extended), run_latents(server, whole))


def test_the_template_is_the_official_example(server: ComfyServer) -> None:
    inputs = next(n["inputs"] for n in shipped("ar_diffusion", frames=16).values() if "difference" in n["inputs"])
    assert (inputs["steps"], inputs["difference"], inputs["keep_open"], inputs["savings"]) == (50, 5, False, "none")


def test_the_schedule_says_its_passes_before_the_run(server: ComfyServer) -> None:
    workflow = graph(
        model=("AVGenLoadARDiffusion", short("ar_diffusion")["1"]["inputs"]),
        schedule=(
            "AVGenAsynchronousSchedule",
            {
                "steps": 50, "shift": 1.5, "difference": 5, "window": 16, "sink": 0, "keep_open": False,
                "on_prompt_change": "recache", "frames": 16, "savings": "none", "model": ["model", 0],
            },
        ),
        shown=("PreviewAny", {"source": ["schedule", 2]}),
    )  # fmt: skip
    run = server.run(workflow)
    assert "125 passes, 2000 frame evaluations" in run.outputs["shown"]["text"][0]  # 50 + 5 * 15


def test_no_class_is_a_class_too(server: ComfyServer) -> None:
    for text in ("", "0"):
        run = server.run(short("ar_diffusion", AVGenClassSchedule={"text": text}))
        assert run.ok, run.explanation


def test_classes_are_named(server: ComfyServer) -> None:
    workflow = graph(
        model=("AVGenLoadARDiffusion", short("ar_diffusion")["1"]["inputs"]),
        classes=(
            "AVGenClassSchedule",
            {"model": ["model", 0], "text": "0: ski\n8: 2", "frames": 16, "blend": 0, "names": ""},
        ),
        shown=("PreviewAny", {"source": ["classes", 1]}),
    )
    text = server.run(workflow).outputs["shown"]["text"][0]
    assert "Classes understood: ski, dive" in text
    assert "4 classes: 0 none, 1 surf, 2 dive, 3 ski" in text


LOADER = {
    "generator": "ar_diffusion.safetensors",
    "autoencoder": "ar_diffusion_vae.safetensors",
    "precision": "float32",
    "fps": 0,
}


def load(**changes: str) -> Workflow:
    return graph(
        model=("AVGenLoadARDiffusion", {**LOADER, **changes}),
        image=("EmptyImage", {"width": 64, "height": 64, "batch_size": 1, "color": 0}),
        encoded=("VAEEncode", {"pixels": ["image", 0], "vae": ["model", 1]}),
        decoded=("VAEDecode", {"samples": ["encoded", 0], "vae": ["model", 1]}),
        shown=("PreviewImage", {"images": ["decoded", 0]}),
    )


WRONG = {
    "a Wan checkpoint": (load(generator="foreign.safetensors"), "is not an AR-Diffusion generator.*looks like a Wan"),
    "half a file": (load(generator="truncated.safetensors"), "not a safetensors file or is truncated"),
    "a file that is not there": (load(generator="none.safetensors"), "no 'none.safetensors' in models/diff"),
    "a path out of the folders": (load(generator="../vae/ar_diffusion_vae.safetensors"), "there is no '../vae"),
    "no autoencoder in the file": (
        load(autoencoder="in the generator's file"),
        "ar_diffusion.safetensors is not an AR-Diffusion autoencoder",
    ),
    "an unknown precision": (load(precision="int4"), "precision is 'int4'; allowed: float32, bfloat16, float16"),
    "an unknown class": (
        short("ar_diffusion", AVGenClassSchedule={"text": "7"}),
        "'7' is not a class of this model; it has 4 classes: 0 none, 1 surf",
    ),
    "steps that do not divide": (
        shipped("ar_diffusion", frames=16, AVGenAsynchronousSchedule={"steps": 12, "difference": 2}),
        "steps must divide 1000: .*got 12",
    ),
    "a difference that the official code lets through broken": (
        shipped("ar_diffusion", frames=32, AVGenAsynchronousSchedule={"steps": 50, "difference": 3}),
        "difference 3 lets frames leave a window of 16 .* at least 4",
    ),
    "a schedule for another model": (
        graph(
            model=("AVGenLoadARDiffusion", LOADER),
            classes=("AVGenClassSchedule", {"model": ["model", 0], "text": "0", "frames": 4, "blend": 0, "names": ""}),
            schedule=(
                "AVGenBlockSchedule",
                {"steps": 4, "shift": 1, "block": 4, "window": 16, "sink": 0, "on_prompt_change": "keep", "frames": 4},
            ),
            sample=(
                "AVGenSampleCausal",
                {
                    "model": ["model", 0], "prompts": ["classes", 0], "frames": 4, "seed": 0, "guidance": 1,
                    "schedule": ["schedule", 0],
                },
            ),
            shown=("PreviewAny", {"source": ["sample", 1]}),
        ),
        "cannot follow a schedule of the kind BlockPlan, only WindowedAsynchronousPlan: connect the model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_fails_with_its_reason(server: ComfyServer, case: str) -> None:
    workflow, message = WRONG[case]
    fails(server, workflow, message)
