"""A plan as a picture, before anything is computed: how noisy each frame is in each pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .passes import Action, Changed, Pass, Plan, PlanError, never, passes_until

Color = tuple[int, int, int]

WIDEST, HIGHEST = 1600, 1200
LEFT, TOP, RIGHT, BOTTOM = 64, 70, 24, 48
NARROWEST = 760  # the legend needs it
SMALLEST_CELL, LARGEST_CELL = 3, 28
STRETCH = 2.2  # how much wider than high a cell may be
MOST_COLUMNS = (WIDEST - LEFT - RIGHT) // SMALLEST_CELL
MOST_ROWS = (HIGHEST - TOP - BOTTOM) // SMALLEST_CELL

PAPER, INK, FAINT_INK = (255, 255, 255), (38, 42, 51), (112, 118, 130)
ABSENT, CACHED, MARK = (243, 244, 246), (206, 211, 219), (168, 52, 62)
NOISE_TO_CLEAN: tuple[Color, ...] = ((24, 22, 58), (58, 50, 118), (41, 112, 142), (66, 176, 150), (250, 226, 120))


def noise_color(level: float) -> Color:
    """The colour of a noise level: 1 is noise (dark), 0 is clean (bright)."""
    place = min(1.0, max(0.0, 1 - level)) * (len(NOISE_TO_CLEAN) - 1)
    below = min(int(place), len(NOISE_TO_CLEAN) - 2)
    share = place - below
    pair = zip(NOISE_TO_CLEAN[below], NOISE_TO_CLEAN[below + 1], strict=True)
    return tuple(round(a + share * (b - a)) for a, b in pair)


@dataclass(frozen=True)
class Grid:
    """Where cells are: pass `row`, frame `column`."""

    rows: int
    columns: int

    @property
    def cell(self) -> tuple[int, int]:
        """Width and height of one cell in pixels."""
        height = max(SMALLEST_CELL, min(LARGEST_CELL, (HIGHEST - TOP - BOTTOM) // self.rows))
        room = (WIDEST - LEFT - RIGHT) // self.columns
        width = max(SMALLEST_CELL, min(LARGEST_CELL, round(height * STRETCH), room))
        return width, min(height, round(width * STRETCH))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole picture."""
        width, height = self.cell
        return max(NARROWEST, LEFT + self.columns * width + RIGHT), TOP + self.rows * height + BOTTOM

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """The corners of a cell, both inside it; large cells leave a gap to the next."""
        width, height = self.cell
        gap = 1 if min(width, height) > 5 else 0
        left, top = LEFT + column * width, TOP + row * height
        return left, top, left + width - 1 - gap, top + height - 1 - gap


def noise_picture(plan: Plan, frames: int, changed: Changed = never) -> np.ndarray:
    """The passes (downward) that finish `frames` frames (to the right), as (height, width, 3) uint8.

    At most 1600 x 1200; of a long plan the first passes and frames are drawn, and a note says so.
    """
    if frames < 1:
        raise PlanError(f"a picture needs at least 1 frame, got {frames}")
    passes = list(islice(passes_until(plan, frames, changed), MOST_ROWS + 1))
    cut, passes = len(passes) > MOST_ROWS, passes[:MOST_ROWS]
    last = max(query.frame for step in passes for query in step.queries)
    columns = min(last + 1, MOST_COLUMNS)
    grid = Grid(len(passes), columns)
    image = Image.new("RGB", grid.size, PAPER)
    draw = ImageDraw.Draw(image)
    for row, step in enumerate(passes):
        _draw_pass(draw, grid, row, step)
    title = f"{frames} frames" if cut else f"{frames} frames in {len(passes)} passes"
    if cut or last >= columns:
        title += f"  (drawn: the first {len(passes)} passes and {columns} frames)"
    draw.text((LEFT, 10), title, INK, _font(16))
    _draw_axes(draw, grid)
    _draw_legend(draw, grid.size[1] - BOTTOM + 16)
    return np.asarray(image)


def _draw_pass(draw: ImageDraw.ImageDraw, grid: Grid, row: int, step: Pass) -> None:
    shown = {query.frame: query for query in step.queries}
    seen = {slot.frame for slot in step.context} | {reference.frame for reference in step.references}
    for column in range(grid.columns):
        box, query = grid.box(row, column), shown.get(column)
        if query is None:
            draw.rectangle(box, CACHED if column in seen else ABSENT)
            continue
        draw.rectangle(box, noise_color(query.timestep / 1000))
        if query.action in (Action.COMMIT, Action.RECACHE):
            _draw_mark(draw, box, hollow=query.action is Action.RECACHE)


def _draw_mark(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], hollow: bool) -> None:
    """A dot for a commit, a ring for a frame that is committed again."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    radius = min(4.5, max(0.5, 0.28 * min(box[2] - box[0] + 1, box[3] - box[1] + 1)))
    around = (x - radius, y - radius, x + radius, y + radius)
    if hollow and radius > 2:
        draw.ellipse(around, outline=MARK, width=max(1, round(radius / 3)))
    else:
        draw.ellipse(around, fill=MARK)


def _draw_axes(draw: ImageDraw.ImageDraw, grid: Grid) -> None:
    width, height = grid.cell
    draw.text((LEFT, TOP - 36), "frame", FAINT_INK, _font(13))
    for column in _ticks(grid.columns, width, 30):
        draw.text((LEFT + (column + 0.5) * width, TOP - 5), str(column), FAINT_INK, _font(12), anchor="ms")
    draw.text((LEFT - 10, TOP - 5), "pass", FAINT_INK, _font(13), anchor="rs")
    for row in _ticks(grid.rows, height, 16):
        draw.text((LEFT - 10, TOP + (row + 0.5) * height), str(row), FAINT_INK, _font(12), anchor="rm")


def _ticks(count: int, cell: int, apart: int) -> Iterator[int]:
    """Round numbers below `count`, at least `apart` pixels from each other."""
    steps = (base * 10**power for power in range(5) for base in (1, 2, 5))
    step = next(step for step in steps if step * cell >= apart)
    yield from range(0, count, step)


def _draw_legend(draw: ImageDraw.ImageDraw, y: int) -> None:
    x = LEFT

    def label(text: str) -> None:
        nonlocal x
        draw.text((x, y + 7), text, INK, _font(13), anchor="lm")
        x += round(draw.textlength(text, _font(13))) + 8

    def square(color: Color) -> tuple[int, int, int, int]:
        nonlocal x
        x += 14
        box = (x, y, x + 14, y + 14)
        draw.rectangle(box, color)
        x += 22
        return box

    label("noise")
    for offset in range(90):
        draw.line((x + offset, y, x + offset, y + 14), noise_color(1 - offset / 89))
    x += 98
    label("clean")
    _draw_mark(draw, square(noise_color(0)), hollow=False)
    label("committed")
    _draw_mark(draw, square(noise_color(0)), hollow=True)
    label("committed again")
    square(CACHED)
    label("seen, clean")
    square(ABSENT)
    label("not in the pass")


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
