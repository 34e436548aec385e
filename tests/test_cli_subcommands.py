"""Subcommands that check and change: what they do, what they leave alone, and how they exit."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import xarray as xr
import zarr

from tests.test_cli import edit, failed, ran, run
from xarray_omezarr import OmeZarrWarning, csv_to_labels, samples, wells

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# ── create ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_create_writes_a_plate(version: str) -> None:
    told = ran(
        "create", "plate.zarr", "--method", "plate", "--format", version,
        "--shape", "96,120", "--seed", "3",
    )  # fmt: skip
    assert told == (
        "Wrote plate (8 wells, 16 fields of c 2 × y 96 × x 120, uint16) as OME-Zarr "
        f"{version}: plate.zarr\n"
    )
    expected = samples.plate(shape=(96, 120), seed=3)
    for field in ("A/1/1", "B/4/1"):
        ds = xr.open_dataset("plate.zarr", engine="omezarr", group=field)
        assert (ds.image.values == expected[field].image.values).all()
        assert (ds.nuclei.values == expected[field].nuclei.values).all()


def test_create_takes_the_former_name_of_circles() -> None:
    ran("create", "a.zarr", "--method", "circles", "-q")
    assert ran("create", "b.zarr", "--method", "circle", "-q") == ""
    assert contents(Path("a.zarr")).keys() == contents(Path("b.zarr")).keys()


def test_create_of_a_plate_with_sizes_that_it_cannot_have(here: Path) -> None:
    told = failed("create", "p.zarr", "--method", "plate", "--shape", "2,96,96", code=2)
    assert "the fields of a plate have two sizes, Y,X, not 3" in told
    assert not list(here.iterdir())


def test_create_leaves_the_files_of_users_alone(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("years of work")
    (here / "file").write_text("more")
    before = contents(here)
    for path in ("mine", "file"):
        assert failed("create", path).startswith(f"Error: {path} exists and is ")
    inside = f"{here / 'file'} is a file, and no folder. Write to another path."
    for path in ("file/inside", "file/inside.ozx"):
        assert inside in failed("create", path)
    assert "It is empty" in failed("create", "", code=2)
    assert contents(here) == before


# ── validate ─────────────────────────────────────────────────────────────────────────────────────


def test_validate_takes_many_paths(here: Path) -> None:
    for name in ("good", "bad"):
        samples.circle().omezarr.to_zarr(f"{name}.zarr")
    edit("bad.zarr", multiscales=[])
    (here / "folder").mkdir()
    assert run("validate", "good.zarr", "good.zarr").exit_code == 0

    result = run("validate", "good.zarr", "folder", "bad.zarr", "nowhere")
    assert result.exit_code == 1
    assert result.stderr == ""
    heads = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert heads[0].startswith("good.zarr: valid, OME-Zarr 0.5")
    assert heads[1] == "folder: not validated"
    assert heads[2].startswith("bad.zarr: not valid")
    assert heads[3] == "nowhere: not validated"

    result = run("validate", "--json", "good.zarr", "nowhere")
    assert result.exit_code == 1
    good, nowhere = json.loads(result.stdout)
    assert (good["valid"], good["target"]) == (True, "good.zarr")
    assert nowhere["valid"] is False
    assert nowhere["error"].startswith("There is nothing at nowhere")


def test_validate_against_a_version_that_nobody_knows() -> None:
    assert "'7' is not one that can be validated; those are 0.1," in failed(
        "validate", "--version", "7", "x.zarr", code=2
    )


# ── upgrade and edit ─────────────────────────────────────────────────────────────────────────────


def test_upgrade_keeps_the_metadata_of_labels() -> None:
    samples.coins().omezarr.to_zarr("coins.zarr", version="0.4")
    before = xr.open_dataset("coins.zarr", engine="omezarr").load()
    told = ran("upgrade", "coins.zarr", "--version", "0.5")
    assert told == "coins.zarr: 3 groups are now version 0.5; arrays: 4 by metadata\n"
    xr.testing.assert_identical(xr.open_dataset("coins.zarr", engine="omezarr").load(), before)
    assert ran("upgrade", "coins.zarr", "--version", "0.5", "-q").endswith("already version 0.5\n")


def test_upgrade_to_a_new_place() -> None:
    samples.circle().omezarr.to_zarr("old.zarr", version="0.4")
    before = contents(Path("old.zarr"))
    facts = json.loads(ran("upgrade", "old.zarr", "new.zarr", "--version", "0.5", "--json"))
    assert facts["path"] == "new.zarr"
    assert facts["version"] == "0.5"
    assert facts["groups"] == 3
    assert contents(Path("old.zarr")) == before
    assert "new.zarr exists" in failed("upgrade", "old.zarr", "new.zarr", "--version", "0.5")
    assert "Missing option '--version'" in failed("upgrade", "old.zarr", code=2)


def test_edit_sets_shows_and_tells() -> None:
    samples.astronaut().omezarr.to_zarr("a.zarr")
    diff = ran("edit", "a.zarr", "--units", "nanometer", "--names", "r,g,b", "--dry-run")
    assert re.search(r'^\+ +"unit": "nanometer"$', diff, re.MULTILINE)
    assert "Changed" not in diff
    assert xr.open_dataset("a.zarr", engine="omezarr").c.values.tolist() == ["red", "green", "blue"]

    told = ran(
        "edit", "a.zarr", "--scale", "y=0.25,x=0.5", "--units", "y=nanometer,x=nanometer",
        "--windows", "0:9,1:8,2:7", "--colors", "FF00FF,00FFFF,FFFF00", "--name", "Eileen",
    )  # fmt: skip
    assert told.endswith("Changed 2 files of a.zarr.\n")
    again = json.loads(ran("edit", "a.zarr", "--name", "Eileen", "--json"))
    assert again == {"path": "a.zarr", "changed": False, "files": {}}
    ds = xr.open_dataset("a.zarr", engine="omezarr")
    assert ds.attrs["name"] == "Eileen"
    assert ds.omezarr.scale == {"y": 0.25, "x": 0.5}
    assert ds.omezarr.units == {"y": "nanometer", "x": "nanometer"}
    assert ds.c_color.values.tolist() == ["FF00FF", "00FFFF", "FFFF00"]
    assert ds.c_window_end.values.tolist() == [9, 8, 7]

    facts = json.loads(ran("edit", "a.zarr", "--name", "Collins", "--json"))
    assert facts["changed"] is True
    (file,) = facts["files"]
    assert file == "zarr.json"
    assert facts["files"][file]["after"]["attributes"]["ome"]["multiscales"][0]["name"] == "Collins"


def test_warnings_of_edit_name_the_path_that_was_given() -> None:
    samples.astronaut().omezarr.to_zarr("a.zarr")
    edit("a.zarr", omero={"channels": [{"label": "only one"}]})
    told = run("edit", "a.zarr", "--units", "nanometer").stderr
    assert told.startswith("Warning: a.zarr: 'omero' names 1 channels")


def test_edit_like_another_image() -> None:
    samples.coins().omezarr.assign_scale(y=2, x=3).omezarr.to_zarr("model.zarr")
    samples.coins().omezarr.to_zarr("a.zarr")
    ran("edit", "a.zarr", "--like", "model.zarr", "-q")
    assert xr.open_dataset("a.zarr", engine="omezarr").omezarr.scale == {"y": 2.0, "x": 3.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "There is nothing to set; give one or more of"),
        (["--group", "labels"], "There is nothing to set"),
        (["--scale", "y"], "'y' is not an axis and its value"),
        (["--units", "y="], "'y=' is not an axis"),
        (["--windows", "1"], "'1' is not like '0:4095,100:2000'"),
        (["--windows", "1:2:3"], "is not like"),
    ],
)
def test_edit_with_wrong_options(arguments: list[str], message: str) -> None:
    assert message in failed("edit", "a.zarr", *arguments, code=2)


# ── wells ────────────────────────────────────────────────────────────────────────────────────────


def test_wells_as_table_csv_and_json() -> None:
    samples.plate(rows=1, columns=2).omezarr.to_zarr("plate.zarr")
    head, *rows = ran("wells", "plate.zarr").splitlines()
    assert head.split() == ["well", "row", "column", "fields", "field_paths"]
    assert rows[0].split() == ["A/1", "A", "1", "2", "0", "1"]
    assert len(rows) == 2

    table = list(csv.DictReader(io.StringIO(ran("wells", "plate.zarr", "--csv", "--positions"))))
    assert [(row["well"], row["field"]) for row in table[:2]] == [("A/1", "0"), ("A/1", "1")]
    assert [float(row["x_origin"]) for row in table[:2]] == [0.0, 41.6]

    facts = json.loads(ran("wells", "plate.zarr", "--json"))
    assert facts["columns"] == ["1", "2"]
    expected = wells("plate.zarr")
    assert [one["well"] for one in facts["wells"]] == expected.well.tolist()
    assert facts["wells"][0]["field_paths"] == ["0", "1"]


def test_wells_of_what_is_no_plate() -> None:
    samples.circle().omezarr.to_zarr("a.zarr")
    assert "a.zarr is an image; expected the group of a plate" in failed("wells", "a.zarr")
    assert "Choose one of --csv and --json" in failed("wells", "a.zarr", "--csv", "--json", code=2)


# ── csv-to-labels ────────────────────────────────────────────────────────────────────────────────

#: With a byte order mark, a blank line, a number that is none, and a row about nothing.
TABLE = "\ufeffid,area,kind,alive,n\n1,2.5,disc,True,7\n\n2,nan,ring,False,8\n99,1,none,True,9\n"
KEYS = "area#d,kind#s,alive#b,n#l"


def properties(group: str) -> list[dict[str, Any]]:
    attributes: Any = zarr.open_group(group, mode="r").attrs.asdict()
    found: list[dict[str, Any]] = attributes.get("ome", attributes)["image-label"]["properties"]
    return found


def put(path: str, version: str = "0.5", table: str = TABLE) -> Sequence[str]:
    samples.astronaut().omezarr.to_zarr(path, version=version)
    Path("table.csv").write_text(table, encoding="utf-8")
    return ["csv-to-labels", "table.csv", "id", KEYS, path, "label-value"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("name", ["csv-to-labels", "csv_to_labels"])
def test_a_table_becomes_properties(version: str, name: str) -> None:
    _, *arguments = put("a.zarr", version)
    told = ran(name, *arguments)
    assert told.startswith("table.csv joined by 'id' to 'label-value': 2 of 3 rows match, 2 of 3")
    assert told.endswith("updated: labels/circles\n")
    first, second, third = properties("a.zarr/labels/circles")
    assert first == {"label-value": 1, "area": 2.5, "kind": "disc", "alive": True, "n": 7}
    assert second == {"label-value": 2, "kind": "ring", "alive": False, "n": 8}
    assert third == {"label-value": 3}


def test_a_dry_run_is_the_report_only(here: Path) -> None:
    arguments = put("a.zarr")
    before = contents(here)
    told = ran(*arguments, "--dry-run")
    assert "would be updated: labels/circles\n" in told
    assert told.endswith("Nothing was changed; that was a dry run.\n")
    assert "dry run" not in ran(*arguments, "--dry-run", "-q")
    facts = json.loads(ran(*arguments, "--dry-run", "--json"))
    assert (facts["matched_rows"], facts["updated"]) == (2, ["labels/circles"])
    assert facts["dry_run"] is True
    assert contents(here) == before

    with pytest.warns(OmeZarrWarning, match="rows without a label: 1"):
        report = csv_to_labels("a.zarr", "table.csv", on="id", columns="kind", dry_run=True)
    assert report.dry_run
    assert contents(here) == before


def test_a_dry_run_needs_no_right_to_write(here: Path) -> None:
    samples.circle().omezarr.to_zarr("a.zarr")
    (here / "table.csv").write_text("id,kind\n1,disc\n")
    report = csv_to_labels(
        zarr.open_group("a.zarr", mode="r"), "table.csv", on="id", ids=[1], dry_run=True
    )
    assert report.matched_labels == 1


def test_a_table_that_matches_nothing_exits_with_1(here: Path) -> None:
    arguments = put("a.zarr", table="id,area,kind,alive,n\n77,1,x,True,1\n")
    before = contents(here)
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout.startswith("table.csv joined by 'id' to 'label-value': 0 of 1 rows match")
    assert "updated" not in result.stdout
    assert result.stderr == (
        "Error: Nothing matched, and nothing was changed: no value of the column 'id' is the "
        "'label-value' of a label.\n"
    )
    assert run(*arguments, "--dry-run").exit_code == 1
    assert contents(here) == before


def test_csv_to_labels_names_what_is_not_there(here: Path) -> None:
    put("a.zarr")
    before = contents(here)
    for arguments, message in (
        (("table.csv", "nr", "kind", "a.zarr", "label-value"), "There is no column 'nr'"),
        (("table.csv", "id", "size", "a.zarr", "label-value"), "There is no column 'size'"),
        (("table.csv", "id", "kind", "a.zarr", "name"), "No label has a property 'name'"),
        (("nothing.csv", "id", "kind", "a.zarr", "label-value"), "nothing.csv"),
        (("table.csv", "id", "kind", "b.zarr", "label-value"), "There is nothing at b.zarr"),
        (
            ("table.csv", "id", "kind", "a.zarr", "label-value", "--label", "cells"),
            "no label image 'cells'",
        ),
    ):
        assert message in failed("csv-to-labels", *arguments)
    assert contents(here) == before


def test_columns_that_are_there_are_replaced_when_asked() -> None:
    arguments = put("a.zarr")
    ran(*arguments)
    told = failed(*arguments)
    assert "Replace them by --overwrite" in told
    assert "area (overwritten)" in ran(*arguments, "--overwrite")


def test_csv_to_labels_of_a_plate(here: Path) -> None:
    samples.plate(rows=1, columns=2, fields=2).omezarr.to_zarr("plate.zarr", version="0.4")
    (here / "table.csv").write_text("id,kind\n1,first\n")
    told = ran("csv-to-labels", "table.csv", "id", "kind", "plate.zarr", "label-value")
    assert "A/2/1/labels/nuclei" in told
    for field in ("A/1/0", "A/1/1", "A/2/0", "A/2/1"):
        assert properties(f"plate.zarr/{field}/labels/nuclei")[0]["kind"] == "first"
