"""A place that an image is written to: look, claim, create, commit.

An image is written in one way on every store. A journal beside the arrays says what is under way;
arrays go to paths that no dataset has; one write of the group's metadata makes them the image; what
they supersede is removed after that, and the journal last. Whatever interrupts this, the old image
or the new one is there whole, and an image that was never finished has no metadata to be opened by.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import zarr
from zarr.buffer import cpu, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from xarray_omezarr import chunked, documents, exchange, multiscale, spec, storage, stores
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileExistsError, warn
from xarray_omezarr.guess import local_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from xarray_omezarr.plan import Plan
    from xarray_omezarr.storage import Node
    from xarray_omezarr.stores import Place


#: So many seconds somebody who begins waits for others, and somebody who is finished.
_SOON, _LONG = 0.5, 60.0


@dataclass(frozen=True)
class Target:
    """A place that an image is being written to."""

    place: Place
    zarr_format: int
    token: str
    """Names this write, and each attempt to finish it."""
    owner: str
    """Names this attempt; in the journal it says whose the target is."""
    paths: tuple[str, ...]
    """The paths of the arrays to be written, which no dataset had before."""
    superseded: tuple[str, ...]
    """The paths of arrays that go when this write is finished."""
    checks: Mapping[str, str]
    """What has to be the same where a write is resumed, by what people call it."""
    done: frozenset[tuple[int, int]]
    """The blocks that an earlier attempt has written: their passes and their numbers."""
    resumed: bool
    """Whether there was an earlier attempt, whose arrays are there."""
    committed: bool
    """Whether these are the image already, and only what is left is to be removed."""
    laid_out: bool
    """Whether it is being filled by regions."""
    fsync: bool
    """Whether what is written has to be on the disk before it counts."""
    before: tuple[bytes | None, bytes | None]
    """The metadata files that were there when the write began."""
    journal: bytes | None
    """The journal that was there."""
    attributes: Mapping[str, Any]
    """Attributes of the group that are not OME-Zarr's, and stay."""
    leftovers: tuple[str, ...] = ()
    """The keys of files that somebody who was killed has left half written."""
    dropped: tuple[str, ...] = ()
    """The label images that go when this write is finished."""
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the journals of the label images say that are written with it, by their names."""
    file: str = storage.JOURNAL
    """The journal that the write is entered into."""
    listed: bool = False
    """Whether a plate or the like lists the image once it stands, and makes the groups above it."""


def prepare(
    place: Place,
    *,
    mode: str,
    zarr_format: int,
    levels: int,
    scratch: int,
    label: bool,
    checks: Mapping[str, str],
    resume: bool,
    fsync: bool,
    drop: Sequence[str] = (),
    leader: Target | None = None,
) -> Target:
    """Look at a place for an image of so many levels, and touch nothing.

    The first of the targets of a write is the leader of the others, whose journal goes last.

    Raises
    ------
    OmeZarrFileExistsError
        Where there is something that the mode does not allow to replace.
    OmeZarrError
        Where a write is to be resumed that was another one.
    """
    if mode not in ("w-", "w"):
        msg = (
            f"mode={mode!r} is not known here; expected 'w-' (refuse what exists), 'w' (replace), "
            "or 'a' (add the label images of a Dataset)."
        )
        raise OmeZarrError(msg)
    check_writable(place)
    v3, v2, content = storage.read_bytes(
        place, documents.METADATA[3], documents.METADATA[2], storage.JOURNAL
    )
    try:
        node = None if v3 is None and v2 is None else storage.node_of(place, v3, v2)
        journal = None if content is None else _journal(place, content)
    except OmeZarrError as error:
        msg = f"{error} It was left untouched."
        raise OmeZarrFileExistsError(msg) from error
    own = journal if resume and journal and "checks" in journal else None
    if own is None and journal is None and leader is not None:
        own = _finished(leader, place, node, levels)
    name = place.path.rpartition("/")[2]
    # Plain numbers where there is nothing; with the token of this write where anything else is, or
    # may still be written by somebody else, or is being removed.
    fresh = node is None and journal is None and (leader is None or name not in leader.dropped)
    if own is not None:
        check_same(place, own["checks"], checks)
    else:
        _check_replaceable(place, node, mode, unfinished=not fresh, label=label)
        if journal is not None and "layout" in journal and mode != "w":
            msg = (
                f"{place.name} has been laid out, and regions of it may be written already. Write "
                "to it by region=, or use mode='w' to give it up."
            )
            raise OmeZarrFileExistsError(msg)
    if node is not None and not label and spec.image_label(node.attributes, node.zarr_format):
        msg = f"{place.name} is a label image, which no image replaces. It was left untouched."
        raise OmeZarrFileExistsError(msg)
    owner = secrets.token_hex(4)
    paths = [str(i) if fresh else f"{i}-{owner}" for i in range(levels)]
    paths += [f"{i}-{owner}" for i in range(levels, levels + scratch)]
    left = [] if journal is None else [*journal["paths"], *journal["superseded"]]
    there = _dataset_paths(node)
    if journal is not None and journal["dropped"]:
        # What is still listed is not yet being removed, and may be kept now.
        listed = label_paths(place)
        drop = [*drop, *(one for one in journal["dropped"] if one not in (*listed, *drop))]
    gone = [f"labels/{one}/{path}" for one in drop for path in _paths_below(place, one)]
    if own is not None:
        paths = own["paths"]
        left = own["superseded"]
    # Of label images, those go that are dropped now, whatever an earlier attempt was told.
    going = tuple(f"labels/{one}/" for one in drop)
    left = [path for path in left if not path.startswith("labels/") or path.startswith(going)]
    if own is not None:
        there = [] if there == paths[:levels] else there
    return Target(
        place=place,
        zarr_format=zarr_format,
        token=owner if own is None else own["write"],
        owner=owner,
        paths=tuple(paths),
        superseded=tuple(dict.fromkeys([*there, *left, *gone, *paths[levels:]])),
        checks=checks,
        done=frozenset() if own is None else records(place, own["write"]),
        resumed=own is not None,
        committed=own is not None and _dataset_paths(node) == paths[:levels],
        laid_out=own is not None and "layout" in own,
        fsync=fsync,
        before=(v3, v2),
        journal=content,
        attributes=foreign_attributes(place, node, v3),
        leftovers=leftovers(place, paths if own is not None else ()),
        dropped=tuple(drop),
        parts={} if own is None else own["parts"],
    )


def _finished(
    leader: Target, place: Place, node: Node | None, levels: int
) -> dict[str, Any] | None:
    """Give what the journal of a label image said, if that is finished but its leader is not."""
    part = leader.parts.get(place.path.rpartition("/")[2])
    if part is None or _dataset_paths(node) != list(part["paths"])[:levels]:
        return None
    return {"parts": {}, **part}


def _paths_below(image: Place, label: str) -> list[str]:
    """Give the paths of a label image's arrays, if there still is one."""
    return _dataset_paths(storage.fetch(image.below("labels", label)))


def leftovers(place: Place, paths: Sequence[str]) -> tuple[str, ...]:
    """Give the keys of what was left half written: of a group, some of its arrays, and lists."""
    above = replace(place, path=place.path.rpartition("/")[0])
    lists = [place.below("labels"), *([above] if above.path.endswith("labels") else [])]
    found = [storage.leftovers(place, *paths), *map(storage.leftovers, lists)]
    return tuple(key for keys in found for key in keys)


def _journal(place: Place, content: bytes) -> dict[str, Any]:
    """Read what a write that did not finish has left: paths below the group, and nothing else."""
    found = storage.parse_json(content, place, storage.JOURNAL)
    where = f"{place.name}/{storage.JOURNAL}: a path"

    def checked(entry: Mapping[str, Any]) -> dict[str, Any]:
        paths = {
            key: [spec.check_path(path, where) for path in entry.get(key) or ()]
            for key in ("paths", "superseded", "dropped")
        }
        return {"write": "", **entry, **paths}

    parts = {name: checked(part) for name, part in (found.get("parts") or {}).items()}
    return {**checked(found), "parts": parts}


#: What may differ where a write is resumed, since functions have no lasting names.
_VOUCHED = "graph of dask"


def check_same(place: Place, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Check that a write is the one that was interrupted, as far as both can be told."""
    differing = [key for key, value in now.items() if before.get(key, value) != value]
    if differing == [_VOUCHED]:
        warn(
            f"{place.name}: the write that was interrupted there was begun with another graph of "
            "dask. That its pixels are the same ones is taken on your word."
        )
    elif differing:
        msg = (
            f"{place.name}: the write that was interrupted there is not this one; they differ in "
            f"the {', the '.join(differing)}. Resume it with the image and the arguments that it "
            "was begun with, or begin anew (without resume=True)."
        )
        raise OmeZarrError(msg)


def checks_of(found: Mapping[str, object]) -> dict[str, str]:
    """Give what tells one write from another, by what people call it; without what is None."""
    return {
        key: hashlib.sha256(storage.to_bytes({"": value})).hexdigest()[:16]
        for key, value in found.items()
        if value is not None
    }


def record(target: Target, number: int, index: int) -> None:
    """Note that a block is written: chunks that are absent may just hold the fill value."""
    key = f"{storage.RECORDS}/{target.token}.{number}.{index}"
    storage.write_bytes(target.place, key, b"done", fsync=target.fsync)


def check_complete(target: Target, blocks: int) -> None:
    """Check that all blocks have been noted, before they become an image.

    Raises
    ------
    OmeZarrError
        Where some are not: nothing is then made of the others.
    """
    if not target.place.store.supports_listing:
        return
    found = len(records(target.place, target.token))
    if found != blocks:
        msg = (
            f"{target.place.name}: {found} of {blocks} blocks are noted as written. It was not "
            "made an image; write it again with resume=True."
        )
        raise OmeZarrError(msg)


def records(place: Place, token: str) -> frozenset[tuple[int, int]]:
    """Give the blocks that are noted as written."""
    found = set()
    for name in storage.list_names(place.below(storage.RECORDS)):
        write, *numbers = name.split(".")
        if write == token and len(numbers) == 2 and all(map(str.isdecimal, numbers)):  # noqa: PLR2004
            found.add((int(numbers[0]), int(numbers[1])))
    return frozenset(found)


def claim(target: Target) -> None:
    """Enter a write into the journal of its place.

    Raises
    ------
    OmeZarrError
        Where somebody else was first.
    """
    enter(target, _entry(target))


def claim_all(targets: Sequence[Target], claim: Callable[[Target], None] = claim) -> None:
    """Enter a write into all journals, or into none.

    Raises
    ------
    OmeZarrError
        Where somebody else was first.
    """
    for number, target in enumerate(targets):
        try:
            claim(target)
        except Exception:
            for other in targets[:number]:
                with suppress(Exception):
                    _release(other)
            raise


def _release(target: Target) -> None:
    """Take back what has been entered into a journal."""
    if target.journal is None:
        storage.delete_files(target.place, (target.file,))
    else:
        storage.write_bytes(target.place, target.file, target.journal, fsync=target.fsync)


def together(targets: Sequence[Target]) -> list[Target]:
    """Let the first of some targets know of the others, so that it can tell which are finished."""
    first, *others = targets
    parts = {target.place.path.rpartition("/")[2]: _entry(target) for target in others}
    dropped = tuple(name for name in first.dropped if name not in parts)
    return [replace(first, parts=parts, dropped=dropped), *others]


def _entry(target: Target) -> dict[str, Any]:
    return {
        "write": target.token,
        "owner": target.owner,
        "paths": list(target.paths),
        "superseded": list(target.superseded),
        "checks": dict(target.checks),
        "dropped": list(target.dropped),
        "parts": dict(target.parts),
    }


def enter(target: Target, entry: Mapping[str, Any]) -> None:
    """Write the first entry of a journal, which only one can, or take over the one there is."""
    place, file = target.place, target.file
    with stores.exclusively(place, _SOON) as alone:
        # Somebody else may have come, and gone, since this place was looked at.
        v3, v2, journal = storage.read_bytes(place, *_metadata_files(), file)
        if not alone or ((v3, v2), journal) != (target.before, target.journal):
            raise taken(place)
        if journal is not None:
            storage.write_json(place, file, entry, fsync=target.fsync)
        else:
            exchange.create(place, file, storage.to_bytes(entry))
    if not holds(target):
        raise taken(place)
    # Where nobody can be kept out, somebody may still have.
    if storage.read_bytes(place, *_metadata_files()) != list(target.before):
        storage.delete_files(place, (file,))
        raise taken(place)
    storage.delete_keys(place.store, target.leftovers)


def _metadata_files() -> tuple[str, str]:
    """Give the files whose contents tell one image from another."""
    return documents.METADATA[3], documents.METADATA[2]


def holds(target: Target) -> bool:
    """Say whether the journal of a place still names this write."""
    (journal,) = storage.read_bytes(target.place, target.file)
    if journal is None:
        return False
    return storage.parse_json(journal, target.place, target.file).get("owner") == target.owner


def lay_out(target: Target, attributes: Mapping[str, Any], shape: Sequence[int]) -> None:
    """Keep what will be the metadata of an image until regions have covered all of it."""
    layout = {**target.attributes, **attributes}
    entry = {**_entry(target), "layout": layout, "missing": [[[0, n] for n in shape]]}
    storage.write_json(target.place, storage.JOURNAL, entry, fsync=target.fsync)


class TakenError(OmeZarrError):
    """Somebody else was first."""


def taken(place: Place) -> TakenError:
    """Say that somebody else was first."""
    return TakenError(
        f"{place.name} was written to by somebody else while this image was being written; "
        "what they wrote stands. Write again, or to another path."
    )


def check_writable(place: Place) -> None:
    """Refuse a store that takes nothing, a file, and the inside of an array."""
    if place.store.read_only:
        msg = f"{place.name} is read-only. Open the store for writing."
        raise OmeZarrError(msg)
    path = local_path(place.name) if place.owned else None
    if path is not None and path.exists() and not path.is_dir():
        msg = f"{path} exists and is a file; it was left untouched. Write to another path."
        raise OmeZarrFileExistsError(msg)
    if path is not None:
        check_above(path)
    for folder in () if path is None else path.absolute().parents:
        if (folder / ".zarray").exists() or storage.describes_array(
            storage.content_of(folder / "zarr.json")
        ):
            raise _inside_array(place, str(folder))
    parts = place.path.split("/")
    for depth in range(len(parts) if place.path and path is None else 0):
        above = replace(place, path="/".join(parts[:depth]))
        v2, v3 = storage.read_bytes(above, ".zarray", "zarr.json")
        if v2 is not None or storage.describes_array(v3):
            raise _inside_array(place, above.path or str(place.store))


def check_above(path: Path) -> None:
    """Refuse a path below a file."""
    for folder in path.absolute().parents:
        if folder.is_file():
            msg = f"{path}: {folder} is a file, and no folder. Write to another path."
            raise OmeZarrFileExistsError(msg)


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
    if node is None and (unfinished or not anything(place)):
        return
    found = "something else" if node is None or node.kind is None else f"a {node.kind}"
    msg = (
        f"{place.name} exists and is no OME-Zarr image but {found}; it was left untouched. "
        "Write to another path, or remove it yourself: an image replaces only an image."
    )
    raise OmeZarrFileExistsError(msg)


def anything(place: Place) -> bool:
    """Say whether there is anything at a place that has no group's metadata."""
    path = local_path(place.name) if place.owned else None
    if path is not None:
        if not path.is_dir():
            return path.exists()
        return sum(1 for _ in path.iterdir()) > len(storage.leftovers(place))
    prefix = f"{place.path}/" if place.path else ""

    async def find() -> bool:
        async for _ in place.store.list_prefix(prefix):
            return True
        return False

    with storage.explained(place):
        return place.store.supports_listing and sync(find())


def _dataset_paths(node: Node | None) -> list[str]:
    if node is None:
        return []
    image = multiscale.parse_image(
        node.attributes, zarr_format=node.zarr_format, place="", warn=lambda _: None
    )
    return [level.path for level in image.levels]


def foreign_attributes(place: Place, node: Node | None, v3: bytes | None) -> dict[str, Any]:
    """Give the attributes of a group that are not OME-Zarr's."""
    if node is None:
        return {}
    besides: dict[str, Any] = {}
    if node.zarr_format == spec.V2 and v3 is not None:
        # A group of Zarr v3 that says nothing of OME-Zarr may say something else.
        besides = storage.parse_json(v3, place, documents.METADATA[3]).get("attributes") or {}
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
    layout, dtype = plan.arrays[number], plan.dtype
    v3 = zarr_format == spec.V3
    try:
        # Zarr makes groups of all that lies above a new array, which would put an empty group
        # where there shall be none before the commit. So it makes the array elsewhere.
        scratch = zarr.create_array(
            MemoryStore(),
            shape=layout.shape,
            # Of NumPy's two names for 64 bits, Zarr knows one.
            dtype=dtype.newbyteorder("=").str,
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
            f"An array of {dtype} cannot be stored in Zarr v{zarr_format} with {codecs}: "
            f"{error}. Expected codecs as that format takes them, like zarr.codecs.ZstdCodec() for "
            "version 0.5 and numcodecs.Zstd() for 0.4."
        )
        raise OmeZarrError(msg) from error

    async def get() -> bytes:
        content = await scratch.store.get(
            documents.ARRAY_METADATA[zarr_format], default_buffer_prototype()
        )
        assert content is not None  # noqa: S101 - it was written just now
        return content.to_bytes()

    return sync(get())


def create_arrays(target: Target, metadata: Sequence[bytes]) -> list[zarr.Array[Any]]:
    """Create the empty arrays of an image's levels, or open those that an earlier attempt made."""
    place, file = target.place, documents.ARRAY_METADATA[target.zarr_format]

    async def put_all() -> None:
        await asyncio.gather(
            *(
                place.store.set(place.key(path, file), cpu.Buffer.from_bytes(content))
                for path, content in zip(target.paths, metadata, strict=True)
            )
        )

    # An earlier attempt may have been interrupted before it had made all of them.
    if not target.committed:
        sync(put_all())
        if target.fsync:
            for path in target.paths:
                storage.flush(place, path, file)
    return [chunked.open_array(place, p, target.zarr_format, mode="r+") for p in target.paths]


def default_compressor(zarr_format: int) -> object:
    """Give the codec that images are written with, unless another is asked for.

    Blosc with LZ4 after a shuffle of bits: on fluorescence it packs tighter than Zarr's default,
    Zstandard without shuffle, at ten times its rate, and every reader of OME-Zarr knows it.
    """
    if zarr_format == spec.V3:
        from zarr.codecs import BloscCodec

        return BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
    from numcodecs import Blosc  # type: ignore[import-untyped]

    return Blosc(cname="lz4", clevel=5, shuffle=Blosc.BITSHUFFLE)


def commit(target: Target, attributes: Mapping[str, Any]) -> None:
    """Make the arrays of a target the image, in one write.

    Raises
    ------
    OmeZarrError
        Where somebody else has written to the place meanwhile; theirs stands.
    """
    with held(target):
        write_attributes(target, attributes)


@contextmanager
def held(target: Target) -> Iterator[None]:
    """Check that nobody else has written to a place meanwhile, or is about to, and keep it so."""
    with stores.exclusively(target.place, _LONG) as alone:
        now = storage.read_bytes(target.place, *_metadata_files())
        if not alone or now != list(target.before) or not holds(target):
            raise taken(target.place)
        yield


@contextmanager
def tidied(targets: Sequence[Target]) -> Iterator[None]:
    """Leave nothing behind where somebody else was first; what was only interrupted is kept."""
    try:
        yield
    except Exception as error:
        try:
            lost = [target for target in targets if _lost(target)]
            # Without their image, label images are nothing.
            for target in reversed(targets if targets[0] in lost else lost):
                give_up(target)
        except Exception:  # noqa: BLE001 - of a store that fails, what came first is told
            raise error from None
        if not lost:
            raise
        raise taken(lost[0].place) from error


def _lost(target: Target) -> bool:
    """Say whether somebody else has replaced what is written to, or is writing to it."""
    place = target.place
    v3, v2 = storage.read_bytes(place, *_metadata_files())
    return _replaced(target, v3, v2) or not holds(target)


def _replaced(target: Target, v3: bytes | None, v2: bytes | None) -> bool:
    there = _dataset_paths(storage.node_of(target.place, v3, v2))
    return (v3, v2) != target.before and set(there).isdisjoint(target.paths)


def give_up(target: Target) -> None:
    """Remove what has been written, but for what is in use, or somebody else goes on with."""
    place = target.place
    v3, v2, content = storage.read_bytes(place, *_metadata_files(), storage.JOURNAL)
    journal = None if content is None else _journal(place, content)
    mine = holds(target)
    in_use = set(_dataset_paths(storage.node_of(place, v3, v2)))
    if journal is not None and journal.get("owner") != target.owner:
        in_use.update(journal["paths"])
    if target.file == storage.JOURNAL or _replaced(target, v3, v2):
        own = [path for path in target.paths if path not in in_use]
        remove_arrays(place, own, {target.zarr_format})
    if mine or journal is None or journal["write"] != target.token:
        delete_records(target)
    if mine:
        storage.delete_files(place, (target.file,))


def write_attributes(target: Target, attributes: Mapping[str, Any]) -> None:
    """Write the metadata of a group, which make it what they say."""
    place = target.place
    v3, _ = target.before
    if not target.listed:
        ensure_parents(place, target.zarr_format)
    merged = {**target.attributes, **attributes}
    if target.zarr_format == spec.V3:
        document = {"zarr_format": 3, "node_type": "group", "attributes": merged}
        storage.write_json(place, "zarr.json", document, fsync=target.fsync)
        settle(target)
    else:
        # Consolidated metadata of the old image would lead readers of the new one astray.
        storage.delete_files(place, (".zmetadata",))
        storage.write_json(place, ".zgroup", {"zarr_format": 2}, fsync=target.fsync)
        storage.write_json(place, ".zattrs", merged, fsync=target.fsync)
        # As long as there are metadata of v3, these are what is read: this is the commit.
        storage.delete_files(place, ("zarr.json",) if v3 is not None else ())


def settle(target: Target) -> None:
    """Remove the metadata of Zarr v2 beside those of v3 that have been written."""
    _, v2 = target.before
    if target.zarr_format == spec.V3 and v2 is not None:
        # The attributes last, by which the next write would know that something is left.
        storage.delete_files(target.place, (".zmetadata", ".zgroup", ".zattrs"))


def delete_records(target: Target) -> None:
    """Remove the records of a write; where there are no others, their folder too."""
    place = target.place
    names = storage.list_names(place.below(storage.RECORDS))
    own = [name for name in names if name.startswith(f"{target.token}.")]
    if len(own) == len(names):
        storage.delete_folder(place, storage.RECORDS)
    else:
        storage.delete_files(place.below(storage.RECORDS), own)


def clean(target: Target) -> None:
    """Remove what a finished write has superseded, its records, and its journal at last."""
    place = target.place
    remove_arrays(place, target.superseded, (spec.V2, spec.V3))
    if holds(target):
        storage.delete_folder(place, storage.RECORDS)
        storage.delete_files(place, (storage.UPDATES, storage.JOURNAL))
    else:
        # Somebody has begun to replace it already, who removes what is left.
        delete_records(target)


def label_paths(place: Place) -> list[str]:
    """Give the label images that an image has; none where there is no image."""
    try:
        _, folder = storage.fetch_with_labels(place)
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
    if name not in listed:
        listed = [*listed, name]
    _write_labels(image, listed, target.zarr_format, fsync=target.fsync)


def drop_labels(target: Target) -> None:
    """Take label images off the list, and then their metadata; `clean` removes their arrays."""
    place, names = target.place, target.dropped
    listed = [name for name in label_paths(place) if name not in names]
    _write_labels(place, listed, target.zarr_format, fsync=target.fsync)
    for name in names:
        storage.delete_files(place.below("labels", name), documents.METADATA_FILES)


def _image_of(target: Target, name: str) -> Place:
    inner = f"labels/{name}"
    place = target.place
    path = place.path.removesuffix(inner).rstrip("/")
    return replace(place, path=path, name=place.name.removesuffix(inner).rstrip("/"))


def _write_labels(image: Place, names: Sequence[str], zarr_format: int, *, fsync: bool) -> None:
    """Write the list of an image's labels, in this format of Zarr and in no other."""
    place = image.below("labels")
    # 0.5: "the version MUST be the same in the whole hierarchy".
    whole, node = storage.fetch(image), storage.fetch(place)
    known = whole is not None and whole.zarr_format == zarr_format
    version = spec.version_of(whole.attributes if whole is not None and known else {}, zarr_format)
    attributes = spec.labels_attributes({} if node is None else node.attributes, names, version)
    if not names:
        storage.delete_files(place, documents.METADATA_FILES)
    elif zarr_format == spec.V3:
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        storage.write_json(place, "zarr.json", group, fsync=fsync)
        storage.delete_files(place, (".zmetadata", ".zgroup", ".zattrs"))
    else:
        storage.write_json(place, ".zgroup", {"zarr_format": 2}, fsync=fsync)
        storage.write_json(place, ".zattrs", attributes, fsync=fsync)
        storage.delete_files(place, ("zarr.json", ".zmetadata"))


def remove_arrays(place: Place, paths: Sequence[str], formats: Iterable[int]) -> None:
    """Remove arrays, their metadata first: without these, nobody takes missing chunks for zeros.

    What has turned out to be a group, whatever the metadata of an image said of it, stays.
    """

    async def remove(path: str) -> None:
        group = await place.store.get(place.key(path, "zarr.json"), default_buffer_prototype())
        if (group is not None and not storage.describes_array(group.to_bytes())) or (
            await place.store.exists(place.key(path, ".zgroup"))
        ):
            return
        for zarr_format in formats:
            await place.store.delete(place.key(path, documents.ARRAY_METADATA[zarr_format]))
        await storage.delete_tree(place.store, place.key(path))

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
            await place.store.set_if_not_exists(key, storage.to_buffer(content))

    async def ensure_all() -> None:
        parts = place.path.split("/")[:-1] if place.path else []
        for depth in range(len(parts) + 1 if place.path else 0):
            await ensure("/".join(parts[:depth]))

    sync(ensure_all())
