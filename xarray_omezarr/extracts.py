"""A part of a hierarchy: which of its objects belong to it, and what its metadata then say.

Groups keep all that they say, but for what names something that is left out: wells, label images,
levels, channels. Where an image is cropped, its levels say where they now begin.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from xarray_omezarr import census, descriptions, documents, multiscale, spec
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.extents import Extent, extents
from xarray_omezarr.multiscale import STRUCTURES
from xarray_omezarr.transforms import ScaleTranslation, exact

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from xarray_omezarr.hierarchy import Array, Group
    from xarray_omezarr.model import Image, Level

    Box = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Wanted:
    """What of the images of a hierarchy is asked for; None for all of it."""

    levels: tuple[int | str, ...] | None = None
    """Numbers, from the end as well, and paths."""
    labels: tuple[str, ...] | None = None
    region: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Cut:
    """An array of which a part is wanted."""

    array: Array
    box: Box
    """The first pixel along each axis, and the one after the last."""
    metadata: Mapping[str, Any]
    """What then stands in its `zarr.json`, or in its `.zarray`."""


@dataclass
class Extract:
    """A part of a hierarchy."""

    left: set[str] = field(default_factory=set)
    """The paths below which nothing is wanted."""
    dropped: set[str] = field(default_factory=set)
    """The keys of metadata that are not wanted."""
    documents: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Metadata that are others than they were, by their keys."""
    cuts: list[Cut] = field(default_factory=list)

    def has(self, key: str) -> bool:
        """Say whether an object belongs to it."""
        return key not in self.dropped and not is_below(key, self.left)


def is_below(key: str, paths: Collection[str]) -> bool:
    """Say whether a key is one of some paths, or below it.

    Examples
    --------
    >>> is_below("A/1/0/zarr.json", {"A/1"}), is_below("A/10", {"A/1"})
    (True, False)
    """
    if not paths:
        return False
    ends = (i for i, sign in enumerate(key) if sign == "/")
    return key in paths or any(key[:end] in paths for end in ends)


def extract(
    groups: Sequence[Group],
    wanted: Wanted,
    *,
    wells: tuple[set[str], set[str]] | None,
    place: str,
    warn: Callable[[str], None],
) -> Extract:
    """Choose a part of a hierarchy.

    Parameters
    ----------
    groups
        All of its groups, those above before those below.
    wanted
        What is asked for of its images.
    wells
        The paths of the wells of the plate that are wanted, and of those that are not.
    place
        What messages call its root.
    warn
        Called with one sentence for each thing that is left out besides.

    Raises
    ------
    OmeZarrError
        Where something that is asked for is not there.
    """
    found = Extract()
    edited: dict[str, dict[str, Any]] = {}
    if wells is not None:
        edited[""] = _without_wells(groups[0], *wells)
        found.left |= wells[1]
        rows = {path.rpartition("/")[0] for path in wells[1]}
        rows -= {path.rpartition("/")[0] for path in wells[0]}
        found.dropped |= {join(row, file) for row in rows for file in documents.METADATA_FILES}
    if wanted.labels is not None:
        edited |= _without_labels(groups, wanted.labels, found, place)
    if wanted.levels is not None or wanted.region is not None:
        _cut_images(groups, wanted, found, edited, place=place, warn=warn)
    _describe(groups, edited, found)
    return found


# ── wells and labels ─────────────────────────────────────────────────────────────────────────────


def _opened(group: Group) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the attributes of a group to be changed, and what stands in them of OME-Zarr."""
    attributes = dict(group.attributes)
    ome = spec.ome_attributes(attributes, group.zarr_format)
    if ome is attributes:
        return attributes, attributes
    attributes["ome"] = dict(ome)
    return attributes, attributes["ome"]


def _without_wells(plate: Group, kept: set[str], left: set[str]) -> dict[str, Any]:
    attributes, ome = _opened(plate)
    entries = [
        one
        for one in ome["plate"]["wells"]
        if not (isinstance(one, dict) and str(one.get("path")).rstrip("/") in left - kept)
    ]
    ome["plate"] = {**ome["plate"], "wells": entries}
    return attributes


def _without_labels(
    groups: Sequence[Group], names: Sequence[str], found: Extract, place: str
) -> dict[str, dict[str, Any]]:
    folders = {group.path: group for group in groups if _is_folder(group)}
    there: dict[str, str] = {}
    for group in groups:
        if group.label_of is not None and not _is_folder(group):
            there[group.path] = group.path.removeprefix(f"{join(group.label_of, 'labels')}/")
    absent = [name for name in names if name not in there.values()]
    if absent:
        known = census.some(list(dict.fromkeys(there.values()))) if there else "none"
        msg = f"{place} has no label images {census.some(absent)}; there are {known}."
        raise OmeZarrError(msg)
    edited = {}
    for path, folder in folders.items():
        own = {inner: name for inner, name in there.items() if inner.startswith(f"{path}/")}
        if not any(name in names for name in own.values()):
            found.left.add(path)
            continue
        found.left |= {inner for inner, name in own.items() if name not in names}
        attributes, ome = _opened(folder)
        if isinstance(ome.get("labels"), list):
            listed = [n for n in ome["labels"] if str(n).rstrip("/") in names]
            if listed != ome["labels"]:
                ome["labels"] = listed
                edited[path] = attributes
    return edited


def _is_folder(group: Group) -> bool:
    """Say whether a group is the one that the label images of an image are in."""
    return group.label_of is not None and group.path == join(group.label_of, "labels")


# ── levels and regions ───────────────────────────────────────────────────────────────────────────


def _cut_images(
    groups: Sequence[Group],
    wanted: Wanted,
    found: Extract,
    edited: dict[str, dict[str, Any]],
    *,
    place: str,
    warn: Callable[[str], None],
) -> None:
    by_path = {group.path: group for group in groups}
    regions: dict[str, dict[str, Extent]] = {}
    for group in groups:
        if not group.images or is_below(group.path, found.left):
            continue
        image = by_path.get(group.label_of or "") if group.label_of is not None else None
        model = image if image is not None and image.images else group
        name = join(place, group.path)
        if wanted.region is not None and model.path not in regions:
            whole = _finest(model).shape
            regions[model.path] = extents(wanted.region, model.images[0], whole, place=name)
        attributes, ome = _opened(group)
        multiscales = list(ome["multiscales"])
        for number, one in enumerate(group.images):
            numbers = _levels(one, model.images[0], wanted.levels, name)
            region = _for_label(regions.get(model.path, {}), group, number)
            datasets = _datasets(group, number, numbers, region, found)
            if not datasets:
                # A label image may have nothing but pixels that are larger than the region.
                warn(f"{name} has no pixel in the region, and is left out")
                found.left.add(group.path)
                _unlist(by_path, group, edited)
                break
            multiscales[number] = {**multiscales[number], "datasets": datasets}
        else:
            ome["multiscales"] = multiscales
            if model.path in regions:
                _cut_channels(group, ome, regions[model.path])
            if attributes != group.attributes:
                edited[group.path] = attributes


def _for_label(region: Mapping[str, Extent], group: Group, number: int) -> Mapping[str, Extent]:
    """Leave channels out of a region of a label image with one: it labels all of its image's."""
    image = group.images[number]
    arrays = {array.path: array.shape for array in group.arrays}
    shape = arrays.get(join(group.path, image.levels[0].path))
    if group.label_of is None or shape is None:
        return region
    alone = {a.name for a, n in zip(image.axes, shape, strict=True) if a.is_channel and n == 1}
    return {dim: extent for dim, extent in region.items() if dim not in alone}


def _finest(group: Group) -> Array:
    path = join(group.path, group.images[0].levels[0].path)
    found = next((array for array in group.arrays if array.path == path), None)
    if found is None:
        msg = f"{path} is missing, the finest level of its image, of which there is no region."
        raise OmeZarrError(msg)
    return found


def _levels(image: Image, model: Image, asked: Sequence[int | str] | None, name: str) -> list[int]:
    """Give the numbers of the levels that are wanted of an image, or of one that is like it."""
    if asked is None:
        return list(range(len(image.levels)))
    paths = [level.path for level in model.levels]
    count = len(paths)
    chosen = set()
    for one in asked:
        number = paths.index(one) if one in paths else one
        if isinstance(number, str) and number.removeprefix("-").isdecimal():
            number = int(number)
        if not isinstance(number, int) or not -count <= number < count:
            msg = f"{name} has no level {one!r:.40}; there are 0 to {count - 1}."
            raise OmeZarrError(msg)
        chosen.add(number % count)
    if image is model or len(image.levels) == count:
        return sorted(chosen)
    return sorted({_nearest(image, model, number) for number in chosen})


def _nearest(image: Image, model: Image, number: int) -> int:
    """Give the level of an image whose pixels are as large as those of another one's, or nearly."""
    shared = [
        (image.dims.index(axis.name), i)
        for i, axis in enumerate(model.axes)
        if axis.type == "space" and axis.name in image.dims
    ]
    other = model.levels[number].transform.scale

    def unlike(level: Level) -> float:
        ratios = (abs(level.transform.scale[i] / other[j]) for i, j in shared)
        return sum(max(ratio, 1 / ratio) for ratio in ratios)

    return min(range(len(image.levels)), key=lambda i: unlike(image.levels[i]))


def _datasets(
    group: Group,
    number: int,
    numbers: Sequence[int],
    region: Mapping[str, Extent],
    found: Extract,
) -> list[dict[str, Any]]:
    """Describe the levels of an image that are wanted, and the part of each."""
    image = group.images[number]
    arrays = {array.path: array for array in group.arrays}
    bare = _without_overall(group, number)
    kept: dict[str, list[Any] | None] = {}
    outside = False
    for i, level in enumerate(image.levels):
        path = join(group.path, level.path)
        array = arrays.get(path)
        box = None if array is None else _box(image, level, array.shape, region)
        # Of those coarser than one that has no pixel there, none is wanted: one might, by chance.
        outside = outside or (array is not None and box is None)
        if i not in numbers or outside or (region and array is None):
            found.left.add(path)
            continue
        kept[level.path] = None
        if array is None or box in (None, tuple((0, n) for n in array.shape)):
            continue
        assert box is not None  # noqa: S101 - there is one where there is an array
        shape = [stop - start for start, stop in box]
        found.cuts.append(Cut(array, box, {**array.metadata, "shape": shape}))
        if any(start for start, _ in box):
            kept[level.path] = _moved(bare, level.path, [start for start, _ in box], path)
    found.left -= {join(group.path, path) for path in kept}
    ome = spec.ome_attributes(group.attributes, group.zarr_format)
    result = []
    for dataset in ome["multiscales"][number]["datasets"]:
        path = str(dataset["path"]).rstrip("/")
        if path in kept:
            moved = kept[path]
            result.append(
                dict(dataset) if moved is None else {**dataset, "coordinateTransformations": moved}
            )
    return result


def _without_overall(group: Group, number: int) -> Image:
    """Give an image whose levels lie where their datasets alone say."""
    image = group.images[number]
    attributes, ome = _opened(group)
    first = ome["multiscales"][number]
    if STRUCTURES[image.version] != "systems":
        first = spec.without(first, "coordinateTransformations")
    ome["multiscales"] = [first]
    parsed = multiscale.parse_image(
        spec.without_table(attributes),
        zarr_format=group.zarr_format,
        place=group.path,
        warn=lambda _: None,
        version=image.version,
    )
    return multiscale.fitted(parsed, len(image.axes), place=group.path, warn=lambda _: None)


def _box(
    image: Image, level: Level, shape: Sequence[int], region: Mapping[str, Extent]
) -> Box | None:
    """Give the pixels of a level that are in a region; None where there are none."""
    box = []
    for i, (axis, size) in enumerate(zip(image.axes, shape, strict=True)):
        extent = region.get(axis.name)
        pixels = (0, size) if extent is None else extent.like(axis).pixels(level.transform, i, size)
        if pixels[0] == pixels[1] and extent is not None:
            return None
        box.append(pixels)
    return tuple(box)


def _moved(image: Image, path: str, starts: Sequence[int], name: str) -> list[Any]:
    """Say where a level lies that begins at another pixel."""
    if STRUCTURES[image.version] not in ("axes", "systems"):
        msg = (
            f"{name} is of version {image.version}, which cannot say where a part of an image "
            "lies. Download all of it, and upgrade it (omezarr upgrade); or cut after that."
        )
        raise OmeZarrError(msg)
    level = next(level for level in image.levels if level.path == path)
    scale, translation = level.transform.scale, level.transform.translation
    begins = [
        # On the decimals that the numbers show: 0.1 and three pixels of 0.1 are 0.4.
        # Channels lie nowhere, and are not moved.
        float(exact(t) + exact(s) * n) if n and not axis.is_channel else t
        for axis, s, t, n in zip(image.axes, scale, translation, starts, strict=True)
    ]
    moved = replace(level, transform=ScaleTranslation(scale, tuple(begins)))
    return descriptions.level_json(moved, image)


def _cut_channels(group: Group, ome: dict[str, Any], region: Mapping[str, Extent]) -> None:
    """Leave out the channels that are not wanted, and default planes that may be elsewhere."""
    omero = ome.get("omero")
    if not isinstance(omero, dict):
        return
    image, array = group.images[0], _finest(group)
    box = _box(image, image.levels[0], array.shape, region) or ()
    cut = [
        (axis, pixels)
        for axis, pixels, size in zip(image.axes, box, array.shape, strict=False)
        if pixels != (0, size)
    ]
    omero = copy.deepcopy(omero)
    for axis, (start, stop) in cut:
        if isinstance(omero.get("rdefs"), dict):
            omero["rdefs"].pop(f"default{axis.name.upper()}", None)
        if axis.is_channel and isinstance(omero.get("channels"), list):
            omero["channels"] = omero["channels"][start:stop]
    ome["omero"] = omero


def _unlist(by_path: Mapping[str, Group], label: Group, edited: dict[str, dict[str, Any]]) -> None:
    """Take a label image off the list of its image's."""
    assert label.label_of is not None  # noqa: S101 - an image has a pixel in any region of it
    path = join(label.label_of, "labels")
    if path not in by_path:
        return
    attributes = edited.get(path) or _opened(by_path[path])[0]
    ome: Any = spec.ome_attributes(attributes, by_path[path].zarr_format)
    name = label.path.removeprefix(f"{path}/")
    ome["labels"] = [one for one in ome.get("labels", []) if str(one).rstrip("/") != name]
    edited[path] = attributes


# ── documents ────────────────────────────────────────────────────────────────────────────────────


def _describe(
    groups: Iterable[Group], edited: Mapping[str, Mapping[str, Any]], found: Extract
) -> None:
    """Give the metadata of what has changed, and of all that sum up what has."""
    changed = {*edited, *found.left, *(cut.array.path for cut in found.cuts)}
    above = {path[:i] for path in changed for i, sign in enumerate(path) if sign == "/"} | {""}
    for group in groups:
        path, v3 = group.path, group.zarr_format == spec.V3
        if path in edited and path not in found.left:
            _drop_other(path, group.zarr_format, found)
            if v3:
                document = {**group.document, "attributes": edited[path]}
                found.documents[join(path, "zarr.json")] = document
            else:
                found.documents[join(path, ".zattrs")] = edited[path]
        if path not in above | changed:
            continue
        # Consolidated metadata are those of what is no longer there. Readers do without.
        found.dropped.add(join(path, ".zmetadata"))
        key = join(path, "zarr.json")
        if v3 and "consolidated_metadata" in group.document:
            document = dict(found.documents.get(key, group.document))
            del document["consolidated_metadata"]
            found.documents[key] = document
    for cut in found.cuts:
        _drop_other(cut.array.path, cut.array.zarr_format, found)
        file = documents.ARRAY_METADATA[cut.array.zarr_format]
        found.documents[join(cut.array.path, file)] = cut.metadata


def _drop_other(path: str, zarr_format: int, found: Extract) -> None:
    """Leave out the metadata of the other format of Zarr, which would say what is no longer so."""
    other = ("zarr.json",) if zarr_format == spec.V2 else (".zgroup", ".zarray", ".zattrs")
    found.dropped |= {join(path, file) for file in other}
