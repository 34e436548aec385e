"""What of an image is drawn: which plane, at which level, and where its pixels are.

Levels are chosen by the pixels of the screen, as far as there are any: for what has been selected
from an opened image and not read. All else is drawn as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr import coordinates, crops, picking, rendering, slots
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.model import TYPES
from xarray_omezarr.scalebars import symbol
from xarray_omezarr.units import UNIT_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from xarray_omezarr.crops import Crop

#: Of more pixels than these in all, and many more than the screen has, every second or third one
#: is drawn.
MOST_PIXELS = 2**22
#: How many of the screen's are many more.
_DENSE = 4
#: More bytes than these are read only with a warning.
MOST_BYTES = 2**30


@dataclass(frozen=True)
class Side:
    """One side of a picture."""

    dim: str
    unit: str | None
    start: float
    end: float
    """Where the picture begins and ends: the outer edges of its pixels, the smaller one first."""

    @property
    def length(self) -> float:
        """How long it is."""
        return self.end - self.start


@dataclass(frozen=True)
class View:
    """Pixels that are drawn."""

    ds: xr.Dataset
    """With the dimensions of the plane, of the facets and of channels, and no others."""
    y: Side
    x: Side
    chosen: tuple[str, ...]
    """What was selected where nothing was asked for, and what single positions it is at."""

    @property
    def is_isometric(self) -> bool:
        """Whether both sides have one unit."""
        return self.y.unit == self.x.unit


def plane_of(array: xr.DataArray, gone: Collection[str] = ()) -> tuple[str, str]:
    """Tell which dimensions of an image are drawn: the last two of space, or of z, y and x.

    Parameters
    ----------
    array
        The image.
    gone
        Dimensions that are brought down before.

    Raises
    ------
    OmeZarrError
        Where there are no two of them.
    """
    space = rendering.space_of(array, gone)
    if len(space) < 2:  # noqa: PLR2004 - a plane
        msg = (
            f"'{array.name}' has the dimensions {', '.join(map(str, array.dims)) or 'none'}; a "
            "picture needs two of space, like y and x. Select no single position along them."
        )
        raise OmeZarrError(msg)
    return space[-2], space[-1]


def channel_of(array: xr.DataArray) -> str | None:
    """Tell which dimension of an image counts its channels."""
    field = slots.one_field(array)
    axes = coordinates.axes_of(field, coordinates.memory_of(field).axes)
    return next((axis.name for axis in axes if axis.is_channel), None)


def check(
    array: xr.DataArray, facets: Mapping[str, str | None], project: object = None
) -> tuple[str, str]:
    """Check which pictures there are to be of an image, and give the dimensions that are drawn.

    Parameters
    ----------
    array
        The image.
    facets
        Dimensions along which each position has a picture, by the argument that names them.
    project
        How dimensions are brought down before.

    Raises
    ------
    OmeZarrError
        Where something is no dimension, is drawn, or does not go together; or there are no pixels.
    """
    along = {} if project is None else project
    channel = channel_of(array)
    there = [str(dim) for dim in array.dims if dim != channel]
    if not isinstance(along, Mapping) or not set(along) <= set(there):
        msg = (
            f"project={project!r:.80}: expected how dimensions are brought down, like "
            f"{{'z': 'max'}}; there are {', '.join(there)}."
        )
        raise OmeZarrError(msg)
    plane = plane_of(array, along)
    empty = [str(dim) for dim, size in array.sizes.items() if not size]
    if empty:
        msg = (
            f"'{array.name}' has no pixels along {', '.join(empty)}: there is nothing to draw. "
            "Select at least one position."
        )
        raise OmeZarrError(msg)
    free = [str(dim) for dim in array.dims if dim not in plane and dim not in along]
    given = [dim for dim in facets.values() if dim is not None]
    for what, dim in facets.items():
        if dim is not None and (dim not in free or given.count(dim) > 1):
            msg = (
                f"{what}={dim!r}: there can be one picture for each position along "
                f"{', '.join(free) or 'no dimension'}, each named once."
            )
            raise OmeZarrError(msg)
    return plane


def view_of(
    ds: xr.Dataset,
    name: str,
    *,
    plane: tuple[str, str],
    keep: Collection[str] = (),
    labels: Sequence[str] = (),
    level: int | None = None,
    screen: tuple[float, float],
    count: int = 1,
) -> View:
    """Select what is drawn.

    Parameters
    ----------
    ds
        The Dataset.
    name
        The variable that is drawn.
    plane
        The dimensions that are drawn.
    keep
        The dimensions, besides the plane, of which all is needed. Along others, it is the middle
        of an axis of space, and the first position of what is none.
    labels
        Label images that are drawn with it, on its pixels.
    level
        The level; by default the coarsest that has a pixel for each one of the screen.
    screen
        The width and the height of a picture there, in pixels.
    count
        How many pictures there are.

    Raises
    ------
    OmeZarrError
        Where there is no such level.
    """
    ds = ds[[name, *(label for label in labels if label != name)]]
    dims = plane
    bare = [dim for dim in dims if dim not in ds.coords]
    ds = ds.assign_coords({dim: np.arange(ds.sizes[dim], dtype=np.float64) for dim in bare})
    ds, chosen = _one_plane(ds, name, {*dims, *keep})
    places = coordinates.geometry_of(slots.one_field(ds[name]))
    # Pictures go from left to right and from top to bottom, whatever the order of pixels is.
    ds = ds.isel({dim: slice(None, None, -1) for dim in dims if places[dim][0] < 0})
    array = _at_level(ds[name], dims, keep, level, screen)
    _warn_of_bytes(array, count)
    finest = coordinates.geometry_of(slots.one_field(array))
    sides = []
    for dim in dims:
        scale, first = finest[dim]
        edges = first - scale / 2, first + (array.sizes[dim] - 0.5) * scale
        unit = None if dim in bare else _unit(array, dim)
        sides.append(Side(dim, unit, float(min(edges)), float(max(edges))))
    step = _step(array, dims, max(MOST_PIXELS / count, _DENSE * screen[0] * screen[1]))
    # The middle one of each few stands for all of them.
    firsts = {dim: (min(step, array.sizes[dim]) - 1) // 2 for dim in dims}
    array = array.isel({dim: slice(first, None, step) for dim, first in firsts.items()})
    drawn = xr.Dataset({name: array})
    for label in labels:
        if label != name:
            drawn[label] = crops.onto(ds[label], array, dims, keep)
    return View(drawn, sides[0], sides[1], chosen)


def position(coordinate: xr.DataArray) -> str:
    """Write a single position along an axis: "z = 4 µm".

    Examples
    --------
    >>> position(samples.coins().y[1])
    'y = 0.65 µm'
    """
    value: Any = coordinate.values[()]
    unit = _unit(coordinate, str(coordinate.name))
    if isinstance(value, np.timedelta64):
        value, unit = value / np.timedelta64(1, "s"), "second"
    if not isinstance(value, (float, np.floating)) or not np.isfinite(value):
        return f"{coordinate.name} = {value}"
    # In the unit of the axis, so that one position can be told from the next.
    return f"{coordinate.name} = {value:.6g}" + ("" if unit is None else f" {symbol(unit)}")


def _unit(array: xr.DataArray, dim: str) -> str | None:
    unit = str(array[dim].attrs.get("units") or "").strip()
    return UNIT_NAMES.get(unit, unit) or None


def _one_plane(
    ds: xr.Dataset, name: str, kept: Collection[str]
) -> tuple[xr.Dataset, tuple[str, ...]]:
    """Select one position along all dimensions but some, and tell of all single positions."""
    array = ds[name]
    space = rendering.space_of(array)
    indexers = {
        str(dim): size // 2 if dim in space else 0
        for dim, size in ds.sizes.items()
        if dim not in kept
    }
    counted = [f"{dim} = {i}" for dim, i in indexers.items()
               if dim not in ds.coords and array.sizes.get(dim, 1) > 1]  # fmt: skip
    ds = ds.isel(indexers)
    named = [slots.WELL, slots.FIELD, *TYPES, *coordinates.memory_of(array).sizes]
    named += [str(dim) for dim in array.dims]
    single = [
        position(ds.coords[dim])
        for dim in dict.fromkeys(named)
        if dim in ds.coords and not ds.coords[dim].ndim
    ]
    return ds, (*single, *counted)


def _at_level(
    array: xr.DataArray,
    dims: tuple[str, str],
    keep: Collection[str],
    level: int | None,
    screen: tuple[float, float],
) -> xr.DataArray:
    if level is not None:
        picking.check_level(level)
    crop = crops.crop_of(array)
    if crop is None:
        if level is not None:
            msg = (
                f"level={level!r:.40}: the other levels of '{array.name}' are known only of lazy "
                "pixels that were opened, and selected from at the most. Open the level itself: "
                f"xr.open_dataset(…, level={level!r:.40})."
            )
            raise OmeZarrError(msg)
        return array
    if level is not None:
        return crop.at(level)
    places = coordinates.geometry_of(slots.one_field(array))
    largest = _largest(array, dims, screen)

    def fits(spacing: Mapping[str, float]) -> bool:
        fine = (spacing[d] * abs(places[d][0]) <= largest[d] for d in dims)
        return all(fine) and all(spacing.get(dim, 1.0) == 1 for dim in keep)

    return _opened(crop, fits)


def level_of(
    levels: Sequence[xr.Dataset],
    name: str,
    *,
    plane: tuple[str, str],
    keep: Collection[str] = (),
    screen: tuple[float, float],
) -> xr.Dataset:
    """Choose the coarsest of some levels that has a pixel for each one of the screen.

    Parameters
    ----------
    levels
        The levels of an image, the finest first.
    name, plane, keep, screen
        As for `view_of`; along the dimensions of `keep`, all levels that may be chosen are alike.
    """
    if len(levels) == 1:
        return levels[0]
    # Along other dimensions, pixels may lie wherever they like.
    planes = [ds[name].isel(dict.fromkeys(set(ds[name].dims) - {*plane}, 0)) for ds in levels]
    largest = _largest(planes[0], plane, screen)
    sizes = [{dim: abs(coordinates.geometry_of(one)[dim][0]) for dim in plane} for one in planes]
    for ds, own in zip(reversed(levels[1:]), reversed(sizes[1:]), strict=True):
        if (
            # Before 0.4, nothing says how large pixels are.
            any(own[dim] > sizes[0][dim] for dim in plane)
            and all(own[dim] <= largest[dim] for dim in plane)
            and all(ds.sizes[dim] == levels[0].sizes[dim] for dim in keep)
        ):
            return ds
    return levels[0]


def _largest(
    array: xr.DataArray, dims: tuple[str, str], screen: tuple[float, float]
) -> dict[str, float]:
    """Tell how large pixels may be, for one of them to be there for each one of the screen."""
    places = coordinates.geometry_of(slots.one_field(array))
    sizes = dict(zip(dims, reversed(screen), strict=True))
    found = {dim: array.sizes[dim] * abs(places[dim][0]) / max(sizes[dim], 1) for dim in dims}
    if _unit(array, dims[0]) == _unit(array, dims[1]):
        # What is drawn to scale leaves a margin on two sides.
        found = dict.fromkeys(dims, max(found.values()))
    return {dim: size * (1 + crops.ROUNDING) for dim, size in found.items()}


def _opened(crop: Crop, fits: Callable[[Mapping[str, float]], bool]) -> xr.DataArray:
    """Open the coarsest level that fits; where one cannot be read, the next one."""
    for level in crop.levels(fits):
        try:
            return crop.at(level)
        except OmeZarrError as error:
            warn(f"{error} A finer level is drawn.")
    return crop.array


def _step(array: xr.DataArray, dims: tuple[str, str], most: float) -> int:
    """Give how many pixels there are for each one that is drawn, along both sides."""
    pixels = math.prod(array.sizes[dim] for dim in dims)
    return math.ceil(math.sqrt(pixels / most)) if pixels > most else 1


def _warn_of_bytes(array: xr.DataArray, count: int) -> None:
    if array.nbytes <= MOST_BYTES or array.variable._in_memory:  # noqa: SLF001 - `data` would load
        return
    what = "a picture" if count == 1 else f"{count} pictures"
    warn(
        f"{array.nbytes / 2**30:.1f} GiB of '{array.name}' are read for {what}. Crop it (.sel), or "
        "open a coarser level (level=, resolution=, max_bytes=); where an image was opened without "
        "chunks=, one that is fine enough is taken by itself."
    )
