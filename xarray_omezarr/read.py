"""Store → Dataset: one level of an image, and the label images that lie on it."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr import (
    census,
    chunked,
    lattice,
    multiscale,
    properties,
    spec,
    storage,
    stores,
    tables,
)
from xarray_omezarr.errors import OmeZarrError, OmeZarrWarning, telling, warn
from xarray_omezarr.guess import local_path
from xarray_omezarr.picking import Budget, Resolution
from xarray_omezarr.rasters import MOST_POSITIONS, Rasters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from xarray_omezarr.chunked import Described
    from xarray_omezarr.model import Image
    from xarray_omezarr.stores import Place

#: Of so many broken label images each is told of.
_MOST_TOLD = 8


@contextmanager
def strictly(strict: bool) -> Iterator[None]:  # noqa: FBT001 - the argument of that name
    """Make each warning an error, if that is asked for."""
    if not strict:
        yield
        return
    try:
        with telling(_raised):
            yield
    except OmeZarrWarning as warning:
        msg = f"{warning}. Without strict=True it can be opened nevertheless."
        raise OmeZarrError(msg) from warning


def _raised(message: str) -> None:
    raise OmeZarrWarning(message)


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
    node, folder = census.fetch_image(place, labels=bool(labels))
    image = parse(place, node, version)
    index, array = _chosen(place, node, image, level)
    image = multiscale.fitted(image, array.ndim, place=place.name, warn=warn)
    dataset = Rasters(drop_variables).dataset(place, image, index, array, warn=warn)
    if labels:
        names = None if isinstance(labels, bool) else labels
        for label in _labels(place, node, folder, names):
            dataset = _with_label(dataset, label, place, image, index, drop_variables)
    return finish(dataset, target, place)


def _chosen(place: Place, node: storage.Node, image: Image, level: object) -> tuple[int, Described]:
    """Find the level that is asked for, and its array."""
    paths = [one.path for one in image.levels]
    if isinstance(level, Budget):
        arrays = chunked.describe_arrays(place, paths, node.zarr_format)
        index = level.pick(pixel_bytes(arrays), place=place.name, shapes=shapes(arrays))
        check_positions(place, [arrays[index]])
        return index, _opened(arrays[index])
    if isinstance(level, Resolution):
        level = level.of(image, place=place.name)
    if not isinstance(level, (int, np.integer)) or not -len(paths) <= level < len(paths):
        raise no_such_level(place, image, node.zarr_format, level)
    index = int(level) % len(paths)
    return index, _opened(_arrays(place, [paths[index]], node.zarr_format)[0])


def pixel_bytes(arrays: Sequence[Described | OmeZarrError]) -> dict[int, int]:
    """Give what the pixels of each level take in memory, of those whose array is there."""
    if all(isinstance(array, OmeZarrError) for array in arrays):
        _opened(arrays[0])
    return {
        number: math.prod(array.shape) * array.dtype.itemsize
        for number, array in enumerate(arrays)
        if not isinstance(array, OmeZarrError)
    }


def shapes(arrays: Sequence[Described | OmeZarrError]) -> dict[int, str]:
    """Give the shapes of levels, to be shown."""
    return {
        number: "missing" if isinstance(array, OmeZarrError) else "×".join(map(str, array.shape))
        for number, array in enumerate(arrays)
    }


def _arrays(place: Place, paths: Sequence[str], zarr_format: int) -> list[Described | OmeZarrError]:
    """Read the metadata of arrays, none so long that its positions would fill the memory."""
    arrays = chunked.describe_arrays(place, paths, zarr_format)
    check_positions(place, arrays)
    return arrays


def check_positions(place: Place, arrays: Sequence[Described | OmeZarrError]) -> None:
    """Check that the positions of an image's pixels do not fill the memory."""
    shapes = [array.shape for array in arrays if not isinstance(array, OmeZarrError)]
    if sum(map(sum, shapes)) > MOST_POSITIONS:
        msg = (
            f"{place.name}: the arrays of this image are of shape {shapes!r:.200}; expected no "
            f"more than {MOST_POSITIONS} positions along all axes. Zarr itself opens them."
        )
        raise OmeZarrError(msg)


def _opened(found: Described | OmeZarrError) -> Described:
    if isinstance(found, OmeZarrError):
        raise found
    return found


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Label:
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
        """Give its group, by that of its image."""
        return image.below("labels", self.path)


def _labels(
    place: Place, node: storage.Node, folder: storage.Node | None, names: Sequence[str] | None
) -> list[Label]:
    """Read the attributes of an image's label images; a broken one is left out with a warning."""
    wanted, listed = label_names(place, folder, names)
    contents = storage.fetch_each(place.below("labels"), wanted, node.zarr_format)
    return parse_labels(place, dict(zip(wanted, contents, strict=True)), listed, names)


def label_names(
    place: Place, folder: storage.Node | None, names: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Say which label images of an image are looked for, and which are listed.

    Parameters
    ----------
    place
        The group of the image.
    folder
        That of its labels, as it was read.
    names
        Those that were asked for; None for all there are.
    """
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
    return there if names is None else list(names), listed


def parse_labels(
    place: Place,
    found: Mapping[str, storage.Node | OmeZarrError],
    listed: Sequence[str],
    names: Sequence[str] | None,
) -> list[Label]:
    """Parse the attributes of an image's label images, by their names, as they were read."""
    inside = place.below("labels")
    labels = []
    broken: list[str] = []
    for name, label in found.items():
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
        labels.append(Label(name, label, image))
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


def as_label(dataset: xr.Dataset, name: str) -> xr.Dataset:
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
    label: Label,
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
    about = table(label, inside, drop_variables)
    taken = [str(n) for n in about.variables if n in dataset.variables or n in dataset.dims]
    if taken:
        warn(f"{inside.name}: the names {taken!r:.200} are taken; its properties are left out")
        return dataset
    return dataset.merge(about)


def _on_grid(dataset: xr.Dataset, label: Label, place: Place, index: int) -> xr.Variable | None:
    """Find the level of a label image that lies on the pixels of an image, and open it."""
    if not set(label.image.dims) <= set(dataset.dims):
        return None
    # The level of the same number is the one, as a rule.
    for number in sorted(range(len(label.image.levels)), key=lambda n: abs(n - index)):
        level = label.image.levels[number]
        (found,) = _arrays(place, [level.path], label.node.zarr_format)
        array = _opened(found)
        fitted = multiscale.fitted(label.image, array.ndim, place=place.name, warn=warn)
        opened = as_label(Rasters().dataset(place, fitted, number, array, warn=warn), label.name)
        # An axis of length 1, along which the image is longer, says that the labels hold for all.
        single = [d for d, n in opened.sizes.items() if n == 1 and dataset.sizes[d] != 1]
        opened = opened.isel(dict.fromkeys(single, 0))
        if all(same_pixels(opened, dataset, str(dim)) for dim in opened[label.name].dims):
            return opened[label.name].variable
    return None


def same_pixels(one: xr.Dataset, other: xr.Dataset, dim: str) -> bool:
    """Say whether two images have the same pixels along a dimension."""
    if one.sizes[dim] != other.sizes[dim]:
        return False
    if dim not in one.coords or dim not in other.coords or one[dim].dtype.kind != "f":
        return True
    scale = abs(float(other[dim].encoding.get("scale", 1.0)))
    apart = np.abs(one[dim].values - other[dim].values).max(initial=0)
    return bool(apart <= lattice.SAME * scale)


def table(label: Label, place: Place, drop_variables: str | Iterable[str] | None) -> xr.Dataset:
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


def parse(place: Place, node: storage.Node, version: str | None = None) -> Image:
    """Parse the attributes of an image's group."""
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


def finish(dataset: xr.Dataset, target: object, place: Place) -> xr.Dataset:
    """Give a Dataset what closes its store, and the name of where it is from."""
    dataset.set_close(place.close)
    path = local_path(target.name if isinstance(target, stores.Place) else target)
    # Else xarray notes the working directory for what has no name of its own.
    dataset.encoding["source"] = place.name if path is None else str(path.absolute())
    return dataset


def no_such_level(place: Place, image: Image, zarr_format: int, level: object) -> OmeZarrError:
    """Tell which levels there are, with their shapes and pixel sizes."""
    arrays = chunked.describe_arrays(place, [item.path for item in image.levels], zarr_format)
    lines = []
    shown = shapes(arrays)
    for index, item in enumerate(image.levels):
        pixel = ", ".join(
            f"{axis.name} {scale:g}{f' {axis.unit}' if axis.unit else ''}"
            for axis, scale in zip(image.axes, item.transform.scale, strict=True)
            if not axis.is_channel
        )
        lines.append(f"  {index}: {shown[index]} pixels of {pixel}")
    return OmeZarrError(
        f"{place.name} has no level {level!r}; there are {len(image.levels)}:\n"
        + "\n".join(lines)
        + "\nNegative numbers count from the coarsest, -1."
    )
