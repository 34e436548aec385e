"""Everything opens from everywhere: URLs, caches, chains, and the stores of other packages."""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import shutil
import sys
import uuid
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr
from fsspec.implementations.local import LocalFileSystem
from zarr.storage import FsspecStore, LocalStore, ObjectStore

from tests.helpers import files, image, opened, opened_tree, put_sample
from xarray_omezarr import OmeZarrError, errors, samples, validate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers import Sample
    from tests.servers import Answer, Asked, Site

VERSIONS = ["0.4", "0.5"]
#: fsspec leaves it to the garbage collector to close the files of one of its caches.
CACHES = [
    "simplecache",
    "filecache",
    pytest.param("blockcache", marks=pytest.mark.filterwarnings("ignore:unclosed file")),
]


def put(tmp_path: Path, **options: Any) -> Sample:  # noqa: ANN401
    return put_sample(tmp_path / "site" / "image.zarr", **options)


def check(found: xr.Dataset, sample: Sample, level: int = 0) -> None:
    xr.testing.assert_identical(found.load(), sample.dataset(level))


# ── URLs and chains ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shards", [None, (2, 32, 32)])
def test_http(tmp_path: Path, web: Site, version: str, shards: tuple[int, ...] | None) -> None:
    if version == "0.4" and shards:
        pytest.skip("there are no shards in Zarr v2")
    sample = put(tmp_path, version=version, shards=shards)
    check(opened(f"{web.url}/image.zarr"), sample)
    tree = opened_tree(f"{web.url}/image.zarr/").load()
    for level in range(3):
        xr.testing.assert_identical(tree[str(level)].to_dataset(), sample.dataset(level))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cache", CACHES)
def test_caches_of_fsspec(tmp_path: Path, web: Site, version: str, cache: str) -> None:
    sample = put(tmp_path, version=version)
    options = {cache: {"cache_storage": str(tmp_path / "cache")}}
    url = f"{cache}::{web.url}/image.zarr"
    check(opened(url, storage_options=options), sample)
    chunks = [path for path in web.paths() if "nine/" in path and not path.endswith("json")]
    assert chunks
    web.clear()
    check(opened(url, storage_options=options), sample)
    asked = {path for one in web.asked if (path := one.path) in chunks and one.method == "GET"}
    assert not asked, "chunks that are in the cache are asked for again"


@pytest.mark.parametrize("cache", CACHES)
def test_a_cache_that_is_read_by_many(tmp_path: Path, web: Site, cache: str) -> None:
    """Two tasks that want the same chunk: the second must not read half of the first's file."""
    sample = put(tmp_path, chunks=(2, 40, 48))
    web.latency = 0.01
    pixels = opened(f"{cache}::{web.url}/image.zarr").image
    with ThreadPoolExecutor(16) as pool:
        rows = list(pool.map(lambda row: pixels.isel(y=row).values, range(40)))
    np.testing.assert_array_equal(np.stack(rows, axis=1), sample.levels[0])


def _on_chunks(answer: Answer, asked: Asked) -> Answer:
    return answer if "/c/" in asked.path else None


def test_a_cache_takes_no_failure_for_an_absence(
    tmp_path: Path, web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To fsspec's caches all that fails is absent: pixels would be read as zeros."""
    monkeypatch.setattr("xarray_omezarr.remote.DELAYS", (0.001,))
    put(tmp_path)
    answers: tuple[Answer, ...] = (500, "truncated", 403)
    for answer in answers:
        options = {"simplecache": {"cache_storage": str(tmp_path / str(answer))}}
        dataset = opened(f"simplecache::{web.url}/image.zarr", storage_options=options)
        web.answer = functools.partial(_on_chunks, answer)
        with pytest.raises(OmeZarrError, match="nine"):
            dataset.load()
        web.answer = lambda _: None
        assert dataset.load().image.values.all()


def test_a_cache_over_pixels_that_are_not_stored(tmp_path: Path, web: Site) -> None:
    samples.coins()[["image"]].pipe(lambda ds: ds * 0).omezarr.to_zarr(tmp_path / "site" / "empty")
    assert not opened(f"simplecache::{web.url}/empty").image.values.any()


def test_options_of_the_parts_of_a_chain(tmp_path: Path, web: Site) -> None:
    sample = put(tmp_path)
    options = {
        "simplecache": {"cache_storage": str(tmp_path / "cache")},
        "http": {"headers": {"X-Who": "me"}},
    }
    check(opened(f"simplecache::{web.url}/image.zarr", storage_options=options), sample)
    assert {one.headers.get("X-Who") for one in web.asked} == {"me"}
    assert list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("name", ["memory", "local"])
def test_other_file_systems(tmp_path: Path, name: str) -> None:
    url = f"memory://{uuid.uuid4()}/image.zarr" if name == "memory" else f"local://{tmp_path}/a"
    written = image((20, 30))
    written.omezarr.to_zarr(url, levels=2)
    xr.testing.assert_equal(opened(url), written)
    source = opened(url).encoding["source"]
    assert source == (url if name == "memory" else f"{tmp_path}/a")
    written.omezarr.to_zarr(f"{url}/group", group="b")
    xr.testing.assert_equal(opened(f"{url}/group", group="b"), written)


def test_a_chain_into_an_archive(tmp_path: Path, web: Site) -> None:
    written = image((20, 30))
    written.omezarr.to_zarr(tmp_path / "site" / "image.zip")
    xr.testing.assert_equal(opened(f"zip://::{web.url}/image.zip"), written)
    xr.testing.assert_equal(opened(f"{web.url}/image.zip"), written)


def test_names_that_are_no_part_of_a_url(tmp_path: Path, web: Site) -> None:
    """A label can have any name; over HTTP it has to be written otherwise."""
    dataset = samples.coins()
    for number, name in enumerate(["a b", "50%", "a%20b", "a#b", "a?b", "ä+ö&c=d"]):
        dataset = dataset.assign({name: dataset.coins + number})
        dataset[name].encoding = dict(dataset.coins.encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        dataset.omezarr.to_zarr(tmp_path / "site" / "image.zarr")
    here, there = opened(tmp_path / "site" / "image.zarr"), opened(f"{web.url}/image.zarr")
    assert len(here.data_vars) > 6
    xr.testing.assert_equal(there, here)


# ── stores and mappers ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shards", [None, (2, 32, 32)])
def test_obstore(tmp_path: Path, version: str, shards: tuple[int, ...] | None) -> None:
    from obstore.store import LocalStore as Files

    if version == "0.4" and shards:
        pytest.skip("there are no shards in Zarr v2")
    sample = put(tmp_path, version=version, shards=shards)
    files = Files(tmp_path / "site")
    check(opened(ObjectStore(files), group="image.zarr"), sample)
    check(opened(files, group="image.zarr"), sample)
    with pytest.raises(errors.OmeZarrFileNotFoundError):
        opened(files, group="nowhere")


def test_obstore_is_written_to() -> None:
    from obstore.store import MemoryStore

    store, written = MemoryStore(), samples.coins()
    written.omezarr.to_zarr(store, levels=2)
    xr.testing.assert_equal(opened(ObjectStore(store)), opened(zarr.storage.ObjectStore(store)))
    np.testing.assert_array_equal(opened(store).image, written.image)
    assert validate(ObjectStore(store))


def test_mappers_and_paths_of_other_packages(tmp_path: Path, web: Site) -> None:
    sample = put(tmp_path)
    check(opened(fsspec.get_mapper(f"{web.url}/image.zarr")), sample)
    check(opened(fsspec.get_mapper(str(tmp_path / "site" / "image.zarr"))), sample)

    class Path:
        """What universal-pathlib's paths have."""

        fs, path = LocalFileSystem(), str(tmp_path / "site" / "image.zarr")

    check(opened(Path()), sample)


def test_what_is_no_store() -> None:
    with pytest.raises(OmeZarrError, match="type dict is not supported; expected a path, a URL"):
        opened({"zarr.json": b"{}"})


def test_parts_are_loaded_side_by_side(tmp_path: Path, web: Site) -> None:
    put(tmp_path)
    ds = opened(f"{web.url}/image.zarr", cache=False)
    expected = ds.image.values

    async def load() -> list[xr.Dataset]:
        return await asyncio.gather(*(ds.isel(x=slice(n, n + 3)).load_async() for n in range(3)))

    for n, part in enumerate(asyncio.run(load())):
        np.testing.assert_array_equal(part.image, expected[..., n : n + 3])


def test_a_store_travels(tmp_path: Path, web: Site) -> None:
    sample = put(tmp_path)
    for url in (f"{web.url}/image.zarr", f"simplecache::{web.url}/image.zarr"):
        check(pickle.loads(pickle.dumps(opened(url))), sample)  # noqa: S301


# ── requests ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("version", "most"), [("0.5", 3), ("0.4", 6)])
def test_requests_for_one_level(tmp_path: Path, web: Site, version: str, most: int) -> None:
    put(tmp_path, version=version)
    opened(f"{web.url}/image.zarr")
    assert len(web.asked) <= most
    assert len(set(web.paths())) == len(web.asked), "something was asked for twice"


@pytest.mark.parametrize("level", [0, 2])
def test_pixels_cost_a_request_a_chunk(tmp_path: Path, web: Site, level: int) -> None:
    sample = put(tmp_path)
    dataset = opened(f"{web.url}/image.zarr", level=level)
    web.clear()
    dataset.load()
    chunks = int(np.prod([-(-n // min(n, 16)) for n in sample.levels[level].shape]))
    assert len(web.asked) == chunks


def test_a_server_that_knows_no_ranges(tmp_path: Path, web: Site) -> None:
    sample = put(tmp_path, shards=(2, 32, 32))
    dataset = opened(f"{web.url}/image.zarr")
    web.answer = lambda _: "whole"
    check(dataset, sample)


# ── packages ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("s3://bucket/image.zarr", "s3fs", "s3fs"),
        ("gs://bucket/image.zarr", "gcsfs", "gcsfs"),
        ("abfs://container/image.zarr", "adlfs", "adlfs"),
        ("https://host/image.zarr", "aiohttp", "aiohttp"),
        ("simplecache::s3://bucket/image.zarr", "s3fs", "s3fs"),
        ("s3://bucket/image.ozx", "s3fs", "s3fs"),
    ],
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    known = sys.modules["fsspec.registry"].__dict__["_registry"]
    for protocol in ("s3", "gs", "abfs", "https"):
        monkeypatch.delitem(known, protocol, raising=False)
    with pytest.raises(OmeZarrError, match=package) as caught:
        opened(url)
    assert 'pip install "xarray-omezarr[remote]"' in str(caught.value)


def test_a_protocol_that_nobody_knows() -> None:
    with pytest.raises(OmeZarrError, match="gopher"):
        opened("gopher://host/image.zarr")


# ── permissions on this machine ──────────────────────────────────────────────────────────────────


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs permissions that hold")
@pytest.mark.parametrize("name", ["zarr.json", "nine/zarr.json", "nine/c/0/0/0"])
def test_a_file_that_may_not_be_read(tmp_path: Path, name: str) -> None:
    sample = put(tmp_path)
    file = sample.store / name
    file.chmod(0)
    with pytest.raises(errors.OmeZarrPermissionError, match="permissions") as caught:
        opened(sample.store).load()
    assert "image.zarr" in str(caught.value)
    if name == "zarr.json":
        with pytest.raises(errors.OmeZarrPermissionError, match="cannot be read"):
            validate(sample.store)
    assert isinstance(caught.value, PermissionError)


def test_a_store_that_may_not_be_read(tmp_path: Path) -> None:
    """As root may read everything, the store itself has to refuse."""

    class Closed(LocalStore):
        async def get(self, key: str, *args: Any) -> Any:  # noqa: ANN401
            if "/c/" in key:
                raise PermissionError(13, "Permission denied", key)
            return await super().get(key, *args)

        async def set(self, key: str, *_: Any) -> None:  # noqa: ANN401
            raise PermissionError(13, "Permission denied", key)

    sample = put(tmp_path)
    with pytest.raises(errors.OmeZarrPermissionError, match="permissions"):
        opened(Closed(sample.store)).load()
    with pytest.raises(errors.OmeZarrPermissionError, match="permissions"):
        image().omezarr.to_zarr(Closed(tmp_path / "new"))


# ── consolidated metadata ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def _quietly() -> Iterator[None]:
    """Zarr warns of consolidated metadata in version 3."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        yield


def consolidated(tmp_path: Path, version: str) -> Sample:
    sample = put(tmp_path, version=version)
    zarr.consolidate_metadata(str(sample.store))
    return sample


@pytest.mark.usefixtures("_quietly")
@pytest.mark.parametrize(("version", "most"), [("0.5", 1), ("0.4", 2)])
def test_consolidated_metadata_cost_one_request(
    tmp_path: Path, web: Site, version: str, most: int
) -> None:
    sample = consolidated(tmp_path, version)
    tree = opened_tree(f"{web.url}/image.zarr", consolidated=True)
    assert len(web.asked) <= most
    for level in range(3):
        xr.testing.assert_identical(tree[str(level)].to_dataset().load(), sample.dataset(level))
    check(opened(sample.store, consolidated=True), sample)
    assert opened(sample.store, consolidated=True).encoding["source"] == str(sample.store)


@pytest.mark.usefixtures("_quietly")
@pytest.mark.parametrize("version", VERSIONS)
def test_consolidated_metadata_of_the_root_and_of_a_group(
    tmp_path: Path, web: Site, version: str
) -> None:
    sample = consolidated(tmp_path, version)
    check(opened(f"{web.url}", group="image.zarr", consolidated=True), sample)
    zarr.open_group(str(tmp_path / "site"), mode="a", zarr_format=2 if version == "0.4" else 3)
    zarr.consolidate_metadata(str(tmp_path / "site"))
    web.clear()
    check(opened(f"{web.url}", group="image.zarr", consolidated=True), sample)
    assert "image.zarr" not in {path.removesuffix("/zarr.json") for path in web.paths()}


@pytest.mark.usefixtures("_quietly")
@pytest.mark.parametrize("version", VERSIONS)
def test_consolidated_metadata_are_not_read_by_default(
    tmp_path: Path, web: Site, version: str
) -> None:
    consolidated(tmp_path, version)
    opened(f"{web.url}/image.zarr")
    assert "image.zarr/.zmetadata" not in web.paths()


def test_consolidated_metadata_that_are_not_there(tmp_path: Path) -> None:
    sample = put(tmp_path)
    with pytest.raises(OmeZarrError, match="no consolidated metadata"):
        opened(sample.store, consolidated=True)
    (sample.store / "zarr.json").write_text("{")
    with pytest.raises(OmeZarrError, match="no valid JSON"):
        opened(sample.store, consolidated=True)


@pytest.mark.usefixtures("_quietly")
@pytest.mark.parametrize("version", VERSIONS)
def test_stale_consolidated_metadata(tmp_path: Path, version: str) -> None:
    """They are believed; but an array that is gone is none of zeros."""
    sample = consolidated(tmp_path, version)
    files(sample.store)
    array = sample.store / "nine"
    for file in sorted(array.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    array.rmdir()
    dataset = opened(sample.store, consolidated=True)
    with pytest.raises(errors.OmeZarrFileNotFoundError, match="no longer there"):
        dataset.load()
    report = validate(sample.store)
    assert not report
    assert any("nine" in str(finding) for finding in report.findings)


@pytest.mark.usefixtures("_quietly")
@pytest.mark.parametrize("version", VERSIONS)
def test_consolidated_metadata_of_what_no_image_names(tmp_path: Path, version: str) -> None:
    put(tmp_path, version=version)
    node = zarr.open_group(str(tmp_path / "site" / "image.zarr"), mode="a")
    node.create_group("stays", attributes={"a": 1})
    node.create_group("changes", attributes={"a": 1})
    node.create_group("goes", attributes={"a": 1})
    zarr.consolidate_metadata(node.store)
    assert not [found for found in validate(node.store).findings if "onsolidated" in found.rule]
    plain = zarr.open_group(node.store, mode="a", use_consolidated=False)
    plain["changes"].attrs["a"] = 2
    shutil.rmtree(tmp_path / "site" / "image.zarr" / "goes")
    found = [one for one in validate(node.store).findings if "onsolidated" in one.rule]
    assert {one.place.rpartition("/")[0].rpartition("/")[2]: one.found for one in found} == {
        "changes": "stale: a" if version == "0.4" else "stale: attributes",
        "goes": "in the consolidated metadata alone",
    }


def test_a_store_of_the_user_keeps_its_ways(tmp_path: Path, web: Site) -> None:
    """Who has said what is missing has said it."""
    import aiohttp

    sample = put(tmp_path)
    web.answer = lambda asked: 403 if "labels" in asked.path else None
    plain = FsspecStore.from_url(f"{web.url}/image.zarr", read_only=True)
    with pytest.raises(errors.OmeZarrPermissionError, match="labels"):
        opened(plain)
    tolerant = FsspecStore.from_url(
        f"{web.url}/image.zarr",
        read_only=True,
        allowed_exceptions=(FileNotFoundError, aiohttp.ClientResponseError),
    )
    check(opened(tolerant), sample)
