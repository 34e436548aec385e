"""Coordinate systems as a store has them: of an image, and of all the images of a scene (0.6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from xarray_omezarr import bases, census, chunked, multiscale, spec, storage, stores, systems
from xarray_omezarr.errors import OmeZarrError, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from xarray_omezarr.graph import Graph
    from xarray_omezarr.parameters import Array
    from xarray_omezarr.stores import Place
    from xarray_omezarr.vectorfields import Field

    Target = Any
    System = str | tuple[str, str]


def transform_points(
    store: Target,
    points: ArrayLike,
    source: System,
    target: System,
    *,
    group: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> NDArray[np.float64]:
    """Bring points from one coordinate system to another, also between the images of a scene.

    No pixels are read; of matrices and fields that lie in arrays, those that are on the way.

    Parameters
    ----------
    store : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        An image or a scene.
    points : array_like
        Of the shape (..., n), with the coordinates along the last axis in the order of the axes
        of `source`.
    source, target : str or (str, str)
        The names of coordinate systems; those of the images of a scene as the path of the image
        and the name, ``("tile_1", "physical")``. The path of a level, "0", means its pixels.
    group : str, optional
        The path of the image or the scene within the store.
    storage_options : mapping, optional
        Passed on to fsspec for URLs.

    Returns
    -------
    numpy.ndarray
        float64, of the shape (..., m), in the order of the axes of `target`.

    Raises
    ------
    OmeZarrError
        Where there is no such system, or no way from one to the other.

    Examples
    --------
    >>> samples.coins().omezarr.to_zarr(path, version="0.6")
    >>> transform_points(path, [[2, 10]], "0", "physical")
    array([[1.3, 6.5]])
    """
    place = stores.locate(store, group, storage_options=storage_options)
    try:
        return graph_of(place).path(source, target).apply(points)
    finally:
        place.close()


def graph_of(place: Place) -> Graph:
    """Read the coordinate systems of an image, or of a scene and its images.

    Raises
    ------
    OmeZarrError
        Where there is neither.
    """
    node = storage.fetch(place)
    if node is None:
        raise storage.nothing_there(place)
    if node.kind != "scene":
        node, _ = census.fetch_image(place, labels=False)
        return _image_graph(place, node)
    scene = spec.ome_attributes(node.attributes, node.zarr_format)["scene"]
    if not isinstance(scene, dict):
        msg = f"{place.name}: 'scene' is {scene!r:.80}; expected an object with its images' ways."
        raise OmeZarrError(msg)
    arrays, fields = beside(place, node.zarr_format)
    graph = systems.parse(
        scene, place=place.name, key="scene", warn=warn, arrays=arrays, fields=fields
    )
    paths = sorted({end.path for end in graph.nodes if end.path and end.name is not None})
    for path, found in zip(paths, storage.fetch_each(place, paths, node.zarr_format), strict=True):
        try:
            if isinstance(found, OmeZarrError):
                raise found
            graph |= _image_graph(place.below(path), found).under(path)
        except OmeZarrError as error:
            warn(f"{error} Its coordinate systems are known only as far as the scene names them.")
    return graph


def _image_graph(place: Place, node: storage.Node) -> Graph:
    arrays, fields = beside(place, node.zarr_format)
    _, graph = bases.graph_of(
        node.attributes, place=place.name, warn=warn, arrays=arrays, fields=fields
    )
    return graph


def beside(place: Place, zarr_format: int) -> tuple[Callable[[str], Array], Callable[[str], Field]]:
    """Give what opens the arrays, and the fields of vectors, that lie below a group."""
    return partial(_array_at, place, zarr_format), partial(_field_at, place, zarr_format)


def _array_at(place: Place, zarr_format: int, path: str) -> Array:
    (found,) = chunked.open_arrays(place, [path], zarr_format)
    if isinstance(found, OmeZarrError):
        raise found
    array: Any = found
    return array  # type: ignore[no-any-return]


def _field_at(place: Place, zarr_format: int, path: str) -> Field:
    inside = place.below(path)
    (node,) = storage.fetch_each(place, [path], zarr_format)
    if isinstance(node, OmeZarrError):
        raise node
    image = multiscale.parse_image(
        node.attributes, zarr_format=zarr_format, place=inside.name, warn=lambda _: None
    )
    return systems.field_of(
        image, _array_at(inside, zarr_format, image.levels[0].path), place=inside.name
    )
