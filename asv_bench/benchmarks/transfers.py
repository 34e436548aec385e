"""Downloading from servers on loopback, against a plain copy of the same files side by side.

The plain copy is fsspec's, with as many requests at a time. The servers have processes of their
own, and so has each copy: it begins without connections. Both copies are made in turns.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import multiprocessing
import shutil
import statistics
import time
import warnings
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import xarray as xr

from benchmarks import Scratch, parameterized
from benchmarks.memory import peak_bytes
from xarray_omezarr import download

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

#: 512 MiB of noise, which no codec makes smaller, in 64 shards of 8 MiB.
SHAPE, CHUNKS, SHARDS = (16, 4096, 4096), (1, 256, 256), (1, 2048, 2048)
SIDE_BY_SIDE = 32
#: In so many turns.
TURNS = 5
_KEYS = {"key": "testing", "secret": "testing"}


class _Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # As servers have it: without, what is short waits 40 ms for an acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 2 * SIDE_BY_SIDE


def serve_http(folder: Path, connection: Connection) -> None:
    """Serve a folder, and say where."""
    server = _Server(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    connection.send(f"http://127.0.0.1:{server.server_port}/image.zarr")
    server.serve_forever()


def serve_s3(folder: Path, connection: Connection) -> None:
    """Put a folder into a bucket, and say where."""
    from moto.s3.models import s3_backends
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    backend: Any = s3_backends["123456789012"]["aws"]
    backend.create_bucket("bucket", "us-east-1")
    for file in folder.rglob("*"):
        if file.is_file():
            backend.put_object("bucket", file.relative_to(folder).as_posix(), file.read_bytes())
    host, port = server.get_host_and_port()
    connection.send(f"http://{host}:{port}")
    connection.recv()


def ours(url: str, target: Path, options: dict[str, Any], _names: Sequence[str]) -> None:
    """Download something."""
    with warnings.catch_warnings():
        # A server of HTTP lists nothing.
        warnings.simplefilter("ignore")
        download(url, target, storage_options=options)


def plain(url: str, target: Path, options: dict[str, Any], names: Sequence[str]) -> None:
    """Copy some files."""
    files, root = fsspec.core.url_to_fs(url, **options)
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
    files.get(
        [f"{root}/{name}" for name in names],
        [str(target / name) for name in names],
        batch_size=SIDE_BY_SIDE,
    )


def measure(copy: Callable[..., None], arguments: tuple[Any, ...], connection: Connection) -> None:
    """Copy something, and give the seconds that it took, and the most memory that was held."""
    start = time.perf_counter()
    copy(*arguments)
    connection.send((time.perf_counter() - start, peak_bytes()))


class Transfers(Scratch):
    """An image that another process serves."""

    timeout = 600
    number = 1

    def setup(self, *args: Any, **kwargs: Any) -> None:
        super().setup(*args, **kwargs)
        kind = args[0]
        if kind == "S3" and not all(map(importlib.util.find_spec, ("moto", "s3fs"))):
            msg = "needs moto and s3fs"
            raise NotImplementedError(msg)
        folder = self.directory / "site"
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 2**16, SHAPE, "uint16")
        image = xr.Dataset({"image": (("z", "y", "x"), pixels)})
        image.omezarr.to_zarr(
            folder / "image.zarr",
            levels=1,
            chunks=dict(zip("zyx", CHUNKS, strict=True)),
            shards=dict(zip("zyx", SHARDS, strict=True)),
        )
        self.here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        serve = serve_s3 if kind == "S3" else serve_http
        self.server = context.Process(target=serve, args=(folder, there), daemon=True)
        self.server.start()
        found = self.here.recv()
        self.url, self.options = found, {}
        if kind == "S3":
            self.url = "s3://bucket/image.zarr"
            self.options = {**_KEYS, "client_kwargs": {"endpoint_url": found}}
        root = folder / "image.zarr"
        self.names = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()]

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        self.server.kill()
        super().teardown(*args, **kwargs)

    def measured(self, copy: Callable[..., None]) -> tuple[float, int]:
        """Copy it in a process that has no connections yet: give the seconds, and the bytes."""
        target = self.directory / copy.__name__
        shutil.rmtree(target, ignore_errors=True)
        here, there = multiprocessing.Pipe()
        arguments = (self.url, target, self.options, self.names)
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=measure, args=(copy, arguments, there))
        process.start()
        found: tuple[float, int] = here.recv()
        process.join()
        return found


class Download(Transfers):
    """How fast, and in how much memory."""

    @parameterized(kind=["HTTP", "S3"])
    def track_rate_of_plain(self, _kind: str) -> float:
        turns = [(self.measured(plain)[0], self.measured(ours)[0]) for _ in range(TURNS)]
        return statistics.median(one / other for one, other in turns)

    @parameterized(kind=["HTTP", "S3"])
    def track_memory(self, _kind: str) -> float:
        return self.measured(ours)[1] / 2**20
