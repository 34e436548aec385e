"""The rules of images: which version, which axes, which levels, how they lie, and how they look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xarray_omezarr.findings import (
    SPELLINGS,
    VERSIONS,
    Book,
    Part,
    boolean,
    dialect,
    field_of,
    inside,
    listing,
    mapping,
    matching,
    needed,
    number,
    repeated,
    text,
)
from xarray_omezarr.spec import DATED, KINDS
from xarray_omezarr.units import SPACE_UNITS, TIME_UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from xarray_omezarr.findings import Check

METADATA = Book("OME-Zarr Metadata")
AXES = Book('"axes" metadata')
MULTISCALES = Book('"multiscales" metadata')
TRANSFORMATIONS = Book('"coordinateTransformations" metadata')
OMERO = Book('"omero" metadata')

BOOKS = (METADATA, AXES, MULTISCALES, TRANSFORMATIONS, OMERO)


# ── what is looked at ────────────────────────────────────────────────────────────────────────────


def metadata(attributes: Mapping[str, object], version: str) -> Part:
    """Give the part of a group's attributes that is OME-Zarr's."""
    whole = Part(attributes)
    ome = whole["ome"]
    newer = VERSIONS.index(version) >= VERSIONS.index("0.5")
    return ome if mapping(ome.value) and (newer or "multiscales" not in attributes) else whole


def subjects(attributes: Mapping[str, object], version: str) -> Iterator[tuple[str, Part]]:
    """Give what there is to look at in the attributes of an image."""
    ome = metadata(attributes, version)
    yield "attributes", Part(attributes)
    yield "group", ome
    for image in ome["multiscales"].objects():
        yield "image", image
        for axes in axes_of(image):
            yield "axes", axes
            for axis in axes.objects():
                yield "axis", axis
        for dataset in image["datasets"].objects():
            yield "dataset", dataset
        for holder in (image, *image["datasets"].objects()):
            if not holder["coordinateTransformations"].absent:
                yield "transformations", holder["coordinateTransformations"]
    if not ome["omero"].absent:
        yield "omero", ome["omero"]
        for channel in ome["omero"]["channels"].objects():
            yield "channel", channel


def axes_of(image: Part) -> Iterator[Part]:
    """Give the lists of axes of an image: its own, or those of its coordinate systems."""
    if not image["axes"].absent:
        yield image["axes"]
    for system in image["coordinateSystems"].objects():
        if not system["axes"].absent:
            yield system["axes"]


def type_of(axis: Part) -> str | None:
    """Give the type of an axis."""
    found = axis["type"].value
    return found if isinstance(found, str) else None


# ── version ──────────────────────────────────────────────────────────────────────────────────────


@METADATA.must(
    "attributes", "The metadata is stored under the namespaced key `ome` in `attributes`.", "0.5"
)
def _in_ome(attributes: Part) -> Iterator[Part]:
    if not mapping(attributes["ome"].value):
        yield attributes["ome"]


@METADATA.must(
    "group", "The version of the OME-Zarr Metadata is denoted as a string in `version`.", "0.5"
)
def _version(ome: Part) -> Iterator[Part]:
    if ome.path == "ome" and not text(ome["version"].value):
        yield ome["version"]


@METADATA.must(
    "group", "A released version is `0.5`, `0.6` or `0.6rc0`; a draft `0.9.dev1`.", "0.5"
)
def _released(ome: Part) -> Iterator[Part]:
    found = ome["version"]
    known = dialect(found.value)
    if known and found.value not in SPELLINGS[known]:
        yield found


@METADATA.note("group", "`version` has moved from its parts to `ome`.", "0.5")
def _undated(ome: Part) -> Iterator[Part]:
    for holder in [*ome["multiscales"].objects(), *(ome[key] for key in DATED)]:
        if not holder["version"].absent:
            yield holder["version"]


@METADATA.must("group", "The metadata contains keys for discovering certain types of data.")
def _something(ome: Part) -> Iterator[Part]:
    known = {*KINDS, "image-label"}
    if ome.value.keys().isdisjoint(known):
        yield Part(sorted(ome.value)[:10], ome.path)


# ── multiscales ──────────────────────────────────────────────────────────────────────────────────


@MULTISCALES.must(
    "group", '"multiscales" contains a list of dictionaries, each a multiscale image.'
)
def _multiscales(ome: Part) -> Iterator[Part]:
    found = ome["multiscales"]
    if found.absent:
        return
    if not listing(mapping, 1)(found.value):
        yield found
    yield from repeated(found.objects())


MULTISCALES.must(
    "image", 'Each "multiscales" dictionary MUST contain the field "axes".', "0.3", "0.5"
)(needed("axes", lambda axes: isinstance(axes, list)))
MULTISCALES.must(
    "image",
    'Each "multiscales" dictionary MUST contain the field "datasets", a list of dictionaries.',
)(needed("datasets", listing(mapping, 1)))
MULTISCALES.must(
    "dataset",
    'Each dictionary in "datasets" MUST contain the field "path", the path to the array relative '
    "to the current zarr group.",
)(needed("path", inside))
MULTISCALES.must(
    "dataset",
    'Each dictionary in "datasets" MUST contain the field "coordinateTransformations".',
    "0.4",
)(needed("coordinateTransformations"))
MULTISCALES.must("image", '"name" is a string.')(field_of("name", text))
MULTISCALES.should("image", 'It SHOULD contain the field "name".')(needed("name"))
MULTISCALES.should("image", 'It SHOULD contain the field "version".', until="0.4")(
    needed("version")
)
MULTISCALES.should("image", 'It SHOULD contain the field "type", the downscaling method.')(
    needed("type")
)
MULTISCALES.must("image", '"metadata" is a dictionary (schema).', until="0.1")(
    field_of("metadata", mapping)
)
MULTISCALES.should("image", 'It SHOULD contain the field "metadata", a dictionary.')(
    needed("metadata", mapping)
)


@MULTISCALES.note("image", "Levels of one image are arrays of their own.")
def _levels_differ(image: Part) -> Iterable[Part]:
    return repeated(dataset["path"] for dataset in image["datasets"].objects())


# ── axes ─────────────────────────────────────────────────────────────────────────────────────────


@MULTISCALES.must("axes", 'The values MUST be one of {"t", "c", "z", "y", "x"}.', "0.3", "0.3")
def _letters(axes: Part) -> Iterator[Part]:
    return (axis for axis in axes.entries() if axis.value not in [*"tczyx"])


@MULTISCALES.must("axes", "The values MUST be unique.", "0.3", "0.3")
def _letters_differ(axes: Part) -> Iterable[Part]:
    return repeated(axes.entries())


@MULTISCALES.must("axes", "Arrays have the dimension order (t, c, z, y, x).", "0.3", "0.3")
def _letters_in_order(axes: Part) -> Iterator[Part]:
    letters = [axis.value for axis in axes.entries()]
    known = [letter for letter in letters if letter in [*"tczyx"]]
    if known != sorted(known, key="tczyx".index):
        yield axes


@MULTISCALES.must("axes", "An image has at least two axes.", "0.3", "0.3")
def _two_letters(axes: Part) -> Iterator[Part]:
    if not listing(lambda _: True, 2)(axes.value):
        yield axes


AXES.must("axes", '"axes" MUST be a list of dictionaries.', "0.4")(
    lambda axes: [] if listing(mapping)(axes.value) else [axes]
)
AXES.must(
    "axis", 'It MUST contain the field "name" that gives the name for this dimension.', "0.4", "0.5"
)(needed("name", text))
AXES.must("axis", "It MUST contain the field `name`, a string that is not empty.", "0.6")(
    needed("name", matching("(?s).+"))
)


@AXES.must("axes", 'The values MUST be unique across all "name" fields.', "0.4")
def _names_differ(axes: Part) -> Iterable[Part]:
    return repeated(axis["name"] for axis in axes.objects())


@AXES.should("axis", 'It SHOULD contain the field "type".', "0.4")
def _typed(axis: Part) -> Iterator[Part]:
    if axis["type"].absent or axis["type"].value is None:
        yield axis["type"]


AXES.must("axis", '"type" MAY take other string values for custom axis types.', "0.4")(
    field_of("type", lambda value: value is None or text(value))
)


@AXES.should("axis", 'It SHOULD contain the field "unit" to specify the physical unit.', "0.4")
def _united(axis: Part) -> Iterator[Part]:
    if type_of(axis) in ("space", "time") and axis["unit"].absent:
        yield axis["unit"]


AXES.must("axis", '"unit" is a string.', "0.4")(field_of("unit", text))


@AXES.should("axis", 'The value of "unit" SHOULD be one of the units of UDUNITS-2.', "0.4")
def _known_units(axis: Part) -> Iterator[Part]:
    units = {"space": SPACE_UNITS, "time": TIME_UNITS}.get(type_of(axis) or "")
    if units and text(axis["unit"].value) and axis["unit"].value not in units:
        yield axis["unit"]


AXES.must("axis", '"longName": the value MUST be a string.', "0.6")(field_of("longName", text))
AXES.must("axis", '"discrete": the value MUST be a boolean.', "0.6")(field_of("discrete", boolean))

#: RFC-4: from where to where an axis of space runs.
_ORIENTATIONS = frozenset(
    "left-to-right right-to-left anterior-to-posterior posterior-to-anterior inferior-to-superior "
    "superior-to-inferior dorsal-to-ventral ventral-to-dorsal dorsal-to-palmar palmar-to-dorsal "
    "dorsal-to-plantar plantar-to-dorsal rostral-to-caudal caudal-to-rostral cranial-to-caudal "
    "caudal-to-cranial proximal-to-distal distal-to-proximal superficial-to-deep "
    "deep-to-superficial apical-to-basal basal-to-apical apex-to-base base-to-apex".split()
)


@AXES.must("axis", '"orientation" has a "type", "anatomical", and one of the known values.', "0.9")
def _oriented(axis: Part) -> Iterator[Part]:
    found = axis["orientation"]
    if not found.absent and not (
        found["type"].value == "anatomical"
        and text(found["value"].value)
        and found["value"].value in _ORIENTATIONS
    ):
        yield found


MULTISCALES.must("axes", 'The length of "axes" must be between 2 and 5.', "0.4", "0.6")(
    lambda axes: [] if not isinstance(axes.value, list) or 2 <= len(axes.value) <= 5 else [axes]  # noqa: PLR2004
)


@MULTISCALES.must(
    "axes",
    'The "axes" MUST contain 2 or 3 entries of "type:space" and MAY contain one additional entry '
    'of "type:time" and MAY contain one additional entry of "type:channel" or a null / custom '
    "type.",
    "0.4",
    "0.6",
)
def _types(axes: Part) -> Iterator[Part]:
    types = [type_of(axis) for axis in axes.objects()]
    if types and all(kind == "array" for kind in types):
        return  # 0.6: "or only entries of type `array`".
    space, time = types.count("space"), types.count("time")
    if not 2 <= space <= 3 or time > 1 or len(types) - space - time > 1:  # noqa: PLR2004
        yield Part(types, axes.path)


@MULTISCALES.must(
    "axes",
    'The entries MUST be ordered by "type": "time" first, then the "channel" or custom axis, then '
    '"space".',
    "0.4",
    "0.6",
)
def _in_order(axes: Part) -> Iterator[Part]:
    types = [type_of(axis) for axis in axes.objects()]
    ranks = [{"time": 0, "space": 2}.get(kind or "", 1) for kind in types]
    if ranks != sorted(ranks):
        yield Part(types, axes.path)


@MULTISCALES.should("axes", 'The spatial axes SHOULD be ordered as "zyx".', "0.4", "0.6")
def _zyx(axes: Part) -> Iterator[Part]:
    space = [axis["name"].value for axis in axes.objects() if type_of(axis) == "space"]
    if set(map(str, space)) <= {*"zyx"} and space != sorted(space, reverse=True):
        yield Part(space, axes.path)


# ── transformations up to 0.5 ────────────────────────────────────────────────────────────────────


@MULTISCALES.must(
    "transformations",
    "The transformation MUST only be of type `translation` or `scale`.",
    "0.4",
    "0.5",
)
def _scale_or_translation(entries: Part) -> Iterator[Part]:
    if not listing(mapping)(entries.value):
        yield entries
    for entry in entries.objects():
        if entry["type"].value not in ("scale", "translation"):
            yield entry["type"]


@MULTISCALES.must(
    "transformations", "They MUST contain exactly one `scale` transformation.", "0.4", "0.5"
)
def _one_scale(entries: Part) -> Iterator[Part]:
    types = [entry["type"].value for entry in entries.objects()]
    if types.count("scale") != 1:
        yield Part(types, entries.path)


@MULTISCALES.must(
    "transformations",
    "It MAY contain exactly one `translation`, listed after `scale`.",
    "0.4",
    "0.5",
)
def _translation_last(entries: Part) -> Iterator[Part]:
    types = [entry["type"].value for entry in entries.objects()]
    if types.count("translation") > 1 or (
        {"scale", "translation"} <= set(map(str, types))
        and types.index("translation") < types.index("scale")
    ):
        yield Part(types, entries.path)


@TRANSFORMATIONS.must(
    "transformations", "A scale or translation is stored as a list of floats.", "0.4", "0.5"
)
def _numbers(entries: Part) -> Iterator[Part]:
    for entry in entries.objects():
        key = entry["type"].value
        if key in ("scale", "translation") and not listing(number)(entry[key].value):
            yield entry[key]


@MULTISCALES.must(
    "image",
    'The length of the `scale` and `translation` array MUST be the same as the length of "axes".',
    "0.4",
    "0.5",
)
def _lengths(image: Part) -> Iterator[Part]:
    ndim = len(list(image["axes"].entries()))
    for holder in (image, *image["datasets"].objects()):
        for entry in holder["coordinateTransformations"].objects():
            for key in ("scale", "translation"):
                found = entry[key]
                if ndim and isinstance(found.value, list) and len(found.value) != ndim:
                    yield found


@MULTISCALES.should(
    "transformations", "A `scale` specifies the pixel size, which is not 0.", "0.4", "0.5"
)
def _no_zeros(entries: Part) -> Iterator[Part]:
    for entry in entries.objects():
        if listing(number)(entry["scale"].value) and 0 in entry["scale"].value:
            yield entry["scale"]


@MULTISCALES.must(
    "image",
    'The "path"s MUST be ordered from largest (i.e. highest resolution) to smallest.',
    "0.4",
)
def _coarser_and_coarser(image: Part) -> Iterator[Part]:
    before: list[float] = []
    for dataset in image["datasets"].objects():
        entries = list(dataset["coordinateTransformations"].objects())
        steps = [step for entry in entries for step in (entry, *entry["transformations"].objects())]
        scale = next((s["scale"] for s in steps if listing(number, 1)(s["scale"].value)), None)
        if scale is None:
            continue
        if len(before) == len(scale.value) and any(
            abs(b) < abs(a) for a, b in zip(before, scale.value, strict=True)
        ):
            yield scale
        before = scale.value


# ── omero ────────────────────────────────────────────────────────────────────────────────────────

OMERO.must("omero", "It MUST contain the field `channels`, a list of the channels of the image.")(
    needed("channels", listing(mapping))
)
OMERO.must("channel", "`color` is a string.")(field_of("color", text))
OMERO.must("channel", "Each object in `channels` MUST contain the field `color`.", until="0.6")(
    needed("color")
)
OMERO.must("channel", "`color` is a string of 6 hexadecimal digits.", "0.4")(
    field_of("color", lambda color: not text(color) or matching("[0-9a-fA-F]{6}")(color))
)
OMERO.must("channel", "Each object in `channels` MUST contain the field `window`.", until="0.6")(
    needed("window", mapping)
)


OMERO.must("channel", "`window` is an object.", "0.9")(field_of("window", mapping))


def _window(*keys: str) -> Check:
    def check(channel: Part) -> Iterator[Part]:
        window = channel["window"]
        if mapping(window.value):
            found = [window[key] for key in ("min", "max", "start", "end")]
            wanted = {window[key].path for key in keys}
            for part in found:
                if not number(part.value) and (part.path in wanted or not part.absent):
                    yield part

    return check


OMERO.must(
    "channel", "`window` MUST contain the fields `min`, `max`, `start` and `end`.", until="0.6"
)(_window("min", "max", "start", "end"))
OMERO.must("channel", "`window` MUST contain the fields `start` and `end`.", "0.9")(
    _window("start", "end")
)
for _key, _test in {"label": text, "family": text, "active": boolean}.items():
    OMERO.must("channel", f"`{_key}` is a {'boolean' if _key == 'active' else 'string'}.")(
        field_of(_key, _test)
    )
