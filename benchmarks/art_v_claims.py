"""ART-V's parts, left out one at a time: adapters trained alike on the embedded image model, and their long videos.

Needs the corpus and its latents: `python -m avgen_core train corpus`, then `latents`. Every arm begins with the same
fresh adapter on the image model in `--models`, which stays as it is, and sees the same batches. The image model that
comes with the pack has learnt together with a whole adapter before; one of `train image-model` has not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from avgen_core.checkpoints.files import fingerprint, save_weights  # noqa: E402
from avgen_core.diorama import Attributes, caption, sample_attributes  # noqa: E402
from avgen_core.evaluation.classifier import classify, load_classifier  # noqa: E402
from avgen_core.evaluation.judging import facts, fresh_renders, spread_windows, tally  # noqa: E402
from avgen_core.evaluation.measures import colour_statistics, flow_magnitude, warping_error  # noqa: E402
from avgen_core.networks.reference_adapter import EncodedReferences, ReferenceAdapter, References  # noqa: E402
from avgen_core.prompts import parse_schedule  # noqa: E402
from avgen_core.rollout.executor import Prompts  # noqa: E402
from avgen_core.rollout.generate import Order, generate, prepare  # noqa: E402
from avgen_core.systems.art_v import ArtVModel  # noqa: E402
from avgen_core.systems.embedded import AUTOENCODER, FOLDER, TEXT_ENCODER  # noqa: E402
from avgen_core.systems.embedded_art_v import ART_V, FPS, IMAGE_UNET, SIZE, load_embedded_art_v  # noqa: E402
from avgen_core.systems.many_videos import Sampling, sample_videos  # noqa: E402
from avgen_core.systems.reference_masks import masks_of  # noqa: E402
from avgen_core.training.art_v import ReferenceRecipe, train_art_v  # noqa: E402
from avgen_core.training.embedded_art_v import embedded_encoder, embedded_network, embedded_trainer, image_model  # noqa: E402
from avgen_core.training.latents import LatentClips  # noqa: E402
from avgen_core.training.loop import TrainSpec  # noqa: E402

PART, WINDOWS = 64, 4  # frames at each end of a video that are judged, and windows in them
MOMENTS = (0.9, 0.5, 0.1)  # shares of the schedule that are left, at which masks are looked at
MASK_FRAMES = 48


@dataclass(frozen=True)
class Arm:
    """What a training leaves out; or, of the arm that leaves out nothing, the part that sees no anchor in sampling."""

    mask: bool = True
    anchor: bool = True
    reference_noise: bool = True
    references: int = 2
    blind: str = ""

    @property
    def recipe(self) -> ReferenceRecipe:
        recipe = ReferenceRecipe()
        if not self.anchor:
            recipe = replace(recipe, anchor_dropped=1.0)
        return recipe if self.reference_noise else replace(recipe, noise=0.0)


ARMS = {
    "all": Arm(),
    "no mask": Arm(mask=False),
    "no anchor": Arm(anchor=False),
    "no reference noise": Arm(reference_noise=False),
    "one reference": Arm(references=1),
    "all, sampled with an anchor in the encoder alone": Arm(blind="attention"),
    "all, sampled with an anchor in the attention alone": Arm(blind="encoder"),
}


@dataclass(frozen=True)
class Found:
    """Of one arm and seed: shares at both ends, motion, flicker, colour drift (of 255), and means of the masks."""

    subject_first: float
    subject_last: float
    prompt_first: float
    prompt_last: float
    motion_last: float
    motion_of_renders: float
    flicker: float
    colour_drift: float
    masks: dict[str, float]


def train(arm: Arm, seed: int, folder: Path, options: argparse.Namespace, clips: LatentClips) -> None:
    """Train an arm's adapter into a folder of weights, unless it is there."""
    if (folder / ART_V).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in (AUTOENCODER, TEXT_ENCODER, IMAGE_UNET):
        shutil.copy(options.models / name, folder / name)
    torch.manual_seed(seed)
    network = embedded_network(image_model(options.models)[0], arm.references)
    network.requires_grad_(False)
    network.adapter.requires_grad_(True)
    network.adapter.mask.requires_grad_(arm.mask)
    spec = TrainSpec(folder / "state", options.steps, options.batch, learning_rate=1e-3, warmup=50, ema_decay=0.99,
                     seed=seed, save_seconds=120)  # fmt: skip
    begun = time.process_time()
    training = train_art_v(spec, clips, network, embedded_trainer(options.models, torch.device("cpu")), arm.recipe)
    if training.step < options.steps:
        sys.exit(f"{folder.name} was stopped at step {training.step}: the same command goes on from there")
    adapter = training.average.adapter
    made_for = fingerprint(folder / IMAGE_UNET)
    notes = {"encoder": embedded_encoder(options.models), "size": SIZE, "fps": FPS, "made_for": made_for}
    save_weights(folder / ART_V, "reference_adapter", adapter.config, adapter.state_dict(), **notes)
    print(f"{folder.name}: {options.steps} steps in {time.process_time() - begun:.0f} s of processor time", flush=True)


def sampling_of(arm: Arm, model: ArtVModel, steps: int, seed: int) -> Sampling:
    noise = model.reference_noise if arm.reference_noise else 0.0
    plan = replace(model.plan_of(steps), previous=arm.references, anchor=arm.anchor, reference_noise=noise)
    return Sampling(plan, model.guidance, 10_000 * seed)


def trained_as(name: str) -> str:
    return "all" if ARMS[name].blind else name.replace(" ", "-")


def found_in(arm: Arm, seed: int, folder: Path, options: argparse.Namespace) -> Found:
    """An arm judged, unless its folder tells already what was found."""
    blind = f"-{arm.blind}-blind" if arm.blind else ""
    file = folder / f"found{blind}-{options.clips}x{options.frames}x{options.sampling_steps}.json"
    if not file.exists():
        rng = np.random.default_rng((seed, 6))
        wanted = [sample_attributes(rng, held_out=True) for _ in range(options.clips)]
        file.write_text(json.dumps(asdict(judged(arm, seed, folder, options, wanted))))
        print(f"{folder.name}: {file.read_text()}", flush=True)
    return Found(**json.loads(file.read_text()))


def judged(arm: Arm, seed: int, folder: Path, options: argparse.Namespace, wanted: list[Attributes]) -> Found:
    model = replace(load_embedded_art_v(folder), mask_strength=1.0)  # the mask as it was trained
    if arm.blind:
        hide_anchor(model.adapter, arm.blind)
    sampling = sampling_of(arm, model, options.sampling_steps, seed)
    videos = sample_videos(model, [caption(a) for a in wanted], options.frames, sampling)
    np.save(folder / f"videos{arm.blind}.npy", videos)
    first, last = (shares(part, wanted) for part in (videos[:, :PART], videos[:, -PART:]))
    renders = fresh_renders(wanted, PART, 3_000_017 + seed)
    return Found(
        first["subject"], last["subject"], fmean(first.values()), fmean(last.values()),
        fmean(map(flow_magnitude, videos[:, -PART:])), fmean(map(flow_magnitude, renders)),
        fmean(map(warping_error, videos[:, -PART:])), colour_drift(videos), mask_means(model, sampling, wanted[0]),
    )  # fmt: skip


def hide_anchor(adapter: ReferenceAdapter, part: str) -> None:
    """Keep the anchor from one of the two parts that see it: "encoder" or "attention"."""

    def encode(references: References) -> EncodedReferences:
        absent = replace(references, has_anchor=torch.zeros_like(references.has_anchor))
        of_encoder, of_attention = (absent, references) if part == "encoder" else (references, absent)
        attended = adapter.anchor(of_attention.anchor, of_attention.has_anchor)
        return EncodedReferences(adapter.reference_encoder(of_encoder), attended)

    adapter.encode = encode


def shares(part: np.ndarray, wanted: list[Attributes]) -> dict[str, float]:
    """How often each attribute is seen in windows of a part."""
    windows = spread_windows(part, 0, PART, WINDOWS)
    found = tally([facts(a) for a in wanted for _ in range(WINDOWS)], classify(load_classifier(), windows))
    return {name: counted.share for name, counted in found.items()}


def colour_drift(videos: np.ndarray) -> float:
    """The largest change of a channel's mean or deviation from the first to the last part, mean over the videos."""

    def statistics(part: np.ndarray) -> np.ndarray:
        each = [colour_statistics(video) for video in part]
        return np.array([[*one["mean"], *one["std"]] for one in each])

    return float(np.abs(statistics(videos[:, -PART:]) - statistics(videos[:, :PART])).max(axis=1).mean())


def mask_means(model: ArtVModel, sampling: Sampling, attributes: Attributes) -> dict[str, float]:
    """Mean mask of one video's frames, early, in the middle and late in the denoising."""
    prompts = Prompts(parse_schedule(caption(attributes), fps=model.fps))
    denoiser = model.denoiser(sampling.guidance)
    order = Order(sampling.plan, prompts, MASK_FRAMES, sampling.seed, model.fps, sampling.guidance)
    with tempfile.TemporaryDirectory() as folder:
        run = generate(denoiser, prepare(denoiser, order), Path(folder) / "run")
        frames = range(1, run.frames)
        return {str(m): float(torch.cat(list(masks_of(model, run, frames, m))).mean()) for m in MOMENTS}


def figures(found: Found) -> dict[str, float]:
    """Its columns in the table."""
    masks = {f"mask at {m}": found.masks[str(m)] for m in MOMENTS}
    return {**{name: value for name, value in asdict(found).items() if name != "masks"}, **masks}


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """A row for each name: means over the seeds, with the values of each seed behind."""
    columns = list(next(iter(results.values()))[0])
    rows = ["| arm | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, seeds in results.items():
        values = [[one[column] for one in seeds] for column in columns]
        cells = (f"{fmean(each):.3f} ({', '.join(f'{v:.3f}' for v in each)})" for each in values)
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=Path("runs/corpus"), help="corpus with latents (default: runs/corpus)")
    add("--models", type=Path, default=FOLDER, help="folder with the image model (default: models/demo)")
    add("--out", type=Path, default=Path("runs/art-v-claims"), help="folder of the arms (default: runs/art-v-claims)")
    add("--json", type=Path, help="write all figures here")
    add("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="default: all")
    add("--seeds", type=int, nargs="+", default=(0, 1), help="of weights, batches and captions (default: 0 1)")
    add("--steps", type=int, default=800, help="optimiser steps of every arm (default: 800)")
    add("--batch", type=int, default=48, help="frames a step (default: 48)")
    add("--clips", type=int, default=4, help="videos of each arm and seed (default: 4)")
    add("--sampling-steps", type=int, default=10, help="denoising steps of a frame (default: 10)")
    add("--frames", type=int, default=512, help="frames of a video (default: 512)")
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    clips = LatentClips(options.data, embedded_encoder(options.models))
    runs = [(name, seed) for seed in options.seeds for name in options.arms]
    folders = {
        (name, seed): options.out / f"{trained_as(name)}-{seed}-{options.steps}x{options.batch}" for name, seed in runs
    }
    for name, seed in runs:
        train(ARMS[name], seed, folders[name, seed], options, clips)
    results: dict[str, list[Found]] = {}
    for name, seed in runs:
        results.setdefault(name, []).append(found_in(ARMS[name], seed, folders[name, seed], options))
    print(table({name: [figures(found) for found in seeds] for name, seeds in results.items()}))
    if options.json:
        content = {name: [asdict(found) for found in runs] for name, runs in results.items()}
        options.json.write_text(json.dumps({"steps": options.steps, "results": content}, indent=1))


if __name__ == "__main__":
    main()
