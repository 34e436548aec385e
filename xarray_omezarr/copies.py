"""Chunks carried from one place to another: byte for byte, or encoded anew, in bounded memory."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
from typing import TYPE_CHECKING, Any

import zarr
from zarr.buffer import default_buffer_prototype
from zarr.core.array import AsyncArray
from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata
from zarr.core.sync import sync
from zarr.storage import MemoryStore, StorePath

from xarray_omezarr import documents, formats, spec, storage, stores, transaction
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from zarr.abc.store import Store

    from xarray_omezarr.stores import Place

#: So many bytes are on their way at a time, as far as objects are not larger than that.
_FLIGHT = 2**28
#: And so many pixels are encoded at a time, in bytes.
_BLOCK = 2**26


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


def copy_keys(source: Place, target: Place, names: Mapping[str, str], size: int) -> None:
    """Copy objects as they are.

    Parameters
    ----------
    source, target
        The groups that they are below; they may be the same one.
    names
        The key of each, with the one that it gets; what is not there is left out.
    size
        How many bytes the largest may have.
    """
    flight = max(1, min(storage.REQUESTS, _FLIGHT // max(size, 1)))

    async def copy(key: str, new: str) -> None:
        value = await source.store.get(source.key(key), default_buffer_prototype())
        if value is not None:
            await target.store.set(target.key(new), value)

    async def copy_all() -> None:
        await source.store._ensure_open()  # noqa: SLF001
        await target.store._ensure_open()  # noqa: SLF001
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


def encode(source: zarr.Array[Any], target: zarr.Array[Any]) -> None:
    """Write the pixels of an array to another one, block by block."""
    for box in _blocks(source):
        target[box] = source[box]


def _blocks(array: zarr.Array[Any]) -> Iterator[tuple[slice, ...]]:
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
