"""Where pixels that nobody has read yet come from, and the other levels of that image.

A Dataset holds one level of an image. As long as its pixels are the lazy array that was opened, all
of it and not a part, the image that it is a level of can be told, and its other levels opened.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import chunked, coordinates, multiscale, read
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.rasters import Rasters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import xarray as xr
    from zarr.abc.store import Store

    from xarray_omezarr.chunked import Described
    from xarray_omezarr.model import Image
    from xarray_omezarr.stores import Place

#: No axis is expected to be longer, whatever pixel sizes say.
_LONGEST = 2**53


@dataclass(frozen=True)
class Origin:
    """The image that a lazy array is a level of.

    Nothing is read before `describe` or `open` is called.
    """

    place: Place
    """The group of the image."""
    image: Image
    """What its attributes say, as they were when it was opened."""
    number: int
    """The level that was opened."""
    array: Described
    """Its array."""
    name: str
    """What its variable was called when it was opened: `image`, or the name of a label image."""
    single: tuple[str, ...] = ()
    """Axes of length 1 that a label image has lost: along them its labels hold for all."""

    @property
    def source(self) -> str:
        """Where the image is, without credentials."""
        return self.place.name

    @property
    def is_label(self) -> bool:
        """Whether it is a label image."""
        return self.name != coordinates.IMAGE

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of the axes."""
        return self.image.dims

    @property
    def count(self) -> int:
        """The number of levels."""
        return len(self.image.levels)

    def scale(self, level: int) -> dict[str, float]:
        """Give the pixel size of a level along each axis but the channel's, by the metadata."""
        axes = zip(self.image.axes, self.image.levels[level].transform.scale, strict=True)
        return {axis.name: scale for axis, scale in axes if not axis.is_channel}

    def expected_shape(self, level: int) -> tuple[int, ...]:
        """Give the shape that a level has by its pixel size, without asking the store.

        It may be a pixel off: whether a remainder counts for one more is up to whoever wrote it.
        """
        own = self.image.levels[self.number].transform.scale
        other = self.image.levels[level].transform.scale
        return tuple(
            max(1, round(min(size * abs(a / b), _LONGEST)))
            for size, a, b in zip(self.array.shape, own, other, strict=True)
        )

    def coarsest(self, fits: Callable[[dict[str, int]], bool]) -> int | None:
        """Give the coarsest level whose expected shape, by axis, is as is asked for."""
        for level in reversed(range(self.count)):
            if fits(dict(zip(self.dims, self.expected_shape(level), strict=True))):
                return level
        return None

    def describe(self, levels: Iterable[int] | None = None) -> dict[int, Described | OmeZarrError]:
        """Read what the arrays of levels are like: one request each, side by side.

        Of the level that was opened that is known, and nothing is asked. A level that is missing or
        broken is given back as the error that says so.
        """
        wanted = range(self.count) if levels is None else [level % self.count for level in levels]
        found: dict[int, Described | OmeZarrError] = {}
        asked = [level for level in wanted if level != self.number]
        if asked:
            paths = [self.image.levels[level].path for level in asked]
            zarr_format = self.array.model.metadata.zarr_format
            arrays = chunked.describe_arrays(self.place, paths, zarr_format)
            found = dict(zip(asked, arrays, strict=True))
        return {level: found.get(level, self.array) for level in wanted}

    def open(self, level: object, array: Described | None = None) -> xr.DataArray:
        """Open a level lazily, with the coordinates that the file gives it.

        The attributes of the group are not read again; of the array, its metadata are, unless they
        are those of the level that was opened.

        Parameters
        ----------
        level
            0 is the finest, -1 the coarsest.
        array
            What `describe` has found out about it, if that was asked.

        Raises
        ------
        OmeZarrError
            Where there is no such level, or its array is missing or broken.
        """
        if not isinstance(level, (int, np.integer)) or not -self.count <= level < self.count:
            msg = (
                f"{self.source} has no level {level!r:.40}; there are {self.count}, 0 is the "
                "finest, and negative numbers count from the coarsest, -1."
            )
            raise OmeZarrError(msg)
        index = int(level) % self.count
        found = self.describe([index])[index] if array is None else array
        if isinstance(found, OmeZarrError):
            raise found
        read.check_positions(self.place, [found])
        dataset = Rasters(indexed=True).dataset(self.place, self.image, index, found, warn=_ignore)
        if self.is_label:
            dataset = read.as_label(dataset, self.name)
            dataset = dataset.isel(dict.fromkeys(self.single, 0), drop=True)
        return dataset[self.name]

    def within(self, wrapped: Callable[[Store], Store]) -> Origin:
        """Give the same image as it is read by way of a store that wraps its own."""
        store = wrapped(self.place.store)
        inside = replace(self.array.place, store=store)
        return replace(
            self, place=replace(self.place, store=store), array=self.array.within(inside)
        )


def origin_of(array: xr.DataArray) -> Origin | None:
    """Tell the image that an array is a level of, where that can be told.

    Parameters
    ----------
    array
        A variable of a Dataset that the engine has opened. Its coordinates do not matter: they may
        have been given other values.

    Returns
    -------
    Origin or None
        None unless the pixels are the lazy array that was opened, and nothing else: what was
        loaded, selected from, transposed, chunked or computed with is another image.
    """
    whole = _untouched(array.variable)
    if whole is None:
        return None
    found, gone = whole
    memory = coordinates.memory_of(array)
    if not memory.document or not f"/{found.path}".endswith(f"/{memory.path}"):
        return None
    above = found.path[: len(found.path) - len(memory.path)].rstrip("/")
    place = found.place.below(above) if above else found.place
    image = _parsed(place, memory, found)
    if image is None or memory.level >= len(image.levels):
        return None
    kept: dict[str, Any] = array.variable.encoding["omezarr"]
    name, single = coordinates.IMAGE, tuple(image.dims[axis] for axis in gone)
    if kept.get("kind") == "label":
        name = f"/{place.path}".rpartition("/labels/")[2].replace("/", "_")
    elif single:
        return None
    if tuple(dim for dim in image.dims if dim not in single) != array.dims:
        return None
    return Origin(place, image, memory.level, found, name, single)


def _untouched(variable: xr.Variable) -> tuple[Described, list[int]] | None:
    """Give the array that a variable is all of, if nobody has read it yet.

    With it come the axes of length 1 that the variable has lost.
    """
    found = chunked.part_of(variable)
    if found is None or len(found[1].tuple) != found[0].ndim:
        return None
    array, key = found
    gone = []
    for axis, (index, size) in enumerate(zip(key.tuple, array.shape, strict=True)):
        if isinstance(index, slice):
            if index.indices(size) != (0, size, 1):
                return None
        elif size == 1 and np.ndim(index) == 0:
            gone.append(axis)
        else:
            return None
    return array, gone


def _parsed(place: Place, memory: coordinates.Memory, array: Described) -> Image | None:
    try:
        image = multiscale.parse_image(
            memory.document,
            zarr_format=array.model.metadata.zarr_format,
            place=place.name,
            warn=_ignore,
            version=memory.version,
        )
        return multiscale.fitted(image, array.ndim, place=place.name, warn=_ignore)
    except OmeZarrError:
        # Somebody has put another document there.
        return None


def _ignore(_: str) -> None:
    """Say nothing: all was said when the image was opened."""
