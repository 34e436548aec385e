from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr

from tests.helpers import WatchedStore, opened, opened_tree, put_sample
from tests.plating import put_plate
from xarray_omezarr import OmeZarrError, samples
from xarray_omezarr.facts import AxisFacts, LabelFacts, LevelFacts
from xarray_omezarr.summaries import ChannelFacts, GroupFacts, ImageFacts, of_dataset, of_tree

if TYPE_CHECKING:
    from pathlib import Path

    from zarr.storage import MemoryStore


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_image_without_a_request(memory: MemoryStore, version: str) -> None:
    put_sample(memory, version=version, dims="czyx")
    store = WatchedStore(memory)
    ds = opened(store)
    store.log.clear()
    facts = of_dataset(ds)
    assert store.log.requests == []
    assert (facts.kind, facts.name, facts.version) == ("image", "cells", version)
    assert (facts.dtype, facts.nbytes, facts.state) == ("uint16", ds.image.nbytes, "not read yet")
    assert facts.axes == (
        AxisFacts("c", 2, None, None, chunk=2),
        AxisFacts("z", 4, 2.0, "micrometer", (-1.0, 7.0), 8.0, 4, 0.0),
        AxisFacts("y", 40, 0.5, "micrometer", (9.75, 29.75), 20.0, 16, 10.0),
        AxisFacts("x", 48, 0.25, "micrometer", (-4.125, 7.875), 12.0, 16, -4.0),
    )
    assert facts.channels == (
        ChannelFacts("DAPI", "0000FF", (100.0, 2000.0), active=True),
        ChannelFacts("GFP", "00FF00", (50.0, 1500.0), active=False),
    )
    assert facts.levels == (
        LevelFacts(0, (2, 4, 40, 48), 30720, (2, 4, 16, 16), None, here=True),
        LevelFacts(1, (2, 4, 20, 24), 7680, expected=True),
        LevelFacts(2, (2, 4, 10, 12), 1920, expected=True),
    )
    assert facts.notes == ()


def test_a_tree_of_levels_and_labels(tmp_path: Path) -> None:
    ds = samples.coins().omezarr.measure("coins", ["area"])
    ds.omezarr.to_zarr(tmp_path, levels=2, shards=256, chunks=64)
    facts = of_tree(opened_tree(tmp_path))
    assert isinstance(facts, ImageFacts)
    assert facts.levels == (
        LevelFacts(0, (303, 384), 116352, (64, 64), (256, 256)),
        LevelFacts(1, (152, 192), 29184, (64, 64), (192, 192)),
    )
    assert facts.labels == (LabelFacts("coins", "int32", 22, ("area",)),)
    assert facts.name == "coins"
    pyramid = of_tree(ds.omezarr.pyramid(levels=2))
    assert isinstance(pyramid, ImageFacts)
    assert [level.shape for level in pyramid.levels] == [(303, 384), (152, 192)]


def test_states(tmp_path: Path) -> None:
    put_sample(tmp_path)
    ds = opened(tmp_path)
    assert of_dataset(ds.chunk(x=24)).state == "a graph of dask, of 2 chunks"
    assert of_dataset(ds.load()).state == "in memory"


def test_axes_that_are_uneven_or_nameless() -> None:
    image = xr.Dataset({"image": (("y", "x"), np.zeros((4, 3)))})
    plain = of_dataset(image)
    assert plain.axes[1] == AxisFacts("x", 3, 1.0, None, (-0.5, 2.5), 3.0, None, 0.0)
    uneven = of_dataset(image.assign_coords(x=[0.0, 1.0, 5.0]))
    assert uneven.axes[1] == AxisFacts("x", 3, None, None)
    assert "x" in uneven.notes[0]
    turned = of_dataset(image.assign_coords(x=[4.0, 2.0, 0.0]))
    assert turned.axes[1] == AxisFacts("x", 3, -2.0, None, (5.0, -1.0), 6.0, None, 4.0)
    with pytest.raises(OmeZarrError, match="has no type"):
        of_dataset(image.rename(x="foo"))


def test_a_plate_some_of_whose_wells_are_there(tmp_path: Path) -> None:
    put_plate(tmp_path / "plate", {"A/1": ["0", "1"], "C/10": ["0"], "B/2": ["0"]})
    facts = of_tree(opened_tree(tmp_path / "plate", wells=["A/1", "B/2"]))
    assert isinstance(facts, GroupFacts)
    assert facts.plate is not None
    assert facts.plate.columns == ("1", "2", "10")
    assert facts.plate.wells == {("A", "1"), ("B", "2")}
    assert (facts.kind, facts.images, facts.plate.fields) == ("plate", 3, 3)
    assert [entry.path for entry in facts.entries] == ["A/1/0", "A/1/1", "B/2/0"]
    stack = opened(tmp_path / "plate", stack=("row", "column"), fields=0, fill_value=0)
    stacked = of_dataset(stack).plate
    assert stacked is not None
    assert stacked.rows == ("A", "B", "C")
    assert stacked.wells == {("A", "1"), ("B", "2"), ("C", "10")}
    assert stacked.fields == 3
    one = of_dataset(stack.isel(row=[0]))
    assert one.plate is not None
    assert one.plate.wells == {("A", "1")}


def test_several_images_that_are_no_plate() -> None:
    tree = xr.DataTree.from_dict({f"/{n}/0": samples.coins() for n in "ab"})
    facts = of_tree(tree)
    assert isinstance(facts, GroupFacts)
    assert (facts.kind, facts.images, facts.plate) == ("group", 2, None)
    assert facts.entries[1].sizes == {"y": 303, "x": 384}
    assert facts.nbytes == 2 * 116352
    with pytest.raises(OmeZarrError, match="There is no image in this tree"):
        of_tree(xr.DataTree.from_dict({"/a": xr.Dataset({"b": 1})}))
