"""Which part of an image lazy pixels are, and that part at its other levels.

What has been selected from an opened image, and not read, is still found in its coarser levels: a
picture of a plane or of a corner does not need the pixels that are finer than the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from xarray_omezarr import chunked, coordinates, lattice, origins
from xarray_omezarr.errors import OmeZarrError, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from xarray_omezarr.chunked import Described
    from xarray_omezarr.origins import Origin

    Key = int | NDArray[np.intp]

#: Sizes of pixels, and parts of one, that differ by so much are the same.
ROUNDING = 1e-3


@dataclass(frozen=True)
class Crop:
    """A selection from one level of an image."""

    origin: Origin
    """The image, all of it."""
    array: xr.DataArray
    """The selection, with the coordinates that it has now."""
    keys: Mapping[str, Key]
    """What is selected along each axis: one pixel, or the numbers of several."""

    @property
    def is_plain(self) -> bool:
        """Whether along each axis there is all of it, or one pixel."""
        sizes = self.origin.array.shape
        return all(
            isinstance(key, int) or np.array_equal(key, np.arange(size))
            for key, size in zip(self.keys.values(), sizes, strict=True)
        )

    def spacing(self, level: int) -> dict[str, float]:
        """Tell how many pixels of the opened level one pixel of a level is long, by dimension."""
        own, other = (self.origin.image.levels[n].transform for n in (self.origin.number, level))
        along = dict(zip(self.origin.dims, zip(own.scale, other.scale, strict=True), strict=True))
        return {str(dim): abs(along[str(dim)][1] / along[str(dim)][0]) for dim in self.array.dims}

    def levels(self, fits: Callable[[Mapping[str, float]], bool]) -> list[int]:
        """List the levels whose spacing is as asked for, coarsest first; the opened one last.

        Those that are not said to be coarser are left out: before 0.4, nothing says how large
        pixels are.
        """
        coarser = {
            level: self.spacing(level)
            for level in reversed(range(self.origin.number + 1, self.origin.count))
        }
        fitting = [n for n, one in coarser.items() if {*one.values()} - {1.0} and fits(one)]
        return [*fitting, self.origin.number]

    def at(self, level: object, described: Described | None = None) -> xr.DataArray:
        """Open the same part at a level, lazily; it lies where the selection's coordinates are.

        Along an axis that the level has coarser pixels on, it has those whose centres are inside
        the selection, and at least the nearest one.

        Parameters
        ----------
        level
            0 is the finest, -1 the coarsest.
        described
            What `Origin.describe` has found out about its array, if that was asked.

        Raises
        ------
        OmeZarrError
            Where there is no such level, or its array is missing or broken.
        """
        if level in (self.origin.number, self.origin.number - self.origin.count):
            return self.array
        opened, file = self.origin.open(level, described), self.origin.open(self.origin.number)
        levels = self.origin.image.levels
        own, other = (levels[n].transform for n in (self.origin.number, cast("int", level)))
        indexers: dict[str, Key] = {}
        coords = dict(self.array.coords)
        for axis, (dim, key) in enumerate(self.keys.items()):
            size = opened.sizes[dim]
            if (
                self.origin.image.axes[axis].is_channel
                or (own.scale[axis], own.translation[axis], self.origin.array.shape[axis])
                == (other.scale[axis], other.translation[axis], size)
            ):  # fmt: skip
                indexers[dim] = key
                continue
            # Where the pixels of the level are, in pixels of the one that was opened.
            first = (other.translation[axis] - own.translation[axis]) / own.scale[axis]
            spacing = other.scale[axis] / own.scale[axis]
            places = np.asarray(first + spacing * np.arange(size), np.float64)
            chosen = _inside(places, key)
            indexers[dim] = chosen
            if isinstance(chosen, int) or isinstance(key, int) or not len(key):
                continue
            coords = {name: c for name, c in coords.items() if dim not in c.dims}
            if dim not in self.array.coords:
                continue
            here, there = self.array.coords[dim], file.coords.get(dim)
            if there is not None and np.array_equal(here.values, there.values[key]):
                coords[dim] = opened.coords[dim].variable[chosen]
            else:
                coords[dim] = _moved(here, key, places[chosen], spacing)
        pixels = opened.variable.isel(indexers)
        pixels.attrs = dict(self.array.attrs)
        found = xr.DataArray(pixels, coords=coords, name=self.array.name)
        # What its axes and channels are; a DataArray made of a variable has none of it.
        found.encoding = pixels.encoding
        return found


def crop_of(array: xr.DataArray) -> Crop | None:
    """Tell which part of an opened image an array is, where that can be told.

    Parameters
    ----------
    array
        A variable of a Dataset that the engine has opened, or what was selected from it by
        `isel` or `sel`.

    Returns
    -------
    Crop or None
        None where the pixels were read, transposed, chunked or computed with.
    """
    found = chunked.part_of(array.variable)
    dims = tuple(coordinates.memory_of(array).sizes)
    if found is None or len(dims) != found[0].ndim:
        return None
    described, part = found
    whole = xr.Variable(dims, chunked.lazy(described, ""), None, array.variable.encoding)
    origin = origins.origin_of(xr.Dataset({coordinates.IMAGE: whole})[coordinates.IMAGE])
    if origin is None:
        return None
    keys: dict[str, Key] = {}
    for dim, index, size in zip(dims, part.tuple, described.shape, strict=True):
        chosen = np.arange(size)[index]
        keys[dim] = chosen if chosen.ndim else int(chosen)
    kept = tuple(dim for dim, key in keys.items() if not isinstance(key, int))
    return Crop(origin, array, keys) if kept == array.dims else None


def onto(
    labels: xr.DataArray, array: xr.DataArray, dims: Iterable[str], keep: Collection[str] = ()
) -> xr.DataArray:
    """Bring a label image onto the pixels of its image: each gets the label of the nearest pixel.

    What was opened, or selected from that, is taken from the coarsest level that is as fine as the
    image, and whose pixels are no further from those of the image than those of the finest level:
    one whose pixels lie between them would move labels by up to half a coarse pixel.

    Parameters
    ----------
    labels
        The label image.
    array
        The image, or a level of it, with a coordinate along each of the dimensions.
    dims
        Those along which pixels may differ. Along one that the labels lack, they hold for all.
    keep
        Those along which levels may not.

    Raises
    ------
    OmeZarrError
        Where pixels differ, and are not evenly spaced.
    """
    there = [dim for dim in dims if dim in labels.dims]
    moved = {
        dim: (_spacing(labels, dim), _spacing(array, dim))
        for dim in there
        if not np.array_equal(labels[dim].values, array[dim].values)
    }
    if not moved:
        return labels
    crop = crop_of(labels)
    if crop is not None:
        labels = _as_near(crop, array, moved, {*keep, *there} - set(moved))
    for dim in moved:
        nearest, _ = _nearest(labels, array, dim)
        if not np.array_equal(nearest, np.arange(labels.sizes[dim])):
            labels = labels.isel({dim: nearest})
    return labels.assign_coords({dim: array[dim] for dim in moved})


def _as_near(
    crop: Crop, array: xr.DataArray, moved: Mapping[str, tuple[float, float]], same: Collection[str]
) -> xr.DataArray:
    """Open the coarsest level whose pixels are as near to those of an image as the finest's are.

    Parameters
    ----------
    crop
        The labels.
    array
        The image.
    moved
        By dimension, how large the pixels of both are.
    same
        Dimensions along which levels are alike.
    """
    finest = crop.spacing(0)
    for level in reversed(range(crop.origin.count)):
        spacing = crop.spacing(level)
        fine = all(spacing[d] * own <= new * (1 + ROUNDING) for d, (own, new) in moved.items())
        if any(spacing.get(dim, 1.0) != 1 for dim in same) or not (fine or not level):
            continue
        try:
            opened = crop.at(level)
        except OmeZarrError as error:
            warn(f"{error} A finer level is drawn.")
            continue
        if not level or all(
            _nearest(opened, array, dim)[1] <= (0.5 + ROUNDING) * finest[dim] * own
            for dim, (own, _) in moved.items()
        ):
            return opened
    return crop.array


def _nearest(labels: xr.DataArray, array: xr.DataArray, dim: str) -> tuple[NDArray[np.intp], float]:
    """Give the pixels of labels that are nearest to those of an image, and how far they are."""
    own, other = _places(labels, dim), _places(array, dim)
    if own[-1] < own[0]:
        own, other = -own, -other
    # In the middle between two it is the first, whatever rounding says.
    indices = np.searchsorted((own[1:] + own[:-1]) / 2, other - ROUNDING * _spacing(array, dim))
    return indices, float(np.abs(own[indices] - other).max())


def _places(array: xr.DataArray, dim: str) -> NDArray[np.float64]:
    values, _ = coordinates.plain(array.coords[dim])
    return lattice.positions_of(values, f"The coordinate of dimension '{dim}'")


def _spacing(array: xr.DataArray, dim: str) -> float:
    coordinate = array.coords[dim]
    values, _ = coordinates.plain(coordinate)
    what = f"The coordinate of dimension '{dim}'"
    return abs(lattice.recover(values, coordinate.encoding, what)[0])


def _inside(places: NDArray[np.float64], key: Key) -> Key:
    """Choose the pixels of a level that are within those selected, in the same direction."""
    if isinstance(key, int):
        return int(np.abs(places - key).argmin())
    if not len(key):
        return key
    inside = np.flatnonzero((places >= key.min() - 0.5) & (places <= key.max() + 0.5))
    if not len(inside):
        inside = np.array([np.abs(places - key.mean()).argmin()])
    backwards = (places[-1] - places[0]) * (key[-1] - key[0]) < 0
    return inside[::-1] if backwards else inside


def _moved(
    coordinate: xr.DataArray, key: NDArray[np.intp], places: NDArray[np.float64], spacing: float
) -> xr.Variable:
    """Give the positions of places that are told in pixels, between and beyond those selected."""
    variable = coordinate.variable
    values = np.asarray(variable.values)
    numbers = values.astype(np.int64) if values.dtype.kind in "mM" else values
    step: Any = variable.encoding.get("scale", 1.0)
    if numbers.dtype.kind not in "iuf" or not _is_even(numbers.astype(np.float64), key):
        msg = (
            f"The coordinate of dimension '{coordinate.name}' is not evenly spaced, or none of "
            "numbers, so that it does not tell where the pixels of another level are. Show the "
            f"level that is open, or leave the coordinate out: .drop_vars('{coordinate.name}')."
        )
        raise OmeZarrError(msg)
    if len(key) > 1:
        step = (values[-1] - values[0]) / (key[-1] - key[0])
    elif values.dtype.kind not in "iuf":
        step = values[0] - values[0]
    moved = values[0] + (places - key[0]) * step
    # The size of a pixel, which a single one does not show.
    hint = {"scale": step * spacing, "translation": moved[0]} if moved.dtype.kind == "f" else {}
    return xr.Variable(variable.dims, moved, variable.attrs, hint)


def _is_even(values: NDArray[np.float64], key: NDArray[np.intp]) -> bool:
    """Say whether positions are those of pixels of one size."""
    if not np.isfinite(values).all() or len(key) < 2:  # noqa: PLR2004 - one has any size
        return bool(np.isfinite(values).all())
    if key[-1] == key[0]:
        return False
    step = (values[-1] - values[0]) / (key[-1] - key[0])
    apart = np.abs(values[0] + (key - key[0]) * step - values).max()
    return bool(abs(step) > 0 and apart <= lattice.EVEN * abs(step))
