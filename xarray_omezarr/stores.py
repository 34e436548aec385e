"""Where an image is: the store that a path or a URL names, and a group in it.

A place is a group in a store, whether there is anything or not.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import zarr
from fsspec import AbstractFileSystem
from zarr.abc.store import Store
from zarr.storage import (
    FsspecStore,
    LocalStore,
    MemoryStore,
    ObjectStore,
    StorePath,
)

from xarray_omezarr import spec
from xarray_omezarr.archive import open_archive
from xarray_omezarr.consolidated import ConsolidatedStore
from xarray_omezarr.documents import join
from xarray_omezarr.draft import Draft
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.guess import is_archive, local_path
from xarray_omezarr.redaction import HIDDEN, secrets_in, shown
from xarray_omezarr.remote import RemoteStore
from xarray_omezarr.urls import asynchronous, file_system
from xarray_omezarr.wrappers import innermost

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Held by whoever makes a change to a store in memory that is one with what it depends on.
_MEMORY = threading.Lock()
#: So many seconds lie between two attempts to be alone on a disk.
_PAUSE = 0.005


@dataclass(frozen=True)
class Place:
    """A group in a store, whether there is anything or not."""

    store: Store
    path: str
    name: str
    """What messages call it: the path or URL that the user gave."""
    owned: bool
    """Whether the store was opened here, and is to be closed here."""

    def key(self, *parts: str) -> str:
        """Give the key of something below the group."""
        return join(self.path, *parts)

    def below(self, *parts: str) -> Place:
        """Give a group below this one, in the same store."""
        return replace(self, path=self.key(*parts), name=join(self.name, *parts))

    def close(self) -> None:
        """Close the store, if it was opened here."""
        if self.owned:
            self.store.close()


def locate(
    target: object,
    group: str | None = None,
    *,
    write: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    missing_on_403: bool = False,
    consolidated: bool = False,
) -> Place:
    """Find the store that an argument names, without a request to it unless it is an archive.

    Parameters
    ----------
    target
        A path, a URL that fsspec knows, a store of Zarr or obstore, a mapper of fsspec, a
        `zarr.Group`, or a place that was found before.
    group
        The path of the group in it.
    write
        Whether the store is to be written to.
    storage_options
        Passed on to fsspec for URLs.
    missing_on_403
        Whether an object that may not be read is taken for one that is not there.
    consolidated
        Whether metadata are taken from where all of them are, at the root or in the group.
    """
    inner = (group or "").strip("/")
    if inner and not spec.leads_below(inner):
        msg = f"group={group!r:.120} is no path below the root of the store."
        raise OmeZarrError(msg)
    if isinstance(target, Place):
        return target.below(inner) if inner else target
    place = _located(target, inner, storage_options, write=write)
    if isinstance(place.store, (FsspecStore, ObjectStore)) and not in_memory(place.store):
        remote = RemoteStore(
            place.store,
            place.name.removesuffix(place.path).rstrip("/"),
            missing_on_403=missing_on_403,
            secrets=secrets_in(storage_options or {}),
        )
        place = replace(place, store=remote)
    if consolidated:
        place = replace(place, store=ConsolidatedStore(place.store))
    return place


def _located(
    target: object, inner: str, storage_options: Mapping[str, Any] | None, *, write: bool
) -> Place:
    """Find the store that an argument names, as it is."""
    if isinstance(target, (zarr.Group, StorePath)):
        at = target.store_path if isinstance(target, zarr.Group) else target
        path = join(at.path, inner)
        return Place(at.store, path, shown(f"{at.store}/{path}"), owned=False)
    if type(target).__module__.startswith("obstore"):
        target = ObjectStore(cast("Any", target), read_only=not write)
    if isinstance(target, Store):
        return Place(target, inner, shown(join(str(target), inner)), owned=False)
    local = local_path(target)
    if local is not None and storage_options:
        msg = f"storage_options are for URLs; {target} is a local path. Leave them out."
        raise OmeZarrError(msg)
    if is_archive(target):
        return _within(target, inner, storage_options, write=write)
    if local is not None:
        return Place(LocalStore(local, read_only=not write), inner, str(local / inner), owned=True)
    if isinstance(target, str):
        url = target.rstrip("/")
        files, root = file_system(url, storage_options)
        # What follows the path would stand in the middle of the names of what is below.
        name = shown(url).removesuffix(f"?{HIDDEN}").rstrip("/")
    elif isinstance(files := getattr(target, "fs", None), AbstractFileSystem):
        # A mapper of fsspec, or a path of universal-pathlib.
        root = str(getattr(target, "root", "") or getattr(target, "path", "")).rstrip("/")
        name = shown(files.unstrip_protocol(root))
    else:
        msg = (
            f"A store of type {type(target).__name__} is not supported; expected a path, a URL, "
            "a store of Zarr or obstore, a mapper of fsspec or a zarr.Group."
        )
        raise OmeZarrError(msg)
    store = FsspecStore(asynchronous(files), path=root, read_only=not write)
    if not in_memory(store):
        # A `RemoteStore` can tell what is missing from what has failed.
        store.allowed_exceptions = ()
    return Place(store, inner, join(name, inner), owned=True)


def _within(
    target: object, inner: str, storage_options: Mapping[str, Any] | None, *, write: bool
) -> Place:
    """Open an archive, and give a group in it."""
    if write:
        raise fixed(target)
    archive, folder = open_archive(target, storage_options)
    name = join(shown(str(local_path(target) or target)), inner)
    if folder and inner.partition("/")[0] != folder:
        inner = join(folder, inner)
    # There is nothing to close: a file is open only for as long as it is read.
    return Place(archive, inner, name, owned=False)


def fixed(target: object) -> OmeZarrError:
    """Say that there is no changing what is in an archive."""
    return OmeZarrError(
        f"{shown(str(target))} is a zip archive, which is written as a whole and not changed after "
        "that: mode='a', region=, append_dim=, resume=, layout= and group= are for folders and "
        "other stores. Write one of these, or another archive."
    )


def in_mind(name: str) -> Place:
    """Give an empty place in memory, of a name."""
    return Place(MemoryStore(), "", name, owned=False)


def in_memory(store: Store) -> bool:
    """Say whether a store lives in this process, where no other can write to it."""
    inner = innermost(store)
    return isinstance(inner, (MemoryStore, Draft)) or (
        isinstance(inner, FsspecStore) and "memory" in np.atleast_1d(inner.fs.protocol)
    )


def disk_of(store: Store) -> Path | None:
    """Give the folder that a store is, if it is one."""
    inner = innermost(store)
    return inner.root if isinstance(inner, LocalStore) else None


def keeps(place: Place) -> bool:
    """Say whether what has been written is kept where a write breaks off, to go on with."""
    return not isinstance(place.store, Draft)


@contextmanager
def exclusively(place: Place, patience: float) -> Iterator[bool]:
    """Keep others out of a group for a moment, where that can be: on a disk, and in memory.

    Whoever is killed lets the others in.

    Parameters
    ----------
    place
        The group.
    patience
        How many seconds to wait for others.

    Yields
    ------
    bool
        Whether it came to that.
    """
    if in_memory(place.store):
        alone = _MEMORY.acquire(timeout=patience)
        try:
            yield alone
        finally:
            if alone:
                _MEMORY.release()
        return
    root = disk_of(place.store)
    if root is None or os.name == "nt" or not (root / place.path).is_dir():
        yield True
        return
    handle = os.open(root / place.path, os.O_RDONLY)
    try:
        yield _locked(handle, patience)
    finally:
        os.close(handle)


def _locked(handle: int, patience: float) -> bool:
    """Lock an open file against others, and say whether that came to pass; closing it ends that."""
    import fcntl

    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(_PAUSE)
        except OSError:
            # A file system that has no locks; there, it is as with stores elsewhere.
            return True
        else:
            return True
