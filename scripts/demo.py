"""From a prompt to a video, from nothing: `python scripts/demo.py "a fox runs left in a forest"`.

Makes `.venv` and fetches ComfyUI if they are not there, starts it with this pack, queues a
workflow of `workflows/api`, and leaves the video, its run (what `--extend` continues from)
and a contact sheet in `output/`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environment

if TYPE_CHECKING:
    from PIL import Image

    from comfy_server import ComfyServer, Run, Workflow

WORKFLOWS = environment.ROOT / "workflows" / "api"
OUTPUT = environment.ROOT / "output"
RUN_SUFFIX = ".avgen"
BLOCK = 4  # fewest frames of a video that the shipped schedule can go on from
SHEET_COLUMNS, SHEET_ROWS, SHEET_TILE = 4, 3, 256


@dataclass(frozen=True)
class Job:
    """What the user asked for."""

    prompt: str
    frames: int
    seed: int
    output: Path
    extend: Path | None

    @property
    def earlier_run(self) -> Path | None:
        """The run beside the video to extend, if it is still there."""
        run = self.extend.with_suffix(RUN_SUFFIX) if self.extend else None
        return run if run and run.exists() else None


# ---- the command line ---------------------------------------------------------------------------


def parse(arguments: list[str]) -> Job:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("prompt", metavar="PROMPT", help="what to show; may be a prompt schedule")
    parser.add_argument("--frames", type=positive, default=64, help="frames to make (default: 64)")
    parser.add_argument("--seed", type=natural, help="same seed, same video (default: 0, or the earlier run's)")
    parser.add_argument("--output", type=mp4, metavar="FILE.mp4", help="default: named after the prompt")
    parser.add_argument("--extend", type=mp4, metavar="EARLIER.mp4", help="go on from this video")
    options = parser.parse_args(arguments)
    if not options.prompt.strip():
        parser.error("PROMPT is empty: say what to show")
    if options.extend and not options.extend.exists():
        parser.error(f"--extend: there is no file {options.extend}")
    output = options.output or default_output(options.prompt, options.extend)
    job = Job(options.prompt, options.frames, options.seed or 0, output, options.extend)
    if options.seed is None and job.earlier_run:
        return replace(job, seed=seed_of(job.earlier_run))
    return job


def seed_of(run: Path) -> int:
    """The seed of a saved run: with it, going on is exact."""
    try:
        with zipfile.ZipFile(run) as archive:
            return int(json.loads(archive.read("run.json"))["recipe"]["seed"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise SystemExit(
            f"{run} is not a run, or is damaged ({error}): restore it, or move it away to go on from the video alone."
        ) from error


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def positive(text: str) -> int:
    if natural(text) == 0:
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return int(text)


def mp4(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if path.suffix.lower() != ".mp4":
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .mp4")
    return path


def default_output(prompt: str, extend: Path | None) -> Path:
    if extend:
        return OUTPUT / f"{extend.stem}-extended.mp4"
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower())[:60].strip("-")
    return OUTPUT / f"{slug or 'video'}.mp4"


# ---- the graph ----------------------------------------------------------------------------------


def build_workflow(job: Job, server: ComfyServer) -> Workflow:
    """The shipped workflow for this job, with the job's values in it."""
    values: dict[str, dict[str, Any]] = {
        "AVGenPromptSchedule": {"text": job.prompt, "frames": job.frames},
        "AVGenSampleCausal": {"frames": job.frames, "seed": job.seed},
        "AVGenSaveRun": {"filename_prefix": job.output.stem},
        "SaveVideo": {"filename_prefix": job.output.stem},
    }
    if job.extend is None:
        return fill("text_to_video", values)
    if job.earlier_run:
        print(f"Continuing the run {job.earlier_run.name} from its state.")
        values["AVGenLoadRun"] = {"run": give(server, job.earlier_run)}
        return fill("extend", values)
    missing = job.extend.with_suffix(RUN_SUFFIX).name
    given = sum(1 for _ in frames_of(job.extend))
    if given < BLOCK:
        raise SystemExit(f"{job.extend.name} is too short to go on from: {BLOCK} frames are needed.")
    print(f"There is no {missing} beside the video: its frames are encoded anew, so the new ones follow approximately.")
    values["LoadVideo"] = {"file": give(server, job.extend)}
    values["AVGenEncodeFrames"] = {"last": given}
    values["AVGenDecodeRun"] = {"start": given}
    return fill("extend_video", values)


def fill(name: str, values: dict[str, dict[str, Any]]) -> Workflow:
    """Load a shipped workflow and set inputs of its nodes, which are found by their class."""
    path = WORKFLOWS / f"{name}.json"
    if not path.exists():
        raise SystemExit(f"{path} is missing: restore it as it was shipped.")
    workflow = json.loads(path.read_text("utf-8"))
    for class_type, inputs in values.items():
        nodes = [node for node in workflow.values() if node["class_type"] == class_type]
        if not nodes:
            raise SystemExit(f"{path} has no node {class_type}: restore the file as it was shipped.")
        for node in nodes:
            node["inputs"].update(inputs)
    return workflow


def give(server: ComfyServer, file: Path) -> str:
    """Put a file where the server's loaders look."""
    shutil.copyfile(file, server.base / "input" / file.name)
    return file.name


# ---- running it ---------------------------------------------------------------------------------


class Progress:
    """One line that is written over, or one line every tenth where there is no terminal."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.is_terminal = sys.stdout.isatty()
        self.last_tenth = 0

    def __call__(self, kind: str, data: dict[str, Any]) -> None:
        if kind != "progress_state":
            return
        running = [node for node in data["nodes"].values() if node["state"] == "running" and node["max"] > 1]
        if running:
            self.show(running[-1]["value"] / running[-1]["max"])

    def show(self, part: float) -> None:
        line = f"  generating {part:4.0%}  {time.monotonic() - self.begun:.0f} s"
        if self.is_terminal:
            print(f"\r{line}", end="", flush=True)
        elif int(part * 10) != self.last_tenth:
            self.last_tenth = int(part * 10)
            print(line, flush=True)

    def finish(self) -> None:
        print(end="\n" if self.is_terminal else "", flush=True)


def generate(job: Job, server: ComfyServer) -> Run:
    progress = Progress()
    try:
        return server.run(build_workflow(job, server), timeout=24 * 3600, on_event=progress)
    finally:
        progress.finish()


def collect(job: Job, server: ComfyServer, run: Run) -> list[Path]:
    """Copy what the run saved to where the user wants it, and draw the contact sheet."""
    files = {file.filename: server.path_of(file) for file in run.files}
    job.output.parent.mkdir(parents=True, exist_ok=True)
    made = []
    for suffix in (".mp4", RUN_SUFFIX):
        source = next((path for name, path in files.items() if name.endswith(suffix)), None)
        if source is None:
            raise SystemExit(f"The workflow saved no {suffix} file, only: {', '.join(files) or 'nothing'}")
        made.append(job.output.with_suffix(suffix))
        place(source, made[-1])
    sheet = job.output.with_suffix(".png")
    contact_sheet(job.output).save(sheet)
    return [*made, sheet]


def place(source: Path, target: Path) -> None:
    """Copy so that the target is whole or not there."""
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(source, part)
    part.replace(target)


# ---- the contact sheet --------------------------------------------------------------------------


def contact_sheet(video: Path) -> Image.Image:
    """Frames spread evenly over the video, in rows."""
    from PIL import Image

    total = sum(1 for _ in frames_of(video))
    count = min(total, SHEET_COLUMNS * SHEET_ROWS)
    wanted = {round(i * (total - 1) / max(count - 1, 1)) for i in range(count)}
    tiles = [frame for index, frame in enumerate(frames_of(video)) if index in wanted]
    width, height = SHEET_TILE, round(SHEET_TILE * tiles[0].height / tiles[0].width)
    rows = -(-len(tiles) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (width * SHEET_COLUMNS, height * rows))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, SHEET_COLUMNS)
        sheet.paste(tile.resize((width, height), Image.Resampling.LANCZOS), (column * width, row * height))
    return sheet


def frames_of(video: Path) -> Iterator[Image.Image]:
    import av

    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            yield frame.to_image()


def main() -> int:
    job = parse(sys.argv[1:])
    where = environment.enter("run")
    from comfy_server import ComfyServer, Rejected, ServerError

    # Asked to end, stop the server too: it would live on without us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"Starting ComfyUI ({where.comfyui}) ...", flush=True)
    try:
        with ComfyServer(where.comfyui, where.python, arguments=environment.server_arguments()) as server:
            run = generate(job, server)
            if not run.ok:
                print(f"ComfyUI could not make the video. {run.explanation}", file=sys.stderr)
                return 1
            for said in run.texts:
                print(f"  {said.text}")
            made = collect(job, server, run)
    except Rejected as error:
        print(f"ComfyUI refused the workflow.\n{error}", file=sys.stderr)
        return 1
    except ServerError as error:
        print(f"{error}\nTo check the set-up: python scripts/test.py tests/host", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing was written.", file=sys.stderr)
        return 130
    print("Wrote", *made, sep="\n  ")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
