"""Images in buckets: a server with authentication on, by s3fs and by obstore."""

from __future__ import annotations

import pickle
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import MemoryStore, ObjectStore

from tests.helpers import contents, image, opened, opened_tree
from xarray_omezarr import OmeZarrError, errors, samples, update_metadata, validate

if TYPE_CHECKING:
    from tests.servers import S3

    Target = tuple[Any, dict[str, Any] | None]

#: No more tries than one, and so no pause between them.
ONCE = {"config_kwargs": {"retries": {"max_attempts": 0}}}


@pytest.fixture(params=["s3fs", "obstore"])
def target(request: pytest.FixtureRequest, s3: S3) -> Target:
    """Give where an image goes, and the options for it, by one package and by the other."""
    if request.param == "s3fs":
        return f"{s3.url}/image.zarr", s3.storage_options
    return ObjectStore(s3.obstore("image.zarr")), None


def written(target: Target, dataset: xr.Dataset, **options: Any) -> None:  # noqa: ANN401
    dataset.omezarr.to_zarr(target[0], storage_options=target[1], **options)


def read(target: Target, **options: Any) -> xr.Dataset:  # noqa: ANN401
    return opened(target[0], storage_options=target[1], **options)


# ── written and read ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_same_objects_as_in_memory(s3: S3, target: Target, version: str) -> None:
    expected = MemoryStore()
    coins = samples.coins()
    options: dict[str, Any] = {"levels": 2, "chunks": 128, "version": version}
    coins.omezarr.to_zarr(expected, **options)
    written(target, coins, **options)
    found = {key.removeprefix("image.zarr/"): s for key, s in s3.contents("image.zarr").items()}
    assert found == contents(expected)
    xr.testing.assert_identical(read(target).load(), opened(expected).load())
    assert validate(target[0], storage_options=target[1])


def test_shards(target: Target) -> None:
    noise = image((64, 96))
    written(target, noise, levels=1, chunks=16, shards=64)
    found = read(target)
    part = {"y": slice(5, 30), "x": slice(50, 90)}
    np.testing.assert_array_equal(found.image.isel(part), noise.image.isel(part))
    xr.testing.assert_equal(found.load(), noise)


def test_dask_writes_and_reads(target: Target) -> None:
    noise = image((64, 96))
    written(target, noise.chunk(y=32, x=48), levels=2, chunks=32)
    xr.testing.assert_equal(read(target, chunks={}).compute(), noise)


def test_labels_are_added(target: Target) -> None:
    coins = samples.coins()
    written(target, coins[["image"]])
    written(target, coins[["coins"]], mode="a")
    xr.testing.assert_equal(read(target)[["image", "coins"]], coins[["image", "coins"]])


def test_an_image_is_replaced(s3: S3, target: Target) -> None:
    first, second = image((64, 96), seed=1), image((40, 48), seed=2)
    written(target, first, levels=3)
    lazy = read(target)
    with pytest.raises(errors.OmeZarrFileExistsError):
        written(target, second)
    written(target, second, mode="w", levels=1)
    xr.testing.assert_equal(read(target), second)
    assert len(read_tree(target).children) == 1
    assert not [key for key in s3.keys("image.zarr") if ".omezarr" in key]
    with pytest.raises(errors.OmeZarrFileNotFoundError, match="no longer there"):
        lazy.load()


def read_tree(target: Target) -> xr.DataTree:
    return opened_tree(target[0], storage_options=target[1])


def test_regions_and_growth(target: Target) -> None:
    noise = image((6, 32, 32), "tyx")
    noise.t.attrs["units"] = "second"
    written(target, noise.isel(t=slice(4)), levels=2, chunks={"t": 1, "y": 16, "x": 16})
    written(target, noise.isel(t=slice(4, 6)), append_dim="t")
    xr.testing.assert_equal(read(target), noise)
    changed = noise.assign(image=noise.image + 1)
    part = {"t": slice(1, 3), "y": slice(3, 20), "x": slice(None)}
    written(target, changed.isel(part), region="auto")
    expected = noise.image.copy()
    expected[part] = changed.image[part]
    xr.testing.assert_equal(read(target).image, expected)


@pytest.mark.parametrize("chunks", [None, {}])
def test_pixels_are_not_made_of_what_they_replace(target: Target, chunks: Any) -> None:  # noqa: ANN401
    written(target, image())
    lazy = read(target, chunks=chunks)
    with pytest.raises(
        OmeZarrError, match="yet to be read from the image that they are written to"
    ):
        written(target, lazy.isel(y=slice(0, 20)), region="auto")
    written(target, lazy.isel(y=slice(0, 20)).load(), region="auto")


def test_a_group_in_a_bucket(s3: S3) -> None:
    noise = image()
    noise.omezarr.to_zarr(s3.url, group="a/b", storage_options=s3.storage_options)
    found = opened(s3.url, group="a/b", storage_options=s3.storage_options)
    xr.testing.assert_equal(found, noise)
    assert found.encoding["source"] == f"{s3.url}/a/b"


def test_metadata_are_edited(s3: S3, target: Target) -> None:
    written(target, image())
    update_metadata(target[0], scale={"y": 2.0, "x": 2.0}, storage_options=target[1])
    assert read(target).omezarr.scale == {"y": 2.0, "x": 2.0}
    assert not [key for key in s3.keys("image.zarr") if ".omezarr" in key]


def test_an_archive_in_a_bucket(s3: S3, tmp_path: Any) -> None:  # noqa: ANN401
    noise = image()
    noise.omezarr.to_zarr(tmp_path / "image.ozx")
    s3.put("image.ozx", (tmp_path / "image.ozx").read_bytes())
    found = opened(f"{s3.url}/image.ozx", storage_options=s3.storage_options)
    xr.testing.assert_equal(found.load(), noise)


def test_a_dataset_travels(target: Target) -> None:
    noise = image()
    written(target, noise)
    xr.testing.assert_equal(pickle.loads(pickle.dumps(read(target))).load(), noise)  # noqa: S301


@pytest.mark.parametrize(("version", "most"), [("0.4", 6), ("0.5", 3)])
def test_requests(s3: S3, target: Target, version: str, most: int) -> None:
    """No object is asked for its size first, or looked for in a listing."""
    written(target, image(), version=version, levels=2)
    s3.server.asked.clear()
    found = read(target)
    assert len(s3.server.asked) <= most
    s3.server.asked.clear()
    found.load()
    assert [request.partition(" ")[0] for request in s3.server.asked] == ["GET"]


def test_a_cache(s3: S3) -> None:
    noise = image()
    noise.omezarr.to_zarr(f"{s3.url}/image.zarr", storage_options=s3.storage_options)
    found = opened(f"simplecache::{s3.url}/image.zarr", storage_options={"s3": s3.storage_options})
    xr.testing.assert_equal(found.load(), noise)


# ── who may do what ──────────────────────────────────────────────────────────────────────────────


def refused(*secrets: str, **options: Any) -> str:  # noqa: ANN401
    """Fail to open, and say why; without the secrets."""
    url = options.pop("url")
    with pytest.raises(errors.OmeZarrPermissionError) as caught:
        opened(url, **options)
    whole = "".join(traceback.format_exception(caught.value))
    assert not any(secret in whole for secret in secrets)
    return str(caught.value)


@pytest.fixture
def url(s3: S3) -> str:
    """Put an image into the bucket, without labels and all of it stored."""
    image().omezarr.to_zarr(f"{s3.url}/image.zarr", storage_options=s3.storage_options)
    return f"{s3.url}/image.zarr"


@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_wrong_credentials(s3: S3, url: str, wrong: str) -> None:
    options = {**s3.storage_options, wrong: "AKIAWRONGWRONG"}
    told = refused("AKIAWRONGWRONG", s3.server.secret, url=url, storage_options=options)
    assert url in told
    assert "credentials" in told
    with pytest.raises(errors.OmeZarrPermissionError, match="denied"):
        image().omezarr.to_zarr(f"{s3.url}/new.zarr", storage_options=options)
    before = len(s3.keys())
    assert before
    with pytest.raises(errors.OmeZarrPermissionError, match="denied"):
        image().omezarr.to_zarr(url, storage_options=options, mode="w")
    assert len(s3.keys()) == before


def test_wrong_credentials_of_obstore(s3: S3, url: str) -> None:
    del url
    store = ObjectStore(s3.obstore("image.zarr", secret_access_key="wrong-wrong"))  # noqa: S106
    told = refused("wrong-wrong", url=store)
    assert "denied" in told


def test_no_credentials(s3: S3, url: str) -> None:
    options = {"client_kwargs": s3.storage_options["client_kwargs"]}
    assert "'anon': True" in refused(url=url, storage_options=options)


def test_a_private_bucket_and_a_public_one(s3: S3, url: str) -> None:
    assert "denied" in refused(url=url, storage_options=s3.anonymous)
    s3.publish("ListBucket")
    found = opened(url, storage_options=s3.anonymous)
    xr.testing.assert_equal(found, image())
    with pytest.raises(errors.OmeZarrPermissionError):
        image().omezarr.to_zarr(url, storage_options=s3.anonymous, mode="w")
    xr.testing.assert_equal(opened(url, storage_options=s3.anonymous), image())


def test_a_public_bucket_that_nobody_may_list(s3: S3, url: str) -> None:
    """There, what is missing is denied."""
    s3.publish()
    told = refused(url=url, storage_options=s3.anonymous)
    assert "labels" in told
    assert "missing_on_403=True" in told
    found = opened(url, storage_options=s3.anonymous, missing_on_403=True)
    xr.testing.assert_equal(found, image())
    with pytest.raises(errors.OmeZarrFileNotFoundError):
        opened(f"{s3.url}/no.zarr", storage_options=s3.anonymous, missing_on_403=True)


def test_a_bucket_that_is_not_there(s3: S3) -> None:
    with pytest.raises(errors.OmeZarrFileNotFoundError, match="s3://nowhere/image"):
        opened("s3://nowhere/image.zarr", storage_options=s3.storage_options)
    with pytest.raises(errors.OmeZarrFileNotFoundError, match="bucket"):
        image().omezarr.to_zarr("s3://nowhere/image.zarr", storage_options=s3.storage_options)


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_fails(
    s3: S3, url: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    options = s3.storage_options | ONCE
    lazy = opened(url, storage_options=options)
    s3.server.answer = lambda request: status if request.startswith("GET") else None
    with pytest.raises(OmeZarrError, match=r"image\.zarr/0"):
        lazy.load()
    s3.server.answer = lambda request: status if request.startswith("PUT") else None
    with pytest.raises(OmeZarrError, match=r"new\.zarr"):
        image().omezarr.to_zarr(f"{s3.url}/new.zarr", storage_options=options)
