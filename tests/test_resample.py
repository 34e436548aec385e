"""Images brought onto other grids, against SciPy on the whole array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests.helpers import pixels
from tests.test_frames import ROTATION, add, system, way
from xarray_omezarr import OmeZarrError, samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from zarr.storage import MemoryStore

    Pixels = NDArray[Any]


def grid(
    dims: Sequence[str],
    shape: Sequence[int],
    scale: Mapping[str, float],
    translation: Mapping[str, float] | None = None,
    dtype: str = "uint16",
) -> xr.DataArray:
    """Make an image of noise on a grid."""
    image = xr.DataArray(pixels(shape, dtype), dims=list(dims), name="image")
    made: xr.DataArray = image.omezarr.assign_scale(
        scale, translation=translation, units="micrometer"
    )
    return made


def whole(source: xr.DataArray, like: xr.DataArray, order: int, fill: float = 0) -> Pixels:
    """SciPy on the whole array, channels one by one."""
    dims = [d for d in source.dims if d in like.dims and d != "c"]
    own, other = source.omezarr, like.omezarr
    matrix = np.diag([other.scale[d] / own.scale[d] for d in dims])
    offset = [(other.translation[d] - own.translation[d]) / own.scale[d] for d in dims]
    shape = tuple(like.sizes[d] for d in dims)
    planes = source.transpose(..., *dims).values.reshape(-1, *(source.sizes[d] for d in dims))
    result = [
        ndimage.affine_transform(
            plane, matrix, offset, shape, order=order, cval=fill, prefilter=False
        )
        for plane in planes
    ]
    rest = [source.sizes[d] for d in source.dims if d not in dims]
    return np.stack(result).reshape(*rest, *shape)


CASES = {
    "finer": (("y", "x"), (40, 50), {"y": 1.0, "x": 1.0}, {}, (90, 110), {"y": 0.375, "x": 0.4375},
              {"y": 2.0, "x": -3.0}),
    "coarser": (("y", "x"), (60, 70), {"y": 0.5, "x": 0.25}, {}, (9, 7), {"y": 3.25, "x": 3.5},
                {"y": 1.5, "x": 0.25}),
    "descending": (("y", "x"), (40, 50), {"y": -0.5, "x": 1.0}, {"y": 20.0}, (33, 61),
                   {"y": 0.75, "x": -0.875}, {"y": -1.0, "x": 52.0}),
    "channels": (("c", "z", "y", "x"), (2, 9, 30, 31), {"z": 2.0, "y": 0.5, "x": 0.5}, {},
                 (21, 33, 30), {"z": 0.75, "y": 0.625, "x": 0.5625},
                 {"z": 1.0, "y": -1.0, "x": 3.0}),
    "elsewhere": (("y", "x"), (20, 20), {"y": 1.0, "x": 1.0}, {}, (20, 20), {"y": 1.0, "x": 1.0},
                  {"y": 500.0}),
}  # fmt: skip


def pair(case: str, dtype: str = "uint16") -> tuple[xr.DataArray, xr.DataArray]:
    dims, shape, scale, start, size, step, begin = CASES[case]
    like = [d for d in dims if d != "c"]
    return grid(dims, shape, scale, start, dtype), grid(like, size, step, begin)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_it_is_what_scipy_makes_of_the_whole_array_bit_for_bit(
    case: str, order: int, dtype: str
) -> None:
    source, like = pair(case, dtype)
    fill = np.nan if dtype.startswith("f") else 0
    result = source.omezarr.resample(like, order=order)
    assert result.dtype == dtype
    assert result.dims == source.dims
    np.testing.assert_array_equal(result, whole(source, like, order, fill))
    for dim in like.dims:
        assert result.indexes[dim].equals(like.indexes[dim])
    assert result.omezarr.units["x"] == "micrometer"


@given(
    case=st.sampled_from(list(CASES)),
    order=st.sampled_from([0, 1]),
    parts=st.tuples(*[st.integers(5, 60)] * 4),
)
def test_blocks_make_no_difference(case: str, order: int, parts: tuple[int, ...]) -> None:
    source, like = pair(case, "float32")
    expected = whole(source, like, order, np.nan)
    lazy = source.chunk(dict(zip(source.dims, parts, strict=False)))
    cut = like.chunk(dict(zip(like.dims[::-1], parts, strict=False)))
    np.testing.assert_array_equal(lazy.omezarr.resample(cut, order=order), expected)


@given(st.data())
def test_whatever_the_grids(data: st.DataObject) -> None:
    ndim = data.draw(st.integers(2, 3))
    dims = ("z", "y", "x")[-ndim:]
    number = st.floats(0.1, 8).map(lambda value: float(f"{value:.3g}"))
    scales, steps = ({d: data.draw(number) for d in dims} for _ in range(2))
    begin = {d: data.draw(st.integers(-20, 20)) / 4 for d in dims}
    source = grid(dims, (5, 12, 14)[-ndim:], scales, dtype="float64").chunk(4)
    like = grid(dims, (6, 9, 11)[-ndim:], steps, begin).chunk(5)
    expected = whole(source, like, 1, -1.0)
    result = source.omezarr.resample(like, fill_value=-1.0).values
    # Within rounding of the edge, SciPy's matrix may fall out of the image.
    both = (expected != -1) & (result != -1)
    np.testing.assert_allclose(result[both], expected[both], rtol=1e-9)
    edge = (expected == -1) != (result == -1)
    for i, dim in enumerate(dims):
        where = (like[dim].values - float(source[dim][0])) / scales[dim]
        off = np.minimum(abs(where), abs(where - (source.sizes[dim] - 1)))
        edge &= ~np.expand_dims(off < 1e-9, [j for j in range(ndim) if j != i])
    assert not edge.any()


def rotated(dtype: str = "float64") -> tuple[xr.Dataset, xr.Dataset]:
    """Open an image in a tilted system, and another one that is sheared in it."""
    opened = []
    for shape, ways in (
        ((7, 40, 50), [way("physical", "stage", type="rotation", rotation=ROTATION)]),
        ((9, 45, 35), [way("physical", "stage", type="affine", affine=[
            [1.0, 0.1, 0, -1.0], [0, 1.0, 0.2, 2.0], [0.05, 0, 1, 3.0]])]),
    ):  # fmt: skip
        store = zarr.storage.MemoryStore()
        image = grid("zyx", shape, {"z": 2.0, "y": 0.5, "x": 0.75}, {"y": 1.0}, dtype)
        image.omezarr.to_zarr(store, version="0.6", levels=1, chunks=16)
        add(store, [system("stage", "z", "y", "x")], ways)
        opened.append(xr.open_dataset(store, engine="omezarr"))  # type: ignore[arg-type]
    return opened[0], opened[1]


@pytest.mark.parametrize("order", [0, 1])
def test_through_a_system_by_a_rotation_and_an_affine_transformation(order: int) -> None:
    ds, like = rotated()
    result = ds.omezarr.resample(like, system="stage", order=order)

    # What SciPy wants, by matrices in homogeneous coordinates.
    def lattice(image: xr.Dataset) -> Pixels:
        scale, start = image.omezarr.scale, image.omezarr.translation
        return np.block([[np.diag(list(scale.values())), np.array([list(start.values())]).T],
                         [np.zeros(3), 1]])  # fmt: skip

    def matrix(image: xr.Dataset) -> Pixels:
        unit = np.concatenate([np.zeros((1, 3)), np.eye(3)])
        moved = image.omezarr.transform_points(unit, "physical", "stage")
        return np.block([[(moved[1:] - moved[0]).T, moved[:1].T], [np.zeros(3), 1]])

    full = np.linalg.inv(lattice(ds)) @ np.linalg.inv(matrix(ds)) @ matrix(like) @ lattice(like)
    expected = ndimage.affine_transform(
        ds.image.values, full[:3, :3], full[:3, 3], like.image.shape, order=order, cval=-5.0,
        prefilter=False,
    )  # fmt: skip
    found = result.image.fillna(-5.0).values
    # Within rounding of its edge, SciPy's matrix may fall out of the image; nearest pixels may tie.
    where = np.einsum("ij,jzyx->izyx", full[:3, :3], np.indices(like.image.shape, float))
    where += full[:3, 3, None, None, None]
    last = np.array(ds.image.shape)[:, None, None, None] - 1
    clear = (abs(where) > 1e-9).all(axis=0) & (abs(where - last) > 1e-9).all(axis=0)
    clear &= (abs(where % 1 - 0.5) > 1e-9).all(axis=0)
    assert clear.mean() > 0.95
    assert (found != -5).mean() > 0.1
    np.testing.assert_allclose(found[clear], expected[clear], rtol=1e-9)
    for sizes in ({"z": 2, "y": 7, "x": 33}, {"z": 5, "y": 45, "x": 3}):
        again = ds.chunk(y=11).omezarr.resample(like.chunk(sizes), system="stage", order=order)
        np.testing.assert_array_equal(again.image, result.image)


def test_a_plane_through_a_volume() -> None:
    ds, like = rotated()
    plane = ds.omezarr.resample(like.isel(z=4), system="stage")
    assert plane.image.dims == ("y", "x")
    assert float(plane.z) == float(like.z[4])
    np.testing.assert_allclose(
        plane.image, ds.omezarr.resample(like, system="stage").image.isel(z=4), rtol=1e-12
    )


def test_a_crop_and_a_turn_are_the_very_pixels() -> None:
    source, _ = pair("channels", "float32")
    source[0, 3, 4, 5] = np.nan
    crop = source[0].isel(z=slice(2, 8), y=slice(None, None, -2), x=slice(5, None, 3))
    found = source.omezarr.resample(crop)
    xr.testing.assert_identical(found.drop_attrs().isel(c=0), crop.drop_attrs())


def test_64_bit_labels_keep_every_bit_and_label_images_are_never_averaged() -> None:
    ds = samples.coins()
    large = 2**63 + 12345
    ds["coins"] = (
        ds.coins.astype("uint64").where(ds.coins != 3, large).astype("uint64").assign_attrs()
    )
    ds["coins"].values[ds.coins.values > 20] = large
    ds.coins.encoding["omezarr"] = {"kind": "label"}
    like = ds.image.isel(y=slice(10, 80)).interp(x=np.arange(0, 30, 0.1))
    result = ds.omezarr.resample(like)
    assert set(np.unique(result.coins)) <= set(np.unique(ds.coins))
    assert result.coins.dtype == "uint64"
    assert result.image.dtype == ds.image.dtype
    assert result.image.shape == result.coins.shape == (70, 300)


def test_half_precision_booleans_and_big_endian() -> None:
    source, like = pair("finer", "float64")
    half = (source / 2**15).astype("float16")
    np.testing.assert_allclose(
        half.omezarr.resample(like), whole(half.astype("float32"), like, 1, np.nan), rtol=1e-3
    )
    mask = source > 2**14
    np.testing.assert_array_equal(
        mask.omezarr.resample(like), whole(mask.astype("uint8"), like, 0).astype(bool)
    )
    np.testing.assert_array_equal(
        source.astype(">u2").omezarr.resample(like), whole(source.astype("u2"), like, 1)
    )


def test_the_grid_of_another_unit() -> None:
    source, like = pair("finer")
    nano = like.omezarr.assign_scale(
        {d: s * 1000 for d, s in like.omezarr.scale.items()},
        translation={d: s * 1000 for d, s in like.omezarr.translation.items()},
        units="nanometer",
    )
    found = source.omezarr.resample(nano)
    np.testing.assert_array_equal(found, source.omezarr.resample(like))
    assert found.omezarr.units == {"y": "nanometer", "x": "nanometer"}


def test_a_grid_that_ends_where_the_image_ends_loses_nothing_to_rounding() -> None:
    source = grid("yx", (50, 50), {"y": 0.1, "x": 0.7}, dtype="float64")
    for steps in (3, 7, 49):
        like = source.interp(y=np.linspace(0, 4.9, steps), x=np.linspace(0, 34.3, steps))
        assert not np.isnan(source.omezarr.resample(like)).any()


class Counted:
    """An array that counts what is read of it."""

    def __init__(self, values: Pixels) -> None:
        self.values, self.shape, self.dtype, self.ndim = (
            values, values.shape, values.dtype, values.ndim,
        )  # fmt: skip
        self.reads: list[tuple[slice, ...]] = []

    def __getitem__(self, key: tuple[slice, ...]) -> Pixels:
        if all(s.stop - s.start for s in key):
            self.reads.append(key)
        return self.values[key]


def test_each_chunk_is_read_once_and_only_where_it_is_needed() -> None:
    source, _ = pair("channels", "float32")
    counted = Counted(source.values)
    chunks = (1, 3, 8, 8)
    array: Any = dask.array
    lazy = source.copy(data=array.from_array(counted, chunks, meta=np.empty((0,) * 4, "float32")))
    counted.reads.clear()
    like = grid("zyx", (8, 40, 40), {"z": 1.0, "y": 0.375, "x": 0.375}).chunk(y=8, x=8)
    result = lazy.omezarr.resample(like)
    assert not counted.reads
    result.isel(c=1, z=slice(0, 2), y=slice(0, 8), x=slice(0, 8)).compute(scheduler="synchronous")
    # Pixels 0 to 5.25 along y and x, 0 to 3.5 of 9 along z.
    assert {(k[0].start, k[2].start, k[3].start) for k in counted.reads} == {(1, 0, 0)}
    assert sorted(k[1].start for k in counted.reads) == [0, 3]
    counted.reads.clear()
    result.compute(scheduler="synchronous")
    keys = [tuple((s.start, s.stop) for s in key) for key in counted.reads]
    assert len(keys) == len(set(keys))


def test_blocks_of_a_coarse_grid_are_small_enough_to_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from xarray_omezarr import resample

    monkeypatch.setattr(resample, "_BOX", 2**10)
    source, like = pair("coarser")
    result = source.omezarr.resample(like.chunk(-1))
    assert result.chunks is not None
    assert max(map(max, result.chunks)) < 9
    np.testing.assert_array_equal(result, whole(source, like, 1))


def test_time_and_what_is_the_same_stay_as_they_are() -> None:
    source = grid("tyx", (3, 20, 20), {"t": 5.0, "y": 1.0, "x": 1.0}).chunk(t=1)
    like = source.isel(y=slice(2, 9))
    result = source.omezarr.resample(like)
    assert result.chunks is not None
    assert result.chunks[0] == (1, 1, 1)
    np.testing.assert_array_equal(result, like)
    # A time that the grid was selected at is a plane like any other.
    between = like.isel(t=0).assign_coords(t=7.5)
    halves = source.astype("float64").omezarr.resample(between)
    np.testing.assert_allclose(halves, source.isel(t=[1, 2], y=slice(2, 9)).mean("t"))


def test_a_dataset_keeps_what_does_not_move() -> None:
    ds = samples.fluorescence((1, 2, 3, 32, 32)).assign(gain=("c", [1.0, 2.0]))
    like = ds.image.isel(c=0, drop=True).isel(x=slice(4, 20))
    found = ds.omezarr.resample(like)
    assert found.c.values.tolist() == ds.c.values.tolist()
    assert found.gain.identical(ds.gain)
    assert found.image.dims == ds.image.dims
    np.testing.assert_array_equal(found.image, ds.image.isel(x=slice(4, 20)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"order": 3}, "expected 0"),
        ({"fill_value": np.nan}, "no value of pixels of type uint16"),
        ({"fill_value": -1}, "no value of pixels of type uint16"),
        ({"system": "moon"}, "'moon'; there are: physical"),
    ],
)
def test_what_cannot_be_done(options: dict[str, Any], says: str) -> None:
    source, like = pair("finer")
    with pytest.raises(OmeZarrError, match=says):
        source.omezarr.resample(like, **options)


def test_images_without_an_axis_in_common() -> None:
    source, _ = pair("finer")
    with pytest.raises(OmeZarrError, match="no axis in common"):
        source.omezarr.resample(xr.DataArray(np.zeros((2, 3)), dims=("t", "z")))


@pytest.mark.parametrize("system", [None, "physical"])
def test_what_comes_out_is_written_like_any_other_image(
    memory: MemoryStore, system: str | None
) -> None:
    store = zarr.storage.MemoryStore()
    samples.coins().omezarr.to_zarr(store)
    ds = xr.open_dataset(store, engine="omezarr")  # type: ignore[arg-type]
    like = ds.image.isel(y=slice(20, 90), x=slice(None, None, 2))
    made = ds.omezarr.resample(like, system=system)
    made.omezarr.to_zarr(memory)
    again = xr.open_dataset(memory, engine="omezarr")  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.coins, ds.coins.isel(y=slice(20, 90), x=slice(0, None, 2)))
    np.testing.assert_array_equal(again.image, like)
    xr.testing.assert_equal(again.x, like.x)
