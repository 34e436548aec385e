"""Stores and sources that fail: what is finished is kept, and nothing else reads as finished."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import LocalStore, MemoryStore

from tests.helpers import StoreFailureError, WatchedStore, opened, opened_tree
from xarray_omezarr import OmeZarrError

if TYPE_CHECKING:
    from pathlib import Path


def image(shape: tuple[int, int, int] = (24, 160, 200)) -> xr.DataArray:
    pixels = np.random.default_rng(0).integers(0, 4000, shape, dtype=np.uint16)
    return xr.DataArray(pixels, dims=("z", "y", "x"), name="image")


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def objects(store: MemoryStore) -> dict[str, int]:
    return {key: hash(value.to_bytes()) for key, value in store._store_dict.items()}


class Unreliable:
    """Fail a share of all operations, at random, or all that write after so many bytes."""

    def __init__(self, seed: int, share: float) -> None:
        self.random = np.random.default_rng(seed)
        self.share = share

    def __call__(self, method: str, key: str) -> None:
        if self.random.random() < self.share:
            msg = f"{method} {key}: connection reset"
            raise StoreFailureError(msg)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["numpy", "dask"])
def test_a_store_that_fails_now_and_then(seed: int, kind: str) -> None:
    """Each attempt keeps what the ones before it have written, until there is an image."""
    array = image()
    expected = MemoryStore()
    options: Any = {"levels": 3, "chunks": 32}
    array.omezarr.to_zarr(expected, **options)
    store, hook = MemoryStore(), Unreliable(seed, 0.05)
    source = array.chunk(z=8, y=80) if kind == "dask" else array
    for attempt in range(60):
        try:
            source.omezarr.to_zarr(WatchedStore(store, hook=hook), resume=attempt > 0, **options)
            break
        except (OmeZarrError, StoreFailureError) as error:
            told = str(error)
        assert "connection reset" in told
        try:
            found = opened_tree(store).load()
        except OmeZarrError:
            continue
        np.testing.assert_array_equal(found["0"].image, array)
    left = {key for key in objects(store) if key.startswith(".omezarr")}
    assert not left or attempt == 59
    assert {k: v for k, v in objects(store).items() if k not in left} == objects(expected)


def test_a_store_that_is_full(tmp_path: Path) -> None:
    array = image()
    options: Any = {"levels": 3, "chunks": {"z": 8, "y": 64, "x": 64}}
    array.omezarr.to_zarr(tmp_path / "expected", **options)
    expected = files(tmp_path / "expected")
    room = [sum(map(len, expected.values())) // 2]

    class Full(LocalStore):
        async def set(self, key: str, value: Any) -> None:  # noqa: ANN401
            room[0] -= len(value)
            if room[0] < 0:
                raise OSError(28, "No space left on device")
            await super().set(key, value)

    folder = tmp_path / "full"
    with pytest.raises(OmeZarrError, match="No space left on device"):
        array.omezarr.to_zarr(Full(folder), **options)
    with pytest.raises(OmeZarrError, match="unfinished"):
        opened(folder)
    kept = {key for key in files(folder) if "/c/" in key}
    assert kept
    room[0] = 10**9
    array.omezarr.to_zarr(Full(folder), resume=True, **options)
    assert files(folder) == expected


def test_a_store_for_reading_only(tmp_path: Path) -> None:
    with pytest.raises(OmeZarrError, match="read-only"):
        image().omezarr.to_zarr(LocalStore(tmp_path, read_only=True))
    assert not files(tmp_path)


def test_a_slow_store() -> None:
    array = image((8, 64, 64))
    store, expected = MemoryStore(), MemoryStore()
    array.omezarr.to_zarr(expected, levels=2, chunks=32)
    array.omezarr.to_zarr(WatchedStore(store, latency=0.002), levels=2, chunks=32)
    assert objects(store) == objects(expected)


def test_a_source_that_fails_in_one_block() -> None:
    broken = [True]

    def read(block: np.ndarray[Any, Any], block_info: Any = None) -> np.ndarray[Any, Any]:  # noqa: ANN401
        if broken[0] and block_info and block_info[0]["chunk-location"] == (1, 1, 1):
            msg = "the camera's file is damaged"
            raise RuntimeError(msg)
        return block

    data: Any = image().chunk(z=8, y=80, x=100).data
    array = image().copy(data=data.map_blocks(read, dtype=np.uint16, meta=data._meta, name="read"))
    store = MemoryStore()
    with pytest.raises(RuntimeError, match="damaged"):
        array.omezarr.to_zarr(store, levels=2, chunks=16)
    with pytest.raises(OmeZarrError, match="unfinished"):
        opened(store)
    broken[0] = False
    array.omezarr.to_zarr(store, levels=2, chunks=16, resume=True)
    np.testing.assert_array_equal(opened(store).image, image())
