"""The levels of an open tree: their table, the one that is wanted, and one region of them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from xarray_omezarr import coordinates, layouts, read
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError, heard, warn
from xarray_omezarr.picking import Budget, Resolution, asked
from xarray_omezarr.selection import NothingThereError, select

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Levels = Mapping[str, xr.Dataset]

_LABELS = "labels"


def images(tree: xr.DataTree) -> dict[str, dict[str, xr.Dataset]]:
    """Give the images of a tree by their paths, each with its levels by their numbers.

    Raises
    ------
    OmeZarrError
        Where there are none.
    """
    if coordinates.IMAGE in tree.data_vars or layouts.is_image(tree, None):
        return {"": _levels(tree)}
    return {path: _levels(_node(tree, path)) for path in layouts.of_tree(tree, None).images}


def _node(tree: xr.DataTree, path: str) -> xr.DataTree:
    found = tree[path] if path else tree
    assert isinstance(found, xr.DataTree)  # noqa: S101 - the paths are those of nodes
    return found


def _levels(node: xr.DataTree) -> dict[str, xr.Dataset]:
    if coordinates.IMAGE not in node.data_vars:
        return layouts.levels_below(node, coordinates.IMAGE)
    dataset = node.to_dataset()
    return {str(coordinates.memory_of(dataset[coordinates.IMAGE]).level): dataset}


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def table(tree: xr.DataTree) -> pd.DataFrame:
    """Tell of each level how large it is, and its pixels.

    Returns
    -------
    pandas.DataFrame
        A row for each level, by its number; of several images, by the path of the image as well.
    """
    found = images(tree)
    rows = {
        (path, _number(name)): _row(level[coordinates.IMAGE])
        for path, levels in found.items()
        for name, level in levels.items()
    }
    index = pd.MultiIndex.from_tuples(rows, names=["image", "level"])
    frame = pd.DataFrame(list(rows.values()), index=index)
    # What an image lacks, others may have: the sizes of pixels stay side by side.
    scales = [name for name in frame.columns if name.startswith("scale_")]
    frame = frame[["shape", *scales, "nbytes", "chunks"]]
    return frame.droplevel("image") if "" in found else frame


def _number(name: str) -> int | str:
    return int(name) if name.isdecimal() else name


def _row(array: xr.DataArray) -> dict[str, Any]:
    scales = {f"scale_{dim}": abs(scale) for dim, (scale, _) in _geometry(array).items()}
    stored = array.encoding.get("preferred_chunks", {})
    chunks = None
    if set(array.dims) <= set(stored):
        chunks = tuple(stored[dim] for dim in array.dims)
    elif array.chunks is not None:
        chunks = tuple(sizes[0] for sizes in array.chunks)
    return {"shape": array.shape, **scales, "nbytes": array.nbytes, "chunks": chunks}


def _geometry(array: xr.DataArray) -> dict[str, tuple[float, float]]:
    try:
        return coordinates.geometry_of(array)
    except OmeZarrError:
        # A selection may have left nothing, or what is not evenly spaced.
        return {}


# ── the one that is wanted ───────────────────────────────────────────────────────────────────────


def level(tree: xr.DataTree, level: object, resolution: object, max_bytes: object) -> xr.Dataset:
    """Give one level of the image of a tree, with the label images that lie on its pixels.

    Raises
    ------
    OmeZarrError
        Where there is no such level, or there are several images.
    """
    wanted = asked(level, resolution, max_bytes)
    if wanted is None:
        msg = "Say which level: by its number, or by resolution= or max_bytes=."
        raise OmeZarrError(msg)
    path, levels = _only(tree, "sel_level", "and so with resolution= and max_bytes=")
    name = _chosen(levels, wanted)
    return _with_labels(levels[name], _node(tree, path), name)


def drawn(tree: xr.DataTree, level: object, label: str | None) -> list[xr.Dataset]:
    """Give the levels that a picture may be drawn of, the finest first, each with its labels.

    Parameters
    ----------
    tree
        A tree with one image.
    level
        The only one that may be drawn, if it is not to be chosen.
    label
        A label image that has to lie on the pixels of a level.

    Raises
    ------
    OmeZarrError
        Where there is no such level or no such label image, or there are several images.
    """
    path, levels = _only(tree, "plot", "or stack='well' for the fields of a plate")
    node = _node(tree, path)
    names = [name for name, one in levels.items() if one[coordinates.IMAGE].size]
    if level is not None:
        names = [_chosen(levels, asked(level, None, None))]
    elif not names:
        names = list(levels)[:1]
    if label is None:
        return [levels[name] for name in names]
    # What is told is of other label images, and of levels that are not drawn.
    with heard():
        labelled = [_with_labels(levels[name], node, name) for name in names]
    lying = [one for one in labelled if label in list(one.data_vars)]
    # Says of the label image that it lies nowhere, if it is there.
    return lying or [_with_labels(levels[names[0]], node, names[0])]


def _only(tree: xr.DataTree, method: str, otherwise: str) -> tuple[str, dict[str, xr.Dataset]]:
    """Give the one image of a tree: its path, and its levels by their names."""
    found = images(tree)
    if len(found) > 1:
        some = next(iter(found))
        msg = (
            f"There are {len(found)} images in this tree. Take one of them, like "
            f"tree[{some!r}].omezarr.{method}(…); or open them all at one level: "
            f"xr.open_datatree(…, level=…), {otherwise}."
        )
        raise OmeZarrError(msg)
    ((path, levels),) = found.items()
    return path, levels


def _chosen(levels: Levels, wanted: object) -> str:
    """Find the level that is wanted, by its name."""
    arrays = {name: one[coordinates.IMAGE] for name, one in levels.items()}
    filled = {name: array for name, array in arrays.items() if array.size}
    names = list(filled)
    if filled and isinstance(wanted, Resolution):
        first = filled[names[0]]
        axes = coordinates.axes_of(first, coordinates.memory_of(first).axes)
        scales = [coordinates.transform_of(array, axes).scale for array in filled.values()]
        return names[wanted.pick(axes, scales, place="The tree")]
    if filled and isinstance(wanted, Budget):
        totals = {i: array.nbytes for i, array in enumerate(filled.values())}
        shapes = {i: "×".join(map(str, array.shape)) for i, array in enumerate(filled.values())}
        return names[wanted.pick(totals, place="The tree", shapes=shapes)]
    if isinstance(wanted, (int, np.integer)) and not isinstance(wanted, bool):
        if -len(levels) <= wanted < 0:
            return list(levels)[wanted]
        if str(wanted) in levels:
            return str(wanted)
    lines = "\n".join(
        f"  {name}: {'×'.join(map(str, array.shape))} pixels" for name, array in arrays.items()
    )
    msg = (
        f"The tree has no level {wanted!r:.80}; there are {len(arrays)}:\n{lines}\nNegative "
        "numbers count from the coarsest, -1."
    )
    raise OmeZarrError(msg)


def _with_labels(dataset: xr.Dataset, node: xr.DataTree, name: str) -> xr.Dataset:
    """Add the label images of an image that lie on the pixels of one of its levels."""
    if coordinates.IMAGE in node.data_vars or _LABELS not in node.children:
        return dataset
    nodes = {}
    for key, label in node.children[_LABELS].children.items():
        levels = layouts.levels_below(label, key)
        # The level of the same number is the one, as a rule.
        order = sorted(levels, key=lambda one: one != name)
        fitting = [one for one in order if _on_pixels(levels[one], key, dataset)]
        if fitting:
            found = label.children[fitting[0]].to_dataset(inherit=False)
            nodes[f"/{_LABELS}/{key}"] = label.to_dataset(inherit=False)
            # Positions are those of the image.
            nodes[f"/{_LABELS}/{key}/0"] = found.drop_vars(found.dims, errors="ignore")
        elif levels:
            warn(
                f"The label image '{key}' does not lie on the pixels of level {name} of its image, "
                "and is left out."
            )
    return layouts.with_labels(dataset, xr.DataTree.from_dict(nodes), coordinates.IMAGE)


def _on_pixels(label: xr.Dataset, name: str, dataset: xr.Dataset) -> bool:
    """Say whether a label image has the pixels of an image."""
    return all(
        # An axis of length 1, along which the image is longer, says that the labels hold for all.
        dim in dataset.dims
        and (size == 1 != dataset.sizes[dim] or read.same_pixels(label, dataset, str(dim)))
        for dim, size in label[name].sizes.items()
    )


# ── one region of them all ───────────────────────────────────────────────────────────────────────


def region(tree: xr.DataTree, indexers: Mapping[Any, Any], include: str) -> xr.DataTree:
    """Select the same physical region of each level of each image, and of their label images.

    Parameters
    ----------
    tree
        The levels of an image, or several images.
    indexers
        What is selected along each dimension; a node that has not the dimension stays as it is.
    include
        Which pixels a range selects: "center" or "overlap".

    Returns
    -------
    xarray.DataTree
        Without the levels that have no pixel there, and without the images whose finest has none.

    Raises
    ------
    NothingThereError
        Where no image has a pixel there.
    """
    dims = {dim for node in tree.subtree for dim in node.dims}
    for dim in indexers:
        if dim not in dims:
            msg = f"'{dim}' is no dimension of the tree; there are: {', '.join(map(str, dims))}."
            raise OmeZarrError(msg)
    places = dict(_places(tree))
    nodes = {"" if path == "." else path: node for path, node in tree.subtree_with_keys}
    made: dict[str, xr.Dataset] = {}
    lost: dict[str, NothingThereError] = {}
    # The finest levels first: they say what becomes of the others.
    for path in sorted(nodes, key=lambda one: one in places and places[one][0] != one):
        finest, whole = places.get(path, (path, path))
        if _is_within(path, lost):
            continue
        try:
            other = None if finest == path else nodes[finest].to_dataset()
            made[path] = _of_node(nodes[path], indexers, include, other)
        except NothingThereError as error:
            lost[whole if finest == path else path] = error
    kept = {path: made[path] for path in nodes if path in made and not _is_within(path, lost)}
    if not any(path in kept for path, (finest, _) in places.items() if path == finest):
        raise next(iter(lost.values()))
    return xr.DataTree.from_dict({path or "/": one for path, one in kept.items()}, name=tree.name)


def _is_within(path: str, nodes: Iterable[str]) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in nodes)


def _places(tree: xr.DataTree) -> Iterator[tuple[str, tuple[str, str]]]:
    """Give, for each level of an image or a label image, its finest one, and where that lies."""
    for path, levels in images(tree).items():
        inner = _node(tree, path)
        if coordinates.IMAGE in inner.data_vars:
            yield path, (path, path)
            continue
        parts = {path: list(levels)}
        if _LABELS in inner.children:
            for key, label in inner.children[_LABELS].children.items():
                parts[join(path, _LABELS, key)] = list(layouts.levels_below(label, key))
        for whole, names in parts.items():
            for name in names:
                yield join(whole, name), (join(whole, names[0]), whole)


def _of_node(
    node: xr.DataTree, indexers: Mapping[Any, Any], include: str, other: xr.Dataset | None
) -> xr.Dataset:
    own = {dim: value for dim, value in indexers.items() if dim in node.dims}
    made = select(node.to_dataset(), own, include, region=other)
    # What comes from a node above is selected there.
    inherited = set(node.coords) - set(node.to_dataset(inherit=False).coords)
    return made.drop_vars(inherited & set(made.coords))
