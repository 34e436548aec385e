"""Model ⇄ xarray coordinates. The coordinates are the truth.

What a user sees on a dimension is where that pixel's centre is, and what is written is read off it.
What a file says besides travels in encodings, and never wins over a coordinate.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr import omero, properties
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.lattice import lattice, positions_of, recover
from xarray_omezarr.model import TYPES, Axis, Channel, Window
from xarray_omezarr.quantities import named
from xarray_omezarr.transforms import ScaleTranslation
from xarray_omezarr.units import SPACE_UNITS, TIME_UNITS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from xarray_omezarr.model import Image, Level

#: The variable that holds the pixels.
IMAGE = "image"

_SETTINGS = ("color", "window_start", "window_end", "window_min", "window_max", "active")


# ── model → coordinates ──────────────────────────────────────────────────────────────────────────


def image_coordinates(
    image: Image, level: Level, shape: Sequence[int], *, place: str, warn: Callable[[str], None]
) -> dict[str, xr.Variable]:
    """Build the coordinates of one level of an image."""
    coordinates = {}
    pairs = zip(level.transform.scale, level.transform.translation, strict=True)
    for axis, size, (scale, translation) in zip(image.axes, shape, pairs, strict=True):
        if not axis.is_channel:
            coordinates[axis.name] = axis_coordinate(axis, size, scale, translation)
    coordinates.update(channel_coordinates_of(image, shape, place=place, warn=warn))
    return coordinates


def axis_coordinate(axis: Axis, size: int, scale: float, translation: float) -> xr.Variable:
    """Build the coordinate of one axis; its encoding keeps the exact scale and translation."""
    attrs = {
        "units": axis.unit,
        "long_name": axis.long_name,
        "orientation": axis.orientation,
    }
    if axis.type != TYPES.get(axis.name):
        attrs["type"] = axis.type
    try:
        values = lattice(size, scale, translation)
    except OverflowError as error:
        msg = (
            f"Axis '{axis.name}' of {size} pixels with scale {scale} and translation {translation} "
            "leaves the range of float64; its scale must be mended in the file."
        )
        raise OmeZarrError(msg) from error
    return xr.Variable(
        (axis.name,),
        values,
        {key: value for key, value in attrs.items() if value},
        {"scale": scale, "translation": translation},
    )


def channel_coordinates_of(
    image: Image, shape: Sequence[int], *, place: str, warn: Callable[[str], None]
) -> dict[str, xr.Variable]:
    """Build the coordinates of the channels of an image."""
    channels = omero.fitting(image, shape, place=place, warn=warn)
    if not channels:
        return {}
    axis = image.channel_axis
    dim = None if axis is None else image.dims[axis]
    coordinates = channel_coordinates(channels, dim)
    taken = [name for name in coordinates if name in image.dims and name != dim]
    if taken:
        warn(f"{place}: axes have the names {taken!r:.200}; what they would be for the channels is "
             "left out")  # fmt: skip
    return {name: coord for name, coord in coordinates.items() if name not in taken}


def channel_coordinates(channels: Sequence[Channel], dim: str | None) -> dict[str, xr.Variable]:
    """Build the coordinates of the channels: along their axis, or scalars where there is none."""
    columns: dict[str, Sequence[Any]] = {
        "color": [channel.color for channel in channels],
        "active": [channel.active for channel in channels],
    }
    for key in ("start", "end", "min", "max"):
        columns[f"window_{key}"] = [getattr(channel.window, key) for channel in channels]
    missing = {"color": "", "active": True}
    arrays = {
        f"_{key}": np.array([missing.get(key, np.nan) if v is None else v for v in columns[key]])
        for key in _SETTINGS
        if any(value is not None for value in columns[key])
    }
    if all(channel.label is not None for channel in channels):
        arrays[""] = properties.strings([str(channel.label) for channel in channels])
    if dim is None:
        return {f"c{key}": xr.Variable((), array[0]) for key, array in arrays.items()}
    return {f"{dim}{key}": xr.Variable((dim,), array) for key, array in arrays.items()}


# ── coordinates → model ──────────────────────────────────────────────────────────────────────────


def axes_of(array: xr.DataArray, known: Mapping[str, Axis]) -> tuple[Axis, ...]:
    """Read the axes of an image off its dimensions, in their order.

    Parameters
    ----------
    array
        The image.
    known
        The axes that it was opened with, by name: for keys that no coordinate holds.

    Raises
    ------
    OmeZarrError
        Where the type of a dimension is not known.
    """
    axes = []
    for dim in array.dims:
        name = str(dim)
        attrs = array.coords[dim].attrs if dim in array.coords else None
        old = known.get(name, Axis(name, TYPES.get(name)))
        type_ = old.type if attrs is None else attrs.get("type", TYPES.get(name, old.type))
        if type_ is None:
            msg = (
                f"Dimension '{name}' is none of t, c, z, y and x, and has no type. Rename it "
                f"(.rename({name}='y')), or say what it is: "
                f"ds.coords['{name}'].attrs['type'] = 'space', 'time' or 'channel'."
            )
            raise OmeZarrError(msg)
        told = old.unit if attrs is None else plain(array.coords[dim])[1]
        unit = told if attrs is None else _unit(name, str(type_), told)
        axes.append(
            Axis(
                name=name,
                type=str(type_),
                unit=unit,
                long_name=old.long_name if attrs is None else attrs.get("long_name"),
                extra=_extra(old, attrs),
            )
        )
    return tuple(axes)


def plain(array: xr.DataArray) -> tuple[NDArray[Any], str | None]:
    """Give the values of a coordinate, and the unit that it says they are in.

    Durations are in seconds, whatever they are counted in. With pint, values have their unit about
    them, and not among the attributes.
    """
    data = array.data
    if hasattr(data, "magnitude") and hasattr(data, "units"):
        return np.asarray(data.magnitude), named(str(data.units))
    if array.dtype.kind == "m":
        return array.values, "second"
    unit = array.attrs.get("units")
    return array.values, None if unit is None else named(str(unit)) or None


def without_quantities(ds: xr.Dataset) -> xr.Dataset:
    """Give a Dataset whose units are attributes, as in files, and not in quantities of pint."""
    found: dict[Hashable, xr.Variable] = {}
    for name, variable in ds.variables.items():
        # Not `data`, which would read what is lazy.
        data = variable._data  # noqa: SLF001
        if hasattr(data, "magnitude") and hasattr(data, "units"):
            attrs = {**variable.attrs, "units": named(str(data.units).replace(" ** ", "^"))}
            found[name] = xr.Variable(variable.dims, data.magnitude, attrs, variable.encoding)
    return (
        ds.drop_vars(list(found))
        .assign({name: variable for name, variable in found.items() if name in ds.data_vars})
        .assign_coords({name: variable for name, variable in found.items() if name in ds.coords})
    )


def _extra(old: Axis, attrs: Mapping[Any, Any] | None) -> dict[str, Any]:
    """Give the further keys of an axis, with the orientation that its coordinate has now."""
    now = old.orientation if attrs is None else attrs.get("orientation")
    if now == old.orientation:
        return dict(old.extra)
    kept = {key: value for key, value in old.extra.items() if key != "orientation"}
    # RFC-4: "orientation" of type "anatomical", one of twenty values like "left-to-right".
    return kept if now is None else {**kept, "orientation": {"type": "anatomical", "value": now}}


def _unit(dim: str, type_: str, unit: object) -> str | None:
    if unit is None or not str(unit):
        return None
    name = named(str(unit))
    known = {"space": SPACE_UNITS, "time": TIME_UNITS}.get(type_)
    if known is not None and name not in known:
        warn(
            f"The unit of dimension '{dim}', '{unit}', is no unit of {type_} that the "
            "specification knows; written as it is. Known are micrometer, second and the like."
        )
    return name


def transform_of(array: xr.DataArray, axes: Sequence[Axis]) -> ScaleTranslation:
    """Read scale and translation of each axis off the coordinates.

    A dimension without a coordinate, and a channel axis, has scale 1 and no translation.
    """
    pairs = [
        recover(
            plain(array.coords[axis.name])[0],
            array.coords[axis.name].encoding,
            f"The coordinate of dimension '{axis.name}'",
        )
        if axis.name in array.coords and not axis.is_channel
        else (1.0, 0.0)
        for axis in axes
    ]
    return ScaleTranslation(tuple(s for s, _ in pairs), tuple(t for _, t in pairs))


def channels_of(array: xr.DataArray, dim: str | None) -> tuple[Channel, ...] | None:
    """Read the channels off their coordinates; None where there are no such coordinates.

    Parameters
    ----------
    array
        The image.
    dim
        The channel dimension, or None where the image has none: then the scalar coordinates that
        a selected channel leaves behind tell of it.
    """
    prefix, count = ("c", 1) if dim is None else (dim, array.sizes[dim])

    def column(key: str) -> list[Any]:
        # Asked for a dimension without a coordinate, a DataArray makes one up.
        if prefix + key not in array.coords:
            return [None] * count
        coordinate = array.coords[prefix + key]
        if coordinate.dims != (() if dim is None else (dim,)):
            return [None] * count
        return [None if v == "" or v != v else v for v in np.atleast_1d(coordinate.values).tolist()]  # noqa: PLR0124

    labels, settings = column(""), {key: column(f"_{key}") for key in _SETTINGS}
    if all(value is None for values in (labels, *settings.values()) for value in values):
        return None
    return tuple(
        Channel(
            label=None if labels[i] is None else str(labels[i]),
            color=settings["color"][i],
            window=Window(
                **{key: settings[f"window_{key}"][i] for key in ("start", "end", "min", "max")}
            ),
            active=settings["active"][i],
        )
        for i in range(count)
    )


@dataclass(frozen=True)
class Memory:
    """What an image was opened from: kept in its variable's encoding, and never for its geometry.

    Selecting, chunking and loading keep it. Arithmetic makes a new image, and loses it.
    """

    version: str | None = None
    assumed: bool = False
    level: int = 0
    path: str = ""
    axes: Mapping[str, Axis] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    codecs: Mapping[str, Any] = field(default_factory=dict)
    shards: Mapping[str, int] | None = None
    document: Mapping[str, Any] = field(default_factory=dict)


def memory_of(array: xr.DataArray) -> Memory:
    """Give what an image was opened from, as far as its encoding still tells."""
    kept = array.variable.encoding.get("omezarr")
    names = Memory.__dataclass_fields__
    return Memory(**{k: v for k, v in kept.items() if k in names} if isinstance(kept, dict) else {})


def find_image(
    dataset: xr.Dataset, name: Hashable | None = None, labels: Sequence[str] = ()
) -> Hashable:
    """Find the variable that holds the pixels: the one named, or `image`, or the only one.

    Raises
    ------
    OmeZarrError
        With the variables that there are, where it is not clear which is meant.
    """
    found = ", ".join(map(str, dataset.data_vars)) or "none"
    if name is not None:
        if name not in dataset.data_vars:
            msg = f"image={name!r} is no variable of this Dataset; there are: {found}."
            raise OmeZarrError(msg)
        return name
    candidates = [key for key, variable in dataset.data_vars.items() if variable.ndim > 1]
    if IMAGE in dataset.data_vars:
        return IMAGE
    labels = [*labels, *label_images(dataset)]
    candidates = [key for key in candidates if key not in labels] or candidates
    if len(candidates) != 1:
        msg = (
            f"It is not clear which variable is the image: expected one named '{IMAGE}', or a "
            f"single one of two dimensions or more; there are: {found}. Say which one, by image= "
            "or by selecting it."
        )
        raise OmeZarrError(msg)
    return candidates[0]


def label_images(dataset: xr.Dataset) -> list[str]:
    """Give the variables that are known to be label images of the Dataset's image."""
    return [
        str(name)
        for name, variable in dataset.data_vars.items()
        if isinstance(kept := variable.encoding.get("omezarr"), dict)
        and kept.get("kind") == "label"
    ]


def labels_to_show(dataset: xr.Dataset) -> list[str]:
    """Give the variables that are seen as label images: the known ones, and those with a table.

    What was segmented and measured here has one, `<name>_id`, before it has been in a file.
    """
    known = label_images(dataset)
    measured = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind in "iu"
        and variable.ndim > 1
        and f"{name}_id" in dataset.coords
        and name not in known
    ]
    return [*known, *measured]


def check_labels(dataset: xr.Dataset, labels: Sequence[str]) -> list[str]:
    """Check that the variables named as label images are there."""
    absent = [name for name in labels if name not in dataset.data_vars]
    if absent or isinstance(labels, str) or len(set(labels)) != len(labels):
        found = ", ".join(map(str, dataset.data_vars)) or "none"
        msg = f"labels={labels!r}: expected a list of variables, each once; there are: {found}."
        raise OmeZarrError(msg)
    for name in labels:
        if dataset[name].dtype.kind not in "iu":
            msg = (
                f"labels: '{name}' is of type {dataset[name].dtype}; labels are integers (.astype)."
            )
            raise OmeZarrError(msg)
    return list(labels)


def warn_of_others(dataset: xr.Dataset, written: Sequence[Hashable]) -> None:
    """Warn of the variables that are not written with an image."""
    tables = {(f"{name}_id",) for name in written}
    left = [
        str(key)
        for key, variable in dataset.data_vars.items()
        if key not in written and variable.dims not in tables
    ]
    if left:
        warn(
            f"Only {', '.join(map(str, written))} is written; left out: {', '.join(left)}. Label "
            "images that are not known as such are written by labels=."
        )


def acquisition_of(array: xr.DataArray) -> int | None:
    """Give the acquisition that an image on a plate is of, where a coordinate says so.

    Raises
    ------
    OmeZarrError
        Where it is no whole number.
    """
    found = array.coords.get("acquisition")
    if found is None or found.ndim or (found.dtype.kind == "f" and np.isnan(found.values)):
        return None
    # "It MUST contain an `id` key, an unique integer greater than or equal to 0" (plates).
    if found.dtype.kind not in "iuf" or found.values < 0 or found.values != int(found.values):
        msg = (
            f"The coordinate 'acquisition' is {found.values!s:.40}; expected an integer from 0 on."
        )
        raise OmeZarrError(msg)
    return int(found.values)


# ── new coordinates for the accessor ─────────────────────────────────────────────────────────────


def geometry_of(array: xr.DataArray) -> dict[str, tuple[float, float]]:
    """Read scale and translation off the coordinates of each dimension but the channel's."""
    axes = axes_of(array, memory_of(array).axes)
    transform = transform_of(array, axes)
    pairs = zip(transform.scale, transform.translation, strict=True)
    return {axis.name: pair for axis, pair in zip(axes, pairs, strict=True) if not axis.is_channel}


def snapped(array: xr.DataArray) -> dict[str, xr.Variable]:
    """Build, for each coordinate of an image, the one on its lattice."""
    return {
        name: _replaced(array, name, scale, translation, {})
        for name, (scale, translation) in geometry_of(array).items()
        if name in array.coords
    }


def rescaled(
    array: xr.DataArray,
    scale: Mapping[str, float],
    translation: Mapping[str, float],
    units: Mapping[str, str] | str,
) -> dict[str, xr.Variable]:
    """Build the coordinates of an image with other pixel sizes, origins and units."""
    axes = {
        axis.name: axis for axis in axes_of(array, memory_of(array).axes) if not axis.is_channel
    }
    if isinstance(units, str):
        units = {name: units for name, axis in axes.items() if axis.type == "space"}
    for what, given in (("scale", scale), ("translation", translation), ("units", units)):
        for dim in given:
            if dim not in axes:
                msg = (
                    f"{what}: '{dim}' is no dimension that has one; expected some of {list(axes)}."
                )
                raise OmeZarrError(msg)
    for what, numbers in (("scale", scale), ("translation", translation)):
        for dim, value in numbers.items():
            if not _is_finite(value) or (what == "scale" and value == 0):
                besides = " other than 0" if what == "scale" else ""
                msg = f"{what}: {value!r} along '{dim}'; expected a finite number{besides}."
                raise OmeZarrError(msg)
    new = {}
    for dim in {**scale, **translation, **units}:
        old = _old_pair(array, dim, with_scale=dim not in scale)
        unit = _unit(dim, str(axes[dim].type), units[dim]) if dim in units else axes[dim].unit
        new[dim] = _replaced(
            array,
            dim,
            float(scale.get(dim, old[0])),
            float(translation.get(dim, old[1])),
            {"units": unit} if unit else {},
        )
    return new


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and math.isfinite(value)


def _old_pair(array: xr.DataArray, dim: str, *, with_scale: bool) -> tuple[float, float]:
    """Give the scale and translation of a dimension; the scale only where it is asked for."""
    if dim not in array.coords:
        return 1.0, 0.0
    values, what = plain(array.coords[dim])[0], f"The coordinate of dimension '{dim}'"
    if with_scale:
        return recover(values, array.coords[dim].encoding, what)
    return 1.0, float(positions_of(values[:1], what)[0])


def _replaced(
    array: xr.DataArray, dim: str, scale: float, translation: float, attrs: Mapping[str, Any]
) -> xr.Variable:
    """Build a coordinate that keeps the attributes which it had."""
    old = array.coords[dim].attrs if dim in array.coords else {}
    return xr.Variable(
        (dim,),
        lattice(array.sizes[dim], scale, translation),
        {**old, **attrs},
        {"scale": scale, "translation": translation},
    )


def renamed_channels(
    array: xr.DataArray,
    *,
    names: Sequence[str] | None,
    colors: Sequence[str] | None,
    windows: Sequence[Sequence[float]] | None,
    active: Sequence[bool] | None,
) -> dict[str, xr.Variable]:
    """Build the channel coordinates of an image with other names and settings."""
    axes = axes_of(array, memory_of(array).axes)
    dim = next((axis.name for axis in axes if axis.is_channel), None)
    count = 1 if dim is None else array.sizes[dim]
    given = {"names": names, "colors": colors, "windows": windows, "active": active}
    for what, values in given.items():
        if values is not None and len(values) != count:
            msg = f"{what}={values!r:.80}: expected {count}, one for each channel."
            raise OmeZarrError(msg)
    if names is not None and len(set(names)) != count:
        msg = f"names={list(names)}: expected names that differ from each other."
        raise OmeZarrError(msg)
    for color in () if colors is None else colors:
        if not re.fullmatch("#?[0-9a-fA-F]{6}", str(color)):
            msg = f"colors: {color!r}; expected six hexadecimal digits, like '00FF00'."
            raise OmeZarrError(msg)
    for pair in () if windows is None else windows:
        if len(pair) != 2 or not all(math.isfinite(value) for value in pair):  # noqa: PLR2004
            msg = f"windows: {pair!r}; expected two finite numbers, where it starts and ends."
            raise OmeZarrError(msg)
    channels = []
    for i, old in enumerate(channels_of(array, dim) or [Channel()] * count):
        window = old.window
        if windows is not None:
            start, end = map(float, windows[i])
            window = replace(window, start=start, end=end)
        channels.append(
            Channel(
                label=old.label if names is None else str(names[i]),
                color=old.color if colors is None else str(colors[i]).lstrip("#").upper(),
                window=window,
                active=old.active if active is None else bool(active[i]),
            )
        )
    return channel_coordinates(channels, dim)
