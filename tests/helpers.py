"""Images written key by key, stores that watch or fail, and what the tests compare.

Nothing here uses the package: what it opens has been laid down by Zarr alone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import http.server
import itertools
import json
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore, WrapperStore

from tests import forks

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from distributed import Client
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    Document = dict[str, Any]
    Pixels = np.ndarray[Any, Any]
    Place = Any
    """Whatever the engine and Zarr take: a path, a URL, a store, a group."""
    Option = Any
    """The value of a keyword that is handed on."""

VERSIONS = ("0.4", "0.5")

MICROMETER = {"y": "micrometer", "x": "micrometer"}

OMERO: Document = {
    "channels": [
        {
            "label": "DAPI",
            "color": "0000FF",
            "active": True,
            "window": {"min": 0, "max": 65535, "start": 100, "end": 2000},
        },
        {
            "label": "GFP",
            "color": "00FF00",
            "active": False,
            "window": {"min": 0, "max": 65535, "start": 50, "end": 1500},
        },
    ],
}


def pixels(shape: Sequence[int], dtype: str = "uint16", *, seed: int = 0) -> Pixels:
    """Noise: no two regions are the same, so that no crop can pass for another."""
    values = np.random.default_rng(seed).integers(0, 1 << 15, tuple(shape))
    return values.astype(dtype)


def axis(name: str, unit: str | None = None) -> Document:
    """One axis object of the kind that goes with its name."""
    kinds = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
    return {"name": name, "type": kinds[name]} | ({} if unit is None else {"unit": unit})


def multiscales(
    dims: Sequence[str],
    paths: Sequence[str],
    scales: Sequence[Sequence[float]],
    translations: Sequence[Sequence[float]],
    units: Mapping[str, str] | None = None,
) -> Document:
    """One multiscales object, scale before translation."""
    return {
        "axes": [axis(dim, (units or {}).get(dim)) for dim in dims],
        "datasets": [
            {
                "path": path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(scale)},
                    {"type": "translation", "translation": list(translation)},
                ],
            }
            for path, scale, translation in zip(paths, scales, translations, strict=True)
        ],
    }


def put_document(store: Place, document: Document, *, version: str, group: str = "") -> None:
    """Make the document (multiscales, omero, ...) the group's, as the version wants it."""
    if version == "0.4":
        node = zarr.open_group(store, path=group, mode="a", zarr_format=2)
        if "multiscales" in document:
            dated = [{**one, "version": "0.4"} for one in document["multiscales"]]
            document = {**document, "multiscales": dated}
        node.attrs.update(document)
    else:
        node = zarr.open_group(store, path=group, mode="a", zarr_format=3)
        node.attrs.update({"ome": {"version": version, **document}})


def put_array(
    store: Place,
    path: str,
    values: Pixels,
    *,
    version: str,
    dims: Sequence[str],
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    **options: Option,
) -> None:
    """Lay one level down, in the layout of the version."""
    if version == "0.4":
        options |= {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
    else:
        options |= {"zarr_format": 3, "dimension_names": list(dims)}
    if shards is not None:
        options["shards"] = tuple(shards)
    zarr.create_array(
        store,
        name=path,
        data=values,
        chunks=tuple(chunks or (min(size, 16) for size in shards or values.shape)),
        **options,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """What has been laid down, where, level by level."""

    store: Place
    dims: tuple[str, ...]
    levels: tuple[Pixels, ...]
    paths: tuple[str, ...]
    scales: tuple[tuple[float, ...], ...]
    translations: tuple[tuple[float, ...], ...]

    def dataset(self, level: int = 0) -> xr.Dataset:
        """Return what the engine has to make of a level, by the specification."""
        coords: dict[str, Any] = {}
        for position, dim in enumerate(self.dims):
            if dim == "c":
                continue
            scale, translation = self.scales[level][position], self.translations[level][position]
            values = scale * np.arange(self.levels[level].shape[position]) + translation
            coords[dim] = (dim, values, {"units": "micrometer"})
        if "c" in self.dims:
            channels = OMERO["channels"]
            coords["c"] = [channel["label"] for channel in channels]
            coords["c_color"] = ("c", [channel["color"] for channel in channels])
            coords["c_active"] = ("c", [channel["active"] for channel in channels])
            for bound in ("start", "end", "min", "max"):
                values = np.array([channel["window"][bound] for channel in channels], float)
                coords[f"c_window_{bound}"] = ("c", values)
        return xr.Dataset({"image": (self.dims, self.levels[level])}, coords, {"name": "cells"})


def put_sample(
    store: Place,
    *,
    version: str = "0.5",
    group: str = "",
    dims: str = "cyx",
    seed: int = 0,
    origin: float = 10.0,
    shards: Sequence[int] | None = None,
    **options: Option,
) -> Sample:
    """Lay down three levels whose paths tell nothing of their order.

    Scales and origins are sums of few powers of two: their arithmetic is exact.
    """
    full = {"t": 3, "c": 2, "z": 4, "y": 40, "x": 48}
    fine = {"t": 1.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25}
    start = {"t": 0.0, "c": 0.0, "z": 0.0, "y": origin, "x": -4.0}
    levels, scales, translations = [], [], []
    for level in range(3):
        factor = {dim: 2**level if dim in "yx" else 1 for dim in dims}
        shape = [full[dim] // factor[dim] for dim in dims]
        levels.append(pixels(shape, seed=10 * seed + level))
        scales.append(tuple(fine[dim] * factor[dim] for dim in dims))
        translations.append(
            tuple(start[dim] + (factor[dim] - 1) / 2 * fine[dim] for dim in dims),
        )
    paths = ("nine", "deep/one", "s5")
    units = {dim: "micrometer" for dim in dims if dim != "c"}
    document: Document = {
        "multiscales": [{"name": "cells", **multiscales(dims, paths, scales, translations, units)}],
    }
    if "c" in dims:
        document["omero"] = OMERO
    put_document(store, document, version=version, group=group)
    for path, values in zip(paths, levels, strict=True):
        where = f"{group}/{path}" if group else path
        put_array(store, where, values, version=version, dims=dims, shards=shards, **options)
    return Sample(
        store=store,
        dims=tuple(dims),
        levels=tuple(levels),
        paths=paths,
        scales=tuple(scales),
        translations=tuple(translations),
    )


def dated(version: str) -> Document:
    """Give what an object of the metadata says of its version."""
    return {"version": version} if version == "0.4" else {}


def group_files(version: str, document: Document, path: str = "") -> dict[str, bytes]:
    """Make the files of a group with this OME document; an empty one is none of OME-Zarr's."""
    files: Document
    if version == "0.4":
        files = {".zgroup": {"zarr_format": 2}} | ({".zattrs": document} if document else {})
    else:
        attributes = {"ome": {"version": version, **document}} if document else {}
        files = {"zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": attributes}}
    prefix = f"{path}/" if path else ""
    return {f"{prefix}{name}": json.dumps(content).encode() for name, content in files.items()}


def put_files(store: Place, files: Mapping[str, bytes]) -> None:
    """Put files into a folder, or objects into a store in memory."""
    if isinstance(store, MemoryStore):
        store._store_dict.update({k: cpu.Buffer.from_bytes(v) for k, v in files.items()})
        return
    for key, value in files.items():
        path = Path(store) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)


def image(
    shape: Sequence[int] = (40, 48),
    dims: Sequence[str] = "yx",
    *,
    seed: int = 0,
    dtype: str = "uint16",
) -> xr.Dataset:
    """Make an image in memory, with coordinates in micrometres."""
    coords: dict[str, Any] = {
        dim: (dim, 0.5 * np.arange(size), {"units": "micrometer"})
        for dim, size in zip(dims, shape, strict=True)
        if dim != "c"
    }
    if "c" in dims:
        coords["c"] = [f"channel {i}" for i in range(shape[list(dims).index("c")])]
    return xr.Dataset({"image": (tuple(dims), pixels(shape, dtype, seed=seed))}, coords)


def opened(store: Place, **kwargs: Option) -> xr.Dataset:
    """Open by the engine under test."""
    return xr.open_dataset(store, engine="omezarr", **kwargs)


def opened_tree(store: Place, **kwargs: Option) -> xr.DataTree:
    """Open all levels by the engine under test."""
    return xr.open_datatree(store, engine="omezarr", **kwargs)


def document_of(store: Place, group: str | None = None) -> Document:
    """Return the OME document of a group, read by Zarr alone."""
    attributes: Document = zarr.open_group(store, path=group, mode="r").attrs.asdict()
    document: Document = attributes.get("ome", attributes)
    return document


def level_paths(store: Place, group: str | None = None) -> list[str]:
    """Dataset paths, finest first."""
    datasets = document_of(store, group)["multiscales"][0]["datasets"]
    return [dataset["path"] for dataset in datasets]


def level_array(store: Place, level: int = 0, group: str | None = None) -> zarr.Array[Any]:
    """Return the array of a level, opened by Zarr alone."""
    node = zarr.open_group(store, path=group, mode="r")[level_paths(store, group)[level]]
    assert isinstance(node, zarr.Array)
    return node


def files(root: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes, and every folder."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


def arrays_in(root: Path) -> set[str]:
    """Return the paths of all arrays below a folder, whether an image names them or not."""
    found = {path.parent for path in root.rglob(".zarray")}
    for path in root.rglob("zarr.json"):
        if json.loads(path.read_bytes())["node_type"] == "array":
            found.add(path.parent)
    return {path.relative_to(root).as_posix() for path in found}


def contents(store: MemoryStore) -> dict[str, bytes]:
    """Every key of a store in memory with its bytes."""
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


def memory_of(root: Path) -> MemoryStore:
    """Make a store in memory that holds the files of a folder."""
    return MemoryStore(
        store_dict={
            path.relative_to(root).as_posix(): cpu.Buffer.from_bytes(path.read_bytes())
            for path in root.rglob("*")
            if path.is_file()
        },
    )


def copy_of(store: MemoryStore) -> MemoryStore:
    """Make a second store that shares nothing with the first."""
    return MemoryStore(store_dict=dict(store._store_dict))


@dataclasses.dataclass
class Log:
    """The requests that reached a store."""

    requests: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    rounds: int = 0
    """Length of the longest chain of requests that waited for one another."""
    hook: Callable[[str, str], None] | None = None
    """Called with method and key before a request is answered; may raise."""
    flying: int = 0
    """Requests that have not been answered yet."""
    flights: list[int] = dataclasses.field(default_factory=list)
    """How many that were as each request was made, itself among them."""

    def keys(self, *methods: str) -> list[str]:
        """Keys asked for, in order, with repetitions."""
        return [key for method, key in self.requests if not methods or method in methods]

    def clear(self) -> None:
        """Forget what has been."""
        self.requests.clear()
        self.flights.clear()
        self.rounds = 0


class WatchedStore(WrapperStore[Store]):
    """A store that notes every request, and can refuse or delay it.

    A request belongs to the round after the last one that was answered before it was made. With a
    `latency`, requests that are made side by side overlap and so share a round.
    """

    def __init__(
        self,
        store: Store,
        *,
        log: Log | None = None,
        hook: Callable[[str, str], None] | None = None,
        latency: float = 0.0,
    ) -> None:
        super().__init__(store)
        self.log = Log(hook=hook) if log is None else log
        self.latency = latency

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, log=self.log, latency=self.latency)

    @property
    def _supports_sync_io(self) -> bool:
        return False  # Zarr would go round the methods below

    @contextmanager
    def _noted(self, method: str, key: str) -> Iterator[None]:
        self.log.requests.append((method, key))
        mine = self.log.rounds + 1
        self.log.flying += 1
        self.log.flights.append(self.log.flying)
        try:
            if self.log.hook is not None:
                self.log.hook(method, key)
            yield
        finally:
            self.log.flying -= 1
        self.log.rounds = max(self.log.rounds, mine)

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        with self._noted("get", key):
            await asyncio.sleep(self.latency)
            return await self._store.get(key, prototype, byte_range)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def get_ranges(  # type: ignore[override, unused-ignore]
        self,
        key: str,
        byte_ranges: Sequence[ByteRequest | None],
        *,
        prototype: BufferPrototype,
        **_: Option,
    ) -> AsyncIterator[Sequence[tuple[int, Buffer | None]]]:
        for position, part in enumerate(byte_ranges):
            yield [(position, await self.get(key, prototype, part))]

    async def _get_many(
        self,
        requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]],
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for key, prototype, part in requests:
            yield key, await self.get(key, prototype, part)

    async def exists(self, key: str) -> bool:
        with self._noted("exists", key):
            await asyncio.sleep(self.latency)
            return await self._store.exists(key)

    async def is_empty(self, prefix: str) -> bool:
        with self._noted("list", prefix):
            await asyncio.sleep(self.latency)
            return await self._store.is_empty(prefix)

    async def list(self) -> AsyncIterator[str]:
        with self._noted("list", ""):
            async for key in self._store.list():
                yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        with self._noted("list", prefix):
            async for key in self._store.list_prefix(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        with self._noted("list", prefix):
            async for key in self._store.list_dir(prefix):
                yield key

    async def getsize(self, key: str) -> int:
        with self._noted("exists", key):
            await asyncio.sleep(self.latency)
            return await self._store.getsize(key)

    async def set(self, key: str, value: Buffer) -> None:
        with self._noted("set", key):
            await self._store.set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        with self._noted("set", key):
            await self._store.set_if_not_exists(key, value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        for key, value in values:
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        with self._noted("delete", key):
            await self._store.delete(key)

    async def delete_dir(self, prefix: str) -> None:
        # One by one, so that it can be interrupted in the middle.
        start = f"{prefix}/" if prefix and not prefix.endswith("/") else prefix
        for key in [key async for key in self._store.list_prefix(start)]:
            await self.delete(key)


class StoreFailureError(OSError):
    """The failure that a test asked for."""


def failing_after(writes: int) -> Callable[[str, str], None]:
    """Make a hook that lets so many changes through and refuses all later ones."""
    counter = itertools.count()

    def hook(method: str, key: str) -> None:
        if method in {"set", "delete"} and next(counter) >= writes:
            raise StoreFailureError(key)

    return hook


class Request(NamedTuple):
    """What a server was asked for."""

    method: str
    path: str
    headers: dict[str, str]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and notes what it is asked for."""

    asked: list[Request]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def log_request(self, *_: object) -> None:
        """Note method and path."""
        self.asked.append(Request(self.command, self.path, dict(self.headers)))


class RangeHandler(QuietHandler):
    """Serves ranges of files, as object stores do."""

    def hook(self) -> None:
        """Do something before a range is sent."""

    def do_GET(self) -> None:
        """Send a range of a file, or all of it."""
        wanted = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        first, last = wanted.removeprefix("bytes=").split("-")
        size = path.stat().st_size
        start, stop = int(first), min(int(last or size) + 1, size)
        self.hook()
        with path.open("rb") as file:
            file.seek(start)
            content = file.read(stop - start)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def served(
    root: Path, handler: type[QuietHandler] = QuietHandler
) -> Iterator[tuple[str, list[Request]]]:
    """Serve a folder on loopback: its URL, and the list of requests that grows as they come."""
    asked: list[Request] = []
    handler = type("Handler", (handler,), {"asked": asked})
    factory = functools.partial(handler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), factory) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def cluster(
    *, allowed_failures: int = 3, set_as_default: bool = True, threads: int = 1
) -> Iterator[Client]:
    """Start a cluster of two processes on this machine."""
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": allowed_failures,
        "distributed.worker.multiprocessing-method": forks.context().get_start_method(),
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=2, threads_per_worker=threads, processes=True, dashboard_address=":0"
        ) as started,
        Client(started, set_as_default=set_as_default) as client,
    ):
        yield client
