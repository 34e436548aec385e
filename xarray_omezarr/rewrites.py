"""A hierarchy written anew elsewhere: in other chunks, shards or codecs, versions, or an archive.

`conversion` says what becomes of each group and array, `deliveries` brings it to its place. What is
not to become anything else is copied byte for byte. An archive has all metadata at its head, and
then the same objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from xarray_omezarr import (
    conversion,
    copies,
    deliveries,
    documents,
    draft,
    extracts,
    formats,
    freight,
    hierarchy,
    listings,
    manifests,
    packing,
    progress,
    spec,
    storage,
    stores,
    transaction,
)
from xarray_omezarr.deliveries import Delivered, Encoding, Job
from xarray_omezarr.documents import join
from xarray_omezarr.draft import Draft
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileExistsError, warn
from xarray_omezarr.freight import Parcel
from xarray_omezarr.guess import is_archive, local_path
from xarray_omezarr.plan import readable
from xarray_omezarr.recodings import Recoding
from xarray_omezarr.stores import Place

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import zarr
    from zarr.abc.store import Store

    from xarray_omezarr.conversion import ArrayStep, Work
    from xarray_omezarr.deliveries import What
    from xarray_omezarr.hierarchy import Group
    from xarray_omezarr.listings import Entry

    Target = str | os.PathLike[str] | Store | zarr.Group


@dataclass(frozen=True)
class Conversion:
    """What has been converted."""

    target: str
    """Where it is."""
    version: str
    """The version of OME-Zarr that it is."""
    files: int
    """How many objects there are, chunks and metadata."""
    nbytes: int
    """How many bytes these have."""
    encoded: int
    """How many arrays were encoded anew; the chunks of all others are the same bytes."""
    kept: int
    """How many of the objects an earlier attempt had brought."""

    def __str__(self) -> str:
        encoded = f"{self.encoded or 'no'} arrays encoded anew"
        kept = f"; {self.kept} of the files were there already" if self.kept else ""
        return (
            f"{self.target}: version {self.version}, {self.files} files, {readable(self.nbytes)}; "
            f"{encoded}{kept}"
        )


def convert(
    source: Target,
    destination: Target,
    *,
    group: str | None = None,
    chunks: Mapping[str, int] | int | None = None,
    shards: Mapping[str, int] | int | bool | None = None,
    compressors: object = None,
    version: str | None = None,
    lossy: bool = False,
    resume: bool = False,
    progress: bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
) -> Conversion:
    """Write a hierarchy anew: in other chunks, shards or codecs, another version, or an archive.

    An image with its label images, a plate, a series or a scene: with all attributes, and whatever
    else is stored in it, like tables. Arrays that need not be encoded anew keep their bytes; all
    others are, in bounded memory, and with the pixels that they had.

    Parameters
    ----------
    source : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        Where it is: a path, a URL that fsspec knows, a zip archive, or a store of Zarr.
    destination : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        Where the new one is written; there must be nothing yet. A local path that ends in ``.ozx``
        or ``.zip`` becomes an archive.
    group : str, optional
        The path of the hierarchy within the store of the source.
    chunks : int or mapping of str to int, optional
        The size of chunks, for all dimensions or by name; -1 is the whole axis. No chunk is larger
        than its array. Dimensions that are not named, or all, keep the chunks that they have.
    shards : int or mapping of str to int or False, optional
        The size of shards, of which each holds whole chunks, likewise; False for none. Where the
        source has shards, they are kept. Versions up to 0.4 have none. A shard is in memory as a
        whole: a number for all dimensions is for images without many channels or times.
    compressors : str or object, optional
        ``"zstd:5"``, ``"gzip:6"``, ``"blosc:lz4:5"``, ``"blosc:zstd:5:shuffle"`` or ``"none"``;
        or whatever `zarr.create_array` takes for the format of Zarr. By default as it is, or as
        `to_zarr` has it where another format of Zarr has no name for that.
    version : {"0.4", "0.5", "0.6"}, optional
        The version that is wanted. By default as it is; in archives, what is older than 0.5 becomes
        0.5, since RFC-9 asks for a ``zarr.json``.
    lossy : bool, default False
        Whether to drop what that version has no words for.
    resume : bool, default False
        Whether to go on where an earlier call with the same arguments was interrupted. An archive
        is begun anew.
    progress : bool, optional
        Whether to show a bar, where there is a terminal or a notebook; as the options say, by
        default.
    storage_options, target_options : mapping, optional
        Passed on to fsspec for URLs, of the source and of the destination.

    Returns
    -------
    Conversion
        What there is now; it prints as a sentence.

    Raises
    ------
    OmeZarrError
        Where there is no hierarchy, or what is asked makes no sense for it; where something would
        be lost (the message lists it); where somebody writes to it; where the destination exists,
        or a store fails. What was written to a folder until then stays, for `resume`.

    Notes
    -----
    A number that is asked for holds for all levels and all label images. Arrays that OME-Zarr does
    not name, like those of tables, are copied as they are. Consolidated metadata are brought up to
    date, unless the format of Zarr changes: then they are left out.

    Examples
    --------
    >>> from xarray_omezarr import convert
    >>> samples.coins().omezarr.to_zarr(path, version="0.4")
    >>> done = convert(path, f"{path}-sharded", version="0.5", chunks=64, shards=256)
    >>> done.version, done.encoded
    ('0.5', 4)
    """
    recoding = Recoding(chunks, shards, compressors)
    if version is not None and version not in spec.ZARR_FORMATS:
        known = ", ".join(spec.ZARR_FORMATS)
        msg = f"version={version!r} cannot be written; expected one of {known}."
        raise OmeZarrError(msg)
    origin = stores.locate(source, group, storage_options=storage_options)
    try:
        if is_archive(destination):
            path = _archive(origin, destination)
            job, work = _planned(origin, stores.in_mind(str(path)), version, recoding, lossy=lossy)
            done = _pack(job, work, path, bar=progress)
            name = str(path)
        else:
            target = stores.locate(destination, write=True, storage_options=target_options)
            name = target.name
            try:
                transaction.check_writable(target)
                deliveries.check_apart(origin, target, "conversion")
                before = deliveries.unfinished(target, "conversion", resume=resume)
                job, work = _planned(origin, target, version, recoding, lossy=lossy)
                done = deliveries.Delivery(job, before, bar=progress).run()
            finally:
                target.close()
    finally:
        origin.close()
    encoded = len(job.encodings)
    return Conversion(name, work.version, done.files, done.nbytes, encoded, done.kept)


def _archive(origin: Place, destination: Target) -> Path:
    """Give the path of an archive that can be written."""
    path = local_path(destination)
    if path is None:
        msg = f"{destination}: a zip archive is written to a local file. Convert to one; copy that."
        raise OmeZarrError(msg)
    folder = stores.disk_of(origin.store)
    if folder and path.resolve().is_relative_to((folder / origin.path).resolve()):
        msg = f"{path} lies within {origin.name}. Convert to a path outside of it."
        raise OmeZarrError(msg)
    transaction.check_above(path)
    if path.exists() or path.is_symlink():
        msg = f"{path} exists; it was left untouched. Convert to another path."
        raise OmeZarrFileExistsError(msg)
    return path


# ── what becomes of it ───────────────────────────────────────────────────────────────────────────


def _planned(
    source: Place, target: Place, version: str | None, recoding: Recoding, *, lossy: bool
) -> tuple[Job, Work]:
    disk = stores.disk_of(source.store)
    if disk is not None and not disk.is_dir():
        raise storage.nothing_there(source)
    listed = listings.entries(source)
    deliveries.check_idle(source, listed)
    # What is assumed of images when they are read is nothing to a copy.
    told = warn if version is not None else (lambda _: None)
    groups = hierarchy.walk(source, warn=told)
    hierarchy.check(source, (group.kind for group in groups))
    if is_archive(target.name):
        version = _packed(groups, version, target.name)
    work = conversion.plan(
        source, groups, version, lossy=lossy, reencode=False, inside=False, recoding=recoding
    )
    files = conversion.files(work)
    files |= _summaries(source, groups, work, files)
    return job_of("conversion", source, target, listed, groups, work, files), work


def job_of(  # noqa: PLR0917 - all of them say what is done
    what: What,
    source: Place,
    target: Place,
    listed: Mapping[str, Entry] | None,
    groups: Sequence[Group],
    work: Work,
    files: Mapping[str, Mapping[str, Any]],
) -> Job:
    """Give the job that brings a hierarchy to another place, as what is planned.

    Parameters
    ----------
    what
        What messages call it.
    source, target
        Where it is, and where it goes.
    listed
        All that the source has, where it lists that.
    groups
        The groups of the source.
    work
        What becomes of them and of their arrays.
    files
        The metadata that are written, by their keys.
    """
    part = extracts.Extract(dropped=_superseded(work), documents=dict(files))
    manifest = manifests.manifest(source, listed, groups, part)
    changed = {step.array.path: step for step in work.arrays if step.way != "described"}
    checks = transaction.checks_of(
        {
            "source": source.name,
            "version, chunks, shards or compressors": repr(sorted(part.documents.items())),
            "contents of the source": repr(manifest.contents),
        }
    )
    return Job(
        what,
        source,
        target,
        listed,
        partial(_carried, manifest.objects, changed),
        manifest.count,
        [_encoding(step) for step in changed.values() if step.way == "encoded"],
        manifest.metadata,
        part.documents,
        manifest.largest,
        checks,
    )


def _packed(groups: Sequence[Group], version: str | None, name: str) -> str | None:
    """Say what version a hierarchy gets in an archive."""
    if version is not None and spec.ZARR_FORMATS[version] != spec.V3:
        # RFC-9: "The root-level zarr.json …": version 0.4 has none.
        msg = (
            f"version={version!r} is not written to zip archives like {name}, whose first member "
            "is a zarr.json (RFC-9). Convert to version='0.5', or to a folder."
        )
        raise OmeZarrError(msg)
    old = any(group.zarr_format != spec.V3 for group in groups)
    return "0.5" if version is None and old else version


def _superseded(work: Work) -> set[str]:
    """Give the keys of the metadata of what gets others."""
    paths = [group.path for group, _ in work.groups]
    paths += [step.array.path for step in work.arrays]
    return {join(path, file) for path in paths for file in documents.METADATA_FILES}


def _summaries(
    source: Place,
    groups: Sequence[Group],
    work: Work,
    edited: Mapping[str, Mapping[str, Any]],
) -> dict[str, Mapping[str, Any]]:
    """Bring consolidated metadata up to date, where the groups stay in their format of Zarr."""
    paths = {group.path for group, _ in work.groups} | {step.array.path for step in work.arrays}
    above = {path[:i] for path in paths for i, sign in enumerate(path) if sign == "/"}
    if paths:
        above |= {""}
    moved = {g.path for g, _ in work.groups if g.zarr_format != work.zarr_format}
    known = [group for group in groups if group.path in above | paths and group.path not in moved]
    found: dict[str, Mapping[str, Any]] = {}
    for group in known:
        summary = group.document.get("consolidated_metadata")
        summary = summary if isinstance(summary, dict) else {}
        entries = summary.get("metadata")
        if not isinstance(entries, dict):
            continue
        key = join(group.path, "zarr.json")
        new = {}
        for path, entry in entries.items():
            now = edited.get(join(group.path, path, "zarr.json"), entry)
            if isinstance(entry, dict) and "consolidated_metadata" in entry:
                now = {**now, "consolidated_metadata": entry["consolidated_metadata"]}
            new[path] = now
        whole = dict(edited.get(key, group.document))
        found[key] = {**whole, "consolidated_metadata": {**summary, "metadata": new}}
    v2 = [join(group.path, ".zmetadata") for group in known if group.zarr_format == spec.V2]
    for key, content in zip(v2, storage.read_bytes(source, *v2), strict=True):
        if content is not None:
            old = storage.parse_json(content, source, key)
            entries = old.get("metadata")
            above_it = key.removesuffix(".zmetadata")
            if isinstance(entries, dict):
                now = {name: edited.get(above_it + name, entry) for name, entry in entries.items()}
                found[key] = {**old, "metadata": now}
    return found


def _carried(
    found: Callable[[], Iterator[Parcel]], changed: Mapping[str, ArrayStep]
) -> Iterator[Parcel]:
    """Give the objects that are carried as they are, chunks that move under their new keys."""
    for parcel in found():
        key = parcel.key
        ends = (i for i, sign in enumerate(key) if sign == "/")
        path = next((key[:i] for i in ends if key[:i] in changed), None)
        if path is None:
            yield parcel
            continue
        step, name = changed[path], key[len(path) + 1 :]
        if not copies.chunk_names([name], step.array.metadata):
            yield parcel
        elif step.way == "moved":
            new = join(path, formats.new_key(name, step.array.metadata))
            yield Parcel(key, new, parcel.size)


def _encoding(step: ArrayStep) -> Encoding:
    """Give what encodes an array anew."""
    new = copies.opened(copies.nowhere(), "array", step.metadata)
    return Encoding(new.size * new.dtype.itemsize, partial(_encode, step))


def _encode(
    step: ArrayStep,
    source: Place,
    target: Place,
    there: Collection[str],
    done: Callable[[int], object],
) -> None:
    path = step.array.path
    try:
        old = copies.opened(source.store, source.key(path), step.array.metadata)
        new = copies.opened(target.store, target.key(path), step.metadata)
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{source.name}/{path} cannot be read by Zarr: {error}."
        raise OmeZarrError(msg) from error
    try:
        copies.encode(
            old,
            new,
            skip=lambda box: (
                bool(there)
                and all(join(path, key) in there for key in copies.keys_in(box, step.metadata))
            ),
            done=done,
        )
    except OmeZarrError:
        raise
    except Exception as error:
        # What Zarr, its codecs and stores raise names neither.
        msg = (
            f"{source.name}/{path} could not be encoded anew at {target.name}: "
            f"{type(error).__name__}: {error}."
        )
        raise OmeZarrError(msg) from error


# ── archives ─────────────────────────────────────────────────────────────────────────────────────


def _pack(job: Job, work: Work, path: Path, *, bar: bool | None) -> Delivered:
    """Write an archive: all metadata, then all else."""
    objects = list(job.objects())
    # What is named like metadata stands at the head with them.
    kept = [parcel for parcel in objects if draft.is_kept(parcel.to)]
    carried = [parcel for parcel in objects if not draft.is_kept(parcel.to)]
    contents = {key: deliveries.to_bytes(document) for key, document in job.documents.items()}
    contents |= _read(job.source, [*job.metadata, *kept])
    head = packing.in_order(contents)
    archive = Draft(path, head, packing.comment(work.version), before=None, fsync=False)
    target = Place(archive, "", str(path), owned=False)
    total = sum(parcel.size or 0 for parcel in carried) + sum(e.nbytes for e in job.encodings)
    try:
        with progress.carrying(
            None if job.listed is None else total, job.count, bar=progress.shown(bar)
        ) as advance:
            freight.carry(
                job.source, target, carried, largest=job.largest, done=lambda _, size: advance(size)
            )
            for encoding in job.encodings:
                encoding.write(job.source, target, (), advance)
        for key, content in head.items():
            storage.write_bytes(target, key, content)
        archive.finish()
    except BaseException as error:
        archive.abort()
        if isinstance(error, OSError) and not isinstance(error, OmeZarrError):
            # Of a full disk, it does not say which one.
            msg = f"{path} could not be written, and nothing of it is left: {error}."
            raise OmeZarrError(msg) from error
        raise
    return Delivered(len(list(archive.keys())), path.stat().st_size, 0)


def _read(source: Place, parcels: Sequence[Parcel]) -> dict[str, bytes]:
    """Read small objects, by the keys that they get."""
    found = {}
    for start in range(0, len(parcels), storage.REQUESTS):
        some = parcels[start : start + storage.REQUESTS]
        contents = storage.read_bytes(source, *(parcel.key for parcel in some))
        for parcel, content in zip(some, contents, strict=True):
            if content is not None:
                found[parcel.to] = content
    return found
