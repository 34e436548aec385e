"""The attributes of a group, said in another version; and what that version has no words for.

Images go through `spec`, geometry and all. What describes plates, wells, series and lists of labels
is the same in all versions, but for where it stands and where the version is named.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xarray_omezarr import descriptions, placement, spec
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.transforms import ScaleTranslation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xarray_omezarr.model import Image

#: What OME-Zarr says of a group: at the top of its attributes until 0.4, within `ome` from 0.5 on.
OURS = (*spec.KINDS, "omero", "image-label")
#: Versions whose images have neither scale nor unit.
UNMEASURED = ("0.1", "0.2", "0.3")


def converted(
    attributes: Mapping[str, Any],
    zarr_format: int,
    images: Sequence[Image],
    version: str,
    *,
    place: str,
) -> dict[str, Any]:
    """Give the attributes that a group has in another version, or in the same one written anew.

    Parameters
    ----------
    attributes
        Its attributes as they are stored.
    zarr_format
        The format of Zarr that they are stored in.
    images
        What each of its multiscale images says; its geometry is what is written.
    version
        The version to be written: 0.4, 0.5 or 0.6.
    place
        What messages call the group.

    Raises
    ------
    OmeZarrError
        Where the version cannot say what an image is.
    """
    ome = spec.ome_attributes(attributes, zarr_format)
    nested = ome is not attributes
    if not nested and not any(key in ome for key in OURS):
        # A group that OME-Zarr says nothing of, or a stranger's.
        return copy.deepcopy(dict(attributes))
    ours = {key: copy.deepcopy(ome[key]) for key in ome if key in OURS}
    outside = {k: v for k, v in attributes.items() if k not in OURS and not (nested and k == "ome")}
    others = copy.deepcopy(outside)
    extras: dict[str, Any] = {}
    if nested:
        extras = {k: copy.deepcopy(v) for k, v in ome.items() if k not in (*OURS, "version")}
    if "multiscales" in ours:
        ours["multiscales"] = [_multiscale(image, version, place) for image in images]
    v3 = spec.ZARR_FORMATS[version] == spec.V3
    for key in (*spec.DATED, "omero"):
        about = ours.get(key)
        if isinstance(about, dict):
            dated = not v3 and (key in spec.DATED or "version" in about)
            bare = {k: v for k, v in about.items() if k != "version"}
            ours[key] = {"version": version, **bare} if dated else bare
    if isinstance(ours.get("plate"), dict):
        ours["plate"] = _plate(ours["plate"])
    whole = {**others, **extras, **ours}
    if v3:
        whole = {**others, "ome": {"version": version, **extras, **ours}}
    written: dict[str, Any] = spec.finite(whole)
    return written


def _multiscale(image: Image, version: str, place: str) -> dict[str, Any]:
    if any(spec.is_beyond(version, s) for level in image.levels for s in level.transform.scale):
        msg = (
            f"{place}: a scale is negative, which version 0.6 cannot say. Open the image, turn its "
            "axis round by .isel(x=slice(None, None, -1)), and write it by to_zarr; or take 0.5."
        )
        raise OmeZarrError(msg)
    wanted = replace(image, version=version, channels=None)
    (new,) = spec.ome_attributes(descriptions.image_attributes(wanted), spec.ZARR_FORMATS[version])[
        "multiscales"
    ]
    old = first_of(image)
    found: dict[str, Any] = {**new, "datasets": _with_extras(new["datasets"], old)}
    if "coordinateSystems" in old and "coordinateSystems" in new:
        # Here they keep what they read arrays for, which stay where they are.
        own = [s for s in new["coordinateSystems"] if s.get("name") == image.intrinsic]
        found["coordinateSystems"] = [
            own[0] if own and isinstance(s, dict) and s.get("name") == image.intrinsic else s
            for s in copy.deepcopy(old["coordinateSystems"])
        ]
        if "coordinateTransformations" in old:
            entries = copy.deepcopy(old["coordinateTransformations"])
            found["coordinateTransformations"] = entries
    return found


def first_of(image: Image) -> Mapping[str, Any]:
    """Give the multiscale image, as it stands in the document."""
    document = image.document
    ome = spec.ome_attributes(document, spec.format_of(document))
    first: Mapping[str, Any] = ome["multiscales"][0]
    return first


def _with_extras(new: Sequence[Mapping[str, Any]], old: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Keep what datasets say besides where they lie."""
    known = ("path", "coordinateTransformations")
    extras = {
        str(one["path"]).rstrip("/"): {k: v for k, v in one.items() if k not in known}
        for one in old["datasets"]
    }
    return [{**one, **copy.deepcopy(extras.get(one["path"], {}))} for one in new]


def _plate(plate: dict[str, Any]) -> dict[str, Any]:
    """Say of each well in which row and column it is, where that is missing.

    "wells: each MUST contain rowIndex and columnIndex" (from 0.4 on), "path: the row name, a
    slash, and the column name".
    """
    names = {
        side: [one.get("name") for one in told if isinstance(one, dict)]
        for side in ("rows", "columns")
        if isinstance(told := plate.get(side), list)
    }
    wells = []
    for old in plate.get("wells") or ():
        well = old
        told = well.get("path") if isinstance(well, dict) else None
        row, slash, column = told.partition("/") if isinstance(told, str) else ("", "", "")
        if slash and row in names.get("rows", ()) and column in names.get("columns", ()):
            indices = {
                "path": told,
                "rowIndex": names["rows"].index(row),
                "columnIndex": names["columns"].index(column),
            }
            well = {**indices, **well}
        wells.append(well)
    return {**plate, "wells": wells} if "wells" in plate else plate


def losses(
    attributes: Mapping[str, Any], zarr_format: int, images: Sequence[Image], version: str
) -> list[str]:
    """Name what the attributes of a group say that another version has no words for."""
    ome = spec.ome_attributes(attributes, zarr_format)
    lost = []
    systems = version in ("0.4", "0.5")
    if systems and "scene" in ome:
        lost.append("'scene', which says how its images lie to each other")
    for image in images if systems else ():
        old = first_of(image)
        if "coordinateSystems" not in old:
            continue
        names = descriptions.lost_systems(replace(image, version=version))
        if names:
            lost.append(f"the coordinate systems {', '.join(map(repr, names))}")
        if old.get("coordinateTransformations"):
            lost.append("the coordinateTransformations that lead to other systems")
    if spec.ZARR_FORMATS[version] == spec.V2 and ome is not attributes:
        both = [key for key in ome if key in attributes and key != "version"]
        if both:
            lost.append(f"one of two attributes each of the name {', '.join(map(repr, both))}")
    return lost


def without_scene(attributes: Mapping[str, Any], zarr_format: int) -> dict[str, Any]:
    """Give the attributes of a group without what only 0.6 knows of it."""
    ome = spec.ome_attributes(attributes, zarr_format)
    bare = {key: value for key, value in ome.items() if key != "scene"}
    return bare if ome is attributes else {**attributes, "ome": bare}


def measured(
    image: Image, shapes: Sequence[Sequence[int]], *, place: str, warn: Callable[[str], None]
) -> Image:
    """Give an image of a version that knows no pixel sizes those that its shapes tell."""
    known = ScaleTranslation.identity(len(image.axes))
    if image.version not in UNMEASURED or any(level.transform != known for level in image.levels):
        return image
    warn(
        f"{place}: version {image.version} has no pixel sizes; they are written as 1, and those of "
        "the further levels as their shapes tell. update_metadata(…) says what they are."
    )
    return replace(image, levels=placement.measured(image.levels, shapes))
