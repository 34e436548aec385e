"""What OME-XML, ImageJ and the tags of a TIFF say of pixels."""

from __future__ import annotations

import pytest

from xarray_omezarr import OmeZarrError
from xarray_omezarr.captions import (
    Caption,
    from_imagej,
    from_ome,
    from_resolution,
    named_samples,
)
from xarray_omezarr.model import Channel, Window

OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image Name="cells">{}</Image></OME>'
)


def caption(pixels: str, told: list[str] | None = None) -> Caption:
    heard: list[str] = []
    (found,) = from_ome(OME.format(pixels), "a.tif", (told if told is not None else heard).append)
    assert told is not None or not heard
    return found


def test_ome_sizes_units_and_channels() -> None:
    found = caption(
        '<Pixels PhysicalSizeX="0.25" PhysicalSizeY="250" PhysicalSizeYUnit="nm" '
        'PhysicalSizeZ="1" PhysicalSizeZUnit="&#181;m" TimeIncrement="2" TimeIncrementUnit="min">'
        '<Channel Name="DAPI" Color="65535"/><Channel Color="-16776961"/></Pixels>'
    )
    assert found == Caption(
        "cells",
        {
            "x": (0.25, "micrometer"),
            "y": (250.0, "nanometer"),
            "z": (1.0, "micrometer"),
            "t": (2.0, "minute"),
        },
        (Channel("DAPI", "0000FF"), Channel("Channel 1", "FF0000")),
    )


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("pixel", (3.0, None)),
        ("reference frame", (3.0, None)),
        ("Å", (3.0, "angstrom")),
        ("in", (3.0, "inch")),
        ("ft", (3.0, "foot")),
        ("thou", (pytest.approx(76.2), "micrometer")),
    ],
)
def test_units_of_ome(unit: str, expected: object) -> None:
    found = caption(f'<Pixels PhysicalSizeX="3" PhysicalSizeXUnit="{unit}"/>')
    assert found.spacing["x"] == expected


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "wide"])
def test_what_is_no_size_is_left_out_with_a_word(value: str) -> None:
    told: list[str] = []
    assert caption(f'<Pixels PhysicalSizeX="{value}"/>', told).spacing == {}
    assert len(told) == 1
    assert repr(value) in told[0]


def test_a_unit_that_nobody_has_is_left_out_with_a_word() -> None:
    told: list[str] = []
    assert caption('<Pixels PhysicalSizeX="1" PhysicalSizeXUnit="ly"/>', told).spacing == {}
    assert "'ly'" in told[0]


def planes(times: list[str], unit: str = "ms") -> str:
    every = "".join(
        f'<Plane TheT="{t}" TheZ="{z}" TheC="0" DeltaT="{time if z == 0 else 999}" '
        f'DeltaTUnit="{unit}"/>'
        for t, time in enumerate(times)
        for z in range(2)
    )
    return f"<Pixels>{every}</Pixels>"


def test_times_of_planes_make_a_step_where_they_are_even() -> None:
    assert caption(planes(["10", "510.1", "1010"])).spacing == {"t": (500.0, "millisecond")}
    told: list[str] = []
    assert caption(planes(["0", "500", "1100"]), told).spacing == {}
    assert "not taken at even times" in told[0]
    assert caption(planes(["5"])).spacing == {}
    assert caption(planes(["0", "later"])).spacing == {}


def test_broken_xml_is_an_error() -> None:
    with pytest.raises(OmeZarrError, match=r"a\.tif: the OME-XML in it cannot be read"):
        from_ome("<OME><Image>", "a.tif", print)


def test_samples_are_channels() -> None:
    assert named_samples(None, 1) is None
    assert named_samples((Channel("GFP"),), 1) == (Channel("GFP"),)
    red, *_, alpha = named_samples((Channel("brightfield"),), 4) or ()
    assert (red.label, red.color, alpha.label) == ("Red", "FF0000", "Alpha")
    two = named_samples((Channel("a"), Channel()), 3) or ()
    assert [channel.label for channel in two][::3] == ["a Red", "Channel 1 Red"]


def test_imagej() -> None:
    ramp = [[0] * 256, list(range(256)), [7] * 256]
    found = from_imagej(
        {
            "unit": "\\u00B5m",
            "spacing": -0.5,
            "finterval": 2.0,
            "channels": 2,
            "Labels": ["GFP", "RFP"],
            "LUTs": [ramp],
            "Ranges": (1.0, 2.0, 3.0, 4.0),
        },
        {"x": 0.2, "y": 0.3},
        "a.tif",
        print,
    )
    assert found.spacing == {
        "x": (0.2, "micrometer"),
        "y": (0.3, "micrometer"),
        "z": (0.5, "micrometer"),
        "t": (2.0, "second"),
    }
    assert found.channels == (
        Channel("GFP", "00FF07", Window(1.0, 2.0)),
        Channel("RFP", None, Window(3.0, 4.0)),
    )


def test_imagej_without_sizes() -> None:
    assert from_imagej({"unit": "pixel"}, {"x": 1.0, "y": 1.0}, "a.tif", print) == Caption()
    assert from_imagej({"channels": 10**9}, {}, "a.tif", print) == Caption()


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((20000.0, 10000.0), 3, {"x": (0.5, "micrometer"), "y": (1.0, "micrometer")}),
        ((25400.0, 25400.0), 2, {"x": (1.0, "micrometer"), "y": (1.0, "micrometer")}),
        ((20000.0, 20000.0), 1, {}),
        ((1.0, 1.0), 2, {}),
        ((0.0, 0.0), 3, {}),
    ],
)
def test_resolution_of_a_microscope_is_believed(
    resolution: tuple[float, float], unit: int, expected: object
) -> None:
    told: list[str] = []
    assert from_resolution(resolution, unit, "a.tif", told.append).spacing == expected
    assert not told


def test_resolution_of_a_print_is_not() -> None:
    told: list[str] = []
    assert from_resolution((72.0, 72.0), 2, "a.tif", told.append) == Caption()
    assert "72 pixels per inch" in told[0]
