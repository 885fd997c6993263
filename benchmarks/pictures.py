"""The pictures of docs/ad_tradeoff.md: charts of what two benchmarks wrote with --json, and frames of a few videos."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parents[1]))

import ad_tradeoff  # noqa: E402
from timestep_samplers import DIFFERENCES, FRAMES, Arm, trained  # noqa: E402

from avgen_core.diorama import caption  # noqa: E402
from avgen_core.systems.embedded import GUIDANCE, EmbeddedModel, load_embedded  # noqa: E402
from avgen_core.systems.many_videos import Sampling, sample_videos  # noqa: E402
from avgen_core.training.timesteps import TimestepSampler  # noqa: E402

WIDTH, HEIGHT, COLUMNS = 330, 230, 3
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 34, 40
SCALE = 2  # drawn large and made small, for smooth lines
INK, GRID, BOUND = (40, 40, 40), (225, 225, 225), (130, 130, 130)
COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189))
BOUND_NAME = "renders, decoded"
SHOWN, EVERY, NAME_WIDTH = (0, 1), 2, 150  # which captions, every which frame, pixels beside a row


@dataclass(frozen=True)
class Panel:
    """One chart: for each series, the values of every run at every place on the x axis; `bound` is a dashed line."""

    title: str
    series: dict[str, list[list[float]]]
    bound: float | None

    def reach(self) -> float:
        values = [value for line in self.series.values() for runs in line for value in runs]
        return 1.12 * max([*values, self.bound or 0.0])


def step_of(reach: float) -> float:
    """Distance of the grid lines: 1, 2 or 5 times a power of ten, with three to six of them."""
    power = 10.0 ** len(str(int(reach)))
    sizes = [power * factor / 10**digits for digits in range(8) for factor in (5, 2, 1)]
    return next(size for size in sizes if reach / size >= 3)


def draw_panel(panel: Panel, labels: list[str]) -> Image.Image:
    """A chart that begins at zero: means as lines, single runs as dots."""
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(11 * SCALE)
    reach = panel.reach()

    def at(place: float, value: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * (place + 0.5) / len(labels)
        return across * SCALE, (HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / reach) * SCALE

    pen.text((LEFT * SCALE, 8 * SCALE), panel.title, INK, ImageFont.load_default(13 * SCALE))
    step = step_of(reach)
    for line in range(int(reach / step) + 1):
        height = at(0, line * step)[1]
        pen.line([(LEFT * SCALE, height), ((WIDTH - RIGHT) * SCALE, height)], GRID, SCALE)
        pen.text(((LEFT - 6) * SCALE, height), f"{line * step:g}", INK, font, anchor="rm")
    for place, label in enumerate(labels):
        pen.text((at(place, 0)[0], (HEIGHT - BOTTOM + 6) * SCALE), label, INK, font, anchor="mt")
    if panel.bound is not None:
        height = at(0, panel.bound)[1]
        for start in range(LEFT * SCALE, (WIDTH - RIGHT) * SCALE, 12 * SCALE):
            pen.line([(start, height), (start + 6 * SCALE, height)], BOUND, SCALE)
    for colour, line in zip(COLOURS, panel.series.values(), strict=False):
        pen.line([at(place, fmean(runs)) for place, runs in enumerate(line)], colour, 2 * SCALE)
        for place, runs in enumerate(line):
            for value in runs:
                x, y = at(place, value)
                pen.ellipse([x - 3 * SCALE, y - 3 * SCALE, x + 3 * SCALE, y + 3 * SCALE], colour)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def draw(panels: list[Panel], labels: list[str], axis: str, path: Path) -> None:
    """All charts in one picture, with the names of the series below."""
    rows = -(-len(panels) // COLUMNS)
    picture = Image.new("RGB", (WIDTH * COLUMNS, HEIGHT * rows + 28), "white")
    for number, panel in enumerate(panels):
        picture.paste(draw_panel(panel, labels), (number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT))
    pen, font, across = ImageDraw.Draw(picture), ImageFont.load_default(12), LEFT
    names = [*zip(panels[0].series, COLOURS, strict=False), (f"- - -  {BOUND_NAME}", BOUND), (f"across: {axis}", INK)]
    for name, colour in names:
        pen.text((across, HEIGHT * rows + 4), name, colour, font)
        across += int(font.getlength(name)) + 28
    picture.quantize(64).save(path, optimize=True)


def value_of(quality: dict[str, Any], measure: str) -> float:
    return quality[measure]["value"] if measure in ("video", "frames") else quality[measure]


MEASURES = {  # without accents, which the font lacks
    "video": "Frechet distance of videos",
    "frames": "Frechet distance of frames",
    "motion": "motion, pixels a frame",
    "flicker": "flicker, 0..255",
    "accuracy": "share of attributes seen",
}


def panels_of(results: dict[str, list[dict[str, Any]]], rows: dict[str, list[str]]) -> list[Panel]:
    """A chart for every measure; `rows` names, for each series, the rows of the table from left to right."""
    panels = []
    for measure, title in MEASURES.items():
        series = {
            name: [[value_of(quality, measure) for quality in results[row]] for row in line]
            for name, line in rows.items()
        }
        panels.append(Panel(title, series, fmean(value_of(quality, measure) for quality in results[BOUND_NAME])))
    return panels


def draw_tradeoff(content: dict[str, Any], path: Path) -> None:
    """Every measure, and the seconds, against the difference."""
    rows = [name for name in content["results"] if name.startswith("s = ")]
    panels = panels_of(content["results"], {"embedded model": rows})
    seconds = [[spent[row] for spent in content["seconds"]] for row in rows]
    panels.append(Panel("seconds of processor time a clip", {"embedded model": seconds}, None))
    draw(panels, [row.removeprefix("s = ") for row in rows], "difference s, of 12 steps", path)


def draw_samplers(content: dict[str, Any], path: Path) -> None:
    """Every measure against the difference, a line for each timestep sampler."""
    rows: dict[str, list[str]] = {}
    for name in content["results"]:
        if ", s = " in name:
            rows.setdefault(name.split(", s = ")[0], []).append(name)
    labels = [name.split(", s = ")[1] for name in next(iter(rows.values()))]
    draw(panels_of(content["results"], rows), labels, "difference s, of 12 steps", path)


def row_of(model: EmbeddedModel, difference: int) -> np.ndarray:
    """Frames of the shown captions side by side, (64, width, 3); the same videos as in the tables."""
    attributes = ad_tradeoff.attributes_of(0, max(SHOWN) + 1)
    plan = ad_tradeoff.plan_of(difference, FRAMES)
    videos = sample_videos(model, [caption(a) for a in attributes], FRAMES, Sampling(plan, GUIDANCE))
    return np.concatenate([np.concatenate(list(videos[i, ::EVERY]), axis=1) for i in SHOWN], axis=1)


def draw_rows(rows: dict[str, np.ndarray], path: Path) -> None:
    """Rows of frames with their names on the left."""
    height, width = next(iter(rows.values())).shape[:2]
    picture = Image.new("RGB", (NAME_WIDTH + width, (height + 2) * len(rows)), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    for number, (name, frames) in enumerate(rows.items()):
        top = (height + 2) * number
        pen.text((4, top + height // 2), name, INK, font, anchor="lm")
        picture.paste(Image.fromarray(frames), (NAME_WIDTH, top))
    picture.quantize(128).save(path, optimize=True)


def draw_videos(out: Path) -> None:
    """The embedded model at every difference."""
    model = load_embedded()
    draw_rows({f"s = {s}": row_of(model, s) for s in ad_tradeoff.DIFFERENCES}, out / "ad_tradeoff_clips.png")


def draw_arms(arms: Path, out: Path) -> None:
    """The first model of every timestep sampler."""
    embedded, rows = load_embedded(), {}
    for sampler in TimestepSampler:
        model = trained(Arm(sampler, 0), arms, embedded)
        rows |= {f"{sampler.value}, s = {s}": row_of(model, s) for s in DIFFERENCES}
    draw_rows(rows, out / "timestep_samplers_clips.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tradeoff", type=Path, help="what ad_tradeoff.py wrote")
    parser.add_argument("--samplers", type=Path, help="what timestep_samplers.py wrote")
    parser.add_argument("--arms", type=Path, help="folder of the arms' weights")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    options = parser.parse_args()
    if options.tradeoff:
        draw_tradeoff(json.loads(options.tradeoff.read_text()), options.out / "ad_tradeoff.png")
        draw_videos(options.out)
    if options.samplers:
        draw_samplers(json.loads(options.samplers.read_text()), options.out / "timestep_samplers.png")
    if options.arms:
        draw_arms(options.arms, options.out)


if __name__ == "__main__":
    main()
