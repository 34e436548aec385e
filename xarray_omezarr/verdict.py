"""A verdict over a whole hierarchy: it is walked group by group, and held against the rules.

The walk is a stack of tasks. Each names the metadata files that it wants; those of many tasks are
fetched side by side, and what a task makes of its files may be findings, and more tasks. It only
ever leads downwards, from plates to wells, to images, to labels, so that it ends.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from xarray_omezarr import rules, spec
from xarray_omezarr import rules_arrays as arrays_
from xarray_omezarr import rules_groups as groups_
from xarray_omezarr import rules_systems as systems_
from xarray_omezarr.documents import ARRAY_METADATA, METADATA, join, load_json
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.findings import SPELLINGS, Part, brief, dialect, inside, mapping, text
from xarray_omezarr.report import Report
from xarray_omezarr.rules_image import metadata
from xarray_omezarr.rules_systems import intrinsic, nested

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import zarr
    from zarr.abc.store import Store

    from xarray_omezarr.findings import Finding, Rule
    from xarray_omezarr.rules_arrays import Array
    from xarray_omezarr.stores import Place

#: So many groups and arrays are looked at; what a document names may be without end.
_MOST: Final = 100_000
#: So many places are told of that break one rule between files, like wells that are missing.
_MOST_FOUND: Final = 1000
#: So many tasks have their files fetched side by side.
_TOGETHER: Final = 256
#: So many numbered groups are looked for at a time where nothing lists the images of a series.
_PROBES: Final = 8
#: Errors first.
_ORDER: Final = ("error", "warning", "note")


def validate(
    store: str | os.PathLike[str] | Store | zarr.Group,
    *,
    group: str | None = None,
    version: str | None = None,
    deep: bool = False,
    chunks: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Report:
    """Say whether a hierarchy keeps the rules of OME-Zarr, and where it does not.

    Images, their labels, plates with their wells, series and scenes are walked from the group
    down. Only metadata are read, unless more is asked for; nothing outside of the hierarchy is.

    Parameters
    ----------
    store : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        The hierarchy: a path, a URL that fsspec knows, or an open store or group.
    group : str, optional
        The group to begin at, where it is not the root.
    version : str, optional
        The version to hold it against, "0.1" to "0.6" or "0.9.dev1". By default the one that the
        root itself names, else the one that its metadata look like.
    deep : bool, optional
        Whether to read pixels too: whether the levels of an image lie on each other, whether
        labels have the values that their properties name, and whether each chunk can be decoded.
    chunks : bool, optional
        Whether to count chunks and shards that are absent, empty or truncated, where the store
        can list them.
    storage_options : mapping, optional
        Passed on to fsspec, for URLs.

    Returns
    -------
    xarray_omezarr.report.Report
        True where no MUST is broken. Each finding has a place, the rule that it breaks, and what
        was found.

    Raises
    ------
    OmeZarrError
        Where there is no group at all, or the store cannot be reached.

    Notes
    -----
    The rules are sentences of the specification, ``https://ngff.openmicroscopy.org``: what breaks
    a MUST is an error, what breaks a SHOULD a warning. What is only in its JSON Schemas counts as
    a MUST.

    Examples
    --------
    >>> from xarray_omezarr import validate
    >>> samples.circle().omezarr.to_zarr("circle.ome.zarr")
    >>> report = validate("circle.ome.zarr")
    >>> bool(report), report.errors
    (True, ())
    """
    from xarray_omezarr import stores

    if version is not None and dialect(version) is None:
        known = ", ".join(itertools.chain.from_iterable(SPELLINGS.values()))
        msg = f"version={version!r} is not one that can be validated; those are {known}."
        raise OmeZarrError(msg)
    place = stores.locate(store, group, storage_options=storage_options)
    try:
        walk = _Walk(place, dialect(version))
        walk.run()
        report = walk.report()
        if deep or chunks:
            from xarray_omezarr import inspection

            report = inspection.inspected(place, report, walk.images, deep=deep, chunks=chunks)
    finally:
        place.close()
    return ordered(report)


def check_attributes(attributes: Mapping[str, Any], version: str | None = None) -> Report:
    """Hold the attributes of a single group against the rules, without any store.

    Parameters
    ----------
    attributes
        As Zarr holds them; an ``ome`` object in them from 0.5 on.
    version
        As for `validate`.

    Examples
    --------
    >>> report = check_attributes({"ome": {"version": "0.5", "multiscales": []}})
    >>> report.errors[0].pointer
    'ome.multiscales'
    """
    known = dialect(version) or rules.dialect_of(attributes, nested=False)
    found = tuple(rules.check(attributes, known))
    return ordered(Report("attributes", SPELLINGS[known][0], 1, 0, found))


def ordered(report: Report) -> Report:
    """Give a report with its errors first."""
    found = sorted(report.findings, key=lambda finding: _ORDER.index(finding.severity))
    return replace(report, findings=tuple(found))


# ── the walk ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Seen:
    """An image that was looked at, and the arrays of its levels."""

    path: str
    zarr_format: int
    version: str
    names: tuple[str, ...] | None
    levels: tuple[Array, ...]
    attributes: Mapping[str, Any]
    label_of: str | None = None
    """The path of the image that it belongs to, where it is a label image."""


@dataclass(frozen=True)
class _Task:
    """Files that are wanted, and what is made of them."""

    keys: Sequence[str]
    then: Callable[[Sequence[bytes | OmeZarrError | None]], Iterable[_Task]]


class _Walk:
    """A walk through a hierarchy, with what has been seen on it."""

    def __init__(self, place: Place, version: str | None) -> None:
        self.place = place
        self.wanted = version
        self.version: str | None = version
        self.zarr_format = 3
        self.findings: list[Finding] = []
        self.images: list[Seen] = []
        self.groups = 0
        self.arrays = 0
        self.consolidated: Mapping[str, object] | None = None
        self.compared: set[str] = set()
        self.references: list[tuple[str, str, str]] = []
        self.systems: dict[str, set[str]] = {}
        #: How often each rule was found broken between files.
        self.counts: dict[int, int] = {}

    def report(self) -> Report:
        """Give what has come of it."""
        version = SPELLINGS[self.version][0] if self.version else None
        found = tuple(self.findings)
        return Report(self.place.name, version, self.groups, self.arrays, found)

    def run(self) -> None:
        """Walk, and compare what has been seen in the end."""
        from xarray_omezarr import storage

        read: dict[str, bytes | OmeZarrError | None] = {}
        waiting = [_Task(["zarr.json"], self._root)]
        while waiting:
            batch, waiting = waiting[-_TOGETHER:], waiting[:-_TOGETHER]
            keys = dict.fromkeys(itertools.chain.from_iterable(task.keys for task in batch))
            # Several images of a group may be of the same arrays, and are one after the other.
            read = {key: read[key] for key in keys if key in read}
            new = [key for key in keys if key not in read]
            read |= zip(new, storage.read_each(self.place, new), strict=True)
            for task in batch:
                waiting += task.then([read[key] for key in task.keys])
            if self.groups + self.arrays + len(waiting) > _MOST:
                told = f"the first {self.groups + self.arrays:,} of many more"
                self._find(arrays_.CUT_SHORT, "", "", told)
                break
        self._compare_labels()
        self._compare_rest()
        for scene, path, name in self.references:
            if name not in self.systems.get(path, {name}):
                self._find(
                    systems_.SYSTEM_THERE, scene, "", f"'{path}' has no system {brief(name)}"
                )

    def _find(self, rule: Rule, file: str, pointer: str, found: str) -> None:
        self.counts[id(rule)] = count = self.counts.get(id(rule), 0) + 1
        if count <= _MOST_FOUND:
            self.findings.append(rule.broken(self.version or "0.5", file, pointer, found))

    # ── groups ───────────────────────────────────────────────────────────────────────────────────

    def _root(self, got: Sequence[bytes | OmeZarrError | None]) -> Iterable[_Task]:
        (found,) = got
        if isinstance(found, OmeZarrError):
            msg = f"{self.place.name} {found}"
            raise type(found)(msg)
        document = self._parsed("zarr.json", found) if found is not None else {}
        if found is not None and document is None:
            self.version = self.version or "0.5"
            return []
        attributes = (document or {}).get("attributes") or {}
        if mapping(attributes) and spec.kind(attributes, 3) is not None:
            self._begin(3, attributes, (document or {}).get("consolidated_metadata"))
            if self._local(".zattrs"):
                self._find(arrays_.BOTH, ".zattrs", "", "a .zattrs beside the zarr.json")
            below = _Task(["labels/zarr.json"], lambda got: self._labels("", got[0]))
            labelled = "multiscales" in spec.ome_attributes(attributes, 3)
            return [*self._group("", None, document or {}, None), *([below] if labelled else [])]
        wanted = [".zattrs", ".zmetadata", "labels/.zattrs"]
        return [_Task(wanted, partial(self._old_root, document if found is not None else None))]

    def _old_root(
        self, newer: dict[str, Any] | None, got: Sequence[bytes | OmeZarrError | None]
    ) -> Iterable[_Task]:
        from xarray_omezarr import storage

        found, consolidated, labels = got
        if found is None and newer is None:
            raise storage.nothing_there(self.place)
        if found is None:
            self._begin(3, newer.get("attributes") or {} if newer else {}, None)
            return self._group("", None, newer or {}, None)
        document = self._parsed(".zattrs", found)
        if document is None:
            self.version = self.version or "0.4"
            return []
        copies = self._parsed(".zmetadata", consolidated) if consolidated is not None else None
        self._begin(2, document, copies)
        self._compare_copy(".zattrs", document)
        return self._group("", None, document, labels)

    def _begin(self, zarr_format: int, attributes: object, consolidated: object) -> None:
        self.zarr_format = zarr_format
        known = attributes if isinstance(attributes, dict) else {}
        self.version = self.wanted or rules.dialect_of(known, nested=zarr_format == spec.V3)
        copies = consolidated.get("metadata") if isinstance(consolidated, dict) else None
        if isinstance(copies, dict):
            suffix = "/zarr.json" if zarr_format == spec.V3 else ""
            self.consolidated = {f"{key}{suffix}".lstrip("/"): copies[key] for key in copies}
        wanted = 3 if self.version in arrays_.FORMAT_3.versions else 2
        if wanted != zarr_format:
            rule = arrays_.FORMAT_3 if wanted == spec.V3 else arrays_.FORMAT_2
            self._find(rule, METADATA[zarr_format], "", f"metadata of Zarr v{zarr_format}")

    def _local(self, file: str) -> bool | None:
        """Say whether there is a file, where that costs no request: on disk."""
        from xarray_omezarr.guess import local_path

        path = local_path(self.place.name) if self.place.owned else None
        return None if path is None or not inside(file) else (path / file).exists()

    def _visit(self, path: str, expected: str, missing: Rule, **known: Any) -> _Task:  # noqa: ANN401
        """Give the task of looking at a group that a document names."""
        keys = [METADATA[self.zarr_format]]
        if expected == "image":
            keys.append(f"labels/{METADATA[self.zarr_format]}")

        def then(got: Sequence[bytes | OmeZarrError | None]) -> Iterable[_Task]:
            file = f"{path}/{METADATA[self.zarr_format]}"
            if got[0] is None:
                self._find(missing, file, "", "nothing is there")
                return []
            document = self._parsed(file, got[0])
            if document is None:
                return []
            labels = got[-1] if expected == "image" else None
            return self._group(path, expected, document, labels, **known)

        return _Task([f"{path}/{key}" for key in keys], then)

    def _group(
        self,
        path: str,
        expected: str | None,
        document: Mapping[str, Any],
        labels: bytes | OmeZarrError | None,
        *,
        label_of: str | None = None,
        acquisitions: frozenset[object] | None = None,
        alone: bool = True,
    ) -> Iterable[_Task]:
        """Check the metadata of a group; then what lies below it."""
        self.groups += 1
        version = self.version or "0.5"
        file = join(path, METADATA[self.zarr_format])
        attributes = self._attributes(file, document)
        if self.zarr_format == spec.V2 and self._local(join(path, ".zgroup")) is False:
            self._find(arrays_.GROUP, join(path, ".zgroup"), "", "nothing is there")
        if attributes is None:
            return
        own = self._own_version(attributes, version)
        self.findings += self._in_file(rules.check(attributes, own, file, alone=alone))
        ome = metadata(attributes, own)
        kind = spec.kind(attributes, self.zarr_format)
        if expected is not None:
            rule, keys = _EXPECTED[expected]
            if all(ome[key].absent for key in keys):
                self._find(rule, file, "", f"{kind or 'a group without OME-Zarr metadata'}")
        if label_of is not None and ome["image-label"].absent:
            self._find_in(groups_.SAID_TO_BE_LABEL, own, file, "nothing")
        if expected == "well":
            yield from self._well(path, file, ome["well"], acquisitions)
        elif expected is None:
            yield from self._root_below(path, file, ome)
        if not ome["multiscales"].absent and expected != "well":
            yield from self._image(path, file, attributes, own, label_of)
            if label_of is None:
                yield from self._labels(path, labels)

    def _root_below(self, path: str, file: str, ome: Part) -> Iterable[_Task]:
        """Go on below the root, which may be of any kind."""
        if not ome["plate"].absent:
            yield from self._plate(path, ome["plate"])
        elif not ome["well"].absent:
            yield from self._well(path, file, ome["well"], None)
        elif not ome["bioformats2raw.layout"].absent:
            yield self._series(path)
        if not ome["scene"].absent:
            yield from self._scene(path, file, ome["scene"])
        if not ome["labels"].absent and ome["multiscales"].absent:
            yield from self._listed(path, ome["labels"], None)

    def _find_in(self, rule: Rule, version: str, file: str, found: str) -> None:
        """Note that a rule is broken, if it is one of the version."""
        if version in rule.versions:
            self._find(rule, file, "", found)

    def _attributes(self, file: str, document: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give the attributes in a metadata file of a group."""
        if self.zarr_format == spec.V2:
            return dict(document)
        if document.get("node_type") != "group":
            self._find(arrays_.GROUP, file, "node_type", brief(document.get("node_type")))
            return None
        attributes = document.get("attributes") or {}
        if not isinstance(attributes, dict):
            self._find(arrays_.JSON, file, "attributes", brief(attributes))
            return None
        return attributes

    def _own_version(self, attributes: Mapping[str, Any], version: str) -> str:
        """Give the dialect of a group below the root: from 0.5 on, that of the root."""
        return version if self.wanted or version in arrays_.FORMAT_3.versions else (
            next((v for p in rules.declared(attributes) if (v := dialect(p.value))), version)
        )  # fmt: skip

    def _in_file(self, found: Iterable[Finding]) -> Iterable[Finding]:
        """Give findings with their JSON path as it is in a file of Zarr v3."""
        for finding in found:
            if self.zarr_format == spec.V3 and finding.pointer:
                yield replace(finding, pointer=f"attributes.{finding.pointer}")
            else:
                yield finding

    def _plate(self, path: str, plate: Part) -> Iterable[_Task]:
        ids = frozenset(
            entry["id"].value
            for entry in plate["acquisitions"].objects()
            if isinstance(entry["id"].value, (int, float))
        )
        paths = _paths(well["path"] for well in plate["wells"].objects())
        for well in itertools.islice(paths, _MOST + 1):
            yield self._visit(join(path, well), "well", groups_.WELL_THERE, acquisitions=ids)

    def _well(
        self, path: str, file: str, well: Part, acquisitions: frozenset[object] | None
    ) -> Iterable[_Task]:
        for field in well["images"].objects() if acquisitions is not None else ():
            found = field["acquisition"]
            assert acquisitions is not None  # noqa: S101 - there would be no field
            if found.absent and len(acquisitions) > 1:
                must = self.version in groups_.SAYS_ACQUISITION.versions
                rule = groups_.SAYS_ACQUISITION if must else groups_.SHOULD_SAY_ACQUISITION
                self._find(rule, file, found.path, "nothing")
            known = not isinstance(found.value, (int, float)) or found.value in acquisitions
            if acquisitions and not known:
                self._find(groups_.KNOWN_ACQUISITION, file, found.path, brief(found.value))
        paths = _paths(field["path"] for field in well["images"].objects())
        for name in itertools.islice(paths, _MOST + 1):
            yield self._visit(join(path, name), "image", groups_.FIELD_THERE)

    def _series(self, path: str) -> _Task:
        """Give the task of finding the images of a series, by their list or by their numbers."""
        from xarray_omezarr import inventory

        file = f"OME/{METADATA[self.zarr_format]}"

        def then(got: Sequence[bytes | OmeZarrError | None]) -> Iterable[_Task]:
            inner = join(path, "OME")
            if not inventory.present(self.place, join(inner, "METADATA.ome.xml")):
                self._find(groups_.OME_XML, join(inner, "METADATA.ome.xml"), "", "nothing is there")
            document = self._parsed(join(path, file), got[0]) if got[0] is not None else None
            attributes = document
            if document is not None and self.zarr_format == spec.V3:
                attributes = document.get("attributes") or {}
            if isinstance(attributes, dict):
                self.groups += 1
                known = self.version or "0.5"
                found = rules.check(attributes, known, join(path, file))
                self.findings += self._in_file(found)
                series = metadata(attributes, known)["series"]
                if not series.absent:
                    for name in _paths(series.entries()):
                        yield self._visit(join(path, name), "image", groups_.SERIES_THERE)
                    return
            yield self._numbered(path, 0)

        return _Task([join(path, file)], then)

    def _numbered(self, path: str, first: int) -> _Task:
        """Give the task of looking for images in groups that are counted."""
        names = [str(number) for number in range(first, first + _PROBES)]
        file = METADATA[self.zarr_format]

        def then(got: Sequence[bytes | OmeZarrError | None]) -> Iterable[_Task]:
            there = list(
                itertools.takewhile(lambda pair: pair[1] is not None, zip(names, got, strict=True))
            )
            if not there and first == 0:
                self._find(groups_.CONSECUTIVE, join(path, names[0]), "", "nothing is there")
            for name, _ in there:
                yield self._visit(join(path, name), "image", groups_.SERIES_THERE)
            if len(there) == len(names):
                yield self._numbered(path, first + _PROBES)

        return _Task([join(path, name, file) for name in names], then)

    def _scene(self, path: str, file: str, scene: Part) -> Iterable[_Task]:
        entries = list(scene["coordinateTransformations"].objects())
        ends = [entry[key] for entry in entries for key in ("input", "output")]
        for end in ends:
            name, below = end["name"].value, end["path"].value
            if inside(below) and text(name):
                self.references.append((file, join(path, below.removesuffix("/")), name))
        for name in _paths(end["path"] for end in ends):
            yield self._visit(join(path, name), "image", systems_.SUBGROUP_THERE, alone=False)
        yield from self._parameters(path, entries)

    def _parameters(self, path: str, entries: Iterable[Part]) -> Iterable[_Task]:
        """Give the tasks of looking at what transformations keep in arrays."""
        for part in itertools.chain.from_iterable(map(nested, entries)):
            kind, name = part["type"].value, part["path"].value
            if kind in ("affine", "rotation", "displacements", "coordinates") and inside(name):
                key = join(path, name.removesuffix("/"), "zarr.json")

                def then(
                    got: Sequence[bytes | OmeZarrError | None], key: str = key, kind: str = kind
                ) -> Iterable[_Task]:
                    document = self._parsed(key, got[0]) if got[0] is not None else None
                    if got[0] is None:
                        self._find(systems_.PARAMETERS_THERE, key, "", "nothing is there")
                    elif document is not None and kind in ("affine", "rotation"):
                        found = arrays_.parse_array(document, key)
                        if isinstance(found, str) or len(found.shape) != 2:  # noqa: PLR2004
                            told = found if isinstance(found, str) else brief(list(found.shape))
                            self._find(systems_.MATRIX, key, "shape", told)
                    elif document is not None and document.get("node_type") != "group":
                        self._find(
                            systems_.FIELD, key, "node_type", brief(document.get("node_type"))
                        )
                    return []

                yield _Task([key], then)

    # ── labels ───────────────────────────────────────────────────────────────────────────────────

    def _labels(self, path: str, found: bytes | OmeZarrError | None) -> Iterable[_Task]:
        if found is None:
            return
        folder = join(path, "labels")
        file = join(folder, METADATA[self.zarr_format])
        document = self._parsed(file, found)
        if document is None:
            return
        self.groups += 1
        attributes = self._attributes(file, document)
        if attributes is None:
            return
        version = self.version or "0.5"
        self.findings += self._in_file(rules.check(attributes, version, file))
        labels = metadata(attributes, version)["labels"]
        if labels.absent and self.zarr_format == spec.V3:
            self._find(groups_.LIST_THERE, file, "attributes.ome.labels", "nothing")
        yield from self._listed(folder, labels, path)

    def _listed(self, folder: str, labels: Part, image: str | None) -> Iterable[_Task]:
        from xarray_omezarr import storage

        names = list(_paths(labels.entries()))
        for name in names:
            yield self._visit(
                join(folder, name), "label", groups_.LABEL_THERE, label_of=image or ""
            )
        if self.version not in groups_.LISTED.versions:
            return
        taken = {name.split("/")[0] for name in names}
        others = storage.list_groups(self.place.below(folder) if folder else self.place)
        for name in set(others) - taken:
            key = join(folder, name, METADATA[self.zarr_format])
            yield _Task([key], partial(self._unlisted, key))

    def _unlisted(self, key: str, got: Sequence[bytes | OmeZarrError | None]) -> Iterable[_Task]:
        document = self._parsed(key, got[0]) if got[0] is not None else None
        attributes = (document or {}).get("attributes")
        if isinstance(attributes, dict) and spec.kind(attributes, 3) == "image":
            self._find(groups_.LISTED, key, "", "an image that is not listed")
        return []

    def _compare_labels(self) -> None:
        """Compare label images with the images that they belong to."""
        images = {image.path: image for image in self.images if image.label_of is None}
        for label in self.images:
            image = images.get(label.label_of) if label.label_of is not None else None
            file = join(label.path, METADATA[self.zarr_format])
            if label.label_of is None:
                continue
            for level in label.levels:
                rule = groups_.INTEGERS
                rule = rule if label.version in rule.versions else groups_.INTEGERS_BEFORE
                if not arrays_.is_integer(level.dtype):
                    self._find(rule, level.file, "data type", level.dtype)
            if image is None or not image.levels or not label.levels:
                continue
            counts = len(_datasets(label)), len(_datasets(image))
            if counts[0] != counts[1]:
                told = f"{counts[0]} levels, where the image has {counts[1]}"
                self._find(groups_.SAME_LEVELS, file, "", told)
            for ours, theirs in zip(label.levels[:1], image.levels[:1], strict=True):
                sizes = dict(zip(image.names or (), theirs.shape, strict=False))
                own = dict(zip(label.names or (), ours.shape, strict=False))
                if any(size not in (1, sizes.get(name, size)) for name, size in own.items()):
                    told = f"{brief(own)}, where the image has {brief(sizes)}"
                    self._find(groups_.SAME_SIZES, ours.file, "shape", told)

    # ── images ───────────────────────────────────────────────────────────────────────────────────

    def _image(
        self,
        path: str,
        file: str,
        attributes: Mapping[str, Any],
        version: str,
        label_of: str | None,
    ) -> Iterable[_Task]:
        ome = metadata(attributes, version)
        images = list(ome["multiscales"].objects())
        self.systems[path] = {
            system["name"].value
            for image in images
            for system in image["coordinateSystems"].objects()
            if text(system["name"].value)
        }
        for image in images:
            names = list(_paths(dataset["path"] for dataset in image["datasets"].objects()))
            keys = [join(path, name, ARRAY_METADATA[self.zarr_format]) for name in names]
            dims = version in arrays_.ARRAY_DIMENSIONS.versions
            if dims:
                keys += [join(path, name, ".zattrs") for name in names]
            seen = Seen(
                path, self.zarr_format, version, _axis_names(image), (), attributes, label_of
            )
            yield _Task(keys, partial(self._levels, seen, file, names))
            yield from self._parameters(path, image["coordinateTransformations"].objects())

    def _levels(
        self,
        image: Seen,
        file: str,
        names: Sequence[str],
        got: Sequence[bytes | OmeZarrError | None],
    ) -> Iterable[_Task]:
        levels = []
        for name, found in zip(names, got, strict=False):
            path = join(image.path, name)
            key = join(path, ARRAY_METADATA[self.zarr_format])
            if found is None:
                self._find(arrays_.THERE, key, "", "nothing is there")
                continue
            self.arrays += 1
            document = self._parsed(key, found)
            if document is None:
                continue
            array = arrays_.parse_array(document, path)
            if isinstance(array, str):
                self._find(arrays_.READABLE, key, "", array)
            else:
                levels.append(array)
        for name, found in zip(names, got[len(names) :], strict=False):
            key = join(image.path, name, ".zattrs")
            document = self._parsed(key, found) if found is not None else {}
            dims = (document or {}).get("_ARRAY_DIMENSIONS")
            if dims != list(image.names or ()):
                told = "nothing" if dims is None else brief(dims)
                self._find(arrays_.ARRAY_DIMENSIONS, key, "_ARRAY_DIMENSIONS", told)
        self.findings += arrays_.look_at_arrays(levels, image.names, image.version)
        seen = replace(image, levels=tuple(levels))
        self.images.append(seen)
        if levels:
            self._count_channels(seen, file)
        return []

    def _count_channels(self, image: Seen, file: str) -> None:
        channels = metadata(image.attributes, image.version)["omero"]["channels"]
        names = image.names or tuple("tczyx"[-len(image.levels[0].shape) :])
        sizes = dict(zip(names, image.levels[0].shape, strict=False))
        count = len(channels.value) if isinstance(channels.value, list) else None
        if count is not None and count != sizes.get("c", count):
            told = f"{count} channels, where c has {sizes['c']}"
            self._find(arrays_.CHANNELS, file, channels.path, told)

    # ── files ────────────────────────────────────────────────────────────────────────────────────

    def _parsed(self, file: str, content: bytes | OmeZarrError | None) -> dict[str, Any] | None:
        """Parse a metadata file, and compare it with its copy in the consolidated metadata."""
        if isinstance(content, OmeZarrError):
            self._find(arrays_.JSON, file, "", str(content))
            return None
        try:
            document = load_json(content or b"")
        except ValueError as error:
            self._find(arrays_.JSON, file, "", str(error))
            return None
        if not isinstance(document, dict):
            self._find(arrays_.JSON, file, "", brief(document))
            return None
        self._compare_copy(file, document)
        return document

    def _compare_copy(self, file: str, document: Mapping[str, Any]) -> None:
        """Compare a metadata file with its copy in the consolidated metadata."""
        if self.consolidated is None:
            return
        self.compared.add(file)
        copy = self.consolidated.get(file)
        if not isinstance(copy, dict):
            if file != "zarr.json":
                self._find(arrays_.CONSOLIDATED, file, "", "not in the consolidated metadata")
        elif keys := arrays_.differing(copy, document, "consolidated_metadata"):
            self._find(arrays_.CONSOLIDATED, file, "", f"stale: {', '.join(keys[:5])}")

    def _compare_rest(self) -> None:
        """Look for what the consolidated metadata hold and the walk has not come by."""
        from xarray_omezarr import storage

        # What is empty may as well be left out.
        rest = [
            file
            for file, copy in (self.consolidated or {}).items()
            if copy and file not in self.compared and inside(file) and file.endswith(_COPIED)
        ]
        for start in range(0, min(len(rest), _MOST), _TOGETHER):
            batch = rest[start : start + _TOGETHER]
            for file, content in zip(batch, storage.read_each(self.place, batch), strict=True):
                if content is None:
                    told = "in the consolidated metadata alone"
                    self._find(arrays_.CONSOLIDATED, file, "", told)
                else:
                    self._parsed(file, content)


#: Files whose copies in the consolidated metadata are compared: a .zgroup says nothing.
_COPIED = ("zarr.json", ".zattrs", ".zarray")
#: What a group that is named by another has to be, and the keys that say so.
_EXPECTED: Final = {
    "image": (groups_.IMAGE_THERE, ("multiscales",)),
    "label": (groups_.ALSO_IMAGE, ("multiscales",)),
    "well": (groups_.WELL_IMPLEMENTED, ("well",)),
}


def _paths(parts: Iterable[Part]) -> Iterable[str]:
    """Give paths that lead below their group, each once; what else stands there is not followed."""
    return dict.fromkeys(str(part.value).removesuffix("/") for part in parts if inside(part.value))


def _axis_names(image: Part) -> tuple[str, ...] | None:
    """Give the names of the axes that the arrays of an image have; None where there are none."""
    axes = image["axes"]
    for system in image["coordinateSystems"].objects():
        if system["name"].value == intrinsic(image):
            axes = system["axes"]
    if axes.absent:
        return None
    found = [axis["name"].value if mapping(axis.value) else axis.value for axis in axes.entries()]
    return tuple(str(name) for name in found)


def _datasets(image: Seen) -> list[Part]:
    """Give the levels that the metadata of an image name."""
    first = metadata(image.attributes, image.version)["multiscales"].objects()
    return list(next(iter(first), Part({}))["datasets"].objects())
