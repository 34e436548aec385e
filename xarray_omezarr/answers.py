"""What is answered to a request for a hierarchy, or for a page on which it is looked at.

Who may ask is decided before anything is read (`gates`). Nothing is answered that is not below the
hierarchy, and nothing is changed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from xarray_omezarr import exhibits, page, pictures
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileNotFoundError
from xarray_omezarr.exhibits import Choice
from xarray_omezarr.gates import VALIDATOR_ORIGIN
from xarray_omezarr.portions import tag_of
from xarray_omezarr.redaction import shown
from xarray_omezarr.styles import ICON, STYLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from io import BufferedReader

    from numpy.typing import NDArray

    from xarray_omezarr.connections import Threads
    from xarray_omezarr.exhibits import Hierarchy
    from xarray_omezarr.gates import Gate
    from xarray_omezarr.portions import Portion
    from xarray_omezarr.shelves import Shelf

log = logging.getLogger(__name__)

#: So many pictures are made at a time; others wait.
_PAINTERS = max(2, min(4, os.cpu_count() or 2))
#: Seconds that a request, or a part of an answer, may take to come; and that a connection is kept.
_PATIENCE, _KEPT = 30.0, 5.0
#: Seconds that a connection has for its first request, whoever else waits.
_FIRST = 1.0
#: A connection without a request looks so often whether others need its thread.
_LOOK = 0.05
#: Pictures that were made are kept for so many seconds, and so many bytes.
_FRESH, _MOST_KEPT = 60.0, 2**26
#: What is written at a time.
_BLOCK = 2**17
#: Numbers in addresses are no longer.
_DIGITS = 9
#: The sides that pictures may have.
_SIDES = (16, 1024)
_METHODS = ("GET", "HEAD", "OPTIONS")
_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,30})\s*-\s*([0-9]{0,30})\s*", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?("[^"]*")')
#: Pages take pictures and style from here, and nothing from anywhere.
_PAGE_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
#: Files are only read, whatever is in them.
_FILE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
#: What the names of files that are text end in.
_TYPES = {
    ".json": "application/json", ".zattrs": "application/json", ".zarray": "application/json",
    ".zgroup": "application/json", ".zmetadata": "application/json",
    ".csv": "text/plain; charset=utf-8", ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8", ".xml": "application/xml",
}  # fmt: skip


class Kept:
    """Pictures that have just been made."""

    def __init__(self) -> None:
        self._found: OrderedDict[object, tuple[float, bytes]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: object) -> bytes | None:
        """Give a picture that has been made a moment ago."""
        with self._lock:
            made, content = self._found.get(key, (0.0, b""))
        return content if content and time.monotonic() - made < _FRESH else None

    def put(self, key: object, content: bytes) -> None:
        """Keep a picture for a moment."""
        with self._lock:
            self._size += len(content) - len(self._found.pop(key, (0.0, b""))[1])
            self._found[key] = time.monotonic(), content
            while self._size > _MOST_KEPT:
                self._size -= len(self._found.popitem(last=False)[1][1])


@dataclass(frozen=True)
class Site:
    """What is served, and to whom."""

    hierarchy: Hierarchy | Shelf
    gate: Gate
    kept: Kept = field(default_factory=Kept)
    painting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_PAINTERS))


class _RefusedError(Exception):
    """A request is not answered as it asks for."""

    def __init__(self, status: HTTPStatus, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of a connection."""

    site: Site
    """Set in the subclass that a server has."""
    protocol_version = "HTTP/1.1"
    server_version = "omezarr"
    sys_version = ""
    timeout = _PATIENCE
    disable_nagle_algorithm = True

    # ── one after another ────────────────────────────────────────────────────────────────────────

    def handle(self) -> None:
        """Answer requests for as long as more come, and nobody else waits for the thread."""
        self.close_connection = False
        patience = _FIRST
        with contextlib.suppress(ConnectionError, TimeoutError):
            while not self.close_connection and self._is_asked(patience):
                self.handle_one_request()
                patience = 0.0

    def _is_asked(self, patience: float) -> bool:
        """Wait for a request: for some seconds in any case, then until others need the thread."""
        start = time.monotonic()
        # With the one before it, the beginning of another may have been read.
        self.connection.settimeout(0)
        if cast("BufferedReader", self.rfile).peek(1):
            self.connection.settimeout(_PATIENCE)
            return True
        self.connection.settimeout(_LOOK)
        try:
            while (waited := time.monotonic() - start) < _KEPT:
                if waited >= patience and cast("Threads", self.server).is_crowded:
                    break
                with contextlib.suppress(TimeoutError):
                    return bool(self.connection.recv(1, socket.MSG_PEEK))
        finally:
            self.connection.settimeout(_PATIENCE)
        return False

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as typed there
        """Log what was asked for those who want to know."""
        log.debug("%s", shown(format % args))

    def version_string(self) -> str:
        """Say what answers."""
        return self.server_version

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request."""
        self.close_connection = True
        # What is none is taken for one of HTTP/0.9, whose answers have no status.
        self.request_version = self.protocol_version
        status = HTTPStatus(code)
        self._send(status, f"{explain or message or status.phrase}\n".encode(), "text/plain")

    # ── one ──────────────────────────────────────────────────────────────────────────────────────

    def _answer(self) -> None:
        lengths = self.headers.get_all("Content-Length") or []
        odd = "Transfer-Encoding" in self.headers or self.headers.defects
        if odd or any(length != "0" for length in lengths):
            # What comes with the request is not read, and not to be taken for another one.
            self.close_connection = True
        try:
            path, query = self._asked()
            self._check()
            if self.command == "OPTIONS":
                self._options()
                return
            self._found(path, query)
        except _RefusedError as refused:
            content = f"{refused}\n".encode()
            self._send(refused.status, content, "text/plain", **refused.headers)
        except (ConnectionError, TimeoutError):
            raise
        except Exception:
            log.exception("a request could not be answered")
            self.close_connection = True
            text = b"That should not have happened.\n"
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, text, "text/plain")

    def _asked(self) -> tuple[str, str]:
        """Give the path and the query that are asked for, decoded once."""
        if not self.path.startswith("/"):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "Ask for a path.")
        parts = urlsplit(f"http://host{self.path}")
        try:
            path = unquote(parts.path, errors="strict")
        except UnicodeDecodeError:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "The path is not UTF-8.") from None
        return path, parts.query

    def _check(self) -> None:
        """Refuse whoever may not ask, and what may not be asked."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "Expected one Host header.")
        site = self.site
        if not site.gate.is_named(hosts[0].strip()):
            msg = "This server answers to the addresses of its own machine only (Host)."
            raise _RefusedError(HTTPStatus.FORBIDDEN, msg)
        origin = self.headers.get("Origin")
        if origin is not None and not site.gate.admits(origin, hosts[0].strip(), self.path):
            msg = "Other sites may not read from this server (Origin)."
            raise _RefusedError(HTTPStatus.FORBIDDEN, msg)
        embedded = self.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}
        if origin is None and embedded and self.headers.get("Sec-Fetch-Mode") != "navigate":
            msg = "Other sites may not use what is on this server (Sec-Fetch-Site)."
            raise _RefusedError(HTTPStatus.FORBIDDEN, msg)
        if self.command not in _METHODS:
            msg = "Nothing can be changed here."
            raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, msg, Allow=", ".join(_METHODS))

    def _options(self) -> None:
        headers = {"Allow": ", ".join(_METHODS)}
        if self._shared():
            headers |= {
                "Access-Control-Allow-Methods": ", ".join(_METHODS),
                "Access-Control-Allow-Headers": "Range, If-None-Match, If-Range, Cache-Control",
                "Access-Control-Max-Age": "600",
            }
            if self.headers.get("Access-Control-Request-Private-Network") == "true":
                headers["Access-Control-Allow-Private-Network"] = "true"
        self._send(HTTPStatus.NO_CONTENT, b"", None, **headers)

    def _shared(self) -> dict[str, str]:
        """Give the headers by which the viewer may read an answer, where it is what asks."""
        site = self.site
        viewing = site.gate.viewer == "validator" and self.path.startswith(page.DATA)
        if not viewing:
            return {}
        headers = getattr(self, "headers", None)
        if headers is None or headers.get("Origin") != VALIDATOR_ORIGIN:
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": VALIDATOR_ORIGIN,
            "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range, ETag",
        }

    # ── answers ──────────────────────────────────────────────────────────────────────────────────

    def _found(self, path: str, query: str) -> None:
        """Answer by what a path leads to."""
        asked: list[tuple[str, Callable[[str, str], None]]] = [
            (page.SHOW, self._page),
            (page.PICTURE, self._picture),
            (page.MASK, self._mask),
            (page.DATA, self._file),
        ]
        if path == "/":
            self._page("", query)
        elif path == page.STYLE_URL:
            self._content(STYLE.encode(), "text/css; charset=utf-8")
        elif path == page.ICON_URL:
            self._content(ICON.encode(), "image/svg+xml")
        else:
            for prefix, answer in asked:
                if path.startswith(prefix):
                    answer(path.removeprefix(prefix), query)
                    return
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def _page(self, path: str, query: str) -> None:
        hierarchy, kept = self.site.hierarchy, self.site.kept
        choice, step = _choice(query)
        if step:
            raise _RefusedError(
                HTTPStatus.SEE_OTHER, "There.", Location=page.show_url(path, choice)
            )
        trail = [(hierarchy.name, "")]
        try:
            with self.site.painting:
                found = hierarchy.look(path, choice)
            trail = hierarchy.trail(path)
        except OmeZarrError as error:
            missing = isinstance(error, OmeZarrFileNotFoundError)
            status = HTTPStatus.NOT_FOUND if missing else HTTPStatus.UNPROCESSABLE_ENTITY
            content = page.of_error(shown(str(error)), [*trail, (path or "…", path)])
            self._html(status, content)
            return
        only = _only_member(found)
        if only is not None:
            raise _RefusedError(HTTPStatus.SEE_OTHER, "There.", Location=page.show_url(only))
        if isinstance(found, exhibits.ImageExhibit) and found.view.thumbnail is not None:
            # It is asked for next.
            address = page.picture_url(path, page.shown_of(found, choice))
            kept.put(address, pictures.png(found.view.thumbnail.pixels))
        self._html(HTTPStatus.OK, page.of_exhibit(found, choice, trail, hierarchy.where(path)))

    def _html(self, status: HTTPStatus, text: str) -> None:
        # Halves of characters, which JSON can hold, are none in UTF-8.
        content = text.encode(errors="replace")
        kind = "text/html; charset=utf-8"
        headers = {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-store"}
        self._send(status, content, kind, **headers)

    def _picture(self, path: str, query: str) -> None:
        choice, _ = _choice(query)
        side = min(max(_number(query, "side", exhibits.SIDE), _SIDES[0]), _SIDES[1])
        hierarchy = self.site.hierarchy
        key = page.picture_url(path, choice, side)
        self._painted(key, lambda: hierarchy.picture(path, choice, side))

    def _mask(self, path: str, query: str) -> None:
        choice, _ = _choice(query)
        name = dict(_pairs(query)).get("name", "")
        hierarchy = self.site.hierarchy
        key = page.mask_url(path, name, choice)
        self._painted(key, lambda: hierarchy.mask(path, name, choice))

    def _painted(self, key: str, paint: Callable[[], NDArray[Any]]) -> None:
        """Answer with a picture; where there is none, with one that says so."""
        site = self.site
        content = site.kept.get(key)
        if content is None:
            try:
                with site.painting:
                    content = site.kept.get(key)
                    content = pictures.png(paint()) if content is None else content
            except Exception as error:  # noqa: BLE001 - whatever files can provoke
                log.info("no picture: %s", shown(str(error)))
                self._content(page.no_picture(str(error)).encode(), "image/svg+xml", kept=0)
                return
            site.kept.put(key, content)
        self._content(content, "image/png", kept=int(_FRESH))

    def _content(self, content: bytes, kind: str, kept: int | None = None) -> None:
        """Answer with what has been made."""
        tag = f'"{tag_of(content)}"'
        headers = {
            "ETag": tag,
            "Cache-Control": "no-cache" if not kept else f"private, max-age={kept}",
            "Content-Security-Policy": _FILE_POLICY,
        }
        if self._has(tag):
            self._send(HTTPStatus.NOT_MODIFIED, b"", None, **headers)
        else:
            self._send(HTTPStatus.OK, content, kind, **headers)

    def _has(self, tag: str | None) -> bool:
        """Say whether whoever asks has what is asked for already."""
        told = ", ".join(self.headers.get_all("If-None-Match") or [])
        return tag is not None and (told.strip() == "*" or tag in _TAG.findall(told))

    # ── files ────────────────────────────────────────────────────────────────────────────────────

    def _file(self, path: str, _query: str) -> None:
        hierarchy = self.site.hierarchy
        name, _, key = path.partition("/")
        if name != hierarchy.name or not key:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is no such file.")
        try:
            with hierarchy.open(key) as portion:
                if portion is None:
                    raise _RefusedError(HTTPStatus.NOT_FOUND, "There is no such file.")
                self._portion(portion, key)
        except OmeZarrFileNotFoundError:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is no such file.") from None
        except OmeZarrError as error:
            log.info("no file: %s", shown(str(error)))
            raise _RefusedError(HTTPStatus.BAD_GATEWAY, "The store does not answer.") from None

    def _portion(self, portion: Portion, key: str) -> None:
        """Answer with a file, or the part of it that is asked for."""
        size = portion.size
        tag = None if portion.tag is None else f'"{portion.tag}"'
        headers = {
            "Accept-Ranges": "bytes",
            "Cache-Control": "no-cache",
            "Content-Security-Policy": _FILE_POLICY,
            **({} if tag is None else {"ETag": tag}),
        }
        if self._has(tag):
            self._send(HTTPStatus.NOT_MODIFIED, b"", None, **headers)
            return
        start, stop, status = 0, size, HTTPStatus.OK
        part = self._range(size, tag)
        if part is not None:
            start, stop = part
            if start >= stop:
                headers["Content-Range"] = f"bytes */{size}"
                text = b"There are no such bytes.\n"
                status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                self._send(status, text, "text/plain", **headers)
                return
            status = HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        last = key.rpartition("/")[2]
        kind = _TYPES.get(f".{last.rpartition('.')[2].lower()}", "application/octet-stream")
        self._head(status, stop - start, kind, headers)
        if self.command == "HEAD":
            return
        sent = 0
        try:
            for block in portion.read(start, stop):
                for begin in range(0, len(block), _BLOCK):
                    self.wfile.write(block[begin : begin + _BLOCK])
                sent += len(block)
        finally:
            if sent < stop - start:
                # It has become shorter, or the store has failed: it is not to be taken for whole.
                self.close_connection = True

    def _range(self, size: int, tag: str | None) -> tuple[int, int] | None:
        """Give the part of a file that is asked for; None for all of it.

        What is not understood, and several parts at a time, may be ignored (RFC 9110, 14.2).
        """
        asked = self.headers.get_all("Range") or []
        match = _RANGE.fullmatch(asked[0].strip()) if len(asked) == 1 else None
        if self.command != "GET" or match is None or not (match[1] or match[2]):
            return None
        condition = self.headers.get("If-Range")
        if condition is not None and (tag is None or condition.strip() != tag):
            return None
        if not match[1]:
            return max(0, size - int(match[2])) if int(match[2]) else size, size
        start, last = int(match[1]), int(match[2]) if match[2] else size - 1
        if match[2] and last < start:
            return None
        return start, min(last + 1, size)

    # ── sending ──────────────────────────────────────────────────────────────────────────────────

    def _send(self, status: HTTPStatus, content: bytes, kind: str | None, **headers: str) -> None:
        self._head(status, len(content), kind, headers)
        if getattr(self, "command", None) != "HEAD":
            self.wfile.write(content)

    def _head(
        self, status: HTTPStatus, length: int, kind: str | None, headers: Mapping[str, str]
    ) -> None:
        self.send_response(status)
        told = {
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Content-Security-Policy": _FILE_POLICY,
            "Cache-Control": "no-store",
            **(self._shared() if getattr(self, "path", None) else {}),
            **headers,
        }
        if kind is not None:
            told["Content-Type"] = kind
        if status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            told["Content-Length"] = str(length)
        if self.close_connection:
            told["Connection"] = "close"
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()


def _only_member(found: exhibits.Exhibit) -> str | None:
    """Give the path of the only field of a well: there is nothing to choose from."""
    well = isinstance(found, exhibits.GroupExhibit) and found.kind == "well"
    if well and isinstance(found, exhibits.GroupExhibit) and len(found.members) == 1:
        return found.members[0].path
    return None


# ── queries ──────────────────────────────────────────────────────────────────────────────────────


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=500)
    except ValueError:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "The query is too long.") from None


def _number(query: str, name: str, default: int) -> int:
    return next(iter(_numbers(value for key, value in _pairs(query) if key == name)), default)


def _numbers(texts: Iterable[str]) -> Iterator[int]:
    """Read numbers; what is none is left out."""
    for text in texts:
        if text.isascii() and text.isdigit() and len(text) <= _DIGITS:
            yield int(text)


def _choice(query: str) -> tuple[Choice, bool]:
    """Read what of an image is looked at, and whether that was a step from something else."""
    pairs = _pairs(query)
    at: dict[str, int] = {}
    stepped = False
    for key, value in pairs:
        if key.startswith("at."):
            at.update((key.removeprefix("at."), number) for number in _numbers([value]))
    for key, value in pairs:
        dim, sign, index = value.rpartition("=")
        if key == "step" and sign:
            at.update((dim, number) for number in _numbers([index]))
            stepped = True
    labels = [value for key, value in pairs if key == "labels"]
    overlay: Literal["filled", "outlines"] = (
        "outlines" if ("overlay", "outlines") in pairs else "filled"
    )
    channels = tuple(_numbers(value for key, value in pairs if key == "c"))
    shown_ones = tuple(filter(None, labels)) if labels else None
    return Choice(at, tuple(dict.fromkeys(channels)), shown_ones, overlay), stepped
