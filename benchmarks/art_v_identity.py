"""Does a video stay what it is when no text says it? Videos from a picture alone, by adapters of `art_v_claims.py`,
or by a folder's model (`--models models/demo`).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from art_v_claims import ARMS, Arm, colour_drift, hide_anchor, sampling_of, table, trained_as  # noqa: E402

from avgen_core.diorama import Attributes, sample_attributes  # noqa: E402
from avgen_core.evaluation.classifier import WINDOW, classify, load_classifier  # noqa: E402
from avgen_core.evaluation.judging import facts, fresh_renders, spread_windows, tally  # noqa: E402
from avgen_core.evaluation.measures import flow_magnitude  # noqa: E402
from avgen_core.media.decode import decode_latents, encode_frames  # noqa: E402
from avgen_core.systems.embedded_art_v import load_embedded_art_v  # noqa: E402
from avgen_core.systems.many_videos import sample_latents, to_pixels  # noqa: E402

PART = 64  # last frames that are judged


@dataclass(frozen=True)
class Kept:
    """Of one arm and seed: shares of windows at the end that show the picture's subject, scene, time and weather;
    colour drift (of 255) and motion there (pixels a frame)."""

    subject: float
    scene: float
    time: float
    weather: float
    colour_drift: float
    motion: float


def videos_of(arm: Arm, seed: int, folder: Path, options: argparse.Namespace, wanted: list[Attributes]) -> np.ndarray:
    """Videos that go on from the first frame of a render each, without a word."""
    model = load_embedded_art_v(folder)
    model = replace(model, mask_strength=1.0, reference_guidance=options.reference_guidance)
    if arm.blind:
        hide_anchor(model.adapter, arm.blind)
    pictures = torch.from_numpy(fresh_renders(wanted, WINDOW, 5_000_011 + seed)[:, 0]).float() / 255
    given = encode_frames(model.autoencoder.encode, pictures)[:, None]
    sampling = replace(sampling_of(arm, model, options.sampling_steps, seed), guidance=1.0)
    latents = sample_latents(model, [""] * len(wanted), options.frames, sampling, given=given)
    return np.stack([to_pixels(decode_latents(model.autoencoder.decode, video)) for video in latents])


def kept_in(file: Path, arm: Arm, seed: int, folder: Path, options: argparse.Namespace) -> Kept:
    """A folder's model judged, unless the file tells already what was found."""
    if not file.exists():
        rng = np.random.default_rng((seed, 8))
        wanted = [sample_attributes(rng, held_out=True) for _ in range(options.clips)]
        videos = videos_of(arm, seed, folder, options, wanted)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file.with_suffix(".npy"), videos)
        file.write_text(json.dumps(asdict(kept(videos, wanted))))
        print(f"{file}: {file.read_text()}", flush=True)
    return Kept(**json.loads(file.read_text()))


def kept(videos: np.ndarray, wanted: list[Attributes]) -> Kept:
    count = PART // WINDOW
    windows = spread_windows(videos[:, -PART:], 0, PART, count)
    found = tally([facts(a) for a in wanted for _ in range(count)], classify(load_classifier(), windows))
    shares = (found[name].share for name in ("subject", "scene", "time", "weather"))
    return Kept(*shares, colour_drift(videos), fmean(map(flow_magnitude, videos[:, -PART:])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--adapters", type=Path, default=Path("runs/art-v-claims"), help="what art_v_claims.py trained")
    add("--models", type=Path, help="this folder's model instead, all of its mask")
    add("--trained", default="800x48", help="steps and batch of that training (default: 800x48)")
    add("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="default: all")
    add("--seeds", type=int, nargs="+", default=(0, 1), help="default: 0 1")
    add("--clips", type=int, default=8, help="videos of each arm and seed (default: 8)")
    add("--frames", type=int, default=256, help="frames of a video (default: 256)")
    add("--sampling-steps", type=int, default=10, help="denoising steps of a frame (default: 10)")
    add("--reference-guidance", type=float, default=1.0, help="how strongly frames before lead (default: 1, off)")
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: dict[str, list[Kept]] = {}
    led = f"-led-{options.reference_guidance:g}" if options.reference_guidance != 1 else ""
    asked = f"{options.clips}x{options.frames}x{options.sampling_steps}{led}"
    for seed in options.seeds:
        if options.models:
            file = options.adapters / f"identity-{load_embedded_art_v(options.models).fingerprint}-{seed}-{asked}.json"
            results.setdefault(str(options.models), []).append(
                kept_in(file, ARMS["all"], seed, options.models, options)
            )
            continue
        for name in options.arms:
            folder = options.adapters / f"{trained_as(name)}-{seed}-{options.trained}"
            blind = f"-{ARMS[name].blind}-blind" if ARMS[name].blind else ""
            file = folder / f"identity{blind}-{asked}.json"
            results.setdefault(name, []).append(kept_in(file, ARMS[name], seed, folder, options))
    print(table({name: [asdict(one) for one in seeds] for name, seeds in results.items()}))


if __name__ == "__main__":
    main()
