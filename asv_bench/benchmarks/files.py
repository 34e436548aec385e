"""Pyramids of image files, over those of the same pixels in Zarr."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
import zarr

from benchmarks import Scratch, parameterized, skip_unless_slow
from benchmarks.memory import peak_bytes, reset_peak
from xarray_omezarr import scale

if TYPE_CHECKING:
    from collections.abc import Iterator

TILE = 256
#: The largest image, in GiB, that is written without being asked to.
QUICK = 1
SIZES = {"z": 1.0, "y": 0.5, "x": 0.5}


def planes(count: int) -> Iterator[np.ndarray[Any, Any]]:
    """Make planes of 8 MiB, which differ from each other."""
    noise = np.random.default_rng(0).normal(400, 30, (2048, 2048)).astype("uint16")
    for number in range(count):
        yield np.roll(noise, 7 * number, axis=1)


class Files(Scratch):
    """A stack in tiles of 256 × 256, as OME-TIFF and as a Zarr array, both uncompressed."""

    timeout = 1800

    def setup(self, gib: int) -> None:
        if gib > QUICK:
            skip_unless_slow()
        super().setup()
        shape = (gib * 128, 2048, 2048)
        starts = range(0, 2048, TILE)
        tifffile.imwrite(
            self.directory / "stack.ome.tif",
            (
                np.ascontiguousarray(plane[y : y + TILE, x : x + TILE])
                for plane in planes(shape[0])
                for y in starts
                for x in starts
            ),
            shape=shape, dtype="uint16", bigtiff=True, tile=(TILE, TILE),
            metadata={"axes": "ZYX", **{f"PhysicalSize{d.upper()}": s for d, s in SIZES.items()}},
        )  # fmt: skip
        array = zarr.create_array(
            self.directory / "stack.zarr", shape=shape, dtype="uint16", chunks=(1, TILE, TILE),
            compressors=None,
        )  # fmt: skip
        for number, plane in enumerate(planes(shape[0])):
            array[number] = plane
        # What is imported on the way is imported here, and files are in the caches of the disk.
        self.both()

    clock = staticmethod(time.perf_counter)

    def seconds(self, source: str, **options: Any) -> float:
        target = self.directory / "image.ome.zarr"
        begin = self.clock()
        scale(
            self.directory / source, target, "zyx", chunks={"z": 64, "y": 64, "x": 128}, **options
        )
        seconds = self.clock() - begin
        shutil.rmtree(target)
        return seconds

    def both(self) -> float:
        file = self.seconds("stack.ome.tif")
        return file / self.seconds("stack.zarr", pixel_size=SIZES, unit="micrometer")

    @parameterized(gib=[1, 4])
    def track_over_zarr(self, _gib: int) -> float:
        """At most 1.3 is promised."""
        return float(np.median([self.both() for _ in range(3)]))

    @parameterized(gib=[1, 4])
    def track_processor_over_zarr(self, _gib: int) -> float:
        """Give the same of the time of processors, which others on the machine hardly change."""
        self.clock = time.process_time
        return float(np.median([self.both() for _ in range(3)]))

    @parameterized(gib=[1, 4])
    def track_memory(self, _gib: int) -> int:
        """Give the most memory that is held, with all that is imported: the same for any size."""
        reset_peak()
        self.seconds("stack.ome.tif")
        return peak_bytes()

    track_over_zarr.unit = "ratio"  # type: ignore[attr-defined]
    track_processor_over_zarr.unit = "ratio"  # type: ignore[attr-defined]
    track_memory.unit = "bytes"  # type: ignore[attr-defined]
