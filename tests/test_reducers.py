"""What a cell becomes, by every method, however an image is cut.

The means of cells, the mode and nearest are held against their oracles in `test_pyramid`; what
smooths is in `test_smoothing`. Here are the order statistics, against NumPy, and what all share.
"""

from __future__ import annotations

import itertools
import statistics
import tracemalloc
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import skimage.measure
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import DTYPES, pixels
from xarray_omezarr import OmeZarrError, cells, reducers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.helpers import Pixels

METHODS = list(reducers.REDUCERS)
SMOOTH = ["gaussian", "linear", "laplacian"]
BOUNDARIES: list[reducers.Boundary] = ["pad", "trim"]


class Case(NamedTuple):
    """A block, and how it is reduced."""

    block: Pixels
    factors: tuple[int, ...]
    boundary: reducers.Boundary

    def reduced(self, method: str) -> Pixels:
        return reducers.downsample(self.block, self.factors, method, self.boundary)


@st.composite
def cases(
    draw: st.DrawFn,
    dtypes: Sequence[np.dtype[Any]] = DTYPES,
    sizes: tuple[int, int] = (1, 14),
    factors: tuple[int, int] = (1, 5),
) -> Case:
    axes = draw(st.integers(1, 4))
    largest = max(3, sizes[1] // axes)
    shape = draw(st.lists(st.integers(sizes[0], largest), min_size=axes, max_size=axes))
    block = pixels(shape, draw(st.sampled_from(dtypes)), draw(st.integers(0, 999)))
    steps = tuple(draw(st.integers(*factors)) for _ in shape)
    return Case(block, steps, draw(st.sampled_from(BOUNDARIES)))


def by_cells(case: Case, reduce: Callable[[Pixels], object]) -> Pixels:
    """Reduce one cell after the other, by a function that knows nothing of the others."""
    block, factors, boundary = case
    shape = reducers.reduced_shape(block.shape, factors, boundary)
    result = np.empty(shape, object)
    for place in np.ndindex(*shape):
        cell = block[tuple(slice(i * f, (i + 1) * f) for i, f in zip(place, factors, strict=True))]
        result[place] = reduce(cell.ravel())
    return result


# ── order statistics, by oracles ─────────────────────────────────────────────────────────────────


def exact_median(cell: Pixels) -> int:
    return round(statistics.median([Fraction(int(value)) for value in cell]))


@given(case=cases([dtype for dtype in DTYPES if dtype.kind in "biu"]))
def test_the_median_of_integers_is_exact_and_rounded_once(case: Case) -> None:
    found = case.reduced("median")
    assert found.dtype == case.block.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, by_cells(case, exact_median).astype(found.dtype))


@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")
@pytest.mark.parametrize(
    ("method", "oracle"), [("median", np.nanmedian), ("min", np.nanmin), ("max", np.nanmax)]
)
@given(case=cases([dtype for dtype in DTYPES if dtype.kind == "f"]))
def test_of_floats_the_missing_ones_are_left_out(
    method: str,
    oracle: Callable[[Pixels], object],
    case: Case,
) -> None:
    wide = case._replace(block=case.block.astype(float))
    found = case.reduced(method)
    with np.errstate(invalid="ignore"):
        expected = by_cells(wide, oracle).astype(found.dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("method", "oracle"), [("min", np.min), ("max", np.max)])
@given(case=cases([dtype for dtype in DTYPES if dtype.kind in "biu"]))
def test_extremes_of_integers(
    method: str,
    oracle: Callable[[Pixels], object],
    case: Case,
) -> None:
    found = case.reduced(method)
    np.testing.assert_array_equal(found, by_cells(case, oracle).astype(found.dtype))


@pytest.mark.parametrize(
    ("method", "oracle"),
    [("mean", np.mean), ("median", np.median), ("min", np.min), ("max", np.max)],
)
def test_whole_cells_as_in_scikit_image(method: str, oracle: Callable[..., Pixels]) -> None:
    block = np.random.default_rng(0).random((12, 10, 9))
    expected = skimage.measure.block_reduce(block, (3, 2, 3), oracle)
    np.testing.assert_allclose(reducers.downsample(block, (3, 2, 3), method), expected, rtol=1e-15)


@pytest.mark.parametrize("shape", [(65,), (9, 9), (130, 3), (5, 5, 5)])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32"])
def test_large_cells(dtype: str, shape: tuple[int, ...]) -> None:
    block = pixels([2 * n for n in shape], dtype)
    few = np.where(block > 0, block.ravel()[0], block.ravel()[-1])
    case = Case(few, shape, "pad")
    np.testing.assert_array_equal(case.reduced("median"), by_cells(case, np.median))
    values, counts = zip(
        *(np.unique(cell, return_counts=True) for cell in by_cells(case, np.copy).ravel()),
        strict=True,
    )
    expected = [value[count.argmax()] for value, count in zip(values, counts, strict=True)]
    assert case.reduced("mode").ravel().tolist() == expected


@given(data=st.data())
def test_the_mode_of_equally_frequent_values_is_the_smallest(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=100))
    dtype = data.draw(st.sampled_from(["uint8", "int32", "float64"]))
    found = reducers.downsample(np.array(values, dtype), (len(values),), "mode")
    assert found.tolist() == [min(statistics.multimode(values))]


EDGES = {
    "half to even": ("median", np.array([0, 1, 1, 2, 3, 0], "uint8"), [0, 2, 2]),
    "below zero": ("median", np.array([-1, 0, -1, -2, -3, 0], "int8"), [0, -2, -2]),
    "uint64": ("median", np.array([2**64 - 1] * 3 + [0], "uint64"), [2**64 - 1, 2**63]),
    "int64": (
        "median",
        np.array([2**63 - 1, 2**63 - 1, -(2**63), -(2**63), 2**63 - 1, -(2**63)], "int64"),
        [2**63 - 1, -(2**63), 0],
    ),
    "every bit": ("median", np.array([2**62 + 1, 2**62 + 3], "int64"), [2**62 + 2]),
    "bool": ("median", np.array([True, True, True, False, False, False]), [True, False, False]),
    "float16": ("median", np.array([60000, 65504], "float16"), [62752.0]),
    "float64": ("median", np.array([1.7e308, 1.7e308]), [1.7e308]),
    "subnormal": ("median", np.array([5e-324, 5e-324]), [5e-324]),
    "infinity": ("median", np.array([1, np.inf, -np.inf, np.inf]), [np.inf, np.nan]),
    "missing": ("median", np.array([1, np.nan, np.nan, np.nan]), [1, np.nan]),
    "least": ("min", np.array([-(2**63), 2**63 - 1], "int64"), [-(2**63)]),
    "greatest": ("max", np.array([2**64 - 1, 2**64 - 2], "uint64"), [2**64 - 1]),
    "least of": ("min", np.array([np.nan, 2, -np.inf, 0, np.nan]), [2, -np.inf, np.nan]),
    "greatest of": ("max", np.array([np.nan, 2, np.inf, 0, np.nan]), [2, np.inf, np.nan]),
    "any": ("max", np.array([True, False, False, False]), [True, False]),
    "all": ("min", np.array([True, False, True, True]), [False, True]),
}


@pytest.mark.parametrize("case", EDGES)
def test_at_the_edges(case: str) -> None:
    method, block, expected = EDGES[case]
    found = reducers.downsample(block, (2,), method)
    assert found.dtype == block.dtype
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


@pytest.mark.parametrize("method", ["min", "max", "median"])
def test_which_zero_it_is_does_not_depend_on_the_place(method: str) -> None:
    block = np.resize(np.array([0.0, -0.0, -0.0, 0.0]), 1002)
    assert not np.signbit(reducers.downsample(block, (2,), method)).any()


@pytest.mark.parametrize("count", [*range(1, 20), 27, 64])
def test_the_network_sorts(count: int) -> None:
    # Knuth's principle: what sorts all zeros and ones sorts everything.
    if count <= 12:
        rows = np.array(list(itertools.product([0, 1], repeat=count)))
    else:
        rows = np.random.default_rng(count).integers(0, 2, (2000, count))
    expected = np.sort(rows, axis=1).T
    samples = list(rows.T)
    np.testing.assert_array_equal(cells._sort(samples, range(count)), expected)
    middle = (count - 1) // 2, count // 2
    found = cells._sort(samples, middle)
    for place in middle:
        np.testing.assert_array_equal(found[place], expected[place])


# ── what holds for all of them ───────────────────────────────────────────────────────────────────


def pieces(case: Case, method: str, data: st.DataObject) -> tuple[list[slice], ...]:
    """Draw cells. Give them, the pixels of them and their halo, their place there, their pixels."""
    drawn: list[list[slice]] = [[], [], [], []]
    counts = reducers.reduced_shape(case.block.shape, case.factors, case.boundary)
    around = reducers.halo(method, case.factors)
    for count, size, factor, reach in zip(
        counts, case.block.shape, case.factors, around, strict=True
    ):
        low = data.draw(st.integers(0, count - 1))
        high = data.draw(st.integers(low + 1, count))
        start = max(0, low - reach)
        drawn[0].append(slice(low, high))
        drawn[1].append(slice(start * factor, min(size, (high + reach) * factor)))
        drawn[2].append(slice(low - start, high - start))
        drawn[3].append(slice(low * factor, min(size, high * factor)))
    return tuple(drawn)


@pytest.mark.parametrize("method", METHODS)
@given(case=cases(sizes=(1, 40)), data=st.data())
def test_a_block_with_its_halo_is_a_part_of_the_whole(
    method: str,
    case: Case,
    data: st.DataObject,
) -> None:
    whole = case.reduced(method)
    if not whole.size:
        return
    wanted, extended, crop, inner = pieces(case, method, data)
    part = case._replace(block=case.block[tuple(extended)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "TILE_BYTES", data.draw(st.sampled_from([1, 100, 1000, 10**6])))
        found = part.reduced(method)[tuple(crop)]
        assert found.tobytes() == whole[tuple(wanted)].tobytes()
        if method == "laplacian":
            difference, coarser = reducers.laplacian(*part)
            assert coarser.tobytes() == part.reduced("laplacian").tobytes()
            place = tuple(
                slice(one.start - other.start, one.stop - other.start)
                for one, other in zip(inner, extended, strict=True)
            )
            details, _ = reducers.laplacian(*case)
            assert difference[place].tobytes() == details[tuple(inner)].tobytes()


@pytest.mark.parametrize("method", METHODS)
@given(case=cases())
def test_dtype_shape_and_range_are_kept(method: str, case: Case) -> None:
    before = case.block.copy()
    found = case.reduced(method)
    assert case.block.tobytes() == before.tobytes()
    assert found.shape == reducers.reduced_shape(case.block.shape, case.factors, case.boundary)
    assert found.dtype == reducers.reduced_dtype(method, case.block.dtype)
    assert found.dtype.isnative
    if method != "laplacian":
        assert found.dtype == case.block.dtype.newbyteorder("=")
    finite = case.block[np.isfinite(case.block)].astype(float)
    values = found[np.isfinite(found)].astype(float)
    if finite.size and values.size:
        slack = 4 * np.finfo(found.dtype if method == "laplacian" else float).eps
        slack *= np.abs(finite).max()
        assert finite.min() - slack <= values.min() <= values.max() <= finite.max() + slack


@pytest.mark.parametrize("method", METHODS)
@given(case=cases())
def test_memory_order_and_byte_order_make_no_difference(method: str, case: Case) -> None:
    expected = case.reduced(method).tobytes()
    spaced = np.repeat(np.repeat(case.block, 2, axis=-1), 3, axis=0)[::3][..., ::2]
    backward = np.flip(np.flip(case.block).copy())
    fortran = np.asfortranarray(case.block)
    swapped = case.block.astype(case.block.dtype.newbyteorder())
    shifted = np.frombuffer(b"\0" + case.block.tobytes(), np.uint8)[1:].view(case.block.dtype)
    for block in (spaced, backward, fortran, swapped, shifted.reshape(case.block.shape)):
        assert case._replace(block=block).reduced(method).tobytes() == expected


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("method", METHODS)
def test_cells_larger_than_the_axis(method: str, boundary: reducers.Boundary) -> None:
    block = np.array([[3, 3, 3], [3, 3, 3]], "int16")
    found = reducers.downsample(block, (5, 10**9), method, boundary)
    assert found.tolist() == ([[3]] if boundary == "pad" else [])
    assert found.shape == ((1, 1) if boundary == "pad" else (0, 0))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(0,), (4, 0), (0, 5, 3)])
def test_nothing_becomes_nothing(
    shape: tuple[int, ...],
    method: str,
    boundary: reducers.Boundary,
) -> None:
    factors = (2,) * len(shape)
    found = reducers.downsample(np.empty(shape, "uint16"), factors, method, boundary)
    assert found.shape == reducers.reduced_shape(shape, factors, boundary)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_factors_of_one_change_nothing(dtype: np.dtype[Any], method: str) -> None:
    for shape in ((), (5,), (2, 3, 4)):
        block = pixels(shape, dtype)
        found = reducers.downsample(block, (1,) * len(shape), method)
        assert not np.shares_memory(found, block)
        np.testing.assert_array_equal(found, block.astype(found.dtype))


@pytest.mark.parametrize("size", [64, 67, 101])
@pytest.mark.parametrize("factor", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_a_ramp_is_a_ramp(dtype: str, factor: int, size: int) -> None:
    block = np.add.outer(np.arange(size), np.arange(12)).astype(dtype)
    whole = size // factor
    centres = np.add.outer(
        factor * np.arange(whole) + (factor - 1) / 2, np.arange(12 // factor) * factor
    )
    centres += (factor - 1) / 2
    for method in ("mean", "median", "gaussian", "linear"):
        found = reducers.downsample(block, (factor, factor), method)
        rim = reducers.halo(method, (factor,))[0]
        inner = slice(rim, whole - rim), slice(rim, 12 // factor - rim)
        np.testing.assert_array_equal(found[inner], centres[inner])
    low, high = (reducers.downsample(block, (factor, factor), name) for name in ("min", "max"))
    both = (low.astype(float) + high) / 2
    np.testing.assert_array_equal(both[:whole, : 12 // factor], centres)
    first = reducers.downsample(block, (factor, factor), "nearest")
    np.testing.assert_array_equal(first, block[::factor, ::factor])


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("method", ["mean", "median", "gaussian", "linear"])
def test_a_ramp_of_halves_is_rounded_to_even(method: str, factor: int) -> None:
    block = np.arange(200, dtype="uint8")
    found = reducers.downsample(block, (factor,), method)
    rim = reducers.halo(method, (factor,))[0]
    centres = np.arange(200 // factor) * factor + (factor - 1) / 2
    inner = slice(rim, len(found) - rim)
    np.testing.assert_array_equal(found[inner], np.rint(centres)[inner])


@pytest.mark.parametrize("method", sorted(reducers.SELECTS))
@given(case=cases())
def test_labels_are_never_made_up(method: str, case: Case) -> None:
    found = case.reduced(method)
    values = found[found == found]  # noqa: PLR0124 - no NaN
    assert set(values.tolist()) <= set(case.block.ravel().tolist())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(2, 2048, 4096), (8192, 2048)])
def test_memory_does_not_grow_with_the_block(shape: tuple[int, ...], method: str) -> None:
    block = np.zeros(shape, ">u2")
    block[..., ::5] = 3
    tracemalloc.start()
    found = reducers.downsample(block, (2,) * len(shape), method)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - found.nbytes < 12 * cells.TILE_BYTES < block.nbytes


# ── by name ──────────────────────────────────────────────────────────────────────────────────────


def test_methods_and_their_kinds() -> None:
    assert set(METHODS) == {
        *("mean", "nearest", "mode", "median", "min", "max", "gaussian", "linear", "laplacian"),
    }
    assert frozenset(METHODS) - {"nearest"} == reducers.CENTRED
    assert frozenset({"nearest", "mode", "min", "max"}) == reducers.SELECTS
    for method in METHODS:
        assert reducers.check_method(method) == method
        assert (max(reducers.halo(method, (1, 2, 3))) > 0) == (method in SMOOTH)
        assert reducers.halo(method, (1, 1)) == (0, 0)


@pytest.mark.parametrize(("alias", "method"), reducers.ALIASES.items())
def test_aliases(alias: str, method: str) -> None:
    block = pixels((9, 8), "uint16")
    assert reducers.check_method(alias) == method
    assert reducers.halo(alias, (2, 3)) == reducers.halo(method, (2, 3))
    np.testing.assert_array_equal(
        reducers.downsample(block, (2, 2), alias), reducers.downsample(block, (2, 2), method)
    )


@pytest.mark.parametrize("name", ["average", "", "Mean"])
def test_an_unknown_method_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(OmeZarrError) as error:
        reducers.downsample(np.zeros(4), (2,), name)
    for known in (repr(name), *METHODS, *reducers.ALIASES):
        assert known in str(error.value)


def test_tiles_hold_each_cell_once() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for size in (1, 10, 100, 10**6):
            patch.setattr(cells, "TILE_BYTES", size)
            pixel, cell = np.zeros((7, 10, 3), int), np.zeros((3, 5, 1), int)
            for tile in cells.tiles(pixel.shape, (3, 2, 3), 2):
                pixel[tuple(part.source for part in tile)] += 1
                place = tuple(part.target for part in tile)
                cell[place] += 1
                bytes_of = 2 * pixel[tuple(part.source for part in tile)].size
                assert bytes_of <= size or cell[place].size == 1
            assert (pixel == 1).all()
            assert (cell == 1).all()
