"""Make CUDA builds of torchvision and torchaudio importable beside a CPU-only torch.

Package indexes without the PyTorch project's CPU wheels offer only CUDA builds of the two.
ComfyUI imports both but needs little of them, and nothing of their compiled parts.
"""

from __future__ import annotations

from pathlib import Path

MARK = "# --- operator schemas for a torch without CUDA ---"
SCHEMAS = f"""

{MARK}
if not _has_ops():
    _schemas = torch.library.Library("torchvision", "DEF")
    _schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def make_importable(site_packages: Path) -> None:
    remove_cuda_libraries(site_packages / "torchaudio" / "lib")
    declare_operators(site_packages / "torchvision" / "extension.py")


def remove_cuda_libraries(folder: Path) -> None:
    # torchaudio falls back to its PyTorch code when a library is missing, but not when it fails to load.
    for library in folder.glob("*.so"):
        library.unlink()


def declare_operators(extension: Path) -> None:
    # torchvision registers fakes of these two while it is imported, whether or not they are there.
    text = extension.read_text("utf-8")
    if MARK not in text:
        extension.write_text(text + SCHEMAS, "utf-8")
