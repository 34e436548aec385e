"""What there is to look at, without a server."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.helpers import put_document, put_sample
from tests.picturing import put_huge
from tests.test_scenes import stitched
from xarray_omezarr import OmeZarrError, samples
from xarray_omezarr.exhibits import (
    Choice,
    GroupExhibit,
    Hierarchy,
    ImageExhibit,
    PlateExhibit,
    name_of,
)
from xarray_omezarr.page import of_exhibit

if TYPE_CHECKING:
    from pathlib import Path

    from zarr.storage import MemoryStore


def shown(exhibit: Any, path: str = "") -> str:  # noqa: ANN401
    return of_exhibit(exhibit, Choice(), [("root", ""), ("here", path)], "somewhere")


def test_a_scene(memory: MemoryStore) -> None:
    hierarchy = Hierarchy.at(stitched(memory))
    scene = hierarchy.look("")
    assert isinstance(scene, GroupExhibit)
    assert (scene.kind, scene.version) == ("scene", "0.6")
    assert [member.path for member in scene.members] == ["tile_0", "tile_1"]
    assert scene.members[0].about == ("axes yx", "2 levels", "tile_0")
    tile = hierarchy.look("tile_1")
    assert isinstance(tile, ImageExhibit)
    assert hierarchy.trail("tile_1")[1:] == [("tile_1", "tile_1")]
    np.testing.assert_array_equal(
        hierarchy.picture("", Choice(), 1024), hierarchy.picture("tile_0", Choice(), 1024)
    )


def test_a_series_with_an_image_missing(tmp_path: Path) -> None:
    put_document(tmp_path, {"bioformats2raw.layout": 3}, version="0.5")
    put_document(tmp_path / "OME", {"series": ["0", "1"]}, version="0.5")
    put_sample(tmp_path / "0", version="0.5")
    hierarchy = Hierarchy.at(tmp_path)
    series = hierarchy.look("")
    assert isinstance(series, GroupExhibit)
    assert series.kind == "series"
    assert [(one.path, one.problem) for one in series.members] == [
        ("0", None),
        ("1", "it is not there"),
    ]
    html = shown(series)
    assert 'href="/show/0"' in html
    assert 'href="/show/1"' not in html
    assert "it is not there" in html


def test_a_plate_is_told_by_its_own_metadata(tmp_path: Path) -> None:
    samples.plate(rows=1, columns=2, fields=2).omezarr.to_zarr(tmp_path / "plate")
    hierarchy = Hierarchy.at(tmp_path / "plate")
    plate = hierarchy.look("")
    assert isinstance(plate, PlateExhibit)
    assert [well.path for well in plate.plate.wells] == ["A/1", "A/2"]
    well = hierarchy.look("A/2")
    assert isinstance(well, GroupExhibit)
    assert [member.path for member in well.members] == ["A/2/0", "A/2/1"]
    assert hierarchy.trail("A/2/1") == [("plate", ""), ("A/2", "A/2"), ("1", "A/2/1")]


def test_a_part_of_a_hierarchy(tmp_path: Path) -> None:
    samples.plate(rows=1, columns=2, fields=2).omezarr.to_zarr(tmp_path / "plate")
    hierarchy = Hierarchy.at(tmp_path / "plate", "A/2")
    assert isinstance(hierarchy.look("1"), ImageExhibit)
    for path in ("../1", "A/2", "../../plate", "/1", "1/../0"):
        with pytest.raises(OmeZarrError):
            hierarchy.look(path)


def test_what_is_too_large_for_a_picture_is_told(memory: MemoryStore) -> None:
    put_huge(memory, (200_000, 200_000), levels=1, chunks=(20_000, 20_000))
    hierarchy = Hierarchy.at(memory)
    image = hierarchy.look("")
    assert isinstance(image, ImageExhibit)
    assert image.view.thumbnail is None
    html = shown(image)
    assert "no picture" in html
    assert "200,000 × 200,000" in html


def test_findings_are_told_of_on_the_page(tmp_path: Path) -> None:
    put_sample(tmp_path, version="0.5")
    put_document(tmp_path / "labels", {"labels": ["gone"]}, version="0.5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = Hierarchy.at(tmp_path).look("")
    assert any("gone" in note for note in image.notes)
    assert "gone" in shown(image)


@pytest.mark.parametrize(
    ("path", "name"),
    [("/", "data"), ("a/..", "data"), ("C:\\x\\y.zarr\\", "y.zarr"), ("s3://b/k.zarr", "k.zarr")],
)
def test_names(path: str, name: str) -> None:
    assert name_of(path) == name
