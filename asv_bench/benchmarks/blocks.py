"""What a block costs beside its pixels, and the plan of an image that has very many of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import xarray as xr

from benchmarks import Scratch, parameterized, skip_unless_slow
from benchmarks.images import plan_of
from benchmarks.memory import THREADS, held_bytes, peak_bytes, reset_peak
from xarray_omezarr import plan, pyramid, reducers

if TYPE_CHECKING:
    from xarray_omezarr.plan import Plan

#: Blocks along each axis.
GRIDS = {1_000: (25, 40), 10_000: (100, 100), 100_000: (250, 400)}
#: More blocks than these are written only where that is asked for.
QUICK = 10_000
#: The pixels of a block, along each axis.
EDGE = 8


def tiny_blocks(source: str, grid: tuple[int, int]) -> xr.DataArray:
    """Give an image of so many blocks: in memory, made as it is written, or cut into chunks."""
    import dask.array

    da: Any = dask.array  # it is typed in parts only
    shape = tuple(EDGE * n for n in grid)
    pixels: Any = np.random.default_rng(0).integers(1, 4096, shape, np.uint16)
    if source == "dask":
        one = pixels[:EDGE, :EDGE]
        meta = pixels[:0, :0]
        sizes = tuple((EDGE,) * n for n in grid)
        pixels = da.map_blocks(lambda: one, dtype=one.dtype, chunks=sizes, meta=meta, name="tiny")
    elif source != "NumPy":
        pixels = da.from_array(pixels, chunks=EDGE)
    return xr.DataArray(pixels, dims=("y", "x"), name="image")


class Blocks(Scratch):
    """Blocks of one chunk of 64 pixels; no further levels. It shall not grow with their number."""

    timeout = 1800

    def setup(self, source: str, blocks: int) -> None:
        if blocks > QUICK:
            skip_unless_slow()
        super().setup()
        # Blocks are made larger than this, and chunks are gathered in shards, for good reasons.
        plan.BLOCK_BYTES = plan.TILE_BYTES = plan.PART_BYTES = 0
        pyramid.MANY_OBJECTS = blocks
        # What is imported on the way is imported here.
        small = tiny_blocks(source, (2, 2))
        small.omezarr.to_zarr(self.directory / "first.ome.zarr", levels=1, chunks=EDGE)
        self.image = tiny_blocks(source, GRIDS[blocks])
        found = plan_of(self.image, levels=1, chunks=EDGE).tasks
        if found != blocks:
            msg = f"The plan has {found} blocks."
            raise ValueError(msg)

    @parameterized(source=["NumPy", "dask", "NumPy in dask"], blocks=list(GRIDS))
    def track_cost_of_a_block(self, _source: str, blocks: int) -> float:
        with dask.config.set(scheduler="threads", num_workers=THREADS):
            start = time.process_time()
            self.image.omezarr.to_zarr(self.directory / "image.ome.zarr", levels=1, chunks=EDGE)
            return 1e6 * (time.process_time() - start) / blocks

    track_cost_of_a_block.unit = "µs of processor"  # type: ignore[attr-defined]
    track_cost_of_a_block.noisy = True  # type: ignore[attr-defined]


class Petabyte:
    """The plan of 1 PiB of uint16 in chunks of 128³, in the shards that these are given."""

    SHAPE = (2**17, 2**16, 2**16)
    CHUNKS = (128, 128, 128)
    #: The chunks of the source, where it comes from dask.
    SOURCES = ("lazy", "512×512×512")

    def setup(self, source: str) -> None:
        self.chunks = None
        if source != "lazy":
            sizes = map(int, source.split("×"))
            self.chunks = tuple((c,) * (n // c) for c, n in zip(sizes, self.SHAPE, strict=True))

    def _plan(self) -> Plan:
        spatial = (True, True, True)
        dtype = np.dtype(np.uint16)
        factors = [(1, 1, 1), *pyramid.default_factors(self.SHAPE, (1.0, 1.0, 1.0))]
        shapes = [reducers.reduced_shape(self.SHAPE, f, "pad") for f in factors]
        shards = pyramid.default_shards(self.SHAPE, self.CHUNKS, dtype.itemsize, spatial)
        levels = pyramid.layout(shapes, factors, self.CHUNKS, shards)
        return plan.plan_pyramid(
            "zyx", dtype, levels, method="mean", boundary="pad", source_chunks=self.chunks
        )

    @parameterized(source=SOURCES)
    def time_plan(self, _source: str) -> None:
        self._plan()

    @parameterized(source=SOURCES)
    def track_tasks(self, _source: str) -> int:
        return self._plan().tasks

    @parameterized(source=SOURCES)
    def track_memory(self, _source: str) -> int:
        """Give the most memory that is held beyond what was held before."""
        reset_peak()
        held = held_bytes()
        self._plan()
        return peak_bytes() - held

    track_tasks.unit = "blocks"  # type: ignore[attr-defined]
    track_memory.unit = "bytes"  # type: ignore[attr-defined]
