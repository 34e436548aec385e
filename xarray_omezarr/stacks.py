"""A plate as one Dataset: its fields, which have to be alike, along dimensions of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from xarray_omezarr import (
    census,
    chunked,
    coordinates,
    multiscale,
    read,
    screens,
    spec,
    storage,
    stores,
)
from xarray_omezarr.bundles import WAY, Bundle, Members
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.lattice import EVEN, SAME
from xarray_omezarr.picking import Budget, Resolution
from xarray_omezarr.rasters import Rasters
from xarray_omezarr.slots import ORIGIN, OWN, layout, stack_dims

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from xarray_omezarr.chunked import Described
    from xarray_omezarr.model import Image, Level
    from xarray_omezarr.screens import FieldAt, Fields, Screen, Wells
    from xarray_omezarr.slots import Layout
    from xarray_omezarr.storage import Node
    from xarray_omezarr.stores import Place


@dataclass(frozen=True)
class _Member:
    """A field of a stack, or a label image of one: what its group says, and its level."""

    path: str
    """Of its group, below the plate."""
    image: Image
    number: int
    """Which of its levels is stacked."""

    @property
    def level(self) -> Level:
        return self.image.levels[self.number]

    @property
    def array(self) -> str:
        """The path of its array, below the plate."""
        return f"{self.path}/{self.level.path}"

    def pairs(self) -> dict[str, tuple[float, float]]:
        """Give scale and translation along each axis but the channel's."""
        values = zip(
            self.image.axes, self.level.transform.scale, self.level.transform.translation,
            strict=True,
        )  # fmt: skip
        return {axis.name: (scale, shift) for axis, scale, shift in values if not axis.is_channel}


@dataclass(frozen=True)
class _Gathered:
    """Members whose arrays are stacked."""

    members: list[_Member]
    first: Described
    arrays: Members


def open_stack(
    target: object,
    *,
    stack: object,
    group: str | None,
    level: object,
    labels: bool | Sequence[str],
    wells: Wells | None,
    fields: Fields | None,
    fill_value: object,
    verify: bool,
    storage_options: Mapping[str, Any] | None,
    drop_variables: str | Iterable[str] | None,
    version: str | None = None,
) -> xr.Dataset:
    """Open the fields of a plate as one Dataset; the parameters are those of the engine.

    Raises
    ------
    OmeZarrError
        Where fields are not alike, or absent and there is no fill value.
    """
    dims = stack_dims(stack)
    place = stores.locate(target, group, storage_options=storage_options)
    screen = screens.read_screen(place, wells=wells, fields=fields, warn=warn, version=version)
    found = screens.read_images(screen, warn=warn, version=version)
    if not found:
        msg = f"{place.name} has no fields to stack."
        raise OmeZarrError(msg)
    plan = layout([at for at, *_ in found], dims, screen.plate.rows, screen.plate.columns)
    if fill_value is None and plan.absent:
        first = census.some(plan.absent)
        msg = (
            f"{place.name}: a stack along {' and '.join(map(repr, plan.dims))} has places for "
            f"{plan.slots.size} fields, but {first} are not there. Say what is to stand in for "
            "them, like fill_value=0; or choose others by wells= and fields=."
        )
        raise OmeZarrError(msg)
    stacked = _Stack(screen, plan, fill_value, verify=verify)
    if isinstance(level, Budget):
        level = stacked.fitting(found[0][0], found[0][2], level)
    members = [_at_level(place, at, image, level) for at, _, image in found]
    dataset, members = stacked.image(members)
    if isinstance(labels, bool):
        names = _listed_labels(screen, members) if labels else []
    else:
        names = [labels] if isinstance(labels, str) else list(labels)
    for name in names:
        try:
            dataset = stacked.with_label(dataset, name, members)
        except OmeZarrError as error:
            if labels is not True:
                raise
            warn(f"{error} The label image '{name}' is left out.")
    if screen.plate.name is not None:
        dataset.attrs["name"] = screen.plate.name
    # Selection keeps it, and what has no place in coordinates can be written again.
    dataset.encoding["omezarr"] = {
        "kind": "plate",
        "version": screen.plate.version,
        "document": screen.plate.document,
        "wells": {entry.path: well.document for entry, well, _ in screen.wells},
    }
    dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
    return read.finish(dataset.drop_vars(dropped & set(dataset.variables)), target, place)


def _at_level(place: Place, at: FieldAt, image: Image, level: object) -> _Member:
    count = len(image.levels)
    if isinstance(level, Resolution):
        level = level.of(image, place=place.below(at.path).name)
    if not isinstance(level, (int, np.integer)) or not -count <= level < count:
        msg = (
            f"{place.below(at.path).name} has no level {level!r}; there are {count}, 0 is the "
            "finest, and negative numbers count from the coarsest, -1."
        )
        raise OmeZarrError(msg)
    return _Member(at.path, image, int(level) % count)


@dataclass(frozen=True)
class _Stack:
    """What all that is stacked has in common."""

    screen: Screen
    layout: Layout
    fill_value: Any
    verify: bool

    @property
    def _place(self) -> Place:
        return self.screen.place

    def fitting(self, at: FieldAt, image: Image, budget: Budget) -> int:
        """Find the finest level at which all fields together fit; all are like this one."""
        paths = [f"{at.path}/{level.path}" for level in image.levels]
        arrays = chunked.describe_arrays(self._place, paths, self.screen.node.zarr_format)
        count, shapes = self.layout.slots.size, read.shapes(arrays)
        totals = {}
        for number, nbytes in read.pixel_bytes(arrays).items():
            dtype = cast("Described", arrays[number]).dtype
            filled = _filled_dtype(dtype, self.fill_value) if self.layout.absent else dtype
            totals[number] = nbytes // dtype.itemsize * filled.itemsize * count
        found = {number: f"{count} × {shape}" for number, shape in shapes.items()}
        return budget.pick(totals, place=self._place.name, shapes=found)

    # ── pixels ───────────────────────────────────────────────────────────────────────────────────

    def image(self, members: Sequence[_Member]) -> tuple[xr.Dataset, list[_Member]]:
        """Stack the images of the fields; give these, too, with the axes that they have."""
        gathered = self._gathered(members)
        members, first = gathered.members, gathered.first
        image, number = members[0].image, members[0].number
        inside = self._place.below(members[0].path)
        model = Rasters().dataset(inside, image, number, first, warn=warn)
        self._check_names(image)
        dtype = _filled_dtype(first.dtype, self.fill_value)
        coords = {
            **self.layout.coordinates(flagged=self.fill_value is not None),
            **dict(self._positions(members, model)),
            **dict(self._channels(members, first.shape, model)),
        }
        pixels = self._variable(
            gathered,
            self.layout.slots,
            model[coordinates.IMAGE].variable,
            dtype if self.layout.absent else None,
        )
        for coord in coords.values():
            # Chunked with the image, a coordinate has the image's chunks, or the Dataset has none.
            preferred = pixels.encoding["preferred_chunks"]
            coord.encoding["preferred_chunks"] = {dim: preferred[dim] for dim in coord.dims}
        dataset = xr.Dataset({coordinates.IMAGE: pixels}, xr.Coordinates(coords, indexes={}))
        return dataset, members

    def _check_names(self, image: Image) -> None:
        own = {*OWN, *(f"{dim}{ORIGIN}" for dim in image.dims)}
        taken = [dim for dim in image.dims if dim in own]
        if taken:
            msg = (
                f"{self._place.name}: the images have an axis '{taken[0]}', which is the name of "
                "something else in a stack of them. Open them as a tree (xr.open_datatree)."
            )
            raise OmeZarrError(msg)

    def _gathered(self, members: Sequence[_Member]) -> _Gathered:
        """Read what the arrays are like, or the first one, and compare what is known of all."""
        place, zarr_format = self._place, self.screen.node.zarr_format
        paths = [one.array for one in members]
        found = chunked.describe_arrays(place, paths if self.verify else paths[:1], zarr_format)
        arrays = []
        for array in found:
            if isinstance(array, OmeZarrError):
                raise array
            arrays.append(array)
        fitted = []
        for i, one in enumerate(members):
            array = arrays[i if self.verify else 0]
            name, told = place.below(one.path).name, _ignore if i else warn
            image = multiscale.fitted(one.image, array.ndim, place=name, warn=told)
            fitted.append(replace(one, image=image))
        refused = {}
        for i, one in enumerate(fitted):
            shape = arrays[0].shape
            what = _difference(fitted[0], one, shape)
            if what is not None:
                refused[i] = (
                    f"{place.name}: the fields '{fitted[0].path}' and '{one.path}' are not alike: "
                    f"{what}. {WAY}"
                )
                if self.verify:
                    raise OmeZarrError(refused[i])
        known = dict(enumerate(arrays))
        return _Gathered(fitted, arrays[0], Members(place, paths, zarr_format, known, refused))

    def _variable(
        self,
        gathered: _Gathered,
        slots: NDArray[np.intp],
        model: xr.Variable,
        dtype: np.dtype[Any] | None,
    ) -> xr.Variable:
        """Stack arrays, described as the one of the first field is."""
        members, ahead = gathered.arrays, len(self.layout.dims)
        encoding = dict(model.encoding)
        encoding["chunks"] = (*(1,) * ahead, *encoding["chunks"])
        encoding["preferred_chunks"] = {
            **dict.fromkeys(self.layout.dims, 1),
            **encoding["preferred_chunks"],
        }
        # The document is the first field's alone.
        encoding["omezarr"] = {**encoding["omezarr"], "document": {}}
        if dtype not in (None, members.dtype):
            for key in ("compressors", "filters", "serializer", "fill_value"):
                encoding.pop(key, None)
        fill = 0 if dtype is None else self.fill_value
        bundle = Bundle(members, slots, members.dtype if dtype is None else dtype, fill)
        return xr.Variable((*self.layout.dims, *model.dims), bundle.lazy(), None, encoding)

    # ── coordinates ──────────────────────────────────────────────────────────────────────────────

    def _positions(
        self, members: Sequence[_Member], model: xr.Dataset
    ) -> Iterator[tuple[str, xr.Variable]]:
        """Count positions from where each field begins, and say where that is."""
        pairs = [one.pairs() for one in members]
        for axis in members[0].image.axes:
            if axis.is_channel:
                continue
            scale, origin = pairs[0][axis.name]
            origins = [pair.get(axis.name, (np.nan, np.nan))[1] for pair in pairs]
            if axis.type != "space" and all(one == origin for one in origins):
                yield axis.name, model.variables[axis.name]
                continue
            size = model.sizes[axis.name]
            coordinate = coordinates.axis_coordinate(axis, size, scale, 0.0)
            units = {"units": axis.unit} if axis.unit else {}
            values = self.layout.spread(origins, np.nan)
            yield axis.name, coordinate
            yield f"{axis.name}{ORIGIN}", xr.Variable(self.layout.dims, values, units)

    def _channels(
        self, members: Sequence[_Member], shape: Sequence[int], model: xr.Dataset
    ) -> Iterator[tuple[str, xr.Variable]]:
        """Give names and settings of channels; settings that differ, for each field."""
        image = members[0].image
        settings = {str(k): v.variable for k, v in model.coords.items() if k not in image.dims}
        if image.channel_axis is not None and image.dims[image.channel_axis] in model.coords:
            dim = image.dims[image.channel_axis]
            settings[dim] = model.variables[dim]
        if all(one.image.channels == image.channels for one in members):
            yield from settings.items()
            return
        each = [
            coordinates.channel_coordinates_of(
                replace(image, channels=one.image.channels), shape, place="", warn=_ignore
            )
            for one in members
        ]
        for name, variable in settings.items():
            found = [known[name].values for known in each if name in known]
            if len(found) < len(each) or any(one.shape != variable.shape for one in found):
                continue
            if all(np.array_equal(one, variable.values) for one in found):
                yield name, variable
                continue
            values = self.layout.spread(found, found[0])
            yield name, xr.Variable((*self.layout.dims, *variable.dims), values)

    # ── labels ───────────────────────────────────────────────────────────────────────────────────

    def with_label(self, dataset: xr.Dataset, name: str, members: Sequence[_Member]) -> xr.Dataset:
        """Add the label images of one name, of all fields."""
        place = self._place
        variable = name.replace("/", "_")
        if variable in dataset.variables or variable in dataset.dims:
            msg = f"{place.name}: the name '{variable}' of a label image is taken in the stack."
            raise OmeZarrError(msg)
        paths = [f"{one.path}/labels/{name}" for one in members]
        nodes = storage.fetch_below(place, paths, self.screen.node.zarr_format)
        slots = np.full(len(members) + 1, -1, np.intp)
        found: list[_Member] = []
        for i, (path, node) in enumerate(zip(paths, nodes, strict=True)):
            if isinstance(node, OmeZarrError):
                raise node
            if node is not None:
                slots[i] = len(found)
                found.append(self._label(path, node, members[i]))
            elif self.fill_value is None:
                msg = (
                    f"{place.below(members[i].path).name} has no label image '{name}', as other "
                    "fields have. With fill_value= its labels are 0."
                )
                raise OmeZarrError(msg)
        if not found:
            msg = f"{place.name}: no field has a label image '{name}'."
            raise OmeZarrError(msg)
        gathered = self._gathered(found)
        one, first = gathered.members[0], gathered.first
        if first.dtype.kind not in "iu":
            # 0.5: "the pixels of the label images MUST be integer data types".
            msg = f"{place.below(one.path).name}: labels are of type {first.dtype}, not integers."
            raise OmeZarrError(msg)
        inside = place.below(one.path)
        made = Rasters().dataset(inside, one.image, one.number, first, warn=warn)
        model = made[coordinates.IMAGE].variable
        stacked = self._variable(gathered, slots[self.layout.slots], model, None)
        stacked.encoding["omezarr"]["kind"] = "label"
        # An axis of length 1, along which the image is longer, says that the labels hold for all.
        single = {dim: 0 for dim in model.dims if model.sizes[dim] == 1 != dataset.sizes[dim]}
        stacked = stacked.isel(single)
        if any(stacked.sizes[dim] != dataset.sizes[dim] for dim in stacked.dims):
            msg = f"{inside.name}: the labels are of shape {first.shape}, not that of the image."
            raise OmeZarrError(msg)
        return dataset.assign({variable: stacked})

    def _label(self, path: str, node: Node, field: _Member) -> _Member:
        """Find the level of a label image that lies on the pixels of its field."""
        inside = self._place.below(path)
        image = multiscale.parse_image(
            spec.without_table(node.attributes),
            zarr_format=node.zarr_format,
            place=inside.name,
            warn=_ignore,
        )
        known = field.pairs()
        for number in sorted(range(len(image.levels)), key=lambda n: abs(n - field.number)):
            found = _Member(path, image, number)
            if set(found.pairs()) <= set(known) and all(
                max(abs(scale - known[dim][0]), abs(origin - known[dim][1]))
                <= SAME * abs(known[dim][0])
                for dim, (scale, origin) in found.pairs().items()
            ):
                return found
        msg = f"{inside.name} does not lie on the pixels of this level of its image."
        raise OmeZarrError(msg)


def _listed_labels(screen: Screen, fields: Sequence[_Member]) -> list[str]:
    """Give the names of the label images that any field lists."""
    names: dict[str, None] = {}
    paths = [f"{one.path}/labels" for one in fields]
    for path, node in zip(
        paths, storage.fetch_below(screen.place, paths, screen.node.zarr_format), strict=True
    ):
        if isinstance(node, OmeZarrError):
            raise node
        if node is not None:
            inside = screen.place.below(path).name
            names |= dict.fromkeys(
                spec.label_names(node.attributes, node.zarr_format, place=inside, warn=warn)
            )
    return list(names)


def _difference(one: _Member, other: _Member, shape: Sequence[int]) -> str | None:
    """Say in what two fields differ, as far as their groups tell; None where they are alike."""

    def said(what: str, first: object, second: object) -> str | None:
        return None if first == second else f"{what} {first!r:.120} and {second!r:.120}"

    def axes(member: _Member) -> list[tuple[str, str | None]]:
        return [(axis.name, axis.type) for axis in member.image.axes]

    def names(member: _Member) -> list[str | None] | None:
        channels = member.image.channels
        return None if channels is None else [channel.label for channel in channels]

    def units(member: _Member) -> dict[str, str | None]:
        return {axis.name: axis.unit for axis in member.image.axes if axis.unit}

    if axes(one) != axes(other):
        return said("their axes are", *(", ".join(m.image.dims) for m in (one, other)))
    different = said("their units are", units(one), units(other)) or said(
        "their channels are", names(one), names(other)
    )
    scales = [{dim: scale for dim, (scale, _) in m.pairs().items()} for m in (one, other)]
    sizes = dict(zip(one.image.dims, shape, strict=True))
    # Noise that adds up to nothing across a field is none.
    same = all(
        abs(scales[1][dim] - scale) * sizes[dim] <= EVEN * abs(scale)
        for dim, scale in scales[0].items()
    )
    return different or (None if same else said("their pixel sizes are", *scales))


def _filled_dtype(dtype: np.dtype[Any], fill_value: Any) -> np.dtype[Any]:  # noqa: ANN401
    """Give the data type that holds pixels and fill value: NaN makes integers floating point.

    Raises
    ------
    OmeZarrError
        Where the fill value is no number.
    """
    if fill_value is None:
        return dtype
    value = np.asarray(fill_value)
    if value.ndim or value.dtype.kind not in "biuf":  # Python's integers beyond 64 bits are "O"
        msg = f"fill_value={fill_value!r:.80}; expected a number."
        raise OmeZarrError(msg)
    if dtype.kind in "fc" or dtype == value.dtype:
        return dtype
    number = value.item()
    if isinstance(number, float) and not number.is_integer():
        # As xarray does: float32 where that holds every integer.
        return np.promote_types(dtype, np.float32)
    return np.promote_types(dtype, np.min_scalar_type(int(number)))


def _ignore(_: str) -> None:
    """Pass over what was said of the first field, or is said when a tree is opened."""
