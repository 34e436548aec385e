"""What it costs: requests to the store, and what importing the package brings along."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from tests.helpers import (
    VERSIONS,
    Sample,
    WatchedStore,
    opened,
    opened_tree,
    pixels,
    put_array,
    put_document,
    put_sample,
    served,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Place

METADATA = (".json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")

LATENCY = 0.1
"""Seconds until a store answers: requests made side by side overlap."""

LIMITS = {"0.4": (6, 3), "0.5": (3, 2)}
"""Requests and rounds that opening one level may take."""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sample(version: str) -> Sample:
    return put_sample(MemoryStore(), version=version)


def other_levels(sample: Sample, keys: list[str], level: int) -> list[str]:
    """Keys that belong to another level than the one asked for."""
    others = [path for index, path in enumerate(sample.paths) if index != level]
    return [key for key in keys for path in others if f"/{key}/".find(f"/{path}/") >= 0]


# ── opening ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("level", [0, 1, -1])
@pytest.mark.parametrize("chunks", [None, {}], ids=["lazy", "dask"])
@pytest.mark.parametrize("handed", ["store", "group"])
def test_opening_one_level(
    sample: Sample,
    version: str,
    level: int,
    chunks: dict[str, int] | None,
    handed: str,
) -> None:
    watched = WatchedStore(sample.store, latency=LATENCY)
    place: Place = watched if handed == "store" else zarr.open_group(watched, mode="r")
    watched.log.clear()
    opened(place, level=level, chunks=chunks)
    requests, rounds = LIMITS[version]
    assert len(watched.log.requests) <= requests
    assert watched.log.rounds <= rounds
    asked = watched.log.keys()
    assert not other_levels(sample, asked, level % 3)
    assert all(key.endswith(METADATA) for key in asked)


def test_opening_all_levels(sample: Sample, version: str) -> None:
    watched = WatchedStore(sample.store, latency=LATENCY)
    opened_tree(watched)
    requests, rounds = LIMITS[version]
    assert len(watched.log.requests) <= (6 if version == "0.5" else requests + 2 * 2)
    assert watched.log.rounds <= rounds
    asked = watched.log.keys()
    assert all(key.endswith(METADATA) for key in asked)


def test_levels_are_fetched_side_by_side() -> None:
    """A tree of n levels takes n + 3 requests, and no more rounds for more levels."""
    store, count = MemoryStore(), 12
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [2.0**level] * 2}],
        }
        for level in range(count)
    ]
    axes = [{"name": name, "type": "space"} for name in "yx"]
    put_document(store, {"multiscales": [{"axes": axes, "datasets": datasets}]}, version="0.5")
    for level in range(count):
        shape = (count - level,) * 2
        put_array(store, str(level), pixels(shape), version="0.5", dims="yx")
    watched = WatchedStore(store, latency=LATENCY)
    assert len(opened_tree(watched).children) == count
    assert len(watched.log.requests) <= count + 3
    assert watched.log.rounds <= 2


@pytest.mark.parametrize("slash", ["", "/"])
def test_opening_over_http(tmp_path: Path, version: str, slash: str) -> None:
    sample = put_sample(tmp_path / "image", version=version)
    with served(tmp_path) as (url, asked):
        opened(f"{url}/image{slash}", level=1)
        assert len(asked) <= LIMITS[version][0]
        assert not other_levels(sample, [request.path for request in asked], 1)
        asked.clear()
        opened_tree(f"{url}/image{slash}")
        if version == "0.5":
            assert len(asked) <= len(sample.paths) + 3


@pytest.mark.filterwarnings("ignore:Consolidated metadata:UserWarning")
@pytest.mark.parametrize("where", ["v2", "v3"])
def test_consolidated_metadata_are_not_trusted(tmp_path: Path, where: str) -> None:
    version = {"v2": "0.4", "v3": "0.5"}[where]
    sample = put_sample(tmp_path, version=version)
    zarr.consolidate_metadata(tmp_path, zarr_format=2 if where == "v2" else 3)
    if where == "v2":
        file = tmp_path / ".zmetadata"
        stale = json.loads(file.read_text())
        stale["metadata"][".zattrs"]["multiscales"][0]["name"] = "stale"
        stale["metadata"][f"{sample.paths[0]}/.zarray"]["shape"] = [1, 1, 1]
    else:
        file = tmp_path / "zarr.json"
        stale = json.loads(file.read_text())
        held = stale["consolidated_metadata"]["metadata"]
        held[sample.paths[0]]["shape"] = [1, 1, 1]
    file.write_text(json.dumps(stale))
    for place in (tmp_path, zarr.open_group(tmp_path, mode="r", use_consolidated=True)):
        ds, tree = opened(place), opened_tree(place)
        np.testing.assert_array_equal(ds.image, sample.levels[0])
        np.testing.assert_array_equal(tree["0"].image, sample.levels[0])
    xr.testing.assert_identical(opened(tmp_path).load(), sample.dataset())


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chunks", [None, {}], ids=["lazy", "dask"])
def test_a_crop_reads_its_chunks_only(sample: Sample, chunks: dict[str, int] | None) -> None:
    watched = WatchedStore(sample.store)
    ds = opened(watched, chunks=chunks)
    watched.log.clear()
    crop = ds.isel(y=slice(18, 30), x=slice(0, 16)).load()
    np.testing.assert_array_equal(crop.image, sample.levels[0][:, 18:30, :16])
    read = [key for key in watched.log.keys("get") if not key.endswith(METADATA)]
    assert len(read) == 1
    # What tells a missing chunk from a superseded array is asked only where a chunk is missing.
    assert watched.log.requests == [("get", read[0])]


def test_a_selection_costs_nothing(sample: Sample) -> None:
    watched = WatchedStore(sample.store)
    tree = opened_tree(watched)
    watched.log.clear()
    cropped = tree.sel(y=slice(12.0, 20.0), c="GFP")
    assert "image" in repr(cropped)
    assert cropped["0"].to_dataset().omezarr.scale == {"y": 0.5, "x": 0.25}
    assert not watched.log.requests


# ── importing ────────────────────────────────────────────────────────────────────────────────────

HEAVY = ("click", "dask", "distributed", "fsspec", "numcodecs", "scipy", "skimage", "zarr")

IMPORTS = """
import sys
import xarray
before = set(sys.modules)
{statement}
brought = set(sys.modules) - before
print(*sorted({{name.partition(".")[0] for name in brought}} & set({heavy!r})))
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import xarray_omezarr",
        "import xarray_omezarr.backend",
        "import xarray_omezarr; xarray.Dataset().omezarr; xarray_omezarr.OmeZarrError",
        "from xarray_omezarr import samples",
    ],
)
def test_import(statement: str) -> None:
    script = IMPORTS.format(statement=statement, heavy=HEAVY)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        check=True,
        text=True,
    )
    assert result.stdout.split() == []


def test_guessing_imports_nothing_heavy(tmp_path: Path) -> None:
    """Every `xr.open_dataset` without an engine asks ours."""
    (tmp_path / "other.zarr").mkdir()
    asked = [str(tmp_path / "other.zarr"), "https://nowhere.invalid/a.nc", "nowhere.nc"]
    guesses = "\n".join(
        [
            "from xarray_omezarr.backend import OmeZarrBackendEntrypoint",
            *(f"OmeZarrBackendEntrypoint().guess_can_open({path!r})" for path in asked),
        ],
    )
    script = IMPORTS.format(statement=guesses, heavy=HEAVY)
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        text=True,
    )
    assert result.stdout.split() == []
