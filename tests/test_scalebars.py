from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xarray_omezarr.scalebars import quantity, scale_bar, symbol


@given(st.floats(1e-12, 1e12), st.floats(0.05, 1))
def test_a_bar_is_1_2_or_5_and_as_long_as_fits(extent: float, share: float) -> None:
    bar = scale_bar(extent, "micrometer", share)
    assert bar is not None
    digits = f"{bar.length:.0e}"[0]
    assert digits in "125"
    following = {"1": 2.0, "2": 2.5, "5": 2.0}[digits]
    assert bar.length <= extent * share * (1 + 1e-6)
    assert bar.length * following > extent * share * (1 - 1e-6)


@pytest.mark.parametrize(
    ("extent", "unit", "expected"),
    [
        (249.6, "micrometer", "50 µm"),
        (100.0, "micrometer", "20 µm"),
        (10 / 3, "meter", "1 m"),
        (1.0, "micrometer", "0.2 µm"),
        (0.1, "micrometer", "20 nm"),
        (70000.0, "micrometer", "20 mm"),
        (30.0, "inch", "5 in"),
        (400.0, None, "100 px"),
        (4.0, "pixel-ish", "1 pixel-ish"),
        (700.0, "angstrom", "200 Å"),
    ],
)
def test_what_stands_beside_a_bar(extent: float, unit: str | None, expected: str) -> None:
    bar = scale_bar(extent, unit)
    assert bar is not None
    assert bar.text == expected


@pytest.mark.parametrize("extent", [0.0, math.nan, math.inf])
def test_no_bar_without_a_length(extent: float) -> None:
    assert scale_bar(extent, "micrometer") is None


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.65, "micrometer", "0.65 µm"),
        (0.065, "micrometer", "65 nm"),
        (-2500.0, "nanometer", "-2.5 µm"),
        (5.0, "attometer", "5 attometer"),
        (30.0, "second", "30 s"),
        (3.0, "hour", "3 h"),
        (0.0, "micrometer", "0 µm"),
    ],
)
def test_quantities(value: float, unit: str, expected: str) -> None:
    assert quantity(value, unit) == expected


def test_symbols() -> None:
    units = ["micrometer", "meter", "millisecond", "centimeter", "parsec", "centisecond", "kilofoo"]
    assert list(map(symbol, units)) == ["µm", "m", "ms", "cm", "pc", "centisecond", "kilofoo"]
