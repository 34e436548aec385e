"""Chunks carried from one place to another: byte for byte, or encoded anew, in bounded memory."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import re
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from typing import TYPE_CHECKING, Any

import zarr
from zarr.buffer import default_buffer_prototype
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec
from zarr.core.array import AsyncArray
from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata
from zarr.core.sync import sync
from zarr.storage import MemoryStore, StorePath

from xarray_omezarr import documents, formats, spec, storage, stores, transaction
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from zarr.abc.store import Store

    from xarray_omezarr.stores import Place

    Box = tuple[slice, ...]

#: So many bytes are on their way at a time, as far as objects are not larger than that.
_FLIGHT = 2**28
#: Pixels that are encoded: the bytes of a block, and those of all blocks that are on their way.
_BLOCK = 2**26
_MEMORY = 2**28
#: Pixels of a block that is neither too small to be worth a task nor larger than need be.
_CONVENIENT = 2**21
_WORKERS = 16


def list_keys(place: Place) -> list[str]:
    """List the keys of all that lies below a group, relative to it.

    Raises
    ------
    OmeZarrError
        Where the store cannot list them, or one of them leads elsewhere: as "../file" does, once
        it is copied to a disk.
    """
    prefix = f"{place.path}/" if place.path else ""

    async def collect() -> list[str]:
        await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
        return [key async for key in place.store.list_prefix(prefix)]

    try:
        found = sync(collect()) if place.store.supports_listing else []
    except (OSError, NotImplementedError, ValueError):
        found = []
    if not found:
        msg = f"{place.name} does not list its files. Copy it to a place that does, like a disk."
        raise OmeZarrError(msg)
    keys = sorted(key.removeprefix(prefix) for key in found)
    for key in keys:
        if not spec.leads_below(key):
            msg = f"{place.name} holds {key!r:.80}, which leads out of it. Remove or rename that."
            raise OmeZarrError(msg)
    return keys


def copy_keys(place: Place, names: Mapping[str, str], size: int) -> None:
    """Copy objects to other keys, as they are.

    Parameters
    ----------
    place
        The group that they are below.
    names
        The key of each, with the one that it gets; what is not there is left out.
    size
        How many bytes the largest may have.
    """
    flight = max(1, min(storage.REQUESTS, _FLIGHT // max(size, 1)))

    async def copy(key: str, new: str) -> None:
        value = await place.store.get(place.key(key), default_buffer_prototype())
        if value is not None:
            await place.store.set(place.key(new), value)

    async def copy_all() -> None:
        await place.store._ensure_open()  # noqa: SLF001
        pairs = iter(names.items())
        while some := list(itertools.islice(pairs, flight)):
            await asyncio.gather(*(copy(key, new) for key, new in some))

    sync(copy_all())


def chunk_names(keys: Sequence[str], metadata: Mapping[str, Any]) -> list[str]:
    """Give those of the keys below an array that are its chunks."""
    name, separator = formats.chunk_keys(metadata)
    mark = re.escape(separator)
    pattern = rf"\d+({mark}\d+)*" if name == "v2" else rf"c({mark}\d+)*"
    return [key for key in keys if re.fullmatch(pattern, key)]


def described(
    metadata: Mapping[str, Any], zarr_format: int, separator: str, dims: Sequence[str]
) -> dict[str, Any]:
    """Describe an array of the same pixels in a format of Zarr, with the package's own codecs.

    Parameters
    ----------
    metadata
        What there is: a `zarr.json` or a `.zarray`.
    zarr_format
        The format that is wanted.
    separator
        What separates the keys of its chunks in Zarr v2.
    dims
        The names of its dimensions, which Zarr v3 keeps.

    Raises
    ------
    OmeZarrError
        Where that format has no such numbers.
    """
    v3 = zarr_format == spec.V3
    scratch = stores.locate(MemoryStore())
    compressors: Any = transaction.default_compressor(zarr_format)
    try:
        array = opened(MemoryStore(), "array", metadata)
        if array.dtype.kind not in "biufc":
            msg = "pixels are numbers"
            raise TypeError(msg)  # noqa: TRY301 - told below with what there is
        zarr.create_array(
            scratch.store,
            shape=array.shape,
            dtype=array.dtype.newbyteorder("="),
            chunks=array.chunks,
            fill_value=0 if array.fill_value is None else array.fill_value,
            zarr_format=zarr_format,  # type: ignore[arg-type]
            compressors=compressors,
            chunk_key_encoding=None if v3 else {"name": "v2", "separator": separator},
            dimension_names=list(dims) if v3 and len(dims) == array.ndim else None,
        )
    except (TypeError, ValueError, KeyError) as error:
        found = metadata.get("dtype", metadata.get("data_type"))
        msg = f"Zarr v{zarr_format} has no such array of {found!r:.80}: {error}."
        raise OmeZarrError(msg) from error
    file = documents.ARRAY_METADATA[zarr_format]
    (content,) = storage.read_bytes(scratch, file)
    return storage.parse_json(content or b"", scratch, file)


def opened(store: Store, path: str, metadata: Mapping[str, Any]) -> zarr.Array[Any]:
    """Give an array by its metadata, whether they are stored or not."""
    described: Any = ArrayV2Metadata if metadata["zarr_format"] == spec.V2 else ArrayV3Metadata
    document = dict(metadata)
    if metadata["zarr_format"] == spec.V2:
        document.setdefault("dimension_separator", ".")
        document.setdefault("filters", None)
    return zarr.Array(AsyncArray(described.from_dict(document), StorePath(store, path)))


def nowhere() -> Store:
    """Give a store of nothing, for arrays that are described and not stored."""
    return MemoryStore()


def like(
    array: zarr.Array[Any],
    chunks: Sequence[int],
    shards: Sequence[int] | None,
    compressors: object,
) -> dict[str, Any]:
    """Describe an array that is like another one, but for chunks, shards and compressors."""
    zarr_format = array.metadata.zarr_format
    scratch = stores.locate(MemoryStore())
    inner: dict[str, Any] = {"filters": array.filters or None, "compressors": compressors or None}
    if zarr_format == spec.V3:
        inner["serializer"] = array.serializer
    zarr.create_array(
        scratch.store,
        shape=array.shape,
        dtype=array.dtype,
        chunks=tuple(chunks),
        shards=None if shards is None else tuple(shards),
        fill_value=array.fill_value,
        zarr_format=zarr_format,
        **inner,
    )
    file = documents.ARRAY_METADATA[zarr_format]
    (content,) = storage.read_bytes(scratch, file)
    return storage.parse_json(content or b"", scratch, file)


def compressor(name: str, settings: Mapping[str, Any], zarr_format: int) -> object:
    """Give a compressor as a format of Zarr has it: "zstd", "gzip" or "blosc"."""
    if zarr_format == spec.V3:
        kinds: Any = {"zstd": ZstdCodec, "gzip": GzipCodec, "blosc": BloscCodec}
        return kinds[name](**settings)
    import numcodecs  # type: ignore[import-untyped]

    kinds = {"zstd": numcodecs.Zstd, "gzip": numcodecs.GZip, "blosc": numcodecs.Blosc}
    if "shuffle" in settings:
        settings = {**settings, "shuffle": formats.SHUFFLES.index(settings["shuffle"])}
    return kinds[name](**settings)


# ── pixels ───────────────────────────────────────────────────────────────────────────────────────


def encode(
    source: zarr.Array[Any],
    target: zarr.Array[Any],
    *,
    skip: Callable[[Box], bool] = lambda _: False,
    done: Callable[[int], object] = lambda _: None,
) -> None:
    """Write the pixels of an array to another one, many blocks side by side, in bounded memory.

    Blocks hold whole chunks, or shards, of the target. They are as large as it takes to read each
    chunk of the source as rarely as their memory allows.

    Parameters
    ----------
    source, target
        The arrays.
    skip
        Says of a block whether it is written already.
    done
        Called in this thread with the bytes of the pixels of each block.
    """
    itemsize = max(1, int(target.dtype.itemsize))
    # A chunk of the source is decoded as a whole, and there is no less than that in memory.
    chunk = math.prod(source.chunks)
    new = target.shards or target.chunks
    sizes = tiling(target.shape, source.chunks, new, max(_BLOCK // itemsize, chunk))
    # Of a block there are its pixels, those of the chunks it is read from, and what is encoded.
    room = _MEMORY // max(1, (3 * math.prod(sizes) + chunk) * itemsize)
    workers = max(1, min(room, 2 * (os.cpu_count() or 1), _WORKERS))

    def write(box: Box) -> int:
        if not skip(box):
            target[box] = source[box]
        return int(math.prod(side.stop - side.start for side in box)) * itemsize

    pool = ThreadPoolExecutor(workers)
    boxes = _boxes(target.shape, sizes)
    waiting: set[Future[int]] = set()
    try:
        for box in boxes:
            waiting.add(pool.submit(write, box))
            if len(waiting) > workers:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in finished:
                    done(one.result())
        for one in as_completed(waiting):
            done(one.result())
    finally:
        # Of what is interrupted, no more is begun.
        pool.shutdown(cancel_futures=True)


def keys_in(box: Box, metadata: Mapping[str, Any]) -> Iterator[str]:
    """Give the keys of the chunks of a block, or of its shards, below their array."""
    sizes = formats.chunk_shape(metadata) or ()
    ranges = [range(s.start // n, -(-s.stop // n)) for s, n in zip(box, sizes, strict=True)]
    return (formats.chunk_key(index, metadata) for index in itertools.product(*ranges))


def tiling(
    shape: Sequence[int], old: Sequence[int], new: Sequence[int], most: int
) -> tuple[int, ...]:
    """Choose the size of blocks in which chunks become others.

    Parameters
    ----------
    shape
        The shape of the array.
    old
        The chunks that are read.
    new
        The chunks, or shards, that are written, of which a block holds whole ones.
    most
        How many pixels a block may have, unless a single new chunk has more.

    Returns
    -------
    tuple of int
        Of all that fit, the block by which chunks are read the least often; of these, the one
        nearest to a convenient size.

    Examples
    --------
    Planes become columns: as many chunks as fit are taken at once, along the planes.

    >>> tiling((64, 1024, 1024), (1, 1024, 1024), (64, 64, 64), 2**24)
    (64, 256, 1024)
    """
    options = []
    for n, a, b in zip(shape, old, new, strict=True):
        whole = -(-n // b) * b
        steps = {b, whole, min(whole, math.lcm(a, b)), min(whole, -(-a // b) * b)}
        steps |= {b * 2**k for k in range(1, 12) if b * 2**k < whole}
        options.append([(size, _reads(n, a, size)) for size in sorted(steps)])
    least = tuple(side[0][0] for side in options)
    most = max(most, math.prod(least))
    found: list[tuple[float, float, tuple[int, ...]]] = []
    # Where a block along one axis is too large already, no larger one needs to be looked at.
    waiting: list[tuple[int, int, float, tuple[int, ...]]] = [(0, 1, 1.0, ())]
    while waiting:
        axis, pixels, reads, sizes = waiting.pop()
        if axis == len(options):
            found.append((reads, abs(math.log2(max(1, pixels) / _CONVENIENT)), sizes))
            continue
        rest = math.prod(least[axis + 1 :])
        for size, times in options[axis]:
            if pixels * size * rest > most:
                break
            waiting.append((axis + 1, pixels * size, reads * times, (*sizes, size)))
    return min(found)[2]


def _reads(n: int, old: int, block: int) -> float:
    """Say how often each chunk is read, along one axis, on the average."""
    if n == 0 or block % old == 0:
        return 1.0
    touched = sum(-(-min(start + block, n) // old) - start // old for start in range(0, n, block))
    return touched / -(-n // old)


def _boxes(shape: Sequence[int], sizes: Sequence[int]) -> Iterator[Box]:
    ranges = [range(0, n, size) for n, size in zip(shape, sizes, strict=True)]
    for start in itertools.product(*ranges):
        yield tuple(
            slice(a, min(a + size, n)) for a, size, n in zip(start, sizes, shape, strict=True)
        )


def blocks(array: zarr.Array[Any]) -> Iterator[tuple[slice, ...]]:
    """Give parts of an array that hold whole chunks and shards, and few enough of them."""
    sizes = list(array.shards or array.chunks)
    for axis in reversed(range(array.ndim)):
        others = math.prod(sizes) // sizes[axis] * array.dtype.itemsize
        count = max(1, _BLOCK // max(1, others * sizes[axis]))
        sizes[axis] *= min(count, -(-array.shape[axis] // sizes[axis]))
    ranges = [range(0, n, size) for n, size in zip(array.shape, sizes, strict=True)]
    for start in itertools.product(*ranges):
        yield tuple(slice(a, a + size) for a, size in zip(start, sizes, strict=True))


def chunk_bytes(metadata: Mapping[str, Any]) -> int:
    """Give how many bytes the pixels of an object of an array take: a chunk, or a shard."""
    array = opened(MemoryStore(), "array", metadata)
    return math.prod(array.shards or array.chunks) * array.dtype.itemsize
