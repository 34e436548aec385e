"""A small plate, a function that segments and measures its fields, and the same done by hand."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from tests import forks
from tests.helpers import opened, pixels
from tests.plating import put_wells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


WELLS = ("A/1", "A/2", "B/1")
FIELDS = tuple(f"{well}/{field}" for well in WELLS for field in "01")
KEYS = ["well", "row", "column", "field", "acquisition"]
SHAPE = (2, 40, 48)


def picture(path: str) -> np.ndarray[Any, Any]:
    """Give the pixels of a field: noise, smooth enough for objects of some pixels."""
    noise = pixels(SHAPE, seed=FIELDS.index(path)).astype(float)
    smooth = sum(np.roll(noise, (y, x), (1, 2)) for y in range(3) for x in range(3))
    found: np.ndarray[Any, Any] = (np.asarray(smooth) / 128).astype("uint16")
    return found


def put_plate(root: Path, *, version: str = "0.5", acquisitions: bool = True) -> Path:
    numbers = (3, 7) if acquisitions else ()
    fields = {field: numbers[i] if numbers else None for i, field in enumerate("01")}
    put_wells(root, dict.fromkeys(WELLS, fields), version=version, acquisitions=numbers)
    for path in FIELDS:
        ds = xr.Dataset({"image": (("c", "y", "x"), picture(path))})
        ds = ds.omezarr.assign_scale(y=0.5, x=0.5, units="micrometer")
        ds.omezarr.to_zarr(root / path, version=version, levels=2, chunks=32)
    return root


def masked(plane: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    from skimage.measure import label

    found: np.ndarray[Any, Any] = label(plane > np.quantile(plane, 0.9)).astype("uint16")
    return found


def properties(labels: np.ndarray[Any, Any], plane: np.ndarray[Any, Any]) -> pd.DataFrame:
    from skimage.measure import regionprops_table

    names = ("label", "area", "intensity_mean", "intensity_max")
    return pd.DataFrame(regionprops_table(labels, plane, properties=names))


def segment(ds: xr.Dataset) -> tuple[pd.DataFrame, xr.DataArray]:
    """Threshold, label, measure."""
    plane = ds.image.isel(c=0).load()
    labels = plane.copy(data=masked(plane.values))
    return properties(labels.values, plane.values), labels


def table_of(ds: xr.Dataset) -> pd.DataFrame:
    return segment(ds)[0]


def by_hand(paths: Sequence[str] = FIELDS) -> pd.DataFrame:
    """Do the same to the pixels that were laid down, without any of the package."""
    frames = []
    for path in paths:
        plane = picture(path)[0]
        frame = properties(masked(plane), plane)
        row, column, field = path.split("/")
        front = (f"{row}/{column}", row, column, field, 3 + 4 * int(field))
        for position, (key, value) in enumerate(zip(KEYS, front, strict=True)):
            frame.insert(position, key, [value] * len(frame))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def check_table(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Compare values, exactly; a file does not keep the widths of types."""
    assert list(found.columns) == list(expected.columns)
    assert len(found) == len(expected)
    for name in expected.columns:
        assert found[name].tolist() == expected[name].tolist(), name


def check_labels(root: Path, name: str = "nuclei", paths: Sequence[str] = FIELDS) -> None:
    for path in paths:
        ds = opened(root, group=path)
        np.testing.assert_array_equal(ds[name].values, masked(picture(path)[0]))
        np.testing.assert_array_equal(ds.image.values, picture(path))


def mean(ds: xr.Dataset) -> dict[str, Any]:
    return {"mean": ds.image.mean()}


def means(paths: Sequence[str] = FIELDS) -> list[float]:
    return [picture(path).mean() for path in paths]


def killed(work: Callable[..., None], *args: object) -> None:
    """Run something in a process that is killed on its way."""
    process = forks.context().Process(target=work, args=args)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
