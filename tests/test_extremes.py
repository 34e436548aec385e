"""Minimum, maximum and mean of arrays, against NumPy and against Python's integers."""

from __future__ import annotations

import math
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from xarray_omezarr import extremes
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from pathlib import Path


def of_array(array: zarr.Array[Any], axis: int | None) -> list[extremes.Extremes]:
    (found,) = extremes.of_arrays([extremes.Source("a.zarr/0", array, axis)], bar=False)
    if isinstance(found, OmeZarrError):
        raise found
    return found


def stored(values: np.ndarray[Any, Any], chunks: tuple[int, ...], **more: Any) -> zarr.Array[Any]:  # noqa: ANN401
    return zarr.create_array(MemoryStore(), data=values, chunks=chunks, **more)


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "int32", "int64", "uint64", "float32", "float64"]
)
def test_values_are_exact(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extremes, "_BLOCK", 4096)
    rng = np.random.default_rng(1)
    shape = (3, 41, 67)
    if np.dtype(dtype).kind == "f":
        values = rng.normal(0, 1e3, shape).astype(dtype)
    elif dtype == "bool":
        values = rng.random(shape) > 0.3
    else:
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
        values[0, 0, :2] = info.max, info.min
    found = of_array(stored(values, (1, 10, 16)), 0)
    assert len(found) == 3
    for one, channel in zip(found, values, strict=True):
        assert (one.minimum, one.maximum) == (channel.min(), channel.max())
        assert one.count == channel.size
        exact = sum((Fraction(v) for v in channel.ravel().tolist()), Fraction()) / channel.size
        tolerance = 1e-12 if channel.dtype.kind == "f" else 0
        assert one.mean == pytest.approx(float(exact), rel=tolerance, abs=0)


def test_nan_are_counted_and_left_out() -> None:
    values = np.array([[1.0, np.nan, 4.0], [np.nan, np.nan, np.nan]], "float32")
    one, two = of_array(stored(values, (1, 2)), 0)
    assert (one.minimum, one.maximum, one.mean, one.count, one.missing) == (1.0, 4.0, 2.5, 2, 1)
    assert (two.minimum, two.maximum, two.mean, two.count, two.missing) == (None, None, None, 0, 3)


def test_infinities_are_values() -> None:
    values = np.array([1.0, np.inf, 2.0, 3.0])
    (one,) = of_array(stored(values, (1,)), None)
    assert (one.minimum, one.maximum, one.mean) == (1.0, math.inf, math.inf)
    (both,) = of_array(stored(np.array([np.inf, -np.inf, 1.0]), (1,)), None)
    assert both.mean is not None
    assert math.isnan(both.mean)


def test_sums_do_not_depend_on_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extremes, "_BLOCK", 1)
    values = np.array([1e16, 1.0, -1e16, 1.0] * 50)
    for order in (values, values[::-1].copy(), np.sort(values)):
        (one,) = of_array(stored(order, (1,)), None)
        assert one.mean == 100 / 200


def test_channels_anywhere_and_in_one_chunk() -> None:
    values = np.arange(2 * 5 * 3, dtype="uint8").reshape(2, 5, 3)
    found = of_array(stored(values, (2, 2, 3)), 2)
    assert [one.minimum for one in found] == [0, 1, 2]
    assert [one.mean for one in found] == [values[..., c].mean() for c in range(3)]


def test_an_array_without_pixels_has_no_values() -> None:
    (one,) = of_array(stored(np.zeros((0, 4)), (1, 4)), None)
    assert (one.minimum, one.mean, one.count) == (None, None, 0)


def test_complex_numbers_have_no_order() -> None:
    with pytest.raises(OmeZarrError, match="complex64"):
        of_array(stored(np.zeros(3, "complex64"), (3,)), None)


@pytest.mark.parametrize("shards", [None, (400, 800)])
def test_blocks_are_of_whole_chunks(shards: tuple[int, ...] | None) -> None:
    array = zarr.create_array(
        MemoryStore(), shape=(1000, 3000), chunks=(40, 80), shards=shards, dtype="uint64"
    )
    block = extremes.block_of(array)
    assert all(b % c == 0 for b, c in zip(block, array.chunks, strict=True))
    assert math.prod(block) * 8 <= 2 * 2**23
    limits = shards or (1000, 3040)
    assert all(b <= s for b, s in zip(block, limits, strict=True))


def test_a_broken_chunk_ends_it(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", data=np.ones((64, 64), "uint8"), chunks=(8, 8))
    (tmp_path / "a.zarr/c/3/3").write_bytes(b"no chunk")
    before = threading.active_count()
    with pytest.raises(Exception, match=r"."):
        of_array(array, None)
    assert threading.active_count() <= before + 1
