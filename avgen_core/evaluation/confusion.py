"""A picture of confusion matrices: for each attribute, what was wanted (rows) and what was seen (columns)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .classifier import LABELS
from .judging import ASKED
from .sheet import Judged

CELL, GAP, PAD, TITLE, COUNT, TITLE_WIDTH = 26, 24, 6, 30, 50, 240  # pixels
PAPER, INK, FAINT, LINE = (255, 255, 255), (30, 30, 30), (130, 130, 130), (225, 225, 225)
RIGHT, WRONG = (25, 110, 60), (190, 40, 40)  # on and off the diagonal
ROWS = {**LABELS, "direction": ("left", "right")}
COLUMNS = {**LABELS, "direction": ("left", "right", "none")}
LABEL_FONT, CELL_FONT, TITLE_FONT = (ImageFont.load_default(size) for size in (13, 11, 16))


@dataclass(frozen=True)
class Confusion:
    """How often each of `columns` was seen where one of `rows` was wanted: counts (rows, columns)."""

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: np.ndarray

    @classmethod
    def of(cls, name: str, judged: list[Judged]) -> Confusion:
        """The matrix of one attribute, or of `direction`, over videos that were asked for one."""
        pairs = Counter((j.wanted[name], j.seen[name]) for j in judged if name in j.wanted)
        rows, columns = ROWS[name], COLUMNS[name]
        return cls(name, rows, columns, np.array([[pairs[row, column] for column in columns] for row in rows]))

    @property
    def shares(self) -> np.ndarray:
        """Counts as shares of their row; 0 where a row is empty."""
        return self.counts / np.maximum(1, self.counts.sum(axis=1, keepdims=True))


def _label_width(values: tuple[str, ...]) -> int:
    return int(max(LABEL_FONT.getlength(value) for value in values)) + PAD


def _shade(share: float, right: bool) -> tuple[int, int, int]:
    full = RIGHT if right else WRONG
    depth = share**0.5  # so that rare mistakes are visible
    return tuple(round(paper + (tint - paper) * depth) for paper, tint in zip(PAPER, full, strict=True))


def _draw_cell(pen: ImageDraw.ImageDraw, place: tuple[int, int], share: float, right: bool) -> None:
    """A shaded square at its top left corner, with the share in percent."""
    x, y = place
    pen.rectangle([x, y, x + CELL - 1, y + CELL - 1], _shade(share, right), FAINT if right else LINE)
    if share:
        ink = PAPER if share > 0.3 else INK
        pen.text((x + CELL / 2, y + CELL / 2), f"{share:.0%}"[:-1], ink, CELL_FONT, anchor="mm")


def _write_upwards(image: Image.Image, text: str, x: int, bottom: int) -> None:
    """Text from bottom to top in a column of cells."""
    strip = Image.new("RGB", (_label_width((text,)), CELL), PAPER)
    ImageDraw.Draw(strip).text((PAD - 1, CELL / 2), text, INK, LABEL_FONT, anchor="lm")
    turned = strip.rotate(90, expand=True)
    image.paste(turned, (x, bottom - turned.height))


def draw_confusion(confusion: Confusion) -> Image.Image:
    """One matrix with its labels; rows end with how often their value was wanted."""
    rows, columns, counts = confusion.rows, confusion.columns, confusion.counts
    left, top = _label_width(rows), TITLE + _label_width(columns)
    end = left + CELL * len(columns)
    image = Image.new("RGB", (max(end + COUNT, TITLE_WIDTH), top + CELL * len(rows)), PAPER)
    pen = ImageDraw.Draw(image)
    right = sum(int(counts[i, columns.index(value)]) for i, value in enumerate(rows))
    pen.text((0, 4), f"{confusion.name}: {right} of {counts.sum()} right", INK, TITLE_FONT)
    for column, value in enumerate(columns):
        _write_upwards(image, value, left + CELL * column, top)
    for row, (value, shares) in enumerate(zip(rows, confusion.shares, strict=True)):
        y = top + CELL * row
        pen.text((left - PAD, y + CELL / 2), value, INK, LABEL_FONT, anchor="rm")
        pen.text((end + PAD, y + CELL / 2), f"n={counts[row].sum()}", FAINT, CELL_FONT, anchor="lm")
        for column, seen in enumerate(columns):
            _draw_cell(pen, (left + CELL * column, y), float(shares[column]), seen == value)
    return image


def _stacked(images: list[Image.Image]) -> Image.Image:
    """One below the other."""
    width, height = max(i.width for i in images), sum(i.height + GAP for i in images) - GAP
    stack = Image.new("RGB", (width, height), PAPER)
    y = 0
    for image in images:
        stack.paste(image, (0, y))
        y += image.height + GAP
    return stack


def confusion_picture(judged: list[Judged]) -> Image.Image:
    """All attributes: the subject on the left, the others in two columns beside it."""
    drawn = {name: draw_confusion(Confusion.of(name, judged)) for name in ASKED}
    columns = (("subject",), ("action", "scene"), ("direction", "time", "weather"))
    stacks = [_stacked([drawn[name] for name in names]) for names in columns]
    legend = "rows: wanted, columns: seen, numbers: percent of the row, n: videos of the row"
    width, height = sum(s.width + GAP for s in stacks) + GAP, max(s.height for s in stacks) + 2 * GAP + TITLE
    picture = Image.new("RGB", (width, height), PAPER)
    x = GAP
    for stack in stacks:
        picture.paste(stack, (x, GAP))
        x += stack.width + GAP
    ImageDraw.Draw(picture).text((GAP, height - TITLE), legend, FAINT, LABEL_FONT)
    return picture


def write_confusions(path: Path, judged: list[Judged]) -> None:
    """Write the picture as PNG."""
    if path.suffix.lower() != ".png":
        raise OSError(f"cannot write {path.name}: its name must end in .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    confusion_picture(judged).save(path)
