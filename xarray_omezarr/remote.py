"""Stores that are elsewhere: what goes wrong there, what is tried again, what is only missing.

Each library has errors of its own, and some take what they could not reach for what is not there.
Zarr would read that as pixels of the fill value, so here a failure is told from an absence.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote, unquote

import numpy as np
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.storage import FsspecStore

from xarray_omezarr.errors import (
    OmeZarrError,
    OmeZarrFileNotFoundError,
    OmeZarrPermissionError,
)
from xarray_omezarr.redaction import shown
from xarray_omezarr.wrappers import Wrapper

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
        Iterator,
    )
    from pathlib import Path
    from typing import Self

    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer, BufferPrototype

    T = TypeVar("T")

#: A request over HTTP is made again after so many seconds each, and then no more. Libraries of
#: object stores try again by themselves.
DELAYS = (0.1, 0.4, 1.6)
#: What servers answer that are busy, or in disorder for a moment.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({404, 410})
_DENIED = frozenset({401, 403})
_NO_SUCH_PART = 416
#: So many bytes of what comes over HTTP wait for the disk, in place of the 64 KiB of aiohttp.
_BUFFER = 2**18
#: The errors of those that found no credentials, by name: none of the packages has to be there.
_UNSIGNED = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}
    | {"ClientAuthenticationError", "CredentialUnavailableError"}
)


class UnreachedError(OmeZarrError):
    """A store did not do what it was asked for."""


class CutShortError(OSError):
    """An answer is shorter than what was asked for."""


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────


def status_of(error: BaseException | None) -> int | None:
    """Give the status that a server answered with, where an error tells."""
    for name in ("status", "status_code", "code"):
        if isinstance(found := getattr(error, name, None), int):
            return found
    answer = getattr(error, "response", None)
    about = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    found = about.get("HTTPStatusCode")
    return found if isinstance(found, int) else None


def is_absence(error: BaseException) -> bool:
    """Say whether there is just nothing there: fsspec calls other things so, too, over HTTP."""
    if not isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError)):
        return status_of(error) in _GONE
    cause = error.__cause__
    if cause is None or isinstance(cause, FileNotFoundError):
        return True
    if (status := status_of(cause)) is not None:
        return status in _GONE
    return not isinstance(cause, (OSError, TimeoutError)) and not _is_of(cause, "aiohttp")


def is_denial(error: BaseException) -> bool:
    """Say whether access was denied."""
    return (
        isinstance(error, PermissionError)
        or type(error).__name__ in {"PermissionDeniedError", "UnauthenticatedError"}
        or status_of(error) in _DENIED
        or (isinstance(error, FileNotFoundError) and status_of(error.__cause__) in _DENIED)
    )


def _is_passing(error: BaseException) -> bool:
    """Say whether the same request may succeed a moment later."""
    if isinstance(error, FileNotFoundError):
        return error.__cause__ is not None and _is_passing(error.__cause__)
    status = status_of(error)
    if status is not None:
        return status in _PASSING
    return isinstance(error, (ConnectionError, TimeoutError, CutShortError)) or (
        # Its other errors are of connections that broke, and of answers that did.
        _is_of(error, "aiohttp") and not isinstance(error, ValueError)
    )


def _is_of(error: BaseException, package: str) -> bool:
    return type(error).__module__.partition(".")[0] == package


def failure(name: str, error: BaseException, secrets: Iterable[str] = ()) -> OmeZarrError:
    """Say what went wrong with an object, and what can be done; without credentials.

    Parameters
    ----------
    name
        What is asked for, as messages call it.
    error
        What the library said.
    secrets
        What must not be shown.
    """
    if isinstance(error, OmeZarrError):
        return error
    cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
    whole = f"{type(cause or error).__name__}: {cause or error}"
    told = shown(whole, secrets)
    made: OmeZarrError
    if isinstance(error, PermissionError) and error.filename is not None:
        made = OmeZarrPermissionError(
            f"{name}: access is denied ({told}). Have the permissions of the file and of the "
            "folders above it changed, or use another place."
        )
    elif is_denial(error):
        made = OmeZarrPermissionError(
            f"{name}: access is denied ({told}). Give storage_options with credentials that "
            "suffice, or storage_options={'anon': True} for a public bucket. Object stores answer "
            "this for missing objects, too, to those who may not list them: missing_on_403=True "
            "takes it for that when opening."
        )
    elif type(error).__name__ in _UNSIGNED or "169.254.169.254" in whole:
        made = OmeZarrPermissionError(
            f"{name} cannot be reached: there are no credentials ({told}). Give them in "
            "storage_options or as the service wants them in the environment; "
            "storage_options={'anon': True} reads what is public."
        )
    elif is_absence(error):
        made = OmeZarrFileNotFoundError(f"{name} is not there: {told}")
    else:
        made = UnreachedError(f"{name} cannot be reached: {told}")
    # A traceback shows the cause as well.
    made.__cause__ = error if _is_clean(error, secrets) else None
    made.__suppress_context__ = True
    return made


def _is_clean(error: BaseException | None, secrets: Iterable[str]) -> bool:
    """Say whether an error, and whatever led to it, can be shown as it is."""
    while error is not None:
        if (said := f"{error} {error!r}") != shown(said, secrets):
            return False
        error = error.__cause__ or error.__context__
    return True


async def repeated(read: Callable[[], Awaitable[T]]) -> T:
    """Read something over HTTP, again where that may help."""
    for delay in DELAYS:
        try:
            return await read()
        except Exception as error:
            if not _is_passing(error):
                raise
        # Many that were refused at once do not come back at once.
        await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - no cryptography
    return await read()


# ── stores ───────────────────────────────────────────────────────────────────────────────────────


def is_http(files: Any) -> bool:  # noqa: ANN401 - of any package
    """Say whether the objects of a file system come over plain HTTP, be it by way of a cache."""
    # Caches give what they wrap for themselves, but for what stands in their dictionary.
    while (about := object.__getattribute__(files, "__dict__")).keys() & {"sync_fs", "fs"}:
        files = about.get("sync_fs") or about["fs"]
    return not {"http", "https"}.isdisjoint(np.atleast_1d(files.protocol))


class RemoteStore(Wrapper):
    """A store that says what is missing, what is denied and what has failed.

    Parameters
    ----------
    store
        What the objects are in.
    name
        What messages call it.
    missing_on_403
        Whether an object that may not be read is taken for one that is not there.
    secrets
        What must not be shown.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        missing_on_403: bool = False,
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(store)
        self.name = name
        self.missing_on_403 = missing_on_403
        self._secrets = secrets
        self._http = isinstance(store, FsspecStore) and is_http(store.fs)

    def _with_store(self, store: Store) -> Self:
        return type(self)(
            store, self.name, missing_on_403=self.missing_on_403, secrets=self._secrets
        )

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    @property
    def listed(self) -> Store:
        """What lists its objects with their sizes: servers of plain HTTP leave these out."""
        return self if self._http else self._store

    def _at(self, key: str) -> str:
        """Give a key as the store takes it: a name can be anything, a URL cannot."""
        return quote(key) if self._http else key

    def _failure(self, key: str, error: Exception) -> OmeZarrError:
        return failure(f"{self.name}/{key}" if key else self.name, error, self._secrets)

    @contextmanager
    def _explained(self, key: str, *, required: bool = True) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - each package has its own
            if is_absence(error) and not required:
                return
            found = self._failure(key, error)
            raise found from found.__cause__

    async def _tried(self, key: str, read: Callable[[], Awaitable[T]]) -> T | None:
        """Read something; None where there is nothing."""
        try:
            return await (repeated(read) if self._http else read())
        except Exception as error:  # noqa: BLE001
            if is_absence(error) or (self.missing_on_403 and is_denial(error)):
                return None
            found = self._failure(key, error)
            raise found from found.__cause__

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        return await self._tried(key, lambda: self._get(key, prototype, byte_range))

    async def _get(
        self, key: str, prototype: BufferPrototype, part: ByteRequest | None
    ) -> Buffer | None:
        found = await self._store.get(self._at(key), prototype, part)
        if found is None or part is None or isinstance(part, OffsetByteRequest):
            return found
        wanted = part.suffix if isinstance(part, SuffixByteRequest) else part.end - part.start
        if len(found) == wanted:
            return found
        if len(found) < wanted:
            msg = f"{len(found)} of the {wanted} bytes asked for came"
            raise CutShortError(msg)
        # The server knows no ranges. What it gives to who asks for none is all that there is.
        whole = await self._store.get(self._at(key), prototype)
        if isinstance(part, RangeByteRequest):
            return None if whole is None else whole[part.start : part.end]
        return None if whole is None else whole[len(whole) - wanted :]

    @property
    def streams(self) -> bool:
        """Whether objects can be saved to files bit by bit, as they come."""
        store = self._store
        # What wraps a file system, as a cache, has ways of its own to read.
        return isinstance(store, FsspecStore) and not isinstance(store.fs, AsyncFileSystemWrapper)

    async def save(self, key: str, file: Path) -> bool:
        """Save an object to a local file, as it comes; say whether there is one."""
        store = cast("FsspecStore", self._store)
        name = f"{store.path}/{self._at(key)}" if store.path else self._at(key)
        given = {"read_bufsize": _BUFFER} if self._http else {}

        async def read() -> bool:
            await store.fs._get_file(name, str(file), **given)  # noqa: SLF001 - its asynchronous side
            return True

        return bool(await self._tried(key, read))

    async def exists(self, key: str) -> bool:
        # Stores ask for more than this, and over HTTP they take a failure for an absence.
        async def look() -> bool:
            part = RangeByteRequest(0, 1)
            try:
                found = await self._store.get(self._at(key), default_buffer_prototype(), part)
            except Exception as error:
                if status_of(error) == _NO_SUCH_PART:
                    return True
                raise
            return found is not None

        return bool(await self._tried(key, look))

    async def getsize(self, key: str) -> int:
        with self._explained(key):
            return await self._store.getsize(self._at(key))

    async def set(self, key: str, value: Buffer) -> None:
        with self._explained(key):
            await self._store.set(self._at(key), value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        with self._explained(key):
            await self._store.set_if_not_exists(self._at(key), value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        await asyncio.gather(*(self.set(key, value) for key, value in values))

    async def delete(self, key: str) -> None:
        with self._explained(key, required=False):
            await self._store.delete(self._at(key))

    async def delete_dir(self, prefix: str) -> None:
        with self._explained(prefix, required=False):
            await self._store.delete_dir(self._at(prefix))

    async def is_empty(self, prefix: str) -> bool:
        async for _ in self.list_prefix(f"{prefix.rstrip('/')}/" if prefix else ""):
            return False
        return True

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        with self._explained(prefix, required=False):
            async for key in self._store.list_prefix(self._at(prefix)):
                yield unquote(key) if self._http else key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        with self._explained(prefix, required=False):
            async for name in self._store.list_dir(self._at(prefix)):
                yield unquote(name) if self._http else name
