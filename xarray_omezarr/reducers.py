"""The reducers: what a cell of pixels becomes on the next level.

Pure functions on NumPy blocks. The result never depends on how an image was cut into blocks,
because blocks start at whole multiples of the factor; and partial cells, at the end of an axis, are
reduced over the pixels that they have.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Boundary = Literal["pad", "trim"]


def downsample(
    block: Array, factors: Sequence[int], method: str = "mean", boundary: Boundary = "pad"
) -> Array:
    """Reduce a block by a whole factor along each axis.

    Parameters
    ----------
    block : numpy.ndarray
        Any number of axes; boolean, integer or floating point.
    factors : sequence of int
        One for each axis; 1 leaves an axis as it is.
    method : {"mean", "nearest", "mode"}
        What a cell of pixels becomes: its mean (integers rounded to the nearest, halves to even;
        NaN counts as missing), its first pixel, or its most frequent value (of equally frequent
        ones the smallest).
    boundary : {"pad", "trim"}
        Whether the partial cells at the end of an axis are reduced over the pixels that they have,
        or dropped.

    Returns
    -------
    numpy.ndarray
        Of the same dtype; sizes are rounded up, or down for "trim".

    Examples
    --------
    >>> downsample(np.array([[0, 1, 2], [1, 2, 3]], dtype=np.uint8), (2, 2)).tolist()
    [[1, 2]]
    >>> downsample(np.array([7, 7, 5, 9, 5]), (3,), "mode").tolist()
    [7, 5]
    """
    reducer = REDUCERS[check_method(method)]
    block = block.astype(block.dtype.newbyteorder("="), copy=False)
    factors = tuple(
        min(f, n) if boundary == "pad" else f for f, n in zip(factors, block.shape, strict=True)
    )
    shape = reduced_shape(block.shape, factors, boundary)
    if boundary == "trim":
        block = block[tuple(slice(0, n * f) for n, f in zip(shape, factors, strict=True))]
    result = np.empty(shape, dtype=block.dtype)
    if not result.size:
        return result
    # The whole cells, and for each set of axes those that are partial along these: all cells of
    # one part are alike, so that a reducer never sees a partial one.
    parts = [_parts(n, f) for n, f in zip(block.shape, factors, strict=True)]
    for corner in itertools.product(*parts):
        source = tuple(slice(*part.source) for part in corner)
        target = tuple(slice(*part.target) for part in corner)
        cell = tuple(part.cell for part in corner)
        result[target] = reducer(block[source], cell)
    return result


@dataclass(frozen=True)
class _Part:
    """A stretch of an axis whose cells are all of one length."""

    source: tuple[int, int]
    target: tuple[int, int]
    cell: int


def _parts(size: int, factor: int) -> list[_Part]:
    whole, rest = divmod(size, factor)
    parts = [_Part((0, whole * factor), (0, whole), factor)] if whole else []
    if rest:
        parts.append(_Part((whole * factor, size), (whole, whole + 1), rest))
    return parts


def _samples(block: Array, cell: Sequence[int]) -> Iterator[Array]:
    """Yield, for each position within a cell, the pixels that lie there."""
    for offset in itertools.product(*(range(n) for n in cell)):
        yield block[tuple(slice(o, None, n) for o, n in zip(offset, cell, strict=True))]


def _nearest(block: Array, cell: Sequence[int]) -> Array:
    return next(_samples(block, cell))


def _mean(block: Array, cell: Sequence[int]) -> Array:
    count = math.prod(cell)
    if count == 1:
        return block
    if block.dtype.kind == "f":
        return _float_mean(block, cell, count)
    if block.dtype.kind == "b":
        # Half of a cell is not yet most of it: halves go to even, which is False.
        most: Array = _sum(block.view(np.uint8), cell, np.dtype(np.uint64)) * 2 > count
        return most
    bits = 8 * block.dtype.itemsize + (count - 1).bit_length()
    if bits > 63:  # noqa: PLR2004
        return _wide_mean(block, cell, count)
    kind = "u" if block.dtype.kind == "u" else "i"
    # One bit more, for the half that is added to round.
    total = _sum(block, cell, np.dtype(f"{kind}{2 if bits < 16 else 4 if bits < 32 else 8}"))  # noqa: PLR2004
    half, shift = total.dtype.type, count.bit_length() - 1
    if count == 1 << shift:
        # floor((sum + count/2 - 1 + parity) / count): halves go to even, for negative sums too.
        parity = (total >> half(shift)) & half(1)
        total += parity
        total += half(count // 2 - 1)
        total >>= half(shift)
    else:
        quotient = total // half(count)
        quotient += _round_up(quotient, total - quotient * half(count), count)
        total = quotient
    narrow: Array = total.astype(block.dtype)
    return narrow


def _sum(block: Array, cell: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Sum the pixels of each cell, one axis after the other, which is the least work."""
    for axis, length in enumerate(cell):
        if length == 1:
            continue
        index: list[slice] = [slice(None)] * block.ndim
        views = []
        for offset in range(length):
            index[axis] = slice(offset, None, length)
            views.append(block[tuple(index)])
        total = np.add(views[0], views[1], dtype=dtype)
        for view in views[2:]:
            np.add(total, view, out=total)
        block = total
    return block.astype(dtype, copy=False)


def _round_up(quotient: Array, rest: Array, count: int) -> Array:
    """Say where a quotient with a rest is rounded up: beyond one half, and at it if odd."""
    twice = rest * rest.dtype.type(2)
    result: Array = (twice > count) | ((twice == count) & (quotient & quotient.dtype.type(1) == 1))
    return result


def _wide_mean(block: Array, cell: Sequence[int], count: int) -> Array:
    """Average 64-bit integers, whose sum no integer holds, to the last bit."""
    divisor = block.dtype.type(count)
    quotients, rests = block // divisor, block % divisor
    whole = _sum(quotients, cell, block.dtype)
    rest = _sum(rests, cell, block.dtype)
    whole += rest // divisor
    whole += _round_up(whole, rest % divisor, count)
    return whole


def _float_mean(block: Array, cell: Sequence[int], count: int) -> Array:
    # Sums of narrower floats are exact, or nearly so, in double precision.
    wide = np.dtype(np.float64)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        total = _sum(block.astype(wide, copy=False), cell, wide)
        mean = total / count
        if np.isfinite(mean).all():
            return mean.astype(block.dtype)
        missing = np.isnan(block)
        present = count - _sum(missing.view(np.uint8), cell, np.dtype(np.uint64))
        filled = np.where(missing, 0.0, block.astype(wide, copy=False))
        mean = _sum(filled, cell, wide) / present
        # Where only the sum is beyond the largest float, sum the shares instead.
        if np.isinf(mean).any():
            shares = _sum(filled / count, cell, wide) * (count / present)
            mean = np.where(np.isinf(mean), shares, mean)
        return mean.astype(block.dtype)


def _mode(block: Array, cell: Sequence[int]) -> Array:
    samples = list(_samples(block, cell))
    result: Array = samples[0].copy()
    mixed = np.zeros(result.shape, dtype=bool)
    for sample in samples[1:]:
        mixed |= sample != samples[0]
    if not mixed.any():
        return result
    # Only cells that are not uniform are looked at. In a sorted cell a value stands in one run;
    # the first of the longest runs is of the smallest such value, for any order of the pixels.
    values = np.sort(np.stack([sample[mixed] for sample in samples]), axis=0)
    run = np.ones(values.shape[1], dtype=np.int64)
    longest, best = run.copy(), values[0].copy()
    for previous, current in itertools.pairwise(values):
        run = np.where(current == previous, run + 1, 1)
        longer = run > longest
        longest[longer] = run[longer]
        best[longer] = current[longer]
    result[mixed] = best
    return result


REDUCERS: Mapping[str, Callable[[Array, Sequence[int]], Array]] = {
    "mean": _mean,
    "nearest": _nearest,
    "mode": _mode,
}

#: Methods whose pixels lie at the centre of the cell that they stand for.
CENTRED = frozenset({"mean", "mode"})


def check_method(method: str) -> str:
    """Give a method's name back, or raise an error that lists the methods there are."""
    if method not in REDUCERS:
        msg = f"method={method!r} is not known; expected one of {', '.join(REDUCERS)}."
        raise OmeZarrError(msg)
    return method


def reduced_shape(
    shape: Sequence[int], factors: Sequence[int], boundary: Boundary
) -> tuple[int, ...]:
    """Give the shape of a reduced block: sizes are rounded up, or down for "trim"."""
    return tuple(
        -(-n // f) if boundary == "pad" else n // f for n, f in zip(shape, factors, strict=True)
    )
