"""How many requests a server gets, and how many of them side by side."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import zarr

from tests.helpers import image, opened, opened_tree
from tests.plating import put_plate, put_wells
from tests.servers import site
from xarray_omezarr import samples, wells

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import Site

#: The wells of a plate of 384.
WELLS = [f"{row}/{column + 1}" for row, column in itertools.product("ABCDEFGHIJKLMNOP", range(24))]
#: Requests in flight, at most.
BOUND = 32


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay down a plate of 384 wells, and of one its fields, of five levels and a label image."""
    folder = tmp_path_factory.mktemp("screen")
    options: dict[str, Any] = {"levels": 5, "shape": (16, 16), "labels": ["nuclei"]}
    put_plate(folder / "plate", {"A/1": ["0", "1"]}, **options)
    put_wells(folder / "plate", {well: {"0": None, "1": None} for well in WELLS})
    put_plate(folder / "small", {well: ["0", "1"] for well in WELLS[:48]}, levels=3)
    put_plate(folder / "old", {well: ["0", "1"] for well in WELLS[:48]}, levels=3, version="0.4")
    return folder


@pytest.fixture
def web(screen: Path) -> Iterator[Site]:
    with site(screen) as found:
        yield found


def each_once(web: Site) -> int:
    assert len(set(web.paths())) == len(web.asked), "something was asked for twice"
    assert {one.method for one in web.asked} <= {"GET"}
    return len(web.asked)


@pytest.mark.parametrize(("labels", "most"), [(False, 14), (True, 30)])
def test_a_well(web: Site, labels: bool, most: int) -> None:  # noqa: FBT001
    tree = opened_tree(f"{web.url}/plate", wells=["A/1"], labels=labels)
    assert set(tree["A/1"].children) == {"0", "1"}
    assert each_once(web) <= most
    assert web.most <= BOUND


def test_the_table_of_a_plate(web: Site) -> None:
    web.latency = 0.1
    assert len(wells(f"{web.url}/plate")) == 384
    assert each_once(web) <= 386
    assert web.mean >= 16
    assert web.most <= BOUND


@pytest.mark.parametrize(("name", "times"), [("small", 1), ("old", 3)])
def test_a_tree_of_a_plate(web: Site, name: str, times: int) -> None:
    """One request for each group and array: the plate, 48 wells, 96 fields of 3 levels."""
    web.latency = 0.1
    tree = opened_tree(f"{web.url}/{name}")
    assert len(tree["A/8/1"].children) == 3
    assert each_once(web) <= times * (1 + 48 + 96 + 96 * 3) + 1
    assert web.mean >= 16
    assert web.most <= BOUND


def test_a_consolidated_plate_opens_with_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_plate(tmp_path / "plate", {well: ["0"] for well in WELLS[:4]}, levels=3)
    monkeypatch.setattr("warnings.warn", lambda *_, **__: None)
    zarr.consolidate_metadata(str(tmp_path / "plate"))
    monkeypatch.undo()
    with site(tmp_path) as web:
        tree = opened_tree(f"{web.url}/plate", consolidated=True)
        assert web.paths() == ["plate/zarr.json"]
        tree.load()
    here = opened_tree(tmp_path / "plate").load()
    assert tree.identical(here)


@pytest.mark.parametrize(("version", "times"), [("0.5", 1), ("0.4", 2)])
def test_a_tree_of_an_image_with_labels(tmp_path: Path, version: str, times: int) -> None:
    samples.coins().omezarr.to_zarr(tmp_path / "image", levels=4, version=version)
    with site(tmp_path) as web:
        tree = opened_tree(f"{web.url}/image")
        assert len(tree["labels/coins"].children) == 4
        assert each_once(web) <= times * (3 + 4 + (2 + 4))


def test_pixels_are_read_side_by_side(tmp_path: Path) -> None:
    image((128, 128)).omezarr.to_zarr(tmp_path / "image", levels=1, chunks=16)
    with site(tmp_path) as web:
        dataset = opened(f"{web.url}/image")
        web.clear()
        web.latency = 0.02
        dataset.load()
        assert len(web.asked) == 64
        assert web.mean > 5
