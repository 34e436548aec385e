"""Processes that need not import anything: copies of one that has imported it all."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

# What tests run elsewhere, as far as it is installed. No module of this starts a thread.
_IMPORTED = (
    "dask.array distributed distributed.nanny pint s3fs skimage.measure zarrs "
    "xarray_omezarr.accessor xarray_omezarr.regions tests.kills tests.screening"
).split()


def context() -> ForkServerContext:
    """Give what starts such processes."""
    found = multiprocessing.get_context("forkserver")
    # What others, like `distributed`, would have imported comes too late then.
    found.set_forkserver_preload(_IMPORTED)
    forkserver.ensure_running()
    return found
