"""Plates: what is on them, told without opening an image; and what it costs to be told."""

from __future__ import annotations

import json
import statistics
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import zarr
from zarr.storage import MemoryStore

from tests.helpers import (
    WatchedStore,
    contents,
    group_files,
    opened_tree,
    put_files,
    put_sample,
)
from tests.plating import PlateSample, put_plate
from xarray_omezarr import OmeZarrError, OmeZarrWarning, screens, storage, stores, wells

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ("0.4", "0.5", "0.6")
SIX = {f"{row}/{column}": ["0", "1"] for row in "AB" for column in ("1", "2", "3")}


def silent(message: str) -> None:
    raise AssertionError(message)


def read(store: MemoryStore, **kwargs: Any) -> screens.Screen:  # noqa: ANN401 - handed on
    return screens.read_screen(stores.locate(store), warn=silent, **kwargs)


def paths(store: MemoryStore, **kwargs: Any) -> list[str]:  # noqa: ANN401
    return [field.path for field in read(store, **kwargs).fields]


def removed(store: MemoryStore, prefix: str) -> None:
    for key in [key for key in contents(store) if key.startswith(prefix)]:
        del store._store_dict[key]


@pytest.fixture(params=VERSIONS)
def plate(request: pytest.FixtureRequest, memory: MemoryStore) -> PlateSample:
    return put_plate(memory, SIX, version=request.param)


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def test_one_row_for_each_well(plate: PlateSample) -> None:
    table = wells(plate.store)
    assert list(table.columns) == ["well", "row", "column", "fields", "field_paths"]
    assert list(table.well) == list(SIX)
    assert list(table.row) == ["A"] * 3 + ["B"] * 3
    assert list(table.column) == ["1", "2", "3"] * 2
    assert list(table.fields) == [2] * 6
    assert list(table.field_paths) == [("0", "1")] * 6
    assert table.attrs["name"] == "screen"
    assert table.attrs["rows"] == ["A", "B"]
    assert table.attrs["columns"] == ["1", "2", "3"]


def test_acquisitions(memory: MemoryStore) -> None:
    put_plate(memory, {"A/1": ["0", "1"], "A/2": ["1"]}, acquisitions={"0": 4, "1": 7})
    table = wells(memory)
    assert list(table.acquisitions) == [(4, 7), (7,)]
    assert table.attrs["acquisitions"] == {4: None, 7: None}
    by_field = wells(memory, positions=True)
    assert list(by_field.field) == ["0", "1", "1"]
    assert list(by_field.acquisition) == [4, 7, 7]


def test_positions_and_shapes(plate: PlateSample) -> None:
    table = wells(plate.store, positions=True, shapes=True)
    found = table.well + "/" + table.field
    assert list(found) == list(plate.images)
    assert dict(zip(found, zip(table.y_origin, table.x_origin, strict=True), strict=True)) == (
        plate.origins
    )
    assert set(zip(table.y_size, table.x_size, table.dtype, strict=True)) == {(8, 12, "uint16")}


def test_fields_of_other_axes(memory: MemoryStore) -> None:
    put_plate(memory, {"A/1": ["0", "1"]})
    removed(memory, "A/1/1")
    put_sample(memory, group="A/1/1", dims="czyx")
    table = wells(memory, shapes=True, positions=True)
    assert list(table.x_size) == [12, 48]
    assert table.c_size.isna().tolist() == [True, False]
    assert table.c_size[1] == 2
    assert table.z_origin.isna().tolist() == [True, False]


def test_a_plate_below_the_root(memory: MemoryStore) -> None:
    inner = MemoryStore()
    put_plate(inner, {"A/1": ["0"]})
    put_files(memory, {f"deep/plate/{key}": value for key, value in contents(inner).items()})
    assert list(wells(memory, group="deep/plate").well) == ["A/1"]


def test_a_plate_without_wells(memory: MemoryStore) -> None:
    put_plate(memory, {})
    table = wells(memory)
    assert table.empty
    assert "well" in table


# ── what is asked for ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("A/1", ["A/1"]),
        ("B/*", ["B/1", "B/2", "B/3"]),
        (["B/3", "A/1", "A/1"], ["A/1", "B/3"]),
        (["?/2", "B/*"], ["A/2", "B/1", "B/2", "B/3"]),
        (pd.DataFrame({"well": ["A/3"], "row": ["A"]}), ["A/3"]),
        (pd.Series(["A/3", "B/1"]), ["A/3", "B/1"]),
    ],
)
def test_wells(memory: MemoryStore, asked: screens.Wells, expected: list[str]) -> None:
    put_plate(memory, SIX)
    assert [entry.path for entry, _, _ in read(memory, wells=asked).wells] == expected


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("C/1", r"no well 'C/1'; there are 'A/1', 'A/2', 'A/3', 'B/1' and 2 more"),
        (["A/1", "C/*"], "no well 'C/\\*'"),
        ([3], "3; expected paths of wells"),
        (pd.DataFrame({"row": ["A"]}), "expected the column 'well'"),
    ],
)
def test_wells_that_are_not_there(memory: MemoryStore, asked: screens.Wells, message: str) -> None:
    put_plate(memory, SIX)
    with pytest.raises(OmeZarrError, match=message):
        read(memory, wells=asked)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (0, ["A/1/x", "A/2/y"]),
        ([1], ["A/1/y"]),
        (-1, ["A/1/y", "A/2/y"]),
        ("y", ["A/1/y", "A/2/y"]),
        (["x", 1], ["A/1/x", "A/1/y"]),
    ],
)
def test_fields(memory: MemoryStore, asked: screens.Fields, expected: list[str]) -> None:
    put_plate(memory, {"A/1": ["x", "y"], "A/2": ["y"]})
    assert paths(memory, fields=asked) == expected


@pytest.mark.parametrize(
    ("asked", "message"),
    [(2, "any of the fields"), ("z", "'z'"), ([], "asks for nothing"), ([1.5], "1.5; expected")],
)
def test_fields_that_are_not_there(memory: MemoryStore, asked: Any, message: str) -> None:  # noqa: ANN401
    put_plate(memory, SIX)
    with pytest.raises(OmeZarrError, match=message):
        read(memory, fields=asked)


def a_group(**document: object) -> bytes:
    return group_files("0.5", document)["zarr.json"]


# ── what is not as it should be ──────────────────────────────────────────────────────────────────


def test_missing_wells(plate: PlateSample) -> None:
    removed(plate.store, "A/")
    with pytest.warns(OmeZarrWarning) as told:
        table = wells(plate.store)
    assert list(table.well) == ["B/1", "B/2", "B/3"]
    (only,) = told
    assert "'A/1', 'A/2', 'A/3' are not there" in str(only.message)
    with pytest.raises(OmeZarrError, match="Without strict=True"):
        wells(plate.store, strict=True)


def test_missing_fields(plate: PlateSample) -> None:
    removed(plate.store, "A/1/1/")
    assert list(wells(plate.store).fields) == [2] * 6
    with pytest.warns(OmeZarrWarning, match="'A/1/1' are not there") as told:
        table = wells(plate.store, shapes=True)
    assert len(told) == 1
    assert len(table) == 11


def test_missing_arrays(plate: PlateSample) -> None:
    removed(plate.store, "A/1/1/0/")
    with pytest.warns(OmeZarrWarning, match="'A/1/1/0' are not there"):
        table = wells(plate.store, shapes=True)
    assert table.x_size.isna().sum() == 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"{", "no valid JSON"),
        (a_group(), "is no well"),
        (a_group(plate={"wells": [{"path": "A/1"}]}), "of the kind 'plate'"),
        (a_group(well={"images": [{"path": "../../../secret"}]}), "must stay below"),
    ],
)
def test_broken_wells(memory: MemoryStore, document: bytes, message: str) -> None:
    put_plate(memory, SIX)
    put_files(memory, {"A/1/zarr.json": document, "B/2/zarr.json": document})
    with pytest.warns(OmeZarrWarning, match=message) as told:
        table = wells(memory)
    (only,) = told
    assert "(and 1 others)" in str(only.message)
    assert list(table.well) == ["A/2", "A/3", "B/1", "B/3"]


def test_what_each_field_has_in_common_is_told_once(memory: MemoryStore) -> None:
    put_plate(memory, SIX, acquisitions={"0": 1})
    for path in SIX:
        for field in "01":
            group = zarr.open_group(memory, path=f"{path}/{field}", mode="r+")
            ome: Any = group.attrs["ome"]
            ome["multiscales"][0]["axes"][0]["unit"] = "smoot"
            group.attrs["ome"] = ome
    with pytest.warns(OmeZarrWarning, match="smoot") as told:
        wells(memory, positions=True)
    assert len(told) == 1
    assert "'A/1/0', 'A/1/1', 'A/2/0', 'A/2/1' and 8 more" in str(told[0].message)


def test_acquisitions_that_nobody_knows(memory: MemoryStore) -> None:
    put_plate(memory, {"A/1": ["0", "1", "2"]}, acquisitions={"0": 1, "1": 2})
    with pytest.warns(OmeZarrWarning, match="2 acquisitions, and the fields 'A/1/2' do not say"):
        wells(memory)
    document: Any = json.loads(contents(memory)["A/1/zarr.json"])
    document["attributes"]["ome"]["well"]["images"][2]["acquisition"] = 9
    put_files(memory, {"A/1/zarr.json": json.dumps(document).encode()})
    with pytest.warns(OmeZarrWarning, match="acquisitions that the plate does not list"):
        table = wells(memory)
    assert table.acquisitions[0] == (1, 2, 9)


@pytest.mark.parametrize("kind", ["image", "well", "nothing"])
def test_what_is_no_plate(memory: MemoryStore, kind: str) -> None:
    put_plate(memory, {"A/1": ["0"]})
    group, message = {
        "image": ("A/1/0", "is an image; expected the group of a plate"),
        "well": ("A/1", "is a single well"),
        "nothing": ("C", "nothing at"),
    }[kind]
    with pytest.raises(OmeZarrError, match=message):
        wells(memory, group=group)


def test_a_store_that_fails_is_no_plate_without_wells(memory: MemoryStore) -> None:
    put_plate(memory, SIX)

    def hook(_: str, key: str) -> None:
        if key.startswith("A/2"):
            msg = "the line is dead"
            raise ConnectionError(msg)

    with pytest.raises(OmeZarrError, match="the line is dead"):
        wells(WatchedStore(memory, hook=hook))


# ── what it costs ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
def test_requests(memory: MemoryStore, version: str) -> None:
    """A plate of 384 wells takes two rounds: two requests, and one for each well."""
    many = {f"{row}/{c}": ["0", "1"] for row in "ABCDEFGHIJKLMNOP" for c in range(1, 25)}
    put_plate(memory, many, version=version, levels=1, shape=(1, 1))
    watched = WatchedStore(memory, latency=0.01)
    assert len(wells(watched)) == 384
    flights = watched.log.flights
    assert len(flights) <= 386
    assert statistics.mean(flights) >= 16
    assert max(flights) <= storage.REQUESTS
    watched.log.clear()
    wells(watched, positions=True, shapes=True)
    assert len(flights) <= 386 + 2 * 768
    assert statistics.mean(flights) >= 16
    assert max(flights) <= storage.REQUESTS


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_consolidated_metadata_are_one_request(memory: MemoryStore, version: str) -> None:
    put_plate(memory, SIX, version=version)
    expected = wells(memory, shapes=True)
    with warnings.catch_warnings():
        # Zarr v3 has no specification of them yet, as Zarr says.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(memory)
    watched = WatchedStore(memory)
    table = wells(watched, shapes=True, consolidated=True)
    pd.testing.assert_frame_equal(table, expected)
    assert len(watched.log.requests) <= 3
    watched.log.clear()
    tree = opened_tree(watched, consolidated=True)
    assert len(watched.log.requests) <= 3
    assert tree["B/3/1/1"].well == "B/3"


@pytest.mark.parametrize("version", VERSIONS)
def test_from_a_disk(tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_plate(tmp_path, SIX, version=version)
    table = wells(tmp_path, positions=True, shapes=True)
    monkeypatch.chdir(tmp_path.parent)
    pd.testing.assert_frame_equal(table, wells(tmp_path.name, positions=True, shapes=True))
