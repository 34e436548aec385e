"""JSON of transformations: what it means, what is wrong with it, and back again."""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import transforms
from xarray_omezarr import OmeZarrError
from xarray_omezarr.compounds import Bijection, ByDimension, Part, Unknown
from xarray_omezarr.notation import parse_transform, transform_json
from xarray_omezarr.parameters import Stored
from xarray_omezarr.transforms import (
    Affine,
    Identity,
    MapAxis,
    ProjectAxis,
    Rotation,
    Scale,
    ScaleTranslation,
    Sequence,
    Transform,
    Translation,
)
from xarray_omezarr.vectorfields import Coordinates, Displacements, Field

if TYPE_CHECKING:
    from tests.helpers import Option


def parse(document: object, sizes: tuple[int | None, int | None] = (None, None)) -> Transform:
    """Read a transformation of which nothing is assumed."""

    def warn(message: str) -> None:
        raise AssertionError(message)

    return parse_transform(document, place="a.zarr", key="here", warn=warn, sizes=sizes)


#: JSON, and what it stands for.
KNOWN: list[tuple[dict[str, Any], Transform]] = [
    ({"type": "identity"}, Identity()),
    ({"type": "scale", "scale": [0.325, 2]}, Scale((0.325, 2))),
    ({"type": "translation", "translation": [9, -1.42]}, Translation((9, -1.42))),
    ({"type": "mapAxis", "mapAxis": [1, 0]}, MapAxis((1, 0))),
    ({"type": "projectAxis", "createdOutputs": [0, 1]}, ProjectAxis((), (0, 1))),
    ({"type": "projectAxis", "droppedInputs": [0], "createdOutputs": [0]}, ProjectAxis((0,), (0,))),
    ({"type": "affine", "affine": [[3, 0.4, 30], [0.3, 2, 20]]},
     Affine(((3, 0.4, 30), (0.3, 2, 20)))),
    ({"type": "affine", "path": "affineParams"}, Affine(Stored("affineParams"))),
    ({"type": "rotation", "rotation": [[0, 1], [-1, 0]]}, Rotation(((0, 1), (-1, 0)))),
    ({"type": "rotation", "path": "a/b"}, Rotation(Stored("a/b"))),
    ({"type": "sequence", "transformations": [{"type": "scale", "scale": [4, 3]},
                                              {"type": "translation", "translation": [30, 20]}]},
     Sequence((Scale((4, 3)), Translation((30, 20))))),
    ({"type": "byDimension", "transformations": [
        {"transformation": {"type": "translation", "translation": [0.5, 1.5]},
         "inputAxes": [3, 2], "outputAxes": [1, 2]},
        {"transformation": {"type": "scale", "scale": [2]}, "inputAxes": [1], "outputAxes": [0]}]},
     ByDimension((Part(Translation((0.5, 1.5)), (3, 2), (1, 2)), Part(Scale((2,)), (1,), (0,))))),
    ({"type": "bijection", "forward": {"type": "displacements", "path": "f",
                                       "interpolation": "linear"},
      "inverse": {"type": "coordinates", "path": "g", "interpolation": "cubic"}},
     Bijection(Displacements(Stored("f"), "linear"), Coordinates(Stored("g"), "cubic"))),
]  # fmt: skip


@pytest.mark.parametrize(("document", "transform"), KNOWN)
def test_known_transformations(document: dict[str, Any], transform: Transform) -> None:
    assert parse(document) == transform
    assert transform_json(transform) == document
    assert parse(json.loads(json.dumps(transform_json(transform)))) == transform


@pytest.mark.parametrize(
    ("document", "sizes", "transform"),
    [
        # What drafts and the prose have otherwise than the schema.
        ({"type": "displacements", "path": "f", "interpolation": "bspline-cubic"}, (2, 2),
         Displacements(Stored("f"), "bspline-cubic")),
        ({"type": "displacements", "path": "f/", "interpolation": None}, (2, 2),
         Displacements(Stored("f"))),
        ({"type": "scale", "scale": [-1, 0], "path": None}, (2, 2), Scale((-1, 0))),
        ({"type": "affine", "affine": [[2, 0]], "path": None}, (1, 1), Affine(((2, 0),))),
        ({"type": "byDimension", "transformations": [
            {"transformation": {"type": "identity", "input": None}, "input_axes": [1.0],
             "output_axes": [0]}]},
         (2, 1), ByDimension((Part(Identity(1), (1,), (0,)),), 2)),
        # What the systems say is known from then on.
        ({"type": "identity", "name": "x"}, (3, None), Identity(3)),
        ({"type": "identity"}, (None, 3), Identity(3)),
        ({"type": "projectAxis", "droppedInputs": [0]}, (3, 2), ProjectAxis((0,), (), 3)),
        ({"type": "sequence", "transformations": [
            {"type": "projectAxis", "droppedInputs": [0]}, {"type": "identity"}]},
         (3, 2), Sequence((ProjectAxis((0,), (), 3), Identity(2)))),
    ],
)  # fmt: skip
def test_what_is_understood_all_the_same(
    document: dict[str, Any], sizes: tuple[int | None, int | None], transform: Transform
) -> None:
    assert parse(document, sizes) == transform


@pytest.mark.parametrize(
    ("document", "sizes", "why"),
    [
        (None, (2, 2), "'here': it is None; expected an object with a 'type'"),
        ({"type": ["scale"]}, (2, 2), "expected an object with a 'type'"),
        ({"type": "warp"}, (2, 2), "its type is 'warp'; those known are identity, scale"),
        ({"type": "scale"}, (2, 2), "'here': the scale is None; expected a list of finite numbers"),
        ({"type": "scale", "path": "s"}, (2, 2), "the scale is None"),
        ({"type": "scale", "scale": [2, 3]}, (3, 3), "its input has 2 axes; the coordinate system"),
        ({"type": "affine", "affine": [[1, 0, 0]]}, (2, 2), "its output has 1 axes"),
        ({"type": "affine"}, (2, 2), "the affine matrix is None"),
        ({"type": "affine", "path": "../m"}, (2, 2), "'here.path' is '../m'; a path must stay"),
        ({"type": "affine", "path": 3}, (2, 2), "'here.path' is 3"),
        ({"type": "rotation", "rotation": [0, 1]}, (2, 2), "row 0 of the rotation is 0"),
        ({"type": "mapAxis"}, (2, 2), "axes of mapAxis are None"),
        ({"type": "mapAxis", "mapAxis": [0, 1, 2, 5]}, (2, 2), "from 0 to 3 once"),
        ({"type": "projectAxis"}, (2, 2), "neither 'droppedInputs' nor"),
        ({"type": "projectAxis", "droppedInputs": [7]}, (2, 1), "axes that there are"),
        ({"type": "sequence"}, (2, 2), "its transformations are None"),
        ({"type": "sequence", "transformations": []}, (2, 2), "expected a list of some"),
        ({"type": "sequence", "transformations": [{"type": "scale", "scale": [1, 1]}, 5]}, (2, 2),
         "'here.transformations[1]': it is 5"),
        ({"type": "byDimension", "transformations": [{"type": "scale", "scale": [2]}]}, (2, 2),
         "inputAxes of transformations[0] are None"),
        ({"type": "byDimension", "transformations": [
            {"transformation": {"type": "scale", "scale": ["a"]}, "inputAxes": [0],
             "outputAxes": [0]}]}, (2, 1), "'here.transformations[0].transformation': the scale"),
        ({"type": "bijection", "forward": {"type": "scale", "scale": [1]}}, (1, 1),
         "'here.inverse': it is None"),
        ({"type": "coordinates"}, (2, 2), "'here.path' is None"),
        ({"type": "coordinates", "path": "f", "interpolation": "sinc"}, (2, 2), "sinc"),
        ({"type": "coordinates", "path": "f", "interpolation": []}, (2, 2), "interpolation is []"),
    ],
)  # fmt: skip
def test_what_is_not_understood(
    document: object, sizes: tuple[int | None, int | None], why: str
) -> None:
    with pytest.raises(OmeZarrError) as caught:
        parse(document, sizes)
    assert str(caught.value).startswith("a.zarr: 'here")
    assert why in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_arrays_are_opened() -> None:
    opened: list[str] = []

    def arrays(path: str) -> np.ndarray[Any, Any]:
        opened.append(path)
        return np.array([[2, 0, 1], [0, 2, 1]]) if path == "m" else np.array([2, 3])

    def read(document: object) -> Transform:
        return parse_transform(document, place="a.zarr", key="t", warn=print, arrays=arrays)

    matrix = read({"type": "affine", "path": "m"})
    assert opened == []
    np.testing.assert_array_equal(matrix.apply([1, 1]), [3, 3])
    # Tables of the specification still have a path here, its schema has not.
    assert read({"type": "scale", "path": "s"}) == Scale((2, 3))
    with pytest.raises(OmeZarrError, match="expected one number for each axis"):
        read({"type": "translation", "path": "m"})
    assert opened == ["m", "s", "m"]


def test_a_rotation_that_is_none_is_told_of() -> None:
    told: list[str] = []
    for rows in ([[0.7071, -0.7071], [0.7071, 0.7071]], [[1, 0], [0, -1]], [[2, 0], [0, 2]]):
        document = {"type": "rotation", "rotation": rows}
        found = parse_transform(document, place="a.zarr", key="t", warn=told.append)
        np.testing.assert_array_equal(found.matrix()[0], rows)
    assert [message.split(":")[1] for message in told] == [" 't' is no rotation"] * 2


@given(st.integers(1, 4).flatmap(transforms))
def test_round_trip(transform: Transform) -> None:
    document = json.loads(json.dumps(transform_json(transform), allow_nan=False))
    again = parse(document)
    points = np.random.default_rng(0).uniform(-9, 9, (3, transform.inputs or 4))
    if transform.inputs is not None:
        np.testing.assert_allclose(again.apply(points), transform.apply(points), atol=1e-9)
    assert transform_json(again) == document


@pytest.mark.parametrize(
    ("transform", "document"),
    [
        (ScaleTranslation((2, 3), (0, 0)), {"type": "scale", "scale": [2, 3]}),
        (MapAxis((0,)), {"type": "identity"}),
        (ProjectAxis(), {"type": "identity"}),
        (Sequence(()), {"type": "identity"}),
        (Rotation(((1,),)), {"type": "affine", "affine": [[1, 0]]}),
        (Rotation(((1, 0), (0, -1))), {"type": "affine", "affine": [[1, 0, 0], [0, -1, 0]]}),
        (Coordinates(Stored("f"), "bspline-cubic"),
         {"type": "coordinates", "path": "f", "interpolation": "cubic"}),
        (Unknown({"type": "warp", "input": "a", "by": 3}, ""), {"type": "warp", "by": 3}),
    ],
)  # fmt: skip
def test_the_narrow_side_is_written(transform: Transform, document: dict[str, Any]) -> None:
    assert transform_json(transform) == document


FIELD = Field(np.zeros((2, 1)), ScaleTranslation((1, 1), (0, 0)), 1)


@pytest.mark.parametrize(
    ("transform", "why"),
    [
        (Sequence((Scale((1, -1)),)), "positive ones only"),
        (ScaleTranslation((0, 1), (0, 0)), "positive ones only"),
        (Displacements(FIELD), "lies in memory alone"),
    ],
)
def test_what_cannot_be_written(transform: Transform, why: str) -> None:
    with pytest.raises(OmeZarrError, match=why):
        transform_json(transform)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([10**400, math.nan, -1, "../x", "/x", "scale", "f"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["type", "scale", "path", "transformations"]), inner),
    max_leaves=6,
)  # fmt: skip


def mutate(draw: st.DataObject, document: Option) -> Option:
    """Put something else in one place of a document."""
    if isinstance(document, (dict, list)) and document and draw.draw(st.integers(0, 4)):
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        key = draw.draw(st.sampled_from(keys))
        document[key] = mutate(draw, document[key])
        return document
    return draw.draw(JUNK)


@given(st.data(), st.sampled_from([document for document, _ in KNOWN]), st.integers(0, 5))
def test_whatever_stands_there(data: st.DataObject, known: dict[str, Any], size: int) -> None:
    document, problem = mutate(data, copy.deepcopy(known)), ""
    try:
        found = parse_transform(
            document, place="a.zarr", key="t", warn=lambda _: None, sizes=(size or None, None)
        )
        found.simplified()
        found.apply(np.ones((2, found.inputs or 4)))
        found.inverse()
    except OmeZarrError as error:
        problem = str(error)
    assert len(problem) < 1000


def test_depth_and_length() -> None:
    deep: Any = {"type": "scale", "scale": [1]}
    for _ in range(10_000):
        deep = {"type": "sequence", "transformations": [deep], "forward": deep}
    with pytest.raises(OmeZarrError, match="lie in each other"):
        parse(deep)
    with pytest.raises(OmeZarrError, match="the scale is"):
        parse({"type": "scale", "scale": [deep]})
    step = {"type": "translation", "translation": [0.1]}
    long = parse({"type": "sequence", "transformations": [step] * 100_000})
    assert long.simplified() == ScaleTranslation((1.0,), (10_000.0,))
