"""Images rewritten in other chunks, shards or codecs, against Zarr and dask doing the same.

Zarr copies plane by plane, or as many as a chunk of the target is deep. dask reads the chunks that
are there, and brings them into those, or the shards, of the target.
"""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from benchmarks import Scratch, parameterized
from benchmarks.files import planes
from benchmarks.peers import cost
from xarray_omezarr import convert

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.peers import Figures

    Sizes = tuple[int, ...] | None

#: 512 MiB, as they are before.
SHAPE, CHUNKS = (64, 2048, 2048), (1, 256, 256)
#: What becomes of them: chunks, shards, and whether Zarr's own codec is to encode them.
KINDS: dict[str, tuple[Sizes, Sizes, bool]] = {
    "chunks": ((16, 64, 64), None, False),
    "shards": (None, (8, 1024, 1024), False),
    "codec": (None, None, True),
}


def ours(source: Path, target: Path, kind: str) -> None:
    """Convert the image."""
    chunks, shards, anew = KINDS[kind]

    def by_name(sizes: Sizes) -> dict[str, int] | None:
        return None if sizes is None else dict(zip("zyx", sizes, strict=True))

    convert(
        source,
        target,
        chunks=by_name(chunks),
        shards=by_name(shards),
        compressors="zstd:3" if anew else None,
        progress=False,
    )


def _arrays(source: Path, target: Path, kind: str) -> tuple[Any, Any]:
    """Open the array, and make the one that it is written to."""
    chunks, shards, anew = KINDS[kind]
    old: Any = zarr.open_array(source / "0", mode="r")
    new: Any = zarr.create_array(
        target,
        shape=SHAPE,
        dtype=old.dtype,
        chunks=chunks or CHUNKS,
        shards=shards,
        compressors=zarr.codecs.ZstdCodec(level=3) if anew else old.compressors,
    )
    return old, new


def by_zarr(source: Path, target: Path, kind: str) -> None:
    """Copy the array by Zarr."""
    old, new = _arrays(source, target, kind)
    depth = (new.shards or new.chunks)[0]
    for z in range(0, SHAPE[0], depth):
        new[z : z + depth] = old[z : z + depth]


def by_dask(source: Path, target: Path, kind: str) -> None:
    """Copy the array by dask."""
    old, new = _arrays(source, target, kind)
    pixels = da.from_zarr(old)  # type: ignore[no-untyped-call]
    da.store(pixels.rechunk(new.shards or new.chunks), new, lock=False)


WAYS = {"ours": ours, "zarr": by_zarr, "dask": by_dask}


class Convert(Scratch):
    """An image of one level, without shards."""

    timeout = 1800

    def setup_cache(self) -> Path:
        """Make the image."""
        pixels = np.stack(list(planes(SHAPE[0])))
        image = xr.Dataset({"image": (("z", "y", "x"), pixels)})
        image.omezarr.to_zarr("image.zarr", levels=1, chunks=dict(zip("zyx", CHUNKS, strict=True)))
        return Path.cwd() / "image.zarr"

    @parameterized(kind=list(KINDS), way=list(WAYS))
    def figures_convert(self, source: Path, kind: str, way: str) -> dict[str, float]:
        return cost(partial(WAYS[way], source, self.directory / "target.zarr", kind))

    @staticmethod
    def report(figures: Figures, notes: Sequence[str]) -> Iterator[str]:
        """Yield the table: what each took, and ours over the others."""
        yield "| | time | processor | memory |"
        yield "|---|---:|---:|---:|"
        for kind in KINDS:
            found = {way: figures[kind, way] for way in WAYS if figures.get((kind, way))}
            for way, rounds in found.items():
                wall, processor, memory = (
                    statistics.median(one[key] for one in rounds)
                    for key in ("wall", "processor", "memory")
                )
                size = f"{memory / 2**20:.0f} MiB"
                yield f"| {kind}, {way} | {wall:.2f} s | {processor:.2f} s | {size} |"
        yield ""
        yield from (f"Not measured: {note}." for note in notes)
