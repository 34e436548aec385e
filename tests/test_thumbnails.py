from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.core.buffer import cpu

from tests.helpers import (
    WatchedStore,
    multiscales,
    opened,
    opened_tree,
    pixels,
    put_array,
    put_document,
)
from tests.picturing import channels, put_huge
from tests.servers import site
from xarray_omezarr import OmeZarrError, samples
from xarray_omezarr.chunked import part_of
from xarray_omezarr.composite import Look, composite, distinct_colors
from xarray_omezarr.looks import auto_window
from xarray_omezarr.thumbnails import FAR, SIDE, Looking, SkippedError, cost, thumbnail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zarr.storage import MemoryStore

    from tests.servers import Asked
    from xarray_omezarr.thumbnails import Thumbnail

#: What is asked for while it is looked at, of all stores but files.
REQUESTS, NBYTES = FAR


def made(image: xr.DataArray, side: int = SIDE) -> Thumbnail:
    return thumbnail(image, Looking.at(image), side)


def grey(plane: np.ndarray[Any, Any], of: np.ndarray[Any, Any] | None = None) -> Any:  # noqa: ANN401
    """Compose one channel by itself, in the window that is chosen for it."""
    start, end = auto_window(plane if of is None else of)
    return composite([plane], [Look(start=start, end=end)])


# ── the pixels ───────────────────────────────────────────────────────────────────────────────────


def test_of_a_lazy_image_it_is_a_coarse_level(tmp_path: Path) -> None:
    levels = put_huge(tmp_path, (16384, 20480), levels=4)
    found = made(opened(tmp_path).image)
    coarse = levels[3]
    assert coarse is not None
    assert coarse.shape == (256, 320)
    assert found.shown == ("level 3",)
    assert found.pixels.shape == (205, 256, 3)
    # As bright as the level, whatever the size.
    expected = grey(coarse).mean()
    assert found.pixels.mean() == pytest.approx(expected, rel=0.1)
    assert found.extent == (8192.0, 10240.0)
    assert found.bar is not None
    assert found.bar.text == "2 mm"
    # With as many pixels as are wanted, they are the level's own.
    own = made(opened(tmp_path).image, 320)
    np.testing.assert_array_equal(own.pixels, grey(coarse))


def test_of_an_image_in_memory_pixels_are_left_out() -> None:
    values = pixels((1500, 1000))
    image = xr.DataArray(values, dims=("y", "x"))
    found = made(image, 500)
    assert found.shown == ("one pixel of 2",)
    assert found.pixels.shape == (500, 333, 3)
    assert made(image, 750).shown == ()
    small = made(image[:40, :60])
    np.testing.assert_array_equal(small.pixels, grey(values[:40, :60]))
    assert small.extent == (40.0, 60.0)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_channels_in_the_colours_and_windows_of_the_file(tmp_path: Path, count: int) -> None:
    about = channels(count)
    (values,) = put_huge(tmp_path, (count, 120, 100), "cyx", levels=1, extra=about)
    assert values is not None
    found = made(opened(tmp_path).image)
    looks = [
        Look(tuple(bytes.fromhex(one["color"])), one["window"]["start"], one["window"]["end"])  # type: ignore[arg-type]
        for one in about["omero"]["channels"]
    ]
    np.testing.assert_array_equal(found.pixels, composite(list(values), looks))
    assert found.shown == ("level 0", *(f"marker {i}" for i in range(count)))


def test_channels_that_are_off_are_not_read(memory: MemoryStore) -> None:
    about = channels(3)
    about["omero"]["channels"][1]["active"] = False
    put_huge(memory, (3, 300, 300), "cyx", levels=1, chunks=(1, 300, 300), extra=about)
    store = WatchedStore(memory)
    image = opened(store).image
    store.log.clear()
    assert made(image).shown == ("level 0", "marker 0", "marker 2")
    assert store.log.keys("get") == ["0/c/0/0/0", "0/c/2/0/0"]


def test_labels_have_colours_of_their_own(tmp_path: Path) -> None:
    ds = samples.coins()
    ds.omezarr.to_zarr(tmp_path, levels=1)
    expected = distinct_colors(ds.coins.values.ravel())[:, :3].reshape(303, 384, 3)
    expected[ds.coins.values == 0] = 0
    for labels in (ds.coins, opened(tmp_path).coins):
        np.testing.assert_array_equal(made(labels, 384).pixels, expected)


@pytest.mark.parametrize("side", [64, 1280], ids=["whole", "middle"])
def test_labels_that_hold_for_all_times(memory: MemoryStore, side: int) -> None:
    scales, origins = [[1.0, 0.5, 0.5]], [[0.0, 0.0, 0.0]]
    document: Any = {"multiscales": [multiscales("tyx", ["0"], scales, origins)]}
    put_document(memory, document, version="0.5")
    put_document(memory, {"labels": ["cells"]}, version="0.5", group="labels")
    put_document(memory, {**document, "image-label": {}}, version="0.5", group="labels/cells")
    # More may not be decoded, so that there is no picture of all of it.
    values = np.arange(1, side * side + 1, dtype=np.int64).reshape(1, side, side)
    chunks = (1, 64, 64)
    put_array(memory, "0", np.zeros((3, side, side)), version="0.5", dims="tyx", chunks=chunks)
    put_array(memory, "labels/cells/0", values, version="0.5", dims="tyx", chunks=chunks)
    labels = opened(memory).cells
    assert labels.dims == ("y", "x")
    found = made(labels, side)
    whole = values[0]
    if side > 64:
        assert found.shown == ("the middle of level 0",)
        whole = whole[512:704, 512:704]
    expected = distinct_colors(whole.ravel())[:, :3].reshape(*whole.shape, 3)
    np.testing.assert_array_equal(found.pixels, expected)


def test_which_plane_is_shown(tmp_path: Path) -> None:
    values = pixels((3, 5, 20, 30))
    dims = ("t", "z", "y", "x")
    image = xr.DataArray(values, dims=dims).omezarr.assign_scale(z=2.0, y=1.0, x=1.0, t=60.0)
    image = image.omezarr.assign_scale(units={"z": "micrometer", "t": "second"})
    found = made(image)
    np.testing.assert_array_equal(found.pixels, grey(values[0, 2]))
    assert found.shown == ("t = 0 s", "z = 4 µm")
    minutes = np.array([0, 1, 2], "timedelta64[m]")
    assert made(image.assign_coords(t=minutes)).shown == found.shown
    image.to_dataset(name="image").omezarr.to_zarr(tmp_path, levels=1)
    group = zarr.open_group(tmp_path)
    ome = group.attrs["ome"]
    assert isinstance(ome, dict)
    white = {"channels": [{"color": "FFFFFF"}]}
    group.attrs["ome"] = {**ome, "omero": {**white, "rdefs": {"defaultT": 2, "defaultZ": 4}}}
    told = made(opened(tmp_path).image)
    np.testing.assert_array_equal(told.pixels, grey(values[2, 4]))
    assert told.shown == ("level 0", "t = 120 s", "z = 8 µm")
    # What the file says is of the whole image.
    assert made(opened(tmp_path).image.isel(z=slice(2))).shown == ("t = 120 s", "z = 2 µm")
    group.attrs["ome"] = {**ome, "omero": {**white, "rdefs": {"defaultT": 3, "defaultZ": "x"}}}
    assert made(opened(tmp_path).image).shown == ("level 0", "t = 0 s", "z = 4 µm")


def test_pixels_that_are_no_squares() -> None:
    image = xr.DataArray(pixels((20, 30)), dims=("z", "x"))
    image = image.omezarr.assign_scale(z=3.0, x=0.5, units="micrometer")
    found = made(image)
    assert found.extent == (60.0, 15.0)
    assert found.ratio == 0.25
    assert found.bar is not None
    assert found.bar.length == 2.0
    apart = image.omezarr.assign_scale(units={"x": "millimeter"})
    assert made(apart).extent == (20.0, 30.0)
    uneven = image.assign_coords(x=np.arange(30.0) ** 2)
    assert made(uneven).extent == (20.0, 30.0)


def test_the_first_field_of_a_stack_that_is_there(tmp_path: Path) -> None:
    nodes = samples.plate().to_dict().items()
    plate = xr.DataTree.from_dict({k: node for k, node in nodes if not k.startswith("/A/1")})
    plate.omezarr.to_zarr(tmp_path)
    for along in ("well", ("row", "column")):
        stack = opened(tmp_path, stack=along, fill_value=0)
        found = made(stack.image)
        expected = made(opened_tree(tmp_path)["A/2/0/0"].to_dataset().image)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        assert found.shown[:2] == ("well A/2", "field 0")
        loaded = made(stack.image.load())
        np.testing.assert_array_equal(loaded.pixels, expected.pixels)


# ── what it takes ────────────────────────────────────────────────────────────────────────────────

#: Images of 100 GB or more, and what of them is shown.
LARGE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "one channel": ({"shape": (250000, 200000), "levels": 6}, ("level 5",)),
    "three channels": (
        {"shape": (3, 160000, 120000), "dims": "cyx", "levels": 6, "extra": channels(3)},
        ("level 5", "marker 0", "marker 1", "marker 2"),
    ),
    "old": ({"shape": (250000, 200000), "levels": 6, "version": "0.4"}, ("level 5",)),
    "shards": (
        {"shape": (524288, 131072), "levels": 6, "chunks": (128, 128), "shards": (512, 512)},
        ("level 5",),
    ),
    "deep": (
        {"shape": (2, 16, 50000, 32000), "dims": "tzyx", "levels": 5},
        ("level 4", "t = 0 s", "z = 4 µm"),
    ),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_image_takes_few_requests_and_bytes(memory: MemoryStore, kind: str) -> None:
    settings, shown = LARGE[kind]
    put_huge(memory, **settings)
    store = WatchedStore(memory, latency=0.01)
    ds = opened(store)
    assert ds.image.nbytes >= 99e9
    asked = len(store.log.requests)
    looking = Looking.at(ds.image)
    found = thumbnail(ds.image, looking)
    assert found.shown == shown
    assert len(store.log.requests) - asked <= REQUESTS
    assert len(store.log.requests) <= 12
    assert NBYTES - looking.budget.nbytes <= NBYTES
    assert looking.budget.nbytes >= 0
    assert found.pixels.std() > 20


def test_channels_that_do_not_fit_are_left_out(memory: MemoryStore) -> None:
    put_huge(memory, (12, 40960, 40960), "cyx", levels=4, chunks=(1, 640, 640), extra=channels(12))
    store = WatchedStore(memory)
    found = made(opened(store).image)
    assert found.shown == ("level 3", *(f"marker {i}" for i in range(2)))
    assert found.skipped == ("10 of 12 channels: they take more than a picture may",)


def test_of_thousands_of_channels_some_are_put_together(memory: MemoryStore) -> None:
    put_huge(memory, (1000, 64, 64), "cyx", levels=1, chunks=(1000, 64, 64), dtype="uint8")
    found = made(opened(memory).image)
    assert found.shown == ("level 0", *map(str, range(24)))
    assert found.skipped == ("976 of 1000 channels: they take more than a picture may",)


@pytest.mark.parametrize(
    ("settings", "side"),
    [
        ({"shape": (300000, 200000), "levels": 1}, 512),
        ({"shape": (2000, 2000), "levels": 1, "compressors": None}, 512),
        ({"shape": (3, 2000, 2000), "dims": "cyx", "levels": 1, "extra": channels(3)}, 256),
    ],
    ids="endless plain channels".split(),
)
def test_without_a_level_that_is_small_enough(
    memory: MemoryStore, settings: dict[str, Any], side: int
) -> None:
    (values,) = put_huge(memory, **settings)
    store = WatchedStore(memory)
    image = opened(store).image
    found = made(image)
    assert found.shown[0] == "the middle of level 0"
    assert found.skipped[0].startswith("all but the middle")
    assert found.extent == (side / 2, side / 2)
    assert len(store.log.requests) <= 12
    if values is not None:
        height, width = values.shape[-2:]
        y, x = ((-(-n // 256) - side // 256) // 2 * 256 for n in (height, width))
        middle = values[..., y : y + side, x : x + side]
        window = (0.0, 4000.0) if image.ndim == 3 else None
        if window is None:
            expected = grey(middle)
            assert found.pixels.mean() == pytest.approx(expected.mean(), rel=0.1)
        else:
            colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
            looks = [Look(color, *window) for color in colors]
            np.testing.assert_array_equal(found.pixels, composite(list(middle), looks))


def test_chunks_that_are_too_large(memory: MemoryStore) -> None:
    put_huge(memory, (8192, 8192), levels=1, chunks=(2048, 2048))
    store = WatchedStore(memory)
    image = opened(store).image
    store.log.clear()
    with pytest.raises(SkippedError, match="the chunks of level 0 are larger"):
        made(image)
    assert store.log.requests == []


def test_bytes_beyond_an_array_count_unless_they_are_compressed(memory: MemoryStore) -> None:
    for compressors, expected in (("auto", 2 * 300 * 100), (None, 2 * 512 * 256)):
        zarr.create_array(
            memory, name="0", shape=(3000, 100), chunks=(256, 256), dtype="u2",
            compressors=compressors, overwrite=True, dimension_names=["y", "x"],  # type: ignore[arg-type]
        )  # fmt: skip
        put_document(
            memory,
            {"multiscales": [multiscales("yx", ["0"], [[1.0, 1.0]], [[0.0, 0.0]])]},
            version="0.5",
        )
        part = part_of(opened(memory).image.isel(y=slice(-300, None)).variable)
        assert part is not None
        inside = 3000 - 2560
        nbytes = 2 * inside * 100 if compressors else expected
        assert cost(*part) == (2, nbytes, 2 * 512 * 256)


def test_a_part_that_is_not_read_is_shown_by_its_own_chunks(memory: MemoryStore) -> None:
    (values,) = put_huge(memory, (1024, 1024), levels=1)
    assert values is not None
    store = WatchedStore(memory)
    image = opened(store).image
    store.log.clear()
    found = made(image[300:400, 500:600:2])
    np.testing.assert_array_equal(found.pixels, grey(values[300:400, 500:600:2]))
    assert store.log.keys() == ["0/c/1/1", "0/c/1/2"]
    store.log.clear()
    with pytest.raises(SkippedError, match="its chunks are more than a picture may take"):
        made(image[:, ::2])
    with pytest.raises(SkippedError, match="only reading all of it would show it"):
        made(image.T)
    assert store.log.requests == []


def test_a_graph_is_not_computed() -> None:
    def fail(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        raise AssertionError(block)

    graph = da.zeros((100, 100), chunks=50).map_blocks(fail, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(SkippedError, match="a graph of dask, which is not computed"):
        made(xr.DataArray(graph, dims=("y", "x")))


def test_files_of_this_machine_may_take_more(tmp_path: Path) -> None:
    put_huge(tmp_path, (7, 1280, 1280), "cyx", levels=2, chunks=(1, 160, 160), extra=channels(7))
    assert made(opened(tmp_path).image).skipped == ()


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda asked: "silence" if "/c/" in asked.path else None, "did not answer within"),
        (lambda asked: 403 if "/c/" in asked.path else None, "access is denied"),
    ],
    ids=["silent", "denied"],
)
def test_a_server_that_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[Asked], Any],
    reason: str,
) -> None:
    monkeypatch.setattr("xarray_omezarr.thumbnails.SECONDS", 0.5)
    put_huge(tmp_path / "huge", (40960, 40960))
    with site(tmp_path, answer=answer) as web:
        image = opened(f"{web.url}/huge", labels=False).image
        start = time.monotonic()
        with pytest.raises(OmeZarrError, match=reason):
            made(image)
        assert time.monotonic() - start < 3


def test_chunks_that_are_larger_than_they_can_be(memory: MemoryStore) -> None:
    put_huge(memory, (32768, 32768), levels=4)
    image = opened(WatchedStore(memory)).image
    for key in [key for key in memory._store_dict if key.startswith("3/c")]:
        memory._store_dict[key] = cpu.Buffer.from_bytes(bytes(NBYTES + 1))
    with pytest.raises(OmeZarrError, match="larger than what a picture may take"):
        made(image)


def test_an_image_that_was_replaced_is_not_shown_as_black(memory: MemoryStore) -> None:
    put_huge(memory, (400, 400), levels=1)
    image = opened(WatchedStore(memory)).image
    memory._store_dict.clear()
    with pytest.raises(OmeZarrError, match="no longer there"):
        made(image)


def test_chunks_that_are_absent_take_no_more_than_the_rest(memory: MemoryStore) -> None:
    put_huge(memory, (500, 500), levels=1)
    for key in [key for key in memory._store_dict if "/c/" in key]:
        del memory._store_dict[key]
    store = WatchedStore(memory)
    found = made(opened(store).image)
    assert not found.pixels.any()
    assert len(store.log.requests) <= 12


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (xr.DataArray(np.zeros((0, 4)), dims=("y", "x")), "it has no pixels"),
        (xr.DataArray(np.zeros(4), dims="x"), "no plane in an image of the axes x"),
        (xr.DataArray(np.zeros((3, 4)), dims=("c", "x")), "no plane in an image of the axes c, x"),
        (xr.DataArray(np.zeros((3, 4), "c8"), dims=("y", "x")), "complex64"),
        (xr.DataArray(np.zeros((3, 4)), dims=("a", "b")), "has no type"),
    ],
    ids="empty line channels complex nameless".split(),
)
def test_what_cannot_be_shown(image: xr.DataArray, reason: str) -> None:
    with pytest.raises(OmeZarrError, match=reason):
        made(image)


def test_no_number_is_too_strange() -> None:
    odd = [np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0, 1.0, 2.0]
    values = np.array(list(itertools.islice(itertools.cycle(odd), 700 * 300))).reshape(700, 300)
    for dtype in ("float64", "float32", "float16"):
        with np.errstate(over="ignore"):
            image = xr.DataArray(values.astype(dtype), dims=("y", "x"))
        assert made(image).pixels.shape == (256, 110, 3)
