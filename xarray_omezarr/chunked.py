"""The arrays of an image: opened, with codecs that suit them, and wrapped for lazy indexing."""

from __future__ import annotations

import asyncio
import copy
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import zarr
from xarray.backends.zarr import ZarrArrayWrapper
from xarray.core.indexing import LazilyIndexedArray
from zarr.abc.store import Store
from zarr.core.array import AsyncArray
from zarr.core.sync import sync
from zarr.storage import LocalStore, WrapperStore

from xarray_omezarr import pipelines, spec
from xarray_omezarr.archive import ArchiveStore
from xarray_omezarr.documents import ARRAY_METADATA, METADATA_FILES
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileNotFoundError, OmeZarrWarning
from xarray_omezarr.storage import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from xarray_omezarr.stores import Place


def open_arrays(
    place: Place, paths: Sequence[str], zarr_format: int
) -> list[zarr.Array[Any] | OmeZarrError]:
    """Open the arrays of an image for reading, all side by side.

    An array that is missing or broken is given back as the error that says so.
    """

    def open_one(path: str) -> zarr.Array[Any] | OmeZarrError:
        try:
            array = open_array(place, path, zarr_format)
            if 0 in (*array.chunks, *(array.shards or ())):
                msg = "its chunks hold no pixels"
                raise ValueError(msg)  # noqa: TRY301 - one more that Zarr could have found
        except FileNotFoundError:
            return OmeZarrFileNotFoundError(
                f"{place.name}: the array of dataset '{path}' is missing, though the metadata name "
                "it. Copy the image again, or open another level."
            )
        except Exception as error:  # noqa: BLE001 - whatever the metadata of an array provoke
            return OmeZarrError(
                f"{place.name}/{path}/{ARRAY_METADATA[zarr_format]} describes no array that can "
                f"be opened: {error}. It must be mended or restored; other levels may open."
            )
        else:
            return array

    if len(paths) == 1:
        found = [open_one(paths[0])]
    else:
        with ThreadPoolExecutor(min(REQUESTS, len(paths))) as pool:
            found = list(pool.map(open_one, paths))
    return [a if isinstance(a, OmeZarrError) else _with_its_keys(place, a) for a in found]


def _with_its_keys(place: Place, array: zarr.Array[Any]) -> zarr.Array[Any]:
    """Give an array that looks for its chunks where they are.

    Without a `dimension_separator`, chunks of Zarr v2 are at `0.0`. Some writers have left it out
    and put them at `0/0`; looked for at `0.0`, all of them would be missing, and read as zeros.
    """
    described: Any = array.metadata
    if described.zarr_format != spec.V2 or described.dimension_separator != "." or array.ndim < 2:  # noqa: PLR2004
        return array
    if not is_nested(place, array):
        return array
    warnings.warn(
        f"{place.name}: the chunks of {array.path} are in nested folders, which "
        "'dimension_separator' in its .zarray does not say; they are read from there",
        OmeZarrWarning,
        stacklevel=4,
    )
    nested = copy.copy(described)
    object.__setattr__(nested, "dimension_separator", "/")
    found: zarr.Array[Any] = zarr.Array(AsyncArray(nested, array.store_path))
    pipelines.attach(found, place.store)
    return found


def is_nested(place: Place, array: zarr.Array[Any]) -> bool:
    """Say whether chunks are in nested folders alone, by the ones that stand for all."""
    last = [-(-n // c) - 1 for n, c in zip(array.shape, array.chunks, strict=True)]
    samples = [[number * part // 2 for number in last] for part in range(3)]
    if isinstance(place.store, LocalStore):
        folder = place.store.root / array.path
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        return any(name.isdigit() for name in names) and not any(
            re.fullmatch(r"\d+(\.\d+)+", name) for name in names
        )

    async def there(separator: str) -> bool:
        keys = {f"{array.path}/{separator.join(map(str, sample))}" for sample in samples}
        return any(await asyncio.gather(*(place.store.exists(key.strip("/")) for key in keys)))

    return not sync(there(".")) and sync(there("/"))


def open_array(
    place: Place,
    path: str,
    zarr_format: int,
    *,
    mode: Literal["r", "r+"] = "r",
    shape: tuple[int, ...] | None = None,
    atomic: bool = False,
) -> zarr.Array[Any]:
    """Open an array with the fastest codecs that there are for it.

    Parameters
    ----------
    place
        The group that the array is in.
    path
        Its path below the group.
    zarr_format
        2 or 3.
    mode
        "r" to read: a read then raises where the array is gone. "r+" to write, too.
    shape
        Its shape where that is to be another one, of which only this object knows.
    atomic
        Whether readers, and whatever interrupts a write, have to find each chunk as it was or as it
        is to be: for arrays of an image that is there already. It takes longer.
    """
    store = place.store
    if mode == "r" and type(store) not in (LocalStore, ArchiveStore):
        metadata = place.key(path, ARRAY_METADATA[zarr_format])
        store = _WatchedStore(store, metadata, f"{place.name}/{path}")
    array = zarr.open_array(
        store,
        path=place.key(path),
        mode=mode,
        zarr_format=zarr_format,  # type: ignore[arg-type]
    )
    if shape not in (None, array.shape):
        grown = cast("Any", array.metadata).update_shape(shape)
        array = zarr.Array(AsyncArray(grown, array.store_path))
    pipelines.attach(array, place.store, atomic=atomic)
    return array


def _gone(name: str) -> OmeZarrError:
    return OmeZarrFileNotFoundError(
        f"{name} is no longer there: the image was replaced or removed after it had been opened. "
        "Open it again."
    )


class _WatchedStore(WrapperStore[Store]):
    """A store of one array, that raises where the array is gone.

    A chunk that is not there reads as fill values; but so would all chunks of an array that was
    removed when its image was replaced. Only where a chunk is absent is the array looked for.

    On a local disk that costs nothing, so `_NativeArray` looks after every read, and the array may
    have codecs that know no stores but a few.
    """

    def __init__(self, store: Store, metadata: str, name: str) -> None:
        super().__init__(store)
        self._metadata = metadata
        self._name = name

    def _with_store(self, store: Store) -> _WatchedStore:
        return _WatchedStore(store, self._metadata, self._name)

    def _is_chunk(self, key: str) -> bool:
        return key.rpartition("/")[2] not in METADATA_FILES

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        value = await self._store.get(key, prototype, byte_range)
        if value is None and self._is_chunk(key) and not await self._store.exists(self._metadata):
            raise _gone(self._name)
        return value

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        # Newer releases of Zarr read local chunks without their event loop.
        get = cast("Any", self._store).get_sync
        value: Buffer | None = get(key, prototype=prototype, byte_range=byte_range)
        if (
            value is None
            and self._is_chunk(key)
            and get(self._metadata, prototype=prototype) is None
        ):
            raise _gone(self._name)
        return value


class _NativeArray(ZarrArrayWrapper):
    """xarray's wrapper of a Zarr array, whose values come in native byte order.

    A read of local files raises where the array is gone. What removes an array removes its metadata
    first: whoever finds these after a read has read what was there.
    """

    __slots__ = ("_file", "_name")

    def __init__(self, array: zarr.Array[Any], name: str) -> None:
        super().__init__(array)  # type: ignore[no-untyped-call]
        self.dtype = self.dtype.newbyteorder("=")
        self._name = name
        store, file = array.store, ARRAY_METADATA[array.metadata.zarr_format]
        self._file = store.root / array.path / file if isinstance(store, LocalStore) else None

    def _checked(self, values: object) -> np.ndarray[Any, Any]:
        if self._file is not None and not self._file.exists():
            raise _gone(self._name)
        return np.asarray(values, dtype=self.dtype)

    def _getitem(self, key: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        return pipelines.read_box(self._array, key)

    def __getitem__(self, key: object) -> np.ndarray[Any, Any]:
        return self._checked(super().__getitem__(key))  # type: ignore[no-untyped-call]

    async def async_getitem(self, key: object) -> np.ndarray[Any, Any]:
        return self._checked(await super().async_getitem(key))  # type: ignore[no-untyped-call]


def lazy(array: zarr.Array[Any], name: str) -> LazilyIndexedArray:
    """Wrap an array for xarray's own lazy indexing; messages call it by the name."""
    return LazilyIndexedArray(_NativeArray(array, name))


def array_encoding(array: zarr.Array[Any], dims: Sequence[str]) -> dict[str, Any]:
    """Say how an array is stored, in the keys that xarray writes arrays by.

    What xarray would stumble over when it writes an image, or a part of one, as a plain Zarr array
    is left out: the codecs of Zarr v2, which it would hand to Zarr v3, and shards, which it would
    keep for a variable that has lost a dimension. The writer of this package knows them besides.
    """
    encoding: dict[str, Any] = {
        "chunks": array.chunks,
        "preferred_chunks": dict(zip(dims, array.chunks, strict=True)),
    }
    if array.metadata.zarr_format == spec.V3:
        encoding.update(
            compressors=array.compressors,
            filters=array.filters,
            serializer=array.serializer,
            fill_value=array.fill_value,
        )
    return encoding


def codecs_of(array: zarr.Array[Any]) -> dict[str, Any]:
    """Give the codecs of an array as its Zarr format takes them, for writing others like it."""
    v3 = array.metadata.zarr_format == spec.V3
    codecs: dict[str, Any] = {"compressors": array.compressors, "filters": array.filters}
    if v3:
        codecs["serializer"] = array.serializer
    return {"zarr_format": array.metadata.zarr_format, "dtype": array.dtype, **codecs}
