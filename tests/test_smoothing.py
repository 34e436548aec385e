"""Smoothing agrees with scikit-image where their grids agree, and with SciPy everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.ndimage
import skimage.transform
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import pixels
from xarray_omezarr import reducers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.helpers import Pixels

#: Standard deviation for a factor, and SciPy's name for what lies beyond an end.
FILTERS: dict[str, tuple[Callable[[int], float], str]] = {
    "gaussian": (lambda factor: 2 * factor / 6, "reflect"),
    "linear": (lambda factor: (factor - 1) / 2, "mirror"),
}
SHAPES = [(60,), (24, 36), (12, 24, 36)]


def noise(shape: Sequence[int], dtype: str = "float64", seed: int = 0) -> Pixels:
    return (np.random.default_rng(seed).random(shape) * 250).astype(dtype)


def close(found: Pixels, expected: Pixels, eps: float = 2.3e-16) -> None:
    scale = float(np.abs(expected).max()) if expected.size else 1.0
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * eps * max(scale, 250.0))


def smoothed(block: Pixels, factors: Sequence[int], method: str) -> Pixels:
    sigma, mode = FILTERS[method]
    lengths = [min(f, n) for f, n in zip(factors, block.shape, strict=True)]
    widths = [sigma(length) if length > 1 else 0 for length in lengths]
    result: Pixels = scipy.ndimage.gaussian_filter(block, widths, mode=mode, truncate=4)
    return result


def read_off(block: Pixels, factors: Sequence[int]) -> Pixels:
    """Interpolate at the centre of the pixels that each cell has."""
    for axis, (factor, size) in enumerate(zip(factors, block.shape, strict=True)):
        first = np.arange(0, size, factor)
        last = np.minimum(first + factor, size) - 1
        low, high = (first + last) // 2, -(-(first + last) // 2)
        block = (block.take(low, axis) + block.take(high, axis)) / 2
    return block


# ── oracles ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [2, 3, 4, 6])
def test_gaussian_is_scikit_images_pyramid_reduce(factor: int, shape: tuple[int, ...]) -> None:
    block = noise(shape)
    expected = skimage.transform.pyramid_reduce(block, downscale=factor, preserve_range=True)
    close(reducers.downsample(block, (factor,) * block.ndim, "gaussian"), expected)


@pytest.mark.parametrize(
    "factors", [(2, 2, 2), (3, 3, 3), (1, 2, 3), (4, 1, 2), (6, 12, 4), (12, 24, 36)]
)
def test_linear_is_scikit_images_resize(factors: tuple[int, ...]) -> None:
    block = noise((12, 24, 36))
    shape = [n // f for n, f in zip(block.shape, factors, strict=True)]
    expected = skimage.transform.resize(
        block, shape, order=1, mode="reflect", anti_aliasing=True, preserve_range=True
    )
    close(reducers.downsample(block, factors, "linear"), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_axis_of_factor_1_is_scikit_images_channel_axis(axis: int) -> None:
    block = noise((8, 16, 24))
    factors = [1 if each == axis else 2 for each in range(3)]
    expected = skimage.transform.pyramid_reduce(block, preserve_range=True, channel_axis=axis)
    close(reducers.downsample(block, factors, "gaussian"), expected)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("shape", [(54,), (36, 72), (18, 36, 54)])
def test_laplacian_is_scikit_images_step_by_step(shape: tuple[int, ...], factor: int) -> None:
    block = noise(shape)
    layers = skimage.transform.pyramid_laplacian(
        block, max_layer=2, downscale=factor, preserve_range=True
    )
    coarser = block
    for expected in layers:
        if any(n % factor for n in coarser.shape):
            return
        difference, coarser = reducers.laplacian(coarser, (factor,) * block.ndim)
        close(difference, expected)


@pytest.mark.parametrize("method", FILTERS)
@given(data=st.data())
def test_partial_cells_are_read_off_at_their_centre(method: str, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    factors = [data.draw(st.integers(1, 6)) for _ in shape]
    block = noise(shape, seed=data.draw(st.integers(0, 99)))
    expected = read_off(smoothed(block, factors, method), factors)
    close(reducers.downsample(block, factors, method), expected)
    whole = tuple(slice(0, n - n % f) for n, f in zip(shape, factors, strict=True))
    found = reducers.downsample(block, factors, method, "trim")
    if found.size:
        close(found, read_off(smoothed(block[whole], factors, method), factors))
    if method == "gaussian":
        difference, coarser = reducers.laplacian(block, factors)
        close(difference, block - smoothed(block, factors, method))
        close(coarser, expected)


@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", ">i2", "int32", "uint32", "bool"])
@pytest.mark.parametrize("factors", [(2, 2), (3, 1), (4, 5)])
def test_integers_are_the_doubles_rounded(
    factors: tuple[int, int], dtype: str, method: str
) -> None:
    block = pixels((61, 87), dtype)
    found = reducers.downsample(block, factors, method)
    assert found.dtype == block.dtype.newbyteorder("=")
    expected = read_off(smoothed(block.astype(float), factors, method), factors)
    halves = np.abs(expected - np.floor(expected) - 0.5) < 1e-5
    assert halves.mean() < 0.01
    np.testing.assert_array_equal(found[~halves], np.rint(expected)[~halves].astype(found.dtype))


@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4"])
def test_floats_are_the_doubles_rounded(dtype: str, method: str) -> None:
    block = noise((31, 44), dtype)
    found = reducers.downsample(block, (2, 3), method)
    expected = read_off(smoothed(block.astype(float), (2, 3), method), (2, 3))
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_allclose(found, expected, rtol=0.51 * float(np.finfo(found.dtype).eps))


# ── what is missing, and extremes ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.97])
def test_what_is_missing_is_left_out(share: float, method: str) -> None:
    block = noise((50, 47))
    missing = np.less(np.random.default_rng(1).random(block.shape), share)
    block[missing] = np.nan
    found = reducers.downsample(block, (2, 3), method)
    total = read_off(smoothed(np.where(missing, 0, block), (2, 3), method), (2, 3))
    weight = read_off(smoothed((~missing).astype(float), (2, 3), method), (2, 3))
    np.testing.assert_array_equal(np.isnan(found), weight == 0)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(found, total / weight, rtol=1e-12)


@pytest.mark.parametrize("method", FILTERS)
def test_what_is_missing_far_away_changes_nothing(method: str) -> None:
    block = noise((60, 60))
    whole = reducers.downsample(block, (2, 2), method)
    block[0, 0] = np.nan
    found = reducers.downsample(block, (2, 2), method)
    assert found[4:].tobytes() == whole[4:].tobytes()
    assert found[:, 4:].tobytes() == whole[:, 4:].tobytes()
    assert found[0, 0] != whole[0, 0]


@pytest.mark.parametrize("method", [*FILTERS, "laplacian"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64", "int64", "float16", "float64"])
def test_a_constant_stays_what_it_is(dtype: str, method: str) -> None:
    limits: Any = np.finfo(dtype) if dtype.startswith("f") else np.iinfo(dtype)
    for value in (limits.min, limits.max, 1):
        block = np.full((9, 10), value, dtype)
        found = reducers.downsample(block, (2, 3), method)
        # The sum of two of the largest doubles is none; they are dealt with in another way.
        slack = 1e-15 if dtype == "float64" and value != 1 else 0
        expected = block[:1, :1].astype(found.dtype)
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=slack)


@pytest.mark.parametrize("method", FILTERS)
def test_infinity_spreads_and_the_largest_floats_do_not_become_it(method: str) -> None:
    largest = float(np.finfo("float64").max)
    block = np.resize([largest, -largest, largest / 3], 40)
    assert np.isfinite(reducers.downsample(block, (2,), method)).all()
    block = np.zeros(40)
    block[20] = np.inf
    found = reducers.downsample(block, (2,), method)
    assert found[10] == np.inf
    assert set(found) == {0, np.inf}
    block[21] = -np.inf
    assert np.isnan(reducers.downsample(block, (2,), method)[10])


def test_details_of_integers_are_floats_with_a_sign() -> None:
    block = np.zeros((8, 8), "uint16")
    block[4, 4] = 1000
    difference, coarser = reducers.laplacian(block, (2, 2))
    assert difference.dtype == coarser.dtype == np.float64
    assert difference.min() < 0 < difference.max() < 1000
    assert reducers.laplacian(block > 0, (2, 2))[0].max() < 1


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8"])
def test_details_of_floats_are_of_their_dtype(dtype: str) -> None:
    block = noise((13, 17), dtype)
    block[3, 4] = np.nan
    difference, coarser = reducers.laplacian(block, (2, 3))
    assert difference.dtype == coarser.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(np.isnan(difference), np.isnan(block))
    assert np.isfinite(coarser).all()


def test_nothing_but_what_is_needed_is_computed() -> None:
    # A cell of a far too large factor is no cell at all, and no kernel is made for it.
    block = noise((4, 5))
    assert reducers.downsample(block, (10**12, 1), "gaussian").shape == (1, 5)
