"""Zip archives: what is in them, how they are read where they are, and what is wrong with some."""

from __future__ import annotations

import errno
import gc
import io
import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.core.buffer import cpu
from zarr.storage import ZipStore

from tests.helpers import (
    QuietHandler,
    RangeHandler,
    document_of,
    files,
    image,
    opened,
    opened_tree,
    pixels,
    served,
)
from xarray_omezarr import OmeZarrError, OmeZarrWarning, archive, samples, zips
from xarray_omezarr.cli import main
from xarray_omezarr.draft import Draft
from xarray_omezarr.errors import OmeZarrFileExistsError, OmeZarrFileNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers import Option, Request

LABELS = {"labels": ["coins"]}


def coins() -> xr.Dataset:
    """Make an image with labels and their table."""
    ds = samples.coins()
    assert isinstance(ds, xr.Dataset)
    return ds


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """Make an archive by the standard library."""
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def members_of(path: Path) -> dict[str, bytes]:
    """Read all members by the standard library, which checks what it reads."""
    with zipfile.ZipFile(path) as found:
        return {name: found.read(name) for name in found.namelist()}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Write an image of three levels, 16 × 16 to the chunk."""
    path = tmp_path / "image.ozx"
    image().omezarr.to_zarr(path, levels=3, chunks=16)
    return path


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shards", [None, 128], ids=["chunks", "shards"])
@pytest.mark.parametrize("chunks", [None, {"y": 100}], ids=["memory", "dask"])
def test_holds_what_a_folder_does(tmp_path: Path, shards: int | None, chunks: Option) -> None:
    ds, how = coins(), {"levels": 3, "chunks": 64, "shards": shards}
    ds = ds if chunks is None else ds.chunk(chunks)
    for name in ("folder", "image.ozx"):
        ds.omezarr.to_zarr(tmp_path / name, **how)
    folder = {name: content for name, content in files(tmp_path / "folder").items() if content}
    members = members_of(tmp_path / "image.ozx")
    # Metadata are the same to the byte; chunks may have been encoded by other code.
    assert set(members) == set(folder)
    names = [name for name in folder if name.endswith("zarr.json")]
    assert {name: members[name] for name in names} == {name: folder[name] for name in names}
    xr.testing.assert_identical(
        opened_tree(tmp_path / "image.ozx").load(), opened_tree(tmp_path / "folder").load()
    )


def test_metadata_first(tmp_path: Path) -> None:
    coins().omezarr.to_zarr(tmp_path / "image.ozx", levels=2, chunks=128)
    with zipfile.ZipFile(tmp_path / "image.ozx") as found:
        assert found.testzip() is None
        infos = found.infolist()
        comment = json.loads(found.comment)
    names = [info.filename for info in infos]
    metadata = [name for name in names if name.endswith("zarr.json")]
    assert names[: len(metadata)] == metadata
    assert names[0] == "zarr.json"
    assert [name.count("/") for name in metadata] == [0, 1, 1, 1, 2, 3, 3]
    offsets = [info.header_offset for info in infos]
    assert offsets[0] == 0
    assert offsets[: len(metadata)] == sorted(offsets)[: len(metadata)]
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert len(set(names)) == len(names)
    ome = {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": True}}}
    assert comment == {"ome": ome}


@pytest.mark.parametrize("method", ["gaussian", "mean", "nearest"])
def test_levels_that_are_read_back(tmp_path: Path, method: str) -> None:
    ds = image((4, 70, 90), "zyx")
    for name in ("folder", "image.zip"):
        ds.omezarr.to_zarr(tmp_path / name, levels=4, chunks=16, shards=32, method=method)
    xr.testing.assert_identical(
        opened_tree(tmp_path / "image.zip").load(), opened_tree(tmp_path / "folder").load()
    )


def test_a_tree_and_an_image_of_nothing(tmp_path: Path) -> None:
    coins().omezarr.to_zarr(tmp_path / "one.ozx", levels=3)
    opened_tree(tmp_path / "one.ozx").omezarr.to_zarr(tmp_path / "other.ozx")
    xr.testing.assert_identical(
        opened_tree(tmp_path / "one.ozx").load(), opened_tree(tmp_path / "other.ozx").load()
    )
    # Not one chunk is stored, so that nothing is appended.
    nothing = xr.zeros_like(image())
    nothing.omezarr.to_zarr(tmp_path / "nothing.ozx")
    xr.testing.assert_identical(
        opened(tmp_path / "nothing.ozx").image, opened(written_as(nothing, tmp_path)).image
    )
    assert all(name.endswith("zarr.json") for name in members_of(tmp_path / "nothing.ozx"))


def written_as(ds: xr.Dataset, folder: Path) -> Path:
    """Write a folder."""
    ds.omezarr.to_zarr(folder / "same.zarr")
    return folder / "same.zarr"


def test_others_read_it(written: Path) -> None:
    values = [level.image.values for level in opened_levels(written)]
    with ZipStore(written, mode="r") as store:
        document = document_of(store)
        for dataset, expected in zip(document["multiscales"][0]["datasets"], values, strict=True):
            found = zarr.open_array(store, path=dataset["path"], mode="r")
            np.testing.assert_array_equal(np.asarray(found[:]), expected)
    ngff_zarr = pytest.importorskip("ngff_zarr", minversion="0.50")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        multiscales = ngff_zarr.from_ngff_zarr(str(written), version="0.5")
    for found, expected in zip(multiscales.images, values, strict=True):
        np.testing.assert_array_equal(np.asarray(found.data), expected)


def opened_levels(store: Path) -> list[xr.Dataset]:
    """Open all levels."""
    return [node.to_dataset() for node in opened_tree(store).children.values()]


def test_reads_others(tmp_path: Path) -> None:
    ngff_zarr = pytest.importorskip("ngff_zarr", minversion="0.50")
    values = pixels((60, 80))
    made = ngff_zarr.to_multiscales(
        ngff_zarr.to_ngff_image(values, ["y", "x"], {"y": 0.5, "x": 0.25}), scale_factors=[2]
    )
    path = tmp_path / "theirs.ozx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ngff_zarr.to_ngff_zarr(str(path), made, version="0.5")
    ds = opened(path)
    np.testing.assert_array_equal(ds.image, values)
    assert ds.omezarr.scale == {"y": 0.5, "x": 0.25}


def test_takes_no_more_memory_or_space(tmp_path: Path) -> None:
    """64 MiB of noise, which no codec makes smaller."""
    largest = 0

    def plane(block: Option) -> Option:
        nonlocal largest
        largest = max(largest, sum(path.stat().st_size for path in tmp_path.iterdir()))
        return np.random.default_rng(int(block.flat[0])).integers(0, 256, (1, 1024, 1024), np.uint8)

    numbers = da.arange(64, chunks=1)[:, None, None]
    stack = numbers.map_blocks(plane, chunks=(1, 1024, 1024), dtype="uint8")
    ds = xr.Dataset({"image": (("z", "y", "x"), stack)})
    # What is imported when it is used comes first.
    ds.isel(z=[0]).omezarr.to_zarr(tmp_path / "image.ozx", levels=1)
    tracemalloc.start()
    with dask.config.set(num_workers=2):
        ds.omezarr.to_zarr(tmp_path / "image.ozx", mode="w", levels=1, chunks={"z": 1})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (tmp_path / "image.ozx").stat().st_size
    assert size > 2**26
    assert 2**25 < largest < size + 2**21
    assert peak < 2**25


@pytest.mark.usefixtures("_forked")
def test_dask_that_is_computed_later(tmp_path: Path) -> None:
    path = tmp_path / "image.ozx"
    task: Any = image().chunk(y=16).omezarr.to_zarr(path, compute=False, chunks=16)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OmeZarrError, match="one process writes: compute with threads"):
        task.compute(scheduler="processes")
    task.compute()
    assert list(tmp_path.iterdir()) == [path]
    xr.testing.assert_equal(opened(path).image, image().image)
    before = path.read_bytes()
    with pytest.raises(OmeZarrError, match="computed before"):
        task.compute()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"mode": "a", **LABELS}, "written as a whole and not changed"),
        ({"mode": "r+"}, "mode='r\\+' is not known"),
        ({"region": {"y": slice(0, 8)}}, "written as a whole and not changed"),
        ({"append_dim": "t"}, "written as a whole and not changed"),
        ({"resume": True}, "written as a whole and not changed"),
        ({"layout": True}, "written as a whole and not changed"),
        ({"group": "a/b"}, "written as a whole and not changed"),
        ({"version": "0.4"}, "Write version='0.5'"),
        ({"method": "laplacian"}, "Write a folder"),
        ({"existing_labels": "all"}, "expected 'keep' or 'drop'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("there", [False, True])
def test_refuses(tmp_path: Path, how: dict[str, Any], sentence: str, there: bool) -> None:  # noqa: FBT001
    path = tmp_path / "image.ozx"
    if there:
        image().omezarr.to_zarr(path)
    before = files(tmp_path)
    with pytest.raises(OmeZarrError, match=sentence):
        coins().omezarr.to_zarr(path, **how)
    assert files(tmp_path) == before


def test_refuses_other_machines_and_processes(tmp_path: Path) -> None:
    with pytest.raises(OmeZarrError, match="written to a local file"):
        image().omezarr.to_zarr("memory://image.ozx")
    with (
        dask.config.set(scheduler="processes"),
        pytest.raises(OmeZarrError, match=r"dask.config.set\(scheduler='threads'\)"),
    ):
        image().omezarr.to_zarr(tmp_path / "image.ozx")
    assert not list(tmp_path.iterdir())


# ── replacing ────────────────────────────────────────────────────────────────────────────────────


def test_replaces_an_image_and_nothing_else(written: Path) -> None:
    before = written.read_bytes()
    with pytest.raises(OmeZarrFileExistsError, match="mode='w' to replace"):
        image(seed=1).omezarr.to_zarr(written)
    old = opened(written, cache=False)
    image(seed=1).omezarr.to_zarr(written, mode="w")
    xr.testing.assert_equal(opened(written).image, image(seed=1).image)
    with pytest.raises(OmeZarrFileNotFoundError, match="replaced or removed after"):
        old.image.values  # noqa: B018
    for content, sentence in (
        (before[:-30], "no zip archive"),
        (b"", "no zip archive"),
        (packed_bytes({"zarr.json": b'{"zarr_format": 3}'}), "something else"),
    ):
        written.write_bytes(content)
        with pytest.raises(OmeZarrFileExistsError, match=rf"{sentence}.*left untouched"):
            image().omezarr.to_zarr(written, mode="w")
        assert written.read_bytes() == content


def test_what_would_be_lost_is_told(tmp_path: Path) -> None:
    path = tmp_path / "image.ozx"
    coins().omezarr.to_zarr(path)
    plain = coins()[["image"]]
    for how in ({}, {"existing_labels": "keep"}):
        with pytest.raises(OmeZarrFileExistsError, match=r"label images .* coins"):
            plain.omezarr.to_zarr(path, mode="w", **how)
    plain.omezarr.to_zarr(path, mode="w", existing_labels="drop")
    assert list(opened(path).data_vars) == ["image"]
    members = members_of(path)
    root = json.loads(members["zarr.json"])
    root["attributes"]["mine"] = 1
    packed(path, {**members, "zarr.json": json.dumps(root).encode(), "notes/a.txt": b"note"})
    with pytest.raises(OmeZarrFileExistsError, match="more than an image: notes, attribute mine"):
        plain.omezarr.to_zarr(path, mode="w")


def test_from_itself(written: Path) -> None:
    """All pixels are read before anything is replaced."""
    expected = opened(written).image.load() + 1
    with xr.open_dataset(written, engine="omezarr", chunks={}) as ds:
        (ds + 1).omezarr.to_zarr(written, mode="w")
    np.testing.assert_array_equal(opened(written).image, expected)


def failing(act: Callable[[], object]) -> xr.Dataset:
    """Make an image of eight planes, a block each; something happens before the last but two."""
    count = itertools.count()

    def plane(values: Option) -> Option:
        if next(count) == 5:
            act()
        return values + 1

    planes = da.zeros((8, 2048, 2048), "uint16", chunks=(1, -1, -1)).map_blocks(plane)
    return xr.Dataset({"image": (("z", "y", "x"), planes)})


PLANES: dict[str, Any] = {"levels": 1, "chunks": {"z": 1}}


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("there", [False, True])
def test_what_fails_leaves_nothing(tmp_path: Path, error: BaseException, there: bool) -> None:  # noqa: FBT001
    path = tmp_path / "image.ozx"
    if there:
        image().omezarr.to_zarr(path)
    before = files(tmp_path)

    def fail() -> None:
        raise error

    with dask.config.set(num_workers=1), pytest.raises(type(error)):
        failing(fail).omezarr.to_zarr(path, mode="w", **PLANES)
    assert files(tmp_path) == before


@pytest.mark.parametrize("compute", [False, True])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compute: bool) -> None:  # noqa: FBT001
    append, count = Draft._append, itertools.count()

    def full(draft: Draft, *args: Option) -> Option:
        if next(count) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return append(draft, *args)

    monkeypatch.setattr(Draft, "_append", full)
    write = partial(image().chunk(y=16).omezarr.to_zarr, tmp_path / "image.ozx", chunks=8)
    act = write if compute else write(compute=False).compute
    with pytest.raises(OmeZarrError, match=r"No space left .* Nothing is left of the others"):
        act()
    assert not list(tmp_path.iterdir())


def test_a_task_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        raise NotImplementedError

    task: Any = failing(fail).omezarr.to_zarr(tmp_path / "image.ozx", compute=False, **PLANES)
    with dask.config.set(num_workers=1), pytest.raises(NotImplementedError):
        task.compute()
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".partial"
    del task
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_the_first_of_two_stands(tmp_path: Path) -> None:
    path = tmp_path / "image.ozx"
    mine = failing(lambda: image().omezarr.to_zarr(path))
    with pytest.raises(OmeZarrFileExistsError, match="written to by somebody else"):
        mine.omezarr.to_zarr(path, **PLANES)
    assert list(tmp_path.iterdir()) == [path]
    xr.testing.assert_equal(opened(path).image, image().image)


KILLED = """
import os, signal, sys
import dask
from tests.test_zip import PLANES, failing
dask.config.set(num_workers=1)
failing(lambda: os.kill(os.getpid(), signal.SIGKILL)).omezarr.to_zarr(sys.argv[1], **PLANES)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_what_is_killed_leaves_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "image.ozx"
    root = str(Path(__file__).parents[1])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("image.ozx.")
    assert left.suffix == ".partial"
    with pytest.raises(OmeZarrFileNotFoundError, match="There is nothing at"):
        opened(path)
    other = tmp_path / f"other.ozx.{'0' * 32}.partial"
    other.touch()
    image().omezarr.to_zarr(path)
    assert set(tmp_path.iterdir()) == {path, other}


def test_a_draft_is_a_store(tmp_path: Path) -> None:
    """Chunks that are written again, and removed, as Zarr may do."""
    root = b'{"zarr_format": 3, "node_type": "group"}'
    draft = Draft(tmp_path / "a.zip", {"zarr.json": root}, b"", before=None, fsync=True)
    for key, content in (("zarr.json", root), ("c/0", b"old"), ("c/0", b"newer"), ("c/1", b"1")):
        draft.set_sync(key, cpu.Buffer.from_bytes(content))
    draft.delete_sync("c/1")
    draft.delete_sync("c/2")
    assert draft.content("c/0", zarr.abc.store.SuffixByteRequest(2)) == b"er"
    assert draft.content("c/1") is None
    draft.finish()
    assert members_of(tmp_path / "a.zip") == {"zarr.json": root, "c/0": b"newer"}
    with pytest.raises(OmeZarrError, match="no longer being written"):
        draft.set_sync("c/3", cpu.Buffer.from_bytes(b"3"))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("shards", [None, 32])
def test_a_zipped_folder(tmp_path: Path, version: str, method: int, shards: int | None) -> None:
    if version == "0.4" and shards:
        return
    ds = coins()
    ds.omezarr.to_zarr(tmp_path / "a.zarr", version=version, chunks=16, shards=shards)
    root = tmp_path / "a.zarr"
    members = {name: content for name, content in files(root).items() if content is not None}
    packed(tmp_path / "a.zip", members, method)
    expected = opened_tree(root).load()
    xr.testing.assert_identical(opened_tree(tmp_path / "a.zip").load(), expected)
    part = opened(tmp_path / "a.zip").image[3:20, [5, 2]]
    np.testing.assert_array_equal(part, expected["0"].image[3:20, [5, 2]])
    nested = {f"a.zarr/{name}": content for name, content in members.items()}
    packed(tmp_path / "nested.zip", nested, method)
    with pytest.warns(OmeZarrWarning, match="in its folder 'a.zarr'"):
        xr.testing.assert_identical(opened_tree(tmp_path / "nested.zip").load(), expected)
    shutil.copy(tmp_path / "nested.zip", tmp_path / "nested.ozx")
    with pytest.raises(OmeZarrFileNotFoundError, match=r"It holds a\.zarr"):
        opened(tmp_path / "nested.ozx")
    xr.testing.assert_identical(
        opened_tree(tmp_path / "nested.ozx", group="a.zarr").load(), expected
    )


def test_doors(written: Path, tmp_path: Path) -> None:
    assert xr.open_dataset(written).image.shape == (40, 48)
    result = CliRunner().invoke(main, ["info", str(written)])
    assert "40×48" in result.output
    with pytest.raises(OmeZarrFileNotFoundError, match="There is nothing at"):
        opened(tmp_path / "absent.ozx")
    with pytest.raises(OmeZarrFileNotFoundError, match=r"There is nothing at .*labels/none"):
        opened(written, group="labels/none")
    with pytest.raises(OmeZarrError, match="storage_options are for URLs"):
        opened(written, storage_options={"a": 1})
    # A folder of such a name is a folder.
    image().omezarr.to_zarr(str(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "a.zip")
    assert opened(tmp_path / "a.zip").image.shape == (40, 48)
    (tmp_path / "broken.ozx").write_bytes(b"PK")
    with pytest.raises(OmeZarrError, match="no zip archive, or not all of one"):
        xr.open_dataset(tmp_path / "broken.ozx")


def test_travels(written: Path) -> None:
    expected = opened(written).image.values
    ds = opened(written, cache=False)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds)).image, expected)  # noqa: S301
    lazy = opened(written, chunks={})
    with dask.config.set({"multiprocessing.context": "spawn"}):
        np.testing.assert_array_equal(
            lazy.image.data.compute(scheduler="processes", num_workers=1), expected
        )


def test_many_read_side_by_side(written: Path) -> None:
    ds = opened(written, cache=False)
    expected = ds.image.values

    def read(number: int) -> bool:
        y, x = number % 40, number % 48
        return bool((ds.image[y:, x:].values == expected[y:, x:]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(200)))


# ── far away ─────────────────────────────────────────────────────────────────────────────────────


def ranges(asked: list[Request]) -> list[int]:
    """Give how many bytes each request was for; there must be none for a whole file."""
    spans = [one.headers["Range"].removeprefix("bytes=") for one in asked if one.method == "GET"]
    return [int(last) - int(first) + 1 for first, last in (span.split("-") for span in spans)]


@pytest.mark.parametrize("shards", [None, 512])
def test_over_http(tmp_path: Path, shards: int | None) -> None:
    """No more than the directory, the metadata and the chunks that are wanted."""
    values = np.random.default_rng(0).integers(0, 256, (1024, 1024), np.uint8)
    ds = xr.Dataset({"image": (("y", "x"), values)})
    ds.omezarr.to_zarr(tmp_path / "image.ozx", levels=2, chunks=128, shards=shards)
    size = (tmp_path / "image.ozx").stat().st_size
    assert size > 2**20
    with served(tmp_path, RangeHandler) as (url, asked):
        found = opened(f"{url}/image.ozx", cache=False)
        assert [one.method for one in asked] == ["HEAD", *["GET"] * 3]
        assert sum(ranges(asked)) < 2**17
        asked.clear()
        np.testing.assert_array_equal(found.image[130:200, 10:20], values[130:200, 10:20])
        # Of a shard: how it begins, its index, and the chunk.
        assert len(asked) == (1 if shards is None else 3)
        assert sum(ranges(asked)) < 2**15
        asked.clear()
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).image, values)  # noqa: S301
        assert sum(ranges(asked)) < 2**21
        assert found.encoding["source"] == f"{url}/image.ozx"


def test_requests_wait_for_none(written: Path) -> None:
    """Each of four readers gets its answer when all four have asked."""
    meeting, opening = threading.Barrier(4), threading.Event()

    class Meeting(RangeHandler):
        def hook(self) -> None:
            if opening.is_set():
                meeting.wait(timeout=30)

    corners = [(slice(a, a + 16), slice(b, b + 16)) for a in (0, 16) for b in (0, 16)]
    with served(written.parent, Meeting) as (url, _):
        ds = opened(f"{url}/image.ozx", cache=False)
        opening.set()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda corner: ds.image[corner].values, corners))
    expected = opened(written).image
    for corner, values in zip(corners, found, strict=True):
        np.testing.assert_array_equal(values, expected[corner])


def test_a_server_of_whole_files(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)
    xr.Dataset({"image": (("y", "x"), values)}).omezarr.to_zarr(tmp_path / "image.ozx")
    with (
        served(tmp_path, QuietHandler) as (url, _),
        pytest.raises(OmeZarrError, match="whole files, not ranges"),
    ):
        opened(f"{url}/image.ozx")
    with (
        served(tmp_path, RangeHandler) as (url, _),
        pytest.raises(OmeZarrFileNotFoundError, match="There is nothing at"),
    ):
        opened(f"{url}/absent.ozx")
    with pytest.raises(OmeZarrError, match="cannot be reached"):
        opened(f"{url}/image.ozx")


def test_file_systems_that_wait(written: Path) -> None:
    files_ = fsspec.filesystem("memory")
    files_.pipe_file("/zips/image.ozx", written.read_bytes())
    try:
        xr.testing.assert_identical(
            opened("memory://zips/image.ozx").load(), opened(written).load()
        )
    finally:
        files_.rm("/zips", recursive=True)


# ── broken and hostile ───────────────────────────────────────────────────────────────────────────


def patched(path: Path, name: str, field: int, value: bytes) -> None:
    """Change a field of a member's entry in the central directory."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as found:
        at = found.start_dir
        for info in found.infolist():
            if info.filename == name:
                break
            at += 46 + len(info.filename) + len(info.extra) + len(info.comment)
    content[at + field : at + field + len(value)] = value
    path.write_bytes(content)


FLAGS, METHOD, CRC, SIZE = 8, 10, 16, 24


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        (FLAGS, b"\1\0", "0/c/1/1 is encrypted"),
        (METHOD, b"\x0c\0", "0/c/1/1 is compressed by method 12"),
        (METHOD, b"\x08\0", "0/c/1/1 is damaged"),
        (CRC, b"\0\0\0\0", "0/c/1/1 is damaged"),
    ],
)
def test_a_member_that_cannot_be_read(
    written: Path, field: int, value: bytes, sentence: str
) -> None:
    patched(written, "0/c/1/1", field, value)
    ds = opened(written, cache=False)
    assert ds.image[:16].values.any()
    with pytest.raises(OmeZarrError, match=sentence):
        ds.image.values  # noqa: B018


@pytest.mark.parametrize("name", ["../a", "0/../../a", "/etc/passwd", "..", "0\\..\\..\\a"])
def test_names_that_lead_out(written: Path, name: str) -> None:
    with zipfile.ZipFile(written, "a") as found:
        found.writestr(name, b"")
    with pytest.raises(OmeZarrError, match="leads out of it"):
        opened(written)


def test_truncated(written: Path) -> None:
    content = written.read_bytes()
    for stop in (0, 4, 100, len(content) // 2, len(content) - 100, len(content) - 1):
        written.write_bytes(content[:stop])
        with pytest.raises(OmeZarrError, match="no zip archive, or not all of one"):
            opened(written)
    written.write_bytes(content[1000:])
    with pytest.raises(OmeZarrError, match="is a broken zip archive"):
        opened(written)
    # One that something was put before, such as a program that unpacks it.
    written.write_bytes(b"#!/bin/sh\n" + content)
    xr.testing.assert_equal(opened(written).image, image().image)


def test_the_last_of_a_name_counts(written: Path) -> None:
    with zipfile.ZipFile(written) as found:
        other = found.read("0/c/0/0")
    with zipfile.ZipFile(written, "a") as found, pytest.warns(UserWarning, match="Duplicate"):
        found.writestr("0/c/1/1", other)
    values = opened(written).image.values
    np.testing.assert_array_equal(values[16:32, 16:32], values[:16, :16])


def test_a_bomb_is_no_larger_than_it_says(written: Path) -> None:
    """A chunk that inflates to 100 MiB, and whose entry says that it has 1,000 bytes."""
    members = members_of(written)
    members["0/c/0/0"] = bytes(100 * 2**20)
    packed(written, members, zipfile.ZIP_DEFLATED)
    patched(written, "0/c/0/0", SIZE, (1000).to_bytes(4, "little"))
    ds = opened(written, cache=False)
    tracemalloc.start()
    with pytest.raises(OmeZarrError, match="0/c/0/0 is damaged"):
        ds.image.values  # noqa: B018
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_other_error_escapes(data: st.DataObject) -> None:
    content = bytearray(packed_bytes({"zarr.json": b"{}", "0/c/0": b"chunk", "ä/b": b"x" * 50}))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    content = (
        content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    )

    def read(start: int, stop: int) -> bytes:
        assert 0 <= start <= stop
        return bytes(content[start:stop])

    with suppress(OmeZarrError):
        members = zips.read_members(read, len(content), "a.zip")
        for key, member in members.items():
            with suppress(OmeZarrError):
                wanted = (0, member.size)
                found = zips.answered(zips.reading(member, key, "a.zip", wanted, {}), read)
                assert len(found) <= 2**20


def packed_bytes(members: dict[str, bytes], comment: bytes = b"", method: int = 8) -> bytes:
    """Make an archive in memory."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        made.comment = comment
        for name, content in members.items():
            made.writestr(name, content)
    return file.getvalue()


NAMES = st.text(
    st.characters(exclude_characters="\0/", codec="utf-8"), min_size=1, max_size=8
).filter(lambda name: name != "..")


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(NAMES, st.binary(max_size=60), max_size=6),
    # The standard library takes an end record within the comment for that of the archive.
    st.binary(max_size=100).filter(lambda comment: b"PK\5\6" not in comment),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.data(),
)
def test_reads_what_the_standard_library_writes(
    members: dict[str, bytes], comment: bytes, method: int, data: st.DataObject
) -> None:
    content = packed_bytes(members, comment, method)

    def read(start: int, stop: int) -> bytes:
        return content[start:stop]

    found = zips.read_members(read, len(content), "a.zip")
    with zipfile.ZipFile(io.BytesIO(content)) as same:
        assert list(found) == same.namelist()
    for key, member in found.items():
        start = data.draw(st.integers(0, member.size))
        stop = data.draw(st.integers(start, member.size))
        part = zips.answered(zips.reading(member, key, "a.zip", (start, stop), {}), read)
        assert bytes(part) == members[key][start:stop]


def test_more_than_32_bits(tmp_path: Path) -> None:
    """A file of 5 GiB that has holes: members, offsets and sizes beyond four."""
    path, far, size = tmp_path / "a.zip", 5 * 2**30, 2**32 + 5
    entries = zips.entry("large", 0, size, 0) + zips.entry("far", far, 3, 0xA2B3)
    with path.open("wb") as file:
        file.write(zips.header("large", size, 0))
        file.seek(far)
        file.write(zips.header("far", 3, 0xA2B3) + b"abc" + entries)
        file.write(zips.end(2, far + 33 + 3, len(entries), b"told"))
    with zipfile.ZipFile(path) as found:
        assert found.comment == b"told"
        assert [(i.filename, i.file_size, i.header_offset) for i in found.infolist()] == [
            ("large", size, 0),
            ("far", 3, far),
        ]
    store, _ = archive.open_archive(path)
    mine = {key: (member.size, member.start) for key, member in store.keys().items()}
    assert mine == {"large": (size, 0), "far": (3, far)}
    assert store.content("far", zarr.abc.store.RangeByteRequest(1, 3)) == b"bc"
    assert store.content("large", zarr.abc.store.SuffixByteRequest(7)) == bytes(7)


def test_more_than_16_bits(tmp_path: Path) -> None:
    draft = Draft(tmp_path / "a.zip", {}, b"", before=None, fsync=False)
    for number in range(70_000):
        draft.set_sync(f"c/{number}", cpu.Buffer.from_bytes(b"%d" % number))
    draft.finish()
    with zipfile.ZipFile(tmp_path / "a.zip") as found:
        assert len(found.namelist()) == 70_000
        assert found.read("c/69999") == b"69999"
    store, _ = archive.open_archive(tmp_path / "a.zip")
    assert len(store.keys()) == 70_000
    assert store.content("c/12345") == b"12345"
