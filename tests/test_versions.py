"""Files of every version, and files that are not quite of any: what is read, warned of, refused."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from tests.helpers import axis, document_of, opened, opened_tree, pixels, put_array, served
from xarray_omezarr import OmeZarrError, OmeZarrWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.helpers import Document, Option

AXES = [axis("y", "micrometer"), axis("x", "micrometer")]
SIZES = ((16, 24), (8, 12))


def scale(*values: float) -> Document:
    return {"type": "scale", "scale": list(values)}


def translation(*values: float) -> Document:
    return {"type": "translation", "translation": list(values)}


def put(
    root: Path,
    attributes: Document,
    *,
    zarr_format: int = 3,
    shapes: Sequence[Sequence[int]] = SIZES,
    separator: str = "/",
    dims: Sequence[str] | None = ("y", "x"),
) -> Path:
    """Lay down a group with these attributes, and its levels at 0 and on."""
    group = zarr.open_group(root, mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    group.attrs.update(attributes)
    for level, shape in enumerate(shapes):
        options: dict[str, Any] = {"dimension_names": dims} if zarr_format == 3 else {}
        if zarr_format == 2:
            options["chunk_key_encoding"] = {"name": "v2", "separator": separator}
        group.create_array(
            str(level),
            data=pixels(shape, seed=level),
            chunks=tuple(min(8, n) for n in shape),
            **options,
        )
    return root


def multiscale(version: str = "0.5", **changes: Option) -> Document:
    """Give the entry of an image with two levels, of pixels of half a micrometer."""
    first, second = [scale(0.5, 0.5)], [scale(1, 1), translation(0.25, 0.25)]
    entry: Document = {"name": "cells", "axes": AXES}
    if version in {"0.1", "0.2", "0.3"}:
        entry = {"name": "cells"} | ({"axes": ["y", "x"]} if version == "0.3" else {})
        first = second = []
    elif version in {"0.6", "0.9.dev1"}:
        system = {"name": "physical", "axes": AXES}
        entry = {"name": "cells", "coordinateSystems": [system]}
        ends = [{"input": {"path": str(i)}, "output": {"name": "physical"}} for i in range(2)]
        first = [first[0] | ends[0]]
        second = [{"type": "sequence", "transformations": second} | ends[1]]
    entry["datasets"] = [
        {"path": str(i)} | ({"coordinateTransformations": steps} if steps else {})
        for i, steps in enumerate((first, second))
    ]
    return {key: value for key, value in {**entry, **changes}.items() if value is not ...}


def attributes(version: str = "0.5", declared: object = None, **changes: Option) -> Document:
    """Give the attributes of an image's group, as the version has them."""
    declared = version if declared is None else declared
    known = {} if declared is ... else {"version": declared}
    if version in {"0.1", "0.2", "0.3", "0.4"}:
        return {"multiscales": [known | multiscale(version, **changes)]}
    return {"ome": known | {"multiscales": [multiscale(version, **changes)]}}


def silently(root: Path, **kwargs: Option) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return opened(root, **kwargs)


# ── the versions ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"])
@pytest.mark.parametrize("level", [0, 1])
def test_every_version_is_read(tmp_path: Path, version: str, level: int) -> None:
    shapes: Sequence[Sequence[int]] = SIZES
    dims = ["y", "x"]
    if version in {"0.1", "0.2"}:
        shapes, dims = ((2, 1, 3, 16, 24), (2, 1, 3, 8, 12)), list("tczyx")
    put(
        tmp_path,
        attributes(version),
        zarr_format=2 if version < "0.5" else 3,
        shapes=shapes,
        separator="." if version == "0.1" else "/",
    )
    ds = silently(tmp_path, level=level)
    assert list(ds.image.dims) == dims
    np.testing.assert_array_equal(ds.image, pixels(shapes[level], seed=level))
    pixel = 1.0 if version < "0.4" else (0.5, 1.0)[level]
    start = 0.0 if version < "0.4" else (0.0, 0.25)[level]
    np.testing.assert_array_equal(ds.x, start + pixel * np.arange(shapes[level][-1]))
    assert ds.x.attrs.get("units") == (None if version < "0.4" else "micrometer")
    assert ds.attrs == {"name": "cells"}
    assert ds.image.encoding["omezarr"]["version"] == version
    assert not ds.image.encoding["omezarr"]["assumed"]


@pytest.mark.parametrize(
    ("declared", "warning"),
    [("0.6rc0", None), ("0.6.dev4", "draft"), ("0.6dev3", "draft"), ("0.9.dev1", "to come")],
)
def test_drafts(tmp_path: Path, declared: str, warning: str | None) -> None:
    put(tmp_path, attributes("0.6", declared))
    if warning is None:
        ds = silently(tmp_path)
    else:
        with pytest.warns(OmeZarrWarning, match=warning) as caught:
            ds = opened(tmp_path)
        assert len(caught) == 1
    assert float(ds.x[1]) == 0.5


def test_ends_of_transformations_that_are_strings(tmp_path: Path) -> None:
    document = attributes("0.6", "0.6.dev3")
    for dataset in document["ome"]["multiscales"][0]["datasets"]:
        step = dataset["coordinateTransformations"][0]
        step["input"], step["output"] = dataset["path"], "physical"
    put(tmp_path, document)
    with pytest.warns(OmeZarrWarning, match="draft"):
        assert float(opened(tmp_path, level=1).x[0]) == 0.25


def test_an_unknown_version_is_refused_unless_told_what_it_is_like(tmp_path: Path) -> None:
    put(tmp_path, attributes("0.6", "0.7"))
    with pytest.raises(OmeZarrError, match=r"'0\.7'.*0\.1, 0\.2.*0\.9\.dev1.*version='0\.6'"):
        opened(tmp_path)
    assert float(silently(tmp_path, version="0.6").x[1]) == 0.5
    with pytest.raises(OmeZarrError, match=r"version=.0\.7. is not read"):
        opened(tmp_path, version="0.7")


# ── what is found in the wild ────────────────────────────────────────────────────────────────────


def test_without_a_version_the_structure_tells(tmp_path: Path) -> None:
    put(tmp_path, attributes("0.4", ...), zarr_format=2)
    memory = silently(tmp_path).image.encoding["omezarr"]
    assert (memory["version"], memory["assumed"]) == ("0.4", True)


def without(entry: Document, *keys: str) -> Document:
    return {key: value for key, value in entry.items() if key not in keys}


TWICE = [scale(0.5, 0.5) | {"input": {"path": "0"}, "output": {"name": "physical"}}]
EXTRA = {"type": "warp", "input": {"name": "physical"}, "output": {"name": "world"}}
WORLD = {"name": "world", "axes": AXES}
SYSTEMS = [{"name": "physical", "axes": AXES}, WORLD]
WARNED: dict[str, tuple[Document, int, str, float]] = {
    # (attributes, format of Zarr, warning, position of the second pixel along x)
    "number for a version": (attributes("0.4", 0.4), 2, "number 0.4", 0.5),
    "0.3 with objects": (attributes("0.4", "0.3"), 2, "axes are those of 0.4", 0.5),
    "0.5 with systems": (attributes("0.6", "0.5"), 3, "axes are those of 0.6", 0.5),
    "0.6 with axes": (attributes("0.5", "0.6"), 3, "axes are those of 0.5", 0.5),
    "no version": (attributes("0.5", ...), 3, "'ome.version' is missing", 0.5),
    "version within": (
        {"ome": {"multiscales": [multiscale() | {"version": "0.5"}]}},
        3,
        "'ome.version' is missing",
        0.5,
    ),
    "no ome": (attributes("0.4", "0.5"), 3, "outside 'ome'", 0.5),
    "ome in v2": (attributes("0.5", "0.5"), 2, "Zarr v2 attributes", 0.5),
    "no axes": (attributes("0.4", axes=...), 2, "'axes' is missing", 0.5),
    "two axes of an old version": (attributes("0.2"), 2, "taken for y, x", 1.0),
    "no transformations": (
        attributes(datasets=[{"path": "0"}, {"path": "1"}]),
        3,
        "no coordinateTransformations",
        1.0,
    ),
    "scale of zero": (
        attributes(datasets=[{"path": "0", "coordinateTransformations": [scale(1, 0)]}]),
        3,
        "scale of axis .1. is 0",
        1.0,
    ),
    "translation first": (
        attributes(
            datasets=[
                {"path": "0", "coordinateTransformations": [translation(1, 1), scale(2, 2)]}
            ]
        ),
        3,
        "before the scale",
        4.0,
    ),
    "scale in an array": (
        attributes(
            datasets=[
                {"path": "0", "coordinateTransformations": [{"type": "scale", "path": "s"}]}
            ]
        ),
        3,
        "lies in the array 's'",
        1.0,
    ),
    "unit of one's own": (
        attributes(axes=[AXES[0], axis("x", "micron")]), 3, "'micron'", 0.5
    ),
    "no type": (attributes(axes=[AXES[0], {"name": "x", "unit": "micrometer"}]), 3, "no type", 0.5),
    "trailing slash": (
        attributes(
            datasets=[{"path": "0/", "coordinateTransformations": [scale(0.5, 0.5)]}]
        ),
        3,
        "read as '0'",
        0.5,
    ),
    "several multiscales": (
        {"ome": {"version": "0.5", "multiscales": [multiscale(), multiscale(name="b")]}},
        3,
        "2 multiscales",
        0.5,
    ),
    "coarsest first": (
        attributes(datasets=multiscale()["datasets"][::-1]), 3, "not ordered", 0.5
    ),
    "no colour": (
        {"ome": {**attributes()["ome"], "omero": {"channels": [{"color": "red"}]}}},
        3,
        "six hexadecimal digits",
        0.5,
    ),
    "unknown transformation": (
        attributes("0.6", coordinateSystems=SYSTEMS[:1], coordinateTransformations=[EXTRA]),
        3,
        "'warp'",
        0.5,
    ),
    "disconnected": (attributes("0.6", coordinateSystems=SYSTEMS), 3, "leads from", 0.5),
    "several to one array": (
        attributes(
            "0.6", datasets=[{"path": "0", "coordinateTransformations": [*TWICE, *TWICE]}]
        ),
        3,
        "the first is taken",
        0.5,
    ),
    "system that is not there": (
        attributes("0.6", coordinateSystems=[WORLD]), 3, "'physical', which there is not", 0.5
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WARNED)
def test_assumptions_are_told_once(tmp_path: Path, case: str) -> None:
    document, zarr_format, warning, second = WARNED[case]
    put(tmp_path, document, zarr_format=zarr_format)
    if case == "no axes":
        shutil.rmtree(tmp_path)
        document = attributes("0.4", axes=..., datasets=[
            {"path": "0", "coordinateTransformations": [scale(1, 1, 1, 0.5, 0.5)]}
        ])  # fmt: skip
        put(tmp_path, document, zarr_format=2, shapes=[(1, 1, 1, 16, 24)])
    with pytest.warns(OmeZarrWarning, match=warning) as caught:
        ds = opened(tmp_path)
    said = [str(w.message) for w in caught]
    assert len([message for message in said if str(tmp_path) in message]) == len(said)
    assert len(set(said)) == len(said)
    assert len([message for message in said if not message.count("is missing; taken")]) <= 2
    assert float(ds.x[1]) == second
    np.testing.assert_array_equal(ds.image.squeeze(), pixels(SIZES[0], seed=0))
    with pytest.raises(OmeZarrError, match=f"(?s){warning}.*strict=True"):
        opened(tmp_path, strict=True)


REFUSED: dict[str, tuple[Document, str]] = {
    "scale of another length": (
        attributes(datasets=[{"path": "0", "coordinateTransformations": [scale(1)]}]),
        "expected 2 numbers",
    ),
    "axes of one name": (attributes(axes=[AXES[0], AXES[0]]), r"\['y', 'y'\]"),
    "axes of another number": (
        attributes(
            axes=[axis("z"), *AXES],
            datasets=[{"path": "0", "coordinateTransformations": [scale(1, 1, 1)]}],
        ),
        "3 axes, z, y, x, but the array",
    ),
    "path that leads out": (
        attributes(datasets=[{"path": "../0", "coordinateTransformations": [scale(1, 1)]}]),
        "below its own group",
    ),
    "no multiscales": ({"ome": {"version": "0.5", "multiscales": []}}, "'multiscales' is"),
    "systems of nothing": (attributes("0.6", coordinateSystems=[]), "'coordinateSystems' is"),
    "rotation for a dataset": (
        attributes(
            "0.6",
            datasets=[
                {
                    "path": "0",
                    "coordinateTransformations": [
                        {"type": "rotation", "rotation": [[0, 1], [1, 0]]}
                    ],
                }
            ],
        ),
        "expected a scale or a translation",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore::xarray_omezarr.OmeZarrWarning")
def test_contradictions_are_refused(tmp_path: Path, case: str) -> None:
    document, message = REFUSED[case]
    put(tmp_path, document)
    with pytest.raises(OmeZarrError, match=message):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("dims", "warning"), [("xyz", None), ("yxc", "not time, channel, space"), ("tczabyx", "7 axes")]
)
def test_orders_and_numbers_of_axes(tmp_path: Path, dims: str, warning: str | None) -> None:
    types = {"t": "time", "c": "channel"}
    axes = [{"name": dim, "type": types.get(dim, "space")} for dim in dims]
    steps = [scale(*[1] * len(dims))]
    document = attributes(axes=axes, datasets=[{"path": "0", "coordinateTransformations": steps}])
    put(tmp_path, document, shapes=[range(2, 2 + len(dims))], dims=list(dims))
    if warning is None:
        ds = silently(tmp_path)
    else:
        with pytest.warns(OmeZarrWarning, match=warning):
            ds = opened(tmp_path)
    assert list(ds.image.dims) == list(dims)


def test_types_and_sizes_of_levels_that_differ(tmp_path: Path) -> None:
    put(tmp_path, attributes("0.3"), zarr_format=2, shapes=SIZES[::-1])
    values = pixels(SIZES[0]).astype("uint8")
    shutil.rmtree(tmp_path / "1")
    put_array(str(tmp_path), "1", values, version="0.4", dims="yx")
    with pytest.warns(OmeZarrWarning) as caught:
        tree = opened_tree(tmp_path)
    said = " ".join(str(w.message) for w in caught)
    assert "level 1 is of type uint8, level 0 of uint16" in said
    assert "is larger than level 0" in said
    assert set(tree.children) == {"0", "1"}


@pytest.mark.parametrize("where", ["local", "http", "memory"])
def test_nested_chunks_that_nobody_tells_of(tmp_path: Path, where: str) -> None:
    """Looked for at `0.0`, all of them would be missing, and be read as zeros."""
    root = put(tmp_path / "image", attributes("0.4"), zarr_format=2)
    for level in "01":
        file = root / level / ".zarray"
        file.write_text(json.dumps(without(json.loads(file.read_text()), "dimension_separator")))
    if where == "local":
        with pytest.warns(OmeZarrWarning, match="nested folders"):
            ds = opened(root)
        np.testing.assert_array_equal(ds.image, pixels(SIZES[0], seed=0))
    elif where == "http":
        with served(tmp_path) as (url, _), pytest.warns(OmeZarrWarning, match="nested folders"):
            ds = opened(f"{url}/image").load()
        np.testing.assert_array_equal(ds.image, pixels(SIZES[0], seed=0))
    else:
        store = MemoryStore()
        for path in root.rglob("*"):
            if path.is_file():
                buffer = zarr.core.buffer.cpu.Buffer.from_bytes(path.read_bytes())
                store._store_dict[str(path.relative_to(root))] = buffer
        with pytest.warns(OmeZarrWarning, match="nested folders"):
            ds = opened(store)
        np.testing.assert_array_equal(ds.image, pixels(SIZES[0], seed=0))


def test_flat_chunks_stay_where_they_are(tmp_path: Path) -> None:
    put(tmp_path, attributes("0.4"), zarr_format=2, separator=".")
    np.testing.assert_array_equal(silently(tmp_path).image, pixels(SIZES[0], seed=0))


# ── 0.6 is written ───────────────────────────────────────────────────────────────────────────────


def put_further(root: Path) -> list[Document]:
    """Lay down an image of 0.6 with systems and transformations that lead to them."""
    further: list[Document] = [
        {"type": "rotation", "rotation": [[0, -1], [1, 0]], "name": "turn",
         "input": {"name": "physical"}, "output": {"name": "world"}},
        {"type": "identity", "input": {"name": "physical"},
         "output": {"path": "labels/cells", "name": "physical"}, "vendor": {"kept": True}},
    ]  # fmt: skip
    put(root, attributes("0.6", coordinateSystems=SYSTEMS[::-1], coordinateTransformations=further))
    return further


def test_writing_keeps_the_version_and_the_further_systems(tmp_path: Path) -> None:
    further = put_further(tmp_path / "old")
    ds = silently(tmp_path / "old")
    ds.isel(x=slice(2, None)).omezarr.to_zarr(tmp_path / "new", levels=2)
    found = document_of(str(tmp_path / "new"))
    assert found["version"] == "0.6"
    image = found["multiscales"][0]
    assert "axes" not in image
    assert image["coordinateSystems"] == SYSTEMS[::-1]
    assert image["coordinateTransformations"] == further
    path = image["datasets"][0]["path"]
    assert image["datasets"][0]["coordinateTransformations"] == [
        {
            "type": "sequence",
            "transformations": [scale(0.5, 0.5), translation(0, 1)],
            "input": {"path": path},
            "output": {"name": "physical"},
        }
    ]
    again = silently(tmp_path / "new")
    xr.testing.assert_identical(again.image, ds.image.isel(x=slice(2, None)))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda ds: (ds, "0.5"), id="version"),
        pytest.param(lambda ds: (ds.rename(x="z"), None), id="axes"),
    ],
)
def test_systems_that_have_no_place_are_named(
    tmp_path: Path, change: Callable[[xr.Dataset], tuple[xr.Dataset, str | None]]
) -> None:
    put_further(tmp_path / "old")
    ds, version = change(silently(tmp_path / "old"))
    with pytest.warns(OmeZarrWarning, match=r"\['world'\] are left out"):
        ds.omezarr.to_zarr(tmp_path / "new", version=version)
    assert "world" not in json.dumps(document_of(str(tmp_path / "new")))
    silently(tmp_path / "new")


def test_versions_that_are_not_written(tmp_path: Path) -> None:
    ds = xr.Dataset({"image": (("y", "x"), pixels((8, 8)))})
    for version in ("0.1", "0.2", "0.3"):
        with pytest.raises(OmeZarrError, match=r"neither pixel sizes nor units: take 0\.4"):
            ds.omezarr.to_zarr(tmp_path / "new", version=version)
    put(tmp_path / "old", attributes("0.3"), zarr_format=2)
    old = silently(tmp_path / "old")
    old.omezarr.to_zarr(tmp_path / "new")
    assert document_of(str(tmp_path / "new"))["version"] == "0.5"
    with pytest.raises(OmeZarrError, match=r"of version 0\.3"):
        old.omezarr.to_zarr(tmp_path / "old", region={"y": slice(0, 8)})


def test_a_descending_axis_has_no_place_in_0_6(tmp_path: Path) -> None:
    ds = xr.Dataset({"image": (("y", "x"), pixels((8, 8)))}).omezarr.assign_scale(x=-1.0)
    with pytest.raises(OmeZarrError, match=r"'x' descends.*isel\(x=slice.*0\.5"):
        ds.omezarr.to_zarr(tmp_path / "new", version="0.6")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_orientation_goes_round(tmp_path: Path, version: str) -> None:
    told = {"type": "anatomical", "value": "left-to-right"}
    axes = copy.deepcopy(AXES)
    axes[1]["orientation"] = told
    put(tmp_path / "old", attributes(axes=axes))
    ds = silently(tmp_path / "old")
    assert ds.x.attrs["orientation"] == "left-to-right"
    ds.y.attrs["orientation"] = "anterior-to-posterior"
    ds.omezarr.to_zarr(tmp_path / "new", version=version)
    image = document_of(str(tmp_path / "new"))["multiscales"][0]
    written = image["axes"] if version < "0.6" else image["coordinateSystems"][0]["axes"]
    assert written[1]["orientation"] == told
    assert written[0]["orientation"] == {"type": "anatomical", "value": "anterior-to-posterior"}
    assert silently(tmp_path / "new").y.attrs == ds.y.attrs


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_labels_are_of_the_version_of_their_image(tmp_path: Path, version: str) -> None:
    from xarray_omezarr import samples

    samples.coins().omezarr.to_zarr(tmp_path / "image", version=version)
    for group in ("", "labels", "labels/coins"):
        found = document_of(str(tmp_path / "image"), group)
        within = found.get("multiscales", [{}])[0].get("version")
        assert (within if version == "0.4" and group != "labels" else found.get("version")) == (
            None if version == "0.4" and group == "labels" else version
        )
    ds = silently(tmp_path / "image")
    assert set(ds.data_vars) >= {"image", "coins"}
