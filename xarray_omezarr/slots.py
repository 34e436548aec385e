"""Where the fields of a plate stand along the dimensions of a stack, and what tells of them.

Wells lie along `well`, or along `row` and `column`; where a well has several fields, these lie
along `field`, each at its own name, so that a well may lack one that others have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.properties import strings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from xarray_omezarr.screens import FieldAt

WELL, ROW, COLUMN, FIELD = "well", "row", "column", "field"
ACQUISITION, PRESENT = "acquisition", "present"
#: The dimensions that fields are stacked along.
ALONG = (WELL, ROW, COLUMN, FIELD)
#: What is added to the name of a dimension for where a field begins along it.
ORIGIN = "_origin"
#: A stack has so many places for fields; no microscope fills them.
_MOST = 2**20
#: Names that a stack has for itself.
OWN = (WELL, ROW, COLUMN, FIELD, ACQUISITION, PRESENT)


@dataclass(frozen=True)
class Layout:
    """The dimensions before those of a field, and which field is where along them."""

    fields: tuple[FieldAt, ...]
    dims: tuple[str, ...]
    slots: NDArray[np.intp]
    """The number of the field at each position; -1 where there is none."""
    index: Mapping[str, tuple[str, ...]]
    """What stands along each dimension."""

    @property
    def absent(self) -> list[str]:
        """The paths of the fields that are not there."""
        return [self._path(place) for place in np.argwhere(self.slots < 0)]

    def _path(self, place: NDArray[np.intp]) -> str:
        names = {dim: self.index[dim][i] for dim, i in zip(self.dims, place, strict=True)}
        well = names.get(WELL) or f"{names[ROW]}/{names[COLUMN]}"
        return f"{well}/{names[FIELD]}" if FIELD in names else well

    def spread(self, values: Sequence[Any], missing: object) -> NDArray[Any]:
        """Put what holds for each field where that is; something else where there is none."""
        array = strings(list(values)) if isinstance(values[0], str) else np.asarray(values)
        if (self.slots < 0).any():
            array = np.concatenate([array, np.full((1, *array.shape[1:]), missing)])
        return array[self.slots]

    def coordinates(self, *, flagged: bool) -> dict[str, xr.Variable]:
        """Say which wells and fields there are; if that is to be flagged, where there are any."""
        found = {dim: xr.Variable((dim,), strings(list(self.index[dim]))) for dim in self.dims}
        if WELL in self.dims:
            wells = {at.well.path: at.well for at in self.fields}
            about = [wells[path] for path in self.index[WELL]]
            found[ROW] = xr.Variable((WELL,), strings([well.row for well in about]))
            found[COLUMN] = xr.Variable((WELL,), strings([well.column for well in about]))
        else:
            stored = {(at.well.row, at.well.column): at.well.path for at in self.fields}
            paths = [
                stored.get((row, column), f"{row}/{column}")
                for row in self.index[ROW]
                for column in self.index[COLUMN]
            ]
            shape = len(self.index[ROW]), len(self.index[COLUMN])
            found[WELL] = xr.Variable((ROW, COLUMN), strings(paths).reshape(shape))
        if FIELD not in self.dims:
            names = [at.field.path for at in self.fields]
            found[FIELD] = xr.Variable(self.dims, self.spread(names, ""))
        found |= self._acquisitions()
        if flagged:
            found[PRESENT] = xr.Variable(self.dims, self.slots >= 0)
        return found

    def _acquisitions(self) -> dict[str, xr.Variable]:
        """Say which acquisition fields are of: along `field` alone, if that holds for all wells."""
        known = [at.field.acquisition for at in self.fields]
        if all(number is None for number in known):
            return {}
        if FIELD in self.dims and None not in known:
            by_name: dict[str, set[int | None]] = {}
            for at in self.fields:
                by_name.setdefault(at.field.path, set()).add(at.field.acquisition)
            if all(len(numbers) == 1 for numbers in by_name.values()):
                column = [by_name[name].pop() for name in self.index[FIELD]]
                return {ACQUISITION: xr.Variable((FIELD,), np.array(column, np.int64))}
        numbers = [np.nan if number is None else number for number in known]
        return {ACQUISITION: xr.Variable(self.dims, self.spread(numbers, np.nan))}


def layout(
    fields: Sequence[FieldAt], dims: tuple[str, ...], rows: Sequence[str], columns: Sequence[str]
) -> Layout:
    """Lay fields out along `well`, or along `row` and `column`; and `field`, if a well has several.

    Parameters
    ----------
    fields
        The fields.
    dims
        ("well",) or ("row", "column").
    rows, columns
        Those of the plate, in its order. A grid has the ones that a field is in.

    Raises
    ------
    OmeZarrError
        Where there would be many more places than fields.
    """
    wells = [at.well.path for at in fields]
    index = {
        WELL: tuple(dict.fromkeys(wells)),
        ROW: _used(rows, [at.well.row for at in fields]),
        COLUMN: _used(columns, [at.well.column for at in fields]),
        FIELD: _in_order([at.field.path for at in fields]),
    }
    if len(wells) > len(index[WELL]):
        dims = (*dims, FIELD)
    if math.prod(len(index[dim]) for dim in dims) > _MOST:
        sizes = " × ".join(f"{len(index[dim])} along '{dim}'" for dim in dims)
        msg = (
            f"The {len(fields)} fields would be stacked on {sizes}, more than {_MOST} places. "
            "Choose some by wells= and fields=, or open them as a tree (xr.open_datatree)."
        )
        raise OmeZarrError(msg)
    numbers = {dim: {name: i for i, name in enumerate(index[dim])} for dim in dims}
    slots = np.full([len(index[dim]) for dim in dims], -1, np.intp)
    for i, at in enumerate(fields):
        names = {WELL: at.well.path, ROW: at.well.row, COLUMN: at.well.column, FIELD: at.field.path}
        slots[tuple(numbers[dim][names[dim]] for dim in dims)] = i
    return Layout(tuple(fields), dims, slots, {dim: index[dim] for dim in dims})


def _used(names: Sequence[str], found: Sequence[str]) -> tuple[str, ...]:
    there = set(found)
    return tuple(name for name in dict.fromkeys([*names, *found]) if name in there)


def _in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Give each name once: numbers by their size, others as they come."""
    once = dict.fromkeys(names)
    if all(name.isascii() and name.isdigit() for name in once):
        return tuple(sorted(once, key=int))
    return tuple(once)


def is_stack(ds: xr.Dataset | xr.DataArray) -> bool:
    """Say whether something is a stack of fields, and no single image."""
    named = [name for name in (WELL, ROW, COLUMN) if name in ds.coords]
    # Someone else's image may have rows and columns of pixels.
    return (
        bool(set(ALONG) & set(ds.dims))
        and (WELL in named or {ROW, COLUMN} <= set(named))
        and all(ds.coords[name].dtype.kind in "UOT" for name in named)
    )


def one_field(array: xr.DataArray) -> xr.DataArray:
    """Give the first field of a stack, which all others are like; an image as it is."""
    if not is_stack(array):
        return array
    return array.isel({dim: 0 for dim in ALONG if dim in array.dims})


def stack_dims(stack: object) -> tuple[str, ...]:
    """Read the argument `stack`.

    Raises
    ------
    OmeZarrError
        Where it is neither "well" nor ("row", "column").
    """
    if stack == WELL:
        return (WELL,)
    if isinstance(stack, (tuple, list)) and tuple(stack) == (ROW, COLUMN):
        return (ROW, COLUMN)
    msg = f"stack={stack!r:.80} is not known; expected 'well' or ('row', 'column')."
    raise OmeZarrError(msg)
