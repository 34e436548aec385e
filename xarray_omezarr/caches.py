"""Caches of fsspec over other file systems, as Zarr takes them."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from typing import Any

from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.cached import SimpleCacheFileSystem

#: Requests for different objects share so many locks.
_LOCKS = 64


class CachedFiles(AsyncFileSystemWrapper):  # type: ignore[misc]
    """A cache that keeps no half of an object, and takes no failure for an absence.

    fsspec's download into the file that they then read from, whoever else reads it meanwhile and
    whatever becomes of the download; and over HTTP they call all that fails absent.
    """

    def __init__(self, fs: Any = None, **options: Any) -> None:  # noqa: ANN401 - as fsspec's
        super().__init__(fs, asynchronous=True, **options)
        # But for the simple one, they have a list of files that does not bear two who change it.
        simple = isinstance(self.sync_fs, SimpleCacheFileSystem)
        self._locks = [threading.Lock() for _ in range(_LOCKS if simple else 1)]
        self._cat_file = self._read_beside

    async def _read_beside(
        self, path: str, start: int | None = None, end: int | None = None, **_: object
    ) -> bytes:
        return await asyncio.to_thread(self._read, path, start, end)

    def _read(self, path: str, start: int | None, end: int | None) -> bytes:
        cache = self.sync_fs
        with self._locks[hash(path) % len(self._locks)]:
            try:
                return bytes(cache.cat_file(path, start=start, end=end))
            except FileNotFoundError as error:
                self._forget(path)
                # Whoever has the objects knows what is the matter with this one.
                cache.fs.cat_file(path, start=0, end=1)
                raise ConnectionError(str(error)) from error
            except BaseException:
                self._forget(path)
                raise

    def _forget(self, path: str) -> None:
        cache = self.sync_fs
        with suppress(OSError):
            os.remove(os.path.join(cache.storage[-1], cache._mapper(path)))  # noqa: PTH107, PTH118, SLF001
