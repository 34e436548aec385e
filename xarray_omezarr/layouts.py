"""A tree → the images that it is made of, and the group that lists them.

What lists them is what the tree was opened from, as its encoding tells; a tree that was made by
hand says so by how deep its images are: "row/column/field" is a plate, numbers are a series.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import (
    coordinates,
    descriptions,
    members,
    multiscale,
    plates,
    relations,
    spec,
)
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.members import FIELD
from xarray_omezarr.model import Image
from xarray_omezarr.plates import FieldEntry, Plate, Series, Well
from xarray_omezarr.works import grid_below, prepare, prepare_levels

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import xarray as xr

    from xarray_omezarr.stream import Work
    from xarray_omezarr.works import Grid, Options

#: Where the label images of an image are.
_LABELS = "labels"


@dataclass(frozen=True)
class Content:
    """One image of a tree."""

    levels: tuple[xr.Dataset, ...]
    """All of them, to be written as they are; or one, of which the others are made."""
    labels: Mapping[str, Sequence[xr.Dataset]] = field(default_factory=dict)
    """The levels of its label images, where there are several; else they are in its only level."""
    variable: Hashable = coordinates.IMAGE

    @property
    def array(self) -> xr.DataArray:
        """The pixels of the finest level."""
        return self.levels[0][self.variable]

    @property
    def image(self) -> Image:
        """What is known of it without its levels, as 0.6 would have it."""
        memory = coordinates.memory_of(self.array)
        axes = coordinates.axes_of(self.array, memory.axes)
        _, intrinsic = multiscale.names_in(memory.document)
        return Image("0.6", axes, (), document=memory.document, intrinsic=intrinsic)

    @property
    def names(self) -> list[str]:
        """The names of its label images."""
        if len(self.levels) > 1:
            return list(self.labels)
        found = coordinates.label_images(self.levels[0])
        return [name for name in found if name != self.variable]

    def works(self, options: Options) -> tuple[list[Work], Grid]:
        """Find out what is to be written, and on which levels label images lie, without any I/O."""
        title = self.levels[0].attrs.get("name")
        name = title if isinstance(title, str) else None
        if len(self.levels) > 1:
            arrays = [level[self.variable] for level in self.levels]
            return prepare_levels(arrays, self.labels, options, name)
        (dataset,) = self.levels
        coordinates.warn_of_others(dataset, [self.variable, *self.names])
        works = prepare(self.array, dataset, self.names, options, name)
        return works, grid_below(works[0], options)


@dataclass(frozen=True)
class Layout:
    """The images of a tree, and what lists them."""

    kind: str | None
    """"plate", "well", "series" or "scene"; nothing where they just lie beside each other."""
    images: Mapping[str, Content]
    """By their paths, in order."""
    memory: Mapping[str, Any] = field(default_factory=dict)
    """What the tree was opened from, as its encoding tells."""
    wells: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The attributes that wells were opened with."""
    name: str | None = None

    @property
    def version(self) -> str | None:
        """The version that the tree was opened from, if it is written; None where there is none."""
        told = self.memory.get("version")
        known = [told, *(coordinates.memory_of(one.array).version for one in self.images.values())]
        return next((one for one in known if one in spec.ZARR_FORMATS), None)

    def plate(self, version: str) -> tuple[Plate, dict[str, Well]]:
        """Give the plate that the images are the fields of, and its wells."""
        document = self.memory.get("document") or {}
        plate = Plate(version, (), (), ())
        if document:
            plate = plates.parse_plate(
                document,
                zarr_format=spec.format_of(document),
                place="The tree",
                warn=_silent,
                version=version,
            )
        plate = replace(
            plate, wells=(), field_count=0, name=plate.name if self.name is None else self.name
        )
        entries: dict[str, list[FieldEntry]] = {}
        wells: dict[str, Well] = {}
        for path, content in self.images.items():
            well, _, name = path.rpartition("/")
            if well not in wells:
                wells[well] = self._well(well, version)
            entries.setdefault(well, []).append(_entry(wells[well], name, content))
        for well, listed in entries.items():
            wells[well] = replace(wells[well], fields=tuple(listed))
        counts = {well: len(listed) for well, listed in entries.items()}
        plate = members.with_wells(plate, entries, counts)
        _check_plate(plate, entries)
        return plate, wells

    def well(self, version: str) -> Well:
        """Give the well that the images are the fields of."""
        well = self._well("", version)
        fields = [_entry(well, path, content) for path, content in self.images.items()]
        plates.check_names(version, fields=list(self.images))
        return replace(well, fields=tuple(fields))

    def _well(self, path: str, version: str) -> Well:
        document = self.wells.get(path) or {}
        if not document:
            return Well(version, ())
        return plates.parse_well(
            document,
            zarr_format=spec.format_of(document),
            place=f"The tree's {path}",
            warn=_silent,
            version=version,
        )

    def series(self, version: str) -> Series:
        """Give the series that the images are."""
        paths, folder = tuple(self.images), self.memory.get("folder") or {}
        numbered = paths == tuple(map(str, range(len(paths))))
        listed = "series" in spec.ome_attributes(folder, spec.format_of(folder))
        return Series(
            version,
            # "series: paths of the images"; without it, they are 0, 1, 2 and so on.
            None if numbered and not listed else paths,
            xml=self.memory.get("xml"),
            document=self.memory.get("document") or {},
            folder=folder,
        )

    def others(self, version: str, warn: Callable[[str], None]) -> Mapping[str, Any]:
        """Give what else the group said: of a scene, all that can be written of it."""
        document = self.memory.get("document") or {}
        ome = dict(spec.ome_attributes(document, spec.V3))
        scene = ome.pop("scene", None) or {}
        entries = scene.get("coordinateTransformations") or []
        kept = self.relations() if version == "0.6" else []
        if len(kept) < len(entries):
            warn(
                f"{len(entries) - len(kept)} of {len(entries)} transformations of the scene are "
                "left out: they lead to images that are not written, have their parameters in "
                f"arrays, which are not written either, or version {version} has no place for them."
            )
        others = {key: value for key, value in document.items() if key != "ome"}
        told: Mapping[str, Any] = {}
        if kept:
            # "scene: coordinateTransformations MUST be there, one at least" (0.6).
            told = {**scene, "coordinateTransformations": kept}
        elif version == "0.6" and not entries and self.kind == "scene":
            told = relations.of_images({path: one.image for path, one in self.images.items()})
        if told:
            others["ome"] = {**ome, "version": version, "scene": told}
        return copy.deepcopy(others)

    def relations(self) -> list[Mapping[str, Any]]:
        """Give the transformations of the scene that the images are from which lead to them."""
        scene = spec.ome_attributes(self.memory.get("document") or {}, spec.V3).get("scene") or {}
        entries = scene.get("coordinateTransformations") or []
        return [entry for entry in entries if self._is_kept(entry)]

    def _is_kept(self, entry: Any) -> bool:  # noqa: ANN401 - any JSON
        ends = [entry.get(key) or {} for key in ("input", "output")]
        paths = [end.get("path") for end in ends if isinstance(end, dict)]
        return not descriptions.reads_arrays(entry) and all(
            path is None or path.rstrip("/") in self.images for path in paths
        )

    def below(self, path: str) -> Layout:
        """Give the same images below a path."""
        if not path:
            return self
        return replace(
            self,
            images={f"{path}/{name}": content for name, content in self.images.items()},
            wells={f"{path}/{name}".rstrip("/"): told for name, told in self.wells.items()},
        )


def _entry(well: Well, path: str, content: Content) -> FieldEntry:
    """Describe a field as its well did, but for what its coordinates say."""
    old = next((one for one in well.fields if one.path == path), FieldEntry(path))
    told = coordinates.acquisition_of(content.array)
    return old if told is None else replace(old, acquisition=told)


def _silent(_: str) -> None:
    """Say nothing: whoever opened it was told."""


def _check_plate(plate: Plate, entries: Mapping[str, Sequence[FieldEntry]]) -> None:
    plates.check_names(
        plate.version,
        rows=plate.rows,
        columns=plate.columns,
        fields=dict.fromkeys(one.path for listed in entries.values() for one in listed),
    )
    if len(plate.acquisitions) < 2:  # noqa: PLR2004
        return
    missing = [
        f"{well}/{one.path}"
        for well, listed in entries.items()
        for one in listed
        if one.acquisition is None
    ]
    if missing:
        # "acquisition: if the plate has multiple acquisitions, it MUST be present" (0.4 to 0.6).
        known = ", ".join(str(one.id) for one in plate.acquisitions)
        msg = (
            f"The plate has several acquisitions, {known}: say which one {missing[0]} is of, by "
            "the coordinate 'acquisition'."
        )
        raise OmeZarrError(msg)


# ── trees ────────────────────────────────────────────────────────────────────────────────────────


def is_image(tree: xr.DataTree, variable: str | None) -> bool:
    """Say whether the nodes of a tree are the levels of one image."""
    key = variable or coordinates.IMAGE
    return _memory(tree).get("kind") not in _KINDS and any(
        key in node.data_vars for node in tree.children.values()
    )


#: What a tree can have been opened from that has several images.
_KINDS = ("plate", "well", "series", "scene", "group")


def of_tree(
    tree: xr.DataTree, variable: str | None, depth: int | None = None, among: str | None = None
) -> Layout:
    """Find the images of a tree.

    Parameters
    ----------
    tree
        Images at any depth, with their levels and label images below them.
    variable
        What holds the pixels.
    depth
        How deep they are, where that is known.
    among
        What they are to be added to, if anything.

    Raises
    ------
    OmeZarrError
        Where there are none, or it is not clear what they are.
    """
    key = variable or coordinates.IMAGE
    memory = _memory(tree)
    kind = memory.get("kind")
    if depth is None or (kind == among == "scene"):
        depth = _depth(tree, key) if kind not in _KINDS else {"plate": FIELD, "well": 1}.get(kind)
    images = {} if depth == 0 else dict(_images(tree, "", key, depth))
    if not images:
        msg = (
            f"The tree has no images: expected nodes with a variable '{key}', like /A/1/0 or "
            "/A/1/0/0 for a field of a plate or a level of one."
        )
        raise OmeZarrError(msg)
    if kind not in _KINDS:
        numbered = all(path.isdecimal() for path in images)
        kind = {FIELD: "plate", 1: "series" if numbered else None}.get(depth or 0)
        if kind is None and relations.of_images({path: one.image for path, one in images.items()}):
            kind = "scene"
    title = tree.attrs.get("name")
    return Layout(
        None if kind == "group" else kind,
        images,
        memory,
        {
            path: _memory(tree[path] if path else tree).get("document") or {}
            for path in dict.fromkeys(path.rpartition("/")[0] for path in images)
        },
        title if isinstance(title, str) else None,
    )


def _memory(tree: xr.DataTree | xr.DataArray) -> Mapping[str, Any]:
    found = tree.encoding.get("omezarr")
    return found if isinstance(found, dict) else {}


def _depth(tree: xr.DataTree, key: str) -> int:
    """Find out how deep the images of a tree are that nothing else is known of; 0 for none."""
    depths = set(_depths(tree, key, 0))
    if not depths:
        return 0
    # A field of a plate has its pixels itself, or its levels have.
    if depths and depths <= {FIELD, FIELD + 1}:
        return FIELD
    if depths == {2}:
        return 1
    msg = (
        f"The tree has a variable '{key}' at the depths {sorted(depths)}: it is not clear which "
        "nodes are images. Expected /row/column/field (a plate) or /row/column/field/level; "
        "/image/level; or /level, of a single image."
    )
    raise OmeZarrError(msg)


def _depths(node: xr.DataTree, key: str, depth: int) -> Iterator[int]:
    if key in node.data_vars:
        yield depth
        return
    for name, child in node.children.items():
        # Labels of an image: a row of a plate may be called like that.
        if depth < FIELD or name != _LABELS:
            yield from _depths(child, key, depth + 1)


def _images(
    node: xr.DataTree, path: str, key: str, depth: int | None
) -> Iterator[tuple[str, Content]]:
    """Yield the images at a depth; where it is not known, at any."""
    here = path.count("/") + 1 if path else 0
    if depth is None or here == depth:
        content = _content(node, key)
        if content is not None:
            yield path, content
            return
    if depth is None or here < depth:
        for name, child in node.children.items():
            yield from _images(child, f"{path}/{name}".lstrip("/"), key, depth)


def _content(node: xr.DataTree, key: str) -> Content | None:
    """Give the image that a node is, if it is one."""
    if key in node.data_vars:
        return Content((with_labels(node.to_dataset(), node, key),), variable=key)
    if not any(key in child.data_vars for child in node.children.values()):
        return None
    levels = tree_levels(node, key)
    if len(levels) == 1:
        return Content((with_labels(levels[0], node, key),), variable=key)
    return Content(tuple(levels), tree_labels(node), variable=key)


def with_labels(dataset: xr.Dataset, node: xr.DataTree, key: str) -> xr.Dataset:
    """Add the label images below a node to the only level of its image."""
    pixels = dataset[key]
    for name, levels in tree_labels(node).items():
        label = levels[0]
        sizes = {dim: label.sizes[dim] for dim in label[name].dims}
        # An axis of length 1, along which the image is longer, says that the labels hold for all.
        single = [dim for dim, n in sizes.items() if n == 1 and pixels.sizes.get(dim, 1) != 1]
        label = label.isel(dict.fromkeys(single, 0), drop=True)
        dims = label[name].dims
        off = [
            str(dim)
            for dim in dims
            if dim in label.coords
            and dim in pixels.coords
            and not np.array_equal(label[dim].values, pixels[dim].values)
        ]
        if off:
            msg = (
                f"The label image '{name}' at {node.path} has other positions than its image along "
                f"{', '.join(off)}. Labels lie on the pixels of their image."
            )
            raise OmeZarrError(msg)
        variable = label[name].variable.copy(deep=False)
        known = variable.encoding.get("omezarr")
        variable.encoding["omezarr"] = {**(known or {}), "kind": "label"}
        table = label.drop_vars([name, *(n for n in label.coords if n in dataset.coords)])
        dataset = dataset.assign({name: variable}).merge(table, compat="override")
    return dataset


# ── the levels of an image ───────────────────────────────────────────────────────────────────────


def tree_levels(tree: xr.DataTree, image: str | None) -> list[xr.Dataset]:
    """Collect the levels of a tree, the finest first; empty ones are dropped with a warning."""
    key = image or coordinates.IMAGE
    levels = levels_below(tree, key)
    if not levels:
        msg = (
            f"The tree has no levels: expected children '0', '1', … with a variable '{key}', "
            f"found {', '.join(tree.children) or 'none'}."
        )
        raise OmeZarrError(msg)
    return _filled(levels, key)


def tree_labels(tree: xr.DataTree) -> dict[str, list[xr.Dataset]]:
    """Collect the label images of a tree, by name, with their levels and their tables."""
    if "labels" not in tree.children:
        return {}
    labels = {}
    for name, node in tree.children["labels"].children.items():
        levels = levels_below(node, name)
        if levels:
            filled = _filled(levels, name)
            # Coordinates of the table are inherited by the levels, its variables are not.
            filled[0] = filled[0].assign(node.to_dataset().data_vars)
            labels[str(name)] = filled
    return labels


def levels_below(tree: xr.DataTree, key: str) -> dict[str, xr.Dataset]:
    """Give the levels that the nodes of a tree are, by their names, the finest first."""
    nodes = [node for node in tree.children.values() if key in node.data_vars]
    if all(str(node.name).isdecimal() for node in nodes):
        nodes.sort(key=lambda node: int(str(node.name)))
    return {str(node.name): node.to_dataset(inherit=True) for node in nodes}


def _filled(levels: Mapping[str, xr.Dataset], key: str) -> list[xr.Dataset]:
    empty = [name for name, level in levels.items() if not level[key].size]
    if len(empty) == len(levels):
        msg = f"All levels of '{key}' are empty: there is nothing to write. Select a larger region."
        raise OmeZarrError(msg)
    if empty:
        warn(f"Levels of '{key}' without a pixel are left out: {', '.join(empty)}.")
    return [level for name, level in levels.items() if name not in empty]
