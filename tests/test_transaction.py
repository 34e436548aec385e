"""What must never happen to what is there, whoever else writes and whatever a file says."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from tests.helpers import put_sample
from xarray_omezarr import OmeZarrError, OmeZarrWarning, samples
from xarray_omezarr.errors import OmeZarrFileExistsError
from xarray_omezarr.plan import plan_pyramid
from xarray_omezarr.pyramid import chunk_sizes, default_chunks, layout

if TYPE_CHECKING:
    from pathlib import Path


def flat(value: int, size: int = 64) -> xr.DataArray:
    return xr.DataArray(np.full((size, size), value, np.uint16), dims=("y", "x"))


def opened(where: Path) -> xr.Dataset:
    return xr.open_dataset(where, engine="omezarr")


@pytest.mark.parametrize("attempt", range(6))
def test_first_writes_at_the_same_time_never_mix(tmp_path: Path, attempt: int) -> None:
    """Of two writers, one is told that the other was first; the image is wholly one's."""
    start, errors = threading.Barrier(2), []

    def write(value: int) -> None:
        start.wait()
        try:
            flat(value + attempt).omezarr.to_zarr(tmp_path / "image", levels=1, chunks=16)
        except OmeZarrError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=write, args=(value,)) for value in (100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(np.unique(opened(tmp_path / "image").image)) == 1
    assert len(errors) == 1


def test_whoever_loses_leaves_nothing_behind(tmp_path: Path) -> None:
    flat(1).omezarr.to_zarr(tmp_path)
    first = flat(2).omezarr.to_zarr(tmp_path, mode="w", compute=False)
    second = flat(3).omezarr.to_zarr(tmp_path, mode="w", compute=False)
    with pytest.raises(OmeZarrError, match="somebody else"):
        first.compute()
    second.compute()
    assert np.unique(opened(tmp_path).image).tolist() == [3]
    assert len(list(tmp_path.iterdir())) == 2  # zarr.json, and one level


def test_a_journal_reaches_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "image").mkdir()
    journal = json.dumps({"write": "x", "paths": ["../mine"], "superseded": []})
    (tmp_path / "image" / ".omezarr.json").write_text(journal)
    with pytest.raises(OmeZarrFileExistsError, match="untouched"):
        flat(1).omezarr.to_zarr(tmp_path / "image")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_group_that_poses_as_a_level_stays(tmp_path: Path) -> None:
    flat(1).omezarr.to_zarr(tmp_path / "image")
    flat(2).omezarr.to_zarr(tmp_path / "image", group="inner")
    group = zarr.open_group(tmp_path / "image", mode="r+")
    ome = group.attrs["ome"]
    assert isinstance(ome, dict)
    ome["multiscales"][0]["datasets"].append(
        {"path": "inner", "coordinateTransformations": [{"type": "scale", "scale": [2, 2]}]}
    )
    group.attrs["ome"] = ome
    flat(3).omezarr.to_zarr(tmp_path / "image", mode="w")
    assert np.unique(opened(tmp_path / "image" / "inner").image).tolist() == [2]


def test_attributes_that_say_array_make_no_array(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "root", mode="w", attributes={"kind": "array"})
    flat(1).omezarr.to_zarr(tmp_path / "root", group="image")
    assert opened(tmp_path / "root" / "image").image.shape == (64, 64)
    zarr.create_array(tmp_path / "array", shape=(4,), dtype="u1")
    store = zarr.storage.LocalStore(tmp_path / "array")
    with pytest.raises(OmeZarrFileExistsError, match="within the Zarr array"):
        flat(1).omezarr.to_zarr(store, group="inner")


def test_a_refused_label_leaves_no_journal(tmp_path: Path) -> None:
    samples.coins()[["image"]].omezarr.to_zarr(tmp_path)
    zarr.open_group(tmp_path / "labels" / "coins", mode="w")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OmeZarrFileExistsError, match="untouched"):
        samples.coins().omezarr.to_zarr(tmp_path, mode="w")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_label_image_by_itself_is_never_averaged(tmp_path: Path) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "image")
    label = xr.open_dataset(tmp_path / "image", engine="omezarr", group="labels/coins")
    label.omezarr.to_zarr(tmp_path / "image", group="labels/coins", mode="w", levels=3)
    label = xr.open_dataset(tmp_path / "image", engine="omezarr", group="labels/coins")
    label.omezarr.to_zarr(tmp_path / "image", group="labels/second")
    ds = opened(tmp_path / "image")
    xr.testing.assert_equal(ds.second.drop_vars("second_id", errors="ignore"), ds.coins)
    tree = xr.open_datatree(tmp_path / "image" / "labels" / "coins", engine="omezarr")
    for name in ("1", "2"):
        assert set(np.unique(tree[name].image)) <= set(range(23))
    group = zarr.open_group(tmp_path / "image" / "labels" / "coins", mode="r")
    assert group.attrs["ome"]["multiscales"][0]["type"] == "mode"  # type: ignore[index, call-overload]


def test_levels_in_other_units_are_refused(tmp_path: Path) -> None:
    fine = flat(1).omezarr.assign_scale(y=1, x=1, units="micrometer").to_dataset(name="image")
    coarse = flat(1, 32).omezarr.assign_scale(y=2, x=2, units="nanometer").to_dataset(name="image")
    tree = xr.DataTree.from_dict({"/0": fine, "/1": coarse})
    with pytest.raises(OmeZarrError, match="nanometer"):
        tree.omezarr.to_zarr(tmp_path / "image")
    with pytest.raises(OmeZarrError, match="coarser"):
        xr.DataTree.from_dict({"/0": fine, "/1": fine}).omezarr.to_zarr(tmp_path / "image")
    assert not (tmp_path / "image").exists()


def test_foreign_attributes_beside_an_old_image_stay(tmp_path: Path) -> None:
    put_sample(tmp_path, version="0.4")
    zarr.open_group(tmp_path, mode="a", zarr_format=3, attributes={"mine": 1})
    with pytest.warns(OmeZarrWarning, match="side by side"):
        opened(tmp_path)
    flat(1).omezarr.to_zarr(tmp_path, mode="w", version="0.5")
    assert json.loads((tmp_path / "zarr.json").read_text())["attributes"]["mine"] == 1


# ── memory is known before ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shape", "source"),
    [
        ((200, 20014, 20014), (64, 10007, 10007)),
        ((300, 3000, 3000), (97, 1021, 1021)),
        ((2000, 2000, 2000), (100, 100, 100)),
        ((64, 4096, 4096), (1, 4096, 4096)),
    ],
)
def test_default_chunks_are_near_a_mebibyte(
    shape: tuple[int, ...], source: tuple[int, ...]
) -> None:
    chunks = default_chunks(shape, 2, (True, True, True), source)
    assert 2**18 <= 2 * int(np.prod(chunks)) <= 2**22


def test_plan_knows_what_a_crop_holds() -> None:
    """A block of a crop touches more chunks than one of the whole, since it begins elsewhere."""
    pixels = da.zeros((256, 1024, 1024), chunks=256, dtype=np.uint16)
    held = []
    for array in (pixels, pixels[:, 10:, 10:]):
        levels = layout([array.shape], [(1, 1, 1)], (64, 64, 128), None)
        plan = plan_pyramid(
            "zyx", array.dtype, levels, method="mean", boundary="pad", source_chunks=array.chunks
        )
        assert chunk_sizes(array.chunks) == (256, 256, 256)
        (step,) = plan.passes
        held.append(step.held)
    assert held[0] == (256, 256, 256)
    assert held[1][0] == 256
    assert min(held[1][1:]) > 256


def test_chunks_that_do_not_fit_never_make_a_block_of_the_whole() -> None:
    shape = (2000, 2000, 2000)
    source = ((100,) * 20,) * 3
    levels = layout([shape], [(1, 1, 1)], (128, 128, 128), None)
    plan = plan_pyramid(
        "zyx", np.dtype("u2"), levels, method="mean", boundary="pad", source_chunks=source
    )
    assert plan.block_bytes < 2**30
