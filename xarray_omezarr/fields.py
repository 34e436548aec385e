"""The label images of an image, a well or a plate, whose properties are updated in place.

Only metadata files are read and written, each as a whole: all of them are made ready before the
first is replaced, so that whatever is wrong with a table is found while nothing has changed.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import joins, plates, properties, sheets, spec
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.joins import JoinReport
from xarray_omezarr.properties import KEY

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import zarr
    from numpy.typing import ArrayLike, NDArray
    from zarr.abc.store import Store

    from xarray_omezarr.joins import Duplicates, Index
    from xarray_omezarr.sheets import Columns, Errors, Sheet, Types
    from xarray_omezarr.storage import Node
    from xarray_omezarr.stores import Place

    Target = str | os.PathLike[str] | Store | zarr.Group

#: The properties as they are stored: objects, unless a file is wrong.
Objects = list[Any]


@dataclass(frozen=True)
class Field:
    """One label image that is to be updated."""

    place: Place
    node: Node
    where: str
    """What messages call it: its path below what was given, or its name."""


def csv_to_labels(
    store: Target,
    table: object,
    *,
    label: str | None = None,
    on: str,
    to: str = KEY,
    columns: Columns | None = None,
    dtypes: Types | None = None,
    overwrite: bool = False,
    errors: Errors = "raise",
    duplicates: Duplicates = "raise",
    ids: ArrayLike | None = None,
    dry_run: bool = False,
    group: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    read_options: Mapping[str, Any] | None = None,
) -> JoinReport:
    """Add the columns of a table to the properties of stored label images.

    Only metadata are changed, and of these only the properties: each file is replaced as a whole,
    so that a reader gets the old or the new one. Nothing is written before all of it is ready.

    Parameters
    ----------
    store : str, path-like, zarr store or zarr.Group
        An image with labels, one label image, a well or a whole plate: there every field that has
        the label is updated.
    table : str, path-like, file or pandas.DataFrame
        A CSV file: a path, a URL that fsspec knows or an open file. Or a DataFrame.
    label : str, optional
        The name of the label image; not needed where there is only one.
    on : str
        The column that says which label a row is about.
    to : str, optional
        What it is compared with: the label values, or a property.
    columns : str or sequence of str or mapping of str to str, optional
        The columns to add, all others by default; "name#d" says the type as well. A mapping gives
        the names that the properties get.
    dtypes : mapping or str or sequence of str, optional
        Types by column, where pandas is not to guess: NumPy's, or ome-zarr-py's "d" (number), "l"
        (integer), "s" (text) and "b" (true or false). Also as "name#d,other#s".
    overwrite : bool, optional
        Whether columns may replace properties of the same name, for the labels that have a row.
    errors : {"raise", "coerce"}, optional
        What is done with a value that does not parse; "coerce" makes it missing.
    duplicates : {"raise", "first", "last"}, optional
        What is done with several rows about the same.
    ids : array_like of int, optional
        The label values, where a label image has no properties. By default they are those of its
        colours, or else they are read from its pixels.
    dry_run : bool, default False
        Whether to tell only what would come of it.
    group : str, optional
        The path of the group in the store.
    storage_options : mapping, optional
        Passed on to fsspec for URLs, of the store and of the table.
    read_options : mapping, optional
        Passed on to `pandas.read_csv`, over what is found out from the file.

    Returns
    -------
    JoinReport
        What came of the join; it is a warning as well where something did not match.

    Raises
    ------
    OmeZarrError
        Where there is no such label image, the table is not as described, columns collide or the
        store cannot be written to. Where that shows only in the middle of a plate, the message
        says which fields were updated.

    Notes
    -----
    A value that is missing, NaN or infinite is not written: its key is left out.

    Examples
    --------
    >>> import pandas as pd, xarray_omezarr
    >>> samples.circle().omezarr.to_zarr(path)
    >>> table = pd.DataFrame({"nr": [1], "area": [7853.5], "kind": ["disc"]})
    >>> report = xarray_omezarr.csv_to_labels(path, table, on="nr", ids=[1])
    >>> report.matched_labels
    1
    >>> print(report)
    the DataFrame joined by 'nr' to 'label-value': 1 of 1 rows match, 1 of 1 labels have a row.
      properties: area, kind
      updated: labels/circle
    """
    from xarray_omezarr import edits, stores  # bring Zarr

    read_place = stores.locate(store, group, storage_options=storage_options)
    found = find(read_place, label)
    remote = isinstance(table, str) and "://" in table
    sheet = sheets.read(
        table,
        on=on,
        columns=columns,
        dtypes=dtypes,
        errors=errors,
        storage_options=storage_options if remote else None,
        read_options=read_options,
    )
    place = stores.locate(store, group, write=not dry_run, storage_options=storage_options)
    if not dry_run:
        edits.check_replaceable(place)
    update = _Update(sheet, to, overwrite=overwrite, duplicates=duplicates, ids=ids)
    # A file that is ready waits as bytes, which is a tenth of what its objects take.
    files = {field.where: update.apply(field) for field in found}
    update.check()
    report = update.report()
    changed = {where: content for where, content in files.items() if content is not None}
    if not dry_run:
        _write(place, read_place.name, found, changed)
    place.close()
    report = replace(report, updated=tuple(changed), dry_run=dry_run)
    if not report.complete:
        warn(str(report))
    return report


def _write(place: Place, name: str, found: Sequence[Field], changed: Mapping[str, bytes]) -> None:
    """Replace the metadata files that change."""
    from xarray_omezarr import edits

    keys = {
        edits.metadata_key(field.place, field.node.zarr_format): field.where
        for field in found
        if field.where in changed
    }
    contents = {key: changed[where] for key, where in keys.items()}
    failed = edits.replace_files(place.store, contents)
    for zarr_format in (spec.V2, spec.V3):
        done = [
            field.place.path
            for field in found
            if field.node.zarr_format == zarr_format
            and field.where in changed
            and edits.metadata_key(field.place, zarr_format) not in failed
        ]
        edits.refresh_consolidated(place, done, zarr_format)
    if failed:
        raise _failure(name, keys, failed)


def _failure(name: str, keys: Mapping[str, str], failed: Mapping[str, Exception]) -> OmeZarrError:
    error = next(iter(failed.values()))
    done = [where for key, where in keys.items() if key not in failed]
    left = [where for key, where in keys.items() if key in failed]
    # A new error each time: the store's own may be of any kind, and tells nothing of the others.
    msg = (
        f"{name} could not be updated: {type(error).__name__}: {error}. Updated: "
        f"{', '.join(done) or 'nothing'}; not updated: {', '.join(left)}. Each file is whole, old "
        "or new."
    )
    if done:
        msg += " To go on, call this again with overwrite=True."
    problem = OmeZarrError(msg)
    problem.__cause__ = error
    return problem


# ── where the label images are ───────────────────────────────────────────────────────────────────


def find(place: Place, label: str | None) -> list[Field]:
    """Find the label images below an image, a well or a plate, or the one that a place is.

    Raises
    ------
    OmeZarrError
        Where there is none: the message says what is there.
    """
    from xarray_omezarr import storage

    node = storage.fetch(place)
    if node is None:
        raise storage.nothing_there(place)
    kind = node.kind
    if kind == "image" and _is_label(place, node):
        name = (place.path or place.name).rstrip("/").rpartition("/")[2]
        if label not in (None, name):
            msg = f"{place.name} is the label image '{name}', not '{label}'. Leave out label=."
            raise OmeZarrError(msg)
        return [Field(place, node, name)]
    if kind == "image":
        return _of_images(place, [""], label, "The image")
    if kind == "labels":
        return _of_images(place, [""], label, "The image", folder="")
    if kind == "well":
        return _of_images(place, _fields(place, node), label, "The well")
    if kind == "plate":
        return _of_images(place, _of_plate(place, node), label, "The plate")
    what = "a series of images" if kind == "series" else "no OME-Zarr image"
    msg = (
        f"{place.name} is {what}; expected an image with labels, a label image, a well or a plate. "
        "Name the group of one."
    )
    raise OmeZarrError(msg)


def _is_label(place: Place, node: Node) -> bool:
    """Say whether an image is a label image, even one that does not say so."""
    if "image-label" in spec.ome_attributes(node.attributes, node.zarr_format):
        return True
    parts = [part for part in (place.path or place.name).split("/") if part]
    return "labels" in parts[:-1]


def _fields(place: Place, node: Node) -> list[str]:
    """Give the paths of the fields of a well."""
    well = spec.ome_attributes(node.attributes, node.zarr_format).get("well")
    images = well.get("images") if isinstance(well, dict) else None
    return _paths(images, "images", place) or ["0"]


def _paths(objects: object, key: str, place: Place) -> list[str]:
    if not isinstance(objects, list):
        return []
    plates.check_count(objects, key, place.name)
    paths = [item.get("path") for item in objects if isinstance(item, dict)]
    inside = dict.fromkeys(p.strip("/") for p in paths if isinstance(p, str))
    return [path for path in inside if spec.leads_below(path)]


def _of_plate(place: Place, node: Node) -> list[str]:
    """Give the paths of all fields of a plate."""
    from xarray_omezarr import storage

    plate = spec.ome_attributes(node.attributes, node.zarr_format).get("plate")
    wells = _paths(plate.get("wells") if isinstance(plate, dict) else None, "wells", place)
    fields: list[str] = []
    for well, found in zip(wells, storage.fetch_all(place, wells), strict=True):
        # "wells that have no group" are empty; one that says nothing has its first field.
        if found is not None:
            fields += [f"{well}/{field}" for field in _fields(place.below(well), found)]
        else:
            fields.append(f"{well}/0")
        plates.check_count(fields, "images", place.name, most=plates.MOST_FIELDS)
    return fields


def _of_images(
    place: Place, images: Sequence[str], label: str | None, what: str, folder: str = "labels"
) -> list[Field]:
    from xarray_omezarr import storage

    if label is None:
        names = list(dict.fromkeys(_names(place, [join(image, folder) for image in images])))
        if len(names) != 1:
            several = f"several: {', '.join(map(repr, names))}. Name one by label="
            msg = (
                f"{what} {place.name} should have one label image, but there are "
                f"{several if names else 'none'}."
            )
            raise OmeZarrError(msg)
        (label,) = names
    if not spec.leads_below(label):
        msg = f"label={label!r} is not the name of a label image."
        raise OmeZarrError(msg)
    paths = [join(image, folder, label) for image in images]
    found = [
        Field(place.below(path), node, path)
        for path, node in zip(paths, storage.fetch_all(place, paths), strict=True)
        if node is not None and node.kind == "image"
    ]
    if not found:
        names = list(dict.fromkeys(_names(place, [join(image, folder) for image in images])))
        there = ", ".join(map(repr, names)) or "none"
        where = "" if what == "The image" else " in any of its fields"
        msg = f"{what} {place.name} has no label image '{label}'{where}; there are {there}."
        raise OmeZarrError(msg)
    return found


def _names(place: Place, folders: Sequence[str]) -> Iterator[str]:
    """Give the names of the label images that are listed, or that are there though none is."""
    from xarray_omezarr import storage

    for folder, node in zip(folders, storage.fetch_all(place, folders), strict=True):
        inner = place.below(folder)
        listed: list[str] = []
        if node is not None:
            listed = spec.label_names(
                node.attributes, node.zarr_format, place=inner.name, warn=lambda _: None
            )
        yield from listed or storage.list_groups(inner)


# ── what is written ──────────────────────────────────────────────────────────────────────────────


class _Update:
    """The columns of a table, on their way into one label image after the other."""

    def __init__(
        self,
        sheet: Sheet,
        to: str,
        *,
        overwrite: bool,
        duplicates: Duplicates,
        ids: ArrayLike | None,
    ) -> None:
        self.sheet, self.to, self.overwrite, self.duplicates = sheet, to, overwrite, duplicates
        self.ids = None if ids is None else joins.check_ids(ids)
        self._indices: dict[str, Index] = {}
        self._columns = {name: sheets.column(sheet, key) for key, name in sheet.names.items()}
        self._matched = np.zeros(len(sheet.frame), bool)
        self._labels = self._matched_labels = 0
        self._unmatched: list[object] = []
        self._overwritten: dict[str, None] = {}
        self._has_target = to == KEY
        self._known: dict[str, None] = {}

    def apply(self, field: Field) -> bytes | None:
        """Give the metadata file of a label image with the columns; None where nothing changes."""
        from xarray_omezarr import storage

        attributes = field.node.attributes
        ome = dict(spec.ome_attributes(attributes, field.node.zarr_format))
        nested = spec.ome_attributes(attributes, field.node.zarr_format) is not attributes
        found = ome.get("image-label")
        if not (found is None or isinstance(found, dict)):
            msg = f"{field.place.name}: 'image-label' is {found!r:.60}; expected an object."
            raise OmeZarrError(msg)
        label = {} if found is None else dict(found)
        if found is None and not nested:
            # "`image-label` SHOULD contain version" (0.4, labels).
            label["version"] = "0.4"
        objects = self._objects(field, label)
        if not self._join(field, objects):
            return None
        label["properties"] = objects
        ome["image-label"] = label
        attributes = {**attributes, "ome": ome} if nested else ome
        document = (
            {**field.node.document, "attributes": attributes}
            if field.node.zarr_format == spec.V3
            else attributes
        )
        try:
            return storage.to_bytes(document)
        except ValueError:
            # NaN, which JSON has no word for, was there before.
            return storage.to_bytes(_without_nan(document, label))

    def _objects(self, field: Field, label: Mapping[str, Any]) -> Objects:
        """Give the properties of a label image, made for this where it has none."""
        stored = label.get("properties")
        if stored is not None and not isinstance(stored, list):
            msg = f"{field.place.name}: 'properties' is {stored!r:.60}; expected a list."
            raise OmeZarrError(msg)
        if stored and self.ids is None:
            return stored
        if self.to != KEY:
            return stored or []
        known = [item.get(KEY) for item in stored or [] if isinstance(item, dict)]
        ids = self.ids if self.ids is not None else self._label_values(field, label)
        more = dict.fromkeys(ids.tolist())
        for value in known:
            more.pop(value, None)
        return [*(stored or []), *({KEY: value} for value in more)]

    def _label_values(self, field: Field, label: Mapping[str, Any]) -> NDArray[Any]:
        """Find the label values of a label image that has no properties."""
        p = properties.parse(None, label.get("colors"), place=field.place.name, warn=_ignore)
        if p is not None:
            return p.ids
        from xarray_omezarr import measure, read

        ds = read.open_level(
            field.place,
            group=None,
            level=0,
            labels=False,
            storage_options=None,
            drop_variables=None,
        )
        values: NDArray[Any] = np.asarray(measure.label_ids(ds, "image"))
        result: NDArray[Any] = values[values != 0]
        return result

    def _join(self, field: Field, objects: Objects) -> bool:
        """Put the values of the rows into the objects of the labels; say whether any changed."""
        targets, where = self._targets(field, objects)
        self._labels += len(objects)
        if not len(targets):
            self._note(objects, np.full(len(objects), -1))
            return False
        kind = joins.kind_of(targets)
        if kind not in self._indices:
            self._indices[kind] = joins.index_of(self.sheet, kind, self.duplicates)
        rows = np.full(len(objects), -1)
        rows[where] = self._indices[kind].find(targets)
        matched = np.flatnonzero(rows >= 0)
        self._note(objects, rows)
        if not len(matched):
            return False
        self._check_collisions(field, objects)
        everywhere = len(matched) == len(objects)
        chosen = objects if everywhere else list(map(objects.__getitem__, matched.tolist()))
        for name, column in self._columns.items():
            part = column.take(rows[matched])
            for item, value in zip(chosen, properties.plain(part.values), strict=True):
                item[name] = value
            for i in np.flatnonzero(~part.where_present()).tolist():
                del chosen[i][name]
        return True

    def _targets(self, field: Field, objects: Objects) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Give what rows are compared with, and which object each belongs to."""
        try:
            values = list(map(itemgetter(self.to), objects))
            where = np.arange(len(objects))
        except (KeyError, TypeError, IndexError):
            there = [i for i, o in enumerate(objects) if isinstance(o, dict) and self.to in o]
            values, where = [objects[i][self.to] for i in there], np.array(there, np.intp)
        if self.to == KEY and set(map(type, values)) - {int}:
            whole = [i for i, v in enumerate(values)
                     if type(v) is int or (isinstance(v, float) and v.is_integer())]  # fmt: skip
            values, where = [int(values[i]) for i in whole], where[whole]
        if self.to != KEY:
            self._known.update(dict.fromkeys(_keys_of(objects)))
            self._has_target |= any(value is not None for value in values)
        if not values:
            return np.empty(0, np.int64), where
        column = properties.column_of(values)
        if column is None and any(value is not None for value in values):
            msg = (
                f"{field.place.name}: the values of '{self.to}' are of several kinds, or no plain "
                "values; a table cannot be compared with them."
            )
            raise OmeZarrError(msg)
        if column is None:
            return np.empty(0, np.int64), where[:0]
        present = column.where_present()
        found = column.values.astype(object) if column.values.dtype.kind == "U" else column.values
        return found[present], where[present]

    def _check_collisions(self, field: Field, objects: Objects) -> None:
        known = _keys_of(objects)
        collisions = joins.check_collisions(
            self.sheet,
            known,
            overwrite=self.overwrite,
            what=f"{field.place.name} has the properties",
        )
        self._overwritten.update(dict.fromkeys(collisions))

    def _note(self, objects: Objects, rows: NDArray[np.intp]) -> None:
        there = rows >= 0
        self._matched[rows[there]] = True
        self._matched_labels += int(there.sum())
        for i in np.flatnonzero(~there)[: 5 - len(self._unmatched)].tolist():
            item = objects[i]
            self._unmatched.append(item.get(KEY) if isinstance(item, dict) else item)

    def check(self) -> None:
        """Check that there was anything to compare with."""
        if not self._has_target:
            there = ", ".join(f"'{name}'" for name in self._known if name != KEY) or "none"
            msg = (
                f"No label has a property '{self.to}' to compare with; the properties are {there}. "
                "Nothing was changed."
            )
            raise OmeZarrError(msg)

    def report(self) -> JoinReport:
        """Say what came of it."""
        rows = np.flatnonzero(self._matched)
        index = next(iter(self._indices.values()), None)
        unmatched: Iterable[object] = ()
        if index is not None:
            unmatched = joins.first_unmatched(self.sheet, index, rows)
        return JoinReport(
            table=self.sheet.name,
            on=self.sheet.on,
            to=self.to,
            rows=len(self.sheet.frame),
            matched_rows=len(rows),
            labels=self._labels,
            matched_labels=self._matched_labels,
            duplicates=0 if index is None else index.duplicates,
            columns=tuple(self.sheet.names.values()),
            overwritten=tuple(self._overwritten),
            coerced=self.sheet.coerced,
            unmatched_rows=tuple(unmatched),
            unmatched_labels=tuple(self._unmatched),
        )


def _ignore(_: str) -> None:
    """Pass over what is said of colours: only their label values matter here."""


def _keys_of(objects: Objects) -> list[str]:
    """Give the keys that any of the objects has."""
    if set(map(type, objects)) != {dict}:
        objects = [item for item in objects if isinstance(item, dict)]
    return list(dict.fromkeys(chain.from_iterable(objects)))


def _without_nan(document: Any, label: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    """Leave out what JSON has no word for: keys of properties, and elsewhere null."""

    def finite(value: Any, *, drop: bool) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, dict):
            return {
                key: finite(item, drop=item is label.get("properties"))
                for key, item in value.items()
                if not (drop and isinstance(item, float) and not math.isfinite(item))
            }
        if isinstance(value, list):
            return [finite(item, drop=drop) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return finite(copy.copy(document), drop=False)
