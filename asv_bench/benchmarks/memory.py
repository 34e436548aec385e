"""Peak memory of writing: it depends on the plan and on the threads, not on the image.

The figures are resident memory in all, interpreter and libraries included. Each needs a process
of its own, which asv and `run.py` give it.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import dask

from benchmarks import Scratch, parameterized, skip_unless_slow
from benchmarks.images import cells, endless, plan_of

if TYPE_CHECKING:
    import xarray as xr

#: Each thread holds a block, so their number is part of the figure.
THREADS = 2
#: The largest image, in GiB, that is written without being asked to.
QUICK = 1
SOURCES = {"64×256×256": (64, 256, 256), "1×4096×4096": (1, 4096, 4096)}


def peak_bytes() -> int:
    """Give the most memory that this process has ever held."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike the figure below, this one does not start at what the parent held.
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def held_bytes() -> int:
    """Give the memory that this process holds."""
    import psutil

    return int(psutil.Process().memory_info().rss)


class _Memory(Scratch):
    timeout = 1800

    def write(self, image: xr.DataArray, threads: int = THREADS) -> None:
        with dask.config.set(scheduler="threads", num_workers=threads):
            image.omezarr.to_zarr(self.directory / "image.ome.zarr")


class MemoryCubes(_Memory):
    """Source chunks of 64 × 256 × 256, which divide the blocks."""

    def setup(self, gib: float) -> None:
        if gib > QUICK:
            skip_unless_slow()
        super().setup()

    @parameterized(gib=[1, 4, 8])
    def peakmem_write(self, gib: float) -> None:
        self.write(endless(gib, (64, 256, 256), 2048))


class MemoryPlanes(_Memory):
    """Source chunks of 1 × 4096 × 4096, across those of the target."""

    def setup(self, gib: float) -> None:
        if gib > QUICK:
            skip_unless_slow()
        super().setup()

    @parameterized(gib=[1, 2, 4])
    def peakmem_write(self, gib: float) -> None:
        self.write(endless(gib, (1, 4096, 4096), 4096))


class MemoryAndPlan(_Memory):
    """What a write takes beyond the imports, over what its plan says for all threads."""

    def setup(self, gib: float, _chunks: str) -> None:
        if gib > QUICK:
            skip_unless_slow()
        super().setup()

    @parameterized(gib=[1, 2], chunks=list(SOURCES))
    def track_share_of_plan(self, gib: float, chunks: str) -> float:
        z, y, x = SOURCES[chunks]
        image = endless(gib, (z, y, x), max(2048, y))
        # What is imported on the way is imported here.
        cells((2, 64, 64)).omezarr.to_zarr(self.directory / "first.ome.zarr")
        before = held_bytes()
        self.write(image)
        return (peak_bytes() - before) / (plan_of(image).block_bytes * THREADS)

    track_share_of_plan.unit = "of the plan"  # type: ignore[attr-defined]


class MemoryThreads(_Memory):
    """The same image of 1 GiB by more threads, each of which holds a block."""

    @parameterized(threads=[1, 2, 4, 8])
    def peakmem_write(self, threads: int) -> None:
        self.write(endless(1, (64, 256, 256), 2048), threads)
