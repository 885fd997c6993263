"""AR-Diffusion's window with and without its approximate savings: seconds, frame evaluations, and what they change.

With `--generator FILE` on trained weights; with `--train STEPS` on a small generator that is trained on diorama clips
first. Without either, at the released size with random weights, for time alone: without a warm-up, which would take
minutes, and without the change, which would say nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from timing import alternate, report  # noqa: E402

from avgen_core.checkpoints.ar_diffusion import read_generator  # noqa: E402
from avgen_core.networks.ar_diffusion_dit import ARDiffusionDiT, ARDiffusionDiTConfig  # noqa: E402
from avgen_core.plan import PlanError, Savings, WindowedAsynchronousPlan, cost  # noqa: E402
from avgen_core.prompts import PromptSchedule, Segment  # noqa: E402
from avgen_core.rollout.executor import Executor, Prompts  # noqa: E402
from avgen_core.rollout.noise import SeededNoise  # noqa: E402
from avgen_core.systems.ar_diffusion import ARDiffusionModel  # noqa: E402
from avgen_core.systems.asynchronous import AsynchronousSettings  # noqa: E402

FIRST_CLASS = Prompts(PromptSchedule((Segment(0, "0"),)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--generator", type=Path, metavar="FILE", help="trained weights; default: random, released size"
    )
    parser.add_argument("--train", type=int, metavar="STEPS", help="train a small generator on diorama clips first")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--differences", type=int, nargs="+", default=[5])
    parser.add_argument("--seeds", type=int, default=1, help="videos that the differences are averaged over")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bfloat16", action="store_true", help="weights and computation in bfloat16")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {options.seeds}")
    return options


def random_released() -> ARDiffusionModel:
    """The released dimensions; layers that start at zero get small weights, so that nothing is skipped."""
    network = ARDiffusionDiT(ARDiffusionDiTConfig())
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return system(network, torch.randn(1, 77, 768), class_conditional=False)


def trained_small(steps: int) -> ARDiffusionModel:
    """The moving average of `loss_variance.py`'s generator after `steps` steps."""
    from loss_variance import CLIPS, FRAMES, NETWORK, Latents, Plan, spec

    from avgen_core.training.ar_diffusion import ARDiffusionOptions, ConditionedGenerator, generator_training
    from avgen_core.training.videos import ClipSpec

    with tempfile.TemporaryDirectory() as out:
        settings = spec(Path(out), Plan(steps, checks=1, batches=1))
        model = ConditionedGenerator(NETWORK, 0)
        training = generator_training(settings, Latents(0, CLIPS), model, ARDiffusionOptions(ClipSpec(FRAMES)))
        while training.step < steps:
            sums = training.advance()
            if training.step % 100 == 0:
                print(f"step {training.step}: loss {(sums['loss'] / sums['weight']).item():.4f}", flush=True)
    average = training.average
    return system(average.dit, average.conditions.detach(), class_conditional=False)


def system(network: ARDiffusionDiT, conditions: torch.Tensor, class_conditional: bool) -> ARDiffusionModel:
    network = network.eval().requires_grad_(False)
    return ARDiffusionModel(network, conditions, class_conditional, autoencoder=None, fingerprint="benchmark")


def sample(model: ARDiffusionModel, plan: WindowedAsynchronousPlan, frames: int, seed: int) -> torch.Tensor:
    """Latents (F, C, 1, L)."""
    executor = Executor(model.denoiser(1.0), plan, FIRST_CLASS, SeededNoise(seed))
    return torch.cat([done.finished for done in executor.run(frames)])


def changed(model: ARDiffusionModel, plans: dict[str, WindowedAsynchronousPlan], options: argparse.Namespace) -> dict:
    """Root mean square difference from the official computation, as a share of the latents' deviation."""
    shares: dict[str, list[float]] = {name: [] for name in plans}
    for seed in range(options.seeds):
        videos = {name: sample(model, plan, options.frames, seed) for name, plan in plans.items()}
        whole = videos[Savings.NONE.value]
        for name, video in videos.items():
            shares[name].append(((video - whole).square().mean().sqrt() / whole.std()).item())
    return {name: statistics.fmean(values) for name, values in shares.items()}


def compare(
    model: ARDiffusionModel, difference: int, options: argparse.Namespace, *, trained: bool
) -> dict[str, object]:
    settings = (AsynchronousSettings(options.steps, difference, options.frames, None, savings=s) for s in Savings)
    plans = {s.savings.value: model.asynchronous_plan(s) for s in settings}
    runs = {name: lambda plan=plan: sample(model, plan, options.frames, 0) for name, plan in plans.items()}
    seconds = alternate(runs, options.rounds, warm_up=trained)
    evaluations = {name: cost(plan, options.frames).frame_evaluations for name, plan in plans.items()}
    passes = cost(plans[Savings.NONE.value], options.frames).passes
    report(
        f"{options.frames} frames, {options.steps} steps, difference {difference}: {passes} passes",
        seconds,
        "none",
        None,
    )
    differences = changed(model, plans, options) if trained else {}
    for name, count in evaluations.items():
        change = f", changed by {differences[name]:.4f} of the deviation" if trained else ""
        print(f"  {name:34} {count:6} frame evaluations{change}", flush=True)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {"difference": difference, "seconds": medians, "evaluations": evaluations, "changed": differences}


def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    if options.generator:
        read = read_generator(options.generator)
        model = system(read.network, read.conditions, read.class_conditional)
    elif options.train:
        model = trained_small(options.train)
    else:
        model = random_released()
    if options.bfloat16:
        model.network.to(torch.bfloat16)
    try:
        trained = bool(options.generator or options.train)
        results = [compare(model, difference, options, trained=trained) for difference in options.differences]
    except PlanError as error:
        sys.exit(str(error))
    if options.json:
        settings = {"frames": options.frames, "steps": options.steps, "threads": torch.get_num_threads()}
        options.json.write_text(json.dumps({**settings, "cases": results}, indent=1))


if __name__ == "__main__":
    main()
