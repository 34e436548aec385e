"""An image brought onto the grid of another, lazily, block by block.

What is read for a block is the box of pixels that it is interpolated from. The position of each
pixel is computed in the same way whatever block it is in, so blocks make no difference, and as
`scipy.ndimage.affine_transform` computes it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from xarray_omezarr import coordinates, frames, sources
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.lattice import SAME

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from xarray_omezarr.frames import Relation

    Pixels = NDArray[Any]
    Box = tuple[tuple[int, int], ...]

T = TypeVar("T", xr.Dataset, xr.DataArray)

#: Pixels of a block of the result, where nothing says in which chunks it is wanted.
_BLOCK = 2**21
#: Pixels that a block of the result may look at: many more than it has where it is coarser.
_BOX = 2**24


def resample(
    obj: T,
    image: xr.DataArray,
    like: xr.DataArray,
    *,
    system: str | None,
    order: int,
    fill_value: float | None,
) -> T:
    """Bring an image, and the label images beside it, onto the grid of another.

    Parameters
    ----------
    obj
        The image, or a Dataset with it.
    image
        The image itself.
    like
        The image whose pixels the result has.
    system
        The coordinate system in which both are, or None for their own coordinates.
    order
        0, the nearest pixel, or 1, linear; label images are always of order 0.
    fill_value
        What lies outside; by default NaN, and 0 for integers. It is 0 for label images.

    Raises
    ------
    OmeZarrError
        Where the images are not related, or by no affine transformation.
    """
    if order not in {0, 1}:
        msg = f"order={order!r}: expected 0, the nearest pixel, or 1, linear interpolation."
        raise OmeZarrError(msg)
    relation = frames.relate(image, like, system)
    moved = set(relation.source)
    dataset = _dataset(obj)
    labels = coordinates.label_images(dataset)
    variables = {}
    for name, variable in dataset.data_vars.items():
        if not moved & set(variable.dims):
            variables[name] = variable.variable
            continue
        nearest = name in labels or _is_label(variable) or variable.dtype.kind == "b"
        fill = _fill(variable.dtype, None if name in labels else fill_value)
        pixels = _Map.of(variable.variable, relation, 0 if nearest else order, fill)
        variables[name] = xr.Variable(
            pixels.dims,
            _lazy(variable.variable, pixels, like.variable),
            variable.attrs,
            _kept(variable.encoding, same_system=system is None),
        )
    coords = {
        name: coord.variable
        for name, coord in dataset.coords.items()
        if not moved & set(coord.dims) and name not in moved
    }
    coords |= {name: like.coords[name].variable for name in relation.coords}
    made = xr.Dataset(variables, coords, dataset.attrs)
    if isinstance(obj, xr.Dataset):
        return made
    return made[_NAME].rename(image.name)


#: What an array is called among the variables of a Dataset, as xarray does it.
_NAME = "<this-array>"


def _dataset(obj: xr.Dataset | xr.DataArray) -> xr.Dataset:
    return obj if isinstance(obj, xr.Dataset) else obj.to_dataset(name=_NAME)


def _is_label(array: xr.DataArray) -> bool:
    kept = array.variable.encoding.get("omezarr")
    return isinstance(kept, dict) and kept.get("kind") == "label"


def _fill(dtype: np.dtype[Any], value: float | None) -> Any:  # noqa: ANN401 - of any dtype
    if value is None:
        return dtype.type(np.nan if dtype.kind in "fc" else 0)
    if dtype.kind in "iub" and not _holds(dtype, value):
        msg = f"fill_value={value!r} is no value of pixels of type {dtype}. Convert them (.astype)."
        raise OmeZarrError(msg)
    return dtype.type(value)


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Say whether a value is one of a type of integers."""
    if not math.isfinite(value) or value != int(value):
        return False
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return bool(low <= value <= high)


def _kept(encoding: Mapping[Any, Any], *, same_system: bool) -> dict[str, Any]:
    """Give what an image still is: what was said of it, as long as its own system is the same."""
    kept = encoding.get("omezarr")
    if not isinstance(kept, dict):
        return {}
    if same_system:
        return {"omezarr": kept}
    return {"omezarr": {key: kept[key] for key in ("kind", "version") if key in kept}}


# ── which pixels become which ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class _Map:
    """From the pixels of a result to those of one variable."""

    dims: tuple[Hashable, ...]
    """Of the result."""
    shape: tuple[int, ...]
    """Of the variable."""
    rows: tuple[int, ...]
    """The dimensions of the variable along which pixels move."""
    columns: tuple[int, ...]
    """The dimensions of the result along which they do."""
    sizes: tuple[int, ...]
    """Of these columns."""
    matrix: NDArray[np.float64]
    """Of the shape (rows, columns)."""
    offset: NDArray[np.float64]
    order: int
    fill: Any
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, variable: xr.Variable, relation: Relation, order: int, fill: object) -> _Map:
        """Give the part of a relation that concerns the dimensions of a variable."""
        matrix, offset = relation.matrix, relation.offset
        numbers = [i for i, dim in enumerate(relation.source) if dim in variable.dims]
        used = [
            j
            for j, _ in enumerate(relation.target)
            # What a dimension does not depend on, it does not get.
            if any(matrix[i, j] for i in numbers)
        ]
        # What stays as it is is no movement: its chunks can stay as well.
        still = {
            i: j
            for i in numbers
            for j in used
            if relation.source[i] == relation.target[j]
            and relation.sizes[j] == variable.sizes[relation.source[i]]
            and _alone(matrix, i, j)
            and (matrix[i, j], offset[i]) == (1, 0)
        }
        rows = [i for i in numbers if i not in still]
        columns = [j for j in used if j not in still.values()]
        kept = [dim for dim in variable.dims if dim not in {relation.source[i] for i in rows}]
        new = [relation.target[j] for j in columns]
        if {relation.source[i] for i in rows} == set(new):
            dims = list(variable.dims)
        else:
            first = min((variable.dims.index(relation.source[i]) for i in rows), default=0)
            before = [dim for dim in variable.dims[:first] if dim in kept]
            dims = [*before, *new, *(dim for dim in kept if dim not in before)]
        return cls(
            dims=tuple(dims),
            shape=variable.shape,
            rows=tuple(variable.dims.index(relation.source[i]) for i in rows),
            columns=tuple(dims.index(relation.target[j]) for j in columns),
            sizes=tuple(relation.sizes[j] for j in columns),
            matrix=matrix[np.ix_(rows, columns)],
            offset=offset[rows],
            order=order,
            fill=fill,
            dtype=variable.dtype.newbyteorder("="),
        )

    @property
    def kept(self) -> tuple[int, ...]:
        """The dimensions of the variable along which nothing moves."""
        return tuple(i for i in range(len(self.shape)) if i not in self.rows)

    @cached_property
    def taken(self) -> dict[int, int]:
        """The rows that are taken pixel by pixel, with their columns: what needs no weights.

        Where each pixel of the result lies on one of the source, there is nothing between them.
        """
        return {
            i: j
            for i, j in np.ndindex(self.matrix.shape)
            if _alone(self.matrix, i, j)
            and (self.order == 0 or not (self.matrix[i, j] % 1 or self.offset[i] % 1))
        }

    def positions(self, row: int, indices: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
        """Give where pixels of the result lie in the source, along one row of it.

        Parameters
        ----------
        row
            Which row.
        indices
            The pixels, for each column.

        Returns
        -------
        numpy.ndarray
            As indices of the source. Of as many dimensions as there are columns, and of length 1
            along those that the row does not depend on.
        """
        result: NDArray[np.float64] = np.zeros((1,) * len(self.sizes))
        for column, index in enumerate(indices):
            factor = self.matrix[row, column]
            if factor:
                shape = [-1 if c == column else 1 for c in range(len(indices))]
                # The same roundings, in the same order, as in `affine_transform`.
                result = result + (index * factor).reshape(shape)
        result = result + self.offset[row]
        # The rounding of a grid that ends where the source ends leaves nothing outside.
        last = self.shape[self.rows[row]] - 1
        result[(result < 0) & (result >= -SAME)] = 0
        result[(result > last) & (result <= last + SAME)] = last
        return result

    def box(self, starts: Sequence[int], sizes: Sequence[int]) -> Box:
        """Give the part of the source that a block looks at, along each row; empty if at none."""
        # Rounding keeps the order, so that no pixel lies beyond the corners.
        corners = [np.array([a, a + n - 1]) for a, n in zip(starts, sizes, strict=True)]
        box = []
        for row, position in enumerate(self.rows):
            found, size = self.positions(row, corners), self.shape[position]
            low, high = float(found.min()), float(found.max())
            if high < 0 or low > size - 1:
                return ((0, 0),) * len(self.rows)
            if self.order == 0:
                first, end = math.floor(low + 0.5), math.floor(high + 0.5) + 1
            else:
                # Between two pixels, both are looked at.
                first, end = math.floor(low), math.floor(high) + (1 if row in self.taken else 2)
            box.append((max(first, 0), min(end, size)))
        return tuple(box)

    def blocks(self, wanted: Sequence[int]) -> tuple[int, ...]:
        """Give the sizes of blocks, along each column: those wanted, or smaller ones.

        Where the result is coarser, a block looks at more pixels than it has.
        """
        sizes = list(wanted)

        def extents() -> NDArray[np.float64]:
            found: NDArray[np.float64] = np.abs(self.matrix) @ (np.array(sizes) - 1) + 2
            return found

        while sizes and max(sizes) > 1 and np.prod(extents()) > _BOX:
            along = np.abs(self.matrix).max(axis=0) * np.array(sizes) * (np.array(sizes) > 1)
            column = int(np.argmax(along))
            sizes[column] = -(-sizes[column] // 2)
        return tuple(sizes)


def _alone(matrix: NDArray[np.float64], row: int, column: int) -> bool:
    """Say whether a row and a column depend on each other, and on no other."""
    return (
        bool(matrix[row, column])
        and np.count_nonzero(matrix[row]) == 1
        and np.count_nonzero(matrix[:, column]) == 1
    )


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class _Block:
    """One block of a result, and the box of the source that it is made of."""

    map: _Map
    starts: tuple[int, ...]
    """Of the block, along each column."""
    sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    """Of the block, along the dimensions that are kept."""
    box: Box
    """Of the source, along each row."""
    pieces: tuple[tuple[int, ...], ...]
    """Where the chunks that it lies in start, along each row."""

    def __call__(self, *chunks: Pixels) -> Pixels:
        """Compute the block from the chunks, in C order."""
        which, depth = self.map, len(self.lengths)
        taken = sorted(which.taken.items(), key=lambda pair: pair[1])
        rows = [row for row in range(len(which.rows)) if row not in which.taken]
        # What is kept comes first, then what is taken, then what is interpolated.
        order = [j for _, j in taken]
        order += [j for j in range(len(self.sizes)) if j not in order]
        shape = (*self.lengths, *(self.sizes[j] for j in order))
        if chunks:
            where, inside = self._positions()
            box = self._assembled(chunks)
            for row, _ in taken:
                nearest = np.floor(where[row].reshape(-1) + 0.5).astype(np.intp)
                axis = depth + row
                box = box.take(nearest.clip(0, box.shape[axis] - 1), axis=axis)
            box = box.transpose(*range(depth), *(depth + r for r in [r for r, _ in taken] + rows))
            planes = box.reshape(-1, *box.shape[depth + len(taken) :])
            # What is interpolated does not depend on what is taken, along which it has length 1.
            result = _interpolated(planes, [where[row] for row in rows], which).reshape(shape)
            np.copyto(result, which.fill, where=~inside.transpose(order))
        else:
            result = np.full(shape, which.fill, which.dtype)
        kept = [i for i in range(len(which.dims)) if i not in which.columns]
        axes = np.argsort([*kept, *(which.columns[j] for j in order)])
        return np.ascontiguousarray(result.transpose(axes))

    def _positions(self) -> tuple[list[NDArray[np.float64]], NDArray[np.bool_]]:
        """Give where pixels of the block lie in its box, along each row, and which are inside."""
        indices = [
            np.arange(start, start + size)
            for start, size in zip(self.starts, self.sizes, strict=True)
        ]
        inside, where = np.ones((1,) * len(self.sizes), dtype=bool), []
        for row, position in enumerate(self.map.rows):
            found = self.map.positions(row, indices)
            inside = inside & (found >= 0) & (found <= self.map.shape[position] - 1)
            # Whole numbers are subtracted exactly where it matters, inside of the source.
            where.append(found - self.box[row][0])
        return where, inside

    def _assembled(self, chunks: Sequence[Pixels]) -> Pixels:
        """Put the box together: what is kept first, then the rows."""
        which, depth = self.map, len(self.lengths)
        box = np.empty((*self.lengths, *(b - a for a, b in self.box)), which.dtype)
        for starts, chunk in zip(itertools.product(*self.pieces), chunks, strict=True):
            piece = np.asarray(chunk).transpose(*which.kept, *which.rows)
            source, target = [], []
            for (a, b), start, size in zip(self.box, starts, piece.shape[depth:], strict=True):
                source.append(slice(max(a - start, 0), b - start))
                target.append(slice(max(start - a, 0), min(start + size, b) - a))
            here: Any = (..., *target)
            there: Any = (..., *source)
            box[here] = piece[there]
        return box


def _interpolated(planes: Pixels, where: Sequence[NDArray[np.float64]], which: _Map) -> Pixels:
    """Give the values of some arrays at the same points in each.

    Parameters
    ----------
    planes
        The arrays, along the first dimension.
    where
        The indices of the points along each of the others, broadcast against each other.
    which
        The order of interpolation, and what lies outside.

    Returns
    -------
    numpy.ndarray
        The values, for each array and point.
    """
    if not where:
        return planes
    if which.order == 0:
        # By index, not by weights: 64-bit labels keep every bit.
        nearest = [np.floor(found + 0.5).astype(np.intp) for found in where]
        at: Any = [n.clip(0, size - 1) for n, size in zip(nearest, planes.shape[1:], strict=True)]
        values: Pixels = planes[(slice(None), *at)]
        return values
    from scipy import ndimage

    # SciPy has no half precision.
    dtype = np.dtype(np.float32) if which.dtype == np.float16 else which.dtype
    shape = np.broadcast_shapes((1,), *(found.shape for found in where))
    points = np.empty((len(where), *shape))
    for point, found in zip(points, where, strict=True):
        point[...] = found
    result = np.empty((len(planes), *shape), dtype)
    for plane, out in zip(planes, result, strict=True):
        ndimage.map_coordinates(
            plane.astype(dtype, copy=False), points, out, order=1, cval=which.fill, prefilter=False
        )
    return result.astype(which.dtype, copy=False)


def _lazy(variable: xr.Variable, which: _Map, like: xr.Variable) -> Any:  # noqa: ANN401 - an array
    """Give the pixels of a result as an array of dask."""
    if not which.rows:
        return variable._data  # noqa: SLF001 - `data` would load what is lazy
    import dask.array
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    source = as_dask(variable).data
    wanted = _wanted(which, like)
    chunks: list[tuple[int, ...]] = [()] * len(which.dims)
    for column, (position, size) in enumerate(zip(which.columns, which.sizes, strict=True)):
        chunks[position] = _parts(size, wanted[column])
    still = [i for i in range(len(which.dims)) if i not in which.columns]
    for axis, position in zip(which.kept, still, strict=True):
        chunks[position] = source.chunks[axis]
    name = f"resample-{tokenize(source.name, which, chunks)}"
    layer: dict[Any, Any] = {
        (name, *number): (block, *keys) for number, block, keys in _blocks(source, which, chunks)
    }
    graph = HighLevelGraph.from_collections(name, layer, dependencies=[source])
    meta = np.empty((0,) * len(chunks), which.dtype)
    array: Any = dask.array.Array
    return array(graph, name, tuple(chunks), meta=meta)


def as_dask(variable: xr.Variable) -> xr.Variable:
    """Give a variable as dask: each chunk of a store is read once, by all that need it."""
    if variable.chunks is not None:
        return variable
    stored = sources.chunks_of(variable)
    if stored is None:
        in_memory = isinstance(variable._data, np.ndarray)  # noqa: SLF001 - see above
        return variable.chunk(-1 if in_memory else "auto")
    return variable.chunk(dict(zip(variable.dims, stored, strict=True)))


def _wanted(which: _Map, like: xr.Variable) -> tuple[int, ...]:
    """Give the sizes of blocks along each column: those of the grid's chunks, if it has some."""
    chunks = sources.chunks_of(like)
    edge = max(round(_BLOCK ** (1 / max(len(which.sizes), 1))), 1)
    sizes = []
    for position, size in zip(which.columns, which.sizes, strict=True):
        dim = which.dims[position]
        known = chunks is not None and dim in like.dims
        sizes.append(max(chunks[like.dims.index(dim)]) if known and chunks else min(edge, size))
    return which.blocks(sizes)


def _parts(size: int, part: int) -> tuple[int, ...]:
    """Cut a length into equal parts and what is left."""
    return tuple(min(part, size - start) for start in range(0, size, part)) or (0,)


def _blocks(
    source: Any,  # noqa: ANN401 - a dask array
    which: _Map,
    chunks: Sequence[tuple[int, ...]],
) -> Iterator[tuple[tuple[int, ...], _Block, list[tuple[Any, ...]]]]:
    """Yield each block of a result, by its number, with the chunks of the source that it needs."""
    begins = [np.cumsum((0, *sizes)) for sizes in source.chunks]
    starts = [np.cumsum((0, *sizes)) for sizes in chunks]
    still = [i for i in range(len(chunks)) if i not in which.columns]
    # Blocks that differ only along what is kept look at the same box.
    for moved in itertools.product(*(range(len(chunks[i])) for i in which.columns)):
        pairs = list(zip(which.columns, moved, strict=True))
        corner = tuple(int(starts[i][n]) for i, n in pairs)
        sizes = tuple(chunks[i][n] for i, n in pairs)
        box = which.box(corner, sizes) if all(sizes) else ((0, 0),) * len(which.rows)
        touched = []
        for axis, (a, b) in zip(which.rows, box, strict=True):
            first = int(np.searchsorted(begins[axis], a, side="right")) - 1
            touched.append(range(first, int(np.searchsorted(begins[axis], b)) if b > a else first))
        pieces = tuple(
            tuple(int(begins[axis][n]) for n in numbers)
            for axis, numbers in zip(which.rows, touched, strict=True)
        )
        for kept in itertools.product(*(range(len(chunks[i])) for i in still)):
            number = [0] * len(chunks)
            for i, n in [*pairs, *zip(still, kept, strict=True)]:
                number[i] = n
            lengths = tuple(chunks[i][n] for i, n in zip(still, kept, strict=True))
            keys = []
            for numbers in itertools.product(*touched):
                key = dict(zip([*which.kept, *which.rows], [*kept, *numbers], strict=True))
                keys.append((source.name, *(key[i] for i in range(source.ndim))))
            yield tuple(number), _Block(which, corner, sizes, lengths, box, pieces), keys
