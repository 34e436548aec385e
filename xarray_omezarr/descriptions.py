"""Model → JSON: the attributes of an image's group, in each version that is written.

What an image's own document holds besides is kept. Each check stands under the rule of the
specification that it enforces, quoted by version and section.
"""

from __future__ import annotations

import copy
from importlib import metadata
from typing import TYPE_CHECKING, Any

from xarray_omezarr import omero
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.multiscale import INTRINSIC, STRUCTURES, end_of, reached_from, structure_of
from xarray_omezarr.spec import (
    FOREIGN_KINDS,
    V3,
    ZARR_FORMATS,
    finite,
    format_of,
    image_label,
    ome_attributes,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from xarray_omezarr.model import Axis, Image, Level
    from xarray_omezarr.transforms import ScaleTranslation

#: The keys of a multiscale image that say where it lies.
_GEOMETRY = ("axes", "coordinateSystems", "datasets", "coordinateTransformations")


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
        The image; its `document` are attributes of any version, or empty.
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
        if key not in (*_GEOMETRY, "version", "name")
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
        if key not in ("multiscales", "omero", "version", *FOREIGN_KINDS)
    }
    others: dict[str, Any] = {}
    if old_ome is not old:
        others = {
            key: copy.deepcopy(value)
            for key, value in old.items()
            if key not in ("ome", "multiscales", "omero", *FOREIGN_KINDS)
        }
    elif nested:
        # Attributes of 0.4 that OME-Zarr does not know belong to somebody else: they stay outside.
        ome, others = (
            {k: v for k, v in ome.items() if k == "image-label"},
            without(ome, "image-label"),
        )
    ome["multiscales"] = [{**head, **_geometry_json(image), **multiscale}]
    channels = omero.omero_json(image, old_ome.get("omero"), resized)
    if channels is not None:
        ome["omero"] = channels
    if about is not None:
        # "`source` MAY contain `image`, the relative path to the image" (0.4 and 0.5, labels).
        own = {} if nested else {"version": image.version}
        old_label = without(image_label(old, format_of(old)), "version")
        ome["image-label"] = {**own, "source": {"image": "../../"}, **old_label}
    whole = {**others, "ome": {"version": image.version, **ome}} if nested else {**others, **ome}
    attributes = {key: finite(value) for key, value in whole.items()}
    if about:
        # After the rest, since there may be a million of them, which have been looked at.
        (attributes["ome"] if nested else attributes)["image-label"] |= about
    return attributes


def check_axes(axes: Sequence[Axis]) -> None:
    """Check that the axes are what an image of version 0.4, 0.5 or 0.6 may have.

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


def _method_metadata(method: str) -> dict[str, Any]:
    # "metadata SHOULD hold the parameters that the method was called with" (0.4, multiscales).
    return {
        "description": "Each level is reduced from the one above it.",
        "method": "xarray_omezarr.reducers.downsample",
        "version": metadata.version("xarray-omezarr"),
        "kwargs": {"method": method},
    }


def axis_json(axis: Axis) -> dict[str, Any]:
    """Give an axis as it is stored, its keys that have no field here among them."""
    known = {"name": axis.name, "type": axis.type, "unit": axis.unit, "longName": axis.long_name}
    return {**{k: v for k, v in known.items() if v is not None}, **copy.deepcopy(axis.extra)}


def _geometry_json(image: Image) -> dict[str, Any]:
    """Describe the axes of an image and where its levels lie."""
    axes = [axis_json(axis) for axis in image.axes]
    datasets = [
        {"path": level.path, "coordinateTransformations": level_json(level, image)}
        for level in image.levels
    ]
    if STRUCTURES[image.version] == "axes":
        return {"axes": axes, "datasets": datasets}
    name = image.intrinsic or INTRINSIC
    own = {"name": name, "axes": axes}
    systems, transformations = further_systems(image)
    return {
        "coordinateSystems": [own if s.get("name") == name else s for s in systems] or [own],
        "datasets": datasets,
        **({"coordinateTransformations": transformations} if transformations else {}),
    }


def level_json(level: Level, image: Image) -> list[dict[str, Any]]:
    """Say where a level lies, in the words of the image's version."""
    if STRUCTURES[image.version] == "axes":
        return _steps_json(level.transform)
    return [_transform_json(level, image.intrinsic or INTRINSIC)]


def _steps_json(transform: ScaleTranslation) -> list[dict[str, Any]]:
    # "exactly one scale, at most one translation, listed after the scale" (0.4 and 0.5).
    entries: list[dict[str, Any]] = [{"type": "scale", "scale": list(transform.scale)}]
    if any(transform.translation):
        entries.append({"type": "translation", "translation": list(transform.translation)})
    return entries


def _transform_json(level: Level, system: str) -> dict[str, Any]:
    # "exactly one transformation: a scale, or a sequence of a scale and a translation", from the
    # path of the array to the name of the intrinsic coordinate system (0.6, multiscales).
    steps = _steps_json(level.transform)
    ends = {"input": {"path": level.path}, "output": {"name": system}}
    if len(steps) == 1:
        return {**steps[0], **ends}
    return {"type": "sequence", "transformations": steps, **ends}


def further_systems(image: Image) -> tuple[list[dict[str, Any]], list[Any]]:
    """Give the coordinate systems of the document that an image came with, and what leads there.

    They are those of the image as long as its axes are the same ones, without what needs arrays
    that are not written with it. Its own system is among them.

    Returns
    -------
    systems, transformations
        As they stand in the document; empty where there is no more than the image's own system.
    """
    systems, transformations = _systems_of(image.document)
    own = next((system for system in systems if system.get("name") == image.intrinsic), None)
    axes = own.get("axes") if own is not None else None
    names = [a.get("name") for a in axes if isinstance(a, dict)] if isinstance(axes, list) else []
    if image.intrinsic is None or names != list(image.dims):
        return [], []
    kept = [entry for entry in transformations if not reads_arrays(entry)]
    if len(kept) < len(transformations):
        there = reached_from(image.intrinsic, (entry for entry in kept if isinstance(entry, dict)))
        systems = [system for system in systems if end_of(system) in there]
    return copy.deepcopy(systems), copy.deepcopy(kept)


def lost_systems(image: Image) -> list[str]:
    """Name the coordinate systems of the document that an image will not be written with."""
    kept: list[dict[str, Any]] = []
    if STRUCTURES[image.version] == "systems":
        kept, _ = further_systems(image)
    names = {end_of(system) for system in kept} | {image.intrinsic}
    there = [end_of(system) for system in _systems_of(image.document)[0]]
    return [name for name in there if name is not None and name not in names]


def _systems_of(document: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Give the coordinate systems in the attributes of an image, and what leads to them."""
    first = (ome_attributes(document, format_of(document)).get("multiscales") or [{}])[0]
    if structure_of(first) != "systems":
        return [], []
    systems, entries = first["coordinateSystems"], first.get("coordinateTransformations")
    return (
        [system for system in systems if isinstance(system, dict)],
        list(entries) if isinstance(entries, list) else [],
    )


def reads_arrays(entry: object) -> bool:
    """Say whether a transformation has its parameters in an array."""
    waiting = [entry]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "path" in item:
                return True
            waiting.extend(v for k, v in item.items() if k not in ("input", "output"))
        elif isinstance(item, list):
            waiting.extend(item)
    return False
