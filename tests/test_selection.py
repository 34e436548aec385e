"""Regions in any unit: which pixels they are, held against exact arithmetic."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import warnings
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import assume, given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from tests.helpers import WatchedStore, opened, pixels, put_sample
from tests.plating import put_screen
from xarray_omezarr import OmeZarrError, OmeZarrWarning, samples

if TYPE_CHECKING:
    from collections.abc import Callable


def line(
    size: int, scale: float, translation: float = 0.0, unit: str | None = "micrometer"
) -> xr.DataArray:
    """Make an image whose pixels are their indices."""
    array = xr.DataArray(np.arange(size), dims="x", name="image")
    placed: xr.DataArray = array.omezarr.assign_scale(
        x=scale, translation={"x": translation}, units={"x": unit} if unit else None
    )
    return placed


def indices(array: xr.DataArray) -> list[int]:
    found: list[int] = np.atleast_1d(array.values).tolist()
    return found


# ── exact geometry ───────────────────────────────────────────────────────────────────────────────

decimals = st.decimals(-1000, 1000, places=3).map(Fraction)
scales = st.decimals("0.001", 50, places=3).filter(bool).map(Fraction)
#: What a bound may be written in: the unit, and how many micrometres that is.
written: dict[str, Fraction] = {
    "": Fraction(1), "um": Fraction(1), "nm": Fraction(1, 1000), "mm": Fraction(1000),
    "inch": Fraction(25400), "angstrom": Fraction(1, 10**4),
}  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> tuple[xr.DataArray, list[Fraction], Fraction]:
    """Give an image, the exact positions of its pixels, and their size."""
    size, scale, first = draw(st.integers(1, 12)), draw(scales), draw(decimals)
    sign = draw(st.sampled_from([1, -1]))
    positions = [first + sign * i * scale for i in range(size)]
    return line(size, float(sign * scale), float(first)), positions, scale


@st.composite
def bounds(draw: st.DrawFn, positions: list[Fraction], size: Fraction) -> Fraction:
    """Give a place: on a centre, on a border, between, or beyond, in eighths of a pixel."""
    return min(positions) + Fraction(draw(st.integers(-20, 8 * len(positions) + 12)), 8) * size


def spelled(place: Fraction, unit: str) -> float | str:
    number = float(place / written[unit])
    return f"{number!r} {unit}" if unit else number


@given(st.data())
def test_ranges(data: st.DataObject) -> None:
    array, positions, size = data.draw(lines())
    low, high = sorted(data.draw(bounds(positions, size)) for _ in range(2))
    assume(low < high)
    units = [data.draw(st.sampled_from(sorted(written))) for _ in range(2)]
    asked = slice(spelled(low, units[0]), spelled(high, units[1]))
    half = size / 2
    centres = [i for i, p in enumerate(positions) if low <= p <= high]
    cut = [i for i, p in enumerate(positions) if p + half > low and p - half < high]
    for include, expected in (("center", centres), ("overlap", cut)):
        if expected:
            found = array.omezarr.sel(x=asked, include=include)
            assert indices(found) == expected
            # It is a crop, with the coordinates that a crop has.
            part = slice(expected[0], expected[-1] + 1)
            xr.testing.assert_identical(found, array.isel(x=part))
            assert found.x.encoding == array.x.encoding
        else:
            with pytest.raises(OmeZarrError, match="range from"):
                array.omezarr.sel(x=asked, include=include)


@given(st.data())
def test_values(data: st.DataObject) -> None:
    array, positions, size = data.draw(lines())
    place = data.draw(bounds(positions, size))
    value = spelled(place, data.draw(st.sampled_from(sorted(written))))
    half = size / 2
    inside = [i for i, p in enumerate(positions) if p - half <= place < p + half]
    if place == max(positions) + half:
        # The outermost border belongs to the image.
        inside = [positions.index(max(positions))]
    if inside:
        assert indices(array.omezarr.sel(x=value)) == inside
        assert array.omezarr.sel(x=value).dims == ()
        assert indices(array.omezarr.sel(x=[value, value])) == inside * 2
        assert indices(array.omezarr.sel(x=slice(value, value), include="overlap")) == inside
    else:
        with pytest.raises(OmeZarrError, match="is outside of the image: 'x' extends from"):
            array.omezarr.sel(x=value)


@given(st.data())
def test_bounds_are_those_of_xarray(data: st.DataObject) -> None:
    array, positions, _ = data.draw(lines())
    low, high = sorted(float(data.draw(st.sampled_from(positions))) for _ in range(2))
    rising = array.sortby("x")
    expected = rising.sel(x=slice(rising.x.values[0], high)).sel(x=slice(low, None))
    assume(expected.size)
    xr.testing.assert_identical(rising.omezarr.sel(x=slice(low, high)), expected)


def test_pixels_tile_the_image() -> None:
    """Every place belongs to one pixel, and adjacent ranges share none."""
    array = line(10, 0.3, 0.1)
    borders = [0.1 - 0.15 + 0.3 * i for i in range(11)]
    whole = [
        indices(array.omezarr.sel(x=slice(low, high), include="overlap"))
        for low, high in itertools.pairwise(borders)
    ]
    assert whole == [[i] for i in range(10)]


def test_float_noise_of_derived_coordinates() -> None:
    half = line(12, 0.1).coarsen(x=2).mean()
    # Averages of positions: 0.05, 0.25, …, some of them off in the last bits.
    assert half.x.values.tolist() != [(2 * i + 0.5) / 10 for i in range(6)]
    for i in range(5):
        low, high = (2 * i + 0.5) / 10, (2 * i + 2.5) / 10
        assert half.omezarr.sel(x=slice(low, high)).sizes["x"] == 2
        border = (4 * i + 3) / 20
        assert half.omezarr.sel(x=border).values == half.values[i + 1]


def test_far_from_the_origin() -> None:
    array = line(1000, 0.325, 3_000_000.0)
    assert indices(array.omezarr.sel(x=slice("3.0000325 m", "3.00006500 m"))) == list(
        range(100, 201)
    )
    assert indices(array.omezarr.sel(x="3.0000325 m")) == [100]


# ── what a selection looks like ──────────────────────────────────────────────────────────────────


@pytest.fixture
def cells() -> xr.Dataset:
    """Give a film of two channels in memory."""
    ds = xr.Dataset({"image": (("t", "c", "y", "x"), pixels((6, 2, 20, 24)))})
    ds = ds.omezarr.assign_scale(t=30.0, y=0.5, x=0.5, units="micrometer")
    ds = ds.omezarr.assign_scale(units={"t": "second"})
    named: xr.Dataset = ds.omezarr.assign_channels(["DAPI", "GFP"], colors=["0000FF", "00FF00"])
    return named


def test_a_region(cells: xr.Dataset) -> None:
    found = cells.omezarr.sel(x=slice("2 um", "0.004 mm"), t="90 s", c="DAPI")
    xr.testing.assert_identical(found, cells.isel(x=slice(4, 9), t=3, c=0))
    assert found.c_color.item() == "0000FF"
    assert found.image.dims == ("y", "x")


def test_a_data_array_and_a_mapping(cells: xr.Dataset) -> None:
    found = cells.image.omezarr.sel({"x": slice(2, 4)}, y=slice(None, 1.0))
    xr.testing.assert_identical(found, cells.image.isel(x=slice(4, 9), y=slice(0, 3)))
    assert isinstance(found, xr.DataArray)


def test_nothing_asked_for(cells: xr.Dataset) -> None:
    xr.testing.assert_identical(cells.omezarr.sel(), cells)


@pytest.mark.parametrize(
    "value",
    ["90 s", "1.5 min", "0.025 h", 90, 90.0, " 90", np.float32(90), dt.timedelta(seconds=90),
     np.timedelta64(90, "s"), pd.Timedelta("90s"), xr.DataArray(90.0), np.array(90),
     xr.DataArray(90_000, attrs={"units": "ms"})],
)  # fmt: skip
def test_ways_to_say_a_time(cells: xr.Dataset, value: object) -> None:
    xr.testing.assert_identical(cells.omezarr.sel(t=value), cells.isel(t=3))
    low = cells.omezarr.sel(t=slice(value, None))
    xr.testing.assert_identical(low, cells.isel(t=slice(3, None)))


def test_durations_as_a_coordinate(cells: xr.Dataset) -> None:
    timed = cells.assign_coords(t=(np.arange(6) * 30).astype("timedelta64[s]"))
    for value in ("90 s", 90, pd.Timedelta("1.5min")):
        xr.testing.assert_identical(timed.omezarr.sel(t=value), timed.isel(t=3))
    crop = timed.omezarr.sel(t=slice("1 min", "2 min"))
    xr.testing.assert_identical(crop, timed.isel(t=slice(2, 5)))


def test_dates_are_selected_as_xarray_does(cells: xr.Dataset) -> None:
    dated = cells.assign_coords(t=pd.date_range("2024-05-01", periods=6, freq="30s"))
    expected = dated.isel(t=slice(1, 4))
    xr.testing.assert_identical(
        dated.omezarr.sel(t=slice("2024-05-01T00:00:30", "2024-05-01T00:01:30")), expected
    )
    with pytest.raises(OmeZarrError, match=r"t='90 s' is not along 't'"):
        dated.omezarr.sel(t="90 s")


def test_several_values(cells: xr.Dataset) -> None:
    for value in (["0.5 um", 3, "0.0005 mm"], np.array([0.6, 3.2, 0.4]), ("0.5um", "3um", 0.5)):
        xr.testing.assert_identical(cells.omezarr.sel(y=value), cells.isel(y=[1, 6, 1]))
    with pytest.raises(OmeZarrError, match=r"has 2 dimensions; expected one, or a DataArray"):
        cells.omezarr.sel(y=np.zeros((2, 2)))


def test_points(cells: xr.Dataset) -> None:
    rows = xr.DataArray([1.0, 2000.0], dims="cell", coords={"cell": [7, 9]}, attrs={"units": "nm"})
    rows = rows * [1000, 1]
    rows.attrs["units"] = "nm"
    columns = xr.DataArray([2.0, 11.6], dims="cell", coords={"cell": [7, 9]})
    found = cells.omezarr.sel(y=rows, x=columns)
    expected = cells.isel(y=xr.DataArray([2, 4], dims="cell"), x=xr.DataArray([4, 23], dims="cell"))
    xr.testing.assert_identical(found.drop_vars("cell"), expected)
    assert found.cell.values.tolist() == [7, 9]
    # A coordinate of the image selects itself.
    xr.testing.assert_identical(cells.omezarr.sel(x=cells.x[3:6]), cells.isel(x=[3, 4, 5]))
    xr.testing.assert_identical(cells.omezarr.sel(x=slice(cells.x[3], cells.x[6])),
                                cells.isel(x=slice(3, 7)))  # fmt: skip


def test_a_step_is_one_of_pixels(cells: xr.Dataset) -> None:
    found = cells.omezarr.sel(x=slice(2, 6, 3))
    xr.testing.assert_identical(found, cells.isel(x=slice(4, 13, 3)))
    for step in (0, -1, "1 um", 1.5):
        with pytest.raises(OmeZarrError, match=r"the step of a range is .*a number of pixels"):
            cells.omezarr.sel(x=slice(2, 6, step))


def test_a_descending_axis() -> None:
    array = line(10, -2.0, 18.0)
    assert array.x.values.tolist() == list(range(18, -1, -2))
    assert indices(array.omezarr.sel(x=slice(3, "0.009 mm"))) == [5, 6, 7]
    assert indices(array.omezarr.sel(x=slice(3, 9), include="overlap")) == [5, 6, 7]
    assert indices(array.omezarr.sel(x=slice(3, 9.5), include="overlap")) == [4, 5, 6, 7]
    assert indices(array.omezarr.sel(x=3)) == [7]
    assert indices(array.omezarr.sel(x=slice(None, 4))) == [7, 8, 9]
    assert indices(array.omezarr.sel(x=slice(14, None))) == [0, 1, 2]
    with pytest.raises(OmeZarrError, match=r"begins at 9 and ends at 3; .*whatever the direction"):
        array.omezarr.sel(x=slice(9, 3))


def test_pixels_that_bounds_cut() -> None:
    array = line(10, 1.0)
    for low, high, centres, cut in [
        (2.0, 4.0, [2, 3, 4], [2, 3, 4]),
        (2.1, 3.9, [3], [2, 3, 4]),
        (2.5, 3.5, [3], [3]),
        (2.4, 3.6, [3], [2, 3, 4]),
        (2.1, 2.4, None, [2]),
        (-9, 0.2, [0], [0]),
        (8.7, 99, [9], [9]),
    ]:
        bounds = slice(low, high)
        assert indices(array.omezarr.sel(x=bounds, include="overlap")) == cut
        if centres is not None:
            assert indices(array.omezarr.sel(x=bounds)) == centres
    with pytest.raises(OmeZarrError, match=r"has no centre of a pixel in it: .*include='overlap'"):
        array.omezarr.sel(x=slice(2.1, 2.4))


def test_time_points_with_gaps(cells: xr.Dataset) -> None:
    some = cells.isel(t=[0, 1, 5])
    xr.testing.assert_identical(some.omezarr.sel(t=slice("20 s", "3 min")), some.isel(t=[1, 2]))
    xr.testing.assert_identical(some.omezarr.sel(t="40 s"), some.isel(t=1))
    with pytest.raises(OmeZarrError, match="90 second along 't': it is in a gap between pixels"):
        some.omezarr.sel(t="90 s")
    shuffled = cells.isel(t=[5, 0, 3])
    found = shuffled.omezarr.sel(t=slice(80, 200))
    xr.testing.assert_identical(found, shuffled.isel(t=[0, 2]))
    apart = shuffled.isel(t=[0, 1, 2, 1]).omezarr.sel(t=slice(80, 200))
    assert apart.t.values.tolist() == [150, 90]


def test_uneven_positions_of_unknown_size() -> None:
    array = xr.DataArray(np.arange(4), {"x": ("x", [0.0, 1.0, 5.0, 7.0])}, "x")
    assert indices(array.omezarr.sel(x=slice(1, 6))) == [1, 2]
    assert indices(array.omezarr.sel(x=5)) == [2]
    with pytest.raises(OmeZarrError, match=r"not evenly spaced.*method='nearest'"):
        array.omezarr.sel(x=5.2)


def test_a_single_pixel() -> None:
    array = line(4, 0.5).isel(x=[2])
    assert indices(array.omezarr.sel(x=1.2)) == [2]
    assert indices(array.omezarr.sel(x=slice(0, 3))) == [2]
    with pytest.raises(OmeZarrError, match=r"extends from 0.75 to 1.25 micrometer, in pixels of 0"):
        array.omezarr.sel(x=0.7)
    unknown = xr.DataArray([5], {"x": ("x", [1.0])}, "x")
    assert indices(unknown.omezarr.sel(x=slice(0, 3))) == [5]
    with pytest.warns(OmeZarrWarning, match=r"no pixel size can be read off; 1.0 is taken"):
        assert indices(unknown.omezarr.sel(x=1.2)) == [5]


def test_a_dimension_without_a_coordinate_counts_pixels() -> None:
    array = xr.DataArray(np.arange(8).reshape(2, 4), dims=("c", "x"))
    assert array.omezarr.sel(x=slice(1, 2)).values.tolist() == [[1, 2], [5, 6]]
    assert array.omezarr.sel(x=1.4, c=1).item() == 5
    with pytest.raises(OmeZarrError, match="nothing says which unit the axis is in"):
        array.omezarr.sel(x="1 um")
    for value in ("DAPI", 2):
        with pytest.raises(OmeZarrError, match=r"c=.* it has no names, and positions from 0 to 1"):
            array.omezarr.sel(c=value)


def test_an_axis_of_another_name() -> None:
    array = xr.DataArray(np.arange(5), {"depth": ("depth", np.arange(5) * 2.0)}, "depth")
    with pytest.raises(OmeZarrError, match="is not along 'depth'"):
        array.omezarr.sel(depth="0.004 mm")
    array.depth.attrs.update(type="space", units="um")
    assert indices(array.omezarr.sel(depth="0.004 mm")) == [2]


# ── channels, labels, tables ─────────────────────────────────────────────────────────────────────


def test_channels_by_name(cells: xr.Dataset) -> None:
    xr.testing.assert_identical(cells.omezarr.sel(c="GFP"), cells.isel(c=1))
    xr.testing.assert_identical(cells.omezarr.sel(c=["GFP", "DAPI"]), cells.isel(c=[1, 0]))
    xr.testing.assert_identical(cells.omezarr.sel(c=slice("DAPI", "GFP")), cells)
    for value in ("dapi", 0, ["DAPI", "RFP"]):
        with pytest.raises(OmeZarrError, match=r"c=.*there are 'DAPI', 'GFP'.*\.isel\(c=…\)"):
            cells.omezarr.sel(c=value)


def test_labels_and_their_tables() -> None:
    ds = samples.coins().omezarr.measure("coins", ["area", "centroid"])
    crop = ds.omezarr.sel(x=slice("20 um", "0.1 mm"), y=slice(50, None))
    xr.testing.assert_identical(crop, ds.isel(x=slice(31, 154), y=slice(77, None)))
    assert crop.coins.shape == crop.image.shape
    # What is known of labels is not along any axis of the image.
    xr.testing.assert_identical(crop.coins_area, ds.coins_area)
    labels = ds.coins_id.values[[3, 1]]
    some = ds.omezarr.sel(coins_id=labels)
    xr.testing.assert_identical(some, ds.isel(coins_id=[3, 1]))
    with pytest.raises(OmeZarrError, match=r"coins_id=99 is not along 'coins_id': there are .*…"):
        ds.omezarr.sel(coins_id=99)


def test_measured_positions_find_their_labels() -> None:
    ds = samples.coins().omezarr.measure("coins", ["centroid"])
    found = ds.coins.omezarr.sel(y=ds.coins_centroid_y, x=ds.coins_centroid_x)
    assert found.dims == ("coins_id",)
    np.testing.assert_array_equal(found.values, ds.coins_id.values)


# ── stacks ───────────────────────────────────────────────────────────────────────────────────────


def test_stacked_plates() -> None:
    store = MemoryStore()
    put_screen(store, dict.fromkeys(("A/1", "A/2", "B/1", "B/2"), ("0", "1")))
    ds = opened(store, stack="well")
    found = ds.omezarr.sel(well=["A/2", "B/1"], field="1", c="GFP", x=slice("1 um", "2 um"), y=3)
    expected = ds.isel(well=[1, 2], field=1, c=1, x=slice(4, 9), y=12)
    xr.testing.assert_identical(found, expected)
    assert found.x_origin.dims == ("well",)
    grid = opened(store, stack=("row", "column"))
    xr.testing.assert_identical(
        grid.omezarr.sel(row="B", column="2", x="0.001 mm"), grid.isel(row=1, column=1, x=4)
    )
    with pytest.raises(OmeZarrError, match=r"well='C/9' is not along 'well': there are 'A/1', "):
        ds.omezarr.sel(well="C/9")


# ── errors ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"q": 1}, "'q' is no dimension; there are: t, c, y, x"),
        ({"x": "90 s"}, "'x': '90 second' is a time, but the axis is in micrometer"),
        ({"x": slice("1 um", "3 s")}, "is a time"),
        ({"x": "1 parrot"}, "the unit of '1 parrot' is not known"),
        ({"x": "here"}, "'x': 'here' is no quantity"),
        ({"x": None}, "is no quantity"),
        ({"x": True}, "is no quantity"),
        ({"x": [True, False]}, "is no quantity"),
        ({"x": np.array([True] * 24)}, "is no quantity"),
        ({"x": [1.0, math.nan]}, "is no quantity"),
        ({"x": np.array([1.0, math.nan])}, "NaN or infinity among the values"),
        ({"x": slice(math.nan, None)}, "is no quantity"),
        ({"x": "1 m"}, r"1000000 micrometer is outside of the image: 'x' extends from -0.25 to 11"),
        ({"x": "1 m"}, "to 11.75 micrometer, in pixels of 0.5 micrometer"),
        ({"x": [0, 12]}, "12 micrometer is outside"),
        ({"x": slice("1 mm", "2 mm")}, "range from 1000 to 2000 micrometer is outside"),
        ({"x": slice(None, -3)}, "is outside of the image"),
        ({"x": 1, "include": "all"}, "include='all' is not known; .* 'center' or 'overlap'"),
        ({"include": []}, r"include=\[\] is not known; .* 'center' or 'overlap'"),
        ({"c": "dapi"}, "c='dapi' is not along 'c': there are 'DAPI', 'GFP'"),
        ({"c": ["DAPI", "Cy7"]}, "c='Cy7' is not along 'c': there are 'DAPI', 'GFP'"),
        ({"c": ["Cy5", "GFP", "Cy7"]}, r"c=\['Cy5', 'Cy7'\] is not along 'c'"),
        ({"indexers": "x"}, r"sel\('x'\): expected dimensions by name"),
    ],
)  # fmt: skip
def test_wrong_selections(cells: xr.Dataset, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(OmeZarrError, match=message):
        cells.omezarr.sel(**asked)


def test_names_that_are_there_twice_do_not_tell_channels_apart(cells: xr.Dataset) -> None:
    with pytest.raises(OmeZarrError, match=r"are there more than once, .* it is .isel\(c="):
        cells.assign_coords(c=["DAPI", "DAPI"]).omezarr.sel(c=["DAPI"])


def test_a_dimension_that_was_selected_before(cells: xr.Dataset) -> None:
    with pytest.raises(OmeZarrError, match=r"'c' is no dimension.*selected before"):
        cells.omezarr.sel(c="DAPI").omezarr.sel(c="DAPI")


# ── laziness ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chunks", [None, {}])
def test_pixels_stay_where_they_are(memory: MemoryStore, chunks: dict[str, int] | None) -> None:
    sample = put_sample(memory)
    store = WatchedStore(memory)
    ds = opened(store, chunks=chunks)
    store.log.clear()
    crop = ds.omezarr.sel(x=slice("-4 um", "-1 um"), y=["10 um", "12 um"], c="GFP")
    again = crop.omezarr.sel(x=slice(-3, None), include="overlap")
    assert not store.log.requests
    assert not again.image.variable._in_memory
    expected = sample.levels[0][1][[0, 4], 4:13]
    np.testing.assert_array_equal(again.image.values, expected)
    # Of 27 chunks of 16 pixels a side, one has all of that.
    assert len([key for key in store.log.keys("get") if "/c/" in key]) == 1
    assert again.image.encoding["omezarr"]["path"] == "nine"


def test_a_crop_is_written_where_it_was(memory: MemoryStore) -> None:
    put_sample(memory)
    crop = opened(memory).omezarr.sel(x=slice("-3 um", "3 um"), include="overlap")
    target = MemoryStore()
    crop.omezarr.to_zarr(target)
    np.testing.assert_array_equal(opened(target).x.values, crop.x.values)


def test_many_points_of_a_large_image() -> None:
    array = xr.DataArray(np.broadcast_to(np.uint8(0), (200_000,)), dims="x").omezarr.assign_scale(
        x=0.5
    )
    places = np.random.default_rng(0).uniform(0, 99_000, 100_000)
    found = array.omezarr.sel(x=xr.DataArray(places, dims="cell"))
    assert np.abs(found.x.values - places).max() <= 0.25 + 1e-9


def test_nothing_is_warned_of(cells: xr.Dataset) -> None:
    calls: list[Callable[[], object]] = [
        lambda: cells.omezarr.sel(x=slice(1, 2), y="3 um"),
        lambda: cells.omezarr.sel(t=[0, 30]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in calls:
            call()
