"""Transformations of some axes each, and in both directions; more is in `test_transforms`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from xarray_omezarr import OmeZarrError
from xarray_omezarr.compounds import Bijection, ByDimension, Part, Unknown
from xarray_omezarr.parameters import Stored
from xarray_omezarr.transforms import (
    Affine,
    Identity,
    ProjectAxis,
    Scale,
    ScaleTranslation,
    Sequence,
    Translation,
)
from xarray_omezarr.vectorfields import Coordinates, Field

if TYPE_CHECKING:
    from collections.abc import Callable

SHEAR = Affine(((1, 1, 0), (0, 1, 0)))


def test_known_values() -> None:
    # Of the specification, 0.6: four axes become three, one of them is left out.
    parts = (Part(Translation((0.5, 1.5)), (3, 2), (1, 2)), Part(Scale((2,)), (1,), (0,)))
    found = ByDimension(parts, 4)
    np.testing.assert_array_equal(found.apply([10, 20, 30, 40]), [40, 40.5, 31.5])
    assert (found.inputs, found.outputs, found.is_separable) == (4, 3, True)
    assert list(map(set, found.dependencies(4))) == [{1}, {3}, {2}]
    assert isinstance(found.simplified(), Affine)
    with pytest.raises(OmeZarrError, match=r"takes the axes \[1, 2, 3\] of 4"):
        found.inverse()


def test_side_by_side_they_become_one() -> None:
    parts = (Part(Scale((0.1,)), (0,), (0,)), Part(Translation((0.2,)), (1,), (1,)))
    assert ByDimension(parts, 2).simplified() == ScaleTranslation((0.1, 1), (0, 0.2))
    mixed = ByDimension((*parts, Part(SHEAR, (2, 3), (2, 3))), 4)
    assert not mixed.is_separable
    assert list(map(set, mixed.dependencies(4))) == [{0}, {1}, {2, 3}, {3}]


def test_positions_along_one_axis_are_separable() -> None:
    places = Field(np.array([[1.0], [2.0], [4.0]]), ScaleTranslation((1.0, 1.0), (0.0, 0.0)), 1)
    uneven = ByDimension((Part(Coordinates(places), (0,), (0,)), Part(Identity(), (1,), (1,))), 2)
    assert uneven.is_separable
    assert not uneven.is_affine
    np.testing.assert_array_equal(uneven.simplified().apply([1.5, 7]), [3, 7])


def test_what_is_stored_stays_there_until_it_is_needed() -> None:
    stored = Affine(Stored("m", lambda: np.array([[2.0, 1.0]])))
    both = ByDimension((Part(stored, (0,), (1,)), Part(Identity(1), (1,), (0,))), 2)
    assert both.is_lazy
    assert both.simplified() == both
    assert both.read().simplified() == Affine(((0, 1, 0), (2, 0, 1)))


def test_a_bijection_has_the_inverse_that_it_says() -> None:
    both = Bijection(Scale((2,)), Scale((0.25,)))
    step = Sequence((Scale((3,)), both))
    np.testing.assert_array_equal(step.apply([1]), [6])
    # Were it merged with its neighbour, the inverse that it says would be lost.
    np.testing.assert_array_equal(step.inverse().apply([6]), [0.5])
    assert isinstance(ByDimension((Part(both, (0,), (0,)),), 1).simplified(), ByDimension)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: ByDimension(()), "expected each axis once"),
        (lambda: ByDimension((Part(Scale((1,)), (0,), (1,)),)), "expected each axis once"),
        (lambda: ByDimension((Part(Scale((1,)), (0,), (0,)),) * 2), "expected each axis once"),
        (lambda: ByDimension((Part(Scale((1,)), (2,), (0,)),), 2), "reach 2; there are 2"),
        (lambda: ByDimension((Part(Scale((1,)), (2,), (0,)),)).apply([1, 2]), "expected 3"),
        (lambda: Part(Scale((1, 1)), (0,), (0, 1)), "inputAxes"),
        (lambda: Part(ProjectAxis((), (0,), 1), (0,), (0,)), "with 2 of them"),
        (lambda: Part(Identity(), (), ()), "inputAxes"),
        (lambda: Bijection(Scale((1,)), Scale((1, 1))), "at the same end"),
        (lambda: Unknown({}, "it is odd").apply([1]), "it is odd"),
        (lambda: Unknown({}, "it is odd").inverse(), "it is odd"),
        (lambda: Unknown({}, "it is odd").dependencies(1), "it is odd"),
    ],
    ids=map(str, itertools.count()),
)
def test_what_is_none(build: Callable[[], object], why: str) -> None:
    with pytest.raises(OmeZarrError, match=why):
        build()
