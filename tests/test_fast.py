"""Options, and codecs of two makers: whatever decodes a chunk, the pixels are the same."""

from __future__ import annotations

import asyncio
import copy
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import xarray as xr
import zarr
import zarr.codecs
from hypothesis import given
from hypothesis import strategies as st
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.storage import LocalStore, MemoryStore, WrapperStore, ZipStore

import xarray_omezarr
from tests.helpers import (
    axis,
    cluster,
    image,
    opened,
    pixels,
    put_array,
    put_document,
    put_sample,
    served,
)
from xarray_omezarr import (
    OmeZarrError,
    boxes,
    chunked,
    documents,
    options,
    pipelines,
    set_options,
    stores,
)
from xarray_omezarr.boxes import Compiled
from xarray_omezarr.errors import OmeZarrFileNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.helpers import Option, Pixels, Place

MAKERS = ("zarrs", "ours", "zarr")
"""Of what decodes: zarrs where it is installed, what there is without it, and Zarr as it is."""

needs_zarrs = pytest.mark.skipif(find_spec("zarrs") is None, reason="zarrs is not installed")
FUSED = hasattr(zarr.core.codec_pipeline, "FusedCodecPipeline")
"""Whether this release of Zarr has a pipeline that works without an event loop."""


def refuse(_array: object) -> bool:
    """Have zarrs do nothing, as if it were not installed."""
    return False


without_zarrs = mock.patch.object(pipelines, "_suits", refuse)


@contextmanager
def made_by(maker: str) -> Iterator[None]:
    """Open and write with the codecs of a maker."""
    with set_options(codec_pipeline="zarr" if maker == "zarr" else "auto"):
        if maker == "ours":
            with without_zarrs:
                yield
        else:
            yield


def pipeline_of(ds: xr.Dataset) -> object:
    """Find the pipeline below xarray's wrappers."""
    data: Any = ds.image.variable._data
    while not isinstance(data, chunked._NativeArray):
        data = data.array
    return data._array.async_array.codec_pipeline


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count what zarrs has been asked for, and did not fail at."""
    done = {"load": 0, "load_any": 0, "save": 0}

    def counting(name: str) -> Callable[..., None]:
        method = getattr(Compiled, name)

        def count(*args: object, **kwargs: object) -> None:
            method(*args, **kwargs)
            done[name] += 1

        return count

    methods: Any = {name: counting(name) for name in done}
    with mock.patch.multiple(Compiled, **methods):
        yield done


def put_image(where: Place, values: Pixels, *, version: str = "0.5", **layout: Option) -> None:
    """Lay down an image of one level, by Zarr alone."""
    dims = "tczyx"[-values.ndim :]
    datasets = [
        {
            "path": "0",
            "coordinateTransformations": [{"type": "scale", "scale": [1.0] * values.ndim}],
        }
    ]
    document = {"multiscales": [{"axes": [axis(dim) for dim in dims], "datasets": datasets}]}
    put_document(where, document, version=version)
    put_array(where, "0", values, version=version, dims=dims, **layout)


# ── options ──────────────────────────────────────────────────────────────────────────────────────


def test_options_of_a_block() -> None:
    assert options.get("codec_pipeline") == "auto"
    with set_options(codec_pipeline="zarr", progress=True):
        assert (options.get("codec_pipeline"), options.get("progress")) == ("zarr", True)
        with set_options(codec_pipeline="auto"):
            assert (options.get("codec_pipeline"), options.get("progress")) == ("auto", True)
        assert options.get("codec_pipeline") == "zarr"
    assert (options.get("codec_pipeline"), options.get("progress")) == ("auto", False)


def test_options_for_good() -> None:
    before = set_options(chunk_bytes=2**22)
    try:
        assert options.get("chunk_bytes") == 2**22
    finally:
        before.__exit__()
    assert options.get("chunk_bytes") == 2**20


def test_options_end_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), set_options(progress=True):
        raise ZeroDivisionError
    assert options.get("progress") is False


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codecs": "zarr"}, "no option 'codecs'; there are chunk_bytes, codec_pipeline, progress"),
        ({"codec_pipeline": "zarrs"}, "codec_pipeline='zarrs'.*expected 'auto' or 'zarr'"),
        ({"codec_pipeline": ["auto"]}, "codec_pipeline=.*expected 'auto' or 'zarr'"),
        ({"progress": 1}, "progress=1.*expected True or False"),
        ({"chunk_bytes": 0}, "chunk_bytes=0.*expected a positive number of bytes"),
        ({"chunk_bytes": True}, "chunk_bytes=True"),
        ({"chunk_bytes": 1.5}, "chunk_bytes=1.5"),
    ],
)
def test_wrong_options(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(OmeZarrError, match=message):
        set_options(**{"progress": True, **wrong})
    assert options.get("progress") is False  # nothing was set


def test_options_are_exported() -> None:
    assert "set_options" in dir(xarray_omezarr)
    assert xarray_omezarr.set_options is options.set_options


# ── which pipeline ───────────────────────────────────────────────────────────────────────────────


@needs_zarrs
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_local_images_go_through_zarrs(tmp_path: Path, version: str) -> None:
    with counted() as done:
        image((40, 48)).omezarr.to_zarr(tmp_path / "a", version=version, chunks=16)
    assert done["save"]
    assert not done["load"]
    with counted() as done:
        aided = opened(tmp_path / "a")
        with set_options(codec_pipeline="zarr"):
            image((40, 48)).omezarr.to_zarr(tmp_path / "b", version=version, chunks=16)
            unaided = opened(tmp_path / "a")
            # What was opened keeps what it was opened with.
            aided.load()
        unaided.load()
    assert (done["load"], done["save"]) == (1, 0)


@needs_zarrs
@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"z": 3},
        {"y": 7, "x": 40},
        {"z": 0, "y": slice(10, 30), "x": slice(5, 47)},
        {"z": slice(1, 2), "y": -1},
        {"z": 1, "y": 2, "x": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", ["0.4", "0.4 big-endian", "0.4 order F", "0.5", "0.5 shards"])
def test_boxes_are_read_by_zarrs(tmp_path: Path, layout: str, selection: dict[str, Any]) -> None:
    version, _, special = layout.partition(" ")
    values = pixels((4, 40, 48), ">u2" if special == "big-endian" else "u2")
    layouts: dict[str, dict[str, Any]] = {
        "order F": {"order": "F"},
        "shards": {"chunks": (2, 8, 8), "shards": (4, 32, 16)},
    }
    put_image(tmp_path, values, version=version, **layouts.get(special, {}))
    with counted() as done:
        read = opened(tmp_path).image.isel(selection)
        np.testing.assert_array_equal(read, xr.DataArray(values, dims=tuple("zyx")).isel(selection))
        assert read.dtype == "u2"
        assert read.dtype.isnative
    assert done["load"] == 1


def test_zarrs_own_for_the_rest(tmp_path: Path, memory: MemoryStore) -> None:
    put_sample(memory)
    put_sample(tmp_path)
    with set_options(codec_pipeline="zarr"):
        for store in (memory, tmp_path):
            assert type(pipeline_of(opened(store))) is BatchedCodecPipeline
    with without_zarrs:
        for store in (memory, tmp_path):
            pipeline = pipeline_of(opened(store))
            assert isinstance(pipeline, pipelines.Pipeline)
            assert pipeline.able is None
            assert hasattr(pipeline.plain, "read_sync") == FUSED


@without_zarrs
@pytest.mark.parametrize("layout", ["0.4 order F", "0.4 lz4", "0.5", "0.5 shards"])
@pytest.mark.parametrize("where", ["files", "memory"])
def test_boxes_are_read_without_an_event_loop(
    tmp_path: Path, memory: MemoryStore, where: str, layout: str
) -> None:
    if (where == "memory" or layout == "0.5 shards") and not FUSED:
        pytest.skip("this release of Zarr has no other way to them")
    store: Any = memory if where == "memory" else tmp_path
    values = pixels((13, 31))
    version, kwargs = LAYOUTS.get(layout, (layout, {}))
    put_image(store, values, version=version, chunks=(3, 10), **kwargs)
    ds = opened(store)
    with mock.patch("zarr.core.array.sync", side_effect=AssertionError):
        np.testing.assert_array_equal(ds.image[3:, 2], values[3:, 2])


class Wrapped(WrapperStore[Any]):
    """A store with reasons of its own."""


def test_other_stores_are_read_as_they_ask_for_it(tmp_path: Path) -> None:
    put_sample(tmp_path)
    assert type(pipeline_of(opened(Wrapped(LocalStore(tmp_path))))) is BatchedCodecPipeline
    with served(tmp_path) as (url, _):
        assert type(pipeline_of(opened(url))) is BatchedCodecPipeline


@pytest.mark.filterwarnings("error")
def test_a_pipeline_of_zarrs_configuration_stays(tmp_path: Path) -> None:
    put_sample(tmp_path)

    class Own(BatchedCodecPipeline):
        pass

    zarr.registry.register_pipeline(Own)
    name = f"{Own.__module__}.{Own.__qualname__}"
    try:
        with zarr.config.set({"codec_pipeline.path": name}):
            assert type(pipeline_of(opened(tmp_path))) is Own
    finally:
        zarr.registry._collect_entrypoints()


def test_nothing_is_set_for_others(tmp_path: Path) -> None:
    """Zarr's configuration is everybody's: not even another thread may see it change."""
    before, seen, done = copy.deepcopy(zarr.config.config), [], threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(zarr.config.get("codec_pipeline.path"))

    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail(f"zarr.config.set({args}, {kwargs})")

    filters = list(warnings.filters)
    thread = threading.Thread(target=look)
    thread.start()
    try:
        with mock.patch.object(type(zarr.config), "set", refuse):
            image((64, 64)).omezarr.to_zarr(tmp_path / "image", chunks=8)
            ds = opened(tmp_path / "image")
            ds.load()
            ds.isel(y=[3, 1]).load()
    finally:
        done.set()
        thread.join()
    assert set(seen) == {before["codec_pipeline"]["path"]}
    assert zarr.config.config == before
    assert list(warnings.filters) == filters


# ── the same pixels ──────────────────────────────────────────────────────────────────────────────

V2_COMPRESSORS = {
    "blosc": numcodecs.Blosc("zstd", shuffle=2),
    "bz2": numcodecs.BZ2(),
    "gzip": numcodecs.GZip(),
    "lz4": numcodecs.LZ4(),
    "lzma": numcodecs.LZMA(),
    "none": None,
    "zlib": numcodecs.Zlib(),
    "zstd": numcodecs.Zstd(),
}
V3_CODECS: dict[str, dict[str, Any]] = {
    "big-endian": {"serializer": zarr.codecs.BytesCodec(endian="big")},
    "blosc": {"compressors": zarr.codecs.BloscCodec(cname="lz4", shuffle="bitshuffle")},
    "checksum": {"compressors": [zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()]},
    "gzip": {"compressors": zarr.codecs.GzipCodec()},
    "none": {"compressors": None},
    "shards": {"shards": (6, 20)},
    "transposed": {"filters": [zarr.codecs.TransposeCodec(order=(1, 0))]},
    "transposed shards": {
        "filters": [zarr.codecs.TransposeCodec(order=(1, 0))],
        "shards": (6, 20),
    },
    "v2 keys": {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    "zstd": {"compressors": zarr.codecs.ZstdCodec(level=3, checksum=True)},
}
LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"0.4 {name}": ("0.4", {"compressors": c}) for name, c in V2_COMPRESSORS.items()},
    "0.4 delta": ("0.4", {"filters": [numcodecs.Delta("u2")]}),
    "0.4 no fill value": ("0.4", {"fill_value": None}),
    "0.4 order F": ("0.4", {"order": "F"}),
    "0.4 plain keys": ("0.4", {"chunk_key_encoding": {"name": "v2", "separator": "."}}),
    **{f"0.5 {name}": ("0.5", kwargs) for name, kwargs in V3_CODECS.items()},
}
SHAPE, CHUNKS = (13, 31), (3, 10)


def codecs_differ() -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(LAYOUTS))


def ranges(size: int) -> st.SearchStrategy[slice]:
    """Slices, but for empty ones that step backwards: xarray's lazy indexing fails with those."""

    def works(part: slice) -> bool:
        return bool(range(size)[part]) or (part.step or 1) > 0

    return st.slices(size).filter(works)


@st.composite
def selections(draw: st.DrawFn) -> dict[str, Any]:
    """Whatever xarray lets one select by."""
    found: dict[str, Any] = {}
    for dim, size in zip("yx", SHAPE, strict=True):
        index = st.integers(-size, size - 1)
        found[dim] = draw(
            st.one_of(
                index,
                ranges(size),
                st.lists(index, max_size=4),
                st.lists(st.booleans(), min_size=size, max_size=size).map(np.array),
                st.lists(index, min_size=2, max_size=2).map(lambda i: xr.DataArray(i, dims="p")),
            )
        )
    return found


few_at_a_time = pytest.mark.parametrize("held", [2**23, 2**8])
"""Bytes that are decoded at a time: all of the small images here, or a few chunks of them."""


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("fill", [0.0, 2.5, np.nan])
@pytest.mark.parametrize("shards", [None, (4, 8)])
def test_only_chunks_of_the_fill_value_are_left_out(
    tmp_path: Path, maker: str, fill: float, shards: tuple[int, int] | None
) -> None:
    values = np.full((4, 8), fill, "f4")
    values[0, 4:] = [fill, np.nan, fill, fill]
    values[2, :4] = -0.0
    values[3, 7] = 1
    put_array(
        LocalStore(tmp_path), "0", np.full_like(values, 7), version="0.5", dims="yx",
        chunks=(2, 4), fill_value=fill, shards=shards,
    )  # fmt: skip
    place = stores.locate(tmp_path, write=True)
    with made_by(maker):
        array = chunked.open_array(place, "0", 3, mode="r+")
        pipelines.write_box(array, (slice(0, 4), slice(0, 8)), values)
    read: Any = zarr.open_array(tmp_path, path="0", mode="r")
    np.testing.assert_array_equal(read[:], values)
    if shards is None:
        found = {str(path.relative_to(tmp_path / "0/c")) for path in tmp_path.glob("0/c/*/*")}
        different = {"1/1", "1/0", "0/1"} - ({"0/1"} if np.isnan(fill) else set())
        assert found == different


@few_at_a_time
@given(
    layout=codecs_differ(),
    dtype=st.sampled_from(["u1", "u2", ">u2", "i4", "u8", "f4", ">f8", "f2", "bool"]),
    selection=selections(),
)
def test_any_selection_of_any_array(
    tmp_path_factory: pytest.TempPathFactory,
    layout: str,
    dtype: str,
    selection: dict[str, Any],
    held: int,
) -> None:
    version, kwargs = LAYOUTS[layout]
    if version == "0.5" or "filters" in kwargs:
        dtype = dtype.lstrip(">") if "filters" not in kwargs else "u2"
    values = pixels(SHAPE).astype(dtype)
    values[:6, :20] = 0  # chunks that are not there
    where = tmp_path_factory.mktemp("image")
    put_image(where, values, version=version, chunks=CHUNKS, **kwargs)
    expected = xr.DataArray(values, dims=("y", "x")).isel(selection)
    for maker in MAKERS:
        with made_by(maker):
            ds = opened(where, cache=False)
        with mock.patch.multiple(boxes, _HELD_BYTES=held, _SMALL=held):
            np.testing.assert_array_equal(ds.image.isel(selection), expected)
            np.testing.assert_array_equal(asyncio.run(ds.load_async()).image, values)


@few_at_a_time
@given(
    layout=codecs_differ(),
    dtype=st.sampled_from(["u1", "u2", ">u2", "i4", "u8", "f4", "f8", "bool"]),
    data=st.data(),
)
def test_any_write(
    tmp_path_factory: pytest.TempPathFactory,
    layout: str,
    dtype: str,
    held: int,
    data: st.DataObject,
) -> None:
    """Whole chunks, parts of some, numbers for all of a region: the same chunks are there after."""
    version, kwargs = LAYOUTS[layout]
    dtype = "u2" if "filters" in kwargs or (version == "0.5" and dtype[0] == ">") else dtype
    values = pixels(SHAPE).astype(dtype)
    values[3:9, 5:25] = 0
    regions = [
        tuple(slice(*sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in SHAPE)
        for _ in range(2)
    ]
    what = data.draw(st.sampled_from(["C", "F", "swapped", "strided", "scalar"]))
    directly = data.draw(st.booleans()) and what != "scalar"
    cases = [(maker, atomic) for maker in MAKERS for atomic in (False, True)]
    written = [LocalStore(tmp_path_factory.mktemp("image")) for _ in cases]
    for store, (maker, atomic) in zip(written, cases, strict=True):
        put_array(
            store, "0", np.zeros_like(values), version=version, dims="yx", chunks=CHUNKS, **kwargs
        )
        place = stores.Place(store, "", "", owned=False)
        zarr_format = 2 if version == "0.4" else 3
        with made_by(maker):
            array = chunked.open_array(place, "0", zarr_format, mode="r+", atomic=atomic)
        for box in (*regions, (slice(None),) * 2) if what != "scalar" else regions:
            part: Any = values[box]
            if what == "F":
                part = np.asfortranarray(part)
            elif what == "swapped":
                part = part.astype(part.dtype.newbyteorder("S"))
            elif what == "strided":
                part = np.repeat(part, 2, axis=1)[:, ::2]
            if directly:
                with mock.patch.object(boxes, "_HELD_BYTES", held):
                    pipelines.write_box(array, box, part)
            else:
                array[box] = values[5, 30] if what == "scalar" else part
        array[2] = values[2]
        array[:, 7] = 1
        array[1, 1] = values[1, 1]
        array[::2, ::3] = values[::2, ::3]
    reference = zarr.open_array(written[-1], path="0", mode="r")[:]
    keys = [
        sorted(
            str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()
        )
        for store in written
    ]
    assert all(found == keys[-1] for found in keys)
    for store in written:
        np.testing.assert_array_equal(zarr.open_array(store, path="0", mode="r")[:], reference)


@given(
    version=st.sampled_from(["0.4", "0.5"]),
    shards=st.booleans(),
    dtype=st.sampled_from(["u1", "u2", "i4", "f4"]),
    dask=st.booleans(),
)
def test_images_are_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    version: str,
    shards: bool,  # noqa: FBT001
    dtype: str,
    dask: bool,  # noqa: FBT001
) -> None:
    """All metadata byte for byte, all pixels, and the same chunks."""
    ds = image((2, 37, 50), "cyx", dtype=dtype)
    ds.image[0, :16, :16] = 0
    ds = ds.chunk(y=16, x=16) if dask else ds
    layout: dict[str, Any] = {"chunks": {"y": 8, "x": 8}, "version": version}
    if shards and version == "0.5":
        layout["shards"] = {"y": 16, "x": 16}
    found = []
    for maker in MAKERS:
        where = tmp_path_factory.mktemp("image") / "image"
        with made_by(maker):
            ds.omezarr.to_zarr(where, levels=2, **layout)
        paths = {str(p.relative_to(where)): p for p in where.rglob("*") if p.is_file()}
        metadata = {
            k: p.read_bytes() for k, p in paths.items() if p.name in documents.METADATA_FILES
        }
        group = zarr.open_group(where, mode="r")
        found.append((set(paths), metadata, [np.asarray(group[k][:]) for k in ("0", "1")]))  # type: ignore[index]
    for files, described, levels in found[1:]:
        assert (files, described) == found[0][:2]
        for ours, others in zip(levels, found[0][2], strict=True):
            np.testing.assert_array_equal(ours, others)


@pytest.mark.parametrize("kind", ["memory", "zip", "http"])
def test_other_stores(tmp_path: Path, kind: str) -> None:
    values = pixels((40, 48))
    store: Any = MemoryStore() if kind == "memory" else tmp_path
    put_image(store, values, chunks=(16, 16))
    if kind == "zip":
        archive = shutil.make_archive(str(tmp_path / "image"), "zip", tmp_path)
        store = ZipStore(archive, mode="r")
    with served(tmp_path) as (url, _):
        ds = opened(url if kind == "http" else store, cache=False)
        np.testing.assert_array_equal(ds.image, values)
        np.testing.assert_array_equal(ds.image[3:20, [5, 2]], values[3:20, [5, 2]])


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("chunks", [None, {}], ids=["lazy", "dask"])
@pytest.mark.parametrize("kind", ["local", "store", "memory"])
def test_what_is_gone_is_no_zeros(
    tmp_path: Path, memory: MemoryStore, maker: str, chunks: Option, kind: str
) -> None:
    stores: dict[str, Place] = {
        "local": tmp_path,
        "store": LocalStore(tmp_path),
        "memory": memory,
    }
    store = stores[kind]
    put_image(store, pixels((40, 48)), chunks=(16, 16))
    with made_by(maker):
        ds = opened(store, chunks=chunks, cache=False)
    assert ds.image[0].sum() > 0
    if kind == "memory":
        memory._store_dict.clear()
    else:
        (tmp_path / "0" / "zarr.json").unlink()
        shutil.rmtree(tmp_path / "0" / "c")
    with pytest.raises(OmeZarrFileNotFoundError, match="0 is no longer there: the image was"):
        ds.image.values  # noqa: B018
    if chunks is None:
        with pytest.raises(OmeZarrFileNotFoundError, match="no longer there"):
            asyncio.run(ds.load_async())


@pytest.mark.parametrize("maker", MAKERS)
def test_absent_chunks_are_zeros(tmp_path: Path, maker: str) -> None:
    put_image(tmp_path, pixels((40, 48)), chunks=(16, 16))
    shutil.rmtree(tmp_path / "0" / "c")
    with made_by(maker):
        assert not opened(tmp_path).image.any()


def test_a_damaged_chunk_is_told_of_by_zarr(tmp_path: Path) -> None:
    put_image(tmp_path, pixels((40, 48)), chunks=(16, 16))
    (tmp_path / "0" / "c" / "1" / "1").write_bytes(b"damaged")
    errors = []
    for maker in MAKERS:
        with made_by(maker):
            ds = opened(tmp_path)
        assert ds.image[:16, :16].sum() > 0
        with pytest.raises(Exception, match=" ") as caught:
            ds.load()
        errors.append((type(caught.value), str(caught.value)))
    assert len(set(errors)) == 1


def test_what_was_cut_off_is_written_again(tmp_path: Path) -> None:
    """A write that was killed leaves half a chunk, which lies at the rim of the array, too."""
    values = pixels((40, 48))
    put_image(tmp_path, values, chunks=(16, 16))
    for path in (tmp_path / "0" / "c").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])
    place = stores.locate(tmp_path, write=True)
    array = chunked.open_array(place, "0", 3, mode="r+")
    array[:] = values
    np.testing.assert_array_equal(opened(tmp_path).image, values)


@pytest.mark.skipif(sys.platform == "win32", reason="looks at inodes")
def test_atomic_writes_replace_files(tmp_path: Path) -> None:
    put_image(tmp_path, pixels((32, 32)), chunks=(16, 16))
    file = tmp_path / "0" / "c" / "0" / "0"
    array = chunked.open_array(stores.locate(tmp_path, write=True), "0", 3, mode="r+", atomic=True)
    with file.open("rb") as old:
        before = old.read()
        array[:] = pixels((32, 32), seed=1)
        old.seek(0)
        assert old.read() == before
    assert file.read_bytes() != before


def test_missing_chunks_may_be_forbidden(tmp_path: Path) -> None:
    """An option of newer releases of Zarr."""
    put_image(tmp_path, pixels((32, 32)), chunks=(16, 16))
    (tmp_path / "0" / "c" / "0" / "0").unlink()
    errors: list[type[Exception] | None] = []
    for maker in MAKERS:
        with (
            made_by(maker),
            zarr.config.set({"array.read_missing_chunks": False}),
        ):
            try:
                opened(tmp_path).load()
            except Exception as error:  # noqa: BLE001
                errors.append(type(error))
            else:
                errors.append(None)
    assert len(set(errors)) == 1


# ── elsewhere ────────────────────────────────────────────────────────────────────────────────────


def total(ds: xr.Dataset) -> tuple[int, str]:
    """Sum the pixels, and say by which pipeline."""
    return int(ds.image.sum()), type(pipeline_of(ds)).__name__


@pytest.fixture
def large(tmp_path: Path) -> tuple[xr.Dataset, int]:
    """Give an image of many chunks, so that all threads of a pipeline have something to do."""
    values = pixels((8, 128, 128))
    put_image(tmp_path / "large", values, chunks=(1, 32, 32))
    ds = opened(tmp_path / "large", cache=False)
    return ds, int(values.sum(dtype="u8"))


def test_copies(large: tuple[xr.Dataset, int]) -> None:
    import cloudpickle

    ds, expected = large
    copies = [
        pickle.loads(pickle.dumps(ds)),  # noqa: S301
        cloudpickle.loads(cloudpickle.dumps(ds)),
        copy.deepcopy(ds),
        ds.copy(deep=True),
    ]
    for other in copies[:3]:
        assert total(other) == total(ds)
        assert total(other)[0] == expected
        assert pipeline_of(other) == pipeline_of(ds)
    assert int(copies[3].image.sum()) == expected


@pytest.fixture(scope="module", params=["spawn", "forkserver"])
def pool(request: pytest.FixtureRequest) -> Iterator[ProcessPoolExecutor]:
    if request.param not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {request.param} here")
    context = multiprocessing.get_context(request.param)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        yield pool


@pytest.mark.parametrize("maker", MAKERS)
def test_other_processes(
    large: tuple[xr.Dataset, int], tmp_path: Path, pool: ProcessPoolExecutor, maker: str
) -> None:
    """What was set here goes for what was opened here."""
    with made_by(maker):
        ds = opened(tmp_path / "large", cache=False)
    assert pool.submit(total, ds).result() == total(ds)
    assert total(ds)[0] == large[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks(large: tuple[xr.Dataset, int]) -> None:
    """A fork has not the threads that decoded before it."""
    ds, expected = large
    assert total(ds)[0] == expected
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue()
    process = context.Process(target=lambda: queue.put(total(ds)[0]))
    process.start()
    try:
        process.join(60)
        assert not process.is_alive()
        assert queue.get(timeout=5) == expected
    finally:
        process.kill()


def test_where_zarrs_is_not(large: tuple[xr.Dataset, int], tmp_path: Path) -> None:
    ds, expected = large
    (tmp_path / "pickled").write_bytes(pickle.dumps(ds))
    code = """
import pickle, sys, warnings
import zarr
zarr.registry.get_pipeline_class()  # where it is installed, Zarr loads it
for name in ["zarrs", *(name for name in sys.modules if name.startswith("zarrs."))]:
    sys.modules[name] = None
warnings.simplefilter("error")
import xarray as xr
with open(sys.argv[1], "rb") as file:
    print(int(pickle.load(file).image.sum()))
print(int(xr.open_dataset(sys.argv[2], engine="omezarr").image.sum()))
"""
    arguments = [sys.executable, "-c", code, str(tmp_path / "pickled"), str(tmp_path / "large")]
    shown = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [str(expected)] * 2
    assert not shown.stderr


def test_workers_of_a_cluster(large: tuple[xr.Dataset, int], tmp_path: Path) -> None:
    ds, expected = large
    with cluster(threads=2) as client:
        assert client.submit(total, ds).result() == (expected, total(ds)[1])
        chunked = opened(tmp_path / "large", chunks={})
        assert int(chunked.image.sum()) == expected
        chunked.omezarr.to_zarr(tmp_path / "copy")
    np.testing.assert_array_equal(opened(tmp_path / "copy").image, ds.image)


def test_threads_share_an_array(large: tuple[xr.Dataset, int]) -> None:
    ds, expected = large
    sums: list[int] = []
    threads = [threading.Thread(target=lambda: sums.append(total(ds)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [expected] * 8


# ── a pipeline is one of Zarr's ──────────────────────────────────────────────────────────────────


@needs_zarrs
def test_zarr_can_ask_what_it_asks_a_pipeline(tmp_path: Path) -> None:
    put_image(tmp_path, pixels((32, 32)), chunks=(16, 16))
    array = chunked.open_array(stores.locate(tmp_path, write=True), "0", 3, mode="r+")
    pipeline = array.async_array.codec_pipeline
    assert isinstance(pipeline, pipelines.Pipeline)
    own = zarr.open_array(tmp_path, path="0").async_array.codec_pipeline
    codecs: Any = own
    assert [*iter(cast("Any", pipeline))] == [*codecs]
    assert pipeline.supports_partial_decode == own.supports_partial_decode
    assert pipeline.supports_partial_encode == own.supports_partial_encode
    made: object = pipelines.Pipeline.from_codecs([*codecs])
    assert isinstance(made, BatchedCodecPipeline)
    assert array.nchunks_initialized == 4
    array.resize((48, 32))
    array.append(pixels((16, 32)))
    assert array.shape == (64, 32)
    np.testing.assert_array_equal(array[48:], pixels((16, 32)))
    assert json.loads((tmp_path / "0" / "zarr.json").read_text())["shape"] == [64, 32]
