"""What lists images, as values and as JSON: plates and wells, series.

A well's path says where it is, and is what everything else goes by; its indices are a second
telling of the same, which is checked. What is wrong with single wells and fields is warned of once
for each kind: a plate has hundreds of them.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard
from xml.parsers import expat

from xarray_omezarr import dialects, multiscale, spec
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

#: So many wells may be on a plate, fields in a well, and images in a series: each costs requests.
#: The largest plates that are made have some ten thousand wells.
MOST = 2**14
#: So many fields may be on a plate whose fields are gone through.
MOST_FIELDS = 2**20
#: Where bioformats2raw puts its list of series and the metadata of the original.
SERIES_FOLDER, SERIES_XML = "OME", "OME/METADATA.ome.xml"
_LAYOUT = 3

_PLATE_KEYS = ("version", "name", "rows", "columns", "wells", "acquisitions", "field_count")
_WELL_KEYS = ("version", "images")


@dataclass(frozen=True)
class Acquisition:
    """One pass of the microscope over a plate."""

    id: int
    name: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Its other keys, like `maximumfieldcount` and `starttime`."""


@dataclass(frozen=True)
class WellEntry:
    """A well, as its plate lists it."""

    row: str
    column: str
    path: str
    """Below the plate: the row, a slash, and the column, but for plates that break that rule."""


@dataclass(frozen=True)
class FieldEntry:
    """A field of view, as its well lists it."""

    path: str
    """Below the well."""
    acquisition: int | None = None
    """The `id` of the acquisition that it is of, where the file says so."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plate:
    """A plate of wells, as its group's attributes describe it."""

    version: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    wells: tuple[WellEntry, ...]
    acquisitions: tuple[Acquisition, ...] = ()
    name: str | None = None
    field_count: int | None = None
    document: Mapping[str, Any] = field(default_factory=dict)
    """The group's attributes, verbatim."""


@dataclass(frozen=True)
class Well:
    """A well and its fields of view, as its group's attributes describe it."""

    version: str
    fields: tuple[FieldEntry, ...]
    document: Mapping[str, Any] = field(default_factory=dict)
    """The group's attributes, verbatim."""


@dataclass(frozen=True)
class Series:
    """The images of one original file (bioformats2raw.layout)."""

    version: str
    paths: tuple[str, ...] | None
    """Below the group, in order; None where they are 0, 1, 2 and so on, as many as there are."""
    names: tuple[str | None, ...] = ()
    """What the original's metadata call its images, in their order; empty where that is unknown."""
    xml: bytes | None = None
    """The original's metadata, verbatim."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """The group's attributes, verbatim."""
    folder: Mapping[str, Any] = field(default_factory=dict)
    """Those of the group `OME`."""


class _Notes:
    """What is wrong with wells or fields, by kind, each to be told of once."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._found: dict[str, list[object]] = {}

    def add(self, finding: str, example: object) -> None:
        self._found.setdefault(finding, []).append(example)

    def tell(self, place: str, warn: Callable[[str], None]) -> None:
        for finding, examples in self._found.items():
            more = f" (and {len(examples) - 1} others)" if len(examples) > 1 else ""
            warn(f"{place}: {self._what} {examples[0]!r:.60}{more} {finding}")


# ── plates ───────────────────────────────────────────────────────────────────────────────────────


def parse_plate(
    attributes: Mapping[str, Any],
    *,
    zarr_format: int,
    place: str,
    warn: Callable[[str], None],
    version: str | None = None,
) -> Plate:
    """Read the attributes of a plate's group.

    Parameters
    ----------
    attributes
        The attributes of the group, as stored.
    zarr_format
        2 or 3, the format of the group's own metadata file.
    place
        What messages call the group.
    warn
        Called with one sentence for each kind of assumption that had to be made.
    version
        What to take the version for, whatever the attributes declare.

    Raises
    ------
    OmeZarrError
        Where there is no list of wells, or a path in it leads out of the plate.
    """
    about = _about(attributes, "plate", zarr_format, place, warn)
    listed = _listed(about, "wells", f"{place}: 'plate'")
    version = _version(attributes, zarr_format, "plate", version, place=place, warn=warn)
    rows = _names(about.get("rows"), "rows", place, warn)
    columns = _names(about.get("columns"), "columns", place, warn)
    wells = _wells(listed, rows, columns, version, place=place, warn=warn)
    name, count = about.get("name"), about.get("field_count")
    return Plate(
        version=version,
        rows=_united(rows, [well.row for well in wells]),
        columns=_united(columns, [well.column for well in wells]),
        wells=wells,
        acquisitions=_acquisitions(about.get("acquisitions", []), place, warn),
        name=name if isinstance(name, str) else None,
        field_count=count if _is_whole(count) else None,
        document=attributes,
    )


def _united(listed: Sequence[str], used: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in [*listed, *used] if name))


def _about(
    attributes: Mapping[str, Any],
    key: str,
    zarr_format: int,
    place: str,
    warn: Callable[[str], None],
) -> Mapping[str, Any]:
    ome = spec.ome_attributes(attributes, zarr_format)
    about = ome.get(key)
    if not isinstance(about, dict):
        msg = f"{place}: '{key}' is {about!r:.80}; expected an object."
        raise OmeZarrError(msg)
    if zarr_format == spec.V3 and ome is attributes:
        warn(f"{place}: '{key}' stands outside 'ome'; read all the same")
    if zarr_format == spec.V2 and ome is not attributes:
        warn(f"{place}: 'ome' stands in Zarr v2 attributes; read all the same")
    return about


def check_count(listed: Sequence[object], key: str, what: str, *, most: int | None = None) -> None:
    """Check that there are no more wells or images than there may be.

    Raises
    ------
    OmeZarrError
        Where it does: each would cost requests.
    """
    most = MOST if most is None else most
    if len(listed) > most:
        msg = (
            f"{what}: there are {len(listed)} '{key}', where no more than {most} are read. "
            "Single images open by group=."
        )
        raise OmeZarrError(msg)


def _listed(about: Mapping[str, Any], key: str, what: str) -> list[Any]:
    listed = about.get(key)
    if not isinstance(listed, list):
        msg = f"{what}: '{key}' is {listed!r:.80}; expected a list of objects with a path."
        raise OmeZarrError(msg)
    check_count(listed, key, what)
    return listed


def _version(
    attributes: Mapping[str, Any],
    zarr_format: int,
    key: str,
    asked: str | None,
    *,
    place: str,
    warn: Callable[[str], None],
) -> str:
    if asked is not None:
        # Somebody has seen to it already, as for the wells of a plate, or takes it upon himself.
        return asked if asked in spec.READ_FORMATS else multiscale.released(asked, "version", warn)
    found = next(spec.declared_versions(attributes, zarr_format), None)
    if found is not None:
        # "`version` of plate" contradicts the schema of 0.5; that of `ome` is what counts.
        return multiscale.released(found, f"{place}: the version of '{key}'", warn)
    if zarr_format == spec.V2:
        return "0.4"
    warn(f"{place}: 'ome.version' is missing; read as version 0.5")
    return "0.5"


def _names(entries: object, side: str, place: str, warn: Callable[[str], None]) -> list[str]:
    """Read the names of rows or columns: "MUST be a list of objects with a `name`"."""
    if not isinstance(entries, list):
        warn(f"{place}: '{side}' is {entries!r:.60}; they are taken from the paths of the wells")
        return []
    notes = _Notes(side)
    names: list[str] = []
    for entry in entries[:MOST]:
        name = entry.get("name") if isinstance(entry, dict) else entry
        if isinstance(name, str) and not _is_text(name):
            notes.add("has a name that is no text; left out", entry)
            names.append("")
        elif isinstance(name, str) and name and isinstance(entry, dict):
            names.append(name)
        elif isinstance(name, (str, int)) and not isinstance(name, bool) and name != "":
            notes.add("should be an object whose 'name' is a string; read as if it were", entry)
            names.append(str(name))
        else:
            # Its place in the list is what indices count.
            notes.add("has no name; left out", entry)
            names.append("")
    if len(set(names)) != len(names):
        # "The name MUST NOT be a duplicate of any other name in the list."
        notes.add("are not all different", names)
    notes.tell(place, warn)
    return names


def _is_text(name: str) -> bool:
    """Say whether a string can be written: JSON can hold halves of pairs of UTF-16."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _wells(  # noqa: C901 - one branch for each thing that is found in the wild
    listed: Sequence[Any],
    rows: Sequence[str],
    columns: Sequence[str],
    version: str,
    *,
    place: str,
    warn: Callable[[str], None],
) -> tuple[WellEntry, ...]:
    known = set(rows), set(columns)
    indexed = spec.READ_FORMATS[version] == spec.V3 or version == "0.4"
    notes = _Notes("well")
    wells: dict[tuple[str, str], WellEntry] = {}
    paths: set[str] = set()
    for i, entry in enumerate(listed):
        if not isinstance(entry, dict):
            notes.add("is no object; left out", entry)
            continue
        pair = _pair(entry, rows, columns)
        given = entry.get("path")
        if given is None and pair is not None:
            given = "/".join(pair)
            notes.add("has no path; taken from its indices", given)
        path = spec.check_path(given, f"{place}: 'wells[{i}].path'")
        if path != given:
            notes.add(f"has a slash at its end; read as {path!r:.60}", given)
        row, slash, column = path.partition("/")
        if not slash or "/" in column:
            # "The path MUST consist of a name in the rows list, a slash, and one in the columns
            # list" (0.4 to 0.6).
            if pair is None:
                notes.add("is neither row/column, nor do its indices say where it is; left out",
                          path)  # fmt: skip
                continue
            notes.add("is not row/column; its row and column are taken from its indices", path)
            row, column = pair
        elif row not in known[0] and row in known[1] and column in known[0]:
            notes.add("is column/row, not row/column; read so", path)
            row, column = column, row
        elif (known[0] and row not in known[0]) or (known[1] and column not in known[1]):
            notes.add("is in none of the 'rows' and 'columns'; read nevertheless", path)
        # "rowIndex, columnIndex and path MUST all refer to the same row/column pair" (0.4 to 0.6).
        if pair is None and indexed:
            notes.add("has no valid rowIndex and columnIndex; its path says where it is", path)
        elif pair is not None and pair != (row, column):
            notes.add("has a rowIndex and columnIndex that say otherwise; its path is taken", path)
        # One group that stands for many wells would be read as often.
        if (row, column) in wells or path in paths:
            notes.add("is listed twice; the first one is read", path)
            continue
        wells[row, column] = WellEntry(row, column, path)
        paths.add(path)
    notes.tell(place, warn)
    return tuple(wells.values())


def _pair(
    entry: Mapping[str, Any], rows: Sequence[str], columns: Sequence[str]
) -> tuple[str, str] | None:
    """Give the row and the column that the indices of a well stand for."""
    found = []
    for key, names in (("rowIndex", rows), ("columnIndex", columns)):
        index = entry.get(key)
        if not _is_whole(index) or index >= len(names) or not names[index]:
            return None
        found.append(names[index])
    return found[0], found[1]


def _is_whole(value: object) -> TypeGuard[int]:
    """Say whether a value is an integer from 0 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _acquisitions(
    entries: object, place: str, warn: Callable[[str], None]
) -> tuple[Acquisition, ...]:
    if not isinstance(entries, list):
        warn(f"{place}: 'acquisitions' is {entries!r:.60}, not a list; left out")
        return ()
    notes = _Notes("acquisition")
    found: dict[int, Acquisition] = {}
    for entry in entries[:MOST]:
        number = entry.get("id") if isinstance(entry, dict) else None
        # "It MUST contain an `id` key, an unique integer greater than or equal to 0".
        if not _is_whole(number):
            notes.add("has no valid id; left out", entry)
        elif number in found:
            notes.add("has the id of another one; left out", entry)
        else:
            name = entry.get("name")
            known = {"id", "name"} if isinstance(name, str) else {"id"}
            extra = {key: value for key, value in entry.items() if key not in known}
            found[number] = Acquisition(number, name if isinstance(name, str) else None, extra)
    notes.tell(place, warn)
    return tuple(found.values())


# ── wells ────────────────────────────────────────────────────────────────────────────────────────


def parse_well(
    attributes: Mapping[str, Any],
    *,
    zarr_format: int,
    place: str,
    warn: Callable[[str], None],
    version: str | None = None,
) -> Well:
    """Read the attributes of a well's group; the parameters are those of `parse_plate`.

    Raises
    ------
    OmeZarrError
        Where there is no list of images, or a path in it leads out of the well.
    """
    about = _about(attributes, "well", zarr_format, place, warn)
    listed = _listed(about, "images", f"{place}: 'well'")
    notes = _Notes("field")
    fields: dict[str, FieldEntry] = {}
    for i, entry in enumerate(listed):
        if not isinstance(entry, dict):
            notes.add("is no object; left out", entry)
            continue
        given = entry.get("path")
        path = spec.check_path(given, f"{place}: 'images[{i}].path'")
        if path != given:
            notes.add(f"has a slash at its end; read as {path!r:.60}", given)
        if path in fields:
            # "The path MUST NOT be a duplicate of any other path in the images list."
            notes.add("is listed twice; the first one is read", path)
            continue
        acquisition = entry.get("acquisition")
        if acquisition is not None and not _is_whole(acquisition):
            notes.add(f"is of acquisition {acquisition!r:.40}, no integer from 0 on; left out",
                      path)  # fmt: skip
            acquisition = None
        extra = {k: v for k, v in entry.items() if k not in ("path", "acquisition")}
        fields[path] = FieldEntry(path, acquisition, extra)
    notes.tell(place, warn)
    version = _version(attributes, zarr_format, "well", version, place=place, warn=warn)
    return Well(version, tuple(fields.values()), attributes)


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def plate_attributes(plate: Plate) -> dict[str, Any]:
    """Give the attributes of the group of a plate, in the plate's version.

    What its document holds besides is kept: unknown keys of the group, of the plate, and of the
    rows, columns and wells that are still there.

    Raises
    ------
    OmeZarrError
        Where a well is in none of the rows and columns.
    """
    old = _old(plate.document, "plate")
    about: dict[str, Any] = {} if plate.name is None else {"name": plate.name}
    for side, names in (("rows", plate.rows), ("columns", plate.columns)):
        kept = _by(old.get(side), "name")
        about[side] = [{**kept.get(name, {}), "name": name} for name in names]
    kept = _by(old.get("wells"), "path")
    about["wells"] = []
    for well in plate.wells:
        if well.row not in plate.rows or well.column not in plate.columns:
            msg = (
                f"The well {well.path!r:.60} is in row {well.row!r:.40} and column "
                f"{well.column!r:.40}; expected one of the plate's rows and columns."
            )
            raise OmeZarrError(msg)
        indices = {
            "rowIndex": plate.rows.index(well.row),
            "columnIndex": plate.columns.index(well.column),
        }
        about["wells"].append({**kept.get(well.path, {}), "path": well.path, **indices})
    if plate.field_count is not None:
        about["field_count"] = plate.field_count
    if plate.acquisitions:
        about["acquisitions"] = [
            {"id": one.id, **({} if one.name is None else {"name": one.name}), **one.extra}
            for one in plate.acquisitions
        ]
    extras = {key: value for key, value in old.items() if key not in _PLATE_KEYS}
    return _attributes("plate", {**about, **extras}, plate.version, plate.document)


def well_attributes(well: Well) -> dict[str, Any]:
    """Give the attributes of the group of a well, in the well's version; unknown keys are kept."""
    old = _old(well.document, "well")
    images = [
        {
            "path": one.path,
            **({} if one.acquisition is None else {"acquisition": one.acquisition}),
            **one.extra,
        }
        for one in well.fields
    ]
    extras = {key: value for key, value in old.items() if key not in _WELL_KEYS}
    return _attributes("well", {"images": images, **extras}, well.version, well.document)


def series_attributes(series: Series) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the attributes of the group of a series, and those of the group `OME` in it.

    Where the images are 0, 1, 2 and so on, that is not told in `OME`.
    """
    attributes = _attributes("bioformats2raw.layout", _LAYOUT, series.version, series.document)
    if series.paths is None:
        return attributes, copy.deepcopy(dict(series.folder))
    return attributes, _attributes("series", list(series.paths), series.version, series.folder)


def check_names(version: str, **names: Iterable[str]) -> None:
    """Check the names that something new on a plate gets.

    Parameters
    ----------
    version
        The version that is written.
    names
        Those of rows, columns and fields, each by that word.

    Raises
    ------
    OmeZarrError
        Where the version does not allow one.
    """
    for what, given in names.items():
        # "MUST contain only alphanumeric characters" (0.4 to 0.6, but for the fields of 0.6).
        rule, told = "[A-Za-z0-9]+", "letters and digits (A-Z, a-z, 0-9)"
        if what == "fields" and version == "0.6":
            rule = r"(?!\.+$|__)[A-Za-z0-9_.-]+"
            told += ", '_', '.' and '-', not only periods, and not beginning with '__'"
        for name in given:
            if re.fullmatch(rule, name, re.ASCII) is None:
                msg = f"{what}: {name!r:.60} is no name that version {version} allows; use {told}."
                raise OmeZarrError(msg)


def _old(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = spec.ome_attributes(document, _format(document)).get(key)
    return found if isinstance(found, dict) else {}


def _format(document: Mapping[str, Any]) -> int:
    """Say which format of Zarr the attributes of a group come from."""
    return spec.V3 if isinstance(document.get("ome"), dict) else spec.V2


def _by(entries: object, key: str) -> dict[str, Mapping[str, Any]]:
    """Give the objects of a list by what they say under a key."""
    return {
        entry[key]: entry
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get(key), str)
    }


def _attributes(
    key: str, about: object, version: str, document: Mapping[str, Any]
) -> dict[str, Any]:
    """Put what describes a group where its version has it, beside what else stands there."""
    ome = spec.ome_attributes(document, _format(document))
    nested = ome is not document
    others = {k: v for k, v in document.items() if not (nested and k == "ome")}
    ours = {k: v for k, v in ome.items() if nested or k in dialects.OURS}
    if not nested:
        others = {k: v for k, v in others.items() if k not in ours}
    ours = {k: v for k, v in ours.items() if k not in (key, "version")}
    if spec.ZARR_FORMATS[version] == spec.V3:
        whole = {**others, "ome": {"version": version, **ours, key: about}}
    else:
        # "`version` SHOULD be given" (0.4, plate and well); from 0.5 on, `ome` has it.
        dated = {"version": version, **about} if isinstance(about, dict) else about
        whole = {**others, **ours, key: dated}
    return copy.deepcopy(whole)


# ── series ───────────────────────────────────────────────────────────────────────────────────────


def parse_series(
    attributes: Mapping[str, Any],
    folder: Mapping[str, Any] | None,
    xml: bytes | None,
    *,
    zarr_format: int,
    place: str,
    warn: Callable[[str], None],
    version: str | None = None,
) -> Series:
    """Read what says which images there are in a series, and in which order.

    Parameters
    ----------
    attributes
        The attributes of the group, as stored.
    folder
        Those of the group `OME` in it; None where there is none.
    xml
        What the file `OME/METADATA.ome.xml` holds; None where there is none.
    zarr_format, place, warn, version
        As for `parse_plate`.

    Raises
    ------
    OmeZarrError
        Where a path leads out of the group.
    """
    ome = spec.ome_attributes(attributes, zarr_format)
    layout = ome.get("bioformats2raw.layout")
    if layout != _LAYOUT:
        # "`bioformats2raw.layout` MUST have the value 3."
        warn(f"{place}: 'bioformats2raw.layout' is {layout!r:.40}, not 3; read as if it were")
    version = _version(attributes, zarr_format, "bioformats2raw.layout", version,
                       place=place, warn=warn)  # fmt: skip
    inner = {} if folder is None else spec.ome_attributes(folder, zarr_format)
    paths: tuple[str, ...] | None = None
    if "series" in inner:
        what = f"{place}/{SERIES_FOLDER}"
        listed = inner["series"]
        if isinstance(listed, list):
            listed = _listed(inner, "series", what)
            checked = [spec.check_path(name, f"{what}: 'series'") for name in listed]
            paths = tuple(dict.fromkeys(checked))
            if len(paths) < len(checked):
                warn(f"{what}: 'series' lists an image twice; it is read once")
        else:
            warn(f"{what}: 'series' is {listed!r:.60}, not a list; read as 0, 1, 2, …")
    names: tuple[str | None, ...] = ()
    if xml is not None:
        try:
            names = image_names(xml)
        except OmeZarrError as error:
            warn(f"{place}/{SERIES_XML} {error} Its names are left out.")
    if names and paths is not None and len(names) != len(paths):
        # "The order MUST match that of the `Image` elements of the OME-XML."
        warn(f"{place}/{SERIES_XML} has {len(names)} images, and there are {len(paths)} series; "
             "its names are left out")  # fmt: skip
        names = ()
    return Series(version, paths, names, xml, attributes, folder or {})


def image_names(xml: bytes) -> tuple[str | None, ...]:
    """Give the names of the images in OME-XML, in their order.

    Raises
    ------
    OmeZarrError
        Where it is broken, or declares entities: these can be made to fill any memory.
    """
    names: list[str | None] = []
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        # The root is `OME`, and references to images elsewhere have other names.
        if depth == 2 and tag.rpartition(" ")[2] == "Image":  # noqa: PLR2004
            names.append(attributes.get("Name"))

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: object) -> None:
        msg = "has a document type, which OME-XML has not; it is not read."
        raise OmeZarrError(msg)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(xml, True)  # noqa: FBT003 - the parser takes no keywords
    except (expat.ExpatError, ValueError) as error:
        if isinstance(error, OmeZarrError):
            raise
        msg = f"is no valid XML: {error}."
        raise OmeZarrError(msg) from error
    return tuple(names)
