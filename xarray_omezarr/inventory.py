"""What lies in a store, beside metadata: which objects there are, their sizes, their ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zarr.abc.store import SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore

from xarray_omezarr.errors import (
    OmeZarrError,
)
from xarray_omezarr.storage import REQUESTS, reached

if TYPE_CHECKING:
    from xarray_omezarr.stores import Place


def present(place: Place, key: str) -> bool:
    """Say whether there is an object below a group, without fetching it."""
    with reached(place):
        return sync(place.store.exists(place.key(key)))


def sizes_below(place: Place, path: str) -> dict[str, int] | None:
    """Give the sizes of all objects below a path, by their keys from there; None without a list.

    One listing says it of a file system; other stores are asked for each object.
    """
    prefix = place.key(path)

    async def collect() -> dict[str, int]:
        store = place.store
        if isinstance(store, FsspecStore):
            root = f"{store.path}/{prefix}".strip("/")
            found = await store.fs._find(f"{store.path}/{prefix}", detail=True)  # noqa: SLF001 - its asynchronous side
            return {
                name.strip("/").removeprefix(root).strip("/"): info.get("size") or 0
                for name, info in found.items()
            }
        keys = [key async for key in store.list_prefix(f"{prefix}/")]
        gate = asyncio.Semaphore(REQUESTS)

        async def size(key: str) -> int:
            async with gate:
                return await store.getsize(key)

        sizes = await asyncio.gather(*(size(key) for key in keys))
        return {key[len(prefix) + 1 :]: n for key, n in zip(keys, sizes, strict=True)}

    if not place.store.supports_listing:
        return None
    try:
        with reached(place):
            return sync(collect())
    except OmeZarrError:
        return None


def tail(place: Place, key: str, length: int) -> bytes | None:
    """Fetch the last bytes of an object."""

    async def get() -> bytes | None:
        request = SuffixByteRequest(length)
        buffer = await place.store.get(place.key(key), default_buffer_prototype(), request)
        return None if buffer is None else buffer.to_bytes()

    with reached(place):
        return sync(get())
