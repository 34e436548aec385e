"""Plates: what is written here others open, and what they write opens here.

Each field has pixels and a place of its own, so that none can pass for another. Versions are those
that the other package knows; where one departs from the specification, the test says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
import zarr

import xarray_omezarr
from tests.helpers import VERSIONS, pixels, put_array

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers import Pixels

OPENS = "opens plates that this package writes"
WRITES = "writes plates that this package opens"

#: Row and column, with a gap in both; the acquisition of each field. C/3 is not there.
WELLS: dict[tuple[str, str], dict[str, int]] = {
    ("A", "1"): {"0": 0, "1": 1},
    ("A", "3"): {"0": 0, "1": 1},
    ("C", "1"): {"0": 0},
}
ROWS, COLUMNS = ["A", "C"], ["1", "3"]
ACQUISITIONS = ["first", "second"]
SHAPE = (2, 33, 42)
SCALE = {"y": 0.5, "x": 0.25}
FIELDS = [(*well, field) for well, fields in WELLS.items() for field in fields]


def path_of(row: str, column: str, field: str) -> str:
    return f"{row}/{column}/{field}"


PIXELS: dict[str, Pixels] = {
    path_of(*field): pixels(SHAPE, seed=seed) for seed, field in enumerate(FIELDS)
}
#: Sums of few powers of two: their arithmetic is exact.
ORIGINS = {
    path_of(*field): {"y": 100.0 * (number + 1), "x": -50.5 * number}
    for number, field in enumerate(FIELDS)
}


def screen() -> xr.DataTree:
    """Make the plate: each field where it lies on the slide."""
    nodes: dict[str, xr.Dataset] = {}
    for row, column, field in FIELDS:
        path = path_of(row, column, field)
        coords: dict[str, Any] = {
            dim: (dim, ORIGINS[path][dim] + SCALE[dim] * np.arange(size), {"units": "micrometer"})
            for dim, size in zip("yx", SHAPE[1:], strict=True)
        }
        coords |= {"c": ["DAPI", "GFP"], "acquisition": WELLS[row, column][field]}
        nodes[path] = xr.Dataset({"image": (("c", "y", "x"), PIXELS[path])}, coords)
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs["name"] = "screen"
    return tree


@pytest.fixture(scope="module", params=VERSIONS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the plate once for all, and return where."""
    target = tmp_path_factory.mktemp("plate") / "screen.ome.zarr"
    screen().omezarr.to_zarr(target, version=request.param, levels=2)
    return target


def version_of(plate: Path) -> str:
    return "0.4" if (plate / ".zattrs").exists() else "0.5"


def stitched() -> Pixels:
    """Lay the first fields of all wells side by side; zeros where there is none."""
    sheet = np.zeros((SHAPE[0], 2 * SHAPE[1], 2 * SHAPE[2]), "uint16")
    for row, column in WELLS:
        down, right = ROWS.index(row) * SHAPE[1], COLUMNS.index(column) * SHAPE[2]
        sheet[:, down : down + SHAPE[1], right : right + SHAPE[2]] = PIXELS[f"{row}/{column}/0"]
    return sheet


# ── written here ─────────────────────────────────────────────────────────────────────────────────


def test_ome_zarr_py_opens_it(written: Path) -> None:
    pytest.importorskip("ome_zarr", reason=f"ome-zarr-py {OPENS}")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    (plate,) = Reader(parse_url(str(written)))()
    np.testing.assert_array_equal(np.asarray(plate.data[0]), stitched())
    assert len(plate.data) == 2
    # Wells are squares of fields: here two side by side.
    (well,) = Reader(parse_url(str(written / "A/3")))()
    beside = np.concatenate([PIXELS["A/3/0"], PIXELS["A/3/1"]], axis=-1)
    np.testing.assert_array_equal(np.asarray(well.data[0]), beside)
    found = plate.metadata["metadata"]["plate"]
    assert found["name"] == "screen"
    assert [one["id"] for one in found["acquisitions"]] == [0, 1]


def test_ngff_zarr_opens_it(written: Path) -> None:
    ngff_zarr = pytest.importorskip("ngff_zarr", reason=f"ngff-zarr {OPENS}")
    plate = ngff_zarr.from_hcs_zarr(str(written), validate=True)
    assert plate.name == "screen"
    assert [row.name for row in plate.rows] == ROWS
    assert [column.name for column in plate.columns] == COLUMNS
    assert [one.id for one in plate.acquisitions] == [0, 1]
    assert plate.field_count == 2
    assert plate.get_well("C", "3") is None
    for (row, column), fields in WELLS.items():
        well = plate.get_well(row, column)
        assert {one.path: one.acquisition for one in well.images} == fields
        for number, field in enumerate(fields):
            path = path_of(row, column, field)
            image = well.get_image(number).images[0]
            np.testing.assert_array_equal(np.asarray(image.data), PIXELS[path])
            assert {dim: image.scale[dim] for dim in "yx"} == SCALE
            assert {dim: image.translation[dim] for dim in "yx"} == ORIGINS[path]


# The schema of 0.5 knows no version of the plate, which ome-zarr-models asks for.
@pytest.mark.filterwarnings("ignore:.*'version' field not specified:UserWarning")
def test_ngio_opens_it(written: Path) -> None:
    hcs = pytest.importorskip("ngio.hcs", reason=f"ngio {OPENS}")
    plate = hcs.open_ome_zarr_plate(str(written), mode="r")
    assert plate.rows == ROWS
    assert plate.columns == COLUMNS
    assert plate.acquisition_ids == [0, 1]
    assert sorted(plate.images_paths(max_workers=1)) == sorted(PIXELS)
    for row, column, field in FIELDS:
        path = path_of(row, column, field)
        assert plate.get_well(row, column).get_image_acquisition_id(field) == int(field)
        image = plate.get_image(row, column, field).get_image(path="0")
        np.testing.assert_array_equal(image.get_as_numpy(axes_order=["c", "y", "x"]), PIXELS[path])
        assert (image.pixel_size.y, image.pixel_size.x) == (SCALE["y"], SCALE["x"])
        assert image.dataset.translation[-2:] == tuple(ORIGINS[path].values())


def test_yaozarrs_finds_nothing_wrong(written: Path) -> None:
    yaozarrs = pytest.importorskip("yaozarrs", reason=f"yaozarrs {OPENS}")
    group = yaozarrs.open_group(str(written))
    plate = group.ome_metadata()
    if version_of(written) == "0.5":  # of 0.4 it knows the attributes, not the store
        yaozarrs.validate_zarr_store(str(written))
    assert [well.path for well in plate.plate.wells] == [f"{row}/{column}" for row, column in WELLS]
    for row, column, field in FIELDS:
        path = path_of(row, column, field)
        image = group[path]
        level = image.ome_metadata().multiscales[0].datasets[0]
        scale, translation = level.coordinateTransformations
        assert scale.scale[-2:] == list(SCALE.values())
        assert translation.translation[-2:] == list(ORIGINS[path].values())
        found = np.asarray(image[level.path].to_zarr_python())
        np.testing.assert_array_equal(found, PIXELS[path])


# ── written elsewhere ────────────────────────────────────────────────────────────────────────────


def by_ome_zarr(target: Path, version: str) -> None:
    pytest.importorskip("ome_zarr", reason=f"ome-zarr-py {WRITES}")
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import (
        write_multiscales_metadata,
        write_plate_metadata,
        write_well_metadata,
    )

    fmt = format_from_version(version)
    root = zarr.open_group(str(target), mode="w", zarr_format=2 if version == "0.4" else 3)
    write_plate_metadata(
        root,
        ROWS,
        COLUMNS,
        [f"{row}/{column}" for row, column in WELLS],
        fmt=fmt,
        acquisitions=[{"id": i, "name": name} for i, name in enumerate(ACQUISITIONS)],
        field_count=2,
        name="screen",
    )
    for (row, column), fields in WELLS.items():
        well = root.require_group(row).require_group(column)
        images: list[Any] = [{"path": path, "acquisition": n} for path, n in fields.items()]
        write_well_metadata(well, images, fmt=fmt)
        for field in fields:
            path = path_of(row, column, field)
            steps = [
                {"type": "scale", "scale": [1.0, *SCALE.values()]},
                {"type": "translation", "translation": [0.0, *ORIGINS[path].values()]},
            ]
            put_array(str(target), f"{path}/0", PIXELS[path], version=version, dims="cyx")
            write_multiscales_metadata(
                well.require_group(field),
                [{"path": "0", "coordinateTransformations": steps}],
                fmt=fmt,
                axes=[
                    {"name": "c", "type": "channel"},
                    *({"name": dim, "type": "space", "unit": "micrometer"} for dim in "yx"),
                ],
            )


def by_ngff_zarr(target: Path, version: str) -> None:
    nz = pytest.importorskip("ngff_zarr", reason=f"ngff-zarr {WRITES}")
    from ngff_zarr.hcs import HCSPlateWriter

    plate = nz.Plate(
        columns=[nz.PlateColumn(name=name) for name in COLUMNS],
        rows=[nz.PlateRow(name=name) for name in ROWS],
        wells=[
            nz.PlateWell(
                path=f"{row}/{column}",
                rowIndex=ROWS.index(row),
                columnIndex=COLUMNS.index(column),
            )
            for row, column in WELLS
        ],
        version=version,
        name="screen",
        field_count=2,
        acquisitions=[nz.PlateAcquisition(id=i, name=name) for i, name in enumerate(ACQUISITIONS)],
    )
    with HCSPlateWriter(str(target), plate) as writer:
        for row, column, field in FIELDS:
            path = path_of(row, column, field)
            image = nz.to_ngff_image(
                PIXELS[path],
                dims=["c", "y", "x"],
                scale=SCALE,
                translation=ORIGINS[path],
                axes_units=dict.fromkeys("yx", "micrometer"),
            )
            levels = nz.to_multiscales(image, scale_factors=[])
            number = WELLS[row, column][field]
            writer.write_well_image(levels, row, column, int(field), acquisition_id=number)


def by_ngio(target: Path, version: str) -> None:
    hcs = pytest.importorskip("ngio.hcs", reason=f"ngio {WRITES}")
    from ngio import create_ome_zarr_from_array
    from ngio.ome_zarr_meta import ImageInWellPath

    images = [
        ImageInWellPath(
            row=row,
            column=column,
            path=field,
            acquisition_id=WELLS[row, column][field],
            acquisition_name=ACQUISITIONS[WELLS[row, column][field]],
        )
        for row, column, field in FIELDS
    ]
    plate = hcs.create_empty_plate(str(target), "screen", images, ngff_version=version)
    for row, column, field in FIELDS:
        path = path_of(row, column, field)
        create_ome_zarr_from_array(
            plate.get_image_store(row, column, field),
            PIXELS[path],
            pixelsize=(SCALE["y"], SCALE["x"]),
            levels=2,
            translation=[0.0, *ORIGINS[path].values()],
            axes_names=["c", "y", "x"],
            channels_meta=["DAPI", "GFP"],
            ngff_version=version,
            overwrite=True,
        )


def by_yaozarrs(target: Path, version: str) -> None:
    v05 = pytest.importorskip("yaozarrs.v05", reason=f"yaozarrs {WRITES}")
    if version != "0.5":
        pytest.skip("yaozarrs writes 0.5 only")
    from yaozarrs.write.v05 import write_plate

    def image(path: str) -> Any:  # noqa: ANN401 - yaozarrs' own
        steps = [
            v05.ScaleTransformation(scale=[1.0, *SCALE.values()]),
            v05.TranslationTransformation(translation=[0.0, *ORIGINS[path].values()]),
        ]
        axes = [v05.ChannelAxis(name="c")]
        axes += [v05.SpaceAxis(name=dim, unit="micrometer") for dim in "yx"]
        dataset = v05.Dataset(path="full", coordinateTransformations=steps)
        return v05.Image(multiscales=[v05.Multiscale(axes=axes, datasets=[dataset])])

    write_plate(
        target,
        {field: (image(path_of(*field)), [PIXELS[path_of(*field)]]) for field in FIELDS},
        # It says of no field which acquisition it is of.
        plate={"name": "screen"},
    )


WRITERS: list[Callable[[Path, str], None]] = [by_ome_zarr, by_ngff_zarr, by_ngio, by_yaozarrs]


# Older releases of ome-zarr-py say so of themselves when they are imported.
@pytest.mark.filterwarnings("ignore:.*deprecated class Scaler:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*'version' field not specified:UserWarning")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("writer", WRITERS)
def test_theirs_opens(writer: Callable[[Path, str], None], version: str, tmp_path: Path) -> None:
    target = tmp_path / "screen.ome.zarr"
    writer(target, version)
    acquired = writer is not by_yaozarrs
    # ngio fills the numbers of columns up to two digits.
    names = {name: f"0{name}" if writer is by_ngio else name for name in COLUMNS}
    table = xarray_omezarr.wells(target)
    assert table.well.tolist() == [f"{row}/{names[column]}" for row, column in WELLS]
    assert table.attrs["name"] == "screen"
    assert table.attrs["version"] == version
    # yaozarrs fills the gaps between rows and between columns.
    assert set(ROWS) <= set(table.attrs["rows"]) <= set("ABC")
    assert set(names.values()) <= set(table.attrs["columns"]) <= {*names.values(), "2"}
    assert table.attrs["acquisitions"] == (dict(enumerate(ACQUISITIONS)) if acquired else {})
    assert table.field_paths.tolist() == [tuple(fields) for fields in WELLS.values()]
    tree = xr.open_datatree(target, engine="omezarr")
    for row, column, field in FIELDS:
        path, there = path_of(row, column, field), path_of(row, names[column], field)
        ds = tree[f"{there}/0"].to_dataset()
        np.testing.assert_array_equal(ds.image.transpose("c", "y", "x"), PIXELS[path])
        told = [ds[key].item() for key in ("row", "column", "field", "well")]
        assert told == [row, names[column], field, there.removesuffix(f"/{field}")]
        assert ("acquisition" in ds.coords) is acquired
        assert not acquired or ds.acquisition == WELLS[row, column][field]
        assert {dim: ds.omezarr.scale[dim] for dim in "yx"} == SCALE
        assert {dim: ds.omezarr.translation[dim] for dim in "yx"} == ORIGINS[path]
        assert ds.y.attrs["units"] == "micrometer"
    stack = xr.open_dataset(target, engine="omezarr", stack="well", fields=0)
    assert stack.y_origin.values.tolist() == [ORIGINS[f"{r}/{c}/0"]["y"] for r, c in WELLS]
    last = stack.image.isel(well=-1).squeeze().transpose("c", "y", "x")
    np.testing.assert_array_equal(last, PIXELS["C/1/0"])
