"""A place that an image is written to: look, claim, create, commit.

An image is written in one way on every store. A journal beside the arrays says what is under way;
arrays go to paths that no dataset has; one write of the group's metadata makes them the image; what
they supersede is removed after that, and the journal last. Whatever interrupts this, the old image
or the new one is there whole, and an image that was never finished has no metadata to be opened by.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import zarr
from zarr.buffer import cpu, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from xarray_omezarr import spec, storage
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileExistsError
from xarray_omezarr.guess import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from xarray_omezarr.pyramid import Plan
    from xarray_omezarr.storage import Node, Place


@dataclass(frozen=True)
class Target:
    """A place that an image is being written to."""

    place: Place
    zarr_format: int
    token: str
    """Names this write; in the journal it says whose the target is."""
    paths: tuple[str, ...]
    """The paths of the datasets to be written, which no dataset had before."""
    superseded: tuple[str, ...]
    """The paths of arrays that go when this write is finished."""
    before: tuple[bytes | None, bytes | None]
    """The metadata files that were there when the write began."""
    journal: bytes | None
    """The journal that was there."""
    attributes: Mapping[str, Any]
    """Attributes of the group that are not OME-Zarr's, and stay."""


def prepare(place: Place, *, mode: str, zarr_format: int, levels: int, label: bool) -> Target:
    """Look at a place for an image of so many levels, and touch nothing.

    Raises
    ------
    OmeZarrFileExistsError
        Where there is something that the mode does not allow to replace.
    """
    if mode not in ("w-", "w"):
        msg = f"mode={mode!r} is not known; expected 'w-' (refuse what exists) or 'w' (replace)."
        raise OmeZarrError(msg)
    _check_writable(place)
    v3, v2, journal = storage.read_bytes(
        place, storage.METADATA[3], storage.METADATA[2], storage.JOURNAL
    )
    try:
        node = None if v3 is None and v2 is None else storage.node_of(place, v3, v2)
        unfinished = _journalled(place, journal)
    except OmeZarrError as error:
        msg = f"{error} It was left untouched."
        raise OmeZarrFileExistsError(msg) from error
    _check_replaceable(place, node, mode, unfinished=journal is not None, label=label)
    if node is not None and not label and spec.image_label(node.attributes, node.zarr_format):
        msg = f"{place.name} is a label image, which no image replaces. It was left untouched."
        raise OmeZarrFileExistsError(msg)
    # Plain numbers where there is nothing; with the token of this write where anything else is, or
    # may still be written by somebody else.
    token = secrets.token_hex(4)
    fresh = node is None and journal is None
    return Target(
        place=place,
        zarr_format=zarr_format,
        token=token,
        paths=tuple(str(i) if fresh else f"{i}-{token}" for i in range(levels)),
        superseded=tuple(dict.fromkeys([*_dataset_paths(node), *unfinished])),
        before=(v3, v2),
        journal=journal,
        attributes=_foreign_attributes(place, node, v3),
    )


def _journalled(place: Place, journal: bytes | None) -> list[str]:
    """Read what a write that did not finish has left: paths below the group, and nothing else."""
    found = {} if journal is None else storage.parse_json(journal, place, storage.JOURNAL)
    paths = [path for key in ("paths", "superseded") for path in found.get(key) or ()]
    return [spec.check_path(path, f"{place.name}/{storage.JOURNAL}: a path") for path in paths]


def claim(target: Target) -> None:
    """Enter a write into the journal of its place.

    Raises
    ------
    OmeZarrError
        Where somebody else was first.
    """
    place = target.place
    entry = {
        "write": target.token,
        "paths": list(target.paths),
        "superseded": list(target.superseded),
    }
    if target.journal is not None:
        storage.write_json(place, storage.JOURNAL, entry)
        return

    async def enter() -> None:
        await place.store._ensure_open()  # noqa: SLF001 - stores that were pickled are closed
        await place.store.set_if_not_exists(place.key(storage.JOURNAL), storage.to_buffer(entry))

    sync(enter())
    if not _holds(target):
        raise _taken(place)


def _holds(target: Target) -> bool:
    """Say whether the journal of a place still names this write."""
    (journal,) = storage.read_bytes(target.place, storage.JOURNAL)
    if journal is None:
        return False
    return storage.parse_json(journal, target.place, storage.JOURNAL).get("write") == target.token


def _taken(place: Place) -> OmeZarrError:
    return OmeZarrError(
        f"{place.name} was written to by somebody else while this image was being written; "
        "what they wrote stands. Write again, or to another path."
    )


def _check_writable(place: Place) -> None:
    """Refuse a store that takes nothing, a file, and the inside of an array."""
    if place.store.read_only:
        msg = f"{place.name} is read-only. Open the store for writing."
        raise OmeZarrError(msg)
    path = local_path(place.name) if place.owned else None
    if path is not None and path.exists() and not path.is_dir():
        msg = f"{path} exists and is a file; it was left untouched. Write to another path."
        raise OmeZarrFileExistsError(msg)
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
    if node is None and (unfinished or not _anything(place)):
        return
    found = "something else" if node is None or node.kind is None else f"a {node.kind}"
    msg = (
        f"{place.name} exists and is no OME-Zarr image but {found}; it was left untouched. "
        "Write to another path, or remove it yourself: an image replaces only an image."
    )
    raise OmeZarrFileExistsError(msg)


def _anything(place: Place) -> bool:
    """Say whether there is anything at a place that has no group's metadata."""
    path = local_path(place.name) if place.owned else None
    if path is not None:
        return path.exists() and (not path.is_dir() or any(path.iterdir()))
    prefix = f"{place.path}/" if place.path else ""

    async def find() -> bool:
        async for _ in place.store.list_prefix(prefix):
            return True
        return False

    return place.store.supports_listing and sync(find())


def _dataset_paths(node: Node | None) -> list[str]:
    if node is None:
        return []
    image = spec.parse_image(
        node.attributes, zarr_format=node.zarr_format, place="", warn=lambda _: None
    )
    return [level.path for level in image.levels]


def _foreign_attributes(place: Place, node: Node | None, v3: bytes | None) -> dict[str, Any]:
    """Give the attributes of a group that are not OME-Zarr's."""
    if node is None:
        return {}
    besides: dict[str, Any] = {}
    if node.zarr_format == spec.V2 and v3 is not None:
        # A group of Zarr v3 that says nothing of OME-Zarr may say something else.
        besides = storage.parse_json(v3, place, storage.METADATA[3]).get("attributes") or {}
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
    layout = plan.levels[number]
    v3 = zarr_format == spec.V3
    try:
        # Zarr makes groups of all that lies above a new array, which would put an empty group
        # where there shall be none before the commit. So it makes the array elsewhere.
        scratch = zarr.create_array(
            MemoryStore(),
            shape=layout.shape,
            dtype=plan.dtype.newbyteorder("="),
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
            f"An array of {plan.dtype} cannot be stored in Zarr v{zarr_format} with {codecs}: "
            f"{error}. Expected codecs as that format takes them, like zarr.codecs.ZstdCodec() for "
            "version 0.5 and numcodecs.Zstd() for 0.4."
        )
        raise OmeZarrError(msg) from error

    async def get() -> bytes:
        content = await scratch.store.get(
            storage.ARRAY_METADATA[zarr_format], default_buffer_prototype()
        )
        assert content is not None  # noqa: S101 - it was written just now
        return content.to_bytes()

    return sync(get())


def create_arrays(target: Target, metadata: Sequence[bytes]) -> list[zarr.Array[Any]]:
    """Create the empty arrays of an image's levels."""
    place, file = target.place, storage.ARRAY_METADATA[target.zarr_format]

    async def put_all() -> None:
        await asyncio.gather(
            *(
                place.store.set(place.key(path, file), cpu.Buffer.from_bytes(content))
                for path, content in zip(target.paths, metadata, strict=True)
            )
        )

    sync(put_all())
    return [
        zarr.open_array(
            place.store,
            path=place.key(path),
            mode="r+",
            zarr_format=target.zarr_format,  # type: ignore[arg-type]
        )
        for path in target.paths
    ]


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
    """Make the arrays of a target the image, in one write, and remove what they supersede.

    Raises
    ------
    OmeZarrError
        Where somebody else has written to the place meanwhile; theirs stands.
    """
    place = target.place
    v3, v2 = storage.read_bytes(place, storage.METADATA[3], storage.METADATA[2])
    if (v3, v2) != target.before or not _holds(target):
        # Arrays with this write's token in their path are nobody else's.
        own = [path for path in target.paths if target.token in path]
        remove_arrays(place, own, {target.zarr_format})
        raise _taken(place)
    ensure_parents(place, target.zarr_format)
    merged = {**target.attributes, **attributes}
    old_format = 3 if v3 is not None else 2
    if target.zarr_format == spec.V3:
        storage.write_json(
            place, "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": merged}
        )
        # The attributes last, by which the next write would know that something is left.
        storage.delete_files(place, (".zmetadata", ".zgroup", ".zattrs") if v2 is not None else ())
    else:
        # Consolidated metadata of the old image would lead readers of the new one astray.
        storage.delete_files(place, (".zmetadata",))
        storage.write_json(place, ".zgroup", {"zarr_format": 2})
        storage.write_json(place, ".zattrs", merged)
        # As long as there are metadata of v3, these are what is read: this is the commit.
        storage.delete_files(place, ("zarr.json",) if v3 is not None else ())
    remove_arrays(place, target.superseded, {old_format, target.zarr_format})
    storage.delete_files(place, (storage.JOURNAL,))


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
    _write_labels(image, listed if name in listed else [*listed, name], target.zarr_format)


def drop_labels(target: Target, names: Sequence[str]) -> None:
    """Remove label images: from the list first, so that nobody looks for what goes."""
    place = target.place
    listed = [name for name in label_paths(place) if name not in names]
    _write_labels(place, listed, target.zarr_format)
    for name in names:
        inner = place.below("labels", name)
        node = storage.fetch(inner)
        if node is not None:
            storage.delete_files(inner, storage.METADATA_FILES)
            remove_arrays(inner, _dataset_paths(node), (spec.V2, spec.V3))


def _image_of(target: Target, name: str) -> Place:
    inner = f"labels/{name}"
    place = target.place
    path = place.path.removesuffix(inner).rstrip("/")
    return replace(place, path=path, name=place.name.removesuffix(inner).rstrip("/"))


def _write_labels(image: Place, names: Sequence[str], zarr_format: int) -> None:
    """Write the list of an image's labels, in this format of Zarr and in no other."""
    place = image.below("labels")
    version = next(v for v, f in spec.ZARR_FORMATS.items() if f == zarr_format)
    node = storage.fetch(place)
    attributes = spec.labels_attributes({} if node is None else node.attributes, names, version)
    if not names:
        storage.delete_files(place, storage.METADATA_FILES)
    elif zarr_format == spec.V3:
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        storage.write_json(place, "zarr.json", group)
        storage.delete_files(place, (".zmetadata", ".zgroup", ".zattrs"))
    else:
        storage.write_json(place, ".zgroup", {"zarr_format": 2})
        storage.write_json(place, ".zattrs", attributes)
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
            await place.store.delete(place.key(path, storage.ARRAY_METADATA[zarr_format]))
        await place.store.delete_dir(place.key(path))

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
