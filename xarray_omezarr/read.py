"""Store → Dataset, and store → {path: Dataset}."""

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr import (
    chunked,
    coordinates,
    lattice,
    multiscale,
    properties,
    spec,
    storage,
    stores,
    tables,
)
from xarray_omezarr.errors import OmeZarrError, OmeZarrWarning
from xarray_omezarr.guess import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import zarr

    from xarray_omezarr.model import Image, Level
    from xarray_omezarr.stores import Place

#: The positions of pixels are computed when an image is opened: up to so many, half a gigabyte.
_MOST_POSITIONS = 2**26
#: Of so many broken label images each is told of.
_MOST_TOLD = 8


def warn(message: str) -> None:
    """Warn of one finding in a file."""
    warnings.warn(message, OmeZarrWarning, stacklevel=2)


@contextmanager
def strictly(strict: bool) -> Iterator[None]:  # noqa: FBT001 - the argument of that name
    """Make each warning an error, if that is asked for."""
    if not strict:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", OmeZarrWarning)
        try:
            yield
        except OmeZarrWarning as warning:
            msg = f"{warning}. Without strict=True it can be opened nevertheless."
            raise OmeZarrError(msg) from warning


def open_level(
    target: object,
    *,
    group: str | None,
    level: object,
    labels: bool | Sequence[str],
    storage_options: Mapping[str, Any] | None,
    drop_variables: str | Iterable[str] | None,
    version: str | None = None,
) -> xr.Dataset:
    """Open one level of an image; reads the metadata of that level only."""
    labels = [labels] if isinstance(labels, str) else labels
    place = stores.locate(target, group, storage_options=storage_options)
    node, folder = storage.fetch_image(place, labels=bool(labels))
    image = _parse(place, node, version)
    count = len(image.levels)
    if not isinstance(level, (int, np.integer)) or not -count <= level < count:
        raise _no_such_level(place, image, node.zarr_format, level)
    index = int(level) % count
    array = _opened(_arrays(place, [image.levels[index].path], node.zarr_format)[0])
    image = multiscale.fitted(image, array.ndim, place=place.name, warn=warn)
    dataset = _dataset(place, image, index, array, drop_variables)
    if labels:
        names = None if isinstance(labels, bool) else labels
        for label in _labels(place, node, folder, names):
            dataset = _with_label(dataset, label, place, image, index, drop_variables)
    return _finish(dataset, target, place)


def open_levels(
    target: object,
    *,
    group: str | None,
    labels: bool | Sequence[str],
    storage_options: Mapping[str, Any] | None,
    drop_variables: str | Iterable[str] | None,
    version: str | None = None,
) -> dict[str, xr.Dataset]:
    """Open all levels of an image, as `/`, `/0`, `/1` and so on, finest first.

    Label images are `/labels/<name>/0` and so on, with their properties at `/labels/<name>`.
    """
    labels = [labels] if isinstance(labels, str) else labels
    place = stores.locate(target, group, storage_options=storage_options)
    node, folder = storage.fetch_image(place, labels=bool(labels))
    image = _parse(place, node, version)
    groups = {"/": xr.Dataset(), **_levels(place, node, image, "image", drop_variables)}
    names = None if isinstance(labels, bool) else labels
    for label in _labels(place, node, folder, names) if labels else ():
        inside = label.place(place)
        if label.name in label.image.dims:
            warn(f"{inside.name} has the name of one of its axes; the label image is left out")
            continue
        try:
            levels = _levels(inside, label.node, label.image, label.name, drop_variables)
        except OmeZarrError as error:
            warn(f"{error} The label image is left out.")
            continue
        if len(levels) < len(image.levels):
            # "The number of levels MUST be that of the image" (0.4 and 0.5, labels).
            found, expected = len(levels), len(image.levels)
            warn(
                f"{inside.name}: the label image has {found} of the {expected} levels of its image"
            )
        if any(level[label.name].dtype.kind not in "iu" for level in levels.values()):
            # 0.5: "the pixels of the label images MUST be integer data types".
            warn(f"{inside.name}: labels are not all integers")
        groups.setdefault("/labels", xr.Dataset())
        groups[f"/labels/{label.path}"] = _table(label, inside, drop_variables)
        groups |= {f"/labels/{label.path}{key}": dataset for key, dataset in levels.items()}
    return {path: _finish(dataset, target, place) for path, dataset in groups.items()}


def _levels(
    place: Place,
    node: storage.Node,
    image: Image,
    name: str,
    drop_variables: str | Iterable[str] | None,
) -> dict[str, xr.Dataset]:
    paths = [level.path for level in image.levels]
    levels: dict[str, xr.Dataset] = {}
    arrays = _arrays(place, paths, node.zarr_format)
    first = _opened(arrays[0])
    image = multiscale.fitted(image, first.ndim, place=place.name, warn=warn)
    for index, found in enumerate(arrays):
        if isinstance(found, OmeZarrError):
            warn(f"{found} Level {index} is left out.")
            continue
        # 0.6: "all arrays of a multiscale image MUST have the same data type".
        if found.dtype.newbyteorder("=") != first.dtype.newbyteorder("="):
            warn(f"{place.name}: level {index} is of type {found.dtype}, level 0 of {first.dtype}")
        if math.prod(found.shape) > math.prod(first.shape):
            warn(f"{place.name}: level {index} of shape {found.shape} is larger than level 0, "
                 f"{first.shape}")  # fmt: skip
        # What there is to say of the image as a whole was said with its first level.
        with warnings.catch_warnings():
            if index:
                warnings.simplefilter("ignore", OmeZarrWarning)
            dataset = _dataset(place, image, index, found, drop_variables)
        levels[f"/{index}"] = dataset if name == "image" else _as_label(dataset, name)
    return levels


def _arrays(
    place: Place, paths: Sequence[str], zarr_format: int
) -> list[zarr.Array[Any] | OmeZarrError]:
    """Open arrays, none so long that the positions of its pixels would fill the memory."""
    arrays = chunked.open_arrays(place, paths, zarr_format)
    shapes = [array.shape for array in arrays if not isinstance(array, OmeZarrError)]
    if sum(map(sum, shapes)) > _MOST_POSITIONS:
        msg = (
            f"{place.name}: the arrays of this image are of shape {shapes!r:.200}; expected no "
            f"more than {_MOST_POSITIONS} positions along all axes. Zarr itself opens them."
        )
        raise OmeZarrError(msg)
    return arrays


def _opened(found: zarr.Array[Any] | OmeZarrError) -> zarr.Array[Any]:
    if isinstance(found, OmeZarrError):
        raise found
    return found


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Label:
    """A label image, as its group's attributes describe it."""

    path: str
    """Below the group of labels."""
    node: storage.Node
    image: Image

    @property
    def name(self) -> str:
        """The name of its variable: a path of several parts is no name in a file."""
        return self.path.replace("/", "_")

    def place(self, image: Place) -> Place:
        return image.below("labels", self.path)


def _labels(
    place: Place, node: storage.Node, folder: storage.Node | None, names: Sequence[str] | None
) -> list[_Label]:
    """Read the attributes of an image's label images; a broken one is left out with a warning."""
    inside = place.below("labels")
    listed = []
    if folder is not None:
        listed = spec.label_names(
            folder.attributes, folder.zarr_format, place=inside.name, warn=warn
        )
    there = [*listed, *_unlisted(inside, listed, known=folder is not None)]
    absent = [name for name in names or () if name not in there]
    if absent:
        msg = (
            f"{place.name} has no label image {', '.join(map(repr, absent))}; "
            f"there are: {', '.join(there) or 'none'}."
        )
        raise OmeZarrError(msg)
    wanted = there if names is None else list(names)
    labels = []
    broken: list[str] = []
    contents = storage.fetch_each(inside, wanted, node.zarr_format)
    for name, label in zip(wanted, contents, strict=True):
        try:
            if isinstance(label, OmeZarrError):
                raise label
            image = multiscale.parse_image(
                spec.without_table(label.attributes),
                zarr_format=label.zarr_format,
                place=f"{inside.name}/{name}",
                warn=warn,
            )
        except OmeZarrError as error:
            if names is not None:
                raise
            if name in listed:
                broken.append(f"{error} The label image '{name}' is left out.")
            continue
        labels.append(_Label(name, label, image))
    for message in broken[:_MOST_TOLD]:
        warn(message)
    if len(broken) > _MOST_TOLD:
        warn(f"{inside.name}: {len(broken) - _MOST_TOLD} more label images are left out.")
    return labels


def _unlisted(inside: Place, listed: Sequence[str], *, known: bool) -> list[str]:
    """Find label images that no list names: "unlisted groups MAY be labels" (0.1 to 0.4)."""
    on_disk = inside.owned and local_path(inside.name) is not None
    if not (on_disk or known):
        return []
    heads = {path.split("/")[0] for path in listed}
    return [name for name in storage.list_groups(inside) if name not in heads]


def _as_label(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """Turn an opened image into an opened label image: its variable goes by its own name."""
    if name in dataset.coords or name in dataset.dims:
        msg = f"The name of the label image '{name}' is that of one of its axes or coordinates."
        raise OmeZarrError(msg)
    dataset = dataset.rename({"image": name}) if "image" in dataset else dataset
    if name in dataset:
        dataset[name].encoding["omezarr"] |= {"kind": "label"}
    dataset.attrs.clear()
    return dataset


def _with_label(  # noqa: PLR0917 - all of them say what is opened
    dataset: xr.Dataset,
    label: _Label,
    place: Place,
    image: Image,
    index: int,
    drop_variables: str | Iterable[str] | None,
) -> xr.Dataset:
    """Add a label image to the level of its image that lies on the same grid."""
    inside = label.place(place)
    if label.name in dataset.variables or label.name in dataset.dims:
        warn(f"{inside.name}: the name '{label.name}' is taken; the label image is left out")
        return dataset
    try:
        variable = _on_grid(dataset, label, inside, index)
    except OmeZarrError as error:
        warn(f"{error} The label image '{label.name}' is left out.")
        return dataset
    if variable is None:
        warn(
            f"{inside.name}: the label image '{label.name}' does not lie on the pixels of this "
            "level of its image, and is left out. xr.open_datatree opens it on its own."
        )
        return dataset
    if variable.dtype.kind not in "iu":
        # 0.5: "the pixels of the label images MUST be integer data types".
        warn(f"{inside.name}: labels are of type {variable.dtype}, not integers")
    if len(label.image.levels) < len(image.levels):
        # "The number of levels MUST be that of the image" (0.4 and 0.5, labels).
        found, expected = len(label.image.levels), len(image.levels)
        warn(f"{inside.name}: there are {found} of the {expected} levels of its image")
    dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
    if label.name not in dropped:
        dataset = dataset.assign({label.name: variable})
    table = _table(label, inside, drop_variables)
    taken = [str(n) for n in table.variables if n in dataset.variables or n in dataset.dims]
    if taken:
        warn(f"{inside.name}: the names {taken!r:.200} are taken; its properties are left out")
        return dataset
    return dataset.merge(table)


def _on_grid(dataset: xr.Dataset, label: _Label, place: Place, index: int) -> xr.Variable | None:
    """Find the level of a label image that lies on the pixels of an image, and open it."""
    if not set(label.image.dims) <= set(dataset.dims):
        return None
    # The level of the same number is the one, as a rule.
    for number in sorted(range(len(label.image.levels)), key=lambda n: abs(n - index)):
        level = label.image.levels[number]
        (found,) = _arrays(place, [level.path], label.node.zarr_format)
        array = _opened(found)
        fitted = multiscale.fitted(label.image, array.ndim, place=place.name, warn=warn)
        opened = _as_label(_dataset(place, fitted, number, array, ()), label.name)
        # An axis of length 1, along which the image is longer, says that the labels hold for all.
        single = [d for d, n in opened.sizes.items() if n == 1 and dataset.sizes[d] != 1]
        opened = opened.isel(dict.fromkeys(single, 0))
        if all(_same(opened, dataset, str(dim)) for dim in opened[label.name].dims):
            return opened[label.name].variable
    return None


def _same(one: xr.Dataset, other: xr.Dataset, dim: str) -> bool:
    """Say whether two images have the same pixels along a dimension."""
    if one.sizes[dim] != other.sizes[dim]:
        return False
    if dim not in one.coords or dim not in other.coords or one[dim].dtype.kind != "f":
        return True
    scale = abs(float(other[dim].encoding.get("scale", 1.0)))
    apart = np.abs(one[dim].values - other[dim].values).max(initial=0)
    return bool(apart <= lattice.SAME * scale)


def _table(label: _Label, place: Place, drop_variables: str | Iterable[str] | None) -> xr.Dataset:
    """Read the properties and colours of a label image."""
    dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
    ome = spec.ome_attributes(label.node.attributes, label.node.zarr_format)
    if not isinstance(ome.get("image-label", {}), dict):
        warn(f"{place.name}: 'image-label' is {ome['image-label']!r:.80}, not an object; left out")
    about = spec.image_label(label.node.attributes, label.node.zarr_format)
    found = properties.parse(
        about.get("properties"), about.get("colors"), place=place.name, warn=warn
    )
    if found is None:
        return xr.Dataset()
    data, coords = tables.variables(label.name, found)
    return xr.Dataset(
        {name: variable for name, variable in data.items() if name not in dropped},
        coords=xr.Coordinates(
            {name: variable for name, variable in coords.items() if name not in dropped},
            indexes={},
        ),
    )


# ── one image ────────────────────────────────────────────────────────────────────────────────────


def _parse(place: Place, node: storage.Node, version: str | None = None) -> Image:
    if node.both:
        warn(
            f"{place.name} has metadata of Zarr v2 and of Zarr v3 side by side; "
            f"those of v{node.zarr_format} are read"
        )
    return multiscale.parse_image(
        node.attributes,
        zarr_format=node.zarr_format,
        place=place.name,
        warn=warn,
        version=version,
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
    encoding = chunked.array_encoding(array, image.dims)
    memory = coordinates.Memory(
        version=image.version,
        assumed=image.assumed,
        level=index,
        path=level.path,
        axes={axis.name: axis for axis in image.axes},
        sizes=dict(zip(image.dims, array.shape, strict=True)),
        codecs=chunked.codecs_of(array),
        shards=dict(zip(image.dims, array.shards, strict=True)) if array.shards else None,
        document=image.document,
    )
    encoding["omezarr"] = {name: getattr(memory, name) for name in memory.__dataclass_fields__}
    pixels = chunked.lazy(array, f"{place.name}/{level.path}")
    variable = xr.Variable(image.dims, pixels, None, encoding)
    coords = coordinates.image_coordinates(image, level, array.shape, place=place.name, warn=warn)
    for coord in coords.values():
        # Chunked with the image, a coordinate has the image's chunks, or the Dataset has none.
        preferred = {dim: encoding["preferred_chunks"][dim] for dim in coord.dims}
        coord.encoding.setdefault("preferred_chunks", preferred)
    return xr.Dataset(
        {} if "image" in dropped else {"image": variable},
        # Without indexes: xarray makes them, or leaves them out as it is asked to.
        coords=xr.Coordinates(
            {name: coord for name, coord in coords.items() if name not in dropped}, indexes={}
        ),
        attrs={} if image.name is None else {"name": image.name},
    )


def _check(place: Place, image: Image, level: Level, array: zarr.Array[Any]) -> None:
    if coordinates.IMAGE in image.dims:
        msg = (
            f"{place.name}: an axis is named '{coordinates.IMAGE}', as the variable of the pixels "
            "is. Its name has to be changed in the file."
        )
        raise OmeZarrError(msg)
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
    # 0.6 does not speak of them any more.
    asked = array.metadata.zarr_format == spec.V3 and (names or image.intrinsic is None)
    if asked and tuple(names or ()) != image.dims:
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
    arrays = chunked.open_arrays(place, [item.path for item in image.levels], zarr_format)
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
