"""Prompts and classes over time."""

from __future__ import annotations

from comfy_api.latest import io

from ..avgen_core.prompts import Reading, parse_schedule
from . import host, types

TEXT_TOOLTIP = (
    "One prompt, or a schedule. Each line may begin with the moment it applies from: `24:` or `24f:` (frames), `3s:`, "
    "`50%:`, `chunk 2:`. FizzNodes' JSON body and `first | second | third` (spread evenly) work too. "
    "A prompt holds until the next one."
)


CLASS_TOOLTIP = (
    "One class, or a schedule: each line a class name or number after the moment it applies from, such as `0: 7` and "
    "then `24: skiing`, `3s: 7` or `50%: 12`. Empty: no class."
)


class AVGenPromptSchedule(io.ComfyNode):
    """Text to a prompt for every frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenPromptSchedule",
            display_name="Prompt Schedule (AVGen)",
            category="AVGen/conditioning",
            description="Reads one prompt or a schedule of prompts over time, and says what it understood.",
            inputs=[
                io.String.Input(
                    "text",
                    multiline=True,
                    default="an orange cat walks right in a green meadow",
                    tooltip=TEXT_TOOLTIP,
                ),
                io.Float.Input(
                    "fps",
                    default=8.0,
                    min=1.0,
                    max=120.0,
                    step=0.5,
                    tooltip="Frames a second, for times given in seconds.",
                ),
                io.Int.Input(
                    "frames",
                    default=64,
                    min=1,
                    max=1_000_000,
                    tooltip="Length of the video in frames, for percentages and `a | b`. Times beyond it are refused.",
                ),
                io.Int.Input(
                    "chunk",
                    default=4,
                    min=1,
                    max=1024,
                    tooltip="Frames a chunk, for `chunk 2:`; the block of the schedule.",
                ),
                io.Int.Input(
                    "blend",
                    default=0,
                    min=0,
                    max=1024,
                    tooltip="Frames over which a prompt gives way to the next; 0 switches at once.",
                ),
                types.Model.Input(
                    "model",
                    optional=True,
                    tooltip="Connect it to see how the model reads words that it does not know, as a prompt; "
                    "a negative one keeps only what it says.",
                ),
            ],
            outputs=[
                types.Prompts.Output(display_name="prompts", tooltip="A prompt for every frame."),
                io.String.Output(display_name="understood", tooltip="The schedule as it will be read, and warnings."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, text: str, fps: float, frames: int, chunk: int, blend: int, model: host.HostModel | None = None
    ) -> io.NodeOutput:
        schedule = parse_schedule(text, fps=fps, frames=frames, chunk=chunk, blend=blend)
        reading = model.system.understand(schedule) if model else Reading(schedule)
        understood = reading.schedule.describe(fps)
        warning = "\n".join(f"Warning: as a prompt, {remark}" for remark in reading.remarks)
        host.tell(cls, warning or f"Prompts understood: {len(schedule.segments)}", warning=bool(warning))
        # The sampler reads the words again: it knows whether they are what to lead away from.
        return io.NodeOutput(schedule, f"{understood}\n{warning}" if warning else understood)


class AVGenClassSchedule(io.ComfyNode):
    """Class names or numbers to a condition for every frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenClassSchedule",
            display_name="Class Schedule (AVGen)",
            category="AVGen/conditioning",
            description="For models that know classes or data sets instead of sentences, such as AR-Diffusion: which "
            "class applies when. The embedded model takes its subjects as classes.",
            inputs=[
                types.Model.Input("model", tooltip="The model whose classes they are."),
                io.String.Input("text", multiline=True, default="0", tooltip=CLASS_TOOLTIP),
                io.Int.Input(
                    "frames",
                    default=64,
                    min=1,
                    max=1_000_000,
                    tooltip="Length of the video in frames, for percentages. Times beyond it are refused.",
                ),
                io.Int.Input(
                    "blend",
                    default=0,
                    min=0,
                    max=1024,
                    tooltip="Frames over which a class gives way to the next; 0 switches at once.",
                ),
                io.String.Input(
                    "names",
                    multiline=True,
                    default="",
                    tooltip="Names of the classes, one a line from class 0 on, for checkpoints that hold only numbers. "
                    "Leave it empty to use the model's own.",
                ),
            ],
            outputs=[
                types.Prompts.Output(display_name="prompts", tooltip="A condition for every frame."),
                io.String.Output(display_name="understood", tooltip="The schedule as it was read, and the classes."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: host.HostModel, text: str, frames: int, blend: int, names: str) -> io.NodeOutput:
        system = model.system
        classes = system.classes.renamed(tuple(line.strip() for line in names.splitlines()))
        named = parse_schedule(text, fps=system.fps, frames=frames, chunk=1, blend=blend)
        schedule = classes.schedule(named)
        said = f"Classes understood: {', '.join(classes.name_of(prompt) or 'none' for prompt in schedule.texts())}"
        plain = classes.null in schedule.texts() and bool(classes.null)
        if plain:
            said += (
                f". Warning: class {classes.name_of(classes.null)} also stands for no class, so guidance is lost on it"
            )
        host.tell(cls, said, warning=plain)
        return io.NodeOutput(schedule, f"{named.describe(system.fps)}\n{said}\nThe model has {classes}.")
