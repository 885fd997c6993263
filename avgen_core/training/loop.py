"""The part every trainer shares: processes, optimiser, learning rate, moving average, resumable state and the log.

A trainer gives a model and two functions: one draws the rows of a batch that this process has to work on, the other
gives their losses. Whatever is drawn at random must be a function of the seed, the step and the row. So a resumed run
sees what an uninterrupted one would, and several processes see together what one process would see alone.
"""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import torch
from torch import Tensor, nn

from .optimizers import OptimizerKind, make_optimizer
from .precision import PRECISIONS, autocast
from .state import read_parts, saved_states, write_in_parts

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState

LONGEST_WAIT = timedelta(hours=6)  # the other processes wait while one of them makes an index or a sample sheet


@dataclass(frozen=True)
class TrainSpec:
    """One training run. `out` receives `state-STEP/` (resumable), `log.jsonl` and sample sheets.

    steps: optimiser steps; batch: rows of one step, over all processes together; accumulate: parts in which each
    process works through its rows, one after another; precision: one of `PRECISIONS`; warmup: steps until the
    learning rate is reached; decay_share: share of the steps, at the end, over which it falls, 0 for none;
    workers: threads that draw data ahead, 0 for none; device: "cpu", or "cuda" (or another name of PyTorch's) for what
    accelerate finds.
    """

    out: Path
    steps: int
    batch: int
    learning_rate: float
    warmup: int = 200
    decay_share: float = 0.25
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    optimizer: OptimizerKind = OptimizerKind.ADAMW
    ema_decay: float = 0.999
    gradient_clip: float = 1.0
    accumulate: int = 1
    precision: str = "auto"
    seed: int = 0
    workers: int = 0
    device: str = "cpu"
    save_seconds: float = 240.0
    log_every: int = 50

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.accumulate, self.warmup) < 1:
            raise ValueError(
                "steps, batch, accumulate and warmup must be at least 1, "
                f"got {self.steps}, {self.batch}, {self.accumulate} and {self.warmup}"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, constant, and linear decay over the last `decay_share` of all steps."""
        decay = max(1.0, self.steps * self.decay_share)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, max(0.02, (self.steps - step) / decay))


@dataclass(frozen=True)
class RowLosses:
    """Losses of n rows.

    loss, weight: (n,); the loss of a step is the sum of `loss` over the sum of `weight`, both over all rows of all
    processes. notes: (n, ...) each; the log shows the mean over rows of those that are (n,).
    """

    loss: Tensor
    weight: Tensor
    notes: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def plain(loss: Tensor, **notes: Tensor) -> RowLosses:
        """Rows that all count the same."""
        return RowLosses(loss, torch.ones_like(loss), notes)

    def sums(self) -> dict[str, Tensor]:
        """Everything summed over rows, and the number of `rows`."""
        each = {"loss": self.loss, "weight": self.weight, "rows": torch.ones_like(self.loss), **self.notes}
        return {name: values.detach().float().sum(0) for name, values in each.items()}


Draw = Callable[[int, slice], Any]
"""Step and rows to their data on the CPU: tensors in tuples and dictionaries."""
Losses = Callable[[nn.Module, Any], RowLosses]
"""Model and data on its device to the losses of the rows."""
AfterStep = Callable[[nn.Module, dict[str, Tensor]], None]
"""Gets the model and `RowLosses.sums` over all processes."""


def nothing(*_) -> None:
    """Stands in for a callback."""


class _Forward(nn.Module):
    """The losses as a module: the exchange of gradients attaches to a module's forward.

    accelerate would do the autocast too, but for all trainings of a program alike.
    """

    def __init__(self, model: nn.Module, losses: Losses, precision: str) -> None:
        super().__init__()
        self.model = model
        self.losses = losses
        self.precision = precision

    def forward(self, data: Any) -> RowLosses:
        device = next(self.model.parameters()).device
        with autocast(device, self.precision):
            return self.losses(self.model, data)


def process_state(device: str) -> PartialState:
    """The processes of this run.

    accelerate is imported only where something is trained: who generates videos may not have it.

    Raises:
        ValueError: accelerate is not installed, or the device is not the one that it finds.
    """
    try:
        from accelerate import PartialState
    except ModuleNotFoundError as error:
        raise ValueError("training needs accelerate, which is not installed: `pip install accelerate`") from error
    state = PartialState(cpu=device == "cpu", timeout=LONGEST_WAIT)
    if state.device.type != device:
        raise ValueError(f"device {device!r} was asked for, but accelerate was started for {state.device.type!r}")
    return state


def leave_processes() -> None:
    """Part from the other processes, when nothing trains any more.

    A process that ends while a trained model still holds on to the group is aborted by the group's own threads.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def accelerator_of(spec: TrainSpec) -> Accelerator:
    """The processes and the device of a run.

    Raises:
        ValueError: as `process_state`; or the batch does not split evenly.
    """
    process_state(spec.device)
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    # No trainer has buffers that one process alone could know better.
    unshared = DistributedDataParallelKwargs(broadcast_buffers=False)
    accelerator = Accelerator(cpu=spec.device == "cpu", mixed_precision="no", kwargs_handlers=[unshared])
    parts = accelerator.num_processes * spec.accumulate
    if spec.batch % parts:
        raise ValueError(
            f"a batch of {spec.batch} does not split evenly over {accelerator.num_processes} processes in "
            f"{spec.accumulate} parts each: choose a multiple of {parts}"
        )
    return accelerator


class DrawnAhead:
    """The data of this process's parts of each step, drawn by threads before they are needed."""

    def __init__(self, draw: Draw, parts: list[slice], workers: int) -> None:
        self.draw, self._parts, self._workers = draw, parts, workers
        self._pool = ThreadPoolExecutor(workers) if workers else None
        self._drawn: dict[int, Future] = {}

    def get(self, step: int, part: int) -> Any:
        wanted = step * len(self._parts) + part
        if self._pool is None:
            return self._draw_number(wanted)
        for number in range(wanted, wanted + self._workers + 1):
            if number not in self._drawn:
                self._drawn[number] = self._pool.submit(self._draw_number, number)
        return self._drawn.pop(wanted).result()

    def _draw_number(self, number: int) -> Any:
        step, part = divmod(number, len(self._parts))
        return self.draw(step, self._parts[part])

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._drawn.clear()


def averaged(model: nn.Module) -> nn.Module:
    """A copy for the moving average; weights that do not learn are not copied but shared."""
    shared = {id(parameter): parameter for parameter in model.parameters() if not parameter.requires_grad}
    return copy.deepcopy(model, shared).eval().requires_grad_(False)


def _difference(before: str, now: str, around: int = 60) -> str:
    """Both texts where they begin to differ."""
    same = next((at for at, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now)))
    start = max(0, same - around)
    lead = "... " if start else ""
    was, is_now = (lead + text[start : same + around] for text in (before, now))
    return f"{was} and is now {is_now}"


def frozen_origin(model: nn.Module) -> dict[str, str]:
    """A digest of the weights that do not learn, a sample of each; empty where all learn."""
    frozen = [(name, parameter) for name, parameter in model.named_parameters() if not parameter.requires_grad]
    digest = hashlib.sha256()
    for name, parameter in frozen:
        digest.update(name.encode() + parameter.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return {"what does not learn": digest.hexdigest()[:12]} if frozen else {}


class Training:
    """Model, moving average, optimiser and step counter, saved and loaded as one."""

    def __init__(
        self,
        model: nn.Module,
        spec: TrainSpec,
        draw: Draw,
        losses: Losses,
        after_step: AfterStep = nothing,
        origin: dict[str, str] | None = None,
    ) -> None:
        """`origin` says what is trained on what: a state goes on only where all of it is the same."""
        self.spec = spec
        self.origin = {**(origin or {}), **frozen_origin(model)}
        self.after_step = after_step
        self.accelerator = accelerator_of(spec)
        self.model = model.to(self.device)
        self.average = averaged(self.model)
        optimizer = make_optimizer(spec.optimizer, self.model, spec.learning_rate, spec.betas, spec.weight_decay)
        self.forward, self.optimizer = self.accelerator.prepare(_Forward(self.model, losses, spec.precision), optimizer)
        self.data = DrawnAhead(draw, self.rows(), spec.workers)
        self.step = 0

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def rows(self) -> list[slice]:
        """The rows of the batch that are this process's, in the parts in which it works through them."""
        parts = self.spec.accumulate
        size = self.spec.batch // (self.accelerator.num_processes * parts)
        first = self.accelerator.process_index * parts * size
        return [slice(start, start + size) for start in range(first, first + parts * size, size)]

    def save(self) -> None:
        """Write everything needed to go on; the last save goes only when the new one is complete."""
        earlier = saved_states(self.spec.out)
        folder = self.spec.out / f"state-{self.step:08d}"
        if folder in earlier:
            return
        content = {
            "step": self.step,
            "origin": self.origin,
            "model": self._changing(self.model),
            "average": self._changing(self.average),
            "optimizer": self.optimizer.state_dict(),
        }
        write_in_parts(content, folder)
        for old in earlier:
            shutil.rmtree(old)

    def _changing(self, module: nn.Module) -> dict[str, Tensor]:
        """The state of a module without the weights that do not learn: they are what the training was begun with."""
        frozen = {name for name, parameter in self.model.named_parameters() if not parameter.requires_grad}
        return {name: value for name, value in module.state_dict().items() if name not in frozen}

    def resume(self) -> None:
        """Load the last save, if there is one.

        Raises:
            ValueError: it is damaged, or is the state of another training.
        """
        states = saved_states(self.spec.out)
        if not states:
            return
        saved = read_parts(states[-1], self.device)
        self._check_origin(saved.get("origin", {}))
        for module, weights in ((self.model, saved["model"]), (self.average, saved["average"])):
            module.load_state_dict({**module.state_dict(), **weights})
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = saved["step"]

    def _check_origin(self, origin: dict[str, str]) -> None:
        other = [
            f"{name} was {_difference(origin.get(name, 'unknown'), mine)}"
            for name, mine in self.origin.items()
            if origin.get(name) != mine
        ]
        if other:
            raise ValueError(
                f"{self.spec.out} holds the state of another training: {'; '.join(other)}. Name another folder with "
                "--out, or go on with what it was begun with"
            )

    def gradients(self) -> dict[str, Tensor]:
        """Leave the gradients of this step's loss in the parameters; `RowLosses.sums` over all processes.

        Each part's loss is summed, not averaged: what to divide by is known when all rows of all processes are done.
        """
        from accelerate.utils import send_to_device

        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        parts = self.spec.accumulate
        for part in range(parts):
            data = send_to_device(self.data.get(self.step, part), self.device)
            with nullcontext() if part == parts - 1 else self.accelerator.no_sync(self.forward):
                losses = self.forward(data)
                self.accelerator.backward(losses.loss.sum())
            sums = {name: sums.get(name, 0) + value for name, value in losses.sums().items()}
        sums = self.accelerator.reduce(sums, "sum")
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        # The exchange of gradients takes their mean over processes, where the sum is wanted.
        torch._foreach_mul_(gradients, self.accelerator.num_processes / sums["weight"])
        return sums

    def advance(self) -> dict[str, Tensor]:
        """One optimiser step and one step of the moving average; `RowLosses.sums` over all processes."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.spec.rate_at(self.step)
        sums = self.gradients()
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.spec.gradient_clip)
        self.optimizer.step()
        self.after_step(self.model, sums)
        decay = min(self.spec.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
            averages, weights = zip(*((mine, own) for mine, own in pairs if own.requires_grad), strict=True)
            torch._foreach_lerp_(averages, weights, 1 - decay)
            for mine, theirs in zip(self.average.buffers(), self.model.buffers(), strict=True):
                mine.copy_(theirs)
        self.step += 1
        return sums

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """The sum, of which no gradients are taken."""
        return self.accelerator.reduce(values, "sum")

    def any_process(self, *wishes: bool) -> list[bool]:
        """Each wish, granted everywhere when any process has it."""
        if self.accelerator.num_processes == 1:
            return list(wishes)
        flags = torch.tensor(wishes, dtype=torch.float32, device=self.device)
        return (self.sum_over_processes(flags) > 0).tolist()


class _Log:
    """`log.jsonl`: means since the last line. Processes other than the main one have no file and write nothing."""

    def __init__(self, training: Training, file: TextIO | None) -> None:
        self.training, self.file = training, file
        self.sums: dict[str, Tensor] = {}
        self.begun, self.first = time.monotonic(), training.step

    def add(self, sums: dict[str, Tensor]) -> None:
        figures = {name: value for name, value in sums.items() if value.ndim == 0}
        self.sums = {name: self.sums.get(name, 0) + value for name, value in figures.items()}
        if self.training.step % self.training.spec.log_every == 0:
            self._write()

    def _write(self) -> None:
        step, now = self.training.step, time.monotonic()
        totals = {name: value.item() for name, value in self.sums.items()}
        weight, rows = totals.pop("weight"), totals.pop("rows")
        entry = {name: round(total / (weight if name == "loss" else rows), 5) for name, total in totals.items()}
        entry |= {"step": step, "steps_per_second": round((step - self.first) / (now - self.begun), 2)}
        if self.file is not None:
            self.file.write(json.dumps(entry) + "\n")
            self.file.flush()
        self.sums, self.begun, self.first = {}, now, step


def run(training: Training, on_save: Callable[[Training], None] = lambda training: None) -> None:
    """Train up to `spec.steps`; only the main process writes and calls `on_save`.

    SIGTERM and SIGINT end the run after the current step, with everything saved, whichever process they reach.
    """
    stop = False

    def request_stop(*_) -> None:
        nonlocal stop
        stop = True

    previous = {number: signal.signal(number, request_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        if training.accelerator.is_main_process:
            training.spec.out.mkdir(parents=True, exist_ok=True)
            with open(training.spec.out / "log.jsonl", "a") as file:
                _run(training, on_save, file, lambda: stop)
        else:
            _run(training, on_save, None, lambda: stop)
    finally:
        training.data.close()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _run(
    training: Training,
    on_save: Callable[[Training], None],
    file: TextIO | None,
    stop_requested: Callable[[], bool],
) -> None:
    def save() -> None:
        if training.accelerator.is_main_process:
            training.save()
            on_save(training)
        training.accelerator.wait_for_everyone()

    log, last_save, stopped = _Log(training, file), time.monotonic(), False
    while training.step < training.spec.steps and not stopped:
        log.add(training.advance())
        overdue = time.monotonic() - last_save > training.spec.save_seconds
        stopped, due = training.any_process(stop_requested(), overdue)
        if due and not stopped:
            save()
            last_save = time.monotonic()
    save()
