"""Smoothing: reducers whose pixels look beyond their own cell.

An image is smoothed by a Gaussian, and read off between the pixels at the centre of each cell. Both
are one weighted sum along each axis, of which only the samples that are needed are computed.

Along an axis the sum is the value at the centre plus the weighted differences of the pairs of
pixels to both sides from it. So a constant stays what it is, and a ramp is read off at the centre,
without an error from rounding the weights; and as each sample is the same few operations, it does
not depend on what else is computed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xarray_omezarr.cells import Stretch

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Kernel:
    """A Gaussian, and how an image goes on beyond its ends.

    Attributes
    ----------
    sigma : callable
        Its standard deviation in pixels, for a factor.
    repeats : bool
        Whether a mirror image begins with the pixel at the end once more (`d c b a | a b c d`), or
        with the one beside it (`d c b | a b c d`).
    """

    sigma: Callable[[int], float]
    repeats: bool

    def radius(self, factor: int) -> int:
        """Give the pixels to each side of a pixel that its smoothed value depends on."""
        return int(4 * self.sigma(factor) + 0.5) if factor > 1 else 0

    def halo(self, factor: int) -> int:
        """Give the whole cells beyond a cell that its value depends on."""
        # The centre of a partial cell may be its first pixel.
        return -(-self.radius(factor) // factor)


#: Burt and Adelson's pyramid as scikit-image has it: `skimage.transform.pyramid_reduce`.
GAUSSIAN = Kernel(lambda factor: factor / 3, repeats=True)
#: Linear interpolation after anti-aliasing: `skimage.transform.resize`, of order 1.
LINEAR = Kernel(lambda factor: (factor - 1) / 2, repeats=False)


@dataclass(frozen=True)
class Comb:
    """The samples to take along an axis: where the first one begins, and the step to the next."""

    weights: tuple[float, ...]
    start: int
    step: int
    count: int


def centres(kernel: Kernel, factor: int, cells: Stretch) -> Comb:
    """Sample the smoothed image at the centre of each cell."""
    weights = _weights(kernel, factor, 1 + (cells.cell + 1) % 2)
    start = cells.pixel + (cells.cell - 1) // 2 - kernel.radius(factor)
    return Comb(weights, start, cells.cell, cells.count)


def pixels(kernel: Kernel, factor: int, cells: Stretch) -> Comb:
    """Sample the smoothed image at each pixel."""
    start = cells.pixel - kernel.radius(factor)
    return Comb(_weights(kernel, factor, 1), start, 1, cells.cell * cells.count)


@functools.lru_cache(maxsize=64)
def _weights(kernel: Kernel, factor: int, between: int) -> tuple[float, ...]:
    radius = kernel.radius(factor)
    if not radius:
        weights = np.ones(1)
    else:
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / kernel.sigma(factor)) ** 2)
        weights /= weights.sum()
    # A centre between two pixels is the mean of the two.
    return tuple(np.convolve(weights, np.full(between, 1 / between)).tolist())


def sample(block: Array, combs: Sequence[Comb], kernel: Kernel) -> Array:
    """Smooth a block and take samples, in double precision.

    Parameters
    ----------
    block : numpy.ndarray
        All that the samples depend on; what they reach beyond its ends is mirrored.
    combs : sequence of Comb
        One for each axis.
    kernel : Kernel

    Returns
    -------
    numpy.ndarray
        float64. Missing pixels (NaN) are left out, and the weights of the others are scaled up
        ("normalised convolution"); where all are missing, so is the sample.
    """
    lines = []
    for axis, comb in enumerate(combs):
        reach = (comb.count - 1) * comb.step + len(comb.weights)
        places = _mirrored(comb.start, reach, block.shape[axis], repeats=kernel.repeats)
        low = int(places.min())
        # First only what is needed, later what is mirrored: there is less of it then.
        block = block[_along(axis, block.ndim, slice(low, int(places.max()) + 1))]
        lines.append(places - low)
    wide = block.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        result = _apply(wide, combs, lines, _around_centre)
        if block.dtype.kind != "f" or np.isfinite(result).all():
            return result
        # Halves, so that no sum is beyond the largest float.
        missing = np.isnan(wide)
        total = _apply(np.where(missing, 0, wide / 2), combs, lines, _term_by_term)
        total /= _apply(np.where(missing, 0.0, 1.0), combs, lines, _term_by_term)
        largest = np.finfo(np.float64).max / 2
        total = np.where(np.isinf(total), total, 2 * np.clip(total, -largest, largest))
        return np.where(np.isfinite(result), result, total)


def _mirrored(start: int, size: int, length: int, *, repeats: bool) -> Array:
    """Say which pixels there are from a place on, beyond an axis' ends too."""
    places = np.arange(start, start + size)
    if start >= 0 and start + size <= length:
        return places
    if length == 1:
        return np.zeros_like(places)
    last = length - 1
    period = 2 * length if repeats else 2 * last
    places %= period
    return np.where(places > last, period - places - int(repeats), places)


def _along(axis: int, ndim: int, place: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, place, *(slice(None),) * (ndim - axis - 1))


Term: TypeAlias = "Callable[[list[Array], Sequence[float]], Array]"


def _apply(block: Array, combs: Sequence[Comb], lines: Sequence[Array], combine: Term) -> Array:
    """Reduce one axis after the other; the first one first, where pixels lie side by side."""
    for axis, (comb, places) in enumerate(zip(combs, lines, strict=True)):
        if len(comb.weights) == 1:
            continue
        size = block.shape[axis]
        if len(places) != size or places[0] != 0 or places[-1] != size - 1:
            block = block.take(places, axis)
        views = []
        for offset in range(len(comb.weights)):
            stop = offset + (comb.count - 1) * comb.step + 1
            views.append(block[_along(axis, block.ndim, slice(offset, stop, comb.step))])
        block = combine(views, comb.weights)
    return block


def _around_centre(pixels: list[Array], weights: Sequence[float]) -> Array:
    low, high = (len(pixels) - 1) // 2, len(pixels) // 2
    centre = pixels[low] + pixels[high]
    total = centre / 2
    pair = np.empty_like(centre)
    while low:
        low, high = low - 1, high + 1
        np.add(pixels[low], pixels[high], out=pair)
        pair -= centre
        pair *= weights[low]
        total += pair
    return total


def _term_by_term(pixels: list[Array], weights: Sequence[float]) -> Array:
    total = np.zeros(pixels[0].shape)
    for values, weight in zip(pixels, weights, strict=True):
        total += values * weight
    return total
