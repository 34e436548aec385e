"""What relates the images of a scene: transformations between their systems and those of the scene.

A scene has no list of its images: those that its transformations begin or end in are its images
(0.6, "scene" metadata).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from xarray_omezarr import descriptions, multiscale, spec
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xarray_omezarr.model import Image

_ENDS = ("input", "output")


def scene_paths(scene: object, *, place: str) -> tuple[str, ...]:
    """Give the paths of the images that the transformations of a scene begin and end in.

    Raises
    ------
    OmeZarrError
        Where one leads out of the scene.
    """
    ends = [end for entry in _entries(scene) for end in _ends(entry)]
    paths = [end["path"] for end in ends if end.get("path")]
    found = [spec.check_path(path, f"{place}: a path of 'scene'") for path in paths]
    return tuple(dict.fromkeys(found))


def _entries(scene: object) -> list[Mapping[str, Any]]:
    entries = scene.get("coordinateTransformations") if isinstance(scene, dict) else None
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []


def _ends(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [end for side in _ENDS if isinstance(end := entry.get(side), dict)]


def _path(end: Mapping[str, Any]) -> str:
    path = end.get("path")
    return path.rstrip("/") if isinstance(path, str) else ""


def _systems(scene: object) -> list[Mapping[str, Any]]:
    systems = scene.get("coordinateSystems") if isinstance(scene, dict) else None
    return [one for one in systems if isinstance(one, dict)] if isinstance(systems, list) else []


def names_of(scene: object) -> list[str]:
    """Give the names of the coordinate systems that a scene has itself, in its order."""
    return [name for one in _systems(scene) if isinstance(name := one.get("name"), str)]


def systems_of(image: Image) -> dict[str, Mapping[str, Any]]:
    """Give the coordinate systems that an image is written with, its own one first."""
    own = image.intrinsic or multiscale.INTRINSIC
    axes = [descriptions.axis_json(axis) for axis in image.axes]
    further, _ = descriptions.further_systems(image)
    return {own: {"name": own, "axes": axes}} | {
        str(one["name"]): one for one in further if one.get("name") not in (None, own)
    }


def additions(
    scene: object,
    path: str,
    systems: Sequence[str],
    *,
    known: Sequence[Mapping[str, Any]] = (),
    place: str,
) -> list[dict[str, Any]]:
    """Give the transformations that an image is to be added to a scene by.

    Parameters
    ----------
    scene
        The object "scene" as it is stored.
    path
        Where the image is, below the scene.
    systems
        The names of the coordinate systems that it has.
    known
        Transformations that lead to it, as another scene had them; where none of them leads to
        what this scene has, the image is related by a system of which both have one by that name.
    place
        What messages call the scene.

    Returns
    -------
    list of dict
        Empty where the scene has the image already.

    Raises
    ------
    OmeZarrError
        Where nothing relates it, or the scene speaks of a system of it that it has not.

    Examples
    --------
    >>> scene = {"coordinateSystems": [{"name": "world", "axes": []}]}
    >>> additions(scene, "tile", ["physical", "world"], place="a.zarr")[0]["input"]
    {'path': 'tile', 'name': 'world'}
    """
    its_own = names_of(scene)
    there = scene_paths(scene, place=place)
    fitting = [entry for entry in known if _leads(entry, path, there, its_own)]
    shared = [name for name in its_own if name in systems]
    listed = [one for one in _entries(scene) if path in map(_path, _ends(one))]
    if not listed and not fitting and not shared:
        names = ", ".join(map(repr, its_own)) or "none"
        example = its_own[0] if its_own else "world"
        msg = (
            f"{place} is a scene, and nothing says how {path} lies to its other images. Its "
            f"coordinate systems are: {names}; the image has: {', '.join(map(repr, systems))}. "
            f"Give it one of the scene's, by .omezarr.assign_coordinate_system({example!r}, …). "
            "Nothing was written."
        )
        raise OmeZarrError(msg)
    if not listed and not fitting:
        return [_same(path, shared[0])]
    ends = [end for one in listed or fitting for end in _ends(one) if _path(end) == path]
    spoken = [end.get("name") for end in ends]
    missing = [name for name in dict.fromkeys(spoken) if name not in systems]
    if missing:
        msg = (
            f"{place} is a scene that relates {path} by its coordinate system {missing[0]!r}; the "
            f"image to be written has: {', '.join(map(repr, systems))}. Give it that one, by "
            f".omezarr.assign_coordinate_system({missing[0]!r}, …). Nothing was written."
        )
        raise OmeZarrError(msg)
    return [] if listed else copy.deepcopy([dict(entry) for entry in fitting])


def _leads(
    entry: Mapping[str, Any], path: str, images: Sequence[str], systems: Sequence[str]
) -> bool:
    """Say whether a transformation leads from an image to what a scene has, or from there to it."""
    one, other = _ends(entry) if len(_ends(entry)) == len(_ENDS) else ({}, {})
    if _path(one) != path:
        one, other = other, one
    return _path(one) == path and (
        _path(other) in images if _path(other) else other.get("name") in systems
    )


def extended(scene: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give a scene with more transformations."""
    old = scene.get("coordinateTransformations")
    former = old if isinstance(old, list) else []
    return {**scene, "coordinateTransformations": [*former, *entries]}


def of_images(images: Mapping[str, Image]) -> dict[str, Any]:
    """Give the scene of images that share coordinate systems; an empty one where they share none.

    Parameters
    ----------
    images
        By their paths below the scene. A system that is the own one of each of them says nothing:
        it is called alike by default.
    """
    every = {path: systems_of(image) for path, image in images.items()}
    own = {next(iter(systems)) for systems in every.values()}
    shared = {
        name: one
        for name, one in next(iter(every.values()), {}).items()
        if all(name in systems for systems in every.values()) and own != {name}
    }
    if not shared:
        return {}
    scene = {"coordinateSystems": copy.deepcopy([dict(one) for one in shared.values()])}
    return extended(scene, [_same(path, name) for path in images for name in shared])


def _same(path: str, name: str) -> dict[str, Any]:
    """Say that a system of an image is that of the scene."""
    # "identity: the default transformation" (0.6).
    return {"type": "identity", "input": {"path": path, "name": name}, "output": {"name": name}}
