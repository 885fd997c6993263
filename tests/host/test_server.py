"""The pack inside a real server, and the server class that the demo and these tests stand on."""

from __future__ import annotations

import io
from typing import Any

import av
import pytest

from comfy_server import ComfyServer, Rejected, Workflow

SIZE, COUNT, FPS = 64, 12, 12


def video_workflow(color: int = 255, **changes: Any) -> Workflow:
    """Core nodes only: a plain colour to an mp4."""
    image = {"width": SIZE, "height": SIZE, "batch_size": COUNT, "color": color, **changes}
    save = {"video": ["2", 0], "filename_prefix": "plain", "format": "mp4", "codec": "h264"}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": FPS}},
        "3": {"class_type": "SaveVideo", "inputs": save},
    }


def test_pack_is_imported(server: ComfyServer) -> None:
    assert "IMPORT FAILED" not in server.log()
    assert "custom_nodes/AVGen" in server.log()


def test_pack_registers_its_nodes(server: ComfyServer) -> None:
    ours = {name: info for name, info in server.get("/object_info").items() if name.startswith("AVGen")}
    assert {"AVGenLoadEmbedded", "AVGenPromptSchedule", "AVGenSampleCausal"} <= set(ours)
    assert all(info["category"].startswith("AVGen") and info["description"] for info in ours.values())


def test_workflow_leaves_a_video(server: ComfyServer) -> None:
    run = server.run(video_workflow())
    assert run.ok, run.explanation
    assert run.executed == ["1", "2", "3"]
    with av.open(io.BytesIO(server.fetch(run.files[0]))) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == COUNT and frames[0].shape == (SIZE, SIZE, 3)
    assert server.path_of(run.files[0]).exists()


def test_second_queueing_uses_the_cache(server: ComfyServer) -> None:
    workflow = video_workflow(color=128)
    first, second = server.run(workflow), server.run(workflow)
    assert second.executed == [] and set(second.cached) == set(workflow)
    assert second.files == first.files


def test_interrupt_ends_a_run(server: ComfyServer) -> None:
    workflow = video_workflow(color=7, width=512, height=512)
    for step in range(20):
        image = [f"blur{step - 1}" if step else "1", 0]
        blur = {"image": image, "blur_radius": 9, "sigma": 2.0}
        workflow[f"blur{step}"] = {"class_type": "ImageBlur", "inputs": blur}
    workflow["2"]["inputs"]["images"] = ["blur19", 0]

    def interrupt_at_once(kind: str, data: dict[str, Any]) -> None:
        if kind == "executing" and data["node"] == "blur0":
            server.interrupt()

    run = server.run(workflow, on_event=interrupt_at_once)
    assert run.status == "interrupted" and not run.files
    assert server.run(video_workflow()).ok


def test_invalid_workflow_is_rejected_with_its_node(server: ComfyServer) -> None:
    with pytest.raises(Rejected, match=r"EmptyImage \(node 1\).*smaller than min") as caught:
        server.run(video_workflow(width=-1))
    assert list(caught.value.node_errors) == ["1"]


def test_unknown_node_is_rejected(server: ComfyServer) -> None:
    with pytest.raises(Rejected, match="AVGenNoSuchNode"):
        server.run({**video_workflow(), "4": {"class_type": "AVGenNoSuchNode", "inputs": {}}})
