"""Other chunks, shards and compressors for arrays that are there: what is asked, and what it makes.

What is not asked for stays as it is: numbers and their byte order, fill values, filters. Chunks are
no larger than an array, and shards hold whole chunks, as `to_zarr` has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from xarray_omezarr import copies, formats, spec
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    import zarr

    from xarray_omezarr.hierarchy import Array, Group

    Sizes = Mapping[str, int] | int

#: The chains of bytes that have names, with the levels that they have and the one by default.
_LEVELS: Final = {"zstd": (range(1, 23), 3), "gzip": (range(1, 10), 6), "blosc": (range(10), 5)}
#: No chunk has more bytes: Blosc, and most codecs, count them in 32 bits.
_MOST_BYTES: Final = 2**31 - 1
_CNAMES: Final = ("lz4", "lz4hc", "blosclz", "zlib", "zstd")
_KNOWN: Final = "'zstd:5', 'gzip:6', 'blosc:lz4:5', 'blosc:zstd:5:shuffle' or 'none'"


@dataclass(frozen=True)
class Recoding:
    """What is asked of all arrays of a hierarchy; None is as it is."""

    chunks: Sizes | None = None
    shards: Sizes | bool | None = None
    """False is none."""
    compressors: object = None

    @property
    def asks(self) -> bool:
        """Say whether anything is asked at all."""
        return not (self.chunks is None and self.shards is None and self.compressors is None)

    def check(self, groups: Sequence[Group], zarr_format: int | None) -> None:
        """Check what is asked, before anything is done about it.

        Raises
        ------
        OmeZarrError
            Where it makes no sense, or not for this hierarchy.
        """
        arrays = [array for group in groups for array in group.arrays]
        dims = sorted({dim for array in arrays for dim in array.dims})
        _check_sizes("chunks", self.chunks, dims)
        if self.shards is True:
            msg = "shards=True does not say how large they are. Give numbers, like {'y': 4096}."
            raise OmeZarrError(msg)
        wanted = self.shards is not None and self.shards is not False
        if wanted:
            _check_sizes("shards", self.shards, dims)
        formats_there = {array.zarr_format for array in arrays} if zarr_format is None else set()
        if wanted and spec.V2 in {zarr_format, *formats_there}:
            msg = (
                "shards= is not for Zarr v2, in which versions up to 0.4 are stored: it has none. "
                "Convert to version='0.5' as well."
            )
            raise OmeZarrError(msg)
        if isinstance(self.compressors, str):
            parse(self.compressors)

    def of(self, array: Array, zarr_format: int, name: str) -> dict[str, Any] | None:
        """Describe an array as it is asked for.

        Parameters
        ----------
        array
            The array as it is.
        zarr_format
            The format of Zarr that it is going to be stored in.
        name
            What messages call it.

        Returns
        -------
        dict, or None
            A `zarr.json` or a `.zarray`; None where it is like that already.

        Raises
        ------
        OmeZarrError
            Where there can be no such array.
        """
        base = _base(array, zarr_format)
        try:
            old = copies.opened(copies.nowhere(), "array", base)
            chunks, shards = self._layout(array, old, name)
            _check_bytes(math.prod(chunks) * old.dtype.itemsize, name)
            how = old.compressors if self.compressors is None else self._codecs(zarr_format)
            new = copies.like(old, chunks, shards, how)
            made = copies.opened(copies.nowhere(), "array", new)
        except OmeZarrError:
            raise
        except (TypeError, ValueError, KeyError, NotImplementedError) as error:
            asked = [
                f"{key}={value!r:.80}" for key, value in vars(self).items() if value is not None
            ]
            msg = f"{name} cannot be stored in Zarr v{zarr_format} with {', '.join(asked)}: {error}"
            raise OmeZarrError(msg) from error
        if (chunks, shards, made.compressors) == (old.chunks, old.shards, old.compressors):
            return None
        if zarr_format == spec.V2:
            same = {"chunks": new["chunks"], "compressor": new["compressor"]}
            return {**base, **same, "dimension_separator": "/"}
        keys = {"name": "default", "configuration": {"separator": "/"}}
        if array.zarr_format == zarr_format:
            keys = base["chunk_key_encoding"]
        same = {"chunk_grid": new["chunk_grid"], "codecs": new["codecs"]}
        return {**base, **same, "chunk_key_encoding": keys}

    def _layout(
        self, array: Array, old: zarr.Array[Any], name: str
    ) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Give chunks and shards."""
        shape = old.shape
        whole = _sizes(self.chunks, array.dims, old.chunks, shape)
        chunks = tuple(max(1, min(c, n)) for c, n in zip(whole, shape, strict=True))
        if self.chunks is None:
            chunks = whole = old.chunks
        if self.shards is False or (self.shards is None and old.shards is None):
            return chunks, None
        asked = _sizes(
            None if self.shards is None else self.shards, array.dims, old.shards or chunks, shape
        )
        shards = []
        for dim, shard, chunk, full, n in zip(array.dims, asked, chunks, whole, shape, strict=True):
            least = max(1, -(-n // chunk)) * chunk
            if shard >= n:
                shards.append(least)
            elif full != chunk:
                shards.append(chunk)  # the chunk is all of the axis
            elif shard % chunk:
                given = "" if self.shards is not None else " Give shards= as well, or shards=False."
                msg = (
                    f"{name}: a shard of {shard} along '{dim}' is no multiple of the chunk, "
                    f"{chunk}. A shard holds whole chunks.{given}"
                )
                raise OmeZarrError(msg)
            else:
                shards.append(shard)
        return chunks, tuple(shards)

    def _codecs(self, zarr_format: int) -> object:
        if isinstance(self.compressors, str):
            found = parse(self.compressors)
            return () if found is None else (copies.compressor(*found, zarr_format),)
        return self.compressors


def _base(array: Array, zarr_format: int) -> dict[str, Any]:
    """Describe an array in a format, with the codecs that it has where these have a name there."""
    if array.zarr_format == zarr_format:
        return dict(array.metadata)
    try:
        if zarr_format == spec.V3:
            return formats.to_v3(array.metadata, array.attributes, array.dims)
        return formats.to_v2(array.metadata)
    except formats.UnnamedError:
        new = copies.described(array.metadata, zarr_format, "/", array.dims)
        return {**new, "attributes": dict(array.attributes)} if zarr_format == spec.V3 else new


def _check_sizes(what: str, asked: object, dims: Sequence[str]) -> None:
    if asked is None:
        return
    if not isinstance(asked, Mapping):
        if _is_size(asked):
            return
        msg = (
            f"{what}={asked!r:.80}: expected 1 or more, -1 for the whole axis, or one of these for "
            "each dimension: {'y': 256}."
        )
        raise OmeZarrError(msg)
    for dim, size in asked.items():
        if dim not in dims:
            msg = f"{what}: {dim!r} is none of the dimensions {tuple(dims)}."
            raise OmeZarrError(msg)
        if not _is_size(size):
            msg = f"{what}: {size!r} along '{dim}'; expected 1 or more, or -1 for the whole axis."
            raise OmeZarrError(msg)


def _is_size(size: object) -> bool:
    whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
    return whole and (size == -1 or size >= 1)  # type: ignore[operator]


def _sizes(
    asked: Sizes | None, dims: Sequence[str], before: Sequence[int], shape: Sequence[int]
) -> tuple[int, ...]:
    """Give the size along each axis: as asked, else as before."""
    if asked is None:
        return tuple(before)
    by_dim = asked if isinstance(asked, Mapping) else dict.fromkeys(dims, asked)
    sizes = [int(by_dim.get(dim, size)) for dim, size in zip(dims, before, strict=True)]
    return tuple(max(1, n) if size == -1 else size for size, n in zip(sizes, shape, strict=True))


def _check_bytes(nbytes: int, name: str) -> None:
    if nbytes > _MOST_BYTES:
        msg = (
            f"{name}: a chunk of {nbytes} bytes is more than codecs take, which is {_MOST_BYTES}. "
            "Give sizes by dimension, like chunks={'y': 256, 'x': 256}."
        )
        raise OmeZarrError(msg)


# ── compressors by name ──────────────────────────────────────────────────────────────────────────


def parse(text: str) -> tuple[str, dict[str, Any]] | None:
    """Read the name of a compressor, with what may follow it: a level, and for Blosc its own.

    Returns
    -------
    name, settings, or None
        None where there shall be none.

    Raises
    ------
    OmeZarrError
        Where there is no such compressor.

    Examples
    --------
    >>> parse("zstd:5")
    ('zstd', {'level': 5})
    >>> parse("blosc:lz4")
    ('blosc', {'cname': 'lz4', 'clevel': 5, 'shuffle': 'bitshuffle'})
    """
    name, *rest = text.strip().lower().split(":")
    if name == "none" and not rest:
        return None
    settings: dict[str, Any] = {}
    levels, level = _LEVELS.get(name, (range(0), 0))
    if name == "blosc":
        settings["cname"] = rest.pop(0) if rest else "lz4"
    given = rest.pop(0) if rest else str(level)
    if name == "blosc":
        shuffle = rest.pop(0) if rest else "bitshuffle"
        settings |= {"clevel": 0, "shuffle": shuffle}
    known = settings.get("cname", "lz4") in _CNAMES
    known = known and settings.get("shuffle", "shuffle") in formats.SHUFFLES
    if rest or not known or not given.isdecimal() or int(given) not in levels:
        told = f" Levels of {name} are {levels[0]} to {levels[-1]}." if name in _LEVELS else ""
        msg = f"compressors={text!r:.80} is not known; expected one like {_KNOWN}.{told}"
        raise OmeZarrError(msg)
    settings["clevel" if name == "blosc" else "level"] = int(given)
    return name, settings
