"""Tables as people have them: a CSV file, a URL, an open file or a DataFrame → typed columns.

pandas reads them. What it guesses is kept unless a type is asked for; the text of a column is read
again only where its type cannot be had from the guess.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.properties import EXACT, Column, column_of, integers, strings

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Errors = Literal["raise", "coerce"]
Columns = str | Collection[str] | Mapping[str, str]
Types = str | Sequence[str] | Mapping[str, Any]

#: The types of ome-zarr-py's `name#d` syntax.
LETTERS = {"d": "a number", "l": "an integer", "s": "text", "b": "true or false"}
#: What pandas takes for a missing value, unless text is asked for.
MISSING = frozenset(
    ",#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,"
    "nan,null".split(",")
)
_TRUTHS = {
    **dict.fromkeys(("true", "1", "yes"), True),
    **dict.fromkeys(("false", "0", "no"), False),
}
_DELIMITERS = ",;\t|"
#: Fractions, as they are written here and there.
_COMMA, _POINT = re.compile(r"\s*[+-]?\d*,\d+\s*"), re.compile(r"\s*[+-]?\d*\.\d+\s*")
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
#: The first pandas whose floating point is correctly rounded without being asked.
_ROUNDS = (3, 1)


@dataclass(frozen=True)
class Type:
    """The type that a column is to have."""

    letter: str
    """One of "d", "l", "s" and "b"."""
    dtype: np.dtype[Any] | None = None
    """The exact dtype, where one was asked for."""


@dataclass(frozen=True)
class Sheet:
    """A table that was read."""

    name: str
    """What messages call it."""
    on: str
    """The column that says which label a row is about."""
    frame: pd.DataFrame
    """What pandas makes of it, without rows that are empty."""
    names: Mapping[str, str]
    """The columns that are wanted, with the names of the properties that they become."""
    types: Mapping[str, Type]
    """The types that were asked for, by column."""
    text: Callable[[str], list[str | None]]
    """The text of a column as it stands."""
    errors: Errors = "raise"
    from_file: bool = True
    coerced: dict[str, int] = field(default_factory=dict)
    """How many values of each column could not be parsed, and were made missing."""


def read(
    table: object,
    *,
    on: str,
    columns: Columns | None,
    dtypes: Types | None,
    errors: Errors = "raise",
    storage_options: Mapping[str, Any] | None = None,
    read_options: Mapping[str, Any] | None = None,
) -> Sheet:
    """Read a table.

    Parameters
    ----------
    table
        A path, a URL, an open file or a DataFrame.
    on
        The column that says which label a row is about.
    columns
        The columns that are wanted, all others by default; "name#d" gives a type as well, and a
        mapping the name of the property too.
    dtypes
        Types by column: one of ome-zarr-py's letters (see `LETTERS`), or what NumPy takes for one.
        Also in the form "name#d".
    errors
        What is done with a value that does not parse.
    storage_options
        Passed on to fsspec for URLs.
    read_options
        Passed on to `pandas.read_csv`, over what is found out from the file.

    Raises
    ------
    OmeZarrError
        Where it cannot be read, is empty, or has not got the columns.
    """
    import pandas as pd

    if errors not in ("raise", "coerce"):
        msg = f"errors={errors!r} is not known; expected 'raise' or 'coerce'."
        raise OmeZarrError(msg)
    if isinstance(table, pd.DataFrame):
        if read_options:
            msg = "read_options are for files; this is a DataFrame. Leave them out."
            raise OmeZarrError(msg)
        return _of_frame(table, on, columns, dtypes, errors)
    name, content = _content(table, storage_options)
    options = _options(content, on, name, read_options or {})
    header = [str(key) for key in _parse(content, name, {**options, "nrows": 0}).columns]
    names, types = _wanted(header, on, columns, dtypes, name)
    raw = {key for key, type_ in types.items() if type_.letter in "sb"}
    # All columns, though not all are wanted: else a row of too many fields goes unnoticed.
    guess: dict[str, Any] = {
        "dtype_backend": "numpy_nullable",
        "dtype": dict.fromkeys(raw, str),
        "keep_default_na": False,
        "na_values": {key: sorted(MISSING) for key in header if key not in raw},
    }
    frame = _parse(content, name, {**options, **guess})
    kept = _not_empty(frame, on, raw)

    def text(key: str) -> list[str | None]:
        if key in raw:
            return _texts(frame[key])[1]
        plain = {"dtype": str, "keep_default_na": False, "na_filter": False}
        again = {**options, **plain, "usecols": [header.index(key)]}
        return _texts(_parse(content, name, again)[kept][key])[1]

    frame = frame[kept] if not kept.all() else frame
    if columns is None:
        names = {
            key: new
            for key, new in names.items()
            if not (re.fullmatch(r"Unnamed: \d+", key) and frame[key].isna().all())
        }
    _check_rows(frame, name)
    return Sheet(name, on, frame, names, types, text, errors)


def _of_frame(
    table: pd.DataFrame, on: str, columns: Columns | None, dtypes: Types | None, errors: Errors
) -> Sheet:
    frame = table.reset_index() if on in table.index.names else table
    frame = frame.set_axis([str(key) for key in frame.columns], axis="columns")
    name = "the DataFrame"
    header = list(frame.columns)
    if len(set(header)) < len(header):
        twice = sorted({key for key in header if header.count(key) > 1})
        msg = f"The DataFrame has several columns of the same name: {_quoted(twice)}. Rename them."
        raise OmeZarrError(msg)
    names, types = _wanted(header, on, columns, dtypes, name)
    _check_rows(frame, name)
    return Sheet(
        name,
        on,
        frame,
        names,
        types,
        lambda key: _texts(frame[key])[1],
        errors,
        from_file=False,
    )


def _check_rows(frame: pd.DataFrame, name: str) -> None:
    if not len(frame):
        msg = f"There are no rows in {name}: nothing to join."
        raise OmeZarrError(msg)


def _not_empty(frame: pd.DataFrame, on: str, raw: Collection[str]) -> NDArray[np.bool_]:
    """Say which rows hold anything: spreadsheets end in lines of delimiters."""
    kept = np.ones(len(frame), bool)
    missing = np.asarray(frame[on].isna())
    if on in raw:
        missing |= np.asarray(frame[on] == "", bool)
    if missing.any():
        rows = frame[missing]
        kept[missing] = ~np.asarray((rows.isna() | (rows.astype(object) == "")).all(axis=1))
    return kept


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def _content(table: object, storage_options: Mapping[str, Any] | None) -> tuple[str, bytes | str]:
    if isinstance(table, (str, os.PathLike)):
        from xarray_omezarr import edits  # brings Zarr

        return os.fspath(table), edits.read_file(table, storage_options)
    reader = getattr(table, "read", None)
    if reader is None:
        msg = (
            f"A table of type {type(table).__name__} is not supported; expected a path, a URL, an "
            "open file or a DataFrame."
        )
        raise OmeZarrError(msg)
    content = reader()
    if isinstance(content, (bytearray, memoryview)):
        content = bytes(content)
    if not isinstance(content, (bytes, str)):
        msg = f"The open file gave {type(content).__name__}; expected bytes or text."
        raise OmeZarrError(msg)
    return str(getattr(table, "name", "the open file")), content


def _options(content: bytes | str, on: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Find out encoding and delimiter from the first line that is not blank."""
    options: dict[str, Any] = {"index_col": False}
    if isinstance(content, bytes):
        options["encoding"] = given.get("encoding") or _BOMS.get(content[:2], "utf-8-sig")
        try:
            head = content[: 2**16].decode(options["encoding"], errors="ignore")
        except LookupError as error:
            msg = f"{name}: {error}. Give an encoding that Python knows."
            raise OmeZarrError(msg) from error
    else:
        head = content[: 2**16]
    if "sep" not in given and "delimiter" not in given:
        line = next((line for line in head.splitlines() if line.strip()), "")
        options["sep"] = _delimiter(line.removeprefix("\ufeff"), on)
        if "decimal" not in given and options["sep"] == ";" and _has_commas(head):
            options["decimal"] = ","
    if "engine" not in given:
        options |= exactly()
    return {**options, **given}


def exactly() -> dict[str, Any]:
    """Give the options by which `pandas.read_csv` reads the numbers that are written there."""
    import pandas as pd

    old = tuple(map(int, pd.__version__.split(".")[:2])) < _ROUNDS
    return {"float_precision": "round_trip"} if old else {}


def _delimiter(line: str, on: str) -> str:
    """Choose the delimiter by which a header has the column, else the one most often there."""

    def fields(delimiter: str) -> list[str]:
        return next(csv.reader([line], delimiter=delimiter), [])

    return max(_DELIMITERS, key=lambda delimiter: (on in fields(delimiter), len(fields(delimiter))))


def _has_commas(head: str) -> bool:
    """Say whether fractions have commas, as spreadsheets write them that delimit by semicolons."""
    fields = [field for row in csv.reader(head.splitlines(), delimiter=";") for field in row]
    return any(map(_COMMA.fullmatch, fields)) and not any(map(_POINT.fullmatch, fields))


def _parse(content: bytes | str, name: str, options: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    file: Any
    if isinstance(content, bytes):
        file = io.BytesIO(content)
    else:
        file = io.StringIO(content.removeprefix("\ufeff"))
    try:
        with warnings.catch_warnings():
            # A row with more fields than there are columns: pandas would drop them.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame: pd.DataFrame = pd.read_csv(file, **options)
            return frame
    except pd.errors.EmptyDataError as error:
        msg = f"{name} is empty; expected a table with a line of column names."
        raise OmeZarrError(msg) from error
    except UnicodeDecodeError as error:
        msg = (
            f"{name} is not in the encoding {options.get('encoding')}: {error}. Save it as UTF-8; "
            "or, in Python, name the one that it is in: read_options={'encoding': 'cp1252'}."
        )
        raise OmeZarrError(msg) from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError, TypeError) as error:
        told = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        msg = f"{name} cannot be read as a table: {told}. Mend it."
        raise OmeZarrError(msg) from error


# ── what is wanted ───────────────────────────────────────────────────────────────────────────────


def _wanted(
    header: Sequence[str],
    on: str,
    columns: Columns | None,
    dtypes: Types | None,
    name: str,
) -> tuple[dict[str, str], dict[str, Type]]:
    """Give the columns that are wanted with their new names, and their types."""
    if on not in header:
        msg = f"There is no column {on!r} in {name}; its columns are {_quoted(header)}."
        raise OmeZarrError(msg)
    types: dict[str, Type] = {}
    names: dict[str, str] = {}
    if columns is None:
        names = {key: key for key in header if key != on}
    else:
        pairs = columns.items() if isinstance(columns, Mapping) else _split(columns, header)
        for key, new in pairs:
            column, letter = _typed(key, header, name)
            names[column] = column if new is None else new
            if letter is not None:
                types[column] = Type(letter)
    types.update(_types(dtypes, header, name))
    if not names:
        msg = f"No columns of {name} are to be joined besides '{on}'."
        raise OmeZarrError(msg)
    new = list(names.values())
    if len(set(new)) < len(new) or "label-value" in new:
        msg = (
            f"The columns would become the properties {_quoted(new)}; expected names that differ "
            "from each other and from 'label-value'. Rename them: columns={'column': 'property'}."
        )
        raise OmeZarrError(msg)
    return names, {key: type_ for key, type_ in types.items() if key in names}


def _types(dtypes: Types | None, header: Sequence[str], name: str) -> dict[str, Type]:
    """Give the types that `dtypes` asks for."""
    types: dict[str, Type] = {}
    if isinstance(dtypes, Mapping):
        for key, wanted in dtypes.items():
            column, _ = _typed(str(key), header, name)
            types[column] = _type(wanted, column)
    elif dtypes is not None:
        for key, _ in _split(dtypes, header):
            column, letter = _typed(key, header, name)
            if letter is None:
                msg = f"dtypes: {key!r} names no type; expected one like '{key}#d'."
                raise OmeZarrError(msg)
            types[column] = Type(letter)
    return types


def _split(names: str | Collection[str], header: Sequence[str]) -> list[tuple[str, None]]:
    """Split a list in one string at its commas, unless it is the name of a column itself."""
    if isinstance(names, str):
        names = [names] if names in header else names.split(",")
    return [(str(key), None) for key in names]


def _typed(key: str, header: Sequence[str], name: str) -> tuple[str, str | None]:
    """Split the name of a column from its type, as in "area#d"."""
    if key in header:
        return key, None
    column, sign, letter = key.rpartition("#")
    if sign and column in header:
        if letter in LETTERS:
            return column, letter
        known = ", ".join(f"#{letter} ({what})" for letter, what in LETTERS.items())
        msg = f"The type of column {key!r} is not known; expected one of {known}."
        raise OmeZarrError(msg)
    if sign and letter in LETTERS:
        key = column
    msg = f"There is no column {key!r} in {name}; its columns are {_quoted(header)}."
    raise OmeZarrError(msg)


def _type(wanted: object, column: str) -> Type:
    if isinstance(wanted, str) and wanted.removeprefix("#") in LETTERS:
        return Type(wanted.removeprefix("#"))
    import pandas as pd

    try:
        dtype: Any = pd.api.types.pandas_dtype(wanted)  # type: ignore[arg-type, unused-ignore]
    except (TypeError, ValueError) as error:
        msg = f"dtypes: {wanted!r} is no type for column {column!r}: {error}"
        raise OmeZarrError(msg) from error
    kind = "O" if pd.api.types.is_string_dtype(dtype) else dtype.kind
    letter = {"b": "b", "i": "l", "u": "l", "f": "d", "U": "s", "O": "s"}.get(kind)
    if letter is None:
        msg = (
            f"dtypes: column {column!r} cannot be {dtype}; expected numbers, text or booleans, "
            "which is what properties of labels can be."
        )
        raise OmeZarrError(msg)
    exact = None if letter in "sb" else np.dtype(getattr(dtype, "numpy_dtype", dtype))
    return Type(letter, exact)


def _quoted(names: Collection[str]) -> str:
    shown = ", ".join(f"'{key}'" for key in list(names)[:20])
    return f"{shown}, … ({len(names)} in all)" if len(names) > 20 else shown  # noqa: PLR2004


# ── columns ──────────────────────────────────────────────────────────────────────────────────────


def column(sheet: Sheet, key: str) -> Column:
    """Give a column of a table, in the type that it is to have.

    Raises
    ------
    OmeZarrError
        Where a value does not parse, with its row, counted from 1, and column.
    """
    series, type_ = sheet.frame[key], sheet.types.get(key)
    if type_ is None:
        return guessed(series, key, from_file=sheet.from_file)
    result = {"d": _numbers, "l": _integers, "s": _strings, "b": _truths}[type_.letter](sheet, key)
    return result if type_.dtype is None else _cast(sheet, key, result, type_.dtype)


def guessed(series: pd.Series[Any], key: str, *, from_file: bool = False) -> Column:
    """Give a column in the type that pandas has given it."""
    import pandas as pd

    dtype: Any = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return guessed(series.astype(dtype.categories.dtype), key)
    if pd.api.types.is_string_dtype(dtype) or dtype.kind in "OU":
        if _is_text(series):
            return _guessed_text(series, integers_too=from_file)
        return _guessed_objects(series, key)
    if dtype.kind not in "biuf":
        msg = (
            f"Column '{key}' is of type {dtype}, which no property of labels can have; convert it "
            f"(dtypes={{'{key}': 's'}} makes text of it)."
        )
        raise OmeZarrError(msg)
    numeric = np.dtype(getattr(dtype, "numpy_dtype", dtype))
    if numeric.kind == "f":
        return Column(series.to_numpy(numeric, na_value=np.nan))
    missing = np.asarray(series.isna())
    if not missing.any():
        return Column(series.to_numpy(numeric))
    filler = False if numeric.kind == "b" else 0
    return Column(series.to_numpy(numeric, na_value=filler), ~missing)


def _guessed_text(series: pd.Series[Any], *, integers_too: bool) -> Column:
    missing, texts = _texts(series)
    if missing.all():
        return Column(np.full(len(texts), np.nan))
    exact = _large(texts) if integers_too else None
    if exact is not None:
        return exact
    return Column(strings([value or "" for value in texts]), ~missing if missing.any() else None)


def _guessed_objects(series: pd.Series[Any], key: str) -> Column:
    result = column_of([_python(value) for value in series])
    if result is None and series.isna().all():
        return Column(np.full(len(series), np.nan))
    if result is None:
        msg = (
            f"Column '{key}' holds values of several kinds, or that are no plain values; give "
            f"its type: dtypes={{'{key}': 's'}}."
        )
        raise OmeZarrError(msg)
    return result


def _python(value: object) -> object:
    """Give a value as Python's own; None for what is missing."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value or str(value) == "<NA>":  # noqa: PLR0124 - NaN, NaT
        return None
    return value


def _is_text(series: pd.Series[Any]) -> bool:
    import pandas as pd

    if isinstance(series.dtype, pd.StringDtype):
        return True
    return set(map(type, series.dropna())) == {str}


def _texts(series: pd.Series[Any]) -> tuple[NDArray[np.bool_], list[str | None]]:
    """Give the values of a column as text; None for what is missing."""
    missing = np.asarray(series.isna())
    values = series.to_numpy(object).tolist()
    if missing.any():
        pairs = zip(missing.tolist(), values, strict=True)
        return missing, [None if gone else str(value) for gone, value in pairs]
    return missing, values if set(map(type, values)) == {str} else list(map(str, values))


def _large(texts: Sequence[str | None]) -> Column | None:
    """Give a column of integers beyond int64 with gaps, which pandas takes for text."""
    first = next((value for value in texts if value is not None), "")
    if not re.fullmatch(r"\s*[+-]?\d+\s*", first):
        return None
    try:
        # Here pandas leaves the gaps as they stand.
        whole = [None if value is None or value in MISSING else int(value) for value in texts]
    except ValueError:
        return None
    return column_of(whole)


def _refuse(sheet: Sheet, key: str, bad: Mapping[int, object], what: str) -> None:
    """Raise for values that do not parse, or note that they are missing now."""
    if not bad:
        return
    if sheet.errors == "raise":
        row, value = next(iter(bad.items()))
        more = f" ({len(bad)} such values in all)" if len(bad) > 1 else ""
        msg = (
            f"{sheet.name}, row {row + 1}, column '{key}': {value!r:.60} is not {what}{more}. Mend "
            "it; or, in Python, make what does not parse missing by errors='coerce'."
        )
        raise OmeZarrError(msg)
    sheet.coerced[key] = len(bad)


def _each(sheet: Sheet, key: str, parse: Callable[[str], Any], what: str) -> list[Any]:
    """Parse the text of a column value by value."""
    bad: dict[int, object] = {}
    values: list[Any] = []
    for row, value in enumerate(sheet.text(key)):
        if value is None or value.strip() in MISSING:
            values.append(None)
            continue
        try:
            values.append(parse(value))
        except (ValueError, OverflowError, KeyError):
            bad[row] = value
            values.append(None)
    _refuse(sheet, key, bad, what)
    return values


def _numeric(series: pd.Series[Any]) -> str:
    """Give the kind of a numeric column, else ""."""
    import pandas as pd

    kind = getattr(series.dtype, "kind", "O")
    return kind if kind in "iuf" and not pd.api.types.is_string_dtype(series.dtype) else ""


def _numbers(sheet: Sheet, key: str) -> Column:
    series = sheet.frame[key]
    if _numeric(series):
        return Column(series.to_numpy(np.float64, na_value=np.nan))
    values = _each(sheet, key, float, LETTERS["d"])
    return Column(np.array(values, np.float64))


def _integers(sheet: Sheet, key: str) -> Column:
    series = sheet.frame[key]
    kind = _numeric(series)
    if kind in ("i", "u"):
        return guessed(series, key)
    if kind == "f":
        values = series.to_numpy(np.float64, na_value=np.nan)
        present = ~np.isnan(values)
        if (np.abs(values[present]) < EXACT).all():
            whole = np.where(present, np.rint(np.where(present, values, 0)), 0).astype(np.int64)
            return Column(whole, None if present.all() else present)
    return _whole(sheet, key, _each(sheet, key, to_integer, LETTERS["l"]))


def to_integer(text: str) -> int:
    """Parse an integer to its last bit; what is written as another number is rounded.

    Examples
    --------
    >>> to_integer("9007199254740993"), to_integer("2.5"), to_integer("1e3")
    (9007199254740993, 2, 1000)
    """
    try:
        value = int(text)
    except ValueError:
        value = round(float(text))
    if not -(2**63) <= value < 2**64:
        raise OverflowError
    return value


def _whole(sheet: Sheet, key: str, values: list[int | None]) -> Column:
    present = np.array([value is not None for value in values], bool)
    array = integers([value or 0 for value in values])
    if array is None:
        msg = (
            f"{sheet.name}, column '{key}': it has negative integers and others beyond 2⁶³, which "
            "no type of 64 bits holds. Read it as text ('s') or as floating point ('d')."
        )
        raise OmeZarrError(msg)
    return Column(array, None if present.all() else present)


def _strings(sheet: Sheet, key: str) -> Column:
    texts = sheet.text(key)
    present = np.array([value is not None for value in texts], bool)
    values = strings([value or "" for value in texts])
    return Column(values, None if present.all() else present)


def _truths(sheet: Sheet, key: str) -> Column:
    series = sheet.frame[key]
    if _numeric(series):
        numbers = series.to_numpy(np.float64, na_value=np.nan)
        present = np.isin(numbers, (0, 1))
        wrong = np.flatnonzero(~present & ~np.isnan(numbers)).tolist()
        _refuse(sheet, key, {i: float(numbers[i]) for i in wrong}, LETTERS["b"])
        return Column(numbers == 1, None if present.all() else present)
    texts = sheet.text(key)
    distinct = {value: None if value is None else value.strip().lower() for value in set(texts)}
    found = {value: _TRUTHS.get(word or "") for value, word in distinct.items()}
    if all(found[v] is not None or w in (None, "") for v, w in distinct.items()):
        values = [found[value] for value in texts]
    else:
        values = _each(sheet, key, lambda text: _TRUTHS[text.strip().lower()], LETTERS["b"])
    present = np.array([value is not None for value in values], bool)
    return Column(np.array([value or False for value in values], bool),
                  None if present.all() else present)  # fmt: skip


def _cast(sheet: Sheet, key: str, found: Column, dtype: np.dtype[Any]) -> Column:
    """Convert a column to an exact type, into whose range every value has to fit."""
    values, present = found.values, found.present
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        outside = (values < int(info.min)) | (values > int(info.max))
        if outside.any():
            bad = {int(row): values[row].item() for row in np.flatnonzero(outside)}
            _refuse(sheet, key, bad, f"an integer from {info.min} to {info.max}")
            present = (np.ones(len(values), bool) if present is None else present) & ~outside
            values = np.where(outside, 0, values)
    return Column(values.astype(dtype), present)


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


def keys(sheet: Sheet, kind: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Give what the rows are about, in the kind of what it is compared with.

    Parameters
    ----------
    sheet
        The table.
    kind
        "i" for label values and other integers, "f", "U" or "b".

    Returns
    -------
    values, valid
        What each row is about, and whether the row says it at all.
    """
    series, key = sheet.frame[sheet.on], sheet.on
    if kind == "f":
        values = _numbers(sheet, key).values
        return values, ~np.isnan(values)
    if kind == "U":
        found = _strings(sheet, key)
        return found.values.astype(object), found.where_present() & (found.values != "")
    if kind == "b":
        found = _truths(sheet, key)
        return found.values, found.where_present()
    if _numeric(series) in ("i", "u"):
        found = guessed(series, key)
    else:
        found = _whole(sheet, key, _each(sheet, key, _exact, "an integer, like a label value"))
    if not found.where_present().any():
        msg = (
            f"Column '{key}' of {sheet.name} holds no integers, which label values are. Name the "
            "column that tells the labels by on=, or a property that it stands for by "
            f"on=('{key}', 'property')."
        )
        raise OmeZarrError(msg)
    return found.values, found.where_present()


def _exact(text: str) -> int:
    """Parse an integer; one that is written as 3.0 is one as well."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not math.isfinite(value) or not value.is_integer():
            raise
        return int(value)
