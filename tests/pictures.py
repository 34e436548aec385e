"""The plainest way to put channels together, which others are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


def by_hand(
    planes: Iterable[NDArray[Any]],
    colors: Iterable[Sequence[int]],
    windows: Iterable[tuple[float, float]],
) -> NDArray[np.uint8]:
    """Put linear channels together, step by step over the whole of them."""
    total: Any = 0
    for plane, color, (start, end) in zip(planes, colors, windows, strict=True):
        inside = np.clip(plane.astype(np.float64), start, end)
        level = np.floor(255 * (inside - start) / (end - start) + 0.5)
        total = total + np.rint(level[..., np.newaxis] * np.array(color) / 255)
    return np.asarray(np.minimum(total, 255), np.uint8)
