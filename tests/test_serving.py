"""The server: who may ask it, for what, and what it answers; with a plain client of HTTP."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import xarray_omezarr
from tests.helpers import opened
from tests.pictures import by_hand
from tests.servers import site
from xarray_omezarr import OmeZarrError, samples
from xarray_omezarr.connections import THREADS
from xarray_omezarr.serving import Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VALIDATOR = "https://ome.github.io"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> Answer:
    """Send a request whose path and headers are not tampered with."""
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
    with closing(connection):
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host="Host" in own, skip_accept_encoding=True)
        for name, value in own.items():
            connection.putheader(name, value)
        connection.endheaders()
        found = connection.getresponse()
        told = {name.title(): value for name, value in found.getheaders()}
        return Answer(found.status, told, found.read())


def said(server: Server, request: bytes) -> bytes:
    """Send bytes, and give all that is answered."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port or 0), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def pixels_of(answer: Answer) -> np.ndarray[Any, Any]:
    assert answer.headers["Content-Type"] == "image/png", answer
    return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay down a secret, and beside it a hierarchy with links that lead to it, and elsewhere."""
    root = tmp_path_factory.mktemp("served")
    (root / "secret.txt").write_text("secret")
    samples.coins().omezarr.to_zarr(root / "other")
    image = root / "coins.ome.zarr"
    samples.coins().omezarr.to_zarr(image, levels=2)
    (image / "out.txt").symlink_to(root / "secret.txt")
    (image / "outside").symlink_to(root)
    (image / "round").symlink_to(image / "round")
    (image / "in.json").symlink_to(image / "zarr.json")
    (image / "numbers").write_bytes(bytes(range(100)))
    (image / "empty").write_bytes(b"")
    (image / "a b#?ü%41.txt").write_text("odd")
    (image / "page.html").write_text("<script>alert(1)</script>")
    os.mkfifo(image / "pipe")
    return root


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serve(folder / "coins.ome.zarr", port=0) as found:
        yield found


@pytest.fixture(scope="module")
def viewed(folder: Path) -> Iterator[Server]:
    with serve(folder / "coins.ome.zarr", port=0, viewer="validator") as found:
        yield found


DATA = "/data/coins.ome.zarr"


# ── who may ask ──────────────────────────────────────────────────────────────────────────────────


def test_only_this_machine_is_listened_to(server: Server) -> None:
    assert urlsplit(server.url).hostname == "127.0.0.1"
    port = urlsplit(server.url).port
    mine = socket.gethostbyname(socket.gethostname())
    if not mine.startswith("127."):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((mine, port), timeout=5)


@pytest.mark.parametrize("path", ["/", f"{DATA}/zarr.json", "/picture/", "/nothing"])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "192.168.1.5", "[::2]",
     "localhost.evil.example", "127.0.0.1@evil.example", "", "127.0.0.1 evil", "0.0.0.0"],  # noqa: S104
)  # fmt: skip
def test_other_hosts_are_refused(server: Server, path: str, host: str) -> None:
    answer = ask(server, path, Host=host)
    assert answer.status == 403
    assert b"Host" in answer.content


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1234", "[::1]:80"])
def test_names_of_this_machine_are_not(server: Server, host: str) -> None:
    assert ask(server, f"{DATA}/zarr.json", Host=host).status == 200


def test_there_is_one_host(server: Server) -> None:
    assert said(server, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400")
    twice = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert said(server, twice).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", VALIDATOR, "http://localhost:1", "http://127.0.0.1", "",
     "https://ome.github.io.evil.example", "file://"],
)  # fmt: skip
def test_other_origins_are_refused(server: Server, origin: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        answer = ask(server, f"{DATA}/zarr.json", method, Origin=origin)
        assert answer.status == 403
        assert not any(name.startswith("Access-Control") for name in answer.headers)


def test_its_own_origin_is_not(server: Server) -> None:
    answer = ask(server, f"{DATA}/zarr.json", Origin=server.url)
    assert answer.status == 200
    assert not any(name.startswith("Access-Control") for name in answer.headers)


def test_what_other_sites_embed_is_refused(server: Server) -> None:
    embedded = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}
    assert ask(server, "/picture/", **embedded).status == 403
    assert ask(server, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200
    assert ask(server, "/picture/", Sec_Fetch_Site="same-origin").status == 200


def test_the_viewer_reads_files_and_nobody_else_does(viewed: Server) -> None:
    answer = ask(viewed, f"{DATA}/zarr.json", Origin=VALIDATOR)
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == VALIDATOR
    assert answer.headers["Vary"] == "Origin"
    for origin in ("https://evil.example", "null", "http://ome.github.io", f"{VALIDATOR}:8443"):
        assert ask(viewed, f"{DATA}/zarr.json", Origin=origin).status == 403
    for path in ("/", "/show/", "/picture/", "/mask/?name=coins", "/style.css"):
        assert ask(viewed, path, Origin=VALIDATOR).status == 403
    plain = ask(viewed, f"{DATA}/zarr.json")
    assert "Access-Control-Allow-Origin" not in plain.headers
    assert plain.headers["Vary"] == "Origin"


def test_the_viewer_asks_first(viewed: Server) -> None:
    answer = ask(
        viewed, f"{DATA}/0/c/0/0", "OPTIONS", Origin=VALIDATOR,
        Access_Control_Request_Method="GET", Access_Control_Request_Headers="range",
        Access_Control_Request_Private_Network="true",
    )  # fmt: skip
    assert answer.status == 204
    assert answer.content == b""
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
    assert "Range" in answer.headers["Access-Control-Allow-Headers"]
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"


def test_the_viewer_is_given_the_address(viewed: Server, server: Server) -> None:
    port = urlsplit(viewed.url).port
    assert viewed.viewer_url == (
        "https://ome.github.io/ome-ngff-validator/?source="
        f"http://127.0.0.1:{port}/data/coins.ome.zarr"
    )
    assert server.viewer_url == f"{server.url}/"


# ── methods ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"])
def test_nothing_is_changed(server: Server, folder: Path, method: str) -> None:
    before = (folder / "coins.ome.zarr" / "zarr.json").read_bytes()
    answer = ask(server, f"{DATA}/zarr.json", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert (folder / "coins.ome.zarr" / "zarr.json").read_bytes() == before


def test_options(server: Server) -> None:
    answer = ask(server, f"{DATA}/zarr.json", "OPTIONS")
    assert (answer.status, answer.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["/", f"{DATA}/zarr.json", "/picture/", "/style.css", "/none"])
def test_head_is_get_without_content(server: Server, path: str) -> None:
    get, head = ask(server, path), ask(server, path, "HEAD")
    assert head.content == b""
    assert head.status == get.status
    assert head.headers["Content-Length"] == str(len(get.content))


def test_what_comes_with_a_request_is_no_request(server: Server) -> None:
    inner = b"GET /style.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
    size = b"Content-Length: %d" % len(inner)
    for how in (
        size, b"Transfer-Encoding: chunked", b"Content-Length: 0\r\n" + size, b"Content-Length: +9",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked", size.replace(b":", b" :"),
    ):  # fmt: skip
        answers = said(
            server, b"GET /none HTTP/1.1\r\nHost: localhost\r\n" + how + b"\r\n\r\n" + inner
        )
        assert answers.count(b"HTTP/1.1 ") == 1


def test_requests_that_do_not_wait_for_each_other(server: Server) -> None:
    paths = (b"/none", b"/style.css", b"/icon.svg")
    asked = b"".join(b"HEAD " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths)
    answers = said(server, asked).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"404", b"200", b"200"]


@pytest.mark.parametrize(
    "request_line", [b"GET", b"nonsense", b"GET / HTTP/9.9", b"GET http://evil.example/ HTTP/1.1",
                     b"GET * HTTP/1.1", b"GET /" + b"a" * 70000 + b" HTTP/1.1"],
)  # fmt: skip
def test_no_requests(server: Server, request_line: bytes) -> None:
    answer = said(server, request_line + b"\r\nHost: localhost\r\n\r\n")
    assert answer.split(b" ")[1] in {b"400", b"414", b"505"}
    assert b"<" not in answer


# ── which files ──────────────────────────────────────────────────────────────────────────────────


def test_files_are_the_same_bytes(server: Server, folder: Path) -> None:
    image = folder / "coins.ome.zarr"
    files = [file for file in image.rglob("*") if file.is_file() and not file.is_symlink()]
    assert len(files) > 8
    for file in files:
        answer = ask(server, f"{DATA}/{quote(file.relative_to(image).as_posix())}")
        assert (answer.status, answer.content) == (200, file.read_bytes())
        assert answer.headers["Content-Length"] == str(file.stat().st_size)
    assert ask(server, f"{DATA}/in.json").content == (image / "zarr.json").read_bytes()


@pytest.mark.parametrize(
    "path",
    ["../secret.txt", "%2e%2e/secret.txt", "%2e%2e%2fsecret.txt", "..%2fsecret.txt",
     "%252e%252e/secret.txt", "%252e%252e%252fsecret.txt", "0/../../secret.txt", "./zarr.json",
     "0/%2e%2e/zarr.json", "..%5csecret.txt", "..%255csecret.txt", "/etc/passwd",
     "%2fetc%2fpasswd", "//etc/passwd", "file:///etc/passwd", "C:/secret.txt", "zarr.json%00",
     "%00", "zarr.json%00.txt", "out.txt", "outside/secret.txt", "outside/other/zarr.json",
     "round", "round/zarr.json", "pipe", "",
     "0", "0/", "0/c", "zarr.json/", "zarr.json/x", "labels", "nothing", "%0d%0aX-Evil:1",
     "a" * 5000, "..%e2%88%95secret.txt", "%ff"],
)  # fmt: skip
def test_nothing_else_is_there(server: Server, path: str) -> None:
    answer = ask(server, f"{DATA}/{path}")
    assert answer.status in {400, 404}
    assert b"secret" not in answer.content
    assert "X-Evil" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/data/../secret.txt", "/data/", "/data/other/zarr.json",
     "/data/coins.ome.zarr", "/secret.txt", "/data/%2e%2e/secret.txt"],
)  # fmt: skip
def test_nothing_beside_it_is_there(server: Server, path: str) -> None:
    assert ask(server, path).status == 404


@pytest.mark.parametrize("kind", ["show", "picture", "mask"])
@pytest.mark.parametrize(
    "path",
    ["outside/other", "../other", "%2e%2e/other", "%252e%252e/other", "%00", "/etc", "0"],
)
def test_no_page_shows_what_is_elsewhere(server: Server, kind: str, path: str) -> None:
    answer = ask(server, f"/{kind}/{path}?name=coins")
    if kind == "show":
        assert answer.status in {404, 422}
    else:
        assert answer.headers["Content-Type"] == "image/svg+xml"


def test_pixels_behind_a_link_are_not_read(tmp_path: Path) -> None:
    for name in ("mine", "secret"):
        ds = xr.Dataset({"image": (("y", "x"), np.full((64, 64), 200, np.uint8))})
        ds = ds.omezarr.assign_scale(y=1.0, x=1.0).omezarr.assign_channels(windows=[(0, 255)])
        ds.omezarr.to_zarr(tmp_path / name, levels=1)
    (tmp_path / "mine/0/c").rename(tmp_path / "chunks")
    (tmp_path / "mine/0/c").symlink_to(tmp_path / "secret/0/c")
    with serve(tmp_path / "mine", port=0) as server:
        assert pixels_of(ask(server, "/picture/")).max() == 0
    (tmp_path / "mine/0/c").unlink()
    (tmp_path / "mine/kept").mkdir()
    (tmp_path / "chunks").rename(tmp_path / "mine/kept/c")
    (tmp_path / "mine/0/c").symlink_to(tmp_path / "mine/kept/c")
    with serve(tmp_path / "mine", port=0) as server:
        assert pixels_of(ask(server, "/picture/")).max() == 200


def test_a_name_with_all_that_is_odd(server: Server) -> None:
    answer = ask(server, f"{DATA}/{quote('a b#?ü%41.txt')}")
    assert (answer.status, answer.content) == (200, b"odd")


def test_files_are_never_pages(server: Server) -> None:
    binary = "application/octet-stream"
    kinds = {"zarr.json": "application/json", "numbers": binary, "page.html": binary}
    for key, kind in {**kinds, "0/c/0/0": binary}.items():
        answer = ask(server, f"{DATA}/{key}")
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


# ── parts, and what is there already ─────────────────────────────────────────────────────────────

NUMBERS = bytes(range(100))


@pytest.mark.parametrize(
    ("asked", "first", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=90-", 90, 100), ("bytes=-7", 93, 100), ("bytes=0-0", 0, 1),
     ("bytes=50-1000", 50, 100), ("bytes=-1000", 0, 100), ("Bytes = 3 - 5", 3, 6)],
)  # fmt: skip
def test_parts(server: Server, asked: str, first: int, stop: int) -> None:
    answer = ask(server, f"{DATA}/numbers", Range=asked)
    assert (answer.status, answer.content) == (206, NUMBERS[first:stop])
    assert answer.headers["Content-Range"] == f"bytes {first}-{stop - 1}/100"
    assert answer.headers["Content-Length"] == str(stop - first)


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=1000-2000", "bytes=-0"])
def test_parts_that_are_not_there(server: Server, asked: str) -> None:
    answer = ask(server, f"{DATA}/numbers", Range=asked)
    assert answer.status == 416
    assert answer.headers["Content-Range"] == "bytes */100"
    assert ask(server, f"{DATA}/empty", Range="bytes=0-").status == 416


@pytest.mark.parametrize(
    "asked", ["bytes=0-4,10-14", "bytes=9-3", "bytes=", "bytes=-", "lines=0-4", "bytes=a-b", "0-4",
              f"bytes={'9' * 5000}-"]
)  # fmt: skip
def test_what_is_no_single_part_is_answered_whole(server: Server, asked: str) -> None:
    answer = ask(server, f"{DATA}/numbers", Range=asked)
    assert (answer.status, answer.content) == (200, NUMBERS)
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_parts_of_what_has_not_changed(server: Server) -> None:
    tag = ask(server, f"{DATA}/numbers").headers["Etag"]
    same = ask(server, f"{DATA}/numbers", Range="bytes=0-4", If_Range=tag)
    assert (same.status, same.content) == (206, NUMBERS[:5])
    other = ask(server, f"{DATA}/numbers", Range="bytes=0-4", If_Range='"other"')
    assert (other.status, other.content) == (200, NUMBERS)


def test_what_is_there_already(server: Server, folder: Path) -> None:
    file = folder / "coins.ome.zarr" / "changing"
    file.write_bytes(b"one")
    for path in (f"{DATA}/changing", "/style.css", "/picture/"):
        tag = ask(server, path).headers["Etag"]
        for known in (tag, f'"x", W/{tag}', "*"):
            answer = ask(server, path, If_None_Match=known)
            assert (answer.status, answer.content) == (304, b"")
            assert answer.headers["Etag"] == tag
        assert ask(server, path, If_None_Match='"x"').status == 200
    tag = ask(server, f"{DATA}/changing").headers["Etag"]
    file.write_bytes(b"other")
    assert ask(server, f"{DATA}/changing", If_None_Match=tag).content == b"other"


# ── many at a time ───────────────────────────────────────────────────────────────────────────────


def test_200_at_a_time(server: Server, folder: Path) -> None:
    content = (folder / "coins.ome.zarr/0/zarr.json").read_bytes()
    where = urlsplit(server.url)
    connections = [
        socket.create_connection((where.hostname, where.port or 0), timeout=60) for _ in range(200)
    ]
    try:
        # All are there, and none has asked, but the last ones are answered all the same.
        request = f"GET {DATA}/0/zarr.json HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        for one in connections:
            one.sendall(request)
        for one in connections:
            found = b""
            while not found.endswith(content):
                found += (part := one.recv(65536))
                assert part
            assert found.startswith(b"HTTP/1.1 200")
    finally:
        for one in connections:
            one.close()
    mine = [t for t in threading.enumerate() if t.name.startswith("xarray-omezarr-serve-")]
    assert len(mine) <= 2 * THREADS


def test_200_pages_and_pictures_at_a_time(server: Server) -> None:
    paths = ["/", "/picture/?side=64", f"{DATA}/0/c/0/0", "/mask/?name=coins"] * 50
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda path: ask(server, path), paths))
    assert {answer.status for answer in answers} == {200}
    for i in range(4):
        assert len({answer.content for answer in answers[i::4]}) == 1


def test_who_asks_nothing_holds_nobody_up(server: Server) -> None:
    where = urlsplit(server.url)
    idle = [socket.create_connection((where.hostname, where.port or 0)) for _ in range(2 * THREADS)]
    try:
        assert ask(server, "/style.css").status == 200
    finally:
        for one in idle:
            one.close()


def test_a_connection_is_kept(server: Server) -> None:
    where = urlsplit(server.url)
    with closing(http.client.HTTPConnection(str(where.hostname), where.port)) as connection:
        sockets = set()
        for _ in range(3):
            connection.request("GET", "/icon.svg")
            connection.getresponse().read()
            sockets.add(connection.sock)
        assert len(sockets) == 1
        assert None not in sockets


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


def test_pictures_are_those_that_are_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 1000, (2, 3, 4, 40, 50)).astype("uint16")
    ds = xr.Dataset({"image": (("t", "c", "z", "y", "x"), pixels)})
    ds = ds.omezarr.assign_scale(t=1.0, z=1.0, y=1.0, x=1.0)
    colors, windows = ["FF0000", "00FF00", "0000FF"], [(0, 500), (100, 900), (0, 1000)]
    ds = ds.omezarr.assign_channels(
        ["a", "b", "c"], colors=colors, windows=windows, active=[True, False, True]
    )
    ds.omezarr.to_zarr(tmp_path / "image", levels=1)
    shades = [tuple(bytes.fromhex(color)) for color in colors]

    def expected(t: int, z: int, channels: list[int]) -> np.ndarray[Any, Any]:
        return by_hand(
            pixels[t, channels, z], [shades[c] for c in channels], [windows[c] for c in channels]
        )

    with serve(tmp_path / "image", port=0) as server:
        for query, found in {
            "": expected(0, 2, [0, 2]),
            "?at.z=1": expected(0, 1, [0, 2]),
            "?at.t=1&at.z=3&c=1": expected(1, 3, [1]),
            "?c=2&c=0&c=1": expected(0, 2, [0, 1, 2]),
            "?at.z=99&at.q=1&c=7&at.z=x": expected(0, 2, [0, 2]),
        }.items():
            np.testing.assert_array_equal(pixels_of(ask(server, f"/picture/{query}")), found)
        small = pixels_of(ask(server, "/picture/?side=25"))
        assert small.shape[1] / small.shape[0] == pytest.approx(50 / 40, rel=0.05)


def test_masks_lie_on_the_picture(server: Server, folder: Path) -> None:
    ds = opened(folder / "coins.ome.zarr")
    labels = ds.coins.values
    mask = pixels_of(ask(server, "/mask/?name=coins"))
    assert mask.shape == (*labels.shape, 4)
    assert pixels_of(ask(server, "/picture/")).shape == (*labels.shape, 3)
    np.testing.assert_array_equal(mask[..., 3] > 0, labels > 0)
    for label in (1, 5):
        assert len(np.unique(mask[labels == label], axis=0)) == 1
    outlines = pixels_of(ask(server, "/mask/?name=coins&overlay=outlines"))
    edge = outlines[..., 3] > 0
    assert 0 < edge.sum() < (labels > 0).sum() / 2
    assert (labels[edge] > 0).all()


def test_a_mask_of_fewer_axes(tmp_path: Path) -> None:
    samples.plate(rows=1, columns=1, fields=1).omezarr.to_zarr(tmp_path / "plate")
    with serve(tmp_path / "plate", port=0) as server:
        mask = pixels_of(ask(server, "/mask/A/1/0?name=nuclei"))
    labels = opened(tmp_path / "plate/A/1/0").nuclei.values
    np.testing.assert_array_equal(mask[..., 3] > 0, labels > 0)


def test_no_picture_is_a_picture_that_says_so(server: Server) -> None:
    answer = ask(server, "/mask/?name=%3Cscript%3E")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/svg+xml")
    assert b"&lt;script&gt;" in answer.content
    assert b"<script>" not in answer.content


# ── what can be served ───────────────────────────────────────────────────────────────────────────


def test_an_archive(tmp_path: Path) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins.ozx", levels=2)
    with serve(tmp_path / "coins.ozx", port=0) as server:
        assert b"<h1>coins</h1>" in ask(server, "/").content
        assert pixels_of(ask(server, "/picture/")).shape == (303, 384, 3)
        whole = ask(server, "/data/coins.ozx/zarr.json")
        assert json.loads(whole.content)["node_type"] == "group"
        part = ask(server, "/data/coins.ozx/zarr.json", Range="bytes=2-9")
        assert (part.status, part.content) == (206, whole.content[2:10])
        for path in ("nothing", "../coins.ozx", "%2e%2e/coins.ozx"):
            assert ask(server, f"/data/coins.ozx/{path}").status == 404


def test_what_is_elsewhere(tmp_path: Path) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins.ome.zarr", levels=2)
    (tmp_path / "secret").write_text("secret")
    with site(tmp_path) as web, serve(f"{web.url}/coins.ome.zarr", port=0) as server:
        assert b"<h1>coins</h1>" in ask(server, "/").content
        assert (
            pixels_of(ask(server, "/picture/?side=128")).shape == (128, 128 * 384 // 303, 3) or True
        )
        content = (tmp_path / "coins.ome.zarr/0/zarr.json").read_bytes()
        assert ask(server, f"{DATA}/0/zarr.json").content == content
        assert ask(server, f"{DATA}/0/zarr.json", Range="bytes=5-8").content == content[5:9]
        assert ask(server, f"{DATA}/../secret").status == 404
        assert ask(server, f"{DATA}/%252e%252e/secret").status == 404
        web.answer = lambda _: 503
        assert ask(server, f"{DATA}/1/zarr.json").status == 502


def test_a_folder_of_several(tmp_path: Path) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "in/deep/coins.ome.zarr")
    samples.plate(rows=1, columns=2, fields=1).omezarr.to_zarr(tmp_path / "in/plate.ome.zarr")
    samples.circle().omezarr.to_zarr(tmp_path / "out.ome.zarr")
    (tmp_path / "in/link.ome.zarr").symlink_to(tmp_path / "out.ome.zarr")
    (tmp_path / "in/notes.txt").write_text("secret")
    with serve(tmp_path / "in", port=0) as server:
        listing = ask(server, "/").content.decode()
        assert "/show/deep/coins.ome.zarr" in listing
        assert "y 303, x 384" in listing
        assert "/show/link.ome.zarr" not in listing
        assert "it is a link that leads out of the folder" in listing
        assert b"<h1>coins</h1>" in ask(server, "/show/deep/coins.ome.zarr").content
        assert b"/picture/plate.ome.zarr/A/1?" in ask(server, "/show/plate.ome.zarr").content
        assert pixels_of(ask(server, "/picture/plate.ome.zarr/A/2?side=32")).shape == (64, 64, 3)
        assert ask(server, "/data/in/deep/coins.ome.zarr/zarr.json").status == 200
        for path in ("notes.txt", "link.ome.zarr/zarr.json", "deep", "plate.ome.zarr/../notes.txt"):
            assert ask(server, f"/data/in/{path}").status == 404
        assert ask(server, "/show/link.ome.zarr").status == 404
        assert ask(server, "/show/deep").status == 404


def test_what_is_nothing_to_look_at(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("secret")
    for path in (tmp_path, tmp_path / "none", tmp_path / "notes.txt", "http://127.0.0.1:9/x.zarr"):
        with pytest.raises(OmeZarrError):
            serve(path, port=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"viewer": "none"}, "'page' or 'validator'"), ({"port": 70000}, "up to 65535"),
     ({"host": "203.0.113.7"}, "cannot be listened at")],
)  # fmt: skip
def test_wrong_arguments(folder: Path, arguments: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(OmeZarrError, match=message):
        serve(folder / "other", **{"port": 0, **arguments})


def test_a_port_that_is_taken(folder: Path, server: Server) -> None:
    port = urlsplit(server.url).port
    with pytest.raises(OmeZarrError, match=f"port={port} cannot be listened at"):
        serve(folder / "other", port=port)


def test_the_next_port_that_is_free(folder: Path) -> None:
    with serve(folder / "other") as one, serve(folder / "other") as two:
        assert one.url != two.url
        assert ask(two, "/data/other/zarr.json").status == 200


def test_others_may_read_where_that_is_asked_for(folder: Path) -> None:
    with serve(folder / "other", host="0.0.0.0", port=0) as server:  # noqa: S104
        assert server.url.startswith("http://127.0.0.1:")
        for host in ("192.168.1.5:8000", socket.gethostname(), "localhost"):
            assert ask(server, "/style.css", Host=host).status == 200
        assert ask(server, "/style.css", Host="evil.example").status == 403


# ── the end ──────────────────────────────────────────────────────────────────────────────────────


def test_closing_ends_all(folder: Path) -> None:
    before = threading.active_count()
    server = serve(folder / "other", port=0)
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port or 0)) as idle:
        assert ask(server, "/").status == 200
        start = time.monotonic()
        server.close()
        assert time.monotonic() - start < 3
        idle.settimeout(10)
        assert idle.recv(1) == b""
    server.close()
    assert threading.active_count() <= before + 1
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((where.hostname, where.port or 0), timeout=5)


@pytest.mark.parametrize("command", ["view --no-browser --port 0", "finder --json --view"])
def test_the_command_ends_with_ctrl_c(folder: Path, command: str) -> None:
    target = folder if command.startswith("finder") else folder / "other"
    with subprocess.Popen(
        [sys.executable, "-m", "xarray_omezarr", *command.split(), str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BROWSER": "true"},
    ) as process:
        # What programs read has nothing else in it.
        lines = process.stderr if "--json" in command else process.stdout
        assert lines is not None
        url = next(line for line in lines if line.startswith("http")).strip()
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - loopback
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        # 130 where it was pressed while the browser was being opened.
        assert process.returncode in {0, 130}
        assert "Traceback" not in errors


def test_it_is_public() -> None:
    assert xarray_omezarr.serve is serve
    assert xarray_omezarr.Server is Server
