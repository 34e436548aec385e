"""A small picture of an image, of few pixels: within a budget, wherever they are.

Of an image that was opened and not read, a coarse level is looked at; of one in memory, each so
many pixels; of a part that was not read, its own chunks, where they are few. What is a graph of
dask is not computed for a picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr import bundles, chunked, coordinates, pictures, slots, spec
from xarray_omezarr.budgets import Budget, BudgetedStore
from xarray_omezarr.composite import Palette, composite
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.looks import looks_of
from xarray_omezarr.origins import origin_of
from xarray_omezarr.pipelines import is_near
from xarray_omezarr.scalebars import quantity, scale_bar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from xarray.core.indexing import ExplicitIndexer

    from xarray_omezarr.chunked import Described
    from xarray_omezarr.composite import Bytes
    from xarray_omezarr.looks import Looks
    from xarray_omezarr.origins import Origin
    from xarray_omezarr.scalebars import ScaleBar
    from xarray_omezarr.stores import Place

#: Pixels along the longer side, at the most.
SIDE = 256
#: Requests, and bytes of answers, to a store that is elsewhere. Opening makes three to five more.
FAR = (8, 1_900_000)
#: The same for files of this machine.
NEAR = (64, 2**23)
#: So long may it take.
SECONDS = 5.0
#: So many bytes may the chunks have that are decoded.
_DECODED = 2**23
#: So many pixels are left along the shorter side, if it has them.
_NARROW = 64
#: So many levels are tried, from the one that has as many pixels as are wanted.
_TRIED = 3
#: So many channels are put together, the first ones.
_CHANNELS = 24
#: No picture is longer than so many times its height, whatever the pixel sizes say.
_LONGEST = 8.0


class SkippedError(OmeZarrError):
    """There is no picture, and that is why."""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of an image."""

    pixels: Bytes
    """uint8, of shape (height, width, 3)."""
    extent: tuple[float, float]
    """How high and how wide it is: in the unit of its axes, or in pixels."""
    bar: ScaleBar | None
    """For its width."""
    shown: tuple[str, ...]
    """What of the image it shows: the level, the plane, the channels."""
    skipped: tuple[str, ...] = ()
    """What it leaves out, and why."""
    share: tuple[float, float] = (1.0, 1.0)
    """How much of height and width of the image it shows: the middle of them."""

    @property
    def ratio(self) -> float:
        """Its width over its height, as it is displayed."""
        height, width = self.extent
        return min(max(width / height, 1 / _LONGEST), _LONGEST)


@dataclass
class Looking:
    """What is asked for while an image is looked at, and what is found out about its levels."""

    budget: Budget
    found: dict[int, Described | OmeZarrError] = field(default_factory=dict)
    """The arrays of the levels that are known."""
    decoded: int = _DECODED
    """So many bytes may the chunks have that are decoded."""

    @classmethod
    def at(cls, image: xr.DataArray) -> Looking:
        """Say what may be asked for of where an image is."""
        place = place_of(image)
        near = place is None or is_near(place.store)
        return cls(Budget(*(NEAR if near else FAR), SECONDS))

    def origin(self, image: xr.DataArray) -> Origin | None:
        """Tell the image that an array is a level of, to be read within the budget."""
        found = origin_of(image)
        return None if found is None else found.within(self.store_of)

    def store_of(self, store: Any) -> BudgetedStore:  # noqa: ANN401 - any store of Zarr
        """Give a store within the budget."""
        return BudgetedStore(store, self.budget)


def place_of(image: xr.DataArray) -> Place | None:
    """Give the place that pixels are read from, where they are not read yet."""
    found = chunked.part_of(bundles.alone(first_field(image).variable))
    return None if found is None else found[0].place


def first_field(image: xr.DataArray) -> xr.DataArray:
    """Give the first field of a stack that is there; any other image as it is."""
    if not slots.is_stack(image):
        return image
    present = image.coords.get(slots.PRESENT)
    if present is not None and present.ndim and bool(present.any()):
        first = np.argwhere(present.values)[0].tolist()
        image = image.isel(dict(zip(present.dims, first, strict=True)))
    return slots.one_field(image)


def thumbnail(
    image: xr.DataArray,
    looking: Looking,
    side: int = SIDE,
    *,
    at: Mapping[str, int] | None = None,
    channels: Sequence[int] | None = None,
) -> Thumbnail:
    """Make a small picture of an image.

    Parameters
    ----------
    image
        The image, lazy or not. It is not loaded.
    looking
        What may be asked for.
    side
        The pixels along the longer side, at the most.
    at
        Positions along axes that are not those that `positions` gives.
    channels
        The numbers of those that are shown; by default those that are active.

    Raises
    ------
    SkippedError
        Where there is none: the message says why.
    OmeZarrError
        Where the image cannot be shown, or not be read.
    """
    image = first_field(image)
    plane = _plane(image)
    if not image.size:
        msg = "it has no pixels"
        raise SkippedError(msg)
    if image.dtype.kind not in "biuf":
        msg = f"pixels of type {image.dtype} have no brightness"
        raise SkippedError(msg)
    looks = None if is_label(image) else looks_of(image, channels=channels)
    at = _middle(image, plane, looks) | dict(at or {})
    found = _found(image, _Wanted(plane, at, looks), looking, side)
    height, width = _size(found.values.shape[1:], side)
    skipped = []
    if looks is None:
        labels = pictures.nearest(found.values[0], height, width)
        pixels = Palette().colors(labels)[..., :3] * (labels != 0)[..., None]
        names: list[str] = []
    else:
        planes = [pictures.averaged(values, height, width) for values in found.values]
        kept = replace(looks, channels=looks.channels[: len(planes)])
        pixels = composite(planes, [one.look for one in kept.settled(planes, "").channels])
        names = [one.name for one in kept.channels if one.name]
        left = len(looks.channels) - len(planes)
        if left:
            skipped.append(f"{left} of {len(looks.channels)} channels: they take more than a "
                           "picture may")  # fmt: skip
    if found.share != (1.0, 1.0):
        skipped.append("all but the middle: a plane of its coarsest level takes more than a "
                       "picture may")  # fmt: skip
    whole, unit = _extent(image, plane)
    extent = whole[0] * found.share[0], whole[1] * found.share[1]
    return Thumbnail(
        pixels.astype(np.uint8),
        extent,
        scale_bar(extent[1], unit),
        (*_field(image), *found.whence, *_positions(image, at), *names),
        tuple(skipped),
        found.share,
    )


def positions(image: xr.DataArray) -> dict[str, int]:
    """Give the plane that is shown of an image: its position along each axis that it does not have.

    Raises
    ------
    OmeZarrError
        Where there is none.
    """
    image = first_field(image)
    return _middle(image, _plane(image), None if is_label(image) else looks_of(image))


def labels_in(
    image: xr.DataArray, looking: Looking, side: int = SIDE, *, at: Mapping[str, int]
) -> NDArray[Any]:
    """Read a plane of a label image, brought to the size that a picture of it has.

    Parameters
    ----------
    image
        The label image, lazy or not. It is not loaded.
    looking, side
        As for `thumbnail`.
    at
        The position along each axis that the plane does not have; there may be more.

    Raises
    ------
    SkippedError
        Where it is too large: the message says so.
    """
    plane = _plane(image)
    where = {str(dim): at.get(str(dim), 0) for dim in image.dims if dim not in plane}
    found = _found(image, _Wanted(plane, where, None), looking, side)
    if found.share != (1.0, 1.0):
        msg = "a plane of its coarsest level takes more than a picture may"
        raise SkippedError(msg)
    return pictures.nearest(found.values[0], *_size(found.values.shape[1:], side))


def is_label(image: xr.DataArray) -> bool:
    """Say whether an image is known to be a label image."""
    kept = image.variable.encoding.get("omezarr")
    return isinstance(kept, dict) and kept.get("kind") == "label" and image.dtype.kind in "iu"


# ── which pixels ─────────────────────────────────────────────────────────────────────────────────


def _plane(image: xr.DataArray) -> tuple[str, str]:
    """Give the axes that are shown, the vertical one first."""
    axes = coordinates.axes_of(image, coordinates.memory_of(image).axes)
    names = [axis.name for axis in axes]
    if {"y", "x"} <= set(names):
        return "y", "x"
    found = [axis.name for axis in axes if axis.type == "space"]
    if len(found) < 2:  # noqa: PLR2004
        found = [axis.name for axis in axes if not axis.is_channel]
    if len(found) < 2:  # noqa: PLR2004
        msg = f"there is no plane in an image of the axes {', '.join(names) or 'none'}"
        raise SkippedError(msg)
    return found[-2], found[-1]


def _middle(image: xr.DataArray, plane: tuple[str, str], looks: Looks | None) -> dict[str, int]:
    """Choose the position along each other axis: as the file says, else the middle; the first time.

    `omero.rdefs` has "defaultT" and "defaultZ" (0.4 and 0.5, transitional).
    """
    memory = coordinates.memory_of(image)
    document = memory.document
    omero = spec.ome_attributes(document, spec.format_of(document)).get("omero")
    told = omero.get("rdefs") if isinstance(omero, dict) else None
    channel = None if looks is None else looks.dim
    at = {}
    for dim in map(str, image.dims):
        if dim in plane or dim == channel:
            continue
        size = image.sizes[dim]
        at[dim] = 0 if dim == "t" else size // 2
        wanted = told.get(f"default{dim.upper()}") if isinstance(told, dict) else None
        whole = memory.sizes.get(dim) == size and memory.level == 0
        if whole and type(wanted) is int and 0 <= wanted < size:
            at[dim] = wanted
    return at


def _field(image: xr.DataArray) -> list[str]:
    """Say which field of a plate an image is, where its coordinates do."""
    return [
        f"{name} {image.coords[name].values}"
        for name in (slots.WELL, slots.FIELD)
        if name in image.coords and not image.coords[name].ndim
    ]


def _positions(image: xr.DataArray, at: Mapping[str, int]) -> list[str]:
    """Say where a plane is."""
    told = []
    for dim, index in at.items():
        if image.sizes[dim] == 1:
            continue
        value = image.coords[dim].values[index] if dim in image.coords else index
        unit = image.coords[dim].attrs.get("units") if dim in image.coords else None
        if isinstance(value, np.timedelta64):
            value, unit = value / np.timedelta64(1, "s"), "second"
        number = isinstance(value, (int, float, np.number))
        if number and isinstance(unit, str):
            told.append(f"{dim} = {quantity(float(value), unit)}")
        else:
            told.append(f"{dim} = {f'{value:.6g}' if number else value}")
    return told


def _extent(image: xr.DataArray, plane: tuple[str, str]) -> tuple[tuple[float, float], str | None]:
    """Give height and width, with the unit that both are in; else in pixels."""
    sizes = float(image.sizes[plane[0]]), float(image.sizes[plane[1]])
    try:
        scales = coordinates.geometry_of(image)
    except OmeZarrError:
        return sizes, None
    axes = coordinates.axes_of(image, coordinates.memory_of(image).axes)
    units = {axis.name: axis.unit for axis in axes}
    if units[plane[0]] != units[plane[1]]:
        return sizes, None
    height, width = (size * abs(scales[dim][0]) for size, dim in zip(sizes, plane, strict=True))
    if not (math.isfinite(height) and math.isfinite(width) and height and width):
        return sizes, None
    return (height, width), units[plane[1]]


def _step(step: int, size: int) -> int:
    """Give a step along an axis, or less, where there would be next to nothing left of it."""
    return min(step, max(1, size // _NARROW))


def _size(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Give the height and width of a picture of so many pixels, in proportion."""
    share = min(1.0, side / max(shape))
    height, width = (max(round(n * share), min(n, _NARROW)) for n in shape)
    return height, width


# ── where from ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Found:
    values: NDArray[Any]
    """Of shape (channels, height, width)."""
    whence: tuple[str, ...]
    share: tuple[float, float] = (1.0, 1.0)
    """How much of height and width that is."""


def _found(image: xr.DataArray, wanted: _Wanted, looking: Looking, side: int) -> _Found:
    """Find few pixels of a plane, wherever the image is."""
    if image.variable.chunks is not None:
        msg = "it is a graph of dask, which is not computed for a picture"
        raise SkippedError(msg)
    if image.variable._in_memory:  # noqa: SLF001 - what asks for the pixels would load them
        step = -(-max(image.sizes[dim] for dim in wanted.plane) // (2 * side))
        steps = {dim: slice(None, None, _step(step, image.sizes[dim])) for dim in wanted.plane}
        picked = wanted.picked(image.variable.isel(steps), image.sizes, wanted.most)
        return _Found(wanted.read(picked), (f"one pixel of {step}",) if step > 1 else ())
    origin = looking.origin(image)
    if origin is not None:
        return _of_level(origin, image, wanted, looking, side)
    variable = bundles.alone(image.variable)
    part = chunked.part_of(variable)
    if part is None:
        msg = "it is not read yet, and only reading all of it would show it: .load() it, or select"
        raise SkippedError(msg)
    place = replace(part[0].place, store=looking.store_of(part[0].place.store))
    lazy = chunked.lazy(part[0].within(place), place.name, part[1])
    inside = xr.Variable(variable.dims, lazy)
    count = wanted.affordable(inside, image.sizes, looking)
    if not count:
        msg = (
            "it is a part of an image that is not read yet, and its chunks are more than a picture "
            "may take: .load() it, or open a coarser level"
        )
        raise SkippedError(msg)
    return _Found(wanted.read(wanted.picked(inside, image.sizes, count)), ())


def _of_level(
    origin: Origin, image: xr.DataArray, wanted: _Wanted, looking: Looking, side: int
) -> _Found:
    """Read a plane of the coarsest level that has as many pixels as are wanted."""
    fine = origin.coarsest(lambda sizes: max(sizes[dim] for dim in wanted.plane) >= side) or 0
    tried = list(range(fine, origin.count))[:_TRIED]
    best: tuple[int, int, xr.Variable] | None = None
    variables: dict[int, xr.Variable] = {}
    for level in tried:
        if level not in looking.found:
            looking.found |= origin.describe([level])
        array = looking.found[level]
        if isinstance(array, OmeZarrError):
            continue
        inside = replace(array.place, store=origin.place.store)
        lazy = chunked.lazy(array.within(inside), f"{origin.source}/{array.path}")
        chunks = dict(zip(origin.dims, array.model.chunks, strict=True))
        whole = xr.Variable(origin.dims, lazy, None, {"preferred_chunks": chunks})
        variable = variables[level] = whole.isel(dict.fromkeys(origin.single, 0))
        count = wanted.affordable(variable, image.sizes, looking)
        if count and (best is None or count > best[0]):
            best = count, level, variable
        if count == wanted.most:
            break
    if best is not None:
        count, level, variable = best
        values = wanted.read(wanted.picked(variable, image.sizes, count))
        return _Found(values, (f"level {level}",))
    good = [level for level in tried if isinstance(looking.found[level], chunked.Described)]
    if not good:
        problem = looking.found[tried[0]]
        assert isinstance(problem, OmeZarrError)  # noqa: S101 - what else it could be is good
        raise problem
    return _in_the_middle(good[-1], variables[good[-1]], image, wanted, looking)


def _in_the_middle(
    level: int,
    variable: xr.Variable,
    image: xr.DataArray,
    wanted: _Wanted,
    looking: Looking,
) -> _Found:
    """Read the chunks in the middle of a level that is too large to be read as a whole."""
    chunks = variable.encoding["preferred_chunks"]
    for across in (3, 2, 1):
        middle = {dim: _around(variable.sizes[dim], chunks[dim], across) for dim in wanted.plane}
        part = variable.isel(middle)
        count = wanted.affordable(part, image.sizes, looking)
        if count == wanted.most or (count and across == 1):
            values = wanted.read(wanted.picked(part, image.sizes, count))
            height, width = (part.sizes[dim] / variable.sizes[dim] for dim in wanted.plane)
            return _Found(values, (f"the middle of level {level}",), (height, width))
    msg = f"the chunks of level {level} are larger than what a picture may take"
    raise SkippedError(msg)


def _around(size: int, chunk: int, across: int) -> slice:
    """Give the pixels of so many chunks in the middle of an axis."""
    there = -(-size // chunk)
    across = min(across, there)
    first = (there - across) // 2
    return slice(first * chunk, min((first + across) * chunk, size))


@dataclass(frozen=True)
class _Wanted:
    """Which pixels are wanted of an image, whatever level of it."""

    plane: tuple[str, str]
    at: Mapping[str, int]
    """The position along each other axis, of the image."""
    looks: Looks | None
    """The channels; None for labels, which have none."""

    @property
    def most(self) -> int:
        """How many channels are wanted."""
        return 1 if self.looks is None else min(len(self.looks.channels), _CHANNELS)

    def picked(self, variable: xr.Variable, sizes: Mapping[Any, int], count: int) -> xr.Variable:
        """Select the plane of some channels; nothing is read.

        Parameters
        ----------
        variable
            Pixels of a level.
        sizes
            Those of the image, which positions are of.
        count
            How many channels.
        """
        where: dict[Any, Any] = {
            dim: index * variable.sizes[dim] // sizes[dim] for dim, index in self.at.items()
        }
        if self.looks is not None and self.looks.dim is not None:
            where[self.looks.dim] = [one.index for one in self.looks.channels[:count]]
        return variable.isel(where)

    def read(self, picked: xr.Variable) -> NDArray[Any]:
        """Read what was selected, as channels, rows and columns."""
        # Transposed before it is read, it would be read pixel by pixel.
        values = xr.Variable(picked.dims, picked.values)
        found: NDArray[Any] = np.asarray(values.transpose(..., *self.plane).values)
        return found.reshape(-1, *found.shape[-2:])

    def affordable(self, variable: xr.Variable, sizes: Mapping[Any, int], looking: Looking) -> int:
        """Say of how many channels a plane can be read, of pixels that are not read yet."""
        for count in range(self.most, 0, -1):
            part = chunked.part_of(self.picked(variable, sizes, count))
            if part is None:
                break
            requests, nbytes, decoded = cost(*part)
            budget = looking.budget
            fits = requests <= budget.requests and nbytes <= budget.nbytes
            if fits and decoded <= looking.decoded:
                return count
        return 0


def cost(array: Described, key: ExplicitIndexer) -> tuple[int, int, int]:
    """Say what it takes to read a part of an array, at the most.

    Returns
    -------
    requests, nbytes, decoded
        Requests; bytes that come, as if nothing had been compressed but what lies beyond the array,
        which is all alike; and bytes of the chunks when they are decoded.
    """
    model = array.model
    chunks, shards = model.chunks, model.shards
    requests, parts, inside, whole = 1, 1, 1, 1
    for axis, (index, size) in enumerate(zip(key.tuple, array.shape, strict=True)):
        number, pixels = _touched(index, size, chunks[axis])
        requests *= number
        inside *= pixels
        whole *= number * chunks[axis]
        if shards is not None:
            parts *= _touched(index, size, shards[axis])[0]
    if shards is not None:
        # Of each shard its index is read as well.
        requests += parts
    item = array.dtype.itemsize
    return requests, (inside if model.compressors else whole) * item, whole * item


def _touched(index: Any, size: int, chunk: int) -> tuple[int, int]:  # noqa: ANN401 - of xarray
    """Give how many chunks along an axis an index touches, and how many pixels these have."""
    if isinstance(index, slice):
        positions = range(*index.indices(size))
        if not positions:
            return 0, 0
        first, last = sorted((positions[0] // chunk, positions[-1] // chunk))
        if abs(positions.step) <= chunk:
            return last - first + 1, min((last + 1) * chunk, size) - first * chunk
        return len(positions), min(len(positions) * chunk, size)
    numbers = np.unique(np.asarray(index) % size // chunk)
    return len(numbers), int(np.minimum(chunk, size - numbers * chunk).sum())
