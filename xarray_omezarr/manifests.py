"""What is copied of a hierarchy: from a list of what there is, or by what its metadata name."""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xarray_omezarr import copies, cuttings, documents, formats, spec, storage
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.freight import Parcel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from xarray_omezarr.extracts import Extract
    from xarray_omezarr.hierarchy import Group
    from xarray_omezarr.listings import Entry
    from xarray_omezarr.stores import Place

#: No more chunks are asked for of an array: metadata can say anything.
_MOST_CHUNKS = 2**28
#: What else the specification has a name for ("OME/METADATA.ome.xml", bioformats2raw.layout).
_XML = "METADATA.ome.xml"


@dataclass(frozen=True)
class Manifest:
    """What is copied."""

    objects: Callable[[], Iterator[Parcel]]
    """All but metadata."""
    count: int
    """How many these are, at the most."""
    largest: int
    """How long an object may be of which the length is not known."""
    metadata: Sequence[Parcel]
    """The metadata that stay as they are."""
    contents: object
    """What tells the source from what it is once it was written to."""


def manifest(
    source: Place, listed: Mapping[str, Entry] | None, groups: Sequence[Group], part: Extract
) -> Manifest:
    """Say what is copied.

    Parameters
    ----------
    source
        Where it is.
    listed
        All that the source has, where it lists that.
    groups
        The groups of the source; without a list, they are what is known of it.
    part
        The part that is wanted.
    """
    if listed is not None:
        objects, metadata = of_list(listed, part)
        marks = {key: [entry.size, entry.mark] for key, entry in listed.items()}
        return Manifest(lambda: iter(objects), len(objects), 0, metadata, marks)
    named = Named(source, groups, part)
    arrays = [array.metadata for group in groups for array in group.arrays]
    about: list[Any] = [[group.path, dict(group.attributes)] for group in groups]
    about += map(dict, arrays)
    largest = max(map(copies.chunk_bytes, arrays), default=0)
    return Manifest(named.objects, named.count, largest, named.metadata(), about)


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] in documents.METADATA_FILES


def of_list(listed: Mapping[str, Entry], part: Extract) -> tuple[list[Parcel], list[Parcel]]:
    """Give what is copied of all that a source has: metadata last, and all else first."""
    left = set()
    keys = list(listed)
    for cut in part.cuts:
        prefix = f"{cut.array.path}/"
        start = bisect.bisect_left(keys, prefix)
        end = bisect.bisect_left(keys, f"{cut.array.path}0")  # "0" comes after "/"
        below = [key[len(prefix) :] for key in keys[start:end]]
        left |= {prefix + key for key in copies.chunk_names(below, cut.array.metadata)}
    objects, metadata = [], []
    for key, entry in listed.items():
        # What was left of writes that were killed is nothing.
        if key in left or not part.has(key) or storage.is_leftover(key):
            continue
        if _is_metadata(key):
            if key not in part.documents:
                metadata.append(Parcel(key, key, entry.size))
        else:
            objects.append(Parcel(key, key, entry.size))
    for cut in part.cuts:
        pairs = cuttings.renamed(cut)
        objects += [Parcel(old, new, listed[old].size) for old, new in pairs if old in listed]
    return objects, metadata


@dataclass
class Named:
    """What is copied from where nothing is listed: what metadata name."""

    source: Place
    groups: Sequence[Group]
    part: Extract
    arrays: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The metadata of the arrays that are copied whole, by their paths."""
    others: list[str] = field(default_factory=list)
    """The paths of groups that only consolidated metadata name."""

    def __post_init__(self) -> None:
        cut = {one.array.path for one in self.part.cuts}
        for group in self.groups:
            self.arrays |= {a.path: a.metadata for a in group.arrays}
        self._add_parameters()
        known = {group.path for group in self.groups} | set(self.arrays)
        summary = _consolidated(self.source, self.groups[0])
        for path, document in (summary or {}).items():
            if path not in known:
                if document is None:
                    self.others.append(path)
                else:
                    self.arrays[path] = document
        if summary is None:
            warn(
                f"{self.source.name} does not list its files, so that only what its metadata name "
                "is copied: what else there may be, like tables, is left out"
            )
        self.arrays = {
            path: document
            for path, document in self.arrays.items()
            if path not in cut and self.part.has(path)
        }
        for path, document in self.arrays.items():
            self._check(path, document)

    def _add_parameters(self) -> None:
        """Add the arrays that transformations have their parameters in."""
        paths = dict.fromkeys(
            join(group.path, spec.check_path(path, f"{self.source.below(group.path).name}: a path"))
            for group in self.groups
            for path in _parameters(spec.ome_attributes(group.attributes, group.zarr_format))
        )
        contents = storage.read_bytes(self.source, *(join(path, "zarr.json") for path in paths))
        for path, content in zip(paths, contents, strict=True):
            if content is not None and storage.describes_array(content):
                self.arrays[path] = storage.parse_json(content, self.source, f"{path}/zarr.json")

    def _check(self, path: str, document: Mapping[str, Any]) -> None:
        flaw = formats.flaw(document, int(document.get("zarr_format", 0)))
        shape = () if flaw else formats.chunk_shape(document)
        count = 0 if flaw or shape is None else math.prod(map(len, _grid(document)))
        if flaw or shape is None or count > _MOST_CHUNKS:
            why = flaw or ("its chunks differ in size" if shape is None else f"{count} chunks")
            msg = (
                f"{self.source.name}/{path} cannot be copied from a place that does not list its "
                f"files: {why}."
            )
            raise OmeZarrError(msg)

    @property
    def count(self) -> int:
        """How many objects there are at the most."""
        counts = (math.prod(map(len, _grid(document))) for document in self.arrays.values())
        return sum(counts) + sum(math.prod(map(len, cuttings.kept(cut))) for cut in self.part.cuts)

    def objects(self) -> Iterator[Parcel]:
        """Yield all that may be there but metadata."""
        for path, document in self.arrays.items():
            for index in itertools.product(*_grid(document)):
                key = join(path, formats.chunk_key(index, document))
                yield Parcel(key, key)
        for cut in self.part.cuts:
            yield from (Parcel(old, new) for old, new in cuttings.renamed(cut))
        for group in self.groups:
            if group.path.rpartition("/")[2] == "OME":
                yield Parcel(join(group.path, _XML), join(group.path, _XML))

    def metadata(self) -> list[Parcel]:
        """Give all metadata that may be there, and are copied as they are."""
        cut = (one.array.path for one in self.part.cuts)
        arrays = {
            join(path, file)
            for path in (*self.arrays, *cut)
            for file in ("zarr.json", ".zarray", ".zattrs")
        }
        groups = {
            join(path, file)
            for path in (*(group.path for group in self.groups), *self.others)
            for file in ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")
        }
        keys = arrays | groups
        return [
            Parcel(key, key)
            for key in sorted(keys)
            if self.part.has(key) and key not in self.part.documents
        ]


def _parameters(ome: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of arrays that the transformations of an image, or of a scene, read."""
    multiscales = ome.get("multiscales")
    holders = [*(multiscales if isinstance(multiscales, list) else ()), ome.get("scene")]
    waiting = [one.get("coordinateTransformations") for one in holders if isinstance(one, dict)]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("path"), str):
                yield item["path"]
            waiting.extend(v for k, v in item.items() if k not in ("input", "output"))
        elif isinstance(item, list):
            waiting.extend(item)


def _grid(document: Mapping[str, Any]) -> list[range]:
    """Give the numbers of an array's chunks along each axis."""
    sizes = formats.chunk_shape(document) or ()
    return [range(-(-n // size)) for n, size in zip(document["shape"], sizes, strict=True)]


def _consolidated(place: Place, root: Group) -> dict[str, Mapping[str, Any] | None] | None:
    """Give what consolidated metadata at the root name: arrays with what describes them, groups.

    Returns
    -------
    dict, or None
        By the paths below the root; None where there are no such metadata.
    """
    found: dict[str, Mapping[str, Any] | None] = {}
    if root.zarr_format == spec.V3:
        whole = root.document.get("consolidated_metadata")
        entries = whole.get("metadata") if isinstance(whole, dict) else None
        if not isinstance(entries, dict):
            return None
        for path, document in entries.items():
            is_array = isinstance(document, dict) and document.get("node_type") == "array"
            found[path] = document if is_array else None
    else:
        (content,) = storage.read_bytes(place, ".zmetadata")
        if content is None:
            return None
        entries = storage.parse_json(content, place, ".zmetadata").get("metadata")
        for key, document in (entries if isinstance(entries, dict) else {}).items():
            path, _, file = key.rpartition("/")
            if file == ".zarray" and isinstance(document, dict):
                found[path] = document
            elif path:
                found.setdefault(path, None)
    for path in found:
        spec.check_path(path, f"{place.name}: a path of the consolidated metadata")
    return found
