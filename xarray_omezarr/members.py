"""Plates, wells, series and scenes that list their images, and what becomes of the lists.

An image is listed once it stands: first in its well, then the well in its plate. So a plate never
lists what is not there, and of several processes that add to one none loses what another has added;
see `exchange` for where that is so. A scene lists its images by the transformations from each to
the coordinate systems that they share.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from xarray_omezarr import documents, exchange, multiscale, plates, relations, spec, storage
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileExistsError, warn
from xarray_omezarr.plates import Acquisition, FieldEntry, Plate, Series, Well, WellEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from xarray_omezarr.model import Image
    from xarray_omezarr.stores import Place

    #: Makes of the attributes of a group, None where there is none, what they shall be.
    Change = Callable[[Mapping[str, Any] | None], dict[str, Any]]

#: How deep below its plate a field is: "row/column/field".
FIELD = 3


@dataclass(frozen=True)
class Listing:
    """A group that lists its images: a plate, a single well, a series, or a scene."""

    place: Place
    kind: str
    version: str
    zarr_format: int
    acquisitions: frozenset[int] = frozenset()
    """Those that a plate has."""
    scene: Mapping[str, Any] = field(default_factory=dict)
    """What a scene says of its images."""


@dataclass(frozen=True)
class Seat:
    """Where an image will be listed once it stands."""

    listing: Listing
    path: str
    """Below the group that lists it."""
    acquisition: int | None
    systems: tuple[str, ...] = ()
    """The coordinate systems that the image has, where a scene lists it."""
    known: tuple[Mapping[str, Any], ...] = ()
    """Transformations that lead to it, as another scene had them."""

    def check(self, version: str | None) -> None:
        """Check, before anything is written, that it can be listed as an image of a version.

        Raises
        ------
        OmeZarrError
            Where it cannot.
        """
        listing = self.listing
        if version not in (None, listing.version):
            # 0.5: "the version MUST be the same in the whole hierarchy".
            msg = (
                f"version={version!r}: {listing.place.name} is a {listing.kind} of version "
                f"{listing.version}, and its images are of the same. Leave version= out, or "
                "upgrade it first (xarray_omezarr.upgrade)."
            )
            raise OmeZarrError(msg)
        check(listing, {self.path: self.acquisition})

    def of(self, image: Image) -> Seat:
        """Give the seat with what relates an image to the others of a scene.

        Raises
        ------
        OmeZarrError
            Where nothing does.
        """
        if self.listing.kind != "scene":
            return self
        seat = replace(self, systems=tuple(relations.systems_of(image)))
        seat.additions(self.listing.scene)
        return seat

    def additions(self, scene: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Give the transformations that a scene is to have besides, with the image."""
        return relations.additions(
            scene, self.path, self.systems, known=self.known, place=self.listing.place.name
        )

    def within(self, place: Place) -> Seat:
        """Give the same seat in a store that was opened for writing."""
        there = replace(self.listing.place, store=place.store)
        return replace(self, listing=replace(self.listing, place=there))

    def take(self, *, fsync: bool = False) -> None:
        """List the image."""
        if self.listing.kind == "scene":
            _enter_scene(self, fsync=fsync)
            return
        well, _, name = self.path.rpartition("/")
        if self.listing.kind == "series":
            well, name = "", self.path
        enter(self.listing, [(well, FieldEntry(name, self.acquisition))], fsync=fsync)


def above(place: Place, acquisition: int | None) -> Seat | None:
    """Find the group that is to list an image at a place.

    Parameters
    ----------
    place
        Where the image is to be.
    acquisition
        The acquisition that it is of, if any.

    Raises
    ------
    OmeZarrError
        Where the group is of a version that is not written.
    """
    found = listing_of(place) if place.path else None
    if found is None:
        return None
    listing, path = found
    return Seat(listing, path, acquisition) if room(listing, path) == 0 else None


def room(listing: Listing, path: str) -> int:
    """Say how much deeper than a path the images are that a group lists; below 0 for too deep.

    Those of a scene can be at any depth: at the path itself, if there is one.
    """
    if listing.kind == "scene":
        return 0 if path else 1
    return (FIELD if listing.kind == "plate" else 1) - len(path.split("/") if path else ())


def listing_of(place: Place) -> tuple[Listing, str] | None:
    """Find the plate, the series, the scene or the single well that a group is, or lies in.

    Returns
    -------
    tuple of Listing and str, or None
        With the path of the group below it.

    Raises
    ------
    OmeZarrError
        Where it is of a version that is not written.
    """
    parts = place.path.split("/") if place.path else []
    root = replace(place, path="")
    prefixes = ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]
    files = [documents.METADATA[3], documents.METADATA[2]]
    keys = ["/".join(filter(None, (prefix, file))) for prefix in prefixes for file in files]
    contents = storage.read_bytes(root, *keys)
    found: tuple[storage.Node, Place, str] | None = None
    within = False
    for depth, prefix in reversed(list(enumerate(prefixes))):
        inner = replace(root, path=prefix, name=_name_above(place, parts[depth:]))
        v3, v2 = contents[2 * depth : 2 * depth + 2]
        try:
            node = None if storage.describes_array(v3) else storage.node_of(inner, v3, v2)
        except OmeZarrError as error:
            msg = f"{error} It was left untouched."
            raise OmeZarrFileExistsError(msg) from error
        kind = None if node is None else node.kind
        if kind in {"plate", "well", "series"} or (kind == "scene" and not within):
            assert node is not None  # noqa: S101 - it has a kind
            found = node, inner, "/".join(parts[depth:])
        if kind in {"plate", "series", "scene"}:
            break
        # What lies in an image of a scene is part of that image.
        within |= kind == "image" and depth < len(parts)
    return None if found is None else (_listing(found[1], found[0]), found[2])


def _name_above(place: Place, parts: Sequence[str]) -> str:
    return place.name.removesuffix("/".join(parts)).rstrip("/")


def _listing(place: Place, node: storage.Node) -> Listing:
    kind = node.kind
    about: Any = {"zarr_format": node.zarr_format, "place": place.name, "warn": _silent}
    acquisitions: frozenset[int] = frozenset()
    scene: Mapping[str, Any] = {}
    if kind == "plate":
        plate = plates.parse_plate(node.attributes, **about)
        version, acquisitions = plate.version, frozenset(one.id for one in plate.acquisitions)
    elif kind == "well":
        version = plates.parse_well(node.attributes, **about).version
    elif kind == "scene":
        declared = next(spec.declared_versions(node.attributes, node.zarr_format), "0.6")
        version = multiscale.released(declared, "version", _silent)
        told = spec.ome_attributes(node.attributes, node.zarr_format)["scene"]
        scene = told if isinstance(told, dict) else {}
    else:
        version = plates.parse_series(node.attributes, None, None, **about).version
    if version not in spec.ZARR_FORMATS:
        msg = (
            f"{place.name} is a {kind} of version {version}, which is read but not written. "
            "Upgrade it first (xarray_omezarr.upgrade); nothing was changed."
        )
        raise OmeZarrError(msg)
    assert kind is not None  # noqa: S101 - it is one that lists
    return Listing(place, kind, version, node.zarr_format, acquisitions, scene)


def _silent(_: str) -> None:
    """Say nothing: whoever opens it is told."""


def check(listing: Listing, fields: Mapping[str, int | None]) -> None:
    """Check, before anything is written, that images can be listed.

    Parameters
    ----------
    listing
        The group that will list them.
    fields
        The acquisition of each, None for none, by its path below that group.

    Raises
    ------
    OmeZarrError
        Where a path is none that the version allows, or an acquisition is missing.
    """
    if listing.kind == "scene":
        # What relates an image to the others is known once it is: see `Seat.of`.
        return
    if listing.kind == "series":
        _check_numbers(listing, fields)
        return
    parts = [path.split("/") for path in fields]
    sides = {"rows": [p[0] for p in parts], "columns": [p[1] for p in parts]} if (
        listing.kind == "plate"
    ) else {}  # fmt: skip
    plates.check_names(listing.version, **sides, fields=[p[-1] for p in parts])
    missing = [path for path, acquisition in fields.items() if acquisition is None]
    if len(listing.acquisitions) > 1 and missing:
        # "acquisition: if the plate has multiple acquisitions, it MUST be present" (0.4 to 0.6).
        known = ", ".join(map(str, sorted(listing.acquisitions)))
        msg = (
            f"{listing.place.name} has several acquisitions, {known}: say which one "
            f"{missing[0]} is of, by .assign_coords(acquisition=…)."
        )
        raise OmeZarrError(msg)


def enter(
    listing: Listing, fields: Sequence[tuple[str, FieldEntry]], *, fsync: bool = False
) -> None:
    """List images that stand.

    Parameters
    ----------
    listing
        The group that lists them, or whose wells do.
    fields
        The paths of the wells below it, "" where it is no plate, and their fields.
    fsync
        Whether the lists are on the disk when this returns.
    """
    with exchange.alone(listing.place):
        if listing.kind == "series":
            _enter_images(listing, [field.path for _, field in fields], fsync=fsync)
            return
        wells: dict[str, list[FieldEntry]] = {}
        for path, field in fields:
            wells.setdefault(path, []).append(field)
        # Nobody else is at these files now: what is half of one is from somebody who was killed.
        folders = {"", *wells, *(path.rpartition("/")[0] for path in wells)}
        halves = [storage.leftovers(listing.place.below(folder)) for folder in folders]
        storage.delete_keys(listing.place.store, [key for keys in halves for key in keys])
        counts = {}
        for path, entries in wells.items():
            if listing.kind == "plate":
                make_group(listing.place, path.partition("/")[0], listing.zarr_format)
            known = _Fields(listing, path, entries)
            change_attributes(listing.place, path, listing.zarr_format, known, fsync=fsync)
            counts[path] = known.count
        if listing.kind == "plate":
            change = _Wells(listing, wells, counts)
            change_attributes(listing.place, "", listing.zarr_format, change, fsync=fsync)


class _Fields:
    """Adds fields to a well."""

    def __init__(self, listing: Listing, path: str, entries: Sequence[FieldEntry]) -> None:
        self.listing = listing
        self.path = path
        self.entries = entries
        self.count = 0

    def __call__(self, attributes: Mapping[str, Any] | None) -> dict[str, Any]:
        well = well_of(self.listing, self.path, attributes)
        fields = {one.path: one for one in well.fields}
        paths = _extended(list(fields), [one.path for one in self.entries])
        for entry in self.entries:
            old = fields.get(entry.path, entry)
            acquisition = old.acquisition if entry.acquisition is None else entry.acquisition
            fields[entry.path] = replace(
                old, acquisition=acquisition, extra={**old.extra, **entry.extra}
            )
        self.count = len(fields)
        listed = tuple(fields[path] for path in paths)
        if attributes is not None and listed == well.fields:
            return dict(attributes)
        return plates.well_attributes(replace(well, fields=listed))


def well_of(listing: Listing, path: str, attributes: Mapping[str, Any] | None) -> Well:
    """Give a well of a plate; an empty one where there is none yet."""
    place = listing.place.below(path) if path else listing.place
    kind = spec.kind(attributes or {}, listing.zarr_format)
    if kind is None:
        return Well(listing.version, (), attributes or {})
    if kind != "well":
        msg = f"{place.name} is no well but a group of the kind '{kind}'; it was left untouched."
        raise OmeZarrError(msg)
    return plates.parse_well(
        attributes or {},
        zarr_format=listing.zarr_format,
        place=place.name,
        warn=warn,
        version=listing.version,
    )


class _Wells:
    """Adds wells to a plate."""

    def __init__(
        self,
        listing: Listing,
        wells: Mapping[str, Sequence[FieldEntry]],
        counts: Mapping[str, int],
    ) -> None:
        self.listing = listing
        self.wells = wells
        self.counts = counts

    def __call__(self, attributes: Mapping[str, Any] | None) -> dict[str, Any]:
        place = self.listing.place
        if spec.kind(attributes or {}, self.listing.zarr_format) != "plate":
            msg = f"{place.name} is no plate any more; what was written below it stands."
            raise OmeZarrError(msg)
        plate = plates.parse_plate(
            attributes or {},
            zarr_format=self.listing.zarr_format,
            place=place.name,
            warn=warn,
            version=self.listing.version,
        )
        more = with_wells(plate, self.wells, self.counts)
        return dict(attributes or {}) if more == plate else plates.plate_attributes(more)


def with_wells(
    plate: Plate, wells: Mapping[str, Sequence[FieldEntry]], counts: Mapping[str, int]
) -> Plate:
    """Give a plate that lists more wells, with their rows, columns and acquisitions.

    Parameters
    ----------
    plate
        The plate.
    wells
        The fields that are new, by the paths of their wells.
    counts
        How many fields each of these wells has in all.
    """
    listed = list(plate.wells)
    # Its path is what a well goes by; some plates have others than "row/column".
    paths = {one.path for one in listed}
    known = {(one.row, one.column) for one in listed}
    parts = [path.partition("/") for path in wells if path not in paths]
    entries = [WellEntry(row, column, f"{row}/{column}") for row, _, column in parts]
    new = [one for one in entries if (one.row, one.column) not in known]
    rows = _extended(plate.rows, [one.row for one in new])
    columns = _extended(plate.columns, [one.column for one in new])

    def rank(well: WellEntry) -> tuple[int, int]:
        return rows.index(well.row), columns.index(well.column)

    in_order = listed == sorted(listed, key=rank)
    listed += new
    acquisitions = {one.id: one for one in plate.acquisitions}
    for fields in wells.values():
        for entry in fields:
            if entry.acquisition is not None:
                acquisitions.setdefault(entry.acquisition, Acquisition(entry.acquisition))
    count = plate.field_count
    return replace(
        plate,
        rows=rows,
        columns=columns,
        wells=tuple(sorted(listed, key=rank) if in_order else listed),
        acquisitions=tuple(acquisitions.values()),
        # "field_count: the maximum number of fields per well".
        field_count=None if count is None else max([count, *counts.values()]),
    )


def natural(name: str) -> tuple[Any, ...]:
    """Give what names are sorted by: A2 before A10, and Z before AA.

    Examples
    --------
    >>> sorted(["10", "AA", "B", "2"], key=natural)
    ['2', '10', 'B', 'AA']
    """
    if name.isalpha():
        return 1, len(name), name
    parts = [one for one in re.split(r"(\d+)", name) if one]
    return 0, [(0, int(one), "") if one.isdecimal() else (1, 0, one) for one in parts]


def _extended(names: Sequence[str], more: Iterable[str]) -> tuple[str, ...]:
    """Add names to those of rows, columns or fields: in order, if these are in order."""
    new = [name for name in dict.fromkeys(more) if name not in names]
    every = [*names, *new]
    in_order = list(names) == sorted(names, key=natural)
    return tuple(sorted(every, key=natural) if in_order else every)


# ── series ───────────────────────────────────────────────────────────────────────────────────────


def _series(listing: Listing) -> tuple[Series, Mapping[str, Any] | None]:
    (folder,) = storage.fetch_each(listing.place, [plates.SERIES_FOLDER], listing.zarr_format)
    attributes = None if isinstance(folder, OmeZarrError) else folder.attributes
    return _parsed_series(listing, attributes), attributes


def _check_numbers(listing: Listing, paths: Iterable[str]) -> None:
    """Check that images can be added to a series whose images are 0, 1, 2 and so on."""
    if _series(listing)[0].paths is not None:
        return
    wrong = next((path for path in paths if not path.isdecimal()), None)
    if wrong is not None:
        msg = (
            f"{listing.place.name} is a series whose images are numbered: {wrong!r:.60} cannot be "
            "added to it. Take the next number as group=."
        )
        raise OmeZarrError(msg)
    numbers = {int(path) for path in paths}
    before = [str(number - 1) for number in sorted(numbers) if number and number - 1 not in numbers]
    found = storage.fetch_below(listing.place, before, listing.zarr_format)
    missing = next((path for path, one in zip(before, found, strict=True) if one is None), None)
    if missing is not None:
        warn(
            f"{listing.place.name} is a series whose images are 0, 1, 2 and so on: whoever opens "
            f"it finds {int(missing) + 1} only once {missing} is there too, which it is not yet."
        )


def _parsed_series(listing: Listing, folder: Mapping[str, Any] | None) -> Series:
    # What stands in the group itself does not change.
    return plates.parse_series(
        {"bioformats2raw.layout": 3},
        folder,
        None,
        zarr_format=spec.V2 if listing.zarr_format == spec.V2 else spec.V3,
        place=listing.place.name,
        warn=_silent,
        version=listing.version,
    )


def _enter_images(listing: Listing, paths: Sequence[str], *, fsync: bool) -> None:
    """Add images to the list of a series, if it has one; else they are 0, 1, 2 and so on."""
    if _series(listing)[0].paths is None:
        return

    def edit(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
        series = _parsed_series(listing, attributes)
        listed = tuple(dict.fromkeys([*(series.paths or ()), *paths]))
        _, folder = plates.series_attributes(replace(series, paths=listed))
        return folder

    change_attributes(listing.place, plates.SERIES_FOLDER, listing.zarr_format, edit, fsync=fsync)


# ── scenes ───────────────────────────────────────────────────────────────────────────────────────


def _enter_scene(seat: Seat, *, fsync: bool) -> None:
    """Relate an image that stands to the others of its scene."""
    listing = seat.listing

    def edit(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
        result = copy.deepcopy(dict(attributes or {}))
        ome = result.get("ome")
        scene = ome.get("scene") if isinstance(ome, dict) else None
        if not isinstance(ome, dict) or not isinstance(scene, dict):
            msg = f"{listing.place.name} is no scene any more; what was written below it stands."
            raise OmeZarrError(msg)
        ome["scene"] = relations.extended(scene, seat.additions(scene))
        return result

    with exchange.alone(listing.place):
        halves = storage.leftovers(listing.place)
        storage.delete_keys(listing.place.store, list(halves))
        change_attributes(listing.place, "", listing.zarr_format, edit, fsync=fsync)


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def change_attributes(
    place: Place, path: str, zarr_format: int, edit: Change, *, fsync: bool = False
) -> None:
    """Change the attributes of a group below one, or make it; see `exchange.change`.

    Consolidated metadata of the group are dropped where it changes: they do not know what is new.
    """
    file = "/".join(filter(None, (path, documents.METADATA[zarr_format])))

    def v2(content: bytes | None) -> bytes:
        old = None if content is None else storage.parse_json(content, place, file)
        return _encoded(content, old, edit(old))

    def v3(content: bytes | None) -> bytes:
        old = None if content is None else storage.parse_json(content, place, file)
        group = {"zarr_format": 3, "node_type": "group"} if old is None else copy.deepcopy(old)
        attributes = edit(None if old is None else old.get("attributes") or {})
        group.pop("consolidated_metadata", None)
        return _encoded(content, old, {**group, "attributes": attributes})

    if zarr_format == spec.V2:
        make_group(place, path, zarr_format)
        storage.delete_files(place.below(path) if path else place, (".zmetadata",))
    exchange.change(place, file, v2 if zarr_format == spec.V2 else v3, fsync=fsync)


def _encoded(content: bytes | None, old: object, new: Mapping[str, Any]) -> bytes:
    if content is not None and json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True):
        return content
    return storage.to_bytes(new)


def make_group(place: Place, path: str, zarr_format: int) -> None:
    """Make a plain group below one, if there is none yet."""
    inner = place.below(path) if path else place
    if zarr_format == spec.V3:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
        exchange.create(inner, "zarr.json", storage.to_bytes(group))
    else:
        exchange.create(inner, ".zgroup", storage.to_bytes({"zarr_format": 2}))
