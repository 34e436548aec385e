"""Measuring, painting and colouring labels, held against scikit-image and plain NumPy."""

from __future__ import annotations

import asyncio
import pickle
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import dask
import dask.array as da
import numpy as np
import pytest
import skimage.measure
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import WatchedStore, opened
from xarray_omezarr import OmeZarrError, OmeZarrWarning, samples
from xarray_omezarr.measure import color_labels, label_ids, measure, paint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from zarr.storage import MemoryStore

    from tests.helpers import Option, Pixels

EVERYTHING = ["area", "bbox", "centroid", "count", "max", "mean", "min", "std", "sum"]
HUGE = (2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
SCALE = {"t": 3.0, "z": 0.7, "y": 0.25, "x": 0.325}
ORIGIN = {"t": 1.0, "z": -4.9, "y": 10.0, "x": 0.0}
DTYPES = ["bool", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32"]
DTYPES += ["float64"]


def blobs(shape: Sequence[int], count: int = 9, *, seed: int = 0) -> Pixels:
    """Label boxes that overlap; some labels end up in pieces, perhaps one has no pixel left."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    for label in random.permutation(count) + 1:
        begin = [random.integers(0, size) for size in shape]
        labels[tuple(slice(b, b + random.integers(1, 9)) for b in begin)] = label
    return labels


def dataset(
    labels: Pixels,
    image: Pixels | None = None,
    dims: str | None = None,
    *,
    image_dims: str | None = None,
    names: Sequence[str] | None = None,
) -> xr.Dataset:
    """Put labels and an image on the positions of SCALE and ORIGIN."""
    dims = dims or "tzyx"[-labels.ndim :]
    ds = xr.Dataset({"nuclei": (tuple(dims), labels)})
    if image is not None:
        ds["image"] = (tuple(image_dims or dims), image)
    for dim in ds.dims:
        if dim in SCALE:
            values = ORIGIN[str(dim)] + SCALE[str(dim)] * np.arange(ds.sizes[dim])
            ds = ds.assign_coords({dim: values})
            ds[dim].attrs["units"] = "second" if dim == "t" else "micrometer"
    if names is not None:
        ds = ds.assign_coords(c=list(names))
    ds["nuclei"].encoding["omezarr"] = {"kind": "label"}
    return ds


def noise(shape: Sequence[int], dtype: str = "uint16", *, seed: int = 1) -> Pixels:
    values = np.random.default_rng(seed).integers(0, 60000, tuple(shape))
    if dtype == "bool":
        return np.asarray(values % 2 == 0)
    if np.dtype(dtype).kind == "f":
        return np.asarray(values / 7 - 3000, dtype)
    return np.asarray(values % (2 ** min(15, 8 * np.dtype(dtype).itemsize)), dtype)


def expected(labels: Pixels, image: Pixels, dims: str) -> dict[str, Pixels]:
    """Let scikit-image measure, and move what it finds to the positions of the coordinates."""
    intensities = ["max", "mean", "min", "std"]
    found = skimage.measure.regionprops_table(
        labels.astype(np.int64),
        image,
        properties=[
            "label",
            "area",
            "num_pixels",
            "centroid",
            "bbox",
            *(f"intensity_{name}" for name in intensities),
        ],
        spacing=tuple(SCALE[dim] for dim in dims),
        extra_properties=[total],
    )
    table = {"id": found["label"], "area": found["area"], "count": found["num_pixels"]}
    table["sum"] = found["total"]
    table |= {name: found[f"intensity_{name}"] for name in intensities}
    for i, dim in enumerate(dims):
        table[f"centroid_{dim}"] = found[f"centroid-{i}"] + ORIGIN[dim]
        for side, j in (("min", i), ("max", i + len(dims))):
            edge = ORIGIN[dim] + SCALE[dim] * (found[f"bbox-{j}"] - 0.5)
            table[f"bbox_{dim}_{side}"] = edge
    return table


def total(mask: Pixels, image: Pixels) -> Any:  # noqa: ANN401
    return image[mask].sum(dtype=np.float64)


def check(ds: xr.Dataset, table: Mapping[str, Pixels], suffix: str = "") -> None:
    """Compare the variables of a Dataset with a table, to 1e-9."""
    np.testing.assert_array_equal(ds["nuclei_id"], table["id"])
    for name, values in table.items():
        if name != "id":
            intensity = name in {"max", "mean", "min", "std", "sum"}
            column = ds[f"nuclei_{name}{suffix if intensity else ''}"]
            assert column.dims == ("nuclei_id",)
            np.testing.assert_allclose(column, values, rtol=1e-9, atol=1e-9, err_msg=name)


def inputs(ds: xr.Dataset, **chunks: int) -> Iterator[tuple[str, xr.Dataset]]:
    """Give the same Dataset in memory, lazy, and as dask arrays whose chunks agree or do not."""
    yield "numpy", ds
    yield "lazy", lazy(ds)
    yield "dask", ds.chunk(chunks)
    mixed = ds.chunk(chunks)
    mixed["nuclei"] = ds["nuclei"].chunk(dict.fromkeys(map(str, ds["nuclei"].dims), 7))
    yield "unaligned", mixed
    own = {dim: size for dim, size in chunks.items() if dim in ds["nuclei"].dims}
    yield "labels only", ds.assign(nuclei=ds["nuclei"].chunk(own))
    yield "image only", ds.assign(image=ds["image"].chunk(chunks))
    yield "lazy image", mixed.assign(image=lazy(ds)["image"])


class Lazy(xr.backends.BackendArray):
    """An array that is read in parts, and counts them."""

    def __init__(self, values: Pixels) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.read = 0

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401
        support = xr.core.indexing.IndexingSupport.OUTER
        return xr.core.indexing.explicit_indexing_adapter(key, self.shape, support, self.get)

    def get(self, key: tuple[Any, ...]) -> Pixels:
        found: Pixels = self.values[
            np.ix_(*(np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape, key, strict=True)))
        ]
        found = found.reshape(
            [
                len(np.arange(n)[k])
                for n, k in zip(self.shape, key, strict=True)
                if np.ndim(np.arange(n)[k])
            ]
        )
        self.read += found.size
        return found


def lazy(ds: xr.Dataset, chunk: int = 5) -> xr.Dataset:
    new = {}
    for name, variable in ds.data_vars.items():
        if variable.ndim > 1:
            data = xr.core.indexing.LazilyIndexedArray(Lazy(variable.values))
            chunks = dict.fromkeys(variable.dims, chunk)
            encoding = {**variable.encoding, "preferred_chunks": chunks}
            new[name] = xr.Variable(variable.dims, data, variable.attrs, encoding)
    return ds.assign(new)


# ── against scikit-image ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(41, 53), (11, 23, 31)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_regionprops(shape: tuple[int, ...], dtype: str) -> None:
    dims = "zyx"[-len(shape) :]
    labels, image = blobs(shape), noise(shape, dtype)
    ds = dataset(labels, image)
    # There bool is not measured, and float32 is summed up as such.
    other = {"bool": "uint8", "float32": "float64"}.get(dtype, dtype)
    table = expected(labels, image.astype(other), dims)
    for kind, given_ds in inputs(ds, z=4, y=10, x=13) if len(shape) == 3 else inputs(ds, y=9, x=20):
        result = measure(given_ds, "nuclei", EVERYTHING)
        check(result, table)
        integer = image.dtype.kind in "biu"
        for name in ("min", "max"):
            assert result[f"nuclei_{name}"].dtype == ("int64" if integer else "float64"), kind
        assert result["nuclei_count"].dtype == "int64"
        assert "nuclei_id" not in given_ds.coords


@pytest.mark.parametrize("sample", ["coins", "astronaut"])
def test_samples(sample: str) -> None:
    ds = getattr(samples, sample)()
    label = {"coins": "coins", "astronaut": "circles"}[sample]
    scale = ds.omezarr.scale["y"]
    result = measure(ds.chunk(y=100, x=150), label, ["area", "mean", "std"])
    names = [""] if sample == "coins" else ["_red", "_green", "_blue"]
    planes = [ds.image.values] if sample == "coins" else list(ds.image.values)
    for suffix, plane in zip(names, planes, strict=True):
        found = skimage.measure.regionprops_table(
            ds[label].values,
            plane,
            properties=["label", "area", "intensity_mean", "intensity_std"],
            spacing=scale,
        )
        np.testing.assert_allclose(result[f"{label}_area"], found["area"], rtol=1e-9)
        for name in ("mean", "std"):
            values = result[f"{label}_{name}{suffix}"]
            np.testing.assert_allclose(values, found[f"intensity_{name}"], rtol=1e-9)
    assert result[f"{label}_area"].attrs == {"units": "micrometer^2"}


@given(st.data())
def test_any_chunking(data: st.DataObject) -> None:
    """What is exact in integers is the same to the last bit."""
    shape = tuple(data.draw(st.lists(st.integers(1, 17), min_size=1, max_size=4)))
    seed = data.draw(st.integers(0, 99))
    dtype = data.draw(st.sampled_from(["uint8", "int16", "uint16", "float32", "int64"]))
    image = noise(shape, dtype, seed=seed)
    ds = dataset(blobs(shape, 5, seed=seed), image)
    chunked = ds.copy()
    for name in ds.data_vars:
        cuts = {}
        for dim, size in ds.sizes.items():
            parts, left = [], size
            while left:
                parts.append(data.draw(st.integers(1, left)))
                left -= parts[-1]
            cuts[dim] = tuple(parts)
        chunked[name] = ds[name].chunk(cuts)
    # One pixel along an axis tells no pixel size, and a warning says so.
    wanted = EVERYTHING if min(shape) > 1 else ["count", "max", "mean", "min", "std", "sum"]
    one, other = (measure(each, "nuclei", wanted) for each in (ds, chunked))
    if np.dtype(dtype).kind in "iu" and np.dtype(dtype).itemsize < 4:
        xr.testing.assert_identical(one, other.compute())
    else:
        xr.testing.assert_allclose(one, other.compute(), rtol=1e-12)


def test_threads_do_not_matter() -> None:
    ds = dataset(blobs((40, 40, 40)), noise((40, 40, 40), "float64")).chunk(z=3, y=16)
    first = measure(ds, "nuclei", EVERYTHING)
    for workers in (1, 2, 8):
        with dask.config.set(scheduler="threads", num_workers=workers):
            xr.testing.assert_identical(measure(ds, "nuclei", EVERYTHING), first)


# ── the image and its axes ───────────────────────────────────────────────────────────────────────


def test_channels_have_columns_of_their_own(tmp_path: Path) -> None:
    labels, image = blobs((20, 30)), noise((3, 20, 30))
    ds = dataset(labels, image, image_dims="cyx", names=["DAPI", "GFP/2", " far red"])
    for kind, each in inputs(ds, c=2, y=8):
        result = measure(each, "nuclei", EVERYTHING)
        for c, suffix in enumerate(["_DAPI", "_GFP_2", "_far red"]):
            check(result, expected(labels, image[c], "yx"), suffix)
        assert "nuclei_mean" not in result, kind
    result = measure(ds, "nuclei", EVERYTHING)
    result.to_netcdf(tmp_path / "image.nc", engine="netcdf4")
    result.to_zarr(tmp_path / "image.zarr", zarr_format=2)
    with xr.open_dataset(tmp_path / "image.nc", engine="netcdf4") as again:
        check(again, expected(labels, image[0], "yx"), "_DAPI")


def test_channels_without_names_are_numbered() -> None:
    labels, image = blobs((20, 30)), noise((2, 20, 30))
    result = measure(dataset(labels, image, image_dims="cyx"), "nuclei", ["mean", "sum"])
    names = [name for name in result if str(name).startswith("nuclei_")]
    assert names == ["nuclei_mean_0", "nuclei_mean_1", "nuclei_sum_0", "nuclei_sum_1"]


def test_a_selected_channel_has_no_suffix() -> None:
    ds = dataset(blobs((20, 30)), noise((2, 20, 30)), image_dims="cyx", names=["a", "b"])
    one, all_ = (measure(each, "nuclei", "mean") for each in (ds.sel(c="b"), ds))
    np.testing.assert_array_equal(one["nuclei_mean"], all_["nuclei_mean_b"])


@pytest.mark.parametrize("order", ["tcyx", "yxct", "xtyc"])
def test_labels_hold_everywhere_along_other_axes(order: str) -> None:
    labels, image = blobs((13, 17)), noise((4, 2, 13, 17))
    ds = dataset(labels, image, image_dims="tcyx").transpose(*order)
    ds["nuclei"] = ds["nuclei"].transpose("x", "y")
    ds["nuclei"].encoding["omezarr"] = {"kind": "label"}
    stacked = np.broadcast_to(labels, (4, 13, 17))
    for _, each in inputs(ds, t=3, c=1, y=5):
        result = measure(each, "nuclei", EVERYTHING)
        for c in range(2):
            full = expected(stacked, image[:, c], "tyx")
            names = ["max", "mean", "min", "std", "sum"]
            check(result, {name: full[name] for name in ["id", *names]}, f"_{c}")
        flat = expected(labels, image[0, 0], "yx")
        check(result, {name: flat[name] for name in ["id", "area", "count", "centroid_x"]})
        assert "nuclei_centroid_t" not in result


def test_labels_of_each_channel() -> None:
    labels, image = blobs((2, 13, 17), seed=3), noise((2, 13, 17))
    labels[0][labels[0] == 4] = 0  # only in the second channel
    ds = dataset(labels, image, "cyx")
    for _, each in inputs(ds, c=1, y=5):
        result = measure(each, "nuclei", ["count", "mean", "max"])
        for c in range(2):
            for label in label_ids(ds, "nuclei").tolist():
                below = image[c][labels[c] == label]
                one = result.sel(nuclei_id=label)
                assert one["nuclei_count"] == (labels == label).sum()
                want = below.mean() if below.size else np.nan
                np.testing.assert_allclose(one[f"nuclei_mean_{c}"], want)
                want = below.max() if below.size else np.nan
                np.testing.assert_allclose(one[f"nuclei_max_{c}"], want)


def test_times() -> None:
    """Labels that have a time are measured over all of it."""
    labels = blobs((3, 13, 17))
    result = measure(dataset(labels, dims="tyx"), "nuclei", ["area", "centroid", "bbox", "count"])
    pixel = SCALE["y"] * SCALE["x"]
    np.testing.assert_allclose(result["nuclei_area"], result["nuclei_count"] * pixel)
    assert result["nuclei_centroid_t"].attrs == {"units": "second"}
    assert result["nuclei_bbox_t_max"].max() <= ORIGIN["t"] + 2.5 * SCALE["t"]


def test_another_image() -> None:
    ds = dataset(blobs((20, 30)), noise((20, 30))).rename(image="raw")
    by_name = measure(ds, "nuclei", "mean", image="raw")
    xr.testing.assert_identical(measure(ds, "nuclei", "mean", image=None), by_name)
    with pytest.raises(OmeZarrError, match=r"image='image' is no variable.*nuclei, raw"):
        measure(ds, "nuclei", "mean")


def test_without_an_image() -> None:
    ds = dataset(blobs((20, 30)))
    assert list(measure(ds, "nuclei", ["area", "count"]).data_vars) == [
        "nuclei",
        "nuclei_area",
        "nuclei_count",
    ]


def test_without_coordinates() -> None:
    labels = np.array([[0, 5, 5], [0, 5, 0]])
    ds = xr.Dataset({"nuclei": (("y", "x"), labels)})
    result = measure(ds, "nuclei", ["area", "centroid", "bbox"])
    found = {str(n): float(v[0]) for n, v in result.data_vars.items() if n != "nuclei"}
    assert found == {
        "nuclei_area": 3,
        "nuclei_centroid_y": pytest.approx(1 / 3),
        "nuclei_centroid_x": pytest.approx(4 / 3),
        "nuclei_bbox_y_min": -0.5,
        "nuclei_bbox_y_max": 1.5,
        "nuclei_bbox_x_min": 0.5,
        "nuclei_bbox_x_max": 2.5,
    }
    assert not result["nuclei_area"].attrs


def test_descending_axes_and_crops() -> None:
    ds = dataset(blobs((40, 50)), noise((40, 50)))
    turned = ds.isel(y=slice(None, None, -1))
    xr.testing.assert_allclose(
        measure(turned, "nuclei", EVERYTHING).sortby("y"), measure(ds, "nuclei", EVERYTHING)
    )
    crop = ds.isel(y=slice(5, 30), x=slice(7, 44))
    result = measure(crop, "nuclei", ["bbox", "centroid"])
    for axis in "yx":
        first = float(crop[axis][0]) - SCALE[axis] / 2
        assert (result[f"nuclei_bbox_{axis}_min"] >= first - 1e-9).all()


def test_units_that_differ() -> None:
    ds = dataset(blobs((5, 13, 17)))
    ds["z"].attrs["units"] = "nanometer"
    result = measure(ds, "nuclei", ["area", "centroid"])
    assert result["nuclei_area"].attrs == {"units": "nanometer micrometer^2"}
    assert result["nuclei_centroid_z"].attrs == {"units": "nanometer"}


def test_uneven_positions_matter_only_where_they_are_asked_for() -> None:
    ds = dataset(blobs((5, 13, 17)), noise((5, 13, 17)))
    ds = ds.assign_coords(z=[0.0, 1.0, 2.0, 5.0, 6.0])
    assert "nuclei_mean" in measure(ds, "nuclei", ["mean", "count"])
    with pytest.raises(OmeZarrError, match="'z' is not evenly spaced"):
        measure(ds, "nuclei", ["area"])


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("dtype", "offset", "spread"),
    [("uint16", 65000, 3), ("uint32", 4_000_000_000, 3), ("int64", 2**52, 3), ("float64", 1e9, 1)],
)
def test_small_deviations_of_large_values(dtype: str, offset: float, spread: int) -> None:
    labels = np.repeat([[1, 1, 2]], 4000, axis=0)
    away = np.random.default_rng(0).integers(-spread, spread + 1, labels.shape)
    image = (away + np.array(offset).astype(dtype).astype(object)).astype(dtype)
    ds = dataset(labels, image)
    for each in (ds, ds.chunk(y=7, x=2)):
        result = measure(each, "nuclei", ["std", "mean"])
        want = [away[labels == label].std() for label in (1, 2)]
        np.testing.assert_allclose(result["nuclei_std"], want, rtol=1e-9)


def test_a_constant_does_not_deviate() -> None:
    for dtype in DTYPES[1:]:
        image = np.full((30, 30), 77, dtype)
        result = measure(dataset(blobs((30, 30)), image).chunk(y=7), "nuclei", ["std", "mean"])
        assert (result["nuclei_std"] == 0).all()
        assert (result["nuclei_mean"] == 77).all()


def test_sums_do_not_overflow() -> None:
    labels = np.ones((64, 64), np.uint8)
    for dtype in ("uint8", "int8", "uint16", "uint32", "int64", "uint64"):
        top = np.iinfo(dtype).max
        result = measure(dataset(labels, np.full((64, 64), top, dtype)), "nuclei", EVERYTHING)
        assert float(result["nuclei_sum"][0]) == float(top * 4096)
        assert int(result["nuclei_max"][0]) == top
        assert float(result["nuclei_std"][0]) == 0


def test_nan_is_missing() -> None:
    labels, image = blobs((20, 30)), noise((20, 30), "float64")
    image[np.random.default_rng(5).random((20, 30)) < 0.3] = np.nan
    lost = labels == 3
    image[lost] = np.nan
    ds = dataset(labels, image)
    for each in (ds, ds.chunk(y=3, x=7)):
        result = measure(each, "nuclei", EVERYTHING)
        for label in result["nuclei_id"].values:
            below, one = image[labels == label], result.sel(nuclei_id=label)
            assert one["nuclei_count"] == below.size
            if label == 3:
                assert one["nuclei_sum"] == 0
                assert np.isnan([one[f"nuclei_{n}"] for n in ("mean", "std", "min", "max")]).all()
                continue
            for name in ("sum", "mean", "std", "min", "max"):
                want = getattr(np, f"nan{name}")(below)
                np.testing.assert_allclose(one[f"nuclei_{name}"], want, rtol=1e-9)


def test_infinity_is_a_value() -> None:
    image = np.array([[np.inf, 1.0, 2.0, 4.0]])
    result = measure(dataset(np.array([[1, 1, 2, 2]]), image), "nuclei", ["mean", "max", "std"])
    assert result["nuclei_mean"].values.tolist() == [np.inf, 3.0]
    assert result["nuclei_max"].values.tolist() == [np.inf, 4.0]
    np.testing.assert_array_equal(result["nuclei_std"], [np.nan, 1.0])


@pytest.mark.parametrize("chunks", [None, {"y": 2, "x": 3}], ids=["numpy", "dask"])
def test_large_labels(chunks: dict[str, int] | None) -> None:
    labels = np.array([HUGE, HUGE, [0, 1, 2, HUGE[1], HUGE[-1], 0]], np.uint64)
    ds = dataset(labels, np.arange(18).reshape(3, 6))
    ds = ds if chunks is None else ds.chunk(chunks)
    want = [1, 2, *HUGE]
    result = measure(ds, "nuclei", ["count", "sum"])
    assert result["nuclei_id"].dtype == "uint64"
    assert result["nuclei_id"].values.tolist() == want
    assert result["nuclei_count"].values.tolist() == [1, 1, 2, 3, 2, 2, 2, 3]
    assert result["nuclei_sum"].sel(nuclei_id=2**53 + 1) == 1 + 7 + 15
    assert label_ids(ds, "nuclei").tolist() == want
    painted = paint(result, "nuclei_sum", fill=-1)
    np.testing.assert_array_equal(painted == -1, labels == 0)
    assert painted.values[1].tolist() == [0 + 6, 1 + 7 + 15, 2 + 8, 3 + 9, 4 + 10, 5 + 11 + 16]
    colored = color_labels(ds, "nuclei", {2**64 - 1: "#010203"})
    assert colored["nuclei_color"].values.tolist() == [""] * 7 + ["010203FF"]
    # An index of which one value is beyond int64 makes no other label another.
    part = ds.assign_coords(nuclei_id=np.array([2**53, 2**64 - 1], np.uint64))
    with pytest.warns(OmeZarrWarning, match="6 of the 8 labels"):
        result = measure(part, "nuclei", "count")
    assert result["nuclei_count"].values.tolist() == [2, 3]


def test_negative_labels() -> None:
    labels = np.array([[-(2**63), -1, 0, 1, 2**63 - 1]])
    result = measure(dataset(labels), "nuclei", "count")
    assert result["nuclei_id"].values.tolist() == [-(2**63), -1, 1, 2**63 - 1]
    ids = np.array([-1, 2**62])
    painted = paint(
        dataset(labels).assign_coords(nuclei_id=ids).assign(nuclei_a=("nuclei_id", [7, 8])),
        "nuclei_a",
        fill=0,
    )
    assert painted.values.tolist() == [[0, 7, 0, 0, 0]]
    small = dataset(np.array([[-128, -1, 0, 1, 127]], np.int8))
    small = small.assign_coords(nuclei_id=[-200, -128, 127, 128])
    painted = paint(small.assign(nuclei_a=("nuclei_id", [1, 2, 3, 4])), "nuclei_a", fill=0)
    assert painted.values.tolist() == [[2, 0, 0, 0, 3]]


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def test_an_index_that_is_there_stays() -> None:
    labels = np.array([[1, 1, 3, 0]], np.uint8)
    image = np.array([[1, 2, 2**60, 5]])
    ds = dataset(labels, image).assign_coords(nuclei_id=[9, 3, 1])
    ds["nuclei_kind"] = ("nuclei_id", ["a", "b", "c"])
    result = measure(ds, "nuclei", ["count", "mean", "max"])
    assert result["nuclei_id"].values.tolist() == [9, 3, 1]
    assert result["nuclei_kind"].values.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(result["nuclei_count"], [np.nan, 1, 2])
    np.testing.assert_array_equal(result["nuclei_mean"], [np.nan, 2.0**60, 1.5])
    # 2⁶⁰ in float64 would be a loss for its neighbours.
    assert result["nuclei_max"].values.tolist() == [0, 2**60, 2]
    assert result["nuclei_max_present"].values.tolist() == [False, True, True]
    whole = measure(result.isel(nuclei_id=slice(1, None)), "nuclei", ["count", "max"])
    assert "nuclei_max_present" not in whole
    assert whole["nuclei_max"].dtype == whole["nuclei_count"].dtype == "int64"


def test_labels_that_the_index_lacks() -> None:
    ds = dataset(np.array([[1, 2, 3, 0]])).assign_coords(nuclei_id=[2])
    with pytest.warns(OmeZarrWarning, match=r"2 of the 3 labels.*drop_dims\('nuclei_id'\)"):
        result = measure(ds, "nuclei", "count")
    assert result["nuclei_count"].values.tolist() == [1]
    assert label_ids(ds, "nuclei").tolist() == [2]
    whole = ds.drop_dims("nuclei_id").drop_vars("nuclei_id", errors="ignore")
    assert measure(whole, "nuclei", "count").sizes["nuclei_id"] == 3


def test_no_labels_at_all() -> None:
    ds = dataset(np.zeros((8, 8), np.uint16), noise((8, 8)))
    for each in (ds, ds.chunk(y=3)):
        result = measure(each, "nuclei", EVERYTHING)
        assert result["nuclei_id"].shape == result["nuclei_mean"].shape == (0,)
        assert result["nuclei_id"].dtype == "int64"
        indexed = measure(each.assign_coords(nuclei_id=[1, 2]), "nuclei", EVERYTHING)
        assert all(indexed[f"nuclei_{name}"].isnull().all() for name in ("count", "mean", "min"))
        assert np.isnan(paint(indexed, "nuclei_mean")).all()
        assert color_labels(each, "nuclei")["nuclei_color"].shape == (0,)


def test_measuring_changes_nothing_else() -> None:
    ds = dataset(blobs((20, 30)), noise((20, 30)))
    ds.attrs["name"] = "cells"
    before = ds.copy(deep=True)
    result = measure(ds, "nuclei", ["mean"])
    xr.testing.assert_identical(ds, before)
    xr.testing.assert_identical(result.drop_dims("nuclei_id"), before)
    assert result["nuclei"].encoding["omezarr"]["kind"] == "label"
    again = measure(result, "nuclei", ["mean", "area"])
    xr.testing.assert_identical(again.drop_vars("nuclei_area"), result)


# ── what cannot be ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, ["cells", "area"], "no label image 'cells'.*there are: nuclei"),
        ({}, ["image_f", "area"], "'image_f' is no label image: it is of type float64.*nuclei"),
        ({}, ["nuclei", "median"], "median cannot be measured; expected some of area, bbox.*table"),
        ({}, ["nuclei", []], "nothing cannot be measured"),
        ({}, ["nuclei", ["mean", "eccentricity", "x"]], "eccentricity, x cannot"),
        ({}, ["nuclei", "mean", "other"], "image='other' is no variable.*image"),
        ({}, ["nuclei", "mean", "plane"], "has dimension x, which 'plane' lacks"),
        ({}, ["nuclei", "mean", "complex"], "of type complex128; expected real"),
        ({"nuclei_area": ("y", "x")}, ["nuclei", "area"], "named nuclei_area.*Rename"),
    ],
)
def test_measure_refuses(
    change: dict[str, tuple[str, ...]], arguments: list[Option], message: str
) -> None:
    ds = dataset(blobs((8, 8)), noise((8, 8)))
    ds["image_f"] = ds["image"] / 2
    ds["complex"] = ds["image"] * 1j
    ds["plane"] = ds["image"].isel(x=0, drop=True)
    for name, dims in change.items():
        ds[name] = (dims, np.zeros([8] * len(dims)))
    with pytest.raises(OmeZarrError, match=f"(?s){message}"):
        measure(ds, *arguments)


def test_an_index_of_another_kind() -> None:
    ds = dataset(blobs((8, 8))).assign_coords(nuclei_id=["a", "b"])
    for work in (lambda: label_ids(ds, "nuclei"), lambda: measure(ds, "nuclei", "area")):
        with pytest.raises(OmeZarrError, match=r"'nuclei_id' is of type .*expected integers"):
            work()
    ds = dataset(blobs((8, 8))).assign(nuclei_area=("nuclei_id", [1.0, 2.0]))
    with pytest.raises(OmeZarrError, match="'nuclei_id' has no coordinate"):
        paint(ds, "nuclei_area")


# ── what is read ─────────────────────────────────────────────────────────────────────────────────


class Reads:
    """Chunks that count how often they are made."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()
        self.lock = threading.Lock()

    def array(self, values: Pixels, chunks: Option, name: str) -> Any:  # noqa: ANN401
        def read(block: Pixels, block_info: Option) -> Pixels:
            with self.lock:
                self.counts[name, hash(tuple(block_info[0]["chunk-location"]))] += 1
            return block

        untyped: Any = da
        array = untyped.from_array(values, chunks)
        return array.map_blocks(read, dtype=values.dtype, name=name)


def test_each_block_is_read_once() -> None:
    shape, reads = (24, 36), Reads()
    ds = dataset(blobs(shape), noise((2, *shape)), image_dims="cyx")
    ds["image"] = ("c", "y", "x"), reads.array(ds["image"].values, (1, 8, 36), "image")
    ds["nuclei"] = ("y", "x"), reads.array(ds["nuclei"].values, (6, 9), "nuclei")
    measure(ds, "nuclei", EVERYTHING)
    assert len(reads.counts) == 2 * 3 + 4 * 4
    assert set(reads.counts.values()) == {1}
    reads.counts.clear()
    label_ids(ds, "nuclei")
    measure(ds, "nuclei", ["area", "bbox"])
    assert {name for name, _ in reads.counts} == {"nuclei"}
    assert set(reads.counts.values()) == {2}


def test_labels_made_from_the_image_read_it_once() -> None:
    reads = Reads()
    ds = dataset(blobs((24, 36)), noise((24, 36)))
    ds["image"] = ("y", "x"), reads.array(ds["image"].values, (8, 12), "image")
    ds["nuclei"] = (ds["image"] > 20000).astype("uint8") * 3
    measure(ds, "nuclei", EVERYTHING)
    assert set(reads.counts.values()) == {1}
    assert len(reads.counts) == 9


def test_a_file_is_read_once() -> None:
    from zarr.storage import MemoryStore

    store = MemoryStore()
    ds = dataset(blobs((64, 64)), noise((64, 64)))
    ds[["image"]].omezarr.to_zarr(store, levels=1, chunks={"y": 16, "x": 16})
    watched = WatchedStore(store)
    for chunks in (None, dict[str, int]()):
        one = opened(watched, chunks=chunks).assign(nuclei=ds["nuclei"].variable)
        watched.log.clear()
        result = measure(one, "nuclei", EVERYTHING)
        read = [key for key in watched.log.keys("get") if not key.endswith(".json")]
        assert len(read) == len(set(read)) == 16
        xr.testing.assert_allclose(
            result.drop_vars("image"), measure(ds, "nuclei", EVERYTHING).drop_vars("image")
        )


def test_lazy_arrays_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xarray_omezarr.measure._BLOCK", 256)
    ds = dataset(blobs((64, 64)), noise((64, 64)))
    sources = {name: Lazy(ds[name].values) for name in ("nuclei", "image")}
    for name, source in sources.items():
        data = xr.core.indexing.LazilyIndexedArray(source)
        ds[name] = xr.Variable(("y", "x"), data, None, {"preferred_chunks": {"y": 8, "x": 8}})
    measure(ds, "nuclei", EVERYTHING)
    assert {source.read for source in sources.values()} == {64 * 64}


# ── paint ────────────────────────────────────────────────────────────────────────────────────────


def painted_by_hand(labels: Pixels, values: Mapping[int, Any], fill: Any) -> list[Any]:  # noqa: ANN401
    return [values.get(label, fill) for label in labels.ravel().tolist()]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("ids", [[3, 1, 2], [7, 120, 0, 5], list(range(1, 100)), []])
@pytest.mark.parametrize("order", ["=", ">"])
def test_paint(dtype: str, ids: list[int], order: Literal["=", ">"]) -> None:
    labels = np.random.default_rng(0).integers(0, 128, (30, 40)).astype(dtype)
    ds = dataset(labels.astype(np.dtype(dtype).newbyteorder(order)))
    ds = ds.assign_coords(nuclei_id=np.array(ids, np.int64))
    values = np.arange(len(ids)) * 10
    ds["nuclei_kind"] = ("nuclei_id", values, {"units": "furlong"})
    known = {i: v for i, v in zip(ids, values.tolist(), strict=True) if i != 0}
    for each in (ds, lazy(ds), ds.chunk(y=7)):
        painted = paint(each, "nuclei_kind", fill=-1)
        assert painted.dims == ("y", "x")
        assert painted.name == "nuclei_kind"
        assert painted.attrs == {"units": "furlong"}
        assert painted.chunks == each["nuclei"].chunks
        assert painted.dtype == "int64"
        xr.testing.assert_identical(painted["y"], ds["y"])
        assert painted.values.ravel().tolist() == painted_by_hand(labels, known, -1)


@given(
    labels=st.lists(st.one_of(st.integers(0, 6), st.integers(0, 2**64 - 1)), min_size=1),
    known=st.sets(st.integers(0, 2**64 - 1)),
)
def test_paint_any_labels(labels: list[int], known: set[int]) -> None:
    ids = list({*known, *labels[::2]})
    values = {label: float(i) for i, label in enumerate(ids) if label}
    ds = dataset(np.array([labels], np.uint64)).assign_coords(nuclei_id=np.array(ids, np.uint64))
    ds["nuclei_a"] = ("nuclei_id", np.arange(len(ids), dtype=np.float64))
    painted = paint(ds, "nuclei_a", fill=-1.0)
    assert painted.values.ravel().tolist() == [values.get(label, -1.0) for label in labels]


def test_paint_needs_no_array_as_long_as_the_largest_label() -> None:
    ds = dataset(np.array([[0, 1, 2**64 - 1]], np.uint64))
    ds = ds.assign_coords(nuclei_id=np.array([1, 2**64 - 1], np.uint64))
    ds["nuclei_a"] = ("nuclei_id", [1, 2])
    assert paint(ds, "nuclei_a", fill=0).values.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("values", "fill", "dtype", "background"),
    [
        ([1, 2], np.nan, "float64", np.nan),
        (np.array([1, 2], "uint8"), np.nan, "float64", np.nan),
        (np.array([1, 2], "uint8"), 0, "uint8", 0),
        (np.array([1, 2], "uint8"), -1, "int16", -1),
        (np.array([1, 2], "uint8"), 256, "uint16", 256),
        (np.array([2**63, 1], "uint64"), 0, "uint64", 0),
        ([2**60 + 1, 1], -1, "int64", -1),
        (np.array([1, 2], "float32"), np.nan, "float32", np.nan),
        (np.array([1, 2], "float32"), np.float64(0.1), "float64", 0.1),
        ([True, False], np.nan, "float64", np.nan),
        ([True, False], False, "bool", False),
        ([True, False], 2, "int64", 2),
        (["a", "bcd"], np.nan, "<U3", ""),
        (["a", "bcd"], "nothing", "<U7", "nothing"),
        (np.array(["a", "bcd"], object), "none", "<U4", "none"),
        (np.array(["a", None], object), "?", "<U1", "?"),
        (np.array(["a", "bcd"], "T"), np.nan, "<U3", ""),
        ([1.5, 2.5], 1j, "complex128", 1j),
    ],
)
def test_the_type_that_is_painted(
    values: Option, fill: Option, dtype: str, background: Option
) -> None:
    ds = dataset(np.array([[0, 1], [2, 3]])).assign_coords(nuclei_id=[1, 2])
    ds["nuclei_a"] = ("nuclei_id", values)
    for each in (ds, ds.chunk(x=1)):
        painted = paint(each, "nuclei_a", fill)
        assert painted.dtype == dtype
        found = [background if v is None else v for v in np.asarray(values).tolist()]
        want = np.array([background, *found, background], dtype)
        np.testing.assert_array_equal(painted.values.ravel(), want)
        assert painted.values.dtype == dtype


def test_what_has_no_value_gets_the_fill() -> None:
    ds = dataset(np.array([[0, 1, 2, 3]])).assign_coords(nuclei_id=[1, 2])
    ds["nuclei_a"] = ("nuclei_id", [np.nan, 2.0])
    ds["nuclei_b"] = ("nuclei_id", ["", "b"])
    ds["nuclei_b_present"] = ("nuclei_id", [False, True])
    assert paint(ds, "nuclei_a", fill=7).values.tolist() == [[7, 7, 2, 7]]
    assert paint(ds, "nuclei_b", fill="?").values.tolist() == [["?", "?", "b", "?"]]


@pytest.mark.parametrize(
    ("name", "fill", "message"),
    [
        ("nuclei_b", 0, "'nuclei_b' is no property.*there are: nuclei_a, nuclei_s"),
        ("image", 0, "'image' is no property"),
        ("nuclei_id", 0, "'nuclei_id' is no property"),
        ("nuclei_s", 3, "fill=3 has no type in common with 'nuclei_s', which is text"),
        ("nuclei_a", "x", "fill='x' has no type in common with 'nuclei_a', which is int64"),
        ("nuclei_a", None, "fill=None has no type in common"),
    ],
)
def test_paint_refuses(name: str, fill: Option, message: str) -> None:
    ds = dataset(np.array([[0, 1]]), np.array([[0, 1]])).assign_coords(nuclei_id=[1, 2])
    ds = ds.assign(nuclei_a=("nuclei_id", [1, 2]), nuclei_s=("nuclei_id", ["a", "b"]))
    with pytest.raises(OmeZarrError, match=message):
        paint(ds, name, fill)


def test_a_label_twice() -> None:
    ds = dataset(np.array([[0, 1]])).assign_coords(nuclei_id=[1, 2, 1])
    ds["nuclei_a"] = ("nuclei_id", [1, 2, 3])
    with pytest.raises(OmeZarrError, match="Label 1 has more than one value"):
        paint(ds, "nuclei_a")
    assert measure(ds, "nuclei", "count")["nuclei_count"].values.tolist()[::2] == [1, 1]


class Untouched(Lazy):
    def get(self, key: tuple[Any, ...]) -> Pixels:
        msg = f"read {key}"
        raise AssertionError(msg)


def test_paint_is_lazy() -> None:
    ds = dataset(blobs((40, 50))).assign_coords(nuclei_id=np.arange(1, 10))
    ds["nuclei_a"] = ("nuclei_id", np.arange(1, 10))
    whole = paint(ds, "nuclei_a", 0)
    np.testing.assert_array_equal(whole, ds["nuclei"])

    def never(block: Pixels) -> Pixels:
        raise AssertionError(block.shape)

    chunked = ds["nuclei"].chunk(y=7).data.map_blocks(never, dtype="uint32")
    paint(ds.assign(nuclei=(("y", "x"), chunked)), "nuclei_a")
    untouched = xr.core.indexing.LazilyIndexedArray(Untouched(ds["nuclei"].values))
    painted = paint(ds.assign(nuclei=(("y", "x"), untouched)), "nuclei_a")
    with pytest.raises(AssertionError, match="read"):
        painted.isel(x=0).load()
    source = Lazy(ds["nuclei"].values)
    data = xr.core.indexing.LazilyIndexedArray(source)
    painted = paint(ds.assign(nuclei=(("y", "x"), data)), "nuclei_a", 0)
    assert source.read == 0
    part = painted.isel(y=slice(3, 20, 2), x=[4, 2, 30])
    np.testing.assert_array_equal(part, whole.isel(y=slice(3, 20, 2), x=[4, 2, 30]))
    assert source.read == 9 * 3
    assert painted.isel(y=3, x=4).item() == whole[3, 4]
    pointwise = {"y": xr.DataArray([1, 5], dims="p"), "x": xr.DataArray([2, 7], dims="p")}
    np.testing.assert_array_equal(painted.isel(pointwise), whole.isel(pointwise))
    source.read = 0
    for _ in range(2):
        np.testing.assert_array_equal(painted, whole)
    assert source.read == 40 * 50


@pytest.mark.parametrize("kind", ["numpy", "lazy", "dask"])
def test_painted_objects_travel(kind: str) -> None:
    ds = measure(dataset(blobs((40, 50))), "nuclei", "count")
    ds = {"numpy": ds, "lazy": lazy(ds), "dask": ds.chunk(y=9)}[kind]
    painted = paint(ds, "nuclei_count", 0)
    again = pickle.loads(pickle.dumps(painted))  # noqa: S301 - made here
    xr.testing.assert_identical(again.compute(), painted.compute())
    if kind == "numpy":
        loaded = asyncio.run(paint(ds, "nuclei_count", 0).load_async())
        xr.testing.assert_identical(loaded, painted)
    chunked = paint(ds, "nuclei_count", 0).chunk(y=5)
    xr.testing.assert_equal(chunked.compute(), painted)


def test_painted_pixels_are_an_image() -> None:
    ds = measure(dataset(blobs((40, 50)), noise((40, 50))), "nuclei", ["mean"])
    painted = paint(ds, "nuclei_mean", fill=0)
    means = ds["image"].groupby(ds["nuclei"]).mean()
    for label in ds["nuclei_id"].values:
        values = painted.values[ds["nuclei"].values == label]
        np.testing.assert_allclose(values, means.sel(nuclei=label).item())


def test_the_table_may_be_dask() -> None:
    ds = measure(dataset(blobs((40, 50))), "nuclei", "count")
    chunked = ds.chunk()
    assert chunked["nuclei_count"].chunks
    xr.testing.assert_identical(
        paint(chunked, "nuclei_count", 0).compute(), paint(ds, "nuclei_count", 0).compute()
    )


# ── label_ids ────────────────────────────────────────────────────────────────────────────────────


def test_label_ids() -> None:
    ds = dataset(np.array([[0, 9, 3], [3, 0, 200]], np.uint8))
    for each in (ds, ds.chunk(x=1), lazy(ds)):
        ids = label_ids(each, "nuclei")
        assert ids.dtype == "int64"
        assert ids.tolist() == [3, 9, 200]
    assert label_ids(ds.assign_coords(nuclei_id=[5, 0, 2]), "nuclei").tolist() == [5, 2]
    unmarked = xr.Dataset({"cells": ("x", [1, 2]), "image": ("x", [1.0, 2.0])})
    assert label_ids(unmarked, "cells").tolist() == [1, 2]
    with pytest.raises(OmeZarrError, match="a single value"):
        label_ids(ds.isel(y=0, x=1), "nuclei")


# ── color_labels ─────────────────────────────────────────────────────────────────────────────────


def coloured(ids: Sequence[int], *arguments: Option, **options: Option) -> dict[int, str]:
    ds = dataset(np.array([[0, *ids]]))
    result = color_labels(ds, "nuclei", *arguments, **options)
    assert result["nuclei_color"].dims == ("nuclei_id",)
    assert result["nuclei_color"].dtype == "<U8"
    assert "nuclei_color" in result.coords
    pairs = zip(result["nuclei_id"].values, result["nuclei_color"].values, strict=True)
    return {int(i): str(color) for i, color in pairs}


def test_colors_by_default() -> None:
    colors = coloured(range(1, 2001))
    assert 0 not in colors
    assert len(set(colors.values())) == 2000
    assert all(color.endswith("FF") for color in colors.values())
    # A label has its colour wherever it is.
    assert coloured([1000, 5]) == {i: colors[i] for i in (5, 1000)}
    # So does it in the next release: files are compared.
    assert list(colors.values())[:3] == list(coloured([1, 2, 3]).values()) == FIRST

    def rgb(color: str) -> Pixels:
        return np.frombuffer(bytes.fromhex(color), np.uint8).astype(int)[:3]

    near = [np.abs(rgb(colors[i]) - rgb(colors[i + 1])).max() for i in range(1, 2000)]
    assert min(near) > 60
    assert all(rgb(color).max() > 150 for color in colors.values())


FIRST = ["2D66F2FF", "9DDA47FF", "FA4AE4FF"]


@pytest.mark.parametrize(
    ("color", "digits"),
    [
        ("#ff8000", "FF8000FF"),
        ("ff8000", "FF8000FF"),
        ("#FF800040", "FF800040"),
        ((255, 128, 0), "FF8000FF"),
        ((255, 128, 0, 64), "FF800040"),
        ([1.0, 0.5, 0.0], "FF8000FF"),
        (np.array([1.0, 0.5, 0.0, 0.25]), "FF800040"),
        ((1, 0, 0), "010000FF"),
    ],
)
def test_spellings_of_a_color(color: Option, digits: str) -> None:
    assert coloured([4, 7], {7: color}) == {4: "", 7: digits}
    assert coloured([4, 7], [color, "#000000"]) == {4: digits, 7: "000000FF"}


def test_one_color_for_all() -> None:
    assert coloured([4, 7], "#123456") == {4: "123456FF", 7: "123456FF"}


def test_colors_that_are_not_named_stay() -> None:
    ds = dataset(np.array([[0, 1, 2, 3]])).assign_coords(nuclei_id=[0, 1, 2, 3])
    first = color_labels(ds, "nuclei", ["#111111", "#222222", "#333333"])
    assert first["nuclei_color"].values.tolist() == ["", "111111FF", "222222FF", "333333FF"]
    second = color_labels(first, "nuclei", {0: "#000000", 2: "#FFFFFF"})
    assert second["nuclei_color"].values.tolist() == ["", "111111FF", "FFFFFFFF", "333333FF"]
    assert first["nuclei_color"].values[2] == "222222FF"
    painted = paint(second, "nuclei_color")
    assert painted.values.tolist() == [["", "111111FF", "FFFFFFFF", "333333FF"]]


@pytest.mark.parametrize(
    ("colors", "message"),
    [
        ({9: "#FFFFFF"}, "'nuclei' has no label 9; it has 2: 4, 7"),
        (["#FFFFFF"], "1 for the 2 labels of 'nuclei'"),
        ({4: "red"}, "colors: 'red'; expected '#RRGGBB'"),
        ({4: (1, 2)}, "expected '#RRGGBB'"),
        ({4: (0.5, 0.5, 1.5)}, "expected '#RRGGBB'"),
        ({4: (256, 0, 0)}, "expected '#RRGGBB'"),
        ({4: 12}, "expected '#RRGGBB'"),
        ("#12", "expected '#RRGGBB'"),
    ],
)
def test_colors_that_are_none(colors: Option, message: str) -> None:
    with pytest.raises(OmeZarrError, match=message):
        coloured([4, 7], colors)


def test_a_colormap() -> None:
    mpl = pytest.importorskip("matplotlib")
    first, last = (
        mpl.colors.to_hex(mpl.colormaps["viridis"](x), keep_alpha=True) for x in (0.0, 1.0)
    )
    ends = [first[1:].upper(), last[1:].upper()]
    assert list(coloured([4, 7], "viridis").values()) == ends
    assert list(coloured([4, 7], mpl.colormaps["viridis"]).values()) == ends
    # A palette starts over, and a label keeps its colour in a crop.
    palette = coloured(range(1, 25), "tab10")
    assert palette[3] == palette[13] == coloured([13], "tab10")[13]
    assert len(set(palette.values())) == 10
    with pytest.raises(OmeZarrError, match="'greenish' is neither a colormap"):
        coloured([4, 7], "greenish")


def test_colors_by_a_property() -> None:
    pytest.importorskip("matplotlib")
    ds = dataset(np.array([[0, 1, 2, 3, 4]])).assign_coords(nuclei_id=[1, 2, 3, 4])
    ds["nuclei_size"] = ("nuclei_id", [5.0, np.nan, 1.0, 3.0])
    ds["nuclei_kind"] = ("nuclei_id", ["b", "a", "b", ""])
    ds["nuclei_kind_present"] = ("nuclei_id", [True, True, True, False])
    ends = list(coloured([4, 7], "viridis").values())
    for by in ("size", "nuclei_size"):
        colors = color_labels(ds, "nuclei", "viridis", by=by)["nuclei_color"].values.tolist()
        assert [colors[0], colors[1], colors[2]] == [ends[1], "", ends[0]]
        assert colors == color_labels(ds, "nuclei", by=by)["nuclei_color"].values.tolist()
    tabs = list(coloured([1, 2], "tab10").values())
    colors = color_labels(ds, "nuclei", "tab10", by="kind")["nuclei_color"].values.tolist()
    assert colors == [tabs[1], tabs[0], tabs[1], ""]
    with pytest.raises(OmeZarrError, match=r"by='weight' is no property.*nuclei_size"):
        color_labels(ds, "nuclei", by="weight")


def test_a_callable_is_a_colormap() -> None:
    def grey(x: Pixels) -> Pixels:
        return np.stack([x, x, x], axis=-1)

    assert coloured([1, 2, 3], grey) == {1: "000000FF", 2: "808080FF", 3: "FFFFFFFF"}


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OmeZarrError, match=r"colormap of Matplotlib, which is not installed"):
        coloured([4, 7], "viridis")
    assert coloured([4], "#FFFFFF") == {4: "FFFFFFFF"}


def test_colors_of_a_million_labels() -> None:
    ids = np.arange(1, 10**6 + 1, dtype=np.uint32)
    ds = dataset(ids.reshape(1000, 1000)).assign_coords(nuclei_id=ids.astype(np.int64))
    colors = color_labels(ds, "nuclei")["nuclei_color"].values
    assert len(np.unique(colors)) > 10**5


def test_fields_of_a_plate_are_measured_one_by_one(memory: MemoryStore) -> None:
    samples.plate(rows=1, columns=2, fields=1).omezarr.to_zarr(memory)
    stack = opened(memory, stack="well", labels=True)
    with pytest.raises(OmeZarrError, match=r"several fields of a plate.*map_fields"):
        stack.omezarr.measure("nuclei", "area")
    one = stack.isel(well=1).omezarr.measure("nuclei", "area")
    alone = opened(memory, group="A/2/0", labels=True).omezarr.measure("nuclei", "area")
    np.testing.assert_array_equal(one.nuclei_area, alone.nuclei_area)
