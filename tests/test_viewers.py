"""Layers for napari: plain values, looked at without it; and by it, where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import LocalStore, MemoryStore

from tests.helpers import (
    OMERO,
    WatchedStore,
    image,
    multiscales,
    opened,
    opened_tree,
    pixels,
    put_array,
    put_document,
    put_sample,
)
from xarray_omezarr import OmeZarrError, OmeZarrWarning, samples
from xarray_omezarr.viewers import dataset_layers, tree_layers

if TYPE_CHECKING:
    from pathlib import Path

    from xarray_omezarr.viewers import LayerData


def coins(tmp_path: Path) -> Path:
    """Write the coins with two levels and a table."""
    ds = samples.coins().omezarr.measure("coins", ["area", "count"])
    kinds = np.array(["obol", "drachma"] * 11, object)
    ds = ds.assign(coins_kind=("coins_id", kinds))
    ds = ds.omezarr.color_labels("coins", {1: "#FF0000", 2: "#00FF0080"})
    ds.omezarr.to_zarr(tmp_path / "coins", levels=2)
    return tmp_path / "coins"


# ── images ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tree", [False, True], ids=["dataset", "tree"])
def test_a_layer_for_each_channel_with_all_levels(tmp_path: Path, tree: bool) -> None:  # noqa: FBT001
    sample = put_sample(str(tmp_path), dims="czyx")
    layers = tree_layers(opened_tree(str(tmp_path))) if tree else dataset_layers(
        opened(str(tmp_path))
    )  # fmt: skip
    assert [kind for _, _, kind in layers] == ["image", "image"]
    for number, (data, arguments, _) in enumerate(layers):
        for level, array in zip(sample.levels, data, strict=True):
            np.testing.assert_array_equal(array, level[number])
        channel: dict[str, Any] = OMERO["channels"][number]
        window = channel["window"]
        color = [int(channel["color"][i : i + 2], 16) / 255 for i in (0, 2, 4)]
        assert arguments == {
            "name": channel["label"],
            "colormap": {"name": f"#{channel['color']}", "colors": [[0, 0, 0], color]},
            "contrast_limits": (window["start"], window["end"]),
            "visible": channel["active"],
            "blending": "additive",
            "rgb": False,
            "multiscale": True,
            "scale": (2, 0.5, 0.25),
            "translate": (0, 10, -4),
            "units": ("micrometer",) * 3,
            "axis_labels": ("z", "y", "x"),
        }


def test_from_a_coarser_level_on(tmp_path: Path) -> None:
    put_sample(str(tmp_path), dims="yx")
    ((data, arguments, _),) = dataset_layers(opened(str(tmp_path), level=1))
    assert [array.shape for array in data] == [(20, 24), (10, 12)]
    assert arguments["scale"] == (1, 0.5)
    assert arguments["translate"] == (10.25, -3.875)


def test_nothing_is_read_before_it_is_shown(tmp_path: Path) -> None:
    put_sample(str(tmp_path), dims="czyx", chunks=(1, 1, 8, 8))
    store = WatchedStore(LocalStore(tmp_path))
    ds = opened(store)
    store.log.clear()
    layers = dataset_layers(ds)
    assert {key.split("/")[-1] for _, key in store.log.requests} == {"zarr.json"}
    store.log.clear()
    # As napari slices: the part in view, and of that a plane.
    data = layers[1][0][0][:, 8:16, 8:16][2:3]
    assert not store.log.requests
    assert np.asarray(data).shape == (1, 8, 8)
    assert [key for key in store.log.keys("get") if "/c/" in key] == ["nine/c/1/2/1/1"]


def test_what_is_no_untouched_file_is_one_level(tmp_path: Path) -> None:
    put_sample(str(tmp_path), dims="yx")
    for ds in (opened(str(tmp_path)).compute(), opened(str(tmp_path)).isel(x=slice(3, 9))):
        ((data, arguments, _),) = dataset_layers(ds)
        assert not arguments["multiscale"]
        np.testing.assert_array_equal(data, ds.image)
        assert arguments["translate"] == (10, ds.x[0])
    # A single plane of all levels is known still.
    put_sample(str(tmp_path / "b"), dims="czyx")
    data = dataset_layers(opened(str(tmp_path / "b")).isel(z=1))[0][0]
    assert [array.shape for array in data] == [(40, 48), (20, 24), (10, 12)]


def test_a_level_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    put_sample(str(tmp_path), dims="yx")
    ds = opened(str(tmp_path))
    (tmp_path / "deep" / "one" / "zarr.json").unlink()
    with pytest.warns(OmeZarrWarning, match="The level is left out"):
        ((data, _, _),) = dataset_layers(ds)
    assert [array.shape for array in data] == [(40, 48), (10, 12)]


def test_descending_axes_are_turned() -> None:
    ds = image((20, 30)).isel(x=slice(None, None, -1))
    ((data, arguments, _),) = dataset_layers(ds)
    np.testing.assert_array_equal(data, ds.image.values[:, ::-1])
    assert (arguments["scale"], arguments["translate"]) == ((0.5, 0.5), (0, 0))


def test_axes_without_a_unit_that_napari_knows() -> None:
    ds = samples.fluorescence((2, 2, 3, 8, 9)).drop_vars("x")
    ds.y.attrs["units"] = "furlong"
    ds.t.attrs["units"] = "second"
    with pytest.warns(OmeZarrWarning, match="furlong"):
        arguments = dataset_layers(ds)[0][1]
    assert arguments["axis_labels"] == ("t", "z", "y", "x")
    assert arguments["units"] == ("second", "micrometer", "pixel", "pixel")
    assert arguments["scale"] == (30, 1, 0.325, 1)


def test_windows_that_nobody_knows_are_left_to_napari() -> None:
    ((_, arguments, _),) = dataset_layers(image((20, 30)))
    assert "contrast_limits" not in arguments
    assert arguments["name"] == "image"


@pytest.mark.parametrize(
    ("channel", "name", "limits", "middle"),
    [
        ({"family": "polynomial", "coefficient": 0.5}, "#FFFFFF polynomial 0.5", (0, 200), 180),
        ({"inverted": True}, "#FFFFFF inverted", (0, 200), None),
        ({"window": {"start": 200, "end": 0, "min": 0, "max": 255}}, "#FFFFFF inverted", (0, 200),
         None),
        ({"window": {"start": 7, "end": 7, "min": 0, "max": 255}}, "#FFFFFF", (7, 8), None),
    ],
    ids=["gamma", "inverted", "backwards", "step"],
)  # fmt: skip
def test_curves(
    tmp_path: Path,
    channel: dict[str, Any],
    name: str,
    limits: tuple[int, int],
    middle: int | None,
) -> None:
    told = {"window": {"start": 0, "end": 200, "min": 0, "max": 255}, "color": "FFFFFF", **channel}
    axes = multiscales("yx", ["0"], [(1, 1)], [(0, 0)], {})
    put_document(
        str(tmp_path), {"multiscales": [axes], "omero": {"channels": [told]}}, version="0.5"
    )
    put_array(str(tmp_path), "0", pixels((8, 8), "uint8"), version="0.5", dims="yx")
    ((_, arguments, _),) = dataset_layers(opened(str(tmp_path)))
    assert arguments["contrast_limits"] == limits
    colors = np.array(arguments["colormap"]["colors"])
    assert arguments["colormap"]["name"] == name
    ends = (1, 0) if "inverted" in name else (0, 1)
    np.testing.assert_array_equal(colors[[0, -1]], [[end] * 3 for end in ends])
    if middle is not None:
        # 255 · √½ of the light, half way.
        assert colors[128, 0] * 255 == pytest.approx(255 * np.sqrt(128 / 255), abs=0.5)


def test_wells_and_fields_are_axes(tmp_path: Path) -> None:
    samples.plate(rows=1, columns=2).omezarr.to_zarr(tmp_path / "plate", levels=1)
    layers = dataset_layers(opened(tmp_path / "plate", stack="well", labels=True))
    assert [arguments["name"] for _, arguments, _ in layers] == ["DAPI", "GFP", "nuclei"]
    for data, arguments, _ in layers:
        assert arguments["axis_labels"] == ("well", "field", "y", "x")
        assert arguments["units"] == ("pixel", "pixel", "micrometer", "micrometer")
        assert data.shape == (2, 2, 128, 128)


def test_what_has_no_plane() -> None:
    with pytest.raises(OmeZarrError, match="expected two or more that are no channels"):
        dataset_layers(image((2, 9), "cx"))


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tree", [False, True], ids=["dataset", "tree"])
def test_labels_with_levels_colours_and_properties(tmp_path: Path, tree: bool) -> None:  # noqa: FBT001
    path = coins(tmp_path)
    layers = tree_layers(opened_tree(path)) if tree else dataset_layers(opened(path, labels=True))
    data, arguments, kind = layers[1]
    assert (kind, arguments["name"], len(data)) == ("labels", "coins", 2)
    for level, array in enumerate(data):
        expected = opened(path, labels=True, level=level).coins
        np.testing.assert_array_equal(array, expected)
    assert arguments["scale"] == (0.65, 0.65)
    table = arguments["features"]
    assert list(table) == ["index", "area", "count", "kind"]
    assert table["index"].tolist() == list(range(1, 23))
    assert table["kind"].tolist() == ["obol", "drachma"] * 11
    assert arguments["colormap"] == {
        None: (0, 0, 0, 0),
        0: (0, 0, 0, 0),
        1: (1, 0, 0, 1),
        2: (0, 1, 0, 128 / 255),
    }


def test_gaps_of_a_table() -> None:
    ds = samples.coins().omezarr.measure("coins", "count")
    ds = ds.assign(
        coins_rank=("coins_id", np.arange(22)),
        coins_rank_present=("coins_id", np.arange(22) > 0),
        coins_flag=("coins_id", np.arange(22) > 3),
        coins_flag_present=("coins_id", np.arange(22) < 5),
        coins_index=("coins_id", np.arange(22) * 2.0),
    )
    table = dataset_layers(ds)[1][1]["features"]
    assert np.isnan(table["rank"][0])
    assert table["rank"][1:].tolist() == list(range(1, 22))
    assert table["flag"][3:6].tolist() == [False, True, None]
    assert table["index"].tolist() == list(range(1, 23))
    assert table["index (property)"][3] == 6


def labelled(dims: str, **sizes: int) -> xr.Dataset:
    """Make an image of t, c, z, y, x, and labels along some of these."""
    ds = samples.fluorescence((2, 2, 3, 8, 9))
    labels = xr.zeros_like(ds.image.isel(t=0, c=0, z=0, drop=True), "int32")
    labels = labels.copy(data=np.arange(72).reshape(8, 9))
    labels = labels.expand_dims({dim: sizes[dim] for dim in dims if dim not in "yx"})
    labels = labels.transpose(*dims)
    labels.encoding["omezarr"] = {"kind": "label"}
    ds["cells"] = labels.drop_vars(labels.coords)
    return ds


@pytest.mark.parametrize(
    ("dims", "sizes", "shape"),
    [
        ("yx", {}, (8, 9)),
        ("zyx", {"z": 3}, (3, 8, 9)),
        ("tyx", {"t": 2}, (2, 3, 8, 9)),
        ("tzyx", {"t": 2, "z": 3}, (2, 3, 8, 9)),
    ],
    ids=["plane", "stack", "times", "both"],
)
def test_labels_lie_along_the_axes_of_the_image(
    dims: str, sizes: dict[str, int], shape: tuple[int, ...]
) -> None:
    # Napari counts axes from the last one.
    data, arguments, _ = dataset_layers(labelled(dims, **sizes))[2]
    assert data.shape == shape
    assert arguments["axis_labels"] == ("t", "z", "y", "x")[-len(shape) :]
    assert arguments["scale"] == (30, 1, 0.325, 0.325)[-len(shape) :]
    np.testing.assert_array_equal(data, np.broadcast_to(np.arange(72).reshape(8, 9), shape))


def test_a_plane_of_labels_that_lack_an_axis_is_read_by_its_chunks() -> None:
    store = MemoryStore()
    for group, dims in (("", "tzyx"), ("labels/cells", "tyx")):
        ones = [1.0] * len(dims)
        document: Any = {"multiscales": [multiscales(dims, ["0"], [ones], [[0.0] * len(dims)])]}
        put_document(store, document | {"image-label": {}}, version="0.5", group=group)
        shape = [{"t": 4, "z": 3}.get(dim, 32) for dim in dims]
        where, chunks = f"{group}/0".lstrip("/"), [1] * (len(dims) - 2) + [16, 16]
        put_array(store, where, pixels(shape), version="0.5", dims=dims, chunks=chunks)
    put_document(store, {"labels": ["cells"]}, version="0.5", group="labels")
    watched = WatchedStore(store)
    _, (labels, _, _) = dataset_layers(opened(watched))
    assert labels.shape == (4, 3, 32, 32)
    watched.log.clear()
    labels[2, 1].compute()
    assert len([key for key in watched.log.keys("get") if "/c/" in key]) == 4


def test_labels_of_each_channel() -> None:
    layers = dataset_layers(labelled("cyx", c=2))
    assert [arguments["name"] for _, arguments, _ in layers[2:]] == ["cells [0]", "cells [1]"]


# ── trees ────────────────────────────────────────────────────────────────────────────────────────


def test_the_only_image_of_a_tree() -> None:
    inner = samples.coins().omezarr.pyramid(levels=2)
    tree = xr.DataTree.from_dict({"/first": inner, "/notes": xr.Dataset()})
    assert [kind for _, _, kind in tree_layers(tree)] == ["image", "labels"]
    # A level alone is a Dataset.
    assert len(tree_layers(inner["0"])) == 1


def test_trees_that_show_no_single_image() -> None:
    plate = samples.plate(rows=2, columns=4)
    with pytest.raises(OmeZarrError, match=r"There are 8 images in the tree: A/1, .*stack='well'"):
        tree_layers(plate)
    with pytest.raises(OmeZarrError, match="The tree has no image"):
        tree_layers(xr.DataTree(xr.Dataset()))


# ── the window ───────────────────────────────────────────────────────────────────────────────────


class Viewer:
    """Takes layers as napari's viewer does."""

    def __init__(self) -> None:
        self.layers: list[LayerData] = []

    def add_image(self, data: Any, **arguments: Any) -> None:  # noqa: ANN401
        self.layers.append((data, arguments, "image"))

    def add_labels(self, data: Any, **arguments: Any) -> None:  # noqa: ANN401
        self.layers.append((data, arguments, "labels"))


def test_layers_go_to_a_viewer() -> None:
    ds = samples.coins()
    viewer = Viewer()
    assert ds.omezarr.to_napari(viewer) is viewer
    assert ds.omezarr.pyramid(levels=2).omezarr.to_napari(viewer) is viewer
    told = [(kind, arguments["multiscale"]) for _, arguments, kind in viewer.layers]
    assert told == [("image", False), ("labels", False), ("image", True), ("labels", True)]


def test_napari_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "napari", None)
    with pytest.raises(OmeZarrError, match=r'pip install "napari\[all\]"'):
        samples.coins().omezarr.to_napari()


@pytest.mark.skipif(importlib.util.find_spec("napari") is None, reason="napari is not installed")
@pytest.mark.filterwarnings("ignore")  # of its dependencies
def test_napari_takes_the_layers(tmp_path: Path) -> None:
    from napari.components import ViewerModel

    viewer = opened(coins(tmp_path), labels=True).omezarr.to_napari(ViewerModel())
    picture, labels = viewer.layers
    assert [str(unit) for unit in picture.units] == ["micrometer", "micrometer"]
    assert picture.data.shapes == labels.data.shapes == ((303, 384), (152, 192))
    np.testing.assert_allclose(labels.scale, 0.65)
    np.testing.assert_allclose(labels.colormap.map(2), [0, 1, 0, 128 / 255], atol=1e-6)
    assert labels.features["kind"][0] == "obol"
    samples.fluorescence((2, 2, 3, 8, 9)).omezarr.to_napari(viewer)
    assert viewer.dims.axis_labels == ("t", "z", "y", "x")
