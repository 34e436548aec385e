"""Peak memory of writing: it depends on the plan and on the threads, not on the image.

The figures are resident memory in all, interpreter and libraries included. Each needs a process
of its own, which asv and `run.py` give it.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask

from benchmarks import Scratch, parameterized, skip_unless_slow
from benchmarks.images import cells, endless, plan_of

if TYPE_CHECKING:
    import xarray as xr

#: Each thread holds a block, so their number is part of the figure.
THREADS = 2
#: The largest image, in GiB, that is written without being asked to.
QUICK = 1
#: The last two fit no block.
SOURCES = {
    "64×256×256": (64, 256, 256),
    "1×4096×4096": (1, 4096, 4096),
    "10×300×300": (10, 300, 300),
    "7×1000×1000": (7, 1000, 1000),
}


def peak_bytes() -> int:
    """Give the most memory that this process has ever held."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike the figure below, this one does not start at what the parent held.
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak() -> None:
    """Start anew to look for the most memory that is held, where the system lets us."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


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

    @parameterized(gib=[1, 2, 8, 16])
    def peakmem_write(self, gib: float) -> None:
        self.write(endless(gib, (64, 256, 256), 2048))


class MemoryPlanes(_Memory):
    """Source chunks of 1 × 4096 × 4096, across those of the target."""

    def setup(self, gib: float) -> None:
        if gib > QUICK:
            skip_unless_slow()
        super().setup()

    @parameterized(gib=[1, 2, 8])
    def peakmem_write(self, gib: float) -> None:
        self.write(endless(gib, (1, 4096, 4096), 4096))


class _Beyond(_Memory):
    """What writes take beyond the imports, and what their sources hold."""

    def setup(self, *_args: Any) -> None:
        super().setup()
        # What is imported on the way is imported here.
        self.write(cells((2, 64, 64)))
        shutil.rmtree(self.directory / "image.ome.zarr")

    def peak_beyond(self, held: int, image: xr.DataArray) -> int:
        """Write an image, and give the most memory that this took beyond what was held."""
        reset_peak()
        self.write(image)
        shutil.rmtree(self.directory / "image.ome.zarr")
        return peak_bytes() - held


class MemoryAndPlan(_Beyond):
    """The same, over what the plan says for all threads: at most 1 is promised."""

    def setup(self, gib: float, _chunks: str) -> None:
        if gib > QUICK:
            skip_unless_slow()
        super().setup()

    @parameterized(gib=[1, 2, 8], chunks=list(SOURCES))
    def track_share_of_plan(self, gib: float, chunks: str) -> float:
        z, y, x = SOURCES[chunks]
        image = endless(gib, (z, y, x), 4096 if y == 4096 else 2048)
        planned = plan_of(image).block_bytes * THREADS
        return self.peak_beyond(held_bytes(), image) / planned

    track_share_of_plan.unit = "of the plan"  # type: ignore[attr-defined]


class MemoryAndSize(_Beyond):
    """An image of 16 GiB against one of 2 GiB: at most a fifth more is promised."""

    def setup(self, gib: float) -> None:
        if gib > QUICK:
            skip_unless_slow()
        super().setup()

    @parameterized(gib=[1, 2, 16])
    def track_beyond(self, gib: float) -> int:
        return self.peak_beyond(held_bytes(), endless(gib, SOURCES["64×256×256"], 2048))

    track_beyond.unit = "bytes"  # type: ignore[attr-defined]


class MemoryAndFields(_Beyond):
    """A plate of 32 fields of 64 MiB against one of 8: at most a quarter more is promised."""

    @parameterized(fields=[1, 8, 32])
    def track_beyond(self, fields: int) -> int:
        import xarray as xr

        image = endless(1 / 16, SOURCES["64×256×256"], 512)
        plate = xr.DataTree.from_dict({f"A/1/{i}": image.to_dataset() for i in range(fields)})
        held = held_bytes()
        reset_peak()
        with dask.config.set(scheduler="threads", num_workers=THREADS):
            plate.omezarr.to_zarr(self.directory / "plate.ome.zarr")
        shutil.rmtree(self.directory / "plate.ome.zarr")
        return peak_bytes() - held

    track_beyond.unit = "bytes"  # type: ignore[attr-defined]


class MemoryThreads(_Memory):
    """The same image of 1 GiB by more threads, each of which holds a block."""

    @parameterized(threads=[1, 2, 4, 8])
    def peakmem_write(self, threads: int) -> None:
        self.write(endless(1, (64, 256, 256), 2048), threads)
