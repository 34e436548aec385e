"""An image as colours, lazily: what its channels and labels look like, pixel by pixel.

What is dask becomes dask, a task for each block. What was opened without dask, or is in memory, is
computed when it is asked for, of the part that is asked for: a selection reads the chunks below it,
a few at a time. Neither way does it matter in which blocks pixels come.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from xarray_omezarr import (
    composite,
    coordinates,
    crops,
    looks,
    measure,
    origins,
    picking,
    projections,
    resample,
    slots,
)
from xarray_omezarr.composite import Palette
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.projections import Deferred, chunk_lengths

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from xarray_omezarr.composite import Bytes, Look, Overlay
    from xarray_omezarr.looks import Channels, Colors, Looks, Windows
    from xarray_omezarr.projections import Reading


#: How strongly labels cover the picture.
OPACITY = {"filled": 0.5, "outlines": 1.0}
#: Pixels, channels counted, that are put together at a time.
_BLOCK = 2**22
#: Automatic windows are chosen from a level whose planes have so many pixels, or more, …
_PLANE = 2**16
#: … from so many planes of it, and from so many pixels of each.
_PLANES, _PIXELS = 8, 2**20
#: Where a plane has more, it is looked at in so many squares along each side.
_SQUARES = 4
#: The axes of space, the horizontal one last.
_SPACE = ("z", "y", "x")
#: What the axes of a block are called, of which an image has none.
_CHANNEL, _COLORS = "channels of the block", "colours of the block"


@dataclass(frozen=True)
class Labels:
    """A label image, and how it is laid over a picture."""

    pixels: xr.DataArray
    palette: Palette
    overlay: Overlay = "filled"


def to_rgb(
    image: xr.DataArray,
    labels: Labels | None = None,
    *,
    level: int | None = None,
    channels: Channels | None = None,
    windows: Windows | None = None,
    colors: Colors | None = None,
    project: Mapping[str, str] | None = None,
    alpha: bool = False,
) -> xr.DataArray:
    """Put the channels of an image together to a picture; see `Dataset.omezarr.to_rgb`.

    Parameters
    ----------
    image
        The image.
    labels
        What `labels_of` gives.
    level, channels, windows, colors, project, alpha
        As there.
    """
    if level is not None:
        image, labels = _at_level(image, labels, level)
    along = projections.checked(project)
    # By the image as it was opened, which knows of its curves.
    shown = looks.looks_of(image, channels=channels, colors=colors, windows=windows)
    if shown.dim in along:
        others = ", ".join(str(dim) for dim in image.dims if dim != shown.dim)
        msg = (
            f"project={project!r:.80}: channels are not brought down, their light is added up. "
            f"channels= says which; there are {others}."
        )
        raise OmeZarrError(msg)
    source, image = image, projections.project(image, along)
    if labels is not None:
        dims = {dim: "max" for dim in along if dim in labels.pixels.dims}
        labels = replace(labels, pixels=projections.project(labels.pixels, dims))
    if windows is None and "sum" in along.values():
        # What is told of single planes does not hold for their sum.
        shown = shown.without_windows()
    shown = settled(shown, source, along)
    return render(image, shown, labels, alpha=alpha)


def at_level(image: xr.DataArray, level: int) -> xr.DataArray:
    """Open another level of the file that an image was opened from, where the image is now.

    Raises
    ------
    OmeZarrError
        Where the image is not, or no longer, what was opened; or where it has no such level.
    """
    picking.check_level(level)
    crop = None if origins.origin_of(image) is None else crops.crop_of(image)
    if crop is None:
        msg = (
            f"level={level!r:.40}: '{image.name}' is not all of the lazy array that was opened "
            "from a file, so that its other levels are not known. Open the level itself "
            "(xr.open_dataset(…, level=…)), or leave level= out."
        )
        raise OmeZarrError(msg)
    return crop.at(level)


def _at_level(
    image: xr.DataArray, labels: Labels | None, level: int
) -> tuple[xr.DataArray, Labels | None]:
    """Open another level of an image, and bring its labels there."""
    if labels is None:
        return at_level(image, level), None
    dims = [str(dim) for dim in labels.pixels.dims if dim in image.dims]
    # Where a dimension tells of no positions, pixels are counted.
    bare = {dim: np.arange(float(image.sizes[dim])) for dim in dims if dim not in image.coords}
    opened = at_level(image.assign_coords(bare), level)
    pixels = crops.onto(labels.pixels.assign_coords(bare), opened, dims)
    return opened.drop_vars(bare), replace(labels, pixels=pixels)


def label_name(labels: object) -> str | None:
    """Give the name of the label image that is laid over a picture: there is one at the most.

    Raises
    ------
    OmeZarrError
        Where several are asked for.

    Examples
    --------
    >>> label_name("nuclei"), label_name(["nuclei"]), label_name([]), label_name(None)
    ('nuclei', 'nuclei', None, None)
    """
    names: Any = labels if isinstance(labels, (list, tuple)) else [labels]
    if len(names) > 1:
        msg = (
            f"labels={labels!r:.80}: one label image is laid over a picture. Name one of them; "
            "plot_labels draws others into the same axes."
        )
        raise OmeZarrError(msg)
    return names[0] if names else None


def labels_of(dataset: xr.Dataset, name: str, overlay: Overlay = "filled") -> Labels:
    """Give a label image with its colours.

    Raises
    ------
    OmeZarrError
        Where there is no such label image, or a colour is none.
    """
    # A list, to find what has no hash as well.
    if overlay not in list(OPACITY):
        msg = f"overlay={overlay!r:.40}: expected {' or '.join(map(repr, OPACITY))}."
        raise OmeZarrError(msg)
    pixels = measure.label_image(dataset, name)
    dim, color = f"{name}_id", f"{name}_color"
    palette = Palette()
    if dim in dataset.coords and color in dataset.variables and dataset[color].dims == (dim,):
        texts = np.asarray(dataset[color].values, np.str_)
        wrong = [t for t in texts.tolist() if t and not re.fullmatch("([0-9a-fA-F]{2}){3,4}", t)]
        if wrong:
            msg = (
                f"'{color}': {wrong[0]!r:.40} is no colour; expected six or eight hexadecimal "
                "digits, RRGGBB or RRGGBBAA (.omezarr.color_labels)."
            )
            raise OmeZarrError(msg)
        if (texts != "").any():
            palette = Palette.of(np.asarray(dataset[dim].values), texts, pixels.dtype)
    return Labels(pixels, palette, overlay)


# ── windows ──────────────────────────────────────────────────────────────────────────────────────


def settled(shown: Looks, image: xr.DataArray, along: Mapping[str, str] | None = None) -> Looks:
    """Choose the windows that are not known by pixels of a coarse level, where there is one.

    Some planes are looked at, and of large ones some parts; of pixels that are known only as a dask
    graph, that part of the graph is computed.

    Parameters
    ----------
    shown
        How the image is shown, as far as it is known.
    image
        The image, before it is projected.
    along
        How it is projected.
    """
    if shown.are_settled:
        return shown
    of = "the image"
    origin = origins.origin_of(image)
    plane = _plane(image, along or {})
    if origin is not None:
        shape = dict(image.sizes)
        # A sum is that of all planes, of which a level may have fewer.
        summed = [dim for dim, how in (along or {}).items() if how == "sum"]
        number = origin.coarsest(
            lambda sizes: (
                math.prod(sizes[dim] for dim in plane) >= _PLANE
                and all(sizes[dim] == shape[dim] for dim in summed)
            )
        )
        number = origin.number if number is None else max(number, origin.number)
        of = f"level {number}"
        try:
            image = origin.open(number)
        except OmeZarrError:
            # It is looked at because it is small; any other does as well.
            of = "the image"
    sampled = _sampled(projections.project(image, along or {}), shown.dim, plane)
    parts = (_values(sampled, shown.dim, channel.index) for channel in shown.channels)
    return shown.settled(parts, of)


def _values(sampled: Sequence[xr.DataArray], dim: str | None, index: int | None) -> NDArray[Any]:
    parts = (part if dim is None else part.isel({dim: index}) for part in sampled)
    found = [np.asarray(part.values).ravel() for part in parts]
    return np.concatenate(found) if found else np.empty(0)


def _plane(image: xr.DataArray, along: Mapping[str, str]) -> tuple[str, ...]:
    """Give the one or two dimensions of space that pictures lie in: the last ones that are left."""
    field = slots.one_field(image)
    axes = coordinates.axes_of(field, coordinates.memory_of(field).axes)
    left = [a.name for a in axes if not a.is_channel and a.name not in along]
    return tuple((space_of(image, along) or left)[-2:])


def space_of(image: xr.DataArray, gone: Collection[str] = ()) -> list[str]:
    """Give the dimensions of space of an image, the horizontal one last, but for some."""
    field = slots.one_field(image)
    axes = coordinates.axes_of(field, coordinates.memory_of(field).axes)
    space = [axis.name for axis in axes if axis.type == "space" and axis.name not in gone]
    # Transposed, an image is still the same one.
    return sorted(space, key=_SPACE.index) if {*space} <= {*_SPACE} else space


def _sampled(image: xr.DataArray, channel: str | None, plane: Sequence[str]) -> list[xr.DataArray]:
    """Give parts of an image that are read to choose windows."""
    others = {str(d): n for d, n in image.sizes.items() if d != channel and d not in plane}
    count = math.prod(others.values())
    some = min(count, _PLANES)
    parts = []
    for k in range(some):
        where = np.unravel_index((2 * k + 1) * count // (2 * some), tuple(others.values()))
        at = dict(zip(others, map(int, where), strict=True))
        parts += [image.isel({**at, **box}) for box in _squares(image, plane)]
    return parts


def _squares(image: xr.DataArray, plane: Sequence[str]) -> Iterator[dict[str, slice]]:
    """Give the parts of a plane that are looked at: all of it, or squares all over it."""
    if math.prod(image.sizes[dim] for dim in plane) <= _PIXELS:
        yield {}
        return
    side = int((_PIXELS / _SQUARES ** len(plane)) ** (1 / len(plane)))
    starts = []
    for dim in plane:
        room = max(0, image.sizes[dim] - side)
        starts.append([room * (2 * i + 1) // (2 * _SQUARES) for i in range(_SQUARES)])
    for place in itertools.product(*starts):
        yield {d: slice(start, start + side) for d, start in zip(plane, place, strict=True)}


# ── rendering ────────────────────────────────────────────────────────────────────────────────────


def render(
    image: xr.DataArray, shown: Looks, labels: Labels | None = None, *, alpha: bool = False
) -> xr.DataArray:
    """Put channels together, and lay labels over them.

    Parameters
    ----------
    image
        The image.
    shown
        How it is shown, with all windows known.
    labels
        A label image, along some of the image's dimensions.
    alpha
        Whether there is a fourth component.

    Returns
    -------
    xarray.DataArray
        uint8; instead of the channel axis there is the axis `rgb` or `rgba`, which is the last.
    """
    dims = tuple(dim for dim in image.dims if dim != shown.dim)
    last = "rgba" if alpha else "rgb"
    if last in image.dims:
        msg = f"A dimension is named '{last}', as that of the colours is. Rename it (.rename)."
        raise OmeZarrError(msg)
    plane = _plane(image, {})
    over = None if labels is None else _transposed(labels.pixels, image, dims)
    picture = _Picture(
        tuple(channel.look for channel in shown.channels),
        alpha,
        Palette() if labels is None else labels.palette,
        "filled" if labels is None else labels.overlay,
        tuple(axis for axis, dim in enumerate(dims) if over is None or dim not in over.dims),
        () if over is None else tuple(over.get_axis_num(dim) for dim in plane if dim in over.dims),
    )
    variable = image.variable
    if variable.chunks is None and (over is None or over.chunks is None):
        cached: Any = indexing.MemoryCachedArray
        lazy = _Rendered(variable, dims, shown, picture, over)
        data = cached(indexing.LazilyIndexedArray(lazy))
    else:
        data = _mapped(variable, dims, shown, picture, over)
    attrs = {"channels": [channel.name for channel in shown.channels], "windows": str(shown)}
    coords = {name: c for name, c in image.coords.items() if shown.dim not in c.dims}
    coords[last] = xr.DataArray(list(last), dims=last)
    return xr.DataArray(xr.Variable((*dims, last), data, attrs), coords=coords, name=image.name)


def _transposed(labels: xr.DataArray, image: xr.DataArray, dims: Sequence[Hashable]) -> xr.Variable:
    """Give the pixels of a label image with their axes in the order of the picture's."""
    sizes = {dim: image.sizes[dim] for dim in dims}
    wrong = [str(dim) for dim, size in labels.sizes.items() if sizes.get(dim) != size]
    if wrong:
        msg = (
            f"labels={labels.name!r}: its sizes are {dict(labels.sizes)}, and those of the picture "
            f"{sizes}; they differ along {', '.join(wrong)}. "
            "Select or resample it to the pixels of the image."
        )
        raise OmeZarrError(msg)
    return labels.variable.transpose(*(dim for dim in dims if dim in labels.dims))


@dataclass(frozen=True)
class _Picture:
    """What becomes of the pixels of a block."""

    looks: tuple[Look, ...]
    alpha: bool
    palette: Palette
    overlay: Overlay
    without: tuple[int, ...]
    """The axes of the picture that the label image lacks."""
    plane: tuple[int, ...]
    """The axes of the label image in which outlines are drawn."""

    @property
    def components(self) -> int:
        return 4 if self.alpha else 3

    def outlines(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Leave of labels what is drawn of them."""
        return np.where(composite.outlines(labels, self.plane), labels, labels.dtype.type(0))

    def over(self, picture: Bytes, labels: NDArray[Any]) -> Bytes:
        """Lay what is drawn of labels over a picture."""
        colors = self.palette.colors(np.expand_dims(labels, self.without))
        return composite.overlay(picture, colors, OPACITY[self.overlay])


# ── dask ─────────────────────────────────────────────────────────────────────────────────────────


def _mapped(
    variable: xr.Variable,
    dims: Sequence[Hashable],
    shown: Looks,
    picture: _Picture,
    labels: xr.Variable | None,
) -> Any:  # noqa: ANN401 - a dask array
    """Give a dask array: a task for each block, which gets all channels of it."""
    import dask.array

    da: Any = dask.array
    lazy = resample.as_dask(variable)
    channel = shown.dim or _CHANNEL
    if shown.dim is None:
        pixels = lazy.data[np.newaxis]
    else:
        some = lazy.isel({channel: [c.index for c in shown.channels]})
        pixels = some.transpose(channel, *dims).data
    arrays = [pixels, (channel, *dims)]
    if labels is not None:
        over = resample.as_dask(labels).data
        if picture.overlay == "outlines":
            depth = dict.fromkeys(picture.plane, 1)
            over = da.map_overlap(
                picture.outlines, over, depth=depth, boundary="none", dtype=over.dtype,
                meta=np.empty((0,) * over.ndim, over.dtype),
            )  # fmt: skip
        arrays += [over, labels.dims]
    return da.blockwise(
        partial(_block, picture),
        (*dims, _COLORS),
        *arrays,
        new_axes={_COLORS: picture.components},
        dtype=np.uint8,
        meta=np.empty((0,) * (len(dims) + 1), np.uint8),
    )


def _block(
    picture: _Picture, channels: list[NDArray[Any]], labels: NDArray[Any] | None = None
) -> Bytes:
    """Put a block together; the channels come in as many arrays as chunks along their axis."""
    planes = itertools.chain.from_iterable(channels)
    made = composite.composite(planes, picture.looks, alpha=picture.alpha)
    return made if labels is None else picture.over(made, labels)


# ── lazily ───────────────────────────────────────────────────────────────────────────────────────


class _Rendered(Deferred):
    """The picture of an image that is not dask."""

    def __init__(
        self,
        variable: xr.Variable,
        dims: tuple[Hashable, ...],
        shown: Looks,
        picture: _Picture,
        labels: xr.Variable | None,
    ) -> None:
        self.variable, self.dims, self.shown = variable, dims, shown
        self.picture, self.labels = picture, labels
        sizes = (variable.sizes[dim] for dim in dims)
        super().__init__((*sizes, picture.components), np.dtype(np.uint8))

    def read(self, key: tuple[Any, ...]) -> Reading:
        *where, components = key
        picked = [_Pick.of(k, size) for k, size in zip(where, self.shape, strict=False)]
        result = np.empty((*map(len, picked), self.shape[-1]), np.uint8)
        groups = list(self._groups())
        for place in itertools.product(*self._parts(picked, max(map(len, groups)))):
            at = {dim: pick for dim, (_, pick) in zip(self.dims, place, strict=True)}
            canvas = composite.Canvas(tuple(map(len, at.values())))
            for group in groups:
                planes = yield from self._planes(group, at)
                for i, plane in zip(group, planes, strict=True):
                    canvas.add(plane, self.picture.looks[i])
            made = canvas.picture(alpha=self.picture.alpha)
            if self.labels is not None:
                drawn = yield from self._drawn(self.labels, at)
                made = self.picture.over(made, drawn)
            result[tuple(out for out, _ in place)] = made
        scalars = (0 if isinstance(k, (int, np.integer)) else slice(None) for k in where)
        return result[(*scalars, components)]

    def _groups(self) -> Iterator[list[int]]:
        """Give the channels, as they are numbered here, that lie in one chunk."""
        axis = self.shown.dim
        chunk = 1 if axis is None else chunk_lengths(self.variable).get(axis, 1)
        places = enumerate((channel.index or 0) // chunk for channel in self.shown.channels)
        for _, group in itertools.groupby(places, key=itemgetter(1)):
            yield [i for i, _ in group]

    def _parts(self, picked: Sequence[_Pick], channels: int) -> list[list[tuple[slice, _Pick]]]:
        """Cut what is asked for into parts along each axis: whole chunks, and not too many."""
        known = chunk_lengths(self.variable)
        lengths = [known.get(dim, 1) for dim in self.dims]
        for axis in reversed(range(len(lengths))):
            others = math.prod(lengths) * channels
            lengths[axis] *= max(1, _BLOCK // max(1, others))
            lengths[axis] = min(lengths[axis], self.shape[axis] or 1)
        return [pick.parts(length) for pick, length in zip(picked, lengths, strict=True)]

    def _planes(self, group: Sequence[int], at: Mapping[Hashable, _Pick]) -> Reading:
        keys: dict[Hashable, Any] = {dim: pick.key for dim, pick in at.items()}
        if self.shown.dim is None:
            block = yield self.variable.isel(keys)
            return block[np.newaxis]
        keys[self.shown.dim] = [self.shown.channels[i].index for i in group]
        if len(group) == 1:
            keys[self.shown.dim] = slice(keys[self.shown.dim][0], keys[self.shown.dim][0] + 1)
        block = yield self.variable.isel(keys)
        return np.moveaxis(block, self.variable.get_axis_num(self.shown.dim), 0)

    def _drawn(self, labels: xr.Variable, at: Mapping[Hashable, _Pick]) -> Reading:
        """Read labels, and what lies around them where outlines depend on it."""
        keys: dict[Hashable, Any] = {dim: at[dim].key for dim in labels.dims}
        if self.picture.overlay != "outlines":
            return (yield labels.isel(keys))
        inner: list[Any] = [slice(None)] * labels.ndim
        wide = keys.copy()
        for axis in self.picture.plane:
            dim = labels.dims[axis]
            wide[dim], inner[axis] = at[dim].widened(labels.sizes[dim])
        block = self.picture.outlines((yield labels.isel(wide)))
        for axis, positions in enumerate(inner):
            block = block[(*(slice(None),) * axis, positions)]
        return block


@dataclass(frozen=True)
class _Pick:
    """What is asked for along one axis."""

    key: slice | NDArray[np.intp]
    """A slice without gaps, or indices from 0 on, in any order."""

    @classmethod
    def of(cls, key: Any, size: int) -> _Pick:  # noqa: ANN401 - whatever indexes an axis
        """Take an integer as a slice of one."""
        if isinstance(key, (int, np.integer)):
            first = int(key) % size
            return cls(slice(first, first + 1))
        if isinstance(key, slice):
            start, stop, step = key.indices(size)
            if step == 1:
                return cls(slice(start, max(start, stop)))
        return cls(np.arange(size)[key])

    def __len__(self) -> int:
        return self.key.stop - self.key.start if isinstance(self.key, slice) else len(self.key)

    def parts(self, length: int) -> list[tuple[slice, _Pick]]:
        """Cut it at the multiples of a length; give where each part goes to, and the part."""
        if isinstance(self.key, slice):
            start, stop = self.key.start, self.key.stop
            ends = [*range(start // length * length + length, stop, length), stop]
            pairs = [(a, b) for a, b in itertools.pairwise([start, *ends]) if b > a]
            return [(slice(a - start, b - start), _Pick(slice(a, b))) for a, b in pairs]
        cuts = (slice(i, i + length) for i in range(0, len(self.key), length))
        return [(cut, _Pick(self.key[cut])) for cut in cuts]

    def widened(self, size: int) -> tuple[slice | NDArray[np.intp], slice | NDArray[np.intp]]:
        """Give the same with the neighbours of all, and where it is in that."""
        if isinstance(self.key, slice):
            first = max(0, self.key.start - 1)
            return (
                slice(first, min(size, self.key.stop + 1)),
                slice(self.key.start - first, self.key.stop - first),
            )
        around = (self.key[:, np.newaxis] + np.array([-1, 0, 1])).clip(0, size - 1)
        wide = np.unique(around)
        return wide, np.searchsorted(wide, self.key)
