"""Dataset or DataTree → plan → streamed blocks → commit."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import coordinates, lattice, pyramid, reducers, spec, storage, stream
from xarray_omezarr.coordinates import memory_of
from xarray_omezarr.errors import OmeZarrError, OmeZarrWarning
from xarray_omezarr.model import Image, Level
from xarray_omezarr.stream import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from dask.delayed import Delayed

    from xarray_omezarr.coordinates import Memory
    from xarray_omezarr.model import Axis
    from xarray_omezarr.pyramid import Plan
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


def write_image(
    array: xr.DataArray,
    labels: Mapping[str, xr.DataArray],
    target: object,
    *,
    group: str | None,
    options: Options,
    name: str | None,
    compute: bool,
    storage_options: Mapping[str, Any] | None,
) -> Delayed | None:
    """Write an image and its pyramid.

    Parameters
    ----------
    array
        The pixels.
    labels
        The label images that are written with it, by name.
    target, group, storage_options
        Where to; see `storage.locate`.
    options
        How.
    name
        The name of the multiscale image, or None to keep the one that it was opened with.
    compute
        Whether to write now; else what comes back writes when it is computed.
    """
    work = _prepare(array, options, name)
    works = [work, *(_prepare_label(array, work, *item, options) for item in labels.items())]
    place = storage.locate(target, group, write=True, storage_options=storage_options)
    return stream.write(works, place, options.mode, compute=compute)


def write_levels(
    arrays: Sequence[xr.DataArray],
    target: object,
    *,
    group: str | None,
    options: Options,
    name: str | None,
    compute: bool,
    storage_options: Mapping[str, Any] | None,
) -> Delayed | None:
    """Write levels that are there already, the finest first, each with its own coordinates."""
    work = _prepare_levels(arrays, options, name)
    place = storage.locate(target, group, write=True, storage_options=storage_options)
    return stream.write([work], place, options.mode, compute=compute)


# ── what is written ──────────────────────────────────────────────────────────────────────────────


def tree_levels(tree: xr.DataTree, image: str | None) -> list[xr.Dataset]:
    """Collect the levels of a tree, the finest first; empty ones are dropped with a warning."""
    key = image or coordinates.IMAGE
    nodes = [node for node in tree.children.values() if key in node.data_vars]
    if all(str(node.name).isdecimal() for node in nodes):
        nodes.sort(key=lambda node: int(str(node.name)))
    levels = [node.to_dataset(inherit=True) for node in nodes]
    if not levels:
        msg = (
            f"The tree has no levels: expected children '0', '1', … with a variable '{key}', "
            f"found {', '.join(tree.children) or 'none'}."
        )
        raise OmeZarrError(msg)
    empty = [str(node.name) for node, level in zip(nodes, levels, strict=True)
             if not level[key].size]  # fmt: skip
    if len(empty) == len(levels):
        msg = "All levels of the tree are empty: there is nothing to write. Select a larger region."
        raise OmeZarrError(msg)
    if empty:
        warnings.warn(
            f"Levels without a pixel are left out: {', '.join(empty)}.",
            OmeZarrWarning,
            stacklevel=3,
        )
    return [level for level in levels if level[key].size]


def _ordered(
    array: xr.DataArray, known: Mapping[str, Axis]
) -> tuple[xr.DataArray, tuple[Axis, ...]]:
    """Read the axes, check them, and put the dimensions in the order that they are stored in."""
    _check_dtype(array)
    axes = coordinates.axes_of(array, known)
    spec.check_axes(axes)
    order = spec.axis_order(axes)
    if order != sorted(order):
        axes = tuple(axes[i] for i in order)
        names = [axis.name for axis in axes]
        log.info("dimensions %s are stored in the order %s", list(array.dims), names)
        array = array.transpose(*names)
    return array, axes


def _check_dtype(array: xr.DataArray) -> None:
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
    if options.version is None:
        return memory.version if memory.version in spec.ZARR_FORMATS else "0.5"
    if options.version not in spec.ZARR_FORMATS:
        known = ", ".join(spec.ZARR_FORMATS)
        msg = f"version={options.version!r} cannot be written; expected one of {known}."
        raise OmeZarrError(msg)
    return options.version


def _transform(array: xr.DataArray, axes: Sequence[Axis]) -> ScaleTranslation:
    transform = coordinates.transform_of(array, axes)
    for axis, scale in zip(axes, transform.scale, strict=True):
        if scale < 0:
            warnings.warn(
                f"The coordinate of dimension '{axis.name}' descends: it is written as a negative "
                f"scale, which not every reader takes. Turn it round by .isel({axis.name}="
                "slice(None, None, -1)).",
                OmeZarrWarning,
                stacklevel=5,
            )
    return transform


def _prepare(
    array: xr.DataArray,
    options: Options,
    name: str | None,
    factors: Sequence[tuple[int, ...]] | None = None,
) -> Work:
    memory = memory_of(array)
    version = _version(options, memory)
    reducers.check_method(options.method)
    if options.boundary not in ("pad", "trim"):
        msg = f"boundary={options.boundary!r} is not known; expected 'pad' or 'trim'."
        raise OmeZarrError(msg)
    array, axes = _ordered(array, memory.axes)
    transform = _transform(array, axes)
    factors = factors or _factors(array.shape, axes, transform, options)
    shapes = [reducers.reduced_shape(array.shape, f, options.boundary) for f in factors]
    plans = pyramid.layout(shapes, factors, *_chunking(array, axes, options, version, memory))
    plan = pyramid.plan_pyramid(
        [axis.name for axis in axes],
        array.dtype,
        plans,
        method=options.method,
        boundary=options.boundary,
        source_chunks=_source_chunks(array),
    )
    centred = options.method in reducers.CENTRED
    transforms = [lattice.coarser(transform, f, centred=centred) for f in factors]
    made = options.method if len(factors) > 1 else None
    image = _image(array, axes, transforms, version, name)
    return _work(array, (array.variable,), plan, image, made=made, options=options)


def _prepare_label(
    image: xr.DataArray, work: Work, name: str, label: xr.DataArray, options: Options
) -> Work:
    """Prepare a label image: on the axes and levels of its image, by the most frequent value."""
    if label.dtype.kind not in "iu":
        msg = f"The label image '{name}' is of type {label.dtype}; labels are integers (.astype)."
        raise OmeZarrError(msg)
    known = {axis.name: axis for axis in work.image.axes}
    foreign = [str(dim) for dim in label.dims if dim not in known]
    if foreign:
        msg = f"The label image '{name}' has dimensions {foreign}, which its image has not."
        raise OmeZarrError(msg)
    # "sizes are those of the image, or 1" (0.4 and 0.5, layout of labels).
    missing = [dim for dim in known if dim not in label.dims]
    for dim in missing:
        first = image.coords[dim].variable[:1] if dim in image.coords else 1
        label = label.drop_vars(dim, errors="ignore").expand_dims({dim: first})
    label = label.transpose(*known)
    factors = [
        tuple(1 if dim in missing else f for dim, f in zip(known, level.factors, strict=True))
        for level in work.plan.levels
    ]
    options = replace(options, method="mode", version=work.image.version, compressors=None)
    prepared = _prepare(label, options, name, factors)
    return replace(prepared, label=name, image=replace(prepared.image, channels=(), name=name))


def _prepare_levels(arrays: Sequence[xr.DataArray], options: Options, name: str | None) -> Work:
    memory = memory_of(arrays[0])
    version = _version(options, memory)
    pairs = [_ordered(array, memory.axes) for array in arrays]
    ordered, axes = [array for array, _ in pairs], pairs[0][1]
    transforms = [_transform(array, axes) for array in ordered]
    _check_one_image(ordered, transforms)
    ones = (1,) * len(axes)
    chunking = _chunking(ordered[0], axes, options, version, memory)
    plans = pyramid.layout([a.shape for a in ordered], [ones] * len(ordered), *chunking)
    plan = pyramid.plan_copies(
        [axis.name for axis in axes],
        ordered[0].dtype,
        plans,
        [_source_chunks(array) for array in ordered],
    )
    sources = tuple(array.variable for array in ordered)
    image = _image(ordered[0], axes, transforms, version, name)
    return _work(ordered[0], sources, plan, image, made=None, options=options)


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
        channels = spec.complete_channels(channels, array.dtype)
    elif any(axis.is_channel and dim in _resized(array) for dim, axis in memory.axes.items()):
        # The channels are no longer those that the document tells of.
        channels = ()
    return Image(
        version=version,
        axes=axes,
        levels=tuple(Level("", transform) for transform in transforms),
        name=spec.image_name(memory.document) if name is None else name,
        channels=channels,
        document=memory.document,
    )


def _resized(array: xr.DataArray) -> tuple[str, ...]:
    """Give the axes that are not as long as they were when the image was opened."""
    sizes = memory_of(array).sizes
    return tuple(dim for dim, size in sizes.items() if array.sizes.get(dim) != size)


def _work(
    array: xr.DataArray,
    sources: tuple[xr.Variable, ...],
    plan: Plan,
    image: Image,
    *,
    made: str | None,
    options: Options,
) -> Work:
    if plan.block_bytes > pyramid.LARGE_BYTES:
        _warn_of_memory(plan, array, image.axes)
    codecs = _codecs(options, image.version, memory_of(array))
    return Work(plan, sources, image, made, _resized(array), codecs)


def _warn_of_memory(plan: Plan, array: xr.DataArray, axes: Sequence[Axis]) -> None:
    source = _source_chunks(array)
    spatial = [axis.type == "space" for axis in axes]
    smaller = pyramid.default_chunks(array.shape, array.dtype.itemsize, spatial, source)
    came = "" if source is None else f" The pixels come in chunks of {'×'.join(map(str, source))}."
    warnings.warn(
        f"Each worker holds up to {pyramid.readable(plan.block_bytes)} at a time to write this "
        f"image, since blocks are made of whole chunks and shards.{came} It would be less with "
        f"chunks={dict(zip(plan.dims, smaller, strict=True))} and no larger shards.",
        OmeZarrWarning,
        stacklevel=6,
    )


def _factors(
    shape: Sequence[int], axes: Sequence[Axis], transform: ScaleTranslation, options: Options
) -> list[tuple[int, ...]]:
    levels = options.levels
    first = (1,) * len(axes)
    if levels is None or isinstance(levels, int):
        if isinstance(levels, int) and (isinstance(levels, bool) or levels < 1):
            msg = f"levels={levels!r}: expected the number of levels in all, 1 or more."
            raise OmeZarrError(msg)
        spacing = [
            scale * coordinates.METERS.get(axis.unit or "", 1.0) if axis.type == "space" else None
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


def _source_chunks(array: xr.DataArray) -> tuple[int, ...] | None:
    """Give the chunks of a dask array; 1 along an axis where they are not of one size."""
    if array.chunks is None:
        return None
    return tuple(c[0] if len(set(c[:-1])) <= 1 and c[-1] <= c[0] else 1 for c in array.chunks)


def _chunking(
    array: xr.DataArray,
    axes: Sequence[Axis],
    options: Options,
    version: str,
    memory: Memory,
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Choose the chunks and shards: as asked for, else as opened, else by default."""
    sizes = {str(dim): size for dim, size in array.sizes.items()}
    spatial = [axis.type == "space" for axis in axes]
    default = pyramid.default_chunks(
        array.shape, array.dtype.itemsize, spatial, _source_chunks(array)
    )
    chunks = dict(zip(sizes, default, strict=True))
    opened = array.variable.encoding.get("preferred_chunks", {})
    kept = bool(memory.sizes) and all(isinstance(opened.get(dim), int) for dim in sizes)
    if kept:
        chunks = {dim: opened[dim] for dim in sizes}
    if options.chunks is not None:
        chunks.update(_sizes("chunks", options.chunks, sizes))
    shards = memory.shards if kept and options.chunks is None else None
    if version == "0.4":
        if options.shards is not None:
            msg = "shards= is not for version 0.4, whose Zarr v2 has none. Write version 0.5."
            raise OmeZarrError(msg)
        shards = None
    elif options.shards is not None:
        shards = {**chunks, **_sizes("shards", options.shards, sizes)}
    if shards is None:
        return tuple(chunks.values()), None
    for dim, chunk in chunks.items():
        if shards[dim] == sizes[dim]:
            shards = {**shards, dim: -(-sizes[dim] // chunk) * chunk}
        if shards[dim] % chunk:
            msg = (
                f"shards: {shards[dim]} along '{dim}' is no multiple of the chunk, {chunk}. "
                "A shard holds whole chunks."
            )
            raise OmeZarrError(msg)
    return tuple(chunks.values()), tuple(shards[dim] for dim in sizes)


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


def _codecs(options: Options, version: str, memory: Memory) -> dict[str, Any]:
    zarr_format = spec.ZARR_FORMATS[version]
    if options.compressors is not None:
        return {"compressors": options.compressors}
    opened = memory.codecs
    if opened.get("zarr_format") == zarr_format:
        return {"compressors": opened["compressors"]}
    return {"compressors": storage.default_compressor(zarr_format)}


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
