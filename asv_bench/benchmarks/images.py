"""The images that are written and opened, and the store that counts.

Pixels are those of `xarray_omezarr.samples.fluorescence`: codecs see a microscope's noise.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from zarr.abc.store import Store
from zarr.storage import MemoryStore, WrapperStore

from xarray_omezarr import samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from xarray_omezarr.plan import Plan

DIMS = ("z", "y", "x")
GIB = 2**30


@cache
def cells(shape: tuple[int, ...] = (32, 1024, 1024)) -> xr.DataArray:
    """Give a stack of 16-bit planes, in memory."""
    image: xr.DataArray = samples.fluorescence(shape, DIMS).image
    return image


def endless(gib: float, chunks: tuple[int, int, int], plane: int) -> xr.DataArray:
    """Give a dask stack of so many GiB, of planes with so many pixels along an edge.

    Its chunks are one exposure with an offset of their own, so that they cost next to nothing to
    make and as much as any other to compress.
    """
    import dask.array

    da: Any = dask.array  # it is typed in parts only
    exposure = cells(chunks).values
    depth = round(gib * GIB) // (2 * plane * plane)
    shape = (depth, plane, plane)

    # It closes over the exposure, and dask would hash that: the name says what it is.
    def expose(block_info: Any) -> np.ndarray[Any, Any]:
        location = block_info[None]["array-location"]
        sizes = [stop - start for start, stop in location]
        offset = sum(start for start, _ in location) // 64 % 64
        return np.asarray(exposure[tuple(map(slice, sizes))] + np.uint16(offset))

    blocks = da.core.normalize_chunks(chunks, shape)
    pixels = da.map_blocks(
        expose,
        dtype=np.uint16,
        chunks=blocks,
        meta=np.empty((0, 0, 0), np.uint16),
        name=f"exposures-{gib}-{chunks}-{plane}",
    )
    return scaled(pixels)


def scaled(pixels: Any) -> xr.DataArray:
    """Give pixels the size of a microscope's."""
    image: xr.DataArray = xr.DataArray(pixels, dims=DIMS, name="image").omezarr.assign_scale(
        z=1.0, y=0.325, x=0.325, units="micrometer"
    )
    return image


def plan_of(image: xr.DataArray, **kwargs: Any) -> Plan:
    """Give the plan by which an image would be written."""
    plans: list[Plan] = []

    class Catcher(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # "writing <where>\n<plan>"
            arguments = record.args
            if isinstance(arguments, tuple) and len(arguments) == 2:
                plans.append(arguments[1])  # type: ignore[arg-type]

    logger, catcher = logging.getLogger("xarray_omezarr"), Catcher()
    level = logger.level
    logger.addHandler(catcher)
    logger.setLevel("INFO")
    try:
        image.omezarr.to_zarr(MemoryStore(), compute=False, **kwargs)
    finally:
        logger.removeHandler(catcher)
        logger.setLevel(level)
    (plan,) = plans
    return plan


def stored_bytes(store: MemoryStore) -> int:
    """Count the bytes of all objects in a store."""
    return sum(len(buffer) for buffer in store._store_dict.values())  # noqa: SLF001 - no other way


def chunks_along(shape: Sequence[int], chunks: Sequence[int]) -> int:
    """Count the chunks of an array."""
    return math.prod(-(-n // c) for n, c in zip(shape, chunks, strict=True))


@dataclass
class Count:
    """The requests that were made, and the rounds that they took."""

    keys: list[str] = field(default_factory=list)
    rounds: int = 0


class CountingStore(WrapperStore[Store]):
    """A store that counts what is asked of it when it is read, and the rounds that this takes.

    A request belongs to the round after the last one that was answered before it was made; those
    that are made side by side share one, thanks to the latency.
    """

    def __init__(self, store: Store, *, latency: float = 0.0, count: Count | None = None) -> None:
        super().__init__(store)
        self.latency = latency
        self.count = Count() if count is None else count

    def _with_store(self, store: Store) -> CountingStore:
        # Zarr makes a read-only copy of a store that it is to read from.
        return CountingStore(store, latency=self.latency, count=self.count)

    @property
    def _supports_sync_io(self) -> bool:
        return False  # Zarr would go round the methods below

    @contextmanager
    def _counted(self, key: str) -> Iterator[None]:
        self.count.keys.append(key)
        mine = self.count.rounds + 1
        yield
        self.count.rounds = max(self.count.rounds, mine)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        with self._counted(key):
            await asyncio.sleep(self.latency)
            return await self._store.get(key, prototype, byte_range)

    async def exists(self, key: str) -> bool:
        with self._counted(key):
            await asyncio.sleep(self.latency)
            return await self._store.exists(key)
