"""Selections from lazy images, found again in their other levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import LocalStore

from tests.helpers import OMERO, WatchedStore, opened, opened_tree, put_sample
from xarray_omezarr import OmeZarrError, samples
from xarray_omezarr.coordinates import memory_of
from xarray_omezarr.crops import crop_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def crop(array: xr.DataArray) -> Any:  # noqa: ANN401 - a Crop, whose parts are compared below
    found = crop_of(array)
    assert found is not None
    return found


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("level", [1, 2, -1])
def test_all_of_an_image_is_its_levels(tmp_path: Path, version: str, level: int) -> None:
    put_sample(str(tmp_path), version=version, dims="czyx")
    found = crop(opened(str(tmp_path)).image)
    assert found.is_plain
    expected = opened_tree(str(tmp_path))[str(level % 3)].image
    xr.testing.assert_equal(found.at(level), expected)


def test_a_selection_is_the_pixels_within_it(tmp_path: Path) -> None:
    sample = put_sample(str(tmp_path), dims="czyx")
    ds = opened(str(tmp_path))
    part = ds.image.isel(c=[1, 0], z=slice(1, 3), y=slice(8, 24), x=slice(40, 12, -1))
    found = crop(part)
    assert not found.is_plain
    assert found.spacing(2) == {"c": 1, "z": 1, "y": 4, "x": 4}
    coarse = found.at(2)
    # Pixels 8 to 23 are 2 to 5, and 40 down to 13 those with centres at 37.5, … 13.5.
    expected = sample.levels[2][[1, 0], 1:3, 2:6, 9:2:-1]
    np.testing.assert_array_equal(coarse.values, expected)
    np.testing.assert_array_equal(coarse.x, -4 + 0.25 * np.arange(37.5, 13, -4))
    np.testing.assert_array_equal(coarse.y, 10 + 0.5 * np.arange(9.5, 22, 4))
    assert coarse.c.values.tolist() == ["GFP", "DAPI"]


def test_coordinates_that_were_set_since_count(tmp_path: Path) -> None:
    put_sample(str(tmp_path), dims="yx")
    ds = opened(str(tmp_path)).omezarr.assign_scale(x=2.0, translation={"x": 100.0})
    coarse = crop(ds.image.isel(x=slice(8, 16))).at(1)
    np.testing.assert_allclose(coarse.x, [117, 121, 125, 129])


@pytest.mark.parametrize("at", [slice(5, 6), 5])
def test_what_is_smaller_than_a_coarse_pixel_is_the_nearest(tmp_path: Path, at: Any) -> None:  # noqa: ANN401
    sample = put_sample(str(tmp_path), dims="yx")
    coarse = crop(opened(str(tmp_path)).image.isel(y=at)).at(2)
    np.testing.assert_array_equal(np.atleast_2d(coarse.values), sample.levels[2][1:2])


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.compute(),
        lambda array: array + 1,
        lambda array: array.transpose("x", "y"),
        lambda array: array.chunk(),
        lambda array: array.rename(x="width"),
        lambda array: array.isel(x=xr.DataArray([0, 1], dims="point")),
    ],
    ids=["read", "computed", "transposed", "dask", "renamed", "points"],
)
def test_what_is_no_selection(
    tmp_path: Path, change: Callable[[xr.DataArray], xr.DataArray]
) -> None:
    put_sample(str(tmp_path), dims="yx")
    assert crop_of(change(opened(str(tmp_path)).image)) is None


def test_what_was_never_opened() -> None:
    assert crop_of(samples.coins().image) is None


def test_label_images_that_lack_an_axis_of_their_file(tmp_path: Path) -> None:
    ds = samples.fluorescence((1, 2, 1, 64, 64)).isel(t=0, z=0)
    cells = (ds.image.isel(c=0) > 500).astype("int32").drop_vars([*"c", *ds.c.coords])
    cells.encoding["omezarr"] = {"kind": "label"}
    ds.assign(cells=cells).omezarr.to_zarr(tmp_path / "a", levels=2)
    found = opened(tmp_path / "a", labels=True).cells
    coarse = crop(found).at(1)
    assert coarse.dims == ("y", "x")
    np.testing.assert_array_equal(coarse, opened(tmp_path / "a", labels=True, level=1).cells)


def test_nothing_is_read_but_metadata(tmp_path: Path) -> None:
    put_sample(str(tmp_path), dims="cyx")
    store = WatchedStore(LocalStore(tmp_path))
    part = opened(store).image.isel(c=0, y=slice(4, 20))
    store.log.clear()
    crop(part).at(2)
    assert store.log.keys() == ["s5/zarr.json"]


def test_a_level_that_is_not_there(tmp_path: Path) -> None:
    put_sample(str(tmp_path), dims="yx")
    with pytest.raises(OmeZarrError, match="has no level 7; there are 3"):
        crop(opened(str(tmp_path)).image).at(7)


def test_a_level_of_a_selection_knows_what_it_is(tmp_path: Path) -> None:
    put_sample(str(tmp_path), dims="czyx")
    coarse = crop(opened(str(tmp_path)).image.isel(z=1)).at(1)
    memory = memory_of(coarse)
    assert (memory.level, memory.document["ome"]["omero"]) == (1, OMERO)
    assert coarse.x.encoding["scale"] == 0.5
