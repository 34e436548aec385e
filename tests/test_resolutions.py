"""Open trees: the table of their levels, one of these, and one region of them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import MemoryStore

from tests.helpers import WatchedStore, opened, opened_tree, put_sample
from tests.plating import put_plate
from tests.test_scenes import stitched
from xarray_omezarr import OmeZarrError, OmeZarrWarning, samples

if TYPE_CHECKING:
    from tests.helpers import Option

FOUR = {"A/1": ["0", "1"], "A/2": ["0"], "B/1": ["0"]}


@pytest.fixture
def coins(memory: MemoryStore) -> MemoryStore:
    """Give an image of 303 × 384 pixels of 0.65 µm with labels and their table, on 3 levels."""
    ds = samples.coins().omezarr.measure("coins", ["area"])
    ds.omezarr.to_zarr(memory, levels=3, chunks=128)
    return memory


# ── the table ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chunks", [None, {}])
def test_the_table_of_an_image(coins: MemoryStore, chunks: dict[str, int] | None) -> None:
    store = WatchedStore(coins)
    tree = opened_tree(store, chunks=chunks)
    store.log.clear()
    table = tree.omezarr.levels
    assert not store.log.requests
    assert table.index.name == "level"
    assert table.index.tolist() == [0, 1, 2]
    assert table.columns.tolist() == ["shape", "scale_y", "scale_x", "nbytes", "chunks"]
    assert table["shape"].tolist() == [(303, 384), (152, 192), (76, 96)]
    assert table.scale_x.tolist() == table.scale_y.tolist() == [0.65, 1.3, 2.6]
    assert table.nbytes.tolist() == [303 * 384, 152 * 192, 76 * 96]
    assert table.chunks.tolist() == [(128, 128), (128, 128), (76, 96)]
    assert table[table.scale_x <= 1.5].index.max() == 1


def test_the_table_of_some_levels(coins: MemoryStore) -> None:
    assert opened_tree(coins, level=[0, 2]).omezarr.levels.index.tolist() == [0, 2]
    node = opened_tree(coins)["1"]
    assert node.omezarr.levels.index.tolist() == [1]
    # Selected along an axis, and in memory.
    table = opened_tree(coins).sel(y=50, method="nearest").load().omezarr.levels
    assert table["shape"].tolist() == [(384,), (192,), (96,)]
    assert table.chunks.tolist() == [(128,), (128,), (96,)]
    assert "scale_y" not in table


def test_the_table_of_a_descending_axis_and_of_nothing() -> None:
    image = samples.coins()[["image"]].isel(x=slice(None, None, -1))
    tree = xr.DataTree.from_dict({"/0": image, "/1": image.isel(x=slice(0, 0))})
    table = tree.omezarr.levels
    assert table.scale_x[0] == 0.65
    assert np.isnan(table.scale_x[1])
    assert table.nbytes.tolist() == [303 * 384, 0]
    assert table.chunks.tolist() == [None, None]


def test_the_table_of_a_plate(memory: MemoryStore) -> None:
    put_plate(memory, FOUR, levels=2)
    table = opened_tree(memory).omezarr.levels
    assert table.index.names == ["image", "level"]
    images = ["A/1/0", "A/1/1", "A/2/0", "B/1/0"]
    assert table.index.tolist() == [(path, level) for path in images for level in (0, 1)]
    assert table.loc["A/2/0"].nbytes.tolist() == [192, 48]
    assert table.xs(0, level="level").nbytes.sum() == 4 * 192
    one = opened_tree(memory)["A/1/0"].omezarr.levels
    assert one.index.tolist() == [0, 1]
    well = opened_tree(memory)["A/1"].omezarr.levels
    assert well.index.tolist() == [("0", 0), ("0", 1), ("1", 0), ("1", 1)]


def test_a_tree_without_images() -> None:
    tree = xr.DataTree.from_dict({"/a": xr.Dataset({"other": ("x", [1])})})
    calls: list[Any] = [
        lambda: tree.omezarr.levels,
        lambda: tree.omezarr.sel_level(0),
        lambda: tree.omezarr.sel(x=0),
    ]
    for call in calls:
        with pytest.raises(OmeZarrError, match="The tree has no images"):
            call()


# ── one level ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("level", [0, 1, 2, -1, -3, np.int64(1)])
def test_a_level_is_what_is_opened_as_such(coins: MemoryStore, level: int) -> None:
    found = opened_tree(coins).omezarr.sel_level(level)
    assert not found.image.variable._in_memory
    expected = opened(coins, level=level)
    xr.testing.assert_identical(found, expected)
    assert found.image.encoding["omezarr"] == expected.image.encoding["omezarr"]
    assert found.coins.encoding["omezarr"]["kind"] == "label"
    assert found.coins_area.dims == ("coins_id",)


@pytest.mark.parametrize("level", [3, -4])
def test_a_level_that_there_is_not(coins: MemoryStore, level: Option) -> None:
    with pytest.raises(OmeZarrError, match=r"no level .*; there are 3:\n  0: 303×384 pixels\n"):
        opened_tree(coins).omezarr.sel_level(level)


@pytest.mark.parametrize("level", ["0", 1.0, True])
def test_a_level_that_is_no_number(coins: MemoryStore, level: Option) -> None:
    with pytest.raises(OmeZarrError, match=f"level={level!r}: expected the number of a level"):
        opened_tree(coins).omezarr.sel_level(level)


def test_a_level_that_was_not_opened(coins: MemoryStore) -> None:
    tree = opened_tree(coins, level=[0, 2])
    assert tree.omezarr.sel_level(2).image.shape == (76, 96)
    assert tree.omezarr.sel_level(-1).image.shape == (76, 96)
    with pytest.raises(OmeZarrError, match=r"no level 1; there are 2:\n  0: .*\n  2: "):
        tree.omezarr.sel_level(1)
    assert tree.omezarr.sel_level(resolution="2 um").image.shape == (303, 384)


def test_a_level_has_to_be_said(coins: MemoryStore) -> None:
    with pytest.raises(OmeZarrError, match=r"by its number, or by resolution= or max_bytes="):
        opened_tree(coins).omezarr.sel_level()


def test_levels_of_a_crop(coins: MemoryStore) -> None:
    crop = opened_tree(coins).sel(x=slice(20, 100))
    # 123 pixels, where there were 384.
    assert crop.omezarr.sel_level(max_bytes=303 * 123).image.shape == (303, 123)
    assert crop.omezarr.sel_level(max_bytes=303 * 123 - 1).image.shape[0] == 152
    tiny = opened_tree(coins).sel(x=slice(0, 0.1))
    assert tiny["1"].image.size == 0
    assert tiny.omezarr.sel_level(resolution="5 um").image.shape == (303, 1)


def test_levels_that_were_computed() -> None:
    tree = samples.coins().omezarr.pyramid(levels=3)
    found = tree.omezarr.sel_level(resolution={"x": "1.3 um"})
    xr.testing.assert_identical(found.image, tree["1"].image)
    xr.testing.assert_identical(found.coins, tree["labels/coins/1"].coins)


def test_labels_that_lie_elsewhere(coins: MemoryStore) -> None:
    tree = opened_tree(coins)
    nodes = {path: node.to_dataset(inherit=False) for path, node in tree.subtree_with_keys}
    nodes["labels/coins/1"] = nodes["labels/coins/1"].isel(y=slice(1, None))
    moved = xr.DataTree.from_dict({"/" if p == "." else p: ds for p, ds in nodes.items()})
    with pytest.warns(OmeZarrWarning, match="'coins' does not lie on the pixels of level 1"):
        assert list(moved.omezarr.sel_level(1).data_vars) == ["image"]
    assert "coins" in moved.omezarr.sel_level(0)


def test_several_images(memory: MemoryStore) -> None:
    put_plate(memory, FOUR, levels=2)
    tree = opened_tree(memory)
    with pytest.raises(OmeZarrError, match=r"4 images in this tree. .*tree\['A/1/0'\]\.omezarr"):
        tree.omezarr.sel_level(0)
    one = tree["A/2/0"].omezarr.sel_level(1)
    assert one.well.item() == "A/2"
    xr.testing.assert_equal(one.image, tree["A/2/0/1"].image)


# ── one region ───────────────────────────────────────────────────────────────────────────────────


def test_the_same_region_at_each_level(coins: MemoryStore) -> None:
    tree = opened_tree(coins)
    crop = tree.omezarr.sel(x=slice("20 um", "0.1 mm"), y=slice(None, 99))
    for path in ("0", "1", "2", "labels/coins/0", "labels/coins/1", "labels/coins/2"):
        assert not next(iter(crop[path].data_vars.values())).variable._in_memory
        expected = tree[path].to_dataset().omezarr.sel(x=slice(20, 100), y=slice(0, 99))
        xr.testing.assert_identical(crop[path].to_dataset(), expected)
        assert crop[path].x.min() >= 20
        assert crop[path].x.max() <= 100
    xr.testing.assert_identical(
        crop["labels/coins"].to_dataset(), tree["labels/coins"].to_dataset()
    )
    target = MemoryStore()
    crop.omezarr.to_zarr(target)
    xr.testing.assert_equal(opened_tree(target)["1"].image, crop["1"].image)


def test_the_pixels_that_a_region_overlaps(coins: MemoryStore) -> None:
    tree = opened_tree(coins)
    crop = tree.omezarr.sel(x=slice(20, 100), include="overlap")
    for level, size in ((0, 0.65), (1, 1.3), (2, 2.6)):
        x = crop[str(level)].x
        assert float(x[0]) - size / 2 <= 20 < float(x[0]) + size / 2
        assert float(x[-1]) - size / 2 < 100 <= float(x[-1]) + size / 2


def test_a_value_is_in_a_pixel_of_each_level(coins: MemoryStore) -> None:
    tree = opened_tree(coins)
    found = tree.omezarr.sel(y="100 um", x=[0.1, "0.1 mm"])
    for path in ("0", "1", "2", "labels/coins/2"):
        assert found[path].y.ndim == 0
        half = tree[path].to_dataset().y.diff("y").values[0] / 2
        assert abs(found[path].y.item() - 100) <= half
        assert found[path].x.shape == (2,)


def test_a_value_at_the_rim_that_a_level_has_lost() -> None:
    tree = samples.coins()[["image"]].omezarr.pyramid(levels=2, boundary="trim")
    # 303 rows became 151 of twice the size: the last row is in none of them.
    found = tree.omezarr.sel(y=0.65 * 302)
    assert found["0"].y.item() == 0.65 * 302
    assert found["1"].y.item() == tree["1"].y.values[-1]
    with pytest.raises(OmeZarrError, match=r"197 micrometer is outside of the image"):
        tree.omezarr.sel(y=197)


def test_levels_without_a_pixel_are_left_out(coins: MemoryStore) -> None:
    tree = opened_tree(coins)
    # It has the centres of one pixel of level 0, at 1.3, and of none of levels 1 and 2.
    crop = tree.omezarr.sel(x=slice(1.2, 1.4))
    assert set(crop.children) == {"0", "labels"}
    assert set(crop["labels/coins"].children) == {"0"}
    assert crop["0"].x.values.tolist() == [1.3]
    whole = tree.omezarr.sel(x=slice(1.2, 1.4), include="overlap")
    assert set(whole.children) == {"0", "1", "2", "labels"}
    # Where the finest level has none, there is nothing, though a coarser one has a centre there.
    with pytest.raises(OmeZarrError, match="has no centre of a pixel in it"):
        tree.omezarr.sel(x=slice(0.3, 0.35))


def test_channels_and_time(memory: MemoryStore) -> None:
    put_sample(memory, dims="czyx")
    crop = opened_tree(memory).omezarr.sel(c="GFP", z=slice("2 um", "4 um"))
    assert {name: node.image.shape for name, node in crop.children.items()} == {
        "0": (2, 40, 48), "1": (2, 20, 24), "2": (2, 10, 12),
    }  # fmt: skip
    with pytest.raises(OmeZarrError, match="there are 'DAPI', 'GFP'"):
        opened_tree(memory).omezarr.sel(c="RFP")
    with pytest.raises(OmeZarrError, match="'q' is no dimension of the tree"):
        opened_tree(memory).omezarr.sel(q=1)
    with pytest.raises(OmeZarrError, match="'center' or 'overlap'"):
        opened_tree(memory).omezarr.sel(include="all")


def test_the_fields_of_a_plate(memory: MemoryStore) -> None:
    put_plate(memory, FOUR, levels=2)
    tree = opened_tree(memory)
    crop = tree.omezarr.sel(x=slice(2, None))
    for path in ("A/1/0/0", "A/1/1/1", "B/1/0/0"):
        expected = tree[path].to_dataset().omezarr.sel(x=slice(2, None))
        xr.testing.assert_identical(crop[path].to_dataset(), expected)
    target = MemoryStore()
    crop.omezarr.to_zarr(target)
    assert opened_tree(target)["A/1/1/1"].image.shape == crop["A/1/1/1"].image.shape


def test_tiles_that_a_region_does_not_reach(memory: MemoryStore) -> None:
    tree = opened_tree(stitched(memory))
    paths = list(tree.omezarr.levels.index.get_level_values("image").unique())
    first, last = (tree[f"{path}/0"].to_dataset() for path in (paths[0], paths[-1]))
    moved = last.assign_coords(x=last.x + 1000)
    both = xr.DataTree.from_dict({"/0/0": first, "/1/0": moved, "/1/1": moved[["image"]]})
    crop = both.omezarr.sel(x=slice(900, None))
    assert "0" not in crop.children
    assert set(crop["1"].children) == {"0", "1"}
    with pytest.raises(OmeZarrError, match="is outside of the image"):
        both.omezarr.sel(x=slice(500, 600))
