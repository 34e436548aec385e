"""Codecs alone, in one thread, on a microscope's noise and on photographs."""

from __future__ import annotations

import math
import statistics
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import parameterized
from benchmarks.images import cells

if TYPE_CHECKING:
    from collections.abc import Callable

#: The first is the default; the last is what Zarr writes by itself.
CODECS: dict[str, dict[str, Any]] = {
    "lz4 5, bitshuffle": {"cname": "lz4", "clevel": 5, "shuffle": 2},
    "lz4 5, shuffle": {"cname": "lz4", "clevel": 5, "shuffle": 1},
    "zstd 1, bitshuffle": {"cname": "zstd", "clevel": 1, "shuffle": 2},
    "zstd 5, bitshuffle": {"cname": "zstd", "clevel": 5, "shuffle": 2},
    "zstd 3": {"level": 3},
}
PICTURES = [
    "fluorescence",
    "cell",
    "immunohistochemistry",
    "retina",
    "hubble_deep_field",
    "astronaut",
    "coins",
]
#: The size that a chunk has by default.
CHUNK_BYTES = 2**20
SECONDS = 1.0


@cache
def chunks_of(picture: str) -> list[np.ndarray[Any, Any]]:
    """Give an image as chunks of at most 1 MiB; a photograph has one plane a channel."""
    if picture == "fluorescence":
        stack = cells((64, 256, 256)).values
        return [np.ascontiguousarray(stack[:, y : y + 64, x : x + 128])
                for y in range(0, 256, 64) for x in range(0, 256, 128)]  # fmt: skip
    from skimage import data

    pixels = np.asarray(getattr(data, picture)())
    planes = [pixels] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    edge = math.isqrt(CHUNK_BYTES)
    return [np.ascontiguousarray(plane[y : y + edge, x : x + edge])
            for plane in planes
            for y in range(0, plane.shape[0], edge)
            for x in range(0, plane.shape[1], edge)]  # fmt: skip


def rate(size: int, function: Callable[[], object]) -> float:
    """Give the median of the MB that something gets through in a second of processor time."""
    function()
    samples: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(samples) < 5:
        start = time.thread_time()
        function()
        samples.append(time.thread_time() - start)
    return size / 1e6 / statistics.median(samples)


class Codec:
    """Rates are of the pixels' bytes, by the processor's time of one thread."""

    def setup(self, picture: str, codec: str) -> None:
        from numcodecs import Blosc, Zstd, blosc  # type: ignore[import-untyped]

        # One thread, with a context of its own, as Zarr has it.
        blosc.use_threads = False
        options = CODECS[codec]
        self.codec: Any = Blosc(**options) if "cname" in options else Zstd(**options)
        self.chunks = chunks_of(picture)
        self.size = sum(chunk.nbytes for chunk in self.chunks)
        self.encoded = [self.codec.encode(chunk) for chunk in self.chunks]
        self.out = [np.empty_like(chunk) for chunk in self.chunks]

    @parameterized(picture=PICTURES, codec=list(CODECS))
    def track_encode(self, _picture: str, _codec: str) -> float:
        return rate(self.size, lambda: [self.codec.encode(chunk) for chunk in self.chunks])

    @parameterized(picture=PICTURES, codec=list(CODECS))
    def track_decode(self, _picture: str, _codec: str) -> float:
        pairs = list(zip(self.encoded, self.out, strict=True))
        return rate(self.size, lambda: [self.codec.decode(chunk, out) for chunk, out in pairs])

    @parameterized(picture=PICTURES, codec=list(CODECS))
    def track_ratio(self, _picture: str, _codec: str) -> float:
        return self.size / sum(len(chunk) for chunk in self.encoded)

    track_encode.unit = track_decode.unit = "MB/s"  # type: ignore[attr-defined]
    track_encode.noisy = track_decode.noisy = True  # type: ignore[attr-defined]
    track_ratio.unit = "× smaller"  # type: ignore[attr-defined]
