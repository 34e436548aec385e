"""Points moved by transformations."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import parameterized
from xarray_omezarr.transforms import Rotation, Scale, ScaleTranslation, Sequence, Translation
from xarray_omezarr.vectorfields import Displacements, Field

if TYPE_CHECKING:
    from collections.abc import Callable

POINTS = 1_000_000
ROUNDS = 15


def seconds(call: Callable[[], object]) -> float:
    """Give the time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Points:
    """A million points in two and three dimensions."""

    def setup(self, ndim: int) -> None:
        rng = np.random.default_rng(0)
        self.points = rng.uniform(0, 1000, (POINTS, ndim))
        cosine, sine = math.cos(0.3), math.sin(0.3)
        turn = np.eye(ndim)
        turn[-2:, -2:] = [[cosine, -sine], [sine, cosine]]
        self.matrix, self.offset = rng.uniform(-1, 1, (ndim, ndim)), rng.uniform(0, 9, ndim)
        self.steps = (Scale((0.325,) * ndim), Rotation.of(turn), Translation((7.5,) * ndim))

    def _product(self) -> Any:
        return self.points @ self.matrix.T + self.offset

    def _sequence(self) -> Any:
        # A new one each time: what it takes to find out what to do is a part of it.
        return Sequence(self.steps).apply(self.points)

    @parameterized(ndim=[2, 3])
    def time_product(self, ndim: int) -> None:
        del ndim
        self._product()

    @parameterized(ndim=[2, 3])
    def time_sequence(self, ndim: int) -> None:
        del ndim
        self._sequence()

    @parameterized(ndim=[2, 3])
    def track_ratio(self, ndim: int) -> float:
        """Give our time as a multiple of one product of matrices; at most 5 is promised."""
        del ndim
        # In turns, so that what else the machine does touches both.
        pairs = [(seconds(self._sequence), seconds(self._product)) for _ in range(ROUNDS)]
        return statistics.median(ours / theirs for ours, theirs in pairs)

    track_ratio.unit = "× points @ A.T + b"  # type: ignore[attr-defined]
    track_ratio.noisy = True  # type: ignore[attr-defined]


class Counted:
    """An array that counts the values that are read of it."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values, self.read = values, 0
        self.shape = values.shape

    def __getitem__(self, key: Any) -> Any:
        part = self.values[key]
        self.read += part.size
        return part


class Fields:
    """A hundred thousand points in one corner of a field of vectors."""

    def setup(self, interpolation: str) -> None:
        rng = np.random.default_rng(0)
        self.vectors = Counted(rng.normal(size=(3, 64, 256, 256)).astype(np.float32))
        grid = ScaleTranslation((1.0, 2.0, 2.0, 2.0), (0.0,) * 4)
        self.points = rng.uniform(0, 64, (100_000, 3))
        self.field = Displacements(Field(self.vectors, grid, 0), interpolation)

    @parameterized(interpolation=["nearest", "linear", "cubic"])
    def time_apply(self, interpolation: str) -> None:
        del interpolation
        self.field.apply(self.points)

    @parameterized(interpolation=["nearest", "linear", "cubic"])
    def track_read(self, interpolation: str) -> float:
        """Give what is read as a part of the field."""
        del interpolation
        self.field.apply(self.points)
        return self.vectors.read / self.vectors.values.size

    track_read.unit = "of the field"  # type: ignore[attr-defined]
