"""What is told of a path: of each kind of it, by how many requests, and of what is none."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from xarray_omezarr import OmeZarrError, info, samples

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import S3, Site


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path: Path, attributes: dict[str, Any]) -> None:
    """Write a group of Zarr v3."""
    path.mkdir(parents=True, exist_ok=True)
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (path / "zarr.json").write_text(json.dumps(document))


# ── images ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("where", "version"),
    [
        ("folder", "0.4"),
        ("folder", "0.5"),
        ("folder", "0.6"),
        ("archive", "0.5"),
        ("memory", "0.4"),
    ],
)
def test_an_image_is_told_alike_wherever_it_is(where: str, version: str) -> None:
    target: Any = {"folder": "a.zarr", "archive": "a.ozx", "memory": MemoryStore()}[where]
    ds = samples.fluorescence((2, 2, 3, 60, 50))
    ds.omezarr.to_zarr(target, version=version, chunks={"y": 20, "x": 25}, levels=2)
    found = info(target)
    assert (found.kind, found.version, found.name) == ("image", version, "fluorescence")
    assert found.dtype == "uint16"
    assert [axis.name for axis in found.axes] == list("tczyx")
    assert [axis.scale for axis in found.axes] == [30.0, None, 1.0, 0.325, 0.325]
    assert found.axes[4].unit == "micrometer"
    assert [level.shape for level in found.levels] == [(2, 2, 3, 60, 50), (2, 2, 3, 30, 25)]
    assert found.levels[0].chunks == (1, 1, 3, 20, 25)
    assert found.levels[0].nbytes == ds.image.nbytes
    assert found.levels[1].scale == {"t": 30.0, "z": 1.0, "y": 0.65, "x": 0.65}
    assert [channel.label for channel in found.channels] == ["DAPI", "GFP"]
    assert found.warnings == ()
    # The codecs are those that Zarr finds.
    array = zarr.open_array("a.zarr/0", mode="r") if where == "folder" else None
    if array is not None:
        (codec,) = found.levels[0].codecs
        assert codec.partition("(")[0] in str(array.compressors).lower()


def test_shards_are_told_with_the_chunks_in_them() -> None:
    samples.coins().omezarr.to_zarr(
        "a.zarr", chunks={"y": 50, "x": 60}, shards={"y": 100, "x": 120}
    )
    array = zarr.open_array("a.zarr/0", mode="r")
    level = info("a.zarr").levels[0]
    assert level.chunks == array.chunks == (50, 60)
    assert level.shards == array.shards == (100, 120)
    assert len(level.codecs) == 1


def test_codecs_and_filters_of_zarr_v2_are_named(here: Path) -> None:
    samples.coins().omezarr.to_zarr("a.zarr", version="0.4", levels=1)
    file = here / "a.zarr/0/.zarray"
    array = json.loads(file.read_text())
    array["filters"] = [{"id": "delta", "dtype": "|u1"}]
    array["compressor"] = {"id": "zlib", "level": 3}
    file.write_text(json.dumps(array))
    assert info("a.zarr").levels[0].codecs == ("delta", "zlib(3)")


def test_labels_are_told_with_their_properties() -> None:
    ds = samples.coins().omezarr.measure("coins", ["area"])
    ds.omezarr.to_zarr("a.zarr")
    found = info("a.zarr")
    (label,) = found.labels
    count = len(np.unique(ds.coins.values)) - 1
    assert (label.name, label.dtype, label.count) == ("coins", "int32", count)
    assert "area" in label.properties
    assert f"label    coins, int32, {count} labels, properties" in str(found)
    samples.coins().omezarr.to_zarr("b.zarr")
    assert "label    coins, int32, not counted: no table\n" in str(info("b.zarr")) + "\n"
    alone = info("a.zarr/labels/coins")
    assert alone.kind == "label image"
    assert alone.labels[0].count == count
    listed = info("a.zarr/labels")
    assert (listed.kind, [one.path for one in listed.images]) == ("labels", ["coins"])
    assert info("a.zarr", group="labels/coins").labels == alone.labels


def test_what_is_missing_or_broken_is_told(here: Path) -> None:
    samples.coins().omezarr.to_zarr("a.zarr")
    shutil.rmtree(here / "a.zarr/1")
    (here / "a.zarr/labels/coins/zarr.json").write_text("{")
    found = info("a.zarr")
    assert [level.shape for level in found.levels] == [(303, 384), ()]
    assert found.labels == ()
    assert any("the array of dataset '1' is missing" in one for one in found.warnings)
    assert any("'coins' is left out" in one for one in found.warnings)
    assert "1      missing" in str(found)
    json.loads(found.to_json())


def test_a_local_image_is_told_without_zarr_dask_and_skimage() -> None:
    samples.coins().omezarr.to_zarr("a.zarr")
    code = (
        "import sys; from xarray_omezarr import info; text = str(info('a.zarr'));"
        "assert 'coins' in text;"
        "print([m for m in ('zarr', 'dask', 'skimage', 'fsspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ── what holds several ───────────────────────────────────────────────────────────────────────────


def test_a_plate_is_told_as_a_table() -> None:
    samples.plate(rows=2, columns=3, fields=2).omezarr.to_zarr("p.zarr")
    shutil.rmtree("p.zarr/B/2")
    found = info("p.zarr")
    assert found.plate is not None
    assert (found.kind, found.plate.fields, len(found.plate.wells)) == ("plate", 10, 5)
    assert found.plate.listed[0].fields == ("A/1/0", "A/1/1")
    assert found.example is not None
    assert found.example.axes[-1].size == 128
    text = str(found)
    assert "plate    5 of 6 wells, 10 fields" in text
    assert "  fields  1  2  3\n  A       2  2  2\n  B       2  .  2\n" in text
    assert any("'B/2'" in one for one in found.warnings)
    wells = json.loads(found.to_json())["plate"]["wells"]
    assert wells[-1] == {"path": "B/3", "row": "B", "column": "3", "fields": ["B/3/0", "B/3/1"]}
    well = info("p.zarr/A/1")
    assert (well.kind, [one.path for one in well.images]) == ("well", ["0", "1"])
    assert well.images[0].sizes == {"c": 2, "y": 128, "x": 128}


def test_a_series_is_told_with_its_images(here: Path) -> None:
    put(here / "s.zarr", {"ome": {"version": "0.5", "bioformats2raw.layout": 3}})
    samples.coins().omezarr.to_zarr("s.zarr/0")
    samples.circle().omezarr.to_zarr("s.zarr/1")
    found = info("s.zarr")
    assert found.kind == "series"
    assert [(one.path, one.sizes["y"]) for one in found.images] == [("0", 303), ("1", 64)]
    put(here / "s.zarr/OME", {"ome": {"version": "0.5", "series": ["1"]}})
    assert [one.path for one in info("s.zarr").images] == ["1"]
    with pytest.raises(OmeZarrError, match=r"beside it: ask for s\.zarr"):
        info("s.zarr/OME")


def test_a_scene_is_told_with_its_systems(here: Path) -> None:
    same = {"type": "identity", "input": {"path": "tile", "name": "physical"}}
    scene = {
        "coordinateSystems": [{"name": "world", "axes": []}],
        "coordinateTransformations": [{**same, "output": {"name": "world"}}],
    }
    put(here / "s.zarr", {"ome": {"version": "0.6", "scene": scene}})
    samples.coins().omezarr.to_zarr("s.zarr/tile", version="0.6")
    found = info("s.zarr")
    assert (found.kind, found.systems) == ("scene", ("world",))
    assert [one.path for one in found.images] == ["tile"]


def test_a_plain_group_is_told_by_its_images(here: Path) -> None:
    put(here / "g.zarr", {})
    samples.coins().omezarr.to_zarr("g.zarr/a")
    found = info("g.zarr")
    assert (found.kind, found.version) == ("group", None)
    assert [one.path for one in found.images] == ["a"]


# ── what is none ─────────────────────────────────────────────────────────────────────────────────


def test_what_is_no_image_is_told_with_the_way_out(here: Path) -> None:
    samples.coins().omezarr.to_zarr("a.zarr")
    samples.coins().omezarr.to_zarr("old.zarr", version="0.4")
    put(here / "plain.zarr/inner", {})
    put(here / "plain.zarr", {})
    zarr.create_group(here / "empty.zarr")
    zarr.create_array(here / "array.zarr", shape=(3,), dtype="u1", zarr_format=2)
    (here / "file.txt").write_text("no image")
    samples.coins().omezarr.to_zarr("a.ozx")
    expected = {
        "nothing.zarr": "There is nothing at nothing.zarr",
        "file.txt": "is a file; expected the folder or the zip archive of an OME-Zarr image",
        "a.ozx/labels/coins": "a.ozx is an archive. Name it, and what is in it by group='labels/co",
        ".": "It holds a.ozx, a.zarr",
        "plain.zarr": "It holds inner. Name an image, a plate or a series in it by group=.",
        "empty.zarr": "without OME-Zarr metadata. There is nothing in it.",
        "array.zarr": "is a Zarr array, not a group. Open the group that it belongs to.",
        "a.zarr/0": "is a Zarr array, not a group. Open the group that it belongs to: a.zarr",
        "old.zarr/0": "is a Zarr array, not a group",
        "a.zarr/0/c": "no Zarr group",
    }
    for path, message in expected.items():
        with pytest.raises(OmeZarrError) as caught:
            info(path)
        assert message in str(caught.value)
    for group in ("../a.zarr", "..", "a/../../b"):
        with pytest.raises(OmeZarrError, match="no path below"):
            info("a.zarr", group=group)
    with pytest.raises(OmeZarrError, match="one of them"):
        info("a.zarr", stats=True, approximate=True)


def test_an_unfinished_write_is_told(here: Path) -> None:
    (here / "a.zarr").mkdir()
    (here / "a.zarr/.omezarr.json").write_text("{}")
    with pytest.raises(OmeZarrError, match="unfinished"):
        info("a.zarr")


def test_a_host_that_is_not_there_is_told() -> None:
    with pytest.raises(OmeZarrError, match="cannot be reached"):
        info("http://127.0.0.1:9/a.zarr")


# ── elsewhere ────────────────────────────────────────────────────────────────────────────────────


def test_few_requests_are_made(web: Site, here: Path) -> None:
    samples.coins().omezarr.to_zarr(here / "site/a.zarr", levels=2)
    samples.plate(rows=2, columns=3, fields=2).omezarr.to_zarr(here / "site/p.zarr", levels=1)
    assert info(f"{web.url}/a.zarr").labels[0].name == "coins"
    # Of the image and of its labels, two levels, the label image and its array.
    assert len(web.paths()) == 6
    web.clear()
    assert info(f"{web.url}/p.zarr").example is not None
    assert len(web.paths()) <= 2 + 6 + 6


def test_bytes_are_told_where_they_can_be_listed(s3: S3, web: Site, here: Path) -> None:
    samples.coins().omezarr.to_zarr(here / "site/a.zarr")
    samples.coins().omezarr.to_zarr(f"{s3.url}/a.zarr", storage_options=s3.storage_options)
    files = [path for path in (here / "site/a.zarr").rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    chunks = sum(p.stat().st_size for p in files if p.is_relative_to(here / "site/a.zarr/0"))
    for found in (
        info("site/a.zarr", stored=True),
        info(f"{s3.url}/a.zarr", stored=True, storage_options=s3.storage_options),
    ):
        assert (found.stored, found.objects, found.levels[0].stored) == (total, len(files), chunks)
        inside = here / "site/a.zarr/labels/coins"
        label = sum(p.stat().st_size for p in files if p.is_relative_to(inside))
        assert found.labels[0].stored == label
    unlisted = info(f"{web.url}/a.zarr", stored=True)
    assert unlisted.stored is None
    assert any("cannot be listed" in one for one in unlisted.warnings)


# ── values and trees ─────────────────────────────────────────────────────────────────────────────


def test_values_are_those_of_numpy() -> None:
    ds = samples.fluorescence((2, 2, 3, 60, 50))
    ds.omezarr.to_zarr("a.zarr", chunks={"y": 20, "x": 25}, levels=2)
    found = info("a.zarr", stats=True)
    assert found.values_of == "level 0"
    for number, one in enumerate(found.values):
        channel = ds.image.isel(c=number).values
        assert (one.channel, one.name) == (number, ["DAPI", "GFP"][number])
        assert (one.minimum, one.maximum) == (channel.min(), channel.max())
        assert one.mean == int(channel.sum(dtype="int64")) / channel.size
        assert one.count == channel.size
    assert "values   of level 0\n" in str(found)


def test_approximate_values_say_of_which_level(monkeypatch: pytest.MonkeyPatch) -> None:
    ds = samples.coins()
    ds.omezarr.to_zarr("a.zarr", levels=2)
    assert info("a.zarr", approximate=True).values_of == "level 0"
    monkeypatch.setattr("xarray_omezarr.surveys._APPROXIMATE", 10)
    found = info("a.zarr", approximate=True)
    assert found.values_of == "level 1, approximately"
    level = xr.open_dataset("a.zarr", engine="omezarr", level=1).image
    assert found.values[0].maximum == level.values.max()


def test_values_of_a_plate_are_those_of_each_field() -> None:
    tree = samples.plate(rows=1, columns=2, fields=2)
    tree.omezarr.to_zarr("p.zarr", levels=2)
    found = info("p.zarr", stats=True)
    assert found.values_of == "level 0"
    fields = ["A/1/0", "A/1/1", "A/2/0", "A/2/1"]
    assert [(one.image, one.name) for one in found.values] == [
        (path, name) for path in fields for name in tree[path].c.values
    ]
    for one in found.values:
        pixels = tree[str(one.image)].to_dataset().image.isel(c=one.channel).values
        assert (one.minimum, one.maximum) == (pixels.min(), pixels.max())
        assert one.mean == int(pixels.sum(dtype="int64")) / pixels.size
    assert json.loads(found.to_json())["values"][0]["image"] == "A/1/0"
    lines = [line.split() for line in str(found).splitlines()]
    at = lines.index(["values", "of", "level", "0"])
    assert lines[at + 1][:3] == ["image", "channel", "minimum"]
    assert [line[0] for line in lines[at + 2 : at + 2 + len(found.values)]] == [
        one.image for one in found.values
    ]
    one = info("p.zarr", group="A/1/0", stats=True).values[0]
    assert replace(one, image="A/1/0") == found.values[0]
    assert [one.image for one in info("p.zarr", group="A/2", stats=True).values[::2]] == ["0", "1"]


def test_of_several_images_those_that_are_broken_are_left_out(
    here: Path,
) -> None:
    zarr.create_group("s.zarr")
    for name in "abcd":
        pixels = np.full((32, 32), 7, "uint8")
        xr.Dataset({"image": (("y", "x"), pixels)}).omezarr.to_zarr(f"s.zarr/{name}", levels=1)
    zarr.create_array("s.zarr/c/0", data=np.ones((32, 32), "complex64"), overwrite=True)
    (here / "s.zarr" / "a" / "0" / "c" / "0" / "0").write_bytes(b"no chunk")
    (here / "s.zarr" / "b" / "0" / "zarr.json").unlink()
    found = info("s.zarr", stats=True)
    assert [(one.image, one.maximum) for one in found.values] == [("d", 7)]
    assert set(re.findall(r"s.zarr/(\w)", " ".join(found.warnings))) == {"a", "b", "c"}
    assert sum(one.endswith("Its values are left out.") for one in found.warnings) == 2
    with pytest.raises(OmeZarrError, match="a/0 cannot be read"):
        info("s.zarr/a", stats=True)


def test_approximate_values_of_several_images_are_each_of_a_level_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zarr.create_group("s.zarr")
    for name, size in (("a", 32), ("b", 64)):
        pixels = np.zeros((size, size), "uint8")
        xr.Dataset({"image": (("y", "x"), pixels)}).omezarr.to_zarr(f"s.zarr/{name}", levels=2)
    monkeypatch.setattr("xarray_omezarr.surveys._APPROXIMATE", 32 * 32)
    found = info("s.zarr", approximate=True)
    assert [(one.image, one.level, one.count) for one in found.values] == [
        ("a", 0, 1024), ("b", 1, 1024),
    ]  # fmt: skip
    assert "values   of levels 0, 1, approximately\n  image  level  channel" in str(found)


def test_a_tree_lists_groups_and_arrays() -> None:
    samples.coins().omezarr.to_zarr("a.zarr", levels=2)
    found = info("a.zarr", tree=True)
    assert [(node.path, node.kind) for node in found.tree] == [
        ("", "image"), ("0", "array"), ("1", "array"), ("labels", "labels"),
        ("labels/coins", "label image"), ("labels/coins/0", "array"), ("labels/coins/1", "array"),
    ]  # fmt: skip
    assert "    0  array: y 303 x 384\n" in str(found)


def test_names_from_files_cannot_control_a_terminal(here: Path) -> None:
    samples.coins().omezarr.to_zarr("a.zarr", levels=1)
    file = here / "a.zarr/zarr.json"
    document = json.loads(file.read_text())
    document["attributes"]["ome"]["multiscales"][0]["name"] = "\x1b[2Jgone\nkind  plate"
    file.write_text(json.dumps(document))
    text = str(info("a.zarr"))
    assert "\x1b" not in text
    assert "name     \\x1b[2Jgone\\nkind  plate" in text
