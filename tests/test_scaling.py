"""Image files, Zarr arrays and levels that become images with pyramids."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pytest
import tifffile
import xarray as xr
import zarr
from click.testing import CliRunner
from skimage import io

from tests.tiffing import pixels, put
from xarray_omezarr import OmeZarrError, cli, open_image, plan, samples, scale, strips, validate
from xarray_omezarr.scaling import factors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

ABOUT = {
    "axes": "ZYX",
    "PhysicalSizeX": 0.25,
    "PhysicalSizeY": 0.25,
    "PhysicalSizeZ": 1.0,
    "Channel": {"Name": ["GFP"]},
}


#: Without a channel, for which pixels are looked at before they are written.
UNNAMED = {"axes": "ZYX"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a directory that nothing unfinished is left in."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.rglob(".omezarr*"))


def levels_of(path: Path | str) -> list[xr.DataArray]:
    with xr.open_datatree(path, engine="omezarr", labels=False) as tree:
        return [node.to_dataset().image.load() for node in tree.children.values()]


def stack(**options: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401 - tifffile's
    data = pixels((6, 300, 411))
    options = {"tile": (64, 48), "compression": "zlib", "metadata": ABOUT, **options}
    tifffile.imwrite("stack.ome.tif", data, **options)
    return data


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_numbers_of_64_bits(dtype: str) -> None:
    data = pixels((20, 30), dtype)
    tifffile.imwrite("a.tif", data)
    scale("a.tif", "a.zarr")
    np.testing.assert_array_equal(levels_of("a.zarr")[0], data)


# ── image files ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": None},
        {"tile": None, "rowsperstrip": 7},
        {"tile": None, "rowsperstrip": 300},
        {"tile": None, "compression": None},
        {"tile": None, "compression": None, "byteorder": ">", "bigtiff": True},
    ],
)
def test_pyramid_of_a_tiff_is_that_of_its_pixels(here: Path, options: dict[str, Any]) -> None:
    data = stack(**options)
    planned = scale("stack.ome.tif", "a.ome.zarr")
    assert validate("a.ome.zarr", deep=True)
    found = levels_of("a.ome.zarr")
    expected = xr.DataArray(data, dims=("z", "y", "x"), name="image").omezarr.assign_scale(
        z=1.0, y=0.25, x=0.25, units="micrometer"
    )
    expected.omezarr.to_zarr(
        here / "b.ome.zarr", chunks=dict(zip("zyx", planned.levels[0].chunks, strict=True))
    )
    assert [level.shape for level in found] == [level.shape for level in planned.levels]
    for one, other in zip(found, levels_of("b.ome.zarr"), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.omezarr.scale == other.omezarr.scale
        assert one.omezarr.units == dict.fromkeys("zyx", "micrometer")
    assert found[0].c.item() == "GFP"


@pytest.mark.parametrize("tile", [(64, 48), (256, 256), None])
def test_each_tile_is_decoded_once(
    monkeypatch: pytest.MonkeyPatch, tile: tuple[int, int] | None
) -> None:
    stack(tile=tile, rowsperstrip=None if tile else 9, metadata=UNNAMED)
    starts: list[int] = []
    original = strips._content

    def counted(file: Any, start: int, size: int) -> bytearray:  # noqa: ANN401
        starts.append(start)
        return original(file, start, size)

    monkeypatch.setattr(strips, "_content", counted)
    scale("stack.ome.tif", "a.ome.zarr")
    assert len(starts) == len(set(starts)) > 5


def test_sizes_and_units_that_are_said(here: Path) -> None:
    put(here / "a.tif", pixels((5, 40, 50)), metadata=None)
    scale("a.tif", "a.ome.zarr", "tyx", pixel_size=0.5, unit={"y": "um", "x": "nm", "t": "s"})
    with xr.open_dataset("a.ome.zarr", engine="omezarr") as ds:
        assert ds.omezarr.scale == {"t": 1.0, "y": 0.5, "x": 0.5}
        assert ds.omezarr.units == {"t": "second", "y": "micrometer", "x": "nanometer"}
    scale("a.tif", "b.ome.zarr", "zyx", pixel_size={"z": 2, "x": 0.1}, version="0.4")
    with xr.open_dataset("b.ome.zarr", engine="omezarr") as ds:
        assert ds.omezarr.scale == {"z": 2.0, "y": 1.0, "x": 0.1}
        assert ds.image.encoding["omezarr"]["version"] == "0.4"


def test_channels_without_windows_get_such_as_show_something(here: Path) -> None:
    data = np.tile(np.linspace(300, 2500, 50).astype("u2"), (2, 40, 1))
    put(here / "a.ome.tif", data, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}})
    scale("a.ome.tif", "a.ome.zarr")
    (image,) = levels_of("a.ome.zarr")
    assert image.c_window_start.values.tolist() == [300, 300]
    assert image.c_window_end.values.tolist() == [2500, 2500]
    assert len(set(image.c_color.values.tolist())) == 2
    rgb = [one.omezarr.to_rgb().values for one in (image, open_image("a.ome.tif").image)]
    np.testing.assert_array_equal(*rgb)


def test_alpha_is_not_shown(here: Path) -> None:
    data = np.dstack([pixels((40, 50, 3), "u1"), np.full((40, 50), 255, "u1")])
    io.imsave(here / "a.png", data, check_contrast=False)
    scale("a.png", "a.ome.zarr")
    with xr.open_dataset("a.ome.zarr", engine="omezarr") as ds:
        assert ds.c_active.values.tolist() == [True, True, True, False]
        np.testing.assert_array_equal(ds.omezarr.to_rgb().values, data[..., :3])


def test_pictures(here: Path) -> None:
    data = pixels((40, 50, 3), "u1")
    io.imsave(here / "a.png", data, check_contrast=False)
    scale("a.png", "a.ome.zarr", levels=2)
    first, second = levels_of("a.ome.zarr")
    np.testing.assert_array_equal(first, np.moveaxis(data, -1, 0))
    assert second.shape == (3, 20, 25)
    assert first.c.values.tolist() == ["Red", "Green", "Blue"]


def test_the_source_stays_as_it_was() -> None:
    stack()
    with open("stack.ome.tif", "rb") as file:  # noqa: PTH123
        before = file.read()
    scale("stack.ome.tif", "a.ome.zarr", workers=2)
    with open("stack.ome.tif", "rb") as file:  # noqa: PTH123
        assert file.read() == before


def test_workers_are_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    stack(metadata=UNNAMED)
    seen = set()
    original = strips.TiffPixels.box

    def watched(self: strips.TiffPixels, box: Any) -> Any:  # noqa: ANN401
        seen.add(dask.config.get("num_workers"))
        return original(self, box)

    monkeypatch.setattr(strips.TiffPixels, "box", watched)
    scale("stack.ome.tif", "a.ome.zarr", workers=3)
    assert seen == {3}
    for wrong in (0, True, "2"):
        with pytest.raises(OmeZarrError, match="how many threads"):
            scale("stack.ome.tif", "b.ome.zarr", workers=wrong)  # type: ignore[arg-type]


def test_what_was_interrupted_is_continued(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = stack()
    monkeypatch.setattr(plan, "TILE_BYTES", 2**16)
    monkeypatch.setattr(plan, "BLOCK_BYTES", 2**18)
    original = strips.TiffPixels.box
    read: list[Any] = []

    def broken(self: strips.TiffPixels, box: Any) -> Any:  # noqa: ANN401
        read.append(box)
        if box[1][0] >= 192:
            msg = "the disk has gone"
            raise OSError(msg)
        return original(self, box)

    def watched(self: strips.TiffPixels, box: Any) -> Any:  # noqa: ANN401
        read.append(box)
        return original(self, box)

    how: dict[str, Any] = {"chunks": {"z": 2, "y": 64, "x": 48}, "levels": 2}
    with monkeypatch.context() as patch:
        patch.setattr(strips.TiffPixels, "box", broken)
        with pytest.raises(OmeZarrError, match=r"the disk has gone.*resume=True"):
            scale("stack.ome.tif", "a.ome.zarr", **how)
    before = len(read)
    read.clear()
    with monkeypatch.context() as patch:
        patch.setattr(strips.TiffPixels, "box", watched)
        scale("stack.ome.tif", "a.ome.zarr", **how, resume=True)
    assert 0 < len(read) < before
    np.testing.assert_array_equal(levels_of("a.ome.zarr")[0], data)
    assert validate(here / "a.ome.zarr", deep=True)


def test_another_file_is_not_continued_with(monkeypatch: pytest.MonkeyPatch) -> None:
    stack(metadata=UNNAMED)
    with monkeypatch.context() as patch:
        patch.setattr(strips.TiffPixels, "box", lambda *_: 1 / 0)
        with pytest.raises(OmeZarrError, match="ZeroDivisionError"):
            scale("stack.ome.tif", "a.ome.zarr")
    stack(compression=None, metadata=UNNAMED)
    with pytest.raises(OmeZarrError, match="source"):
        scale("stack.ome.tif", "a.ome.zarr", resume=True)
    shutil.rmtree("a.ome.zarr")


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("yx", {}),
        ("tyx", {}),
        ("zyxc", {}),
        ("zyx", {"factor": {"t": 2}}),
        ("zyx", {"factor": 1.5}),
        ("zyx", {"factor": 2, "levels": 40}),
        ("zyx", {"levels": 0}),
        ("zyx", {"method": "magic"}),
        ("zyx", {"pixel_size": -1.0}),
        ("zyx", {"pixel_size": {"t": 1.0}}),
        ("zyx", {"unit": 3}),
        ("zyx", {"version": "0.3"}),
        ("zyx", {"chunks": {"y": 64}, "shards": {"y": 65}}),
        ("zyx", {"series": 1}),
        ("zyx", {"copy_metadata": True}),
        ("zyx", {"storage_options": {"anon": True}}),
    ],
)
def test_what_does_not_fit_leaves_nothing_behind(
    here: Path, axes: str, options: dict[str, Any]
) -> None:
    stack()
    with pytest.raises(OmeZarrError):
        scale("stack.ome.tif", "a.ome.zarr", axes, **options)
    assert [path.name for path in here.iterdir()] == ["stack.ome.tif"]


def test_what_is_there_stays(here: Path) -> None:
    stack()
    (here / "a.ome.zarr").mkdir()
    (here / "a.ome.zarr" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError):
        scale("stack.ome.tif", "a.ome.zarr")
    assert (here / "a.ome.zarr" / "thesis.txt").read_text() == "years of work"


# ── Zarr arrays and levels ───────────────────────────────────────────────────────────────────────


def array(path: str, data: Any, zarr_format: Any = 2, **options: Any) -> zarr.Array[Any]:  # noqa: ANN401
    made = zarr.create_array(
        path, shape=data.shape, dtype=data.dtype, chunks=(2, 64, 64), zarr_format=zarr_format,
        **options,
    )  # fmt: skip
    made[...] = data
    return made


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("where", ["a.zarr", "a.zarr/deep/pixels"])
def test_zarr_array(here: Path, zarr_format: int, where: str) -> None:
    data = pixels((5, 100, 130))
    array(where, data, zarr_format, attributes={"who": "me", "multiscales": [], "n": [1]})
    scale(where, "b.ome.zarr", "zyx", factor=3, levels=3)
    found = levels_of("b.ome.zarr")
    np.testing.assert_array_equal(found[0], data)
    assert [level.shape for level in found] == [(5, 100, 130), (5, 34, 44), (5, 12, 15)]
    assert found[0].encoding["chunks"] == (2, 64, 64)
    assert "who" not in (here / "b.ome.zarr" / "zarr.json").read_text()
    with pytest.warns(UserWarning, match="OME-Zarr's own"):
        scale(where, "c.ome.zarr", "zyx", copy_metadata=True)
    attributes = json.loads((here / "c.ome.zarr" / "zarr.json").read_text())["attributes"]
    assert (attributes["who"], attributes["n"]) == ("me", [1])
    assert "multiscales" not in attributes
    np.testing.assert_array_equal(levels_of("c.ome.zarr")[0], data)
    np.testing.assert_array_equal(zarr.open_array(where, mode="r")[...], data)


def test_axes_of_zarr_arrays() -> None:
    data = pixels((5, 100, 130))
    array("a.zarr", data)
    array("named.zarr", data, 3, dimension_names=("t", "y", "x"))
    array("others.zarr", data, 3, dimension_names=("time", "lat", "lon"))
    for axes in (None, "yx", "tzyx"):
        with pytest.raises(OmeZarrError, match="axes"):
            scale("a.zarr", "b.ome.zarr", axes)
    with pytest.raises(OmeZarrError, match=r"has the axes 'tyx' \(dimension_names\)"):
        scale("named.zarr", "b.ome.zarr", "zyx")
    with pytest.raises(OmeZarrError, match="does not say what its axes are"):
        scale("others.zarr", "b.ome.zarr")
    scale("named.zarr", "b.ome.zarr")
    assert levels_of("b.ome.zarr")[0].dims == ("t", "y", "x")


def test_axes_in_another_order_are_stored_in_that_of_the_specification() -> None:
    data = pixels((5, 100, 130))
    array("a.zarr", data)
    scale("a.zarr", "b.ome.zarr", "yxc")
    found = levels_of("b.ome.zarr")[0]
    assert found.dims == ("c", "y", "x")
    np.testing.assert_array_equal(found.transpose("y", "x", "c"), data)


def test_level_of_an_image() -> None:
    samples.coins().omezarr.to_zarr("a.ome.zarr", levels=3)
    scale("a.ome.zarr/1", "b.ome.zarr", factor=2, levels=2)
    with xr.open_dataset("b.ome.zarr", engine="omezarr") as ds:
        with xr.open_dataset("a.ome.zarr", engine="omezarr", level=1) as level:
            xr.testing.assert_equal(ds, level)
        assert ds.omezarr.scale == level.omezarr.scale
    scale("a.ome.zarr", "c.ome.zarr", "yx", version="0.4", method="nearest")
    with xr.open_dataset("c.ome.zarr", engine="omezarr") as ds:
        assert "coins" in ds
        np.testing.assert_array_equal(ds.image, samples.coins().image)
    with pytest.raises(OmeZarrError, match=r"has the axes 'yx', and not 'zyx'"):
        scale("a.ome.zarr", "d.ome.zarr", "zyx")


def test_what_is_no_image(here: Path, template: Path) -> None:
    zarr.create_group("group.zarr")
    (here / "empty").mkdir()
    for source in ("group.zarr", "empty", "nothing.zarr", str(template)):
        with pytest.raises(OmeZarrError):
            scale(source, "b.ome.zarr")
    with pytest.raises(OmeZarrError, match="Download it first"):
        scale("https://host/cells.ome.tif?id=1", "b.ome.zarr")
    assert not (here / "b.ome.zarr").exists()


@pytest.mark.parametrize("target", ["a.zarr", "a.zarr/b.ome.zarr", ".", "./x/../a.zarr"])
def test_nothing_is_written_into_the_source(target: str) -> None:
    data = pixels((5, 100, 130))
    array("a.zarr", data)
    with pytest.raises(OmeZarrError, match="lie within each other"):
        scale("a.zarr", target, "zyx")
    np.testing.assert_array_equal(zarr.open_array("a.zarr", mode="r")[...], data)


def test_factors() -> None:
    image = xr.DataArray(np.zeros((3, 9, 800, 1000), "u1"), dims=("c", "z", "y", "x"))
    assert factors(image, 2, None) == [{"y": 2, "x": 2}, {"y": 4, "x": 4}]
    assert factors(image, {"z": 3, "y": 4}, None) == [{"z": 3, "y": 4}]
    assert factors(image, {"z": 4, "x": 2}, 4) == [
        {"z": 4, "x": 2},
        {"z": 4, "x": 4},
        {"z": 4, "x": 8},
    ]
    assert factors(image, {"x": 1}, None) == factors(image, 5, 1) == []
    with pytest.raises(OmeZarrError, match="has room for 10"):
        factors(image, {"y": 2}, 12)


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, ["scale", *arguments], prog_name="omezarr")
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def test_command(here: Path) -> None:
    put(here / "a.tif", pixels((5, 400, 500)), metadata=None)
    told = run(
        "a.tif", "a.ome.zarr", "zyx", "--factor", "z=1,y=2,x=2", "--pixel-size", "z=1,y=0.2,x=0.2",
        "--unit", "um", "--chunks", "y=128,x=128", "--workers", "2", "--method", "local_mean",
    ).stdout  # fmt: skip
    assert told == "Wrote z 5 × y 400 × x 500 (uint16) on 2 levels: a.ome.zarr\n"
    first, second = levels_of("a.ome.zarr")
    assert second.shape == (5, 200, 250)
    assert first.omezarr.scale == {"z": 1.0, "y": 0.2, "x": 0.2}
    assert "exists" in run("a.tif", "a.ome.zarr", "zyx", code=1).stderr
    put(here / "b.tif", pixels((40, 50)), resolution=(300, 300), resolutionunit="INCH")
    assert "pixel size is by --pixel-size\n" in run("b.tif", "b.ome.zarr").stderr
    assert "AXES" in run("a.tif", "b.ome.zarr", code=1).stderr
    assert "expected some of t, c, z, y and x" in run("a.tif", "b.zarr", "abc", code=2).stderr
    assert "is not an axis and its value" in run("a.tif", "b", "--pixel-size", "z=", code=2).stderr
    assert "neither a number nor like" in run("a.tif", "b", "--pixel-size", "z", code=2).stderr


def test_options_of_ome_zarr(here: Path) -> None:
    data = pixels((4, 96, 80))
    array("a.zarr", data, attributes={"who": "me"})
    run("a.zarr", "ours", "zyx", "--downscale", "2", "--max_layer", "3", "--copy-metadata")
    assert [level.shape for level in levels_of("ours")] == [
        (4, 96, 80),
        (4, 48, 40),
        (4, 24, 20),
        (4, 12, 10),
    ]
    assert "new OUTPUT" in run("a.zarr", "b", "zyx", "--in-place", code=2).stderr
    assert run("a.zarr", "b", "--downscale", "2", "--factor", "2", code=2).stderr
    assert run("a.zarr", "b", "--max_layer", "2", "--levels", "2", code=2).stderr
    ome_zarr = pytest.importorskip("ome_zarr")
    del ome_zarr
    theirs = [sys.executable, "-m", "ome_zarr.cli", "scale", "a.zarr", "theirs", "zyx"]
    code = "from ome_zarr.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *theirs[3:], "--downscale", "2", "--max_layer", "3",
         "--copy-metadata"],
        check=False, capture_output=True, env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"this release of ome_zarr cannot: {done.stderr.decode()[-200:]}")
    group: Any = zarr.open_group("theirs", mode="r")
    datasets = dict(group.attrs)["ome"]["multiscales"][0]["datasets"]
    shapes = [group[entry["path"]].shape for entry in datasets]
    assert shapes == [level.shape for level in levels_of("ours")]
    ours = json.loads((here / "ours" / "zarr.json").read_text())["attributes"]
    assert ours["who"] == dict(group.attrs)["who"] == "me"
    np.testing.assert_array_equal(group[datasets[0]["path"]], data)


@pytest.mark.usefixtures("_forked")
def test_a_tiff_survives_processes(here: Path) -> None:
    data = stack()
    ds = open_image("stack.ome.tif")
    with dask.config.set(scheduler="processes", num_workers=2):
        ds.omezarr.to_zarr(here / "a.ome.zarr")
    np.testing.assert_array_equal(levels_of("a.ome.zarr")[0], data)
