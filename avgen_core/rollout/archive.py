"""A run as one file to keep and share: `NAME.avgen`, a zip (stored, not compressed) of the run's folder."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

from .files import RunError, written_whole
from .run import Run

SUFFIX = ".avgen"
MEMBER = re.compile(r"run\.json|state\.safetensors|chunks/\d{8}-\d{8}\.safetensors")


def pack_run(run: Run, path: Path) -> Path:
    """Write a run to `path`; the file takes its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["run.json", *(f"chunks/{file.name}" for _, _, file in run.chunks())]
    if (run.folder / "state.safetensors").exists():
        names.append("state.safetensors")
    with written_whole(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            archive.write(run.folder / name, name)
    return path


def unpack_run(path: Path, folder: Path) -> Run:
    """Unpack a run file below `folder`, under the run's own id; an equal run that is there already is used.

    Raises:
        RunError: the file is truncated, no zip, or holds anything that is not part of a run.
    """
    partial = folder / f"{path.stem}.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _extract(path, partial)
        run = Run.load(partial)
        target = folder / run.recipe.id
        if _holds(target, run):
            return Run.load(target)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Run.load(target)


def _extract(path: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename
                if not MEMBER.fullmatch(name) or member.compress_type != zipfile.ZIP_STORED:
                    raise RunError(f"{path.name} is not a run file: it holds {name!r}")
                destination = target / name
                destination.parent.mkdir(exist_ok=True)
                with archive.open(member) as source, open(destination, "wb") as file:
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
        raise RunError(
            f"{path.name} is not a run file or is truncated ({error}): copy it again, or save the run again"
        ) from error


def _holds(folder: Path, run: Run) -> bool:
    """Whether `folder` holds as much of the same run, in good order."""
    if not (folder / "run.json").exists():
        return False
    try:
        there = Run.load(folder)
        there.state()
        return there.frames >= run.frames
    except RunError:
        return False
