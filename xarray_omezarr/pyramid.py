"""The pyramid: which levels there are, and in which blocks they are written.

Nothing here reads or writes: a plan is a value, which can be printed and tested.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.reducers import reduced_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xarray_omezarr.reducers import Boundary

    #: The sizes of all chunks along each axis, as dask has them.
    Chunks = tuple[tuple[int, ...], ...]

#: Spatial axes longer than this get a further level by default.
LARGE = 256
#: The size that a chunk has by default.
CHUNK_BYTES = 2**20
#: A block grows to fill more levels on its way while it stays below this.
BLOCK_BYTES = 2**26
#: What is printed for levels that are not made but written as they are.
COPY = "copy"
#: Default chunks are flattened where blocks of whole chunks would be larger than this.
LARGE_BLOCK_BYTES = 2**27
#: A worker that holds more than this earns a warning.
LARGE_BYTES = 2**29


# ── levels ───────────────────────────────────────────────────────────────────────────────────────


def default_factors(
    shape: Sequence[int],
    spacing: Sequence[float | None],
    *,
    count: int | None = None,
    boundary: Boundary = "pad",
) -> list[tuple[int, ...]]:
    """Choose the factors of the levels below the first, relative to it.

    Spatial axes longer than 256 are halved, and of those only the ones whose spacing is less than
    twice the finest's, so that anisotropic stacks become isotropic first.

    Parameters
    ----------
    shape : sequence of int
        The shape of the first level.
    spacing : sequence of float or None
        The pixel size along each axis in one unit; None for axes that are left alone.
    count : int, optional
        How many levels there shall be in all. Once no axis is longer than 256, those longer than
        one pixel are halved on.

    Examples
    --------
    >>> default_factors((60, 1024, 1024), (2.0, 0.5, 0.5))
    [(1, 2, 2), (1, 4, 4)]
    """
    factors = [1] * len(shape)
    levels: list[tuple[int, ...]] = []
    while count is None or len(levels) < count - 1:
        sizes = reduced_shape(shape, factors, boundary)
        spatial = {i: abs(s) * factors[i] for i, s in enumerate(spacing) if s is not None}
        axes = [i for i in spatial if sizes[i] > LARGE]
        if not axes and count is not None:
            axes = [i for i in spatial if sizes[i] > 1]
        if not axes:
            break
        finest = min(spatial[i] for i in axes)
        for i in axes:
            if spatial[i] < 2 * finest:
                factors[i] *= 2
        levels.append(tuple(factors))
    if count is not None and len(levels) < count - 1:
        msg = (
            f"levels={count} is more than the image has room for: after {len(levels) + 1} "
            f"levels every spatial axis is one pixel long. Ask for at most {len(levels) + 1}."
        )
        raise OmeZarrError(msg)
    return levels


def check_factors(
    levels: Sequence[object], dims: Sequence[str], shape: Sequence[int]
) -> list[tuple[int, ...]]:
    """Check factors that were asked for, and put them in the order of the axes."""
    previous = (1,) * len(dims)
    checked = []
    for number, level in enumerate(levels, 1):
        what = f"levels[{number - 1}]={level!r:.80}"
        if not isinstance(level, Mapping):
            msg = f"{what}: expected a factor for each axis, like {{'y': 2, 'x': 2}}."
            raise OmeZarrError(msg)
        unknown = [dim for dim in level if dim not in dims]
        if unknown:
            msg = f"{what}: {unknown} is none of the dimensions {tuple(dims)}."
            raise OmeZarrError(msg)
        factors = tuple(level.get(dim, 1) for dim in dims)
        for dim, factor, before, size in zip(dims, factors, previous, shape, strict=True):
            if not isinstance(factor, (int, np.integer)) or factor is True or factor < 1:
                msg = f"{what}: the factor of '{dim}' is {factor!r}; expected a whole number ≥ 1."
                raise OmeZarrError(msg)
            if factor % before:
                msg = (
                    f"{what}: the factor of '{dim}' is {factor}, no multiple of the level before, "
                    f"{before}. Factors are relative to level 0, and a level is reduced from the "
                    "one before it."
                )
                raise OmeZarrError(msg)
            if factor > size:
                msg = f"{what}: '{dim}' has {size} pixels and cannot be reduced {factor} times."
                raise OmeZarrError(msg)
        if factors == previous:
            msg = f"{what} is no coarser than the level before; expected a factor that grows."
            raise OmeZarrError(msg)
        previous = tuple(map(int, factors))
        checked.append(previous)
    return checked


def default_chunks(
    shape: Sequence[int],
    itemsize: int,
    spatial: Sequence[bool],
    source: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Choose chunks near 1 MiB: 1 along time and channel, powers of two along space.

    Parameters
    ----------
    shape : sequence of int
        The shape of the first level.
    itemsize : int
        The bytes of a pixel.
    spatial : sequence of bool
        Which axes are axes of space.
    source : sequence of int, optional
        The chunks that the pixels come in. Chunks then divide these, or consist of them, and are
        flatter where whole chunks of both would make a block that is too large for memory.

    Examples
    --------
    >>> default_chunks((5, 3, 100, 2048, 2048), 2, (False, False, True, True, True))
    (1, 1, 64, 64, 128)
    >>> default_chunks((500, 4096, 4096), 2, (True, True, True), source=(1, 4096, 4096))
    (4, 256, 512)
    """
    limits = [n if s else 1 for n, s in zip(shape, spatial, strict=True)]
    while True:
        chunks = [1] * len(shape)
        while math.prod(chunks) * itemsize < CHUNK_BYTES:
            axes = [i for i, limit in enumerate(limits) if chunks[i] < limit]
            if not axes:
                break
            # The shortest first; of equal ones the last, along which memory is contiguous.
            shortest = min(reversed(axes), key=lambda i: chunks[i])
            chunks[shortest] = min(chunks[shortest] * 2, limits[shortest])
        if source is None:
            return tuple(chunks)
        chunks = [_aligned(c, s, n) for c, s, n in zip(chunks, source, shape, strict=True)]
        box = _common(chunks, source, shape)
        flatter = max(range(len(shape)), key=lambda i: box[i] / source[i])
        if math.prod(box) * itemsize <= LARGE_BLOCK_BYTES or chunks[flatter] <= source[flatter]:
            return tuple(chunks)
        limits[flatter] = chunks[flatter] // 2


def _aligned(chunk: int, source: int, size: int) -> int:
    """Give a chunk of about the same size that divides a source's chunk, or consists of such."""
    if chunk >= size or chunk % source == 0 or source % chunk == 0:
        return chunk
    near = [d for d in range(-(-chunk // 2), 2 * chunk + 1) if source % d == 0 or d % source == 0]
    return min(near, key=lambda d: abs(math.log(d / chunk)), default=chunk)


def layout(
    shapes: Sequence[Sequence[int]],
    factors: Sequence[Sequence[int]],
    chunks: Sequence[int],
    shards: Sequence[int] | None,
) -> tuple[LevelPlan, ...]:
    """Lay out each level with the same chunks and shards, as far as it has room for them."""
    levels = []
    for shape, factor in zip(shapes, factors, strict=True):
        chunk = tuple(max(min(c, n), 1) for c, n in zip(chunks, shape, strict=True))
        shard = None
        if shards is not None:
            # A shard consists of whole chunks, and need not be larger than its level.
            shard = tuple(
                min(s, -(-n // c) * c) if c == full else c
                for s, n, c, full in zip(shards, shape, chunk, chunks, strict=True)
            )
        levels.append(LevelPlan(tuple(shape), tuple(factor), chunk, shard))
    return tuple(levels)


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class LevelPlan:
    """How one level is laid out."""

    shape: tuple[int, ...]
    factors: tuple[int, ...]
    """Relative to the first level."""
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None

    @property
    def unit(self) -> tuple[int, ...]:
        """What is written at once: one object of the store."""
        return self.shards or self.chunks


@dataclass(frozen=True)
class Pass:
    """One way over a source, block by block, that fills one level or several."""

    source: int | None
    """The level that is read; None for the image itself."""
    levels: tuple[int, ...]
    """The levels that each block fills, the first of them at the source's resolution or below."""
    block: tuple[int, ...]
    """The shape of a block, in pixels of the source."""
    shape: tuple[int, ...]
    """The shape of the source."""
    held: tuple[int, ...]
    """The shape of the whole chunks of the source that one block touches."""

    def boxes(self) -> Iterator[tuple[tuple[int, int], ...]]:
        """Yield each block as a start and a stop along each axis of the source."""
        yield from itertools.product(
            *(
                [(start, min(start + b, n)) for start in range(0, n, b)]
                for b, n in zip(self.block, self.shape, strict=True)
            )
        )

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return math.prod(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))


@dataclass(frozen=True)
class Plan:
    """What is written, in which blocks, and what memory that takes: all known before it starts."""

    dims: tuple[str, ...]
    dtype: np.dtype[Any]
    levels: tuple[LevelPlan, ...]
    passes: tuple[Pass, ...]
    method: str
    boundary: Boundary

    @property
    def tasks(self) -> int:
        """How many blocks are written in all."""
        return sum(step.blocks for step in self.passes)

    @property
    def block_bytes(self) -> int:
        """The bytes of the pixels that one worker holds at the most.

        The chunks of the source that a block touches, the block put together from them, and what
        it takes to reduce and to compress it.
        """
        largest = max(
            math.prod(step.held) + math.prod(step.block) * (2 if len(step.levels) == 1 else 3)
            for step in self.passes
        )
        return largest * self.dtype.itemsize

    def __str__(self) -> str:
        """Print the plan as a table."""
        header = ("level", *self.dims, "chunks", "shards", "bytes")
        rows = [
            (
                str(i),
                *map(str, level.shape),
                "×".join(map(str, level.chunks)),
                "×".join(map(str, level.shards)) if level.shards else "-",
                readable(math.prod(level.shape) * self.dtype.itemsize),
            )
            for i, level in enumerate(self.levels)
        ]
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True))
            for row in (header, *rows)
        ]
        for step in self.passes:
            source = "the image" if step.source is None else f"level {step.source}"
            block = "×".join(map(str, step.block))
            lines.append(
                f"{step.blocks} blocks of {block} from {source} "
                f"fill level {', '.join(map(str, step.levels))}"
            )
        lines.append(f"{self.tasks} tasks, {readable(self.block_bytes)} in flight per worker")
        return "\n".join(lines)


def readable(count: float) -> str:
    """Write a number of bytes for people.

    Examples
    --------
    >>> readable(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024:  # noqa: PLR2004
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} PiB"


def plan_pyramid(
    dims: Sequence[str],
    dtype: np.dtype[Any],
    levels: Sequence[LevelPlan],
    *,
    method: str,
    boundary: Boundary,
    source_chunks: Chunks | None = None,
) -> Plan:
    """Plan the blocks of a pyramid, each level of which is reduced from the one above.

    A block is a box of whole shards (else chunks) of every level that it fills, so that no two
    blocks write to one object; and of whole chunks of the source, where these are of one size and
    that does not make it too large. It fills as many levels as fit into `BLOCK_BYTES`; the rest is
    reduced from the last level written, in a further pass over that much smaller level.
    """
    passes: list[Pass] = []
    done = 0
    while done < len(levels):
        source = None if done == 0 else done - 1
        finest = levels[0 if source is None else source]
        box = _whole(levels[done].unit, finest, levels[done])
        chunks = source_chunks if source is None else None
        box = _with_source(box, chunks, finest.shape, dtype.itemsize)
        filled = [done]
        for number in range(done + 1, len(levels)):
            larger = _common(box, _whole(levels[number].unit, finest, levels[number]), finest.shape)
            if math.prod(larger) * dtype.itemsize > BLOCK_BYTES and larger != box:
                break
            box = larger
            filled.append(number)
        box = _grown(box, finest.shape, dtype.itemsize)
        held = _held(box, chunks, finest.shape)
        passes.append(Pass(source, tuple(filled), box, finest.shape, held))
        done = filled[-1] + 1
    return Plan(tuple(dims), dtype, tuple(levels), tuple(passes), method, boundary)


def plan_copies(
    dims: Sequence[str],
    dtype: np.dtype[Any],
    levels: Sequence[LevelPlan],
    source_chunks: Sequence[Chunks | None],
) -> Plan:
    """Plan levels that are all there already: each is written as it is."""
    passes = []
    for number, (level, chunks) in enumerate(zip(levels, source_chunks, strict=True)):
        box = _with_source(_whole(level.unit, level, level), chunks, level.shape, dtype.itemsize)
        box = _grown(box, level.shape, dtype.itemsize)
        passes.append(Pass(None, (number,), box, level.shape, _held(box, chunks, level.shape)))
    return Plan(tuple(dims), dtype, tuple(levels), tuple(passes), COPY, "pad")


def chunk_sizes(chunks: Chunks) -> tuple[int, ...]:
    """Give the size that most chunks have along each axis; those at the ends may be smaller."""
    return tuple(sizes[1] if len(sizes) > 2 else max(sizes) for sizes in chunks)  # noqa: PLR2004


def _with_source(
    box: tuple[int, ...], chunks: Chunks | None, shape: Sequence[int], itemsize: int
) -> tuple[int, ...]:
    """Make a box one of whole chunks of the source as well, unless that is too large to hold."""
    if chunks is None:
        return box
    # Where the first chunk is another one, as in a crop, no box begins where chunks do.
    sizes = [size[0] if len(set(size[:-1])) <= 1 and size[-1] <= size[0] else 1 for size in chunks]
    whole = _common(box, sizes, shape)
    smallest = math.prod(map(max, box, sizes))
    return whole if math.prod(whole) * itemsize <= max(LARGE_BYTES, smallest * itemsize) else box


def _grown(box: Sequence[int], shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Make small blocks larger along the last axes, so that a task is worth its while."""
    grown = list(box)
    for axis in reversed(range(len(shape))):
        while grown[axis] < shape[axis] and math.prod(grown) * itemsize * 2 <= BLOCK_BYTES // 4:
            grown[axis] = min(grown[axis] * 2, shape[axis])
    return tuple(grown)


def _held(box: Sequence[int], chunks: Chunks | None, shape: Sequence[int]) -> tuple[int, ...]:
    """Give the largest box of whole chunks of the source that a block touches."""
    if chunks is None:
        return tuple(box)
    held = []
    for b, sizes, n in zip(box, chunks, shape, strict=True):
        ends = np.cumsum(sizes)
        starts = np.arange(0, n, b)
        first = np.searchsorted(ends, starts, side="right")
        last = np.searchsorted(ends, np.minimum(starts + b, n), side="left")
        held.append(int((ends[last] - (ends - sizes)[first]).max()))
    return tuple(held)


def _whole(unit: Sequence[int], source: LevelPlan, target: LevelPlan) -> tuple[int, ...]:
    """Give the box of the source that one object of the target stands for."""
    return tuple(
        min(u * (ft // fs), n) if u < nt else n
        for u, fs, ft, n, nt in zip(
            unit, source.factors, target.factors, source.shape, target.shape, strict=True
        )
    )


def _common(one: Sequence[int], other: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Give the smallest box that is made of whole boxes of either kind, or the whole axis."""
    return tuple(
        n if a >= n or b >= n else min(math.lcm(a, b), n)
        for a, b, n in zip(one, other, shape, strict=True)
    )
