"""Bad input: refused before anything is computed, with what was given, what is allowed and what to do."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfy_server import ComfyServer, Rejected, Workflow
from tests.host.graphs import graph, shipped

BLOCK = {"steps": 4, "shift": 1.5, "block": 4, "window": 16, "sink": 0, "on_prompt_change": "recache", "frames": 8}
ASYNCHRONOUS = {name: value for name, value in BLOCK.items() if name != "block"}


def schedule(kind: str, **inputs: Any) -> Workflow:
    return graph(schedule=(kind, inputs), picture=("PreviewImage", {"images": ["schedule", 1]}))


def prompts(text: str, **inputs: Any) -> Workflow:
    given = {"text": text, "fps": 8, "frames": 64, "chunk": 4, "blend": 0, **inputs}
    return graph(prompts=("AVGenPromptSchedule", given), shown=("PreviewAny", {"source": ["prompts", 1]}))


def load_run(name: str) -> Workflow:
    return graph(run=("AVGenLoadRun", {"run": name}), shown=("PreviewAny", {"source": ["run", 1]}))


def decode(**inputs: int) -> Workflow:
    return graph(
        model=("AVGenLoadEmbedded", {}),
        run=("AVGenLoadRun", {"run": "earlier.avgen"}),
        decode=("AVGenDecodeRun", {"run": ["run", 0], "vae": ["model", 2], **inputs}),
        shown=("PreviewImage", {"images": ["decode", 0]}),
    )


def encode(side: int) -> Workflow:
    return graph(
        model=("AVGenLoadEmbedded", {}),
        images=("EmptyImage", {"width": side, "height": side, "batch_size": 4, "color": 0}),
        encode=("VAEEncode", {"pixels": ["images", 0], "vae": ["model", 2]}),
        decode=("VAEDecode", {"samples": ["encode", 0], "vae": ["model", 2]}),
        shown=("PreviewImage", {"images": ["decode", 0]}),
    )


REFUSED_AT_ONCE = {
    "no frames": (shipped("text_to_video", frames=0), "AVGenSampleCausal .* 0 smaller than min of 1: frames"),
    "negative frames": (shipped("text_to_video", frames=-4), "AVGenSampleCausal .* -4 smaller than min of 1: frames"),
    "a run that is not there": (load_run("nowhere.avgen"), "no saved run 'nowhere.avgen'; allowed: .*earlier.avgen"),
    "a path out of the folders": (load_run("../../x.avgen"), r"no saved run '\.\./\.\./x\.avgen'"),
    "an absolute path": (load_run("/etc/passwd"), "no saved run '/etc/passwd'"),
    "a path out of the output folder": (load_run("../server.log [output]"), "no saved run"),
}
FAILS = {
    "unknown choice": (
        schedule("AVGenBlockSchedule", **{**BLOCK, "on_prompt_change": "forget"}),
        "on_prompt_change is 'forget'; allowed: recache, keep",
    ),
    "frames that leave the window too early": (
        schedule("AVGenAsynchronousSchedule", **{**ASYNCHRONOUS, "steps": 40, "difference": 2, "keep_open": True}),
        "difference 2 lets frames leave a window of 16 before they are clean after 40 steps: .* at least 3",
    ),
    "a window smaller than a block": (
        schedule("AVGenBlockSchedule", **{**BLOCK, "window": 2}),
        "window of 2 frames cannot hold a block of 4",
    ),
    "late first prompt": (prompts("8: a cat"), "line 1, column 1.*first must start at frame 0"),
    "backward prompts": (prompts("0: a cat\n16: a dog\n8: a cow"), "line 3.*starts must increase"),
    "malformed JSON": (prompts('{"0": "a cat", "8": }'), "line 1, column 21: malformed JSON"),
    "a part without a prompt": (prompts("0: a cat\n16:"), "the prompt of .16:. is empty"),
    "a prompt after the end": (prompts("0: a cat\n10s: a dog"), "past the end: the video has 64 frames"),
    "a size that was not trained": (encode(96), "64x64 pixels, not 96x96: .*scale the frames you give it"),
    "too few given frames": (
        shipped("extend_video", frames=4, AVGenEncodeFrames={"last": 2}),
        "2 frames are fewer than one block of 4",
    ),
    "frames beyond the run": (decode(start=16, frames=0), "the run has 16 frames, 0 to 15; asked for frame 16"),
    "more frames than the run": (decode(start=8, frames=9), "asked for frame 8 and up to frame 16: change start"),
    "a file outside the output folder": (
        shipped("text_to_video", frames=4, seed=9, AVGenSaveRun={"filename_prefix": "../../x"}),
        "[Ss]aving.*outside.*output",
    ),
}


@pytest.mark.parametrize("case", REFUSED_AT_ONCE)
def test_refused_before_it_is_queued(server: ComfyServer, earlier: int, case: str) -> None:
    workflow, message = REFUSED_AT_ONCE[case]
    with pytest.raises(Rejected, match=message):
        server.run(workflow)


@pytest.mark.parametrize("case", FAILS)
def test_fails_with_its_reason(server: ComfyServer, earlier: int, case: str) -> None:
    workflow, message = FAILS[case]
    fails(server, workflow, message)


def fails(server: ComfyServer, workflow: Workflow, message: str) -> None:
    run = server.run(workflow)
    assert run.status == "error"
    assert re.search(message, run.explanation, re.DOTALL), run.explanation
    assert run.of("progress") == [] or run.error["node_type"] != "AVGenSampleCausal"


# ---- damaged files ------------------------------------------------------------------------------


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_run_at_all(file: Path) -> None:
    file.write_bytes(b"not a run" * 100)


def repacked(change: Callable[[str, bytes], bytes]) -> Callable[[Path], None]:
    def work(file: Path) -> None:
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, change(name, content))

    return work


def other_model(name: str, content: bytes) -> bytes:
    if name != "run.json":
        return content
    data = json.loads(content)
    data["recipe"]["model"] = "another-model"
    return json.dumps(data).encode()


def other_weights(name: str, content: bytes) -> bytes:
    """Frames that are no safetensors file, in a run of its own, so that the good one is not used instead."""
    if name != "run.json":
        return b"not safetensors"
    data = json.loads(content)
    data["recipe"]["seed"] = 424242
    return json.dumps(data).encode()


DAMAGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncated, r"truncated\.avgen is not a run file or is truncated"),
    "no run at all": (no_run_at_all, r"no_run_at_all\.avgen is not a run file or is truncated"),
    "frames that cannot be read": (repacked(other_weights), "not a safetensors file; .*generate the run again"),
    "of another model": (repacked(other_model), "was made by model another-model.*load the model that made the run"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_run_files(server: ComfyServer, earlier: int, case: str) -> None:
    damage, message = DAMAGED[case]
    file = server.base / "input" / f"{case.replace(' ', '_')}.avgen"
    shutil.copyfile(server.base / "input" / "earlier.avgen", file)
    damage(file)
    fails(server, shipped("extend", frames=4, AVGenLoadRun={"run": file.name}), message)
