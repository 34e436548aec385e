"""Coordinate systems, and the ways between them.

"Coordinate systems represent nodes and coordinate transformations represent edges" (0.6, graph
connectedness).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from xarray_omezarr.compounds import Unknown
from xarray_omezarr.errors import OmeZarrError
from xarray_omezarr.parameters import show
from xarray_omezarr.transforms import Identity, Sequence, Transform

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from xarray_omezarr.model import Axis

    #: What names a node: the node, the name of a system (else the path of an array), the path of an
    #: image below and the name of a system there, or an object as files have it.
    Place: TypeAlias = "Node | str | tuple[str, str] | Mapping[str, Any]"

_T = TypeVar("_T")

#: So many systems are named in a message.
_NAMED = 12


@dataclass(frozen=True)
class Node:
    """A coordinate system, or an array of which points are indices."""

    name: str | None = None
    """What the system is called; None for an array."""
    path: str = ""
    """Where the image lies that has the system, or the array."""

    def __str__(self) -> str:
        if self.name is None:
            return f"array {show(self.path)}"
        return f"{show(self.name)} of {show(self.path)}" if self.path else show(self.name)

    def under(self, path: str) -> Node:
        """Give the node as it is called from a group above."""
        return replace(self, path=f"{path}/{self.path}" if self.path else path)


@dataclass(frozen=True)
class CoordinateSystem:
    """A name and axes."""

    name: str
    axes: tuple[Axis, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Keys that have no field here, carried through a round trip."""

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of the axes, in order."""
        return tuple(axis.name for axis in self.axes)


@dataclass(frozen=True)
class Edge:
    """A transformation from one coordinate system to another."""

    source: Node
    target: Node
    transform: Transform
    name: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Keys that have no field here, carried through a round trip."""


@dataclass(frozen=True)
class Graph:
    """Coordinate systems and the transformations between them.

    Examples
    --------
    >>> from xarray_omezarr.transforms import Scale, Translation
    >>> tiles = (
    ...     Edge(Node("physical", "tile_0"), Node("world"), Translation((0, 0))),
    ...     Edge(Node("physical", "tile_1"), Node("world"), Translation((0, 348))),
    ... )
    >>> graph = Graph({}, tiles)
    >>> graph.path(("tile_0", "physical"), ("tile_1", "physical")).apply([10.0, 400.0])
    array([10., 52.])
    """

    systems: Mapping[Node, CoordinateSystem]
    edges: tuple[Edge, ...]

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The coordinate systems first, then what else transformations begin or end in."""
        ends = (end for edge in self.edges for end in (edge.source, edge.target))
        return tuple(dict.fromkeys((*self.systems, *ends)))

    def __or__(self, other: Graph) -> Graph:
        """Put two graphs together, as those of a scene and of its images."""
        return Graph({**self.systems, **other.systems}, (*self.edges, *other.edges))

    def under(self, path: str) -> Graph:
        """Give the graph of an image as it is seen from a group above."""
        return Graph(
            {node.under(path): system for node, system in self.systems.items()},
            tuple(
                replace(edge, source=edge.source.under(path), target=edge.target.under(path))
                for edge in self.edges
            ),
        )

    def find(self, place: Place) -> Node:
        """Find the node that a name means.

        Raises
        ------
        OmeZarrError
            Where there is none.
        """
        match place:
            case Node():
                wanted = [place]
            case str():
                # "[An array coordinate system's] name is the path to the array" (0.6).
                wanted = [Node(place), Node(None, place)]
            case (str(path), str(name)):
                wanted = [Node(name, path)]
            case {"name": str(name)}:
                wanted = [Node(name, str(place.get("path") or ""))]
            case {"path": str(path)}:
                wanted = [Node(None, path)]
            case _:
                wanted = []
        known = set(self.nodes)
        for node in wanted:
            if node in known:
                return node
        msg = f"there is no coordinate system {show(place)}; there are {_listed(self.nodes)}."
        raise OmeZarrError(msg)

    def path(self, source: Place, target: Place) -> Transform:
        """Find the shortest way from one coordinate system to another.

        Parameters
        ----------
        source, target
            The name of a coordinate system, or the path of an array; the path of an image below
            and the name of a coordinate system there, `("tile_0", "physical")`; or an object
            as files have it, `{"path": "0"}`.

        Returns
        -------
        Transform
            What the transformations on the way amount to, simplified. They are followed backwards
            where they have an inverse.

        Raises
        ------
        OmeZarrError
            Where there is no such system, or no way.
        """
        start, end = self.find(source), self.find(target)
        if start == end:
            known = self.systems.get(start)
            return Identity(len(known.axes) if known else None)
        ways = _Ways(self.edges)
        while (route := ways.route(start, end)) is not None:
            # What arrays hold is read only on the way that is taken, which may turn out closed.
            steps = [ways.step(*way) for way in route]
            if None not in steps:
                return Sequence(tuple(s for s in steps if s is not None)).simplified()
        reached = ways.reached(start)
        msg = (
            f"no transformation leads from {start} to {end}. From {start} one gets to "
            f"{_listed(n for n in reached if n != start) or 'nothing'}, to {end} from there not"
        )
        closed = "; ".join(dict.fromkeys(ways.closed.values()))
        raise OmeZarrError(f"{msg}: {closed:.500}" if closed else f"{msg}.")


class _Ways:
    """The edges of a graph in both directions, and which turned out not to lead anywhere."""

    def __init__(self, edges: tuple[Edge, ...]) -> None:
        self.edges = edges
        self.closed: dict[tuple[int, bool], str] = {}
        self._inverses: dict[int, Transform] = {}
        self._from: dict[Node, list[tuple[int, bool]]] = {}
        for i, edge in enumerate(edges):
            self._from.setdefault(edge.source, []).append((i, False))
        for i, edge in enumerate(edges):
            self._from.setdefault(edge.target, []).append((i, True))

    def step(self, i: int, backwards: bool) -> Transform | None:  # noqa: FBT001 - a direction
        """Give the transformation along an edge; nothing where there is no way."""
        edge = self.edges[i]
        if (i, backwards) in self.closed:
            return None
        if not backwards:
            return edge.transform
        try:
            if i not in self._inverses:
                self._inverses[i] = edge.transform.inverse()
        except OmeZarrError as error:
            self.closed[i, backwards] = f"back from {edge.target} to {edge.source}, {error}"
            return None
        return self._inverses[i]

    def _is_open(self, i: int, backwards: bool) -> bool:  # noqa: FBT001 - a direction
        edge = self.edges[i]
        if isinstance(edge.transform, Unknown):
            why = edge.transform.reason
            self.closed[i, backwards] = f"between {edge.source} and {edge.target}, {why}"
        elif backwards and not edge.transform.is_lazy:
            return self.step(i, backwards) is not None
        return (i, backwards) not in self.closed

    def _search(self, start: Node) -> Iterator[tuple[Node, tuple[int, bool] | None]]:
        """Give all nodes that can be reached, nearest first, with the last edge on the way."""
        seen = {start}
        waiting = deque([start])
        yield start, None
        while waiting:
            node = waiting.popleft()
            for i, backwards in self._from.get(node, ()):
                next_node = self.edges[i].source if backwards else self.edges[i].target
                if next_node not in seen and self._is_open(i, backwards):
                    seen.add(next_node)
                    waiting.append(next_node)
                    yield next_node, (i, backwards)

    def reached(self, start: Node) -> list[Node]:
        """List what can be reached."""
        return [node for node, _ in self._search(start)]

    def route(self, start: Node, end: Node) -> list[tuple[int, bool]] | None:
        """Give the edges of the shortest way, or nothing where there is none."""
        last: dict[Node, tuple[int, bool] | None] = {}
        for node, way in self._search(start):
            last[node] = way
            if node == end:
                break
        else:
            return None
        route = []
        while (way := last[node]) is not None:
            route.append(way)
            i, backwards = way
            node = self.edges[i].target if backwards else self.edges[i].source
        return route[::-1]


def connected(start: Iterable[_T], edges: Iterable[tuple[_T, _T]]) -> set[_T]:
    """Give all nodes that edges connect with some, whichever way they point.

    Examples
    --------
    >>> sorted(connected(["b"], [("a", "b"), ("c", "a"), ("d", "e")]))
    ['a', 'b', 'c']
    """
    neighbours: dict[_T, list[_T]] = {}
    for one, other in edges:
        neighbours.setdefault(one, []).append(other)
        neighbours.setdefault(other, []).append(one)
    waiting = list(start)
    reached = set(waiting)
    while waiting:
        for other in neighbours.get(waiting.pop(), ()):
            if other not in reached:
                reached.add(other)
                waiting.append(other)
    return reached


def _listed(nodes: Iterable[Node]) -> str:
    """Name nodes, but not thousands."""
    names = [str(node) for node in nodes]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" * (len(names) > _NAMED))
