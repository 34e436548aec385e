"""Coordinates are where the pixels are: what is read, what is written, and what cannot be.

The oracle is exact arithmetic on the shortest representations, in `fractions`.
"""

from __future__ import annotations

import logging
import re
import warnings
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import VERSIONS, document_of, opened
from tests.strategies import (
    Picture,
    crops,
    decimals,
    document_with,
    handmade,
    lattices,
    pictures,
    scaling,
    shift,
    transform,
    write,
)
from xarray_omezarr import OmeZarrError, OmeZarrWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.helpers import Document, Pixels

DIGITS_OF_ORIGIN = Fraction("0.381966")


def exact(number: float) -> Fraction:
    return Fraction(repr(float(number)))


def lattice(scale: float, translation: float, size: int) -> list[float]:
    """Return the positions that the rule gives, evaluated exactly and rounded once."""
    step, start = abs(exact(scale)), exact(translation)
    sign = 1 if scale > 0 else -1
    digits = 7 - Decimal(repr(float(scale))).adjusted()
    whole = floor(start / step + DIGITS_OF_ORIGIN)
    rest = round(start - whole * step, digits)
    return [float(step * (whole + sign * index) + rest) for index in range(size)]


def line(
    scale: float, translation: float = 0.0, size: int = 12, version: str = "0.5"
) -> xr.Dataset:
    """Open a file of two rows along x."""
    steps = [scaling(1.0, scale), shift(0.0, translation)]
    pixels = np.arange(2 * size, dtype="uint16").reshape(2, size)
    return opened(handmade([pixels], document_with("yx", steps), version))


def along_x(values: Pixels | Sequence[float], **attrs: str) -> xr.Dataset:
    """Make an image whose x has these values."""
    pixels = np.zeros((3, len(values)), "uint8")
    return xr.Dataset({"image": (("y", "x"), pixels)}, {"x": ("x", np.asarray(values), attrs)})


def assert_same_coordinates(left: xr.Dataset, right: xr.Dataset) -> None:
    """Bit for bit: not even the sign of zero differs."""
    assert set(left.coords) == set(right.coords)
    for name in left.coords:
        if left[name].dtype.kind == "f":
            assert left[name].values.tobytes() == right[name].values.tobytes(), name
        else:
            np.testing.assert_array_equal(left[name].values, right[name].values)
        assert left[name].attrs == right[name].attrs, name


def assert_same(left: xr.Dataset, right: xr.Dataset) -> None:
    assert_same_coordinates(left, right)
    assert left.image.dims == right.image.dims
    np.testing.assert_array_equal(left.image.values, right.image.values)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


@given(lattices(), st.booleans())
def test_a_file_opens_on_the_exact_lattice(grid: tuple[float, float], down: bool) -> None:  # noqa: FBT001
    scale, translation = -grid[0] if down else grid[0], grid[1]
    x = line(scale, translation).x
    assert x.values.tolist() == lattice(scale, translation, x.size)
    assert x.dtype == np.float64
    assert x.encoding["scale"] == scale
    assert x.encoding["translation"] == translation
    for index, value in enumerate(x.values.tolist()):
        error = abs(exact(value) - exact(translation) - index * exact(scale))
        assert error < abs(exact(scale)) / 10**6


KNOWN = {
    "scale alone": ([scaling(1, 0.325)], None, [0, 0.325, 0.65, 0.975]),
    "scale and translation": ([scaling(1, 0.5), shift(0, 10)], None, [10, 10.5, 11, 11.5]),
    "a tenth after ten is one": (
        [scaling(1, 1), shift(0, 10)],
        [scaling(1, 0.1)],
        [1, 1.1, 1.2, 1.3],
    ),
    "all four": (
        [scaling(1, 2), shift(0, 3)],
        [scaling(1, 0.5), shift(0, -100)],
        [-98.5, -97.5, -96.5, -95.5],
    ),
    "nothing is multiplied but numbers": (
        [scaling(1, 3), shift(0, 0.3)],
        [scaling(1, 0.1)],
        [0.03, 0.33, 0.63, 0.93],
    ),
    "negative": ([scaling(1, -0.5), shift(0, 2)], None, [2, 1.5, 1, 0.5]),
    "mirrored by the outer": ([scaling(1, 0.5), shift(0, 1)], [scaling(1, -2)], [-2, -3, -4, -5]),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", KNOWN)
def test_known_positions(case: str, version: str) -> None:
    inner, outer, expected = KNOWN[case]
    others: Document = {} if outer is None else {"coordinateTransformations": outer}
    store = handmade([np.zeros((2, 4), "uint8")], document_with("yx", inner, **others), version)
    assert opened(store).x.values.tolist() == expected


def test_a_list_of_the_whole_image_moves_every_level() -> None:
    document = document_with(
        "yx",
        [scaling(1, 1), shift(0, 10)],
        [scaling(2, 2), shift(0.5, 10.5)],
        coordinateTransformations=[scaling(0.1, 0.1), shift(5, 0)],
    )
    store = handmade([np.zeros((4, 4), "uint8"), np.zeros((2, 2), "uint8")], document)
    coarse = opened(store, level=1)
    assert coarse.x.values.tolist() == [1.05, 1.25]
    assert coarse.y.values.tolist() == [5.05, 5.25]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], [0, 1, 2, 3]),
        ([scaling(1, 0)], [0, 1, 2, 3]),
        ([shift(0, 1), scaling(1, 2)], [2, 4, 6, 8]),
    ],
    ids=["no transformation", "scale of zero", "translation first"],
)
def test_what_files_in_the_wild_say_is_read_with_a_warning(
    steps: list[Document],
    expected: list[float],
) -> None:
    store = handmade([np.zeros((2, 4), "uint8")], document_with("yx", steps))
    with pytest.warns(OmeZarrWarning):
        ds = opened(store)
    assert ds.x.values.tolist() == expected


def test_nothing_is_said_of_what_the_file_does_not_say() -> None:
    ds = line(0.5)
    assert ds.x.attrs == {}
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space", "unit": "nanometer"}]
    store = handmade([np.zeros((2, 3), "uint8")], document_with(axes, [scaling(1, 1)]))
    assert opened(store).x.attrs == {"units": "nanometer"}
    assert opened(store).y.attrs == {}


def test_an_axis_of_another_kind_keeps_its_type() -> None:
    axes = [
        {"name": "wavelength", "type": "spectrum"},
        {"name": "y", "type": "space"},
        {"name": "x", "type": "space"},
    ]
    document = document_with(axes, [scaling(5, 1, 1), shift(400, 0, 0)])
    ds = opened(handmade([np.zeros((3, 2, 2), "uint8")], document))
    assert ds.wavelength.values.tolist() == [400, 405, 410]
    assert ds.wavelength.attrs["type"] == "spectrum"
    again = opened(write(ds))
    assert_same(again, ds)
    assert document_of(write(ds))["multiscales"][0]["axes"][0] == axes[0]


# ── selections, written and opened again ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_crops_crops_of_crops_and_reversals_lose_no_pixel(
    version: str,
    data: st.DataObject,
) -> None:
    picture = data.draw(pictures(axes=("yx", "tyx"), sizes=(1, 40), channels=False))
    original = opened(write(picture.dataset(), version=version))
    part = original
    for _ in range(data.draw(st.integers(1, 3))):
        selection = data.draw(crops(part.sizes))
        turned = {dim: slice(None, None, -1) for dim in selection if data.draw(st.booleans())}
        part = part.isel(selection).isel(turned)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OmeZarrWarning)  # descending axes: tested below
            again = opened(write(part, version=version))
        assert_same(again, part)
        part = again
    both, found = xr.align(original, part, join="inner")
    assert dict(found.sizes) == dict(part.sizes)
    np.testing.assert_array_equal(
        both.image.values,
        found.reindex_like(both).image.values,
    )


@given(data=st.data())
def test_strides_of_scales_of_six_digits_lose_no_pixel(data: st.DataObject) -> None:
    # For origins that end where the scale's six digits end, and steps below a hundred: beyond
    # that the rest of the origin is rounded to fewer decimals for the coarser scale.
    scale = data.draw(decimals(6))
    quantum = Fraction(10) ** (Decimal(repr(scale)).adjusted() - 5)
    places = data.draw(st.integers(-(10**7) + 100, 10**7 - 100))
    rest = data.draw(st.integers(0, int(exact(scale) / quantum)))
    full = line(scale, float(exact(scale) * places + quantum * rest), size=200)
    start, step = data.draw(st.integers(0, 99)), data.draw(st.integers(2, 99))
    part = full.isel(x=slice(start, None, step))
    assert_same(opened(write(part)), part)


@given(lattices(), st.integers(0, 99), st.integers(2, 99))
def test_any_stride_stays_within_a_millionth_of_its_pixel(
    grid: tuple[float, float],
    start: int,
    step: int,
) -> None:
    part = line(*grid, size=200).isel(x=slice(start, None, step))
    again = opened(write(part))
    np.testing.assert_allclose(again.x, part.x, rtol=0, atol=1e-6 * step * grid[0])


@pytest.mark.parametrize("factor", [2, 3, 4])
@given(grid=lattices(within=1e5), start=st.integers(0, 5))
def test_coarsen_then_snap_lies_on_the_next_level(
    factor: int,
    grid: tuple[float, float],
    start: int,
) -> None:
    fine = line(*grid, size=12 * factor)
    store = write(fine, levels=[{"x": factor}])
    level = opened(store, level=1).isel(x=slice(start, None))
    cut = opened(store).isel(x=slice(start * factor, None))
    derived = cut.coarsen(x=factor).mean()
    np.testing.assert_allclose(derived.x, level.x, rtol=0, atol=1e-6 * grid[0])
    assert_same_coordinates(derived.omezarr.snap(), level)


def test_snap_mends_noise_and_leaves_the_rest_alone() -> None:
    ds = line(0.325, 100.0).assign_coords(y=[0.0, 1.25])
    noisy = ds.assign_coords(x=ds.x.copy(data=ds.x.values + 1e-9))
    noisy.x.encoding.update(ds.x.encoding)
    mended = noisy.omezarr.snap()
    assert mended.x.values.tobytes() == ds.x.values.tobytes()
    assert mended.y.values.tolist() == [0.0, 1.25]
    np.testing.assert_array_equal(mended.image.values, ds.image.values)
    between = ds.interp(x=ds.x.values[:-1] + 0.1625).omezarr.snap()
    np.testing.assert_allclose(between.x, ds.x.values[:-1] + 0.1625, rtol=0, atol=1e-7)


# ── writing: the coordinates are the truth ───────────────────────────────────────────────────────


@pytest.mark.parametrize("scale", [0.325, 0.1, 0.65, 0.333333, 2.0, 0.0425, 1e-3, 12.5])
@pytest.mark.parametrize("start", [0.0, 10.0, -0.7, 1234.5])
def test_no_float_noise_is_written(scale: float, start: float) -> None:
    index = np.arange(50)
    summed = np.concatenate([[start], start + np.cumsum(np.full(49, scale))])
    ways = [start + scale * index, np.linspace(start, start + 49 * scale, 50), summed]
    for values in ways:
        scales, shifts = transform(write(along_x(values)))
        assert (scales[1], (shifts or [0.0, 0.0])[1]) == (scale, start)


def test_a_crop_of_noisy_coordinates_is_written_clean() -> None:
    ds = along_x(np.arange(100) * 0.1).isel(x=slice(3, None))
    assert ds.x.values[0] == 0.30000000000000004
    assert transform(write(ds)) == ([1.0, 0.1], [0.0, 0.3])


def test_what_was_known_before_does_not_win_over_the_coordinates() -> None:
    ds = line(0.5, 10.0)
    for x in (ds.x * 2, ds.x + 3, ds.x.copy(data=np.linspace(0, 1, ds.x.size))):
        changed = ds.assign_coords(x=x)
        changed.x.encoding.update(ds.x.encoding)
        np.testing.assert_allclose(opened(write(changed)).x, changed.x.values, atol=1e-9)


def test_missing_coordinates_are_pixels() -> None:
    ds = xr.Dataset({"image": (("y", "x"), np.zeros((3, 1), "uint8"))})
    store = write(ds)
    scales, shifts = transform(store)
    assert scales == [1.0, 1.0]
    assert shifts in (None, [0.0, 0.0])
    assert opened(store).y.values.tolist() == [0, 1, 2]


def test_an_axis_of_one_pixel_has_the_scale_that_it_was_opened_with() -> None:
    one = line(0.325, 10.0).isel(x=slice(4, 5))
    store = write(one)
    assert transform(store)[0] == [1.0, 0.325]
    assert_same(opened(store), one)


@pytest.mark.parametrize("stale", [False, True], ids=["nothing known", "another lattice"])
def test_an_axis_of_one_pixel_without_a_scale_warns(stale: bool) -> None:  # noqa: FBT001
    ds = line(0.325).coarsen(x=12).mean() if stale else along_x([3.0])
    assert ds.sizes["x"] == 1
    with pytest.warns(OmeZarrWarning, match="assign_scale") as caught:
        store = write(ds)
    assert any(re.search(r"\bx\b", str(one.message)) for one in caught)
    assert transform(store)[0][1] == 1.0
    assert opened(store).x.item() == pytest.approx(ds.x.item(), rel=1e-12)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_descending_axis_is_a_negative_scale_with_a_warning(version: str) -> None:
    ds = along_x(np.arange(5)[::-1] * 0.5, units="micrometer")
    with pytest.warns(OmeZarrWarning, match=r"\bx\b"):
        store = write(ds, version=version)
    assert transform(store) == ([1.0, -0.5], [0.0, 2.0])
    assert opened(store).x.values.tolist() == [2, 1.5, 1, 0.5, 0]


@pytest.mark.parametrize(("deviation", "index"), [(0.25, 50), (-0.4, 7), (0.0011, 93)])
def test_uneven_coordinates_are_refused_with_place_and_size(deviation: float, index: int) -> None:
    values = np.arange(101.0) * 0.5 + 20
    values[index] += deviation * 0.5
    with pytest.raises(OmeZarrError) as caught:
        write(along_x(values))
    message = str(caught.value)
    assert re.search(r"\bx\b", message)
    assert re.search(rf"\b{index}\b", message), message
    numbers = [abs(float(found)) for found in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", message)]
    assert any(abs(number - abs(deviation)) < 0.02 * abs(deviation) for number in numbers), message
    assert re.search(r"interp|assign_coords|assign_scale|snap|drop_vars", message), message


def test_a_thousandth_of_a_pixel_is_even() -> None:
    values = np.arange(101.0) * 0.5
    values[50] += 0.0009 * 0.5
    assert transform(write(along_x(values)))[0] == [1.0, 0.5]


@pytest.mark.parametrize(
    "values",
    [
        np.array([0.0, 30.0, 60.0, 120.0]),
        np.array([0.0, np.nan, 2.0]),
        np.array([1.0, 1.0, 1.0]),
        np.array([0.0, 1.0, np.inf]),
        np.array(["a", "b", "c"]),
        np.array([0.0, 1.0, 0.0, 1.0]),
    ],
    ids=["a pause", "nan", "all the same", "infinite", "text", "to and fro"],
)
def test_no_lattice_no_file(values: Pixels) -> None:
    with pytest.raises(OmeZarrError, match=r"\bx\b"):
        write(along_x(values))


@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_timedeltas_are_seconds(unit: str) -> None:
    times = (np.array([1500, 2000, 2500, 3000], "timedelta64[ms]")).astype(f"timedelta64[{unit}]")
    if unit == "s":
        times = np.array([1, 3, 5, 7], "timedelta64[s]")
    ds = xr.Dataset({"image": (("t", "y", "x"), np.zeros((4, 2, 2), "uint8"))}, {"t": times})
    t = opened(write(ds)).t
    assert t.values.tolist() == ([1, 3, 5, 7] if unit == "s" else [1.5, 2, 2.5, 3])
    assert t.attrs == {"units": "second"}


@pytest.mark.parametrize(
    ("given_unit", "written"),
    [
        *((unit, "micrometer") for unit in ("um", "µm", "μm", "micron", "micrometer")),
        ("nm", "nanometer"),
        ("mm", "millimeter"),
        ("angstrom", "angstrom"),
    ],
)
def test_units_are_written_as_the_specification_spells_them(given_unit: str, written: str) -> None:
    store = write(along_x([0.0, 1.0], units=given_unit))
    assert document_of(store)["multiscales"][0]["axes"][1]["unit"] == written
    assert opened(store).x.attrs == {"units": written}


def test_an_unknown_unit_is_kept_with_a_warning() -> None:
    ds = along_x([0.0, 1.0], units="barleycorn")
    with pytest.warns(OmeZarrWarning, match="barleycorn"):
        store = write(ds)
    assert document_of(store)["multiscales"][0]["axes"][1]["unit"] == "barleycorn"


def test_dimensions_out_of_order_are_put_right_and_the_log_tells(
    caplog: pytest.LogCaptureFixture,
) -> None:
    picture = Picture({"t": 2, "c": 3, "y": 4, "x": 5}, names=("a", "b", "d"), scale={"x": 0.5})
    ds = picture.dataset()
    with caplog.at_level(logging.INFO):
        store = write(ds.transpose("y", "x", "c", "t"))
    assert re.search(r"\by\W+x\W+c\W+t\b", caplog.text)
    assert [entry["name"] for entry in document_of(store)["multiscales"][0]["axes"]] == list("tcyx")
    again = opened(store)
    assert again.image.dims == ("t", "c", "y", "x")
    np.testing.assert_array_equal(again.image.values, ds.image.values)


def test_a_dimension_of_unknown_name_needs_a_type() -> None:
    pixels = np.zeros((2, 3, 3), "uint8")
    ds = xr.Dataset({"image": (("phase", "y", "x"), pixels)}, {"phase": [0.0, 90.0]})
    with pytest.raises(OmeZarrError, match=r"phase.*type|type.*phase"):
        write(ds)
    ds.phase.attrs["type"] = "angle"
    again = opened(write(ds))
    assert again.phase.attrs == {"type": "angle"}
    assert again.phase.values.tolist() == [0, 90]


# ── the accessor ─────────────────────────────────────────────────────────────────────────────────


@given(pictures(channels=False))
def test_assign_scale_puts_pixels_on_the_lattice(picture: Picture) -> None:
    ds = picture.dataset()
    assert ds.omezarr.scale == picture.scale
    assert ds.omezarr.translation == picture.translation
    assert ds.omezarr.units == {dim: picture.units.get(dim) for dim in picture.scale}
    assert ds.image.omezarr.scale == picture.scale
    for dim, size in picture.shape.items():
        if dim != "c":
            expected = lattice(picture.scale[dim], picture.translation[dim], size)
            assert ds[dim].values.tolist() == expected


def test_assign_scale_sets_what_it_is_given_and_keeps_the_rest() -> None:
    ds = line(0.5, 10.0)
    one = ds.omezarr.assign_scale(x=0.25)
    assert one.omezarr.scale == {"y": 1.0, "x": 0.25}
    assert one.omezarr.translation == {"y": 0.0, "x": 10.0}
    two = ds.omezarr.assign_scale(translation={"x": -3.0})
    assert two.omezarr.scale == {"y": 1.0, "x": 0.5}
    assert two.x.values[:2].tolist() == [-3.0, -2.5]
    three = ds.omezarr.assign_scale(units="micrometer")
    assert three.omezarr.units == {"y": "micrometer", "x": "micrometer"}
    assert three.x.values.tolist() == ds.x.values.tolist()
    assert ds.omezarr.units == {"y": None, "x": None}
    assert ds.x.attrs == {}
    with pytest.raises(ValueError, match="z"):
        ds.omezarr.assign_scale(z=1.0)


def test_the_scale_of_a_selection_is_its_own() -> None:
    ds = line(0.325, 10.0)
    assert ds.isel(x=slice(2, None, 3)).omezarr.scale["x"] == 0.975
    assert ds.isel(x=slice(2, None, 3)).omezarr.translation["x"] == 10.65
    assert ds.isel(x=slice(None, None, -1)).omezarr.scale["x"] == -0.325
    assert ds.coarsen(x=2).mean().omezarr.scale["x"] == 0.65
