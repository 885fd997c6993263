"""Cancel stops at once, keeps what is finished, and queueing again goes on to the same video."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from comfy_server import ComfyServer
from tests.host.graphs import forget, run_latents, shipped


def test_cancel_and_resume(server: ComfyServer) -> None:
    workflow = shipped("text_to_video", frames=16, seed=31)
    forget(server)
    passes: list[int] = []

    def cancel_in_the_third_block(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress":
            passes.append(data["value"])
            if data["value"] == data["max"] * 5 // 8:
                server.interrupt()

    cancelled = server.run(workflow, on_event=cancel_in_the_third_block)
    assert cancelled.status == "interrupted" and cancelled.error is not None
    assert cancelled.error["node_type"] == "AVGenSampleCausal"
    total = cancelled.of("progress")[0]["max"]
    assert passes[-1] <= total * 5 // 8 + 2, "it went on for more than a pass"
    kept = [re.search(r"Stopped: (\d+) of 16 frames are kept in avgen/(\w+)", said.text) for said in cancelled.texts]
    assert kept and kept[-1] and kept[-1][1] == "8"
    assert (server.base / "output" / "avgen" / kept[-1][2] / "run.json").exists()

    resumed = server.run(workflow)
    assert resumed.ok, resumed.explanation
    assert resumed.of("progress")[0]["value"] > passes[0], "it began anew"

    forget(server)
    uncancelled = server.run(workflow)
    assert np.array_equal(run_latents(server, resumed), run_latents(server, uncancelled))
