"""Pixels → a part of an image that is there: a region of it, or more of it along an axis.

Whatever a region touches is brought up to date on every level, in whole cells, from the pixels that
were there and the new ones.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xarray_omezarr import (
    coordinates,
    lattice,
    members,
    omero,
    properties,
    reducers,
    sources,
    spec,
    storage,
    stores,
    stream,
    tables,
    transaction,
    updates,
)
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.guess import is_archive
from xarray_omezarr.model import Channel
from xarray_omezarr.plan import plan_pyramid
from xarray_omezarr.stream import Running, Work
from xarray_omezarr.updates import Stored, Update
from xarray_omezarr.works import Options, grid_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from dask.delayed import Delayed

    from xarray_omezarr.plan import Box

    Region = Mapping[str, slice | Literal["auto"]] | Literal["auto"]

log = logging.getLogger("xarray_omezarr")


@dataclass(frozen=True)
class Where:
    """Which part of an image is written, as the caller says."""

    region: Region | None = None
    append_dim: str | None = None


def check_part(options: Options, running: Running) -> None:
    """Check that nothing is asked for that a part of an image has no say in."""
    asked = [
        field.name
        for field in fields(Options)
        if getattr(options, field.name) != field.default
        and not (field.name == "mode" and options.mode in {"a", "r+"})
    ]
    if running.layout:
        asked.append("layout")
    if asked:
        msg = (
            f"{', '.join(f'{name}=' for name in asked)} cannot be asked for with region= or "
            "append_dim=: a part of an image is written as the image is."
        )
        raise OmeZarrError(msg)


def write_region(
    array: xr.DataArray,
    dataset: xr.Dataset | None,
    labels: Sequence[str],
    target: object,
    *,
    where: Where,
    group: str | None,
    running: Running,
    storage_options: Mapping[str, Any] | None,
) -> Delayed | None:
    """Write a part of an image that is there, on every level, and of its label images.

    Parameters
    ----------
    array
        The pixels of the part.
    dataset, labels
        The variables of the dataset that are label images.
    target, group, storage_options
        Where the image is; see `stores.locate`.
    where
        Which part.
    running
        Whether to write now, and how.
    """
    if is_archive(target):
        raise stores.fixed(target)
    # A store that is opened for writing is made where there is none.
    there = stores.locate(target, group, storage_options=storage_options)
    stored = updates.look(there)
    prepared = [_prepare(array, stored, where)]
    window = dict(zip(stored.image.dims, prepared[0][1].window, strict=True))
    for name in labels:
        assert dataset is not None  # noqa: S101 - labels are its variables
        prepared.append(_prepare_label(dataset, name, stored, window, where))
    _check_labels(there, stored, labels, where)
    place = stores.locate(target, group, write=True, storage_options=storage_options)
    targets = []
    for work, update in prepared:
        _check_source(work, update)
        inner = place if work.label is None else place.below("labels", work.label)
        targets.append(
            updates.prepare(
                update,
                inner,
                checks=work.checks(update.stored.documents),
                resume=running.resume,
                fsync=running.fsync,
            )
        )
    # What is laid out becomes an image, which a plate has to list, by one of its regions.
    laid_out = stored.journal is not None
    seat = members.above(place, coordinates.acquisition_of(array)) if laid_out else None
    if seat is not None:
        seat = seat.of(stored.image)
    then = None if seat is None else partial(_list, place, seat, fsync=running.fsync)
    targets = [replace(one, listed=then is not None) for one in targets]
    jobs: list[stream.Job] = []
    every = {
        target_.place.path: update for target_, (_, update) in zip(targets, prepared, strict=True)
    }
    with storage.explained(place):
        transaction.claim_all(targets, lambda one: updates.claim(one, every[one.place.path]))
    with storage.explained(place), transaction.tidied(targets):
        for (work, update), target_ in zip(prepared, targets, strict=True):
            log.info("writing a region of %s\n%s", target_.place.name, work.plan)
            arrays = updates.open_arrays(update, target_.place)
            jobs.append(stream.Job(work, target_, arrays, None if jobs else then))
    finish = partial(_finish, every=[update for _, update in prepared])
    return stream.run(jobs, [work for work, _ in prepared], finish, place, running)


def _check_source(work: Work, update: Update) -> None:
    """Check that no pixel is made of what is being overwritten."""
    (source,) = work.sources
    place = update.stored.place
    if update.shapes[0] == update.stored.shapes[0] and sources.reads_from(
        source, place.store, place.path
    ):
        msg = (
            f"{place.name}: these pixels are yet to be read from the image that they are written "
            "to, and would be made of old ones and of new ones. Load them first (.load()), or "
            "write to another path."
        )
        raise OmeZarrError(msg)


def _finish(
    jobs: Sequence[stream.Job],
    failed: Sequence[Sequence[stream.Failure]],
    every: Sequence[Update],
) -> None:
    """Make visible what is not yet, and take the region off what is pending."""
    with transaction.tidied([job.target for job in jobs]):
        stream.check_written(jobs, failed)
        for job, update in zip(jobs, every, strict=True):
            updates.commit(update, job.target, job.attributes)
    if jobs[0].then is not None:
        jobs[0].then()
    # The journal of the image goes last: until then, it says that something is left to do.
    for job, update in reversed(list(zip(jobs, every, strict=True))):
        updates.clean(update, job.target)


def _list(place: stores.Place, seat: members.Seat, *, fsync: bool) -> None:
    """List an image that was laid out, if it stands now."""
    node = storage.fetch(place)
    if node is not None and node.kind == "image":
        seat.take(fsync=fsync)


def _prepare(array: xr.DataArray, stored: Stored, where: Where) -> tuple[Work, Update]:
    """Find out which part of an image some pixels are, and plan how they are written."""
    name, image = stored.place.name, stored.image
    grid = grid_of(stored)
    array = _ordered(array, stored, where)
    if array.dtype.newbyteorder("=") != stored.dtype.newbyteorder("="):
        msg = (
            f"{name} has pixels of type {stored.dtype}, these are of type {array.dtype}. Convert "
            f"them first: .astype('{stored.dtype.name}')."
        )
        raise OmeZarrError(msg)
    window = tuple(_side(array, stored, dim, where) for dim in image.dims)
    shape = tuple(max(n, stop) for n, (_, stop) in zip(stored.shapes[0], window, strict=True))
    shapes = [reducers.reduced_shape(shape, f, grid.boundary) for f in grid.factors]
    plan = plan_pyramid(
        image.dims,
        array.dtype,
        stored.layout(shapes, grid.factors),
        method=_method(stored, moved=grid.method != "nearest"),
        boundary=grid.boundary,
        source_chunks=sources.chunks_of(array.variable),
        handed=array.chunks is not None,
        window=window,
    )
    channels = _channels(array, stored, window)
    work = Work(
        plan=plan,
        sources=(array.variable,),
        image=image if channels is None else replace(image, channels=channels),
        method=None,
        resized=(),
        codecs={},
    )
    return work, Update(stored, window, tuple(shapes), described=channels is not None)


def _ordered(array: xr.DataArray, stored: Stored, where: Where) -> xr.DataArray:
    """Give pixels the dimensions of an image, in its order; one pixel along those they lack."""
    dims = stored.image.dims
    foreign = [str(dim) for dim in array.dims if dim not in dims]
    named = {} if where.region is None or isinstance(where.region, str) else where.region
    asked = [*named, *([] if where.append_dim is None else [where.append_dim])]
    for what in (foreign, [dim for dim in asked if dim not in dims]):
        if what:
            msg = (
                f"{stored.place.name} has the dimensions {', '.join(dims)}; there is no "
                f"{', '.join(what)}."
            )
            raise OmeZarrError(msg)
    missing = [dim for dim in dims if dim not in array.dims]
    # What a selected plane leaves behind still says which one it is.
    return array.expand_dims(missing).transpose(*dims)


def _side(array: xr.DataArray, stored: Stored, dim: str, where: Where) -> tuple[int, int]:
    """Find where along an axis some pixels belong, and check that their coordinate says so too."""
    axis = stored.image.dims.index(dim)
    size, length = array.sizes[dim], stored.shapes[0][axis]
    asked: object = where.region
    if isinstance(where.region, Mapping):
        asked = where.region.get(dim)
    start: int
    if where.append_dim == dim:
        _check_appendable(stored, axis)
        start = length
    elif isinstance(asked, str):
        if asked != "auto":
            msg = f"region: {asked!r} along '{dim}'; expected a slice, or 'auto'."
            raise OmeZarrError(msg)
        start = _found(array, stored, axis)
    elif asked is None:
        if size != length:
            way = f"region={{'{dim}': slice(…)}}" + ("" if where.append_dim else " or append_dim=")
            msg = (
                f"There are {size} pixels along '{dim}', the image at {stored.place.name} has "
                f"{length}. Say which part of it they are: {way}."
            )
            raise OmeZarrError(msg)
        start = 0
    else:
        start = _asked(asked, dim, size, length)
    if where.append_dim != dim and not 0 <= start <= length - size:
        msg = (
            f"Along '{dim}' the image at {stored.place.name} has pixels 0 to {length - 1}, and "
            f"these are {start} to {start + size - 1}. append_dim='{dim}' makes it longer."
        )
        raise OmeZarrError(msg)
    _check_coordinate(array, stored, axis, start)
    return start, start + size


def _asked(asked: object, dim: str, size: int, length: int) -> int:
    if not isinstance(asked, slice) or asked.step not in (None, 1):
        msg = f"region: {asked!r} along '{dim}'; expected a slice without a step, or 'auto'."
        raise OmeZarrError(msg)
    start, stop, _ = asked.indices(length)
    beyond = asked.stop is not None and asked.stop > length
    if stop - start != size or beyond:
        msg = (
            f"region: {asked.start}:{asked.stop} along '{dim}', where the image has {length} "
            f"pixels, is no place for {size} pixels."
        )
        raise OmeZarrError(msg)
    return start


def _check_appendable(stored: Stored, axis: int) -> None:
    dim = stored.image.axes[axis]
    if dim.type == "space":
        msg = f"append_dim='{dim.name}' is an axis of space; an image grows along the others only."
        raise OmeZarrError(msg)
    if any(factors[axis] != 1 for factors in grid_of(stored).factors):
        msg = f"append_dim='{dim.name}': the levels of {stored.place.name} are reduced along it."
        raise OmeZarrError(msg)
    if stored.journal is not None:
        msg = (
            f"{stored.place.name} has been laid out in its final shape, and is not filled yet. "
            f"Write to it by region={{'{dim.name}': slice(…)}}."
        )
        raise OmeZarrError(msg)


def _found(array: xr.DataArray, stored: Stored, axis: int) -> int:
    """Find where along an axis pixels belong, by their coordinate."""
    image = stored.image
    dim, length = image.dims[axis], stored.shapes[0][axis]
    if dim not in array.coords:
        if array.sizes[dim] == length:
            return 0
        msg = f"region='auto': '{dim}' has no coordinate that says where the pixels belong."
        raise OmeZarrError(msg)
    values = np.atleast_1d(array.coords[dim].values)
    if image.axes[axis].is_channel:
        names = [channel.label for channel in image.channels or ()]
        if str(values[0]) in names:
            return names.index(str(values[0]))
        msg = f"region='auto': {values[0]!r} is none of the channels {names}."
        raise OmeZarrError(msg)
    transform = image.levels[0].transform
    first = float(lattice.positions_of(values, f"The coordinate of dimension '{dim}'")[0])
    return round((first - transform.translation[axis]) / transform.scale[axis])


def _check_coordinate(array: xr.DataArray, stored: Stored, axis: int, start: int) -> None:
    """Check that the coordinate of some pixels is that of the part of the axis they go to."""
    dim, here = stored.image.axes[axis], stored.place.name
    name = dim.name
    if name not in array.coords:
        return
    coordinate = array.coords[name]
    values = np.atleast_1d(coordinate.values)
    if dim.is_channel:
        names = [channel.label for channel in stored.image.channels or ()]
        there = names[start : start + len(values)]
        if there and there != [str(value) for value in values]:
            msg = f"{here}: the channels {start} and on are {there}; these are {values.tolist()}."
            raise OmeZarrError(msg)
        return
    unit = coordinates.axes_of(array, {})[axis].unit if coordinate.ndim else None
    if unit and dim.unit and unit != dim.unit:
        msg = f"The coordinate of dimension '{name}' is in {unit}, that of {here} in {dim.unit}."
        raise OmeZarrError(msg)
    transform = stored.image.levels[0].transform
    scale, translation = transform.scale[axis], transform.translation[axis]
    found = lattice.positions_of(values, f"The coordinate of dimension '{name}'")
    expected = translation + scale * np.arange(start, start + len(found))
    off = np.abs(found - expected) / abs(scale)
    worst = int(np.argmax(off))
    if off[worst] > lattice.EVEN:
        msg = (
            f"The coordinate of dimension '{name}' is {found[worst]:.9g} at index {worst}; pixel "
            f"{start + worst} of {here} is at {expected[worst]:.9g}. Write the pixels where they "
            "belong, or correct the coordinate of one or the other (assign_scale)."
        )
        raise OmeZarrError(msg)


def _channels(array: xr.DataArray, stored: Stored, window: Box) -> tuple[Channel, ...] | None:
    """Give the channels of an image that has more of them now; None where nothing changes."""
    axis = stored.image.channel_axis
    if axis is None or window[axis][0] < stored.shapes[0][axis]:
        return None
    dim = stored.image.dims[axis]
    more, old = coordinates.channels_of(array, dim), stored.image.channels
    if old is not None:
        # Names may have been written before the image had grown.
        old = old[: stored.shapes[0][axis]]
    if more is None and old is None:
        return None
    length, size = stored.shapes[0][axis], window[axis][1] - window[axis][0]
    known = [*(old or ()), *[Channel()] * length][:length]
    channels = tuple(
        # One without a name would hide those of all others.
        replace(channel, label=channel.label or f"Channel {number}")
        for number, channel in enumerate((*known, *(more or [Channel()] * size)))
    )
    labels = [channel.label for channel in channels if channel.label is not None]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        msg = (
            f"{stored.place.name} has channels {', '.join(twice)} already. Rename these "
            "(assign_channels)."
        )
        raise OmeZarrError(msg)
    return omero.complete_channels(channels, stored.dtype)


def _method(stored: Stored, *, moved: bool) -> str:
    """Find out how the levels of an image were made, so that a region is made alike."""
    ome = spec.ome_attributes(stored.node.attributes, stored.node.zarr_format)
    named = ome["multiscales"][0].get("type")
    if len(stored.arrays) == 1:
        return "mean"
    label = spec.image_label(stored.node.attributes, stored.node.zarr_format)
    if label and not (isinstance(named, str) and named in reducers.REDUCERS):
        named = "mode" if moved else "nearest"
    try:
        method = reducers.check_method(str(named))
    except OmeZarrError as error:
        msg = (
            f"{stored.place.name} does not say how its levels were made ('type' is {named!r}): a "
            "region of them cannot be brought up to date. Write the image anew (mode='w')."
        )
        raise OmeZarrError(msg) from error
    if method == "laplacian":
        msg = (
            f"{stored.place.name} is a Laplacian pyramid, whose first level is not the image: no "
            "region of it can be written. Write it anew (mode='w')."
        )
        raise OmeZarrError(msg)
    if (method in reducers.CENTRED) != moved:
        msg = (
            f"{stored.place.name} says that its levels were made by {method}, but they do not lie "
            "where those would. Write the image anew (mode='w')."
        )
        raise OmeZarrError(msg)
    return method


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def _prepare_label(
    dataset: xr.Dataset,
    name: str,
    image: Stored,
    window: Mapping[str, tuple[int, int]],
    where: Where,
) -> tuple[Work, Update]:
    """Prepare the part of a label image that lies on a part of its image."""
    place = image.place.below("labels", name)
    try:
        stored = updates.look(place)
    except OmeZarrError as error:
        msg = f"{image.place.name} has no label image '{name}' to write to: {error}"
        raise OmeZarrError(msg) from error
    if where.append_dim in stored.image.dims and image.growing:
        length = stored.shapes[0][stored.image.dims.index(where.append_dim)]
        if length == window[where.append_dim][1]:
            # It has grown already, before that was interrupted.
            where = replace(where, append_dim=None)
    array = dataset[name]
    # "sizes are those of the image, or 1" (0.4 and 0.5, layout of labels).
    single = {
        dim
        for dim, n in zip(stored.image.dims, stored.shapes[0], strict=True)
        if n == 1 and dim not in array.dims and where.append_dim != dim
    }
    array = array.drop_vars(single, errors="ignore")
    region = {
        dim: slice(0, 1) if dim in single else slice(*window[dim])
        for dim in stored.image.dims
        if dim in window and dim != where.append_dim
    }
    work, update = _prepare(array, stored, Where(region, where.append_dim))
    table = tables.properties_of(dataset, name)
    about = _merged(stored, table)
    work = replace(work, label=name, about=about)
    return work, replace(update, described=table is not None)


def _merged(stored: Stored, table: properties.Properties | None) -> dict[str, Any]:
    """Join the table of a label image with what came with a part of it, which counts first."""
    old = spec.image_label(stored.node.attributes, stored.node.zarr_format)
    listed = ([], []) if table is None else properties.to_json(table)
    about = {}
    for key, new in zip(("properties", "colors"), listed, strict=True):
        rows = {row[properties.KEY]: row for row in [*(old.get(key) or ()), *new]}
        if rows:
            about[key] = [rows[value] for value in sorted(rows)]
    return about


def _check_labels(place: stores.Place, stored: Stored, labels: Sequence[str], where: Where) -> None:
    """Check that no label image is left shorter than its image."""
    if where.append_dim is None or stored.journal is not None:
        return
    for name in transaction.label_paths(place):
        if name in labels:
            continue
        label = updates.look(place.below("labels", name))
        dims = label.image.dims
        if where.append_dim not in dims:
            continue
        # Labels of length 1 hold for all of a longer image.
        length = stored.shapes[0][stored.image.dims.index(where.append_dim)]
        if label.shapes[0][dims.index(where.append_dim)] == length:
            msg = (
                f"{place.name} has a label image '{name}', which would be shorter than the image "
                f"along '{where.append_dim}'. Append its labels as well."
            )
            raise OmeZarrError(msg)
