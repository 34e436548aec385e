"""Plates, series and scenes are written, and images are added to them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from obstore.store import MemoryStore as ObjectsInMemory
from zarr.storage import MemoryStore, ObjectStore

from tests import forks, kills
from xarray_omezarr import (
    OmeZarrError,
    OmeZarrWarning,
    exchange,
    samples,
    stores,
    transform_points,
    validate,
)
from xarray_omezarr.errors import OmeZarrFileExistsError
from xarray_omezarr.members import natural

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import S3

VERSIONS = ["0.4", "0.5", "0.6"]
versions = pytest.mark.parametrize("version", VERSIONS)

Options = dict[str, Any]


def field(value: int = 1, **coords: object) -> xr.Dataset:
    """Make the smallest field, whose pixels tell which one it is."""
    ds = xr.Dataset({"image": (("y", "x"), np.full((8, 8), value, "uint8"))})
    scaled = ds.omezarr.assign_scale(y=0.5, x=0.5)
    assert isinstance(scaled, xr.Dataset)
    return scaled.assign_coords(coords)


def tree(*paths: str, **coords: object) -> xr.DataTree:
    """Make a tree of fields."""
    return xr.DataTree.from_dict({p: field(i + 1, **coords) for i, p in enumerate(paths)})


def attributes(store: Any, group: str = "", **options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Read what a group says of OME-Zarr, by Zarr itself."""
    found = zarr.open_group(store, path=group, mode="r", **options).attrs.asdict()
    inner = found.get("ome", found)
    assert isinstance(inner, dict)
    return inner


def listed(store: Any, group: str = "", **options: Any) -> list[str]:  # noqa: ANN401
    """Give the fields that a plate lists, by the lists alone; each index has to be right."""
    plate = attributes(store, group, **options)["plate"]
    paths = []
    for well in plate["wells"]:
        row, column = plate["rows"][well["rowIndex"]], plate["columns"][well["columnIndex"]]
        assert well["path"] == f"{row['name']}/{column['name']}"
        inner = f"{group}/{well['path']}".lstrip("/")
        images = attributes(store, inner, **options)["well"]["images"]
        paths += [f"{well['path']}/{image['path']}" for image in images]
    return paths


def names(store: Path, side: str) -> list[str]:
    return [one["name"] for one in attributes(store)["plate"][side]]


def opened(store: Any, path: str, **options: Any) -> xr.Dataset:  # noqa: ANN401 - keywords
    return xr.open_dataset(store, engine="omezarr", group=path, **options)


def value(store: Any, path: str) -> int:  # noqa: ANN401 - any store
    return int(opened(store, path).image.max())


# ── plates ───────────────────────────────────────────────────────────────────────────────────────


@versions
def test_a_plate_is_written_with_its_fields_and_label_images(tmp_path: Path, version: str) -> None:
    plate = samples.plate(rows=2, columns=3, fields=2)
    plate["A/1/0"].dataset = plate["A/1/0"].to_dataset().assign_coords(
        nuclei_id=np.arange(1, 26)
    ).assign(nuclei_area=("nuclei_id", 1.5 * np.arange(25)))  # fmt: skip
    plate.omezarr.to_zarr(tmp_path, version=version, levels=2)
    paths = [f"{r}/{c}/{f}" for r in "AB" for c in "123" for f in "01"]
    assert listed(tmp_path) == paths
    assert names(tmp_path, "rows") == ["A", "B"]
    assert names(tmp_path, "columns") == ["1", "2", "3"]
    told = attributes(tmp_path)
    assert (told["plate"]["name"], told["plate"]["field_count"]) == ("plate", 2)
    assert told.get("version", told["plate"].get("version")) == version
    for path in paths:
        ds = opened(tmp_path, path).load()
        expected = plate[path].to_dataset()
        where = ["row", "column", "well", "field"]
        xr.testing.assert_equal(ds.image, expected.image.drop_vars(where))
        np.testing.assert_array_equal(ds.nuclei, expected.nuclei)
        assert opened(tmp_path, path, level=1).sizes["x"] == 64
    assert opened(tmp_path, "A/1/0").nuclei_area.values.tolist() == (1.5 * np.arange(25)).tolist()
    # Each field where it was: they lie side by side.
    assert opened(tmp_path, "B/2/1").x.values[0] == pytest.approx(128 * 0.325)
    assert not validate(tmp_path).errors
    assert not list(tmp_path.rglob(".omezarr*"))


def test_levels_that_are_there_are_written_as_they_are(tmp_path: Path) -> None:
    pyramid = samples.circle().omezarr.pyramid(levels=3)
    plate = xr.DataTree.from_dict(
        {f"/A/1/0{node.path}": node.to_dataset() for node in pyramid.subtree if node.has_data}
    )
    plate["A/1/0/1"].dataset = plate["A/1/0/1"].to_dataset().assign(
        image=lambda level: level.image + 1
    )  # fmt: skip
    plate.omezarr.to_zarr(tmp_path)
    for level in range(3):
        found = opened(tmp_path, "A/1/0", level=level).load()
        np.testing.assert_array_equal(found.image, plate[f"A/1/0/{level}"].image)
        np.testing.assert_array_equal(found.circle, plate[f"A/1/0/labels/circle/{level}"].circle)
    with pytest.raises(OmeZarrError, match="the levels of A/1/0 are written as they are"):
        plate.omezarr.to_zarr(tmp_path / "b", levels=2)


def test_of_a_single_level_the_others_are_made(tmp_path: Path) -> None:
    ds = samples.circle()
    plate = xr.DataTree.from_dict(
        {"/A/1/0/0": ds[["image"]], "/A/1/0/labels/circle/0": ds[["circle"]]}
    )
    plate.omezarr.to_zarr(tmp_path, levels=2)
    expected = ds.omezarr.pyramid(levels=2)
    for level in ("0", "1"):
        found = opened(tmp_path, "A/1/0", level=int(level)).load()
        np.testing.assert_array_equal(found.image, expected[level].image)
        np.testing.assert_array_equal(found.circle, expected[f"labels/circle/{level}"].circle)


def test_rows_and_columns_are_sorted_as_people_count(tmp_path: Path) -> None:
    tree("AA/10/0", "B/2/0", "A/1/0", "B/10/0").omezarr.to_zarr(tmp_path)
    assert names(tmp_path, "rows") == ["A", "B", "AA"]
    assert names(tmp_path, "columns") == ["1", "2", "10"]
    assert listed(tmp_path) == ["A/1/0", "B/2/0", "B/10/0", "AA/10/0"]
    assert value(tmp_path, "AA/10/0") == 1
    assert sorted(["10", "AA", "B", "2", "a1", "a10", "a2"], key=natural) == [
        "2", "10", "a1", "a2", "a10", "B", "AA",
    ]  # fmt: skip


@versions
def test_acquisitions_come_from_the_fields(tmp_path: Path, version: str) -> None:
    plate = xr.DataTree.from_dict(
        {"A/1/0": field(acquisition=0), "A/1/1": field(acquisition=7), "A/2/0": field()}
    )
    with pytest.raises(OmeZarrError, match="several acquisitions, 0, 7: say which one A/2/0 is of"):
        plate.omezarr.to_zarr(tmp_path, version=version)
    plate["A/2/0"].dataset = field(acquisition=7)
    plate.omezarr.to_zarr(tmp_path, version=version)
    assert attributes(tmp_path)["plate"]["acquisitions"] == [{"id": 0}, {"id": 7}]
    images = attributes(tmp_path, "A/1")["well"]["images"]
    assert images == [{"path": "0", "acquisition": 0}, {"path": "1", "acquisition": 7}]


@pytest.mark.parametrize("wrong", [-1, 1.5, "first"])
def test_an_acquisition_is_a_whole_number(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(OmeZarrError, match="'acquisition' is"):
        tree("A/1/0", acquisition=wrong).omezarr.to_zarr(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "version"),
    [("A b/1/0", "0.5"), ("A/1-2/0", "0.6"), ("A/1/f_1", "0.5"), ("é/1/0", "0.4")],
)
def test_names_that_the_version_does_not_allow(tmp_path: Path, path: str, version: str) -> None:
    with pytest.raises(OmeZarrError, match="is no name that version"):
        tree(path).omezarr.to_zarr(tmp_path, version=version)
    assert not list(tmp_path.iterdir())


def test_fields_of_version_0_6_may_have_other_names(tmp_path: Path) -> None:
    tree("A/1/f_1.b").omezarr.to_zarr(tmp_path, version="0.6")
    assert listed(tmp_path) == ["A/1/f_1.b"]


def test_a_tree_whose_images_are_at_several_depths_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OmeZarrError, match="not clear which nodes are images"):
        tree("A/0", "A/1/0").omezarr.to_zarr(tmp_path)
    with pytest.raises(OmeZarrError, match="no images"):
        xr.DataTree.from_dict({"/A/1/0": xr.Dataset()}).omezarr.to_zarr(tmp_path)


def test_label_images_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    ds = samples.circle()
    moved = ds[["circle"]].assign_coords(x=ds.x + 1)
    plate = xr.DataTree.from_dict({"/A/1/0/0": ds[["image"]], "/A/1/0/labels/circle/0": moved})
    with pytest.raises(OmeZarrError, match="'circle' at /A/1/0 has other positions"):
        plate.omezarr.to_zarr(tmp_path)


@pytest.mark.parametrize("suffix", ["ozx", "zip"])
def test_archives_take_no_plate(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OmeZarrError, match="an archive is written of a single image"):
        tree("A/1/0").omezarr.to_zarr(tmp_path / f"plate.{suffix}")


# ── what was opened is written back ──────────────────────────────────────────────────────────────


def rich(where: Path, version: str) -> None:
    """Write a plate with something of its own everywhere."""
    plate = samples.plate(rows=2, columns=2, fields=2, shape=(48, 48))
    for path in ("A/1/0", "B/2/1"):
        ds = plate[path].to_dataset()
        ids = np.unique(ds.nuclei.values)[1:]
        plate[path].dataset = ds.assign_coords(nuclei_id=ids).assign(
            nuclei_area=("nuclei_id", 0.5 * ids), nuclei_kind=("nuclei_id", ["disc"] * len(ids))
        )
    for node in plate.leaves:
        node.dataset = node.to_dataset().assign_coords(acquisition=int(str(node.name)))
    plate.omezarr.to_zarr(where, version=version, levels=2)
    change(where, "", lambda ome: ome["plate"].update(
        lab="ours",
        rows=[{"name": name} for name in "ABC"],
        acquisitions=[{"id": 0, "name": "first"}, {"id": 1, "starttime": 7}],
    ))  # fmt: skip
    change(where, "", lambda ome: [one.update(drug=one["path"]) for one in ome["plate"]["wells"]])
    change(where, "A/2", lambda ome: ome["well"].update(seeded=1))
    change(where, "A/2", lambda ome: ome["well"]["images"][0].update(focus="good"))
    change(where, "B/1/0", lambda ome: ome["multiscales"][0].update(written_by="me"))
    change(
        where,
        "B/1/0/labels/nuclei",
        lambda ome: ome["image-label"].update(source={"image": "../../"}),
    )


def change(where: Path, group: str, edit: Any) -> None:  # noqa: ANN401 - a function
    """Change what a group says of OME-Zarr."""
    node = zarr.open_group(where, path=group, mode="r+")
    every = node.attrs.asdict()
    edit(every.get("ome", every))
    node.attrs.put({**every, "also": group})


def everything(where: Path) -> dict[str, dict[str, Any]]:
    """Give the attributes of all groups."""
    root = zarr.open_group(where, mode="r")
    groups = {
        name: node.attrs.asdict()
        for name, node in root.members(max_depth=None)
        if isinstance(node, zarr.Group)
    }
    return {"": root.attrs.asdict(), **groups}


@versions
def test_a_plate_that_was_opened_is_written_back(tmp_path: Path, version: str) -> None:
    rich(tmp_path / "one", version)
    plate = xr.open_datatree(tmp_path / "one", engine="omezarr", labels=True)
    plate.omezarr.to_zarr(tmp_path / "two")
    assert everything(tmp_path / "two") == everything(tmp_path / "one")
    again = xr.open_datatree(tmp_path / "two", engine="omezarr", labels=True)
    xr.testing.assert_identical(again, plate)


@versions
def test_wells_of_it_are_written_back(tmp_path: Path, version: str) -> None:
    rich(tmp_path / "one", version)
    every = everything(tmp_path / "one")
    some = xr.open_datatree(tmp_path / "one", engine="omezarr", wells=["B/1", "A/2"], labels=True)
    some.omezarr.to_zarr(tmp_path / "two")
    found = everything(tmp_path / "two")
    # Rows and columns stay as they are, and so do the indices of the wells.
    wells = [one for one in inner(every[""])["plate"]["wells"] if one["path"] in ("A/2", "B/1")]
    assert inner(found[""])["plate"] == {**inner(every[""])["plate"], "wells": wells}
    assert {k: found[k] for k in found if k} == {
        k: every[k] for k in every if k.startswith(("A/2", "B/1")) or k in ("A", "B")
    }
    well = xr.open_datatree(tmp_path / "one", engine="omezarr", group="B/2", labels=True)
    well.omezarr.to_zarr(tmp_path / "two", group="C/1")
    assert listed(tmp_path / "two")[-2:] == ["C/1/0", "C/1/1"]
    assert (
        attributes(tmp_path / "two", "C/1")["well"]["images"]
        == inner(every["B/2"])["well"]["images"]
    )
    well.omezarr.to_zarr(tmp_path / "well")
    assert everything(tmp_path / "well")[""] == every["B/2"]


def test_only_the_finest_level_of_it_gets_others(tmp_path: Path) -> None:
    rich(tmp_path / "one", "0.5")
    plate = xr.open_datatree(tmp_path / "one", engine="omezarr", level=0, labels=True)
    plate.omezarr.to_zarr(tmp_path / "two", version="0.6", levels=2)
    for name in ("A/1/0", "B/2/1"):
        for level in (0, 1):
            one, two = (opened(tmp_path / at, name, level=level).load() for at in ("one", "two"))
            xr.testing.assert_equal(one, two)


def test_one_plate_becomes_another_version(tmp_path: Path) -> None:
    rich(tmp_path / "0.4", "0.4")
    for before, after in (("0.4", "0.6"), ("0.6", "0.5"), ("0.5", "0.4")):
        plate = xr.open_datatree(tmp_path / before, engine="omezarr", labels=True)
        where = tmp_path / after if after != "0.4" else tmp_path / "again"
        plate.omezarr.to_zarr(where, version=after)
        assert not validate(where).errors
    one, two = (
        xr.open_datatree(tmp_path / name, engine="omezarr", labels=True)
        for name in ("0.4", "again")
    )
    xr.testing.assert_identical(one, two)
    assert attributes(tmp_path / "again")["plate"] == attributes(tmp_path / "0.4")["plate"]


def inner(attributes: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = attributes.get("ome", attributes)
    return found


# ── modes ────────────────────────────────────────────────────────────────────────────────────────


@versions
def test_what_exists_is_refused(tmp_path: Path, version: str) -> None:
    tree("A/1/0").omezarr.to_zarr(tmp_path, version=version)
    before = kills.files(tmp_path)
    with pytest.raises(OmeZarrFileExistsError, match="use mode='a' to add to it, or use mode='w'"):
        tree("B/1/0").omezarr.to_zarr(tmp_path, version=version)
    with pytest.raises(OmeZarrFileExistsError, match="images that this tree has not: A/1/0"):
        tree("B/1/0").omezarr.to_zarr(tmp_path, version=version, mode="w")
    with pytest.raises(OmeZarrFileExistsError, match="A/1/0 exists, and nothing was changed"):
        tree("B/1/0", "A/1/0").omezarr.to_zarr(tmp_path, mode="a")
    other = "0.5" if version != "0.5" else "0.6"
    with pytest.raises(OmeZarrError, match="is a plate of version"):
        tree("B/1/0").omezarr.to_zarr(tmp_path, mode="a", version=other)
    with pytest.raises(OmeZarrError, match="mode='r' is not known"):
        tree("B/1/0").omezarr.to_zarr(tmp_path, mode="r")
    assert kills.files(tmp_path) == before


@pytest.mark.parametrize("what", ["image", "folder", "file"])
def test_what_is_no_plate_stays(tmp_path: Path, what: str) -> None:
    if what == "image":
        field().omezarr.to_zarr(tmp_path)
    else:
        (tmp_path / "notes.txt").write_text("mine")
    where = tmp_path / "notes.txt" if what == "file" else tmp_path
    before = kills.files(tmp_path)
    for mode in ("w-", "w"):
        with pytest.raises(OmeZarrFileExistsError, match="left untouched"):
            tree("A/1/0").omezarr.to_zarr(where, mode=mode)
    assert kills.files(tmp_path) == before


def test_the_fields_of_a_plate_are_replaced(tmp_path: Path) -> None:
    tree("A/1/0", "A/1/1").omezarr.to_zarr(tmp_path)
    new = xr.DataTree.from_dict({"A/1/0": field(10), "A/1/1": field(11), "B/1/0": field(12)})
    new.omezarr.to_zarr(tmp_path, mode="w")
    assert listed(tmp_path) == ["A/1/0", "A/1/1", "B/1/0"]
    assert [value(tmp_path, path) for path in listed(tmp_path)] == [10, 11, 12]
    with pytest.raises(OmeZarrFileExistsError, match=r"is of Zarr v3, and version 0\.4 is of v2"):
        new.omezarr.to_zarr(tmp_path, mode="w", version="0.4")


def test_what_is_wrong_with_a_field_is_found_before_anything_is_written(tmp_path: Path) -> None:
    plate = tree(*(f"A/{i}/0" for i in range(40)))
    plate["A/39/0"].dataset = field().astype("complex64")
    with pytest.raises(OmeZarrError, match="complex64 cannot be written"):
        plate.omezarr.to_zarr(tmp_path)
    assert not list(tmp_path.iterdir())


def test_images_of_a_series_and_a_well_are_replaced_but_not_lost(tmp_path: Path) -> None:
    tree("0/0", "1/0", "2/0").omezarr.to_zarr(tmp_path / "series")
    with pytest.raises(OmeZarrFileExistsError, match="images that this tree has not: 2"):
        tree("0/0", "1/0").omezarr.to_zarr(tmp_path / "series", mode="w")
    well = tree("0/0", "1/0")
    well.encoding["omezarr"] = {"kind": "well"}
    well.omezarr.to_zarr(tmp_path / "well")
    less = well.filter(lambda node: not node.path.startswith("/1"))
    with pytest.raises(OmeZarrFileExistsError, match="images that this tree has not: 1"):
        less.omezarr.to_zarr(tmp_path / "well", mode="w")
    well.omezarr.to_zarr(tmp_path / "well", mode="w")
    assert [one["path"] for one in attributes(tmp_path / "well")["well"]["images"]] == ["0", "1"]


def test_label_images_of_replaced_fields_are_not_lost_in_silence(tmp_path: Path) -> None:
    plate = samples.plate(rows=1, columns=2, fields=1, shape=(48, 48))
    plate.omezarr.to_zarr(tmp_path)
    bare = plate.map_over_datasets(lambda ds: ds.drop_vars("nuclei", errors="ignore"))
    before = kills.files(tmp_path)
    with pytest.raises(OmeZarrFileExistsError, match="label images that this tree has not: nuclei"):
        bare.omezarr.to_zarr(tmp_path, mode="w")
    assert kills.files(tmp_path) == before
    bare.omezarr.to_zarr(tmp_path, mode="w", existing_labels="keep")
    assert "nuclei" in opened(tmp_path, "A/1/0")
    bare.omezarr.to_zarr(tmp_path, mode="w", existing_labels="drop")
    assert "nuclei" not in opened(tmp_path, "A/2/0")


def test_an_image_tree_at_the_place_of_a_field_is_its_levels(tmp_path: Path) -> None:
    tree("A/1/0").omezarr.to_zarr(tmp_path)
    ds = samples.circle()[["image"]]
    ds.omezarr.pyramid(levels=2).omezarr.to_zarr(tmp_path, group="A/1/1")
    assert opened(tmp_path, "A/1/1", level=1).sizes["x"] == 32
    # Where only fields can be, they are fields.
    xr.DataTree.from_dict({"0": ds, "1": ds}).omezarr.to_zarr(tmp_path, group="A/2")
    assert listed(tmp_path) == ["A/1/0", "A/1/1", "A/2/0", "A/2/1"]
    # And below a field, it is just an image.
    ds.omezarr.pyramid(levels=2).omezarr.to_zarr(tmp_path, group="A/1/0/mine/one")
    assert len(listed(tmp_path)) == 4


@versions
def test_wells_are_added_by_a_tree(tmp_path: Path, version: str) -> None:
    tree("B/2/0").omezarr.to_zarr(tmp_path, version=version)
    tree("A/10/0", "B/2/1").omezarr.to_zarr(tmp_path, mode="a")
    tree("0", "1").omezarr.to_zarr(tmp_path, group="C/4")
    tree("5/0", "6/0").omezarr.to_zarr(tmp_path, group="C")
    assert listed(tmp_path) == ["A/10/0", "B/2/0", "B/2/1", "C/4/0", "C/4/1", "C/5/0", "C/6/0"]
    assert names(tmp_path, "columns") == ["2", "4", "5", "6", "10"]
    assert [value(tmp_path, f"C/4/{i}") for i in "01"] == [1, 2]
    assert attributes(tmp_path)["plate"]["field_count"] == 2
    assert not validate(tmp_path).errors


def test_nothing_is_written_before_it_is_computed(tmp_path: Path) -> None:
    task = tree("A/1/0", "B/1/0").omezarr.to_zarr(tmp_path, compute=False)
    with pytest.raises(OmeZarrError, match="unfinished"):
        opened(tmp_path, "A/1/0")
    assert not (tmp_path / "zarr.json").exists()
    assert task is not None
    task.compute(scheduler="threads")
    assert listed(tmp_path) == ["A/1/0", "B/1/0"]
    assert not list(tmp_path.rglob(".omezarr*"))


def test_a_write_that_failed_goes_on(tmp_path: Path) -> None:
    """More fields than are begun at a time, one of which fails at first."""
    broken, made = [True], []

    def pixels(number: int) -> Any:  # noqa: ANN401 - a dask array
        import dask.array

        untyped: Any = dask

        def make(number: int) -> np.ndarray[Any, Any]:
            if number == 20 and broken:
                raise OSError("no such luck")  # noqa: TRY003, EM101
            made.append(number)
            return np.full((8, 8), number, "uint8")

        task = untyped.delayed(make, pure=True)(number, dask_key_name=f"field-{number}")
        return untyped.array.from_delayed(task, (8, 8), "uint8", name=f"pixels-{number}")

    def whole() -> xr.DataTree:
        return xr.DataTree.from_dict(
            {f"A/{i}/0": xr.Dataset({"image": (("y", "x"), pixels(i))}) for i in range(24)}
        )

    with pytest.raises(OSError, match="no such luck"):
        whole().omezarr.to_zarr(tmp_path)
    with pytest.raises((OmeZarrError, FileNotFoundError)):
        listed(tmp_path)
    broken.clear()
    made.clear()
    with pytest.raises(OmeZarrError, match="is not this one; they differ in the images"):
        tree("A/1/0").omezarr.to_zarr(tmp_path, resume=True)
    with pytest.raises(OmeZarrFileExistsError, match="left of another write"):
        tree("A/1/0").omezarr.to_zarr(tmp_path)
    whole().omezarr.to_zarr(tmp_path, resume=True)
    assert [value(tmp_path, path) for path in listed(tmp_path)] == list(range(24))
    # The first of them stood already.
    assert set(made).isdisjoint(range(16))
    assert not list(tmp_path.rglob(".omezarr*"))


@pytest.mark.parametrize("kind", ["zarr", "fsspec", "obstore"])
def test_plates_in_memory(kind: str) -> None:
    made: Any = {
        "zarr": MemoryStore,
        "fsspec": lambda: "memory://plates/one",
        "obstore": lambda: ObjectStore(ObjectsInMemory()),
    }
    store = made[kind]()
    tree("A/1/0", "B/2/0").omezarr.to_zarr(store)
    field(5).omezarr.to_zarr(store, group="B/1/3")
    assert listed(store) == ["A/1/0", "B/1/3", "B/2/0"]
    assert value(store, "B/1/3") == 5


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_py_reads_the_same_pixels(tmp_path: Path, version: str) -> None:
    reader = pytest.importorskip("ome_zarr.reader")
    io = pytest.importorskip("ome_zarr.io")
    plate = samples.plate(rows=2, columns=3, fields=2)
    plate.omezarr.to_zarr(tmp_path, version=version, levels=2)

    def read(path: str) -> np.ndarray[Any, Any]:
        found = next(iter(reader.Reader(io.parse_url(str(tmp_path / path)))()))
        return np.asarray(found.data[0])

    np.testing.assert_array_equal(read("B/2/1"), plate["B/2/1"].image)
    # It puts the fields of a well side by side; and of a plate, the wells.
    well = np.concatenate([plate[f"B/2/{i}"].image.values for i in "01"], axis=2)
    np.testing.assert_array_equal(read("B/2"), well)
    rows = [[plate[f"{row}/{column}/0"].image.values for column in "123"] for row in "AB"]
    np.testing.assert_array_equal(read(""), np.block(rows))


# ── one more ─────────────────────────────────────────────────────────────────────────────────────


@versions
def test_an_image_that_is_added_is_listed(tmp_path: Path, version: str) -> None:
    tree("B/2/0").omezarr.to_zarr(tmp_path, version=version)
    field(9).omezarr.to_zarr(tmp_path, group="C/1/0")
    field(8).image.omezarr.to_zarr(tmp_path, group="B/2/1")
    samples.circle().omezarr.pyramid(levels=2).omezarr.to_zarr(tmp_path, group="B/2/2")
    assert listed(tmp_path) == ["B/2/0", "B/2/1", "B/2/2", "C/1/0"]
    assert (value(tmp_path, "B/2/0"), value(tmp_path, "C/1/0"), value(tmp_path, "B/2/1")) == (
        1,
        9,
        8,
    )
    assert names(tmp_path, "rows") == ["B", "C"]
    assert names(tmp_path, "columns") == ["1", "2"]
    assert attributes(tmp_path)["plate"]["field_count"] == 3
    assert not validate(tmp_path).errors
    with pytest.raises(OmeZarrError, match="its images are of the same"):
        field().omezarr.to_zarr(
            tmp_path, group="C/1/1", version="0.5" if version != "0.5" else "0.6"
        )
    with pytest.raises(OmeZarrError, match="is no name that version"):
        field().omezarr.to_zarr(tmp_path, group="C/1_1/0")
    with pytest.raises(OmeZarrFileExistsError):
        field().omezarr.to_zarr(tmp_path, group="B/2/0")
    assert not (tmp_path / "C/1/1").exists()


def test_the_acquisition_of_what_is_added(tmp_path: Path) -> None:
    tree("A/1/0", acquisition=1).omezarr.to_zarr(tmp_path)
    field(acquisition=4).omezarr.to_zarr(tmp_path, group="A/1/1")
    assert attributes(tmp_path)["plate"]["acquisitions"] == [{"id": 1}, {"id": 4}]
    assert attributes(tmp_path, "A/1")["well"]["images"][1] == {"path": "1", "acquisition": 4}
    with pytest.raises(OmeZarrError, match="several acquisitions, 1, 4: say which one A/1/2"):
        field().omezarr.to_zarr(tmp_path, group="A/1/2")


@versions
def test_what_the_lists_hold_besides_is_kept(tmp_path: Path, version: str) -> None:
    tree("A/1/0", acquisition=3).omezarr.to_zarr(tmp_path, version=version)
    changes: dict[str, Any] = {
        "": lambda ome: ome["plate"].update(
            lab="ours",
            rows=[{"name": "Z"}, {"name": "A", "dye": "DAPI"}],
            wells=[{"path": "A/1", "rowIndex": 1, "columnIndex": 0, "drug": "none"}],
            acquisitions=[{"id": 3, "name": "first", "starttime": 1}],
        ),
        "A/1": lambda ome: ome["well"].update(
            seeded=1, images=[{"path": "0", "acquisition": 3, "focus": "good"}]
        ),
    }
    for group, change in changes.items():
        node = zarr.open_group(tmp_path, path=group, mode="r+")
        every = node.attrs.asdict()
        change(every.get("ome", every))
        node.attrs.put({**every, "also": ["mine"]})
    field(acquisition=3).omezarr.to_zarr(tmp_path, group="A/1/1")
    field(acquisition=3).omezarr.to_zarr(tmp_path, group="B/1/0")
    plate, well = attributes(tmp_path)["plate"], attributes(tmp_path, "A/1")["well"]
    assert (plate["lab"], well["seeded"]) == ("ours", 1)
    # These were in no order that could be kept, so what is new comes last.
    assert plate["rows"] == [{"name": "Z"}, {"name": "A", "dye": "DAPI"}, {"name": "B"}]
    assert plate["wells"][0] == {"path": "A/1", "rowIndex": 1, "columnIndex": 0, "drug": "none"}
    assert plate["acquisitions"] == [{"id": 3, "name": "first", "starttime": 1}]
    assert well["images"][0] == {"path": "0", "acquisition": 3, "focus": "good"}
    assert zarr.open_group(tmp_path, mode="r").attrs["also"] == ["mine"]
    assert listed(tmp_path) == ["A/1/0", "A/1/1", "B/1/0"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_consolidated_metadata_that_would_hide_what_is_new_go(tmp_path: Path, version: str) -> None:
    tree("A/1/0").omezarr.to_zarr(tmp_path, version=version)
    with pytest.warns(match="Consolidated") if version == "0.5" else _no_warnings():
        zarr.consolidate_metadata(tmp_path)
    field(2).omezarr.to_zarr(tmp_path, group="A/2/0")
    assert "A/2/0/0" in {
        name for name, _ in zarr.open_group(tmp_path, mode="r").members(max_depth=None)
    }
    assert not (tmp_path / ".zmetadata").exists()


def _no_warnings() -> Any:  # noqa: ANN401 - a context
    from contextlib import nullcontext

    return nullcontext()


def test_where_no_plate_is_above_there_is_just_an_image(tmp_path: Path) -> None:
    field(3).omezarr.to_zarr(tmp_path, group="A/1/0")
    assert attributes(tmp_path) == attributes(tmp_path, "A/1") == {}
    assert value(tmp_path, "A/1/0") == 3


def test_an_image_that_is_none_of_its_fields_is_not_listed(tmp_path: Path) -> None:
    tree("A/1/0").omezarr.to_zarr(tmp_path)
    field(3).omezarr.to_zarr(tmp_path, group="overview")
    assert listed(tmp_path) == ["A/1/0"]
    assert value(tmp_path, "overview") == 3


def test_a_plate_within_a_store_and_a_well_on_its_own(tmp_path: Path) -> None:
    tree("A/1/0").omezarr.to_zarr(tmp_path, group="screens/one")
    field(3).omezarr.to_zarr(tmp_path, group="screens/one/B/1/0")
    field(4).omezarr.to_zarr(zarr.open_group(tmp_path, path="screens/one"), group="B/1/1")
    assert listed(tmp_path, "screens/one") == ["A/1/0", "B/1/0", "B/1/1"]
    field(5).omezarr.to_zarr(tmp_path / "screens/one/A/1", group="1")
    assert listed(tmp_path, "screens/one") == ["A/1/0", "A/1/1", "B/1/0", "B/1/1"]


def test_plates_of_old_versions_are_upgraded_first(tmp_path: Path) -> None:
    tree("A/1/0").omezarr.to_zarr(tmp_path, version="0.4")
    group = zarr.open_group(tmp_path, mode="r+")
    plate: Any = group.attrs["plate"]
    group.attrs["plate"] = {**plate, "version": "0.2"}
    with pytest.raises(
        OmeZarrError, match=r"a plate of version 0\.2, which is read but not written"
    ):
        field().omezarr.to_zarr(tmp_path, group="A/1/1")


def test_an_image_that_is_laid_out_is_listed_once_it_stands(tmp_path: Path) -> None:
    tree("A/1/0").omezarr.to_zarr(tmp_path)
    ds = field(7, acquisition=2)
    ds.omezarr.to_zarr(tmp_path, group="B/1/0", layout=True)
    for rows in (slice(0, 4), slice(4, 8)):
        assert listed(tmp_path) == ["A/1/0"]
        ds.isel(y=rows).omezarr.to_zarr(tmp_path, group="B/1/0", region={"y": rows})
    assert listed(tmp_path) == ["A/1/0", "B/1/0"]
    assert attributes(tmp_path)["plate"]["acquisitions"] == [{"id": 2}]
    assert value(tmp_path, "B/1/0") == 7
    ds.omezarr.to_zarr(tmp_path, group="C/1/0", layout="visible")
    assert listed(tmp_path)[-1] == "C/1/0"


# ── series and scenes ────────────────────────────────────────────────────────────────────────────


@versions
def test_numbered_images_are_a_series(tmp_path: Path, version: str) -> None:
    tree("0/0", "1/0", "2/0").omezarr.to_zarr(tmp_path, version=version)
    assert attributes(tmp_path)["bioformats2raw.layout"] == 3
    assert [value(tmp_path, str(i)) for i in range(3)] == [1, 2, 3]
    field(9).omezarr.to_zarr(tmp_path, group="3")
    tree("4/0").omezarr.to_zarr(tmp_path, mode="a")
    assert value(tmp_path, "3") == 9
    assert value(tmp_path, "4") == 1
    with pytest.raises(OmeZarrError, match="a series whose images are numbered: 'last'"):
        field().omezarr.to_zarr(tmp_path, group="last")
    assert not validate(tmp_path).errors
    with pytest.warns(OmeZarrWarning, match="finds 8 only once 7 is there too"):
        field(8).omezarr.to_zarr(tmp_path, group="8")
    for number in (5, 6, 7):
        field(number).omezarr.to_zarr(tmp_path, group=str(number))
    assert len(xr.open_datatree(tmp_path, engine="omezarr").children) == 9


XML = b"""<?xml version="1.0"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><MetadataOnly/>
<Image ID="Image:0" Name="first"/><Image ID="Image:1" Name="second"/></OME>"""


@versions
def test_a_series_keeps_its_list_and_its_xml(tmp_path: Path, version: str) -> None:
    series = tree("b/0", "a/0")
    series.encoding["omezarr"] = {
        "kind": "series",
        "version": version,
        "document": {"bioformats2raw.layout": 3, "mine": 1},
        "folder": {"series": ["b", "a"], "also": 2},
        "xml": XML,
    }
    series.omezarr.to_zarr(tmp_path)
    assert (tmp_path / "OME/METADATA.ome.xml").read_bytes() == XML
    assert attributes(tmp_path)["bioformats2raw.layout"] == 3
    assert attributes(tmp_path, "OME")["series"] == ["b", "a"]
    assert zarr.open_group(tmp_path, mode="r").attrs["mine"] == 1
    assert zarr.open_group(tmp_path, path="OME", mode="r").attrs["also"] == 2
    assert (value(tmp_path, "b"), value(tmp_path, "a")) == (1, 2)
    assert not validate(tmp_path).errors
    xr.open_datatree(tmp_path, engine="omezarr").omezarr.to_zarr(tmp_path / "again")
    for file in (tmp_path / "again/OME").iterdir():
        assert file.read_bytes() == (tmp_path / "OME" / file.name).read_bytes()
    assert zarr.open_group(tmp_path / "again", mode="r").attrs["mine"] == 1


def scene(*paths: str) -> xr.DataTree:
    """Make images that lie in one coordinate system."""
    images = tree(*(f"{path}/0" for path in paths))
    entries = [
        {
            "type": "translation",
            "translation": [0.0, 4.0 * i],
            "input": {"path": path, "name": "physical"},
            "output": {"name": "world"},
        }
        for i, path in enumerate(paths)
    ]
    world = {"name": "world", "axes": [{"name": n, "type": "space"} for n in "yx"]}
    told = {"coordinateSystems": [world], "coordinateTransformations": entries, "mine": 1}
    document = {"ome": {"version": "0.6", "scene": told}}
    images.encoding["omezarr"] = {"kind": "scene", "version": "0.6", "document": document}
    return images


def test_a_scene_is_written_with_what_relates_its_images(tmp_path: Path) -> None:
    images = scene("tile_0", "stacks/one")
    images.omezarr.to_zarr(tmp_path)
    opened_scene = xr.open_datatree(tmp_path, engine="omezarr")
    opened_scene.omezarr.to_zarr(tmp_path / "again")
    assert everything(tmp_path / "again") == {
        k: v for k, v in everything(tmp_path).items() if not k.startswith("again")
    }
    assert attributes(tmp_path)["scene"] == images.encoding["omezarr"]["document"]["ome"]["scene"]
    (point,) = transform_points(tmp_path, [[0.5, 0.5]], ("stacks/one", "physical"), "world")
    assert point.tolist() == [0.5, 4.5]
    assert not validate(tmp_path).errors
    with pytest.raises(OmeZarrFileExistsError, match="use mode='w' to replace the images"):
        images.omezarr.to_zarr(tmp_path)
    images.omezarr.to_zarr(tmp_path, mode="w")
    assert value(tmp_path, "stacks/one") == 2


def test_what_cannot_be_said_of_a_scene_is_told(tmp_path: Path) -> None:
    images = scene("tile_0", "tile_1")
    with pytest.warns(OmeZarrWarning, match=r"2 of 2 transformations .* version 0\.5 has no place"):
        images.omezarr.to_zarr(tmp_path / "older", version="0.5")
    assert attributes(tmp_path / "older") == {}
    assert value(tmp_path / "older", "tile_1") == 2
    part = images.filter(lambda node: not node.path.startswith("/tile_1"))
    with pytest.warns(OmeZarrWarning, match="1 of 2 transformations of the scene are left out"):
        part.omezarr.to_zarr(tmp_path / "part")
    assert len(attributes(tmp_path / "part")["scene"]["coordinateTransformations"]) == 1


def placed(value: int, x: float, system: str = "world") -> xr.Dataset:
    """Make an image that says where it lies in another system."""
    shift = [[1.0, 0.0, 0.0], [0.0, 1.0, x]]
    ds = field(value).omezarr.assign_coordinate_system(system, shift)
    assert isinstance(ds, xr.Dataset)
    return ds


def in_world(store: Any, path: str, system: str = "physical") -> list[float]:  # noqa: ANN401
    """Bring a point of an image to the scene's system."""
    (point,) = transform_points(store, [[1.0, 1.0]], (path, system), "world")
    found = point.tolist()
    assert isinstance(found, list)
    return found


def test_images_that_share_a_system_are_a_scene(tmp_path: Path) -> None:
    images = xr.DataTree.from_dict({"left/0": placed(1, 0.0), "right/0": placed(2, 4.0)})
    images.omezarr.to_zarr(tmp_path)
    assert not validate(tmp_path).errors
    scene_ = attributes(tmp_path)["scene"]
    assert [one["name"] for one in scene_["coordinateSystems"]] == ["world"]
    assert in_world(tmp_path, "left") == [1.0, 1.0]
    assert in_world(tmp_path, "right") == [1.0, 5.0]
    again = xr.open_datatree(tmp_path, engine="omezarr")
    assert list(again.children) == ["left", "right"]
    # Systems that are called alike by default say nothing.
    tree("left/0", "right/0").omezarr.to_zarr(tmp_path / "plain", version="0.6")
    assert "scene" not in attributes(tmp_path / "plain")


def test_an_image_is_added_to_a_scene(tmp_path: Path) -> None:
    scene("tile_0", "tile_1").omezarr.to_zarr(tmp_path)
    before = attributes(tmp_path)["scene"]
    placed(3, 8.0).omezarr.to_zarr(tmp_path, group="more/third")
    after = attributes(tmp_path)["scene"]
    entries = after["coordinateTransformations"]
    assert entries[:2] == before["coordinateTransformations"]
    assert entries[2:] == [
        {
            "type": "identity",
            "input": {"path": "more/third", "name": "world"},
            "output": {"name": "world"},
        }
    ]
    assert {**after, "coordinateTransformations": 0} == {**before, "coordinateTransformations": 0}
    assert attributes(tmp_path, "more/third")["version"] == "0.6"
    assert in_world(tmp_path, "more/third") == [1.0, 9.0]
    assert value(tmp_path, "more/third") == 3
    opened_scene = xr.open_datatree(tmp_path, engine="omezarr")
    assert set(opened_scene.children) == {"tile_0", "tile_1", "more"}
    assert not validate(tmp_path).errors
    # Once more, and it is listed once.
    placed(4, 8.0).omezarr.to_zarr(tmp_path, group="more/third", mode="w")
    assert attributes(tmp_path)["scene"] == after
    assert value(tmp_path, "more/third") == 4


def test_an_image_that_nothing_relates_to_a_scene_is_refused(tmp_path: Path) -> None:
    scene("tile_0", "tile_1").omezarr.to_zarr(tmp_path)
    before = kills.files(tmp_path)
    with pytest.raises(OmeZarrError, match=r"nothing says how third .*assign_coordinate_system"):
        field().omezarr.to_zarr(tmp_path, group="third")
    with pytest.raises(OmeZarrError, match="coordinate systems are: 'world'; the image has: 'phys"):
        placed(1, 0.0, "stage").omezarr.to_zarr(tmp_path, group="third")
    with pytest.raises(OmeZarrError, match=r"is a scene of version 0\.6"):
        placed(1, 0.0).omezarr.to_zarr(tmp_path, group="third", version="0.5")
    with pytest.raises(OmeZarrError, match="nothing says how a lies"):
        tree("a/0", "b/0").omezarr.to_zarr(tmp_path, mode="a")
    assert kills.files(tmp_path) == before
    # An image that the scene has is replaced by one with the systems that the scene speaks of.
    field(7).omezarr.to_zarr(tmp_path, group="tile_1", mode="w")
    assert value(tmp_path, "tile_1") == 7
    odd = field(8).omezarr.assign_coordinate_system("own", [[1.0, 0, 0], [0, 1.0, 0]])
    odd = odd.omezarr.to_coordinate_system("own")
    with pytest.raises(OmeZarrError, match="relates tile_1 by its coordinate system 'physical'"):
        odd.omezarr.to_zarr(tmp_path, group="tile_1", mode="w")
    assert value(tmp_path, "tile_1") == 7


def test_images_of_one_scene_are_added_to_another(tmp_path: Path) -> None:
    scene("tile_0").omezarr.to_zarr(tmp_path / "one")
    scene("other", "tiles/1").omezarr.to_zarr(tmp_path / "two")
    more = xr.open_datatree(tmp_path / "two", engine="omezarr")
    more.omezarr.to_zarr(tmp_path / "one", mode="a")
    told = attributes(tmp_path / "one")["scene"]["coordinateTransformations"]
    # As they were finished.
    assert sorted(one["input"]["path"] for one in told) == ["other", "tile_0", "tiles/1"]
    assert in_world(tmp_path / "one", "tiles/1") == [1.0, 5.0]
    assert not validate(tmp_path / "one").errors
    before = kills.files(tmp_path)
    with pytest.raises(OmeZarrFileExistsError, match="other exists, and nothing was changed"):
        more.omezarr.to_zarr(tmp_path / "one", mode="a")
    assert kills.files(tmp_path) == before
    more.omezarr.to_zarr(tmp_path / "one", mode="a", resume=True)
    assert kills.files(tmp_path) == before
    # Two of the same name are told apart by hand.
    xr.DataTree.from_dict({"third/0": placed(9, 1.0), "fourth/0": placed(8, 2.0)}).omezarr.to_zarr(
        tmp_path / "one", mode="a"
    )
    assert in_world(tmp_path / "one", "fourth") == [1.0, 3.0]


def test_what_lies_in_an_image_of_a_scene_is_no_image_of_it(tmp_path: Path) -> None:
    scene("tile_0").omezarr.to_zarr(tmp_path)
    before = attributes(tmp_path)
    field().omezarr.to_zarr(tmp_path, group="tile_0/mine")
    assert attributes(tmp_path) == before


def test_threads_add_to_one_scene(tmp_path: Path) -> None:
    scene("tile_0").omezarr.to_zarr(tmp_path)

    def add(number: int) -> None:
        placed(number, float(number)).omezarr.to_zarr(tmp_path, group=f"more_{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(16)))
    told = attributes(tmp_path)["scene"]["coordinateTransformations"]
    assert {one["input"]["path"] for one in told} == {"tile_0", *(f"more_{n}" for n in range(16))}
    assert in_world(tmp_path, "more_9") == [1.0, 10.0]
    assert not validate(tmp_path).errors


def test_an_image_that_is_laid_out_is_related_once_it_stands(tmp_path: Path) -> None:
    scene("tile_0").omezarr.to_zarr(tmp_path)
    delayed = placed(5, 2.0).omezarr.to_zarr(tmp_path, group="later", compute=False)
    assert delayed is not None
    assert len(attributes(tmp_path)["scene"]["coordinateTransformations"]) == 1
    delayed.compute()
    assert in_world(tmp_path, "later") == [1.0, 3.0]


@versions
def test_an_image_is_added_to_the_list_of_a_series(tmp_path: Path, version: str) -> None:
    tree("0/0", "1/0").omezarr.to_zarr(tmp_path, version=version)
    told = (
        {"series": ["1", "0"]}
        if version == "0.4"
        else {"ome": {"version": version, "series": ["1", "0"]}}
    )
    zarr.create_group(
        tmp_path / "OME", attributes={**told, "mine": 1}, zarr_format=2 if version == "0.4" else 3
    )
    field(9).omezarr.to_zarr(tmp_path, group="extra")
    assert attributes(tmp_path, "OME")["series"] == ["1", "0", "extra"]
    assert zarr.open_group(tmp_path, path="OME", mode="r").attrs["mine"] == 1


# ── several at once ──────────────────────────────────────────────────────────────────────────────


def _add_wells(
    number: int,
    target: str,
    columns: int,
    options: Options,
    barrier: Any,  # noqa: ANN401
) -> None:
    """Add wells, one after the other, as one of several processes."""
    barrier.wait()
    for column in range(columns):
        ds = field(number + 1, acquisition=number)
        ds.omezarr.to_zarr(target, group=f"{'ABCDEFGH'[number]}/{column}/0", **options)


def _by_processes(count: int, target: str, columns: int, options: Options) -> list[str]:
    context = forks.context()
    barrier = context.Barrier(count)
    started = [
        context.Process(target=_add_wells, args=(number, target, columns, options, barrier))
        for number in range(count)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * count
    return [f"{row}/{column}/0" for row in "ABCDEFGH"[:count] for column in range(columns)]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_eight_processes_add_to_one_plate(tmp_path: Path, version: str) -> None:
    tree("M/20/0", acquisition=9).omezarr.to_zarr(tmp_path, version=version)
    wells = _by_processes(8, str(tmp_path), 2, {})
    assert listed(tmp_path) == [*wells, "M/20/0"]
    assert [value(tmp_path, f"{row}/1/0") for row in "ABCDEFGH"] == list(range(1, 9))
    assert {one["id"] for one in attributes(tmp_path)["plate"]["acquisitions"]} == {*range(8), 9}
    assert not list(tmp_path.rglob(".omezarr*"))


def test_eight_processes_add_to_one_plate_on_s3(s3: S3) -> None:
    how: Options = {"storage_options": s3.storage_options}
    tree("M/20/0", acquisition=9).omezarr.to_zarr(f"{s3.url}/plate.zarr", **how)
    wells = _by_processes(8, f"{s3.url}/plate.zarr", 1, how)
    assert listed(f"{s3.url}/plate.zarr", **how) == [*wells, "M/20/0"]
    assert not [key for key in s3.keys() if ".omezarr" in key]  # noqa: SIM118 - a method of its own


@pytest.mark.parametrize("kind", ["memory", "obstore", "s3"])
def test_threads_add_to_one_well(request: pytest.FixtureRequest, kind: str) -> None:
    store: Any = MemoryStore()
    if kind == "obstore":
        store = ObjectStore(ObjectsInMemory())
    elif kind == "s3":
        store = ObjectStore(request.getfixturevalue("s3").obstore("plate.zarr"))
    tree("A/1/0").omezarr.to_zarr(store)

    def add(number: int) -> None:
        field(number).omezarr.to_zarr(store, group=f"A/1/{number}")

    with ThreadPoolExecutor(6) as pool, dask.config.set(scheduler="synchronous"):
        list(pool.map(add, range(1, 7)))
    assert sorted(listed(store)) == [f"A/1/{number}" for number in range(7)]


def test_a_change_that_is_refused_is_made_again(s3: S3) -> None:
    """What somebody else writes between reading and writing is what the change is then made of."""
    place = stores.locate(f"{s3.url}/a", write=True, storage_options=s3.storage_options)
    seen: list[bytes | None] = []

    def edit(content: bytes | None) -> bytes:
        seen.append(content)
        if len(seen) < 3:
            s3.put("a/list", b"%d" % len(seen))
        return (content or b"") + b"+"

    exchange.change(place, "list", edit)
    assert seen == [None, b"1", b"2"]
    assert s3.contents() == {"a/list": b"2+"}
    # What is there is not made anew.
    exchange.create(place, "list", b"another")
    assert s3.contents() == {"a/list": b"2+"}
    place.close()


def test_a_server_that_cannot_tell_yet_is_asked_again(s3: S3) -> None:
    place = stores.locate(f"{s3.url}/a", write=True, storage_options=s3.storage_options)
    s3.put("a/list", b"1")
    answers = [409, 412]
    s3.server.answer = lambda asked: answers.pop() if answers and asked.startswith("PUT") else None
    exchange.change(place, "list", lambda content: (content or b"") + b"+")
    assert not answers
    assert s3.contents() == {"a/list": b"1+"}
    s3.server.answer = lambda asked: 403 if asked.startswith("PUT") else None
    with pytest.raises(PermissionError):
        exchange.change(place, "list", lambda content: (content or b"") + b"+")
    place.close()


def test_whoever_waits_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree("A/1/0").omezarr.to_zarr(tmp_path)
    monkeypatch.setattr(exchange, "_PATIENCE", 0.05)
    with (
        exchange.alone(stores.locate(tmp_path)),
        pytest.raises(OmeZarrError, match="being changed by others all the time"),
    ):
        field().omezarr.to_zarr(tmp_path, group="B/1/0")
    assert listed(tmp_path) == ["A/1/0"]
    field().omezarr.to_zarr(tmp_path, group="B/1/0", resume=True)
    assert listed(tmp_path) == ["A/1/0", "B/1/0"]


# ── kills ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["plate", "add-well", "add-wells"])
def test_killed_at_any_time(tmp_path: Path, what: str) -> None:
    """`test_durability` kills at operations on files."""
    for told, error in kills.trials(what, tmp_path, kills=2, kind="time"):
        assert error is None, f"{told}: {error}"
