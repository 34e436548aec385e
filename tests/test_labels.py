"""Label images: opened as variables beside their image, and written with it, after it, over it."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from tests.helpers import (
    VERSIONS,
    StoreFailureError,
    WatchedStore,
    axis,
    contents,
    document_of,
    failing_after,
    files,
    image,
    level_array,
    level_paths,
    memory_of,
    multiscales,
    opened,
    opened_tree,
    put_array,
    put_document,
    put_sample,
)
from xarray_omezarr import OmeZarrError, OmeZarrWarning, samples
from xarray_omezarr.errors import OmeZarrFileExistsError, OmeZarrFileNotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.helpers import Document, Pixels, Place, Sample

HUGE = (2**53 + 1, 2**64 - 1)
"""A label that float64 cannot tell from its neighbour, and the largest one."""


TIME = pytest.mark.filterwarnings("ignore:.*the unit of axis 't', is no unit of time")
"""`put_sample` measures time in micrometres."""

STRINGS = pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
"""What Zarr says of strings that xarray saves."""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ── label images laid down by hand ───────────────────────────────────────────────────────────────


def label_pixels(shape: Sequence[int], dtype: str = "int32", *, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 5, tuple(shape)).astype(dtype)


def put_label(
    sample: Sample,
    name: str = "nuclei",
    *,
    version: str = "0.5",
    group: str = "",
    dims: str | None = None,
    sizes: Mapping[str, int] | None = None,
    levels: int = 3,
    dtype: str = "int32",
    moved: float = 0.0,
    zoomed: float = 1.0,
    image_label: Document | None = None,
) -> list[Pixels]:
    """Lay down a label image on the levels of its image, but for what is asked otherwise."""
    dims = dims or "".join(sample.dims)
    where = f"{group}/labels/{name}".strip("/")
    made, scales, translations = [], [], []
    for level in range(levels):
        full = dict(zip(sample.dims, sample.levels[level].shape, strict=True)) | dict(sizes or {})
        scale = dict(zip(sample.dims, sample.scales[level], strict=True))
        start = dict(zip(sample.dims, sample.translations[level], strict=True))
        made.append(label_pixels([full[dim] for dim in dims], dtype, seed=level))
        scales.append([scale[dim] * (zoomed if dim == "x" else 1) for dim in dims])
        translations.append([start[dim] + (moved if dim == "x" else 0) for dim in dims])
    paths = [f"s{level}" for level in range(levels)]
    units = {dim: "micrometer" for dim in dims if dim != "c"}
    one = multiscales(dims, paths, scales, translations, units)
    document: Document = {"multiscales": [one], "image-label": image_label or {}}
    put_document(sample.store, document, version=version, group=where)
    for path, values in zip(paths, made, strict=True):
        put_array(sample.store, f"{where}/{path}", values, version=version, dims=dims)
    return made


def put_listing(store: Place, *names: object, version: str = "0.5", group: str = "") -> None:
    where = f"{group}/labels".strip("/")
    put_document(store, {"labels": list(names)}, version=version, group=where)


def warned(record: pytest.WarningsRecorder) -> str:
    """Return all that was said, all of it by this package."""
    assert all(issubclass(one.category, OmeZarrWarning) for one in record)
    return "\n".join(str(one.message) for one in record)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


@TIME
@pytest.mark.parametrize("level", [0, 1, 2, -1])
@pytest.mark.parametrize("dims", ["yx", "zyx", "tczyx"])
def test_a_label_image_is_a_variable(
    memory: MemoryStore, version: str, dims: str, level: int
) -> None:
    sample = put_sample(memory, version=version, dims=dims)
    pixels = put_label(sample, version=version)
    put_listing(memory, "nuclei", version=version)
    ds = opened(memory, level=level, labels=True)
    assert set(ds.data_vars) == {"image", "nuclei"}
    assert ds.nuclei.dims == sample.dims
    assert ds.nuclei.dtype == np.dtype("int32")
    np.testing.assert_array_equal(ds.nuclei, pixels[level])
    assert ds.nuclei.encoding["omezarr"]["kind"] == "label"
    # The image is what it is without them.
    alone = opened(memory, level=level, labels=False)
    xr.testing.assert_identical(ds.drop_vars("nuclei").load(), alone.load())
    xr.testing.assert_identical(sample.dataset(level % 3), alone)
    for dim in alone.coords:
        assert ds[dim].values.tobytes() == alone[dim].values.tobytes()


def test_which_labels(memory: MemoryStore, version: str) -> None:
    sample = put_sample(memory, version=version)
    for name in ("nuclei", "cells", "vessels"):
        put_label(sample, name, version=version)
    put_listing(memory, "nuclei", "cells", "vessels", version=version)

    def found(labels: bool | list[str]) -> list[str]:  # noqa: FBT001
        return sorted(str(name) for name in opened(memory, labels=labels).data_vars)

    assert found(labels=True) == ["cells", "image", "nuclei", "vessels"]
    assert found(labels=["cells"]) == ["cells", "image"]
    assert found(labels=["vessels", "nuclei"]) == ["image", "nuclei", "vessels"]
    assert found(labels=[]) == found(labels=False) == ["image"]
    assert sorted(opened_tree(memory, labels=["cells"])["labels"].children) == ["cells"]
    assert "labels" not in opened_tree(memory, labels=False).children
    for open_ in (opened, opened_tree):
        with pytest.raises(OmeZarrError, match="no label image 'cell'") as error:
            open_(memory, labels=["nuclei", "cell"])
        assert all(name in str(error.value) for name in ("nuclei", "cells", "vessels"))


def test_a_label_of_an_image_without_any(memory: MemoryStore, version: str) -> None:
    put_sample(memory, version=version)
    assert list(opened(memory, labels=True).data_vars) == ["image"]
    with pytest.raises(OmeZarrError, match="no label image 'nuclei'"):
        opened(memory, labels=["nuclei"])


def test_open_dataarray(tmp_path: Path) -> None:
    put_label(put_sample(tmp_path))
    put_listing(tmp_path, "nuclei")
    array = xr.open_dataarray(tmp_path, engine="omezarr", labels=False)
    assert array.dims == ("c", "y", "x")
    # The sentence is xarray's own; the way out stands in the documentation of the engine.
    with pytest.raises(ValueError, match="more than one data variable"):
        xr.open_dataarray(tmp_path, engine="omezarr")


def test_other_ways_to_open(memory: MemoryStore) -> None:
    sample = put_sample(memory, group="a/b")
    pixels = put_label(sample, group="a/b")
    put_listing(memory, "nuclei", group="a/b")
    ds = opened(memory, group="a/b", chunks={})
    assert isinstance(ds.nuclei.data, da.Array)
    np.testing.assert_array_equal(ds.nuclei, pixels[0])
    assert "nuclei" not in opened(memory, group="a/b", drop_variables="nuclei")
    tree = opened_tree(memory, group="a/b")
    np.testing.assert_array_equal(tree["labels/nuclei/1"].nuclei, pixels[1])


def test_opening_reads_no_pixels(memory: MemoryStore, version: str) -> None:
    put_label(put_sample(memory, version=version), version=version)
    put_listing(memory, "nuclei", version=version)
    store = WatchedStore(memory)
    ds = opened(store)
    metadata = ("zarr.json", ".zattrs", ".zarray", ".zgroup")
    assert all(key.endswith(metadata) for key in store.log.keys("get"))
    store.log.clear()
    ds.nuclei.isel(c=0, y=slice(0, 4), x=slice(0, 4)).load()
    chunks = [key for key in store.log.keys("get") if not key.endswith(metadata)]
    assert len(set(chunks)) == 1
    assert chunks[0].startswith("labels/nuclei/s0")


@TIME
@pytest.mark.parametrize(
    ("dims", "sizes", "left"),
    [
        ("tczyx", {"t": 1}, "czyx"),
        ("tczyx", {"c": 1}, "tzyx"),
        ("tczyx", {"t": 1, "c": 1, "z": 1}, "yx"),
        ("czyx", {"c": 1, "z": 1}, "yx"),
        ("cyx", {}, "cyx"),
    ],
)
def test_an_axis_of_length_one_is_dropped(
    memory: MemoryStore, version: str, dims: str, sizes: dict[str, int], left: str
) -> None:
    sample = put_sample(memory, version=version, dims=dims)
    pixels = put_label(sample, version=version, sizes=sizes)
    put_listing(memory, "nuclei", version=version)
    ds = opened(memory)
    assert ds.nuclei.dims == tuple(left)
    assert ds.image.dims == tuple(dims)
    gone = tuple(position for position, dim in enumerate(dims) if dim not in left)
    np.testing.assert_array_equal(ds.nuclei, pixels[0].squeeze(gone))
    # So that it is broadcast: each pixel of the image has its label.
    masked = ds.image.where(ds.nuclei > 0, 0)
    np.testing.assert_array_equal(masked, np.where(pixels[0] > 0, sample.levels[0], 0))


def test_an_axis_of_length_one_that_the_image_has_too_is_kept(tmp_path: Path) -> None:
    ds = image((1, 8, 8), "cyx").assign(nuclei=(("c", "y", "x"), np.ones((1, 8, 8), "u1")))
    ds.omezarr.to_zarr(tmp_path / "a", labels=["nuclei"])
    assert opened(tmp_path / "a").nuclei.dims == ("c", "y", "x")


def test_fewer_axes_than_the_image(memory: MemoryStore, version: str) -> None:
    sample = put_sample(memory, version=version, dims="czyx")
    pixels = put_label(sample, version=version, dims="zyx")
    put_listing(memory, "nuclei", version=version)
    ds = opened(memory, level=1)
    assert ds.nuclei.dims == ("z", "y", "x")
    np.testing.assert_array_equal(ds.nuclei, pixels[1])


@pytest.mark.parametrize(
    "other",
    [
        {"moved": 0.25},
        {"zoomed": 2.0},
        {"sizes": {"x": 47}},
        {"sizes": {"y": 1}, "moved": 1.0},
    ],
    ids=["moved", "zoomed", "narrower", "moved line"],
)
def test_another_grid(memory: MemoryStore, version: str, other: Document) -> None:
    sample = put_sample(memory, version=version, dims="yx")
    pixels = put_label(sample, version=version, **other)
    put_label(sample, "cells", version=version)
    put_listing(memory, "nuclei", "cells", version=version)
    with pytest.warns(OmeZarrWarning) as record:
        ds = opened(memory)
    assert len(record) == 1
    assert "nuclei" in warned(record)
    assert "open_datatree" in warned(record)
    xr.testing.assert_identical(ds.drop_vars("cells").load(), sample.dataset())
    # Without a word where nobody asks for it, and all of it in the tree.
    opened(memory, labels=False)
    opened(memory, labels=["cells"])
    tree = opened_tree(memory)
    for level in range(3):
        node = tree[f"labels/nuclei/{level}"]
        np.testing.assert_array_equal(node.nuclei, pixels[level])
        x = sample.translations[level][1] + other.get("moved", 0.0)
        assert node.x.values[0] == x
        assert node.x.values[1] - x == sample.scales[level][1] * other.get("zoomed", 1.0)


def test_a_label_image_whose_levels_are_others(memory: MemoryStore) -> None:
    """The level is found by its grid, not by its number."""
    sample = put_sample(memory, dims="yx")
    one = multiscales("yx", ["a"], [sample.scales[1]], [sample.translations[1]])
    pixels = label_pixels(sample.levels[1].shape)
    put_document(memory, {"multiscales": [one]}, version="0.5", group="labels/nuclei")
    put_array(memory, "labels/nuclei/a", pixels, version="0.5", dims="yx")
    put_listing(memory, "nuclei")
    with pytest.warns(OmeZarrWarning):
        ds = opened(memory, level=1)
    np.testing.assert_array_equal(ds.nuclei, pixels)
    for level in (0, 2):
        with pytest.warns(OmeZarrWarning, match="nuclei"):
            assert "nuclei" not in opened(memory, level=level)


def test_tree(memory: MemoryStore, version: str) -> None:
    sample = put_sample(memory, version=version, dims="cyx")
    properties = [{"label-value": 1, "area": 2.5}, {"label-value": 2, "area": 3.5}]
    colors = [{"label-value": 2, "rgba": [255, 0, 128, 255]}]
    said = {"properties": properties, "colors": colors}
    pixels = put_label(sample, version=version, sizes={"c": 1}, image_label=said)
    plain = put_label(sample, "cells", version=version)
    put_listing(memory, "nuclei", "cells", version=version)
    tree = opened_tree(memory)
    assert set(tree.children) == {"0", "1", "2", "labels"}
    assert set(tree["labels"].children) == {"nuclei", "cells"}
    assert set(tree["labels/nuclei"].children) == {"0", "1", "2"}
    table = tree["labels/nuclei"].to_dataset()
    assert table.nuclei_id.values.tolist() == [1, 2]
    assert table.nuclei_area.values.tolist() == [2.5, 3.5]
    assert table.nuclei_color.values.tolist() == ["", "FF0080FF"]
    for level in range(3):
        assert list(tree[str(level)].data_vars) == ["image"]
        node = tree[f"labels/nuclei/{level}"]
        np.testing.assert_array_equal(np.squeeze(node.nuclei), pixels[level][0])
        np.testing.assert_array_equal(tree[f"labels/cells/{level}"].cells, plain[level])
        for dim in "yx":
            np.testing.assert_array_equal(node[dim], tree[str(level)][dim], strict=True)


# ── what is found in the wild ────────────────────────────────────────────────────────────────────


def test_listed_but_missing(memory: MemoryStore, version: str) -> None:
    sample = put_sample(memory, version=version)
    put_label(sample, version=version)
    put_listing(memory, "gone", "nuclei", version=version)
    for open_ in (opened, opened_tree):
        with pytest.warns(OmeZarrWarning, match="gone") as record:
            found = open_(memory)
        assert len(record) == 1
    assert set(opened(memory, labels=["nuclei"]).data_vars) == {"image", "nuclei"}
    assert set(found["labels"].children) == {"nuclei"}
    with pytest.raises(OmeZarrError, match="gone"):
        opened(memory, labels=["gone"])


@pytest.mark.parametrize("listing", [[], None, ["nuclei"]], ids=["empty", "none", "the other"])
def test_unlisted_but_present(memory: MemoryStore, version: str, listing: list[str] | None) -> None:
    sample = put_sample(memory, version=version)
    for name in ("nuclei", "cells"):
        put_label(sample, name, version=version)
    if listing is not None:
        put_listing(memory, *listing, version=version)
    with warnings.catch_warnings():
        if listing is None:
            warnings.simplefilter("ignore", OmeZarrWarning)  # the group has nothing to say
        assert set(opened(memory).data_vars) == {"image", "nuclei", "cells"}
        assert set(opened(memory, labels=["cells"]).data_vars) == {"image", "cells"}
        assert set(opened_tree(memory)["labels"].children) == {"nuclei", "cells"}


class Unlistable(WatchedStore):
    """A store like a plain web server: what nobody names is not found."""

    supports_listing = False

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        raise StoreFailureError(prefix)

    list_prefix = list_dir


def test_a_store_that_cannot_list(memory: MemoryStore, version: str) -> None:
    sample = put_sample(memory, version=version)
    for name in ("nuclei", "cells"):
        put_label(sample, name, version=version)
    put_listing(memory, "nuclei", version=version)
    assert set(opened(Unlistable(memory)).data_vars) == {"image", "nuclei"}


@STRINGS
def test_nested(memory: MemoryStore, version: str) -> None:
    sample = put_sample(memory, version=version)
    properties = [{"label-value": 1, "area": 2.5}]
    said = {"properties": properties}
    pixels = put_label(sample, "original/0", version=version, image_label=said)
    put_listing(memory, "original/0", version=version)
    ds = opened(memory)
    (name,) = (
        name for name, one in ds.data_vars.items() if one.dims == sample.dims and name != "image"
    )
    np.testing.assert_array_equal(ds[name], pixels[0])
    assert opened(memory, labels=["original/0"]).equals(ds)
    tree = opened_tree(memory)
    for level in range(3):
        node = tree[f"labels/original/0/{level}"]
        (found,) = node.data_vars.values()
        np.testing.assert_array_equal(found, pixels[level])
    # A Dataset of its kind can be saved, and written as it was.
    ds.to_zarr(MemoryStore(), consolidated=False)
    again = MemoryStore()
    ds.omezarr.to_zarr(again)
    xr.testing.assert_identical(opened(again).load(), ds.load())


@pytest.mark.parametrize("where", ["labels", "labels/nuclei", "both"])
@pytest.mark.parametrize("lack", ["version", "ome"])
def test_labels_without_version_or_ome(memory: MemoryStore, lack: str, where: str) -> None:
    sample = put_sample(memory)
    pixels = put_label(sample)
    put_listing(memory, "nuclei")
    for group in ("labels", "labels/nuclei") if where == "both" else (where,):
        node = zarr.open_group(memory, path=group)
        ome: Any = node.attrs["ome"]
        if lack == "version":
            del ome["version"]
            node.attrs["ome"] = ome
        else:
            del ome["version"]
            del node.attrs["ome"]
            node.attrs.update(ome)
    with pytest.warns(OmeZarrWarning) as record:
        ds = opened(memory)
    assert "labels" in warned(record)
    np.testing.assert_array_equal(ds.nuclei, pixels[0])
    xr.testing.assert_identical(ds.drop_vars("nuclei").load(), sample.dataset())


def test_labels_of_0_4_without_version(memory: MemoryStore) -> None:
    pixels = put_label(put_sample(memory, version="0.4"), version="0.4")
    put_listing(memory, "nuclei", version="0.4")
    node = zarr.open_group(memory, path="labels/nuclei")
    listed: Any = node.attrs["multiscales"]
    del listed[0]["version"]
    node.attrs["multiscales"] = listed
    np.testing.assert_array_equal(opened(memory).nuclei, pixels[0])


def test_float_labels(memory: MemoryStore, version: str) -> None:
    sample = put_sample(memory, version=version)
    pixels = put_label(sample, version=version, dtype="float32")
    put_listing(memory, "nuclei", version=version)
    with pytest.warns(OmeZarrWarning, match="float32") as record:
        ds = opened(memory)
    assert "nuclei" in warned(record)
    np.testing.assert_array_equal(ds.nuclei, pixels[0])
    xr.testing.assert_identical(ds.image.load(), sample.dataset().image)
    with pytest.warns(OmeZarrWarning, match="nuclei"):
        tree = opened_tree(memory)
    np.testing.assert_array_equal(tree["labels/nuclei/2"].nuclei, pixels[2])


def test_fewer_levels(memory: MemoryStore, version: str) -> None:
    sample = put_sample(memory, version=version)
    pixels = put_label(sample, version=version, levels=2)
    put_listing(memory, "nuclei", version=version)
    with pytest.warns(OmeZarrWarning, match="nuclei"):
        tree = opened_tree(memory)
    assert set(tree["labels/nuclei"].children) == {"0", "1"}
    for level in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OmeZarrWarning)
            ds = opened(memory, level=level)
        np.testing.assert_array_equal(ds.nuclei, pixels[level])
    with pytest.warns(OmeZarrWarning, match="nuclei"):
        ds = opened(memory, level=2)
    xr.testing.assert_identical(ds.load(), sample.dataset(2))


def spoil(store: MemoryStore, key: str) -> None:
    from zarr.core.buffer import cpu

    store._store_dict[key] = cpu.Buffer.from_bytes(b"{")


def broken_json(store: MemoryStore) -> None:
    spoil(store, "labels/nuclei/zarr.json")


def broken_listing(store: MemoryStore) -> None:
    spoil(store, "labels/zarr.json")


def broken_array(store: MemoryStore) -> None:
    spoil(store, "labels/nuclei/s0/zarr.json")


def no_array(store: MemoryStore) -> None:
    for key in [key for key in store._store_dict if key.startswith("labels/nuclei/s0/")]:
        del store._store_dict[key]


def no_multiscales(store: MemoryStore) -> None:
    zarr.open_group(store, path="labels/nuclei").attrs["ome"] = {"version": "0.5"}


def other_axes(store: MemoryStore) -> None:
    node = zarr.open_group(store, path="labels/nuclei")
    ome: Any = node.attrs["ome"]
    ome["multiscales"][0]["axes"] = [axis("t"), axis("z"), axis("x")]
    node.attrs["ome"] = ome


def too_few_axes(store: MemoryStore) -> None:
    node = zarr.open_group(store, path="labels/nuclei")
    ome: Any = node.attrs["ome"]
    ome["multiscales"][0]["axes"].pop()
    node.attrs["ome"] = ome


def future(store: MemoryStore) -> None:
    node = zarr.open_group(store, path="labels/nuclei")
    ome: Any = node.attrs["ome"]
    node.attrs["ome"] = ome | {"version": "7.0"}


def odd_image_label(store: MemoryStore) -> None:
    node = zarr.open_group(store, path="labels/nuclei")
    ome: Any = node.attrs["ome"]
    node.attrs["ome"] = ome | {"image-label": ["properties"]}


def odd_properties(store: MemoryStore) -> None:
    node = zarr.open_group(store, path="labels/nuclei")
    ome: Any = node.attrs["ome"]
    said = {"properties": {"1": "a"}, "colors": [[1, 2, 3, 4]], "source": None}
    node.attrs["ome"] = ome | {"image-label": said}


FAULTS = [
    broken_json,
    broken_listing,
    broken_array,
    no_array,
    no_multiscales,
    other_axes,
    too_few_axes,
    future,
    odd_image_label,
    odd_properties,
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_label_image_is_no_fault_of_its_image(
    memory: MemoryStore, fault: Callable[[MemoryStore], None]
) -> None:
    sample = put_sample(memory, dims="cyx")
    pixels = put_label(sample)
    put_label(sample, "cells")
    put_listing(memory, "nuclei", "cells")
    fault(memory)
    with pytest.warns(OmeZarrWarning, match="labels"):
        ds = opened(memory)
    xr.testing.assert_identical(ds[["image"]].load(), sample.dataset())
    with pytest.warns(OmeZarrWarning, match="labels"):
        tree = opened_tree(memory)
    xr.testing.assert_identical(tree["1"].to_dataset().load(), sample.dataset(1))
    if fault is not broken_listing:
        np.testing.assert_array_equal(ds.cells, pixels[0])
        np.testing.assert_array_equal(tree["labels/cells/1"].cells, pixels[1])
    # Who wants no labels is not troubled.
    opened(memory, labels=False)
    opened_tree(memory, labels=False)


@pytest.mark.parametrize(
    "names",
    [
        ["nuclei", "nuclei"],
        ["nuclei", "../0"],
        ["nuclei", "/etc"],
        ["nuclei", ""],
        ["nuclei", "."],
        ["nuclei", None, 3, {}],
        ["nuclei", "nuclei/s0"],
        ["nuclei/"],
        "nuclei",
        {"nuclei": 1},
        None,
    ],
    ids=repr,
)
def test_odd_listings(memory: MemoryStore, version: str, names: Any) -> None:  # noqa: ANN401
    sample = put_sample(memory, version=version)
    put_label(sample, version=version)
    put_document(memory, {"labels": names}, version=version, group="labels")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OmeZarrWarning)
        ds = opened(memory)
        tree = opened_tree(memory)
    assert set(ds.data_vars) == {"image", "nuclei"}
    assert set(tree["labels"].children) == {"nuclei"}


@pytest.mark.parametrize("name", ["image", "y", "c_color", "nuclei_id", "nuclei_area"])
def test_a_name_that_is_taken(memory: MemoryStore, name: str) -> None:
    sample = put_sample(memory, dims="cyx")
    properties = [{"label-value": 1, "area": 2.5}, {"label-value": 2, "area": 3.5}]
    pixels = put_label(sample, image_label={"properties": properties})
    put_label(sample, name)
    put_listing(memory, "nuclei", name)
    with pytest.warns(OmeZarrWarning, match=name):
        ds = opened(memory)
    xr.testing.assert_identical(ds.image.load(), sample.dataset().image)
    assert "nuclei" in ds or name.startswith("nuclei")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OmeZarrWarning)
        tree = opened_tree(memory)
    np.testing.assert_array_equal(tree["labels/nuclei/0"].nuclei, pixels[0])
    assert name in {*tree["labels"].children, "y"}  # no variable can be called like its axis


# ── properties ───────────────────────────────────────────────────────────────────────────────────

ENTRIES: list[Document] = [
    {
        "label-value": 1,
        "f": 0.5,
        "i": 1,
        "gap": 3,
        "big": 2**60 + 1,
        "ok": True,
        "s": "a",
        "ga": 1.5,
    },
    {"label-value": 4, "f": 2.0, "i": 2, "ok": False, "s": "µ", "ga": 0.1, "flag": True},
    {"label-value": 2, "f": 1.5, "i": -3, "gap": 4, "big": 7, "ok": True, "s": "", "flag": False},
]
COLORS: list[Document] = [
    {"label-value": 4, "rgba": [0, 128, 255, 64]},
    {"label-value": 2, "rgba": [1, 2, 3, 255]},
]


def with_table(store: Place, version: str) -> None:
    sample = put_sample(store, version=version)
    said = {"properties": ENTRIES, "colors": COLORS}
    put_label(sample, version=version, sizes={"c": 1}, image_label=said)
    put_listing(store, "nuclei", version=version)


def test_properties_are_variables(memory: MemoryStore, version: str) -> None:
    with_table(memory, version)
    ds = opened(memory)
    assert ds.nuclei_id.values.tolist() == [1, 4, 2]
    assert ds.nuclei_id.dtype == np.int64
    assert "nuclei_id" in ds.indexes
    expected: dict[str, Any] = {
        "f": np.array([0.5, 2.0, 1.5]),
        "i": np.array([1, 2, -3]),
        "gap": np.array([3.0, np.nan, 4.0]),
        "big": np.array([2**60 + 1, 0, 7]),
        "big_present": np.array([True, False, True]),
        "ok": np.array([True, False, True]),
        "s": np.array(["a", "µ", ""]),
        "ga": np.array([1.5, 0.1, np.nan]),
        "flag": np.array([False, True, False]),
        "flag_present": np.array([False, True, True]),
    }
    for name, values in expected.items():
        found = ds[f"nuclei_{name}"]
        assert found.dims == ("nuclei_id",)
        assert found.dtype.kind == values.dtype.kind
        np.testing.assert_array_equal(found.values, values)
    assert set(ds.data_vars) == {"image", "nuclei", *(f"nuclei_{name}" for name in expected)}
    assert ds.coords["nuclei_color"].values.tolist() == ["", "0080FF40", "010203FF"]
    assert ds.sel(nuclei_id=4).nuclei_f.item() == 2.0


def test_colors_alone(memory: MemoryStore, version: str) -> None:
    sample = put_sample(memory, version=version)
    put_label(sample, version=version, image_label={"colors": COLORS})
    put_listing(memory, "nuclei", version=version)
    ds = opened(memory)
    assert set(ds.data_vars) == {"image", "nuclei"}
    assert dict(
        zip(ds.nuclei_id.values.tolist(), ds.nuclei_color.values.tolist(), strict=True)
    ) == {
        4: "0080FF40",
        2: "010203FF",
    }
    put_label(sample, "plain", version=version)
    assert "plain_id" not in opened(memory, labels=["plain"]).variables


@STRINGS
@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf", "zarr"])
def test_what_was_opened_can_be_saved(
    memory: MemoryStore,
    version: str,
    tmp_path: Path,
    engine: Any,  # noqa: ANN401
) -> None:
    with_table(memory, version)
    ds = opened(memory)
    where = tmp_path / "saved"
    if engine == "h5netcdf":
        pytest.importorskip("h5py", reason="h5netcdf writes by it")
    if engine == "zarr":
        ds.to_zarr(where, consolidated=False, zarr_format=2 if version == "0.4" else 3)
        again = xr.open_zarr(where, consolidated=False)
    else:
        ds.to_netcdf(where, engine=engine)
        again = xr.open_dataset(where, engine=engine)
    with again:
        for name, variable in ds.variables.items():
            np.testing.assert_array_equal(again[name].values, variable.values)
        assert again.nuclei.dtype == ds.nuclei.dtype
        assert again.nuclei_big.dtype == np.int64
        assert again.nuclei_ok.dtype == bool


def test_a_tree_can_be_saved(memory: MemoryStore, tmp_path: Path, version: str) -> None:
    with_table(memory, version)
    tree = opened_tree(memory)
    tree.to_netcdf(tmp_path / "tree.nc")
    with xr.open_datatree(tmp_path / "tree.nc") as again:
        np.testing.assert_array_equal(
            again["labels/nuclei/1/nuclei"], tree["labels/nuclei/1/nuclei"]
        )
        np.testing.assert_array_equal(again["labels/nuclei/nuclei_i"], [1, 2, -3])


# ── round trips ──────────────────────────────────────────────────────────────────────────────────


def labelled(
    dims: str = "yx",
    on: str | None = None,
    *,
    size: int = 40,
    dtype: str = "int32",
    names: Sequence[str] = ("nuclei",),
    table: bool = True,
) -> xr.Dataset:
    """Make an image with label images, as a user does who has never opened one."""
    full = {"t": 2, "c": 3, "z": 2, "y": size, "x": size + 8}
    ds = image([full[dim] for dim in dims], dims)
    if "t" in dims:
        ds.t.attrs["units"] = "second"
    if "c" in dims:  # else the writer has to make up what a channel must have
        ds = ds.omezarr.assign_channels(
            colors=["FF0000", "00FF00", "0000FF"], windows=[(0, 100), (1, 200), (2, 300)]
        )
        limits = {"c_window_min": ("c", [0.0] * 3), "c_window_max": ("c", [65535.0] * 3)}
        ds = ds.assign_coords(limits)
    for number, name in enumerate(names):
        shape = [full[dim] for dim in on or dims]
        ds[name] = (tuple(on or dims), label_pixels(shape, dtype, seed=number))
        if table:
            ds = ds.assign_coords(
                {
                    f"{name}_id": [3, 1, 2],
                    f"{name}_color": (f"{name}_id", ["FF0000FF", "", "00FF0080"]),
                }
            )
            ds[f"{name}_area"] = (f"{name}_id", [0.5, 1.5, np.nan])
            ds[f"{name}_count"] = (f"{name}_id", [1, 2**60 + 1, -5])
            ds[f"{name}_kind"] = (f"{name}_id", ["a", "µm", "c d"])
            ds[f"{name}_good"] = (f"{name}_id", [True, False, True])
    return ds


@pytest.mark.parametrize(
    ("dims", "on"), [("yx", "yx"), ("cyx", "yx"), ("tczyx", "tzyx"), ("czyx", "czyx")]
)
def test_round_trip(tmp_path: Path, version: str, dims: str, on: str) -> None:
    ds = labelled(dims, on, names=("nuclei", "cells"))
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei", "cells"], levels=2)
    first = opened(tmp_path / "a").load()
    xr.testing.assert_identical(first, ds)
    for name in ds.variables:
        assert first[name].dtype == ds[name].dtype, name
        assert first[name].dims == ds[name].dims, name
    # Which they are is known from reading.
    opened(tmp_path / "a").omezarr.to_zarr(tmp_path / "b", levels=2)
    again = opened(tmp_path / "b").load()
    xr.testing.assert_identical(again, first)
    assert document_of(tmp_path / "b", "labels") == document_of(tmp_path / "a", "labels")
    assert document_of(tmp_path / "b", "labels/nuclei") == document_of(
        tmp_path / "a", "labels/nuclei"
    )


def test_round_trip_of_a_file_of_others(tmp_path: Path, version: str) -> None:
    """Gaps, big integers and all of `image-label`, with what nobody knows."""
    entries = [{**entry, "nested": {"deep": [1]}} for entry in ENTRIES]
    said = {
        "properties": entries,
        "colors": [{**COLORS[0], "acme": "kept"}, COLORS[1]],
        "source": {"image": "../../", "acme": 1},
        "acme": {"model": "v2"},
    }
    sample = put_sample(tmp_path / "a", version=version)
    put_label(sample, version=version, sizes={"c": 1}, image_label=said)
    put_listing(tmp_path / "a", "nuclei", version=version)
    with pytest.warns(OmeZarrWarning, match="nested"):
        ds = opened(tmp_path / "a")
    ds.omezarr.to_zarr(tmp_path / "b")
    found = document_of(tmp_path / "b", "labels/nuclei")["image-label"]
    found.pop("version", None)

    def plain(rows: list[Document]) -> list[Document]:
        return sorted(rows, key=lambda row: int(row["label-value"]))

    assert plain(found["properties"]) == plain(entries)
    assert plain(found["colors"]) == plain(said["colors"])  # type: ignore[arg-type]
    assert found["acme"] == {"model": "v2"}
    assert found["source"]["image"] == "../../"
    with pytest.warns(OmeZarrWarning, match="nested"):
        again = opened(tmp_path / "b").load()
    xr.testing.assert_identical(again, ds.load())


@pytest.mark.parametrize("dtype", "u1 i1 u2 i2 u4 i4 u8 i8 >i4".split())
def test_every_integer(memory: MemoryStore, version: str, dtype: str) -> None:
    ds = labelled(dtype=dtype, table=False)
    ds.nuclei.values[0, 0] = np.iinfo(dtype).max
    ds.nuclei.values[0, 1] = np.iinfo(dtype).min
    ds.omezarr.to_zarr(memory, version=version, labels=["nuclei"], levels=3)
    again = opened(memory)
    assert again.nuclei.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(again.nuclei, ds.nuclei)


@pytest.mark.parametrize("chunks", [None, 8], ids=["numpy", "dask"])
def test_large_labels(memory: MemoryStore, version: str, chunks: int | None) -> None:
    """2⁵³ + 1 and 2⁶⁴ − 1 survive pixels, levels, label values, properties and colours."""
    ds = image()
    values = np.full((40, 48), HUGE[0], "u8")
    values[:20] = HUGE[1]
    values[:, :8] = HUGE[0] - 1
    ds["nuclei"] = (("y", "x"), values)
    ds = ds.assign_coords(
        nuclei_id=np.array([HUGE[1], HUGE[0], HUGE[0] - 1], "u8"),
        nuclei_color=("nuclei_id", ["FF0000FF", "00FF00FF", "0000FFFF"]),
    )
    ds["nuclei_parent"] = ("nuclei_id", np.array([HUGE[0], HUGE[1], 1], "u8"))
    source = ds if chunks is None else ds.chunk(y=chunks, x=chunks)
    source.omezarr.to_zarr(memory, version=version, labels=["nuclei"], levels=3)
    again = opened(memory)
    xr.testing.assert_identical(again.load(), ds)
    assert again.nuclei_id.dtype == np.uint64
    assert again.nuclei_parent.dtype == np.uint64
    tree = opened_tree(memory)
    for level in range(3):
        found = tree[f"labels/nuclei/{level}"].nuclei.values
        np.testing.assert_array_equal(found, values[:: 2**level, :: 2**level])
    said = document_of(memory, "labels/nuclei")["image-label"]
    assert {entry["label-value"] for entry in said["properties"]} == {*HUGE, HUGE[0] - 1}
    assert {entry["label-value"] for entry in said["colors"]} == {*HUGE, HUGE[0] - 1}
    assert {entry["parent"] for entry in said["properties"]} == {*HUGE, 1}
    other = MemoryStore()
    again.omezarr.to_zarr(other)
    xr.testing.assert_identical(opened(other).load(), ds)


def constants(text: str) -> None:
    raise AssertionError(text)


def test_nothing_but_json(tmp_path: Path, version: str) -> None:
    ds = labelled()
    ds["nuclei_area"] = ("nuclei_id", [np.nan, np.inf, -np.inf])
    ds["nuclei_mean"] = ("nuclei_id", np.array([1.5, np.nan, np.inf], "f4"))
    ds["nuclei_name"] = ("nuclei_id", np.array(["a", None, np.nan], object))
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"])
    texts = [*(tmp_path / "a").rglob("zarr.json"), *(tmp_path / "a").rglob(".zattrs")]
    for text in texts:
        json.loads(text.read_text(), parse_constant=constants)
    entries = document_of(tmp_path / "a", "labels/nuclei")["image-label"]["properties"]
    assert [entry["label-value"] for entry in entries] == [3, 1, 2]
    assert not any("area" in entry for entry in entries)
    assert [entry.get("mean") for entry in entries] == [1.5, None, None]
    assert [entry.get("name") for entry in entries] == ["a", None, None]
    assert None not in itertools.chain.from_iterable(entry.values() for entry in entries)


def test_what_is_written(tmp_path: Path, version: str) -> None:
    ds = labelled("cyx", "yx", names=("nuclei", "cells"))
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei", "cells"], levels=3)
    assert document_of(tmp_path / "a", "labels")["labels"] == ["nuclei", "cells"]
    for name in ("nuclei", "cells"):
        document = document_of(tmp_path / "a", f"labels/{name}")
        said = document["image-label"]
        assert said["source"] == {"image": "../../"}
        assert said["colors"] == [
            {"label-value": 3, "rgba": [255, 0, 0, 255]},
            {"label-value": 2, "rgba": [0, 255, 0, 128]},
        ]
        assert said["properties"][0] == {
            "label-value": 3,
            "area": 0.5,
            "count": 1,
            "kind": "a",
            "good": True,
        }
        assert "area" not in said["properties"][2]
        assert len(document["multiscales"][0]["datasets"]) == 3
        array = level_array(tmp_path / "a", group=f"labels/{name}")
        assert array.metadata.zarr_format == (2 if version == "0.4" else 3)
        if version == "0.4":
            assert document["multiscales"][0]["version"] == "0.4"
            assert said["version"] == "0.4"
        else:
            assert document["version"] == "0.5"
            dims = [one["name"] for one in document["multiscales"][0]["axes"]]
            assert array.metadata.to_dict()["dimension_names"] == tuple(dims)


def test_samples_with_labels(tmp_path: Path, version: str) -> None:
    for make, name in (
        (samples.coins, "coins"),
        (samples.astronaut, "circles"),
        (samples.circle, "circle"),
    ):
        ds = make()
        ds.omezarr.to_zarr(tmp_path / name, version=version)
        xr.testing.assert_identical(opened(tmp_path / name).load(), ds)
        xr.testing.assert_identical(
            opened(tmp_path / name, labels=False).load(), ds.drop_vars(name)
        )


# ── others agree ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("dims", "on"), [("yx", "yx"), ("czyx", "zyx")])
def test_validators_find_nothing_wrong(tmp_path: Path, version: str, dims: str, on: str) -> None:
    models = pytest.importorskip("ome_zarr_models", reason="ome-zarr-models validates labels")
    yaozarrs = pytest.importorskip("yaozarrs", reason="yaozarrs validates labels")
    ds = labelled(dims, on, names=("nuclei", "cells"))
    path = tmp_path / "a.ome.zarr"
    for name in ("nuclei", "cells"):  # ome-zarr-models wants a colour for each label, or none
        ds[f"{name}_color"] = ds[f"{name}_color"].str.replace("^$", "0000FFFF", regex=True)
    of_cells = [name for name in ds.variables if str(name).startswith("cells")]
    ds.drop_vars(of_cells).omezarr.to_zarr(path, version=version, labels=["nuclei"], levels=2)
    ds[of_cells].omezarr.to_zarr(path, mode="a", labels=["cells"])
    kinds = {
        "": "Image",
        "labels": "Labels",
        "labels/nuclei": "ImageLabel",
        "labels/cells": "ImageLabel",
    }
    for group, kind in kinds.items():
        assert type(models.open_ome_zarr(str(path / group), version=version)).__name__ == kind
        text = json.dumps(document_of(path, group or None))
        found = yaozarrs.validate_ome_json(text)
        assert found is not None
    if version == "0.5":
        yaozarrs.validate_zarr_store(str(path))
        yaozarrs.validate_zarr_store(str(path / "labels"))


def test_ome_zarr_py_reads_the_same(tmp_path: Path, version: str) -> None:
    pytest.importorskip("ome_zarr", reason="ome-zarr-py reads what this package writes")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    ds = labelled("cyx", "cyx", names=("nuclei", "cells"))
    path = tmp_path / "a.ome.zarr"
    ds.omezarr.to_zarr(path, version=version, labels=["nuclei", "cells"], levels=2)
    nodes = {node.zarr.basename(): node for node in Reader(parse_url(str(path)))()}
    for name in ("nuclei", "cells"):
        node = nodes[name]
        for level, data in enumerate(node.data):
            mine = opened_tree(path)[f"labels/{name}/{level}"][name]
            np.testing.assert_array_equal(np.asarray(data), mine)
        table = opened(path).omezarr.table(name)
        found = {int(key): dict(value) for key, value in node.metadata["properties"].items()}
        expected: dict[int, Document] = {}
        for value in table.id.values.tolist():
            row = {str(key): one.item() for key, one in table.sel(id=value).data_vars.items()}
            expected[value] = {
                key: one
                for key, one in row.items()
                if not (isinstance(one, float) and math.isnan(one))
            }
        for row in found.values():
            row.pop("label-value", None)
        assert found == expected
        colors = {
            int(key): [round(255 * part) for part in rgba]
            for key, rgba in node.metadata["color"].items()
        }
        assert colors == {3: [255, 0, 0, 255], 2: [0, 255, 0, 128]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # older ones deprecate their own default
def test_what_ome_zarr_py_writes_opens_here(tmp_path: Path, version: str) -> None:
    pytest.importorskip("ome_zarr", reason="ome-zarr-py writes what this package reads")
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import write_image, write_labels

    path = tmp_path / "a.ome.zarr"
    fmt = format_from_version(version)
    values = label_pixels((33, 42), "int32")
    write_image(
        image((33, 42)).image.values, str(path), axes=list("yx"), fmt=fmt, scale_factors=[2]
    )
    write_labels(
        values,
        str(path),
        name="nuclei",
        axes=list("yx"),
        fmt=fmt,
        scale_factors=[2],
        label_metadata={
            "colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}],
            "properties": [{"label-value": 1, "area": 7}],
        },
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OmeZarrWarning)
        ds = opened(path)
    np.testing.assert_array_equal(ds.nuclei, values)
    assert ds.nuclei_area.values.tolist() == [7]
    assert ds.nuclei_color.values.tolist() == ["FF0000FF"]


# ── levels ───────────────────────────────────────────────────────────────────────────────────────


def put_on_grid(size: tuple[int, int]) -> xr.Dataset:
    ds: xr.Dataset = image(size).omezarr.assign_scale(
        y=0.325, x=0.65, translation={"y": 1000.1, "x": -3.3}
    )
    ds["nuclei"] = (("y", "x"), label_pixels(size))
    return ds


@pytest.mark.parametrize("boundary", ["pad", "trim"])
@pytest.mark.parametrize("method", ["mean", "nearest", "mode"])
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_every_level_lies_on_its_image(
    memory: MemoryStore,
    version: str,
    method: str,
    boundary: str,
    later: bool,  # noqa: FBT001
) -> None:
    ds = put_on_grid((37, 51))
    factors = [{"y": 2, "x": 2}, {"y": 4, "x": 6}]
    arguments: Document = {"levels": factors, "method": method, "boundary": boundary}
    if later:
        ds[["image"]].omezarr.to_zarr(memory, version=version, **arguments)
        ds[["nuclei"]].omezarr.to_zarr(memory, mode="a", labels=["nuclei"])
    else:
        ds.omezarr.to_zarr(memory, version=version, labels=["nuclei"], **arguments)
    tree = opened_tree(memory)
    assert set(tree["labels/nuclei"].children) == {"0", "1", "2"}
    for level in range(3):
        whole = opened(memory, level=level)  # not a word, and not left out
        node = tree[f"labels/nuclei/{level}"]
        assert node.nuclei.shape == tree[str(level)].image.shape == whole.nuclei.shape
        for dim in "yx":
            np.testing.assert_array_equal(node[dim], tree[str(level)][dim], strict=True)
        # Labels are never averaged: all of them are labels that there are.
        assert set(np.unique(node.nuclei)) <= set(range(5))
        if level:
            cells = tree[f"labels/nuclei/{level - 1}"].nuclei.values
            step = (2, 2) if level == 1 else (2, 3)
            assert_is_mode(node.nuclei.values, cells, step, nearest=method == "nearest")


def assert_is_mode(found: Pixels, fine: Pixels, step: tuple[int, int], *, nearest: bool) -> None:
    for y, x in np.ndindex(*found.shape):
        cell = fine[y * step[0] : (y + 1) * step[0], x * step[1] : (x + 1) * step[1]]
        values, counts = np.unique(cell, return_counts=True)
        if nearest and found[y, x] == cell[0, 0]:
            continue
        assert counts[values == found[y, x]] == counts.max()


def test_ties_are_broken_the_same_way_for_any_chunking(version: str) -> None:
    ds = put_on_grid((37, 51))
    found = []
    sources = [
        ds,
        ds.chunk(y=37, x=51),
        ds.chunk(y=5, x=7),
        ds.chunk(y=1, x=51),
        ds.chunk(y=16, x=16),
    ]
    for source, chunks in itertools.product(sources, (None, 8)):
        store = MemoryStore()
        source.omezarr.to_zarr(store, labels=["nuclei"], levels=4, chunks=chunks, version=version)
        tree = opened_tree(store)
        found.append([tree[f"labels/nuclei/{level}"].nuclei.values for level in range(4)])
    for levels in found[1:]:
        for one, other in zip(found[0], levels, strict=True):
            np.testing.assert_array_equal(one, other)


def test_anisotropic_stack(memory: MemoryStore, version: str) -> None:
    ds = image((6, 40, 48), "zyx").omezarr.assign_scale(z=2.0, y=0.5, x=0.5)
    ds["nuclei"] = (("z", "y", "x"), label_pixels((6, 40, 48), "u2"))
    factors = [{"z": 1, "y": 2, "x": 2}, {"z": 2, "y": 4, "x": 4}]
    ds.omezarr.to_zarr(memory, version=version, labels=["nuclei"], levels=factors)
    for level, shape in enumerate([(6, 40, 48), (6, 20, 24), (3, 10, 12)]):
        assert opened(memory, level=level).nuclei.shape == shape


def test_crops(tmp_path: Path, version: str) -> None:
    whole = labelled("cyx", "yx", size=64)
    whole.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"], levels=3)
    ds = opened(tmp_path / "a")
    crop = ds.isel(y=slice(7, 40), x=slice(5, 49), c=slice(1, 3)).sel(nuclei_id=[1, 2])
    crop.omezarr.to_zarr(tmp_path / "b", levels=2)
    again = opened(tmp_path / "b")
    xr.testing.assert_identical(again.load(), crop.load())
    for level in range(2):
        assert "nuclei" in opened(tmp_path / "b", level=level)
    left, right = xr.align(ds, again, join="inner", exclude=["c", "nuclei_id"])
    np.testing.assert_array_equal(left.nuclei, right.nuclei)
    # A plane and a coarse level as well.
    coarse = opened(tmp_path / "a", level=1).isel(c=0, drop=True)
    coarse.omezarr.to_zarr(tmp_path / "c", levels=1)
    xr.testing.assert_identical(opened(tmp_path / "c").load(), coarse.load())


def test_every_other_pixel(tmp_path: Path) -> None:
    labelled().omezarr.to_zarr(tmp_path / "a", labels=["nuclei"])
    thin = opened(tmp_path / "a").isel(y=slice(1, None, 2), x=slice(None, None, 3))
    thin.omezarr.to_zarr(tmp_path / "b")
    xr.testing.assert_identical(opened(tmp_path / "b").load(), thin.load())


def test_a_tree_is_written_with_its_labels(tmp_path: Path, version: str) -> None:
    ds = labelled("cyx", "yx", names=("nuclei", "cells"))
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei", "cells"], levels=3)
    tree = opened_tree(tmp_path / "a")
    tree.omezarr.to_zarr(tmp_path / "b")
    again = opened_tree(tmp_path / "b")
    xr.testing.assert_identical(again.load(), tree.load())
    part = opened_tree(tmp_path / "a").sel(x=slice(2, 20))
    part.omezarr.to_zarr(tmp_path / "c")
    again = opened_tree(tmp_path / "c")
    xr.testing.assert_identical(again.load(), part.load())
    for level in range(3):
        assert set(opened(tmp_path / "c", level=level)[["nuclei", "cells"]].data_vars) == {
            "nuclei",
            "cells",
        }


def test_a_tree_with_a_label_image_on_another_grid(tmp_path: Path) -> None:
    sample = put_sample(tmp_path / "a", dims="yx")
    put_label(sample, moved=0.25)
    put_listing(tmp_path / "a", "nuclei")
    tree = opened_tree(tmp_path / "a")
    tree.omezarr.to_zarr(tmp_path / "b")
    xr.testing.assert_identical(opened_tree(tmp_path / "b").load(), tree.load())


# ── which are written ────────────────────────────────────────────────────────────────────────────


def test_labels_are_known_or_said(tmp_path: Path) -> None:
    ds = labelled(table=False)
    with pytest.warns(OmeZarrWarning, match="nuclei"):
        ds.omezarr.to_zarr(tmp_path / "none")
    assert list(opened(tmp_path / "none").data_vars) == ["image"]
    ds.omezarr.to_zarr(tmp_path / "a", labels=["nuclei"])
    again = opened(tmp_path / "a")
    again.isel(y=slice(3, None)).chunk().omezarr.to_zarr(tmp_path / "b")
    assert set(opened(tmp_path / "b").data_vars) == {"image", "nuclei"}
    with pytest.warns(OmeZarrWarning, match="nuclei"):
        again.omezarr.to_zarr(tmp_path / "c", labels=[])
    assert list(opened(tmp_path / "c").data_vars) == ["image"]
    again.rename(nuclei="cells").omezarr.to_zarr(tmp_path / "d")
    assert set(opened(tmp_path / "d").data_vars) == {"image", "cells"}
    assert document_of(tmp_path / "d", "labels")["labels"] == ["cells"]


@pytest.mark.parametrize("mode", ["w-", "a"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "?", "U3", "M8[s]", "c8", "O"])
def test_labels_are_integers(tmp_path: Path, mode: str, dtype: str) -> None:
    ds = labelled(table=False)
    if mode == "a":
        ds[["image"]].omezarr.to_zarr(tmp_path / "a")
    ds["nuclei"] = ds.nuclei.astype("i8").astype(dtype)
    before = files(tmp_path)
    with pytest.raises(OmeZarrError, match=r"'nuclei' .*integers"):
        ds.omezarr.to_zarr(tmp_path / "a", labels=["nuclei"], mode=mode)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["nope"], "nope"),
        (["image"], "image"),
        (["nuclei_area"], "nuclei_area"),
        (["nuclei_id"], "nuclei_id"),
        (["y"], "y"),
        ("nuclei", "list"),
        (["nuclei", "nuclei"], "nuclei"),
        ([3], "3"),
    ],
)
def test_what_is_no_label_image(tmp_path: Path, labels: Any, said: str) -> None:  # noqa: ANN401
    before = files(tmp_path)
    with pytest.raises(OmeZarrError, match=said):
        labelled().omezarr.to_zarr(tmp_path / "a", labels=labels)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "/root", "a//b", ".zattrs", "zarr.json"])
def test_names_that_cannot_be_paths(tmp_path: Path, name: str) -> None:
    ds = labelled(table=False).rename(nuclei=name)
    with pytest.raises(OmeZarrError):
        ds.omezarr.to_zarr(tmp_path / "a", labels=[name])
    assert files(tmp_path) == {}


WRONG = {
    "narrower": lambda ds: ds.isel(x=slice(0, 30)),
    "moved": lambda ds: ds.assign_coords(x=ds.x + 0.25),
    "zoomed": lambda ds: ds.assign_coords(x=ds.x * 2),
    "in another unit": lambda ds: ds.assign_coords(x=ds.x.assign_attrs(units="nanometer")),
    "another axis": lambda ds: ds.expand_dims(z=[0.0, 1.0]),
    "turned": lambda ds: ds.isel(x=slice(None, None, -1)),
}


@pytest.mark.parametrize("kind", WRONG)
def test_labels_that_do_not_lie_on_the_image(tmp_path: Path, version: str, kind: str) -> None:
    ds = labelled(table=False)
    ds[["image"]].omezarr.to_zarr(tmp_path / "a", version=version)
    before = files(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OmeZarrWarning)
        with pytest.raises(OmeZarrError, match="nuclei"):
            WRONG[kind](ds[["nuclei"]]).omezarr.to_zarr(tmp_path / "a", mode="a", labels=["nuclei"])
    assert files(tmp_path) == before


def test_labels_of_an_axis_that_the_image_lacks(tmp_path: Path) -> None:
    ds = labelled(table=False)
    ds["nuclei"] = ds.nuclei.expand_dims(z=[0.0, 1.0])
    with pytest.raises(OmeZarrError, match="nuclei"):
        ds.omezarr.to_zarr(tmp_path / "a", labels=["nuclei"])
    assert files(tmp_path) == {}


def test_transposed_labels(tmp_path: Path, version: str) -> None:
    ds = labelled(table=False)
    turned = ds.assign(nuclei=ds.nuclei.transpose())
    turned.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"])
    xr.testing.assert_identical(opened(tmp_path / "a").load(), ds)


# ── adding to an image ───────────────────────────────────────────────────────────────────────────


def image_files(path: Path) -> dict[str, bytes | None]:
    return {name: one for name, one in files(path).items() if name.split("/")[0] != "labels"}


def stamps(path: Path) -> dict[str, int]:
    return {str(one): one.stat().st_mtime_ns for one in sorted(path.rglob("*")) if one.is_file()}


def test_labels_are_added(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a"
    ds = labelled("cyx", "yx", names=("nuclei", "cells"))
    nuclei = ds[[name for name in ds.data_vars if str(name).startswith("nuclei")]]
    cells = ds[[name for name in ds.data_vars if str(name).startswith("cells")]]
    ds[["image"]].omezarr.to_zarr(path, version=version, levels=3)
    before, times = image_files(path), stamps(path)
    nuclei.omezarr.to_zarr(path, mode="a", labels=["nuclei"])
    assert image_files(path) == before
    assert times.items() <= stamps(path).items()
    first, times = files(path / "labels" / "nuclei"), stamps(path / "labels" / "nuclei")
    cells.omezarr.to_zarr(path, mode="a", labels=["cells"])
    assert image_files(path) == before
    assert files(path / "labels" / "nuclei") == first
    assert stamps(path / "labels" / "nuclei") == times
    assert document_of(path, "labels")["labels"] == ["nuclei", "cells"]
    xr.testing.assert_identical(opened(path).load(), ds)
    for level in range(3):
        assert {"nuclei", "cells"} <= set(opened(path, level=level).data_vars)
    # The same as written in one go, but for nothing.
    ds.omezarr.to_zarr(tmp_path / "b", version=version, levels=3, labels=["nuclei", "cells"])
    assert files(tmp_path / "b") == files(path)


def test_the_image_of_the_dataset_is_not_written(tmp_path: Path, version: str) -> None:
    ds = labelled()
    ds[["image"]].omezarr.to_zarr(tmp_path / "a", version=version)
    before = image_files(tmp_path / "a")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OmeZarrWarning)
        ds.omezarr.to_zarr(tmp_path / "a", mode="a", labels=["nuclei"])
    assert image_files(tmp_path / "a") == before
    xr.testing.assert_identical(opened(tmp_path / "a").load(), ds)


def test_labels_made_from_what_was_opened(tmp_path: Path, version: str) -> None:
    image((3, 40, 48), "cyx").omezarr.to_zarr(tmp_path / "a", version=version, levels=2)
    ds = opened(tmp_path / "a")
    ds["bright"] = (ds.image.isel(c=0, drop=True) > 1000).astype("u1")
    ds[["bright"]].omezarr.to_zarr(tmp_path / "a", mode="a", labels=["bright"])
    again = opened(tmp_path / "a")
    np.testing.assert_array_equal(again.bright, again.image[0] > 1000)


def test_an_entry_that_was_not_listed_is_not_lost(tmp_path: Path, version: str) -> None:
    ds = labelled(table=False)
    ds[["image"]].omezarr.to_zarr(tmp_path / "a", version=version, levels=1)
    put_document(tmp_path / "a", {"labels": ["gone"], "acme": 1}, version=version, group="labels")
    (tmp_path / "a" / "labels" / "notes.txt").write_text("mine")
    ds[["nuclei"]].omezarr.to_zarr(tmp_path / "a", mode="a", labels=["nuclei"])
    document = document_of(tmp_path / "a", "labels")
    assert document["labels"] == ["gone", "nuclei"]
    assert document["acme"] == 1
    assert (tmp_path / "a" / "labels" / "notes.txt").read_text() == "mine"


def test_adding_without_an_image(tmp_path: Path, version: str) -> None:
    ds = labelled(table=False)[["nuclei"]]
    with pytest.raises(OmeZarrFileNotFoundError, match="none"):
        ds.omezarr.to_zarr(tmp_path / "none", mode="a", labels=["nuclei"])
    assert files(tmp_path) == {}
    zarr.create_group(tmp_path / "empty", zarr_format=2 if version == "0.4" else 3)
    wells: Document = {"path": "A/1", "rowIndex": 0, "columnIndex": 0}
    plate: Document = {"rows": [{"name": "A"}], "columns": [{"name": "1"}], "wells": [wells]}
    put_document(tmp_path / "plate", {"plate": plate}, version=version)
    put_document(
        tmp_path / "plate", {"well": {"images": [{"path": "0"}]}}, version=version, group="A/1"
    )
    labelled(table=False)[["image"]].omezarr.to_zarr(
        tmp_path / "plate", group="A/1/0", version=version
    )
    before = files(tmp_path)
    for place, said in (("empty", "image"), ("plate", "plate"), ("plate/A/1", "well")):
        with pytest.raises(OmeZarrError, match=said):
            ds.omezarr.to_zarr(tmp_path / place, mode="a", labels=["nuclei"])
    assert files(tmp_path) == before
    ds.omezarr.to_zarr(tmp_path / "plate", group="A/1/0", mode="a", labels=["nuclei"])
    assert "nuclei" in opened(tmp_path / "plate/A/1/0")


def test_adding_nothing(tmp_path: Path) -> None:
    ds = labelled(table=False)
    ds[["image"]].omezarr.to_zarr(tmp_path / "a")
    before = files(tmp_path)
    nothing: tuple[list[str] | None, ...] = (None, [])
    for labels in nothing:
        for one in (ds, ds[["image"]]):
            with pytest.raises(OmeZarrError, match="label"):
                one.omezarr.to_zarr(tmp_path / "a", mode="a", labels=labels)
    with pytest.raises(OmeZarrError, match="mode='a'"):
        ds.image.omezarr.to_zarr(tmp_path / "a", mode="a")
    assert files(tmp_path) == before


def test_another_version_than_the_image(tmp_path: Path, version: str) -> None:
    """Labels are of the version of their image."""
    other = {"0.4": "0.5", "0.5": "0.4"}[version]
    ds = labelled()
    ds[["image"]].omezarr.to_zarr(tmp_path / "a", version=version)
    before = files(tmp_path)
    table = ds.drop_vars("image")
    with pytest.raises(OmeZarrError, match=other):
        table.omezarr.to_zarr(tmp_path / "a", mode="a", labels=["nuclei"], version=other)
    assert files(tmp_path) == before
    # Opened from a file of the other version, they are written in this one.
    ds.omezarr.to_zarr(tmp_path / "b", version=other, labels=["nuclei"])
    opened(tmp_path / "b").drop_vars("image").omezarr.to_zarr(tmp_path / "a", mode="a")
    xr.testing.assert_identical(opened(tmp_path / "a").load(), ds)
    formats = {2: ".zattrs", 3: "zarr.json"}
    found = {one.name for one in (tmp_path / "a" / "labels").rglob("*") if one.is_file()}
    assert formats[3 if version == "0.4" else 2] not in found


@pytest.mark.parametrize("before", VERSIONS)
@pytest.mark.parametrize("after", VERSIONS)
def test_version_change(tmp_path: Path, before: str, after: str) -> None:
    ds = labelled("cyx", "yx")
    ds.omezarr.to_zarr(tmp_path / "a", version=before, labels=["nuclei"], levels=2)
    first = opened(tmp_path / "a").load()
    opened(tmp_path / "a").omezarr.to_zarr(tmp_path / "b", version=after)
    xr.testing.assert_identical(opened(tmp_path / "b").load(), first)
    # And in its own place.
    first.omezarr.to_zarr(tmp_path / "a", mode="w", version=after, overwrite_labels=True)
    xr.testing.assert_identical(opened(tmp_path / "a").load(), first)
    names = {one.name for one in (tmp_path / "a").rglob("*") if one.is_file()}
    assert (".zattrs" in names) == (after == "0.4")
    assert ("zarr.json" in names) == (after == "0.5")


# ── replacing labels ─────────────────────────────────────────────────────────────────────────────


def failing(values: Pixels, *, after: int = 0, step: int = 8) -> da.Array:
    """Make a dask array whose blocks from `after` on cannot be computed."""
    count = itertools.count()

    def block(part: Pixels) -> Pixels:
        if next(count) >= after:
            raise StoreFailureError
        return part

    found: da.Array = da.from_array(
        values, chunks=step
    ).map_blocks(  # type: ignore[no-untyped-call]
        block, dtype=values.dtype, meta=values[:0]
    )
    return found


def test_an_existing_label_image_is_not_replaced_unasked(tmp_path: Path, version: str) -> None:
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"])
    new = ds[["nuclei"]].assign(nuclei=4 - ds.nuclei)
    before = files(tmp_path)
    with pytest.raises(OmeZarrFileExistsError, match="overwrite_labels=True") as error:
        new.omezarr.to_zarr(tmp_path / "a", mode="a", labels=["nuclei"])
    assert "nuclei" in str(error.value)
    assert files(tmp_path) == before
    new.omezarr.to_zarr(tmp_path / "a", mode="a", labels=["nuclei"], overwrite_labels=True)
    again = opened(tmp_path / "a")
    np.testing.assert_array_equal(again.nuclei, new.nuclei)
    assert image_files(tmp_path / "a") == {
        name[2:]: one
        for name, one in before.items()
        if name.startswith("a/") and name.split("/")[1] != "labels"
    }
    assert document_of(tmp_path / "a", "labels")["labels"] == ["nuclei"]


def test_no_arrays_are_left_over(tmp_path: Path, version: str) -> None:
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"], levels=2)
    for number in range(3):
        ds[["nuclei"]].assign(nuclei=ds.nuclei + number).omezarr.to_zarr(
            tmp_path / "a", mode="a", labels=["nuclei"], overwrite_labels=True
        )
    paths = {path.split("/")[0] for path in level_paths(tmp_path / "a", "labels/nuclei")}
    label = tmp_path / "a" / "labels" / "nuclei"
    assert {one.name for one in label.iterdir() if one.is_dir()} == paths
    assert {one.name for one in (tmp_path / "a" / "labels").iterdir() if one.is_dir()} == {"nuclei"}


@pytest.mark.parametrize("after", [0, 5, 29])
def test_the_old_label_image_is_whole_until_the_new_one_is(
    tmp_path: Path, version: str, after: int
) -> None:
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"], levels=2)
    whole = image_files(tmp_path / "a")
    new = ds[["nuclei"]].assign(nuclei=(("y", "x"), failing(4 - ds.nuclei.values, after=after)))
    with pytest.raises(StoreFailureError):
        new.omezarr.to_zarr(tmp_path / "a", mode="a", labels=["nuclei"], overwrite_labels=True)
    assert image_files(tmp_path / "a") == whole
    xr.testing.assert_identical(opened(tmp_path / "a").load(), ds)
    # It can be done again.
    good = ds.drop_vars("image").assign(nuclei=4 - ds.nuclei)
    good.omezarr.to_zarr(tmp_path / "a", mode="a", labels=["nuclei"], overwrite_labels=True)
    np.testing.assert_array_equal(opened(tmp_path / "a").nuclei, 4 - ds.nuclei)


@pytest.mark.parametrize("after", [0, 5, 29])
def test_a_new_label_image_that_is_not_finished_never_opens(
    tmp_path: Path, version: str, after: int
) -> None:
    ds = labelled(names=("nuclei", "cells"))
    cells = ds.drop_vars([name for name in ds.data_vars if not str(name).startswith("cells")])
    ds.drop_vars(list(cells.data_vars)).omezarr.to_zarr(
        tmp_path / "a", version=version, labels=["nuclei"], levels=2
    )
    whole, first = image_files(tmp_path / "a"), opened(tmp_path / "a").load()
    bad = cells.assign(cells=(("y", "x"), failing(ds.cells.values, after=after)))
    with pytest.raises(StoreFailureError):
        bad.omezarr.to_zarr(tmp_path / "a", mode="a", labels=["cells"])
    assert image_files(tmp_path / "a") == whole
    xr.testing.assert_identical(opened(tmp_path / "a").load(), first)
    assert set(opened_tree(tmp_path / "a")["labels"].children) == {"nuclei"}
    # What is unfinished is no obstacle.
    cells.omezarr.to_zarr(tmp_path / "a", mode="a", labels=["cells"])
    np.testing.assert_array_equal(opened(tmp_path / "a").cells, ds.cells)


def interruptions(
    before: Callable[[Place], None],
    write: Callable[[Place], None],
) -> Iterator[tuple[int, MemoryStore]]:
    """Let every write fail, one after the other; give the store after each."""
    start = MemoryStore()
    before(start)
    watched = WatchedStore(MemoryStore(dict(start._store_dict)))
    write(watched)
    count = len(watched.log.keys("set", "delete"))
    for writes in range(count):
        store = MemoryStore(dict(start._store_dict))
        with pytest.raises((StoreFailureError, OmeZarrError)):
            write(WatchedStore(store, hook=failing_after(writes)))
        yield writes, store
    done = MemoryStore(dict(start._store_dict))
    write(done)
    yield count, done


def test_replacing_labels_is_interrupted(version: str) -> None:
    """At every moment either the old label image opens, or the new one, and the image always."""
    ds = labelled(size=24)
    new = ds.drop_vars("image").assign(nuclei=4 - ds.nuclei)
    kinds = set()

    def before(store: Place) -> None:
        ds.omezarr.to_zarr(store, version=version, labels=["nuclei"], levels=2, chunks=16)

    def write(store: Place) -> None:
        new.omezarr.to_zarr(store, mode="a", labels=["nuclei"], overwrite_labels=True, chunks=16)

    for writes, store in interruptions(before, write):
        try:
            found = opened(store).load()
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"after {writes} writes: {error!r}")
        np.testing.assert_array_equal(found.image, ds.image)
        if (found.nuclei == ds.nuclei).all():
            kinds.add("old")
        else:
            np.testing.assert_array_equal(found.nuclei, new.nuclei)
            kinds.add("new")
        for level in range(2):
            coarse = opened(store, level=level)
            assert "nuclei" in coarse
            coarse.load()
    assert kinds == {"old", "new"}


@pytest.mark.parametrize("option", [{"levels": 2}, {"method": "median"}, {"boundary": "trim"}])
def test_labels_are_added_on_the_levels_that_there_are(tmp_path: Path, option: Document) -> None:
    ds = labelled(table=False)
    ds[["image"]].omezarr.to_zarr(tmp_path / "a")
    before = files(tmp_path)
    with pytest.raises(OmeZarrError, match=f"{next(iter(option))} cannot be chosen"):
        ds.omezarr.to_zarr(tmp_path / "a", mode="a", labels=["nuclei"], **option)
    assert files(tmp_path) == before


def test_adding_labels_is_interrupted(version: str) -> None:
    ds = labelled(size=24)

    def before(store: Place) -> None:
        ds[["image"]].omezarr.to_zarr(store, version=version, levels=2, chunks=16)

    def write(store: Place) -> None:
        ds.drop_vars("image").omezarr.to_zarr(store, mode="a", labels=["nuclei"], chunks=16)

    kinds = set()
    for writes, store in interruptions(before, write):
        found = opened(store).load()
        np.testing.assert_array_equal(found.image, ds.image)
        kinds.add("nuclei" in found)
        if "nuclei" in found:
            xr.testing.assert_identical(found, ds)
            opened(store, level=1).load()
            children = opened_tree(store)["labels"].children
            assert set(children) == {"nuclei"}, writes
    assert kinds == {False, True}


@pytest.mark.parametrize("after", [0, 5])
def test_labels_that_fail_keep_the_old_image(tmp_path: Path, version: str, after: int) -> None:
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"], levels=2)
    arguments: Document = {"mode": "w", "labels": ["nuclei"], "overwrite_labels": True}
    new = ds.assign(image=ds.image + 1, nuclei=4 - ds.nuclei)
    bad = new.assign(nuclei=(("y", "x"), failing(new.nuclei.values, after=after)))
    with pytest.raises(StoreFailureError):
        bad.omezarr.to_zarr(tmp_path / "a", **arguments)
    xr.testing.assert_identical(opened(tmp_path / "a").load(), ds)
    new.omezarr.to_zarr(tmp_path / "a", **arguments)
    xr.testing.assert_identical(opened(tmp_path / "a").load(), new)


def test_replacing_image_and_labels_is_interrupted(version: str) -> None:
    """The image is the old one or the new one, and so is the label image, at every moment."""
    ds = labelled(size=24)
    new = ds.assign(image=ds.image + 1, nuclei=4 - ds.nuclei)
    arguments: Document = {"labels": ["nuclei"], "levels": 2, "chunks": 16, "version": version}

    def before(store: Place) -> None:
        ds.omezarr.to_zarr(store, **arguments)

    def write(store: Place) -> None:
        new.omezarr.to_zarr(store, mode="w", overwrite_labels=True, **arguments)

    for writes, store in interruptions(before, write):
        found = opened(store).load()
        for name in ("image", "nuclei"):
            kinds = [found[name].equals(one[name]) for one in (ds, new)]
            assert any(kinds), (writes, name)
        opened(store, level=1).load()
    xr.testing.assert_identical(found, new)


def test_writing_image_and_labels_is_interrupted(version: str) -> None:
    """What never was an image is none, and an image never has half of a label image."""
    ds = labelled(size=24)

    def write(store: Place) -> None:
        ds.omezarr.to_zarr(store, version=version, labels=["nuclei"], levels=2, chunks=16)

    for writes, store in interruptions(lambda _: None, write):
        try:
            found = opened(store).load()
        except OmeZarrError:
            continue
        np.testing.assert_array_equal(found.image, ds.image)
        if "nuclei" in found:
            xr.testing.assert_identical(found, ds)
        assert writes
    xr.testing.assert_identical(found, ds)


# ── writing over an image with labels ────────────────────────────────────────────────────────────


def test_an_image_with_labels_is_not_replaced_unasked(tmp_path: Path, version: str) -> None:
    ds = labelled(names=("nuclei", "cells"))
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei", "cells"])
    before = files(tmp_path)
    for new in (ds[["image"]] + 1, ds.image + 1):
        with pytest.raises(OmeZarrFileExistsError, match="existing_labels") as error:
            new.omezarr.to_zarr(tmp_path / "a", mode="w", version=version)
        for word in ("nuclei", "cells", "keep", "drop"):
            assert word in str(error.value)
    assert files(tmp_path) == before


def test_labels_are_kept(tmp_path: Path, version: str) -> None:
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"], levels=2)
    before = files(tmp_path / "a" / "labels")
    new = ds[["image"]] + 1
    new = new.assign_coords({dim: ds[dim] for dim in "yx"})
    new.omezarr.to_zarr(tmp_path / "a", mode="w", existing_labels="keep", version=version, levels=2)
    assert files(tmp_path / "a" / "labels") == before
    xr.testing.assert_identical(opened(tmp_path / "a").load(), ds.assign(image=ds.image + 1))


LEVELS: list[Document] = [
    {"levels": 3},
    {"levels": 2, "method": "nearest"},
    {"levels": [{"y": 2, "x": 4}]},
    {"levels": 1},
]


@pytest.mark.parametrize("other", LEVELS, ids=["one more", "nearest", "other factors", "one less"])
def test_labels_are_kept_on_the_same_levels_only(
    tmp_path: Path, version: str, other: Document
) -> None:
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"], levels=2)
    before = files(tmp_path)
    with pytest.raises(OmeZarrError, match="nuclei"):
        ds[["image"]].omezarr.to_zarr(
            tmp_path / "a", mode="w", existing_labels="keep", version=version, **other
        )
    assert files(tmp_path) == before


GRIDS = {
    "narrower": lambda ds: ds.isel(x=slice(0, 30)),
    "moved": lambda ds: ds.assign_coords(x=ds.x + 0.25),
    "zoomed": lambda ds: ds.assign_coords(x=ds.x * 2),
}


@pytest.mark.parametrize("kind", GRIDS)
def test_labels_are_kept_on_the_same_grid_only(tmp_path: Path, version: str, kind: str) -> None:
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"])
    before = files(tmp_path)
    new = GRIDS[kind](ds[["image"]])
    with pytest.raises(OmeZarrError, match="nuclei"):
        new.omezarr.to_zarr(tmp_path / "a", mode="w", existing_labels="keep", version=version)
    assert files(tmp_path) == before


def test_labels_are_not_kept_in_another_version(tmp_path: Path, version: str) -> None:
    other = {"0.4": "0.5", "0.5": "0.4"}[version]
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"])
    before = files(tmp_path)
    with pytest.raises(OmeZarrError, match="nuclei"):
        ds[["image"]].omezarr.to_zarr(
            tmp_path / "a", mode="w", existing_labels="keep", version=other
        )
    assert files(tmp_path) == before


def test_labels_are_kept_beside_new_ones(tmp_path: Path, version: str) -> None:
    ds = labelled(names=("nuclei", "cells"))
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei", "cells"])
    before = files(tmp_path / "a" / "labels" / "cells")
    new = ds.drop_vars([name for name in ds.variables if str(name).startswith("cells")])
    new = new.assign(nuclei=4 - new.nuclei)
    new.omezarr.to_zarr(
        tmp_path / "a",
        mode="w",
        version=version,
        labels=["nuclei"],
        existing_labels="keep",
        overwrite_labels=True,
    )
    assert files(tmp_path / "a" / "labels" / "cells") == before
    assert sorted(document_of(tmp_path / "a", "labels")["labels"]) == ["cells", "nuclei"]
    again = opened(tmp_path / "a")
    np.testing.assert_array_equal(again.nuclei, 4 - ds.nuclei)
    np.testing.assert_array_equal(again.cells, ds.cells)


def test_labels_are_dropped(tmp_path: Path, version: str) -> None:
    ds = labelled(names=("nuclei", "cells"))
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei", "cells"])
    (tmp_path / "a" / "labels" / "notes.txt").write_text("mine")
    (tmp_path / "a" / "labels" / "nuclei" / "table.csv").write_text("1,2")
    (tmp_path / "a" / "readme.md").write_text("mine")
    new = ds[["image"]].isel(x=slice(3, None))
    new.omezarr.to_zarr(tmp_path / "a", mode="w", existing_labels="drop", version=version)
    xr.testing.assert_identical(opened(tmp_path / "a").load(), new)
    assert "labels" not in opened_tree(tmp_path / "a").children
    left = {one for one in files(tmp_path / "a" / "labels") if one.endswith((".txt", ".csv"))}
    assert left == {"notes.txt", "nuclei/table.csv"}
    assert (tmp_path / "a" / "readme.md").read_text() == "mine"
    arrays = {
        one.parent.name
        for one in (tmp_path / "a" / "labels").rglob("*")
        if one.name in {"zarr.json", ".zarray", ".zattrs"}
    }
    assert arrays <= {"labels"}


def test_one_is_dropped_and_one_written(tmp_path: Path, version: str) -> None:
    ds = labelled(names=("nuclei", "cells"))
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei", "cells"])
    new = ds.drop_vars([name for name in ds.variables if str(name).startswith("cells")])
    arguments: Document = {"mode": "w", "labels": ["nuclei"], "existing_labels": "drop"}
    new.isel(x=slice(3, None)).omezarr.to_zarr(
        tmp_path / "a", version=version, overwrite_labels=True, **arguments
    )
    assert document_of(tmp_path / "a", "labels")["labels"] == ["nuclei"]
    xr.testing.assert_identical(opened(tmp_path / "a").load(), new.isel(x=slice(3, None)))


def test_labels_of_the_dataset_take_the_places_of_the_old_ones(
    tmp_path: Path, version: str
) -> None:
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"])
    new = ds.isel(y=slice(4, None), nuclei_id=[2, 0])
    new.omezarr.to_zarr(tmp_path / "a", mode="w", version=version, labels=["nuclei"])
    xr.testing.assert_identical(opened(tmp_path / "a").load(), new)


def test_existing_labels_is_one_of_two(tmp_path: Path) -> None:
    with pytest.raises(OmeZarrError, match="'keep' or 'drop'"):
        image().omezarr.to_zarr(tmp_path / "a", existing_labels="maybe")
    assert files(tmp_path) == {}


def test_a_lazy_dataset_over_itself(tmp_path: Path, version: str) -> None:
    """What is being replaced is where the new pixels come from."""
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"], levels=2, chunks=16)
    lazy = opened(tmp_path / "a", chunks={})
    grown = lazy.assign(nuclei=(lazy.nuclei + 1).where(lazy.nuclei > 0, 0))
    grown.drop_vars("image").omezarr.to_zarr(
        tmp_path / "a", mode="a", labels=["nuclei"], overwrite_labels=True
    )
    expected = np.where(ds.nuclei > 0, ds.nuclei + 1, 0)
    np.testing.assert_array_equal(opened(tmp_path / "a").nuclei, expected)


@pytest.mark.parametrize("labels", [["nuclei", "bright"], ["bright", "nuclei"], ["bright"]])
def test_labels_made_from_the_image_that_is_replaced(
    tmp_path: Path, version: str, labels: list[str]
) -> None:
    """Old pixels are there until all that is made from them is written; or nothing is done."""
    old = labelled(size=24)
    old.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"], levels=2, chunks=16)
    ds = opened(tmp_path / "a", chunks={})
    ds["bright"] = ((ds.image > 1000) & (ds.nuclei > 0)).astype("u1")
    new = ds.isel(x=slice(4, None))
    if "nuclei" not in labels:
        new = new.drop_vars([name for name in new.variables if str(name).startswith("nuclei")])
    expected = new.compute()
    try:
        new.omezarr.to_zarr(tmp_path / "a", mode="w", labels=labels, existing_labels="drop")
    except OmeZarrError:
        expected = old
    xr.testing.assert_equal(opened(tmp_path / "a").load(), expected)


# ── how it is written ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["w-", "a"])
def test_later(tmp_path: Path, version: str, mode: str) -> None:
    ds = labelled().chunk(y=16, x=16)
    if mode == "a":
        ds[["image"]].omezarr.to_zarr(tmp_path / "a", version=version, levels=2)
        ds = ds.drop_vars("image")
    task = ds.omezarr.to_zarr(
        tmp_path / "a",
        mode=mode,
        labels=["nuclei"],
        compute=False,
        **({"version": version, "levels": 2} if mode == "w-" else {}),
    )
    if mode == "a":
        assert list(opened(tmp_path / "a").data_vars) == ["image"]
    else:
        with pytest.raises(OmeZarrError):
            opened(tmp_path / "a")
    assert task is not None
    task.compute(scheduler="threads")
    xr.testing.assert_identical(opened(tmp_path / "a").load(), labelled())
    assert opened(tmp_path / "a", level=1).nuclei.shape == (20, 24)


def test_chunks_and_shards(tmp_path: Path, version: str) -> None:
    ds = labelled()
    layout: Document = {"chunks": {"y": 8, "x": 16}}
    if version != "0.4":
        layout["shards"] = {"y": 16, "x": 32}
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"], **layout)
    for group in (None, "labels/nuclei"):
        array = level_array(tmp_path / "a", group=group)
        assert array.chunks == (8, 16)
        if version != "0.4":
            assert array.shards == (16, 32)
    xr.testing.assert_identical(opened(tmp_path / "a").load(), ds)


def test_a_read_only_store(tmp_path: Path, version: str) -> None:
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"])
    store = memory_of(tmp_path / "a")
    before = contents(store)
    only = store.with_read_only(read_only=True)
    table = ds.drop_vars("image")
    with pytest.raises((OmeZarrError, ValueError), match="read"):
        table.omezarr.to_zarr(only, mode="a", labels=["nuclei"], overwrite_labels=True)
    assert contents(store) == before


def test_edited_tables_are_written(tmp_path: Path, version: str) -> None:
    ds = labelled()
    ds.omezarr.to_zarr(tmp_path / "a", version=version, labels=["nuclei"])
    ds = opened(tmp_path / "a")
    table = ds.omezarr.table("nuclei")
    edited = ds.omezarr.set_table("nuclei", table.sortby("id").assign(twice=table["count"] * 2))
    edited.omezarr.to_zarr(tmp_path / "b")
    again = opened(tmp_path / "b").load()
    assert again.nuclei_id.values.tolist() == [1, 2, 3]
    xr.testing.assert_identical(again, edited.load())
    # A table that is gone is gone: the file it came from does not bring it back.
    bare = ds.drop_vars([name for name in ds.variables if str(name).startswith("nuclei_")])
    bare.omezarr.to_zarr(tmp_path / "c")
    said = document_of(tmp_path / "c", "labels/nuclei").get("image-label", {})
    assert not said.get("properties")
    assert not said.get("colors")
    xr.testing.assert_identical(opened(tmp_path / "c").load(), bare.load())


def test_an_index_that_stands_twice(tmp_path: Path) -> None:
    ds = labelled()
    twice = ds.isel(nuclei_id=[0, 0, 1])
    with pytest.raises(OmeZarrError, match=r"nuclei_id|more than once|twice"):
        twice.omezarr.to_zarr(tmp_path / "a", labels=["nuclei"])
    assert files(tmp_path) == {}


def test_writing_many_labels_asks_little(version: str) -> None:
    """Adding a label image reads no pixel of the image and none of the other labels."""
    store = MemoryStore()
    ds = labelled(names=("nuclei", "cells"), table=False)
    ds[["image", "nuclei"]].omezarr.to_zarr(store, version=version, labels=["nuclei"])
    watched = WatchedStore(store)
    ds[["cells"]].omezarr.to_zarr(watched, mode="a", labels=["cells"])
    metadata = ("zarr.json", ".omezarr-update.json", ".zattrs", ".zarray", ".zgroup", ".zmetadata")
    others = [
        key
        for key in watched.log.keys("get")
        if not key.endswith(metadata) and not key.startswith("labels/cells")
    ]
    assert not others
