"""Store → {path: Dataset}: an image with all its levels, or all the images that a group holds.

All of the metadata of one kind are fetched side by side: of a plate, its wells, then their fields,
then the arrays of all of these. What alike fields have in common is made once.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr import (
    census,
    chunked,
    documents,
    multiscale,
    plates,
    read,
    relations,
    screens,
    spec,
    storage,
    stores,
)
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError, telling, warn
from xarray_omezarr.picking import Budget, NoFinerThan, Resolution
from xarray_omezarr.rasters import Rasters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from xarray_omezarr.chunked import Described
    from xarray_omezarr.model import Image
    from xarray_omezarr.rasters import Scalar
    from xarray_omezarr.read import Label
    from xarray_omezarr.screens import Fields, Wells
    from xarray_omezarr.storage import Node
    from xarray_omezarr.stores import Place

    Scalars = dict[str, Scalar]


@dataclass(frozen=True)
class _Asked:
    """What of each image is opened."""

    labels: bool | Sequence[str] | None
    level: object
    drop_variables: str | Iterable[str] | None
    version: str | None


@dataclass(frozen=True)
class _Member:
    """An image of a tree."""

    path: str
    """Below the root; "" where it is the root itself."""
    node: Node
    image: Image
    scalars: Scalars = field(default_factory=dict)
    """What its nodes say of where it is."""
    name: str | None = None
    """What it is called where its own metadata do not count."""


@dataclass(frozen=True)
class _Group:
    """A group that holds images: these, and what its own nodes hold."""

    members: Sequence[_Member]
    nodes: dict[str, xr.Dataset]


def open_tree(
    target: object,
    *,
    group: str | None,
    labels: bool | Sequence[str] | None = None,
    level: object = None,
    wells: Wells | None = None,
    fields: Fields | None = None,
    storage_options: Mapping[str, Any] | None = None,
    drop_variables: str | Iterable[str] | None = None,
    version: str | None = None,
) -> dict[str, xr.Dataset]:
    """Open all images of a group, or an image, as `/`, and a node for each level of each.

    The levels of an image are `0`, `1` and so on, the finest first. Label images are
    `labels/<name>/0` and so on, with their properties at `labels/<name>`.
    """
    asked = _Asked([labels] if isinstance(labels, str) else labels, level, drop_variables, version)
    place = stores.locate(target, group, storage_options=storage_options)
    node = census.fetch_root(place)
    kind = node.kind
    chosen = {"wells": wells, "fields": fields}
    where = {"wells": ("plate",), "fields": ("plate", "well")}
    for name, value in chosen.items():
        if value is not None and kind not in where[name]:
            msg = f"{name}= is for plates; {place.name} is no {' and no '.join(where[name])}."
            raise OmeZarrError(msg)
    if kind == "image":
        member = _Member("", node, read.parse(place, node, version))
        groups = _open(place, _Group([member], {}), asked, alone=True)
    else:
        if kind == "plate":
            found = _plate(place, node, wells, fields, version)
        elif kind == "well":
            found = _well(place, node, fields, version)
        elif kind == "scene":
            found = _scene(place, node, version)
        elif kind == "series" and _is_layout(node):
            found = _series(place, node, version)
        elif kind is None:
            found = _plain(place, node, version)
        else:
            raise census.no_image(place, node)
        groups = _open(place, found, asked, alone=False)
    return {path: read.finish(dataset, target, place) for path, dataset in groups.items()}


def _is_layout(node: Node) -> bool:
    """Say whether a group is that of a series, and not the one that lists it."""
    return "bioformats2raw.layout" in spec.ome_attributes(node.attributes, node.zarr_format)


# ── what holds images ────────────────────────────────────────────────────────────────────────────


def _root(name: str | None, **about: object) -> dict[str, xr.Dataset]:
    """Make the root of a tree, which keeps what the file says of it."""
    root = xr.Dataset(attrs={} if name is None else {"name": name})
    root.encoding["omezarr"] = about
    return {"/": root}


def _plate(
    place: Place, node: Node, wells: Wells | None, fields: Fields | None, version: str | None
) -> _Group:
    screen = screens.read_screen(
        place, node, wells=wells, fields=fields, warn=warn, version=version
    )
    plate = screen.plate
    nodes = _root(plate.name, kind="plate", version=plate.version, document=plate.document)
    where: dict[str, Scalars] = {}
    for entry, well, _ in screen.wells:
        inner = xr.Dataset()
        inner.encoding["omezarr"] = {
            "kind": "well", "version": well.version, "document": well.document,
        }  # fmt: skip
        nodes[f"/{entry.path}"] = inner
        where[entry.path] = _scalars(row=entry.row, column=entry.column, well=entry.path)
    members = [
        _Member(at.path, one, image, where[at.well.path] | _of_field(at.field))
        for at, one, image in screens.read_images(screen, warn=warn, version=version)
    ]
    return _Group(members, nodes)


def _scalars(**values: object) -> Scalars:
    return {name: np.asarray(value) for name, value in values.items()}


def _of_field(entry: plates.FieldEntry) -> Scalars:
    found = _scalars(field=entry.path)
    if entry.acquisition is not None:
        found |= _scalars(acquisition=entry.acquisition)
    return found


def _well(place: Place, node: Node, fields: Fields | None, version: str | None) -> _Group:
    told = _told(node, version)
    well = plates.parse_well(
        node.attributes, zarr_format=node.zarr_format, place=place.name, warn=warn, version=told
    )
    entries = {one.path: one for one in screens.chosen_of(well.fields, screens.chosen(fields))}
    if fields is not None and not entries:
        raise screens.no_field(place, fields, [one.path for one in well.fields])
    # "The path of a well MUST be the row, a slash, and the column" (0.4 to 0.6).
    row, column = ["", *(place.path or place.name).replace("\\", "/").split("/")][-2:]
    where = _scalars(row=row, column=column, well=f"{row}/{column}") if row and column else {}
    members = _members(
        place,
        node,
        dict.fromkeys(entries),
        version,
        scalars={path: where | _of_field(one) for path, one in entries.items()},
    )
    about = {"kind": "well", "version": well.version, "document": well.document}
    return _Group(members, _root(None, **about))


def _told(node: Node, version: str | None) -> str | None:
    """Give the version to read a group by where it says none itself, as many do."""
    silent = next(spec.declared_versions(node.attributes, node.zarr_format), None) is None
    return version or (spec.version_of(node.attributes, node.zarr_format) if silent else None)


def _series(place: Place, node: Node, version: str | None) -> _Group:
    series = census.read_series(place, node, warn=warn, version=version)
    paths = series.paths or ()
    named = dict(zip(paths, series.names, strict=False)) if len(series.names) == len(paths) else {}
    nodes = _root(
        None,
        kind="series",
        version=series.version,
        document=series.document,
        folder=series.folder,
        paths=paths,
        names=series.names,
        xml=series.xml,
    )
    return _Group(_members(place, node, {path: named.get(path) for path in paths}, version), nodes)


def _scene(place: Place, node: Node, version: str | None) -> _Group:
    scene = spec.ome_attributes(node.attributes, node.zarr_format)["scene"]
    paths = relations.scene_paths(scene, place=place.name)
    name = scene.get("name") if isinstance(scene, dict) else None
    nodes = _root(
        name if isinstance(name, str) else None,
        kind="scene",
        version=version or spec.version_of(node.attributes, node.zarr_format),
        document=node.attributes,
        paths=paths,
    )
    return _Group(_members(place, node, dict.fromkeys(paths), version), nodes)


def _plain(place: Place, node: Node, version: str | None) -> _Group:
    found = census.images_below(place, node)
    if not found:
        raise census.no_image(place, node)
    members = _members(place, node, dict.fromkeys(found), version, nodes=found)
    return _Group(members, _root(None, kind="group", document=node.attributes))


def _members(
    place: Place,
    node: Node,
    names: Mapping[str, str | None],
    version: str | None,
    *,
    nodes: Mapping[str, Node] | None = None,
    scalars: Mapping[str, Scalars] | None = None,
) -> list[_Member]:
    """Read the images at some paths; what is missing or broken is left out with a warning."""
    paths = list(names)
    found: Sequence[Node | OmeZarrError | None]
    if nodes is None:
        found = storage.fetch_below(place, paths, node.zarr_format)
    else:
        found = [nodes[path] for path in paths]
    findings = census.Findings(place, "images")
    members = []
    for path, one in zip(paths, found, strict=True):
        image = census.parse_member(place, path, one, findings, version)
        if image is not None and not isinstance(one, OmeZarrError) and one is not None:
            own = (scalars or {}).get(path, {})
            members.append(_Member(path, one, image, own, names[path]))
    findings.tell(warn)
    return members


# ── their levels ─────────────────────────────────────────────────────────────────────────────────


class _Pile:
    """The nodes of a tree, as they are put together."""

    def __init__(self, place: Place, group: _Group, asked: _Asked, *, alone: bool) -> None:
        self.place = place
        self.asked = asked
        self.alone = alone
        self.labels = alone if asked.labels is None else asked.labels
        self.nodes = {"/": xr.Dataset(), **group.nodes}
        self.findings = census.Findings(place, "images")
        self.rasters = Rasters(asked.drop_variables, indexed=not alone)
        self.models = chunked.Models(place)
        self._contents: dict[str, bytes | OmeZarrError | None] = {}

    def read(self, files: Sequence[str]) -> list[bytes | OmeZarrError | None]:
        """Read files, all side by side, and none of them twice."""
        new = [file for file in dict.fromkeys(files) if file not in self._contents]
        self._contents.update(zip(new, storage.read_each(self.place, new), strict=True))
        return [self._contents[file] for file in files]

    def place_of(self, path: str) -> Place:
        return self.place.below(path) if path else self.place

    @contextmanager
    def noting(self, path: str) -> Iterator[None]:
        """Take down what is wrong with an image of several, to be told of by its kind."""
        if self.alone:
            yield
            return
        with telling(self.findings.noting(path, self.place_of(path).name)):
            try:
                yield
            except OmeZarrError as error:
                self.findings.refuse(error)

    def add(self, path: str, dataset: xr.Dataset) -> None:
        """Add a node; what two images have at one place is the first one's."""
        key = f"/{path}"
        taken = self.nodes.get(key)
        if taken is not None and taken.variables:
            msg = f"{self.place_of(path).name} is where a level of another image is."
            raise OmeZarrError(msg)
        self.nodes[key] = dataset


def _open(place: Place, group: _Group, asked: _Asked, *, alone: bool) -> dict[str, xr.Dataset]:
    pile = _Pile(place, group, asked, alone=alone)
    if isinstance(asked.level, Budget):
        pile.asked = replace(asked, level=_fitting(pile, group.members, asked.level))
    wanted: list[tuple[_Member, list[int]]] = []
    for member in group.members:
        try:
            wanted.append((member, _indices(pile, member)))
        except OmeZarrError as error:
            pile.findings.refuse(error)
            if alone or (member is group.members[-1] and not wanted):
                raise
    arrays = [
        join(member.path, member.image.levels[i].path, _array_file(member))
        for member, indices in wanted
        for i in indices
    ]
    lists = [join(member.path, "labels", _group_file(member)) for member, _ in wanted]
    contents = iter(pile.read(arrays + (lists if pile.labels else [])))
    members = []
    for member, indices in wanted:
        found = [
            _describe(pile, join(member.path, member.image.levels[i].path), next(contents), member)
            for i in indices
        ]
        with pile.noting(member.path):
            levels = _levels(pile, member, indices, found)
            for i, dataset in levels.items():
                pile.add(join(member.path, str(i)), dataset)
            members.append(member)
    if pile.labels:
        folders = {member.path: next(contents) for member, _ in wanted}
        _add_labels(pile, members, folders)
    pile.findings.tell(warn)
    return pile.nodes


def _array_file(member: _Member) -> str:
    return documents.ARRAY_METADATA[member.node.zarr_format]


def _group_file(member: _Member) -> str:
    return documents.METADATA[member.node.zarr_format]


def _fitting(pile: _Pile, members: Sequence[_Member], budget: Budget) -> NoFinerThan:
    """Find the finest level at which all images together fit into so many bytes."""
    paths = [[join(m.path, one.path) for one in m.image.levels] for m in members]
    files = [
        join(path, _array_file(m)) for m, own in zip(members, paths, strict=True) for path in own
    ]
    contents = iter(pile.read(files))
    totals: dict[int, int] = {}
    shown: dict[int, str] = {}
    sizes: list[dict[int, int]] = []
    for member, own in zip(members, paths, strict=True):
        arrays = [_describe(pile, path, next(contents), member) for path in own]
        with pile.noting(member.path):
            sizes.append(read.pixel_bytes(arrays))
            shown = shown or read.shapes(arrays)
    for number in sorted({number for one in sizes for number in one}):
        # Where an image has no such level, it is opened at its coarsest.
        totals[number] = sum(one.get(number, one[max(one)]) for one in sizes)
    if len(members) > 1:
        shown = dict.fromkeys(totals, f"{len(members)} images")
    return NoFinerThan(budget.pick(totals, place=pile.place.name, shapes=shown))


def _indices(pile: _Pile, member: _Member) -> list[int]:
    """Say which levels of an image are opened."""
    count, level = len(member.image.levels), pile.asked.level
    if level is None:
        return list(range(count))
    if isinstance(level, NoFinerThan):
        return [min(level.number, count - 1)]
    if isinstance(level, Resolution):
        return [level.of(member.image, place=pile.place_of(member.path).name)]
    several: list[Any] = list(level) if isinstance(level, (list, tuple, range)) else [level]
    for one in several:
        if not isinstance(one, (int, np.integer)) or not -count <= one < count:
            inside = pile.place_of(member.path)
            if pile.alone:
                raise read.no_such_level(inside, member.image, member.node.zarr_format, one)
            msg = f"{inside.name} has no level {one!r:.40}; it has {count}, from 0."
            raise OmeZarrError(msg)
    return list(dict.fromkeys(int(one) % count for one in several))


def _describe(
    pile: _Pile, path: str, content: bytes | OmeZarrError | None, member: _Member
) -> Described | OmeZarrError:
    if isinstance(content, OmeZarrError) and not pile.alone:
        # A store that fails is not one of which something is missing.
        raise content
    return pile.models.describe(path, content, member.node.zarr_format)


def _levels(
    pile: _Pile,
    member: _Member,
    indices: Sequence[int],
    arrays: Sequence[Described | OmeZarrError],
    label: str | None = None,
) -> dict[int, xr.Dataset]:
    """Make the Datasets of the levels of an image; one that is missing is left out."""
    inside, image = pile.place_of(member.path), member.image
    read.check_positions(inside, arrays)
    first = arrays[0]
    if isinstance(first, OmeZarrError):
        raise first
    image = multiscale.fitted(image, first.ndim, place=inside.name, warn=warn)
    levels: dict[int, xr.Dataset] = {}
    for index, found in zip(indices, arrays, strict=True):
        if isinstance(found, OmeZarrError):
            warn(f"{found} Level {index} is left out.")
            continue
        # 0.6: "all arrays of a multiscale image MUST have the same data type".
        if found.dtype != first.dtype:
            warn(f"{inside.name}: level {index} is of type {found.dtype}, level {indices[0]} of "
                 f"{first.dtype}")  # fmt: skip
        if math.prod(found.shape) > math.prod(first.shape):
            warn(f"{inside.name}: level {index} of shape {found.shape} is larger than level "
                 f"{indices[0]}, {first.shape}")  # fmt: skip
        dataset = pile.rasters.dataset(
            inside, image, index, found, warn=_ignore if levels else warn, scalars=member.scalars
        )
        if label is not None:
            dataset = read.as_label(dataset, label)
        elif member.name is not None:
            dataset.attrs["name"] = member.name
        levels[index] = dataset
    return levels


def _ignore(_: str) -> None:
    """Say nothing more of an image of which all was said with its first level."""


# ── their labels ─────────────────────────────────────────────────────────────────────────────────


def _add_labels(
    pile: _Pile, members: Sequence[_Member], folders: Mapping[str, bytes | OmeZarrError | None]
) -> None:
    """Add the label images of images: one round for their groups, and one for their arrays."""
    names = None if isinstance(pile.labels, bool) else pile.labels
    wanted: list[tuple[_Member, list[str], list[str]]] = []
    for member in members:
        with pile.noting(member.path):
            folder = _folder(pile, member, folders[member.path])
            wanted.append((member, *read.label_names(pile.place_of(member.path), folder, names)))
    paths = [join(m.path, "labels", name) for m, some, _ in wanted for name in some]
    found: dict[str, Node | OmeZarrError] = {}
    for form in {member.node.zarr_format for member, *_ in wanted}:
        found |= dict(zip(paths, storage.fetch_each(pile.place, paths, form), strict=True))
    labels: list[tuple[_Member, Label]] = []
    for member, some, listed in wanted:
        with pile.noting(member.path):
            nodes = {name: found[join(member.path, "labels", name)] for name in some}
            inside = pile.place_of(member.path)
            labels += [(member, label) for label in read.parse_labels(inside, nodes, listed, names)]
    _add_label_levels(pile, labels)


def _folder(pile: _Pile, member: _Member, content: bytes | OmeZarrError | None) -> Node | None:
    """Read the list of an image's label images; a broken one does no harm to the image."""
    if isinstance(content, OmeZarrError):
        raise content
    inside = pile.place_of(join(member.path, "labels"))
    v3 = member.node.zarr_format == spec.V3
    return storage.tolerated(inside, content if v3 else None, None if v3 else content)


def _add_label_levels(pile: _Pile, labels: Sequence[tuple[_Member, Label]]) -> None:
    keys: list[str] = []
    parts: list[tuple[_Member, Label, _Member, list[int]]] = []
    for member, label in labels:
        path = join(member.path, "labels", label.path)
        own = _Member(path, label.node, label.image, member.scalars)
        indices = _same_levels(pile, member, label)
        if not indices:
            continue
        parts.append((member, label, own, indices))
        keys += [join(path, label.image.levels[i].path, _array_file(own)) for i in indices]
    contents = iter(storage.read_each(pile.place, keys))
    for member, label, own, indices in parts:
        inside = pile.place_of(own.path)
        found = [
            _describe(pile, join(own.path, own.image.levels[i].path), next(contents), own)
            for i in indices
        ]
        with pile.noting(member.path):
            if label.name in label.image.dims:
                warn(f"{inside.name} has the name of one of its axes; the label image is left out")
                continue
            try:
                levels = _levels(pile, own, indices, found, label.name)
            except OmeZarrError as error:
                warn(f"{error} The label image is left out.")
                continue
            _check_label(pile, member, own, levels)
            pile.nodes.setdefault(f"/{join(member.path, 'labels')}", xr.Dataset())
            table = read.table(label, inside, pile.asked.drop_variables)
            pile.add(
                own.path,
                table.assign_coords({n: ((), v) for n, v in member.scalars.items()})
                if table.variables
                else table,
            )
            for i, dataset in levels.items():
                pile.add(join(own.path, str(i)), dataset)


def _same_levels(pile: _Pile, member: _Member, label: Label) -> list[int]:
    """Say which levels of a label image go with the levels of its image that are opened."""
    count = len(label.image.levels)
    if pile.asked.level is None:
        return list(range(count))
    return [i for i in _indices(pile, member) if i < count]


def _check_label(
    pile: _Pile, member: _Member, own: _Member, levels: Mapping[int, xr.Dataset]
) -> None:
    name = pile.place_of(own.path).name
    found, expected = len(own.image.levels), len(member.image.levels)
    if pile.asked.level is None:
        found = len(levels)
    if found < expected:
        # "The number of levels MUST be that of the image" (0.4 and 0.5, labels).
        warn(f"{name}: the label image has {found} of the {expected} levels of its image")
    if any(array.dtype.kind not in "iu" for ds in levels.values() for array in ds.values()):
        # 0.5: "the pixels of the label images MUST be integer data types".
        warn(f"{name}: labels are not all integers")
