"""Prompts of models that know classes instead of sentences: names and numbers to what the model is told."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .schedule import PromptSchedule

SHOWN = 12  # names in an error


@dataclass(frozen=True)
class Classes:
    """What a model can be asked for: class i is called `names[i]` and its prompt is `prompts[i]`.

    null: the prompt of the class that also stands for no class; empty when there is none.
    """

    names: tuple[str, ...]
    prompts: tuple[str, ...]
    null: str = ""

    def __post_init__(self) -> None:
        if len(self.names) != len(self.prompts):
            raise ValueError(f"{len(self.names)} class names for {len(self.prompts)} classes: give one name a class")

    def renamed(self, names: tuple[str, ...]) -> Classes:
        """The same classes under other names; empty names, and classes beyond the last one, stay as they are.

        Raises ValueError when there are more names than classes, when a name is there twice, or when it is the number
        of another class.
        """
        if len(names) > len(self.names):
            raise ValueError(f"{len(names)} class names for a model of {len(self.names)} classes")
        kept = (*names, *[""] * (len(self.names) - len(names)))
        renamed = tuple(new or old for new, old in zip(kept, self.names, strict=True))
        folded = [name.casefold() for name in renamed]
        for number, name in enumerate(folded):
            if folded.count(name) > 1:
                raise ValueError(f"the class name {name!r} is there twice")
            if name.isdecimal() and int(name) != number and int(name) < len(folded):
                raise ValueError(f"class {number} cannot be called {name!r}, which is the number of another class")
        return replace(self, names=renamed)

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
        return names.translated({text: self.prompt(text) for text in names.texts()})

    def __str__(self) -> str:
        if len(self.names) == 1:
            return f"one class, 0 ({self.names[0]})"
        shown = ", ".join(f"{i} {name}" if name != str(i) else name for i, name in enumerate(self.names[:SHOWN]))
        more = f" ... {len(self.names) - 1}" if len(self.names) > SHOWN else ""
        return f"{len(self.names)} classes: {shown}{more}"
