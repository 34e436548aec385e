"""A function run on each field of a plate: its tables as one, its label images in their fields."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xarray_omezarr import (
    crews,
    harvest,
    ledgers,
    progress,
    screens,
    storage,
    stores,
    stream,
    works,
    write,
)
from xarray_omezarr.errors import OmeZarrError, OmeZarrWarning, warn
from xarray_omezarr.guess import is_archive, local_path
from xarray_omezarr.harvest import KEYS

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pandas as pd
    import zarr
    from distributed import Client
    from zarr.abc.store import Store

    from xarray_omezarr.ledgers import Ledger
    from xarray_omezarr.screens import FieldAt, Fields, Screen, Wells
    from xarray_omezarr.stores import Place

    Target = str | os.PathLike[str] | Store | zarr.Group
    Function = Callable[[xr.Dataset], Any]

#: So many failures are shown.
_SHOWN = 5


@dataclass(frozen=True)
class FieldFailure:
    """What went wrong with a field."""

    message: str
    traceback: str = field(default="", repr=False)
    """Where it went wrong, for people to read; empty where the worker was lost."""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class FieldResults:
    """What came of running a function on each field of a plate.

    Fields go by their paths below the plate, like "A/1/0", in the order of the plate.
    """

    done: tuple[str, ...]
    """The fields that this run has finished."""
    skipped: tuple[str, ...]
    """Those that were finished before."""
    failures: Mapping[str, FieldFailure]
    """Those that were not, with what went wrong. Another run begins with them."""
    _ledger: Ledger = field(repr=False, compare=False)
    _order: Callable[[str, str], tuple[Any, ...]] = field(repr=False, compare=False)

    @property
    def table(self) -> pd.DataFrame:
        """All rows, those of `output` from earlier runs included, in the order of the plate.

        A file is read each time that it is asked for.
        """
        import pandas as pd

        frame = self._ledger.read()
        codes, fields = pd.MultiIndex.from_frame(frame[["well", "field"]]).factorize()
        pairs: list[Any] = list(fields)
        places = np.empty(len(pairs), int)
        places[sorted(range(len(pairs)), key=lambda i: self._order(*pairs[i]))] = range(len(pairs))
        # Rows of a field stay in the order in which the function gave them.
        order = np.argsort(places[codes], kind="stable")
        return frame.iloc[order].reset_index(drop=True)

    def __str__(self) -> str:
        counts = (f"{len(self.done)} fields done", f"{len(self.skipped)} skipped")
        lines = [f"{', '.join(counts)}, {len(self.failures)} failed."]
        for path, failure in list(self.failures.items())[:_SHOWN]:
            lines.append(f"  {path!r:.80}: {failure.message:.400}")
        if len(self.failures) > _SHOWN:
            lines.append(f"  and {len(self.failures) - _SHOWN} more: see .failures")
        return "\n".join(lines)


def map_fields(
    function: Function,
    plate: Target,
    *,
    wells: Wells | None = None,
    fields: Fields | None = None,
    level: int = 0,
    labels: bool | Sequence[str] = False,
    output: str | os.PathLike[str] | None = None,
    write_labels: str | None = None,
    overwrite_labels: bool = False,
    scheduler: str | Client | None = None,
    workers: int | None = None,
    group: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> FieldResults:
    """Run a function on each field of a plate: tables become one, label images join their fields.

    Each worker opens a field, calls the function, writes the label image and gives back the rows:
    as many fields are in memory as there are workers. A field that fails stops no other one.

    Parameters
    ----------
    function : callable
        It takes the Dataset of a field, lazily opened, with the scalar coordinates `well` ("A/1"),
        `row`, `column`, `field` and, where the file says it, `acquisition`. It gives a table, a
        label image, or a tuple of both. A table is a DataFrame; a Dataset with one dimension, like
        ``ds.omezarr.table("nuclei")``; or a dict of single values, which is one row. One without a
        row says that there is nothing. A label image is a DataArray of integers on the pixels of
        the field, all of its axes or some, like ``ds.image.isel(c=0).copy(data=...)``.

        For processes and clusters the function is pickled, lambdas and functions of a notebook too,
        but no open files, locks or connections; what it imports has to be installed there.
    plate : str, os.PathLike, zarr.abc.store.Store or zarr.Group
        A plate, wherever images can be opened from.
    wells : str, sequence of str or pandas.DataFrame, optional
        Which wells: paths, with `*` and `?`, or rows of the table that `wells` gives.
    fields : int, str or sequence of these, optional
        Which fields of each well: positions or paths.
    level : int, default 0
        The resolution that is opened.
    labels : bool or sequence of str, default False
        Which label images are opened with the field.
    output : str or os.PathLike, optional
        A file `.csv` to which the rows are appended, or a folder `.parquet` with one file for each
        field (needs pyarrow), on this machine. A journal beside it, or in it, says which fields are
        done: they are skipped when this is called again, after it was killed or with more wells.
        What ran before is not compared: remove the output, or choose another, for another function.
    write_labels : str, optional
        The name under which label images are written into their fields, on the levels of the image.
        Without `output`, a field that has a label image of this name is done, and skipped. With it,
        one that comes from elsewhere is a failure.
    overwrite_labels : bool, default False
        Whether a label image of that name is replaced.
    scheduler : {"threads", "processes"} or distributed.Client, optional
        Where the workers are; by default in the dask cluster that is active, else in threads.
    workers : int, optional
        How many fields are worked on at a time; by default as many as there are cores, or threads
        in the cluster.
    group : str, optional
        The path of the plate within the store.
    storage_options : mapping, optional
        Passed on to fsspec for URLs.

    Returns
    -------
    FieldResults
        `table` with the columns well, row, column, field, acquisition (where the file has it) and
        those of the function, in the order of the plate; `done`, `skipped` and `failures`.

    Raises
    ------
    OmeZarrError
        Where there is no such plate, well or worker, or the output cannot be written to.

    Warns
    -----
    OmeZarrWarning
        Where fields failed.

    Notes
    -----
    Within the function dask computes in the one thread that is the worker.

    Fields that have other columns than those before are no problem: what a row has not stays empty.
    In a CSV file rows stand in the order in which fields were finished.

    Ctrl-C ends it: processes are stopped at once, threads and clusters finish the fields they are
    at. Whatever a killed run leaves behind can be continued. A field whose process is killed is
    begun once more, and is a failure after that; a cluster tries as often as it is set to
    (`distributed.scheduler.allowed-failures`).

    Examples
    --------
    >>> def brightness(ds):
    ...     return {"mean": ds.image.mean()}
    >>> results = map_fields(brightness, "plate.ome.zarr", output="means.csv")  # doctest: +SKIP
    >>> results.table.groupby("well")["mean"].max()  # doctest: +SKIP
    """
    given: object = function
    if not callable(given):
        msg = f"function={given!r:.80}: expected a function that takes the Dataset of a field."
        raise OmeZarrError(msg)
    _check_labels(plate, write_labels, level)
    place = stores.locate(plate, group, storage_options=storage_options)
    try:
        screen = screens.read_screen(place, wells=wells, fields=fields, warn=warn)
        local = local_path(plate)
        # Other processes may have another working directory.
        at = plate if local is None else str(local.absolute())
        task = _Task(function, at, group, storage_options, level, labels, write_labels)
        crew = crews.assemble(task, scheduler, workers)
        try:
            _check_reachable(place, crew)
            return _run(screen, crew, output, write_labels, overwrite=overwrite_labels)
        finally:
            crew.close()
    finally:
        place.close()


def _check_labels(plate: object, name: str | None, level: int) -> None:
    if name is None:
        return
    works.check_label_name(name)
    if level != 0:
        msg = (
            f"write_labels={name!r} with level={level!r}: label images lie on the finest pixels of "
            "their image. Open level 0, and coarsen it in the function if need be."
        )
        raise OmeZarrError(msg)
    if is_archive(plate):
        raise stores.fixed(plate)


def _check_reachable(place: Place, crew: crews.Crew[Any, Any]) -> None:
    if not crew.here and stores.in_memory(place.store):
        msg = (
            f"{place.name} is in the memory of this process, where no other one can read it. Use "
            "scheduler='threads', or write the plate to a disk."
        )
        raise OmeZarrError(msg)


# ── the run ──────────────────────────────────────────────────────────────────────────────────────


def _run(
    screen: Screen,
    crew: crews.Crew[_Job, _Outcome],
    output: object,
    write_labels: str | None,
    *,
    overwrite: bool,
) -> FieldResults:
    # A well may list a field twice.
    fields = {at.path: at for at in screen.fields}
    numbered = any(at.field.acquisition is not None for at in fields.values())
    keys = KEYS if numbered else KEYS[:-1]
    ledger = ledgers.open_ledger(output, keys)
    failures: dict[str, FieldFailure] = {}
    done: set[str] = set()
    try:
        skipped = ledger.done & set(fields)
        waiting = [path for path in fields if path not in skipped]
        if write_labels is not None and not overwrite:
            there = _labelled(screen, waiting, write_labels) - ledger.begun
            if output is None:
                skipped |= there
            else:
                msg = (
                    f"has a label image '{write_labels}' already, which is not of this output. "
                    "overwrite_labels=True replaces it."
                )
                failures |= {path: FieldFailure(msg) for path in waiting if path in there}
            waiting = [path for path in waiting if path not in there]

        def jobs() -> Iterator[_Job]:
            for path in waiting:
                if write_labels is not None:
                    ledger.begin(path)
                yield _Job(path, _keys_of(fields[path], keys))

        with progress.counting(len(waiting), " fields", bar=progress.shown(None)) as step:
            for job, result in crews.run(crew, jobs()):
                failure = _record(ledger, job, result)
                if failure is None:
                    done.add(job.path)
                else:
                    failures[job.path] = failure
                step(1)
    finally:
        ledger.close()
    results = FieldResults(
        done=tuple(path for path in fields if path in done),
        skipped=tuple(path for path in fields if path in skipped),
        failures={path: failures[path] for path in fields if path in failures},
        _ledger=ledger,
        _order=_order_of(screen),
    )
    if failures:
        warn(str(results))
    return results


def _record(ledger: Ledger, job: _Job, result: _Outcome | BaseException) -> FieldFailure | None:
    """Add what came of a field to the table, or say why not."""
    if isinstance(result, crews.LostError):
        return FieldFailure(f"The worker was lost that worked on it: {result}")
    if isinstance(result, BaseException):
        return FieldFailure(_shown(f"{type(result).__name__}: {result}"))
    if result.refused is not None:
        raise OmeZarrError(result.refused)
    if result.failure is not None:
        return result.failure
    try:
        ledger.add(job.path, result.rows)
    except OmeZarrError:
        raise
    except Exception as error:  # noqa: BLE001 - pandas and pyarrow have many for odd values
        return _failure(error, "The rows cannot be stored: ")
    return None


def _labelled(screen: Screen, paths: Sequence[str], name: str) -> set[str]:
    """Find the fields that have a label image of a name, side by side."""
    nodes = storage.fetch_below(
        screen.place, [f"{path}/labels/{name}" for path in paths], screen.node.zarr_format
    )
    # One that was never finished has no metadata.
    return {path for path, node in zip(paths, nodes, strict=True) if node is not None}


def _keys_of(at: FieldAt, keys: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "well": at.well.path,
        "row": at.well.row,
        "column": at.well.column,
        "field": at.field.path,
        "acquisition": at.field.acquisition,
    }
    return {key: values[key] for key in keys}


def _order_of(screen: Screen) -> Callable[[str, str], tuple[Any, ...]]:
    """Give where a field stands, also one that was not asked for but is in the output."""
    wells = {entry.path: number for number, entry in enumerate(screen.plate.wells)}
    known = {
        (entry.path, one.path): number
        for entry, well, _ in screen.wells
        for number, one in enumerate(well.fields)
    }

    def order(well: str, path: str) -> tuple[Any, ...]:
        number = int(path) if path.isdecimal() else len(path)
        return wells.get(well, len(wells)), well, known.get((well, path), number), path

    return order


# ── one field ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Job:
    """A field that is to be worked on."""

    path: str
    keys: Mapping[str, Any]


@dataclass(frozen=True)
class _Outcome:
    """What came of it: one of these."""

    rows: Any = None
    failure: FieldFailure | None = None
    refused: str | None = None
    """Why it makes no sense to go on with other fields."""


class _CallError(OmeZarrError):
    """What was asked for does not go together: it is no different in other fields."""


@dataclass(frozen=True)
class _Task:
    """What a worker does with a field, wherever it is."""

    function: Function
    plate: Any
    group: str | None
    storage_options: Mapping[str, Any] | None
    level: int
    labels: bool | Sequence[str]
    write_labels: str | None

    def __call__(self, job: _Job) -> _Outcome:
        """Work on a field; whatever happens is told in the outcome."""
        try:
            with crews.computing_here():
                return _Outcome(self._rows(job))
        except _CallError as error:
            return _Outcome(refused=str(error))
        except Exception as error:  # noqa: BLE001 - functions raise anything
            return _Outcome(failure=_failure(error))
        except SystemExit as error:
            return _Outcome(failure=_failure(error))

    def _rows(self, job: _Job) -> pd.DataFrame:
        group = "/".join(part for part in ((self.group or "").strip("/"), job.path) if part)
        ds = xr.open_dataset(
            self.plate,
            engine="omezarr",
            group=group,
            level=self.level,
            labels=self.labels,
            storage_options=self.storage_options,
        )
        known = {key: value for key, value in job.keys.items() if value is not None}
        with ds:
            table, image = harvest.parts(self.function(ds.assign_coords(known)))
            self._check(table, image)
            rows = harvest.with_keys(harvest.frame(table), job.keys)
            if image is not None:
                self._write(image, group)
        return rows

    def _check(self, table: object, image: xr.DataArray | None) -> None:
        if image is None and table is None:
            msg = "The function gave None. Where there is nothing, give a DataFrame without rows."
            raise OmeZarrError(msg)
        if image is not None and self.write_labels is None:
            msg = "The function gave a label image. Say by write_labels= under which name it goes."
            raise _CallError(msg)
        if image is None and self.write_labels is not None:
            msg = f"The function gave no label image, but write_labels={self.write_labels!r}."
            raise OmeZarrError(msg)

    def _write(self, image: xr.DataArray, group: str) -> None:
        assert self.write_labels is not None  # noqa: S101 - see _check
        alone = image.reset_coords(drop=True).rename(self.write_labels)
        write.write_labels(
            alone.to_dataset(),
            [self.write_labels],
            self.plate,
            group=group,
            # What was there before the run began has been looked at. What is there now was written
            # by a worker that was lost in between.
            options=works.Options(mode="a", overwrite_labels=True),
            running=stream.Running(),
            storage_options=self.storage_options,
        )


def _failure(error: BaseException, before: str = "") -> FieldFailure:
    return FieldFailure(
        _shown(f"{before}{type(error).__name__}: {error}"), _shown(traceback.format_exc())
    )


def _shown(text: str) -> str:
    """Give a text as warnings are shown: errors quote what stands in files."""
    return str(OmeZarrWarning(text))
