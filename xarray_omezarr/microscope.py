"""What makes fluorescence-like pixels: cells before a dim ground, and shot noise.

All arithmetic is on integers, or on floats in operations that IEEE 754 rounds correctly: pixels are
the same to the byte on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from xarray_omezarr.errors import OmeZarrError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

AXES: Final[tuple[str, ...]] = ("t", "c", "z", "y", "x")
PIXEL: Final = {"t": 30.0, "z": 1.0, "y": 0.325, "x": 0.325}  # seconds and micrometres
BITS: Final = 12

# Lengths within the sample are integers: sixteenths of a pixel.
SUB: Final = 16
# The sample is divided into tiles of this many pixels along z, y and x; a tile holds a cell or
# is empty. So the cells in a window are found without knowing of any others.
TILE: Final = (12, 64, 64)
# How far light reaches from its tile, in pixels: four standard deviations (at most 9 pixels in y
# and x, a third of that in z), and what a cell swings and is displaced within a channel.
REACH: Final = (12, 44, 44)

OFFSET: Final = 120  # what the camera reads in the dark
# Sizes relative to the cell's own, in sixteenths: nuclei, cytoplasm, organelles, and so on anew.
SIZES: Final = (10, 16, 5)

STEPS: Final = 32  # entries of the table of the Gaussian for one standard deviation
UNIT: Final = 14  # bits after the point in that table

MASK: Final = (1 << 64) - 1
STRIP: Final = 1 << 15  # pixels to which noise is added at a time, so that they stay in the cache


class _Spots(NamedTuple):
    """Gaussian blobs: centres and standard deviations along z, y, x, in sixteenths of a pixel."""

    centre: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    sigma: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    peak: NDArray[np.int64]


@dataclass(frozen=True)
class Camera:
    """What makes the pixels of any window of the image."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    seed: int

    def check(self) -> None:
        """Refuse what cannot be made, or not be opened again."""
        from xarray_omezarr.rasters import MOST_POSITIONS

        if not self.dims or len(set(self.dims)) < len(self.dims) or not set(self.dims) <= set(AXES):
            msg = f"`dims` is {self.dims}; expected some of {AXES}, each once."
            raise OmeZarrError(msg)
        wrong = len(self.shape) != len(self.dims) or min(self.shape) < 1
        if wrong or sum(self.shape) > MOST_POSITIONS:
            msg = (
                f"`shape` is {self.shape}; expected a size of 1 or more for each of {self.dims}, "
                f"and no more than {MOST_POSITIONS} in all."
            )
            raise OmeZarrError(msg)
        if self.dtype.kind not in "uif":
            msg = f"`dtype` is {self.dtype}; expected an integer or floating type."
            raise OmeZarrError(msg)

    @property
    def bits(self) -> int:
        """How many of the camera's bits the dtype holds."""
        if self.dtype.kind == "f":
            return BITS
        return min(BITS, 8 * self.dtype.itemsize - (self.dtype.kind == "i"))

    def expose(self, window: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """Make the pixels of a window: (start, stop) for each dimension."""
        ranges = dict(zip(self.dims, window, strict=True))
        # Of an axis that was not asked for the image is the first index.
        t, c, z, y, x = (ranges.get(axis, (0, 1)) for axis in AXES)
        pixels = np.empty([stop - start for start, stop in (t, c, z, y, x)], self.dtype)
        if pixels.size:
            for i, j, k in np.ndindex(*pixels.shape[:3]):
                plane = self._plane(t[0] + i, c[0] + j, z[0] + k, y, x)
                pixels[i, j, k] = plane >> (BITS - self.bits)
        pixels = pixels.squeeze(tuple(n for n, axis in enumerate(AXES) if axis not in ranges))
        present = [axis for axis in AXES if axis in ranges]
        return np.ascontiguousarray(pixels.transpose([present.index(dim) for dim in self.dims]))

    def _plane(
        self, t: int, c: int, z: int, y: tuple[int, int], x: tuple[int, int]
    ) -> NDArray[np.int32]:
        """Make one plane of a window, in the camera's counts."""
        ground = OFFSET + hashed(self.seed, 2, c) % 60
        # In quarters of a count, so that the feet of many blobs add up to what they are.
        light = np.full((y[1] - y[0], x[1] - x[0]), 4 * ground, np.int32)
        spots = self._spots(t, c, z, y, x)
        depth = np.abs(z * SUB - spots.centre[0]) * STEPS // spots.sigma[0]
        peak = spots.peak * _gaussian(depth) >> UNIT
        top, along_y = _profiles(spots.centre[1], spots.sigma[1])
        left, along_x = _profiles(spots.centre[2], spots.sigma[2])
        # 12 bits of the peak and twice 14 of the Gaussian, less 12, are 28: within an int32.
        along_y = (peak[:, np.newaxis] * along_y >> (UNIT - 2)).astype(np.int32)
        for n in np.flatnonzero(peak):
            rows, of_y = _overlap(y, int(top[n]), along_y.shape[1])
            columns, of_x = _overlap(x, int(left[n]), along_x.shape[1])
            light[rows, columns] += np.multiply.outer(along_y[n, of_y], along_x[n, of_x]) >> UNIT
        light >>= 2
        add_noise(light, hashed(self.seed, 3, t, c, z), y, x)
        return light

    def _spots(self, t: int, c: int, z: int, y: tuple[int, int], x: tuple[int, int]) -> _Spots:
        """Find the cells that may be seen in a part of a plane."""
        bits = hashed(self.seed, 0)
        drift = 0, t * (bits % 64 - 32), t * (bits // 64 % 64 - 32)  # up to two pixels a frame
        ranges = [
            np.arange(
                (start - move // SUB - reach) // size, (stop - move // SUB + reach) // size + 1
            )
            for (start, stop), move, reach, size in zip(
                ((z, z + 1), y, x), drift, REACH, TILE, strict=True
            )
        ]
        tiles = [tile.ravel() for tile in np.meshgrid(*ranges, indexing="ij")]
        draws = split(hashed(self.seed, 1, *tiles), (2, 12, 12, 12, 6, 6, 8, 4))
        empty, (high, wide), (phase, speed) = draws[0] == 0, draws[4:6], draws[6:]
        place = [
            (tile * 4096 + draw) * size * SUB // 4096 + move
            for tile, draw, size, move in zip(tiles, draws[1:4], TILE, drift, strict=True)
        ]
        # Cells swing to and fro, by up to four pixels; what lies in them has its place there.
        swing = np.abs((phase + speed * t) % 256 - 128) - 64
        peak, down, right = split(hashed(self.seed, 4, *tiles, c), (11, 6, 6))
        inside = 0 if c == 0 else 1
        high, wide = (80 + high) * SIZES[c % 3] // 16, (80 + wide) * SIZES[c % 3] // 16
        return _Spots(
            centre=(
                place[0],
                place[1] + swing + inside * (down - 32),
                place[2] - swing + inside * (right - 32),
            ),
            sigma=((high + wide) // 6, high, wide),
            peak=np.where(empty, 0, peak + 300),
        )


def add_noise(light: NDArray[np.int32], key: int, y: tuple[int, int], x: tuple[int, int]) -> None:
    """Add shot noise, in place: normal, with the square root of the light for its width."""
    rows, columns = _keys(key, 0, y)[:, np.newaxis], _keys(key, 1, x)
    step = max(1, STRIP // columns.size)
    for start in range(0, rows.size, step):
        part = light[start : start + step]
        bits = rows[start : start + step] ^ columns
        _scramble(bits)
        # The sum of four bytes is nearly normal: mean 510, standard deviation 147.8.
        pairs = (bits & 0x00FF00FF) + ((bits >> 8) & 0x00FF00FF)
        noise = ((pairs & 0xFFFF) + (pairs >> 16)).astype(np.float32)
        noise -= 510
        noise *= np.sqrt(part.astype(np.float32))
        noise /= 147.8
        part += np.rint(noise).astype(np.int32)
    np.clip(light, 0, (1 << BITS) - 1, out=light)


def lazy(camera: Camera, chunks: Any) -> Any:  # noqa: ANN401 - dask is imported here alone
    """Make a dask array of which each block is exposed on its own."""
    import dask.array
    from dask.base import tokenize

    da: Any = dask.array  # it is typed in parts only
    if hasattr(chunks, "keys"):
        if strangers := sorted(set(chunks) - set(camera.dims)):
            msg = f"`chunks` names {strangers}; the image has the dimensions {camera.dims}."
            raise OmeZarrError(msg)
        chunks = tuple(chunks.get(dim, -1) for dim in camera.dims)
    try:
        blocks = da.core.normalize_chunks(chunks, camera.shape, dtype=camera.dtype)
    except ValueError as error:
        msg = f"`chunks` is {chunks}, which does not fit the shape {camera.shape}: {error}"
        raise OmeZarrError(msg) from error

    return da.map_blocks(
        _expose_block,
        camera=camera,
        chunks=blocks,
        dtype=camera.dtype,
        meta=np.empty((0,) * len(camera.shape), camera.dtype),
        name=f"fluorescence-{tokenize(camera, blocks)}",
    )


def _expose_block(camera: Camera, block_info: Any) -> NDArray[Any]:  # noqa: ANN401 - dask's dictionary
    """Expose the window that one block of the dask array is."""
    return camera.expose(tuple(block_info[None]["array-location"]))


def _profiles(
    centre: NDArray[np.int64], sigma: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Give the profile of each spot along an axis, and the index where it starts."""
    start = (centre - 4 * sigma) // SUB
    steps = np.arange(8 * int(sigma.max()) // SUB + 2)
    distance = np.abs((start[:, np.newaxis] + steps) * SUB - centre[:, np.newaxis])
    return start, _gaussian(distance * STEPS // sigma[:, np.newaxis])


def _overlap(window: tuple[int, int], start: int, size: int) -> tuple[slice, slice]:
    """Give the part of a window that something covers, and the part of it that does."""
    first = max(start, window[0])
    last = max(first, min(start + size, window[1]))
    return slice(first - window[0], last - window[0]), slice(first - start, last - start)


def _gaussian(steps: NDArray[np.int64]) -> NDArray[np.int32]:
    """Look up exp(−u²/2) as integers; it ends with 0 at 4 standard deviations."""
    return _gaussian_table()[np.minimum(steps, 4 * STEPS)]


@cache
def _gaussian_table() -> NDArray[np.int32]:
    # Decimal rounds correctly by its standard; the exp of a C library may not.
    with localcontext(Context(prec=28)):
        squares = [Decimal(u * u) / (STEPS * STEPS) for u in range(4 * STEPS)]
        values = [int((-square / 2).exp() * (1 << UNIT) + Decimal("0.5")) for square in squares]
    return np.array([*values, 0], np.int32)


def hashed(*words: Any) -> Any:  # noqa: ANN401 - of Python's integers, or of arrays
    """Turn integers into 64 bits that look random (SplitMix64, once for each integer)."""
    state: Any = 0
    for word in words:
        bits = word.astype(np.uint64) if isinstance(word, np.ndarray) else word & MASK
        state = ((state ^ bits) + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state = state ^ (state >> 31)
    return state


def split(bits: NDArray[np.uint64], counts: Sequence[int]) -> list[NDArray[np.int64]]:
    """Take numbers of so many bits each off the end."""
    parts = []
    used = 0
    for count in counts:
        parts.append((bits >> np.uint64(used) & np.uint64((1 << count) - 1)).astype(np.int64))
        used += count
    return parts


def _keys(key: int, axis: int, window: tuple[int, int]) -> NDArray[np.uint32]:
    """Give each index of a window 32 bits that look random."""
    word = hashed(key, axis)
    keys = np.arange(*window, dtype=np.uint32)
    keys ^= np.uint32(word & 0xFFFFFFFF)
    _scramble(keys)
    keys += np.uint32(word >> 32)
    _scramble(keys)
    return keys


def _scramble(bits: NDArray[np.uint32]) -> None:
    """Mix each 32 bits thoroughly, in place (the finaliser ``lowbias32`` of Chris Wellons)."""
    bits ^= bits >> np.uint32(16)
    bits *= np.uint32(0x7FEB352D)
    bits ^= bits >> np.uint32(15)
    bits *= np.uint32(0x846CA68B)
    bits ^= bits >> np.uint32(16)
