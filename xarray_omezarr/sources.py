"""Where pixels come from: in which chunks, and whether they are the same ones as before."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import xarray as xr

    from xarray_omezarr.pyramid import Chunks

#: So many bytes of an array in memory stand for all of it.
_SAMPLE = 2**16


def token(variable: xr.Variable) -> str | None:
    """Give what names the pixels of a variable, the same in every process; None if nothing does.

    Of an array in memory a sample is looked at. Of dask, the arrays that its graph reads from are
    named; what functions do with these is the caller's to vouch for.
    """
    if variable.chunks is not None:
        return _roots(variable.data)
    if isinstance(variable._data, np.ndarray):  # noqa: SLF001 - `data` would load what is lazy
        return _sampled(variable.values)
    found = _stored(variable)
    if found is None:
        return None
    array, key = found
    return f"{array.store_path} {array.metadata} {key}"


def graph(variable: xr.Variable) -> str | None:
    """Give the name that dask has for the pixels of a variable: it tells functions apart, too."""
    return None if variable.chunks is None else str(variable.data.name)


def _sampled(values: np.ndarray[Any, Any]) -> str:
    """Look at the sum of all bytes, and at some of them."""
    digest = hashlib.sha256()
    if values.flags.c_contiguous:
        raw = values.reshape(-1).view(np.uint8)
        words = raw[: raw.size // 8 * 8].view(np.uint64)
        digest.update(np.add.reduce(words, dtype=np.uint64).tobytes())
        digest.update(raw[raw.size // 8 * 8 :].tobytes())
    # An odd step meets all columns.
    step = (values.size // _SAMPLE) | 1
    digest.update(values.reshape(-1)[::step].tobytes())
    return digest.hexdigest()


def _roots(array: Any) -> str | None:  # noqa: ANN401 - a dask array
    """Give the names that dask has made of the arrays at the roots of a graph."""
    # An array, and no task that makes one.
    roots = [
        name
        for name, first in _first_tasks(array)
        if hasattr(getattr(first, "value", first), "dtype")
    ]
    return ", ".join(sorted(roots)) or None


def _first_tasks(array: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - a dask array
    """Yield the roots of a graph that are no functions of indices: their names, and one task."""
    from dask.highlevelgraph import MaterializedLayer

    layers = array.dask
    for name, layer in layers.layers.items():
        if not layers.dependencies[name] and isinstance(layer, MaterializedLayer) and layer:
            yield name, next(iter(layer.values()))


def reads_from(variable: xr.Variable, store: object, path: str) -> bool:
    """Say whether pixels that are not read yet come from arrays below a path of a store."""
    prefix = f"{path}/" if path else ""
    return any(
        str(array.store) == str(store) and array.path.startswith(prefix)
        for array in arrays_of(variable)
    )


def _arrays_in(value: Any) -> list[Any]:  # noqa: ANN401 - any task, or a Zarr array
    """Give the Zarr array that xarray has wrapped into others, if that is what something is.

    Of many that are read as one, which are not opened for this, it is where each of them is.
    """
    value = getattr(value, "value", value)
    while hasattr(value, "array"):
        value = value.array
    if hasattr(value, "places"):
        return list(value.places)
    value = getattr(value, "_array", value)
    return [value] if hasattr(value, "store_path") else []


def chunks_of(variable: xr.Variable) -> Chunks | None:
    """Give the sizes of the chunks that pixels come in, along each axis; None where in none."""
    if variable.chunks is not None:
        return tuple(tuple(map(int, sizes)) for sizes in variable.chunks)
    found = _stored(variable)
    if found is None:
        return None
    array, key = found
    chunks = []
    for index, size, chunk in zip(key, array.shape, array.chunks, strict=True):
        start, stop, step = index.indices(size)
        if step != 1 or stop <= start:
            return None
        ends = [*range(start // chunk * chunk + chunk, stop, chunk), stop]
        chunks.append(tuple(b - a for a, b in itertools.pairwise([start, *ends])))
    return tuple(chunks)


def known_chunks(array: Any) -> dict[Any, np.ndarray[Any, Any]]:  # noqa: ANN401 - a dask array
    """Give the chunks of an array that are in memory already, by their keys.

    Each of them that is a task of its own makes dask's schedulers slower at every other one.
    """
    tasks = ((key, getattr(task, "value", task)) for key, task in dict(array.dask).items())
    return {
        key: value
        for key, value in tasks
        if isinstance(value, np.ndarray) and isinstance(key, tuple) and key[0] == array.name
    }


def are_cut(chunks: Chunks, tile: Sequence[int]) -> bool:
    """Say whether the borders of tiles lie within chunks.

    Examples
    --------
    >>> are_cut(((4, 4, 4),), (8,)), are_cut(((2, 4, 4, 2),), (8,))
    (False, True)
    """
    return any(
        not set(range(size, sum(sizes), size)) <= set(itertools.accumulate(sizes))
        for sizes, size in zip(chunks, tile, strict=True)
    )


def _stored(variable: xr.Variable) -> tuple[Any, tuple[slice, ...]] | None:
    """Give the Zarr array that a variable is a part of, not yet read, and which part."""
    from xarray.core.indexing import (
        CopyOnWriteArray,
        LazilyIndexedArray,
        MemoryCachedArray,
    )

    data: Any = variable._data  # noqa: SLF001 - `data` would load what is lazy
    while isinstance(data, (MemoryCachedArray, CopyOnWriteArray)):
        data = data.array
    if not isinstance(data, LazilyIndexedArray):
        return None
    array: Any = getattr(data.array, "_array", None)
    key = data.key.tuple
    plain = len(key) == variable.ndim and all(isinstance(index, slice) for index in key)
    return (array, key) if plain and hasattr(array, "chunks") else None


def arrays_of(variable: xr.Variable) -> list[Any]:
    """Give the Zarr arrays that pixels not yet read come from, as far as that can be told."""
    if variable.chunks is not None:
        firsts = _first_tasks(variable.data)
        return [array for _, first in firsts for array in _arrays_in(first)]
    return _arrays_in(variable._data)  # noqa: SLF001 - `data` would load what is lazy
