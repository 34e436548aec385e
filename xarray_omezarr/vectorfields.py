"""Transformations by a field of vectors, which is sampled where points lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.parameters import Array, Stored, show
from xarray_omezarr.transforms import Transform

if TYPE_CHECKING:
    from xarray_omezarr.transforms import Points, ScaleTranslation

#: How samples are interpolated, by the degree of the spline. The prose of 0.6 says "bspline-cubic"
#: where its schema says "cubic".
INTERPOLATIONS = {"nearest": 0, "linear": 1, "cubic": 3, "bspline-cubic": 3}
#: A sample loses nearly three quarters of its weight in a cubic spline with each step away from it:
#: samples further off are rounding errors.
_CUBIC_REACH = 24


@dataclass(frozen=True, eq=False)
class Field:
    """Vectors on a regular grid, of which no more is read than points need.

    "The field's coordinate system MUST contain an axis identical to every axis of its input
    coordinate system, in the same order", and one for the components of the vectors (0.6,
    displacements and coordinates); where among them, the specification says differently in
    different places.

    Examples
    --------
    >>> from xarray_omezarr.transforms import ScaleTranslation
    >>> grid = ScaleTranslation((2.0, 1.0), (0.0, 0.0))
    >>> field = Field(np.array([[-1.0], [0.0], [1.0]]), grid, axis=1)
    >>> Displacements(field).apply([[1.0], [4.0]])
    array([[0.5],
           [5. ]])
    """

    vectors: Array
    grid: ScaleTranslation
    """From indices to the input coordinate system; what it says of the components is ignored."""
    axis: int
    """The dimension along which the components lie."""

    def __post_init__(self) -> None:
        shape = tuple(self.vectors.shape)
        if len(shape) < 2 or not 0 <= self.axis < len(shape) or 0 in shape:  # noqa: PLR2004
            msg = (
                f"the field has shape {show(shape)}, its vectors along dimension {self.axis}; "
                "expected a dimension for each input axis, and one for the vectors."
            )
            raise OmeZarrError(msg)
        if self.grid.inputs != len(shape):
            msg = f"the field has {len(shape)} dimensions, and a scale for {self.grid.inputs}."
            raise OmeZarrError(msg)
        scale, _ = self._places
        if not scale.all():
            msg = f"the scale of the field is {show(self.grid.scale)}; expected none to be 0."
            raise OmeZarrError(msg)

    @property
    def ndim(self) -> int:
        """The number of axes that the grid extends along."""
        return len(self.vectors.shape) - 1

    @property
    def components(self) -> int:
        """The number of components that a vector has."""
        return self.vectors.shape[self.axis]

    @property
    def _places(self) -> tuple[Points, Points]:
        """Scale and translation of the grid, without the dimension of the components."""
        scale, translation = self.grid.scale, self.grid.translation
        return np.delete(scale, self.axis), np.delete(translation, self.axis)

    def sample(self, points: Points, interpolation: str) -> Points:
        """Interpolate the vectors at the rows of a matrix.

        Outside of the grid there are the vectors of its rim; where a coordinate is NaN, vectors
        are.
        """
        scale, translation = self._places
        shape = np.delete(self.vectors.shape, self.axis)
        lost = np.isnan(points).any(axis=1)
        inside = np.clip((points[~lost] - translation) / scale, 0, shape - 1)
        result = np.full((len(points), self.components), np.nan)
        if len(inside):
            result[~lost] = self._interpolate(inside, shape, INTERPOLATIONS[interpolation])
        return result

    def _interpolate(self, places: Points, shape: Points, degree: int) -> Points:
        reach = _CUBIC_REACH if degree > 1 else 0
        start = np.maximum(np.floor(places.min(axis=0)).astype(int) - reach, 0)
        stop = np.minimum(np.ceil(places.max(axis=0)).astype(int) + reach + 1, shape)
        key = [slice(a, b) for a, b in zip(start.tolist(), stop.tolist(), strict=True)]
        key.insert(self.axis, slice(None))
        block = np.moveaxis(np.asarray(self.vectors[tuple(key)]), self.axis, 0)
        if block.dtype.kind not in "iuf":
            msg = f"the field is of type {block.dtype}; expected numbers."
            raise OmeZarrError(msg)
        within = (places - start).T
        if degree == 0:
            # A pixel is the half-open interval [-0.5, 0.5) around its centre (0.6, coordinate
            # convention).
            nearest = np.minimum(np.floor(within + 0.5).astype(int), (stop - start - 1)[:, None])
            return block[:, *nearest].T.astype(np.float64)
        from scipy import ndimage

        return np.stack(
            [
                ndimage.map_coordinates(
                    component.astype(np.float64), within, order=degree, mode="nearest"
                )
                for component in block
            ],
            axis=1,
        )


@dataclass(frozen=True)
class _ByField(Transform):
    field: Field | Stored[Field]
    interpolation: str = "linear"

    def __post_init__(self) -> None:
        # It may be anything that JSON has, which need not be hashable.
        if self.interpolation not in list(INTERPOLATIONS):
            msg = (
                f"the interpolation is {show(self.interpolation)}; expected one of "
                f"{', '.join(INTERPOLATIONS)}."
            )
            raise OmeZarrError(msg)
        self._check()

    def _check(self) -> None:
        """Check a field that is at hand."""

    @cached_property
    def _opened(self) -> Field:
        if not isinstance(self.field, Stored):
            return self.field
        return replace(self, field=self.field.read())._opened  # noqa: SLF001 - checked like it

    @property
    def inputs(self) -> int | None:
        return None if isinstance(self.field, Stored) else self.field.ndim

    @property
    def outputs(self) -> int | None:
        return None if isinstance(self.field, Stored) else self.field.components

    @property
    def is_lazy(self) -> bool:
        return isinstance(self.field, Stored)

    @property
    def is_separable(self) -> bool:
        return self._opened.ndim == 1

    def dependencies(self, ndim: int) -> tuple[frozenset[int], ...]:
        return (frozenset(range(ndim)),) * self._opened.components

    def inverse(self) -> Transform:
        name = type(self).__name__
        msg = f"{name} has no inverse in closed form. Store one beside it, as a bijection."
        raise OmeZarrError(msg)

    def read(self) -> Transform:
        return replace(self, field=self._opened)

    def _sample(self, points: Points) -> Points:
        if points.shape[1] != self._opened.ndim:
            msg = (
                f"the field has {self._opened.ndim} axes, the points {points.shape[1]} coordinates."
            )
            raise OmeZarrError(msg)
        return self._opened.sample(points, self.interpolation)


@dataclass(frozen=True)
class Displacements(_ByField):
    """Points moved by the vectors of a field."""

    def _check(self) -> None:
        # "Input and output coordinate systems MUST have an equal number of dimensions".
        if self.inputs != self.outputs:
            msg = (
                f"the field has {self.inputs} axes and {self.outputs} displacements; expected one "
                "for each."
            )
            raise OmeZarrError(msg)

    def _apply(self, points: Points) -> Points:
        return points + self._sample(points)


@dataclass(frozen=True)
class Coordinates(_ByField):
    """Points moved to the positions that a field holds."""

    def _apply(self, points: Points) -> Points:
        return self._sample(points)
