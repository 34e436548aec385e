"""Coordinate systems in stores: of images, of scenes, and what lies in arrays beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
import zarr

from tests.test_frames import ROTATION, add, system, way
from xarray_omezarr import OmeZarrError, samples, transform_points

if TYPE_CHECKING:
    from zarr.storage import MemoryStore


def stitched(memory: MemoryStore) -> MemoryStore:
    """Two tiles of a scene, one of which says how it lies in a system of its own."""
    for name in ("tile_0", "tile_1"):
        samples.coins()[["image"]].omezarr.to_zarr(memory, group=name, version="0.6")
    add(zarr.storage.StorePath(memory, "tile_1"), [system("cut", "y", "x")],  # type: ignore[arg-type]
        [way("physical", "cut", type="scale", scale=[2.0, 2.0])])  # fmt: skip
    shift: dict[str, Any] = {"type": "translation", "output": {"name": "world"}}
    scene: Any = {
        "version": "0.6",
        "scene": {
            "coordinateSystems": [system("world", "y", "x")],
            "coordinateTransformations": [
                {**shift, "translation": [100.0 * i, 0.0],
                 "input": {"path": f"tile_{i}", "name": "physical"}}
                for i in range(2)
            ],
        },
    }  # fmt: skip
    zarr.open_group(memory, mode="a").attrs["ome"] = scene
    return memory


def test_between_the_images_of_a_scene(memory: MemoryStore) -> None:
    store = stitched(memory)
    points = [[100.0, 5.0], [130.0, 7.0]]
    there = transform_points(store, points, ("tile_0", "physical"), ("tile_1", "cut"))
    np.testing.assert_allclose(there, [[0.0, 10.0], [60.0, 14.0]])
    np.testing.assert_allclose(transform_points(store, there, ("tile_1", "cut"), "world"), points)


def test_a_scene_with_an_image_missing_is_a_scene(memory: MemoryStore) -> None:
    store = stitched(memory)
    del zarr.open_group(store, mode="a")["tile_1"]
    with pytest.warns(UserWarning, match="tile_1"):
        found = transform_points(store, [[1.0, 2.0]], ("tile_0", "physical"), "world")
    assert found.tolist() == [[1.0, 2.0]]


def test_what_is_neither_an_image_nor_a_scene(memory: MemoryStore) -> None:
    zarr.open_group(memory, mode="a")
    with pytest.raises(OmeZarrError, match="without OME-Zarr metadata"):
        transform_points(memory, [[1.0, 2.0]], "a", "b")


def image_with(memory: MemoryStore, ways: list[Any]) -> xr.Dataset:
    image = xr.DataArray(np.zeros((3, 6, 8), "uint8"), dims=("z", "y", "x"), name="image")
    image.omezarr.assign_scale(z=2.0).omezarr.to_zarr(memory, version="0.6", levels=1)
    add(memory, [system("other", "z", "y", "x")], ways)
    return xr.open_dataset(memory, engine="omezarr")  # type: ignore[arg-type]


def test_a_matrix_in_an_array_is_read_by_the_image_too(memory: MemoryStore) -> None:
    ds = image_with(memory, [way("physical", "other", type="rotation", path="ways/turn")])
    zarr.create_array(memory, name="ways/turn", data=np.array(ROTATION))
    point = [1.0, 2.0, 3.0]
    expected = np.array(ROTATION) @ point
    for found in (
        transform_points(memory, point, "physical", "other"),
        ds.omezarr.transform_points(point, "physical", "other"),
        ds.chunk().isel(x=2).omezarr.transform_points(point, "physical", "other"),
    ):
        np.testing.assert_allclose(found, expected)
    assert ds.omezarr.to_coordinate_system("other").other_y.dims == ("y", "x")


def test_a_field_of_displacements_gives_lazy_positions(memory: MemoryStore) -> None:
    ds = image_with(memory, [way("physical", "other", type="displacements", path="ways/field")])
    field = np.zeros((4, 7, 9, 3))
    field[..., 1] = np.arange(9) / 8
    zarr.create_array(memory, name="ways/field/0", data=field)
    axes = [*system("f", "z", "y", "x")["axes"],
            {"name": "d", "type": "displacement", "discrete": True}]  # fmt: skip
    zarr.open_group(memory, path="ways/field", mode="a").attrs["ome"] = {
        "version": "0.6",
        "multiscales": [{
            "coordinateSystems": [{"name": "field", "axes": axes}],
            "datasets": [{"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": [2.0, 1.0, 1.0, 1.0],
                 "input": {"path": "0"}, "output": {"name": "field"}}]}],
        }],
    }  # fmt: skip
    moved = ds.omezarr.to_coordinate_system("other")
    y, x = np.meshgrid(ds.y, ds.x, indexing="ij")
    np.testing.assert_allclose(moved.other_y[1], y + x / 8)
    part = moved.isel(z=1, y=slice(2, 4))
    np.testing.assert_array_equal(part.other_y, moved.other_y[1, 2:4])
