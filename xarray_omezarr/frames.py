"""The coordinate systems of an image: what they are, the ways between them, and one made its own.

The coordinates of an image are those of its intrinsic system. The others are where transformations
lead from there, as the file says; the pixels have their positions in them too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from xarray_omezarr import bases, coordinates, multiscale, scenes, sources, spec, stores
from xarray_omezarr.compounds import ByDimension, Part
from xarray_omezarr.coordinates import axes_of, geometry_of, memory_of
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.graph import CoordinateSystem, Graph, Node
from xarray_omezarr.lattice import SAME, positions_of
from xarray_omezarr.model import Image, Level
from xarray_omezarr.parameters import show
from xarray_omezarr.positions import Grid, PositionIndex
from xarray_omezarr.transforms import Affine, Identity, ScaleTranslation, Transform, exact
from xarray_omezarr.units import METERS

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from xarray_omezarr.coordinates import Memory
    from xarray_omezarr.model import Axis

    Floats = NDArray[np.float64]

T = TypeVar("T", xr.Dataset, xr.DataArray)


# ── what there is ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class CoordinateSystems(Mapping[str, CoordinateSystem]):
    """The coordinate systems of an image, by name; the one of its coordinates comes first."""

    intrinsic: str
    """The name of the system that the coordinates of the image are in."""
    systems: Mapping[str, CoordinateSystem]
    graph: Graph
    """The transformations between them."""

    def __getitem__(self, name: str) -> CoordinateSystem:
        return self.systems[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.systems)

    def __len__(self) -> int:
        return len(self.systems)

    def __repr__(self) -> str:
        lines = []
        for name, system in self.items():
            axes = ", ".join(f"{a.name} ({a.unit})" if a.unit else a.name for a in system.axes)
            own = " (of the coordinates)" if name == self.intrinsic else ""
            lines.append(f"  {name}{own}: {axes}")
        return "\n".join(["Coordinate systems", *lines])

    def path(self, source: str, target: str) -> Transform:
        """Give the transformation from one system to another.

        Raises
        ------
        OmeZarrError
            Where there is no such system, or no way.
        """
        for name in (source, target):
            if name not in self.systems:
                msg = (
                    f"There is no coordinate system {name!r:.80}; there are: "
                    f"{', '.join(self.systems)}."
                )
                raise OmeZarrError(msg)
        if source == target:
            return Identity(len(self[source].axes))
        found = self.graph.path(Node(source), Node(target))
        # One that does nothing may not know of how many axes.
        return Identity(len(self[source].axes)) if isinstance(found, Identity) else found


def systems_of(array: xr.DataArray) -> CoordinateSystems:
    """Give the coordinate systems of an image, as far as its encoding still tells of them."""
    memory = memory_of(array)
    own = axes_of(array, memory.axes)
    graph, intrinsic = Graph({}, ()), multiscale.INTRINSIC
    axes: tuple[Axis, ...] = own
    if memory.document:
        arrays, fields = _beside(array, memory)
        image, graph = bases.graph_of(memory.document, arrays=arrays, fields=fields)
        intrinsic = image.intrinsic or multiscale.INTRINSIC
        # A unit that was assigned since counts; axes that were selected away are still axes.
        known = {axis.name: axis for axis in own}
        axes = tuple(
            replace(axis, unit=known[axis.name].unit) if axis.name in known else axis
            for axis in image.axes
        )
    named = {intrinsic: CoordinateSystem(intrinsic, axes)}
    for node, system in graph.systems.items():
        if node.name is not None and not node.path:
            named.setdefault(node.name, system)
    return CoordinateSystems(intrinsic, named, graph)


def _beside(array: xr.DataArray, memory: Memory) -> tuple[Any, Any]:
    """Give what opens the arrays and fields beside an image, while it still is in its store."""
    for stored in sources.arrays_of(array.variable):
        path = str(stored.path)
        if path == memory.path or path.endswith(f"/{memory.path}"):
            group = path[: len(path) - len(memory.path)].strip("/")
            place = stores.locate(stored.store, group or None)
            return scenes.beside(place, spec.format_of(memory.document))
    return None, None


def transform_points(
    array: xr.DataArray, points: ArrayLike, source: str, target: str
) -> NDArray[np.float64]:
    """Bring points from one coordinate system of an image to another."""
    known = systems_of(array)
    transform = known.path(source, target)
    given = np.asarray(points, dtype=np.float64)
    names = [axis.name for axis in known[source].axes]
    places = [axis.name for axis in known[source].axes if not axis.is_channel]
    if given.ndim and len(names) > len(places) == given.shape[-1]:
        # A place is one in all channels.
        transform, names = _unchanneled(transform, known[source].axes, known[target].axes), places
    if not given.ndim or given.shape[-1] != len(names):
        msg = (
            f"points are of the shape {given.shape}; expected {len(names)} numbers along the last "
            f"axis, the coordinates {', '.join(names)} of '{source}'."
        )
        raise OmeZarrError(msg)
    return transform.apply(given)


# ── one more ─────────────────────────────────────────────────────────────────────────────────────


def assigned(
    obj: T, array: xr.DataArray, system: CoordinateSystem | str, transform: Transform | ArrayLike
) -> T:
    """Give an image one more coordinate system.

    Parameters
    ----------
    obj
        The image, or a Dataset with it.
    array
        The image itself.
    system
        The system; with a name alone, its axes are those of the image.
    transform
        The way there from the coordinates of the image: a transformation, or the matrix of an
        affine one, over all axes of the image or over those of space.

    Raises
    ------
    OmeZarrError
        Where they do not fit, or cannot be stored.
    """
    memory = memory_of(array)
    axes = axes_of(array, memory.axes)
    if isinstance(system, str):
        system = CoordinateSystem(system, axes)
    if not system.name:
        msg = "The coordinate system has no name; give it one that is not empty."
        raise OmeZarrError(msg)
    order = multiscale.axis_order(axes)
    if order != sorted(order):
        dims = tuple(axes[i].name for i in order)
        msg = (
            f"The axes of the image are {[axis.name for axis in axes]}, and are stored in another "
            f"order, which the transformation is to have: .transpose{dims} first."
        )
        raise OmeZarrError(msg)
    whole = _over_all(_transform(transform), axes, system)
    name, intrinsic = multiscale.names_in(memory.document)
    levels: tuple[Level, ...] = (Level(memory.path or "0", coordinates.transform_of(array, axes)),)
    if memory.document:
        image, _ = bases.graph_of(memory.document)
        levels = image.levels if image.dims == tuple(array.dims) else levels
    image = Image("0.6", axes, levels, name=name, document=memory.document, intrinsic=intrinsic)
    document = bases.extended(image, system, whole)
    result = obj.copy(deep=False)
    variable = _image_in(result, array.name)
    known = variable.encoding.get("omezarr")
    more = {"version": "0.6", "document": document, "axes": {axis.name: axis for axis in axes}}
    kept = {**(known if isinstance(known, dict) else {}), **more}
    variable.encoding = {**variable.encoding, "omezarr": kept}
    return result


def _image_in(obj: xr.Dataset | xr.DataArray, name: Hashable) -> xr.Variable:
    return obj[name].variable if isinstance(obj, xr.Dataset) else obj.variable


def _transform(told: Transform | ArrayLike) -> Transform:
    """Give a transformation, where it may be the matrix of an affine one."""
    if isinstance(told, Transform):
        return told
    try:
        matrix = np.asarray(told, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    columns = matrix.shape[-1] if matrix.ndim == 2 else 0  # noqa: PLR2004
    # Libraries give it in homogeneous coordinates, files have it without the last row.
    if columns == len(matrix) and np.array_equal(matrix[-1:], np.eye(columns)[-1:]):
        matrix = matrix[:-1]
    if columns < 2 or not matrix.size or not np.isfinite(matrix).all():  # noqa: PLR2004
        found = f"an array of the shape {matrix.shape}" if matrix.size else show(told)
        msg = (
            f"The transformation is {found}; expected a matrix [A b] of finite numbers, with a row "
            "for each axis that it gives, a column for each that it takes, and one for b; or a "
            "transformation of xarray_omezarr.transforms."
        )
        raise OmeZarrError(msg)
    return Affine.of(matrix[:, :-1], matrix[:, -1]).simplified()


def _over_all(transform: Transform, axes: Sequence[Axis], system: CoordinateSystem) -> Transform:
    """Give a transformation over all axes, where it may be one over those of space."""
    space = tuple(i for i, axis in enumerate(axes) if axis.type == "space")
    others = tuple(i for i in range(len(axes)) if i not in space)
    sizes = transform.inputs, transform.outputs
    if others and sizes == (len(space), len(space)) and len(system.axes) == len(axes):
        parts = Part(Identity(len(others)), others, others), Part(transform, space, space)
        transform = ByDimension(parts)
        sizes = transform.inputs, transform.outputs
    if sizes[0] not in (None, len(axes)) or sizes[1] not in (None, len(system.axes)):
        names = [axis.name for axis in axes]
        msg = (
            f"The transformation takes {sizes[0]} coordinates and gives {sizes[1]}; the image has "
            f"the axes {names}, and '{system.name}' has {list(system.dims)}. Give one over all of "
            "them, or over those of space."
        )
        raise OmeZarrError(msg)
    return transform


# ── another system ───────────────────────────────────────────────────────────────────────────────


def in_system(obj: T, array: xr.DataArray, name: str) -> T:
    """Give an image its positions in one of its coordinate systems.

    Parameters
    ----------
    obj
        The image, or a Dataset with it.
    array
        The image itself.
    name
        The system. Where each of its axes depends on one dimension only, its axes become the
        dimensions; else the positions are lazy coordinates ``<system>_<axis>``.

    Raises
    ------
    OmeZarrError
        Where there is no such system, or no way there.
    """
    known = systems_of(array)
    transform = known.path(known.intrinsic, name)
    # Those of any system: one is shown at a time.
    former = [
        key
        for other, system in known.items()
        for axis in system.axes
        if other != known.intrinsic and (key := f"{other}_{axis.name}") in array.coords
    ]
    obj, array = obj.drop_vars(former), array.drop_vars(former)
    if name == known.intrinsic:
        return obj
    axes = known[known.intrinsic].axes
    straight = _straight(transform, len(axes))
    if straight is None:
        coords = _positions(array, axes, transform, known[name])
        return obj.assign_coords(coords)
    return _moved(obj, array, axes, straight, transform, known[name])


def _straight(transform: Transform, ndim: int) -> list[int] | None:
    """Give, for each axis of a system, the one that it is a scaled and shifted copy of."""
    if not transform.is_affine:
        return None
    weights, _ = transform.matrix()
    found = [np.flatnonzero(row).tolist() for row in weights]
    flat = [i for row in found for i in row]
    single = all(len(row) == 1 for row in found) and sorted(flat) == list(range(ndim))
    return flat if single else None


def _moved(  # noqa: PLR0917 - from where to where
    obj: T,
    array: xr.DataArray,
    axes: Sequence[Axis],
    straight: Sequence[int],
    transform: Transform,
    system: CoordinateSystem,
) -> T:
    """Make the axes of a system the dimensions of an image."""
    weights, offset = transform.matrix()
    geometry = geometry_of(array)
    names = {axes[i].name: system.axes[j].name for j, i in enumerate(straight)}
    made: dict[str, xr.Variable] = {}
    for j, i in enumerate(straight):
        old, new = axes[i], system.axes[j]
        step = ScaleTranslation((float(weights[j, i]),), (float(offset[j]),))
        if old.is_channel:
            if step != ScaleTranslation.identity(1):
                msg = f"The way to '{system.name}' scales or shifts channels, '{old.name}'."
                raise OmeZarrError(msg)
        elif old.name in array.dims:
            scale, translation = geometry[old.name]
            moved = ScaleTranslation((scale,), (translation,)).then(step)
            made[new.name] = coordinates.axis_coordinate(
                new, array.sizes[old.name], moved.scale[0], moved.translation[0]
            )
        elif (place := _selected(array, old.name)) is not None:
            attrs = {} if new.unit is None else {"units": new.unit}
            made[new.name] = xr.Variable((), step.apply([place])[0], attrs)
    renamed = {
        old: new
        for old, new in names.items()
        if old != new and (old in obj.dims or old in obj.coords)
    }
    # All at once: axes may change places.
    result = obj.drop_vars([old for old in names if old in made or old in renamed], errors="ignore")
    result = result.rename({old: new for old, new in renamed.items() if old in obj.dims})
    result = result.assign_coords(made)
    order = [axis.name for axis in system.axes if axis.name in result.dims]
    if order != [name for dim in array.dims if (name := renamed.get(str(dim), dim)) in order]:
        # "The order of the axes MUST be that of the dimensions" (0.6).
        result = result.transpose(..., *order)
    for variable in _variables(result):
        kept = dict(variable.encoding)
        if isinstance(kept.get("omezarr"), dict):
            kept["omezarr"] = _rebased(kept["omezarr"], transform, system, names)
        if "preferred_chunks" in kept:
            chunks = kept["preferred_chunks"]
            kept["preferred_chunks"] = {names.get(dim, dim): n for dim, n in chunks.items()}
        variable.encoding = kept
    return result


def _variables(obj: xr.Dataset | xr.DataArray) -> list[xr.Variable]:
    return list(obj.variables.values()) if isinstance(obj, xr.Dataset) else [obj.variable]


def _rebased(
    kept: Mapping[str, Any],
    transform: Transform,
    system: CoordinateSystem,
    names: Mapping[str, str],
) -> dict[str, Any]:
    """Give what is known of an image whose own system is another one now."""
    result = dict(kept)
    if kept.get("document"):
        result["document"] = bases.rebased(kept["document"], system, transform)
    if "axes" in kept:
        result["axes"] = {axis.name: axis for axis in system.axes}
    for key in ("sizes", "shards"):
        if isinstance(kept.get(key), Mapping):
            result[key] = {names.get(dim, dim): size for dim, size in kept[key].items()}
    return result


def _selected(array: xr.DataArray, name: str) -> float | None:
    """Give the position at which an axis was selected, if a coordinate still tells of it."""
    if name in array.dims or name not in array.coords:
        return None
    coord = array.coords[name]
    if coord.ndim or coord.dtype.kind not in "iufm":
        return None
    return float(positions_of(np.atleast_1d(coord.values), f"The coordinate '{name}'")[0])


def _positions(
    array: xr.DataArray, axes: Sequence[Axis], transform: Transform, system: CoordinateSystem
) -> xr.Coordinates:
    """Make the lazy coordinates of a system, each along the dimensions that it depends on."""
    geometry = geometry_of(array)
    variables: dict[Any, xr.Variable] = {}
    indexes: dict[Any, xr.Index] = {}
    for inputs, outputs in _parts(transform.dependencies(len(axes))):
        if not inputs:
            # What a projection makes is the same for all pixels.
            for j in outputs:
                value = transform.apply(np.zeros(len(axes)))[j]
                variables[f"{system.name}_{system.axes[j].name}"] = xr.Variable((), value)
            continue
        places = [_places(array, axes[i]) for i in inputs]
        measured = [j for j in outputs if not system.axes[j].is_channel]
        if len(inputs) == len(measured) == 1 and axes[inputs[0]].is_channel:
            continue
        lacking = [axes[i].name for i, place in zip(inputs, places, strict=True) if place is None]
        if lacking or not measured:
            if len(inputs) > 1:
                msg = (
                    f"'{system.name}' depends on {', '.join(lacking)}, along which this image was "
                    "selected, and no coordinate tells where."
                )
                raise OmeZarrError(msg)
            continue
        grid = Grid(
            dims=tuple(axes[i].name for i in inputs),
            places=tuple(place for place in places if place is not None),
            steps=tuple(geometry.get(axes[i].name, (1.0, 0.0))[0] for i in inputs),
            transform=transform,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            ndim=(len(axes), len(system.axes)),
        )
        names = [f"{system.name}_{system.axes[j].name}" for j in outputs]
        made = PositionIndex(grid, names)
        for j, (name, variable) in zip(outputs, made.create_variables().items(), strict=True):
            axis = system.axes[j]
            attrs = {"units": axis.unit, "long_name": axis.long_name}
            variable.attrs = {key: value for key, value in attrs.items() if value}
            # Along one dimension there are few of them, and an index of pandas finds them.
            variables[name] = variable if variable.ndim > 1 else variable.copy(data=variable.values)
            if variable.ndim > 1:
                indexes[name] = made
    return xr.Coordinates(variables, indexes=indexes)


def _places(array: xr.DataArray, axis: Axis) -> Floats | None:
    """Give the positions of an image's pixels along an axis, or the one that was selected."""
    if axis.name not in array.dims:
        found = _selected(array, axis.name)
        return None if found is None else np.array(found)
    if axis.is_channel or axis.name not in array.coords:
        return np.arange(array.sizes[axis.name], dtype=np.float64)
    what = f"The coordinate of dimension '{axis.name}'"
    return positions_of(np.asarray(array.coords[axis.name].values), what)


def _parts(dependencies: Sequence[frozenset[int]]) -> list[tuple[list[int], list[int]]]:
    """Tell apart the axes that depend on each other: pairs of inputs and outputs."""
    parts: list[tuple[set[int], list[int]]] = []
    for output, inputs in enumerate(dependencies):
        joined = [part for part in parts if part[0] & inputs]
        parts = [part for part in parts if part not in joined]
        everything = set(inputs).union(*(part[0] for part in joined))
        parts.append((everything, sorted([output, *(j for part in joined for j in part[1])])))
    return [(sorted(inputs), outputs) for inputs, outputs in parts]


# ── one image and another ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class Relation:
    """From the pixels of one image to those of another, by their indices."""

    source: tuple[str, ...]
    """Dimensions of the image that pixels are taken from."""
    target: tuple[str, ...]
    """Dimensions of the image whose grid it is."""
    sizes: tuple[int, ...]
    """Of these."""
    matrix: Floats
    """Of the shape (source, target)."""
    offset: Floats
    coords: tuple[str, ...]
    """Coordinates of the grid: those of its dimensions, and where it was selected."""


def relate(image: xr.DataArray, like: xr.DataArray, system: str | None) -> Relation:
    """Find out where the pixels of one image lie in another.

    Parameters
    ----------
    image, like
        The images.
    system
        The coordinate system in which both are; None where their coordinates are in one already.

    Raises
    ------
    OmeZarrError
        Where they have no axis in common, or no affine transformation leads from one to the other.
    """
    if system is None:
        own, other = axes_of(image, memory_of(image).axes), axes_of(like, memory_of(like).axes)
        units = {axis.name: axis.unit for axis in other}
        shared = [
            axis
            for axis in own
            if not axis.is_channel
            and (axis.name in like.dims or _selected(like, axis.name) is not None)
        ]
        if not shared:
            msg = (
                f"The image has the dimensions {', '.join(map(str, image.dims))}, the other one "
                f"{', '.join(map(str, like.dims))}: they have no axis in common."
            )
            raise OmeZarrError(msg)
        factors = [
            _factor(axis, units.get(axis.name, like.coords.get(axis.name, {}).attrs.get("units")
                                    if axis.name in like.coords else None))
            for axis in shared
        ]  # fmt: skip
        weights = [[f if i == j else Fraction() for j in range(len(shared))]
                   for i, f in enumerate(factors)]  # fmt: skip
        return _relation(image, shared, like, shared, weights, [Fraction()] * len(shared))
    first, second = systems_of(image), systems_of(like)
    there = second.path(second.intrinsic, system)
    back = first.path(system, first.intrinsic)
    axes = [list(known[known.intrinsic].axes) for known in (first, second)]
    names = [tuple(a.name for a in s[system].axes) for s in (first, second)]
    if names[0] != names[1]:
        # Channels are not resampled: an image with them goes onto a grid without, and so on.
        there = _unchanneled(there, axes[1], second[system].axes)
        back = _unchanneled(back, first[system].axes, axes[0])
        axes = [[axis for axis in some if not axis.is_channel] for some in axes]
        names = [tuple(a.name for a in s[system].axes if not a.is_channel)
                 for s in (first, second)]  # fmt: skip
    if names[0] != names[1]:
        msg = f"'{system}' has the axes {names[0]} for one image and {names[1]} for the other."
        raise OmeZarrError(msg)
    transform = there.then(back).simplified()
    if not transform.is_affine:
        msg = (
            f"The images are related through '{system}' by {type(transform).__name__}, which is "
            "not affine: .resample takes affine transformations only."
        )
        raise OmeZarrError(msg)
    matrix, offset = transform.matrix()
    return _relation(
        image,
        axes[0],
        like,
        axes[1],
        [[exact(number) for number in row] for row in matrix.tolist()],
        [exact(number) for number in offset.tolist()],
    )


def _unchanneled(
    transform: Transform, inputs: Sequence[Axis], outputs: Sequence[Axis]
) -> Transform:
    """Give an affine transformation of all axes but the channels', which it leaves alone."""
    if not transform.is_affine:
        return transform
    weights, offset = transform.matrix()
    rows = [i for i, axis in enumerate(outputs) if not axis.is_channel]
    columns = [j for j, axis in enumerate(inputs) if not axis.is_channel]
    mixed = [j for j, axis in enumerate(inputs) if axis.is_channel]
    if weights[np.ix_(rows, mixed)].any():
        msg = (
            "The transformation mixes channels with other axes: places without a channel have no "
            "counterpart."
        )
        raise OmeZarrError(msg)
    return Affine.of(weights[np.ix_(rows, columns)], offset[rows])


def _factor(axis: Axis, unit: str | None) -> Fraction:
    """Give the length of another unit in that of an axis; where one has none, it is the same."""
    if not unit or not axis.unit or unit == axis.unit:
        return Fraction(1)
    if unit not in METERS or axis.unit not in METERS:
        msg = (
            f"Axis '{axis.name}' is in {axis.unit} in the image and in {unit} in the other one: "
            ".omezarr.assign_scale(…, units=…) gives them the same."
        )
        raise OmeZarrError(msg)
    return exact(METERS[unit]) / exact(METERS[axis.unit])


def _relation(  # noqa: PLR0917 - from where to where
    image: xr.DataArray,
    axes: Sequence[Axis],
    like: xr.DataArray,
    others: Sequence[Axis],
    weights: list[list[Fraction]],
    offset: list[Fraction],
) -> Relation:
    """Put indices in the place of positions, on both sides of a transformation."""
    own, grid = geometry_of(image), geometry_of(like)
    rows = [i for i, axis in enumerate(axes) if axis.name in own]
    columns = [j for j, axis in enumerate(others) if axis.name in grid]
    matrix, shift = np.zeros((len(rows), len(columns))), np.zeros(len(rows))
    for row, i in enumerate(rows):
        scale, translation = (exact(number) for number in own[axes[i].name])
        total = offset[i] - translation
        for j, axis in enumerate(others):
            if not weights[i][j]:
                continue
            if axis.name in grid:
                step, start = (exact(number) for number in grid[axis.name])
                place = start
                size = max(like.sizes[axis.name], 1)
                matrix[row, columns.index(j)] = _plain(weights[i][j] * step / scale, size)
            else:
                found = None if axis.is_channel else _selected(like, axis.name)
                if found is None:
                    msg = (
                        f"'{axes[i].name}' of the image depends on '{axis.name}', which is no "
                        "dimension of the other one, nor does a coordinate tell where on it that "
                        "lies."
                    )
                    raise OmeZarrError(msg)
                place = exact(found)
            total += weights[i][j] * place
        shift[row] = _plain(total / scale, 1)
    for i, axis in enumerate(axes):
        if axis.name in own or axis.is_channel:
            continue
        if any(weights[i][j] for j in columns if others[j].name != axis.name):
            msg = (
                f"'{axis.name}' is no dimension of the image any more, so it is a plane that does "
                "not lie in the other one's: resample first, then select."
            )
            raise OmeZarrError(msg)
    selected = [
        a.name for a in others if a.name not in grid and _selected(like, a.name) is not None
    ]
    target = tuple(others[j].name for j in columns)
    return Relation(
        source=tuple(axes[i].name for i in rows),
        target=target,
        sizes=tuple(like.sizes[name] for name in target),
        matrix=matrix,
        offset=shift,
        coords=tuple(name for name in (*target, *selected) if name in like.coords),
    )


def _plain(number: Fraction, size: int) -> float:
    """Give a number of pixels without the noise of a matrix that was inverted."""
    near = round(number)
    noise = abs(number - near) * size
    return float(near) if 0 < noise < Fraction(SAME) / 1000 else float(number)
