"""Images → a zip archive, as RFC-9 recommends one.

A write is rehearsed in memory without its pixels: what that leaves there are all of the metadata,
which can thus be written first. Then it is done in earnest: the store is a `Draft`, which appends
chunks to a file. The file gets its name when all of them are there; until then, there is no
archive, and what is left of one that broke off is removed.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from xarray_omezarr import (
    documents,
    multiscale,
    progress,
    spec,
    storage,
    stores,
    stream,
    transaction,
)
from xarray_omezarr.archive import ArchiveStore
from xarray_omezarr.draft import Draft
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileExistsError
from xarray_omezarr.guess import local_path
from xarray_omezarr.stores import Place
from xarray_omezarr.stream import Running

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dask.delayed import Delayed

    from xarray_omezarr.archive import State
    from xarray_omezarr.stream import Failure, Job, Work


def write(
    works: Sequence[Work],
    target: object,
    *,
    group: str | None,
    mode: str,
    existing_labels: str | None,
    running: Running,
) -> Delayed | None:
    """Write an image and its label images to an archive.

    Parameters
    ----------
    works
        The image, and its label images after it.
    target
        The path of the archive.
    group
        Where in the store it is to be: an archive has one image, at its root.
    mode
        "w-", or "w" to replace an archive of an image.
    existing_labels
        What becomes of label images of the archive that is replaced.
    running
        How the tasks are run.

    Raises
    ------
    OmeZarrError
        Where there can be no such archive.
    """
    path = local_path(target)
    if path is None:
        msg = f"{target}: a zip archive is written to a local file. Write it there, and copy that."
        raise OmeZarrError(msg)
    if group or running.resume or running.layout:
        raise stores.fixed(path)
    _check_works(works, path)
    if running.compute and progress.elsewhere():
        msg = (
            f"{path} is a zip archive, which one process writes, and dask is set to compute in "
            "others. Write within dask.config.set(scheduler='threads'), or write a folder."
        )
        raise OmeZarrError(msg)
    before = _look(path, mode, [work.label for work in works], existing_labels)
    draft = Draft(
        path,
        _rehearse(works, path),
        comment(works[0].image.version),
        before=before,
        fsync=running.fsync,
    )
    try:
        return stream.write(
            works,
            Place(draft, "", str(path), owned=False),
            ["w-"] * len(works),
            drop=(),
            running=running,
            finish=partial(_finish, draft=draft),
        )
    except BaseException:
        draft.abort()
        raise


def _check_works(works: Sequence[Work], path: Path) -> None:
    """Check that an archive can hold what is to be written."""
    version = works[0].image.version
    if spec.ZARR_FORMATS[version] != spec.V3:
        # RFC-9: "The root-level zarr.json …": version 0.4 has none.
        msg = (
            f"version={version!r} is not written to zip archives like {path}, whose first member "
            "is a zarr.json (RFC-9). Write version='0.5'."
        )
        raise OmeZarrError(msg)
    if any(work.plan.scratch for work in works):
        msg = (
            f"{path} is a zip archive, and method={works[0].plan.method!r} writes arrays on its "
            "way that are removed again, which there is no space for in one. Write a folder."
        )
        raise OmeZarrError(msg)


def _rehearse(works: Sequence[Work], path: Path) -> dict[str, bytes]:
    """Give all metadata of what is to be written, in the order in which they come.

    RFC-9: the root's first, then those of groups and arrays breadth-first.
    """
    place = stores.in_mind(str(path))
    laid_out = Running(layout="visible")
    stream.write(works, place, ["w-"] * len(works), drop=(), running=laid_out)
    found = storage.read_all(place)
    return in_order(found)


def in_order(documents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Give metadata in the order in which they come: the root's first, then breadth-first."""
    first = "zarr.json"

    def place(key: str) -> tuple[bool, int, str]:
        return key.rpartition("/")[2] != first, key.count("/"), key

    return {key: documents[key] for key in sorted(documents, key=place)}


def comment(version: str) -> bytes:
    """Give the comment by which an archive says of what kind it is (RFC-9)."""
    ome = {"version": version, "zipFile": {"centralDirectory": {"jsonFirst": True}}}
    return json.dumps({"ome": ome}, separators=(",", ":")).encode()


def _finish(jobs: Sequence[Job], failed: Sequence[Sequence[Failure]], draft: Draft) -> None:
    """Make the archive, or leave nothing of it."""
    try:
        stream.finished(jobs, failed)
        draft.finish()
    except BaseException:
        draft.abort()
        raise


# ── what is replaced ─────────────────────────────────────────────────────────────────────────────


def _look(
    path: Path, mode: str, labels: Sequence[str | None], existing_labels: str | None
) -> State | None:
    """Look at what is to be replaced, and say what it is; None where there is nothing.

    Raises
    ------
    OmeZarrFileExistsError
        Where there is something that the mode does not allow to replace, or that would be lost.
    """
    if mode not in ("w-", "w"):
        msg = (
            f"mode={mode!r} is not known here; expected 'w-' (refuse what exists) or 'w' (replace)."
        )
        raise OmeZarrError(msg)
    transaction.check_above(path)
    if not path.exists():
        return None
    if mode == "w-":
        msg = f"{path} exists. Write to another path, or use mode='w' to replace the image."
        raise OmeZarrFileExistsError(msg)
    try:
        place = stores.locate(path)
        node = storage.fetch(place)
    except OmeZarrError as error:
        msg = f"{error} It was left untouched."
        raise OmeZarrFileExistsError(msg) from error
    if node is None or node.kind != "image":
        msg = (
            f"{path} exists and is no OME-Zarr image but something else; it was left untouched. "
            "Write to another path, or remove it yourself: an image replaces only an image."
        )
        raise OmeZarrFileExistsError(msg)
    assert isinstance(place.store, ArchiveStore)  # noqa: S101 - or there is no archive at the path
    lost = [name for name in transaction.label_paths(place) if name not in labels]
    if lost and existing_labels != "drop":
        msg = (
            f"{path} has label images that this Dataset has not: {', '.join(lost)}. A zip archive "
            "is written anew as a whole, and cannot keep them: open it and write them with the "
            "image, or give them up by existing_labels='drop'. Nothing was changed."
        )
        raise OmeZarrFileExistsError(msg)
    besides = _besides(place, place.store, node)
    if besides:
        msg = (
            f"{path} holds more than an image: {', '.join(besides[:8])}. A zip archive is written "
            "anew as a whole, and this would be lost. Write to another path, or remove the file "
            "yourself. Nothing was changed."
        )
        raise OmeZarrFileExistsError(msg)
    return place.store.state


def _besides(place: Place, archive: ArchiveStore, node: storage.Node) -> list[str]:
    """Give what is in an archive besides an image and its label images."""
    image = multiscale.parse_image(
        node.attributes, zarr_format=node.zarr_format, place=place.name, warn=lambda _: None
    )
    own = {level.path.partition("/")[0] for level in image.levels}
    own |= {"labels", *documents.METADATA_FILES}
    prefix = f"{place.path}/" if place.path else ""
    heads = dict.fromkeys(key.removeprefix(prefix).partition("/")[0] for key in archive.keys())  # noqa: SIM118 - a method of its own
    attributes = transaction.foreign_attributes(place, node, None)
    return [*(head for head in heads if head not in own), *map("attribute {}".format, attributes)]
