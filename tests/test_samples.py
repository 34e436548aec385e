"""The samples: known values, the same bytes everywhere, no network, any chunks."""

from __future__ import annotations

import decimal
import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data, measure

from xarray_omezarr import OmeZarrError, microscope, samples
from xarray_omezarr.lattice import lattice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr

PICTURES = [samples.coins, samples.astronaut, samples.circle]
ALL = [*PICTURES, samples.fluorescence, samples.timelapse]


def digest(array: xr.DataArray) -> str:
    """Hash pixels in the byte order of a PC, whatever this machine's is."""
    values = array.values
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()


# ── what they are ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sample", ALL)
def test_physical_coordinates_on_the_lattice(sample: Callable[[], xr.Dataset]) -> None:
    ds = sample()
    assert ds.attrs["name"] == sample.__name__
    for dim in ds.image.dims:
        if dim == "c":
            continue
        x = ds[dim]
        assert x.dtype == np.float64
        assert x.attrs == {"units": "second" if dim == "t" else "micrometer"}
        assert set(x.encoding) == {"scale", "translation"}
        expected = lattice(x.size, x.encoding["scale"], x.encoding["translation"])
        assert x.values.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("sample", "label", "scale", "origin"),
    [
        (samples.coins, "coins", 0.65, {"y": 0.0, "x": 0.0}),
        (samples.astronaut, "circles", 0.325, {"y": 0.0, "x": 0.0}),
        (samples.circle, "circle", 0.5, {"y": 10.0, "x": 20.0}),
    ],
)
def test_labels_lie_on_their_image(
    sample: Callable[[], xr.Dataset], label: str, scale: float, origin: dict[str, float]
) -> None:
    ds = sample()
    assert list(ds.data_vars) == ["image", label]
    assert ds.image.dtype == np.uint8
    assert ds[label].dtype == np.int32
    assert ds[label].dims == ("y", "x")
    assert ds[label].encoding["omezarr"] == {"kind": "label"}
    assert ds.omezarr.scale == {"y": scale, "x": scale}
    assert ds.omezarr.translation == origin
    numbers = np.unique(ds[label].values)
    assert numbers.tolist() == list(range(len(numbers)))  # without a gap, 0 for the background


def test_coins_is_the_picture_and_its_labels_are_coins() -> None:
    ds = samples.coins()
    np.testing.assert_array_equal(ds.image, data.coins())
    regions: list[Any] = measure.regionprops(ds.coins.values, ds.image.values)
    assert len(regions) == 22
    for region in regions:
        assert region.area >= 1000  # a coin, not a speck
        assert region.eccentricity < 0.8  # round
        assert region.image.sum() == measure.label(region.image, return_num=False).sum()
        top, left, bottom, right = region.bbox
        assert top > 0
        assert left > 0
        assert bottom < 303
        assert right < 384
    inside, outside = ds.image.where(ds.coins > 0).mean(), ds.image.where(ds.coins == 0).mean()
    assert inside > outside + 50


def test_astronaut_has_colours_as_channels_and_discs_as_labels() -> None:
    ds = samples.astronaut()
    np.testing.assert_array_equal(ds.image.transpose("y", "x", "c"), data.astronaut())
    assert ds.c.values.tolist() == ["red", "green", "blue"]
    assert ds.c_color.values.tolist() == ["FF0000", "00FF00", "0000FF"]
    assert ds.c_window_start.values.tolist() == ds.c_window_min.values.tolist() == [0.0] * 3
    assert ds.c_window_end.values.tolist() == ds.c_window_max.values.tolist() == [255.0] * 3
    for region in measure.regionprops(ds.circles.values):
        # Every disc is whole, and none covers another.
        radius = region.axis_major_length / 2
        assert region.area == pytest.approx(np.pi * radius**2, rel=0.02)
    centre = ds.sel(y=386 * 0.325, x=172 * 0.325, method="nearest")
    assert int(centre.circles) == 2


def test_circle_is_bright_where_its_label_is() -> None:
    ds = samples.circle()
    np.testing.assert_array_equal(ds.image, np.where(ds.circle == 1, 200, 20))
    middle = ds.circle.sel(y=26.0, x=36.0)
    assert int(middle) == 1
    # All pixels nearer than 12 µm to the middle, and no other.
    near = (ds.y - 26.0) ** 2 + (ds.x - 36.0) ** 2 < 12.0**2
    np.testing.assert_array_equal(ds.circle == 1, near)


@pytest.mark.parametrize(
    ("sample", "variable", "sha256"),
    [
        (
            samples.coins,
            "image",
            "e080cc03805f1fa70516c3cb84883d4633bda2a1b51841da7c22f3d14c072451",
        ),
        (
            samples.coins,
            "coins",
            "11adc4fa09475788fc51d8de74b0b8e2fbc48381b5a0552482ed1e8b276d0321",
        ),
        (
            samples.astronaut,
            "image",
            "9d1263ba0e684c996ad8d59ebeeb479d2608e2d7bb09a217aafcb77f1c5f9533",
        ),
        (
            samples.astronaut,
            "circles",
            "8a06811c5c7254199fd16ec9f9ac8f518edac3abb9d30b4a5ed8ab7664023e4e",
        ),
        (
            samples.circle,
            "image",
            "c998d49f7e338bbb22de09a52260199bbc1ba3afc0f6b5b8ae4d3164383b7048",
        ),
        (
            samples.circle,
            "circle",
            "dd92fcca97046ed532a979abd187a7d50fc018987ea039a55d2d602913c3e6e2",
        ),
    ],
)
def test_pictures_are_the_same_to_the_byte(
    sample: Callable[[], xr.Dataset], variable: str, sha256: str
) -> None:
    assert digest(sample()[variable]) == sha256


def test_samples_touch_no_network_and_fill_no_cache(tmp_path: Path) -> None:
    code = """
import socket

def refuse(*args, **kwargs):
    raise AssertionError("a sample asked for the network")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
from xarray_omezarr import samples

for sample in (
    samples.coins, samples.astronaut, samples.circle, samples.fluorescence, samples.timelapse
):
    sample().load()
"""
    cache = tmp_path / "cache"
    # What somebody has downloaded before must not help, either.
    env = {**os.environ, "SKIMAGE_DATADIR": str(cache), "XDG_CACHE_HOME": str(cache)}
    env |= {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, cwd=tmp_path)
    assert not [path for path in cache.rglob("*") if path.suffix in {".png", ".jpg", ".tif"}]


# ── a picture in five dimensions ─────────────────────────────────────────────────────────────────


def test_rgb_to_5d_takes_colours_and_grey() -> None:
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    ds = samples.rgb_to_5d(picture, pixel_size=0.5)
    assert dict(ds.sizes) == {"t": 1, "c": 3, "z": 1, "y": 4, "x": 6}
    np.testing.assert_array_equal(ds.image.sel(c="green").squeeze(), picture[:, :, 1])
    assert ds.omezarr.scale == {"t": 1.0, "z": 0.5, "y": 0.5, "x": 0.5}
    assert ds.c_color.values.tolist() == ["FF0000", "00FF00", "0000FF"]

    grey = samples.rgb_to_5d(picture[:, :, 0])
    assert grey.image.dims == ("t", "c", "z", "y", "x")
    assert "c" not in grey.coords
    np.testing.assert_array_equal(grey.image.squeeze(), picture[:, :, 0])

    transparent = samples.rgb_to_5d(np.zeros((4, 6, 4)))
    assert transparent.sizes["c"] == 4
    assert "c" not in transparent.coords


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4), (5, 7, 1)])
def test_rgb_to_5d_is_what_ome_zarr_py_makes(shape: tuple[int, ...]) -> None:
    oracle = pytest.importorskip("ome_zarr.data")
    picture = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    np.testing.assert_array_equal(samples.rgb_to_5d(picture).image, oracle.rgb_to_5d(picture))


def test_rgb_to_5d_refuses_what_is_no_picture() -> None:
    with pytest.raises(OmeZarrError, match=r"shape \(3,\).*grey picture \(y, x\)"):
        samples.rgb_to_5d(np.zeros(3))


# ── fluorescence ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "sha256"),
    [
        (
            {"shape": (2, 2, 3, 40, 50)},
            "62d1d489872fe526ae15a469dee5651770f0ee1718403a057b1a5f706e083861",
        ),
        (
            {"shape": (2, 2, 3, 40, 50), "seed": 1},
            "40d4dad8231db8e52b583b783dba671c6f099fc126ef8f79982db8de439af88d",
        ),
        (
            {"shape": (2, 2, 3, 40, 50), "seed": -1},
            "15823b04ad6bc4e1fff3484b28ed4e6aa6783cb8e2d6f38a8e2951338a1aa084",
        ),
        (
            {"shape": (3, 40, 50), "dims": ("c", "y", "x"), "dtype": "uint8"},
            "451da1d5c9edca3e53bd58d227812532ac8fa4f4f741e55d85c1a928f92104a7",
        ),
        (
            {"shape": (50, 40), "dims": ("x", "y"), "dtype": "float32"},
            "f9d3033562b0635f46b1b7eaeb9cd6e1971229e4b49d3e9a3b86b8ef8ed5f857",
        ),
        (
            {"shape": (300,), "dims": ("x",), "dtype": ">i4"},
            "6080bc6c142798d9042b4587c6ababa79f9d4c19f1ff57b3c203a37321266360",
        ),
    ],
)
def test_fluorescence_is_the_same_to_the_byte(arguments: dict[str, Any], sha256: str) -> None:
    assert digest(samples.fluorescence(**arguments).image) == sha256


def test_fluorescence_by_default() -> None:
    ds = samples.fluorescence()
    assert ds.image.dims == ("t", "c", "z", "y", "x")
    assert ds.image.shape == (2, 2, 8, 256, 256)
    assert ds.image.dtype == np.uint16
    assert isinstance(ds.image.data, np.ndarray)
    assert ds.omezarr.scale == {"t": 30.0, "z": 1.0, "y": 0.325, "x": 0.325}
    assert ds.c.values.tolist() == ["DAPI", "GFP"]
    assert ds.c_window_max.values.tolist() == [4095.0, 4095.0]
    assert ds.image.identical(samples.fluorescence().image)


SHAPE = (2, 2, 3, 30, 70)


@pytest.fixture(scope="module")
def eager() -> xr.DataArray:
    return samples.fluorescence(SHAPE)["image"]


@given(data=st.data())
def test_values_do_not_depend_on_chunks(eager: xr.DataArray, data: st.DataObject) -> None:
    chunks = {
        dim: data.draw(st.integers(1, size), label=str(dim)) for dim, size in eager.sizes.items()
    }
    # Not thousands of blocks of a pixel each.
    chunks["y"], chunks["x"] = max(chunks["y"], 9), max(chunks["x"], 19)
    lazy = samples.fluorescence(SHAPE, chunks={str(dim): n for dim, n in chunks.items()}).image
    assert lazy.chunks is not None
    assert {dim: sizes[0] for dim, sizes in lazy.chunksizes.items()} == chunks
    assert lazy.compute(scheduler="synchronous").identical(eager)


@pytest.mark.parametrize("chunks", [5, "auto", -1, (1, 2, 3, 13, 70), {}, {"y": 16}])
def test_chunks_in_all_their_forms(eager: xr.DataArray, chunks: Any) -> None:  # noqa: ANN401
    lazy = samples.fluorescence(SHAPE, chunks=chunks).image
    assert lazy.chunks is not None
    assert lazy.identical(eager)


def test_a_larger_image_contains_a_smaller_one(eager: xr.DataArray) -> None:
    large = samples.fluorescence((4, 3, 6, 90, 100)).image
    t, c, z, y, x = SHAPE
    np.testing.assert_array_equal(large[:t, :c, :z, :y, :x], eager)


def test_dims_in_any_order_and_number(eager: xr.DataArray) -> None:
    turned = samples.fluorescence((70, 2, 30), dims=("x", "c", "y")).image
    assert turned.dims == ("x", "c", "y")
    np.testing.assert_array_equal(turned.transpose("c", "y", "x"), eager[0, :, 0])
    plane = samples.fluorescence((30, 70), dims=("y", "x"))
    assert set(plane.coords) == {"y", "x"}
    np.testing.assert_array_equal(plane.image, eager[0, 0, 0])


def test_an_image_larger_than_memory_is_made_where_it_is_looked_at() -> None:
    shape = (100, 2, 50, 8192, 8192)
    large = samples.fluorescence(shape, chunks={"t": 1, "c": 1, "z": 1, "x": 4096}).image
    assert large.nbytes > 2**40
    corner = large[-1, -1, -1, -40:, -1030:]
    other = samples.fluorescence(shape, chunks=(1, 1, 5, 1000, 8192)).image
    np.testing.assert_array_equal(corner, other[-1, -1, -1, -40:, -1030:])


def test_seeds_channels_frames_and_planes_differ() -> None:
    image = samples.fluorescence((2, 2, 2, 64, 64)).image
    planes = image.values.reshape(8, -1)
    assert len(np.unique(planes, axis=0)) == 8
    other = samples.fluorescence((2, 2, 2, 64, 64), seed=1).image
    assert float((other != image).mean()) > 0.9


def test_cells_drift_from_frame_to_frame() -> None:
    image = samples.fluorescence((20, 256, 256), dims=("t", "y", "x")).image
    smooth = image.coarsen(y=4, x=4).mean()  # less noise
    likeness = np.corrcoef(smooth.values.reshape(20, -1))[0]
    assert likeness[1] > 0.8
    assert likeness[1] > likeness[4] > likeness[19]


def test_noise_is_that_of_counted_photons() -> None:
    image = samples.fluorescence((1, 512, 512), dims=("c", "y", "x")).image[0].astype(np.float64)
    steps = image.diff("x").values  # what varies slowly drops out
    ground = float(image.median())
    spread = float(np.median(np.abs(steps))) * 1.4826 / 2**0.5
    assert spread == pytest.approx(ground**0.5, rel=0.1)


def test_noise_has_no_pattern() -> None:
    light = np.full((256, 256), 400, np.int32)
    microscope.add_noise(light, 1, (0, 256), (0, 256))
    noise = light - 400.0
    assert abs(noise.mean()) < 0.5
    assert noise.std() == pytest.approx(20, rel=0.02)
    # Chance gives a spectrum without peaks: an exponential distribution with a mean of 1.
    power = np.abs(np.fft.fft2(noise / noise.std())) ** 2 / noise.size
    assert power.ravel()[1:].max() < np.log(noise.size) + 6


@pytest.mark.parametrize(
    ("dtype", "shift"),
    [("uint8", 4), ("int8", 5), ("int16", 0), (">u2", 0), ("int64", 0), ("f4", 0), ("f8", 0)],
)
def test_dtypes_get_the_upper_bits(eager: xr.DataArray, dtype: str, shift: int) -> None:
    image = samples.fluorescence(SHAPE, dtype=dtype).image
    assert image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(image, eager.values >> shift)
    top = samples.fluorescence(SHAPE, dtype=dtype).c_window_max
    assert top.values.tolist() == [4095 >> shift] * 2


def test_channels_beyond_the_known_stains() -> None:
    ds = samples.fluorescence((6, 8, 8), dims=("c", "y", "x"))
    assert ds.c.values.tolist() == ["DAPI", "GFP", "RFP", "Cy5", "Ch5", "Ch6"]
    assert ds.c_color.values.tolist()[3:] == ["FF00FF", "0000FF", "00FF00"]


def test_bytes_do_not_depend_on_the_decimal_context(eager: xr.DataArray) -> None:
    microscope._gaussian_table.cache_clear()
    with decimal.localcontext(prec=4, rounding=decimal.ROUND_UP):
        assert samples.fluorescence(SHAPE).image.identical(eager)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": ("t", "c", "z", "y", "y")}, "`dims` is .*expected some of"),
        ({"dims": ("a", "c", "z", "y", "x")}, "`dims` is .*expected some of"),
        ({"shape": (), "dims": ()}, "`dims` is .*expected some of"),
        ({"shape": (2, 2)}, r"`shape` is \(2, 2\); expected a size .* for each of"),
        ({"shape": (0, 2), "dims": ("y", "x")}, "a size of 1 or more"),
        ({"shape": (1, 1, 1, 10**11, 5)}, "no more than 67108864 in all"),
        ({"shape": 64}, r"`shape` is \(64,\); expected a size .* for each of"),
        ({"dtype": "complex64"}, "`dtype` is complex64"),
        ({"dtype": "bool"}, "`dtype` is bool"),
        ({"chunks": {"w": 3}}, r"`chunks` names \['w'\]"),
        ({"chunks": (3, 3)}, r"`chunks` is \(3, 3\), which does not fit the shape"),
    ],
)
def test_fluorescence_refuses_what_does_not_fit(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OmeZarrError, match=message):
        samples.fluorescence(**arguments)


# ── a film ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("variable", "sha256"),
    [
        ("image", "c23478d6b1277ac248d6dafc23513f38de7f37aa00aa5b98dda0ee9962317404"),
        ("cells", "74003a99c261c0d3affa4635c996c13dff926083ec3385422c62727e920ef451"),
    ],
)
def test_a_film_is_the_same_to_the_byte(variable: str, sha256: str) -> None:
    assert digest(samples.timelapse()[variable]) == sha256


def test_cells_of_a_film_are_followed_and_stay_apart() -> None:
    film = samples.timelapse(seed=1)
    assert film.omezarr.scale == {"t": 300.0, "y": 0.325, "x": 0.325}
    assert film.c.values.tolist() == ["RFP", "GFP"]
    assert film.cells.encoding["omezarr"] == {"kind": "label"}
    assert film.cells_id.values.tolist() == list(range(1, 37))
    sizes = np.stack([np.bincount(frame.ravel(), minlength=37) for frame in film.cells.values])
    assert (sizes[:, 1:] == sizes[0, 1:]).all()  # each in all frames, and nothing cut off
    regions = [measure.label(frame > 0, return_num=True)[1] for frame in film.cells.values]
    assert set(regions) == {36}
    moved = film.cells[0].values != film.cells[-1].values
    assert moved[film.cells[0].values > 0].mean() > 0.1


def test_cells_of_a_film_begin_to_glow_at_their_onset() -> None:
    film = samples.timelapse()
    assert 0 < int(film.cells_onset.isnull().sum()) < 18
    assert film.cells_onset.attrs == {"units": "second"}
    for cell in film.cells_id.values:
        onset = film.cells_onset.sel(cells_id=cell)
        means = film.image.where(film.cells == cell).mean(("y", "x"))
        marker, reporter = means.sel(c="RFP"), means.sel(c="GFP")
        assert float(marker.std() / marker.mean()) < 0.02
        dim = reporter.sel(t=slice(None, onset)) if onset.notnull() else reporter
        assert float(dim.max()) < 190
        if onset.notnull():
            steps = reporter.sel(t=slice(onset, None)).diff("t")
            assert (steps[:6] > 20).all()
            assert float(reporter[-1]) > 370


def test_a_film_needs_frames_and_room() -> None:
    assert samples.timelapse(1, (32, 70)).sizes["cells_id"] == 2
    with pytest.raises(OmeZarrError, match=r"0 frames of \(192, 192\) pixels: expected one frame"):
        samples.timelapse(0)
    with pytest.raises(OmeZarrError, match="room for a cell, 32 × 32 pixels"):
        samples.timelapse(shape=(31, 64))


# ── a plate ──────────────────────────────────────────────────────────────────────────────────────


def counts(plate: xr.DataTree) -> list[int]:
    return [int(node.nuclei.max()) for node in plate.leaves]


def test_nuclei_survive_by_chance() -> None:
    plate = samples.plate(2, 3, 1, (480, 480), survival=[[1, 0.5, 0], [0.25, 0.5, 1]])
    whole, half, none, quarter, other, all_ = counts(plate)  # of 400 squares
    assert (whole, none, all_) == (400, 0, 400)
    # Within four standard deviations of a binomial.
    assert half != other
    assert abs(half - 200) < 40
    assert abs(other - 200) < 40
    assert abs(quarter - 100) < 35
    assert counts(samples.plate(1, 1, 9, survival=0.5)) != counts(
        samples.plate(1, 1, 9, seed=1, survival=0.5)
    )
    assert counts(samples.plate(1, 4, 1)) == [25, 18, 12, 6]


@pytest.mark.parametrize(
    ("survival", "message"),
    [
        ([1, 0.5], "`survival` does not fit 2 × 4 wells"),
        ("all", "`survival` does not fit 2 × 4 wells: could not convert"),
        ([1, 0.5, 0.5, 1.5], "expected chances, from 0 to 1"),
        (float("nan"), "expected chances, from 0 to 1"),
    ],
)
def test_survival_is_a_chance_for_each_well(survival: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(OmeZarrError, match=message):
        samples.plate(survival=survival)
