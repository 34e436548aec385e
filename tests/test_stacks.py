"""Plates as arrays: what NumPy makes of the fields, and where each of them is."""

from __future__ import annotations

import asyncio
import pickle
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore

from tests.helpers import OMERO, Log, WatchedStore, opened, pixels, put_array, put_document, served
from tests.plating import PIXEL, origin_of, put_field, put_plate, put_screen, put_wells, stacked
from xarray_omezarr import OmeZarrError, OmeZarrWarning, slots

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Document, Option, Pixels, Place

WELLS = ("A/1", "A/2", "B/1", "B/2")
ALL = dict.fromkeys(WELLS, ("0", "1"))
SINGLE = dict.fromkeys(WELLS, ("0",))
#: B/1 is absent, and A/2 has lost its second field.
RAGGED = {"A/1": ("0", "1"), "A/2": ("0",), "B/2": ("0", "1")}


def stack(store: Place, **options: Option) -> xr.Dataset:
    return opened(store, **{"stack": "well", **options})


# ── slots ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_wells_and_fields_are_dimensions(version: str) -> None:
    store = MemoryStore()
    found = put_screen(store, ALL, version=version)
    ds = stack(store)
    assert ds.image.dims == ("well", "field", "c", "y", "x")
    np.testing.assert_array_equal(ds.image.values, stacked(found, WELLS, "01"))
    assert ds.well.values.tolist() == list(WELLS)
    assert ds.row.values.tolist() == ["A", "A", "B", "B"]
    assert ds.column.values.tolist() == ["1", "2", "1", "2"]
    assert ds.row.dims == ds.column.dims == ("well",)
    assert ds.field.values.tolist() == ["0", "1"]
    assert "present" not in ds.coords
    assert "acquisition" not in ds.coords
    assert ds.attrs == {"name": "screen"}
    # Positions count from where the field begins, which coordinates say.
    assert ds.y_origin.dims == ("well", "field")
    assert ds.y_origin.values.tolist() == [[0, 100], [200, 300], [400, 500], [600, 700]]
    assert ds.x_origin.values.ravel().tolist() == [-7.75 * number for number in range(8)]
    assert ds.y_origin.attrs == {"units": "micrometer"}
    assert ds.y.values.tolist() == [PIXEL * i for i in range(24)]
    assert ds.x.values.tolist() == [PIXEL * i for i in range(20)]
    assert ds.y.attrs["units"] == "micrometer"
    assert ds.c.values.tolist() == ["DAPI", "GFP"]
    assert ds.c_window_end.values.tolist() == [2000, 1500]


def test_one_field_a_well_makes_no_dimension() -> None:
    store = MemoryStore()
    found = put_screen(store, SINGLE)
    ds = stack(store)
    assert ds.image.dims == ("well", "c", "y", "x")
    assert ds.field.dims == ("well",)
    assert ds.field.values.tolist() == ["0"] * 4
    assert ds.y_origin.values.tolist() == [0, 100, 200, 300]
    np.testing.assert_array_equal(ds.image.values, stacked(found, WELLS, "0")[:, 0])


def test_one_field_of_another_name_in_each_well() -> None:
    store = MemoryStore()
    put_screen(store, {"A/1": ("0",), "A/2": ("7",)})
    ds = stack(store)
    assert ds.field.dims == ("well",)
    assert ds.field.values.tolist() == ["0", "7"]


def test_a_grid() -> None:
    store = MemoryStore()
    found = put_screen(store, ALL)
    ds = stack(store, stack=("row", "column"))
    assert ds.image.dims == ("row", "column", "field", "c", "y", "x")
    expected = stacked(found, WELLS, "01").reshape(2, 2, 2, 2, 24, 20)
    np.testing.assert_array_equal(ds.image.values, expected)
    assert ds.row.values.tolist() == ["A", "B"]
    assert ds.column.values.tolist() == ["1", "2"]
    assert ds.well.values.tolist() == [["A/1", "A/2"], ["B/1", "B/2"]]
    assert ds.image.sel(row="B", column="1", field="1").y_origin == 500
    listed = stack(store, stack=["row", "column"])
    xr.testing.assert_identical(listed, ds)


def test_rows_and_columns_stay_the_strings_that_they_are() -> None:
    store = MemoryStore()
    put_screen(store, {"b/01": ("f_1", "f_2"), "b/10": ("f_1", "f_2")})
    ds = stack(store)
    assert ds.well.values.tolist() == ["b/01", "b/10"]
    assert ds.row.values.tolist() == ["b", "b"]
    assert ds.column.values.tolist() == ["01", "10"]
    assert ds.field.values.tolist() == ["f_1", "f_2"]
    for name in ("well", "row", "column", "field"):
        assert ds[name].dtype.kind == "U"


def test_fields_that_are_numbers_are_in_their_order() -> None:
    store = MemoryStore()
    wells = {"A/1": ("2", "10"), "A/2": ("2", "3", "10")}
    found = put_screen(store, wells)
    ds = stack(store, fill_value=0)
    assert ds.field.values.tolist() == ["2", "3", "10"]
    expected = stacked(found, ("A/1", "A/2"), ("2", "3", "10"))
    np.testing.assert_array_equal(ds.image.values, expected)


@pytest.mark.parametrize("how", ["wells", "A", "column", ("column", "row"), ("row",), 1, ()])
def test_an_unknown_layout_is_an_error(how: object) -> None:
    store = MemoryStore()
    put_screen(store, SINGLE)
    with pytest.raises(OmeZarrError, match=r"expected 'well' or \('row', 'column'\)"):
        stack(store, stack=how)


def test_wells_and_fields_are_chosen() -> None:
    store = MemoryStore()
    found = put_screen(store, ALL)
    ds = stack(store, wells="B/*", fields=-1)
    assert ds.image.dims == ("well", "c", "y", "x")
    np.testing.assert_array_equal(ds.image.values, stacked(found, ("B/1", "B/2"), "1")[:, 0])
    assert ds.field.values.tolist() == ["1", "1"]


def test_wells_are_chosen_by_their_names() -> None:
    store = MemoryStore()
    put_screen(store, SINGLE)
    assert stack(store, wells=["b02", "A1"]).well.values.tolist() == ["A/1", "B/2"]
    with pytest.raises(OmeZarrError, match="has no well 'C1'"):
        stack(store, wells="C1")


# ── what is not there ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["well", ("row", "column")])
def test_what_is_absent_needs_a_fill_value(how: Any) -> None:  # noqa: ANN401
    store = MemoryStore()
    put_screen(store, RAGGED)
    absent = "'A/2/1'" if how == "well" else "'A/2/1', 'B/1/0', 'B/1/1'"
    with pytest.raises(OmeZarrError, match=f"but {absent} are not there.*fill_value=0"):
        stack(store, stack=how)


@pytest.mark.parametrize("fill", [0, 65535, 7.0])
def test_an_integer_in_its_place(fill: float) -> None:
    store = MemoryStore()
    found = put_screen(store, RAGGED)
    ds = stack(store, stack=("row", "column"), fill_value=fill)
    assert ds.image.dtype == np.uint16
    expected = stacked(found, WELLS, "01", int(fill)).reshape(2, 2, 2, 2, 24, 20)
    expected[~ds.present.values] = fill
    np.testing.assert_array_equal(ds.image.values, expected)
    assert ds.present.dims == ("row", "column", "field")
    assert ds.present.values.tolist() == [[[1, 1], [1, 0]], [[0, 0], [1, 1]]]
    assert ds.present.dtype == bool
    # Of what is absent its well is known, but no place.
    assert ds.well.values.tolist() == [["A/1", "A/2"], ["B/1", "B/2"]]
    assert np.isnan(ds.y_origin.values[~ds.present.values]).all()
    assert ds.y_origin.values[ds.present.values].tolist() == [0, 100, 200, 300, 400]


@pytest.mark.parametrize(
    ("dtype", "fill", "expected"),
    [
        ("uint8", np.nan, "float32"),
        ("uint16", np.nan, "float32"),
        ("uint32", np.nan, "float64"),
        ("float32", np.nan, "float32"),
        ("float32", -1, "float32"),
        ("uint8", -1, "int16"),
        ("uint8", 256, "uint16"),
        ("int16", 0.5, "float32"),
    ],
)
def test_types_hold_what_stands_in(dtype: str, fill: float, expected: str) -> None:
    store = MemoryStore()
    found = put_screen(store, RAGGED, dtype=dtype)
    ds = stack(store, fill_value=fill)
    assert ds.image.dtype == ds.image.values.dtype == expected
    np.testing.assert_array_equal(ds.image.sel(well="A/2", field="0"), found["A/2/0"])
    np.testing.assert_array_equal(ds.image.sel(well="A/2", field="1"), np.full((2, 24, 20), fill))
    # Where nothing is absent, nothing has to be held.
    assert stack(store, wells="A/1", fill_value=fill).image.dtype == dtype


def test_with_a_fill_value_it_is_always_said_what_is_there() -> None:
    store = MemoryStore()
    put_screen(store, ALL)
    assert bool(stack(store, fill_value=np.nan).present.all())


@pytest.mark.parametrize("fill", ["0", [0, 0], None.__class__, 1j])
def test_a_fill_value_is_a_number(fill: object) -> None:
    store = MemoryStore()
    put_screen(store, RAGGED)
    with pytest.raises(OmeZarrError, match=r"fill_value=.*expected a number"):
        stack(store, fill_value=fill)


def test_a_field_that_is_listed_and_gone_is_absent(tmp_path: Path) -> None:
    found = put_screen(tmp_path, ALL)
    (tmp_path / "B" / "1" / "1" / "zarr.json").unlink()
    with pytest.warns(OmeZarrWarning, match="'B/1/1' are not there"):
        ds = stack(tmp_path, fill_value=0)
    assert ds.present.values.tolist() == [[1, 1], [1, 1], [1, 0], [1, 1]]
    del found["B/1/1"]
    np.testing.assert_array_equal(ds.image.values, stacked(found, WELLS, "01"))


def test_more_places_than_anyone_fills_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    put_screen(store, {f"r{i}/c{i}": ("0",) for i in range(4)})
    monkeypatch.setattr(slots, "_MOST", 15)
    with pytest.raises(OmeZarrError, match="4 along 'row' × 4 along 'column', more than 15 places"):
        stack(store, stack=("row", "column"), fill_value=0)
    assert stack(store).sizes["well"] == 4


# ── acquisitions ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wells", "dims", "expected"),
    [
        ({"A/1": {"0": 3, "1": 5}, "A/2": {"0": 3, "1": 5}}, ("field",), [3, 5]),
        ({"A/1": {"0": 3, "1": 5}, "A/2": {"0": 5, "1": 3}}, ("well", "field"), [[3, 5], [5, 3]]),
        ({"A/1": {"0": 3}, "A/2": {"0": 3}}, ("well",), [3, 3]),
        ({"A/1": {"0": 3}, "A/2": {"0": 5}}, ("well",), [3, 5]),
    ],
)
def test_acquisitions(
    wells: dict[str, dict[str, int | None]], dims: tuple[str, ...], expected: object
) -> None:
    store = MemoryStore()
    put_wells(store, wells, acquisitions=(3, 5))
    for well, fields in wells.items():
        for field in fields:
            put_field(store, f"{well}/{field}")
    ds = stack(store)
    assert ds.acquisition.dims == dims
    assert ds.acquisition.values.tolist() == expected
    assert ds.acquisition.dtype == np.int64


def test_acquisitions_that_are_not_known() -> None:
    store = MemoryStore()
    put_wells(store, {"A/1": {"0": 3, "1": None}, "A/2": {"0": 3}}, acquisitions=(3,))
    for path in ("A/1/0", "A/1/1", "A/2/0"):
        put_field(store, path)
    ds = stack(store, fill_value=0)
    np.testing.assert_array_equal(ds.acquisition.values, [[3, np.nan], [3, np.nan]])


# ── alike ────────────────────────────────────────────────────────────────────────────────────────

OTHER: Document = {"channels": [{**OMERO["channels"][0], "label": "Cy5"}, OMERO["channels"][1]]}
UNLIKE: dict[str, tuple[dict[str, Any], str]] = {
    "shape": ({"shape": (2, 24, 21)}, r"of shape \(2, 24, 20\) and \(2, 24, 21\)"),
    "dtype": ({"dtype": "uint8"}, "of type uint16 and uint8"),
    "axes": ({"dims": "yx", "shape": (24, 20)}, "axes are 'c, y, x' and 'y, x'"),
    "pixel": ({"scale": 0.2501}, "pixel sizes are {'y': 0.25, 'x': 0.25} and {'y': 0.2501"),
    "channels": ({"omero": OTHER}, r"channels are \['DAPI', 'GFP'\] and \['Cy5', 'GFP'\]"),
    "unnamed": ({"omero": {"channels": []}}, r"channels are \['DAPI', 'GFP'\] and \[\]"),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_fields_that_are_not_alike_are_an_error_that_names_two(kind: str) -> None:
    store = MemoryStore()
    options, said = UNLIKE[kind]
    put_screen(store, ALL, different={"B/1/1": options})
    with pytest.raises(OmeZarrError, match=rf"'A/1/0(/0)?' and 'B/1/1(/0)?' are not alike.*{said}"):
        stack(store)
    assert stack(store, wells="A/*").sizes["well"] == 2


@pytest.mark.parametrize("kind", UNLIKE)
def test_unverified_it_is_an_error_where_a_block_disagrees(kind: str) -> None:
    store = MemoryStore()
    options, said = UNLIKE[kind]
    found = put_screen(store, ALL, different={"B/1/1": options})
    ds = stack(store, verify=False)
    for well, field in (("A/1", "0"), ("B/1", "0"), ("B/2", "1")):
        np.testing.assert_array_equal(
            ds.image.sel(well=well, field=field), found[f"{well}/{field}"]
        )
    with pytest.raises(OmeZarrError, match=f"'B/1/1(/0)?' are not alike.*{said}"):
        ds.image.sel(well="B/1").isel(c=0).values  # noqa: B018 - reading it is what is tested


def test_unverified_only_the_first_array_is_looked_at(tmp_path: Path) -> None:
    found = put_screen(tmp_path, ALL)
    for path in tmp_path.glob("*/*/*/0/zarr.json"):
        if path.parent != tmp_path / "A" / "1" / "0" / "0":
            path.rename(path.with_suffix(".later"))
    ds = stack(tmp_path, verify=False)
    with pytest.raises(OmeZarrError, match="'A/1/1/0' is missing"):
        ds.image.sel(well="A/1").values  # noqa: B018
    for path in tmp_path.glob("*/*/*/0/zarr.later"):
        path.rename(path.with_suffix(".json"))
    np.testing.assert_array_equal(ds.image.values, stacked(found, WELLS, "01"))
    np.testing.assert_array_equal(ds.y_origin.values.ravel(), [100 * i for i in range(8)])


def test_an_array_that_is_gone_is_an_error_that_names_it(tmp_path: Path) -> None:
    put_screen(tmp_path, ALL)
    (tmp_path / "A" / "2" / "1" / "0" / "zarr.json").unlink()
    with pytest.raises(OmeZarrError, match="the array of dataset 'A/2/1/0' is missing"):
        stack(tmp_path)


def test_noise_in_pixel_sizes_is_none() -> None:
    store = MemoryStore()
    put_screen(store, SINGLE, different={"B/1/0": {"scale": PIXEL * (1 + 1e-6)}})
    assert stack(store).y.values[-1] == 23 * PIXEL


def test_settings_that_differ_are_each_fields() -> None:
    store = MemoryStore()
    brighter: Document = {
        "channels": [{**one, "window": {**one["window"], "end": 9000}} for one in OMERO["channels"]]
    }
    put_screen(store, SINGLE, different={"A/2/0": {"omero": brighter}})
    ds = stack(store)
    assert ds.c_window_end.dims == ("well", "c")
    assert ds.c_window_end.sel(well="A/2").values.tolist() == [9000, 9000]
    assert ds.c_window_end.sel(well="B/2").values.tolist() == [2000, 1500]
    assert ds.c_window_start.dims == ds.c_color.dims == ("c",)


def test_a_level_that_a_field_has_not(tmp_path: Path) -> None:
    put_screen(tmp_path, SINGLE)
    with pytest.raises(OmeZarrError, match=r"A/1/0 has no level 1; there are 1"):
        stack(tmp_path, level=1)


def test_levels() -> None:
    store = MemoryStore()
    put_wells(store, {"A/1": {"0": None}, "A/2": {"0": None}})
    coarse = []
    for number, well in enumerate(("A/1", "A/2")):
        document: Document = {
            "multiscales": [
                {
                    "axes": [{"name": dim, "type": "space"} for dim in "yx"],
                    "datasets": [
                        {
                            "path": path,
                            "coordinateTransformations": [
                                {"type": "scale", "scale": [scale, scale]},
                                {"type": "translation", "translation": [10 * number + shift] * 2},
                            ],
                        }
                        for path, scale, shift in (("0", 1.0, 0.0), (f"s{number}", 2.0, 0.5))
                    ],
                }
            ]
        }
        put_document(store, document, version="0.5", group=f"{well}/0")
        put_array(store, f"{well}/0/0", pixels((8, 8)), version="0.5", dims="yx")
        coarse.append(pixels((4, 4), seed=number))
        put_array(store, f"{well}/0/s{number}", coarse[-1], version="0.5", dims="yx")
    ds = stack(store, level=-1)
    np.testing.assert_array_equal(ds.image.values, np.stack(coarse))
    assert ds.y.values.tolist() == [0, 2, 4, 6]
    assert ds.y_origin.values.tolist() == [0.5, 10.5]


def test_a_time_axis_counts_from_its_beginning_where_that_differs() -> None:
    for origins, named in (((0.0, 0.0), False), ((0.0, 30.0), True)):
        store = MemoryStore()
        put_screen(
            store,
            {"A/1": ("0",), "A/2": ("0",)},
            dims="tyx",
            shape=(3, 8, 8),
            different={
                f"A/{i + 1}/0": {"origin": [origin, 0.0, 0.0]} for i, origin in enumerate(origins)
            },
        )
        ds = stack(store)
        assert ds.t.values.tolist() == [0, 1, 2]
        assert ("t_origin" in ds.coords) == named
    assert ds.t_origin.values.tolist() == [0, 30]


def test_an_axis_of_a_name_that_a_stack_needs_is_an_error() -> None:
    store = MemoryStore()
    put_wells(store, {"A/1": {"0": None}})
    document: Document = {
        "multiscales": [
            {
                "axes": [
                    {"name": "field", "type": "custom"},
                    *({"name": dim, "type": "space"} for dim in "yx"),
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [{"type": "scale", "scale": [1.0] * 3}],
                    }
                ],
            }
        ]
    }
    put_document(store, document, version="0.5", group="A/1/0")
    put_array(store, "A/1/0/0", pixels((2, 8, 8)), version="0.5", dims=("field", "y", "x"))
    with pytest.raises(OmeZarrError, match="have an axis 'field'"):
        stack(store)


# ── as xarray takes it ───────────────────────────────────────────────────────────────────────────

STORE = MemoryStore()
FOUND = put_screen(STORE, RAGGED, chunks=(1, 16, 16))
EXPECTED = xr.Variable(
    ("well", "field", "c", "y", "x"), stacked(FOUND, tuple(RAGGED), "01", np.nan)
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            dim: st.one_of(
                st.integers(-size, size - 1),
                st.slices(size),
                st.lists(st.integers(-size, size - 1), max_size=3).map(
                    lambda some: np.array(some, np.int64)
                ),
            )
            for dim, size in EXPECTED.sizes.items()
        },
    )
)
def test_selections_are_those_of_numpys_stack(key: dict[Any, Any]) -> None:
    with_holes = stack(STORE, fill_value=np.nan)
    np.testing.assert_array_equal(with_holes.image.isel(key).values, EXPECTED.isel(key).values)


def test_chunks_are_those_of_the_fields() -> None:
    ds = stack(STORE, fill_value=np.nan, chunks={})
    assert ds.chunksizes == {
        "well": (1, 1, 1),
        "field": (1, 1),
        "c": (1, 1),
        "y": (16, 8),
        "x": (16, 4),
    }
    np.testing.assert_array_equal(ds.image.values, EXPECTED.values)
    xr.testing.assert_identical(ds.compute(), stack(STORE, fill_value=np.nan).compute())
    assert ds.image.mean("field").sel(well="A/1").compute().dims == ("c", "y", "x")


@pytest.mark.filterwarnings("ignore:The data type")
def test_it_is_what_xarray_takes_it_for(tmp_path: Path) -> None:
    ds = stack(STORE, fill_value=0)
    put_screen(tmp_path / "plate", SINGLE)
    array = xr.open_dataarray(tmp_path / "plate", engine="omezarr", stack="well")
    xr.testing.assert_identical(array, stack(tmp_path / "plate").image)
    ds.to_netcdf(tmp_path / "plate.nc")
    ds.to_zarr(tmp_path / "plain.zarr", consolidated=False)
    with xr.open_dataset(tmp_path / "plate.nc") as found:
        xr.testing.assert_equal(found.load(), ds.load())
    with xr.open_zarr(tmp_path / "plain.zarr", consolidated=False) as found:
        xr.testing.assert_equal(found.load(), ds.load())
    chunked = stack(STORE, fill_value=0).chunk(well=1)
    np.testing.assert_array_equal(chunked.image.sum("well"), ds.image.sum("well"))


def test_requests_are_few_and_side_by_side() -> None:
    log = Log()
    store = WatchedStore(memory_plate(), log=log, latency=0.01)
    ds = stack(store)
    # The plate, by both its names; 24 wells, 48 fields, 48 arrays.
    assert len(log.keys()) <= 2 + 24 + 48 + 48
    assert len(set(log.keys())) == len(log.keys())
    log.clear()
    verified = ds.image.load()
    assert len(log.keys()) == 48
    assert max(log.flights) >= 16
    log.clear()
    unverified = stack(store, verify=False)
    assert len(log.keys()) <= 2 + 24 + 48 + 1
    log.clear()
    unverified.image.isel(well=3).load()
    assert len(log.keys()) <= 4
    np.testing.assert_array_equal(unverified.image, verified)


def test_from_a_server(tmp_path: Path) -> None:
    found = put_screen(tmp_path, ALL)
    with served(tmp_path) as (url, asked):
        ds = stack(url, wells=["A1", "B2"])
        asked.clear()
        part = ds.isel(well=1, y=slice(3, 9)).load()
        assert len(asked) <= 2 * 4
        loaded = asyncio.run(ds.load_async())
        np.testing.assert_array_equal(loaded.image, stacked(found, ("A/1", "B/2"), "01"))
        np.testing.assert_array_equal(part.image, loaded.image.values[1, :, :, 3:9])


def memory_plate() -> MemoryStore:
    store = MemoryStore()
    wells = {f"{row}/{column}": ("0", "1") for row in "ABCD" for column in range(1, 7)}
    put_plate(store, wells, levels=1)
    return store


def test_it_is_pickled_and_loaded_asynchronously() -> None:
    ds = stack(STORE, fill_value=np.nan)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds)).image.values, EXPECTED.values)  # noqa: S301
    part = ds.isel(well=[2, 0], y=slice(3, 9))
    found = asyncio.run(part.load_async())
    np.testing.assert_array_equal(found.image.values, EXPECTED.values[[2, 0], :, :, 3:9])


def test_variables_are_dropped_and_arguments_are_checked() -> None:
    ds = stack(STORE, fill_value=0, drop_variables=["c_color", "y_origin", "nothing"])
    assert "c_color" not in ds.coords
    assert "y_origin" not in ds.coords
    for option in ({"wells": "A/1"}, {"fields": 0}, {"fill_value": 0}):
        with pytest.raises(OmeZarrError, match=f"{next(iter(option))}= is for .*stack='well'"):
            opened(STORE, **option)


def test_whoever_opens_a_plate_is_told_of_stacks() -> None:
    with pytest.raises(OmeZarrError, match="by stack='well'"):
        opened(STORE)


def test_what_is_no_plate_is_an_error() -> None:
    with pytest.raises(OmeZarrError, match="expected the group of a plate"):
        stack(STORE, group="A/1/0")


def test_an_empty_plate_is_an_error() -> None:
    store = MemoryStore()
    put_wells(store, {"A/1": {}})
    with pytest.raises(OmeZarrError, match="no fields to stack"):
        stack(store)


def test_of_the_version_of_all_fields_nothing_is_warned_but_once() -> None:
    store = MemoryStore()
    put_screen(store, ALL, version="0.4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stack(store)


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def put_label(store: Place, path: str, name: str, number: int, **options: Option) -> Pixels:
    put_document(store, {"labels": [name]}, version="0.5", group=f"{path}/labels")
    options = {"shape": (24, 20), "dtype": "int32", "origin": origin_of(number, "yx"), **options}
    return put_field(store, f"{path}/labels/{name}", dims="yx", seed=100 + number, **options)


def test_label_images_are_stacked_when_they_are_asked_for() -> None:
    store = MemoryStore()
    put_screen(store, RAGGED)
    paths = [f"{well}/{field}" for well, fields in RAGGED.items() for field in fields]
    labels = {path: put_label(store, path, "nuclei", i) for i, path in enumerate(paths)}
    assert set(stack(store, fill_value=np.nan).data_vars) == {"image"}
    for asked in (True, ["nuclei"], "nuclei"):
        ds = stack(store, fill_value=np.nan, labels=asked)
        assert ds.nuclei.dims == ("well", "field", "y", "x")
        assert ds.nuclei.dtype == np.int32
        # Where there is no field, there is background.
        np.testing.assert_array_equal(ds.nuclei.values, stacked(labels, tuple(RAGGED), "01"))
        assert ds.nuclei.encoding["omezarr"]["kind"] == "label"


def test_a_field_without_the_label_image() -> None:
    store = MemoryStore()
    put_screen(store, SINGLE)
    labels = {
        path: put_label(store, path, "nuclei", i) for i, path in enumerate(("A/1/0", "A/2/0"))
    }
    with pytest.raises(OmeZarrError, match="B/1/0 has no label image 'nuclei'"):
        stack(store, labels=["nuclei"])
    with pytest.warns(OmeZarrWarning, match="B/1/0 has no label image.*is left out"):
        assert "nuclei" not in stack(store, labels=True)
    ds = stack(store, labels=["nuclei"], fill_value=0)
    np.testing.assert_array_equal(ds.nuclei.values, stacked(labels, WELLS, "0")[:, 0])


def test_label_images_that_cannot_be_stacked() -> None:
    store = MemoryStore()
    put_screen(store, SINGLE)
    for i, well in enumerate(WELLS):
        put_label(store, f"{well}/0", "image" if i < 4 else "", i)
    with pytest.raises(OmeZarrError, match="the name 'image' of a label image is taken"):
        stack(store, labels=["image"])
    with pytest.raises(OmeZarrError, match="no field has a label image 'cells'"):
        stack(store, labels=["cells"], fill_value=0)
    for i, well in enumerate(WELLS):
        put_label(store, f"{well}/0", "far", i, origin=[0.0, 5.0])
    with pytest.raises(OmeZarrError, match="A/1/0/labels/far does not lie on the pixels"):
        stack(store, labels=["far"])
    for i, well in enumerate(WELLS):
        put_label(store, f"{well}/0", "small", i, shape=(24, 19))
    with pytest.raises(OmeZarrError, match=re.escape("of shape (24, 19), not that of the image")):
        stack(store, labels=["small"])
    for i, well in enumerate(WELLS):
        put_label(store, f"{well}/0", "soft", i, dtype="float32")
    with pytest.raises(OmeZarrError, match="labels are of type float32"):
        stack(store, labels=["soft"])
    store._store_dict["A/2/0/labels/soft/zarr.json"] = cpu.Buffer.from_bytes(b"{")
    with pytest.raises(OmeZarrError, match="A/2/0/labels/soft"):
        stack(store, labels=["soft"])
    store._store_dict["A/2/0/labels/zarr.json"] = cpu.Buffer.from_bytes(b"{")
    with pytest.raises(OmeZarrError, match="A/2/0/labels"):
        stack(store, labels=True)
