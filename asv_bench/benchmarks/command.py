"""The command: how long it takes to say something, beside what it has to import for it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks import Scratch
from benchmarks.images import cells

#: How often each is called: in turns, since the machine is not equally fast all the time.
ROUNDS = 7


def seconds(*arguments: str) -> float:
    """Time a call of Python, from its start to its end."""
    begin = time.perf_counter()
    subprocess.run(  # noqa: S603 - what stands below
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - begin


def ratio(command: list[str], reference: str) -> float:
    """Give how many times as long the command takes as Python takes for the reference."""
    pairs = [
        (seconds("-m", "xarray_omezarr", *command), seconds("-c", reference)) for _ in range(ROUNDS)
    ]
    own = statistics.median(mine for mine, _ in pairs)
    return own / statistics.median(other for _, other in pairs)


class Command(Scratch):
    """In a process of its own, as a user calls it."""

    def setup(self) -> None:
        super().setup()
        self.path = str(self.directory / "image.ome.zarr")
        cells((8, 512, 512)).omezarr.to_zarr(self.path, levels=3)
        # Compiled to bytecode, as it is for all but the first call.
        seconds("-m", "xarray_omezarr", "info", self.path)

    def time_help(self) -> None:
        seconds("-m", "xarray_omezarr", "--help")

    def time_info(self) -> None:
        seconds("-m", "xarray_omezarr", "info", self.path)

    def track_help_by_import_of_xarray_and_click(self) -> float:
        return ratio(["--help"], "import xarray, click")

    def track_info_by_import_of_zarr(self) -> float:
        return ratio(["info", self.path], "import zarr")


for _name, _method in vars(Command).items():
    if _name.startswith("track_"):
        _method.unit = "times"
