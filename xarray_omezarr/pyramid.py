"""The pyramid: which levels there are, and in which chunks and shards they are stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.reducers import reduced_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xarray_omezarr.reducers import Boundary

    #: The sizes of all chunks along each axis, as dask has them.
    Chunks = tuple[tuple[int, ...], ...]

#: Spatial axes longer than this get a further level by default.
LARGE = 256
#: The size that a chunk has by default.
CHUNK_BYTES = 2**20
#: Default chunks are flattened where blocks of whole chunks would be larger than this.
LARGE_BLOCK_BYTES = 2**27
#: Levels of more chunks than this are stored in shards by default, where the format has them.
MANY_OBJECTS = 2**16
#: A shard by default holds no more than this.
SHARD_BYTES = 2**26


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
    *,
    size: int = CHUNK_BYTES,
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
    size : int
        The bytes that a chunk shall have instead.

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
        while math.prod(chunks) * itemsize < size:
            axes = [i for i, limit in enumerate(limits) if chunks[i] < limit]
            if not axes:
                break
            # The shortest first; of equal ones the last, along which memory is contiguous.
            shortest = min(reversed(axes), key=lambda i: chunks[i])
            chunks[shortest] = min(chunks[shortest] * 2, limits[shortest])
        if source is None:
            return tuple(chunks)
        chunks = [_aligned(c, s, n) for c, s, n in zip(chunks, source, shape, strict=True)]
        box = common(chunks, source, shape)
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


def default_shards(
    shape: Sequence[int],
    chunks: Sequence[int],
    itemsize: int,
    spatial: Sequence[bool],
    source: Sequence[int] | None = None,
) -> tuple[int, ...] | None:
    """Choose shards for a level that would have too many files; None where it has not.

    They grow along the axes of space, so that an image can grow along the others, up to 64 MiB:
    a shard is written at once, from memory. Where the chunks that the pixels come in are known,
    a box of whole ones of both stays small, too.

    Examples
    --------
    >>> default_shards((512, 512, 512), (64, 64, 128), 2, (True, True, True)) is None
    True
    >>> default_shards((8192, 8192, 8192), (64, 64, 128), 2, (True, True, True))
    (128, 128, 512)
    """
    shards = list(chunks)

    def objects() -> int:
        return math.prod(-(-n // s) for n, s in zip(shape, shards, strict=True))

    def fits(axis: int) -> bool:
        if source is None:
            return True
        grown = [2 * s if i == axis else s for i, s in enumerate(shards)]
        now, then = (math.prod(common(s, source, shape)) for s in (shards, grown))
        return then * itemsize <= LARGE_BLOCK_BYTES or then == now

    while objects() > MANY_OBJECTS and 2 * math.prod(shards) * itemsize <= SHARD_BYTES:
        axes = [i for i, n in enumerate(shape) if spatial[i] and shards[i] < n and fits(i)]
        if not axes:
            break
        shards[min(reversed(axes), key=lambda i: shards[i] / chunks[i])] *= 2
    return tuple(shards) if shards != list(chunks) else None


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

    @property
    def objects(self) -> int:
        """How many objects of the store hold its pixels."""
        return math.prod(-(-n // u) for n, u in zip(self.shape, self.unit, strict=True))


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


def common(one: Sequence[int], other: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Give the smallest box that is made of whole boxes of either kind, or the whole axis."""
    return tuple(
        n if a >= n or b >= n else min(math.lcm(a, b), n)
        for a, b, n in zip(one, other, shape, strict=True)
    )


def chunk_sizes(chunks: Chunks) -> tuple[int, ...]:
    """Give the size that most chunks have along each axis; those at the ends may be smaller."""
    return tuple(sizes[1] if len(sizes) > 2 else max(sizes) for sizes in chunks)  # noqa: PLR2004
