"""Looking at an image of 100,000 × 100,000 pixels, of five levels: time, memory, requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from benchmarks import Scratch, parameterized
from benchmarks.images import CountingStore
from benchmarks.memory import held_bytes, peak_bytes, reset_peak
from xarray_omezarr import samples
from xarray_omezarr.thumbnails import Looking, thumbnail

if TYPE_CHECKING:
    from zarr.abc.store import Store

SIDE = 100_000
LEVELS = 5
#: Levels of no more pixels along a side have pixels; the others read as zeros.
FILLED = 2048
#: Seconds until a store that is elsewhere answers.
LATENCY = 0.05


def put(store: Any, side: int = SIDE) -> None:
    """Lay an image down, each level with a quarter of the pixels along a side."""
    transforms = [{"type": "scale", "scale": [0.25 * 4**level] * 2} for level in range(LEVELS)]
    multiscale = {
        "axes": [{"name": dim, "type": "space", "unit": "micrometer"} for dim in "yx"],
        "datasets": [
            {"path": str(level), "coordinateTransformations": [one]}
            for level, one in enumerate(transforms)
        ],
    }
    attributes: Any = {"ome": {"version": "0.5", "multiscales": [multiscale]}}
    group = zarr.create_group(store, zarr_format=3, attributes=attributes)
    for level in range(LEVELS):
        size = side // 4**level
        array = group.create_array(
            str(level),
            shape=(size, size),
            chunks=(min(size, 512),) * 2,
            dtype="uint16",
            dimension_names=["y", "x"],
        )
        if size <= FILLED:
            array[:] = samples.fluorescence((size, size), ("y", "x")).image.values


class Display(Scratch):
    """From a local disk."""

    def setup(self) -> None:
        super().setup()
        self.path = self.directory / "image.ome.zarr"
        put(self.path)
        self.dataset = xr.open_dataset(self.path, engine="omezarr")
        self.image = self.dataset.image
        self.memory = xr.DataArray(np.zeros((3, 4096, 4096), np.uint16), dims=("c", "y", "x"))

    def time_open(self) -> None:
        xr.open_dataset(self.path, engine="omezarr").close()

    def time_text(self) -> None:
        repr(self.dataset.omezarr)

    def time_html(self) -> None:
        self.dataset.omezarr._repr_html_()

    def time_thumbnail(self) -> None:
        thumbnail(self.image, Looking.at(self.image))

    def time_thumbnail_of_memory(self) -> None:
        thumbnail(self.memory, Looking.at(self.memory))

    def time_preview(self) -> None:
        self.dataset.omezarr.preview()

    def peakmem_open(self) -> None:
        xr.open_dataset(self.path, engine="omezarr").close()

    def peakmem_html(self) -> None:
        self.dataset.omezarr._repr_html_()

    def peakmem_thumbnail(self) -> None:
        thumbnail(self.image, Looking.at(self.image))

    def track_memory_of_opening_and_html(self) -> int:
        """Give what is held at the most, beyond the imports."""
        small = self.directory / "small"
        put(small, 4096)
        xr.open_dataset(small, engine="omezarr").omezarr._repr_html_()
        held = held_bytes()
        reset_peak()
        xr.open_dataset(self.path, engine="omezarr").omezarr._repr_html_()
        return peak_bytes() - held

    track_memory_of_opening_and_html.unit = "bytes"  # type: ignore[attr-defined]

    def track_bytes_of_html(self) -> int:
        return len(self.dataset.omezarr._repr_html_())

    track_bytes_of_html.unit = "bytes"  # type: ignore[attr-defined]


class Far:
    """From a store that answers after 50 ms."""

    def setup(self, *_args: Any) -> None:
        store = MemoryStore()
        put(store)
        self.store = CountingStore(store, latency=LATENCY)

    def show(self) -> None:
        store: Store = self.store
        ds = xr.open_dataset(store, engine="omezarr")  # type: ignore[arg-type]
        ds.omezarr._repr_html_()

    def time_open_and_html(self) -> None:
        self.show()

    @parameterized(what=["requests", "rounds"])
    def track_asked(self, what: str) -> int:
        self.show()
        return len(self.store.count.keys) if what == "requests" else self.store.count.rounds

    track_asked.unit = "requests"  # type: ignore[attr-defined]
