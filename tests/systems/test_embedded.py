"""The embedded model offers its subjects as classes, in captions that it was trained on."""

from __future__ import annotations

from avgen_core.diorama import Attributes, caption
from avgen_core.diorama.attributes import SUBJECTS
from avgen_core.systems.embedded import load_embedded


def test_every_subject_is_a_class_with_a_caption_of_the_diorama():
    classes = load_embedded().classes
    assert set(classes.names) == {subject.names[0] for subject in SUBJECTS.values()}
    for key, subject in SUBJECTS.items():
        attributes = Attributes(key, "walks right", "meadow", "day", "clear")
        assert classes.prompt(subject.names[0]) == caption(attributes)
