"""What the command line's `generate`, `extend` and `plan` do, on the embedded model."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from .media.decode import decode_run
from .media.video import enlarged, write_video
from .plan import AsynchronousPlan, BlockPlan, Window, cost, flow_sigmas
from .prompts import parse_schedule, unknown_words, warning_text
from .rollout.archive import SUFFIX, pack_run, unpack_run
from .rollout.executor import Prompts
from .rollout.generate import Order, Progress, prepare
from .rollout.generate import generate as work
from .rollout.run import Run
from .systems.embedded import EmbeddedModel, load_embedded

SMALLEST_SIDE = 512


def add_schedule_arguments(parser: argparse.ArgumentParser) -> None:
    """Which plan: block by block, or asynchronous with a difference."""
    parser.add_argument("--steps", type=int, default=12, help="denoising steps a frame (default: 12)")
    parser.add_argument("--shift", type=float, default=1.5, help="timestep shift (default: 1.5)")
    parser.add_argument("--block", type=int, default=4, help="frames a block (default: 4)")
    parser.add_argument(
        "--difference", type=int, metavar="STEPS", help="asynchronous: steps between neighbouring frames, 0 = together"
    )
    parser.add_argument("--close", action="store_true", help="asynchronous: finish all frames; extending is approximate")


def add_generate_arguments(parser: argparse.ArgumentParser) -> None:
    """Prompt, length, seed, output, guidance and schedule."""
    parser.add_argument("--prompt", required=True, help="a prompt, or a schedule such as `0: ...` and `4s: ...` lines")
    parser.add_argument("--negative", default="", help="what the video should be led away from")
    parser.add_argument("--frames", type=int, default=64, help="new frames, 8 a second (default: 64)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance", type=float, default=2.5, help="classifier-free guidance, 1 = off (default: 2.5)")
    parser.add_argument("--blend", type=int, default=0, help="frames in which a prompt gives way to the next")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.mp4")
    add_schedule_arguments(parser)


def chosen_plan(options: argparse.Namespace) -> BlockPlan | AsynchronousPlan:
    """The plan that the schedule arguments describe."""
    sigmas = flow_sigmas(options.steps, options.shift)
    if options.difference is None:
        return BlockPlan(sigmas, block=options.block, window=Window(16))
    frames = options.frames if options.close or options.difference == 0 else None
    window = Window(None) if options.difference == 0 else Window(16)
    return AsynchronousPlan(sigmas, options.difference, frames=frames, window=window)


def generate(options: argparse.Namespace) -> None:
    """`generate`: a video, and its run beside it."""
    _make(options, None)


def extend(options: argparse.Namespace) -> None:
    """`extend`: the whole video, longer."""
    if not options.run_file.is_file():
        raise FileNotFoundError(f"there is no run file {options.run_file}")
    _make(options, options.run_file)


def plan(options: argparse.Namespace) -> None:
    """`plan`: price and picture of a schedule."""
    schedule = chosen_plan(options)
    print(cost(schedule, options.frames))
    if options.picture:
        from PIL import Image

        from .plan.picture import noise_picture

        Image.fromarray(noise_picture(schedule, options.frames)).save(options.picture)
        print(f"picture: {options.picture}")


def _prompts(options: argparse.Namespace, model: EmbeddedModel) -> Prompts:
    def schedule(text: str):
        return parse_schedule(text, fps=model.fps, frames=options.frames, chunk=options.block, blend=options.blend)

    positive = schedule(options.prompt)
    unknown = [word for text in positive.texts() for word in unknown_words(text, model.vocabulary)]
    if unknown:
        print(f"warning: {warning_text(unknown)}", file=sys.stderr)
    print(positive.describe(model.fps))
    return Prompts(positive, schedule(options.negative) if options.negative else None)


def _make(options: argparse.Namespace, earlier: Path | None) -> None:
    if options.output.suffix.lower() != ".mp4":
        raise ValueError(f"--output must end in .mp4, got {options.output.name}")
    model = load_embedded()
    prompts = _prompts(options, model)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".avgen-", dir=options.output.parent))
    try:
        parent = unpack_run(earlier, scratch) if earlier else None
        denoiser = model.denoiser(options.guidance)
        order = Order(
            chosen_plan(options), prompts, options.frames, options.seed, model.fps, options.guidance, parent=parent
        )
        job = prepare(denoiser, order)
        for join in job.joins:
            print(f"join at frame {join.at}: {'exact' if join.exact else f'approximate, since {join.reason}'}")
        run = work(denoiser, job, scratch / job.recipe.id, _show)
        _write(run, model, options.output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _show(progress: Progress) -> None:
    ending = "\n" if progress.passes == progress.total_passes else ""
    line = f"\rpass {progress.passes}/{progress.total_passes}, frame {progress.frames}/{progress.total_frames} "
    print(line, end=ending, file=sys.stderr, flush=True)


def _write(run: Run, model: EmbeddedModel, output: Path) -> None:
    frames = decode_run(run, model.autoencoder.decode)
    count = write_video(output, (enlarged(chunk, SMALLEST_SIDE) for chunk in frames), run.recipe.fps)
    pack_run(run, output.with_suffix(SUFFIX))
    print(f"{output}: {count} frames at {run.recipe.fps:g} a second; run: {output.with_suffix(SUFFIX).name}")
