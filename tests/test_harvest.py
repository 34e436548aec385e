"""What a function may give for a field, and what it may not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.screening import FIELDS, KEYS, mean, means
from xarray_omezarr import OmeZarrWarning, map_fields

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("give", "expected"),
    [
        (lambda _: {"a": 1, "b": np.float32(0.5), "c": "x"}, {"a": [1], "b": [0.5], "c": ["x"]}),
        (lambda ds: {"a": ds.image.min() * 0}, {"a": [0]}),
        (lambda ds: {"a": ds.image.chunk().min() * 0}, {"a": [0]}),
        (lambda _: pd.DataFrame({"a": [1, 2], 7: [3, 4]}), {"a": [1, 2], "7": [3, 4]}),
        (
            lambda _: pd.DataFrame({"a": [1, 2]}, index=pd.Index([5, 6], name="id")),
            {"id": [5, 6], "a": [1, 2]},
        ),
        (lambda _: pd.DataFrame({"a": [1, 2]}, index=[5, 6]), {"a": [1, 2]}),
        (lambda _: xr.Dataset({"a": ("id", [1, 2])}, {"id": [5, 6]}), {"id": [5, 6], "a": [1, 2]}),
        (lambda _: xr.Dataset({"a": 3}), {"a": [3]}),
        (
            lambda ds: ds.drop_vars("image").assign(a=("id", [1, 2])),
            {"a": [1, 2]},
        ),
        (lambda ds: ds.image.mean(("y", "x")).to_dataset(name="a") * 0, {"c": [0, 1], "a": [0, 0]}),
        (lambda _: pd.DataFrame(), {}),
        (lambda _: pd.DataFrame({"a": []}), {"a": []}),
    ],
    ids=[
        "dict", "arrays", "dask", "frame", "index", "numbers", "table", "single", "beside", "field",
        "nothing", "no rows",
    ],
)  # fmt: skip
def test_what_a_table_may_be(
    template: Path, give: Callable[[xr.Dataset], object], expected: dict[str, list[Any]]
) -> None:
    table = map_fields(give, template, wells="A/2", fields=0).table
    count = len(next(iter(expected.values()), ()))
    assert len(table) == count
    if not count:
        assert list(table.columns) == KEYS
        return
    assert table["well"].tolist() == ["A/2"] * count
    for name, values in expected.items():
        assert table[name].tolist() == values


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda _: None, "gave None"),
        (lambda _: 3, "gave int; expected a table"),
        (lambda ds: ds.image.values, r"gave ndarray.*copy\(data="),
        (lambda ds: ds, "a Dataset with the dimensions"),
        (lambda ds: ds.image.max(), "single value"),
        (lambda ds: ds.image > 3, "type bool; labels are integers"),
        (lambda ds: ds.image * 0.5, "type float64; labels are integers"),
        (lambda ds: (ds.image, ds.image), "tuple of both"),
        (lambda _: (), "tuple of both"),
        (lambda _: ({}, {}), "tuple of both"),
        (lambda _: {"a": [1, 2]}, "'a' is a list"),
        (lambda _: {"a": np.arange(2)}, r"'a' has the shape \(2,\)"),
        (lambda _: pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns of the name 'a'"),
        (lambda _: {"well": "C/1"}, "has a column 'well'"),
        (lambda _: 1 // 0, "ZeroDivisionError: integer division"),
        (lambda _: sys.exit(3), "SystemExit: 3"),
    ],
    ids=[
        "None", "int", "array", "field", "single", "bool", "float", "images", "empty",
        "tables", "list", "values", "twice", "key", "error", "exit",
    ],
)  # fmt: skip
def test_nonsense_is_a_failure_of_its_field(
    template: Path, give: Callable[[xr.Dataset], object], message: str
) -> None:
    def one(ds: xr.Dataset) -> object:
        return give(ds) if ds.well == "A/2" and ds.field == "0" else mean(ds)

    with pytest.warns(OmeZarrWarning, match=r"5 fields done, 0 skipped, 1 failed\.\n  'A/2/0': "):
        results = map_fields(one, template)
    assert list(results.failures) == ["A/2/0"]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(results.failures["A/2/0"])
    others = [path for path in FIELDS if path != "A/2/0"]
    assert results.done == tuple(others)
    np.testing.assert_allclose(results.table["mean"], means(others), rtol=1e-12)
