"""What can be told to be wrong from a file alone, put right."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import chunked, dialects, hierarchy, placement, spec
from xarray_omezarr import units as unit_names
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xarray_omezarr.hierarchy import Group
    from xarray_omezarr.model import Image
    from xarray_omezarr.stores import Place

#: So many pixels along each axis tell whether a level was sampled or averaged.
_SAMPLE = 64


def mended(place: Place, group: Group, image: Image) -> Image:
    """Give an image whose levels lie where their shapes say, in units that have their names."""
    axes = tuple(
        replace(axis, unit=unit_names.UNIT_NAMES.get(axis.unit or "", axis.unit))
        for axis in image.axes
    )
    shapes = group.shapes(image)
    levels = image.levels
    if shapes is not None and all(len(shape) == len(axes) for shape in shapes):
        sampled = _sampled(place, group, image, shapes)
        levels = placement.aligned(levels, shapes, sampled=sampled)
    return replace(image, axes=axes, levels=levels)


def _sampled(
    place: Place, group: Group, image: Image, shapes: Sequence[Sequence[int]]
) -> list[int]:
    """Find the levels whose pixels are copies of single ones, by some pixels of each."""
    whole = placement.factors(shapes)
    if image.document and dialects.first_of(image).get("type") == "nearest":
        return list(range(len(image.levels)))
    moved = [
        number
        for number, level in enumerate(image.levels)
        if any(f > 1 for f in whole[number])
        and not any(placement.relative(level.transform, image.levels[0].transform)[1])
    ]
    if not moved:
        return []
    inner = place.below(group.path) if group.path else place
    paths = [image.levels[number].path for number in (0, *moved)]
    first, *others = chunked.open_arrays(inner, paths, group.zarr_format)
    found = []
    for number, other in zip(moved, others, strict=True):
        if isinstance(first, OmeZarrError) or isinstance(other, OmeZarrError):
            continue
        if any(f.denominator != 1 for f in whole[number]):
            continue
        steps = [int(f) for f in whole[number]]
        sizes = [min(_SAMPLE if f > 1 else 1, n) for f, n in zip(steps, other.shape, strict=True)]
        starts = [(n - size) // 2 for n, size in zip(other.shape, sizes, strict=True)]
        coarse = other[tuple(slice(a, a + n) for a, n in zip(starts, sizes, strict=True))]
        fine = first[
            tuple(
                slice(a * f, (a + n) * f, f) for a, n, f in zip(starts, sizes, steps, strict=True)
            )
        ]
        if np.array_equal(coarse, fine) and np.unique(np.asarray(coarse)).size > 1:
            found.append(number)
    return found


def repaired(place: Place, group: Group, groups: Sequence[Group]) -> Mapping[str, Any]:
    """Give the attributes of a group that is no image with its version, lists and indices."""
    if group.kind is None:
        return group.attributes
    version = next(spec.declared_versions(group.attributes, group.zarr_format), None)
    if version not in spec.ZARR_FORMATS:
        known = [image.version for one in groups for image in one.images]
        version = next((v for v in known if v in spec.ZARR_FORMATS), None)
    if version is None or spec.ZARR_FORMATS[version] != group.zarr_format:
        return group.attributes
    attributes = dialects.converted(
        group.attributes, group.zarr_format, (), version, place=join(place.name, group.path)
    )
    if group.kind == "labels":
        names = _label_names(groups, group.path)
        listed = spec.label_names(
            attributes, group.zarr_format, place=group.path, warn=lambda _: None
        )
        further = [name for name in names if name not in listed]
        if further:
            attributes = spec.labels_attributes(attributes, [*listed, *further], version)
    return attributes


def _label_names(groups: Sequence[Group], labels: str) -> list[str]:
    return [
        group.path.removeprefix(f"{labels}/")
        for group in groups
        if group.label_of is not None and group.images and group.path.startswith(f"{labels}/")
    ]


def missing_lists(groups: Sequence[Group]) -> list[tuple[Group, Mapping[str, Any]]]:
    """Give the groups of label images that have no list of them."""
    found: list[tuple[Group, Mapping[str, Any]]] = []
    for image in groups:
        path = join(image.path, "labels")
        there = next((group for group in groups if group.path == path), None)
        names = _label_names(groups, path) if image.images and image.label_of is None else []
        if names and (there is None or there.kind is None):
            old = {} if there is None else there.attributes
            new = spec.labels_attributes(old, names, image.images[0].version)
            group = hierarchy.Group(
                path, image.zarr_format, old, {} if there is None else there.document
            )
            found.append((group, new))
    return found
