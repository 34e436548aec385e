"""Conversions: the same pixels in other chunks, shards, codecs, versions and archives."""

from __future__ import annotations

import errno
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from tests.helpers import arrays_in, files, image, level_array, opened
from tests.test_upgrade import HIERARCHIES
from xarray_omezarr import OmeZarrError, OmeZarrWarning, convert, copies, samples, validate
from xarray_omezarr.cli import main
from xarray_omezarr.errors import OmeZarrFileExistsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.servers import S3, Site

VERSIONS = ("0.4", "0.5", "0.6")
#: Where the attributes of a group are once it is of the other format.
METADATA = {"0.4": "zarr.json", "0.5": ".zattrs"}


def only_files(root: Path) -> dict[str, bytes]:
    return {key: content for key, content in files(root).items() if content is not None}


def check_valid(path: Path) -> None:
    verdict = validate(path)
    assert verdict, str(verdict)


@pytest.fixture
def coins(tmp_path: Path) -> Path:
    """Give an image of 0.5 with a label image that has a table of properties, and a table."""
    path = tmp_path / "coins.zarr"
    samples.coins().omezarr.to_zarr(path, levels=3, chunks=64)
    table = zarr.create_group(path / "tables" / "sizes")
    table.create_array("area", data=np.arange(12.0), chunks=(5,))
    (path / "notes.txt").write_text("mine")
    return path


# ── chunks, shards, codecs ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("to", VERSIONS)
def test_versions_and_chunks_in_one_pass(version: str, to: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source.zarr", tmp_path / "target.zarr"
    samples.coins().omezarr.to_zarr(source, version=version, levels=3, chunks=64)
    before = only_files(source)
    done = convert(source, target, version=to, chunks={"y": 50, "x": 128}, compressors="zstd:5")
    assert (done.version, done.encoded) == (to, 6)
    assert only_files(source) == before
    check_valid(target)
    xr.testing.assert_equal(opened(source).load(), opened(target).load())
    assert "coins" in opened(target)
    for level in range(3):
        array = level_array(target, level)
        shape = array.shape
        assert array.chunks == (min(50, shape[0]), min(128, shape[1]))
        kind = numcodecs.Zstd if to == "0.4" else zarr.codecs.ZstdCodec
        (codec,) = array.compressors
        assert (type(codec), getattr(codec, "level", None)) == (kind, 5)
        np.testing.assert_array_equal(array[...], level_array(source, level)[...])


def test_shards(coins: Path, tmp_path: Path) -> None:
    target = tmp_path / "sharded.zarr"
    done = convert(coins, target, shards=256)
    assert done.encoded == 6
    check_valid(target)
    for level in range(3):
        before, after = level_array(coins, level), level_array(target, level)
        assert after.chunks == before.chunks
        assert after.shards == tuple(
            min(256, math.ceil(n / c) * c) for n, c in zip(after.shape, after.chunks, strict=True)
        )
        assert after.compressors == before.compressors
        np.testing.assert_array_equal(after[...], before[...])
    xr.testing.assert_equal(opened(coins).load(), opened(target).load())
    assert (target / "notes.txt").read_text() == "mine"
    again = tmp_path / "again.zarr"
    convert(target, again, shards=False)
    assert {k: len(v) for k, v in only_files(again).items() if "/c/" in k} == {
        k: len(v) for k, v in only_files(coins).items() if "/c/" in k
    }
    xr.testing.assert_equal(opened(coins).load(), opened(again).load())


def test_sharded_with_a_fill_value(tmp_path: Path) -> None:
    source, target = tmp_path / "image.zarr", tmp_path / "target.zarr"
    image((303, 384)).omezarr.to_zarr(source, levels=1)
    (source / "0" / "zarr.json").unlink()
    array = zarr.create_array(
        source / "0", shape=(303, 384), dtype="uint16", chunks=(32, 32), shards=(128, 128),
        fill_value=7, dimension_names=["y", "x"], overwrite=True,
    )  # fmt: skip
    array[128:256, 128:200] = 3
    convert(source, target, chunks=100, shards=200)
    found = zarr.open_array(target / "0")
    assert (found.fill_value, found.chunks, found.shards) == (7, (100, 100), (200, 200))
    np.testing.assert_array_equal(found[...], array[...])
    # What is 7 all over still is not stored: one shard has 3, and its neighbours below and beside.
    assert len([p for p in (target / "0" / "c").rglob("*") if p.is_file()]) == 2
    old = tmp_path / "old.zarr"
    convert(target, old, version="0.4")
    found = zarr.open_array(old / "0")
    assert (found.fill_value, found.chunks, found.shards) == (7, (100, 100), None)
    np.testing.assert_array_equal(found[...], array[...])


def test_what_is_not_asked_for_stays(tmp_path: Path) -> None:
    source, target = tmp_path / "image.zarr", tmp_path / "target.zarr"
    image((60, 80)).omezarr.to_zarr(source, levels=1)
    for path in sorted((source / "0").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    zarr.create_array(
        source / "0", data=opened_pixels(60, 80), chunks=(16, 16), dimension_names=["y", "x"],
        serializer=zarr.codecs.BytesCodec(endian="big"),
        filters=[zarr.codecs.TransposeCodec(order=(1, 0))],
        compressors=[zarr.codecs.GzipCodec(level=3)], attributes={"mine": 1}, fill_value=5,
        chunk_key_encoding={"name": "v2", "separator": "."},
    )  # fmt: skip
    before = json.loads((source / "0" / "zarr.json").read_bytes())
    convert(source, target, chunks=32)
    after = json.loads((target / "0" / "zarr.json").read_bytes())
    assert after.pop("chunk_grid")["configuration"] == {"chunk_shape": [32, 32]}
    del before["chunk_grid"]
    assert after == before
    np.testing.assert_array_equal(zarr.open_array(target / "0")[...], opened_pixels(60, 80))
    assert (target / "0" / "1.2").is_file()


def opened_pixels(*shape: int) -> np.ndarray[Any, Any]:
    return np.arange(math.prod(shape), dtype="uint16").reshape(shape)


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_asked_is_the_same_bytes(version: str, tmp_path: Path) -> None:
    source = tmp_path / "source.zarr"
    samples.coins().omezarr.to_zarr(source, version=version, levels=2, chunks=64)
    array = level_array(source)
    done = convert(source, tmp_path / "copy.zarr")
    assert only_files(tmp_path / "copy.zarr") == only_files(source)
    assert (done.encoded, done.version) == (0, version)
    assert (done.files, done.nbytes) == (
        len(only_files(source)),
        sum(map(len, only_files(source).values())),
    )
    # Nor is what is like that already.
    convert(source, tmp_path / "like.zarr", chunks=array.chunks[0], compressors="blosc:lz4:5")
    assert only_files(tmp_path / "like.zarr") == only_files(source)


@pytest.mark.parametrize(
    ("name", "v2", "v3"),
    [
        ("zstd:9", numcodecs.Zstd(9), zarr.codecs.ZstdCodec(level=9)),
        ("gzip", numcodecs.GZip(6), zarr.codecs.GzipCodec(level=6)),
        ("none", None, None),
        (
            "blosc:zstd:3:shuffle",
            numcodecs.Blosc("zstd", 3, numcodecs.Blosc.SHUFFLE),
            zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=2),
        ),
    ],
)
def test_compressors(name: str, v2: object, v3: object, tmp_path: Path) -> None:
    image((40, 48)).omezarr.to_zarr(tmp_path / "source.zarr", levels=1)
    for version, expected in (("0.4", v2), ("0.5", v3)):
        target = tmp_path / f"{version}.zarr"
        convert(tmp_path / "source.zarr", target, version=version, compressors=name)
        array = level_array(target)
        assert array.compressors == (() if expected is None else (expected,))
        np.testing.assert_array_equal(array[...], level_array(tmp_path / "source.zarr")[...])


# ── hierarchies ──────────────────────────────────────────────────────────────────────────────────


def pixels_of(root: Path) -> dict[str, tuple[np.ndarray[Any, Any], tuple[int, ...]]]:
    found = {}
    for path in sorted(arrays_in(root)):
        array = zarr.open_array(root / path, mode="r")
        found[path] = np.asarray(array[...]), array.chunks
    return found


@pytest.mark.parametrize("kind", HIERARCHIES)
@pytest.mark.parametrize("to", [None, "0.5", "ozx"])
def test_hierarchies(kind: str, to: str | None, tmp_path: Path) -> None:
    put, groups = HIERARCHIES[kind]
    source = tmp_path / "source.zarr"
    put(zarr.storage.LocalStore(source))
    target = tmp_path / ("target.ozx" if to == "ozx" else "target.zarr")
    version = None if to == "ozx" else to
    convert(source, target, version=version, chunks={"y": 8, "x": 24})
    if kind != "series":
        check_valid(target)
    for group in groups:
        kwargs: Any = {"group": group} if group else {}
        xr.testing.assert_equal(opened(source, **kwargs).load(), opened(target, **kwargs).load())
    if to == "ozx":
        folder = tmp_path / "back.zarr"
        done = convert(target, folder)
        assert done.encoded == 0
        target = folder
    before, after = pixels_of(source), pixels_of(target)
    assert list(before) == list(after)
    for path, (values, chunks) in before.items():
        np.testing.assert_array_equal(after[path][0], values)
        if "tables" in path:
            # What OME-Zarr does not name is copied as it is.
            assert after[path][1] == chunks
            below = {k: v for k, v in only_files(source).items() if k.startswith(path)}
            assert {k: v for k, v in only_files(target).items() if k.startswith(path)} == below
        else:
            assert after[path][1][-2:] == (min(8, values.shape[-2]), min(24, values.shape[-1]))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_consolidated_metadata_are_brought_up_to_date(version: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source.zarr", tmp_path / "target.zarr"
    samples.coins().omezarr.to_zarr(source, version=version, levels=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Zarr v3, which has no word on them yet
        zarr.consolidate_metadata(source)
    convert(source, target, chunks=40)
    root: Any = zarr.open_consolidated(target)
    assert root["0"].chunks == (40, 40)
    np.testing.assert_array_equal(root["0"][...], level_array(source)[...])
    check_valid(target)
    convert(source, tmp_path / "other.zarr", version="0.4" if version == "0.5" else "0.5")
    # In the other format there are none.
    assert "consolidated" not in (tmp_path / "other.zarr" / METADATA[version]).read_text()
    assert not (tmp_path / "other.zarr" / ".zmetadata").exists()


def test_from_a_server_that_lists_nothing(coins: Path, tmp_path: Path, web: Site) -> None:
    site = tmp_path / "site"
    site.mkdir(exist_ok=True)
    coins.rename(site / "coins.zarr")
    with pytest.warns(OmeZarrWarning, match="does not list its files"):
        convert(f"{web.url}/coins.zarr", tmp_path / "copy.zarr", chunks=50)
    xr.testing.assert_equal(
        opened(site / "coins.zarr").load(), opened(tmp_path / "copy.zarr").load()
    )
    assert level_array(tmp_path / "copy.zarr").chunks == (50, 50)


def test_s3(coins: Path, tmp_path: Path, s3: S3) -> None:
    target, options = f"{s3.url}/coins.zarr", s3.storage_options
    convert(coins, target, chunks=50, shards=200, target_options=options)
    convert(target, tmp_path / "back.zarr", shards=False, storage_options=options)
    xr.testing.assert_equal(opened(coins).load(), opened(tmp_path / "back.zarr").load())
    with pytest.raises(OmeZarrFileExistsError, match="left untouched"):
        convert(coins, target, target_options=options)


def test_stores_of_zarr(coins: Path) -> None:
    memory = MemoryStore()
    convert(zarr.open_group(coins, mode="r"), memory, chunks=100, compressors="none")
    xr.testing.assert_equal(opened(coins).load(), opened(memory).load())


# ── archives ─────────────────────────────────────────────────────────────────────────────────────


def test_archives_both_ways(coins: Path, tmp_path: Path) -> None:
    archive, back = tmp_path / "coins.ozx", tmp_path / "back.zarr"
    done = convert(coins, archive)
    assert done.encoded == 0
    with zipfile.ZipFile(archive) as members:
        names = members.namelist()
        assert json.loads(members.comment)["ome"]["version"] == "0.5"
        assert {info.compress_type for info in members.infolist()} == {zipfile.ZIP_STORED}
    # RFC-9: the root's metadata first, then all others, breadth-first.
    metadata = [name for name in names if name.endswith("zarr.json")]
    assert names[: len(metadata)] == metadata
    assert names[0] == "zarr.json"
    assert [name.count("/") for name in metadata] == sorted(name.count("/") for name in metadata)
    assert (done.files, done.nbytes) == (len(names), archive.stat().st_size)
    check_valid(archive)
    xr.testing.assert_equal(opened(coins).load(), opened(archive).load())
    convert(archive, back)
    assert only_files(back) == only_files(coins)


def test_old_versions_become_new_ones_in_archives(tmp_path: Path) -> None:
    source = tmp_path / "old.zarr"
    samples.coins().omezarr.to_zarr(source, version="0.4", levels=2)
    done = convert(source, tmp_path / "new.ozx", shards=256, chunks=64)
    assert done.version == "0.5"
    check_valid(tmp_path / "new.ozx")
    xr.testing.assert_equal(opened(source).load(), opened(tmp_path / "new.ozx").load())
    with pytest.raises(OmeZarrError, match=r"RFC-9.*folder"):
        convert(source, tmp_path / "other.ozx", version="0.4")
    # And back again.
    convert(tmp_path / "new.ozx", tmp_path / "again.zarr", version="0.4")
    check_valid(tmp_path / "again.zarr")
    xr.testing.assert_equal(opened(source).load(), opened(tmp_path / "again.zarr").load())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.zarr", "new.ozx", "old.zarr"]


# ── other packages ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_py_reads_what_was_converted(version: str, tmp_path: Path) -> None:
    reader = pytest.importorskip("ome_zarr.reader")
    location = pytest.importorskip("ome_zarr.io")
    source, target = tmp_path / "source.zarr", tmp_path / "target.zarr"
    samples.coins().omezarr.to_zarr(
        source, version="0.4" if version == "0.5" else "0.5", levels=2, chunks=64
    )
    convert(source, target, version=version, chunks=128, shards=256 if version == "0.5" else None)
    nodes = list(reader.Reader(location.parse_url(target))())
    for level in range(2):
        found = nodes[0].data[level].compute()
        np.testing.assert_array_equal(found, level_array(source, level)[...])
    assert any("labels" in str(node.zarr) for node in nodes[1:])


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("target", ["target.zarr", "target.ozx"])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"chunks": 0}, "1 or more"),
        ({"chunks": 2.5}, "1 or more"),
        ({"chunks": {"q": 4}}, "'q' is none of the dimensions"),
        ({"chunks": {"y": 0}}, "along 'y'"),
        ({"chunks": 64, "shards": 100}, "no multiple of the chunk, 64"),
        ({"shards": True}, "how large"),
        ({"shards": {"z": 4}}, "'z' is none of the dimensions"),
        ({"compressors": "lzma"}, "'zstd:5'"),
        ({"compressors": "zstd:99"}, "1 to 22"),
        ({"compressors": "blosc:lzo"}, "expected one like"),
        ({"compressors": object()}, "cannot be stored in Zarr v3"),
        ({"version": "0.3"}, "0.4, 0.5, 0.6"),
    ],
)
def test_wrong_arguments_leave_nothing_behind(
    options: dict[str, Any], told: str, target: str, coins: Path, tmp_path: Path
) -> None:
    with pytest.raises(OmeZarrError, match=told):
        convert(coins, tmp_path / target, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["coins.zarr"]


def test_shards_of_zarr_v2_are_refused_with_the_way_out(coins: Path, tmp_path: Path) -> None:
    convert(coins, tmp_path / "old.zarr", version="0.4")
    for source, version in ((coins, "0.4"), (tmp_path / "old.zarr", None)):
        with pytest.raises(OmeZarrError, match=r"version='0\.5'"):
            convert(source, tmp_path / "target.zarr", shards=256, version=version)
    assert not (tmp_path / "target.zarr").exists()


def test_chunks_that_do_not_fit_into_the_shards_there_are(tmp_path: Path) -> None:
    image((256, 256)).omezarr.to_zarr(tmp_path / "a.zarr", levels=1, chunks=32, shards=128)
    with pytest.raises(OmeZarrError, match="shards=False"):
        convert(tmp_path / "a.zarr", tmp_path / "b.zarr", chunks=48)
    convert(tmp_path / "a.zarr", tmp_path / "b.zarr", chunks=64)
    assert level_array(tmp_path / "b.zarr").shards == (128, 128)


def test_destinations_that_are_refused(coins: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    for target in (coins, coins / "inner.zarr", coins / "inner.ozx"):
        with pytest.raises(OmeZarrError, match="lies within"):
            convert(coins, target, chunks=32)
    (tmp_path / "there.zarr").mkdir()
    (tmp_path / "there.zarr" / "mine").touch()
    (tmp_path / "there.ozx").touch()
    for name in ("there.zarr", "there.ozx"):
        with pytest.raises(OmeZarrFileExistsError, match="left untouched"):
            convert(coins, tmp_path / name)
    with pytest.raises(OmeZarrError, match="written to a local file"):
        convert(coins, "memory://image.ozx")
    with pytest.raises(OmeZarrError, match="There is nothing at"):
        convert(tmp_path / "missing.zarr", tmp_path / "target.zarr")
    with pytest.raises(OmeZarrError, match="is a file; expected the folder"):
        convert(tmp_path / "there.zarr" / "mine", tmp_path / "target.zarr")
    assert {k: v for k, v in files(tmp_path).items() if "there" not in k} == before


def test_chunks_that_no_codec_takes(tmp_path: Path) -> None:
    source = tmp_path / "source.zarr"
    image((2, 16, 16), "zyx").omezarr.to_zarr(source, levels=1)
    document = json.loads((source / "0" / "zarr.json").read_bytes())
    document["shape"] = [10**5, 10**3, 10**3]
    (source / "0" / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(OmeZarrError, match="by dimension"):
        convert(source, tmp_path / "target.zarr", chunks=2000)
    assert not (tmp_path / "target.zarr").exists()


def test_damaged_chunks_are_named(coins: Path, tmp_path: Path) -> None:
    (coins / "1" / "c" / "0" / "1").write_bytes(b"no chunk")
    before = files(coins)
    with pytest.raises(OmeZarrError, match=r"coins\.zarr/1 could not be encoded.*resume=True"):
        convert(coins, tmp_path / "target.zarr", chunks=50)
    assert not list((tmp_path / "target.zarr").rglob("zarr.json"))
    with pytest.raises(OmeZarrError, match=r"coins\.zarr/1 could not be encoded"):
        convert(coins, tmp_path / "target.ozx", chunks=50)
    assert not list(tmp_path.glob("target.ozx*"))
    assert files(coins) == before


def test_losses_are_told(tmp_path: Path) -> None:
    source = tmp_path / "source.zarr"
    image((40, 48)).omezarr.to_zarr(source, levels=1)
    document = json.loads((source / "zarr.json").read_bytes())
    document["mine"] = {"must_understand": False}
    (source / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(OmeZarrError, match="lossy=True"):
        convert(source, tmp_path / "target.zarr", version="0.4", chunks=16)
    assert not (tmp_path / "target.zarr").exists()
    convert(source, tmp_path / "target.zarr", version="0.4", chunks=16, lossy=True)
    check_valid(tmp_path / "target.zarr")


# ── killed, and gone on with ─────────────────────────────────────────────────────────────────────


def _killed(source: Path, target: Path, after: int, options: Mapping[str, Any]) -> None:
    """Convert, and be killed when so many files have been named."""
    count = 0

    def counted(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "os.rename" and str(arguments[1]).startswith(str(target)):
            count += 1
            if count > after:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(counted)
    convert(source, target, **options)


@pytest.mark.parametrize("after", [0, 5, 12, 20])
def test_killed_and_resumed(after: int, coins: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.zarr"
    options = {"chunks": 64, "shards": 128, "compressors": "zstd:1"}
    convert(coins, tmp_path / "expected.zarr", **options)  # type: ignore[arg-type]
    process = multiprocessing.get_context("fork").Process(
        target=_killed, args=(coins, target, after, options)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(OmeZarrError, match=r"unfinished conversion.*resume=True"):
        opened(target)
    with pytest.raises(OmeZarrFileExistsError, match="unfinished conversion"):
        convert(coins, target, **options)  # type: ignore[arg-type]
    with pytest.raises(OmeZarrError, match="differ in the version, chunks, shards"):
        convert(coins, target, chunks=32, resume=True)
    convert(coins, target, resume=True, **options)  # type: ignore[arg-type]
    assert only_files(target) == only_files(tmp_path / "expected.zarr")


def test_interrupted_by_the_user(
    coins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target.zarr"
    encode = copies.encode

    def stopped(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(copies, "encode", lambda *a, **k: encode(*a, **{**k, "done": stopped}))
    with pytest.raises(KeyboardInterrupt):
        convert(coins, target, chunks=16)
    with pytest.raises(OmeZarrError, match="unfinished conversion"):
        opened(target)
    monkeypatch.undo()
    convert(coins, target, chunks=16, resume=True)
    xr.testing.assert_equal(opened(coins).load(), opened(target).load())
    check_valid(target)


def test_an_archive_that_was_killed_is_begun_anew(coins: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.ozx"
    code = (
        "import os, signal, sys\nfrom xarray_omezarr import convert, draft\n"
        "finish = draft.Draft.finish\n"
        "draft.Draft.finish = lambda self: os.kill(os.getpid(), signal.SIGKILL)\n"
        "convert(*sys.argv[1:], chunks=50)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(coins), str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    convert(coins, target, chunks=50, resume=True)
    check_valid(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coins.zarr", "target.ozx"]


def test_an_archive_on_a_full_disk(
    coins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("xarray_omezarr.draft.Draft._append", full)
    with pytest.raises(OmeZarrError, match=r"target\.ozx could not be written, .* No space left"):
        convert(coins, tmp_path / "target.ozx")
    assert [path.name for path in tmp_path.iterdir()] == ["coins.zarr"]


# ── memory, and how often chunks are read ────────────────────────────────────────────────────────

_MEASURED = """
import resource, sys
import numpy as np
from xarray_omezarr import convert
from xarray_omezarr import copies
copies._MEMORY, copies._BLOCK = 2**24, 2**22
convert(sys.argv[1] + "/small", sys.argv[2] + "/small", chunks=4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sizes = {"chunks": {"z": 32, "y": 128, "x": 128}, "shards": {"z": 32, "y": 256, "x": 256}}
convert(sys.argv[1] + "/large", sys.argv[2] + "/large", **sizes)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_bounded(tmp_path: Path) -> None:
    # 150 MB of planes become columns, in blocks of which 16 MiB are in memory at a time.
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("small", "large"):
        image((2, 16, 16), "zyx").omezarr.to_zarr(source / name, levels=1)
    (source / "large" / "0" / "zarr.json").unlink()
    array = zarr.create_array(
        source / "large" / "0", shape=(128, 768, 768), dtype="uint16", chunks=(1, 768, 768),
        dimension_names=["z", "y", "x"], overwrite=True, compressors=None,
    )  # fmt: skip
    plane = np.broadcast_to(np.arange(768, dtype="uint16"), (768, 768))
    for z in range(128):
        array[z] = plane + np.uint16(z)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(source), str(target)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert int(done.stdout) * 1024 < 100e6, done.stdout
    found = zarr.open_array(target / "large" / "0")
    assert found.shards == (32, 256, 256)
    for z in (0, 33, 127):
        np.testing.assert_array_equal(found[z], array[z])


@given(st.data())
def test_blocks_hold_whole_chunks_and_are_no_larger_than_they_may(data: st.DataObject) -> None:
    ndim = data.draw(st.integers(1, 4))
    size = st.integers(1, 40)
    shape, old, new = (data.draw(st.tuples(*[size] * ndim)) for _ in range(3))
    most = data.draw(st.integers(1, 5000))
    found = copies.tiling(shape, old, new, most)
    assert all(f % n == 0 for f, n in zip(found, new, strict=True))
    assert math.prod(found) <= max(most, math.prod(new))
    assert all(f - n < s for f, n, s in zip(found, new, shape, strict=True))


@pytest.mark.parametrize(
    ("shape", "old", "new", "most", "reads"),
    [
        # All chunks once, wherever there is room for that.
        ((100, 100), (10, 10), (15, 15), 900, 1),
        ((64, 512, 512), (1, 512, 512), (32, 64, 64), 32 * 512 * 512, 1),
        # As rarely as can be, where there is not.
        ((64, 512, 512), (1, 512, 512), (32, 64, 64), 32 * 512 * 64, 8),
    ],
)
def test_chunks_are_read_as_rarely_as_can_be(
    shape: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...], most: int, reads: int
) -> None:
    found = copies.tiling(shape, old, new, most)
    total = math.prod(
        sum(-(-min(a + f, n) // o) - a // o for a in range(0, n, f)) / -(-n // o)
        for n, o, f in zip(shape, old, found, strict=True)
    )
    assert total == reads


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["convert", *map(str, arguments)])
    return done.exit_code, done.output


def test_command(coins: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.ozx"
    code, told = run(
        coins, target, "--chunks", "y=50,x=64", "--shards", "y=200,x=256", "--compressor", "zstd:5",
        "--version", "0.6",
    )  # fmt: skip
    assert code == 0, told
    assert "version 0.6" in told
    array = level_array(zarr.storage.ZipStore(target, mode="r"))
    assert (array.chunks, array.shards) == ((50, 64), (200, 256))
    code, told = run(target, tmp_path / "back.zarr", "--shards", "none", "--json")
    assert code == 0, told
    assert json.loads(told)["encoded"] == 6
    assert level_array(tmp_path / "back.zarr").shards is None


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--compressor", "lzma"], 2, "zstd:5"),
        (["--chunks", "y=0"], 2, "--chunks"),
        (["--shards", "some"], 2, "--shards"),
        (["--version", "0.3"], 2, "0.3"),
        (["--chunks", "q=4"], 1, "'q' is none of the dimensions"),
        (["--version", "0.4", "--shards", "256"], 1, "--version '0.5'"),
    ],
)
def test_wrong_usage(
    arguments: list[str], code: int, told: str, coins: Path, tmp_path: Path
) -> None:
    found, output = run(coins, tmp_path / "target.zarr", *arguments)
    assert found == code, output
    assert told in output
    assert "Traceback" not in output
    assert not (tmp_path / "target.zarr").exists()


def test_missing_arguments() -> None:
    assert run("somewhere")[0] == 2
