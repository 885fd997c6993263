"""What the command line's `generate`, `extend` and `plan` do: on the embedded models, or on a user's files."""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from .checkpoints.ar_diffusion_layout import TIMESTEPS
from .media.decode import decode_run, encode_frames, fitted
from .media.video import enlarged, read_video, write_video
from .plan import AsynchronousPlan, BlockPlan, ReferencePlan, Savings, Window, cost, flow_sigmas
from .prompts import PromptSchedule, parse_schedule
from .rollout.archive import SUFFIX, pack_run, unpack_run
from .rollout.executor import Prompts
from .rollout.generate import Order, Progress, prepare
from .rollout.generate import generate as work
from .rollout.orders import RunPlan
from .rollout.run import Run
from .systems import ar_diffusion
from .systems.ar_diffusion import FPS
from .systems.art_v import MASK_STRENGTH, ArtVModel
from .systems.asynchronous import AsynchronousSettings
from .systems.embedded import BLOCK, GUIDANCE, SHIFT, STEPS, WINDOW, load_embedded
from .systems.embedded_arlon import load_embedded_arlon
from .systems.embedded_art_v import load_embedded_art_v
from .systems.stable_diffusion_art_v import load_art_v
from .systems.system import System

SMALLEST_SIDE = 512


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model; without any, the embedded one."""
    parser.add_argument("--generator", type=Path, metavar="PATH", help="AR-Diffusion instead: file or folder")
    parser.add_argument("--autoencoder", type=Path, metavar="PATH", help="its autoencoder, unless it is in that file")
    parser.add_argument("--art-v", action="store_true", help="ART-V instead, on the embedded image model")
    parser.add_argument("--arlon", action="store_true", help="the embedded model under the guidance of ARLON's tokens")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help="ART-V on this Stable Diffusion file")
    parser.add_argument("--adapter", type=Path, metavar="PATH", help="its ART-V adapter")
    parser.add_argument("--ema", action="store_true", help="with --checkpoint: its averaged weights")
    parser.add_argument(
        "--tokenizer", type=Path, metavar="FOLDER", help="with --checkpoint: CLIP's (default: ComfyUI's)"
    )
    parser.add_argument(
        "--mask-strength", type=float, help=f"ART-V: share of the mask, 0..1 (default: {MASK_STRENGTH})"
    )
    parser.add_argument(
        "--reference-guidance", type=float, help="ART-V: how strongly the frames before lead, from 1 (off)"
    )
    parser.add_argument("--device", default="cpu", help="where a model of yours computes (default: cpu)")
    parser.add_argument("--fps", type=float, help=f"frames a second of an AR-Diffusion video (default: {FPS:g})")


def add_schedule_arguments(parser: argparse.ArgumentParser) -> None:
    """Which plan: block by block, or asynchronous with a difference."""
    parser.add_argument(
        "--steps", type=int, help=f"denoising steps a frame (default: the model's, {STEPS} for the embedded one)"
    )
    parser.add_argument("--shift", type=float, help=f"timestep shift (default: {SHIFT})")
    parser.add_argument("--block", type=int, help=f"frames a block (default: {BLOCK}, asynchronous: 1)")
    parser.add_argument(
        "--difference", type=int, metavar="STEPS", help="asynchronous: steps between neighbouring frames, 0 = together"
    )
    parser.add_argument(
        "--close", action="store_true", help="asynchronous: finish all frames; extending is approximate"
    )
    parser.add_argument(
        "--savings",
        choices=[saving.value for saving in Savings],
        default=Savings.NONE.value,
        help="AR-Diffusion: evaluations to leave out; all but none change the video a little",
    )


def add_generate_arguments(parser: argparse.ArgumentParser) -> None:
    """Prompt, length, seed, output, guidance and schedule."""
    parser.add_argument("--prompt", required=True, help="a prompt or class, or `0: ...` and `4s: ...` lines")
    parser.add_argument("--negative", default="", help="what the video should be led away from")
    parser.add_argument("--frames", type=int, default=64, help="new frames (default: 64)")
    parser.add_argument("--seed", type=int, help="default: 0, or that of the run to extend")
    parser.add_argument(
        "--guidance",
        type=float,
        help=f"1 = off (default: the model's, {GUIDANCE} for the embedded one, or that of the run)",
    )
    parser.add_argument("--blend", type=int, default=0, help="frames in which a prompt gives way to the next")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.mp4")
    add_model_arguments(parser)
    add_schedule_arguments(parser)


def add_start_argument(parser: argparse.ArgumentParser) -> None:
    """What a new video begins with."""
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="a video, or a picture (ART-V, --block 1), that comes first",
    )


def chosen_model(options: argparse.Namespace) -> System:
    """The model that the arguments name. Raises ValueError where they do not belong together."""
    model = _loaded_model(options)
    asked = {name: getattr(options, name) for name in ("mask_strength", "reference_guidance")}
    given = {name: value for name, value in asked.items() if value is not None}
    if given and not isinstance(model, ArtVModel):
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{names}: for ART-V alone; name --art-v or a --checkpoint, or leave it out")
    return replace(model, **given)


def _loaded_model(options: argparse.Namespace) -> System:
    on_checkpoint = options.checkpoint is not None or options.adapter is not None
    if sum((options.generator is not None, options.art_v, options.arlon, on_checkpoint)) > 1:
        raise ValueError(
            "--generator is AR-Diffusion, --art-v the embedded ART-V, --arlon the embedded ARLON, --checkpoint and "
            "--adapter ART-V on a file of yours: name one of the four"
        )
    if options.generator is not None:
        model = ar_diffusion.load_ar_diffusion(options.generator, options.autoencoder)
        model = replace(model, fps=options.fps or model.fps)
        model.to(options.device)
        return model
    if options.autoencoder is not None or options.fps is not None:
        raise ValueError("--autoencoder and --fps are for AR-Diffusion models: name a --generator, or leave them out")
    if (options.ema or options.tokenizer is not None) and not on_checkpoint:
        raise ValueError("--ema and --tokenizer are for a --checkpoint: name one, or leave them out")
    if on_checkpoint:
        if options.checkpoint is None or options.adapter is None:
            raise ValueError("ART-V on a checkpoint needs both --checkpoint and --adapter")
        return load_art_v(
            options.checkpoint, options.adapter, device=options.device, ema=options.ema, tokenizer=options.tokenizer
        )
    if options.device != "cpu":
        raise ValueError("the embedded models compute on the CPU here: leave out --device")
    if options.arlon:
        return load_embedded_arlon()
    return load_embedded_art_v() if options.art_v else load_embedded()


def chosen_plan(options: argparse.Namespace, model: System, parent: Run | None = None) -> RunPlan:
    """The plan that the schedule arguments describe; without any, that of the run to extend."""
    given = [options.steps, options.shift, options.block, options.difference]
    changed = options.close or options.savings != Savings.NONE.value
    if parent is not None and given == [None] * 4 and not changed:
        return replace(parent.recipe.plan, given=0)
    if options.generator is not None:
        return model.asynchronous_plan(_windowed_settings(options))
    if isinstance(model, ArtVModel):
        return _reference_plan(options, model)
    return _causal_plan(options, len(model.default_plan.sigmas))


def _windowed_settings(options: argparse.Namespace) -> AsynchronousSettings:
    """The schedule of AR-Diffusion's files."""
    if options.shift is not None or options.block is not None:
        raise ValueError("--shift and --block are not for AR-Diffusion: it has noise levels and frames of its own")
    return AsynchronousSettings(
        steps=_or(options.steps, ar_diffusion.STEPS),
        difference=_or(options.difference, ar_diffusion.DIFFERENCE),
        frames=options.frames if options.close or options.difference == 0 else None,
        window=None,
        savings=Savings(options.savings),
    )


def _reference_plan(options: argparse.Namespace, model: ArtVModel) -> ReferencePlan:
    """The schedule of ART-V."""
    saving = options.savings != Savings.NONE.value
    if [options.shift, options.block, options.difference] != [None] * 3 or options.close or saving:
        raise ValueError(
            "--shift, --block, --difference, --close and --savings are not for ART-V, which makes frame after frame"
        )
    return model.plan_of(_or(options.steps, model.steps))


def _causal_plan(options: argparse.Namespace, steps: int) -> BlockPlan | AsynchronousPlan:
    """The schedule of strictly causal models; `steps`: the model's own."""
    if options.savings != Savings.NONE.value:
        raise ValueError("--savings is for AR-Diffusion: a causal model's savings are exact and always made")
    sigmas = flow_sigmas(_or(options.steps, steps), _or(options.shift, SHIFT))
    if options.difference is None:
        if options.close:
            raise ValueError("--close is for asynchronous schedules: name a --difference, or leave it out")
        return BlockPlan(sigmas, block=_or(options.block, BLOCK), window=Window(WINDOW))
    closed = options.close or options.difference == 0
    block = _or(options.block, 1)
    frames = -(-options.frames // block) * block if closed else None
    window = Window(None) if options.difference == 0 else Window(WINDOW)
    return AsynchronousPlan(sigmas, options.difference, frames=frames, block=block, window=window)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def generate(options: argparse.Namespace) -> None:
    """`generate`: a video, and its run beside it."""
    if options.start is not None and not options.start.is_file():
        raise FileNotFoundError(f"there is no picture or video {options.start}")
    _make(options, None, options.start)


def extend(options: argparse.Namespace) -> None:
    """`extend`: the whole video, longer."""
    if not options.run_file.is_file():
        raise FileNotFoundError(f"there is no run file {options.run_file}")
    _make(options, options.run_file, None)


def plan(options: argparse.Namespace) -> None:
    """`plan`: price and picture of a schedule."""
    if options.ar_diffusion:
        schedule = _windowed_settings(options).windowed_plan(ar_diffusion.WINDOW, TIMESTEPS)
    else:
        schedule = _causal_plan(options, STEPS)
    print(cost(schedule, options.frames))
    if options.picture:
        from PIL import Image

        from .plan.picture import noise_picture

        Image.fromarray(noise_picture(schedule, options.frames)).save(options.picture)
        print(f"picture: {options.picture}")


def _prompts(options: argparse.Namespace, model: System) -> Prompts:
    def schedule(text: str, *, negative: bool) -> PromptSchedule:
        parsed = parse_schedule(
            text, fps=model.fps, frames=options.frames, chunk=_or(options.block, BLOCK), blend=options.blend
        )
        reading = model.understand(parsed, negative=negative)
        for remark in reading.remarks:
            print(f"warning: {remark}", file=sys.stderr)
        return reading.schedule

    positive = schedule(options.prompt, negative=False)
    print(positive.describe(model.fps))
    return Prompts(positive, schedule(options.negative, negative=True) if options.negative else None)


def _encoded(path: Path, model: System, device: str) -> Tensor:
    """Latents (F, C, h, w) of a picture or video, scaled and cropped to the model's frames."""
    pictures = (torch.from_numpy(frame)[None].float() / 255 for frame in read_video(path))
    frames = torch.cat([fitted(picture, *model.frame_size) for picture in pictures])
    return encode_frames(lambda images: model.autoencoder.encode(images.to(device)), frames)


def _make(options: argparse.Namespace, earlier: Path | None, start: Path | None) -> None:
    if options.output.suffix.lower() != ".mp4":
        raise ValueError(f"--output must end in .mp4, got {options.output.name}")
    model = chosen_model(options)
    prompts = _prompts(options, model)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    work_folder = options.output.with_name(f".{options.output.stem}.work")
    parent = unpack_run(earlier, work_folder) if earlier else None
    guidance = _or(options.guidance, parent.recipe.guidance if parent else model.guidance)
    seed = _or(options.seed, parent.recipe.seed if parent else 0)
    denoiser = model.denoiser(guidance)
    schedule = chosen_plan(options, model, parent)
    given = None if start is None else _encoded(start, model, options.device)
    order = Order(schedule, prompts, options.frames, seed, model.fps, guidance, given, parent)
    job = prepare(denoiser, order)
    for join in job.joins:
        print(join)
    if job.new_frames != options.frames:
        print(f"{options.frames} frames fill {job.new_frames}: {job.rounded_to}")
    try:
        run = work(denoiser, job, work_folder / job.recipe.id, _show)
    except KeyboardInterrupt:
        print(f"\nstopped: finished frames are kept in {work_folder}; the same command resumes", file=sys.stderr)
        raise
    _write(run, model, options)
    shutil.rmtree(work_folder)


def _show(progress: Progress) -> None:
    ending = "\n" if progress.passes == progress.total_passes else ""
    line = f"\rpass {progress.passes}/{progress.total_passes}, frame {progress.frames}/{progress.total_frames} "
    print(line, end=ending, file=sys.stderr, flush=True)


def _write(run: Run, model: System, options: argparse.Namespace) -> None:
    output, autoencoder = options.output, model.autoencoder
    pack_run(run, output.with_suffix(SUFFIX))
    frames = decode_run(run, lambda latents: autoencoder.decode(latents.to(options.device)), lead=autoencoder.lead)
    count = write_video(output, (enlarged(chunk, SMALLEST_SIDE) for chunk in frames), run.recipe.fps)
    print(f"{output}: {count} frames at {run.recipe.fps:g} a second; run: {output.with_suffix(SUFFIX).name}")
