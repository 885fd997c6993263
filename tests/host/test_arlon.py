"""ARLON's nodes and workflows through the real server, on the parts that come with the pack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from comfy_server import ComfyServer, Rejected, Run, Workflow
from tests.host.graphs import ARLON, forget, graph, recipe, run_latents, saved, shipped, video_frames
from tests.host.test_bad_input import fails

FRAMES, GROUPS = 12, 3
PROMPT = "a red car drives right in the city"


def codes(server: ComfyServer, run: Run) -> np.ndarray:
    return load(saved(server, run, ".tokens.safetensors"))["codes"]


def guided(**tokens: Any) -> Workflow:
    """A short run, and nodes beside it."""
    return graph(
        model=("AVGenLoadArlon", {}),
        prompts=("AVGenPromptSchedule", {"text": PROMPT, "fps": 8, "frames": FRAMES, "chunk": 4, "blend": 0}),
        **tokens,
    )


def sample(model: str = "model", seed: int = 3) -> tuple[str, dict[str, Any]]:
    inputs = {"model": [model, 0], "prompts": ["prompts", 0], "frames": FRAMES, "seed": seed, "guidance": 3.0}
    return "AVGenSampleCausal", inputs


def guidance(**inputs: Any) -> tuple[str, dict[str, Any]]:
    settings = {"strength_early": 1.0, "strength_late": 1.0, "strength_over_frames": "", "temperature": 1.0,
                "top_k": 0, "top_p": 1.0, "token_guidance": 2.0}  # fmt: skip
    return "AVGenTokenGuidance", {"model": ["model", 0], **settings, **inputs}


def write(seed: int = 3) -> tuple[str, dict[str, Any]]:
    inputs = {"model": ["model", 0], "prompts": ["prompts", 0], "frames": FRAMES, "seed": seed, "guidance": 3.0}
    return "AVGenWriteTokens", inputs


def save(tokens: str) -> tuple[str, dict[str, Any]]:
    return "AVGenSaveTokens", {"tokens": [tokens, 0], "filename_prefix": "avgen/tokens"}


@pytest.mark.parametrize("name", ARLON)
def test_workflow_makes_a_video(server: ComfyServer, earlier: int, name: str) -> None:
    workflow = shipped(name, frames=FRAMES)
    run = server.run(workflow)
    assert run.ok, run.explanation
    video = video_frames(server, run)
    assert video.shape == (FRAMES, 512, 512, 3)
    assert np.abs(np.diff(video.astype(float), axis=0)).mean() > 0.5
    latents = run_latents(server, run)
    pictures = [np.asarray(Image.open(server.path_of(file))) for file in run.files if file.filename.endswith(".png")]
    assert {picture.shape for picture in pictures} == {(64, 64, 3)}
    frames = earlier if name == "arlon_motion" else FRAMES
    assert len(pictures) == frames + frames // 4, "a coarse picture of each frame, a map of each group"
    assert np.std(np.stack(pictures), axis=0).mean() > 1

    forget(server)
    assert np.array_equal(run_latents(server, server.run(workflow)), latents)


def test_tokens_go_on_under_the_next_prompt(server: ComfyServer) -> None:
    """With another prompt from the second group on, only the first group stays."""
    written = []
    for text in (PROMPT, f"0: {PROMPT}\n4: a cow stands still on the beach at night"):
        workflow = guided(write=write(), save=save("write"))
        workflow["prompts"]["inputs"]["text"] = text
        written.append(codes(server, server.run(workflow)))
    assert np.array_equal(written[0][0], written[1][0])
    assert (written[0][1:] != written[1][1:]).mean() > 0.5


def test_segments_are_made_and_go_on(server: ComfyServer) -> None:
    plan = ("AVGenSegmentSchedule", {"steps": 2, "shift": 1.5, "segment": 8, "overlap": 4, "frames": FRAMES})

    def run(begun: int, **more: Any) -> Run:
        kind, inputs = sample()
        first = (kind, {**inputs, "frames": begun, "schedule": ["plan", 0]})
        keep = ("AVGenSaveRun", {"run": ["last", 0], "filename_prefix": "avgen/run"})
        return server.run(guided(plan=plan, first=first, last=(kind, {**first[1], **more}), keep=keep))

    once, twice = run(FRAMES), run(8, frames=4, continue_from=["first", 0])
    assert once.ok and twice.ok, once.explanation + twice.explanation
    assert np.array_equal(run_latents(server, twice), run_latents(server, once))


def test_tokens_written_ahead_are_those_of_the_run(server: ComfyServer) -> None:
    ahead = server.run(guided(write=write(), save=save("write")))
    of_run = server.run(
        guided(
            sample=sample(), tokens=("AVGenRunToTokens", {"model": ["model", 0], "run": ["sample", 0]}),
            save=save("tokens"),
        )
    )  # fmt: skip
    written = codes(server, ahead)
    assert written.shape == (GROUPS, 4, 4)
    assert np.array_equal(codes(server, of_run), written)


def test_a_run_follows_the_tokens_that_it_is_given(server: ComfyServer) -> None:
    """The tokens that seed 3 writes, in a file, and a run with seed 4."""
    kept = server.run(guided(write=write(), save=save("write")))
    file = next(file for file in kept.files if file.filename.endswith(".tokens.safetensors"))
    name = f"{file.subfolder}/{file.filename} [output]"
    followed = server.run(
        guided(
            loaded=("AVGenLoadTokens", {"tokens": name}),
            guided=guidance(tokens=["loaded", 0]),
            sample=sample("guided", seed=4),
            tokens=("AVGenRunToTokens", {"model": ["model", 0], "run": ["sample", 0]}),
            save=save("tokens"),
        )
    )
    assert followed.ok, followed.explanation
    assert np.array_equal(codes(server, followed), codes(server, kept))


def test_tokens_are_edited(server: ComfyServer) -> None:
    edit = {"tokens": ["write", 0], "start": 1, "groups": 1, "repeat": 3, "followed_by": ["write", 0]}
    run = server.run(guided(write=write(), whole=save("write"), edit=("AVGenEditTokens", edit), save=save("edit")))
    assert run.ok, run.explanation
    whole, edited = (
        load(server.path_of(file).read_bytes())["codes"]
        for file in sorted(run.files, key=lambda file: server.path_of(file).stat().st_size)
    )
    assert np.array_equal(edited, np.concatenate([whole[1:2]] * 3 + [whole]))


def test_strength_without_guidance_leaves_the_model_alone(server: ComfyServer) -> None:
    """With a strength of 0 the model is the embedded one."""
    plan = ("AVGenBlockSchedule", {"steps": 3, "shift": 1.5, "block": 4, "window": 16, "sink": 0,
                                   "on_prompt_change": "keep", "frames": FRAMES})  # fmt: skip
    off, alone, on = guidance(strength_early=0.0, strength_late=0.0), ("AVGenLoadEmbedded", {}), guidance()
    runs = []
    for more in ({"guided": off}, {"guided": alone}, {"guided": on}):
        kind, inputs = sample("guided")
        nodes = {"plan": plan, "sample": (kind, {**inputs, "schedule": ["plan", 0]})}
        keep = ("AVGenSaveRun", {"run": ["sample", 0], "filename_prefix": "avgen/run"})
        runs.append(run_latents(server, server.run(guided(**more, **nodes, keep=keep))))
    assert np.allclose(runs[0], runs[1], atol=1e-5)
    assert np.abs(runs[0] - runs[2]).mean() > 0.01, "tokens change the video"


def test_a_run_goes_on_with_other_guidance(server: ComfyServer) -> None:
    kind, inputs = sample("stronger")
    keep = ("AVGenSaveRun", {"run": ["more", 0], "filename_prefix": "avgen/run"})
    run = server.run(
        guided(
            first=sample(), stronger=guidance(strength_early=1.5),
            more=(kind, {**inputs, "frames": 4, "continue_from": ["first", 0]}), keep=keep,
        )
    )  # fmt: skip
    assert run.ok, run.explanation
    assert len(run_latents(server, run)) == FRAMES + 4
    assert [join["exact"] for join in recipe(server, run)["joins"]] == [False]


def test_tokens_are_not_written_by_a_model_that_follows_some(server: ComfyServer) -> None:
    workflow = guided(write=write(), guided=guidance(tokens=["write", 0]), again=write(), save=save("again"))
    workflow["again"]["inputs"]["model"] = ["guided", 0]
    fails(server, workflow, "follows tokens that it was given, it writes none")


def test_tokens_of_the_embedded_model_are_refused(server: ComfyServer) -> None:
    workflow = guided(plain=("AVGenLoadEmbedded", {}), guided=guidance(model=["plain", 0]), sample=sample("guided"))
    workflow["shown"] = {"class_type": "PreviewAny", "inputs": {"source": ["sample", 0]}}
    fails(server, workflow, r"tokens need a model with ARLON's parts: connect Load ARLON \(AVGen\)")


def test_a_strength_that_is_no_text_of_numbers_is_refused(server: ComfyServer) -> None:
    workflow = guided(guided=guidance(strength_over_frames="0: strong"), sample=sample("guided"))
    workflow["shown"] = {"class_type": "PreviewAny", "inputs": {"source": ["sample", 0]}}
    fails(server, workflow, "strength_over_frames is FRAME: FACTOR.*'0: strong'.*Token Guidance")


@pytest.mark.parametrize("name", ["nowhere.tokens.safetensors", "../../x.tokens.safetensors", "/etc/passwd"])
def test_a_tokens_file_that_is_not_there_is_refused(server: ComfyServer, name: str) -> None:
    workflow = graph(loaded=("AVGenLoadTokens", {"tokens": name}), shown=("PreviewAny", {"source": ["loaded", 0]}))
    with pytest.raises(Rejected, match="there is no saved tokens file"):
        server.run(workflow)
