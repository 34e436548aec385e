"""Benchmarks, and what they share.

Beside times (``time_*``) and peak memory (``peakmem_*``) there are figures that no noise touches
(``track_*``): requests to a store, tasks in a graph, bytes written.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Decorated = TypeVar("Decorated", bound=Callable[..., Any])

#: Benchmarks that take gigabytes of disk and minutes run only where this is set.
SLOW = "XARRAY_OMEZARR_SLOW_BENCHMARKS"


def parameterized(**params: Sequence[Any]) -> Callable[[Decorated], Decorated]:
    """Run a benchmark for each combination of parameters.

    Examples
    --------
    >>> @parameterized(version=["0.4", "0.5"], method=["mean", "mode"])
    ... def time_write(version, method): ...
    >>> time_write.param_names
    ['version', 'method']
    """

    def decorate(function: Decorated) -> Decorated:
        function.param_names = list(params)  # type: ignore[attr-defined]
        function.params = [list(values) for values in params.values()]  # type: ignore[attr-defined]
        return function

    return decorate


def skip_unless_slow() -> None:
    """Skip a benchmark, from its `setup`, unless the slow ones are asked for."""
    if not os.environ.get(SLOW):
        msg = f"takes gigabytes and minutes: set {SLOW}=1 to run it"
        # This is how asv is told to skip.
        raise NotImplementedError(msg)


class Scratch:
    """A benchmark with a directory of its own, `self.directory`, that is gone afterwards.

    It lies where `TMPDIR` says: on a memory-backed file system the disk is out of the figures.
    """

    directory: Path

    def setup(self, *_args: Any, **_kwargs: Any) -> None:
        """Make the directory."""
        self.directory = Path(tempfile.mkdtemp(prefix="xarray-omezarr-"))

    def teardown(self, *_args: Any, **_kwargs: Any) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)
