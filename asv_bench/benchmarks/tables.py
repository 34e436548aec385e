"""Properties of a million labels: joining a table to them, writing it, and opening them again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

import xarray_omezarr
from benchmarks import Scratch, parameterized
from xarray_omezarr import properties, samples, tables
from xarray_omezarr.joins import join_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

VERSIONS = ["0.4", "0.5"]
LABELS = 1_000_000
KEYS = "area#l,mean#d,name#s,ratio#d"


def measurements(labels: int = LABELS) -> pd.DataFrame:
    """Give a table of four columns, one of each type but booleans twice floating point."""
    rng = np.random.default_rng(0)
    ids = np.arange(1, labels + 1)
    return pd.DataFrame(
        {
            "cell_id": ids,
            "area": rng.integers(1, 9999, labels),
            "mean": rng.random(labels),
            "name": [f"cell {i}" for i in ids],
            "ratio": rng.random(labels),
        }
    )


def put_labels(path: Path, version: str, entries: Sequence[Mapping[Any, Any]]) -> Path:
    """Write an image whose label image, `labels/0`, has these properties; give their file."""
    samples.circle().rename(circle="0").omezarr.to_zarr(path, version=version)
    file = path / "labels/0" / (".zattrs" if version == "0.4" else "zarr.json")
    document = json.loads(file.read_bytes())
    ome = document if version == "0.4" else document["attributes"]["ome"]
    ome["image-label"]["properties"] = entries
    file.write_text(json.dumps(document))
    return file


def seconds(call: Callable[[], object], repeat: int = 3) -> float:
    """Give the shortest of some runs, in time of this process, which no neighbour touches."""
    runs = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        runs.append(time.process_time() - start)
    return min(runs)


class Join(Scratch):
    """A CSV file of a million rows and four columns, joined to as many labels and written."""

    timeout = 600

    def setup(self, *_args: Any) -> None:
        super().setup()
        self.table = self.directory / "cells.csv"
        measurements().to_csv(self.table, index=False)
        entries = [{"label-value": i} for i in range(1, LABELS + 1)]
        for version in VERSIONS:
            put_labels(self.directory / f"{version}.zarr", version, entries)
        put_labels(self.directory / "theirs.zarr", "0.4", entries)

    def _ours(self, version: str) -> None:
        xarray_omezarr.csv_to_labels(
            self.directory / f"{version}.zarr",
            self.table,
            on="cell_id",
            columns=KEYS,
            overwrite=True,
        )

    @parameterized(version=VERSIONS)
    def time_csv_to_labels(self, version: str) -> None:
        self._ours(version)

    def track_ratio_to_ome_zarr_py(self) -> float:
        """Give our time as a part of theirs; at most 1 is promised."""
        from ome_zarr.csv import csv_to_zarr

        table, image = str(self.table), str(self.directory / "theirs.zarr")
        theirs = seconds(lambda: csv_to_zarr(table, "cell_id", KEYS, image, "label-value"), 1)
        return seconds(lambda: self._ours("0.4"), 1) / theirs

    track_ratio_to_ome_zarr_py.unit = "× ome-zarr-py"  # type: ignore[attr-defined]

    def time_join_to_dataset(self) -> None:
        ids = np.arange(1, LABELS + 1)
        join_csv(samples.circle(), self.table, label="circle", on="cell_id", columns=KEYS, ids=ids)


class Open(Scratch):
    """An image whose labels have a million properties of four keys each."""

    timeout = 600

    def setup(self, *_args: Any) -> None:
        super().setup()
        frame = measurements().rename(columns={"cell_id": "label-value"})
        self.path = self.directory / "image.zarr"
        self.file = put_labels(self.path, "0.5", frame.to_dict("records"))

    def time_open(self) -> None:
        xr.open_dataset(self.path, engine="omezarr", labels=True).close()

    def time_parse_json(self) -> None:
        json.loads(self.file.read_bytes())

    def track_ratio_to_json(self) -> float:
        """Give the time to open as a multiple of parsing the JSON; at most 1.5 is promised."""
        opening = seconds(self.time_open)
        return opening / seconds(self.time_parse_json)

    track_ratio_to_json.unit = "× json.loads"  # type: ignore[attr-defined]

    def track_ratio_of_columns(self) -> float:
        """Give the time that making variables of the parsed JSON takes, as a part of parsing it."""
        ome = json.loads(self.file.read_bytes())["attributes"]["ome"]
        entries = ome["image-label"]["properties"]

        def convert() -> None:
            found = properties.parse(entries, None, place="here", warn=print)
            assert found is not None  # noqa: S101 - there are a million
            tables.variables("0", found)

        return seconds(convert) / seconds(self.time_parse_json)

    track_ratio_of_columns.unit = "× json.loads"  # type: ignore[attr-defined]
