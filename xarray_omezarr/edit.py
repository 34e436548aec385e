"""Pixel sizes, units, channels and names of images that are there, set without touching a pixel."""

from __future__ import annotations

import copy
import difflib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import xarray as xr

from xarray_omezarr import (
    coordinates,
    descriptions,
    dialects,
    edits,
    hierarchy,
    omero,
    placement,
    read,
    repairs,
    spec,
    storage,
    stores,
)
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import numpy as np
    import zarr
    from zarr.abc.store import Store

    from xarray_omezarr.hierarchy import Group
    from xarray_omezarr.model import Image
    from xarray_omezarr.stores import Place
    from xarray_omezarr.transforms import ScaleTranslation


@dataclass(frozen=True)
class Changes:
    """What an edit changes, file by file; it prints as a unified diff."""

    files: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
    """The JSON of each file, before and after; an empty object where there is no file yet."""

    def __bool__(self) -> bool:
        return bool(self.files)

    def __str__(self) -> str:
        lines: list[str] = []
        for file, pair in self.files.items():
            old, new = (
                json.dumps(one, indent=2, ensure_ascii=False).splitlines() if one else []
                for one in pair
            )
            lines += difflib.unified_diff(old, new, f"a/{file}", f"b/{file}", lineterm="")
        return "\n".join(lines) or "nothing to change"


@dataclass(frozen=True)
class _Wanted:
    """What is to be set, of each image."""

    scale: Mapping[str, float]
    translation: Mapping[str, float]
    units: Mapping[str, str] | str
    axis_types: Mapping[str, str]
    channels: Mapping[str, Any]
    """`names`, `colors`, `windows` and `active`, as `assign_channels` takes them."""
    name: str | None
    like: xr.DataArray | None
    origin: bool
    """Whether the origin is that of the image it shall be like, too."""
    repair: bool

    @property
    def places(self) -> bool:
        """Whether pixels come to lie elsewhere, or are measured in something else."""
        given = (self.scale, self.translation, self.units, self.axis_types)
        return self.like is not None or any(given)


def update_metadata(
    store: str | os.PathLike[str] | Store | zarr.Group,
    *,
    group: str | None = None,
    scale: Mapping[str, float] | None = None,
    translation: Mapping[str, float] | None = None,
    units: Mapping[str, str] | str | None = None,
    axis_types: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
    colors: Sequence[str] | None = None,
    windows: Sequence[tuple[float, float]] | None = None,
    active: Sequence[bool] | None = None,
    name: str | None = None,
    like: xr.Dataset | xr.DataArray | None = None,
    repair: bool = False,
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Changes:
    """Say of an image that is there what its pixels, axes and channels are.

    No pixel is written. What is set holds for the first level; the further ones follow by
    their factors and half-pixel shifts, and so do its label images. Given a plate or a well, it
    holds for each of its fields.

    Parameters
    ----------
    store : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        A path, a URL that fsspec knows, or a store of Zarr.
    group : str, optional
        The path of the image's, or the plate's, group within the store.
    scale, translation : mapping of str to float, optional
        The pixel size, and the position of the first pixel's centre, along each axis named.
    units : str or mapping of str to str, optional
        One unit for all axes of space, or one for each axis named. Numbers are not converted.
    axis_types : mapping of str to str, optional
        What each axis named is: "space", "time", "channel", or a type of one's own.
    names, colors, windows, active : sequence, optional
        Of the channels, as `assign_channels` takes them.
    name : str, optional
        The name of the image.
    like : xarray.Dataset or xarray.DataArray, optional
        An image whose coordinates say all of this: pixel sizes, origin (of a single image), units,
        channels and name. What is given besides wins over it.
    repair : bool, default False
        Whether to mend what can be told from the file alone: transformations of levels that
        contradict their shapes, half-pixel shifts that are missing, misnamed units, versions,
        lists of label images, rows and columns of wells.
    dry_run : bool, default False
        Whether to tell only what would change.
    storage_options : mapping, optional
        Passed on to fsspec for URLs.

    Returns
    -------
    Changes
        What has changed, or would; it prints as a unified diff.

    Raises
    ------
    OmeZarrError
        Where there is no such axis or not as many channels, or a file cannot be replaced: each
        is whole, old or new, and the same call completes it.

    Examples
    --------
    >>> from xarray_omezarr import update_metadata
    >>> samples.coins().omezarr.to_zarr(path)
    >>> changes = update_metadata(path, scale={"y": 0.5, "x": 0.5})
    >>> xr.open_dataset(path, engine="omezarr", level=1).omezarr.scale
    {'y': 1.0, 'x': 1.0}
    """
    given = {"names": names, "colors": colors, "windows": windows, "active": active}
    array = None
    if like is not None:
        array = like if isinstance(like, xr.DataArray) else like[coordinates.find_image(like)]
    place = stores.locate(store, group, storage_options=storage_options)
    groups = hierarchy.walk(place, warn=lambda _: None)
    if not groups:
        raise storage.nothing_there(place)
    single = groups[0].kind == "image"
    if single and name is None and isinstance(like, xr.Dataset):
        name = like.attrs.get("name")
    wanted = _Wanted(
        scale=dict(scale or {}),
        translation=dict(translation or {}),
        units=units or {},
        axis_types=dict(axis_types or {}),
        channels={key: value for key, value in given.items() if value is not None},
        name=name,
        like=array,
        origin=single,
        repair=repair,
    )
    changed = _changed(place, groups, wanted)
    changes = Changes(
        {
            join(found.path, file): pair
            for found, attributes in changed
            for file, pair in _files(found, attributes).items()
        }
    )
    if changes and not dry_run:
        writable = stores.locate(store, group, write=True, storage_options=storage_options)
        edits.check_replaceable(writable)
        _write(writable, changed, changes)
        writable.close()
    place.close()
    return changes


def _write(
    place: Place, changed: Sequence[tuple[Group, Mapping[str, Any]]], changes: Changes
) -> None:
    contents = {place.key(file): storage.to_bytes(new) for file, (_, new) in changes.files.items()}
    # An image after its label images: as long as it is the old one, they can be told from it.
    for labels in (True, False):
        some = {k: v for k, v in contents.items() if ("/labels/" in f"/{k}") == labels}
        for key, error in edits.replace_files(place.store, some).items():
            msg = (
                f"{place.name}: {key} could not be replaced: {type(error).__name__}: {error}. Each "
                "file is whole, old or new. The same call completes it."
            )
            raise OmeZarrError(msg) from error
    for zarr_format in (spec.V2, spec.V3):
        paths = [place.key(one.path) for one, _ in changed if one.zarr_format == zarr_format]
        edits.refresh_consolidated(replace(place, path=""), paths, zarr_format)


def _files(
    group: Group, attributes: Mapping[str, Any]
) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Give the files of a group that change, before and after."""
    new = _ordered(attributes, group.attributes)
    if group.zarr_format == spec.V3:
        head = group.document or {"zarr_format": 3, "node_type": "group"}
        document = {**head, "attributes": new}
        return {"zarr.json": (group.document, document)}
    files = {".zattrs": (group.attributes, new)}
    if not group.attributes:
        # It may not be a group yet.
        files[".zgroup"] = ({"zarr_format": 2}, {"zarr_format": 2})
    return files


def _ordered(new: Any, old: Any) -> Any:  # noqa: ANN401 - any JSON
    """Give JSON with its keys in the order that they had, so that a difference shows what it is."""
    if isinstance(new, dict) and isinstance(old, dict):
        keys = [key for key in old if key in new] + [key for key in new if key not in old]
        return {key: _ordered(new[key], old.get(key)) for key in keys}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [_ordered(*pair) for pair in zip(new, old, strict=True)]
    return new


# ── what changes ─────────────────────────────────────────────────────────────────────────────────


def _changed(
    place: Place, groups: Sequence[Group], wanted: _Wanted
) -> list[tuple[Group, Mapping[str, Any]]]:
    """Give the groups that change, with their new attributes."""
    root = groups[0]
    images = {one.path: one for one in groups if one.images and one.label_of is None}
    if root.kind in ("series", "scene", None) and not wanted.repair:
        if root.kind is None and not images:
            raise storage.nothing_there(place)
        inside = ", ".join(list(images)[:8]) or "no image"
        msg = (
            f"{place.name} is no image, plate or well; it holds {inside}. Name one of the images "
            "by group=."
        )
        raise OmeZarrError(msg)
    new = {path: _edited(place, group, wanted) for path, group in images.items()}
    for label in groups:
        if label.label_of is not None and label.images:
            above = label.label_of if wanted.places else None
            new[label.path] = (
                _following(label.images[0], images[above].images[0], new[above])
                if above in images
                else label.images[0]
            )
    result: list[tuple[Group, Mapping[str, Any]]] = []
    for group in groups:
        attributes: Mapping[str, Any] = group.attributes
        if group.images:
            attributes = _rewritten(place, group, new[group.path], wanted)
        elif wanted.repair:
            attributes = repairs.repaired(place, group, groups)
        if attributes != group.attributes:
            result.append((group, attributes))
    if wanted.repair:
        result += repairs.missing_lists(groups)
    return result


def _edited(place: Place, group: Group, wanted: _Wanted) -> Image:
    """Give what an image is to be: its first level as it is asked for, and the others after it."""
    image = group.images[0]
    name = join(place.name, group.path)
    _check_writable(image, name)
    if wanted.name is not None:
        image = replace(image, name=wanted.name)
    array = wanted.like
    if array is None and not (
        wanted.scale or wanted.translation or wanted.units or wanted.channels
    ):
        return _retyped(image, wanted, name)
    opened = read.open_level(
        place,
        group=group.path or None,
        level=0,
        labels=False,
        storage_options=None,
        drop_variables=None,
    ).image
    _check_like(opened, array, name, origin=wanted.origin)
    array = opened if array is None else array
    array = array.assign_coords(
        coordinates.rescaled(array, wanted.scale, wanted.translation, wanted.units)
    )
    geometry = {} if wanted.like is None else coordinates.geometry_of(array)
    first = image.levels[0].transform
    pairs = {}
    for axis, dim in enumerate(image.dims):
        # What nobody asks to change keeps the very number that it had.
        scale, translation = first.scale[axis], first.translation[axis]
        if wanted.like is not None and dim in geometry:
            scale = geometry[dim][0]
            translation = geometry[dim][1] if wanted.origin else translation
        pairs[axis] = (
            float(wanted.scale.get(dim, scale)),
            float(wanted.translation.get(dim, translation)),
        )
    image = replace(image, levels=placement.followed(image.levels, first, first.replaced(pairs)))
    image = _with_units(image, array, wanted)
    return _with_channels(_retyped(image, wanted, name), array, opened.dtype, wanted)


def _check_writable(image: Image, name: str) -> None:
    if image.version not in spec.ZARR_FORMATS:
        msg = (
            f"{name} is of version {image.version}, which is only read. Upgrade it first "
            "(xarray_omezarr.upgrade, omezarr upgrade), to 0.4 for older readers."
        )
        raise OmeZarrError(msg)


def _check_like(
    opened: xr.DataArray, like: xr.DataArray | None, name: str, *, origin: bool
) -> None:
    if like is None:
        return
    if like.dims != opened.dims or (origin and like.shape != opened.shape):
        msg = (
            f"like: its sizes are {dict(like.sizes)}, those of {name} are {dict(opened.sizes)}. "
            "Expected the same dimensions and sizes."
        )
        raise OmeZarrError(msg)


def _retyped(image: Image, wanted: _Wanted, name: str) -> Image:
    unknown = [dim for dim in wanted.axis_types if dim not in image.dims]
    if unknown:
        msg = f"axis_types: {unknown} are no axes of {name}; there are {list(image.dims)}."
        raise OmeZarrError(msg)
    axes = tuple(
        replace(axis, type=wanted.axis_types.get(axis.name, axis.type)) for axis in image.axes
    )
    if wanted.axis_types:
        descriptions.check_axes(axes)
    return replace(image, axes=axes)


def _with_units(image: Image, array: xr.DataArray, wanted: _Wanted) -> Image:
    known = {axis.name: axis for axis in image.axes}
    new = {axis.name: axis.unit for axis in coordinates.axes_of(array, known)}
    if wanted.like is None and not isinstance(wanted.units, str):
        new = {dim: unit for dim, unit in new.items() if dim in wanted.units}
    elif wanted.like is None:
        new = {dim: new[dim] for dim in new if known[dim].type == "space"}
    axes = tuple(replace(axis, unit=new.get(axis.name, axis.unit)) for axis in image.axes)
    return replace(image, axes=axes)


def _with_channels(
    image: Image, array: xr.DataArray, dtype: np.dtype[Any], wanted: _Wanted
) -> Image:
    """Give an image its channels; None where nothing is said of them, and they stay."""
    dim = next((axis.name for axis in image.axes if axis.is_channel), None)
    channels = None
    if wanted.channels or wanted.like is not None:
        options = {"names": None, "colors": None, "windows": None, "active": None}
        new = coordinates.renamed_channels(array, **{**options, **wanted.channels})
        channels = coordinates.channels_of(array.assign_coords(new), dim)
    if channels is not None:
        channels = omero.complete_channels(channels, dtype)
    return replace(image, channels=channels)


def _following(label: Image, old: Image, new: Image) -> Image:
    """Give a label image whose pixels lie on those of its image as they did."""
    shared = [(i, old.dims.index(dim)) for i, dim in enumerate(label.dims) if dim in old.dims]
    before, after = old.levels[0].transform, new.levels[0].transform

    def taken(transform: ScaleTranslation) -> ScaleTranslation:
        own = label.levels[0].transform
        return own.replaced({i: (transform.scale[j], transform.translation[j]) for i, j in shared})

    units = dict(zip(new.dims, (axis.unit for axis in new.axes), strict=True))
    types = dict(zip(new.dims, (axis.type for axis in new.axes), strict=True))
    former = dict(zip(old.dims, old.axes, strict=True))
    axes = tuple(
        replace(
            axis,
            unit=units[axis.name] if units[axis.name] != former[axis.name].unit else axis.unit,
            type=types[axis.name] if types[axis.name] != former[axis.name].type else axis.type,
        )
        if axis.name in units
        else axis
        for axis in label.axes
    )
    levels = label.levels
    # Unless that was done before, by a call that was interrupted.
    if levels[0].transform != taken(after):
        levels = placement.followed(levels, taken(before), taken(after))
    return replace(label, axes=axes, levels=levels)


def _rewritten(place: Place, group: Group, image: Image, wanted: _Wanted) -> Mapping[str, Any]:
    """Give the attributes of an image's group that say what it is to be."""
    if wanted.repair and image.version in spec.ZARR_FORMATS:
        image = repairs.mended(place, group, image)
    elif image == group.images[0]:
        return group.attributes
    if image.version not in spec.ZARR_FORMATS:
        return group.attributes
    attributes = dialects.converted(
        group.attributes,
        group.zarr_format,
        (image, *group.images[1:]),
        image.version,
        place=join(place.name, group.path),
    )
    inner = attributes["ome"] if group.zarr_format == spec.V3 else attributes
    told = dialects.first_of(image)
    if (
        image == group.images[0]
        and not image.assumed
        and told.get("version", image.version) == (image.version)
    ):
        # It is right, and stays as it is, to the letter.
        inner["multiscales"][0] = copy.deepcopy(dict(told))
    if image.channels is not None and image.channels != group.images[0].channels:
        named = descriptions.image_attributes(image)
        ome = spec.ome_attributes(named, group.zarr_format)
        inner["omero"] = ome["omero"]
    return attributes
