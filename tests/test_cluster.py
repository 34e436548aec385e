"""The same bytes from threads, from processes and from a cluster, though a worker is killed."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pytest
import xarray as xr

from tests.helpers import opened
from xarray_omezarr import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributed import Client

SHAPE = (24, 160, 200)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 10}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def pixels() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 4000, SHAPE, dtype=np.uint16)


def image(data: object) -> xr.DataArray:
    return xr.DataArray(data, dims=("z", "y", "x"), name="image")


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def write(array: xr.DataArray, path: Path, **options: Any) -> dict[str, bytes]:  # noqa: ANN401
    array.omezarr.to_zarr(path, levels=3, chunks={"z": 8, "y": 64, "x": 64}, **options)
    return files(path)


def by_threads(array: xr.DataArray, path: Path) -> dict[str, bytes]:
    with dask.config.set(scheduler="threads"):
        return write(array, path)


@pytest.mark.parametrize("kind", ["numpy", "dask", "opened"])
def test_a_cluster_writes_the_same_bytes(tmp_path: Path, client: Client, kind: str) -> None:
    expected = by_threads(image(pixels()), tmp_path / "threads")
    array = image(pixels())
    if kind == "dask":
        array = array.chunk(z=5, y=70, x=64)
    elif kind == "opened":
        array = opened(tmp_path / "threads").image
    assert write(array, tmp_path / "cluster") == expected
    task = array.omezarr.to_zarr(
        tmp_path / "later", levels=3, chunks={"z": 8, "y": 64, "x": 64}, compute=False
    )
    client.compute(task).result()
    assert files(tmp_path / "later") == expected


def deadly(block: np.ndarray[Any, Any], marker: str) -> np.ndarray[Any, Any]:
    """Kill the process that gets here first."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return block
    os.kill(os.getpid(), signal.SIGKILL)
    return block


@pytest.mark.usefixtures("client")
def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    expected = by_threads(image(pixels()), tmp_path / "threads")
    data: Any = image(pixels()).chunk(z=8, y=64, x=64).data
    data = data.map_blocks(deadly, str(tmp_path / "marker"), dtype=np.uint16, meta=data._meta)
    assert write(image(data), tmp_path / "cluster") == expected
    assert (tmp_path / "marker").exists()


def test_labels_and_a_bar_on_a_cluster(
    tmp_path: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:

    ds = samples.coins()
    with dask.config.set(scheduler="threads"):
        ds.omezarr.to_zarr(tmp_path / "threads")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    ds.chunk(y=100).omezarr.to_zarr(tmp_path / "cluster", progress=True)
    assert client.status == "running"
    assert "100%" in capsys.readouterr().err
    assert files(tmp_path / "cluster") == files(tmp_path / "threads")


@pytest.mark.parametrize("kind", ["numpy", "dask"])
def test_processes_write_the_same_bytes(tmp_path: Path, kind: str) -> None:
    array = image(pixels())
    expected = by_threads(array, tmp_path / "threads")
    with dask.config.set(scheduler="processes", num_workers=2):
        found = write(array if kind == "numpy" else array.chunk(z=8), tmp_path / "processes")
    assert found == expected
