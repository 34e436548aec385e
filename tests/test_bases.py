"""Metadata told from another coordinate system: positions stay what they were."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.test_frames import SYSTEMS, WAYS, scene, way
from xarray_omezarr import bases
from xarray_omezarr.graph import Node
from xarray_omezarr.transforms import ScaleTranslation

LABEL = way("physical", "lab", type="scale", scale=[1.0, 1.0, 1.0])
LABEL["output"] = {"path": "labels/nuclei", "name": "physical"}


@pytest.mark.parametrize("scale", [2.0, -2.0])
def test_all_systems_are_where_they_were(scale: float) -> None:
    document = scene(ways=[*WAYS, LABEL]).image.encoding["omezarr"]["document"]
    before = copy.deepcopy(document)
    _, graph = bases.graph_of(document)
    step = ScaleTranslation((scale, 1.0, 0.5), (1.0, -2.0, 0.0))
    new = graph.systems[Node("stage")]
    after = bases.rebased(document, new, step)
    assert document == before
    image, moved = bases.graph_of(after)
    assert image.intrinsic == "stage"
    assert [axis.unit for axis in image.axes] == ["millimeter"] * 3
    assert Node("physical") not in moved.nodes
    points = np.random.default_rng(0).normal(size=(20, 3))
    for name in [s["name"] for s in SYSTEMS[1:]] + [("labels/nuclei", "physical")]:
        np.testing.assert_allclose(
            moved.path("stage", name).apply(step.apply(points)),
            graph.path("physical", name).apply(points),
            atol=1e-9,
        )


def test_before_0_6_there_is_nothing_to_tell() -> None:
    document = {
        "multiscales": [
            {
                "version": "0.4",
                "axes": [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}],
                    }
                ],
            }
        ]
    }
    image, graph = bases.graph_of(document)
    assert image.intrinsic is None
    assert bases.rebased(document, graph.systems[Node("physical")],
                         ScaleTranslation.identity(2)) == document  # fmt: skip
