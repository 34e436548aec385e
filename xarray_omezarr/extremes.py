"""The smallest and the largest value of arrays, and the mean of all, read block by block.

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

from xarray_omezarr import boxes, chunked, pipelines, progress
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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


@dataclass(frozen=True)
class Source:
    """An array whose values are told of."""

    name: str
    """What messages call it."""
    array: zarr.Array[Any]
    axis: int | None
    """Which of its axes is that of the channels; None where there is none."""

    @property
    def channels(self) -> int:
        """How many there are; an array without an axis of them is one."""
        return 1 if self.axis is None else self.array.shape[self.axis]


def of_arrays(sources: Sequence[Source], *, bar: bool) -> list[list[Extremes] | OmeZarrError]:
    """Read arrays, one after the other, and tell of the values of each channel.

    Parameters
    ----------
    sources
        The arrays, open.
    bar
        Whether a bar shows how far it is.

    Returns
    -------
    list
        For each array an `Extremes` for each channel; or what is wrong with it, and no more of it
        is read: a chunk is broken, or its values have no order.
    """
    broken: dict[int, OmeZarrError] = {
        number: OmeZarrError(
            f"{one.name}: values of type {one.array.dtype} have no minimum, maximum and mean."
        )
        for number, one in enumerate(sources)
        if one.array.dtype.kind not in "biuf"
    }
    blocks = [block_of(one.array) for one in sources]
    sizes = [one.array.dtype.itemsize for one in sources]
    largest = max(math.prod(b) * size for b, size in zip(blocks, sizes, strict=True))
    workers = max(1, min(boxes.processors(), _HELD // max(largest * _COPIES, 1)))
    total = sum(math.prod(one.array.shape) * n for one, n in zip(sources, sizes, strict=True))
    waiting = _waiting(sources, blocks, broken)
    lock = Lock()
    failed = False

    def work() -> dict[tuple[int, int], Extremes]:
        nonlocal failed
        found: dict[tuple[int, int], Extremes] = {}
        while True:
            with lock:
                number, box = (0, None) if failed else next(waiting, (0, None))
            if box is None:
                return found
            one = sources[number]
            try:
                with chunked.explained(one.name):
                    values = pipelines.read_box(one.array, box)
                first = 0 if one.axis is None else box[one.axis].start
                _add(found, values, one.axis, (number, first))
            except OmeZarrError as error:
                broken.setdefault(number, error)
                continue
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
    whole = [[Extremes() for _ in range(one.channels)] for one in sources]
    for part in parts:
        for (number, channel), found in part.items():
            whole[number][channel].join(found)
    return [broken.get(number, found) for number, found in enumerate(whole)]


def _waiting(
    sources: Sequence[Source],
    blocks: Sequence[tuple[int, ...]],
    broken: Mapping[int, OmeZarrError],
) -> Iterator[tuple[int, Box]]:
    """Give what is to be read, array by array; of one that is found to be broken, no more."""
    for number, (one, block) in enumerate(zip(sources, blocks, strict=True)):
        for box in _boxes(one.array.shape, block):
            if number in broken:
                break
            yield number, box


def _add(
    found: dict[tuple[int, int], Extremes],
    values: NDArray[Any],
    axis: int | None,
    where: tuple[int, int],
) -> None:
    """Add the values of a block, whose first channel is known by the array's number and its own."""
    number, first = where
    if axis is None:
        found.setdefault(where, Extremes()).add(values)
        return
    for channel in range(values.shape[axis]):
        of_one = values[(slice(None),) * axis + (channel,)]
        found.setdefault((number, first + channel), Extremes()).add(of_one)


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
