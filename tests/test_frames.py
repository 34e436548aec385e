"""Coordinate systems of an image: what there is, points, and another system made its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
import zarr

from tests.helpers import pixels
from xarray_omezarr import OmeZarrError, OmeZarrWarning, samples, validate
from xarray_omezarr.graph import CoordinateSystem
from xarray_omezarr.model import Axis
from xarray_omezarr.positions import PositionIndex, Positions
from xarray_omezarr.transforms import Affine, Translation

if TYPE_CHECKING:
    from pathlib import Path

    from zarr.storage import MemoryStore

AXES = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
TURN = 0.3
ROTATION = [[1, 0, 0],
            [0, np.cos(TURN), -np.sin(TURN)],
            [0, np.sin(TURN), np.cos(TURN)]]  # fmt: skip


def system(name: str, *axes: str, unit: str = "micrometer") -> dict[str, Any]:
    return {"name": name, "axes": [{"name": a, "type": "space", "unit": unit} for a in axes]}


def way(source: str, target: str, **transform: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {**transform, "input": {"name": source}, "output": {"name": target}}


SYSTEMS = [
    system("stage", "z", "y", "x", unit="millimeter"),
    system("tilted", "z", "y", "x"),
    system("swapped", "z", "y", "x"),
    system("lab", "z", "y", "x"),
]
WAYS = [
    way("physical", "stage", type="sequence", transformations=[
        {"type": "scale", "scale": [0.001, 0.001, 0.001]},
        {"type": "translation", "translation": [7, 5, -3]},
    ]),
    way("physical", "tilted", type="rotation", rotation=ROTATION),
    way("swapped", "physical", type="mapAxis", mapAxis=[0, 2, 1]),
    way("tilted", "lab", type="translation", translation=[1, 2, 3]),
]  # fmt: skip


def scene(systems: list[Any] = SYSTEMS, ways: list[Any] = WAYS, **options: Any) -> xr.Dataset:  # noqa: ANN401
    """Open an image of version 0.6 with further coordinate systems."""
    store = zarr.storage.MemoryStore()
    image = xr.DataArray(pixels((3, 6, 8)), dims=("z", "y", "x"), name="image")
    image = image.omezarr.assign_scale(
        z=2.0, y=0.5, x=0.5, translation={"y": 10.0}, units="micrometer"
    )
    image.omezarr.to_zarr(store, version="0.6", levels=1)
    add(store, systems, ways)
    return xr.open_dataset(store, engine="omezarr", **options)  # type: ignore[arg-type]


def add(store: MemoryStore | Path, systems: list[Any], ways: list[Any]) -> None:
    """Write further systems into the metadata of an image."""
    group = zarr.open_group(store, mode="a")
    ome: Any = group.attrs["ome"]
    ome["multiscales"][0]["coordinateSystems"] += systems
    ome["multiscales"][0]["coordinateTransformations"] = ways
    group.attrs["ome"] = ome


def test_there_are_the_systems_of_the_file_and_its_own_one_first() -> None:
    found = scene().omezarr.coordinate_systems
    assert list(found) == ["physical", "stage", "tilted", "swapped", "lab"]
    assert found.intrinsic == "physical"
    assert [axis.unit for axis in found["stage"].axes] == ["millimeter"] * 3
    assert "stage: z (millimeter), y (millimeter), x (millimeter)" in repr(found)


def test_an_image_from_elsewhere_has_one_system_with_the_units_that_it_has_now() -> None:
    image = samples.coins().image.omezarr.assign_scale(x=1.0, units={"x": "nanometer"})
    (own,) = image.omezarr.coordinate_systems.values()
    assert [(axis.name, axis.unit) for axis in own.axes] == [
        ("y", "micrometer"),
        ("x", "nanometer"),
    ]


def test_points_go_along_and_against_transformations() -> None:
    ds = scene()
    points = np.random.default_rng(0).normal(size=(4, 5, 3)) * 100
    there = ds.omezarr.transform_points(points, "physical", "lab")
    np.testing.assert_allclose(there, points @ np.transpose(ROTATION) + [1, 2, 3], rtol=1e-12)
    back = ds.image.omezarr.transform_points(there, "lab", "physical")
    np.testing.assert_allclose(back, points, atol=1e-9)
    around = ds.omezarr.transform_points([1.0, 2.0, 3.0], "stage", "swapped")
    np.testing.assert_allclose(around, [-6000, 6000, -3000])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([[1.0, 2.0]], "physical", "lab"), "3 numbers along the last axis"),
        (([[1.0, 2.0, 3.0]], "physical", "moon"), "'moon'; there are: physical, stage"),
    ],
)
def test_points_that_cannot_be_brought_there(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(OmeZarrError, match=says):
        scene().omezarr.transform_points(*arguments)


def test_a_separable_system_becomes_the_image_s_own() -> None:
    ds = scene()
    new = ds.isel(y=slice(1, None)).omezarr.to_coordinate_system("stage")
    assert new.y.values.tolist() == [5.0105, 5.011, 5.0115, 5.012, 5.0125]
    assert new.z.values.tolist() == [7.0, 7.002, 7.004]
    assert new.omezarr.units == dict.fromkeys("zyx", "millimeter")
    assert list(new.omezarr.coordinate_systems) == ["stage", "tilted", "swapped", "lab"]
    # What led to it is gone, and all positions are the same.
    points = np.random.default_rng(0).normal(size=(20, 3))
    for name in ("tilted", "swapped", "lab"):
        np.testing.assert_allclose(
            new.omezarr.transform_points(points, "stage", name),
            ds.omezarr.transform_points(points, "stage", name),
            atol=1e-8,
        )
    # And the image that it was made of has not changed.
    assert list(ds.omezarr.coordinate_systems) == ["physical", "stage", "tilted", "swapped", "lab"]


def test_what_is_written_is_told_from_the_new_system(memory: MemoryStore) -> None:
    ds = scene()
    ds.omezarr.to_coordinate_system("stage").omezarr.to_zarr(memory, levels=1)
    again = xr.open_dataset(memory, engine="omezarr")  # type: ignore[arg-type]
    assert again.x.values.tolist() == ds.omezarr.to_coordinate_system("stage").x.values.tolist()
    assert list(again.omezarr.coordinate_systems) == ["stage", "tilted", "swapped", "lab"]
    points = [[7.0, 5.0, -3.0]]
    for name in ("tilted", "swapped", "lab"):
        np.testing.assert_allclose(
            again.omezarr.transform_points(points, "stage", name),
            ds.omezarr.transform_points(points, "stage", name),
            atol=1e-9,
        )


def test_axes_that_change_places_are_renamed_with_their_pixels() -> None:
    ds = scene()
    new = ds.omezarr.to_coordinate_system("swapped")
    assert new.image.dims == ("z", "y", "x")
    np.testing.assert_array_equal(new.x, ds.y)
    np.testing.assert_array_equal(new.y, ds.x)
    np.testing.assert_array_equal(new.image, ds.image.transpose("z", "x", "y"))
    assert new.omezarr.coordinate_systems.intrinsic == "swapped"


def test_a_plane_goes_along_with_where_it_was_selected() -> None:
    new = scene().isel(z=2).omezarr.to_coordinate_system("stage")
    assert float(new.z) == 7.004
    assert new.image.dims == ("y", "x")


@pytest.mark.filterwarnings("ignore:.*magic", "ignore:.*no transformation leads")
def test_transformations_that_are_not_known_are_kept_in_a_sequence() -> None:
    odd = {
        "type": "magic",
        "spell": [1, 2],
        "input": {"name": "physical"},
        "output": {"name": "lab"},
    }

    ds = scene(ways=[*WAYS[:3], odd])
    new = ds.omezarr.to_coordinate_system("stage")
    document = new.image.encoding["omezarr"]["document"]["ome"]["multiscales"][0]
    (entry,) = [e for e in document["coordinateTransformations"] if e["output"]["name"] == "lab"]
    assert entry["input"] == {"name": "stage"}
    assert entry["transformations"][1] == {"type": "magic", "spell": [1, 2]}


def test_a_system_that_mixes_axes_gives_lazy_coordinates_along_those_only() -> None:
    ds = scene(chunks=None).omezarr.to_coordinate_system("tilted")
    assert ds.tilted_y.dims == ds.tilted_x.dims == ("y", "x")
    assert ds.tilted_z.dims == ("z",)
    assert isinstance(ds.tilted_y.variable._data, Positions)
    y, x = np.meshgrid(ds.y, ds.x, indexing="ij")
    np.testing.assert_allclose(ds.tilted_y, np.cos(TURN) * y - np.sin(TURN) * x, rtol=1e-12)
    assert ds.tilted_y.attrs == {"units": "micrometer"}
    # Its own system takes them off again.
    bare = ds.omezarr.to_coordinate_system("physical")
    assert set(bare.coords) == set("zyx")


def test_to_zarr_leaves_them_out_and_keeps_the_transformation(memory: MemoryStore) -> None:
    ds = scene().omezarr.to_coordinate_system("tilted")
    ds.omezarr.to_zarr(memory, levels=1)
    again = xr.open_dataset(memory, engine="omezarr")  # type: ignore[arg-type]
    assert set(again.coords) == set("zyx")
    np.testing.assert_array_equal(
        again.omezarr.to_coordinate_system("tilted").tilted_x, ds.tilted_x
    )


def test_xarray_s_own_exports_write_them_unless_they_are_taken_off(tmp_path: Path) -> None:
    ds = scene().load().omezarr.to_coordinate_system("tilted")
    ds.to_netcdf(tmp_path / "with.nc")
    with xr.open_dataset(tmp_path / "with.nc") as again:
        np.testing.assert_array_equal(again.tilted_y, ds.tilted_y)
    ds.omezarr.to_coordinate_system("physical").to_netcdf(tmp_path / "without.nc")
    with xr.open_dataset(tmp_path / "without.nc") as again:
        assert set(again.coords) == set("zyx")


def test_a_data_array_has_them_too() -> None:
    image = scene().image.omezarr.to_coordinate_system("tilted")
    assert isinstance(image.xindexes["tilted_y"], PositionIndex)
    assert image.sel(tilted_y=image.tilted_y[2, 3], tilted_x=image.tilted_x[2, 3],
                     method="nearest").shape == (3,)  # fmt: skip


TURNED = [[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]]


@pytest.mark.parametrize(
    "transform",
    [
        {"type": "byDimension", "transformations": [
            {"inputAxes": [0], "outputAxes": [0], "transformation": {"type": "identity"}},
            {"inputAxes": [1, 2], "outputAxes": [1, 2],
             "transformation": {"type": "rotation", "rotation": TURNED}},
        ]},
        {"type": "affine", "affine": [[1, 0, 0, 0], [0, *TURNED[0], 0], [0, *TURNED[1], 0]]},
    ],
)  # fmt: skip
def test_channels_have_no_part_in_positions(memory: MemoryStore, transform: dict[str, Any]) -> None:
    image = xr.DataArray(pixels((2, 6, 8)), dims=("c", "y", "x"), name="image")
    image = image.omezarr.assign_scale(y=0.5, x=0.5).omezarr.assign_channels(["DAPI", "GFP"])
    image.omezarr.to_zarr(memory, version="0.6", levels=1)
    turned = {"name": "turned", "axes": [{"name": "c", "type": "channel"}, *AXES[1:]]}
    add(memory, [turned], [way("physical", "turned", **transform)])
    opened = xr.open_dataset(memory, engine="omezarr")  # type: ignore[arg-type]
    for ds in (opened, opened.sel(c="GFP")):
        found = ds.omezarr.to_coordinate_system("turned")
        assert found.turned_y.dims == ("y", "x")
        assert "turned_c" not in found.coords
        pixel = found.sel(
            turned_y=float(found.turned_y[4, 3]), turned_x=float(found.turned_x[4, 3]),
            method="nearest",
        )  # fmt: skip
        np.testing.assert_array_equal(pixel.image, ds.image[..., 4, 3])
        np.testing.assert_array_equal(
            ds.omezarr.resample(opened.isel(x=slice(2, 5)), system="turned", order=0).image,
            ds.image.isel(x=slice(2, 5)),
        )


# ── one more ─────────────────────────────────────────────────────────────────────────────────────


def plane() -> xr.Dataset:
    """Make an image with pixel sizes and an origin of its own."""
    image = xr.DataArray(pixels((6, 8)), dims=("y", "x"), name="image")
    scaled = image.omezarr.assign_scale(y=0.5, x=0.25, translation={"y": 10.0}, units="micrometer")
    assert isinstance(scaled, xr.DataArray)
    return scaled.to_dataset()


TURNED = [[0.0, 2.0, 5.0], [-1.0, 0.0, 7.0]]


@pytest.mark.parametrize("version", [None, "0.4", "0.5", "0.6"])
def test_a_system_that_is_assigned_is_written(memory: MemoryStore, version: str | None) -> None:
    ds = plane()
    if version is not None:
        ds.omezarr.to_zarr(memory, group="before", version=version)
        ds = xr.open_dataset(memory, engine="omezarr", group="before")  # type: ignore[arg-type]
    told = ds.omezarr.assign_coordinate_system("stage", TURNED)
    assert "stage" not in ds.omezarr.coordinate_systems
    xr.testing.assert_identical(ds, told)
    told.omezarr.to_zarr(memory, group="after")
    again = xr.open_dataset(memory, engine="omezarr", group="after")  # type: ignore[arg-type]
    xr.testing.assert_identical(again, told.assign_attrs(again.attrs))
    assert again.omezarr.coordinate_systems["stage"].dims == ("y", "x")
    (point,) = again.omezarr.transform_points([[10.5, 0.25]], "physical", "stage")
    assert point.tolist() == [0.25 * 2 + 5, 7 - 10.5]
    moved = again.image.omezarr.to_coordinate_system("stage")
    assert moved.transpose("x", "y").x.values.tolist() == (7 - ds.y.values).tolist()
    assert not validate(memory, group="after").errors


def test_a_system_can_be_told_in_several_ways() -> None:
    ds, expected = plane(), [[5.5, -3.5]]
    square = [*TURNED, [0.0, 0.0, 1.0]]
    lab = CoordinateSystem("stage", (Axis("v", "space", "millimeter"), Axis("u", "space")))
    for system, transform in [
        ("stage", TURNED),
        ("stage", square),
        ("stage", Affine(tuple(map(tuple, TURNED)))),
        (lab, np.array(TURNED)),
    ]:
        told = ds.image.omezarr.assign_coordinate_system(system, transform)
        points = told.omezarr.transform_points([[10.5, 0.25]], "physical", "stage")
        assert points.tolist() == expected
        found = told.omezarr.coordinate_systems["stage"]
        assert found == (lab if system is lab else CoordinateSystem("stage", AXES_OF_PLANE))


AXES_OF_PLANE = tuple(Axis(name, "space", "micrometer") for name in "yx")


def test_a_system_over_the_axes_of_space_leaves_time_and_channels_alone() -> None:
    ds = samples.fluorescence(shape=(2, 2, 3, 8, 8))
    shift = np.column_stack([np.eye(3), [1.0, 2.0, 3.0]])
    told = ds.omezarr.assign_coordinate_system("stage", shift)
    moved = told.omezarr.to_coordinate_system("stage")
    for dim, by in {"t": 0, "z": 1, "y": 2, "x": 3}.items():
        assert moved[dim].values.tolist() == (ds[dim].values + by).tolist()
    assert moved.c.values.tolist() == ds.c.values.tolist()
    # What was selected away has no part in it.
    plane = ds.isel(c=0, t=0).omezarr.assign_coordinate_system("stage", shift)
    assert plane.omezarr.coordinate_systems["stage"].dims == ("z", "y", "x")


def test_a_system_of_the_same_name_is_replaced_unless_others_hang_on_it() -> None:
    ds = scene()
    again = ds.omezarr.assign_coordinate_system("swapped", np.eye(4))
    points = [[1.0, 2.0, 3.0]]
    assert again.omezarr.transform_points(points, "physical", "swapped").tolist() == points
    assert list(again.omezarr.coordinate_systems) == [*ds.omezarr.coordinate_systems]
    with pytest.raises(OmeZarrError, match=r"\['lab'\] any more, .* by way of the 'tilted'"):
        ds.omezarr.assign_coordinate_system("tilted", np.eye(4))


@pytest.mark.parametrize(
    ("system", "transform", "says"),
    [
        ("physical", TURNED, "'physical' is the coordinate system that the coordinates"),
        ("", TURNED, "has no name"),
        (
            "stage",
            np.eye(2),
            r"takes 1 coordinates and gives 1; the image has the axes \['y', 'x'\]",
        ),
        ("stage", np.eye(4), "takes 3 coordinates and gives 3"),
        ("stage", [[1.0, np.nan, 0.0], [0.0, 1.0, 0.0]], "finite numbers"),
        ("stage", "scale", "is 'scale'; expected a matrix"),
        ("stage", np.empty((0, 3)), "expected a matrix"),
        ("stage", [1.0, 2.0], r"an array of the shape \(2,\); expected a matrix \[A b\]"),
    ],
)
def test_a_system_that_cannot_be(system: str, transform: Any, says: str) -> None:  # noqa: ANN401
    with pytest.raises(OmeZarrError, match=says):
        plane().omezarr.assign_coordinate_system(system, transform)


def test_versions_before_say_that_it_is_left_out(memory: MemoryStore) -> None:
    told = plane().omezarr.assign_coordinate_system("stage", TURNED)
    with pytest.warns(OmeZarrWarning, match=r"coordinate systems \['stage'\] are left out"):
        told.omezarr.to_zarr(memory, version="0.5")


def test_images_are_related_by_a_system_that_both_were_given() -> None:
    image = scene().image.load()
    shift = Translation((0, 0, 0.5))
    other = image.omezarr.assign_coordinate_system("common", np.eye(4))
    shifted = image.omezarr.assign_coordinate_system("common", shift)
    result = shifted.omezarr.resample(other, system="common")
    np.testing.assert_array_equal(result[:, :, 1:], image[:, :, :-1])
    # Channels have no part in it.
    both = xr.concat([image, image + 1], "c").assign_coords(c=["DAPI", "GFP"]).transpose("c", ...)
    both = both.omezarr.assign_coordinate_system("common", shift)
    result = both.omezarr.resample(other, system="common")
    np.testing.assert_array_equal(result[1, :, :, 1:], image[:, :, :-1] + 1)
    result = shifted.omezarr.resample(
        both.omezarr.assign_coordinate_system("common", np.eye(4)), system="common"
    )
    np.testing.assert_array_equal(result[:, :, 1:], image[:, :, :-1])


def test_a_system_has_its_axes_in_the_order_in_which_they_are_stored() -> None:
    image = samples.astronaut().image.transpose("y", "x", "c")
    with pytest.raises(OmeZarrError, match=r"\.transpose\('c', 'y', 'x'\) first"):
        image.omezarr.assign_coordinate_system("atlas", np.eye(3))


def test_channels_may_be_left_out_of_points_and_of_one_of_two_images() -> None:
    swapping = [[0.0, -2.0, 5.0], [1.0, 0.0, -3.0]]
    ds = samples.astronaut().omezarr.assign_coordinate_system("atlas", swapping)
    there = ds.omezarr.transform_points([[10.0, 20.0]], "physical", "atlas")
    assert there.tolist() == [[-35, 7]]
    with_channel = ds.omezarr.transform_points([[2.0, 10.0, 20.0]], "physical", "atlas")
    assert with_channel.tolist() == [[2, -35, 7]]

    # All channels onto a grid without, and one without onto the grid of all.
    steps = {"y": 8 * 0.325, "x": -16 * 0.325}
    moved = ds.omezarr.assign_coordinate_system("common", Translation((0, *steps.values())))
    plane = ds.image.sel(c="green", drop=True)
    plane = plane.omezarr.assign_coordinate_system("common", np.eye(3))
    result = moved.image.omezarr.resample(plane, system="common")
    np.testing.assert_array_equal(result[:, 8:, :-16], ds.image[:, :-8, 16:])
    back = plane.omezarr.resample(moved, system="common")
    np.testing.assert_array_equal(back[:-8, 16:], plane[8:, :-16])


def test_channels_that_are_mixed_with_space_cannot_be_left_out() -> None:
    mixing = np.eye(4)
    mixing[1, 0] = 1
    ds = samples.astronaut().omezarr.assign_coordinate_system("shifted", mixing)
    with pytest.raises(OmeZarrError, match="mixes channels with other axes"):
        ds.omezarr.transform_points([[10.0, 20.0]], "physical", "shifted")
