"""The levels of an image as a lazy tree: what the writer writes, without writing it."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr import coordinates, reducers, works
from xarray_omezarr.plan import relative, scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xarray_omezarr.plan import Plan, Shape
    from xarray_omezarr.pyramid import LevelPlan
    from xarray_omezarr.reducers import Array, Boundary
    from xarray_omezarr.stream import Work
    from xarray_omezarr.works import Options


def pyramid(
    array: xr.DataArray, dataset: xr.Dataset | None, labels: Sequence[str], options: Options
) -> xr.DataTree:
    """Give the levels of an image and of its label images, each reduced as it is needed.

    Parameters
    ----------
    array
        The pixels.
    dataset, labels
        The variables of the dataset that are label images.
    options
        Which levels, and how they are made.

    Returns
    -------
    xarray.DataTree
        `/0`, `/1` and so on; label images below `/labels`. The first level is what it was.
    """
    work, *others = works.prepare(array, dataset, labels, options)
    name = coordinates.IMAGE if array.name is None else str(array.name)
    title = {} if dataset is None else {k: v for k, v in dataset.attrs.items() if k == "name"}
    nodes = {
        f"/{key}": level.assign_attrs(title) for key, level in _levels(work, array, name).items()
    }
    for label in others:
        assert dataset is not None  # noqa: S101 - labels are its variables
        assert label.label is not None  # noqa: S101 - as such they were prepared
        table = [
            key for key, value in dataset.variables.items() if value.dims == (f"{label.label}_id",)
        ]
        own = dataset[table].drop_vars(array.coords, errors="ignore")
        nodes[f"/labels/{label.label}"] = own.drop_attrs(deep=False)
        for key, level in _levels(label, dataset[label.label], label.label).items():
            nodes[f"/labels/{label.label}/{key}"] = level
    return xr.DataTree.from_dict(nodes)


def _levels(work: Work, array: xr.DataArray, name: str) -> dict[str, xr.Dataset]:
    plan, image = work.plan, work.image
    (source,) = work.sources
    levels = {}
    for number, pixels in enumerate(_pixels(plan, source)):
        variable = xr.Variable(image.dims, pixels, source.attrs, _kept(source.encoding))
        # What lies along no dimension that is reduced stays.
        coords = {
            key: coord.variable
            for key, coord in array.coords.items()
            if all(plan.levels[number].shape[image.dims.index(str(d))] == array.sizes[d]
                   and plan.levels[number].factors[image.dims.index(str(d))] == 1
                   for d in coord.dims)
        }  # fmt: skip
        made = coordinates.image_coordinates(
            image,
            image.levels[number],
            plan.levels[number].shape,
            place=name,
            warn=lambda _: None,
        )
        coords = {
            **{
                key: coord
                for key, coord in made.items()
                if set(coord.dims) & set(array.coords)
                or any(
                    plan.levels[number].factors[image.dims.index(str(d))] > 1 for d in coord.dims
                )
            },
            **coords,
        }
        levels[str(number)] = xr.Dataset({name: variable}, coords=coords)
    return levels


def _kept(encoding: Mapping[Any, Any]) -> dict[Any, Any]:
    """Give what the encoding of an image says of all of its levels."""
    return {"omezarr": encoding["omezarr"]} if "omezarr" in encoding else {}


def _pixels(plan: Plan, source: xr.Variable) -> list[Any]:
    """Give the pixels of each level, the first as it came unless it is another one."""
    lazy = source if source.chunks is not None else source.chunk(_chunks(plan, source.dims))
    if plan.method == "laplacian":
        return _differences(plan, lazy.data)
    levels = [source._data]  # noqa: SLF001 - `data` would load what is lazy
    finer = lazy.data
    for before, level in zip(plan.levels, plan.levels[1:], strict=False):
        ratio = relative(before, level)
        reduce = partial(_reduced, factors=ratio, method=plan.method, boundary=plan.boundary)
        finer = _mapped(finer, reduce, before, level, reducers.halo(plan.method, ratio), plan.dtype)
        levels.append(finer)
    return levels


def _chunks(plan: Plan, dims: Sequence[Any]) -> dict[Any, int]:
    """Give the parts that an image is read in: those that the writer reads it in."""
    return dict(zip(dims, plan.passes[0].tiles[0], strict=True))


def _differences(plan: Plan, finer: Any) -> list[Any]:  # noqa: ANN401 - a dask array
    levels = []
    for number, level in enumerate(plan.levels):
        further = plan.levels[number + 1 : number + 2]
        ratio = relative(*(plan.levels[number : number + 2] if further
                           else plan.levels[number - 1 : number + 1]))  # fmt: skip
        cells = reducers.halo("laplacian", ratio)
        differ = partial(_difference, factors=ratio, boundary=plan.boundary)
        levels.append(_mapped(finer, differ, level, level, cells, plan.dtype, ratio))
        for coarser in further:
            smooth = partial(_smoothed, factors=ratio, boundary=plan.boundary)
            finer = _mapped(finer, smooth, level, coarser, cells, plan.dtype)
    return levels


def _reduced(block: Array, *, factors: Shape, method: str, boundary: Boundary) -> Array:
    return reducers.downsample(block, factors, method, boundary)


def _difference(block: Array, *, factors: Shape, boundary: Boundary) -> Array:
    return reducers.laplacian(block, factors, boundary)[0]


def _smoothed(block: Array, *, factors: Shape, boundary: Boundary) -> Array:
    return reducers.laplacian(block, factors, boundary)[1]


def _mapped(  # noqa: PLR0917 - what becomes what
    finer: Any,  # noqa: ANN401 - a dask array
    function: Callable[[Array], Array],
    before: LevelPlan,
    after: LevelPlan,
    cells: Shape,
    dtype: np.dtype[Any],
    ratio: Shape | None = None,
) -> Any:  # noqa: ANN401
    """Apply a function to whole cells of a dask array, and to as many around as it looks at."""
    import dask.array

    da: Any = dask.array
    factors = relative(before, after)
    units = ratio or factors
    depth = {
        # What is one chunk anyway has all there is around it.
        axis: 0 if n <= h * f else h * f
        for axis, (h, f, n) in enumerate(zip(cells, units, before.shape, strict=True))
    }
    finer = finer.rechunk(
        tuple(
            _sizes(max(sizes), f, depth[axis], n)
            for axis, (sizes, f, n) in enumerate(
                zip(finer.chunks, units, before.shape, strict=True)
            )
        )
    )
    around = da.overlap.overlap(finer, depth, "none") if any(cells) else finer
    starts = [np.cumsum((0, *sizes)) for sizes in finer.chunks]

    def apply(block: Array, block_info: Any = None) -> Array:  # noqa: ANN401
        result = function(block)
        if block_info is None or not any(cells):
            return result
        box = tuple(
            (int(start[i]), int(start[i + 1]))
            for start, i in zip(starts, block_info[0]["chunk-location"], strict=True)
        )
        wide = tuple(
            (max(a - depth[axis], 0), min(b + depth[axis], before.shape[axis]))
            for axis, (a, b) in enumerate(box)
        )
        inner, outer = scaled(box, before, after), scaled(wide, before, after)
        return result[
            tuple(slice(a - o, b - o) for (a, b), (o, _) in zip(inner, outer, strict=True))
        ]

    chunks = tuple(
        tuple(min(-(-int(b) // f), n) - min(int(a) // f, n) for a, b in itertools.pairwise(start))
        for start, f, n in zip(starts, factors, after.shape, strict=True)
    )
    return da.map_blocks(
        apply, around, dtype=dtype, chunks=chunks, meta=np.empty((0,) * finer.ndim, dtype)
    )


def _sizes(size: int, factor: int, depth: int, length: int) -> tuple[int, ...]:
    """Give chunks of about a size, in whole cells, none of which is shorter than a halo."""
    size = max(size, depth, factor) // factor * factor
    if size >= length:
        return (length,)
    sizes = [min(size, length - start) for start in range(0, length, size)]
    if sizes[-1] < depth:
        last = sizes.pop()
        sizes[-1] += last
    return tuple(sizes)
