"""All OME-Zarr below a folder, as a table."""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

# All that `surveys` imports late is imported here: threads that do it at once wait for each other.
from xarray_omezarr import census as _census
from xarray_omezarr import documents, guess, inventory, progress, storage, surveys
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileNotFoundError, warn
from xarray_omezarr.model import TYPES
from xarray_omezarr.redaction import shown
from xarray_omezarr.surveys import Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from xarray_omezarr.facts import Info

    #: Names folders and files that are directly below a folder.
    Listing = tuple[list[str], list[str]]

del _census

#: So many folders are looked at side by side.
_TOGETHER = 16
#: So many are looked at in all; and so deep, on a disk and elsewhere, where loops cannot be told.
_MOST, _DEEPEST, _DEEPEST_ELSEWHERE = 1_000_000, 64, 24
#: The files of a group or an array of Zarr, and that of a write that has not finished.
_MARKS = documents.METADATA_FILES | {storage.JOURNAL}
#: So many folders are named in a warning.
_NAMED = 4


@dataclass(frozen=True)
class _Folder:
    """A folder that is to be looked at."""

    path: str
    """Below the one that is searched."""
    linked: bool = False
    """Whether a symbolic link leads to it: then nothing below it is looked at."""
    archive: bool = False


@dataclass(frozen=True)
class _Looked:
    """What has come of looking at a folder."""

    row: Mapping[str, Any] | None = None
    below: tuple[_Folder, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    """What was left out: why, and where."""
    linked: bool = False


def find(
    folder: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
    stored: bool = False,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Find all OME-Zarr below a folder: images, plates, series, scenes, in folders and archives.

    Only metadata are read, and nothing is looked for inside of what was found. A folder that may
    not be listed is left out, with a warning. A symbolic link counts where it leads to OME-Zarr;
    folders behind links are not searched, so that no loop and no other disk is gone into.

    Parameters
    ----------
    folder : str or os.PathLike
        A folder, or a URL of a store that lists what it has.
    storage_options : mapping, optional
        Passed on to fsspec, for URLs.
    stored : bool, default False
        Whether to add up the bytes that are stored of each, as `stored`. That lists every chunk.
    progress : bool, optional
        Whether a bar counts the folders. By default as `set_options` has it.

    Returns
    -------
    pandas.DataFrame
        One row for each, in the order of their paths: `path`, below the folder; `kind`, `version`
        and `name`; of the image, or of the first one in a plate, a series or a scene, the sizes of
        its axes `t_size`, `c_size`, …, its pixel sizes `z_scale`, … with `z_unit`, …, its `dtype`,
        the number of its `levels` and `labels`, and the `bytes` of its finest level in memory;
        `thumbnail`, the path of that image below the folder; `modified`, when its metadata were
        last changed, on a disk; and `problem`, what is wrong where it cannot be read.
        Its `attrs` have the `folder`, and what was left out, as `skipped`.

    Raises
    ------
    OmeZarrError
        Where there is no such folder, or its store lists nothing.

    See Also
    --------
    xarray_omezarr.info : All about one of them.

    Examples
    --------
    >>> import xarray_omezarr
    >>> samples.circle().omezarr.to_zarr("data/circle.ome.zarr")
    >>> samples.plate(rows=1, columns=2, fields=1).omezarr.to_zarr("data/plate.ome.zarr")
    >>> table = xarray_omezarr.find("data")
    >>> table[["path", "kind", "y_size", "y_scale", "y_unit", "thumbnail"]]
                    path   kind  y_size  y_scale      y_unit             thumbnail
    0    circle.ome.zarr  image      64    0.500  micrometer       circle.ome.zarr
    1     plate.ome.zarr  plate     128    0.325  micrometer  plate.ome.zarr/A/1/0
    """
    search = _Search.at(folder, storage_options, stored=stored)
    try:
        looked = search.run(bar=_bar(progress))
    finally:
        search.close()
    return _table(looked, search.name)


def _bar(asked: bool | None) -> bool:  # noqa: FBT001 - the argument of that name
    return progress.shown(asked)


# ── the search ───────────────────────────────────────────────────────────────────────────────────


class _Search:
    """A search below a folder, which is on this machine or in any store that lists."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        storage_options: Mapping[str, Any] | None,
        *,
        stored: bool,
    ) -> None:
        self._target = os.fspath(folder)
        self._options = storage_options
        self._stored = stored
        self._root = Where.at(folder, None, storage_options)
        self.name = self._root.name

    @classmethod
    def at(
        cls,
        folder: str | os.PathLike[str],
        storage_options: Mapping[str, Any] | None,
        *,
        stored: bool,
    ) -> _Search:
        """Find the folder, or say that there is none."""
        path = guess.local_path(folder)
        if path is not None and not path.is_dir():
            what = "is a file" if path.exists() else "is not there"
            msg = f"{path} {what}; expected a folder, or a URL, that OME-Zarr is searched below."
            raise OmeZarrFileNotFoundError(msg)
        return cls(folder, storage_options, stored=stored)

    def close(self) -> None:
        """Close the store."""
        self._root.close()

    def run(self, *, bar: bool) -> list[_Looked]:
        """Look at all folders, many side by side."""
        done: list[_Looked] = []
        pool = ThreadPoolExecutor(_TOGETHER)
        waiting: list[_Folder] = [_Folder("")]
        running: set[Future[_Looked]] = set()
        count = 0
        try:
            with progress.counting(None, " folders", bar=bar) as advance:
                while waiting or running:
                    while waiting and len(running) < 2 * _TOGETHER and count < _MOST:
                        running.add(pool.submit(self._look, waiting.pop()))
                        count += 1
                    if not running:
                        left = f"the first {_MOST:,} folders were looked at, and there are more"
                        done.append(_Looked(skipped=((left, waiting[0].path),)))
                        break
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    for one in finished:
                        looked = one.result()
                        waiting += looked.below
                        done.append(replace(looked, below=()))
                    advance(len(finished))
        finally:
            pool.shutdown(cancel_futures=True)
        return done

    def _look(self, folder: _Folder) -> _Looked:
        """Look at a folder: it is OME-Zarr, or others may be below it."""
        where = self._root.below(folder.path) if folder.path else self._root
        try:
            folders, files = ([], []) if folder.archive else self._list(where)
        except (OmeZarrError, OSError) as error:
            if not folder.path:
                raise
            return _Looked(skipped=((f"cannot be listed ({_reason(error)})", folder.path),))
        if folder.archive or not _MARKS.isdisjoint(files):
            # An array has nothing but chunks below it.
            if ".zarray" in files or ("zarr.json" in files and self._is_array(where)):
                return _Looked()
            row = self._row(folder, where, unfinished=storage.JOURNAL in files)
            if row is not None or folder.archive:
                return _Looked(row, linked=folder.linked)
        if folder.linked:
            why = "is a link to a folder of no OME-Zarr, which is not searched"
            return _Looked(skipped=((why, folder.path),))
        if folder.path.count("/") >= (_DEEPEST_ELSEWHERE if where.folder is None else _DEEPEST):
            return _Looked(skipped=(("is too deep", folder.path),))
        return _Looked(below=tuple(self._below(where, folder.path, folders, files)))

    def _list(self, where: Where) -> Listing:
        if where.folder is None:
            return inventory.listing(where.located())
        with os.scandir(where.folder) as entries:
            names: Listing = ([], [])
            for entry in entries:
                # A link in a circle is neither; nor is what would be waited for without end.
                with suppress(OSError):
                    if entry.is_dir():
                        names[0].append(entry.name)
                    elif entry.is_file():
                        names[1].append(entry.name)
            return names

    def _is_array(self, where: Where) -> bool:
        (content,) = where.read("zarr.json")
        return isinstance(content, bytes) and storage.describes_array(content)

    def _below(
        self, where: Where, path: str, folders: list[str], files: list[str]
    ) -> Iterator[_Folder]:
        for name in sorted(folders, reverse=True):
            at = f"{where.folder}/{name}"
            linked = where.folder is not None and os.path.islink(at)  # noqa: PTH114 - a string
            yield _Folder(join(path, name), linked=linked)
        for name in sorted(files, reverse=True):
            if guess.is_archive(name if where.folder is None else f"{where.folder}/{name}"):
                yield _Folder(join(path, name), archive=True)

    def _row(self, folder: _Folder, where: Where, *, unfinished: bool) -> dict[str, Any] | None:
        """Tell what a group or an archive is; None where it is no OME-Zarr."""
        row: dict[str, Any] = {"path": folder.path or "."}
        opened = where
        try:
            if folder.archive:
                if where.folder is not None and guess.peek(where.folder) is None:
                    return None
                opened = Where.at(f"{self._target.rstrip('/')}/{folder.path}", None, self._options)
            found = surveys.glance(opened, dict[str, None]().setdefault)
            if found is None and not unfinished:
                return None
            if found is None:
                row["problem"] = "It is unfinished: a write was interrupted, or is under way."
            else:
                row |= _told(found[0], join(folder.path, found[1]) or ".")
            if self._stored:
                row["stored"] = _stored(opened)
        except OmeZarrError as error:
            row["problem"] = str(error)
        finally:
            if opened is not where:
                opened.close()
        if where.folder is not None:
            row["modified"] = _modified(where.folder)
        return row


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return shown(str(error))


def _told(info: Info, thumbnail: str) -> dict[str, Any]:
    """Tell of an image, or of the first one of several."""
    image = info.example or info
    row: dict[str, Any] = {
        "kind": info.kind,
        "version": info.version or image.version,
        "name": info.name,
        "dtype": image.dtype,
        "levels": len(image.levels),
        "labels": len(image.labels) if image.kind == "image" else 0,
        "bytes": image.levels[0].nbytes if image.levels else None,
        "thumbnail": thumbnail if image.levels else None,
        "axes": [axis.name for axis in image.axes],
    }
    for axis in image.axes:
        row[f"{axis.name}_size"] = axis.size
        if axis.scale is not None:
            row[f"{axis.name}_scale"] = axis.scale
            row[f"{axis.name}_unit"] = axis.unit
    return row


def _stored(where: Where) -> int | None:
    sizes = inventory.sizes_below(where.located(), "")
    return sum(sizes.values()) if sizes else None


def _modified(folder: str) -> float | None:
    """Say when metadata were last changed, in seconds; of an archive, when it was."""
    for path in (*(f"{folder}/{file}" for file in documents.METADATA.values()), folder):
        try:
            return os.stat(path).st_mtime  # noqa: PTH116 - a string
        except OSError:
            continue
    return None


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def _table(looked: list[_Looked], name: str) -> pd.DataFrame:
    import pandas as pd

    rows = _distinct(looked, name)
    rows.sort(key=lambda row: row["path"].split("/"))
    axes = sorted({axis for row in rows for axis in row.get("axes", ())}, key=_order)
    columns = ["path", "kind", "version", "name"]
    columns += [f"{axis}_size" for axis in axes]
    known = {key for row in rows for key in row}
    for axis in axes:
        columns += [key for key in (f"{axis}_scale", f"{axis}_unit") if key in known]
    columns += ["dtype", "levels", "labels", "bytes"]
    columns += [key for key in ("stored",) if key in known]
    columns += ["thumbnail", "modified", "problem"]
    table = pd.DataFrame(rows, columns=columns)
    whole = [key for key in columns if key.endswith("_size")]
    for key in (*whole, "levels", "labels", "bytes", *({"stored"} & known)):
        table[key] = table[key].astype("Int64")
    seconds = table["modified"].astype("float64").round()
    table["modified"] = pd.to_datetime(seconds, unit="s", utc=True)
    table["problem"] = table["problem"].astype(object).where(table["problem"].notna(), None)
    skipped = sorted({one for each in looked for one in each.skipped})
    table.attrs = {"folder": name, "skipped": [f"{path} {why}" for why, path in skipped]}
    for why in dict.fromkeys(why for why, _ in skipped):
        paths = [path for other, path in skipped if other == why]
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        told = ", ".join(f"{path!r:.120}" for path in paths[:_NAMED])
        warn(f"{name}: {told}{more} {why}; left out")
    return table


def _order(axis: str) -> tuple[bool, int, str]:
    return axis not in TYPES, list(TYPES).index(axis) if axis in TYPES else 0, axis


def _distinct(looked: list[_Looked], root: str) -> list[dict[str, Any]]:
    """Give what was found, without links to what was found as well."""
    there = {
        os.path.realpath(f"{root}/{one.row['path']}")
        for one in looked
        if one.row is not None and not one.linked
    }
    rows = []
    for one in looked:
        if one.row is None:
            continue
        real = os.path.realpath(f"{root}/{one.row['path']}")
        if one.linked and real in there:
            continue
        there.add(real)
        rows.append(dict(one.row))
    return rows
