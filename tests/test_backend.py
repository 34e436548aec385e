"""The engine: what opens, from where, how lazily, and what can be done with it."""

from __future__ import annotations

import asyncio
import functools
import io
import itertools
import multiprocessing
import operator
import pickle
import shutil
import socket
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import dask.array as da
import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr
from xarray.backends import list_engines, plugins
from zarr.codecs import BytesCodec
from zarr.storage import FsspecStore, LocalStore, ZipStore

from tests.helpers import (
    OMERO,
    VERSIONS,
    Sample,
    WatchedStore,
    cluster,
    memory_of,
    multiscales,
    opened,
    opened_tree,
    pixels,
    put_array,
    put_document,
    put_sample,
    served,
)
from xarray_omezarr import OmeZarrError
from xarray_omezarr.backend import OmeZarrBackendEntrypoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.helpers import Option, Place

    Derive = Callable[[xr.Dataset], xr.Dataset]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sample(tmp_path: Path, version: str) -> Sample:
    return put_sample(tmp_path / "image.ome.zarr", version=version)


# ── from where ───────────────────────────────────────────────────────────────────────────────────


@contextmanager
def memory_url(path: Path) -> Iterator[str]:
    memory = fsspec.filesystem("memory")
    memory.put(str(path), str(path), recursive=True)
    yield f"memory:/{path}"
    memory.rm(str(path), recursive=True)


@contextmanager
def http_url(path: Path) -> Iterator[str]:
    with served(path.parent) as (url, _):
        yield f"{url}/{path.name}"


@contextmanager
def zip_store(path: Path) -> Iterator[ZipStore]:
    store = ZipStore(shutil.make_archive(str(path), "zip", path), mode="r")
    yield store
    if store._is_open:
        store.close()


PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "str": lambda path: nullcontext(str(path)),
    "str/": lambda path: nullcontext(f"{path}/"),
    "PathLike": nullcontext,
    "file://": lambda path: nullcontext(path.as_uri()),
    "memory://": memory_url,
    "http://": http_url,
    "LocalStore": lambda path: nullcontext(LocalStore(path, read_only=True)),
    "MemoryStore": lambda path: nullcontext(memory_of(path)),
    "WrapperStore": lambda path: nullcontext(WatchedStore(memory_of(path))),
    "FsspecStore": lambda path: nullcontext(FsspecStore.from_url(path.as_uri(), read_only=True)),
    "ZipStore": zip_store,
    "Group": lambda path: nullcontext(zarr.open_group(path, mode="r")),
}


@pytest.fixture(params=PLACES)
def source(request: pytest.FixtureRequest, sample: Sample) -> Iterator[Place]:
    """One and the same image, at the places that an image can come from."""
    with PLACES[request.param](sample.store) as place:
        yield place


def test_opens_from_anywhere(source: Place, sample: Sample) -> None:
    with opened(source) as ds:
        xr.testing.assert_identical(ds.load(), sample.dataset())
    with opened_tree(source) as tree:
        assert list(tree.children) == ["0", "1", "2"]
        xr.testing.assert_identical(tree["2"].to_dataset().load(), sample.dataset(2))


@pytest.mark.parametrize("place", ["ZipStore", "Group"])
def test_what_was_handed_over_stays_open(sample: Sample, place: str) -> None:
    with zip_store(sample.store) as store:
        handed = store if place == "ZipStore" else zarr.open_group(store, mode="r")
        for _ in range(2):
            with opened(handed) as ds:
                np.testing.assert_array_equal(ds.image, sample.levels[0])


@pytest.mark.parametrize(
    ("below", "group"),
    [("", "a/b"), ("", "/a/b/"), ("a", "b"), ("a/b", None), ("a/b", ""), ("a/b", "/")],
    ids=repr,
)
def test_group(tmp_path: Path, version: str, below: str, group: str | None) -> None:
    sample = put_sample(tmp_path, version=version, group="a/b")
    ds = opened(tmp_path / below, group=group)
    xr.testing.assert_identical(ds.load(), sample.dataset())
    node = zarr.open_group(tmp_path, path=below, mode="r")
    xr.testing.assert_identical(opened(node, group=group).load(), sample.dataset())


def test_storage_options_reach_fsspec(sample: Sample) -> None:
    with served(sample.store.parent) as (url, asked):
        kwargs = {"storage_options": {"headers": {"X-Token": "mine"}}}
        xr.testing.assert_identical(
            opened(f"{url}/{sample.store.name}", **kwargs).load(), sample.dataset()
        )
    assert asked
    assert {request.headers.get("X-Token") for request in asked} == {"mine"}


# ── which level ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("level", "index"), [(0, 0), (1, 1), (2, 2), (-1, 2), (-3, 0)])
def test_level(sample: Sample, level: int, index: int) -> None:
    ds = opened(sample.store, level=level)
    xr.testing.assert_identical(ds.load(), sample.dataset(index))
    recorded = ds.image.encoding["omezarr"]
    assert (recorded["level"], recorded["path"]) == (index, sample.paths[index])


@pytest.mark.parametrize("level", [3, -4, 17])
def test_level_out_of_range_names_those_there_are(sample: Sample, level: int) -> None:
    with pytest.raises(OmeZarrError, match=str(level)) as caught:
        opened(sample.store, level=level)
    message = str(caught.value)
    for index, (values, scale) in enumerate(zip(sample.levels, sample.scales, strict=True)):
        assert str(index) in message
        for size in values.shape:
            assert str(size) in message
        for dim in (1, 2):
            assert f"{scale[dim]:g}" in message


def test_open_dataarray(sample: Sample) -> None:
    image = xr.open_dataarray(sample.store, engine="omezarr", level=1)
    assert image.name == "image"
    xr.testing.assert_identical(image.load(), sample.dataset(1).image)


# ── what is said about it ────────────────────────────────────────────────────────────────────────


def test_channels_are_coordinates(sample: Sample) -> None:
    gfp = opened(sample.store).sel(c="GFP")
    assert gfp.c_color.item() == "00FF00"
    assert gfp.c_active.item() is False
    assert gfp.c_active.dtype == bool
    for bound, expected in OMERO["channels"][1]["window"].items():
        assert gfp[f"c_window_{bound}"].item() == expected
        assert gfp[f"c_window_{bound}"].dtype == np.float64


def test_encoding(tmp_path: Path, version: str) -> None:
    shards = {"0.4": None, "0.5": (2, 16, 24)}[version]
    sample = put_sample(tmp_path, version=version, shards=shards, chunks=(1, 8, 12))
    encoding = opened(tmp_path, level=1).image.encoding
    assert encoding["chunks"] == (1, 8, 12)
    assert encoding["preferred_chunks"] == {"c": 1, "y": 8, "x": 12}
    group = zarr.open_group(tmp_path, mode="r")
    recorded = encoding["omezarr"]
    assert (recorded["version"], recorded["level"]) == (version, 1)
    assert recorded["path"] == sample.paths[1]
    assert recorded["document"] == group.attrs.asdict()
    if version == "0.5":
        array = group[sample.paths[1]]
        assert isinstance(array, zarr.Array)
        for key in ("compressors", "filters", "serializer", "fill_value"):
            assert encoding[key] == getattr(array, key)
        assert recorded["shards"] == dict(zip("cyx", array.shards or (), strict=True))
    # xarray would hand these on to a variable that has lost a dimension, and fail to write it.
    assert "shards" not in encoding


def test_exact_numbers_travel_with_coordinates(sample: Sample) -> None:
    ds = opened(sample.store, level=1)
    for position, dim in enumerate(sample.dims[1:], 1):
        encoding = ds[dim].encoding
        assert encoding["scale"] == sample.scales[1][position]
        assert encoding["translation"] == sample.translations[1][position]


@pytest.mark.parametrize("where", ["path", "group"])
def test_source_is_recorded(sample: Sample, where: str) -> None:
    ds = opened(sample.store if where == "path" else zarr.open_group(sample.store, mode="r"))
    assert str(sample.store) in str(ds.encoding["source"])


def test_fill_values_are_no_masks(tmp_path: Path, version: str) -> None:
    put_document(
        tmp_path,
        {"multiscales": [multiscales("yx", ["0"], [(1, 1)], [(0, 0)])]},
        version=version,
    )
    values = np.full((20, 20), 7, "uint8")
    values[:16, :16] = 3
    put_array(tmp_path, "0", values, version=version, dims="yx", fill_value=7)
    ds = opened(tmp_path)
    assert ds.image.dtype == np.uint8
    np.testing.assert_array_equal(ds.image, values)


@pytest.mark.parametrize("dtype", [">u2", ">f8", "<i4", "u1", "?"])
@pytest.mark.parametrize("chunks", [None, {}], ids=["lazy", "dask"])
def test_native_byte_order(tmp_path: Path, version: str, dtype: str, chunks: Option) -> None:
    put_document(
        tmp_path,
        {"multiscales": [multiscales("yx", ["0"], [(1, 1)], [(0, 0)])]},
        version=version,
    )
    values = pixels((20, 20)).astype(dtype)
    serializer: Option = BytesCodec(endian="big") if version == "0.5" else "auto"
    put_array(tmp_path, "0", values, version=version, dims="yx", serializer=serializer)
    ds = opened(tmp_path, chunks=chunks)
    for image in (ds.image, ds.image[3:, [2, 1]], ds.image[:, xr.DataArray([1, 2], dims="x")]):
        assert image.dtype == np.dtype(dtype).newbyteorder("=")
        assert image.dtype.isnative
        assert image.values.dtype == image.dtype
    np.testing.assert_array_equal(ds.image, values)


# ── lazily ───────────────────────────────────────────────────────────────────────────────────────

INDEXERS = {
    "integer": {"c": 1, "y": -3},
    "slice": {"y": slice(3, 30), "x": slice(None, 20)},
    "stride": {"y": slice(1, None, 3), "x": slice(None, None, 5)},
    "reversal": {"y": slice(None, None, -1), "x": slice(40, 2, -3)},
    "list": {"x": [5, 1, 1, -1], "c": [1]},
    "boolean": {"y": np.arange(40) % 3 == 0},
    "outer": {"y": [3, 1, 20], "x": [4, 4, 40], "c": slice(1, None)},
    "pointwise": {"y": xr.DataArray([3, 1, 20], dims="p"), "x": xr.DataArray([4, 4, 40], dims="p")},
    "grid": {"y": xr.DataArray([[3, 1], [20, 7]], dims=("p", "q")), "c": 0},
    "empty": {"y": [], "x": slice(5, 5)},
}


@pytest.mark.parametrize("indexer", INDEXERS.values(), ids=INDEXERS.keys())
@pytest.mark.parametrize("load", ["load", "load_async", "compute"])
def test_every_kind_of_indexer_is_lazy(
    sample: Sample,
    indexer: dict[str, Any],
    load: str,
) -> None:
    selected = opened(sample.store).isel(indexer)
    assert not selected.image.variable._in_memory
    if load == "load_async":
        asyncio.run(selected.load_async())
    elif load == "load":
        selected.load()
    else:
        selected = selected.compute()
    assert selected.image.variable._in_memory
    xr.testing.assert_identical(selected, sample.dataset().isel(indexer))


def test_selection_by_position(sample: Sample) -> None:
    crop = {"c": "DAPI", "y": slice(12.0, 20.0)}
    selected = opened(sample.store).sel(crop).sel(x=[0.0, 1.1], method="nearest")
    assert not selected.image.variable._in_memory
    expected = sample.dataset().sel(crop).sel(x=[0.0, 1.1], method="nearest")
    xr.testing.assert_identical(selected.load(), expected)


def test_lazy_without_dask(sample: Sample) -> None:
    ds = opened(sample.store)
    assert ds.chunks == {}
    assert not ds.image.variable._in_memory
    assert "..." in repr(ds)
    assert not ds.image.variable._in_memory
    np.testing.assert_array_equal(ds.image[0, 3], sample.levels[0][0, 3])
    assert not ds.image.variable._in_memory
    uncached = opened(sample.store, cache=False)
    for one, cached in ((ds, True), (uncached, False)):
        np.testing.assert_array_equal(one.image.values, sample.levels[0])
        assert one.image.variable._in_memory is cached


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ({}, (16, 16, 8)),
        (-1, (40,)),
        ("auto", (40,)),
        ({"y": 32}, (32, 8)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("shards", [None, (2, 32, 48)], ids=["plain", "sharded"])
def test_chunks(tmp_path: Path, chunks: Option, expected: tuple[int, ...], shards: Option) -> None:
    sample = put_sample(tmp_path, shards=shards and (2, 32, 16))
    ds = opened(tmp_path, chunks=chunks)
    assert isinstance(ds.image.data, da.Array)
    assert ds.chunksizes["y"] == expected
    xr.testing.assert_identical(ds.compute(), sample.dataset())


def test_levels_and_groups_differ_in_name(tmp_path: Path) -> None:
    """Dask takes equal names for equal data."""
    for group in "ab":
        put_sample(tmp_path, group=group)
    names = {
        opened(tmp_path, group=group, level=level, chunks={}).image.data.name
        for group, level in itertools.product("ab", range(3))
    }
    tree = opened_tree(tmp_path, group="a", chunks={})
    names |= {node.image.data.name for node in tree.children.values()}
    assert len(names) == 9


@pytest.mark.xfail(reason="xarray leaves the path of a group out of dask's names", strict=True)
def test_groups_differ_in_name(sample: Sample) -> None:
    groups = xr.open_groups(sample.store, engine="omezarr", chunks={})
    assert groups["/0"].image.data.name != groups["/1"].image.data.name


# ── elsewhere ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chunks", [None, {}], ids=["lazy", "dask"])
def test_pickles(source: Place, sample: Sample, chunks: Option) -> None:
    if isinstance(source, ZipStore):
        pytest.skip("an open archive's lock stays where it is")
    ds = opened(source, chunks=chunks)
    assert ds.omezarr.units["y"] == "micrometer"  # the accessor travels with its object
    copy = pickle.loads(pickle.dumps(ds.isel(y=slice(3, None))))  # noqa: S301
    assert not copy.image.variable._in_memory
    xr.testing.assert_identical(copy.load(), sample.dataset().isel(y=slice(3, None)))
    tree = opened_tree(source, chunks=chunks)
    copied = pickle.loads(pickle.dumps(tree))  # noqa: S301
    xr.testing.assert_identical(copied["1"].to_dataset().load(), sample.dataset(1))


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_process_pool(sample: Sample, pool: ProcessPoolExecutor) -> None:
    loaded = pool.submit(operator.methodcaller("load"), opened(sample.store, level=1)).result()
    handed_back = pool.submit(
        functools.partial(xr.open_dataset, engine="omezarr", level=1),
        sample.store,
    ).result()
    xr.testing.assert_identical(loaded, sample.dataset(1))
    assert not handed_back.image.variable._in_memory
    xr.testing.assert_identical(handed_back.load(), sample.dataset(1))


def test_distributed(tmp_path: Path) -> None:
    sample = put_sample(tmp_path / "source")
    with cluster() as client:
        loaded = client.submit(operator.methodcaller("load"), opened(tmp_path / "source")).result()
        chunked = opened(tmp_path / "source", chunks={})
        total = chunked.image.sum().compute().item()
        (chunked + 1).omezarr.to_zarr(tmp_path / "target", levels=2)
    xr.testing.assert_identical(loaded, sample.dataset())
    assert total == sample.levels[0].sum()
    np.testing.assert_array_equal(opened(tmp_path / "target").image, sample.levels[0] + 1)


# ── several ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("parallel", [False, True])
def test_open_mfdataset(tmp_path: Path, parallel: bool) -> None:  # noqa: FBT001
    """Tiles find their places by their coordinates."""
    tiles = [
        put_sample(tmp_path / name, seed=seed, origin=origin)
        for seed, (name, origin) in enumerate([("a", 30.0), ("b", 10.0)])
    ]
    ds = xr.open_mfdataset(
        [tmp_path / "a", tmp_path / "b"],
        engine="omezarr",
        level=1,
        combine="by_coords",
        parallel=parallel,
        data_vars="all",
        coords="minimal",
        compat="override",
        join="exact",
    )
    expected = xr.concat(
        [tiles[1].dataset(1), tiles[0].dataset(1)],
        "y",
        coords="minimal",
        compat="override",
        join="exact",
    )
    assert ds.image.chunks is not None
    xr.testing.assert_equal(ds.compute(), expected)


@pytest.mark.parametrize("chunks", [None, {}], ids=["lazy", "dask"])
def test_open_datatree(sample: Sample, version: str, chunks: Option) -> None:
    tree = opened_tree(sample.store, chunks=chunks)
    assert tree.groups == ("/", "/0", "/1", "/2")
    assert not tree.to_dataset().variables
    for level, (name, node) in enumerate(tree.children.items()):
        assert name == str(level)
        assert not node.image.variable._in_memory
        recorded = node.image.encoding["omezarr"]
        assert recorded["path"] == sample.paths[level]
        assert recorded["version"] == version
        xr.testing.assert_identical(node.to_dataset().load(), sample.dataset(level))


def test_open_groups(sample: Sample) -> None:
    groups = xr.open_groups(sample.store, engine="omezarr")
    assert list(groups) == ["/", "/0", "/1", "/2"]
    assert not groups["/"].variables
    for level in range(3):
        xr.testing.assert_identical(groups[f"/{level}"].load(), sample.dataset(level))


def test_tree_selection_crops_to_one_region(sample: Sample) -> None:
    region = {"y": slice(12.4, 21.0), "x": slice(-1.1, 3.0)}
    cropped = opened_tree(sample.store).sel(region)
    for level in range(3):
        node = cropped[str(level)].to_dataset()
        assert not node.image.variable._in_memory
        whole = sample.dataset(level)
        for dim, part in region.items():
            inside = [value for value in whole[dim].values if part.start <= value <= part.stop]
            assert inside
            assert node[dim].values.tolist() == inside
        expected = whole.sel({dim: node[dim].values for dim in region})
        xr.testing.assert_identical(node.load(), expected)


# ── guessing ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        message = "the network was asked"
        raise AssertionError(message)

    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)


@pytest.mark.parametrize("name", ["image.ome.zarr", "image.zarr", "image", "image.ome.zarr/"])
def test_an_image_needs_no_engine(tmp_path: Path, version: str, name: str) -> None:
    sample = put_sample(tmp_path / name, version=version)
    where = f"{tmp_path}/{name}"
    xr.testing.assert_identical(xr.open_dataset(where).load(), sample.dataset())
    xr.testing.assert_identical(xr.open_dataset(where, level=-1).load(), sample.dataset(2))
    assert list(xr.open_datatree(where).children) == ["0", "1", "2"]
    group = zarr.open_group(where, mode="r")
    ds = xr.open_dataset(group)  # type: ignore[arg-type]
    xr.testing.assert_identical(ds.load(), sample.dataset())


def test_other_formats_are_left_alone(tmp_path: Path) -> None:
    ds = xr.Dataset({"a": ("x", np.arange(4.0))}, {"x": np.arange(4)})
    for zarr_format in (2, 3):
        where = tmp_path / f"plain{zarr_format}.zarr"
        ds.to_zarr(where, zarr_format=zarr_format, consolidated=False)
        xr.testing.assert_identical(xr.open_dataset(where, consolidated=False).load(), ds)
        xr.testing.assert_identical(
            xr.open_datatree(where, consolidated=False).to_dataset().load(), ds
        )
    for engine in ("netcdf4", "scipy"):
        ds.to_netcdf(tmp_path / f"{engine}.nc", engine=engine)
        with xr.open_dataset(tmp_path / f"{engine}.nc") as other:
            xr.testing.assert_identical(other.load(), ds)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("thing", "ours"),
    [
        ("https://nowhere.invalid/image.ome.zarr", True),
        ("https://nowhere.invalid/image.ome.zarr/", True),
        ("s3://nowhere/image.ome.zarr", True),
        ("https://nowhere.invalid/plain.zarr", False),
        ("s3://nowhere/plain.zarr/", False),
        ("https://nowhere.invalid/data.nc", False),
        ("https://nowhere.invalid/opendap/data", False),
        ("nowhere/at/all.zarr", False),
        ("nowhere/at/all.nc", False),
        ("", False),
        (b"CDF\x01", False),
        pytest.param(io.BytesIO(b"\x89HDF\r\n\x1a\n"), False, id="open file"),
        ({}, False),
        (7, False),
        (None, False),
    ],
    ids=repr,
)
def test_guess(thing: Place, ours: bool) -> None:  # noqa: FBT001
    assert OmeZarrBackendEntrypoint().guess_can_open(thing) is ours


@pytest.fixture
def strangers(tmp_path: Path) -> dict[str, Any]:
    """Local things that are no image."""
    zarr.create_group(tmp_path / "group.zarr", attributes={"multiscale": 1})
    zarr.create_array(tmp_path / "array.zarr", shape=(4,), chunks=(4,), dtype="u1")
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    (tmp_path / "list.zarr").mkdir()
    (tmp_path / "list.zarr" / ".zattrs").write_text("[1]")
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "data.nc").write_bytes(b"CDF\x01")
    strangers: dict[str, Any] = {entry.name: entry for entry in tmp_path.iterdir()}
    strangers["open group"] = zarr.open_group(tmp_path / "group.zarr", mode="r")
    return strangers


def test_the_choice_of_engine_is_as_without_us(
    strangers: dict[str, Any],
    no_network: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert no_network is None
    candidates = [
        *strangers.values(),
        *map(str, strangers.values()),
        "https://nowhere.invalid/plain.zarr",
        "s3://nowhere/plain.zarr",
        "https://nowhere.invalid/data.nc",
    ]

    def choices() -> list[str]:
        chosen = []
        for candidate in candidates:
            try:
                chosen.append(type(plugins.guess_engine(candidate)).__name__)
            except (ValueError, FileNotFoundError) as error:
                chosen.append(type(error).__name__)
        return chosen

    with_us = choices()
    others = {name: engine for name, engine in list_engines().items() if name != "omezarr"}
    assert len(others) == len(list_engines()) - 1
    monkeypatch.setattr(plugins, "list_engines", lambda: others)
    assert with_us == choices()


# ── what xarray's own arguments do ───────────────────────────────────────────────────────────────


def test_engine_as_class(sample: Sample) -> None:
    for decode_cf in (None, False):
        ds = xr.open_dataset(
            sample.store,
            engine=OmeZarrBackendEntrypoint,
            level=1,
            decode_cf=decode_cf,
        )
        xr.testing.assert_identical(ds.load(), sample.dataset(1))


def test_decode_cf(sample: Sample) -> None:
    xr.testing.assert_identical(opened(sample.store, decode_cf=False).load(), sample.dataset())
    tree = opened_tree(sample.store, decode_cf=False)
    xr.testing.assert_identical(tree["1"].to_dataset().load(), sample.dataset(1))


def test_drop_variables(sample: Sample) -> None:
    dropped = ["c_color", "c_window_max", "y"]
    expected = sample.dataset().drop_vars(dropped)
    xr.testing.assert_identical(opened(sample.store, drop_variables=dropped).load(), expected)
    xr.testing.assert_identical(
        opened(sample.store, drop_variables="c_color").load(), sample.dataset().drop_vars("c_color")
    )
    assert not opened(sample.store, drop_variables="image").data_vars
    tree = opened_tree(sample.store, drop_variables=dropped)
    assert "c_color" not in tree["1"].coords
    groups = xr.open_groups(sample.store, engine="omezarr", drop_variables=dropped)
    assert "c_color" not in groups["/1"].coords


def test_without_default_indexes(sample: Sample) -> None:
    ds = opened(sample.store, create_default_indexes=False)
    assert not ds.xindexes
    xr.testing.assert_equal(
        ds.set_xindex("y").set_xindex("x").set_xindex("c").load(), sample.dataset()
    )


# ── into other formats ───────────────────────────────────────────────────────────────────────────

# How Zarr stores strings is no affair of ours.
unstable = pytest.mark.filterwarnings(
    "ignore:The data type:zarr.errors.UnstableSpecificationWarning",
)

DERIVATIONS: dict[str, Derive] = {
    "opened": lambda ds: ds,
    "isel": lambda ds: ds.isel(y=slice(3, 30), x=slice(None, None, 2)),
    "integer": lambda ds: ds.isel(y=0),
    "sel": lambda ds: ds.sel(c="GFP"),
    "coarsen": lambda ds: ds.coarsen(y=2, x=2).mean(),
    "arithmetic": lambda ds: ds + 1,
    "astype": lambda ds: ds.astype("float32"),
    "transpose": lambda ds: ds.transpose("x", "y", "c"),
    "concat": lambda ds: xr.concat([ds.isel(c=[1]), ds.isel(c=[0])], "c"),
}


@unstable
@pytest.mark.parametrize("layout", ["0.4", "0.5", "0.5 sharded"])
@pytest.mark.parametrize("name", DERIVATIONS)
def test_export(tmp_path: Path, layout: str, name: str) -> None:
    derive = DERIVATIONS[name]
    sample = put_sample(
        tmp_path / "image",
        version=layout[:3],
        shards=(2, 32, 32) if "sharded" in layout else None,
    )
    ds = derive(opened(tmp_path / "image"))
    expected = derive(sample.dataset())
    xr.testing.assert_identical(ds, expected)
    for engine in ("netcdf4", "scipy"):
        where = tmp_path / f"{engine}.nc"
        derive(opened(tmp_path / "image")).to_netcdf(where, engine=engine)
        with xr.open_dataset(where, engine=engine) as back:
            xr.testing.assert_equal(back.load(), expected)
    derive(opened(tmp_path / "image")).to_zarr(tmp_path / "plain.zarr", consolidated=False)
    with xr.open_zarr(tmp_path / "plain.zarr", consolidated=False) as back:
        xr.testing.assert_equal(back.load(), expected)


@unstable
@pytest.mark.parametrize("version", VERSIONS)
def test_export_of_chunked(sample: Sample) -> None:
    opened(sample.store, chunks={}).to_zarr(sample.store.parent / "plain.zarr", consolidated=False)
    with xr.open_zarr(sample.store.parent / "plain.zarr", consolidated=False) as back:
        xr.testing.assert_equal(back.load(), sample.dataset())


@unstable
def test_tree_export(sample: Sample) -> None:
    tree = opened_tree(sample.store)
    tree.to_zarr(sample.store.parent / "plain.zarr", consolidated=False)
    tree.to_netcdf(sample.store.parent / "tree.nc", engine="netcdf4")
    for where, kwargs in (("plain.zarr", {"consolidated": False}), ("tree.nc", {})):
        with xr.open_datatree(sample.store.parent / where, backend_kwargs=kwargs) as back:
            xr.testing.assert_equal(back["2"].to_dataset().load(), sample.dataset(2))
