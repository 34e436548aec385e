"""The part of an image that physical bounds say, in any unit of length or time.

A pixel extends half its size to each side of its centre, where its coordinate is. A value selects
the pixel that contains it; on the border between two of them, that is the one above. A range
selects the pixels whose centres are in it, both bounds included, as label slices of xarray do; or
all the pixels that it overlaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from xarray_omezarr import coordinates
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.lattice import SAME, positions_of, recover
from xarray_omezarr.model import TYPES
from xarray_omezarr.quantities import Quantity, named, parse

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from numpy.typing import NDArray

    Include = Literal["center", "overlap"]

T = TypeVar("T", xr.Dataset, xr.DataArray)

#: So many labels are shown where one is not there.
_SHOWN = 12


class NothingThereError(OmeZarrError):
    """A selection lies outside of the image, or between the centres of its pixels."""


def select(
    obj: T,
    indexers: Mapping[Any, Any],
    include: str = "center",
    *,
    region: xr.Dataset | None = None,
) -> T:
    """Select a part of an image; along its axes of space and time by quantities, else by label.

    Parameters
    ----------
    obj
        The image.
    indexers
        What is selected along each dimension: a value, several, or a slice of them.
    include
        Which pixels a range selects: "center" or "overlap".
    region
        Another level of the image. A value within that, and beyond the last pixel of this one,
        selects the last pixel.

    Raises
    ------
    NothingThereError
        Where no pixel is selected.
    OmeZarrError
        Where the selection is not understood.
    """
    # A tuple, to find what has no hash as well.
    if include not in ("center", "overlap"):
        msg = f"include={include!r:.80} is not known; expected 'center' or 'overlap'."
        raise OmeZarrError(msg)
    for dim in indexers:
        if dim not in obj.dims:
            gone = " It was selected before, and is no dimension any more." * (dim in obj.coords)
            found = ", ".join(map(str, obj.dims)) or "none"
            msg = f"'{dim}' is no dimension; there are: {found}.{gone}"
            raise OmeZarrError(msg)
    measured = {dim: value for dim, value in indexers.items() if _is_measured(obj, dim)}
    places = {}
    for dim, value in measured.items():
        other = None if region is None or dim not in region.dims else _Axis.of(region, dim)
        places[dim] = _indexer(_Axis.of(obj, dim), value, include, other)
    for dim, value in indexers.items():
        if dim not in measured:
            obj = _by_label(obj, dim, value)
    return obj.isel(places)


def together(indexers: object, named: Mapping[str, Any]) -> dict[Any, Any]:
    """Give what is selected, by a mapping and by keywords.

    Raises
    ------
    OmeZarrError
        Where the first is no mapping.
    """
    if indexers is not None and not isinstance(indexers, Mapping):
        msg = f"sel({indexers!r:.80}): expected dimensions by name, like sel(x='20 um', c='DAPI')."
        raise OmeZarrError(msg)
    return {**(indexers or {}), **named}


# ── what is along a dimension ────────────────────────────────────────────────────────────────────


def _known(obj: xr.Dataset | xr.DataArray) -> Iterator[xr.DataArray]:
    return iter([obj]) if isinstance(obj, xr.DataArray) else iter(obj.data_vars.values())


def _is_measured(obj: xr.Dataset | xr.DataArray, dim: Hashable) -> bool:
    """Say whether positions along a dimension are measured, rather than names or numbers."""
    told = TYPES.get(str(dim))
    for array in _known(obj):
        axis = coordinates.memory_of(array).axes.get(str(dim))
        if axis is not None:
            told = axis.type
    if dim in obj.coords:
        coordinate = obj.coords[dim]
        told = coordinate.attrs.get("type", told)
        # Dates are xarray's business, and so are names.
        if coordinate.dtype.kind not in "iufm":
            return False
        if told is None:
            return bool({"units", "scale"} & {*coordinate.attrs, *coordinate.encoding})
    return told not in {None, "channel"}


@dataclass(frozen=True)
class _Axis:
    """Where the pixels are along a dimension."""

    dim: str
    values: NDArray[Any]
    """As they are, numbers or durations."""
    unit: str | None
    hint: Mapping[Any, Any]

    @classmethod
    def of(cls, obj: xr.Dataset | xr.DataArray, dim: Hashable) -> _Axis:
        axes = [coordinates.memory_of(array).axes.get(str(dim)) for array in _known(obj)]
        unit = next((axis.unit for axis in axes if axis is not None), None)
        if dim not in obj.coords:
            # A dimension without a coordinate counts pixels.
            return cls(str(dim), np.arange(obj.sizes[dim]), unit, {"scale": 1.0})
        coordinate = obj.coords[dim]
        values, unit = coordinates.plain(coordinate)
        return cls(str(dim), values, unit, coordinate.encoding)

    @cached_property
    def positions(self) -> NDArray[np.float64]:
        return positions_of(self.values, f"The coordinate of dimension '{self.dim}'")

    @cached_property
    def size(self) -> float | None:
        """The size of a pixel; None where they are uneven, and nothing is known of it."""
        try:
            return abs(
                recover(self.values, self.hint, f"The coordinate of dimension '{self.dim}'")[0]
            )
        except OmeZarrError:
            # Some time points of a film have gaps between them, and each has its own length.
            scale = self.hint.get("scale")
            return abs(scale) if isinstance(scale, float) and scale else None

    @cached_property
    def noise(self) -> float:
        """What differs by no more is the same position."""
        if len(self.positions) > 1:
            return SAME * float(np.diff(np.sort(self.positions)).min())
        scale = self.hint.get("scale")
        return SAME * abs(scale) if isinstance(scale, float) else 0.0

    @property
    def extent(self) -> tuple[float, float]:
        """Where the first pixel begins and the last one ends."""
        half = (self.size or 0.0) / 2
        return float(self.positions.min()) - half, float(self.positions.max()) + half

    def __str__(self) -> str:
        low, high = self.extent
        unit = f" {self.unit}" if self.unit else ""
        size = f", in pixels of {self.size:.10g}{unit}" if self.size else ""
        return f"'{self.dim}' extends from {low:.10g} to {high:.10g}{unit}{size}"

    def number(self, value: object, unit: str | None = None) -> float:
        """Read a value, and convert it to the unit of the axis."""
        what = f"'{self.dim}'"
        if isinstance(value, xr.DataArray) and not value.ndim:
            value, unit = coordinates.plain(value)
        quantity = parse(value, what=what)
        if quantity.unit is None and unit is not None:
            quantity = Quantity(quantity.number, named(unit))
        return quantity.to(self.unit, what=what)


# ── values and ranges → indices ──────────────────────────────────────────────────────────────────


def _indexer(axis: _Axis, value: Any, include: str, region: _Axis | None) -> Any:  # noqa: ANN401
    """Give what `isel` takes."""
    if isinstance(value, slice):
        return _range(axis, value, include)
    if isinstance(value, xr.DataArray) and value.ndim:
        found = _numbers(axis, *coordinates.plain(value))
        indices = _containing(axis, found.ravel(), region).reshape(found.shape)
        # As `sel` does, the coordinates of the indexer are kept, but for the dimension's own.
        return xr.DataArray(indices, value.drop_vars(axis.dim, errors="ignore").coords, value.dims)
    if isinstance(value, (list, tuple)) or getattr(value, "ndim", False):
        found = _numbers(axis, value)
        if found.ndim != 1:
            msg = (
                f"'{axis.dim}': {value!r:.80} has {found.ndim} dimensions; expected one, or a "
                "DataArray, whose dimensions have names."
            )
            raise OmeZarrError(msg)
        return _containing(axis, found, region)
    return int(_containing(axis, np.array([axis.number(value)]), region)[0])


def _numbers(axis: _Axis, value: Any, unit: str | None = None) -> NDArray[np.float64]:  # noqa: ANN401
    """Read several values."""
    if hasattr(value, "magnitude") and hasattr(value, "units"):  # as pint has it
        value, unit = value.magnitude, str(value.units)
    elif isinstance(value, (list, tuple)):
        return np.array([axis.number(one, unit) for one in value], dtype=np.float64)
    array = np.asarray(value)
    if array.dtype.kind in "iuf" and (unit is None or unit == axis.unit):
        # Measured positions are many.
        if not np.isfinite(array).all():
            msg = f"'{axis.dim}': there is NaN or infinity among the values; drop these first."
            raise OmeZarrError(msg)
        return array.astype(np.float64)
    each = [axis.number(one, unit) for one in array.ravel()]
    return np.array(each, dtype=np.float64).reshape(array.shape)


def _containing(
    axis: _Axis, values: NDArray[np.float64], region: _Axis | None = None
) -> NDArray[np.intp]:
    """Give the index of the pixel that contains each value."""
    half, noise = (axis.size or 0.0) / 2, axis.noise
    order = np.argsort(axis.positions, kind="stable")
    ranked = axis.positions[order]
    # The uppermost pixel that begins at the value or below: it contains what is on a border.
    found = np.searchsorted(ranked, values + half + noise, side="right") - 1
    if region is not None:
        low, high = region.extent
        inside = (low - noise <= values) & (values <= high + noise)
        found = np.where(inside, found.clip(0), found)
        values = np.where(inside, values.clip(*axis.extent), values)
    outside = (found < 0) | (values > ranked[found] + half + noise)
    if outside.any():
        first = float(values[outside][0])
        unit = f" {axis.unit}" if axis.unit else ""
        if axis.size is None:
            msg = (
                f"No pixel is at {first:.10g}{unit} along '{axis.dim}', whose pixels are not evenly"
                " spaced, so that nothing is known of their size. "
                ".sel(…, method='nearest') takes the nearest one."
            )
        elif axis.extent[0] - noise <= first <= axis.extent[1] + noise:
            msg = (
                f"No pixel contains {first:.10g}{unit} along '{axis.dim}': it is in a gap between "
                f"pixels of {axis.size:.10g}{unit}. .sel(…, method='nearest') takes the nearest."
            )
        else:
            msg = f"{first:.10g}{unit} is outside of the image: {axis}."
        raise NothingThereError(msg)
    return order[found]


def _range(axis: _Axis, bounds: slice, include: str) -> slice | NDArray[np.intp]:
    """Give the indices of the pixels of a range, in their order."""
    step = bounds.step
    if step is not None and (not isinstance(step, (int, np.integer)) or step < 1):
        msg = f"'{axis.dim}': the step of a range is {step!r:.80}; expected a number of pixels."
        raise OmeZarrError(msg)
    low = -np.inf if bounds.start is None else axis.number(bounds.start)
    high = np.inf if bounds.stop is None else axis.number(bounds.stop)
    if low > high:
        msg = (
            f"'{axis.dim}': the range begins at {low:.10g} and ends at {high:.10g}; expected the "
            "lower bound first, whatever the direction of the axis."
        )
        raise OmeZarrError(msg)
    at, noise = axis.positions, axis.noise
    if include == "overlap" and low == high:
        chosen = _containing(axis, np.array([low]))
    elif include == "overlap":
        half = (axis.size or 0.0) / 2
        # A pixel that ends where the range begins has no part in it.
        chosen = np.flatnonzero((at + half > low + noise) & (at - half < high - noise))
    else:
        chosen = np.flatnonzero((at >= low - noise) & (at <= high + noise))
    if not chosen.size:
        way = " include='overlap' takes the pixels that it overlaps." if include == "center" else ""
        unit = f" {axis.unit}" if axis.unit else ""
        first, last = axis.extent
        beyond = low > last or high < first
        what = "is outside of the image" if beyond else "has no centre of a pixel in it"
        msg = (
            f"The range from {low:.10g} to {high:.10g}{unit} {what}: {axis}.{'' if beyond else way}"
        )
        raise NothingThereError(msg)
    first, last = int(chosen[0]), int(chosen[-1])
    if last - first + 1 == chosen.size:
        return slice(first, last + 1, step)
    return chosen[:: step or 1]


def _by_label(obj: T, dim: Hashable, value: Any) -> T:  # noqa: ANN401 - whatever xarray takes
    """Select by label, as xarray does."""
    try:
        return obj.sel({dim: value})
    except (KeyError, IndexError, TypeError, ValueError, pd.errors.InvalidIndexError) as error:
        if dim in obj.indexes and not obj.indexes[dim].is_unique:
            msg = (
                f"{dim}={value!r:.80}: some labels along '{dim}' are there more than once, and do "
                f"not tell which is meant. By position, it is .isel({dim}=…)."
            )
            raise OmeZarrError(msg) from error
        if dim in obj.coords:
            labels = obj.coords[dim].values.tolist()
            shown = ", ".join(map(repr, labels[:_SHOWN])) + ", …" * (len(labels) > _SHOWN)
            way = f"there are {shown}. By position, it is .isel({dim}=…)."
            absent = [one for one in value if one not in labels] if isinstance(value, list) else []
            if absent:
                value = absent if len(absent) > 1 else absent[0]
        else:
            way = f"it has no names, and positions from 0 to {obj.sizes[dim] - 1}."
        msg = f"{dim}={value!r:.80} is not along '{dim}': {way}"
        raise OmeZarrError(msg) from error
