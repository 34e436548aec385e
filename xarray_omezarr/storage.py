"""Zarr, fsspec and the disk: no other file touches them.

A place is a group in a store, whether there is anything or not; a node is what stands there.
"""

from __future__ import annotations

import asyncio
import copy
import errno
import itertools
import json
import os
import re
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
import zarr
from xarray.backends.zarr import ZarrArrayWrapper
from xarray.core.indexing import LazilyIndexedArray
from zarr.abc.store import Store
from zarr.buffer import cpu, default_buffer_prototype
from zarr.core.array import AsyncArray
from zarr.core.sync import sync
from zarr.storage import (
    FsspecStore,
    LocalStore,
    MemoryStore,
    StorePath,
    WrapperStore,
)

from xarray_omezarr import pipelines, spec
from xarray_omezarr.archive import ArchiveStore, open_archive
from xarray_omezarr.draft import Draft
from xarray_omezarr.errors import (
    OmeZarrError,
    OmeZarrFileNotFoundError,
    OmeZarrWarning,
)
from xarray_omezarr.guess import is_archive, local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


T = TypeVar("T")

#: The file that says which datasets are being written; it goes when they are finished.
JOURNAL = ".omezarr.json"
#: The file that says which region of an image is being written.
UPDATES = ".omezarr-update.json"
#: The folder of notes on which blocks of an unfinished write are written.
RECORDS = ".omezarr"
#: How often the removal of a folder is tried.
_ATTEMPTS = 4
#: Held by whoever makes a change to a store in memory that is one with what it depends on.
_MEMORY = threading.Lock()
#: So many seconds lie between two attempts to be alone on a disk.
_PAUSE = 0.005
#: What files on a disk are called until all of them is written.
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial$")
#: Metadata shorter than this are laid out for people; the properties of many labels are not.
_READABLE = 2**20
#: Requests in flight at a time.
REQUESTS = 32
#: JSON that is nested deeper is refused: copying, comparing and writing it would end in a
#: RecursionError, at a depth that depends on who calls.
DEEPEST = 100
#: What neither nests JSON nor can hide that: as quotes, backslashes and other encodings can.
_NEITHER = bytes(set(range(256)) - set(b'[]{}"\\\0'))

#: Metadata of more bytes than this are written without an indent.
_LONG = 2**18

METADATA = {2: ".zattrs", 3: "zarr.json"}
ARRAY_METADATA = {2: ".zarray", 3: "zarr.json"}
METADATA_FILES = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})


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
        return "/".join(part for part in (self.path, *parts) if part)

    def below(self, *parts: str) -> Place:
        """Give a group below this one, in the same store."""
        return replace(self, path=self.key(*parts), name=_join(self.name, *parts))

    def close(self) -> None:
        """Close the store, if it was opened here."""
        if self.owned:
            self.store.close()


@dataclass(frozen=True)
class Node:
    """What stands at a place."""

    attributes: Mapping[str, Any]
    zarr_format: int
    both: bool
    """Whether there are metadata of both formats, of which those of Zarr v3 were taken."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """All of the metadata file that the attributes stand in."""

    @property
    def kind(self) -> str | None:
        """What the group is, by its attributes."""
        return spec.kind(self.attributes, self.zarr_format)


# ── places ───────────────────────────────────────────────────────────────────────────────────────


def locate(
    target: object,
    group: str | None = None,
    *,
    write: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Place:
    """Find the store that an argument names, without a request to it unless it is an archive.

    Parameters
    ----------
    target
        A path, a URL that fsspec knows, a Zarr store or a `zarr.Group`.
    group
        The path of the group in it.
    write
        Whether the store is to be written to.
    storage_options
        Passed on to fsspec for URLs.
    """
    inner = (group or "").strip("/")
    if any(part in ("", ".", "..") for part in inner.split("/")) and inner:
        msg = f"group={group!r} is no path below the root of the store."
        raise OmeZarrError(msg)
    if isinstance(target, (zarr.Group, StorePath)):
        at = target.store_path if isinstance(target, zarr.Group) else target
        return Place(
            at.store, _join(at.path, inner), f"{at.store}/{_join(at.path, inner)}", owned=False
        )
    if isinstance(target, Store):
        return Place(target, inner, f"{target}/{inner}" if inner else str(target), owned=False)
    path = local_path(target)
    if path is not None and storage_options:
        msg = f"storage_options are for URLs; {target} is a local path. Leave them out."
        raise OmeZarrError(msg)
    if is_archive(target):
        return _within(target, inner, storage_options, write=write)
    if path is not None:
        store: Store = LocalStore(path, read_only=not write)
        return Place(store, inner, str(path / inner), owned=True)
    if not isinstance(target, str):
        msg = (
            f"A store of type {type(target).__name__} is not supported; expected a path, a URL, "
            "a Zarr store or a zarr.Group."
        )
        raise OmeZarrError(msg)
    name = target.rstrip("/")
    try:
        store = FsspecStore.from_url(
            name, storage_options=dict(storage_options or {}), read_only=not write
        )
    except (ImportError, ValueError, TypeError) as error:
        msg = f"{target} cannot be opened: {error}"
        raise OmeZarrError(msg) from error
    return Place(store, inner, _join(name, inner), owned=True)


def _within(
    target: object, inner: str, storage_options: Mapping[str, Any] | None, *, write: bool
) -> Place:
    """Open an archive, and give a group in it."""
    if write:
        raise fixed(target)
    archive, folder = open_archive(target, storage_options)
    name = _join(str(local_path(target) or target), inner)
    if folder and inner.partition("/")[0] != folder:
        inner = _join(folder, inner)
    # There is nothing to close: a file is open only for as long as it is read.
    return Place(archive, inner, name, owned=False)


def fixed(target: object) -> OmeZarrError:
    """Say that there is no changing what is in an archive."""
    return OmeZarrError(
        f"{target} is a zip archive, which is written as a whole and not changed after that: "
        "mode='a', region=, append_dim=, resume=, layout= and group= are for folders and other "
        "stores. Write one of these, or another archive."
    )


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def read_bytes(place: Place, *keys: str) -> list[bytes | None]:
    """Fetch some objects of a group side by side; None for each that is not there."""
    found: list[bytes | None] = []
    for content in _read_each(place, keys):
        if isinstance(content, Exception):
            raise content
        found.append(content)
    return found


def _read_each(place: Place, keys: Sequence[str]) -> list[bytes | Exception | None]:
    """Fetch some objects of a group side by side; what goes wrong with one harms no other."""

    async def get(key: str) -> bytes | Exception | None:
        try:
            buffer = await place.store.get(place.key(key), default_buffer_prototype())
        except Exception as error:  # noqa: BLE001 - each store has its own
            return _failure(place, error)
        return None if buffer is None else buffer.to_bytes()

    async def get_all() -> list[bytes | Exception | None]:
        await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
        return list(await asyncio.gather(*(get(key) for key in keys)))

    try:
        return sync(get_all())
    except Exception as error:  # noqa: BLE001
        return [_failure(place, error)] * len(keys)


def _failure(place: Place, error: Exception) -> Exception | None:
    """Say what went wrong with a request; nothing where there is just nothing there."""
    if isinstance(error, (OmeZarrError, PermissionError)):
        return error
    if isinstance(error, FileNotFoundError):
        # A local store whose folder is not there.
        return None
    found = OmeZarrError(f"{place.name} cannot be reached: {type(error).__name__}: {error}")
    found.__cause__ = error
    return found


def in_mind(name: str) -> Place:
    """Give an empty place in memory, of a name."""
    return Place(MemoryStore(), "", name, owned=False)


def read_all(place: Place) -> dict[str, bytes]:
    """Read all that there is in a store, of what fits into memory."""

    async def collect() -> list[str]:
        return [key async for key in place.store.list()]

    keys = sync(collect())
    contents = read_bytes(replace(place, path=""), *keys)
    return {key: found for key, found in zip(keys, contents, strict=True) if found is not None}


def fetch(place: Place) -> Node | None:
    """Read the attributes of a group in one round of two requests; None where there is none."""
    v3, v2 = read_bytes(place, METADATA[3], METADATA[2])
    return node_of(place, v3, v2)


def fetch_with_labels(place: Place) -> tuple[Node | None, Node | None]:
    """Read the attributes of an image's group and of its labels, side by side.

    One round of two requests for Zarr v3, and a second one for Zarr v2.
    """
    folder = place.below("labels")
    v3, labels = read_bytes(place, METADATA[3], f"labels/{METADATA[3]}")
    node = None if v3 is None else node_of(place, v3, None)
    if node is not None and node.kind is not None:
        path = local_path(place.name) if place.owned else None
        both = path is not None and (path / METADATA[2]).exists()
        return replace(node, both=both), _tolerated(folder, labels, None)
    v2, old_labels = read_bytes(place, METADATA[2], f"labels/{METADATA[2]}")
    return node_of(place, v3, v2), _tolerated(folder, labels, old_labels)


def fetch_each(place: Place, names: Sequence[str], zarr_format: int) -> list[Node | OmeZarrError]:
    """Read the attributes of groups below one, side by side; what is missing is an error."""
    contents = _read_each(place, [f"{name}/{METADATA[zarr_format]}" for name in names])
    found: list[Node | OmeZarrError] = []
    for name, content in zip(names, contents, strict=True):
        inner = place.below(name)
        if isinstance(content, Exception):
            found.append(OmeZarrError(f"{inner.name} cannot be read: {content}"))
            continue
        pair = (content, None) if zarr_format == spec.V3 else (None, content)
        try:
            found.append(node_of(inner, *pair) or OmeZarrError(f"{inner.name} is missing."))
        except OmeZarrError as error:
            found.append(error)
    return found


def list_groups(place: Place) -> list[str]:
    """List the folders below a group, where that costs next to nothing: on disk and in memory."""
    path = local_path(place.name) if place.owned else None
    if path is not None:
        return (
            sorted(entry.name for entry in path.iterdir() if entry.is_dir())
            if path.is_dir()
            else []
        )

    async def collect() -> list[str]:
        names = [name.strip("/") async for name in place.store.list_dir(place.path)]
        return sorted(name for name in names if name and name not in METADATA_FILES)

    if not (isinstance(place.store, (LocalStore, ArchiveStore)) or in_memory(place.store)):
        return []
    try:
        return sync(collect()) if place.store.supports_listing else []
    except (OSError, NotImplementedError):
        return []


def _tolerated(place: Place, v3: bytes | None, v2: bytes | None) -> Node | None:
    """Read the attributes of a group that may be broken without harm to the image beside it."""
    try:
        return node_of(place, v3, v2)
    except OmeZarrError as error:
        warnings.warn(f"{error} The labels are left out.", OmeZarrWarning, stacklevel=4)
        return None


def node_of(place: Place, v3: bytes | None, v2: bytes | None) -> Node | None:
    """Give what the metadata files of a group say; those of Zarr v3 where both say something."""
    if v3 is not None:
        document = parse_json(v3, place, METADATA[3])
        if document.get("node_type") == "array":
            msg = (
                f"{place.name} is a Zarr array, not a group. "
                f"Open the group that it belongs to: {place.name.rpartition('/')[0] or '..'}."
            )
            raise OmeZarrError(msg)
        attributes = document.get("attributes") or {}
        if not isinstance(attributes, dict):
            msg = f"{place.name}/zarr.json: 'attributes' is {attributes!r:.80}; expected an object."
            raise OmeZarrError(msg)
        # Readers SHOULD prefer 0.5 where metadata of both formats stand side by side (RFC-2);
        # but a v3 group that says nothing does not hide a v2 image.
        if spec.kind(attributes, 3) or v2 is None:
            return Node(attributes, 3, v2 is not None, document)
    if v2 is not None:
        document = parse_json(v2, place, METADATA[2])
        return Node(document, 2, v3 is not None, document)
    return None


def parse_json(content: bytes, place: Place, file: str) -> dict[str, Any]:
    """Parse a metadata file, or say which one is broken."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        msg = f"{place.name}/{file} is no valid JSON: {error}. The file must be mended or restored."
        raise OmeZarrError(msg) from error
    if is_deep(content, document):
        msg = (
            f"{place.name}/{file} is nested more than {DEEPEST} levels deep. The file must be "
            "mended or restored."
        )
        raise OmeZarrError(msg)
    if not isinstance(document, dict):
        msg = f"{place.name}/{file} holds {document!r:.80}; expected a JSON object."
        raise OmeZarrError(msg)
    return document


def is_deep(content: bytes, document: object) -> bool:
    """Say whether JSON is nested deeper than it may be.

    The properties of a million labels take no time to speak of: of the text, only brackets are
    looked at, and the innermost ones removed, again and again. Where brackets stand in strings,
    too, the levels of the document are gone through.
    """
    rest = content.translate(None, _NEITHER).replace(b'""', b"")
    if rest.translate(None, b"[]{}"):
        level: list[Any] = [[document]]
        for _ in range(DEEPEST + 1):
            parts = (item.values() if isinstance(item, dict) else item for item in level)
            level = [item for part in parts for item in part if type(item) in {dict, list}]
        return bool(level)
    for _ in range(DEEPEST):
        rest = rest.replace(b"{}", b"").replace(b"[]", b"")
    return bool(rest)


def fetch_image(place: Place, *, labels: bool) -> tuple[Node, Node | None]:
    """Read the attributes of a group that has to be an image, and of its labels if asked to.

    Raises
    ------
    OmeZarrError
        Where it is something else: the message says what, and what to open instead.
    """
    node, folder = fetch_with_labels(place) if labels else (fetch(place), None)
    if node is not None and node.kind == "image":
        return node, folder
    if node is None:
        raise nothing_there(place)
    children = _children(place)
    inside = f" It holds {', '.join(children[:8])}." if children else ""
    found = {
        "plate": "is a plate of wells",
        "well": "is a well of a plate",
        "series": "is a series of images (bioformats2raw)",
        "scene": "is a scene of several images",
        "labels": "is the list of an image's labels",
        None: "is a Zarr group without OME-Zarr metadata",
    }[node.kind]
    msg = (
        f"{place.name} {found}, not an image with 'multiscales'.{inside} "
        "Open one of the images in it by group=."
    )
    raise OmeZarrError(msg)


def nothing_there(place: Place) -> OmeZarrError:
    """Say what is there where there is no group of Zarr."""
    journal, array, group = read_bytes(place, JOURNAL, ".zarray", ".zgroup")
    if journal is not None and b'"layout"' in journal:
        return OmeZarrError(
            f"{place.name} has been laid out, and not all of it is written yet. It can be opened "
            "once regions (to_zarr(region=…)) have covered it."
        )
    if journal is not None:
        return OmeZarrError(
            f"{place.name} is unfinished: a write of this image was interrupted, or is still under "
            "way. Write it again: resume=True goes on with it, without that it is begun anew."
        )
    if array is not None:
        return OmeZarrError(
            f"{place.name} is a Zarr array, not a group. Open the group that it belongs to."
        )
    children = _children(place)
    inside = f" It holds {', '.join(children[:8])}." if children else ""
    if group is not None:
        return OmeZarrError(
            f"{place.name} is a Zarr group without OME-Zarr metadata, not an image.{inside}"
        )
    if children or (place.owned and (path := local_path(place.name)) and path.exists()):
        return OmeZarrFileNotFoundError(
            f"{place.name} is no Zarr group: there is neither a zarr.json nor a .zattrs.{inside} "
            "Expected the folder of an OME-Zarr image."
        )
    return OmeZarrFileNotFoundError(
        f"There is nothing at {place.name}; expected the group of an OME-Zarr image. "
        "Check the path, and group= if it was given."
    )


def _children(place: Place) -> list[str]:
    """List what lies directly below a group, where the store can."""

    async def collect() -> list[str]:
        return [name async for name in place.store.list_dir(place.path)]

    if not place.store.supports_listing:
        return []
    try:
        names = sync(collect())
    except Exception:  # noqa: BLE001 - a listing only helps a message; not every server gives one
        return []
    return sorted(
        name.strip("/") for name in names if name.strip("/") and not name.startswith((".", "zarr."))
    )


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


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Say of what goes wrong in a store that is written to where that was, and the way out."""
    try:
        yield
    except (OmeZarrError, PermissionError):
        raise
    except Exception as error:
        kept = ": resume=True keeps what has been written already" if keeps(place) else ""
        msg = (
            f"{place.name} could not be written to: {type(error).__name__}: {error}. Once that "
            f"is mended, write again{kept}."
        )
        raise OmeZarrError(msg) from error


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def keeps(place: Place) -> bool:
    """Say whether what has been written is kept where a write breaks off, to go on with."""
    return not isinstance(place.store, Draft)


def in_memory(store: Store) -> bool:
    """Say whether a store lives in this process, where no other can write to it."""
    if isinstance(store, WrapperStore):
        return in_memory(store._store)  # noqa: SLF001 - that is how wrappers delegate
    return isinstance(store, (MemoryStore, Draft)) or (
        isinstance(store, FsspecStore) and "memory" in np.atleast_1d(store.fs.protocol)
    )


def to_bytes(content: Mapping[str, Any]) -> bytes:
    """Write JSON: with an indent for people to read, unless it is too long for that.

    Only what has no indent is written in C; the properties of a million labels need that.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    if len(text) < _LONG:
        text = json.dumps(content, indent=2, ensure_ascii=False)
    # Halves of characters, which JSON can hold and UTF-8 cannot, are written as JSON has them.
    return text.encode(errors="backslashreplace")


def to_buffer(content: Mapping[str, Any]) -> Buffer:
    """Give metadata as Zarr stores take them."""
    return cpu.Buffer.from_bytes(to_bytes(content))


def write_json(place: Place, file: str, content: Mapping[str, Any], *, fsync: bool = False) -> None:
    """Write a metadata file, as one object."""
    write_bytes(place, file, to_bytes(content), fsync=fsync)


def write_bytes(place: Place, file: str, content: bytes, *, fsync: bool = False) -> None:
    """Write one object of a group; with `fsync` it is on the disk when this returns."""

    async def write() -> None:
        await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
        await place.store.set(place.key(file), cpu.Buffer.from_bytes(content))

    sync(write())
    if fsync:
        _flush(place.store, [place.key(file)])


def flush_chunks(array: zarr.Array[Any], box: Sequence[tuple[int, int]]) -> None:
    """Have the chunks of a part of an array on the disk, where its store is one."""
    sizes = array.shards or array.chunks
    ranges = [range(a // n, -(-b // n)) for (a, b), n in zip(box, sizes, strict=True)]
    _flush(
        array.store,
        [
            f"{array.path}/{array.metadata.encode_chunk_key(index)}".lstrip("/")
            for index in itertools.product(*ranges)
        ],
    )


def flush(place: Place, *keys: str) -> None:
    """Have an object of a group on the disk, where the store is one."""
    _flush(place.store, [place.key(*keys)])


def _flush(store: Store, keys: Iterable[str]) -> None:
    """Have some files on the disk, and the folders that name them; those that are there."""
    if not isinstance(store, LocalStore):
        return
    folders: dict[Path, None] = {}
    for key in keys:
        file = store.root / key
        if file.exists():
            _sync_file(file)
            inner = file.relative_to(store.root).parents
            folders.update(dict.fromkeys(store.root / folder for folder in inner))
    for folder in sorted(folders, key=lambda path: -len(path.parts)):
        _sync_file(folder)


def _sync_file(path: Path) -> None:
    # Windows has no handle of a folder; there, files are enough.
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def list_names(place: Place) -> list[str]:
    """List what lies directly below a group, where the store can."""

    async def collect() -> list[str]:
        return [name.strip("/") async for name in place.store.list_dir(place.path)]

    try:
        return sync(collect()) if place.store.supports_listing else []
    except FileNotFoundError:
        return []
    except (OmeZarrError, PermissionError):
        raise
    except Exception as error:
        msg = f"{place.name} cannot be reached: {type(error).__name__}: {error}"
        raise OmeZarrError(msg) from error


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
    root = _disk(place.store)
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


def leftovers(place: Place, *folders: str) -> list[str]:
    """Give the keys of files that somebody who was interrupted has left half written, on a disk.

    Parameters
    ----------
    place
        A group, directly in which they are looked for.
    folders
        Folders below it, through all of which they are looked for.
    """
    root = _disk(place.store)
    if root is None:
        return []
    here = root / place.path
    found = [path for path in here.glob("*.partial") if _PARTIAL.search(path.name)]
    for folder in folders:
        found += [p for p in (here / folder).rglob("*.partial") if _PARTIAL.search(p.name)]
    return [path.relative_to(root).as_posix() for path in found]


def _disk(store: Store) -> Path | None:
    """Give the folder that a store is, if it is one."""
    if isinstance(store, WrapperStore):
        return _disk(store._store)  # noqa: SLF001 - that is how wrappers delegate
    return store.root if isinstance(store, LocalStore) else None


def delete_folder(place: Place, name: str) -> None:
    """Remove all that lies below a group under a name."""
    sync(delete_tree(place.store, place.key(name)))


async def delete_tree(store: Store, key: str) -> None:
    """Remove all that lies below a key, while somebody else may write or remove there too.

    Whoever goes on writing what has been removed finds that out, and removes what is new.
    """
    for _ in range(_ATTEMPTS):
        try:
            await store.delete_dir(key)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.ENOENT}:
                raise
        else:
            return


def delete_files(place: Place, files: Iterable[str]) -> None:
    """Remove files of a group, one after the other; those that are not there as well."""

    async def delete() -> None:
        for file in files:
            await place.store.delete(place.key(file))

    sync(delete())


def delete_keys(store: Store, keys: Iterable[str]) -> None:
    """Remove files by their keys; those that are not there as well."""

    async def delete() -> None:
        for key in keys:
            await store.delete(key)

    sync(delete())


def describes_array(content: bytes | None) -> bool:
    """Say whether metadata of Zarr v3 are those of an array."""
    try:
        document = json.loads(content or b"{}")
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("node_type") == "array"


def content_of(file: Path) -> bytes | None:
    """Read a local file; None where there is none."""
    try:
        return file.read_bytes()
    except OSError:
        return None
