"""Real servers on loopback: files over HTTP, with failures if asked for, and S3.

Nothing here uses the package. S3 is Moto's, with authentication on; and who does not sign may read
what is public, which Moto leaves out.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import itertools
import json
import socket
import threading
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from aiohttp import web

    Options = dict[str, Any]
    #: How a request is answered other than as it should be: by a status; by half of what it is said
    #: to send; by half of what was asked for, as if that were all; by all where a part was asked
    #: for; by closing the connection; or never.
    Answer = int | Literal["truncated", "short", "whole", "closed", "silence"] | None

REGION = "us-east-1"
#: The one account that Moto has.
_ACCOUNT = "123456789012"


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a server was asked for."""

    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, str]
    beside: int
    """How many others were being answered when it came."""


@dataclasses.dataclass
class Site:
    """A folder that is served, and what it has been asked for.

    It can be changed at any time how requests are answered.
    """

    url: str = ""
    asked: list[Asked] = dataclasses.field(default_factory=list)
    latency: float = 0.0
    """Seconds until a request is answered, during which others come in."""
    answer: Callable[[Asked], Answer] = lambda _: None
    in_flight: int = 0
    spans: dict[int, float] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(float)
    )
    """Seconds for which so many requests were being answered."""
    since: float = 0.0
    transports: set[asyncio.Transport] = dataclasses.field(default_factory=set)

    @property
    def most(self) -> int:
        """How many requests were being answered at the same time, at most."""
        return max((one.beside + 1 for one in self.asked), default=0)

    @property
    def mean(self) -> float:
        """How many requests were being answered at the same time, on average while there were."""
        busy = sum(self.spans.values())
        return sum(number * span for number, span in self.spans.items()) / busy if busy else 0.0

    def count(self, step: int) -> None:
        """Note that a request has come, or has been answered."""
        now = time.perf_counter()
        if self.in_flight:
            self.spans[self.in_flight] += now - self.since
        self.in_flight += step
        self.since = now

    def paths(self) -> list[str]:
        """Paths asked for, in order, with repetitions."""
        return [one.path for one in self.asked]

    def clear(self) -> None:
        """Forget what has been."""
        self.asked.clear()
        self.spans.clear()


@contextmanager
def site(root: Path, **settings: Any) -> Iterator[Site]:  # noqa: ANN401
    """Serve the files of a folder, and ranges of them, by HTTP/1.1."""
    from aiohttp import web

    found = Site(**settings)
    listening = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.AppRunner:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", functools.partial(_answered, found, root))
        runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.01, handler_cancellation=True
        )
        await runner.setup()
        await web.SockSite(runner, listening).start()
        found.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result()

    async def stop() -> None:
        # asyncio leaves those open whom it accepts while it closes: first nobody is accepted.
        asyncio.get_running_loop().remove_reader(listening.fileno())
        await _breathe()
        await runner.cleanup()
        # Those who were in the middle of an answer have not been told yet.
        for transport in found.transports:
            transport.abort()
        await _breathe()

    try:
        yield found
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _breathe() -> None:
    """Let the event loop do what is due: a connection takes some rounds to be made, or lost."""
    for _ in range(8):
        await asyncio.sleep(0)


async def _answered(site: Site, root: Path, request: web.Request) -> web.StreamResponse:
    from aiohttp import web

    path = request.match_info["path"]
    asked = Asked(request.method, path, dict(request.headers), dict(request.query), site.in_flight)
    site.asked.append(asked)
    site.count(1)
    assert request.transport is not None
    site.transports.add(request.transport)
    try:
        await asyncio.sleep(site.latency)
        answer = site.answer(asked)
        if isinstance(answer, int):
            return web.Response(status=answer, text="no")
        if answer == "closed":
            request.transport.abort()
            return web.Response()
        if answer == "silence":
            # Until whoever waits has gone.
            await asyncio.get_running_loop().create_future()
        content = _content(root, path)
        if content is None:
            return web.Response(status=404)
        return await _sent(request, content, answer)
    finally:
        site.count(-1)


def _content(root: Path, path: str) -> bytes | None:
    file = (root / path).resolve()
    inside = file.is_file() and file.is_relative_to(root.resolve())
    return file.read_bytes() if inside else None


async def _sent(request: web.Request, content: bytes, answer: Answer) -> web.StreamResponse:
    from aiohttp import web

    part = request.http_range
    headers = {}
    size = len(content)
    if part != slice(None, None, 1) and answer != "whole":
        first, stop, _ = part.indices(size)
        headers["Content-Range"] = f"bytes {first}-{stop - 1}/{size}"
        content = content[first:stop]
    if answer == "short":
        content = content[: len(content) // 2]
    response = web.StreamResponse(status=206 if headers else 200, headers=headers)
    response.content_length = len(content)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    if answer == "truncated":
        await response.write(content[: len(content) // 2])
        assert request.transport is not None
        request.transport.close()
        return response
    await response.write(content)
    await response.write_eof()
    return response


# ── S3 ───────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(frozen=True)
class S3:
    """A bucket of its own on a server, and how to get at it."""

    server: S3Server
    bucket: str

    @property
    def url(self) -> str:
        """The URL of the bucket."""
        return f"s3://{self.bucket}"

    @property
    def storage_options(self) -> Options:
        """What fsspec needs to read it and write to it."""
        return self.server.storage_options

    @property
    def anonymous(self) -> Options:
        """What fsspec needs to come without credentials."""
        return {"anon": True, "client_kwargs": self.storage_options["client_kwargs"]}

    def obstore(self, prefix: str = "", **settings: Any) -> Any:  # noqa: ANN401
        """Open it by obstore."""
        from obstore.store import S3Store

        options: Options = {
            "access_key_id": self.server.key,
            "secret_access_key": self.server.secret,
            "endpoint": self.server.url,
            "region": REGION,
            "client_options": {"allow_http": True},
            "virtual_hosted_style_request": False,
        }
        return S3Store(self.bucket, prefix=prefix, **(options | settings))

    def keys(self, prefix: str = "") -> list[str]:
        """List the keys of all objects, sorted."""
        return sorted(key for key in self.server.objects(self.bucket) if key.startswith(prefix))

    def contents(self, prefix: str = "") -> dict[str, bytes]:
        """Give all objects."""
        found = self.server.objects(self.bucket)
        return {key: found[key] for key in self.keys(prefix)}

    def put(self, key: str, content: bytes) -> None:
        """Put an object there."""
        self.server.backend.put_object(self.bucket, key, content)

    def upload(self, folder: Path, prefix: str = "") -> None:
        """Put the files of a folder there."""
        for file in folder.rglob("*"):
            if file.is_file():
                key = f"{prefix}/{file.relative_to(folder).as_posix()}".lstrip("/")
                self.put(key, file.read_bytes())

    def publish(self, *actions: str) -> None:
        """Let everybody read the objects; with "ListBucket", list them, too.

        As on S3, who may not list is told of an object that is missing as of one that is denied.
        """
        self.server.publish(self.bucket, {"GetObject", *actions})


class S3Server:
    """Moto's S3, for who signs as the owner of all, and for everybody as far as it is public.

    Attributes
    ----------
    url
        The endpoint.
    asked
        The requests that came, as "GET /bucket/key".
    answer
        What is answered instead, for such a request: a status, or None.
    """

    def __init__(self) -> None:
        from moto.iam.models import iam_backends
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
        from moto.s3.models import s3_backends
        from werkzeug.serving import make_server

        class Handler(MotoRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_request(self, *_: object) -> None:
                """Say nothing."""

        self.asked: list[str] = []
        self.answer: Callable[[str], int | None] = lambda _: None
        self.backend: Any = s3_backends[_ACCOUNT]["aws"]
        self._public: dict[str, set[str]] = {}
        self._numbers = itertools.count()
        # Moto looks and writes in two steps: conditional writes are none when they meet.
        self._writing = threading.Lock()
        self._application: Any = DomainDispatcherApplication(create_backend_app)
        users: Any = iam_backends[_ACCOUNT]["aws"]
        name = f"owner-{id(self)}"
        users.create_user(REGION, name)
        key = users.create_access_key(name)
        everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        users.put_user_policy(
            name, "all", json.dumps({"Version": "2012-10-17", "Statement": [everything]})
        )
        self.key, self.secret = str(key.access_key_id), str(key.secret_access_key)
        self._server = make_server(
            "127.0.0.1", 0, self._answered, threaded=True, request_handler=Handler
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def storage_options(self) -> Options:
        """What fsspec needs to come as the owner."""
        return {
            "key": self.key,
            "secret": self.secret,
            "client_kwargs": {"endpoint_url": self.url, "region_name": REGION},
        }

    def bucket(self) -> S3:
        """Make an empty bucket."""
        name = f"bucket-{next(self._numbers)}"
        self.backend.create_bucket(name, REGION)
        return S3(self, name)

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Give all objects of a bucket."""
        keys = self.backend.get_bucket(bucket).keys
        return {str(key): bytes(keys[key].value) for key in list(keys)}

    def publish(self, bucket: str, actions: Iterable[str]) -> None:
        """Let everybody do something in a bucket."""
        self._public[bucket] = set(actions)

    def _answered(self, environ: Any, start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        from werkzeug.wrappers import Response

        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.asked.append(f"{method} {path}")
        status = self.answer(self.asked[-1])
        if "HTTP_AUTHORIZATION" not in environ:
            if self._is_public(method, path):
                self._sign(environ)
            else:
                status = status or 403
        if status is not None:
            answer = Response(_refusal(status), status, mimetype="application/xml")
            refused: Iterable[bytes] = answer(environ, start_response)
            return refused
        with nullcontext() if method in {"GET", "HEAD"} else self._writing:
            found: Iterable[bytes] = self._application(environ, start_response)
            return found

    def _is_public(self, method: str, path: str) -> bool:
        bucket, _, key = path.strip("/").partition("/")
        if bucket not in self.backend.buckets:
            # Who asks is told so.
            return True
        permitted = self._public.get(bucket, set())
        if not key:
            return "ListBucket" in permitted
        if method not in {"GET", "HEAD"}:
            return "PutObject" in permitted
        there = "ListBucket" in permitted or key in self.backend.get_bucket(bucket).keys
        return there and "GetObject" in permitted

    def _sign(self, environ: Any) -> None:  # noqa: ANN401
        """Have a request of nobody pass for one of the owner."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        url = f"http://{environ['HTTP_HOST']}{environ['RAW_URI']}"
        request = AWSRequest(environ["REQUEST_METHOD"], url, {"Host": environ["HTTP_HOST"]})
        S3SigV4Auth(Credentials(self.key, self.secret), "s3", REGION).add_auth(request)
        for name, value in request.headers.items():
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value


def _refusal(status: int) -> str:
    code = {403: "AccessDenied", 503: "SlowDown"}.get(status, "InternalError")
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Serve S3, with authentication on."""
    from moto.core.authorization import enable_iam_authentication

    with enable_iam_authentication():
        server = S3Server()
        try:
            yield server
        finally:
            server.close()
