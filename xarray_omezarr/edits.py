"""Metadata that change on their own: files are replaced whole, and nothing else is touched."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zarr.buffer import cpu
from zarr.core.sync import sync
from zarr.storage import ZipStore

from xarray_omezarr import documents, spec, storage
from xarray_omezarr.documents import load_json
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileNotFoundError
from xarray_omezarr.guess import local_path
from xarray_omezarr.wrappers import innermost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zarr.abc.store import Store

    from xarray_omezarr.stores import Place


def metadata_key(place: Place, zarr_format: int) -> str:
    """Give the key of the file that the attributes of a group stand in."""
    return place.key(documents.METADATA[zarr_format])


def check_replaceable(place: Place) -> None:
    """Check that files of a store can be replaced.

    Raises
    ------
    OmeZarrError
        Where the store is for reading only, or an archive.
    """
    if isinstance(innermost(place.store), ZipStore):
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
        for start in range(0, len(keys), storage.REQUESTS):
            await asyncio.gather(
                *(put(key, files[key]) for key in keys[start : start + storage.REQUESTS])
            )

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


def refresh_consolidated(place: Place, paths: Sequence[str], zarr_format: int) -> None:
    """Tell the consolidated metadata above some groups what their attributes are now.

    Without this, a reader that goes by them would see the old ones. They are those of this place,
    and of the groups between it and the others.
    """
    below: dict[str, list[str]] = {}
    for path in paths:
        inner = path.removeprefix(place.path).strip("/").split("/")
        # Zarr v2 sums up the attributes of the group itself, too.
        own = int(zarr_format == spec.V2)
        for depth in range(len(inner) if inner != [""] else own):
            below.setdefault(place.key(*inner[:depth]), []).append(path)
    root, file = replace(place, path=""), ".zmetadata" if zarr_format == spec.V2 else "zarr.json"
    parents = list(below)
    for start in range(0, len(parents), storage.REQUESTS):
        some = parents[start : start + storage.REQUESTS]
        keys = [root.key(parent, file) for parent in some]
        for parent, key, content in zip(some, keys, storage.read_bytes(root, *keys), strict=True):
            if content is not None and b"metadata" in content:
                _refresh(root, key, load_json(content), below[parent], v2=zarr_format == spec.V2)


def _refresh(
    root: Place, key: str, document: dict[str, Any], paths: Sequence[str], *, v2: bool
) -> None:
    parent = key.rpartition("/")[0]
    entries = (document if v2 else document.get("consolidated_metadata") or {}).get("metadata", {})
    names = {path: path.removeprefix(parent).strip("/") for path in paths}
    names = {path: f"{name}/.zattrs".lstrip("/") if v2 else name for path, name in names.items()}
    listed = [path for path, name in names.items() if name in entries]
    if not listed:
        return
    contents = storage.read_bytes(
        root, *(root.key(path, documents.METADATA[2 if v2 else 3]) for path in listed)
    )
    for path, content in zip(listed, contents, strict=True):
        found = {} if content is None else load_json(content)
        if v2:
            entries[names[path]] = found
        else:
            entries[names[path]]["attributes"] = found.get("attributes", {})
    for error in replace_files(root.store, {key: storage.to_bytes(document)}).values():
        msg = f"{key} could not be updated: {type(error).__name__}: {error}"
        raise OmeZarrError(msg) from error
