"""A ramp is a ramp: pixels and transformations of a pyramid say the same.

The reducers are held against scikit-image's `block_reduce`, xarray's `coarsen`, `numpy.unique` and
exact arithmetic; the levels against each other, for every chunking and kind of input.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import skimage.measure
import xarray as xr
import zarr.storage
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import document_of, opened
from tests.strategies import (
    DTYPES,
    Picture,
    layouts,
    opened_tree,
    pictures,
    pixels,
    scaling,
    shift,
    stored_levels,
    write,
)
from xarray_omezarr import OmeZarrError, OmeZarrWarning, plan, reducers, samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.helpers import Option

SIZES = (64, 67, 101, 1023)
RIM = {"t": 10, "c": 2, "z": 7, "y": 10}
SPACES = ("yx", "zyx", "czyx", "tczyx")
FACTORS = {
    "2": [dict.fromkeys("zyx", 2), dict.fromkeys("zyx", 4)],
    "3": [dict.fromkeys("tyx", 3), dict.fromkeys("tyx", 9)],
    "mixed": [{"y": 3, "x": 2}, {"z": 2, "t": 2, "y": 3, "x": 6}],
}


def inputs(ds: xr.Dataset, dims: Sequence[str]) -> Iterator[tuple[str, xr.Dataset]]:
    """Give the same image in memory, lazy, and as dask arrays of several chunkings."""
    yield "numpy", ds
    yield "lazy", opened(write(ds, chunks={"x": 25}))
    yield "dask", ds.chunk(dict.fromkeys(dims, 5) | {"x": 23})
    uneven = ds.sizes["x"] // 3
    yield "uneven", ds.chunk(x=(1, uneven, ds.sizes["x"] - uneven - 1))


def inner(factors: Mapping[str, int], shape: Mapping[str, int]) -> tuple[slice, ...]:
    """Select the pixels that stand for whole cells."""
    return tuple(slice(0, size // factors.get(dim, 1)) for dim, size in shape.items())


# ── a ramp is a ramp ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dims", SPACES)
@pytest.mark.parametrize("steps", FACTORS)
@pytest.mark.parametrize("method", ["mean", "nearest"])
def test_a_ramp_is_a_ramp(method: str, steps: str, dims: str, size: int) -> None:
    shape = {dim: size if dim == "x" else RIM[dim] for dim in dims}
    levels = [{dim: f for dim, f in step.items() if dim in dims} for step in FACTORS[steps]]
    placed = [dim for dim in dims if dim != "c"]
    ds = (
        Picture(shape)
        .dataset()
        .omezarr.assign_scale(
            dict.fromkeys(placed, 0.5) | {"x": 0.25},
            translation=dict.fromkeys(placed, 8.0) | {"x": -16.0},
        )
    )
    # Positions of few binary digits and whole weights: every mean below is exact.
    weights = {dim: 4.0 ** (1 + index) for index, dim in enumerate(placed)}

    def ramp(level: xr.Dataset) -> xr.DataArray:
        total = sum(
            (weights[dim] * level[dim] for dim in placed), xr.zeros_like(level.image, float)
        )
        return total.transpose(*dims)

    ds = ds.assign(image=ramp(ds))
    first = None
    for kind, each in inputs(ds, dims):
        store = write(each, levels=levels, method=method)
        for number, factors in enumerate(levels, 1):
            level = opened(store, level=number)
            rim = inner(factors, shape) if method == "mean" else ...
            np.testing.assert_array_equal(level.image.values[rim], ramp(level).values[rim])
            assert level.sizes == {dim: -(-n // factors.get(dim, 1)) for dim, n in shape.items()}
        found = [level.tobytes() for level in stored_levels(store)]
        first = first or found
        assert found == first, kind


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factors", [(2, 2), (3, 3), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16", "int64"])
def test_a_ramp_on_one_axis(dtype: str, factors: tuple[int, int], size: int) -> None:
    total = factors[0] * factors[1]
    start = (total - 1) / 2
    values = (np.arange(size) * 2).astype(dtype)  # even, so that no mean is between two integers
    mean, first = values, values
    for factor in factors:
        mean = reducers.downsample(mean, (factor,), "mean")
        first = reducers.downsample(first, (factor,), "nearest")
    whole = size // total
    assert mean.dtype == first.dtype == values.dtype
    assert mean.tolist()[:whole] == [2 * (total * index + start) for index in range(whole)]
    assert first.tolist() == [2 * total * index for index in range(-(-size // total))]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [2, 3])
def test_a_ramp_of_labels(factor: int, size: int) -> None:
    # A label for each pixel of the coarsest level, and some pixels of another.
    total = factor**2
    labels = np.arange(size) // total
    image = np.stack([labels] * total).astype("uint64")
    image[0] = 2**63 + 1
    ds = xr.Dataset({"image": (("y", "x"), image)})
    store = write(
        ds, levels=[dict.fromkeys("yx", factor), dict.fromkeys("yx", total)], method="mode"
    )
    level = opened(store, level=2)
    centre = (total - 1) / 2
    expected = (level.x.values - centre) / total
    if factor > 2:  # in a cell of two rows one is a tie
        np.testing.assert_array_equal(level.image.values[0], expected)
    for row in stored_levels(store)[1][1:]:
        np.testing.assert_array_equal(row, labels[::factor])


@pytest.mark.parametrize("method", ["mean", "nearest", "mode"])
def test_scale_and_translation_of_the_levels(method: str) -> None:
    ds = Picture(
        {"t": 3, "c": 2, "y": 30, "x": 40},
        scale={"t": 2.0, "y": 0.325, "x": 0.1},
        translation={"t": 5.0, "y": 0.0, "x": -7.3},
    ).dataset()
    store = write(ds, levels=[{"x": 2}, {"t": 3, "y": 3, "x": 4}], method=method)
    datasets = document_of(store)["multiscales"][0]["datasets"]
    scales = [[2, 1, 0.325, 0.1], [2, 1, 0.325, 0.2], [6, 1, 0.975, 0.4]]
    shifts = [[5, 0, 0, -7.3], [5, 0, 0, -7.25], [7, 0, 0.325, -7.15]]
    if method == "nearest":
        shifts = [shifts[0]] * 3
    assert [dataset["coordinateTransformations"] for dataset in datasets] == [
        [scaling(*scale), shift(*start)] for scale, start in zip(scales, shifts, strict=True)
    ]


# ── the reducers, by oracles ─────────────────────────────────────────────────────────────────────

CELLS = [((12,), (3,)), ((8, 6), (2, 3)), ((4, 6, 8), (4, 1, 2)), ((2, 4, 4, 6), (2, 2, 1, 3))]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("shape", "factors"), CELLS)
def test_the_mean_is_the_exact_mean_rounded_once(
    shape: tuple[int, ...],
    factors: tuple[int, ...],
    dtype: np.dtype[Any],
) -> None:
    block = pixels(shape, dtype)
    if dtype.kind == "f":
        block = np.where(np.isfinite(block), block, 1).astype(dtype)
    found = reducers.downsample(block, factors, "mean")
    assert found.dtype == dtype.newbyteorder("=")
    exact = np.vectorize(Fraction, otypes=[object])(block.astype(object))
    sums = skimage.measure.block_reduce(exact, factors, np.sum)
    means = sums / int(np.prod(factors))
    if dtype.kind == "f":
        noise = 4 * np.finfo(float).eps * np.abs(block.astype(float)).max()
        half = float(np.finfo(dtype).eps) / 2
        np.testing.assert_allclose(found, means.astype(float), rtol=1.01 * half, atol=noise)
    else:
        # Fractions round half to even.
        assert found.tolist() == np.vectorize(round, otypes=[object])(means).tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("boundary", ["pad", "trim"])
@given(data=st.data())
def test_the_mean_of_floats_is_the_one_of_coarsen(
    boundary: str,
    dtype: str,
    data: st.DataObject,
) -> None:
    shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    factors = [data.draw(st.integers(1, size)) for size in shape]
    block = pixels(shape, dtype, data.draw(st.integers(0, 999)))
    block[~np.isfinite(block)] = np.nan
    dims = [f"d{index}" for index in range(len(shape))]
    windows = dict(zip(dims, factors, strict=True))
    wide = xr.DataArray(block.astype(float), dims=dims)
    expected = wide.coarsen(windows, boundary=boundary).mean()  # type: ignore[arg-type]
    found = reducers.downsample(block, tuple(factors), "mean", boundary)  # type: ignore[arg-type]
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(found, expected, rtol=2 * eps, atol=2 * eps * 1000)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint64", "int64", "float32", ">u4"])
@given(data=st.data())
def test_the_mode_is_the_most_frequent_value(dtype: str, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=3))
    factors = [data.draw(st.integers(1, 4)) for _ in shape]
    values = pixels([3], dtype, data.draw(st.integers(0, 99)))
    values = np.where(values == values, values, 1).astype(dtype)  # noqa: PLR0124 - no NaN
    chosen = np.random.default_rng(data.draw(st.integers(0, 999))).integers(0, 3, shape)
    block = values[chosen]
    found = reducers.downsample(block, tuple(factors), "mode")
    for place in np.ndindex(*found.shape):
        cell = block[tuple(slice(i * f, (i + 1) * f) for i, f in zip(place, factors, strict=True))]
        candidates, counts = np.unique(cell, return_counts=True)
        assert found[place] in candidates[counts == counts.max()]


@given(data=st.data())
def test_nearest_is_the_first_sample(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    factors = [data.draw(st.integers(1, 4)) for _ in shape]
    block = pixels(shape, data.draw(st.sampled_from(DTYPES)))
    found = reducers.downsample(block, tuple(factors), "nearest")
    expected = block[tuple(slice(None, None, factor) for factor in factors)]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == block.dtype.newbyteorder("=")


EDGES = {
    "half to even": (np.array([0, 1, 1, 2, 2, 3], "uint8"), [0, 2, 2]),
    "half to even below zero": (np.array([-1, 0, -1, -2, -3, -2], "int8"), [0, -2, -2]),
    "never truncated": (np.array([0, 3, 3, 3], "uint8"), [2, 3]),
    "uint8 does not overflow": (np.full(6, 255, "uint8"), [255] * 3),
    "uint64 does not overflow": (np.full(6, 2**64 - 1, "uint64"), [2**64 - 1] * 3),
    "int64 does not overflow": (np.full(6, -(2**63), "int64"), [-(2**63)] * 3),
    "int64 keeps every bit": (np.array([2**62 + 1, 2**62 + 3], "int64"), [2**62 + 2]),
    "float16 does not overflow": (np.full(4, 60000, "float16"), [60000.0, 60000.0]),
    "float32 does not overflow": (np.full(4, 3e38, "float32"), [float(np.float32(3e38))] * 2),
    "bool": (np.array([True, True, False, True, False, False]), [True, False, False]),
    "nan is missing": (np.array([1, np.nan, 3, 5, np.nan, np.nan]), [1, 4, np.nan]),
    "infinity is not": (
        np.array([1, np.inf, -np.inf, 5, np.inf, -np.inf]),
        [np.inf, -np.inf, np.nan],
    ),
    "a partial cell": (np.array([1, 2, 7], "uint8"), [2, 7]),
}


@pytest.mark.parametrize("case", EDGES)
def test_the_mean_at_the_edges(case: str) -> None:
    block, expected = EDGES[case]
    found = reducers.downsample(block, (2,), "mean")
    assert found.dtype == block.dtype
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.kind in "iu"], ids=str)
@pytest.mark.parametrize("count", [2, 127, 128, 129, 256, 65536])
def test_large_cells_do_not_overflow(count: int, dtype: np.dtype[Any]) -> None:
    limits = np.iinfo(dtype)
    values = np.repeat(np.array([limits.min, limits.max, limits.min // 2], dtype), count)
    values[-1] += 1
    found = reducers.downsample(values, (count,), "mean").tolist()
    mean = Fraction(sum(values[-count:].tolist()), count)
    assert found == [limits.min, limits.max, round(mean)]


@pytest.mark.parametrize("method", ["mode", "nearest"])
def test_labels_keep_every_bit(method: str) -> None:
    labels = np.array([[2**64 - 1, 2**64 - 1], [2**64 - 1, 2**63 + 1]], "uint64")
    store = write(xr.Dataset({"image": (("y", "x"), labels)}), levels=2, method=method)
    assert stored_levels(store)[1].tolist() == [[2**64 - 1]]


# ── every chunking, every kind of input ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "block_bytes", [1, 200, None], ids=lambda value: f"blocks of {value} bytes"
)
@given(data=st.data())
def test_the_result_is_the_same_for_every_chunking(
    block_bytes: int | None,
    data: st.DataObject,
) -> None:
    picture = data.draw(pictures(sizes=(1, 13), channels=False, digits=6, within=1e3))
    ds, shape = picture.dataset(), picture.shape
    first = {dim: data.draw(st.integers(1, min(3, size))) for dim, size in shape.items()}
    second = {
        dim: factor * data.draw(st.integers(1, min(3, shape[dim] // factor)))
        for dim, factor in first.items()
    }
    levels = [each for each in (first, second) if any(factor > 1 for factor in each.values())]
    arguments: dict[str, Any] = {
        "levels": levels[: 1 + (first != second)],
        "method": data.draw(st.sampled_from(["mean", "nearest", "mode"])),
        "boundary": data.draw(st.sampled_from(["pad", "trim"])),
        "version": data.draw(st.sampled_from(["0.4", "0.5"])),
    }
    expected = write(ds, **arguments)
    source = {dim: data.draw(st.integers(1, size)) for dim, size in shape.items()}
    lazy = opened(write(ds, chunks=source))
    with pytest.MonkeyPatch.context() as patch:
        if block_bytes is not None:
            patch.setattr(plan, "BLOCK_BYTES", block_bytes)
        for each in (ds, ds.chunk(source), lazy, lazy.chunk({})):
            layout = data.draw(layouts(shape, arguments["version"]))
            store = write(each, **arguments, **layout)
            assert document_of(store) == document_of(expected)
            for one, other in zip(stored_levels(store), stored_levels(expected), strict=True):
                assert one.dtype == other.dtype
                assert one.tobytes() == other.tobytes()


def test_each_level_is_reduced_from_the_one_above() -> None:
    image = pixels((40, 50), "uint8")
    ds = xr.Dataset({"image": (("y", "x"), image)})
    found = stored_levels(write(ds, levels=[{"y": 2, "x": 3}, {"y": 4, "x": 3}, {"y": 4, "x": 9}]))
    expected = [image]
    for factors in ((2, 3), (2, 1), (1, 3)):
        expected.append(reducers.downsample(expected[-1], factors, "mean"))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_trim_drops_the_rim() -> None:
    ds = Picture({"y": 7, "x": 11}).dataset()
    factors = [{"y": 2, "x": 2}, {"y": 2, "x": 4}]
    shapes = {
        boundary: [
            level.shape for level in stored_levels(write(ds, levels=factors, boundary=boundary))
        ]
        for boundary in ("pad", "trim")
    }
    assert shapes == {"pad": [(7, 11), (4, 6), (4, 3)], "trim": [(7, 11), (3, 5), (3, 2)]}


# ── which levels ─────────────────────────────────────────────────────────────────────────────────


def chain(*shapes: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(shape) for shape in shapes]


@pytest.mark.parametrize(
    ("dims", "scale", "expected"),
    [
        ("yx", (1, 1), chain((256, 256))),
        ("yx", (1, 1), chain((257, 10), (129, 10))),
        ("yx", (1, 1), chain((1000, 2000), (500, 1000), (250, 500), (250, 250))),
        # Isotropic first: z waits until x is nearly as coarse.
        (
            "zyx",
            (1, 0.25, 0.25),
            chain((300, 4, 1100), (300, 4, 550), (300, 4, 275), (150, 4, 138)),
        ),
        (
            "zyx",
            (1, 0.25, 0.25),
            chain((300, 2, 1024), (300, 2, 512), (300, 2, 256), (150, 2, 256)),
        ),
        # Only axes that are too long are compared.
        ("zyx", (10, 0.1, 0.1), chain((600, 2, 200), (300, 2, 200), (150, 2, 200))),
        ("zyx", (1.9, 1, 1), chain((300, 2, 300), (150, 2, 150))),
        ("zyx", (2, 1, 1), chain((300, 2, 300), (300, 2, 150), (150, 2, 150))),
        # Time and channel are left alone.
        ("tcyx", (1, 1, 1, 1), chain((300, 1, 2, 300), (300, 1, 2, 150))),
        ("cyx", (1, 1, 1), chain((300, 4, 8))),
    ],
)
def test_levels_by_default(
    dims: str,
    scale: tuple[float, ...],
    expected: list[tuple[int, ...]],
) -> None:
    ds = Picture(dict(zip(dims, expected[0], strict=True)), np.dtype("uint8")).dataset()
    spacing = {dim: s for dim, s in zip(dims, scale, strict=True) if dim != "c"}
    ds = ds.omezarr.assign_scale(spacing)
    assert [level.shape for level in stored_levels(write(ds, levels=None))] == expected


def test_spacings_are_compared_in_the_same_unit() -> None:
    ds = Picture({"z": 300, "y": 2, "x": 1024}, np.dtype("uint8")).dataset()
    ds = ds.omezarr.assign_scale(
        {"z": 0.001, "y": 0.25, "x": 0.25},
        units={"z": "millimeter", "y": "micrometer", "x": "micrometer"},
    )
    shapes = [level.shape for level in stored_levels(write(ds, levels=None))]
    assert shapes == [(300, 2, 1024), (300, 2, 512), (300, 2, 256), (150, 2, 256)]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (1, chain((64, 48))),
        (3, chain((64, 48), (32, 24), (16, 12))),
        ([], chain((64, 48))),
        ([{"x": 3}], chain((64, 48), (64, 16))),
        ([{"y": 5, "x": 1}, {"y": 10, "x": 7}], chain((64, 48), (13, 48), (7, 7))),
    ],
)
def test_levels_as_asked_for(
    levels: int | list[dict[str, int]],
    expected: list[tuple[int, ...]],
) -> None:
    store = write(Picture({"y": 64, "x": 48}).dataset(), levels=levels)
    assert [level.shape for level in stored_levels(store)] == expected


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"levels": [{"x": 2}, {"x": 3}]}, r"\bx\b.*3|3.*\bx\b"),
        ({"levels": [{"y": 4, "x": 4}, {"y": 2, "x": 8}]}, r"\by\b.*2|2.*\by\b"),
        ({"levels": [{"x": 4}, {"y": 2}]}, r"\bx\b"),
        ({"levels": [{"x": 0}]}, r"0"),
        ({"levels": [{"x": -2}]}, r"-2"),
        ({"levels": [{"x": 1.5}]}, r"1\.5"),
        ({"levels": [{"q": 2}]}, r"\bq\b"),
        ({"levels": 0}, r"0"),
        ({"levels": -1}, r"-1"),
        ({"levels": 2, "method": "median?"}, r"median\?.*mean|mean.*median\?"),
        ({"levels": 2, "boundary": "wrap"}, r"wrap.*pad|pad.*wrap"),
    ],
    ids=str,
)
def test_what_cannot_be_a_pyramid_is_refused(arguments: dict[str, Option], named: str) -> None:
    ds = Picture({"y": 16, "x": 16}).dataset()
    with pytest.raises(OmeZarrError, match=f"(?s){named}"):
        write(ds, **arguments)


def test_labels_are_reduced_by_mode_on_the_levels_of_their_image() -> None:
    ds = samples.coins()
    store = write(ds, levels=[{"y": 2, "x": 2}, {"y": 4, "x": 4}])
    image, labels = opened_tree(store), stored_levels(store, "labels/coins")
    expected = [ds.coins.values]
    for _ in range(2):
        expected.append(reducers.downsample(expected[-1], (2, 2), "mode"))
    for one, other in zip(labels, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    for number in range(3):
        level = opened(store, group="labels/coins", level=number)
        for dim in "yx":
            assert (
                level[dim].values.tobytes() == image[str(number)].to_dataset()[dim].values.tobytes()
            )


def test_a_crop_of_a_tree_is_one_region() -> None:
    ds = Picture({"y": 64, "x": 96}, scale={"y": 0.5, "x": 0.5}).dataset()
    tree = opened_tree(write(ds, levels=3))
    part = tree.sel(y=slice(4, 20), x=slice(10, 40))
    for name, step in zip(part.children, (0.5, 1.0, 2.0), strict=True):
        level = part[name].to_dataset()
        for dim, (start, stop) in {"y": (4, 20), "x": (10, 40)}.items():
            assert 0 <= level[dim].values[0] - start < step
            assert 0 <= stop - level[dim].values[-1] < step


def test_dask_arrays_larger_than_a_block_stream() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "BLOCK_BYTES", 2**14)
        image = da.arange(512 * 512, dtype="uint32", chunks=2**15).reshape(512, 512)
        store = write(xr.Dataset({"image": (("y", "x"), image)}), levels=3, chunks=32)
    expected = [np.arange(512 * 512, dtype="uint32").reshape(512, 512)]
    for _ in range(2):
        expected.append(reducers.downsample(expected[-1], (2, 2), "mean"))
    for one, other in zip(stored_levels(store), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_memory_that_a_plan_needs_is_told_where_chunks_make_it_large() -> None:
    planes = da.zeros((64, 4096, 4096), "uint16", chunks=(1, 4096, 4096))
    ds = xr.Dataset({"image": (("z", "y", "x"), planes)})
    with pytest.warns(OmeZarrWarning, match="chunk"):
        delayed = write_later(ds)
    assert delayed is not None


def write_later(ds: xr.Dataset) -> object:
    store = zarr.storage.MemoryStore()
    return ds.omezarr.to_zarr(store, levels=1, chunks={"z": 64, "y": 64, "x": 64}, compute=False)
