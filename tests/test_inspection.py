"""Pixels looked at for a verdict: shifted levels, chunks that are cut, labels and their values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore

from tests.helpers import WatchedStore
from tests.test_verdict import edit, rules_of
from xarray_omezarr import samples, validate
from xarray_omezarr.alignment import displacement

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Document, Pixels

METHODS = ["mean", "median", "mode", "min", "max", "gaussian", "laplacian", "nearest", "linear"]


def smooth(shape: tuple[int, ...], seed: int = 0) -> Pixels:
    noise = np.random.default_rng(seed).random(shape)
    values: Pixels = ndimage.gaussian_filter(noise, 1.5)
    scaled: Pixels = (values - values.min()) / np.ptp(values) * 4000
    return scaled


# ── levels ───────────────────────────────────────────────────────────────────────────────────────


@given(
    factor=st.sampled_from([2, 3, 4]),
    shift=st.tuples(st.floats(-0.9, 0.9), st.floats(-0.9, 0.9)),
    seed=st.integers(0, 99),
)
def test_a_shift_is_measured(factor: int, shift: tuple[float, float], seed: int) -> None:
    fine = smooth((40 * factor, 40 * factor), seed)
    coarse = fine.reshape(40, factor, 40, factor).mean((1, 3))
    center = (factor - 1) / 2
    found = displacement(fine, coarse, (factor,) * 2, tuple(center - s for s in shift))
    assert found is not None
    np.testing.assert_allclose(found, shift, atol=0.05)


@pytest.mark.parametrize("factor", [2, 3])
def test_pixels_that_were_taken_are_found(factor: int) -> None:
    fine = np.random.default_rng(0).integers(0, 9, (64, 64, 64)[: 5 - factor])
    coarse = fine[(slice(1, None, factor),) * fine.ndim]
    origins = (0.5,) * fine.ndim
    found = displacement(fine, coarse, (factor,) * fine.ndim, origins, labels=True)
    np.testing.assert_array_equal(found, (0.5,) * fine.ndim)


def test_labels_that_fill_whole_cells_tell_of_no_shift_within_a_cell() -> None:
    # A mask of blocks: the mode of a cell is each of its pixels.
    fine = np.kron([[0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 2]], np.ones((8, 8), np.uint8))
    coarse = fine[::2, ::2]
    found = displacement(fine, coarse, (2, 2), (0.5, 0.5), labels=True)
    np.testing.assert_array_equal(found, (0, 0))
    # Beyond the cell it is one.
    found = displacement(fine, coarse, (2, 2), (2.5, 0.5), labels=True)
    np.testing.assert_array_equal(found, (-1.5, 0))


@pytest.mark.parametrize("values", [np.zeros((32, 32)), np.full((32, 32), np.nan)])
def test_what_tells_nothing_is_no_shift(values: Pixels) -> None:
    assert displacement(values, values[::2, ::2], (2, 2), (0.5, 0.5)) is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_levels_written_here_lie_on_each_other(method: str, version: str) -> None:
    store = MemoryStore()
    samples.coins().omezarr.to_zarr(store, version=version, method=method)
    report = validate(store, deep=True)
    assert report, report
    assert all("`colors`" in f.rule for f in report.warnings), report


@pytest.mark.parametrize(("method", "shift"), [("mean", 0.5), ("nearest", -0.5)])
def test_half_a_pixel_is_told_of(tmp_path: Path, method: str, shift: float) -> None:
    path = tmp_path / "coins.ome.zarr"
    samples.coins().omezarr.to_zarr(path, method=method)

    def change(ome: Document) -> None:
        for level, dataset in enumerate(ome["multiscales"][0]["datasets"]):
            scale = dataset["coordinateTransformations"][0]["scale"]
            own = 0.0 if method == "mean" else (2**level - 1) / 2 / 2**level
            dataset["coordinateTransformations"][1:] = [
                {"type": "translation", "translation": [own * s for s in scale]}
            ]

    edit(path, change)
    assert validate(path)
    found = [f for f in validate(path, deep=True).warnings if "maps its pixels" in f.rule]
    assert found
    assert f"{shift:+.2f}" in found[0].found


def test_factors_that_contradict_sizes_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "coins.ome.zarr"
    samples.coins().omezarr.to_zarr(path)

    def change(ome: Document) -> None:
        step = ome["multiscales"][0]["datasets"][1]["coordinateTransformations"][0]
        step["scale"] = [1.3 * s for s in step["scale"]]

    edit(path, change)
    assert any("cover the same space" in rule for rule in rules_of(validate(path, deep=True)))


# ── chunks ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_chunk_that_cannot_be_decoded_is_told_of(tmp_path: Path, version: str) -> None:
    path = tmp_path / "coins.ome.zarr"
    samples.coins().omezarr.to_zarr(path, version=version, chunks=128)
    chunk = path / "0" / ("1/1" if version == "0.4" else "c/1/1")
    chunk.write_bytes(chunk.read_bytes()[:40])
    assert validate(path)
    found = [f for f in validate(path, deep=True).errors if "encoded as" in f.rule]
    assert [f.file for f in found] == ["0"]
    assert "[128:256, 128:256]" in found[0].found


@pytest.mark.parametrize(
    ("version", "shards", "compressed"),
    [("0.4", None, True), ("0.5", None, True), ("0.5", None, False), ("0.5", 256, True)],
)
def test_chunks_are_counted(
    tmp_path: Path,
    version: str,
    shards: int | None,
    compressed: bool,  # noqa: FBT001
) -> None:
    path = tmp_path / "coins.ome.zarr"
    codecs: dict[str, object] = {} if compressed else {"compressors": []}
    samples.coins().omezarr.to_zarr(path, version=version, chunks=64, shards=shards, **codecs)
    before = validate(path, chunks=True)
    assert before
    assert before.census[0].absent == before.census[0].empty == 0
    folder = path / "0" / ("" if version == "0.4" else "c")
    files = [folder / "0" / "0", folder / "0" / "1", folder / "1" / "0"]
    files[0].write_bytes(b"")
    files[1].unlink()
    files[2].write_bytes(files[2].read_bytes()[:-9])
    report = validate(path, chunks=True)
    told = report.census[0]
    cut = int(shards is not None or not compressed)
    assert (told.absent, told.empty, told.truncated) == (1, 1, cut)
    assert told.expected == before.census[0].expected
    assert len([f for f in report.errors if "stored as a whole" in f.rule]) == 1 + cut
    assert "1 absent" in str(report)


def test_a_store_in_memory_is_counted_too(memory: MemoryStore) -> None:
    samples.circle().omezarr.to_zarr(memory, group="inner")
    census = validate(memory, group="inner", chunks=True).census
    assert [one.path for one in census][:1] == ["0"]
    assert all(one.absent == 0 for one in census if "labels" not in one.path)


def test_huge_chunks_are_left_alone(memory: MemoryStore) -> None:
    samples.circle().omezarr.to_zarr(memory, levels=1)
    zarr.create_array(
        memory,
        name="0",
        shape=(2**20, 2**20),
        chunks=(2**20, 2**20),
        dtype="u1",
        dimension_names=["y", "x"],
        overwrite=True,
    )
    assert any(
        "compared by a sample" in rule for rule in rules_of(validate(memory, deep=True), "note")
    )


@pytest.mark.parametrize("size", [2**40, 2**63, 10**30])
def test_shapes_beyond_measure_take_no_time(memory: MemoryStore, size: int) -> None:
    samples.circle().omezarr.to_zarr(memory)
    document = json.loads(memory._store_dict["0/zarr.json"].to_bytes())
    document["shape"] = [size, size]
    memory._store_dict["0/zarr.json"] = cpu.Buffer.from_bytes(json.dumps(document).encode())
    store = WatchedStore(memory)
    assert validate(store, deep=True, chunks=True).census[0].absent > size
    assert len(store.log.requests) < 200


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def test_labels_are_compared_with_their_properties(tmp_path: Path) -> None:
    path = tmp_path / "coins.ome.zarr"
    samples.coins().omezarr.to_zarr(path)
    table = [{"label-value": 1}, {"label-value": 4711}]
    edit(path / "labels" / "coins", lambda ome: ome["image-label"].update(properties=table))
    notes = validate(path, deep=True).notes
    assert any("4711" in note.found for note in notes)
    assert any("labels have none" in note.found for note in notes)
