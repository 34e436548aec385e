"""The files of a hierarchy as they are handed out: whole or in part, and none from outside of it.

What is a folder of this machine is read as files; anything else, by its store.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from xarray_omezarr import spec, stores
from xarray_omezarr.storage import reached
from xarray_omezarr.wrappers import Wrapper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer, BufferPrototype

    from xarray_omezarr.stores import Place

#: So many bytes are read at a time.
_BLOCK = 2**20
#: A folder would be waited for, or a pipe: neither is opened so.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
)


def inside(root: Path, key: str) -> Path | None:
    """Give the file or folder that a key names below a folder, whatever links lead to it.

    Parameters
    ----------
    root
        The folder, without symbolic links.
    key
        A path below it, with slashes.

    Returns
    -------
    pathlib.Path or None
        None where it is not below the folder, or links lead in a circle.
    """
    if "\0" in key:
        return None
    try:
        found = Path(os.path.realpath(root / key))
    except (OSError, ValueError):
        return None
    return found if found.is_relative_to(root) else None


class ConfinedStore(Wrapper):
    """The folder of a hierarchy as a store in which no symbolic link leads out of it.

    What is elsewhere is not there.

    Parameters
    ----------
    store
        The store of the folder.
    root
        The folder, without symbolic links; it may lie below that of the store.
    """

    def __init__(self, store: Store, root: Path) -> None:
        super().__init__(store)
        self._root = root

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self._root)

    def _holds(self, key: str) -> bool:
        return inside(self._root, key) is not None

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read something that is below the folder."""
        return await self._store.get(key, prototype, byte_range) if self._holds(key) else None

    async def exists(self, key: str) -> bool:
        """Say whether something is there, below the folder."""
        return self._holds(key) and await self._store.exists(key)

    async def getsize(self, key: str) -> int:
        """Say how long something is that is below the folder."""
        if not self._holds(key):
            raise FileNotFoundError(key)
        return await self._store.getsize(key)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List what is directly below something."""
        if self._holds(prefix):
            async for name in self._store.list_dir(prefix):
                yield name


@dataclass(frozen=True)
class Source:
    """A hierarchy whose files are handed out."""

    place: Place
    root: Path | None
    """The folder that it is, without symbolic links; None where it is none."""

    @classmethod
    def of(cls, place: Place) -> Source:
        """Confine a hierarchy to what is below its own group."""
        folder = stores.disk_of(place.store)
        if folder is None:
            return cls(place, None)
        root = Path(os.path.realpath(folder / place.path))
        store = ConfinedStore(LocalStore(root, read_only=True), root)
        return cls(stores.Place(store, "", place.name, owned=place.owned), root)

    @contextmanager
    def open(self, key: str) -> Iterator[Portion | None]:
        """Open a file below the hierarchy.

        Parameters
        ----------
        key
            Its path, with slashes.

        Yields
        ------
        Portion or None
            None where there is no such file, or it is not below the hierarchy.

        Raises
        ------
        OmeZarrError
            Where the store does not answer as it should.
        """
        if not spec.leads_below(key) or key.endswith("/"):
            yield None
        elif self.root is None:
            with reached(self.place):
                found = sync(_in_store(self.place, self.place.key(key)))
            yield found
        else:
            with _opened(inside(self.root, key)) as file:
                yield file


@dataclass(frozen=True)
class Portion:
    """A file that is handed out."""

    size: int
    tag: str | None
    """What changes when the file does, if that is known."""
    file: BinaryIO | None = None
    """Where it is read from on this machine, …"""
    place: Place | None = None
    key: str = ""
    """… or else by a store."""

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Read a part of it, some bytes at a time."""
        if self.file is not None:
            self.file.seek(start)
        while start < stop:
            part = self._block(start, min(stop, start + _BLOCK))
            if not part:
                return  # it has become shorter
            start += len(part)
            yield part

    def _block(self, start: int, stop: int) -> bytes:
        if self.file is not None:
            return self.file.read(stop - start)
        place = cast("stores.Place", self.place)
        request = RangeByteRequest(start, stop)
        with reached(place):
            found = sync(place.store.get(self.key, default_buffer_prototype(), request))
        return b"" if found is None else found.to_bytes()


@contextmanager
def _opened(path: Path | None) -> Iterator[Portion | None]:
    """Open a file of this machine, and nothing that is none."""
    handle = None
    if path is not None:
        with suppress(OSError, ValueError):
            handle = os.open(path, _FLAGS)
    if handle is None:
        yield None
        return
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        yield None
        return
    with os.fdopen(handle, "rb") as file:
        tag = f"{about.st_size:x}-{about.st_mtime_ns:x}-{about.st_ino:x}"
        yield Portion(about.st_size, tag, file=file)


async def _in_store(place: Place, key: str) -> Portion | None:
    """Find something in a store: how long it is, without reading it."""
    await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
    if not await place.store.exists(key):
        return None
    return Portion(await place.store.getsize(key), None, place=place, key=key)


def tag_of(content: bytes) -> str:
    """Give what changes when some content does.

    Examples
    --------
    >>> tag_of(b"pixels") == tag_of(b"pixels"), tag_of(b"pixels") == tag_of(b"others")
    (True, False)
    """
    return hashlib.blake2b(content, digest_size=12).hexdigest()
