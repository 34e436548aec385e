"""Label properties and colours as columns: the lists of `image-label` ⇄ arrays.

A million labels are a million JSON objects: whatever touches each of them runs in C.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

#: The key of a label's value, in `properties` and in `colors`.
KEY = "label-value"
#: Integers up to here are float64 exactly, each of them.
EXACT = 2**53

#: What a value is where none is there, by the kind of its dtype.
_FILLERS: dict[str, Any] = {"b": False, "i": 0, "u": 0, "f": np.nan, "U": "", "O": ""}
#: The dtypes of values of each kind; strings find theirs themselves.
_DTYPES: dict[type, Any] = {bool: bool, int: np.int64, float: np.float64, str: None}
#: So many objects with some properties fit into a processor's cache.
_BATCH = 2048
#: An array of fixed width may take so many bytes, however empty it is.
_LARGE = 2**24
#: Properties are columns up to so many; and where there are cells for more than `_LARGE` values,
#: those that one in so many labels has, or more.
_MOST, _SPARSE = 2**13, 32
_BYTE = 255
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True)
class Column:
    """One property of all labels."""

    values: NDArray[Any]
    """Booleans, integers, float64 or strings; a filler where there is no value."""
    present: NDArray[np.bool_] | None = None
    """Where there is a value; None where there is one for each label, NaN aside."""

    def where_present(self) -> NDArray[np.bool_]:
        """Say which labels have a value that can be stored: neither missing nor NaN or infinite."""
        present = np.ones(len(self.values), bool) if self.present is None else self.present
        return present & np.isfinite(self.values) if self.values.dtype.kind == "f" else present

    def take(self, index: NDArray[np.intp]) -> Column:
        """Give the values at some positions; there is none at negative ones."""
        there = index >= 0
        values = np.full(len(index), _FILLERS[self.values.dtype.kind], self.values.dtype)
        values[there] = self.values[index[there]]
        if there.all() and self.present is None:
            return Column(values)
        present = there.copy()
        if self.present is not None:
            present[there] = self.present[index[there]]
        return Column(values, None if values.dtype.kind == "f" else present)


@dataclass(frozen=True)
class Properties:
    """What is known of the labels of a label image, column by column."""

    ids: NDArray[Any]
    """The label values, each once: int64, or uint64 where one needs it."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    colors: NDArray[Any] | None = None
    """Eight hexadecimal digits each, red, green, blue and alpha; "" for none."""
    extra: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """By label value: properties that are no columns, verbatim."""
    color_extra: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """By label value: what stands beside a colour, verbatim."""


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def parse(
    properties: object, colors: object, *, place: str, warn: Callable[[str], None]
) -> Properties | None:
    """Read the lists `properties` and `colors` of `image-label`.

    Parameters
    ----------
    properties, colors
        The lists, as stored; None where there is none.
    place
        What messages call the label image.
    warn
        Called with one sentence for each thing that could not be taken as it is.

    Returns
    -------
    Properties or None
        None where neither list tells of any label.
    """
    columns = _even_columns(properties)
    own = columns.pop(KEY).values if columns else None
    extra: dict[int, dict[str, Any]] = {}
    if own is None or not are_unique(own):
        entries, own = _entries(properties, f"{place}: 'image-label.properties'", warn)
        columns, extra = _columns(entries, own.tolist(), place, warn)
    shades, shaded = _entries(colors, f"{place}: 'image-label.colors'", warn)
    if not len(own) and not len(shaded):
        return None
    ids = own
    if len(shaded) and not np.array_equal(own, shaded):
        # What is coloured and has no properties comes after what has.
        ids = _unite(own, shaded)
        if len(ids) > len(own):
            index = np.concatenate([np.arange(len(own)), np.full(len(ids) - len(own), -1)])
            columns = {name: column.take(index) for name, column in columns.items()}
    if not len(shaded):
        return Properties(ids, columns, None, extra)
    texts = _hexadecimals(shades, place, warn)
    if ids is not own or len(shaded) != len(ids):
        values = np.full(len(ids), "", "U8")
        values[positions(ids, shaded)] = texts
        texts = values
    beside = {
        value: {key: item for key, item in shade.items() if key not in (KEY, "rgba")}
        for value, shade in zip(shaded.tolist(), shades, strict=True)
        if len(shade) > 2  # noqa: PLR2004 - label-value and rgba
    }
    return Properties(ids, columns, texts, extra, {k: v for k, v in beside.items() if v})


def _even_columns(objects: object) -> dict[str, Column]:
    """Make columns of objects that are all alike, as a program writes them; else none.

    Objects are taken a few thousand at a time, each of which is then still in the processor's
    cache for its last key: that is twice as fast as one key after the other.
    """
    if not isinstance(objects, list) or not objects or not isinstance(objects[0], dict):
        return {}
    first = objects[0]
    kinds = {name: type(value) for name, value in first.items()}
    if len(kinds) > _MOST or kinds.get(KEY) is not int or not set(kinds.values()) <= _DTYPES.keys():
        return {}
    getters = [(name, itemgetter(name), kind, _DTYPES[kind]) for name, kind in kinds.items()]
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in kinds}
    try:
        for start in range(0, len(objects), _BATCH):
            batch = objects[start : start + _BATCH]
            if set(map(len, batch)) != {len(first)}:
                return {}
            for name, getter, kind, dtype in getters:
                values = list(map(getter, batch))
                if set(map(type, values)) != {kind}:
                    return {}
                parts[name].append(
                    strings(values) if dtype is None else np.fromiter(values, dtype, len(values))
                )
    except (KeyError, TypeError, IndexError, OverflowError):
        return {}
    return {name: Column(_concatenated(arrays)) for name, arrays in parts.items()}


def _concatenated(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    if any(array.dtype.kind == "O" for array in arrays):
        arrays = [array.astype(object) for array in arrays]
    widest = max(array.dtype.itemsize for array in arrays) * sum(map(len, arrays))
    if widest > max(_LARGE, 8 * sum(array.nbytes for array in arrays)):
        arrays = [array.astype(object) for array in arrays]
    return np.concatenate(arrays)


def _entries(
    objects: object, what: str, warn: Callable[[str], None]
) -> tuple[list[dict[str, Any]], NDArray[Any]]:
    """Give the objects of a list with their label values, each value once."""
    nothing: tuple[list[dict[str, Any]], NDArray[Any]] = [], np.empty(0, np.int64)
    if objects is None or objects == []:
        return nothing
    if not isinstance(objects, list):
        warn(f"{what} is {objects!r:.80}; expected a list of objects; left out")
        return nothing
    try:
        values = list(map(itemgetter(KEY), objects))
        ids = integers(values) if set(map(type, values)) == {int} else None
    except (KeyError, TypeError, IndexError):
        ids = None
    if ids is None:
        objects, ids = _valid(objects, what, warn)
    if are_unique(ids):
        return objects, ids
    # "values MUST be unique"; "clients SHOULD take the last" (0.4, labels).
    by_value = dict(zip(ids.tolist(), objects, strict=True))
    warn(
        f"{what} tells of {len(ids) - len(by_value)} label values more than once; the last of "
        "each is taken"
    )
    return list(by_value.values()), np.array(list(by_value), ids.dtype)


def _valid(
    objects: list[Any], what: str, warn: Callable[[str], None]
) -> tuple[list[dict[str, Any]], NDArray[Any]]:
    """Sort out what has no label value."""
    kept, values, bad = [], [], []
    # "Each object MUST contain the key label-value, whose value MUST be an integer" (0.4, labels).
    for item in objects:
        value = item.get(KEY) if isinstance(item, dict) else None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is int and -(2**63) <= value < 2**64:
            kept.append(item)
            values.append(value)
        else:
            bad.append(item)
    if bad:
        warn(
            f"{what}: {len(bad)} entries have no integer as '{KEY}', like {bad[0]!r:.80}; left out"
        )
    ids = integers(values)
    if ids is None:
        warn(f"{what}: '{KEY}' is negative in some and beyond 2⁶³ in others; the former left out")
        pairs = [(v, o) for v, o in zip(values, kept, strict=True) if v >= 0]
        kept, ids = [o for _, o in pairs], np.array([v for v, _ in pairs], np.uint64)
    return kept, ids


def integers(values: Sequence[int]) -> NDArray[Any] | None:
    """Make an array of Python's integers, int64 or else uint64; None where neither holds them."""
    for dtype in (np.int64, np.uint64):
        try:
            return np.fromiter(values, dtype, len(values))
        except OverflowError:
            continue
    return None


def are_unique(ids: NDArray[Any]) -> bool:
    """Say whether each label value is there once."""
    # In order is what they mostly are.
    if (ids[1:] > ids[:-1]).all():
        return True
    ids = np.sort(ids)
    return bool((ids[1:] != ids[:-1]).all())


def _unite(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Give the label values of both, those of the first as they stand."""
    values = dict.fromkeys(chain(first.tolist(), second.tolist()))
    ids = integers(list(values))
    if ids is None:
        ids = np.array([value for value in values if value >= 0], np.uint64)
    return ids


def positions(ids: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.intp]:
    """Find label values among others that are unique; -1 for what is not there."""
    place = {value: i for i, value in enumerate(ids.tolist())}
    return np.array([place.get(value, -1) for value in wanted.tolist()], np.intp)


def _columns(
    entries: list[dict[str, Any]], ids: list[int], place: str, warn: Callable[[str], None]
) -> tuple[dict[str, Column], dict[int, dict[str, Any]]]:
    if not entries:
        return {}, {}
    columns, others = {}, set()
    rows, rare = _values(entries)
    for name, values in rows.items():
        column = column_of(values)
        if column is not None:
            columns[name] = column
        elif any(value is not None for value in values):
            others.add(name)
    if others:
        names = ", ".join(f"'{name}'" for name in rows if name in others)
        warn(
            f"{place}: the properties {names:.200} have values of several kinds, or that are no "
            "plain values; they are no variables, and are kept as they are"
        )
    if rare:
        warn(
            f"{place}: {len(rare)} properties, like '{next(iter(rare)):.40}', are too many, or of "
            "too few labels; they are no variables, and are kept as they are"
        )
    kept = {*others, *rare}
    if not kept:
        return columns, {}
    beside = [{k: v for k, v in e.items() if k in kept and v is not None} for e in entries]
    return columns, {value: item for value, item in zip(ids, beside, strict=True) if item}


def _values(entries: list[dict[str, Any]]) -> tuple[dict[str, list[Any]], Collection[str]]:
    """Turn rows into columns; None where a key is missing.

    Returns
    -------
    values, rare
        The columns by their names; and the names of properties that so few labels have that their
        columns would take many times the memory of what is in them.
    """
    first = entries[0]
    if set(map(len, entries)) == {len(first)} and len(first) <= _MOST:
        try:
            names = [name for name in first if name != KEY]
            return {name: list(map(itemgetter(name), entries)) for name in names}, ()
        except KeyError:
            pass
    counts = Counter(chain.from_iterable(entries))
    del counts[KEY]
    kept = list(islice(counts, _MOST))
    if len(kept) * len(entries) > max(_LARGE, _SPARSE * counts.total()):
        kept = [name for name in kept if counts[name] * _SPARSE >= len(entries)]
    values = {name: [entry.get(name) for entry in entries] for name in kept}
    return values, counts.keys() - values.keys()


def column_of(values: list[Any]) -> Column | None:
    """Make a column of plain Python values, of which None is missing.

    Returns
    -------
    Column or None
        None where the values are of several kinds, are no plain values, or are all missing.
    """
    kinds = set(map(type, values))
    present = None
    if type(None) in kinds:
        kinds.discard(type(None))
        present = np.fromiter((value is not None for value in values), bool, len(values))
    if kinds in ({float}, {int, float}):
        if int in kinds and not all(abs(value) <= EXACT for value in values if type(value) is int):
            return None
        if present is not None:
            return Column(np.array(values, np.float64))
        return Column(np.fromiter(values, np.float64, len(values)))
    array: NDArray[Any] | None = None
    if kinds == {int}:
        array = integers(values if present is None else [value or 0 for value in values])
    elif kinds == {bool}:
        array = np.array(values if present is None else [value or False for value in values], bool)
    elif kinds == {str}:
        array = strings(values if present is None else [value or "" for value in values])
    return None if array is None else Column(array, present)


def strings(values: list[str]) -> NDArray[Any]:
    """Make an array of strings: of fixed width, or of objects where that would waste memory."""
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    longest, total = int(lengths.max(initial=1)), int(lengths.sum())
    if 4 * longest * len(values) <= max(_LARGE, 8 * 4 * total):
        fixed = np.fromiter(values, f"U{longest}", len(values))
        # NumPy drops zeros at the end.
        if int(np.strings.str_len(fixed).sum()) == total:
            return fixed
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _hexadecimals(
    shades: list[dict[str, Any]], place: str, warn: Callable[[str], None]
) -> NDArray[Any]:
    """Write colours as eight hexadecimal digits each."""
    # "rgba: array of four integers between 0 and 255" (0.4, labels).
    found: list[Any] = [shade.get("rgba") for shade in shades]
    valid = set(map(type, found)) == {list} and set(map(len, found)) == {4}
    if not (valid and set(map(type, chain.from_iterable(found))) == {int}):
        found, bad = [_rgba(value) for value in found], found
        bad = [b for b, f in zip(bad, found, strict=True) if f is None and b is not None]
        if bad:
            _warn_of_colors(bad, place, warn)
        present = np.array([value is not None for value in found])
        found = [value or [0] * 4 for value in found]
    else:
        present = np.ones(len(found), bool)
    dtype: Any = object if _beyond(found) else np.int64
    numbers: NDArray[Any] = np.array(found, dtype)
    inside = ((numbers >= 0) & (numbers <= _BYTE)).all(axis=1)
    if not inside.all():
        _warn_of_colors([found[i] for i in np.flatnonzero(~inside)], place, warn)
    numbers[~inside] = 0
    digits = numbers.astype(np.uint8).tobytes().hex().upper()
    texts = np.frombuffer(digits.encode(), "S8").astype("U8")
    texts[~(inside & present)] = ""
    return texts


def _beyond(found: list[list[int]]) -> bool:
    return any(not -(2**63) <= n < 2**63 for n in (max(map(max, found)), min(map(min, found))))


def _rgba(value: object) -> list[int] | None:
    numbers = value if isinstance(value, list) else []
    whole = [int(n) for n in numbers if type(n) in (int, float) and n == n // 1]
    if len(whole) != len(numbers) or len(whole) not in (3, 4):
        return None
    return [*whole, _BYTE][:4]


def _warn_of_colors(bad: list[Any], place: str, warn: Callable[[str], None]) -> None:
    warn(
        f"{place}: {len(bad)} colours are not four integers from 0 to 255, like {bad[0]!r:.60}; "
        "left out"
    )


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def to_json(p: Properties) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give the lists `properties` and `colors` of `image-label`, as JSON can store them.

    A value that is missing, NaN or infinite is left out, with its key. Where nothing but colours
    is known, and of all labels, there are no properties.

    Raises
    ------
    OmeZarrError
        Where a colour is no colour.
    """
    ids = p.ids.tolist()
    colors = [] if p.colors is None else _colors_json(p, ids)
    if not p.columns and not p.extra and colors and len(colors) == len(ids):
        return [], colors
    names = [KEY, *p.columns]
    lists = [plain(column.values) for column in p.columns.values()]
    entries = [dict(zip(names, row, strict=False)) for row in zip(ids, *lists, strict=True)]
    for name, column in p.columns.items():
        for i in np.flatnonzero(~column.where_present()).tolist():
            del entries[i][name]
    if p.extra:
        for value, entry in zip(ids, entries, strict=True):
            beside = p.extra.get(value, {})
            entry.update((key, item) for key, item in beside.items() if key not in p.columns)
    return entries, colors


def plain(values: NDArray[Any]) -> list[Any]:
    """Give an array as Python's own values, which is what JSON takes."""
    if values.dtype.kind == "O":
        return [str(value) for value in values]
    result: list[Any] = values.tolist()
    return result


def _colors_json(p: Properties, ids: list[int]) -> list[dict[str, Any]]:
    assert p.colors is not None  # noqa: S101 - for the type checker
    texts = [check_color(text, value) for text, value in zip(plain(p.colors), ids, strict=True)]
    numbers = np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(-1, 4).tolist()
    shaded = [value for text, value in zip(texts, ids, strict=True) if text]
    colors = [{KEY: value, "rgba": rgba} for value, rgba in zip(shaded, numbers, strict=True)]
    for value, color in zip(shaded, colors, strict=True) if p.color_extra else ():
        color.update(p.color_extra.get(value, {}))
    return colors


def check_color(text: str, value: object) -> str:
    """Check a colour, and give its eight hexadecimal digits: red, green, blue, alpha.

    Six digits are opaque. "" is no colour.

    Raises
    ------
    OmeZarrError
        Where it is none.

    Examples
    --------
    >>> check_color("#ff8000", 1)
    'FF8000FF'
    """
    digits = text.removeprefix("#")
    if len(digits) in (0, 6, 8) and _HEX_DIGITS.issuperset(digits):
        digits = digits.upper()
        return digits + "FF" if len(digits) == 6 else digits  # noqa: PLR2004 - red, green, blue
    msg = (
        f"The colour of label {value} is {text!r:.40}; expected eight hexadecimal digits (red, "
        "green, blue, alpha), or six."
    )
    raise OmeZarrError(msg)


def without_columns(
    extra: Mapping[int, Mapping[str, Any]], names: Iterable[str]
) -> dict[int, dict[str, Any]]:
    """Leave out what columns of these names stand for now."""
    gone = set(names)
    kept = {i: {k: v for k, v in item.items() if k not in gone} for i, item in extra.items()}
    return {i: item for i, item in kept.items() if item}
