"""Whether the measures see what they should: renders that were damaged in known ways, beside untouched ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from ad_tradeoff import RENDER_SEEDS, attributes_of, judge_for  # noqa: E402

from avgen_core.evaluation.judging import fresh_renders  # noqa: E402
from avgen_core.evaluation.quality import quality_rows  # noqa: E402

FRAMES = 16


def damaged(videos: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Copies of videos (N, F, H, W, 3) uint8, by what was done to them."""
    rng = np.random.default_rng(seed)

    def with_noise(deviation: float, *shape: int) -> np.ndarray:
        return (videos + rng.normal(0, deviation, shape)).clip(0, 255).astype(np.uint8)

    count, frames = videos.shape[:2]
    return {
        "untouched": videos,
        "backwards": np.ascontiguousarray(videos[:, ::-1]),
        "frames in random order": np.stack([video[rng.permutation(frames)] for video in videos]),
        "first frame only": np.repeat(videos[:, :1], frames, axis=1),
        "noise on pixels (deviation 5)": with_noise(5, *videos.shape),
        "brightness flickers (deviation 8)": with_noise(8, count, frames, 1, 1, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, required=True, help="folder of the feature networks' weights")
    parser.add_argument("--clips", type=int, default=60, help="default: 60")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    attributes = attributes_of(options.seed, options.clips)
    judge = judge_for(attributes, FRAMES, options.features, options.seed)
    renders = fresh_renders(attributes, FRAMES, RENDER_SEEDS["floor"] + options.seed)
    copies = damaged(renders, options.seed)
    print("\n".join(quality_rows({name: [judge.judge(videos)] for name, videos in copies.items()})))


if __name__ == "__main__":
    main()
