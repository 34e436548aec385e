"""Writing a pyramid: how long it takes, in how many tasks, and how often the source is read."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from zarr.storage import MemoryStore

from benchmarks import Scratch, parameterized
from benchmarks.images import (
    DIMS,
    CountingStore,
    cells,
    chunks_along,
    endless,
    plan_of,
    scaled,
    stored_bytes,
)
from benchmarks.workloads import FULL, SMALL, declare, pixels_of

if TYPE_CHECKING:
    from pathlib import Path

    from xarray_omezarr.plan import Plan

SOURCES = ["numpy", "lazy", "dask"]
VERSIONS = ["0.4", "0.5"]
METHODS = ["mean", "nearest", "mode"]
#: The stack of 64 MiB, and the workloads of the comparison with others, at their smaller size.
IMAGES = ["cells", *FULL]


def source_of(kind: str, directory: Path) -> xr.DataArray:
    """Give the image of 64 MiB in memory, in a file, or as dask chunks in memory."""
    image = cells()
    if kind == "numpy":
        return image
    if kind == "dask":
        return image.chunk(z=32, y=256, x=256)
    path = directory / "source.ome.zarr"
    image.omezarr.to_zarr(path, levels=1)
    return xr.open_dataarray(path, engine="omezarr", cache=False)


def image_of(name: str) -> tuple[xr.DataArray, dict[str, Any]]:
    """Give an image in memory, and how it is to be written."""
    if name == "cells":
        return cells(), {}
    work = replace(FULL[name], shape=SMALL[name])
    chunks = dict(zip(work.dims, work.chunks, strict=True))
    image = xr.DataArray(pixels_of(work), dims=tuple(work.dims), name="image")
    return image, {"levels": work.levels, "chunks": chunks}


class Write(Scratch):
    """An image of 64 MiB, with its pyramid."""

    def setup(self, source: str, version: str) -> None:
        super().setup()
        self.source = source_of(source, self.directory)
        self.version = version

    @parameterized(source=SOURCES, version=VERSIONS)
    def time_write(self, _source: str, version: str) -> None:
        self.source.omezarr.to_zarr(self.directory / "image.ome.zarr", version=version)


class WriteMethods(Scratch):
    """The same from memory, by each method, and without further levels."""

    def setup(self, _method: str) -> None:
        super().setup()
        self.source = cells()

    @parameterized(method=[*METHODS, "level 0 only"])
    def time_write(self, method: str) -> None:
        how: dict[str, Any] = {"method": method} if method in METHODS else {"levels": 1}
        self.source.omezarr.to_zarr(self.directory / "image.ome.zarr", **how)


class Tasks:
    """How large the graph is: it grows with the blocks, not with chunks × levels."""

    SOURCES = ("numpy", "64×256×256", "1×4096×4096")

    @parameterized(gib=[1, 8, 64], source=SOURCES)
    def track_blocks(self, gib: int, source: str) -> int:
        return plan_of(self._source(gib, source)).tasks

    track_blocks.unit = "blocks"  # type: ignore[attr-defined]

    @parameterized(gib=[1, 8, 64], source=SOURCES)
    def track_tasks(self, gib: int, source: str) -> int:
        image = self._source(gib, source)
        task = image.omezarr.to_zarr(MemoryStore(), compute=False)
        tasks = len(task.__dask_graph__())
        if source != "numpy":
            tasks -= image.data.npartitions  # the source's own
        return tasks

    track_tasks.unit = "tasks beside the source's"  # type: ignore[attr-defined]

    @parameterized(gib=[1, 8, 64], source=SOURCES)
    def time_prepare(self, gib: int, source: str) -> None:
        self._source(gib, source).omezarr.to_zarr(MemoryStore(), compute=False)

    def _source(self, gib: int, source: str) -> xr.DataArray:
        if source == "numpy":
            return scaled(np.broadcast_to(np.zeros(1, np.uint16), (gib * 128, 2048, 2048)))
        z, y, x = map(int, source.split("×"))
        return endless(gib, (z, y, x), max(2048, y))


class Workloads:
    """The plans for the workloads of the comparison with others, from an image that was opened."""

    @parameterized(image=list(FULL))
    def track_blocks(self, image: str) -> int:
        return self._plan(image).tasks

    @parameterized(image=list(FULL))
    def track_held(self, image: str) -> int:
        """Give what each worker holds by the plan."""
        return self._plan(image).block_bytes

    track_blocks.unit = "blocks"  # type: ignore[attr-defined]
    track_held.unit = "bytes"  # type: ignore[attr-defined]

    def _plan(self, image: str) -> Plan:
        store = MemoryStore()
        declare(FULL[image], store)
        opened = xr.open_dataarray(store, engine="omezarr")  # type: ignore[arg-type]
        return plan_of(opened, levels=FULL[image].levels)


class Reads:
    """How often each chunk of the source is computed or fetched: once."""

    @parameterized(chunks=["32×256×256", "1×1024×1024", "10×300×300", "32×1024×1024"])
    def track_chunks_read(self, chunks: str) -> float:
        """Count how often each dask chunk is computed."""
        lock = threading.Lock()
        computed = 0

        def count(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            nonlocal computed
            with lock:
                computed += 1
            return block

        sizes = dict(zip(DIMS, map(int, chunks.split("×")), strict=True))
        image = cells().chunk(sizes)
        pixels = image.data.map_blocks(count, dtype=image.dtype, meta=image.data._meta)  # noqa: SLF001
        image.copy(data=pixels).omezarr.to_zarr(MemoryStore())
        return float(computed / image.data.npartitions)

    track_chunks_read.unit = "computations of a chunk"  # type: ignore[attr-defined]

    @parameterized(image=IMAGES, version=VERSIONS)
    def track_chunks_fetched(self, image: str, version: str) -> float:
        """Count how often each stored chunk is read, where an opened image is written anew."""
        store = MemoryStore()
        pixels, options = image_of(image)
        pixels.omezarr.to_zarr(store, **{**options, "levels": 1}, version=version)
        counting = CountingStore(store)
        opened = xr.open_dataarray(counting, engine="omezarr")  # type: ignore[arg-type]
        counting.count.keys.clear()
        opened.omezarr.to_zarr(MemoryStore(), **options)
        # Chunks are at "0/c/1/2" or "0/1/2", metadata is not.
        chunks = [key for key in counting.count.keys if key.rpartition("/")[2].isdecimal()]
        return len(chunks) / chunks_along(opened.shape, opened.encoding["chunks"])

    track_chunks_fetched.unit = "reads of a chunk"  # type: ignore[attr-defined]


class Stored:
    """What an image takes with its pyramid."""

    @parameterized(image=IMAGES, version=VERSIONS)
    def track_bytes(self, image: str, version: str) -> int:
        return stored_bytes(self._written(image, version))

    track_bytes.unit = "bytes"  # type: ignore[attr-defined]

    @parameterized(image=IMAGES, version=VERSIONS)
    def track_objects(self, image: str, version: str) -> int:
        return len(self._written(image, version)._store_dict)  # noqa: SLF001 - no other way

    track_objects.unit = "objects"  # type: ignore[attr-defined]

    def _written(self, image: str, version: str) -> MemoryStore:
        store = MemoryStore()
        pixels, options = image_of(image)
        pixels.omezarr.to_zarr(store, **options, version=version)
        return store
