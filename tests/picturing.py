"""Images of any size whose fine levels are not there, to be looked at. Laid down by Zarr alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from tests.helpers import multiscales, put_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.helpers import Document, Pixels, Place

#: Levels of fewer pixels than this, in a plane, have pixels.
_FILLED = 2**22


def put_huge(
    store: Place,
    shape: Sequence[int],
    dims: str = "yx",
    *,
    levels: int = 5,
    factor: int = 4,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    compressors: Any = "auto",  # noqa: ANN401 - of Zarr
    dtype: str = "uint16",
    version: str = "0.5",
    extra: Mapping[str, Any] | None = None,
) -> list[Pixels | None]:
    """Lay down an image of any size, and give the pixels of the levels that have some.

    Pixels are noise, which does not compress.
    """
    generator = np.random.default_rng(0)
    found: list[Pixels | None] = []
    scales = []
    zarr_format: Any = 2 if version == "0.4" else 3
    put_document(store, {}, version=version)
    for level in range(levels):
        factors = [factor**level if dim in "yx" else 1 for dim in dims]
        sizes = tuple(n // f for n, f in zip(shape, factors, strict=True))
        chunk = chunks or [1] * (len(dims) - 2) + [256, 256]
        options: dict[str, Any] = {"dimension_names": list(dims)}
        if zarr_format == 2:
            options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        array = zarr.create_array(
            store,
            name=str(level),
            shape=sizes,
            dtype=dtype,
            chunks=tuple(map(min, chunk, sizes)) if shards is None else tuple(chunk),
            shards=None if shards is None else tuple(shards),
            compressors=compressors,
            zarr_format=zarr_format,
            **options,
        )
        pixels = None
        if math.prod(sizes) <= _FILLED:
            pixels = generator.integers(0, 4000, sizes).astype(dtype)
            array[:] = pixels
        found.append(pixels)
        scales.append(
            [1.0 if dim == "c" else 0.5 * f for dim, f in zip(dims, factors, strict=True)]
        )
    units = {dim: "second" if dim == "t" else "micrometer" for dim in dims if dim != "c"}
    document: Document = {
        "multiscales": [
            {
                "name": "huge",
                **multiscales(
                    dims, list(map(str, range(levels))), scales, [[0.0] * len(dims)] * levels, units
                ),
            }
        ],
        **(extra or {}),
    }
    put_document(store, document, version=version)
    return found


def channels(count: int) -> Document:
    """Give settings of channels."""
    colors = ["FF0000", "00FF00", "0000FF", "FFFF00", "00FFFF", "FF00FF", "FFFFFF"]
    return {
        "omero": {
            "channels": [
                {
                    "label": f"marker {i}",
                    "color": colors[i % 7],
                    "active": True,
                    "window": {"min": 0, "max": 65535, "start": 0, "end": 4000},
                }
                for i in range(count)
            ]
        }
    }
