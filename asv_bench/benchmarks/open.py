"""Opening an image: how long it takes, and what it asks of the store. And importing the package."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import xarray as xr
from zarr.storage import MemoryStore

from benchmarks import Scratch, parameterized
from benchmarks.images import CountingStore, cells

VERSIONS = ["0.4", "0.5"]


class Open(Scratch):
    """Metadata only, from a local disk: an image of three levels."""

    def setup(self, version: str) -> None:
        super().setup()
        self.path = self.directory / "image.ome.zarr"
        cells((8, 512, 512)).omezarr.to_zarr(self.path, version=version, levels=3)

    @parameterized(version=VERSIONS)
    def time_open_dataset(self, _version: str) -> None:
        xr.open_dataset(self.path, engine="omezarr").close()

    @parameterized(version=VERSIONS)
    def time_open_datatree(self, _version: str) -> None:
        xr.open_datatree(self.path, engine="omezarr").close()

    @parameterized(version=VERSIONS)
    def time_open_and_read_a_plane(self, _version: str) -> None:
        with xr.open_dataset(self.path, engine="omezarr") as ds:
            ds.image[0].load()


class Requests:
    """What opening asks of a store. Each round takes a latency, whatever its requests are."""

    def setup(self, version: str, levels: int) -> None:
        store = MemoryStore()
        cells((8, 512, 512)).omezarr.to_zarr(store, version=version, levels=levels)
        self.store = CountingStore(store, latency=0.05)

    @parameterized(version=VERSIONS, levels=[1, 5])
    def track_requests_of_a_level(self, _version: str, _levels: int) -> int:
        xr.open_dataset(self.store, engine="omezarr", level=-1)  # type: ignore[arg-type]
        return len(self.store.count.keys)

    @parameterized(version=VERSIONS, levels=[1, 5])
    def track_rounds_of_a_level(self, _version: str, _levels: int) -> int:
        xr.open_dataset(self.store, engine="omezarr", level=-1)  # type: ignore[arg-type]
        return self.store.count.rounds

    @parameterized(version=VERSIONS, levels=[1, 5])
    def track_requests_of_a_tree(self, _version: str, _levels: int) -> int:
        xr.open_datatree(self.store, engine="omezarr")  # type: ignore[arg-type]
        return len(self.store.count.keys)

    @parameterized(version=VERSIONS, levels=[1, 5])
    def track_rounds_of_a_tree(self, _version: str, _levels: int) -> int:
        xr.open_datatree(self.store, engine="omezarr")  # type: ignore[arg-type]
        return self.store.count.rounds


for _name, _method in vars(Requests).items():
    if _name.startswith("track_"):
        _method.unit = _name.split("_")[1]


class Import:
    """What the package adds to `import xarray`, in a fresh process each time."""

    RUNS = 11
    CODE = """
import json, time
start = time.perf_counter()
import xarray
middle = time.perf_counter()
import xarray_omezarr
end = time.perf_counter()
print(json.dumps([middle - start, end - middle]))
"""

    def _measure(self) -> tuple[float, float]:
        """Give the medians of both imports, in seconds."""
        runs = [
            json.loads(subprocess.check_output([sys.executable, "-c", self.CODE]))  # noqa: S603
            for _ in range(self.RUNS)
        ]
        before, added = (statistics.median(column) for column in zip(*runs, strict=True))
        return before, added

    def timeraw_import_xarray(self) -> str:
        return "import xarray"

    def timeraw_import(self) -> str:
        return "import xarray_omezarr"

    def track_import_added(self) -> float:
        return 1000 * self._measure()[1]

    track_import_added.noisy = True  # type: ignore[attr-defined]
    track_import_added.unit = "ms"  # type: ignore[attr-defined]

    def track_import_ratio(self) -> float:
        before, added = self._measure()
        return (before + added) / before

    track_import_ratio.noisy = True  # type: ignore[attr-defined]
    track_import_ratio.unit = "× import xarray"  # type: ignore[attr-defined]
