"""Reading, against zarr-python directly and the readers of the other packages.

What is read is the finest level: all of it, boxes at random places that are as large as a chunk,
and planes. Where a ratio is given, the reader and zarr-python took turns, with the same parts.
Everything runs on two threads, and nothing is kept from one read to the next.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import xarray as xr

from benchmarks import parameterized
from benchmarks.memory import THREADS
from benchmarks.workloads import make_source, workload
from xarray_omezarr import pipelines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.workloads import Workload

    Pixels = np.ndarray[Any, np.dtype[Any]]
    Selection = tuple[int | slice, ...]
    #: Gives the pixels of a selection.
    Read = Callable[[Selection], Pixels]

IMAGES = ["3-D", "3-D, small chunks", "3-D, shards", "5-D"]
PARTS = ["all", "200 boxes", "200 planes"]
#: In so many turns.
TURNS = 5


def image(name: str) -> Workload:
    """Give the image of a name."""
    work = workload(name.partition(",")[0])
    return work if name in ("3-D", "5-D") else replace(work, chunks=(32, 128, 128))


def put(name: str, path: Path) -> None:
    """Write an image."""
    work = image(name)
    make_source(work, path)
    if name.endswith("shards"):
        import zarr

        whole: Any = zarr.open_array(path / "0")
        pixels, about = whole[...], whole.metadata.to_dict()
        shards: Any = zarr.create_array(
            path / "0",
            shape=work.shape,
            chunks=work.chunks,
            shards=tuple(4 * chunk if chunk > 32 else chunk for chunk in work.chunks),
            dtype=work.dtype,
            compressors=whole.compressors,
            dimension_names=about["dimension_names"],
            overwrite=True,
        )
        shards[...] = pixels


def selections(work: Workload, parts: str, turn: int) -> list[Selection]:
    """Give the parts that are read in one turn."""
    whole = tuple(map(slice, work.shape))
    if parts == "all":
        return [whole]
    draw = np.random.default_rng(turn).integers
    if parts == "200 planes":
        lines = work.shape[:-2]
        return [(*(int(draw(n)) for n in lines), *whole[-2:]) for _ in range(200 // TURNS)]
    corners = [
        [int(draw(n - c + 1)) for n, c in zip(work.shape, work.chunks, strict=True)]
        for _ in range(200 // TURNS)
    ]
    return [
        tuple(slice(a, a + c) for a, c in zip(corner, work.chunks, strict=True))
        for corner in corners
    ]


# ── readers ──────────────────────────────────────────────────────────────────────────────────────


def by_zarr(path: Path) -> Read:
    """Read by zarr-python, as it is by default."""
    import zarr

    array: Any = zarr.open_array(path / "0", mode="r")
    return lambda selection: np.asarray(array[selection])


def ours(path: Path, *, zarrs: bool, chunks: dict[str, int] | None) -> Read:
    """Read through the engine."""
    before = vars(pipelines)["_suits"]
    if not zarrs:
        # As if zarrs were not installed.
        vars(pipelines)["_suits"] = lambda _: False
    try:
        opened = xr.open_dataset(path, engine="omezarr", chunks=chunks, cache=False).image
    finally:
        vars(pipelines)["_suits"] = before
    return lambda selection: np.asarray(opened[selection].values)


def by_ome_zarr(path: Path) -> Read:
    """Read by ome-zarr-py."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(path)
    pixels: Any = next(iter(Reader(location)())).data[0]
    return lambda selection: np.asarray(pixels[selection])


def by_ngff_zarr(path: Path) -> Read:
    """Read by ngff-zarr."""
    import ngff_zarr

    pixels: Any = ngff_zarr.from_ngff_zarr(str(path)).images[0].data
    return lambda selection: np.asarray(pixels[selection])


READERS: dict[str, tuple[str, Callable[[Path], Read]]] = {
    "lazy": ("zarr", lambda path: ours(path, zarrs=False, chunks=None)),
    "dask": ("zarr", lambda path: ours(path, zarrs=False, chunks={})),
    "lazy, zarrs": ("zarrs", lambda path: ours(path, zarrs=True, chunks=None)),
    "dask, zarrs": ("zarrs", lambda path: ours(path, zarrs=True, chunks={})),
    "ome-zarr": ("ome_zarr", by_ome_zarr),
    "ngff-zarr": ("ngff_zarr", by_ngff_zarr),
}
ALL: dict[str, tuple[str, Callable[[Path], Read]]] = {"zarr-python": ("zarr", by_zarr)} | READERS


def seconds(read: Read, parts: Sequence[Selection]) -> float:
    """Measure the time that it takes to read parts."""
    start = time.perf_counter()
    for part in parts:
        read(part)
    return time.perf_counter() - start


class Reading:
    """Images of a few hundred MiB, or as large as the other packages are compared by."""

    timeout = 3600

    def setup_cache(self) -> Path:
        """Make the images."""
        here = Path.cwd()
        for name in IMAGES:
            put(name, here / name)
        return here

    def setup(self, images: Path, name: str, parts: str, reader: str) -> None:
        package, opens = ALL[reader]
        if importlib.util.find_spec(package) is None:
            msg = f"{package} is not installed"
            raise NotImplementedError(msg)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
        dask.config.set(scheduler="threads", num_workers=THREADS)
        self.turns = [selections(image(name), parts, turn) for turn in range(TURNS)]
        self.directly, self.read = by_zarr(images / name), opens(images / name)
        sample = selections(image(name), "200 boxes", TURNS)[0]
        if not np.array_equal(self.directly(sample), self.read(sample)):
            msg = f"{reader} reads other pixels"
            raise ValueError(msg)

    @parameterized(image=IMAGES, parts=PARTS, reader=list(ALL))
    def time_read(self, _images: Path, _name: str, _parts: str, _reader: str) -> None:
        """Read a fifth of the parts, or all pixels."""
        seconds(self.read, self.turns[0])

    @parameterized(image=IMAGES, parts=PARTS, reader=list(READERS))
    def track_ratio(self, _images: Path, _name: str, _parts: str, _reader: str) -> float:
        """Measure how long it takes to read, over zarr-python."""
        ratios = []
        for parts in self.turns:
            directly = seconds(self.directly, parts)
            ratios.append(seconds(self.read, parts) / directly)
        return statistics.median(ratios)

    track_ratio.noisy = True  # type: ignore[attr-defined]
    track_ratio.unit = "× zarr-python"  # type: ignore[attr-defined]
