"""Quantities as people write them."""

from __future__ import annotations

import datetime as dt
import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xarray_omezarr import OmeZarrError
from xarray_omezarr.quantities import Quantity, named, parse, parse_bytes
from xarray_omezarr.transforms import exact
from xarray_omezarr.units import METERS, SECONDS, SPACE_UNITS, TIME_UNITS, UNIT_NAMES

if TYPE_CHECKING:
    from decimal import Decimal

    from tests.helpers import Option


def test_each_unit_of_the_specification_has_a_size() -> None:
    assert set(METERS) == SPACE_UNITS
    assert set(SECONDS) == TIME_UNITS


def test_sizes_are_exact_decimals() -> None:
    names = "yocto zepto atto femto pico nano micro milli".split()
    powers = {name: 3 * i - 24 for i, name in enumerate(names)} | {"centi": -2, "deci": -1, "": 0}
    names = "kilo mega giga tera peta exa zetta yotta".split()
    powers |= {name: 3 * i for i, name in enumerate(names, 1)} | {"hecto": 2}
    for prefix, power in powers.items():
        assert exact(METERS[f"{prefix}meter"]) == Fraction(10) ** power
        assert exact(SECONDS[f"{prefix}second"]) == Fraction(10) ** power
    # The international yard and mile, and the ångström.
    assert METERS["yard"] == 0.9144
    assert METERS["mile"] == 1609.344
    assert METERS["angstrom"] == 1e-10
    assert (SECONDS["minute"], SECONDS["hour"], SECONDS["day"]) == (60, 3600, 86400)


def test_every_other_name_means_a_unit_of_the_specification() -> None:
    assert set(UNIT_NAMES.values()) <= SPACE_UNITS | TIME_UNITS
    assert not set(UNIT_NAMES) & (SPACE_UNITS | TIME_UNITS)


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("1 um", 1, "micrometer"),
        ("1um", 1, "micrometer"),
        ("  0.3   mm ", 0.3, "millimeter"),
        ("5 \u00b5m", 5, "micrometer"),
        ("5 \u03bcm", 5, "micrometer"),
        ("5 microns", 5, "micrometer"),
        ("5 micrometres", 5, "micrometer"),
        ("1e-3 m", 1e-3, "meter"),
        ("1E3nm", 1e3, "nanometer"),
        (".5 Å", 0.5, "angstrom"),
        ("-2. km", -2, "kilometer"),
        ("+7 inches", 7, "inch"),
        ("90 s", 90, "second"),
        ("90 sec", 90, "second"),
        ("1.5 min", 1.5, "minute"),
        ("2 h", 2, "hour"),
        ("250 ms", 250, "millisecond"),
        ("3 days", 3, "day"),
        ("1 hm", 1, "hectometer"),
        ("1 Em", 1, "exameter"),
        ("12", 12, None),
        ("3 furlong", 3, "furlong"),
    ],
)
def test_texts(text: str, number: float, unit: str | None) -> None:
    assert parse(text, what="x") == Quantity(number, unit)


class PintLike:
    """What a quantity of pint has."""

    def __init__(self, magnitude: object, units: str) -> None:
        self.magnitude = magnitude
        self.units = units


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, Quantity(3.0)),
        (np.float32(0.5), Quantity(0.5)),
        (np.uint8(7), Quantity(7.0)),
        (np.array(2.5), Quantity(2.5)),
        (dt.timedelta(minutes=2), Quantity(120e6, "microsecond")),
        (pd.Timedelta("1.5ns"), Quantity(1.0, "nanosecond")),
        (np.timedelta64(250, "ms"), Quantity(250.0, "millisecond")),
        (np.timedelta64(3, "ps"), Quantity(3.0, "picosecond")),
        (np.timedelta64(3, ("s", 25)), Quantity(75.0, "second")),
        (np.timedelta64(3, "m"), Quantity(3.0, "minute")),
        (np.timedelta64(3, "h"), Quantity(3.0, "hour")),
        (np.timedelta64(3, "D"), Quantity(3.0, "day")),
        (PintLike(3, "micrometer"), Quantity(3.0, "micrometer")),
        (PintLike(np.array(0.3), "mm"), Quantity(0.3, "millimeter")),
    ],
)
def test_other_values(value: object, expected: Quantity) -> None:
    assert parse(value, what="x") == expected


@pytest.mark.parametrize(
    "value",
    ["", "um", "1,5 um", "one um", "1e999 um", math.nan, math.inf, None, True, np.True_, [1], b"1",
     10**400, np.timedelta64("NaT", "s"), np.timedelta64(1, "M"), pd.NaT, PintLike("a", "m"),
     1j, np.array([1.0, 2.0])],
)  # fmt: skip
def test_what_is_no_quantity(value: object) -> None:
    with pytest.raises(OmeZarrError, match=r"'x': .* is no quantity; expected a finite number"):
        parse(value, what="'x'")


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("0.3 mm", "micrometer", 300.0),
        ("0.1 um", "nanometer", 100.0),
        ("120 nm", "um", 0.12),
        ("3 A", None, None),
        ("1 in", "millimeter", 25.4),
        ("1.5 min", "second", 90.0),
        ("36 s", "hour", 0.01),
        ("7", "micrometer", 7.0),
        ("7", None, 7.0),
        ("3 furlong", "furlong", 3.0),
        ("1 Ym", "yoctometer", 1e48),
    ],
)
def test_conversion_is_exact(text: str, unit: str | None, expected: float | None) -> None:
    quantity = parse(text, what="x")
    if expected is None:
        with pytest.raises(OmeZarrError, match=r"the unit of '3 A' is not known"):
            quantity.to(unit, what="x")
    else:
        assert quantity.to(unit, what="x") == expected


@given(
    st.decimals(-(10**6), 10**6, places=3),
    st.sampled_from(sorted(METERS)),
    st.sampled_from(sorted(METERS)),
)
def test_conversion_rounds_once(number: Decimal, unit: str, to: str) -> None:
    expected = Fraction(number) * Fraction(repr(METERS[unit])) / Fraction(repr(METERS[to]))
    assert parse(f"{number} {unit}", what="x").to(to, what="x") == float(expected)


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("1 furlong", "micrometer", "'x': the unit of '1 furlong' is not known; .* 'micrometer'"),
        ("1 um", None, "nothing says which unit the axis is in.*assign_scale"),
        ("90 s", "micrometer", "'90 second' is a time, but the axis is in micrometer"),
        ("1 um", "second", "'1 micrometer' is a length, but the axis is in second"),
        ("1 um", "furlong", "is a length, but the axis is in furlong"),
        ("1e300 Ym", "yoctometer", "too large a number of yoctometer"),
    ],
)
def test_units_that_do_not_go_together(text: str, unit: str | None, message: str) -> None:
    with pytest.raises(OmeZarrError, match=message):
        parse(text, what="'x'").to(unit, what="'x'")


def test_a_name_is_that_of_the_specification() -> None:
    assert [named(unit) for unit in ("um", " Micron", "microns", "ms", "")] == [
        "micrometer", "Micron", "micrometer", "millisecond", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (5e8, 500_000_000),
        (np.int64(7), 7),
        ("500 MB", 500_000_000),
        ("500MB", 500_000_000),
        ("500mb", 500_000_000),
        ("2 GiB", 2 << 30),
        ("1.5 KiB", 1536),
        ("10 kB", 10_000),
        ("3 TB", 3 * 10**12),
        ("1 PiB", 1 << 50),
        ("128", 128),
        ("128 bytes", 128),
    ],
)
def test_bytes(value: Option, expected: int) -> None:
    assert parse_bytes(value, what="max_bytes") == expected


@pytest.mark.parametrize(
    "value", [0, -1, 0.5, "", "MB", "1 um", "-1 MB", math.inf, math.nan, None, True, "1e999 GB"]
)
def test_what_is_no_number_of_bytes(value: object) -> None:
    with pytest.raises(OmeZarrError, match=r"max_bytes=.* is no number of bytes; .*'500 MB'"):
        parse_bytes(value, what="max_bytes")
