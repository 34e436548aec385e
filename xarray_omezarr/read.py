"""Store → Dataset, and store → {path: Dataset}."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import xarray as xr

from xarray_omezarr import coordinates, spec, storage
from xarray_omezarr.errors import OmeZarrError, OmeZarrWarning
from xarray_omezarr.guess import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import zarr

    from xarray_omezarr.model import Image, Level
    from xarray_omezarr.storage import Place


def warn(message: str) -> None:
    """Warn of one finding in a file."""
    warnings.warn(message, OmeZarrWarning, stacklevel=2)


def open_level(
    target: object,
    *,
    group: str | None,
    level: object,
    storage_options: Mapping[str, Any] | None,
    drop_variables: str | Iterable[str] | None,
) -> xr.Dataset:
    """Open one level of an image; reads the metadata of that level only."""
    place = storage.locate(target, group, storage_options=storage_options)
    node = storage.fetch_image(place)
    image = _parse(place, node)
    count = len(image.levels)
    if not isinstance(level, int) or not -count <= level < count:
        raise _no_such_level(place, image, node.zarr_format, level)
    index = level % count
    (array,) = storage.open_arrays(place, [image.levels[index].path], node.zarr_format)
    if isinstance(array, OmeZarrError):
        raise array
    dataset = _dataset(place, image, index, array, drop_variables)
    return _finish(dataset, target, place)


def open_levels(
    target: object,
    *,
    group: str | None,
    storage_options: Mapping[str, Any] | None,
    drop_variables: str | Iterable[str] | None,
) -> dict[str, xr.Dataset]:
    """Open all levels of an image, as `/`, `/0`, `/1` and so on, finest first."""
    place = storage.locate(target, group, storage_options=storage_options)
    node = storage.fetch_image(place)
    image = _parse(place, node)
    arrays = storage.open_arrays(place, [level.path for level in image.levels], node.zarr_format)
    if isinstance(arrays[0], OmeZarrError):
        raise arrays[0]
    root = xr.Dataset()
    groups = {"/": _finish(root, target, place)}
    for index, array in enumerate(arrays):
        if isinstance(array, OmeZarrError):
            warn(f"{array} Level {index} is left out.")
            continue
        # What there is to say of the image as a whole was said with its first level.
        with warnings.catch_warnings():
            if index:
                warnings.simplefilter("ignore", OmeZarrWarning)
            dataset = _dataset(place, image, index, array, drop_variables)
        groups[f"/{index}"] = _finish(dataset, target, place)
    return groups


def _parse(place: Place, node: storage.Node) -> Image:
    if node.both:
        warn(
            f"{place.name} has metadata of Zarr v2 and of Zarr v3 side by side; "
            f"those of v{node.zarr_format} are read"
        )
    return spec.parse_image(
        node.attributes, zarr_format=node.zarr_format, place=place.name, warn=warn
    )


def _dataset(
    place: Place,
    image: Image,
    index: int,
    array: zarr.Array[Any],
    drop_variables: str | Iterable[str] | None,
) -> xr.Dataset:
    level = image.levels[index]
    _check(place, image, level, array)
    dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
    encoding = storage.array_encoding(array, image.dims)
    memory = coordinates.Memory(
        version=image.version,
        level=index,
        path=level.path,
        axes={axis.name: axis for axis in image.axes},
        sizes=dict(zip(image.dims, array.shape, strict=True)),
        codecs=storage.codecs_of(array),
        shards=dict(zip(image.dims, array.shards, strict=True)) if array.shards else None,
        document=copy.deepcopy(dict(image.document)),
    )
    encoding["omezarr"] = {name: getattr(memory, name) for name in memory.__dataclass_fields__}
    variable = xr.Variable(image.dims, storage.lazy(array), None, encoding)
    coords = coordinates.image_coordinates(image, level, array.shape, place=place.name, warn=warn)
    return xr.Dataset(
        {} if "image" in dropped else {"image": variable},
        # Without indexes: xarray makes them, or leaves them out as it is asked to.
        coords=xr.Coordinates(
            {name: coord for name, coord in coords.items() if name not in dropped}, indexes={}
        ),
        attrs={} if image.name is None else {"name": image.name},
    )


def _check(place: Place, image: Image, level: Level, array: zarr.Array[Any]) -> None:
    # "The length of axes MUST be equal to the dimensionality of the arrays" (0.4 and 0.5).
    if len(array.shape) != len(image.axes):
        msg = (
            f"{place.name}: there are {len(image.axes)} axes, {', '.join(image.dims)}, but the "
            f"array of dataset '{level.path}' has {len(array.shape)} dimensions, of shape "
            f"{array.shape}. One of them has to be mended."
        )
        raise OmeZarrError(msg)
    names = getattr(array.metadata, "dimension_names", None)
    # 0.5: "`dimension_names` MUST match the axes"; where they do not, the axes are what counts.
    if array.metadata.zarr_format == spec.V3 and tuple(names or ()) != image.dims:
        warn(
            f"{place.name}/{level.path}: 'dimension_names' is {names}, but the axes are "
            f"{image.dims}, which are taken"
        )


def _finish(dataset: xr.Dataset, target: object, place: Place) -> xr.Dataset:
    dataset.set_close(place.close)
    path = local_path(target)
    # Else xarray notes the working directory for what has no name of its own.
    dataset.encoding["source"] = place.name if path is None else str(path.absolute())
    return dataset


def _no_such_level(place: Place, image: Image, zarr_format: int, level: object) -> OmeZarrError:
    """Tell which levels there are, with their shapes and pixel sizes."""
    arrays = storage.open_arrays(place, [item.path for item in image.levels], zarr_format)
    lines = []
    for index, (item, array) in enumerate(zip(image.levels, arrays, strict=True)):
        pixel = ", ".join(
            f"{axis.name} {scale:g}{f' {axis.unit}' if axis.unit else ''}"
            for axis, scale in zip(image.axes, item.transform.scale, strict=True)
            if not axis.is_channel
        )
        shape = "missing" if isinstance(array, OmeZarrError) else "×".join(map(str, array.shape))
        lines.append(f"  {index}: {shape} pixels of {pixel}")
    return OmeZarrError(
        f"{place.name} has no level {level!r}; there are {len(image.levels)}:\n"
        + "\n".join(lines)
        + "\nNegative numbers count from the coarsest, -1."
    )
