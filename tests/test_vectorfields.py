"""Fields of vectors: against interpolation of the whole, and what is read of them."""

from __future__ import annotations

import itertools
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from xarray_omezarr import OmeZarrError
from xarray_omezarr.compounds import Bijection
from xarray_omezarr.parameters import Stored
from xarray_omezarr.transforms import Scale, ScaleTranslation, Sequence
from xarray_omezarr.vectorfields import Coordinates, Displacements, Field

if TYPE_CHECKING:
    from collections.abc import Callable


class Watched:
    """An array that remembers what was read of it."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values, self.shape = values, values.shape
        self.keys: list[tuple[slice, ...]] = []

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        self.keys.append(key)
        return self.values[key]


def line(values: list[float], scale: float = 1.0) -> Field:
    """Give a field along one axis."""
    grid = ScaleTranslation((scale, 1.0), (0.0, 0.0))
    return Field(np.array(values)[:, None], grid, 1)


def test_known_values() -> None:
    # The examples of the specification, 0.6: "x = -9 if i < 0.5, 9 if 0.5 <= i < 1.5, else 0", and
    # "maps the point [1.0] to the point [0.5]".
    coordinates = Coordinates(line([-9, 9, 0]), "nearest")
    points: list[list[float]] = [[-3], [0.49], [0.5], [1.49], [1.5], [7]]
    np.testing.assert_array_equal(coordinates.apply(points)[:, 0], [-9, -9, 9, 9, 0, 0])
    displacements = Displacements(line([-1, 0, 1], 2.0), "linear")
    np.testing.assert_array_equal(displacements.apply([[1.0], [3.0], [-8.0]]), [[0.5], [3.5], [-9]])


@st.composite
def fields(draw: st.DrawFn) -> tuple[Field, Watched, np.ndarray[Any, Any]]:
    """Give a field, the array that it reads, and its vectors along the first dimension."""
    ndim = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(1, 9), min_size=ndim, max_size=ndim))
    axis = draw(st.integers(0, ndim))
    vectors = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(ndim, *sizes))
    scale = draw(st.lists(st.sampled_from([0.5, 1.0, 3.0, -2.0]), min_size=ndim, max_size=ndim))
    shift = draw(st.lists(st.sampled_from([0.0, 10.0, -7.5]), min_size=ndim, max_size=ndim))
    scale.insert(axis, 99.0)
    shift.insert(axis, 99.0)
    watched = Watched(np.moveaxis(vectors, 0, axis))
    return Field(watched, ScaleTranslation(tuple(scale), tuple(shift)), axis), watched, vectors


@given(
    fields(), st.integers(0, 99), st.sampled_from(["nearest", "linear", "cubic", "bspline-cubic"])
)
def test_interpolation(
    made: tuple[Field, Watched, np.ndarray[Any, Any]], seed: int, interpolation: str
) -> None:
    field, watched, vectors = made
    ndim, shape = field.ndim, np.array(vectors.shape[1:])
    low, high = np.sort(np.random.default_rng(seed).uniform(-1, shape, (2, ndim)), axis=0)
    indices = np.random.default_rng(seed).uniform(low, high, (6, ndim))
    scale, shift = (np.delete(n, field.axis) for n in (field.grid.scale, field.grid.translation))
    points = indices * scale + shift
    order = {"nearest": 0, "linear": 1}.get(interpolation, 3)
    expected = np.stack(
        [
            scipy.ndimage.map_coordinates(component, np.clip(indices, 0, shape - 1).T, order=order,
                                          mode="nearest")
            for component in vectors
        ],
        axis=-1,
    )  # fmt: skip
    np.testing.assert_allclose(Coordinates(field, interpolation).apply(points), expected, atol=1e-9)
    moved = Displacements(field, interpolation).apply(points)
    np.testing.assert_allclose(moved, points + expected, atol=1e-9)
    if order < 3:
        key = list(watched.keys[0])
        assert key.pop(field.axis) == slice(None)
        inside = np.clip(indices, 0, shape - 1)
        assert [k.start for k in key] == np.floor(inside.min(axis=0) + 1e-9).astype(int).tolist()
        assert [k.stop for k in key] == (np.ceil(inside.max(axis=0) - 1e-9) + 1).astype(
            int
        ).tolist()


def test_a_cubic_field_is_read_around_its_points() -> None:
    values = np.random.default_rng(0).normal(size=(2, 400, 300))
    watched = Watched(values)
    field = Field(watched, ScaleTranslation((1.0,) * 3, (0.0,) * 3), 0)
    points = np.random.default_rng(1).uniform(150, 160, (50, 2))
    whole = [scipy.ndimage.map_coordinates(v, points.T, order=3, mode="nearest") for v in values]
    found = Coordinates(field, "cubic").apply(points)
    np.testing.assert_allclose(found, np.stack(whole, axis=1), atol=1e-9)
    assert values[watched.keys[0]].size < 2 * 64**2


def test_points_that_are_none() -> None:
    watched = Watched(np.ones((3, 1)))
    field = Coordinates(Field(watched, ScaleTranslation((1.0, 1.0), (0.0, 0.0)), 1))
    assert field.apply(np.empty((0, 1))).shape == (0, 1)
    np.testing.assert_array_equal(field.apply([[np.nan]]), [[np.nan]])
    assert not watched.keys
    np.testing.assert_array_equal(field.apply([[np.nan], [np.inf], [1.0]]), [[np.nan], [1], [1]])


class Opening:
    """What opens a field, and counts."""

    count = 0

    def __call__(self) -> Field:
        type(self).count += 1
        return line([0, 10, 30])


def test_a_field_is_opened_when_it_is_needed_and_once() -> None:
    Opening.count = 0
    stored = Displacements(Stored("coordinateTransformations/field", Opening()))
    way = Sequence((Scale((0.5,)), stored, Scale((2.0,))))
    assert (way.simplified().is_lazy, way.inputs, Opening.count) == (True, 1, 0)
    for _ in range(2):
        np.testing.assert_array_equal(way.apply([[1.0], [4.0]]), [[11.0], [64.0]])
    assert Opening.count == 1
    again = pickle.loads(pickle.dumps(stored))  # noqa: S301 - our own
    assert (again, hash(again), again.is_separable) == (stored, hash(stored), True)
    # A bijection has the way back, which is not opened for the way there.
    both = Bijection(Scale((2.0,)), Displacements(Stored("elsewhere")))
    np.testing.assert_array_equal(Sequence((both,)).apply([[3.0]]), [[6.0]])
    assert both.inverse().forward.is_lazy


GRID = ScaleTranslation((1.0, 1.0), (0.0, 0.0))


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: Field(np.zeros(3), ScaleTranslation((1.0,), (0.0,)), 0), "shape"),
        (lambda: Field(np.zeros((3, 0)), GRID, 1), "shape"),
        (lambda: Field(np.zeros((3, 1)), GRID, 2), "dimension 2"),
        (lambda: Field(np.zeros((3, 1, 1)), GRID, 2), "3 dimensions"),
        (lambda: Field(np.zeros((3, 1)), ScaleTranslation((0.0, 1.0), (0.0, 0.0)), 1), "to be 0"),
        (lambda: Displacements(Field(np.zeros((3, 2)), GRID, 1)), "1 axes and 2 displacements"),
        (lambda: Displacements(line([0]), "sinc"), "sinc"),
        (lambda: Displacements(line([0])).inverse(), "no inverse in closed form"),
        (lambda: Displacements(line([0])).matrix(), "no matrix"),
        (lambda: Displacements(Stored("f")).apply([[1]]), "not at hand"),
        (lambda: Coordinates(Stored("f", Opening())).apply([[1, 2]]), "1 axes, the points 2"),
        (
            lambda: Coordinates(Field(np.full((3, 1), "a"), GRID, 1)).apply([[1]]),
            "expected numbers",
        ),
    ],
    ids=map(str, itertools.count()),
)
def test_what_is_no_field(build: Callable[[], object], why: str) -> None:
    with pytest.raises(OmeZarrError, match=why):
        build()
