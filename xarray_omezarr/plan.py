"""The plan: in which blocks the levels are written, and what that takes.

Nothing here reads or writes: a plan is a value, which can be printed and tested.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import reducers
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.pyramid import LevelPlan, common

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xarray_omezarr.pyramid import Chunks
    from xarray_omezarr.reducers import Boundary

    #: The shape of a box of pixels.
    Shape = tuple[int, ...]
    #: A start and a stop along each axis.
    Box = tuple[tuple[int, int], ...]

#: A block grows to fill more levels on its way while it stays below this.
BLOCK_BYTES = 2**26
#: It grows beyond, up to so many times, as long as that leaves this number of blocks.
MORE_BYTES, MANY_BLOCKS = 8, 64
#: Small chunks are read and written together, so many bytes of them at a time.
TILE_BYTES = 2**21
#: What dask hands over is written in blocks that grow no further than this to fill more levels.
PART_BYTES = 2**23
#: What codecs and the allocator of memory take besides, by experience; and of what dask hands over,
#: which is freed by other threads than it was made by, this share is kept by the allocator.
SPARE_BYTES = 2**25
SPARE_SHARE = 0.75
#: A worker that holds more than this earns a warning.
LARGE_BYTES = 2**29
#: What is printed for levels that are not made but written as they are.
COPY = "copy"


@dataclass(frozen=True)
class Pass:
    """One way over a source, block by block, that fills one level or several.

    A block is gone through in tiles: of what is read at once, of what is written at once to the
    first level, and so on. Each is made of whole ones of those before, so that a worker holds one
    of each and never the block.
    """

    source: int | None
    """The level that is read back; None for the image itself, and for what is handed on."""
    levels: tuple[int, ...]
    """The levels that each block fills, each reduced from the one before it."""
    tiles: tuple[Shape, ...]
    """The tiles, in pixels of the source: of the source if that is a level, and of `levels`."""
    block: Shape
    """The shape of a block, in pixels of the source; whole tiles of the last level."""
    shape: Shape
    """The shape of the source."""
    window: Box
    """What is written of it: all, or what a region touches."""
    halo: Shape
    """How far beyond a tile the source is read, in its pixels."""
    held: Shape
    """The shape of the whole chunks of the source that one block touches, where these come with
    it; else of nothing."""
    parts: Chunks | None = None
    """The sizes of the parts, along each axis, that the pass before hands on as the source."""
    hands: int | None = None
    """The level that the next pass is handed, reduced from the last of `levels`."""

    @property
    def chain(self) -> tuple[int, ...]:
        """The levels that a block goes through: the source, if that is one, and `levels`."""
        return self.levels if self.source is None else (self.source, *self.levels)

    @property
    def grid(self) -> tuple[range, ...]:
        """The starts of the blocks along each axis. They do not depend on the window."""
        return tuple(
            range(start // b * b, stop, b)
            for (start, stop), b in zip(self.window, self.block, strict=True)
        )

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return math.prod(map(len, self.grid))

    def box(self, number: int) -> Box:
        """Give a block by its number, as a start and a stop along each axis of the source."""
        starts = []
        for side in reversed(self.grid):
            number, position = divmod(number, len(side))
            starts.append(side[position])
        return tuple(
            (max(start, low), min(start + b, high))
            for start, b, (low, high) in zip(reversed(starts), self.block, self.window, strict=True)
        )

    def boxes(self) -> Iterator[Box]:
        """Yield each block."""
        return map(self.box, range(self.blocks))


def split(box: Box, tile: Shape) -> Iterator[Box]:
    """Yield the parts of a box along the borders of tiles, whose grid begins at zero.

    Examples
    --------
    >>> list(split(((3, 10),), (4,)))
    [((3, 4),), ((4, 8),), ((8, 10),)]
    """
    sides = [
        [
            (max(start, low), min(start + size, high))
            for start in range(low // size * size, high, size)
        ]
        for (low, high), size in zip(box, tile, strict=True)
    ]
    return itertools.product(*sides)


@dataclass(frozen=True)
class Plan:
    """What is written, in which blocks, and what memory that takes: all known before it starts."""

    dims: tuple[str, ...]
    dtype: np.dtype[Any]
    """Of the pixels that are written."""
    levels: tuple[LevelPlan, ...]
    """The levels, the image itself first."""
    passes: tuple[Pass, ...]
    """The passes, one after the other."""
    method: str
    """How levels are reduced; "copy" where they are written as they are."""
    boundary: Boundary
    """What becomes of partial cells at the end of an axis."""
    scratch: tuple[LevelPlan, ...] = ()
    """Levels that are only made to make others of, and are numbered on after the others."""

    @property
    def arrays(self) -> tuple[LevelPlan, ...]:
        """All levels, also those that are only made on the way."""
        return self.levels + self.scratch

    @property
    def tasks(self) -> int:
        """How many blocks are written in all."""
        return sum(step.blocks for step in self.passes)

    @property
    def pixels(self) -> int:
        """How many pixels are written in all: those of the image and of the levels below."""
        count = 0
        for step in self.passes:
            base = self.base(step)
            for number in step.levels:
                target = self.arrays[number]
                count += math.prod(
                    stop - start for start, stop in scaled(step.window, base, target)
                )
        return count

    @property
    def bytes(self) -> int:
        """The bytes of all pixels that are written, before they are compressed."""
        return self.pixels * self.dtype.itemsize

    @property
    def block_bytes(self) -> int:
        """The bytes of the pixels that one worker holds at the most.

        The chunks that a dask source hands over for a block, a tile of each level on its way, and
        once more the largest of them: what it is compressed to, or was decompressed from. And what
        codecs and allocators keep: no more than 32 MiB, and three quarters of the chunks from dask.
        Where blocks cut through chunks, dask keeps these until all blocks that want them are done.
        """
        return max(map(self._held_bytes, self.passes), default=0)

    def base(self, step: Pass) -> LevelPlan:
        """Give the level on whose pixels a pass counts."""
        return self.arrays[step.chain[0]]

    def _held_bytes(self, step: Pass) -> int:
        base = self.base(step)
        chain = step.chain
        tiles = []
        for number, tile in zip(chain, step.tiles, strict=True):
            ratio = relative(base, self.arrays[number])
            around = step.halo if number == chain[0] else (0,) * len(tile)
            tiles.append(
                math.prod(-(-(t + 2 * h) // f) for t, h, f in zip(tile, around, ratio, strict=True))
            )
        held = math.ceil(math.prod(step.held) * (1 + SPARE_SHARE))
        return (held + sum(tiles) + max(tiles)) * self.dtype.itemsize + SPARE_BYTES

    def __str__(self) -> str:
        """Print the plan as a table."""
        header = ("level", *self.dims, "chunks", "shards", "objects", "bytes")
        rows = [
            (
                str(i),
                *map(str, level.shape),
                "×".join(map(str, level.chunks)),
                "×".join(map(str, level.shards)) if level.shards else "-",
                str(level.objects),
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
            if step.parts is not None:
                source = "what these become"
            if step.source is not None and step.source >= len(self.levels):
                depth = step.source - len(self.arrays) + len(self.levels)
                source = f"what is left of level {depth}"
            block = "×".join(map(str, step.block))
            filled = ", ".join(str(n) for n in step.levels if n < len(self.levels))
            lines.append(f"{step.blocks} blocks of {block} from {source} fill level {filled}")
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


def relative(finer: LevelPlan, coarser: LevelPlan) -> Shape:
    """Give the factors from one level to a coarser one."""
    return tuple(c // f for f, c in zip(finer.factors, coarser.factors, strict=True))


def scaled(box: Box, finer: LevelPlan, coarser: LevelPlan) -> Box:
    """Give the pixels of a coarser level that a box of a finer one becomes.

    The box starts at whole cells, and ends with them or with the level.
    """
    return tuple(
        (start // f, min(-(-stop // f), n))
        for (start, stop), f, n in zip(box, relative(finer, coarser), coarser.shape, strict=True)
    )


# ── making one ───────────────────────────────────────────────────────────────────────────────────


def plan_pyramid(
    dims: Sequence[str],
    dtype: np.dtype[Any],
    levels: Sequence[LevelPlan],
    *,
    method: str,
    boundary: Boundary,
    source_chunks: Chunks | None = None,
    handed: bool = True,
    window: Box | None = None,
) -> Plan:
    """Plan the blocks of a pyramid, each level of which is reduced from the one above.

    A block is a box of whole shards (else chunks) of every level that it fills, so that no two
    blocks write to one object; and of whole chunks of the source, where these are of one size and
    that does not make it too large. It fills as many levels as fit; the rest is reduced from the
    last level written, in a further pass over that much smaller level.

    Parameters
    ----------
    dims : sequence of str
        The names of the axes.
    dtype : numpy.dtype
        The type of the image's pixels.
    levels : sequence of LevelPlan
        The levels, the image itself first.
    method, boundary : str
        How they are reduced; see `xarray_omezarr.reducers.downsample`.
    source_chunks : tuple of tuple of int, optional
        The sizes of the chunks in which the image comes.
    handed : bool
        Whether these are handed over whole, as dask's are, or read as they are needed.
    window : tuple of (int, int), optional
        The region of the image that is written, where it is not all of it.

    Returns
    -------
    Plan
        A value; nothing is read or written.

    Examples
    --------
    >>> from xarray_omezarr.pyramid import layout
    >>> levels = layout([(512, 512), (256, 256)], [(1, 1), (2, 2)], (256, 256), None)
    >>> print(plan_pyramid("yx", np.dtype("u2"), levels, method="mean", boundary="pad"))
    level    y    x   chunks  shards  objects    bytes
        0  512  512  256×256       -        4  512 KiB
        1  256  256  256×256       -        1  128 KiB
    1 blocks of 512×512 from the image fill level 0, 1
    1 tasks, 33.12 MiB in flight per worker
    """
    levels = tuple(levels)
    first = levels[0]
    changed: Box = window or tuple((0, n) for n in first.shape)
    if method == "laplacian":
        return _plan_laplacian(dims, dtype, levels, boundary, source_chunks, handed=handed)
    passes: list[Pass] = []
    parts: Chunks | None = None
    done = 0
    while done < len(levels):
        source = None if done == 0 or parts is not None else done - 1
        if source is not None:
            base, target = levels[source], levels[done]
            changed, halo = _touched(changed, base, target, method)
            maker = _Maker(base, dtype.itemsize, changed, None, halo=halo)
            maker.add(base)
            maker.add(target)
        else:
            chunks = source_chunks if parts is None else parts
            maker = _Maker(levels[done], dtype.itemsize, changed, chunks, handed=handed)
            maker.add(levels[done])
        last = done
        while last + 1 < len(levels) and maker.takes(levels[last + 1], method):
            last += 1
            maker.add(levels[last])
        further = levels[last + 1 : last + 2]
        hands = None
        if maker.handed and further and maker.reaches(further[0], method):
            maker.end_with(further[0])
            hands = last + 1
        step = maker.finish(source, tuple(range(done, last + 1)))
        passes.append(replace(step, parts=parts, hands=hands))
        parts = None if hands is None else _parts(step, maker.base, levels[hands])
        changed = scaled(changed, maker.base, levels[last if hands is None else hands])
        done = last + 1
    return Plan(tuple(dims), dtype, levels, tuple(passes), method, boundary)


def plan_copies(
    dims: Sequence[str],
    dtype: np.dtype[Any],
    levels: Sequence[LevelPlan],
    source_chunks: Sequence[Chunks | None],
    handed: Sequence[bool],
) -> Plan:
    """Plan levels that are all there already: each is written as it is."""
    passes = []
    for number, level in enumerate(levels):
        whole = tuple((0, n) for n in level.shape)
        maker = _Maker(level, dtype.itemsize, whole, source_chunks[number], handed=handed[number])
        maker.add(level)
        passes.append(maker.finish(None, (number,)))
    return Plan(tuple(dims), dtype, tuple(levels), tuple(passes), COPY, "pad")


def _plan_laplacian(
    dims: Sequence[str],
    dtype: np.dtype[Any],
    levels: tuple[LevelPlan, ...],
    boundary: Boundary,
    source_chunks: Chunks | None,
    *,
    handed: bool,
) -> Plan:
    """Plan a Laplacian pyramid: a pass writes what its source differs by from the smoothed one.

    That, reduced, is the source of the next pass, and no level of the image.
    """
    if len(levels) == 1:
        msg = (
            "method='laplacian' makes a level the difference to the next one, and there is only "
            "one level. Ask for levels=2 or more."
        )
        raise OmeZarrError(msg)
    passes = []
    # What is smoothed is read back with what lies around it: dask would hand over chunks for that.
    first = 0 if handed and source_chunks is not None else 1
    scratch = levels[first:]
    wide = reducers.reduced_dtype("laplacian", dtype)
    if not first:
        whole = tuple((0, n) for n in levels[0].shape)
        maker = _Maker(levels[0], wide.itemsize, whole, source_chunks, handed=True)
        maker.add(levels[0])
        passes.append(maker.finish(None, (len(levels),)))
    for number, level in enumerate(levels):
        coarser = levels[number + 1 : number + 2]
        ratio = relative(level, coarser[0]) if coarser else relative(levels[number - 1], level)
        cells = reducers.halo("laplacian", ratio)
        halo = tuple(h * f for h, f in zip(cells, ratio, strict=True))
        source = len(levels) + number - first if number >= first else None
        whole = tuple((0, n) for n in level.shape)
        chunks = source_chunks if source is None else None
        maker = _Maker(level, wide.itemsize, whole, chunks, halo=halo)
        maker.add(level)
        for target in coarser:
            maker.add(target)
        filled = (number, *((len(levels) + number + 1 - first,) if coarser else ()))
        passes.append(maker.finish(source, filled))
    return Plan(tuple(dims), wide, levels, tuple(passes), "laplacian", boundary, scratch)


def _parts(step: Pass, base: LevelPlan, level: LevelPlan) -> Chunks:
    """Give the sizes, along each axis, of what the blocks of a pass become on a level."""
    sizes = []
    for axis, side in enumerate(step.grid):
        low, high = step.window[axis]
        factor = relative(base, level)[axis]
        ends = [max(start, low) // factor for start in side]
        ends.append(min(-(-high // factor), level.shape[axis]))
        sizes.append(tuple(b - a for a, b in itertools.pairwise(ends)))
    return tuple(sizes)


def _touched(changed: Box, base: LevelPlan, target: LevelPlan, method: str) -> tuple[Box, Shape]:
    """Give what of a level is read again where a part of it has changed, in whole cells."""
    ratio = relative(base, target)
    cells = reducers.halo(method, ratio)
    box = tuple(
        (max(start // f - h, 0) * f, min((-(-stop // f) + h) * f, n))
        for (start, stop), f, h, n in zip(changed, ratio, cells, base.shape, strict=True)
    )
    return box, tuple(h * f for h, f in zip(cells, ratio, strict=True))


class _Maker:
    """A pass in the making: the tiles of the levels that it goes through."""

    def __init__(
        self,
        base: LevelPlan,
        itemsize: int,
        window: Box,
        chunks: Chunks | None,
        *,
        handed: bool = False,
        halo: Shape | None = None,
    ) -> None:
        self.base = base
        self.itemsize = itemsize
        self.window = window
        self.chunks = chunks
        self.handed = handed and chunks is not None
        self.halo = halo or (0,) * len(base.shape)
        self.tiles: list[Shape] = []
        self.last = base

    def add(self, level: LevelPlan) -> None:
        """Go on to a level."""
        if self.tiles:
            self.tiles[-1] = self._of_cells(level)
        self.tiles.append(self._tile(level))
        self.last = level

    def _of_cells(self, level: LevelPlan) -> Shape:
        """Give the last tile, made of whole cells of a level."""
        return common(self.tiles[-1], relative(self.base, level), self.base.shape)

    def reaches(self, level: LevelPlan, method: str) -> bool:
        """Say whether what is held becomes whole pixels of a further level."""
        ratio = relative(self.last, level)
        # What looks beyond its cell is reduced from what has been written, in a pass of its own.
        return not any((*self.halo, *reducers.halo(method, ratio))) and all(
            start % f == 0 and (stop % f == 0 or stop == n)
            for (start, stop), f, n in zip(
                self.window, relative(self.base, level), self.base.shape, strict=True
            )
        )

    def takes(self, level: LevelPlan, method: str) -> bool:
        """Say whether blocks can fill a further level on their way."""
        if not self.reaches(level, method):
            return False
        box = self._block(self._tile(level))
        if box == self._block(self.tiles[-1]):
            return True
        size = math.prod(box) * self.itemsize
        if self.handed:
            return size <= PART_BYTES
        blocks = math.prod(-(-n // b) for n, b in zip(self.base.shape, box, strict=True))
        return size <= BLOCK_BYTES or (size <= MORE_BYTES * BLOCK_BYTES and blocks >= MANY_BLOCKS)

    def end_with(self, level: LevelPlan) -> None:
        """End with whole cells of a level, which is reduced from the last one and handed on."""
        self.tiles[-1] = self._of_cells(level)

    def finish(self, source: int | None, levels: tuple[int, ...]) -> Pass:
        """Give the pass."""
        tiles = self.tiles
        if source is not None and len(tiles) == len(levels):
            # The first level that is written is as large as the source.
            tiles = [tiles[0], *tiles]
        worth = PART_BYTES if self.handed else BLOCK_BYTES // 4
        block = self._grown(self._block(tiles[-1]), worth)
        held = self._held(block) if self.handed else (0,) * len(block)
        return Pass(
            source, levels, tuple(tiles), block, self.base.shape, self.window, self.halo, held
        )

    def _tile(self, level: LevelPlan) -> Shape:
        """Give the box of the source that is made of whole objects of a level, and of tiles."""
        whole = tuple(
            min(u * f, n) if u < m else n
            for u, f, n, m in zip(
                level.unit, relative(self.base, level), self.base.shape, level.shape, strict=True
            )
        )
        if self.tiles:
            return common(self._of_cells(level), whole, self.base.shape)
        if not self.handed:
            whole = self._with_source(whole)
        return self._grown(whole, TILE_BYTES)

    def _block(self, tile: Shape) -> Shape:
        return self._with_source(tile) if self.handed else tile

    def _with_source(self, box: Shape) -> Shape:
        """Make a box one of whole chunks of the source as well, unless that is too large."""
        if self.chunks is None:
            return box
        # Where the first chunk is another one, as in a crop, no box begins where chunks do.
        sizes = [
            size[0] if len(set(size[:-1])) <= 1 and size[-1] <= size[0] else 1
            for size in self.chunks
        ]
        whole = common(box, sizes, self.base.shape)
        smallest = math.prod(map(max, box, sizes)) * self.itemsize
        fits = math.prod(whole) * self.itemsize <= max(LARGE_BYTES, smallest)
        return whole if fits else box

    def _grown(self, box: Shape, size: int) -> Shape:
        """Make small boxes larger, so that each is worth its while: twice as long in turns."""
        shape = self.base.shape
        grown = list(box)
        while math.prod(grown) * self.itemsize * 2 <= size:
            axes = [i for i, n in enumerate(shape) if grown[i] < n]
            if not axes:
                break
            # The last of those that have grown least, along which memory is contiguous.
            axis = min(reversed(axes), key=lambda i: grown[i] / box[i])
            grown[axis] = min(grown[axis] * 2, shape[axis])
        return tuple(grown)

    def _held(self, block: Shape) -> Shape:
        """Give the largest box of whole chunks of the source that a block touches."""
        held = []
        for b, sizes, (low, high) in zip(block, self.chunks or (), self.window, strict=True):
            # The chunks are those of what is written, which begins within the first block.
            ends = low + np.cumsum(sizes)
            starts = np.maximum(np.arange(low // b * b, high, b), low)
            stops = np.minimum((starts // b + 1) * b, high)
            first = np.searchsorted(ends, starts, side="right")
            last = np.searchsorted(ends, stops, side="left")
            held.append(int((ends[last] - (ends - sizes)[first]).max()))
        return tuple(held)
