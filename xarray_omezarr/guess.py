"""What an argument may hold, told without Zarr and without a network.

Every `xr.open_dataset` without an engine asks this, whatever it is about to open: so it has to be
quick, must not fail, and claims only what this package alone can read.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from xarray_omezarr import spec, zips

if TYPE_CHECKING:
    from collections.abc import Callable

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::.*)?://|[A-Za-z][A-Za-z0-9+.-]+::")
#: What the names of archives end in; ".ozx" is that of RFC-9.
_ARCHIVES = (".zip", ".ozx")


def local_path(target: object) -> Path | None:
    """Give the local path that an argument names; None for URLs and for anything else."""
    if isinstance(target, os.PathLike):
        target = os.fspath(target)
    if not isinstance(target, str):
        return None
    if target.startswith(("file://", "local://")):
        return Path(unquote(urlsplit(target).path))
    if _URL.match(target):
        return None
    try:
        return Path(target).expanduser()
    except RuntimeError:
        # There is no such user, so that this is no home of anybody, but a name like any other.
        return Path(target)


def is_archive(target: object) -> bool:
    """Say whether a path or a URL is that of a zip archive; a folder of such a name is none.

    Examples
    --------
    >>> is_archive("image.ozx"), is_archive("https://host/image.zip?id=2"), is_archive("a.zarr")
    (True, True, False)
    """
    path = local_path(target)
    if path is not None:
        return path.suffix.lower() in _ARCHIVES and not path.is_dir()
    if not isinstance(target, str):
        return False
    # What is in an archive can also be named by a URL of fsspec: that is none of an archive.
    return _bare(target).lower().endswith(_ARCHIVES) and not target.startswith("zip:")


def peek(target: object) -> str | None:
    """Say what is at a local path or in an open group, without a request to any network.

    What is no OME-Zarr hierarchy, cannot be read or is far away gives None; a URL that ends in
    `.ome.zarr` or `.ozx` is taken at its word. Zarr is not imported for this.
    """
    if isinstance(target, str) and _URL.match(target) and not target.startswith("file://"):
        return "image" if _bare(target).endswith((".ome.zarr", ".ozx")) else None
    path = local_path(target)
    if path is None:
        attributes = getattr(target, "attrs", None)
        metadata = getattr(target, "metadata", None)
        if attributes is None or getattr(metadata, "node_type", None) != "group":
            return None
        return spec.kind(dict(attributes), getattr(metadata, "zarr_format", 3))
    if is_archive(path):
        return _peek_into(path)
    if (path / ".omezarr.json").is_file() and not (path / "zarr.json").exists():
        # A write that has not finished: this package can say so.
        return "image"
    return _kind(lambda file: (path / file).read_bytes())


def _kind(read: Callable[[str], bytes]) -> str | None:
    """Say what a group is, by what reads its files."""
    for zarr_format, file in ((3, "zarr.json"), (2, ".zattrs")):
        try:
            content = json.loads(read(file))
            found = spec.kind(
                content["attributes"] if zarr_format == spec.V3 else content, zarr_format
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        if found:
            return found
    return None


def _peek_into(path: Path) -> str | None:
    """Say what is in an archive."""

    def read(start: int, stop: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    name = str(path)
    try:
        members = zips.read_members(read, path.stat().st_size, name)
    except (OSError, ValueError):
        # Of an archive of OME-Zarr that is broken, this package can say how.
        return "image" if path.suffix.lower() == ".ozx" and path.is_file() else None
    folder = zips.top_folder(members)

    def read_member(file: str) -> bytes:
        key = f"{folder}/{file}" if folder else file
        member = members[key]
        return bytes(zips.answered(zips.reading(member, key, name, (0, member.size), {}), read))

    return _kind(read_member)


def _bare(url: str) -> str:
    """Give a URL without what follows its path."""
    return re.split("[?#]", url, maxsplit=1)[0].rstrip("/")
