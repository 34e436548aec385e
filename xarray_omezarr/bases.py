"""Metadata with one more coordinate system, or told from another one than before (0.6)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from xarray_omezarr import descriptions, multiscale, spec, systems
from xarray_omezarr.compounds import Unknown
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.graph import Node
from xarray_omezarr.notation import transform_json
from xarray_omezarr.transforms import Affine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xarray_omezarr.graph import CoordinateSystem, Edge, Graph
    from xarray_omezarr.model import Image
    from xarray_omezarr.parameters import Array
    from xarray_omezarr.transforms import Transform
    from xarray_omezarr.vectorfields import Field

#: Keys of a transformation that say where it leads, not what it is.
_ENDS = ("name", "input", "output")


def graph_of(
    document: Mapping[str, Any],
    *,
    place: str = "the metadata that the image was opened with",
    warn: Callable[[str], None] = lambda _: None,
    arrays: Callable[[str], Array] | None = None,
    fields: Callable[[str], Field] | None = None,
) -> tuple[Image, Graph]:
    """Read the systems of an image from the attributes of its group.

    By default without a warning: what is wrong with them was said when the image was opened.

    Parameters
    ----------
    document
        The attributes of the image's group.
    place, warn, arrays, fields
        As for `systems.parse`.
    """
    image = multiscale.parse_image(
        document, zarr_format=spec.format_of(document), place=place, warn=warn
    )
    graph = systems.parse(
        _multiscale(document),
        place=place,
        key="multiscales[0]",
        warn=warn,
        image=image,
        arrays=arrays,
        fields=fields,
    )
    return image, graph


def _multiscale(document: Mapping[str, Any]) -> dict[str, Any]:
    """Give the first multiscale image of a group's attributes."""
    found: dict[str, Any] = spec.ome_attributes(document, spec.format_of(document))["multiscales"][
        0
    ]
    return found


def rebased(
    document: Mapping[str, Any], system: CoordinateSystem, transform: Transform
) -> dict[str, Any]:
    """Give the attributes of an image whose intrinsic system is another one.

    Parameters
    ----------
    document
        The attributes of the image's group.
    system
        The system that is the intrinsic one now.
    transform
        The way there from the one that was.

    Returns
    -------
    dict
        New attributes. The former system, and the way from there, are gone; what led from there
        elsewhere is composed with the way back, so that all positions are the same.
    """
    result = copy.deepcopy(dict(document))
    part = _multiscale(result)
    image, _ = graph_of(document)
    if image.intrinsic is None:
        # Before 0.6 there are no other systems.
        return result
    former, new = Node(image.intrinsic), Node(system.name)
    entries = part.get("coordinateTransformations")
    if isinstance(entries, list):
        part["coordinateTransformations"] = [
            moved
            for entry in entries
            if (moved := _moved(entry, part, image, new, transform)) is not None
        ]
    kept = [
        entry
        for entry in part["coordinateSystems"]
        if not isinstance(entry, dict) or entry.get("name") not in {former.name, new.name}
    ]
    part["coordinateSystems"] = [systems.system_json(system), *kept]
    for dataset in part["datasets"]:
        for entry in dataset["coordinateTransformations"]:
            entry["output"] = {"name": new.name}
    return result


def extended(image: Image, system: CoordinateSystem, transform: Transform) -> dict[str, Any]:
    """Give the attributes of an image that has one more coordinate system.

    Parameters
    ----------
    image
        The image; its document may be of any version, or empty.
    system
        The new system.
    transform
        The way there from the intrinsic one.

    Returns
    -------
    dict
        New attributes, of version 0.6: before, there is no place for other systems.
    """
    document = dict(image.document)
    if multiscale.structure_of(_multiscale(document) if document else {}) != "systems":
        document = descriptions.image_attributes(image)
    result = copy.deepcopy(document)
    part = _multiscale(result)
    ends = {"input": {"name": image.intrinsic}, "output": {"name": system.name}}
    known = part.get("coordinateTransformations")
    part["coordinateSystems"] = [*part["coordinateSystems"], systems.system_json(system)]
    part["coordinateTransformations"] = [
        *(known if isinstance(known, list) else []),
        {**_stored(transform), **ends},
    ]
    return result


def _moved(
    entry: Any,  # noqa: ANN401 - any JSON
    part: Mapping[str, Any],
    image: Image,
    new: Node,
    transform: Transform,
) -> Any:  # noqa: ANN401
    """Give a transformation of another base; None where it led from the one to the other."""
    graph = systems.parse(
        {**part, "coordinateTransformations": [entry]},
        place="",
        key="",
        warn=lambda _: None,
        image=image,
    )
    # Those of the levels come first.
    edges = graph.edges[len(image.levels) :]
    if not edges:
        # It leads nowhere, as it did.
        return entry
    former = Node(image.intrinsic)
    ends = {edges[0].source, edges[0].target}
    if ends == {former, new}:
        return None
    return _composed(entry, edges[0], former, new, transform) if former in ends else entry


def _composed(
    entry: Mapping[str, Any], edge: Edge, former: Node, new: Node, transform: Transform
) -> dict[str, Any]:
    """Give a transformation that had its end in the former system with its end in the new one."""
    forth = edge.source == former
    step = transform.inverse() if forth else transform
    ends = {key: entry[key] for key in _ENDS if key in entry}
    ends["input" if forth else "output"] = {"name": new.name}
    if not isinstance(edge.transform, Unknown):
        both = step.then(edge.transform) if forth else edge.transform.then(step)
        try:
            return {**_stored(both.simplified()), **ends, **edge.extra}
        except OmeZarrError:
            # Fields cannot be composed, and need not be.
            pass
    inner = {key: value for key, value in entry.items() if key not in _ENDS}
    steps = [_stored(step), inner] if forth else [inner, _stored(step)]
    return {"type": "sequence", "transformations": steps, **ends}


def _stored(transform: Transform) -> dict[str, Any]:
    """Give a transformation as it is stored; a negative scale is stored as an affine one."""
    try:
        return transform_json(transform)
    except OmeZarrError:
        if not transform.is_affine:
            raise
        return transform_json(Affine.of(*transform.matrix()))
