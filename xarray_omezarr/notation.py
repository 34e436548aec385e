"""JSON ⇄ transformations (0.6, "coordinateTransformations").

Reading takes the tolerant side wherever the specification contradicts itself, writing the narrow
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from xarray_omezarr import parameters
from xarray_omezarr.compounds import Bijection, ByDimension, Part, Unknown
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.parameters import Stored, show
from xarray_omezarr.spec import check_path
from xarray_omezarr.transforms import (
    Affine,
    Identity,
    MapAxis,
    ProjectAxis,
    Rotation,
    Scale,
    ScaleTranslation,
    Sequence,
    Transform,
    Translation,
)
from xarray_omezarr.vectorfields import Coordinates, Displacements

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xarray_omezarr.parameters import Array, Matrix
    from xarray_omezarr.vectorfields import Field

    #: How many axes a transformation takes and gives, where that is known.
    Sizes = tuple[int | None, int | None]

#: How deep transformations may lie in each other: no file needs a tenth of it.
_DEEPEST = 64
#: A rotation is told to be none where it is further from one than digits are rounded.
_ROTATES = 1e-3
#: The sizes of rotations that the schema of 0.6 has.
_ROTATIONS = range(2, 6)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def parse_transform(
    document: object,
    *,
    place: str,
    key: str,
    warn: Callable[[str], None],
    sizes: Sizes = (None, None),
    arrays: Callable[[str], Array] | None = None,
    fields: Callable[[str], Field] | None = None,
) -> Transform:
    """Read a transformation.

    Parameters
    ----------
    document
        The transformation as stored.
    place, key
        What messages call the group, and the transformation in its attributes.
    warn
        Called with one sentence for each thing that is wrong and can be understood all the same.
    sizes
        How many axes it has to take and to give, where that is known.
    arrays
        Opens the array at a path below the group, for matrices that are stored in one.
    fields
        Opens the field of vectors at a path below the group.

    Raises
    ------
    OmeZarrError
        Where it is not understood, or contradicts itself or the sizes.

    Examples
    --------
    >>> parse_transform({"type": "scale", "scale": [2, 3]}, place="a.zarr", key="t", warn=print)
    Scale(scale=(2.0, 3.0))
    """
    return _Found(document, key, sizes, _Source(place, warn, arrays, fields)).transform()


@dataclass(frozen=True)
class _Source:
    """Where transformations are read from."""

    place: str
    warn: Callable[[str], None]
    arrays: Callable[[str], Array] | None
    fields: Callable[[str], Field] | None


@dataclass(frozen=True)
class _Found:
    """A transformation in a file, and what is needed to read it."""

    document: Any
    key: str
    sizes: Sizes
    source: _Source
    depth: int = 0

    def fail(self, problem: str) -> NoReturn:
        """Say where a problem is."""
        msg = f"{self.source.place}: '{self.key}': {problem}"
        raise OmeZarrError(msg)

    def inner(self, document: object, key: str, sizes: Sizes) -> Transform:
        """Read a transformation within."""
        found = _Found(document, f"{self.key}.{key}", sizes, self.source, self.depth + 1)
        return found.transform()

    def entries(self) -> list[Any]:
        """Give the transformations of a list that is not empty."""
        entries = self.document.get("transformations")
        if not isinstance(entries, list) or not entries:
            self.fail(f"its transformations are {show(entries)}; expected a list of some.")
        return entries

    def stored(self, load: Callable[[str], Any] | None) -> Stored[Any]:
        """Refer to what is stored at the path."""
        path = check_path(self.document.get("path"), f"{self.source.place}: '{self.key}.path'")
        return Stored(path, partial(load, path) if load is not None else None)

    def transform(self) -> Transform:
        """Read the transformation."""
        kind = self.document.get("type") if isinstance(self.document, dict) else None
        if not isinstance(kind, str):
            self.fail(f"it is {show(self.document)}; expected an object with a 'type'.")
        if kind not in _TYPES:
            self.fail(f"its type is {show(kind)}; those known are {', '.join(_TYPES)}.")
        if self.depth > _DEEPEST:
            self.fail(f"more than {_DEEPEST} transformations lie in each other.")
        try:
            transform = _TYPES[kind](self)
        except OmeZarrError as error:
            # What lies deeper has said already where it lies.
            if str(error).startswith(f"{self.source.place}: "):
                raise
            msg = f"{self.source.place}: '{self.key}': {error}"
            raise OmeZarrError(msg) from None
        for what, size, own in zip(
            ("input", "output"), self.sizes, (transform.inputs, transform.outputs), strict=True
        ):
            # "Parameter values MUST be compatible with input and output space dimensionality".
            if None not in (size, own) and size != own:
                self.fail(f"its {what} has {own} axes; the coordinate system has {size}.")
        return transform


def _identity(found: _Found) -> Transform:
    return Identity(found.sizes[0] if found.sizes[0] is not None else found.sizes[1])


def _scale(found: _Found) -> Transform:
    kind, arrays = found.document["type"], found.source.arrays
    values = found.document.get(kind)
    if values is None and arrays is not None and isinstance(found.document.get("path"), str):
        # Tables of the specification still offer `path`, which its schema has no more.
        array = found.stored(arrays).read()
        if len(array.shape) != 1 or array.shape[0] > parameters.MOST_DIMENSIONS:
            found.fail(f"its {kind} is an array of shape {show(array.shape)}; expected one "
                             "number for each axis.")  # fmt: skip
        values = np.asarray(array[...])
    return Scale(values) if kind == "scale" else Translation(values)


def _map_axis(found: _Found) -> Transform:
    return MapAxis(found.document.get("mapAxis"))


def _project_axis(found: _Found) -> Transform:
    keys = ("droppedInputs", "createdOutputs")
    dropped, created = (found.document.get(key) for key in keys)
    # Without either there would be nothing to it (0.6, projectAxis).
    if dropped is None and created is None:
        found.fail("it has neither 'droppedInputs' nor 'createdOutputs'.")
    return ProjectAxis(
        () if dropped is None else dropped, () if created is None else created, found.sizes[0]
    )


def _affine(found: _Found) -> Transform:
    kind = found.document["type"]
    values = found.document.get(kind)
    if values is None and found.document.get("path") is not None:
        values = found.stored(found.source.arrays)
    if kind == "affine":
        return Affine(values)
    rotation = Rotation(values)
    # "MUST have determinant equal to one, with orthonormal rows and columns" (0.6, rotation).
    if not rotation.is_lazy and (off := rotation.deviation()) > _ROTATES:
        found.source.warn(f"{found.source.place}: '{found.key}' is no rotation: its rows are {off} "
                          "away from orthonormal; applied as it is")  # fmt: skip
    return rotation


def _sequence(found: _Found) -> Transform:
    steps: list[Transform] = []
    size = found.sizes[0]
    for i, entry in enumerate(found.entries()):
        steps.append(found.inner(entry, f"transformations[{i}]", (size, None)))
        size = steps[-1].outputs
    return Sequence(tuple(steps))


def _by_dimension(found: _Found) -> Transform:
    parts = []
    for i, entry in enumerate(found.entries()):
        key = f"transformations[{i}]"
        if not isinstance(entry, dict):
            found.fail(f"its {key} is {show(entry)}; expected an object.")
        # The names have been in camelCase since 0.6rc0.
        inputs, outputs = (
            parameters.axes(entry.get(name, entry.get(draft)), f"{name} of {key}")
            for name, draft in (("inputAxes", "input_axes"), ("outputAxes", "output_axes"))
        )
        sizes = (len(inputs), len(outputs))
        inner = found.inner(entry.get("transformation"), f"{key}.transformation", sizes)
        parts.append(Part(inner, inputs, outputs))
    return ByDimension(tuple(parts), found.sizes[0])


def _bijection(found: _Found) -> Transform:
    return Bijection(
        found.inner(found.document.get("forward"), "forward", found.sizes),
        found.inner(found.document.get("inverse"), "inverse", found.sizes[::-1]),
    )


def _by_field(found: _Found) -> Transform:
    kind = Displacements if found.document["type"] == "displacements" else Coordinates
    interpolation = found.document.get("interpolation")
    stored = found.stored(found.source.fields)
    return kind(stored) if interpolation is None else kind(stored, interpolation)


#: The types of 0.6, each with what reads it.
_TYPES: Mapping[str, Callable[[_Found], Transform]] = {
    "identity": _identity,
    "scale": _scale,
    "translation": _scale,
    "mapAxis": _map_axis,
    "projectAxis": _project_axis,
    "affine": _affine,
    "rotation": _affine,
    "sequence": _sequence,
    "byDimension": _by_dimension,
    "bijection": _bijection,
    "displacements": _by_field,
    "coordinates": _by_field,
}


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def transform_json(transform: Transform) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912 - a case for each type
    """Give a transformation as it is stored, without its ends.

    Raises
    ------
    OmeZarrError
        Where 0.6 has no way to store it: scales that are not positive, fields and matrices that
        lie nowhere.

    Examples
    --------
    >>> transform_json(ScaleTranslation((2.0,), (0.5,)))["transformations"]
    [{'type': 'scale', 'scale': [2.0]}, {'type': 'translation', 'translation': [0.5]}]
    """
    match transform:
        case Scale(scale):
            # The prose allows for negative ones, the schema does not.
            if not all(s > 0 for s in scale):
                msg = f"the scale is {show(scale)}; 0.6 has positive ones only."
                raise OmeZarrError(msg)
            return {"type": "scale", "scale": list(scale)}
        case Translation(translation):
            return {"type": "translation", "translation": list(translation)}
        case ScaleTranslation(scale, translation):
            moves = any(translation)
            stays = moves and all(s == 1 for s in scale)
            steps: list[Transform] = [] if stays else [Scale(scale)]
            if moves:
                steps.append(Translation(translation))
            return transform_json(Sequence(tuple(steps)) if len(steps) > 1 else steps[0])
        case MapAxis(order) if len(order) > 1:
            return {"type": "mapAxis", "mapAxis": list(order)}
        case ProjectAxis(dropped, created) if dropped or created:
            axes = {"droppedInputs": list(dropped), "createdOutputs": list(created)}
            return {"type": "projectAxis", **{k: v for k, v in axes.items() if v}}
        case Affine(values) | Rotation(values):
            return _matrix_json(transform, values)
        case Sequence(transforms) if transforms:
            return {"type": "sequence", "transformations": [*map(transform_json, transforms)]}
        case ByDimension(parts):
            return {"type": "byDimension", "transformations": [*map(_part_json, parts)]}
        case Bijection(forward, backward):
            ways = {"forward": transform_json(forward), "inverse": transform_json(backward)}
            return {"type": "bijection", **ways}
        case Displacements(Stored(path), interpolation) | Coordinates(Stored(path), interpolation):
            kind = "displacements" if isinstance(transform, Displacements) else "coordinates"
            # The prose says "bspline-cubic", the schema "cubic".
            known = "cubic" if interpolation == "bspline-cubic" else interpolation
            return {"type": kind, "path": path, "interpolation": known}
        case Unknown(document):
            return {k: v for k, v in document.items() if k not in ("input", "output")}
        case Identity() | MapAxis() | ProjectAxis() | Sequence():
            return {"type": "identity"}
        case _:
            name = type(transform).__name__
            msg = f"{name} lies in memory alone; 0.6 has its parameters in an array."
            raise OmeZarrError(msg)


def _matrix_json(transform: Affine | Rotation, values: Matrix | Stored[Array]) -> dict[str, Any]:
    kind = "rotation" if isinstance(transform, Rotation) else "affine"
    if isinstance(values, Stored):
        return {"type": kind, "path": values.path}
    if isinstance(transform, Rotation) and not (
        len(values) in _ROTATIONS and transform.deviation() < _ROTATES
    ):
        return transform_json(Affine.of(*transform.matrix()))
    return {"type": kind, kind: [list(row) for row in values]}


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "transformation": transform_json(part.transform),
        "inputAxes": list(part.inputs),
        "outputAxes": list(part.outputs),
    }
