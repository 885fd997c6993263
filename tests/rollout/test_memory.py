"""Memory does not grow with the length of the video."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from avgen_core.networks.causal_dit import CausalDiT, CausalDiTConfig
from avgen_core.plan import AsynchronousPlan, BlockPlan, Window, flow_sigmas
from avgen_core.rollout.generate import Order, Progress, generate, prepare
from avgen_core.systems.causal_wan import CausalWanDenoiser
from tests import tiny

ROOT = Path(__file__).parents[2]
SHAPE = (16, 16, 16)  # so large that 1,800 frames kept by mistake would be 29 MB
CONFIG = CausalDiTConfig(
    dim=24, ffn_dim=24, num_heads=1, num_layers=1, in_dim=16, out_dim=16, text_dim=8, text_len=5, freq_dim=16
)
PLANS = {
    "block": BlockPlan(flow_sigmas(1), block=4, window=Window(8, 1)),
    "asynchronous": AsynchronousPlan(flow_sigmas(2), difference=2, window=Window(6, 1)),
}
PROMPT = "\n".join(f"{start}: subject {start % 7}" for start in range(0, 2000, 40))


def measured(kind: str, folder: Path) -> dict[int, tuple[int, int]]:
    """Resident memory and size of the state, in bytes, when 200 and 2,000 frames of a run are finished."""
    torch.set_num_threads(1)
    system = CausalWanDenoiser(CausalDiT(CONFIG).eval(), tiny.encode_text, fingerprint="memory", latent_shape=SHAPE)
    order = Order(PLANS[kind], tiny.prompts(PROMPT), 2000, 0, 8.0, 1.0)
    sizes, process = {}, psutil.Process()
    held = 0

    def look(progress: Progress) -> None:
        nonlocal held
        held += len(progress.done.step.emits)
        if held in (200, 2000) and progress.done.step.emits:
            sizes[held] = process.memory_info().rss

    generate(system, prepare(system, order), folder, look)
    return sizes


@pytest.mark.parametrize("kind", PLANS)
def test_2000_frames_take_the_memory_of_200(tmp_path, kind):
    script = (
        "import json, sys; from pathlib import Path; from tests.rollout.test_memory import measured; "
        "print(json.dumps(measured(sys.argv[1], Path(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", script, kind, str(tmp_path / "run")]
    result = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    sizes = json.loads(result.stdout)
    assert sizes["2000"] == pytest.approx(sizes["200"], rel=0.03)
