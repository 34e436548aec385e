"""Files of a folder on this machine, read without Zarr: importing that takes longer than that."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xarray_omezarr.errors import OmeZarrError

#: Files that are read at a time.
_TOGETHER = 32
#: Seconds that a small file takes where its folder is on another machine.
_FAR = 0.001


def read_each(root: str, keys: Sequence[str], name: str) -> list[bytes | OmeZarrError | None]:
    """Read some files of a folder: on a disk nearby that is quickest one after the other.

    Parameters
    ----------
    root
        The folder.
    keys
        Paths below it.
    name
        What messages call it.

    Returns
    -------
    list
        None for each that is not there, an error for each that cannot be read.
    """
    inside = os.path.join(root, "")  # noqa: PTH118 - the quick way

    def read(key: str) -> bytes | OmeZarrError | None:
        try:
            with open(inside + key, "rb") as file:  # noqa: PTH123
                return file.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except Exception as error:  # noqa: BLE001
            from xarray_omezarr.remote import failure

            return failure(name, error)

    start = time.perf_counter()
    found = [read(key) for key in keys[:_TOGETHER]]
    rest = keys[_TOGETHER:]
    if rest and time.perf_counter() - start > _TOGETHER * _FAR:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            return found + list(pool.map(read, rest))
    return found + [read(key) for key in rest]


def subfolders(folder: str) -> list[str]:
    """Name the folders that are directly in one, in order; none where there is none."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
