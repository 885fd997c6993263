"""Shipped workflows made short, and what a run left behind."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from typing import Any

import av
import demo
import numpy as np
from safetensors.numpy import load

from comfy_server import ComfyServer, Run, Workflow

Inputs = dict[str, Any]
ART_V = ("art_v_text", "art_v_image", "art_v_story", "art_v_continue")
ARLON = ("arlon_text", "arlon_story", "arlon_motion")
AR_DIFFUSION = ("ar_diffusion", "class_travel", "continue_clip")  # workflows for its checkpoints


def shipped(name: str, *, frames: int, seed: int = 0, **more: Inputs) -> Workflow:
    """An API workflow with `frames` new frames a sampler; `more` sets inputs of nodes by their class."""
    values: dict[str, Inputs] = {"AVGenSampleCausal": {"frames": frames, "seed": seed}}
    if name in ("prompt_travel", *AR_DIFFUSION):
        values = {"PrimitiveInt": {"value": frames}, "AVGenSampleCausal": {"seed": seed}}
    if name == "extend_twice":
        values = {"PrimitiveInt": {"value": seed}, "AVGenSampleCausal": {"frames": frames}}
    if name == "arlon_text":
        values = {"PrimitiveInt": {"value": seed}, "AVGenSampleCausal": {"frames": frames}}
        values["AVGenWriteTokens"] = {"frames": frames}
    if name == "arlon_story":
        values["AVGenPromptSchedule"] = {"frames": frames}
    for class_type, inputs in more.items():
        values[class_type] = {**values.get(class_type, {}), **inputs}
    return demo.fill(name, values)


def graph(**nodes: tuple[str, Inputs]) -> Workflow:
    """A small workflow: NAME=(class, inputs); a link is [NAME, output]."""
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def saved(server: ComfyServer, run: Run, suffix: str) -> bytes:
    return next(server.path_of(file).read_bytes() for file in run.files if file.filename.endswith(suffix))


def video_frames(server: ComfyServer, run: Run) -> np.ndarray:
    """The frames (F, H, W, 3) of the saved mp4."""
    with av.open(io.BytesIO(saved(server, run, ".mp4"))) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


def run_latents(server: ComfyServer, run: Run) -> np.ndarray:
    """All frames of the saved run; how they are spread over chunks differs after a cancel."""
    with zipfile.ZipFile(io.BytesIO(saved(server, run, ".avgen"))) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("chunks/"))
        return np.concatenate([load(archive.read(name))["latents"] for name in names])


def recipe(server: ComfyServer, run: Run) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(saved(server, run, ".avgen"))) as archive:
        return json.loads(archive.read("run.json"))


def forget(server: ComfyServer) -> None:
    """Make the server compute everything anew: no cached outputs, no models, no runs on disk."""
    server.request("/free", {"unload_models": True, "free_memory": True})
    server.run(graph(note=("PreviewAny", {"source": "the queue frees before it runs the next workflow"})))
    for folder in (server.base / "output" / "avgen").glob("*/run.json"):
        shutil.rmtree(folder.parent)


def on_checkpoint(workflow: Workflow, checkpoint: str, adapter: str) -> Workflow:
    """The same API workflow with a checkpoint in place of the embedded image model, and an adapter for it."""
    loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}}
    switched = {}
    for node, about in workflow.items():
        if about["class_type"] == "AVGenLoadArtV":
            about = {**about, "inputs": {**about["inputs"], "adapter": adapter}}
        switched[node] = loader if about["class_type"] == "AVGenLoadEmbeddedImage" else about
    return switched
