"""A hierarchy downloaded, or a part of one: objects carried as they are, wherever they can be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from xarray_omezarr import (
    cuttings,
    deliveries,
    extracts,
    hierarchy,
    listings,
    manifests,
    plates,
    screens,
    spec,
    storage,
    stores,
    transaction,
)
from xarray_omezarr.deliveries import Encoding, Job
from xarray_omezarr.errors import OmeZarrError, warn
from xarray_omezarr.extracts import Extract, Wanted
from xarray_omezarr.guess import is_archive, local_path
from xarray_omezarr.plan import readable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Mapping, Sequence

    import zarr
    from zarr.abc.store import Store

    from xarray_omezarr.extracts import Cut
    from xarray_omezarr.hierarchy import Group
    from xarray_omezarr.screens import Wells
    from xarray_omezarr.storage import Node
    from xarray_omezarr.stores import Place

    Target = str | os.PathLike[str] | Store | zarr.Group


@dataclass(frozen=True)
class Download:
    """What has been downloaded."""

    target: str
    """Where it is."""
    files: int
    """How many objects there are, chunks and metadata."""
    nbytes: int
    """How many bytes these have."""
    kept: int
    """How many of the objects an earlier attempt had brought."""
    encoded: int
    """How many arrays were cut, and chunks of them encoded anew."""

    def __str__(self) -> str:
        kept = f"; {self.kept} of them were there already" if self.kept else ""
        encoded = f"; {self.encoded} arrays were cut through chunks" if self.encoded else ""
        return f"{self.target}: {self.files} files, {readable(self.nbytes)}{kept}{encoded}"


def download(
    source: Target,
    destination: Target | None = None,
    *,
    group: str | None = None,
    wells: Wells | None = None,
    levels: Sequence[int | str] | int | str | None = None,
    region: Mapping[str, Any] | None = None,
    labels: Sequence[str] | str | bool | None = None,
    resume: bool = False,
    progress: bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
    missing_on_403: bool = False,
) -> Download:
    """Copy a hierarchy, or a part of one, byte for byte wherever nothing is cut.

    An image with its label images, a plate, a series or a scene: with all attributes, and whatever
    else is stored in it, like tables. Many objects are on their way side by side; large ones come
    bit by bit. At the end, each of them is as long as it was in the source.

    Parameters
    ----------
    source : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        Where it is: a path, a URL that fsspec knows, a zip archive, or a store of Zarr.
    destination : str, os.PathLike, zarr.abc.store.Store or zarr.Group, optional
        What the copy is called, anywhere but in an archive; there must be nothing yet. By default
        it has the name of the source, and is in the current folder.
    group : str, optional
        The path of the hierarchy within the store.
    wells : str, sequence of str or pandas.DataFrame, optional
        Which wells of a plate are copied: paths or names, with ``*`` and ``?``, or rows of the
        table that `wells` gives. The plate keeps its rows and columns.
    levels : int, str or sequence of these, optional
        Which levels of each image are copied, by number, from the end as well, or by path. Of label
        images with other levels, those with pixels as large.
    region : mapping, optional
        Which part of each image is copied, by axis: ``{"x": "100:200 um", "t": (0, 5)}``. Bounds
        are in the unit of the axis, or have one of their own; the pixels are meant whose centres
        are within them. ``"0:512 px"``, and numbers along channels, count pixels of the finest
        level, the last one excluded; channels also have names. Without a colon it is one position.
    labels : str or sequence of str or bool, optional
        Which label images are copied, by name: all by default, none for False or ``[]``.
    resume : bool, default False
        Whether to go on where an earlier call with the same arguments was interrupted. Objects that
        are there, as long as they should be, are not fetched again.
    progress : bool, optional
        Whether to show a bar, where there is a terminal or a notebook; as the options say, by
        default.
    storage_options, target_options : mapping, optional
        Passed on to fsspec for URLs, of the source and of the destination.
    missing_on_403 : bool, default False
        Whether an object that may not be read is taken for one that is not there.

    Returns
    -------
    Download
        What there is now; it prints as a sentence.

    Raises
    ------
    OmeZarrError
        Where there is no hierarchy, or not what is asked for; where somebody writes to it; where a
        name or a symbolic link in it leads elsewhere; where the destination exists, or a store
        fails. What was copied until then stays, for `resume`.

    Notes
    -----
    A region is cut at each level by itself, and pixels are never computed: each level has the
    pixels that it had, and says where they now begin. Levels without a pixel there are left out.
    Where a region begins with a chunk, chunks within it stay as they are; others are encoded anew,
    with the codecs of their array, and in its chunks and shards. Label images are cut alike. Tables
    and the like are copied as they are, whatever they say of what was left out. Consolidated
    metadata of a part are left out.

    A server of plain HTTP does not say what it has. From there, what the metadata name is copied,
    consolidated ones among them; there is a warning where something else might be.

    Examples
    --------
    >>> from xarray_omezarr import download
    >>> samples.coins().omezarr.to_zarr(path)
    >>> copy = download(path, f"{path}-copy", region={"y": "0:64 px"}, labels=False)
    >>> xr.open_dataset(f"{path}-copy", engine="omezarr").sizes["y"]
    64
    """
    wanted = Wanted(_levels(levels), _labels(labels), region or None)
    origin = stores.locate(
        source, group, storage_options=storage_options, missing_on_403=missing_on_403
    )
    given = destination
    if given is None:
        given = (group or "").strip("/").rpartition("/")[2] or name_for(source)
    if is_archive(given):
        msg = (
            f"{given}: nothing is downloaded to an archive. Convert the source to one "
            "(xarray_omezarr.convert, omezarr convert), or what was downloaded to a folder."
        )
        raise OmeZarrError(msg)
    target = stores.locate(given, write=True, storage_options=target_options)
    try:
        transaction.check_writable(target)
        if destination is None:
            _check_name(origin, target)
        deliveries.check_apart(origin, target, "download")
        before = deliveries.unfinished(target, "download", resume=resume)
        job = _planned(origin, target, wanted, wells)
        done = deliveries.Delivery(job, before, bar=progress).run()
        return Download(target.name, done.files, done.nbytes, done.kept, len(job.encodings))
    finally:
        target.close()
        origin.close()


def _check_name(origin: Place, target: Place) -> None:
    """Check that a copy which nobody has named would not be the source itself."""
    disk = stores.disk_of(origin.store)
    if disk is None or (disk / origin.path).resolve() != Path(target.name).resolve():
        return
    if not disk.exists():
        raise storage.nothing_there(origin)
    msg = f"{origin.name} is in the current folder already. Name a destination for its copy."
    raise OmeZarrError(msg)


# ── arguments ────────────────────────────────────────────────────────────────────────────────────


def _levels(asked: Sequence[int | str] | int | str | None) -> tuple[int | str, ...] | None:
    if asked is None:
        return None
    several = (asked,) if isinstance(asked, (int, str)) else tuple(asked)
    if not several:
        msg = "levels=[] asks for nothing; leave it out for all levels."
        raise OmeZarrError(msg)
    return several


def _labels(asked: Sequence[str] | str | bool | None) -> tuple[str, ...] | None:  # noqa: FBT001 - the argument of that name
    if asked is None or asked is True:
        return None
    if asked is False:
        return ()
    return (asked,) if isinstance(asked, str) else tuple(asked)


def name_for(source: Target) -> str:
    """Give the name that a copy gets where none is given: that of the source.

    Examples
    --------
    >>> name_for("https://host/images/cells.ome.zarr")
    'cells.ome.zarr'
    >>> name_for("images/cells.ozx")
    'cells.ome.zarr'
    """
    path = local_path(source)
    if path is not None:
        name = path.resolve().name
    else:
        shown = source if isinstance(source, str) else stores.locate(source).name
        name = unquote(urlsplit(shown).path).rstrip("/").rpartition("/")[2]
    if is_archive(name):
        name = name.rpartition(".")[0]
        name = name if name.endswith(".zarr") else f"{name}.ome.zarr"
    if not name or not spec.leads_below(name):
        msg = f"{source} has no name that a copy could have. Give the destination."
        raise OmeZarrError(msg)
    return name


# ── what is copied ───────────────────────────────────────────────────────────────────────────────


def _planned(source: Place, target: Place, wanted: Wanted, wells: Wells | None) -> Job:
    node = storage.fetch(source)
    if node is None:
        raise storage.nothing_there(source)
    hierarchy.check(source, [node.kind])
    listed = listings.entries(source)
    deliveries.check_idle(source, listed)
    chosen = None if wells is None else _wells(source, node, wells)
    partial = chosen is not None or wanted != Wanted()
    groups: list[Group] = []
    if partial or listed is None:
        left = set() if chosen is None else chosen[1]
        groups = hierarchy.walk(
            source,
            # What is assumed of images when they are read is nothing to a copy.
            warn=lambda _: None,
            wanted=lambda path: not extracts.is_below(path, left),
        )
    part = Extract()
    if partial:
        part = extracts.extract(groups, wanted, wells=chosen, place=source.name, warn=warn)
    manifest = manifests.manifest(source, listed, groups, part)
    asked = {"wells": sorted(chosen[0]) if chosen else None, "region": repr(wanted.region)}
    checks = transaction.checks_of(
        {
            "source": source.name,
            "part": [*asked.items(), repr(wanted.levels), repr(wanted.labels)],
            "contents of the source": repr(manifest.contents),
        }
    )
    return Job(
        "download",
        source,
        target,
        listed,
        manifest.objects,
        manifest.count,
        [_encoding(cut) for cut in part.cuts if not cuttings.is_same(cut)],
        manifest.metadata,
        part.documents,
        manifest.largest,
        checks,
    )


def _encoding(cut: Cut) -> Encoding:
    def write(
        source: Place, target: Place, there: Collection[str], done: Callable[[int], object]
    ) -> None:
        cuttings.encode(source, target, cut, there=there, done=done)

    return Encoding(cuttings.nbytes(cut), write)


def _wells(source: Place, node: Node, wells: Wells) -> tuple[set[str], set[str]]:
    """Give the paths of the wells that are wanted, and of those that are not."""
    if node.kind != "plate":
        msg = f"{source.name} is no plate, but of the kind '{node.kind}': it has no wells."
        raise OmeZarrError(msg)
    plate = plates.parse_plate(
        node.attributes, zarr_format=node.zarr_format, place=source.name, warn=lambda _: None
    )
    kept = {well.path for well in screens.select(plate, wells, place=source.name)}
    if not kept:
        msg = "wells=[] asks for nothing; leave it out for all wells."
        raise OmeZarrError(msg)
    return kept, {well.path for well in plate.wells} - kept
