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

from tests.helpers import cluster, opened
from tests.plating import put_field, put_screen, put_wells
from xarray_omezarr import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributed import Client

SHAPE = (24, 160, 200)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with cluster(allowed_failures=10) as client:
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


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("kind", ["numpy", "dask"])
def test_processes_write_the_same_bytes(tmp_path: Path, kind: str) -> None:
    array = image(pixels())
    expected = by_threads(array, tmp_path / "threads")
    with dask.config.set(scheduler="processes", num_workers=2):
        found = write(array if kind == "numpy" else array.chunk(z=8), tmp_path / "processes")
    assert found == expected


# ── plates as arrays ─────────────────────────────────────────────────────────────────────────────

WELLS = [f"{row}/{column}" for row in "ABCDEFGH" for column in range(1, 13)]


def peak() -> int:
    """Say how many bytes a worker has held at the most."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_reductions_over_a_plate_of_96_wells_are_numpys(tmp_path: Path, client: Client) -> None:
    shape = (1024, 1024)
    ramp = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    put_wells(tmp_path, {well: {"0": None} for well in WELLS})
    for number, well in enumerate(WELLS):
        put_field(
            tmp_path, f"{well}/0", dims="yx", values=ramp + np.uint16(number), chunks=(512, 1024),
            origin=[100.0 * number, 0.0],
        )  # fmt: skip
    with xr.open_dataset(tmp_path, engine="omezarr", stack="well", chunks={}) as ds:
        assert ds.image.nbytes == 96 * 2**21
        ds.isel(well=[0, -1]).image.mean().compute()
        before = client.run(peak)
        by_well = ds.image.mean(("y", "x")).compute()
        highest = ds.image.max("well").compute()
        rows = ds.image.groupby(ds.row.compute()).mean(...).compute()
        after = client.run(peak)
    numbers = np.arange(96, dtype=np.uint16)
    expected = [(ramp + number).mean() for number in numbers]
    np.testing.assert_allclose(by_well, expected)
    np.testing.assert_array_equal(highest, np.maximum.reduce([ramp + number for number in numbers]))
    np.testing.assert_allclose(rows, np.reshape(expected, (8, 12)).mean(1))
    assert by_well.y_origin.values.tolist() == (100.0 * numbers).tolist()
    # Two workers never held as much as a third of the plate.
    assert max(after[key] - before[key] for key in after) < 64 * 2**20


@pytest.mark.usefixtures("client")
def test_a_killed_worker_changes_nothing_of_a_reduction(tmp_path: Path) -> None:
    values = put_screen(tmp_path, dict.fromkeys(WELLS[:6], ("0",)))
    ds = xr.open_dataset(tmp_path, engine="omezarr", stack="well", chunks={})
    data = ds.image.data.map_blocks(deadly, str(tmp_path / "marker"), dtype=np.uint16,
                                    meta=np.empty((0,) * 4, np.uint16))  # fmt: skip
    found = ds.image.copy(data=data).sum("well").compute()
    np.testing.assert_array_equal(found, sum(one.astype(np.uint64) for one in values.values()))
    assert (tmp_path / "marker").exists()
