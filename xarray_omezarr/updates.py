"""An image that is there, and changes in part: a region of it, or more of it along an axis.

Every chunk is old or new at every moment, and the image can be read all the time; but a region is
no transaction. A journal of its own says what is pending until all levels are up to date.

An image may also have been laid out: its arrays are there, and it becomes an image once regions
have covered all of it. Until then its journal holds what its metadata will be.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import zarr

from xarray_omezarr import census, chunked, documents, multiscale, spec, storage, transaction
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.pyramid import LevelPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from xarray_omezarr.model import Image
    from xarray_omezarr.plan import Box
    from xarray_omezarr.storage import Node
    from xarray_omezarr.stores import Place
    from xarray_omezarr.transaction import Target


@dataclass(frozen=True)
class Stored:
    """An image that is there, or has been laid out."""

    place: Place
    node: Node
    image: Image
    arrays: tuple[zarr.Array[Any], ...]
    journal: bytes | None
    """What its journal says, where it has been laid out and not been filled yet."""
    shapes: tuple[tuple[int, ...], ...]
    """The shapes of its levels; those before, where it was growing and was interrupted."""
    growing: bool
    """Whether it was."""

    @property
    def documents(self) -> list[bytes]:
        """What tells its arrays from others."""
        metadata = [array.metadata for array in self.arrays]
        return [
            str(one.update_shape(shape).to_dict()).encode()
            for one, shape in zip(metadata, self.shapes, strict=True)
        ]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its pixels."""
        return self.arrays[0].dtype

    def layout(
        self, shapes: Sequence[Sequence[int]], factors: Sequence[Sequence[int]]
    ) -> tuple[LevelPlan, ...]:
        """Give its levels as they will be, with the chunks and shards that they have."""
        return tuple(
            LevelPlan(tuple(shape), tuple(factor), array.chunks, array.shards)
            for array, shape, factor in zip(self.arrays, shapes, factors, strict=True)
        )


@dataclass(frozen=True)
class Update:
    """What becomes of an image besides its pixels."""

    stored: Stored
    window: Box
    """The region, in pixels of the first level."""
    shapes: tuple[tuple[int, ...], ...]
    """The shapes of the levels afterwards."""
    described: bool
    """Whether the attributes change too."""


def look(place: Place) -> Stored:
    """Read what there is to know of an image that is there or has been laid out.

    Raises
    ------
    OmeZarrError
        Where there is none, or one of its arrays cannot be opened.
    """
    content, pending = storage.read_bytes(place, storage.JOURNAL, storage.UPDATES)
    journal = {} if content is None else storage.parse_json(content, place, storage.JOURNAL)
    if "layout" in journal:
        attributes = journal["layout"]
        node = storage.Node(attributes, spec.format_of(attributes), both=False)
    else:
        content = None
        node, _ = census.fetch_image(place, labels=False)
    image = multiscale.parse_image(
        node.attributes, zarr_format=node.zarr_format, place=place.name, warn=lambda _: None
    )
    if image.version not in spec.ZARR_FORMATS:
        msg = (
            f"{place.name} is of version {image.version}, which is read but not written. Write the "
            f"image anew, as one of {', '.join(spec.ZARR_FORMATS)}."
        )
        raise OmeZarrError(msg)
    arrays = []
    paths = [level.path for level in image.levels]
    for array in chunked.open_arrays(place, paths, node.zarr_format):
        if isinstance(array, OmeZarrError):
            raise array
        arrays.append(array)
    shapes = tuple(tuple(array.shape) for array in arrays)
    if pending is not None:
        before = storage.parse_json(pending, place, storage.UPDATES).get("shapes") or shapes
        pending_shapes = tuple(tuple(map(int, shape)) for shape in before)
        if len(pending_shapes) == len(shapes):
            return Stored(place, node, image, tuple(arrays), content, pending_shapes, growing=True)
    return Stored(place, node, image, tuple(arrays), content, shapes, growing=False)


def prepare(
    update: Update, place: Place, *, checks: Mapping[str, str], resume: bool, fsync: bool
) -> Target:
    """Look whether an image can be updated, and touch nothing.

    Raises
    ------
    OmeZarrError
        Where another write of it is pending, or the one that is resumed was another one.
    """
    stored = update.stored
    transaction.check_writable(place)
    v3, v2, journal, content = storage.read_bytes(
        place, documents.METADATA[3], documents.METADATA[2], storage.JOURNAL, storage.UPDATES
    )
    if journal != stored.journal:
        msg = (
            f"{place.name} is being written to by somebody else, or that was interrupted. Try "
            "again once they are done; resume=True of the same call completes what was interrupted."
        )
        raise OmeZarrError(msg)
    pending = {} if content is None else storage.parse_json(content, place, storage.UPDATES)
    own = pending if resume and pending else None
    if own is not None and own.get("checks") != checks and _covers(update.window, own["window"]):
        # Nothing of what was interrupted is left to be completed.
        own = None
    elif own is not None:
        transaction.check_same(place, own.get("checks", {}), checks)
    elif pending:
        region = ", ".join(
            f"{dim} {start}:{stop}"
            for dim, (start, stop) in zip(stored.image.dims, pending["window"], strict=False)
        )
        msg = (
            f"{place.name}: another region ({region}) is being written, or that was interrupted. "
            "One is written at a time. If nobody is at it any more, resume=True completes it with "
            "the same pixels, or replaces it by a region that covers it."
        )
        raise OmeZarrError(msg)
    owner = secrets.token_hex(4)
    token = owner if own is None else str(own["write"])
    return transaction.Target(
        place=place,
        zarr_format=stored.node.zarr_format,
        token=token,
        owner=owner,
        paths=tuple(level.path for level in stored.image.levels),
        superseded=(),
        checks=checks,
        done=frozenset() if own is None else transaction.records(place, token),
        resumed=own is not None,
        committed=False,
        laid_out=False,
        fsync=fsync,
        before=(v3, v2),
        journal=content,
        attributes=transaction.foreign_attributes(place, stored.node, v3),
        file=storage.UPDATES,
        leftovers=transaction.leftovers(
            place, [level.path for level in stored.image.levels] if pending else ()
        ),
    )


def claim(target: Target, update: Update) -> None:
    """Note in the journal of updates that a region is being written."""
    entry = {
        "write": target.token,
        "owner": target.owner,
        "window": [list(side) for side in update.window],
        "shapes": [list(shape) for shape in update.stored.shapes],
        "checks": dict(target.checks),
    }
    transaction.enter(target, entry)


def open_arrays(update: Update, place: Place) -> list[zarr.Array[Any]]:
    """Open the levels for writing, as large as they will be; nobody else sees that yet."""
    stored = update.stored
    arrays = []
    for level, shape in zip(stored.image.levels, update.shapes, strict=True):
        array = chunked.open_array(
            place, level.path, stored.node.zarr_format, mode="r+", shape=shape, atomic=True
        )
        arrays.append(array)
    return arrays


def commit(update: Update, target: Target, attributes: Mapping[str, Any]) -> None:
    """Make what has been written visible where it is not.

    Raises
    ------
    OmeZarrError
        Where somebody else has written to the image meanwhile.
    """
    place, stored = target.place, update.stored
    with transaction.held(target):
        # The coarsest first: whoever finds a level that is longer finds all below it longer too.
        pairs = list(zip(stored.image.levels, update.shapes, strict=True))
        for level, shape in reversed(pairs):
            array = zarr.open_array(
                place.store,
                path=place.key(level.path),
                mode="r+",
                zarr_format=target.zarr_format,  # type: ignore[arg-type]
            )
            if array.shape != shape:
                _forget_consolidated(target)
                array.resize(shape)
                if target.fsync:
                    storage.flush(place, level.path, documents.ARRAY_METADATA[target.zarr_format])
        if stored.journal is not None:
            _fill_layout(update, target)
        elif update.described and stored.node.attributes != {
            **stored.node.attributes,
            **attributes,
        }:
            transaction.write_attributes(target, attributes)


def _forget_consolidated(target: Target) -> None:
    """Drop what consolidated metadata of the group say of the shapes of its arrays."""
    place = target.place
    if target.zarr_format == spec.V2:
        storage.delete_files(place, (".zmetadata",))
        return
    (content,) = storage.read_bytes(place, "zarr.json")
    document = {} if content is None else storage.parse_json(content, place, "zarr.json")
    if document.pop("consolidated_metadata", None) is not None:
        storage.write_json(place, "zarr.json", document, fsync=target.fsync)


def clean(update: Update, target: Target) -> None:
    """Remove the records and the journal of an update that is finished."""
    place, stored = target.place, update.stored
    if stored.journal is not None:
        journal = storage.parse_json(stored.journal, place, storage.JOURNAL)
        if not _missing(journal, update):
            superseded = [path for path in journal["superseded"] if path not in target.paths]
            transaction.clean(replace(target, superseded=tuple(superseded)))
            return
    storage.delete_folder(place, storage.RECORDS)
    storage.delete_files(place, (storage.UPDATES,))


def _missing(journal: Mapping[str, Any], update: Update) -> list[Box]:
    """Give what a laid out image is missing once a region has been written."""
    return [
        part
        for box in journal["missing"]
        for part in without(tuple((a, b) for a, b in box), update.window)
    ]


def _fill_layout(update: Update, target: Target) -> None:
    """Take a region off what a laid out image is missing; it is one once nothing is."""
    stored, place = update.stored, target.place
    assert stored.journal is not None  # noqa: S101 - it has been laid out
    journal = storage.parse_json(stored.journal, place, storage.JOURNAL)
    missing = _missing(journal, update)
    if missing:
        entry = {**journal, "missing": [[list(side) for side in box] for box in missing]}
        storage.write_json(place, storage.JOURNAL, entry, fsync=target.fsync)
        return
    transaction.write_attributes(target, journal["layout"])
    if "image-label" in spec.ome_attributes(journal["layout"], target.zarr_format):
        transaction.list_label(target)


def without(box: Box, window: Box) -> list[Box]:
    """Give what a box has outside of another, as boxes.

    Examples
    --------
    >>> without(((0, 10), (0, 4)), ((2, 5), (0, 4)))
    [((0, 2), (0, 4)), ((5, 10), (0, 4))]
    """
    if any(
        stop <= low or start >= high for (start, stop), (low, high) in zip(box, window, strict=True)
    ):
        return [box]
    parts = []
    rest = list(box)
    for axis, (low, high) in enumerate(window):
        start, stop = rest[axis]
        sides = [(a, b) for a, b in ((start, low), (high, stop)) if a < b]
        parts += [(*rest[:axis], side, *rest[axis + 1 :]) for side in sides]
        rest[axis] = (max(start, low), min(stop, high))
    return parts


def _covers(window: Box, pending: Sequence[Sequence[int]]) -> bool:
    return len(pending) == len(window) and all(
        low <= start and stop <= high
        for (low, high), (start, stop) in zip(window, pending, strict=True)
    )
