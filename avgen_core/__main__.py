"""The engine's command line: `python -m avgen_core generate | extend | plan | train | evaluate`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from .checkpoints.files import CheckpointError
from .rollout.files import RunError

GIT_ONLY = (
    "`{command}` is not part of the registry's archive; it comes with the Git install: "
    "clone the repository into custom_nodes and run `python -m avgen_core {command}` there"
)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from . import commands

    main = argparse.ArgumentParser(prog="python -m avgen_core", description=__doc__)
    subs = main.add_subparsers(dest="command", required=True)
    generate = subs.add_parser("generate", help="make a video")
    commands.add_generate_arguments(generate)
    commands.add_start_argument(generate)
    extend = subs.add_parser("extend", help="go on from a run")
    extend.add_argument("run_file", type=Path, metavar="RUN.avgen", help="what `generate` left beside its video")
    commands.add_generate_arguments(extend)
    plan = subs.add_parser("plan", help="price and draw a schedule without running it")
    commands.add_schedule_arguments(plan)
    plan.add_argument("--ar-diffusion", action="store_true", help="the schedule of AR-Diffusion's files")
    plan.add_argument("--frames", type=int, default=64, help="frames (default: 64)")
    plan.add_argument("--picture", type=Path, metavar="FILE.png", help="draw noise levels over frames and passes")
    for command, module in (("train", "training"), ("evaluate", "evaluation")):
        sub = subs.add_parser(command, help=f"{command} the embedded model")
        try:
            tool = import_module(f".{module}.command", __package__)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith(f"{__package__}.{module}"):
                raise
            sub.set_defaults(run=None)
        else:
            tool.add_arguments(sub)
            sub.set_defaults(run=tool.run)
    generate.set_defaults(run=commands.generate)
    extend.set_defaults(run=commands.extend)
    plan.set_defaults(run=commands.plan)
    return main


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors that a user can mend are printed without a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options, rest = parser().parse_known_args(arguments)
    if options.run is None:
        print(GIT_ONLY.format(command=options.command), file=sys.stderr)
        return 2
    if rest:
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        options.run(options)
    except (RunError, CheckpointError, FileNotFoundError, ValueError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"{options.command}: this needs {error.name}: pip install {error.name}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
