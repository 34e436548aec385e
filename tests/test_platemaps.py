"""Plate maps: what is in each well, as coordinates of stacks, of trees and of tables of wells."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from zarr.storage import MemoryStore

import xarray_omezarr
from tests.helpers import opened
from tests.plating import put_screen
from xarray_omezarr import OmeZarrError, OmeZarrWarning, join_wells
from xarray_omezarr.platemaps import join_csv

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Option

WELLS = {"A/1": ("0", "1"), "A/02": ("0", "1"), "b/1": ("0", "1"), "b/12": ("0", "1")}
STORE = MemoryStore()
put_screen(STORE, WELLS, dims="yx", shape=(8, 8))
#: Each well by another one of its names, in another order.
DRUGS = pd.DataFrame(
    {
        "Well": ["B12", "a1", "A2", "b/01"],
        "drug": ["taxol", "none", "none", "taxol"],
        "dose": [2.5, 0.0, 0.0, 1.0],
        "repeat": [1, 1, 2, 2],
        "treated": [True, False, False, True],
    }
)
CSV = DRUGS.to_csv(index=False)


def plate(how: Any = "well", **options: Option) -> xr.Dataset:  # noqa: ANN401
    return opened(STORE, stack=how, **options)


def tree() -> xr.DataTree:
    """Lay a tree out as plates are opened as trees."""
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs={"name": "screen"})}
    for well, fields in WELLS.items():
        row, column = well.split("/")
        for field in fields:
            one = opened(STORE, group=f"{well}/{field}")
            nodes[f"/{well}/{field}/0"] = one.assign_coords(
                well=well, row=row, column=column, field=field
            )
    return xr.DataTree.from_dict(nodes)


# ── stacks ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["frame", "file"])
def test_a_stack_gets_coordinates_along_its_wells(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "drugs.csv"
    path.write_text(CSV)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = plate().omezarr.join_csv(DRUGS if kind == "frame" else path, on="Well")
    assert ds.drug.dims == ("well",)
    assert ds.drug.values.tolist() == ["none", "none", "taxol", "taxol"]
    assert ds.dose.values.tolist() == [0, 0, 1, 2.5]
    assert ds["repeat"].values.tolist() == [1, 2, 2, 1]
    assert ds["repeat"].dtype == np.int64
    assert ds.treated.values.tolist() == [False, False, True, True]
    # They say what a well is, so that the pixels can be computed with.
    assert set(ds.data_vars) == {"image"}
    assert (ds * 2).dose.values.tolist() == [0, 0, 1, 2.5]
    means = ds.image.groupby("drug").mean(...)
    expected = plate().image.values
    np.testing.assert_allclose(means.sel(drug="taxol"), expected[2:].mean())


def test_a_grid_gets_them_along_rows_and_columns() -> None:
    ds = plate(("row", "column"), fill_value=0)
    # What is no well of the plate is not told to lack a row.
    ds = ds.omezarr.join_csv(DRUGS, on="Well", columns=["drug", "dose"])
    assert ds.drug.dims == ("row", "column")
    # Where the plate has a place without a well, and the table no row.
    assert ds.drug.sel(row="A", column="1").item() == "none"
    assert ds.drug.sel(row="b", column="12").item() == "taxol"
    assert not bool(ds.drug_present.sel(row="A", column="12"))
    assert np.isnan(ds.dose.sel(row="A", column="12"))
    row = plate(("row", "column"), fill_value=0).sel(row="b")
    joined, report = join_csv(row, DRUGS, on="Well", columns="dose")
    np.testing.assert_array_equal(joined.dose, [1, np.nan, 2.5])
    assert report.labels == report.matched_labels == 2


def test_rows_and_columns_name_wells_together(tmp_path: Path) -> None:
    path = tmp_path / "drugs.csv"
    path.write_text("Row,Col,drug,well\nA,01,none,x\na,2,some,x\nB,1,more,x\nb,012,most,x\n")
    ds = plate().omezarr.join_csv(path, on=("Row", "Col"))
    assert ds.drug.values.tolist() == ["none", "some", "more", "most"]
    # pandas has integers among gaps as floating point.
    frame = pd.DataFrame({"r": ["A", "A", "B", None], "c": [1, 2, 1, np.nan], "dose": [1, 2, 3, 4]})
    joined, report = join_csv(plate(), frame, on=("r", "c"))
    np.testing.assert_array_equal(joined.dose, [1, 2, 3, np.nan])
    assert report.rows_without_label == 1
    assert report.unmatched_labels == ("b/12",)


def test_a_single_well() -> None:
    one = plate().isel(well=3).omezarr.join_csv(DRUGS.iloc[:1], on="Well")
    assert one.drug.dims == ()
    assert one.drug.item() == "taxol"


def test_wells_that_are_known_by_their_paths_alone() -> None:
    ds = xr.Dataset({"area": ("well", [1.0, 2.0])}, {"well": ["A/1", "B/12"]})
    assert ds.omezarr.join_csv(DRUGS[:2], on="Well").drug.values.tolist() == ["none", "taxol"]


def test_selection_keeps_them() -> None:
    ds = plate(chunks={}).omezarr.join_csv(DRUGS, on="Well")
    assert ds.isel(well=ds.drug == "taxol").well.values.tolist() == ["b/1", "b/12"]


# ── what does not match ──────────────────────────────────────────────────────────────────────────


def test_the_report_says_what_did_not_match() -> None:
    drugs = pd.DataFrame(
        {"well": ["A1", "C01", "D1", None], "drug": ["none", "x", "y", "z"], "n": [1, 2, 3, 4]}
    )
    joined, report = join_csv(plate(), drugs, on="well")
    assert (report.rows, report.matched_rows) == (4, 1)
    assert (report.labels, report.matched_labels) == (4, 1)
    assert report.what == "well"
    assert not report.complete
    assert str(report) == (
        "the DataFrame joined by 'well' to 'well': 1 of 4 rows match, 1 of 4 wells have a row.\n"
        "  rows without a well: 3 (C01, D1, None)\n"
        "  wells without a row: 3 (A/02, b/1, b/12)\n"
        "  coordinates: drug, n"
    )
    assert joined.drug.values.tolist() == ["none", "", "", ""]
    assert joined.drug_present.values.tolist() == [True, False, False, False]
    np.testing.assert_array_equal(joined.n, [1, np.nan, np.nan, np.nan])
    with pytest.warns(OmeZarrWarning, match="1 of 4 wells have a row"):
        plate().omezarr.join_csv(drugs, on="well")


def test_two_wells_that_a_name_may_mean_are_an_error_that_names_both() -> None:
    store = MemoryStore()
    put_screen(store, {"1/11": ("0",), "11/1": ("0",)}, dims="yx", shape=(4, 4))
    ds = opened(store, stack="well")
    drugs = pd.DataFrame({"well": ["111"], "drug": ["x"]})
    with pytest.raises(OmeZarrError, match=r"the DataFrame: .*'111' may mean '1/11' or '11/1'"):
        join_csv(ds, drugs, on="well")
    drugs = pd.DataFrame({"row": [1, 11], "column": [11, 1], "drug": ["x", "y"]})
    joined, _ = join_csv(ds, drugs, on=("row", "column"))
    assert joined.drug.values.tolist() == ["x", "y"]


def test_rows_about_the_same_well_by_other_names() -> None:
    drugs = pd.DataFrame({"well": ["A1", "a/01", "A2"], "dose": [1.0, 2.0, 3.0]})
    with pytest.raises(OmeZarrError, match=r"Several rows.*'well': A/1"):
        join_csv(plate(), drugs, on="well")
    for which, dose in (("first", 1.0), ("last", 2.0)):
        joined, report = join_csv(plate(), drugs, on="well", duplicates=which)  # type: ignore[arg-type]
        np.testing.assert_array_equal(joined.dose, [dose, 3, np.nan, np.nan])
        assert report.duplicates == 1
    absent = pd.DataFrame({"well": ["H1", "H1"], "dose": [1.0, 2.0]})
    with pytest.raises(OmeZarrError, match="Several rows"):
        join_csv(plate(), absent, on="well")


def test_values_that_do_not_parse(tmp_path: Path) -> None:
    path = tmp_path / "drugs.csv"
    path.write_text("well,dose\nA1,1\nA2,much\nB1,2\nB12,3\n")
    with pytest.raises(OmeZarrError, match="row 2, column 'dose': 'much' is not a number"):
        join_csv(plate(), path, on="well", dtypes={"dose": "d"})
    joined, report = join_csv(plate(), path, on="well", dtypes="dose#d", errors="coerce")
    np.testing.assert_array_equal(joined.dose, [1, np.nan, 2, 3])
    assert report.coerced == {"dose": 1}
    typed, _ = join_csv(plate(), path, on="well", columns=["dose#s"])
    assert typed.dose.values.tolist() == ["1", "much", "2", "3"]


# ── names that are there ─────────────────────────────────────────────────────────────────────────


def test_what_was_joined_is_replaced_where_that_is_asked_for() -> None:
    ds, _ = join_csv(plate(), DRUGS, on="Well")
    more = pd.DataFrame({"w": ["A1"], "dose": [9.0], "drug": ["new"]})
    with pytest.raises(OmeZarrError, match="The stack has 'dose', 'drug' already"):
        join_csv(ds, more, on="w")
    again, report = join_csv(ds, more, on="w", overwrite=True)
    assert again.dose.values.tolist() == [9, 0, 1, 2.5]
    assert again.drug.values.tolist() == ["new", "none", "taxol", "taxol"]
    assert report.overwritten == ("dose", "drug")
    assert ds.dose.values.tolist() == [0, 0, 1, 2.5]
    renamed, _ = join_csv(ds, more, on="w", columns={"dose": "second"})
    np.testing.assert_array_equal(renamed.second, [9, np.nan, np.nan, np.nan])


def test_gaps_are_filled_by_another_table() -> None:
    first = pd.DataFrame({"w": ["A1"], "drug": ["x"], "n": [5]})
    second = pd.DataFrame({"w": ["B1"], "drug": ["y"], "n": [7]})
    ds, _ = join_csv(plate(), first, on="w")
    ds, _ = join_csv(ds, second, on="w", overwrite=True)
    assert ds.drug.values.tolist() == ["x", "", "y", ""]
    assert ds.drug_present.values.tolist() == [True, False, True, False]
    np.testing.assert_array_equal(ds.n, [5, np.nan, 7, np.nan])
    third = pd.DataFrame({"w": ["A2", "B12"], "drug": ["z", "z"], "n": [1, 2]})
    ds, _ = join_csv(ds, third, on="w", overwrite=True)
    assert "drug_present" not in ds.coords
    assert ds.n.dtype == np.int64


@pytest.mark.parametrize(
    "name", ["image", "well", "y", "y_origin", "field", "present", "acquisition"]
)
def test_no_column_takes_the_place_of_what_a_stack_says_itself(name: str) -> None:
    drugs = pd.DataFrame({"w": ["A1"], "dose": [1.0]})
    with pytest.raises(OmeZarrError, match=f"'{name}', which says something else"):
        join_csv(plate(), drugs, on="w", columns={"dose": name}, overwrite=True)


def test_a_table_of_wells_that_was_exported_comes_back() -> None:
    exported = xarray_omezarr.wells(STORE)[["well", "row", "column"]].assign(drug=list("abcd"))
    ds, report = join_csv(plate(), exported, on="well")
    assert report.columns == ("drug",)
    assert ds.drug.values.tolist() == list("abcd")


def test_a_slash_in_a_name_is_no_path() -> None:
    drugs = pd.DataFrame({"w": ["A1", "A2", "B1", "B12"], "mg/l": [1, 2, 3, 4]})
    ds, _ = join_csv(plate(), drugs, on="w")
    assert ds["mg\u2215l"].attrs == {"long_name": "mg/l"}


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ("nothing", "no column 'nothing'"),
        (("Well", "nothing"), "no column 'nothing'"),
        (("a", "b", "c"), "expected the column that names the wells"),
        ((), "expected the column that names the wells"),
        (("Well", 1), "expected the column that names the wells"),
        (None, "expected the column that names the wells"),
    ],
)
def test_the_columns_that_name_wells(on: Any, said: str) -> None:  # noqa: ANN401
    with pytest.raises(OmeZarrError, match=said):
        join_csv(plate(), DRUGS, on=on)


def test_a_table_of_nothing_but_names() -> None:
    with pytest.raises(OmeZarrError, match="besides those that name the wells"):
        join_csv(plate(), pd.DataFrame({"row": ["A"], "column": [1]}), on=("row", "column"))


def test_what_has_no_wells() -> None:
    ds = opened(STORE, group="A/1/0")
    with pytest.raises(OmeZarrError, match=r"no wells to join to.*stack=.*label="):
        ds.omezarr.join_csv(DRUGS, on="Well")
    with pytest.raises(OmeZarrError, match="No node of this tree"):
        xr.DataTree.from_dict({"/0": ds}).omezarr.join_csv(DRUGS, on="Well")
    for option in ({"how": "inner"}, {"ids": [1]}):
        with pytest.raises(OmeZarrError, match="are about labels: name the label image by label="):
            plate().omezarr.join_csv(DRUGS, on="Well", **option)


# ── trees ────────────────────────────────────────────────────────────────────────────────────────


def test_each_node_of_a_well_says_what_is_in_it() -> None:
    before = tree()
    before.encoding["omezarr"] = {"kind": "plate"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        joined = before.omezarr.join_csv(DRUGS, on="Well")
    for well, drug, dose in (("A/1", "none", 0), ("A/02", "none", 0), ("b/12", "taxol", 2.5)):
        for field in "01":
            node = joined[f"/{well}/{field}/0"]
            assert node.drug.dims == ()
            assert node.drug.item() == drug
            assert node.dose.item() == dose
            xr.testing.assert_identical(
                node.to_dataset().drop_vars(["drug", "dose", "repeat", "treated"]),
                before[f"/{well}/{field}/0"].to_dataset(),
            )
    assert joined.attrs == {"name": "screen"}
    assert joined.encoding == before.encoding
    image = joined["/A/1/0/0"].image
    assert image.encoding == before["/A/1/0/0"].image.encoding
    assert "drug" not in before["/A/1/0/0"].coords
    assert "drug" not in joined["/A"].coords


def test_a_tree_that_was_joined_already() -> None:
    first, report = join_csv(tree(), DRUGS.iloc[:2], on="Well", columns=["drug", "repeat"])
    assert (report.labels, report.matched_labels) == (4, 2)
    assert first["/b/12/1/0"].drug.item() == "taxol"
    assert first["/b/1/1/0"].drug.item() == ""
    assert not first["/b/1/1/0"].drug_present.item()
    with pytest.raises(OmeZarrError, match="The tree has 'drug' already"):
        join_csv(first, DRUGS, on="Well", columns="drug")
    second, _ = join_csv(
        first, DRUGS.iloc[2:], on="Well", columns=["drug", "repeat"], overwrite=True
    )
    assert [second[f"/{well}/0/0"].drug.item() for well in WELLS] == [
        "none",
        "none",
        "taxol",
        "taxol",
    ]
    assert [second[f"/{well}/0/0"]["repeat"].item() for well in WELLS] == [1, 2, 2, 1]
    assert "drug_present" not in second["/b/1/0/0"].coords


# ── tables ───────────────────────────────────────────────────────────────────────────────────────


def test_a_table_of_wells_is_chosen_from_by_treatment() -> None:
    wells = xarray_omezarr.wells(STORE)
    joined = join_wells(wells, DRUGS, on="Well")
    assert joined.well.tolist() == list(WELLS)
    assert joined.drug.tolist() == ["none", "none", "taxol", "taxol"]
    assert joined["repeat"].dtype == np.int64
    assert "drug" not in wells.columns
    ds = plate(wells=joined[joined.drug == "taxol"])
    assert ds.well.values.tolist() == ["b/1", "b/12"]


def test_what_is_missing_in_a_table_is_nan() -> None:
    wells = pd.DataFrame({"well": ["A/1", "A/2", "A/1"]})
    drugs = pd.DataFrame({"w": ["A01"], "drug": ["x"], "n": [3], "dose": [0.5], "ok": [True]})
    with pytest.warns(OmeZarrWarning, match="1 of 2 wells have a row"):
        joined = join_wells(wells, drugs, on="w")
    # There may be several rows about a well, as there are for its fields.
    assert joined.drug.isna().tolist() == [False, True, False]
    assert joined.n.tolist()[::2] == [3, 3]
    assert joined.isna().sum().tolist() == [0, 1, 1, 1, 1]
    with pytest.raises(OmeZarrError, match="The table has 'n' already"):
        join_wells(joined, drugs, on="w", columns="n")
    with pytest.warns(OmeZarrWarning, match="n .overwritten."):
        again = join_wells(joined, drugs.assign(n=4), on="w", columns="n", overwrite=True)
    assert again.n.tolist()[::2] == [4, 4]
    with pytest.raises(OmeZarrError, match="expected the column 'well'"):
        join_wells(drugs, drugs, on="w")
