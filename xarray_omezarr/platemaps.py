"""A plate map, the table of what is in each well, joined to the wells of a plate.

What is joined becomes coordinates: it says what a well is, is no measurement of it, and so stays as
it is when the pixels are computed with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from xarray_omezarr import joins, sheets, tables
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.joins import JoinReport
from xarray_omezarr.slots import COLUMN, ORIGIN, OWN, PRESENT, ROW, WELL
from xarray_omezarr.wellnames import WellNames

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from xarray_omezarr.joins import Duplicates
    from xarray_omezarr.properties import Column
    from xarray_omezarr.sheets import Columns, Errors, Sheet, Types

#: How many wells a report names.
_SHOWN = 5
#: What names a well: one column, or two.
_KEYS = [[str], [str, str]]
#: What a plate map can be joined to.
Plate = TypeVar("Plate", xr.Dataset, xr.DataTree)


@dataclass(frozen=True, kw_only=True)
class Map:
    """A plate map, and how it is to be joined; the parameters are those of `join_csv`."""

    table: object
    on: str | tuple[str, str]
    columns: Columns | None = None
    dtypes: Types | None = None
    overwrite: bool = False
    errors: Errors = "raise"
    duplicates: Duplicates = "raise"
    storage_options: Mapping[str, Any] | None = None
    read_options: Mapping[str, Any] | None = None


def join_csv(
    plate: Plate,
    table: object,
    *,
    on: str | tuple[str, str],
    columns: Columns | None = None,
    dtypes: Types | None = None,
    overwrite: bool = False,
    errors: Errors = "raise",
    duplicates: Duplicates = "raise",
    storage_options: Mapping[str, Any] | None = None,
    read_options: Mapping[str, Any] | None = None,
) -> tuple[Plate, JoinReport]:
    """Join the columns of a table to the wells of a stack or a tree, as coordinates.

    On a stack they lie where its wells do, along `well` or along `row` and `column`. Each node of a
    tree that is of a well gets what is about that well, as scalars.

    Parameters
    ----------
    plate
        A plate that was opened by ``stack=``, or as a tree, or what became of it.
    table
        A path, a URL that fsspec knows, an open file or a DataFrame.
    on
        The column that names the wells, as A1, A01, A/1 or a1; or that of the row and that of the
        column.
    columns
        The columns to join, all others by default, but for those that have the names of a stack's
        own coordinates; "name#d" says the type as well. A mapping gives the new names.
    dtypes
        Types by column, where pandas is not to guess: NumPy's, or ome-zarr-py's "d" (number), "l"
        (integer), "s" (text) and "b" (true or false). Also as "name#d,other#s".
    overwrite
        Whether columns may replace what was joined by the same name, for wells that have a row.
    errors
        What is done with a value that does not parse: "raise", or "coerce", which makes it missing.
    duplicates
        What is done with several rows about one well: "raise", or "first" or "last", which is
        taken.
    storage_options
        Passed on to fsspec for URLs.
    read_options
        Passed on to `pandas.read_csv`, over what is found out from the file.

    Returns
    -------
    plate, report
        A new object, and what came of the join.

    Raises
    ------
    OmeZarrError
        Where there are no wells, a name may mean several of them, or the table is not as described.

    Examples
    --------
    >>> import pandas as pd
    >>> plate = samples.coins()[["image"]].expand_dims(well=["A/1", "A/2"])
    >>> drugs = pd.DataFrame({"well": ["A01", "a2"], "drug": ["none", "taxol"]})
    >>> joined, report = join_csv(plate, drugs, on="well")
    >>> joined.drug.values.tolist(), report.complete
    (['none', 'taxol'], True)
    """
    asked = Map(
        table=table, on=on, columns=columns, dtypes=dtypes, overwrite=overwrite, errors=errors,
        duplicates=duplicates, storage_options=storage_options, read_options=read_options,
    )  # fmt: skip
    if isinstance(plate, xr.DataTree):
        return _join_tree(plate, asked)
    return _join_dataset(plate, asked)


def join_wells(
    wells: pd.DataFrame,
    table: object,
    *,
    on: str | tuple[str, str],
    columns: Columns | None = None,
    dtypes: Types | None = None,
    overwrite: bool = False,
    errors: Errors = "raise",
    duplicates: Duplicates = "raise",
    storage_options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Join the columns of a plate map to a table of wells, to choose wells by them.

    The report of the join stands in a warning where something did not match.

    Parameters
    ----------
    wells : pandas.DataFrame
        A table that `xarray_omezarr.wells` gives, or rows of it.
    table : str, os.PathLike, file or pandas.DataFrame
        A path, a URL that fsspec knows, an open file or a table; compressed or not.
    on : str or (str, str)
        The column that names the wells, as A1, A01, A/1 or a1; or that of the row and that of the
        column.
    columns : sequence or mapping of str, optional
        Which columns, or their new names as well; by default all.
    dtypes : mapping of str, optional
        Types, where pandas' guess is not wanted: NumPy's, or "d", "l", "s" and "b".
    overwrite : bool, default False
        Whether a column of the same name is replaced.
    errors : {"raise", "coerce"}
        Whether a value that does not parse is an error, or missing.
    duplicates : {"raise", "first", "last"}
        Which of several rows of a well counts.
    storage_options : mapping, optional
        Passed on to fsspec for URLs.

    Returns
    -------
    pandas.DataFrame
        A new table with the same rows. What is missing is NaN.

    Raises
    ------
    OmeZarrError
        Where a name may mean several wells, or a column or value is not as asked.

    Examples
    --------
    >>> import pandas as pd
    >>> wells = pd.DataFrame({"well": ["A/1", "A/2"], "fields": [4, 4]})
    >>> drugs = pd.DataFrame({"row": ["A", "A"], "column": [1, 2], "drug": ["none", "taxol"]})
    >>> joined = join_wells(wells, drugs, on=("row", "column"))
    >>> joined[joined.drug == "taxol"].well.tolist()
    ['A/2']
    """
    asked = Map(
        table=table, on=on, columns=columns, dtypes=dtypes, overwrite=overwrite, errors=errors,
        duplicates=duplicates, storage_options=storage_options,
    )  # fmt: skip
    if WELL not in wells.columns:
        msg = (
            f"The table of wells has the columns {[str(name) for name in wells.columns]!r:.200}; "
            "expected the column 'well', as xarray_omezarr.wells gives it."
        )
        raise OmeZarrError(msg)

    def known(name: str) -> Column | None:
        return sheets.guessed(wells[name], name) if name in wells.columns else None

    own = [WELL, ROW, COLUMN]
    paths = [str(path) for path in wells[WELL]]
    found, report = _joined(asked, paths, known, taken=wells.columns, own=own, what="The table has")
    joined = wells.copy()
    for name, column in found.items():
        there = column.where_present() | (column.values.dtype.kind == "f")
        values = column.values if there.all() else _with_gaps(column.values, there)
        joined[name] = values
    if not report.complete:
        warn(str(report))
    return joined


def _with_gaps(values: NDArray[Any], there: NDArray[np.bool_]) -> NDArray[Any]:
    """Give values with NaN in the gaps, as pandas has it."""
    if values.dtype.kind in "iu":
        return np.where(there, values.astype(np.float64), np.nan)
    gaps = values.astype(object)
    gaps[~there] = np.nan
    return gaps


# ── to stacks and trees ──────────────────────────────────────────────────────────────────────────


def _join_dataset(ds: xr.Dataset, asked: Map) -> tuple[xr.Dataset, JoinReport]:
    wells = _wells_of(ds)
    own = _own(ds, wells.dims)

    def known(name: str) -> Column | None:
        return _known(ds, name, wells.dims)

    paths = wells.values.ravel().tolist()
    there = zip(paths, _there(ds, wells).ravel().tolist(), strict=True)
    found, report = _joined(
        asked, paths, known, taken={*map(str, ds.variables), *map(str, ds.dims)}, own=own,
        what="The stack has", absent={path for path, one in there if not one},
    )  # fmt: skip
    return _assigned(ds, _variables(found, wells.dims, wells.shape)), report


def _join_tree(tree: xr.DataTree, asked: Map) -> tuple[xr.DataTree, JoinReport]:
    at: dict[str, str] = {}
    by_path = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    for path, ds in by_path.items():
        if WELL in ds.coords or {ROW, COLUMN} <= set(ds.coords):
            wells = _wells_of(ds)
            if not wells.dims:
                at[path] = str(wells.values)
    if not at:
        msg = (
            "No node of this tree says which well it is of, by a scalar coordinate 'well', or 'row'"
            " and 'column'. Trees of plates have these; a table about labels needs label=."
        )
        raise OmeZarrError(msg)
    paths = list(dict.fromkeys(at.values()))
    first = {well: path for path, well in reversed(at.items())}
    nodes = [by_path[first[well]] for well in paths]

    def known(name: str) -> Column | None:
        columns = [_known(ds, name, ()) for ds in nodes]
        some = [column for column in columns if column is not None]
        if not some:
            return None
        values = xr.Variable((WELL,), np.array([
            (some[0].values if column is None else column.values)[0] for column in columns
        ]))  # fmt: skip
        present = [column is not None and bool(column.where_present()[0]) for column in columns]
        return tables.column_from(values, np.array(present), f"the coordinate '{name}'")

    own = {name for ds in nodes for name in _own(ds, ())}
    taken = {str(name) for ds in nodes for name in (*ds.variables, *ds.dims)}
    found, report = _joined(asked, paths, known, taken=taken, own=own, what="The tree has")
    variables = _variables(found, (WELL,), (len(paths),))
    number = {well: i for i, well in enumerate(paths)}
    for path, well in at.items():
        scalars = {name: value[number[well]] for name, value in variables.items()}
        by_path[path] = _assigned(by_path[path], scalars)
    return xr.DataTree.from_dict(by_path, name=tree.name), report


def _wells_of(ds: xr.Dataset) -> xr.Variable:
    """Name the wells of a stack by row and column, along the dimensions that they are along."""
    if {ROW, COLUMN} <= set(ds.coords):
        if not ds.coords[ROW].dims + ds.coords[COLUMN].dims:
            return xr.Variable((), f"{ds.coords[ROW].item()}/{ds.coords[COLUMN].item()}")
        row, column = xr.broadcast(ds.coords[ROW].compute(), ds.coords[COLUMN].compute())
        pairs = zip(row.values.ravel().tolist(), column.values.ravel().tolist(), strict=True)
        names = np.array([f"{one}/{other}" for one, other in pairs]).reshape(row.shape)
        return xr.Variable(row.dims, names)
    if WELL in ds.coords:
        wells = ds.coords[WELL]
        return xr.Variable(wells.dims, np.asarray(wells.values).astype(str))
    msg = (
        "There are no wells to join to: no coordinate 'well', nor 'row' and 'column', which plates "
        "have that are opened by stack= or as a tree. A table about labels needs label=."
    )
    raise OmeZarrError(msg)


def _there(ds: xr.Dataset, wells: xr.Variable) -> NDArray[np.bool_]:
    """Say which wells are there: of a grid, or of what was filled up, not all are."""
    present = ds.coords.get(PRESENT)
    if present is None or not set(wells.dims) <= set(present.dims):
        return np.ones(wells.shape, bool)
    others = [dim for dim in present.dims if dim not in wells.dims]
    return np.asarray(present.any(others).transpose(*wells.dims).values)


def _own(ds: xr.Dataset, dims: tuple[Any, ...]) -> set[str]:
    """Give the names that nothing that is joined may have."""
    own = {*OWN, *map(str, ds.dims), *(str(n) for n in ds.coords if str(n).endswith(ORIGIN))}
    return own | {str(name) for name, one in ds.variables.items() if one.dims != dims}


def _known(ds: xr.Dataset, name: str, dims: tuple[Any, ...]) -> Column | None:
    """Give what a coordinate holds already, one value for each well."""
    if name not in ds.variables or ds.variables[name].dims != dims:
        return None
    flag = ds.variables.get(f"{name}{tables.PRESENT}")
    present = None
    if flag is not None and flag.dims == dims and flag.dtype == bool:
        present = np.atleast_1d(np.asarray(flag.values)).ravel()
    variable = ds.variables[name]
    values = np.atleast_1d(np.asarray(variable.values)).ravel()
    flat = xr.Variable((WELL,), values, None, variable.encoding)
    return tables.column_from(flat, present, f"the coordinate '{name}'")


def _variables(
    found: Mapping[str, Column], dims: tuple[Any, ...], shape: tuple[int, ...]
) -> dict[str, xr.Variable]:
    """Make coordinates of columns, in the shape that the wells have."""
    flat: dict[str, xr.Variable] = {}
    for key, column in found.items():
        attrs = {"long_name": key} if "/" in key else {}
        flat |= tables.spread(key.replace("/", tables.SLASH), WELL, column, attrs)
    return {
        name: xr.Variable(dims, one.values.reshape(shape), one.attrs, one.encoding)
        for name, one in flat.items()
    }


def _assigned(ds: xr.Dataset, variables: Mapping[str, xr.Variable]) -> xr.Dataset:
    replaced = {*variables, *(f"{name}{tables.PRESENT}" for name in variables)}
    return ds.drop_vars([n for n in replaced if n in ds.variables]).assign_coords(dict(variables))


# ── which row is about which well ────────────────────────────────────────────────────────────────


def _joined(
    asked: Map,
    wells: Sequence[str],
    known: Callable[[str], Column | None],
    *,
    taken: Collection[str],
    own: Collection[str],
    what: str,
    absent: Collection[str] = (),
) -> tuple[dict[str, Column], JoinReport]:
    """Join a plate map to wells: the columns, each with a value for each well, and the report."""
    sheet, names = _read(asked)
    clash = [name for name in sheet.names.values() if name in own]
    if clash:
        msg = (
            f"{what} {', '.join(map(repr, clash))}, which says something else than a plate map. "
            "Leave the columns out by columns=[...], or give them other names by "
            "columns={'column': 'name'}."
        )
        raise OmeZarrError(msg)
    overwritten = joins.check_collisions(sheet, taken, overwrite=asked.overwrite, what=what)
    plate = WellNames(tuple(dict.fromkeys(wells)))
    meant = [None if name is None else _meant(plate, name, sheet) for name in names]
    values = np.array([well or name for well, name in zip(meant, names, strict=True)], object)
    valid = np.array([name is not None for name in names], bool)
    index = joins.index_rows(sheet, values, valid, asked.duplicates)
    found = index.find(np.array(list(wells), object))
    new = {name: sheets.column(sheet, key) for key, name in sheet.names.items()}
    columns = {name: joins.merged(known(name), one, found, name) for name, one in new.items()}
    once = {w: row for w, row in zip(wells, found.tolist(), strict=True) if w not in absent}
    report = JoinReport(
        table=sheet.name,
        on=asked.on if isinstance(asked.on, str) else ", ".join(asked.on),
        to=WELL,
        rows=len(sheet.frame),
        matched_rows=len(np.unique(found[found >= 0])),
        labels=len(once),
        matched_labels=sum(row >= 0 for row in once.values()),
        duplicates=index.duplicates,
        columns=tuple(new),
        overwritten=tuple(overwritten),
        coerced=sheet.coerced,
        unmatched_rows=joins.first_unmatched(sheet, index, found, names),
        unmatched_labels=tuple([well for well, row in once.items() if row < 0][:_SHOWN]),
        what=WELL,
    )
    return columns, report


def _meant(plate: WellNames, name: str, sheet: Sheet) -> str | None:
    try:
        return plate.find(name)
    except OmeZarrError as error:
        msg = f"{sheet.name}: {error}"
        raise OmeZarrError(msg) from error


def _read(asked: Map) -> tuple[Sheet, list[str | None]]:
    """Read a plate map, and what its rows call their wells."""
    on: object = asked.on
    keys = (on,) if isinstance(on, str) else on
    if not isinstance(keys, (tuple, list)) or [type(key) for key in keys] not in _KEYS:
        msg = (
            f"on={asked.on!r:.80}: expected the column that names the wells, or a pair of those of "
            "the row and of the column, like ('row', 'column')."
        )
        raise OmeZarrError(msg)
    sheet = sheets.read(
        asked.table,
        on=keys[0],
        columns=asked.columns,
        dtypes=asked.dtypes,
        errors=asked.errors,
        storage_options=asked.storage_options,
        read_options=asked.read_options,
    )
    if keys[-1] not in sheet.frame.columns:
        there = ", ".join(f"'{name}'" for name in sheet.frame.columns)
        msg = f"There is no column {keys[-1]!r} in {sheet.name}; its columns are {there}."
        raise OmeZarrError(msg)
    if asked.columns is None:
        # They say again which well it is.
        known = {*keys, WELL, ROW, COLUMN}
        sheet = replace(sheet, names={k: n for k, n in sheet.names.items() if k not in known})
        if not sheet.names:
            msg = f"No columns of {sheet.name} are to be joined besides those that name the wells."
            raise OmeZarrError(msg)
    parts = [_texts(sheet, key) for key in keys]
    pairs = zip(*parts, strict=True)
    return sheet, [None if None in pair else "/".join(map(str, pair)) for pair in pairs]


def _texts(sheet: Sheet, key: str) -> list[str | None]:
    """Give the names that stand in a column; 1.0 is how pandas has a column 1 among gaps."""
    if getattr(sheet.frame[key].dtype, "kind", "O") == "f" and not sheet.from_file:
        numbers = sheet.frame[key].to_numpy(np.float64, na_value=np.nan).tolist()
        return [None if number != number else f"{number:g}" for number in numbers]  # noqa: PLR0124
    values, valid = sheets.keys(replace(sheet, on=key), "U")
    pairs = zip(values.tolist(), valid.tolist(), strict=True)
    return [value.strip() if there and value.strip() else None for value, there in pairs]
