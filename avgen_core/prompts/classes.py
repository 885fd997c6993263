"""Prompts of models that know classes instead of sentences: names and numbers to what the model is told."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .schedule import PromptSchedule

SHOWN = 12  # names in an error


@dataclass(frozen=True)
class Classes:
    """What a model can be asked for: class i is called `names[i]` and its prompt is `prompts[i]`."""

    names: tuple[str, ...]
    prompts: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.prompts):
            raise ValueError(f"{len(self.names)} class names for {len(self.prompts)} classes: give one name a class")

    def renamed(self, names: tuple[str, ...]) -> Classes:
        """The same classes under other names; the classes beyond the last name keep theirs.

        Raises ValueError when there are more names than classes, or when a name is there twice.
        """
        if len(names) > len(self.names):
            raise ValueError(f"{len(names)} class names for a model of {len(self.names)} classes")
        folded = [name.casefold() for name in names]
        twice = next((name for name in folded if folded.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the class name {twice!r} is there twice")
        return Classes((*names, *self.names[len(names) :]), self.prompts)

    def prompt(self, text: str) -> str:
        """The prompt of the class with this name or number; of no class for an empty text. Raises ValueError."""
        wanted = text.strip().casefold()
        if not wanted:
            return ""
        for name, prompt in zip(self.names, self.prompts, strict=True):
            if name.casefold() == wanted:
                return prompt
        if wanted.isdecimal() and int(wanted) < len(self.prompts):
            return self.prompts[int(wanted)]
        raise ValueError(f"{text.strip()!r} is not a class of this model; it has {self}")

    def name_of(self, prompt: str) -> str:
        """What the class with this prompt is called; empty for no class."""
        return self.names[self.prompts.index(prompt)] if prompt else ""

    def schedule(self, names: PromptSchedule) -> PromptSchedule:
        """A schedule of class names or numbers as one of prompts. Raises ValueError for an unknown class."""
        segments = tuple(replace(segment, text=self.prompt(segment.text)) for segment in names.segments)
        return replace(names, segments=segments)

    def __str__(self) -> str:
        if len(self.names) == 1:
            return f"one class, 0 ({self.names[0]})"
        shown = ", ".join(f"{i} {name}" if name != str(i) else name for i, name in enumerate(self.names[:SHOWN]))
        more = f" ... {len(self.names) - 1}" if len(self.names) > SHOWN else ""
        return f"{len(self.names)} classes: {shown}{more}"
