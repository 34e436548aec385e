"""Boxes of a local array ⇄ NumPy arrays, through zarrs.

zarrs fetches, decodes, encodes and stores many chunks at a time, on threads of its own, and knows
nothing of Python meanwhile. What it is asked for here is whole chunks, and boxes of shards. Where
others want a part of a chunk, zarrs decodes it all and then copies twice what is wanted; so whole
chunks are decoded into an array that is used again and again, and NumPy takes the parts from there.
"""

from __future__ import annotations

import itertools
import math
import operator
import os
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xarray_omezarr import spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zarr.abc.store import Store

    Array = np.ndarray[Any, Any]
    Box = tuple[slice, ...]

#: Chunks of which parts are wanted are decoded so many bytes at a time for each processor, of eight
#: at most; but four at a time, however large they are.
_HELD_BYTES, _HELD_CHUNKS, _PROCESSORS = 2**23, 4, 8


class Part(NamedTuple):
    """A chunk, and what of it is what of an array in memory."""

    key: str
    inside: Any
    outside: Any
    complete: bool
    """Whether it is all of the chunk, as far as that lies within the stored array."""


@cache
def home() -> int:
    """Give the process in which zarrs was first used: its threads are there, not in forks of it."""
    return os.getpid()


class Boxes:
    """The chunks of one array.

    Parameters
    ----------
    metadata
        Those of the array, as Zarr has them.
    store
        The local store that it is in.

    Raises
    ------
    Exception
        Where zarrs is not there, or refuses the array: many kinds.
    """

    def __init__(self, metadata: Any, store: Store) -> None:  # noqa: ANN401 - one for each format
        if not self.at_home:
            msg = "The threads of zarrs are in the process that this one was forked from."
            raise RuntimeError(msg)
        from zarrs._internal import ChunkItem
        from zarrs.pipeline import get_codec_pipeline_impl

        # Strictly: it raises where it would warn otherwise.
        self._zarrs: Any = get_codec_pipeline_impl(metadata, store, strict=True)
        self._item: Any = ChunkItem
        self._key = metadata.encode_chunk_key
        v2 = metadata.zarr_format == spec.V2
        self.chunk: tuple[int, ...] = metadata.chunks if v2 else metadata.chunk_grid.chunk_shape
        self.dtype: np.dtype[Any] = metadata.dtype.to_native_dtype().newbyteorder("=")
        self._fill_value = metadata.fill_value
        codecs = () if v2 else metadata.codecs
        #: Of shards, zarrs decodes no more than it has to.
        self.sharded = any(type(codec).__name__ == "ShardingCodec" for codec in codecs)
        self._full = tuple(slice(0, size) for size in self.chunk)

    @property
    def at_home(self) -> bool:
        """Whether the threads of zarrs are in this process."""
        return home() == os.getpid()

    def parts(self, box: Box, shape: Sequence[int], prefix: str) -> list[Part]:
        """Give the chunks that lie in a box of an array.

        Parameters
        ----------
        box
            Slices with starts, stops and no steps.
        shape
            The shape of the array, which may have grown.
        prefix
            What the keys of its chunks begin with.
        """
        along = []
        for side, size, length in zip(box, self.chunk, shape, strict=True):
            found = []
            for number in range(side.start // size, -(-side.stop // size)):
                begin, end = number * size, min((number + 1) * size, length)
                start, stop = max(side.start, begin), min(side.stop, end)
                inside = slice(start - begin, stop - begin)
                outside = slice(start - side.start, stop - side.start)
                found.append((number, inside, outside, (start, stop) == (begin, end)))
            along.append(found)
        parts = []
        for sides in itertools.product(*along):
            numbers, inside, outside, complete = zip(*sides, strict=True)
            parts.append(Part(prefix + self._key(numbers), inside, outside, all(complete)))
        return parts

    def load(self, parts: Sequence[Part], out: Array) -> None:
        """Read boxes of chunks into boxes of an array."""
        straight = out.flags.c_contiguous and out.dtype.isnative
        if self.sharded and not straight:
            native = np.empty(out.shape, self.dtype)
            self.load(parts, native)
            out[...] = native
            return
        whole: list[Part] = []
        others: list[Part] = []
        for part in parts:
            at_once = straight and (self.sharded or part.inside == self._full)
            (whole if at_once else others).append(part)
        if whole:
            items = [self._item(p.key, p.inside, self.chunk, p.outside, out.shape) for p in whole]
            self._zarrs.retrieve_chunks_and_apply_index(items, out)
        self.load_any(others, out)

    def load_any(self, parts: Sequence[Part], out: Array, drop_axes: tuple[int, ...] = ()) -> None:
        """Read parts of chunks into parts of an array, whatever NumPy can select by."""
        for group, items, held in self._held(parts):
            self._zarrs.retrieve_chunks_and_apply_index(items, held.reshape(-1, *self.chunk[1:]))
            for part, chunk in zip(group, held, strict=False):
                values = chunk[part.inside]
                out[part.outside] = values.squeeze(axis=drop_axes) if drop_axes else values

    def save(self, parts: Sequence[Part], values: Array, *, empty: bool) -> None:
        """Write boxes of an array into boxes of chunks.

        Parameters
        ----------
        parts
            The boxes.
        values
            The array, in any order of axes or bytes.
        empty
            Whether chunks of nothing but the fill value are stored, too.
        """
        straight = values.flags.c_contiguous and values.dtype == self.dtype
        padded: list[Part] = []
        others: list[Part] = []
        for part in parts:
            # Where an array ends within a chunk, zarrs would look for what there is beyond it.
            laid_out = part.complete and not (straight and part.inside == self._full)
            (padded if laid_out and not self.sharded else others).append(part)
        for group, items, held in self._held(padded):
            for part, chunk in zip(group, held, strict=False):
                if part.inside != self._full:
                    chunk[...] = 0 if self._fill_value is None else self._fill_value
                chunk[part.inside] = values[part.outside]
            flat = held.reshape(-1, *self.chunk[1:])
            self._zarrs.store_chunks_with_indices(items, flat, empty)
        if others:
            values = np.ascontiguousarray(values, self.dtype)
            items = [
                self._item(p.key, p.inside, self.chunk, p.outside, values.shape) for p in others
            ]
            self._zarrs.store_chunks_with_indices(items, values, empty)

    def _held(self, parts: Sequence[Part]) -> Iterator[tuple[Sequence[Part], list[Any], Array]]:
        """Give some parts at a time, what to ask zarrs for, and whole chunks to hold them."""
        if not parts:
            return
        processors = min(os.cpu_count() or 1, _PROCESSORS)
        size = max(1, math.prod(self.chunk) * self.dtype.itemsize)
        most = max(min(processors, _HELD_CHUNKS), processors * _HELD_BYTES // size)
        count, depth = min(most, len(parts)), self.chunk[0]
        held = np.empty((count, *self.chunk), self.dtype)
        shape = (count * depth, *self.chunk[1:])
        places = [(slice(i * depth, (i + 1) * depth), *self._full[1:]) for i in range(count)]
        for start in range(0, len(parts), count):
            group = parts[start : start + count]
            yield (
                group,
                [
                    self._item(part.key, self._full, self.chunk, place, shape)
                    for part, place in zip(group, places, strict=False)
                ],
                held,
            )


def normal(key: Sequence[object], shape: Sequence[int]) -> tuple[Box, list[int]] | None:
    """Write a selection by numbers and slices as a box; None where it is something else.

    Returns
    -------
    box, numbers
        Slices with starts, stops and no steps; and the axes that were selected by a number.
    """
    if len(key) != len(shape):
        return None
    box, numbers = [], []
    for axis, (part, size) in enumerate(zip(key, shape, strict=True)):
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            if step != 1:
                return None
            box.append(slice(start, max(start, stop)))
        elif isinstance(part, (int, np.integer)):
            number = operator.index(part)
            number += size if number < 0 else 0
            if not 0 <= number < size:
                return None
            box.append(slice(number, number + 1))
            numbers.append(axis)
        else:
            return None
    return tuple(box), numbers
