"""A plan as a picture: noise levels over frames (across) and passes (down)."""

from __future__ import annotations

import numpy as np

from .passes import Action, Plan, never, passes_until


def noise_picture(plan: Plan, frames: int, changed=never) -> np.ndarray:
    """(H, W, 3) uint8."""
    passes = list(passes_until(plan, frames, changed))
    columns = 1 + max(q.frame for step in passes for q in step.queries)
    image = np.full((len(passes), columns, 3), 60, np.uint8)
    for row, step in enumerate(passes):
        for q in step.queries:
            committed = q.action in (Action.COMMIT, Action.RECACHE)
            image[row, q.frame] = (90, 200, 120) if committed else int(255 * (1 - q.sigma_next))
    return image.repeat(8, 0).repeat(8, 1)
