"""A zip archive that is being written, as a store of Zarr.

It is in this process's memory but for chunks: these go to the end of a file, each as a whole, and
can be read back from there. All metadata have been written to the head of that file before. It
becomes the archive when it gets its central directory and its name.
"""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from contextlib import suppress
from glob import escape
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

from xarray_omezarr import zips
from xarray_omezarr.archive import Flat, LocalFile, bounds
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileExistsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer

    from xarray_omezarr.archive import State

    #: Where the content of a member begins, its length and its checksum.
    Extent = tuple[int, int, int]


class Draft(Flat):
    """An archive that is being written, by this process alone.

    Parameters
    ----------
    path
        Where it is going to be.
    documents
        All of its metadata, in the order in which they stand at its head.
    comment
        What is said of it as a whole.
    before
        The archive that it replaces, if it does.
    fsync
        Whether all of it has to be on the disk before it gets its name.
    """

    supports_writes = True
    supports_deletes = True

    def __init__(
        self,
        path: Path,
        documents: Mapping[str, bytes],
        comment: bytes,
        *,
        before: State | None,
        fsync: bool,
    ) -> None:
        super().__init__(read_only=False)
        self.path = path
        # Zarr calls files like this until they are whole.
        self.partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
        self._documents = documents
        self._comment = comment
        self._before = before
        self._fsync = fsync
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._over = False
        self._end = 0
        # What a write keeps for as long as it takes: its journals, its records, and metadata.
        self._kept: dict[str, bytes] = {}
        self._extents: dict[str, Extent] = {}
        self._entries = bytearray()
        self._discard: weakref.finalize[[BinaryIO, Path], Draft] | None = None

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        return str(self.path)

    def __getstate__(self) -> dict[str, Any]:
        msg = (
            f"{self.path} is a zip archive, which one process writes: compute with threads "
            "(dask.config.set(scheduler='threads')), or write a folder."
        )
        raise OmeZarrError(msg)

    # ── as a store ───────────────────────────────────────────────────────────────────────────────

    def keys(self) -> Iterable[str]:
        """Give the keys of all that has been written."""
        return [*self._kept, *self._extents]

    async def exists(self, key: str) -> bool:
        """Say whether something has been written."""
        return key in self._kept or key in self._extents

    def content(self, key: str, part: ByteRequest | None = None) -> bytes | None:
        """Read what has been written, or a part of it; None where there is nothing."""
        kept = self._kept.get(key)
        if kept is not None:
            start, stop = bounds(part, len(kept))
            return kept[start:stop]
        extent = self._extents.get(key)
        if extent is None:
            return None
        begin, size, _ = extent
        start, stop = bounds(part, size)
        with self.partial.open("rb") as file:
            file.seek(begin + start)
            return file.read(stop - start)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Keep what is no chunk, and append what is one."""
        if is_kept(key):
            self._kept[key] = value.to_bytes()
            return
        content: Any = value.as_numpy_array()
        size, crc = len(content), zlib.crc32(content)
        head = zips.header(key, size, crc)
        with self._lock:
            self._extents[key] = self._append(self._begun(), head, content, crc)

    def delete_sync(self, key: str) -> None:
        """Forget something: the bytes of a chunk stay where they are, and nothing names them."""
        self._kept.pop(key, None)
        self._extents.pop(key, None)

    # ── as a file ────────────────────────────────────────────────────────────────────────────────

    def finish(self) -> None:
        """Write the central directory, and give the file its name.

        Raises
        ------
        OmeZarrError
            Where somebody else has written to that name meanwhile; theirs stands.
        """
        with self._lock:
            file = self._begun()
            if self._kept != dict(self._documents):
                # They are made twice, in the same way; or the archive would contradict itself.
                msg = f"{self.path}: the metadata are not those that stand at the archive's head."
                raise OmeZarrError(msg)
            for key, extent in self._extents.items():
                self._enter(key, extent)
            count = len(self._documents) + len(self._extents)
            file.write(self._entries)
            file.write(zips.end(count, self._end, len(self._entries), self._comment))
            file.flush()
            if self._fsync:
                os.fsync(file.fileno())
            file.close()
            _publish(self.partial, self.path, self._before)
            self._over = True
            if self._fsync:
                _sync_folder(self.path.parent)

    def abort(self) -> None:
        """Leave nothing behind."""
        with self._lock:
            self._over = True
            if self._discard is not None:
                self._discard()

    def _begun(self) -> BinaryIO:
        """Give the file, with all metadata at its head."""
        if self._over:
            msg = (
                f"{self.path} is no longer being written: that was finished before, or given up. "
                "Call to_zarr() again."
            )
            raise OmeZarrError(msg)
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(self.path)
            self._file = self.partial.open("xb")
            # Also where nobody goes on with a write that has begun.
            self._discard = weakref.finalize(self, _discard, self._file, self.partial)
            with suppress(OSError):
                _lock(self._file)
            for key, content in self._documents.items():
                crc = zlib.crc32(content)
                head = zips.header(key, len(content), crc)
                self._enter(key, self._append(self._file, head, content, crc))
        return self._file

    def _append(self, file: BinaryIO, head: bytes, content: Any, crc: int) -> Extent:  # noqa: ANN401 - a buffer
        begin = self._end + len(head)
        try:
            file.write(head)
            file.write(content)
            # Whoever reads it back opens the file anew.
            file.flush()
        except BaseException:
            # What came after it would not be where it is said to be.
            self._over = True
            raise
        self._end = begin + len(content)
        return begin, len(content), crc

    def _enter(self, key: str, extent: Extent) -> None:
        begin, size, crc = extent
        self._entries += zips.entry(key, begin - len(zips.header(key, size, crc)), size, crc)


def is_kept(key: str) -> bool:
    """Say whether something is no chunk: metadata, or what a write notes for itself."""
    parts = key.split("/")
    return parts[-1] == "zarr.json" or any(part.startswith(".") for part in parts)


def _discard(file: BinaryIO, partial: Path) -> None:
    """Remove what an archive was to become of, if it has not become one."""
    with suppress(OSError):
        file.close()
    with suppress(OSError):
        partial.unlink(missing_ok=True)


def _publish(partial: Path, path: Path, before: State | None) -> None:
    """Give a file its name, unless somebody else has written to that meanwhile."""
    taken = OmeZarrFileExistsError(
        f"{path} was written to by somebody else while this image was being written; what they "
        "wrote stands. Write again, or to another path."
    )
    if before is not None:
        if LocalFile(path).look() != before:
            raise taken
        partial.replace(path)
        return
    try:
        # A link, as opposed to a new name, never takes the place of a file.
        path.hardlink_to(partial)
    except FileExistsError as error:
        raise taken from error
    except OSError:
        # A file system without links.
        if path.exists():
            raise taken from None
        partial.rename(path)
    else:
        partial.unlink()


def _remove_abandoned(path: Path) -> None:
    """Remove what writes to a path have left behind that were killed."""
    token = "[0-9a-f]" * 32
    for partial in path.parent.glob(f"{escape(path.name)}.{token}.partial"):
        # Who still writes to it has locked it; or has it open, which is as good on Windows.
        with suppress(OSError), partial.open("r+b") as file:
            _lock(file)
            if os.name != "nt":
                partial.unlink()
        if os.name == "nt":
            with suppress(OSError):
                partial.unlink()


def _lock(file: BinaryIO) -> None:
    """Lock a file against others for as long as it is open.

    Raises
    ------
    OSError
        Where somebody else has, or where there are no locks.
    """
    if os.name != "nt":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    # Windows has no handle of a folder.
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
