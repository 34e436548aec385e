"""Transformations that are made of others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import parameters
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.parameters import show
from xarray_omezarr.transforms import Affine, Identity, Transform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xarray_omezarr.transforms import Points


@dataclass(frozen=True)
class Part:
    """What a `ByDimension` does to some of the axes."""

    transform: Transform
    inputs: tuple[int, ...]
    """The axes that it takes, in its own order."""
    outputs: tuple[int, ...]
    """The axes that it gives."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", parameters.axes(self.inputs, "inputAxes"))
        object.__setattr__(self, "outputs", parameters.axes(self.outputs, "outputAxes"))
        for what, axes, size in (
            ("inputAxes", self.inputs, self.transform.inputs),
            ("outputAxes", self.outputs, self.transform.outputs),
        ):
            # "MUST have the same length as that transformation's parameter arrays".
            if not axes or size not in (None, len(axes)):
                msg = f"the {what} are {show(axes)}, for a transformation with {size} of them."
                raise OmeZarrError(msg)


@dataclass(frozen=True)
class ByDimension(Transform):
    """Transformations of some axes each, side by side.

    Examples
    --------
    >>> from xarray_omezarr.transforms import Scale, Translation
    >>> parts = (Part(Scale((2.0,)), (1,), (0,)), Part(Translation((-10.0,)), (0,), (1,)))
    >>> ByDimension(parts).apply([1.0, 4.0])
    array([ 8., -9.])
    """

    parts: tuple[Part, ...]
    ndim: int | None = None
    """How many coordinates it takes, where that is known."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        outputs = [axis for part in self.parts for axis in part.outputs]
        # "Every axis of the output MUST appear in exactly one outputAxes" (0.6, byDimension).
        if not outputs or sorted(outputs) != list(range(len(outputs))):
            msg = f"the outputAxes of byDimension are {show(outputs)}; expected each axis once."
            raise OmeZarrError(msg)
        if self.ndim is not None and self._reach > self.ndim:
            msg = f"the inputAxes of byDimension reach {self._reach - 1}; there are {self.ndim}."
            raise OmeZarrError(msg)

    @property
    def _reach(self) -> int:
        return 1 + max(axis for part in self.parts for axis in part.inputs)

    @property
    def inputs(self) -> int | None:
        return self.ndim

    @property
    def outputs(self) -> int:
        return sum(len(part.outputs) for part in self.parts)

    @property
    def is_affine(self) -> bool:
        return self.ndim is not None and all(
            isinstance(part.transform, Identity) or part.transform.is_affine for part in self.parts
        )

    @property
    def is_lazy(self) -> bool:
        return any(part.transform.is_lazy for part in self.parts)

    @property
    def is_separable(self) -> bool:
        return all(len(part.inputs) == 1 or part.transform.is_separable for part in self.parts)

    def dependencies(self, ndim: int) -> tuple[frozenset[int], ...]:
        del ndim
        found = {
            axis: frozenset(part.inputs[i] for i in of)
            for part in self.parts
            for axis, of in zip(
                part.outputs, part.transform.dependencies(len(part.inputs)), strict=True
            )
        }
        return tuple(found[i] for i in range(self.outputs))

    def _apply(self, points: Points) -> Points:
        if points.shape[1] < self._reach:
            msg = f"byDimension is given {points.shape[1]} coordinates; expected {self._reach}."
            raise OmeZarrError(msg)
        moved = np.empty((len(points), self.outputs))
        for part in self.parts:
            moved[:, part.outputs] = part.transform.apply(points[:, part.inputs])
        return moved

    def inverse(self) -> ByDimension:
        inputs = sorted(axis for part in self.parts for axis in part.inputs)
        if inputs != list(range(self._reach)) or self.ndim not in (None, self._reach):
            msg = (
                f"byDimension takes the axes {show(inputs)} of {self.ndim or self._reach}; it has "
                "an inverse only where it takes each of them once."
            )
            raise OmeZarrError(msg)
        parts = tuple(Part(p.transform.inverse(), p.outputs, p.inputs) for p in self.parts)
        return ByDimension(parts, self.outputs)

    def simplified(self) -> Transform:
        parts = tuple(replace(p, transform=p.transform.simplified()) for p in self.parts)
        plain = ByDimension(parts, self.ndim)
        if plain.is_lazy or not plain.is_affine:
            return plain
        return Affine.of(*plain.matrix()).simplified()

    def read(self) -> ByDimension:
        parts = tuple(replace(p, transform=p.transform.read()) for p in self.parts)
        return ByDimension(parts, self.ndim)

    def matrix(self) -> tuple[Points, Points]:
        if self.ndim is None:
            return super().matrix()
        weights, offset = np.zeros((self.outputs, self.ndim)), np.zeros(self.outputs)
        for part in self.parts:
            known = part.transform
            if isinstance(known, Identity):
                known = Identity(len(part.inputs))
            own, moved = known.matrix()
            weights[np.ix_(part.outputs, part.inputs)] = own
            offset[list(part.outputs)] = moved
        return weights, offset


@dataclass(frozen=True)
class Bijection(Transform):
    """A transformation with an inverse of its own."""

    forward: Transform
    backward: Transform

    def __post_init__(self) -> None:
        for one, two in (
            (self.forward.inputs, self.backward.outputs),
            (self.forward.outputs, self.backward.inputs),
        ):
            if None not in (one, two) and one != two:
                msg = f"the two ways of the bijection have {one} and {two} axes at the same end."
                raise OmeZarrError(msg)

    @property
    def inputs(self) -> int | None:
        return self.forward.inputs if self.forward.inputs is not None else self.backward.outputs

    @property
    def outputs(self) -> int | None:
        return self.forward.outputs if self.forward.outputs is not None else self.backward.inputs

    @property
    def is_lazy(self) -> bool:
        return self.forward.is_lazy or self.backward.is_lazy

    @property
    def is_separable(self) -> bool:
        return self.forward.is_separable

    def dependencies(self, ndim: int) -> tuple[frozenset[int], ...]:
        return self.forward.dependencies(ndim)

    def _apply(self, points: Points) -> Points:
        return self.forward.apply(points)

    def inverse(self) -> Bijection:
        return Bijection(self.backward, self.forward)

    def simplified(self) -> Bijection:
        return Bijection(self.forward.simplified(), self.backward.simplified())

    def read(self) -> Bijection:
        return Bijection(self.forward.read(), self.backward)

    def matrix(self) -> tuple[Points, Points]:
        return self.forward.matrix()


@dataclass(frozen=True)
class Unknown(Transform):
    """A transformation that is not understood, carried through as it was found."""

    document: Mapping[str, Any]
    reason: str

    @property
    def inputs(self) -> None:
        return None

    @property
    def outputs(self) -> None:
        return None

    @property
    def is_separable(self) -> bool:
        return False

    def dependencies(self, ndim: int) -> tuple[frozenset[int], ...]:
        del ndim
        raise OmeZarrError(self.reason)

    def _apply(self, points: Points) -> Points:
        del points
        raise OmeZarrError(self.reason)

    def inverse(self) -> Transform:
        raise OmeZarrError(self.reason)
