"""One level of an image as a Dataset; what alike levels have in common is made once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import xarray as xr

from xarray_omezarr import chunked, coordinates, spec
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    import numpy as np

    from xarray_omezarr.chunked import Described
    from xarray_omezarr.model import Image, Level
    from xarray_omezarr.stores import Place

    Scalar = np.ndarray[tuple[()], np.dtype[Any]]

#: The positions of pixels are computed when an image is opened: up to so many, half a gigabyte.
MOST_POSITIONS = 2**26


class _Stored(NamedTuple):
    """How arrays of one kind are stored."""

    model: Any
    """Kept, since its identity says which kind that is."""
    encoding: dict[str, Any]
    codecs: dict[str, Any]
    shards: dict[str, int] | None


class Rasters:
    """Makes Datasets of levels, and keeps what others may have in common with them.

    Parameters
    ----------
    drop_variables
        Variables and coordinates to leave out.
    indexed
        Whether coordinates get their indexes here, so that alike levels share these as well. Else
        xarray makes one for each level, or leaves them out as it is asked to.
    """

    def __init__(
        self, drop_variables: str | Iterable[str] | None = None, *, indexed: bool = False
    ) -> None:
        self._dropped = (
            {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        )
        self._indexed = indexed
        self._positions = 0
        self._stored: dict[tuple[int, tuple[str, ...]], _Stored] = {}
        self._axes: dict[Hashable, xr.Coordinates] = {}
        self._channels: dict[Hashable, xr.Coordinates] = {}
        self._templates: dict[Hashable, xr.Dataset] = {}

    def dataset(
        self,
        place: Place,
        image: Image,
        index: int,
        array: Described,
        *,
        warn: Callable[[str], None],
        scalars: Mapping[str, Scalar] | None = None,
    ) -> xr.Dataset:
        """Make the Dataset of a level.

        Parameters
        ----------
        place
            The group of the image.
        image, index
            The image, and the number of the level.
        array
            The array of the level.
        warn
            Called with each assumption.
        scalars
            Further coordinates, without a dimension.
        """
        level = image.levels[index]
        _check(place, image, level, array, warn)
        stored = self._how_stored(array, image.dims)
        memory = coordinates.Memory(
            version=image.version,
            assumed=image.assumed,
            level=index,
            path=level.path,
            axes={axis.name: axis for axis in image.axes},
            sizes=dict(zip(image.dims, array.shape, strict=True)),
            codecs=stored.codecs,
            shards=stored.shards,
            document=image.document,
        )
        # An axis of such a name is what the file says, and goes first.
        taken = {*image.dims, *self._dropped}
        own = {name: value for name, value in (scalars or {}).items() if name not in taken}
        parts = self._coordinates(place, image, level, array, warn)
        made = self._template(image, array, parts, tuple(own))
        if coordinates.IMAGE in made:
            pixels = chunked.lazy(array, f"{place.name}/{level.path}")
            made = made.copy(deep=False, data={coordinates.IMAGE: pixels})
            made.variables[coordinates.IMAGE].encoding = {
                **stored.encoding,
                "preferred_chunks": dict(stored.encoding["preferred_chunks"]),
                "omezarr": dict(vars(memory)),
            }
        else:
            made = made.copy(deep=False)
        for name, value in own.items():
            made.variables[name].data = value
        made.attrs = {} if image.name is None else {"name": image.name}
        return made

    def _template(
        self,
        image: Image,
        array: Described,
        parts: Sequence[xr.Coordinates],
        scalars: tuple[str, ...],
    ) -> xr.Dataset:
        """Give a Dataset with the coordinates of a level; copying one is cheaper than making it."""
        key = (image.dims, array.shape, scalars, *map(id, parts))
        if key not in self._templates:
            variables: dict[Hashable, xr.Variable] = {}
            indexes: dict[Hashable, Any] = {}
            for part in parts:
                variables.update(part.variables)
                indexes.update(part.xindexes)
            variables |= {name: xr.Variable((), "") for name in scalars}
            pixels = xr.Variable(image.dims, chunked.lazy(array, ""))
            dropped = coordinates.IMAGE in self._dropped
            self._templates[key] = xr.Dataset(
                {} if dropped else {coordinates.IMAGE: pixels},
                coords=xr.Coordinates(variables, indexes=indexes),
            )
        return self._templates[key]

    def _how_stored(self, array: Described, dims: tuple[str, ...]) -> _Stored:
        model = array.model
        key = (id(model), dims)
        if key not in self._stored:
            self._stored[key] = _Stored(
                model,
                chunked.array_encoding(model, dims),
                chunked.codecs_of(model),
                dict(zip(dims, model.shards, strict=True)) if model.shards else None,
            )
        return self._stored[key]

    def _coordinates(
        self,
        place: Place,
        image: Image,
        level: Level,
        array: Described,
        warn: Callable[[str], None],
    ) -> list[xr.Coordinates]:
        chunks = dict(zip(image.dims, array.model.chunks, strict=True))
        found = []
        pairs = zip(level.transform.scale, level.transform.translation, strict=True)
        for axis, size, pair in zip(image.axes, array.shape, pairs, strict=True):
            if axis.is_channel or axis.name in self._dropped:
                continue
            told = (axis.name, axis.type, axis.unit, axis.long_name, axis.orientation)
            key = (told, size, pair, chunks[axis.name])
            if key not in self._axes:
                self._count(size, place)
                variable = coordinates.axis_coordinate(axis, size, *pair)
                self._axes[key] = self._shared({axis.name: variable}, chunks)
            found.append(self._axes[key])
        where = image.channel_axis
        along = None if where is None else (array.shape[where], chunks[image.dims[where]])
        about = (image.channels, image.dims, where, along)
        along_channels = self._channels.get(about)
        if along_channels is None:
            made = coordinates.channel_coordinates_of(
                image, array.shape, place=place.name, warn=warn
            )
            kept = {name: coord for name, coord in made.items() if name not in self._dropped}
            along_channels = self._channels[about] = self._shared(kept, chunks)
        return [*found, along_channels]

    def _count(self, size: int, place: Place) -> None:
        self._positions += size
        if self._positions > MOST_POSITIONS:
            msg = (
                f"{place.name}: with this image, there would be more than {MOST_POSITIONS} "
                "positions along all axes. wells=, fields=, level= and group= open less."
            )
            raise OmeZarrError(msg)

    def _shared(
        self, variables: Mapping[str, xr.Variable], chunks: Mapping[str, int]
    ) -> xr.Coordinates:
        """Give coordinates as they go into each of the levels that are alike."""
        for variable in variables.values():
            # Chunked with the image, a coordinate has the image's chunks, or the Dataset has none.
            variable.encoding.setdefault(
                "preferred_chunks", {d: chunks[str(d)] for d in variable.dims}
            )
        if self._indexed:
            return xr.Coordinates(variables)
        return xr.Coordinates(variables, indexes={})


def _check(
    place: Place, image: Image, level: Level, array: Described, warn: Callable[[str], None]
) -> None:
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
    names = getattr(array.model.metadata, "dimension_names", None)
    # 0.5: "`dimension_names` MUST match the axes"; where they do not, the axes are what counts.
    # 0.6 does not speak of them any more.
    asked = array.model.metadata.zarr_format == spec.V3 and (names or image.intrinsic is None)
    if asked and tuple(names or ()) != image.dims:
        warn(
            f"{place.name}/{level.path}: 'dimension_names' is {names}, but the axes are "
            f"{image.dims}, which are taken"
        )
