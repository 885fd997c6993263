"""Confusion matrices count what was seen for what was wanted, and become one picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from avgen_core.diorama import Attributes
from avgen_core.evaluation.confusion import RIGHT, WRONG, Confusion, confusion_picture, write_confusions
from avgen_core.evaluation.judging import facts
from avgen_core.evaluation.sheet import Judged

CAT = Attributes("cat", "walks left", "city", "day", "clear")
DOG = Attributes("dog", "jumps", "moon", "night", "clear")


def judged(wanted: Attributes, seen: Attributes) -> Judged:
    return Judged(np.zeros((1, 64, 64, 3), np.uint8), "", facts(wanted), {**facts(seen), "direction": seen.direction})


CLIPS = [judged(CAT, CAT), judged(CAT, DOG), judged(CAT, DOG), judged(DOG, DOG)]


def test_rows_are_wanted_and_columns_seen():
    subject = Confusion.of("subject", CLIPS)
    cat, dog = subject.rows.index("cat"), subject.columns.index("dog")
    assert subject.counts[cat, dog] == 2
    assert subject.counts.sum() == 4
    assert subject.shares[cat, dog] == pytest.approx(2 / 3)
    assert subject.shares[dog, dog] == 1
    assert subject.shares[subject.rows.index("pig")].sum() == 0


def test_a_direction_counts_where_one_was_wanted():
    direction = Confusion.of("direction", CLIPS)
    assert direction.columns == ("left", "right", "none")
    assert direction.counts.tolist() == [[1, 0, 2], [0, 0, 0]]


def test_what_is_always_right_or_wrong_has_the_full_shade():
    picture = np.asarray(confusion_picture([judged(CAT, DOG), judged(DOG, DOG)]))
    assert all((picture == colour).all(axis=-1).any() for colour in (RIGHT, WRONG))


def test_the_picture_is_a_png(tmp_path):
    write_confusions(tmp_path / "new" / "confusion.png", CLIPS)
    assert cv2.imread(str(tmp_path / "new" / "confusion.png")).shape[2] == 3
    with pytest.raises(OSError, match="must end in .png"):
        write_confusions(tmp_path / "confusion.gif", CLIPS)
