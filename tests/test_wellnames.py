"""Names of wells, on plates that store rows and columns in ways of their own."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xarray_omezarr import OmeZarrError
from xarray_omezarr.wellnames import WellNames, find, folded, parse

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS_1536 = [*string.ascii_uppercase, *(f"A{letter}" for letter in "ABCDEF")]


def plate(rows: list[str], columns: list[str]) -> WellNames:
    return WellNames(tuple(f"{row}/{column}" for row in rows for column in columns))


ONES = [str(number) for number in range(1, 25)]
ZEROS = [f"{number:02}" for number in range(1, 25)]


@pytest.mark.parametrize("name", ["A/1", "A1", "A01", "a1", "a/01", " A1 ", "A 1", "A001", "/A/1/"])
@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (["A", "B"], ONES, "A/1"),
        (["A", "B"], ZEROS, "A/01"),
        (["a", "b"], ONES, "a/1"),
        (["a"], ["001"], "a/001"),
    ],
)
def test_the_first_well_by_all_its_names(
    name: str, rows: list[str], columns: list[str], expected: str
) -> None:
    assert plate(rows, columns).find(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("P24", "P/24"), ("AA12", "AA/12"), ("aa12", "AA/12"), ("AF48", "AF/48"), ("Z09", "Z/9")],
)
def test_plates_of_1536_wells(name: str, expected: str) -> None:
    assert plate(ROWS_1536, [str(n) for n in range(1, 49)]).find(name) == expected


@pytest.mark.parametrize(
    "name", ["C1", "A25", "A", "", "1", "A/1/0", "A//1", "AA1", "é1", "/", "A-1"]
)
def test_what_is_not_there_is_not_found(name: str) -> None:
    assert plate(["A", "B"], ONES).find(name) is None


def test_rows_that_are_numbers() -> None:
    names = plate(["1", "2"], ["1", "2"])
    assert names.find("12") == "1/2"
    assert names.find("01/02") == "1/2"
    # No letter stands for a number: whether A is 0 or 1 would be a guess.
    assert names.find("A1") is None


def test_what_may_be_two_wells_names_both() -> None:
    names = plate(["1", "11"], ["1", "11"])
    with pytest.raises(OmeZarrError, match=re.escape("'1/11' or '11/1'")):
        names.find("111")
    assert names.find("11") == "1/1"
    assert names.find("1/11") == "1/11"


def test_a_path_means_itself_beside_others_like_it() -> None:
    names = WellNames(("A/1", "A/01", "a/1"))
    assert [names.find(path) for path in names.wells] == ["A/1", "A/01", "a/1"]
    for name in ("A1", "A01", "a/01"):
        with pytest.raises(OmeZarrError, match=re.escape("'A/1' or 'A/01' or 'a/1'")):
            names.find(name)


def test_a_well_listed_twice_is_one() -> None:
    assert WellNames(("A/1", "A/1")).find("a1") == "A/1"


def test_what_is_asked_for_and_not_there_is_an_error_with_what_there_is() -> None:
    wells = [f"A/{n}" for n in range(1, 8)]
    assert find("a07", wells) == "A/7"
    with pytest.raises(OmeZarrError, match=r"no well 'B1'.*'A/5', … \(7 in all\)\.$"):
        find("B1", wells)
    with pytest.raises(OmeZarrError, match="its wells are none"):
        find("A1", [])


def test_parts() -> None:
    assert parse("A12") == (("A", "12"), ("A1", "2"))
    assert parse("A/1/0") == ()
    assert folded("0") == "0"
    assert folded("010") == "10"
    assert folded("a01") == "A01"


def spelled(number: int, zeros: int) -> str:
    return f"{'0' * zeros}{number}"


#: The same plate, its columns stored without zeros and with one or two.
PLATES = [plate(ROWS_1536, [spelled(n, zeros) for n in range(1, 49)]) for zeros in range(3)]


@given(
    row=st.sampled_from(ROWS_1536),
    column=st.integers(1, 48),
    zeros=st.tuples(st.integers(0, 3), st.integers(0, 2)),
    slash=st.sampled_from(["", "/"]),
    change=st.sampled_from([str.lower, str.upper]),
)
def test_every_spelling_means_the_well(
    row: str, column: int, zeros: tuple[int, int], slash: str, change: Callable[[str], str]
) -> None:
    name = change(f"{row}{slash}{spelled(column, zeros[0])}")
    assert PLATES[zeros[1]].find(name) == f"{row}/{spelled(column, zeros[1])}"
