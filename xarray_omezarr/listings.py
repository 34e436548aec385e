"""What lies below a group, object by object: keys, lengths, and what tells one from another.

Servers of plain HTTP do not list what they have: whatever page of links they may give is not taken
for a list. All others do, as far as they are permitted to.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, ObjectStore

from xarray_omezarr import spec, storage
from xarray_omezarr.archive import ArchiveStore
from xarray_omezarr.errors import OmeZarrError, OmeZarrPermissionError
from xarray_omezarr.remote import RemoteStore, is_http

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zarr.abc.store import Store

    from xarray_omezarr.stores import Place


@dataclass(frozen=True, slots=True)
class Entry:
    """An object."""

    size: int
    """Its length in bytes."""
    mark: str = ""
    """What tells it from others that were or will be at its key: as much of this as is told."""


def entries(place: Place) -> dict[str, Entry] | None:
    """List what lies below a group, in the order of the keys.

    Symbolic links are followed within the group, and no further.

    Returns
    -------
    dict of str to Entry, or None
        By their keys below the group. None where the store does not list what it has.

    Raises
    ------
    OmeZarrError
        Where a name leads out of the group, be it as a symbolic link or once it is copied to a
        disk, as "../file" does; or the store fails.
    """
    store: Any = place.store
    inner: Any = store.wrapped if isinstance(store, RemoteStore) else store
    if not store.supports_listing or (isinstance(inner, FsspecStore) and is_http(inner.fs)):
        return None
    if type(inner) is LocalStore:
        found = dict(_below(inner.root / place.path, place))
    else:
        try:
            with storage.reached(place):
                found = sync(_listed(inner, place))
        except OmeZarrPermissionError:
            # Who may read the objects of a bucket may often not list them.
            return None
        found = _without_markers(found)
    for key in found:
        if not spec.leads_below(key):
            msg = f"{place.name} holds {key!r:.80}, which leads out of it. Remove or rename that."
            raise OmeZarrError(msg)
    return dict(sorted(found.items()))


# ── on a disk ────────────────────────────────────────────────────────────────────────────────────


def _below(root: Path, place: Place) -> Iterator[tuple[str, Entry]]:
    """Yield the files below a folder."""
    whole = os.path.realpath(root)
    # A folder that links to one above it would never end.
    waiting: list[tuple[str, frozenset[str]]] = [("", frozenset({whole}))]
    while waiting:
        prefix, above = waiting.pop()
        folder = f"{whole}/{prefix}" if prefix else whole
        try:
            found = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for one in found:
            key = f"{prefix}/{one.name}" if prefix else one.name
            if one.is_symlink():
                leads = os.path.realpath(one.path)
                if not f"{leads}/".startswith(f"{whole}/") or leads in above:
                    msg = (
                        f"{place.name}/{key} is a symbolic link to {leads}, which is not followed: "
                        "only what lies within is. Put what it leads to in its place, or remove it."
                    )
                    raise OmeZarrError(msg)
            if one.is_dir():
                waiting.append((key, above | {os.path.realpath(one.path)}))
            elif one.is_file():
                about = one.stat()
                yield key, Entry(about.st_size, str(about.st_mtime_ns))


# ── elsewhere ────────────────────────────────────────────────────────────────────────────────────


async def _listed(store: Store, place: Place) -> dict[str, Entry]:
    await store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
    prefix = f"{place.path}/" if place.path else ""
    if isinstance(store, ArchiveStore):
        members = store.keys().items()
        return {
            key[len(prefix) :]: Entry(member.size, str(member.crc))
            for key, member in members
            if key.startswith(prefix) and not key.endswith("/")
        }
    if isinstance(store, FsspecStore):
        root = f"{store.path}/{place.path}".strip("/")
        # What was listed before may have changed.
        getattr(store.fs, "sync_fs", store.fs).invalidate_cache()
        found = await store.fs._find(f"{store.path}/{place.path}".rstrip("/"), detail=True)  # noqa: SLF001 - its asynchronous side
        return {
            name.lstrip("/").removeprefix(root).lstrip("/"): Entry(info["size"] or 0, _mark(info))
            for name, info in found.items()
            if info["type"] == "file"
        }
    if isinstance(store, ObjectStore):
        return {
            one["path"][len(prefix) :]: Entry(one["size"], str(one["e_tag"] or ""))
            async for one in store._list(prefix or None)  # noqa: SLF001 - with what `list_prefix` leaves out
        }
    keys = [key async for key in store.list_prefix(prefix)]
    gate = asyncio.Semaphore(storage.REQUESTS)

    async def size(key: str) -> int:
        async with gate:
            return await store.getsize(key)

    sizes = await asyncio.gather(*(size(key) for key in keys))
    return {key[len(prefix) :]: Entry(n) for key, n in zip(keys, sizes, strict=True)}


def _without_markers(found: dict[str, Entry]) -> dict[str, Entry]:
    """Leave out the empty objects that consoles of object stores make a folder visible by."""
    empty = {key for key, entry in found.items() if not entry.size}
    if not empty:
        return found
    folders = {key[:i] for key in found for i, sign in enumerate(key) if sign == "/"}
    markers = {key for key in empty if not key or key.endswith("/") or key in folders}
    return {key: entry for key, entry in found.items() if key not in markers}


def _mark(info: dict[str, Any]) -> str:
    """Give what fsspec tells of an object, in the words of the file system."""
    names = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "mtime", "last_modified")
    return str(next((info[name] for name in names if info.get(name)), ""))
