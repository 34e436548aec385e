"""What there is to look at in a hierarchy, group by group: as values, and as pictures.

A hierarchy is looked at as it is walked through: its root, then what the root names. Nothing is
read of what nobody has gone to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xarray_omezarr import (
    census,
    composite,
    coordinates,
    display,
    pictures,
    plates,
    read,
    relations,
    rendering,
    spec,
    storage,
    stores,
    thumbnails,
)
from xarray_omezarr.budgets import Budget
from xarray_omezarr.documents import join
from xarray_omezarr.errors import OmeZarrError, OmeZarrFileNotFoundError, heard, warn
from xarray_omezarr.guess import local_path
from xarray_omezarr.looks import looks_of
from xarray_omezarr.portions import Source
from xarray_omezarr.redaction import shown
from xarray_omezarr.scalebars import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    import xarray as xr
    from numpy.typing import NDArray

    from xarray_omezarr.composite import Overlay
    from xarray_omezarr.display import View
    from xarray_omezarr.plates import Plate
    from xarray_omezarr.portions import Portion
    from xarray_omezarr.storage import Node
    from xarray_omezarr.stores import Place

    Bytes = NDArray[np.uint8]

#: The longer side of a picture, in pixels, and that of the pictures in a list.
SIDE, SMALL = 1024, 160
#: What a picture may cost: requests, bytes that come, seconds, bytes that are decoded.
_NEAR = (8192, 2**27, 60.0, 2**27)
_FAR = (256, 2**25, 60.0, 2**26)
#: What one of many may.
_NEAR_SMALL = (64, 2**24, 10.0, 2**24)
_FAR_SMALL = (16, 2**22, 20.0, 2**23)
#: So many channels can be chosen from, and so many label images laid over a picture.
MOST_CHOSEN = 24
#: How strongly labels cover a picture.
_OPACITY = rendering.OPACITY


@dataclass(frozen=True)
class Choice:
    """What of an image is looked at."""

    at: Mapping[str, int] = field(default_factory=dict)
    """Positions along axes; what it does not have, and what is beyond the end, does not count."""
    channels: tuple[int, ...] = ()
    """The numbers of those that are shown; none for those that are active."""
    labels: tuple[str, ...] | None = None
    """The label images that lie over the picture; None for all."""
    overlay: Overlay = "filled"


@dataclass(frozen=True)
class Position:
    """A plane along an axis."""

    dim: str
    size: int
    index: int
    text: str
    """Where that is, in the unit of the axis; "" where that says nothing."""


@dataclass(frozen=True)
class ImageExhibit:
    """An image, or a label image."""

    path: str
    view: View
    positions: tuple[Position, ...]
    channels: tuple[int, ...]
    """The numbers of those that are shown."""
    labels: tuple[str, ...]
    """The label images that lie on its pixels."""
    notes: tuple[str, ...]
    kind: str = "image"


@dataclass(frozen=True)
class PlateExhibit:
    """A plate."""

    path: str
    plate: Plate
    notes: tuple[str, ...]
    kind: str = "plate"


@dataclass(frozen=True)
class Member:
    """One of several images."""

    path: str
    """Below the hierarchy."""
    title: str
    about: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class GroupExhibit:
    """A group of images: of a well, a series, a scene; the labels of an image; or just so."""

    path: str
    kind: str
    name: str | None
    version: str | None
    members: tuple[Member, ...]
    notes: tuple[str, ...]


Exhibit = ImageExhibit | PlateExhibit | GroupExhibit


@dataclass(frozen=True)
class Hierarchy:
    """A hierarchy that is looked at."""

    source: Source
    near: bool
    """Whether it is on this machine."""

    @classmethod
    def at(
        cls,
        target: object,
        group: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Hierarchy:
        """Find a hierarchy, and check that there is something to look at.

        Raises
        ------
        OmeZarrError
            Where there is not: the message says what there is.
        """
        place = stores.locate(target, group, storage_options=storage_options)
        near = local_path(target) is not None or stores.in_memory(place.store)
        try:
            source = Source.of(place)
            _check(source.place)
        except BaseException:
            place.close()
            raise
        return cls(source, near=near or source.root is not None)

    @property
    def name(self) -> str:
        """What it is called: the last part of its path, or URL."""
        return name_of(str(self.source.root or self.source.place.name))

    def where(self, path: str) -> str:
        """Say where a group is: a path or a URL, without credentials."""
        if self.source.root is not None:
            return str(self.source.root / path)
        return (self.source.place.below(path) if path else self.source.place).name

    def open(self, key: str) -> AbstractContextManager[Portion | None]:
        """Open a file; None where there is no such file."""
        return self.source.open(key)

    def close(self) -> None:
        """Close the store, if it was opened for this."""
        self.source.place.close()

    # ── groups ───────────────────────────────────────────────────────────────────────────────────

    def look(self, path: str, choice: Choice | None = None) -> Exhibit:
        """Look at a group.

        Parameters
        ----------
        path
            Below the hierarchy; "" is its root.
        choice
            What of an image is looked at.

        Raises
        ------
        OmeZarrError
            Where there is nothing to look at.
        """
        with heard() as notes:
            place = self._place(path)
            node = census.fetch_root(place)
            kind = node.kind
            found: Exhibit
            if kind == "image":
                found = self._image(path, choice or Choice())
            elif kind == "plate":
                plate = _plate(place, node)
                found = PlateExhibit(path, plate, ())
            else:
                name, members = _members(place, node)
                version = None
                if kind is not None:
                    version = spec.version_of(node.attributes, node.zarr_format)
                found = GroupExhibit(path, kind or "group", name, version, members, ())
                if path:
                    moved = tuple(replace(m, path=join(path, m.path)) for m in members)
                    found = replace(found, members=moved)
        told = tuple(dict.fromkeys(shown(note) for note in notes))
        return replace(found, notes=(*found.notes, *told))

    def _place(self, path: str) -> Place:
        if path and not spec.leads_below(path):
            msg = f"There is nothing at '{path}': it is no path below {self.source.place.name}."
            raise OmeZarrFileNotFoundError(msg)
        return self.source.place.below(path) if path else self.source.place

    def _open(self, path: str, *, labels: bool | Sequence[str] = True) -> xr.Dataset:
        dataset = read.open_level(
            self._place(path),
            group=None,
            level=0,
            labels=labels,
            storage_options=None,
            drop_variables=None,
        )
        kept = dataset.variables[coordinates.IMAGE].encoding["omezarr"]
        document = kept["document"]
        if "image-label" in spec.ome_attributes(document, spec.format_of(document)):
            labeled = {**kept, "kind": "label"}
            dataset.variables[coordinates.IMAGE].encoding["omezarr"] = labeled
        return dataset

    def _looking(self, *, small: bool = False) -> thumbnails.Looking:
        near, far = (_NEAR_SMALL, _FAR_SMALL) if small else (_NEAR, _FAR)
        requests, nbytes, seconds, decoded = near if self.near else far
        return thumbnails.Looking(Budget(requests, nbytes, seconds), decoded=decoded)

    # ── images ───────────────────────────────────────────────────────────────────────────────────

    def _image(self, path: str, choice: Choice) -> ImageExhibit:
        dataset = self._open(path)
        image = dataset[coordinates.IMAGE]
        notes: list[str] = []
        try:
            at = _chosen_positions(image, choice)
            channels = _chosen_channels(image, choice)
        except OmeZarrError as error:
            # It is said below why there is no picture.
            at, channels = {}, None
            notes.append(str(error))
        view = display.view(dataset, SIDE, self._looking(), at=at, channels=channels)
        positions = tuple(
            Position(dim, image.sizes[dim], index, _where(image, dim, index))
            for dim, index in at.items()
            if image.sizes[dim] > 1
        )
        labels = tuple(coordinates.label_images(dataset)) if not _is_label(image) else ()
        if labels and view.thumbnail is not None and view.thumbnail.share != (1.0, 1.0):
            notes.append("Label images are not laid over the middle of an image.")
            labels = ()
        return ImageExhibit(
            path,
            view,
            positions,
            tuple(channels or ()),
            tuple(name for name in labels if name != coordinates.IMAGE)[:MOST_CHOSEN],
            tuple(shown(note) for note in notes),
            "label image" if _is_label(image) else "image",
        )

    def picture(self, path: str, choice: Choice, side: int = SIDE) -> Bytes:
        """Make the picture of an image.

        Parameters
        ----------
        path
            Below the hierarchy. Of a plate or a well it is the first image.
        choice
            What of the image is looked at. Label images do not count.
        side
            The pixels along the longer side, at the most.

        Returns
        -------
        numpy.ndarray
            uint8, of shape (height, width, 3). A small one has the proportions of the image, a
            large one those of its pixels.

        Raises
        ------
        OmeZarrError
            Where there is none: the message says why.
        """
        with heard():
            dataset = self._open(self._first(path), labels=False)
            image = dataset[coordinates.IMAGE]
            at = _chosen_positions(image, choice)
            channels = _chosen_channels(image, choice)
            looking = self._looking(small=side <= SMALL)
            found = thumbnails.thumbnail(image, looking, side, at=at, channels=channels)
        return _in_proportion(found) if side <= SMALL else found.pixels

    def mask(self, path: str, name: str, choice: Choice, side: int = SIDE) -> Bytes:
        """Make the picture of a label image that is laid over that of its image.

        Returns
        -------
        numpy.ndarray
            uint8, of shape (height, width, 4). It is of the size of the image's picture, or is
            stretched to it.

        Raises
        ------
        OmeZarrError
            Where there is none: the message says why.
        """
        with heard():
            dataset = self._open(path)
            if name not in coordinates.label_images(dataset):
                msg = f"'{path}' has no label image '{name}' on its pixels."
                raise OmeZarrFileNotFoundError(msg)
            at = _chosen_positions(dataset[coordinates.IMAGE], choice)
            over = rendering.labels_of(dataset, name, choice.overlay)
            labels = thumbnails.labels_in(over.pixels, self._looking(), side, at=at)
        colors = over.palette.colors(labels)
        if choice.overlay == "outlines":
            colors[~composite.outlines(labels)] = 0
        alpha = colors[..., 3] * _OPACITY[choice.overlay]
        return np.dstack([colors[..., :3], np.rint(alpha).astype(np.uint8)])

    def trail(self, path: str) -> list[tuple[str, str]]:
        """Give the groups on the way to a group that can be looked at, with their names.

        A path between, like the row of a well, is no group to look at: it goes with what is below.
        """
        parts = path.split("/") if path else []
        above = [join(*parts[: i + 1]) for i in range(len(parts) - 1)]
        root = self.source.place
        node = census.fetch_root(root)
        found = storage.fetch_below(root, above, node.zarr_format) if above else []
        kinds = [isinstance(one, storage.Node) and one.kind is not None for one in found]
        trail, begin = [(self.name, "")], 0
        for i, seen in enumerate([*kinds, True][: len(parts)]):
            if seen:
                trail.append(("/".join(parts[begin : i + 1]), join(*parts[: i + 1])))
                begin = i + 1
        return trail

    def _first(self, path: str) -> str:
        """Give the path of the first image of a group."""
        place = self._place(path)
        node = census.fetch_root(place)
        if node.kind == "image":
            return path
        if node.kind == "plate":
            wells = _plate(place, node).wells
            if not wells:
                msg = f"{place.name} has no wells."
                raise OmeZarrError(msg)
            return self._first(join(path, wells[0].path))
        members = [one.path for one in _members(place, node)[1] if one.problem is None]
        if not members:
            msg = f"{place.name} has no image."
            raise OmeZarrError(msg)
        return join(path, members[0])


def name_of(path: str) -> str:
    """Give the last part of a path or a URL.

    Examples
    --------
    >>> name_of("https://host/images/cells.ome.zarr/"), name_of("/")
    ('cells.ome.zarr', 'data')
    """
    last = path.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    return last if last.strip(" .") else "data"


# ── what is where ────────────────────────────────────────────────────────────────────────────────


def _check(place: Place) -> None:
    node = census.fetch_root(place)
    if node.kind is None and not census.images_below(place, node):
        raise census.no_image(place, node)


def _plate(place: Place, node: Node) -> Plate:
    return plates.parse_plate(
        node.attributes, zarr_format=node.zarr_format, place=place.name, warn=warn
    )


def _members(place: Place, node: Node) -> tuple[str | None, tuple[Member, ...]]:
    """Give the images of a group, with its own name."""
    ome = spec.ome_attributes(node.attributes, node.zarr_format)
    attributes = node.attributes
    if node.kind == "well":
        well = plates.parse_well(
            attributes, zarr_format=node.zarr_format, place=place.name, warn=warn
        )
        return None, tuple(
            Member(
                one.path,
                f"field {one.path}",
                () if one.acquisition is None else (f"acquisition {one.acquisition}",),
            )
            for one in well.fields
        )
    if node.kind == "labels":
        names = spec.label_names(attributes, node.zarr_format, place=place.name, warn=warn)
        return None, _described(place, node, dict.fromkeys(names))
    if node.kind == "scene":
        scene = ome["scene"]
        name = scene.get("name") if isinstance(scene, dict) else None
        paths = relations.scene_paths(scene, place=place.name)
        return name if isinstance(name, str) else None, _described(
            place, node, dict.fromkeys(paths)
        )
    if node.kind == "series":
        series = census.read_series(place, node, warn=warn)
        listed = series.paths or ()
        same = len(series.names) == len(listed)
        return None, _described(
            place,
            node,
            dict(zip(listed, series.names if same else [None] * len(listed), strict=True)),
        )
    found = census.images_below(place, node)
    if not found:
        raise census.no_image(place, node)
    return None, _described(place, node, dict.fromkeys(found), found)


def _described(
    place: Place,
    node: Node,
    names: Mapping[str, str | None],
    nodes: Mapping[str, Node] | None = None,
) -> tuple[Member, ...]:
    """Tell what images say of themselves, in one round of requests."""
    paths = list(names)
    found: Sequence[Any] = (
        storage.fetch_below(place, paths, node.zarr_format)
        if nodes is None
        else [nodes[path] for path in paths]
    )
    members = []
    for path, one in zip(paths, found, strict=True):
        title = names[path] or path
        if not isinstance(one, storage.Node):
            problem = "it is not there" if one is None else shown(str(one))
            members.append(Member(path, title, problem=problem))
            continue
        try:
            image = read.parse(place.below(path), one)
        except OmeZarrError as error:
            members.append(Member(path, title, problem=shown(str(error))))
            continue
        axes = "".join(image.dims) if all(len(dim) == 1 for dim in image.dims) else ", ".join(
            image.dims
        )  # fmt: skip
        levels = f"{len(image.levels)} level{'s' * (len(image.levels) != 1)}"
        name = names[path] or image.name
        about = (f"axes {axes}", levels, *([path] if name and name != path else []))
        members.append(Member(path, name or path, about))
    return tuple(members)


# ── what of an image ─────────────────────────────────────────────────────────────────────────────


def _is_label(image: xr.DataArray) -> bool:
    return thumbnails.is_label(image)


def _chosen_positions(image: xr.DataArray, choice: Choice) -> dict[str, int]:
    """Give the plane that is looked at."""
    found = thumbnails.positions(image)
    return {
        dim: choice.at[dim] if 0 <= choice.at.get(dim, -1) < image.sizes[dim] else index
        for dim, index in found.items()
    }


def _chosen_channels(image: xr.DataArray, choice: Choice) -> list[int] | None:
    """Give the channels that are looked at; None where there are none to choose from."""
    if _is_label(image):
        return None
    looks = looks_of(image)
    if looks.dim is None:
        return None
    count = image.sizes[looks.dim]
    asked = [channel for channel in dict.fromkeys(choice.channels) if 0 <= channel < count]
    active = [one.index for one in looks.channels if one.index is not None]
    return asked or active[:MOST_CHOSEN]


def _in_proportion(found: thumbnails.Thumbnail) -> Bytes:
    """Give a picture as it is displayed, whatever the pixels of its level are like."""
    height, width = found.pixels.shape[:2]
    longer = max(height, width)
    wanted = (
        (max(1, round(longer / found.ratio)), longer)
        if found.ratio >= 1
        else (longer, max(1, round(longer * found.ratio)))
    )
    return pictures.resized(found.pixels, *wanted)


def _where(image: xr.DataArray, dim: str, index: int) -> str:
    """Say where a plane is, in the unit of its axis."""
    coordinate = image.coords.get(dim)
    if coordinate is None or coordinate.dims != (dim,):
        return ""
    value, unit = coordinate.values[index], coordinate.attrs.get("units")
    if not isinstance(value, (int, float, np.number)):
        return str(value)
    if isinstance(unit, str):
        return quantity(float(value), unit)
    return "" if math.isclose(float(value), index) else f"{float(value):.6g}"
