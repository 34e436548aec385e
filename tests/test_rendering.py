"""Pictures of images: the same whatever the pixels come from, and in whatever blocks."""

from __future__ import annotations

import asyncio
import pickle
import re
import tracemalloc
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from skimage.segmentation import find_boundaries
from zarr.storage import MemoryStore

from tests.helpers import WatchedStore, multiscales, opened, put_array, put_document
from tests.pictures import by_hand
from xarray_omezarr import OmeZarrError, rendering, samples
from xarray_omezarr.composite import distinct_colors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

COLORS = ["FF0000", "00FF00", "0000FF", "FFFFFF", "017FFE"]
WINDOWS: dict[str, tuple[float, float]] = {
    "uint8": (10, 200),
    "uint16": (100, 50_000),
    "float32": (-0.1, 0.9),
}
SHAPE = (60, 52)


def channels(count: int, dtype: str, shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    random = np.random.default_rng(count)
    if dtype == "float32":
        return random.normal(0.4, 0.4, (count, *shape)).astype(dtype)
    return random.integers(0, np.iinfo(dtype).max, (count, *shape), dtype, endpoint=True)


def looked(count: int, dtype: str) -> xr.Dataset:
    """Give an image whose looks are known."""
    start, end = WINDOWS[dtype]
    windows = [(start * (1 + i / 4), end * (1 - i / 9)) for i in range(count)]
    coords = {"y": 0.5 * np.arange(SHAPE[0]), "x": 10 + 0.5 * np.arange(SHAPE[1])}
    image = xr.DataArray(channels(count, dtype), dims=("c", "y", "x"), coords=coords)
    names = [f"marker {i}" for i in range(count)]
    ds = xr.Dataset({"image": image}, attrs={"name": "cells"})
    made: xr.Dataset = ds.omezarr.assign_channels(names, colors=COLORS[:count], windows=windows)
    return made


def expected_of(ds: xr.Dataset, where: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    some = range(ds.sizes["c"]) if where is None else where
    colors = [bytes.fromhex(str(ds.c_color.values[i])) for i in some]
    windows = [(float(ds.c_window_start[i]), float(ds.c_window_end[i])) for i in some]
    return by_hand([ds.image.isel(c=i).values for i in some], map(list, colors), windows)


def nuclei(shape: tuple[int, ...] = SHAPE, *, seed: int = 0) -> NDArray[np.uint32]:
    """Give labels in boxes that touch one another, and the borders."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    for label in range(1, 30):
        begin = [random.integers(0, size) for size in shape]
        labels[tuple(slice(b, b + random.integers(2, 15)) for b in begin)] = label
    return labels


# ── channels ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", WINDOWS)
def test_pictures_agree_to_the_last_bit_with_plain_numpy(
    count: int, dtype: str, tmp_path: Path
) -> None:
    ds = looked(count, dtype)
    expected = expected_of(ds)
    ds.omezarr.to_zarr(tmp_path / "image.zarr", chunks={"c": 2, "y": 16, "x": 24}, levels=1)
    stored = opened(tmp_path / "image.zarr")

    for image in (
        ds,
        stored,
        ds.chunk(y=17, x=23),
        ds.chunk(c=2, y=60, x=5),
        xr.open_dataset(tmp_path / "image.zarr", engine="omezarr", chunks={}),
        ds.transpose("y", "c", "x"),
        stored.transpose("y", "x", "c"),
    ):
        rgb = image.omezarr.to_rgb()
        assert rgb.dims == ("y", "x", "rgb")
        assert rgb.dtype == np.uint8
        assert (rgb.chunks is None) == (image.image.chunks is None)
        assert np.array_equal(rgb.values, expected)


def test_all_but_the_channels_stays() -> None:
    ds = looked(2, "uint8").expand_dims(t=[0.0, 30.0], z=[1.0, 2.0, 3.0])
    ds = ds.assign_coords(note="kept", plane=("z", list("abc")))
    rgb = ds.omezarr.to_rgb(alpha=True)

    assert rgb.sizes == {"t": 2, "z": 3, "y": 60, "x": 52, "rgba": 4}
    assert set(rgb.coords) == {"t", "z", "y", "x", "note", "plane", "rgba"}
    xr.testing.assert_identical(rgb.x.drop_vars("note"), ds.x.drop_vars("note"))
    assert rgb.rgba.values.tolist() == ["r", "g", "b", "a"]
    assert rgb.name == "image"
    assert rgb.attrs["channels"] == ["marker 0", "marker 1"]
    assert (
        rgb.attrs["windows"] == "marker 0 10 to 200, marker 1 12.5 to 177.778 (as the image says)"
    )
    assert np.array_equal(rgb.values[1, 2, ..., :3], expected_of(looked(2, "uint8")))


def test_an_image_without_channels_is_grey() -> None:
    ds = samples.coins()
    rgb = ds.omezarr.to_rgb(windows=(0, 255))
    assert np.array_equal(rgb.values, ds.image.values[..., np.newaxis].repeat(3, -1))
    one = samples.fluorescence().isel(t=0, z=0)
    green = one.sel(c="GFP").omezarr.to_rgb()
    assert np.array_equal(green.values, one.omezarr.to_rgb(channels="GFP").values)
    assert not green.values[..., [0, 2]].any()


def test_a_photograph_is_what_it_was() -> None:
    image = samples.astronaut().image
    rgb = image.drop_vars(["c", "c_color"], errors="ignore").omezarr.to_rgb()
    assert np.array_equal(rgb.values, image.transpose("y", "x", "c").values)


def test_a_mask_is_black_and_white() -> None:
    mask = xr.DataArray(np.eye(3, dtype=bool), dims=("y", "x"))
    assert mask.omezarr.to_rgb().values[..., 2].tolist() == (255 * np.eye(3)).tolist()


def test_channels_colours_and_windows_are_chosen() -> None:
    ds = looked(5, "uint16")
    start, end = float(ds.c_window_start[3]), float(ds.c_window_end[3])
    rgb = ds.omezarr.to_rgb(
        channels=["marker 3", 1], windows={1: (5, 6000)}, colors={"marker 3": "cyan"}
    )
    planes = [ds.image.values[3], ds.image.values[1]]
    colors = [(0, 255, 255), (0, 255, 0)]
    assert np.array_equal(rgb.values, by_hand(planes, colors, [(start, end), (5, 6000)]))
    assert rgb.attrs["channels"] == ["marker 3", "marker 1"]


@pytest.mark.parametrize("lazy", [False, True])
def test_many_channels_in_shuffled_order(lazy: bool, tmp_path: Path) -> None:  # noqa: FBT001
    ds = looked(5, "uint16")
    ds.omezarr.to_zarr(tmp_path / "image.zarr", chunks={"c": 2, "y": 16, "x": 24}, levels=1)
    stored = opened(tmp_path / "image.zarr")
    asked = (4, 0, 1, 3)
    rgb = (stored.chunk(c=3) if lazy else stored).omezarr.to_rgb(channels=asked)
    assert np.array_equal(rgb.values, expected_of(ds, asked))


def test_what_nobody_knows_is_transparent() -> None:
    ds = looked(2, "float32")
    ds.image[:, 3] = np.nan
    ds.image[0, 4] = np.nan
    for image in (ds, ds.chunk(y=7)):
        rgba = image.omezarr.to_rgb(alpha=True).values
        assert not rgba[3].any()
        assert (np.delete(rgba[..., 3], 3, 0) == 255).all()
        assert not rgba[4, :, 0].any()


def test_gamma_and_inversion_come_from_the_file() -> None:
    store = MemoryStore()
    ds = looked(2, "uint8")
    ds.omezarr.to_zarr(store, levels=1)
    import zarr

    group = zarr.open_group(store)
    ome: Any = group.attrs["ome"]
    ome["omero"]["channels"][0] |= {"family": "polynomial", "coefficient": 0.5}
    ome["omero"]["channels"][1] |= {"inverted": True}
    group.attrs["ome"] = ome

    rgb = opened(store).omezarr.to_rgb()

    (start, end), pixels = WINDOWS["uint8"], ds.image.values.astype(float)
    position = (pixels[0].clip(start, end) - start) / (end - start)
    assert np.array_equal(rgb.values[..., 0], np.floor(255 * position**0.5 + 0.5))
    plain = expected_of(ds)
    assert np.array_equal(rgb.values[..., 1], 255 - plain[..., 1])


# ── selections ───────────────────────────────────────────────────────────────────────────────────


SELECTIONS: list[Mapping[str, Any]] = [
    {"y": 7},
    {"y": -1, "rgb": 1},
    {"y": slice(3, 50, 7), "x": [4, 9, 51, 3, 3]},
    {"y": slice(None, None, -1), "x": slice(20, 21)},
    {"y": slice(0), "rgb": [2, 0]},
    {"y": np.arange(60) % 3 == 0, "x": 0},
]


@pytest.mark.parametrize("where", SELECTIONS)
@pytest.mark.parametrize("overlay", ["filled", "outlines"])
def test_a_part_of_a_picture_is_a_part_of_it(
    where: Mapping[str, Any],
    overlay: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    ds = looked(3, "uint16").assign(nuclei=(("y", "x"), nuclei()))
    ds.omezarr.to_zarr(
        tmp_path / "image.zarr", labels=["nuclei"], levels=1, chunks={"c": 2, "y": 16, "x": 24}
    )
    for image in (ds, opened(tmp_path / "image.zarr"), ds.chunk(y=11, x=13)):
        whole = image.omezarr.to_rgb(labels="nuclei", overlay=overlay).compute()
        part = image.omezarr.to_rgb(labels="nuclei", overlay=overlay).isel(where)
        xr.testing.assert_identical(part.compute(), whole.isel(where))


def test_a_selection_reads_the_chunks_below_it() -> None:
    store = MemoryStore()
    ds = looked(3, "uint16").assign(nuclei=(("y", "x"), nuclei()))
    ds.omezarr.to_zarr(store, labels=["nuclei"], levels=1, chunks={"c": 1, "y": 20, "x": 13})
    watched = WatchedStore(store)
    image = opened(watched)
    watched.log.clear()

    rgb = image.omezarr.to_rgb(channels=[0, 2], labels="nuclei", overlay="outlines")
    assert watched.log.keys("get") == []
    part = rgb.isel(y=slice(21, 39), x=slice(14, 25))
    part.load()

    found = sorted(key for key in watched.log.keys("get") if "/c/" in key)
    assert len(found) == 3
    assert sorted("labels" in key for key in found) == [False, False, True]


def test_each_chunk_is_read_once() -> None:
    store = MemoryStore()
    looked(5, "uint16").omezarr.to_zarr(store, levels=1, chunks={"c": 3, "y": 20, "x": 13})
    watched = WatchedStore(store)
    image = opened(watched)
    watched.log.clear()
    image.omezarr.to_rgb().load()
    found = [key for key in watched.log.keys("get") if "/c/" in key]
    assert len(found) == len(set(found)) == 2 * 3 * 4


def test_a_picture_takes_a_few_blocks_of_memory(tmp_path: Path) -> None:
    pixels = da.zeros((4, 4096, 4096), dtype=np.uint16, chunks=(1, 1024, 1024)) + np.uint16(7)
    big = xr.DataArray(pixels, dims=("c", "y", "x"))
    big.omezarr.to_zarr(tmp_path / "big.zarr", levels=1, chunks={"c": 1, "y": 1024, "x": 1024})
    rgb = opened(tmp_path / "big.zarr").omezarr.to_rgb(windows=(0, 14))

    tracemalloc.start()
    try:
        values = rgb.values
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (values.reshape(-1, 3) == values[0, 0]).all()
    assert most < values.nbytes + 80 * 2**20


@pytest.mark.usefixtures("_forked")
def test_pictures_travel_and_are_awaited(tmp_path: Path) -> None:
    ds = looked(2, "uint16").assign(nuclei=(("y", "x"), nuclei()))
    ds.omezarr.to_zarr(tmp_path / "image.zarr", labels=["nuclei"], levels=1)
    rgb = opened(tmp_path / "image.zarr").omezarr.to_rgb(labels="nuclei", overlay="outlines")
    expected = ds.omezarr.to_rgb(labels="nuclei", overlay="outlines").values

    assert np.array_equal(pickle.loads(pickle.dumps(rgb)).values, expected)  # noqa: S301 - own
    assert np.array_equal(asyncio.run(rgb.load_async()).values, expected)
    assert np.array_equal(rgb.chunk(y=10).compute(scheduler="processes").values, expected)


# ── projections ──────────────────────────────────────────────────────────────────────────────────


def stack() -> xr.Dataset:
    pixels = channels(2, "uint16", (5, 30, 20))
    ds = xr.Dataset({"image": (("c", "z", "y", "x"), pixels)})
    ds = ds.omezarr.assign_channels(["a", "b"], colors=COLORS[:2], windows=[(0, 60_000)] * 2)
    made: xr.Dataset = ds.assign(nuclei=(("z", "y", "x"), nuclei((5, 30, 20))))
    return made


@pytest.mark.parametrize("how", ["max", "mean", "min"])
def test_stacks_are_projected_before_they_are_coloured(how: str) -> None:
    ds = stack()
    values = getattr(ds.image.values, how)(axis=1)
    expected = by_hand(values, [(255, 0, 0), (0, 255, 0)], [(0, 60_000)] * 2)
    for image in (ds, ds.chunk(z=2, y=7)):
        rgb = image.omezarr.to_rgb(project={"z": how})
        assert rgb.dims == ("y", "x", "rgb")
        assert np.array_equal(rgb.values, expected)


def test_a_sum_has_windows_of_its_own() -> None:
    ds = stack()
    rgb = ds.omezarr.to_rgb(project={"z": "sum"})
    assert "percentiles 0.1 and 99.9 of the image" in rgb.attrs["windows"]
    total = ds.image.values.sum(1, dtype=np.int64)
    windows = [np.percentile(one, (0.1, 99.9), method="nearest") for one in total]
    expected = by_hand(total, [(255, 0, 0), (0, 255, 0)], [(a, b) for a, b in windows])
    assert np.array_equal(rgb.values, expected)


def test_a_sum_has_the_windows_of_as_many_planes() -> None:
    store = MemoryStore()
    scales, origins = [[1.0, 1.0, 1.0], [4.0, 2.0, 2.0]], [[0.0, 0.0, 0.0], [1.5, 0.5, 0.5]]
    document = multiscales("zyx", ["0", "1"], scales, origins)
    put_document(store, {"multiscales": [document]}, version="0.5")
    values = np.arange(2**18, dtype=np.uint32).reshape(1, 512, 512).repeat(8, 0)
    put_array(store, "0", values, version="0.5", dims="zyx", chunks=(8, 512, 512))
    coarse = values[::4, ::2, ::2]
    put_array(store, "1", coarse, version="0.5", dims="zyx", chunks=(2, 256, 256))
    rgb = opened(store).omezarr.to_rgb(project={"z": "sum"})
    assert rgb.values.mean() == pytest.approx(255 / 2, rel=0.01)
    rgb = opened(store).omezarr.to_rgb(project={"z": "mean"})
    assert rgb.attrs["windows"].endswith("of level 1)")


def test_a_projection_keeps_curves(tmp_path: Path) -> None:
    channel = {"color": "FFFFFF", "window": {"start": 0, "end": 100, "min": 0, "max": 100}}
    document: Any = {
        "multiscales": [multiscales("czyx", ["0"], [[1.0] * 4], [[0.0] * 4])],
        "omero": {"channels": [{**channel, "label": "a", "inverted": True}]},
    }
    put_document(str(tmp_path), document, version="0.4")
    put_array(str(tmp_path), "0", np.full((1, 3, 2, 2), 100, "u1"), version="0.4", dims="czyx")
    ds = opened(str(tmp_path))
    assert not ds.omezarr.to_rgb().values.any()
    assert not ds.omezarr.to_rgb(project={"z": "max"}).values.any()


def test_a_projection_reads_each_chunk_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    document = {"multiscales": [multiscales("zyx", ["0"], [[1.0] * 3], [[0.0] * 3])]}
    put_document(store, document, version="0.5")
    put_array(store, "0", np.ones((2, 64, 64), "u1"), version="0.5", dims="zyx",
              chunks=(1, 32, 32))  # fmt: skip
    watched = WatchedStore(store)
    monkeypatch.setattr(rendering, "_BLOCK", 64 * 20)
    rgb = opened(watched).omezarr.to_rgb(project={"z": "max"}, windows=(0, 1))
    watched.log.clear()
    assert (rgb.values == 255).all()
    assert len([key for key in watched.log.keys("get") if "/c/" in key]) == 8


def test_of_labels_that_are_projected_the_greatest_is_shown() -> None:
    ds = stack()
    flat = ds.max("z", keep_attrs=True).assign_coords(ds.c.coords)
    for image in (ds, ds.chunk(z=2, y=7)):
        for overlay in ("filled", "outlines"):
            found = image.omezarr.to_rgb(labels="nuclei", overlay=overlay, project={"z": "max"})
            expected = flat.omezarr.to_rgb(labels="nuclei", overlay=overlay)
            assert np.array_equal(found.values, expected.values)


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def colored() -> xr.Dataset:
    ds = looked(2, "uint8").assign(nuclei=(("y", "x"), nuclei()))
    made: xr.Dataset = ds.omezarr.color_labels("nuclei", {3: "#FF8000", 5: "#00FFFF40"})
    return made


def test_labels_are_shown_in_their_own_colours() -> None:
    ds = colored()
    plain, labels = ds.omezarr.to_rgb().values, ds.nuclei.values
    found = ds.omezarr.to_rgb(labels="nuclei").values.astype(int)

    assert np.array_equal(
        found[(labels != 3) & (labels != 5)], plain[(labels != 3) & (labels != 5)]
    )
    for label, color, a in ((3, (255, 128, 0), 128), (5, (0, 255, 255), 32)):
        below = plain[labels == label].astype(int)
        expected = np.rint((below * (255 - a) + np.array(color) * a) / 255)
        assert len(below)
        assert np.array_equal(found[labels == label], expected)


def test_labels_without_colours_have_distinct_ones() -> None:
    ds = colored().drop_dims("nuclei_id")
    plain, labels = ds.omezarr.to_rgb().values, ds.nuclei.values
    found = ds.omezarr.to_rgb(labels="nuclei", overlay="outlines").values

    edge = find_boundaries(labels, connectivity=1, mode="inner")
    assert np.array_equal(found[~edge], plain[~edge])
    assert np.array_equal(found[edge], distinct_colors(labels[edge])[:, :3])
    # Those that color_labels gives are the same.
    again = ds.omezarr.color_labels("nuclei").omezarr.to_rgb(labels="nuclei", overlay="outlines")
    assert np.array_equal(again.values, found)


@pytest.mark.parametrize("chunks", [{"y": 1, "x": 1}, {"y": 7, "x": 52}, {"y": (2, 58), "x": 13}])
def test_outlines_do_not_know_of_blocks(chunks: dict[str, Any]) -> None:
    ds = colored().isel(y=slice(12), x=slice(12)) if chunks["y"] == 1 else colored()
    whole = ds.omezarr.to_rgb(labels="nuclei", overlay="outlines").values
    for image in (ds.chunk(chunks), ds.assign(nuclei=ds.nuclei.chunk(chunks)),
                  ds.assign(image=ds.image.chunk(chunks))):  # fmt: skip
        rgb = image.omezarr.to_rgb(labels="nuclei", overlay="outlines")
        assert rgb.chunks is not None
        assert np.array_equal(rgb.values, whole)


def test_labels_hold_along_axes_that_they_lack() -> None:
    ds = looked(2, "uint8").expand_dims(t=3)
    ds = ds.assign(nuclei=(("y", "x"), nuclei()))
    whole = looked(2, "uint8").assign(nuclei=(("y", "x"), nuclei()))
    for overlay in ("filled", "outlines"):
        expected = whole.omezarr.to_rgb(labels="nuclei", overlay=overlay).values
        for image in (ds, ds.chunk(y=8, t=1), ds.transpose("x", "t", "c", "y")):
            rgb = image.omezarr.to_rgb(labels="nuclei", overlay=overlay)
            assert np.array_equal(rgb.transpose("t", "y", "x", "rgb").values[2], expected)


def test_outlines_are_those_of_each_plane() -> None:
    ds = stack()
    rgb = ds.omezarr.to_rgb(labels="nuclei", overlay="outlines").values
    for z in range(5):
        plane = ds.isel(z=z).omezarr.to_rgb(labels="nuclei", overlay="outlines")
        assert np.array_equal(rgb[z], plane.values)


def test_outlines_of_a_transposed_image_are_the_same() -> None:
    ds = xr.Dataset({"image": (("z", "y", "x"), channels(3, "uint8"))})
    ds = ds.assign(nuclei=(("z", "y", "x"), np.stack([nuclei(seed=k) for k in range(3)])))
    found = ds.transpose("x", "y", "z").omezarr.to_rgb(labels="nuclei", overlay="outlines")
    expected = ds.omezarr.to_rgb(labels="nuclei", overlay="outlines")
    np.testing.assert_array_equal(found.transpose(*expected.dims), expected)


def test_labels_are_there_where_the_image_is_not() -> None:
    ds = looked(1, "float32").assign(nuclei=(("y", "x"), nuclei()))
    ds.image[:] = np.nan
    rgba = ds.omezarr.to_rgb(labels="nuclei", overlay="outlines", alpha=True).values
    edge = find_boundaries(ds.nuclei.values, connectivity=1, mode="inner")
    assert np.array_equal(rgba[..., 3], 255 * edge)


# ── levels and windows ───────────────────────────────────────────────────────────────────────────


def leveled(store: Any, *, windows: bool = True) -> xr.Dataset:  # noqa: ANN401 - where it goes
    random = np.random.default_rng(0)
    pixels = random.integers(0, 60_000, (2, 1024, 1024), np.uint16)
    ds = xr.Dataset({"image": (("c", "y", "x"), pixels)})
    if windows:
        ds = ds.omezarr.assign_channels(["a", "b"], colors=COLORS[:2], windows=[(0, 60_000)] * 2)
    ds = ds.assign(nuclei=(("y", "x"), nuclei((1024, 1024))))
    ds.omezarr.to_zarr(store, labels=["nuclei"], levels=3, chunks={"c": 1, "y": 256, "x": 256})
    return opened(store)


def test_another_level_of_the_file_is_shown(tmp_path: Path) -> None:
    ds = leveled(tmp_path / "image.zarr")
    ds = ds.omezarr.assign_channels(["x", "y"], colors=["FFFFFF", "0000FF"])
    coarse = opened(tmp_path / "image.zarr", level=2)
    coarse = coarse.omezarr.assign_channels(["x", "y"], colors=["FFFFFF", "0000FF"])
    for overlay in ("filled", "outlines"):
        found = ds.omezarr.to_rgb(2, labels="nuclei", overlay=overlay)
        assert found.chunks is None
        xr.testing.assert_identical(found, coarse.omezarr.to_rgb(labels="nuclei", overlay=overlay))
    assert ds.image.omezarr.to_rgb(-1).sizes == {"y": 256, "x": 256, "rgb": 3}


@pytest.mark.parametrize("level", [0, 1])
def test_another_level_is_where_the_image_has_been_moved_to(tmp_path: Path, level: int) -> None:
    ds = leveled(tmp_path / "image.zarr")
    moved = ds.assign_coords(x=10 - 2 * ds.x)
    found, there = moved.omezarr.to_rgb(level, labels="nuclei"), ds.omezarr.to_rgb(level)
    np.testing.assert_allclose(found.x, 10 - 2 * there.x, rtol=0, atol=1e-9)
    assert np.array_equal(found.y, there.y)


def test_labels_that_are_no_file_s_are_brought_to_the_level(tmp_path: Path) -> None:
    ds = leveled(tmp_path / "image.zarr")
    ds = ds.assign(own=ds.nuclei.load() * 2).drop_vars("nuclei")
    rgb = ds.omezarr.to_rgb(1, labels="own", overlay="outlines")
    assert rgb.sizes == {"y": 512, "x": 512, "rgb": 3}
    assert not np.array_equal(rgb.values, ds.omezarr.to_rgb(1).values)


def test_levels_of_labels_that_lie_elsewhere_are_not_laid_on_by_number(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256), "uint8")
    cells = (np.arange(256) + 2) // 4
    ds = xr.Dataset({"image": (("y", "x"), pixels)})
    ds = ds.assign(cells=(("y", "x"), (64 * cells[:, None] + cells).astype("int32")))
    ds.omezarr.to_zarr(tmp_path, labels=["cells"], levels=4, method="mean")
    group = zarr.open_group(tmp_path / "labels" / "cells", mode="r+")
    ome: Any = dict(group.attrs)["ome"]
    for number, level in enumerate(ome["multiscales"][0]["datasets"]):
        # As strides leave them: each pixel is where the first of its block is.
        level["coordinateTransformations"][1:] = []
        array: Any = group[level["path"]]
        array[:] = ds.cells.values[:: 2**number, :: 2**number]
    group.attrs["ome"] = ome
    ds = opened(tmp_path)
    found = ds.omezarr.to_rgb(3, labels="cells")
    coarse = opened(tmp_path, level=3, labels=False)
    # Those in the middle of eight by eight pixels.
    coarse["cells"] = (("y", "x"), ds.cells.values[3::8, 3::8])
    np.testing.assert_array_equal(found, coarse.omezarr.to_rgb(labels="cells"))


@pytest.mark.parametrize("lazy", [True, False])
def test_labels_are_brought_to_a_level_without_coordinates(
    tmp_path: Path,
    lazy: bool,  # noqa: FBT001
) -> None:
    ds = leveled(tmp_path / "image.zarr")
    bare = ds.drop_vars(["y", "x"]) if lazy else ds.assign(nuclei=ds.nuclei.load())
    bare = bare.drop_vars(["y", "x"], errors="ignore")
    found = bare.omezarr.to_rgb(1, labels="nuclei")
    assert set(found.coords) == {"rgb"}
    if lazy:
        np.testing.assert_array_equal(found, ds.omezarr.to_rgb(1, labels="nuclei"))


@pytest.mark.parametrize("values", [np.arange(1024.0) ** 2, np.arange(1024).astype(str)])
def test_coordinates_that_say_nothing_of_a_level_are_told(
    tmp_path: Path, values: NDArray[Any]
) -> None:
    ds = leveled(tmp_path / "image.zarr").assign_coords(x=values)
    with pytest.raises(OmeZarrError, match=r"dimension 'x' is not evenly .*drop_vars\('x'\)"):
        ds.omezarr.to_rgb(1)


def test_levels_that_are_not_known_are_told(tmp_path: Path) -> None:
    ds = leveled(tmp_path / "image.zarr")
    with pytest.raises(OmeZarrError, match=r"no level 3; there are 3"):
        ds.omezarr.to_rgb(3)
    with pytest.raises(OmeZarrError, match=r"level=1: 'image' is not all of the lazy array that"):
        ds.isel(x=slice(5)).omezarr.to_rgb(1)


def test_windows_are_chosen_from_a_coarse_level() -> None:
    store = MemoryStore()
    leveled(store, windows=False)
    watched = WatchedStore(store)
    image = opened(watched)
    watched.log.clear()

    rgb = image.omezarr.to_rgb()

    # 256 × 256 pixels are enough, and those of level 2 are one chunk for each channel.
    assert [key for key in watched.log.keys("get") if "/c/" in key] == ["2/c/0/0/0", "2/c/1/0/0"]
    assert rgb.attrs["windows"].endswith("(percentiles 0.1 and 99.9 of level 2)")
    pixels = opened(store, level=2).image.values
    windows = [np.percentile(one, (0.1, 99.9), method="nearest") for one in pixels]
    expected = by_hand(
        opened(store).image.values, [(255, 0, 255), (0, 255, 0)], [(a, b) for a, b in windows]
    )
    assert np.array_equal(rgb.values, expected)


def test_windows_of_an_image_without_coarse_levels_cost_a_part_of_it() -> None:
    store = MemoryStore()
    image = xr.DataArray(
        da.zeros((20, 2048, 1024), dtype=np.uint8, chunks=(20, 1024, 1024)),
        dims=("z", "y", "x"),
    )
    image.omezarr.to_zarr(store, levels=1, chunks={"z": 1, "y": 256, "x": 256})
    watched = WatchedStore(store)
    lazy = opened(watched)
    watched.log.clear()
    lazy.omezarr.to_rgb()
    # Sixteen squares of each of eight planes, in no more than four chunks each.
    found = {key for key in watched.log.keys("get") if "/c/" in key}
    assert len({key.split("/")[2] for key in found}) == 8


@pytest.mark.parametrize("lazy", [False, True])
def test_windows_of_what_is_in_memory_are_those_of_its_pixels(lazy: bool) -> None:  # noqa: FBT001
    pixels = np.arange(1001.0).reshape(7, 11, 13)
    image = xr.DataArray(pixels, dims=("z", "y", "x"))
    rgb = (image.chunk(z=1) if lazy else image).omezarr.to_rgb()
    assert rgb.attrs["windows"] == "1 to 999 (percentiles 0.1 and 99.9 of the image)"
    assert rgb.values[..., 0].ravel()[[0, 1, 500, 999, 1000]].tolist() == [0, 0, 128, 255, 255]


# ── what cannot be shown ─────────────────────────────────────────────────────────────────────────


def test_labels_that_cannot_be_shown_are_told() -> None:
    ds = colored()
    with pytest.raises(OmeZarrError, match=r"no label image 'cells' in .* are: nuclei"):
        ds.omezarr.to_rgb(labels="cells")
    for one in (5, True):
        with pytest.raises(OmeZarrError, match=rf"no label image {re.escape(repr(one))} in this"):
            ds.omezarr.to_rgb(labels=one)
    with pytest.raises(OmeZarrError, match="project='max': expected how dimensions are brought"):
        ds.omezarr.to_rgb(project="max")
    with pytest.raises(OmeZarrError, match=r"overlay='dotted': expected 'filled' or 'outlines'"):
        ds.omezarr.to_rgb(labels="nuclei", overlay="dotted")
    with pytest.raises(OmeZarrError, match=r"overlay=\[\]: expected 'filled' or 'outlines'"):
        ds.omezarr.to_rgb(labels="nuclei", overlay=[])
    with pytest.raises(OmeZarrError, match="'nuclei' is no label image: it is of type float64"):
        ds.assign(nuclei=ds.nuclei * 1.0).omezarr.to_rgb(labels="nuclei")
    odd = ds.assign_coords(nuclei_color=("nuclei_id", ["red"] * ds.sizes["nuclei_id"]))
    with pytest.raises(OmeZarrError, match=r"'nuclei_color': 'red' is no colour; .*color_labels"):
        odd.omezarr.to_rgb(labels="nuclei")
    more = ds.assign(nuclei=ds.nuclei.expand_dims(q=2))
    with pytest.raises(OmeZarrError, match=r"labels='nuclei': .* differ along q"):
        more.omezarr.to_rgb(labels="nuclei")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"project": "max"}, "project='max': expected how"),
        ({"project": 5}, "project=5: expected"),
        ({"channels": 1.5}, "there is no channel 1.5"),
        ({"project": {"c": "max"}}, "channels are not brought down, .* channels= says which"),
        ({"channels": None, "project": {"z": ["max"]}}, "expected a dimension of the image"),
    ],
    ids=["text", "number", "channel", "along", "list"],
)
def test_arguments_of_other_kinds_are_told(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(OmeZarrError, match=said):
        stack().omezarr.to_rgb(**arguments)


def test_names_that_are_taken_are_told() -> None:
    image = xr.DataArray(np.zeros((2, 3, 4), np.uint8), dims=("rgb", "y", "x"))
    image = image.assign_coords(rgb=("rgb", [0, 1], {"type": "space"}))
    with pytest.raises(OmeZarrError, match=r"A dimension is named 'rgb'"):
        image.omezarr.to_rgb(windows=(0, 1))


@pytest.mark.parametrize("shape", [(2, 0, 5), (2, 4, 0, 5), (0, 2, 3, 4)])
@pytest.mark.parametrize("lazy", [False, True])
def test_what_has_no_pixels_has_none(shape: tuple[int, ...], lazy: bool) -> None:  # noqa: FBT001
    dims = ("t", "c", "y", "x") if len(shape) == 4 else ("c", "y", "x")
    image = xr.DataArray(np.zeros(shape, np.uint16), dims=dims)
    rgb = (image.chunk() if lazy else image).omezarr.to_rgb()
    assert rgb.values.shape == (*(n for d, n in image.sizes.items() if d != "c"), 3)


def test_what_has_no_brightness_or_no_channel_is_told() -> None:
    image = xr.DataArray(np.zeros((2, 3, 4), complex), dims=("c", "y", "x"))
    with pytest.raises(OmeZarrError, match="type complex128 have no brightness"):
        image.omezarr.to_rgb()
    with pytest.raises(OmeZarrError, match="no channel along 'c'; expected one"):
        image.real.isel(c=slice(0)).omezarr.to_rgb()
