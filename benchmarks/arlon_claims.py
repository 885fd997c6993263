"""ARLON's parts, changed one at a time: injections trained alike, their videos under tokens that are partly wrong,
and how well they follow the tokens of renders, whole ones and partly wrong ones.

Needs the corpus with its latents, and a folder (`--models`) with the embedded model, the latent VQ-VAE and the token
transformer; `--coarser` is the VQ-VAE that the paper's way of training learns from (`docs/arlon.md`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from judged import Judged, held_out, judge, table  # noqa: E402

from avgen_core.checkpoints.files import fingerprint, save_weights  # noqa: E402
from avgen_core.diorama import caption  # noqa: E402
from avgen_core.evaluation.judging import fresh_renders  # noqa: E402
from avgen_core.media.decode import encode_frames  # noqa: E402
from avgen_core.networks.semantic_injection import InjectionKind, SemanticInjection, SemanticInjectionConfig  # noqa: E402
from avgen_core.rollout.noise import NoiseSource  # noqa: E402
from avgen_core.systems.arlon import GuidanceStrength  # noqa: E402
from avgen_core.systems.embedded import AUTOENCODER, CAUSAL_DIT, TEXT_ENCODER  # noqa: E402
from avgen_core.systems.embedded_arlon import (  # noqa: E402
    LATENT_VQVAE,
    SEMANTIC_INJECTION,
    TOKEN_TRANSFORMER,
    EmbeddedArlon,
    dit_fingerprint,
    load_embedded_arlon,
)
from avgen_core.systems.many_videos import Sampling, sample_videos  # noqa: E402
from avgen_core.systems.token_writer import Memory, TokenWriter, VideoPrompts  # noqa: E402
from avgen_core.training.arlon_command import FRAMES, INJECTED, coder_of, text_to_video  # noqa: E402
from avgen_core.training.corpus import Corpus  # noqa: E402
from avgen_core.training.latents import LatentClips  # noqa: E402
from avgen_core.training.loop import TrainSpec  # noqa: E402
from avgen_core.training.semantic_injection import GuidedVideo, InjectionRecipe, train_semantic_injection  # noqa: E402

COPIED = (AUTOENCODER, TEXT_ENCODER, CAUSAL_DIT, LATENT_VQVAE, TOKEN_TRANSFORMER)


@dataclass(frozen=True)
class Arm:
    """How an injection is trained; the first is the paper's way."""

    layers: str = "first-half"
    coarser: bool = True
    uncertain: float = InjectionRecipe.uncertain
    kind: InjectionKind = InjectionKind.ADAPTIVE_NORM


ARMS = {
    "first half": Arm(),
    "last half": Arm(layers="last-half"),
    "all layers": Arm(layers="all"),
    "not coarser": Arm(coarser=False),
    "no uncertainty": Arm(uncertain=0.0),
    "neither": Arm(coarser=False, uncertain=0.0),
    "MLP": Arm(kind=InjectionKind.MLP),
    "control": Arm(kind=InjectionKind.CONTROL),
}


def faulty(codes: torch.Tensor, wrong: float, count: int, seed: int) -> torch.Tensor:
    """Codes of a codebook of `count`, a share of which is replaced by random ones."""
    generator = torch.Generator().manual_seed(seed)
    replaced = torch.rand(codes.shape, generator=generator) < wrong
    return torch.where(replaced, torch.randint(count, codes.shape, generator=generator, dtype=codes.dtype), codes)


class FaultyWriter(TokenWriter):
    """Puts random codes in the place of a share of what it has written.

    It goes on from what it meant: the last code of a group, from which the next group is written, is left alone.
    """

    wrong, seed = 0.0, 0

    def write(self, prompts: tuple[VideoPrompts, ...], memory: Memory, noise: NoiseSource) -> None:
        super().write(prompts, memory, noise)
        codes = memory["codes"]
        other = faulty(codes[-1], self.wrong, self.network.config.codes, self.seed * 1_000_003 + len(codes))
        codes[-1, :, :-1] = other[:, :-1]


def train(arm: Arm, seed: int, folder: Path, options: argparse.Namespace) -> None:
    """Train an arm's injection into a folder of weights, unless it is there."""
    if (folder / SEMANTIC_INJECTION).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copy(options.models / name, folder / name)
    torch.manual_seed(seed)
    coder, about = coder_of(options.coarser if arm.coarser else options.models / LATENT_VQVAE)
    video = text_to_video(options.models)
    dit = video.dit.config
    layers = tuple(INJECTED[arm.layers](dit.num_layers))
    config = SemanticInjectionConfig(dit.in_dim, dit.dim, layers, dit.patch_size, kind=arm.kind)
    spec = TrainSpec(folder / "state", options.steps, options.batch, learning_rate=1e-3, warmup=20, ema_decay=0.98,
                     seed=seed, save_seconds=120)  # fmt: skip
    begun = time.process_time()
    clips = LatentClips(options.data, about["made_for"])
    model, recipe = GuidedVideo(video, coder, SemanticInjection(config)), InjectionRecipe(uncertain=arm.uncertain)
    training = train_semantic_injection(spec, clips, model, recipe, frames=FRAMES)
    if training.step < options.steps:
        sys.exit(f"{folder.name} was stopped at step {training.step}: the same command goes on from there")
    state, made_for = training.average.injection.state_dict(), dit_fingerprint(folder)
    save_weights(
        folder / SEMANTIC_INJECTION, "semantic_injection", config, state, steps=training.step, made_for=made_for
    )
    print(f"{folder.name}: {options.steps} steps in {time.process_time() - begun:.0f} s of processor time", flush=True)


def with_faults(model: EmbeddedArlon, wrong: float, seed: int) -> EmbeddedArlon:
    writer = FaultyWriter(model.parts.writer.network, model.encode_text, model.parts.writer.sampling)
    writer.wrong, writer.seed = wrong, seed
    return replace(model, parts=replace(model.parts, writer=writer))


def judged_in(folder: Path, wrong: float, seed: int, options: argparse.Namespace) -> Judged:
    """An arm's videos judged, unless its folder tells already what was seen."""
    file = folder / f"judged-{wrong}-{options.clips}x{options.frames}.json"
    if not file.exists():
        model, wanted = load_embedded_arlon(folder), held_out(options.clips, seed)
        sampling = Sampling(model.default_plan, model.guidance, 10_000 * seed)
        prompts = [caption(attributes) for attributes in wanted]
        videos = sample_videos(with_faults(model, wrong, seed), prompts, options.frames, sampling)
        file.write_text(json.dumps(asdict(judge(videos, wanted, seed))))
    return Judged(**json.loads(file.read_text()))


def error_in(folder: Path, strength: float, wrong: float, seed: int, options: argparse.Namespace) -> float:
    """Of videos that follow the tokens of renders, of which a share is `wrong`, against these renders."""
    file = folder / f"error-{strength}-{wrong}-{options.followed}x{options.frames}.json"
    if not file.exists():
        model, wanted, errors = load_embedded_arlon(folder), held_out(options.followed, seed), []
        renders = fresh_renders(wanted, options.frames, 4_000_037 + seed)
        for number, (attributes, render) in enumerate(zip(wanted, renders, strict=True)):
            track = model.track_of(encode_frames(model.autoencoder.encode, torch.from_numpy(render).float() / 255))
            codes = faulty(track.codes, wrong, model.parts.coder.config.codes, 1_000_003 * seed + number)
            guided = model.guided_by(
                replace(track, codes=codes), GuidanceStrength(strength, strength), model.parts.writer.sampling
            )
            sampling = Sampling(model.default_plan, model.guidance, 10_000 * seed + number)
            video = sample_videos(guided, [caption(attributes)], options.frames, sampling)[0]
            errors.append(float(np.square(video.astype(np.float64) - render).mean()))
        file.write_text(json.dumps(fmean(errors)))
    return json.loads(file.read_text())


def followed_in(folder: Path, wrong: float, seed: int, options: argparse.Namespace) -> float:
    """How much nearer videos come to renders whose tokens they follow: 0 is as near as without tokens, 1 is there.

    `wrong`: the share of the tokens that are random.
    """
    return 1 - error_in(folder, 1.0, wrong, seed, options) / error_in(folder, 0.0, 0.0, seed, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=Path("runs/corpus"), help="corpus with latents (default: runs/corpus)")
    add("--models", type=Path, default=Path("runs/arlon"), help="folder of the weights (default: runs/arlon)")
    add("--coarser", type=Path, default=Path("runs/coarser/models") / LATENT_VQVAE, help="the coarser VQ-VAE")
    add("--out", type=Path, default=Path("runs/arlon-claims"), help="folder of the arms (default: runs/arlon-claims)")
    add("--json", type=Path, help="write all figures here")
    add("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="default: all")
    add("--seeds", type=int, nargs="+", default=(0, 1), help="of weights, batches and captions (default: 0 1)")
    add("--steps", type=int, default=100, help="optimiser steps of every arm (default: 100)")
    add("--batch", type=int, default=24, help="clips a step (default: 24)")
    add("--wrong", type=float, nargs="+", default=(0.0, 0.3), help="shares of wrong tokens (default: 0 0.3)")
    add("--clips", type=int, default=30, help="videos of each arm, seed and share (default: 30)")
    add(
        "--followed", type=int, default=16, help="renders whose tokens are followed, of each arm and seed (default: 16)"
    )
    add("--frames", type=int, default=24, help="frames of a video; the last 12 are judged (default: 24)")
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    runs = [(name, seed) for seed in options.seeds for name in options.arms]
    made_of = fingerprint(*(options.models / name for name in COPIED), options.coarser)
    budget = f"{options.steps}x{options.batch}-{made_of}-{Corpus(options.data).digest()}"
    folders = {run: options.out / f"{run[0].replace(' ', '-')}-{run[1]}-{budget}" for run in runs}
    results: dict[str, list[Judged]] = {}
    followed: dict[str, list[float]] = {}
    for name, seed in runs:
        train(ARMS[name], seed, folders[name, seed], options)
        for wrong in options.wrong:
            row = f"{name}, {wrong:.0%} wrong"
            results.setdefault(row, []).append(judged_in(folders[name, seed], wrong, seed, options))
            followed.setdefault(row, []).append(followed_in(folders[name, seed], wrong, seed, options))
            print(f"{row}, seed {seed}: {results[row][-1]}, followed {followed[row][-1]:.3f}", flush=True)
    print(table(results, followed=followed))
    if options.json:
        content = {name: [asdict(one) for one in seeds] for name, seeds in results.items()}
        options.json.write_text(
            json.dumps({"steps": options.steps, "results": content, "followed": followed}, indent=1)
        )


if __name__ == "__main__":
    main()
