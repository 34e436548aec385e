"""What can be told of an image, or of what holds several, without reading a pixel: as values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import coordinates, layouts, slots, spec
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.facts import (
    AxisFacts,
    EntryFacts,
    LabelFacts,
    LevelFacts,
    PlateFacts,
    axis_facts,
)
from xarray_omezarr.looks import looks_of
from xarray_omezarr.origins import origin_of
from xarray_omezarr.redaction import shown
from xarray_omezarr.thumbnails import first_field, is_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from xarray_omezarr.chunked import Described
    from xarray_omezarr.origins import Origin

#: So many properties of labels, channels and levels are listed.
MOST_LISTED = 24
#: So many images of a tree are.
_MOST_ENTRIES = 12
#: Of label images in memory of up to so many pixels the labels are counted.
_MOST_COUNTED = 2**22


@dataclass(frozen=True)
class ChannelFacts:
    """A channel of an image."""

    name: str
    color: str
    """Six hexadecimal digits."""
    window: tuple[float, float] | None
    active: bool


@dataclass(frozen=True)
class ImageFacts:
    """An image."""

    kind: str
    """"image", "label image" or "stack of a plate"."""
    name: str | None
    variable: str
    source: str | None
    version: str | None
    dtype: str
    nbytes: int
    state: str
    """Where the pixels are: "not read yet", "in memory" or "a graph of dask"."""
    axes: tuple[AxisFacts, ...]
    levels: tuple[LevelFacts, ...] = ()
    channels: tuple[ChannelFacts, ...] = ()
    labels: tuple[LabelFacts, ...] = ()
    plate: PlateFacts | None = None
    """Of a stack of fields, where these are."""
    notes: tuple[str, ...] = ()
    """What could not be told."""


@dataclass(frozen=True)
class GroupFacts:
    """A group that holds several images."""

    kind: str
    """"plate", "well", "series", "scene" or "group"."""
    name: str | None
    source: str | None
    version: str | None
    images: int
    entries: tuple[EntryFacts, ...]
    """The first ones."""
    nbytes: int
    """Of the finest levels together, when they are in memory."""
    plate: PlateFacts | None = None
    first: ImageFacts | None = None
    """What the first image is like."""


# ── an image ─────────────────────────────────────────────────────────────────────────────────────


def of_dataset(dataset: xr.Dataset) -> ImageFacts:
    """Tell what can be told of the image of a Dataset without asking any store.

    Raises
    ------
    OmeZarrError
        Where it is not clear which variable is the image, or what its axes are.
    """
    array = dataset[coordinates.find_image(dataset)]
    facts = of_array(array)
    name, source = dataset.attrs.get("name"), dataset.encoding.get("source")
    labels = tuple(
        _label(dataset, label)
        for label in coordinates.labels_to_show(dataset)
        if label != facts.variable
    )
    return replace(
        facts,
        name=name if isinstance(name, str) else None,
        source=facts.source or _shown(source),
        labels=labels,
    )


def of_array(array: xr.DataArray) -> ImageFacts:
    """Tell what can be told of an image without asking any store."""
    field = first_field(array)
    memory = coordinates.memory_of(field)
    notes: list[str] = []
    origin = origin_of(array)
    version = None if memory.version is None else str(memory.version)
    stacked = slots.is_stack(array)
    return ImageFacts(
        kind="stack of a plate" if stacked else "label image" if is_label(array) else "image",
        name=None,
        variable=str(array.name) if array.name is not None else coordinates.IMAGE,
        source=None if origin is None else origin.source,
        version=version,
        dtype=str(array.dtype),
        nbytes=array.nbytes,
        state=_state(array),
        axes=tuple(_axes(array, field, notes)),
        levels=() if origin is None else levels_of(origin, {}),
        channels=tuple(_channels(field, notes)),
        plate=_stacked(array) if stacked else None,
        notes=tuple(notes),
    )


def levels_of(
    origin: Origin, found: Mapping[int, Described | OmeZarrError]
) -> tuple[LevelFacts, ...]:
    """Tell of the levels of an image, as far as they have been looked at."""
    levels = []
    for number in range(origin.count):
        array = found.get(number, origin.array if number == origin.number else None)
        here = number == origin.number
        if array is None or isinstance(array, OmeZarrError):
            shape = origin.expected_shape(number)
            problem = None if array is None else str(array)
            nbytes = math.prod(shape) * origin.array.dtype.itemsize
            levels.append(LevelFacts(number, shape, nbytes, expected=True, problem=problem))
            continue
        nbytes = math.prod(array.shape) * array.dtype.itemsize
        chunks, shards = array.model.chunks, array.model.shards
        levels.append(LevelFacts(number, array.shape, nbytes, chunks, shards, here=here))
    return tuple(levels)


def _shown(source: object) -> str | None:
    return shown(str(source)) if source is not None else None


def _state(array: xr.DataArray) -> str:
    if array.chunks is not None:
        count = math.prod(map(len, array.chunks))
        return f"a graph of dask, of {count:,} chunk{'s' * (count > 1)}"
    return "in memory" if array.variable._in_memory else "not read yet"  # noqa: SLF001


def _axes(array: xr.DataArray, field: xr.DataArray, notes: list[str]) -> Iterator[AxisFacts]:
    """Tell of the axes; those along which the fields of a stack lie have no length."""
    known = {axis.name: axis for axis in coordinates.axes_of(field, _known(field))}
    chunks = array.variable.encoding.get("preferred_chunks") if array.chunks is None else None
    if array.chunks is not None:
        chunks = dict(zip(map(str, array.dims), (max(c) for c in array.chunks), strict=True))
    for dim in map(str, array.dims):
        chunk = chunks.get(dim) if isinstance(chunks, dict) else None
        size = array.sizes[dim]
        axis = known.get(dim)
        facts = AxisFacts(dim, size, None, None, chunk=chunk)
        if axis is None or axis.is_channel or not size:
            yield facts
            continue
        try:
            found = coordinates.transform_of(field, [axis])
        except OmeZarrError as error:
            notes.append(str(error))
            yield replace(facts, unit=axis.unit)
            continue
        (scale,), (first,) = found.scale, found.translation
        yield axis_facts(axis, size, scale, first, chunk)


def _known(field: xr.DataArray) -> Mapping[str, Any]:
    return coordinates.memory_of(field).axes


def _channels(field: xr.DataArray, notes: list[str]) -> Iterator[ChannelFacts]:
    """Tell of the channels: all of them, those that are not shown as well."""
    if is_label(field):
        return
    try:
        shown_ones = looks_of(field)
        dim = shown_ones.dim
        if dim is None and not any(one.name for one in shown_ones.channels):
            return
        every = None if dim is None else range(field.sizes[dim])
        looks = shown_ones if every is None else looks_of(field, channels=list(every))
    except OmeZarrError as error:
        notes.append(str(error))
        return
    active = {one.index for one in shown_ones.channels}
    for one in looks.channels:
        window = one.window if one.has_window else None
        yield ChannelFacts(one.name, one.color, window, one.index in active)


def _label(dataset: xr.Dataset, name: str) -> LabelFacts:
    ids = f"{name}_id"
    table = [
        str(key).removeprefix(f"{name}_")
        for key, variable in dataset.data_vars.items()
        if variable.dims == (ids,)
    ]
    count = dataset.sizes.get(ids)
    variable = dataset[name].variable
    if count is None and variable._in_memory and variable.size <= _MOST_COUNTED:  # noqa: SLF001
        count = int(np.count_nonzero(np.unique(variable.values)))
    return LabelFacts(name, str(dataset[name].dtype), count, tuple(table))


# ── stacks ───────────────────────────────────────────────────────────────────────────────────────


def _stacked(array: xr.DataArray) -> PlateFacts:
    """Tell which wells the fields of a stack are of."""
    present = array.coords.get(slots.PRESENT)
    dims = [dim for dim in slots.ALONG if dim in array.dims]
    shape = tuple(array.sizes[dim] for dim in dims)
    there = np.ones(shape, np.bool_)
    if present is not None:
        there &= _spread(present, dims, shape)
    rows, columns = (_spread(array.coords[name], dims, shape) for name in (slots.ROW, slots.COLUMN))
    pairs = zip(rows[there].tolist(), columns[there].tolist(), strict=True)
    wells = frozenset((str(row), str(column)) for row, column in pairs)
    return PlateFacts(
        _names(rows.ravel().tolist()), _names(columns.ravel().tolist()), wells, int(there.sum())
    )


def _spread(coordinate: xr.DataArray, dims: Sequence[str], shape: Sequence[int]) -> NDArray[Any]:
    """Give a coordinate at each place of a stack."""
    places = coordinate.transpose(*[dim for dim in dims if dim in coordinate.dims]).values
    sizes = zip(dims, shape, strict=True)
    own = [size if dim in coordinate.dims else 1 for dim, size in sizes]
    return np.broadcast_to(places.reshape(own), shape)


def _names(found: Sequence[object]) -> tuple[str, ...]:
    """Give names once: numbers by their size, letters as A, B … Z, AA; others as they come."""
    once = dict.fromkeys(map(str, found))
    if all(name.isascii() and name.isdigit() for name in once):
        # As numbers, however long: Python reads none of thousands of digits.
        return tuple(sorted(once, key=lambda name: (len(name.lstrip("0")), name.lstrip("0"))))
    if all(name.isalpha() for name in once):
        return tuple(sorted(once, key=lambda name: (len(name), name)))
    return tuple(once)


# ── trees ────────────────────────────────────────────────────────────────────────────────────────


def of_tree(tree: xr.DataTree) -> ImageFacts | GroupFacts:
    """Tell what can be told of a tree without asking any store.

    Raises
    ------
    OmeZarrError
        Where there is no image in it.
    """
    if layouts.is_image(tree, None):
        return _pyramid(tree)
    entries = list(_entries(tree, ""))
    if not entries:
        msg = (
            f"There is no image in this tree: expected nodes with a variable "
            f"'{coordinates.IMAGE}', found {', '.join(list(tree.children)[:8]) or 'none'}."
        )
        raise OmeZarrError(msg)
    if entries[0][1] is tree:
        # A level, taken from its tree.
        return of_dataset(tree.to_dataset())
    memory = tree.encoding.get("omezarr")
    memory = memory if isinstance(memory, dict) else {}
    plate = _plate([node for _, node in entries], memory)
    kind = str(memory.get("kind") or ("plate" if plate else "group"))
    name, version = tree.attrs.get("name"), memory.get("version")
    facts = [_entry(path, node) for path, node in entries[:_MOST_ENTRIES]]
    return GroupFacts(
        kind=kind,
        name=name if isinstance(name, str) else None,
        source=_shown(tree.encoding.get("source")),
        version=None if version is None else str(version),
        images=len(entries),
        entries=tuple(facts),
        nbytes=sum(_finest(node).variables[coordinates.IMAGE].nbytes for _, node in entries),
        plate=plate,
        first=_first(entries[0][1]),
    )


def first_image(tree: xr.DataTree) -> xr.DataTree | None:
    """Give the node of the first image of a tree; None where there is none."""
    return next((node for _, node in _entries(tree, "")), None)


def _first(node: xr.DataTree) -> ImageFacts | None:
    try:
        return _pyramid(node) if layouts.is_image(node, None) else of_dataset(node.to_dataset())
    except OmeZarrError:
        return None


def _pyramid(tree: xr.DataTree) -> ImageFacts:
    """Tell of the levels of a tree as one image."""
    levels = layouts.tree_levels(tree, None)
    facts = of_dataset(levels[0])
    labels = [_label(label[0], name) for name, label in layouts.tree_labels(tree).items()]
    name = tree.attrs.get("name")
    return replace(
        facts,
        name=facts.name or (name if isinstance(name, str) else None),
        levels=tuple(_level(number, level) for number, level in enumerate(levels)),
        labels=(*facts.labels, *labels),
    )


def _level(number: int, dataset: xr.Dataset) -> LevelFacts:
    array = dataset[coordinates.IMAGE]
    memory = coordinates.memory_of(array)
    chunks = array.variable.encoding.get("chunks")
    if array.chunks is not None:
        chunks = tuple(max(sizes) for sizes in array.chunks)
    fits = isinstance(chunks, tuple) and len(chunks) == array.ndim
    shards = tuple(memory.shards.values()) if memory.shards else None
    return LevelFacts(number, array.shape, array.nbytes, chunks if fits else None, shards)


def _entries(node: xr.DataTree, path: str) -> Iterator[tuple[str, xr.DataTree]]:
    """Yield the images of a tree. `DataTree.data_vars` would take long, of thousands."""
    levels = any(coordinates.IMAGE in child.variables for child in node.children.values())
    if coordinates.IMAGE in node.variables or levels:
        yield path, node
        return
    for name, child in node.children.items():
        yield from _entries(child, f"{path}/{name}".lstrip("/"))


def _finest(node: xr.DataTree) -> xr.DataTree:
    """Give the node of an image that has its finest level."""
    if coordinates.IMAGE in node.variables:
        return node
    return next(one for one in node.children.values() if coordinates.IMAGE in one.variables)


def _entry(path: str, node: xr.DataTree) -> EntryFacts:
    finest = _finest(node)
    variable = finest.variables[coordinates.IMAGE]
    name = finest.attrs.get("name")
    levels = sum(coordinates.IMAGE in child.variables for child in node.children.values())
    return EntryFacts(
        path,
        name if isinstance(name, str) else None,
        {str(dim): size for dim, size in variable.sizes.items()},
        str(variable.dtype),
        max(levels, 1),
    )


def _plate(nodes: Sequence[xr.DataTree], memory: Mapping[str, Any]) -> PlateFacts | None:
    """Tell which wells images are of, as their coordinates say."""
    found: list[tuple[str, str]] = []
    acquisitions = set()
    for node in nodes:
        about = _finest(node).variables
        if slots.ROW not in about or slots.COLUMN not in about or about[slots.ROW].ndim:
            return None
        found.append((str(about[slots.ROW].values), str(about[slots.COLUMN].values)))
        if slots.ACQUISITION in about and not about[slots.ACQUISITION].ndim:
            acquisitions.add(str(about[slots.ACQUISITION].values))
    listed = [
        [*_listed(memory.get("document"), key), *(pair[i] for pair in found)]
        for i, key in enumerate(("rows", "columns"))
    ]
    rows, columns = (_names(names) for names in listed)
    return PlateFacts(rows, columns, frozenset(found), len(found), len(acquisitions))


def _listed(document: object, key: str) -> list[str]:
    """Give the names of the rows or the columns that the metadata of a plate list."""
    if not isinstance(document, dict):
        return []
    plate = spec.ome_attributes(document, spec.format_of(document)).get("plate")
    entries = plate.get(key) if isinstance(plate, dict) else None
    if not isinstance(entries, list):
        return []
    found = [one.get("name") for one in entries if isinstance(one, dict)]
    return [name for name in found if isinstance(name, str)]
