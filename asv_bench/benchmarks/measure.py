"""Measuring and painting labels: time, and what it holds in memory.

The figures of memory are resident memory in all, interpreter and libraries included: the label
image has 2 GiB, and 100,000 labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import xarray as xr

from benchmarks import parameterized
from benchmarks.memory import THREADS
from xarray_omezarr.measure import label_ids, measure, paint

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Planes, and the pixels along an edge of each.
LARGE, SMALL = (128, 2048), (32, 512)
#: 8 · 112 · 112 labels in the large one.
ALONG = {LARGE: (8, 112, 112), SMALL: (4, 28, 28)}
CHUNKS = {"64×256×256": (64, 256, 256), "1×2048×2048": (1, 2048, 2048)}
#: How far labels of the kind "far" are apart.
FAR = np.uint64(2**64 // 10**6)
PROPERTIES = ["area", "bbox", "centroid", "count", "max", "mean", "min", "std", "sum"]


def cells(size: tuple[int, int], chunks: tuple[int, int, int], kind: str = "cells") -> xr.Dataset:
    """Give a dask label image with its image, which cost little to make.

    Of the kind "cells", labels are boxes with background between them. Of the kind "noise",
    neighbours are never alike. Of the kind "far", labels are spread over all 64-bit integers.
    """
    import dask.array

    da: Any = dask.array  # it is typed in parts only
    planes, edge = size
    shape, along = (planes, edge, edge), ALONG[size]

    def places(info: Mapping[Any, Any]) -> list[np.ndarray[Any, Any]]:
        spans = info[None]["array-location"]
        return [np.arange(start, stop) for start, stop in spans]

    def label(block_info: Any) -> Any:
        at = places(block_info)
        z, y, x = (i * n // whole for i, n, whole in zip(at, along, shape, strict=True))
        _, ny, nx = along
        labels = ((z[:, None] * ny + y) * nx)[:, :, None].astype(np.uint32) + (x + 1).astype("u4")
        if kind == "noise":
            labels += (at[2] % 2 * 7).astype("u4")
            return labels % np.uint32(along[0] * ny * nx) + np.uint32(1)
        labels[:, :, at[2] % 18 < 4] = 0
        labels[:, at[1] % 18 < 2] = 0
        return labels * FAR if kind == "far" else labels

    def expose(block_info: Any) -> np.ndarray[Any, Any]:
        z, y, x = (i.astype(np.uint16) for i in places(block_info))
        return np.asarray((z * 31)[:, None, None] + ((y * 57)[:, None] ^ (x * 91)))

    blocks = da.core.normalize_chunks(chunks, shape)
    ds = xr.Dataset()
    dtypes = {"image": (expose, np.uint16), "nuclei": (label, np.uint64 if kind == "far" else "u4")}
    for name, (function, dtype) in dtypes.items():
        meta = np.empty((0, 0, 0), dtype)
        token = f"{name}-{size}-{chunks}-{kind}"
        pixels = da.map_blocks(function, dtype=dtype, chunks=blocks, meta=meta, name=token)
        ds[name] = ("z", "y", "x"), pixels
    ds["nuclei"].encoding["omezarr"] = {"kind": "label"}
    return ds.omezarr.assign_scale(z=1.0, y=0.325, x=0.325, units="micrometer")  # type: ignore[no-any-return]


def tabled(ds: xr.Dataset) -> xr.Dataset:
    """Give the Dataset with a property for each label."""
    count = int(np.prod(ALONG[LARGE if ds.sizes["x"] == LARGE[1] else SMALL]))
    ids = np.arange(1, count + 1, dtype=np.uint64)
    if ds["nuclei"].dtype == np.uint64:
        ids *= FAR
    return ds.assign_coords(nuclei_id=ids).assign(nuclei_area=("nuclei_id", ids / 2))


class Memory:
    """2 GiB of labels (4 GiB of those that are spread over 64 bits)."""

    timeout = 1800

    @parameterized(chunks=list(CHUNKS), kind=["cells", "far"])
    def peakmem_measure(self, chunks: str, kind: str) -> None:
        with dask.config.set(scheduler="threads", num_workers=THREADS):
            measure(cells(LARGE, CHUNKS[chunks], kind), "nuclei", PROPERTIES)

    @parameterized(chunks=list(CHUNKS), kind=["cells", "far"])
    def peakmem_paint(self, chunks: str, kind: str) -> None:
        painted = paint(tabled(cells(LARGE, CHUNKS[chunks], kind)), "nuclei_area")
        with dask.config.set(scheduler="threads", num_workers=THREADS):
            painted.sum().compute()

    @parameterized(chunks=list(CHUNKS))
    def peakmem_label_ids(self, chunks: str) -> None:
        with dask.config.set(scheduler="threads", num_workers=THREADS):
            label_ids(cells(LARGE, CHUNKS[chunks]), "nuclei")


class Small:
    """8 million pixels in memory."""

    def setup(self, kind: str) -> None:
        self.ds = tabled(cells(SMALL, (32, 512, 512), kind)).compute()
        self.bare = self.ds.drop_dims("nuclei_id")

    @parameterized(kind=["cells", "far", "noise"])
    def time_measure_shapes(self, kind: str) -> None:  # noqa: ARG002
        measure(self.bare, "nuclei", ["area", "bbox", "centroid"])

    @parameterized(kind=["cells", "far", "noise"])
    def time_measure_everything(self, kind: str) -> None:  # noqa: ARG002
        measure(self.bare, "nuclei", PROPERTIES)

    @parameterized(kind=["cells", "far", "noise"])
    def time_paint(self, kind: str) -> None:  # noqa: ARG002
        paint(self.ds, "nuclei_area").load()

    @parameterized(kind=["cells", "noise"])
    def time_regionprops_table(self, kind: str) -> None:  # noqa: ARG002
        """Loop over the labels, for comparison."""
        import skimage.measure

        names = ["area", "bbox", "centroid", "max", "mean", "min", "std"]
        intensity = {"max", "mean", "min", "std"}
        properties = [f"intensity_{name}" if name in intensity else name for name in names]
        labels = self.ds["nuclei"].values.astype(np.int64)
        skimage.measure.regionprops_table(labels, self.ds["image"].values, properties=properties)


class Graph:
    """Figures that no noise touches."""

    @parameterized(chunks=list(CHUNKS))
    def track_paint_tasks_per_block(self, chunks: str) -> float:
        ds = tabled(cells(LARGE, CHUNKS[chunks]))
        painted = paint(ds, "nuclei_area")
        graphs: list[Any] = [painted.data.dask, ds["nuclei"].data.dask]
        blocks: int = np.prod(painted.data.numblocks).item()
        return (len(graphs[0]) - len(graphs[1])) / blocks

    track_paint_tasks_per_block.unit = "tasks"  # type: ignore[attr-defined]
