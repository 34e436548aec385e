"""JSON ⇄ coordinate systems and the transformations between them (0.6).

What further transformations say never decides whether an image can be read: those that are not
understood are told of by a warning, and carried through as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xarray_omezarr.compounds import Unknown
from xarray_omezarr.descriptions import axis_json
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.graph import CoordinateSystem, Edge, Graph, Node
from xarray_omezarr.model import Axis
from xarray_omezarr.multiscale import INTRINSIC
from xarray_omezarr.notation import parse_transform, transform_json
from xarray_omezarr.parameters import show
from xarray_omezarr.spec import check_path
from xarray_omezarr.vectorfields import Field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xarray_omezarr.model import Image
    from xarray_omezarr.parameters import Array

#: The keys of transformations that are read; others are carried through.
_KEYS = frozenset(
    "type name input output path scale translation mapAxis droppedInputs createdOutputs affine "
    "rotation transformations forward inverse interpolation".split()
)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Reader:
    """What is needed everywhere while one part of a file is read."""

    place: str
    warn: Callable[[str], None]
    arrays: Callable[[str], Array] | None
    fields: Callable[[str], Field] | None
    #: The axes of the systems that are known, by what names them.
    sizes: dict[Node, int] = field(default_factory=dict)
    #: The paths of the arrays of the image.
    paths: set[str] = field(default_factory=set)
    #: Whether ends were told by strings, as in drafts of 0.6.
    drafted: bool = False

    def fail(self, key: str, problem: str) -> OmeZarrError:
        """Say where a problem is."""
        return OmeZarrError(f"{self.place}: '{key}': {problem}")


def parse(
    part: Mapping[str, Any],
    *,
    place: str,
    key: str,
    warn: Callable[[str], None],
    image: Image | None = None,
    arrays: Callable[[str], Array] | None = None,
    fields: Callable[[str], Field] | None = None,
) -> Graph:
    """Read the coordinate systems of a multiscale image or a scene, and what leads where.

    Parameters
    ----------
    part
        An object of `multiscales`, or that of `scene`, as stored.
    place, key
        What messages call the group, and the part in its attributes: "multiscales[0]".
    warn
        Called with one sentence for each thing that is wrong, and for what becomes of it.
    image
        The image that the part describes, where it has been read already. Its own system and the
        way there from its levels are taken from it; in versions before 0.6 there is nothing else.
    arrays
        Opens the array at a path below the group, for matrices that are stored in one.
    fields
        Opens the field of vectors at a path below the group; see `field_of`.

    Returns
    -------
    Graph
        Transformations that are not understood are `Unknown` in it.

    Examples
    --------
    >>> scene = {
    ...     "coordinateSystems": [{"name": "world", "axes": [{"name": "y"}, {"name": "x"}]}],
    ...     "coordinateTransformations": [
    ...         {
    ...             "type": "translation",
    ...             "translation": [0, 348],
    ...             "input": {"path": "tile_1", "name": "physical"},
    ...             "output": {"name": "world"},
    ...         }
    ...     ],
    ... }
    >>> graph = parse(scene, place="stitched.zarr", key="scene", warn=print)
    >>> graph.path(("tile_1", "physical"), "world")
    ScaleTranslation(scale=(1.0, 1.0), translation=(0.0, 348.0))
    """
    reader = _Reader(place, warn, arrays, fields)
    systems: dict[Node, CoordinateSystem] = {}
    edges: list[Edge] = []
    if image is not None:
        own = Node(image.intrinsic or INTRINSIC)
        systems[own] = CoordinateSystem(own.name or INTRINSIC, image.axes)
        edges += (Edge(Node(None, level.path), own, level.transform) for level in image.levels)
        if image.intrinsic is None:
            return Graph(systems, tuple(edges))
    systems.update(_systems(reader, part, key, known=image.intrinsic if image else None))
    datasets = _list(reader, part, key, "datasets")
    paths = (dataset.get("path") for dataset in datasets if isinstance(dataset, dict))
    reader.paths = {path for path in paths if isinstance(path, str)}
    reader.sizes = {node: len(system.axes) for node, system in systems.items()}
    if image is None:
        for i, dataset in enumerate(datasets):
            if isinstance(dataset, dict):
                at = f"{key}.datasets[{i}]"
                edges += _edges(reader, dataset, at, default=dataset.get("path"))
    edges += _edges(reader, part, key)
    if reader.drafted:
        warn(f"{place}: '{key}' names the ends of transformations by strings, as drafts of 0.6 "
             "did; they are taken for coordinate systems, or else for paths")  # fmt: skip
    return Graph(systems, tuple(edges))


def _list(reader: _Reader, part: Mapping[str, Any], key: str, name: str) -> list[Any]:
    found = part.get(name)
    if found is not None and not isinstance(found, list):
        reader.warn(f"{reader.place}: '{key}.{name}' is {show(found)}, not a list; left alone")
    return _entries(found)


def _systems(
    reader: _Reader, part: Mapping[str, Any], key: str, *, known: str | None
) -> dict[Node, CoordinateSystem]:
    """Read coordinate systems, but one that is known already."""
    found: dict[Node, CoordinateSystem] = {}
    for i, entry in enumerate(_list(reader, part, key, "coordinateSystems")):
        at = f"{key}.coordinateSystems[{i}]"
        try:
            system = parse_system(entry, place=reader.place, key=at)
        except OmeZarrError as error:
            reader.warn(f"{error} It is left out.")
            continue
        # "The value MUST be [...] unique among all entries under `coordinateSystems`" (0.6).
        if Node(system.name) in found:
            reader.warn(f"{reader.place}: '{at}.name' is {show(system.name)}, as that of another; "
                        "the first is taken")  # fmt: skip
        elif system.name != known:
            found[Node(system.name)] = system
    return found


def parse_system(document: object, *, place: str, key: str) -> CoordinateSystem:
    """Read a coordinate system.

    Raises
    ------
    OmeZarrError
        Where it has no name, or axes cannot be told from each other.

    Examples
    --------
    >>> found = {"name": "world", "axes": [{"name": "y", "type": "space"}, {"name": "x"}]}
    >>> parse_system(found, place="scene.zarr", key="coordinateSystems[0]").dims
    ('y', 'x')
    """
    found: Mapping[str, Any] = document if isinstance(document, dict) else {}
    name, axes = found.get("name"), found.get("axes")
    names = [axis.get("name") if isinstance(axis, dict) else None for axis in _entries(axes)]
    if found is not document:
        problem = f"it is {show(document)}; expected an object with 'name' and 'axes'."
    # "MUST contain the field `name`. The value MUST be a non-empty string" (0.6).
    elif not isinstance(name, str) or not name:
        problem = f"its name is {show(name)}; expected a string that is not empty."
    elif not names:
        problem = f"its axes are {show(axes)}; expected a list of objects."
    # "Each object MUST contain the field `name`. The values MUST be unique" (0.6, axes).
    elif not all(isinstance(n, str) and n for n in names) or len(set(names)) != len(names):
        problem = f"its axes are named {show(names)}; expected names that differ from each other."
    else:
        extra = {k: v for k, v in found.items() if k not in ("name", "axes")}
        return CoordinateSystem(name, tuple(map(_axis, _entries(axes))), extra)
    msg = f"{place}: '{key}': {problem}"
    raise OmeZarrError(msg)


def _entries(found: object) -> list[Any]:
    return found if isinstance(found, list) else []


def _axis(axis: Mapping[str, Any]) -> Axis:
    """Read an axis as it stands: of other systems than an image's nothing has to be assumed."""
    fields = {"name": "name", "type": "type", "unit": "unit", "longName": "long_name"}
    known = {key: axis[key] for key in fields if isinstance(axis.get(key), str)}
    extra = {key: value for key, value in axis.items() if key not in known}
    return Axis(**{"type": None, **{fields[k]: v for k, v in known.items()}}, extra=extra)


def _edges(
    reader: _Reader, part: Mapping[str, Any], key: str, default: object = None
) -> list[Edge]:
    """Read the transformations of a part; `default` is the path that those of a dataset are of."""
    edges = []
    for i, entry in enumerate(_list(reader, part, key, "coordinateTransformations")):
        at = f"{key}.coordinateTransformations[{i}]"
        try:
            if not isinstance(entry, dict):
                raise reader.fail(at, f"it is {show(entry)}; expected an object.")
            # "Implementations should always treat the value of `input` as if it were equal to the
            # value of `path`" (0.6, multiscales).
            start = {"path": default} if default is not None else entry.get("input")
            source = _end(reader, start, f"{at}.input")
            # A dataset's output has "to be omitted" a path, or should have: it is ignored.
            end = entry.get("output")
            if default is not None and isinstance(end, dict):
                end = {"name": end.get("name")}
            target = _end(reader, end, f"{at}.output")
        except OmeZarrError as error:
            reader.warn(f"{error} The transformation is left out.")
            continue
        sizes = (reader.sizes.get(source), reader.sizes.get(target))
        try:
            transform = parse_transform(
                entry,
                place=reader.place,
                key=at,
                warn=reader.warn,
                sizes=sizes,
                arrays=reader.arrays,
                fields=reader.fields,
            )
        except OmeZarrError as error:
            reader.warn(f"{error} Nothing can be brought from {source} to {target} by it.")
            transform = Unknown(entry, str(error))
        name = entry.get("name")
        extra = {k: v for k, v in entry.items() if k not in _KEYS}
        known = name if isinstance(name, str) else None
        edges.append(Edge(source, target, transform, known, extra))
    return edges


def _end(reader: _Reader, end: object, key: str) -> Node:
    """Read what a transformation begins or ends in."""
    if isinstance(end, str) and end:
        # Drafts up to 0.6.dev3 had strings: "the name of a coordinate system or the path".
        reader.drafted = True
        is_array = end in reader.paths and Node(end) not in reader.sizes
        return Node(None, end) if is_array else Node(end)
    name, path = (end.get("name"), end.get("path")) if isinstance(end, dict) else (None, None)
    # `path: null` is as good as none by the prose, and wrong by the schema.
    if path not in (None, ""):
        path = check_path(path, f"{reader.place}: '{key}.path'")
    if (name or path) and isinstance(name, (str, type(None))):
        return Node(name or None, path or "")
    problem = f"it is {show(end)}; expected an object with the name of a coordinate system."
    raise reader.fail(key, problem)


def field_of(image: Image, vectors: Array, *, place: str) -> Field:
    """Make a field of vectors of the image whose finest level holds them.

    Raises
    ------
    OmeZarrError
        Where none, or more than one of the axes is that of the vectors.

    Examples
    --------
    >>> from xarray_omezarr.model import Image, Level
    >>> from xarray_omezarr.transforms import ScaleTranslation
    >>> axes = Axis("i", "displacement"), Axis("x", "space", "micrometer")
    >>> image = Image("0.6", axes, (Level("0", ScaleTranslation((1, 0.5), (0, 0))),))
    >>> field_of(image, np.zeros((1, 8)), place="field.ome.zarr").axis
    0
    """
    # "Exactly one axis with type displacement", or coordinate (0.6).
    kinds = [axis.type in ("displacement", "coordinate") for axis in image.axes]
    if kinds.count(True) != 1 or len(kinds) != len(vectors.shape):
        types = [axis.type for axis in image.axes]
        msg = (
            f"{place}: the axes of the field are of the types {show(types)}, its array has shape "
            f"{show(vectors.shape)}; expected exactly one axis of type displacement or coordinate."
        )
        raise OmeZarrError(msg)
    return Field(vectors, image.levels[0].transform, kinds.index(True))


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def system_json(system: CoordinateSystem) -> dict[str, Any]:
    """Give a coordinate system as it is stored.

    Examples
    --------
    >>> system_json(CoordinateSystem("world", (Axis("y", "space", "micrometer"),)))
    {'name': 'world', 'axes': [{'name': 'y', 'type': 'space', 'unit': 'micrometer'}]}
    """
    return {"name": system.name, "axes": [axis_json(axis) for axis in system.axes], **system.extra}


def edge_json(edge: Edge) -> dict[str, Any]:
    """Give a transformation with its ends, as it is stored.

    Raises
    ------
    OmeZarrError
        As for `transform_json`.

    Examples
    --------
    >>> from xarray_omezarr.transforms import Scale
    >>> edge_json(Edge(Node(None, "0"), Node("physical"), Scale((0.5, 0.5))))
    {'type': 'scale', 'scale': [0.5, 0.5], 'input': {'path': '0'}, 'output': {'name': 'physical'}}
    """
    if isinstance(edge.transform, Unknown):
        return dict(edge.transform.document)
    ends = {"input": _node_json(edge.source), "output": _node_json(edge.target)}
    name = {} if edge.name is None else {"name": edge.name}
    return {**transform_json(edge.transform), **name, **ends, **edge.extra}


def _node_json(node: Node) -> dict[str, str]:
    # "MUST be omitted" or "SHOULD be omitted", what is not needed.
    found = {"path": node.path or None, "name": node.name}
    return {key: value for key, value in found.items() if value is not None}
