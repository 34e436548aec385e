"""The writer: what it replaces, what it leaves alone, what an interruption leaves behind."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import inspect
import itertools
import json
import math
import pickle
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING

import dask.array as da
import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import xarray as xr
import zarr
from dask.array.core import normalize_chunks
from dask.delayed import Delayed
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore, MemoryStore

from tests.helpers import (
    VERSIONS,
    StoreFailureError,
    WatchedStore,
    arrays_in,
    contents,
    copy_of,
    document_of,
    failing_after,
    files,
    image,
    level_array,
    level_paths,
    multiscales,
    opened,
    opened_tree,
    pixels,
    put_array,
    put_document,
    put_sample,
)
from xarray_omezarr import OmeZarrError, OmeZarrWarning
from xarray_omezarr.errors import OmeZarrFileExistsError, OmeZarrFileNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers import Document, Option, Pixels, Place

CHANGES = list(itertools.product(VERSIONS, VERSIONS))
"""Versions of the old image and of the new one."""

MODES = ("w-", "w")


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


changes = pytest.mark.parametrize(
    ("before", "after"),
    CHANGES,
    ids=[f"{before} to {after}" for before, after in CHANGES],
)


# ── where it goes ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "place",
    ["str", "PathLike", "str/", "file://", "memory://", "LocalStore", "MemoryStore", "wrapped"],
)
def test_targets(tmp_path: Path, version: str, place: str) -> None:
    where = tmp_path / "new" / "image.ome.zarr"
    targets: dict[str, Place] = {
        "str": str(where),
        "PathLike": where,
        "str/": f"{where}/",
        "file://": where.as_uri(),
        "memory://": f"memory:/{where}",
        "LocalStore": LocalStore(where),
        "MemoryStore": MemoryStore(),
        "wrapped": WatchedStore(MemoryStore()),
    }
    ds = image()
    assert ds.omezarr.to_zarr(targets[place], version=version, levels=2) is None
    xr.testing.assert_equal(opened(targets[place]).load(), ds)
    with pytest.raises(OmeZarrFileExistsError):
        ds.omezarr.to_zarr(targets[place], version=version)
    (ds + 1).omezarr.to_zarr(targets[place], version=version, mode="w", levels=2)
    xr.testing.assert_equal(opened(targets[place]).load(), ds + 1)


def test_group(tmp_path: Path, version: str) -> None:
    root = zarr.open_group(tmp_path, zarr_format=2 if version == "0.4" else 3, mode="w")
    root.attrs["lab"] = "mine"
    for seed, group in enumerate(("a/b", "c")):
        image(seed=seed).omezarr.to_zarr(tmp_path, group=group, version=version)
    xr.testing.assert_equal(opened(tmp_path, group="a/b").load(), image(seed=0))
    xr.testing.assert_equal(opened(tmp_path / "c").load(), image(seed=1))
    assert zarr.open_group(tmp_path, mode="r").attrs.asdict() == {"lab": "mine"}


@pytest.mark.parametrize("kind", ["Dataset", "DataArray", "DataTree"])
def test_every_kind_of_object(tmp_path: Path, kind: str) -> None:
    ds = image()
    objects = {"Dataset": ds, "DataArray": ds.image, "DataTree": xr.DataTree.from_dict({"/0": ds})}
    objects[kind].omezarr.to_zarr(tmp_path / "new")
    xr.testing.assert_equal(opened(tmp_path / "new").load(), ds)


def test_one_signature() -> None:
    names = (
        "self store group mode version image levels method boundary chunks shards compressors "
        "compute progress fsync resume storage_options"
    )
    ds = image()
    for one in (ds, ds.image, xr.DataTree.from_dict({"/0": ds})):
        signature = inspect.signature(type(one.omezarr).to_zarr)
        labels = {"labels", "existing_labels", "overwrite_labels"}
        labels |= {"append_dim", "region", "layout"}
        assert [name for name in signature.parameters if name not in labels] == names.split()


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def a_folder(where: Path) -> None:
    (where / "data").mkdir(parents=True)
    (where / "data" / "thesis.txt").write_text("years of work")


def a_file(where: Path) -> None:
    where.write_text("years of work")


def a_group(where: Path) -> None:
    a_folder(where)
    zarr.create_group(where, attributes={"lab": "mine"})
    zarr.create_array(where, name="0", data=pixels((8, 8)))


def an_old_group(where: Path) -> None:
    zarr.create_group(where, attributes={"lab": "mine"}, zarr_format=2)
    zarr.create_array(where, name="0", data=pixels((8, 8)), zarr_format=2)


def an_array(where: Path) -> None:
    zarr.create_array(where, data=pixels((8, 8)))


def broken_json(where: Path) -> None:
    a_folder(where)
    (where / "zarr.json").write_text('{"zarr_format": 3, "node_type": ')


def around_an_image(document: Document, version: str) -> Callable[[Path], None]:
    """Make a hierarchy of some other kind that has an image in it."""

    def build(where: Path) -> None:
        a_folder(where)
        put_document(where, document, version=version)
        put_sample(where, version="0.4" if version == "0.4" else "0.5", group="A/1/0")

    return build


PLATE = {
    "plate": {
        "columns": [{"name": "1"}],
        "rows": [{"name": "A"}],
        "wells": [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}],
    },
}
STRANGERS: dict[str, Callable[[Path], None]] = {
    "folder": a_folder,
    "file": a_file,
    "group": a_group,
    "old group": an_old_group,
    "array": an_array,
    "broken JSON": broken_json,
    "plate 0.4": around_an_image(PLATE, "0.4"),
    "plate 0.5": around_an_image(PLATE, "0.5"),
    "well": around_an_image({"well": {"images": [{"path": "0"}]}}, "0.5"),
    "series 0.4": around_an_image({"bioformats2raw.layout": 3}, "0.4"),
    "series 0.5": around_an_image({"bioformats2raw.layout": 3}, "0.5"),
    "labels": around_an_image({"labels": ["A/1/0"]}, "0.5"),
    "scene": around_an_image({"scene": {"coordinateTransformations": []}}, "0.6"),
    "collection": around_an_image({}, "0.5"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_is_no_image_stays(tmp_path: Path, stranger: str, mode: str) -> None:
    STRANGERS[stranger](tmp_path / "target")
    before = files(tmp_path)
    expected = OmeZarrFileExistsError if mode == "w-" else OmeZarrError
    for version, compute in itertools.product(VERSIONS, (True, False)):
        with pytest.raises(expected, match="target"):
            image().omezarr.to_zarr(
                tmp_path / "target",
                mode=mode,
                version=version,
                compute=compute,
            )
        assert files(tmp_path) == before


@pytest.mark.parametrize("mode", MODES)
def test_level_of_an_image_stays(tmp_path: Path, version: str, mode: str) -> None:
    sample = put_sample(tmp_path, version=version)
    before = files(tmp_path)
    for kwargs in ({"group": sample.paths[0]}, {"group": sample.paths[0] + "/below"}):
        with pytest.raises(OmeZarrError, match=sample.paths[0]):
            image().omezarr.to_zarr(tmp_path, mode=mode, version=version, **kwargs)
        assert files(tmp_path) == before


@changes
def test_existing_image_stays_unless_told(tmp_path: Path, before: str, after: str) -> None:
    put_sample(tmp_path, version=before)
    found = files(tmp_path)
    with pytest.raises(OmeZarrFileExistsError, match=r"mode=.w."):
        image().omezarr.to_zarr(tmp_path, version=after)
    assert files(tmp_path) == found


def test_bad_input_leaves_the_old_image(tmp_path: Path, version: str) -> None:
    """All that can be known beforehand is looked at before anything is written."""
    put_sample(tmp_path, version=version)
    found = files(tmp_path)
    uneven = image().assign_coords(y=np.arange(40.0) ** 2)
    for ds, kwargs in (
        (uneven, {}),
        (image(), {"method": "magic"}),
        (image(), {"levels": [{"y": 3}, {"y": 4}]}),
        (image(), {"chunks": {"q": 2}}),
        (image().astype("complex64"), {}),
    ):
        with pytest.raises(OmeZarrError):
            ds.omezarr.to_zarr(tmp_path, mode="w", version=version, **kwargs)
        assert files(tmp_path) == found


# ── what is replaced ─────────────────────────────────────────────────────────────────────────────


@changes
def test_replaces_an_image_and_nothing_else(tmp_path: Path, before: str, after: str) -> None:
    put_sample(tmp_path, version=before)
    group = zarr.open_group(tmp_path, mode="a")
    group.attrs["lab"] = {"name": "mine", "values": [1, 2.5, None]}
    group.create_group("tables", attributes={"rows": 3})
    group.create_array("tables/area", data=pixels((7,)))
    group.create_array("0", data=pixels((5, 5)))  # where a first level would go
    (tmp_path / "notes.txt").write_text("years of work")
    (tmp_path / "deep" / "notes.txt").write_text("beside an old level")
    foreign = {
        name: data
        for name, data in files(tmp_path).items()
        if name.startswith(("tables", "0/")) or name.endswith(".txt")
    }
    image().omezarr.to_zarr(tmp_path, mode="w", version=after, levels=2)
    xr.testing.assert_equal(opened(tmp_path).load(), image())
    left = files(tmp_path)
    assert foreign.items() <= left.items()
    assert arrays_in(tmp_path) == {*level_paths(tmp_path), "tables/area", "0"}
    assert ("zarr.json" in left, ".zattrs" in left) == (after == "0.5", after == "0.4")
    for zarr_format in (2, 3):
        if (zarr_format == 2) == (after == "0.4"):
            kept = zarr.open_group(tmp_path, mode="r", zarr_format=zarr_format)
            assert kept.attrs["lab"] == {"name": "mine", "values": [1, 2.5, None]}


@pytest.mark.filterwarnings("ignore:Consolidated metadata:UserWarning")
@changes
def test_no_consolidated_metadata_of_the_old_image(
    tmp_path: Path,
    before: str,
    after: str,
) -> None:
    """Others trust them, and would see the old image."""
    put_sample(tmp_path, version=before)
    zarr.consolidate_metadata(tmp_path, zarr_format=2 if before == "0.4" else 3)
    image().omezarr.to_zarr(tmp_path, mode="w", version=after, levels=2)
    np.testing.assert_array_equal(level_array(tmp_path)[...], image().image)


def test_replaces_a_field_of_a_plate(tmp_path: Path, version: str) -> None:
    around_an_image(PLATE, version)(tmp_path)
    plate = zarr.open_group(tmp_path, mode="r").attrs.asdict()
    image().omezarr.to_zarr(tmp_path, group="A/1/0", mode="w")
    xr.testing.assert_equal(opened(tmp_path, group="A/1/0").load(), image())
    assert zarr.open_group(tmp_path, mode="r").attrs.asdict() == plate


@changes
def test_replaces_in_memory(before: str, after: str) -> None:
    store = MemoryStore()
    for seed, version in enumerate((before, after, before)):
        image(seed=seed).omezarr.to_zarr(store, mode="w", version=version, levels=2)
        xr.testing.assert_equal(opened(store).load(), image(seed=seed))
        metadata = [key for key in contents(store) if key.endswith((".zarray", "zarr.json"))]
        assert len(metadata) == (2 if version == "0.4" else 3)


@changes
@pytest.mark.parametrize("chunks", [None, {}], ids=["lazy", "dask"])
@pytest.mark.parametrize("compute", [True, False])
def test_data_that_come_from_the_image_they_replace(
    tmp_path: Path,
    before: str,
    after: str,
    chunks: Option,
    compute: bool,  # noqa: FBT001
) -> None:
    sample = put_sample(tmp_path, version=before)
    lazy = opened(tmp_path, chunks=chunks).isel(y=slice(4, None))
    assert not lazy.image.variable._in_memory
    delayed = lazy.omezarr.to_zarr(tmp_path, mode="w", version=after, compute=compute)
    if not compute:
        xr.testing.assert_identical(opened(tmp_path).load(), sample.dataset())
        delayed.compute()
    expected = sample.dataset().isel(y=slice(4, None))
    xr.testing.assert_identical(opened(tmp_path).load(), expected)
    assert arrays_in(tmp_path) == set(level_paths(tmp_path))


def test_tree_that_comes_from_the_image_it_replaces(tmp_path: Path, version: str) -> None:
    sample = put_sample(tmp_path, version=version)
    region = {"y": slice(12.0, 25.0)}
    tree = opened_tree(tmp_path).sel(region)
    tree.omezarr.to_zarr(tmp_path, mode="w")
    for level in range(3):
        xr.testing.assert_identical(
            opened(tmp_path, level=level).load(),
            sample.dataset(level).sel(region),
        )


# A level whose chunks are all absent is legitimate: it reads as the fill value, until it is gone.
@pytest.mark.parametrize("stored", ["noise", "zeros"])
@pytest.mark.parametrize("place", ["path", "sharded path", "memory", "memory://"])
@changes
def test_what_was_opened_before_raises(
    tmp_path: Path,
    before: str,
    after: str,
    place: str,
    stored: str,
) -> None:
    targets = {"memory": MemoryStore(), "memory://": f"memory:/{tmp_path}"}
    target: Place = targets.get(place, tmp_path / "image")
    shards = 32 if place == "sharded path" and before == "0.5" else None
    old = image() if stored == "noise" else xr.zeros_like(image())
    old.omezarr.to_zarr(target, version=before, levels=2, chunks=16, shards=shards)
    np.testing.assert_array_equal(opened(target).image, old.image)
    lazy, chunked = opened(target), opened(target, chunks={})
    crop = opened(target, level=1).isel(y=[3, 1], x=slice(None, None, 2))
    travelled = None if place == "memory" else pickle.dumps(opened(target))
    image(seed=1).omezarr.to_zarr(target, mode="w", version=after, levels=2, chunks=16)
    gone = (OmeZarrError, OSError)
    with pytest.raises(gone):
        lazy.load()
    with pytest.raises(gone):
        lazy.image[0, 0].load()
    with pytest.raises(gone):
        chunked.compute()
    with pytest.raises(gone):
        asyncio.run(crop.load_async())
    if travelled is not None:
        with pytest.raises(gone):
            pickle.loads(travelled).load()  # noqa: S301
    xr.testing.assert_equal(opened(target).load(), image(seed=1))


@changes
def test_delayed(tmp_path: Path, before: str, after: str) -> None:
    new = image(seed=1).chunk(y=16)
    fresh = new.omezarr.to_zarr(tmp_path / "fresh", version=after, compute=False)
    assert isinstance(fresh, Delayed)
    with pytest.raises(OmeZarrError):
        opened(tmp_path / "fresh")
    fresh.compute()  # type: ignore[no-untyped-call]
    xr.testing.assert_equal(opened(tmp_path / "fresh").load(), new.compute())

    sample = put_sample(tmp_path / "old", version=before)
    replacing = new.omezarr.to_zarr(tmp_path / "old", mode="w", version=after, compute=False)
    xr.testing.assert_identical(opened(tmp_path / "old").load(), sample.dataset())
    replacing.compute(scheduler="threads")
    xr.testing.assert_equal(opened(tmp_path / "old").load(), new.compute())
    assert arrays_in(tmp_path / "old") == set(level_paths(tmp_path / "old"))


# ── what an interruption leaves ──────────────────────────────────────────────────────────────────


def levels_of(store: MemoryStore) -> list[Pixels]:
    tree = opened_tree(store)
    return [node.image.values for node in tree.children.values()]


def state(store: MemoryStore, images: dict[str, list[Pixels]]) -> str:
    """Say which image a store holds, all levels of it."""
    with warnings.catch_warnings():
        # Between two versions both kinds of metadata may stand side by side.
        warnings.simplefilter("ignore", OmeZarrWarning)
        try:
            found = levels_of(copy_of(store))
        except OmeZarrFileNotFoundError:
            return "absent"
        except OmeZarrError as error:
            assert "unfinished" in str(error)  # noqa: PT017
            return "unfinished"
    for name, levels in images.items():
        if len(levels) == len(found) and all(map(np.array_equal, levels, found)):
            return name
    return "neither"


@pytest.mark.parametrize("group", [None, "a/b"])
@pytest.mark.parametrize(("before", "after"), [(None, "0.4"), (None, "0.5"), *CHANGES])
def test_store_that_fails_at_any_moment(before: str | None, after: str, group: str | None) -> None:
    """Whichever write or deletion is the first to fail: the old image, or the new one, or none."""

    def write(store: Place, seed: int, version: str, mode: str) -> None:
        ds = image(seed=seed)
        ds.omezarr.to_zarr(store, group=group, mode=mode, version=version, levels=2, chunks=32)

    def root(store: MemoryStore) -> MemoryStore:
        if group is None:
            return store
        start = f"{group}/"
        below = {key: value for key, value in store._store_dict.items() if key.startswith(start)}
        return MemoryStore({key.removeprefix(start): value for key, value in below.items()})

    start, images = MemoryStore(), {}
    if before is not None:
        write(start, 0, before, "w-")
        images["old"] = levels_of(root(start))
    undisturbed = copy_of(start)
    mode = "w-" if before is None else "w"
    write(undisturbed, 1, after, mode)
    images["new"] = levels_of(root(undisturbed))

    seen = []
    for writes in itertools.count():
        store = copy_of(start)
        watched = WatchedStore(store, hook=failing_after(writes))
        with warnings.catch_warnings(), contextlib.suppress(StoreFailureError, OmeZarrError):
            warnings.simplefilter("ignore", OmeZarrWarning)
            write(watched, 1, after, mode)
        seen.append(state(root(store), images))
        if len(watched.log.keys("set", "delete")) <= writes:
            break
        write(store, 1, after, "w" if seen[-1] == "new" else mode)
        assert state(root(store), images) == "new"
        assert len(contents(store)) == len(contents(undisturbed))
    order = ["absent", "unfinished", "new"] if before is None else ["old", "new"]
    assert [name for name, _ in itertools.groupby(seen)] == order


def test_source_that_fails(tmp_path: Path, version: str) -> None:
    put_sample(store := MemoryStore(), version=version)
    watched = WatchedStore(store)
    ds = opened(watched)

    def fail(method: str, key: str) -> None:
        if method == "get" and key.endswith("0/1/1"):
            raise StoreFailureError(key)

    watched.log.hook = fail
    with pytest.raises((StoreFailureError, OmeZarrError)):
        ds.omezarr.to_zarr(tmp_path / "new", chunks=16)
    with pytest.raises(OmeZarrError, match="unfinished"):
        opened(tmp_path / "new")
    with pytest.raises(OmeZarrError, match="unfinished"):
        opened_tree(tmp_path / "new")


SCRIPT = """
import itertools, os, signal, sys
import dask.array as da
import numpy as np
import xarray as xr
import xarray_omezarr

target, mode, version, end = sys.argv[1:]
computed = itertools.count()

def block(part):
    if next(computed) == 60:  # of 64: some blocks are written, some are not
        os._exit(9) if end == "exit" else os.kill(os.getpid(), signal.SIGKILL)
    return np.ones((1024, 1024), "u1")

data = da.zeros((8192, 8192), dtype="u1", chunks=1024)
data = data.map_blocks(block, dtype="u1", meta=np.empty((0, 0), "u1"))
xr.Dataset({"image": (("y", "x"), data)}).omezarr.to_zarr(
    target, mode=mode, version=version, levels=2, chunks=512, compressors=()
)
"""


@pytest.mark.parametrize(
    ("before", "after", "end"),
    [(None, "0.4", "exit"), (None, "0.5", "kill"), ("0.4", "0.5", "kill"), ("0.5", "0.5", "exit")],
)
def test_killed(tmp_path: Path, before: str | None, after: str, end: str) -> None:
    target, mode = tmp_path / "image", "w-" if before is None else "w"
    sample = None if before is None else put_sample(target, version=before)
    command = [sys.executable, "-c", SCRIPT, str(target), mode, after, end]
    result = subprocess.run(command, check=False, capture_output=True)
    assert result.returncode in {9, -9}, result.stderr.decode()
    begun = arrays_in(target) - (set() if sample is None else set(sample.paths))
    assert any(len(files(target / path)) > 2 for path in begun), "killed before it wrote a chunk"
    if sample is None:
        with pytest.raises(OmeZarrError, match="unfinished"):
            opened(target)
    else:
        xr.testing.assert_identical(opened(target).load(), sample.dataset())
    image().omezarr.to_zarr(target, mode=mode, version=after)
    xr.testing.assert_equal(opened(target).load(), image())
    assert arrays_in(target) == set(level_paths(target))


def test_unfinished_is_replaced_with_either_mode(version: str) -> None:
    for mode in MODES:
        store = MemoryStore()
        with pytest.raises((StoreFailureError, OmeZarrError)):
            image().omezarr.to_zarr(
                WatchedStore(store, hook=failing_after(4)),
                version=version,
                chunks=16,
            )
        assert contents(store)
        image(seed=1).omezarr.to_zarr(store, mode=mode)
        xr.testing.assert_equal(opened(store).load(), image(seed=1))


# ── a tree of levels ─────────────────────────────────────────────────────────────────────────────


def pyramid(count: int = 3) -> dict[str, xr.Dataset]:
    """Levels that no reducer would make, so that none can pass for them."""
    levels = {"/0": image()}
    for level in range(1, count):
        coarse = levels[f"/{level - 1}"].coarsen(y=2, x=2).mean().astype("uint16")
        levels[f"/{level}"] = coarse * 0 + pixels(coarse.image.shape, seed=level)
    return levels


def test_tree_is_written_as_it_is(tmp_path: Path, version: str) -> None:
    levels = pyramid()
    xr.DataTree.from_dict(levels).omezarr.to_zarr(tmp_path / "new", version=version)
    assert len(level_paths(tmp_path / "new")) == 3
    for level in range(3):
        xr.testing.assert_equal(opened(tmp_path / "new", level=level).load(), levels[f"/{level}"])


def test_cropped_tree_keeps_its_positions(tmp_path: Path, version: str) -> None:
    sample = put_sample(tmp_path / "old", version=version)
    region = {"y": slice(12.4, 21.0), "x": slice(-1.1, 3.0)}
    cropped = opened_tree(tmp_path / "old").sel(region)
    cropped.omezarr.to_zarr(tmp_path / "new")
    for level in range(3):
        expected = sample.dataset(level).sel(region)
        xr.testing.assert_identical(opened(tmp_path / "new", level=level).load(), expected)


def test_empty_levels_are_dropped(tmp_path: Path) -> None:
    put_sample(tmp_path / "old")
    tree = opened_tree(tmp_path / "old").sel(y=slice(10.4, 10.6))
    assert [node.sizes["y"] for node in tree.children.values()] == [1, 0, 0]
    with pytest.warns(OmeZarrWarning, match="1, 2"):
        tree.omezarr.to_zarr(tmp_path / "new")
    assert len(level_paths(tmp_path / "new")) == 1
    with pytest.raises(OmeZarrError, match="empty"):
        tree.isel(y=[]).omezarr.to_zarr(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda levels: {"/0": levels["/1"], "/1": levels["/0"]}, "coarse"),
        (lambda levels: {**levels, "/1": levels["/1"].isel(y=0)}, "y"),
        (lambda levels: {**levels, "/1": levels["/1"].rename(y="z")}, "z"),
        (lambda levels: {**levels, "/1": levels["/1"].assign_coords(y=levels["/1"].y + 2.5)}, "y"),
        (lambda levels: {**levels, "/1": levels["/1"].isel(x=slice(4, None))}, "x"),
        (lambda levels: {**levels, "/1": levels["/1"].astype("float32")}, "float32"),
    ],
    ids=["finer", "flat", "other dimension", "shifted", "narrower", "dtype"],
)
def test_levels_have_to_be_one_image(
    tmp_path: Path,
    change: Callable[[dict[str, xr.Dataset]], dict[str, xr.Dataset]],
    message: str,
) -> None:
    tree = xr.DataTree.from_dict(change(pyramid(2)))
    with pytest.raises(OmeZarrError, match=message):
        tree.omezarr.to_zarr(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_edges_may_be_within_a_coarse_pixel(tmp_path: Path) -> None:
    levels = pyramid(2)
    levels["/1"] = levels["/1"].assign_coords(y=levels["/1"].y + 0.75).isel(x=slice(None, -1))
    xr.DataTree.from_dict(levels).omezarr.to_zarr(tmp_path / "new")
    xr.testing.assert_equal(opened(tmp_path / "new", level=1).load(), levels["/1"])


# ── what lies there ──────────────────────────────────────────────────────────────────────────────


def test_version(tmp_path: Path) -> None:
    """The version that an image was opened with is kept, without one it is 0.5."""
    put_sample(tmp_path / "old", version="0.4")
    ds = opened(tmp_path / "old")
    for name, written, kwargs, version in (
        ("kept", ds.isel(y=slice(10)), {}, "0.4"),
        ("asked", ds, {"version": "0.5"}, "0.5"),
        ("new", image(), {}, "0.5"),
    ):
        written.omezarr.to_zarr(tmp_path / name, **kwargs)
        assert opened(tmp_path / name).image.encoding["omezarr"]["version"] == version
        assert level_array(tmp_path / name).metadata.zarr_format == (2 if version == "0.4" else 3)


def test_layout_0_4(tmp_path: Path) -> None:
    image((2, 40, 48), "cyx").omezarr.to_zarr(
        tmp_path, version="0.4", levels=2, chunks=16, mode="w"
    )
    assert not list(tmp_path.rglob("zarr.json"))
    for level, path in enumerate(level_paths(tmp_path)):
        metadata = json.loads((tmp_path / path / ".zarray").read_bytes())
        assert metadata["dimension_separator"] == "/"
        last = level_array(tmp_path, level).shape
        assert (tmp_path / path / "/".join(str((size - 1) // 16) for size in last)).is_file()


def test_layout_0_5(tmp_path: Path) -> None:
    image((2, 40, 48), "cyx").omezarr.to_zarr(tmp_path, version="0.5", levels=3, mode="w")
    assert not list(tmp_path.rglob(".z*"))
    for level in range(3):
        assert level_array(tmp_path, level).metadata.to_dict()["dimension_names"] == ("c", "y", "x")


@pytest.mark.parametrize("sort", VERSIONS)
@pytest.mark.parametrize(
    ("chunks", "expected"),
    [(16, (2, 16, 16)), ({"y": 8}, None), ({"c": 1, "y": 40, "x": 10}, (1, 40, 10))],
    ids=["number", "one axis", "all axes"],
)
def test_chunks(
    tmp_path: Path,
    sort: str,
    chunks: Option,
    expected: tuple[int, ...] | None,
) -> None:
    ds = image((2, 40, 48), "cyx")
    ds.omezarr.to_zarr(tmp_path / "new", chunks=chunks, version=sort)
    array = level_array(tmp_path / "new")
    if expected is None:
        assert array.chunks[1] == 8
    else:
        assert array.chunks == expected
    np.testing.assert_array_equal(opened(tmp_path / "new").image, ds.image)


@pytest.mark.parametrize(
    ("shards", "expected"),
    [(32, (2, 32, 32)), ({"c": 1, "y": 16, "x": 48}, (1, 16, 48))],
    ids=["number", "axes"],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["numpy", "dask"])
def test_shards(
    tmp_path: Path,
    shards: Option,
    expected: tuple[int, ...],
    chunked: bool,  # noqa: FBT001
) -> None:
    ds = image((2, 40, 48), "cyx")
    source = ds.chunk(c=1, y=7) if chunked else ds
    chunks = {"c": 1, "y": 16, "x": 16}
    source.omezarr.to_zarr(tmp_path / "new", chunks=chunks, shards=shards, levels=2)
    array = level_array(tmp_path / "new")
    assert (array.chunks, array.shards) == ((1, 16, 16), expected)
    np.testing.assert_array_equal(opened(tmp_path / "new").image, ds.image)


@pytest.mark.parametrize("kind", VERSIONS)
def test_compressors(tmp_path: Path, kind: str) -> None:
    codec: Option = numcodecs.Zstd(level=7) if kind == "0.4" else ZstdCodec(level=7)
    image().omezarr.to_zarr(tmp_path / "one", version=kind, compressors=codec)
    image().omezarr.to_zarr(tmp_path / "list", version=kind, compressors=[codec])
    image().omezarr.to_zarr(tmp_path / "none", version=kind, compressors=())
    assert level_array(tmp_path / "one").compressors == (codec,)
    assert level_array(tmp_path / "list").compressors == (codec,)
    assert level_array(tmp_path / "none").compressors == ()
    for name in ("one", "list", "none"):
        xr.testing.assert_equal(opened(tmp_path / name).load(), image())


@pytest.mark.parametrize(
    ("dims", "shape", "dtype"),
    [
        ("yx", (3000, 3000), "u1"),
        ("yx", (1500, 1500), "f8"),
        ("cyx", (3, 1200, 1200), "f4"),
        ("zyx", (40, 600, 600), "u2"),
        ("zyx", (2000, 64, 64), "u1"),
        ("tczyx", (2, 2, 24, 300, 300), "u2"),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else value,
)
def test_default_chunks(dims: str, shape: tuple[int, ...], dtype: str) -> None:
    store = MemoryStore()
    zeros = np.zeros(shape, dtype)
    xr.DataArray(zeros, dims=tuple(dims)).omezarr.to_zarr(store, levels=1)
    chunks = level_array(store).chunks
    assert 2**19 <= math.prod(chunks) * zeros.itemsize <= 2**21
    assert all(size == 1 for dim, size in zip(dims, chunks, strict=True) if dim in "tc")
    assert all(map(np.less_equal, chunks, shape))


@pytest.mark.parametrize("shape", [(50, 60), (1, 7)])
def test_small_images_are_one_chunk(shape: tuple[int, int]) -> None:
    store = MemoryStore()
    xr.DataArray(np.zeros(shape, "u1"), dims=("y", "x")).omezarr.to_zarr(store)
    assert level_array(store).chunks == shape


@pytest.mark.parametrize("shards", [None, (2, 16, 24)], ids=["plain", "sharded"])
def test_layout_that_an_image_was_opened_with_is_kept(
    tmp_path: Path,
    version: str,
    shards: tuple[int, ...] | None,
) -> None:
    codec: Option = numcodecs.Zstd(level=7) if version == "0.4" else ZstdCodec(level=7)
    shards = None if version == "0.4" else shards
    put_sample(
        tmp_path / "old",
        version=version,
        chunks=(1, 8, 12),
        shards=shards,
        compressors=codec,
    )
    opened(tmp_path / "old").isel(y=slice(3, 35)).omezarr.to_zarr(tmp_path / "new")
    array = level_array(tmp_path / "new")
    assert (array.chunks, array.shards, array.compressors) == ((1, 8, 12), shards, (codec,))
    other = {"0.4": "0.5", "0.5": "0.4"}[version]
    opened(tmp_path / "old").omezarr.to_zarr(tmp_path / "other", version=other)
    assert level_array(tmp_path / "other").chunks == (1, 8, 12)
    np.testing.assert_array_equal(opened(tmp_path / "other").image, opened(tmp_path / "old").image)


@pytest.mark.parametrize("method", ["mean", "nearest", "mode"])
def test_method_is_told(tmp_path: Path, version: str, method: str) -> None:
    image().omezarr.to_zarr(tmp_path / "new", method=method, version=version, levels=2)
    told = document_of(tmp_path / "new")["multiscales"][0]
    assert method in told["type"]
    assert method in json.dumps(told["metadata"])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "float32"])
def test_display_windows_are_not_invented(dtype: str) -> None:
    """The bounds are the dtype's, where a window is written at all."""
    store = MemoryStore()
    image((2, 40, 48), "cyx", dtype=dtype).omezarr.to_zarr(store)
    for channel in document_of(store).get("omero", {}).get("channels", []):
        window = channel.get("window")
        if np.dtype(dtype).kind == "f":
            assert window is None or (window["min"], window["max"]) == (0, 1)
        elif window is not None:
            bounds = np.iinfo(dtype)
            assert (window["min"], window["max"]) == (bounds.min, bounds.max)
            assert bounds.min <= window["start"] < window["end"] <= bounds.max


def test_known_windows_are_written() -> None:
    store = MemoryStore()
    ds = image((2, 40, 48), "cyx").omezarr.assign_channels(
        ["DAPI", "GFP"],
        colors=["0000FF", "00FF00"],
        windows=[(10, 200), (20, 400)],
    )
    ds.omezarr.to_zarr(store)
    channels = document_of(store)["omero"]["channels"]
    windows = [(channel["window"]["start"], channel["window"]["end"]) for channel in channels]
    assert windows == [(10, 200), (20, 400)]
    back = opened(store)
    assert back.c.values.tolist() == ["DAPI", "GFP"]
    assert back.c_color.values.tolist() == ["0000FF", "00FF00"]
    assert back.c_window_end.values.tolist() == [200, 400]


def test_channels_that_were_dropped_are_not_written(tmp_path: Path, version: str) -> None:
    put_sample(tmp_path / "old", version=version)
    opened(tmp_path / "old").isel(c=[1]).omezarr.to_zarr(tmp_path / "new")
    channels = document_of(tmp_path / "new")["omero"]["channels"]
    assert [channel["label"] for channel in channels] == ["GFP"]


# ── where it comes from ──────────────────────────────────────────────────────────────────────────


def ramps(shape: tuple[int, ...], origin: tuple[int, ...]) -> Pixels:
    """Return a part of an image whose value at each place is known."""
    total = np.zeros(shape, "u1")
    for position, (size, start) in enumerate(zip(shape, origin, strict=True)):
        ramp = np.arange(start, start + size) * (2 * position + 3) % 101
        total = total + np.expand_dims(ramp.astype("u1"), [*range(1, len(shape) - position)])
    return total


# Larger than a block, so that a source chunk could be asked for by several.
SOURCES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Option]]] = {
    "planes": (
        (16, 2048, 2048),
        (1, 2048, 2048),
        {"chunks": {"z": 4, "y": 256, "x": 256}, "method": "nearest"},
    ),
    "strips": ((4096, 8192), (100, 8192), {"chunks": 512}),
    "sharded": ((4096, 8192), (700, 512), {"chunks": 256, "shards": 512}),
    "not divisible": ((15, 3, 1024, 1000), (4, 2, 300, 1000), {"chunks": {"y": 512, "x": 512}}),
}


@pytest.mark.parametrize("case", SOURCES)
def test_each_block_of_a_dask_source_is_computed_once(case: str) -> None:
    shape, source_chunks, kwargs = SOURCES[case]
    computed: collections.Counter[tuple[int, ...]] = collections.Counter()
    lock = threading.Lock()

    def block(block_info: Option) -> Pixels:
        place = block_info[None]["array-location"]
        with lock:
            computed[tuple(start for start, _ in place)] += 1
        return ramps(tuple(stop - start for start, stop in place), tuple(p[0] for p in place))

    source = da.map_blocks(  # type: ignore[no-untyped-call]
        block,
        chunks=normalize_chunks(source_chunks, shape),  # type: ignore[no-untyped-call]
        dtype="u1",
        meta=np.empty((0,) * len(shape), "u1"),
    )
    store = MemoryStore()
    dims = tuple("tczyx"[-len(shape) :]) if len(shape) < 4 else tuple("tcyx")
    xr.DataArray(source, dims=dims).omezarr.to_zarr(store, levels=2, compressors=(), **kwargs)
    np.testing.assert_array_equal(opened(store).image, ramps(shape, (0,) * len(shape)))
    assert len(computed) == source.npartitions
    assert set(computed.values()) == {1}


@pytest.mark.parametrize("chunks", [None, 384], ids=["same chunks", "other chunks"])
@pytest.mark.parametrize("source", ["lazy", "dask", "tree"])
def test_each_chunk_of_a_stored_source_is_read_once(source: str, chunks: int | None) -> None:
    store = MemoryStore()
    place: Document = {"multiscales": [multiscales("yx", ["0"], [(1, 1)], [(0, 0)])]}
    put_document(store, place, version="0.5")
    values = ramps((8192, 4096), (0, 0))
    put_array(store, "0", values, version="0.5", dims="yx", chunks=(512, 512), compressors=())
    watched = WatchedStore(store)
    target = MemoryStore()
    if source == "tree":
        opened_tree(watched).omezarr.to_zarr(target, chunks=chunks)
    else:
        ds = opened(watched, chunks={} if source == "dask" else None)
        ds.omezarr.to_zarr(target, levels=2, chunks=chunks)
    np.testing.assert_array_equal(opened(target).image, values)
    read = collections.Counter(key for key in watched.log.keys("get") if key.startswith("0/c/"))
    assert len(read) == 16 * 8
    assert set(read.values()) == {1}


def test_source_of_another_version(tmp_path: Path, version: str) -> None:
    """Between two stores that are no paths, and back."""
    other = {"0.4": "0.5", "0.5": "0.4"}[version]
    sample = put_sample(first := MemoryStore(), version=version)
    url = f"memory:/{tmp_path}/second.ome.zarr"
    opened(first).omezarr.to_zarr(url, version=other, levels=3)
    opened(url).omezarr.to_zarr(third := MemoryStore(), version=version)
    xr.testing.assert_identical(opened(third).load(), sample.dataset())


# ── several variables ────────────────────────────────────────────────────────────────────────────


def test_image_is_picked_by_name() -> None:
    ds = image().rename(image="raw").assign(clean=lambda ds: ds.raw // 2)
    store = MemoryStore()
    with pytest.raises(OmeZarrError, match=r"(?s)raw.*clean"):
        ds.omezarr.to_zarr(store)
    assert not contents(store)
    with pytest.warns(OmeZarrWarning, match="raw"):
        ds.omezarr.to_zarr(store, image="clean")
    np.testing.assert_array_equal(opened(store).image, ds.clean)
    with pytest.raises(OmeZarrError, match=r"(?s)dirty.*raw.*clean"):
        ds.omezarr.to_zarr(MemoryStore(), image="dirty")


def test_variable_called_image_is_the_image() -> None:
    ds = image().assign(other=lambda ds: ds.image // 2)
    store = MemoryStore()
    with pytest.warns(OmeZarrWarning, match="other"):
        ds.omezarr.to_zarr(store)
    np.testing.assert_array_equal(opened(store).image, ds.image)


def test_only_variable_is_the_image_whatever_its_name() -> None:
    store = MemoryStore()
    image().rename(image="raw").omezarr.to_zarr(store)
    xr.testing.assert_equal(opened(store).load(), image())
