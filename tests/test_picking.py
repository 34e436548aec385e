"""Levels by what is needed: a resolution, or a size."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

from tests.helpers import (
    WatchedStore,
    multiscales,
    opened,
    opened_tree,
    pixels,
    put_array,
    put_document,
    put_sample,
)
from tests.plating import put_plate, put_screen
from xarray_omezarr import OmeZarrError, OmeZarrWarning, samples
from xarray_omezarr.backend import OmeZarrBackendEntrypoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from zarr.storage import MemoryStore

    from tests.helpers import Option

VERSIONS = ("0.4", "0.5")
UNITS = {"z": "micrometer", "y": "micrometer", "x": "nanometer", "t": "second"}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def put_levels(
    store: MemoryStore,
    scales: Sequence[Sequence[float]],
    shapes: Sequence[Sequence[int]],
    dims: str = "yx",
    *,
    version: str = "0.5",
    group: str = "",
) -> MemoryStore:
    """Lay levels of any scales and shapes down."""
    paths = [f"s{i}" for i in range(len(scales))]
    units = {dim: UNITS[dim] for dim in dims if dim in UNITS}
    zeros = [[0.0] * len(dims)] * len(scales)
    document = {"multiscales": [multiscales(dims, paths, scales, zeros, units)]}
    put_document(store, document, version=version, group=group)
    for path, shape in zip(paths, shapes, strict=True):
        where = f"{group}/{path}" if group else path
        put_array(store, where, pixels(shape), version=version, dims=dims)
    return store


@pytest.fixture
def stack(memory: MemoryStore, version: str) -> MemoryStore:
    """Give three levels: z in steps of 2 µm, y of 0.5, 1 and 2 µm, x of 500, 1000 and 2000 nm."""
    scales = [[2.0, 0.5, 500.0], [2.0, 1.0, 1000.0], [4.0, 2.0, 2000.0]]
    shapes = [(4, 40, 48), (4, 20, 24), (2, 10, 12)]
    return put_levels(memory, scales, shapes, "zyx", version=version)


def number(ds: xr.Dataset) -> int:
    found: int = ds.image.encoding["omezarr"]["level"]
    return found


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        ("5 um", 2),
        ("4 um", 2),
        ("3.9 um", 1),
        ("2 um", 1),
        ("0.002 mm", 1),
        ({"y": 1.0}, 1),
        ({"y": 0.9999}, 0),
        ({"y": "0.5 um", "x": "1 um"}, 0),
        ({"x": "1 um"}, 1),
        ({"x": 1000}, 1),
        ({"x": "999 nm"}, 0),
        # The coarsest of all that are as fine along the axes that count.
        ({"z": 2.0}, 1),
        ({"z": 1000}, 2),
        ({"y": np.float32(1.5)}, 1),
        # A rounding of the last digits makes nothing coarser.
        ({"y": 1.0 - 1e-9}, 1),
    ],
)
def test_the_coarsest_level_that_is_as_fine(
    stack: MemoryStore, resolution: Option, expected: int
) -> None:
    assert number(opened(stack, resolution=resolution)) == expected
    tree = opened_tree(stack, resolution=resolution)
    assert list(tree.children) == [str(expected)]
    assert number(opened_tree(stack).omezarr.sel_level(resolution=resolution)) == expected


def test_one_number_counts_in_the_unit_of_each_axis(memory: MemoryStore) -> None:
    put_levels(memory, [[0.5, 0.25], [1.0, 0.5]], [(8, 8), (4, 4)])
    assert number(opened(memory, resolution=1)) == 1
    assert number(opened(memory, resolution=0.75)) == 0


def test_time_is_no_space(memory: MemoryStore) -> None:
    scales = [[30.0, 0.5, 500.0], [30.0, 1.0, 1000.0], [60.0, 2.0, 2000.0]]
    put_levels(memory, scales, [(4, 8, 8), (4, 4, 4), (2, 2, 2)], "tyx")
    assert number(opened(memory, resolution="1 um")) == 1
    assert number(opened(memory, resolution={"t": "0.5 min"})) == 1
    assert number(opened(memory, resolution={"t": "1 min"})) == 2


@pytest.mark.parametrize(
    ("max_bytes", "expected"),
    [
        (4 * 40 * 48 * 2, 0),
        (4 * 40 * 48 * 2 - 1, 1),
        (4 * 20 * 24 * 2, 1),
        ("3840 B", 1),
        ("3.8 kB", 2),
        ("480 bytes", 2),
        ("1 TB", 0),
    ],
)
def test_the_finest_level_that_fits(stack: MemoryStore, max_bytes: Option, expected: int) -> None:
    ds = opened(stack, max_bytes=max_bytes)
    assert number(ds) == expected
    assert list(opened_tree(stack, max_bytes=max_bytes).children) == [str(expected)]
    assert number(opened_tree(stack).omezarr.sel_level(max_bytes=max_bytes)) == expected


def test_labels_come_along_and_are_not_counted(memory: MemoryStore) -> None:
    values = np.arange(4096, dtype="uint16").reshape(64, 64)
    ds = xr.Dataset({"image": (("y", "x"), values), "cells": (("y", "x"), values.astype("int32"))})
    ds = ds.omezarr.assign_scale(y=0.5, x=0.5, units="micrometer")
    ds.omezarr.to_zarr(memory, levels=3, labels=["cells"])
    choices: list[dict[str, Any]] = [{"max_bytes": 32 * 32 * 2}, {"resolution": "1 um"}]
    for choice in choices:
        found = opened(memory, **choice)
        assert found.image.shape == found.cells.shape == (32, 32)
        tree = opened_tree(memory, **choice)
        assert set(tree["labels/cells"].children) == set(tree.children) - {"labels"} == {"1"}
        xr.testing.assert_identical(opened_tree(memory).omezarr.sel_level(**choice), found)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            {"resolution": "1 um"},
            (
                r"no level whose pixels are as fine as asked for:\n"
                r"  0: pixels of z 2 micrometer, y 0.5 micrometer, x 500 nanometer\n"
                r"  1: .*\n  2: .*\nName the axes that count: "
                r"resolution=\{'y': '1 micrometer', 'x': '1 micrometer'\}"
            ),
        ),
        ({"resolution": {"y": 0.1}}, "level=0 is the finest there is"),
        ({"max_bytes": 10}, r"fits into 10 B:\n  0: 4×40×48, 15 KiB\n(.|\n)*  2: 2×10×12, 480 B"),
        ({"resolution": {"q": 1}}, "'q' is no axis of .* expected some of z, y, x"),
        ({"resolution": "1 s"}, "resolution along 'z' .* '1 second' is a time"),
        ({"resolution": "1 parrot"}, "the unit of '1 parrot' is not known"),
        ({"resolution": {}}, "names no axis"),
        ({"resolution": 0}, "larger than 0"),
        ({"resolution": {"x": "-1 um"}}, r"resolution\['x'\].*larger than 0"),
        ({"resolution": "fine"}, "is no quantity"),
        ({"resolution": True}, "is no quantity"),
        ({"max_bytes": "much"}, "is no number of bytes"),
        ({"level": "1"}, "level='1': expected the number of a level, an integer"),
        ({"level": True}, "level=True: expected the number"),
        ({"level": np.float64(1)}, "level=.*1.0.*: expected the number"),
    ],
)
def test_what_cannot_be_met(stack: MemoryStore, choice: dict[str, Any], message: str) -> None:
    with pytest.raises(OmeZarrError, match=message):
        opened(stack, **choice)
    with pytest.raises(OmeZarrError, match=message):
        opened_tree(stack, **choice)
    with pytest.raises(OmeZarrError, match=message):
        opened_tree(stack).omezarr.sel_level(**choice)


@pytest.mark.parametrize(
    "choice",
    [
        {"level": 0, "resolution": 1},
        {"level": 0, "max_bytes": 1},
        {"resolution": 1, "max_bytes": 1},
        {"level": 0, "resolution": 1, "max_bytes": 1},
    ],
)
def test_the_three_exclude_each_other(stack: MemoryStore, choice: dict[str, Any]) -> None:
    for open_ in (opened, opened_tree):
        with pytest.raises(OmeZarrError, match=r"=.* and .*=.*: expected one of them"):
            open_(stack, **choice)
    with pytest.raises(OmeZarrError, match="expected one of them"):
        opened_tree(stack).omezarr.sel_level(**choice)


def test_wrong_arguments_are_told_before_anything_is_read(stack: MemoryStore) -> None:
    store = WatchedStore(stack)
    for choice in ({"max_bytes": "much"}, {"resolution": "1 um", "level": 1}, {"resolution": -1}):
        with pytest.raises(OmeZarrError):
            opened(store, **choice)
    assert not store.log.requests


def test_levels_that_are_no_numbers_are_not_drawn(stack: MemoryStore) -> None:
    pytest.importorskip("matplotlib").use("agg")
    ds = opened(stack)
    for draw in (ds.omezarr.to_rgb, ds.omezarr.plot):
        with pytest.raises(OmeZarrError, match="level=True: expected the number of a level"):
            draw(level=True)


def test_a_resolution_costs_no_more_than_a_level(stack: MemoryStore) -> None:
    asked = []
    for choice in ({"level": 1}, {"resolution": "2 um"}):
        store = WatchedStore(stack, latency=0.005)
        opened(store, **choice)
        asked.append((sorted(store.log.keys()), store.log.rounds))
    assert asked[0] == asked[1]


def test_a_size_is_told_by_metadata_alone(stack: MemoryStore, version: str) -> None:
    store, plain = WatchedStore(stack, latency=0.005), WatchedStore(stack, latency=0.005)
    opened(store, max_bytes="4 kB", labels=False)
    opened(plain, level=1, labels=False)
    name = ".zarray" if version == "0.4" else "zarr.json"
    # The arrays of the other levels, side by side with the one that is opened.
    assert sorted(set(store.log.keys()) - set(plain.log.keys())) == [f"s0/{name}", f"s2/{name}"]
    assert store.log.rounds == plain.log.rounds
    tree = WatchedStore(stack, latency=0.005)
    opened_tree(tree, max_bytes="4 kB")
    assert len(tree.log.keys("get")) == len(set(tree.log.keys("get")))


def test_a_level_that_is_missing_does_not_fit(memory: MemoryStore) -> None:
    put_levels(memory, [[1.0, 1.0], [2.0, 2.0]], [(8, 8), (4, 4)])
    for key in [key for key in memory._store_dict if key.startswith("s0/")]:
        del memory._store_dict[key]
    assert number(opened(memory, max_bytes="1 GB")) == 1
    assert list(opened_tree(memory, max_bytes="1 GB").children) == ["1"]


def test_levels_without_pixel_sizes(memory: MemoryStore) -> None:
    put_levels(memory, [[1.0, 1.0], [1.0, 1.0]], [(8, 8), (4, 4)])
    with pytest.raises(OmeZarrError, match=r"its 2 levels have the same pixel size.*max_bytes="):
        opened(memory, resolution=1.0)
    assert number(opened(memory, max_bytes=32)) == 1


def test_an_axis_that_has_no_unit(memory: MemoryStore) -> None:
    xr.Dataset({"image": (("y", "x"), pixels((64, 64)))}).omezarr.to_zarr(memory, levels=2)
    assert number(opened(memory, resolution=2.0)) == 1
    with pytest.raises(OmeZarrError, match="nothing says which unit the axis is in"):
        opened(memory, resolution="1 um")


def test_levels_that_are_out_of_order(memory: MemoryStore) -> None:
    put_levels(memory, [[2.0, 2.0], [1.0, 1.0], [4.0, 4.0]], [(4, 4), (8, 8), (2, 2)])
    for choice, size in (({"resolution": {"y": 3.0}}, 4), ({"max_bytes": "1 GB"}, 8)):
        with pytest.warns(OmeZarrWarning, match="not ordered"):
            assert opened(memory, **choice).image.shape == (size, size)


# ── several images ───────────────────────────────────────────────────────────────────────────────

FOUR = {"A/1": ["0", "1"], "A/2": ["0"], "B/1": ["0"]}


def data_nodes(tree: xr.DataTree) -> list[str]:
    return [node.path.strip("/") for node in tree.subtree if node.data_vars]


def test_the_fields_of_a_plate(memory: MemoryStore) -> None:
    put_plate(memory, FOUR, levels=3)
    whole = opened_tree(memory)
    fields = [f"{well}/{field}" for well, found in FOUR.items() for field in found]
    sizes = {i: sum(whole[f"{field}/{i}"].image.nbytes for field in fields) for i in range(3)}
    assert sizes[0] > sizes[1] > sizes[2]
    for i, size in sizes.items():
        assert data_nodes(opened_tree(memory, max_bytes=size)) == [f"{f}/{i}" for f in fields]
        # One byte less, and all of them are coarser.
        if i < 2:
            coarser = opened_tree(memory, max_bytes=size - 1)
            assert data_nodes(coarser) == [f"{f}/{i + 1}" for f in fields]
    with pytest.raises(OmeZarrError, match=r"has no level that fits.*\n  0: 4 images"):
        opened_tree(memory, max_bytes=sizes[2] - 1)
    scale = whole["A/1/0/1"].to_dataset().omezarr.scale["x"]
    assert data_nodes(opened_tree(memory, resolution={"x": scale})) == [f"{f}/1" for f in fields]


def test_each_image_has_the_level_of_its_own_pixels(memory: MemoryStore) -> None:
    put_levels(memory, [[1.0, 1000.0], [2.0, 2000.0]], [(8, 8), (4, 4)], group="fine")
    put_levels(memory, [[2.0, 2000.0], [4.0, 4000.0]], [(8, 8), (4, 4)], group="coarse")
    put_levels(memory, [[8.0, 8000.0]], [(8, 8)], group="far")
    with pytest.warns(OmeZarrWarning, match="far has no level whose pixels are as fine"):
        tree = opened_tree(memory, resolution="2 um")
    assert sorted(data_nodes(tree)) == ["coarse/0", "fine/1"]
    # An image that has not as many levels is there at its coarsest.
    tree = opened_tree(memory, max_bytes=(16 + 16 + 64) * 2)
    assert sorted(data_nodes(tree)) == ["coarse/1", "far/0", "fine/1"]


def test_a_stack_fits_as_a_whole(memory: MemoryStore) -> None:
    put_plate(memory, {"A/1": ["0"], "A/2": ["0"], "B/1": ["0"]}, levels=2)
    one = opened_tree(memory, group="A/1/0")["0"].image.nbytes
    ds = opened(memory, stack="well", max_bytes=3 * one)
    assert number(ds) == 0
    assert ds.image.nbytes == 3 * one
    assert number(opened(memory, stack="well", max_bytes=3 * one - 1)) == 1
    # A grid has a place for B/2, and NaN makes floats of integers.
    grid: dict[str, Any] = {"stack": ("row", "column"), "fill_value": np.nan}
    whole = opened(memory, **grid)
    assert number(opened(memory, **grid, max_bytes=whole.image.nbytes)) == 0
    assert number(opened(memory, **grid, max_bytes=whole.image.nbytes - 1)) == 1
    scale = opened(memory, stack="well", level=1).omezarr.scale["x"]
    assert number(opened(memory, stack="well", resolution={"x": scale})) == 1
    with pytest.raises(OmeZarrError, match="no level that fits into 1 B:\n  0: 3 × "):
        opened(memory, stack="well", max_bytes=1)
    with pytest.raises(OmeZarrError, match="no level whose pixels are as fine"):
        opened(memory, stack="well", resolution={"x": scale / 100})


def test_a_stack_of_a_single_level(memory: MemoryStore) -> None:
    put_screen(memory, dict.fromkeys(("A/1", "A/2"), ("0",)))
    assert number(opened(memory, stack="well", resolution={"x": 1.0})) == 0


def test_dask_arrays_of_different_levels_are_told_apart(stack: MemoryStore) -> None:
    choices: list[dict[str, Any]] = [{"resolution": "5 um"}, {"resolution": "2 um"}]
    choices.append({"max_bytes": 4000})
    names = {opened(stack, chunks={}, **choice).image.data.name for choice in choices}
    assert len(names) == 3


def test_the_doors_take_the_same_arguments() -> None:
    engine = OmeZarrBackendEntrypoint
    dataset, tree, groups = (
        inspect.signature(getattr(engine, name)).parameters
        for name in ("open_dataset", "open_datatree", "open_groups_as_dict")
    )
    for name in ("level", "resolution", "max_bytes"):
        assert name in engine.open_dataset_parameters
        assert dataset[name].default is tree[name].default is groups[name].default is None


def test_open_groups(tmp_path: Path) -> None:
    samples.coins()[["image"]].omezarr.to_zarr(tmp_path / "coins", levels=2)
    groups = xr.open_groups(tmp_path / "coins", engine="omezarr", max_bytes="30 kB")
    assert sorted(groups) == ["/", "/1"]


def test_a_picked_level_reads_like_any_other(memory: MemoryStore) -> None:
    sample = put_sample(memory)
    xr.testing.assert_identical(opened(memory, resolution={"x": 0.5}).load(), sample.dataset(1))
