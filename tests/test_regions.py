"""A part of an image that is there: what is written is what writing everything at once gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from tests.helpers import StoreFailureError, WatchedStore, failing_after, opened, opened_tree
from xarray_omezarr import OmeZarrError, OmeZarrWarning, plan
from xarray_omezarr.errors import OmeZarrFileExistsError

if TYPE_CHECKING:
    from pathlib import Path

LEVELS = [{"y": 2, "x": 3}, {"y": 4, "x": 6}]


def movie(shape: tuple[int, ...] = (6, 2, 35, 50), seed: int = 0) -> xr.DataArray:
    pixels = np.random.default_rng(seed).integers(1, 4000, shape, dtype=np.uint16)
    array = xr.DataArray(pixels, dims=("t", "c", "y", "x"), name="image")
    scaled: xr.DataArray = array.omezarr.assign_scale(
        t=30.0, y=0.5, x=0.5, translation={"y": 10.0}, units={"t": "second", "y": "micrometer"}
    )
    return scaled.assign_coords(c=["DAPI", "GFP", "RFP", "Cy5"][: shape[1]])


def objects(store: MemoryStore) -> dict[str, bytes]:
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


def written(array: xr.DataArray, **options: Any) -> MemoryStore:  # noqa: ANN401
    store = MemoryStore()
    array.omezarr.to_zarr(
        store, levels=LEVELS, chunks={"t": 2, "c": 1, "y": 16, "x": 16}, **options
    )
    return store


@st.composite
def windows(draw: st.DrawFn) -> dict[str, slice]:
    sizes = {"t": 6, "c": 2, "y": 35, "x": 50}
    chosen = {}
    for dim, size in sizes.items():
        start = draw(st.integers(0, size - 1))
        chosen[dim] = slice(start, draw(st.integers(start + 1, size)))
    return chosen


@settings(max_examples=60, deadline=None)
@given(
    windows(),
    st.fixed_dictionaries(
        {
            "method": st.sampled_from(["mean", "nearest", "mode", "gaussian", "linear", "max"]),
            "boundary": st.sampled_from(["pad", "trim"]),
            "version": st.sampled_from(["0.4", "0.5"]),
        }
    ),
    st.sampled_from(["numpy", "dask", "lazy"]),
)
def test_a_region_is_up_to_date_on_every_level(
    window: dict[str, slice],
    options: dict[str, Any],
    kind: str,
) -> None:
    old, new = movie(), movie(seed=1)
    whole = old.copy()
    whole[window] = new[window]
    if options["version"] == "0.5" and window["y"].start % 2:
        options["shards"] = {"y": 32, "x": 32}
    store = written(old, **options)
    part = new
    if kind == "dask":
        part = new.chunk(t=1, c=2, y=11, x=13)
    elif kind == "lazy":
        source = MemoryStore()
        new.omezarr.to_zarr(source, levels=1, chunks=10)
        part = opened(source).image
    part[window].omezarr.to_zarr(store, region=window if kind == "numpy" else "auto")
    assert objects(store) == objects(written(whole, **options))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.sampled_from(["mean", "gaussian"]),
    st.sampled_from([None, {"t": 4}]),
    st.booleans(),
)
def test_an_image_grows(lengths: list[int], method: str, shards: Any, chunked: bool) -> None:  # noqa: ANN401, FBT001
    whole = movie((sum(lengths), 2, 20, 20))
    start, stop = 0, lengths[0]
    store = written(whole[:stop], method=method, shards=shards)
    for length in lengths[1:]:
        start, stop = stop, stop + length
        part = whole[start:stop].chunk(t=1) if chunked else whole[start:stop]
        part.omezarr.to_zarr(store, append_dim="t")
    xr.testing.assert_identical(
        opened_tree(store).load(), opened_tree(written(whole, method=method)).load()
    )


def test_channels_grow_with_their_names() -> None:
    whole = movie((2, 4, 20, 20))
    store = written(whole[:, :2])
    whole[:, 2:3].omezarr.to_zarr(store, append_dim="c")
    whole[:, 3:].drop_vars("c").omezarr.to_zarr(store, append_dim="c")
    found = opened(store)
    assert found.c.values.tolist() == ["DAPI", "GFP", "RFP", "Channel 3"]
    np.testing.assert_array_equal(found.image, whole)
    with pytest.raises(OmeZarrError, match="GFP already"):
        whole[:, 1:2].omezarr.to_zarr(store, append_dim="c")


def test_names_stay_on_their_channels_where_there_are_too_few(tmp_path: Path) -> None:
    movie((1, 2, 8, 8)).omezarr.to_zarr(tmp_path)
    group = zarr.open_group(tmp_path, mode="r+")
    ome: Any = dict(group.attrs)["ome"]
    del ome["omero"]["channels"][1]
    group.attrs["ome"] = ome
    more = movie((1, 4, 8, 8))[:, 2:]
    with pytest.warns(OmeZarrWarning):
        opened(tmp_path)
    more.omezarr.to_zarr(tmp_path, append_dim="c")
    assert opened(tmp_path).c.values.tolist() == ["DAPI", "Channel 1", "RFP", "Cy5"]


def test_consolidated_metadata_do_not_outlive_a_shape(tmp_path: Path) -> None:
    for version in ("0.4", "0.5"):
        path = tmp_path / version
        movie()[:2].omezarr.to_zarr(path, version=version)
        movie()[2:].omezarr.to_zarr(path, append_dim="t")
        zarr.consolidate_metadata(path) if version == "0.4" else None
        whole = movie((9, 2, 35, 50))
        whole[6:].omezarr.to_zarr(path, append_dim="t")
        array = zarr.open_group(path)["0"]
        assert isinstance(array, zarr.Array)
        assert array.shape[0] == 9


def test_an_image_is_laid_out_and_filled() -> None:
    whole = movie()
    store = written(whole, layout=True)
    for t in range(6):
        with pytest.raises(OmeZarrError, match="laid out"):
            opened(store)
        with pytest.raises(OmeZarrFileExistsError, match="laid out"):
            whole.omezarr.to_zarr(store)
        whole[t].omezarr.to_zarr(store, region="auto")
    assert objects(store) == objects(written(whole))
    visible = written(whole, layout="visible")
    assert not opened(visible).image.any()
    whole.omezarr.to_zarr(visible, region="auto")
    assert objects(visible) == objects(written(whole))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"region": {"y": slice(3, 38)}}, "no place for"),
        ({"region": {"y": slice(0, 35, 2)}}, "step"),
        ({"region": {"q": slice(0, 1)}}, "no q"),
        ({"region": {"t": "all"}}, "auto"),
        ({"region": "auto", "chunks": {"y": 32}}, "chunks="),
        ({"region": "auto", "mode": "w"}, "mode="),
        ({"append_dim": "y"}, "space"),
        ({"append_dim": "t"}, "180"),
        ({"append_dim": "q"}, "no q"),
        ({"layout": "visble"}, "visible"),
        ({"layout": True, "compute": False}, "compute"),
        ({"layout": True, "method": "laplacian", "levels": 2}, "Laplacian"),
        ({"mode": "r+"}, "'a'"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], named: str) -> None:
    store = written(movie())
    before = objects(store)
    target = store if "layout" not in options else MemoryStore()
    with pytest.raises(OmeZarrError, match=named):
        movie().omezarr.to_zarr(target, **options)
    assert objects(store) == before


def test_pixels_are_not_read_from_what_they_are_written_to(tmp_path: Path) -> None:
    movie().omezarr.to_zarr(tmp_path, levels=1)
    for ds in (opened(tmp_path), opened(tmp_path, chunks={}) * 2):
        with pytest.raises(OmeZarrError, match="Load them first"):
            ds.image.isel(y=slice(0, 30)).omezarr.to_zarr(tmp_path, region="auto")
    (opened(tmp_path).load() * np.uint16(2)).omezarr.to_zarr(tmp_path, region="auto")
    np.testing.assert_array_equal(opened(tmp_path).image, movie() * np.uint16(2))


def test_a_region_that_was_interrupted_is_completed_or_covered() -> None:
    old, new = movie(), movie(seed=1)
    window = {"t": slice(1, 3)}
    store = written(old)
    with pytest.raises((OmeZarrError, StoreFailureError)):
        new[window].omezarr.to_zarr(WatchedStore(store, hook=failing_after(6)), region=window)
    with pytest.raises(OmeZarrError, match="t 1:3"):
        new[window].omezarr.to_zarr(store, region=window)
    with pytest.raises(OmeZarrError, match="not this one"):
        new[4:].omezarr.to_zarr(store, region="auto", resume=True)
    covering = {"t": slice(0, 4)}
    new[covering].omezarr.to_zarr(store, region=covering, resume=True)
    whole = old.copy()
    whole[covering] = new[covering]
    assert objects(store) == objects(written(whole))


# ── what else must never be ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [2**11, 2**26])
def test_trimmed_pixels_of_the_first_level_are_written(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are no pixel of the next level, whatever the blocks."""
    for name in ("BLOCK_BYTES", "TILE_BYTES", "PART_BYTES"):
        monkeypatch.setattr(plan, name, size)
    array = movie((1, 1, 65, 97)).isel(t=0, c=0, drop=True)
    store = MemoryStore()
    array.chunk(16).omezarr.to_zarr(store, boundary="trim", levels=4, chunks=16)
    np.testing.assert_array_equal(opened(store).image, array)


def test_chunks_that_are_not_what_dask_says_are_no_image() -> None:
    wrong = da.ones((64, 64), chunks=16, dtype="u2").map_blocks(
        lambda block: block[:-2], dtype="u2"
    )
    store = MemoryStore()
    with pytest.raises(OmeZarrError, match="was said to be"):
        xr.DataArray(wrong, dims=("y", "x")).omezarr.to_zarr(store, chunks=16)
    with pytest.raises(OmeZarrError):
        opened(store)
    unknown = da.ones((64, 64), chunks=16)[da.ones(64, chunks=16) > 0]
    with pytest.raises((OmeZarrError, ValueError), match="chunk"):
        xr.DataArray(unknown, dims=("y", "x")).omezarr.to_zarr(MemoryStore())


def test_a_task_is_computed_once(tmp_path: Path) -> None:
    first, second = movie(), movie(seed=1)
    task = first.omezarr.to_zarr(tmp_path, compute=False)
    task.compute()
    second.omezarr.to_zarr(tmp_path, mode="w")
    with pytest.raises(OmeZarrError, match="computed before"):
        task.compute()
    np.testing.assert_array_equal(opened(tmp_path).image, second)


@pytest.mark.parametrize("kind", ["numpy", "dask", "graph"])
def test_another_source_is_not_resumed(kind: str) -> None:
    one, other = movie(), movie()
    other[5, 1, 34, 48] += 1
    if kind == "dask":
        one, other = one.chunk(t=1), other.chunk(t=1)
    elif kind == "graph":
        one, other = one.chunk(t=1) * np.uint16(2), one.chunk(t=1) * np.uint16(3)
    store = MemoryStore()
    with pytest.raises((OmeZarrError, StoreFailureError)):
        one.omezarr.to_zarr(WatchedStore(store, hook=failing_after(6)), chunks=16)
    if kind == "graph":
        with pytest.warns(OmeZarrWarning, match="your word"):
            other.omezarr.to_zarr(store, chunks=16, resume=True)
    else:
        with pytest.raises(OmeZarrError, match="source"):
            other.omezarr.to_zarr(store, chunks=16, resume=True)


def test_a_lazy_crop_reads_each_chunk_once() -> None:
    source = MemoryStore()
    movie((1, 1, 128, 128)).omezarr.to_zarr(source, levels=1, chunks=32)
    watched = WatchedStore(source)
    crop = opened(watched).image.isel(y=slice(5, 120), x=slice(7, 128))
    watched.log.clear()
    store = MemoryStore()
    crop.omezarr.to_zarr(store, levels=3)
    read = [key for key in watched.log.keys("get") if "/c/" in key]
    assert len(read) == len(set(read)) == 16
    np.testing.assert_array_equal(opened(store).image, crop)


def test_a_pyramid_without_coordinates_has_levels_of_its_own() -> None:
    array = movie((1, 1, 64, 64)).isel(t=0, c=0, drop=True).drop_vars(["y", "x"])
    tree = array.omezarr.pyramid(3)
    store = MemoryStore()
    tree.omezarr.to_zarr(store)
    expected = MemoryStore()
    array.omezarr.to_zarr(expected, levels=3)
    xr.testing.assert_equal(opened_tree(store).load(), opened_tree(expected).load())


def test_a_laplacian_pyramid_has_two_levels_at_least() -> None:
    with pytest.raises(OmeZarrError, match="levels=2"):
        movie((1, 1, 64, 64)).omezarr.to_zarr(MemoryStore(), method="laplacian")
