"""A function on each field of a plate: the numbers, what it gets, and what is written."""

from __future__ import annotations

import shutil
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xarray_omezarr
from tests.helpers import files, opened
from tests.screening import (
    FIELDS,
    KEYS,
    by_hand,
    check_labels,
    check_table,
    masked,
    mean,
    means,
    put_plate,
    segment,
)
from xarray_omezarr import OmeZarrError, OmeZarrWarning, map_fields

if TYPE_CHECKING:
    from pathlib import Path

    from distributed import Client


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("kind", ["threads", "processes", "cluster"])
def test_every_field_is_segmented_and_measured(
    plate: Path, tmp_path: Path, kind: str, client: Client
) -> None:
    before = files(plate)
    scheduler: Any = client if kind == "cluster" else kind
    output = tmp_path / "cells.csv"
    results = map_fields(
        segment, plate, output=output, write_labels="nuclei", scheduler=scheduler, workers=2
    )
    check_table(results.table, by_hand())
    assert (results.done, results.skipped, results.failures) == (FIELDS, (), {})
    assert len(pd.read_csv(output)) == len(by_hand())
    check_labels(plate)
    after = files(plate)
    # Nothing but label images came to what there was.
    assert {path: after[path] for path in before} == before
    assert all("labels" in path for path in set(after) - set(before))
    # On all levels that the image has.
    tree = xr.open_datatree(plate, group="A/1/0", engine="omezarr")
    assert list(tree["labels/nuclei"].children) == ["0", "1"]


def measured(ds: xr.Dataset) -> tuple[xr.Dataset, xr.DataArray]:
    """Do it by what the package has for this."""
    labels = ds.image.isel(c=0).copy(data=masked(ds.image.isel(c=0).values))
    ds = ds.assign(cells=labels).omezarr.measure("cells", ["count", "mean"], image="image")
    return ds.omezarr.table("cells"), labels


@pytest.mark.parametrize("kind", ["threads", "cluster"])
def test_the_measuring_of_the_package(plate: Path, kind: str, client: Client) -> None:
    scheduler: Any = client if kind == "cluster" else kind
    table = map_fields(measured, plate, scheduler=scheduler, write_labels="cells").table
    expected = by_hand()
    assert list(table.columns[:6]) == [*KEYS, "id"]
    assert table["id"].tolist() == expected["label"].tolist()
    assert table["count"].tolist() == expected["area"].tolist()
    np.testing.assert_allclose(table["mean_0"], expected["intensity_mean"], rtol=1e-12)


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_function_without_a_name(template: Path, kind: str) -> None:
    factor = 2
    results = map_fields(
        lambda ds: {"twice": factor * ds.image.mean()}, template, scheduler=kind, workers=1
    )
    np.testing.assert_allclose(results.table["twice"], np.multiply(2, means()), rtol=1e-12)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_a_function_gets(tmp_path: Path, version: str) -> None:
    seen: list[xr.Dataset] = []

    def look(ds: xr.Dataset) -> dict[str, Any]:
        seen.append(ds.load())
        return {"name": f"{ds.well.item()}/{ds.field.item()}", "row_too": ds.row}

    root = put_plate(tmp_path / "plate.zarr", version=version, acquisitions=False)
    table = map_fields(look, root, wells=["B/*", "A/1"], fields=1, level=1, workers=1).table
    # Where no acquisition is told, there is no column of it.
    assert list(table.columns) == [*KEYS[:-1], "name", "row_too"]
    assert table["name"].tolist() == ["A/1/1", "B/1/1"]
    assert table["row_too"].tolist() == ["A", "B"]
    expected = opened(root / "A/1/1", level=1).assign_coords(
        well="A/1", row="A", column="1", field="1"
    )
    xr.testing.assert_identical(seen[0], expected)


def test_label_images_that_are_there_are_given(plate: Path) -> None:
    map_fields(segment, plate, write_labels="nuclei")
    counts = map_fields(lambda ds: {"n": ds.nuclei.max()}, plate, labels=["nuclei"]).table["n"]
    assert counts.tolist() == by_hand().groupby(["well", "field"]).size().tolist()


def test_a_filtered_table_of_wells(template: Path) -> None:
    table = pd.DataFrame({"well": ["A/1", "B/1"], "treatment": ["none", "much"]})
    results = map_fields(mean, template, wells=table[table.treatment == "much"])
    assert results.done == ("B/1/0", "B/1/1")


def test_rows_are_in_the_order_of_the_plate(template: Path, tmp_path: Path) -> None:
    """The first field waits for the last one."""
    last = threading.Event()

    def late(ds: xr.Dataset) -> dict[str, str]:
        name = f"{ds.well.item()}/{ds.field.item()}"
        if name == FIELDS[0]:
            assert last.wait(60)
        if name == FIELDS[-1]:
            last.set()
        return {"name": name}

    output = tmp_path / "names.csv"
    results = map_fields(late, template, output=output, workers=2)
    assert results.table["name"].tolist() == list(FIELDS)
    assert results.done == FIELDS
    # In the file, rows stand as they came.
    assert pd.read_csv(output)["name"].tolist()[0] == FIELDS[1]
    later = map_fields(late, template, output=output, wells="B/1")
    assert later.table["name"].tolist() == list(FIELDS)


def test_a_failure_says_where(template: Path) -> None:
    with pytest.warns(OmeZarrWarning, match="and 1 more"):
        results = map_fields(lambda ds: ds.attrs[7], template)
    assert "ds.attrs[7]" in results.failures["B/1/1"].traceback
    assert str(results.failures["B/1/1"]) == "KeyError: 7"


def test_what_a_failure_quotes_commands_no_terminal(template: Path) -> None:
    def rude(_: xr.Dataset) -> None:
        message = "\x1b[2J\u202e"
        raise ValueError(message)

    with pytest.warns(OmeZarrWarning):
        results = map_fields(rude, template, wells="A/1", fields=0)
    assert results.failures["A/1/0"].message == "ValueError: \\x1b[2J\\u202e"
    assert "\x1b" not in str(results) + results.failures["A/1/0"].traceback


def test_label_images_without_a_name(template: Path, tmp_path: Path) -> None:
    """It would be the same in all fields: it ends with the first."""
    calls: list[int] = []

    def noted(ds: xr.Dataset) -> object:
        calls.append(1)
        return ds.image

    with pytest.raises(OmeZarrError, match=r"Say by write_labels= under which name it goes"):
        map_fields(noted, template, output=tmp_path / "t.csv", workers=1)
    assert len(calls) == 1


def test_label_images_that_do_not_fit(plate: Path) -> None:
    def smaller(ds: xr.Dataset) -> object:
        image = ds.image.isel(c=0)
        return image.isel(x=slice(1, None)) if ds.field == "0" else image

    with pytest.warns(OmeZarrWarning, match="3 fields done, 0 skipped, 3 failed"):
        results = map_fields(smaller, plate, write_labels="part")
    assert "Labels lie on the pixels of their image" in results.failures["A/1/0"].message
    with pytest.warns(OmeZarrWarning, match="gave no label image, but write_labels='other'"):
        map_fields(mean, plate, write_labels="other")
    assert list(opened(plate, group="A/1/1").data_vars) == ["image", "part"]


def test_a_field_that_is_broken(plate: Path) -> None:
    shutil.rmtree(plate / "A/2/1")
    with pytest.warns(OmeZarrWarning, match="'A/2/1': OmeZarrFileNotFoundError"):
        results = map_fields(mean, plate)
    assert list(results.failures) == ["A/2/1"]
    assert len(results.table) == 5


def test_label_images_of_others(plate: Path, tmp_path: Path) -> None:
    map_fields(segment, plate, wells="A/1", write_labels="nuclei")
    output = tmp_path / "cells.csv"
    with pytest.warns(OmeZarrWarning, match="'nuclei' already, which is not of this output"):
        results = map_fields(segment, plate, output=output, write_labels="nuclei")
    assert list(results.failures) == ["A/1/0", "A/1/1"]
    check_table(results.table, by_hand(FIELDS[2:]))
    # Without a table, the label images are what says what is done.
    assert map_fields(segment, plate, write_labels="nuclei").skipped == FIELDS

    def ones(ds: xr.Dataset) -> object:
        return xr.ones_like(ds.image.isel(c=0))

    results = map_fields(ones, plate, write_labels="nuclei", overwrite_labels=True, wells="A/1")
    assert results.done == ("A/1/0", "A/1/1")
    assert (opened(plate, group="A/1/1").nuclei == 1).all()
    results = map_fields(
        segment, plate, output=output, write_labels="nuclei", overwrite_labels=True
    )
    assert results.done == ("A/1/0", "A/1/1")
    check_table(results.table, by_hand())
    check_labels(plate)


def test_a_bar_counts_fields(
    template: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with xarray_omezarr.set_options(progress=True):
        map_fields(mean, template)
    assert "6/6" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wells": "C/1"}, "no well 'C/1'"),
        ({"fields": 5}, "no well has any of the fields"),
        ({"workers": 0}, "workers=0: expected how many"),
        ({"workers": True}, "workers=True"),
        ({"scheduler": "quick"}, "scheduler='quick': expected 'threads', 'processes'"),
        ({"output": "cells.xlsx"}, "ends in .csv or .parquet"),
        ({"output": "s3://bucket/cells.csv"}, "expected a path on this machine"),
        ({"output": 3}, "expected a path on this machine"),
        ({"write_labels": "a/b"}, "cannot be called 'a/b'"),
        ({"write_labels": "n", "level": 1}, "lie on the finest pixels"),
        ({"function": "mean"}, "expected a function"),
        ({"function": threading.Lock().acquire, "scheduler": "processes"},
         "cannot be sent to other processes.*threads"),
        ({"group": "A/1"}, "is a single well; expected the group of a plate"),
        ({"group": "A/1/0"}, "is an image; expected the group of a plate"),
        ({"group": "C"}, "C"),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_runs(
    template: Path, options: dict[str, Any], message: str
) -> None:
    before = files(template)
    function = options.pop("function", mean)
    with pytest.raises(OmeZarrError, match=message):
        map_fields(function, template, **options)
    assert files(template) == before
