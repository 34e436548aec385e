from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
import xarray as xr

from tests.helpers import VERSIONS, WatchedStore, opened, opened_tree, put_sample
from xarray_omezarr import OmeZarrError, samples
from xarray_omezarr.chunked import Described
from xarray_omezarr.origins import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zarr.storage import MemoryStore


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("level", [0, 2])
def test_another_level_is_what_the_engine_opens(tmp_path: Path, version: str, level: int) -> None:
    put_sample(tmp_path, version=version)
    origin = origin_of(opened(tmp_path, level=level).image)
    assert origin is not None
    assert (origin.number, origin.count, origin.source) == (level, 3, str(tmp_path))
    for other in (0, 1, 2, -1):
        expected = opened(tmp_path, level=other).image
        xr.testing.assert_identical(origin.open(other), expected)
        assert origin.open(other).encoding["omezarr"] == expected.encoding["omezarr"]
        assert origin.expected_shape(other) == expected.shape
        assert origin.scale(other) == expected.omezarr.scale


def test_what_is_asked_for(memory: MemoryStore) -> None:
    put_sample(memory)
    store = WatchedStore(memory)
    image = opened(store).image
    store.log.clear()
    origin = origin_of(image)
    assert origin is not None
    assert origin.coarsest(lambda sizes: sizes["x"] > 20) == 1
    assert origin.coarsest(lambda sizes: sizes["x"] > 100) is None
    assert store.log.requests == []
    origin.open(0)
    assert store.log.requests == []
    found = [one for one in origin.describe().values() if isinstance(one, Described)]
    assert [array.shape for array in found] == [(2, 40, 48), (2, 20, 24), (2, 10, 12)]
    assert store.log.keys() == ["deep/one/zarr.json", "s5/zarr.json"]
    store.log.clear()
    origin.open(2)
    assert store.log.keys() == ["s5/zarr.json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.load(),
        lambda image: image.chunk(),
        lambda image: image.isel(x=slice(3, None)),
        lambda image: image.isel(x=slice(None, None, -1)),
        lambda image: image.isel(c=0),
        lambda image: image.transpose("x", "y", "c"),
        lambda image: image + 1,
        lambda image: image.astype("float32"),
        lambda image: image.rename(x="column"),
    ],
    ids=[
        "loaded",
        "chunked",
        "cut",
        "turned",
        "selected",
        "transposed",
        "added",
        "cast",
        "renamed",
    ],
)
def test_what_has_become_another_image(
    tmp_path: Path, change: Callable[[xr.DataArray], xr.DataArray]
) -> None:
    put_sample(tmp_path)
    assert origin_of(change(opened(tmp_path).image)) is None


def test_what_is_still_the_same_pixels(tmp_path: Path) -> None:
    put_sample(tmp_path)
    ds = opened(tmp_path)
    for same in (ds, ds.copy(), ds.isel(x=slice(None)), ds.omezarr.assign_scale(x=3.0)):
        assert origin_of(same.image) is not None
    assert origin_of(samples.coins().image) is None
    travelled = pickle.loads(pickle.dumps(ds))  # noqa: S301
    origin = origin_of(travelled.image)
    assert origin is not None
    xr.testing.assert_equal(origin.open(1), opened(tmp_path, level=1).image)
    # Once it has been read through its cache, it is in memory.
    assert ds.image.values.size
    assert origin_of(ds.image) is None


def test_labels_and_nodes_of_trees(tmp_path: Path) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins", levels=3)
    labels = origin_of(opened(tmp_path / "coins").coins)
    assert labels is not None
    assert labels.is_label
    tree = opened_tree(tmp_path / "coins")
    xr.testing.assert_equal(labels.open(2), tree["labels/coins/2"].to_dataset().coins)
    origin = origin_of(tree["1"].to_dataset().image)
    assert origin is not None
    assert (origin.number, origin.is_label) == (1, False)
    xr.testing.assert_equal(origin.open(0), tree["0"].to_dataset().image)
    samples.plate().omezarr.to_zarr(tmp_path / "plate")
    field = origin_of(opened_tree(tmp_path / "plate")["A/2/1/0"].to_dataset().image)
    assert field is not None
    assert field.source == str(tmp_path / "plate" / "A/2/1")


@pytest.mark.parametrize("level", [3, -4, 1.0, "0", None])
def test_a_level_that_is_not_there(tmp_path: Path, level: Any) -> None:  # noqa: ANN401
    put_sample(tmp_path)
    origin = origin_of(opened(tmp_path).image)
    assert origin is not None
    with pytest.raises(OmeZarrError, match=r"has no level .*; there are 3, 0 is the finest"):
        origin.open(level)


def test_a_level_that_is_missing(tmp_path: Path) -> None:
    put_sample(tmp_path)
    (tmp_path / "s5" / "zarr.json").unlink()
    origin = origin_of(opened(tmp_path).image)
    assert origin is not None
    assert isinstance(origin.describe()[2], OmeZarrError)
    with pytest.raises(OmeZarrError, match="the array of dataset 's5' is missing"):
        origin.open(-1)
