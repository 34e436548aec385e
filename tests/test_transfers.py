"""Downloads: the same bytes, or the same pixels where they say they are; and nothing half."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from zarr.storage import MemoryStore, ObjectStore

from tests.helpers import (
    contents,
    files,
    image,
    multiscales,
    opened,
    opened_tree,
    pixels,
    put_array,
    put_document,
    put_sample,
)
from tests.plating import put_plate
from xarray_omezarr import OmeZarrError, OmeZarrWarning, download, errors, samples, validate
from xarray_omezarr.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.servers import S3, Asked, Site

VERSIONS = ("0.4", "0.5", "0.6")
UNLISTED = "does not list its files"


def only_files(root: Path) -> dict[str, bytes]:
    return {key: content for key, content in files(root).items() if content is not None}


def document(root: Path, version: str) -> dict[str, Any]:
    if version == "0.4":
        found: dict[str, Any] = json.loads((root / ".zattrs").read_bytes())
        return found
    ome: dict[str, Any] = json.loads((root / "zarr.json").read_bytes())["attributes"]["ome"]
    return ome


@pytest.fixture(params=VERSIONS)
def coins(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """Give an image of each version with a label image, and a foreign group beside it."""
    path = tmp_path / "site" / "coins.zarr"
    path.parent.mkdir(exist_ok=True)
    samples.coins().omezarr.to_zarr(path, version=request.param, levels=3, chunks=64)
    table = zarr.create_group(
        path / "tables" / "sizes", zarr_format=2 if request.param == "0.4" else 3
    )
    table.create_array("area", data=np.arange(12.0))
    (path / "notes.txt").write_text("mine")
    return path, request.param


# ── all of it ────────────────────────────────────────────────────────────────────────────────────


def test_all_bytes_and_foreign_groups(coins: tuple[Path, str], tmp_path: Path) -> None:
    source, _ = coins
    done = download(source, tmp_path / "copy.zarr")
    assert only_files(tmp_path / "copy.zarr") == only_files(source)
    assert done.files == len(only_files(source))
    assert done.nbytes == sum(map(len, only_files(source).values()))


def test_relative_paths_and_no_destination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    samples.coins().omezarr.to_zarr(tmp_path / "data" / "coins.zarr", levels=1)
    monkeypatch.chdir(tmp_path / "here")
    download("../data/coins.zarr")
    assert files(tmp_path / "here" / "coins.zarr") == files(tmp_path / "data" / "coins.zarr")
    download("../data/coins.zarr", "deeper/below/copy.zarr")
    assert files(Path("deeper/below/copy.zarr")) == files(tmp_path / "data" / "coins.zarr")


def test_sharded_with_a_fill_value(tmp_path: Path) -> None:
    # Chunks that are not stored hold 7.
    source = tmp_path / "image.zarr"
    image((303, 384)).omezarr.to_zarr(source, levels=1)
    shutil.rmtree(source / "0")
    array = zarr.create_array(
        source / "0", shape=(303, 384), dtype="uint16", chunks=(32, 32), shards=(128, 128),
        fill_value=7, dimension_names=["y", "x"],
    )  # fmt: skip
    array[128:256, 128:200] = 3
    assert sum(path.is_file() for path in (source / "0" / "c").rglob("*")) == 1
    download(source, tmp_path / "copy.zarr")
    assert files(tmp_path / "copy.zarr") == files(source)
    region = {"y": "128:300 px", "x": "100:384 px"}
    download(source, tmp_path / "crop.zarr", region=region)
    crop = zarr.open_array(tmp_path / "crop.zarr" / "0")
    assert crop.fill_value == 7
    assert crop.shards == (128, 128)
    np.testing.assert_array_equal(crop[...], array[128:300, 100:])
    stored = [path for path in (tmp_path / "crop.zarr" / "0" / "c").rglob("*") if path.is_file()]
    assert len(stored) == 1  # and what is 7 all over still is not


def test_from_an_archive(tmp_path: Path) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins.ozx", levels=2)
    download(tmp_path / "coins.ozx", tmp_path / "copy.zarr")
    with zipfile.ZipFile(tmp_path / "coins.ozx") as archive:
        expected = {name: archive.read(name) for name in archive.namelist()}
    assert only_files(tmp_path / "copy.zarr") == expected
    xr.testing.assert_identical(
        opened(tmp_path / "copy.zarr").load(), opened(tmp_path / "coins.ozx").load()
    )


def test_an_archive_is_called_like_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins.ozx", levels=1)
    monkeypatch.chdir(tmp_path)
    assert download("coins.ozx").target == "coins.ome.zarr"
    with pytest.raises(OmeZarrError, match="archive"):
        download("coins.ome.zarr", "copy.ozx")


def test_from_and_to_memory(memory: MemoryStore) -> None:
    samples.coins().omezarr.to_zarr(memory, group="some/where", levels=1)
    copy = MemoryStore()
    download(memory, copy, group="some/where")
    prefix = "some/where/"
    below = {k: v for k, v in contents(memory).items() if k.startswith(prefix)}
    assert contents(copy) == {k.removeprefix(prefix): v for k, v in below.items()}


def test_a_series_and_its_xml(tmp_path: Path, web: Site) -> None:
    root = tmp_path / "site" / "series.zarr"
    group = zarr.create_group(root, attributes={"bioformats2raw.layout": 3}, zarr_format=2)
    ome = group.create_group("OME")
    ome.attrs["series"] = ["0", "1"]
    (root / "OME" / "METADATA.ome.xml").write_text("<OME/>")
    for name in ("0", "1"):
        samples.coins().omezarr.to_zarr(root / name, version="0.4", levels=1, chunks=256)
    with pytest.warns(OmeZarrWarning, match=UNLISTED):
        download(f"{web.url}/series.zarr", tmp_path / "copy.zarr")
    assert only_files(tmp_path / "copy.zarr") == only_files(root)


# ── from elsewhere, and to it ────────────────────────────────────────────────────────────────────


def test_over_http(web: Site, coins: tuple[Path, str], tmp_path: Path) -> None:
    source, _ = coins
    with pytest.warns(OmeZarrWarning, match=UNLISTED):
        download(f"{web.url}/coins.zarr", tmp_path / "copy.zarr")
    expected = {
        key: content
        for key, content in only_files(source).items()
        if not key.startswith(("tables", "notes"))
    }
    assert only_files(tmp_path / "copy.zarr") == expected


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_consolidated_metadata_name_what_is_not_listed(
    version: str, tmp_path: Path, web: Site
) -> None:
    source = tmp_path / "site" / "coins.zarr"
    samples.coins().omezarr.to_zarr(source, version=version, levels=2)
    table = zarr.open_group(source).create_group("tables").create_group("sizes")
    table.create_array("area", data=np.arange(12.0), chunks=(5,))
    zarr.consolidate_metadata(source)
    download(f"{web.url}/coins.zarr", tmp_path / "copy.zarr")
    assert only_files(tmp_path / "copy.zarr") == only_files(source)


def test_missing_chunks_stay_missing_over_http(tmp_path: Path, web: Site) -> None:
    source = tmp_path / "site" / "image.zarr"
    image((64, 64)).omezarr.to_zarr(source, levels=1, chunks=16)
    (source / "0" / "c" / "1" / "2").unlink()
    with pytest.warns(OmeZarrWarning, match=UNLISTED):
        download(f"{web.url}/image.zarr", tmp_path / "copy.zarr")
    assert only_files(tmp_path / "copy.zarr") == only_files(source)


def test_what_a_server_fails_at_for_a_moment_comes_nevertheless(tmp_path: Path, web: Site) -> None:
    source = tmp_path / "site" / "image.zarr"
    image((64, 64)).omezarr.to_zarr(source, levels=1, chunks=16)
    failed: set[str] = set()

    def answer(asked: Asked) -> Any:  # noqa: ANN401
        if "/c/" in asked.path and asked.path not in failed:
            failed.add(asked.path)
            return 503 if asked.path.endswith("1") else "truncated"
        return None

    web.answer = answer
    with pytest.warns(OmeZarrWarning, match=UNLISTED):
        download(f"{web.url}/image.zarr", tmp_path / "copy.zarr")
    assert len(failed) == 16
    assert files(tmp_path / "copy.zarr") == files(source)


def test_arrays_of_transformations_come_over_http(tmp_path: Path, web: Site) -> None:
    source = tmp_path / "site" / "image.zarr"
    image((64, 64)).omezarr.to_zarr(source, levels=1, version="0.6")
    field = zarr.open_group(source).create_array(
        "fields/warp", shape=(2, 8, 8), dtype="f4", chunks=(2, 4, 4)
    )
    field[...] = 1
    root = json.loads((source / "zarr.json").read_bytes())
    one = root["attributes"]["ome"]["multiscales"][0]
    own = one["coordinateSystems"][0]
    one["coordinateSystems"].append({**own, "name": "warped"})
    one["coordinateTransformations"] = [
        {"type": "displacements", "path": "fields/warp", "input": {"name": own["name"]},
         "output": {"name": "warped"}}
    ]  # fmt: skip
    (source / "zarr.json").write_text(json.dumps(root))
    with pytest.warns(OmeZarrWarning, match=UNLISTED):
        download(f"{web.url}/image.zarr", tmp_path / "copy.zarr")
    found = only_files(tmp_path / "copy.zarr")
    expected = only_files(source)
    expected.pop("fields/zarr.json")  # a group that nothing names, and Zarr does without
    assert found == expected


def test_many_requests_side_by_side(tmp_path: Path, web: Site) -> None:
    source = tmp_path / "site" / "image.zarr"
    image((256, 256)).omezarr.to_zarr(source, levels=1, chunks=16)
    web.latency = 0.01
    with pytest.warns(OmeZarrWarning, match=UNLISTED):
        download(f"{web.url}/image.zarr", tmp_path / "copy.zarr")
    assert 16 < web.most <= 32


@pytest.mark.parametrize("package", ["s3fs", "obstore"])
def test_from_s3_and_to_it(package: str, coins: tuple[Path, str], tmp_path: Path, s3: S3) -> None:
    source, _ = coins
    s3.upload(source, "coins.zarr")
    if package == "s3fs":
        options: dict[str, Any] = {"storage_options": s3.storage_options}
        where: Any = f"{s3.url}/coins.zarr"
    else:
        options, where = {}, ObjectStore(s3.obstore("coins.zarr"))
    download(where, tmp_path / "copy.zarr", **options)
    assert only_files(tmp_path / "copy.zarr") == only_files(source)
    download(tmp_path / "copy.zarr", f"{s3.url}/back.zarr", target_options=s3.storage_options)
    back = s3.contents("back.zarr")
    assert {k.removeprefix("back.zarr/"): v for k, v in back.items()} == only_files(source)


@pytest.mark.parametrize("package", ["s3fs", "obstore"])
def test_folders_that_consoles_show_are_no_objects(package: str, tmp_path: Path, s3: S3) -> None:
    source = tmp_path / "coins.zarr"
    samples.coins().omezarr.to_zarr(source)
    s3.upload(source, "coins.zarr")
    for folder in ("", "0/", "0/c/", "labels/", "tables/"):
        s3.put(f"coins.zarr/{folder}", b"")
    if package == "s3fs":
        options: dict[str, Any] = {"storage_options": s3.storage_options}
        where: Any = f"{s3.url}/coins.zarr"
    else:
        options, where = {}, ObjectStore(s3.obstore("coins.zarr"))
    assert download(where, tmp_path / "copy.zarr", **options).files == len(only_files(source))
    assert only_files(tmp_path / "copy.zarr") == only_files(source)


def test_from_a_bucket_that_nobody_may_list(tmp_path: Path, s3: S3) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins.zarr", levels=2, chunks=128)
    s3.upload(tmp_path / "coins.zarr", "coins.zarr")
    s3.publish()
    with pytest.warns(OmeZarrWarning, match=UNLISTED):
        download(
            f"{s3.url}/coins.zarr",
            tmp_path / "copy.zarr",
            storage_options=s3.anonymous,
            missing_on_403=True,
        )
    assert only_files(tmp_path / "copy.zarr") == only_files(tmp_path / "coins.zarr")


# ── parts ────────────────────────────────────────────────────────────────────────────────────────


def test_levels(coins: tuple[Path, str], tmp_path: Path) -> None:
    source, version = coins
    download(source, tmp_path / "part.zarr", levels=[-1, "1"])
    whole, part = only_files(source), only_files(tmp_path / "part.zarr")
    left = ("0/", "labels/coins/0/")
    roots = {"zarr.json", ".zattrs", "labels/coins/zarr.json", "labels/coins/.zattrs"}
    assert set(part) == {key for key in whole if not key.startswith(left)}
    assert {key for key in part if part[key] != whole[key]} <= roots
    before, after = document(source, version), document(tmp_path / "part.zarr", version)
    expected = before["multiscales"][0]["datasets"][1:]
    assert after["multiscales"][0]["datasets"] == expected
    assert after["multiscales"][0].keys() == before["multiscales"][0].keys()
    xr.testing.assert_identical(
        opened(tmp_path / "part.zarr").load().image, opened(source, level=1).load().image
    )
    assert validate(tmp_path / "part.zarr")


@pytest.mark.parametrize(("labels", "kept"), [(False, []), ("two", ["two"]), (["one"], ["one"])])
def test_labels(labels: Any, kept: list[str], tmp_path: Path) -> None:  # noqa: ANN401
    ds = samples.coins()
    ds = ds.assign(one=ds.coins, two=ds.coins * 2).drop_vars("coins")
    ds.omezarr.to_zarr(tmp_path / "image.zarr", levels=1, labels=["one", "two"])
    download(tmp_path / "image.zarr", tmp_path / "part.zarr", labels=labels)
    assert set(opened(tmp_path / "part.zarr").data_vars) == {"image", *kept}
    folder = tmp_path / "part.zarr" / "labels"
    assert folder.exists() == bool(kept)
    assert {path.name for path in folder.glob("*/")} - {"zarr.json"} == set(kept)
    assert validate(tmp_path / "part.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("far", [False, True])
def test_wells(version: str, tmp_path: Path, web: Site, far: bool) -> None:  # noqa: FBT001
    source = tmp_path / "site" / "plate.zarr"
    wells = {"A/1": ["0", "1"], "A/2": ["0"], "B/1": ["0"], "C/1": ["0"]}
    put_plate(source, wells, version=version, labels=["cells"])
    zarr.open_group(source).create_group("tables", attributes={"mine": 1})
    if far:
        with pytest.warns(OmeZarrWarning, match=UNLISTED):
            download(f"{web.url}/plate.zarr", tmp_path / "part.zarr", wells=["A/1", "B*"])
        assert not [path for path in web.paths() if path.startswith("plate.zarr/C/1/0")]
    else:
        download(source, tmp_path / "part.zarr", wells=["A/1", "B*"])
    part, whole = only_files(tmp_path / "part.zarr"), only_files(source)
    left = ("A/2/", "C/") + (("tables",) if far else ())
    assert set(part) == {key for key in whole if not key.startswith(left)}
    assert [k for k in part if part[k] != whole[k]] == [
        ".zattrs" if version == "0.4" else "zarr.json"
    ]
    plate = document(tmp_path / "part.zarr", version)["plate"]
    assert [well["path"] for well in plate["wells"]] == ["A/1", "B/1"]
    assert plate["rows"] == document(source, version)["plate"]["rows"]
    tree = opened_tree(tmp_path / "part.zarr", level=0)
    assert {"A/1", "B/1"} == {"/".join(node.path.split("/")[1:3]) for node in tree.leaves}


def test_wells_and_levels_and_labels_at_once(tmp_path: Path) -> None:
    put_plate(tmp_path / "plate.zarr", {"A/1": ["0"], "B/1": ["0"]}, labels=["cells", "nuclei"])
    download(
        tmp_path / "plate.zarr", tmp_path / "part.zarr", wells="B/1", levels=1, labels="nuclei"
    )
    arrays = {p.parent for p in (tmp_path / "part.zarr").rglob("c")}
    below = {path.relative_to(tmp_path / "part.zarr").as_posix() for path in arrays}
    assert below == {"B/1/0/1", "B/1/0/labels/nuclei/1"}


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_no_consolidated_metadata_of_a_part(version: str, tmp_path: Path) -> None:
    put_plate(tmp_path / "plate.zarr", {"A/1": ["0"], "B/1": ["0"]}, version=version)
    zarr.consolidate_metadata(tmp_path / "plate.zarr")
    zarr.consolidate_metadata(tmp_path / "plate.zarr" / "A" / "1")
    download(tmp_path / "plate.zarr", tmp_path / "part.zarr", wells="A/1")
    part = tmp_path / "part.zarr"
    assert not (part / ".zmetadata").exists()
    assert zarr.open_group(part).metadata.consolidated_metadata is None
    # What is copied whole keeps its own.
    assert zarr.open_group(part / "A" / "1").metadata.consolidated_metadata is not None


# ── regions ──────────────────────────────────────────────────────────────────────────────────────

REGIONS: list[Mapping[str, Any]] = [
    {"y": "64:200 px", "x": "128:384 px"},
    {"y": slice("20 um", "0.1 mm"), "x": (30, 100)},
    {"x": "0:64 px"},
    {"y": "50 um"},
]


@pytest.mark.parametrize("region", REGIONS)
def test_pixels_of_a_region_are_where_they_were(
    region: Mapping[str, Any], coins: tuple[Path, str], tmp_path: Path
) -> None:
    source, version = coins
    download(source, tmp_path / "crop.zarr", region=region)
    whole, crop = opened_tree(source), opened_tree(tmp_path / "crop.zarr")
    levels = [node.path for node in crop.subtree if node.ds.data_vars]
    assert {"/0", "/labels/coins/0"} <= set(levels)
    for path in levels:
        part, all_of_it = crop[path].to_dataset(), whole[path].to_dataset()
        # Exactly: the decimals that were there.
        expected = all_of_it.sel(y=part.y, x=part.x)
        xr.testing.assert_equal(part, expected)
        for dim in region:
            assert part.sizes[dim] < all_of_it.sizes[dim]
    assert crop["0"].sizes == crop["labels/coins/0"].sizes
    assert (tmp_path / "crop.zarr" / "notes.txt").exists()
    found = [f for f in validate(tmp_path / "crop.zarr").findings if f.severity == "error"]
    assert not found
    assert document(tmp_path / "crop.zarr", version).keys() == document(source, version).keys()


def test_chunks_within_a_region_are_the_same_bytes(tmp_path: Path) -> None:
    noise = image((64, 96))
    noise.omezarr.to_zarr(tmp_path / "image.zarr", levels=1, chunks=16)
    region = {"y": "16:40 px", "x": "32:96 px"}
    download(tmp_path / "image.zarr", tmp_path / "crop.zarr", region=region)
    old, new = (tmp_path / name / "0" / "c" for name in ("image.zarr", "crop.zarr"))
    for x in range(4):
        assert (new / "0" / str(x)).read_bytes() == (old / "1" / str(x + 2)).read_bytes()
        # Of this one, half is left out, and is not there any more.
        assert (new / "1" / str(x)).read_bytes() != (old / "2" / str(x + 2)).read_bytes()
    array = zarr.open_array(tmp_path / "crop.zarr" / "0", mode="r+")
    array.resize((32, 64))
    assert not np.asarray(array[24:]).any()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("far", [False, True])
def test_a_crop_of_five_axes(version: str, far: bool, tmp_path: Path, web: Site) -> None:  # noqa: FBT001
    source = tmp_path / "site" / "image.zarr"
    sample = put_sample(source, version=version, dims="tczyx")
    options: dict[str, Any] = {"region": {"t": "1:3", "c": "GFP", "x": "-2:3 um", "y": "8:32px"}}
    if far:
        with pytest.warns(OmeZarrWarning, match=UNLISTED):
            download(f"{web.url}/image.zarr", tmp_path / "crop.zarr", **options)
    else:
        download(source, tmp_path / "crop.zarr", **options)
    with warnings.catch_warnings():
        # Of the sample, time is in micrometers.
        warnings.simplefilter("ignore", OmeZarrWarning)
        tree, expected = opened_tree(tmp_path / "crop.zarr"), opened_tree(source)
    assert tree["0"].image.shape == (2, 1, 4, 24, 21)
    for level in ("0", "1", "2"):
        part = tree[level].image
        at = expected[level].image.sel({dim: part[dim] for dim in part.dims})
        xr.testing.assert_equal(part.drop_vars("c"), at.drop_vars("c"))
    assert tree["0"].c.values.tolist() == ["GFP"]
    assert tree["0"].t.values.tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(tree["0"].image.values, sample.levels[0][1:3, 1:2, :, 8:32, 8:29])
    channels = document(tmp_path / "crop.zarr", version)["omero"]["channels"]
    assert [channel["label"] for channel in channels] == ["GFP"]


def test_a_label_image_of_one_channel_labels_all(tmp_path: Path) -> None:
    source, crop = tmp_path / "image.zarr", tmp_path / "crop.zarr"
    sample = put_sample(source, version="0.4", dims="cyx")
    units = {"y": "micrometer", "x": "micrometer"}
    about = multiscales("cyx", ["0"], [(1.0, 0.5, 0.25)], [(0.0, 10.0, -4.0)], units)
    put_document(source, {"multiscales": [about]}, version="0.4", group="labels/cells")
    cells = pixels((1, 40, 48))
    put_array(source, "labels/cells/0", cells, version="0.4", dims="cyx")
    (source / "labels" / ".zattrs").write_text('{"labels": ["cells"]}')
    download(source, crop, levels=0, region={"c": "GFP", "y": "8:16 px"})
    part = opened(crop)
    np.testing.assert_array_equal(part.cells, cells[:, 8:16])
    np.testing.assert_array_equal(part.image, sample.levels[0][1:, 8:16])
    # Channels lie nowhere, and so do not begin elsewhere.
    transforms = document(crop, "0.4")["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert transforms[1]["translation"][0] == 0.0


def test_a_region_of_an_image_without_pixels(tmp_path: Path) -> None:
    source, crop = tmp_path / "image.zarr", tmp_path / "crop.zarr"
    about = multiscales("yx", ["0"], [(1.0, 1.0)], [(0.0, 0.0)], {})
    put_document(source, {"multiscales": [about]}, version="0.5")
    put_array(source, "0", np.zeros((0, 5), "u1"), version="0.5", dims="yx", chunks=(4, 4))
    download(source, crop, region={"x": "0:2 px"})
    assert zarr.open_array(crop / "0", mode="r").shape == (0, 2)


def test_multiscales_transformations_stay(tmp_path: Path) -> None:
    put_sample(tmp_path / "image.zarr", version="0.4", dims="yx")
    path = tmp_path / "image.zarr" / ".zattrs"
    attributes = json.loads(path.read_bytes())
    overall = [
        {"type": "scale", "scale": [2.0, 4.0]},
        {"type": "translation", "translation": [1, 3]},
    ]
    attributes["multiscales"][0]["coordinateTransformations"] = overall
    attributes["multiscales"][0]["datasets"][0]["mine"] = "kept"
    path.write_text(json.dumps(attributes))
    download(
        tmp_path / "image.zarr", tmp_path / "crop.zarr", region={"y": "5:20 px", "x": "9:40 px"}
    )
    part, whole = opened(tmp_path / "crop.zarr"), opened(tmp_path / "image.zarr")
    xr.testing.assert_equal(part.image, whole.image[5:20, 9:40])
    found = document(tmp_path / "crop.zarr", "0.4")["multiscales"][0]
    assert found["coordinateTransformations"] == overall
    assert found["datasets"][0]["mine"] == "kept"


def test_levels_without_a_pixel_in_the_region_are_left_out(tmp_path: Path) -> None:
    image((64, 64)).omezarr.to_zarr(tmp_path / "image.zarr", levels=4, chunks=16)
    download(tmp_path / "image.zarr", tmp_path / "crop.zarr", region={"y": "11:13 px"})
    tree = opened_tree(tmp_path / "crop.zarr")
    assert list(tree.children) == ["0", "1"]
    assert tree["0"].sizes["y"] == 2
    assert validate(tmp_path / "crop.zarr")


@pytest.mark.parametrize("region", [{"y": "2:6 px"}, {"y": "10:12 um", "x": "5 px"}])
def test_a_region_of_each_field_of_a_plate(region: dict[str, str], tmp_path: Path) -> None:
    wells = {"A/1": ["0"], "B/1": ["0", "1"]}
    sample = put_plate(tmp_path / "plate.zarr", wells, labels=["cells"])
    download(tmp_path / "plate.zarr", tmp_path / "crop.zarr", region=region, wells="B/1")
    whole, crop = (opened_tree(tmp_path / name, level=0) for name in ("plate.zarr", "crop.zarr"))
    assert set(sample.images) == {"A/1/0", "B/1/0", "B/1/1"}
    for path in ("B/1/0/0", "B/1/1/0"):
        part = crop[path].to_dataset()
        assert part.sizes["y"] < whole[path].sizes["y"]
        at = {dim: part[dim] for dim in part.dims}
        xr.testing.assert_equal(part, whole[path].to_dataset().sel(at))


def test_a_region_that_is_not_in_a_field_is_refused(tmp_path: Path) -> None:
    put_plate(tmp_path / "plate.zarr", {"A/1": ["0", "1"]})
    with pytest.raises(OmeZarrError, match=r"A/1/1 has no pixel in x=.*Bounds in pixels"):
        download(tmp_path / "plate.zarr", tmp_path / "crop.zarr", region={"x": "0:3 um"})


@pytest.mark.parametrize("order", ["C", "F"])
def test_codecs_stay_where_chunks_are_encoded_anew(
    order: Literal["C", "F"], tmp_path: Path
) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "image.zarr", version="0.4", levels=1)
    shutil.rmtree(tmp_path / "image.zarr" / "0")
    old = zarr.create_array(
        tmp_path / "image.zarr" / "0", shape=(303, 384), chunks=(50, 60), dtype=">i4",
        zarr_format=2, order=order, compressors=numcodecs.Zlib(3), filters=[numcodecs.Delta(">i4")],
        chunk_key_encoding={"name": "v2", "separator": "."}, fill_value=5,
    )  # fmt: skip
    old[...] = np.arange(303 * 384).reshape(303, 384)
    region = {"y": "7:290 px", "x": "60:200 px"}
    download(tmp_path / "image.zarr", tmp_path / "crop.zarr", region=region, labels=[])
    new = zarr.open_array(tmp_path / "crop.zarr" / "0", zarr_format=2)
    np.testing.assert_array_equal(new[...], old[7:290, 60:200])
    before, after = (
        json.loads((tmp_path / name / "0" / ".zarray").read_bytes())
        for name in ("image.zarr", "crop.zarr")
    )
    assert after == {**before, "shape": [283, 140]}
    assert (tmp_path / "crop.zarr" / "0" / "5.2").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"levels": 7}, "no level 7; there are 0 to 2"),
        ({"levels": "--1"}, "no level '--1'"),
        ({"levels": []}, "leave it out"),
        ({"labels": "nuclei"}, "no label images 'nuclei'; there are 'coins'"),
        ({"wells": "A/1"}, "no plate"),
        ({"region": {"z": (0, 1)}}, "no axis 'z'; there are y, x"),
        ({"region": {"x": "900:1000 um"}}, "no pixel in x='900:1000 um'"),
        ({"region": {"x": "20:10 um"}}, "ends before it begins"),
        ({"region": {"x": "1 px:10 um"}}, "in pixels and in another unit"),
        ({"region": {"x": "1.5:10 px"}}, "no number of a pixel"),
        ({"region": {"x": "0:10 s"}}, "second' is a time"),
        ({"region": {"x": (0, 1, 2)}}, "expected two bounds"),
        ({"region": {"x": slice(0, 10, 2)}}, "has a step"),
    ],
)
def test_what_is_not_there_leaves_nothing_behind(
    options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins.zarr", levels=3)
    with pytest.raises(OmeZarrError, match=told):
        download(tmp_path / "coins.zarr", tmp_path / "copy.zarr", **options)
    assert not (tmp_path / "copy.zarr").exists()


def test_a_channel_that_is_not_there_is_told(tmp_path: Path) -> None:
    samples.astronaut().omezarr.to_zarr(tmp_path / "a.zarr", levels=1)
    with pytest.raises(OmeZarrError, match="no channel 'DAPI'; there are red, green, blue"):
        download(tmp_path / "a.zarr", tmp_path / "copy.zarr", region={"c": "DAPI"})


def test_a_crop_of_an_old_version_is_refused(tmp_path: Path) -> None:
    put_array(
        tmp_path / "old.zarr", "0", np.zeros((1, 1, 1, 8, 8), "u1"), version="0.4", dims="tczyx"
    )
    (tmp_path / "old.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    old = {"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}]}]}
    (tmp_path / "old.zarr" / ".zattrs").write_text(json.dumps(old))
    with pytest.raises(OmeZarrError, match="cannot say where a part"):
        download(tmp_path / "old.zarr", tmp_path / "crop.zarr", region={"x": "2:4 px"})
    download(tmp_path / "old.zarr", tmp_path / "copy.zarr")
    assert files(tmp_path / "copy.zarr") == files(tmp_path / "old.zarr")


# ── accidents ────────────────────────────────────────────────────────────────────────────────────


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins.zarr", levels=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    (tmp_path / "file").write_text("mine")
    samples.coins().omezarr.to_zarr(tmp_path / "other.zarr", levels=1)
    for name in ("mine", "file", "other.zarr"):
        before = files(tmp_path)
        for resume in (False, True):
            with pytest.raises(errors.OmeZarrFileExistsError, match="left untouched"):
                download(tmp_path / "coins.zarr", tmp_path / name, resume=resume)
        assert files(tmp_path) == before


@pytest.mark.parametrize("inner", ["", "copy.zarr", "labels/copy.zarr"])
def test_no_copy_within_itself(inner: str, tmp_path: Path) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins.zarr", levels=1)
    before = files(tmp_path)
    with pytest.raises(OmeZarrError, match=r"lies within|exists"):
        download(tmp_path / "coins.zarr", tmp_path / "coins.zarr" / inner)
    assert files(tmp_path) == before


def test_a_copy_without_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    samples.circle().omezarr.to_zarr("a.zarr")
    with pytest.raises(OmeZarrError, match=r"is in the current folder already\. Name a"):
        download("a.zarr")
    with pytest.raises(OmeZarrError, match=r"There is nothing at b\.zarr"):
        download("b.zarr")
    with pytest.raises(OmeZarrError, match="omezarr convert"):
        download("a.zarr", "a.ozx")


@pytest.mark.parametrize("what", ["nothing", "group", "array"])
def test_what_is_no_ome_zarr(what: str, tmp_path: Path) -> None:
    if what == "group":
        zarr.create_group(tmp_path / "it")
    elif what == "array":
        zarr.create_array(tmp_path / "it", shape=(4,), dtype="u1")
    with pytest.raises(OmeZarrError, match=r"nothing at|without OME-Zarr metadata|is a Zarr array"):
        download(tmp_path / "it", tmp_path / "copy.zarr")
    assert not (tmp_path / "copy.zarr").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("leads", ["file", "folder", "above"])
def test_links_out_of_the_hierarchy_are_not_followed(leads: str, tmp_path: Path) -> None:
    root = tmp_path / "coins.zarr"
    samples.coins().omezarr.to_zarr(root, levels=1)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    to = {"file": tmp_path / "secret" / "key", "folder": tmp_path / "secret", "above": root}
    (root / "link").symlink_to(to[leads])
    with pytest.raises(OmeZarrError, match="symbolic link"):
        download(root, tmp_path / "copy.zarr")
    assert not (tmp_path / "copy.zarr").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_within_the_hierarchy_become_files(tmp_path: Path) -> None:
    root = tmp_path / "coins.zarr"
    samples.coins().omezarr.to_zarr(root, levels=1, labels=["coins"])
    (root / "labels" / "again").symlink_to(root / "labels" / "coins")
    (tmp_path / "elsewhere.zarr").symlink_to(root)
    download(tmp_path / "elsewhere.zarr", tmp_path / "copy.zarr")
    copy = tmp_path / "copy.zarr" / "labels"
    assert not (copy / "again").is_symlink()
    assert files(copy / "again") == files(copy / "coins")


def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, memory: MemoryStore) -> None:
    samples.coins().omezarr.to_zarr(memory, levels=1)
    hostile = MemoryStore(
        store_dict={**memory._store_dict, "../outside": memory._store_dict["zarr.json"]}
    )
    with pytest.raises(OmeZarrError, match="leads out of it"):
        download(hostile, tmp_path / "below" / "copy.zarr")
    assert not (tmp_path / "below").exists()


def test_hostile_consolidated_metadata_are_refused(tmp_path: Path, web: Site) -> None:
    source = tmp_path / "site" / "coins.zarr"
    samples.coins().omezarr.to_zarr(source, levels=1)
    root = json.loads((source / "zarr.json").read_bytes())
    array = json.loads((source / "0" / "zarr.json").read_bytes())
    for path, told, entry in (
        ("../../outside", "must stay below", array),
        ("huge", "chunks", {**array, "shape": [2**50, 2**50]}),
    ):
        root["consolidated_metadata"] = {"metadata": {path: entry}}
        (source / "zarr.json").write_text(json.dumps(root))
        with pytest.raises(OmeZarrError, match=told):
            download(f"{web.url}/coins.zarr", tmp_path / "copy.zarr")
        assert not (tmp_path / "copy.zarr").exists()


def test_what_is_being_written_is_not_copied(tmp_path: Path) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins.zarr", levels=1)
    (tmp_path / "coins.zarr" / "labels" / ".omezarr.json").write_text("{}")
    with pytest.raises(OmeZarrError, match="being written to"):
        download(tmp_path / "coins.zarr", tmp_path / "copy.zarr")


def test_a_server_that_fails_leaves_what_can_be_resumed(tmp_path: Path, web: Site) -> None:
    source = tmp_path / "site" / "image.zarr"
    image((64, 64)).omezarr.to_zarr(source, levels=1, chunks=16)
    web.answer = lambda asked: 403 if asked.path.endswith("c/2/3") else None
    copy = tmp_path / "copy.zarr"
    with (
        pytest.warns(OmeZarrWarning, match=UNLISTED),
        pytest.raises(errors.OmeZarrPermissionError, match="resume=True"),
    ):
        download(f"{web.url}/image.zarr", copy)
    assert not list(copy.rglob("zarr.json"))
    assert not list(copy.rglob("*.partial"))
    with pytest.raises(OmeZarrError):
        opened(copy)
    web.answer = lambda _: None
    web.clear()
    with pytest.warns(OmeZarrWarning, match=UNLISTED):
        done = download(f"{web.url}/image.zarr", copy, resume=True)
    assert done.kept > 0
    came = [one for one in web.asked if "/c/" in one.path and one.method == "GET"]
    assert len(came) == 16 - done.kept
    assert files(copy) == files(source)


# ── killed, and gone on with ─────────────────────────────────────────────────────────────────────


def _killed(source: Any, target: Path, after: int, options: dict[str, Any]) -> None:  # noqa: ANN401
    """Download, and be killed when so many files are there."""
    count = 0
    replace = Path.replace

    def counted(self: Path, to: Path) -> Path:
        nonlocal count
        count += 1
        if count > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, to)

    Path.replace = counted  # type: ignore[method-assign, assignment]
    download(source, target, **options)


@pytest.mark.parametrize("after", [0, 3, 20, 47, 50, 53])
@pytest.mark.parametrize("region", [None, {"x": "10:250 px"}])
def test_killed_and_resumed(after: int, region: dict[str, str] | None, tmp_path: Path) -> None:
    source, copy = tmp_path / "coins.zarr", tmp_path / "copy.zarr"
    samples.coins().omezarr.to_zarr(source, levels=2, chunks=64)
    options = {"region": region}
    download(source, tmp_path / "expected.zarr", region=region)
    process = multiprocessing.get_context("fork").Process(
        target=_killed, args=(source, copy, min(after, 20) if region else after, options)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    # Not before all that holds pixels is there, there is anything to be opened.
    if (copy / "zarr.json").exists():
        xr.testing.assert_identical(opened(copy).load(), opened(tmp_path / "expected.zarr").load())
    else:
        with pytest.raises(OmeZarrError, match="unfinished download"):
            opened(copy)
    with pytest.raises(errors.OmeZarrFileExistsError, match="unfinished download"):
        download(source, copy, region=region)
    with pytest.raises(OmeZarrError, match="not this one; they differ in the part"):
        download(source, copy, region={"x": "7:80 px"}, resume=True)
    download(source, copy, region=region, resume=True)
    assert files(copy) == files(tmp_path / "expected.zarr")
    assert region or files(copy) == files(source)


def test_a_bucket_that_fails_leaves_what_can_be_resumed(tmp_path: Path, s3: S3) -> None:
    source = tmp_path / "coins.zarr"
    samples.coins().omezarr.to_zarr(source, levels=2, chunks=64)
    s3.server.answer = lambda asked: 403 if asked.endswith("0/c/3/3") and "PUT" in asked else None
    options: dict[str, Any] = {"target_options": s3.storage_options}
    with pytest.raises(OmeZarrError, match="resume=True"):
        download(source, f"{s3.url}/copy.zarr", **options)
    assert not [key for key in s3.contents() if key.endswith("zarr.json")]
    s3.server.answer = lambda _: None
    done = download(source, f"{s3.url}/copy.zarr", resume=True, **options)
    assert done.kept
    copied = {k.removeprefix("copy.zarr/"): v for k, v in s3.contents().items()}
    assert copied == only_files(source)


def test_a_source_that_has_changed_is_not_mixed(tmp_path: Path) -> None:
    source, copy = tmp_path / "coins.zarr", tmp_path / "copy.zarr"
    samples.coins().omezarr.to_zarr(source, levels=1, chunks=64)
    process = multiprocessing.get_context("fork").Process(
        target=_killed, args=(source, copy, 5, {})
    )
    process.start()
    process.join(60)
    chunk = source / "0" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    with pytest.raises(OmeZarrError, match="differ in the contents of the source"):
        download(source, copy, resume=True)


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def test_the_command(tmp_path: Path) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins.zarr", levels=3)
    run = CliRunner()
    source, target = str(tmp_path / "coins.zarr"), str(tmp_path / "c.zarr")
    args = ["--levels", "1,2", "--no-labels", "--region", "x=20:100um,y=0:64px", "--json"]
    result = run.invoke(main, ["download", source, target, *args])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["target"] == target
    tree = opened_tree(target)
    assert list(tree.children) == ["0", "1"]
    assert tree["0"].sizes == {"y": 32, "x": 61}
    again = run.invoke(main, ["download", source, target])
    assert again.exit_code == 1
    assert "left untouched" in again.output


def test_the_command_from_a_server_that_denies_what_is_missing(tmp_path: Path, web: Site) -> None:
    source, target = tmp_path / "site" / "image.zarr", tmp_path / "copy.zarr"
    image((64, 64)).omezarr.to_zarr(source, levels=1, chunks=32)
    (source / "0" / "c" / "0" / "1").unlink()
    web.answer = lambda asked: None if (tmp_path / "site" / asked.path.strip("/")).exists() else 403
    arguments = ["download", f"{web.url}/image.zarr", str(target)]
    denied = CliRunner().invoke(main, arguments)
    assert denied.exit_code == 1
    assert "--missing-on-403 takes it for that" in denied.stderr
    assert CliRunner().invoke(main, [*arguments, "--missing-on-403"]).exit_code == 0
    assert files(target) == files(source)


@pytest.mark.parametrize(
    "wrong", [["--region", "x"], ["--region", "x=1,x=2"], ["--labels", "a", "--no-labels"], []]
)
def test_wrong_usage(wrong: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["coins.zarr", *wrong] if wrong else []
    assert CliRunner().invoke(main, ["download", *args]).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_output_is_a_folder_as_for_ome_zarr(tmp_path: Path) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "coins.zarr", levels=1)
    source, folder = str(tmp_path / "coins.zarr"), tmp_path / "below" / "it"
    result = CliRunner().invoke(main, ["download", source, "--output", str(folder)])
    assert result.exit_code == 0, result.output
    assert files(folder / "coins.zarr") == files(tmp_path / "coins.zarr")
    wrong = CliRunner().invoke(main, ["download", source, "x", "--output", str(folder)])
    assert wrong.exit_code == 2


def test_help_fits_a_screen_and_has_an_example() -> None:
    told = CliRunner().invoke(main, ["download", "--help"]).output
    assert "omezarr download https://" in told
    assert len(told.splitlines()) <= 40


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_interrupted_by_the_user(tmp_path: Path, web: Site) -> None:
    source = tmp_path / "site" / "image.zarr"
    image((256, 256)).omezarr.to_zarr(source, levels=1, chunks=16)
    begun = threading.Event()
    web.answer = lambda asked: begun.set() if "/c/9" in asked.path else None
    web.latency = 0.02
    copy = tmp_path / "copy.zarr"
    command = [
        sys.executable,
        "-m",
        "xarray_omezarr",
        "download",
        f"{web.url}/image.zarr",
        str(copy),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert begun.wait(60)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert not list(copy.rglob("zarr.json"))
    result = CliRunner().invoke(main, ["download", command[-2], command[-1], "--resume"])
    assert result.exit_code == 0, result.output
    assert files(copy) == files(source)
