"""Servers that fail, deny, break off, say nothing: an error or another try, never wrong pixels."""

from __future__ import annotations

import collections
import functools
import itertools
import logging
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

from tests.helpers import image, opened, opened_tree, put_sample
from tests.servers import site
from xarray_omezarr import OmeZarrError, errors, samples, validate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers import Sample
    from tests.servers import Answer, Asked, Site

PASSING = [429, 500, 502, 503, 504, "closed", "truncated"]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xarray_omezarr.remote.DELAYS", (0.001, 0.001))


def put(tmp_path: Path, **options: Any) -> Sample:  # noqa: ANN401
    return put_sample(tmp_path / "site" / "image.zarr", **options)


def at_first(answer: Answer, times: int) -> Callable[[Asked], Answer]:
    """Answer the first requests for each object otherwise."""
    asked: dict[str, int] = collections.Counter()

    def answered(one: Asked) -> Answer:
        asked[one.path] += 1
        return answer if asked[one.path] <= times else None

    return answered


def where(part: str, answer: Answer) -> Callable[[Asked], Answer]:
    return lambda one: answer if part in one.path else None


# ── tried again ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("answer", PASSING)
def test_what_passes_is_tried_again(
    tmp_path: Path, web: Site, version: str, answer: Answer
) -> None:
    sample = put(tmp_path, version=version)
    web.answer = at_first(answer, 2)
    found = opened(f"{web.url}/image.zarr").load()
    xr.testing.assert_identical(found, sample.dataset())


def test_parts_of_shards_are_tried_again(tmp_path: Path, web: Site) -> None:
    sample = put(tmp_path, shards=(2, 32, 32))
    for answer in ("short", "truncated", 503):
        web.answer = where("nowhere", None)
        dataset = opened(f"{web.url}/image.zarr")
        web.answer = at_first(answer, 1)
        dataset = dataset.isel(y=slice(3, 20), x=slice(5, 9)).load()
        xr.testing.assert_identical(dataset, sample.dataset().isel(y=slice(3, 20), x=slice(5, 9)))


def test_there_is_an_end_to_it(tmp_path: Path, web: Site) -> None:
    put(tmp_path)
    web.answer = lambda _: 503
    with pytest.raises(OmeZarrError, match="503"):
        opened(f"{web.url}/image.zarr")
    assert max(collections.Counter(web.paths()).values()) == 3


@pytest.mark.parametrize("answer", [400, 403, 405, 501])
def test_what_does_not_pass_is_asked_once(tmp_path: Path, web: Site, answer: int) -> None:
    put(tmp_path)
    web.answer = lambda _: answer
    with pytest.raises(OmeZarrError, match=str(answer)):
        opened(f"{web.url}/image.zarr")
    assert max(collections.Counter(web.paths()).values()) == 1


# ── never wrong pixels ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("answer", [400, 401, 403, 500, 503, "truncated", "closed"])
@pytest.mark.parametrize("name", ["image.zarr/zarr.json", "nine/zarr.json", "nine/c/0/1/1"])
def test_an_error_says_which_object_it_was(
    tmp_path: Path, web: Site, answer: Answer, name: str
) -> None:
    put(tmp_path)
    web.answer = where(name, answer)
    with pytest.raises(OmeZarrError, match=name.rpartition("/")[0]) as caught:
        opened(f"{web.url}/image.zarr").load()
    assert web.url in str(caught.value)


@pytest.mark.parametrize(
    "codecs",
    [
        {"compressors": None},
        {"compressors": "gzip"},
        {},
        {"shards": (2, 32, 32)},
        {"shards": (2, 32, 32), "compressors": None},
        {"version": "0.4"},
        {"version": "0.4", "compressors": None},
    ],
)
def test_answers_that_are_too_short(tmp_path: Path, web: Site, codecs: dict[str, Any]) -> None:
    """The server says that half of an object is all of it."""
    if codecs.get("compressors") == "gzip":
        from zarr.codecs import GzipCodec

        codecs = {"compressors": GzipCodec()}
    put(tmp_path, **codecs)
    web.answer = lambda one: "short" if not one.path.endswith((".json", "array", "attrs")) else None
    with pytest.raises(OmeZarrError, match="nine"):
        opened(f"{web.url}/image.zarr").load()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_absent_chunks_where_their_array_cannot_be_looked_for(
    tmp_path: Path, web: Site, version: str
) -> None:
    """Pixels that are not stored are zeros only where the array is known to be there."""
    written = xr.DataArray(np.zeros((32, 32), "u1"), dims=("y", "x"), name="image")
    written.omezarr.to_zarr(tmp_path / "site" / "image.zarr", version=version)
    dataset = opened(f"{web.url}/image.zarr")
    web.answer = where("zarray" if version == "0.4" else "0/zarr.json", 500)
    with pytest.raises(OmeZarrError, match="500"):
        dataset.load()
    web.answer = lambda _: None
    assert not dataset.load().image.values.any()


def test_a_level_that_cannot_be_reached_is_no_missing_level(tmp_path: Path, web: Site) -> None:
    put(tmp_path)
    web.answer = where("deep/one/zarr.json", 500)
    with pytest.warns(errors.OmeZarrWarning, match="500"):
        tree = opened_tree(f"{web.url}/image.zarr")
    assert "1" not in tree.children
    with pytest.raises(OmeZarrError, match="500"):
        opened(f"{web.url}/image.zarr", level=1)


def test_a_connection_that_is_dead(
    tmp_path: Path, web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path)
    monkeypatch.setattr("xarray_omezarr.urls.SILENCE", 0.05)
    dataset = opened(f"{web.url}/image.zarr")
    web.answer = lambda _: "silence"
    with pytest.raises(OmeZarrError, match=r"(?i)timeout"):
        dataset.load()
    with pytest.raises(OmeZarrError, match=r"(?i)timeout"):
        opened(f"{web.url}/image.zarr")


def test_a_server_that_is_gone(tmp_path: Path) -> None:
    put(tmp_path)
    with site(tmp_path / "site") as web:
        url = f"{web.url}/image.zarr"
        dataset = opened(url)
    for read in (dataset.load, lambda: opened(url), lambda: validate(url)):
        with pytest.raises(OmeZarrError, match="cannot be reached"):
            read()


@pytest.mark.parametrize("answer", [500, "truncated", "closed", 403])
def test_archives(tmp_path: Path, web: Site, answer: Answer) -> None:
    written = image((40, 48))
    written.omezarr.to_zarr(tmp_path / "site" / "image.ozx")
    web.answer = at_first(answer, 2)
    url = f"{web.url}/image.ozx"
    if answer == 403:
        with pytest.raises(errors.OmeZarrPermissionError):
            opened(url)
        return
    dataset = opened(url)
    web.answer = at_first(answer, 2)
    xr.testing.assert_equal(dataset.load(), written)
    dataset = opened(url)
    web.answer = lambda _: answer
    with pytest.raises(OmeZarrError, match=r"image\.ozx"):
        dataset.load()
    with pytest.raises(OmeZarrError, match=r"image\.ozx"):
        opened(url)


# ── denied ───────────────────────────────────────────────────────────────────────────────────────


def test_what_is_denied_is_missing_when_asked(tmp_path: Path, web: Site) -> None:
    """S3 answers 403 for what is not there, to those who may not list."""
    black = xr.Dataset({"image": (("y", "x"), np.zeros((32, 32), "u1"))})
    black.omezarr.to_zarr(tmp_path / "site" / "image.zarr")
    there = {
        file.relative_to(tmp_path / "site").as_posix()
        for file in (tmp_path / "site").rglob("*")
        if file.is_file()
    }
    web.answer = lambda one: None if one.path in there else 403
    url = f"{web.url}/image.zarr"
    with pytest.raises(errors.OmeZarrPermissionError, match="missing_on_403=True"):
        opened(url)
    dataset = opened(url, missing_on_403=True)
    assert not dataset.load().image.values.any()
    assert "0" in opened_tree(url, missing_on_403=True).children
    with pytest.raises(errors.OmeZarrFileNotFoundError):
        opened(f"{web.url}/nowhere.zarr", missing_on_403=True)
    dataset = opened(url, labels=False, missing_on_403=True)
    web.answer = where("/c/", 500)
    with pytest.raises(OmeZarrError, match="500"):
        dataset.load()


# ── credentials ──────────────────────────────────────────────────────────────────────────────────

WORDS = ("open-sesame", "s3cr3t", "0123456789abcdef")


@pytest.mark.parametrize("cache", ["", "simplecache::"])
@pytest.mark.parametrize("given", ["url", "options"])
def test_credentials_are_used_and_never_shown(
    tmp_path: Path, web: Site, caplog: pytest.LogCaptureFixture, cache: str, given: str
) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "site" / "image.zarr")
    url = f"{cache}{web.url}/image.zarr"
    own: dict[str, Any] = {}
    if given == "url":
        url = url.replace("http://", f"http://me:{WORDS[1]}@")
        url += f"?token={WORDS[0]}&X-Amz-Signature={WORDS[2]}&empty="
    else:
        own = {"headers": {"Api-Key": WORDS[1]}, "params": {"token": WORDS[0]}}
    numbers = itertools.count()

    def options() -> dict[str, Any]:
        storage = {"cache_storage": str(tmp_path / f"cache{next(numbers)}")}
        return {"http": own, "simplecache": storage} if cache else own

    caplog.set_level(logging.DEBUG)
    lazy = opened(url, storage_options=options())
    tree = opened_tree(url, storage_options=options())
    shown = [repr(lazy), repr(tree)]
    shown += [one._repr_html_() for one in (lazy, tree)]
    shown += [str(lazy.encoding), str(lazy.image.encoding), repr(lazy.image.variable._data)]
    who = "***@" if given == "url" else ""
    place = f"{cache}{web.url}/image.zarr".replace("http://", f"http://{who}")
    assert lazy.encoding["source"] == place
    lazy.omezarr.to_zarr(tmp_path / "copy")
    shown += [file.read_text() for file in tmp_path.glob("copy/**/zarr.json")]
    for answer in (403, 500, "truncated", "closed"):
        lazy = opened(url, storage_options=options())
        web.answer = where("", answer)
        for read in (lazy.load, functools.partial(opened, url, storage_options=options())):
            with pytest.raises(OmeZarrError) as caught:
                read()
            assert place in str(caught.value)
            shown += ["".join(traceback.format_exception(caught.value)), repr(caught.value)]
        web.answer = lambda _: None
    shown += [record.getMessage() for record in caplog.records if "omezarr" in record.name]
    for text in shown:
        for word in WORDS:
            assert word not in text
    assert {one.query.get("token") for one in web.asked} == {WORDS[0]}
    who = "Authorization" if given == "url" else "Api-Key"
    assert all(who in one.headers for one in web.asked)


def test_credentials_for_an_archive(tmp_path: Path, web: Site) -> None:
    written = image()
    written.omezarr.to_zarr(tmp_path / "site" / "image.ozx")
    url = f"{web.url}/image.ozx?X-Amz-Signature={WORDS[2]}&X-Amz-Date=1"
    dataset = opened(url)
    xr.testing.assert_equal(dataset.load(), written)
    assert {one.query.get("X-Amz-Signature") for one in web.asked} == {WORDS[2]}
    shown = [str(dataset.encoding)]
    web.answer = lambda _: 500
    for read in (lambda: opened(url), lambda: written.omezarr.to_zarr(url, mode="a")):
        with pytest.raises(OmeZarrError) as caught:
            read()
        shown.append("".join(traceback.format_exception(caught.value)))
    assert all(WORDS[2] not in text for text in shown)
