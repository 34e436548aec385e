"""Where pixels lie in a system that no single dimension tells, computed when it is looked at.

A rotation, an affine transformation or a field gives each pixel positions of its own, as many as
the image has pixels, times its axes. They are never held: what is kept are the positions along each
dimension, and the transformation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.lib.mixins import NDArrayOperatorsMixin
from xarray.core.indexing import IndexSelResult

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.lattice import SAME
from xarray_omezarr.transforms import Affine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

    from xarray_omezarr.transforms import Transform

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """The pixels of an image, by their positions along each axis, and a transformation of these.

    Of a transformation that does not mix all axes, it is one of the parts that it falls into.
    """

    dims: tuple[str, ...]
    """The dimensions."""
    places: tuple[Floats, ...]
    """The positions along each, or the single one that was selected."""
    steps: tuple[float, ...]
    """The pixel sizes, for dimensions of a single pixel."""
    transform: Transform
    inputs: tuple[int, ...]
    """Which of the axes that it takes the dimensions are."""
    outputs: tuple[int, ...]
    """Which of the axes that it leads to depend on them, and on no others."""
    ndim: tuple[int, int]
    """How many axes it takes and leads to."""

    @property
    def sizes(self) -> dict[str, int]:
        """The dimensions of which more than one position is left, with their sizes."""
        pairs = zip(self.dims, self.places, strict=True)
        return {dim: place.size for dim, place in pairs if place.ndim}

    def at(self, places: Sequence[Floats], output: int) -> Floats:
        """Give one coordinate of points, whose positions along each dimension are broadcast."""
        places = np.broadcast_arrays(*places)
        number = self.outputs[output]
        if not self.transform.is_affine:
            points = np.zeros((*places[0].shape, self.ndim[0]))
            points[..., self.inputs] = np.stack(places, axis=-1)
            return self.transform.apply(points)[..., number]
        # Term by term, and not as a product of matrices: that may round differently from one shape
        # to another, and a crop has the very positions that it has in the whole.
        matrix, offset = self.transform.matrix()
        result = np.full(places[0].shape, offset[number])
        for i, place in zip(self.inputs, places, strict=True):
            if matrix[number, i]:
                result += matrix[number, i] * place
        return result

    def find(self, points: Floats) -> Floats:
        """Give the positions along each dimension of points of the shape (..., outputs)."""
        if self.transform.is_affine:
            matrix, offset = self.transform.matrix()
            part = matrix[np.ix_(self.outputs, self.inputs)]
            return Affine.of(part, offset[list(self.outputs)]).inverse().apply(points)
        full = np.zeros((*points.shape[:-1], self.ndim[1]))
        full[..., self.outputs] = points
        return self.transform.inverse().apply(full)[..., self.inputs]

    def same(self, other: Grid, exclude: Collection[Hashable] = ()) -> bool:
        """Say whether two grids have the same pixels at the same places, but along some dims."""
        return (
            (self.dims, self.inputs, self.outputs) == (other.dims, other.inputs, other.outputs)
            and self.transform == other.transform
            and all(
                dim in exclude or np.array_equal(one, two)
                for dim, one, two in zip(self.dims, self.places, other.places, strict=True)
            )
        )


class Positions(NDArrayOperatorsMixin):
    """One coordinate of all pixels of a grid, as an array that is not there.

    Indexing computes what is asked for. Any function of NumPy is left to dask, so that nothing
    computes all of it but `numpy.asarray`, which is `.values` in xarray.
    """

    dtype = np.dtype(np.float64)

    def __init__(self, grid: Grid, output: int, dims: tuple[str, ...]) -> None:
        self._grid = grid
        self._output = output
        self._dims = dims

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the dimensions, in the order of this array."""
        return tuple(self._grid.sizes[dim] for dim in self._dims)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self._dims)

    @property
    def size(self) -> int:
        """The number of pixels."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Floats:  # noqa: ANN401 - whatever NumPy takes
        places = []
        for dim, place in zip(self._grid.dims, self._grid.places, strict=True):
            along = [place.size if place.ndim and d == dim else 1 for d in self._dims]
            places.append(np.broadcast_to(place.reshape(along), self.shape)[key])
        return self._grid.at(places, self._output)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: FBT001 - NumPy's signature
        if copy is False:
            msg = "These positions are computed: they cannot be had without a copy."
            raise ValueError(msg)
        return np.asarray(self[...], dtype=dtype)

    def transpose(self, order: Sequence[int]) -> Positions:
        """Give the same positions with their dimensions in another order."""
        return Positions(self._grid, self._output, tuple(self._dims[i] for i in order))

    def astype(self, dtype: DTypeLike, **options: Any) -> Any:  # noqa: ANN401 - of NumPy
        """Give the positions as another type, by dask."""
        return self._lazy().astype(dtype, **options)

    def __array_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:  # noqa: ANN401
        return func(*_lazily(args), **{key: _lazily(value) for key, value in kwargs.items()})

    def __array_ufunc__(
        self,
        ufunc: np.ufunc,
        method: str,
        *inputs: Any,  # noqa: ANN401 - NumPy's signature
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        return getattr(ufunc, method)(*_lazily(inputs), **kwargs)

    def __dask_tokenize__(self) -> object:
        grid = self._grid
        return (type(self).__name__, grid.places, repr(grid.transform), grid.inputs, self._output,
                grid.outputs, self._dims)  # fmt: skip

    def _lazy(self) -> Any:  # noqa: ANN401 - a dask array
        import dask.array

        da: Any = dask.array
        return da.from_array(self, meta=np.empty((0,) * self.ndim))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim}: {self._grid.sizes[dim]}" for dim in self._dims)
        return f"<Positions of ({sizes}) float64, computed when looked at>"

    def _repr_inline_(self, max_width: int) -> str:
        if not self.size:
            return ""
        first, last = (float(self[(end,) * self.ndim]) for end in (0, -1))
        return f"{first:.4g} ... {last:.4g}"[:max_width]


def _lazily(value: Any) -> Any:  # noqa: ANN401 - arguments of any function
    """Replace positions by arrays of dask that compute them."""
    if isinstance(value, Positions):
        return value._lazy()  # noqa: SLF001 - of the same module
    if isinstance(value, (list, tuple)):
        return type(value)(map(_lazily, value))
    return value


class PositionIndex(xr.Index):
    """Finds pixels by where they lie in a coordinate system; keeps positions lazy."""

    def __init__(self, grid: Grid, names: Sequence[Hashable]) -> None:
        self.grid = grid
        self.names = tuple(names)

    def create_variables(
        self, variables: Mapping[Any, xr.Variable] | None = None
    ) -> dict[Any, xr.Variable]:
        """Make the lazy coordinates, with the attributes of those that there were."""
        made = {}
        sizes = self.grid.sizes
        for output, name in enumerate(self.names):
            old = (variables or {}).get(name)
            # What was transposed stays so.
            dims = tuple(() if old is None else (str(d) for d in old.dims if d in sizes))
            dims = dims if set(dims) == set(sizes) else tuple(sizes)
            data = Positions(self.grid, output, dims)
            made[name] = xr.Variable(dims, data, None if old is None else old.attrs)
        return made

    def isel(self, indexers: Mapping[Any, Any]) -> PositionIndex | None:
        """Select pixels along each dimension; of points in several at once, no grid is left."""
        places = list(self.grid.places)
        for dim, indexer in indexers.items():
            number = self.grid.dims.index(dim)
            if isinstance(indexer, xr.Variable):
                if indexer.dims not in {(), (dim,)}:
                    return None
                indexer = indexer.values  # noqa: PLW2901
            places[number] = np.asarray(places[number][indexer])
        grid = replace(self.grid, places=tuple(places))
        return PositionIndex(grid, self.names) if grid.sizes else None

    def sel(
        self,
        labels: dict[Any, Any],
        method: str | None = None,
        tolerance: Any = None,  # noqa: ANN401 - xarray's signature
    ) -> IndexSelResult:
        """Find the pixels that points lie in.

        Raises
        ------
        KeyError
            Where a point lies more than half a pixel outside.
        OmeZarrError
            Where it is not asked for points, by all of the coordinates and the nearest pixel.
        """
        names = ", ".join(f"{name}=…" for name in self.names)
        if method != "nearest" or tolerance is not None or set(labels) != set(self.names):
            msg = (
                f"Pixels are found by .sel({names}, method='nearest'), with all of these and no "
                f"tolerance; found {', '.join(map(str, labels))}, method={method!r}."
            )
            raise OmeZarrError(msg)
        dims, points = _points([labels[name] for name in self.names], names)
        wanted = self.grid.find(points)
        pixels = {}
        pairs = zip(self.grid.dims, self.grid.places, self.grid.steps, strict=True)
        for number, (dim, places, step) in enumerate(pairs):
            found, outside = _nearest(np.atleast_1d(places), step, wanted[..., number])
            if outside.any():
                first = np.unravel_index(int(np.argmax(outside)), outside.shape)
                point = ", ".join(
                    f"{name}={value:g}"
                    for name, value in zip(self.names, points[first], strict=True)
                )
                msg = (
                    f"The point {point} lies outside of the image: along '{dim}' it is at "
                    f"{wanted[first][number]:g}, and the pixels lie from {places.min():g} to "
                    f"{places.max():g}."
                )
                raise KeyError(msg)
            if places.ndim:
                pixels[dim] = xr.Variable(dims, found) if dims else int(found)
        return IndexSelResult(pixels)

    def equals(self, other: xr.Index, *, exclude: frozenset[Hashable] | None = None) -> bool:
        """Say whether another index has the same pixels at the same places."""
        return isinstance(other, PositionIndex) and self.grid.same(other.grid, exclude or ())

    def join(self, other: Self, how: str = "inner") -> Self:
        """Give the pixels that two parts of one grid share, or all, as `PandasIndex` does.

        Raises
        ------
        OmeZarrError
            Where they are not parts of one grid.
        """
        if not self.grid.same(other.grid, set(self.grid.sizes)):
            names = ", ".join(map(str, self.names))
            msg = (
                f"The positions {names} are not of one grid, so the images cannot be aligned by "
                "them: drop them first (.drop_vars)."
            )
            raise OmeZarrError(msg)
        places = []
        for one, two in zip(self.grid.places, other.grid.places, strict=True):
            if not one.ndim:
                places.append(one)
                continue
            first, second = pd.Index(one), pd.Index(two)
            joined = first.union(second) if how == "outer" else first.intersection(second)
            places.append(np.asarray(joined, dtype=np.float64))
        return type(self)(replace(self.grid, places=tuple(places)), self.names)

    def reindex_like(
        self,
        other: Self,
        method: str | None = None,
        tolerance: Any = None,  # noqa: ANN401 - xarray's signature
    ) -> dict[Hashable, Any]:
        """Give, along each dimension that differs, which pixels those of another index are."""
        pairs = zip(self.grid.dims, self.grid.places, other.grid.places, strict=True)
        return {
            dim: pd.Index(one).get_indexer(two, method, tolerance=tolerance)  # type: ignore[arg-type]
            for dim, one, two in pairs
            if one.ndim and not np.array_equal(one, two)
        }

    def rename(
        self, name_dict: Mapping[Any, Hashable], dims_dict: Mapping[Any, Hashable]
    ) -> PositionIndex:
        """Rename coordinates and dimensions."""
        dims = tuple(str(dims_dict.get(dim, dim)) for dim in self.grid.dims)
        names = [name_dict.get(name, name) for name in self.names]
        return PositionIndex(replace(self.grid, dims=dims), names)

    def roll(self, shifts: Mapping[Any, int]) -> PositionIndex:
        """Roll the pixels along some dimensions."""
        places = [
            np.roll(place, shifts.get(dim, 0))
            for dim, place in zip(self.grid.dims, self.grid.places, strict=True)
        ]
        return PositionIndex(replace(self.grid, places=tuple(places)), self.names)

    @classmethod
    def concat(
        cls,
        indexes: Sequence[Self],
        dim: Hashable,
        positions: Iterable[Iterable[int]] | None = None,
    ) -> Self:
        """Put parts of one grid together along a dimension."""
        first = indexes[0].grid
        number = first.dims.index(str(dim)) if dim in first.dims else None
        if number is None or not all(first.same(index.grid, {dim}) for index in indexes):
            names = ", ".join(map(str, indexes[0].names))
            msg = (
                f"The positions {names} are not parts of one grid, of which several along '{dim}' "
                "would be one: drop them first (.drop_vars)."
            )
            raise OmeZarrError(msg)
        joined = np.concatenate([np.atleast_1d(i.grid.places[number]) for i in indexes])
        if positions is not None:
            order = np.concatenate([np.asarray(list(p)) for p in positions])
            joined = joined[np.argsort(order)]
        places = [joined if i == number else place for i, place in enumerate(first.places)]
        return cls(replace(first, places=tuple(places)), indexes[0].names)


def _points(labels: Sequence[Any], names: str) -> tuple[tuple[Hashable, ...], Floats]:
    """Give the points that are asked for, as (..., n), and the dimensions of all but the last."""
    arrays = []
    for label in labels:
        if isinstance(label, (xr.DataArray, xr.Variable)):
            arrays.append(xr.DataArray(label.values, dims=label.dims))
            continue
        values = label if isinstance(label, slice) else np.asarray(label)
        if isinstance(values, slice) or values.ndim > 1 or values.dtype.kind not in "iuf":
            msg = (
                f"{label!r:.80} is no point: expected a number, a sequence or a DataArray of them "
                f"for each of {names}. Use .isel(…) for slices of pixels."
            )
            raise OmeZarrError(msg)
        arrays.append(xr.DataArray(values, dims=("points",)[: values.ndim]))
    try:
        together = xr.broadcast(*arrays)
    except ValueError as error:
        msg = f"There are not as many points in each of {names}: {error}"
        raise OmeZarrError(msg) from error
    return together[0].dims, np.stack([v.values.astype(np.float64) for v in together], axis=-1)


def _nearest(
    places: Floats, step: float, wanted: Floats
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Find the pixel nearest to each position, and which positions lie outside of all pixels.

    A pixel reaches half way to its neighbour; the outermost ones as far to the other side.
    """
    order = np.argsort(places, kind="stable")
    ascending = places[order]
    steps = np.diff(ascending) if len(places) > 1 else np.array([abs(step)])
    rim = (0.5 + SAME) * steps[[0, -1]]
    # NaN is nowhere.
    outside = ~((wanted >= ascending[0] - rim[0]) & (wanted <= ascending[-1] + rim[1]))
    right = np.searchsorted(ascending, wanted).clip(1, max(len(places) - 1, 1))
    left = right - 1
    right = right.clip(max=len(places) - 1)
    closer = np.where(wanted - ascending[left] <= ascending[right] - wanted, left, right)
    return order[closer], outside
