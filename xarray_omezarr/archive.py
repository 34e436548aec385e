"""A zip archive as a store of Zarr.

An archive is opened by its central directory alone. After that, a read is one range of bytes of the
file: there is no handle that readers share, so that none of them waits for another, and a store
goes to other processes as its name.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.core.sync import sync

from xarray_omezarr import zips
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileNotFoundError, warn
from xarray_omezarr.guess import local_path
from xarray_omezarr.redaction import secrets_in, shown
from xarray_omezarr.remote import CutShortError, failure, is_absence, is_http, repeated
from xarray_omezarr.urls import file_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    T = TypeVar("T")
    #: The length of a file, and what tells it from another of the same name.
    State = tuple[int, object]

#: The central directories of so many archives are kept, for copies of a store in other tasks.
_KEPT = 8


# ── files ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class LocalFile:
    """A file on a disk of this machine."""

    path: Path

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path)

    def look(self) -> State:
        """Say what is there now."""
        try:
            return _state(self.path.stat())
        except FileNotFoundError as error:
            raise _missing(self.name) from error

    def read(self, start: int, stop: int, state: State) -> bytes:
        """Read a range of bytes; raise where the file is no longer the one that was looked at."""
        try:
            with self.path.open("rb") as file:
                if _state(os.fstat(file.fileno())) != state:
                    raise _replaced(self.name)
                file.seek(start)
                return file.read(stop - start)
        except FileNotFoundError as error:
            raise _replaced(self.name) from error


@dataclass(frozen=True)
class RemoteFile:
    """A file in a file system of fsspec."""

    files: Any
    path: str
    name: str
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """What must not be shown."""

    def look(self) -> State:
        """Say what is there now, as far as whoever has it tells."""
        try:
            found = sync(self._tried(lambda: asyncio.to_thread(self.files.info, self.path)))
        except Exception as error:  # noqa: BLE001 - each package has its own
            raise self._failure(error, absent=_missing(self.name)) from None
        if not isinstance(found.get("size"), int) or found.get("partial") is False:
            raise _whole_only(self.name)
        told = next((found[key] for key in ("ETag", "etag", "Last-Modified") if key in found), None)
        return found["size"], told

    def read(self, start: int, stop: int, state: State) -> bytes:
        """Read a range of bytes now."""

        def read() -> bytes:
            # Of what serves no ranges, this reads none but the header.
            with self.files.open(self.path, "rb", size=state[0], cache_type="none") as file:
                file.seek(start)
                return bytes(file.read(stop - start))

        try:
            return sync(self._tried(lambda: asyncio.to_thread(read)))
        except ValueError as error:
            raise _whole_only(self.name) from error
        except Exception as error:  # noqa: BLE001
            raise self._failure(error) from None

    async def fetch(self, start: int, stop: int) -> bytes:
        """Read a range of bytes, beside others."""
        try:
            return await self._tried(lambda: self._fetch(start, stop))
        except Exception as error:  # noqa: BLE001
            raise self._failure(error) from None

    async def _fetch(self, start: int, stop: int) -> bytes:
        if self.files.async_impl:
            # The file system has an event loop of its own.
            reading = self.files._cat_file(self.path, start=start, end=stop)  # noqa: SLF001
            future = asyncio.run_coroutine_threadsafe(reading, self.files.loop)
            content = await asyncio.wrap_future(future)
        else:
            content = await asyncio.to_thread(self.files.cat_file, self.path, start, stop)
        if len(content) > stop - start:
            raise _whole_only(self.name)
        if len(content) < stop - start:
            msg = f"{len(content)} of the {stop - start} bytes asked for came"
            raise CutShortError(msg)
        return bytes(content)

    async def _tried(self, read: Callable[[], Awaitable[T]]) -> T:
        return await (repeated(read) if is_http(self.files) else read())

    def _failure(self, error: Exception, absent: OmeZarrError | None = None) -> OmeZarrError:
        if absent is not None and is_absence(error):
            return absent
        return failure(self.name, error, self.secrets)


def _state(found: os.stat_result) -> State:
    return found.st_size, (found.st_mtime_ns, found.st_ino)


def _missing(name: str) -> OmeZarrError:
    return OmeZarrFileNotFoundError(
        f"There is nothing at {name}; expected a zip archive of an OME-Zarr image. Check the path."
    )


def _replaced(name: str) -> OmeZarrError:
    return OmeZarrFileNotFoundError(
        f"{name} was replaced or removed after it had been opened. Open it again."
    )


def _whole_only(name: str) -> OmeZarrError:
    return OmeZarrError(
        f"{name} cannot be opened where it is: the server gives whole files, not ranges of them. "
        "Copy the archive, and open the copy."
    )


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def open_archive(
    target: object, storage_options: Mapping[str, Any] | None = None
) -> tuple[ArchiveStore, str]:
    """Open an archive by its central directory.

    Parameters
    ----------
    target
        A path, or a URL that fsspec knows.
    storage_options
        Passed on to fsspec for URLs.

    Returns
    -------
    store, folder
        The archive; and the folder in it that the hierarchy is in, if it is not at the root.

    Raises
    ------
    OmeZarrError
        Where there is no archive, or a broken one.
    """
    file = _file(target, storage_options)
    store = ArchiveStore(file, file.look())
    folder = zips.top_folder(store.keys())
    if not folder or not file.name.lower().endswith(".zip"):
        # In an .ozx "the root-level zarr.json MUST be at the root of the archive" (RFC-9).
        return store, ""
    warn(
        f"{file.name}: the hierarchy is not at the root of the archive, but in its folder "
        f"'{folder}', which is taken for the root"
    )
    return store, folder


def _file(target: object, storage_options: Mapping[str, Any] | None) -> LocalFile | RemoteFile:
    path = local_path(target)
    if path is not None:
        # Absolute, since a store may go to a process that works in another folder.
        return LocalFile(path.absolute())
    url = str(target)
    files, inner = file_system(url, storage_options, whole=True)
    return RemoteFile(files, inner, shown(url), secrets_in(storage_options or {}))


@lru_cache(maxsize=_KEPT)
def _members(file: LocalFile | RemoteFile, state: State) -> dict[str, zips.Member]:
    """Read a central directory, once in each process."""

    def read(start: int, stop: int) -> bytes:
        return file.read(start, stop, state)

    return zips.read_members(read, state[0], file.name)


class Flat(Store):
    """A store whose keys and contents are to be had without an event loop."""

    supports_listing = True

    @property
    def is_local(self) -> bool:
        """Whether they are on this machine."""
        return True

    def keys(self) -> Iterable[str]:
        """Give the keys of all that is there."""
        raise NotImplementedError

    def content(self, key: str, part: ByteRequest | None = None) -> zips.Content | None:
        """Read something, or a part of it, now; None where there is nothing."""
        raise NotImplementedError

    # Newer releases of Zarr work without an event loop on what has all of these.

    @property
    def _supports_sync_io(self) -> bool:
        return self.is_local

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read something, or a part of it, as a buffer."""
        content = self.content(key, byte_range)
        made = (prototype or default_buffer_prototype()).buffer
        return None if content is None else made.from_bytes(content)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write something."""
        raise NotImplementedError

    def delete_sync(self, key: str) -> None:
        """Remove something, if it is there."""
        raise NotImplementedError

    # What follows is what every store of Zarr has.

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read something, or a part of it, beside others."""
        return await asyncio.to_thread(
            self.get_sync, key, prototype=prototype, byte_range=byte_range
        )

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of several things."""
        reads = (self.get(key, prototype, part) for key, part in key_ranges)
        return list(await asyncio.gather(*reads))

    async def exists(self, key: str) -> bool:
        """Say whether there is something."""
        return key in self.keys()

    async def set(self, key: str, value: Buffer) -> None:
        """Write something, beside others."""
        await asyncio.to_thread(self.set_sync, key, value)

    async def delete(self, key: str) -> None:
        """Remove something, if it is there."""
        self.delete_sync(key)

    async def list(self) -> AsyncIterator[str]:
        """Yield the keys of all that is there."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that begin like this."""
        for key in tuple(self.keys()):
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names of what lies directly below a folder."""
        folder = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        below = (key[len(folder) :] for key in tuple(self.keys()) if key.startswith(folder))
        for name in dict.fromkeys(key.partition("/")[0] for key in below):
            yield name


def bounds(part: ByteRequest | None, size: int) -> tuple[int, int]:
    """Give where a part of so many bytes starts and stops."""
    if isinstance(part, RangeByteRequest):
        return min(part.start, size), min(part.end, size)
    if isinstance(part, OffsetByteRequest):
        return min(part.offset, size), size
    if isinstance(part, SuffixByteRequest):
        return max(size - part.suffix, 0), size
    return 0, size


class ArchiveStore(Flat):
    """An archive, of which no more is read than is asked for.

    Parameters
    ----------
    file
        The archive.
    state
        What it is, so that another one that comes to stand there is not taken for it.
    """

    supports_writes = False
    supports_deletes = False

    def __init__(self, file: LocalFile | RemoteFile, state: State) -> None:
        super().__init__(read_only=True)
        self.file = file
        self.state = state
        self._heads: dict[str, int] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArchiveStore) and (self.file, self.state) == (
            other.file,
            other.state,
        )

    def __hash__(self) -> int:
        return hash((self.file, self.state))

    def __str__(self) -> str:
        return self.file.name

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of this machine."""
        return isinstance(self.file, LocalFile)

    def keys(self) -> Mapping[str, zips.Member]:
        """Give what is in it, by name."""
        return _members(self.file, self.state)

    def content(self, key: str, part: ByteRequest | None = None) -> zips.Content | None:
        """Read a member, or a part of it, now; None where there is none."""
        asking = self._asking(key, part)
        if asking is None:
            return None
        return zips.answered(asking, lambda a, b: self.file.read(a, b, self.state))

    def _asking(self, key: str, part: ByteRequest | None) -> zips.Asking | None:
        member = self.keys().get(key)
        if member is None:
            return None
        wanted = bounds(part, member.size)
        return zips.reading(member, key, self.file.name, wanted, self._heads)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a member, or a part of it, beside others."""
        if not isinstance(self.file, RemoteFile):
            return await super().get(key, prototype, byte_range)
        # In a process that the store has come to, there is no central directory yet.
        asking = await asyncio.to_thread(self._asking, key, byte_range)
        if asking is None:
            return None
        try:
            wanted = next(asking)
            while True:
                wanted = asking.send(await self.file.fetch(*wanted))
        except StopIteration as done:
            return prototype.buffer.from_bytes(done.value)

    async def getsize(self, key: str) -> int:
        """Give the length of a member."""
        member = self.keys().get(key)
        if member is None:
            raise FileNotFoundError(key)
        return member.size

    def set_sync(self, key: str, value: Buffer) -> None:
        """Refuse."""
        del value
        msg = f"{self.file.name}: {key} cannot be changed in a zip archive."
        raise OmeZarrError(msg)

    def delete_sync(self, key: str) -> None:
        """Refuse."""
        msg = f"{self.file.name}: {key} cannot be removed from a zip archive."
        raise OmeZarrError(msg)
