"""A hierarchy as it is stored: its groups, and the arrays of its images.

What OME-Zarr names is found by its own lists, what lies in between by its path. Anything else that
a folder holds, like tables, belongs to somebody else and is never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from xarray_omezarr import (
    dialects,
    documents,
    formats,
    multiscale,
    plates,
    relations,
    spec,
    storage,
)
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from xarray_omezarr.model import Image
    from xarray_omezarr.stores import Place

#: The files that say what stands at a path, and whether somebody is writing there.
_FILES = ("zarr.json", ".zgroup", ".zattrs", ".zarray", storage.JOURNAL, storage.UPDATES)


@dataclass(frozen=True)
class Array:
    """An array of an image."""

    path: str
    """Below the root of the hierarchy."""
    zarr_format: int
    metadata: Mapping[str, Any]
    """What stands in its `zarr.json`, or in its `.zarray`."""
    attributes: Mapping[str, Any]
    dims: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        return tuple(self.metadata["shape"])


@dataclass(frozen=True)
class Group:
    """A group of a hierarchy."""

    path: str
    """Below the root of the hierarchy, which is ''."""
    zarr_format: int
    attributes: Mapping[str, Any]
    document: Mapping[str, Any]
    """All of its `zarr.json`; empty for Zarr v2."""
    images: tuple[Image, ...] = ()
    """What each of its multiscale images says."""
    arrays: tuple[Array, ...] = ()
    """The arrays of these that are there."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What stands in its metadata of the other format, if there are any, and is a stranger's."""
    label_of: str | None = None
    """The path of the image that it is a label image of."""

    @property
    def kind(self) -> str | None:
        """What the group is, by its attributes."""
        return spec.kind(self.attributes, self.zarr_format)

    @property
    def depth(self) -> int:
        """How many groups are above it."""
        return len(self.path.split("/")) if self.path else 0

    def shapes(self, image: Image) -> list[tuple[int, ...]] | None:
        """Give the shapes of an image's levels, if all of its arrays are there."""
        by_path = {array.path: array.shape for array in self.arrays}
        paths = [join(self.path, level.path) for level in image.levels]
        return [by_path[path] for path in paths] if set(paths) <= set(by_path) else None


@dataclass(frozen=True)
class _Candidate:
    """Something that may be at a path."""

    wanted: str | None = None
    """What it has to be, to count."""
    label_of: str | None = None
    next_in: str | None = None
    """The series whose images are numbered, which this may be one of."""
    zarr_format: int | None = None
    """The format that it is in where there are both."""
    dims: tuple[str, ...] | None = None
    """The dimensions, of an array."""


def walk(
    place: Place,
    *,
    warn: Callable[[str], None],
    formats: Mapping[str, int] | None = None,
    wanted: Callable[[str], bool] = lambda _: True,
) -> list[Group]:
    """Find the groups of a hierarchy, those above before those below; empty where there is none.

    Parameters
    ----------
    place
        The root.
    warn
        Called with each assumption that the metadata of an image need.
    formats
        The format of Zarr to read, for groups that may have metadata of both.
    wanted
        Says of a path whether it, and what lies below it, is looked at.

    Raises
    ------
    OmeZarrError
        Where metadata are broken, or somebody is writing to the hierarchy.
    """
    groups: list[Group] = []
    arrays: dict[str, Array] = {}
    seen: set[str] = set()
    waiting = {"": _Candidate()}
    while waiting:
        seen |= set(waiting)
        further: dict[str, _Candidate] = {}
        for path, files in _read(place, list(waiting)).items():
            candidate = waiting[path]
            inner = place.below(path) if path else place
            if candidate.dims is not None:
                array = _array(inner, path, files, candidate)
                if array is not None:
                    arrays[path] = array
                continue
            group = _group(
                inner, path, files, candidate, zarr_format=(formats or {}).get(path), warn=warn
            )
            if group is not None:
                groups.append(group)
                for child, one in _children(inner, group, candidate):
                    further[child] = _both(further.get(child), one)
        waiting = {path: one for path, one in further.items() if path not in seen and wanted(path)}
    return [_complete(place, group, arrays, warn) for group in groups]


def check(place: Place, kinds: Iterable[str | None]) -> None:
    """Check that there is a hierarchy, by the kinds of groups that were found.

    Raises
    ------
    OmeZarrError
        Where there is no group, or none that OME-Zarr names.
    """
    if not any(kinds):
        raise storage.nothing_there(place)


def _both(one: _Candidate | None, other: _Candidate) -> _Candidate:
    """Join what is known of a path; that something lies below it makes it count in any case."""
    if one is None:
        return other
    richer = other if one == _Candidate() else one
    return replace(richer, wanted=None) if None in (one.wanted, other.wanted) else richer


def _read(place: Place, paths: Sequence[str]) -> dict[str, dict[str, bytes]]:
    found = {}
    for start in range(0, len(paths), storage.REQUESTS):
        some = paths[start : start + storage.REQUESTS]
        keys = [join(path, file) for path in some for file in _FILES]
        contents = iter(storage.read_bytes(place, *keys))
        for path in some:
            pairs = [(file, next(contents)) for file in _FILES]
            found[path] = {file: content for file, content in pairs if content is not None}
    return found


def _array(
    place: Place, path: str, files: Mapping[str, bytes], candidate: _Candidate
) -> Array | None:
    assert candidate.dims is not None  # noqa: S101 - it is one of an array
    order = (3, 2) if candidate.zarr_format == spec.V3 else (2, 3)
    for zarr_format in order:
        file = documents.ARRAY_METADATA[zarr_format]
        if file not in files:
            continue
        document = storage.parse_json(files[file], place, file)
        if zarr_format == spec.V2:
            attributes = storage.parse_json(files.get(".zattrs", b"{}"), place, ".zattrs")
        elif document.get("node_type") == "array":
            attributes = document.get("attributes") or {}
        else:
            continue
        flaw = formats.flaw(document, zarr_format)
        if flaw is not None or not isinstance(attributes, dict):
            flaw = flaw or f"'attributes' is {attributes!r:.80}; expected an object"
            msg = f"{place.name}/{file} describes no array: {flaw}. It must be mended or restored."
            raise OmeZarrError(msg)
        return Array(path, zarr_format, document, attributes, candidate.dims)
    return None


def _group(
    place: Place,
    path: str,
    files: Mapping[str, bytes],
    candidate: _Candidate,
    *,
    zarr_format: int | None,
    warn: Callable[[str], None],
) -> Group | None:
    for journal in (storage.JOURNAL, storage.UPDATES):
        if journal in files:
            msg = (
                f"{place.name} is being written to, or that was interrupted ({journal} is there). "
                "Complete that write first; nothing was changed."
            )
            raise OmeZarrError(msg)
    v3 = files.get("zarr.json")
    if ".zarray" in files or storage.describes_array(v3):
        if path:
            return None
        # The root has to be a group: this says so.
        storage.node_of(place, v3, files.get(".zattrs"))
    v2 = files.get(".zattrs", b"{}" if ".zgroup" in files else None)
    if zarr_format == spec.V3 and v3 is not None:
        node = storage.node_of(place, v3, None)
    else:
        preferred = v2 is not None and zarr_format == spec.V2
        node = storage.node_of(place, None if preferred else v3, v2)
    if node is None or (candidate.wanted is not None and node.kind != candidate.wanted):
        return None
    ome = spec.ome_attributes(node.attributes, node.zarr_format)
    images = _images(node, ome, place, warn) if "multiscales" in ome else ()
    return Group(
        path,
        node.zarr_format,
        node.attributes,
        node.document if node.zarr_format == spec.V3 else {},
        images,
        beside=_beside(place, node, v3, v2),
        label_of=candidate.label_of,
    )


def _beside(
    place: Place, node: storage.Node, v3: bytes | None, v2: bytes | None
) -> Mapping[str, Any]:
    other = v2 if node.zarr_format == spec.V3 else v3
    if other is None:
        return {}
    found = storage.parse_json(other, place, documents.METADATA[5 - node.zarr_format])
    attributes = found if node.zarr_format == spec.V3 else found.get("attributes") or {}
    return {k: v for k, v in attributes.items() if k not in dialects.OURS and k != "ome"}


def _images(
    node: storage.Node, ome: Mapping[str, Any], place: Place, warn: Callable[[str], None]
) -> tuple[Image, ...]:
    multiscales = ome["multiscales"]
    found = []
    for one in multiscales if isinstance(multiscales, list) and multiscales else [None]:
        single: Any = {**ome, "multiscales": [one] if one is not None else []}
        if ome is not node.attributes:
            single = {**node.attributes, "ome": single}
        bare = spec.without_table(single)
        image = multiscale.parse_image(
            bare, zarr_format=node.zarr_format, place=place.name, warn=warn
        )
        found.append(image)
    return tuple(found)


def _complete(
    place: Place, group: Group, arrays: Mapping[str, Array], warn: Callable[[str], None]
) -> Group:
    """Give a group with its arrays, and with the axes that these have where nothing tells them."""
    own: dict[str, Array] = {}
    images = []
    for image in group.images:
        paths = [join(group.path, level.path) for level in image.levels]
        there = [arrays[path] for path in paths if path in arrays]
        name = join(place.name, group.path)
        fitted = (
            multiscale.fitted(image, len(there[0].shape), place=name, warn=warn) if there else image
        )
        for array in there:
            if len(array.shape) != len(fitted.dims):
                msg = (
                    f"{join(place.name, array.path)} has the shape {array.shape}; its image has "
                    f"the axes {fitted.dims}. The metadata of one of them must be mended."
                )
                raise OmeZarrError(msg)
        images.append(fitted)
        own |= {array.path: replace(array, dims=fitted.dims) for array in there}
    return replace(group, images=tuple(images), arrays=tuple(own.values()))


# ── what lies below ──────────────────────────────────────────────────────────────────────────────


def _children(
    place: Place, group: Group, candidate: _Candidate
) -> Iterator[tuple[str, _Candidate]]:
    """Give the paths that a group names, and those between them and itself."""
    for inner, found in _named(place, group, candidate):
        parts = inner.split("/")
        for depth in range(1, len(parts)):
            yield join(group.path, *parts[:depth]), _Candidate()
        yield join(group.path, inner), found
    above, _, last = f"/{group.path}".rpartition("/")
    series = spec.ome_attributes(group.attributes, group.zarr_format).get("series")
    if last == "OME" and isinstance(series, list):
        # "series: paths of the images, relative to the parent of OME" (0.4, bioformats2raw.layout).
        plates.check_count(series, "series", place.name)
        for name in series:
            inner = spec.check_path(name, f"{place.name}: 'series'")
            yield join(above.strip("/"), inner), _Candidate("image")
    if candidate.next_in is not None and group.images:
        # "images MUST be in consecutive groups 0, 1, 2, …" (0.4, bioformats2raw.layout).
        number = int(group.path.rpartition("/")[2]) + 1
        plates.check_count(range(number), "series", candidate.next_in or place.name)
        path = join(candidate.next_in, str(number))
        yield path, _Candidate("image", next_in=candidate.next_in)


def _named(place: Place, group: Group, candidate: _Candidate) -> Iterator[tuple[str, _Candidate]]:
    ome = spec.ome_attributes(group.attributes, group.zarr_format)
    if group.images:
        yield from _of_image(place, group)
    if group.kind == "labels":
        names = spec.label_names(
            group.attributes, group.zarr_format, place=place.name, warn=lambda _: None
        )
        for name in names:
            yield name, _Candidate("image", label_of=candidate.label_of)
    if group.kind in ("plate", "well"):
        key, kind = {"plate": ("wells", "well"), "well": ("images", "image")}[group.kind]
        for name in _paths(ome[group.kind], key, place):
            yield name, _Candidate(kind)
    elif "bioformats2raw.layout" in ome:
        yield "OME", _Candidate()
        yield "0", _Candidate("image", next_in=group.path)
    elif "scene" in ome:
        for name in (
            *storage.list_groups(place),
            *relations.scene_paths(ome["scene"], place=place.name),
        ):
            yield name, _Candidate("image")


def _of_image(place: Place, group: Group) -> Iterator[tuple[str, _Candidate]]:
    for image in group.images:
        for level in image.levels:
            yield level.path, _Candidate(zarr_format=group.zarr_format, dims=image.dims)
    yield "labels", _Candidate(label_of=group.path)
    if group.label_of is None:
        # "unlisted groups MAY be labels" (0.1 to 0.4).
        for name in storage.list_groups(place.below("labels")):
            yield join("labels", name), _Candidate("image", label_of=group.path)


def _paths(about: object, key: str, place: Place) -> list[str]:
    listed = about.get(key) if isinstance(about, dict) else None
    if not isinstance(listed, list):
        msg = f"{place.name}: '{key}' is {listed!r:.40}; expected a list of objects with a path."
        raise OmeZarrError(msg)
    plates.check_count(listed, key, place.name)
    return [
        spec.check_path(one.get("path") if isinstance(one, dict) else one, f"{place.name}: '{key}'")
        for one in listed
    ]
