"""Runs: save, load, and give them to other packs as latents."""

from __future__ import annotations

from comfy_api.latest import io

from ..avgen_core.rollout.archive import SUFFIX, pack_run, unpack_run
from ..avgen_core.rollout.files import RunError
from ..avgen_core.rollout.run import Run
from . import host, types
from .samplers import report

RUN_FILES = host.SavedFiles(SUFFIX, "run", "Save Run")


def end_of_part(run: Run, start: int, frames: int) -> int:
    """The end of the part of a run that `start` and `frames` ask for; 0 frames are all that follow."""
    stop = start + frames if frames else run.frames
    if not start < stop <= run.frames:
        last = f"up to frame {stop - 1}" if frames else "all that follow"
        raise RunError(
            f"the run has {run.frames} frames, 0 to {run.frames - 1}; asked for frame {start} and {last}: "
            "change start or frames"
        )
    return stop


class AVGenSaveRun(io.ComfyNode):
    """A run to one file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenSaveRun",
            display_name="Save Run (AVGen)",
            category="AVGen/runs",
            description="Saves a run as one .avgen file in the output folder: all frames and what is needed to extend "
            "the video later, exactly.",
            inputs=[
                types.Run.Input("run", tooltip="The run to save."),
                io.String.Input(
                    "filename_prefix",
                    default="avgen/run",
                    tooltip="Folder and beginning of the file's name, below ComfyUI's output folder.",
                ),
            ],
            outputs=[types.Run.Output(display_name="run", tooltip="The same run.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, run: Run, filename_prefix: str) -> io.NodeOutput:
        path, shown = host.save_path(filename_prefix, SUFFIX)
        pack_run(run, path)
        return io.NodeOutput(run, ui={"avgen_runs": [shown]})


class AVGenLoadRun(io.ComfyNode):
    """A run from its file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenLoadRun",
            display_name="Load Run (AVGen)",
            category="AVGen/runs",
            description="Loads a saved run (.avgen) from ComfyUI's input or output folder, to extend or decode it.",
            inputs=[
                io.Combo.Input(
                    "run",
                    options=RUN_FILES.names(),
                    tooltip="A .avgen file in the input folder, or in the output folder (marked [output]).",
                )
            ],
            outputs=[
                types.Run.Output(display_name="run", tooltip="The run, ready to be extended or decoded."),
                io.String.Output(display_name="report", tooltip="Its length and how its parts join."),
            ],
        )

    @classmethod
    def validate_inputs(cls, run: str = "") -> bool | str:
        """ComfyUI leaves `run` out when it comes through a link."""
        try:
            return bool(not run or RUN_FILES.path(run))
        except ValueError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, run: str = "") -> float:
        return RUN_FILES.path(run).stat().st_mtime if run else 0.0

    @classmethod
    def execute(cls, run: str) -> io.NodeOutput:
        loaded = unpack_run(RUN_FILES.path(run), host.runs_folder())
        return io.NodeOutput(loaded, report(loaded))


class AVGenRunToLatent(io.ComfyNode):
    """A run's frames as a LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AVGenRunToLatent",
            display_name="Run to Latent (AVGen)",
            category="AVGen/runs",
            description="Gives frames of a run as a video LATENT, for ComfyUI's own nodes and other packs.",
            inputs=[
                types.Run.Input("run", tooltip="A finished run."),
                io.Int.Input("start", default=0, min=0, max=1_000_000, tooltip="First frame."),
                io.Int.Input(
                    "frames", default=0, min=0, max=1_000_000, tooltip="How many frames; 0 = all that follow."
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent",
                    tooltip="(1, channels, frames, height, width), in the scale of the run's model.",
                )
            ],
        )

    @classmethod
    def execute(cls, run: Run, start: int, frames: int) -> io.NodeOutput:
        return io.NodeOutput({"samples": run.latents(start, end_of_part(run, start, frames)).transpose(0, 1)[None]})
