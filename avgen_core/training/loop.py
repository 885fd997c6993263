"""The part every trainer shares: optimiser, learning rate, moving average, resumable state and the log."""

from __future__ import annotations

import copy
import io
import json
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PART_BYTES = 14_000_000


@dataclass(frozen=True)
class TrainSpec:
    """One training run. `out` receives `state-STEP/` (resumable), `log.jsonl` and sample sheets."""

    out: Path
    steps: int
    batch: int
    learning_rate: float
    warmup: int = 200
    decay_share: float = 0.25
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    gradient_clip: float = 1.0
    seed: int = 0
    device: str = "cpu"
    save_seconds: float = 240.0
    log_every: int = 50

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps and batch must be at least 1, got {self.steps} and {self.batch}")

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, constant, and linear decay over the last `decay_share` of all steps."""
        decay = max(1.0, self.steps * self.decay_share)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, max(0.02, (self.steps - step) / decay))


def saved_states(out: Path) -> list[Path]:
    """Folders of complete states in `out`, oldest first."""
    return sorted(path for path in out.glob("state-*") if path.suffix != ".part")


def write_in_parts(content: dict[str, Any], folder: Path) -> Path:
    """Write a state as files of at most `PART_BYTES`, for machines that hand back small files only."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    partial = folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    view = buffer.getbuffer()
    for number, start in enumerate(range(0, len(view), PART_BYTES)):
        (partial / f"{number:04d}").write_bytes(view[start : start + PART_BYTES])
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def read_parts(folder: Path, device: str) -> dict[str, Any]:
    """What `write_in_parts` wrote."""
    joined = io.BytesIO(b"".join(part.read_bytes() for part in sorted(folder.iterdir())))
    return torch.load(joined, map_location=device, weights_only=True)


class Training:
    """Model, moving average, optimiser and step counter, saved and loaded as one."""

    def __init__(self, model: nn.Module, spec: TrainSpec) -> None:
        self.spec = spec
        self.model = model.to(spec.device)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        learned = [p for p in self.model.parameters() if p.requires_grad]
        decayed = [p for p in learned if p.ndim > 1]
        plain = [p for p in learned if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": spec.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=spec.learning_rate, betas=(0.9, 0.98), fused=True)
        self.step = 0

    def save(self) -> None:
        """Write everything needed to go on; the last save goes only when the new one is complete."""
        earlier = saved_states(self.spec.out)
        content = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        written = write_in_parts(content, self.spec.out / f"state-{self.step:08d}")
        for folder in earlier:
            if folder != written:
                shutil.rmtree(folder)

    def resume(self) -> None:
        """Load the last save, if there is one."""
        states = saved_states(self.spec.out)
        if not states:
            return
        saved = read_parts(states[-1], self.spec.device)
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = saved["step"]

    def update(self, loss: Tensor) -> None:
        """One optimiser step and one step of the moving average."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.spec.rate_at(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.gradient_clip)
        self.optimizer.step()
        decay = min(self.spec.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
            for mine, theirs in zip(self.average.buffers(), self.model.buffers(), strict=True):
                mine.copy_(theirs)
        self.step += 1


def run(
    training: Training,
    loss_of_step: Callable[[int], dict[str, Tensor]],
    on_save: Callable[[Training], None] = lambda training: None,
) -> None:
    """Train up to `spec.steps`. `loss_of_step` gives named losses; the one called `loss` is minimised.

    Batches must be a function of the step alone, so that a resumed run sees what an uninterrupted one would.
    SIGTERM and SIGINT end the run after the current step, with everything saved.
    """
    spec = training.spec
    spec.out.mkdir(parents=True, exist_ok=True)
    stop = False

    def request_stop(*_) -> None:
        nonlocal stop
        stop = True

    previous = {number: signal.signal(number, request_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    last_save = last_log = time.monotonic()
    sums: dict[str, float] = {}
    summed = 0
    with open(spec.out / "log.jsonl", "a") as log:
        while training.step < spec.steps and not stop:
            losses = loss_of_step(training.step)
            training.update(losses["loss"])
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
            summed += 1
            if training.step % spec.log_every == 0:
                now = time.monotonic()
                entry = {name: round(value / summed, 5) for name, value in sums.items()}
                entry |= {"step": training.step, "steps_per_second": round(summed / (now - last_log), 2)}
                log.write(json.dumps(entry) + "\n")
                log.flush()
                sums, summed, last_log = {}, 0, now
            if time.monotonic() - last_save > spec.save_seconds:
                training.save()
                on_save(training)
                last_save = time.monotonic()
    training.save()
    on_save(training)
    for number, handler in previous.items():
        signal.signal(number, handler)
