"""Images, their levels and their labels written: what they are prepared as, and where to."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from xarray_omezarr import (
    coordinates,
    lattice,
    members,
    packing,
    spec,
    stores,
    stream,
    transaction,
    updates,
)
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileExistsError
from xarray_omezarr.guess import is_archive
from xarray_omezarr.works import (
    grid_below,
    grid_of,
    is_default,
    prepare,
    prepare_labels,
    prepare_levels,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr
    from dask.delayed import Delayed

    from xarray_omezarr.stream import Running, Work
    from xarray_omezarr.works import Grid, Options


def write_image(
    array: xr.DataArray,
    dataset: xr.Dataset | None,
    labels: Sequence[str],
    target: object,
    *,
    group: str | None,
    options: Options,
    name: str | None,
    running: Running,
    storage_options: Mapping[str, Any] | None,
) -> Delayed | None:
    """Write an image and its pyramid, and its label images on the same levels.

    Parameters
    ----------
    array
        The pixels.
    dataset, labels
        The variables of the dataset that are label images.
    target, group, storage_options
        Where to; see `stores.locate`.
    options
        How.
    name
        The name of the multiscale image, or None to keep the one that it was opened with.
    running
        Whether to write now, and how.
    """
    options, seat = seated(array, target, group, options, storage_options)
    works = prepare(array, dataset, labels, options, name)
    return _put(
        works,
        grid_below(works[0], options),
        target,
        None if seat is None else seat.of(works[0].image),
        group=group,
        options=options,
        running=running,
        storage_options=storage_options,
    )


def seated(
    array: xr.DataArray,
    target: object,
    group: str | None,
    options: Options,
    storage_options: Mapping[str, Any] | None,
) -> tuple[Options, members.Seat | None]:
    """Find out whether an image is to be listed by a group above it, and in which version."""
    if is_archive(target):
        return options, None
    place = stores.locate(target, group, storage_options=storage_options)
    seat = members.above(place, coordinates.acquisition_of(array))
    if seat is None:
        return options, None
    seat.check(options.version)
    return replace(options, version=seat.listing.version), seat


def _put(
    works: Sequence[Work],
    grid: Grid,
    target: object,
    seat: members.Seat | None,
    *,
    group: str | None,
    options: Options,
    running: Running,
    storage_options: Mapping[str, Any] | None,
) -> Delayed | None:
    """Write what is prepared: an image, and its label images after it."""
    if options.existing_labels not in (None, "keep", "drop"):
        msg = f"existing_labels={options.existing_labels!r}: expected 'keep' or 'drop'."
        raise OmeZarrError(msg)
    if is_archive(target):
        return packing.write(
            works,
            target,
            group=group,
            mode=options.mode,
            existing_labels=options.existing_labels,
            running=running,
        )
    place = stores.locate(target, group, write=True, storage_options=storage_options)
    then = None if seat is None else partial(seat.within(place).take, fsync=running.fsync)
    return put(works, grid, place, options=options, running=running, then=then)


def put(
    works: Sequence[Work],
    grid: Grid,
    place: stores.Place,
    *,
    options: Options,
    running: Running,
    then: Callable[[], None] | None,
) -> Delayed | None:
    """Write what is prepared to a place that is no archive; see `stream.write`."""
    labels = [work.label for work in works if work.label is not None]
    drop = _labels_to_drop(place, grid, labels, options)
    modes = [options.mode, *(_label_mode(options) for _ in labels)]
    return stream.write(works, place, modes, drop=drop, running=running, then=then)


def write_levels(
    arrays: Sequence[xr.DataArray],
    labels: Mapping[str, Sequence[xr.Dataset]],
    target: object,
    *,
    group: str | None,
    options: Options,
    name: str | None,
    running: Running,
    storage_options: Mapping[str, Any] | None,
) -> Delayed | None:
    """Write levels that are there already, the finest first, each with its own coordinates.

    The label images come as their levels too, the first of which has the table besides.
    """
    options, seat = seated(arrays[0], target, group, options, storage_options)
    works, grid = prepare_levels(arrays, labels, options, name)
    return _put(
        works,
        grid,
        target,
        None if seat is None else seat.of(works[0].image),
        group=group,
        options=options,
        running=running,
        storage_options=storage_options,
    )


def write_labels(
    dataset: xr.Dataset,
    labels: Sequence[str],
    target: object,
    *,
    group: str | None,
    options: Options,
    running: Running,
    storage_options: Mapping[str, Any] | None,
) -> Delayed | None:
    """Add label images to an image that is there, without touching its pixels."""
    if not labels:
        msg = (
            "mode='a' adds label images to an image that is there; this Dataset has none. Say "
            "which variables they are by labels=, or replace the image by mode='w'."
        )
        raise OmeZarrError(msg)
    if is_archive(target):
        raise stores.fixed(target)
    asked = [key for key in ("levels", "method", "boundary") if not is_default(options, key)]
    if asked:
        msg = (
            f"mode='a' adds label images on the levels that their image has; {', '.join(asked)} "
            "cannot be chosen for them. Leave that out."
        )
        raise OmeZarrError(msg)
    # A store that is opened for writing is made where there is none.
    there = stores.locate(target, group, storage_options=storage_options)
    grid = grid_of(updates.look(there))
    if options.version not in (None, grid.version):
        msg = (
            f"version={options.version!r}: {there.name} is of version {grid.version}, and its label"
            " images are of the same."
        )
        raise OmeZarrError(msg)
    works = prepare_labels(dataset, labels, grid, options)
    place = stores.locate(target, group, write=True, storage_options=storage_options)
    return stream.write(
        works, place, [_label_mode(options) for _ in labels], drop=(), running=running
    )


def _label_mode(options: Options) -> str:
    """Say whether a label image of the same name is replaced."""
    return "w" if options.overwrite_labels or options.mode == "w" else "w-"


def _labels_to_drop(
    place: stores.Place, grid: Grid, labels: Sequence[str], options: Options
) -> tuple[str, ...]:
    """Decide what becomes of the label images of an image that is replaced."""
    if options.mode != "w":
        return ()
    there = transaction.label_paths(place)
    left = [name for name in there if name not in labels]
    if not left or options.existing_labels == "drop":
        return tuple(left)
    names = ", ".join(left)
    if options.existing_labels is None:
        msg = (
            f"{place.name} has label images that this Dataset has not: {names}. Say what becomes "
            "of them: existing_labels='keep' (where the pixels are the same ones) or 'drop'. "
            "Nothing was changed."
        )
        raise OmeZarrFileExistsError(msg)
    old = grid_of(updates.look(place))
    same = (
        old.shapes == grid.shapes
        and [a.name for a in old.axes] == [a.name for a in grid.axes]
        and spec.READ_FORMATS[old.version] == spec.READ_FORMATS[grid.version]
        and all(
            abs(a - b) <= lattice.SAME * abs(scale)
            for one, other in zip(old.transforms, grid.transforms, strict=True)
            for key in ("scale", "translation")
            for a, b, scale in zip(
                getattr(one, key), getattr(other, key), grid.transforms[0].scale, strict=True
            )
        )
    )
    if not same:
        msg = (
            f"{place.name} has label images, {names}, that do not lie on the pixels of the new "
            "image and its levels, or are of another Zarr format: they cannot be kept. Write to "
            "another path, or give them up by existing_labels='drop'. Nothing was changed."
        )
        raise OmeZarrFileExistsError(msg)
    return ()
