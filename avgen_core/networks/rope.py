"""Rotary position embedding over frame, row and column, as in Wan (interleaved pairs, theta 10000).

Wan splits the channel pairs of a head 22 : 21 : 21 of 64 over frame, row and column; official file
`wan/modules/model.py`, `rope_apply`. Keys are cached before rotation here, so positions may be chosen anew at every
read and videos are not limited to the 1024 positions of the official table.
"""

from __future__ import annotations

import torch
from torch import Tensor

THETA = 10000.0


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """Channel pairs that turn with the frame, the row and the column."""
    side = head_dim // 6
    return head_dim // 2 - 2 * side, side, side


def _axis_angles(positions: Tensor, pairs: int) -> Tensor:
    """(N,) positions to (N, pairs) angles in float64."""
    exponents = torch.arange(pairs, dtype=torch.float64, device=positions.device) / pairs
    return positions.double()[:, None] * THETA**-exponents


def rotation(positions: Tensor, rows: int, columns: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines for frames at `positions` (F,), each (F, rows * columns, 1, head_dim / 2), float32.

    They broadcast over the heads of (B, F, tokens, heads, head_dim).
    """
    time, row, column = axis_pairs(head_dim)
    device = positions.device
    frames = _axis_angles(positions, time)[:, None, None].expand(-1, rows, columns, -1)
    down = _axis_angles(torch.arange(rows, device=device), row)[None, :, None].expand(len(positions), -1, columns, -1)
    across = _axis_angles(torch.arange(columns, device=device), column)[None, None].expand(len(positions), rows, -1, -1)
    angles = torch.cat([frames, down, across], dim=-1).flatten(1, 2).unsqueeze(2)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos_sin: tuple[Tensor, Tensor]) -> Tensor:
    """Turn (B, F, tokens, heads, head_dim) by the angles of `rotation`."""
    cos, sin = cos_sin
    pairs = x.float().unflatten(-1, (-1, 2))
    if x.device.type == "cpu":  # ten times as fast with the same bits; not all other devices know complex numbers
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin))
    else:
        even, odd = pairs.unbind(-1)
        turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).type_as(x)
