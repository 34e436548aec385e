"""What becomes of each group and array of a hierarchy, before anything is touched."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from xarray_omezarr import chunked, copies, dialects, documents, formats, spec
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.recodings import Recoding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xarray_omezarr.hierarchy import Array, Group
    from xarray_omezarr.stores import Place

#: So many losses are told of.
_TOLD = 20
_AS_IS = Recoding()
#: What stands in the metadata of a group of Zarr v3.
_KNOWN = frozenset({"zarr_format", "node_type", "attributes", "consolidated_metadata"})


@dataclass(frozen=True)
class ArrayStep:
    """What becomes of an array."""

    array: Array
    metadata: Mapping[str, Any]
    """Its new metadata; in Zarr v2, without its attributes."""
    way: Literal["described", "moved", "encoded"]


@dataclass(frozen=True)
class Work:
    """What becomes of a hierarchy."""

    version: str
    groups: tuple[tuple[Group, Mapping[str, Any]], ...]
    """The groups that change, with their new attributes: those above before those below."""
    arrays: tuple[ArrayStep, ...]

    @property
    def zarr_format(self) -> int:
        """The format of Zarr that it is stored in."""
        # Versions that are not written are those of Zarr v2.
        return spec.ZARR_FORMATS.get(self.version, spec.V2)

    @property
    def head(self) -> Group | None:
        """The group that is the last one to become the new version."""
        groups = [group for group, _ in self.groups]
        other = [group for group in groups if group.zarr_format != self.zarr_format]
        return next(iter((other if self.zarr_format == spec.V2 else []) or groups), None)


def plan(
    place: Place,
    groups: Sequence[Group],
    version: str | None,
    *,
    lossy: bool,
    reencode: bool,
    inside: bool,
    recoding: Recoding = _AS_IS,
) -> Work:
    """Find out what becomes of each group and array, before anything is touched.

    Without a version, each group and array stays what it is, but for chunks, shards and codecs.
    """
    zarr_format = None if version is None else spec.ZARR_FORMATS[version]
    recoding.check(groups, zarr_format)
    changed: list[tuple[Group, Mapping[str, Any]]] = []
    steps: list[ArrayStep] = []
    lost: list[str] = []
    for group in groups:
        name = join(place.name, group.path)
        attributes = group.attributes if version is None else _attributes(group, version, name)
        same = zarr_format in (None, group.zarr_format)
        if version is not None and not (same and attributes == group.attributes):
            found = dialects.losses(group.attributes, group.zarr_format, group.images, version)
            if zarr_format == spec.V2 and not same:
                found += sorted(f"'{key}' in zarr.json" for key in set(group.document) - _KNOWN)
            lost += [f"{name}: {what}" for what in found]
            if found:
                bare = dialects.without_scene(group.attributes, group.zarr_format)
                attributes = _attributes(replace(group, attributes=bare), version, name)
            changed.append((group, attributes))
        for array in group.arrays:
            step = _array_step(
                place,
                array,
                zarr_format or array.zarr_format,
                reencode=reencode,
                inside=inside,
                recoding=recoding,
            )
            if step is not None:
                steps.append(step)
                left = set(array.metadata) - formats.KNOWN - {"consolidated_metadata"}
                if zarr_format == spec.V2 and array.zarr_format == spec.V3 and left:
                    lost.append(f"{join(place.name, array.path)}: {sorted(left)} in zarr.json")
    if lost and not lossy:
        more = f"\n  and {len(lost) - _TOLD} more" if len(lost) > _TOLD else ""
        msg = (
            f"{place.name} holds what version {version} has no words for; nothing was changed:\n  "
            + "\n  ".join(lost[:_TOLD])
            + more
            + "\nlossy=True drops it."
        )
        raise OmeZarrError(msg)
    return Work(version or _declared(groups), tuple(changed), tuple(steps))


def _declared(groups: Sequence[Group]) -> str:
    """Give the version that a hierarchy has, by the first group that says so."""
    declared = (spec.declared_versions(group.attributes, group.zarr_format) for group in groups)
    return str(next(itertools.chain.from_iterable(declared), "0.4"))


def _attributes(group: Group, version: str, name: str) -> Mapping[str, Any]:
    zarr_format = spec.ZARR_FORMATS[version]
    declared = next(spec.declared_versions(group.attributes, group.zarr_format), None)
    if group.zarr_format == zarr_format and declared == version:
        return group.attributes
    images = []
    for image in group.images:
        shapes = group.shapes(image)
        sized = image if shapes is None else dialects.measured(image, shapes, place=name, warn=warn)
        images.append(sized)
    return dialects.converted(group.attributes, group.zarr_format, images, version, place=name)


def _array_step(
    place: Place,
    array: Array,
    zarr_format: int,
    *,
    reencode: bool,
    inside: bool,
    recoding: Recoding,
) -> ArrayStep | None:
    metadata = array.metadata
    if array.zarr_format == spec.V2:
        separator = metadata.get("dimension_separator") or _found_separator(place, array)
        metadata = {**metadata, "dimension_separator": separator}
    if recoding.asks:
        told_array = replace(array, metadata=metadata)
        recoded = recoding.of(told_array, zarr_format, join(place.name, array.path))
        if recoded is not None:
            return ArrayStep(told_array, recoded, "encoded")
    keys = formats.chunk_keys(metadata)
    usual = ("v2", "/") if zarr_format == spec.V2 else ("default", "/")
    if reencode and not (inside and keys == usual):
        return _encoded(array, metadata, zarr_format, inside=inside)
    if array.zarr_format == zarr_format:
        told = metadata.get("dimension_separator") == array.metadata.get("dimension_separator")
        return None if told else ArrayStep(array, metadata, "described")
    try:
        if zarr_format == spec.V3:
            new = formats.to_v3(metadata, array.attributes, array.dims)
            return ArrayStep(replace(array, metadata=metadata), new, "described")
        new = formats.to_v2(metadata)
    except formats.UnnamedError:
        return _encoded(array, metadata, zarr_format, inside=inside)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{join(place.name, array.path)}: its metadata describe no array ({error!r:.80})."
        raise OmeZarrError(msg) from error
    return ArrayStep(array, new, "moved" if formats.moves(metadata) else "described")


def _encoded(
    array: Array, metadata: Mapping[str, Any], zarr_format: int, *, inside: bool
) -> ArrayStep:
    """Plan to encode an array anew, its chunks under keys that the old ones do not have."""
    separator = "." if inside and formats.chunk_keys(metadata) == ("v2", "/") else "/"
    new = copies.described(metadata, zarr_format, separator, array.dims)
    if zarr_format == spec.V3:
        new["attributes"] = dict(array.attributes)
    return ArrayStep(replace(array, metadata=metadata), new, "encoded")


def _found_separator(place: Place, array: Array) -> str:
    """Say where the chunks of an array are that does not tell: at 0.0, or in nested folders."""
    if len(array.shape) < 2:  # noqa: PLR2004 - one number has no separator
        return "."
    opened = copies.opened(place.store, place.key(array.path), array.metadata)
    return "/" if chunked.is_nested(place, opened) else "."


# ── the files that come of it ────────────────────────────────────────────────────────────────────


def array_files(work: Work) -> dict[str, Mapping[str, Any]]:
    """Give the metadata files of the arrays, by their paths below the root."""
    files: dict[str, Mapping[str, Any]] = {}
    for step in work.arrays:
        path = step.array.path
        zarr_format = step.metadata["zarr_format"]
        files[join(path, documents.ARRAY_METADATA[zarr_format])] = step.metadata
        if zarr_format == spec.V2 and step.array.attributes:
            files[join(path, ".zattrs")] = step.array.attributes
    return files


def files(work: Work) -> dict[str, Mapping[str, Any]]:
    """Give all metadata files that come of it, by their paths below the root."""
    return array_files(work) | group_files(work.groups, work.zarr_format)


def batches(work: Work) -> Iterator[list[tuple[Group, Mapping[str, Any]]]]:
    """Give the groups from the leaves to the root; the head by itself, and last."""
    head = work.head
    others = [pair for pair in work.groups if pair[0] is not head]
    for depth in sorted({group.depth for group, _ in others}, reverse=True):
        yield [pair for pair in others if pair[0].depth == depth]
    yield from ([pair] for pair in work.groups if pair[0] is head)


def group_files(
    batch: Sequence[tuple[Group, Mapping[str, Any]]], zarr_format: int
) -> dict[str, Mapping[str, Any]]:
    """Give the metadata files of some groups, by their paths below the root."""
    files: dict[str, Mapping[str, Any]] = {}
    for group, new in batch:
        other = group.zarr_format != zarr_format
        attributes = {**(group.beside if other else {}), **new}
        if zarr_format == spec.V3:
            rest = {k: v for k, v in group.document.items() if k != "consolidated_metadata"}
            head = {"zarr_format": 3, "node_type": "group"}
            files[join(group.path, "zarr.json")] = {**head, **rest, "attributes": attributes}
        else:
            files[join(group.path, ".zgroup")] = {"zarr_format": 2}
            files[join(group.path, ".zattrs")] = attributes
    return files
