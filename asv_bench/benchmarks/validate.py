"""Validating an image: how long it takes, and what it asks of the store."""

from __future__ import annotations

from zarr.storage import MemoryStore

from benchmarks import Scratch, parameterized
from benchmarks.images import CountingStore, cells
from xarray_omezarr import validate

VERSIONS = ["0.4", "0.5"]


class Validate(Scratch):
    """From a local disk: an image of three levels."""

    def setup(self, version: str) -> None:
        super().setup()
        self.path = self.directory / "image.ome.zarr"
        cells((8, 512, 512)).omezarr.to_zarr(self.path, version=version, levels=3)

    @parameterized(version=VERSIONS)
    def time_metadata(self, _version: str) -> None:
        validate(self.path)

    @parameterized(version=VERSIONS)
    def time_deep(self, _version: str) -> None:
        validate(self.path, deep=True)


class Requests:
    """What validating asks of a store, to be held against what opening the tree asks."""

    def setup(self, version: str, levels: int) -> None:
        store = MemoryStore()
        cells((8, 512, 512)).omezarr.to_zarr(store, version=version, levels=levels)
        self.store = CountingStore(store, latency=0.05)

    @parameterized(version=VERSIONS, levels=[1, 5])
    def track_requests_of_validate(self, _version: str, _levels: int) -> int:
        validate(self.store)
        return len(self.store.count.keys)

    @parameterized(version=VERSIONS, levels=[1, 5])
    def track_rounds_of_validate(self, _version: str, _levels: int) -> int:
        validate(self.store)
        return self.store.count.rounds


for _name, _method in vars(Requests).items():
    if _name.startswith("track_"):
        _method.unit = _name.split("_")[1]
