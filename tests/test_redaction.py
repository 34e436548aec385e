"""Credentials are taken out of names and messages, and nothing else is."""

from __future__ import annotations

import time

import pytest

from xarray_omezarr import OmeZarrError
from xarray_omezarr.redaction import secrets_in, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:word@host:80/a.zarr", "https://***@host:80/a.zarr"),
        ("https://token@host/a.zarr", "https://***@host/a.zarr"),
        ("https://me:p@ss@host/a.zarr", "https://***@host/a.zarr"),
        ("https://host/a.zarr?sv=1&sig=abc%2F#x", "https://host/a.zarr?***"),
        ("simplecache::https://host/a?token=t/0 is", "simplecache::https://host/a?*** is"),
        ("s3://key:secret@bucket/a", "s3://***@bucket/a"),
        ("403, url=URL('http://h/a?token=b'), x", "403, url=URL('http://h/a?***'), x"),
        ("(https://u:p@h/a?b=c) and http://h", "(https://***@h/a?***) and http://h"),
        ("/a?X-Amz-Signature=12&x=1", "/a?X-Amz-Signature=***&x=1"),
        ("headers=<('Authorization': 'Basic bWU=')>", "headers=<('Authorization': '***')>"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
    ],
)
def test_what_is_hidden(text: str, expected: str) -> None:
    assert shown(text) == expected
    assert shown(expected) == expected
    assert str(OmeZarrError(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "/data/me@home/image.zarr",
        "s3://bucket/image@2.zarr/zarr.json",
        "abfs://container@account.dfs.core.windows.net/image.zarr",
        "https://host/@me/image.zarr",
        "What is it? A level, at 3 @ 0.5: group='A/1'",
        "memory://image.zarr/0",
    ],
)
def test_what_is_shown(text: str) -> None:
    assert shown(text) == text


def test_options() -> None:
    options = {
        "key": "AKIA0",
        "s3": {"secret": "word/1", "anon": False, "client_kwargs": {"endpoint_url": "http://h"}},
        "headers": {"X-Api-Key": ["abcd"]},
        "token": "t",
    }
    assert secrets_in(options) == {"AKIA0", "word/1", "abcd"}
    assert shown("AKIA0 and word/1 at http://h", secrets_in(options)) == "*** and *** at http://h"


@pytest.mark.parametrize("part", ["a-", "a://", "http://u:", "https://a?"])
def test_a_message_that_a_file_has_filled(part: str) -> None:
    start = time.perf_counter()
    assert len(str(OmeZarrError(part * 500_000))) < 5000
    assert time.perf_counter() - start < 5
