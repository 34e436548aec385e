"""The images that this package and the others are given to write.

Their pixels are those of `xarray_omezarr.samples.fluorescence`, with so much noise below and haze
behind them that they compress like a microscope's: where they have 16 bits to a part in 1.7 (Blosc,
lz4 with bit shuffle) and 1.6 (zstd), where they have 8 in 1.3 and 1.25.
"""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import SLOW
from xarray_omezarr import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import zarr

    Pixels = np.ndarray[Any, np.dtype[Any]]
    Shape = tuple[int, ...]

#: So much may the mean of a chunk differ from that of what it was reduced from.
CLOSE = 0.02
#: So many chunks of each level are looked at.
CHECKED = 12


@dataclass(frozen=True)
class Workload:
    """An image, and the levels that are to be made of it."""

    dims: str
    shape: Shape
    chunks: Shape
    """Of the source and of all that is written."""
    dtype: str
    halved: str
    """The axes that are reduced."""
    further: int
    """How many levels there are below the first."""
    tile: Shape
    """The part that is simulated; the others are shifted and brightened copies."""

    @property
    def factors(self) -> list[Shape]:
        """Give the factors of each level, relative to the first; it is among them."""
        levels = range(self.further + 1)
        return [tuple(2**k if d in self.halved else 1 for d in self.dims) for k in levels]

    @property
    def levels(self) -> list[dict[str, int]]:
        """Give the factors of the further levels by axis."""
        return [dict(zip(self.dims, factors, strict=True)) for factors in self.factors[1:]]

    @property
    def shapes(self) -> list[Shape]:
        """Give the shape of each level."""
        return [
            tuple(-(-n // f) for n, f in zip(self.shape, factors, strict=True))
            for factors in self.factors
        ]

    @property
    def pixels_in_all(self) -> float:
        """Give the pixels of all levels as a multiple of those of the first."""
        return sum(map(math.prod, self.shapes)) / math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Count the bytes of the first level."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def chunks_of(self, shape: Shape) -> Shape:
        """Give the chunks of a level, none of which is larger than the level."""
        return tuple(map(min, self.chunks, shape))

    def tiny(self) -> Workload:
        """Give an image of the same kind that takes next to no time and memory to write."""
        sizes = zip(self.dims, self.shape, strict=True)
        shape = tuple(64 if dim in self.halved else min(size, 2) for dim, size in sizes)
        return replace(self, shape=shape, chunks=tuple(map(min, self.chunks, shape)), further=2)


FULL = {
    "3-D": Workload(
        "zyx", (128, 2048, 2048), (64, 256, 256), "uint16", "zyx", 3, tile=(64, 512, 512)
    ),
    "2-D": Workload(
        "cyx", (3, 16384, 16384), (1, 512, 512), "uint8", "yx", 5, tile=(3, 2048, 2048)
    ),
    "5-D": Workload(
        "tczyx",
        (40, 2, 16, 512, 512),
        (1, 1, 16, 256, 256),
        "uint16",
        "yx",
        3,
        tile=(1, 2, 16, 512, 512),
    ),
}
#: A tenth of it, about.
SMALL = {"3-D": (64, 1024, 1024), "2-D": (3, 4096, 4096), "5-D": (4, 2, 16, 512, 512)}


def workload(name: str) -> Workload:
    """Give a workload: a small one, unless the slow benchmarks are asked for."""
    full = FULL[name]
    return full if os.environ.get(SLOW) else replace(full, shape=SMALL[name])


# ── the source ───────────────────────────────────────────────────────────────────────────────────


def make_source(work: Workload, path: Path) -> Path:
    """Write the image without further levels."""
    array = declare(work, path)
    for box, pixels in _tiles(work):
        array[box] = pixels
    return path


def declare(work: Workload, store: Any) -> zarr.Array[Any]:
    """Make the image, without its pixels: Blosc, lz4 with bit shuffle, as fast as it gets."""
    import zarr
    from zarr.codecs import BloscCodec

    types = {"t": "time", "c": "channel"}
    here = [{"type": "scale", "scale": [1.0] * len(work.dims)}]
    multiscale = {
        "axes": [{"name": dim, "type": types.get(dim, "space")} for dim in work.dims],
        "datasets": [{"path": "0", "coordinateTransformations": here}],
    }
    group = zarr.create_group(
        store, zarr_format=3, attributes={"ome": {"version": "0.5", "multiscales": [multiscale]}}
    )
    return group.create_array(
        "0",
        shape=work.shape,
        chunks=work.chunks,
        dtype=work.dtype,
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
        dimension_names=list(work.dims),
    )


def pixels_of(work: Workload) -> Pixels:
    """Give the image in memory."""
    image = np.empty(work.shape, work.dtype)
    for box, pixels in _tiles(work):
        image[box] = pixels
    return image


def _tiles(work: Workload) -> Iterator[tuple[tuple[slice, ...], Pixels]]:
    """Yield the parts of an image, and where they are."""
    tile = _simulated(work)
    starts = (range(0, n, t) for n, t in zip(work.shape, tile.shape, strict=True))
    for number, start in enumerate(itertools.product(*starts)):
        stops = (min(a + t, n) for a, t, n in zip(start, tile.shape, work.shape, strict=True))
        box = tuple(map(slice, start, stops))
        copy = np.roll(tile, (37 * number, 91 * number), (-2, -1))
        copy += tile.dtype.type(number % 16)
        yield box, copy[tuple(slice(b.stop - b.start) for b in box)]


def _simulated(work: Workload) -> Pixels:
    """Simulate a tile. There are 12 bits; those of a better camera have noise in two more."""
    shape = tuple(map(min, work.tile, work.shape))
    cells = samples.fluorescence(shape, tuple(work.dims)).image.values
    if work.dtype == "uint16":
        noise = np.random.default_rng(0).integers(0, 4, shape, np.uint16)
        return np.asarray((cells << 2) + noise)
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    haze = 75 + 50 * np.sin(2 * np.pi * y / 700) + 50 * np.cos(2 * np.pi * x / 875 + 1)
    return np.asarray(np.clip((cells >> 2) + haze, 0, 239).astype(work.dtype))


# ── what was written ─────────────────────────────────────────────────────────────────────────────


def check(work: Workload, source: Path, path: Path, *, exact: bool) -> None:
    """Check that an image has been written, with all its levels.

    Parameters
    ----------
    work, source
        What was to be written.
    path
        The image.
    exact
        Whether each pixel of a further level has to be the mean of those of the level before,
        halves rounded to even; else its chunks shall be about as bright.
    """
    import zarr

    group: Any = zarr.open_group(path, mode="r")
    datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
    levels: list[zarr.Array[Any]] = [group[dataset["path"]] for dataset in datasets]
    found = [level.shape for level in levels]
    _require(found == work.shapes, f"levels of {found}, not of {work.shapes}")
    for level in levels:
        chunks = tuple(map(min, level.chunks, level.shape))
        _require(chunks == work.chunks_of(level.shape), f"chunks of {chunks}")
        _require(str(level.dtype) == work.dtype, f"pixels of {level.dtype}")
        _require(level.nchunks_initialized == level.nchunks, "chunks are missing")
    original: Any = zarr.open_array(source / "0", mode="r")
    for box in _some(work.shape, work.chunks):
        _require(np.array_equal(levels[0][box], original[box]), f"other pixels at {box}")
    for finer, level in itertools.pairwise(levels):
        ratio = tuple(a // b for a, b in zip(finer.shape, level.shape, strict=True))
        for box in _some(level.shape, work.chunks_of(level.shape)):
            wide = tuple(slice(b.start * f, b.stop * f) for b, f in zip(box, ratio, strict=True))
            mean, pixels = _mean(np.asarray(finer[wide]), ratio), np.asarray(level[box])
            if exact:
                _require(np.array_equal(np.rint(mean), pixels), f"no means at {box}")
            else:
                off = abs(float(mean.mean()) - float(pixels.mean()))
                _require(off <= 1 + CLOSE * float(mean.mean()), f"brightness {off} off at {box}")


def _some(shape: Shape, chunks: Shape) -> Iterator[tuple[slice, ...]]:
    """Yield the boxes of some chunks, the last one among them."""
    grid = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
    count = math.prod(grid)
    chosen = np.random.default_rng(0).choice(count, min(count, CHECKED), replace=False)
    for number in {*chosen.tolist(), count - 1}:
        index = np.unravel_index(number, grid)
        yield tuple(
            slice(int(i) * c, min((int(i) + 1) * c, n))
            for i, c, n in zip(index, chunks, shape, strict=True)
        )


def _mean(pixels: Pixels, ratio: Shape) -> Pixels:
    cells = [part for n, f in zip(pixels.shape, ratio, strict=True) for part in (n // f, f)]
    return np.asarray(pixels.reshape(cells).mean(axis=tuple(range(1, len(cells), 2))))


def _require(fulfilled: object, otherwise: str) -> None:
    if not fulfilled:
        msg = f"The image has {otherwise}."
        raise ValueError(msg)


def stored(path: Path) -> tuple[int, int]:
    """Count the objects below a directory, and their bytes."""
    files = [file for file in path.rglob("*") if file.is_file()]
    return len(files), sum(file.stat().st_size for file in files)
