"""Chunks, shards and codecs: as asked for, else as opened, else by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import options, pyramid, sources, spec, transaction
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from xarray_omezarr.coordinates import Memory
    from xarray_omezarr.model import Axis


def default_chunks(array: xr.DataArray, axes: Sequence[Axis]) -> dict[str, int]:
    """Give the chunks that an image has by default, with those of its source in view."""
    chunks = pyramid.default_chunks(
        array.shape,
        array.dtype.itemsize,
        [axis.type == "space" for axis in axes],
        _source(array),
        size=options.get("chunk_bytes"),
    )
    return dict(zip(map(str, array.dims), chunks, strict=True))


def _source(array: xr.DataArray) -> tuple[int, ...] | None:
    """Give the chunks that pixels come in: dask's, or those of the file."""
    chunks = sources.chunks_of(array.variable)
    return None if chunks is None else pyramid.chunk_sizes(chunks)


def chunking(
    array: xr.DataArray,
    axes: Sequence[Axis],
    asked: tuple[object, object],
    version: str,
    memory: Memory,
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Choose chunks and shards.

    Parameters
    ----------
    array, axes
        The image.
    asked
        What the caller says of chunks and of shards, or None.
    version
        The version of OME-Zarr that is written.
    memory
        What the image was opened from.
    """
    sizes = {str(dim): size for dim, size in array.sizes.items()}
    chunks = default_chunks(array, axes)
    shards: Mapping[str, int] | None = None
    opened = array.variable.encoding.get("preferred_chunks", {})
    kept = bool(memory.sizes) and all(isinstance(opened.get(dim), int) for dim in sizes)
    if kept:
        chunks = {dim: opened[dim] for dim in sizes}
    if asked[0] is not None:
        chunks.update(_sizes("chunks", asked[0], sizes))
    if version == "0.4":
        if asked[1] is not None:
            msg = "shards= is not for version 0.4, whose Zarr v2 has none. Write version 0.5."
            raise OmeZarrError(msg)
    elif asked[1] is not None:
        shards = {**chunks, **_sizes("shards", asked[1], sizes)}
    elif kept and asked[0] is None:
        shards = memory.shards
    else:
        spatial = [axis.type == "space" for axis in axes]
        grown = pyramid.default_shards(
            array.shape,
            tuple(chunks.values()),
            array.dtype.itemsize,
            spatial,
            _source(array),
        )
        shards = None if grown is None else dict(zip(sizes, grown, strict=True))
    if shards is None:
        return tuple(chunks.values()), None
    return tuple(chunks.values()), _whole_chunks(shards, chunks, sizes)


def _whole_chunks(
    shards: Mapping[str, int], chunks: Mapping[str, int], sizes: Mapping[str, int]
) -> tuple[int, ...]:
    """Check that shards hold whole chunks."""
    checked = []
    for dim, chunk in chunks.items():
        shard = shards[dim]
        if shard == sizes[dim]:
            shard = -(-shard // chunk) * chunk
        if shard % chunk:
            msg = (
                f"shards: {shard} along '{dim}' is no multiple of the chunk, {chunk}. "
                "A shard holds whole chunks."
            )
            raise OmeZarrError(msg)
        checked.append(shard)
    return tuple(checked)


def _sizes(what: str, asked: object, sizes: Mapping[str, int]) -> dict[str, int]:
    if isinstance(asked, (int, np.integer)):
        asked = dict.fromkeys(sizes, int(asked))
    if not isinstance(asked, Mapping):
        msg = f"{what}={asked!r:.80}: expected a number, or one for each dimension: {{'y': 256}}."
        raise OmeZarrError(msg)
    unknown = [dim for dim in asked if dim not in sizes]
    if unknown:
        msg = f"{what}: {unknown} is none of the dimensions {tuple(sizes)}."
        raise OmeZarrError(msg)
    for dim, size in asked.items():
        if not isinstance(size, (int, np.integer)) or (size < 1 and size != -1):
            msg = f"{what}: {size!r} along '{dim}'; expected 1 or more, or -1 for the whole axis."
            raise OmeZarrError(msg)
    return {dim: sizes[dim] if size == -1 else int(size) for dim, size in asked.items()}


def codecs(asked: object, version: str, memory: Memory) -> dict[str, Any]:
    """Choose the codecs of an image's arrays, as Zarr takes them."""
    zarr_format = spec.ZARR_FORMATS[version]
    if asked is not None:
        return {"compressors": asked}
    opened = memory.codecs
    if opened.get("zarr_format") == zarr_format:
        return {"compressors": opened["compressors"]}
    return {"compressors": transaction.default_compressor(zarr_format)}
