"""What the metadata of an array say of how it is stored, read without Zarr."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import formats, rules_arrays, spec
from xarray_omezarr.documents import ARRAY_METADATA, load_json
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


#: The codec whose chunks are in shards.
_SHARDING = "sharding_indexed"


@dataclass(frozen=True)
class Stored:
    """How an array is stored."""

    shape: tuple[int, ...]
    dtype: str
    """The name of a NumPy data type where it is one, else as it was written."""
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    codecs: tuple[str, ...]
    """What chunks are filtered and compressed by: "blosc(zstd, 5)"."""

    @property
    def itemsize(self) -> int:
        """The bytes of a pixel; 0 where its type is none of NumPy's."""
        try:
            return np.dtype(self.dtype).itemsize
        except TypeError:
            return 0


def stored(content: bytes, zarr_format: int, name: str) -> Stored:
    """Read the metadata file of an array.

    Parameters
    ----------
    content
        That of its `zarr.json` or `.zarray`.
    zarr_format
        2 or 3.
    name
        What messages call the array.

    Raises
    ------
    OmeZarrError
        Where it describes no array.

    Examples
    --------
    >>> stored(b'{"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<u2", '
    ...        b'"compressor": {"id": "zlib", "level": 1}, "filters": null}', 2, "a.zarr/0")
    Stored(shape=(4,), dtype='uint16', chunks=(2,), shards=None, codecs=('zlib(1)',))
    """
    file = f"{name}/{ARRAY_METADATA[zarr_format]}"
    try:
        document = load_json(content)
    except ValueError as error:
        msg = f"{file} is {error}. The file must be mended or restored."
        raise OmeZarrError(msg) from error
    flaw = (
        formats.flaw(document, zarr_format)
        if isinstance(document, dict)
        else f"it is {document!r:.60}"
    )
    found = flaw or rules_arrays.parse_array(document, name)
    if isinstance(found, str):
        msg = f"{file} describes no array: {found}. It must be mended or restored."
        raise OmeZarrError(msg)
    if zarr_format == spec.V2:
        described = [*(document.get("filters") or ()), document.get("compressor")]
        names = tuple(_named(one) for one in described if one is not None)
        return Stored(found.shape, found.dtype, tuple(document["chunks"]), None, names)
    sizes = document["chunk_grid"].get("configuration", {}).get("chunk_shape")
    outer = tuple(sizes) if isinstance(sizes, list) else ()
    sharding = next((codec for codec in _codecs(document) if codec[0] == _SHARDING), None)
    if sharding is None:
        names = tuple(_worth_telling(document))
        return Stored(found.shape, found.dtype, outer, None, names)
    inner = sharding[1].get("chunk_shape")
    fits = isinstance(inner, list) and len(inner) == len(found.shape)
    chunks = tuple(inner) if fits and isinstance(inner, list) else outer
    return Stored(found.shape, found.dtype, chunks, outer, tuple(_worth_telling(sharding[1])))


def _codecs(holder: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the codecs of Zarr v3 that something lists: their names and configurations."""
    listed = holder.get("codecs")
    for codec in listed if isinstance(listed, list) else ():
        name = codec.get("name") if isinstance(codec, dict) else codec
        config = codec.get("configuration") if isinstance(codec, dict) else None
        yield str(name), config if isinstance(config, dict) else {}


def _worth_telling(holder: Mapping[str, Any]) -> Iterator[str]:
    """Name the codecs but for the one that every array has, that makes bytes of numbers."""
    for name, config in _codecs(holder):
        if name != "bytes":
            yield _named({"id": name, **config})


def _named(codec: object) -> str:
    """Name a codec with what matters of its configuration: ``blosc(zstd, 5)``."""
    if not isinstance(codec, dict):
        return str(codec)
    details = [codec[key] for key in ("cname", "clevel", "level") if key in codec]
    name = str(codec.get("id"))
    return f"{name}({', '.join(map(str, details))})" if details else name
