"""JSON → model: what the attributes of an image's group say.

Versions are dialects: what they share is read by the same functions, and how an image is read
follows from its structure more than from the version that it declares. Each check stands under the
rule of the specification that it enforces, quoted by version and section.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xarray_omezarr import omero
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.graph import connected
from xarray_omezarr.model import TYPES, Axis, Image, Level
from xarray_omezarr.spec import (
    READ_FORMATS,
    V2,
    V3,
    ZARR_FORMATS,
    check_path,
    format_of,
    ome_attributes,
    without,
)
from xarray_omezarr.transforms import ScaleTranslation
from xarray_omezarr.units import SPACE_UNITS, TIME_UNITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

#: How the axes of an image are told, which is what makes dialects of the versions: by the layout of
#: its arrays alone, by names, by objects, or as coordinate systems.
STRUCTURES = {
    "0.1": "layout",
    "0.2": "layout",
    "0.3": "names",
    "0.4": "axes",
    "0.5": "axes",
    "0.6": "systems",
    "0.9.dev1": "systems",
}
#: The axes of 0.1 and 0.2: "t, c, z, y, x" (image layout).
_LAYOUT = "tczyx"
#: Up to 0.6, "the length of axes MUST be between 2 and 5".
_MOST_AXES = 5
#: NumPy has no arrays of more axes.
_AXES_OF_ARRAYS = 64
#: Halved more often, nothing is left of any image.
_MOST_LEVELS = 64
#: The transformations that 0.6 knows.
TRANSFORMATIONS = frozenset(
    "identity scale translation mapAxis projectAxis affine rotation sequence byDimension bijection "
    "displacements coordinates".split()
)
#: What the system of the coordinates is called where nobody has given it a name.
INTRINSIC = "physical"


def parse_image(
    attributes: Mapping[str, Any],
    *,
    zarr_format: int,
    place: str,
    warn: Callable[[str], None],
    version: str | None = None,
) -> Image:
    """Read the attributes of an image's group.

    Parameters
    ----------
    attributes
        The attributes of the group, as stored.
    zarr_format
        2 or 3, the format of the group's own metadata file.
    place
        What messages call the group.
    warn
        Called with one sentence for each assumption that had to be made.
    version
        What to take the version for, whatever the attributes declare.

    Raises
    ------
    OmeZarrError
        Where the metadata contradict themselves or are of a version that is not read.
    """
    ome = ome_attributes(attributes, zarr_format)
    image = _multiscale(ome, place=place, warn=warn)
    structure = structure_of(image)
    assumed = version is None and ome.get("version") is None and image.get("version") is None
    if version is None:
        nested = ome is not attributes and zarr_format == V3
        version = _version(
            ome, image, structure, zarr_format, nested=nested, place=place, warn=warn
        )
    elif version not in READ_FORMATS:
        known = ", ".join(map(repr, READ_FORMATS))
        msg = f"version={version!r} is not read; expected one of {known}."
        raise OmeZarrError(msg)
    if ome is attributes and zarr_format == V3:
        warn(f"{place}: 'multiscales' stands outside 'ome'; read as version {version}")
    if ome is not attributes and zarr_format == V2:
        warn(f"{place}: 'ome' stands in Zarr v2 attributes; read as version {version}")
    intrinsic = None
    if structure == "systems":
        intrinsic, axes = intrinsic_of(image, place=place, warn=warn)
        _check_graph(image, intrinsic, place=place, warn=warn)
    elif structure == "layout":
        if version not in ("0.1", "0.2"):
            warn(f"{place}: 'axes' is missing; taken for t, c, z, y, x as in version 0.2")
        axes = tuple(Axis(name, TYPES[name]) for name in _LAYOUT)
    else:
        axes = _axes(image.get("axes"), "axes", place=place, warn=warn)
    _check_order(axes, version, place=place, warn=warn)
    name = image.get("name")
    return Image(
        version=version,
        axes=axes,
        levels=_levels(image, len(axes), structure, place=place, warn=warn),
        name=name if isinstance(name, str) else None,
        channels=omero.parse_channels(ome.get("omero"), place=place, warn=warn),
        # What stands beside `ome` under its names is somebody else's, and not looked at again.
        document=attributes if ome is attributes else without(attributes, "multiscales"),
        intrinsic=intrinsic,
        assumed=assumed,
    )


def _multiscale(
    ome: Mapping[str, Any], *, place: str, warn: Callable[[str], None]
) -> Mapping[str, Any]:
    multiscales = ome.get("multiscales")
    if not isinstance(multiscales, list) or not multiscales:
        msg = (
            f"{place}: 'multiscales' is {multiscales!r:.80}; expected a list with at least one "
            "multiscale image. The metadata of this group must be written anew."
        )
        raise OmeZarrError(msg)
    if not isinstance(multiscales[0], dict):
        msg = f"{place}: 'multiscales[0]' is {multiscales[0]!r:.80}; expected an object."
        raise OmeZarrError(msg)
    # "If several multiscales are given and no name is asked for, use the first" (0.4, multiscales).
    if len(multiscales) > 1:
        names = [m.get("name") if isinstance(m, dict) else m for m in multiscales[:8]]
        warn(
            f"{place}: there are {len(multiscales)} multiscales, {names!r:.200}; the first is read"
        )
    image: Mapping[str, Any] = multiscales[0]
    return image


def structure_of(image: Mapping[str, Any]) -> str:
    """Say how the axes of an image are told."""
    if "coordinateSystems" in image:
        return "systems"
    axes = image.get("axes")
    if axes is None:
        return "layout"
    strings = isinstance(axes, list) and axes and all(isinstance(axis, str) for axis in axes)
    return "names" if strings else "axes"


def _version(
    ome: Mapping[str, Any],
    image: Mapping[str, Any],
    structure: str,
    zarr_format: int,
    *,
    nested: bool,
    place: str,
    warn: Callable[[str], None],
) -> str:
    like = [v for v, told in STRUCTURES.items() if told == structure]
    assumed = next((v for v in like if READ_FORMATS[v] == zarr_format), like[-1])
    # 0.5: "the version of the OME-Zarr metadata is `ome.version`"; 0.4: `multiscales[].version`.
    key, found = ("version", ome.get("version"))
    if found is None:
        key, found = ("multiscales[0].version", image.get("version"))
        # Where all of it stands outside `ome`, that is the finding.
        if nested:
            warn(f"{place}: 'ome.version' is missing; read as version {found or assumed}")
    if found is None:
        return assumed
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        found = f"{found!r:.40}"
        warn(f"{place}: '{key}' is the number {found}; read as '{found}'")
    declared = released(found, f"{place}: '{key}'", warn)
    if STRUCTURES[declared] == structure or structure == "layout":
        return declared
    warn(f"{place}: '{key}' is '{found}', but the axes are those of {assumed}, which is taken")
    return assumed


def released(found: object, what: str, warn: Callable[[str], None]) -> str:
    """Give the version that is read, for one that a file declares."""
    if isinstance(found, str):
        if found in READ_FORMATS:
            if found not in ZARR_FORMATS and READ_FORMATS[found] == V3:
                warn(f"{what} is '{found}', a draft of a version to come; read as far as it goes")
            return found
        if found == "0.6rc0":
            return "0.6"
        if re.fullmatch(r"0\.6\.?(dev|rc)[0-9]+", found):
            warn(f"{what} is '{found}', a draft; read as 0.6")
            return "0.6"
    msg = (
        f"{what} is {found!r:.40}; the versions that can be read are {', '.join(READ_FORMATS)}. "
        "Convert the image with a tool that knows its version; or, if it is like one of these, say "
        "which: version='0.6'."
    )
    raise OmeZarrError(msg)


def names_in(document: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Give the name in the attributes of an image's group, and that of its coordinate system."""
    multiscales = ome_attributes(document, format_of(document)).get("multiscales") or [{}]
    name, first = multiscales[0].get("name"), multiscales[0]
    intrinsic = None
    if structure_of(first) == "systems":
        intrinsic, _ = intrinsic_of(first, place="", warn=lambda _: None)
    return name if isinstance(name, str) else None, intrinsic


# ── axes ──────────────────────────────────────────────────────────────────────────────────────────


def _axes(axes: object, what: str, *, place: str, warn: Callable[[str], None]) -> tuple[Axis, ...]:
    # "axes MUST be a list of dictionaries" (0.4 and 0.5), of strings (0.3).
    if not isinstance(axes, list) or not axes or not all(isinstance(a, (dict, str)) for a in axes):
        msg = (
            f"{place}: '{what}' is {axes!r:.80}; expected a list of objects, "
            'like [{"name": "y", "type": "space"}, …].'
        )
        raise OmeZarrError(msg)
    if len(axes) > _AXES_OF_ARRAYS:
        msg = f"{place}: '{what}' are {len(axes)}; no array has more than {_AXES_OF_ARRAYS}."
        raise OmeZarrError(msg)
    parsed = tuple(
        _axis(axis if isinstance(axis, dict) else {"name": axis}, f"{what}[{i}]", place, warn)
        for i, axis in enumerate(axes)
    )
    names = [axis.name for axis in parsed]
    # "The values MUST be unique across all 'name' fields".
    if len(set(names)) != len(names):
        msg = f"{place}: the axes are named {names!r:.200}; expected names that differ."
        raise OmeZarrError(msg)
    return parsed


def _axis(axis: Mapping[str, Any], what: str, place: str, warn: Callable[[str], None]) -> Axis:
    name, type_, unit = axis.get("name"), axis.get("type"), axis.get("unit")
    # "Each dictionary MUST contain the field 'name'".
    if not isinstance(name, str) or not name:
        msg = f"{place}: '{what}.name' is {name!r:.40}; expected a non-empty string."
        raise OmeZarrError(msg)
    if not isinstance(type_, str):
        type_ = TYPES.get(name)
        # 0.3 has names alone, which say the type: "MUST be unique, a subset of t, c, z, y, x".
        if len(axis) > 1 or type_ is None or set(axis) != {"name"}:
            warn(f"{place}: axis '{name}' has no type; taken for {type_ or 'an axis of no type'}")
    if unit is not None and not isinstance(unit, str):
        warn(f"{place}: the unit of axis '{name}' is {unit!r:.40}, not a string; left out")
        unit = None
    if unit and unit not in {"space": SPACE_UNITS, "time": TIME_UNITS}.get(type_ or "", [unit]):
        warn(f"{place}: '{unit:.40}', the unit of axis '{name}', is no unit of {type_} that the "
             "specification knows; kept as it is")  # fmt: skip
    long_name = axis.get("longName")
    known = {"name", "type", "unit"} | ({"longName"} if isinstance(long_name, str) else set())
    return Axis(
        name=name,
        type=type_,
        unit=unit or None,
        long_name=long_name if isinstance(long_name, str) else None,
        extra={key: value for key, value in axis.items() if key not in known},
    )


def _check_order(
    axes: Sequence[Axis], version: str, *, place: str, warn: Callable[[str], None]
) -> None:
    if version == "0.9.dev1":
        # RFC-3: any axes, in any order.
        return
    names = ", ".join(axis.name for axis in axes[:8])
    if len(axes) > _MOST_AXES:
        warn(f"{place}: there are {len(axes)} axes, {names}, where there may be {_MOST_AXES}")
    # "The order MUST be time, then channel or custom, then space" (0.4 to 0.6, axes).
    order = axis_order(axes)
    if order != sorted(order):
        warn(f"{place}: the axes are in the order {names}, not time, channel, space; kept so")


def axis_order(axes: Sequence[Axis]) -> list[int]:
    """Give the order that axes are stored in: time, then channel or other, then space."""
    rank = {"time": 0, "space": 2}
    return sorted(range(len(axes)), key=lambda i: rank.get(axes[i].type or "", 1))


def fitted(image: Image, ndim: int, *, place: str, warn: Callable[[str], None]) -> Image:
    """Give an image whose axes nobody has told the ones that an array of so many has.

    The last ones of t, c, z, y and x: what 0.1 and 0.2 say of five.
    """
    ome = ome_attributes(image.document, format_of(image.document))
    if structure_of(ome["multiscales"][0]) != "layout" or not 1 < ndim < len(image.axes):
        return image
    axes = image.axes[-ndim:]
    names = ", ".join(axis.name for axis in axes)
    warn(f"{place}: nothing says what the {ndim} axes of the arrays are; taken for {names}")
    levels = tuple(
        replace(
            level,
            transform=ScaleTranslation(
                level.transform.scale[-ndim:], level.transform.translation[-ndim:]
            ),
        )
        for level in image.levels
    )
    return replace(image, axes=axes, levels=levels)


# ── coordinate systems ────────────────────────────────────────────────────────────────────────────


def intrinsic_of(
    image: Mapping[str, Any], *, place: str, warn: Callable[[str], None]
) -> tuple[str, tuple[Axis, ...]]:
    """Find the system that the levels are brought to: "the intrinsic coordinate system" (0.6)."""
    systems = image["coordinateSystems"]
    if not isinstance(systems, list) or not any(isinstance(system, dict) for system in systems):
        msg = (
            f"{place}: 'coordinateSystems' is {systems!r:.80}; expected a list of objects with a "
            "name and axes."
        )
        raise OmeZarrError(msg)
    numbered = [(i, system) for i, system in enumerate(systems) if isinstance(system, dict)]
    outputs = []
    datasets = image.get("datasets")
    for dataset in datasets if isinstance(datasets, list) else ():
        entries = dataset.get("coordinateTransformations") if isinstance(dataset, dict) else None
        first = entries[0] if isinstance(entries, list) and entries else None
        outputs.append(end_of(first.get("output")) if isinstance(first, dict) else None)
    name = next((output for output in outputs if output is not None), None)
    # "All datasets MUST have the same output" (0.6, multiscales).
    if len(set(outputs)) > 1:
        warn(f"{place}: the datasets lead to the coordinate systems {outputs!r:.120}; all of them "
             f"are taken to lie in {name!r:.40}")  # fmt: skip
    named = [pair for pair in numbered if name is not None and pair[1].get("name") == name]
    if not named:
        said = "name none" if name is None else f"name {name!r:.40}, which there is not"
        warn(f"{place}: as their coordinate system the datasets {said}; the first one is taken")
    i, system = (named or numbered)[0]
    found = system.get("name")
    axes = _axes(system.get("axes"), f"coordinateSystems[{i}].axes", place=place, warn=warn)
    return found if isinstance(found, str) and found else INTRINSIC, axes


def end_of(end: object) -> str | None:
    """Give the name of the system that a transformation begins or ends in; drafts have no more."""
    name = end.get("name") if isinstance(end, dict) else end
    return name if isinstance(name, str) else None


def _check_graph(
    image: Mapping[str, Any], intrinsic: str, *, place: str, warn: Callable[[str], None]
) -> None:
    """Warn of further transformations that are not understood: they never harm the image."""
    entries = image.get("coordinateTransformations", [])
    if not isinstance(entries, list):
        warn(f"{place}: 'coordinateTransformations' is {entries!r:.80}, not a list; left alone")
        return
    known: list[Mapping[str, Any]] = []
    unknown: dict[int, object] = {}
    for i, entry in enumerate(entries):
        kind = entry.get("type") if isinstance(entry, dict) else None
        if isinstance(kind, str) and kind in TRANSFORMATIONS:
            known.append(entry)
        else:
            unknown[i] = kind
    if unknown:
        i, kind = next(iter(unknown.items()))
        more = f" (and {len(unknown) - 1} others)" if len(unknown) > 1 else ""
        warn(f"{place}: 'coordinateTransformations[{i}]'{more} is of type {kind!r:.40}, which is "
             "not known; kept as it is")  # fmt: skip
    reached = reached_from(intrinsic, known)
    names = [s.get("name") for s in image["coordinateSystems"] if isinstance(s, dict)]
    apart = [name for name in names if isinstance(name, str) and name not in reached]
    # "The graph of coordinate systems and transformations MUST be connected" (0.6).
    if apart:
        warn(f"{place}: no transformation leads from '{intrinsic}' to the coordinate systems "
             f"{apart!r:.120}")  # fmt: skip


def reached_from(intrinsic: str, entries: Iterable[Mapping[str, Any]]) -> set[str]:
    """Give the systems of an image that transformations connect with its own."""
    edges = []
    for entry in entries:
        ends = [entry.get("input"), entry.get("output")]
        one, other = map(end_of, ends)
        inside = not any(isinstance(end, dict) and end.get("path") for end in ends)
        if inside and one is not None and other is not None:
            edges.append((one, other))
    return connected([intrinsic], edges)


# ── levels ────────────────────────────────────────────────────────────────────────────────────────


def _levels(
    image: Mapping[str, Any],
    ndim: int,
    structure: str,
    *,
    place: str,
    warn: Callable[[str], None],
) -> tuple[Level, ...]:
    datasets = image.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        msg = f"{place}: 'datasets' is {datasets!r:.80}; expected a list with a level or more."
        raise OmeZarrError(msg)
    if len(datasets) > _MOST_LEVELS:
        msg = f"{place}: 'datasets' are {len(datasets)}; no image has more than {_MOST_LEVELS}."
        raise OmeZarrError(msg)
    overall = ScaleTranslation.identity(ndim)
    # From 0.6 on, these lead to other systems than that of the coordinates.
    if "coordinateTransformations" in image and structure != "systems":
        overall = _transform(
            image["coordinateTransformations"], ndim, f"{place}: the multiscales-level", warn
        )
    levels = []
    for i, dataset in enumerate(datasets):
        key = f"datasets[{i}]"
        if not isinstance(dataset, dict):
            msg = f"{place}: '{key}' is {dataset!r:.80}; expected an object with a path."
            raise OmeZarrError(msg)
        given = dataset.get("path")
        path = check_path(given, f"{place}: '{key}.path'")
        if path != given:
            warn(f"{place}: '{key}.path' is {given!r:.80}; read as '{path}'")
        entries = dataset.get("coordinateTransformations")
        if entries not in (None, []):
            if structure == "systems":
                entries = _steps(entries, f"{place}: the '{key}'", warn)
            own = _transform(entries, ndim, f"{place}: the '{key}'", warn)
        else:
            # "MUST contain exactly one scale" (0.4 and 0.5). Before, there were none.
            if structure in ("axes", "systems"):
                warn(f"{place}: '{key}' has no coordinateTransformations; its coordinates are "
                     "pixel indices")  # fmt: skip
            own = ScaleTranslation.identity(ndim)
        # "They are applied after the coordinateTransformations of the datasets" (0.4 and 0.5).
        transform = _composed(own, overall, f"{place}: '{key}'")
        levels.append(Level(path, _without_zeros(transform, f"{place}: '{key}'", warn)))
    return _finest_first(levels, place=place, warn=warn)


def _finest_first(
    levels: Sequence[Level], *, place: str, warn: Callable[[str], None]
) -> tuple[Level, ...]:
    # "MUST be ordered from largest to smallest" (all versions, datasets).
    sizes = [math.prod(map(abs, level.transform.scale)) for level in levels]
    if sizes == sorted(sizes):
        return tuple(levels)
    ordered = sorted(levels, key=lambda level: math.prod(map(abs, level.transform.scale)))
    paths = [level.path for level in ordered]
    warn(f"{place}: the datasets are not ordered from finest to coarsest; read as {paths!r:.120}")
    return tuple(ordered)


def _steps(entries: object, what: str, warn: Callable[[str], None]) -> list[Any]:
    """Give the scales and translations that the transformation of a dataset is made of (0.6)."""
    if not isinstance(entries, list):
        msg = f"{what} coordinateTransformations are {entries!r:.80}; expected a list."
        raise OmeZarrError(msg)
    # "MUST contain exactly one transformation": identity, scale, or a sequence of scale and
    # translation (0.6, multiscales).
    if len(entries) > 1:
        warn(f"{what} has {len(entries)} coordinateTransformations; the first is taken")
    steps: list[Any] = []
    waiting = [entries[0]]
    while waiting:
        entry = waiting.pop()
        inner = entry.get("transformations") if isinstance(entry, dict) else None
        if isinstance(inner, list) and entry.get("type") == "sequence":
            waiting.extend(reversed(inner))
        else:
            steps.append(entry)
    return steps


def _transform(
    entries: object, ndim: int, what: str, warn: Callable[[str], None]
) -> ScaleTranslation:
    if not isinstance(entries, list):
        msg = f"{what} coordinateTransformations are {entries!r:.80}; expected a list."
        raise OmeZarrError(msg)
    result = ScaleTranslation.identity(ndim)
    for i, entry in enumerate(entries):
        kind = entry.get("type") if isinstance(entry, dict) else None
        if kind == "identity":
            continue
        if kind not in ("scale", "translation"):
            msg = (
                f"{what} coordinateTransformations[{i}] is {entry!r:.80}; "
                "expected a scale or a translation."
            )
            raise OmeZarrError(msg)
        if kind not in entry and "path" in entry:
            warn(f"{what} {kind} lies in the array {entry['path']!r:.80}, which is not read; "
                 "coordinates are without it")  # fmt: skip
            continue
        numbers = entry.get(kind)
        # "The length of the array MUST be the same as the number of axes" (0.4 and 0.5).
        if not isinstance(numbers, list) or len(numbers) != ndim:
            msg = f"{what} {kind} is {numbers!r:.80}; expected {ndim} numbers, one for each axis."
            raise OmeZarrError(msg)
        if not all(
            isinstance(n, (int, float)) and not isinstance(n, bool) and omero.is_finite(n)
            for n in numbers
        ):
            msg = f"{what} {kind} is {numbers!r:.80}; expected finite numbers."
            raise OmeZarrError(msg)
        values = tuple(float(n) for n in numbers)
        if kind == "translation" and i == 0 and len(entries) > 1:
            # "the translation MUST be listed after the scale": swapping would change the result.
            warn(f"{what} translation is listed before the scale; applied in the order listed")
        step = (
            ScaleTranslation(values, (0.0,) * ndim)
            if kind == "scale"
            else ScaleTranslation((1.0,) * ndim, values)
        )
        result = _composed(result, step, what)
    return result


def _composed(first: ScaleTranslation, then: ScaleTranslation, what: str) -> ScaleTranslation:
    try:
        return first.then(then)
    except OverflowError as error:
        msg = (
            f"{what}: its transformations combine to numbers beyond the range of float64; expected "
            "finite ones."
        )
        raise OmeZarrError(msg) from error


def _without_zeros(
    transform: ScaleTranslation, what: str, warn: Callable[[str], None]
) -> ScaleTranslation:
    """Replace scales of zero, which some converters write for an unknown size."""
    zeros = [i for i, scale in enumerate(transform.scale) if scale == 0]
    if zeros:
        warn(f"{what}: the scale of axis {zeros} is 0; its coordinates are pixel indices")
    return transform.replaced(dict.fromkeys(zeros, (1.0, 0.0)))
