"""Label properties as variables of a Dataset, and as a table of their own.

For a label image `nuclei` there are the index coordinate `nuclei_id`, a variable
`nuclei_<property>` along it for each property, and the coordinate `nuclei_color`. Names decide:
nothing else has to be kept for a variable to be written as a property.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr import coordinates
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.properties import (
    EXACT,
    Column,
    Properties,
    are_unique,
    column_of,
    integers,
    without_columns,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping

    import pandas as pd
    from numpy.typing import NDArray

#: The dimension of a table on its own.
ID = "id"
COLOR = "color"
PRESENT = "_present"
#: What stands for "/" in the name of a variable, where neither netCDF nor a tree takes one.
SLASH = "\u2215"


# ── Properties → variables ───────────────────────────────────────────────────────────────────────


def variables(label: str, p: Properties) -> tuple[dict[str, xr.Variable], dict[str, xr.Variable]]:
    """Make the variables and the coordinates of the properties of a label image.

    Parameters
    ----------
    label
        The name of the label image.
    p
        Its properties.

    Returns
    -------
    data, coords
        Variables by their names in the Dataset.
    """
    dim = f"{label}_{ID}"
    data: dict[str, xr.Variable] = {}
    names = {key.replace("/", SLASH) for key in p.columns}
    for key, column in p.columns.items():
        attrs = {"long_name": key} if "/" in key else {}
        data.update(spread(f"{label}_{_variable_name(key, names)}", dim, column, attrs))
    kept = {key: dict(value) for key, value in
            (("extra", p.extra), ("color_extra", p.color_extra)) if value}  # fmt: skip
    coords = {dim: xr.Variable((dim,), p.ids, None, {"omezarr": kept} if kept else None)}
    if p.colors is not None:
        coords[f"{label}_{COLOR}"] = xr.Variable((dim,), p.colors)
    return data, coords


def spread(
    name: str, dim: str, column: Column, attrs: dict[str, Any] | None = None
) -> dict[str, xr.Variable]:
    """Make the variable of a column, and one that says what is present if NaN cannot say it."""
    values, present = column.values, column.present
    if present is None or values.dtype.kind == "f":
        return {name: xr.Variable((dim,), values, attrs)}
    if values.dtype.kind in "iu" and _is_exact(values[present]):
        values = np.where(present, values.astype(np.float64), np.nan)
        encoding = {"omezarr": {"kind": "property", "integer": True}}
        return {name: xr.Variable((dim,), values, attrs, encoding)}
    return {
        name: xr.Variable((dim,), values, attrs),
        f"{name}{PRESENT}": xr.Variable((dim,), present),
    }


def _is_exact(values: NDArray[Any]) -> bool:
    """Say whether float64 has each of these integers."""
    return not values.size or max(-int(values.min()), int(values.max())) < EXACT


def _variable_name(key: str, keys: Collection[str]) -> str:
    """Give the name of a property's variable, apart from what else stands in the table.

    A property `id` becomes `id_`, and so does `area_present` become `area_present_` beside `area`.
    """
    name = key.replace("/", SLASH)
    base = name.rstrip("_")
    own = base in (ID, COLOR)
    flag = base.endswith(PRESENT) and base.removesuffix(PRESENT) in keys
    return f"{name}_" if own or flag else name


def _property_name(name: str, variable: xr.Variable, names: Collection[str]) -> str:
    """Give the name of a variable's property: the way back."""
    base = name.rstrip("_")
    own = base in (ID, COLOR)
    flag = base.endswith(PRESENT) and base.removesuffix(PRESENT) in names
    if name != base and (own or flag):
        name = name[:-1]
    long_name = variable.attrs.get("long_name")
    if isinstance(long_name, str) and long_name.replace("/", SLASH) == name:
        return long_name
    return name


# ── variables → Properties ───────────────────────────────────────────────────────────────────────


def properties_of(ds: xr.Dataset, label: str) -> Properties | None:
    """Collect the properties of a label image from the variables of a Dataset.

    Raises
    ------
    OmeZarrError
        Where they cannot be properties: the message names the variable.
    """
    dim = f"{label}_{ID}"
    if dim not in ds.dims or not ds.sizes[dim]:
        return None
    found = {str(name).removeprefix(f"{label}_"): ds.variables[name] for name in _names(ds, label)}
    if dim not in ds.variables:
        msg = (
            f"The dimension '{dim}' has no coordinate, so that it is not known which labels the "
            f"variables along it are about. Assign it: ds.assign_coords({dim}=...)."
        )
        raise OmeZarrError(msg)
    return _properties(found, ds.variables[dim], label)


def _names(ds: xr.Dataset, label: str) -> list[Hashable]:
    """Give the variables of a label's table, its index aside."""
    dim, prefix = f"{label}_{ID}", f"{label}_"
    return [
        name
        for name, variable in ds.variables.items()
        if variable.dims == (dim,) and name != dim and str(name).startswith(prefix)
    ]


def attributes(ds: xr.Dataset, label: str) -> dict[str, Mapping[Any, Any]]:
    """Give the attributes of a label's properties, by the names that they have in the table."""
    names = [*_names(ds, label), *([dim] if (dim := f"{label}_{ID}") in ds.variables else [])]
    return {str(name).removeprefix(f"{label}_"): ds.variables[name].attrs for name in names}


def _properties(found: Mapping[str, xr.Variable], index: xr.Variable, label: str) -> Properties:
    ids = _ids(index.values, label)
    found = dict(found)
    colors = found.pop(COLOR, None)
    columns: dict[str, Column] = {}
    for name, variable in found.items():
        base = name.removesuffix(PRESENT)
        if base != name and base in found and variable.dtype == bool:
            continue
        flag = found.get(f"{name}{PRESENT}")
        present = None if flag is None or flag.dtype != bool else np.asarray(flag.values)
        key = _property_name(name, variable, found)
        columns[key] = column_from(variable, present, f"the property '{key}' of label '{label}'")
    kept = index.encoding.get("omezarr")
    kept = kept if isinstance(kept, dict) else {}
    here = set(ids.tolist())
    extra = {i: value for i, value in kept.get("extra", {}).items() if i in here}
    beside = {i: value for i, value in kept.get("color_extra", {}).items() if i in here}
    return Properties(
        ids,
        columns,
        None if colors is None else _texts_of(colors, label),
        without_columns(extra, columns),
        beside,
    )


def _ids(values: NDArray[Any], label: str) -> NDArray[Any]:
    """Check label values, which reindexing and merging may have made floating point."""
    what = f"The label values of '{label}' ('{label}_{ID}', or '{ID}' in its table)"
    ids: NDArray[Any] | None = values
    if values.dtype.kind not in "iu":
        try:
            whole = [int(value) for value in values.tolist()]
            same = all(a == b for a, b in zip(whole, values.tolist(), strict=True))
        except (TypeError, ValueError, OverflowError):
            same, whole = False, []
        ids = integers(whole) if same and values.dtype.kind != "b" else None
        if ids is None:
            msg = f"{what} are {values[:3]} of type {values.dtype}; expected integers."
            raise OmeZarrError(msg)
    assert ids is not None  # noqa: S101 - for the type checker
    if not are_unique(ids):
        in_order = np.sort(ids)
        twice = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
        msg = (
            f"{what} are not unique: {twice[:5].tolist()} stand several times. Each "
            "label has one row (.drop_duplicates)."
        )
        raise OmeZarrError(msg)
    return ids if ids.dtype == np.uint64 and _beyond(ids) else ids.astype(np.int64)


def _beyond(ids: NDArray[Any]) -> bool:
    return bool(ids.size) and int(ids.max()) >= 2**63


def column_from(variable: xr.Variable, present: NDArray[np.bool_] | None, what: str) -> Column:
    """Make a column of a variable, and of what says where it has values.

    Raises
    ------
    OmeZarrError
        Where its values are none that JSON has, all of one kind.
    """
    values = np.asarray(variable.values)
    if values.dtype.kind in "biu":
        return Column(values, present)
    if values.dtype.kind == "f":
        kept = variable.encoding.get("omezarr")
        there = np.isfinite(values) if present is None else present & np.isfinite(values)
        whole = np.where(there, values, 0)
        if isinstance(kept, dict) and kept.get("integer") and (whole == np.rint(whole)).all() and (
            np.abs(whole) < EXACT
        ).all():  # fmt: skip
            return Column(whole.astype(np.int64), there)
        return Column(values, present)
    if values.dtype.kind in "UOT":
        items = [None if value is None or value != value else value for value in values.tolist()]  # noqa: PLR0124
        found = column_of([v.item() if isinstance(v, np.generic) else v for v in items])
        if found is not None:
            both = [p for p in (found.present, present) if p is not None]
            return Column(found.values, np.logical_and.reduce(both) if both else None)
        if all(item is None for item in items):
            return Column(np.full(len(items), np.nan))
    msg = (
        f"{what[:1].upper()}{what[1:]} is of type {values.dtype}; expected numbers, booleans or "
        "strings, all of one kind, which is what JSON has. Convert it (.astype)."
    )
    raise OmeZarrError(msg)


def _texts_of(variable: xr.Variable, label: str) -> NDArray[Any]:
    values = np.asarray(variable.values)
    if values.dtype.kind == "O":
        # What merging has left without a colour.
        values = np.array(["" if v is None or v != v else v for v in values.tolist()])  # noqa: PLR0124
    if values.dtype.kind not in "UT" and values.size:
        msg = (
            f"'{label}_{COLOR}' is of type {values.dtype}; expected strings of eight hexadecimal "
            "digits, red, green, blue and alpha."
        )
        raise OmeZarrError(msg)
    return values.astype(str)


# ── the table of one label image ─────────────────────────────────────────────────────────────────


def check_label(ds: xr.Dataset, label: str) -> None:
    """Check that a Dataset has a label image or a table of this name.

    Raises
    ------
    OmeZarrError
        Where it has not: the message lists those there are.
    """
    variable = ds.variables.get(label)
    if f"{label}_{ID}" in ds.dims or (variable is not None and variable.dtype.kind in "iu"):
        return
    if variable is not None:
        msg = (
            f"'{label}' is of type {variable.dtype}, no label image: labels are integers (.astype)."
        )
        raise OmeZarrError(msg)
    known = list(coordinates.label_images(ds))
    known += [
        name
        for dim in ds.dims
        if (name := str(dim).removesuffix(f"_{ID}")) != dim and name not in known
    ]
    there = ", ".join(f"'{name}'" for name in known) or "none; open the image with labels=True"
    msg = f"There is no label image '{label}' in the Dataset. The label images are {there}."
    raise OmeZarrError(msg)


def table(ds: xr.Dataset, label: str) -> xr.Dataset:
    """Give the properties of a label image alone, on the dimension `id`.

    Parameters
    ----------
    ds
        The Dataset of an image with its labels.
    label
        The name of the label image.

    Returns
    -------
    xarray.Dataset
        One variable a property, without the label's name before it; empty where nothing is known.

    Raises
    ------
    OmeZarrError
        Where there is no such label image.
    """
    check_label(ds, label)
    dim = f"{label}_{ID}"
    if dim not in ds.dims:
        return xr.Dataset(coords={ID: np.empty(0, np.int64)})
    names = _names(ds, label)
    inside = [name for name in (*names, dim) if name in ds.variables]
    # Without the coordinates of the pixels, which `ds[names]` would bring along.
    others = [name for name in ds.variables if name not in inside]
    alone = ds.drop_vars(others)
    alone.attrs = {}
    alone.encoding = {}
    return alone.rename({name: str(name).removeprefix(f"{label}_") for name in inside})


def set_table(ds: xr.Dataset, label: str, table: xr.Dataset | pd.DataFrame) -> xr.Dataset:
    """Put a table in the place of all that was known of the labels.

    Parameters
    ----------
    ds
        The Dataset of an image with its labels.
    label
        The name of the label image.
    table
        As `table` gives it: variables on the dimension `id`. Or a DataFrame whose index, or whose
        column `id`, are the label values.

    Returns
    -------
    xarray.Dataset
        A new Dataset.

    Raises
    ------
    OmeZarrError
        Where there is no such label image, or the table is none.
    """
    check_label(ds, label)
    if not isinstance(table, xr.Dataset):
        table = _of_frame(table)
        for name, variable in table.variables.items():
            if f"{label}_{name}" in ds.variables:
                variable.attrs.update(ds.variables[f"{label}_{name}"].attrs)
    found = {str(name): variable for name, variable in table.variables.items()}
    index = found.pop(ID, None)
    if index is None or index.dims != (ID,):
        msg = f"The table has no coordinate '{ID}' along a dimension of that name: which labels?"
        raise OmeZarrError(msg)
    foreign = [name for name, variable in found.items() if variable.dims != (ID,)]
    if foreign:
        msg = (
            f"The variables {', '.join(map(repr, foreign))} of the table do not lie along '{ID}' "
            "alone. Leave them out (.drop_vars), or reduce them to one value a label."
        )
        raise OmeZarrError(msg)
    # What is no column lives on with the index; a table may have lost it on its way.
    former = ds.variables.get(f"{label}_{ID}")
    if former is not None and "omezarr" not in index.encoding:
        index = index.copy(deep=False)
        index.encoding = {**former.encoding, **index.encoding}
    told = {name: variable.attrs for name, variable in {**found, ID: index}.items()}
    return with_properties(ds, label, _properties(found, index, label), told)


def _of_frame(frame: pd.DataFrame) -> xr.Dataset:
    from xarray_omezarr import sheets

    if ID in frame.columns:
        frame = frame.set_index(ID)
    made: dict[str, xr.Variable] = {}
    for key in frame.columns:
        name = str(key)
        if name == COLOR:
            made[name] = xr.Variable((ID,), frame[key].astype(object).to_numpy())
        elif name not in made:
            made.update(spread(name, ID, sheets.guessed(frame[key], name)))
    return xr.Dataset(made, {ID: np.asarray(frame.index)})


def with_properties(
    ds: xr.Dataset, label: str, p: Properties, told: Mapping[str, Mapping[Any, Any]]
) -> xr.Dataset:
    """Give a Dataset with these properties in the place of all others of the label.

    What is told of them besides, by the names that they have in the table, are attributes like
    their units.

    Raises
    ------
    OmeZarrError
        Where another variable has a name that one of them needs.
    """
    dim = f"{label}_{ID}"
    rest = ds.drop_vars([*_names(ds, label), *([dim] if dim in ds.variables else [])])
    data, coords = variables(label, p)
    taken = [name for name in (*data, *coords) if name in rest.variables or name in rest.dims]
    if taken:
        msg = (
            f"The Dataset has other variables named {', '.join(map(repr, taken))}. Rename them, or "
            "the properties."
        )
        raise OmeZarrError(msg)
    for name, variable in {**data, **coords}.items():
        variable.attrs = {**told.get(name.removeprefix(f"{label}_"), {}), **variable.attrs}
    return rest.assign(data).assign_coords(coords)
