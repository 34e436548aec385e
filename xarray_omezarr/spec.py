"""JSON ⇄ model: the only place that knows the keys of the metadata.

Versions are dialects: what they share is read and written by the same functions. Each check stands
under the rule of the specification that it enforces, quoted by version and section.
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.model import TYPES, Axis, Channel, Image, Level, Window
from xarray_omezarr.transforms import ScaleTranslation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

#: The formats of Zarr.
V2, V3 = 2, 3

#: Each version that is read and written, with the Zarr format it is stored in.
ZARR_FORMATS = {"0.4": V2, "0.5": V3}

#: What a group of a hierarchy is, by the key that says so; the first that is there decides.
#: "Readers: if `plate` is present, it takes precedence" (0.4, bioformats2raw.layout).
KINDS = {
    "plate": "plate",
    "well": "well",
    "scene": "scene",
    "multiscales": "image",
    "bioformats2raw.layout": "series",
    "series": "series",
    "labels": "labels",
}

#: Keys that describe another group than that of an image; they are never copied into one.
_FOREIGN_KINDS = ("plate", "well", "scene", "bioformats2raw.layout", "series", "labels")

#: Unit names of 0.4 and 0.5 (UDUNITS-2), "axes" metadata.
SPACE_UNITS = frozenset(
    "angstrom attometer centimeter decimeter exameter femtometer foot gigameter hectometer inch "
    "kilometer megameter meter micrometer mile millimeter nanometer parsec petameter picometer "
    "terameter yard yoctometer yottameter zeptometer zettameter".split()
)
TIME_UNITS = frozenset(
    "attosecond centisecond day decisecond exasecond femtosecond gigasecond hectosecond hour "
    "kilosecond megasecond microsecond millisecond minute nanosecond petasecond picosecond second "
    "terasecond yoctosecond yottasecond zeptosecond zettasecond".split()
)


def ome_attributes(attributes: Mapping[str, Any], zarr_format: int) -> Mapping[str, Any]:
    """Give the part of a group's attributes that OME-Zarr has written: `ome` from 0.5 on."""
    ome = attributes.get("ome")
    if isinstance(ome, dict) and (zarr_format == V3 or "multiscales" not in attributes):
        return ome
    return attributes


def kind(attributes: Mapping[str, Any], zarr_format: int) -> str | None:
    """Say what a group is: "image", "plate", "well", "series", "scene", "labels" or nothing."""
    ome = ome_attributes(attributes, zarr_format)
    return next((kind for key, kind in KINDS.items() if key in ome), None)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def parse_image(
    attributes: Mapping[str, Any], *, zarr_format: int, place: str, warn: Callable[[str], None]
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

    Raises
    ------
    OmeZarrError
        Where the metadata contradict themselves or are of a version that is not read.
    """
    ome = ome_attributes(attributes, zarr_format)
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
        names = [m.get("name") if isinstance(m, dict) else m for m in multiscales]
        warn(
            f"{place}: there are {len(multiscales)} multiscales, {names!r:.200}; the first is read"
        )
    image = multiscales[0]
    version = _version(ome, image, zarr_format=zarr_format, place=place, warn=warn)
    if ome is attributes and zarr_format == V3:
        warn(f"{place}: 'multiscales' stands outside 'ome'; read as version {version}")
    if ome is not attributes and zarr_format == V2:
        warn(f"{place}: 'ome' stands in Zarr v2 attributes; read as version {version}")
    axes = _axes(image.get("axes"), place=place, warn=warn)
    name = image.get("name")
    return Image(
        version=version,
        axes=axes,
        levels=_levels(image, len(axes), place=place, warn=warn),
        name=name if isinstance(name, str) else None,
        channels=_channels(ome.get("omero"), place=place, warn=warn),
        document=attributes,
    )


def _version(
    ome: Mapping[str, Any],
    image: Mapping[str, Any],
    *,
    zarr_format: int,
    place: str,
    warn: Callable[[str], None],
) -> str:
    assumed = next(v for v, f in ZARR_FORMATS.items() if f == zarr_format)
    # 0.5: "the version of the OME-Zarr metadata is `ome.version`"; 0.4: `multiscales[].version`.
    key, found = ("version", ome.get("version"))
    if found is None:
        key, found = ("multiscales[0].version", image.get("version"))
        if zarr_format == V3:
            warn(f"{place}: 'ome.version' is missing; read as version {found or assumed}")
    if found is None:
        return assumed
    if isinstance(found, float):
        warn(f"{place}: '{key}' is the number {found}; read as '{found}'")
        found = str(found)
    axes = image.get("axes")
    if (
        found in ("0.1", "0.2", "0.3")
        and isinstance(axes, list)
        and any(isinstance(axis, dict) for axis in axes)
    ):
        warn(f"{place}: '{key}' is '{found}', but the axes are those of {assumed}, which is taken")
        found = assumed
    if found not in ZARR_FORMATS:
        known = ", ".join(ZARR_FORMATS)
        msg = (
            f"{place}: '{key}' is {found!r:.40}; the versions that can be read are {known}. "
            "Convert the image with a tool that knows its version."
        )
        raise OmeZarrError(msg)
    return str(found)


def _axes(axes: object, *, place: str, warn: Callable[[str], None]) -> tuple[Axis, ...]:
    # "axes MUST be a list of dictionaries" (0.4 and 0.5, "axes" metadata).
    if not isinstance(axes, list) or not axes or not all(isinstance(axis, dict) for axis in axes):
        msg = (
            f"{place}: 'axes' is {axes!r:.80}; expected a list of objects, "
            'like [{"name": "y", "type": "space"}, …].'
        )
        raise OmeZarrError(msg)
    parsed = []
    for i, axis in enumerate(axes):
        name, type_, unit = axis.get("name"), axis.get("type"), axis.get("unit")
        # "Each dictionary MUST contain the field 'name'".
        if not isinstance(name, str) or not name:
            msg = f"{place}: 'axes[{i}].name' is {name!r:.40}; expected a non-empty string."
            raise OmeZarrError(msg)
        if not isinstance(type_, str):
            type_ = TYPES.get(name)
            warn(f"{place}: axis '{name}' has no type; taken for {type_ or 'an axis of no type'}")
        if unit is not None and not isinstance(unit, str):
            warn(f"{place}: the unit of axis '{name}' is {unit!r:.40}, not a string; left out")
            unit = None
        if unit and unit not in {"space": SPACE_UNITS, "time": TIME_UNITS}.get(type_ or "", [unit]):
            warn(f"{place}: '{unit}', the unit of axis '{name}', is no unit of {type_} that the "
                 "specification knows; kept as it is")  # fmt: skip
        long_name = axis.get("longName")
        known = {"name", "type", "unit"} | ({"longName"} if isinstance(long_name, str) else set())
        parsed.append(
            Axis(
                name=name,
                type=type_,
                unit=unit or None,
                long_name=long_name if isinstance(long_name, str) else None,
                extra={key: value for key, value in axis.items() if key not in known},
            )
        )
    names = [axis.name for axis in parsed]
    # "The values MUST be unique across all 'name' fields".
    if len(set(names)) != len(names):
        msg = f"{place}: the axes are named {names}; expected names that differ from each other."
        raise OmeZarrError(msg)
    return tuple(parsed)


def _levels(
    image: Mapping[str, Any], ndim: int, *, place: str, warn: Callable[[str], None]
) -> tuple[Level, ...]:
    datasets = image.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        msg = f"{place}: 'datasets' is {datasets!r:.80}; expected a list with a level or more."
        raise OmeZarrError(msg)
    overall = ScaleTranslation.identity(ndim)
    if "coordinateTransformations" in image:
        overall = _transform(
            image["coordinateTransformations"], ndim, f"{place}: the multiscales-level", warn
        )
    levels = []
    for i, dataset in enumerate(datasets):
        key = f"datasets[{i}]"
        if not isinstance(dataset, dict):
            msg = f"{place}: '{key}' is {dataset!r:.80}; expected an object with a path."
            raise OmeZarrError(msg)
        path = check_path(dataset.get("path"), f"{place}: '{key}.path'")
        # "MUST contain exactly one scale" (0.4 and 0.5).
        if dataset.get("coordinateTransformations") not in (None, []):
            own = _transform(
                dataset["coordinateTransformations"], ndim, f"{place}: the '{key}'", warn
            )
        else:
            warn(
                f"{place}: '{key}' has no coordinateTransformations; its coordinates are "
                "pixel indices"
            )
            own = ScaleTranslation.identity(ndim)
        # "They are applied after the coordinateTransformations of the datasets" (0.4 and 0.5).
        transform = own.then(overall)
        levels.append(Level(path, _without_zeros(transform, f"{place}: '{key}'", warn)))
    return tuple(levels)


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
            isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(_float(n))
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
        result = result.then(step)
    return result


def _float(number: float) -> float:
    """Convert a JSON number, of which Python's may be integers beyond any float."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _without_zeros(
    transform: ScaleTranslation, what: str, warn: Callable[[str], None]
) -> ScaleTranslation:
    """Replace scales of zero, which some converters write for an unknown size."""
    if not all(math.isfinite(n) for n in (*transform.scale, *transform.translation)):
        msg = f"{what}: its transformations combine to {transform}; expected finite numbers."
        raise OmeZarrError(msg)
    zeros = [i for i, scale in enumerate(transform.scale) if scale == 0]
    if zeros:
        warn(f"{what}: the scale of axis {zeros} is 0; its coordinates are pixel indices")
    return transform.replaced(dict.fromkeys(zeros, (1.0, 0.0)))


def check_path(path: object, what: str) -> str:
    """Check that a path in metadata leads to something below its group."""
    if not isinstance(path, str) or not path.strip("/"):
        msg = f"{what} is {path!r:.80}; expected the path of an array below the group."
        raise OmeZarrError(msg)
    parts = path.rstrip("/").split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\\" in path:
        msg = f"{what} is {path!r:.80}; a path must stay below its own group."
        raise OmeZarrError(msg)
    return "/".join(parts)


def _channels(
    omero: object, *, place: str, warn: Callable[[str], None]
) -> tuple[Channel, ...] | None:
    # omero is transitional (0.4 and 0.5), so nothing in it may make an image unreadable.
    if omero is None:
        return None
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list):
        warn(f"{place}: 'omero.channels' is {channels!r:.40}, not a list; left out")
        return None
    parsed = []
    for i, channel in enumerate(channels):
        if not isinstance(channel, dict):
            warn(f"{place}: 'omero.channels[{i}]' is {channel!r:.40}, not an object; left out")
            parsed.append(Channel())
            continue
        label, color, active = (channel.get(key) for key in ("label", "color", "active"))
        hexadecimal = color.lstrip("#") if isinstance(color, str) else ""
        if color is not None and not re.fullmatch("[0-9a-fA-F]{6}", hexadecimal):
            warn(f"{place}: the colour of channel {i} is {color!r:.40}, not six hexadecimal digits")
            hexadecimal = ""
        window = channel.get("window")
        numbers = {
            key: float(value)
            for key, value in (window.items() if isinstance(window, dict) else ())
            if key in ("start", "end", "min", "max")
            and isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(_float(value))
        }
        parsed.append(
            Channel(
                label=label if isinstance(label, str) and label else None,
                color=hexadecimal or None,
                window=Window(**numbers),
                active=active if isinstance(active, bool) else None,
            )
        )
    return tuple(parsed)


def without_table(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Give the attributes of a label image without the properties and colours of its labels."""
    result = dict(attributes)
    if isinstance(result.get("ome"), dict):
        result["ome"] = without_table(result["ome"])
    if isinstance(result.get("image-label"), dict):
        about = result["image-label"]
        kept = {key: value for key, value in about.items() if key not in ("properties", "colors")}
        result["image-label"] = kept
    return result


def format_of(document: Mapping[str, Any]) -> int:
    """Say which format of Zarr the attributes of an image's group come from."""
    return V2 if "multiscales" in document else V3


def image_name(document: Mapping[str, Any]) -> str | None:
    """Give the name in the attributes of an image's group."""
    multiscales = ome_attributes(document, format_of(document)).get("multiscales") or [{}]
    name = multiscales[0].get("name")
    return name if isinstance(name, str) else None


def label_names(
    attributes: Mapping[str, Any], zarr_format: int, *, place: str, warn: Callable[[str], None]
) -> list[str]:
    """Read the list of an image's label images; what is wrong with it never harms the image."""
    ome = ome_attributes(attributes, zarr_format)
    if zarr_format == V3 and ome is attributes and "labels" in ome:
        # 0.5: "the attributes of the group MUST contain the key `labels`" within `ome`.
        warn(f"{place}: 'labels' stands outside 'ome'; read all the same")
    elif zarr_format == V3 and "labels" in ome and "version" not in ome:
        warn(f"{place}: 'ome.version' is missing; read all the same")
    listed = ome.get("labels", [])
    if not isinstance(listed, list):
        warn(f"{place}: 'labels' is {listed!r:.80}, not a list; left out")
        return []
    names = []
    for i, name in enumerate(listed):
        try:
            names.append(check_path(name, f"{place}: 'labels[{i}]'"))
        except OmeZarrError as error:
            warn(f"{error} Left out.")
    return list(dict.fromkeys(names))


def image_label(attributes: Mapping[str, Any], zarr_format: int) -> Mapping[str, Any]:
    """Give what the attributes of a label image say of its labels."""
    found = ome_attributes(attributes, zarr_format).get("image-label")
    return found if isinstance(found, dict) else {}


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def image_attributes(
    image: Image,
    *,
    method: str | None = None,
    resized: Collection[str] = (),
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give the attributes of the group of an image, in the image's version.

    What the image's own document holds besides is kept: unknown keys, the type and the metadata
    that its writer gave, and the `omero` settings of the channels that are still there.

    Parameters
    ----------
    image
        The image; its `document` are attributes of version 0.4 or 0.5, or empty.
    method
        How the lower levels were made, where they were made anew.
    resized
        The axes that are not as long as they were in the document: a default plane on them is
        no longer known to be the one that was meant.
    about
        Of a label image, the `properties` and `colors`; None for any other.

    Returns
    -------
    dict
        JSON that can be stored as it is.
    """
    old = image.document
    old_ome = ome_attributes(old, format_of(old))
    nested = ZARR_FORMATS[image.version] == V3
    first = (old_ome.get("multiscales") or [{}])[0]
    multiscale = {
        key: copy.deepcopy(value)
        for key, value in first.items()
        # Geometry is never copied: it comes from the coordinates, in full in each dataset.
        if key not in ("axes", "datasets", "coordinateTransformations", "version", "name")
    }
    head: dict[str, Any] = {} if nested else {"version": image.version}
    if image.name is not None:
        head["name"] = image.name
    if method is not None:
        multiscale["type"] = method
        former = multiscale.get("metadata")
        multiscale["metadata"] = {
            **(former if isinstance(former, dict) else {}),
            **_method_metadata(method),
        }
    ome: dict[str, Any] = {
        key: copy.deepcopy(value)
        for key, value in old_ome.items()
        if key not in ("multiscales", "omero", "version", *_FOREIGN_KINDS)
    }
    others: dict[str, Any] = {}
    if old_ome is not old:
        others = {
            key: copy.deepcopy(value)
            for key, value in old.items()
            if key not in ("ome", "multiscales", "omero", *_FOREIGN_KINDS)
        }
    elif nested:
        # Attributes of 0.4 that OME-Zarr does not know belong to somebody else: they stay outside.
        ome, others = {}, ome
    ome["multiscales"] = [
        {
            **head,
            "axes": [_axis_json(axis) for axis in image.axes],
            "datasets": [
                {"path": level.path, "coordinateTransformations": _transform_json(level.transform)}
                for level in image.levels
            ],
            **multiscale,
        }
    ]
    omero = _omero_json(image, old_ome.get("omero"), resized)
    if omero is not None:
        ome["omero"] = omero
    if about is not None:
        # "`source` MAY contain `image`, the relative path to the image" (0.4 and 0.5, labels).
        own = {} if nested else {"version": image.version}
        old_label = {k: v for k, v in ome.get("image-label", {}).items() if k != "version"}
        ome["image-label"] = {**own, "source": {"image": "../../"}, **old_label}
    whole = {**others, "ome": {"version": image.version, **ome}} if nested else {**others, **ome}
    attributes = {key: _finite(value) for key, value in whole.items()}
    if about:
        # After the rest, since there may be a million of them, which have been looked at.
        (attributes["ome"] if nested else attributes)["image-label"] |= about
    return attributes


def labels_attributes(
    attributes: Mapping[str, Any], names: Sequence[str], version: str
) -> dict[str, Any]:
    """Give the attributes of a group of labels with this list of label images."""
    old = ome_attributes(attributes, V3)
    known = {key: value for key, value in old.items() if key not in ("labels", "version")}
    if ZARR_FORMATS[version] == V2:
        return {**known, "labels": list(names)}
    others = {} if old is attributes else {k: v for k, v in attributes.items() if k != "ome"}
    # 0.5: "the `labels` group MUST contain `ome.labels`", and `ome` its version.
    return {**others, "ome": {"version": version, **known, "labels": list(names)}}


def check_axes(axes: Sequence[Axis]) -> None:
    """Check that the axes are what an image of version 0.4 or 0.5 may have.

    Raises
    ------
    OmeZarrError
        With the rule that is broken.
    """
    types = [axis.type for axis in axes]
    space, time = types.count("space"), types.count("time")
    rules = {
        # "The length of 'axes' MUST be between 2 and 5".
        "two to five axes": 2 <= len(axes) <= 5,  # noqa: PLR2004
        # "MUST contain 2 or 3 entries of type:space".
        "two or three axes of space": 2 <= space <= 3,  # noqa: PLR2004
        # "MAY contain one additional entry of type:time".
        "at most one axis of time": time <= 1,
        # "and MAY contain one additional entry of type:channel or a null / custom type".
        "at most one axis of channels or of another type": len(axes) - space - time <= 1,
    }
    for rule, holds in rules.items():
        if not holds:
            found = ", ".join(f"{axis.name} ({axis.type})" for axis in axes)
            msg = (
                f"An OME-Zarr image has {rule}; found {found}. Select (.isel), add a dimension "
                "(.expand_dims), or write the parts one by one."
            )
            raise OmeZarrError(msg)


def axis_order(axes: Sequence[Axis]) -> list[int]:
    """Give the order that axes are stored in: time, then channel or other, then space."""
    rank = {"time": 0, "space": 2}
    return sorted(range(len(axes)), key=lambda i: rank.get(axes[i].type or "", 1))


def complete_channels(channels: Sequence[Channel], dtype: np.dtype[Any]) -> tuple[Channel, ...]:
    """Fill in what `omero` has to say of each channel and nobody has said.

    "Each channel MUST contain color and window" (0.4 and 0.5). The range of a window is that of
    the dtype, from 0 to 1 for floating point, and what is shown is all of it.
    """
    lowest: float
    highest: float
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        lowest, highest = int(info.min), int(info.max)
    else:
        lowest, highest = 0.0, 1.0
    completed = []
    for channel in channels:
        window = channel.window
        low = lowest if window.min is None else window.min
        high = highest if window.max is None else window.max
        completed.append(
            replace(
                channel,
                color=channel.color or "FFFFFF",
                window=Window(
                    start=low if window.start is None else window.start,
                    end=high if window.end is None else window.end,
                    min=low,
                    max=high,
                ),
            )
        )
    return tuple(completed)


def _method_metadata(method: str) -> dict[str, Any]:
    # "metadata SHOULD hold the parameters that the method was called with" (0.4, multiscales).
    return {
        "description": "Each level is reduced from the one above it.",
        "method": "xarray_omezarr.reducers.downsample",
        "version": metadata.version("xarray-omezarr"),
        "kwargs": {"method": method},
    }


def _axis_json(axis: Axis) -> dict[str, Any]:
    known = {"name": axis.name, "type": axis.type, "unit": axis.unit, "longName": axis.long_name}
    return {**{k: v for k, v in known.items() if v is not None}, **copy.deepcopy(axis.extra)}


def _transform_json(transform: ScaleTranslation) -> list[dict[str, Any]]:
    # "exactly one scale, at most one translation, listed after the scale" (0.4 and 0.5).
    entries: list[dict[str, Any]] = [{"type": "scale", "scale": list(transform.scale)}]
    if any(transform.translation):
        entries.append({"type": "translation", "translation": list(transform.translation)})
    return entries


def _omero_json(image: Image, old: object, resized: Collection[str]) -> dict[str, Any] | None:
    """Merge the channels of an image into the `omero` object that it came with."""
    known = old if isinstance(old, dict) else {}
    if image.channels is None:
        return copy.deepcopy(known) or None
    if not image.channels:
        return None
    omero = {k: copy.deepcopy(v) for k, v in known.items() if k not in ("channels", "version")}
    if "version" in known and image.version == "0.4":
        omero["version"] = image.version
    if isinstance(omero.get("rdefs"), dict):
        for dim in resized:
            omero["rdefs"].pop(f"default{dim.upper()}", None)
    former = _former_channels(image.channels, known.get("channels"))
    omero["channels"] = [
        _channel_json(channel, extra) for channel, extra in zip(image.channels, former, strict=True)
    ]
    return omero


def _former_channels(channels: Sequence[Channel], old: object) -> list[dict[str, Any]]:
    """Find, for each channel, the object that it was read from; an empty one where it is new."""
    objects = [dict(c) if isinstance(c, dict) else {} for c in old] if isinstance(old, list) else []
    labels = distinct_labels([c.get("label") for c in objects])
    by_label = {label: c for label, c in zip(labels, objects, strict=True) if label is not None}
    complete = len(objects) == len(channels)
    kept = {channel.label for channel in channels}
    former = []
    for i, channel in enumerate(channels):
        if channel.label in by_label:
            former.append(by_label[channel.label])
        elif complete and labels[i] not in kept:
            # A renamed channel is still the same one where none was dropped or moved.
            former.append({k: v for k, v in objects[i].items() if k != "label"})
        else:
            former.append({})
    return former


def _channel_json(channel: Channel, old: Mapping[str, Any]) -> dict[str, Any]:
    new = copy.deepcopy(dict(old))
    # A label made distinct on reading goes back as it was: it was found by that name.
    for key in ("label", "color", "active"):
        value = getattr(channel, key)
        if value is not None and not (key == "label" and new.get(key)):
            new[key] = value
    window = dict(new["window"]) if isinstance(new.get("window"), dict) else {}
    for key in ("min", "max", "start", "end"):
        value = getattr(channel.window, key)
        if value is not None and window.get(key) != value:
            whole = isinstance(value, int) or (value.is_integer() and repr(value) != "-0.0")
            window[key] = int(value) if whole else value
    if window:
        new["window"] = window
    return new


def distinct_labels(labels: Sequence[object]) -> list[str | None]:
    """Make equal channel labels distinct by a number: GFP, GFP becomes GFP, GFP (2).

    An index coordinate with equal labels cannot be aligned. What is no label stays None.

    Examples
    --------
    >>> distinct_labels(["GFP", "DAPI", "GFP"])
    ['GFP', 'DAPI', 'GFP (2)']
    """
    taken = {label for label in labels if isinstance(label, str) and label}
    seen: set[str] = set()
    result: list[str | None] = []
    for label in labels:
        if not isinstance(label, str) or not label:
            result.append(None)
            continue
        new, number = label, 1
        while new in seen or (number > 1 and new in taken):
            number += 1
            new = f"{label} ({number})"
        seen.add(new)
        result.append(new)
    return result


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Replace what JSON has no word for (NaN, infinities), which may come with an old document."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
