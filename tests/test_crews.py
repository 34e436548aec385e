"""Workers that segment and measure: where they are, what they hold, and what is when they die."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import dask
import pytest
import xarray as xr
import zarr
import zarr.storage

from tests.helpers import multiscales, opened, put_document, put_sample
from tests.plating import put_wells
from tests.screening import FIELDS, by_hand, check_labels, check_table, killed, mean, segment
from xarray_omezarr import OmeZarrError, OmeZarrWarning, map_fields

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from distributed import Client


def test_no_more_fields_are_under_way_than_there_are_workers(template: Path) -> None:
    lock, meeting = threading.Lock(), threading.Barrier(2)
    inside, most = [0], [0]

    def count(ds: xr.Dataset) -> dict[str, int]:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        # Two at a time, always.
        meeting.wait(60)
        with lock:
            inside[0] -= 1
        return {"size": ds.image.size}

    map_fields(count, template, workers=2)
    assert most[0] == 2


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay down 16 fields of 8 MiB, of zeros: chunks that are not there."""
    root, numbers = tmp_path_factory.mktemp("large") / "plate.zarr", range(16)
    put_wells(root, {f"A/{i}": {"0": None} for i in numbers})
    image = multiscales("yx", ["0"], [(1.0, 1.0)], [(0.0, 0.0)])
    for i in numbers:
        put_document(root, {"multiscales": [image]}, version="0.5", group=f"A/{i}/0")
        zarr.create_array(
            root,
            name=f"A/{i}/0/0",
            shape=(2048, 2048),
            chunks=(2048, 2048),
            dtype="uint16",
            fill_value=0,
            dimension_names=["y", "x"],
        )
    return root


def test_fields_leave_the_memory(large: Path, tmp_path: Path) -> None:
    map_fields(mean, large, workers=1, wells="A/0")
    tracemalloc.start()
    try:
        results = map_fields(mean, large, output=tmp_path / "t.csv", workers=1)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(results.done) == 16
    assert most < 3 * 2**23


def peak(ds: xr.Dataset) -> dict[str, int]:
    """Tell how much memory this process has ever had, when it has read another field."""
    assert ds.image.values.max() == 0
    return {"pid": os.getpid(), "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def test_fields_leave_the_memory_of_a_cluster(large: Path, client: Client) -> None:
    tracemalloc.start()
    try:
        table = map_fields(peak, large, scheduler=client).table
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # No pixels come here,
    assert most < 2**22
    # and of its eight fields a worker has one.
    grown = table.groupby("pid")["peak"].agg(lambda peaks: peaks.max() - peaks.min())
    assert grown.max() * 2**10 < 4 * 2**23


def where(ds: xr.Dataset) -> dict[str, Any]:
    return {"pid": os.getpid(), "scheduler": dask.config.get("scheduler"), "size": ds.image.size}


def test_workers_are_where_dask_is_set_to(
    template: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = set(client.run(os.getpid).values())
    with client.as_current(), dask.config.set(scheduler=client):
        table = map_fields(where, template).table
    assert set(table["pid"]) <= pids
    with dask.config.set(scheduler="threads"):
        assert set(map_fields(where, template).table["pid"]) == {os.getpid()}
    asked: list[str] = []

    class Refused(Exception):  # noqa: N818
        pass

    def refuse(*_: object) -> None:
        asked.append("processes")
        raise Refused

    monkeypatch.setattr("xarray_omezarr.crews._Processes", refuse)
    with dask.config.set(scheduler="processes"), pytest.raises(Refused):
        map_fields(where, template)


def test_a_relative_path_is_one_of_this_process(
    template: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(template.parent)
    assert map_fields(mean, template.name, scheduler=client).done == FIELDS


@pytest.mark.parametrize("kind", ["threads", "cluster"])
def test_dask_computes_where_the_worker_is(template: Path, client: Client, kind: str) -> None:
    scheduler: Any = client if kind == "cluster" else kind
    before = dask.config.get("scheduler", None)
    table = map_fields(where, template, scheduler=scheduler).table
    assert set(table["scheduler"]) == {"synchronous"}
    assert dask.config.get("scheduler", None) == before
    assert set(client.run(dask.config.get, "scheduler", None).values()) != {"synchronous"}


def deadly(ds: xr.Dataset, marker: str) -> tuple[pd.DataFrame, xr.DataArray]:
    """Kill the process that gets to one of the fields; once, where there is a marker."""
    if ds.well == "A/2" and ds.field == "0":
        if marker:
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return segment(ds)
        os.kill(os.getpid(), signal.SIGKILL)
    return segment(ds)


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("kind", ["processes", "cluster"])
def test_a_worker_that_is_killed_changes_nothing(
    plate: Path, tmp_path: Path, kind: str, client: Client
) -> None:
    marker = tmp_path / "marker"
    results = map_fields(
        lambda ds: deadly(ds, str(marker)),
        plate,
        output=tmp_path / "cells.csv",
        write_labels="nuclei",
        scheduler=client if kind == "cluster" else kind,
        workers=2,
    )
    assert marker.exists()
    assert results.done == FIELDS
    check_table(results.table, by_hand())
    check_labels(plate)


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("kind", ["processes", "cluster"])
def test_a_field_that_kills_its_workers_is_a_failure(
    plate: Path, tmp_path: Path, kind: str, client: Client
) -> None:
    scheduler: Any = client if kind == "cluster" else kind
    output = tmp_path / "cells.csv"
    with pytest.warns(OmeZarrWarning, match="'A/2/0': The worker was lost that worked on it"):
        results = map_fields(
            lambda ds: deadly(ds, ""), plate, output=output, scheduler=scheduler, workers=2,
            write_labels="nuclei",
        )  # fmt: skip
    others = [path for path in FIELDS if path != "A/2/0"]
    assert results.done == tuple(others)
    check_table(results.table, by_hand(others))
    check_labels(plate, paths=others)
    results = map_fields(segment, plate, output=output, write_labels="nuclei")
    assert results.done == ("A/2/0",)
    check_table(results.table, by_hand())


class Bomb:
    """Kills the first process that tries to send it: its label image is written by then."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return str, ("sent",)
        os.kill(os.getpid(), signal.SIGKILL)
        return str, ("never",)


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("kind", ["processes", "cluster"])
def test_a_worker_that_is_killed_when_its_label_image_is_written(
    plate: Path, tmp_path: Path, kind: str, client: Client
) -> None:
    def explosive(ds: xr.Dataset) -> tuple[pd.DataFrame, xr.DataArray]:
        table, labels = segment(ds)
        bomb: Any = Bomb(tmp_path / "marker")
        return table.assign(bomb=bomb), labels

    results = map_fields(
        explosive,
        plate,
        write_labels="nuclei",
        wells="B/1",
        fields="1",
        scheduler=client if kind == "cluster" else kind,
    )
    assert results.done == ("B/1/1",)
    assert set(results.table["bomb"]) == {"sent"}
    check_labels(plate, paths=results.done)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_ctrl_c(plate: Path, tmp_path: Path, kind: str) -> None:
    output, pid = tmp_path / "cells.csv", os.getpid()

    def interrupted(ds: xr.Dataset) -> tuple[pd.DataFrame, xr.DataArray]:
        if ds.well == "A/2" and ds.field == "1":
            os.kill(pid, signal.SIGINT)
            if os.getpid() != pid:
                # It is stopped at once, whatever it is doing.
                signal.pause()
        return segment(ds)

    with pytest.raises(KeyboardInterrupt):
        map_fields(interrupted, plate, output=output, write_labels="n", scheduler=kind, workers=1)
    names = {child.name for child in multiprocessing.active_children()}
    assert not {name for name in names if name.startswith("SpawnProcess")}
    results = map_fields(segment, plate, output=output, write_labels="n")
    assert results.skipped == FIELDS[:3]
    check_table(results.table, by_hand())
    check_labels(plate, "n")


def _orphans(root: Path, pids: Path) -> None:
    def tell(ds: xr.Dataset) -> dict[str, int]:
        (pids / f"{os.getpid()}").touch()
        if ds.field == "1":
            os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
        return {}

    map_fields(tell, root, wells="A/1", scheduler="processes", workers=2)


def test_workers_do_not_outlive_who_started_them(template: Path, tmp_path: Path) -> None:
    import psutil

    workers = [tmp_path / "pids"]
    workers[0].mkdir()
    killed(_orphans, template, workers[0])
    left = [
        psutil.Process(int(one.name))
        for one in workers[0].iterdir()
        if psutil.pid_exists(int(one.name))
    ]
    _, alive = psutil.wait_procs(left, timeout=30)
    assert not alive


def test_a_store_in_memory(client: Client) -> None:
    store = zarr.storage.MemoryStore()
    put_wells(store, {"A/1": {"0": None}})
    put_sample(store, group="A/1/0")
    for scheduler in ("processes", client):
        with pytest.raises(OmeZarrError, match="in the memory of this process"):
            map_fields(mean, store, scheduler=scheduler)
    results = map_fields(
        lambda ds: xr.ones_like(ds.image.isel(c=0)), store, write_labels="ones", scheduler="threads"
    )
    assert results.done == ("A/1/0",)
    assert (opened(store, group="A/1/0").ones == 1).all()


def test_a_script_without_its_guard(template: Path, tmp_path: Path) -> None:
    """Each process imports the script, which would start processes."""
    import subprocess

    script = tmp_path / "script.py"
    script.write_text(
        "from xarray_omezarr import map_fields\n"
        f"map_fields(lambda ds: {{}}, {str(template)!r}, wells='A/1', scheduler='processes', "
        "workers=1)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "OmeZarrError: No process could be started" in done.stderr
    assert "if __name__ == '__main__':" in done.stderr
