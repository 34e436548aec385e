"""What is written is what is opened, and what was opened is written back."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import OMERO, VERSIONS, document_of, level_array, opened
from tests.strategies import (
    Picture,
    crops,
    document_with,
    handmade,
    layouts,
    opened_tree,
    pictures,
    pixels,
    scaling,
    write,
)
from tests.test_geometry import assert_same, assert_same_coordinates
from xarray_omezarr import OmeZarrWarning

if TYPE_CHECKING:
    import zarr.storage

    from tests.helpers import Document, Option

GRID: Document = {"scale": {"y": 0.5, "x": 0.25}, "units": {"y": "micrometer", "x": "micrometer"}}


def channel(label: str, **others: Option) -> Document:
    window = {"min": 0.0, "max": 255.0, "start": 10.0, "end": 200.0}
    entry = {"label": label, "color": "00FF00", "active": True, "window": window}
    return entry | {"coefficient": 1.0, "family": "linear", "inverted": False} | others


def without_defaults(again: xr.Dataset, ds: xr.Dataset) -> xr.Dataset:
    """Drop the colour and the window that a channel must have in a file, where `ds` had none."""
    if "c" not in ds.coords:
        return again
    bounds = ("c_window_min", "c_window_max", "c_window_start", "c_window_end")
    added = {name for name in ("c_color", *bounds) if name not in ds.coords}
    return again.drop_vars(added & set(again.coords))


def vendor(version: str, channels: int = 3, size: int = 8) -> zarr.storage.MemoryStore:
    """Lay down an image that says more than the specification knows."""
    document = document_with(
        "czyx",
        [scaling(1, 2, 0.5, 0.5)],
        name="embryo",
        type="gaussian",
        metadata={"method": "skimage.transform.pyramid_gaussian", "kwargs": {"sigma": 2}},
        acme_multiscales={"nested": [1, 2, {"deep": None}]},
    )
    document["omero"] = {
        "id": 17,
        "name": "embryo.czi",
        "acme_omero": [1, "two"],
        "channels": [
            channel(f"dye {index}", acme_wavelength=400 + index) for index in range(channels)
        ],
        "rdefs": {"defaultT": 0, "defaultZ": 6, "model": "color", "acme_rdefs": True},
    }
    document["acme_image"] = {"serial": "4711"}
    values = pixels((channels, 8, size, size), "uint8")
    return handmade([values], document, version, acme_outside={"kept": True})


# ── values and coordinates ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_write_and_open_gives_the_same(version: str, data: st.DataObject) -> None:
    picture = data.draw(pictures())
    ds = picture.dataset()
    layout = data.draw(layouts(picture.shape, version))
    store = write(ds, version=version, **layout)
    again = opened(store)
    assert_same(without_defaults(again, ds), ds)
    assert again.image.dtype == picture.dtype.newbyteorder("=")
    array = level_array(store)
    assert array.metadata.zarr_format == (2 if version == "0.4" else 3)
    if layout["chunks"]:
        assert array.chunks == tuple(layout["chunks"].values())
    if "shards" in layout:
        assert array.shards == tuple(layout["shards"].values())
    assert_same(opened(write(again)), again)


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_a_crop_combined_with_its_original_loses_no_pixel(
    version: str,
    data: st.DataObject,
) -> None:
    picture = data.draw(pictures(sizes=(1, 12)))
    original = opened(write(picture.dataset(), version=version))
    selection = data.draw(crops(original.sizes))
    if "c" not in original.coords:
        selection.pop("c", None)
    part = original.isel(selection)
    again = opened(write(part))
    assert_same(again, part)
    assert document_of(write(part))["multiscales"] == document_of(write(again))["multiscales"]
    # Alignment is an inner join: a coordinate that differs in its last bit drops its pixels.
    left, right = xr.align(original, again, join="inner")
    assert left.sizes == again.sizes
    np.testing.assert_array_equal(left.image.values, right.image.values)


@pytest.mark.parametrize(("first", "second"), [*itertools.product(VERSIONS, repeat=2)])
def test_the_version_stays_or_is_the_one_asked_for(first: str, second: str) -> None:
    picture = Picture({"c": 2, "y": 9, "x": 7}, names=("a", "b"), **GRID)
    ds = opened(write(picture.dataset(), version=first))
    assert ds.image.encoding["omezarr"]["version"] == first
    assert opened(write(ds)).image.encoding["omezarr"]["version"] == first
    store = write(ds, version=second)
    assert_same(opened(store), ds)
    array, document = level_array(store), document_of(store)
    assert array.metadata.zarr_format == (2 if second == "0.4" else 3)
    if second == "0.4":
        assert document["multiscales"][0]["version"] == "0.4"
        assert "ome" not in document
        assert array.metadata.to_dict()["dimension_separator"] == "/"
    else:
        assert document["version"] == "0.5"
        assert "version" not in document["multiscales"][0]
        assert array.metadata.to_dict()["dimension_names"] == ("c", "y", "x")


def test_a_new_image_is_of_version_0_5() -> None:
    assert document_of(write(Picture({"y": 3, "x": 3}).dataset()))["version"] == "0.5"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_tree_is_written_as_it_is(version: str) -> None:
    picture = Picture({"c": 2, "y": 64, "x": 48}, names=("a", "b"), **GRID)
    store = write(picture.dataset(), levels=3, version=version)
    tree = opened_tree(store)
    tree["1"].image.load()[:] = 7  # not what level 0 would give
    assert list(tree.children) == ["0", "1", "2"]
    crop = tree.sel(y=slice(5.0, 20.0), x=slice(3.0, 9.0))
    for each in (tree, crop):
        target = write(each)
        again = opened_tree(target)
        assert list(again.children) == list(each.children)
        for name in each.children:
            assert_same(again[name].to_dataset(), each[name].to_dataset())
        assert document_of(target).get("version") == document_of(store).get("version")


def test_levels_that_a_selection_has_emptied_are_dropped_with_a_warning() -> None:
    picture = Picture({"y": 64, "x": 64}, **GRID)
    tree = opened_tree(write(picture.dataset(), levels=4))
    # Between the centres of the coarsest pixels.
    crop = tree.sel(y=slice(2.0, 5.0), x=slice(1.0, 2.5))
    assert crop["3"].sizes["y"] == 0 or crop["3"].sizes["x"] == 0
    with pytest.warns(OmeZarrWarning, match="3"):
        store = write(crop)
    assert list(opened_tree(store).children) == ["0", "1", "2"]


@pytest.mark.parametrize("shards", [None, (4, 8)])
def test_the_layout_that_an_image_was_opened_with_is_kept(shards: tuple[int, int] | None) -> None:
    ds = Picture({"y": 40, "x": 40}, **GRID).dataset()
    store = write(
        ds, chunks={"y": 4, "x": 8}, shards=shards and dict(zip("yx", (8, 16), strict=True))
    )
    again = level_array(write(opened(store)))
    first = level_array(store)
    assert again.chunks == first.chunks == (4, 8)
    assert again.shards == first.shards
    assert again.compressors == first.compressors


# ── what the file said besides ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
def test_names_vendor_keys_and_unknown_keys_survive(version: str) -> None:
    store = vendor(version)
    before = document_of(store)
    ds = opened(store)
    assert ds.attrs["name"] == "embryo"
    target = write(ds)
    after = document_of(target)
    image, written = before["multiscales"][0], after["multiscales"][0]
    for key in ("name", "type", "metadata", "acme_multiscales", "axes"):
        assert written[key] == image[key]
    assert after["omero"] == before["omero"]
    assert after["acme_image"] == before["acme_image"]
    assert_same(opened(target), ds)


@pytest.mark.parametrize(
    "selection",
    [[0, 2], [2, 0, 1], [1]],
    ids=["dropped", "shuffled", "one left"],
)
def test_channels_take_their_settings_with_them(selection: list[int]) -> None:
    store = vendor("0.5")
    before = document_of(store)["omero"]
    part = opened(store).isel(c=selection)
    target = write(part)
    after = document_of(target)["omero"]
    assert after["channels"] == [before["channels"][index] for index in selection]
    assert {key: after[key] for key in ("id", "acme_omero")} == {"id": 17, "acme_omero": [1, "two"]}
    assert_same(opened(target), part)


def test_a_single_channel_without_its_axis_keeps_its_settings() -> None:
    store = vendor("0.5")
    part = opened(store).sel(c="dye 1")
    assert part.image.dims == ("z", "y", "x")
    target = write(part)
    assert document_of(target)["omero"]["channels"] == [
        document_of(store)["omero"]["channels"][1],
    ]
    again = opened(target)
    assert again.c.item() == "dye 1"
    assert_same(again, part)


def test_a_default_plane_that_was_cut_off_is_not_written() -> None:
    target = write(opened(vendor("0.5")).isel(z=slice(0, 3)))
    rdefs = document_of(target)["omero"]["rdefs"]
    assert rdefs.get("defaultZ", 0) < 3
    assert rdefs["model"] == "color"
    assert rdefs["acme_rdefs"] is True


def test_changed_settings_win_over_what_was_read() -> None:
    ds = opened(vendor("0.5")).omezarr.assign_channels(
        ["a", "b", "d"],
        colors=["FF0000", "0000FF", "FFFFFF"],
    )
    ds.attrs["name"] = "larva"
    after = document_of(write(ds))
    assert [entry["label"] for entry in after["omero"]["channels"]] == ["a", "b", "d"]
    assert [entry["color"] for entry in after["omero"]["channels"]] == [
        "FF0000",
        "0000FF",
        "FFFFFF",
    ]
    assert after["omero"]["channels"][2]["window"]["end"] == 200
    assert after["multiscales"][0]["name"] == "larva"


def test_a_new_pyramid_says_how_it_was_made() -> None:
    image = document_of(write(opened(vendor("0.5")), levels=2, method="nearest"))["multiscales"][0]
    assert "nearest" in str(image["type"])
    assert "nearest" in str(image["metadata"])
    assert "gaussian" not in str(image["metadata"])
    assert image["name"] == "embryo"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_document_is_at_hand_word_for_word(version: str) -> None:
    store = vendor(version)
    ds = opened(store)
    before = copy.deepcopy(ds.image.encoding["omezarr"]["document"])
    text = str(before)
    assert "acme_rdefs" in text
    assert "acme_wavelength" in text
    write(ds.isel(c=[0]))
    assert ds.image.encoding["omezarr"]["document"] == before
    kept = ds.isel(z=slice(1, 3)).chunk().load().image.encoding["omezarr"]["document"]
    assert kept == before


# ── channels ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
def test_channels_open_as_coordinates(version: str) -> None:
    document = document_with("cyx", [scaling(1, 1, 1)])
    document["omero"] = OMERO
    ds = opened(handmade([np.zeros((2, 3, 3), "uint16")], document, version))
    assert ds.c.values.tolist() == ["DAPI", "GFP"]
    assert ds.c_color.values.tolist() == ["0000FF", "00FF00"]
    assert ds.c_active.values.tolist() == [True, False]
    assert ds.c_active.dtype == bool
    bounds = {
        name: ds[f"c_window_{name}"].values.tolist() for name in ("min", "max", "start", "end")
    }
    assert bounds == {"min": [0, 0], "max": [65535, 65535], "start": [100, 50], "end": [2000, 1500]}
    assert ds.sel(c="GFP").c_color.item() == "00FF00"
    assert "c" in ds.xindexes
    assert document_of(write(ds))["omero"] == OMERO


def test_equal_labels_are_made_distinct_with_a_warning() -> None:
    document = document_with("cyx", [scaling(1, 1, 1)])
    document["omero"] = {"channels": [channel("dye"), channel("dye"), channel("other")]}
    with pytest.warns(OmeZarrWarning, match="dye"):
        ds = opened(handmade([np.zeros((3, 2, 2), "uint8")], document))
    labels = ds.c.values.tolist()
    assert len(set(labels)) == 3
    assert labels[2] == "other"
    assert all("dye" in label for label in labels[:2])
    xr.align(ds, ds.isel(c=[1]), join="inner")


def test_settings_of_another_number_of_channels_are_not_guessed_at() -> None:
    document = document_with("cyx", [scaling(1, 1, 1)])
    document["omero"] = {"channels": [channel("one")]}
    with pytest.warns(OmeZarrWarning, match="channel"):
        ds = opened(handmade([np.zeros((3, 2, 2), "uint8")], document))
    assert not [name for name in ds.coords if str(name).startswith("c")]


def test_a_channel_axis_without_names_has_no_coordinate() -> None:
    store = handmade([np.zeros((3, 2, 2), "uint8")], document_with("cyx", [scaling(1, 1, 1)]))
    ds = opened(store)
    assert "c" not in ds.coords
    assert_same_coordinates(opened(write(ds)), ds)


def test_assign_channels_gives_a_new_object() -> None:
    ds = Picture({"c": 2, "y": 3, "x": 3}, **GRID).dataset()
    named = ds.omezarr.assign_channels(
        ["DAPI", "GFP"],
        colors=["0000FF", "00FF00"],
        windows=[(0, 100), (5.5, 200)],
        active=[True, False],
    )
    assert "c" not in ds.coords
    assert named.c.values.tolist() == ["DAPI", "GFP"]
    assert named.c_color.values.tolist() == ["0000FF", "00FF00"]
    assert named.c_window_start.values.tolist() == [0, 5.5]
    assert named.c_window_end.values.tolist() == [100, 200]
    assert named.c_active.values.tolist() == [True, False]
    recoloured = named.omezarr.assign_channels(colors=["FFFFFF", "00FF00"])
    assert recoloured.c.values.tolist() == ["DAPI", "GFP"]
    assert recoloured.c_color.values.tolist() == ["FFFFFF", "00FF00"]
    assert named.image.omezarr.assign_channels(["a", "b"]).c.values.tolist() == ["a", "b"]
    assert_same(without_defaults(opened(write(recoloured)), recoloured), recoloured)


@pytest.mark.parametrize(
    "arguments",
    [
        {"names": ["a"]},
        {"names": ["a", "b", "d"]},
        {"colors": ["red", "00FF00"]},
        {"windows": [(0, 1)]},
        {"active": [True, True, True]},
        {"names": ["a", "a"]},
    ],
    ids=str,
)
def test_assign_channels_refuses_what_does_not_fit(arguments: dict[str, Any]) -> None:
    ds = Picture({"c": 2, "y": 3, "x": 3}, **GRID).dataset()
    with pytest.raises(ValueError, match=r"2|differ|hex"):
        ds.omezarr.assign_channels(**arguments)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "bool"])
def test_windows_are_never_invented(dtype: str, version: str) -> None:
    shape = {"c": 2, "y": 4, "x": 4}
    ds = Picture(shape, dtype=np.dtype(dtype), names=("a", "b"), **GRID).dataset()
    entries = document_of(write(ds, version=version)).get("omero", {}).get("channels", [])
    assert [entry["label"] for entry in entries] == ["a", "b"]
    for entry in entries:
        window = entry.get("window")
        if window and np.dtype(dtype).kind in "iu":
            limits = np.iinfo(dtype)
            assert (window["min"], window["max"]) == (limits.min, limits.max)
            assert (window["start"], window["end"]) == (limits.min, limits.max)
        elif window:
            assert (window["min"], window["max"]) == (0, 1)
    assert_same_coordinates_of_channels(opened(write(ds, version=version)))


def assert_same_coordinates_of_channels(ds: xr.Dataset) -> None:
    assert ds.c.values.tolist() == ["a", "b"]
