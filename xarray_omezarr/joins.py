"""A table joined to labels: which row is about which label, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from xarray_omezarr import sheets, tables
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.properties import (
    EXACT,
    KEY,
    Column,
    Properties,
    integers,
    without_columns,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

    from xarray_omezarr.sheets import Columns, Errors, Sheet, Types

How = Literal["left", "inner", "right", "outer"]
Duplicates = Literal["raise", "first", "last"]

#: How many values a message names.
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class JoinReport:
    """What came of joining a table to labels, or to wells, which then stand for labels here."""

    table: str
    """What the table is called."""
    on: str
    """The column that says which label a row is about."""
    to: str
    """What it was compared with: "label-value", or a property."""
    rows: int
    """The rows of the table."""
    matched_rows: int
    """The rows that are about a label."""
    labels: int
    """The labels."""
    matched_labels: int
    """The labels that have a row."""
    duplicates: int = 0
    """The rows that were passed over, for another one about the same."""
    columns: tuple[str, ...] = ()
    """The properties that were joined."""
    overwritten: tuple[str, ...] = ()
    """Those of them that had been there before."""
    coerced: Mapping[str, int] = field(default_factory=dict)
    """How many values of a column did not parse, and are missing now."""
    unmatched_rows: tuple[object, ...] = ()
    """What the first rows without a label are about."""
    unmatched_labels: tuple[object, ...] = ()
    """The first labels without a row."""
    updated: tuple[str, ...] = ()
    """The label images whose metadata were written, where they were."""
    dry_run: bool = False
    """Whether nothing was written, and `updated` are those that would have been."""
    what: str = "label"
    """What rows are about: "label" or "well"."""

    @property
    def rows_without_label(self) -> int:
        """The number of rows that are about no label."""
        return self.rows - self.matched_rows - self.duplicates

    @property
    def labels_without_row(self) -> int:
        """The number of labels that no row is about."""
        return self.labels - self.matched_labels

    @property
    def complete(self) -> bool:
        """Whether each row is about a label, each label has a row, and each value parsed."""
        return not (
            self.rows_without_label or self.labels_without_row or self.duplicates or self.coerced
        )

    def __str__(self) -> str:
        head = (
            f"{self.table} joined by '{self.on}' to '{self.to}': {self.matched_rows:,} of "
            f"{self.rows:,} rows match, {self.matched_labels:,} of {self.labels:,} {self.what}s "
            "have a row."
        )
        lines = [head]
        if self.rows_without_label:
            shown = _some(self.unmatched_rows, self.rows_without_label)
            lines.append(f"rows without a {self.what}: {self.rows_without_label:,}{shown}")
        if self.labels_without_row:
            shown = _some(self.unmatched_labels, self.labels_without_row)
            lines.append(f"{self.what}s without a row: {self.labels_without_row:,}{shown}")
        if self.duplicates:
            lines.append(f"rows passed over for another of the same: {self.duplicates:,}")
        for name, count in self.coerced.items():
            lines.append(f"values of '{name}' that did not parse, and are missing: {count:,}")
        names = [f"{n} (overwritten)" if n in self.overwritten else n for n in self.columns]
        properties = "properties" if self.what == "label" else "coordinates"
        lines.append(f"{properties}: {', '.join(names)}")
        if self.updated:
            done = "would be updated" if self.dry_run else "updated"
            count = len(self.updated)
            told = (
                ", ".join(self.updated)
                if count <= _SHOWN
                else f"{count:,} label images{_some(self.updated, count)}"
            )
            lines.append(f"{done}: {told}")
        return "\n  ".join(lines)


def _some(values: Sequence[object], count: int) -> str:
    shown = [str(value) for value in values[:_SHOWN]]
    return f" ({', '.join(shown)}{', …' if count > len(shown) else ''})" if shown else ""


# ── matching ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Index:
    """The rows of a table, found by what they are about."""

    values: pd.Index[Any]
    """What rows are about, each once."""
    rows: NDArray[np.intp]
    """The row of each."""
    duplicates: int
    """How many rows were passed over."""

    def find(self, wanted: NDArray[Any]) -> NDArray[np.intp]:
        """Give the row about each value; -1 where there is none."""
        wanted, possible = _alike(wanted, self.values.dtype)
        found = self.values.get_indexer(wanted)  # type: ignore[arg-type]
        found = np.where(possible, found, -1)
        return np.where(found >= 0, self.rows[found], -1) if len(self.rows) else found


def _alike(wanted: NDArray[Any], dtype: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:  # noqa: ANN401 - pandas has its own
    """Give values in the dtype of others, where it has them: never by way of floating point."""
    possible = np.ones(len(wanted), bool)
    if wanted.dtype.kind in "iu" and dtype.kind in "iu" and wanted.dtype != dtype:
        possible = wanted <= np.iinfo(np.int64).max if dtype.kind == "i" else wanted >= 0
        wanted = np.where(possible, wanted, 0).astype(dtype)
    return wanted, possible


def index_of(sheet: Sheet, kind: str, duplicates: Duplicates) -> Index:
    """Index the rows of a table.

    Raises
    ------
    OmeZarrError
        Where several rows are about the same, unless it is said which one is taken.
    """
    values, valid = sheets.keys(sheet, kind)
    if kind == "i":
        values = values.astype(np.uint64 if values.dtype.kind == "u" else np.int64)
    return index_rows(sheet, values, valid, duplicates)


def index_rows(
    sheet: Sheet, values: NDArray[Any], valid: NDArray[np.bool_], duplicates: Duplicates
) -> Index:
    """Index the rows of a table by what they are about, where they say it.

    Raises
    ------
    OmeZarrError
        Where several rows are about the same, unless it is said which one is taken.
    """
    import pandas as pd

    if duplicates not in ("raise", "first", "last"):
        msg = f"duplicates={duplicates!r} is not known; expected 'raise', 'first' or 'last'."
        raise OmeZarrError(msg)
    rows = np.arange(len(values)) if valid.all() else np.flatnonzero(valid)
    index = pd.Index(values if valid.all() else values[rows])
    if index.is_unique:
        return Index(index, rows, 0)
    twice = index.duplicated(keep="last" if duplicates == "raise" else duplicates)
    if duplicates == "raise":
        shown = list(dict.fromkeys(index[twice].tolist()))
        msg = (
            f"Several rows of {sheet.name} are about the same '{sheet.on}': "
            f"{', '.join(map(str, shown[:_SHOWN]))}{', …' if len(shown) > _SHOWN else ''}. Leave "
            "one of each; or, in Python, take it by duplicates='first' or duplicates='last'."
        )
        raise OmeZarrError(msg)
    return Index(index[~twice], rows[~twice], int(twice.sum()))


def kind_of(values: NDArray[Any]) -> str:
    """Give the kind that rows are compared in with these values: "i", "f", "U" or "b"."""
    return {"u": "i", "O": "U"}.get(values.dtype.kind, values.dtype.kind)


def split_on(on: str | tuple[str, str]) -> tuple[str, str]:
    """Split `on` into the column of the table, and what it is compared with."""
    if isinstance(on, str):
        return on, KEY
    pair: object = on
    if isinstance(pair, (tuple, list)) and [type(item) for item in pair] == [str, str]:
        return pair[0], pair[1]
    msg = (
        f"on={on!r}: expected the column that holds label values, or a pair of a column and the "
        "property that it is compared with."
    )
    raise OmeZarrError(msg)


# ── joining to a Dataset ─────────────────────────────────────────────────────────────────────────


def join_csv(
    ds: xr.Dataset,
    table: object,
    *,
    label: str,
    on: str | tuple[str, str],
    columns: Columns | None = None,
    dtypes: Types | None = None,
    how: How = "left",
    overwrite: bool = False,
    errors: Errors = "raise",
    duplicates: Duplicates = "raise",
    ids: ArrayLike | None = None,
    storage_options: Mapping[str, Any] | None = None,
    read_options: Mapping[str, Any] | None = None,
) -> tuple[xr.Dataset, JoinReport]:
    """Join the columns of a table to the labels of a label image, as variables.

    Parameters
    ----------
    ds
        The Dataset of an image with its labels.
    table
        A path, a URL that fsspec knows, an open file or a DataFrame.
    label
        The name of the label image.
    on
        The column that holds the label values; or a pair of a column and of the property that it
        is compared with.
    columns
        The columns to join, all others by default; "name#d" says the type as well. A mapping
        gives the names that the properties get.
    dtypes
        Types by column, where pandas is not to guess: NumPy's, or ome-zarr-py's "d" (number), "l"
        (integer), "s" (text) and "b" (true or false). Also as "name#d,other#s".
    how
        Which labels are kept: "left" all that are known, "inner" those with a row, "right" those
        of the table, "outer" all of either.
    overwrite
        Whether columns may replace properties of the same name, for the labels that have a row.
    errors
        What is done with a value that does not parse: "raise", or "coerce", which makes it missing.
    duplicates
        What is done with several rows about one label: "raise", or "first" or "last", which is
        taken.
    ids
        The label values, where they are known; they join those of properties and colours. By
        default they are read from the pixels where the label image has neither.
    storage_options
        Passed on to fsspec for URLs.
    read_options
        Passed on to `pandas.read_csv`, over what is found out from the file.

    Returns
    -------
    dataset, report
        A new Dataset, and what came of the join.

    Raises
    ------
    OmeZarrError
        Where the table or the label image are not as described, or columns collide.

    Examples
    --------
    >>> import pandas as pd
    >>> metals = pd.DataFrame({"cell": [1, 2, 99], "metal": ["silver", "bronze", "gold"]})
    >>> joined, report = join_csv(samples.coins(), metals, label="coins", on="cell")
    >>> joined.coins_metal.sel(coins_id=2).item()
    'bronze'
    >>> report.matched_rows, report.complete
    (2, False)
    """
    column, to = split_on(on)
    tables.check_label(ds, label)
    if how not in ("left", "inner", "right", "outer"):
        msg = f"how={how!r} is not known; expected 'left', 'inner', 'right' or 'outer'."
        raise OmeZarrError(msg)
    if to != KEY and how in ("right", "outer"):
        msg = f"how={how!r} makes new labels, whose values '{to}' does not tell: join to them."
        raise OmeZarrError(msg)
    known = _known(ds, label, to)
    sheet = sheets.read(
        table,
        on=column,
        columns=columns,
        dtypes=dtypes,
        errors=errors,
        storage_options=storage_options,
        read_options=read_options,
    )
    overwritten = check_collisions(
        sheet, [*known.columns, *(k for item in known.extra.values() for k in item)],
        overwrite=overwrite, what=f"The label image '{label}' has properties",
    )  # fmt: skip
    known = _with_ids(ds, label, known, ids, sheet)
    targets, valid = _targets(known, to, label)
    index = index_of(sheet, kind_of(targets), duplicates)
    found = np.where(valid, index.find(targets), -1)
    report = JoinReport(
        table=sheet.name,
        on=column,
        to=to,
        rows=len(sheet.frame),
        matched_rows=len(np.unique(found[found >= 0])),
        labels=len(targets),
        matched_labels=int((found >= 0).sum()),
        duplicates=index.duplicates,
        columns=tuple(sheet.names.values()),
        overwritten=tuple(overwritten),
        unmatched_rows=first_unmatched(sheet, index, found),
        unmatched_labels=tuple(known.ids[found < 0][:_SHOWN].tolist()),
    )
    joined, found = _keep(known, found, index, how)
    new = {name: sheets.column(sheet, key) for key, name in sheet.names.items()}
    result = dict(joined.columns)
    for name, values in new.items():
        result[name] = merged(result.get(name), values, found, name)
    joined = replace(joined, columns=result, extra=without_columns(joined.extra, new))
    # What was told of the values before does not hold for others.
    names = {name.replace("/", tables.SLASH) for name in new}
    told = {name: a for name, a in tables.attributes(ds, label).items() if name not in names}
    ds = tables.with_properties(ds, label, joined, told)
    return ds, replace(report, coerced=sheet.coerced)


def _known(ds: xr.Dataset, label: str, to: str) -> Properties:
    known = tables.properties_of(ds, label) or Properties(np.empty(0, np.int64))
    if to != KEY and to not in known.columns:
        there = ", ".join(f"'{name}'" for name in known.columns) or "none"
        msg = (
            f"The label image '{label}' has no property '{to}' to compare with; its properties "
            f"are {there}."
        )
        raise OmeZarrError(msg)
    return known


def check_collisions(
    sheet: Sheet, known: Iterable[str], *, overwrite: bool, what: str
) -> list[str]:
    """Give the properties that columns replace.

    Raises
    ------
    OmeZarrError
        Where there are some, and it was not said that they may.
    """
    there = set(known)
    collisions = [name for name in sheet.names.values() if name in there]
    if collisions and not overwrite:
        names = ", ".join(f"'{name}'" for name in collisions)
        msg = (
            f"{what} {names} already. Replace them by overwrite=True, leave the columns "
            "out, or, in Python, give them other names by columns={'column': 'property'}."
        )
        raise OmeZarrError(msg)
    return collisions


def _with_ids(
    ds: xr.Dataset, label: str, known: Properties, ids: ArrayLike | None, sheet: Sheet
) -> Properties:
    """Find the label values, where properties and colours do not tell them."""
    if ids is not None:
        given = check_ids(ids)
    elif len(known.ids):
        return known
    elif label in ds.variables:
        from xarray_omezarr import measure  # brings dask

        given = np.asarray(measure.label_ids(ds, label))
        given = given[given != 0]
    else:
        msg = (
            f"The label values of '{label}' are not known: there are neither properties nor "
            f"pixels. Give them by ids=, like ids=table['{sheet.on}']."
        )
        raise OmeZarrError(msg)
    return extended(known, given)


def check_ids(ids: ArrayLike) -> NDArray[Any]:
    """Check label values that were given.

    Raises
    ------
    OmeZarrError
        Where they are no integers.
    """
    values = np.asarray(ids)
    if values.ndim == 1 and values.dtype.kind in "fO" and not isinstance(ids, np.ndarray):
        # Python's integers, of which NumPy makes floating point where one is beyond int64.
        listed = list(cast("Iterable[object]", ids))
        if all(type(value) is int for value in listed):
            found = integers(cast("list[int]", listed))
            values = values if found is None else found
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        msg = f"ids: {values!r:.80}; expected the label values, a list of integers."
        raise OmeZarrError(msg)
    return values


def extended(known: Properties, ids: NDArray[Any]) -> Properties:
    """Add labels of which nothing is known yet."""
    every = list(dict.fromkeys([*known.ids.tolist(), *ids.tolist()]))
    values = integers(every)
    if values is None:
        msg = "Negative label values and others beyond 2⁶³ do not go together in one label image."
        raise OmeZarrError(msg)
    new = len(every) - len(known.ids)
    return _taken(known, np.concatenate([np.arange(len(known.ids)), np.full(new, -1)]), values)


def _taken(known: Properties, index: NDArray[np.intp], ids: NDArray[Any]) -> Properties:
    """Give the properties of other labels: those of the index, nothing where it is negative."""
    colors = known.colors
    if colors is not None:
        colors = Column(colors).take(index).values
    here = set(ids.tolist())
    return replace(
        known,
        ids=ids,
        columns={name: column.take(index) for name, column in known.columns.items()},
        colors=colors,
        extra={i: item for i, item in known.extra.items() if i in here},
        color_extra={i: item for i, item in known.color_extra.items() if i in here},
    )


def _targets(known: Properties, to: str, label: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    if to == KEY:
        if not len(known.ids):
            msg = f"The label image '{label}' has no labels; there is nothing to join to."
            raise OmeZarrError(msg)
        return known.ids, np.ones(len(known.ids), bool)
    column = known.columns[to]
    values = column.values.astype(object) if column.values.dtype.kind == "U" else column.values
    return values, column.where_present()


def first_unmatched(
    sheet: Sheet, index: Index, found: NDArray[np.intp], said: Sequence[object] | None = None
) -> tuple[object, ...]:
    """Give what the first rows that are about no label say: in their column, or what is given."""
    without = np.ones(len(sheet.frame), bool)
    without[found[found >= 0]] = False
    if index.duplicates:
        once = np.zeros(len(sheet.frame), bool)
        once[index.rows] = True
        without &= once
    rows = np.flatnonzero(without)[:_SHOWN]
    if said is not None:
        return tuple(said[row] for row in rows.tolist())
    return tuple(sheet.frame[sheet.on].iloc[rows].tolist())


def _keep(
    known: Properties, found: NDArray[np.intp], index: Index, how: How
) -> tuple[Properties, NDArray[np.intp]]:
    """Choose the labels that stay, and give the row of each."""
    if how in ("inner", "right"):
        kept = np.flatnonzero(found >= 0)
        known, found = _taken(known, kept, known.ids[kept]), found[kept]
    if how in ("right", "outer"):
        before = len(known.ids)
        new = ~np.isin(index.rows, found[found >= 0])
        known = extended(known, np.asarray(index.values[new]))
        # None of them was there, so that they follow in their order.
        found = np.concatenate([found, index.rows[new]])
        assert len(known.ids) == before + int(new.sum())  # noqa: S101 - keeps rows and labels in step
    return known, found


def merged(old: Column | None, new: Column, found: NDArray[np.intp], name: str) -> Column:
    """Give the values of labels that have a row, and those from before for the others.

    Raises
    ------
    OmeZarrError
        Where one column cannot hold both.
    """
    result = new.take(found)
    if old is None:
        return result
    kept = (found < 0) & old.where_present()
    if not kept.any():
        return result
    values = _either(kept, old.values, result.values)
    if values is None:
        msg = (
            f"The property '{name}' is of type {old.values.dtype} for labels that have no row, and "
            f"the column of type {result.values.dtype}: no variable holds both. Give its type by "
            "dtypes=, or another name by columns=."
        )
        raise OmeZarrError(msg)
    present = kept | result.where_present()
    if values.dtype.kind == "f":
        return Column(np.where(present, values, np.nan))
    return Column(values, None if present.all() else present)


def _either(
    first: NDArray[np.bool_], one: NDArray[Any], other: NDArray[Any]
) -> NDArray[Any] | None:
    """Choose between values of two columns; None where no dtype holds both to the last bit."""
    kinds = {one.dtype.kind, other.dtype.kind}
    if len(kinds) == 1 or kinds == {"U", "O"}:
        return np.where(first, one, other)
    if kinds == {"i", "u"}:
        return integers(np.where(first, one.astype(object), other.astype(object)).tolist())
    if "f" in kinds and kinds <= set("iuf"):
        whole = [values for values in (one, other) if values.dtype.kind != "f"]
        if all(max(-int(v.min()), int(v.max())) <= EXACT for v in whole if v.size):
            return np.where(first, one.astype(np.float64), other.astype(np.float64))
    return None
