"""What lies in a store, beside metadata: which objects there are, their sizes, their ends."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from zarr.abc.store import SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore

from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.remote import RemoteStore
from xarray_omezarr.storage import REQUESTS, reached
from xarray_omezarr.stores import disk_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zarr.abc.store import Store

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
    folder = disk_of(place.store)
    if folder is not None:
        return _on_disk(str(folder / prefix))

    async def collect() -> dict[str, int]:
        store = place.store
        if isinstance(store, RemoteStore):
            store = store.listed
        if isinstance(store, FsspecStore):
            root = f"{store.path}/{prefix}".strip("/")
            found = await store.fs._find(f"{store.path}/{prefix}", detail=True)  # noqa: SLF001 - its asynchronous side
            return {
                name.strip("/").removeprefix(root).strip("/"): info.get("size") or 0
                for name, info in found.items()
            }
        keys = [key async for key in store.list_prefix(f"{prefix}/" if prefix else "")]
        gate = asyncio.Semaphore(REQUESTS)

        async def size(key: str) -> int:
            async with gate:
                return await store.getsize(key)

        sizes = await asyncio.gather(*(size(key) for key in keys))
        return {key.removeprefix(prefix).lstrip("/"): n for key, n in zip(keys, sizes, strict=True)}

    if not place.store.supports_listing:
        return None
    try:
        with reached(place):
            return sync(collect())
    except OmeZarrError:
        return None


def listing(place: Place) -> tuple[list[str], list[str]]:
    """Name what is directly below a group: folders, and files.

    Raises
    ------
    OmeZarrError
        Where the store lists nothing, or cannot be reached.
    """

    async def collect() -> tuple[list[str], list[str]]:
        store: Store = place.store
        inner = store.wrapped if isinstance(store, RemoteStore) else store
        if isinstance(inner, FsspecStore):
            root = f"{inner.path}/{place.path}".strip("/")
            found = await inner.fs._ls(root, detail=True)  # noqa: SLF001 - its asynchronous side
            names: tuple[list[str], list[str]] = ([], [])
            for info in found:
                path = str(info["name"]).strip("/")
                # Servers may link to anything.
                name = path.removeprefix(f"{root}/")
                if name and name != path and "/" not in name:
                    names[info.get("type") != "directory"].append(name)
            return names
        folders: list[str] = []
        files: list[str] = []
        async for name in store.list_dir(place.path):
            below = [key async for key in _first(store.list_prefix(f"{place.key(name)}/"))]
            (folders if below else files).append(name.strip("/"))
        return folders, files

    if not place.store.supports_listing:
        msg = f"{place.name}: its store does not list what is in it."
        raise OmeZarrError(msg)
    with reached(place):
        return sync(collect())


async def _first(keys: AsyncIterator[str]) -> AsyncIterator[str]:
    async for key in keys:
        yield key
        return


def _on_disk(folder: str) -> dict[str, int]:
    """Give the sizes of all files below a folder; nothing where there is none."""
    found: dict[str, int] = {}
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(f"{folder}/{inner}") as all_,
        ):
            for entry in all_:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{inner}{entry.name}/")
                elif entry.is_file():
                    found[f"{inner}{entry.name}"] = entry.stat().st_size
    return found


def tail(place: Place, key: str, length: int) -> bytes | None:
    """Fetch the last bytes of an object."""

    async def get() -> bytes | None:
        request = SuffixByteRequest(length)
        buffer = await place.store.get(place.key(key), default_buffer_prototype(), request)
        return None if buffer is None else buffer.to_bytes()

    with reached(place):
        return sync(get())
