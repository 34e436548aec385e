"""Coordinate transformations as values.

A transformation takes points to points: arrays of any leading shape whose last axis has one number
for each axis of a coordinate system, in the order of the axes (0.6, "coordinateTransformations").

Every number of a scale or a translation is taken for the decimal that its shortest representation
shows: a pixel size of 0.1 means one tenth, not the binary fraction closest to it. Their
compositions are computed exactly on these decimals and rounded once, so that no float noise is ever
stored: the scale 0.1 applied three times over is 0.001. Matrices are computed in double precision.

Matrices may lie in arrays beside the metadata: they are read when they are first needed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np

from xarray_omezarr import parameters
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.parameters import MOST_DIMENSIONS, Array, Matrix, Stored, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy.typing as npt

    #: Positions: `(..., n)`, float64.
    Points = npt.NDArray[np.float64]

#: An inverse is refused where rounding errors of points would come back this much larger, so that
#: it holds to 1e-9 of the extent.
_LARGEST_CONDITION = 1e6
#: Rows and columns of a rotation are taken for orthonormal within this.
_ORTHONORMAL = 1e-12


def exact(number: float) -> Fraction:
    """Give the decimal that the shortest representation of a float shows, as a fraction.

    Examples
    --------
    >>> exact(0.325)
    Fraction(13, 40)
    """
    return Fraction(repr(float(number)))


def _scaled(number: float, scale: float) -> float:
    # Fractions take their time, and a plate has thousands of levels.
    if 1 in (number, scale):
        return float(number * scale)
    return _rounded(exact(number) * exact(scale))


def _moved(number: float, scale: float, by: float) -> float:
    if number == 0:
        return float(by)
    if by == 0:
        return _scaled(number, scale)
    return _rounded(exact(number) * exact(scale) + exact(by))


def _rounded(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        msg = "the transformations combine to a number that is too large for floating point."
        raise OmeZarrError(msg) from None


# ── the interface ────────────────────────────────────────────────────────────────────────────────


class Transform(ABC):
    """A function from the points of one coordinate system to those of another."""

    @property
    @abstractmethod
    def inputs(self) -> int | None:
        """How many coordinates it takes; None for any number, or one that only an array tells."""

    @property
    @abstractmethod
    def outputs(self) -> int | None:
        """How many coordinates it gives."""

    @property
    def is_affine(self) -> bool:
        """Whether it is a matrix and a vector, as far as can be said without reading arrays."""
        return False

    @property
    def is_lazy(self) -> bool:
        """Whether some of its parameters lie in arrays."""
        return False

    @property
    def is_separable(self) -> bool:
        """Whether each coordinate that it gives depends on one that it takes, or on none."""
        return True

    def dependencies(self, ndim: int) -> tuple[frozenset[int], ...]:
        """Say which of `ndim` input axes each output axis depends on."""
        del ndim
        weights, _ = self.matrix()
        return tuple(frozenset(np.flatnonzero(row).tolist()) for row in weights)

    def apply(self, points: npt.ArrayLike) -> Points:
        """Move points.

        Parameters
        ----------
        points
            Any number of points, of shape `(..., inputs)`.

        Returns
        -------
        numpy.ndarray
            The points moved, of shape `(..., outputs)`, float64.

        Raises
        ------
        OmeZarrError
            Where points have another number of coordinates, or parameters cannot be read.

        Examples
        --------
        >>> Scale((2.0, 0.5)).apply([[1, 1], [3, 4]])
        array([[2. , 0.5],
               [6. , 2. ]])
        """
        given = np.asarray(points, dtype=np.float64)
        if given.ndim == 0 or self.inputs not in (None, given.shape[-1]):
            msg = (
                f"{type(self).__name__} is given points of shape {given.shape}; expected "
                f"{self.inputs or 'some'} coordinates along the last axis."
            )
            raise OmeZarrError(msg)
        flat = given.reshape(math.prod(given.shape[:-1]), given.shape[-1])
        with np.errstate(over="ignore", invalid="ignore"):
            moved = self._apply(flat)
        return moved.reshape(*given.shape[:-1], moved.shape[-1])

    def _apply(self, points: Points) -> Points:
        """Move the rows of a matrix."""
        weights, offset = self.matrix()
        moved = points @ weights.T
        moved += offset
        return moved

    def then(self, other: Transform) -> Transform:
        """Give the transformation that applies this one first, then the other.

        Examples
        --------
        >>> Translation((1.0,)).then(Scale((2.0,))).apply([3.0])
        array([8.])
        """
        return Sequence((*_steps(self), *_steps(other)))

    @abstractmethod
    def inverse(self) -> Transform:
        """Give the transformation that undoes this one, to 1e-9 of the extent of the points.

        Raises
        ------
        OmeZarrError
            Where there is none, or none in closed form.
        """

    def simplified(self) -> Transform:
        """Give the plainest transformation that does the same, without reading arrays.

        Scales and translations become one `ScaleTranslation`, exactly; whatever else is affine one
        `Affine`; sequences in sequences are laid flat, and what does nothing vanishes.

        Examples
        --------
        >>> Sequence((Scale((0.1,)), Translation((0.2,)), Scale((3.0,)))).simplified()
        ScaleTranslation(scale=(0.3,), translation=(0.6,))
        """
        return self

    def read(self) -> Transform:
        """Give the same transformation with its matrices in memory, and its fields opened."""
        return self

    def matrix(self) -> tuple[Points, Points]:
        """Give the matrix A and the vector b of an affine transformation x ↦ Ax + b.

        Raises
        ------
        OmeZarrError
            Where it is not affine, or takes any number of coordinates.
        """
        msg = f"{type(self).__name__} has no matrix: it is not affine, or takes points of any size."
        raise OmeZarrError(msg)

    @property
    def gain(self) -> int | None:
        """How many coordinates more it gives than it takes."""
        if self.inputs is None or self.outputs is None:
            return None
        return self.outputs - self.inputs


class _Square(Transform):
    """A transformation between systems of equally many axes."""

    @property
    def outputs(self) -> int | None:
        return self.inputs


def _steps(transform: Transform) -> tuple[Transform, ...]:
    return transform.transforms if isinstance(transform, Sequence) else (transform,)


# ── along the axes ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Identity(_Square):
    """The transformation that leaves all points where they are."""

    ndim: int | None = None

    @property
    def inputs(self) -> int | None:
        return self.ndim

    @property
    def is_affine(self) -> bool:
        return self.ndim is not None

    @property
    def gain(self) -> int:
        return 0

    def dependencies(self, ndim: int) -> tuple[frozenset[int], ...]:
        return tuple(frozenset({i}) for i in range(ndim))

    def _apply(self, points: Points) -> Points:
        return points.copy()

    def inverse(self) -> Identity:
        return self

    def matrix(self) -> tuple[Points, Points]:
        if self.ndim is None:
            return super().matrix()
        return np.eye(self.ndim), np.zeros(self.ndim)


@dataclass(frozen=True)
class ScaleTranslation(_Square):
    """A scale followed by a translation, one number for each axis.

    The normal form of every sequence of scales and translations, and what the datasets of a
    multiscale image may hold (NGFF 0.4 to 0.6, "multiscales" metadata).
    """

    scale: tuple[float, ...]
    translation: tuple[float, ...]

    @classmethod
    def identity(cls, ndim: int) -> ScaleTranslation:
        """Give the transformation that leaves all points where they are."""
        return cls((1.0,) * ndim, (0.0,) * ndim)

    @property
    def inputs(self) -> int:
        return len(self.scale)

    @property
    def is_affine(self) -> bool:
        return True

    def _apply(self, points: Points) -> Points:
        moved = points * self.scale
        moved += self.translation
        return moved

    @overload
    def then(self, other: ScaleTranslation) -> ScaleTranslation: ...
    @overload
    def then(self, other: Transform) -> Transform: ...
    def then(self, other: Transform) -> Transform:
        """Give the transformation that applies this one first, then the other."""
        if not isinstance(other, ScaleTranslation):
            return super().then(other)
        return ScaleTranslation(
            tuple(_scaled(s, o) for s, o in zip(self.scale, other.scale, strict=True)),
            tuple(
                _moved(t, s, o)
                for t, s, o in zip(self.translation, other.scale, other.translation, strict=True)
            ),
        )

    def replaced(self, axes: Mapping[int, tuple[float, float]]) -> ScaleTranslation:
        """Give the transformation with the scale and translation of some axes replaced."""
        pairs = [
            axes.get(i, pair)
            for i, pair in enumerate(zip(self.scale, self.translation, strict=True))
        ]
        return ScaleTranslation(tuple(s for s, _ in pairs), tuple(t for _, t in pairs))

    def inverse(self) -> ScaleTranslation:
        zeros = [i for i, s in enumerate(self.scale) if s == 0]
        if zeros:
            msg = f"the scale is 0 along axis {show(zeros)}, where all points fall into one: there "
            raise OmeZarrError(msg + "is no way back.")
        return ScaleTranslation(
            tuple(_rounded(1 / exact(s)) for s in self.scale),
            tuple(
                _rounded(-exact(t) / exact(s))
                for s, t in zip(self.scale, self.translation, strict=True)
            ),
        )

    def simplified(self) -> Transform:
        if all(s == 1 for s in self.scale) and not any(self.translation):
            return Identity(len(self.scale))
        return self

    def matrix(self) -> tuple[Points, Points]:
        return np.diag(np.asarray(self.scale)), np.asarray(self.translation)


class _Plain(_Square):
    """A scale or a translation, by the general form of both."""

    @property
    @abstractmethod
    def _general(self) -> ScaleTranslation: ...

    @property
    def inputs(self) -> int:
        return self._general.inputs

    @property
    def is_affine(self) -> bool:
        return True

    def _apply(self, points: Points) -> Points:
        return self._general._apply(points)  # noqa: SLF001 - of its own kin

    def simplified(self) -> Transform:
        return self._general.simplified()

    def matrix(self) -> tuple[Points, Points]:
        return self._general.matrix()


@dataclass(frozen=True)
class Scale(_Plain):
    """A factor for each axis."""

    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", parameters.vector(self.scale, "scale"))

    @property
    def _general(self) -> ScaleTranslation:
        return ScaleTranslation(self.scale, (0.0,) * len(self.scale))

    def inverse(self) -> Scale:
        return Scale(self._general.inverse().scale)


@dataclass(frozen=True)
class Translation(_Plain):
    """A distance along each axis."""

    translation: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "translation", parameters.vector(self.translation, "translation"))

    @property
    def _general(self) -> ScaleTranslation:
        return ScaleTranslation((1.0,) * len(self.translation), self.translation)

    def inverse(self) -> Translation:
        return Translation(tuple(-t for t in self.translation))


# ── among the axes ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class MapAxis(_Square):
    """A permutation of the axes.

    "The value at position i indicates which input axis becomes the i-th output axis" (0.6,
    mapAxis).

    Examples
    --------
    >>> MapAxis((1, 0)).apply([3.0, 4.0])
    array([4., 3.])
    """

    order: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", parameters.axes(self.order, "axes of mapAxis"))
        if not self.order or sorted(self.order) != list(range(len(self.order))):
            msg = (
                f"the axes of mapAxis are {show(self.order)}; expected each number from 0 to "
                f"{len(self.order) - 1} once."
            )
            raise OmeZarrError(msg)

    @property
    def inputs(self) -> int:
        return len(self.order)

    @property
    def is_affine(self) -> bool:
        return True

    def _apply(self, points: Points) -> Points:
        return points[:, self.order]

    def inverse(self) -> MapAxis:
        return MapAxis(tuple(self.order.index(i) for i in range(len(self.order))))

    def simplified(self) -> Transform:
        return Identity(len(self.order)) if list(self.order) == sorted(self.order) else self

    def matrix(self) -> tuple[Points, Points]:
        return np.eye(len(self.order))[list(self.order)], np.zeros(len(self.order))


@dataclass(frozen=True)
class ProjectAxis(Transform):
    """Axes dropped, and others made at which all points lie at zero.

    Examples
    --------
    >>> ProjectAxis(dropped=(0,), created=(2,)).apply([5.0, 6.0, 7.0])
    array([6., 7., 0.])
    """

    dropped: tuple[int, ...] = ()
    """The input axes that are left out."""
    created: tuple[int, ...] = ()
    """The output axes that are new."""
    ndim: int | None = None
    """How many coordinates it takes, where that is known."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dropped", parameters.axes(self.dropped, "droppedInputs"))
        object.__setattr__(self, "created", parameters.axes(self.created, "createdOutputs"))
        if self.ndim is not None:
            self._kept(self.ndim)

    def _kept(self, ndim: int) -> list[int]:
        """Give the output axis of each input axis that is not dropped."""
        size = ndim - len(self.dropped) + len(self.created)
        if size < 1 or any(i >= ndim for i in self.dropped) or any(i >= size for i in self.created):
            msg = (
                f"projectAxis drops the axes {show(self.dropped)} of {ndim} and makes the axes "
                f"{show(self.created)} of {size}; expected axes that there are."
            )
            raise OmeZarrError(msg)
        return [i for i in range(size) if i not in self.created]

    @property
    def inputs(self) -> int | None:
        return self.ndim

    @property
    def outputs(self) -> int | None:
        return None if self.ndim is None else self.ndim + self.gain

    @property
    def is_affine(self) -> bool:
        return self.ndim is not None

    @property
    def gain(self) -> int:
        return len(self.created) - len(self.dropped)

    def dependencies(self, ndim: int) -> tuple[frozenset[int], ...]:
        if self.ndim is None:
            return replace(self, ndim=ndim).dependencies(ndim)
        return super().dependencies(ndim)

    def _apply(self, points: Points) -> Points:
        kept = self._kept(points.shape[1])
        moved = np.zeros((len(points), points.shape[1] + self.gain))
        moved[:, kept] = np.delete(points, self.dropped, axis=1)
        return moved

    def inverse(self) -> Transform:
        if self.dropped or self.created:
            msg = "projectAxis has no inverse: it drops coordinates, or does not reach all points."
            raise OmeZarrError(msg)
        return self

    def simplified(self) -> Transform:
        return self if self.dropped or self.created else Identity(self.ndim)

    def matrix(self) -> tuple[Points, Points]:
        if self.ndim is None:
            return super().matrix()
        weights = self._apply(np.eye(self.ndim)).T
        return weights, np.zeros(len(weights))


# ── matrices ─────────────────────────────────────────────────────────────────────────────────────


class _Matrix(Transform):
    """What a matrix says, which may lie in an array."""

    values: Matrix | Stored[Array]

    @cached_property
    def _array(self) -> Points:
        """The matrix, read once."""
        if not isinstance(self.values, Stored):
            return _fixed(np.array(self.values))
        found = self.values.read()
        shape = tuple(found.shape)
        # "The array at this path MUST be 2D"; it is not read otherwise, however large it is.
        if len(shape) != 2 or not all(0 < size <= MOST_DIMENSIONS + 1 for size in shape):  # noqa: PLR2004
            msg = (
                f"the array at {show(self.values.path)} has shape {show(shape)}; expected a matrix."
            )
            raise OmeZarrError(msg)
        array = np.asarray(found[...])
        if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            msg = (
                f"the array at {show(self.values.path)} is {show(array)}; expected finite numbers."
            )
            raise OmeZarrError(msg)
        return _fixed(array.astype(np.float64))

    @property
    def is_lazy(self) -> bool:
        return isinstance(self.values, Stored)

    @property
    def is_affine(self) -> bool:
        return True

    @property
    def is_separable(self) -> bool:
        return bool((np.count_nonzero(self.matrix()[0], axis=1) <= 1).all())


@dataclass(frozen=True)
class Affine(_Matrix):
    """A matrix and a vector: the rows of [A b], so that x becomes Ax + b.

    "The upper M×(N+1) sub-matrix of a matrix in homogeneous coordinates" (0.6, affine).

    Examples
    --------
    >>> Affine(((1, 2, 3), (4, 5, 6))).apply([10.0, 1.0])
    array([15., 51.])
    """

    values: Matrix | Stored[Array]

    def __post_init__(self) -> None:
        if not isinstance(self.values, Stored):
            object.__setattr__(self, "values", parameters.matrix(self.values, "affine matrix"))
            self.matrix()

    @classmethod
    def of(cls, weights: Points, offset: Points) -> Affine:
        """Give the transformation x ↦ Ax + b."""
        return cls(np.column_stack([weights, offset]))  # type: ignore[arg-type]  # made a tuple

    @property
    def inputs(self) -> int | None:
        return None if isinstance(self.values, Stored) else len(self.values[0]) - 1

    @property
    def outputs(self) -> int | None:
        return None if isinstance(self.values, Stored) else len(self.values)

    def inverse(self) -> Affine:
        return Affine.of(*_inverse(*self.matrix()))

    def simplified(self) -> Transform:
        if self.is_lazy:
            return self
        weights, offset = self.matrix()
        diagonal = np.diagonal(weights)
        if weights.shape[0] == weights.shape[1] and not (weights - np.diag(diagonal)).any():
            return ScaleTranslation(tuple(diagonal.tolist()), tuple(offset.tolist())).simplified()
        return self

    def read(self) -> Affine:
        return Affine.of(*self.matrix()) if self.is_lazy else self

    def matrix(self) -> tuple[Points, Points]:
        array = self._array
        if array.shape[1] == 1:
            msg = f"the affine matrix is {show(array.tolist())}; expected a column for each input."
            raise OmeZarrError(msg)
        return array[:, :-1], array[:, -1]


@dataclass(frozen=True)
class Rotation(_Matrix, _Square):
    """A matrix whose rows are orthonormal.

    How well they are is not checked: what a file calls a rotation is applied as it stands there.

    Examples
    --------
    >>> Rotation(((0, -1), (1, 0))).apply([1.0, 2.0])
    array([-2.,  1.])
    """

    values: Matrix | Stored[Array]

    def __post_init__(self) -> None:
        if not isinstance(self.values, Stored):
            object.__setattr__(self, "values", parameters.matrix(self.values, "rotation"))
            self.matrix()

    @classmethod
    def of(cls, weights: Points) -> Rotation:
        """Give the rotation x ↦ Rx."""
        return cls(weights)  # type: ignore[arg-type]  # made a tuple

    @property
    def inputs(self) -> int | None:
        return None if isinstance(self.values, Stored) else len(self.values)

    def deviation(self) -> float:
        """Say how far from orthonormal the rows are; infinitely where it mirrors.

        Examples
        --------
        >>> Rotation(((1, 0), (0, -1))).deviation()
        inf
        """
        weights, _ = self.matrix()
        with np.errstate(all="ignore"):
            off = float(np.abs(weights @ weights.T - np.eye(len(weights))).max())
            return off if off < 1 and np.linalg.det(weights) > 0 else math.inf

    def inverse(self) -> Transform:
        weights, offset = self.matrix()
        # Rotations that were rounded to a few digits are not undone by their transpose.
        if self.deviation() > _ORTHONORMAL:
            return Affine.of(*_inverse(weights, offset))
        return Rotation.of(weights.T)

    def simplified(self) -> Transform:
        if self.is_lazy:
            return self
        plain = Affine.of(*self.matrix()).simplified()
        return self if isinstance(plain, Affine) else plain

    def read(self) -> Rotation:
        return Rotation.of(self.matrix()[0]) if self.is_lazy else self

    def matrix(self) -> tuple[Points, Points]:
        array = self._array
        if array.shape[0] != array.shape[1]:
            msg = f"the rotation is {show(array.tolist())}; expected as many rows as columns."
            raise OmeZarrError(msg)
        return array, np.zeros(len(array))


def _fixed(array: Points) -> Points:
    """Make an array that is handed out as safe as the values around it."""
    array.flags.writeable = False
    return array


def _inverse(weights: Points, offset: Points) -> tuple[Points, Points]:
    """Invert x ↦ Ax + b, or refuse to where rounding errors would be all that comes back."""
    outputs, inputs = weights.shape
    if outputs != inputs:
        msg = f"a matrix of {outputs} × {inputs} has no inverse; only square ones have."
        raise OmeZarrError(msg)
    with np.errstate(all="ignore"):
        # Units differ between axes. They must not make a matrix look singular, so rows and columns
        # are brought to one size first (equilibration; Skeel 1979 on what condition is left).
        rows = np.abs(weights).max(axis=1)
        scaled = weights / rows[:, None]
        columns = np.abs(scaled).max(axis=0)
        scaled /= columns
        condition = math.inf
        if np.isfinite(scaled).all() and np.linalg.matrix_rank(scaled) == inputs:
            back = np.linalg.inv(scaled)
            condition = float((np.abs(back) @ np.abs(scaled)).sum(axis=1).max())
            back = back / columns[:, None] / rows
            moved = -(back @ offset)
    if not condition < _LARGEST_CONDITION or not np.isfinite(back).all():
        msg = (
            f"the matrix {show(weights.tolist())} is singular, or so close to it that its inverse "
            "would not hold to 1e-9 of the extent."
        )
        raise OmeZarrError(msg)
    return back, moved


# ── of others ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Sequence(Transform):
    """Transformations one after the other: the first is applied first."""

    transforms: tuple[Transform, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))
        for i, (one, two) in enumerate(zip(self.transforms, self.transforms[1:], strict=False)):
            if None not in (one.outputs, two.inputs) and one.outputs != two.inputs:
                msg = (
                    f"step {i} of the sequence gives {one.outputs} coordinates, step {i + 1} takes "
                    f"{two.inputs}; expected equally many."
                )
                raise OmeZarrError(msg)

    @property
    def inputs(self) -> int | None:
        return _count(((step.inputs, step.gain) for step in _flat(self.transforms)), -1)

    @property
    def outputs(self) -> int | None:
        return _count(
            ((step.outputs, step.gain) for step in reversed([*_flat(self.transforms)])), 1
        )

    @property
    def is_affine(self) -> bool:
        simple = self.simplified()
        return not isinstance(simple, Sequence) and simple.is_affine

    @property
    def is_lazy(self) -> bool:
        return any(step.is_lazy for step in _flat(self.transforms))

    @property
    def is_separable(self) -> bool:
        return all(step.is_separable for step in _steps(self.simplified()))

    def dependencies(self, ndim: int) -> tuple[frozenset[int], ...]:
        found = tuple(frozenset({i}) for i in range(ndim))
        for step in _steps(self.simplified()):
            found = tuple(
                frozenset().union(*(found[i] for i in of)) for of in step.dependencies(len(found))
            )
        return found

    @cached_property
    def _ready(self) -> tuple[Transform, ...]:
        """What there is to apply, computed once."""
        return _steps(self.read().simplified())

    def _apply(self, points: Points) -> Points:
        for step in self._ready:
            points = step.apply(points)
        return points

    def inverse(self) -> Transform:
        simple = self.simplified()
        if not isinstance(simple, Sequence):
            return simple.inverse()
        return Sequence(tuple(step.inverse() for step in reversed(simple.transforms)))

    def simplified(self) -> Transform:
        steps: list[Transform] = []
        for step in _flat(self.transforms):
            plain = step.simplified()
            if isinstance(plain, Identity):
                continue
            merged = _merged(steps[-1], plain) if steps else None
            if merged is None:
                steps.append(plain)
            elif isinstance(merged, Identity):
                steps.pop()
            else:
                steps[-1] = merged
        if not steps:
            return Identity(self.inputs)
        return steps[0] if len(steps) == 1 else Sequence(tuple(steps))

    def read(self) -> Sequence:
        return Sequence(tuple(step.read() for step in _flat(self.transforms)))

    def matrix(self) -> tuple[Points, Points]:
        simple = self.read().simplified()
        return super().matrix() if isinstance(simple, Sequence) else simple.matrix()


def _count(sizes: Iterable[tuple[int | None, int | None]], sign: int) -> int | None:
    """Find how many coordinates a sequence has at an end from the first step that knows."""
    gained = 0
    for size, gain in sizes:
        if size is not None:
            return size + sign * gained
        if gain is None:
            return None
        gained += gain
    return None


def _flat(transforms: tuple[Transform, ...]) -> Iterator[Transform]:
    """Lay sequences in sequences flat, however deep."""
    waiting = list(reversed(transforms))
    while waiting:
        step = waiting.pop()
        if isinstance(step, Sequence):
            waiting.extend(reversed(step.transforms))
        else:
            yield step


def _merged(one: Transform, two: Transform) -> Transform | None:
    """Give one transformation for two simplified ones in turn, if there is any."""
    if isinstance(one, MapAxis) and isinstance(two, MapAxis):
        return MapAxis(tuple(one.order[i] for i in two.order)).simplified()
    if isinstance(one, ScaleTranslation) and isinstance(two, ScaleTranslation):
        return one.then(two).simplified()
    if not (one.is_affine and two.is_affine) or one.is_lazy or two.is_lazy:
        return None
    (first, before), (second, after) = one.matrix(), two.matrix()
    first, second = _homogeneous(first, before), _homogeneous(second, after)
    with np.errstate(over="ignore", invalid="ignore"):
        weights = second @ first
        # What is no more than rounding errors of its own sum is zero, so that a turn and a turn
        # back leave the axes apart from each other.
        errors = len(first) * np.finfo(np.float64).eps * (np.abs(second) @ np.abs(first))
    weights[np.abs(weights) <= errors] = 0
    return Affine.of(weights[:-1, :-1], weights[:-1, -1]).simplified()


def _homogeneous(weights: Points, offset: Points) -> Points:
    """Give the matrix that does both in homogeneous coordinates."""
    last = np.zeros((1, weights.shape[1] + 1))
    last[0, -1] = 1
    return np.vstack([np.column_stack([weights, offset]), last])
