"""Writing against the other packages, and against what no writer can beat.

Each writer is given the same image from a Zarr array (or a NumPy array, where it says so), has to
make the same levels in the same chunks, and runs on two threads in a process of its own, in which
it has written a tiny image before: everything is imported and compiled. What it wrote is checked.

The floor is what it takes zarr-python to read the image as our writer does, so much at once, and to
write it as the first level, with nothing between; times the pixels of all levels over those of the
first.

`asv` passes over these; `run.py` prints them.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import resource
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dask
import xarray as xr

from benchmarks import Scratch, parameterized
from benchmarks.images import plan_of
from benchmarks.memory import THREADS, held_bytes, peak_bytes, reset_peak
from benchmarks.workloads import FULL, check, make_source, stored, workload
from xarray_omezarr import pipelines
from xarray_omezarr.plan import split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.workloads import Workload

    #: Takes a workload, its source and where to write; gives what writes it.
    Prepare = Callable[[Workload, Path, Path], Callable[[], object]]
    #: The figures of each round, by workload and writer.
    Figures = Mapping[tuple[str, str], Sequence[Mapping[str, float]]]


@dataclass(frozen=True)
class Writer:
    """One way to write an image."""

    prepare: Prepare
    package: str = "xarray_omezarr"
    """What has to be installed."""
    exact: bool = False
    """Whether pixels are the means of those of the level before, rounded."""


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────


def _ours(
    work: Workload,
    source: Path,
    target: Path,
    *,
    given: str,
    codec: str | None = None,
    fast: bool = False,
) -> Callable[[], object]:
    """Write an image that was opened, or comes from dask or NumPy."""
    import zarr.codecs

    if not fast:
        # As if zarrs were not installed, which Zarr itself looks for as well.
        vars(pipelines)["_suits"] = lambda _: False

    image = _given(work, source, given)
    options: dict[str, Any] = {"levels": work.levels, "method": "mean"}
    if given != "opened":
        options["chunks"] = dict(zip(work.dims, work.chunks, strict=True))
    if codec == "zstd":
        options["compressors"] = zarr.codecs.ZstdCodec()
    return partial(image.omezarr.to_zarr, target, **options)


def _given(work: Workload, source: Path, kind: str) -> xr.DataArray:
    import zarr

    if kind == "opened":
        opened: xr.DataArray = xr.open_dataset(source, engine="omezarr").image
        return opened
    pixels: Any = _dask_array(source) if kind == "dask" else zarr.open_array(source / "0")[...]
    return xr.DataArray(pixels, dims=tuple(work.dims), name="image")


def _dask_array(source: Path) -> Any:
    import dask.array

    da: Any = dask.array  # it is typed in parts only
    return da.from_zarr(str(source / "0"))


# ── the others ───────────────────────────────────────────────────────────────────────────────────


def _ome_zarr(work: Workload, source: Path, target: Path, *, method: str) -> Callable[[], object]:
    from ome_zarr.scale import Methods
    from ome_zarr.writer import write_image

    return partial(
        write_image,
        _dask_array(source),
        str(target),
        scale_factors=work.levels,
        method=Methods(method),
        axes=list(work.dims),
        storage_options={"chunks": work.chunks_of(work.shape)},
    )


def _ngff_zarr(work: Workload, source: Path, target: Path, *, method: str) -> Callable[[], object]:
    import ngff_zarr

    pixels, dims = _dask_array(source), cast("Any", list(work.dims))
    levels = [{d: f for d, f in level.items() if d in "zyx"} for level in work.levels]
    chunks = dict(zip(work.dims, work.chunks_of(work.shape), strict=True))

    def write() -> None:
        image = ngff_zarr.to_ngff_image(pixels, dims=dims)
        multiscales = ngff_zarr.to_multiscales(
            image,
            scale_factors=levels,
            method=ngff_zarr.Methods(method),
            chunks=chunks,
            axis_order="preserve",
        )
        ngff_zarr.to_ngff_zarr(str(target), multiscales, version="0.5")

    return write


def _floor(
    work: Workload, source: Path, target: Path, *, given: str = "opened", codec: str | None = None
) -> Callable[[], object]:
    """Copy the first level by zarr-python, so much at once as our writer."""
    import zarr
    from zarr.codecs import ZstdCodec

    original: Any = zarr.open_array(source / "0", mode="r")
    image = _given(work, source, "opened")
    copy: Any = zarr.create_array(
        target,
        shape=work.shape,
        chunks=work.chunks,
        dtype=work.dtype,
        compressors=ZstdCodec() if codec == "zstd" else original.compressors,
    )
    step = plan_of(image, levels=work.levels).passes[0]
    boxes = [
        tuple(slice(*side) for side in tile)
        for box in step.boxes()
        for tile in split(box, step.tiles[0])
    ]
    pixels = original[...] if given == "numpy" else original

    def one(box: tuple[slice, ...]) -> None:
        copy[box] = pixels[box]

    def write() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, boxes))

    return write


OURS = {
    "opened": Writer(partial(_ours, given="opened"), exact=True),
    "dask": Writer(partial(_ours, given="dask"), exact=True),
    "NumPy": Writer(partial(_ours, given="numpy"), exact=True),
    "opened, zstd": Writer(partial(_ours, given="opened", codec="zstd"), exact=True),
    "opened, zarrs": Writer(partial(_ours, given="opened", fast=True), "zarrs", exact=True),
}
#: Those that average, as ours by default.
AVERAGING = {
    "ome-zarr local_mean": Writer(partial(_ome_zarr, method="local_mean"), "ome_zarr"),
    "ngff-zarr itkwasm_bin_shrink": Writer(
        partial(_ngff_zarr, method="itkwasm_bin_shrink"), "ngff_zarr"
    ),
    "ngff-zarr dask_bin_shrink": Writer(partial(_ngff_zarr, method="dask_bin_shrink"), "ngff_zarr"),
}
PEERS = AVERAGING | {
    "ome-zarr resize (its default)": Writer(partial(_ome_zarr, method="resize"), "ome_zarr"),
    "ngff-zarr itkwasm_gaussian (its default)": Writer(
        partial(_ngff_zarr, method="itkwasm_gaussian"), "ngff_zarr"
    ),
}
FLOOR = {
    "floor": Writer(_floor),
    "floor, NumPy": Writer(partial(_floor, given="numpy")),
    "floor, zstd": Writer(partial(_floor, codec="zstd")),
}
WRITERS = {f"ours, {name}": writer for name, writer in OURS.items()} | PEERS | FLOOR


# ── measuring ────────────────────────────────────────────────────────────────────────────────────


def cost(call: Callable[[], object]) -> dict[str, float]:
    """Measure the time that something takes, and the memory that it takes at the most."""
    gc.collect()
    reset_peak()
    held = held_bytes()
    processor, busy, start = own_seconds(), busy_seconds(), time.perf_counter()
    call()
    wall = time.perf_counter() - start
    processor, busy = own_seconds() - processor, busy_seconds() - busy
    return {
        "wall": wall,
        "processor": processor,
        "memory": peak_bytes() - held,
        "others": max(busy - processor, 0.0) / wall,
    }


def own_seconds() -> float:
    """Give the time that processors have given to this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def busy_seconds() -> float:
    """Give the time that processors have given to all processes."""
    import psutil

    times = psutil.cpu_times()
    return float(sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "steal")))


class Peers(Scratch):
    """The three workloads, by each writer."""

    timeout = 1800

    def setup_cache(self) -> Path:
        """Make the images that are written."""
        here = Path.cwd()
        for name in FULL:
            make_source(workload(name), here / f"{name}.ome.zarr")
            make_source(workload(name).tiny(), here / f"{name}-tiny.ome.zarr")
        return here

    def setup(self, sources: Path, name: str, writer: str) -> None:
        package = WRITERS[writer].package
        if importlib.util.find_spec(package) is None:
            msg = f"{package} is not installed"
            raise NotImplementedError(msg)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
        # The same for all: ours and the peers compute by dask.
        dask.config.set(scheduler="threads", num_workers=THREADS)
        super().setup()
        self.work, self.source = workload(name), sources / f"{name}.ome.zarr"
        prepare = WRITERS[writer].prepare
        tiny = sources / f"{name}-tiny.ome.zarr"
        prepare(self.work.tiny(), tiny, self.directory / "tiny.ome.zarr")()
        self.target = self.directory / "image.ome.zarr"
        self.write = prepare(self.work, self.source, self.target)

    @parameterized(workload=list(FULL), writer=list(WRITERS))
    def figures_write(self, _sources: Path, _name: str, writer: str) -> dict[str, float]:
        figures = cost(self.write)
        if writer in FLOOR:
            scaled = {key: figures[key] * self.work.pixels_in_all for key in ("wall", "processor")}
            return {**figures, **scaled}
        check(self.work, self.source, self.target, exact=WRITERS[writer].exact)
        objects, size = stored(self.target)
        return {**figures, "objects": objects, "bytes": size}

    @staticmethod
    def report(figures: Figures, notes: Sequence[str]) -> Iterator[str]:
        """Yield the tables: what each took, ours over theirs, and what is promised."""
        measured = {case: rounds for case, rounds in figures.items() if rounds}
        for name in FULL:
            mine = {w: r for (n, w), r in measured.items() if n == name}
            if mine:
                yield from _costs(name, mine)
                yield from _ratios(mine)
        yield from _promises(measured)
        others = [figures["others"] for rounds in measured.values() for figures in rounds]
        if others:
            low, middle, high = statistics.quantiles([*others, *others], n=4, method="inclusive")
            yield (
                f"Meanwhile other processes kept {middle:.2f} processors busy "
                f"({low:.2f} – {high:.2f})."
            )
        yield from (f"Not measured: {note}." for note in notes)


# ── the tables ───────────────────────────────────────────────────────────────────────────────────


def _median(rounds: Sequence[Mapping[str, float]], key: str) -> float:
    return statistics.median(figures[key] for figures in rounds)


def _spread(rounds: Sequence[Mapping[str, float]], key: str) -> str:
    """Write a median in seconds, and where the middle half of the rounds lies."""
    values = [figures[key] for figures in rounds]
    text = f"{statistics.median(values):.2f} s"
    if len(values) < 4:
        return text
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{text} ({low:.2f} – {high:.2f})"


def _costs(name: str, writers: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[str]:
    work = workload(name)
    axes, shape, chunks = work.dims, *("×".join(map(str, s)) for s in (work.shape, work.chunks))
    size = f"{work.nbytes / 2**20:.0f} MiB"
    yield (
        f"**{name}**: {axes} {work.dtype} {shape} ({size}) in chunks of {chunks}, "
        f"{work.further} further levels by 2 in {', '.join(work.halved)}"
    )
    yield ""
    yield "| writer | time | processor | memory | store | objects |"
    yield "|---|---:|---:|---:|---:|---:|"
    for writer, rounds in writers.items():
        cells = [writer, _spread(rounds, "wall"), _spread(rounds, "processor")]
        if writer in FLOOR:
            cells += ["", "", ""]
        else:
            cells += [f"{_median(rounds, key) / 2**20:.0f} MiB" for key in ("memory", "bytes")]
            cells.append(f"{_median(rounds, 'objects'):.0f}")
        yield f"| {' | '.join(cells)} |"
    yield ""


def _ratios(writers: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[str]:
    ours = [name for name in OURS if f"ours, {name}" in writers]
    if not ours:
        return
    yield f"| our time (processor) over that of | {' | '.join(ours)} |"
    yield f"|---|{'---:|' * len(ours)}"
    for other in [*PEERS, *FLOOR]:
        if other in writers:
            cells = []
            for name in ours:
                wall, processor = (
                    _median(writers[f"ours, {name}"], key) / _median(writers[other], key)
                    for key in ("wall", "processor")
                )
                cells.append(f"{wall:.2f} ({processor:.2f})")
            yield f"| {other} | {' | '.join(cells)} |"
    yield ""


#: What is promised of ours over the best of some others: which of ours, which figure, which
#: others, and the most that it may be, for each workload.
PROMISES: dict[str, tuple[str, str, Sequence[str], tuple[float, float, float]]] = {
    "time, over the fastest that averages": ("opened", "wall", tuple(AVERAGING), (0.5, 0.4, 0.5)),
    "with zarrs": ("opened, zarrs", "wall", tuple(AVERAGING), (0.35, 0.2, 0.4)),
    "with the codec of the others": ("opened, zstd", "wall", tuple(PEERS), (1, 1, 1)),
    "over the floor": ("opened", "wall", ("floor",), (1.25, 1.25, 1.25)),
    "from NumPy, over the floor": ("NumPy", "wall", ("floor, NumPy",), (1.4, 1.4, 1.4)),
    "bytes of the store, over the smallest": ("opened", "bytes", tuple(AVERAGING), (1, 1, 1)),
    "memory, over the leanest": ("opened", "memory", tuple(PEERS), (1.1, 1.1, 1.1)),
    "from dask": ("dask", "memory", tuple(PEERS), (1.1, 1.1, 1.1)),
    "from NumPy": ("NumPy", "memory", tuple(PEERS), (1.1, 1.1, 1.1)),
}


def _promises(figures: Figures) -> Iterator[str]:
    """Yield the table of what is promised; what is missed is in bold."""
    yield f"| promise (processor) | {' | '.join(FULL)} |"
    yield f"|---|{'---:|' * len(FULL)}"
    for what, (mine, key, others, limits) in PROMISES.items():
        cells = []
        for name, limit in zip(FULL, limits, strict=True):
            ours = figures.get((name, f"ours, {mine}"))
            theirs = [figures[name, other] for other in others if (name, other) in figures]
            if not ours or not theirs:
                cells.append(f"? ≤ {limit:g}")
                continue
            ratio = _over_best(ours, theirs, key)
            cell = f"{ratio:.2f} ≤ {limit:g}" if ratio <= limit else f"**{ratio:.2f}** > {limit:g}"
            if key == "wall":
                cell += f" ({_over_best(ours, theirs, 'processor'):.2f})"
            cells.append(cell)
        yield f"| {what} | {' | '.join(cells)} |"
    yield ""


def _over_best(
    ours: Sequence[Mapping[str, float]], theirs: Sequence[Sequence[Mapping[str, float]]], key: str
) -> float:
    return _median(ours, key) / min(_median(rounds, key) for rounds in theirs)
