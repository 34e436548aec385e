"""Which images there are in a group that holds several; and the errors that name them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from xarray_omezarr import documents, multiscale, plates, relations, spec, storage
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.storage import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xarray_omezarr.model import Image
    from xarray_omezarr.plates import Series
    from xarray_omezarr.stores import Place

#: So many are named in a message.
_NAMED = 4
#: Of so many kinds of assumptions is warned.
_KINDS = 8
#: So many images of a series are asked for at a time where nothing says how many there are.
_PROBED = 8


def some(names: Sequence[str]) -> str:
    """Name a few of many."""
    told = ", ".join(f"{name!r:.60}" for name in names[:_NAMED]) or "none"
    more = len(names) - _NAMED
    return f"{told} and {more} more" if more > 0 else told


class Findings:
    """What is wrong with the wells or the fields of a plate: one warning for each kind."""

    def __init__(self, place: Place, what: str) -> None:
        self._place = place
        self._what = what
        self._missing: list[str] = []
        self._broken: list[OmeZarrError] = []
        self._notes: dict[str, list[str]] = {}

    def miss(self, path: str) -> None:
        """Note that something which is listed is not there."""
        self._missing.append(path)

    def refuse(self, error: OmeZarrError) -> None:
        """Note that something cannot be read."""
        self._broken.append(error)

    def noting(self, path: str, name: str) -> Callable[[str], None]:
        """Give what notes an assumption that something needs, which messages call by a name."""

        def note(message: str) -> None:
            # What it is, and which part of it is meant, but not where.
            kind = message.removeprefix(name).removeprefix(": ").removeprefix("/")
            self._notes.setdefault(kind, []).append(path)

        return note

    def tell(self, warn: Callable[[str], None]) -> None:
        """Warn of what was noted."""
        name, what = self._place.name, self._what
        if self._missing:
            warn(f"{name}: of the {what} that are listed, {some(self._missing)} are not there; "
                 "left out")  # fmt: skip
        if self._broken:
            more = f" (and {len(self._broken) - 1} others)" if len(self._broken) > 1 else ""
            warn(f"{self._broken[0]}{more} Left out.")
        for message, paths in list(self._notes.items())[:_KINDS]:
            warn(f"{name}: the {what} {some(paths)}: {message}")
        if len(self._notes) > _KINDS:
            warn(f"{name}: there is more to say of its {what}; validate() says all of it")


def parse_member(
    place: Place,
    path: str,
    found: Node | OmeZarrError | None,
    findings: Findings,
    version: str | None,
) -> Image | None:
    """Parse the attributes of an image of several, or note why that is left out."""
    name = place.below(path).name
    if found is None:
        findings.miss(path)
    elif isinstance(found, OmeZarrError):
        findings.refuse(found)
    elif found.kind != "image":
        findings.refuse(OmeZarrError(f"{name} is no image, but {found.kind or 'a plain group'}."))
    else:
        try:
            return multiscale.parse_image(
                found.attributes,
                zarr_format=found.zarr_format,
                place=name,
                warn=findings.noting(path, name),
                version=version,
            )
        except OmeZarrError as error:
            findings.refuse(error)
    return None


def fetch_root(place: Place) -> Node:
    """Read the attributes of a group, one request after the other: of Zarr v3, there is but one.

    Raises
    ------
    OmeZarrError
        Where there is no group.
    """
    file = documents.METADATA[spec.V3]
    (v3,) = storage.read_bytes(place, file)
    node = None if v3 is None else storage.node_of(place, v3, None)
    if node is not None and node.kind is not None:
        return storage.with_other(place, node)
    v2, group = storage.read_bytes(place, documents.METADATA[spec.V2], ".zgroup")
    # An image or a plate that is being written has no attributes until it stands.
    if v2 is None and group is not None and storage.read_bytes(place, storage.JOURNAL) == [None]:
        v2 = b"{}"
    found = storage.node_of(place, v3, v2)
    if found is None:
        raise storage.nothing_there(place)
    return found


def fetch_image(place: Place, *, labels: bool) -> tuple[Node, Node | None]:
    """Read the attributes of a group that has to be an image, and of its labels if asked to.

    Raises
    ------
    OmeZarrError
        Where it is something else: the message says what, and what to open instead.
    """
    if labels:
        node, folder = storage.fetch_with_labels(place)
    else:
        node, folder = storage.fetch(place), None
    if node is None:
        raise storage.nothing_there(place)
    if node.kind != "image":
        raise no_image(place, node)
    return node, folder


def no_image(place: Place, node: Node) -> OmeZarrError:
    """Say what a group is that is no image, and name the first few images in it."""
    found = {
        "plate": "is a plate of wells",
        "well": "is a well of a plate",
        "series": "is a series of images (bioformats2raw)",
        "scene": "is a scene of several images",
        "labels": "is the list of an image's labels",
        None: "is a Zarr group without OME-Zarr metadata",
    }[node.kind]
    try:
        images = first_images(place, node)
    except (OmeZarrError, PermissionError):
        # What is wrong with it is told when it is opened as a whole.
        images = []
    if images:
        named = ", ".join(f"group={path!r:.60}" for path in images[:_NAMED])
        more = " and more" if len(images) > _NAMED else ""
        stack = " or, if they are alike, by stack='well'" if node.kind == "plate" else ""
        way = (
            f"Open one of the images in it: {named}{more}; or all of them by xr.open_datatree"
            f"{stack}."
        )
    elif node.kind is None:
        return storage.nothing_there(place)
    else:
        children = storage.list_children(place)
        inside = f"It holds {', '.join(children[:8])}. " if children else ""
        way = f"{inside}Open one of the images in it by group=."
    return OmeZarrError(f"{place.name} {found}, not an image with 'multiscales'. {way}")


def first_images(place: Place, node: Node) -> list[str]:
    """Name the first few images in a group, by as few requests as that takes."""
    ome = spec.ome_attributes(node.attributes, node.zarr_format)
    form, name = node.zarr_format, place.name
    if node.kind == "plate":
        plate = plates.parse_plate(node.attributes, zarr_format=form, place=name, warn=_ignore)
        paths = [entry.path for entry in plate.wells[: _NAMED + 1]]
        found = storage.fetch_below(place, paths, form)
        return [
            join(path, inner)
            for path, well in zip(paths, found, strict=True)
            if isinstance(well, Node) and well.kind == "well"
            for inner in first_images(place.below(path), well)
        ]
    if node.kind == "well":
        well = plates.parse_well(node.attributes, zarr_format=form, place=name, warn=_ignore)
        return [field.path for field in well.fields]
    if node.kind == "series" and "bioformats2raw.layout" in ome:
        return list(read_series(place, node, warn=_ignore).paths or ())[: _NAMED + 1]
    if node.kind == "scene":
        return list(relations.scene_paths(ome["scene"], place=name))
    if node.kind is None:
        return list(images_below(place, node))[: _NAMED + 1]
    return []


def _ignore(_: str) -> None:
    """Say nothing of what whoever opens it will be told."""


def read_series(
    place: Place, node: Node, *, warn: Callable[[str], None], version: str | None = None
) -> Series:
    """Read which images a series has, in one round of two requests, or a few where none are listed.

    The paths are always there: where the file lists none, those of 0, 1, 2 and so on that are.
    """
    file = documents.METADATA[node.zarr_format]
    content, xml = storage.read_bytes(place, f"{plates.SERIES_FOLDER}/{file}", plates.SERIES_XML)
    pair = (content, None) if node.zarr_format == spec.V3 else (None, content)
    inside = place.below(plates.SERIES_FOLDER)
    folder = None
    try:
        folder = storage.node_of(inside, *pair)
    except OmeZarrError as error:
        warn(f"{error} Its list is left out.")
    series = plates.parse_series(
        node.attributes,
        None if folder is None else folder.attributes,
        xml,
        zarr_format=node.zarr_format,
        place=place.name,
        warn=warn,
        version=version,
    )
    if series.paths is not None:
        return series
    return replace(series, paths=_numbered(place, node.zarr_format, len(series.names)))


def _numbered(place: Place, zarr_format: int, expected: int) -> tuple[str, ...]:
    """Find the images of a series: "consecutive groups 0, 1, 2, …" (0.4, bioformats2raw.layout)."""
    found: list[str] = []
    step = max(expected, _PROBED)
    while len(found) < plates.MOST:
        paths = [str(number) for number in range(len(found), len(found) + step)]
        nodes = storage.fetch_below(place, paths, zarr_format)
        there = [path for path, one in zip(paths, nodes, strict=True) if one is not None]
        end = next((i for i, one in enumerate(nodes) if one is None), step)
        found += there[:end]
        if end < step:
            break
        step *= 2
    return tuple(found)


def images_below(place: Place, node: Node) -> dict[str, Node]:
    """Find the images that lie directly below a group which does not say what there is.

    Raises
    ------
    OmeZarrError
        Where the store lists nothing.
    """
    names = [name for name in storage.list_children(place) if spec.leads_below(name)]
    if not names and place.store.supports_listing:
        raise storage.nothing_there(place)
    if not names:
        msg = (
            f"{place.name} is a Zarr group without OME-Zarr metadata, and its store lists nothing "
            "in it. Where there is an image, name it by group=."
        )
        raise OmeZarrError(msg)
    found = storage.fetch_below(place, names[: plates.MOST], node.zarr_format)
    return {
        name: one
        for name, one in zip(names, found, strict=False)
        if isinstance(one, Node) and one.kind == "image"
    }
