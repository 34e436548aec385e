"""Tables that grow field by field: as they are on the disk, killed at any moment, and continued."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from tests.helpers import files, put_sample
from tests.plating import put_wells
from tests.screening import (
    FIELDS,
    KEYS,
    by_hand,
    check_labels,
    check_table,
    killed,
    mean,
    means,
    segment,
    table_of,
)
from xarray_omezarr import OmeZarrError, OmeZarrWarning, assays, ledgers, map_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_is_done_is_skipped(plate: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / "new" / f"cells.{suffix}"
    calls: list[str] = []

    def noted(ds: xr.Dataset) -> tuple[pd.DataFrame, xr.DataArray]:
        path = f"{ds.well.item()}/{ds.field.item()}"
        calls.append(path)
        if path == "A/1/1" and calls.count(path) == 1:
            raise OSError(path)
        return segment(ds)

    def run(wells: str | None = None) -> assays.FieldResults:
        return map_fields(noted, plate, output=output, wells=wells, write_labels="n", workers=1)

    with pytest.warns(OmeZarrWarning, match="'A/1/1': OSError: A/1/1"):
        first = run("A/*")
    assert first.done == ("A/1/0", "A/2/0", "A/2/1")
    second = run()
    assert calls == ["A/1/0", "A/1/1", "A/2/0", "A/2/1", "A/1/1", "B/1/0", "B/1/1"]
    assert (second.done, second.skipped) == (("A/1/1", "B/1/0", "B/1/1"), first.done)
    check_table(second.table, by_hand())
    third = run()
    assert (third.done, third.skipped) == ((), FIELDS)
    check_table(third.table, by_hand())
    check_labels(plate, "n")
    # What others make of it.
    others = pd.read_parquet(output) if suffix == "parquet" else pd.read_csv(output)
    assert len(others) == len(by_hand())


@pytest.mark.parametrize("suffix", [None, "csv", "parquet"])
def test_fields_with_other_columns(template: Path, tmp_path: Path, suffix: str | None) -> None:
    def varied(ds: xr.Dataset) -> pd.DataFrame:
        field, well = ds.field.item(), ds.well.item()
        if well == "A/2":
            return pd.DataFrame({"b": [0.5], "a, or\nso": ["x\ny"]})
        if well == "B/1":
            return pd.DataFrame()
        return pd.DataFrame({"b": [1.0, 2.0], "text": [f'"{field}",', "é"]})

    output = None if suffix is None else tmp_path / f"t.{suffix}"
    table = map_fields(varied, template, output=output, workers=1).table
    assert list(table.columns) == [*KEYS, "b", "text", "a, or\nso"]
    assert table["b"].tolist() == [1.0, 2.0, 1.0, 2.0, 0.5, 0.5]
    assert table["text"].dropna().tolist() == ['"0",', "é", '"1",', "é"]
    assert table["a, or\nso"].dropna().tolist() == ["x\ny", "x\ny"]
    if output is not None:
        again = map_fields(varied, template, output=output)
        assert again.skipped == FIELDS
        pd.testing.assert_frame_equal(again.table, table)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_fields_without_a_row_are_done_too(template: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"t.{suffix}"
    results = map_fields(lambda _: pd.DataFrame(), template, output=output)
    assert results.done == FIELDS
    assert list(results.table.columns) == KEYS
    assert not len(results.table)
    assert map_fields(mean, template, output=output).skipped == FIELDS


def test_names_stay_text(tmp_path: Path) -> None:
    root, output = tmp_path / "plate.zarr", tmp_path / "t.csv"
    put_wells(root, {"NA/01": {"007": None}})
    put_sample(root, group="NA/01/007")
    map_fields(mean, root, output=output)
    (row,) = map_fields(mean, root, output=output).table.to_dict("records")
    assert [row[key] for key in KEYS[:-1]] == ["NA/01", "NA", "01", "007"]


def _die_writing(number: int, *, half: bool) -> None:
    """Kill this process at one of its writings to journal or table, before or within it."""
    write, count = ledgers._write_all, iter(range(10**6))

    def deadly(handle: int, content: bytes) -> None:
        if next(count) == number:
            write(handle, content[: len(content) // 2 if half else 0])
            os.kill(os.getpid(), signal.SIGKILL)
        write(handle, content)

    ledgers._write_all = deadly


def _run_to_death(root: Path, output: Path, number: int, half: bool) -> None:  # noqa: FBT001
    _die_writing(number, half=half)
    map_fields(segment, root, output=output, write_labels="nuclei", workers=1, scheduler="threads")


@pytest.mark.parametrize(
    ("number", "half"),
    [(0, False), (0, True), (1, False), (1, True), (2, True), (5, False), (5, True), (17, True)],
)
def test_a_run_that_is_killed_is_continued(
    plate: Path, tmp_path: Path, number: int, *, half: bool
) -> None:
    output = tmp_path / "cells.csv"
    killed(_run_to_death, plate, output, number, half)
    # Begun, done, rows: of each field three are written.
    whole = number // 3
    if whole:
        left = pd.read_csv(
            output, dtype=dict.fromkeys(KEYS[:-1], str), nrows=len(by_hand(FIELDS[:whole]))
        )
        check_table(left, by_hand(FIELDS[:whole]))
    results = map_fields(segment, plate, output=output, write_labels="nuclei")
    assert results.skipped == FIELDS[:whole]
    assert results.done == FIELDS[whole:]
    check_table(results.table, by_hand())
    check_labels(plate)
    check_table(pd.read_csv(output, dtype=dict.fromkeys(KEYS[:-1], str)).sort_values(
        ["well", "field"], kind="stable"), by_hand())  # fmt: skip


def _part_to_death(root: Path, output: Path, number: int) -> None:
    replace, count = Path.replace, iter(range(10**6))

    def deadly(path: Path, target: Path) -> Path:
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(path, target)

    if number < 0:
        _die_writing(-number, half=True)
    Path.replace = deadly  # type: ignore[method-assign, assignment]
    map_fields(table_of, root, output=output, workers=1, scheduler="threads")


@pytest.mark.parametrize("number", [0, 3, -2])
def test_a_parquet_table_is_continued(plate: Path, tmp_path: Path, number: int) -> None:
    """A part is there whole or not at all; the journal may not know of it yet."""
    output = tmp_path / "cells.parquet"
    killed(_part_to_death, plate, output, number)
    whole = abs(number)
    results = map_fields(table_of, plate, output=output)
    assert results.skipped == FIELDS[:whole]
    check_table(results.table, by_hand())
    check_table(pd.read_parquet(output).sort_values(["well", "field"], kind="stable"), by_hand())


def _frame(field: str, **columns: Sequence[object]) -> pd.DataFrame:
    return pd.DataFrame({"well": "A/1", "field": field, **columns})


ROWS = [_frame("0", a=[1, 2]), _frame("1", a=[3]), _frame("2", b=['"x,\ny"'], a=[4])]


def _widen_to_death(output: Path, number: int) -> None:
    """Kill this process at one of the steps by which a table gets another column."""
    ledger = ledgers.open_ledger(output, ["well", "field"])
    ledger.add("A/1/0", ROWS[0])
    ledger.add("A/1/1", ROWS[1])
    count = iter(range(10**6))

    def step(real: Callable[..., Any]) -> Callable[..., Any]:
        def deadly(*args: Any, **options: Any) -> Any:  # noqa: ANN401
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        return deadly

    for owner, name in (
        (Path, "write_bytes"), (Path, "replace"), (Path, "unlink"), (ledgers, "_write_all"),
    ):  # fmt: skip
        setattr(owner, name, step(getattr(owner, name)))
    ledger.add("A/1/2", ROWS[2])


@pytest.mark.parametrize("number", range(7))
def test_a_table_that_was_becoming_wider(tmp_path: Path, number: int) -> None:
    """Write, put in place the new journal, the new table; take over, remove; journal and rows."""
    output = tmp_path / "t.csv"
    killed(_widen_to_death, output, number)
    ledger = ledgers.open_ledger(output, ["well", "field"])
    assert ledger.done == {"A/1/0", "A/1/1"}
    before = ledger.read()
    assert before["a"].tolist() == [1, 2, 3]
    ledger.add("A/1/2", ROWS[2])
    ledger.close()
    table = ledger.read()
    assert table["a"].tolist() == [1, 2, 3, 4]
    assert table["b"].isna().tolist() == [True, True, True, False]
    assert table["b"].tolist()[-1] == '"x,\ny"'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.csv.journal"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_outputs_that_are_not_ours(template: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        output.write_text("well,mine\nA/1,1\n")
    else:
        output.mkdir()
        (output / "mine.parquet").touch()
    before = files(tmp_path)
    with pytest.raises(OmeZarrError, match=r"nothing (beside|in) it says which fields"):
        map_fields(mean, template, output=output)
    assert files(tmp_path) == before


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_two_runs_into_one_output(template: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"t.{suffix}"

    def again(_: xr.Dataset) -> object:
        return map_fields(mean, template, output=output, wells="A/1").table

    with pytest.warns(OmeZarrWarning, match="is being written to by another run"):
        map_fields(again, template, output=output, wells="A/1")
    assert map_fields(mean, template, output=output).done == FIELDS


@pytest.mark.parametrize("change", ["longer", "shorter", "other", "journal"])
def test_an_output_that_was_changed(template: Path, tmp_path: Path, change: str) -> None:
    output, journal = tmp_path / "t.csv", tmp_path / "t.csv.journal"
    map_fields(mean, template, output=output)
    text = output.read_text()
    if change == "longer":
        output.write_text(text + "C/1,C,1,0,3,1\n")
    elif change == "shorter":
        output.write_text("".join(text.splitlines(keepends=True)[:-3]))
    elif change == "other":
        output.write_text(text.replace("A", "a"))
    else:
        journal.write_text("[")
        journal.write_text("[\n")
    before = files(tmp_path)
    with pytest.raises(
        OmeZarrError, match=r"changed by somebody else|is not the journal of t\.csv"
    ):
        map_fields(mean, template, output=output)
    assert files(tmp_path) == before
    # Who removes the table wants a new one.
    if change != "journal":
        output.unlink()
        assert map_fields(mean, template, output=output).done == FIELDS


def test_parquet_without_pyarrow(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name)
    )
    with pytest.raises(OmeZarrError, match=r"needs pyarrow, which is not installed: pip install"):
        map_fields(mean, template, output=tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()


def test_a_parquet_part_that_is_lost_is_made_again(template: Path, tmp_path: Path) -> None:
    output = tmp_path / "t.parquet"
    map_fields(mean, template, output=output)
    next(output.glob("*A%2F2%2F0*")).unlink()
    results = map_fields(mean, template, output=output)
    assert results.done == ("A/2/0",)
    np.testing.assert_allclose(results.table["mean"], means(), rtol=1e-12)


def test_values_that_parquet_has_no_type_for(template: Path, tmp_path: Path) -> None:
    def odd(ds: xr.Dataset) -> pd.DataFrame:
        return pd.DataFrame({"a": [1, "x"] if ds.well == "A/1" else [1, 2]})

    with pytest.warns(OmeZarrWarning, match="'A/1/0': The rows cannot be stored: Arrow"):
        results = map_fields(odd, template, output=tmp_path / "t.parquet")
    assert results.done == FIELDS[2:]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_output_that_cannot_be_written(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    output = tmp_path / f"t.{suffix}"
    write, count = ledgers._write_all, iter(range(10**6))

    def full(handle: int, content: bytes) -> None:
        if next(count) == 3:
            write(handle, content[:5])
            raise OSError(28, "No space left on device")
        write(handle, content)

    monkeypatch.setattr(ledgers, "_write_all", full)
    with pytest.raises(OmeZarrError, match=r"cannot be written to: .*No space left.*run it again"):
        map_fields(mean, template, output=output, workers=1)
    results = map_fields(mean, template, output=output)
    assert len(results.skipped) >= 1
    assert set(results.skipped) | set(results.done) == set(FIELDS)
    np.testing.assert_allclose(results.table["mean"], means(), rtol=1e-12)
