"""Plans and lazy pyramids: what is told, and what is given, is what is written."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from tests.helpers import StoreFailureError, WatchedStore, failing_after, opened_tree
from xarray_omezarr import OmeZarrError, OmeZarrWarning, plan, reducers, samples, set_options
from xarray_omezarr.plan import plan_pyramid, split
from xarray_omezarr.pyramid import LevelPlan, default_shards, layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from xarray_omezarr.plan import Box, Plan

METHODS = tuple(reducers.REDUCERS)


def image(shape: Sequence[int], dims: str = "zyx", chunks: int | None = None) -> xr.DataArray:
    pixels = np.random.default_rng(0).integers(0, 4000, tuple(shape), dtype=np.uint16)
    array = xr.DataArray(pixels, dims=tuple(dims), name="image")
    return array if chunks is None else array.chunk(chunks)


def objects(store: MemoryStore) -> dict[str, bytes]:
    """Give digests, which a failing test can print."""
    return {
        key: hashlib.sha256(value.to_bytes()).digest()[:6]
        for key, value in store._store_dict.items()
    }


def burn(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    assert not block.size  # dask looks what becomes of nothing
    return block


# ── the levels, without writing them ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("boundary", ["pad", "trim"])
def test_a_lazy_pyramid_is_what_is_written(
    method: str,
    chunked: bool,  # noqa: FBT001 - a parameter of the test
    boundary: reducers.Boundary,
) -> None:
    ds = samples.coins()
    ds = ds.chunk(y=97, x=70) if chunked else ds
    tree = ds.omezarr.pyramid(4, method, boundary=boundary)
    store = MemoryStore()
    ds.omezarr.to_zarr(store, levels=4, method=method, boundary=boundary, chunks=32)
    written = opened_tree(store)
    for level in ("0", "1", "2", "3", "labels/coins/0", "labels/coins/3"):
        found, expected = tree[level].to_dataset(), written[level].to_dataset()
        xr.testing.assert_equal(found.load(), expected.load())
        assert {name: v.dtype for name, v in found.items()} == {
            name: v.dtype for name, v in expected.items()
        }


def test_a_lazy_pyramid_computes_nothing() -> None:
    pixels = da.zeros((512, 512), chunks=128, dtype="u2").map_blocks(burn, dtype="u2")
    tree = xr.DataArray(pixels, dims=("y", "x")).omezarr.pyramid(3, "gaussian")
    assert [tree[level].sizes["x"] for level in tree.children] == [512, 256, 128]


def test_a_lazy_pyramid_can_be_written(tmp_path: Path) -> None:
    ds = samples.coins().assign_attrs(name="coins of Pompeii")
    ds.omezarr.to_zarr(tmp_path / "direct", levels=3)
    ds.omezarr.pyramid(3).omezarr.to_zarr(tmp_path / "tree")
    one, other = (
        xr.open_datatree(tmp_path / name, engine="omezarr") for name in ("direct", "tree")
    )
    xr.testing.assert_identical(one.load(), other.load())


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────


@st.composite
def plans(draw: st.DrawFn) -> tuple[Plan, Box]:
    """Plans of small images in smaller blocks, from all kinds of sources, of regions too."""
    ndim = draw(st.integers(1, 3))
    shape = draw(st.tuples(*[st.integers(1, 40)] * ndim))
    factors = [(1,) * ndim]
    for _ in range(draw(st.integers(0, 3))):
        step = draw(st.tuples(*[st.integers(1, 3)] * ndim))
        factors.append(tuple(f * s for f, s in zip(factors[-1], step, strict=True)))
    factors = [f for f in factors if all(a <= n for a, n in zip(f, shape, strict=True))]
    factors = [f for i, f in enumerate(factors) if i == 0 or f != factors[i - 1]]
    boundary: Any = draw(st.sampled_from(["pad", "trim"]))
    shapes = [reducers.reduced_shape(shape, f, boundary) for f in factors]
    chunks = draw(st.tuples(*[st.integers(1, 12)] * ndim))
    shards = draw(st.none() | st.tuples(*[st.sampled_from([1, 2, 3])] * ndim))
    levels = layout(
        shapes,
        factors,
        chunks,
        None if shards is None else [c * s for c, s in zip(chunks, shards, strict=True)],
    )
    window: Box = tuple((0, n) for n in shape)
    if draw(st.booleans()):
        starts = [draw(st.integers(0, n - 1)) for n in shape]
        window = tuple((a, draw(st.integers(a + 1, n))) for a, n in zip(starts, shape, strict=True))
    sizes = [draw(st.integers(1, 20)) for _ in shape]
    source = tuple(
        tuple(min(size, b - start) for start in range(a, b, size))
        for size, (a, b) in zip(sizes, window, strict=True)
    )
    made = plan_pyramid(
        "zyx"[-ndim:],
        np.dtype("u2"),
        levels,
        method=draw(st.sampled_from(["mean", "nearest", "gaussian"])),
        boundary=boundary,
        source_chunks=draw(st.sampled_from([None, source])),
        handed=draw(st.booleans()),
        window=window,
    )
    return made, window


def touched(level: LevelPlan, box: Box) -> set[Box]:
    """Give the objects of a level that a box of it lies in."""
    whole = [(a // u * u, -(-b // u) * u) for (a, b), u in zip(box, level.unit, strict=True)]
    return set(split(tuple(whole), level.unit)) if all(a < b for a, b in box) else set()


@settings(max_examples=150, deadline=None)
@given(plans(), st.sampled_from([1, 64, 2**26]))
def test_no_two_blocks_write_to_one_object(made: tuple[Plan, Box], size: int) -> None:
    """And together they write all that a window touches, each pixel once."""
    plan_, window = made
    changed = window
    for number, level in enumerate(plan_.levels):
        seen: dict[Box, int] = {}
        pixels = 0
        for step in plan_.passes:
            if number not in step.levels:
                continue
            for index in range(step.blocks):
                box = plan.scaled(step.box(index), plan_.base(step), level)
                pixels += math.prod(max(b - a, 0) for a, b in box)
                for one in touched(level, box):
                    assert seen.setdefault(one, index) == index
        if number:
            ratio = plan.relative(plan_.levels[number - 1], level)
            cells = reducers.halo(plan_.method, ratio)
            changed = tuple(
                (max(a // f - h, 0), min(-(-b // f) + h, n))
                for (a, b), f, h, n in zip(changed, ratio, cells, level.shape, strict=True)
            )
        assert pixels == math.prod(max(b - a, 0) for a, b in changed)
    assert size  # one strategy more, so that blocks of all sizes are tried


def test_a_plan_is_printed_as_a_table() -> None:
    text = str(image((64, 512, 512)).omezarr.plan([{"z": 2, "y": 2, "x": 2}], chunks=64))
    header, first, second, *_, last = text.splitlines()
    assert header.split() == ["level", "z", "y", "x", "chunks", "shards", "objects", "bytes"]
    assert first.split() == ["0", "64", "512", "512", "64×64×64", "-", "64", "32", "MiB"]
    assert second.split()[:4] == ["1", "32", "256", "256"]
    assert "per worker" in last


def test_a_plan_is_made_without_reading() -> None:
    zeros = da.zeros((64, 2048, 2048), chunks=(1, 2048, 2048), dtype="u2")
    pixels = zeros.map_blocks(burn, dtype="u2")
    made = xr.DataArray(pixels, dims=("z", "y", "x")).omezarr.plan()
    assert made.tasks > 1


def test_shards_by_default_where_there_would_be_too_many_files() -> None:
    shape, spatial = (8192, 8192, 8192), (True, True, True)
    shards = default_shards(shape, (64, 64, 128), 2, spatial)
    assert shards is not None
    assert math.prod(n // s for n, s in zip(shape, shards, strict=True)) <= 2**16
    # Time grows without a shard being written again.
    assert default_shards((10**6, 512, 512), (1, 512, 512), 2, (False, True, True)) is None


def test_default_chunks_have_the_size_that_is_set() -> None:
    with set_options(chunk_bytes=2**16):
        small = image((64, 256, 256)).omezarr.plan(levels=1)
    assert math.prod(small.levels[0].chunks) * 2 == 2**16


# ── what is handed on ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BLOCK_BYTES", "TILE_BYTES", "PART_BYTES"):
        monkeypatch.setattr(plan, name, 2**11)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("chunks", [16, 20, 48, (7, 31, 64)])
@pytest.mark.parametrize("shards", [None, 32])
def test_dask_hands_on_what_blocks_become(
    chunks: int | tuple[int, ...], shards: int | None
) -> None:
    """Whatever the chunks: the same bytes, and nothing that was written is read again."""
    plain = image((48, 96, 80))
    expected, found = MemoryStore(), MemoryStore()
    plain.omezarr.to_zarr(expected, levels=4, chunks=16, shards=shards)
    watched = WatchedStore(found)
    sides = (chunks,) * 3 if isinstance(chunks, int) else chunks
    plain.chunk(dict(zip("zyx", sides, strict=True))).omezarr.to_zarr(
        watched, levels=4, chunks=16, shards=shards
    )
    assert objects(found) == objects(expected)
    if shards is None:  # Zarr looks whether there is a shard
        assert not [key for key in watched.log.keys("get") if "/c/" in key]


def test_chunks_in_memory_are_no_tasks() -> None:
    values = np.zeros((24, 64, 64), "u2")
    array = xr.DataArray(values, dims=("z", "y", "x")).chunk(8)
    later: Any = array.omezarr.to_zarr(MemoryStore(), levels=2, chunks=16, compute=False)
    planned = array.omezarr.plan(levels=2, chunks=16)
    assert planned.tasks < array.data.npartitions / 10
    assert len(later.dask) < planned.tasks + 10


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(6))
def test_what_was_handed_on_is_made_again_on_resuming(seed: int) -> None:
    array = image((48, 96, 80), chunks=20)
    done = MemoryStore()
    watched = WatchedStore(done)
    with dask.config.set(scheduler="synchronous"):
        array.omezarr.to_zarr(watched, levels=4, chunks=16)
        count = len(watched.log.keys("set", "delete"))
        store = MemoryStore()
        stop = int(np.random.default_rng(seed).integers(5, count - 5))
        with pytest.raises((OmeZarrError, StoreFailureError)):
            array.omezarr.to_zarr(
                WatchedStore(store, hook=failing_after(stop)), levels=4, chunks=16
            )
        resumed = WatchedStore(store)
        array.omezarr.to_zarr(resumed, levels=4, chunks=16, resume=True)
    assert objects(store) == objects(done)
    assert len(resumed.log.keys("set")) < count


def test_memory_is_warned_of_with_chunks_that_need_less() -> None:
    planes = da.zeros((64, 4096, 4096), "u2", chunks=(1, 4096, 4096))
    array = xr.DataArray(planes, dims=("z", "y", "x"))
    with pytest.warns(OmeZarrWarning, match=r"chunks=\{'z'"):
        large = array.omezarr.plan(levels=1, chunks=64)
    small = array.omezarr.plan(levels=1)
    assert small.block_bytes < large.block_bytes / 2
