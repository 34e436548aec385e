"""The rules of coordinate systems, of the transformations between them, and of scenes (0.6)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

from xarray_omezarr import multiscale
from xarray_omezarr.findings import (
    Book,
    Part,
    field_of,
    inside,
    listing,
    mapping,
    matching,
    needed,
    number,
    repeated,
    text,
    whole,
)
from xarray_omezarr.graph import connected
from xarray_omezarr.rules_image import metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SYSTEMS = Book('"coordinateSystems" metadata')
TRANSFORMATIONS = Book('"coordinateTransformations" metadata')
TYPES = Book("Transformation types")
MULTISCALES = Book('"multiscales" metadata')
SCENES = Book('"scene" metadata')

BOOKS = (SYSTEMS, TRANSFORMATIONS, TYPES, MULTISCALES, SCENES)

#: So deep may transformations be wrapped in each other, and be looked at.
_DEEP: Final = 32
#: So far from orthonormal may a rotation be that was written with a few decimals.
_SQUARE: Final = 1e-3

_NUMBERS = listing(number)
_INDEX = whole(0)


# ── what is looked at ────────────────────────────────────────────────────────────────────────────


def subjects(
    attributes: Mapping[str, object], version: str, *, alone: bool
) -> Iterator[tuple[str, Part]]:
    """Give what there is to look at in the attributes of an image or of a scene.

    Parameters
    ----------
    attributes
        The attributes of the group.
    version
        The dialect.
    alone
        Whether no group above may connect the coordinate systems of this one.
    """
    ome = metadata(attributes, version)
    images = [*ome["multiscales"].objects()]
    for image in images:
        yield "system image", image
        yield "graph", image if alone else Part({})
        for dataset in image["datasets"].objects():
            yield "system dataset", dataset
    scenes = [] if ome["scene"].absent else [ome["scene"]]
    for scene in scenes:
        yield "scene", scene
        for system in scene["coordinateSystems"].objects():
            yield "axes", system["axes"]
            yield from (("axis", axis) for axis in system["axes"].objects())
    for holder in [*images, *scenes]:
        if not holder["coordinateSystems"].absent:
            yield "systems", holder["coordinateSystems"]
        yield from (("system", system) for system in holder["coordinateSystems"].objects())
        for part in [holder, *holder["datasets"].objects()]:
            entries = part["coordinateTransformations"]
            yield "list", entries
            for inner in itertools.chain.from_iterable(map(nested, entries.objects())):
                yield "transformation", inner


def nested(transformation: Part) -> Iterator[Part]:
    """Give a transformation and those that it wraps, without recursion."""
    waiting = [(transformation, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part
        if depth < _DEEP:
            waiting += [(inner, depth + 1) for inner in _wrapped(part)]


def _wrapped(part: Part) -> Iterator[Part]:
    kind = part["type"].value
    if kind == "sequence":
        yield from part["transformations"].objects()
    elif kind == "byDimension":
        for item in part["transformations"].objects():
            if mapping(item["transformation"].value):
                yield item["transformation"]
    elif kind == "bijection":
        yield from (part[key] for key in ("forward", "inverse") if mapping(part[key].value))


# ── systems ──────────────────────────────────────────────────────────────────────────────────────

MULTISCALES.must(
    "system image",
    "Each `multiscales` object MUST contain the field `coordinateSystems`, an array.",
    "0.6",
)(needed("coordinateSystems", listing(mapping, 1)))
SYSTEMS.must("systems", "`coordinateSystems` is an array of JSON objects.", "0.6")(
    lambda systems: [] if listing(mapping)(systems.value) else [systems]
)
SYSTEMS.must(
    "system", "It MUST contain the field `name`. The value MUST be a non-empty string.", "0.6"
)(needed("name", matching("(?s).+")))
SYSTEMS.must(
    "system", "It MUST contain the field `axes`, whose value is an array of valid `axes`.", "0.6"
)(needed("axes", listing(mapping, 1)))


@SYSTEMS.must("systems", "`name` is unique among all entries under `coordinateSystems`.", "0.6")
def _unique(systems: Part) -> Iterable[Part]:
    return repeated(system["name"] for system in systems.objects())


# ── transformations ──────────────────────────────────────────────────────────────────────────────


def _list_of_numbers(key: str) -> object:
    def check(part: Part) -> Iterator[Part]:
        if part["type"].value == key and not _NUMBERS(part[key].value):
            yield part[key]

    return check


@TRANSFORMATIONS.must(
    "transformation", "It MUST contain the field `type`, one of the table.", "0.6"
)
def _known(part: Part) -> Iterator[Part]:
    if not text(part["type"].value) or part["type"].value not in multiscale.TRANSFORMATIONS:
        yield part["type"]


TRANSFORMATIONS.must("transformation", "It MAY contain the field `name` (string).", "0.6")(
    field_of("name", text)
)


@TRANSFORMATIONS.must(
    "list", "`name` MUST be unique for all transformations in the same list.", "0.6"
)
def _named_once(entries: Part) -> Iterable[Part]:
    return repeated(entry["name"] for entry in entries.objects() if entry["name"].value != "")


for _kind in ("scale", "translation"):
    TYPES.must("transformation", f"`{_kind}`: an array of numbers, stored in JSON.", "0.6")(
        _list_of_numbers(_kind)  # type: ignore[arg-type]
    )


@TYPES.must("transformation", "`scale`: every value is greater than 0 (schema).", "0.6")
def _positive(part: Part) -> Iterator[Part]:
    found = part["scale"]
    if part["type"].value == "scale" and _NUMBERS(found.value) and min(found.value, default=1) <= 0:
        yield found


@TYPES.must(
    "transformation", "`mapAxis`: each index from 0 to N-1 MUST appear exactly once.", "0.6"
)
def _permutation(part: Part) -> Iterator[Part]:
    found = part["mapAxis"]
    if part["type"].value == "mapAxis" and not (
        listing(_INDEX, 1)(found.value) and sorted(found.value) == list(range(len(found.value)))
    ):
        yield found


@TYPES.must(
    "transformation",
    "`projectAxis`: `droppedInputs` and `createdOutputs` are arrays of distinct axis indices; at "
    "least one is there.",
    "0.6",
)
def _projection(part: Part) -> Iterator[Part]:
    if part["type"].value != "projectAxis":
        return
    lists = [part["droppedInputs"], part["createdOutputs"]]
    if all(found.absent for found in lists):
        yield lists[0]
    for found in lists:
        if not found.absent and not (
            listing(_INDEX, 1)(found.value) and len(set(found.value)) == len(found.value)
        ):
            yield found


@TYPES.must(
    "transformation", "`projectAxis`: at most 3 axes, of indices 0 to 4 (schema).", "0.6", "0.6"
)
def _small_projection(part: Part) -> Iterator[Part]:
    for key in ("droppedInputs", "createdOutputs"):
        found = part[key]
        small = listing(whole(0, 4))(found.value) and len(found.value) <= 3  # noqa: PLR2004
        if part["type"].value == "projectAxis" and not (found.absent or small):
            yield found


@TYPES.must(
    "transformation", "`affine` and `rotation`: a 2D nested array of numbers, or a `path`.", "0.6"
)
def _matrix(part: Part) -> Iterator[Part]:
    kind = part["type"].value
    if kind in ("affine", "rotation"):
        if part[kind].absent or not part["path"].absent:
            if not text(part["path"].value) or not part[kind].absent:
                yield part[kind]
        elif _rows(part[kind]) is None:
            yield part[kind]


def _rows(part: Part) -> list[list[float]] | None:
    """Give the rows of a matrix, if it is one."""
    rows = part.value
    if not listing(listing(number, 1), 1)(rows) or len({len(row) for row in rows}) != 1:
        return None
    return [[float(f"{value}") for value in row] for row in rows]


@TYPES.must(
    "transformation",
    "`rotation`: an `NxN` matrix that MUST have determinant equal to one, with orthonormal rows.",
    "0.6",
)
def _orthonormal(part: Part) -> Iterator[Part]:
    rows = _rows(part["rotation"]) if part["type"].value == "rotation" else None
    if rows is None:
        return
    matrix = np.array(rows)
    square = matrix.shape[0] == matrix.shape[1] and np.abs(matrix).max() <= 1 + _SQUARE
    if not square or (
        np.abs(matrix @ matrix.T - np.eye(len(matrix))).max() > _SQUARE or np.linalg.det(matrix) < 0
    ):
        yield part["rotation"]


@TYPES.must("transformation", "`sequence`: a non-empty array of transformations.", "0.6")
def _sequence(part: Part) -> Iterator[Part]:
    if part["type"].value == "sequence" and not listing(mapping, 1)(part["transformations"].value):
        yield part["transformations"]


@TYPES.must(
    "transformation",
    "`byDimension`: each item MUST contain `inputAxes`, `outputAxes` (arrays of integers) and "
    "`transformation`.",
    "0.6",
)
def _by_dimension(part: Part) -> Iterator[Part]:
    if part["type"].value != "byDimension":
        return
    if not listing(mapping, 1)(part["transformations"].value):
        yield part["transformations"]
    for item in part["transformations"].objects():
        for key in ("inputAxes", "outputAxes"):
            if not listing(_INDEX, 1)(item[key].value):
                yield item[key]
        if not mapping(item["transformation"].value):
            yield item["transformation"]


@TYPES.must(
    "transformation",
    "`byDimension`: every axis index of the output MUST appear in exactly one `outputAxes`.",
    "0.6",
)
def _once(part: Part) -> Iterator[Part]:
    if part["type"].value != "byDimension":
        return
    lists = [item["outputAxes"].value for item in part["transformations"].objects()]
    if lists and all(listing(_INDEX, 1)(axes) for axes in lists):
        together = sorted(itertools.chain.from_iterable(lists))
        if together != list(range(len(together))):
            yield Part(together, part["transformations"].path)


@TYPES.must("transformation", "`bijection`: `forward` and `inverse` are transformations.", "0.6")
def _both_ways(part: Part) -> Iterator[Part]:
    if part["type"].value == "bijection":
        yield from (part[key] for key in ("forward", "inverse") if not mapping(part[key].value))


@TYPES.must("transformation", "A field is located by its `path`.", "0.6")
def _fields(part: Part) -> Iterator[Part]:
    if part["type"].value in ("displacements", "coordinates") and not text(part["path"].value):
        yield part["path"]


@TYPES.must("transformation", "`interpolation` is `nearest`, `linear` or `cubic`.", "0.6")
def _interpolated(part: Part) -> Iterator[Part]:
    found = part["interpolation"]
    # The prose says `bspline-cubic` where the schema says `cubic`.
    known = found.absent or found.value in ["nearest", "linear", "cubic", "bspline-cubic"]
    if part["type"].value in ("displacements", "coordinates") and not known:
        yield found


@TRANSFORMATIONS.note("transformation", "Arrays outside of the hierarchy are not looked at.", "0.6")
def _outside(part: Part) -> Iterator[Part]:
    if text(part["path"].value) and not inside(part["path"].value):
        yield part["path"]


# ── dimensions ───────────────────────────────────────────────────────────────────────────────────


def dimensions(part: Part, depth: int = 0) -> tuple[int | None, int | None]:
    """Give how many dimensions a transformation takes and gives; None where it does not say."""
    kind = part["type"].value
    found = part[kind].value if text(kind) else None
    if kind in ("scale", "translation", "mapAxis") and isinstance(found, list):
        return len(found), len(found)
    if kind in ("affine", "rotation") and (rows := _rows(part[kind])) is not None:
        return len(rows[0]) - (kind == "affine"), len(rows)
    if depth < _DEEP and kind == "sequence":
        inner = [dimensions(entry, depth + 1) for entry in part["transformations"].objects()]
        return (inner[0][0], inner[-1][1]) if inner else (None, None)
    if depth < _DEEP and kind == "bijection":
        takes, gives = dimensions(part["forward"], depth + 1)
        gives_back, takes_back = dimensions(part["inverse"], depth + 1)
        return takes or takes_back, gives or gives_back
    if kind == "byDimension":
        lists = [item["outputAxes"].value for item in part["transformations"].objects()]
        if lists and all(isinstance(axes, list) for axes in lists):
            return None, sum(map(len, lists))
    return None, None


def _misfits(entry: Part, sizes: Mapping[object, int]) -> Iterator[Part]:
    """Give what in an entry does not fit the systems that it leads from and to."""
    ends = [sizes.get(_system(entry[key])) for key in ("input", "output")]
    for size, own in zip(ends, dimensions(entry), strict=True):
        if size is not None and own is not None and size != own:
            yield Part(f"{own} where the coordinate system has {size} axes", entry.path)
            return
    kind, takes, gives = entry["type"].value, *ends
    if takes is None or gives is None:
        return
    if kind in ("identity", "bijection", "displacements") and takes != gives:
        yield Part(f"{takes} axes to {gives}", entry.path)
    if kind == "projectAxis":
        dropped, created = (entry[key].value or [] for key in ("droppedInputs", "createdOutputs"))
        lists = [list(v) if isinstance(v, list) else [] for v in (dropped, created)]
        if takes - len(lists[0]) + len(lists[1]) != gives or any(
            number(index) and index >= size
            for indices, size in zip(lists, (takes, gives), strict=True)
            for index in indices
        ):
            yield Part(f"{takes} axes to {gives}", entry.path)


def _system(end: Part) -> object:
    """Give the name of a system in the same group; None for one elsewhere."""
    name = end["name"].value
    here = end["path"].absent or not end["path"].value
    return name if text(name) and here else None


def _sizes(holder: Part) -> dict[object, int]:
    sizes: dict[object, int] = {}
    for system in holder["coordinateSystems"].objects():
        if text(system["name"].value) and isinstance(system["axes"].value, list):
            sizes[system["name"].value] = len(system["axes"].value)
    return sizes


@TRANSFORMATIONS.must(
    "system image",
    "Parameter values MUST be compatible with input and output space dimensionality.",
    "0.6",
)
def _fitting(image: Part) -> Iterator[Part]:
    sizes = _sizes(image)
    for holder in (image, *image["datasets"].objects()):
        for entry in holder["coordinateTransformations"].objects():
            yield from _misfits(entry, sizes)


@TRANSFORMATIONS.must("list", "The parts of a `sequence` fit each other.", "0.6")
def _chained(entries: Part) -> Iterator[Part]:
    for part in itertools.chain.from_iterable(map(nested, entries.objects())):
        if part["type"].value == "sequence":
            steps = list(part["transformations"].objects())
            for one, other in itertools.pairwise(steps):
                gives, takes = dimensions(one)[1], dimensions(other)[0]
                if gives is not None and takes is not None and gives != takes:
                    yield Part(f"{takes} dimensions after {gives}", other.path)
        if part["type"].value == "byDimension":
            for item in part["transformations"].objects():
                sides = zip(
                    ("inputAxes", "outputAxes"), dimensions(item["transformation"]), strict=True
                )
                for key, size in sides:
                    if isinstance(item[key].value, list) and size not in (
                        None,
                        len(item[key].value),
                    ):
                        yield item[key]


# ── levels ───────────────────────────────────────────────────────────────────────────────────────


@MULTISCALES.must(
    "system dataset", "The transformation MUST be one: a single entry of the list.", "0.6"
)
def _single(dataset: Part) -> Iterator[Part]:
    found = dataset["coordinateTransformations"]
    if not found.absent and not (listing(mapping)(found.value) and len(found.value) == 1):
        yield found


@MULTISCALES.must(
    "system dataset",
    "It MUST be a single scale or identity, or a sequence of one scale and one translation.",
    "0.6",
)
def _simple(dataset: Part) -> Iterator[Part]:
    for entry in dataset["coordinateTransformations"].objects():
        kind = entry["type"].value
        inner = [step["type"].value for step in entry["transformations"].objects()]
        if kind not in ("scale", "identity") and not (
            kind == "sequence" and inner == ["scale", "translation"]
        ):
            yield Part({"type": kind, "of": inner} if inner else kind, entry.path)


@MULTISCALES.must(
    "system dataset", "The value of `input` MUST be the `path` of the dataset.", "0.6"
)
def _from_array(dataset: Part) -> Iterator[Part]:
    for entry in dataset["coordinateTransformations"].objects():
        if not mapping(entry["input"].value) or (
            entry["input"]["path"].value != dataset["path"].value
        ):
            yield entry["input"]


def intrinsic(image: Part) -> object:
    """Give the name of the system that the levels of an image lie in; None if it has none."""
    for dataset in image["datasets"].objects():
        for entry in dataset["coordinateTransformations"].objects():
            if text(entry["output"]["name"].value):
                return entry["output"]["name"].value
    return None


@MULTISCALES.must(
    "system image",
    "`output` MUST be the same coordinate system for every dataset, one of `coordinateSystems`.",
    "0.6",
)
def _into_intrinsic(image: Part) -> Iterator[Part]:
    name, names = intrinsic(image), _sizes(image)
    for dataset in image["datasets"].objects():
        for entry in dataset["coordinateTransformations"].objects():
            found = entry["output"]["name"]
            if not text(found.value) or found.value != name or found.value not in names:
                yield entry["output"]


@MULTISCALES.must(
    "system image",
    "`multiscales > coordinateTransformations`: an array of transformations with `input` and "
    "`output`, objects with a `name`.",
    "0.6",
)
def _additional(image: Part) -> Iterator[Part]:
    found = image["coordinateTransformations"]
    if not found.absent and not listing(mapping, 1)(found.value):
        yield found
    for entry in found.objects():
        yield from (entry[key] for key in ("input", "output") if not text(entry[key]["name"].value))


@MULTISCALES.must(
    "system image",
    "One side of every additional transformation MUST be the intrinsic coordinate system; the "
    "other is one of `coordinateSystems`, or of a label image.",
    "0.6",
)
def _beside_intrinsic(image: Part) -> Iterator[Part]:
    name, names = intrinsic(image), _sizes(image)
    for entry in image["coordinateTransformations"].objects():
        ends = [_system(entry[key]) for key in ("input", "output")]
        known = [end is None or end in names for end in ends]
        names_of_ends = [entry[key]["name"].value for key in ("input", "output")]
        wrong = name not in ends or not all(known)
        if name is not None and all(map(text, names_of_ends)) and wrong:
            yield Part(names_of_ends, entry.path)


#: A coordinate system: the path of its group, if it is another one, and its name.
_Node = tuple[str | None, str | None]


def _node(end: Part) -> _Node:
    return (end["path"].value if text(end["path"].value) else None, str(end["name"].value))


def _edges(entries: Part) -> list[tuple[_Node, _Node]]:
    return [(_node(entry["input"]), _node(entry["output"])) for entry in entries.objects()]


@TRANSFORMATIONS.must("graph", "The graph MUST be fully connected.", "0.6")
def _connected(image: Part) -> Iterator[Part]:
    start: list[_Node] = [(None, str(intrinsic(image)))]
    reached = connected(start, _edges(image["coordinateTransformations"]))
    lost = [name for name in map(str, _sizes(image)) if (None, name) not in reached]
    if lost:
        yield Part(lost, image["coordinateSystems"].path)


# ── scenes ───────────────────────────────────────────────────────────────────────────────────────

SCENES.must("scene", "`scene` MUST contain `coordinateTransformations`, an array.", "0.6")(
    needed("coordinateTransformations", listing(mapping, 1))
)


@SCENES.must(
    "scene", "`input` and `output` are objects with a `name`, and a `path` for subgroups.", "0.6"
)
def _ends(scene: Part) -> Iterator[Part]:
    for entry in scene["coordinateTransformations"].objects():
        for key in ("input", "output"):
            end = entry[key]
            if not text(end["name"].value) or not set(end.value) <= {"name", "path"}:
                yield end
            elif not end["path"].absent and not text(end["path"].value):
                yield end["path"]


@SCENES.must(
    "scene",
    "They MUST refer to coordinate systems in the same metadata, or in those of a subgroup.",
    "0.6",
)
def _there(scene: Part) -> Iterator[Part]:
    names = _sizes(scene)
    for entry in scene["coordinateTransformations"].objects():
        for end in (entry["input"], entry["output"]):
            path = end["path"].value if text(end["path"].value) else ""
            if (path and not inside(path)) or (
                not path and text(end["name"].value) and end["name"].value not in names
            ):
                yield end


@TRANSFORMATIONS.must(
    "scene", "Parameter values MUST be compatible with input and output dimensionality.", "0.6"
)
def _fitting_scene(scene: Part) -> Iterator[Part]:
    sizes = _sizes(scene)
    for entry in scene["coordinateTransformations"].objects():
        yield from _misfits(entry, sizes)


@TRANSFORMATIONS.must("scene", "The graph of a scene MUST be fully connected.", "0.6")
def _connected_scene(scene: Part) -> Iterator[Part]:
    edges = _edges(scene["coordinateTransformations"])
    # What belongs to one image is connected by that image.
    edges += [((path, None), (path, name)) for edge in edges for path, name in edge if path]
    nodes: list[_Node] = [(None, str(name)) for name in _sizes(scene)]
    nodes += itertools.chain.from_iterable(edges)
    reached = connected(nodes[:1], edges)
    lost = sorted({str(node[1]) for node in nodes if node not in reached and node[1]})
    if lost:
        yield Part(lost, scene.path)


SUBGROUP_THERE = SCENES.must("hierarchy", "`path` leads to the image of a subgroup.", "0.6")(None)
SYSTEM_THERE = SCENES.must(
    "hierarchy", "They MUST refer to coordinate systems in the metadata of a subgroup.", "0.6"
)(None)
PARAMETERS_THERE = TYPES.must(
    "hierarchy", "`path`: the location of a Zarr array containing the parameters.", "0.6"
)(None)
MATRIX = TYPES.must("hierarchy", "The array at this path MUST be 2D.", "0.6")(None)
FIELD = TYPES.must("hierarchy", "`path` is that of a multiscale group with the field.", "0.6")(None)
