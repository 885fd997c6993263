"""States of trainings on disk: one folder a state, in parts that are small enough to travel everywhere."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import torch

PART_BYTES = 14_000_000


def saved_states(out: Path) -> list[Path]:
    """Folders of complete states in `out`, oldest first."""
    return sorted(path for path in out.glob("state-*") if path.suffix != ".part")


def write_in_parts(content: dict[str, Any], folder: Path) -> Path:
    """Write a state as files of at most `PART_BYTES`, for machines that hand back small files only."""
    partial = folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with tempfile.TemporaryFile(dir=folder.parent) as whole:
        torch.save(content, whole)
        whole.seek(0)
        for number in count():
            if not (part := whole.read(PART_BYTES)):
                break
            (partial / f"{number:04d}").write_bytes(part)
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def read_parts(folder: Path, device: torch.device) -> dict[str, Any]:
    """What `write_in_parts` wrote.

    Raises:
        ValueError: the files are damaged.
    """
    with tempfile.TemporaryFile(dir=folder.parent) as whole:
        for part in sorted(folder.iterdir()):
            whole.write(part.read_bytes())
        whole.seek(0)
        try:
            return torch.load(whole, map_location=device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"the training state {folder} is damaged ({error}): delete that folder, "
                "and start again from the last exported weights or from nothing"
            ) from error
