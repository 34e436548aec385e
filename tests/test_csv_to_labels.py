"""Properties of stored label images, updated in place: images, label groups, wells and plates."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import shutil
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore, ZipStore

from tests.helpers import (
    VERSIONS,
    StoreFailureError,
    WatchedStore,
    contents,
    failing_after,
    files,
    memory_of,
)
from xarray_omezarr import OmeZarrError, OmeZarrWarning, csv_to_labels, samples, storage
from xarray_omezarr.errors import OmeZarrFileNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Json = dict[str, Any]

WELLS = ("A/1", "A/2", "B/1")


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ids_of(count: int = 3, **values: list[Any]) -> list[Json]:
    rows: list[Json] = [{"label-value": i} for i in range(1, count + 1)]
    for name, column in values.items():
        for row, value in zip(rows, column, strict=True):
            row[name] = value
    return rows


def attributes_file(group: Path) -> Path:
    return next(f for f in (group / "zarr.json", group / ".zattrs") if f.exists())


def edit(group: Path, change: Callable[[Json], None]) -> None:
    """Change the OME attributes of a group, as nobody but the test does."""
    file = attributes_file(group)
    document = json.loads(file.read_bytes())
    change(document["attributes"]["ome"] if file.name == "zarr.json" else document)
    file.write_text(json.dumps(document))


def label_of(group: Path) -> Json:
    document = json.loads(attributes_file(group).read_bytes())
    ome = document["attributes"]["ome"] if "attributes" in document else document
    found: Json = ome["image-label"]
    return found


def properties_of(group: Path) -> list[Json]:
    found: list[Json] = label_of(group)["properties"]
    return found


def put_image(
    path: Path, version: str, properties: list[Json] | None = None, name: str = "nuclei"
) -> Path:
    """Lay down an image with a label image; give the label image's folder."""
    ds = samples.circle().rename(circle=name)
    ds.omezarr.to_zarr(path, version=version)
    if properties is not None:
        edit(path / "labels" / name, lambda ome: ome["image-label"].update(properties=properties))
    return path / "labels" / name


def _put_properties(rows: list[Json], ome: Json) -> None:
    ome["image-label"]["properties"] = rows


def put_plate(path: Path, version: str, properties: list[Json], name: str = "nuclei") -> list[Path]:
    """Lay down a plate of three wells of two fields; give the label images of the first fields."""
    plate = {
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "1"}, {"name": "2"}],
        "wells": [
            {"path": well, "rowIndex": "AB".index(well[0]), "columnIndex": int(well[2]) - 1}
            for well in WELLS
        ],
    }
    group(path, version, {"plate": plate})
    made = []
    for well in WELLS:
        group(path / well, version, {"well": {"images": [{"path": "0"}, {"path": "1"}]}})
        made.append(put_image(path / well / "0", version, properties, name))
        samples.circle()[["image"]].omezarr.to_zarr(path / well / "1", version=version)
    return made


def group(path: Path, version: str, ome: Json) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(ome))
    else:
        attributes = {"ome": {"version": version, **ome}}
        (path / "zarr.json").write_text(
            json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes})
        )


def table(text: str = "cell,area,kind\n1,1.5,a\n2,2.5,b\n3,3.5,c\n") -> io.StringIO:
    return io.StringIO(text)


EXPECTED = ids_of(area=[1.5, 2.5, 3.5], kind=["a", "b", "c"])

# ── what it works on ─────────────────────────────────────────────────────────────────────────────


def test_image(tmp_path: Path, version: str) -> None:
    label = put_image(tmp_path / "a.zarr", version, ids_of())
    before = files(tmp_path)
    report = csv_to_labels(tmp_path / "a.zarr", table(), on="cell")
    assert properties_of(label) == EXPECTED
    assert report.complete
    assert report.updated == ("labels/nuclei",)
    after = files(tmp_path)
    assert set(before) == set(after)
    changed = [name for name in after if before[name] != after[name]]
    assert changed == [str(attributes_file(label).relative_to(tmp_path))]
    with xr.open_dataset(tmp_path / "a.zarr", engine="omezarr", labels=True) as ds:
        assert ds.nuclei_area.values.tolist() == [1.5, 2.5, 3.5]


@pytest.mark.parametrize("target", ["label group", "labels", "named", "group="])
def test_label_group(tmp_path: Path, version: str, target: str) -> None:
    label = put_image(tmp_path / "a.zarr", version, ids_of())
    targets: dict[str, dict[str, Any]] = {
        "label group": {"store": label},
        "labels": {"store": label.parent},
        "named": {"store": tmp_path / "a.zarr", "label": "nuclei"},
        "group=": {"store": tmp_path, "group": "a.zarr/labels/nuclei"},
    }
    assert csv_to_labels(table=table(), on="cell", **targets[target]).complete
    assert properties_of(label) == EXPECTED


def test_label_group_that_does_not_say_so(tmp_path: Path, version: str) -> None:
    label = put_image(tmp_path / "a.zarr", version)
    edit(label, lambda ome: ome.pop("image-label"))
    csv_to_labels(label, table(), on="cell", ids=[1, 2, 3])
    assert properties_of(label) == EXPECTED


def test_plate(tmp_path: Path, version: str) -> None:
    labels = put_plate(tmp_path / "p.zarr", version, ids_of())
    before = files(tmp_path)
    report = csv_to_labels(tmp_path / "p.zarr", table(), on="cell")
    assert [properties_of(label) for label in labels] == [EXPECTED] * 3
    assert report.updated == tuple(f"{well}/0/labels/nuclei" for well in WELLS)
    assert (report.rows, report.matched_rows, report.matched_labels) == (3, 3, 9)
    assert set(files(tmp_path)) == set(before)


def test_plate_by_a_property(tmp_path: Path, version: str) -> None:
    labels = put_plate(tmp_path / "p.zarr", version, ids_of())
    for number, label in enumerate(labels):
        rows = ids_of(cell=[f"c{3 * number + i}" for i in range(3)])
        edit(label, functools.partial(_put_properties, rows))
    frame = pd.DataFrame({"nr": [f"c{i}" for i in range(8)] + ["none"], "v": range(9)})
    with pytest.warns(OmeZarrWarning, match="8 of 9 rows match, 8 of 9 labels"):
        report = csv_to_labels(tmp_path / "p.zarr", frame, on="nr", to="cell")
    assert [[row.get("v") for row in properties_of(label)] for label in labels] == [
        [0, 1, 2], [3, 4, 5], [6, 7, None],
    ]  # fmt: skip
    assert report.unmatched_rows == ("none",)


def test_well_and_a_label_of_one_field(tmp_path: Path, version: str) -> None:
    labels = put_plate(tmp_path / "p.zarr", version, ids_of())
    shutil.copytree(labels[0].parent, tmp_path / "p.zarr/A/2/1/labels")
    shutil.rmtree(labels[1].parent)
    csv_to_labels(tmp_path / "p.zarr/A/2", table(), on="cell")
    assert properties_of(tmp_path / "p.zarr/A/2/1/labels/nuclei") == EXPECTED
    assert properties_of(labels[0]) == ids_of()
    report = csv_to_labels(tmp_path / "p.zarr", table(), on="cell", overwrite=True)
    assert len(report.updated) == 3


def test_wells_without_a_group_are_empty(tmp_path: Path, version: str) -> None:
    labels = put_plate(tmp_path / "p.zarr", version, ids_of())
    shutil.rmtree(tmp_path / "p.zarr/B")
    csv_to_labels(tmp_path / "p.zarr", table(), on="cell")
    assert not (tmp_path / "p.zarr/B").exists()
    assert properties_of(labels[0]) == EXPECTED


@pytest.mark.parametrize("kind", ["memory", "fsspec", "group"])
def test_stores(version: str, kind: str) -> None:
    store: Any = MemoryStore()
    if kind == "fsspec":
        store = f"memory://csv/{version}.zarr"
    samples.circle().omezarr.to_zarr(store, version=version)
    target = zarr.open_group(store) if kind == "group" else store
    csv_to_labels(target, table(), on="cell", ids=[1, 2, 3])
    with xr.open_dataset(store, engine="omezarr", labels=True) as ds:
        assert ds.circle_area.values.tolist() == [1.5, 2.5, 3.5]
    if kind == "fsspec":
        fsspec.filesystem("memory").rm("/csv", recursive=True)


# ── labels that had no properties ────────────────────────────────────────────────────────────────


def test_label_values_from_colors_pixels_and_argument(tmp_path: Path, version: str) -> None:
    label = put_image(tmp_path / "a.zarr", version)
    with pytest.warns(OmeZarrWarning, match="1 of 3 rows"):
        csv_to_labels(tmp_path / "a.zarr", table(), on="cell")
    assert properties_of(label) == EXPECTED[:1]  # from the pixels of a single disc

    label = put_image(tmp_path / "b.zarr", version)
    colors = [{"label-value": i, "rgba": [0, 0, i, 255]} for i in (2, 5)]
    edit(label, lambda ome: ome["image-label"].update(colors=colors))
    with pytest.warns(OmeZarrWarning, match="rows without a label: 2"):
        csv_to_labels(tmp_path / "b.zarr", table(), on="cell")
    assert properties_of(label) == [EXPECTED[1], {"label-value": 5}]
    assert label_of(label)["colors"] == colors

    label = put_image(tmp_path / "c.zarr", version)
    with pytest.warns(OmeZarrWarning, match="labels without a row: 1 "):
        csv_to_labels(tmp_path / "c.zarr", table(), on="cell", ids=[9, 3, 2, 1])
    assert properties_of(label) == [{"label-value": 9}, *EXPECTED[::-1]]


def test_what_else_stands_there_stays(tmp_path: Path, version: str) -> None:
    label = put_image(tmp_path / "a.zarr", version, ids_of(mixed=[1, "a", {"b": [2]}]))
    edit(label, lambda ome: ome["image-label"].update(vendor={"x": 1}, colors=[]))
    edit(label, lambda ome: ome.update(other=[1, 2]))
    file = attributes_file(label)
    before = json.loads(file.read_bytes())
    csv_to_labels(label, table(), on="cell")
    after = json.loads(file.read_bytes())
    for one in (before, after):
        (one.get("attributes", {}).get("ome") or one)["image-label"].pop("properties")
    assert before == after
    assert [row["mixed"] for row in properties_of(label)] == [1, "a", {"b": [2]}]


def test_consolidated_metadata_follow(tmp_path: Path, version: str) -> None:
    """A reader that goes by consolidated metadata sees the new properties as well."""
    put_image(tmp_path / "a.zarr", version, ids_of())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(tmp_path / "a.zarr")
    csv_to_labels(tmp_path / "a.zarr", table(), on="cell")
    for consolidated in (True, False):
        root = zarr.open_group(tmp_path / "a.zarr", mode="r", use_consolidated=consolidated)
        attributes: Json = dict(root["labels/nuclei"].attrs)
        assert attributes.get("ome", attributes)["image-label"]["properties"] == EXPECTED


# ── the same as ome-zarr-py, where that works ────────────────────────────────────────────────────

NAMES = st.text("abcdefg µ()", min_size=1, max_size=6).filter(lambda name: name == name.strip())
TEXTS: dict[str, st.SearchStrategy[str]] = {
    "d": st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.integers(-(2**70), 2**70).map(str)
    | st.sampled_from(["1e5", "1_000.5", ".5", "-0", " 7 "]),
    "l": st.integers(-(2**53), 2**53).map(str)
    | st.floats(-(2.0**52), 2.0**52).map(repr)
    | st.sampled_from(["2.5", "-0.5", "1e3", "007"]),
    "s": st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=6)
    | st.sampled_from(["", "NA", "nan", "1", "1.50", "True", 'a"b', "a,b", "a\nb", " x "]),
    "b": st.sampled_from(["True", "true", "1", "yes"]),
}


@st.composite
def joins(draw: st.DrawFn) -> tuple[list[Json], list[list[str]], list[str], str]:
    """Draw stored properties, a table with its header, the types and what it is joined to."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    types = [draw(st.sampled_from(sorted(TEXTS))) for _ in names]
    ids = draw(st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True))
    to = draw(st.sampled_from(["label-value", "cell", "omero:id"]))
    stored: list[Json] = [{"label-value": i} for i in ids]
    for i, row in enumerate(stored):
        row["cell"], row["omero:id"] = f"c{i}", 100 + i
        if draw(st.booleans()):
            row[names[0]] = "old"
    known = [str(row[to]) for row in stored]
    kept = draw(st.lists(st.sampled_from(known), unique=True))
    other = "none" if to == "cell" else "4711"
    rows = [
        [key, *(draw(TEXTS[kind]) for kind in types)]
        for key in [*kept, *([other] if draw(st.booleans()) or not kept else [])]
    ]
    return stored, [["id", *names], *rows], types, to


@pytest.mark.filterwarnings("ignore::xarray_omezarr.errors.OmeZarrWarning")
@pytest.mark.parametrize("plate", [False, True])
@given(joins())
def test_same_as_ome_zarr_py(
    plate: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[list[Json], list[list[str]], list[str], str],
) -> None:
    theirs = pytest.importorskip("ome_zarr.csv")
    stored, rows, types, to = drawn
    directory = tmp_path_factory.mktemp("join")
    image: Json = {"multiscales": [{"version": "0.4", "axes": [], "datasets": []}]}
    for name in ("theirs", "ours"):
        root = directory / name
        fields = [root / well / "0" for well in WELLS] if plate else [root]
        if plate:
            group(root, "0.4", {"plate": {"wells": [{"path": well} for well in WELLS]}})
        for field in fields:
            group(field, "0.4", image)
            group(field / "labels", "0.4", {"labels": ["0"]})
            group(field / "labels/0", "0.4", {**image, "image-label": {"properties": stored}})
    with (directory / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    keys = ",".join(f"{name}#{kind}" for name, kind in zip(rows[0][1:], types, strict=True))
    theirs.csv_to_zarr(str(directory / "table.csv"), "id", keys, str(directory / "theirs"), to)
    csv_to_labels(
        directory / "ours", directory / "table.csv", on="id", to=to, columns=keys, overwrite=True
    )
    for well in WELLS if plate else ("",):
        inner = f"{well}/0/labels/0" if plate else "labels/0"
        mine = json.loads((directory / "ours" / inner / ".zattrs").read_bytes())
        other = json.loads((directory / "theirs" / inner / ".zattrs").read_bytes())
        assert mine == other
        # True is not 1, and 1 is not 1.0.
        for a, b in zip(mine["image-label"]["properties"], other["image-label"]["properties"],
                        strict=True):  # fmt: skip
            assert {k: type(v) for k, v in a.items()} == {k: type(v) for k, v in b.items()}


# ── its failures ─────────────────────────────────────────────────────────────────────────────────


def test_labels_of_any_name(tmp_path: Path, version: str) -> None:
    """It only ever looks at labels/0, and never works on 0.5."""
    put_image(tmp_path / "a.zarr", version, ids_of(), name="cells")
    label = put_image(tmp_path / "b.zarr", version, ids_of(), name="0")
    csv_to_labels(tmp_path / "a.zarr", table(), on="cell")
    csv_to_labels(tmp_path / "b.zarr", table(), on="cell")
    assert properties_of(tmp_path / "a.zarr/labels/cells") == properties_of(label) == EXPECTED


def test_false_is_false(tmp_path: Path, version: str) -> None:
    label = put_image(tmp_path / "a.zarr", version, ids_of())
    text = "cell,ok\n1,False\n2,true\n3,0\n"
    csv_to_labels(label, table(text), on="cell", columns=["ok#b"])
    assert [row["ok"] for row in properties_of(label)] == [False, True, False]


def test_nan_stays_out_of_json(tmp_path: Path, version: str) -> None:
    label = put_image(tmp_path / "a.zarr", version, ids_of(old=[math.nan, 1.0, 2.0]))
    text = "cell,v\n1,nan\n2,inf\n3,\n"
    csv_to_labels(label, table(text), on="cell", columns="v#d")
    csv_to_labels(label, table("cell,w\n1,1\n2,2\n3,3\n"), on="cell")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(attributes_file(label).read_bytes(), parse_constant=refuse)
    assert properties_of(label)[0] == {"label-value": 1, "w": 1}
    assert properties_of(label)[1] == {"label-value": 2, "old": 1.0, "w": 2}


def test_bom_and_blank_lines(tmp_path: Path, version: str) -> None:
    label = put_image(tmp_path / "a.zarr", version, ids_of())
    path = tmp_path / "cells.csv"
    path.write_bytes("\ufeffcell,area,kind\n\n1,1.5,a\n\n2,2.5,b\n3,3.5,c\n\n\n".encode())
    csv_to_labels(tmp_path / "a.zarr", path, on="cell")
    assert properties_of(label) == EXPECTED


def test_nothing_passes_in_silence(tmp_path: Path, version: str) -> None:
    label = put_image(tmp_path / "a.zarr", version, ids_of())
    before = files(tmp_path)
    with pytest.raises(OmeZarrError, match=r"no column 'size'.*'area'"):
        csv_to_labels(label, table(), on="cell", columns="size#d")
    with pytest.raises(OmeZarrError, match=r"no column 'nr'.*'cell'"):
        csv_to_labels(label, table(), on="nr")
    with pytest.raises(OmeZarrError, match="property 'name'"):
        csv_to_labels(label, table(), on="cell", to="name")
    with pytest.warns(OmeZarrWarning, match=r"rows without a label: 1 \(9\)"):
        report = csv_to_labels(label, table("cell,v\n9,1\n"), on="cell")
    assert report.updated == ()
    assert files(tmp_path) == before


def test_wrong_path_gets_no_group(tmp_path: Path, version: str) -> None:
    put_image(tmp_path / "a.zarr", version, ids_of())
    group(tmp_path / "empty", version, {})
    (tmp_path / "folder").mkdir()
    before = files(tmp_path)
    for wrong in ("nowhere.zarr", "deep/down.zarr", "folder", "a.zarr/labels/cells"):
        with pytest.raises(OmeZarrFileNotFoundError, match=wrong):
            csv_to_labels(tmp_path / wrong, table(), on="cell")
    with pytest.raises(OmeZarrError, match="empty is no OME-Zarr image"):
        csv_to_labels(tmp_path / "empty", table(), on="cell")
    with pytest.raises(OmeZarrError, match="array"):
        csv_to_labels(tmp_path / "a.zarr/0", table(), on="cell")
    assert files(tmp_path) == before
    store = MemoryStore()
    with pytest.raises(OmeZarrFileNotFoundError):
        csv_to_labels(store, table(), on="cell")
    assert not contents(store)


# ── bad input ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "is empty"),
        ("cell,v\n", {}, "no rows"),
        ("cell,v\nx,1\n", {}, "row 1, column 'cell': 'x'"),
        ("cell,v\n1,1\n1,2\n", {}, "duplicates="),
        ("cell,v\n1,x\n", {"dtypes": {"v": "d"}}, "row 1, column 'v': 'x'"),
        ("cell,old\n1,1\n", {}, "'old' already.*overwrite=True"),
        ("cell,v\n1,1\n", {"label": "cells"}, "no label image 'cells'.*'nuclei'"),
        ("cell,v\n1,1\n", {"label": "../nuclei"}, "not the name"),
        ("cell,v\n1,1\n", {"ids": ["a"]}, "ids"),
        ("cell,v\n1,1\n", {"errors": "ignore"}, "errors="),
        ("cell,v\n1,1\n", {"duplicates": "all"}, "duplicates="),
    ],
)
def test_bad_input(
    tmp_path: Path, version: str, text: str, options: dict[str, Any], said: str
) -> None:
    put_image(tmp_path / "a.zarr", version, ids_of(old=[1, 2, 3]))
    before = files(tmp_path)
    with pytest.raises(OmeZarrError, match=said):
        csv_to_labels(tmp_path / "a.zarr", table(text), on="cell", **options)
    assert files(tmp_path) == before


def test_which_label(tmp_path: Path, version: str) -> None:
    ds = samples.circle()
    ds["cells"] = ds.circle
    ds.cells.encoding = ds.circle.encoding
    ds.omezarr.to_zarr(tmp_path / "a.zarr", version=version)
    with pytest.raises(OmeZarrError, match=r"several: 'circle', 'cells'.*label="):
        csv_to_labels(tmp_path / "a.zarr", table(), on="cell")
    samples.circle()[["image"]].omezarr.to_zarr(tmp_path / "b.zarr", version=version)
    with pytest.raises(OmeZarrError, match="there are none"):
        csv_to_labels(tmp_path / "b.zarr", table(), on="cell")
    label = put_image(tmp_path / "c.zarr", version)
    with pytest.raises(OmeZarrError, match="label image 'nuclei', not 'cells'"):
        csv_to_labels(label, table(), label="cells", on="cell")


def test_plate_without_the_label(tmp_path: Path, version: str) -> None:
    put_plate(tmp_path / "p.zarr", version, ids_of())
    before = files(tmp_path)
    with pytest.raises(OmeZarrError, match=r"no label image 'cells' in any.*'nuclei'"):
        csv_to_labels(tmp_path / "p.zarr", table(), label="cells", on="cell")
    assert files(tmp_path) == before


def test_series(tmp_path: Path, version: str) -> None:
    group(tmp_path, version, {"bioformats2raw.layout": 3})
    with pytest.raises(OmeZarrError, match="series of images"):
        csv_to_labels(tmp_path, table(), on="cell")


def test_broken_properties(tmp_path: Path, version: str) -> None:
    label = put_image(tmp_path / "a.zarr", version, ids_of())
    edit(label, lambda ome: ome["image-label"].update(properties={"a": 1}))
    with pytest.raises(OmeZarrError, match="expected a list"):
        csv_to_labels(label, table(), on="cell")
    rows: list[Any] = [*ids_of(), {"area": 5}, "x", {"label-value": "1"}]
    edit(label, lambda ome: ome["image-label"].update(properties=rows))
    with pytest.warns(OmeZarrWarning, match="labels without a row: 3"):
        csv_to_labels(label, table(), on="cell", overwrite=True)
    assert properties_of(label) == [*EXPECTED, *rows[3:]]


# ── stores that fail ─────────────────────────────────────────────────────────────────────────────


def test_read_only(tmp_path: Path, version: str) -> None:
    put_image(tmp_path / "a.zarr", version, ids_of())
    before = files(tmp_path)
    store = memory_of(tmp_path / "a.zarr").with_read_only(read_only=True)
    with pytest.raises(OmeZarrError, match="reading only; nothing was changed"):
        csv_to_labels(store, table(), on="cell")
    archive = tmp_path / "a.zip"
    shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "a.zarr")
    packed = ZipStore(archive, mode="r")
    with pytest.raises(OmeZarrError, match="archive"):
        csv_to_labels(packed, table(), on="cell")
    packed.close()
    archive.unlink()
    refusing = WatchedStore(memory_of(tmp_path / "a.zarr"), hook=failing_after(0))
    with pytest.raises(OmeZarrError, match="Updated: nothing; not updated: labels/nuclei") as error:
        csv_to_labels(refusing, table(), on="cell")
    assert isinstance(error.value.__cause__, StoreFailureError)
    assert files(tmp_path) == before


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_fault_in_the_middle_of_a_plate(tmp_path: Path, version: str, writes: int) -> None:
    put_plate(tmp_path / "p.zarr", version, ids_of())
    store = memory_of(tmp_path / "p.zarr")
    old = contents(store)
    whole = memory_of(tmp_path / "p.zarr")
    csv_to_labels(whole, table(), on="cell")
    new = contents(whole)
    with pytest.raises(OmeZarrError) as error:
        csv_to_labels(WatchedStore(store, hook=failing_after(writes)), table(), on="cell")
    fields = [f"{well}/0/labels/nuclei" for well in WELLS]
    done, left = fields[:writes], fields[writes:]
    message = str(error.value)
    assert f"Updated: {', '.join(done) or 'nothing'}; not updated: {', '.join(left)}." in message
    assert ("overwrite=True" in message) == bool(done)
    found = contents(store)
    assert set(found) == set(old)
    for key, content in found.items():
        assert content == (new if any(key.startswith(f"{f}/") for f in done) else old)[key]
    # As the message says: it can be called again.
    csv_to_labels(store, table(), on="cell", overwrite=True)
    assert contents(store) == new


def test_a_fault_before_the_first_write_changes_nothing(tmp_path: Path, version: str) -> None:
    labels = put_plate(tmp_path / "p.zarr", version, ids_of())
    edit(labels[-1], lambda ome: ome["image-label"]["properties"][0].update(area=1))
    with pytest.raises(OmeZarrError, match="B/1/0/labels/nuclei has the properties 'area'"):
        csv_to_labels(tmp_path / "p.zarr", table(), on="cell")
    attributes_file(labels[-1]).write_text("{")
    with pytest.raises(OmeZarrError, match="no valid JSON"):
        csv_to_labels(tmp_path / "p.zarr", table(), on="cell", label="nuclei")
    assert properties_of(labels[0]) == ids_of()


def test_readers_never_see_half_of_a_file(tmp_path: Path) -> None:
    """A process that dies while it writes leaves the old file."""
    label = put_image(tmp_path / "a.zarr", "0.5", ids_of())
    before = attributes_file(label).read_bytes()
    code = f"""
import os, pathlib, pandas, xarray_omezarr
pathlib.Path.replace = lambda *_: os._exit(7)
table = pandas.DataFrame({{"cell": [1, 2, 3], "v": [1, 2, 3]}})
xarray_omezarr.csv_to_labels({str(label)!r}, table, on="cell")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
    assert attributes_file(label).read_bytes() == before


def test_requests(tmp_path: Path, version: str) -> None:
    """A plate takes a few rounds, not as many as it has wells."""
    put_plate(tmp_path / "p.zarr", version, ids_of())
    store = WatchedStore(memory_of(tmp_path / "p.zarr"))
    csv_to_labels(store, table(), on="cell", label="nuclei")
    assert len(store.log.keys("set")) == 3
    assert not store.log.keys("list")
    assert len(store.log.keys("get")) < 40


def test_long_metadata_are_written_without_indent() -> None:
    short, long = storage.to_bytes({"a": [1]}), storage.to_bytes({"a": list(range(100_000))})
    assert b"\n" in short
    assert b"\n" not in long
    assert json.loads(long)["a"][-1] == 99_999


def test_many_labels(tmp_path: Path) -> None:
    count = 20_000
    label = put_image(tmp_path / "a.zarr", "0.5", ids_of(count))
    order = np.random.default_rng(0).permutation(count) + 1
    frame = pd.DataFrame({"cell": order, "twice": order * 2, "half": order / 2})
    csv_to_labels(label, frame, on="cell")
    assert properties_of(label) == ids_of(
        count,
        twice=[2 * i for i in range(1, count + 1)],
        half=[i / 2 for i in range(1, count + 1)],
    )
