"""What is at a path: metadata are read, and told as facts.

Of an image in a folder of this machine, neither Zarr nor xarray is needed to tell: importing these
takes longer than all the rest.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xarray_omezarr import arrays, facts, folders, guess, multiscale, nodes, omero, properties, spec
from xarray_omezarr.documents import ARRAY_METADATA, METADATA, join
from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    import zarr
    from zarr.abc.store import Store

    from xarray_omezarr.extremes import Extremes
    from xarray_omezarr.facts import EntryFacts, Info, LabelFacts, LevelFacts, NodeFacts, ValueFacts
    from xarray_omezarr.model import Image, Level
    from xarray_omezarr.nodes import Node
    from xarray_omezarr.stores import Place

    Warn = Callable[[str], None]
    Read = bytes | OmeZarrError | None

#: Values are told approximately from the finest level that has so many pixels, at the most.
_APPROXIMATE = 2**24
#: What has pixels.
_PIXELS = ("image", "label image")
#: So many images are asked for at a time.
_SIDE_BY_SIDE = 16


def info(
    store: str | os.PathLike[str] | Store | zarr.Group,
    *,
    group: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    stored: bool = False,
    stats: bool = False,
    approximate: bool = False,
    tree: bool = False,
    progress: bool | None = None,
) -> Info:
    """Tell what is at a path: an image, a plate, a well, a series, a scene, labels.

    By default metadata alone are read, side by side: of an image two requests, and one for each
    level and twice as many for each label image; of a plate one for each well besides.

    Parameters
    ----------
    store : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        A path, a URL that fsspec knows, or an open store or group.
    group : str, optional
        The path of the group in it.
    storage_options : mapping, optional
        Passed on to fsspec, for URLs.
    stored : bool, default False
        Whether to tell how many bytes are stored of each level, each label image and all of it,
        where the store lists them.
    stats : bool, default False
        Whether to read all pixels of the finest level, block by block, for the exact minimum,
        maximum and mean of each channel; of a plate, a series and all else that holds several
        images, of each of these. NaN are counted, and otherwise left out. An image that cannot be
        read is warned of.
    approximate : bool, default False
        Whether to tell these of a coarser level, of 16 million pixels at the most; which one it was
        is told.
    tree : bool, default False
        Whether to list all groups and arrays that OME-Zarr's metadata lead to.
    progress : bool, optional
        Whether a bar shows how far `stats` is. By default as `set_options` has it.

    Returns
    -------
    xarray_omezarr.facts.Info
        What there is. Printing it tells all of it, and `to_json` is for programs.

    Raises
    ------
    OmeZarrError
        Where there is nothing, or no OME-Zarr: the message says what there is, and the way out.

    Examples
    --------
    >>> import xarray_omezarr
    >>> samples.circle().omezarr.to_zarr(path)
    >>> found = xarray_omezarr.info(path, stats=True)
    >>> print(found)
    image.ome.zarr
      kind     image
      version  0.5
      name     circle
      dtype    uint8
      axis     y 64, 0.5 micrometer, from 10
      ...
    >>> found.levels[0].shape, found.values[0].count
    ((64, 64), 4096)
    """
    if stats and approximate:
        msg = "stats=True is exact, approximate=True is not: ask for one of them."
        raise OmeZarrError(msg)
    where = Where.at(store, group, storage_options)
    noted: dict[str, None] = {}
    warn = noted.setdefault
    try:
        found = survey(where, warn)
        if stored:
            found = _with_stored(where, found, warn)
        if stats or approximate:
            found = _with_values(where, found, warn, approximate=approximate, bar=progress)
        if tree:
            found = replace(
                found, tree=tuple(sorted(_tree(where, warn), key=lambda node: node.path.split("/")))
            )
    finally:
        where.close()
    return replace(found, warnings=tuple(noted))


# ── where it is ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Where:
    """A group: in a folder of this machine, read as it is, or in any store."""

    name: str
    """What messages call it."""
    folder: str | None = None
    place: Place | None = None

    @classmethod
    def at(cls, target: object, group: str | None, options: Mapping[str, Any] | None) -> Where:
        """Find what an argument names; a folder is none but by its path."""
        inner = (group or "").strip("/")
        path = guess.local_path(target)
        plain = not options and (not inner or spec.leads_below(inner))
        if path is not None and plain and path.is_dir():
            named = os.path.join(str(path), inner) if inner else str(path)  # noqa: PTH118
            return cls(named, folder=named)
        from xarray_omezarr import stores

        place = stores.locate(target, group, storage_options=options)
        return cls(place.name, place=place)

    def located(self) -> Place:
        """Give it as what reads by way of Zarr."""
        if self.place is not None:
            return self.place
        from xarray_omezarr import stores

        return stores.locate(self.folder)

    def close(self) -> None:
        """Close the store, if it was opened here."""
        if self.place is not None:
            self.place.close()

    def below(self, path: str) -> Where:
        """Give a group below it."""
        if self.place is not None:
            place = self.place.below(path)
            return Where(place.name, place=place)
        folder = f"{self.folder}/{path}"
        return Where(folder, folder=folder)

    def read(self, *keys: str) -> list[Read]:
        """Read files below it, side by side."""
        if self.folder is not None:
            return folders.read_each(self.folder, keys, self.name)
        from xarray_omezarr import storage

        return storage.read_each(self.located(), keys)

    def subfolders(self, path: str) -> list[str]:
        """Name what is directly below a group, where that costs next to nothing."""
        if self.folder is not None:
            found = folders.subfolders(f"{self.folder}/{path}")
            return [name for name in found if spec.leads_below(name)]
        from xarray_omezarr import storage

        return storage.list_groups(self.located().below(path))


def glance(where: Where, warn: Warn) -> tuple[Info, str] | None:
    """Tell, by few requests, what is at a place and what the first image in it is like.

    Parameters
    ----------
    where
        The group.
    warn
        Called with one sentence for each assumption.

    Returns
    -------
    info, path
        What is there, its `example` being the first image; and the path of that one, below it.
        None where there is nothing of OME-Zarr.

    Raises
    ------
    OmeZarrError
        Where it is broken.
    """
    node, labels = fetch(where, warn)
    if node is None or node.kind is None:
        return None
    if node.kind == "image":
        return _image(where, node, labels, warn), ""
    from xarray_omezarr import census

    known = next(spec.declared_versions(node.attributes, node.zarr_format), None)
    told = facts.Info(where.name, node.kind, known)
    if node.kind == "plate":
        about = spec.ome_attributes(node.attributes, node.zarr_format)["plate"]
        name = about.get("name") if isinstance(about, dict) else None
        told = replace(told, name=name if isinstance(name, str) else None)
    paths = census.first_images(where.located(), node)
    return replace(told, example=_example(where, paths, warn)), paths[0] if paths else ""


def survey(where: Where, warn: Warn) -> Info:
    """Tell what is at a place.

    Parameters
    ----------
    where
        The group.
    warn
        Called with one sentence for each assumption.

    Raises
    ------
    OmeZarrError
        Where there is no OME-Zarr.
    """
    node, labels = fetch(where, warn)
    if node is not None and node.kind == "image":
        return _image(where, node, labels, warn)
    from xarray_omezarr import census

    place = where.located()
    node = node or census.fetch_root(place)
    told = _BY_KIND[node.kind](where, place, node, warn)
    return replace(told, source=where.name)


def fetch(where: Where, warn: Warn) -> tuple[Node | None, Node | None]:
    """Read the attributes of a group and of its labels: one round for Zarr v3, two for Zarr v2."""
    v3, labels = _certain(where.read(METADATA[3], f"labels/{METADATA[3]}"))
    node = nodes.node_of(where.name, v3, None)
    old_labels = None
    if node is None or node.kind is None:
        v2, old_labels = _certain(where.read(METADATA[2], f"labels/{METADATA[2]}"))
        node = nodes.node_of(where.name, v3, v2)
    elif where.folder is not None:
        both = os.path.exists(f"{where.folder}/{METADATA[2]}")  # noqa: PTH110 - a string
        node = replace(node, both=both)
    if node is not None and node.both:
        warn(
            f"{where.name} has metadata of Zarr v2 and of Zarr v3 side by side; "
            f"those of v{node.zarr_format} are read"
        )
    try:
        return node, nodes.node_of(f"{where.name}/labels", labels, old_labels)
    except OmeZarrError as error:
        warn(f"{error} The labels are left out.")
        return node, None


def _certain(contents: Iterable[Read]) -> list[bytes | None]:
    """Give what was read; raise what went wrong."""
    found: list[bytes | None] = []
    for content in contents:
        if isinstance(content, OmeZarrError):
            raise content
        found.append(content)
    return found


# ── an image ─────────────────────────────────────────────────────────────────────────────────────


def _image(where: Where, node: Node, folder: Node | None, warn: Warn) -> Info:
    bare = spec.without_table(node.attributes)
    form, name = node.zarr_format, where.name
    image = multiscale.parse_image(bare, zarr_format=form, place=name, warn=warn)
    is_label = "image-label" in spec.ome_attributes(node.attributes, form)
    labels = [] if is_label else _label_names(where, folder, warn)
    files = [f"{level.path}/{ARRAY_METADATA[form]}" for level in image.levels]
    beside = [f"labels/{label}/{METADATA[form]}" for label in labels]
    contents = where.read(*files, *beside)
    found = _arrays(where, image.levels, contents[: len(files)], form, warn)
    known = [array for array in found if array is not None]
    if known:
        image = multiscale.fitted(image, len(known[0].shape), place=name, warn=warn)
    levels = tuple(_levels(image, found))
    finest = found[0]
    axes: tuple[facts.AxisFacts, ...] = ()
    channels = image.channels or ()
    if finest is not None and len(finest.shape) == len(image.axes):
        axes = facts.axes_of(image, 0, finest.shape, finest.chunks)
        channels = omero.fitting(image, finest.shape, place=name, warn=warn)
    elif finest is not None:
        warn(
            f"{name}: there are {len(image.axes)} axes, {', '.join(image.dims)}, but the array of "
            f"dataset '{image.levels[0].path}' has {len(finest.shape)} dimensions, of shape "
            f"{finest.shape}. One of them has to be mended."
        )
    read = dict(zip(labels, contents[len(files) :], strict=True))
    return facts.Info(
        source=name,
        kind="label image" if is_label else "image",
        version=image.version,
        name=image.name,
        dtype=known[0].dtype if known else None,
        axes=axes,
        levels=levels,
        channels=channels,
        labels=(*_own_table(where, node, known, warn), *_labels(where, read, form, warn)),
    )


def _arrays(
    where: Where, levels: Sequence[Level], contents: Sequence[Read], form: int, warn: Warn
) -> list[arrays.Stored | None]:
    """Read how the arrays of levels are stored; what is missing or broken is told of."""
    found: list[arrays.Stored | None] = []
    for level, content in zip(levels, contents, strict=True):
        try:
            found.append(_array(where, level.path, content, form))
        except OmeZarrError as error:
            warn(str(error))
            found.append(None)
    return found


def _array(where: Where, path: str, content: Read, form: int) -> arrays.Stored:
    if isinstance(content, OmeZarrError):
        raise content
    if content is None:
        msg = (
            f"{where.name}: the array of dataset '{path}' is missing, though the metadata name it. "
            "Copy the image again, or open another level."
        )
        raise OmeZarrError(msg)
    return arrays.stored(content, form, join(where.name, path))


def _levels(image: Image, found: Sequence[arrays.Stored | None]) -> Iterable[LevelFacts]:
    for number, (level, array) in enumerate(zip(image.levels, found, strict=True)):
        scale = {
            axis.name: step
            for axis, step in zip(image.axes, level.transform.scale, strict=True)
            if not axis.is_channel
        }
        if array is None:
            missing = "missing or broken"
            yield facts.LevelFacts(number, (), 0, problem=missing, path=level.path, scale=scale)
            continue
        yield facts.LevelFacts(
            number,
            array.shape,
            math.prod(array.shape) * array.itemsize,
            array.chunks,
            array.shards,
            path=level.path,
            scale=scale,
            codecs=array.codecs,
        )


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def _label_names(where: Where, folder: Node | None, warn: Warn) -> list[str]:
    listed: list[str] = []
    if folder is not None:
        listed = spec.label_names(
            folder.attributes, folder.zarr_format, place=f"{where.name}/labels", warn=warn
        )
    elif where.folder is None:
        return []
    # "Unlisted groups MAY be labels" (0.1 to 0.4).
    heads = {path.split("/")[0] for path in listed}
    return [*listed, *(name for name in where.subfolders("labels") if name not in heads)]


def _labels(where: Where, contents: Mapping[str, Read], form: int, warn: Warn) -> list[LabelFacts]:
    """Tell of the label images of an image."""
    parsed: dict[str, tuple[Node, Image]] = {}
    for name, content in contents.items():
        inner = f"{where.name}/labels/{name}"
        try:
            if isinstance(content, OmeZarrError):
                raise content
            pair = (content, None) if form == spec.V3 else (None, content)
            node = nodes.node_of(inner, *pair)
            if node is None or node.kind != "image":
                what = "is missing" if node is None else "is no image"
                warn(f"The label image {inner} {what}.")
                continue
            bare = spec.without_table(node.attributes)
            image = multiscale.parse_image(bare, zarr_format=form, place=inner, warn=warn)
        except OmeZarrError as error:
            warn(f"{error} The label image '{name}' is left out.")
            continue
        parsed[name] = node, image
    files = [
        f"labels/{name}/{image.levels[0].path}/{ARRAY_METADATA[form]}"
        for name, (_, image) in parsed.items()
    ]
    told = []
    for (name, (node, image)), content in zip(parsed.items(), where.read(*files), strict=True):
        inside = where.below(f"labels/{name}")
        found = _arrays(inside, image.levels[:1], [content], form, warn)
        told.append(_label(name, inside, node, found[0], warn))
    return told


def _own_table(
    where: Where, node: Node, known: Sequence[arrays.Stored], warn: Warn
) -> list[LabelFacts]:
    """Tell of the labels of what is a label image itself."""
    if "image-label" not in spec.ome_attributes(node.attributes, node.zarr_format):
        return []
    name = where.name.rstrip("/").rpartition("/")[2]
    return [_label(name, where, node, known[0] if known else None, warn)]


def _label(
    name: str, where: Where, node: Node, array: arrays.Stored | None, warn: Warn
) -> LabelFacts:
    about = spec.image_label(node.attributes, node.zarr_format)
    listed, colors = about.get("properties"), about.get("colors")
    table = properties.parse(listed, colors, place=where.name, warn=warn)
    count = None if table is None else len(table.ids)
    columns = () if table is None else tuple(table.columns)
    return facts.LabelFacts(name, "missing" if array is None else array.dtype, count, columns)


# ── what holds several images ────────────────────────────────────────────────────────────────────


def _plate(where: Where, place: Place, node: Node, warn: Warn) -> Info:
    from xarray_omezarr import screens

    screen = screens.read_screen(place, node, warn=warn)
    plate = screen.plate
    listed = tuple(
        facts.WellFacts(
            entry.path,
            entry.row,
            entry.column,
            tuple(join(entry.path, field.path) for field in well.fields),
        )
        for entry, well, _ in screen.wells
    )
    paths = [path for well in listed for path in well.fields]
    told = facts.PlateFacts(
        plate.rows,
        plate.columns,
        frozenset((well.row, well.column) for well in listed),
        len(paths),
        len(plate.acquisitions),
        listed,
    )
    return facts.Info(
        where.name,
        "plate",
        plate.version,
        plate.name,
        plate=told,
        example=_example(where, paths, warn),
    )


def _example(where: Where, paths: Sequence[str], warn: Warn) -> Info | None:
    """Tell what the first image of several is like."""
    if not paths:
        return None
    inside = where.below(paths[0])
    try:
        found = survey(inside, warn)
    except OmeZarrError as error:
        warn(str(error))
        return None
    return replace(found, source=paths[0])


def _well(where: Where, place: Place, node: Node, warn: Warn) -> Info:
    from xarray_omezarr import plates

    form = node.zarr_format
    well = plates.parse_well(node.attributes, zarr_format=form, place=where.name, warn=warn)
    paths = {field.path: None for field in well.fields}
    images = _entries(place, paths, form, warn)
    return facts.Info(where.name, "well", well.version, images=images)


def _series(where: Where, place: Place, node: Node, warn: Warn) -> Info:
    from xarray_omezarr import census, plates

    ome = spec.ome_attributes(node.attributes, node.zarr_format)
    if "bioformats2raw.layout" not in ome:
        # The group `OME` of a series lists what is beside it.
        above = where.name.rstrip("/").rpartition("/")[0]
        msg = (
            f"{where.name} lists the images of a series (bioformats2raw), which are beside it: "
            f"ask for {above or '..'}."
        )
        raise OmeZarrError(msg)
    series = census.read_series(place, node, warn=warn)
    paths = series.paths or ()
    names = series.names if len(series.names) == len(paths) else (None,) * len(paths)
    plates.check_count(paths, "series", where.name)
    listed = dict(zip(paths, names, strict=True))
    images = _entries(place, listed, node.zarr_format, warn)
    return facts.Info(where.name, "series", series.version, images=images)


def _scene(where: Where, place: Place, node: Node, warn: Warn) -> Info:
    from xarray_omezarr import relations

    form = node.zarr_format
    scene = spec.ome_attributes(node.attributes, form)["scene"]
    paths = dict.fromkeys(relations.scene_paths(scene, place=where.name))
    name = scene.get("name") if isinstance(scene, dict) else None
    return facts.Info(
        where.name,
        "scene",
        spec.version_of(node.attributes, form),
        name if isinstance(name, str) else None,
        images=_entries(place, paths, form, warn),
        systems=tuple(relations.names_of(scene)),
    )


def _label_list(where: Where, place: Place, node: Node, warn: Warn) -> Info:
    form = node.zarr_format
    listed = spec.label_names(node.attributes, form, place=where.name, warn=warn)
    images = _entries(place, dict.fromkeys(listed), form, warn)
    version = spec.version_of(node.attributes, form)
    return facts.Info(where.name, "labels", version, images=images)


def _group(where: Where, place: Place, node: Node, warn: Warn) -> Info:
    """Tell which images are in a group that says nothing."""
    from xarray_omezarr import census

    found = census.images_below(place, node)
    if not found:
        raise census.no_image(place, node)
    images = _entries(place, dict.fromkeys(found), node.zarr_format, warn)
    return facts.Info(where.name, "group", images=images)


def _entries(
    place: Place, names: Mapping[str, str | None], form: int, warn: Warn
) -> tuple[EntryFacts, ...]:
    """Tell of several images, by their paths; names are those that something else gives them."""
    from xarray_omezarr import census, storage

    findings = census.Findings(place, "images")
    found = storage.fetch_below(place, list(names), form)
    images = {
        path: image
        for path, node in zip(names, found, strict=True)
        if (image := census.parse_member(place, path, node, findings, None)) is not None
    }
    findings.tell(warn)
    files = [f"{path}/{one.levels[0].path}/{ARRAY_METADATA[form]}" for path, one in images.items()]
    entries = {path: facts.EntryFacts(path, name, {}, "missing", 0) for path, name in names.items()}
    for (path, image), content in zip(images.items(), storage.read_each(place, files), strict=True):
        inside = Where(place.below(path).name)
        (array,) = _arrays(inside, image.levels[:1], [content], form, warn)
        name = names[path] or image.name
        if array is None:
            entries[path] = replace(entries[path], name=name, levels=len(image.levels))
            continue
        fitted = multiscale.fitted(image, len(array.shape), place=inside.name, warn=warn)
        sizes = dict(zip(fitted.dims, array.shape, strict=False))
        entries[path] = facts.EntryFacts(path, name, sizes, array.dtype, len(image.levels))
    return tuple(entries.values())


_BY_KIND: dict[str | None, Callable[[Where, Place, Node, Warn], Info]] = {
    "plate": _plate,
    "well": _well,
    "series": _series,
    "scene": _scene,
    "labels": _label_list,
    None: _group,
}


# ── what is asked for besides ────────────────────────────────────────────────────────────────────


def _with_stored(where: Where, found: Info, warn: Warn) -> Info:
    """Tell how many bytes are stored."""
    from xarray_omezarr import inventory

    sizes = inventory.sizes_below(where.located(), "")
    if not sizes:
        warn(f"{where.name}: what is stored there cannot be listed, so its bytes are not told")
        return found

    def below(path: str) -> int:
        return sum(size for key, size in sizes.items() if key.startswith(f"{path}/"))

    return replace(
        found,
        stored=sum(sizes.values()),
        objects=len(sizes),
        levels=tuple(replace(one, stored=below(one.path or "")) for one in found.levels),
        labels=tuple(
            replace(one, stored=below(f"labels/{one.name}")) if found.kind == "image" else one
            for one in found.labels
        ),
    )


def _with_values(
    where: Where, found: Info, warn: Warn, *, approximate: bool, bar: bool | None
) -> Info:
    """Read pixels, and tell of the values of each channel, of one image or of each of several."""
    from xarray_omezarr import census, chunked, extremes
    from xarray_omezarr.progress import shown

    single = found.kind in _PIXELS
    images = {"": found} if single else _images(where, found, warn, bar=shown(bar))
    levels = {path: _level_of(one) if approximate else 0 for path, one in images.items()}
    for path, number in levels.items():
        if images[path].levels[number].path is None or not images[path].axes:
            msg = f"{join(where.name, path)}: level {number} cannot be read, so there are no values"
            _fail(OmeZarrError(f"{msg} to tell of."), warn, single=single)
            del images[path]
    paths = {path: join(path, images[path].levels[levels[path]].path or "") for path in images}
    place = where.located()
    form = census.fetch_root(place).zarr_format
    sources = {}
    opened = chunked.open_arrays(place, list(paths.values()), form)
    for (path, inner), array in zip(paths.items(), opened, strict=True):
        if isinstance(array, OmeZarrError):
            _fail(array, warn, single=single)
            continue
        of = images[path]
        axis = next((i for i, one in enumerate(of.axes) if _counts_channels(one, of)), None)
        sources[path] = extremes.Source(join(place.name, inner), array, axis)
    values: list[ValueFacts] = []
    each = extremes.of_arrays(list(sources.values()), bar=shown(bar)) if sources else []
    for (path, source), told in zip(sources.items(), each, strict=True):
        if isinstance(told, OmeZarrError):
            _fail(told, warn, single=single)
            continue
        values += [
            replace(
                _told(None if source.axis is None else i, images[path], one),
                image=None if single else path,
                level=levels[path],
            )
            for i, one in enumerate(told)
        ]
    numbers = sorted({one.level for one in values})
    named = f"level{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers)) or 0}"
    named += ", approximately" * any(numbers)
    return replace(found, values=tuple(values), values_of=named)


def _fail(error: OmeZarrError, warn: Warn, *, single: bool) -> None:
    """Raise what is wrong with the only image; of several, the others are told of."""
    if single:
        raise error
    warn(f"{error} Its values are left out.")


def _images(where: Where, found: Info, warn: Warn, *, bar: bool) -> dict[str, Info]:
    """Tell of each image of a plate, a series and the like; those that are broken are left out."""
    from concurrent.futures import ThreadPoolExecutor

    from xarray_omezarr import progress

    plate = () if found.plate is None else found.plate.listed
    paths = [path for well in plate for path in well.fields]
    paths += [entry.path for entry in found.images if entry.sizes]

    def told(path: str) -> tuple[str, Info | OmeZarrError]:
        inside = where.below(path)
        try:
            # What is assumed of each is told where it is asked for by itself.
            one = survey(inside, lambda _: None)
        except OmeZarrError as error:
            return path, error
        if one.kind in _PIXELS:
            return path, one
        return path, OmeZarrError(f"{inside.name} is no image, but a {one.kind}.")

    images = {}
    pool = ThreadPoolExecutor(_SIDE_BY_SIDE)
    with progress.counting(len(paths), "images", bar=bar) as advance, pool:
        for path, one in pool.map(told, dict.fromkeys(paths)):
            advance(1)
            if isinstance(one, OmeZarrError):
                warn(f"{one} Its values are left out.")
            else:
                images[path] = one
    return images


def _counts_channels(axis: facts.AxisFacts, found: Info) -> bool:
    """Say whether an axis is that of the channels: the one that has no pixel size."""
    return axis.scale is None and axis.size > 0 and axis.name not in (found.levels[0].scale or {})


def _told(number: int | None, found: Info, one: Extremes) -> ValueFacts:
    """Tell of the values of a channel by its name."""
    named = found.channels[number or 0] if len(found.channels) > (number or 0) else None
    name = None if named is None else named.label
    return facts.ValueFacts(
        number, name, one.minimum, one.maximum, one.mean, one.count, one.missing
    )


def _level_of(found: Info) -> int:
    """Choose the finest level that has few pixels; of none that has, the coarsest."""
    sizes = [math.prod(level.shape) for level in found.levels]
    there = [i for i, level in enumerate(found.levels) if level.shape]
    return next((i for i in there if sizes[i] <= _APPROXIMATE), there[-1] if there else 0)


def _tree(where: Where, warn: Warn) -> Iterable[NodeFacts]:
    from xarray_omezarr import hierarchy

    for group in hierarchy.walk(where.located(), warn=warn):
        count = len(group.images[0].levels) if group.images else 0
        sizes = [f"{count} level{'s' * (count > 1)}"] if count else []
        kind = "label image" if group.label_of is not None and group.images else group.kind
        yield facts.NodeFacts(group.path, kind or "group", ", ".join(sizes))
        for array in group.arrays:
            shape = " ".join(f"{d} {n}" for d, n in zip(array.dims, array.shape, strict=True))
            yield facts.NodeFacts(array.path, "array", shape)
