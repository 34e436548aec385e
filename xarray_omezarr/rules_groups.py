"""The rules of what holds images together: labels, plates and wells, series."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from xarray_omezarr.findings import (
    Book,
    Part,
    field_of,
    inside,
    listing,
    mapping,
    matching,
    needed,
    number,
    repeated,
    text,
    whole,
)
from xarray_omezarr.rules_image import metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LABELS = Book('"labels" metadata')
IMAGE_LABEL = Book('"image-label" metadata')
PLATE = Book('"plate" metadata')
WELL = Book('"well" metadata')
SERIES = Book('"bioformats2raw.layout"')

BOOKS = (LABELS, IMAGE_LABEL, PLATE, WELL, SERIES)

_ALPHANUMERIC = matching("[A-Za-z0-9]+")
_POSITIVE = whole(1)


def subjects(attributes: Mapping[str, object], version: str) -> Iterator[tuple[str, Part]]:
    """Give what there is to look at in the attributes of a group that is more than an image."""
    ome = metadata(attributes, version)
    for key in ("image-label", "plate", "well"):
        if not ome[key].absent:
            yield key, ome[key]
    inner = {
        "color": ome["image-label"]["colors"],
        "label property": ome["image-label"]["properties"],
        **{key: ome["plate"][key] for key in ("rows", "columns", "wells", "acquisitions")},
        "field": ome["well"]["images"],
    }
    for subject, parts in inner.items():
        yield from ((subject, part) for part in parts.objects())
    if not ome["labels"].absent:
        yield "labels", ome
    if not (ome["series"].absent and ome["bioformats2raw.layout"].absent):
        yield "series", ome


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


@LABELS.must("labels", "`labels` is an array of paths to the labeled multiscale images below it.")
def _paths(ome: Part) -> Iterator[Part]:
    found = ome["labels"]
    if not isinstance(found.value, list):
        yield found
    yield from (entry for entry in found.entries() if not inside(entry.value))


IMAGE_LABEL.must("image-label", "`image-label` is a JSON object.")(
    lambda label: [] if mapping(label.value) else [label]
)
IMAGE_LABEL.should("image-label", "It SHOULD contain a `colors` key.", "0.4")(needed("colors"))
IMAGE_LABEL.should("image-label", "It SHOULD contain a `version` key.", "0.4", "0.4")(
    needed("version")
)
IMAGE_LABEL.must("image-label", "`colors` and `properties`: a list of JSON objects, not empty.")(
    lambda label: itertools.chain(
        *(field_of(key, listing(mapping, 1))(label) for key in ("colors", "properties"))
    )
)
IMAGE_LABEL.must("color", "Each entry MUST contain the key `label-value`.", until="0.3")(
    needed("label-value", number)
)
IMAGE_LABEL.must(
    "color",
    "It MUST contain the `label-value` key, whose value MUST be the integer of a label.",
    "0.4",
)(needed("label-value", whole()))
IMAGE_LABEL.must(
    "label property",
    "It MUST contain the `label-value` key, an integer specifying the pixel value.",
    "0.2",
)(needed("label-value", whole()))
IMAGE_LABEL.must("color", "`rgba` MUST be an array of four integers between 0 and 255.")(
    field_of("rgba", lambda rgba: listing(whole(0, 255), 4)(rgba) and len(rgba) == 4)  # type: ignore[arg-type]  # noqa: PLR2004
)


@IMAGE_LABEL.must("image-label", "`colors` has one JSON object for each unique label.")
def _one_color(label: Part) -> Iterable[Part]:
    return repeated(entry["label-value"] for entry in label["colors"].objects())


@IMAGE_LABEL.must("image-label", "`properties` describes the set of unique pixel values.", "0.2")
def _one_entry(label: Part) -> Iterable[Part]:
    return repeated(entry["label-value"] for entry in label["properties"].objects())


IMAGE_LABEL.must("image-label", "`source` MUST be a JSON object.")(field_of("source", mapping))


@IMAGE_LABEL.must("image-label", "`source.image` MUST be a string: a relative path to an image.")
def _source(label: Part) -> Iterator[Part]:
    found = label["source"]["image"]
    if not found.absent and not text(found.value):
        yield found


LABEL_THERE = LABELS.must(
    "hierarchy", "`labels` is an array of paths to the labeled multiscale images."
)(None)
LIST_THERE = LABELS.must(
    "hierarchy", "The metadata of the `labels` group MUST contain the key `labels`.", "0.5"
)(None)
ALSO_IMAGE = LABELS.must(
    "hierarchy", "A label image MUST implement the multiscales specification."
)(None)
SAME_LEVELS = LABELS.must(
    "hierarchy", '"datasets" MUST have the same number of entries as those of the unlabeled image.'
)(None)
INTEGERS = LABELS.must(
    "hierarchy", "The pixels of the label images MUST be integer data types.", "0.5"
)(None)
INTEGERS_BEFORE = LABELS.must("hierarchy", "Only integer values are supported.", until="0.4")(None)
SAME_SIZES = LABELS.should(
    "hierarchy", "Each dimension should be the same as that of the image, or 1."
)(None)
SAID_TO_BE_LABEL = LABELS.should(
    "hierarchy", "The metadata of a label image SHOULD contain the key `image-label`.", "0.5"
)(None)
LISTED = LABELS.should(
    "hierarchy", "All label images SHOULD be listed within the metadata of `labels`.", "0.5"
)(None)


# ── plate ────────────────────────────────────────────────────────────────────────────────────────

PLATE.must("plate", "`plate` is a dictionary.")(
    lambda plate: [] if mapping(plate.value) else [plate]
)
for _key in ("columns", "rows", "wells"):
    PLATE.must("plate", f"It MUST contain a `{_key}` key, a list of JSON objects, not empty.")(
        needed(_key, listing(mapping, 1))
    )
PLATE.must("plate", "It contains a `version` key (schema).", until="0.3")(needed("version"))
PLATE.should("plate", "It SHOULD contain a `version` key.", "0.4", "0.4")(needed("version"))
PLATE.should("plate", "It SHOULD contain a `name` key.", "0.4")(needed("name"))
PLATE.must("plate", "`name` MUST be a string.")(field_of("name", text))
PLATE.should("plate", "It SHOULD contain a `field_count` key.", "0.4")(needed("field_count"))
PLATE.must("plate", "`field_count` MUST be a positive integer.", "0.4")(
    field_of("field_count", _POSITIVE)
)
PLATE.must("plate", "`acquisitions` MUST be a list of JSON objects.")(
    field_of("acquisitions", listing(mapping))
)
PLATE.must("plate", "`acquisitions` is not empty (schema).", until="0.3")(
    field_of("acquisitions", listing(mapping, 1))
)
PLATE.must("acquisitions", "Each acquisition object MUST contain an `id` key.", until="0.3")(
    needed("id", number)
)
for _key in ("id", "maximumfieldcount"):
    PLATE.must("acquisitions", f"`{_key}` is an integer (schema).", "0.2", "0.3")(
        field_of(_key, whole())
    )
PLATE.must(
    "acquisitions",
    "It MUST contain an `id` key, an unique integer greater than or equal to 0.",
    "0.4",
)(needed("id", whole(0)))


@PLATE.must("plate", "The `id` of an acquisition MUST be unique within the plate.")
def _ids(plate: Part) -> Iterable[Part]:
    return repeated(entry["id"] for entry in plate["acquisitions"].objects())


for _key in ("name", "maximumfieldcount"):
    PLATE.should("acquisitions", f"It SHOULD contain a `{_key}` key.")(needed(_key))
for _key in ("name", "description"):
    PLATE.must("acquisitions", f"`{_key}` MUST be a string.")(field_of(_key, text))
PLATE.must("acquisitions", "`maximumfieldcount` is a number.", until="0.3")(
    field_of("maximumfieldcount", number)
)
PLATE.must("acquisitions", "`maximumfieldcount` MUST be a positive integer.", "0.4")(
    field_of("maximumfieldcount", _POSITIVE)
)
for _key in ("starttime", "endtime"):
    PLATE.must("acquisitions", f"`{_key}` is a number.", until="0.1")(field_of(_key, number))
    PLATE.must("acquisitions", f"`{_key}` MUST be an integer epoch timestamp.", "0.2")(
        field_of(_key, whole(0))
    )
for _key in ("rows", "columns"):
    PLATE.must(_key, "It MUST contain a `name` key, a string.")(needed("name", text))
    PLATE.must(_key, "The `name` MUST contain only alphanumeric characters.", "0.4")(
        field_of("name", lambda name: not text(name) or _ALPHANUMERIC(name))
    )


def _names(plate: Part, key: str) -> list[Part]:
    return [entry["name"] for entry in plate[key].objects() if text(entry["name"].value)]


@PLATE.must("plate", "The `name` MUST NOT be a duplicate of any other `name` in the list.")
def _names_differ(plate: Part) -> Iterator[Part]:
    for key in ("rows", "columns"):
        yield from repeated(_names(plate, key))


@PLATE.should("plate", "Collisions on case-insensitive filesystems SHOULD be avoided.", "0.4")
def _cases_differ(plate: Part) -> Iterator[Part]:
    for key in ("rows", "columns"):
        names = {name.value: name for name in _names(plate, key)}.values()
        yield from repeated(Part(name.value.lower(), name.path) for name in names)


PLATE.must("wells", "Each well object MUST contain a `path` key, a string.")(needed("path", inside))
for _key in ("rowIndex", "columnIndex"):
    PLATE.must("wells", f"It MUST contain a `{_key}` key, an index from 0.", "0.4")(
        needed(_key, whole(0))
    )


@PLATE.must(
    "plate",
    "The `path` MUST consist of a `name` in the `rows` list, `/`, and a `name` from the `columns` "
    "list, in that order.",
    "0.4",
)
def _rows_and_columns(plate: Part) -> Iterator[Part]:
    rows, columns = ({name.value for name in _names(plate, key)} for key in ("rows", "columns"))
    for well in plate["wells"].objects():
        path = well["path"]
        if text(path.value):
            row, *rest = path.value.split("/")
            if row not in rows or len(rest) != 1 or rest[0] not in columns:
                yield path


@PLATE.must(
    "plate",
    "`rowIndex`, `columnIndex` and `path` MUST all refer to the same row/column pair.",
    "0.4",
)
def _same_pair(plate: Part) -> Iterator[Part]:
    lists = [[e["name"].value for e in plate[key].entries()] for key in ("rows", "columns")]
    for well in plate["wells"].objects():
        indices = [well[key].value for key in ("rowIndex", "columnIndex")]
        if not text(well["path"].value) or not all(map(whole(0), indices)):
            continue
        pair = [
            names[int(index)] if index < len(names) else None
            for names, index in zip(lists, indices, strict=True)
        ]
        if well["path"].value.split("/") != pair:
            found = {key: well[key].value for key in ("path", "rowIndex", "columnIndex")}
            yield Part(found, well.path)


@PLATE.must("plate", "Wells are unique.")
def _wells_differ(plate: Part) -> Iterable[Part]:
    return repeated(well["path"] for well in plate["wells"].objects())


# ── well ─────────────────────────────────────────────────────────────────────────────────────────

WELL.must("well", "It MUST contain an `images` key, a list of JSON objects, not empty.")(
    needed("images", listing(mapping, 1))
)
WELL.should("well", "It SHOULD contain a `version` key.", "0.4", "0.4")(needed("version"))
WELL.must("field", "Each image object MUST contain a `path` key, a string.")(needed("path", text))
WELL.must("field", "The `path` MUST contain only alphanumeric characters.", until="0.5")(
    field_of("path", lambda path: not text(path) or _ALPHANUMERIC(path))
)
WELL.must(
    "field",
    "The `path` MUST consist of characters in `A-Za-z0-9_.-`, not only of periods, and MUST NOT "
    "start with `__`.",
    "0.6",
)(field_of("path", lambda path: not text(path) or matching(r"(?!\.+$|__)[A-Za-z0-9_.-]+")(path)))


@WELL.must("well", "The `path` MUST NOT be a duplicate of any other `path` in the `images` list.")
def _fields_differ(well: Part) -> Iterable[Part]:
    return repeated(field["path"] for field in well["images"].objects())


WELL.must("field", "`acquisition` MUST be an integer.")(field_of("acquisition", whole()))

SAYS_ACQUISITION = WELL.must(
    "hierarchy",
    "If multiple acquisitions were performed it MUST contain an `acquisition` key.",
    "0.4",
)(None)
SHOULD_SAY_ACQUISITION = WELL.should(
    "hierarchy",
    "If multiple acquisitions were performed it SHOULD contain an `acquisition` key.",
    until="0.3",
)(None)
KNOWN_ACQUISITION = WELL.must(
    "hierarchy", "`acquisition` MUST match one of the acquisitions of the plate."
)(None)


# ── series ───────────────────────────────────────────────────────────────────────────────────────

SERIES.must("series", "`bioformats2raw.layout` MUST have the value 3.", "0.4")(
    field_of("bioformats2raw.layout", lambda layout: number(layout) and layout == 3)  # noqa: PLR2004
)
SERIES.must("series", "`series` MUST be a list of strings, each a path to an image group.", "0.4")(
    field_of("series", listing(text))
)
OME_XML = SERIES.should(
    "hierarchy", "There SHOULD be OME metadata in a file named `OME/METADATA.ome.xml`.", "0.4"
)(None)
CONSECUTIVE = SERIES.must(
    "hierarchy", "Images MUST be stored in consecutively numbered groups starting from 0.", "0.4"
)(None)
SERIES_THERE = SERIES.must("hierarchy", "`series`: each is a path to an image group.", "0.4")(None)

WELL_THERE = PLATE.must("hierarchy", "`path` specifies the path to the well subgroup.")(None)
WELL_IMPLEMENTED = PLATE.must(
    "hierarchy", "The group above the images MUST implement the well specification."
)(None)
FIELD_THERE = WELL.must("hierarchy", "`path` specifies the path to the field of view.")(None)
IMAGE_THERE = WELL.must("hierarchy", 'An image implements "multiscales".')(None)
