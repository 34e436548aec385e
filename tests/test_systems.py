"""Coordinate systems and transformations of whole images and scenes."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_notation import mutate
from xarray_omezarr import OmeZarrError, multiscale
from xarray_omezarr.compounds import Unknown
from xarray_omezarr.graph import CoordinateSystem, Edge, Graph, Node
from xarray_omezarr.model import Axis
from xarray_omezarr.systems import edge_json, field_of, parse, parse_system, system_json
from xarray_omezarr.transforms import (
    Affine,
    MapAxis,
    ScaleTranslation,
    Sequence,
    Translation,
)
from xarray_omezarr.vectorfields import Displacements, Field

if TYPE_CHECKING:
    from tests.helpers import Option

SPACE = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
IMAGE: dict[str, Any] = {
    "name": "example",
    "coordinateSystems": [
        {"name": "atlas", "axes": [{"name": "p"}, {"name": "q", "longName": "queue", "deep": [1]}]},
        {"name": "physical", "axes": SPACE},
    ],
    "datasets": [
        {
            "path": f"s{i}",
            "coordinateTransformations": [
                {
                    "type": "sequence",
                    "transformations": [
                        {"type": "scale", "scale": [0.5 * 2**i] * 2},
                        {"type": "translation", "translation": [0.25 * (2**i - 1)] * 2},
                    ],
                    "input": {"path": f"s{i}"},
                    "output": {"name": "physical"},
                }
            ],
        }
        for i in range(2)
    ],
    "coordinateTransformations": [
        {
            "type": "mapAxis",
            "mapAxis": [1, 0],
            "name": "registered",
            "input": {"name": "physical"},
            "output": {"name": "atlas"},
            "by": {"hand": True},
        }
    ],
}
SCENE: dict[str, Any] = {
    "coordinateSystems": [{"name": "world", "axes": SPACE}],
    "coordinateTransformations": [
        {
            "type": "translation",
            "translation": [0, 348 * i],
            "input": {"path": f"tile_{i}", "name": "physical"},
            "output": {"name": "world"},
        }
        for i in range(2)
    ],
}


def read(part: dict[str, Any], **options: Option) -> tuple[Graph, list[str]]:
    """Read a part, and what it warns of."""
    told: list[str] = []
    key = "scene" if "datasets" not in part else "multiscales[0]"
    return parse(part, place="a.zarr", key=key, warn=told.append, **options), told


def changed(part: dict[str, Any], **values: Option) -> dict[str, Any]:
    """Change the transformation of a part."""
    new = copy.deepcopy(part)
    new["coordinateTransformations"][0].update(values)
    return new


def test_an_image() -> None:
    graph, told = read(IMAGE)
    assert told == []
    assert [str(node) for node in graph.nodes] == [
        "'atlas'",
        "'physical'",
        "array 's0'",
        "array 's1'",
    ]
    assert graph.systems[Node("atlas")].dims == ("p", "q")
    assert graph.path("s0", "physical") == ScaleTranslation((0.5, 0.5), (0, 0))
    np.testing.assert_array_equal(graph.path("s1", "atlas").apply([1, 2]), [2.25, 1.25])
    assert graph.edges[-1].transform == MapAxis((1, 0))
    assert (graph.edges[-1].name, graph.edges[-1].extra) == ("registered", {"by": {"hand": True}})


def test_a_scene_with_its_images() -> None:
    scene, told = read(SCENE)
    images, also = read(IMAGE)
    whole = scene | images.under("tile_0") | images.under("tile_1")
    assert (told, also) == ([], [])
    found = whole.path({"path": "tile_0/s0"}, ("tile_1", "physical"))
    assert found == ScaleTranslation((0.5, 0.5), (0, -348))


def test_what_an_image_says_itself_is_taken_from_it() -> None:
    attributes: dict[str, Any] = {"ome": {"version": "0.6", "multiscales": [IMAGE]}}
    image = multiscale.parse_image(attributes, zarr_format=3, place="a.zarr", warn=lambda _: None)
    graph, told = read(IMAGE, image=image)
    assert told == []
    assert [str(node) for node in graph.nodes] == [
        "'physical'",
        "'atlas'",
        "array 's0'",
        "array 's1'",
    ]
    assert graph.path("s1", "physical") == image.levels[1].transform
    old = {
        "axes": SPACE,
        "datasets": [
            {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [2, 2]}]}
        ],
        "coordinateTransformations": [{"type": "scale", "scale": [0.1, 0.1]}],
    }
    attributes = {"ome": {"version": "0.5", "multiscales": [old]}}
    image = multiscale.parse_image(attributes, zarr_format=3, place="a.zarr", warn=lambda _: None)
    graph, told = read(old, image=image)
    assert (told, graph.path("0", "physical")) == ([], ScaleTranslation((0.2, 0.2), (0, 0)))


def test_strings_of_drafts() -> None:
    draft = changed(IMAGE, input="physical", output="atlas")
    draft["datasets"][0]["coordinateTransformations"][0].update(input="s0", output="physical")
    pixels = {"type": "identity", "input": "s1", "output": "physical"}
    draft["coordinateTransformations"].append(pixels)
    graph, told = read(draft)
    assert graph.path("s0", "atlas") == read(IMAGE)[0].path("s0", "atlas")
    assert graph.edges[-1].source == Node(None, "s1")
    assert len(told) == 1
    assert "'multiscales[0]' names the ends of transformations by strings" in told[0]


@pytest.mark.parametrize(
    "values",
    [
        {"input": {"name": "physical", "path": None}},
        {"input": {"name": "physical", "path": ""}},
        {"output": {"name": "atlas", "extra": 3}},
    ],
)
def test_ends_that_mean_the_same(values: dict[str, Any]) -> None:
    assert read(changed(IMAGE, **values)) == read(IMAGE)


def test_ends_of_datasets() -> None:
    part = copy.deepcopy(IMAGE)
    ends = part["datasets"][0]["coordinateTransformations"][0]
    ends["input"] = {"path": "elsewhere", "name": "s0"}
    ends["output"]["path"] = "elsewhere"
    assert read(part) == read(IMAGE)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"type": "warp"}, "its type is 'warp'"),
        ({"mapAxis": [0, 1, 2]}, "its input has 3 axes; the coordinate system has 2"),
        ({"type": "affine"}, "the affine matrix is None"),
    ],
)
def test_what_is_not_understood_is_carried_through(values: dict[str, Any], why: str) -> None:
    part = changed(IMAGE, **values)
    graph, told = read(part)
    assert len(told) == 1
    assert told[0].startswith("a.zarr: 'multiscales[0].coordinateTransformations[0]': ")
    assert why in told[0]
    assert "Nothing can be brought from 'physical' to 'atlas'" in told[0]
    assert isinstance(graph.edges[-1].transform, Unknown)
    assert edge_json(graph.edges[-1]) == part["coordinateTransformations"][0]
    with pytest.raises(OmeZarrError) as caught:
        graph.path("s0", "atlas")
    assert why in str(caught.value)
    assert graph.path("s0", "physical") == ScaleTranslation((0.5, 0.5), (0, 0))


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (changed(IMAGE, input=None), "coordinateTransformations[0].input': it is None"),
        (changed(IMAGE, output={"name": 3}), "[0].output': it is {'name'"),
        (changed(IMAGE, output={"name": "a", "path": "../b"}), "must stay below"),
        (changed(IMAGE, output={"name": "a", "path": 3}), "output.path' is 3"),
        ({**IMAGE, "coordinateTransformations": {}}, "Transformations' is {}, not a list"),
        ({**IMAGE, "coordinateTransformations": [7]}, "it is 7; expected an object"),
        ({**IMAGE, "coordinateSystems": [*IMAGE["coordinateSystems"], {"name": "z"}]},
         "coordinateSystems[2]': its axes are None"),
        ({**IMAGE, "coordinateSystems": IMAGE["coordinateSystems"] * 2}, "that of another"),
    ],
)  # fmt: skip
def test_what_is_left_out(part: dict[str, Any], why: str) -> None:
    graph, told = read(part)
    assert all(message.startswith("a.zarr: 'multiscales[0].") for message in told)
    assert why in told[0]
    assert graph.path("s0", "physical") == ScaleTranslation((0.5, 0.5), (0, 0))


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (None, "it is None"),
        ({"axes": SPACE}, "its name is None"),
        ({"name": "", "axes": SPACE}, "its name is ''"),
        ({"name": "a", "axes": []}, "its axes are []"),
        ({"name": "a", "axes": [{"name": "y"}, {"name": "y"}]}, "are named ['y', 'y']"),
        ({"name": "a", "axes": [{"name": "y"}, "x"]}, "are named ['y', None]"),
        ({"name": "a", "axes": [{"name": []}]}, "are named [[]]"),
    ],
)
def test_what_is_no_system(document: object, why: str) -> None:
    with pytest.raises(OmeZarrError) as caught:
        parse_system(document, place="a.zarr", key="coordinateSystems[4]")
    assert str(caught.value).startswith("a.zarr: 'coordinateSystems[4]': ")
    assert why in str(caught.value)


def test_round_trip() -> None:
    graph, _ = read(IMAGE)
    assert [system_json(s) for s in graph.systems.values()] == IMAGE["coordinateSystems"]
    *levels, own = graph.edges
    assert edge_json(own) == IMAGE["coordinateTransformations"][0]
    stored = [dataset["coordinateTransformations"][0] for dataset in IMAGE["datasets"]]
    assert [edge_json(edge) for edge in levels] == stored
    scene, _ = read(SCENE)
    assert [edge_json(edge) for edge in scene.edges] == SCENE["coordinateTransformations"]


def test_parameters_beside_the_metadata() -> None:
    matrix = {"type": "affine", "path": "coordinateTransformations/m"}
    field = {"type": "displacements", "path": "coordinateTransformations/f"}
    part = changed(IMAGE, type="sequence", transformations=[matrix, field])
    axes = [{"name": "d", "type": "displacement", "discrete": True}, *SPACE]
    described = {
        "coordinateSystems": [{"name": "physical", "axes": axes}],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1, 10, 10], "output": {"name": "physical"},
                     "input": {"path": "0"}}
                ],
            }
        ],
    }  # fmt: skip
    image = multiscale.parse_image(
        {"ome": {"version": "0.6", "multiscales": [described]}},
        zarr_format=3, place="f", warn=lambda _: None,
    )  # fmt: skip
    vectors = np.stack([np.zeros((3, 3)), np.full((3, 3), 5.0)])
    opened: list[str] = []

    def arrays(path: str) -> np.ndarray[Any, Any]:
        opened.append(path)
        return np.array([[1, 0, 1], [0, 1, 0]])

    def fields(path: str) -> Field:
        opened.append(path)
        return field_of(image, vectors, place=path)

    graph, told = read(part, arrays=arrays, fields=fields)
    assert (told, opened) == ([], [])
    found = graph.path("physical", "atlas")
    np.testing.assert_array_equal(found.apply([3, 4]), [4, 9])
    assert opened == [matrix["path"], field["path"]]
    assert isinstance(graph.edges[-1].transform, Sequence)
    steps = graph.edges[-1].transform.transforms
    assert [type(step) for step in steps] == [Affine, Displacements]
    written = edge_json(graph.edges[-1])["transformations"]
    assert written == [matrix, {**field, "interpolation": "linear"}]
    with pytest.raises(OmeZarrError, match="f: the axes of the field are of the types"):
        field_of(image, vectors[0], place="f")


@given(st.data(), st.sampled_from([IMAGE, SCENE]))
def test_whatever_stands_there(data: st.DataObject, part: dict[str, Any]) -> None:
    document = mutate(data, copy.deepcopy(part))
    if not isinstance(document, dict):
        return
    told: list[str] = []
    graph = parse(document, place="a.zarr", key="part", warn=told.append)
    assert all(len(message) < 1000 for message in told)
    problem = ""
    for node in graph.nodes:
        try:
            graph.path(graph.nodes[0], node)
        except OmeZarrError as error:
            problem = max(problem, str(error), key=len)
    assert len(problem) < 2000


def test_thousands_of_transformations() -> None:
    ends = {"input": {"name": "physical"}, "output": {"name": "atlas"}}
    steps = [{"type": "translation", "translation": [i, 0], **ends} for i in range(10_000)]
    graph, told = read({**IMAGE, "coordinateTransformations": steps})
    assert (len(graph.edges), told) == (10_002, [])
    assert graph.path("atlas", "physical") == Translation((0, 0)).simplified()


def test_what_is_made_here_can_be_written() -> None:
    system = CoordinateSystem("world", (Axis("y", "space", "micrometer", "down"),), {"a": 1})
    document = system_json(system)
    assert document == json.loads(json.dumps(document))
    assert parse_system(document, place="", key="") == system
    edge = Edge(Node("physical", "tile_1"), Node("world"), Translation((1.5,)), "moved")
    assert edge_json(edge) == {
        "type": "translation",
        "translation": [1.5],
        "name": "moved",
        "input": {"path": "tile_1", "name": "physical"},
        "output": {"name": "world"},
    }
