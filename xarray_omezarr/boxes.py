"""Boxes of an array ⇄ NumPy arrays, without Zarr's event loop between.

`Compiled` has zarrs fetch, decode, encode and store many chunks at a time, on threads of its own
that know nothing of Python. What it asks for is whole chunks, and boxes of shards: of a part of a
chunk, zarrs makes two copies. So whole chunks are decoded into an array that is used again and
again, and NumPy takes the parts from there.

`Plain` reads chunks of the usual codecs, each by one call of numcodecs. It is for local files and
for memory, where going through an event loop takes longer than decoding does.
"""

from __future__ import annotations

import itertools
import math
import operator
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numcodecs  # type: ignore[import-untyped]
import numpy as np

from xarray_omezarr import spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zarr.abc.store import Store

    Array = np.ndarray[Any, Any]
    Box = tuple[slice, ...]
    #: Gives the content of an object of a store; None where there is none.
    Fetch = Callable[[str], Any]

#: Chunks of which parts are wanted are decoded so many bytes at a time for each processor, of eight
#: at most; but four at a time, however large they are.
_HELD_BYTES, _HELD_CHUNKS, _PROCESSORS = 2**21, 4, 8
#: Parts of chunks below this are better left to zarrs.
_SMALL = 2**18

#: The codecs of Zarr v3 that numcodecs knows by the same name.
_CODECS = ("blosc", "gzip", "zstd")


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
    """

    def __init__(self, metadata: Any) -> None:  # noqa: ANN401 - one kind for each format
        v2 = metadata.zarr_format == spec.V2
        self._key = metadata.encode_chunk_key
        self.chunk: tuple[int, ...] = metadata.chunks if v2 else metadata.chunk_grid.chunk_shape
        self._full = tuple(slice(0, size) for size in self.chunk)
        self.dtype: np.dtype[Any] = metadata.dtype.to_native_dtype().newbyteorder("=")
        self._fill_value = 0 if metadata.fill_value is None else metadata.fill_value
        codecs = () if v2 else metadata.codecs
        self.sharded = any(type(codec).__name__ == "ShardingCodec" for codec in codecs)

    @property
    def at_home(self) -> bool:
        """Whether it works in this process."""
        return True

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
        raise NotImplementedError


class Compiled(Boxes):
    """Chunks of a local array that go through zarrs.

    Raises
    ------
    Exception
        Where zarrs is not there, or refuses the array: many kinds.
    """

    def __init__(self, metadata: Any, store: Store) -> None:  # noqa: ANN401
        super().__init__(metadata)
        if not self.at_home:
            msg = "The threads of zarrs are in the process that this one was forked from."
            raise RuntimeError(msg)
        from zarrs._internal import ChunkItem
        from zarrs.pipeline import get_codec_pipeline_impl

        # Strictly: it raises where it would warn otherwise.
        self._zarrs: Any = get_codec_pipeline_impl(metadata, store, strict=True)
        self._item: Any = ChunkItem

    @property
    def at_home(self) -> bool:
        """Whether the threads of zarrs are in this process."""
        return home() == os.getpid()

    @property
    def small(self) -> bool:
        """Whether chunks are so small that what Python does for each takes its time."""
        return math.prod(self.chunk) * self.dtype.itemsize < _SMALL

    def load(self, parts: Sequence[Part], out: Array) -> None:
        """Read boxes of chunks into boxes of an array."""
        if self.sharded and not _straight(out):
            native = np.empty(out.shape, self.dtype)
            self.load_whole(parts, native)
            out[...] = native
            return
        self.load_any(self.load_whole(parts, out), out)

    def load_whole(self, parts: Sequence[Part], out: Array) -> list[Part]:
        """Read what zarrs is at its best with, whole chunks and shards; give what is left."""
        now: list[Part] = []
        left: list[Part] = []
        for part in parts:
            best = _straight(out) and (self.sharded or part.inside == self._full)
            (now if best else left).append(part)
        if now:
            items = [self._item(p.key, p.inside, self.chunk, p.outside, out.shape) for p in now]
            self._zarrs.retrieve_chunks_and_apply_index(items, out)
        return left

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
        straight = _straight(values) and values.dtype == self.dtype
        padded: list[Part] = []
        others: list[Part] = []
        for part in parts:
            # Where an array ends within a chunk, zarrs would look for what there is beyond it.
            laid_out = part.complete and not (straight and part.inside == self._full)
            (padded if laid_out and not self.sharded else others).append(part)
        for group, items, held in self._held(padded):
            for part, chunk in zip(group, held, strict=False):
                if part.inside != self._full:
                    chunk[...] = self._fill_value
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
        size = max(1, math.prod(self.chunk) * self.dtype.itemsize)
        most = max(min(processors(), _HELD_CHUNKS), processors() * _HELD_BYTES // size)
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


class Plain(Boxes):
    """Chunks that are decoded by numcodecs.

    Parameters
    ----------
    metadata
        Those of the array, as Zarr has them.
    fetch
        Gives the content of an object of its store.

    Raises
    ------
    ValueError
        Where there are shards, or more codecs than one.
    """

    def __init__(self, metadata: Any, fetch: Fetch) -> None:  # noqa: ANN401
        super().__init__(metadata)
        self._fetch = fetch
        self._order: Any = "C"
        self._stored = metadata.dtype.to_native_dtype()
        self._codec: Any = None
        if metadata.zarr_format == spec.V2:
            if metadata.filters:
                msg = "There are filters."
                raise ValueError(msg)
            self._codec, self._order = metadata.compressor, metadata.order
            return
        described = metadata.to_dict()["codecs"]
        names = [codec["name"] for codec in described]
        if names[0] != "bytes" or (names[1:] and names[1:] not in ([name] for name in _CODECS)):
            msg = f"There are the codecs {names}."
            raise ValueError(msg)
        endian = described[0].get("configuration", {}).get("endian", "little")
        self._stored = self._stored.newbyteorder(endian)
        # What it was encoded with, a chunk knows.
        self._codec = numcodecs.get_codec({"id": names[1]}) if names[1:] else None

    def load(self, parts: Sequence[Part], out: Array) -> None:
        """Read boxes of chunks into boxes of an array."""
        side_by_side(lambda part: self._load(part, out), parts)

    def _load(self, part: Part, out: Array) -> None:
        content = self._fetch(part.key)
        if content is None:
            out[part.outside] = self._fill_value
            return
        if part.inside == self._full and self._decoded_into(content, out[part.outside]):
            return
        decoded = content if self._codec is None else self._codec.decode(content)
        chunk = np.frombuffer(decoded, self._stored).reshape(self.chunk, order=self._order)
        out[part.outside] = chunk[part.inside]

    def _decoded_into(self, content: bytes, out: Array) -> bool:
        """Decode a chunk where it belongs, if it is all in one piece there."""
        if (
            isinstance(self._codec, numcodecs.Blosc)
            and self._order == "C"
            and self._stored == out.dtype
            and out.flags.c_contiguous
            # Blosc would leave the rest as it is.
            and int.from_bytes(content[4:8], "little") == out.nbytes
        ):
            self._codec.decode(content, out.reshape(-1).view(np.uint8))
            return True
        return False


# ── processors ───────────────────────────────────────────────────────────────────────────────────


@cache
def processors() -> int:
    """Count the processors that this process may use, up to a number that pays."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(mine or 1, _PROCESSORS)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Give the threads of a process, beside the one that asks: a fork has none of its parent's."""
    del process
    return ThreadPoolExecutor(max(1, processors() - 1), "xarray-omezarr")


def side_by_side(function: Callable[[Part], None], parts: Sequence[Part]) -> None:
    """Call a function for all parts, on all processors."""
    rest: Iterator[Part] = iter(parts)

    def work() -> None:
        for part in rest:
            function(part)

    helpers = min(processors(), len(parts)) - 1
    futures = [_pool(os.getpid()).submit(work) for _ in range(helpers)]
    try:
        work()
    finally:
        # Whoever has not begun by now has nothing left to do.
        begun = [future for future in futures if not future.cancel()]
        for future in begun:
            future.exception()
    for future in begun:
        future.result()


def _straight(array: Array) -> bool:
    """Say whether the values of an array lie one after the other, as zarrs takes them."""
    return array.flags.c_contiguous and array.dtype.isnative


# ── selections ───────────────────────────────────────────────────────────────────────────────────


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
