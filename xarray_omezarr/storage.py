"""Zarr, fsspec and the disk: no other file touches them.

An image is written in one way on every store. A journal beside the arrays says what is under way;
arrays go to paths that no dataset has; one write of the group's metadata makes them the image; what
they supersede is removed after that, and the journal last. Whatever interrupts this, the old image
or the new one is there whole, and an image that was never finished has no metadata to be opened by.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import zarr
from xarray.backends.zarr import ZarrArrayWrapper
from xarray.core.indexing import LazilyIndexedArray
from zarr.abc.store import Store
from zarr.buffer import cpu, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import (
    FsspecStore,
    LocalStore,
    MemoryStore,
    StorePath,
    WrapperStore,
    ZipStore,
)

from xarray_omezarr import spec
from xarray_omezarr.errors import (
    OmeZarrError,
    OmeZarrFileExistsError,
    OmeZarrFileNotFoundError,
    OmeZarrWarning,
)
from xarray_omezarr.guess import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from xarray_omezarr.pyramid import Plan

T = TypeVar("T")

#: The file that says which datasets are being written; it goes when they are finished.
JOURNAL = ".omezarr.json"
#: Metadata shorter than this are laid out for people; the properties of many labels are not.
_READABLE = 2**20
#: Requests in flight at a time.
REQUESTS = 32

#: Metadata of more bytes than this are written without an indent.
_LONG = 2**18

_METADATA = {2: ".zattrs", 3: "zarr.json"}
_ARRAY_METADATA = {2: ".zarray", 3: "zarr.json"}
_METADATA_FILES = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})


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
    """Find the store that an argument names, without a request to it.

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
    if path is not None:
        if storage_options:
            msg = f"storage_options are for URLs; {target} is a local path. Leave them out."
            raise OmeZarrError(msg)
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


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def read_bytes(place: Place, *keys: str) -> list[bytes | None]:
    """Fetch some objects of a group side by side; None for each that is not there."""

    async def get(key: str) -> bytes | None:
        buffer = await place.store.get(place.key(key), default_buffer_prototype())
        return None if buffer is None else buffer.to_bytes()

    async def get_all() -> list[bytes | None]:
        await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
        return list(await asyncio.gather(*(get(key) for key in keys)))

    try:
        return sync(get_all())
    except FileNotFoundError:
        # A local store whose folder is not there.
        return [None] * len(keys)
    except (OmeZarrError, PermissionError):
        raise
    except Exception as error:
        msg = f"{place.name} cannot be reached: {type(error).__name__}: {error}"
        raise OmeZarrError(msg) from error


def fetch(place: Place) -> Node | None:
    """Read the attributes of a group in one round of two requests; None where there is none."""
    v3, v2 = read_bytes(place, _METADATA[3], _METADATA[2])
    return _node(place, v3, v2)


def fetch_with_labels(place: Place) -> tuple[Node | None, Node | None]:
    """Read the attributes of an image's group and of its labels, side by side.

    One round of two requests for Zarr v3, and a second one for Zarr v2.
    """
    folder = place.below("labels")
    v3, labels = read_bytes(place, _METADATA[3], f"labels/{_METADATA[3]}")
    node = None if v3 is None else _node(place, v3, None)
    if node is not None and node.kind is not None:
        path = local_path(place.name) if place.owned else None
        both = path is not None and (path / _METADATA[2]).exists()
        return replace(node, both=both), _tolerated(folder, labels, None)
    v2, old_labels = read_bytes(place, _METADATA[2], f"labels/{_METADATA[2]}")
    return _node(place, v3, v2), _tolerated(folder, labels, old_labels)


def fetch_each(place: Place, names: Sequence[str], zarr_format: int) -> list[Node | OmeZarrError]:
    """Read the attributes of groups below one, side by side; what is missing is an error."""
    contents = read_bytes(place, *(f"{name}/{_METADATA[zarr_format]}" for name in names))
    found: list[Node | OmeZarrError] = []
    for name, content in zip(names, contents, strict=True):
        inner = place.below(name)
        pair = (content, None) if zarr_format == spec.V3 else (None, content)
        try:
            found.append(_node(inner, *pair) or OmeZarrError(f"{inner.name} is missing."))
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
        return sorted(name for name in names if name and name not in _METADATA_FILES)

    if not (isinstance(place.store, LocalStore) or in_memory(place.store)):
        return []
    try:
        return sync(collect()) if place.store.supports_listing else []
    except (OSError, NotImplementedError):
        return []


def _tolerated(place: Place, v3: bytes | None, v2: bytes | None) -> Node | None:
    """Read the attributes of a group that may be broken without harm to the image beside it."""
    try:
        return _node(place, v3, v2)
    except OmeZarrError as error:
        warnings.warn(f"{error} The labels are left out.", OmeZarrWarning, stacklevel=4)
        return None


def _node(place: Place, v3: bytes | None, v2: bytes | None) -> Node | None:
    if v3 is not None:
        document = _parse(v3, place, _METADATA[3])
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
        document = _parse(v2, place, _METADATA[2])
        return Node(document, 2, v3 is not None, document)
    return None


def _parse(content: bytes, place: Place, file: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        msg = f"{place.name}/{file} is no valid JSON: {error}. The file must be mended or restored."
        raise OmeZarrError(msg) from error
    if not isinstance(document, dict):
        msg = f"{place.name}/{file} holds {document!r:.80}; expected a JSON object."
        raise OmeZarrError(msg)
    return document


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
        raise _nothing(place)
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


def _nothing(place: Place) -> OmeZarrError:
    """Say what is there where there is no group of Zarr."""
    journal, array, group = read_bytes(place, JOURNAL, ".zarray", ".zgroup")
    if journal is not None:
        return OmeZarrError(
            f"{place.name} is unfinished: a write of this image was interrupted, or is still under "
            "way. Write it again (mode='w-' takes an unfinished image for none)."
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
        metadata = place.key(path, _ARRAY_METADATA[zarr_format])
        try:
            return zarr.open_array(
                _WatchedStore(place.store, metadata, f"{place.name}/{path}"),
                path=place.key(path),
                mode="r",
                zarr_format=zarr_format,  # type: ignore[arg-type]
            )
        except FileNotFoundError:
            return OmeZarrFileNotFoundError(
                f"{place.name}: the array of dataset '{path}' is missing, though the metadata name "
                "it. Copy the image again, or open another level."
            )
        except Exception as error:  # noqa: BLE001 - whatever the metadata of an array provoke
            return OmeZarrError(
                f"{place.name}/{path}/{_ARRAY_METADATA[zarr_format]} describes no array that can "
                f"be opened: {error}. It must be mended or restored; other levels may open."
            )

    if len(paths) == 1:
        return [open_one(paths[0])]
    with ThreadPoolExecutor(min(REQUESTS, len(paths))) as pool:
        return list(pool.map(open_one, paths))


class _WatchedStore(WrapperStore[Store]):
    """A store of one array, that raises where the array is gone.

    A chunk that is not there reads as fill values; but so would all chunks of an array that was
    removed when its image was replaced. Only where a chunk is absent is the array looked for.
    """

    def __init__(self, store: Store, metadata: str, name: str) -> None:
        super().__init__(store)
        self._metadata = metadata
        self._name = name

    def _with_store(self, store: Store) -> _WatchedStore:
        return _WatchedStore(store, self._metadata, self._name)

    def _is_chunk(self, key: str) -> bool:
        return key.rpartition("/")[2] not in _METADATA_FILES

    def _gone(self) -> OmeZarrError:
        return OmeZarrFileNotFoundError(
            f"{self._name} is no longer there: the image was replaced or removed after it had been "
            "opened. Open it again."
        )

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        value = await self._store.get(key, prototype, byte_range)
        if value is None and self._is_chunk(key) and not await self._store.exists(self._metadata):
            raise self._gone()
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
            raise self._gone()
        return value


class _NativeArray(ZarrArrayWrapper):
    """xarray's wrapper of a Zarr array, whose values come in native byte order."""

    __slots__ = ()

    def __init__(self, array: zarr.Array[Any]) -> None:
        super().__init__(array)  # type: ignore[no-untyped-call]
        self.dtype = self.dtype.newbyteorder("=")

    def __getitem__(self, key: object) -> np.ndarray[Any, Any]:
        values = super().__getitem__(key)  # type: ignore[no-untyped-call]
        return np.asarray(values, dtype=self.dtype)

    async def async_getitem(self, key: object) -> np.ndarray[Any, Any]:
        values = await super().async_getitem(key)  # type: ignore[no-untyped-call]
        return np.asarray(values, dtype=self.dtype)


def lazy(array: zarr.Array[Any]) -> LazilyIndexedArray:
    """Wrap an array for xarray's own lazy indexing; values come in native byte order."""
    return LazilyIndexedArray(_NativeArray(array))


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


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Target:
    """A place that an image is being written to."""

    place: Place
    zarr_format: int
    token: str
    """Names this write; in the journal it says whose the target is."""
    paths: tuple[str, ...]
    """The paths of the datasets to be written, which no dataset had before."""
    superseded: tuple[str, ...]
    """The paths of arrays that go when this write is finished."""
    before: tuple[bytes | None, bytes | None]
    """The metadata files that were there when the write began."""
    journal: bytes | None
    """The journal that was there."""
    attributes: Mapping[str, Any]
    """Attributes of the group that are not OME-Zarr's, and stay."""


def prepare(place: Place, *, mode: str, zarr_format: int, levels: int, label: bool) -> Target:
    """Look at a place for an image of so many levels, and touch nothing.

    Raises
    ------
    OmeZarrFileExistsError
        Where there is something that the mode does not allow to replace.
    """
    if mode not in ("w-", "w"):
        msg = f"mode={mode!r} is not known; expected 'w-' (refuse what exists) or 'w' (replace)."
        raise OmeZarrError(msg)
    _check_writable(place)
    v3, v2, journal = read_bytes(place, _METADATA[3], _METADATA[2], JOURNAL)
    try:
        node = None if v3 is None and v2 is None else _node(place, v3, v2)
        unfinished = _journalled(place, journal)
    except OmeZarrError as error:
        msg = f"{error} It was left untouched."
        raise OmeZarrFileExistsError(msg) from error
    _check_replaceable(place, node, mode, unfinished=journal is not None, label=label)
    if node is not None and not label and spec.image_label(node.attributes, node.zarr_format):
        msg = f"{place.name} is a label image, which no image replaces. It was left untouched."
        raise OmeZarrFileExistsError(msg)
    # Plain numbers where there is nothing; with the token of this write where anything else is, or
    # may still be written by somebody else.
    token = secrets.token_hex(4)
    fresh = node is None and journal is None
    return Target(
        place=place,
        zarr_format=zarr_format,
        token=token,
        paths=tuple(str(i) if fresh else f"{i}-{token}" for i in range(levels)),
        superseded=tuple(dict.fromkeys([*_dataset_paths(node), *unfinished])),
        before=(v3, v2),
        journal=journal,
        attributes=_foreign_attributes(place, node, v3),
    )


def _journalled(place: Place, journal: bytes | None) -> list[str]:
    """Read what a write that did not finish has left: paths below the group, and nothing else."""
    found = {} if journal is None else _parse(journal, place, JOURNAL)
    paths = [path for key in ("paths", "superseded") for path in found.get(key) or ()]
    return [spec.check_path(path, f"{place.name}/{JOURNAL}: a path") for path in paths]


def claim(target: Target) -> None:
    """Enter a write into the journal of its place.

    Raises
    ------
    OmeZarrError
        Where somebody else was first.
    """
    place = target.place
    entry = {
        "write": target.token,
        "paths": list(target.paths),
        "superseded": list(target.superseded),
    }
    if target.journal is not None:
        _write_json(place, JOURNAL, entry)
        return

    async def enter() -> None:
        await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
        await place.store.set_if_not_exists(place.key(JOURNAL), _buffer(entry))

    sync(enter())
    if not _holds(target):
        raise _taken(place)


def _holds(target: Target) -> bool:
    """Say whether the journal of a place still names this write."""
    (journal,) = read_bytes(target.place, JOURNAL)
    if journal is None:
        return False
    return _parse(journal, target.place, JOURNAL).get("write") == target.token


def _taken(place: Place) -> OmeZarrError:
    return OmeZarrError(
        f"{place.name} was written to by somebody else while this image was being written; "
        "what they wrote stands. Write again, or to another path."
    )


def _check_writable(place: Place) -> None:
    """Refuse a store that takes nothing, a file, and the inside of an array."""
    if place.store.read_only:
        msg = f"{place.name} is read-only. Open the store for writing."
        raise OmeZarrError(msg)
    path = local_path(place.name) if place.owned else None
    if path is not None and path.exists() and not path.is_dir():
        msg = f"{path} exists and is a file; it was left untouched. Write to another path."
        raise OmeZarrFileExistsError(msg)
    for folder in () if path is None else path.absolute().parents:
        if (folder / ".zarray").exists() or _describes_array(_content(folder / "zarr.json")):
            raise _inside_array(place, str(folder))
    parts = place.path.split("/")
    for depth in range(len(parts) if place.path and path is None else 0):
        above = replace(place, path="/".join(parts[:depth]))
        v2, v3 = read_bytes(above, ".zarray", "zarr.json")
        if v2 is not None or _describes_array(v3):
            raise _inside_array(place, above.path or str(place.store))


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def _describes_array(content: bytes | None) -> bool:
    """Say whether metadata of Zarr v3 are those of an array."""
    try:
        document = json.loads(content or b"{}")
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("node_type") == "array"


def _inside_array(place: Place, array: str) -> OmeZarrFileExistsError:
    msg = f"{place.name} lies within the Zarr array {array}. Write to a path outside of it."
    return OmeZarrFileExistsError(msg)


def _check_replaceable(
    place: Place, node: Node | None, mode: str, *, unfinished: bool, label: bool
) -> None:
    if node is not None and node.kind == "image":
        if mode == "w":
            return
        way = (
            "Use overwrite_labels=True to replace the label image."
            if label
            else "Write to another path, or use mode='w' to replace the image."
        )
        msg = f"{place.name} exists. {way}"
        raise OmeZarrFileExistsError(msg)
    if node is None and (unfinished or not _anything(place)):
        return
    found = "something else" if node is None or node.kind is None else f"a {node.kind}"
    msg = (
        f"{place.name} exists and is no OME-Zarr image but {found}; it was left untouched. "
        "Write to another path, or remove it yourself: an image replaces only an image."
    )
    raise OmeZarrFileExistsError(msg)


def _anything(place: Place) -> bool:
    """Say whether there is anything at a place that has no group's metadata."""
    path = local_path(place.name) if place.owned else None
    if path is not None:
        return path.exists() and (not path.is_dir() or any(path.iterdir()))
    prefix = f"{place.path}/" if place.path else ""

    async def find() -> bool:
        async for _ in place.store.list_prefix(prefix):
            return True
        return False

    return place.store.supports_listing and sync(find())


def _dataset_paths(node: Node | None) -> list[str]:
    if node is None:
        return []
    image = spec.parse_image(
        node.attributes, zarr_format=node.zarr_format, place="", warn=lambda _: None
    )
    return [level.path for level in image.levels]


def _foreign_attributes(place: Place, node: Node | None, v3: bytes | None) -> dict[str, Any]:
    """Give the attributes of a group that are not OME-Zarr's."""
    if node is None:
        return {}
    besides: dict[str, Any] = {}
    if node.zarr_format == spec.V2 and v3 is not None:
        # A group of Zarr v3 that says nothing of OME-Zarr may say something else.
        besides = _parse(v3, place, _METADATA[3]).get("attributes") or {}
    ome = spec.ome_attributes(node.attributes, node.zarr_format)
    own = {"ome"} if ome is not node.attributes else {"multiscales", "omero"}
    return besides | {key: value for key, value in node.attributes.items() if key not in own}


def array_metadata(plan: Plan, number: int, zarr_format: int, codecs: Mapping[str, Any]) -> bytes:
    """Describe the array of one level, as its metadata file will.

    Raises
    ------
    OmeZarrError
        Where Zarr cannot store it like that.
    """
    layout = plan.levels[number]
    v3 = zarr_format == spec.V3
    try:
        # Zarr makes groups of all that lies above a new array, which would put an empty group
        # where there shall be none before the commit. So it makes the array elsewhere.
        scratch = zarr.create_array(
            MemoryStore(),
            shape=layout.shape,
            dtype=plan.dtype.newbyteorder("="),
            chunks=layout.chunks,
            shards=layout.shards,
            fill_value=0,
            zarr_format=zarr_format,  # type: ignore[arg-type]
            # 0.4 keeps its chunks in nested folders, which is not what Zarr v2 does by itself.
            chunk_key_encoding=None if v3 else {"name": "v2", "separator": "/"},
            # 0.5: "`dimension_names` MUST match the names in the axes metadata".
            dimension_names=list(plan.dims) if v3 else None,
            **codecs,
        )
    except (TypeError, ValueError, KeyError) as error:
        msg = (
            f"An array of {plan.dtype} cannot be stored in Zarr v{zarr_format} with {codecs}: "
            f"{error}. Expected codecs as that format takes them, like zarr.codecs.ZstdCodec() for "
            "version 0.5 and numcodecs.Zstd() for 0.4."
        )
        raise OmeZarrError(msg) from error

    async def get() -> bytes:
        content = await scratch.store.get(_ARRAY_METADATA[zarr_format], default_buffer_prototype())
        assert content is not None  # noqa: S101 - it was written just now
        return content.to_bytes()

    return sync(get())


def create_arrays(target: Target, metadata: Sequence[bytes]) -> list[zarr.Array[Any]]:
    """Create the empty arrays of an image's levels."""
    place, file = target.place, _ARRAY_METADATA[target.zarr_format]

    async def put_all() -> None:
        await asyncio.gather(
            *(
                place.store.set(place.key(path, file), cpu.Buffer.from_bytes(content))
                for path, content in zip(target.paths, metadata, strict=True)
            )
        )

    sync(put_all())
    return [
        zarr.open_array(
            place.store,
            path=place.key(path),
            mode="r+",
            zarr_format=target.zarr_format,  # type: ignore[arg-type]
        )
        for path in target.paths
    ]


def default_compressor(zarr_format: int) -> object:
    """Give the codec that images are written with, unless another is asked for.

    Blosc with LZ4 after a shuffle of bits: on microscopy it packs tighter than Zarr's own default,
    Zstandard without shuffle, at ten times its rate, and every reader of OME-Zarr knows it.
    """
    if zarr_format == spec.V3:
        from zarr.codecs import BloscCodec

        return BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
    from numcodecs import Blosc  # type: ignore[import-untyped]

    return Blosc(cname="lz4", clevel=5, shuffle=Blosc.BITSHUFFLE)


def in_memory(store: Store) -> bool:
    """Say whether a store lives in the memory of this process, where no other can write to it."""
    if isinstance(store, WrapperStore):
        return in_memory(store._store)  # noqa: SLF001 - that is how wrappers delegate
    return isinstance(store, MemoryStore) or (
        isinstance(store, FsspecStore) and "memory" in np.atleast_1d(store.fs.protocol)
    )


def commit(target: Target, attributes: Mapping[str, Any]) -> None:
    """Make the arrays of a target the image, in one write, and remove what they supersede.

    Raises
    ------
    OmeZarrError
        Where somebody else has written to the place meanwhile; theirs stands.
    """
    place = target.place
    v3, v2 = read_bytes(place, _METADATA[3], _METADATA[2])
    if (v3, v2) != target.before or not _holds(target):
        # Arrays with this write's token in their path are nobody else's.
        own = [path for path in target.paths if target.token in path]
        remove_arrays(place, own, {target.zarr_format})
        raise _taken(place)
    ensure_parents(place, target.zarr_format)
    merged = {**target.attributes, **attributes}
    old_format = 3 if v3 is not None else 2
    if target.zarr_format == spec.V3:
        _write_json(
            place, "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": merged}
        )
        # The attributes last, by which the next write would know that something is left.
        _delete(place, (".zmetadata", ".zgroup", ".zattrs") if v2 is not None else ())
    else:
        # Consolidated metadata of the old image would lead readers of the new one astray.
        _delete(place, (".zmetadata",))
        _write_json(place, ".zgroup", {"zarr_format": 2})
        _write_json(place, ".zattrs", merged)
        # As long as there are metadata of v3, these are what is read: this is the commit.
        _delete(place, ("zarr.json",) if v3 is not None else ())
    remove_arrays(place, target.superseded, {old_format, target.zarr_format})
    _delete(place, (JOURNAL,))


def label_paths(place: Place) -> list[str]:
    """Give the label images that an image has; none where there is no image."""
    try:
        _, folder = fetch_with_labels(place)
    except OmeZarrError:
        return []
    if folder is None:
        return []
    return spec.label_names(
        folder.attributes, folder.zarr_format, place=place.name, warn=lambda _: None
    )


def list_label(target: Target) -> None:
    """Enter a label image into the list of its image's labels, if it lies below one."""
    _, found, name = f"/{target.place.path}".rpartition("/labels/")
    if not found:
        return
    image = _image_of(target, name)
    listed = label_paths(image)
    _write_labels(image, listed if name in listed else [*listed, name], target.zarr_format)


def drop_labels(target: Target, names: Sequence[str]) -> None:
    """Remove label images: from the list first, so that nobody looks for what goes."""
    place = target.place
    listed = [name for name in label_paths(place) if name not in names]
    _write_labels(place, listed, target.zarr_format)
    for name in names:
        inner = place.below("labels", name)
        node = fetch(inner)
        if node is not None:
            _delete(inner, _METADATA_FILES)
            remove_arrays(inner, _dataset_paths(node), (spec.V2, spec.V3))


def _image_of(target: Target, name: str) -> Place:
    inner = f"labels/{name}"
    place = target.place
    path = place.path.removesuffix(inner).rstrip("/")
    return replace(place, path=path, name=place.name.removesuffix(inner).rstrip("/"))


def _write_labels(image: Place, names: Sequence[str], zarr_format: int) -> None:
    """Write the list of an image's labels, in this format of Zarr and in no other."""
    place = image.below("labels")
    version = next(v for v, f in spec.ZARR_FORMATS.items() if f == zarr_format)
    node = fetch(place)
    attributes = spec.labels_attributes({} if node is None else node.attributes, names, version)
    if not names:
        _delete(place, _METADATA_FILES)
    elif zarr_format == spec.V3:
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        _write_json(place, "zarr.json", group)
        _delete(place, (".zmetadata", ".zgroup", ".zattrs"))
    else:
        _write_json(place, ".zgroup", {"zarr_format": 2})
        _write_json(place, ".zattrs", attributes)
        _delete(place, ("zarr.json", ".zmetadata"))


def remove_arrays(place: Place, paths: Sequence[str], formats: Iterable[int]) -> None:
    """Remove arrays, their metadata first: without these, nobody takes missing chunks for zeros.

    What has turned out to be a group, whatever the metadata of an image said of it, stays.
    """

    async def remove(path: str) -> None:
        group = await place.store.get(place.key(path, "zarr.json"), default_buffer_prototype())
        if (group is not None and not _describes_array(group.to_bytes())) or (
            await place.store.exists(place.key(path, ".zgroup"))
        ):
            return
        for zarr_format in formats:
            await place.store.delete(place.key(path, _ARRAY_METADATA[zarr_format]))
        await place.store.delete_dir(place.key(path))

    async def remove_all() -> None:
        await asyncio.gather(*(remove(path) for path in paths))

    sync(remove_all())


def ensure_parents(place: Place, zarr_format: int) -> None:
    """Make plain groups of the groups above a place, where they are none yet."""

    async def ensure(path: str) -> None:
        keys = [f"{path}/{file}".lstrip("/") for file in ("zarr.json", ".zgroup")]
        if not any([await place.store.exists(key) for key in keys]):
            content: dict[str, Any] = {"zarr_format": zarr_format}
            if zarr_format == spec.V3:
                content.update(node_type="group", attributes={})
            key = keys[0] if zarr_format == spec.V3 else keys[1]
            await place.store.set_if_not_exists(key, _buffer(content))

    async def ensure_all() -> None:
        parts = place.path.split("/")[:-1] if place.path else []
        for depth in range(len(parts) + 1 if place.path else 0):
            await ensure("/".join(parts[:depth]))

    sync(ensure_all())


def to_bytes(content: Mapping[str, Any]) -> bytes:
    """Write JSON: with an indent for people to read, unless it is too long for that.

    Only what has no indent is written in C; the properties of a million labels need that.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    if len(text) < _LONG:
        text = json.dumps(content, indent=2, ensure_ascii=False)
    return text.encode()


def _buffer(content: Mapping[str, Any]) -> Buffer:
    return cpu.Buffer.from_bytes(to_bytes(content))


def _write_json(place: Place, file: str, content: Mapping[str, Any]) -> None:
    async def write() -> None:
        await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
        await place.store.set(place.key(file), _buffer(content))

    sync(write())


def _delete(place: Place, files: Iterable[str]) -> None:
    async def delete() -> None:
        for file in files:
            await place.store.delete(place.key(file))

    sync(delete())


# ── metadata alone ───────────────────────────────────────────────────────────────────────────────


def metadata_key(place: Place, zarr_format: int) -> str:
    """Give the key of the file that the attributes of a group stand in."""
    return place.key(_METADATA[zarr_format])


def check_replaceable(place: Place) -> None:
    """Check that files of a store can be replaced.

    Raises
    ------
    OmeZarrError
        Where the store is for reading only, or an archive.
    """
    store = place.store
    while isinstance(store, WrapperStore):
        store = store._store  # noqa: SLF001 - that is how wrappers delegate
    if isinstance(store, ZipStore):
        msg = (
            f"{place.name} is an archive, in which no file can be replaced; nothing was changed. "
            "Unpack it first."
        )
        raise OmeZarrError(msg)
    if place.store.read_only:
        msg = (
            f"{place.name} is opened for reading only; nothing was changed. Give its path, or "
            "open the store for writing."
        )
        raise OmeZarrError(msg)


def replace_files(store: Store, files: Mapping[str, bytes]) -> dict[str, Exception]:
    """Replace some files of a store, each as a whole.

    Local files are written beside the old ones and renamed, objects are put in one request: a
    reader gets the old one or the new one. After a failure nothing more is begun.

    Returns
    -------
    dict of str to Exception
        What went wrong, for each file that was not replaced.
    """
    failed: dict[str, Exception] = {}
    skipped = OmeZarrError("not begun, after another file had failed")

    async def put(key: str, content: bytes) -> None:
        if failed:
            failed[key] = skipped
            return
        try:
            await store.set(key, cpu.Buffer.from_bytes(content))
        except Exception as error:  # noqa: BLE001 - whatever a store raises; the caller says it
            failed[key] = error

    async def put_all() -> None:
        await store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
        keys = list(files)
        for start in range(0, len(keys), REQUESTS):
            await asyncio.gather(*(put(key, files[key]) for key in keys[start : start + REQUESTS]))

    sync(put_all())
    return failed


def read_file(target: str | os.PathLike[str], storage_options: Mapping[str, Any] | None) -> bytes:
    """Read a file that is no part of a store, unpacked if its name says that it is compressed.

    Raises
    ------
    OmeZarrFileNotFoundError
        Where there is none.
    OmeZarrError
        Where it cannot be read.
    """
    import fsspec

    path = local_path(target)
    name = os.fspath(target) if path is None else str(path)
    try:
        with fsspec.open(name, "rb", compression="infer", **(storage_options or {})) as file:
            content: bytes = file.read()
    except FileNotFoundError as error:
        msg = f"There is no file {name}. Check the path."
        raise OmeZarrFileNotFoundError(msg) from error
    except Exception as error:
        msg = f"{name} cannot be read: {type(error).__name__}: {error}"
        raise OmeZarrError(msg) from error
    return content


def nothing(place: Place) -> OmeZarrError:
    """Say what is there where there is no group of Zarr."""
    return _nothing(place)


def refresh_consolidated(place: Place, paths: Sequence[str], zarr_format: int) -> None:
    """Tell the consolidated metadata above some groups what their attributes are now.

    Without this, a reader that goes by them would see the old ones. They are those of this place,
    and of the groups between it and the others.
    """
    below: dict[str, list[str]] = {}
    for path in paths:
        inner = path.removeprefix(place.path).strip("/").split("/")
        for depth in range(len(inner) if inner != [""] else 0):
            below.setdefault(place.key(*inner[:depth]), []).append(path)
    root, file = replace(place, path=""), ".zmetadata" if zarr_format == spec.V2 else "zarr.json"
    parents = list(below)
    for start in range(0, len(parents), REQUESTS):
        some = parents[start : start + REQUESTS]
        keys = [root.key(parent, file) for parent in some]
        for parent, key, content in zip(some, keys, read_bytes(root, *keys), strict=True):
            if content is not None and b"metadata" in content:
                _refresh(root, key, json.loads(content), below[parent], v2=zarr_format == spec.V2)


def _refresh(
    root: Place, key: str, document: dict[str, Any], paths: Sequence[str], *, v2: bool
) -> None:
    parent = key.rpartition("/")[0]
    entries = (document if v2 else document.get("consolidated_metadata") or {}).get("metadata", {})
    names = {path: path.removeprefix(parent).strip("/") for path in paths}
    names = {path: f"{name}/.zattrs" if v2 else name for path, name in names.items()}
    listed = [path for path, name in names.items() if name in entries]
    if not listed:
        return
    contents = read_bytes(root, *(root.key(path, _METADATA[2 if v2 else 3]) for path in listed))
    for path, content in zip(listed, contents, strict=True):
        found = {} if content is None else json.loads(content)
        if v2:
            entries[names[path]] = found
        else:
            entries[names[path]]["attributes"] = found.get("attributes", {})
    for error in replace_files(root.store, {key: to_bytes(document)}).values():
        msg = f"{key} could not be updated: {type(error).__name__}: {error}"
        raise OmeZarrError(msg) from error
