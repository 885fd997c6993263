"""Small models trained alike but for their timestep sampler, and what their videos are like at several differences.

Autoencoder and text encoder come from the pack and stay as they are. The DiT begins from nothing in every arm, since
the pack's own was trained with FoPP. Needs the corpus and its latents: `python -m avgen_core train corpus`, then
`latents`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from ad_tradeoff import attributes_of, bounds, judge_for, plan_of  # noqa: E402

from avgen_core.checkpoints.files import encoder_digest, load_into, read_weights, save_weights  # noqa: E402
from avgen_core.diorama import caption  # noqa: E402
from avgen_core.evaluation.quality import Judge, Quality, quality_rows  # noqa: E402
from avgen_core.networks.causal_dit import CausalDiT, CausalDiTConfig  # noqa: E402
from avgen_core.systems.embedded import CAUSAL_DIT, GUIDANCE, EmbeddedModel, load_embedded  # noqa: E402
from avgen_core.systems.many_videos import Sampling, sample_videos  # noqa: E402
from avgen_core.training.causal_dit import TextToVideo, train_causal_dit  # noqa: E402
from avgen_core.training.latents import LatentClips  # noqa: E402
from avgen_core.training.loop import TrainSpec  # noqa: E402
from avgen_core.training.timesteps import NoiseRecipe, TimestepSampler  # noqa: E402

DIT = CausalDiTConfig(
    dim=128, ffn_dim=384, num_heads=2, num_layers=4, in_dim=16, out_dim=16, text_dim=128, text_len=24, freq_dim=64
)
FRAMES, BATCH = 16, 8
SAMPLERS = tuple(sampler.value for sampler in TimestepSampler)
DIFFERENCES = (0, 2, 12)  # of the embedded model's 12 steps: synchronous, asynchronous, one frame after the other


@dataclass(frozen=True)
class Arm:
    """One training: what differs between them."""

    sampler: TimestepSampler
    seed: int

    @property
    def name(self) -> str:
        return f"{self.sampler.value}-{self.seed}"


def train(arm: Arm, options: argparse.Namespace, embedded: EmbeddedModel, clips: LatentClips) -> None:
    """Train an arm and write its weights, unless they are there."""
    folder = options.out / arm.name
    if (folder / CAUSAL_DIT).exists():
        return
    torch.manual_seed(arm.seed)
    model = TextToVideo(DIT, embedded.text_encoder.config)
    model.text_encoder.load_state_dict(embedded.text_encoder.state_dict())
    model.text_encoder.requires_grad_(False)
    spec = TrainSpec(
        folder, options.steps, BATCH, learning_rate=2e-3, warmup=100, ema_decay=0.995, seed=arm.seed, save_seconds=60
    )
    noise = NoiseRecipe(blocks=((1, 1.0),), prefix_share=0.0, sampler=arm.sampler)
    begun = time.process_time()
    training = train_causal_dit(spec, clips, model, frames=FRAMES, noise=noise)
    if training.step < options.steps:
        sys.exit(f"{arm.name} was stopped at step {training.step}: the same command goes on from there")
    seconds = round(time.process_time() - begun)
    save_weights(folder / CAUSAL_DIT, "causal_dit", DIT, training.average.dit.state_dict(), steps=training.step)
    print(f"{arm.name}: {training.step} steps in {seconds} s of processor time", file=sys.stderr, flush=True)


def trained(arm: Arm, out: Path, embedded: EmbeddedModel) -> EmbeddedModel:
    """The embedded model with an arm's DiT."""
    weights = read_weights(out / arm.name / CAUSAL_DIT, "causal_dit")[1]
    dit = load_into(CausalDiT(DIT), weights, arm.name)
    return EmbeddedModel(embedded.autoencoder, embedded.text_encoder, dit, arm.name)


def judged(arm: Arm, options: argparse.Namespace, embedded: EmbeddedModel, judge: Judge) -> dict[str, Quality]:
    """An arm's videos at every difference, by row of the table."""
    model, captions = trained(arm, options.out, embedded), [caption(a) for a in judge.attributes]
    qualities = {}
    for difference in options.differences:
        sampling = Sampling(plan_of(difference, FRAMES), options.guidance, 10_000 * arm.seed)
        quality = judge.judge(sample_videos(model, captions, FRAMES, sampling))
        qualities[f"{arm.sampler.value}, s = {difference}"] = quality
        print(f"{arm.name}, s = {difference}: {quality.to_json()}", file=sys.stderr, flush=True)
    return qualities


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=Path("runs/corpus"), help="corpus with latents (default: runs/corpus)")
    add("--out", type=Path, default=Path("runs/arms"), help="folder of the arms' weights (default: runs/arms)")
    add("--features", type=Path, help="folder of the feature networks' weights; without it arms are only trained")
    add("--json", type=Path, help="write all figures here")
    add("--steps", type=int, default=2700, help="optimiser steps of every arm (default: 2700, 9 minutes of one core)")
    add("--seeds", type=int, nargs="+", default=(0, 1), help="of weights, batches and captions (default: 0 1)")
    add("--samplers", nargs="+", choices=SAMPLERS, default=SAMPLERS, help="default: all")
    add("--differences", type=int, nargs="+", default=DIFFERENCES, help=f"of 12 steps (default: {DIFFERENCES})")
    add("--clips", type=int, default=120, help="clips of each arm and difference (default: 120)")
    add("--guidance", type=float, default=GUIDANCE, help=f"default: {GUIDANCE}")
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    embedded = load_embedded()
    arms = [Arm(TimestepSampler(sampler), seed) for sampler in options.samplers for seed in options.seeds]
    if any(not (options.out / arm.name / CAUSAL_DIT).exists() for arm in arms):
        clips = LatentClips(options.data, encoder_digest(embedded.autoencoder.state_dict()))
        for arm in arms:
            train(arm, options, embedded, clips)
    if options.features is None:
        return
    results: dict[str, list[Quality]] = {}
    for seed in options.seeds:
        judge = judge_for(attributes_of(seed, options.clips), FRAMES, options.features, seed)
        tables = [judged(arm, options, embedded, judge) for arm in arms if arm.seed == seed]
        for table in (bounds(judge, embedded, FRAMES, seed), *tables):
            for name, quality in table.items():
                results.setdefault(name, []).append(quality)
    print("\n".join(quality_rows(results)))
    if options.json:
        settings = {"steps": options.steps, "clips": options.clips, "guidance": options.guidance}
        content = {name: [quality.to_json() for quality in runs] for name, runs in results.items()}
        options.json.write_text(json.dumps({"settings": settings, "results": content}, indent=1))


if __name__ == "__main__":
    main()
