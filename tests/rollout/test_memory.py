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
SHAPE = (64, 8, 8)  # so large that 1,800 frames kept by mistake would be 29 MB
CONFIG = CausalDiTConfig(
    dim=24, ffn_dim=24, num_heads=1, num_layers=1, in_dim=64, out_dim=64, text_dim=8, text_len=5, freq_dim=16
)
PLANS = {
    "block": BlockPlan(flow_sigmas(1), block=4, window=Window(8, 1)),
    "asynchronous": AsynchronousPlan(flow_sigmas(2), difference=1, window=Window(6, 1)),
}
PROMPT = "\n".join(f"{start}: subject {start}" for start in range(0, 2000, 40))


def measured(kind: str, folder: Path) -> list[tuple[int, int]]:
    """Resident memory before the last pass is over, and size of the state, at 200 and at 2,000 frames of a run."""
    torch.set_num_threads(1)
    network = CausalDiT(CONFIG).eval()
    system = CausalWanDenoiser(network, tiny.encode_text, fingerprint="memory", latent_shape=SHAPE)
    process, resident, sizes, run = psutil.Process(), 0, [], None

    def look(progress: Progress) -> None:
        nonlocal resident
        resident = process.memory_info().rss

    for frames in (200, 1800):
        order = Order(PLANS[kind], tiny.prompts(PROMPT), frames, 0, 8.0, 1.0, parent=run)
        run = generate(system, prepare(system, order), folder / f"{frames}", look)
        sizes.append((resident, run.state().bytes))
    assert run.frames == 2000 and run.joins[0].exact
    return sizes


@pytest.mark.parametrize("kind", PLANS)
def test_2000_frames_take_the_memory_of_200(tmp_path, kind):
    script = (
        "import json, sys; from pathlib import Path; from tests.rollout.test_memory import measured; "
        "print(json.dumps(measured(sys.argv[1], Path(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", script, kind, str(tmp_path)]
    result = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    (resident, state), (resident_later, state_later) = json.loads(result.stdout)
    assert resident_later == pytest.approx(resident, rel=0.03)
    assert state_later == state
