"""The smallest and the largest value of an array, and the mean of all, read block by block.

Sums are exact: of integers as Python's, of floating-point numbers as an expansion of what each
block adds up to in float64 (Shewchuk, "Adaptive precision floating-point arithmetic", 1997). So
which thread reads what, and when, does not change the last digit.
"""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import boxes, pipelines, progress
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import zarr
    from numpy.typing import NDArray

    Box = tuple[slice, ...]

#: A block has so many bytes, nearly, unless a single chunk has more.
_BLOCK = 2**23
#: All that is held at a time, blocks and what is made of them.
_HELD = 2**28
#: So many copies of a block there may be while it is worked on.
_COPIES = 4


@dataclass
class Extremes:
    """What is known of the values of a channel, after any number of blocks."""

    minimum: float | None = None
    maximum: float | None = None
    count: int = 0
    missing: int = 0
    """How many are NaN."""
    whole: int = 0
    """The sum of integers."""
    parts: list[float] = field(default_factory=list)
    """The sum of floating-point numbers, as numbers that do not overlap."""

    @property
    def mean(self) -> float | None:
        """The mean of all values; None where there are none."""
        if not self.count:
            return None
        # Python divides integers of any size with a single rounding.
        return math.fsum(self.parts) / self.count if self.parts else self.whole / self.count

    def add(self, values: NDArray[Any]) -> None:
        """Add the values of a block."""
        if values.dtype.kind == "f":
            self._add_floats(values)
        elif values.size:
            low, high, total = int(values.min()), int(values.max()), _sum(values)
            self._merge(low, high, values.size)
            self.whole += total

    def _add_floats(self, values: NDArray[Any]) -> None:
        missing = int(np.count_nonzero(np.isnan(values)))
        self.missing += missing
        if missing:
            values = values[~np.isnan(values)]
        if values.size:
            self._merge(float(values.min()), float(values.max()), values.size)
            # Of both infinities the sum is NaN, as is the mean.
            with np.errstate(invalid="ignore", over="ignore"):
                self._add_part(float(values.sum(dtype=np.float64)))

    def _add_part(self, number: float) -> None:
        """Add a number to the parts, exactly."""
        kept = []
        for part in self.parts:
            larger, smaller = (number, part) if abs(number) > abs(part) else (part, number)
            number = larger + smaller
            rest = smaller - (number - larger)
            # Of infinities there is no rest.
            if rest and math.isfinite(number):
                kept.append(rest)
        self.parts = [*kept, number]

    def join(self, other: Extremes) -> None:
        """Add what is known of other blocks."""
        self.missing += other.missing
        self.whole += other.whole
        if other.minimum is not None and other.maximum is not None:
            self._merge(other.minimum, other.maximum, other.count)
        for part in other.parts:
            self._add_part(part)

    def _merge(self, low: float, high: float, count: int) -> None:
        self.minimum = low if self.minimum is None else min(self.minimum, low)
        self.maximum = high if self.maximum is None else max(self.maximum, high)
        self.count += count


def _sum(values: NDArray[Any]) -> int:
    """Add integers up without an overflow."""
    unsigned = values.dtype.kind in "bu"
    wide: Any = np.uint64 if unsigned else np.int64
    if values.dtype.itemsize < 8:  # noqa: PLR2004
        return int(values.sum(dtype=wide))
    half = values.dtype.type(32)
    high = int((values >> half).sum(dtype=wide))
    low = int((values & values.dtype.type(2**32 - 1)).sum(dtype=np.uint64))
    return (high << 32) + low


def of_array(array: zarr.Array[Any], axis: int | None, *, bar: bool) -> list[Extremes]:
    """Read an array, and tell of the values of each channel.

    Parameters
    ----------
    array
        The array, open.
    axis
        Which of its axes is that of the channels; None where there is none.
    bar
        Whether a bar shows how far it is.

    Returns
    -------
    list of Extremes
        One for each channel; a single one without an axis.

    Raises
    ------
    OmeZarrError
        Where values have no order.
    """
    if array.dtype.kind not in "biuf":
        msg = f"Values of type {array.dtype} have no minimum, maximum and mean."
        raise OmeZarrError(msg)
    block = block_of(array)
    nbytes = math.prod(block) * array.dtype.itemsize
    workers = max(1, min(boxes.processors(), _HELD // max(nbytes * _COPIES, 1)))
    waiting = _boxes(array.shape, block)
    lock = Lock()
    channels = 1 if axis is None else array.shape[axis]
    total = math.prod(array.shape) * array.dtype.itemsize
    failed = False

    def work() -> dict[int, Extremes]:
        nonlocal failed
        found: dict[int, Extremes] = {}
        while True:
            with lock:
                box = None if failed else next(waiting, None)
            if box is None:
                return found
            try:
                values = pipelines.read_box(array, box)
                _add(found, values, axis, 0 if axis is None else box[axis].start)
            except BaseException:
                failed = True
                raise
            with lock:
                advance(values.nbytes)

    with progress.counting(total, "B", bar=bar) as advance, ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(work) for _ in range(workers)]
        try:
            parts = [one.result() for one in running]
        except BaseException:
            # Ctrl-C is one: the threads stop after the block that they are at.
            failed = True
            raise
    whole = [Extremes() for _ in range(channels)]
    for part in parts:
        for number, one in part.items():
            whole[number].join(one)
    return whole


def _add(found: dict[int, Extremes], values: NDArray[Any], axis: int | None, first: int) -> None:
    if axis is None:
        found.setdefault(0, Extremes()).add(values)
        return
    for number in range(values.shape[axis]):
        channel = values[(slice(None),) * axis + (number,)]
        found.setdefault(first + number, Extremes()).add(channel)


def block_of(array: zarr.Array[Any]) -> tuple[int, ...]:
    """Choose what is read at a time: whole chunks, and no more than a shard.

    Parameters
    ----------
    array
        The array.
    """
    block = [min(c, n) if n else 1 for c, n in zip(array.chunks, array.shape, strict=True)]
    limits = array.shards or array.shape
    for axis in reversed(range(len(block))):
        room = _BLOCK // max(math.prod(block) * array.dtype.itemsize, 1)
        chunk, size = array.chunks[axis], min(limits[axis], array.shape[axis])
        if room > 1 and block[axis] < size:
            block[axis] = min(chunk * room, -(-size // chunk) * chunk)
    return tuple(block)


def _boxes(shape: Sequence[int], block: Sequence[int]) -> Iterator[Box]:
    ranges = [
        [slice(start, min(start + step, size)) for start in range(0, size, step)]
        for size, step in zip(shape, block, strict=True)
    ]
    return iter(itertools.product(*ranges))
