"""Hierarchies brought from one version of OME-Zarr to another.

Metadata only, wherever the other format of Zarr has names for how the chunks are stored. In place,
what is there stays readable at every moment: new metadata of arrays come first, then those of
groups, from the leaves to the root; a single write (or, towards Zarr v2, the removal of a single
file) makes a group the new version, and the old metadata go after that. A journal says what they
are, so that whatever was interrupted is completed by the same call. To another place it is brought
as `rewrites` does it.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xarray_omezarr import (
    conversion,
    copies,
    deliveries,
    edits,
    formats,
    hierarchy,
    listings,
    rewrites,
    spec,
    storage,
    stores,
    transaction,
)
from xarray_omezarr.conversion import (
    ArrayStep,
    Work,
    array_files,
    batches,
    group_files,
    plan,
)
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.guess import local_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    import zarr
    from zarr.abc.store import Store

    from xarray_omezarr.hierarchy import Group
    from xarray_omezarr.stores import Place

#: What a journal lists by path: groups and arrays with the format they had, and the keys of chunks.
_LISTS = ("formats", "arrays", "chunks")
_KEYS = {(name, separator) for name in ("v2", "default") for separator in (".", "/")}


@dataclass(frozen=True)
class Upgrade:
    """What has been done to a hierarchy."""

    version: str
    groups: int
    """How many groups have become this version."""
    described: int
    """How many arrays got new metadata over the chunks that they have."""
    moved: int
    """How many arrays got their chunks, byte for byte, under other keys."""
    encoded: int
    """How many arrays were encoded anew."""

    def __str__(self) -> str:
        if not (self.groups or self.described or self.moved or self.encoded):
            return f"already version {self.version}"
        counts = {
            "by metadata": self.described,
            "with chunks under other keys": self.moved,
            "encoded anew": self.encoded,
        }
        told = [f"{count} {how}" for how, count in counts.items() if count]
        arrays = f"; arrays: {', '.join(told)}" if told else ""
        groups = "1 group is" if self.groups == 1 else f"{self.groups} groups are"
        return f"{groups} now version {self.version}{arrays}"


def upgrade(
    store: str | os.PathLike[str] | Store | zarr.Group,
    target: str | os.PathLike[str] | Store | zarr.Group | None = None,
    *,
    version: str,
    lossy: bool = False,
    reencode: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Upgrade:
    """Bring a hierarchy to another version of OME-Zarr.

    An image, a plate or a series, with all label images below. What OME-Zarr does not name, like
    tables, stays as it is.

    Parameters
    ----------
    store : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        Where it is: a path, a URL that fsspec knows, or a store of Zarr.
    target : str, os.PathLike, zarr.abc.store.Store or zarr.Group, optional
        Where the new hierarchy is written, chunks byte for byte wherever that can be; there must be
        nothing yet. By default it is done in place, by metadata alone wherever that can be.
    version : {"0.4", "0.5", "0.6"}
        The version that is wanted.
    lossy : bool, default False
        Whether to drop what that version has no words for.
    reencode : bool, default False
        Whether to encode all pixels anew, with the package's default codec, where metadata would
        do. Chunks then also get the keys that are usual for the version.
    storage_options : mapping, optional
        Passed on to fsspec for URLs.

    Returns
    -------
    Upgrade
        What has been done; it prints as a sentence.

    Raises
    ------
    OmeZarrError
        Where something would be lost (the message lists it), where there is no hierarchy, where
        somebody writes to it, or the store fails. Then run it again: what is there is as it was or
        as it will be.

    Notes
    -----
    Versions up to 0.3 have neither pixel sizes nor units: the finest pixels get size 1, the others
    what their shapes tell.

    Examples
    --------
    >>> from xarray_omezarr import upgrade
    >>> samples.coins().omezarr.to_zarr(path, version="0.4")
    >>> print(upgrade(path, version="0.5"))
    3 groups are now version 0.5; arrays: 4 by metadata
    """
    if version not in spec.ZARR_FORMATS:
        known = ", ".join(map(repr, spec.ZARR_FORMATS))
        msg = f"version={version!r} cannot be written; expected one of {known}."
        raise OmeZarrError(msg)
    inside = target is None
    place = stores.locate(store, storage_options=storage_options)
    journal: dict[str, Any] = {}
    if inside:
        journal = _journal(place, version)
        if journal and _is_committed(place, journal):
            with _writable(store, place, storage_options) as writable:
                _clean(writable, journal)
            return Upgrade(version, **journal["counts"])
    groups = hierarchy.walk(place, warn=warn, formats=journal.get("formats"))
    hierarchy.check(place, (group.kind for group in groups))
    work = plan(place, groups, version, lossy=lossy, reencode=reencode, inside=inside)
    if inside:
        with _writable(store, place, storage_options) as writable:
            _in_place(writable, work, resumed=bool(journal))
    else:
        other = stores.locate(target, write=True, storage_options=_options(target, storage_options))
        try:
            _elsewhere(place, other, groups, work)
        finally:
            other.close()
    place.close()
    return _report(work)


def _report(work: Work) -> Upgrade:
    ways = [step.way for step in work.arrays]
    counts = (ways.count("described"), ways.count("moved"), ways.count("encoded"))
    return Upgrade(work.version, len(work.groups), *counts)


def _options(target: object, storage_options: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Give the options for a target, where it is a URL."""
    return storage_options if local_path(target) is None and isinstance(target, str) else None


@contextmanager
def _writable(
    store: object, place: Place, storage_options: Mapping[str, Any] | None
) -> Iterator[Place]:
    """Open a place for writing, now that there is something."""
    found = stores.locate(store, write=True, storage_options=storage_options)
    edits.check_replaceable(found)
    with _told(place):
        yield found
    found.close()


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """Say of what goes wrong while something is written how it is completed."""
    try:
        yield
    except (OmeZarrError, PermissionError):
        raise
    except Exception as error:
        msg = (
            f"The upgrade of {place.name} was interrupted: {type(error).__name__}: {error}. It can "
            "be opened as it was, or as it will be. Once that is mended, run it again: that "
            "completes it."
        )
        raise OmeZarrError(msg) from error


# ── in place ─────────────────────────────────────────────────────────────────────────────────────


def _in_place(place: Place, work: Work, *, resumed: bool) -> None:
    if not work.groups and not work.arrays:
        storage.delete_files(place, (storage.UPGRADE,) if resumed else ())
        return
    if resumed:
        storage.delete_keys(place.store, storage.leftovers(place, ""))
    journal = _entry(work)
    storage.write_json(place, storage.UPGRADE, journal)
    for step in work.arrays:
        _carry(place, step)
    _replace(place, array_files(work))
    head = work.head
    for batch in batches(work):
        # As long as they are there, they are read instead of the files that they sum up.
        same = [group for group, _ in batch if group.zarr_format == work.zarr_format]
        if work.zarr_format == spec.V2:
            storage.delete_files(place, [join(group.path, ".zmetadata") for group in same])
        _replace(place, group_files(batch, work.zarr_format))
    if head is not None and work.zarr_format == spec.V2 and head.zarr_format == spec.V3:
        # As long as there are metadata of v3, these are what is read: this is the commit.
        storage.delete_files(place, (join(head.path, "zarr.json"),))
    _clean(place, journal)


def _entry(work: Work) -> dict[str, Any]:
    """Tell what has to be removed once the head is the new version, and how that is known."""
    report = _report(work)
    other = [group for group, _ in work.groups if group.zarr_format != work.zarr_format]
    arrays = [step for step in work.arrays if step.array.zarr_format != work.zarr_format]
    chunks = {
        step.array.path: formats.chunk_keys(step.array.metadata)
        for step in work.arrays
        if step.way != "described"
    }
    head = work.head
    return {
        "version": work.version,
        "head": None if head is None else {"path": head.path, "zarr_format": head.zarr_format},
        "formats": {group.path: group.zarr_format for group in other},
        "arrays": {step.array.path: step.array.zarr_format for step in arrays},
        "chunks": {path: list(keys) for path, keys in chunks.items()},
        "counts": {
            "groups": report.groups,
            "described": report.described,
            "moved": report.moved,
            "encoded": report.encoded,
        },
    }


def _journal(place: Place, version: str) -> dict[str, Any]:
    """Read what an upgrade that was interrupted has left: paths below the root, nothing else."""
    (content,) = storage.read_bytes(place, storage.UPGRADE)
    if content is None:
        return {}
    found = storage.parse_json(content, place, storage.UPGRADE)
    if found.get("version") != version:
        msg = (
            f"{place.name}: an upgrade (version {found.get('version')!r:.80}) was interrupted "
            "there. Complete that one first, by the call that it was begun with."
        )
        raise OmeZarrError(msg)
    where = f"{place.name}/{storage.UPGRADE}"
    if not _is_sound(found):
        msg = f"{where} is no journal of an upgrade: {found!r:.80}. If it is yours, rename it."
        raise OmeZarrError(msg)
    for path in (path for key in _LISTS for path in found[key] if path):
        spec.check_path(path, f"{where}: a path")
    return found


def _is_sound(journal: Mapping[str, Any]) -> bool:
    """Say whether a journal is one that this package has written."""
    try:
        head = journal["head"] or {"path": "", "zarr_format": spec.V2}
        if head["path"]:
            spec.check_path(head["path"], "head")
        known = {head["zarr_format"], *journal["formats"].values(), *journal["arrays"].values()}
        keys = {tuple(pair) for pair in journal["chunks"].values()}
        counts = Upgrade("", **journal["counts"])
    except (AttributeError, KeyError, OmeZarrError, TypeError):
        return False
    return known <= {spec.V2, spec.V3} and keys <= _KEYS and counts.groups >= 0


def _is_committed(place: Place, journal: Mapping[str, Any]) -> bool:
    """Say whether the last group has become the new version, so that only old files are left."""
    head = journal["head"]
    if head is None:
        return False
    zarr_format = spec.ZARR_FORMATS[journal["version"]]
    (v3,) = storage.read_bytes(place, join(head["path"], "zarr.json"))
    if zarr_format == spec.V2:
        return head["zarr_format"] == spec.V3 and v3 is None
    document = {} if v3 is None else storage.parse_json(v3, place, "zarr.json")
    attributes = document.get("attributes") or {}
    return bool(next(spec.declared_versions(attributes, spec.V3), None) == journal["version"])


def _clean(place: Place, journal: Mapping[str, Any]) -> None:
    """Remove the old metadata, those above before those below, old chunks, and the journal."""
    below = {
        "formats": {spec.V2: (".zmetadata", ".zgroup", ".zattrs"), spec.V3: ("zarr.json",)},
        "arrays": {spec.V2: (".zarray", ".zattrs"), spec.V3: ("zarr.json",)},
    }
    for key, files in below.items():
        for path, zarr_format in journal[key].items():
            storage.delete_files(place, [join(path, file) for file in files[zarr_format]])
    for path, (name, separator) in journal["chunks"].items():
        _delete_chunks(place.below(path), name, separator)
    storage.delete_files(place, (storage.UPGRADE,))


def _delete_chunks(place: Place, name: str, separator: str) -> None:
    """Remove the chunks that an array had under other keys."""
    if name == "default" and separator == "/":
        storage.delete_folder(place, "c")
        return
    names = storage.list_names(place)
    if separator == "/":
        for folder in names:
            if folder.isdecimal():
                storage.delete_folder(place, folder)
        return
    first = r"c" if name == "default" else r"\d+"
    storage.delete_files(place, [one for one in names if re.fullmatch(rf"{first}(\.\d+)+", one)])


def _carry(place: Place, step: ArrayStep) -> None:
    """Bring the chunks of an array to where its new metadata look for them."""
    array, inner = step.array, place.below(step.array.path)
    if step.way == "encoded":
        copies.encode(
            copies.opened(place.store, place.key(array.path), array.metadata),
            copies.opened(place.store, place.key(array.path), step.metadata),
        )
    elif step.way == "moved":
        keys = copies.chunk_names(copies.list_keys(inner), array.metadata)
        names = {key: formats.new_key(key, array.metadata) for key in keys}
        copies.copy_keys(inner, names, copies.chunk_bytes(array.metadata))


def _replace(place: Place, files: Mapping[str, Mapping[str, Any]]) -> None:
    contents = {place.key(key): storage.to_bytes(document) for key, document in files.items()}
    for error in edits.replace_files(place.store, contents).values():
        raise error


# ── to another place ─────────────────────────────────────────────────────────────────────────────


def _elsewhere(source: Place, target: Place, groups: Sequence[Group], work: Work) -> None:
    """Write the new hierarchy to another place, or go on with that."""
    transaction.check_writable(target)
    deliveries.check_apart(source, target, "upgrade")
    before = deliveries.unfinished(target, "upgrade", resume=True)
    listed = listings.entries(source)
    deliveries.check_idle(source, listed)
    files = conversion.files(work)
    job = rewrites.job_of("upgrade", source, target, listed, groups, work, files)
    deliveries.Delivery(job, before, bar=False).run()
