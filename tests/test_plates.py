"""Plates, wells and series: what their JSON says, by version, and what becomes of broken ones."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.test_conformance import CASES, attributes_of, ids
from xarray_omezarr import OmeZarrError, plates
from xarray_omezarr.plates import Acquisition, FieldEntry, Plate, Series, Well, WellEntry
from xarray_omezarr.verdict import check_attributes

if TYPE_CHECKING:
    from collections.abc import Callable

    Json = dict[str, Any]

VERSIONS = ("0.4", "0.5", "0.6")
PLATE = Plate(
    version="0.4",
    rows=("A", "B"),
    columns=("1", "2", "10"),
    wells=(WellEntry("A", "1", "A/1"), WellEntry("B", "10", "B/10")),
    acquisitions=(Acquisition(0, "first", {"maximumfieldcount": 2}), Acquisition(3)),
    name="screen",
    field_count=2,
)


def format_of(version: str) -> int:
    return 2 if version < "0.5" else 3


def silent(message: str) -> None:
    raise AssertionError(message)


def parse(attributes: Json, version: str = "0.4") -> tuple[Plate, list[str]]:
    told: list[str] = []
    plate = plates.parse_plate(
        attributes, zarr_format=format_of(version), place="p", warn=told.append
    )
    return plate, told


def plate(**changes: Any) -> Json:  # noqa: ANN401 - JSON
    """Give the attributes of a plate of one row and two columns."""
    about: Json = {
        "version": "0.4",
        "rows": [{"name": "A"}],
        "columns": [{"name": "1"}, {"name": "2"}],
        "wells": [
            {"path": "A/1", "rowIndex": 0, "columnIndex": 0},
            {"path": "A/2", "rowIndex": 0, "columnIndex": 1},
        ],
    }
    return {"plate": {**about, **changes}}


def well(**changes: Any) -> Json:  # noqa: ANN401 - JSON
    return {"well": {"images": [{"path": "0"}, {"path": "1"}], "version": "0.4", **changes}}


# ── plates ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_is_read(version: str) -> None:
    mine = dataclasses.replace(PLATE, version=version)
    attributes = plates.plate_attributes(mine)
    found = plates.parse_plate(attributes, zarr_format=format_of(version), place="p", warn=silent)
    assert dataclasses.replace(found, document={}) == mine
    assert found.document == attributes


def test_what_is_written() -> None:
    assert plates.plate_attributes(PLATE) == {
        "plate": {
            "version": "0.4",
            "name": "screen",
            "rows": [{"name": "A"}, {"name": "B"}],
            "columns": [{"name": "1"}, {"name": "2"}, {"name": "10"}],
            "wells": [
                {"path": "A/1", "rowIndex": 0, "columnIndex": 0},
                {"path": "B/10", "rowIndex": 1, "columnIndex": 2},
            ],
            "field_count": 2,
            "acquisitions": [{"id": 0, "name": "first", "maximumfieldcount": 2}, {"id": 3}],
        }
    }


def test_from_0_5_on_only_ome_has_the_version() -> None:
    attributes = plates.plate_attributes(plates_of("0.5"))
    assert attributes["ome"]["version"] == "0.5"
    assert "version" not in attributes["ome"]["plate"]


def plates_of(version: str) -> Plate:
    return Plate(version, ("A",), ("1",), (WellEntry("A", "1", "A/1"),))


@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_keys_stay(version: str) -> None:
    about = plate(vendor={"x": 1})
    about["plate"]["wells"][0]["compound"] = "DMSO"
    about["plate"]["rows"][0]["label"] = "top"
    before, _ = parse({**about, "_creator": "somebody"})
    after = plates.plate_attributes(dataclasses.replace(before, version=version))
    assert after["_creator"] == "somebody"
    found = after.get("ome", after)["plate"]
    assert found["vendor"] == {"x": 1}
    assert found["wells"][0]["compound"] == "DMSO"
    assert found["rows"] == [{"label": "top", "name": "A"}]
    again, _ = parse(after, version)
    assert dataclasses.replace(again, document={}) == dataclasses.replace(
        before, version=version, document={}
    )


def test_a_well_that_is_in_no_row() -> None:
    with pytest.raises(OmeZarrError, match="row 'C'"):
        plates.plate_attributes(Plate("0.5", ("A",), ("1",), (WellEntry("C", "1", "C/1"),)))


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_before_0_4_there_are_no_indices(version: str) -> None:
    found, told = parse(plate(version=version, wells=[{"path": "A/2"}]))
    assert found.version == version
    assert found.wells == (WellEntry("A", "2", "A/2"),)
    assert not told


@pytest.mark.parametrize(
    ("changes", "wells", "message"),
    [
        ({"wells": [{"path": "A/2"}]}, ["A/2 A 2"], "no valid rowIndex"),
        (
            {"wells": [{"path": "A/2", "rowIndex": 0, "columnIndex": 0}]},
            ["A/2 A 2"],
            "say otherwise; its path is taken",
        ),
        (
            {"wells": [{"path": "2/A", "rowIndex": 0, "columnIndex": 1}]},
            ["2/A A 2"],
            "column/row",
        ),
        (
            {"wells": [{"path": "B/1", "rowIndex": 0, "columnIndex": 0}]},
            ["B/1 B 1"],
            "none of the 'rows' and 'columns'",
        ),
        (
            {"wells": [{"path": "A1", "rowIndex": 0, "columnIndex": 1}]},
            ["A1 A 2"],
            "taken from its indices",
        ),
        ({"wells": [{"path": "A1"}]}, [], "nor do its indices"),
        ({"wells": [{"rowIndex": 0, "columnIndex": 1}]}, ["A/2 A 2"], "has no path"),
        (
            {"wells": [{"path": "A/1/", "rowIndex": 0, "columnIndex": 0}]},
            ["A/1 A 1"],
            "a slash at its end",
        ),
        (
            {"wells": [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}] * 3},
            ["A/1 A 1"],
            r"\(and 1 others\) is listed twice",
        ),
        ({"wells": ["A/1"]}, [], "is no object"),
        ({"rows": None}, ["A/1 A 1", "A/2 A 2"], "taken from the paths"),
        ({"columns": ["1", {"name": 2}]}, ["A/1 A 1", "A/2 A 2"], "should be an object"),
        ({"columns": [{"name": "1"}, {"name": "2"}, {}]}, ["A/1 A 1", "A/2 A 2"], "has no name"),
        ({"rows": [{"name": "A"}] * 2}, ["A/1 A 1", "A/2 A 2"], "not all different"),
        ({"acquisitions": 3}, ["A/1 A 1", "A/2 A 2"], "not a list"),
    ],
)
def test_what_is_found_in_the_wild(changes: Json, wells: list[str], message: str) -> None:
    found, told = parse(plate(**changes))
    assert [f"{w.path} {w.row} {w.column}" for w in found.wells] == wells
    assert any(re.search(message, one) for one in told), told
    # A plate is always consistent: its wells are in its rows and columns.
    plates.plate_attributes(found)


def test_a_finding_is_told_once() -> None:
    names = [{"name": str(i)} for i in range(24)]
    listed = [{"path": f"{row}/{i}"} for row in "ABCDEFGH" for i in range(24)]
    found, told = parse(plate(rows=[{"name": r} for r in "ABCDEFGH"], columns=names, wells=listed))
    assert len(found.wells) == 192
    assert len(told) == 1
    assert "(and 191 others)" in told[0]


def test_acquisitions() -> None:
    entries = [
        {"id": 1, "name": "a", "starttime": 7},
        {"id": 1},
        {"id": -1},
        {"id": True},
        {"name": "b"},
        {"id": 2, "name": 5},
    ]
    found, told = parse(plate(acquisitions=entries))
    assert found.acquisitions == (
        Acquisition(1, "a", {"starttime": 7}),
        Acquisition(2, None, {"name": 5}),
    )
    assert len(told) == 2


@pytest.mark.parametrize(
    "path", ["../A/1", "/A/1", "A/..", "A/%2e%2e", "C:/1", "A\\1", "http://h/1"]
)
def test_a_path_never_leaves_the_plate(path: str) -> None:
    with pytest.raises(OmeZarrError, match="below"):
        parse(plate(wells=[{"path": path, "rowIndex": 0, "columnIndex": 0}]))


def test_a_million_wells() -> None:
    with pytest.raises(OmeZarrError, match="1000000 'wells'"):
        parse(plate(wells=[{"path": "A/1"}] * 1_000_000))


@pytest.mark.parametrize("about", [{"plate": 1}, {"plate": {"rows": []}}, {}])
def test_no_plate(about: Json) -> None:
    with pytest.raises(OmeZarrError, match=r"'plate'|'wells'"):
        parse(about)


def test_a_plate_outside_ome() -> None:
    found, told = parse(plate(), "0.5")
    assert len(found.wells) == 2
    assert "outside 'ome'" in told[0]


def test_a_version_that_is_not_known() -> None:
    with pytest.raises(OmeZarrError, match=r"'7\.0'"):
        parse(plate(version="7.0"))
    found = plates.parse_plate(
        plate(version="7.0"), zarr_format=2, place="p", warn=silent, version="0.4"
    )
    assert found.version == "0.4"


# ── official cases ───────────────────────────────────────────────────────────────────────────────

OFFICIAL = [case for case in CASES if case["kind"] in {"plate", "well"} and case["valid"]]


@pytest.mark.skipif(not CASES, reason="no official cases")
@pytest.mark.parametrize("case", OFFICIAL, ids=ids)
def test_the_official_cases(case: Json) -> None:
    """What is valid opens, and is valid when it is written again."""
    attributes = attributes_of(case)
    version, kind = case["version"], case["kind"]
    parsing: Callable[..., Any] = plates.parse_plate if kind == "plate" else plates.parse_well
    writing: Callable[..., Json] = (
        plates.plate_attributes if kind == "plate" else plates.well_attributes
    )
    told: list[str] = []
    found = parsing(attributes, zarr_format=format_of(version), place="p", warn=told.append)
    about = attributes.get("ome", attributes)[kind]
    if kind == "plate":
        assert {well.path for well in found.wells} == {well["path"] for well in about["wells"]}
        assert {one.id for one in found.acquisitions} == {
            one["id"] for one in about.get("acquisitions", [])
        }
    else:
        assert [field.path for field in found.fields] == [one["path"] for one in about["images"]]
    if version in VERSIONS:
        again = writing(found)
        broken = {finding.rule for finding in check_attributes(attributes, version).errors}
        assert {finding.rule for finding in check_attributes(again, version).errors} <= broken


# ── wells ────────────────────────────────────────────────────────────────────────────────────────


def fields_of(attributes: Json, version: str = "0.4") -> tuple[Well, list[str]]:
    told: list[str] = []
    found = plates.parse_well(
        attributes, zarr_format=format_of(version), place="w", warn=told.append
    )
    return found, told


@pytest.mark.parametrize("version", VERSIONS)
def test_a_well_that_is_written_is_read(version: str) -> None:
    fields = (FieldEntry("0", 2), FieldEntry("1"), FieldEntry("x", 0, {"note": [1]}))
    attributes = plates.well_attributes(Well(version, fields))
    found = plates.parse_well(attributes, zarr_format=format_of(version), place="w", warn=silent)
    assert found == Well(version, fields, attributes)
    assert not check_attributes(attributes, version).errors


def test_what_else_a_well_says_stays() -> None:
    before, _ = fields_of({**well(stain="blue"), "other": 1})
    after = plates.well_attributes(dataclasses.replace(before, version="0.5"))
    assert after == {
        "other": 1,
        "ome": {
            "version": "0.5",
            "well": {"images": [{"path": "0"}, {"path": "1"}], "stain": "blue"},
        },
    }
    back, _ = fields_of(after, "0.5")
    again = plates.well_attributes(dataclasses.replace(back, version="0.4"))
    assert again == {**well(stain="blue"), "other": 1}


@pytest.mark.parametrize(
    ("images", "paths", "message"),
    [
        ([{"path": "0_mip"}, {"path": "0"}], ["0_mip", "0"], None),
        ([{"path": "0/"}], ["0"], "a slash at its end"),
        ([{"path": "0"}, {"path": "0", "acquisition": 2}], ["0"], "listed twice"),
        ([{"path": "0", "acquisition": "first"}], ["0"], "no integer"),
        (["0", {"path": "1"}], ["1"], "no object"),
        ([], [], None),
    ],
)
def test_fields_that_are_found_in_the_wild(
    images: list[Any], paths: list[str], message: str | None
) -> None:
    found, told = fields_of(well(images=images))
    assert [field.path for field in found.fields] == paths
    assert all(field.acquisition is None for field in found.fields)
    assert len(told) == (message is not None)
    assert message is None or message in told[0]


def test_a_field_never_leaves_the_well() -> None:
    with pytest.raises(OmeZarrError, match="below"):
        fields_of(well(images=[{"path": "../2/0"}]))


@pytest.mark.parametrize("images", [None, 3, {"path": "0"}])
def test_a_well_without_images(images: object) -> None:
    with pytest.raises(OmeZarrError, match="'images'"):
        fields_of(well(images=images))


@pytest.mark.parametrize(
    ("version", "names", "good"),
    [
        ("0.4", {"rows": ["A", "AA"], "columns": ["1"], "fields": ["0", "x1"]}, True),
        ("0.5", {"fields": ["0_mip"]}, False),
        ("0.6", {"fields": ["0_mip", "a.b-c"]}, True),
        ("0.6", {"fields": [".."]}, False),
        ("0.6", {"fields": ["__x"]}, False),
        ("0.6", {"rows": ["A_"]}, False),
        ("0.6", {"columns": ["1/2"]}, False),
        ("0.5", {"rows": [""]}, False),
        ("0.5", {"rows": ["A\n"]}, False),
        ("0.5", {"rows": ["é"]}, False),
    ],
)
def test_names_of_what_is_new(version: str, names: dict[str, list[str]], *, good: bool) -> None:
    if good:
        plates.check_names(version, **names)
        return
    with pytest.raises(OmeZarrError, match=f"version {version} allows"):
        plates.check_names(version, **names)


# ── series ───────────────────────────────────────────────────────────────────────────────────────

XML = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
  <Dataset ID="Dataset:0"><ImageRef ID="Image:0"/></Dataset>
  <Image ID="Image:0" Name="overview µ"><Pixels ID="Pixels:0"/></Image>
  <Image ID="Image:1"><Pixels ID="Pixels:1"/></Image>
</OME>""".encode()
LAYOUT = {"bioformats2raw.layout": 3}


def series(
    folder: Json | None, xml: bytes | None, attributes: Json = LAYOUT
) -> tuple[Series, list[str]]:
    told: list[str] = []
    found = plates.parse_series(attributes, folder, xml, zarr_format=2, place="s", warn=told.append)
    return found, told


def test_a_series() -> None:
    found, told = series({"series": ["b", "a"]}, XML)
    assert (found.paths, found.names, found.xml) == (("b", "a"), ("overview µ", None), XML)
    assert not told


def test_a_series_without_a_list() -> None:
    found, told = series(None, None)
    assert (found.paths, found.names) == (None, ())
    assert not told


@pytest.mark.parametrize(
    ("folder", "xml", "message"),
    [
        ({"series": ["0", "1", "2"]}, XML, "has 2 images, and there are 3 series"),
        ({"series": "0"}, None, "not a list"),
        ({"series": ["0", "0"]}, None, "twice"),
        (None, XML[:-3], "no valid XML"),
        (None, b"\xff\xfe\x00", "no valid XML"),
    ],
)
def test_series_that_are_found_in_the_wild(
    folder: Json | None, xml: bytes | None, message: str
) -> None:
    found, told = series(folder, xml)
    assert found.names == ()
    assert found.xml == xml
    (only,) = told
    assert message in only


def test_another_layout() -> None:
    _, told = series(None, None, {"bioformats2raw.layout": 2})
    assert "is 2, not 3" in told[0]


def test_a_series_never_leaves_its_group() -> None:
    with pytest.raises(OmeZarrError, match="below"):
        series({"series": ["0", "../1"]}, None)


def test_entities_are_refused_before_they_are_expanded() -> None:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<!DOCTYPE OME [<!ENTITY l0 "ha">{laughs}]><OME><Image Name="&l9;"/></OME>'
    with pytest.raises(OmeZarrError, match="document type"):
        plates.image_names(bomb.encode())
    found, told = series(None, bomb.encode())
    assert found.names == ()
    assert "document type" in told[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_series_that_is_written_is_read(version: str) -> None:
    mine = Series(version, ("0", "x/1"))
    attributes, folder = plates.series_attributes(mine)
    found = plates.parse_series(
        attributes, folder, None, zarr_format=format_of(version), place="s", warn=silent
    )
    assert found.paths == mine.paths
    assert not check_attributes(attributes, version).errors
    assert not check_attributes(folder, version).errors
    numbered, nothing = plates.series_attributes(Series(version, None))
    assert (numbered, nothing) == (attributes, {})
