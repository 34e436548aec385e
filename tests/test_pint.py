"""Opened images with pint-xarray: quantified, and selected by quantities."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from zarr.storage import MemoryStore

from tests.helpers import opened, pixels
from xarray_omezarr import OmeZarrError, samples
from xarray_omezarr.viewers import dataset_layers

pytest.importorskip("pint_xarray", reason="pint-xarray is not installed")

from pint_xarray import unit_registry as ureg

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers import Option

VALUES = pixels((4, 2, 20, 24))


@pytest.fixture
def film(memory: MemoryStore) -> MemoryStore:
    """Give a film: 30 s between time points, pixels of 0.5 µm."""
    ds = xr.Dataset({"image": (("t", "c", "y", "x"), VALUES)})
    ds = ds.omezarr.assign_scale(t=30.0, y=0.5, x=0.5, units="micrometer")
    ds = ds.omezarr.assign_scale(units={"t": "second"}).omezarr.assign_channels(["DAPI", "GFP"])
    ds.omezarr.to_zarr(memory, levels=2, chunks=16)
    return memory


def quantity(value: float, unit: str) -> Option:
    return ureg.Quantity(value, unit)


def test_coordinates_become_quantities(film: MemoryStore) -> None:
    ds = opened(film).pint.quantify()
    assert ds.x.data.units == ureg.micrometer
    assert ds.y.pint.units == ureg.micrometer
    assert ds.t.pint.units == ureg.second
    assert ds.c.values.tolist() == ["DAPI", "GFP"]
    assert ds.image.pint.units is None
    back = ds.pint.dequantify()
    assert {dim: back[dim].attrs["units"] for dim in "tyx"} == {
        "t": "second", "y": "micrometer", "x": "micrometer",
    }  # fmt: skip
    xr.testing.assert_equal(back, opened(film))


def test_dask_arrays_stay_lazy(film: MemoryStore) -> None:
    ds = opened(film, chunks={}).pint.quantify()
    assert ds.image.chunks is not None
    crop = ds.pint.sel(x=slice(quantity(2, "um"), quantity(4, "um")))
    assert crop.image.chunks is not None
    np.testing.assert_array_equal(crop.image.compute().values, VALUES[..., 4:9])


@pytest.mark.parametrize(
    ("unit", "factor"), [("um", 1.0), ("micrometer", 1.0), ("nm", 1000.0), ("mm", 1e-3)]
)
def test_selection_by_quantities(film: MemoryStore, unit: str, factor: float) -> None:
    ds = opened(film).pint.quantify()
    # Between centres, since pint converts in floating point.
    bounds = slice(quantity(1.9 * factor, unit), quantity(4.1 * factor, unit))
    for found in (ds.sel(x=bounds), ds.pint.sel(x=bounds)):
        np.testing.assert_array_equal(found.image.values, VALUES[..., 4:9])
    one = ds.pint.sel(t=quantity(1.5, "min"))
    np.testing.assert_array_equal(one.image.values, VALUES[3])


def test_selection_by_quantities_here(film: MemoryStore) -> None:
    plain = opened(film)
    bounds = slice(quantity(0.002, "mm"), quantity(4, "um"))
    asked: dict[str, Any] = {"x": bounds, "t": quantity(1.5, "min"), "c": "GFP"}
    expected = plain.isel(x=slice(4, 9), t=3, c=1)
    xr.testing.assert_identical(plain.omezarr.sel(**asked), expected)
    several = ureg.Quantity(np.array([2000.0, 4000.0]), "nm")
    xr.testing.assert_identical(plain.omezarr.sel(y=several), plain.isel(y=[4, 8]))
    ds = plain.pint.quantify()
    for found in (ds.omezarr.sel(**asked), ds.omezarr.sel(x=slice("2 um", 4), t="90 s", c="GFP")):
        xr.testing.assert_equal(found.pint.dequantify(), expected)
        assert found.x.pint.units == ureg.micrometer
    xr.testing.assert_equal(
        ds.omezarr.sel(x=ds.x[4:9]).pint.dequantify(), plain.isel(x=slice(4, 9))
    )
    with pytest.raises(OmeZarrError, match="'90 second' is a time, but the axis is in micrometer"):
        ds.omezarr.sel(x="90 s")
    with pytest.raises(OmeZarrError, match="'3 degree' is not known"):
        plain.omezarr.sel(x=quantity(3, "degree"))


def test_resolution_as_a_quantity(film: MemoryStore) -> None:
    assert opened(film, resolution=quantity(1000, "nm")).image.shape[-1] == 12
    assert opened(film, resolution={"x": quantity(0.9, "um")}).image.shape[-1] == 24


def test_geometry_of_quantities(film: MemoryStore) -> None:
    plain = opened(film)
    ds = plain.pint.quantify()
    calls: list[Callable[[xr.Dataset], Any]] = [
        lambda ds: ds.omezarr.scale,
        lambda ds: ds.omezarr.translation,
        lambda ds: ds.omezarr.units,
    ]
    with warnings.catch_warnings():
        # Units that are lost on the way are warned of by pint.
        warnings.simplefilter("error")
        for call in calls:
            assert call(ds) == call(plain)
        coarse = ds.pint.to(x=ureg.nanometer)
        assert coarse.omezarr.scale["x"] == pytest.approx(500)
        assert coarse.omezarr.units["x"] == "nanometer"


def test_quantities_are_written_with_their_units(film: MemoryStore) -> None:
    ds = opened(film).pint.quantify()
    target = MemoryStore()
    ds.omezarr.sel(x=slice("2 um", "4 um")).omezarr.to_zarr(target)
    expected = opened(film).isel(x=slice(4, 9))
    xr.testing.assert_identical(opened(target), expected)


@pytest.mark.filterwarnings("error")
def test_quantities_are_drawn_as_what_they_were(film: MemoryStore) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    plain = opened(film, chunks={}).assign(cells=(("y", "x"), np.eye(20, 24, dtype=np.int32)))
    plain = plain.isel(t=1).omezarr.measure("cells", "area")
    ds = plain.pint.quantify()
    assert ds.cells_area.pint.units == ureg.micrometer**2
    drawn = [one.omezarr.plot(ax=pyplot.figure().gca()) for one in (plain, ds)]
    assert drawn[0].axes.get_title() == "t = 30 s"
    for read in ("get_title", "get_xlabel", "get_ylabel"):
        assert getattr(drawn[1].axes, read)() == getattr(drawn[0].axes, read)()
    np.testing.assert_array_equal(drawn[1].get_array(), drawn[0].get_array())
    cells = [one.omezarr.plot_labels("cells", "area") for one in (plain, ds)]
    assert cells[1].colorbar.ax.get_ylabel() == "cells_area [µm²]"
    assert cells[0].colorbar.ax.get_ylabel() == "cells_area [µm²]"
    np.testing.assert_array_equal(cells[1].get_array(), cells[0].get_array())
    pyplot.close("all")


@pytest.mark.filterwarnings("error")
def test_quantities_are_handed_to_napari_as_what_they_were() -> None:
    coins = samples.coins().omezarr.measure("coins", "area")
    layers = [dataset_layers(one) for one in (coins, coins.pint.quantify())]
    for (_, before, _), (_, after, _) in zip(*layers, strict=True):
        assert (after["scale"], after["units"]) == (before["scale"], before["units"])
    pd.testing.assert_frame_equal(layers[1][1][1]["features"], layers[0][1][1]["features"])
