"""Transformations against matrices, their inverses, and what simplification must not change."""

from __future__ import annotations

import itertools
import math
import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import matrix_of, transforms
from xarray_omezarr import OmeZarrError
from xarray_omezarr.compounds import Bijection
from xarray_omezarr.parameters import Stored
from xarray_omezarr.transforms import (
    Affine,
    Identity,
    MapAxis,
    ProjectAxis,
    Rotation,
    Scale,
    ScaleTranslation,
    Sequence,
    Translation,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers import Option
    from xarray_omezarr.transforms import Transform

DIMENSIONS = st.integers(1, 4)
EXTENT = 1000.0
#: Rounding errors of a dozen steps in double precision, of what is as large as the points become.
ROUNDING = 1e-12
TURN = Rotation(((0, -1), (1, 0)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Transform, np.ndarray[Any, Any]]:
    """Give a transformation, and points of some leading shape."""
    ndim = draw(DIMENSIONS)
    shape = draw(st.sampled_from([(), (0,), (5,), (2, 3)]))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return draw(transforms(ndim)), rng.uniform(-EXTENT, EXTENT, (*shape, ndim))


def product(matrix: np.ndarray[Any, Any], points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Move points by a homogeneous matrix."""
    moved: np.ndarray[Any, Any] = np.einsum("ij,...j->...i", matrix[:-1, :-1], points)
    moved += matrix[:-1, -1]
    return moved


def close(found: Option, expected: Option, relative: float = ROUNDING) -> None:
    """Compare to within rounding of the largest number that there is."""
    size = max(np.abs(expected).max(initial=0), EXTENT)
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * size)


@given(cases())
def test_points_are_moved_as_by_matrices(case: tuple[Transform, np.ndarray[Any, Any]]) -> None:
    transform, points = case
    ndim = points.shape[-1]
    expected = product(matrix_of(transform, ndim), points)
    before = points.copy()
    found = transform.apply(points)
    assert (found.dtype, found.shape) == (np.dtype(np.float64), points.shape)
    assert not np.shares_memory(found, points)
    np.testing.assert_array_equal(points, before)
    close(found, expected, 1e-10)
    if transform.is_affine:
        weights, offset = transform.matrix()
        close(np.column_stack([weights, offset]), matrix_of(transform, ndim)[:-1], 1e-10)


@given(cases())
def test_an_inverse_leads_back(case: tuple[Transform, np.ndarray[Any, Any]]) -> None:
    transform, points = case
    back = transform.inverse()
    close(back.apply(transform.apply(points)), points, 1e-9)
    close(transform.apply(back.apply(points)), points, 1e-9)


@given(cases())
def test_simplification_leaves_points_where_they_are(
    case: tuple[Transform, np.ndarray[Any, Any]],
) -> None:
    transform, points = case
    simple = transform.simplified()
    close(simple.apply(points), transform.apply(points), 1e-10)
    assert simple.simplified() == simple
    assert (simple.inputs or transform.inputs) == transform.inputs
    assert not isinstance(simple, (Scale, Translation))
    if isinstance(simple, Sequence):
        # What is affine has become one; a bijection keeps its inverse, and may stand between.
        assert not any(isinstance(step, (Sequence, Identity)) for step in simple.transforms)
        pairs = zip(simple.transforms, simple.transforms[1:], strict=False)
        assert not any(one.is_affine and two.is_affine for one, two in pairs)


@given(st.data(), DIMENSIONS)
def test_then_is_composition(data: st.DataObject, ndim: int) -> None:
    one, two, three = (data.draw(transforms(ndim)) for _ in range(3))
    points = np.random.default_rng(0).uniform(-EXTENT, EXTENT, (4, ndim))
    expected = three.apply(two.apply(one.apply(points)))
    close(one.then(two).then(three).apply(points), expected, 1e-10)
    close(one.then(two.then(three)).apply(points), expected, 1e-10)


@given(cases())
def test_values(case: tuple[Transform, np.ndarray[Any, Any]]) -> None:
    transform, points = case
    transform.apply(points)
    again = pickle.loads(pickle.dumps(transform))  # noqa: S301 - our own
    assert again == transform
    assert hash(again) == hash(transform)
    np.testing.assert_array_equal(again.apply(points), transform.apply(points))


@given(cases())
def test_dependencies(case: tuple[Transform, np.ndarray[Any, Any]]) -> None:
    transform, points = case
    ndim = points.shape[-1]
    weights = matrix_of(transform, ndim)[:-1, :-1]
    found = transform.dependencies(ndim)
    for axes, row in zip(found, weights, strict=True):
        # A composition may say more than there is, but for rounding errors; never less.
        assert axes >= set(np.flatnonzero(np.abs(row) > ROUNDING).tolist())
    assert transform.is_separable == all(len(axes) <= 1 for axes in found)


SHORT = st.integers(-9999, 9999).map(lambda n: Decimal(n) / 1000)


@given(st.lists(st.tuples(SHORT.filter(bool), SHORT), min_size=1, max_size=4))
def test_scales_and_translations_combine_without_noise(
    pairs: list[tuple[Decimal, Decimal]],
) -> None:
    scale, translation = Decimal(1), Decimal(0)
    steps: list[Transform] = []
    for factor, moved in pairs:
        scale, translation = scale * factor, translation * factor + moved
        steps += [Scale((float(factor),)), Translation((float(moved),))]
    found = ScaleTranslation((1.0,), (0.0,)).then(Sequence(tuple(steps))).simplified()
    if isinstance(found, Identity):
        found = ScaleTranslation.identity(1)
    assert found == ScaleTranslation((float(scale),), (float(translation),))


@pytest.mark.parametrize(
    ("transform", "point", "expected"),
    [
        # The examples of the specification, 0.6.
        (Translation((9, -1.42)), [1, 2], [10, 0.58]),
        (Scale((2, 3.12)), [10, 100], [20, 312]),
        (MapAxis((1, 0)), [1, 2], [2, 1]),
        (MapAxis((2, 0, 1)), [1, 2, 3], [3, 1, 2]),
        (Affine(((1, 2, 3), (4, 5, 6))), [1, 10], [24, 60]),
        (Affine(((0, 0, 1), (3, 4, 2), (6, 7, 5))), [1, 10], [1, 45, 81]),
        (Rotation(((0, 1), (-1, 0))), [1, 2], [2, -1]),
        (Sequence((Translation((0.1, 0.9)), Scale((2, 3)))), [1, 1], [2.2, 5.7]),
        (ProjectAxis(created=(0, 1)), [5, 6], [0, 0, 5, 6]),
        (ProjectAxis((0,), (0,)), [4, 5, 6], [0, 5, 6]),
        (ProjectAxis((0, 2)), [4, 5, 6], [5]),
    ],
)
def test_known_values(transform: Transform, point: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(transform.apply(point), expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (Sequence((TURN,) * 4), Identity(2)),
        (Sequence((MapAxis((1, 0)), Identity(), MapAxis((1, 0)))), Identity(2)),
        (Sequence((MapAxis((1, 2, 0)), MapAxis((1, 2, 0)))), MapAxis((2, 0, 1))),
        (Affine(((2, 0, 1), (0, 3, 0))), ScaleTranslation((2, 3), (1, 0))),
        (Sequence((TURN, Sequence((Scale((2, 2)),)))), Affine(((0, -2, 0), (2, 0, 0)))),
        (Sequence((Sequence((Sequence(()),)),)), Identity()),
        (Sequence((ProjectAxis((0,)), ProjectAxis(created=(0,)))),
         Sequence((ProjectAxis((0,)), ProjectAxis(created=(0,))))),
        (Sequence((ProjectAxis((1,), (), 2), ProjectAxis((), (1,), 1))),
         ScaleTranslation((1, 0), (0, 0))),
    ],
)  # fmt: skip
def test_plainest_forms(transform: Transform, expected: Transform) -> None:
    assert transform.simplified() == expected


@pytest.mark.parametrize(
    ("transform", "separable"),
    [
        (TURN, True),
        (Rotation(((0.6, -0.8), (0.8, 0.6))), False),
        (
            Sequence((Rotation(((0.6, -0.8), (0.8, 0.6))), Rotation(((0.6, 0.8), (-0.8, 0.6))))),
            True,
        ),
        (Affine(((1, 1, 0),)), False),
        (ProjectAxis((0,)), True),
        (Bijection(Affine(((1, 1, 0), (0, 1, 0))), Identity(2)), False),
    ],
)
def test_separable(transform: Transform, separable: bool) -> None:  # noqa: FBT001 - an expectation
    assert transform.is_separable is separable


@pytest.mark.parametrize(
    ("transform", "why"),
    [
        (Scale((1, 0)), r"scale is 0 along axis \[1\]"),
        (ScaleTranslation((5e-324,), (0.0,)), "too large"),
        (Affine(((1, 2, 0), (2, 4, 0))), "singular"),
        (Affine(((1, 1, 0), (1, 1 + 1e-9, 0))), "close to it"),
        (Affine(((0, 0, 0), (0, 0, 0))), "singular"),
        (Affine(((1, 0, 0),)), "1 × 2"),
        (ProjectAxis((0,)), "no inverse"),
        (Sequence((Scale((2, 2)), ProjectAxis((0,)))), "no inverse"),
    ],
)
def test_no_inverse(transform: Transform, why: str) -> None:
    with pytest.raises(OmeZarrError, match=why):
        transform.inverse()


def test_units_make_nothing_singular() -> None:
    weights = np.array([[1e-9, 2e8], [0, 3e12]])
    back, _ = Affine.of(weights, np.zeros(2)).inverse().matrix()
    expected = [[1e9, -2e8 / (1e-9 * 3e12)], [0, 1 / 3e12]]
    np.testing.assert_allclose(back, expected, rtol=1e-12)


def test_a_rotation_of_few_digits_has_its_own_inverse() -> None:
    rough = Rotation(((0.71, -0.71), (0.71, 0.71)))
    close(rough.inverse().apply(rough.apply([[1000, 1]])), [[1000, 1]], 1e-12)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: Scale((1, "a")), "scale is"),  # type: ignore[arg-type]
        (lambda: Scale((True,)), "finite numbers"),
        (lambda: Scale((math.nan,)), "finite numbers"),
        (lambda: Translation((10**400,)), "finite numbers"),
        (lambda: Scale((10**5000,)), "finite numbers"),
        (lambda: Scale(None), "None"),  # type: ignore[arg-type]
        (lambda: MapAxis((0, 0)), "each of them once"),
        (lambda: MapAxis((0, 2)), "from 0 to 1"),
        (lambda: MapAxis((-1, 0)), "from 0"),
        (lambda: MapAxis((0.5, 1)), "numbers of axes"),  # type: ignore[arg-type]
        (lambda: MapAxis(()), "each number"),
        (lambda: ProjectAxis((0, 0)), "each of them once"),
        (lambda: ProjectAxis((2,), (), 2), "axes that there are"),
        (lambda: ProjectAxis((), (3,), 2), "axes that there are"),
        (lambda: Affine(((1, 2), (3,))), "equally many"),
        (lambda: Affine(((1,),)), "column for each input"),
        (lambda: Rotation(((1, 0, 0), (0, 1, 0))), "as many rows"),
        (lambda: Sequence((Scale((1,)), Scale((1, 2)))), "step 0 of the sequence gives 1"),
        (lambda: Scale((1e300,)).then(Scale((1e300,))).simplified(), "too large"),
        (lambda: Scale((1, 1)).apply([1, 2, 3]), "expected 2 coordinates"),
        (lambda: Scale((1,)).apply(3.0), "points of shape"),
        (lambda: Identity().matrix(), "no matrix"),
        (lambda: ProjectAxis((3,)).apply([1, 2]), "axes that there are"),
        (lambda: Affine(Stored("m")).apply([1, 2]), "not at hand"),
        (lambda: Affine(Stored("m", lambda: np.zeros(3))).apply([1, 2]), "expected a matrix"),
        (lambda: Affine(Stored("m", lambda: np.eye(999))).apply([1, 2]), "expected a matrix"),
        (lambda: Rotation(Stored("m", lambda: np.full((1, 1), "a"))).apply([1]), "expected finite"),
    ],
    ids=map(str, itertools.count()),
)  # fmt: skip
def test_what_is_no_transformation(build: Callable[[], object], why: str) -> None:
    with pytest.raises(OmeZarrError, match=why):
        build()


class Opened:
    """An array that is counted when it is opened, and picklable."""

    count = 0

    def __call__(self) -> np.ndarray[Any, Any]:
        type(self).count += 1
        return np.array([[1, 2, 3], [4, 5, 6]], dtype=">i2")


def test_matrices_are_read_when_they_are_needed_and_once() -> None:
    Opened.count = 0
    stored = Affine(Stored("coordinateTransformations/m", Opened()))
    way = Sequence((Scale((2, 2)), Scale((0.5, 0.5)), stored, Translation((1, 1))))
    assert way.simplified() == Sequence((stored, ScaleTranslation((1, 1), (1, 1))))
    assert (way.is_lazy, Opened.count, hash(stored)) == (True, 0, hash(stored))
    points = np.array([[1.0, 10.0]])
    for _ in range(2):
        np.testing.assert_array_equal(way.apply(points), [[25, 61]])
    assert Opened.count == 1
    assert pickle.loads(pickle.dumps(way)) == way  # noqa: S301 - our own
    np.testing.assert_allclose(way.inverse().apply([[25, 61]]), points)


def test_sequences_of_any_length_and_depth() -> None:
    nested: Transform = Scale((2.0,))
    for _ in range(10_000):
        nested = Sequence((nested,))
    assert nested.simplified() == ScaleTranslation((2.0,), (0.0,))
    assert nested.apply([3.0]) == [6.0]
    long = Sequence((TURN,) * 20_001)
    np.testing.assert_array_equal(long.apply([1.0, 2.0]), [-2.0, 1.0])
