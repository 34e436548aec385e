"""A stack taken apart: each field is the image that it was, at its own place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from tests.helpers import document_of, opened, put_document
from tests.plating import put_field, put_plate, put_screen, put_wells
from xarray_omezarr import OmeZarrError, samples
from xarray_omezarr.slots import is_stack
from xarray_omezarr.unstacking import placed, to_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Option, Place

RAGGED = {"A/1": ("0", "1"), "A/2": ("0",), "B/2": ("0", "1")}
PATHS = [f"/{well}/{field}" for well, fields in RAGGED.items() for field in fields]
STORE = MemoryStore()
put_screen(STORE, RAGGED)


def stack(store: Place, **options: Option) -> xr.Dataset:
    return opened(store, **{"stack": "well", **options})


def assert_same_image(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Compare images with their coordinates, those that say which field it is aside."""
    known = ["well", "row", "column", "field", "acquisition"]
    xr.testing.assert_identical(found.drop_vars(known, errors="ignore").drop_attrs(deep=False),
                                expected.drop_attrs(deep=False))  # fmt: skip


@pytest.mark.parametrize("how", ["well", ("row", "column")])
@pytest.mark.parametrize("chunks", [None, {}])
def test_each_field_is_the_image_that_it_was(how: Any, chunks: Any) -> None:  # noqa: ANN401
    tree = to_tree(stack(STORE, stack=how, fill_value=0, chunks=chunks))
    assert list(tree) == PATHS
    for path, one in tree.items():
        well, _, field = path[1:].rpartition("/")
        assert_same_image(one, opened(STORE, group=path[1:]))
        row, column = well.split("/")
        named = {"well": well, "row": row, "column": column, "field": field}
        assert {key: one.coords[key].item() for key in named} == named
        assert "present" not in one.coords
        assert not [name for name in one.coords if str(name).endswith("_origin")]


def test_acquisitions_are_kept_where_they_are_known() -> None:
    store = MemoryStore()
    put_wells(store, {"A/1": {"0": 3, "1": None}}, acquisitions=(3,))
    for path in ("A/1/0", "A/1/1"):
        put_field(store, path)
    tree = to_tree(stack(store))
    assert tree["/A/1/0"].acquisition.item() == 3
    assert tree["/A/1/0"].acquisition.dtype == np.int64
    assert "acquisition" not in tree["/A/1/1"].coords


def test_selection_and_computation_lose_no_place() -> None:
    ds = stack(STORE, fill_value=0)
    whole = opened(STORE, group="B/2/1")
    tree = to_tree(ds.isel(well=[2], y=slice(4, None, 2), x=slice(None, None, -1)) * 2)
    assert list(tree) == ["/B/2/0", "/B/2/1"]
    expected = whole.isel(y=slice(4, None, 2), x=slice(None, None, -1)) * 2
    assert_same_image(tree["/B/2/1"], expected)
    one = to_tree(ds.sel(well="B/2").sel(field=["1"]))
    assert list(one) == ["/B/2/1"]
    assert_same_image(one["/B/2/1"], whole)
    row = to_tree(stack(STORE, stack=("row", "column"), fill_value=0).sel(row="B"))
    assert list(row) == ["/B/2/0", "/B/2/1"]
    coarse = to_tree(ds.coarsen(y=2, x=2).mean())["/B/2/1"]
    xr.testing.assert_allclose(
        coarse.image.drop_vars(["well", "row", "column", "field"]),
        whole.coarsen(y=2, x=2).mean().image,
    )


@given(
    scale=st.decimals("0.001", "9", places=4),
    origin=st.decimals("-9999", "9999", places=3),
    crops=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 3)), max_size=3),
)
def test_a_crop_of_a_field_has_the_positions_of_a_crop_of_its_image(
    scale: object, origin: object, crops: list[tuple[int, int]]
) -> None:
    store = MemoryStore()
    numbers = [float(str(origin))] * 2
    put_wells(store, {"A/1": {"0": None}})
    put_field(store, "A/1/0", dims="yx", shape=(128, 2), scale=float(str(scale)), origin=numbers)
    field, image = stack(store), opened(store, group="A/1/0")
    for start, step in crops:
        field, image = (one.isel(y=slice(start, None, step)) for one in (field, image))
    if not image.sizes["y"]:
        return
    found = to_tree(field)["/A/1/0"]
    assert found.omezarr.translation["y"] == pytest.approx(image.y.values[0], abs=1e-9)
    if all(step == 1 for _, step in crops):
        assert found.y.values.tolist() == image.y.values.tolist()


def test_a_field_alone_is_the_array_that_it_is(tmp_path: Path) -> None:
    put_screen(tmp_path, {"A/1": ("0",), "A/2": ("0",)})
    data: Any = to_tree(stack(tmp_path))["/A/2/0"].image.variable._data
    while not hasattr(data, "_array"):
        data = data.array
    assert data._array.path == "A/2/0/0"


def test_stacks_that_were_made_by_hand() -> None:
    coins = samples.coins()
    wells = coins.expand_dims(well=["C/1", "C/2"]).assign_coords(y_origin=("well", [0.0, 500.0]))
    tree = to_tree(wells)
    assert list(tree) == ["/C/1/0", "/C/2/0"]
    assert set(tree["/C/2/0"].data_vars) == {"image", "coins"}
    assert tree["/C/2/0"].y.values[0] == 500
    grid = coins.expand_dims(row=["C"], column=["1", "2"], field=["a"])
    assert list(to_tree(grid)) == ["/C/1/a", "/C/2/a"]
    with pytest.raises(OmeZarrError, match="not known which well"):
        to_tree(coins.expand_dims(well=["first", "second"]))
    with pytest.raises(OmeZarrError, match="the field '/C/1/0' twice"):
        to_tree(coins.expand_dims(well=["C/1", "C/1"]))
    with pytest.raises(OmeZarrError, match="no field in the stack"):
        to_tree(wells.assign_coords(present=("well", [False, False])))
    with pytest.raises(OmeZarrError, match="'y_origin' is nan"):
        to_tree(wells.assign_coords(y_origin=("well", [0.0, np.nan])))


# ── written ──────────────────────────────────────────────────────────────────────────────────────


def put_rich(store: Place, version: str) -> None:
    """Lay down a plate with acquisitions, names and keys of its own."""
    wells: dict[str, dict[str, int | None]] = {
        "A/1": {"0": 1, "1": 2},
        "A/2": {"0": 1, "1": 2},
        "C/2": {"0": 1},
    }
    put_wells(store, wells, acquisitions=(1, 2), name="screen", version=version)
    for number, (well, fields) in enumerate(wells.items()):
        for field in fields:
            origin = [0, 100.0 * number + 0.3, 33.3 * int(field)]
            put_field(store, f"{well}/{field}", origin=origin, seed=number, version=version)
    document = document_of(store)
    document["plate"]["acquisitions"][0]["name"] = "before"
    put_document(store, {"plate": document["plate"]}, version=version)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("how", ["well", ("row", "column")])
def test_a_plate_is_written_back(tmp_path: Path, version: str, how: Any) -> None:  # noqa: ANN401
    put_rich(tmp_path / "one", version)
    ds = stack(tmp_path / "one", stack=how, fill_value=0)
    ds.omezarr.to_zarr(tmp_path / "two")
    found, expected = (document_of(tmp_path / name) for name in ("two", "one"))
    plates = [one["plate"] for one in (found, expected)]
    assert plates[0]["acquisitions"] == [{"id": 1, "name": "before"}, {"id": 2}]
    for key in ("name", "rows", "columns", "wells"):
        assert plates[0][key] == plates[1][key]
    for well in ("A/1", "A/2", "C/2"):
        wells = [document_of(tmp_path / name, well)["well"] for name in ("two", "one")]
        assert wells[0] == wells[1]
    again = stack(tmp_path / "two", stack=how, fill_value=0)
    xr.testing.assert_identical(again.load(), ds.load())
    for path in ("A/1/1", "C/2/0"):
        images = [opened(tmp_path / name, group=path) for name in ("two", "one")]
        xr.testing.assert_identical(*(one.drop_attrs(deep=False) for one in images))
        assert images[0].omezarr.translation == images[1].omezarr.translation


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_of_every_version_with_label_images(tmp_path: Path, version: str) -> None:
    store = MemoryStore()
    wells = {"A/1": ("0", "1"), "B/1": ("0", "1")}
    plate = put_plate(store, wells, version=version, labels=["nuclei"],
                              acquisitions={"0": 4, "1": 7})  # fmt: skip
    ds = stack(store, labels=True)
    assert ds.x_origin.values.tolist() == [[0, 100], [0, 100]]
    assert ds.acquisition.values.tolist() == [4, 7]
    np.testing.assert_array_equal(ds.image.sel(well="B/1", field="1"), plate.images["B/1/1"][0])
    ds.omezarr.to_zarr(tmp_path / "plate")
    assert document_of(tmp_path / "plate").get("version", "0.4") == version
    xr.testing.assert_identical(stack(tmp_path / "plate", labels=True).load(), ds.load())


def test_what_was_selected_and_computed_is_written(tmp_path: Path) -> None:
    ds = stack(STORE, fill_value=0, chunks={})
    part = (ds.isel(well=[0, 2], x=slice(5, None)) * 2).assign_coords(drug=("well", ["x", "y"]))
    part.attrs["name"] = "of the plate"
    part.omezarr.to_zarr(tmp_path / "part", levels=2)
    again = stack(tmp_path / "part")
    assert again.well.values.tolist() == ["A/1", "B/2"]
    np.testing.assert_array_equal(again.image.values, part.image.values)
    expected = opened(STORE, group="B/2/1").isel(x=slice(5, None))
    image = opened(tmp_path / "part", group="B/2/1")
    assert again.attrs["name"] == "of the plate"
    assert "name" not in image.attrs
    np.testing.assert_array_equal(image.x, expected.x)
    np.testing.assert_array_equal(image.y, expected.y)
    assert opened(tmp_path / "part", group="B/2/1", level=1).sizes["x"] == 8
    # An array of it alone, and later on.
    task = part.image.omezarr.to_zarr(tmp_path / "array", compute=False)
    task.compute()
    np.testing.assert_array_equal(stack(tmp_path / "array").image.values, part.image.values)


def test_wells_are_added_to_a_plate_that_is_there(tmp_path: Path) -> None:
    ds = stack(STORE, fields="0")
    ds.isel(well=[0]).omezarr.to_zarr(tmp_path / "plate")
    ds.isel(well=[2, 1]).omezarr.to_zarr(tmp_path / "plate", mode="a")
    again = stack(tmp_path / "plate")
    assert sorted(again.well.values.tolist()) == ["A/1", "A/2", "B/2"]
    np.testing.assert_array_equal(again.image.sel(well=ds.well), ds.image)


def test_labels_go_along(tmp_path: Path) -> None:
    coins = samples.coins()
    wells = coins.expand_dims(well=["C/1", "C/2"]).assign_coords(y_origin=("well", [0.0, 500.0]))
    wells.omezarr.to_zarr(tmp_path / "known")
    plain = wells.drop_encoding().rename(coins="disks")
    plain.omezarr.to_zarr(tmp_path / "named", labels=["disks"])
    for name, label in (("known", "coins"), ("named", "disks")):
        again = stack(tmp_path / name, labels=True)
        np.testing.assert_array_equal(again[label].values[1], coins.coins.values)
        assert again.y_origin.values.tolist() == [0, 500]


def test_a_single_field_is_written_as_an_image_at_its_place(tmp_path: Path) -> None:
    one = stack(STORE, fill_value=0).sel(well="B/2", field="1")
    one.omezarr.to_zarr(tmp_path / "dataset")
    one.image.omezarr.to_zarr(tmp_path / "array")
    expected = opened(STORE, group="B/2/1")
    for name in ("dataset", "array"):
        found = opened(tmp_path / name)
        xr.testing.assert_identical(found.image, expected.image)


@pytest.mark.parametrize("chunks", [None, {}])
def test_a_field_is_not_written_over_what_it_is_read_from(tmp_path: Path, chunks: Any) -> None:  # noqa: ANN401
    put_screen(tmp_path, {"A/1": ("0",), "A/2": ("0",)})
    one = stack(tmp_path, chunks=chunks).isel(well=1, x=slice(1, None))
    one = one.assign_coords(x=one.x - one.x[0])
    with pytest.raises(OmeZarrError, match="read"):
        one.omezarr.to_zarr(tmp_path, group="A/2/0", region="auto")


def test_a_stack_is_no_part_of_an_image(tmp_path: Path) -> None:
    ds = stack(STORE, fill_value=0)
    for option in ({"region": {"y": slice(2)}}, {"append_dim": "t"}, {"layout": True}):
        for obj in (ds, ds.image):
            with pytest.raises(OmeZarrError, match=f"{next(iter(option))}=.*stack of the fields"):
                obj.omezarr.to_zarr(tmp_path / "x", **option)


def test_rows_and_columns_of_pixels_are_no_plate(tmp_path: Path) -> None:
    image = xr.DataArray(
        np.ones((3, 4), "uint8"), {"row": [0.0, 1, 2], "column": [0.0, 1, 2, 3]}, ("row", "column")
    )
    for dim in image.dims:
        image[dim].attrs["type"] = "space"
    assert not is_stack(image)
    image.omezarr.to_zarr(tmp_path / "image", levels=1)
    assert opened(tmp_path / "image").image.dims == ("row", "column")


def test_what_is_a_stack() -> None:
    ds = stack(STORE, fill_value=0)
    assert is_stack(ds)
    assert is_stack(ds.isel(well=0))
    assert not is_stack(ds.isel(well=0, field=0))
    assert not is_stack(opened(STORE, group="A/1/0"))
    assert is_stack(ds.image)


def test_pixels_and_channels_of_a_stack() -> None:
    ds = stack(STORE, fill_value=0).isel(y=slice(2, None))
    for obj in (ds, ds.image):
        assert obj.omezarr.scale == {"y": 0.25, "x": 0.25}
        assert obj.omezarr.translation == {"y": 0.5, "x": 0.0}
        assert obj.omezarr.units == {"y": "micrometer", "x": "micrometer"}
    new = ds.omezarr.assign_scale(y=0.5).omezarr.assign_channels(["a", "b"])
    assert new.y.values[:2].tolist() == [0.5, 1.0]
    assert new.image.dims == ds.image.dims
    assert new.c.values.tolist() == ["a", "b"]
    again = to_tree(new.omezarr.snap())["/B/2/1"]
    assert again.y.values[:2].tolist() == [400.5, 401.0]


def test_a_single_field_is_put_to_its_place() -> None:
    ds = stack(STORE, fill_value=0)
    one = placed(ds.sel(well="B/2", field="1"))
    assert_same_image(one.drop_vars("present"), opened(STORE, group="B/2/1"))
    bare = placed(ds.sel(well="B/2", field="1").drop_vars("y"))
    assert bare.y.values[:2].tolist() == [400, 401]
    there = opened(STORE, group="B/2/1")
    xr.testing.assert_identical(placed(there), there)
