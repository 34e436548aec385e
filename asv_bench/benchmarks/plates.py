"""A plate of 384 wells, two fields each, five levels: the table of it, and trees.

What `xr.open_datatree` does itself with the 3,840 Datasets is measured by an engine that has them
ready, and what reading takes by reading and parsing the files.
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import time
from typing import TYPE_CHECKING, Any

import xarray as xr
from xarray.backends import BackendEntrypoint
from xarray.backends.common import datatree_from_dict_with_io_cleanup
from zarr.storage import MemoryStore

import xarray_omezarr
from benchmarks import Scratch, parameterized
from benchmarks.images import CountingStore
from benchmarks.memory import held_bytes, peak_bytes, reset_peak
from xarray_omezarr import plates, samples
from xarray_omezarr.backend import OmeZarrBackendEntrypoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSIONS = ["0.4", "0.5"]
ROWS, COLUMNS, FIELDS = "ABCDEFGHIJKLMNOP", [str(i) for i in range(1, 25)], ("0", "1")
WELLS = tuple(plates.WellEntry(r, c, f"{r}/{c}") for r in ROWS for c in COLUMNS)
#: Two channels, as a camera of a megapixel takes them.
SHAPE, LEVELS = (2, 1080, 1080), 5


def put_plate(path: Path, version: str) -> None:
    """Lay down a plate without pixels: the files of one image, as often as there are fields."""
    image = samples.fluorescence((1, 2, 1, 64, 64)).image[0, :, 0]
    dataset = image.pad(y=(0, SHAPE[1] - 64), x=(0, SHAPE[2] - 64)).to_dataset(name="image")
    dataset = dataset.assign_coords({d: [0.65 * i for i in range(SHAPE[1])] for d in "yx"})
    template = path.parent / "template.ome.zarr"
    dataset.omezarr.to_zarr(template, version=version, levels=LEVELS)
    names = {".zarray", ".zattrs", ".zgroup", "zarr.json"}
    files = [file for file in template.rglob("*") if file.name in names]
    plate = plates.Plate(version, tuple(ROWS), tuple(COLUMNS), WELLS, name="plate")
    put_group(path, version, plates.plate_attributes(plate))
    fields = tuple(plates.FieldEntry(name) for name in FIELDS)
    for well in WELLS:
        put_group(path / well.path, version, plates.well_attributes(plates.Well(version, fields)))
        for name in FIELDS:
            for file in files:
                target = path / well.path / name / file.relative_to(template)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


def put_group(path: Path, version: str, attributes: dict[str, Any]) -> None:
    path.mkdir(parents=True)
    if version == "0.4":
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(attributes))
        return
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (path / "zarr.json").write_text(json.dumps(document))


class Ready(BackendEntrypoint):
    """An engine that gives what it has been given."""

    open_dataset_parameters = ("filename_or_obj", "drop_variables")
    groups: dict[str, xr.Dataset]

    def open_datatree(self, filename_or_obj: Any, *, drop_variables: Any = None) -> xr.DataTree:
        del filename_or_obj, drop_variables
        return datatree_from_dict_with_io_cleanup(type(self).groups)

    def open_dataset(self, filename_or_obj: Any, *, drop_variables: Any = None) -> xr.Dataset:
        raise NotImplementedError


def without_indexes(dataset: xr.Dataset) -> xr.Dataset:
    """Give a Dataset as engines usually do: xarray makes the indexes."""
    coords = {name: dataset.variables[name].to_base_variable() for name in dataset.coords}
    found = xr.Dataset(
        {name: dataset.variables[name] for name in dataset.data_vars},
        xr.Coordinates(coords, indexes={}),
        dataset.attrs,
    )
    found.encoding = dataset.encoding
    return found


def seconds(function: Callable[[], object]) -> float:
    """Measure the processor's time of a call."""
    # Trees are cycles: those of before would be found by the collector in the middle of this one.
    gc.collect()
    start = time.process_time()
    function()
    return time.process_time() - start


class _Plate(Scratch):
    timeout = 600

    def setup(self, version: str, *_args: Any) -> None:
        super().setup()
        self.path = self.directory / "plate.ome.zarr"
        put_plate(self.path, version)
        # What is imported on the way is imported here.
        self.open(wells="A/1")
        xarray_omezarr.wells(self.path)

    def open(self, **kwargs: Any) -> xr.DataTree:
        return xr.open_datatree(self.path, engine="omezarr", **kwargs)

    def read_wells(self) -> None:
        """Read and parse the files that a table of wells takes."""
        file = "zarr.json" if (self.path / "zarr.json").exists() else ".zattrs"
        for path in ("", *(well.path for well in WELLS)):
            json.loads((self.path / path / file).read_bytes())


class Plates(_Plate):
    """Times, from a disk."""

    @parameterized(version=VERSIONS)
    def time_open_datatree(self, _version: str) -> None:
        self.open()

    @parameterized(version=VERSIONS)
    def time_open_datatree_one_level(self, _version: str) -> None:
        self.open(level=0)

    @parameterized(version=VERSIONS)
    def time_open_datatree_one_row(self, _version: str) -> None:
        self.open(wells="C/*")

    @parameterized(version=VERSIONS)
    def time_wells(self, _version: str) -> None:
        xarray_omezarr.wells(self.path)

    @parameterized(version=VERSIONS)
    def time_reading_the_files_of_wells(self, _version: str) -> None:
        self.read_wells()


class PlatesAndReady(_Plate):
    """Processor's time, over that which cannot be spared: at most 1.5 and 3 are promised."""

    @parameterized(version=VERSIONS, indexes=["as here", "none"])
    def track_tree(self, _version: str, indexes: str) -> float:
        ratios = []
        for _ in range(3):
            groups = OmeZarrBackendEntrypoint().open_groups_as_dict(self.path)
            if indexes == "none":
                groups = {path: without_indexes(ds) for path, ds in groups.items()}
            Ready.groups = groups
            ready = seconds(lambda: xr.open_datatree("ready", engine=Ready))
            # xarray has changed them, and opening them once more would take longer.
            Ready.groups = groups = {}
            ratios.append(seconds(self.open) / ready)
        return statistics.median(ratios)

    @parameterized(version=VERSIONS)
    def track_wells(self, _version: str) -> float:
        ours = min(seconds(lambda: xarray_omezarr.wells(self.path)) for _ in range(9))
        return ours / min(seconds(self.read_wells) for _ in range(9))


class PlatesMemory(_Plate):
    """What a tree of all of it takes beyond what was there."""

    @parameterized(version=VERSIONS)
    def track_beyond(self, _version: str) -> int:
        held = held_bytes()
        reset_peak()
        tree = self.open()
        peak = peak_bytes()
        del tree
        return peak - held


class PlatesRequests:
    """What is asked of a store."""

    def setup(self, version: str) -> None:
        scratch = _Plate()
        scratch.setup(version)
        store = MemoryStore()
        from zarr.core.buffer import cpu

        for file in scratch.path.rglob("*"):
            if file.is_file():
                key = file.relative_to(scratch.path).as_posix()
                store._store_dict[key] = cpu.Buffer.from_bytes(file.read_bytes())  # noqa: SLF001
        scratch.teardown()
        self.store: Any = CountingStore(store)

    @parameterized(version=VERSIONS)
    def track_requests_of_a_well(self, _version: str) -> int:
        xr.open_datatree(self.store, engine="omezarr", wells="A/1")
        return len(self.store.count.keys)

    @parameterized(version=VERSIONS)
    def track_requests_of_the_wells(self, _version: str) -> int:
        xarray_omezarr.wells(self.store)
        return len(self.store.count.keys)

    @parameterized(version=VERSIONS)
    def track_requests_of_a_tree(self, _version: str) -> int:
        xr.open_datatree(self.store, engine="omezarr")
        return len(self.store.count.keys)


PlatesMemory.track_beyond.unit = "bytes"  # type: ignore[attr-defined]
PlatesAndReady.track_tree.unit = "× xarray's own"  # type: ignore[attr-defined]
PlatesAndReady.track_tree.noisy = True  # type: ignore[attr-defined]
PlatesAndReady.track_wells.unit = "× reading the files"  # type: ignore[attr-defined]
PlatesAndReady.track_wells.noisy = True  # type: ignore[attr-defined]
for _name, _method in vars(PlatesRequests).items():
    if _name.startswith("track_"):
        _method.unit = "requests"
