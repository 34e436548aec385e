"""Images brought down along an axis, lazily: the brightest of all planes, or their mean.

Planes are taken in one after another, in their order, so that sums are the same to the last bit in
whatever chunks they come; and no more than some of them are in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from xarray_omezarr import composite, sources
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    Totals = tuple[NDArray[Any], ...]
    Reading = Generator[xr.Variable, NDArray[Any], NDArray[Any]]

How = Literal["max", "mean", "min", "sum"]

#: How planes are put together. NaN counts as missing, unless there is nothing else.
HOWS = ("max", "mean", "min", "sum")
#: Pixels that are taken in at a time.
_SOME = 2**22


def checked(project: object) -> dict[str, str]:
    """Check that an argument names axes, and ways to bring them down.

    Raises
    ------
    OmeZarrError
        Where it is no mapping.

    Examples
    --------
    >>> checked({"z": "max"}), checked(None)
    ({'z': 'max'}, {})
    """
    if project is not None and not isinstance(project, Mapping):
        msg = (
            f"project={project!r:.80}: expected how dimensions are brought down, like "
            "{'z': 'max'}."
        )
        raise OmeZarrError(msg)
    return dict(project or {})


def project(array: xr.DataArray, along: Mapping[str, str]) -> xr.DataArray:
    """Bring an image down along axes, one after the other.

    Parameters
    ----------
    array
        The image; in memory, lazy or dask.
    along
        By dimension, one of `HOWS`.

    Returns
    -------
    xarray.DataArray
        Without these dimensions and the coordinates along them. Maxima and minima are of the
        image's type, means float64; sums are int64 of integers of up to 32 bits, else float64. What
        is not dask is computed when it is asked for, of the part that is asked for.

    Raises
    ------
    OmeZarrError
        Where there is no such dimension, or nothing along it, or no such way; or pixels are no
        numbers.
    """
    for dim, how in along.items():
        if dim not in array.dims or how not in HOWS or not array.sizes[dim]:
            sizes = ", ".join(f"{name} of {size}" for name, size in array.sizes.items())
            msg = (
                f"project={{{dim!r}: {how!r}}}: expected a dimension of the image, which are "
                f"{sizes}, and one of {', '.join(HOWS)}."
            )
            raise OmeZarrError(msg)
        composite.check_pixels(array.dtype)
        variable = _projected(array.variable, dim, how)
        coords = {name: coord for name, coord in array.coords.items() if dim not in coord.dims}
        array = xr.DataArray(variable, coords=coords, name=array.name)
        array.encoding = variable.encoding
    return array


def _projected(variable: xr.Variable, dim: str, how: str) -> xr.Variable:
    dims = tuple(name for name in variable.dims if name != dim)
    if variable.chunks is not None:
        return xr.Variable(dims, _chained(variable, dim, how), variable.attrs)
    cached: Any = indexing.MemoryCachedArray
    data = cached(indexing.LazilyIndexedArray(_Projected(variable, dim, how)))
    preferred = chunk_lengths(variable)
    preferred.pop(dim, None)
    return xr.Variable(dims, data, variable.attrs, {"preferred_chunks": preferred})


def chunk_lengths(variable: xr.Variable) -> dict[Any, int]:
    """Give the sizes of the chunks that a variable comes in, along the axes where that is known."""
    found = sources.chunks_of(variable)
    if found is not None:
        return {dim: max(sizes) for dim, sizes in zip(variable.dims, found, strict=True)}
    known = variable.encoding.get("preferred_chunks")
    if not isinstance(known, dict) or isinstance(variable._data, np.ndarray):  # noqa: SLF001 - lazy
        return {}
    return {
        dim: min(size, known[dim])
        for dim, size in variable.sizes.items()
        if isinstance(known.get(dim), int) and size
    }


# ── arithmetic ───────────────────────────────────────────────────────────────────────────────────


def _taken_in(totals: Totals | None, block: NDArray[Any], axis: int, how: str) -> Totals:
    """Add planes to what was found in those before them."""
    floating = block.dtype.kind == "f"
    if how in {"max", "min"}:
        ufunc = np.fmax if how == "max" else np.fmin
        found = ufunc.reduce(block, axis=axis)
        return (found if totals is None else ufunc(totals[0], found),)
    planes = np.moveaxis(block, axis, 0)
    if totals is None:
        # Sums of 64-bit integers would leave their range.
        exact = not floating and block.dtype.itemsize < 8  # noqa: PLR2004
        kind = np.int64 if exact else np.float64
        totals = (np.zeros(planes.shape[1:], kind), np.zeros(planes.shape[1:], np.int64))
    total, count = totals[0].copy(), totals[1].copy()
    # Infinities of both signs have no sum.
    with np.errstate(invalid="ignore", over="ignore"):
        for plane in planes:
            there = ~np.isnan(plane) if floating else np.True_
            np.add(total, plane, out=total, where=there, casting="unsafe")
            count += there
    return total, count


def _finished(totals: Totals, how: str) -> NDArray[Any]:
    if how != "mean":
        return totals[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals[0] / totals[1])


# ── dask ─────────────────────────────────────────────────────────────────────────────────────────


def _chained(variable: xr.Variable, dim: str, how: str) -> Any:  # noqa: ANN401 - a dask array
    """Chain the blocks along an axis: each task holds one, and what those before it gave."""
    import dask.array
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    da: Any = dask.array
    source: Any = variable.data
    axis = variable.get_axis_num(dim)
    chunks = source.chunks[:axis] + source.chunks[axis + 1 :]
    name = f"project-{how}-{tokenize(source.name, axis)}"
    take, finish = partial(_taken_in, axis=axis, how=how), partial(_finished, how=how)
    layer: dict[Any, Any] = {}
    for place in np.ndindex(*map(len, chunks)):
        before = None
        for i in range(len(source.chunks[axis])):
            step = (f"{name}-step", *place, i)
            layer[step] = (take, before, (source.name, *place[:axis], i, *place[axis:]))
            before = step
        layer[name, *place] = (finish, before)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=[source])
    meta = _finished(_taken_in(None, np.zeros((1,) * source.ndim, source.dtype), axis, how), how)
    return da.Array(graph, name, chunks, meta=np.empty((0,) * len(chunks), meta.dtype))


# ── lazily ───────────────────────────────────────────────────────────────────────────────────────


class Deferred(BackendArray):
    """An array that is computed, of the part that is asked for, from others that are read for it.

    What reads them is a generator: it gives a variable, and gets its values.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype

    def read(self, key: tuple[Any, ...]) -> Reading:
        """Compute a part: by an integer, a slice or an array of integers for each axis."""
        raise NotImplementedError

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:  # noqa: ANN401 - as the base has it
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._get
        )

    def _get(self, key: tuple[Any, ...]) -> NDArray[Any]:
        reading = self.read(key)
        try:
            wanted = next(reading)
            while True:
                wanted = reading.send(np.asarray(wanted.values))
        except StopIteration as stop:
            found: NDArray[Any] = stop.value
            return found

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:  # noqa: ANN401, D102
        return await indexing.async_explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._async_get
        )

    async def _async_get(self, key: tuple[Any, ...]) -> NDArray[Any]:
        reading = self.read(key)
        try:
            wanted = next(reading)
            while True:
                wanted = reading.send(np.asarray((await wanted.load_async()).values))
        except StopIteration as stop:
            found: NDArray[Any] = stop.value
            return found


class _Projected(Deferred):
    """An image that is not dask, brought down along an axis."""

    def __init__(self, variable: xr.Variable, dim: str, how: str) -> None:
        self.variable, self.axis, self.how = variable, int(variable.get_axis_num(dim)), how
        self.chunk = chunk_lengths(variable).get(dim, 1)
        one = np.zeros((1,) * variable.ndim, variable.dtype)
        dtype = _finished(_taken_in(None, one, self.axis, how), how).dtype
        shape = variable.shape[: self.axis] + variable.shape[self.axis + 1 :]
        super().__init__(shape, dtype)

    def read(self, key: tuple[Any, ...]) -> Reading:
        plane = math.prod(
            1 if isinstance(k, (int, np.integer)) else len(np.arange(size)[k])
            for k, size in zip(key, self.shape, strict=True)
        )
        some = max(1, _SOME // max(1, plane) // self.chunk) * self.chunk
        # Integers take their axes away.
        axis = sum(not isinstance(k, (int, np.integer)) for k in key[: self.axis])
        totals = None
        for start in range(0, self.variable.shape[self.axis], some):
            part = (*key[: self.axis], slice(start, start + some), *key[self.axis :])
            block = yield self.variable[part]
            totals = _taken_in(totals, block, axis, self.how)
        assert totals is not None  # noqa: S101 - there is a plane at least
        return _finished(totals, self.how)
