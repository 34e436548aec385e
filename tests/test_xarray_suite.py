"""xarray's own tests of a backend, run against the engine.

They speak of variables and dimensions of any name. Here each variable is an image in a group of its
own, its dimensions the legal ones in their order: saved by the accessor, opened by the engine, and
put together under the names that the test gave. What an image cannot hold is skipped, by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import mock

import numpy as np
import pytest
import xarray as xr

import xarray_omezarr  # noqa: F401 - the accessor
from tests.helpers import opened

with warnings.catch_warnings(), mock.patch.object(pytest.mark, "_config", None):
    # Its marks are registered in xarray's own configuration.
    warnings.simplefilter("ignore")
    from xarray.tests import test_backends
    from xarray.tests.test_backends import DatasetIOBase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from tests.helpers import Option

LEGAL = {1: "x", 2: "yx", 3: "zyx", 4: "tzyx"}
"""Names for the dimensions of an image, by how many there are; a line is one pixel high."""


def create_test_data(*_: object, **__: object) -> xr.Dataset:
    """Images with the names, sizes and dimensions of xarray's `create_test_data`."""
    random = np.random.default_rng(12345)
    sizes = {"dim1": 8, "dim2": 9, "dim3": 10}
    images = {"var1": ("dim1", "dim2"), "var2": ("dim1", "dim2"), "var3": ("dim3", "dim1")}
    return xr.Dataset(
        {
            name: (dims, random.normal(size=[sizes[dim] for dim in dims]))
            for name, dims in images.items()
        },
        {dim: 0.5 * np.arange(size) for dim, size in sizes.items()},
    )


def create_boolean_data() -> xr.Dataset:
    return xr.Dataset({"x": ("t", [True, False, False, True])})


def skipped(reason: str) -> Option:
    """Stand for a test of things that no image has."""

    @pytest.mark.skip(reason=reason)
    def test(_: Any) -> None:  # noqa: ANN401
        raise AssertionError(reason)

    return test


class ImageIOBase(DatasetIOBase):
    """The suite, but for what is not about images."""

    version: str
    options: ClassVar[dict[str, Option]]

    @pytest.fixture(params=[False, True])
    def use_dask(self, request: pytest.FixtureRequest) -> bool:
        return bool(request.param)

    @pytest.fixture(autouse=True)
    def images(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for replace in (create_test_data, create_boolean_data):
            monkeypatch.setattr(test_backends, replace.__name__, replace)

    def save(self, dataset: xr.Dataset, path: str | PathLike[str], **kwargs: Option) -> None:
        for name, variable in dataset.data_vars.items():
            names = dict(zip(variable.dims, LEGAL[variable.ndim], strict=True))
            pixels = variable.rename("image").rename(names)
            if variable.ndim == 1:
                pixels = pixels.expand_dims("y")
            pixels.omezarr.to_zarr(
                path,
                group=name,
                version=self.version,
                levels=1,
                **self.options,
                **kwargs,
            )
        # The engine gives every dimension a coordinate. Here those count that were there before.
        record = {
            "dims": {name: list(variable.dims) for name, variable in dataset.data_vars.items()},
            "coords": list(dataset.coords),
        }
        (Path(path) / "names.json").write_text(json.dumps(record))

    @contextlib.contextmanager
    def open(self, path: str | PathLike[str], **kwargs: Option) -> Iterator[xr.Dataset]:
        record = json.loads((Path(path) / "names.json").read_text())
        parts = []
        with contextlib.ExitStack() as stack:
            for name, dims in record["dims"].items():
                part = stack.enter_context(opened(path, group=name, **kwargs))
                if len(dims) == 1:
                    part = part.isel(y=0, drop=True)
                part = part.rename(dict(zip(LEGAL[len(dims)], dims, strict=True)))
                part = part.drop_vars(set(part.coords) - set(record["coords"]))
                parts.append(part.rename(image=name))
            yield xr.merge(parts, join="exact", compat="no_conflicts")

    def test_load_async(self) -> None:  # type: ignore[override]
        asyncio.run(super().test_load_async())

    # Not images
    test_zero_dimensional_variable = skipped("an image has dimensions")
    test_write_store = skipped("`dump_to_store` belongs to xarray's own stores")
    test_roundtrip_None_variable = skipped("a group has a name")  # noqa: N815
    test_roundtrip_example_1_netcdf = skipped("levels, times and strings that are no image axes")
    test_roundtrip_global_coordinates = skipped("coordinates that no variable has")
    test_roundtrip_coordinates = skipped("coordinates that are not their dimension's")
    test_roundtrip_coordinates_with_space = skipped("a dataset of coordinates only")
    # Not pixels
    test_roundtrip_object_dtype = skipped("pixels are numbers")
    test_roundtrip_string_data = skipped("pixels are numbers")
    test_roundtrip_stringdtype_data = skipped("pixels are numbers")
    test_roundtrip_stringdtype_nulls = skipped("pixels are numbers")
    test_roundtrip_stringdtype_with_na_object = skipped("pixels are numbers")
    test_roundtrip_string_encoded_characters = skipped("pixels are numbers")
    test_roundtrip_numpy_datetime_data = skipped("pixels are numbers, not times")
    test_roundtrip_cftime_datetime_data = skipped("pixels are numbers, not times")
    test_roundtrip_timedelta_data = skipped("pixels are numbers, not times")
    test_roundtrip_timedelta_data_via_dtype = skipped("pixels are numbers, not times")


class TestImages04(ImageIOBase):
    version = "0.4"
    options: ClassVar[dict[str, Option]] = {"chunks": 4}


class TestImages05(ImageIOBase):
    version = "0.5"
    options: ClassVar[dict[str, Option]] = {"chunks": 4}


class TestShardedImages05(ImageIOBase):
    version = "0.5"
    options: ClassVar[dict[str, Option]] = {"chunks": 3, "shards": 6}
