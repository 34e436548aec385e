"""What an argument may hold, told without Zarr and without a network.

Every `xr.open_dataset` without an engine asks this, whatever it is about to open: so it has to be
quick, must not fail, and claims only what this package alone can read.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from xarray_omezarr import spec

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::.*)?://|[A-Za-z][A-Za-z0-9+.-]+::")


def local_path(target: object) -> Path | None:
    """Give the local path that an argument names; None for URLs and for anything else."""
    if isinstance(target, os.PathLike):
        target = os.fspath(target)
    if not isinstance(target, str):
        return None
    if target.startswith("file://"):
        return Path(unquote(urlsplit(target).path))
    if _URL.match(target):
        return None
    try:
        return Path(target).expanduser()
    except RuntimeError:
        # There is no such user, so that this is no home of anybody, but a name like any other.
        return Path(target)


def peek(target: object) -> str | None:
    """Say what is at a local path or in an open group, without a request to any network.

    What is no OME-Zarr hierarchy, cannot be read or is far away gives None; a URL that ends in
    `.ome.zarr` is taken at its word. Zarr is not imported for this.
    """
    if isinstance(target, str) and _URL.match(target) and not target.startswith("file://"):
        return "image" if urlsplit(target).path.rstrip("/").endswith(".ome.zarr") else None
    path = local_path(target)
    if path is None:
        attributes = getattr(target, "attrs", None)
        metadata = getattr(target, "metadata", None)
        if attributes is None or getattr(metadata, "node_type", None) != "group":
            return None
        return spec.kind(dict(attributes), getattr(metadata, "zarr_format", 3))
    if (path / ".omezarr.json").is_file() and not (path / "zarr.json").exists():
        # A write that has not finished: this package can say so.
        return "image"
    for zarr_format, file in ((3, "zarr.json"), (2, ".zattrs")):
        try:
            content = json.loads((path / file).read_bytes())
            found = spec.kind(
                content["attributes"] if zarr_format == spec.V3 else content, zarr_format
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if found:
            return found
    return None
