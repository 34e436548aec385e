"""Lazy coordinates of pixels and the index that finds them."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xarray_omezarr import OmeZarrError
from xarray_omezarr.positions import Grid, PositionIndex, Positions
from xarray_omezarr.transforms import Affine

TURN = np.array([[0.8, -0.6, 2.0], [0.6, 0.8, -1.0]])
WAY = Affine.of(TURN[:, :2], TURN[:, 2])
SLICES = st.builds(slice, *[st.none() | st.integers(-12, 12)] * 2,
                   st.none() | st.integers(1, 4) | st.integers(-4, -1))  # fmt: skip


def turned(height: int = 9, width: int = 7) -> xr.Dataset:
    """Make an image with positions in a system that is turned and shifted."""
    y = np.arange(3.0, 3.0 + 0.5 * height, 0.5)
    x = np.arange(0.0, 2.0 * width, 2.0)
    grid = Grid(
        ("y", "x"), (y, x), (0.5, 2.0), Affine.of(TURN[:, :2], TURN[:, 2]), (0, 1), (0, 1), (2, 2)
    )
    index = PositionIndex(grid, ["v", "u"])
    ds = xr.Dataset(
        {"image": (("y", "x"), np.arange(height * width).reshape(height, width))},
        {"y": y, "x": x},
    )
    return ds.assign_coords(xr.Coordinates.from_xindex(index))


def expected(ds: xr.Dataset) -> list[Any]:
    y, x = np.meshgrid(ds.y, ds.x, indexing="ij")
    return [a * y + b * x + c for a, b, c in TURN]


def is_lazy(ds: xr.Dataset | xr.DataArray) -> bool:
    return isinstance(ds.coords["v"].variable._data, Positions)


def test_they_are_what_the_transformation_says() -> None:
    ds = turned()
    for name, values in zip(("v", "u"), expected(ds), strict=True):
        np.testing.assert_allclose(ds[name], values, atol=1e-14)


@given(y=SLICES, x=SLICES)
def test_slices_stay_lazy_and_exact(y: slice, x: slice) -> None:
    ds = turned()
    part = ds.isel(y=y, x=x)
    assert is_lazy(part)
    assert isinstance(part.xindexes["u"], PositionIndex)
    np.testing.assert_array_equal(part.v.values, ds.v.values[y, x])
    np.testing.assert_array_equal(part.isel(x=slice(1, None)).u.values, ds.u.values[y, x][:, 1:])


def test_rows_lists_and_masks_stay_lazy_and_exact_too() -> None:
    ds = turned()
    for key in ({"y": 3}, {"y": [4, 1, 1]}, {"x": ds.x.values > 3}, {"y": -1, "x": [0, 2]}):
        part = ds.isel(key)
        assert is_lazy(part)
        np.testing.assert_array_equal(part.v, ds.v.compute().copy(data=ds.v.values).isel(key))
    assert float(ds.isel(y=2, x=3).v) == ds.v.values[2, 3]


def test_nothing_makes_ten_milliard_positions() -> None:
    n = 10**5
    axis = np.arange(n, dtype=np.float64)
    grid = Grid(
        ("y", "x"),
        (axis, axis),
        (1.0, 1.0),
        Affine.of(TURN[:, :2], TURN[:, 2]),
        (0, 1),
        (0, 1),
        (2, 2),
    )
    ds = xr.Dataset(coords=xr.Coordinates.from_xindex(PositionIndex(grid, ["v", "u"])))
    repr(ds)
    ds._repr_html_()
    copies = [ds.load(), ds.compute(), ds.copy(deep=True), ds.transpose("x", "y"),
              pickle.loads(pickle.dumps(ds)),  # noqa: S301 - our own
              ds.isel(y=slice(None, None, -3)), ds.roll(x=5, roll_coords=True),
              ds.rename(v="w", x="k").rename(w="v")]  # fmt: skip
    assert all(map(is_lazy, copies))
    coarse = ds.coarsen(y=1000, x=1000).mean()
    assert coarse.v.chunks is not None
    assert ds.stack(p=("y", "x"), create_index=False).v.size == n * n
    assert ds.mean("y").coords.keys() == set()


def test_transposed_rolled_and_renamed_they_are_the_same() -> None:
    ds = turned()
    np.testing.assert_array_equal(ds.transpose("x", "y").v, ds.v.values.T)
    np.testing.assert_array_equal(ds.transpose("x", "y").isel(y=slice(2)).v, ds.v.values[:2].T)
    np.testing.assert_array_equal(ds.roll(y=2, roll_coords=True).v, np.roll(ds.v.values, 2, axis=0))
    renamed = ds.rename(y="row", v="height")
    assert renamed.height.dims == ("row", "x")
    found = renamed.sel(height=float(ds.v[4, 5]), u=float(ds.u[4, 5]), method="nearest")
    assert int(found.image) == int(ds.image[4, 5])


def test_parts_are_put_together_and_others_are_not() -> None:
    ds = turned()
    parts = [ds.isel(y=slice(0, 4)), ds.isel(y=slice(4, None))]
    whole = xr.concat(parts, "y")
    assert is_lazy(whole)
    np.testing.assert_array_equal(whole.v, ds.v.values)
    with pytest.raises(OmeZarrError, match="not parts of one grid"):
        PositionIndex.concat([ds.xindexes["v"], ds.isel(x=slice(2)).xindexes["v"]], "y")  # type: ignore[list-item]


def test_images_on_the_same_grid_are_combined() -> None:
    ds = turned()
    assert is_lazy(ds.image + turned().image * 2)
    assert not ds.xindexes["v"].equals(turned(8).xindexes["v"])


@given(
    points=st.lists(st.tuples(st.floats(-0.49, 8.49), st.floats(-0.49, 6.49)), min_size=1),
    reverse=st.booleans(),
)
def test_points_are_found_in_their_pixels(points: list[tuple[float, float]], reverse: bool) -> None:  # noqa: FBT001
    ds = turned().isel(y=slice(None, None, -1 if reverse else 1))
    rows, columns = np.transpose(points)
    y, x = rows * 0.5 + 3, columns * 2.0
    v, u = (a * y + b * x + c for a, b, c in TURN)
    labels = {"v": xr.DataArray(v, dims="p"), "u": xr.DataArray(u, dims="p")}
    found = ds.sel(labels, method="nearest")
    assert found.image.dims == ("p",)
    assert (abs(found.y - y) <= 0.25 + 1e-9).all()
    assert (abs(found.x - x) <= 1 + 1e-9).all()
    # Bare sequences are points as well.
    assert found.image.values.tolist() == ds.sel(v=v, u=u, method="nearest").image.values.tolist()


def at(y: float, x: float) -> dict[str, float]:
    return {name: a * y + b * x + c for name, (a, b, c) in zip("vu", TURN, strict=True)}


@pytest.mark.parametrize(
    ("y", "x", "inside"),
    [(2.76, 0, True), (2.74, 0, False), (7.24, 12, True), (7.26, 12, False),
     (3, -0.99, True), (3, -1.01, False), (5, 13.01, False), (np.nan, 0, False)],
)  # fmt: skip
def test_half_a_pixel_beyond_the_outermost_it_ends(y: float, x: float, *, inside: bool) -> None:
    ds = turned()
    if inside:
        assert ds.sel(at(y, x), method="nearest").image.ndim == 0
    else:
        with pytest.raises(KeyError, match=r"The point v=.*, u=.* lies outside"):
            ds.sel(at(y, x), method="nearest")


def test_the_message_names_the_first_of_several_points() -> None:
    good, bad = at(3, 0), at(3, -50)
    with pytest.raises(KeyError, match=f"v={bad['v']:g}, u={bad['u']:g}.*'x' it is at -50"):
        turned().sel(v=[good["v"], bad["v"]], u=[good["u"], bad["u"]], method="nearest")


def test_a_plane_that_was_selected_is_left_by_no_point() -> None:
    row = turned().isel(y=4)
    assert int(row.sel(at(5.1, 4), method="nearest").image) == 4 * 7 + 2
    with pytest.raises(KeyError, match=r"along 'y' it is at 5\.6"):
        row.sel(at(5.6, 4), method="nearest")


@pytest.mark.parametrize(
    ("labels", "method"),
    [({"v": 1.0, "u": 1.0}, None), ({"v": 1.0}, "nearest"),
     ({"v": slice(0, 1), "u": 1.0}, "nearest"),
     ({"v": [1.0, 2.0], "u": [1.0, 2.0, 3.0]}, "nearest"), ({"v": "a", "u": 1.0}, "nearest")],
)  # fmt: skip
def test_what_is_no_point_is_an_error(labels: dict[str, object], method: str | None) -> None:
    with pytest.raises(OmeZarrError, match=r"v=…, u=…"):
        turned().sel(labels, method=method)


@pytest.mark.parametrize("join", ["inner", "outer"])
@pytest.mark.parametrize("step", [1, -1])
def test_parts_of_one_image_are_aligned(join: str, step: int) -> None:
    ds = turned().isel(y=slice(None, None, step))
    one, other = ds.isel(y=slice(1, 6), x=slice(3)), ds.isel(y=slice(4, 9), x=slice(1, 7))
    with xr.set_options(arithmetic_join=join):  # type: ignore[no-untyped-call]
        both = one.image * 100 + other.image
    bare = one.drop_vars(["v", "u"]), other.drop_vars(["v", "u"])
    aligned = xr.align(*bare, join=join)  # type: ignore[call-overload]
    assert is_lazy(both)
    xr.testing.assert_equal(both.drop_vars(["v", "u"]), aligned[0].image * 100 + aligned[1].image)
    for name, (a, b, c) in zip("vu", TURN, strict=True):
        expected = (a * both.y + b * both.x + c).transpose(*both.dims)
        np.testing.assert_allclose(both[name].values, expected.values, atol=1e-14)


def test_images_on_different_grids_are_not() -> None:
    ds = turned()
    grid = Grid(
        ("y", "x"), (ds.y.values, ds.x.values), (0.5, 2.0), WAY.inverse(), (0, 1), (0, 1), (2, 2)
    )
    other = ds.drop_vars(["v", "u"]).assign_coords(
        xr.Coordinates.from_xindex(PositionIndex(grid, ["v", "u"]))
    )
    with pytest.raises(OmeZarrError, match=r"drop them first"):
        ds.image + other.image
