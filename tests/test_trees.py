"""Trees: all levels of an image, all images of a plate, a series, a scene or a group."""

from __future__ import annotations

import json
import pickle
import re
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from tests.helpers import (
    Sample,
    WatchedStore,
    contents,
    group_files,
    opened,
    opened_tree,
    put_files,
    put_sample,
    served,
)
from tests.plating import PlateSample, put_plate
from tests.test_scenes import stitched
from xarray_omezarr import OmeZarrError, OmeZarrWarning, wells
from xarray_omezarr.backend import OmeZarrBackendEntrypoint
from xarray_omezarr.documents import join
from xarray_omezarr.storage import REQUESTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.helpers import Place

VERSIONS = ("0.4", "0.5", "0.6")
FOUR = {"A/1": ["0", "1"], "A/2": ["0"], "B/1": ["0", "1"]}
MANY = {f"{row}/{column}": ["0", "1"] for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def plate(version: str, memory: MemoryStore) -> PlateSample:
    return put_plate(memory, FOUR, version=version)


def data_nodes(tree: xr.DataTree) -> list[str]:
    """Give the paths of the nodes that have pixels."""
    return [node.path.strip("/") for node in tree.subtree if node.data_vars]


def removed(store: MemoryStore, prefix: str) -> None:
    for key in [key for key in contents(store) if key.startswith(prefix)]:
        del store._store_dict[key]


# ── plates ───────────────────────────────────────────────────────────────────────────────────────


def test_a_plate(plate: PlateSample) -> None:
    tree = opened_tree(plate.store)
    assert data_nodes(tree) == [f"{path}/{level}" for path in plate.images for level in (0, 1)]
    assert tree.attrs["name"] == "screen"
    for path, levels in plate.images.items():
        row, column, field = path.split("/")
        for level, values in enumerate(levels):
            node = tree[f"{path}/{level}"]
            np.testing.assert_array_equal(node["image"], values)
            alone = opened(plate.store, group=path, level=level)
            where = {"row": row, "column": column, "well": f"{row}/{column}", "field": field}
            xr.testing.assert_identical(node.to_dataset(), alone.assign_coords(where))
            assert node["image"].attrs == alone.image.attrs
            assert node["image"].encoding["omezarr"] == alone.image.encoding["omezarr"]
            assert node["y"].encoding == alone.y.encoding
        assert float(tree[f"{path}/0"].x[0]) == plate.origins[path][1]


def test_acquisitions_where_the_file_gives_them(memory: MemoryStore) -> None:
    put_plate(memory, {"A/1": ["0", "1"]}, acquisitions={"1": 3})
    tree = opened_tree(memory)
    assert "acquisition" not in tree["A/1/0/0"].coords
    assert tree["A/1/1/0"].acquisition == 3


def test_what_the_files_say_is_kept(plate: PlateSample, version: str) -> None:
    tree = opened_tree(plate.store)
    about = tree.encoding["omezarr"]
    assert (about["kind"], about["version"]) == ("plate", version)
    for path, node in {"": tree, "A/1": tree["A/1"]}.items():
        stored = zarr.open_group(plate.store, path=path, mode="r").attrs.asdict()
        assert node.encoding["omezarr"]["document"] == stored
    assert tree["A/1"].encoding["omezarr"]["kind"] == "well"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"wells": "A/1"}, ["A/1/0", "A/1/1"]),
        ({"wells": ["A/2", "B/*"]}, ["A/2/0", "B/1/0", "B/1/1"]),
        ({"fields": [0]}, ["A/1/0", "A/2/0", "B/1/0"]),
        ({"fields": "1"}, ["A/1/1", "B/1/1"]),
        ({"fields": -1, "wells": "*/1"}, ["A/1/1", "B/1/1"]),
    ],
)
def test_a_choice(plate: PlateSample, asked: dict[str, Any], expected: list[str]) -> None:
    paths = [f"{path}/{level}" for path in expected for level in (0, 1)]
    assert data_nodes(opened_tree(plate.store, **asked)) == paths


def test_the_rows_of_a_table(plate: PlateSample) -> None:
    table = wells(plate.store)
    tree = opened_tree(plate.store, wells=table[table.row == "B"], level=-1)
    assert data_nodes(tree) == ["B/1/0/1", "B/1/1/1"]


@pytest.mark.parametrize(("level", "levels"), [(0, [0]), (-1, [2]), ([0, -1], [0, 2])])
def test_levels(memory: MemoryStore, level: int | list[int], levels: list[int]) -> None:
    put_plate(memory, {"A/1": ["0"]}, levels=3)
    assert data_nodes(opened_tree(memory, level=level)) == [f"A/1/0/{i}" for i in levels]
    alone = opened_tree(memory, group="A/1/0", level=level)
    assert data_nodes(alone) == [str(i) for i in levels]


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (2, "has no level"),
        ("0", "level='0': expected the number of a level"),
        (1.0, "level=1.0: expected the number of a level"),
        ([0, "1"], r"level=\[0, '1'\]: expected the number of a level"),
    ],
)
def test_no_such_level(plate: PlateSample, level: object, message: str) -> None:
    for group in (None, "A/1/0"):
        with pytest.raises(OmeZarrError, match=message):
            opened_tree(plate.store, group=group, level=level)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"wells": "C/1"}, "no well 'C/1'"),
        ({"fields": 7}, "any of the fields 7"),
        ({"wells": "A/1", "group": "A/1/0"}, "wells= is for plates"),
        ({"fields": 0, "group": "A/1/0"}, "fields= is for plates"),
        ({"wells": "A/1", "group": "A/1"}, "wells= is for plates"),
    ],
)
def test_a_choice_that_there_is_not(
    plate: PlateSample, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(OmeZarrError, match=message):
        opened_tree(plate.store, **asked)


def test_labels_are_opened_when_asked_for(version: str, memory: MemoryStore) -> None:
    put_plate(memory, FOUR, version=version, labels=["nuclei", "cells"])
    assert not any("labels" in path for path in data_nodes(opened_tree(memory)))
    tree = opened_tree(memory, labels=["nuclei"], wells="A/*")
    named = [path for path in data_nodes(tree) if "labels" in path]
    assert named == [
        f"{path}/labels/nuclei/{level}" for path in ("A/1/0", "A/1/1", "A/2/0") for level in (0, 1)
    ]
    node = tree["A/2/0/labels/nuclei/0"]
    assert (node.nuclei == 1).all()
    assert node.well == "A/2"
    coarse = opened_tree(memory, labels=True, level=1)
    assert [path for path in data_nodes(coarse) if path.startswith("A/2")] == [
        "A/2/0/1",
        "A/2/0/labels/nuclei/1",
        "A/2/0/labels/cells/1",
    ]
    with pytest.warns(OmeZarrWarning, match="no label image 'x'"):
        tree = opened_tree(memory, labels="x")
    assert not any("labels" in path for path in data_nodes(tree))


def test_one_well(plate: PlateSample) -> None:
    tree = opened_tree(plate.store, group="A/1")
    assert data_nodes(tree) == ["0/0", "0/1", "1/0", "1/1"]
    assert tree["1/0"].well == "A/1"
    assert tree["1/0"].row == "A"
    assert tree["1/0"].field == "1"
    assert data_nodes(opened_tree(plate.store, group="A/1", fields=1)) == ["1/0", "1/1"]
    with pytest.raises(OmeZarrError, match="any of the fields 2"):
        opened_tree(plate.store, group="A/1", fields=2)


def test_one_field(plate: PlateSample) -> None:
    ds = opened(plate.store, group="B/1/1")
    np.testing.assert_array_equal(ds.image, plate.images["B/1/1"][0])
    assert "well" not in ds.coords


# ── what alike fields have in common ─────────────────────────────────────────────────────────────


def test_alike_fields_share_their_coordinates(memory: MemoryStore) -> None:
    put_plate(memory, FOUR)
    tree = opened_tree(memory)
    first, other, beside = (tree[path] for path in ("A/1/0/0", "B/1/0/0", "A/1/1/0"))
    assert first.xindexes["y"].index is other.xindexes["y"].index  # type: ignore[attr-defined]
    assert first.xindexes["x"].index is other.xindexes["x"].index  # type: ignore[attr-defined]
    # The second field of a well lies beside the first one.
    assert first.xindexes["y"].index is beside.xindexes["y"].index  # type: ignore[attr-defined]
    assert not first.xindexes["x"].equals(beside.xindexes["x"])


def test_what_is_shared_is_not_changed_with_one_of_them(memory: MemoryStore) -> None:
    put_plate(memory, FOUR)
    tree = opened_tree(memory)
    before = tree["B/1/0/0"].to_dataset().copy(deep=True)
    node = tree["A/1/0/0"]
    node.coords["y"].attrs["units"] = "parsec"
    node["image"].encoding["preferred_chunks"]["y"] = 3
    node["row"] = "Z"
    xr.testing.assert_identical(tree["B/1/0/0"].to_dataset(), before)
    assert tree["B/1/0/0"].y.attrs["units"] == "micrometer"
    assert tree["B/1/0/0"]["image"].encoding["preferred_chunks"]["y"] == 8


@pytest.mark.parametrize("indexes", [True, False])
@pytest.mark.parametrize("chunks", [None, {}])
def test_as_xarray_opens_trees(
    plate: PlateSample,
    chunks: dict[str, int] | None,
    *,
    indexes: bool,
) -> None:
    tree = opened_tree(plate.store, chunks=chunks, create_default_indexes=indexes)
    groups = xr.open_groups(plate.store, engine="omezarr", create_default_indexes=indexes)
    node = tree["B/1/1/0"]
    np.testing.assert_array_equal(node["image"], plate.images["B/1/1"][0])
    assert (node["image"].chunks is None) == (chunks is None)
    assert node.well.values[()] == "B/1"
    xr.testing.assert_equal(groups["/B/1/1/0"], node.to_dataset())
    # Only where an index can be left out, it is.
    alone = opened_tree(plate.store, group="A/1/0", create_default_indexes=indexes)
    assert ("y" in alone["0"].xindexes) == indexes


def test_names_of_dask_differ(plate: PlateSample) -> None:
    tree = opened_tree(plate.store, chunks={})
    names = {tree[path]["image"].data.name for path in data_nodes(tree)}
    assert len(names) == len(data_nodes(tree))


def test_nodes_travel(tmp_path: Path) -> None:
    sample = put_plate(tmp_path, FOUR)
    tree = opened_tree(tmp_path)
    for path in ("A/1/0/0", "B/1/1/1"):
        copy = pickle.loads(pickle.dumps(tree[path].to_dataset()))  # noqa: S301
        field, _, level = path.rpartition("/")
        np.testing.assert_array_equal(copy.image, sample.images[field][int(level)])
    assert len(pickle.dumps(tree["A/1/0/0"].to_dataset())) < 40_000


def test_a_field_is_written_as_an_image(tmp_path: Path, memory: MemoryStore) -> None:
    sample = put_plate(memory, FOUR)
    ds = opened_tree(memory)["A/2/0/0"].to_dataset()
    ds.omezarr.to_zarr(tmp_path / "field.zarr", levels=1)
    np.testing.assert_array_equal(opened(tmp_path / "field.zarr").image, sample.images["A/2/0"][0])


def test_without_some_variables(plate: PlateSample) -> None:
    tree = opened_tree(plate.store, drop_variables=["image", "y", "row"])
    node = tree["A/1/0/0"]
    assert set(node.variables) == {"x", "column", "well", "field"}


def test_an_axis_with_the_name_of_a_coordinate(memory: MemoryStore) -> None:
    put_plate(memory, {"A/1": ["0"]})
    group = zarr.open_group(memory, path="A/1/0", mode="r+")
    ome: Any = group.attrs["ome"]
    ome["multiscales"][0]["axes"][0]["name"] = "row"
    group.attrs["ome"] = ome
    with pytest.warns(OmeZarrWarning, match="dimension_names"):
        tree = opened_tree(memory)
    assert tree["A/1/0/0"]["image"].dims == ("row", "x")
    assert tree["A/1/0/0"].row.dtype == np.float64


# ── what is not as it should be ──────────────────────────────────────────────────────────────────


def test_fields_need_not_be_alike(memory: MemoryStore, version: str) -> None:
    if version == "0.6":
        pytest.skip("laid down as 0.4 and 0.5 only")
    put_plate(memory, FOUR, version=version)
    for group, dims in (("A/1/1", "czyx"), ("B/1/0", "tyx")):
        removed(memory, f"{group}/")
        put_sample(memory, group=group, dims=dims, version=version)
    with pytest.warns(OmeZarrWarning, match="unit") as told:
        tree = opened_tree(memory)
    assert len(told) == 1
    assert dict(tree["A/1/0/0"].sizes) == {"y": 8, "x": 12}
    assert dict(tree["A/1/1/2"].sizes) == {"c": 2, "z": 4, "y": 10, "x": 12}
    assert list(tree["A/1/1/0"].c.values) == ["DAPI", "GFP"]
    assert dict(tree["B/1/0/0"].sizes) == {"t": 3, "y": 40, "x": 48}
    # An image that has no such level is left out, and the others open.
    with pytest.warns(OmeZarrWarning) as told:
        tree = opened_tree(memory, level=2)
    assert any(re.search(r"A/1/0 has no level 2.*and 2 others", str(one.message)) for one in told)
    assert data_nodes(tree) == ["A/1/1/2", "B/1/0/2"]


def test_what_is_missing_is_told_of_once(plate: PlateSample) -> None:
    removed(plate.store, "A/2/")
    removed(plate.store, "B/1/0/")
    removed(plate.store, "A/1/0/1/")
    removed(plate.store, "A/1/1/0/")
    with pytest.warns(OmeZarrWarning) as told:
        tree = opened_tree(plate.store)
    assert data_nodes(tree) == ["A/1/0/0", "B/1/1/0", "B/1/1/1"]
    messages = [str(one.message) for one in told]
    assert len(messages) == 4
    for part in ("'A/2' are not there", "'B/1/0' are not there", "'A/1/1/0' is missing"):
        assert any(part in message for message in messages), messages
    with pytest.raises(OmeZarrError, match="Without strict=True"):
        opened_tree(plate.store, strict=True)


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("A/1/1/zarr.json", b"{", "no valid JSON"),
        ("A/1/1/0/zarr.json", b"{", "describes no array"),
        ("A/1/1/0/zarr.json", b'{"node_type": "group"}', "describes no array"),
        ("A/1/1/zarr.json", group_files("0.5", {"well": {}})["zarr.json"], "is no image"),
    ],
)
def test_broken_fields(memory: MemoryStore, key: str, content: bytes, message: str) -> None:
    put_plate(memory, FOUR)
    put_files(memory, {key: content, key.replace("A/1/1", "B/1/1"): content})
    with pytest.warns(OmeZarrWarning, match=rf"{message}.*\(and 1 others\)") as told:
        tree = opened_tree(memory)
    assert len(told) == 1
    assert [path for path in data_nodes(tree) if path.endswith("/0")] == [
        "A/1/0/0",
        "A/2/0/0",
        "B/1/0/0",
    ]


def test_what_all_fields_have_in_common_is_told_once(memory: MemoryStore) -> None:
    put_plate(memory, FOUR)
    for key, value in contents(memory).items():
        if key.endswith("/zarr.json") and b"dimension_names" in value:
            document = {**json.loads(value), "dimension_names": ["a", "b"]}
            put_files(memory, {key: json.dumps(document).encode()})
    with pytest.warns(
        OmeZarrWarning, match="'A/1/0', 'A/1/1', 'A/2/0', 'B/1/0' and 1 more"
    ) as told:
        opened_tree(memory)
    assert len(told) == 1
    assert "dimension_names" in str(told[0].message)


@pytest.mark.parametrize("failing", ["A/2/zarr.json", "A/2/0/zarr.json", "A/2/0/1/zarr.json"])
def test_a_store_that_fails_is_not_one_where_something_is_missing(
    memory: MemoryStore, failing: str
) -> None:
    put_plate(memory, FOUR)

    def hook(_: str, key: str) -> None:
        if key.startswith(failing):
            msg = "the line is dead"
            raise ConnectionError(msg)

    with pytest.raises(OmeZarrError, match="the line is dead"):
        opened_tree(WatchedStore(memory, hook=hook))


def test_a_plate_with_nothing_on_it(memory: MemoryStore) -> None:
    put_plate(memory, {})
    assert data_nodes(opened_tree(memory)) == []


# ── series ───────────────────────────────────────────────────────────────────────────────────────

XML = b"""<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Image Name="overview"/><Image Name="detail"/></OME>"""


def put_series(
    store: MemoryStore, paths: Sequence[str], *, listed: bool = True, xml: bytes | None = XML
) -> dict[str, Sample]:
    put_files(store, group_files("0.4", {"bioformats2raw.layout": 3}))
    if listed:
        put_files(store, group_files("0.4", {"series": list(paths)}, "OME"))
    if xml is not None:
        put_files(store, {"OME/METADATA.ome.xml": xml})
    return {
        path: put_sample(store, group=path, version="0.4", seed=i) for i, path in enumerate(paths)
    }


def test_a_series(memory: MemoryStore) -> None:
    samples = put_series(memory, ["b", "a"])
    tree = opened_tree(memory)
    assert list(tree.children) == ["b", "a"]
    assert data_nodes(tree) == [f"{path}/{level}" for path in "ba" for level in range(3)]
    assert [tree[path].attrs["name"] for path in ("b/0", "b/2", "a/0")] == [
        "overview",
        "overview",
        "detail",
    ]
    about = tree.encoding["omezarr"]
    assert about["xml"] == XML
    assert (about["kind"], about["paths"], about["names"]) == (
        "series",
        ("b", "a"),
        ("overview", "detail"),
    )
    for path, sample in samples.items():
        np.testing.assert_array_equal(tree[f"{path}/1"]["image"], sample.levels[1])
    np.testing.assert_array_equal(opened(memory, group="a").image, samples["a"].levels[0])


@pytest.mark.parametrize(("count", "xml"), [(2, XML), (2, None), (11, None), (3, XML)])
def test_a_series_of_numbers(memory: MemoryStore, count: int, xml: bytes | None) -> None:
    put_series(memory, [str(i) for i in range(count)], listed=False, xml=xml)
    tree = opened_tree(memory, level=0)
    assert list(tree.children) == [str(i) for i in range(count)]
    named = [tree[f"{i}/0"].attrs["name"] for i in range(count)]
    assert named == (["overview", "detail"] if xml and count == 2 else ["cells"] * count)


def test_a_plate_goes_before_a_series(memory: MemoryStore) -> None:
    put_plate(memory, {"A/1": ["0"]}, version="0.4")
    attributes: Any = zarr.open_group(memory, mode="r").attrs.asdict()
    put_files(memory, group_files("0.4", {**attributes, "bioformats2raw.layout": 3}))
    assert data_nodes(opened_tree(memory)) == ["A/1/0/0", "A/1/0/1"]


def test_a_series_with_an_image_missing(memory: MemoryStore) -> None:
    put_series(memory, ["0", "1"])
    removed(memory, "0/")
    with pytest.warns(OmeZarrWarning, match="'0' are not there"):
        tree = opened_tree(memory)
    assert list(tree.children) == ["1"]
    assert tree["1/0"].attrs["name"] == "detail"


def test_the_list_of_a_series_is_none(memory: MemoryStore) -> None:
    put_series(memory, ["0"])
    with pytest.raises(OmeZarrError, match="is a series"):
        opened_tree(memory, group="OME")


# ── scenes, and groups that say nothing ──────────────────────────────────────────────────────────


def test_a_scene(memory: MemoryStore) -> None:
    tree = opened_tree(stitched(memory))
    assert {path.split("/")[0] for path in data_nodes(tree)} == {"tile_0", "tile_1"}
    about = tree.encoding["omezarr"]
    assert about["kind"] == "scene"
    scene = about["document"]["ome"]["scene"]
    assert scene["coordinateSystems"][0]["name"] == "world"
    assert len(scene["coordinateTransformations"]) == 2
    # The systems of an image are known as they are of an image alone.
    found = tree["tile_1/0"].to_dataset().omezarr.coordinate_systems
    assert set(found) == set(opened(memory, group="tile_1").omezarr.coordinate_systems)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_group_of_images(memory: MemoryStore, tmp_path: Path, version: str) -> None:
    places: list[Place] = [memory, tmp_path]
    for store in places:
        put_files(store, group_files(version, {}))
        sample = put_sample(store, group="x", version=version)
        put_sample(store, group="y", version=version, seed=1)
        put_files(store, group_files(version, {}, "tables"))
        tree = opened_tree(store)
        assert list(tree.children) == ["x", "y"]
        np.testing.assert_array_equal(tree["x/0"]["image"], sample.levels[0])


def test_a_group_whose_store_does_not_list(memory: MemoryStore) -> None:
    class Silent(WatchedStore):
        supports_listing = False

    put_files(memory, group_files("0.5", {}))
    put_sample(memory, group="x")
    with pytest.raises(OmeZarrError, match="group="):
        opened_tree(Silent(memory))
    assert data_nodes(opened_tree(Silent(memory), group="x")) == ["0", "1", "2"]


def test_only_such_a_group_is_listed(memory: MemoryStore) -> None:
    put_plate(memory, FOUR)
    watched = WatchedStore(memory)
    opened_tree(watched)
    assert not watched.log.keys("list")
    inner = WatchedStore(stitched(MemoryStore()))
    opened_tree(inner)
    assert not [key for key in inner.log.keys("list") if "labels" not in key]


def test_a_group_of_nothing(memory: MemoryStore) -> None:
    put_files(memory, group_files("0.5", {}))
    put_files(memory, group_files("0.5", {}, "x"))
    with pytest.raises(OmeZarrError, match="without OME-Zarr metadata"):
        opened_tree(memory)
    with pytest.raises(FileNotFoundError):
        opened_tree(memory, group="nowhere")


# ── the door ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["plate", "well", "series", "scene", "group"])
def test_a_dataset_without_a_group_names_images(memory: MemoryStore, kind: str) -> None:
    if kind in {"plate", "well"}:
        put_plate(memory, MANY if kind == "plate" else FOUR, levels=1, shape=(1, 1))
    elif kind == "series":
        put_series(memory, ["b", "a"])
    elif kind == "scene":
        stitched(memory)
    else:
        put_files(memory, group_files("0.5", {}))
        put_sample(memory, group="x")
    named = {
        "plate": "plate of wells.*group='A/1/0', group='A/1/1', group='A/2/0'.* and more",
        "well": "well of a plate.*group='0', group='1'",
        "series": "series of images.*group='b', group='a'",
        "scene": "scene.*group='tile_0', group='tile_1'",
        "group": "without OME-Zarr metadata.*group='x'",
    }[kind]
    watched = WatchedStore(memory)
    with pytest.raises(OmeZarrError, match=named):
        opened(watched, group="A/1" if kind == "well" else None)
    assert len(watched.log.keys("get")) < 16


@pytest.mark.parametrize("kind", ["plate", "well", "series", "image"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_without_an_engine(tmp_path: Path, kind: str, version: str) -> None:
    if kind == "series":
        put_files(tmp_path, group_files(version, {"bioformats2raw.layout": 3}))
        put_sample(tmp_path, group="0", version=version)
        tree = xr.open_datatree(tmp_path)
        assert data_nodes(tree) == ["0/0", "0/1", "0/2"]
        return
    put_plate(tmp_path, {"A/1": ["0"]}, version=version)
    inside = {"plate": "", "well": "A/1", "image": "A/1/0"}[kind]
    tree = xr.open_datatree(tmp_path / inside)
    assert len(data_nodes(tree)) == 2


def test_a_plain_group_stays_with_others(tmp_path: Path) -> None:
    path = tmp_path / "plain.zarr"
    xr.Dataset({"a": ("x", [1, 2])}).to_zarr(path, consolidated=False)
    assert xr.open_datatree(path, consolidated=False)["a"].sum() == 3


# ── what it costs ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("labels", [0, 1, 3])
@pytest.mark.parametrize("levels", [1, 4])
def test_an_image(memory: MemoryStore, version: str, labels: int, levels: int) -> None:
    """Count n levels and m labels: 3 + n + m (2 + n) requests in at most five rounds."""
    names = [f"label {i}" for i in range(labels)]
    put_plate(memory, {"A/1": ["0"]}, version=version, levels=levels, labels=names)
    watched = WatchedStore(memory, latency=0.05)
    tree = opened_tree(watched, group="A/1/0")
    assert len(data_nodes(tree)) == levels * (1 + labels)
    allowed = 3 + levels + labels * (2 + levels)
    asked = watched.log.keys("get", "exists")
    assert len(asked) <= (allowed if version != "0.4" else 3 * allowed)
    assert len(set(asked)) == len(asked)
    assert watched.log.rounds <= (5 if version != "0.4" else 6)


@pytest.mark.parametrize(("labels", "most"), [(False, 14), (True, 16)])
def test_a_well_of_many(memory: MemoryStore, version: str, most: int, *, labels: bool) -> None:
    put_plate(memory, MANY, version=version, levels=5, shape=(16, 16))
    watched = WatchedStore(memory)
    tree = opened_tree(watched, wells=["A/1"], labels=labels)
    assert len(data_nodes(tree)) == 10
    assert len(watched.log.requests) <= (most if version != "0.4" else 3 * most)


def test_a_whole_plate(memory: MemoryStore, version: str) -> None:
    """One request for each group and array, side by side, and never too many at a time."""
    put_plate(memory, MANY, version=version, levels=2, shape=(2, 2))
    watched = WatchedStore(memory, latency=0.01)
    groups = OmeZarrBackendEntrypoint().open_groups_as_dict(watched)
    assert sum(bool(ds.data_vars) for ds in groups.values()) == 1536
    asked = watched.log.keys()
    groups_and_arrays = 1 + 384 + 768 + 1536
    assert len(asked) <= groups_and_arrays + (version == "0.4") * 3
    assert len(set(asked)) == len(asked)
    assert statistics.mean(watched.log.flights) >= 16
    assert max(watched.log.flights) <= REQUESTS
    assert join("A/1/0/1", ".zarray" if version == "0.4" else "zarr.json") in asked


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_over_http(tmp_path: Path, version: str) -> None:
    put_plate(tmp_path / "plate", FOUR, version=version, levels=5, labels=["nuclei"])
    times = 1 if version == "0.5" else 3
    with served(tmp_path) as (url, asked):
        place = f"{url}/plate"
        tree = opened_tree(place, wells=["A/1"])
        assert len(data_nodes(tree)) == 10
        assert len(asked) <= 14 * times
        asked.clear()
        assert len(wells(place)) == 3
        assert len(asked) <= 3 + 2
        asked.clear()
        opened_tree(place, group="A/1/0")
        assert len(asked) <= (3 + 5 + 1 * (2 + 5)) * times
        with pytest.raises(OmeZarrError, match="group='A/1/0'"):
            opened(place)
