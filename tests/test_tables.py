"""Label properties as variables, tables joined to them, and tables of every make."""

from __future__ import annotations

import bz2
import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xarray_omezarr import OmeZarrError, properties, samples, sheets, tables
from xarray_omezarr.errors import OmeZarrFileNotFoundError
from xarray_omezarr.joins import JoinReport, join_csv

if TYPE_CHECKING:
    from pathlib import Path

    Json = list[dict[str, Any]]


def quiet(message: str) -> None:
    raise AssertionError(message)


def parsed(entries: object, colors: object = None) -> properties.Properties:
    found = properties.parse(entries, colors, place="here", warn=quiet)
    assert found is not None
    return found


def dataset(entries: object, colors: object = None, label: str = "cells") -> xr.Dataset:
    data, coords = tables.variables(label, parsed(entries, colors))
    return xr.Dataset(data, coords)


def entries_of(ds: xr.Dataset, label: str = "cells") -> Json:
    found = tables.properties_of(ds, label)
    assert found is not None
    return properties.to_json(found)[0]


# ── JSON ⇄ variables ─────────────────────────────────────────────────────────────────────────────


def test_each_type_has_its_dtype() -> None:
    ds = dataset(
        [
            {"label-value": 2, "area": 1.5, "count": 3, "name": "a", "ok": True},
            {"label-value": 1, "area": 2, "count": -4, "name": "bc", "ok": False},
        ]
    )
    assert ds.cells_id.dtype == np.int64
    assert ds.cells_id.values.tolist() == [2, 1]
    kinds = {str(name): variable.dtype for name, variable in ds.data_vars.items()}
    assert kinds == {
        "cells_area": np.dtype(float),
        "cells_count": np.dtype(np.int64),
        "cells_name": np.dtype("U2"),
        "cells_ok": np.dtype(bool),
    }


def test_gaps() -> None:
    entries: Json = [
        {"label-value": 1, "n": 1, "big": 2**60 + 1, "ok": True, "s": "x", "f": 0.5},
        {"label-value": 2},
        {"label-value": 3, "n": None, "ok": False},
    ]
    ds = dataset(entries)
    np.testing.assert_array_equal(ds.cells_n, [1, np.nan, np.nan])
    np.testing.assert_array_equal(ds.cells_f, [0.5, np.nan, np.nan])
    assert ds.cells_big.dtype == np.int64
    assert ds.cells_big.values.tolist() == [2**60 + 1, 0, 0]
    assert ds.cells_big_present.values.tolist() == [True, False, False]
    assert ds.cells_ok.values.tolist() == [True, False, False]
    assert ds.cells_ok_present.values.tolist() == [True, False, True]
    assert ds.cells_s.values.tolist() == ["x", "", ""]
    back = entries_of(ds)
    del entries[2]["n"]
    assert back == entries
    # Integers with gaps come back as integers.
    assert isinstance(back[0]["n"], int)


def test_nothing_but_finite_numbers_reaches_json() -> None:
    ds = dataset([{"label-value": i, "f": 0.5} for i in range(1, 5)])
    ds["cells_f"] = ("cells_id", [np.nan, np.inf, -np.inf, 1.0])
    text = json.dumps(entries_of(ds), allow_nan=False)
    assert json.loads(text) == [
        *({"label-value": i} for i in (1, 2, 3)),
        {"label-value": 4, "f": 1.0},
    ]


@pytest.mark.parametrize("value", [2**53 + 1, 2**63, 2**64 - 1])
def test_large_label_values(value: int) -> None:
    ds = dataset([{"label-value": 1, "n": value}, {"label-value": value}])
    assert ds.cells_id.values.tolist() == [1, value]
    assert entries_of(ds) == [{"label-value": 1, "n": value}, {"label-value": value}]


def test_mixed_and_nested_values_travel_verbatim() -> None:
    entries = [
        {"label-value": 1, "mixed": 1, "nested": {"a": [1]}, "huge": 2**70, "area": 1.0},
        {"label-value": 2, "mixed": "b", "area": 2.0},
    ]
    said: list[str] = []
    found = properties.parse(entries, None, place="here", warn=said.append)
    assert found is not None
    assert len(said) == 1
    for name in ("'mixed'", "'nested'", "'huge'"):
        assert name in said[0]
    data, coords = tables.variables("cells", found)
    ds = xr.Dataset(data, coords)
    assert list(ds.data_vars) == ["cells_area"]

    def plain(rows: Json) -> list[list[tuple[str, Any]]]:
        return [sorted(row.items(), key=str) for row in rows]

    assert plain(entries_of(ds)) == plain(entries)
    assert plain(entries_of(ds.isel(cells_id=[1]))) == plain(entries[1:])
    put_back = tables.set_table(ds, "cells", tables.table(ds, "cells"))
    assert plain(entries_of(put_back)) == plain(entries)


def test_colors() -> None:
    colors = [
        {"label-value": 7, "rgba": [255, 0, 128, 255]},
        {"label-value": 1, "rgba": [0, 1, 2, 3], "note": "kept"},
    ]
    ds = dataset([{"label-value": 1, "a": 1}, {"label-value": 2, "a": 2}], colors)
    assert ds.cells_id.values.tolist() == [1, 2, 7]
    assert ds.cells_color.values.tolist() == ["00010203", "", "FF0080FF"]
    found = tables.properties_of(ds, "cells")
    assert found is not None
    entries, back = properties.to_json(found)
    assert sorted(back, key=str) == sorted(colors, key=str)
    assert entries == [{"label-value": 1, "a": 1}, {"label-value": 2, "a": 2}, {"label-value": 7}]


def test_colors_alone_make_no_properties() -> None:
    colors = [{"label-value": 1, "rgba": [1, 2, 3, 4]}]
    assert properties.to_json(parsed(None, colors)) == ([], colors)


def test_no_table() -> None:
    nothing: list[Any] | None
    for nothing in (None, []):
        assert properties.parse(nothing, nothing, place="here", warn=quiet) is None
    assert tables.properties_of(samples.coins(), "coins") is None


@pytest.mark.parametrize(
    ("entries", "colors", "said"),
    [
        ([{"label-value": 1, "a": 1}, {"label-value": 1, "a": 2}], None, "more than once"),
        ([{"a": 1}, {"label-value": 1, "a": 2}], None, "no integer as 'label-value'"),
        (
            [{"label-value": 1, "a": 2}, {"label-value": 1.5}, {"label-value": True}],
            None,
            "2 entries",
        ),
        ([{"label-value": 1.0, "a": 2}], None, None),
        ("a", [{"label-value": 1, "rgba": [0, 0, 0, 0]}], "expected a list"),
        (None, [{"label-value": 1, "rgba": [0, 0, 300, 0]}], "from 0 to 255"),
        (None, [{"label-value": 1, "rgba": "red"}], "from 0 to 255"),
        (None, [{"label-value": 1, "rgba": [0, 0, 2**70, 0]}], "from 0 to 255"),
        (None, [{"label-value": 1}], None),
    ],
)
def test_wrong_entries(entries: object, colors: object, said: str | None) -> None:
    warnings: list[str] = []
    found = properties.parse(entries, colors, place="here", warn=warnings.append)
    assert found is not None
    assert found.ids.tolist() == [1]
    if "a" in found.columns:
        assert found.columns["a"].values.tolist() == [2]
    assert len(warnings) == (said is not None)
    assert all((said or "") in message and "here" in message for message in warnings)


def test_names_that_are_taken() -> None:
    """A property may be called like what else stands in a table, or like a path."""
    entries = [
        {
            "label-value": 1, "id": 5, "id_": 6, "color": "red", "a/b": 1.5,
            "area": 1, "area_present": True, "area_present_": "x", "": 0,
        },
        {"label-value": 2},
    ]  # fmt: skip
    ds = dataset(entries)
    assert not any("/" in str(name) for name in ds.variables)
    assert ds.cells_id.values.tolist() == [1, 2]
    assert entries_of(ds) == entries


SCALARS = {
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "small": st.integers(-(2**53) + 1, 2**53 - 1),
    "int": st.integers(-(2**63), 2**63 - 1),
    "uint": st.integers(0, 2**64 - 1),
    "bool": st.booleans(),
    "text": st.text(st.characters(codec="utf-8"), max_size=5),
}


@given(
    st.data(),
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6, unique=True),
    st.dictionaries(st.text(st.sampled_from("ab/_"), max_size=3), st.sampled_from(sorted(SCALARS)),
                    max_size=4),
)  # fmt: skip
def test_round_trip_of_anything(data: st.DataObject, ids: list[int], names: dict[str, str]) -> None:
    entries: Json = [{"label-value": value} for value in ids]
    for name, kind in names.items():
        for entry in entries:
            value = data.draw(st.none() | SCALARS[kind])
            if value is not None:
                entry[name] = value
    ds = dataset(entries)
    back = entries_of(ds)
    assert back == entries
    again = tables.set_table(ds, "cells", tables.table(ds, "cells"))
    xr.testing.assert_identical(again, ds)
    assert {n: v.dtype for n, v in again.variables.items()} == {
        n: v.dtype for n, v in ds.variables.items()
    }


@pytest.mark.filterwarnings("ignore:The data type:Warning")
@pytest.mark.filterwarnings("ignore:Consolidated metadata:Warning")
def test_saved_by_xarray(tmp_path: Path) -> None:
    ds = dataset(
        [
            {"label-value": 1, "n": 1, "big": 2**60 + 1, "ok": True, "s": "xé", "a/b": 0.5},
            {"label-value": 2, "mixed": 1},
        ],
        [{"label-value": 1, "rgba": [1, 2, 3, 4]}],
    )
    ds.to_netcdf(tmp_path / "a.nc")
    ds.to_zarr(tmp_path / "a.zarr")
    for back in (xr.open_dataset(tmp_path / "a.nc"), xr.open_zarr(tmp_path / "a.zarr")):
        with back:
            assert entries_of(back.load())[0]["big"] == 2**60 + 1
            np.testing.assert_array_equal(back.cells_ok_present, ds.cells_ok_present)
            assert back.cells_s.values.tolist() == ["xé", ""]


# ── the table alone ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def coins() -> xr.Dataset:
    """Give coins with three properties of their 22 labels."""
    ids = np.arange(1, 23)
    entries = [
        {"label-value": int(i), "area": float(i) / 2, "group": "ab"[i % 2], "n": int(i)}
        for i in ids
    ]
    data, coords = tables.variables("coins", parsed(entries))
    return samples.coins().assign(data).assign_coords(coords)


def test_table(coins: xr.Dataset) -> None:
    table = tables.table(coins, "coins")
    assert list(table.dims) == ["id"]
    assert list(table.data_vars) == ["area", "group", "n"]
    assert not table.attrs
    large = table.where(table.area > 5, drop=True)
    assert large.sizes["id"] == 12
    edited = tables.set_table(coins, "coins", large)
    assert edited.sizes["coins_id"] == 12
    assert [entry["label-value"] for entry in entries_of(edited, "coins")] == list(range(11, 23))
    assert coins.sizes["coins_id"] == 22


def test_set_table_takes_what_people_do_to_it(coins: xr.Dataset) -> None:
    table = tables.table(coins, "coins")
    table = table.assign(double=table.area * 2).drop_vars("n").sortby("area", ascending=False)
    edited = tables.set_table(coins, "coins", table)
    assert {str(n) for n in edited.data_vars} == {
        "image", "coins", "coins_area", "coins_group", "coins_double",
    }  # fmt: skip
    assert edited.coins_id.values[0] == 22
    frame = tables.table(coins, "coins").to_dataframe()
    xr.testing.assert_identical(tables.set_table(coins, "coins", frame), coins)
    by_column = tables.set_table(coins, "coins", frame.reset_index())
    xr.testing.assert_identical(by_column, coins)
    means = table.groupby("group").mean()
    assert means.double.dims == ("group",)


def test_units_stay_with_their_properties(coins: xr.Dataset) -> None:
    ds = coins.omezarr.measure("coins", ["area", "centroid"])
    units = {"area": "micrometer^2", "centroid_y": "micrometer", "centroid_x": "micrometer"}

    def told(ds: xr.Dataset) -> dict[str, str]:
        table = tables.table(ds, "coins")
        return {str(n): v.attrs["units"] for n, v in table.data_vars.items() if "units" in v.attrs}

    assert told(ds) == units
    table = tables.table(ds, "coins")
    assert told(tables.set_table(ds, "coins", table)) == units
    xr.testing.assert_identical(tables.set_table(ds, "coins", table), ds)
    assert told(tables.set_table(ds, "coins", table.to_dataframe())) == units
    width = (table.area**0.5).assign_attrs(units="micrometer", long_name="a/b")
    own = tables.set_table(coins, "coins", xr.Dataset({"width": width}))
    assert told(own) == {"width": "micrometer"}
    assert entries_of(own, "coins")[0].keys() == {"label-value", "width"}

    frame = frame_of([1, 2], cell_area=[0.5, 0.7])
    joined, _ = join_csv(ds, frame, label="coins", on="cell")
    assert told(joined) == units
    over, _ = join_csv(
        ds, frame, label="coins", on="cell", columns={"cell_area": "area"}, overwrite=True
    )
    assert told(over) == {name: unit for name, unit in units.items() if name != "area"}


def test_set_table_on_labels_without_any() -> None:
    table = xr.Dataset({"a": ("id", [1.0])}, {"id": [3], "color": ("id", ["FF0000FF"])})
    ds = tables.set_table(samples.coins(), "coins", table)
    assert ds.coins_color.values.tolist() == ["FF0000FF"]
    assert tables.table(samples.coins(), "coins").sizes == {"id": 0}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (xr.Dataset({"a": ("x", [1])}), "no coordinate 'id'"),
        (xr.Dataset({"a": (("id", "k"), [[1]])}, {"id": [1]}), "'a'"),
        (xr.Dataset({"a": ("id", [1, 2])}, {"id": [1, 1]}), "not unique"),
        (xr.Dataset({"a": ("id", [1, 2])}, {"id": [1.5, 2]}), "expected integers"),
        (xr.Dataset({"a": ("id", [1j])}, {"id": [1]}), "'a'"),
        (xr.Dataset({"a": ("id", np.array(["2020"], "M8[ns]"))}, {"id": [1]}), "'a'"),
        (xr.Dataset({"color": ("id", [1])}, {"id": [1]}), "hexadecimal"),
    ],
)
def test_set_table_refuses(table: xr.Dataset, said: str) -> None:
    with pytest.raises(OmeZarrError, match=said):
        tables.set_table(samples.coins(), "coins", table)


def test_no_such_label(coins: xr.Dataset) -> None:
    for call in (tables.table, lambda ds, name: join_csv(ds, "a.csv", label=name, on="a")):
        with pytest.raises(OmeZarrError, match=r"no label image 'nuclei'.*'coins'"):
            call(coins, "nuclei")
    with pytest.raises(OmeZarrError, match="labels=True"):
        tables.table(coins[["image"]], "nuclei")


def test_wrong_color() -> None:
    found = properties.Properties(np.array([5]), colors=np.array(["red"]))
    with pytest.raises(OmeZarrError, match="label 5 is 'red'"):
        properties.to_json(found)


# ── files of every make ──────────────────────────────────────────────────────────────────────────

TEXT = 'cell_id,area,name,ok\n1,1.5,"a, ""b""",True\n2,2.5,"c\nd",False\n'
MAKES = {
    "plain": TEXT.encode(),
    "BOM": TEXT.encode("utf-8-sig"),
    "UTF-16": TEXT.encode("utf-16"),
    "CRLF": TEXT.replace("\n", "\r\n").replace("c\r\n", "c\n").encode(),
    "blank lines": TEXT.replace("\n1", "\n\n1").replace("True\n", "True\n\n\n").encode() + b"\n\n",
    "rows of delimiters": TEXT.encode() + b",,,\n,,,\n",
    "semicolons": b'cell_id;area;name;ok\n1;1.5;"a, ""b""";True\n2;2.5;"c\nd";False\n',
    "tabs": b'cell_id\tarea\tname\tok\n1\t1.5\t"a, ""b"""\tTrue\n2\t2.5\t"c\nd"\tFalse\n',
    "bars": b'cell_id|area|name|ok\n1|1.5|"a, ""b"""|True\n2|2.5|"c\nd"|False\n',
    "delimiter at the end": b'cell_id,area,name,ok,\n1,1.5,"a, ""b""",True,\n2,2.5,"c\nd",False,\n',
    "no end of line": TEXT.encode().rstrip(),
}


def check(ds: xr.Dataset) -> None:
    assert entries_of(ds, "coins")[:2] == [
        {"label-value": 1, "area": 1.5, "name": 'a, "b"', "ok": True},
        {"label-value": 2, "area": 2.5, "name": "c\nd", "ok": False},
    ]


@pytest.mark.parametrize("make", MAKES)
def test_makes(tmp_path: Path, make: str) -> None:
    path = tmp_path / "cells.csv"
    path.write_bytes(MAKES[make])
    ds, report = join_csv(samples.coins(), path, label="coins", on="cell_id", ids=[1, 2])
    check(ds)
    assert report.complete, str(report)
    typed, _ = join_csv(
        samples.coins(), path, label="coins", on="cell_id", ids=[1, 2],
        columns="area#d,name#s,ok#b",
    )  # fmt: skip
    xr.testing.assert_identical(ds, typed)


@pytest.mark.parametrize("kind", ["gz", "bz2", "URL", "text", "bytes", "frame", "string"])
def test_sources(tmp_path: Path, kind: str) -> None:
    source: object
    if kind == "gz":
        source = tmp_path / "cells.csv.gz"
        source.write_bytes(gzip.compress(TEXT.encode()))
    elif kind == "bz2":
        source = str(tmp_path / "cells.csv.bz2")
        (tmp_path / "cells.csv.bz2").write_bytes(bz2.compress(TEXT.encode()))
    elif kind == "URL":
        source = "memory://tables/cells.csv"
        fsspec.filesystem("memory").pipe_file("/tables/cells.csv", TEXT.encode())
    elif kind == "frame":
        source = pd.read_csv(io.StringIO(TEXT))
    elif kind == "string":
        source = str(tmp_path / "cells.csv")
        (tmp_path / "cells.csv").write_text(TEXT, newline="")
    else:
        source = io.StringIO(TEXT) if kind == "text" else io.BytesIO(TEXT.encode())
    ds, report = join_csv(samples.coins(), source, label="coins", on="cell_id")
    check(ds)
    assert report.matched_rows == report.rows == 2
    assert report.labels == 22


def test_frames_with_an_index() -> None:
    frame = pd.read_csv(io.StringIO(TEXT)).set_index("cell_id")
    check(join_csv(samples.coins(), frame, label="coins", on="cell_id")[0])


def test_other_encodings_and_options(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_bytes("id;name;area\n1;é;1,5\n".encode("cp1252"))
    with pytest.raises(OmeZarrError, match="encoding"):
        join_csv(samples.coins(), path, label="coins", on="id")
    ds, _ = join_csv(
        samples.coins(), path, label="coins", on="id",
        read_options={"encoding": "cp1252", "decimal": ","},
    )  # fmt: skip
    assert entries_of(ds, "coins")[0] == {"label-value": 1, "name": "é", "area": 1.5}


@pytest.mark.parametrize(
    ("content", "area"),
    [
        ("id;area;kind\n1;91,5;a,b\n2;88;c\n", [91.5, 88.0]),
        ("id;area\n1;-0,5\n2;1,25\n", [-0.5, 1.25]),
        # Both are there: one of them is no fraction.
        ("id;area;mean\n1;91,5;2.5\n2;88;3\n", ["91,5", "88"]),
    ],
)
def test_fractions_have_commas_where_semicolons_delimit(
    content: str, area: list[float | str]
) -> None:
    ds, _ = join_csv(samples.coins(), io.StringIO(content), label="coins", on="id", ids=[1, 2])
    assert ds.coins_area.values.tolist() == area


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("cell_id,area\n", "no rows"),
        ("cell_id,area\n,\n", "no rows"),
        ("cell,area\n1,2\n", "no column 'cell_id'.*'cell', 'area'"),
        ("cell_id\n1\n", "No columns"),
        ("cell_id,area\nx,2\n", "row 1, column 'cell_id': 'x' is not an integer"),
        ("cell_id,area\n1,2\n1.5,2\n", "row 2, column 'cell_id': '1.5'"),
        ("cell_id,area\n1,2\n1,3\n", "about the same 'cell_id': 1"),
        ("cell_id,area\n1,2\n2,3,4\n", "cannot be read"),
        ("cell_id,area\n1,2,3\n2,3,4\n", "cannot be read"),
        ("cell_id,label-value\n1,2\n", "label-value"),
    ],
)
def test_bad_tables(content: str, said: str) -> None:
    with pytest.raises(OmeZarrError, match=said):
        join_csv(samples.coins(), io.StringIO(content), label="coins", on="cell_id", ids=[1])


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(OmeZarrFileNotFoundError, match=r"nowhere\.csv"):
        join_csv(samples.coins(), tmp_path / "nowhere.csv", label="coins", on="a")
    with pytest.raises(OmeZarrError, match="int"):
        join_csv(samples.coins(), 5, label="coins", on="a")


# ── types ────────────────────────────────────────────────────────────────────────────────────────


def read_column(values: list[str], dtype: object, errors: sheets.Errors = "raise") -> list[Any]:
    text = "id,v\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values, 1))
    ds, _ = join_csv(
        samples.coins(), io.StringIO(text), label="coins", on="id", errors=errors,
        dtypes=None if dtype is None else {"v": dtype}, ids=range(1, len(values) + 1),
    )  # fmt: skip
    return [entry.get("v") for entry in entries_of(ds, "coins")]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (["1.5", "", "nan", "inf", "1e3"], "d", [1.5, None, None, None, 1000.0]),
        (["1", "2"], "d", [1.0, 2.0]),
        (["9007199254740993", "", "18446744073709551615"], "l", [2**53 + 1, None, 2**64 - 1]),
        (["-9223372036854775808", "1"], "#l", [-(2**63), 1]),
        (["2.5", "3.0", "1e3", "0.5", "-1.5"], "l", [2, 3, 1000, 0, -2]),
        (["True", "false", "0", "1", "YES", "no", ""], "b",
         [True, False, False, True, True, False, None]),
        (["007", "", "NA", "1.50"], "s", ["007", "", "NA", "1.50"]),
        (["007", "8"], str, ["007", "8"]),
        (["1", "255"], "uint8", [1, 255]),
        (["1.5", ""], "float32", [1.5, None]),
        (["1", "", "3"], None, [1, None, 3]),
        (["9007199254740993", ""], None, [2**53 + 1, None]),
        (["18446744073709551615", ""], None, [2**64 - 1, None]),
        (["True", "", "False"], None, [True, None, False]),
        (["a", "", "b"], None, ["a", None, "b"]),
        (["0.1", "0.30000000000000004"], None, [0.1, 0.30000000000000004]),
    ],
)  # fmt: skip
def test_types(values: list[str], dtype: object, expected: list[Any]) -> None:
    found = read_column(values, dtype)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize(
    ("values", "dtype", "bad"),
    [
        (["1", "x"], "d", "'x' is not a number"),
        (["1", "x"], "l", "'x' is not an integer"),
        (["1", "inf"], "l", "'inf' is not an integer"),
        (["1", "18446744073709551616"], "l", "'18446744073709551616' is not an integer"),
        (["1", "maybe"], "b", "'maybe' is not true or false"),
        (["True", "2"], "b", "'2' is not true or false"),
        (["1", "256"], "uint8", "256 is not an integer from 0 to 255"),
    ],
)
def test_values_that_do_not_parse(values: list[str], dtype: object, bad: str) -> None:
    with pytest.raises(OmeZarrError, match=f"row 2, column 'v': {bad}"):
        read_column(values, dtype)
    found = read_column(values, dtype, "coerce")
    assert found[0] is not None
    assert found[1] is None


def test_coerced_values_are_reported() -> None:
    text = io.StringIO("id,v,w\n1,x,1\n2,y,2\n3,1,3\n")
    _, report = join_csv(
        samples.coins(), text, label="coins", on="id", dtypes="v#d", errors="coerce", ids=[1, 2, 3]
    )
    assert report.coerced == {"v": 2}
    assert not report.complete
    assert "did not parse, and are missing: 2" in str(report)


def test_types_of_frames() -> None:
    frame = pd.DataFrame(
        {
            "id": [1, 2],
            "i": pd.array([2**60 + 1, None], dtype="Int64"),
            "b": pd.array([True, None], dtype="boolean"),
            "f": np.array([1.5, 2.5], np.float32),
            "c": pd.Categorical(["x", "y"]),
            "o": ["x", None],
            "u": np.array([2**64 - 1, 0], np.uint64),
        }
    )
    ds, _ = join_csv(samples.coins(), frame, label="coins", on="id", ids=[1, 2])
    assert entries_of(ds, "coins") == [
        {"label-value": 1, "i": 2**60 + 1, "b": True, "f": 1.5, "c": "x", "o": "x", "u": 2**64 - 1},
        {"label-value": 2, "f": 2.5, "c": "y", "u": 0},
    ]
    assert ds.coins_f.dtype == np.float32
    frame = pd.DataFrame({"id": [1], "when": pd.to_datetime(["2020-01-01"])})
    with pytest.raises(OmeZarrError, match="'when'"):
        join_csv(samples.coins(), frame, label="coins", on="id", ids=[1])
    frame = pd.DataFrame({"id": [1, 2], "mixed": [1, "a"]})
    with pytest.raises(OmeZarrError, match=r"'mixed'.*several kinds"):
        join_csv(samples.coins(), frame, label="coins", on="id", ids=[1])


@pytest.mark.parametrize(
    ("columns", "dtypes", "said"),
    [
        (["nothing"], None, "no column 'nothing'.*'area', 'nr#d'"),
        (["area#x"], None, "'area#x' is not known"),
        (None, {"nothing": "d"}, "no column 'nothing'"),
        (None, {"area": "M8[ns]"}, "cannot be"),
        (None, {"area": "nonsense"}, "nonsense"),
        (None, "area", "names no type"),
        ({"area": "a", "nr#d": "a"}, None, "differ"),
    ],
)
def test_bad_columns(columns: Any, dtypes: Any, said: str) -> None:  # noqa: ANN401 - wrong on purpose
    text = io.StringIO("id,area,nr#d\n1,2,3\n")
    with pytest.raises(OmeZarrError, match=said):
        join_csv(samples.coins(), text, label="coins", on="id", columns=columns, dtypes=dtypes,
                 ids=[1])  # fmt: skip


def test_names_of_columns() -> None:
    text = "id,area,nr#d\n1,2,3\n"

    def joined(columns: sheets.Columns | None) -> dict[str, Any]:
        ds, _ = join_csv(
            samples.coins(), io.StringIO(text), label="coins", on="id", columns=columns, ids=[1]
        )
        return entries_of(ds, "coins")[0]

    assert joined(None) == {"label-value": 1, "area": 2, "nr#d": 3}
    assert joined("area#s") == {"label-value": 1, "area": "2"}
    assert joined("nr#d") == {"label-value": 1, "nr#d": 3}
    assert joined({"area#d": "size", "id": "nr"}) == {"label-value": 1, "size": 2.0, "nr": 1}


# ── the join ─────────────────────────────────────────────────────────────────────────────────────


def frame_of(ids: list[int], **columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"cell": ids, **columns})


def test_report(coins: xr.Dataset) -> None:
    ds, report = join_csv(coins, frame_of([1, 2, 99], v=[1.0, 2.0, 3.0]), label="coins", on="cell")
    assert isinstance(report, JoinReport)
    assert (report.rows, report.matched_rows, report.rows_without_label) == (3, 2, 1)
    assert (report.labels, report.matched_labels, report.labels_without_row) == (22, 2, 20)
    assert report.unmatched_rows == (99,)
    assert report.unmatched_labels == (3, 4, 5, 6, 7)
    assert not report.complete
    text = str(report)
    for part in ("2 of 3 rows", "rows without a label: 1 (99)", "labels without a row: 20 (3, 4,"):
        assert part in text
    np.testing.assert_array_equal(ds.coins_v, [1.0, 2.0, *[np.nan] * 20])
    assert "coins_v" not in coins


def test_how(coins: xr.Dataset) -> None:
    frame = frame_of([2, 99, 1], v=[2, 99, 1])
    few = tables.set_table(coins, "coins", tables.table(coins, "coins").isel(id=[0, 1, 2]))

    def ids(how: Any) -> list[int]:  # noqa: ANN401 - one of four words
        ds, _ = join_csv(few, frame, label="coins", on="cell", how=how)
        values = dict(zip(ds.coins_id.values.tolist(), ds.coins_v.values.tolist(), strict=True))
        assert all(np.isnan(value) or value == key for key, value in values.items())
        return list(values)

    assert ids("left") == [1, 2, 3]
    assert ids("inner") == [1, 2]
    assert ids("right") == [1, 2, 99]
    assert ids("outer") == [1, 2, 3, 99]
    with pytest.raises(OmeZarrError, match="how="):
        ids("cross")


def test_duplicates(coins: xr.Dataset) -> None:
    frame = frame_of([1, 1, 2], v=[1.0, 2.0, 3.0])
    with pytest.raises(OmeZarrError, match="duplicates='first'"):
        join_csv(coins, frame, label="coins", on="cell")
    for keep, value in (("first", 1.0), ("last", 2.0)):
        ds, report = join_csv(coins, frame, label="coins", on="cell", duplicates=keep)  # type: ignore[arg-type]
        assert ds.coins_v.values[0] == value
        assert report.duplicates == 1
        assert report.rows_without_label == 0


def test_collisions(coins: xr.Dataset) -> None:
    frame = frame_of([1, 2], area=[10.0, np.nan], group=["z", "y"], new=[1, 2])
    with pytest.raises(OmeZarrError, match=r"'area', 'group' already.*overwrite=True"):
        join_csv(coins, frame, label="coins", on="cell")
    ds, report = join_csv(coins, frame, label="coins", on="cell", overwrite=True)
    assert report.overwritten == ("area", "group")
    assert ds.coins_area.values[:3].tolist()[0::2] == [10.0, 1.5]
    assert np.isnan(ds.coins_area.values[1])
    assert ds.coins_group.values[:3].tolist() == ["z", "y", "b"]
    with pytest.raises(OmeZarrError, match="no variable holds both"):
        join_csv(coins, frame_of([1], area=["x"]), label="coins", on="cell", overwrite=True)
    taken = coins.assign(coins_new=("y", np.zeros(coins.sizes["y"])))
    with pytest.raises(OmeZarrError, match="other variables named 'coins_new'"):
        join_csv(taken, frame, label="coins", on="cell", columns=["new"])


def test_on_a_property(coins: xr.Dataset) -> None:
    groups = pd.DataFrame({"g": ["b", "a", "c"], "site": ["left", "right", "none"]})
    ds, report = join_csv(coins, groups, label="coins", on=("g", "group"))
    assert ds.coins_site.values[:2].tolist() == ["left", "right"]
    assert report.matched_labels == 22
    assert report.matched_rows == 2
    numbers = pd.DataFrame({"k": ["1.0", "2"], "v": [1, 2]})
    ds, _ = join_csv(coins, numbers, label="coins", on=("k", "n"))
    assert ds.coins_v.values[:2].tolist() == [1, 2]
    with pytest.raises(OmeZarrError, match=r"no property 'x'.*'area', 'group', 'n'"):
        join_csv(coins, groups, label="coins", on=("g", "x"))
    with pytest.raises(OmeZarrError, match="on="):
        join_csv(coins, groups, label="coins", on=("g",))  # type: ignore[arg-type]


def test_label_values(coins: xr.Dataset) -> None:
    frame = frame_of([3, 2**63 + 5], v=[1, 2])
    ds, _ = join_csv(samples.coins(), frame, label="coins", on="cell")
    assert ds.coins_id.values.tolist() == list(range(1, 23))
    ds, report = join_csv(samples.coins(), frame, label="coins", on="cell", ids=[2**63 + 5, 3])
    assert ds.coins_id.dtype == np.uint64
    assert ds.coins_v.values.tolist() == [2, 1]
    assert report.complete
    ds, _ = join_csv(coins, frame_of([3, 100], v=[1, 2]), label="coins", on="cell", ids=[100])
    assert ds.coins_id.values.tolist() == [*range(1, 23), 100]
    colors = [{"label-value": 3, "rgba": [0, 0, 0, 255]}]
    data, coords = tables.variables("coins", parsed(None, colors))
    colored = samples.coins().assign(data).assign_coords(coords)
    ds, _ = join_csv(colored, frame, label="coins", on="cell")
    assert ds.coins_id.values.tolist() == [3]
    with pytest.raises(OmeZarrError, match="ids"):
        join_csv(coins, frame, label="coins", on="cell", ids=[1.5])


def test_label_values_are_compared_to_the_last_bit() -> None:
    ids = [2**53, 2**53 + 1, 2**63 - 1]
    text = "cell,v\n9007199254740993,1\n9223372036854775807,2\n,3\n"
    ds, report = join_csv(samples.coins(), io.StringIO(text), label="coins", on="cell", ids=ids)
    assert [entry.get("v") for entry in entries_of(ds, "coins")] == [None, 1, 2]
    assert report.rows_without_label == 1
