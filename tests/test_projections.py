"""Planes brought together, held against NumPy, in whatever blocks they come."""

from __future__ import annotations

import asyncio
import pickle
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

from tests.helpers import WatchedStore, opened
from xarray_omezarr import OmeZarrError
from xarray_omezarr.projections import project

if TYPE_CHECKING:
    from collections.abc import Callable

NUMPY: dict[str, Callable[..., Any]] = {
    "max": np.nanmax, "mean": np.nanmean, "min": np.nanmin, "sum": np.nansum,
}  # fmt: skip


def stack(dtype: str) -> xr.DataArray:
    random = np.random.default_rng(0)
    pixels = random.normal(0, 100, (2, 9, 12, 10)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        pixels[random.random(pixels.shape) < 0.1] = np.nan
    coords = {"z": np.arange(9.0), "y": np.arange(12.0), "depth": ("z", np.arange(9))}
    return xr.DataArray(pixels, dims=("c", "z", "y", "x"), coords=coords, name="image")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64", "float32", "float64"])
@pytest.mark.parametrize("how", NUMPY)
def test_planes_come_together_as_numpy_puts_them(dtype: str, how: str) -> None:
    array = abs(stack(dtype)) if dtype == "uint64" else stack(dtype)
    found = project(array, {"z": how})

    exact = array.values if how in {"max", "min"} else array.values.astype(np.longdouble)
    expected = NUMPY[how](exact, axis=1)
    assert found.dims == ("c", "y", "x")
    assert set(found.coords) == {"y"}
    assert found.name == "image"
    if found.dtype.kind == "f":
        np.testing.assert_allclose(found.values, expected.astype(np.float64), rtol=1e-13)
    else:
        assert np.array_equal(found.values, expected)
    own = {"mean": "float64", "sum": "int64" if dtype in {"uint8", "int16"} else "float64"}
    assert found.dtype == own.get(how, dtype)


@pytest.mark.parametrize("how", NUMPY)
@pytest.mark.parametrize("chunks", [{"z": 1}, {"z": 4, "y": 5}, {"z": (2, 7), "c": 1, "x": 3}])
def test_blocks_make_no_difference(how: str, chunks: dict[str, Any]) -> None:
    array = stack("float32")
    whole = project(array, {"z": how}).values
    lazy = project(array.chunk(chunks), {"z": how})

    assert lazy.chunks is not None
    assert lazy.dtype == whole.dtype
    assert lazy.values.tobytes() == whole.tobytes()
    part = project(array, {"z": how}).isel(c=1, y=[3, 1], x=slice(2, 9, 3)).values
    assert part.tobytes() == whole[1][[3, 1]][:, 2:9:3].tobytes()


def test_what_nobody_knows_stays_unknown() -> None:
    array = xr.DataArray(np.full((3, 2), np.nan), dims=("z", "x"))
    array[:, 1] = [np.inf, -np.inf, 1]
    assert np.isnan(project(array, {"z": "mean"}).values).tolist() == [True, True]
    assert np.isnan(project(array, {"z": "max"}).values).tolist() == [True, False]
    assert project(array, {"z": "sum"}).values[0] == 0


def test_axes_go_one_after_the_other() -> None:
    array = stack("uint8")
    found = project(array.chunk(z=2), {"z": "sum", "c": "max"})
    assert np.array_equal(found.values, array.values.sum(1).max(0))


def test_a_mask_is_projected() -> None:
    mask = xr.DataArray(np.eye(3, dtype=bool), dims=("z", "x"))
    assert project(mask, {"z": "max"}).values.tolist() == [True] * 3
    assert project(mask, {"z": "sum"}).values.tolist() == [1] * 3


@pytest.mark.parametrize("along", [{"q": "max"}, {"z": "median"}, {"z": None}])
def test_what_cannot_be_projected_is_told(along: dict[str, Any]) -> None:
    with pytest.raises(OmeZarrError, match=r"a dimension .* z of 9, .*max, mean, min, sum"):
        project(stack("uint8"), along)
    texts = xr.DataArray(np.full((2, 3, 4), "a"), dims=("z", "y", "x"))
    with pytest.raises(OmeZarrError, match="Pixels of type <U1 have no brightness"):
        project(texts, {"z": "max"})
    with pytest.raises(OmeZarrError, match="z of 0"):
        project(stack("uint8").isel(z=slice(0)), {"z": "max"})


def written(store: Any, *, planes: int = 32) -> xr.DataArray:  # noqa: ANN401 - where an image goes
    array = xr.DataArray(
        np.random.default_rng(1).integers(0, 2**16, (planes, 512, 512), np.uint16),
        dims=("z", "y", "x"),
    )
    array.omezarr.to_zarr(store, levels=1, chunks={"z": 1, "y": 256, "x": 256})
    return array


def test_a_selection_reads_the_chunks_of_all_planes_below_it() -> None:
    from zarr.storage import MemoryStore

    store = MemoryStore()
    array = written(store, planes=5)
    watched = WatchedStore(store)
    found = project(opened(watched).image, {"z": "max"})
    watched.log.clear()

    part = found.isel(y=slice(10, 30), x=slice(300, 310))
    assert watched.log.keys("get") == []
    assert np.array_equal(part.values, array.values.max(0)[10:30, 300:310])
    assert len({key for key in watched.log.keys("get") if "/c/" in key}) == 5


def test_a_stack_is_never_in_memory_as_a_whole(tmp_path: Any) -> None:  # noqa: ANN401
    array = written(tmp_path / "stack.zarr", planes=128)
    expected = array.values.max(0)
    found = project(opened(tmp_path / "stack.zarr").image, {"z": "max"})
    del array

    tracemalloc.start()
    try:
        values = found.values
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert np.array_equal(values, expected)
    assert most < 128 * 512 * 512 * 2 / 2


def test_what_is_lazy_travels_and_is_awaited(tmp_path: Any) -> None:  # noqa: ANN401
    array = written(tmp_path / "stack.zarr", planes=3)
    found = project(opened(tmp_path / "stack.zarr").image, {"z": "mean"})
    expected = array.values.mean(0)
    assert np.array_equal(pickle.loads(pickle.dumps(found)).values, expected)  # noqa: S301 - own
    assert np.array_equal(asyncio.run(found.load_async()).values, expected)
