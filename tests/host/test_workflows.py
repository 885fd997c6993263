"""Every shipped API workflow, through the real server, to a real video."""

from __future__ import annotations

import json

import numpy as np
import pytest
from build_workflows import WORKFLOWS

from comfy_server import ComfyServer
from tests.host.graphs import (
    AR_DIFFUSION,
    ARLON,
    ART_V,
    forget,
    graph,
    recipe,
    run_latents,
    saved,
    shipped,
    video_frames,
)

# New frames a sampler, and new frames of the video.
LENGTHS = {
    "text_to_video": (12, 12),
    "prompt_travel": (12, 12),
    "extend_twice": (4, 12),
    "extend": (8, 8),
    "extend_video": (8, 8),
}
LONGER = ("extend", "extend_video")  # these begin with an earlier video
MOST_MEMORY_MB = 3000


def test_every_shipped_workflow_is_tested() -> None:
    assert {path.stem for path in (WORKFLOWS / "api").glob("*.json")} == {*LENGTHS, *AR_DIFFUSION, *ART_V, *ARLON}


@pytest.mark.parametrize("name", LENGTHS)
def test_workflow_makes_a_video(server: ComfyServer, earlier: int, name: str) -> None:
    frames, made = LENGTHS[name]
    workflow = shipped(name, frames=frames)
    forget(server)
    run = server.run(workflow)
    assert run.ok, run.explanation

    video = video_frames(server, run)
    assert video.shape == (made + (earlier if name in LONGER else 0), 512, 512, 3)
    assert np.abs(np.diff(video.astype(float), axis=0)).mean() > 0.5

    sampling = [node for node, about in workflow.items() if about["class_type"] == "AVGenSampleCausal"]
    for node in sampling:
        steps = [(data["value"], data["max"]) for data in run.of("progress") if data["node"] == node]
        assert steps and steps == sorted(steps) and steps[-1][0] == steps[-1][1]
    assert {preview.metadata["node_id"] for preview in run.previews} >= set(sampling)

    again = server.run(workflow)
    assert again.executed == [] and set(again.cached) == set(workflow) and set(again.files) == set(run.files)

    forget(server)
    afresh = server.run(workflow)
    assert set(sampling) <= set(afresh.executed)
    assert np.array_equal(run_latents(server, afresh), run_latents(server, run))
    assert server.peak_memory_mb() < MOST_MEMORY_MB


def test_extending_twice_equals_one_long_run(server: ComfyServer) -> None:
    prompts = {"text": "a red car drives right in the city"}
    twice = server.run(shipped("extend_twice", frames=4, seed=5, AVGenPromptSchedule=prompts))
    once = server.run(shipped("text_to_video", frames=12, seed=5, AVGenPromptSchedule=prompts))
    assert np.array_equal(run_latents(server, twice), run_latents(server, once))
    assert [join["exact"] for join in recipe(server, twice)["joins"]] == [True, True]


def test_the_page_gets_a_graph_with_the_video(server: ComfyServer) -> None:
    """What the page sends along lies in the mp4, so that dropping it on the page brings the graph back."""
    page_graph = json.loads((WORKFLOWS / "text_to_video.json").read_text("utf-8"))
    run = server.run(shipped("text_to_video", frames=4, seed=9), ui_workflow=page_graph)
    assert page_graph["id"].encode() in saved(server, run, ".mp4")


def test_native_sockets_carry_the_same_frames(server: ComfyServer) -> None:
    common = shipped("text_to_video", frames=4, seed=9)
    model, sample, decode = (
        next(node for node, about in common.items() if about["class_type"] == name)
        for name in ("AVGenLoadEmbedded", "AVGenSampleCausal", "AVGenDecodeRun")
    )
    native = graph(
        text=("CLIPTextEncode", {"clip": [model, 1], "text": "a cat"}),
        latent=("AVGenRunToLatent", {"run": [sample, 0], "start": 0, "frames": 0}),
        frames=("VAEDecode", {"samples": ["latent", 0], "vae": [model, 2]}),
        encoded=("VAEEncode", {"pixels": ["frames", 0], "vae": [model, 2]}),
        again=("VAEDecode", {"samples": ["encoded", 0], "vae": [model, 2]}),
        ours=("PreviewImage", {"images": [decode, 0]}),
        theirs=("PreviewImage", {"images": ["frames", 0]}),
        round_trip=("PreviewImage", {"images": ["again", 0]}),
        shown=("PreviewAny", {"source": ["text", 0]}),
    )
    run = server.run({**common, **native})
    assert run.ok, run.explanation

    def pictures(name: str) -> list[bytes]:
        return [(server.base / "temp" / item["filename"]).read_bytes() for item in run.outputs[name]["images"]]

    assert pictures("ours") == pictures("theirs")
    assert len(pictures("ours")) == len(pictures("round_trip")) == 4


def test_no_client_need_be_connected(server: ComfyServer) -> None:
    """Progress, previews and messages have nobody to go to."""
    workflow = shipped("text_to_video", frames=4, seed=77, AVGenPromptSchedule={"text": "a zebra"})
    prompt_id = json.loads(server.request("/prompt", {"prompt": workflow}))["prompt_id"]
    server.run(graph(last=("PreviewAny", {"source": "queued after it"})))
    assert server.get(f"/history/{prompt_id}")[prompt_id]["status"]["status_str"] == "success"
    assert '("zebra" as "a brown horse")' in server.log()


def test_unknown_words_are_read_as_a_known_sentence(server: ComfyServer) -> None:
    workflow = graph(
        model=("AVGenLoadEmbedded", {}),
        prompts=(
            "AVGenPromptSchedule",
            {"text": "a catt walks left", "fps": 8, "frames": 8, "chunk": 4, "blend": 0, "model": ["model", 0]},
        ),
        shown=("PreviewAny", {"source": ["prompts", 1]}),
    )
    run = server.run(workflow)
    expected = 'Warning: as a prompt, "a catt walks left" is read as "an orange cat walks left in a green meadow"'
    assert [said.node for said in run.texts if expected in said.text] == ["prompts"]
    assert expected in run.outputs["shown"]["text"][0]


def test_the_sampler_is_told_what_the_model_will_read(server: ComfyServer) -> None:
    """The run remembers sentences of the model's world, so that it can be extended; the report says what was asked."""
    schedule = {"fps": 8, "frames": 4, "chunk": 4, "blend": 0}
    workflow = graph(
        model=("AVGenLoadEmbedded", {}),
        prompts=("AVGenPromptSchedule", {"text": "a puppy hops by the river", **schedule}),
        negative=("AVGenPromptSchedule", {"text": "blurry, in a storm", **schedule}),
        sampled=(
            "AVGenSampleCausal",
            {
                "model": ["model", 0],
                "prompts": ["prompts", 0],
                "negative": ["negative", 0],
                **{"frames": 4, "seed": 3, "guidance": 3.5},
            },
        ),
        kept=("AVGenSaveRun", {"run": ["sampled", 0], "filename_prefix": "avgen/other_words"}),
        report=("PreviewAny", {"source": ["sampled", 1]}),
    )
    run = server.run(workflow)
    assert run.ok, run.explanation
    about = json.dumps(recipe(server, run))
    assert "a dog jumps up and down on the beach" in about
    assert '"in the rain"' in about
    assert "puppy" not in about
    (report,) = run.outputs["report"]["text"]
    assert '"a puppy hops by the river" is read as "a dog jumps up and down on the beach"' in report
    assert '"blurry, in a storm" is read as "in the rain"' in report
