"""Cells: the pixels that one pixel of the next level stands for, and what becomes of them.

Along an axis all cells have the length of the factor, but for the last one, which has the pixels
that are left. They are visited in tiles: boxes of cells that are all of one size, and that fit into
a processor's cache. So a reducer never sees a partial cell, and needs little memory for blocks of
any size.

The reducers below take a tile and the length of a cell along each axis. They know integers and
floats, in native byte order; a boolean is an integer that is 0 or 1.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Boundary = Literal["pad", "trim"]

#: Bytes of a tile. It and what is made of it should stay in a cache of a megabyte or two, without
#: memory that is handed back, and faulted in again, for each tile.
TILE_BYTES = 2**20
#: Pixels in a cell up to which all cells of a tile are sorted at a time, by a network.
NETWORK = 64

# ── which cells there are ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Stretch:
    """Cells of one length along an axis.

    Attributes
    ----------
    pixel : int
        The first pixel.
    cell : int
        Pixels in a cell.
    first, count : int
        The first cell, and how many there are.
    """

    pixel: int
    cell: int
    first: int
    count: int

    @property
    def source(self) -> slice:
        """The pixels, in the block."""
        return slice(self.pixel, self.pixel + self.count * self.cell)

    @property
    def target(self) -> slice:
        """The cells, in what the block becomes."""
        return slice(self.first, self.first + self.count)

    def split(self, count: int) -> Iterator[Stretch]:
        """Cut into stretches of so many cells."""
        for skipped in range(0, self.count, count):
            yield Stretch(
                self.pixel + skipped * self.cell,
                self.cell,
                self.first + skipped,
                min(count, self.count - skipped),
            )


def reduced_shape(
    shape: Sequence[int], factors: Sequence[int], boundary: Boundary
) -> tuple[int, ...]:
    """Give the shape of a reduced block: sizes are rounded up, or down for "trim".

    Examples
    --------
    >>> reduced_shape((5, 6), (2, 4), "pad"), reduced_shape((5, 6), (2, 4), "trim")
    ((3, 2), (2, 1))
    """
    return tuple(
        -(-n // f) if boundary == "pad" else n // f for n, f in zip(shape, factors, strict=True)
    )


def tiles(
    shape: Sequence[int], factors: Sequence[int], itemsize: int
) -> Iterator[tuple[Stretch, ...]]:
    """Visit each cell of a block once.

    Parameters
    ----------
    shape : sequence of int
        The block's pixels along each axis.
    factors : sequence of int
        The length of a whole cell along each axis.
    itemsize : int
        Bytes of a pixel, in what is made of a tile.

    Yields
    ------
    tuple of Stretch
        One for each axis. As many cells as a tile can hold, and no fewer than one.

    Examples
    --------
    >>> [(tile[0].source, tile[0].target) for tile in tiles((5,), (2,), 1)]
    [(slice(0, 4, None), slice(0, 2, None)), (slice(4, 5, None), slice(2, 3, None))]
    """
    # The whole cells, and for each set of axes those that are partial along these.
    for corner in itertools.product(*map(_stretches, shape, factors)):
        size = itemsize * math.prod(part.cell for part in corner)
        parts: list[list[Stretch]] = []
        # Rows are cut last, where pixels lie side by side.
        for part in reversed(corner):
            count = min(part.count, max(1, TILE_BYTES // size))
            size *= count
            parts.insert(0, list(part.split(count)))
        yield from itertools.product(*parts)


def _stretches(size: int, factor: int) -> list[Stretch]:
    whole, rest = divmod(size, factor)
    stretches = [Stretch(0, factor, 0, whole)] if whole else []
    if rest:
        stretches.append(Stretch(whole * factor, rest, whole, 1))
    return stretches


# ── how the pixels of cells are brought together ─────────────────────────────────────────────────


def _fold(
    block: Array, cell: Sequence[int], combine: np.ufunc, dtype: np.dtype[Any] | None = None
) -> Array:
    """Combine the pixels of each cell, one axis after the other, which is the least work."""
    for axis, length in enumerate(cell):
        if length == 1:
            continue
        along = (slice(None),) * axis
        views = [block[*along, slice(offset, None, length)] for offset in range(length)]
        total = combine(views[0], views[1], dtype=dtype)
        for view in views[2:]:
            combine(total, view, out=total)
        block = total
    return block


def _halves(block: Array) -> tuple[Array, Array]:
    """Give every other pixel along the last axis, and the others; maybe in a wider dtype.

    Two small integers side by side are the halves of one that is twice as wide. To take it apart is
    several times as fast as to pick every other one.
    """
    size = block.dtype.itemsize
    if block.dtype.kind in "iu" and size <= 4 and block.strides[-1] == size:  # noqa: PLR2004
        pairs = block.view(f"{block.dtype.kind}{2 * size}")
        one = pairs << 8 * size
        one >>= 8 * size
        return one, pairs >> 8 * size
    return block[..., ::2], block[..., 1::2]


def _samples(block: Array, cell: Sequence[int]) -> Iterator[Array]:
    """Yield, for each position within a cell, the pixels that lie there; in no certain order."""
    if block.dtype.itemsize <= 2 and cell[-1] % 2 == 0:  # noqa: PLR2004
        for half in _halves(block):
            narrow = half.astype(block.dtype, copy=False)
            yield from _samples(narrow, (*cell[:-1], cell[-1] // 2))
        return
    for offset in itertools.product(*map(range, cell)):
        pixels = block[tuple(slice(o, None, n) for o, n in zip(offset, cell, strict=True))]
        yield np.ascontiguousarray(pixels)


def _rows(block: Array, cell: Sequence[int]) -> Array:
    """Give the pixels of each cell side by side, along one more axis."""
    counts = [size // length for size, length in zip(block.shape, cell, strict=True)]
    split = block.reshape([n for pair in zip(counts, cell, strict=True) for n in pair])
    inner = range(1, split.ndim, 2)
    return split.transpose(*range(0, split.ndim, 2), *inner).reshape(*counts, -1)


# ── one pixel of a cell ──────────────────────────────────────────────────────────────────────────


def first(block: Array, cell: Sequence[int]) -> Array:
    """Take the first pixel along each axis."""
    return block[tuple(slice(None, None, length) for length in cell)]


def least(block: Array, cell: Sequence[int]) -> Array:
    """Take the minimum of what is not NaN."""
    return _extreme(block, cell, np.minimum, np.fmin)


def greatest(block: Array, cell: Sequence[int]) -> Array:
    """Take the maximum of what is not NaN."""
    return _extreme(block, cell, np.maximum, np.fmax)


def _extreme(block: Array, cell: Sequence[int], plain: np.ufunc, present: np.ufunc) -> Array:
    if block.dtype.kind != "f":
        return _fold(block, cell, plain)
    # No negative zero: which of the two zeros is taken would depend on where the cell lies.
    return _positive_zero(_fold(block, cell, present))


def _positive_zero(values: Array) -> Array:
    values += values.dtype.type(0)
    return values


# ── the mean ─────────────────────────────────────────────────────────────────────────────────────


def mean(block: Array, cell: Sequence[int]) -> Array:
    """Average what is not NaN; integers are rounded to the nearest, halves to even."""
    count = math.prod(cell)
    if block.dtype.kind == "f":
        return _float_mean(block, cell, count)
    bits = 8 * block.dtype.itemsize + (count - 1).bit_length()
    if bits >= 64:  # noqa: PLR2004
        return _wide_mean(block, cell, count)
    # One bit more, for the half that is added to round.
    total = _sum(block, cell, _holding(block.dtype.kind, bits + 1))
    if count & (count - 1):
        quotient = total // count
        total -= quotient * count
        quotient += _rounds_up(quotient, total, count)
        return quotient.astype(block.dtype)
    # floor((sum + count/2 - 1 + parity) / count): halves go to even, for negative sums too.
    shift = count.bit_length() - 1
    parity = total >> shift
    parity &= 1
    total += parity
    total += count // 2 - 1
    total >>= shift
    return total.astype(block.dtype)


def _holding(kind: str, bits: int) -> np.dtype[Any]:
    """Give the narrowest integer of two bytes or more that holds so many bits."""
    return np.dtype(f"{kind}{2 if bits <= 16 else 4 if bits <= 32 else 8}")  # noqa: PLR2004


def _sum(block: Array, cell: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Sum the pixels of each cell in a dtype that holds the sum."""
    while cell[-1] % 2 == 0 and block.dtype.itemsize < dtype.itemsize:
        one, other = _halves(block)
        block = np.add(one, other, dtype=dtype if one.dtype == block.dtype else one.dtype)
        cell = (*cell[:-1], cell[-1] // 2)
    return _fold(block, cell, np.add, dtype).astype(dtype, copy=False)


def _rounds_up(quotient: Array, rest: Array, count: int) -> Array:
    """Say where a quotient with a rest is rounded up: beyond one half, and at it if odd."""
    half = count // 2
    result: Array = rest > half
    if count % 2 == 0:
        result |= (rest == half) & (quotient & 1 == 1)
    return result


def _wide_mean(block: Array, cell: Sequence[int], count: int) -> Array:
    """Average 64-bit integers, whose sum no integer holds, to the last bit."""
    quotients = block // count
    whole = _fold(quotients, cell, np.add)
    np.subtract(block, quotients * count, out=quotients)
    rest = _fold(quotients, cell, np.add)
    more = rest // count
    whole += more
    whole += _rounds_up(whole, rest - more * count, count)
    return whole


def _float_mean(block: Array, cell: Sequence[int], count: int) -> Array:
    # Sums of narrower floats are exact, or nearly so, in double precision.
    wide = block.astype(np.float64, copy=False)
    average = _fold(wide, cell, np.add)
    average /= count
    if np.isfinite(average).all():
        return average.astype(block.dtype, copy=False)
    missing = np.isnan(block)
    present = count - _sum(missing.view(np.uint8), cell, np.dtype(np.uint64))
    filled = np.where(missing, 0.0, wide)
    average = _fold(filled, cell, np.add) / present
    # Where only the sum is beyond the largest float, sum the shares instead.
    if np.isinf(average).any():
        shares = _fold(filled / count, cell, np.add) * (count / present)
        average = np.where(np.isinf(average), shares, average)
    return average.astype(block.dtype, copy=False)


# ── from all pixels of a cell, in order ──────────────────────────────────────────────────────────


def median(block: Array, cell: Sequence[int]) -> Array:
    """Take the middle one of what is not NaN, or the mean of the middle two, rounded as a mean."""
    count = math.prod(cell)
    if count > NETWORK:
        return _median_of_rows(_rows(block, cell))
    samples = list(_samples(block, cell))
    low, high = (count - 1) // 2, count // 2
    ordered = _sort(samples, (low, high))
    result = _halfway(ordered[low], ordered[high])
    if block.dtype.kind == "f" and (missing := np.isnan(result)).any():
        # What is compared with NaN becomes NaN.
        rows = np.stack([each[missing] for each in samples], axis=-1)
        result[missing] = _median_of_rows(rows)
    return result


def mode(block: Array, cell: Sequence[int]) -> Array:
    """Take the most frequent value, of equally frequent ones the smallest."""
    # Only cells that are not uniform are looked at.
    if math.prod(cell) > NETWORK:
        rows = _rows(block, cell)
        mixed = (rows != rows[..., :1]).any(axis=-1)
        result = rows[..., 0].copy()
        if mixed.any():
            result[mixed] = _mode_of_rows(rows[mixed])
        return result
    samples = list(_samples(block, cell))
    mixed = np.zeros(samples[0].shape, dtype=bool)
    for each in samples[1:]:
        mixed |= each != samples[0]
    result = samples[0].copy()
    places = np.flatnonzero(mixed)
    if places.size:
        chosen = [each.take(places) for each in samples]
        if block.dtype.kind == "f":
            modes = _mode_of_rows(np.stack(chosen, axis=-1))
        else:
            modes = _mode_of_sorted(_sort(chosen, range(len(chosen))))
        result.put(places, modes)
    return result


def _median_of_rows(rows: Array) -> Array:
    rows = np.sort(rows, axis=-1)  # NaN comes last
    count = rows.shape[-1]
    if rows.dtype.kind != "f":
        return _halfway(rows[..., (count - 1) // 2], rows[..., count // 2])
    present = np.count_nonzero(~np.isnan(rows), axis=-1, keepdims=True)
    low, high = (
        np.take_along_axis(rows, place, -1)[..., 0]
        for place in (np.maximum(present - 1, 0) // 2, np.minimum(present // 2, count - 1))
    )
    return _halfway(low, high)


def _mode_of_rows(rows: Array) -> Array:
    """Give the value of the first of the longest runs in each row, once it is sorted."""
    count = rows.shape[-1]
    values = np.sort(rows, axis=-1).ravel()
    begins = np.ones(rows.shape, dtype=bool)
    begins[:, 1:] = values.reshape(rows.shape)[:, 1:] != values.reshape(rows.shape)[:, :-1]
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=values.size)
    row = starts // count
    longest = np.maximum.reduceat(lengths, np.searchsorted(row, np.arange(len(rows))))
    chosen = np.flatnonzero(lengths == longest[row])
    _, places = np.unique(row[chosen], return_index=True)
    result: Array = values[starts[chosen[places]]]
    return result


def _mode_of_sorted(ordered: Sequence[Array]) -> Array:
    """Give the value of the first of the longest runs, for each cell of sorted samples."""
    best = ordered[0]
    run = longest = np.ones(best.shape, dtype=np.int32)
    for previous, current in itertools.pairwise(ordered):
        run = np.where(current == previous, run + 1, 1)
        best = np.where(run > longest, current, best)
        longest = np.maximum(run, longest)
    return best


def _halfway(low: Array, high: Array) -> Array:
    """Give the mean of two values, rounded once."""
    if low.dtype.kind == "f":
        one, other = low.astype(np.float64, copy=False), high.astype(np.float64, copy=False)
        middle = (one + other) / 2
        if np.isinf(middle).any():
            middle = np.where(np.isinf(middle), one / 2 + other / 2, middle)
        return _positive_zero(middle.astype(low.dtype, copy=False))
    # The bits that both have, and half of those that only one has: no sum, no overflow.
    odd: Array = low ^ high
    floor: Array = (low & high) + (odd >> 1)
    floor += odd & floor & 1
    return floor


def _sort(samples: Sequence[Array], wanted: Sequence[int]) -> list[Array]:
    """Put the samples of each cell in order, as far as some places of it are wanted."""
    ordered = list(samples)
    for low, high, keeps_low, keeps_high in _network(len(samples), tuple(wanted)):
        one, other = ordered[low], ordered[high]
        if keeps_low:
            ordered[low] = np.minimum(one, other)
        if keeps_high:
            ordered[high] = np.maximum(one, other)
    return ordered


@functools.cache
def _network(count: int, wanted: tuple[int, ...]) -> list[tuple[int, int, bool, bool]]:
    """Give the comparisons of Batcher's merge exchange that lead to the places wanted.

    It is algorithm M of section 5.2.2 in Knuth, "The Art of Computer Programming", volume 3,
    2nd edition. Each comparison is of two places, and says which of them are of use later on.
    """
    pairs = []
    top = step = 1 << (count - 1).bit_length() - 1 if count > 1 else 0
    while step:
        reach, remainder, distance = top, 0, step
        while distance:
            places = (low for low in range(count - distance) if low & step == remainder)
            pairs += [(low, low + distance) for low in places]
            distance, remainder = reach - step, step
            reach >>= 1
        step >>= 1
    needed = set(wanted)
    kept = []
    for low, high in reversed(pairs):
        if needed & {low, high}:
            kept.append((low, high, low in needed, high in needed))
            needed |= {low, high}
    return kept[::-1]
