"""Alternating measurements, printed as a table and written as JSON."""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch


def arguments(description: str | None) -> argparse.Namespace:
    """The arguments that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="one short round")
    return parser.parse_args()


def alternate(
    candidates: dict[str, Callable[[], object]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each candidate, run in turns, after one warm-up each unless something alike has just run."""
    if warm_up:
        for run in candidates.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    return seconds


def report(title: str, seconds: dict[str, list[float]], peer: str, path: Path | None, **notes: object) -> None:
    """Print medians, spread and ratios to the peer; write them as JSON when a path is given."""
    base = statistics.median(seconds[peer])
    print(title)
    rows = {}
    for name, values in seconds.items():
        median = statistics.median(values)
        rows[name] = {"median": median, "min": min(values), "max": max(values), "peer_over_this": base / median}
        print(f"  {name:34} {median:8.3f} s  ({min(values):.3f} to {max(values):.3f})  {base / median:5.2f}x")
    if path:
        machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        content = {"title": title, "peer": peer, "seconds": rows, "machine": machine, "peak_memory_mb": peak, **notes}
        path.write_text(json.dumps(content, indent=1))
