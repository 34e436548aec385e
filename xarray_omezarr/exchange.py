"""Files that several processes change at once, none of which loses what another has changed.

A change is read, made and written. On a local disk and in memory others are kept out meanwhile. A
store of objects that writes on a condition (S3, and others by obstore) refuses what is based on an
object that is no longer there, and the change is made again. Of other stores nobody can know.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from zarr.buffer import cpu
from zarr.core.sync import sync
from zarr.storage import FsspecStore, ObjectStore

from xarray_omezarr import storage, stores
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.remote import failure, is_absence
from xarray_omezarr.wrappers import innermost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zarr.abc.store import Store

    from xarray_omezarr.stores import Place

    #: Makes of what a file holds, None where there is none, what it shall hold.
    Edit = Callable[[bytes | None], bytes]

#: So many seconds to wait for others, and so often to begin anew because of them.
_PATIENCE, _ATTEMPTS = 60.0, 60
#: So many seconds lie between two attempts at most: by chance, so that not all try at once.
_LONGEST = 1.0
#: What S3 answers where a condition does not hold: 412, and 409 where it cannot tell yet; and 404
#: where an object is gone that was to be replaced.
_REFUSED = {404, 409, 412}


class _Conflict(Exception):  # noqa: N818 - no error: it is begun anew
    """Somebody else has written in between."""


class _Objects(Protocol):
    """How a store of objects is read and written to on a condition."""

    async def get(self, key: str) -> tuple[bytes | None, object]:
        """Give an object and what tells it from others that were or will be at its key."""

    async def put(self, key: str, content: bytes, known: object) -> None:
        """Write an object where still the one is that is known, None for none."""


@contextmanager
def alone(place: Place) -> Iterator[None]:
    """Keep others out of a group for as long as its files change, where that can be.

    Raises
    ------
    OmeZarrError
        Where others do not let it happen.
    """
    with stores.exclusively(place, _PATIENCE) as succeeded:
        if not succeeded:
            raise _crowded(place)
        yield


def change(place: Place, file: str, edit: Edit, *, fsync: bool = False) -> None:
    """Change a file of a group, which whoever calls this keeps to itself by `alone`.

    Parameters
    ----------
    place
        The group.
    file
        The key of the file below the group.
    edit
        Makes the new content of the old one; called again where somebody else was first.
    fsync
        Whether it is on the disk when this returns.

    Raises
    ------
    OmeZarrError
        Where others do not let it happen.
    """
    objects = _objects(place.store)
    if objects is not None:
        with _told(place):
            sync(_exchange(objects, place, file, edit))
        return
    (content,) = storage.read_bytes(place, file)
    new = edit(content)
    if new != content:
        storage.write_bytes(place, file, new, fsync=fsync)


def create(place: Place, file: str, content: bytes) -> None:
    """Write a file of a group unless there is one."""
    objects = _objects(place.store)
    key = place.key(file)

    async def put() -> None:
        await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
        if objects is None:
            await place.store.set_if_not_exists(key, cpu.Buffer.from_bytes(content))
            return
        try:
            await objects.put(key, content, None)
        except _Conflict:
            return

    with _told(place):
        sync(put())


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """Say of what goes wrong with objects, which are not asked for by way of the store."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - each package has its own
        found = failure(place.name, error)
        raise found from found.__cause__


def _crowded(place: Place) -> OmeZarrError:
    return OmeZarrError(
        f"{place.name} is being changed by others all the time, for more than a minute. What was "
        "written is kept: write again with resume=True."
    )


async def _exchange(objects: _Objects, place: Place, file: str, edit: Edit) -> None:
    key = place.key(file)
    await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
    for attempt in range(_ATTEMPTS):
        content, known = await objects.get(key)
        new = edit(content)
        if new == content:
            return
        try:
            await objects.put(key, new, known)
        except _Conflict:
            most = min(0.02 * 2**attempt, _LONGEST)
            await asyncio.sleep(random.uniform(0, most))  # noqa: S311 - no secret
        else:
            return
    raise _crowded(place)


def _objects(store: Store) -> _Objects | None:
    """Give the means to write to a store on a condition, if it has any."""
    store = innermost(store)
    if isinstance(store, ObjectStore):
        return None if type(store.store).__name__ in _UNCONDITIONAL else _Obstore(store)
    if isinstance(store, FsspecStore) and type(store.fs).__module__.startswith("s3fs"):
        return _S3(store)
    return None


#: Stores of obstore that write on no condition: a folder, and files of a web server.
_UNCONDITIONAL = {"LocalStore", "HTTPStore"}


class _S3:
    """S3 by s3fs: what is known of an object is its ETag."""

    def __init__(self, store: FsspecStore) -> None:
        self._fs: Any = store.fs
        self._root = store.path.rstrip("/")

    async def get(self, key: str) -> tuple[bytes | None, object]:
        path = f"{self._root}/{key}"
        try:
            # In this order: what comes in between makes the condition fail, not hold.
            about = await self._fs._info(path, refresh=True)  # noqa: SLF001 - its asynchronous side
            content: bytes = await self._fs._cat_file(path)  # noqa: SLF001
        except FileNotFoundError:
            return None, None
        # A prefix that other objects have is no object.
        return (content, about["ETag"]) if about.get("ETag") else (None, None)

    async def put(self, key: str, content: bytes, known: object) -> None:
        condition = {"mode": "create"} if known is None else {"IfMatch": known}
        try:
            await self._fs._pipe_file(f"{self._root}/{key}", content, **condition)  # noqa: SLF001
        except Exception as error:
            # Where nothing is to be replaced, it is the bucket that is not there.
            if _is_refusal(error) and not (known is None and is_absence(error)):
                raise _Conflict from error
            raise


def _is_refusal(error: BaseException) -> bool:
    """Say whether a server answered that a condition does not hold."""
    answers = [getattr(cause, "response", None) for cause in (error, error.__cause__)]
    told = [answer.get("ResponseMetadata", {}) for answer in answers if isinstance(answer, dict)]
    return any(about.get("HTTPStatusCode") in _REFUSED for about in told)


class _Obstore:
    """Any store of obstore that is no folder."""

    def __init__(self, store: ObjectStore[Any]) -> None:
        self._store = store

    async def get(self, key: str) -> tuple[bytes | None, object]:
        import obstore

        try:
            found = await obstore.get_async(self._store.store, key)
        except FileNotFoundError:
            return None, None
        content = bytes(await found.bytes_async())
        return content, {
            key: found.meta[key] for key in ("e_tag", "version") if found.meta[key] is not None
        }

    async def put(self, key: str, content: bytes, known: Any) -> None:  # noqa: ANN401
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            await obstore.put_async(
                self._store.store, key, content, mode="create" if known is None else known
            )
        except (AlreadyExistsError, PreconditionError) as error:
            raise _Conflict from error
