"""From version to version: the same model and pixels, and nothing touched that need not be."""

from __future__ import annotations

import copy
import json
import re
import warnings
from typing import TYPE_CHECKING, Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from zarr.buffer import cpu
from zarr.core.sync import sync
from zarr.storage import LocalStore, MemoryStore

from tests.helpers import (
    OMERO,
    StoreFailureError,
    WatchedStore,
    axis,
    contents,
    copy_of,
    document_of,
    failing_after,
    files,
    level_array,
    memory_of,
    opened,
    pixels,
    put_sample,
)
from tests.strategies import Picture, layouts, pictures
from xarray_omezarr import OmeZarrError, OmeZarrWarning, cli, formats, samples, upgrade
from xarray_omezarr.errors import OmeZarrFileExistsError
from xarray_omezarr.placement import factors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zarr.core.buffer import Buffer

    from tests.helpers import Document, Pixels

#: What says how something is stored, and no pixel.
METADATA = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}


def put_image(store: Any, group: str = "", *, seed: int = 0) -> None:  # noqa: ANN401
    """Lay down an image of 0.4 with a label image and all that nobody but its writer knows."""
    sample = put_sample(store, version="0.4", group=group, seed=seed, **RAW)
    node = zarr.open_group(store, path=group, mode="a", zarr_format=2)
    attributes: Any = node.attrs.asdict()
    image = attributes["multiscales"][0]
    image |= {"type": "gaussian", "metadata": {"sigma": 1.5}, "vendor": [1, {"deep": None}]}
    image["axes"][1]["vendor"] = "stage"
    image["datasets"][1]["vendor"] = "kept"
    omero = {**copy.deepcopy(OMERO), "rdefs": {"defaultZ": 3}, "id": 7}
    omero["channels"][0]["vendor"] = {"laser": 405}
    node.attrs.update({**attributes, "omero": omero, "_creator": {"name": "vendor"}})
    labels = node.create_group("labels", attributes={"labels": ["cells"]})
    labels.create_group("cells", attributes=label_attributes(sample.scales))
    for path, values in zip(sample.paths, sample.levels, strict=True):
        zarr.create_array(
            store,
            name="/".join(filter(None, [group, "labels/cells", path])),
            data=(values[0] % 5).astype("int32"),
            chunks=(16, 16),
            zarr_format=2,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
    table = node.create_group("tables/regions", attributes={"encoding-type": "anndata"})
    table.create_array("X", data=np.arange(6.0), chunks=(3,))


RAW: Document = {"attributes": {"vendor": "of the array"}}


def label_attributes(scales: Any) -> Document:  # noqa: ANN401
    return {
        "multiscales": [
            {
                "version": "0.4",
                "axes": [axis("y", "micrometer"), axis("x", "micrometer")],
                "datasets": [
                    {
                        "path": path,
                        "coordinateTransformations": [
                            {"type": "scale", "scale": list(scale[1:])},
                            {
                                "type": "translation",
                                "translation": [10 + (2**k - 1) / 4, -4 + (2**k - 1) / 8],
                            },
                        ],
                    }
                    for k, (path, scale) in enumerate(
                        zip(("nine", "deep/one", "s5"), scales, strict=True)
                    )
                ],
            }
        ],
        "image-label": {
            "version": "0.4",
            "colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}],
            "properties": [{"label-value": 1, "area": 12.5}],
            "source": {"image": "../../"},
            "vendor": True,
        },
    }


def put_group(store: Any, path: str, attributes: Document) -> None:  # noqa: ANN401
    zarr.open_group(store, path=path, mode="w", zarr_format=2, attributes=attributes)


def put_plate(store: Any) -> None:  # noqa: ANN401
    plate = {
        "version": "0.4",
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "1"}],
        "wells": [
            {"path": "A/1", "rowIndex": 0, "columnIndex": 0, "vendor": 1},
            {"path": "B/1", "rowIndex": 1, "columnIndex": 0},
        ],
        "acquisitions": [{"id": 1, "name": "first", "vendor": 2}],
        "field_count": 1,
    }
    put_group(store, "", {"plate": plate, "mine": 1})
    for well in ("A/1", "B/1"):
        about = {"version": "0.4", "images": [{"path": "0", "acquisition": 1}]}
        put_group(store, well, {"well": about})
        put_image(store, f"{well}/0", seed=ord(well[0]))


def put_series(store: Any) -> None:  # noqa: ANN401
    put_group(store, "", {"bioformats2raw.layout": 3})
    put_group(store, "OME", {"series": ["0", "1"]})
    for number in (0, 1):
        put_image(store, str(number), seed=number)


HIERARCHIES: dict[str, tuple[Callable[[Any], None], list[str]]] = {
    "image": (put_image, [""]),
    "plate": (put_plate, ["A/1/0", "B/1/0"]),
    "series": (put_series, ["0", "1"]),
}


def undated(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Leave out what names a version."""
    if isinstance(value, dict):
        return {key: undated(item) for key, item in value.items() if key != "version"}
    return [undated(item) for item in value] if isinstance(value, list) else value


def documents(store: dict[str, bytes]) -> Document:
    found = {key: json.loads(value) for key, value in store.items() if key.endswith(".zattrs")}
    return {key: undated(document) for key, document in found.items() if document}


def chunks(store: dict[str, bytes]) -> dict[str, bytes]:
    return {key: value for key, value in store.items() if key.split("/")[-1] not in METADATA}


def everything(store: MemoryStore, groups: list[str]) -> list[Pixels]:
    """Return the pixels of all levels of all images, and of their labels, as Zarr reads them."""
    found = []
    for group in groups:
        for one in (group, f"{group}/labels/cells".strip("/")):
            found += [np.asarray(level_array(store, level, one)[...]) for level in range(3)]
    return found


@pytest.mark.parametrize("kind", HIERARCHIES)
def test_there_and_back(kind: str) -> None:
    """0.4 → 0.5 → 0.6 → 0.5 → 0.4: all that was said, and not a chunk touched on the way."""
    put, groups = HIERARCHIES[kind]
    store = MemoryStore()
    put(store)
    before = contents(store)
    datasets = [opened(store, group=group or None).load() for group in groups]
    expected = everything(store, groups)
    for version in ("0.5", "0.6", "0.5", "0.4"):
        told = upgrade(store, version=version)
        assert told.encoded == told.moved == 0
        assert told.groups >= 3
        now = contents(store)
        tables = {key for key in before if "tables/" in key}
        assert {key: now.get(key) for key in tables} == {key: before[key] for key in tables}
        assert chunks(now) == chunks(before)
        names = {key.split("/")[-1] for key in now if key not in tables} & METADATA
        assert names == ({".zarray", ".zattrs", ".zgroup"} if version == "0.4" else {"zarr.json"})
        for one, other in zip(everything(store, groups), expected, strict=True):
            np.testing.assert_array_equal(one, other)
        for group, dataset in zip(groups, datasets, strict=True):
            with warnings.catch_warnings(action="error"):
                now_opened = opened(store, group=group or None)
            assert now_opened.image.encoding["omezarr"]["version"] == version
            assert now_opened.identical(dataset)
        assert str(upgrade(store, version=version)) == f"already version {version}"
        assert contents(store) == now
    assert documents(contents(store)) == documents(before)


@given(picture=pictures(), data=st.data())
def test_there_and_back_of_anything(picture: Picture, data: st.DataObject) -> None:
    store = MemoryStore()
    ds = picture.dataset()
    layout = data.draw(layouts(picture.shape, "0.5"))
    with warnings.catch_warnings(action="ignore"):
        ds.omezarr.to_zarr(store, version="0.5", levels=1, **layout)
        first = opened(store).load()
        for version in ("0.6", "0.4", "0.6", "0.5"):
            upgrade(store, version=version)
            assert opened(store).load().identical(first)
            assert document_of(store).get("version") == (None if version == "0.4" else version)


class Counting(MemoryStore):
    """A store that counts the bytes that are written to it."""

    written = 0

    async def set(self, key: str, value: Buffer, byte_range: Any = None) -> None:  # noqa: ANN401
        self.written += len(value)
        await super().set(key, value, byte_range)


def test_ten_gigabytes_take_as_long_as_their_metadata() -> None:
    store = Counting()
    put_image(store)
    array = zarr.create_array(
        store,
        name="nine",
        shape=(2, 50_000, 50_000),
        chunks=(1, 1000, 1000),
        dtype="u2",
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "/"},
        overwrite=True,
    )
    array[0, :10, :10] = 7
    assert array.nbytes == 10**10
    for version in ("0.5", "0.6", "0.4"):
        store.written = 0
        upgrade(store, version=version)
        assert store.written < 50_000
        assert np.asarray(level_array(store)[0, 9, 9]) == 7


# ── codecs and keys ──────────────────────────────────────────────────────────────────────────────

STORED: dict[str, Document] = {
    "lz4": {"compressors": numcodecs.Blosc("lz4", 5, numcodecs.Blosc.BITSHUFFLE)},
    "zstd in Blosc": {"compressors": numcodecs.Blosc("zstd", 1, numcodecs.Blosc.NOSHUFFLE)},
    "shuffle by size": {"compressors": numcodecs.Blosc("blosclz", 9, numcodecs.Blosc.AUTOSHUFFLE)},
    "zstd": {"compressors": numcodecs.Zstd(3)},
    "gzip": {"compressors": numcodecs.GZip(2)},
    "nothing": {"compressors": None},
    "columns first": {"compressors": numcodecs.Zstd(), "order": "F"},
    "big-endian": {"compressors": None, "dtype": ">u2"},
    "flat keys": {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    "bytes": {"compressors": numcodecs.Blosc(), "dtype": "u1"},
    "booleans": {"compressors": None, "dtype": "bool"},
    "not a number": {"dtype": "f4", "fill_value": float("nan")},
    "minus one": {"dtype": "i8", "fill_value": -1},
}


def put_stored(store: Any, values: Pixels, options: Document) -> Pixels:  # noqa: ANN401
    """Lay down one level of 0.4 as it is asked for; its last chunk is not there."""
    options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}, **options}
    values = values.astype(options.pop("dtype", values.dtype))
    steps = [{"type": "scale", "scale": [1.0, 1.0]}]
    dataset = {"path": "0", "coordinateTransformations": steps}
    image = {"version": "0.4", "axes": [axis("y"), axis("x")], "datasets": [dataset]}
    put_group(store, "", {"multiscales": [image]})
    array = zarr.create_array(
        store,
        name="0",
        shape=values.shape,
        dtype=values.dtype,
        chunks=(16, 10),
        zarr_format=2,
        **options,
    )
    array[:32] = values[:32]
    return np.asarray(array[...])


@pytest.mark.parametrize("kind", STORED)
def test_codecs_that_both_formats_name(kind: str) -> None:
    store = MemoryStore()
    values = put_stored(store, pixels((40, 25)), STORED[kind])
    before = contents(store)
    assert upgrade(store, version="0.5").described == 1
    assert chunks(contents(store)) == chunks(before)
    np.testing.assert_array_equal(level_array(store)[...], values)
    np.testing.assert_array_equal(opened(store).image, values)
    assert level_array(store).metadata.to_dict()["dimension_names"] == ("y", "x")
    assert upgrade(store, version="0.4").described == 1
    now = json.loads(contents(store)["0/.zarray"])
    was = json.loads(before["0/.zarray"])
    if kind == "shuffle by size":
        was["compressor"]["shuffle"] = 1
    assert {k: now[k] for k in was if k != "fill_value"} == {
        k: was[k] or None if k == "filters" else was[k] for k in was if k != "fill_value"
    }
    np.testing.assert_array_equal(level_array(store)[...], values)


def test_a_fill_value_of_nothing_is_zero() -> None:
    store = MemoryStore()
    values = put_stored(store, pixels((40, 25)), {"compressors": None})
    document = json.loads(contents(store)["0/.zarray"])
    zarr.open_group(store)
    put_json(store, "0/.zarray", {**document, "fill_value": None})
    upgrade(store, version="0.5")
    assert level_array(store).fill_value == 0
    np.testing.assert_array_equal(level_array(store)[...], values)


def put_json(store: MemoryStore, key: str, document: Document) -> None:
    sync(store.set(key, cpu.Buffer.from_bytes(json.dumps(document).encode())))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_keys_that_are_not_declared(version: str) -> None:
    """Chunks in nested folders that no separator tells of: upgraded, everybody finds them."""
    store = MemoryStore()
    values = put_stored(store, pixels((40, 25)), {"compressors": None})
    document = json.loads(contents(store)["0/.zarray"])
    del document["dimension_separator"]
    put_json(store, "0/.zarray", document)
    assert not np.asarray(level_array(store)[...]).any()
    upgrade(store, version=version)
    np.testing.assert_array_equal(level_array(store)[...], values)


@pytest.mark.parametrize("target", [False, True])
@pytest.mark.parametrize("dtype", ["u2", ">u2"])
@pytest.mark.parametrize(
    "options",
    [
        {"compressors": numcodecs.Zlib()},
        {"compressors": numcodecs.LZ4(), "chunk_key_encoding": {"name": "v2", "separator": "."}},
        {"filters": [numcodecs.Delta("<u2")], "compressors": None},
    ],
)
def test_other_codecs_are_encoded_anew(
    options: Document, dtype: str, tmp_path: Path, *, target: bool
) -> None:
    values = put_stored(tmp_path / "a", pixels((40, 25)), {**options, "dtype": dtype})
    old = {key for key in files(tmp_path / "a") if re.search(r"0/\d", key)}
    at = tmp_path / ("b" if target else "a")
    told = upgrade(tmp_path / "a", at if target else None, version="0.5")
    assert (told.described, told.encoded) == (0, 1)
    np.testing.assert_array_equal(level_array(at)[...], values)
    np.testing.assert_array_equal(opened(at).image, values)
    now = files(at)
    assert not old & set(now)
    # The chunk that was never written takes no room.
    assert {key for key in now if re.fullmatch(r"0/c/\d/\d", key)} == {
        f"0/c/{row}/{column}" for row in range(2) for column in range(3)
    }


def test_on_request_all_is_encoded_anew(tmp_path: Path) -> None:
    put_stored(tmp_path, pixels((40, 25)), {"compressors": numcodecs.Zstd()})
    values = np.asarray(level_array(tmp_path)[...])
    assert upgrade(tmp_path, version="0.6", reencode=True).encoded == 1
    np.testing.assert_array_equal(level_array(tmp_path)[...], values)
    assert (tmp_path / "0" / "c").is_dir()
    assert not (tmp_path / "0" / "0").exists()
    assert upgrade(tmp_path, tmp_path.with_name("old"), version="0.4", reencode=True).encoded == 1
    np.testing.assert_array_equal(level_array(tmp_path.with_name("old"))[...], values)


@pytest.mark.parametrize("separator", ["/", "."])
def test_chunks_of_version_three_move_byte_for_byte(tmp_path: Path, separator: str) -> None:
    encoding = {"name": "default", "separator": separator}
    sample = put_sample(tmp_path, version="0.5", chunk_key_encoding=encoding)
    old = sorted(v for k, v in files(tmp_path).items() if re.search(rf"/c[{separator}]", k) and v)
    assert old
    told = upgrade(tmp_path, version="0.4")
    assert (told.described, told.moved, told.encoded) == (0, 3, 0)
    now = files(tmp_path)
    assert sorted(v for k, v in now.items() if k.split("/")[-1] not in METADATA and v) == old
    assert not [key for key in now if re.search(r"/c(\.|/|$)", key) or key.endswith("zarr.json")]
    for level, values in enumerate(sample.levels):
        np.testing.assert_array_equal(level_array(tmp_path, level)[...], values)
    assert opened(tmp_path).identical(sample.dataset())


def test_shards_become_chunks(tmp_path: Path) -> None:
    ds = samples.fluorescence((2, 40, 50), ("c", "y", "x"))
    ds.omezarr.to_zarr(tmp_path, chunks={"y": 8, "x": 8}, shards={"y": 16, "x": 24})
    expected = opened(tmp_path).load()
    assert upgrade(tmp_path, version="0.4").encoded == 1
    assert opened(tmp_path).load().identical(expected)
    assert level_array(tmp_path).chunks == (1, 8, 8)
    assert not (tmp_path / "0" / "c").exists()


def test_names_that_only_one_format_has() -> None:
    v3 = formats.to_v3(
        {"shape": [4, 4], "chunks": [2, 2], "dtype": "<f8", "order": "F", "fill_value": "NaN",
         "compressor": {"id": "zstd", "level": 1}},
        {}, (),
    )  # fmt: skip
    assert formats.to_v2(v3)["order"] == "F"
    for key, value in (
        ("codecs", [{"name": "bytes"}, {"name": "crc32c"}]),
        ("codecs", [{"name": "sharding_indexed", "configuration": {}}]),
        ("codecs", [{"name": "transpose", "configuration": {"order": [1, 0, 2]}}]),
        ("data_type", "bfloat16"),
        ("data_type", {"name": "numpy.datetime64"}),
        ("fill_value", "0x7fc00001"),
        ("chunk_key_encoding", {"name": "fanout"}),
        ("chunk_grid", {"name": "rectangular"}),
    ):
        with pytest.raises(formats.UnnamedError, match="Zarr v2 has no"):
            formats.to_v2({**v3, key: value})


# ── to another place ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", HIERARCHIES)
def test_a_target_gets_what_would_be_in_place(kind: str, tmp_path: Path) -> None:
    put, _ = HIERARCHIES[kind]
    put(LocalStore(tmp_path / "a"))
    (tmp_path / "a" / "notes.txt").write_text("mine")
    before = files(tmp_path / "a")
    told = upgrade(tmp_path / "a", tmp_path / "b", version="0.6")
    assert files(tmp_path / "a") == before
    assert upgrade(tmp_path / "a", version="0.6") == told
    assert files(tmp_path / "b") == files(tmp_path / "a")
    upgrade(tmp_path / "b", tmp_path / "c", version="0.6")
    assert files(tmp_path / "c") == files(tmp_path / "b")
    with pytest.raises(OmeZarrFileExistsError, match="left untouched"):
        upgrade(tmp_path / "a", tmp_path / "b", version="0.5")
    assert files(tmp_path / "b") == files(tmp_path / "a")
    with pytest.raises(OmeZarrError, match="within"):
        upgrade(tmp_path / "a", tmp_path / "a" / "inner", version="0.4")


def test_a_copy_that_was_interrupted_is_gone_on_with(memory: MemoryStore) -> None:
    put_image(memory)
    target = MemoryStore()
    with pytest.raises(OmeZarrError, match="the same call goes on with it"):
        upgrade(memory, WatchedStore(target, hook=failing_after(6)), version="0.5")
    with pytest.raises(OmeZarrError, match=r"unfinished upgrade.*the same call goes on with it"):
        opened(target)
    with pytest.raises(OmeZarrError, match="is not this one; they differ in the version"):
        upgrade(memory, target, version="0.6")
    watched = WatchedStore(target)
    upgrade(memory, watched, version="0.5")
    assert opened(target).identical(opened(memory))
    anew = WatchedStore(MemoryStore())
    upgrade(memory, anew, version="0.5")
    rest, whole = (
        [method for method, _ in one.log.requests].count("set") for one in (watched, anew)
    )
    assert rest < whole


# ── what goes wrong on the way ───────────────────────────────────────────────────────────────────


def put_zlib(store: Any) -> None:  # noqa: ANN401
    put_stored(store, pixels((40, 25)), {"compressors": numcodecs.Zlib()})


def put_sharded(store: Any) -> None:  # noqa: ANN401
    ds = samples.coins().isel(y=slice(0, 40), x=slice(0, 20))
    ds.omezarr.to_zarr(store, chunks=20, shards=20, levels=1)


def put_moved(store: Any) -> None:  # noqa: ANN401
    put_sample(store, version="0.5", dims="yx")


WAYS: dict[str, tuple[Callable[[Any], None], str, str]] = {
    "by metadata": (put_image, "0.5", "cells"),
    "moved back": (put_moved, "0.4", ""),
    "among v3": (put_sharded, "0.6", "coins"),
    "encoded": (put_zlib, "0.5", ""),
    "of shards": (put_sharded, "0.4", "coins"),
}


@pytest.mark.parametrize("into", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_interrupted_is_old_or_new(way: str, *, into: bool) -> None:
    """After each prefix of the operations it opens as it was or as it will be, and is completed."""
    put, version, label = WAYS[way]
    start = MemoryStore()
    put(start)
    expected = opened(start).load()
    whole, other = copy_of(start), MemoryStore()
    watched = WatchedStore(other if into else whole)
    upgrade(*((whole, watched) if into else (watched,)), version=version)
    finished = contents(other if into else whole)
    count = sum(method in ("set", "delete") for method, _ in watched.log.requests)
    assert count > 3
    for stop in range(count):
        store, target = copy_of(start), MemoryStore()
        changing = target if into else store
        failing = WatchedStore(changing, hook=failing_after(stop))
        arguments = (store, failing) if into else (failing,)
        with pytest.raises((OmeZarrError, StoreFailureError)):
            upgrade(*arguments, version=version)
        if into:
            assert contents(store) == contents(start)
            try:
                found = opened(target)
            except OmeZarrError:
                found = expected
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "(?s).*side by side", OmeZarrWarning)
                found = opened(store).load()
        assert found.identical(expected), stop
        assert not label or label in found
        upgrade(*((store, target) if into else (store,)), version=version)
        assert contents(changing) == finished, stop


def test_another_version_waits_for_the_first(memory: MemoryStore) -> None:
    put_image(memory)
    with pytest.raises(OmeZarrError, match="run it again"):
        upgrade(WatchedStore(memory, hook=failing_after(4)), version="0.5")
    with pytest.raises(OmeZarrError, match=r"0\.5.*Complete that one first"):
        upgrade(memory, version="0.6")
    upgrade(memory, version="0.5")
    upgrade(memory, version="0.6")


def test_an_image_that_is_being_written_is_left_alone(memory: MemoryStore) -> None:
    put_image(memory)
    put_json(memory, "labels/cells/.omezarr.json", {"write": "x"})
    before = contents(memory)
    with pytest.raises(OmeZarrError, match="being written to"):
        upgrade(memory, version="0.5")
    assert contents(memory) == before


def test_a_journal_reaches_nothing_outside(tmp_path: Path) -> None:
    put_image(tmp_path / "image")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".zattrs").write_text("{}")
    journal = {"version": "0.5", "head": {"path": "", "zarr_format": 2}, "chunks": {},
               "formats": {"../mine": 2}, "arrays": {},
               "counts": {"groups": 1, "described": 0, "moved": 0, "encoded": 0}}  # fmt: skip
    (tmp_path / "image" / ".omezarr-upgrade.json").write_text(json.dumps(journal))
    with pytest.raises(OmeZarrError, match="below its own group"):
        upgrade(tmp_path / "image", version="0.5")
    assert (tmp_path / "mine" / ".zattrs").exists()
    for wrong in ({}, {"chunks": {"0": ["c"]}}, {"formats": {"0": 4}}, {"counts": {"more": 1}}):
        (tmp_path / "image" / ".omezarr-upgrade.json").write_text(json.dumps({**journal, **wrong}))
        with pytest.raises(OmeZarrError, match=r"no journal|below its own"):
            upgrade(tmp_path / "image", version="0.5")


# ── what is lost, and what is not known ──────────────────────────────────────────────────────────


def test_what_would_be_lost_is_listed(memory: MemoryStore) -> None:
    put_sample(memory, version="0.5", dims="yx")
    upgrade(memory, version="0.6")
    root = zarr.open_group(memory)
    ome: Any = root.attrs["ome"]
    image = ome["multiscales"][0]
    own = image["coordinateSystems"][0]
    image["coordinateSystems"].append({**own, "name": "stage"})
    image["coordinateTransformations"] = [
        {
            "type": "scale",
            "scale": [2.0, 2.0],
            "input": {"name": own["name"]},
            "output": {"name": "stage"},
        }
    ]
    root.attrs["ome"] = ome
    before = contents(memory)
    with pytest.raises(OmeZarrError, match=r"(?s)'stage'.*coordinateTransformations.*lossy=True"):
        upgrade(memory, version="0.5")
    assert contents(memory) == before
    expected = opened(memory).load()
    upgrade(memory, version="0.4", lossy=True)
    assert opened(memory).load().identical(expected)
    assert "stage" not in json.dumps(document_of(memory))


def test_two_attributes_of_one_name(memory: MemoryStore) -> None:
    put_sample(memory, version="0.5", dims="yx")
    root = zarr.open_group(memory)
    root.attrs["note"] = "outside"
    root.attrs["ome"] = {**document_of(memory), "note": "inside"}
    with pytest.raises(OmeZarrError, match="'note'"):
        upgrade(memory, version="0.4")
    upgrade(memory, version="0.6")
    assert root.attrs.asdict()["note"] == "outside"
    assert document_of(memory)["note"] == "inside"


@pytest.mark.parametrize(("version", "dims"), [("0.1", "tczyx"), ("0.2", "tczyx"), ("0.3", "zyx")])
def test_versions_without_pixel_sizes(version: str, dims: str, memory: MemoryStore) -> None:
    """The finest pixels are 1, the others what their shapes tell, centred on these."""
    shape = {"t": 1, "c": 2, "z": 3, "y": 45, "x": 30}
    axes: Document = {"axes": list(dims)} if version == "0.3" else {}
    image = {"version": version, "datasets": [{"path": str(k)} for k in range(3)], **axes}
    put_group(memory, "", {"multiscales": [image]})
    for level in range(3):
        size = [-(-shape[d] // (2**level if d in "yx" else 1)) for d in dims]
        zarr.create_array(
            memory,
            name=str(level),
            data=pixels(size, seed=level),
            zarr_format=2,
            chunk_key_encoding={"name": "v2", "separator": "." if version == "0.1" else "/"},
        )
    before = chunks(contents(memory))
    with pytest.warns(OmeZarrWarning, match=f"version {version} has no pixel sizes"):
        upgrade(memory, version="0.4")
    assert chunks(contents(memory)) == before
    last = opened(memory, level=2)
    assert last.image.encoding["omezarr"]["version"] == "0.4"
    assert last.image.dims == tuple(dims)
    assert last.omezarr.scale == {d: 4.0 if d in "yx" else 1.0 for d in dims if d != "c"}
    assert last.omezarr.translation == {d: 1.5 if d in "yx" else 0.0 for d in dims if d != "c"}
    np.testing.assert_array_equal(last.image, level_array(memory, 2)[...])


def test_wells_get_rows_and_columns(memory: MemoryStore) -> None:
    put_plate(memory)
    root = zarr.open_group(memory)
    plate: Any = root.attrs["plate"]
    plate["version"] = "0.3"
    plate["wells"] = [{"path": "B/1"}, {"path": "A/1"}]
    root.attrs["plate"] = plate
    upgrade(memory, version="0.5")
    ome = document_of(memory)
    assert ome["plate"]["wells"] == [
        {"path": "B/1", "rowIndex": 1, "columnIndex": 0},
        {"path": "A/1", "rowIndex": 0, "columnIndex": 0},
    ]
    assert "version" not in ome["plate"]
    assert ome["plate"]["acquisitions"] == plate["acquisitions"]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([100, 50, 25, 12], [1, 2, 4, 8]),
        ([101, 51, 26, 13], [1, 2, 4, 8]),
        ([27, 9, 3, 1], [1, 3, 9, 27]),
        ([5, 2, 1, 1], [1, 2, 4, 4]),
        ([7, 7, 7], [1, 1, 1]),
        ([1000, 250, 62, 15], [1, 4, 16, 64]),
        ([64, 48], [1, 64 / 48]),
    ],
)
def test_factors_are_read_off_shapes(sizes: list[int], expected: list[float]) -> None:
    assert [float(f) for (f,) in factors([(n,) for n in sizes])] == expected


def test_consolidated_metadata_do_not_outlive_what_they_sum_up(tmp_path: Path) -> None:
    put_image(tmp_path)
    zarr.consolidate_metadata(tmp_path, zarr_format=2)
    upgrade(tmp_path, version="0.5")
    assert not (tmp_path / ".zmetadata").exists()
    with warnings.catch_warnings(action="ignore"):
        zarr.consolidate_metadata(tmp_path)
    upgrade(tmp_path, version="0.6")
    assert zarr.open_group(tmp_path).attrs.asdict()["ome"]["version"] == "0.6"  # type: ignore[index, call-overload]
    assert "consolidated_metadata" not in json.loads((tmp_path / "zarr.json").read_text())


def test_what_cannot_be(memory: MemoryStore, tmp_path: Path) -> None:
    with pytest.raises(OmeZarrError, match="nothing at"):
        upgrade(tmp_path / "absent", version="0.5")
    zarr.open_group(memory, zarr_format=2)
    with pytest.raises(OmeZarrError, match="without OME-Zarr metadata"):
        upgrade(memory, version="0.5")
    put_image(memory)
    with pytest.raises(OmeZarrError, match=r"'0\.3' cannot be written"):
        upgrade(memory, version="0.3")
    # A number is told from the text that looks like it.
    calls: tuple[Any, ...] = (upgrade, samples.circle().omezarr.to_zarr)
    for call in calls:
        with pytest.raises(OmeZarrError, match=r"version=0\.4 cannot .* one of '0\.4', '0\.5', '0"):
            call(memory, version=0.4)
    with pytest.raises(OmeZarrError, match=r"version=0\.4 is not read; expected one of '0\.1', "):
        opened(memory, version=0.4)
    with pytest.raises(OmeZarrError, match="reading only"):
        upgrade(memory.with_read_only(read_only=True), version="0.5")
    image = document_of(memory)["multiscales"]
    image[0]["datasets"][0]["coordinateTransformations"][0]["scale"][1] = -1
    zarr.open_group(memory).attrs["multiscales"] = image
    before = contents(memory)
    with pytest.raises(OmeZarrError, match="negative"):
        upgrade(memory, version="0.6")
    assert contents(memory) == before


def test_the_command(tmp_path: Path) -> None:
    put_image(tmp_path / "a")
    arguments = ["upgrade", str(tmp_path / "a"), str(tmp_path / "b"), "--version", "0.6"]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 0, result.output
    assert "5 groups are now version 0.6; arrays: 6 by metadata" in result.stdout
    assert opened(tmp_path / "b").identical(opened(tmp_path / "a"))
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 1
    assert "left untouched" in result.stderr


# ── others read it ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_others_read_what_has_been_upgraded(tmp_path: Path, version: str) -> None:
    ds = samples.coins()
    ds.omezarr.to_zarr(tmp_path, version="0.5" if version == "0.4" else "0.4", levels=2)
    upgrade(tmp_path, version=version)
    expected = [np.asarray(level_array(tmp_path, level)[...]) for level in range(2)]
    np.testing.assert_array_equal(expected[0], ds.image)
    reader = pytest.importorskip("ome_zarr.reader")
    location = pytest.importorskip("ome_zarr.io").parse_url(tmp_path)
    with warnings.catch_warnings(action="ignore"):
        (image, *_) = list(reader.Reader(location)())
        for found, values in zip(image.data, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(found), values)
        ngff_zarr = pytest.importorskip("ngff_zarr")
        found = ngff_zarr.from_ngff_zarr(str(tmp_path), version=version).images
        for one, values in zip(found, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(one.data), values)
        assert found[1].scale == {"y": 1.3, "x": 1.3}


def test_folders_and_memory_become_the_same(tmp_path: Path) -> None:
    put_plate(tmp_path)
    store = memory_of(tmp_path)
    upgrade(store, version="0.5")
    upgrade(tmp_path, version="0.5")
    assert contents(store) == {k: v for k, v in files(tmp_path).items() if v is not None}


def test_strangers_beside_the_metadata_stay(tmp_path: Path) -> None:
    """Attributes of a group that somebody has put into metadata of the other format."""
    put_image(tmp_path)
    zarr.open_group(tmp_path, mode="a", zarr_format=3, attributes={"mine": [1]})
    with pytest.warns(OmeZarrWarning, match="side by side"):
        opened(tmp_path)
    upgrade(tmp_path, version="0.5")
    attributes = json.loads((tmp_path / "zarr.json").read_text())["attributes"]
    assert (attributes["mine"], attributes["_creator"]) == ([1], {"name": "vendor"})


@pytest.mark.parametrize(
    "broken",
    [
        {"shape": "large"},
        {"chunks": None},
        {"dtype": [["a", "<u2"]]},
        {"dtype": "<M8[ns]"},
        {"compressor": {"id": "nobody's"}},
    ],
)
def test_arrays_that_are_none(broken: Document, memory: MemoryStore) -> None:
    put_stored(memory, pixels((40, 25)), {})
    put_json(memory, "0/.zarray", {**json.loads(contents(memory)["0/.zarray"]), **broken})
    before = contents(memory)
    with pytest.raises(OmeZarrError):
        upgrade(memory, version="0.5")
    assert contents(memory) == before


def test_a_scene(memory: MemoryStore) -> None:
    """What says how images lie to each other is lost below 0.6, and the images are not."""
    for path in ("one", "far/two"):
        put_sample(memory, version="0.5", group=path, dims="yx")
        upgrade(zarr.open_group(memory, path=path), version="0.6")
    ends = {"input": {"path": "one", "name": "physical"}, "output": {"name": "world"}}
    other = {**ends, "input": {"path": "far/two", "name": "physical"}}
    steps = [{"type": "translation", "translation": [1, 2], **ends}, {"type": "identity", **other}]
    scene = {"coordinateTransformations": steps, "coordinateSystems": [{"name": "world"}]}
    root: Any = zarr.open_group(memory, mode="a")
    root.attrs["ome"] = {"version": "0.6", "scene": scene}
    with pytest.raises(OmeZarrError, match="'scene'"):
        upgrade(memory, version="0.5")
    assert upgrade(memory, version="0.4", lossy=True).groups == 6
    for path in ("one", "far/two"):
        assert document_of(memory, path)["multiscales"][0]["version"] == "0.4"
    assert not any(key.endswith("zarr.json") for key in contents(memory))
