"""Bad input gets a sentence: where, what was found, what was expected, what to do."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from tests.helpers import (
    VERSIONS,
    axis,
    contents,
    image,
    multiscales,
    opened,
    opened_tree,
    pixels,
    put_array,
    put_document,
    put_sample,
    served,
)
from xarray_omezarr import OmeZarrError, OmeZarrWarning, errors, read, samples
from xarray_omezarr.errors import OmeZarrFileExistsError, OmeZarrFileNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers import Document, Option

    Change = Callable[[Document], None]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def says(error: pytest.ExceptionInfo[BaseException], *fragments: str) -> None:
    """Assert that a message is a sentence that names all of these."""
    message = str(error.value)
    for fragment in fragments:
        assert fragment in message
    assert message[0].isupper() or message[0] in "/'\"`[" or "://" in message or "." in message
    assert message.rstrip().endswith((".", "?", ")", "]")), message


def metadata_file(version: str) -> str:
    return ".zattrs" if version == "0.4" else "zarr.json"


def test_kin() -> None:
    """Whoever knows nothing of the package can still catch its errors."""
    assert issubclass(OmeZarrError, ValueError)
    assert issubclass(OmeZarrFileNotFoundError, (OmeZarrError, FileNotFoundError))
    assert issubclass(OmeZarrFileNotFoundError, FileNotFoundError)
    assert issubclass(OmeZarrFileExistsError, FileExistsError)
    assert issubclass(OmeZarrWarning, UserWarning)


# ── nothing there, or something else ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("open_", [opened, opened_tree])
def test_missing_path(tmp_path: Path, open_: Callable[..., Any]) -> None:
    (tmp_path / "folder").mkdir()
    for where in ("nowhere.zarr", "folder", "folder/below"):
        with pytest.raises(OmeZarrFileNotFoundError) as error:
            open_(tmp_path / where)
        says(error, str(tmp_path / where))
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "folder"]


def test_missing_group(tmp_path: Path, version: str) -> None:
    put_sample(tmp_path, version=version)
    with pytest.raises(OmeZarrFileNotFoundError) as error:
        opened(tmp_path, group="labels/cells")
    says(error, str(tmp_path), "labels/cells")


def test_missing_key_of_a_store() -> None:
    store = MemoryStore()
    with pytest.raises(OmeZarrFileNotFoundError) as error:
        opened(store)
    says(error, "memory")
    assert not contents(store)


def test_missing_url(tmp_path: Path) -> None:
    with served(tmp_path) as (url, _):
        with pytest.raises(OmeZarrFileNotFoundError) as error:
            opened(f"{url}/image.ome.zarr")
        says(error, f"{url}/image.ome.zarr")


def test_file(tmp_path: Path) -> None:
    (tmp_path / "image.tif").write_bytes(b"II*\0")
    with pytest.raises(OmeZarrError) as error:
        opened(tmp_path / "image.tif")
    says(error, "image.tif")


def test_plain_group(tmp_path: Path, version: str) -> None:
    put_document(tmp_path / "plain.zarr", {}, version=version)
    zarr.open_group(tmp_path / "plain.zarr", mode="r+").attrs["lab"] = "mine"
    with pytest.raises(OmeZarrError) as error:
        opened(tmp_path / "plain.zarr")
    says(error, "plain.zarr", "OME-Zarr metadata")


def test_collection_names_its_images(tmp_path: Path, version: str) -> None:
    for group in ("first", "second"):
        put_sample(tmp_path, version=version, group=group)
    with pytest.raises(OmeZarrError) as error:
        opened(tmp_path)
    says(error, str(tmp_path), "first", "second", "group")


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"plate": {"wells": [{"path": "A/1"}]}}, "plate"),
        ({"well": {"images": [{"path": "0"}]}}, "well"),
        ({"bioformats2raw.layout": 3}, "bioformats2raw"),
        ({"labels": ["cells"]}, "labels"),
    ],
    ids=["plate", "well", "series", "labels"],
)
def test_other_kinds_are_named(
    tmp_path: Path,
    version: str,
    document: Document,
    word: str,
) -> None:
    put_document(tmp_path, document, version=version)
    with pytest.raises(OmeZarrError) as error:
        opened(tmp_path)
    says(error, str(tmp_path), word, "group")


def test_array_instead_of_group(tmp_path: Path, version: str) -> None:
    sample = put_sample(tmp_path, version=version)
    for kwargs in ({}, {"group": sample.paths[0]}):
        where = tmp_path if kwargs else tmp_path / sample.paths[0]
        with pytest.raises(OmeZarrError) as error:
            opened(where, **kwargs)
        says(error, sample.paths[0], "array", "group")


def test_broken_json(tmp_path: Path, version: str) -> None:
    sample = put_sample(tmp_path, version=version)
    for broken in (
        tmp_path / metadata_file(version),
        tmp_path / sample.paths[0] / (".zarray" if version == "0.4" else "zarr.json"),
    ):
        whole = broken.read_text()
        for text in (whole[:40], "", "[1, 2]", "null", "\xff\xfe"):
            broken.write_text(text, "latin-1")
            with pytest.raises(OmeZarrError) as error:
                opened(tmp_path)
            says(error, str(broken.relative_to(tmp_path)))
        broken.write_text(whole)


# ── a document that cannot be right ──────────────────────────────────────────────────────────────


def scale_of(document: Document, level: int = 0) -> list[Any]:
    scale: list[Any] = dataset_of(document, level)["coordinateTransformations"][0]["scale"]
    return scale


def dataset_of(document: Document, level: int = 0) -> Document:
    dataset: Document = document["multiscales"][0]["datasets"][level]
    return dataset


def transformations_of(document: Document) -> list[Document]:
    transformations: list[Document] = dataset_of(document)["coordinateTransformations"]
    return transformations


def one_axis_more(document: Document) -> None:
    document["multiscales"][0]["axes"].insert(0, axis("t"))
    for dataset in document["multiscales"][0]["datasets"]:
        for transformation in dataset["coordinateTransformations"]:
            transformation[transformation["type"]].insert(0, 1.0)


DOCUMENTS: dict[str, tuple[Change, tuple[str, ...]]] = {
    "short scale": (lambda d: scale_of(d).pop(), ("scale", "[1.0, 0.5]", "3")),
    "long translation": (
        lambda d: transformations_of(d)[1]["translation"].append(1.0),
        ("translation", "4", "3"),
    ),
    "scale of words": (lambda d: scale_of(d).__setitem__(0, "one"), ("scale", "one")),
    "unknown transformation": (
        lambda d: transformations_of(d).append({"type": "warp", "warp": 1}),
        ("warp",),
    ),
    "no axes": (lambda d: d["multiscales"][0].update(axes=[]), ("axes",)),
    "equal axes": (
        lambda d: d["multiscales"][0].update(axes=[axis("c"), axis("x"), axis("x")]),
        ("axes", "x"),
    ),
    "axes without name": (
        lambda d: d["multiscales"][0]["axes"][1].pop("name"),
        ("axes", "name"),
    ),
    "more axes than dimensions": (one_axis_more, ("axes", "4", "3")),
    "no multiscales": (lambda d: d.update(multiscales=[]), ("multiscales",)),
    "multiscales of another kind": (lambda d: d.update(multiscales={"a": 1}), ("multiscales",)),
    "no datasets": (lambda d: d["multiscales"][0].update(datasets=[]), ("datasets",)),
    "no path": (lambda d: dataset_of(d).pop("path"), ("path",)),
    "escape": (lambda d: dataset_of(d).update(path="../other/0"), ("../other/0",)),
    "absolute path": (lambda d: dataset_of(d).update(path="/etc"), ("/etc",)),
    "missing level": (lambda d: dataset_of(d).update(path="gone"), ("gone",)),
    "level that is a group": (lambda d: dataset_of(d).update(path="deep"), ("deep",)),
}


@pytest.mark.filterwarnings("ignore::xarray_omezarr.OmeZarrWarning")
@pytest.mark.parametrize("case", DOCUMENTS)
@pytest.mark.parametrize("open_", [opened, opened_tree])
def test_document(
    tmp_path: Path,
    version: str,
    case: str,
    open_: Callable[..., Any],
) -> None:
    put_sample(tmp_path / "image", version=version)
    change, fragments = DOCUMENTS[case]
    file = tmp_path / "image" / metadata_file(version)
    whole = json.loads(file.read_text())
    change(whole if version == "0.4" else whole["attributes"]["ome"])
    file.write_text(json.dumps(whole))
    with pytest.raises(OmeZarrError) as error:
        open_(tmp_path / "image")
    says(error, str(tmp_path / "image"), *fragments)
    if case == "missing level":
        assert isinstance(error.value, FileNotFoundError)


@pytest.mark.parametrize("found", ["0.99", "1.0", "nonsense"])
def test_unknown_version(tmp_path: Path, found: str) -> None:
    put_sample(tmp_path)
    file = tmp_path / "zarr.json"
    file.write_text(file.read_text().replace('"version": "0.5"', f'"version": "{found}"'))
    with pytest.raises(OmeZarrError) as error:
        opened(tmp_path)
    says(error, str(tmp_path), found, "0.4", "0.5")


def test_level_of_other_dimensions(tmp_path: Path, version: str) -> None:
    document = {"multiscales": [multiscales("cyx", ["0"], [(1, 1, 1)], [(0, 0, 0)])]}
    put_document(tmp_path, document, version=version)
    put_array(tmp_path, "0", pixels((8, 8)), version=version, dims="yx")
    with pytest.raises(OmeZarrError) as error:
        opened(tmp_path)
    says(error, str(tmp_path), "2", "3")


def test_missing_lower_level_hurts_nobody_else(tmp_path: Path, version: str) -> None:
    sample = put_sample(tmp_path, version=version)
    (tmp_path / sample.paths[2]).rename(tmp_path / "gone")
    xr.testing.assert_identical(opened(tmp_path, level=1).load(), sample.dataset(1))
    with pytest.raises(OmeZarrFileNotFoundError) as error:
        opened(tmp_path, level=2)
    says(error, sample.paths[2])
    with pytest.warns(OmeZarrWarning, match=sample.paths[2]):
        tree = opened_tree(tmp_path)
    assert list(tree.children) == ["0", "1"]


@pytest.mark.parametrize("level", ["0", 1.5])
def test_level_that_is_no_number(tmp_path: Path, level: Option) -> None:
    put_sample(tmp_path)
    with pytest.raises((OmeZarrError, TypeError), match="expected the number of a level"):
        opened(tmp_path, level=level)


# ── what cannot be written ───────────────────────────────────────────────────────────────────────


def coordinates(**values: Any) -> xr.Dataset:  # noqa: ANN401
    return image().assign_coords({dim: (dim, value) for dim, value in values.items()})


def bent() -> np.ndarray[Any, Any]:
    values = 0.5 * np.arange(40)
    values[17] += 0.1
    return values


WRITES: dict[str, tuple[Callable[[], Any], Option, tuple[str, ...]]] = {
    # The worst place and how far off it is, in pixels.
    "uneven": (lambda: coordinates(y=bent()), {}, ("y", "17", "0.2")),
    "not finite": (lambda: coordinates(y=[np.nan, *range(39)]), {}, ("y", "nan")),
    "constant": (lambda: coordinates(y=np.zeros(40)), {}, ("y",)),
    "words": (lambda: coordinates(y=[f"row {i}" for i in range(40)]), {}, ("y", "<U6", "numbers")),
    "empty": (lambda: image().isel(y=[]), {}, ("y", "no pixels")),
    "no axis": (lambda: xr.DataArray(3), {}, ("dimension",)),
    "too many axes": (
        lambda: xr.DataArray(
            np.zeros((1, 1, 4, 4, 4, 4)),
            {"angle": ("angle", np.arange(4.0), {"type": "space"})},
            ("t", "c", "angle", "z", "y", "x"),
        ),
        {},
        ("five", "angle"),
    ),
    "axis of unknown kind": (
        lambda: xr.DataArray(np.zeros((2, 8, 8)), dims=("angle", "y", "x")),
        {},
        ("angle", "type"),
    ),
    "complex": (lambda: image().astype("complex64"), {}, ("complex64",)),
    "words as pixels": (
        lambda: xr.DataArray(np.full((4, 4), "a"), dims=("y", "x")),
        {},
        ("<U1",),
    ),
    "dates as pixels": (
        lambda: xr.DataArray(np.zeros((4, 4), "M8[ns]"), dims=("y", "x")),
        {},
        ("datetime64",),
    ),
    "no variable": (xr.Dataset, {}, ("variable",)),
    "unknown method": (image, {"method": "magic"}, ("magic", "mean", "nearest", "mode")),
    "unknown boundary": (image, {"boundary": "wrap"}, ("wrap", "pad", "trim")),
    "unknown mode": (image, {"mode": "r+"}, ("'r+'", "w-")),
    "unknown version": (image, {"version": "0.99"}, ("0.99", "0.4", "0.5")),
    "old version": (image, {"version": "0.3"}, ("0.3", "0.4", "0.5")),
    "no level": (image, {"levels": 0}, ("levels", "0")),
    "factor that is no multiple": (
        image,
        {"levels": [{"y": 2}, {"y": 3}]},
        ("y", "2", "3", "multiple"),
    ),
    "factor of an axis there is not": (image, {"levels": [{"q": 2}]}, ("q", "y", "x")),
    "factor of nothing": (image, {"levels": [{"y": 0}]}, ("y", "0")),
    "fraction": (image, {"levels": [{"y": 1.5}]}, ("y", "1.5")),
    "factors that change nothing": (image, {"levels": [{"y": 1, "x": 1}]}, ("level",)),
    "too many levels": (image, {"levels": [{"y": 64}]}, ("y", "64", "40")),
    "chunks of an axis there is not": (image, {"chunks": {"q": 8}}, ("chunks", "q", "y", "x")),
    "chunks of nothing": (image, {"chunks": 0}, ("chunks", "0")),
    "negative chunks": (image, {"chunks": {"y": -3}}, ("chunks", "y", "-3")),
    "shards that chunks do not divide": (
        image,
        {"chunks": 16, "shards": 40},
        ("shards", "40", "16"),
    ),
    "shards in 0.4": (image, {"shards": 32, "version": "0.4"}, ("shards", "0.4", "0.5")),
    "no codec": (image, {"compressors": "zstd"}, ("compressors", "zstd")),
    "codec of 0.4": (image, {"compressors": numcodecs.Zstd(3)}, ("compressors", "Zstd")),
    "codec of 0.5": (
        image,
        {"compressors": ZstdCodec(), "version": "0.4"},
        ("compressors", "Zstd"),
    ),
    "variable that is not there": (image, {"image": "raw"}, ("raw", "image")),
}


@pytest.mark.parametrize("case", WRITES)
def test_write(case: str) -> None:
    build, kwargs, fragments = WRITES[case]
    store = MemoryStore()
    with pytest.raises(OmeZarrError) as error:
        build().omezarr.to_zarr(store, **kwargs)
    says(error, *fragments)
    assert not contents(store)


def test_existing_target(tmp_path: Path) -> None:
    image().omezarr.to_zarr(tmp_path / "image")
    with pytest.raises(OmeZarrFileExistsError) as error:
        image().omezarr.to_zarr(tmp_path / "image")
    says(error, str(tmp_path / "image"), "mode=")


def test_read_only_target(tmp_path: Path) -> None:
    put_sample(tmp_path)
    store = zarr.storage.LocalStore(tmp_path, read_only=True)
    with pytest.raises(OmeZarrError) as error:
        image().omezarr.to_zarr(store, mode="w")
    says(error, str(tmp_path), "read-only")


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda ds: ds.isel(y=[0]).drop_vars("y").assign_coords(y=[3.0]), r"y.*assign_scale"),
        (lambda ds: ds.isel(y=slice(None, None, -1)), r"y.*(descend|negative)"),
        (
            lambda ds: ds.assign_coords(y=ds.y.assign_attrs(units="furlong")),
            r"y.*furlong|furlong.*y",
        ),
    ],
    ids=["one pixel", "descending", "unknown unit"],
)
def test_what_is_assumed_is_said(
    tmp_path: Path,
    change: Callable[[xr.Dataset], xr.Dataset],
    warning: str,
) -> None:
    with pytest.warns(OmeZarrWarning, match=f"(?s){warning}"):
        change(image()).omezarr.to_zarr(tmp_path / "new")


# ── helpers ──────────────────────────────────────────────────────────────────────────────────────

ASSIGNMENTS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], tuple[str, ...]]] = {
    "dimension": ("assign_scale", (), {"q": 0.5}, ("q", "y", "x")),
    "channel axis": ("assign_scale", (), {"c": 0.5}, ("c",)),
    "scale 0": ("assign_scale", (), {"y": 0.0}, ("y", "0")),
    "scale nan": ("assign_scale", (), {"y": np.nan}, ("y", "nan")),
    "translation": ("assign_scale", (), {"translation": {"q": 1.0}}, ("q", "y", "x")),
    "unit": ("assign_scale", (), {"units": {"q": "micrometer"}}, ("q", "y", "x")),
    "too few names": ("assign_channels", (["DAPI"],), {}, ("names", "2")),
    "equal names": ("assign_channels", (["DAPI", "DAPI"],), {}, ("DAPI",)),
    "too many colours": ("assign_channels", (), {"colors": ["FF0000"] * 3}, ("colors", "2")),
    "no colour": ("assign_channels", (), {"colors": ["red?", "00FF00"]}, ("red?",)),
    "no window": ("assign_channels", (), {"windows": [(0, 1), (3,)]}, ("window",)),
    "too few active": ("assign_channels", (), {"active": [True]}, ("active", "2")),
}


@pytest.mark.parametrize("case", ASSIGNMENTS)
def test_assignment(case: str) -> None:
    method, args, kwargs, fragments = ASSIGNMENTS[case]
    ds = image((2, 8, 8), "cyx")
    with pytest.raises(OmeZarrError) as error:
        getattr(ds.omezarr, method)(*args, **kwargs)
    says(error, *fragments)


def test_channels_of_an_image_without_them() -> None:
    with pytest.raises(OmeZarrError) as error:
        image().omezarr.assign_channels(["DAPI", "GFP"])
    says(error, "c")


def test_accessor_of_what_is_no_image() -> None:
    """Asking is free: only using it is an error, and never an `AttributeError`."""
    ds = xr.Dataset({"a": ("time", [1, 2]), "b": ("time", [1, 2])})
    assert hasattr(ds, "omezarr")
    with pytest.raises(OmeZarrError):
        ds.omezarr.to_zarr(MemoryStore())
    with pytest.raises(OmeZarrError, match="level"):
        xr.DataTree(ds).omezarr.to_zarr(MemoryStore())


def test_warnings_about_a_file_show_the_line_that_opened_it(tmp_path: Path) -> None:
    samples.coins()[["image"]].omezarr.to_zarr(tmp_path / "image")
    file = tmp_path / "image" / "zarr.json"
    file.write_text(file.read_text().replace("micrometer", "microns"))
    with pytest.warns(OmeZarrWarning, match="'microns'") as found:
        xr.open_dataset(tmp_path / "image", engine="omezarr")
    with pytest.warns(OmeZarrWarning, match="'microns'") as of_tree:
        xr.open_datatree(tmp_path / "image", engine="omezarr")
    assert {warning.filename for warning in [*found, *of_tree]} == {__file__}


def test_each_thread_hears_its_own() -> None:
    started = threading.Barrier(2)
    found: dict[str, list[str]] = {}

    def say(name: str) -> None:
        with errors.heard() as messages:
            started.wait()
            for _ in range(100):
                errors.warn(name)
        found[name] = messages

    threads = [threading.Thread(target=say, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": ["a"] * 100, "b": ["b"] * 100}
    with pytest.warns(OmeZarrWarning, match="nobody hears"):
        errors.warn("nobody hears")


def test_strict_is_who_asked_for_it() -> None:
    """What is opened strictly makes nothing of what another thread is told."""
    with read.strictly(strict=True), ThreadPoolExecutor(1) as pool:
        with pytest.warns(OmeZarrWarning, match="of another"):
            pool.submit(errors.warn, "of another").result()
        with pytest.raises(OmeZarrWarning, match="mine"):
            errors.warn("mine")
