"""The arrays of an image: opened, with codecs that suit them, and wrapped for lazy indexing."""

from __future__ import annotations

import asyncio
import copy
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import zarr
from xarray.backends.zarr import ZarrArrayWrapper
from xarray.core.indexing import CopyOnWriteArray, LazilyIndexedArray, MemoryCachedArray
from zarr.abc.store import Store
from zarr.core.array import AsyncArray
from zarr.core.sync import _get_loop, sync
from zarr.storage import LocalStore, StorePath, WrapperStore

from xarray_omezarr import pipelines, spec
from xarray_omezarr.archive import ArchiveStore
from xarray_omezarr.documents import ARRAY_METADATA, METADATA_FILES, load_json
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileNotFoundError, warn
from xarray_omezarr.remote import failure
from xarray_omezarr.storage import read_each

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import xarray as xr
    from xarray.core.indexing import ExplicitIndexer
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from xarray_omezarr.stores import Place


@dataclass(frozen=True)
class Described:
    """An array whose metadata have been read; opened when it is first asked for pixels."""

    place: Place
    path: str
    """Below the place."""
    model: zarr.Array[Any]
    """An array with the same metadata, in the same store."""
    dtype: np.dtype[Any]
    """Of what is read, in native byte order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        return self.model.shape

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return len(self.model.shape)

    def open(self) -> zarr.Array[Any]:
        """Open it, with the codecs that its model was opened with."""
        key = self.place.key(self.path)
        if self.model.path == key:
            return self.model
        zarr_format = self.model.metadata.zarr_format
        at = StorePath(_watched(self.place, self.path, zarr_format), key)
        inner = copy.copy(self.model.async_array)
        # Its class is frozen, so that nobody changes an array that others hold. This one is new.
        object.__setattr__(inner, "store_path", at)
        object.__setattr__(inner, "codec_pipeline", pipelines.moved(inner.codec_pipeline, at))
        return zarr.Array(inner)

    def within(self, place: Place) -> Described:
        """Give the same array as it is read by way of another store, one that wraps its own."""
        metadata = self.model.metadata
        store = _watched(place, self.path, metadata.zarr_format)
        model: zarr.Array[Any] = zarr.Array(
            AsyncArray(metadata, StorePath(store, place.key(self.path)))
        )
        pipelines.attach(model, place.store)
        return replace(self, place=place, model=model)


class Models:
    """Arrays of a store by their metadata: what is alike is described once.

    The arrays of a plate are thousands, and there are no more kinds of them than an image has
    levels.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._known: dict[tuple[int, bytes], tuple[zarr.Array[Any], np.dtype[Any]]] = {}

    def describe(
        self, path: str, content: bytes | OmeZarrError | None, zarr_format: int
    ) -> Described | OmeZarrError:
        """Describe an array by the content of its metadata file.

        An array that is missing or broken is given back as the error that says so.
        """
        name = self._place.name
        if content is None:
            return OmeZarrFileNotFoundError(
                f"{name}: the array of dataset '{path}' is missing, though the metadata name "
                "it. Copy the image again, or open another level."
            )
        if isinstance(content, OmeZarrError):
            return content
        try:
            if (zarr_format, content) not in self._known:
                self._known[zarr_format, content] = self._model(path, content, zarr_format)
        except Exception as error:  # noqa: BLE001 - whatever the metadata of an array provoke
            return OmeZarrError(
                f"{name}/{path}/{ARRAY_METADATA[zarr_format]} describes no array that can "
                f"be opened: {error}. It must be mended or restored; other levels may open."
            )
        return self._with_its_keys(Described(self._place, path, *self._known[zarr_format, content]))

    def _model(
        self, path: str, content: bytes, zarr_format: int
    ) -> tuple[zarr.Array[Any], np.dtype[Any]]:
        document = load_json(content)
        if not isinstance(document, dict) or document.get("node_type", "array") != "array":
            msg = f"it is {document!r:.60}"
            raise ValueError(msg)
        if zarr_format == spec.V2:
            # What stands in .zattrs is of no use here, and would be one more request.
            document["attributes"] = {}
        store = _watched(self._place, path, zarr_format)
        array: zarr.Array[Any] = zarr.Array(
            AsyncArray(cast("Any", document), StorePath(store, self._place.key(path)))
        )
        if 0 in (*array.chunks, *(array.shards or ())):
            msg = "its chunks hold no pixels"
            raise ValueError(msg)
        pipelines.attach(array, self._place.store)
        return array, ZarrArrayWrapper(array).dtype.newbyteorder("=")  # type: ignore[no-untyped-call]

    def _with_its_keys(self, found: Described) -> Described:
        """Give an array that looks for its chunks where they are.

        Without a `dimension_separator`, chunks of Zarr v2 are at `0.0`. Some writers have left it
        out and put them at `0/0`; looked for at `0.0`, all of them would be missing, and read as
        zeros.
        """
        described: Any = found.model.metadata
        if (
            described.zarr_format != spec.V2
            or described.dimension_separator != "."
            or found.ndim < 2  # noqa: PLR2004
        ):
            return found
        array = found.open()
        if not is_nested(self._place, array):
            return found
        warn(
            f"{self._place.name}: the chunks of {array.path} are in nested folders, which "
            "'dimension_separator' in its .zarray does not say; they are read from there"
        )
        nested = copy.copy(described)
        object.__setattr__(nested, "dimension_separator", "/")
        model: zarr.Array[Any] = zarr.Array(AsyncArray(nested, array.store_path))
        pipelines.attach(model, self._place.store)
        return replace(found, model=model)


def describe_arrays(
    place: Place, paths: Sequence[str], zarr_format: int
) -> list[Described | OmeZarrError]:
    """Read the metadata of arrays, all side by side.

    An array that is missing or broken is given back as the error that says so.
    """
    files = [f"{path}/{ARRAY_METADATA[zarr_format]}" for path in paths]
    models = Models(place)
    contents = read_each(place, files)
    return [
        models.describe(path, content, zarr_format)
        for path, content in zip(paths, contents, strict=True)
    ]


def open_arrays(
    place: Place, paths: Sequence[str], zarr_format: int
) -> list[zarr.Array[Any] | OmeZarrError]:
    """Open the arrays of an image for reading, all side by side.

    An array that is missing or broken is given back as the error that says so.
    """
    found = describe_arrays(place, paths, zarr_format)
    return [one if isinstance(one, OmeZarrError) else one.open() for one in found]


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
    store = _watched(place, path, zarr_format) if mode == "r" else place.store
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


def _watched(place: Place, path: str, zarr_format: int) -> Store:
    """Give the store that an array is read from, so that a read raises where the array is gone."""
    if type(place.store) in (LocalStore, ArchiveStore):
        return place.store
    metadata = place.key(path, ARRAY_METADATA[zarr_format])
    return _WatchedStore(place.store, metadata, f"{place.name}/{path}")


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

    def __str__(self) -> str:
        # Who compares stores by their names compares what is watched.
        return str(self._store)

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

    __slots__ = ("_file", "_name", "_opened", "described")

    def __init__(self, described: Described, name: str) -> None:
        self._opened: zarr.Array[Any] | None = None
        self.described = described
        self.shape = described.shape
        self.dtype = described.dtype
        self._name = name
        store = described.place.store
        self._file: str | None = None
        if isinstance(store, LocalStore):
            file = ARRAY_METADATA[described.model.metadata.zarr_format]
            self._file = f"{store.root}/{described.place.key(described.path, file)}"

    def __reduce__(self) -> tuple[type[_NativeArray], tuple[Described, str]]:
        return type(self), (self.described, self._name)

    @property
    def _array(self) -> zarr.Array[Any]:
        """The array, opened when it is first needed: of a plate, most never are."""
        if self._opened is None:
            self._opened = self.described.open()
        return self._opened

    def _checked(self, values: object) -> np.ndarray[Any, Any]:
        if self._file is not None and not os.path.exists(self._file):  # noqa: PTH110 - a string
            raise _gone(self._name)
        return np.asarray(values, dtype=self.dtype)

    def _getitem(self, key: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        return pipelines.read_box(self._array, key)

    def __getitem__(self, key: object) -> np.ndarray[Any, Any]:
        with explained(self._name):
            return self._checked(super().__getitem__(key))  # type: ignore[no-untyped-call]

    async def async_getitem(self, key: object) -> np.ndarray[Any, Any]:
        # The connections of a store belong to the event loop of Zarr, which is not the caller's.
        reading = super().async_getitem(key)  # type: ignore[no-untyped-call]
        with explained(self._name):
            found = asyncio.run_coroutine_threadsafe(reading, _get_loop())
            return self._checked(await asyncio.wrap_future(found))


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Say of what goes wrong with pixels whose they are."""
    try:
        yield
    except (OmeZarrError, IndexError, MemoryError, NotImplementedError):
        raise
    except OSError as error:
        raise failure(name, error) from error
    except Exception as error:
        msg = (
            f"{name} cannot be read: {type(error).__name__}: {error}. A chunk of it is damaged, or "
            "was cut short: copy the image again."
        )
        raise OmeZarrError(msg) from error


def lazy(array: Described, name: str, key: ExplicitIndexer | None = None) -> LazilyIndexedArray:
    """Wrap an array, or a part of it, for xarray's own lazy indexing; messages call it by name."""
    return LazilyIndexedArray(_NativeArray(array, name), key)


def part_of(variable: xr.Variable) -> tuple[Described, ExplicitIndexer] | None:
    """Give the array that a variable is a part of, not yet read, and which part; else nothing."""
    data: Any = variable._data  # noqa: SLF001 - `data` would load what is lazy
    while isinstance(data, (MemoryCachedArray, CopyOnWriteArray)):
        data = data.array
    if not isinstance(data, LazilyIndexedArray) or not isinstance(data.array, _NativeArray):
        return None
    return data.array.described, data.key


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
