"""Video files by PyAV, and contact sheets. PyAV is imported where a file is touched: training does without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..rollout.files import written_whole


def enlarged(frames: Tensor, smallest_side: int) -> np.ndarray:
    """Frames (n, H, W, 3) in 0..1 to uint8, enlarged by Lanczos until the smaller side is `smallest_side`."""
    pixels = frames.mul(255).round().byte().numpy()
    height, width = pixels.shape[1:3]
    factor = max(1, -(-smallest_side // min(height, width)))
    size = (width * factor, height * factor)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)) for frame in pixels])


def write_video(path: Path, chunks: Iterable[np.ndarray], fps: float) -> int:
    """Write chunks of frames (n, H, W, 3) uint8 as H.264 mp4 as they come; returns the number of frames."""
    import av

    count = 0
    with written_whole(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "17"}
        for chunk in chunks:
            for frame in chunk:
                if count == 0:
                    stream.height, stream.width = frame.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                count += 1
        container.mux(stream.encode())
    return count


def read_video(path: Path) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 of the first video stream; of a picture, its one frame."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def contact_sheet(frames: Tensor, columns: int = 8, tile: int = 128) -> Image.Image:
    """Frames (F, H, W, 3) in 0..1 in reading order, as many as there are."""
    rows = -(-len(frames) // columns)
    sheet = Image.new("RGB", (columns * tile, rows * tile), "black")
    for i, frame in enumerate(torch.as_tensor(frames).mul(255).round().byte().numpy()):
        picture = Image.fromarray(frame).resize((tile, tile), Image.Resampling.LANCZOS)
        sheet.paste(picture, (i % columns * tile, i // columns * tile))
    return sheet
