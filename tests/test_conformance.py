"""The official cases of OME-Zarr: verdicts agree, valid ones open, and the runner is understood."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from xarray_omezarr import OmeZarrWarning, conformance, validate
from xarray_omezarr.verdict import check_attributes

SUITE = Path(
    os.environ.get("NGFF_SUITE") or Path(__file__).parents[1].parent / "shared" / "ngff-suite"
)

#: Cases that are said to keep all SHOULDs and do not, with the rule that they break.
BREAK_A_SHOULD = {
    # An axis of time without a unit.
    "0.4/strict_image/valid/image_omero": 'It SHOULD contain the field "unit"',
    "0.5/strict_image/valid/image_omero": 'It SHOULD contain the field "unit"',
    "0.5/strict_plate/valid/strict_no_acquisitions": "It SHOULD contain a `field_count` key",
    "0.5/strict_plate/valid/strict_acquisitions": "It SHOULD contain a `field_count` key",
    # The label image that it is, with neither name nor type nor metadata.
    "0.6/examples/label_strict/colors_properties": "It SHOULD contain the field",
}

#: Cases that are said to break a SHOULD only, and break a MUST: the path is column/row.
BREAK_A_MUST = dict.fromkeys(
    (
        "0.4/strict_plate/invalid/missing_name",
        "0.4/strict_plate/invalid/missing_version",
        "0.4/strict_plate/invalid/missing_acquisition_name",
        "0.4/strict_plate/invalid/missing_acquisition_maximumfieldcount",
        "0.6/strict/plate/invalid/missing_acquisition_name",
    ),
    "The `path` MUST consist of a `name` in the `rows` list",
) | {
    # Two transformations of one list have the same name.
    "0.6/spec/scene/valid/scene": "`name` MUST be unique",
}


def cases() -> list[dict[str, Any]]:
    index = SUITE / "index.jsonl"
    return [json.loads(line) for line in index.read_text().splitlines()] if index.exists() else []


CASES = cases()

pytestmark = pytest.mark.skipif(
    not CASES,
    reason=f"no official cases at {SUITE}; NGFF_SUITE names the folder where they are",
)


def ids(case: dict[str, Any]) -> str:
    return str(case["id"])


def attributes_of(case: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SUITE / case["path"]).read_text())
    document = document.get("attributes", document) if "zarr_format" in document else document
    return {key: value for key, value in document.items() if key != "_conformance"}


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_verdicts_are_the_official_ones(case: dict[str, Any]) -> None:
    report = check_attributes(attributes_of(case), case["version"])
    if case["id"] in BREAK_A_MUST:
        assert report.errors
        expected = (BREAK_A_MUST[case["id"]], "`rowIndex`, `columnIndex` and `path`")
        assert all(f.rule.startswith(expected) for f in report.errors), report
        assert bool(report.warnings) == case["strict"]
    elif case["strict"]:
        assert not report.errors, report
        if case["id"] in BREAK_A_SHOULD:
            assert all(f.rule.startswith(BREAK_A_SHOULD[case["id"]]) for f in report.warnings)
        assert bool(report.warnings) == (not case["valid"] or case["id"] in BREAK_A_SHOULD), report
    else:
        assert bool(report) == case["valid"], report


def test_exceptions_are_cases() -> None:
    assert {case["id"] for case in CASES} >= {*BREAK_A_MUST, *BREAK_A_SHOULD}


# ── stores ───────────────────────────────────────────────────────────────────────────────────────


@cache
def made(path: str, folder: Path) -> dict[str, Any]:
    """Make a store of a case."""
    out = folder / path.replace("/", "-").removesuffix(".json")
    done = subprocess.run(
        [sys.executable, SUITE / "make_store.py", SUITE / path, out],
        check=True,
        capture_output=True,
        text=True,
    )
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


READABLE = [case for case in CASES if case["valid"] or case["strict"]]

#: Hierarchies that `make_store.py` makes of valid documents and that are not valid, with the rule.
MADE_WRONG = {
    # Four numbers for images of two dimensions, and two names that are the same.
    "0.6/spec/scene/valid/scene": "`name` MUST be unique",
} | {
    # Two acquisitions, and wells that do not say which is theirs.
    f"{version}/examples/plate_strict/plate_6wells": "If multiple acquisitions were performed"
    for version in ("0.4", "0.5", "0.6")
}


def images_in(root: Path) -> list[Path]:
    """Find the groups below a folder that are images."""
    found = []
    for name in ("zarr.json", ".zattrs"):
        for file in root.rglob(name):
            document = json.loads(file.read_text())
            attributes = document.get("attributes", document) if name == "zarr.json" else document
            if "multiscales" in attributes.get("ome", attributes):
                found.append(file.parent)
    return sorted(found)


@pytest.mark.parametrize("case", READABLE, ids=ids)
def test_what_is_valid_or_breaks_a_should_opens(case: dict[str, Any], folder: Path) -> None:
    images = images_in(Path(made(case["path"], folder)["root"]))
    assert images
    for image in images:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OmeZarrWarning)
            with xr.open_dataset(image, engine="omezarr") as ds:
                assert ds.image.size == ds.image.values.size > 0


@pytest.mark.parametrize("case", [c for c in READABLE if c["valid"]], ids=ids)
def test_hierarchies_of_valid_documents_are_valid(case: dict[str, Any], folder: Path) -> None:
    report = validate(made(case["path"], folder)["root"], version=case["version"])
    wrong = MADE_WRONG.get(case["id"])
    assert all(wrong and f.rule.startswith(wrong) for f in report.errors), report
    assert bool(report) == (wrong is None)


#: What opening has to warn of, by a part of the name of a case: an axis without a type may be one
#: of space or of channels, and a unit that nobody knows stands in the user's coordinates. All else
#: that a valid document may leave out, like names or the method of its levels, changes nothing.
ASSUMED = {
    "untyped_axes": "'angle' has no type",
    "invalid_axis_units": "'micron'",
    "mismatch_axes_units": "'micrometer', the unit of axis 't'",
}


@pytest.mark.parametrize(
    "case", [c for c in READABLE if c["kind"] == "image" and c["version"] >= "0.4"], ids=ids
)
def test_opening_warns_only_of_what_it_assumes(case: dict[str, Any], folder: Path) -> None:
    root = Path(made(case["path"], folder)["root"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OmeZarrWarning)
        xr.open_dataset(root, engine="omezarr").close()
    told = " ".join(str(warning.message) for warning in caught)
    expected = next((text for name, text in ASSUMED.items() if name in case["id"]), None)
    assert expected in told if expected else not told


# ── the official runner ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("valid", [True, False])
def test_the_runner_gets_a_verdict_on_attributes(
    valid: bool,  # noqa: FBT001
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = SUITE / "0.6" / "spec" / "image" / ("valid" if valid else "invalid")
    name = "custom_type_axes" if valid else "duplicate_axes"
    assert conformance.main(["attributes", str(folder / f"{name}.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is valid
    assert valid or "unique" in found["message"]


def test_the_runner_gets_a_verdict_on_a_hierarchy(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = made("0.6/spec/image/valid/custom_type_axes.json", folder)["root"]
    assert conformance.main(["zarr", root]) == 0
    assert json.loads(capsys.readouterr().out) == {"valid": True, "message": None}
