"""What stands in a store: the attributes of its groups, and files that are read and written.

A place is a group in a store, whether there is anything or not; a node is what stands there. Zarr,
fsspec and the disk are touched here, and in the modules beside this one.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import os
import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zarr.buffer import cpu, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from xarray_omezarr import folders, nodes, spec
from xarray_omezarr.archive import ArchiveStore
from xarray_omezarr.documents import METADATA, METADATA_FILES, join, load_json
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileNotFoundError, warn
from xarray_omezarr.guess import is_archive, local_path
from xarray_omezarr.remote import UnreachedError, failure
from xarray_omezarr.stores import disk_of, in_memory, keeps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import zarr
    from zarr.abc.store import Store
    from zarr.core.buffer import Buffer

    from xarray_omezarr.stores import Place


#: The file that says which datasets are being written; it goes when they are finished.
JOURNAL = ".omezarr.json"
#: The file that says which region of an image is being written.
UPDATES = ".omezarr-update.json"
#: The file that says what is being downloaded, until it is.
DOWNLOAD = ".omezarr-download.json"
#: The file that says what an upgrade is about to do, until it is done.
UPGRADE = ".omezarr-upgrade.json"
#: What is brought to another place, as journals call it, and what goes on with it.
_COPIES = {
    "download": "Download it again: resume=True goes on with it.",
    "conversion": "Convert it again: resume=True goes on with it.",
    "upgrade": "Upgrade it again: the same call goes on with it.",
}
#: The folder of notes on which blocks of an unfinished write are written.
RECORDS = ".omezarr"
#: How often the removal of a folder is tried.
_ATTEMPTS = 4
#: What files on a disk are called until all of them is written.
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial$")
#: Requests in flight at a time.
REQUESTS = 32
#: Metadata of more bytes than this are written without an indent.
_LONG = 2**18


#: What stands at a place.
Node = nodes.Node


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def read_bytes(place: Place, *keys: str) -> list[bytes | None]:
    """Fetch some objects of a group side by side; None for each that is not there."""
    found: list[bytes | None] = []
    for content in read_each(place, keys):
        if isinstance(content, OmeZarrError):
            raise content
        found.append(content)
    return found


def read_each(place: Place, keys: Sequence[str]) -> list[bytes | OmeZarrError | None]:
    """Fetch some objects of a group side by side; what goes wrong with one harms no other."""
    if type(place.store) is LocalStore:
        root = os.path.join(place.store.root, "")  # noqa: PTH118 - the quick way
        return folders.read_each(root, [place.key(key) for key in keys], place.name)
    bound = asyncio.Semaphore(REQUESTS)

    async def get(key: str) -> bytes | OmeZarrError | None:
        async with bound:
            try:
                buffer = await place.store.get(place.key(key), default_buffer_prototype())
            except Exception as error:  # noqa: BLE001 - each store has its own
                return _failure(place, error)
        return None if buffer is None else buffer.to_bytes()

    async def get_all() -> list[bytes | OmeZarrError | None]:
        await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
        return list(await asyncio.gather(*(get(key) for key in keys)))

    try:
        return sync(get_all())
    except Exception as error:  # noqa: BLE001
        return [_failure(place, error)] * len(keys)


@contextmanager
def reached(place: Place) -> Iterator[None]:
    """Say of what goes wrong in a store that is read where that was."""
    try:
        yield
    except Exception as error:
        found = _failure(place, error)
        if found is error:
            raise
        if found is None:
            found = OmeZarrFileNotFoundError(f"There is nothing at {place.name}.")
        raise found from found.__cause__


def _failure(place: Place, error: Exception) -> OmeZarrError | None:
    """Say what went wrong with a request; nothing where there is just nothing there."""
    if isinstance(error, OmeZarrError):
        return error
    # A local store whose folder is not there.
    return None if isinstance(error, FileNotFoundError) else failure(place.name, error)


def read_all(place: Place) -> dict[str, bytes]:
    """Read all that there is in a store, of what fits into memory."""

    async def collect() -> list[str]:
        return [key async for key in place.store.list()]

    keys = sync(collect())
    contents = read_bytes(replace(place, path=""), *keys)
    return {key: found for key, found in zip(keys, contents, strict=True) if found is not None}


def fetch(place: Place) -> Node | None:
    """Read the attributes of a group in one round of two requests; None where there is none."""
    (node,) = fetch_all(place, [""])
    return node


def fetch_all(place: Place, paths: Sequence[str]) -> list[Node | None]:
    """Read the attributes of groups below one, of either format of Zarr, in one round."""
    files = METADATA[3], METADATA[2]
    contents = read_bytes(place, *(join(path, file) for path in paths for file in files))
    return [
        node_of(place.below(path), v3, v2)
        for path, v3, v2 in zip(paths, contents[::2], contents[1::2], strict=True)
    ]


def fetch_with_labels(place: Place) -> tuple[Node | None, Node | None]:
    """Read the attributes of an image's group and of its labels, side by side.

    One round of two requests for Zarr v3, and a second one for Zarr v2.
    """
    folder = place.below("labels")
    v3, labels = read_bytes(place, METADATA[3], f"labels/{METADATA[3]}")
    node = None if v3 is None else node_of(place, v3, None)
    if node is not None and node.kind is not None:
        return with_other(place, node), tolerated(folder, labels, None)
    v2, old_labels = read_bytes(place, METADATA[2], f"labels/{METADATA[2]}")
    return node_of(place, v3, v2), tolerated(folder, labels, old_labels)


def with_other(place: Place, node: Node) -> Node:
    """Say of a group of Zarr v3 whether there are metadata of Zarr v2 as well, if that is cheap."""
    path = local_path(place.name) if place.owned else None
    return replace(node, both=path is not None and (path / METADATA[2]).exists())


def fetch_each(place: Place, names: Sequence[str], zarr_format: int) -> list[Node | OmeZarrError]:
    """Read the attributes of groups below one, side by side; what is missing is an error."""
    contents = read_each(place, [f"{name}/{METADATA[zarr_format]}" for name in names])
    return [
        found or OmeZarrError(f"{place.below(name).name} is missing.")
        for name, found in zip(names, _nodes(place, names, contents, zarr_format), strict=True)
    ]


def fetch_below(
    place: Place, names: Sequence[str], zarr_format: int
) -> list[Node | OmeZarrError | None]:
    """Read the attributes of groups below one, side by side.

    None where there is nothing, an error where that is broken; what cannot be reached is raised.
    """
    contents = read_bytes(place, *(f"{name}/{METADATA[zarr_format]}" for name in names))
    return _nodes(place, names, contents, zarr_format)


def _nodes(
    place: Place,
    names: Sequence[str],
    contents: Sequence[bytes | OmeZarrError | None],
    zarr_format: int,
) -> list[Node | OmeZarrError | None]:
    found: list[Node | OmeZarrError | None] = []
    for name, content in zip(names, contents, strict=True):
        if isinstance(content, OmeZarrError):
            found.append(content)
            continue
        pair = (content, None) if zarr_format == spec.V3 else (None, content)
        try:
            found.append(node_of(place.below(name), *pair))
        except OmeZarrError as error:
            found.append(error)
    return found


def list_groups(place: Place) -> list[str]:
    """List the folders below a group, where that costs next to nothing: on disk and in memory."""
    path = local_path(place.name) if place.owned else None
    if path is not None:
        entries = path.iterdir() if path.is_dir() else ()
        return sorted(e.name for e in entries if e.is_dir() and spec.leads_below(e.name))

    async def collect() -> list[str]:
        # Some stores take any key, "../file" among them.
        names = [name.strip("/") async for name in place.store.list_dir(place.path)]
        return sorted(n for n in names if n not in METADATA_FILES and spec.leads_below(n))

    if not (isinstance(place.store, (LocalStore, ArchiveStore)) or in_memory(place.store)):
        return []
    try:
        return sync(collect()) if place.store.supports_listing else []
    except (OSError, NotImplementedError):
        return []


def tolerated(place: Place, v3: bytes | None, v2: bytes | None) -> Node | None:
    """Read the attributes of a group that may be broken without harm to the image beside it."""
    try:
        return node_of(place, v3, v2)
    except OmeZarrError as error:
        warn(f"{error} The labels are left out.")
        return None


def node_of(place: Place, v3: bytes | None, v2: bytes | None) -> Node | None:
    """Give what the metadata files of a group say; those of Zarr v3 where both say something."""
    return nodes.node_of(place.name, v3, v2)


def parse_json(content: bytes, place: Place, file: str) -> dict[str, Any]:
    """Parse a metadata file, or say which one is broken."""
    return nodes.parse(content, place.name, file)


def nothing_there(place: Place) -> OmeZarrError:
    """Say what is there where there is no group of Zarr, or none that says anything."""
    journal, array, group, v3, copied = read_bytes(
        place, JOURNAL, ".zarray", ".zgroup", METADATA[spec.V3], DOWNLOAD
    )
    if journal is not None or copied is not None:
        return _unfinished(place, journal, copied or b"")
    if array is not None:
        return OmeZarrError(
            f"{place.name} is a Zarr array, not a group. Open the group that it belongs to."
        )
    children = list_children(place)
    inside = f" It holds {', '.join(children[:8])}." if children else ""
    if group is not None or v3 is not None:
        listed = place.store.supports_listing
        way = (
            f"{inside} Name an image, a plate or a series in it by group=."
            if children or not listed
            else " There is nothing in it."
        )
        return OmeZarrError(f"{place.name} is a Zarr group without OME-Zarr metadata.{way}")
    path = local_path(place.name) if place.owned else None
    return OmeZarrFileNotFoundError(_no_group(place.name, path, children, inside))


def _no_group(name: str, path: Path | None, children: Sequence[str], inside: str) -> str:
    """Say what there is, by the names of files alone."""
    if children or (path is not None and path.is_dir()):
        return (
            f"{name} is no Zarr group: there is neither a zarr.json nor a .zattrs.{inside} "
            "Expected the folder of an OME-Zarr image. xarray_omezarr.find tells what is below."
        )
    if path is not None and path.exists():
        return (
            f"{name} is a file; expected the folder or the zip archive of an OME-Zarr image. "
            "xarray_omezarr.scale makes one of a TIFF, PNG or JPEG file."
        )
    above = () if path is None else path.parents
    if archive := next((str(one) for one in above if one.is_file() and is_archive(one)), None):
        rest = name.removeprefix(archive).strip("/")
        return f"{archive} is an archive. Name it, and what is in it by group='{rest}'."
    return (
        f"There is nothing at {name}; expected the group of an OME-Zarr image. Check the path, and "
        "the group, if one was given."
    )


def list_children(place: Place) -> list[str]:
    """List what lies directly below a group, where the store can; nothing where it cannot."""

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


def _unfinished(place: Place, journal: bytes | None, copied: bytes) -> OmeZarrError:
    """Say what is under way at a place, by its journal; or by that of a copy."""
    if journal is None:
        what = next((one for one in _COPIES if f'"{one}"'.encode() in copied), "download")
        return OmeZarrError(
            f"{place.name} is an unfinished {what}: it was interrupted, or is still under way. "
            f"{_COPIES[what]}"
        )
    if b'"layout"' in journal:
        return OmeZarrError(
            f"{place.name} has been laid out, and not all of it is written yet. It can be opened "
            "once regions (to_zarr(region=…)) have covered it."
        )
    return OmeZarrError(
        f"{place.name} is unfinished: a write of this image was interrupted, or is still under "
        "way. Write it again: resume=True goes on with it, without that it is begun anew."
    )


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Say of what goes wrong in a store that is written to where that was, and the way out."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OmeZarrError) and not isinstance(error, UnreachedError):
            raise
        if isinstance(error, PermissionError):
            raise failure(place.name, error) from error
        kept = ": resume=True keeps what has been written already" if keeps(place) else ""
        msg = (
            f"{place.name} could not be written to: {type(error).__name__}: {error}. Once that "
            f"is mended, write again{kept}."
        )
        raise OmeZarrError(msg) from (error.__cause__ if isinstance(error, OmeZarrError) else error)


# ── files ────────────────────────────────────────────────────────────────────────────────────────


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
        with reached(place):
            return sync(collect()) if place.store.supports_listing else []
    except FileNotFoundError:
        return []


def leftovers(place: Place, *folders: str) -> list[str]:
    """Give the keys of files that somebody who was interrupted has left half written, on a disk.

    Parameters
    ----------
    place
        A group, directly in which they are looked for.
    folders
        Folders below it, through all of which they are looked for.
    """
    root = disk_of(place.store)
    if root is None:
        return []
    here = root / place.path
    found = [path for path in here.glob("*.partial") if _PARTIAL.search(path.name)]
    for folder in folders:
        found += [p for p in (here / folder).rglob("*.partial") if _PARTIAL.search(p.name)]
    return [path.relative_to(root).as_posix() for path in found]


def is_leftover(key: str) -> bool:
    """Say whether a file is one that was left half written, or a note of a write."""
    return bool(_PARTIAL.search(key)) or RECORDS in key.split("/")


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
        document = load_json(content or b"{}")
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("node_type") == "array"


def content_of(file: Path) -> bytes | None:
    """Read a local file; None where there is none."""
    try:
        return file.read_bytes()
    except OSError:
        return None
