"""The ways between coordinate systems."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest

from xarray_omezarr import OmeZarrError
from xarray_omezarr.compounds import Bijection, Unknown
from xarray_omezarr.graph import CoordinateSystem, Edge, Graph, Node
from xarray_omezarr.model import Axis
from xarray_omezarr.parameters import Stored
from xarray_omezarr.transforms import (
    Affine,
    Identity,
    ProjectAxis,
    Scale,
    ScaleTranslation,
    Transform,
    Translation,
)
from xarray_omezarr.vectorfields import Displacements

if TYPE_CHECKING:
    from tests.helpers import Option, Pixels

AXES = (Axis("y", "space"), Axis("x", "space"))


def graph(*edges: tuple[str, str, Transform], systems: tuple[str, ...] = ()) -> Graph:
    """Make a graph of systems that are named by letters, and of arrays that are by digits."""

    def node(name: str) -> Node:
        return Node(None, name) if name.isdigit() else Node(name)

    return Graph(
        {Node(name): CoordinateSystem(name, AXES) for name in systems},
        tuple(Edge(node(a), node(b), transform) for a, b, transform in edges),
    )


TWICE, MOVED = Scale((2, 2)), Translation((1, 0))
IMAGE = graph(("0", "a", Scale((0.5, 0.5))), ("1", "a", Scale((1, 1))), ("a", "b", MOVED))


def test_the_way_there_and_back() -> None:
    there = IMAGE.path("0", "b")
    assert there == ScaleTranslation((0.5, 0.5), (1, 0))
    assert IMAGE.path("b", {"path": "0"}) == there.inverse()
    assert IMAGE.path({"path": "0"}, {"path": "1"}) == ScaleTranslation((0.5, 0.5), (0, 0))
    assert IMAGE.path({"name": "b", "path": None}, Node("b")) == Identity()
    assert graph(systems=("a",)).path("a", "a") == Identity(2)


def test_the_shortest_way_is_taken() -> None:
    ways = graph(("a", "b", TWICE), ("b", "c", TWICE), ("a", "c", MOVED), ("c", "d", TWICE))
    assert ways.path("a", "d") == ScaleTranslation((2, 2), (2, 0))
    # Backwards only where there is an inverse, which costs a step here.
    flat = graph(("c", "a", ProjectAxis((), (), 2)), ("c", "a", Scale((0, 1))), ("a", "b", TWICE),
                 ("b", "c", TWICE))  # fmt: skip
    assert flat.path("a", "c") == Identity(2)
    shut = graph(("c", "a", Scale((0, 1))), ("a", "b", TWICE), ("b", "c", TWICE))
    assert shut.path("a", "c") == ScaleTranslation((4, 4), (0, 0))
    assert graph(("a", "b", Unknown({}, "odd")), ("b", "a", TWICE)).path("a", "b") == (
        ScaleTranslation((0.5, 0.5), (0, 0))
    )


def test_a_field_is_followed_back_where_there_is_a_way_back() -> None:
    there = Displacements(Stored("f"))
    with pytest.raises(OmeZarrError, match="back from 'b' to 'a', Displacements has no inverse"):
        graph(("a", "b", there)).path("b", "a")
    both = Bijection(there, Translation((5, 5)))
    found = graph(("a", "b", both)).path("b", "a")
    np.testing.assert_array_equal(found.apply([1, 1]), [6, 6])


def test_arrays_are_read_on_the_way_that_is_taken() -> None:
    opened: list[str] = []

    def stored(name: str, weights: Pixels) -> Affine:
        def load() -> Pixels:
            opened.append(name)
            return np.column_stack([weights, [0, 0]])

        return Affine(Stored(name, load))

    tiles = [("t", f"tile{i}", stored(f"{i}", np.eye(2) * 2)) for i in range(5)]
    ways = graph(*((b, a, t) for a, b, t in tiles))
    found = ways.path("tile1", "tile3")
    np.testing.assert_array_equal(found.apply([3, 4]), [3, 4])
    assert set(opened) == {"1", "3"}
    # The shorter way turns out to be closed once its matrix has been read.
    opened.clear()
    shut = stored("shut", np.zeros((2, 2)))
    ways = graph(("c", "a", shut), ("a", "b", TWICE), ("b", "c", TWICE))
    assert ways.path("a", "c") == ScaleTranslation((4, 4), (0, 0))
    assert opened == ["shut"]


def test_a_scene() -> None:
    scene = Graph(
        {Node("world"): CoordinateSystem("world", AXES)},
        tuple(
            Edge(Node("a", tile), Node("world"), Translation((0, shift)))
            for tile, shift in (("tile_0", 0), ("tile_1", 348))
        ),
    )
    whole = scene | IMAGE.under("tile_0") | IMAGE.under("tile_1")
    found = whole.path({"path": "tile_0/0"}, ("tile_1", "b"))
    assert found == ScaleTranslation((0.5, 0.5), (1, -348))
    assert whole.find("tile_1/1") == Node(None, "tile_1/1")
    assert pickle.loads(pickle.dumps(whole)) == whole  # noqa: S301 - our own
    assert IMAGE.under("a").under("b") == IMAGE.under("b/a")


def test_what_is_not_there() -> None:
    unknown = graph(("0", "a", TWICE), ("b", "c", TWICE), ("c", "a", Unknown({}, "it is odd")))
    with pytest.raises(OmeZarrError) as caught:
        unknown.path("0", "b")
    assert str(caught.value) == (
        "no transformation leads from array '0' to 'b'. From array '0' one gets to 'a', to 'b' "
        "from there not: between 'c' and 'a', it is odd"
    )
    nowhere: list[Option] = ["nowhere", ("a", "b"), {"name": ["a"]}, {}, None, 3]
    for place in nowhere:
        with pytest.raises(OmeZarrError, match="there are array '0', 'a', 'b', 'c'"):
            unknown.path("0", place)
    many = graph(*((f"s{i}", "hub", TWICE) for i in range(5000)), ("x", "y", TWICE))
    with pytest.raises(OmeZarrError, match="and 4988 more, to 'x' from there not"):
        many.path("s0", "x")
    with pytest.raises(OmeZarrError, match="and 4991 more"):
        many.path("s0", "z")


def test_many_edges_without_a_way_back() -> None:
    flat = Scale((0, 1))
    many = graph(*((f"a{i}", "hub", flat) for i in range(20_000)), ("x", "hub", TWICE))
    with pytest.raises(OmeZarrError, match="scale is 0") as caught:
        many.path("x", "a7")
    assert len(str(caught.value)) < 1500
