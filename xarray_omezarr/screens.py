"""What is on a plate: its wells and their fields, read side by side, and the table of them."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import census, documents, plates, read, storage, stores
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.wellnames import WellNames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pandas as pd

    from xarray_omezarr.model import Image
    from xarray_omezarr.plates import FieldEntry, Plate, Well, WellEntry
    from xarray_omezarr.storage import Node
    from xarray_omezarr.stores import Place

    Target = Any
    #: Paths and names of wells, with `*` and `?`; or a table of wells.
    Wells = str | Sequence[str] | pd.DataFrame
    #: Positions in the well, or paths.
    Fields = int | str | Sequence[int | str]

#: So many fields are opened at a time: each costs requests, and memory.
_MOST_OPENED = 2**16


@dataclass(frozen=True)
class FieldAt:
    """A field of view, and where it is."""

    well: WellEntry
    field: FieldEntry
    path: str
    """Below the plate."""


@dataclass(frozen=True)
class Screen:
    """A plate with those of its wells that are there and were asked for."""

    place: Place
    node: Node
    plate: Plate
    wells: tuple[tuple[WellEntry, Well, Node], ...]
    chosen: tuple[int | str, ...] | None = None
    """The fields that were asked for, of each well; None for all."""

    @property
    def fields(self) -> tuple[FieldAt, ...]:
        """The fields of its wells that were asked for, well by well, in the order of the files."""
        return tuple(
            FieldAt(entry, field, f"{entry.path}/{field.path}")
            for entry, well, _ in self.wells
            for field in chosen_of(well.fields, self.chosen)
        )


def chosen_of(
    fields: Sequence[FieldEntry], asked: Sequence[int | str] | None
) -> Iterator[FieldEntry]:
    """Give the fields of a well that were asked for: those of them that it has."""
    count = len(fields)
    for i, field in enumerate(fields):
        if asked is None or i in asked or i - count in asked or field.path in asked:
            yield field


def read_screen(
    place: Place,
    node: Node | None = None,
    *,
    wells: Wells | None = None,
    fields: Fields | None = None,
    warn: Callable[[str], None],
    version: str | None = None,
) -> Screen:
    """Read what is on a plate: one round of requests for it, if need be, and one for its wells.

    A well that is not there, or is none, is left out, with one warning for each kind.

    Parameters
    ----------
    place
        The group of the plate.
    node
        What stands there, where that has been read.
    wells
        Which wells are read: paths or names, with `*` and `?`, or the rows of a table of wells.
    fields
        Which fields of each well are: positions in the well, or paths.
    warn
        Called with one sentence for each kind of assumption.
    version
        What to take the version for, whatever the attributes declare.

    Raises
    ------
    OmeZarrError
        Where there is no plate, or none of the wells or fields that were asked for.
    """
    node = storage.fetch(place) if node is None else node
    if node is None:
        raise storage.nothing_there(place)
    if node.kind != "plate":
        what = {"image": "an image", "well": "a single well", "series": "a series of images"}
        msg = (
            f"{place.name} is {what.get(node.kind or '', 'no plate')}; expected the group of a "
            "plate, with 'plate' in its attributes. group= is its path within the store."
        )
        raise OmeZarrError(msg)
    plate = plates.parse_plate(
        node.attributes,
        zarr_format=node.zarr_format,
        place=place.name,
        warn=warn,
        version=version,
    )
    asked = chosen(fields)
    entries = plate.wells if wells is None else select(plate, wells, place=place.name)
    found = _read_wells(place, node, plate, entries, warn=warn)
    screen = Screen(place, node, plate, found, asked)
    if asked is not None and screen.wells and not screen.fields:
        raise no_field(place, fields, [f.path for _, well, _ in screen.wells for f in well.fields])
    _check_acquisitions(screen, warn)
    return screen


def no_field(place: Place, asked: object, there: Sequence[str]) -> OmeZarrError:
    """Say that no well has a field that was asked for."""
    return OmeZarrError(
        f"{place.name}: no well has any of the fields {asked!r:.80}; there are "
        f"{census.some(list(dict.fromkeys(there)))}. Numbers count from 0."
    )


def chosen(fields: Fields | None) -> tuple[int | str, ...] | None:
    """Give the fields that are asked for as positions and paths; None for all."""
    if fields is None:
        return None
    several = (fields,) if isinstance(fields, (int, str)) else tuple(fields)
    numbers = tuple(one if isinstance(one, str) else _number(one) for one in several)
    if not numbers:
        msg = "fields=[] asks for nothing; leave it out for all fields."
        raise OmeZarrError(msg)
    return numbers


def _number(value: Any) -> int:  # noqa: ANN401 - whatever an argument holds
    """Give a position, NumPy's integers among them."""
    if not isinstance(value, bool) and hasattr(value, "__index__"):
        return int(value.__index__())
    msg = f"fields: {value!r:.60}; expected positions in the well, or paths of fields."
    raise OmeZarrError(msg)


def select(plate: Plate, wells: Wells, *, place: str) -> tuple[WellEntry, ...]:
    """Give the wells of a plate that are asked for, in the plate's order.

    Raises
    ------
    OmeZarrError
        Where one that is asked for is not on the plate: the message says what is.
    """
    table: Any = wells
    if hasattr(wells, "columns"):
        if "well" not in table.columns:
            msg = (
                f"wells: a table with the columns {[str(c) for c in table.columns]!r:.120}; "
                "expected the column 'well', as wells(plate) gives it."
            )
            raise OmeZarrError(msg)
        asked: list[Any] = list(table["well"])
    else:
        asked = [wells] if isinstance(wells, str) else list(table)
    by_path = {well.path: well for well in plate.wells}
    names = WellNames(tuple(by_path))
    found: set[str] = set()
    absent = []
    for one in asked:
        if not isinstance(one, str):
            msg = f"wells: {one!r:.60}; expected paths of wells, like 'A/1' or 'B/*'."
            raise OmeZarrError(msg)
        pattern = one.strip("/")
        there = [pattern] if pattern in by_path else fnmatch.filter(by_path, pattern)
        if not there:
            meant = names.find(pattern)
            there = [] if meant is None else [meant]
        found.update(there)
        if not there:
            absent.append(one)
    if absent:
        msg = (
            f"{place} has no well {census.some(absent)}; there are {census.some(list(by_path))}. "
            "'B/*' means all wells of a row."
        )
        raise OmeZarrError(msg)
    return tuple(well for well in plate.wells if well.path in found)


def _read_wells(
    place: Place,
    node: Node,
    plate: Plate,
    entries: Sequence[WellEntry],
    *,
    warn: Callable[[str], None],
) -> tuple[tuple[WellEntry, Well, Node], ...]:
    findings = census.Findings(place, "wells")
    wells = []
    number = 0
    paths = [entry.path for entry in entries]
    for entry, found in zip(
        entries, storage.fetch_below(place, paths, node.zarr_format), strict=True
    ):
        name = place.below(entry.path).name
        if found is None:
            findings.miss(entry.path)
        elif isinstance(found, OmeZarrError):
            findings.refuse(found)
        elif found.kind != "well":
            kind = found.kind or "group without OME-Zarr metadata"
            findings.refuse(OmeZarrError(f"{name} is no well, but of the kind '{kind}'."))
        else:
            try:
                well = plates.parse_well(
                    found.attributes,
                    zarr_format=found.zarr_format,
                    place=name,
                    warn=findings.noting(entry.path, name),
                    # "The version MUST be the same in the whole hierarchy" (0.5 and 0.6).
                    version=plate.version,
                )
            except OmeZarrError as error:
                findings.refuse(error)
                continue
            wells.append((entry, well, found))
            number += len(well.fields)
            if number > plates.MOST_FIELDS:
                msg = (
                    f"{place.name} has more than {plates.MOST_FIELDS} fields, which are not gone "
                    "through at a time. wells= chooses among them."
                )
                raise OmeZarrError(msg)
    findings.tell(warn)
    return tuple(wells)


def read_images(
    screen: Screen, *, warn: Callable[[str], None], version: str | None = None
) -> list[tuple[FieldAt, Node, Image]]:
    """Read what the fields of a plate say of themselves, in one round of requests.

    A field that is not there, or is no image, is left out, with one warning for each kind.
    """
    findings = census.Findings(screen.place, "fields")
    fields = screen.fields
    if len(fields) > _MOST_OPENED:
        msg = (
            f"{screen.place.name} has {len(fields)} fields, where no more than {_MOST_OPENED} are "
            "opened at a time. wells= and fields= choose among them."
        )
        raise OmeZarrError(msg)
    paths = [field.path for field in fields]
    nodes = storage.fetch_below(screen.place, paths, screen.node.zarr_format)
    images = []
    for field, node in zip(fields, nodes, strict=True):
        image = census.parse_member(screen.place, field.path, node, findings, version)
        if image is not None and isinstance(node, storage.Node):
            images.append((field, node, image))
    findings.tell(warn)
    return images


def _check_acquisitions(screen: Screen, warn: Callable[[str], None]) -> None:
    """Warn of fields of which it is not known which acquisition they are of."""
    known = {one.id for one in screen.plate.acquisitions}
    fields = screen.fields
    # "If multiple acquisitions were performed in the plate, it MUST contain an `acquisition` key"
    # (0.4 to 0.6, well).
    silent = [one.path for one in fields if one.field.acquisition is None]
    if len(known) > 1 and silent:
        warn(f"{screen.place.name} has {len(known)} acquisitions, and the fields "
             f"{census.some(silent)} do not say of which one they are")  # fmt: skip
    strange = [one.path for one in fields if one.field.acquisition not in (None, *known)]
    if known and strange:
        warn(f"{screen.place.name}: the fields {census.some(strange)} are of acquisitions that "
             "the plate does not list; kept as they are")  # fmt: skip


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def wells(
    plate: Target,
    *,
    group: str | None = None,
    positions: bool = False,
    shapes: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    consolidated: bool | None = None,
    missing_on_403: bool = False,
    strict: bool = False,
) -> pd.DataFrame:
    """Tell what is on a plate, without opening any image of it.

    It takes one round of requests for the plate and one for its wells: two requests and one for
    each well. Positions take one more round, of a request for each field, and shapes another one.

    Parameters
    ----------
    plate : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        A plate, wherever images can be opened from.
    group : str, optional
        The path of the plate within the store.
    positions : bool, default False
        Whether there is to be one row for each field, with the coordinates of its first pixel along
        each axis of space, `y_origin`, `x_origin` and so on.
    shapes : bool, default False
        Whether there is to be one row for each field, with its size along each axis, `c_size`,
        `y_size`, `x_size` and so on, and the `dtype` of its pixels.
    storage_options : mapping, optional
        Passed on to fsspec for URLs.
    consolidated : bool, optional
        Whether all metadata are taken from the consolidated ones of the plate, in one request.
    missing_on_403 : bool, default False
        Whether an object that may not be read is taken for one that is not there.
    strict : bool, default False
        Whether what a warning would be given of, an assumption, is an error.

    Returns
    -------
    pandas.DataFrame
        One row for each well that is there, in the order of the plate: `well` (its path, "A/1"),
        `row`, `column`, the number of its `fields`, their paths as `field_paths`, and
        `acquisitions`, the `id` for each of them, where the plate says of any. With `positions` or
        `shapes` one row for each field, with `field` and `acquisition`. Its `attrs` say what holds
        for the plate: `name`, `version`, `rows`, `columns`, and the names of its `acquisitions`.

        Rows of it, filtered, are what `wells=` of `xarray.open_datatree` takes.

    Raises
    ------
    OmeZarrError
        Where there is no plate.

    Examples
    --------
    >>> samples.plate(rows=2, columns=2, fields=1).omezarr.to_zarr(path)
    >>> table = wells(path)
    >>> table[["well", "row", "column", "fields"]]
      well row column  fields
    0  A/1   A      1       1
    1  A/2   A      2       1
    2  B/1   B      1       1
    3  B/2   B      2       1
    >>> tree = xr.open_datatree(path, engine="omezarr", wells=table[table.row == "B"], level=0)
    >>> [node.path for node in tree.leaves]
    ['/B/1/0/0', '/B/2/0/0']
    """
    import pandas as pd

    place = stores.locate(
        plate,
        group,
        storage_options=storage_options,
        consolidated=bool(consolidated),
        missing_on_403=missing_on_403,
    )
    try:
        with read.strictly(strict):
            screen = read_screen(place, warn=warn)
            if positions or shapes:
                columns = _by_field(screen, positions=positions, shapes=shapes)
            else:
                columns = _by_well(screen)
    finally:
        place.close()
    table = pd.DataFrame(columns)
    about = screen.plate
    table.attrs = {
        **({} if about.name is None else {"name": about.name}),
        "version": about.version,
        "rows": list(about.rows),
        "columns": list(about.columns),
        "acquisitions": {one.id: one.name for one in about.acquisitions},
    }
    return table


def _by_well(screen: Screen) -> dict[str, list[Any]]:
    rows = [(entry, tuple(well.fields)) for entry, well, _ in screen.wells]
    columns: dict[str, list[Any]] = {
        "well": [entry.path for entry, _ in rows],
        "row": [entry.row for entry, _ in rows],
        "column": [entry.column for entry, _ in rows],
        "fields": [len(fields) for _, fields in rows],
        "field_paths": [tuple(field.path for field in fields) for _, fields in rows],
    }
    if any(field.acquisition is not None for _, fields in rows for field in fields):
        columns["acquisitions"] = [tuple(f.acquisition for f in fields) for _, fields in rows]
    return columns


def _by_field(screen: Screen, *, positions: bool, shapes: bool) -> dict[str, Any]:
    import pandas as pd

    images = read_images(screen, warn=warn)
    columns: dict[str, Any] = {
        "well": [at.well.path for at, _, _ in images],
        "row": [at.well.row for at, _, _ in images],
        "column": [at.well.column for at, _, _ in images],
        "field": [at.field.path for at, _, _ in images],
    }
    if any(at.field.acquisition is not None for at, _, _ in images):
        numbers = [at.field.acquisition for at, _, _ in images]
        columns["acquisition"] = pd.array(numbers, dtype="Int64")
    if positions:
        origins = [_origin(image) for _, _, image in images]
        for axis in dict.fromkeys(name for origin in origins for name in origin):
            columns[f"{axis}_origin"] = [origin.get(axis, math.nan) for origin in origins]
    if shapes:
        found = _shapes(screen.place, images)
        for axis in dict.fromkeys(name for shape, _ in found for name in shape):
            sizes = [shape.get(axis) for shape, _ in found]
            # As plain integers where each image has the axis.
            columns[f"{axis}_size"] = pd.array(sizes, dtype="Int64") if None in sizes else sizes
        columns["dtype"] = [dtype for _, dtype in found]
    return columns


def _origin(image: Image) -> dict[str, float]:
    """Say where the first pixel of an image is."""
    values = zip(image.axes, image.levels[0].transform.translation, strict=True)
    return {axis.name: value for axis, value in values if axis.type == "space"}


def _shapes(
    place: Place, images: Sequence[tuple[FieldAt, Node, Image]]
) -> list[tuple[dict[str, int], str | None]]:
    """Read the sizes of images, and the types of their pixels; nothing of those that are broken."""
    paths = [f"{at.path}/{image.levels[0].path}" for at, _, image in images]
    files = [documents.ARRAY_METADATA[node.zarr_format] for _, node, _ in images]
    keys = [f"{path}/{file}" for path, file in zip(paths, files, strict=True)]
    contents = storage.read_bytes(place, *keys)
    findings = census.Findings(place, "arrays")
    found: list[tuple[dict[str, int], str | None]] = []
    for path, file, content, (_, _, image) in zip(paths, files, contents, images, strict=True):
        if content is None:
            findings.miss(path)
            found.append(({}, None))
            continue
        try:
            found.append(_shape(storage.parse_json(content, place.below(path), file), image))
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{place.below(path).name} describes no array of this image: {error}"
            findings.refuse(OmeZarrError(msg))
            found.append(({}, None))
    findings.tell(warn)
    return found


def _shape(document: Mapping[str, Any], image: Image) -> tuple[dict[str, int], str]:
    """Say of what sizes and type an array is, by its metadata."""
    shape = document.get("shape")
    if not isinstance(shape, list) or len(shape) != len(image.axes):
        msg = f"its 'shape' is {shape!r:.60}, where the axes are {', '.join(image.dims)}."
        raise OmeZarrError(msg)
    # Zarr v3 has names for types, Zarr v2 the codes of NumPy.
    dtype = document["data_type"] if "data_type" in document else np.dtype(document["dtype"]).name
    return {dim: int(size) for dim, size in zip(image.dims, shape, strict=True)}, str(dtype)
