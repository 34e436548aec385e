"""Metadata of images that are there: what is set opens, on every level, and nothing else."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from tests.helpers import (
    OMERO,
    VERSIONS,
    WatchedStore,
    contents,
    copy_of,
    document_of,
    failing_after,
    files,
    image,
    opened,
    opened_tree,
    put_document,
    put_sample,
)
from tests.strategies import Picture, decimals, pictures
from tests.test_upgrade import put_group, put_image, put_plate
from xarray_omezarr import OmeZarrError, OmeZarrWarning, cli, samples, update_metadata
from xarray_omezarr.model import Level
from xarray_omezarr.placement import aligned
from xarray_omezarr.transforms import ScaleTranslation

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers import Document


def unedited(store: dict[str, bytes]) -> dict[str, bytes]:
    return {key: v for key, v in store.items() if not key.endswith((".zattrs", "zarr.json"))}


@pytest.mark.parametrize("version", [*VERSIONS, "0.6"])
def test_levels_and_labels_follow(version: str, memory: MemoryStore) -> None:
    samples.coins().omezarr.to_zarr(memory, version=version, levels=3)
    before = contents(memory)
    changes = update_metadata(
        memory, scale={"y": 0.4, "x": 0.2}, translation={"x": -3.0}, units="nanometer"
    )
    names = {"zarr.json", "labels/coins/zarr.json"}
    if version == "0.4":
        names = {".zattrs", "labels/coins/.zattrs"}
    assert set(changes.files) == names
    assert unedited(contents(memory)) == unedited(before)
    tree = opened_tree(memory)
    for level in range(3):
        for ds in (tree[f"{level}"].to_dataset(), tree[f"labels/coins/{level}"].to_dataset()):
            array = next(iter(ds.data_vars.values()))
            factor = 2.0**level
            assert array.omezarr.scale == {"y": 0.4 * factor, "x": 0.2 * factor}
            assert array.omezarr.translation["y"] == pytest.approx((factor - 1) / 2 * 0.4)
            assert array.omezarr.translation["x"] == pytest.approx(-3 + (factor - 1) / 2 * 0.2)
            assert array.omezarr.units == {"y": "nanometer", "x": "nanometer"}
    assert "coins" in opened(memory)
    assert not update_metadata(memory, scale={"y": 0.4, "x": 0.2}, units="nanometer")


@given(picture=pictures(sizes=(2, 7)), data=st.data())
def test_what_is_set_is_what_assign_scale_gives(picture: Picture, data: st.DataObject) -> None:
    store = MemoryStore()
    with warnings.catch_warnings(action="ignore"):
        picture.dataset().omezarr.to_zarr(store, levels=2)
        first = opened(store)
        dims = [str(dim) for dim in first.image.dims if dim in first.omezarr.scale]
        scale = {dim: data.draw(decimals(6)) for dim in dims}
        translation = {dim: data.draw(decimals(4)) for dim in dims}
        wanted = first.omezarr.assign_scale(scale, translation=translation)
        keys = {key for key in contents(store) if "zarr.json" not in key}
        update_metadata(store, scale=scale, translation=translation)
        assert opened(store).load().identical(wanted.load())
    assert keys == {key for key in contents(store) if "zarr.json" not in key}


@pytest.mark.parametrize("version", VERSIONS)
def test_from_the_coordinates_of_a_dataset(version: str, memory: MemoryStore) -> None:
    put_sample(memory, version=version)
    like = opened(memory).omezarr.assign_scale(y=3, x=2, translation={"y": 1}, units="meter")
    like = like.omezarr.assign_channels(["a", "b"], colors=["FFFFFF", "0000FF"])
    like = like.assign_attrs(name="other")
    update_metadata(memory, like=like)
    assert opened(memory).load().identical(like.load())
    assert opened(memory, level=2).omezarr.scale == {"y": 12.0, "x": 8.0}
    update_metadata(memory, like=like, scale={"y": 5.0})
    assert opened(memory).omezarr.scale == {"y": 5.0, "x": 2.0}
    with pytest.raises(OmeZarrError, match="like: its sizes"):
        update_metadata(memory, like=like.isel(x=slice(1, None)))


def test_channels_keep_what_vendors_say(memory: MemoryStore) -> None:
    put_image(memory)
    before = document_of(memory)
    update_metadata(memory, names=["one", "two"], windows=[(1, 2), (3, 4.5)], name="tissue")
    after = document_of(memory)
    first, second = after["omero"]["channels"]
    assert (first["label"], first["color"], first["vendor"]) == ("one", "0000FF", {"laser": 405})
    assert second["window"] == {"min": 0, "max": 65535, "start": 3, "end": 4.5}
    assert after["omero"]["rdefs"] == before["omero"]["rdefs"]
    assert after["multiscales"][0] == {**before["multiscales"][0], "name": "tissue"}
    assert after["_creator"] == before["_creator"]
    for wrong in (
        {"names": ["one"]},
        {"names": ["one", "one"]},
        {"colors": ["red", "00FF00"]},
        {"windows": [(0, 1), (0, float("nan"))]},
        {"scale": {"c": 2.0}},
        {"scale": {"y": 0.0}},
        {"scale": {"q": 1.0}},
        {"axis_types": {"q": "space"}},
        {"axis_types": {"y": "time", "x": "time"}},
    ):
        with pytest.raises(OmeZarrError):
            update_metadata(memory, **wrong)
    assert document_of(memory) == after


def test_channels_of_an_image_that_has_none_yet(memory: MemoryStore) -> None:
    image((2, 20, 20), "cyx").drop_vars("c").omezarr.to_zarr(memory, levels=1)
    assert "omero" not in document_of(memory)
    update_metadata(memory, names=["DAPI", "GFP"], colors=["0000ff", "00ff00"])
    channels = document_of(memory)["omero"]["channels"]
    # "Each channel MUST contain color and window".
    assert channels[0] == {
        "label": "DAPI",
        "color": "0000FF",
        "window": {"min": 0, "max": 65535, "start": 0, "end": 65535},
    }
    assert opened(memory).c.values.tolist() == ["DAPI", "GFP"]


def test_axis_types(memory: MemoryStore) -> None:
    values = xr.DataArray(np.zeros((2, 8, 8), "u1"), dims=("w", "y", "x"))
    values = values.assign_coords(w=("w", [0.0, 1.0], {"type": "wavelength"}))
    values.omezarr.to_zarr(memory, levels=1)
    update_metadata(memory, axis_types={"w": "channel"})
    assert document_of(memory)["multiscales"][0]["axes"][0]["type"] == "channel"
    assert "w" not in opened(memory).omezarr.scale


def test_every_field_of_a_plate(tmp_path: Path) -> None:
    put_plate(tmp_path)
    before = unedited({k: v for k, v in files(tmp_path).items() if v is not None})
    update_metadata(tmp_path, scale={"y": 2.0}, names=["a", "b"])
    model = opened(tmp_path, group="A/1/0").omezarr.assign_scale(
        x=7.0, translation={"x": 99.0, "y": 99.0}, units="meter"
    )
    update_metadata(tmp_path, like=model)
    for field in ("A/1/0", "B/1/0"):
        ds = opened(tmp_path, group=field)
        assert "cells" in ds
        assert ds.omezarr.scale == {"y": 2.0, "x": 7.0}
        # A field stays where it is on the plate.
        assert ds.omezarr.translation == {"y": 10.0, "x": -4.0}
        assert ds.omezarr.units == {"y": "meter", "x": "meter"}
        assert ds.c.values.tolist() == ["a", "b"]
        assert ds.attrs["name"] == "cells"
        assert opened(tmp_path, group=field, level=1).omezarr.translation == {"y": 11.0, "x": -0.5}
    assert unedited({k: v for k, v in files(tmp_path).items() if v is not None}) == before
    update_metadata(tmp_path, group="B/1", scale={"y": 3.0})
    assert opened(tmp_path, group="A/1/0").omezarr.scale["y"] == 2.0
    assert opened(tmp_path, group="B/1/0").omezarr.scale["y"] == 3.0


def test_a_dry_run_shows_the_difference(tmp_path: Path) -> None:
    put_sample(tmp_path, version="0.5", dims="yx")
    before = files(tmp_path)
    changes = update_metadata(tmp_path, scale={"x": 2.0}, dry_run=True)
    assert files(tmp_path) == before
    lines = str(changes).splitlines()
    assert lines[:2] == ["--- a/zarr.json", "+++ b/zarr.json"]
    gone, new = (
        sorted(float(line[1:]) for line in lines[2:] if line.startswith(sign)) for sign in "-+"
    )
    # Three scales, and the half pixels of two further levels: nothing else is touched.
    assert gone == [-3.875, -3.625, 0.25, 0.5, 1.0]
    assert new == [-3.0, -1.0, 2.0, 4.0, 8.0]
    update_metadata(tmp_path, scale={"x": 2.0})
    name, (_, after) = next(iter(changes.files.items()))
    assert json.loads((tmp_path / name).read_text()) == after


@pytest.mark.parametrize("version", VERSIONS)
def test_consolidated_metadata_tell_the_same(version: str, tmp_path: Path) -> None:
    put_plate(tmp_path) if version == "0.4" else put_sample(tmp_path, version=version, group="A")
    with warnings.catch_warnings(action="ignore"):
        zarr.consolidate_metadata(tmp_path, zarr_format=2 if version == "0.4" else 3)
    group = "A/1/0" if version == "0.4" else "A"
    update_metadata(tmp_path, group=group, name="new")
    told = zarr.open_consolidated(tmp_path)[group].attrs.asdict()
    assert told == zarr.open_group(tmp_path, path=group, use_consolidated=False).attrs.asdict()
    assert "new" in json.dumps(told)


def test_files_are_old_or_new(memory: MemoryStore) -> None:
    put_image(memory)
    start, finished = copy_of(memory), copy_of(memory)
    update_metadata(finished, scale={"y": 7.0})
    for stop in range(2):
        store = copy_of(start)
        with pytest.raises(OmeZarrError, match="The same call completes it"):
            update_metadata(WatchedStore(store, hook=failing_after(stop)), scale={"y": 7.0})
        now, old, new = contents(store), contents(start), contents(finished)
        assert all(now[key] in (old[key], new[key]) for key in new)
        update_metadata(store, scale={"y": 7.0})
        assert contents(store) == new
    with pytest.raises(OmeZarrError, match="reading only"):
        update_metadata(memory.with_read_only(read_only=True), scale={"y": 7.0})


def test_what_cannot_be_edited(memory: MemoryStore) -> None:
    old = {"version": "0.3", "axes": ["y", "x"], "datasets": [{"path": "0"}]}
    put_group(memory, "", {"multiscales": [old]})
    zarr.create_array(memory, name="0", data=np.zeros((4, 4), "u1"), zarr_format=2)
    with pytest.raises(OmeZarrError, match="Upgrade it first"):
        update_metadata(memory, scale={"y": 1.0})
    put_group(memory, "", {"bioformats2raw.layout": 3})
    put_image(memory, "0")
    with pytest.raises(OmeZarrError, match=r"it holds 0\. Name one"):
        update_metadata(memory, scale={"y": 1.0})
    with pytest.raises(OmeZarrError, match="nothing at"):
        update_metadata(memory, group="1", scale={"y": 1.0})


# ── repair ───────────────────────────────────────────────────────────────────────────────────────


def broken(store: Any, change: Any, version: str = "0.5") -> Document:  # noqa: ANN401
    """Write an image, and change its document; return it as it was."""
    put_sample(store, version=version, dims="zyx")
    root = zarr.open_group(store)
    document = document_of(store)
    good = json.loads(json.dumps(document))
    change(document)
    root.attrs.update(document if version == "0.4" else {"ome": document})
    return good  # type: ignore[no-any-return]


def steps(document: Document, level: int) -> list[Document]:
    found: list[Document] = document["multiscales"][0]["datasets"][level][
        "coordinateTransformations"
    ]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_scales_that_contradict_shapes(version: str, memory: MemoryStore) -> None:
    def change(document: Document) -> None:
        for level in (1, 2):
            steps(document, level)[:] = steps(document, 0)

    good = broken(memory, change, version)
    update_metadata(memory, repair=True)
    assert document_of(memory)["multiscales"] == good["multiscales"]


def test_half_pixels_that_are_missing(memory: MemoryStore) -> None:
    averaged, copied = MemoryStore(), MemoryStore()
    for store, method in ((averaged, "mean"), (copied, "nearest")):
        image((64, 64)).omezarr.to_zarr(store, levels=3, method=method)
        document = document_of(store)
        document["multiscales"][0].pop("type")
        for level in (1, 2):
            del steps(document, level)[1:]
        zarr.open_group(store).attrs["ome"] = document
    update_metadata(averaged, repair=True)
    assert opened(averaged, level=2).omezarr.translation == {"y": 0.75, "x": 0.75}
    # The pixels themselves tell that each is a copy, and lies where that was.
    assert not update_metadata(copied, repair=True)
    assert not memory._store_dict


def test_names_of_units_and_versions(memory: MemoryStore) -> None:
    def change(document: Document) -> None:
        del document["version"]
        for axis, unit in zip(
            document["multiscales"][0]["axes"], ("µm", "um", "micron"), strict=True
        ):
            axis["unit"] = unit

    good = broken(memory, change)
    with pytest.warns(OmeZarrWarning):
        opened(memory)
    update_metadata(memory, repair=True)
    assert document_of(memory) == good
    with warnings.catch_warnings(action="error"):
        opened(memory)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("there", [True, False])
def test_lists_of_labels_that_are_missing(version: str, tmp_path: Path, *, there: bool) -> None:
    samples.coins().omezarr.to_zarr(tmp_path, version=version)
    group = tmp_path / "labels"
    expected = {p.name: p.read_bytes() for p in group.iterdir() if p.is_file()}
    if there:
        put_document(tmp_path, {"labels": []}, version=version, group="labels")
    else:
        for name in expected:
            (group / name).unlink()
    update_metadata(tmp_path, repair=True)
    assert document_of(tmp_path, "labels")["labels"] == ["coins"]
    assert "coins" in opened(tmp_path)


def test_a_plate_gets_its_indices(memory: MemoryStore) -> None:
    put_plate(memory)
    root = zarr.open_group(memory)
    good: Any = root.attrs["plate"]
    bad = {key: value for key, value in good.items() if key != "version"}
    root.attrs["plate"] = {**bad, "wells": [{"path": "A/1", "vendor": 1}, {"path": "B/1"}]}
    update_metadata(memory, repair=True)
    assert zarr.open_group(memory).attrs["plate"] == good


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_translations_by_nothing_are_right(version: str) -> None:
    memory = MemoryStore()
    samples.circle().omezarr.to_zarr(memory, version=version, levels=1)
    document = document_of(memory)
    entries = document["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    # As ome-zarr-py writes them.
    entries.append({"type": "translation", "translation": [0.0, 0.0]})
    put_document(memory, document, version=version)
    assert not update_metadata(memory, repair=True)
    assert document_of(memory) == document


@given(picture=pictures(), data=st.data())
def test_what_is_right_is_left_alone(picture: Picture, data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(["mean", "nearest", "max"]))
    shape = picture.shape.items()
    factors = {d: data.draw(st.integers(1, 3)) for d, n in shape if d in "zyx" and n > 3}
    levels = [factors] if max(factors.values(), default=1) > 1 else 1
    version = data.draw(st.sampled_from(VERSIONS))
    store = MemoryStore()
    with warnings.catch_warnings(action="ignore"):
        picture.dataset().omezarr.to_zarr(store, levels=levels, method=method, version=version)
        changes = update_metadata(store, repair=True, dry_run=True)
    assert str(changes) == "nothing to change"


@given(
    # Of shorter axes, shapes leave open which factor it was: 10 pixels become 2 by 4, and by 5.
    st.lists(st.tuples(st.integers(30, 300), decimals(4)), min_size=1, max_size=3),
    st.integers(2, 4),
    st.booleans(),
)
def test_alignment_is_found_again(axes: list[tuple[int, float]], factor: int, up: bool) -> None:  # noqa: FBT001
    """Whatever the transformations of lower levels were, shapes tell what they are."""
    first = ScaleTranslation(tuple(s for _, s in axes), (1.0,) * len(axes))
    shapes = [[n for n, _ in axes]]
    while min(shapes[-1]) >= 2 * factor:
        shapes.append([-(-n // factor) if up else n // factor for n in shapes[-1]])
    wrong = [Level(str(k), first) for k in range(len(shapes))]
    for k, level in enumerate(aligned(wrong, shapes)):
        scale = [s * factor**k for s in first.scale]
        assert level.transform.scale == pytest.approx(scale, rel=1e-12)
        shift = [1 + (factor**k - 1) / 2 * s for s in first.scale]
        assert level.transform.translation == pytest.approx(shift, rel=1e-12)
    assert aligned(aligned(wrong, shapes), shapes) == aligned(wrong, shapes)


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def test_the_command(tmp_path: Path) -> None:
    at = str(tmp_path / "image")
    put_sample(at, version="0.5")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli.main, ["edit", at, *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    told = run("--scale", "y=2,x=3", "--units", "meter", "--dry-run")
    assert "+++ b/zarr.json" in told
    assert opened(at).omezarr.units == {"y": "micrometer", "x": "micrometer"}
    assert "Changed 1 file of" in run("--scale", "y=2,x=3", "--units", "meter")
    assert opened(at).omezarr.scale == {"y": 2.0, "x": 3.0}
    run("--translation", "y=-1.5", "--units", "y=foot", "--name", "new")
    run("--names", "a,b", "--colors", "FF0000,00FF00", "--windows", "0:10,5:20")
    ds = opened(at)
    assert ds.omezarr.translation == {"y": -1.5, "x": -4.0}
    assert ds.omezarr.units == {"y": "foot", "x": "meter"}
    assert (ds.attrs["name"], ds.c.values.tolist()) == ("new", ["a", "b"])
    assert ds.c_window_end.values.tolist() == [10.0, 20.0]
    put_sample(tmp_path / "model", version="0.4")
    run("--like", str(tmp_path / "model"))
    assert opened(at).c.values.tolist() == [one["label"] for one in OMERO["channels"]]
    assert run("--repair") == "nothing to change\n"
    for wrong in (["--scale", "2"], ["--windows", "a:b"], ["--scale", "y=a"]):
        assert CliRunner().invoke(cli.main, ["edit", at, *wrong]).exit_code == 2
