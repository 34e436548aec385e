"""What the doctests of the package run in."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector modules and tests, which stay: while they come, and later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give each example an empty directory, and the names that examples take for granted."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    directory: Path = tmp_path_factory.mktemp("example")
    request.getfixturevalue("monkeypatch").chdir(directory)
    from xarray_omezarr import samples

    names: dict[str, Any] = request.getfixturevalue("doctest_namespace")
    names.update(np=np, xr=xr, samples=samples, path="image.ome.zarr")
