"""Validating hierarchies: what is walked, what is found beyond single documents, what it costs."""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.core.buffer import cpu
from zarr.storage import LocalStore, MemoryStore

import xarray_omezarr.verdict
from tests.helpers import (
    VERSIONS,
    WatchedStore,
    copy_of,
    image,
    opened_tree,
    pixels,
    put_array,
    put_document,
    put_sample,
    served,
)
from tests.plating import put_plate
from tests.test_rules import spots
from xarray_omezarr import OmeZarrError, samples, storage, validate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers import Document


def sound(version: str) -> MemoryStore:
    """Give a small image with a label image, in memory."""
    store = MemoryStore()
    samples.circle().omezarr.to_zarr(store, version=version, levels=2)
    return store


SOUND = {version: sound(version) for version in VERSIONS}

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def rules_of(report: xarray_omezarr.Report, severity: str = "error") -> list[str]:
    # Labels are written here without colours, which they SHOULD have.
    found = [f.rule for f in report.findings if f.severity == severity]
    return [rule for rule in found if "`colors` key" not in rule]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def coins(tmp_path: Path, version: str) -> Path:
    path = tmp_path / "coins.ome.zarr"
    samples.coins().omezarr.to_zarr(path, version=version)
    return path


def edit(path: Path, change: Callable[[Document], object], file: str = "") -> None:
    """Change a metadata file, wherever the attributes stand in it."""
    found = next(p for p in (path / "zarr.json", path / ".zattrs", path / file) if p.is_file())
    document = json.loads(found.read_text())
    attributes = document["attributes"] if found.name == "zarr.json" else document
    change(attributes.get("ome", attributes))
    found.write_text(json.dumps(document))


def test_what_is_written_here_is_valid(coins: Path) -> None:
    report = validate(coins)
    assert report, report
    assert not rules_of(report, "warning"), report
    assert report.groups == 3
    assert report.arrays > 2
    assert str(report.version) in ("0.4", "0.5")


def test_the_name_is_the_function_whatever_was_imported() -> None:
    assert callable(xarray_omezarr.validate)
    assert xarray_omezarr.verdict.validate is validate


@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize("labelled", [False, True])
def test_it_costs_no_more_requests_than_opening(
    version: str,
    levels: int,
    labelled: bool,  # noqa: FBT001
) -> None:
    memory = MemoryStore()
    ds = samples.coins() if labelled else image((300, 300))
    ds.omezarr.to_zarr(memory, version=version, levels=levels)
    opening, checking = WatchedStore(memory), WatchedStore(memory)
    opened_tree(opening)
    assert validate(checking)
    gets = [len(store.log.keys("get")) for store in (checking, opening)]
    asked = checking.log.keys()
    assert gets[0] <= gets[1], (asked, opening.log.keys())
    assert not [key for key in asked if "/c/" in key]


def test_it_takes_few_rounds() -> None:
    memory = MemoryStore()
    put_sample(memory)
    store = WatchedStore(memory, latency=0.02)
    validate(store)
    assert store.log.rounds <= 3


def test_no_more_requests_are_in_flight_than_the_bound() -> None:
    memory = MemoryStore()
    put_plate(memory, {f"A/{column}": ("0", "1") for column in range(1, 49)}, levels=1)
    store = WatchedStore(memory, latency=0.001)
    validate(store)
    assert 16 <= max(store.log.flights) <= storage.REQUESTS


# ── arrays ───────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_level_is_an_error(coins: Path) -> None:
    shutil.rmtree(coins / "1")
    assert any("path to the array" in rule for rule in rules_of(validate(coins)))


@pytest.mark.parametrize(
    ("shapes", "dtypes", "rule"),
    [
        ([(8, 8, 8), (4, 4)], ["uint8"] * 2, "the same number of dimensions"),
        ([(4, 4), (8, 8)], ["uint8"] * 2, "ordered from largest"),
        ([(8, 8), (4, 4)], ["uint8", "uint16"], "the same kind of pixels"),
        ([(8,), (4,)], ["uint8"] * 2, 'length of "axes"'),
    ],
)
def test_arrays_have_to_be_one_image(
    memory: MemoryStore, shapes: list[tuple[int, ...]], dtypes: list[str], rule: str
) -> None:
    put_document(memory, {"multiscales": [two_levels()]}, version="0.5")
    for level, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True)):
        names = ["y", "x", "w"][: len(shape)]
        put_array(memory, str(level), pixels(shape, dtype), version="0.5", dims=names)
    assert any(rule in f.rule for f in validate(memory).findings)


def two_levels(**more: object) -> Document:
    steps = [[{"type": "scale", "scale": [s, s]}] for s in (1.0, 2.0)]
    space = {"type": "space", "unit": "micrometer"}
    return {
        "name": "n",
        "type": "mean",
        "metadata": {},
        "axes": [{"name": "y", **space}, {"name": "x", **space}],
        "datasets": [
            {"path": str(i), "coordinateTransformations": step} for i, step in enumerate(steps)
        ],
        **more,
    }


def test_names_of_dimensions_have_to_be_those_of_the_axes(memory: MemoryStore) -> None:
    put_document(memory, {"multiscales": [two_levels()]}, version="0.5")
    put_array(memory, "0", pixels((8, 8)), version="0.5", dims="xy")
    put_array(memory, "1", pixels((4, 4)), version="0.5", dims="yx")
    found = [f for f in validate(memory).errors if "dimension_names" in f.rule]
    assert [(f.file, f.found) for f in found] == [("0/zarr.json", "['x', 'y']")]


def test_chunks_of_0_4_should_be_nested(memory: MemoryStore) -> None:
    put_document(memory, {"multiscales": [two_levels()]}, version="0.4")
    for level in (0, 1):
        zarr.create_array(memory, name=f"{level}", data=pixels((8 >> level,) * 2), zarr_format=2)
    assert any("nested directory" in rule for rule in rules_of(validate(memory), "warning"))


def test_consolidated_metadata_are_compared(coins: Path, version: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(coins), zarr_format=2 if version == "0.4" else 3)
    assert not rules_of(validate(coins), "warning")
    edit(coins / "labels" / "coins", lambda ome: ome["multiscales"][0].update(name="new"))
    found = [f for f in validate(coins).warnings if "Consolidated" in f.rule]
    assert len(found) == 1
    assert "stale" in found[0].found
    assert "labels/coins" in found[0].file


def test_a_folder_of_0_4_has_to_be_a_group(tmp_path: Path) -> None:
    image().omezarr.to_zarr(tmp_path / "image.ome.zarr", version="0.4")
    (tmp_path / "image.ome.zarr" / ".zgroup").unlink()
    assert [f.file for f in validate(tmp_path / "image.ome.zarr").errors] == [".zgroup"]


def test_metadata_of_both_formats_are_told_of(tmp_path: Path) -> None:
    image().omezarr.to_zarr(tmp_path / "image.ome.zarr")
    (tmp_path / "image.ome.zarr" / ".zattrs").write_text("{}")
    assert [f.file for f in validate(tmp_path / "image.ome.zarr").notes] == [".zattrs"]


def test_a_version_may_be_asked_for(coins: Path, version: str) -> None:
    other = "0.5" if version == "0.4" else "0.4"
    report = validate(coins, version=other)
    assert not report
    assert report.version == other
    with pytest.raises(OmeZarrError, match=r"0\.7"):
        validate(coins, version="0.7")


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def test_labels_are_held_against_their_image(coins: Path, version: str) -> None:
    edit(coins / "labels" / "coins", lambda ome: ome["multiscales"][0]["datasets"].pop())
    assert any("same number of entries" in rule for rule in rules_of(validate(coins)))
    shutil.rmtree(coins / "labels" / "coins" / "0")
    inside = str(coins / "labels" / "coins")
    put_array(inside, "0", np.zeros((7, 7)), version=version, dims="yx")
    report = validate(coins)
    assert any("nteger" in rule for rule in rules_of(report))
    assert any("same as that of the image" in rule for rule in rules_of(report, "warning"))


def test_a_label_that_is_listed_has_to_be_there(coins: Path) -> None:
    edit(coins / "labels", lambda ome: ome["labels"].append("nuclei"))
    assert [f.found for f in validate(coins).errors] == ["nothing is there"]


def test_a_label_that_is_there_should_be_listed(tmp_path: Path) -> None:
    path = tmp_path / "coins.ome.zarr"
    samples.coins().omezarr.to_zarr(path)
    edit(path / "labels", lambda ome: ome.update(labels=[]))
    assert any("SHOULD be listed" in rule for rule in rules_of(validate(path), "warning"))


# ── plates, series, scenes ───────────────────────────────────────────────────────────────────────


@pytest.fixture
def plate(memory: MemoryStore) -> MemoryStore:
    found = {
        "name": "p",
        "field_count": 1,
        "rows": [{"name": "A"}],
        "columns": [{"name": "1"}, {"name": "2"}],
        "wells": [{"path": f"A/{i + 1}", "rowIndex": 0, "columnIndex": i} for i in range(2)],
        "acquisitions": [{"id": i, "name": f"{i}", "maximumfieldcount": 1} for i in range(2)],
    }
    put_document(memory, {"plate": found}, version="0.5")
    for index in (1, 2):
        field = {"path": "0", "acquisition": index - 1}
        put_document(memory, {"well": {"images": [field]}}, version="0.5", group=f"A/{index}")
        put_document(memory, {"multiscales": [two_levels()]}, version="0.5", group=f"A/{index}/0")
        for level in (0, 1):
            values = pixels((8 >> level,) * 2)
            put_array(memory, f"A/{index}/0/{level}", values, version="0.5", dims="yx")
    return memory


def test_a_plate_is_walked(plate: MemoryStore) -> None:
    report = validate(plate)
    assert report, report
    assert (report.groups, report.arrays) == (5, 4)


def test_wells_and_fields_of_a_plate_are_checked(plate: MemoryStore) -> None:
    put_document(plate, {"well": {"images": [{"path": "0"}]}}, version="0.5", group="A/1")
    put_document(plate, {"labels": []}, version="0.5", group="A/2/0")
    found = rules_of(validate(plate))
    assert any("multiple acquisitions" in rule for rule in found)
    field = {"path": "9", "acquisition": 7}
    put_document(plate, {"well": {"images": [field]}}, version="0.5", group="A/1")
    found = rules_of(validate(plate))
    assert any("MUST match one of the acquisitions" in rule for rule in found)
    assert any("path to the field of view" in rule for rule in found)


@pytest.mark.parametrize("listed", [True, False])
def test_series_are_walked(memory: MemoryStore, listed: bool) -> None:  # noqa: FBT001
    put_document(memory, {"bioformats2raw.layout": 3}, version="0.5")
    names = ["a", "b"] if listed else ["0", "1"]
    if listed:
        put_document(memory, {"series": names}, version="0.5", group="OME")
    for name in names:
        put_sample(memory, group=name, dims="yx")
    report = validate(memory)
    assert report, report
    assert report.arrays == 6
    assert any("METADATA.ome.xml" in rule for rule in rules_of(report, "warning"))
    put_document(memory, {"labels": []}, version="0.5", group="OME")
    if not listed:
        put_document(memory, {"bioformats2raw.layout": 3}, version="0.5")
        empty = MemoryStore()
        put_document(empty, {"bioformats2raw.layout": 3}, version="0.5")
        assert any("consecutively" in rule for rule in rules_of(validate(empty)))


def test_a_scene_is_held_against_its_images(memory: MemoryStore) -> None:
    move = {"type": "translation", "translation": [1.0, 1.0]}
    axes = two_levels()["axes"]
    scene = {
        "coordinateSystems": [{"name": "world", "axes": axes}],
        "coordinateTransformations": [
            {**move, "input": {"path": path, "name": "own"}, "output": {"name": "world"}}
            for path in ("a", "b")
        ],
    }
    put_document(memory, {"scene": scene}, version="0.6")
    for path, name in (("a", "own"), ("b", "another")):
        ends = {"input": {"path": "0"}, "output": {"name": name}}
        step = {"type": "scale", "scale": [1.0, 1.0], **ends}
        one = {
            "coordinateSystems": [{"name": name, "axes": axes}],
            "datasets": [{"path": "0", "coordinateTransformations": [step]}],
        }
        put_document(memory, {"multiscales": [one]}, version="0.6", group=path)
        put_array(memory, f"{path}/0", pixels((8, 8)), version="0.6", dims="yx")
    assert [f.found for f in validate(memory).errors] == ["'b' has no system 'own'"]


# ── what is hostile ──────────────────────────────────────────────────────────────────────────────


def test_nothing_outside_of_the_hierarchy_is_read(tmp_path: Path) -> None:
    path = tmp_path / "image.ome.zarr"
    image().omezarr.to_zarr(path, levels=2)
    image().omezarr.to_zarr(tmp_path / "other.ome.zarr")
    outside = ["../other.ome.zarr/0", str(tmp_path / "other.ome.zarr" / "0"), "..", "a/../../x", ""]

    def change(ome: Document) -> None:
        step = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
        ome["multiscales"][0]["datasets"] += [
            {"path": p, "coordinateTransformations": step} for p in outside
        ]

    edit(path, change)
    store = WatchedStore(LocalStore(tmp_path))
    report = validate(store, group="image.ome.zarr")
    assert not report
    asked = store.log.keys()
    assert all(key.startswith("image.ome.zarr/") and ".." not in key for key in asked)


def test_labels_that_lead_to_themselves_end(tmp_path: Path) -> None:
    path = tmp_path / "image.ome.zarr"
    image().omezarr.to_zarr(path, levels=2)
    put_document(str(path), {"labels": ["again"]}, version="0.5", group="labels")
    (path / "labels" / "again").symlink_to(path, target_is_directory=True)
    assert validate(path).groups < 5


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"[" * 100_000,
        b'{"zarr_format": 3, "node_type": "group", "attributes": 7}',
        b'{"zarr_format": 3, "node_type": "group", "attributes": {"ome": []}}',
        b'{"zarr_format": 3, "node_type": "group", "attributes": {"multiscales": [[]]}}',
        b"\xff\xfe",
    ],
)
def test_broken_metadata_are_findings(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "zarr.json").write_bytes(content)
    report = validate(tmp_path)
    assert not report
    assert report.errors


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "%2e%2e/x", "ä\n\x1b[31m"])
def test_strange_names_are_findings(tmp_path: Path, name: str) -> None:
    path = tmp_path / "image.ome.zarr"
    image().omezarr.to_zarr(path, levels=2)
    edit(path, lambda ome: ome["multiscales"][0]["datasets"][1].update(path=name))
    report = validate(path)
    assert not report
    assert "\x1b" not in str(report)


def put_json(store: MemoryStore, key: str, document: object) -> None:
    """Put a metadata file into a store, whatever is in it."""
    store._store_dict[key] = cpu.Buffer.from_bytes(json.dumps(document).encode())


@given(data=st.data(), value=ANYTHING)
def test_mutants_are_findings_or_errors(data: st.DataObject, value: object) -> None:
    version = data.draw(st.sampled_from(VERSIONS))
    memory = copy_of(SOUND[version])
    files = [key for key in memory._store_dict if key.endswith((".json", ".zattrs", ".zarray"))]
    key = data.draw(st.sampled_from(sorted(files)))
    document = json.loads(memory._store_dict[key].to_bytes())
    holder, name = data.draw(st.sampled_from(spots(document)))
    holder[name] = value
    put_json(memory, key, document)
    store = WatchedStore(memory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(OmeZarrError):
            str(validate(store, deep=True, chunks=True))
    assert len(store.log.requests) < 200


def test_an_endless_plate_is_cut_short(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [{"name": str(i)} for i in range(300)]
    wells = [{"path": f"0/{i}", "rowIndex": 0, "columnIndex": i} for i in range(300)]
    plate = {"rows": names[:1], "columns": names, "wells": wells}
    put_document(memory, {"plate": plate}, version="0.5")
    monkeypatch.setattr(xarray_omezarr.verdict, "_MOST", 100)
    assert any("up to a number" in rule for rule in rules_of(validate(memory), "note"))


def test_what_is_no_group_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OmeZarrError, match="nothing at"):
        validate(tmp_path / "nowhere")
    zarr.create_group(str(tmp_path / "plain"), zarr_format=3)
    assert any("discovering" in rule for rule in rules_of(validate(tmp_path / "plain")))
    zarr.create_array(str(tmp_path / "array"), shape=(2,), dtype="u1", zarr_format=3)
    assert any("Zarr group" in rule for rule in rules_of(validate(tmp_path / "array")))


def test_over_http(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    image().omezarr.to_zarr(tmp_path / "image.ome.zarr", levels=2)
    with served(tmp_path) as (url, _):
        assert validate(f"{url}/image.ome.zarr")


# ── the report ───────────────────────────────────────────────────────────────────────────────────


def test_what_is_alike_is_told_once(tmp_path: Path) -> None:
    samples.plate(rows=2, columns=4, fields=1).omezarr.to_zarr(tmp_path / "plate.zarr")
    report = validate(tmp_path / "plate.zarr")
    alike = [one for one in report.warnings if one.rule.startswith("It SHOULD contain a `colors`")]
    assert len(alike) == 8
    told = str(report)
    assert told.count(alike[0].rule) == 1
    assert alike[0].place in told
    assert told.count("The same at 7 other places.") == 1


def test_a_report_prints_and_exports(coins: Path) -> None:
    def change(ome: Document) -> None:
        ome["multiscales"][0]["axes"][0]["unit"] = "<script>alert(1)</script>"

    edit(coins, change)
    report = validate(coins)
    assert report
    shown: str = report._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "2 warnings" in str(report)
    assert repr(report) == str(report)
    found: dict[str, Any] = json.loads(report.to_json())
    assert found["valid"] is True
    assert found["findings"][0]["severity"] == "warning"
    assert "axes[0].unit" in found["findings"][0]["pointer"]


@pytest.mark.parametrize("key", ["name", "image-label"])
def test_json_that_is_nested_too_deep(tmp_path: Path, key: str) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "image")
    file = tmp_path / "image" / "labels" / "coins" / "zarr.json"
    document = json.loads(file.read_text())
    document["attributes"]["ome"][key] = "deep"
    file.write_text(json.dumps(document).replace('"deep"', "[" * 500 + "]" * 500))
    report = validate(tmp_path / "image")
    assert [finding.found for finding in report.errors if "labels/coins" in finding.place] == [
        "nested more than 100 levels deep"
    ]
