"""What is to be written: an image and its label images, on which levels, and by what plan.

Nothing is touched for it, and what can be found wrong is found wrong here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import (
    chunking,
    coordinates,
    descriptions,
    lattice,
    multiscale,
    omero,
    properties,
    pyramid,
    reducers,
    sources,
    spec,
    tables,
    units,
    updates,
)
from xarray_omezarr import (
    plan as plans,
)
from xarray_omezarr.coordinates import memory_of
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.model import Image, Level
from xarray_omezarr.plan import plan_copies, plan_pyramid, readable
from xarray_omezarr.stream import Work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from xarray_omezarr.coordinates import Memory
    from xarray_omezarr.model import Axis
    from xarray_omezarr.plan import Plan
    from xarray_omezarr.reducers import Boundary
    from xarray_omezarr.transforms import ScaleTranslation

    Sizes = int | Mapping[str, int]
    Factors = int | Sequence[Mapping[str, int]]

log = logging.getLogger("xarray_omezarr")


@dataclass(frozen=True)
class Options:
    """How an image is to be written, as the caller says."""

    mode: str = "w-"
    version: str | None = None
    levels: Factors | None = None
    method: str = "mean"
    boundary: Boundary = "pad"
    chunks: Sizes | None = None
    shards: Sizes | None = None
    compressors: Any = None
    existing_labels: str | None = None
    overwrite_labels: bool = False


@dataclass(frozen=True)
class Grid:
    """The levels of an image, on which its label images lie."""

    axes: tuple[Axis, ...]
    factors: tuple[tuple[int, ...], ...]
    transforms: tuple[ScaleTranslation, ...]
    shapes: tuple[tuple[int, ...], ...]
    version: str
    method: str
    boundary: Boundary


def is_default(options: Options, key: str) -> bool:
    """Say whether an option is as it is where nobody asks for anything."""
    return bool(getattr(options, key) == getattr(Options, key))


def prepare(
    array: xr.DataArray,
    dataset: xr.Dataset | None,
    labels: Sequence[str],
    options: Options,
    name: str | None = None,
) -> list[Work]:
    """Find out what is to be written, of an image and of its label images, without any I/O."""
    work = _prepare(array, options, name)
    return [work, *prepare_labels(dataset, labels, grid_below(work, options), options)]


def grid_below(work: Work, options: Options) -> Grid:
    """Give the levels that the label images of an image lie on."""
    return Grid(
        axes=work.image.axes,
        factors=tuple(level.factors for level in work.plan.levels),
        transforms=tuple(level.transform for level in work.image.levels),
        shapes=tuple(level.shape for level in work.plan.levels),
        version=work.image.version,
        # Of pixels that are copies of a block's first one, the labels are copies of that too.
        method="nearest" if options.method == "nearest" else "mode",
        boundary=options.boundary,
    )


def prepare_levels(
    arrays: Sequence[xr.DataArray],
    labels: Mapping[str, Sequence[xr.Dataset]],
    options: Options,
    name: str | None,
) -> tuple[list[Work], Grid]:
    """Find out what is to be written, of levels that are there already, without any I/O."""
    work = _prepare_levels(arrays, options, name)
    works = [work]
    for label, levels in labels.items():
        check_label_name(label)
        _check_integers(label, levels[0][label])
        prepared = _prepare_levels(
            [level[label] for level in levels],
            replace(options, version=work.image.version, compressors=None),
            label,
        )
        works.append(_as_label(prepared, label, levels[0]))
    grid = Grid(
        axes=work.image.axes,
        factors=(),
        transforms=tuple(level.transform for level in work.image.levels),
        shapes=tuple(level.shape for level in work.plan.levels),
        version=work.image.version,
        method="mode",
        boundary="pad",
    )
    return works, grid


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def prepare_labels(
    dataset: xr.Dataset | None, labels: Sequence[str], grid: Grid, options: Options
) -> list[Work]:
    """Find out what is to be written of label images, on the levels of their image."""
    if dataset is None:
        return []
    return [_prepare_label(dataset, name, grid, options) for name in labels]


def check_label_name(name: str) -> None:
    """Check that a label image can have a group of its name."""
    if not name or name.startswith((".", "__")) or name == "zarr.json" or set(name) & set("/\\"):
        msg = f"A label image cannot be called {name!r}, which is no name of a group: rename it."
        raise OmeZarrError(msg)


def _prepare_label(dataset: xr.Dataset, name: str, grid: Grid, options: Options) -> Work:
    """Prepare a label image: on the axes and levels of its image, by the most frequent value."""
    label = dataset[name]
    check_label_name(name)
    _check_integers(name, label)
    dims = [axis.name for axis in grid.axes]
    foreign = [str(dim) for dim in label.dims if dim not in dims]
    if foreign:
        msg = f"The label image '{name}' has dimensions {foreign}, which its image has not."
        raise OmeZarrError(msg)
    # "sizes are those of the image, or 1" (0.4 and 0.5, layout of labels).
    missing = {dim for dim in dims if dim not in label.dims}
    _check_on_grid(name, label, grid)
    label = label.drop_vars(missing, errors="ignore").expand_dims(sorted(missing)).transpose(*dims)
    single = [dim in missing for dim in dims]
    factors = [
        tuple(1 if one else f for one, f in zip(single, level, strict=True))
        for level in grid.factors
    ]
    transforms = [
        transform.replaced(
            {
                i: (grid.transforms[0].scale[i], grid.transforms[0].translation[i])
                for i, one in enumerate(single)
                if one
            }
        )
        for transform in grid.transforms
    ]
    options = replace(
        options, method=grid.method, boundary=grid.boundary, version=grid.version, compressors=None
    )
    work = _prepare(label, options, name, (grid.axes, factors, transforms))
    return _as_label(work, name, dataset)


def _as_label(work: Work, name: str, dataset: xr.Dataset) -> Work:
    """Turn prepared pixels into a prepared label image, with its table."""
    table = tables.properties_of(dataset, name)
    listed = ([], []) if table is None else properties.to_json(table)
    about = {
        key: value for key, value in zip(("properties", "colors"), listed, strict=True) if value
    }
    return replace(work, label=name, about=about, image=replace(work.image, channels=(), name=name))


def _check_integers(name: str, label: xr.DataArray) -> None:
    if label.dtype.kind not in "iu":
        msg = f"The label image '{name}' is of type {label.dtype}; labels are integers (.astype)."
        raise OmeZarrError(msg)


def _check_on_grid(name: str, label: xr.DataArray, grid: Grid) -> None:
    """Check that a label image lies on the pixels of its image."""
    base = grid.transforms[0]
    own = coordinates.geometry_of(label)
    units = {axis.name: axis.unit for axis in coordinates.axes_of(label, {})}
    for i, axis in enumerate(grid.axes):
        if axis.name not in label.dims:
            continue
        scale, translation = base.scale[i], base.translation[i]
        found = (
            own.get(axis.name, (1.0, 0.0)) if axis.name in label.coords else (scale, translation)
        )
        off = max(abs(found[0] - scale), abs(found[1] - translation)) / abs(scale)
        size = label.sizes[axis.name]
        unit = units[axis.name]
        if unit and axis.unit and unit != axis.unit:
            msg = (
                f"The label image '{name}' is in {unit} along '{axis.name}', its image in "
                f"{axis.unit}. Labels lie on the pixels of their image."
            )
            raise OmeZarrError(msg)
        if size != grid.shapes[0][i] or (off > lattice.SAME and not axis.is_channel):
            msg = (
                f"The label image '{name}' has {size} pixels of {found[0]:g} from {found[1]:g} "
                f"along '{axis.name}'; its image has {grid.shapes[0][i]} of {scale:g} from "
                f"{translation:g}. Labels lie on the pixels of their image."
            )
            raise OmeZarrError(msg)


def grid_of(stored: updates.Stored) -> Grid:
    """Find out on which levels an image lies."""
    place, image, shapes = stored.place, stored.image, list(stored.shapes)
    base = image.levels[0].transform
    factors = []
    for level in image.levels:
        ratios = [a / b for a, b in zip(level.transform.scale, base.scale, strict=True)]
        factors.append(tuple(max(round(ratio), 1) for ratio in ratios))
    fitting: list[Boundary] = [
        boundary
        for boundary in ("pad", "trim")
        if [reducers.reduced_shape(shapes[0], f, boundary) for f in factors] == shapes
    ]
    if not fitting:
        msg = (
            f"{place.name} has levels of the shapes {shapes}, which are not reduced from the "
            "first by whole factors: nothing can be written that lies on all of them. Write a tree."
        )
        raise OmeZarrError(msg)
    moved = any(
        level.transform.translation[i] != base.translation[i]
        for level, f in zip(image.levels, factors, strict=True)
        for i in range(len(f))
        if f[i] > 1
    )
    return Grid(
        axes=image.axes,
        factors=tuple(factors),
        transforms=tuple(level.transform for level in image.levels),
        shapes=tuple(shapes),
        version=image.version,
        method="mode" if moved else "nearest",
        boundary=fitting[0],
    )


# ── an image ─────────────────────────────────────────────────────────────────────────────────────


def _ordered(
    array: xr.DataArray, known: Mapping[str, Axis]
) -> tuple[xr.DataArray, tuple[Axis, ...]]:
    """Read the axes, check them, and put the dimensions in the order that they are stored in."""
    _check_dtype(array)
    axes = coordinates.axes_of(array, known)
    descriptions.check_axes(axes)
    order = multiscale.axis_order(axes)
    if order != sorted(order):
        axes = tuple(axes[i] for i in order)
        names = [axis.name for axis in axes]
        log.info("dimensions %s are stored in the order %s", list(array.dims), names)
        array = array.transpose(*names)
    return array, axes


def _check_dtype(array: xr.DataArray) -> None:
    if any(np.isnan(size) for sizes in array.chunks or () for size in sizes):
        msg = "The dask array does not know the sizes of its chunks: compute_chunk_sizes() first."
        raise OmeZarrError(msg)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:  # noqa: PLR2004
        msg = (
            f"Pixels of type {array.dtype} cannot be written; expected booleans, integers or "
            "floating point of up to 64 bits. Convert them first (.astype)."
        )
        raise OmeZarrError(msg)
    empty = [str(dim) for dim, size in array.sizes.items() if not size]
    if empty:
        msg = f"The image has no pixels along {', '.join(empty)}; there is nothing to write."
        raise OmeZarrError(msg)


def _version(options: Options, memory: Memory) -> str:
    newer = {"0.9.dev1": "0.6"}.get(memory.version or "", memory.version)
    return version_of(options, newer)


def version_of(options: Options, known: str | None) -> str:
    """Give the version to write: as asked, or that which something was opened from, or 0.5."""
    if options.version is None:
        return known if known in spec.ZARR_FORMATS else "0.5"
    if options.version not in spec.ZARR_FORMATS:
        known = ", ".join(map(repr, spec.ZARR_FORMATS))
        msg = f"version={options.version!r} cannot be written; expected one of {known}."
        if options.version in spec.READ_FORMATS:
            msg += " 0.1 to 0.3 have neither pixel sizes nor units: take 0.4 for older readers."
        raise OmeZarrError(msg)
    return options.version


def _transform(array: xr.DataArray, axes: Sequence[Axis], version: str) -> ScaleTranslation:
    transform = coordinates.transform_of(array, axes)
    for axis, scale in zip(axes, transform.scale, strict=True):
        if spec.is_beyond(version, scale):
            msg = (
                f"The coordinate of dimension '{axis.name}' descends, which version 0.6 cannot "
                f"say. Turn it round by .isel({axis.name}=slice(None, None, -1)), or write 0.5."
            )
            raise OmeZarrError(msg)
        if scale < 0:
            warn(
                f"The coordinate of dimension '{axis.name}' descends: it is written as a negative "
                f"scale, which not every reader takes. Turn it round by .isel({axis.name}="
                "slice(None, None, -1))."
            )
    return transform


def _prepare(
    array: xr.DataArray,
    options: Options,
    name: str | None,
    given: tuple[tuple[Axis, ...], list[tuple[int, ...]], list[ScaleTranslation]] | None = None,
) -> Work:
    memory = memory_of(array)
    version = _version(options, memory)
    options = replace(options, method=reducers.check_method(options.method))
    if _is_label(array) and options.method not in reducers.SELECTS:
        # The mean of two labels is a third one.
        options = replace(options, method="mode")
    if options.boundary not in ("pad", "trim"):
        msg = f"boundary={options.boundary!r} is not known; expected 'pad' or 'trim'."
        raise OmeZarrError(msg)
    if given is None:
        array, axes = _ordered(array, memory.axes)
        transform = _transform(array, axes, version)
        factors = _factors(array.shape, axes, transform, options)
        centred = options.method in reducers.CENTRED
        transforms = [lattice.coarser(transform, f, centred=centred) for f in factors]
    else:
        axes, factors, transforms = given
        _check_dtype(array)
    shapes = [reducers.reduced_shape(array.shape, f, options.boundary) for f in factors]
    plans = pyramid.layout(
        shapes,
        factors,
        *chunking.chunking(array, axes, (options.chunks, options.shards), version, memory),
    )
    dims = [axis.name for axis in axes]
    plan_of = partial(
        plan_pyramid, dims, array.dtype, plans, method=options.method, boundary=options.boundary
    )
    variable, chunks = array.variable, sources.chunks_of(array.variable)
    plan = plan_of(source_chunks=chunks, handed=variable.chunks is not None)
    if variable.chunks is None and chunks and sources.are_cut(chunks, plan.passes[0].tiles[0]):
        # Read tile by tile, a chunk would be read again for each tile that it is cut into: dask
        # reads it once.
        variable = variable.chunk(dict(zip(dims, chunks, strict=True)))
        plan = plan_of(source_chunks=chunks, handed=True)
    made = options.method if len(factors) > 1 else None
    image = _image(array, axes, transforms, version, name)
    return _work(array, (variable,), plan, image, made=made, options=options)


def _is_label(array: xr.DataArray) -> bool:
    """Say whether an image was opened from a label image."""
    document = memory_of(array).document
    return bool(spec.image_label(document, spec.format_of(document)))


def _prepare_levels(arrays: Sequence[xr.DataArray], options: Options, name: str | None) -> Work:
    memory = memory_of(arrays[0])
    version = _version(options, memory)
    pairs = [_ordered(array, memory.axes) for array in arrays]
    ordered, axes = [array for array, _ in pairs], pairs[0][1]
    for number, (_, others) in enumerate(pairs):
        told = [[(a.name, a.type, a.unit) for a in every] for every in (others, axes)]
        if told[0] != told[1]:
            msg = (
                f"The axes of level {number}, as (name, type, unit), are {told[0]}; those of level "
                f"0 are {told[1]}. The levels of an image share their axes."
            )
            raise OmeZarrError(msg)
    transforms = [_transform(array, axes, version) for array in ordered]
    _check_one_image(ordered, transforms)
    ones = (1,) * len(axes)
    sizes = chunking.chunking(ordered[0], axes, (options.chunks, options.shards), version, memory)
    plans = pyramid.layout([a.shape for a in ordered], [ones] * len(ordered), *sizes)
    plan = plan_copies(
        [axis.name for axis in axes],
        ordered[0].dtype,
        plans,
        [sources.chunks_of(array.variable) for array in ordered],
        [array.chunks is not None for array in ordered],
    )
    variables = tuple(array.variable for array in ordered)
    image = _image(ordered[0], axes, transforms, version, name)
    return _work(ordered[0], variables, plan, image, made=None, options=options)


def _image(
    array: xr.DataArray,
    axes: tuple[Axis, ...],
    transforms: Sequence[ScaleTranslation],
    version: str,
    name: str | None,
) -> Image:
    memory = memory_of(array)
    channel = next((axis.name for axis in axes if axis.is_channel), None)
    channels = coordinates.channels_of(array, channel)
    if channels is not None:
        channels = omero.complete_channels(channels, array.dtype)
    elif any(axis.is_channel and dim in _resized(array) for dim, axis in memory.axes.items()):
        # The channels are no longer those that the document tells of.
        channels = ()
    known, intrinsic = multiscale.names_in(memory.document)
    image = Image(
        version=version,
        axes=axes,
        levels=tuple(Level("", transform) for transform in transforms),
        name=known if name is None else name,
        channels=channels,
        document=memory.document,
        intrinsic=intrinsic,
    )
    lost = descriptions.lost_systems(image)
    if lost:
        warn(
            f"The coordinate systems {lost} are left out: they belong to other axes than "
            f"{list(image.dims)}, need arrays that are not written with the image, or version "
            f"{version} has no place for them."
        )
    return image


def _resized(array: xr.DataArray) -> tuple[str, ...]:
    """Give the axes that are not as long as they were when the image was opened."""
    sizes = memory_of(array).sizes
    return tuple(dim for dim, size in sizes.items() if array.sizes.get(dim) != size)


def _work(
    array: xr.DataArray,
    variables: tuple[xr.Variable, ...],
    plan: Plan,
    image: Image,
    *,
    made: str | None,
    options: Options,
) -> Work:
    if plan.block_bytes > plans.LARGE_BYTES:
        _warn_of_memory(plan, array, image.axes)
    codecs = chunking.codecs(options.compressors, image.version, memory_of(array))
    about: dict[str, Any] | None = {} if _is_label(array) else None
    return Work(plan, variables, image, made, _resized(array), codecs, about=about)


def _warn_of_memory(plan: Plan, array: xr.DataArray, axes: Sequence[Axis]) -> None:
    smaller = chunking.default_chunks(array, axes)
    came, way = "", f"It would be less with chunks={smaller} and no larger shards."
    if array.chunks is not None:
        source = "×".join(map(str, pyramid.chunk_sizes(array.chunks)))
        came = f" The pixels come in chunks of {source}."
        if tuple(smaller.values()) == plan.levels[0].chunks:
            way = "It would be less if they came in smaller ones, and with no larger shards."
    warn(
        f"Each worker holds up to {readable(plan.block_bytes)} at a time to write this "
        f"image, since blocks are made of whole chunks and shards.{came} {way}"
    )


def _factors(
    shape: Sequence[int], axes: Sequence[Axis], transform: ScaleTranslation, options: Options
) -> list[tuple[int, ...]]:
    levels = options.levels
    first = (1,) * len(axes)
    if levels is None or isinstance(levels, (int, np.integer)):
        if levels is not None and (isinstance(levels, bool) or levels < 1):
            msg = f"levels={levels!r}: expected the number of levels in all, 1 or more."
            raise OmeZarrError(msg)
        spacing = [
            scale * units.METERS.get(axis.unit or "", 1.0) if axis.type == "space" else None
            for axis, scale in zip(axes, transform.scale, strict=True)
        ]
        further = pyramid.default_factors(shape, spacing, count=levels, boundary=options.boundary)
    else:
        if not isinstance(levels, (list, tuple)):
            msg = (
                f"levels={levels!r}: expected a number of levels in all, or a list with the "
                "factors of each further level, like [{'y': 2, 'x': 2}]."
            )
            raise OmeZarrError(msg)
        further = pyramid.check_factors(levels, [axis.name for axis in axes], shape)
    return [first, *further]


def _check_one_image(
    arrays: Sequence[xr.DataArray], transforms: Sequence[ScaleTranslation]
) -> None:
    """Check that levels are one image at decreasing resolution."""
    first, base = arrays[0], transforms[0]
    for number, (array, transform) in enumerate(zip(arrays, transforms, strict=True)):
        if array.dims != first.dims or array.dtype != first.dtype:
            msg = (
                f"Level {number} has dimensions {array.dims} of type {array.dtype}, level 0 has "
                f"{first.dims} of type {first.dtype}; the levels of an image are alike."
            )
            raise OmeZarrError(msg)
        finer = transforms[max(number - 1, 0)].scale
        if any(abs(s) < abs(f) * (1 - lattice.SAME) for s, f in zip(transform.scale, finer,
                                                                        strict=True)):  # fmt: skip
            msg = (
                f"Level {number} has pixels of {transform.scale}, smaller than level "
                f"{number - 1} with {finer}; levels go from fine to coarse."
            )
            raise OmeZarrError(msg)
        coarser = (1 + lattice.SAME) * np.abs(finer) < np.abs(transform.scale)
        if number and not coarser.any():
            msg = f"Level {number} has the pixels of level {number - 1}, {finer}: expected coarser."
            raise OmeZarrError(msg)
        for axis, dim in enumerate(array.dims):
            scale = transform.scale[axis]
            edges = _edges(scale, transform.translation[axis], array.sizes[dim])
            whole = _edges(base.scale[axis], base.translation[axis], first.sizes[dim])
            off = max(abs(a - b) for a, b in zip(edges, whole, strict=True)) / abs(scale)
            if off > 1 + lattice.EVEN:
                msg = (
                    f"Level {number} spans {edges[0]:.6g} to {edges[1]:.6g} along '{dim}', level 0 "
                    f"{whole[0]:.6g} to {whole[1]:.6g}: they differ by {off:.3g} pixels of level "
                    f"{number}, expected at most one. Select all levels alike (tree.sel)."
                )
                raise OmeZarrError(msg)


def _edges(scale: float, translation: float, size: int) -> tuple[float, float]:
    """Give where an axis starts and ends: half a pixel before its first and after its last."""
    ends = (translation - scale / 2, translation + scale * (size - 0.5))
    return min(ends), max(ends)
