"""The command beside `ome_zarr`: what both do, on the same input; and its accidents.

What they write and print is compared; where they do not agree, the guide says so.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from tests.test_cli import NAMES, failed, ran
from xarray_omezarr import samples


def _theirs() -> bool:
    try:
        return importlib.metadata.version("ome-zarr").split(".") >= ["0", "21"]
    except importlib.metadata.PackageNotFoundError:
        return False


theirs = pytest.mark.skipif(not _theirs(), reason="ome-zarr 0.21 or newer is not installed")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ome_zarr(*arguments: str) -> None:
    """Run their command, whatever it warns of."""
    from ome_zarr.cli import main

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main(list(arguments))


def shapes_of(path: str) -> list[list[int]]:
    facts = json.loads(ran("info", "--json", path))
    return [level["shape"] for level in facts["levels"]]


# ── both on the same input ───────────────────────────────────────────────────────────────────────


@theirs
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("method", ["coins", "astronaut"])
def test_create_writes_the_pixels_that_they_write(method: str, version: str) -> None:
    for command, path in ((ran, "ours.zarr"), (ome_zarr, "theirs.zarr")):
        command("create", "--method", method, "--format", version, path)
    ours, other = (
        xr.open_dataset(path, engine="omezarr", labels=False).image.load()
        for path in ("ours.zarr", "theirs.zarr")
    )
    assert ours.dims == other.dims
    assert ours.encoding["omezarr"]["version"] == other.encoding["omezarr"]["version"] == version
    # Theirs are cut out of the picture of the coins, and four pictures of the astronaut.
    expected = ours[50:-50, 50:-50] if method == "coins" else np.tile(ours, (1, 2, 2))
    np.testing.assert_array_equal(other, expected)


@theirs
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("writer", [ran, ome_zarr])
def test_info_names_the_shapes_and_versions_that_they_name(
    writer: Any,  # noqa: ANN401 - a function
    version: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    writer("create", "coins.zarr", "--method", "coins", "--format", version)
    capsys.readouterr()
    ome_zarr("info", str(here / "coins.zarr"))
    told = capsys.readouterr().out
    nodes = re.split(r"^(/\S+) \[zgroup\].*\n", told, flags=re.MULTILINE)[1:]
    found = {
        Path(path).relative_to(here): re.findall(r"^   - \(([\d, ]+)\)$", lines, re.MULTILINE)
        for path, lines in zip(nodes[::2], nodes[1::2], strict=True)
    }
    assert f" - version: {version}\n" in nodes[1]
    assert json.loads(ran("info", "--json", "coins.zarr"))["version"] == version
    for path in ("coins.zarr", "coins.zarr/labels/coins"):
        sizes = [[int(size) for size in shape.split(",")] for shape in found[Path(path)]]
        assert len(sizes) > 1
        assert shapes_of(path) == sizes


@theirs
def test_csv_to_labels_writes_the_properties_that_they_write(here: Path) -> None:
    ds = samples.astronaut().rename(circles="0")
    ds.omezarr.to_zarr("ours.zarr", version="0.4")
    file = here / "ours.zarr" / "labels" / "0" / ".zattrs"
    document = json.loads(file.read_text())
    rows = [{"label-value": i, "omero:shapeId": 10 * i} for i in (1, 2, 3)]
    document["image-label"]["properties"] = rows
    file.write_text(json.dumps(document))
    shutil.copytree("ours.zarr", "theirs.zarr")
    (here / "table.csv").write_text(
        "shape,area (µm)#x,kind,n,alive\n10,2.5,disc,7,True\n30,1,ring,8.0,true\n", encoding="utf-8"
    )
    arguments = ["table.csv", "shape", "area (µm)#x#d,kind#s,n#l,alive#b"]
    ome_zarr("csv_to_labels", *arguments, "theirs.zarr", "omero:shapeId")
    ran("csv_to_labels", *arguments, "ours.zarr", "omero:shapeId")
    ours, other = (
        json.loads((here / path / "labels" / "0" / ".zattrs").read_text())
        for path in ("ours.zarr", "theirs.zarr")
    )
    assert ours["image-label"]["properties"][0]["n"] == 7
    assert ours == other


@theirs
@pytest.mark.skipif("scale" not in NAMES, reason="there is no scale yet")
@pytest.mark.parametrize(("shape", "axes"), [((64, 96), "yx"), ((2, 65, 31), "cyx")])
def test_scale_makes_levels_of_the_shapes_that_they_make(
    shape: tuple[int, ...], axes: str, here: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    zarr.create_array("pixels.zarr", data=pixels, chunks=(*shape[:-2], 32, 32))
    ome_zarr(
        "scale", "pixels.zarr", "theirs.zarr", axes, "--max_layer", "2", "--method", "local_mean"
    )
    ran(
        "scale",
        str(here / "pixels.zarr"),
        "ours.zarr",
        axes,
        "--levels",
        "3",
        "--factor",
        "y=2,x=2",
    )
    for level, (ours, other) in enumerate(
        zip(shapes_of("ours.zarr"), shapes_of("theirs.zarr"), strict=True)
    ):
        # Of odd sizes, theirs drop the last pixel, and ours keep it.
        assert other == [*shape[:-2], *(size // 2**level for size in shape[-2:])]
        assert ours == [*shape[:-2], *(-(-size // 2**level) for size in shape[-2:])]


@theirs
def test_scale_keeps_the_attributes_that_they_keep_and_heeds_downscale(here: Path) -> None:
    zarr.create_array(
        "pixels.zarr", data=np.zeros((66, 90), np.uint8), attributes={"microscope": "mine"}
    )
    source = str(here / "pixels.zarr")
    options = ["yx", "--downscale", "3", "--max_layer", "1", "--copy-metadata"]
    ome_zarr("scale", source, "theirs.zarr", *options)
    ran("scale", source, "ours.zarr", *options)
    for path in ("theirs.zarr", "ours.zarr"):
        assert zarr.open_group(path, mode="r").attrs["microscope"] == "mine"
    assert shapes_of("ours.zarr") == [[66, 90], [22, 30]]
    # Theirs halves, whatever is asked.
    assert shapes_of("theirs.zarr") == [[66, 90], [33, 45]]


@theirs
def test_stats_of_the_finest_level_are_theirs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran("create", "coins.zarr")
    ome_zarr("info", "--stats", str(here / "coins.zarr"))
    told = re.findall(r"minmax=\(np\.\w+\((\d+)\), np\.\w+\((\d+)\)\)", capsys.readouterr().out)
    (values,) = json.loads(ran("info", "--stats", "--json", "coins.zarr"))["values"]
    assert [values["minimum"], values["maximum"]] == [int(value) for value in told[0]]


@theirs
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_download_copies_the_pixels_that_they_copy(version: str, here: Path) -> None:
    ran("create", "coins.zarr", "--version", version)
    for command, folder in ((ran, "ours"), (ome_zarr, "theirs")):
        # Of a relative path with labels, theirs finds no common beginning.
        command("download", str(here / "coins.zarr"), "--output", folder)
    ours, other = (
        xr.open_dataset(f"{folder}/coins.zarr", engine="omezarr").load()
        for folder in ("ours", "theirs")
    )
    xr.testing.assert_equal(ours, other)


@theirs
def test_finder_finds_what_they_find(here: Path) -> None:
    from ome_zarr.utils import finder

    for path in ("a.zarr", "b/c.zarr"):
        ran("create", f"data/{path}", "--method", "circles")
    ran("create", "data/plate.zarr", "--method", "plate")
    ours = json.loads(ran("finder", "data", "--json"))
    assert not list(here.rglob("*.csv"))
    finder(str(here / "data"), dry_run=True)
    rows = (here / "data" / "biofile_finder.csv").read_text().splitlines()[1:]
    found = [row.split(",")[0].partition("/data/")[2] for row in rows]
    # Theirs names the first field of a plate.
    assert sorted(found) == ["a.zarr", "b/c.zarr", "plate.zarr/A/1/0"]
    assert sorted(row["path"] for row in ours) == ["a.zarr", "b/c.zarr", "plate.zarr"]


# ── their accidents ──────────────────────────────────────────────────────────────────────────────


def test_info_of_what_is_no_image(here: Path) -> None:
    zarr.open_group("plain.zarr", mode="w")
    zarr.create_array("array.zarr", data=np.zeros(3))
    (here / "file.txt").write_text("no image")
    (here / "folder").mkdir()
    before = sorted(here.rglob("*"))
    for path in ("plain.zarr", "file.txt", "folder", "nothing.zarr"):
        assert re.match(rf"Error: .*{path}", failed("info", path))
    # An unreachable host, and no host at all.
    for path in ("http://127.0.0.1:9/image.zarr", "http:///image.zarr"):
        told = failed("info", path)
        assert told.startswith("Error: ")
        assert len(told.splitlines()) <= 2
    assert sorted(here.rglob("*")) == before


def test_create_and_upgrade_never_delete_what_is_there(here: Path) -> None:
    (here / "folder" / "deep").mkdir(parents=True)
    (here / "folder" / "deep" / "thesis.txt").write_text("years of work")
    samples.circle().omezarr.to_zarr("a.zarr")
    failed("create", "folder")
    failed("create", "a.zarr")
    failed("upgrade", "a.zarr", "folder", "--version", "0.4")
    assert (here / "folder" / "deep" / "thesis.txt").read_text() == "years of work"
    assert len(list((here / "folder").rglob("*"))) == 2
    assert xr.open_dataset("a.zarr", engine="omezarr").load().identical(samples.circle())


def test_csv_to_labels_plants_no_group_where_there_was_nothing(here: Path) -> None:
    (here / "table.csv").write_text("id,kind\n1,disc\n")
    (here / "folder").mkdir()
    for path in ("nothing.zarr", "folder"):
        failed("csv-to-labels", "table.csv", "id", "kind", path, "label-value")
    assert sorted(path.name for path in here.rglob("*")) == ["folder", "table.csv"]
