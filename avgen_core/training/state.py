"""States of trainings on disk: one folder a state, in parts that are small enough to travel everywhere."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import torch

PART_BYTES = 14_000_000


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


def read_parts(folder: Path, device: torch.device) -> dict[str, Any]:
    """What `write_in_parts` wrote."""
    joined = io.BytesIO(b"".join(part.read_bytes() for part in sorted(folder.iterdir())))
    return torch.load(joined, map_location=device, weights_only=True)
