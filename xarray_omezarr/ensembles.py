"""Many images → a plate, a series or a scene: the images first, and what lists them last.

A journal at the group says what is under way. Each image is written like any other, some side by
side, and noted once it stands. With the last of them come the wells and the group itself: until
then, nothing says that there is a plate, and whatever interrupts this can be gone on with.
"""

from __future__ import annotations

import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from xarray_omezarr import (
    coordinates,
    documents,
    edits,
    layouts,
    members,
    plates,
    progress,
    spec,
    storage,
    stores,
    transaction,
    write,
)
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileExistsError, warn
from xarray_omezarr.guess import is_archive
from xarray_omezarr.transaction import Target
from xarray_omezarr.works import is_default, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import xarray as xr
    from dask.delayed import Delayed

    from xarray_omezarr.layouts import Content, Layout
    from xarray_omezarr.members import Listing
    from xarray_omezarr.storage import Node
    from xarray_omezarr.stores import Place
    from xarray_omezarr.stream import Running, Work
    from xarray_omezarr.works import Grid, Options

#: So many images are begun at a time. What is in memory of their pixels is a block a worker.
BESIDE = 16


@dataclass(frozen=True)
class Item:
    """An image that is to be written."""

    path: str
    """Below the group."""
    works: Sequence[Work]
    """The image, and its label images after it."""
    grid: Grid
    options: Options
    then: Callable[[], None]
    """What is done once it stands."""


def _item(path: str, content: Content, options: Options, then: Callable[[], None]) -> Item:
    works, grid = content.works(options)
    return Item(path, works, grid, options, then)


def applies(
    tree: xr.DataTree,
    variable: str | None,
    target: object,
    group: str | None,
    storage_options: Mapping[str, Any] | None,
) -> bool:
    """Say whether a tree is several images, or is written to where only several can be."""
    if not layouts.is_image(tree, variable):
        return True
    if not group or is_archive(target):
        return False
    found = members.listing_of(stores.locate(target, group, storage_options=storage_options))
    return found is not None and members.room(*found) > 0


def write_tree(
    tree: xr.DataTree,
    variable: str | None,
    target: object,
    *,
    group: str | None,
    options: Options,
    running: Running,
    storage_options: Mapping[str, Any] | None,
) -> Delayed | None:
    """Write the images of a tree, and what lists them.

    Parameters
    ----------
    tree
        Images with their levels and label images, at "/row/column/field", or as they were opened.
    variable
        What holds the pixels.
    target, group, storage_options
        Where to; see `stores.locate`.
    options
        How.
    running
        Whether to write now, and how.
    """
    if is_archive(target):
        msg = (
            f"{target}: an archive is written of a single image; a plate, a series or a scene is "
            "written to a folder or another store."
        )
        raise OmeZarrError(msg)
    # A store that is opened for writing is made where there is none.
    found = members.listing_of(stores.locate(target, group, storage_options=storage_options))
    added = found is not None and members.room(*found) > 0 and (found[1] or options.mode == "a")
    if found is None or not added:
        layout = layouts.of_tree(tree, variable)
        _check_levels(layout, options)
        place = stores.locate(target, group, write=True, storage_options=storage_options)
        return _make(layout, place, options, running)
    listing, inner = found
    layout = layouts.of_tree(tree, variable, members.room(listing, inner), listing.kind)
    _check_levels(layout, options)
    place = stores.locate(target, group, write=True, storage_options=storage_options)
    within = replace(listing, place=replace(listing.place, store=place.store))
    return _add(layout.below(inner), within, options, running)


def _check_levels(layout: Layout, options: Options) -> None:
    """Check that nothing is asked for of levels that are there already."""
    asked = [key for key in ("levels", "method", "boundary") if not is_default(options, key)]
    whole = [path for path, content in layout.images.items() if len(content.levels) > 1]
    if asked and whole:
        msg = (
            f"{', '.join(asked)}: the levels of {whole[0]} are written as they are. To have new "
            "ones made, leave only the finest in the tree."
        )
        raise OmeZarrError(msg)


# ── added to what is there ───────────────────────────────────────────────────────────────────────


def _add(layout: Layout, listing: Listing, options: Options, running: Running) -> Delayed | None:
    """Write images that are listed one by one, each as soon as it stands."""
    place = listing.place
    fields = {
        path: coordinates.acquisition_of(content.array) for path, content in layout.images.items()
    }
    seats = {path: members.Seat(listing, path, told) for path, told in fields.items()}
    for seat in seats.values():
        seat.check(options.version)
    known = tuple(layout.relations()) if listing.kind == "scene" else ()
    mode = "w-" if options.mode == "a" else options.mode
    options = replace(options, mode=mode, version=listing.version)
    items = []
    stand = _standing(place, list(fields), listing.zarr_format)
    for path, content in layout.images.items():
        if path in stand and mode != "w" and not running.resume:
            msg = (
                f"{place.below(path).name} exists, and nothing was changed. Leave it out, or "
                "replace it by group= and mode='w'."
            )
            raise OmeZarrFileExistsError(msg)
        works, grid = content.works(options)
        seat = replace(seats[path], known=known).of(works[0].image)
        then = partial(seat.take, fsync=running.fsync)
        items.append(Item(path, works, grid, options, then))
    if running.resume:
        for item in items:
            if item.path in stand:
                # It is as it should be, but that it may not be listed yet.
                item.then()
        items = [item for item in items if item.path not in stand]
    return _run(items, place, running, partial(_nothing_more, place))


def _standing(place: Place, paths: Sequence[str], zarr_format: int) -> set[str]:
    """Give those of some paths at which there is an image that is finished."""
    file = documents.METADATA[zarr_format]
    found = set()
    for start in range(0, len(paths), storage.REQUESTS):
        some = paths[start : start + storage.REQUESTS]
        keys = [f"{path}/{name}" for path in some for name in (file, storage.JOURNAL)]
        contents = storage.read_bytes(place, *keys)
        pairs = zip(some, contents[::2], contents[1::2], strict=True)
        found |= {path for path, there, journal in pairs if there and journal is None}
    return found


def _nothing_more(place: Place) -> None:
    place.close()


# ── made anew ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Frame:
    """What lists the images, and the groups between it and them."""

    version: str
    attributes: Mapping[str, Any]
    """Those of the group."""
    groups: Mapping[str, Mapping[str, Any] | None]
    """The attributes of groups below it, by their paths; None for those that just have to be."""
    files: Mapping[str, bytes]
    """Other files below it."""

    @property
    def zarr_format(self) -> int:
        """The format of Zarr that all of it is in."""
        return spec.ZARR_FORMATS[self.version]


def _frame(layout: Layout, options: Options) -> Frame:
    version = version_of(options, layout.version)
    attributes: Mapping[str, Any] = {}
    groups: dict[str, Mapping[str, Any] | None] = {}
    files: dict[str, bytes] = {}
    for path in layout.images:
        parts = path.split("/")
        groups |= {"/".join(parts[:depth]): None for depth in range(1, len(parts))}
    if layout.kind == "plate":
        plate, wells = layout.plate(version)
        attributes = plates.plate_attributes(plate)
        groups |= {path: plates.well_attributes(well) for path, well in wells.items()}
    elif layout.kind == "well":
        attributes = plates.well_attributes(layout.well(version))
    elif layout.kind == "series":
        series = layout.series(version)
        attributes, folder = plates.series_attributes(series)
        if folder or series.xml is not None:
            groups[plates.SERIES_FOLDER] = folder
        if series.xml is not None:
            files[plates.SERIES_XML] = series.xml
    else:
        attributes = layout.others(version, warn)
    return Frame(version, attributes, groups, files)


def _make(layout: Layout, place: Place, options: Options, running: Running) -> Delayed | None:
    """Write images, and the group that lists them once all of them stand."""
    frame = _frame(layout, options)
    target, left = _prepare(layout, frame, place, options, running)
    options = replace(options, version=frame.version)
    if options.mode == "a":
        options = replace(options, mode="w-")
    # What an unfinished write has left is given up with it.
    anew = replace(options, mode="w", existing_labels="drop")
    paths = [path for i, path in enumerate(layout.images) if (0, i) in target.done]
    # What was noted may yet have to be cleaned up.
    stand = _standing(place, paths, frame.zarr_format)
    items = [
        _item(
            path,
            content,
            anew if path in left else options,
            partial(transaction.record, target, 0, number),
        )
        for number, (path, content) in enumerate(layout.images.items())
        if path not in stand and not target.committed
    ]
    with storage.explained(place):
        transaction.enter(target, _entry(target, layout))
    return _run(items, place, running, partial(_finish, target, frame))


def _prepare(
    layout: Layout, frame: Frame, place: Place, options: Options, running: Running
) -> tuple[Target, frozenset[str]]:
    """Look at a place for a group of images, and touch nothing; tell what is left there."""
    if options.mode not in ("w-", "w", "a"):
        msg = (
            f"mode={options.mode!r} is not known here; expected 'w-' (refuse what exists), 'w' "
            "(replace), or 'a' (add to what is there)."
        )
        raise OmeZarrError(msg)
    transaction.check_writable(place)
    v3, v2, content = storage.read_bytes(
        place, documents.METADATA[3], documents.METADATA[2], storage.JOURNAL
    )
    try:
        node = None if v3 is None and v2 is None else storage.node_of(place, v3, v2)
        journal = {} if content is None else storage.parse_json(content, place, storage.JOURNAL)
    except OmeZarrError as error:
        msg = f"{error} It was left untouched."
        raise OmeZarrFileExistsError(msg) from error
    checks = transaction.checks_of(
        {
            "kind of group": layout.kind,
            "images": list(layout.images),
            "metadata of the group": frame.attributes,
        }
    )
    own = journal if running.resume and "images" in journal else None
    before = _digest(v3, v2)
    left: frozenset[str] = frozenset()
    if own is not None:
        transaction.check_same(place, own["checks"], checks)
    else:
        left = _check_replaceable(layout, frame, place, node, journal, options)
    owner = secrets.token_hex(4)
    token = owner if own is None else str(own["write"])
    target = Target(
        place=place,
        zarr_format=frame.zarr_format,
        token=token,
        owner=owner,
        paths=(),
        superseded=(),
        checks=checks,
        done=frozenset() if own is None else transaction.records(place, token),
        resumed=own is not None,
        committed=own is not None and own.get("before") != before,
        laid_out=False,
        fsync=running.fsync,
        before=(v3, v2),
        journal=content,
        attributes=transaction.foreign_attributes(place, node, v3),
        leftovers=_leftovers(place, frame.groups if journal else ()),
    )
    return target, left


def _leftovers(place: Place, groups: Iterable[str]) -> tuple[str, ...]:
    """Give the keys of what whoever was killed has left half written, of what lists the images."""
    found = [storage.leftovers(place), *(storage.leftovers(place.below(path)) for path in groups)]
    return tuple(key for keys in found for key in keys)


def _digest(*contents: bytes | None) -> str:
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:16]


def _entry(target: Target, layout: Layout) -> dict[str, Any]:
    # A write that goes on began with what the first attempt found.
    before = _digest(*target.before) if not target.committed else ""
    return {
        "write": target.token,
        "owner": target.owner,
        "images": list(layout.images),
        "before": before,
        "checks": dict(target.checks),
    }


def _check_replaceable(  # noqa: PLR0917 - all of them say what is there, or is to be
    layout: Layout,
    frame: Frame,
    place: Place,
    node: Node | None,
    journal: Mapping[str, Any],
    options: Options,
) -> frozenset[str]:
    """Check that a group can be made, and give the images that an unfinished write has left.

    Raises
    ------
    OmeZarrFileExistsError
        Where there is something that the mode does not allow to replace, or that would be lost.
    """
    what = layout.kind or "group of images"
    if node is None and not journal and not transaction.anything(place):
        return frozenset()
    if node is None and "images" in journal:
        lost = [path for path in journal["images"] if path not in layout.images]
        if lost:
            msg = (
                f"{place.name} has what is left of another write that was interrupted, of "
                f"{_some(lost)} besides. Remove it yourself, or write to another path."
            )
            raise OmeZarrFileExistsError(msg)
        return frozenset(journal["images"])
    found = "something else" if node is None or node.kind is None else f"a {node.kind}"
    if node is None or node.kind != layout.kind or layout.kind is None:
        msg = (
            f"{place.name} exists and is no {what} but {found}; it was left untouched. Write to "
            "another path, or remove it yourself."
        )
        raise OmeZarrFileExistsError(msg)
    if options.mode != "w":
        more = "use mode='a' to add to it, " if what in {"plate", "series", "scene"} else ""
        msg = (
            f"{place.name} exists. Write to another path, {more}or use mode='w' to replace the "
            f"images of the {what}."
        )
        raise OmeZarrFileExistsError(msg)
    if node.zarr_format != frame.zarr_format:
        msg = (
            f"{place.name} is of Zarr v{node.zarr_format}, and version {frame.version} is of "
            f"v{frame.zarr_format}: its images cannot be replaced one by one. Write to another "
            "path, or upgrade it first (xarray_omezarr.upgrade)."
        )
        raise OmeZarrFileExistsError(msg)
    listed = list(_listed(place, node))
    lost = [path for path in listed if path not in layout.images]
    if lost:
        msg = (
            f"{place.name} has images that this tree has not: {_some(lost)}. Write to another "
            "path, or replace single images by group=. Nothing was changed."
        )
        raise OmeZarrFileExistsError(msg)
    if options.existing_labels is None:
        _check_labels(layout, place, listed)
    return frozenset()


def _check_labels(layout: Layout, place: Place, listed: Sequence[str]) -> None:
    """Check that no label image would be left without anybody saying what becomes of it."""
    with ThreadPoolExecutor(BESIDE) as pool:
        found = pool.map(transaction.label_paths, [place.below(path) for path in listed])
    for path, there in zip(listed, found, strict=True):
        left = [name for name in there if name not in layout.images[path].names]
        if left:
            msg = (
                f"{place.below(path).name} has label images that this tree has not: "
                f"{', '.join(left)}. Say what becomes of them: existing_labels='keep' (where the "
                "pixels are the same ones) or 'drop'. Nothing was changed."
            )
            raise OmeZarrFileExistsError(msg)


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 4} more" if len(paths) > 4 else ""  # noqa: PLR2004
    return ", ".join(paths[:4]) + more


def _listed(place: Place, node: Node) -> Iterator[str]:
    """Yield the paths of the images that a group lists."""
    silent: Any = {"zarr_format": node.zarr_format, "warn": lambda _: None}
    if node.kind == "plate":
        plate = plates.parse_plate(node.attributes, place=place.name, **silent)
        wells = [well.path for well in plate.wells]
        found = storage.fetch_each(place, wells, node.zarr_format)
        for path, one in zip(wells, found, strict=True):
            if not isinstance(one, OmeZarrError):
                inner = plates.parse_well(one.attributes, place=place.below(path).name, **silent)
                yield from (f"{path}/{field.path}" for field in inner.fields)
    elif node.kind == "series":
        (folder,) = storage.fetch_each(place, [plates.SERIES_FOLDER], node.zarr_format)
        attributes = None if isinstance(folder, OmeZarrError) else folder.attributes
        series = plates.parse_series(node.attributes, attributes, None, place=place.name, **silent)
        yield from _numbered(place) if series.paths is None else series.paths
    elif node.kind == "well":
        well = plates.parse_well(node.attributes, place=place.name, **silent)
        yield from (field.path for field in well.fields)


def _numbered(place: Place) -> Iterator[str]:
    """Yield 0, 1, 2 and so on, as far as there is something."""
    number = 0
    while storage.fetch(place.below(str(number))) is not None:
        yield str(number)
        number += 1


def _finish(target: Target, frame: Frame) -> None:
    """Make the images what they are together, the group itself last."""
    place = target.place
    with storage.explained(place):
        if not target.committed:
            _check_complete(target)
            files = {place.key(file): content for file, content in frame.files.items()}
            for path, attributes in frame.groups.items():
                if attributes is None:
                    members.make_group(place, path, frame.zarr_format)
                else:
                    files |= _group_files(place.below(path), attributes, frame.zarr_format)
            failed = edits.replace_files(place.store, files)
            if failed:
                raise next(iter(failed.values()))
            for key in files if target.fsync else ():
                storage.flush(replace(place, path=""), key)
            transaction.commit(target, frame.attributes)
        transaction.clean(target)
    place.close()


def _check_complete(target: Target) -> None:
    """Check that somebody else has not begun to write there."""
    if not transaction.holds(target):
        raise transaction.taken(target.place)


def _group_files(place: Place, attributes: Mapping[str, Any], zarr_format: int) -> dict[str, bytes]:
    if zarr_format == spec.V3:
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        return {place.key("zarr.json"): storage.to_bytes(group)}
    return {
        place.key(".zgroup"): storage.to_bytes({"zarr_format": 2}),
        place.key(".zattrs"): storage.to_bytes(attributes),
    }


# ── many images ──────────────────────────────────────────────────────────────────────────────────


def _run(
    items: Sequence[Item], place: Place, running: Running, finish: Callable[[], None]
) -> Delayed | None:
    """Write images, some side by side, and what comes after the last of them."""
    import dask

    untyped: Any = dask
    with ThreadPoolExecutor(BESIDE) as pool:
        if not running.compute:
            tasks = list(pool.map(partial(_task, place, running), items))
            task: Delayed = untyped.delayed(partial(_after, finish), pure=False)(tasks)
            return task
        with progress.counting(len(items), " images", bar=running.progress) as advance:
            for start in range(0, len(items), BESIDE):
                some = items[start : start + BESIDE]
                tasks = list(pool.map(partial(_task, place, running), some))
                every = untyped.delayed(list, pure=False)(tasks)
                # A store in this process's memory is written to by this process.
                here = stores.in_memory(place.store)
                progress.compute(every, {}, here=here, bar=False)
                advance(len(some))
    finish()
    return None


def _task(place: Place, running: Running, item: Item) -> Delayed:
    """Begin to write an image; give the task that does."""
    task = write.put(
        item.works,
        item.grid,
        place.below(item.path),
        options=item.options,
        running=replace(running, compute=False, progress=False),
        then=item.then,
    )
    assert task is not None  # noqa: S101 - it is not computed here
    return task


def _after(finish: Callable[[], None], done: object) -> None:
    """Finish, once all images are done."""
    del done
    finish()
