"""How far the pixels of a coarser level are from where they are said to be, by the pixels alone."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Pixels = np.ndarray[Any, Any]
    Floats = np.ndarray[Any, np.dtype[np.float64]]

#: So many steps does the search take at the most.
_STEPS: Final = 12
#: An answer that is less certain than this, in pixels, is none.
_CERTAIN: Final = 0.05
#: So many positions are tried one by one.
_TRIED: Final = 1500


def displacement(
    fine: Pixels,
    coarse: Pixels,
    factors: Sequence[float],
    origins: Sequence[float],
    *,
    labels: bool = False,
) -> Floats | None:
    """Find out how far the pixels of a level are off.

    Parameters
    ----------
    fine
        Pixels of the finer level.
    coarse
        Pixels of the coarser one.
    factors
        Of each axis: how many pixels of the finer level make one of the coarser level.
    origins
        Of each axis: where the first pixel of `coarse` is said to be, as an index of `fine`.
    labels
        Whether pixels are labels, of which there are no means.

    Returns
    -------
    array or None
        Of each axis, by how many pixels of the finer level the true position is larger than what
        is said. None where the pixels do not tell.

    Notes
    -----
    A level that has the very pixels of the one above is found by trying. Else each pixel is taken
    for the mean over its area, and the shift that fits best is found by Gauss-Newton steps
    [1]_, with its standard error.

    References
    ----------
    .. [1] B. D. Lucas and T. Kanade, "An Iterative Image Registration Technique with an
       Application to Stereo Vision", IJCAI 1981.

    Examples
    --------
    >>> fine = np.random.default_rng(0).random((40, 40))
    >>> coarse = fine.reshape(20, 2, 20, 2).mean((1, 3))
    >>> displacement(fine, coarse, (2, 2), (0.5, 0.5)).round(3) + 0.0
    array([0., 0.])
    >>> displacement(fine, coarse, (2, 2), (0, 0)).round(3)
    array([0.5, 0.5])
    """
    if coarse.size == 0 or fine.size == 0 or fine.ndim != coarse.ndim:
        return None
    if fine.dtype.kind not in "biuf" or coarse.dtype.kind not in "biuf":
        return None
    taken = _taken(fine, coarse, factors, origins)
    if taken is not None or labels:
        return taken
    return _fitted(fine, coarse, factors, origins)


def _taken(
    fine: Pixels, coarse: Pixels, factors: Sequence[float], origins: Sequence[float]
) -> Floats | None:
    """Find the shift by which pixels were taken as they are; None where they were not."""
    if (coarse == coarse.reshape(-1)[0]).all() or not all(float(f).is_integer() for f in factors):
        return None
    steps = [int(factor) for factor in factors]
    tried = [
        list(range(math.floor(o) - step, math.ceil(o) + step + 1))
        for o, step in zip(origins, steps, strict=True)
    ]
    if math.prod(map(len, tried)) > _TRIED or min(steps) < 1:
        return None
    fitting: list[Floats] = []
    for offsets in itertools.product(*tried):
        ours, theirs = [], []
        for at, step, n, size in zip(offsets, steps, coarse.shape, fine.shape, strict=True):
            first = max(0, -(-(0 - at) // step))
            last = min(n, -(-(size - at) // step))
            ours.append(slice(first, max(first, last)))
            theirs.append(slice(at + first * step, at + max(first, last) * step, step))
        part = coarse[tuple(ours)]
        if 2 * part.size < coarse.size:
            continue
        found = fine[tuple(theirs)][tuple(slice(n) for n in part.shape)]
        if found.shape == part.shape and np.array_equal(found, part):
            fitting.append(np.subtract(offsets, origins).astype("float64"))
    if not fitting:
        return None
    # Where pixels on both sides of the place are the same, nothing speaks against the place itself.
    around = (np.min(fitting, axis=0) <= 0) & (np.max(fitting, axis=0) >= 0)
    nearest: Floats = min(fitting, key=lambda shift: float(np.abs(shift).sum()))
    return np.where(around, 0.0, nearest)


def _fitted(
    fine: Pixels, coarse: Pixels, factors: Sequence[float], origins: Sequence[float]
) -> Floats | None:
    """Find the shift that fits best where each pixel is a mean; None where that is uncertain."""
    image, target = fine.astype("float64"), coarse.astype("float64")
    if not (np.isfinite(image).all() and np.isfinite(target).all()):
        return None
    # Pixels whose area stays within the sample however they are shifted.
    inner = []
    for factor, origin, n, size in zip(factors, origins, target.shape, image.shape, strict=True):
        reach = 1.5 * factor
        first = max(0, math.ceil((reach - origin) / factor))
        last = min(n, math.floor((size - 1 - reach - origin) / factor) + 1)
        if last - first < 4:  # noqa: PLR2004 - too few to tell
            return None
        inner.append(slice(first, last))
    target = target[tuple(inner)]
    shift = np.zeros(len(factors))
    for _ in range(_STEPS):
        found = _step(image, target, factors, origins, inner, shift)
        if found is None:
            return None
        change, errors = found
        shift = shift + change
        if (np.abs(shift) > np.asarray(factors)).any():
            return None
        if np.abs(change).max() < 1e-3:  # noqa: PLR2004 - a thousandth of a pixel
            return shift if errors.max() < _CERTAIN else None
    return None


def _step(  # noqa: PLR0917 - what one step of the search needs
    image: Floats,
    target: Floats,
    factors: Sequence[float],
    origins: Sequence[float],
    inner: Sequence[slice],
    shift: Floats,
) -> tuple[Floats, Floats] | None:
    """Give by how much a shift is to be changed, and how uncertain that is."""
    means, slopes = [], []
    for factor, origin, part, own, size in zip(
        factors, origins, inner, shift, image.shape, strict=True
    ):
        centers = factor * np.arange(part.start, part.stop) + origin + own
        mean, slope = _weights(centers, factor, size)
        means.append(mean)
        slopes.append(slope)
    values = _apply(image, means)
    gradients = [
        _apply(image, [*means[:axis], slopes[axis], *means[axis + 1 :]]).reshape(-1)
        for axis in range(image.ndim)
    ]
    # A constant beside the gradients takes up what rounding adds.
    design = np.stack([*gradients, np.ones(values.size)], axis=1)
    residual = (target - values).reshape(-1)
    normal = design.T @ design
    if np.linalg.cond(normal) > 1e12:  # noqa: PLR2004 - an axis along which nothing changes
        return None
    inverse = np.linalg.inv(normal)
    solution = inverse @ (design.T @ residual)
    noise = np.square(residual - design @ solution).sum() / max(1, residual.size - len(solution))
    errors = np.sqrt(noise * np.diag(inverse))[:-1]
    return np.clip(solution[:-1], -1, 1), errors


def _weights(centers: Floats, width: float, size: int) -> tuple[Floats, Floats]:
    """Give what each pixel adds to the mean over an interval, and to its slope."""
    edges = np.arange(size + 1) - 0.5

    def mean(at: Floats) -> Floats:
        low, high = (at - width / 2)[:, None], (at + width / 2)[:, None]
        overlap = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
        share: Floats = np.clip(overlap, 0, 1) / width
        return share

    # Where an interval ends between two pixels, the slope differs from side to side: take both.
    return mean(centers), 2 * (mean(centers + 0.25) - mean(centers - 0.25))


def _apply(image: Floats, weights: Sequence[Floats]) -> Floats:
    """Apply a matrix along each axis."""
    values = image
    for axis, matrix in enumerate(weights):
        values = np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
    result: Floats = np.asarray(values)
    return result
