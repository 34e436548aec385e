"""Objects carried from one store to another as they are: many side by side, in bounded memory.

Whatever breaks off, an object is at its new place whole, or not at all: on a disk it is written
under another name first, and object stores put it in one request.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from xarray_omezarr import storage
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.remote import RemoteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

    from xarray_omezarr.stores import Place

#: So many bytes are in memory at a time, as far as a single object does not have more.
_IN_MEMORY = 2**26


@dataclass(frozen=True, slots=True)
class Parcel:
    """An object that is to be carried."""

    key: str
    """Where it is, below the source."""
    to: str
    """And where it goes, below the target."""
    size: int | None = None
    """Its length; None where that is not known, nor whether it is there."""


def carry(
    source: Place,
    target: Place,
    parcels: Iterable[Parcel],
    *,
    largest: int = 0,
    done: Callable[[Parcel, int | None], object],
) -> None:
    """Carry some objects.

    Parameters
    ----------
    source, target
        The groups that they are below.
    parcels
        The objects, which are taken from this one by one.
    largest
        How long those may be whose length is not known.
    done
        Called for each, with its length; None where there was none.

    Raises
    ------
    OmeZarrError
        Where one that had a length is gone, or has another one; or a store fails.
    """
    _Carrier(source, target, largest, done).run(parcels)


class _Carrier:
    """What carries objects: so many workers, who take one after the other."""

    def __init__(
        self,
        source: Place,
        target: Place,
        largest: int,
        done: Callable[[Parcel, int | None], object],
    ) -> None:
        self.source, self.target, self.largest, self.done = source, target, largest, done
        self.stopped = threading.Event()
        self.room = _Room(_IN_MEMORY)
        self.root = _folder(target)
        self.folders: set[Path] = set()
        origin = _folder(source)
        if self.root is None:
            self.move = self._by_memory
        elif origin is not None:
            self.origin = origin
            self.move = self._by_disk
        elif isinstance(source.store, RemoteStore) and source.store.streams:
            self.remote = source.store
            self.move = self._by_stream
        else:
            self.move = self._by_memory

    def run(self, parcels: Iterable[Parcel]) -> None:
        """Carry all of them; once this is interrupted, no more are begun."""
        try:
            sync(self._all(iter(parcels)))
        except BaseException:
            self.stopped.set()
            raise

    async def _all(self, parcels: Iterator[Parcel]) -> None:
        for place in (self.source, self.target):
            await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
        workers = [asyncio.ensure_future(self._work(parcels)) for _ in range(storage.REQUESTS)]
        try:
            await asyncio.gather(*workers)
        finally:
            self.stopped.set()
            # The others finish, or give up, what they have begun.
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, parcels: Iterator[Parcel]) -> None:
        for parcel in parcels:
            if self.stopped.is_set():
                return
            try:
                size = await self.move(parcel)
                self._check(parcel, size)
            except BaseException:
                self.stopped.set()
                raise
            self.done(parcel, size)

    def _check(self, parcel: Parcel, size: int | None) -> None:
        # Some stores list folders that are empty like this, and have no such object.
        if parcel.size is not None and (size or 0) != parcel.size:
            now = "is gone" if size is None else f"has {size} bytes"
            msg = (
                f"{self.source.name}/{parcel.key} was listed with {parcel.size} bytes, and now "
                f"{now}: somebody writes there. Wait until that is done, and begin anew."
            )
            raise OmeZarrError(msg)

    # ── ways ─────────────────────────────────────────────────────────────────────────────────────

    async def _by_memory(self, parcel: Parcel) -> int | None:
        async with self.room.taken(self.largest if parcel.size is None else parcel.size):
            key = self.source.key(parcel.key)
            value = await self.source.store.get(key, default_buffer_prototype())
            if value is None:
                return None
            if parcel.size in (None, len(value)):
                await self.target.store.set(self.target.key(parcel.to), value)
            return len(value)

    async def _by_disk(self, parcel: Parcel) -> int | None:
        return await asyncio.to_thread(self._copied, parcel)

    def _copied(self, parcel: Parcel) -> int | None:
        file = self._made(parcel)
        partial = _partial(file)
        try:
            shutil.copyfile(self.origin / parcel.key, partial)
            return self._named(parcel, partial, file)
        except (FileNotFoundError, IsADirectoryError):
            return None
        finally:
            _remove(partial)

    async def _by_stream(self, parcel: Parcel) -> int | None:
        file = self._made(parcel)
        partial = _partial(file)
        try:
            if not await self.remote.save(self.source.key(parcel.key), partial):
                return None
            return self._named(parcel, partial, file)
        finally:
            _remove(partial)

    def _made(self, parcel: Parcel) -> Path:
        """Make the folder of a file."""
        assert self.root is not None  # noqa: S101 - or there are no files
        file = self.root / parcel.to
        if file.parent not in self.folders:
            file.parent.mkdir(parents=True, exist_ok=True)
            self.folders.add(file.parent)
        return file

    @staticmethod
    def _named(parcel: Parcel, partial: Path, file: Path) -> int:
        """Give a file its name, if it is what it was said to be."""
        size = partial.stat().st_size
        if parcel.size in (None, size):
            partial.replace(file)
        return size


def _folder(place: Place) -> Path | None:
    """Give the folder that a group is, if its store is a disk and nothing else."""
    return place.store.root / place.path if type(place.store) is LocalStore else None


def _partial(file: Path) -> Path:
    # Zarr calls files like this until they are whole.
    return file.with_name(f"{file.name}.{uuid4().hex}.partial")


def _remove(partial: Path) -> None:
    with suppress(OSError):
        os.unlink(partial)  # noqa: PTH108 - the quick way, as it is no longer there as a rule


class _Room:
    """So many bytes of memory; who wants more than all waits until it is alone."""

    def __init__(self, size: int) -> None:
        self.size = self.left = size
        self.changed = asyncio.Condition()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Take some of it for a while."""
        some = min(size, self.size)
        async with self.changed:
            await self.changed.wait_for(lambda: self.left >= some)
            self.left -= some
        try:
            yield
        finally:
            async with self.changed:
                self.left += some
                self.changed.notify_all()


def lengths(place: Place, keys: Iterable[str]) -> dict[str, int | None]:
    """Ask for the length of each of some objects; None where nothing is told of it."""
    gate = asyncio.Semaphore(storage.REQUESTS)

    async def ask(key: str) -> tuple[str, int | None]:
        async with gate:
            try:
                found: Any = await place.store.getsize(place.key(key))
            except (FileNotFoundError, OmeZarrError, TypeError, ValueError):
                return key, None
            return key, found if isinstance(found, int) else None

    async def ask_all() -> dict[str, int | None]:
        await place.store._ensure_open()  # noqa: SLF001
        return dict(await asyncio.gather(*map(ask, keys)))

    return sync(ask_all())
